//! The shadow model: every log as the store has it, every message as its sender meant it.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use super::ledger::Ledger;
use super::observed::StoreNews;
use super::rules::{Rule, Violation};
use crate::base::Wall;
use crate::base::ids::{Counter, Epoch, Fingerprint, Incarnation, Offset, PublisherId, TopicId};
use crate::base::names::{Name, TopicName};
use crate::client::Message;
use crate::store::{Content, Entry};

/// All that was stored by all brokers of a run, and all that was sent.
#[derive(Default)]
pub struct Model {
    logs: BTreeMap<Incarnation, Log>,
    /// By the broker's generation and the topic's name.
    names: BTreeMap<(u32, TopicName), Incarnation>,
    sent: Vec<Sent>,
    /// Whose certificate was revoked.
    pub revoked: Option<Name>,
    /// Whether there is a revocation list that somebody may go by.
    pub has_crl: bool,
    /// Who has asked to join, by the broker's generation.
    pub joining: BTreeSet<(u32, TopicName, Fingerprint)>,
    /// Lets the ledger say that who was a member once may read everything, to see that it is noticed.
    pub believes_leavers: bool,
}

/// Which message of a run: the place in the order in which they were sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MessageId(pub u64);

/// A message as its sender handed it over.
struct Sent {
    sender: Fingerprint,
    /// Which client core it was given to: within one, order holds.
    life: u64,
    topic: TopicName,
    len: usize,
    answered_at: Option<(Incarnation, Offset)>,
    /// The broker that refused it for good, and so has never stored it.
    refused_by: Option<u32>,
}

/// One topic's log at one broker.
pub struct Log {
    pub generation: u32,
    pub name: TopicName,
    ledger: Option<Ledger>,
    /// The oldest message kept, or the end.
    pub first: Offset,
    entries: Vec<Stored>,
    counters: HashSet<(Fingerprint, PublisherId, Counter)>,
    places: HashMap<MessageId, Offset>,
}

/// An entry that the store has.
enum Stored {
    Record,
    Message {
        sender: Fingerprint,
        counter: Counter,
        epoch: Epoch,
        time: Wall,
        id: Option<MessageId>,
        /// What subscribers saw, where that does not say which message it is.
        seen: Option<Vec<u8>>,
    },
}

/// Bytes at the head of a content that say which message it is. Shorter ones cannot say it.
const ID_BYTES: usize = 8;

impl Model {
    /// A message that a client is about to be given, and its content.
    pub fn send(
        &mut self,
        sender: Fingerprint,
        life: u64,
        topic: &TopicName,
        len: usize,
    ) -> (MessageId, Vec<u8>) {
        let id = MessageId(self.sent.len() as u64);
        let topic = topic.clone();
        self.sent.push(Sent { sender, life, topic, len, answered_at: None, refused_by: None });
        (id, content(id, len))
    }

    pub fn log(&self, log: Incarnation) -> Option<&Log> {
        self.logs.get(&log)
    }

    /// The log of a topic at a broker.
    pub fn log_of(&self, generation: u32, topic: &TopicName) -> Option<(Incarnation, &Log)> {
        let log = self.names.get(&(generation, topic.clone()))?;
        Some((*log, self.logs.get(log)?))
    }

    /// All logs of a broker.
    pub fn logs_of(&self, generation: u32) -> impl Iterator<Item = (Incarnation, &Log)> {
        self.logs.iter().filter(move |(_, log)| log.generation == generation).map(|(id, log)| (*id, log))
    }

    /// The log of a topic, whichever broker's.
    pub fn log_of_id(&self, topic: TopicId) -> Option<&Log> {
        self.logs.values().find(|log| log.ledger().now().topic() == topic)
    }

    /// Whether `who` may read a message that stands at this place.
    pub fn may_read(&self, who: Fingerprint, log: &Log, offset: Offset) -> bool {
        let Some(Stored::Message { epoch, .. }) = log.entries.get(offset.0 as usize) else { return false };
        let ledger = log.ledger();
        ledger.may_read(who, *epoch) || self.believes_leavers && ledger.was_member(who)
    }

    pub fn messages_stored(&self) -> usize {
        self.logs.values().map(|log| log.messages_between(Offset(0), log.end())).sum()
    }

