//! The shadow model: every log as the store has it, every message as its sender meant it.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use super::ledger::Ledger;
use super::platter::StoreNews;
use super::rules::{Rule, Violation};
use crate::base::Wall;
use crate::base::ids::{Counter, Epoch, Fingerprint, Incarnation, Offset, PublisherId, TopicId};
use crate::base::names::{Name, TopicName};
use crate::client::Message;
use crate::store::{Content, Durability, Entry, LogSettings, Retain};
use crate::wire::values::Retention;

/// All that was stored in a run, whichever broker ran at the time, and all that was sent.
#[derive(Default)]
pub struct Model {
    logs: BTreeMap<Incarnation, Log>,
    /// The logs that a topic's name has had, one after the other.
    names: BTreeMap<TopicName, Vec<Incarnation>>,
    sent: Vec<Sent>,
    /// Whose certificate was revoked.
    pub revoked: Option<Name>,
    /// Whether there is a revocation list that somebody may go by.
    pub has_crl: bool,
    /// Who has asked to join, and perhaps does not know yet that it has come to the broker.
    pub asked_to_join: BTreeSet<(TopicName, Fingerprint)>,
    /// Who was told that the request is kept.
    pub joining: BTreeSet<(Incarnation, Fingerprint)>,
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
    /// The log that it was refused for, and how often that had lost its messages: there it is not.
    refused_by: Option<(Incarnation, u32)>,
}

/// One topic's log.
pub struct Log {
    pub name: TopicName,
    /// Its place among all logs that were made.
    born: usize,
    durability: Durability,
    /// Its retention from the first one to that which holds.
    retained: Vec<Retain>,
    /// Its topic was deleted.
    pub is_removed: bool,
    ledger: Option<Ledger>,
    /// The oldest message kept, or the end.
    pub first: Offset,
    entries: Vec<Stored>,
    /// How often it has lost its messages: one of RAM does with each broker.
    losses: u32,
    counters: HashSet<(Fingerprint, PublisherId, Counter)>,
    /// Whom which message was shown to.
    readers: HashSet<(Fingerprint, Offset)>,
    /// Where each message stands, and after how many losses.
    places: HashMap<MessageId, (u32, Offset)>,
}

