//! Places in topics that the caller keeps over the end of the program: what was handed out, and where an
//! earlier run has stopped. It does not know where they are kept.

use super::Client;
use super::delivery::Delivery;
use crate::base::ids::{Incarnation, Offset, TopicId};
use crate::base::names::TopicName;
use crate::wire::values::Start;

/// Where a reader stands in a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stand {
    /// Of which log; in another one the offset means nothing.
    pub incarnation: Incarnation,
    /// All before was handed out, or told of.
    pub next: Offset,
}

impl Client {
    /// Has a topic delivered from where an earlier run has stopped. Before the filter that brings the topic is
    /// subscribed to; [`Event::Opened`](super::Event::Opened) says where delivery really begins.
    ///
    /// What is remembered of the senders may be ahead of this place, or behind it: it was kept at another
    /// time. What comes again is held against it, and is no replay.
    pub fn resume_at(&mut self, topic: &TopicName, stand: Stand) {
        let Stand { incarnation, next } = stand;
        let state = self.topics.entry(topic.clone()).or_default();
        if state.delivery.is_some() {
            return;
        }
        let known = self.pins.topics.get(topic).filter(|pin| pin.log == Some(incarnation));
        state.delivery = Some(match known {
            Some(pin) => Delivery::with_memory(incarnation, next, pin.memory()),
            None => Delivery::new(incarnation, next),
        });
        if self.is_connected() {
            self.open_topic(topic.clone(), Start::Resume(next, incarnation), None);
        }
    }

    /// Where delivery of a topic stands once all events so far are taken: it goes on there.
    pub fn stand(&self, topic: &TopicName) -> Option<Stand> {
        let delivery = self.topics.get(topic)?.delivery.as_ref()?;
        Some(Stand { incarnation: delivery.incarnation, next: delivery.next })
    }

    /// Where it stood when the broker ended it.
    pub fn ended_at(&self, topic: &TopicName) -> Option<Offset> {
        self.topics.get(topic)?.ended_at
    }

    /// Which topic of this name is meant, as its records say, or as is remembered until they have come.
    pub fn topic_id(&self, topic: &TopicName) -> Option<TopicId> {
        let records = self.topics.get(topic).and_then(|state| state.records.topic_id());
        records.or_else(|| self.pins.topics.get(topic).map(|pin| pin.id))
    }
}
