//! The client core: a session with one broker, topics and their keys, requests and their answers.
//!
//! It does no I/O: what arrives is handed to `handle_*`, what is to be sent and told is taken
//! with `poll_*`, time and randomness come in as arguments. After every input, take
//! [`Client::poll_transmit`] and [`Client::poll_event`] until they give nothing, then wait
//! until [`Client::poll_timeout`] or [`Client::reconnect_at`].

pub mod event;
pub mod failure;
pub mod request;

use std::collections::VecDeque;

use crate::base::entropy::Entropy;
use crate::base::names::{TopicFilter, TopicName};
use crate::base::time::{Mono, Now};
use crate::base::transmit::Transmit;
use crate::crypto::key::PrivateKey;
use crate::wire::values::Start;

pub use event::{Answer, Connected, Created, Event, Integrity, KnownClient, Member, MemberRole, Members};
pub use event::{Message, Notice, Opened, Skipped};
pub use failure::{Disconnect, Failure, IntegrityFault};
pub use request::{CreateRequest, Full, History, Join, MemberChoice, Ticket};

/// What a caller may choose.
#[derive(Clone, Debug)]
pub struct ClientConfig {
    /// The host that was dialled; the broker's certificate must name it.
    pub host: String,
    /// Put a message's body inside the session's token where it fits, so that nobody on the
    /// wire can tell two links that carry the same message; costs a copy for each.
    pub seal_bodies: bool,
    /// Events that wait for the caller, in bytes; above, the broker is not read.
    pub event_bytes_max: usize,
}

/// Who we are.
pub struct ClientIdentity {
    /// The certificate in DER.
    pub certificate: Vec<u8>,
    pub key: PrivateKey,
}

/// A client of one broker. See the module for how it is driven.
pub struct Client {
    config: ClientConfig,
    identity: ClientIdentity,
    entropy: Box<dyn Entropy>,
    events: VecDeque<Event>,
    last_ticket: u64,
}

impl Client {
    // `trust: Trust` comes third as soon as `crypto::cert` is here.
    pub fn new(config: ClientConfig, identity: ClientIdentity, entropy: Box<dyn Entropy>) -> Client {
        Client { config, identity, entropy, events: VecDeque::new(), last_ticket: 0 }
    }

    /// The transport is up: the handshake begins.
    pub fn connect(&mut self, _now: Now) {}

    pub fn handle_bytes(&mut self, _bytes: &[u8], _now: Now) {}

    /// The transport has ended, with the system's words for it if it has any.
    pub fn handle_eof(&mut self, _why: Option<String>, _now: Now) {}

    /// No transport could be had; `why` names host, port and remedy.
    pub fn handle_unreachable(&mut self, _why: String, _now: Now) {}

    pub fn handle_timeout(&mut self, _now: Now) {}

    /// Appends at most one record to `out`; call when `out` is empty and the transport is writable.
    pub fn poll_transmit(&mut self, _now: Now, _out: &mut Transmit) -> bool {
        false
    }

    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    pub fn poll_timeout(&self) -> Option<Mono> {
        None
    }

    /// Whether the transport is to be read. False while more events wait than the caller takes.
    pub fn wants_read(&self) -> bool {
        true
    }

    /// Whether there is a session or a handshake. False: write out what
    /// [`Client::poll_transmit`] still gives, then close the transport.
    pub fn wants_transport(&self) -> bool {
        false
    }

    /// Whether requests are sent at once.
    pub fn is_connected(&self) -> bool {
        false
    }

    /// When to dial again; nothing while a transport is wanted, before the first
    /// [`Client::connect`], and after a fatal end.
    pub fn reconnect_at(&self) -> Option<Mono> {
        None
    }

    // ---- Requests ----

    pub fn create(&mut self, _request: CreateRequest) -> Ticket {
        self.ticket()
    }

    /// Opens a topic for its records: what publishing needs.
    pub fn open(&mut self, _topic: &TopicName) -> Ticket {
        self.ticket()
    }

    pub fn subscribe(&mut self, _filter: TopicFilter, _start: Start) -> Ticket {
        self.ticket()
    }

    pub fn unsubscribe(&mut self, _filter: TopicFilter) -> Ticket {
        self.ticket()
    }

    pub fn topics(&mut self, _filter: TopicFilter) -> Ticket {
        self.ticket()
    }

    pub fn members(&mut self, _topic: &TopicName) -> Ticket {
        self.ticket()
    }

    pub fn stats(&mut self) -> Ticket {
        self.ticket()
    }

    pub fn ping(&mut self) -> Ticket {
        self.ticket()
    }

    pub fn known_clients(&mut self) -> Ticket {
        self.ticket()
    }

    /// Seals `content` for the topic's members and sends it; opens the topic first if need be.
    /// The answer is [`Answer::Published`].
    pub fn publish(&mut self, _topic: &TopicName, _content: &[u8]) -> Result<Ticket, Full> {
        Ok(self.ticket())
    }

    /// Publishes that are not answered yet.
    pub fn unanswered_publishes(&self) -> usize {
        0
    }

    /// Ends the session once every publish is answered; [`Event::Closed`] is the last event.
    pub fn exit(&mut self) {}

    fn ticket(&mut self) -> Ticket {
        self.last_ticket += 1;
        Ticket(self.last_ticket)
    }
}

impl Default for ClientConfig {
    fn default() -> ClientConfig {
        ClientConfig { host: String::new(), seal_bodies: false, event_bytes_max: 4 * 1024 * 1024 }
    }
}
