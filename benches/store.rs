//! What the disk engine costs: `cargo bench --bench store`, or with a folder of the disk that is
//! meant: `cargo bench --bench store -- FOLDER`. It writes some 1.3 GiB there, and removes it.
//!
//! - The start with a million messages of 1 KiB in 100 logs, and what the resident set grows by with
//!   the engine: each in a process of its own, so that nothing of the filling is in it.
//! - Answers per second with 1, 32 and 256 appends under way, beside how often a second the same disk
//!   makes 4 KiB durable, before and after.
//! - How long an append to a log of RAM takes while disk logs are busy, and while they are not.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use sealmq::base::ids::{Counter, Epoch, Fingerprint, Incarnation, Offset, PublisherId};
use sealmq::base::names::{Name, TopicName};
use sealmq::base::time::{Mono, Now, Wall};
use sealmq::store::disk::{Caps, Disk};
use sealmq::store::{
    Completion, Content, Contents, Durability, LogSettings, NewEntry, Op, Outcome, Retain, Sender, Store,
};

const LOGS: u64 = 100;
const MESSAGES: u64 = 1_000_000;
const BODY_BYTES: usize = 1024;
/// Of one measurement.
const TIME: Duration = Duration::from_secs(3);
const SAMPLES: usize = 20_000;

fn main() {
    // Cargo says --bench to a program of its own.
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["start", folder] => start(Path::new(folder)),
        ["resident", folder] => resident_set(Path::new(folder)),
        [] => all(&std::env::temp_dir()),
        [folder] => all(Path::new(folder)),
        _ => panic!("at most a folder"),
    }
}

fn all(parent: &Path) {
    let folder = tempfile::TempDir::new_in(parent).expect("a folder can be made");
    println!("| what | figure |\n|---|---|");
    raw(folder.path(), "before");
    for under_way in [1, 32, 256] {
        answers(&folder.path().join(format!("answers-{under_way}")), under_way);
    }
    raw(folder.path(), "after");
    latencies(&folder.path().join("latencies"));
    again("resident", &folder.path().join("resident"));
    let filled = folder.path().join("filled");
    fill(&filled);
    for _ in 0..3 {
        again("start", &filled);
    }
}

/// Runs a measurement in a process of its own.
fn again(what: &str, folder: &Path) {
    let program = std::env::current_exe().expect("the program is there");
    let status = Command::new(program).arg(what).arg(folder).status().expect("it can be run");
    assert!(status.success());
}

struct Engine {
    disk: Disk,
    woken: Receiver<()>,
}

impl Engine {
    fn open(folder: &Path) -> (Engine, Contents) {
        let (waking, woken) = channel();
        let wake = Box::new(move || {
            // Nobody listens any more when the engine is dropped.
            let _ = waking.send(());
        });
        let caps = Caps { disk_bytes: 1 << 40, memory_bytes: 1 << 30 };
        let opened = Disk::open(folder, caps, wake, &mut |_| {});
        let (disk, contents) = opened.expect("the folder is ours");
        (Engine { disk, woken }, contents)
    }

    fn flush(&mut self) {
        self.disk.flush(Now { mono: Mono(0), wall: Wall(0) });
    }

    /// The next completion, however long it takes.
    fn wait(&mut self) -> Completion {
        loop {
            if let Some(done) = self.disk.poll() {
                assert!(done.result.is_ok(), "{done:?}");
                return done;
            }
            self.woken.recv_timeout(Duration::from_secs(60)).expect("the writer is alive");
        }
    }

    fn run(&mut self, op: Op) -> Completion {
        self.disk.submit(op);
        self.flush();
        self.wait()
    }
}

fn create(log: u64, durability: Durability) -> Op {
    let name = TopicName::parse(&format!("bench/{log}")).expect("a good name");
    let retain = Retain { messages: 0, bytes: 0, age_ms: 0 };
    let content = Content::Record {
        record: vec![1; 300].into(),
        certificate: vec![2; 1000].into(),
        wraps: [(Fingerprint([1; 32]), vec![3; 256].into())].into(),
    };
    let records = vec![NewEntry { time: Wall(1), content }];
    Op::Create { log: Incarnation(log), settings: LogSettings { name, durability, retain }, records }
}

