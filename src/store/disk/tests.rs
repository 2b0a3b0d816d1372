//! The disk engine: the contract, what outlives a process, and how it groups its commits.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use tempfile::TempDir;

use super::*;
use crate::base::Wall;
use crate::base::ids::{Counter, Epoch, Fingerprint, Incarnation, Offset, PublisherId};
use crate::base::names::{Name, TopicName};
use crate::store::{
    Content, Entry, Find, Keep, LogSettings, NewEntry, Note, NoteKind, Outcome, Retain, Run, Sender, contract,
};

mod damage;
mod failures;
mod measures;

/// A folder in RAM where there is one: these tests cut no power.
fn folder() -> TempDir {
    let shared = Path::new("/dev/shm");
    if shared.is_dir() { TempDir::new_in(shared) } else { TempDir::new() }.expect("a folder can be made")
}

/// An engine whose flush waits until something has completed.
struct Waiting {
    disk: Disk,
    woken: Receiver<()>,
    /// What logs are made with, whatever the test says.
    durability: Durability,
    _folder: Option<TempDir>,
}

const ROOMY: Caps = Caps { disk_bytes: 1 << 40, memory_bytes: 1 << 30 };
const LOG: Incarnation = Incarnation(0xffff_ffff_ffff_fff7);

fn open(folder: &Path, caps: Caps) -> Result<(Waiting, Contents), OpenError> {
    let (waking, woken) = channel();
    let wake = move || {
        let _ = waking.send(());
    };
    let (disk, contents) = Disk::open(folder, caps, Box::new(wake), &mut |_| {})?;
    Ok((Waiting { disk, woken, durability: Durability::Disk, _folder: None }, contents))
}

fn reopen(folder: &Path) -> (Waiting, Contents) {
    open(folder, ROOMY).expect("it was closed in good order")
}

impl Store for Waiting {
    fn submit(&mut self, mut op: Op) -> Ticket {
        if let Op::Create { settings, .. } = &mut op {
            settings.durability = self.durability;
        }
        self.disk.submit(op)
    }

    fn poll(&mut self) -> Option<Completion> {
        self.disk.poll()
    }

    fn flush(&mut self, now: Now) {
        self.disk.flush(now);
        while self.disk.wants_io() && self.disk.poll_timeout().is_none() {
            self.woken.recv_timeout(Duration::from_secs(60)).expect("the writer wakes us");
            self.disk.take_reports();
        }
    }

    fn poll_timeout(&self) -> Option<Mono> {
        self.disk.poll_timeout()
    }

    fn wants_io(&self) -> bool {
        self.disk.wants_io()
    }

    fn is_durable(&self) -> bool {
        self.disk.is_durable()
    }

    fn used_bytes(&self) -> u64 {
        self.disk.used_bytes()
    }
}

impl Waiting {
    /// The results of all that is under way, with those of `ops`, by ticket.
    fn run_all(&mut self, ops: impl IntoIterator<Item = Op>) -> Vec<Result<Outcome, StoreError>> {
        let tickets: Vec<Ticket> = ops.into_iter().map(|op| self.submit(op)).collect();
        let mut results = HashMap::new();
        while self.wants_io() {
            self.flush(Now { mono: Mono(0), wall: Wall(0) });
            while let Some(done) = self.poll() {
                results.insert(done.ticket, done.result);
            }
        }
        tickets.iter().map(|t| results.remove(t).expect("it has completed")).collect()
    }

    fn run(&mut self, op: Op) -> Result<Outcome, StoreError> {
        self.run_all([op]).remove(0)
    }

    fn read_all(&mut self, log: Incarnation) -> Result<Vec<Arc<Entry>>, StoreError> {
        let (mut all, mut from) = (Vec::new(), Offset(0));
        loop {
            let op =
                Op::Read { log, from, below: Offset(u64::MAX), bytes_max: usize::MAX, records_only: false };
            match self.run(op)? {
                Outcome::Entries { next, .. } if next == from => return Ok(all),
                Outcome::Entries { entries, next } => {
                    all.extend(entries);
                    from = next;
                }
                other => panic!("a read gave {other:?}"),
            }
        }
    }

    /// Runs `look` on the writer's thread between two rounds, and waits for it.
    fn probe<T: Send + 'static>(&mut self, look: impl FnOnce(&mut Database) -> T + Send + 'static) -> T {
        let (telling, told) = channel();
        let probe = move |database: &mut Database| telling.send(look(database)).expect("the test waits");
        self.disk.outgoing.push_back(Job::Probe(Box::new(probe)));
        self.disk.send();
        told.recv_timeout(Duration::from_secs(60)).expect("the writer is alive")
    }
}

