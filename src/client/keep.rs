//! Publishing that goes on after the end of the program: the caller keeps the publisher id with its key, and which
//! message has which counter; a message that is sent again after a crash is then known to the broker as the same.
//!
//! What must hold for that: an id is kept before the first message is sent under it, a message before it is sent,
//! and a counter is never given to another message as long as its first one may be stored.

use super::Client;
use super::chest::{Chest, NoChest};
use super::failure::Failure;
use super::request::Full;
use super::signing::{KeptPublisher, Means};
use crate::base::ids::Counter;
use crate::base::names::TopicName;
use crate::base::{Entropy, Wall};

impl Client {
    /// A new id, to be kept before it is used. Costs an RSA signature.
    pub fn make_publisher(&mut self, now: Wall) -> Result<KeptPublisher, Failure> {
        let means = Means { key: &self.identity.key, now, entropy: &mut *self.entropy };
        KeptPublisher::make(means).map_err(|fault| Failure::Machine(fault.to_string()))
    }

    /// Counts the messages of a topic under `kept` from now on, the next one with `next`; only while none
    /// waits. No other id is taken in its place: what would need one fails with [`Failure::CountersLost`], and
    /// whatever is refused fails together with all that waits behind it.
    pub fn publish_as(&mut self, topic: &TopicName, kept: &KeptPublisher, next: Counter) -> Result<(), Full> {
        let waits = |name: &TopicName| self.topics.get(name).is_some_and(|t| !t.publishing.is_empty());
        if waits(topic) {
            return Err(Full);
        }
        let others = self.topics.iter().filter(|(other, _)| *other != topic);
        let is_used = |slot| others.clone().any(|(_, topic)| topic.publishing.holds(slot));
        let under = self.signing.adopt(kept, is_used).ok_or(Full)?;
        self.topics.entry(topic.clone()).or_default().publishing.keep(under, next);
        Ok(())
    }

    /// The topic's id is not kept any longer: the broker may forget it at [`Client::exit`].
    pub fn release_publisher(&mut self, topic: &TopicName) {
        if let Some(state) = self.topics.get_mut(topic) {
            state.publishing.release();
        }
    }

    /// A new chest for what only this identity is to read again, and the lock to be kept with it.
    pub fn make_chest(&mut self) -> Result<(Chest, Vec<u8>), Failure> {
        Chest::make(&self.identity.key.public(), &mut *self.entropy)
            .map_err(|fault| Failure::Machine(fault.to_string()))
    }

    /// Opens a chest by its lock.
    pub fn open_chest(&mut self, lock: &[u8]) -> Result<Chest, NoChest> {
        Chest::open(&self.identity.key, lock, &mut *self.entropy)
    }

    /// Randomness for what the caller puts into a chest.
    pub fn entropy(&mut self) -> &mut dyn Entropy {
        &mut *self.entropy
    }
}
