//! The database and what is known of it in RAM: one transaction after the other, each done or
//! undone in both places.
//!
//! Used by one thread alone. It must not know tickets' waiters, queues or time.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use rusqlite::Connection;

use super::fault::Fault;
use super::job::{Job, Results};
use super::rows::{self, Log, Publisher};
use super::sweep::Sweep;
use super::trim::Scan;
use crate::base::ids::Incarnation;
use crate::store::{Note, Outcome, Run, StoreError, Ticket};

pub(super) struct Database {
    pub(super) connection: Connection,
    pub(super) logs: HashMap<Incarnation, Log>,
    pub(super) used_bytes: u64,
    pub(super) bytes_max: u64,
    pub(super) numbers: Numbers,
    pub(super) sweeps: VecDeque<Sweep>,
    /// What trims have looked at so far.
    pub(super) scans: HashMap<Ticket, Scan>,
    pub(super) change: Change,
    /// Written to the write-ahead log since the last checkpoint, about.
    pub(super) unchecked_bytes: u64,
    /// Transactions that were committed.
    pub(super) commits: u64,
    #[cfg(test)]
    pub(super) fail_commit: bool,
}

/// Numbers of logs: those given back, and the lowest never given out.
#[derive(Default)]
pub(super) struct Numbers {
    pub(super) free: Vec<i64>,
    pub(super) next: i64,
}

/// What the transaction under way has changed in RAM.
#[derive(Default)]
pub(super) struct Change {
    /// Each log that it touched, as it was.
    pub(super) before: HashMap<Incarnation, Option<Log>>,
    pub(super) used_before: u64,
    pub(super) publishers: HashMap<(Incarnation, u32), Counted>,
    pub(super) taken: Vec<i64>,
    pub(super) sweeps: Vec<Sweep>,
    pub(super) bytes: u64,
}

/// A publisher that the transaction touched.
pub(super) struct Counted {
    pub(super) publisher: Publisher,
    /// What its sender counts.
    pub(super) bytes: u64,
    /// The newest run, and those that are to be written with it.
    pub(super) newest: Option<Run>,
    pub(super) runs: Vec<Run>,
    /// Its runs are dropped.
    pub(super) forgotten: bool,
}

impl Database {
    /// Does all of `jobs` in one transaction; when there is no room for that, those that need none.
    /// An error says that nobody knows what was stored.
    pub(super) fn transact(&mut self, jobs: &[Job]) -> Result<Results, Fault> {
        match self.attempt(jobs, true) {
            Err(Fault::Full) => match self.attempt(jobs, false) {
                Err(Fault::Full) => self.refuse_all(jobs),
                done => done,
            },
            done => done,
        }
    }

    /// Not even what makes room finds any.
    fn refuse_all(&mut self, jobs: &[Job]) -> Result<Results, Fault> {
        let mut results = Vec::with_capacity(jobs.len());
        for job in jobs {
            match job.ticket() {
                Some(ticket) => results.push((ticket, Err(self.refuse_for_room(job)))),
                None => drop(self.apply(job)?),
            }
        }
        Ok(results)
    }

    fn attempt(&mut self, jobs: &[Job], with_room: bool) -> Result<Results, Fault> {
        self.change = Change { used_before: self.used_bytes, ..Change::default() };
        let done = self.try_all(jobs, with_room);
        let change = std::mem::take(&mut self.change);
        match done {
            Ok(results) => {
                self.sweeps.extend(change.sweeps);
                self.unchecked_bytes += change.bytes;
                Ok(results)
            }
            Err(fault) => {
                self.undo(change);
                Err(fault)
            }
        }
    }

    fn try_all(&mut self, jobs: &[Job], with_room: bool) -> Result<Results, Fault> {
        self.connection.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
        let mut results = Vec::with_capacity(jobs.len());
        for job in jobs {
            let result = match with_room || !job.takes_room() {
                true => self.apply(job)?,
                false => Err(self.refuse_for_room(job)),
            };
            results.extend(job.ticket().map(|ticket| (ticket, result)));
        }
        self.write_counts()?;
        self.commit()?;
        Ok(results)
    }

    fn commit(&mut self) -> Result<(), Fault> {
        #[cfg(test)]
        if self.fail_commit {
            return Err(Fault::Failed("disk I/O error (code 1034)".into()));
        }
        self.connection.prepare_cached("COMMIT")?.execute([])?;
        self.commits += 1;
        Ok(())
    }

    fn undo(&mut self, change: Change) {
        // SQLite has done it already after some errors.
        if !self.connection.is_autocommit() {
            let _ = self.connection.execute_batch("ROLLBACK");
        }
        for (id, log) in change.before {
            match log {
                Some(log) => self.logs.insert(id, log),
                None => self.logs.remove(&id),
            };
        }
        self.used_bytes = change.used_before;
        self.numbers.free.extend(change.taken);
    }

