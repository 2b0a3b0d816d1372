//! What only a topic's owner may do: delete it, and say how much of it is kept.

use super::topic::{Listener, Topic, TopicKey};
use super::{Pending, Processor, Refusal};
use crate::base::Now;
use crate::base::ids::{ConnId, Fingerprint, RequestId};
use crate::base::names::TopicName;
use crate::store::{Op, Outcome, Retain, StoreError, Ticket};
use crate::wire::frame::BrokerFrame;
use crate::wire::values::{RefuseCode, Retention};

/// An owner's command on its way to the store.
pub struct Owned {
    pub conn: ConnId,
    pub request: RequestId,
    pub topic: TopicKey,
}

impl Processor {
    /// Drops a topic once all that is on its way to it is stored and answered. Until then nothing
    /// new is taken.
    pub(super) fn delete(&mut self, id: ConnId, request: RequestId, name: &TopicName) {
        match self.owned_topic(id, name) {
            Err(refusal) => self.refuse(id, request, refusal),
            Ok(key) => {
                if let Some(topic) = self.topics.topic_mut(key) {
                    topic.deleting = true;
                }
                let ticket = self.store.submit(Op::Remove { log: key.log });
                self.owned_begins(ticket, Pending::Remove(Owned { conn: id, request, topic: key }), id);
            }
        }
    }

    pub(super) fn set_retention(
        &mut self,
        id: ConnId,
        request: RequestId,
        name: &TopicName,
        retention: Retention,
    ) {
        match self.owned_topic(id, name) {
            Err(refusal) => self.refuse(id, request, refusal),
            Ok(key) => {
                let op = Op::Configure { log: key.log, retain: retain(retention) };
                let ticket = self.store.submit(op);
                let owned = Owned { conn: id, request, topic: key };
                self.owned_begins(ticket, Pending::Configure(owned, retention), id);
            }
        }
    }

    fn owned_begins(&mut self, ticket: Ticket, pending: Pending, id: ConnId) {
        self.pending.insert(ticket, pending);
        if let Some(seat) = self.seat_mut(id) {
            seat.changes += 1;
        }
        self.submitted();
    }

    /// The topic, if the connection's client owns it.
    fn owned_topic(&self, id: ConnId, name: &TopicName) -> Result<TopicKey, Refusal> {
        let me = self.seat(id).map(|seat| seat.peer.fingerprint);
        let (key, topic) = self.live_topic(name)?;
        if me != Some(topic.chain.owner()) {
            let text = format!("only its owner, {}, may do this to {name}", topic.owner);
            return Err(Refusal::because(RefuseCode::NotAllowed, text));
        }
        Ok(key)
    }

    /// A topic that exists, perhaps not for long.
    pub(super) fn topic_named(&self, name: &TopicName) -> Option<(TopicKey, &Topic)> {
        let key = self.topics.key(name)?;
        Some((key, self.topics.topic(key)?))
    }

    /// A topic that exists and is not about to go.
    pub(super) fn live_topic(&self, name: &TopicName) -> Result<(TopicKey, &Topic), Refusal> {
        let found = self.topic_named(name);
        found.filter(|(_, topic)| !topic.deleting).ok_or_else(|| Refusal::code(RefuseCode::NoSuchTopic))
    }

    pub(super) fn removed(&mut self, owned: Owned, result: Result<Outcome, StoreError>, now: Now) {
        let Owned { conn, request, topic: key } = owned;
        self.change_ends(conn);
        match result {
            Ok(Outcome::Removed { .. }) | Err(StoreError::NoSuchLog) => {
                self.drop_topic(key);
                self.answer(conn, BrokerFrame::Done { request });
            }
            result => {
                if let Some(topic) = self.topics.topic_mut(key) {
                    topic.deleting = false;
                }
                self.refuse(conn, request, Refusal::code(super::completions::refuse_code(&result)));
                // What became too old meanwhile was left to the removal.
                self.retain(key, now);
            }
        }
    }

    pub(super) fn configured(
        &mut self,
        owned: Owned,
        retention: Retention,
        result: Result<Outcome, StoreError>,
        now: Now,
    ) {
        let Owned { conn, request, topic: key } = owned;
        self.change_ends(conn);
        let (Ok(Outcome::Configured), Some(topic)) = (&result, self.topics.topic_mut(key)) else {
            self.refuse(conn, request, Refusal::code(super::completions::refuse_code(&result)));
            return;
        };
        topic.retention = retention;
        self.answer(conn, BrokerFrame::Done { request });
        self.retain(key, now);
    }

    /// The log is gone: so is all that was held beside it.
    fn drop_topic(&mut self, key: TopicKey) {
        let Some(topic) = self.topics.topic_mut(key) else { return };
        let listeners: Vec<Listener> =
            topic.subscribers.iter().chain(topic.openers.iter()).map(|(_, listener)| *listener).collect();
        for listener in listeners {
            self.end_cursor(listener.conn, listener.handle, RefuseCode::Deleted);
            self.forget_uses(listener.conn, key);
        }
        let Some(topic) = self.topics.remove(key) else { return };
        if let Some(at) = topic.age_due {
            self.ages.remove(&(at, key.index, key.log));
        }
        if let Some(number) = topic.due {
            self.rotation.remove(number);
        }
        self.publisher_count -= topic.publishers.len();
        for client in self.requests.remove_topic(&topic.name) {
            self.drop_request_note(&topic.name, &client);
        }
        self.uncount_created(&topic.chain.owner());
    }

    /// A client has one topic fewer.
    pub(super) fn uncount_created(&mut self, creator: &Fingerprint) {
        if let Some(made) = self.created_by.get_mut(creator) {
            *made -= 1;
            if *made == 0 {
                self.created_by.remove(creator);
            }
        }
    }

    /// A session need not remember any more that it published to a topic that is gone.
    fn forget_uses(&mut self, id: ConnId, key: TopicKey) {
        let Some(seat) = self.seat_mut(id) else { return };
        for slot in seat.publishers.iter_mut().flatten() {
            slot.used_in.remove(&key);
        }
    }
}

/// A retention as the store keeps it.
pub fn retain(retention: Retention) -> Retain {
    Retain { messages: retention.count, bytes: retention.bytes, age_ms: retention.age_ms }
}
