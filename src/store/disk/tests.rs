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

mod backups;
mod damage;
mod failures;
mod locks;
mod retention;
mod salvaged;
mod torn;

/// A folder in RAM where there is one: these tests cut no power.
fn folder() -> TempDir {
    let shared = Path::new("/dev/shm");
    if shared.is_dir() { TempDir::new_in(shared) } else { TempDir::new() }.expect("a folder can be made")
}

#[test]
fn a_folder_of_other_things_is_not_closed() {
    let folder = folder();
    let mode = |mode| fs::set_permissions(folder.path(), fs::Permissions::from_mode(mode)).expect("ours");
    let is_open = || fs::metadata(folder.path()).expect("there").permissions().mode() & 0o077 != 0;
    let other = folder.path().join("other");
    fs::write(&other, b"").expect("made");
    mode(0o755);
    let refused = open(folder.path(), ROOMY).err().expect("others may look in");
    assert!(matches!(refused, OpenError::Shared { .. }), "{refused}");
    assert!(is_open() && fs::read_dir(folder.path()).expect("there").count() == 1, "nothing was changed");
    mode(0o700);
    reopen(folder.path());
    mode(0o755);
    reopen(folder.path());
    assert!(!is_open(), "with a database in it, it is ours");
}

/// An engine whose flush waits until something has completed.
struct Waiting {
    disk: Disk,
    woken: Receiver<()>,
    /// What logs are made with, whatever the test says.
    durability: Durability,
    _folder: Option<TempDir>,
    /// What its opening told of the write-ahead log.
    recovered: Recovered,
}

const ROOMY: Caps = Caps { disk_bytes: 1 << 40, memory_bytes: 1 << 30 };
const LOG: Incarnation = Incarnation(0xffff_ffff_ffff_fff7);

fn open(folder: &Path, caps: Caps) -> Result<(Waiting, Contents), OpenError> {
    let (waking, woken) = channel();
    let wake = move || {
        let _ = waking.send(());
    };
    let (mut recovered, mut logs) = (Recovered::default(), (0, 0));
    let (disk, contents) = Disk::open(folder, caps, Box::new(wake), &mut |news| match news {
        Opening::Recovered(found) => recovered = found,
        Opening::Logs { done, all } => {
            assert_eq!(done, logs.0 + 1);
            logs = (done, all);
        }
    })?;
    assert_eq!((logs.0, logs.1), (contents.logs.len() as u64, contents.logs.len() as u64));
    Ok((Waiting { disk, woken, durability: Durability::Disk, _folder: None, recovered }, contents))
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

    /// Submits all of `ops` while the writer looks away, so that it finds them at once; they fit its
    /// queue. Nothing is taken before all has completed.
    fn run_together(&mut self, ops: impl IntoIterator<Item = Op>) -> Vec<Result<Outcome, StoreError>> {
        let (going, go) = channel::<()>();
        let hold = move |_: &mut Database| go.recv().expect("the test lets go");
        self.disk.outgoing.push_back(Job::Probe(Box::new(hold)));
        let tickets: Vec<Ticket> = ops.into_iter().map(|op| self.submit(op)).collect();
        self.disk.flush(Now { mono: Mono(0), wall: Wall(0) });
        going.send(()).expect("the writer waits");
        while self.disk.done.len() < tickets.len() {
            self.woken.recv_timeout(Duration::from_secs(60)).expect("the writer wakes us");
            self.disk.take_reports();
        }
        let mut results: HashMap<_, _> =
            std::iter::from_fn(|| self.poll()).map(|done| (done.ticket, done.result)).collect();
        tickets.iter().map(|ticket| results.remove(ticket).expect("it has completed")).collect()
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
    let number = note(NoteKind::Client, 2, 4);
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
    let results = store.run_together((0..500).map(|counter| append(LOG, counter)));
    assert!(results.iter().all(|result| matches!(result, Ok(Outcome::Appended { .. }))));
    assert_eq!(store.disk.commits() - before, 1);
    for counter in 500..510 {
        store.run(append(LOG, counter)).expect("there is room");
    }
    assert_eq!(store.disk.commits() - before, 11, "each was synced before it was answered");
}