    /// The store of the broker of this generation has told something.
    pub fn store_told(&mut self, generation: u32, news: StoreNews) -> Result<(), Violation> {
        match news {
            StoreNews::Created { log, name, entries } => {
                let is_new = self.names.insert((generation, name.clone()), log).is_none();
                Rule::NothingIsRepeated.check(is_new, || format!("{name} was made twice"))?;
                let mut made = Log::new(generation, name);
                for entry in entries {
                    made.append(&entry)?;
                }
                self.logs.insert(log, made);
            }
            StoreNews::Appended { log, entry } => {
                let log = self.logs.get_mut(&log).expect("the store appends to logs that it made");
                log.append(&entry)?;
            }
            StoreNews::Trimmed { log, kept } => {
                let log = self.logs.get_mut(&log).expect("the store trims logs that it made");
                log.first = kept.oldest.map_or(log.end(), |(offset, _)| offset);
            }
        }
        Ok(())
    }

    /// A publish was answered with an offset.
    pub fn answered(
        &mut self,
        id: MessageId,
        generation: u32,
        counter: Counter,
        offset: Offset,
    ) -> Result<Incarnation, Violation> {
        let sent = &mut self.sent[id.0 as usize];
        let at = self.names.get(&(generation, sent.topic.clone())).copied();
        let log = at.and_then(|at| self.logs.get_mut(&at));
        let (Some(at), Some(log)) = (at, log) else {
            return Err(Rule::AnswersAreTrue.broken(format!("{} has no log to be answered from", sent.topic)));
        };
        Rule::AnswersComeOnce.check(sent.answered_at.is_none(), || format!("{id:?} has two offsets"))?;
        sent.answered_at = Some((at, offset));
        let stored = match log.entries.get(offset.0 as usize) {
            Some(Stored::Message { sender, counter, .. }) => Some((*sender, *counter)),
            _ => None,
        };
        Rule::AnswersAreTrue.check(stored == Some((sent.sender, counter)), || {
            format!("{id:?} is not at {offset} of {}, where its answer says", log.name)
        })?;
        self.identify(at, offset, id)?;
        Ok(at)
    }

    /// A publish was refused for good.
    pub fn refused(&mut self, id: MessageId, generation: u32) -> Result<(), Violation> {
        let sent = &mut self.sent[id.0 as usize];
        sent.refused_by = Some(generation);
        let log = self.names.get(&(generation, sent.topic.clone())).and_then(|log| self.logs.get(log));
        let is_there = log.is_some_and(|log| log.places.contains_key(&id));
        Rule::AnswersAreTrue.check(!is_there, || format!("{id:?} was refused, and is there"))
    }

    /// Holds a message as it was shown against what was stored and sent.
    pub fn shown(&mut self, at: Incarnation, m: &Message) -> Result<(), Violation> {
        let log = self.logs.get_mut(&at).expect("readers read logs that are");
        let place = || format!("{} of {}", m.offset, m.topic);
        let Some(Stored::Message { sender, counter, epoch, time, id, seen }) =
            log.entries.get_mut(m.offset.0 as usize)
        else {
            return Err(Rule::ContentIsTrue.broken(format!("there is no message at {}", place())));
        };
        let is_theirs = (*sender, *counter, *epoch, *time) == (m.fingerprint, m.counter, m.epoch, m.time);
        Rule::ContentIsTrue.check(is_theirs, || format!("{} is another's, or of another time", place()))?;
        let named = m.content.first_chunk::<ID_BYTES>().map(|id| MessageId(u64::from_be_bytes(*id)));
        if let Some(named) = named {
            return self.identify_shown(at, m, named);
        }
        let same = seen.get_or_insert_with(|| m.content.clone()) == &m.content;
        Rule::ContentIsTrue.check(same, || format!("two subscribers saw other contents at {}", place()))?;
        match *id {
            Some(id) => self.compare(id, &m.content, m.offset),
            None => Ok(()),
        }
    }

    fn identify_shown(&mut self, at: Incarnation, m: &Message, id: MessageId) -> Result<(), Violation> {
        self.compare(id, &m.content, m.offset)?;
        let sent = &self.sent[id.0 as usize];
        let holds = sent.sender == m.fingerprint && sent.topic == m.topic;
        Rule::ContentIsTrue.check(holds, || format!("{id:?} came from elsewhere than it was sent"))?;
        let refused = sent.refused_by == Some(self.logs[&at].generation);
        Rule::AnswersAreTrue.check(!refused, || format!("{id:?} was refused, and is there"))?;
        self.identify(at, m.offset, id)
    }

    fn compare(&self, id: MessageId, shown: &[u8], offset: Offset) -> Result<(), Violation> {
        let sent = self.sent.get(id.0 as usize);
        let same = sent.is_some_and(|sent| content(id, sent.len) == shown);
        Rule::ContentIsTrue.check(same, || format!("what stands at {offset} is not {id:?} as it was sent"))
    }

