//! Logs of RAM: messages never wait for the disk, unless one stands behind a change that does.
//!
//! Their settings and membership records are on disk all the same. So that no offset is used
//! again after a restart, the disk has a number below which all offsets lie that were given out,
//! raised by 65,536 at a time and ahead of need; a start goes on there, and what lies between is
//! a gap as a trim leaves one.

use std::collections::VecDeque;
use std::sync::Arc;

use super::apply::RESERVED;
use super::job::{Done, Job};
use crate::base::Wall;
use crate::base::ids::{Incarnation, Offset};
use crate::base::plain_hash::PlainMap;
use crate::store::memory::log::Log;
use crate::store::{Completion, Durability, Entry, NewEntry, Op, Outcome, StoreError, Stored, Ticket};

/// All logs of RAM.
pub(super) struct Volatiles {
    pub(super) logs: PlainMap<Incarnation, Volatile>,
    /// What the writer is doing for which of them.
    pub(super) awaited: PlainMap<Ticket, Incarnation>,
    pub(super) used_bytes: u64,
    pub(super) bytes_max: u64,
    pub(super) next_ticket: u64,
    pub(super) jobs: VecDeque<Job>,
    pub(super) done: VecDeque<Done>,
    /// Operations whose log turned out to be none of RAM: to be routed anew.
    pub(super) homeless: VecDeque<(Ticket, Op)>,
}

pub(super) struct Volatile {
    log: Log,
    /// Changes, in their order; while the log is being made, queries too.
    queue: VecDeque<(Ticket, Op)>,
    /// The change at the writer; those in the queue wait for it.
    busy: Option<Busy>,
    /// The reservation at the writer, and how far it goes.
    reserving: Option<(Ticket, u64)>,
    reserved: u64,
}

struct Busy {
    op: Op,
    /// Counted already; given back if it fails.
    cost: u64,
}

impl Volatiles {
    pub(super) fn new(bytes_max: u64) -> Volatiles {
        Volatiles {
            logs: PlainMap::default(),
            awaited: PlainMap::default(),
            used_bytes: 0,
            bytes_max,
            next_ticket: 0,
            jobs: VecDeque::new(),
            done: VecDeque::new(),
            homeless: VecDeque::new(),
        }
    }

    pub(super) fn ticket(&mut self) -> Ticket {
        self.next_ticket += 1;
        Ticket(self.next_ticket - 1)
    }

    /// A log as a start finds it.
    pub(super) fn restore(&mut self, stored: &Stored) {
        let log = Log::restore(&stored.settings, stored.records.clone(), stored.next, stored.time);
        self.used_bytes += log.bytes();
        let next = stored.next.0;
        // No offset is left of what was reserved: the first message waits for more.
        let (queue, busy, reserving) = (VecDeque::new(), None, None);
        self.logs.insert(stored.log, Volatile { log, queue, busy, reserving, reserved: next });
    }

    /// Takes an operation that is about a log of RAM, or gives it back.
    pub(super) fn submit(&mut self, ticket: Ticket, op: Op) -> Option<(Ticket, Op)> {
        let Some(id) = op.log() else { return Some((ticket, op)) };
        if let Some(volatile) = self.logs.get_mut(&id) {
            let is_made = !matches!(volatile.busy, Some(Busy { op: Op::Create { .. }, .. }));
            if op.is_query() && is_made {
                let result = volatile.query(&op);
                self.done.push_back(Done { completion: Completion { ticket, result }, failure_of: None });
            } else {
                volatile.queue.push_back((ticket, op));
                self.go_on(id);
            }
            return None;
        }
        match op {
            Op::Create { ref settings, ref records, .. } if settings.durability == Durability::Memory => {
                let log = Log::new(settings);
                let cost = log.bytes() + records.iter().map(|r| r.content.bytes()).sum::<u64>();
                if cost > self.bytes_max.saturating_sub(self.used_bytes) {
                    self.jobs.push_back(Job::Refuse { ticket, log: id });
                    return None;
                }
                self.used_bytes += cost;
                self.awaited.insert(ticket, id);
                self.jobs.push_back(Job::Op(ticket, op.clone()));
                let busy = Some(Busy { op, cost });
                let (queue, reserving) = (VecDeque::new(), None);
                self.logs.insert(id, Volatile { log, queue, busy, reserving, reserved: 0 });
                None
            }
            op => Some((ticket, op)),
        }
    }

    /// The writer's answer to something that was done for a log of RAM.
    pub(super) fn answer(&mut self, ticket: Ticket, result: Result<Outcome, StoreError>) {
        let Some(id) = self.awaited.remove(&ticket) else { return };
        let Some(volatile) = self.logs.get_mut(&id) else { return };
        if let Some((_, below)) = volatile.reserving.filter(|(of, _)| *of == ticket) {
            volatile.reserving = None;
            match result {
                Ok(_) => volatile.reserved = below,
                Err(error) => self.refuse_front(id, error),
            }
            return self.go_on(id);
        }
        let Some(Busy { op, cost, .. }) = volatile.busy.take() else { return };
        let mut failure_of = None;
        let result = match (op, result) {
            (Op::Create { settings, .. }, Ok(Outcome::Created { entries })) => {
                let time = entries.last().map_or(Wall(0), |entry| entry.time);
                let next = Offset(entries.len() as u64);
                volatile.log = Log::restore(&settings, entries.clone(), next, time);
                volatile.reserved = next.0 + RESERVED;
                Ok(Outcome::Created { entries })
            }
            (Op::Create { .. }, result) => {
                self.used_bytes -= cost;
                self.let_go(id);
                result
            }
            (Op::Append { entry, .. }, Ok(_)) => Ok(Outcome::Appended { entry: volatile.log.append(entry) }),
            (Op::Append { .. }, result) => {
                self.used_bytes -= cost;
                volatile.log.refused_before = Ticket(u64::MAX);
                failure_of = Some(id);
                result
            }
            (Op::Remove { .. }, Ok(_)) => {
                let freed_bytes = volatile.log.bytes();
                self.used_bytes -= freed_bytes;
                self.let_go(id);
                Ok(Outcome::Removed { freed_bytes })
            }
            (_, result) => result,
        };
        self.done.push_back(Done { completion: Completion { ticket, result }, failure_of });
        self.go_on(id);
    }

