//! What every engine must do, as a test that any engine can be put to.

use std::collections::HashMap;
use std::sync::Arc;

use super::*;
use crate::base::ids::{Counter, Epoch, Fingerprint, PublisherId};
use crate::base::names::Name;

mod random;

/// Makes an empty engine with a cap on its bytes.
type Make<'a> = &'a mut dyn FnMut(u64) -> Box<dyn Store>;

/// Puts an engine to every test of the contract.
pub fn check(make: Make<'_>) {
    offsets_and_times_come_with_the_completion(make(ROOMY));
    creating_is_all_or_nothing(make);
    a_log_that_is_not_there_is_said_so(make(ROOMY));
    reads_are_bounded_and_go_on(make(ROOMY));
    trim_takes_messages_and_no_records(make(ROOMY));
    trim_keeps_what_all_limits_allow(make(ROOMY));
    finds_count_messages(make(ROOMY));
    another_retention_changes_nothing_that_is_kept(make(ROOMY));
    a_full_store_refuses_and_keeps_what_it_has(make);
    a_failure_takes_along_what_was_submitted(make);
    a_sender_counts_once(make(ROOMY));
    for seed in 0..10 {
        random::check(make(random::BYTES_MAX), seed);
    }
}

const ROOMY: u64 = 1 << 30;
const LOG: Incarnation = Incarnation(7);
const OTHER: Incarnation = Incarnation(8);
const END: Offset = Offset(u64::MAX);

fn offsets_and_times_come_with_the_completion(store: Box<dyn Store>) {
    let mut driver = Driver::new(store);
    let created = driver.run(create(LOG, &[10, 8]));
    let Ok(Outcome::Created { entries }) = created else { panic!("{created:?}") };
    assert_eq!(offsets(&entries), [0, 1]);
    assert_eq!(entries.iter().map(|e| e.time.0).collect::<Vec<_>>(), [10, 10], "time never goes back");
    let tickets: Vec<Ticket> = [12, 5, 20].map(|t| driver.store.submit(append(LOG, message(t, 3)))).into();
    let results = driver.finish(&tickets);
    let appended: Vec<_> = results.into_iter().map(entry_of).collect();
    assert_eq!(offsets(&appended), [2, 3, 4]);
    assert_eq!(appended.iter().map(|e| e.time.0).collect::<Vec<_>>(), [12, 12, 20]);
    let (entries, next) = driver.read(LOG, 0, END, usize::MAX, false);
    assert_eq!(entries[2..], appended, "what is read is what was appended");
    assert_eq!((offsets(&entries), next), (vec![0, 1, 2, 3, 4], Offset(5)));
    assert!(!driver.store.wants_io());
    assert_eq!(driver.store.poll_timeout(), None);
}

fn creating_is_all_or_nothing(make: Make<'_>) {
    let mut driver = Driver::new(make(ROOMY));
    driver.run(create(LOG, &[1])).expect("there is room");
    let held = driver.store.used_bytes();
    assert_eq!(driver.run(create(LOG, &[1, 2])), Err(StoreError::Exists));
    assert_eq!(driver.store.used_bytes(), held);
    assert_eq!(driver.read(LOG, 0, END, usize::MAX, false).0.len(), 1, "the old log is as it was");

    let mut driver = Driver::new(make(held + 100));
    assert_eq!(driver.run(create(LOG, &[1, 2, 3])), Err(StoreError::Full));
    assert_eq!(driver.store.used_bytes(), 0);
    assert_eq!(driver.run(append(LOG, message(1, 0))), Err(StoreError::NoSuchLog));
    driver.run(create(LOG, &[1])).expect("a smaller one fits");
    assert_eq!(driver.store.used_bytes(), held);
}

