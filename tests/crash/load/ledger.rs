//! What was answered and what was seen, and whether that fits: everything a crash must not change.
//!
//! It must not know processes, sockets or time. Every content is made once, from its publisher,
//! topic and number, so that a message is known by its content wherever it turns up.

use std::collections::{BTreeMap, BTreeSet, HashMap};

/// A message: the publisher's index, the topic's, and how many that publisher sent there before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Id {
    pub publisher: usize,
    pub topic: usize,
    pub number: u64,
}

/// What is promised for a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// On disk, all of it.
    Disk,
    /// On disk, the newest messages only.
    Short { count: u64 },
    /// In RAM: what was answered may be gone, and its offset is never another's.
    Memory,
}

/// One topic's place in the books.
pub struct Book {
    pub name: String,
    pub kind: Kind,
    /// By offset.
    answered: BTreeMap<u64, Id>,
    placed: HashMap<Id, u64>,
    /// For each publisher the number and the offset of its newest answer.
    newest: HashMap<usize, (u64, u64)>,
    /// What each subscriber has seen.
    seen: Vec<Seen>,
    /// The newest epoch that an answer has told.
    pub epoch: u32,
    /// Somebody new has read it up to here.
    pub checked: u64,
}

#[derive(Clone, Default)]
struct Seen {
    /// The offset to come at the earliest.
    next: u64,
    /// Below it all is compared.
    settled: u64,
    /// Since then.
    messages: BTreeMap<u64, Id>,
}

/// Sums for the table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sums {
    pub answered: u64,
    pub found: u64,
    pub lost: u64,
    pub twice: u64,
    pub seen: u64,
}

pub struct Ledger {
    pub books: Vec<Book>,
    pub violations: Vec<String>,
    pub sums: Sums,
    /// Sent when a connection was lost, and not answered.
    pub resent: u64,
    /// Answers since somebody asked last.
    pub fresh: u64,
    /// Of each publisher, as it last said.
    pub unanswered: Vec<usize>,
    /// Messages of memory topics that were refused.
    pub refused: u64,
    /// Messages of memory topics that a subscriber had seen before and was not shown again.
    pub repeats: u64,
    /// Changes of members that were answered.
    pub amended: u64,
}

impl Ledger {
    pub fn new(topics: &[(&str, Kind)], publishers: usize, subscribers: usize) -> Ledger {
        let book = |(name, kind): &(&str, Kind)| Book {
            name: (*name).to_owned(),
            kind: *kind,
            answered: BTreeMap::new(),
            placed: HashMap::new(),
            newest: HashMap::new(),
            seen: vec![Seen::default(); subscribers],
            epoch: 0,
            checked: 0,
        };
        Ledger {
            books: topics.iter().map(book).collect(),
            violations: Vec::new(),
            sums: Sums::default(),
            resent: 0,
            fresh: 0,
            unanswered: vec![0; publishers],
            refused: 0,
            repeats: 0,
            amended: 0,
        }
    }

    pub fn violation(&mut self, what: String) {
        // The first ones say it; a broken broker would fill the memory.
        if self.violations.len() < VIOLATIONS_MAX {
            self.violations.push(what);
        }
    }

    pub fn topic(&self, name: &str) -> Option<usize> {
        self.books.iter().position(|book| book.name == name)
    }

    /// A publish was answered with this offset.
    pub fn answer(&mut self, id: Id, offset: u64) {
        self.sums.answered += 1;
        self.fresh += 1;
        let book = &mut self.books[id.topic];
        let name = book.name.clone();
        let (before, place) = (book.answered.insert(offset, id), book.placed.insert(id, offset));
        let newest = book.newest.insert(id.publisher, (id.number, offset));
        if let Some(other) = before {
            self.violation(format!("{name}: offset {offset} was answered for {other:?}, then for {id:?}"));
        }
        if let Some(other) = place {
            self.violation(format!("{name}: {id:?} was answered with {other}, then with {offset}"));
        }
        if newest.is_some_and(|(number, at)| number >= id.number || at >= offset) {
            self.violation(format!("{name}: {id:?} at {offset} was answered behind {newest:?}"));
        }
    }