    /// The failure of an append was taken: what is submitted from here on is new.
    pub(super) fn seen(&mut self, id: Incarnation) -> bool {
        let next = Ticket(self.next_ticket);
        let volatile = self.logs.get_mut(&id);
        volatile.map(|volatile| volatile.log.refused_before = next).is_some()
    }

    fn let_go(&mut self, id: Incarnation) {
        if let Some(volatile) = self.logs.remove(&id) {
            self.homeless.extend(volatile.queue);
        }
    }

    /// Does what stands at the head of a log's queue, up to what has to wait for the writer.
    fn go_on(&mut self, id: Incarnation) {
        while let Some(volatile) = self.logs.get_mut(&id).filter(|volatile| volatile.busy.is_none()) {
            if volatile.must_reserve() {
                let below = volatile.log.end().0.0.max(volatile.reserved) + RESERVED;
                let ticket = self.ticket();
                self.awaited.insert(ticket, id);
                self.jobs.push_back(Job::Reserve { ticket, log: id, below });
                self.logs.get_mut(&id).expect("it was there").reserving = Some((ticket, below));
                continue;
            }
            if volatile.must_wait() {
                return;
            }
            let Some((ticket, op)) = volatile.queue.pop_front() else { return };
            if let Some((result, failure_of)) = self.apply(ticket, id, op) {
                self.done.push_back(Done { completion: Completion { ticket, result }, failure_of });
            }
        }
    }

    /// Does a change, or hands it to the writer.
    fn apply(
        &mut self,
        ticket: Ticket,
        id: Incarnation,
        op: Op,
    ) -> Option<(Result<Outcome, StoreError>, Option<Incarnation>)> {
        let left = self.bytes_max.saturating_sub(self.used_bytes);
        let volatile = self.logs.get_mut(&id)?;
        let job = match &op {
            Op::Create { .. } => return Some((Err(StoreError::Exists), None)),
            Op::Read { .. } | Op::Find { .. } => return Some((volatile.query(&op), None)),
            Op::Trim { keep, .. } => {
                let (freed_bytes, kept) = (volatile.log.trim(keep), volatile.log.kept());
                self.used_bytes -= freed_bytes;
                return Some((Ok(Outcome::Trimmed { freed_bytes, kept }), None));
            }
            Op::Append { entry, .. } => {
                if ticket < volatile.log.refused_before {
                    return Some((Err(StoreError::EarlierFailed), None));
                }
                let cost = volatile.log.cost(entry);
                if cost > left {
                    volatile.log.refused_before = Ticket(u64::MAX);
                    return Some((Err(StoreError::Full), Some(id)));
                }
                self.used_bytes += cost;
                if entry.content.is_message() {
                    let entry = volatile.log.append(entry.clone());
                    return Some((Ok(Outcome::Appended { entry }), None));
                }
                let entry = volatile.placed(entry);
                volatile.busy = Some(Busy { op, cost });
                Job::Record { ticket, log: id, entry }
            }
            _ => {
                volatile.busy = Some(Busy { op: op.clone(), cost: 0 });
                Job::Op(ticket, op)
            }
        };
        self.awaited.insert(ticket, id);
        self.jobs.push_back(job);
        None
    }

    /// The offsets could not be had: the message that needs one fails.
    fn refuse_front(&mut self, id: Incarnation, error: StoreError) {
        let Some(volatile) = self.logs.get_mut(&id).filter(|volatile| volatile.must_wait()) else { return };
        let Some((ticket, _)) = volatile.queue.pop_front() else { return };
        volatile.log.refused_before = Ticket(u64::MAX);
        self.done
            .push_back(Done { completion: Completion { ticket, result: Err(error) }, failure_of: Some(id) });
    }
}

impl Volatile {
    fn query(&self, op: &Op) -> Result<Outcome, StoreError> {
        match *op {
            Op::Read { from, below, bytes_max, records_only, .. } => {
                let (entries, next) = self.log.read(from, below, bytes_max, records_only);
                Ok(Outcome::Entries { entries, next })
            }
            Op::Find { what, .. } => Ok(Outcome::Found(self.log.find(what))),
            _ => Err(StoreError::Failed("a change is no query".into())),
        }
    }

    /// Half of what was reserved is left when more is asked for, so that nothing waits as a rule.
    fn must_reserve(&self) -> bool {
        let used_up = self.log.end().0.0 + RESERVED / 2 >= self.reserved;
        used_up && self.reserving.is_none() && self.next_is_message()
    }

    /// Whether the next change is a message for which no offset is reserved.
    fn must_wait(&self) -> bool {
        self.next_is_message() && self.log.end().0.0 >= self.reserved
    }

    fn next_is_message(&self) -> bool {
        matches!(self.queue.front(), Some((_, Op::Append { entry, .. })) if entry.content.is_message())
    }

    fn placed(&self, new: &NewEntry) -> Arc<Entry> {
        let (offset, time) = self.log.end();
        Arc::new(Entry { offset, time: time.max(new.time), content: new.content.clone() })
    }
}
