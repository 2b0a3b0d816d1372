//! The engine that keeps all logs in RAM.
//!
//! Operations run in `flush`, and their completions are taken by the `poll`s behind it, so
//! that a broker on this engine waits as it does on one with a disk. With
//! [`Memory::with_delay`] they take several flushes, which a simulation wants.

use std::collections::{HashSet, VecDeque};
use std::time::Duration;

use self::log::Log;
use super::{Completion, LogSettings, NewEntry, Op, Outcome, Store, StoreError, Ticket};
use crate::base::ids::Incarnation;
use crate::base::plain_hash::PlainMap;
use crate::base::{Mono, Now};

pub(super) mod log;

/// All logs in RAM, up to a cap.
pub struct Memory {
    bytes_max: u64,
    used_bytes: u64,
    logs: PlainMap<Incarnation, Log>,
    next_ticket: u64,
    submitted: VecDeque<Pending>,
    done: VecDeque<Done>,
    delay: Option<Delay>,
    flushed_at: Mono,
    /// Operations were submitted since the last flush.
    fresh: bool,
}

struct Pending {
    ticket: Ticket,
    op: Op,
    /// How many more flushes it waits.
    flushes_left: u32,
}

struct Done {
    completion: Completion,
    /// The log whose appends are refused until this failure was seen.
    failure_of: Option<Incarnation>,
}

/// Draws how many flushes an operation waits: a 64-bit linear congruential generator
/// (Knuth's MMIX constants), of which the high bits are used. Only for simulations.
struct Delay {
    state: u64,
    flushes_max: u32,
}

impl Memory {
    /// An engine that holds up to `bytes_max` bytes, as [`super::Entry::bytes`] counts them.
    pub fn new(bytes_max: u64) -> Memory {
        Memory {
            bytes_max,
            used_bytes: 0,
            logs: PlainMap::default(),
            next_ticket: 0,
            submitted: VecDeque::new(),
            done: VecDeque::new(),
            delay: None,
            flushed_at: Mono::default(),
            fresh: false,
        }
    }

    /// As [`Memory::new`], but an operation takes up to `flushes_max` flushes more, drawn from
    /// `seed`: what a busy disk does to the order of things.
    pub fn with_delay(bytes_max: u64, seed: u64, flushes_max: u32) -> Memory {
        Memory { delay: Some(Delay { state: seed, flushes_max }), ..Memory::new(bytes_max) }
    }

    fn run(&mut self, ticket: Ticket, op: Op) {
        let log = op.log();
        let is_append = matches!(op, Op::Append { .. });
        let result = self.apply(ticket, op);
        let first_failure = is_append && matches!(result, Err(StoreError::Full | StoreError::Failed(_)));
        let failure_of = log.filter(|_| first_failure);
        self.done.push_back(Done { completion: Completion { ticket, result }, failure_of });
    }

    fn apply(&mut self, ticket: Ticket, op: Op) -> Result<Outcome, StoreError> {
        match op {
            Op::Create { log, settings, records } => self.create(log, &settings, records),
            Op::Append { log, entry } => self.append(ticket, log, entry),
            Op::Read { log, from, below, bytes_max, records_only } => {
                let (entries, next) = self.log(log)?.read(from, below, bytes_max, records_only);
                Ok(Outcome::Entries { entries, next })
            }
            Op::Find { log, what } => Ok(Outcome::Found(self.log(log)?.find(what))),
            Op::Trim { log, keep } => {
                let log = self.log(log)?;
                let (freed_bytes, kept) = (log.trim(&keep), log.kept());
                self.used_bytes -= freed_bytes;
                Ok(Outcome::Trimmed { freed_bytes, kept })
            }
            // Nothing outlives the process, so there is no next start to remember these for.
            Op::Configure { log, .. } => self.log(log).map(|_| Outcome::Configured),
            Op::Forget { log, .. } => self.log(log).map(|_| Outcome::Forgotten),
            Op::Put { .. } | Op::Drop { .. } => Ok(Outcome::Noted),
            Op::Remove { log } => {
                let log = self.logs.remove(&log).ok_or(StoreError::NoSuchLog)?;
                let freed_bytes = log.bytes();
                self.used_bytes -= freed_bytes;
                Ok(Outcome::Removed { freed_bytes })
            }
        }
    }

    fn create(
        &mut self,
        id: Incarnation,
        settings: &LogSettings,
        records: Vec<NewEntry>,
    ) -> Result<Outcome, StoreError> {
        if self.logs.contains_key(&id) {
            return Err(StoreError::Exists);
        }
        let mut log = Log::new(settings);
        let entries = records.into_iter().map(|record| log.append(record)).collect();
        if log.bytes() > self.left_bytes() {
            return Err(StoreError::Full);
        }
        self.used_bytes += log.bytes();
        self.logs.insert(id, log);
        Ok(Outcome::Created { entries })
    }

