//! Reading: bounded, verified row by row, and complete: an offset that should be there and is
//! not is damage, not silence.

use std::collections::HashMap;
use std::sync::Arc;

use super::database::Database;
use super::fault::Fault;
use super::rows::{self, Log, MESSAGE_COLUMNS, RECORD_COLUMNS};
use crate::base::Wall;
use crate::base::ids::Offset;
use crate::store::{Entry, Find, Op, Outcome, Sender, StoreError};

impl Database {
    pub(super) fn query(&self, op: &Op) -> Result<Outcome, StoreError> {
        let id = op.log().ok_or(StoreError::NoSuchLog)?;
        let log = self.logs.get(&id).ok_or(StoreError::NoSuchLog)?;
        match *op {
            Op::Read { from, below, bytes_max, records_only, .. } => {
                let mut reading = Reading { at: from.0, entries: Vec::new(), senders: HashMap::new() };
                let end = below.0.min(log.next);
                match self.read(&mut reading, log, end, bytes_max.min(READ_BYTES_MAX) as u64, records_only) {
                    Ok(()) => {}
                    // What lies before it is good; who reads on hears of it.
                    Err(Fault::Damaged(_)) if !reading.entries.is_empty() => {}
                    Err(fault) => return Err(fault.of_query(Offset(reading.at))),
                }
                Ok(Outcome::Entries { entries: reading.entries, next: Offset(reading.at) })
            }
            Op::Find { what, .. } => {
                let found = match what {
                    Find::Last(count) => Ok(log.last(count)),
                    Find::Since(time) => self.since(log, time),
                };
                found.map(|at| Outcome::Found(Offset(at))).map_err(|f| f.of_query(Offset(log.first)))
            }
            _ => Err(StoreError::Failed("a change is no query".into())),
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

    /// The first message of this time or later, by halving: times never go back. What a damaged
    /// time leads to is a wrong place to read from, not a wrong entry.
    fn since(&self, log: &Log, time: Wall) -> Result<u64, Fault> {
        if log.messages == 0 {
            return Ok(log.next);
        }
        let mut statement = self.connection.prepare_cached(
            "SELECT place, time FROM messages WHERE place >= ? AND place < ? ORDER BY place LIMIT 1",
        )?;
        let (mut low, mut high, mut best) = (log.first, log.next, log.next);
        while low < high {
            let middle = low + (high - low) / 2;
            let mut rows = statement.query([log.place(middle)?, log.place(high)?])?;
            match rows.next()? {
                Some(row) if Wall(rows::number(row, 1)?) < time => low = rows::index(row.get(0)?) + 1,
                Some(row) => {
                    best = rows::index(row.get(0)?);
                    high = middle;
                }
                None => high = middle,
            }
        }
        Ok(best)
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
    /// So many messages before the end: what lies from `first` on and is no record is a message.
    fn last(&self, mut count: u64) -> u64 {
        let mut end = self.next;
        for record in self.records.iter().rev().take_while(|record| **record >= self.first) {
            let between = end - record - 1;
            if count <= between {
                return end - count;
            }
            count -= between;
            end = *record;
        }
        if self.messages == 0 { self.next } else { end.saturating_sub(count).max(self.first) }
    }
}

/// What one read gives at most, whatever it asks for, unless one entry is larger.
const READ_BYTES_MAX: usize = 1024 * 1024;
