//! The database and what is known of it in RAM: one transaction after the other, each done or
//! undone in both places.
//!
//! Used by one thread alone. It must not know tickets' waiters, queues or time.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use rusqlite::Connection;

use super::fault::Fault;
use super::job::{Job, Results};
use super::rows::{self, Log, Publisher, Totals};
use super::sweep::Sweep;
use super::trim::Scan;
use crate::base::ids::{Incarnation, Offset};
use crate::store::{Note, Op, Outcome, Run, StoreError, Ticket};

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
    /// Rows of notes.
    pub(super) notes: u64,
    /// Logs whose rows cannot be written, for what is there is broken; of these, true, that cannot
    /// even be removed. They are read on, as far as that goes.
    pub(super) spoiled: HashMap<Incarnation, bool>,
    /// As `spoiled`, of the notes.
    pub(super) notes_are_spoiled: bool,
    /// Until the list of free pages proves to be damaged.
    pub(super) may_shrink: bool,
    pub(super) wal: WalGrowth,
    #[cfg(test)]
    pub(super) fail_commit: bool,
    #[cfg(test)]
    pub(super) fail_checkpoint: bool,
}

/// Numbers of logs: those given back, and the lowest never given out.
#[derive(Default)]
pub(super) struct Numbers {
    pub(super) free: Vec<i64>,
    pub(super) next: i64,
}

/// A write-ahead log that somebody else's reading keeps from being emptied.
#[derive(Default)]
pub(super) struct WalGrowth {
    pub(super) bytes: u64,
    /// What was warned of last.
    pub(super) warned_bytes: u64,
}

/// Why a transaction was not made.
struct Halt {
    fault: Fault,
    part: Part,
}

/// Whose rows were to blame.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Log(Incarnation),
    Notes,
    Whole,
}

/// What the transaction under way has changed in RAM.
#[derive(Default)]
pub(super) struct Change {
    /// Each log that it touched, as it was.
    pub(super) before: HashMap<Incarnation, Option<Log>>,
    pub(super) used_before: u64,
    pub(super) notes_before: u64,
    pub(super) logs_before: usize,
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
    /// It has no row yet.
    pub(super) is_new: bool,
}

impl Database {
    /// Does all of `jobs` in one transaction; when there is no room for that, those that need none;
    /// without those of logs that turn out to be damaged. After [`Fault::Busy`] nothing was done;
    /// another error says that nobody knows what was stored.
    pub(super) fn transact(&mut self, jobs: &[Job]) -> Result<Results, Fault> {
        let mut with_room = true;
        loop {
            match self.attempt(jobs, with_room) {
                Ok(results) => return Ok(results),
                Err(Halt { fault: Fault::Full, .. }) if with_room => with_room = false,
                Err(Halt { fault: Fault::Full, .. }) => return self.refuse_all(jobs),
                Err(Halt { fault: Fault::Damaged(what), part: Part::Log(log) }) => self.spoil(log, what)?,
                Err(Halt { fault: Fault::Damaged(what), part: Part::Notes }) if !self.notes_are_spoiled => {
                    log::error!("no note can be stored any more: the database is damaged: {what}");
                    self.notes_are_spoiled = true;
                }
                Err(halt) => return Err(halt.fault),
            }
        }
    }

    /// From here on nothing of the log is written; the others go on.
    fn spoil(&mut self, log: Incarnation, what: String) -> Result<(), Fault> {
        match self.spoiled.get_mut(&log) {
            None => {
                let name = self.logs.get(&log).map_or("", |log| log.settings.name.as_str());
                log::error!("topic {name:?}: nothing more can be stored: the database is damaged: {what}");
                self.spoiled.insert(log, false);
                Ok(())
            }
            Some(cannot_go) if !*cannot_go => {
                *cannot_go = true;
                Ok(())
            }
            Some(_) => Err(Fault::Damaged(what)),
        }
    }

