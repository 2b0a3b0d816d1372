//! What a simulated disk has: logs, publishers and notes, changed by whole transactions and told to
//! the model as it changes. It must not know when it is written to, nor by whom.

use std::collections::{BTreeMap, VecDeque};
use std::mem::size_of;
use std::sync::Arc;

use crate::base::Wall;
use crate::base::ids::{Counter, Incarnation, Offset};
use crate::store::{
    Content, Contents, Durability, Entry, Find, Keep, Kept, LogSettings, NewEntry, Note, NoteKind, Op,
    Outcome, Retain, Run, Sender, StoreError, Stored, StoredPublisher, Ticket,
};

/// What has become true in the store.
#[derive(Clone)]
pub enum StoreNews {
    Created {
        log: Incarnation,
        settings: LogSettings,
        entries: Vec<Arc<Entry>>,
    },
    Appended {
        log: Incarnation,
        entry: Arc<Entry>,
    },
    Trimmed {
        log: Incarnation,
        kept: Kept,
    },
    Configured {
        log: Incarnation,
        retain: Retain,
    },
    Removed {
        log: Incarnation,
    },
    /// A log of RAM has lost its messages, and goes on at `next`.
    Emptied {
        log: Incarnation,
        next: Offset,
    },
}

/// All logs and notes. What it holds of a log of RAM is that log's RAM as well: see
/// [`Platter::lose_memory`].
#[derive(Clone, Default)]
pub struct Platter {
    logs: BTreeMap<Incarnation, Log>,
    notes: BTreeMap<(NoteKind, Vec<u8>), Vec<u8>>,
    pub used_bytes: u64,
    pub news: VecDeque<StoreNews>,
}

#[derive(Clone)]
struct Log {
    settings: LogSettings,
    entries: BTreeMap<Offset, Arc<Entry>>,
    /// The offset and the earliest time of the next entry.
    next: Offset,
    time: Wall,
    bytes: u64,
    /// How many messages of each sender are kept, by its number.
    senders: BTreeMap<u32, u64>,
    publishers: BTreeMap<u32, StoredPublisher>,
    next_sender: u32,
    /// Of a log of RAM: offsets below were given out, perhaps.
    reserved: Offset,
    /// Appends with a lower ticket fail: one before them did.
    refused_before: Ticket,
    /// The one that did last.
    failed: Option<Ticket>,
}

/// Room that a change may take, and whether the disk has any.
#[derive(Clone, Copy)]
pub struct Room {
    pub bytes_max: u64,
    pub is_full: bool,
}

type Result = std::result::Result<Outcome, StoreError>;

impl Platter {
    /// Does a change, all of it or nothing.
    pub fn change(&mut self, ticket: Ticket, op: &Op, room: Room) -> Result {
        let left = match room.is_full {
            true => 0,
            false => room.bytes_max.saturating_sub(self.used_bytes),
        };
        match op {
            Op::Create { log, settings, records } => self.create(*log, settings, records, left),
            Op::Append { log, entry } => self.append(ticket, *log, entry, left),
            Op::Trim { log, keep } => self.trim(*log, keep),
            Op::Configure { log, retain } => {
                self.log(*log)?.settings.retain = *retain;
                self.news.push_back(StoreNews::Configured { log: *log, retain: *retain });
                Ok(Outcome::Configured)
            }
            Op::Remove { log } => {
                let gone = self.logs.remove(log).ok_or(StoreError::NoSuchLog)?;
                self.used_bytes -= gone.bytes;
                self.news.push_back(StoreNews::Removed { log: *log });
                Ok(Outcome::Removed { freed_bytes: gone.bytes })
            }
            Op::Forget { log, sender } => {
                self.log(*log)?.publishers.remove(sender);
                Ok(Outcome::Forgotten)
            }
            Op::Put { .. } if room.is_full => Err(StoreError::Full),
            Op::Put { note: Note { kind, key, value } } => {
                self.notes.insert((*kind, key.clone()), value.clone());
                Ok(Outcome::Noted)
            }
            Op::Drop { kind, key } => {
                self.notes.remove(&(*kind, key.clone()));
                Ok(Outcome::Noted)
            }
            Op::Read { .. } | Op::Find { .. } => self.look(op),
        }
    }

    /// Answers a query.
    pub fn look(&mut self, op: &Op) -> Result {
        match *op {
            Op::Read { log, from, below, bytes_max, records_only } => {
                let (entries, next) = self.log(log)?.read(from, below, bytes_max, records_only);
                Ok(Outcome::Entries { entries, next })
            }
            Op::Find { log, what } => Ok(Outcome::Found(self.log(log)?.find(what))),
            _ => Err(StoreError::Failed("a change is no query".into())),
        }
    }

    fn create(&mut self, id: Incarnation, settings: &LogSettings, records: &[NewEntry], left: u64) -> Result {
        if self.logs.contains_key(&id) {
            return Err(StoreError::Exists);
        }
        let mut log = Log::new(settings.clone());
        let entries: Vec<_> = records.iter().map(|record| log.append(record)).collect();
        if log.bytes > left {
            return Err(StoreError::Full);
        }
        log.reserved = Offset(log.next.0 + RESERVED);
        self.used_bytes += log.bytes;
        let (settings, told) = (settings.clone(), entries.clone());
        self.news.push_back(StoreNews::Created { log: id, settings, entries: told });
        self.logs.insert(id, log);
        Ok(Outcome::Created { entries })
    }

