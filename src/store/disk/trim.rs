//! Retention: what a trim drops is found out in steps, and is gone at once when all is known.
//!
//! The rows themselves go later, in the sweeps, so that dropping a million messages holds up no
//! commit. Until a trim is complete it has changed nothing; changes of the same log wait for it.

use std::collections::HashMap;

use super::database::Database;
use super::fault::Fault;
use super::rows::{self, Log, MESSAGE_COLUMNS};
use super::sweep::Sweep;
use crate::base::Wall;
use crate::base::ids::{Incarnation, Offset};
use crate::store::{Content, Keep, Outcome, StoreError, Ticket};

/// The messages that a trim is going to drop, as far as it has looked.
#[derive(Default)]
pub(super) struct Scan {
    /// Rows that were there.
    found: u64,
    body_bytes: u64,
    /// How many of each sender; who sent a bad row nobody knows.
    senders: HashMap<u32, u64>,
    /// Where to look on, or, in the end, the oldest that stays.
    at: u64,
    time: Wall,
}

impl Database {
    /// Looks at some more messages; whether all that go are known now.
    pub(super) fn scan(&mut self, ticket: Ticket, id: Incarnation, keep: &Keep) -> Result<bool, Fault> {
        let Some(log) = self.logs.get(&id) else { return Ok(true) };
        let begun = || Scan { at: log.first, time: log.first_time, ..Scan::default() };
        let mut scan = self.scans.remove(&ticket).unwrap_or_else(begun);
        let done = scan.go_on(self, log, keep)?;
        self.scans.insert(ticket, scan);
        Ok(done)
    }

    /// The oldest message of a log.
    pub(super) fn first_of(&self, id: Option<Incarnation>) -> Offset {
        Offset(id.and_then(|id| self.logs.get(&id)).map_or(0, |log| log.first))
    }

    pub(super) fn trim(
        &mut self,
        ticket: Ticket,
        id: Incarnation,
    ) -> Result<Result<Outcome, StoreError>, Fault> {
        let scan = self.scans.remove(&ticket).unwrap_or_default();
        let mut freed_bytes = Content::message_bytes(0) * scan.found + scan.body_bytes;
        for (sender, dropped) in &scan.senders {
            let Some(counted) = self.counted(id, *sender)? else { continue };
            let before = counted.publisher.kept;
            counted.publisher.kept = before.saturating_sub(*dropped);
            if before > 0 && counted.publisher.kept == 0 {
                freed_bytes += counted.bytes;
            }
        }
        let Some(log) = self.touch(id) else { return Ok(Err(StoreError::NoSuchLog)) };
        freed_bytes = freed_bytes.min(log.bytes);
        if scan.at > log.first {
            let (number, from) = (log.number, log.first);
            log.drop_oldest(&scan, freed_bytes);
            let below = log.first;
            self.sweep_or_drop(number, from, below, scan.found)?;
        } else {
            freed_bytes = 0;
        }
        let kept = self.logs.get(&id).expect("it was there").kept();
        self.used_bytes -= freed_bytes;
        // An attempt that is undone is made again.
        self.scans.insert(ticket, scan);
        Ok(Ok(Outcome::Trimmed { freed_bytes, kept }))
    }

    fn sweep_or_drop(&mut self, number: i64, from: u64, below: u64, messages: u64) -> Result<(), Fault> {
        if messages > DROPPED_AT_ONCE {
            self.change.sweeps.push(Sweep::trimmed(number, below));
            return Ok(());
        }
        let mut statement =
            self.connection.prepare_cached("DELETE FROM messages WHERE place >= ? AND place < ?")?;
        statement.execute([rows::place(number, from)?, rows::place(number, below)?])?;
        Ok(())
    }
}

impl Scan {
    /// A row that is bad goes when the one before it does: its time is not to be trusted.
    fn go_on(&mut self, database: &Database, log: &Log, keep: &Keep) -> Result<bool, Fault> {
        if self.at == log.first && (log.messages == 0 || !self.exceeds(log, keep, log.first, log.first_time))
        {
            return Ok(true);
        }
        let sentence = format!(
            "SELECT {MESSAGE_COLUMNS} FROM messages WHERE place >= ? AND place < ? ORDER BY place LIMIT ?"
        );
        let mut statement = database.connection.prepare_cached(&sentence)?;
        let mut rows = statement.query([log.place(self.at)?, log.place(log.next)?, SCANNED_AT_ONCE])?;
        let (mut seen, mut seen_bytes) = (0, 0);
        while let Some(row) = rows.next()? {
            let offset = rows::index(row.get(0)?);
            if !(self.at..log.next).contains(&offset) {
                return Err(Fault::Damaged("messages are not in their order".into()));
            }
            let measured = rows::check_message(row, log).ok();
            let time = measured.map_or(self.time, |measured| measured.time);
            if !self.exceeds(log, keep, offset, time) {
                (self.at, self.time) = (offset, time);
                return Ok(true);
            }
            if let Some(measured) = measured {
                *self.senders.entry(measured.sender).or_default() += 1;
            }
            let body_bytes = rows::body_bytes(row);
            (self.found, self.body_bytes) = (self.found + 1, self.body_bytes + body_bytes);
            (self.at, self.time) = (offset + 1, time);
            (seen, seen_bytes) = (seen + 1, seen_bytes + body_bytes);
            if seen_bytes > SCANNED_BYTES {
                return Ok(false);
            }
        }
        if seen < SCANNED_AT_ONCE {
            self.at = log.next;
            return Ok(true);
        }
        Ok(false)
    }

    fn exceeds(&self, log: &Log, keep: &Keep, offset: u64, time: Wall) -> bool {
        let over = |is: u64, max: u64| max > 0 && is > max;
        Offset(offset) < keep.from
            || time < keep.since
            || over(log.messages_between(offset, log.next), keep.messages)
            || over(log.body_bytes.saturating_sub(self.body_bytes), keep.bytes)
    }
}

impl Log {
    fn drop_oldest(&mut self, scan: &Scan, freed_bytes: u64) {
        (self.first, self.first_time) = (scan.at, scan.time);
        self.messages = self.messages_between(self.first, self.next);
        self.body_bytes = match self.messages {
            0 => 0,
            _ => self.body_bytes.saturating_sub(scan.body_bytes),
        };
        self.bytes = self.bytes.saturating_sub(freed_bytes);
    }
}

/// So few rows go with the trim itself, as they do when a log is at its limit.
const DROPPED_AT_ONCE: u64 = 256;
/// Some milliseconds' worth.
const SCANNED_AT_ONCE: i64 = 4096;
/// A few milliseconds' worth of checksums.
const SCANNED_BYTES: u64 = 4 * 1024 * 1024;