fn a_log_that_is_not_there_is_said_so(store: Box<dyn Store>) {
    let mut driver = Driver::new(store);
    driver.run(create(OTHER, &[1])).expect("there is room");
    for round in 0..2 {
        for op in [append(LOG, message(1, 1)), read(LOG, 0, END, 9, false), read(LOG, 0, END, 9, true)] {
            assert_eq!(driver.run(op), Err(StoreError::NoSuchLog), "round {round}");
        }
        assert_eq!(driver.run(Op::Find { log: LOG, what: Find::Last(1) }), Err(StoreError::NoSuchLog));
        assert_eq!(driver.run(trim(LOG, 1)), Err(StoreError::NoSuchLog));
        assert_eq!(driver.run(configure(LOG, 1)), Err(StoreError::NoSuchLog));
        assert_eq!(driver.run(Op::Remove { log: LOG }), Err(StoreError::NoSuchLog));
        let before = driver.store.used_bytes();
        driver.run(create(LOG, &[1])).expect("there is room");
        driver.run(append(LOG, message(1, 1))).expect("there is room");
        let freed_bytes = driver.store.used_bytes() - before;
        assert_eq!(driver.run(Op::Remove { log: LOG }), Ok(Outcome::Removed { freed_bytes }));
        assert_eq!(driver.store.used_bytes(), before);
    }
    assert_eq!(driver.read(OTHER, 0, END, usize::MAX, false).0.len(), 1);
}

fn reads_are_bounded_and_go_on(store: Box<dyn Store>) {
    let mut driver = Driver::new(store);
    driver.run(create(LOG, &[1, 1])).expect("there is room");
    for offset in 2..10 {
        let entry = if offset == 6 { record(1) } else { message(1, offset) };
        driver.run(append(LOG, entry)).expect("there is room");
    }
    let (all, _) = driver.read(LOG, 0, END, usize::MAX, false);
    assert_eq!(offsets(&all), (0..10).collect::<Vec<_>>());

    let first_two = (all[2].bytes() + all[3].bytes()) as usize;
    let (entries, next) = driver.read(LOG, 2, END, first_two, false);
    assert_eq!((offsets(&entries), next), (vec![2, 3], Offset(4)));
    let (entries, next) = driver.read(LOG, 2, END, first_two - 1, false);
    assert_eq!((offsets(&entries), next), (vec![2], Offset(3)));
    let (entries, next) = driver.read(LOG, 4, END, 0, false);
    assert_eq!((offsets(&entries), next), (vec![4], Offset(5)), "one at least");

    let (entries, next) = driver.read(LOG, 4, Offset(7), usize::MAX, false);
    assert_eq!((offsets(&entries), next), (vec![4, 5, 6], Offset(7)));
    let (entries, next) = driver.read(LOG, 1, Offset(9), usize::MAX, true);
    assert_eq!((offsets(&entries), next), (vec![1, 6], Offset(9)), "records only");
    let (entries, next) = driver.read(LOG, 1, Offset(9), 0, true);
    assert_eq!((offsets(&entries), next), (vec![1], Offset(6)));

    for (from, below) in [(10, END), (40, END), (5, Offset(5)), (5, Offset(3))] {
        let (entries, next) = driver.read(LOG, from, below, usize::MAX, false);
        assert_eq!((entries.len(), next), (0, Offset(from)), "{from}..{below}");
    }
}

fn trim_takes_messages_and_no_records(store: Box<dyn Store>) {
    let mut driver = Driver::new(store);
    driver.run(create(LOG, &[1, 1])).expect("there is room");
    for offset in 2..10 {
        let entry = if offset == 5 { record(1) } else { message(1, 100) };
        driver.run(append(LOG, entry)).expect("there is room");
    }
    let held = driver.store.used_bytes();
    let one = message(1, 100).content.bytes();
    assert_eq!(freed(driver.run(trim(LOG, 7))), 4 * one, "2, 3, 4 and 6");
    assert_eq!(driver.store.used_bytes(), held - 4 * one);
    assert_eq!(freed(driver.run(trim(LOG, 7))), 0);
    let (entries, next) = driver.read(LOG, 0, END, usize::MAX, false);
    assert_eq!((offsets(&entries), next), (vec![0, 1, 5, 7, 8, 9], Offset(10)));
    let (entries, next) = driver.read(LOG, 6, Offset(7), usize::MAX, false);
    assert_eq!((entries.len(), next), (0, Offset(7)), "all of it is trimmed");
    let (entries, _) = driver.read(LOG, 3, END, 0, false);
    assert_eq!(offsets(&entries), [5], "a read goes on to what is kept");

    driver.run(trim(LOG, u64::MAX)).expect("the log is there");
    let (entries, next) = driver.read(LOG, 0, END, usize::MAX, false);
    assert_eq!((offsets(&entries), next), (vec![0, 1, 5], Offset(10)));
    let entry = entry_of(driver.run(append(LOG, message(1, 1))));
    assert_eq!(entry.offset, Offset(10), "offsets are not used again");
    driver.run(Op::Remove { log: LOG }).expect("the log is there");
    assert_eq!(driver.store.used_bytes(), 0);
}