    fn append(&mut self, ticket: Ticket, id: Incarnation, new: &NewEntry, left: u64) -> Result {
        let log = self.log(id)?;
        if ticket < log.refused_before {
            return Err(StoreError::EarlierFailed);
        }
        let before = log.bytes;
        if log.cost(new) > left {
            // Until the failure is seen.
            (log.refused_before, log.failed) = (Ticket(u64::MAX), Some(ticket));
            return Err(StoreError::Full);
        }
        let entry = log.append(new);
        let cost = log.bytes - before;
        self.used_bytes += cost;
        self.news.push_back(StoreNews::Appended { log: id, entry: Arc::clone(&entry) });
        Ok(Outcome::Appended { entry })
    }

    fn trim(&mut self, id: Incarnation, keep: &Keep) -> Result {
        let log = self.log(id)?;
        let before = log.bytes;
        while log.exceeds(keep) {
            log.drop_oldest();
        }
        let (freed_bytes, kept) = (before - log.bytes, log.kept());
        self.used_bytes -= freed_bytes;
        self.news.push_back(StoreNews::Trimmed { log: id, kept });
        Ok(Outcome::Trimmed { freed_bytes, kept })
    }

    fn log(&mut self, id: Incarnation) -> std::result::Result<&mut Log, StoreError> {
        self.logs.get_mut(&id).ok_or(StoreError::NoSuchLog)
    }

    /// The failure of an append was seen: appends from `next` on are new.
    pub fn seen(&mut self, id: Incarnation, failed: Ticket, next: Ticket) {
        if let Some(log) = self.logs.get_mut(&id).filter(|log| log.failed == Some(failed)) {
            log.refused_before = next;
        }
    }

    /// Whether a log is one of RAM: `None` if it is not there.
    pub fn durability(&self, id: Incarnation) -> Option<Durability> {
        self.logs.get(&id).map(|log| log.settings.durability)
    }

    /// How many more offsets a log of RAM may give out.
    pub fn offsets_left(&self, id: Incarnation) -> u64 {
        self.logs.get(&id).map_or(0, |log| log.reserved.0.saturating_sub(log.next.0))
    }

    /// A log of RAM may give out more offsets.
    pub fn reserve(&mut self, id: Incarnation) {
        if let Some(log) = self.logs.get_mut(&id) {
            log.reserved = log.reserved.max(Offset(log.next.0 + RESERVED));
        }
    }

    /// The process ends, and with it what was only in RAM.
    pub fn lose_memory(&mut self) {
        for (id, log) in &mut self.logs {
            (log.refused_before, log.failed) = (Ticket(0), None);
            if log.settings.durability == Durability::Disk {
                continue;
            }
            let before = log.bytes;
            while log.oldest().is_some() {
                log.drop_oldest();
            }
            self.used_bytes -= before - log.bytes;
            log.next = log.next.max(log.reserved);
            log.publishers.clear();
            log.next_sender = 0;
            self.news.push_back(StoreNews::Emptied { log: *id, next: log.next });
        }
    }

    /// What a broker is told at its start.
    pub fn contents(&self) -> Contents {
        let note = |((kind, key), value): (&(NoteKind, Vec<u8>), &Vec<u8>)| Note {
            kind: *kind,
            key: key.clone(),
            value: value.clone(),
        };
        Contents {
            logs: self.logs.iter().map(|(id, log)| log.stored(*id)).collect(),
            notes: self.notes.iter().map(note).collect(),
        }
    }

    /// Loses a log's newest membership record, which must not be: to see that it is noticed.
    pub fn forget_last_record(&mut self, id: Incarnation) {
        let Some(log) = self.logs.get_mut(&id) else { return };
        let records = log.entries.values().filter(|entry| !entry.is_message());
        // Without its first two there is no topic.
        if let Some(newest) = records.map(|record| record.offset).skip(2).last() {
            log.entries.remove(&newest);
        }
    }

    /// Takes a log's last message back, so that its offset is given again, which must not be: to see
    /// that it is noticed.
    pub fn forget_last_offset(&mut self, id: Incarnation) {
        let Some(log) = self.logs.get_mut(&id) else { return };
        let Some((last, entry)) = log.entries.last_key_value() else { return };
        let Content::Message { sender, counter, .. } = &entry.content else { return };
        let Some(publisher) = log.publishers.get_mut(&sender.number) else { return };
        (publisher.next, log.next) = (*counter, *last);
        shorten(&mut publisher.runs);
        log.entries.pop_last();
    }
}

/// Forgets where the last of a publisher's messages stands.
pub fn shorten(runs: &mut Vec<Run>) {
    match runs.last_mut() {
        Some(run) if run.len > 1 => run.len -= 1,
        _ => runs.truncate(runs.len().saturating_sub(1)),
    }
}

