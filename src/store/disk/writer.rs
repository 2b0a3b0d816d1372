//! The thread that waits for the disk: whatever has come in goes into one transaction, then some
//! reads, then a step of tidying.
//!
//! After an error that leaves open what is on the disk it does nothing any more: a sync that
//! failed once may succeed the next time without having written what it was for.

use std::collections::{HashSet, VecDeque};
use std::sync::mpsc::{Receiver, Sender, TryRecvError};

use super::database::Database;
use super::fault::Fault;
use super::job::{Done, Job, Report};
use crate::base::ids::Incarnation;
use crate::store::{Completion, Op, Outcome, StoreError, Ticket};

pub(super) struct Writer {
    pub(super) database: Database,
    pub(super) jobs: Receiver<Job>,
    pub(super) reports: Sender<Report>,
    pub(super) wake: Box<dyn Fn() + Send>,
    pub(super) changes: VecDeque<Job>,
    pub(super) queries: VecDeque<(Ticket, Op)>,
    pub(super) failure: Option<String>,
    /// Nobody gives it anything any more.
    pub(super) is_ending: bool,
    /// Times in a row that another process's lock was in the way.
    pub(super) refused: u32,
}

impl Writer {
    /// Until the other side is dropped and all is done.
    pub(super) fn run(mut self) {
        let mut untidy = true;
        while self.receive(untidy) {
            let mut done = Vec::new();
            let tidied = self.round(&mut done);
            untidy = tidied.unwrap_or_else(|fault| {
                self.failure = Some(fault.to_string());
                false
            });
            self.fail_the_rest(&mut done);
            self.report(done);
        }
        if self.failure.is_none() {
            // The next start then has no log to read; if it fails, it has.
            let _ = self.database.checkpoint("TRUNCATE");
        }
    }