fn create(log: Incarnation, records: usize) -> Op {
    let settings = LogSettings {
        name: TopicName::parse(&format!("home/{log}")).expect("a good name"),
        durability: Durability::Disk,
        retain: Retain { messages: 10, bytes: 20, age_ms: 30 },
    };
    Op::Create { log, settings, records: (0..records).map(record).collect() }
}

fn record(seed: usize) -> NewEntry {
    let wraps = (0..3).map(|i| (Fingerprint([i; 32]), vec![seed as u8; 256].into())).collect();
    let content =
        Content::Record { record: vec![seed as u8; 300].into(), certificate: vec![7; 900].into(), wraps };
    NewEntry { time: Wall(5), content }
}

fn sender(number: u32) -> Arc<Sender> {
    Arc::new(Sender {
        number,
        publisher: PublisherId([number as u8; 16]),
        fingerprint: Fingerprint([number as u8 + 1; 32]),
        name: Name::parse("alice").expect("a good name"),
        delegation: vec![2; 200].into(),
        certificate: vec![3; 1000].into(),
    })
}

fn append_of(log: Incarnation, number: u32, counter: u64, body_bytes: usize) -> Op {
    let content = Content::Message {
        sender: sender(number),
        epoch: Epoch(1),
        counter: Counter(counter),
        body: (0..body_bytes).map(|i| (i as u64 * 31 + counter) as u8).collect(),
        sha256: [counter as u8; 32],
    };
    Op::Append { log, entry: NewEntry { time: Wall(100 + counter), content } }
}

fn append(log: Incarnation, counter: u64) -> Op {
    append_of(log, 0, counter, 100 + (counter % 50) as usize * 20)
}

fn trim(log: Incarnation, messages: u64) -> Op {
    Op::Trim { log, keep: Keep { messages, ..Keep::default() } }
}

#[test]
fn keeps_the_contract() {
    for durability in [Durability::Disk, Durability::Memory] {
        contract::check(&mut |bytes_max| {
            let folder = folder();
            let caps = Caps { disk_bytes: bytes_max, memory_bytes: bytes_max };
            let (store, contents) = open(folder.path(), caps).expect("the folder is new");
            assert!(contents.logs.is_empty() && contents.notes.is_empty());
            Box::new(Waiting { durability, _folder: Some(folder), ..store })
        });
    }
}

#[test]
fn what_was_answered_is_there_after_a_restart() {
    let folder = folder();
    let (mut store, _) = reopen(folder.path());
    store.run(create(LOG, 2)).expect("there is room");
    let mut ops: Vec<Op> = (0..40).map(|counter| append(LOG, counter)).collect();
    ops.insert(20, Op::Append { log: LOG, entry: record(9) });
    ops.insert(25, append_of(LOG, 1, 0, 10));
    store.run_all(ops);
    store.run(trim(LOG, 30)).expect("the log is there");
    let retain = Retain { messages: 77, bytes: 0, age_ms: 0 };
    store.run(Op::Configure { log: LOG, retain }).expect("the log is there");
    store.run(create(Incarnation(3), 1)).expect("there is room");
    store.run(Op::Remove { log: Incarnation(3) }).expect("it is there");
    let before = store.read_all(LOG).expect("it can be read");
    let used = store.used_bytes();
    drop(store);

    let (mut store, contents) = reopen(folder.path());
    let [stored] = &contents.logs[..] else { panic!("{:?}", contents.logs) };
    assert_eq!((stored.log, stored.settings.retain), (LOG, retain));
    assert_eq!(stored.settings.durability, Durability::Disk);
    let records: Vec<_> = before.iter().filter(|e| !e.is_message()).cloned().collect();
    assert_eq!(stored.records, records);
    assert_eq!((stored.next, stored.time, stored.kept.messages), (Offset(44), Wall(139), 30));
    let oldest = before.iter().find(|e| e.is_message()).map(|e| (e.offset, e.time));
    assert_eq!(stored.kept.oldest, oldest);
    let bodies: u64 = before.iter().map(|e| e.content.body_bytes()).sum();
    assert_eq!(stored.kept.bytes, bodies);
    assert_eq!(stored.next_sender, 2);
    let [first, second] = &stored.publishers[..] else { panic!("{:?}", stored.publishers) };
    assert_eq!((&first.sender, first.next, first.last_publish), (&sender(0), Counter(40), Wall(139)));
    let run = |counter, offset, len| Run { counter: Counter(counter), offset: Offset(offset), len };
    assert_eq!(first.runs, [run(0, 2, 20), run(20, 23, 4), run(24, 28, 16)]);
    assert_eq!((second.next, &second.runs[..]), (Counter(1), &[run(0, 27, 1)][..]));
    assert_eq!(store.used_bytes(), used);
    assert_eq!(store.read_all(LOG).expect("it can be read"), before);
    let Ok(Outcome::Appended { entry }) = store.run(append(LOG, 40)) else { panic!("there is room") };
    assert_eq!(entry.offset, Offset(44), "it goes on where it was");
}