    /// Notes which message stands at a place.
    fn identify(&mut self, at: Incarnation, offset: Offset, is: MessageId) -> Result<(), Violation> {
        let generation = self.logs[&at].generation;
        if let Some((answered, _)) = self.sent[is.0 as usize].answered_at {
            let later = self.logs[&answered].generation;
            Rule::NothingIsRepeated
                .check(generation <= later, || format!("{is:?} was sent again after its answer"))?;
        }
        let log = self.logs.get_mut(&at).expect("the log was just there");
        let before = log.places.insert(is, offset);
        Rule::NothingIsRepeated.check(before.is_none_or(|before| before == offset), || {
            format!("{is:?} stands at {} and at {offset} of {}", before.unwrap_or_default(), log.name)
        })?;
        let Some(Stored::Message { id, seen, .. }) = log.entries.get_mut(offset.0 as usize) else {
            return Err(Rule::ContentIsTrue.broken(format!("{offset} is no message")));
        };
        let same = id.get_or_insert(is) == &is;
        Rule::ContentIsTrue.check(same, || format!("{offset} is {id:?} to one and {is:?} to another"))?;
        match seen.clone() {
            Some(seen) => self.compare(is, &seen, offset),
            None => Ok(()),
        }
    }

    /// Holds the order in every log against that in which each client was given its messages.
    pub fn check_publishers_order(&self) -> Result<(), Violation> {
        for log in self.logs.values() {
            let mut last: HashMap<u64, MessageId> = HashMap::new();
            for entry in &log.entries {
                let Stored::Message { id: Some(id), .. } = entry else { continue };
                let before = last.insert(self.sent[id.0 as usize].life, *id);
                Rule::OrderHolds.check(before.is_none_or(|before| before < *id), || {
                    format!("{id:?} stands behind {before:?} in {}", log.name)
                })?;
            }
        }
        Ok(())
    }
}

impl Log {
    fn new(generation: u32, name: TopicName) -> Log {
        Log {
            generation,
            name,
            ledger: None,
            first: Offset(0),
            entries: Vec::new(),
            counters: HashSet::new(),
            places: HashMap::new(),
        }
    }

    /// Its membership: the store makes a log with its first records.
    pub fn ledger(&self) -> &Ledger {
        self.ledger.as_ref().expect("a log begins with its first record")
    }

    /// The offset that the next entry gets.
    pub fn end(&self) -> Offset {
        Offset(self.entries.len() as u64)
    }

    /// The offsets of the messages in a range, dropped ones included.
    pub fn messages(&self, from: Offset, to: Offset) -> impl DoubleEndedIterator<Item = (Offset, Wall)> {
        let to = to.0.min(self.entries.len() as u64);
        (from.0..to).filter_map(|at| match &self.entries[at as usize] {
            Stored::Message { time, .. } => Some((Offset(at), *time)),
            Stored::Record => None,
        })
    }

    pub fn messages_between(&self, from: Offset, to: Offset) -> usize {
        self.messages(from, to).count()
    }

    fn append(&mut self, entry: &Entry) -> Result<(), Violation> {
        Rule::OrderHolds.check(entry.offset == self.end(), || {
            format!("{} got an entry {} behind {} others", self.name, entry.offset, self.entries.len())
        })?;
        let stored = match &entry.content {
            Content::Record { record, wraps, .. } => {
                match &mut self.ledger {
                    None => self.ledger = Some(Ledger::begin(record)?),
                    Some(ledger) => {
                        ledger.append(entry.offset, record, wraps.iter().map(|(to, _)| *to))?;
                    }
                }
                Stored::Record
            }
            Content::Message { sender, counter, epoch, .. } => {
                let ledger = self.ledger();
                let (at, epoch) = (entry.offset, *epoch);
                Rule::MembersDecide.check(ledger.may_send(sender.fingerprint), || {
                    format!("{at} of {} is of {}, who is no member", self.name, sender.name)
                })?;
                Rule::MembersDecide.check(ledger.epoch_at(at) == Some(epoch), || {
                    format!("{at} of {} is of epoch {epoch}, which does not hold", self.name)
                })?;
                let is_new = self.counters.insert((sender.fingerprint, sender.publisher, *counter));
                Rule::NothingIsRepeated.check(is_new, || {
                    format!("number {counter} of {} is in {} twice", sender.name, self.name)
                })?;
                let (sender, counter, time) = (sender.fingerprint, *counter, entry.time);
                Stored::Message { sender, counter, epoch, time, id: None, seen: None }
            }
        };
        if self.entries.is_empty() {
            self.first = entry.offset;
        }
        self.entries.push(stored);
        Ok(())
    }
}

/// What a message of this number and length says.
fn content(id: MessageId, len: usize) -> Vec<u8> {
    let mut content = vec![id.0 as u8; len];
    if let Some(head) = content.first_chunk_mut::<ID_BYTES>() {
        *head = id.0.to_be_bytes();
    }
    content
}