/// An entry that the store has.
enum Stored {
    Record,
    /// An offset that a log of RAM has left out, for it may have been given to a message.
    Nothing,
    Message {
        losses: u32,
        sender: Fingerprint,
        publisher: PublisherId,
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

    /// The log that a topic has now.
    pub fn log_of(&self, topic: &TopicName) -> Option<(Incarnation, &Log)> {
        let log = self.names.get(topic)?.last()?;
        Some((*log, self.logs.get(log).filter(|log| !log.is_removed)?))
    }

    /// All logs that a topic has had.
    pub fn logs_named(&self, topic: &TopicName) -> impl Iterator<Item = (Incarnation, &Log)> {
        let logs = self.names.get(topic).into_iter().flatten();
        logs.filter_map(|log| Some((*log, self.logs.get(log)?)))
    }

    /// The logs of all topics that there are.
    pub fn live_logs(&self) -> impl Iterator<Item = (Incarnation, &Log)> {
        self.logs.iter().filter(|(_, log)| !log.is_removed).map(|(id, log)| (*id, log))
    }

    /// The log of a topic that is or was.
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

    /// The store has told something.
    pub fn store_told(&mut self, news: StoreNews) -> Result<(), Violation> {
        match news {
            StoreNews::Created { log, settings, entries } => {
                let name = settings.name.clone();
                let is_free = self.log_of(&name).is_none();
                Rule::NothingIsRepeated.check(is_free, || format!("{name} was made twice"))?;
                self.names.entry(name.clone()).or_default().push(log);
                let mut made = Log::new(settings, self.logs.len());
                for entry in entries {
                    made.append(&entry)?;
                }
                self.logs.insert(log, made);
            }
            StoreNews::Appended { log, entry } => self.told_of(log).append(&entry)?,
            StoreNews::Trimmed { log, kept } => {
                let log = self.told_of(log);
                log.first = kept.oldest.map_or(log.end(), |(offset, _)| offset);
            }
            StoreNews::Configured { log, retain } => self.told_of(log).retained.push(retain),
            StoreNews::Removed { log } => self.told_of(log).is_removed = true,
            StoreNews::Emptied { log, next } => {
                let log = self.told_of(log);
                let is_of_ram = log.durability == Durability::Memory;
                Rule::NothingIsLost.check(is_of_ram, || format!("{} was on disk", log.name))?;
                log.empty(next);
            }
        }
        Ok(())
    }

    fn told_of(&mut self, log: Incarnation) -> &mut Log {
        self.logs.get_mut(&log).expect("the store changes logs that it has made")
    }

    /// A publish was answered with an offset.
    pub fn answered(
        &mut self,
        id: MessageId,
        counter: Counter,
        offset: Offset,
    ) -> Result<Incarnation, Violation> {
        let Sent { sender, topic, answered_at, .. } = &self.sent[id.0 as usize];
        Rule::AnswersComeOnce.check(answered_at.is_none(), || format!("{id:?} has two offsets"))?;
        let stands = |log: &Log| match log.entries.get(offset.0 as usize) {
            Some(Stored::Message { sender: of, counter: number, .. }) => (*of, *number) == (*sender, counter),
            _ => false,
        };
        // The topic may have been made anew since.
        let at = self.logs_named(topic).filter(|(_, log)| stands(log)).map(|(at, _)| at).last();
        let at = at.ok_or_else(|| {
            let said = format!("{id:?} is not at {offset} of {topic}, where its answer says");
            Rule::AnswersAreTrue.broken(said)
        })?;
        self.sent[id.0 as usize].answered_at = Some((at, offset));
        self.identify(at, offset, id)?;
        Ok(at)
    }

    /// A publish was refused for good.
    pub fn refused(&mut self, id: MessageId) -> Result<(), Violation> {
        let topic = &self.sent[id.0 as usize].topic;
        let Some((at, log)) = self.log_of(topic) else { return Ok(()) };
        if self.logs_named(topic).count() > 1 {
            // It may be of the one before that the refusal speaks.
            return Ok(());
        }
        let losses = log.losses;
        let is_there = log.places.get(&id).is_some_and(|(since, _)| *since == losses);
        self.sent[id.0 as usize].refused_by = Some((at, losses));
        Rule::AnswersAreTrue.check(!is_there, || format!("{id:?} was refused, and is there"))
    }

    /// Holds a message as it was shown to `me` against what was stored and sent.
    pub fn shown(&mut self, at: Incarnation, m: &Message, me: Fingerprint) -> Result<(), Violation> {
        let log = self.logs.get_mut(&at).expect("readers read logs that are");
        log.readers.insert((me, m.offset));
        let place = || format!("{} of {}", m.offset, m.topic);
        let Some(Stored::Message { losses, sender, counter, epoch, time, id, seen, .. }) =
            log.entries.get_mut(m.offset.0 as usize)
        else {
            return Err(Rule::ContentIsTrue.broken(format!("there is no message at {}", place())));
        };
        let is_theirs = (*sender, *counter, *epoch, *time) == (m.fingerprint, m.counter, m.epoch, m.time);
        Rule::ContentIsTrue.check(is_theirs, || format!("{} is another's, or of another time", place()))?;
        let named = m.content.first_chunk::<ID_BYTES>().map(|id| MessageId(u64::from_be_bytes(*id)));
        if let Some(named) = named {
            let losses = *losses;
            return self.identify_shown(at, losses, m, named);
        }
        let same = seen.get_or_insert_with(|| m.content.clone()) == &m.content;
        Rule::ContentIsTrue.check(same, || format!("two subscribers saw other contents at {}", place()))?;
        match *id {
            Some(id) => self.compare(id, &m.content, m.offset),
            None => Ok(()),
        }
    }

    fn identify_shown(
        &mut self,
        at: Incarnation,
        losses: u32,
        m: &Message,
        id: MessageId,
    ) -> Result<(), Violation> {
        self.compare(id, &m.content, m.offset)?;
        let sent = &self.sent[id.0 as usize];
        let holds = sent.sender == m.fingerprint && sent.topic == m.topic;
        Rule::ContentIsTrue.check(holds, || format!("{id:?} came from elsewhere than it was sent"))?;
        let refused = sent.refused_by == Some((at, losses));
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
        if let Some((answered, _)) = self.sent[is.0 as usize].answered_at {
            let (born, later) = (self.logs[&at].born, self.logs[&answered].born);
            Rule::NothingIsRepeated
                .check(born <= later, || format!("{is:?} was sent again after its answer"))?;
        }
        let answered_at = self.sent[is.0 as usize].answered_at;
        let log = self.logs.get_mut(&at).expect("the log was just there");
        let Some(Stored::Message { losses, .. }) = log.entries.get(offset.0 as usize) else {
            return Err(Rule::ContentIsTrue.broken(format!("{offset} is no message")));
        };
        let losses = *losses;
        // What a log of RAM has lost may come again, unless its sender knows that it was there.
        let may_come_again = |(since, before): (u32, Offset)| {
            let is_known = answered_at == Some((at, before.min(offset)));
            before == offset || since != losses && !is_known
        };
        let before = log.places.insert(is, (losses, offset));
        Rule::NothingIsRepeated.check(before.is_none_or(may_come_again), || {
            let (_, before) = before.unwrap_or_default();
            format!("{is:?} stands at {before} and at {offset} of {}", log.name)
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
            let mut last: HashMap<(u64, u32), MessageId> = HashMap::new();
            for entry in &log.entries {
                let Stored::Message { id: Some(id), losses, .. } = entry else { continue };
                let before = last.insert((self.sent[id.0 as usize].life, *losses), *id);
                Rule::OrderHolds.check(before.is_none_or(|before| before < *id), || {
                    format!("{id:?} stands behind {before:?} in {}", log.name)
                })?;
            }
        }
        Ok(())
    }
}

impl Log {
    fn new(settings: LogSettings, born: usize) -> Log {
        let LogSettings { name, durability, retain } = settings;
        Log {
            name,
            born,
            durability,
            retained: vec![retain],
            is_removed: false,
            ledger: None,
            first: Offset(0),
            entries: Vec::new(),
            losses: 0,
            counters: HashSet::new(),
            readers: HashSet::new(),
            places: HashMap::new(),
        }
    }

    /// A broker has ended, and this log of RAM goes on at `next`.
    fn empty(&mut self, next: Offset) {
        self.losses += 1;
        self.counters.clear();
        while self.end() < next {
            self.entries.push(Stored::Nothing);
        }
        self.first = self.end();
    }

    /// Its membership: the store makes a log with its first records.
    pub fn ledger(&self) -> &Ledger {
        self.ledger.as_ref().expect("a log begins with its first record")
    }

    /// Whether this was its retention at some time.
    pub fn was_kept_by(&self, retention: Retention) -> bool {
        let Retention { count, bytes, age_ms } = retention;
        self.retained.contains(&Retain { messages: count, bytes, age_ms })
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
            Stored::Record | Stored::Nothing => None,
        })
    }