#[test]
fn offsets_of_a_log_of_ram_are_not_used_again() {
    let folder = folder();
    let mut highest = 0;
    for round in 0..3 {
        let (mut store, contents) = reopen(folder.path());
        store.durability = Durability::Memory;
        if round == 0 {
            store.run(create(LOG, 1)).expect("there is room");
        } else {
            let stored = &contents.logs[0];
            assert!(stored.next.0 > highest, "{} was given out", stored.next);
            assert_eq!(stored.records.len(), round + 1, "records are kept");
            assert_eq!(store.read_all(LOG).expect("it can be read"), stored.records);
        }
        let appends = (0..70_000).map(|counter| append_of(LOG, 0, counter, 0));
        store.run_all(appends.chain([Op::Append { log: LOG, entry: record(round) }]));
        assert!(store.disk.commits() < 10, "messages do not wait for the disk");
        let all = store.read_all(LOG).expect("it can be read");
        assert_eq!(all.len(), round + 1 + 70_001);
        highest = all.last().expect("there are some").offset.0;
    }
}

#[test]
fn publishers_are_remembered_until_they_are_forgotten() {
    let folder = folder();
    let (mut store, _) = reopen(folder.path());
    store.run(create(LOG, 1)).expect("there is room");
    let empty = store.used_bytes();
    store.run_all([append_of(LOG, 0, 0, 9), append_of(LOG, 1, 0, 9), append_of(LOG, 0, 1, 9)]);
    store.run(Op::Forget { log: LOG, sender: 0 }).expect("the log is there");
    drop(store);
    let (mut store, contents) = reopen(folder.path());
    let numbers = |contents: &Contents| -> Vec<u32> {
        contents.logs[0].publishers.iter().map(|p| p.sender.number).collect()
    };
    assert_eq!(numbers(&contents), [1]);
    assert_eq!(contents.logs[0].next_sender, 2, "its number is not given to another");
    assert_eq!(store.read_all(LOG).expect("its messages stay").len(), 4);
    store.run(Op::Trim { log: LOG, keep: Keep { from: Offset(9), ..Keep::default() } }).expect("it is there");
    assert_eq!(store.used_bytes(), empty);
    let rows = |table: &'static str| {
        move |database: &mut Database| -> i64 {
            let count = format!("SELECT count(*) FROM {table}");
            database.connection.query_row(&count, [], |row| row.get(0)).expect("the table is there")
        }
    };
    let left = ["messages", "senders", "publishers", "runs"].map(|table| store.probe(rows(table)));
    assert_eq!(left, [0, 1, 1, 1], "who has no message left and is forgotten is gone");
    drop(store);
    let (_, contents) = reopen(folder.path());
    assert_eq!(numbers(&contents), [1], "one that may come back is not");
}

#[test]
fn a_publisher_keeps_the_offsets_of_two_windows() {
    let folder = folder();
    let (mut store, _) = reopen(folder.path());
    store.run(create(LOG, 1)).expect("there is room");
    // Two publishers take turns, so that no two counters share a run.
    let turns = 3 * rows::REMEMBERED;
    for counters in (0..turns).collect::<Vec<_>>().chunks(500) {
        store.run_all(counters.iter().flat_map(|c| [append_of(LOG, 0, *c, 0), append_of(LOG, 1, *c, 0)]));
    }
    drop(store);
    let (_, contents) = reopen(folder.path());
    for (number, publisher) in contents.logs[0].publishers.iter().enumerate() {
        assert_eq!(publisher.next, Counter(turns));
        let runs = publisher.runs.len() as u64;
        assert!((rows::REMEMBERED..rows::REMEMBERED + 2).contains(&runs), "{runs}");
        for run in &publisher.runs {
            assert_eq!(run.offset.0, 1 + 2 * run.counter.0 + number as u64);
        }
    }
}

