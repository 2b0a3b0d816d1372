//! What the client knows of one topic: its records and keys, its place in the log, its
//! publishes, and under which handle it is open in this session.

use std::collections::{BTreeSet, HashMap, VecDeque};

use super::amend::Amendment;
use super::delivery::Delivery;
use super::failure::IntegrityFault;
use super::lull::{Lull, SILENCE_MAX};
use super::publishing::Publishing;
use super::records::Records;
use super::request::Ticket;
use crate::base::Mono;
use crate::base::ids::{Fingerprint, Incarnation, Offset, PublisherId, TopicHandle};
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
    /// Changes of its membership that were asked for; the first one is under way.
    pub amendments: VecDeque<Amendment>,
    /// Why nothing is taken from this topic, or sent to it, any more.
    pub stopped: Option<IntegrityFault>,
    /// Where delivery stood when the broker ended it.
    pub ended_at: Option<Offset>,
    /// Whether it is to be dropped at the session's end.
    pub is_forgotten: bool,
    /// Why nothing is delivered and published for now.
    pub suspended: Option<Suspension>,
    /// Names that were new when this topic's records named them, until all its records have come: what
    /// these say of them later is their past, too.
    pub met: BTreeSet<Name>,
}

/// The newest record's signer was revoked; a record of another one mends that.
pub struct Suspension {
    pub fault: IntegrityFault,
    /// Whether something was passed over meanwhile that is to be delivered later.
    pub missed: bool,
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
    pub incarnation: Incarnation,
    /// How many records this session has sent: the number of the next one.
    pub records_seen: usize,
    /// Whether all records that there were have come.
    pub settled: bool,
    /// Whether they were held against what is remembered.
    pub judged: bool,
    /// The newest record's number that was remembered when the topic was opened.
    pub remembered: Option<u32>,
    /// If there is a lull then or later, they count as having come.
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

/// Senders known by number; as many older ones are remembered, far more than a broker counts on.
const SENDERS_MAX: usize = 4096;

impl Topic {
    /// How many records this session has sent, if the topic is open.
    pub fn records_seen(&self) -> Option<usize> {
        match &self.link {
            Link::Open(open) => Some(open.records_seen),
            _ => None,
        }
    }

    pub fn open(&mut self) -> Option<&mut OpenTopic> {
        match &mut self.link {
            Link::Open(open) => Some(open),
            _ => None,
        }
    }

    pub fn is_closed(&self) -> bool {
        matches!(self.link, Link::Closed)
    }

    /// Whether what comes now is not delivered, but once the topic goes on again.
    pub fn passes_over(&mut self) -> bool {
        self.suspended.as_mut().map(|suspension| suspension.missed = true).is_some()
    }

    /// Whether something waits for this topic.
    pub fn is_idle(&self) -> bool {
        self.publishing.is_empty() && self.members_asked.is_empty() && self.amendments.is_empty()
    }

    /// Whether it is open, delivered, or waited for.
    pub fn is_used(&self) -> bool {
        !self.is_closed() || !self.is_idle() || self.delivery.is_some()
    }

    /// Whether nothing was learned of it.
    pub fn is_blank(&self) -> bool {
        self.records.len() == 0 && self.stopped.is_none()
    }

    /// The session is over: what outlives it stays.
    pub fn end_session(&mut self) {
        self.link = Link::Closed;
        self.publishing.end_session();
        self.amendments.iter_mut().for_each(Amendment::end_session);
    }

    /// Whether all records have come, as far as can be known now.
    pub fn settle(&mut self, lull: &Lull) -> bool {
        match &mut self.link {
            Link::Open(open) => {
                open.settled |= lull.is_since(open.quiet_at);
                open.settled
            }
            _ => false,
        }
    }

    /// When something that waits for this topic is to be looked at again.
    pub fn deadline(&self) -> Option<Mono> {
        let amendment = self.amendments.front().and_then(Amendment::deadline);
        [amendment, self.publishing.held_until()].into_iter().flatten().min()
    }

    /// When something of this topic has been waited for so long that a lull is to be looked for.
    pub fn quiet_at(&self) -> Option<Mono> {
        let records = match &self.link {
            Link::Open(open) if !open.settled => Some(open.quiet_at),
            _ => None,
        };
        let amendment = self.amendments.front().and_then(Amendment::quiet_at);
        [records, amendment].into_iter().flatten().min()
    }
}

impl OpenTopic {
    pub fn new(
        handle: TopicHandle,
        incarnation: Incarnation,
        remembered: Option<u32>,
        now: Mono,
    ) -> OpenTopic {
        OpenTopic {
            handle,
            incarnation,
            records_seen: 0,
            settled: false,
            judged: false,
            remembered,
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