fn trim_keeps_what_all_limits_allow(store: Box<dyn Store>) {
    let mut driver = Driver::new(store);
    driver.run(create(LOG, &[1])).expect("there is room");
    for time in 1..=10 {
        driver.run(append(LOG, message(time, 100))).expect("there is room");
    }
    let mut kept = |keep: Keep| match driver.run(Op::Trim { log: LOG, keep }) {
        Ok(Outcome::Trimmed { kept, .. }) => kept,
        other => panic!("a trim gave {other:?}"),
    };
    let all = kept(Keep::default());
    let body = all.bytes / 10;
    assert_eq!((all.messages, all.oldest), (10, Some((Offset(1), Wall(1)))));
    let by_time = kept(Keep { since: Wall(3), ..Keep::default() });
    assert_eq!((by_time.messages, by_time.oldest), (8, Some((Offset(3), Wall(3)))));
    let by_count = kept(Keep { messages: 5, ..Keep::default() });
    assert_eq!((by_count.messages, by_count.bytes), (5, 5 * body));
    let by_bytes = kept(Keep { bytes: 3 * body - 1, messages: 4, ..Keep::default() });
    assert_eq!((by_bytes.messages, by_bytes.oldest), (2, Some((Offset(9), Wall(9)))));
    let none = kept(Keep { bytes: 1, ..Keep::default() });
    assert_eq!(none, Kept::default());
}

fn another_retention_changes_nothing_that_is_kept(store: Box<dyn Store>) {
    let mut driver = Driver::new(store);
    driver.run(create(LOG, &[1])).expect("there is room");
    for time in 1..=5 {
        driver.run(append(LOG, message(time, 100))).expect("there is room");
    }
    let held = driver.store.used_bytes();
    let tickets = [append(LOG, message(6, 100)), configure(LOG, 1), append(LOG, message(7, 100))]
        .map(|op| driver.store.submit(op));
    let results = driver.finish(&tickets);
    assert_eq!(results[1], Ok(Outcome::Configured), "in its turn among the changes");
    let (entries, _) = driver.read(LOG, 0, END, usize::MAX, false);
    assert_eq!(offsets(&entries), (0..8).collect::<Vec<_>>(), "what goes, a trim says");
    assert_eq!(driver.store.used_bytes(), held + 2 * message(6, 100).content.bytes());
}

fn freed(result: Result<Outcome, StoreError>) -> u64 {
    match result {
        Ok(Outcome::Trimmed { freed_bytes, .. }) => freed_bytes,
        other => panic!("a trim gave {other:?}"),
    }
}

fn finds_count_messages(store: Box<dyn Store>) {
    let mut driver = Driver::new(store);
    driver.run(create(LOG, &[10, 10])).expect("there is room");
    assert_eq!(driver.find(LOG, Find::Last(3)), 2, "no messages: the end");
    assert_eq!(driver.find(LOG, Find::Since(Wall(0))), 2);
    for entry in [message(20, 1), message(30, 1), record(30), message(30, 1), record(40), message(50, 1)] {
        driver.run(append(LOG, entry)).expect("there is room");
    }
    for (count, offset) in [(0, 8), (1, 7), (2, 5), (3, 3), (4, 2), (5, 2), (u64::MAX, 2)] {
        assert_eq!(driver.find(LOG, Find::Last(count)), offset, "last {count}");
    }
    for (time, offset) in [(0, 2), (20, 2), (21, 3), (30, 3), (31, 7), (50, 7), (51, 8), (u64::MAX, 8)] {
        assert_eq!(driver.find(LOG, Find::Since(Wall(time))), offset, "since {time}");
    }
    driver.run(trim(LOG, 4)).expect("the log is there");
    assert_eq!(driver.find(LOG, Find::Last(9)), 5);
    assert_eq!(driver.find(LOG, Find::Since(Wall(0))), 5);
}