    /// A subscriber that stays was shown a message.
    pub fn show(&mut self, subscriber: usize, offset: u64, id: Id) {
        self.sums.seen += 1;
        let book = &mut self.books[id.topic];
        let name = book.name.clone();
        let seen = &mut book.seen[subscriber];
        let next = std::mem::replace(&mut seen.next, offset + 1);
        seen.messages.insert(offset, id);
        if offset < next {
            self.sums.twice += 1;
            self.violation(format!(
                "{name}: subscriber {subscriber} saw {offset} ({id:?}), and {next} before"
            ));
        }
    }

    /// A subscriber was told that messages are gone: only retention and RAM may lose them.
    pub fn gap(&mut self, subscriber: usize, topic: usize, from: u64, to: u64) {
        if self.books[topic].kind == Kind::Disk {
            let name = self.books[topic].name.clone();
            self.violation(format!("{name}: subscriber {subscriber} was told of a gap from {from} to {to}"));
        }
    }

    /// Whether a subscriber has seen all that was answered.
    pub fn is_up_to_date(&self, subscriber: usize) -> bool {
        self.books.iter().filter(|book| book.kind != Kind::Memory).all(|book| {
            book.answered.keys().next_back().is_none_or(|last| book.seen[subscriber].next > *last)
        })
    }

    /// Nothing is under way, and all subscribers are up to date: what they saw is what was answered.
    pub fn settle(&mut self) {
        let mut faults = Vec::new();
        for book in &mut self.books {
            let Book { name, kind, answered, seen, .. } = book;
            for (number, seen) in seen.iter_mut().enumerate() {
                let messages = std::mem::take(&mut seen.messages);
                for (offset, id) in &messages {
                    // One of RAM may have been shown, and its answer lost with the broker.
                    let known = answered.get(offset);
                    if known != Some(id) && (*kind != Kind::Memory || known.is_some()) {
                        faults.push(format!(
                            "{name}: subscriber {number} saw {id:?} at {offset}, answered: {known:?}"
                        ));
                    }
                }
                if *kind == Kind::Disk {
                    let missing =
                        answered.range(seen.settled..).find(|(offset, _)| !messages.contains_key(offset));
                    faults.extend(missing.map(|(offset, id)| {
                        format!("{name}: subscriber {number} was not shown {id:?} at {offset}")
                    }));
                }
                seen.settled = answered.keys().next_back().map_or(0, |last| last + 1);
            }
        }
        faults.into_iter().for_each(|fault| self.violation(fault));
    }

    /// What somebody new has read of a topic, `from` an offset to its end, when nothing was under way.
    pub fn compare(&mut self, topic: usize, from: u64, read: &[(u64, Id)]) {
        let book = &self.books[topic];
        let mut faults = Vec::new();
        let mut sums = Sums::default();
        let name = &book.name;
        let at: BTreeMap<u64, Id> = read.iter().copied().collect();
        let contents: BTreeSet<Id> = read.iter().map(|(_, id)| *id).collect();
        if at.len() < read.len() || contents.len() < read.len() {
            sums.twice += (read.len() - at.len().min(contents.len())) as u64;
            faults.push(format!("{name}: {} messages read, {} different", read.len(), contents.len()));
        }
        let oldest = match book.kind {
            Kind::Short { .. } => at.keys().next().copied().unwrap_or(u64::MAX).max(from),
            _ => from,
        };
        for (offset, id) in book.answered.range(oldest..) {
            match at.get(offset) {
                Some(found) if found == id => sums.found += 1,
                _ if book.kind == Kind::Memory => {}
                other => {
                    sums.lost += 1;
                    faults
                        .push(format!("{name}: {id:?} was answered with {offset}, where there is {other:?}"));
                }
            }
        }
        let strangers = at.iter().filter(|(offset, id)| book.answered.get(offset) != Some(id));
        let strangers: Vec<_> = strangers.filter(|_| book.kind != Kind::Memory).collect();
        faults.extend(strangers.first().map(|(offset, id)| {
            format!("{name}: {id:?} is at {offset}, which was not answered so ({} such)", strangers.len())
        }));
        if let Kind::Short { count } = book.kind {
            let kept = book.answered.range(oldest..).count() as u64;
            let wanted = (book.answered.range(from..).count() as u64).min(count);
            if kept < wanted {
                faults.push(format!("{name}: {kept} messages are kept, of {wanted} at least"));
            }
        }
        faults.extend(out_of_order(&at).map(|what| format!("{name}: {what}")));
        self.sums.found += sums.found;
        self.sums.lost += sums.lost;
        self.sums.twice += sums.twice;
        self.books[topic].checked = self.books[topic].checked.max(at.keys().next_back().map_or(0, |o| o + 1));
        faults.into_iter().for_each(|fault| self.violation(fault));
    }

