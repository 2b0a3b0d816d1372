//! Random operations, many under way at once, against a model of what must come of them.

use std::collections::BTreeMap;

use super::*;

pub(super) const BYTES_MAX: u64 = 60_000;
const STEPS: usize = 600;
const LOGS: u64 = 3;

/// What the completions taken so far say that a log holds.
#[derive(Default)]
struct Model {
    /// What is kept, by offset.
    entries: BTreeMap<u64, Arc<Entry>>,
    next: u64,
    time: Wall,
}

struct Run {
    driver: Driver,
    seed: u64,
    under_way: HashMap<Ticket, Op>,
    models: HashMap<Incarnation, Model>,
    /// Appends to a log with a ticket below this, and above the failed one, must fail too.
    doomed: HashMap<Incarnation, (Ticket, Ticket)>,
    newest: Ticket,
    completed: usize,
}

/// Keeps up to some twenty operations on three logs under way and holds each completion
/// against the model.
pub(super) fn check(store: Box<dyn Store>, seed: u64) {
    let mut run = Run {
        driver: Driver::new(store),
        seed: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1,
        under_way: HashMap::new(),
        models: HashMap::new(),
        doomed: HashMap::new(),
        newest: Ticket(0),
        completed: 0,
    };
    for _ in 0..STEPS {
        for _ in 0..run.draw(5) {
            run.submit();
        }
        for _ in 0..run.draw(8) {
            run.step();
        }
    }
    while run.driver.store.wants_io() {
        run.step();
    }
    assert!(run.under_way.is_empty(), "never completed: {:?}", run.under_way);
    assert!(run.completed > STEPS, "the run did something");
    for log in run.models.keys().copied().collect::<Vec<_>>() {
        run.driver.run(Op::Remove { log }).expect("the model knows it");
    }
    assert_eq!(run.driver.store.used_bytes(), 0);
}

impl Run {
    /// From 0 to `below - 1`.
    fn draw(&mut self, below: u64) -> u64 {
        // xorshift64 (Marsaglia, 2003).
        self.seed ^= self.seed << 13;
        self.seed ^= self.seed >> 7;
        self.seed ^= self.seed << 17;
        (self.seed >> 20) % below
    }

    fn submit(&mut self) {
        let log = Incarnation(self.draw(LOGS));
        let (time, size, place) = (self.draw(1000), self.draw(600), self.draw(200));
        let op = match self.draw(40) {
            0..2 => create(log, &[time, 5]),
            2 => append(log, message(time, BYTES_MAX)),
            3 => append(log, record(time)),
            4..22 => append(log, message(time, size)),
            22..34 => read(log, place, Offset(place + self.draw(50)), (size * 4) as usize, time % 4 == 0),
            34 => Op::Find { log, what: Find::Last(place) },
            35 => Op::Find { log, what: Find::Since(Wall(time)) },
            36..38 => trim(log, place),
            38 => configure(log, place),
            _ => Op::Remove { log },
        };
        self.newest = self.driver.store.submit(op.clone());
        self.under_way.insert(self.newest, op);
    }

    fn step(&mut self) {
        let Some(Completion { ticket, result }) = self.driver.store.poll() else {
            if self.driver.store.wants_io() {
                self.driver.flush();
            }
            return;
        };
        self.completed += 1;
        let op = self.under_way.remove(&ticket).expect("a completion belongs to one operation");
        if !op.is_query() {
            let overtaken =
                self.under_way.iter().any(|(t, o)| *t < ticket && o.log() == op.log() && !o.is_query());
            assert!(!overtaken, "{ticket:?} {op:?} overtook an earlier change of its log");
        }
        assert!(self.driver.store.used_bytes() <= BYTES_MAX);
        self.judge(ticket, &op, result);
    }