fn a_full_store_refuses_and_keeps_what_it_has(make: Make<'_>) {
    let mut driver = Driver::new(make(20_000));
    driver.run(create(LOG, &[1])).expect("there is room");
    driver.run(create(OTHER, &[1])).expect("there is room");
    let mut stored = 0;
    let refused = loop {
        match driver.run(append(LOG, message(1, 1000))) {
            Ok(_) => stored += 1,
            Err(error) => break error,
        }
    };
    assert_eq!(refused, StoreError::Full);
    assert!((10..20).contains(&stored), "{stored}");
    assert!(driver.store.used_bytes() <= 20_000);
    assert_eq!(driver.run(append(OTHER, message(1, 1000))), Err(StoreError::Full), "the cap is for all logs");
    assert_eq!(driver.run(create(Incarnation(9), &[1; 12])), Err(StoreError::Full));
    assert_eq!(driver.read(LOG, 0, END, usize::MAX, false).0.len(), stored + 1, "nothing is evicted");
    driver.run(trim(LOG, 3)).expect("the log is there");
    driver.run(append(LOG, message(1, 1000))).expect("there is room again");
}

fn a_failure_takes_along_what_was_submitted(make: Make<'_>) {
    let mut driver = Driver::new(make(10_000));
    driver.run(create(LOG, &[1])).expect("there is room");
    driver.run(create(OTHER, &[1])).expect("there is room");
    let sizes = [10, 1_000_000, 10, 10];
    let tickets = sizes.map(|bytes| driver.store.submit(append(LOG, message(1, bytes))));
    let beside = driver.store.submit(append(OTHER, message(1, 10)));
    let failed = driver.wait(tickets[1]);
    assert_eq!(failed, Err(StoreError::Full));
    // The failure is known now: what comes from here on is new, though some of
    // the appends behind the failed one may not have been answered yet.
    let retry = driver.store.submit(append(LOG, message(1, 20)));
    assert_eq!(entry_of(driver.wait(tickets[0])).offset, Offset(1));
    assert_eq!(driver.wait(tickets[2]), Err(StoreError::EarlierFailed));
    assert_eq!(driver.wait(tickets[3]), Err(StoreError::EarlierFailed));
    assert_eq!(entry_of(driver.wait(beside)).offset, Offset(1), "another log goes on");
    assert_eq!(entry_of(driver.wait(retry)).offset, Offset(2));
}

fn a_sender_counts_once(store: Box<dyn Store>) {
    let mut driver = Driver::new(store);
    driver.run(create(LOG, &[1])).expect("there is room");
    let base = driver.store.used_bytes();
    let sender = sender(1, 4000);
    let from = |sender: &Arc<Sender>| {
        let mut new = message(1, 0);
        if let Content::Message { sender: of, .. } = &mut new.content {
            *of = sender.clone();
        }
        new
    };
    for _ in 0..2 {
        driver.run(append(LOG, from(&sender))).expect("there is room");
    }
    let entry_bytes = message(1, 0).content.bytes();
    assert_eq!(driver.store.used_bytes(), base + 2 * entry_bytes + sender.bytes());
    driver.run(trim(LOG, 2)).expect("the log is there");
    assert_eq!(driver.store.used_bytes(), base + entry_bytes + sender.bytes());
    driver.run(trim(LOG, 3)).expect("the log is there");
    assert_eq!(driver.store.used_bytes(), base);
}

// ---- How a store is driven, and what it is given ----

/// A store, and the results that have come.
struct Driver {
    store: Box<dyn Store>,
    now: Now,
    results: HashMap<Ticket, Result<Outcome, StoreError>>,
    /// In the order in which they came.
    order: Vec<Ticket>,
}

impl Driver {
    fn new(store: Box<dyn Store>) -> Driver {
        let now = Now { mono: Mono(0), wall: Wall(0) };
        Driver { store, now, results: HashMap::new(), order: Vec::new() }
    }

    /// Flushes once and takes one completion after the other until `ticket`'s has come.
    fn wait(&mut self, ticket: Ticket) -> Result<Outcome, StoreError> {
        for _ in 0..1_000 {
            if let Some(result) = self.results.get(&ticket) {
                return result.clone();
            }
            match self.store.poll() {
                Some(completion) => self.take(completion),
                None => self.flush(),
            }
        }
        panic!("{ticket:?} never completes");
    }