#[test]
fn notes_are_replaced_and_dropped() {
    let folder = folder();
    let (mut store, _) = reopen(folder.path());
    let note = |kind, key: u8, value: u8| Note { kind, key: vec![key], value: vec![value; 5] };
    let put = |note: &Note| Op::Put { note: note.clone() };
    let (request, client) = (note(NoteKind::Request, 1, 1), note(NoteKind::Client, 1, 2));
    let newer = note(NoteKind::Client, 1, 3);
    let number = note(NoteKind::RevocationNumber, 0, 4);
    let gone = note(NoteKind::Request, 9, 9);
    store.run_all([&request, &client, &gone, &newer, &number].map(put));
    let drop_it = Op::Drop { kind: gone.kind, key: gone.key.clone() };
    assert_eq!(store.run_all([drop_it.clone(), drop_it]), [Ok(Outcome::Noted), Ok(Outcome::Noted)]);
    drop(store);
    let (_, contents) = reopen(folder.path());
    assert_eq!(contents.notes, [request, newer, number]);
}

#[test]
fn what_waits_goes_in_one_transaction() {
    let folder = folder();
    let (mut store, _) = reopen(folder.path());
    store.run(create(LOG, 1)).expect("there is room");
    let before = store.disk.commits();
    let results = store.run_all((0..1000).map(|counter| append(LOG, counter)));
    assert!(results.iter().all(|result| matches!(result, Ok(Outcome::Appended { .. }))));
    // The first may go alone, and the queue be filled while it is under way.
    let commits = store.disk.commits() - before;
    assert!((1..=20).contains(&commits), "{commits} commits for 1,000 appends");
    for counter in 1000..1010 {
        store.run(append(LOG, counter)).expect("there is room");
    }
    assert_eq!(store.disk.commits() - before, commits + 10, "each was synced before it was answered");
}

#[test]
fn a_long_trim_is_swept_and_its_room_given_back() {
    let folder = folder();
    let (mut store, _) = reopen(folder.path());
    store.run(create(LOG, 1)).expect("there is room");
    store.run(create(Incarnation(2), 1)).expect("there is room");
    let both = [LOG, Incarnation(2)];
    for counters in (0..10_000).collect::<Vec<_>>().chunks(1000) {
        let ops = counters.iter().flat_map(|c| both.map(|log| append_of(log, 0, *c, 1000)));
        store.run_all(ops);
    }
    let pages = |store: &mut Waiting| store.probe(|d| schema::number(&d.connection, "page_count"));
    let full = pages(&mut store).expect("a number");
    let results = store.run_all([trim(LOG, 100), append(LOG, 10_000), Op::Remove { log: Incarnation(2) }]);
    let Ok(Outcome::Trimmed { kept, .. }) = &results[0] else { panic!("{results:?}") };
    assert_eq!((kept.messages, kept.oldest.map(|(offset, _)| offset)), (100, Some(Offset(9901))));
    let entries = store.read_all(LOG).expect("it can be read");
    assert_eq!(entries.len(), 1 + 101, "what is not swept yet is gone all the same");
    let found = store.run(Op::Find { log: LOG, what: Find::Last(100) });
    assert_eq!(found, Ok(Outcome::Found(Offset(9902))));
    // A restart goes on with what is left to sweep.
    drop(store);
    let (mut store, _) = reopen(folder.path());
    while store.probe(|database| database.tidy().expect("the disk works")) {}
    let left = pages(&mut store).expect("a number");
    assert!(left < full / 10, "{left} of {full} pages are left");
    store.probe(|database| database.checkpoint("TRUNCATE")).expect("the disk works");
    let bytes = fs::metadata(folder.path().join("sealmq.db")).expect("it is there").len();
    assert_eq!(bytes, left as u64 * 4096);
    assert_eq!(store.read_all(LOG).expect("it can be read"), entries);
}

#[test]
fn nobody_else_may_look_in_and_no_second_process_may_write() {
    let folder = folder();
    let path = folder.path().join("data");
    fs::create_dir(&path).expect("the folder is ours");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("the folder is ours");
    fs::write(path.join("sealmq.db"), []).expect("the folder is ours");
    let (mut store, _) = reopen(&path);
    store.run(create(LOG, 1)).expect("there is room");
    let mode = |path: &Path| fs::metadata(path).expect("it is there").permissions().mode() & 0o777;
    assert_eq!(mode(&path), 0o700);
    let mut files = 0;
    for file in fs::read_dir(&path).expect("it can be read") {
        let file = file.expect("it can be read").path();
        assert_eq!(mode(&file), 0o600, "{}", file.display());
        files += 1;
    }
    assert_eq!(files, 4, "the database, its write-ahead log and the index of that, the lock");
    let refused = open(&path, ROOMY).err().expect("it is locked");
    assert!(refused.to_string().ends_with("another process has it open"), "{refused}");
    drop(store);
    reopen(&path);
}
