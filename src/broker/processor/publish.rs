//! Publishing: a message on its way from a client to the store.

use std::sync::Arc;

use super::publishers::{Expiry, PublisherKey, Verdict, Waiter};
use super::topic::TopicKey;
use super::{Pending, Processor};
use crate::base::ids::{ConnId, Counter, Epoch, TopicHandle};
use crate::base::limits::{BODY_BYTES_MAX, MESSAGE_BYTES_MAX, PUBLISHER_MEMORY, PUBLISHERS_MAX};
use crate::base::{Now, Wall};
use crate::chain::Role;
use crate::store::{Content, NewEntry, Op, Sender};
use crate::wire::frame::BrokerFrame;
use crate::wire::values::{Durability, RefuseCode};

/// A publish as it came.
pub struct Incoming {
    pub slot: u16,
    pub topic: TopicHandle,
    pub epoch: Epoch,
    pub counter: Counter,
    pub body: Arc<[u8]>,
    pub sha256: [u8; 32],
}

/// A code and what the client needs to mend it.
type PublishRefusal = (RefuseCode, u64);

/// How long a publisher waits while a topic's membership is being changed, or what failed is answered, in
/// milliseconds.
const BUSY_MS: u64 = 50;

impl Processor {
    pub(super) fn publish(&mut self, id: ConnId, incoming: Incoming, now: Now) {
        let Incoming { slot, topic, counter, .. } = incoming;
        match self.try_publish(id, incoming, now) {
            Ok(()) => {}
            Err((code, detail)) => {
                self.counters.publishes_refused += 1;
                self.answer(id, BrokerFrame::PublishRefused { slot, topic, counter, code, detail });
            }
        }
    }

    fn try_publish(&mut self, id: ConnId, incoming: Incoming, now: Now) -> Result<(), PublishRefusal> {
        let Incoming { slot, topic: handle, epoch, counter, body, sha256 } = incoming;
        let unknown = (RefuseCode::UnknownHandle, 0);
        let body_bytes_max = self.config.message_bytes_max + (BODY_BYTES_MAX - MESSAGE_BYTES_MAX);
        let Some(seat) = self.seats.get_mut(id) else { return Ok(()) };
        let key = seat.cursor(handle).ok_or(unknown)?.topic;
        let client = seat.peer.fingerprint;
        let used = seat.slot_mut(slot).ok_or(unknown)?;
        let topic = self.topics.topic_mut(key).ok_or((RefuseCode::Deleted, 0))?;
        // The number that it had the last time, unless it was forgotten since.
        let remembered = used.used_in.get(&key).copied().filter(|number| topic.publishers.knows(*number));
        let publisher = match remembered {
            None => topic.publishers.number_of(&PublisherKey { client, id: used.id }),
            some => some,
        };
        if topic.deleting {
            return Err((RefuseCode::Deleted, 0));
        }
        // What is counted on its way is not what will be stored.
        if topic.failing > 0 && !topic.publishers.has_stored(publisher, counter) {
            return Err((RefuseCode::Busy, BUSY_MS));
        }
        match topic.publishers.judge(publisher, counter, Waiter { conn: id, slot }) {
            Verdict::Accept => {}
            Verdict::Pending => {
                self.counters.repeats += 1;
                return Ok(());
            }
            Verdict::Stored(offset) => {
                self.counters.repeats += 1;
                self.answer(id, BrokerFrame::Published { slot, topic: handle, counter, offset });
                return Ok(());
            }
            Verdict::Refuse(code, detail) => return Err((code, detail)),
        }
        // Behind that: what was stored under another limit is answered, or the client would give its
        // counter to the next message.
        if body.len() > body_bytes_max {
            return Err((RefuseCode::TooLarge, body_bytes_max as u64));
        }
        // Who holds a handle is a member; a recovery key is there to read.
        if topic.chain.member(client).is_none_or(|member| member.role == Role::Recovery) {
            return Err((RefuseCode::NotAllowed, 0));
        }
        if topic.changing {
            return Err((RefuseCode::Busy, BUSY_MS));
        }
        let newest = topic.chain.epoch().unwrap_or_default();
        if epoch != newest {
            return Err((RefuseCode::EpochChanged, newest.0.into()));
        }
        if publisher.is_none() && self.publisher_count >= PUBLISHERS_MAX {
            return Err((RefuseCode::Limit, PUBLISHERS_MAX as u64));
        }
        self.submit_message(id, slot, key, publisher, epoch, counter, body, sha256, now);
        Ok(())
    }

