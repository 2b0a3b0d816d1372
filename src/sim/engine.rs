//! A durable engine that misbehaves as disks do: it is late, it is full, it fails, and at a crash it
//! keeps what it was told to write only up to some place.
//!
//! What is submitted goes to the [`Platter`] in transactions, in their order and each as a whole,
//! some time later; only then is it answered. The disk outlives its broker: [`Disk::start`] gives the
//! next one an engine, and what there is.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

use super::dice::Dice;
use super::platter::{Platter, RESERVED, Room, StoreNews, shorten};
use super::tamper::Fault;
use crate::base::ids::Incarnation;
use crate::base::{Mono, Now};
use crate::store::{Completion, Contents, Durability, NoteKind, Op, Outcome, Store, StoreError, Ticket};

/// The disk of all brokers of a run, one after the other.
pub struct Disk(Rc<RefCell<Works>>);

/// The engine of one broker. It does nothing more once another one was started.
pub struct Engine {
    works: Rc<RefCell<Works>>,
    start: u32,
}

/// How a disk behaves in a run.
#[derive(Clone, Copy)]
pub struct Habits {
    /// Of all logs, as [`crate::store::Entry::bytes`] counts them.
    pub bytes_max: u64,
    /// The longest that a transaction takes from the one before it.
    pub delay_ms: u64,
    /// A fault that is put in.
    pub fault: Option<Fault>,
}

struct Works {
    habits: Habits,
    dice: Dice,
    platter: Platter,
    /// How many engines there were.
    starts: u32,
    next_ticket: u64,
    submitted: Vec<(Ticket, Op)>,
    /// Flushed, for the next transaction.
    gathered: Vec<Step>,
    transactions: VecDeque<Transaction>,
    queries: Vec<(Mono, Ticket, Op)>,
    done: VecDeque<Done>,
    under_way: u64,
    flushed_at: Mono,
    /// It has no room until then.
    full_until: Mono,
    /// The next transaction fails.
    breaks: bool,
    failure: Option<String>,
    /// The platter as it will be, for an engine that answers too early.
    early: Option<Platter>,
}

/// Part of a transaction.
enum Step {
    Op(Ticket, Op),
    /// A log of RAM is about to give out more offsets.
    Reserve(Incarnation),
}

struct Transaction {
    steps: Vec<Step>,
    due: Mono,
}

struct Done {
    completion: Completion,
    /// The log whose appends are refused until this failure was seen.
    failure_of: Option<Incarnation>,
}

/// Transactions that are on their way at a time; what comes meanwhile goes together.
const TRANSACTIONS_MAX: usize = 3;
/// A query takes so long at most.
const QUERY_MS: u64 = 5;

impl Disk {
    pub fn new(habits: Habits, dice: Dice) -> Disk {
        Disk(Rc::new(RefCell::new(Works {
            habits,
            dice,
            platter: Platter::default(),
            starts: 0,
            next_ticket: 0,
            submitted: Vec::new(),
            gathered: Vec::new(),
            transactions: VecDeque::new(),
            queries: Vec::new(),
            done: VecDeque::new(),
            under_way: 0,
            flushed_at: Mono(0),
            full_until: Mono(0),
            breaks: false,
            failure: None,
            early: None,
        })))
    }

    /// An engine for a new broker, and all that the disk has but messages.
    pub fn start(&self) -> (Engine, Contents) {
        let mut works = self.0.borrow_mut();
        works.starts += 1;
        let contents = works.contents();
        (Engine { works: Rc::clone(&self.0), start: works.starts }, contents)
    }

