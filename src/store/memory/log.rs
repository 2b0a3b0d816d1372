//! One log in RAM: records and messages apart, so that dropping the oldest messages costs
//! only them and reading records costs only those.

use std::cmp::Ordering;
use std::collections::VecDeque;
use std::mem::size_of;
use std::sync::Arc;

use crate::base::Wall;
use crate::base::ids::Offset;
use crate::base::plain_hash::PlainMap;
use crate::store::{Content, Entry, Find, Keep, Kept, LogSettings, NewEntry, Ticket};

pub(in crate::store) struct Log {
    /// Both in the order of their offsets, which are also in the order of their times.
    records: Vec<Arc<Entry>>,
    messages: VecDeque<Arc<Entry>>,
    /// How many messages of each sender, by its number, are kept.
    senders: PlainMap<u32, u64>,
    /// The offset and the earliest time of the next entry.
    next: Offset,
    time: Wall,
    bytes: u64,
    /// Of the bodies of the messages.
    body_bytes: u64,
    /// Appends with a lower ticket fail: one before them did.
    pub(in crate::store) refused_before: Ticket,
}

impl Log {
    pub(in crate::store) fn new(settings: &LogSettings) -> Log {
        Log {
            records: Vec::new(),
            messages: VecDeque::new(),
            senders: PlainMap::default(),
            next: Offset(0),
            time: Wall(0),
            bytes: (size_of::<Log>() + settings.name.as_str().len()) as u64,
            body_bytes: 0,
            refused_before: Ticket(0),
        }
    }

    /// A log as it was when the process ended, of which only the records are left.
    pub(in crate::store) fn restore(
        settings: &LogSettings,
        records: Vec<Arc<Entry>>,
        next: Offset,
        time: Wall,
    ) -> Log {
        let mut log = Log::new(settings);
        log.bytes += records.iter().map(|record| record.bytes()).sum::<u64>();
        Log { records, next, time, ..log }
    }

    /// The offset and the earliest time of the next entry.
    pub(in crate::store) fn end(&self) -> (Offset, Wall) {
        (self.next, self.time)
    }

    /// Bytes of the log and all that it keeps.
    pub(in crate::store) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Bytes that appending `entry` would add.
    pub(in crate::store) fn cost(&self, entry: &NewEntry) -> u64 {
        let sender_bytes = match &entry.content {
            Content::Message { sender, .. } if !self.senders.contains_key(&sender.number) => sender.bytes(),
            _ => 0,
        };
        entry.content.bytes() + sender_bytes
    }

    pub(in crate::store) fn append(&mut self, new: NewEntry) -> Arc<Entry> {
        self.bytes += self.cost(&new);
        self.body_bytes += new.content.body_bytes();
        self.time = self.time.max(new.time);
        let entry = Arc::new(Entry { offset: self.next, time: self.time, content: new.content });
        self.next = self.next.next();
        match &entry.content {
            Content::Message { sender, .. } => {
                *self.senders.entry(sender.number).or_default() += 1;
                self.messages.push_back(entry.clone());
            }
            Content::Record { .. } => self.records.push(entry.clone()),
        }
        entry
    }

    /// Entries of `from..below`, up to `bytes_max` but at least one, and where to read on.
    pub(in crate::store) fn read(
        &self,
        from: Offset,
        below: Offset,
        bytes_max: usize,
        records_only: bool,
    ) -> (Vec<Arc<Entry>>, Offset) {
        let below = below.min(self.next);
        let mut entries = Vec::new();
        let mut left = bytes_max as u64;
        for entry in self.merged(from, records_only).take_while(|e| e.offset < below) {
            if entry.bytes() > left && !entries.is_empty() {
                return (entries, entry.offset);
            }
            left = left.saturating_sub(entry.bytes());
            entries.push(entry.clone());
        }
        (entries, below.max(from))
    }

    pub(in crate::store) fn find(&self, what: Find) -> Offset {
        let index = match what {
            Find::Since(time) => self.messages.partition_point(|m| m.time < time),
            Find::Last(count) => {
                self.messages.len().saturating_sub(usize::try_from(count).unwrap_or(usize::MAX))
            }
        };
        self.messages.get(index).map_or(self.next, |m| m.offset)
    }

    /// Drops the oldest messages that `keep` does not allow; returns the bytes that this frees.
    pub(in crate::store) fn trim(&mut self, keep: &Keep) -> u64 {
        let before = self.bytes;
        while self.messages.front().is_some_and(|oldest| self.exceeds(keep, oldest)) {
            let Some(message) = self.messages.pop_front() else { break };
            self.bytes -= message.bytes();
            self.body_bytes -= message.content.body_bytes();
            self.release_sender(&message);
        }
        if self.messages.len() < self.messages.capacity() / 4 {
            self.messages.shrink_to(self.messages.len() * 2);
        }
        before - self.bytes
    }

    /// The messages that are kept.
    pub(in crate::store) fn kept(&self) -> Kept {
        Kept {
            messages: self.messages.len() as u64,
            bytes: self.body_bytes,
            oldest: self.messages.front().map(|oldest| (oldest.offset, oldest.time)),
        }
    }

    fn exceeds(&self, keep: &Keep, oldest: &Entry) -> bool {
        let over = |is: u64, max: u64| max > 0 && is > max;
        oldest.offset < keep.from
            || oldest.time < keep.since
            || over(self.messages.len() as u64, keep.messages)
            || over(self.body_bytes, keep.bytes)
    }

    fn release_sender(&mut self, message: &Entry) {
        let Content::Message { sender, .. } = &message.content else { return };
        let kept = self.senders.get_mut(&sender.number).expect("a kept message's sender is counted");
        *kept -= 1;
        if *kept == 0 {
            self.senders.remove(&sender.number);
            self.bytes -= sender.bytes();
        }
    }

    /// What is kept from `from` on, in the order of offsets.
    fn merged(&self, from: Offset, records_only: bool) -> impl Iterator<Item = &Arc<Entry>> {
        let first_record = self.records.partition_point(|r| r.offset < from);
        let first_message = match records_only {
            true => self.messages.len(),
            false => self.messages.partition_point(|m| m.offset < from),
        };
        let mut records = self.records[first_record..].iter().peekable();
        let mut messages = self.messages.range(first_message..).peekable();
        std::iter::from_fn(move || match (records.peek(), messages.peek()) {
            (Some(record), Some(message)) => match record.offset.cmp(&message.offset) {
                Ordering::Less => records.next(),
                _ => messages.next(),
            },
            (Some(_), None) => records.next(),
            (None, _) => messages.next(),
        })
    }
}
