//! The engine that keeps logs on disk, in SQLite.
//!
//! An append to a log of [`Durability::Disk`](super::Durability) completes after the sync of the
//! transaction that has it; one thread makes them, of whatever waits at the time, and the loop's
//! thread never waits for it. Logs of RAM are on the loop's side ([`volatile`]). It must not know
//! clocks, sockets, or what a record or a note means.
//!
//! - `submit` takes anything. The queue to the writer has 1,024 places; what finds none waits
//!   here, and is bounded by what the broker lets under way: 1,024 publishes of a connection, a
//!   pool of bodies for all of them, four reads each.
//! - One connection. No second broker opens the folder; a backup may read it meanwhile, from a
//!   process of its own. Reads take turns with transactions: at most four of a MiB before the next
//!   transaction goes.
//! - After a write or a sync that failed nothing completes as stored, and nothing is tried
//!   again: [`Store::failure`] says why, and the process is to stop. A full disk is no failure:
//!   what needed room is refused, and the next one may find some.
//! - A log whose rows turn out to be damaged takes no more changes: they are answered with
//!   [`StoreError::Damaged`]. Its good messages are read on, and the other logs are as before.
//! - Room that a trim frees is used again, or given back to the file system in steps.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, TrySendError, channel, sync_channel};
use std::thread::JoinHandle;

use self::database::Database;
use self::folder::Folder;
use self::job::{Done, Job, Report};
use self::volatile::Volatiles;
use self::writer::Writer;
use super::{Completion, Contents, Durability, Op, Store, StoreError, Ticket};
use crate::base::ids::Incarnation;
use crate::base::{Mono, Now};

mod apply;
mod backup;
mod database;
mod fault;
mod folder;
mod job;
mod queries;
mod rows;
mod salvage;
mod schema;
mod start;
mod sweep;
mod trim;
mod volatile;
mod wal;
mod writer;

#[cfg(test)]
mod tests;

pub use self::backup::{BackupError, BackupReport, DamagedTopic, backup};
pub use self::fault::OpenError;
pub use self::salvage::{LostTopic, SalvageError, SalvageReport, SalvagedTopic, salvage};
pub use self::schema::{APPLICATION_ID, SCHEMA_VERSION};
pub use self::wal::Recovered;

/// Logs in a folder of their own.
pub struct Disk {
    /// `None` once the writer is to end.
    jobs: Option<SyncSender<Job>>,
    reports: Receiver<Report>,
    thread: Option<JoinHandle<()>>,
    submitted: VecDeque<Submitted>,
    /// What found no place in the writer's queue yet.
    outgoing: VecDeque<Job>,
    volatiles: Volatiles,
    done: VecDeque<Done>,
    /// Tickets given out and not yet taken with their completion.
    under_way: u64,
    flushed_at: Mono,
    disk_bytes: u64,
    commits: u64,
    failure: Option<String>,
    /// Given up last.
    _folder: Folder,
}

/// What waits for the next flush, in its order.
enum Submitted {
    Op(Ticket, Op),
    /// The failure of an append to a log on disk was taken: see [`Job::Seen`].
    Seen {
        log: Incarnation,
        failed: Ticket,
    },
}

/// How much an engine holds, as [`super::Entry::bytes`] counts it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caps {
    /// Logs on disk.
    pub disk_bytes: u64,
    /// Logs of RAM, with their records.
    pub memory_bytes: u64,
}

/// News of an opening, in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opening {
    /// The process before did not end in good order: what it left was taken over.
    Recovered(Recovered),
    /// So many logs of all have been read, without their messages.
    Logs { done: u64, all: u64 },
}

impl Disk {
    /// Opens the database in `folder`, which is made if it is not there. `wake` is called from
    /// the writer's thread when there is something to `poll`.
    pub fn open(
        folder: &Path,
        caps: Caps,
        wake: Box<dyn Fn() + Send>,
        progress: &mut dyn FnMut(Opening),
    ) -> Result<(Disk, Contents), OpenError> {
        let folder = Folder::take(folder)?;
        let survey = folder.survey_wal()?;
        if let Some(frame) = survey.damaged_at {
            return Err(OpenError::Damaged(format!(
                "frame {frame} of the write-ahead log is bad, and what was stored after it is behind it"
            )));
        }
        if survey.recovered != Recovered::default() {
            progress(Opening::Recovered(survey.recovered));
        }
        let connection = schema::open(&folder.database)?;
        let (database, contents) = Database::load(connection, caps.disk_bytes, progress)?;
        folder.mark()?;
        let mut volatiles = Volatiles::new(caps.memory_bytes);
        for stored in contents.logs.iter().filter(|s| s.settings.durability == Durability::Memory) {
            volatiles.restore(stored);
        }
        let disk_bytes = database.used_bytes;
        let (jobs, taken) = sync_channel(QUEUE_MAX);
        let (reporting, reports) = channel();
        let writer = Writer {
            database,
            jobs: taken,
            reports: reporting,
            wake,
            changes: VecDeque::new(),
            queries: VecDeque::new(),
            failure: None,
            is_ending: false,
            refused: 0,
        };
        let thread = std::thread::Builder::new().name("store".into()).spawn(|| writer.run());
        let thread = thread.map_err(|error| OpenError::Failed(error.to_string()))?;
        let disk = Disk {
            jobs: Some(jobs),
            reports,
            thread: Some(thread),
            submitted: VecDeque::new(),
            outgoing: VecDeque::new(),
            volatiles,
            done: VecDeque::new(),
            under_way: 0,
            flushed_at: Mono::default(),
            disk_bytes,
            commits: 0,
            failure: None,
            _folder: folder,
        };
        Ok((disk, contents))
    }