    /// The broker is gone. What was not answered is kept up to some transaction, any one after a
    /// crash, the last one if it ended in good order.
    pub fn stop(&self, in_good_order: bool) {
        let mut works = self.0.borrow_mut();
        if in_good_order && works.failure.is_none() {
            let submitted = std::mem::take(&mut works.submitted);
            submitted.into_iter().for_each(|(ticket, op)| works.route(ticket, op));
            let (steps, due) = (std::mem::take(&mut works.gathered), works.flushed_at);
            works.transactions.push_back(Transaction { steps, due });
            works.keep(usize::MAX);
        } else if works.dice.percent(50) {
            let kept = works.transactions.len() as u64;
            let kept = works.dice.between(0, kept);
            works.keep(kept as usize);
        }
        works.forget();
    }

    /// There is no room until then.
    pub fn fill(&self, until: Mono) {
        self.0.borrow_mut().full_until = until;
    }

    /// The next transaction fails, and nothing is stored any more.
    pub fn break_down(&self) {
        self.0.borrow_mut().breaks = true;
    }

    /// From now on it has room, and does what it is told.
    pub fn heal(&self) {
        let mut works = self.0.borrow_mut();
        (works.full_until, works.breaks) = (Mono(0), false);
    }

    /// What has become true since it was last asked.
    pub fn news(&self) -> Vec<StoreNews> {
        self.0.borrow_mut().platter.news.drain(..).collect()
    }

    /// Whether a note of this kind was kept that has these bytes in it.
    pub fn has_note(&self, kind: NoteKind, bytes: &[u8]) -> bool {
        let notes = self.0.borrow().platter.contents().notes;
        notes
            .iter()
            .any(|note| note.kind == kind && note.value.windows(bytes.len()).any(|part| part == bytes))
    }
}

impl Works {
    // ---- What is submitted ----

    /// Takes on what a broker has submitted: to a log of RAM at once, if nothing of it waits.
    fn route(&mut self, ticket: Ticket, op: Op) {
        if op.is_query() {
            let due = self.flushed_at + self.dice.millis(QUERY_MS.min(self.habits.delay_ms));
            self.queries.push((due, ticket, op));
            return;
        }
        match self.volatile(&op) {
            Some(log) if self.may_pass(log) => {
                self.reserve_ahead(log);
                let result = self.platter.change(ticket, &op, self.room(true));
                self.finish(ticket, &op, result);
            }
            Some(log) => {
                self.reserve_ahead(log);
                self.gathered.push(Step::Op(ticket, op));
            }
            None => self.gathered.push(Step::Op(ticket, op)),
        }
    }

    /// The log of RAM that an operation changes without the disk.
    fn volatile(&self, op: &Op) -> Option<Incarnation> {
        let log = match op {
            _ if self.answers_early() => return None,
            Op::Append { log, entry } if entry.content.is_message() => *log,
            Op::Trim { log, .. } => *log,
            _ => return None,
        };
        (self.platter.durability(log) == Some(Durability::Memory)).then_some(log)
    }

    /// Whether nothing of this log waits for the disk, and it has an offset to give.
    fn may_pass(&self, log: Incarnation) -> bool {
        let is_of = |step: &Step| matches!(step, Step::Op(_, op) if op.log() == Some(log));
        self.platter.offsets_left(log) > 0 && !self.steps().any(is_of)
    }

    fn reserve_ahead(&mut self, log: Incarnation) {
        let is_asked = self.steps().any(|step| matches!(step, Step::Reserve(of) if *of == log));
        if self.platter.offsets_left(log) <= RESERVED / 2 && !is_asked {
            self.gathered.push(Step::Reserve(log));
        }
    }

    /// All that waits for the disk.
    fn steps(&self) -> impl Iterator<Item = &Step> {
        self.transactions.iter().flat_map(|transaction| &transaction.steps).chain(&self.gathered)
    }

    /// What was gathered goes to the disk together.
    fn begin(&mut self) {
        if self.gathered.is_empty() || self.transactions.len() >= TRANSACTIONS_MAX {
            return;
        }
        let steps = std::mem::take(&mut self.gathered);
        let before = self.transactions.back().map_or(self.flushed_at, |before| before.due);
        let due = before.max(self.flushed_at) + self.dice.millis(self.habits.delay_ms);
        self.answer_early(&steps);
        self.transactions.push_back(Transaction { steps, due });
    }

