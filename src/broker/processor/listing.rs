//! What the broker tells of its topics and of itself.

use super::Processor;
use super::joining::may_change;
use super::topic::Topic;
use crate::base::Now;
use crate::base::ids::Fingerprint;
use crate::wire::values::{Stat, TopicEntry};

/// Counters since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    pub published: u64,
    pub published_bytes: u64,
    pub delivered: u64,
    pub delivered_bytes: u64,
    pub repeats: u64,
    pub publishes_refused: u64,
    pub requests_refused: u64,
    pub gaps: u64,
    pub store_reads: u64,
}

impl Processor {
    /// A topic in a listing, for the client `me`.
    pub(super) fn topic_entry(&self, topic: &Topic, me: &Fingerprint, now: Now) -> TopicEntry {
        let mine = may_change(topic, me);
        let requests = if mine { self.requests.count(&topic.name) } else { 0 };
        TopicEntry {
            name: topic.name.clone(),
            topic: topic.chain.topic(),
            role: topic.chain.member(*me).map(|member| member.role),
            owner: topic.owner.clone(),
            owner_fingerprint: topic.chain.owner(),
            owner_seen: self.last_seen(&topic.chain.owner(), now.wall),
            join: topic.chain.join(),
            history: topic.chain.history(),
            requests: u16::try_from(requests).unwrap_or(u16::MAX),
            rotate_due: mine && topic.due.is_some(),
            members: u16::try_from(topic.chain.members().len()).unwrap_or(u16::MAX),
            durability: topic.durability,
            retention: topic.retention,
            incarnation: topic.log,
            first: topic.first,
            next: topic.end,
            messages: topic.messages,
            bytes: topic.bytes,
            oldest: topic.oldest,
        }
    }

    /// Counters and sizes by name.
    pub fn stats(&self) -> Vec<Stat> {
        let c = &self.counters;
        let stat = |name: &str, value: u64| Stat { name: name.to_owned(), value };
        vec![
            stat("sessions", self.seats.len() as u64),
            stat("topics", self.topics.len() as u64),
            stat("known clients", self.clients.len() as u64),
            stat("messages published", c.published),
            stat("bytes published", c.published_bytes),
            stat("messages delivered", c.delivered),
            stat("bytes delivered", c.delivered_bytes),
            stat("repeated publishes", c.repeats),
            stat("publishes refused", c.publishes_refused),
            stat("requests refused", c.requests_refused),
            stat("gaps", c.gaps),
            stat("reads from the store", c.store_reads),
            stat("bytes stored", self.store.used_bytes()),
            stat("bytes of newest entries in RAM", self.topics.tail_bytes() as u64),
            stat("bytes read for subscribers and not sent yet", self.fetched.bytes() as u64),
            stat("publisher ids remembered", self.publisher_count as u64),
            stat("delegations verified and remembered", self.delegations.len() as u64),
            stat("requests to join", self.requests.len() as u64),
            stat("topics due for rotation", self.rotation.len() as u64),
            stat("known clients revoked", self.clients.revoked_count() as u64),
        ]
    }
}