    /// The first append to a log that finds no room takes those behind it along.
    fn refuse_for_room(&mut self, job: &Job) -> StoreError {
        let (Some(id), Some(ticket)) = (job.log(), job.ticket()) else { return StoreError::Full };
        if !job.is_append() {
            return StoreError::Full;
        }
        let Some(log) = self.logs.get_mut(&id) else { return StoreError::NoSuchLog };
        match log.refused {
            Some(_) => StoreError::EarlierFailed,
            None => {
                log.refused = Some(ticket);
                StoreError::Full
            }
        }
    }

    /// The log, to be changed.
    pub(super) fn touch(&mut self, id: Incarnation) -> Option<&mut Log> {
        let log = self.logs.get_mut(&id);
        self.change.before.entry(id).or_insert_with(|| log.as_deref().cloned());
        log
    }

    /// Writes what is counted of logs and publishers, once for all that was done.
    fn write_counts(&mut self) -> Result<(), Fault> {
        for ((id, number), counted) in std::mem::take(&mut self.change.publishers) {
            if let Some(log) = self.logs.get(&id) {
                counted.write(&self.connection, log, number)?;
                self.change.bytes += SMALL_ROW_BYTES;
            }
        }
        for id in self.change.before.keys() {
            if let Some(log) = self.logs.get(id) {
                log.write(&self.connection)?;
                self.change.bytes += SMALL_ROW_BYTES;
            }
        }
        Ok(())
    }

    /// Gives the write-ahead log's content to the database when it has grown. SQLite would do so
    /// by itself, but keep quiet about a sync that failed.
    pub(super) fn checkpoint_if_due(&mut self) -> Result<(), Fault> {
        if self.unchecked_bytes < CHECKPOINT_BYTES {
            return Ok(());
        }
        self.checkpoint("PASSIVE")
    }

    pub(super) fn checkpoint(&mut self, how: &str) -> Result<(), Fault> {
        self.unchecked_bytes = 0;
        let sentence = format!("PRAGMA wal_checkpoint({how})");
        match self.connection.query_row(&sentence, [], |_| Ok(())).map_err(Fault::from) {
            // The log stays as it is, and is read as before.
            Err(Fault::Full) => Ok(()),
            done => done,
        }
    }

    pub(super) fn put(&mut self, note: &Note) -> Result<Result<Outcome, StoreError>, Fault> {
        rows::write_note(&self.connection, note)?;
        self.change.bytes += (note.key.len() + note.value.len()) as u64;
        Ok(Ok(Outcome::Noted))
    }
}

impl Counted {
    fn write(&self, connection: &Connection, log: &Log, number: u32) -> Result<(), Fault> {
        let place = log.place(u64::from(number))?;
        let drop_all = |table: &str, column: &str| {
            connection.prepare_cached(&format!("DELETE FROM {table} WHERE {column} = ?"))?.execute([place])
        };
        if self.forgotten {
            drop_all("runs", "publisher")?;
        }
        if self.publisher.kept == 0 && !self.publisher.remembered {
            drop_all("publishers", "place")?;
            drop_all("senders", "place")?;
            return Ok(());
        }
        self.publisher.write(connection, log, number)?;
        for run in self.runs.iter() {
            rows::write_run(connection, log, number, run)?;
        }
        let oldest = self.publisher.next.0.saturating_sub(rows::REMEMBERED) as i64;
        if self.runs.len() > 1 || self.newest.is_some_and(|run| run.len == 1) {
            connection
                .prepare_cached(
                    "DELETE FROM runs WHERE publisher = ?1 AND counter < ?2 AND counter + length <= ?2",
                )?
                .execute([place, oldest])?;
        }
        Ok(())
    }
}

impl Numbers {
    /// `None` while all are in use, or wait to be swept.
    pub(super) fn take(&mut self) -> Option<i64> {
        self.free.pop().or_else(|| {
            let number = self.next;
            self.next = (number + 1).min(rows::NUMBERS);
            (number < rows::NUMBERS).then_some(number)
        })
    }
}

/// Of records that are kept, only how many there are is in the log's row.
pub(super) fn with_record(records: &mut Arc<Vec<u64>>, offset: u64) {
    Arc::make_mut(records).push(offset);
}

/// A page changed for a row of counts: what it adds to the write-ahead log.
const SMALL_ROW_BYTES: u64 = 4096;
/// SQLite's own measure: 1,000 pages.
const CHECKPOINT_BYTES: u64 = 4096 * 1000;
