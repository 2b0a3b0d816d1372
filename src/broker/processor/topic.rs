//! A topic at the broker: what is known of its log without reading it, its newest entries,
//! its members, its publishers, and who listens.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::ops::Bound;
use std::sync::Arc;

use slab::Slab;

use super::publishers::Publishers;
use super::rotation::DueNumber;
use crate::base::Wall;
use crate::base::ids::{ConnId, Fingerprint, Incarnation, Offset, TopicHandle};
use crate::base::names::{Name, TopicName};
use crate::chain::Chain;
use crate::store::{Entry, Keep, Kept, StoreError};
use crate::wire::values::{Durability, Retention};

/// A topic's place in the table, and which of the place's owners it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TopicKey {
    pub index: usize,
    pub log: Incarnation,
}

/// A cursor's place among its topic's listeners.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListenerKey(pub usize);

/// A cursor as its topic knows it.
#[derive(Clone, Copy, Debug)]
pub struct Listener {
    pub conn: ConnId,
    pub handle: TopicHandle,
    /// Whether the next entry is to wake it.
    pub waiting: bool,
}

pub struct Topic {
    pub name: TopicName,
    pub log: Incarnation,
    pub durability: Durability,
    pub retention: Retention,
    pub owner: Name,
    pub chain: Chain,
    /// Offsets of the membership records, ascending.
    pub records: Vec<Offset>,
    /// The offset that the next entry gets.
    pub end: Offset,
    /// The oldest message kept, or `end`.
    pub first: Offset,
    pub messages: u64,
    /// Bytes of the sealed bodies kept.
    pub bytes: u64,
    pub oldest: Wall,
    /// The time of the newest entry: times in a log never go back.
    pub newest: Wall,
    pub publishers: Publishers,
    /// Appends on their way to the store.
    pub appending: usize,
    /// The first of them, which fail since one before them did. Until all of these are answered no
    /// message is taken: the store would take it, in their place.
    pub failing: usize,
    /// Whether a membership record is on its way: one at a time.
    pub changing: bool,
    /// Whether it is on its way out: nothing new is taken.
    pub deleting: bool,
    /// Members but the owner whose certificate was revoked.
    pub revoked: BTreeSet<Fingerprint>,
    /// Its place among the topics that should be rotated, if somebody is among `revoked`.
    pub due: Option<DueNumber>,
    /// What of it was last found to be unreadable, and logged.
    pub unreadable: Option<StoreError>,
    /// Whether the store is dropping what retention no longer keeps.
    pub trimming: bool,
    /// When age is next looked at: its place in the processor's list.
    pub age_due: Option<Wall>,
    /// Cursors that deliver messages.
    pub subscribers: Slab<Listener>,
    /// Cursors that deliver membership records only.
    pub openers: Slab<Listener>,
    /// The newest entries, without a hole, up to `end`.
    tail: VecDeque<Arc<Entry>>,
}

impl Topic {
    /// A topic whose first records are stored.
    pub fn new(
        name: TopicName,
        log: Incarnation,
        durability: Durability,
        retention: Retention,
        chain: Chain,
    ) -> Topic {
        Topic {
            owner: chain.owner_name().clone(),
            name,
            log,
            durability,
            retention,
            chain,
            records: Vec::new(),
            end: Offset(0),
            first: Offset(0),
            messages: 0,
            bytes: 0,
            oldest: Wall(0),
            newest: Wall(0),
            publishers: Publishers::default(),
            appending: 0,
            failing: 0,
            changing: false,
            deleting: false,
            revoked: BTreeSet::new(),
            due: None,
            unreadable: None,
            trimming: false,
            age_due: None,
            subscribers: Slab::new(),
            openers: Slab::new(),
            tail: VecDeque::new(),
        }
    }

    /// One append has come back from the store, in its turn.
    pub fn append_done(&mut self, has_failed: bool) {
        self.appending -= 1;
        self.failing = match self.failing {
            0 if has_failed => self.appending,
            failing => failing.saturating_sub(1),
        };
    }

    /// The first record at or after `from`.
    pub fn record_from(&self, from: Offset) -> Option<Offset> {
        let at = self.records.partition_point(|record| *record < from);
        self.records.get(at).copied()
    }

    /// Messages in `from..to`, dropped ones included: all entries but the records. None if that ends
    /// before it begins.
    pub fn messages_between(&self, from: Offset, to: Offset) -> u64 {
        let below = |offset: Offset| self.records.partition_point(|record| *record < offset) as u64;
        let to = to.max(from);
        to.0 - from.0 - (below(to) - below(from))
    }

