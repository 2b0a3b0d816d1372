//! The engine keeps the store's contract however late it is, and at a crash what was answered.

use std::collections::HashMap;
use std::sync::Arc;

use super::*;
use crate::base::Wall;
use crate::base::ids::{Counter, Epoch, Fingerprint, Offset, PublisherId};
use crate::base::names::{Name, TopicName};
use crate::store::{Content, Find, LogSettings, NewEntry, Note, Retain, Sender, contract};

const LOG: Incarnation = Incarnation(7);

fn disk(seed: u64, delay_ms: u64, bytes_max: u64) -> Disk {
    Disk::new(Habits { bytes_max, delay_ms, fault: None }, Dice::new(seed, 0))
}

/// An engine whose logs are all of one durability.
struct Only(Engine, Durability);

impl Store for Only {
    fn submit(&mut self, mut op: Op) -> Ticket {
        if let Op::Create { settings, .. } = &mut op {
            settings.durability = self.1;
        }
        self.0.submit(op)
    }

    fn poll(&mut self) -> Option<Completion> {
        self.0.poll()
    }

    fn flush(&mut self, now: Now) {
        self.0.flush(now);
    }

    fn poll_timeout(&self) -> Option<Mono> {
        self.0.poll_timeout()
    }

    fn wants_io(&self) -> bool {
        self.0.wants_io()
    }

    fn is_durable(&self) -> bool {
        self.0.is_durable()
    }

    fn used_bytes(&self) -> u64 {
        self.0.used_bytes()
    }
}

#[test]
fn keeps_the_contract_however_late_it_is() {
    for (seed, delay_ms) in [0, 0, 1, 7, 200].into_iter().enumerate() {
        for durability in [Durability::Disk, Durability::Memory] {
            contract::check(&mut |bytes_max| {
                Box::new(Only(disk(seed as u64, delay_ms, bytes_max).start().0, durability))
            });
        }
    }
}

fn record() -> NewEntry {
    let bytes: Arc<[u8]> = Arc::from([5; 100].as_slice());
    let content = Content::Record { record: bytes.clone(), certificate: bytes, wraps: Arc::from([]) };
    NewEntry { time: Wall(1), content }
}

fn create(log: Incarnation, durability: Durability) -> Op {
    let retain = Retain { messages: 0, bytes: 0, age_ms: 0 };
    let settings = LogSettings { name: TopicName::parse("a/b").expect("a good name"), durability, retain };
    Op::Create { log, settings, records: vec![record()] }
}

fn append(log: Incarnation, counter: u64) -> Op {
    let sender = Arc::new(Sender {
        number: 0,
        publisher: PublisherId([1; 16]),
        fingerprint: Fingerprint([7; 32]),
        name: Name::parse("alice").expect("a good name"),
        delegation: Arc::from([].as_slice()),
        certificate: Arc::from([].as_slice()),
    });
    let body = counter.to_be_bytes().as_slice().into();
    let (epoch, counter) = (Epoch(0), Counter(counter));
    let content = Content::Message { sender, epoch, counter, body, sha256: [8; 32] };
    Op::Append { log, entry: NewEntry { time: Wall(2), content } }
}

/// Submits one operation after the other, a flush behind each, and takes what comes until `until`.
fn drive(engine: &mut Engine, ops: Vec<Op>, until: Mono) -> HashMap<usize, Result<Outcome, StoreError>> {
    let mut tickets = HashMap::new();
    let mut results = HashMap::new();
    let mut now = Mono(0);
    for (nth, op) in ops.into_iter().enumerate() {
        tickets.insert(engine.submit(op), nth);
        engine.flush(Now { mono: now, wall: Wall(0) });
    }
    while now <= until {
        engine.flush(Now { mono: now, wall: Wall(0) });
        results.extend(std::iter::from_fn(|| engine.poll()).map(|done| (tickets[&done.ticket], done.result)));
        let Some(at) = engine.poll_timeout() else { break };
        now = at.max(now + std::time::Duration::from_micros(1));
    }
    results
}

fn bodies(engine: &mut Engine, log: Incarnation) -> Vec<u64> {
    let whole = Op::Read {
        log,
        from: Offset(0),
        below: Offset(u64::MAX),
        bytes_max: usize::MAX,
        records_only: false,
    };
    let Some(Ok(Outcome::Entries { entries, .. })) = drive(engine, vec![whole], Mono(u64::MAX)).remove(&0)
    else {
        panic!("the log is there")
    };
    let counter = |content: &Content| match content {
        Content::Message { counter, .. } => Some(counter.0),
        Content::Record { .. } => None,
    };
    entries.iter().filter_map(|entry| counter(&entry.content)).collect()
}