impl Log {
    fn new(settings: LogSettings) -> Log {
        Log {
            bytes: (size_of::<Log>() + settings.name.as_str().len()) as u64,
            settings,
            entries: BTreeMap::new(),
            next: Offset(0),
            time: Wall(0),
            senders: BTreeMap::new(),
            publishers: BTreeMap::new(),
            next_sender: 0,
            reserved: Offset(0),
            refused_before: Ticket(0),
            failed: None,
        }
    }

    fn cost(&self, new: &NewEntry) -> u64 {
        let sender_bytes = match &new.content {
            Content::Message { sender, .. } if !self.senders.contains_key(&sender.number) => sender.bytes(),
            _ => 0,
        };
        new.content.bytes() + sender_bytes
    }

    fn append(&mut self, new: &NewEntry) -> Arc<Entry> {
        self.bytes += self.cost(new);
        self.time = self.time.max(new.time);
        let entry = Arc::new(Entry { offset: self.next, time: self.time, content: new.content.clone() });
        self.next = self.next.next();
        if let Content::Message { sender, counter, .. } = &entry.content {
            *self.senders.entry(sender.number).or_default() += 1;
            self.count(sender, *counter, &entry);
        }
        self.entries.insert(entry.offset, Arc::clone(&entry));
        entry
    }

    /// Notes where a publisher is.
    fn count(&mut self, sender: &Arc<Sender>, counter: Counter, entry: &Entry) {
        self.next_sender = self.next_sender.max(sender.number + 1);
        let publisher = self.publishers.entry(sender.number).or_insert_with(|| StoredPublisher {
            sender: Arc::clone(sender),
            next: Counter(0),
            last_publish: Wall(0),
            runs: Vec::new(),
        });
        (publisher.next, publisher.last_publish) = (counter.next(), entry.time);
        let goes_on =
            |run: &&mut Run| (run.counter.0 + run.len, run.offset.0 + run.len) == (counter.0, entry.offset.0);
        match publisher.runs.last_mut().filter(goes_on) {
            Some(run) => run.len += 1,
            None => publisher.runs.push(Run { counter, offset: entry.offset, len: 1 }),
        }
    }

    fn messages(&self) -> impl DoubleEndedIterator<Item = &Arc<Entry>> {
        self.entries.values().filter(|entry| entry.is_message())
    }

    fn oldest(&self) -> Option<&Arc<Entry>> {
        self.messages().next()
    }

    fn kept(&self) -> Kept {
        Kept {
            messages: self.messages().count() as u64,
            bytes: self.messages().map(|message| message.content.body_bytes()).sum(),
            oldest: self.oldest().map(|oldest| (oldest.offset, oldest.time)),
        }
    }

    fn exceeds(&self, keep: &Keep) -> bool {
        let over = |is: u64, max: u64| max > 0 && is > max;
        let kept = self.kept();
        let is_old = kept.oldest.is_some_and(|(offset, time)| offset < keep.from || time < keep.since);
        is_old || over(kept.messages, keep.messages) || over(kept.bytes, keep.bytes)
    }

    fn drop_oldest(&mut self) {
        let Some(oldest) = self.oldest().cloned() else { return };
        self.entries.remove(&oldest.offset);
        self.bytes -= oldest.bytes();
        let Content::Message { sender, .. } = &oldest.content else { return };
        let kept = self.senders.get_mut(&sender.number).expect("a kept message's sender is counted");
        *kept -= 1;
        if *kept == 0 {
            self.senders.remove(&sender.number);
            self.bytes -= sender.bytes();
        }
    }

    fn read(
        &self,
        from: Offset,
        below: Offset,
        bytes_max: usize,
        records_only: bool,
    ) -> (Vec<Arc<Entry>>, Offset) {
        let below = below.min(self.next).max(from);
        let (mut entries, mut left) = (Vec::new(), bytes_max as u64);
        let range = self.entries.range(from..below).map(|(_, entry)| entry);
        for entry in range.filter(|entry| !records_only || !entry.is_message()) {
            if entry.bytes() > left && !entries.is_empty() {
                return (entries, entry.offset);
            }
            left = left.saturating_sub(entry.bytes());
            entries.push(Arc::clone(entry));
        }
        (entries, below)
    }

    fn find(&self, what: Find) -> Offset {
        let found = match what {
            Find::Since(time) => self.messages().find(|message| message.time >= time),
            Find::Last(0) => None,
            Find::Last(count) => {
                let newest = self.messages().rev().take(usize::try_from(count).unwrap_or(usize::MAX));
                newest.last()
            }
        };
        found.map_or(self.next, |message| message.offset)
    }

    fn stored(&self, log: Incarnation) -> Stored {
        Stored {
            log,
            settings: self.settings.clone(),
            records: self.entries.values().filter(|entry| !entry.is_message()).cloned().collect(),
            next: self.next,
            time: self.time,
            kept: self.kept(),
            publishers: self.publishers.values().cloned().collect(),
            next_sender: self.next_sender,
        }
    }
}

/// How many offsets of a log of RAM are given out ahead: few, so that a run reaches the end of them.
pub const RESERVED: u64 = 8;
