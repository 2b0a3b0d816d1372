//! What the client knows of one topic: its records and keys, its place in the log, its
//! publishes, and under which handle it is open in this session.

use std::collections::HashMap;
use std::time::Duration;

use super::delivery::Delivery;
use super::failure::IntegrityFault;
use super::publishing::Publishing;
use super::records::Records;
use super::request::Ticket;
use crate::base::Mono;
use crate::base::ids::{Fingerprint, PublisherId, TopicHandle};
use crate::base::names::Name;
use crate::chain::Delegation;

#[derive(Default)]
pub struct Topic {
    pub records: Records,
    pub link: Link,
    /// There is one while the topic is subscribed to.
    pub delivery: Option<Delivery>,
    pub publishing: Publishing,
    /// Who waits to be told the members.
    pub members_asked: Vec<Ticket>,
    /// Why nothing is taken from this topic, or sent to it, any more.
    pub stopped: Option<IntegrityFault>,
}

/// A topic's place in the session.
#[derive(Default)]
pub enum Link {
    #[default]
    Closed,
    /// Asked for, not answered.
    Opening,
    Open(OpenTopic),
}

pub struct OpenTopic {
    pub handle: TopicHandle,
    /// How many records this session has sent: the number of the next one.
    pub records_seen: usize,
    /// Whether all records that there were have come.
    pub settled: bool,
    /// When they count as having come.
    pub quiet_at: Mono,
    /// Whether this session delivers messages.
    pub delivering: bool,
    senders: HashMap<u32, Sender>,
    /// Those named before; the broker names a sender again that it may have dropped.
    older_senders: HashMap<u32, Sender>,
}

/// Whom the broker means by a number.
#[derive(Clone)]
pub struct Sender {
    pub publisher: PublisherId,
    pub fingerprint: Fingerprint,
    pub name: Name,
    /// Which key signs, and when; or why the broker is not believed.
    pub delegation: Result<Delegation, IntegrityFault>,
}

/// CaughtUp marks where a topic's records end. Who waits for it waits no longer than this
/// after the last record: a broker that leaves it out holds nobody up for good.
const SILENCE_MAX: Duration = Duration::from_secs(10);
/// Senders known by number; as many older ones are remembered, far more than a broker counts on.
const SENDERS_MAX: usize = 4096;

impl Topic {
    pub fn open(&mut self) -> Option<&mut OpenTopic> {
        match &mut self.link {
            Link::Open(open) => Some(open),
            _ => None,
        }
    }

    pub fn is_closed(&self) -> bool {
        matches!(self.link, Link::Closed)
    }

    /// Whether something waits for this topic.
    pub fn is_idle(&self) -> bool {
        self.publishing.is_empty() && self.members_asked.is_empty()
    }

    /// The session is over: what outlives it stays.
    pub fn end_session(&mut self) {
        self.link = Link::Closed;
        self.publishing.end_session();
    }

    /// Whether all records have come, as far as can be known now.
    pub fn settle(&mut self, now: Mono) -> bool {
        match &mut self.link {
            Link::Open(open) => {
                open.settled |= now >= open.quiet_at;
                open.settled
            }
            _ => false,
        }
    }

    /// When something that waits for this topic is to be looked at again.
    pub fn deadline(&self) -> Option<Mono> {
        let quiet = match &self.link {
            Link::Open(open) if !open.settled => Some(open.quiet_at),
            _ => None,
        };
        [quiet, self.publishing.held_until()].into_iter().flatten().min()
    }
}

impl OpenTopic {
    pub fn new(handle: TopicHandle, now: Mono) -> OpenTopic {
        OpenTopic {
            handle,
            records_seen: 0,
            settled: false,
            quiet_at: now + SILENCE_MAX,
            delivering: false,
            senders: HashMap::new(),
            older_senders: HashMap::new(),
        }
    }

    pub fn sender(&self, number: u32) -> Option<&Sender> {
        self.senders.get(&number).or_else(|| self.older_senders.get(&number))
    }

    /// Notes who is meant by a number. False if somebody else was.
    pub fn name_sender(&mut self, number: u32, sender: Sender) -> bool {
        let is_same = |s: &Sender| (s.publisher, s.fingerprint) == (sender.publisher, sender.fingerprint);
        if !self.sender(number).is_none_or(is_same) {
            return false;
        }
        if self.senders.len() >= SENDERS_MAX {
            self.older_senders = std::mem::take(&mut self.senders);
        }
        self.senders.insert(number, sender);
        true
    }

    /// Notes that a record came.
    pub fn record_came(&mut self, now: Mono) {
        self.records_seen += 1;
        self.quiet_at = now + SILENCE_MAX;
    }
}