    // ---- What becomes of it ----

    /// Writes what is due, and answers it.
    fn run(&mut self) {
        let now = self.flushed_at;
        while self.transactions.front().is_some_and(|first| first.due <= now) {
            if self.breaks {
                return self.fail();
            }
            let steps = self.transactions.pop_front().map(|first| first.steps).unwrap_or_default();
            self.commit(&steps, true);
        }
        for (_, ticket, op) in self.queries.extract_if(.., |(due, ..)| *due <= now).collect::<Vec<_>>() {
            let result = self.early.as_mut().unwrap_or(&mut self.platter).look(&op);
            self.finish(ticket, &op, result);
        }
    }

    fn commit(&mut self, steps: &[Step], is_answered: bool) {
        let (is_early, told) = (self.early.is_some(), self.platter.news.len());
        for step in steps {
            match step {
                Step::Reserve(log) => self.platter.reserve(*log),
                Step::Op(ticket, op) => {
                    let result = self.platter.change(*ticket, op, self.room(false));
                    if is_answered && !is_early {
                        self.finish(*ticket, op, result);
                    }
                }
            }
        }
        if is_early && self.habits.fault == Some(Fault::AnswerEarly) {
            // Told when it was answered.
            self.platter.news.truncate(told);
        }
        if self.transactions.is_empty() {
            self.early = None;
        }
    }

    /// Answers what is not written yet, which must not be: to see that it is noticed.
    fn answer_early(&mut self, steps: &[Step]) {
        if !self.answers_early() {
            return;
        }
        let mut early = self.early.take().unwrap_or_else(|| self.platter.clone());
        early.news.clear();
        for step in steps {
            match step {
                Step::Reserve(log) => early.reserve(*log),
                Step::Op(ticket, op) => {
                    let result = early.change(*ticket, op, self.room(false));
                    self.finish(*ticket, op, result);
                }
            }
        }
        if self.habits.fault == Some(Fault::AnswerEarly) {
            self.platter.news.append(&mut early.news);
        }
        self.early = Some(early);
    }

    fn answers_early(&self) -> bool {
        matches!(self.habits.fault, Some(Fault::AnswerEarly | Fault::DeliverEarly))
    }

    fn room(&self, is_ram: bool) -> Room {
        Room { bytes_max: self.habits.bytes_max, is_full: !is_ram && self.flushed_at < self.full_until }
    }

    fn finish(&mut self, ticket: Ticket, op: &Op, result: Result<Outcome, StoreError>) {
        let is_append = matches!(op, Op::Append { .. });
        let failure_of = op.log().filter(|_| is_append && result == Err(StoreError::Full));
        self.done.push_back(Done { completion: Completion { ticket, result }, failure_of });
    }

    /// The disk is broken. What is under way has no answer, whether it was written or not.
    fn fail(&mut self) {
        let why = "the disk is broken".to_owned();
        self.failure = Some(why);
        let written = self.transactions.len() as u64;
        let written = self.dice.between(0, written) as usize;
        let mut lost: Vec<Ticket> = self.queries.drain(..).map(|(_, ticket, _)| ticket).collect();
        let answered = if self.answers_early() { self.steps().count() - self.gathered.len() } else { 0 };
        let tickets = self.steps().skip(answered).filter_map(|step| match step {
            Step::Op(ticket, _) => Some(*ticket),
            Step::Reserve(_) => None,
        });
        lost.extend(tickets);
        self.keep(written);
        self.gathered.clear();
        lost.into_iter().for_each(|ticket| self.refuse(ticket));
    }

    fn refuse(&mut self, ticket: Ticket) {
        let result = Err(StoreError::Failed(self.failure.clone().unwrap_or_default()));
        self.done.push_back(Done { completion: Completion { ticket, result }, failure_of: None });
    }