fn sender() -> Arc<Sender> {
    Arc::new(Sender {
        number: 0,
        publisher: PublisherId([1; 16]),
        fingerprint: Fingerprint([2; 32]),
        name: Name::parse("alice").expect("a good name"),
        delegation: vec![4; 300].into(),
        certificate: vec![5; 1000].into(),
    })
}

fn append(log: u64, sender: &Arc<Sender>, counter: u64, body: &Arc<[u8]>) -> Op {
    let content = Content::Message {
        sender: sender.clone(),
        epoch: Epoch(1),
        counter: Counter(counter),
        body: body.clone(),
        sha256: [7; 32],
    };
    Op::Append { log: Incarnation(log), entry: NewEntry { time: Wall(counter), content } }
}

fn body() -> Arc<[u8]> {
    (0..BODY_BYTES).map(|i| (i * 31) as u8).collect()
}

// ---- The disk itself ----

fn raw(folder: &Path, when: &str) {
    let path = folder.join("raw");
    let options = || OpenOptions::new().read(true).write(true).create(true).truncate(true).open(&path);
    let file: File = options().expect("a file can be made");
    file.write_all_at(&vec![1; 4 << 20], 0).expect("there is room");
    file.sync_all().expect("the disk works");
    let (begun, mut rounds, page) = (Instant::now(), 0_u64, [2; 4096]);
    while begun.elapsed() < TIME {
        file.write_all_at(&page, rounds % 1024 * 4096).expect("there is room");
        file.sync_data().expect("the disk works");
        rounds += 1;
    }
    let rate = rounds as f64 / begun.elapsed().as_secs_f64();
    println!("| 4 KiB + fdatasync, {when} | {rate:.0} a second |");
    fs::remove_file(path).expect("it is there");
}

// ---- Group commit ----

fn answers(folder: &Path, under_way: u64) {
    let (mut engine, _) = Engine::open(folder);
    engine.run(create(0, Durability::Disk));
    let (sender, body) = (sender(), body());
    let (mut submitted, mut answered) = (0, 0_u64);
    let (begun, commits) = (Instant::now(), engine.disk.commits());
    while begun.elapsed() < TIME {
        while submitted - answered < under_way {
            engine.disk.submit(append(0, &sender, submitted, &body));
            submitted += 1;
        }
        engine.flush();
        engine.wait();
        answered += 1;
        while engine.disk.poll().is_some() {
            answered += 1;
        }
    }
    let seconds = begun.elapsed().as_secs_f64();
    let commits = (engine.disk.commits() - commits) as f64 / seconds;
    let rate = answered as f64 / seconds;
    println!("| {under_way} under way | {rate:.0} answers, {commits:.0} commits a second |");
}

// ---- Logs of RAM beside busy ones of disk ----

fn latencies(folder: &Path) {
    let (mut engine, _) = Engine::open(folder);
    engine.run(create(0, Durability::Disk));
    engine.run(create(1, Durability::Memory));
    let idle = latency(&mut engine, 0, 0);
    let busy = latency(&mut engine, SAMPLES as u64, 256);
    let show = |times: &[Duration], share: f64| times[(times.len() as f64 * share) as usize];
    for (name, share) in [("median", 0.5), ("99 of 100", 0.99)] {
        let (idle, busy) = (show(&idle, share), show(&busy, share));
        let ratio = busy.as_secs_f64() / idle.as_secs_f64();
        println!("| append to RAM, {name} | {idle:.2?} idle, {busy:.2?} busy: {ratio:.2} |");
    }
}