    #[expect(clippy::too_many_arguments, reason = "the parts of one message, checked by its one caller")]
    fn submit_message(
        &mut self,
        id: ConnId,
        slot: u16,
        key: TopicKey,
        publisher: Option<u32>,
        epoch: Epoch,
        counter: Counter,
        body: Arc<[u8]>,
        sha256: [u8; 32],
        now: Now,
    ) {
        let Some(seat) = self.seats.get_mut(id) else { return };
        let Some(topic) = self.topics.topic_mut(key) else { return };
        let Some(used) = seat.publishers.get_mut(usize::from(slot)).and_then(Option::as_mut) else { return };
        let (publisher_id, delegation, peer) = (used.id, &used.delegation, &seat.peer);
        let publisher = publisher.unwrap_or_else(|| {
            let number = topic.publishers.add(now.wall, |number| Sender {
                number,
                publisher: publisher_id,
                fingerprint: peer.fingerprint,
                name: peer.name.clone(),
                delegation: Arc::clone(delegation),
                certificate: Arc::clone(&peer.certificate),
            });
            self.publisher_count += 1;
            self.publisher_ages.push_back(PublisherAge { seen: now.wall, topic: key, number });
            number
        });
        used.used_in.insert(key, publisher);
        let waiter = Waiter { conn: id, slot };
        let Some(sender) = topic.publishers.sent_to_store(publisher, waiter, now.wall) else { return };
        topic.appending += 1;
        seat.unanswered += 1;
        seat.unanswered_bytes += body.len();
        let bytes = body.len();
        seat.published += body.len() as u64;
        self.counters.published += 1;
        self.counters.published_bytes += body.len() as u64;
        let content = Content::Message { sender, epoch, counter, body, sha256 };
        let entry = NewEntry { time: now.wall, content };
        let ticket = self.store.submit(Op::Append { log: key.log, entry });
        self.pending.insert(ticket, Pending::Message { conn: id, topic: key, publisher, counter, bytes });
        self.submitted();
    }

    /// Forgets the publisher ids of a client that has said it will not use them again.
    pub fn forget_publishers(&mut self, id: ConnId) {
        let Some(seat) = self.seats.get_mut(id) else { return };
        let slots = std::mem::take(&mut seat.publishers);
        for (key, number) in slots.into_iter().flatten().flat_map(|slot| slot.used_in) {
            if self.topics.topic_mut(key).is_some_and(|topic| topic.publishers.forget(number)) {
                self.has_forgotten(key, number);
            }
        }
    }

    /// The store need not remember a publisher either; of a log of RAM it does not.
    fn has_forgotten(&mut self, key: TopicKey, number: u32) {
        self.publisher_count -= 1;
        if self.topics.topic(key).is_some_and(|topic| topic.durability == Durability::Disk) {
            self.forget_stored(key, number);
        }
    }

    /// If there is no room to forget it, the next start finds it again.
    pub(super) fn forget_stored(&mut self, key: TopicKey, number: u32) {
        let ticket = self.store.submit(Op::Forget { log: key.log, sender: number });
        self.pending.insert(ticket, Pending::Forget);
        self.submitted();
    }

    /// Forgets publisher ids a day after their last publish.
    pub(super) fn expire_publishers(&mut self, now: Now) {
        for _ in 0..EXPIRED_PER_TURN {
            let Some(age) = self.publisher_ages.front().copied() else { return };
            let mostly_forgotten = self.publisher_ages.len() > 2 * self.publisher_count + 1024;
            if now.wall.since(age.seen) < PUBLISHER_MEMORY && !mostly_forgotten {
                return;
            }
            self.publisher_ages.pop_front();
            let Some(topic) = self.topics.topic_mut(age.topic) else { continue };
            match topic.publishers.expire(age.number, now.wall) {
                Expiry::Unknown => {}
                Expiry::Forgotten => self.has_forgotten(age.topic, age.number),
                Expiry::Live(seen) => self.publisher_ages.push_back(PublisherAge { seen, ..age }),
            }
        }
    }
}

/// A publisher in the order in which publishers are looked at again.
#[derive(Clone, Copy)]
pub struct PublisherAge {
    /// At or before its last publish.
    pub seen: Wall,
    pub topic: TopicKey,
    pub number: u32,
}

/// Publishers looked at in one turn.
const EXPIRED_PER_TURN: usize = 64;
