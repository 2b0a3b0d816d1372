//! Reading: bounded, verified row by row, and complete: an offset that should be there and is
//! not is damage, not silence.

use std::collections::HashMap;
use std::sync::Arc;

use super::database::Database;
use super::fault::Fault;
use super::rows::{self, Log, MESSAGE_COLUMNS, Measured, RECORD_COLUMNS};
use crate::base::Wall;
use crate::base::ids::Offset;
use crate::store::{Entry, Find, Op, Outcome, Sender, StoreError};

impl Database {
    /// An error is that of the engine, or a lock that another process has.
    pub(super) fn query(&self, op: &Op) -> Result<Result<Outcome, StoreError>, Fault> {
        let log = op.log().and_then(|id| self.logs.get(&id));
        let Some(log) = log else { return Ok(Err(StoreError::NoSuchLog)) };
        match *op {
            Op::Read { from, below, bytes_max, records_only, .. } => {
                let mut reading = Reading { at: from.0, entries: Vec::new(), senders: HashMap::new() };
                let end = below.0.min(log.next);
                match self.read(&mut reading, log, end, bytes_max.min(READ_BYTES_MAX) as u64, records_only) {
                    Ok(()) => {}
                    // What lies before it is good; who reads on hears of it.
                    Err(Fault::Damaged(_)) if !reading.entries.is_empty() => {}
                    Err(fault) => return fault.of_query(Offset(reading.at)).map(Err),
                }
                Ok(Ok(Outcome::Entries { entries: reading.entries, next: Offset(reading.at) }))
            }
            Op::Find { what: Find::Last(count), .. } => Ok(Ok(Outcome::Found(Offset(log.last(count))))),
            Op::Find { what: Find::Since(time), .. } => match self.since(log, time) {
                Ok(at) => Ok(Ok(Outcome::Found(Offset(at)))),
                Err(fault) => fault.of_query(Offset(log.first)).map(Err),
            },
            _ => Err(Fault::Failed("a change is no query".into())),
        }
    }

    fn read(
        &self,
        reading: &mut Reading,
        log: &Log,
        end: u64,
        bytes_max: u64,
        records_only: bool,
    ) -> Result<(), Fault> {
        let mut left = bytes_max;
        let mut records = log.records[log.records.partition_point(|r| *r < reading.at)..].iter().copied();
        let mut record = records.next().unwrap_or(end);
        let sentence =
            format!("SELECT {MESSAGE_COLUMNS} FROM messages WHERE place >= ? AND place < ? ORDER BY place");
        let mut statement = self.connection.prepare_cached(&sentence)?;
        let from = log.place(reading.at.max(log.first).min(end))?;
        let mut messages = statement.query([from, log.place(end)?])?;
        while reading.at < end {
            let entry = if reading.at == record {
                record = records.next().unwrap_or(end);
                self.record_at(log, reading.at)?
            } else if records_only || reading.at < log.first {
                let next = if records_only { record } else { record.min(log.first) };
                reading.at = next.min(end);
                continue;
            } else if let Some(end_of_lost) = log.lost_at(reading.at) {
                reading.at = end_of_lost.min(end);
                continue;
            } else {
                let gone = || Fault::Damaged(format!("the entry at {} is gone", reading.at));
                let row = messages.next()?.ok_or_else(gone)?;
                let entry = rows::read_message(row, log, |n| reading.senders.of(self, log, n))?;
                if entry.offset.0 != reading.at {
                    return Err(gone());
                }
                entry
            };
            if entry.bytes() > left && !reading.entries.is_empty() {
                return Ok(());
            }
            left = left.saturating_sub(entry.bytes());
            reading.entries.push(Arc::new(entry));
            reading.at += 1;
        }
        Ok(())
    }

    fn record_at(&self, log: &Log, offset: u64) -> Result<Entry, Fault> {
        let sentence = format!("SELECT {RECORD_COLUMNS} FROM records WHERE place = ?");
        let mut statement = self.connection.prepare_cached(&sentence)?;
        let mut rows = statement.query([log.place(offset)?])?;
        match rows.next()? {
            Some(row) => rows::read_record(row, log),
            None => Err(Fault::Damaged(format!("the record at {offset} is gone"))),
        }
    }