    /// Whether no message is kept in a range that has room for one: a gap, as far as anybody knows.
    pub fn is_gap(&self, from: Offset, to: Offset) -> bool {
        let to = to.0.min(self.entries.len() as u64);
        let is_record = |at: u64| matches!(self.entries[at as usize], Stored::Record);
        let last = (from.0..to).rfind(|at| !is_record(*at));
        last.is_some_and(|last| last < self.first.0)
    }

    /// Whether the message at `at` is one that `me` was shown before this log, which is of RAM, lost it:
    /// its sender had no answer and has sent it again. That it is then said to be repeated is documented:
    /// no subscriber can tell a broker that has lost something from one that repeats.
    pub fn comes_again(&self, at: Offset, counter: Counter, me: Fingerprint) -> bool {
        let message = |at: Offset| match self.entries.get(at.0 as usize)? {
            Stored::Message { losses, sender, publisher, counter, id, .. } => {
                Some((*losses, (*sender, *publisher, *counter), *id))
            }
            _ => None,
        };
        let Some((losses, named, id)) = message(at).filter(|(_, (.., number), _)| *number == counter) else {
            return false;
        };
        let is_same = |before: Offset| {
            message(before).is_some_and(|(since, same, was)| {
                same == named && since < losses && (id.is_none() || was.is_none() || id == was)
            })
        };
        let mut shown = self.readers.iter().filter(|(who, before)| *who == me && *before < at);
        self.durability == Durability::Memory && shown.any(|(_, before)| is_same(*before))
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
                let (publisher, counter, time) = (sender.publisher, *counter, entry.time);
                let (sender, losses) = (sender.fingerprint, self.losses);
                Stored::Message { losses, sender, publisher, counter, epoch, time, id: None, seen: None }
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