    /// The entry at `offset`, if it is among the newest in RAM.
    pub fn in_tail(&self, offset: Offset) -> Option<&Arc<Entry>> {
        let first = self.tail.front()?.offset;
        self.tail.get(usize::try_from(offset.0.checked_sub(first.0)?).ok()?)
    }

    /// Where the newest entries in RAM begin; `None` if none are.
    pub fn tail_begin(&self) -> Option<Offset> {
        self.tail.front().map(|entry| entry.offset)
    }

    /// Whether retention wants messages gone.
    pub fn exceeds_retention(&self, now: Wall) -> bool {
        let keep = &self.retention;
        let over = |is: u64, max: u64| max > 0 && is > max;
        over(self.messages, keep.count) || over(self.bytes, keep.bytes) || self.outlived(now)
    }

    /// Whether the oldest message is older than the topic's age limit.
    pub fn outlived(&self, now: Wall) -> bool {
        let age = self.retention.age_ms;
        age > 0 && self.messages > 0 && self.oldest.0.saturating_add(age) <= now.0
    }

    /// What retention keeps now.
    pub fn keep(&self, now: Wall) -> Keep {
        let Retention { count, bytes, age_ms } = self.retention;
        // A message goes once it is as old as the limit, to the millisecond.
        let since = if age_ms == 0 { Wall(0) } else { Wall((now.0 + 1).saturating_sub(age_ms)) };
        Keep { from: Offset(0), since, messages: count, bytes }
    }

    pub fn listeners(&mut self, subscribed: bool) -> &mut Slab<Listener> {
        if subscribed { &mut self.subscribers } else { &mut self.openers }
    }
}

/// All topics, by name and by place, and the RAM that their newest entries take.
pub struct TopicTable {
    topics: Slab<Topic>,
    by_name: BTreeMap<TopicName, usize>,
    /// Names whose first records are on their way to the store.
    reserved: HashMap<TopicName, ()>,
    tail: TailBudget,
}

/// The shared tail: entries in the order in which they came, whichever topic they belong to.
struct TailBudget {
    order: VecDeque<(TopicKey, Offset)>,
    entries: usize,
    bytes: usize,
    bytes_max: usize,
}

impl TopicTable {
    pub fn new(tail_bytes_max: usize) -> TopicTable {
        TopicTable {
            topics: Slab::new(),
            by_name: BTreeMap::new(),
            reserved: HashMap::new(),
            tail: TailBudget { order: VecDeque::new(), entries: 0, bytes: 0, bytes_max: tail_bytes_max },
        }
    }

    /// Topics that exist, and those on their way.
    pub fn len(&self) -> usize {
        self.topics.len() + self.reserved.len()
    }

    pub fn key(&self, name: &TopicName) -> Option<TopicKey> {
        let index = *self.by_name.get(name)?;
        Some(TopicKey { index, log: self.topics[index].log })
    }

    pub fn topic(&self, key: TopicKey) -> Option<&Topic> {
        self.topics.get(key.index).filter(|topic| topic.log == key.log)
    }

    pub fn topic_mut(&mut self, key: TopicKey) -> Option<&mut Topic> {
        self.topics.get_mut(key.index).filter(|topic| topic.log == key.log)
    }

    pub fn iter(&self) -> impl Iterator<Item = &Topic> {
        self.topics.iter().map(|(_, topic)| topic)
    }

    /// Up to `count` topics in name order above `after`, of those that begin with `prefix`.
    pub fn page(&self, after: &str, prefix: &str, count: usize) -> Vec<TopicKey> {
        let from = if after < prefix { Bound::Included(prefix) } else { Bound::Excluded(after) };
        self.by_name
            .range::<str, _>((from, Bound::Unbounded))
            .take_while(|(name, _)| name.as_str().starts_with(prefix))
            .take(count)
            .map(|(_, index)| TopicKey { index: *index, log: self.topics[*index].log })
            .collect()
    }

    /// Takes a name; false if a topic has it or is about to.
    pub fn reserve(&mut self, name: &TopicName) -> bool {
        !self.by_name.contains_key(name) && self.reserved.insert(name.clone(), ()).is_none()
    }

    /// Gives a reserved name up.
    pub fn unreserve(&mut self, name: &TopicName) {
        self.reserved.remove(name);
    }

    /// A topic whose name was reserved.
    pub fn insert(&mut self, topic: Topic) -> TopicKey {
        self.reserved.remove(&topic.name);
        let (name, log) = (topic.name.clone(), topic.log);
        let index = self.topics.insert(topic);
        self.by_name.insert(name, index);
        TopicKey { index, log }
    }