#[test]
fn a_crash_keeps_what_was_answered_and_cuts_the_rest_at_one_place() {
    let (mut some_lost, mut some_kept_unanswered) = (false, false);
    for seed in 0..200 {
        let disk = disk(seed, 20, 1 << 30);
        let (mut engine, _) = disk.start();
        let ops = std::iter::once(create(LOG, Durability::Disk)).chain((0..30).map(|n| append(LOG, n)));
        let results = drive(&mut engine, ops.collect(), Mono(Dice::new(seed, 1).below(70_000)));
        let answered = results.values().filter(|r| matches!(r, Ok(Outcome::Appended { .. }))).count();
        disk.stop(false);
        assert_eq!(engine.poll(), None, "whoever ran before hears nothing more");
        let (mut engine, contents) = disk.start();
        let Some(stored) = contents.logs.first() else {
            assert!(results.is_empty());
            continue;
        };
        let kept = bodies(&mut engine, LOG);
        assert!(kept.len() >= answered);
        assert_eq!(kept, (0..kept.len() as u64).collect::<Vec<_>>());
        assert_eq!(stored.next, Offset(1 + kept.len() as u64));
        assert_eq!(stored.publishers.first().map_or(0, |p| p.next.0), kept.len() as u64);
        some_lost |= kept.len() < 30;
        some_kept_unanswered |= kept.len() > answered;
    }
    assert!(some_lost && some_kept_unanswered);
}

#[test]
fn an_end_in_good_order_keeps_all() {
    let disk = disk(1, 200, 1 << 30);
    let (mut engine, _) = disk.start();
    let note = Note { kind: NoteKind::Request, key: vec![1], value: vec![2] };
    engine.submit(create(LOG, Durability::Disk));
    engine.flush(Now { mono: Mono(1), wall: Wall(0) });
    engine.submit(append(LOG, 0));
    engine.submit(Op::Put { note: note.clone() });
    disk.stop(true);
    let (mut engine, contents) = disk.start();
    assert_eq!(contents.notes, [note]);
    assert_eq!(bodies(&mut engine, LOG), [0]);
    assert!(disk.has_note(NoteKind::Request, &[2]) && !disk.has_note(NoteKind::Request, &[1]));
}

#[test]
fn offsets_of_a_log_of_ram_are_not_used_again() {
    let (disk, mut highest) = (disk(3, 5, 1 << 30), 0);
    for round in 0..5 {
        let (mut engine, contents) = disk.start();
        let ops = match contents.logs.first() {
            None => vec![create(LOG, Durability::Memory)],
            Some(stored) => {
                assert!(stored.next.0 > highest, "{} was given out", stored.next);
                assert_eq!((stored.records.len(), stored.publishers.len()), (round, 0));
                vec![Op::Append { log: LOG, entry: record() }]
            }
        };
        drive(&mut engine, ops, Mono(u64::MAX));
        assert!(bodies(&mut engine, LOG).is_empty(), "messages are gone");
        let results = drive(&mut engine, (0..50).map(|n| append(LOG, n)).collect(), Mono(u64::MAX));
        let offset = |result: &Result<Outcome, StoreError>| match result {
            Ok(Outcome::Appended { entry }) => entry.offset.0,
            other => panic!("{other:?}"),
        };
        highest = results.values().map(offset).max().expect("there are some");
        disk.stop(false);
    }
}

#[test]
fn a_full_disk_takes_nothing_more_until_there_is_room() {
    let disk = disk(4, 0, 1 << 30);
    let (mut engine, _) = disk.start();
    drive(&mut engine, vec![create(LOG, Durability::Disk), append(LOG, 0)], Mono(u64::MAX));
    disk.fill(Mono(u64::MAX));
    let find = Op::Find { log: LOG, what: Find::Last(1) };
    let results = drive(&mut engine, vec![append(LOG, 1), find], Mono(u64::MAX));
    assert_eq!((&results[&0], &results[&1]), (&Err(StoreError::Full), &Ok(Outcome::Found(Offset(1)))));
    disk.heal();
    drive(&mut engine, vec![append(LOG, 1)], Mono(u64::MAX));
    assert_eq!(bodies(&mut engine, LOG), [0, 1]);
}

#[test]
fn a_broken_disk_answers_nothing_more() {
    let mut some_written = false;
    for seed in 0..50 {
        let disk = disk(seed, 10, 1 << 30);
        let (mut engine, _) = disk.start();
        drive(&mut engine, vec![create(LOG, Durability::Disk), append(LOG, 0)], Mono(u64::MAX));
        disk.break_down();
        let results = drive(&mut engine, vec![append(LOG, 1), append(LOG, 2)], Mono(u64::MAX));
        assert!(results.values().all(|result| matches!(result, Err(StoreError::Failed(_)))));
        assert_eq!((results.len(), engine.failure().is_some()), (2, true));
        let results = drive(&mut engine, vec![append(LOG, 3)], Mono(u64::MAX));
        assert!(matches!(results[&0], Err(StoreError::Failed(_))));
        disk.stop(false);
        let (mut engine, _) = disk.start();
        let kept = bodies(&mut engine, LOG);
        assert!([&[0][..], &[0, 1], &[0, 1, 2]].contains(&&kept[..]), "{kept:?}");
        some_written |= kept.len() > 1;
        assert_eq!(engine.failure(), None);
    }
    assert!(some_written);
}