    /// What the files of a broker that is gone hold of a topic: offsets of messages, `end` the next one.
    /// All that was answered is among them; more may be.
    pub fn compare_files(&mut self, topic: usize, from: u64, offsets: &BTreeSet<u64>, end: u64) {
        let book = &self.books[topic];
        let oldest = match book.kind {
            Kind::Disk => from,
            Kind::Short { .. } => offsets.first().copied().unwrap_or(u64::MAX).max(from),
            Kind::Memory => u64::MAX,
        };
        let lost: Vec<u64> = book
            .answered
            .range(oldest..)
            .map(|(offset, _)| *offset)
            .filter(|o| !offsets.contains(o))
            .collect();
        let mut faults = Vec::new();
        if let Some(first) = lost.first() {
            faults.push(format!(
                "{}: {} answered messages are not in the files, first {first}",
                book.name,
                lost.len()
            ));
        }
        let last = book.answered.keys().next_back().copied();
        if last.is_some_and(|last| end <= last) {
            faults.push(format!("{}: the files go on at {end}, {last:?} was answered", book.name));
        }
        self.sums.lost += lost.len() as u64;
        faults.into_iter().for_each(|fault| self.violation(fault));
    }
}

/// The first message that stands before an earlier one of the same publisher.
fn out_of_order(at: &BTreeMap<u64, Id>) -> Option<String> {
    let mut newest: HashMap<usize, Id> = HashMap::new();
    at.iter().find_map(|(offset, id)| {
        let before = newest.insert(id.publisher, *id)?;
        (before.number >= id.number).then(|| format!("{id:?} at {offset} stands behind {before:?}"))
    })
}

impl Id {
    /// The content: the id in words, filled up to a length that depends on it.
    pub fn content(self) -> Vec<u8> {
        self.padded((self.number.wrapping_mul(2_654_435_761) >> 7) % FILLER_MAX)
    }

    /// The same, filled up with so many bytes.
    pub fn padded(self, filler: u64) -> Vec<u8> {
        let Id { publisher, topic, number } = self;
        let mut content = format!("{publisher}/{topic}/{number}/{filler}/").into_bytes();
        content.extend((0..filler).map(|i| b'a' + ((i + number) % 26) as u8));
        content
    }

    /// What message a content is of, if it is whole.
    pub fn of(content: &[u8]) -> Option<Id> {
        let text = std::str::from_utf8(content).ok()?;
        let mut parts = text.split('/');
        let mut next = || parts.next()?.parse::<u64>().ok();
        let (publisher, topic, number, filler) = (next()?, next()?, next()?, next()?);
        let id =
            Id { publisher: usize::try_from(publisher).ok()?, topic: usize::try_from(topic).ok()?, number };
        (filler <= content.len() as u64 && id.padded(filler) == content).then_some(id)
    }
}

const VIOLATIONS_MAX: usize = 20;
/// Bytes beyond the words, at most.
const FILLER_MAX: u64 = 700;