    fn judge(&mut self, ticket: Ticket, op: &Op, result: Result<Outcome, StoreError>) {
        let log = op.log().expect("the operations drawn are about logs");
        let known = self.models.contains_key(&log);
        match (op, result) {
            (Op::Create { records, .. }, Ok(Outcome::Created { entries })) => {
                assert!(!known && entries.len() == records.len());
                self.models.insert(log, Model::default());
                self.doomed.remove(&log);
                entries.into_iter().for_each(|e| self.add(log, e));
            }
            (Op::Create { .. }, Err(StoreError::Exists)) => assert!(known),
            (Op::Create { .. }, Err(StoreError::Full)) => assert!(!known),
            (Op::Append { entry: new, .. }, Ok(Outcome::Appended { entry })) => {
                assert!(!self.is_doomed(log, ticket), "{ticket:?} was submitted before a failure was seen");
                assert_eq!(entry.content, new.content);
                self.add(log, entry);
            }
            (Op::Append { .. }, Err(StoreError::EarlierFailed)) => assert!(self.is_doomed(log, ticket)),
            (Op::Append { .. }, Err(StoreError::Full)) => {
                assert!(known && !self.is_doomed(log, ticket));
                self.doomed.insert(log, (ticket, self.newest));
            }
            (Op::Read { .. }, Ok(Outcome::Entries { entries, next })) => self.judge_read(op, &entries, next),
            (Op::Find { .. }, Ok(Outcome::Found(_))) => {}
            (Op::Trim { keep, .. }, Ok(Outcome::Trimmed { .. })) => {
                let model = self.models.get_mut(&log).expect("a log that is trimmed is there");
                model.entries.retain(|_, e| !e.is_message() || e.offset >= keep.from);
            }
            (Op::Remove { .. }, Ok(Outcome::Removed { .. })) => {
                assert!(self.models.remove(&log).is_some());
            }
            (op, Err(StoreError::NoSuchLog)) if op.is_query() => {}
            (Op::Configure { .. }, Ok(Outcome::Configured)) => assert!(known),
            (
                Op::Append { .. } | Op::Trim { .. } | Op::Configure { .. } | Op::Remove { .. },
                Err(StoreError::NoSuchLog),
            ) => {
                assert!(!known)
            }
            (op, result) => panic!("{op:?} gave {result:?}"),
        }
    }

    fn is_doomed(&self, log: Incarnation, ticket: Ticket) -> bool {
        self.doomed.get(&log).is_some_and(|(failed, newest)| failed < &ticket && &ticket <= newest)
    }

    fn add(&mut self, log: Incarnation, entry: Arc<Entry>) {
        let model = self.models.get_mut(&log).expect("a log that is appended to is there");
        assert_eq!(entry.offset.0, model.next);
        assert!(entry.time >= model.time);
        model.next += 1;
        model.time = entry.time;
        model.entries.insert(entry.offset.0, entry);
    }

    /// Holds a read against what the completions before it say. A read shows nothing that has not
    /// completed; it may have run before a change whose completion came in front of its own, and
    /// then it ends earlier, or still has what was trimmed or belonged to a log since removed.
    fn judge_read(&self, op: &Op, entries: &[Arc<Entry>], next: Offset) {
        let Op::Read { log, from, below, bytes_max, records_only } = *op else { panic!("a read") };
        assert!(entries.is_sorted_by(|a, b| a.offset < b.offset));
        assert!(entries.iter().all(|e| (from..below).contains(&e.offset) && e.offset < next));
        assert!(!records_only || entries.iter().all(|e| !e.is_message()));
        let bytes: u64 = entries.iter().map(|e| e.bytes()).sum();
        assert!(entries.len() <= 1 || bytes <= bytes_max as u64);
        assert!(next >= from && (next <= below || next == from));
        let Some(model) = self.models.get(&log) else { return };
        if next.0 > model.next && next != from {
            panic!("read up to {next} of a log that ends at {}", model.next);
        }
        let missing = model
            .entries
            .range(from.0..next.0.max(from.0))
            .filter(|(_, e)| (!records_only || !e.is_message()) && !entries.contains(e));
        assert_eq!(missing.count(), 0, "a read leaves out only what is trimmed");
    }
}