    fn is_spoiled(&self, job: &Job) -> bool {
        let log = job.log().and_then(|log| self.spoiled.get(&log));
        match job {
            Job::Seen { .. } => false,
            Job::Op(_, Op::Remove { .. }) => log == Some(&true),
            Job::Op(_, Op::Put { .. } | Op::Drop { .. }) => self.notes_are_spoiled,
            _ => log.is_some(),
        }
    }

    /// Not even what makes room finds any.
    fn refuse_all(&mut self, jobs: &[Job]) -> Result<Results, Fault> {
        let mut results = Vec::with_capacity(jobs.len());
        for job in jobs {
            match job.ticket() {
                Some(ticket) => results.push((ticket, Err(self.refuse(job, StoreError::Full)))),
                None => drop(self.apply(job)?),
            }
        }
        Ok(results)
    }

    fn attempt(&mut self, jobs: &[Job], with_room: bool) -> Result<Results, Halt> {
        self.change = Change {
            used_before: self.used_bytes,
            notes_before: self.notes,
            logs_before: self.logs.len(),
            ..Change::default()
        };
        let done = self.try_all(jobs, with_room);
        let change = std::mem::take(&mut self.change);
        match done {
            Ok(results) => {
                self.sweeps.extend(change.sweeps);
                self.unchecked_bytes += change.bytes;
                Ok(results)
            }
            Err(halt) => {
                self.undo(change);
                Err(halt)
            }
        }
    }

    fn try_all(&mut self, jobs: &[Job], with_room: bool) -> Result<Results, Halt> {
        self.begin()?;
        let mut results = Vec::with_capacity(jobs.len());
        for job in jobs {
            let result = if self.is_spoiled(job) {
                Err(self.refuse_as_damaged(job))
            } else if with_room || !job.takes_room() {
                self.apply(job).map_err(|fault| Halt { fault, part: Part::of(job) })?
            } else {
                Err(self.refuse(job, StoreError::Full))
            };
            results.extend(job.ticket().map(|ticket| (ticket, result)));
        }
        self.write_counts()?;
        self.commit()?;
        Ok(results)
    }

    pub(super) fn begin(&self) -> Result<(), Fault> {
        self.connection.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
        Ok(())
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
        self.notes = change.notes_before;
        self.numbers.free.extend(change.taken);
    }

    fn refuse_as_damaged(&mut self, job: &Job) -> StoreError {
        let offset = job.log().and_then(|id| self.logs.get(&id)).map_or(0, |log| log.next);
        self.refuse(job, StoreError::Damaged { offset: Offset(offset) })
    }

    /// The first append to a log that is refused takes those behind it along.
    fn refuse(&mut self, job: &Job, error: StoreError) -> StoreError {
        let (Some(id), Some(ticket)) = (job.log(), job.ticket()) else { return error };
        if !job.is_append() {
            return error;
        }
        let Some(log) = self.logs.get_mut(&id) else { return StoreError::NoSuchLog };
        match log.refused {
            Some(first) if first != ticket => StoreError::EarlierFailed,
            _ => {
                log.refused = Some(ticket);
                error
            }
        }
    }

    /// The log, to be changed.
    pub(super) fn touch(&mut self, id: Incarnation) -> Option<&mut Log> {
        let log = self.logs.get_mut(&id);
        self.change.before.entry(id).or_insert_with(|| log.as_deref().cloned());
        log
    }