    /// Writes the first of the transactions, without an answer, and forgets the rest.
    fn keep(&mut self, written: usize) {
        for transaction in self.transactions.drain(..).take(written).collect::<Vec<_>>() {
            self.commit(&transaction.steps, false);
        }
    }

    // ---- From one broker to the next ----

    /// All that is not on the disk is gone.
    fn forget(&mut self) {
        self.submitted.clear();
        self.gathered.clear();
        self.transactions.clear();
        self.queries.clear();
        self.done.clear();
        (self.under_way, self.early, self.failure, self.breaks) = (0, None, None, false);
        self.platter.lose_memory();
        // Whoever had the engine does not reach the disk any more.
        self.starts += 1;
    }

    /// What the next broker is told, which a fault may make wrong.
    fn contents(&mut self) -> Contents {
        let mut contents = self.platter.contents();
        match self.habits.fault {
            Some(Fault::ForgetRecord) => {
                contents.logs.iter().for_each(|log| self.platter.forget_last_record(log.log));
                contents = self.platter.contents();
            }
            Some(Fault::RepeatOffset) => {
                contents.logs.iter().for_each(|log| self.platter.forget_last_offset(log.log));
                contents = self.platter.contents();
            }
            Some(Fault::LoseCounter) => {
                let publishers = contents.logs.iter_mut().flat_map(|log| &mut log.publishers);
                for publisher in publishers.filter(|publisher| publisher.next.0 > 0) {
                    publisher.next.0 -= 1;
                    shorten(&mut publisher.runs);
                }
            }
            _ => {}
        }
        contents
    }
}

impl Engine {
    /// The disk, while this engine is the one that has it.
    fn with<T>(&self, act: impl FnOnce(&mut Works) -> T) -> Option<T> {
        let mut works = self.works.borrow_mut();
        (works.starts == self.start).then(|| act(&mut works))
    }
}

impl Store for Engine {
    fn submit(&mut self, op: Op) -> Ticket {
        let mut works = self.works.borrow_mut();
        let ticket = Ticket(works.next_ticket);
        works.next_ticket += 1;
        works.under_way += 1;
        works.submitted.push((ticket, op));
        ticket
    }

    fn poll(&mut self) -> Option<Completion> {
        self.with(|works| {
            let Done { completion, failure_of } = works.done.pop_front()?;
            works.under_way -= 1;
            if let Some(log) = failure_of {
                let next = Ticket(works.next_ticket);
                works.platter.seen(log, completion.ticket, next);
                if let Some(early) = &mut works.early {
                    early.seen(log, completion.ticket, next);
                }
            }
            Some(completion)
        })?
    }

    fn flush(&mut self, now: Now) {
        self.with(|works| {
            works.flushed_at = now.mono;
            for (ticket, op) in std::mem::take(&mut works.submitted) {
                match works.failure {
                    Some(_) => works.refuse(ticket),
                    None => works.route(ticket, op),
                }
            }
            works.begin();
            works.run();
            works.begin();
        });
    }

    fn poll_timeout(&self) -> Option<Mono> {
        self.with(|works| {
            if !works.submitted.is_empty() || !works.done.is_empty() {
                return Some(works.flushed_at);
            }
            let written = works.transactions.front().map(|first| first.due);
            written.into_iter().chain(works.queries.iter().map(|(due, ..)| *due)).min()
        })?
    }

    fn wants_io(&self) -> bool {
        self.with(|works| works.under_way > 0) == Some(true)
    }

    fn is_durable(&self) -> bool {
        true
    }

    fn used_bytes(&self) -> u64 {
        self.with(|works| works.platter.used_bytes).unwrap_or(0)
    }

    fn failure(&self) -> Option<&str> {
        let is_failed = self.with(|works| works.failure.is_some()) == Some(true);
        is_failed.then_some("the disk is broken")
    }
}

#[cfg(test)]
mod tests;
