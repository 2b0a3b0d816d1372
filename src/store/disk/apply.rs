//! What each operation changes, in the tables and in RAM.

use std::collections::hash_map;
use std::sync::Arc;

use super::database::{Counted, Database, with_record};
use super::fault::Fault;
use super::job::Job;
use super::rows::{self, Log, Publisher};
use super::sweep::Sweep;
use crate::base::Wall;
use crate::base::ids::{Counter, Incarnation, Offset};
use crate::store::{
    Content, Durability, Entry, LogSettings, NewEntry, Op, Outcome, Run, Sender, StoreError, Ticket,
};

type Applied = Result<Result<Outcome, StoreError>, Fault>;

impl Database {
    pub(super) fn apply(&mut self, job: &Job) -> Applied {
        match job {
            Job::Op(ticket, op) => self.apply_op(*ticket, op),
            Job::Record { log, entry, .. } => self.record(*log, entry),
            Job::Reserve { log, below, .. } => Ok(match self.touch(*log) {
                Some(log) => {
                    log.reserved = log.reserved.max(*below);
                    Ok(Outcome::Configured)
                }
                None => Err(StoreError::NoSuchLog),
            }),
            Job::Refuse { log, .. } => match self.logs.contains_key(log) {
                true => Ok(Err(StoreError::Exists)),
                false => Ok(Err(StoreError::Full)),
            },
            Job::Seen { log, failed } => {
                if let Some(log) = self.logs.get_mut(log).filter(|log| log.refused == Some(*failed)) {
                    log.refused = None;
                }
                Ok(Ok(Outcome::Noted))
            }
            #[cfg(test)]
            Job::Probe(_) => Ok(Ok(Outcome::Noted)),
        }
    }

    fn apply_op(&mut self, ticket: Ticket, op: &Op) -> Applied {
        if op.log().is_some_and(|log| !self.logs.contains_key(&log)) && !matches!(op, Op::Create { .. }) {
            return Ok(Err(StoreError::NoSuchLog));
        }
        match op {
            Op::Create { log, settings, records } => self.create(*log, settings, records),
            Op::Append { log, entry } => self.append(ticket, *log, entry),
            Op::Trim { log, .. } => self.trim(ticket, *log),
            Op::Configure { log, retain } => {
                if let Some(log) = self.touch(*log) {
                    log.settings.retain = *retain;
                }
                Ok(Ok(Outcome::Configured))
            }
            Op::Remove { log } => self.remove(*log),
            Op::Forget { log, sender } => self.forget(*log, *sender),
            Op::Put { note } => self.put(note),
            Op::Drop { kind, key } => {
                let sentence = "DELETE FROM notes WHERE kind = ? AND key = ?";
                let dropped = self
                    .connection
                    .prepare_cached(sentence)?
                    .execute(rusqlite::params![*kind as i64, key])?;
                self.notes -= dropped as u64;
                Ok(Ok(Outcome::Noted))
            }
            Op::Read { .. } | Op::Find { .. } => Err(Fault::Failed("a query is no change".into())),
        }
    }

    fn create(&mut self, id: Incarnation, settings: &LogSettings, records: &[NewEntry]) -> Applied {
        if self.logs.contains_key(&id) {
            return Ok(Err(StoreError::Exists));
        }
        let on_disk = settings.durability == Durability::Disk;
        let held: u64 = records.iter().map(|record| record.content.bytes()).sum();
        let bytes = if on_disk { LOG_BYTES + settings.name.as_str().len() as u64 + held } else { 0 };
        if bytes > self.left_bytes() {
            return Ok(Err(StoreError::Full));
        }
        let Some(number) = self.numbers.take() else { return Ok(Err(StoreError::Full)) };
        self.touch(id);
        self.change.taken.push(number);
        let mut log = Log {
            number,
            id,
            settings: settings.clone(),
            next: 0,
            time: Wall(0),
            first: 0,
            first_time: Wall(0),
            messages: 0,
            body_bytes: 0,
            bytes,
            records: Arc::default(),
            lost: Arc::default(),
            publishers: 0,
            senders: 0,
            reserved: if on_disk { 0 } else { records.len() as u64 + RESERVED },
            refused: None,
        };
        let mut entries = Vec::with_capacity(records.len());
        for record in records {
            let entry = log.take(record);
            rows::write_entry(&self.connection, &log, &entry)?;
            with_record(&mut log.records, entry.offset.0);
            entries.push(Arc::new(entry));
        }
        log.first = log.next;
        self.used_bytes += bytes;
        self.change.bytes += bytes;
        self.logs.insert(id, log);
        Ok(Ok(Outcome::Created { entries }))
    }