/// How long appends to the log of RAM took, in order, with so many to the other under way.
fn latency(engine: &mut Engine, from: u64, under_way: u64) -> Vec<Duration> {
    let (sender, body) = (sender(), body());
    let (mut on_disk, mut counter, mut times) = (0, 0, Vec::with_capacity(SAMPLES));
    while times.len() < SAMPLES {
        while on_disk < under_way {
            engine.disk.submit(append(0, &sender, counter, &body));
            (on_disk, counter) = (on_disk + 1, counter + 1);
        }
        engine.flush();
        while engine.disk.poll().is_some() {
            on_disk -= 1;
        }
        let at = from + times.len() as u64;
        let begun = Instant::now();
        let ticket = engine.disk.submit(append(1, &sender, at, &body));
        engine.flush();
        loop {
            match engine.disk.poll() {
                Some(done) if done.ticket == ticket => break,
                Some(_) => on_disk -= 1,
                // Of the first only: its offsets are reserved on disk.
                None => drop(engine.woken.recv()),
            }
        }
        times.push(begun.elapsed());
        if times.len() % 64 == 0 {
            let trim = Op::Trim { log: Incarnation(1), keep: Default::default() };
            engine.disk.submit(trim);
            on_disk += 1;
        }
    }
    while engine.disk.wants_io() {
        engine.flush();
        engine.wait();
    }
    times.sort_unstable();
    times
}

// ---- A large database ----

fn fill(folder: &Path) {
    let (mut engine, _) = Engine::open(folder);
    let (sender, body) = (sender(), body());
    (0..LOGS).for_each(|log| drop(engine.run(create(log, Durability::Disk))));
    let begun = Instant::now();
    for counter in 0..MESSAGES / LOGS {
        for log in 0..LOGS {
            engine.disk.submit(append(log, &sender, counter, &body));
        }
        engine.flush();
        while counter % 10 == 9 && engine.disk.wants_io() {
            engine.wait();
        }
    }
    while engine.disk.wants_io() {
        engine.wait();
    }
    let seconds = begun.elapsed().as_secs_f64();
    println!("| {MESSAGES} messages of {BODY_BYTES} bytes written | {seconds:.1} s |");
}

fn start(folder: &Path) {
    let before = resident();
    let begun = Instant::now();
    let (engine, contents) = Engine::open(folder);
    let took = begun.elapsed();
    let messages: u64 = contents.logs.iter().map(|stored| stored.kept.messages).sum();
    assert_eq!(messages, MESSAGES);
    drop(contents);
    let grown = resident() - before;
    println!("| start with {messages} messages in {LOGS} logs | {took:.1?}, {grown} KiB more resident |");
    assert!(took < Duration::from_secs(1), "{took:?}");
    drop(engine);
}

fn resident_set(folder: &Path) {
    let before = resident();
    let (mut engine, _) = Engine::open(folder);
    let opened = resident();
    engine.run(create(0, Durability::Disk));
    let (sender, body) = (sender(), body());
    for counter in 0..20_000 {
        engine.disk.submit(append(0, &sender, counter, &body));
        if counter % 100 == 99 {
            engine.flush();
            while engine.disk.wants_io() {
                engine.wait();
            }
        }
    }
    let written = resident();
    let (log, below, mut from) = (Incarnation(0), Offset(u64::MAX), Offset(0));
    while from < Offset(20_001) {
        let op = Op::Read { log, from, below, bytes_max: 256 * 1024, records_only: false };
        let Ok(Outcome::Entries { next, .. }) = engine.run(op).result else { panic!("it can be read") };
        from = next;
    }
    let read = resident();
    let [opened, written, read] = [opened, written, read].map(|after| after - before);
    println!("| resident set, KiB more | {opened} opened, {written} written, {read} read |");
}

/// All that is resident, in KiB: own memory, the program's file, and what is shared.
fn resident() -> i64 {
    let status = fs::read_to_string(PathBuf::from("/proc/self/status")).expect("Linux has it");
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("Linux has it");
    line.split_whitespace().nth(1).and_then(|kib| kib.parse().ok()).expect("a number")
}
