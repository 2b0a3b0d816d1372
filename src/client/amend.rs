//! Changing who is a member: what was asked for, on its way into a topic's chain.
//!
//! An amendment is an intent, not a record. When the topic's records have come it is held
//! against them, the certificates that it takes are fetched and judged, and a record is made and
//! sent. If another record came first, or the connection was lost, it begins anew on the chain as
//! it is then, so that what others have done meanwhile counts. Must not know the wire's pages.

use super::Client;
use super::request::{GrantAs, Join, Ticket};
use crate::base::names::{Name, TopicName};

/// What is wanted of a topic's membership.
pub enum Intent {
    Grant { names: Vec<Name>, role: GrantAs },
    Deny { names: Vec<Name>, because: String },
    Revoke { names: Vec<Name> },
    Rotate,
    SetJoin(Join),
}

/// A change on its way.
pub struct Amendment {
    /// Nothing if the client wants it by itself.
    pub ticket: Option<Ticket>,
    intent: Intent,
}

impl Client {
    /// Lets clients of these names into a topic, also such as were removed or denied before, or
    /// makes members its admins. Answered by [`Answer::Amended`](super::Answer::Amended), like
    /// all that follow here.
    ///
    /// A record takes some 0.1 ms for each of its wraps, all in one call: of a topic with 1,024
    /// members a removal, or under since-join an add, takes up to 150 ms.
    pub fn grant(&mut self, topic: &TopicName, names: Vec<Name>, role: GrantAs) -> Ticket {
        self.amend(topic, Intent::Grant { names, role })
    }

    /// Says no to clients of these names, which may ask to join or not. `because` is for them to
    /// read; it may be empty and has at most 256 bytes.
    pub fn deny(&mut self, topic: &TopicName, names: Vec<Name>, because: &str) -> Ticket {
        self.amend(topic, Intent::Deny { names, because: because.to_owned() })
    }

    /// Removes members, and starts an epoch without them.
    pub fn revoke(&mut self, topic: &TopicName, names: Vec<Name>) -> Ticket {
        self.amend(topic, Intent::Revoke { names })
    }

    /// Starts an epoch for the same members.
    pub fn rotate(&mut self, topic: &TopicName) -> Ticket {
        self.amend(topic, Intent::Rotate)
    }

    /// What becomes of those who ask to join from now on.
    pub fn set_join_policy(&mut self, topic: &TopicName, join: Join) -> Ticket {
        self.amend(topic, Intent::SetJoin(join))
    }

    fn amend(&mut self, topic: &TopicName, intent: Intent) -> Ticket {
        let ticket = self.ticket();
        if let Some(failure) = self.why_not(topic) {
            self.answer(ticket, Err(failure));
            return ticket;
        }
        self.queue_amendment(topic, Amendment { ticket: Some(ticket), intent });
        ticket
    }

    fn queue_amendment(&mut self, name: &TopicName, amendment: Amendment) {
        let slot = self.newest_slot();
        let topic = self.topics.entry(name.clone()).or_insert_with(|| super::topic::Topic::new(slot));
        topic.amendments.push_back(amendment);
        self.watched.insert(name.clone());
        self.advance();
    }
}