    /// The first message of this time or later, by halving: times never go back. Bad rows are passed
    /// over, and their time is not trusted; when one may be meant it is, so that whoever reads on hears
    /// of it.
    fn since(&self, log: &Log, time: Wall) -> Result<u64, Fault> {
        if log.messages == 0 {
            return Ok(log.next);
        }
        let (mut low, mut high, mut best) = (log.first, log.next, log.next);
        while low < high {
            let middle = low + (high - low) / 2;
            let (first, good) = self.good_from(log, middle, high)?;
            match good {
                Some(good) if good.time < time => low = good.offset + 1,
                _ => (best, high) = (first.unwrap_or(best), middle),
            }
        }
        Ok(best)
    }

    /// The first message that there should be from one offset to another, and the first that is good.
    fn good_from(&self, log: &Log, from: u64, to: u64) -> Result<(Option<u64>, Option<Measured>), Fault> {
        let sentence =
            format!("SELECT {MESSAGE_COLUMNS} FROM messages WHERE place >= ? AND place < ? ORDER BY place");
        let mut statement = self.connection.prepare_cached(&sentence)?;
        let mut rows = statement.query([log.place(from)?, log.place(to)?])?;
        let first = Some(log.message_from(from)).filter(|first| *first < to);
        for _ in 0..=BAD_MAX {
            let Some(row) = rows.next()? else { return Ok((first, None)) };
            match rows::check_message(row, log) {
                Ok(good) if (from..to).contains(&good.offset) => return Ok((first, Some(good))),
                _ => {}
            }
        }
        Err(Fault::Damaged(format!("{BAD_MAX} messages from {from} on")))
    }
}

/// A read under way: where it is, and what it has.
struct Reading {
    at: u64,
    entries: Vec<Arc<Entry>>,
    senders: HashMap<u32, Arc<Sender>>,
}

/// One sender for all of its messages in an answer.
trait Senders {
    fn of(&mut self, database: &Database, log: &Log, number: u32) -> Result<Arc<Sender>, Fault>;
}

impl Senders for HashMap<u32, Arc<Sender>> {
    fn of(&mut self, database: &Database, log: &Log, number: u32) -> Result<Arc<Sender>, Fault> {
        if let Some(sender) = self.get(&number) {
            return Ok(sender.clone());
        }
        let sender = rows::read_sender(&database.connection, log, number)?;
        self.insert(number, sender.clone());
        Ok(sender)
    }
}

impl Log {
    /// So many messages before the end: what lies from `first` on, is no record and was not lost, is a
    /// message.
    fn last(&self, mut count: u64) -> u64 {
        if self.messages == 0 {
            return self.next;
        }
        let records = self.records.iter().map(|record| (*record, record + 1));
        let mut others: Vec<_> =
            records.chain(self.lost.iter().copied()).filter(|(_, end)| *end > self.first).collect();
        others.sort_unstable();
        let mut end = self.next;
        for (from, to) in others.into_iter().rev() {
            let between = end.saturating_sub(to);
            if count <= between {
                return end - count;
            }
            count -= between;
            end = from;
        }
        end.saturating_sub(count).max(self.first)
    }

    /// The first offset from `at` on that is a message's.
    fn message_from(&self, mut at: u64) -> u64 {
        loop {
            if let Some(end) = self.lost_at(at) {
                at = end;
            } else if self.records.binary_search(&at).is_ok() {
                at += 1;
            } else {
                return at;
            }
        }
    }

    /// Where the lost range ends that this offset is in.
    fn lost_at(&self, offset: u64) -> Option<u64> {
        let behind = self.lost.partition_point(|(from, _)| *from <= offset);
        let (_, end) = self.lost.get(behind.checked_sub(1)?)?;
        (*end > offset).then_some(*end)
    }
}

/// What one read gives at most, whatever it asks for, unless one entry is larger.
const READ_BYTES_MAX: usize = 1024 * 1024;
/// Bad rows side by side that a search passes over.
const BAD_MAX: u32 = 64;