    /// Takes a topic out; its name is free again.
    pub fn remove(&mut self, key: TopicKey) -> Option<Topic> {
        self.topic(key)?;
        let topic = self.topics.remove(key.index);
        self.by_name.remove(&topic.name);
        self.tail.bytes -= topic.tail.iter().map(|entry| ram_bytes(entry)).sum::<usize>();
        self.tail.entries -= topic.tail.len();
        self.forget_stale_order();
        Some(topic)
    }

    /// Appends an entry that the store has taken; counts it, and keeps it among the newest.
    pub fn push(&mut self, key: TopicKey, entry: Arc<Entry>) {
        let Some(topic) = self.topics.get_mut(key.index).filter(|topic| topic.log == key.log) else {
            return;
        };
        debug_assert_eq!(entry.offset, topic.end, "a store completes a log's appends in order");
        topic.end = entry.offset.next();
        topic.newest = topic.newest.max(entry.time);
        if !entry.is_message() {
            topic.records.push(entry.offset);
        } else {
            if topic.messages == 0 {
                (topic.first, topic.oldest) = (entry.offset, entry.time);
            }
            topic.messages += 1;
            topic.bytes += entry.content.body_bytes();
        }
        if topic.messages == 0 {
            topic.first = topic.end;
        }
        self.tail.bytes += ram_bytes(&entry);
        self.tail.entries += 1;
        self.tail.order.push_back((key, entry.offset));
        topic.tail.push_back(entry);
        self.evict();
    }

    /// Takes over what the store now keeps of a topic, and drops the rest from the tail.
    pub fn trimmed(&mut self, key: TopicKey, kept: &Kept) {
        let Some(topic) = self.topics.get_mut(key.index).filter(|topic| topic.log == key.log) else {
            return;
        };
        topic.messages = kept.messages;
        topic.bytes = kept.bytes;
        (topic.first, topic.oldest) = kept.oldest.unwrap_or((topic.end, Wall(0)));
        while topic.tail.front().is_some_and(|entry| entry.offset < topic.first) {
            if let Some(entry) = topic.tail.pop_front() {
                self.tail.bytes -= ram_bytes(&entry);
                self.tail.entries -= 1;
            }
        }
        self.forget_stale_order();
    }

    pub fn tail_bytes(&self) -> usize {
        self.tail.bytes
    }

    fn evict(&mut self) {
        while self.tail.bytes > self.tail.bytes_max {
            let Some((key, offset)) = self.tail.order.pop_front() else {
                return;
            };
            let topic = self.topics.get_mut(key.index).filter(|topic| topic.log == key.log);
            let Some(topic) = topic else { continue };
            if topic.tail.front().is_some_and(|entry| entry.offset == offset)
                && let Some(entry) = topic.tail.pop_front()
            {
                self.tail.bytes -= ram_bytes(&entry);
                self.tail.entries -= 1;
            }
        }
    }

    /// Retention leaves places in the order behind; once they are most of it, they go.
    fn forget_stale_order(&mut self) {
        if self.tail.order.len() <= 2 * self.tail.entries + 1024 {
            return;
        }
        let topics = &self.topics;
        self.tail.order.retain(|(key, offset)| {
            let topic = topics.get(key.index).filter(|topic| topic.log == key.log);
            topic.and_then(|topic| topic.in_tail(*offset)).is_some()
        });
    }

    /// What must hold after every turn.
    pub fn check_invariants(&self) {
        let mut bytes = 0;
        let mut entries = 0;
        for (_, topic) in &self.topics {
            bytes += topic.tail.iter().map(|entry| ram_bytes(entry)).sum::<usize>();
            entries += topic.tail.len();
            if let Some(last) = topic.tail.back() {
                assert_eq!(last.offset.next(), topic.end, "the tail ends where the log does");
            }
            let contiguous = topic.tail.iter().zip(topic.tail.iter().skip(1));
            assert!(contiguous.clone().all(|(a, b)| a.offset.next() == b.offset), "the tail has no hole");
            assert!(topic.first <= topic.end);
            assert!(topic.failing <= topic.appending);
            assert_eq!(self.by_name.get(&topic.name).map(|i| self.topics[*i].log), Some(topic.log));
        }
        assert_eq!((bytes, entries), (self.tail.bytes, self.tail.entries), "the tail's sum");
        assert!(bytes <= self.tail.bytes_max, "the tail keeps to its limit");
        assert_eq!(self.by_name.len(), self.topics.len());
    }
}

/// What an entry takes in RAM while the tail holds it.
fn ram_bytes(entry: &Entry) -> usize {
    entry.bytes() as usize
}