    fn flush(&mut self) {
        assert!(self.store.wants_io());
        // None: the engine wakes its driver. Its test waits for that within `flush`.
        self.now.mono = self.now.mono.max(self.store.poll_timeout().unwrap_or_default());
        self.store.flush(self.now);
    }

    fn take(&mut self, completion: Completion) {
        self.order.push(completion.ticket);
        let again = self.results.insert(completion.ticket, completion.result);
        assert_eq!(again, None, "{:?} came twice", completion.ticket);
    }

    /// Waits for all of `tickets`, which are appends to one log, and holds their order.
    fn finish(&mut self, tickets: &[Ticket]) -> Vec<Result<Outcome, StoreError>> {
        let results = tickets.iter().map(|t| self.wait(*t)).collect();
        let came: Vec<&Ticket> = self.order.iter().filter(|t| tickets.contains(t)).collect();
        assert!(came.is_sorted(), "{came:?}");
        results
    }

    fn run(&mut self, op: Op) -> Result<Outcome, StoreError> {
        let ticket = self.store.submit(op);
        self.wait(ticket)
    }

    fn read(
        &mut self,
        log: Incarnation,
        from: u64,
        below: Offset,
        bytes_max: usize,
        records_only: bool,
    ) -> (Vec<Arc<Entry>>, Offset) {
        let op = Op::Read { log, from: Offset(from), below, bytes_max, records_only };
        match self.run(op) {
            Ok(Outcome::Entries { entries, next }) => (entries, next),
            other => panic!("{other:?}"),
        }
    }

    fn find(&mut self, log: Incarnation, what: Find) -> u64 {
        match self.run(Op::Find { log, what }) {
            Ok(Outcome::Found(offset)) => offset.0,
            other => panic!("{other:?}"),
        }
    }
}

fn entry_of(result: Result<Outcome, StoreError>) -> Arc<Entry> {
    match result {
        Ok(Outcome::Appended { entry }) => entry,
        other => panic!("{other:?}"),
    }
}

fn offsets(entries: &[Arc<Entry>]) -> Vec<u64> {
    entries.iter().map(|e| e.offset.0).collect()
}

fn create(log: Incarnation, times: &[u64]) -> Op {
    let settings = LogSettings {
        name: TopicName::parse("home/kitchen").expect("a good name"),
        durability: Durability::Memory,
        retain: Retain { messages: 10, bytes: 0, age_ms: 0 },
    };
    Op::Create { log, settings, records: times.iter().map(|t| record(*t)).collect() }
}

fn append(log: Incarnation, entry: NewEntry) -> Op {
    Op::Append { log, entry }
}

fn read(log: Incarnation, from: u64, below: Offset, bytes_max: usize, records_only: bool) -> Op {
    Op::Read { log, from: Offset(from), below, bytes_max, records_only }
}

fn trim(log: Incarnation, below: u64) -> Op {
    Op::Trim { log, keep: Keep { from: Offset(below), ..Keep::default() } }
}

fn configure(log: Incarnation, messages: u64) -> Op {
    Op::Configure { log, retain: Retain { messages, bytes: 0, age_ms: 0 } }
}

/// A record of about 1,100 bytes.
fn record(time: u64) -> NewEntry {
    let wraps = [(Fingerprint([1; 32]), vec![3; 256].into()), (Fingerprint([2; 32]), vec![4; 256].into())];
    let content = Content::Record {
        record: Arc::from([5; 100].as_slice()),
        certificate: Arc::from([6; 200].as_slice()),
        wraps: Arc::from(wraps),
    };
    NewEntry { time: Wall(time), content }
}

fn message(time: u64, body_bytes: u64) -> NewEntry {
    let content = Content::Message {
        sender: sender(0, 0),
        epoch: Epoch(0),
        counter: Counter(body_bytes),
        body: vec![9; body_bytes as usize].into(),
        sha256: [8; 32],
    };
    NewEntry { time: Wall(time), content }
}

fn sender(number: u32, certificate_bytes: usize) -> Arc<Sender> {
    Arc::new(Sender {
        number,
        publisher: PublisherId([number as u8; 16]),
        fingerprint: Fingerprint([7; 32]),
        name: Name::parse("alice").expect("a good name"),
        delegation: Arc::from([].as_slice()),
        certificate: vec![1; certificate_bytes].into(),
    })
}