    fn append(&mut self, ticket: Ticket, id: Incarnation, new: &NewEntry) -> Applied {
        let left = self.left_bytes();
        let log = self.touch(id).expect("the log was looked for");
        // Its own failure is nobody else's: the attempt that refused it was not made.
        if log.refused.take_if(|first| *first == ticket).is_none() && log.refused.is_some() {
            return Ok(Err(StoreError::EarlierFailed));
        }
        let mut cost = new.content.bytes();
        if let Content::Message { sender, .. } = &new.content
            && self.counted(id, sender.number)?.is_none_or(|counted| counted.publisher.kept == 0)
        {
            cost += sender.bytes();
        }
        let log = self.logs.get_mut(&id).expect("the log was looked for");
        if cost > left {
            log.refused = Some(ticket);
            return Ok(Err(StoreError::Full));
        }
        let entry = Arc::new(log.take(new));
        log.bytes += cost;
        match &entry.content {
            Content::Message { sender, counter, body, .. } => {
                if log.messages == 0 {
                    (log.first, log.first_time) = (entry.offset.0, entry.time);
                }
                log.messages += 1;
                log.body_bytes += body.len() as u64;
                self.count(id, sender, *counter, &entry)?;
            }
            Content::Record { .. } => {
                with_record(&mut log.records, entry.offset.0);
                if log.messages == 0 {
                    log.first = log.next;
                }
            }
        }
        let log = self.logs.get(&id).expect("the log was looked for");
        rows::write_entry(&self.connection, log, &entry)?;
        self.used_bytes += cost;
        self.change.bytes += cost;
        Ok(Ok(Outcome::Appended { entry }))
    }

    fn record(&mut self, id: Incarnation, entry: &Arc<Entry>) -> Applied {
        let Some(log) = self.touch(id) else { return Ok(Err(StoreError::NoSuchLog)) };
        log.next = entry.offset.0 + 1;
        log.time = entry.time;
        log.first = log.next;
        with_record(&mut log.records, entry.offset.0);
        let log = self.logs.get(&id).expect("it was there");
        rows::write_entry(&self.connection, log, entry)?;
        self.change.bytes += entry.bytes();
        Ok(Ok(Outcome::Appended { entry: entry.clone() }))
    }

    fn remove(&mut self, id: Incarnation) -> Applied {
        self.touch(id);
        let log = self.logs.remove(&id).expect("the log was looked for");
        self.connection.prepare_cached("DELETE FROM logs WHERE number = ?")?.execute([log.number])?;
        self.change.publishers.retain(|(of, _), _| *of != id);
        self.change.sweeps.push(Sweep::whole(log.number));
        self.used_bytes -= log.bytes;
        self.spoiled.remove(&id);
        Ok(Ok(Outcome::Removed { freed_bytes: log.bytes }))
    }

    fn forget(&mut self, id: Incarnation, sender: u32) -> Applied {
        self.touch(id);
        if let Some(counted) = self.counted(id, sender)? {
            counted.publisher.remembered = false;
            counted.forgotten = true;
            counted.newest = None;
            counted.runs.clear();
        }
        Ok(Ok(Outcome::Forgotten))
    }

    // ---- Publishers ----