    /// Takes what has come, and waits for something if there is nothing to do. False: the end.
    fn receive(&mut self, untidy: bool) -> bool {
        let is_idle = self.changes.is_empty() && self.queries.is_empty();
        if is_idle && !untidy {
            match self.jobs.recv() {
                Ok(job) => self.take(job),
                Err(_) => return false,
            }
        }
        while self.changes.len() + self.queries.len() < WAITING_MAX {
            match self.jobs.try_recv() {
                Ok(job) => self.take(job),
                Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Disconnected) => {
                    self.is_ending = true;
                    return !self.changes.is_empty() || !self.queries.is_empty();
                }
            }
        }
        true
    }

    fn take(&mut self, job: Job) {
        match job {
            Job::Op(ticket, op) if op.is_query() => self.queries.push_back((ticket, op)),
            #[cfg(test)]
            Job::Probe(probe) => probe(&mut self.database),
            job => self.changes.push_back(job),
        }
    }

    /// Whether there is more to tidy up.
    fn round(&mut self, done: &mut Vec<Done>) -> Result<bool, Fault> {
        if self.failure.is_some() {
            return Ok(false);
        }
        let batch = self.batch(done)?;
        if !batch.is_empty() {
            let transacted = self.transact(&batch, done);
            if let Err(fault) = transacted {
                if fault == Fault::Busy && self.may_wait() {
                    // In front of what came later; queries go on meanwhile.
                    batch.into_iter().rev().for_each(|job| self.changes.push_front(job));
                    return self.run_queries(done).map(|()| true);
                }
                let why = fault.to_string();
                done.extend(
                    batch.iter().filter_map(|job| Done::new(job, Err(StoreError::Failed(why.clone())))),
                );
                return Err(fault);
            }
        }
        self.refused = 0;
        self.run_queries(done)?;
        self.database.checkpoint_if_due()?;
        // Answers do not wait for it.
        let ready = std::mem::take(done);
        self.report(ready);
        self.database.tidy()
    }

    fn run_queries(&mut self, done: &mut Vec<Done>) -> Result<(), Fault> {
        for _ in 0..QUERIES_AT_ONCE {
            let Some((ticket, op)) = self.queries.pop_front() else { break };
            match self.database.query(&op) {
                Ok(result) => {
                    done.push(Done { completion: Completion { ticket, result }, failure_of: None });
                }
                Err(fault) => {
                    self.queries.push_front((ticket, op));
                    return if fault == Fault::Busy { Ok(()) } else { Err(fault) };
                }
            }
        }
        Ok(())
    }

    /// A lock of another process is no failure; at the end, which cannot wait for it forever, it is.
    fn may_wait(&mut self) -> bool {
        self.refused += 1;
        if self.refused == 1 {
            log::warn!("another process has locked the database: what is to be stored waits for it");
        }
        !self.is_ending || self.refused <= REFUSED_MAX
    }

    fn transact(&mut self, batch: &[Job], done: &mut Vec<Done>) -> Result<(), Fault> {
        if batch.iter().all(|job| matches!(job, Job::Seen { .. })) {
            return batch.iter().try_for_each(|job| self.database.apply(job).map(drop));
        }
        let results = self.database.transact(batch)?;
        let jobs = batch.iter().filter(|job| job.ticket().is_some());
        for (job, (ticket, result)) in jobs.zip(results) {
            self.database.scans.remove(&ticket);
            done.extend(Done::new(job, result));
        }
        Ok(())
    }

    /// What goes into the next transaction. A trim goes when it has seen all that it drops; what
    /// changes the same log behind it waits.
    fn batch(&mut self, done: &mut Vec<Done>) -> Result<Vec<Job>, Fault> {
        let mut batch = Vec::new();
        let mut held: HashSet<Incarnation> = HashSet::new();
        let mut changed: HashSet<Incarnation> = HashSet::new();
        let (mut bytes, mut broken) = (0, None);
        for job in std::mem::take(&mut self.changes) {
            let log = job.log();
            let is_behind = log.is_some_and(|log| held.contains(&log)) || bytes > BATCH_BYTES_MAX;
            let goes = match &job {
                _ if is_behind => Ok(false),
                Job::Op(_, Op::Trim { log, .. }) if changed.contains(log) || broken.is_some() => Ok(false),
                Job::Op(ticket, Op::Trim { log, keep }) => self.database.scan(*ticket, *log, keep),
                _ => Ok(true),
            };
            match goes {
                Ok(true) => {
                    bytes += job.bytes();
                    changed.extend(log);
                    batch.push(job);
                    continue;
                }
                Ok(false) | Err(Fault::Busy) => {}
                Err(Fault::Damaged(_)) => {
                    let offset = self.database.first_of(log);
                    done.extend(Done::new(&job, Err(StoreError::Damaged { offset })));
                    continue;
                }
                Err(fault) => broken = Some(fault),
            }
            held.extend(log);
            self.changes.push_back(job);
        }
        match broken {
            None => Ok(batch),
            // All of it is refused.
            Some(fault) => {
                self.changes.extend(batch);
                Err(fault)
            }
        }
    }

    fn fail_the_rest(&mut self, done: &mut Vec<Done>) {
        let Some(why) = self.failure.clone() else { return };
        for job in self.changes.drain(..) {
            done.extend(Done::new(&job, Err(StoreError::Failed(why.clone()))));
        }
        for (ticket, _) in self.queries.drain(..) {
            let result = Err(StoreError::Failed(why.clone()));
            done.push(Done { completion: Completion { ticket, result }, failure_of: None });
        }
    }

    fn report(&self, done: Vec<Done>) {
        if done.is_empty() && self.failure.is_none() {
            return;
        }
        let (used_bytes, commits) = (self.database.used_bytes, self.database.commits);
        let report = Report { done, used_bytes, commits, failure: self.failure.clone() };
        // Nobody listens any more when the store was dropped with something under way.
        let _ = self.reports.send(report);
        (self.wake)();
    }
}

impl Done {
    fn new(job: &Job, result: Result<Outcome, StoreError>) -> Option<Done> {
        // What fails for another one's sake is no first.
        let first_failure = job.is_append()
            && matches!(result, Err(StoreError::Full | StoreError::Damaged { .. } | StoreError::Failed(_)));
        let failure_of = job.log().filter(|_| first_failure);
        job.ticket().map(|ticket| Done { completion: Completion { ticket, result }, failure_of })
    }
}

/// Times, each of them a second, that the end waits for another process's lock.
const REFUSED_MAX: u32 = 10;
/// Taken from the queue and not yet done.
const WAITING_MAX: usize = 1024;
/// Bodies in one transaction; the one that exceeds it still goes.
const BATCH_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// Reads from one transaction to the next, while changes wait.
const QUERIES_AT_ONCE: usize = 4;