    fn append(&mut self, ticket: Ticket, id: Incarnation, entry: NewEntry) -> Result<Outcome, StoreError> {
        let left = self.left_bytes();
        let log = self.log(id)?;
        if ticket < log.refused_before {
            return Err(StoreError::EarlierFailed);
        }
        let cost = log.cost(&entry);
        if cost > left {
            // Until the failure is seen; `poll` narrows it.
            log.refused_before = Ticket(u64::MAX);
            return Err(StoreError::Full);
        }
        let entry = log.append(entry);
        self.used_bytes += cost;
        Ok(Outcome::Appended { entry })
    }

    fn log(&mut self, id: Incarnation) -> Result<&mut Log, StoreError> {
        self.logs.get_mut(&id).ok_or(StoreError::NoSuchLog)
    }

    fn left_bytes(&self) -> u64 {
        self.bytes_max.saturating_sub(self.used_bytes)
    }
}

impl Store for Memory {
    fn submit(&mut self, op: Op) -> Ticket {
        let ticket = Ticket(self.next_ticket);
        self.next_ticket += 1;
        self.fresh = true;
        let flushes_left = self.delay.as_mut().map_or(0, Delay::draw);
        self.submitted.push_back(Pending { ticket, op, flushes_left });
        ticket
    }

    fn poll(&mut self) -> Option<Completion> {
        let done = self.done.pop_front()?;
        if let Some(log) = done.failure_of.and_then(|id| self.logs.get_mut(&id)) {
            log.refused_before = Ticket(self.next_ticket);
        }
        Some(done.completion)
    }

    /// Runs all that is due. An operation that changes a log waits for those before it.
    fn flush(&mut self, now: Now) {
        self.flushed_at = now.mono;
        self.fresh = false;
        let mut held: HashSet<Incarnation> = HashSet::new();
        for _ in 0..self.submitted.len() {
            let Some(mut pending) = self.submitted.pop_front() else { return };
            let log = pending.op.log();
            let is_query = pending.op.is_query();
            let waits = !held.is_empty() && log.is_some_and(|log| held.contains(&log));
            if pending.flushes_left == 0 && (is_query || !waits) {
                self.run(pending.ticket, pending.op);
                continue;
            }
            pending.flushes_left = pending.flushes_left.saturating_sub(1);
            if !is_query {
                held.extend(log);
            }
            self.submitted.push_back(pending);
        }
    }

    fn poll_timeout(&self) -> Option<Mono> {
        if self.fresh || !self.done.is_empty() {
            return Some(self.flushed_at);
        }
        (!self.submitted.is_empty()).then(|| self.flushed_at + DELAY_STEP)
    }

    fn wants_io(&self) -> bool {
        !self.submitted.is_empty() || !self.done.is_empty()
    }

    fn is_durable(&self) -> bool {
        false
    }

    fn used_bytes(&self) -> u64 {
        self.used_bytes
    }
}

impl Delay {
    fn draw(&mut self) -> u32 {
        self.state =
            self.state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let bits = (self.state >> 33) as u32;
        bits % self.flushes_max.saturating_add(1)
    }
}

/// From one flush to the next while delayed operations wait.
const DELAY_STEP: Duration = Duration::from_millis(1);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::contract;

    #[test]
    fn keeps_the_contract() {
        contract::check(&mut |bytes_max| Box::new(Memory::new(bytes_max)));
    }

    #[test]
    fn keeps_the_contract_when_slow() {
        for seed in 0..20 {
            contract::check(&mut |bytes_max| Box::new(Memory::with_delay(bytes_max, seed, 4)));
        }
    }

    #[test]
    fn nothing_completes_before_a_flush_and_a_seed_repeats_its_delays() {
        let run = |seed| {
            let mut store = Memory::with_delay(0, seed, 3);
            for log in 0..64 {
                store.submit(Op::Remove { log: Incarnation(log) });
            }
            assert_eq!(store.poll(), None);
            let mut trace = Vec::new();
            while store.wants_io() {
                assert!(store.poll_timeout().is_some());
                store.flush(Now { mono: Mono(1), wall: Default::default() });
                trace.push(std::iter::from_fn(|| store.poll()).map(|c| c.ticket.0).collect::<Vec<_>>());
            }
            assert_eq!(store.poll_timeout(), None);
            trace
        };
        assert_eq!(run(7), run(7));
        assert_ne!(run(7), run(8));
        assert_eq!(run(7).len(), 4, "some wait three flushes, none longer");
    }
}