    /// A publisher's counts, to be changed; `None` if the log knows none of this number.
    pub(super) fn counted(&mut self, id: Incarnation, number: u32) -> Result<Option<&mut Counted>, Fault> {
        let vacant = match self.change.publishers.entry((id, number)) {
            hash_map::Entry::Occupied(known) => return Ok(Some(known.into_mut())),
            hash_map::Entry::Vacant(vacant) => vacant,
        };
        let Some(log) = self.logs.get(&id) else { return Ok(None) };
        let place = log.place(u64::from(number))?;
        let mut statement = self.connection.prepare_cached(
            "SELECT place, kept, next, last, remembered, runs, checksum FROM publishers WHERE place = ?",
        )?;
        let mut rows = statement.query([place])?;
        let Some(row) = rows.next()? else { return Ok(None) };
        let (_, publisher) = Publisher::read(row, log)?;
        let mut statement = self.connection.prepare_cached(
            "SELECT publisher, counter, start, length, checksum FROM runs WHERE publisher = ? \
             ORDER BY counter DESC LIMIT 1",
        )?;
        let mut rows = statement.query([place])?;
        let newest = match rows.next()? {
            Some(row) => Some(rows::read_run(row, log)?.1),
            None => None,
        };
        let bytes = rows::read_sender(&self.connection, log, number)?.bytes();
        let (runs, forgotten, is_new) = (Vec::new(), false, false);
        Ok(Some(vacant.insert(Counted { publisher, bytes, newest, runs, forgotten, is_new })))
    }

    /// Notes that a message was appended.
    fn count(
        &mut self,
        id: Incarnation,
        sender: &Arc<Sender>,
        counter: Counter,
        entry: &Entry,
    ) -> Result<(), Fault> {
        if self.counted(id, sender.number)?.is_none() {
            let log = self.logs.get_mut(&id).expect("it is appended to");
            log.senders = log.senders.max(sender.number.saturating_add(1));
            rows::write_sender(&self.connection, log, sender)?;
            self.change.bytes += sender.bytes();
            let publisher = Publisher { kept: 0, next: Counter(0), last: Wall(0), remembered: true, runs: 0 };
            let (bytes, runs, is_new) = (sender.bytes(), Vec::new(), true);
            let new = Counted { publisher, bytes, newest: None, runs, forgotten: false, is_new };
            self.change.publishers.insert((id, sender.number), new);
        }
        let counted = self.change.publishers.get_mut(&(id, sender.number)).expect("it was put there");
        counted.add(counter, entry.offset, entry.time);
        Ok(())
    }

    fn left_bytes(&self) -> u64 {
        self.bytes_max.saturating_sub(self.used_bytes)
    }
}

impl Counted {
    fn add(&mut self, counter: Counter, offset: Offset, time: Wall) {
        self.publisher.kept += 1;
        self.publisher.next = counter.next();
        self.publisher.last = time;
        self.publisher.remembered = true;
        let goes_on = |run: &&mut Run| {
            (run.counter.0.checked_add(run.len), run.offset.0 + run.len) == (Some(counter.0), offset.0)
        };
        match self.newest.as_mut().filter(goes_on) {
            Some(run) => run.len += 1,
            None => self.newest = Some(Run { counter, offset, len: 1 }),
        }
        let newest = self.newest.expect("it was put there");
        match self.runs.last_mut().filter(|run| run.counter == newest.counter) {
            Some(run) => *run = newest,
            None => self.runs.push(newest),
        }
    }
}

impl Log {
    /// Gives a new entry its place.
    fn take(&mut self, new: &NewEntry) -> Entry {
        self.time = self.time.max(new.time);
        let entry = Entry { offset: Offset(self.next), time: self.time, content: new.content.clone() };
        self.next += 1;
        entry
    }
}

/// What a log itself counts: its row, and its place in RAM.
pub(super) const LOG_BYTES: u64 = 512;
/// How many offsets of a log of RAM one write gives out.
pub(super) const RESERVED: u64 = 1 << 16;