    /// How many transactions of operations were committed, as of the last completion.
    pub fn commits(&self) -> u64 {
        self.commits
    }

    fn route(&mut self, ticket: Ticket, op: Op) {
        if let Some((ticket, op)) = self.volatiles.submit(ticket, op) {
            self.volatiles.jobs.push_back(Job::Op(ticket, op));
        }
    }

    /// Takes what the writer has done.
    fn take_reports(&mut self) {
        loop {
            let report = match self.reports.try_recv() {
                Ok(report) => report,
                Err(TryRecvError::Empty) => break,
                // A bug of ours ended it; what is under way has no answer.
                Err(TryRecvError::Disconnected) => {
                    self.failure.get_or_insert_with(|| WRITER_GONE.into());
                    break;
                }
            };
            self.disk_bytes = report.used_bytes;
            self.commits = report.commits;
            self.failure = self.failure.take().or(report.failure);
            for done in report.done {
                let ticket = done.completion.ticket;
                if self.volatiles.awaited.contains_key(&ticket) {
                    self.volatiles.answer(ticket, done.completion.result);
                    self.take_volatile();
                } else {
                    self.done.push_back(done);
                }
            }
        }
        self.send();
    }

    /// Takes what logs of RAM have done, and what they ask of the writer.
    fn take_volatile(&mut self) {
        while let Some((ticket, op)) = self.volatiles.homeless.pop_front() {
            self.route(ticket, op);
        }
        self.done.append(&mut self.volatiles.done);
        self.outgoing.append(&mut self.volatiles.jobs);
    }

    fn send(&mut self) {
        if self.outgoing.is_empty() {
            return;
        }
        let Some(jobs) = self.jobs.clone() else { return };
        while let Some(job) = self.outgoing.pop_front() {
            match jobs.try_send(job) {
                Ok(()) => {}
                Err(TrySendError::Full(job)) => {
                    self.outgoing.push_front(job);
                    return;
                }
                // The writer has died of a bug: nothing is stored any more.
                Err(TrySendError::Disconnected(job)) => self.fail(&job),
            }
        }
    }

    fn fail(&mut self, job: &Job) {
        let why = self.failure.get_or_insert_with(|| WRITER_GONE.into()).clone();
        if let Some(ticket) = job.ticket() {
            let result = Err(StoreError::Failed(why));
            self.done.push_back(Done { completion: Completion { ticket, result }, failure_of: None });
        }
    }
}

impl Store for Disk {
    fn submit(&mut self, op: Op) -> Ticket {
        let ticket = self.volatiles.ticket();
        self.under_way += 1;
        self.submitted.push_back(Submitted::Op(ticket, op));
        ticket
    }

    fn poll(&mut self) -> Option<Completion> {
        if self.done.is_empty() {
            self.take_reports();
        }
        let Done { completion, failure_of } = self.done.pop_front()?;
        self.under_way -= 1;
        if let Some(log) = failure_of.filter(|log| !self.volatiles.seen(*log)) {
            // Behind what was submitted before, though that has not been flushed yet.
            self.submitted.push_back(Submitted::Seen { log, failed: completion.ticket });
        }
        Some(completion)
    }

    fn flush(&mut self, now: Now) {
        self.flushed_at = now.mono;
        while let Some(submitted) = self.submitted.pop_front() {
            match (submitted, &self.failure) {
                (Submitted::Op(ticket, _), Some(why)) => {
                    let result = Err(StoreError::Failed(why.clone()));
                    let completion = Completion { ticket, result };
                    self.done.push_back(Done { completion, failure_of: None });
                }
                (Submitted::Op(ticket, op), None) => self.route(ticket, op),
                (Submitted::Seen { log, failed }, _) => {
                    self.take_volatile();
                    self.outgoing.push_back(Job::Seen { log, failed });
                }
            }
        }
        self.take_volatile();
        self.take_reports();
    }

    /// Nothing is due while the writer works: it wakes the driver.
    fn poll_timeout(&self) -> Option<Mono> {
        let is_op = |submitted: &Submitted| matches!(submitted, Submitted::Op(..));
        let is_due = !self.done.is_empty() || self.submitted.iter().any(is_op);
        is_due.then_some(self.flushed_at)
    }

    fn wants_io(&self) -> bool {
        self.under_way > 0
    }

    fn is_durable(&self) -> bool {
        true
    }

    fn used_bytes(&self) -> u64 {
        self.disk_bytes + self.volatiles.used_bytes
    }

    fn failure(&self) -> Option<&str> {
        self.failure.as_deref()
    }
}

impl Drop for Disk {
    /// Waits until the writer has done what it was given.
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            // A panic of the writer has been told on its thread.
            let _ = thread.join();
        }
    }
}

const WRITER_GONE: &str = "the thread that writes to disk has ended";
/// Places in the queue to the writer.
const QUEUE_MAX: usize = 1024;
