//! One connection at the broker: its session's state, what has come, what is owed, its deadlines.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::Arc;

use crate::base::ids::ConnId;
use crate::base::limits::{CLOCK_SKEW, HANDSHAKE_TIME_MAX, RECORD_TIME_MAX};
use crate::base::{Mono, Now};
use crate::crypto::cert::Certificate;
use crate::session::broker::{AwaitingCert, Handshake};
use crate::session::{Inbox, Opener, Sealer};
use crate::wire::frame::ClientFrame;
use crate::wire::values::CloseCode;

pub struct Connection {
    pub id: ConnId,
    pub address: IpAddr,
    pub since: Now,
    pub state: State,
    pub inbox: Inbox,
    /// Handshake messages that are owed to the peer.
    pub greeting: Vec<u8>,
    /// Frames of records that came whole and are not done yet, and their bodies.
    pub frames: VecDeque<ClientFrame>,
    pub bodies: VecDeque<Arc<[u8]>>,
    /// Whether it stands in a queue of connections with work.
    pub queued: bool,
    /// Whether its commands wait until answers are read or the store is done.
    pub stalled: bool,
    /// Whether its input waits for room in the pool.
    pub wants_room: bool,
    /// Bytes that it holds of the pool for input.
    pub pooled: usize,
    /// The close that is owed to the peer.
    pub closing: Option<(CloseCode, String)>,
    /// Its place in the timers.
    pub deadline: Option<Mono>,
    /// When something last came.
    pub heard: Mono,
    /// A ping is under way since then.
    pub pinged: Option<Mono>,
    /// A record has begun to come.
    pub partial_since: Option<Mono>,
    /// When a connection that is ending is cut, read or not.
    pub cut_at: Option<Mono>,
    pub bytes_in: u64,
    pub bytes_out: u64,
}

/// The session, as far as it has come.
pub enum State {
    /// `None` while a step is being taken.
    Handshake(Option<Box<Handshake>>),
    Active(Box<Live>),
    /// Nothing more is taken; what is owed is still written.
    Ended,
}

/// A session that is Active.
pub struct Live {
    pub peer: Certificate,
    pub sealer: Sealer,
    pub opener: Opener,
}

impl Connection {
    pub fn new(id: ConnId, address: IpAddr, now: Now) -> Connection {
        Connection {
            id,
            address,
            since: now,
            state: State::Handshake(Some(Box::new(Handshake::new()))),
            inbox: Inbox::new(),
            greeting: Vec::new(),
            frames: VecDeque::new(),
            bodies: VecDeque::new(),
            queued: false,
            stalled: false,
            wants_room: false,
            pooled: 0,
            closing: None,
            deadline: None,
            heard: now.mono,
            pinged: None,
            partial_since: None,
            cut_at: None,
            bytes_in: 0,
            bytes_out: 0,
        }
    }

    pub fn is_active(&self) -> bool {
        matches!(self.state, State::Active(_))
    }

    /// Whether not even a whole ClientHello has come.
    pub fn is_fresh(&self) -> bool {
        matches!(&self.state, State::Handshake(Some(handshake))
            if matches!(**handshake, Handshake::AwaitingCert(AwaitingCert::Fresh(_))))
    }

    /// Whether more bytes are of use now.
    pub fn wants_read(&self) -> bool {
        match &self.state {
            State::Handshake(Some(handshake)) => handshake.expects().is_some() && self.closing.is_none(),
            State::Handshake(None) | State::Ended => false,
            State::Active(_) => {
                !self.stalled && !self.wants_room && self.frames.is_empty() && self.closing.is_none()
            }
        }
    }

    /// Bytes of input that it holds in RAM.
    pub fn held_bytes(&self) -> usize {
        let frames = self.frames.len() * size_of::<ClientFrame>();
        self.inbox.held_bytes() + frames + self.bodies.iter().map(|body| body.len()).sum::<usize>()
    }

    /// When something is to be done about it at the latest.
    pub fn next_deadline(&self, keepalive: std::time::Duration, now: Now) -> Mono {
        if let Some(at) = self.cut_at {
            return at;
        }
        match &self.state {
            State::Handshake(_) => self.since.mono + HANDSHAKE_TIME_MAX,
            State::Ended => now.mono,
            State::Active(live) => {
                // A peer that was pinged late, as after a suspended host, has as long to answer.
                let silence = self.pinged.unwrap_or(self.heard) + keepalive;
                // As the handshake judges it: with the clocks' skew.
                let expiry = now.mono + (live.peer.not_after() + CLOCK_SKEW).since(now.wall);
                let record = self.partial_since.map_or(Mono(u64::MAX), |since| since + RECORD_TIME_MAX);
                silence.min(expiry).min(record)
            }
        }
    }

    /// The peer's name once it has proved it, for logs.
    pub fn peer_name(&self) -> &str {
        match &self.state {
            State::Active(live) => live.peer.name().as_str(),
            State::Handshake(_) | State::Ended => "-",
        }
    }
}