    /// Writes what is counted, once for all that was done.
    fn write_counts(&mut self) -> Result<(), Halt> {
        for ((id, number), counted) in std::mem::take(&mut self.change.publishers) {
            if let Some(log) = self.logs.get_mut(&id) {
                let written = counted.write(&self.connection, log, number);
                written.map_err(|fault| Halt { fault, part: Part::Log(id) })?;
                self.change.bytes += SMALL_ROW_BYTES;
            }
        }
        for id in self.change.before.keys() {
            if let Some(log) = self.logs.get(id) {
                log.write(&self.connection).map_err(|fault| Halt { fault, part: Part::Log(*id) })?;
                self.change.bytes += SMALL_ROW_BYTES;
            }
        }
        if (self.change.logs_before, self.change.notes_before) != (self.logs.len(), self.notes) {
            Totals { logs: self.logs.len() as u64, notes: self.notes }.write(&self.connection)?;
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

    /// Who reads an older state keeps the log from being emptied: then the next time does.
    pub(super) fn checkpoint(&mut self, how: &str) -> Result<(), Fault> {
        #[cfg(test)]
        if self.fail_checkpoint {
            return Err(Fault::Failed("disk I/O error (code 1034)".into()));
        }
        self.unchecked_bytes = 0;
        let sentence = format!("PRAGMA wal_checkpoint({how})");
        let pages = |row: &rusqlite::Row<'_>| Ok((row.get::<_, i64>(1)?, row.get::<_, i64>(2)?));
        match self.connection.query_row(&sentence, [], pages).map_err(Fault::from) {
            Ok((all, done)) => {
                self.wal.watch(all.max(0) as u64 * PAGE_BYTES, done >= all);
                Ok(())
            }
            // The log stays as it is, and is read as before.
            Err(Fault::Full | Fault::Busy) => Ok(()),
            Err(fault) => Err(fault),
        }
    }

    pub(super) fn put(&mut self, note: &Note) -> Result<Result<Outcome, StoreError>, Fault> {
        let is_new = rows::write_note(&self.connection, note)?;
        self.notes += u64::from(is_new);
        self.change.bytes += (note.key.len() + note.value.len()) as u64;
        Ok(Ok(Outcome::Noted))
    }
}

impl WalGrowth {
    pub(super) fn watch(&mut self, bytes: u64, is_done: bool) {
        if is_done {
            *self = WalGrowth::default();
            return;
        }
        self.bytes = bytes;
        if bytes >= WAL_WARN_BYTES.max(2 * self.warned_bytes) {
            self.warned_bytes = bytes;
            log::warn!(
                "the write-ahead log has {} MiB: another process reads the database for long, a backup \
                 that hangs?",
                bytes >> 20
            );
        }
    }
}

impl From<Fault> for Halt {
    fn from(fault: Fault) -> Halt {
        Halt { fault, part: Part::Whole }
    }
}

impl Part {
    fn of(job: &Job) -> Part {
        match job {
            Job::Op(_, Op::Put { .. } | Op::Drop { .. }) => Part::Notes,
            job => job.log().map_or(Part::Whole, Part::Log),
        }
    }
}

impl Counted {
    fn write(mut self, connection: &Connection, log: &mut Log, number: u32) -> Result<(), Fault> {
        let place = log.place(u64::from(number))?;
        let drop_all = |table: &str, column: &str| {
            connection.prepare_cached(&format!("DELETE FROM {table} WHERE {column} = ?"))?.execute([place])
        };
        let is_gone = self.publisher.kept == 0 && !self.publisher.remembered;
        if self.forgotten || is_gone {
            drop_all("runs", "publisher")?;
            self.publisher.runs = 0;
        }
        if is_gone {
            log.publishers -= drop_all("publishers", "place")? as u64;
            drop_all("senders", "place")?;
            return Ok(());
        }
        for run in self.runs.iter() {
            self.publisher.runs += u64::from(rows::write_run(connection, log, number, run)?);
        }
        let oldest = self.publisher.next.0.saturating_sub(rows::REMEMBERED) as i64;
        if self.runs.len() > 1 || self.newest.is_some_and(|run| run.len == 1) {
            let dropped = connection
                .prepare_cached(
                    "DELETE FROM runs WHERE publisher = ?1 AND counter < ?2 AND counter + length <= ?2",
                )?
                .execute([place, oldest])?;
            self.publisher.runs = self.publisher.runs.saturating_sub(dropped as u64);
        }
        self.publisher.write(connection, log, number)?;
        log.publishers += u64::from(self.is_new);
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
/// Sixteen times what it has as a rule.
pub(super) const WAL_WARN_BYTES: u64 = 16 * CHECKPOINT_BYTES;
const PAGE_BYTES: u64 = 4096;
/// SQLite's own measure: 1,000 pages.
const CHECKPOINT_BYTES: u64 = 4096 * 1000;
