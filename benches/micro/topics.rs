//! Topics in RAM: an engine's append and read, and what a broker's core does with a record of publishes for cursors that
//! stand at the end. For the disk engine there is `cargo bench --bench store`.

use std::hint::black_box;
use std::sync::Arc;

use criterion::{Criterion, Throughput};
use sealmq::base::ids::{Counter, Epoch, Fingerprint, Incarnation, Offset, PublisherId};
use sealmq::base::names::{Name, TopicName};
use sealmq::base::time::{Mono, Now, Wall};
use sealmq::base::transmit::Transmit;
use sealmq::store::{
    Completion, Content, Durability, Keep, LogSettings, Memory, NewEntry, Op, Outcome, Retain, Sender, Store,
};

use crate::stage::Stage;

const LOG: Incarnation = Incarnation(1);
/// Messages that the log keeps.
const KEPT: u64 = 1024;
/// Messages of one record.
const BATCH: usize = 32;
/// Bytes of the sealed body of a message of 100.
const BODY_BYTES: usize = 313;
/// What a cursor reads at once.
const READ_BYTES: usize = 256 * 1024;

pub fn bench(criterion: &mut Criterion) {
    engine(criterion);
    core(criterion);
}

fn engine(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("topics");
    let mut log = Log::new();
    group.throughput(Throughput::Elements(1));
    group.bench_function("append to a log", |bencher| bencher.iter(|| log.append()));
    while log.next < KEPT {
        log.append();
    }
    let from = Offset(log.next - KEPT / 2);
    group.throughput(Throughput::Elements(KEPT / 2));
    group.bench_function("read 512 messages of a log", |bencher| {
        bencher.iter(|| black_box(log.read(from)));
    });
    group.finish();
}

/// Opened, stored, answered, and sealed for each cursor: a delivery is one cursor's share of one message.
fn core(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("topics");
    for cursors in [1, 50] {
        let mut stage = Stage::new();
        let (mut author, _readers) = stage.author(cursors);
        let mut out = Transmit::new();
        group.throughput(Throughput::Elements((cursors * BATCH) as u64));
        group.bench_function(format!("publish 32 messages to cursors, {cursors}"), |bencher| {
            bencher.iter_custom(|times| {
                let mut took = std::time::Duration::ZERO;
                for _ in 0..times {
                    let record = author.record(&mut stage, BATCH, BODY_BYTES);
                    stage.advance(1);
                    let (mut written, began) = (0, std::time::Instant::now());
                    let mut keep = |_, bytes: &[u8]| written += bytes.len();
                    stage.serve(&[(author.peer.id, &record)], &mut out, &mut keep);
                    took += began.elapsed();
                    assert!(written > cursors * BATCH * BODY_BYTES, "every message went to every cursor");
                }
                took
            });
        });
    }
    group.finish();
}

/// A log in an engine in memory, which keeps its newest messages.
struct Log {
    engine: Memory,
    sender: Arc<Sender>,
    body: Arc<[u8]>,
    next: u64,
}

impl Log {
    fn new() -> Log {
        let mut engine = Memory::new(1 << 30);
        let name = TopicName::parse("bench/micro").expect("a good name");
        let retain = Retain { messages: 0, bytes: 0, age_ms: 0 };
        let settings = LogSettings { name, durability: Durability::Memory, retain };
        run(&mut engine, Op::Create { log: LOG, settings, records: Vec::new() });
        let sender = Arc::new(Sender {
            number: 0,
            publisher: PublisherId([1; 16]),
            fingerprint: Fingerprint([2; 32]),
            name: Name::parse("alice").expect("a good name"),
            delegation: vec![4; 300].into(),
            certificate: vec![5; 1000].into(),
        });
        Log { engine, sender, body: vec![0x5a; BODY_BYTES].into(), next: 0 }
    }

    fn append(&mut self) {
        let content = Content::Message {
            sender: self.sender.clone(),
            epoch: Epoch(1),
            counter: Counter(self.next),
            body: self.body.clone(),
            sha256: [7; 32],
        };
        self.next += 1;
        run(&mut self.engine, Op::Append { log: LOG, entry: NewEntry { time: Wall(self.next), content } });
        if self.next.is_multiple_of(KEPT / 8) {
            run(&mut self.engine, Op::Trim { log: LOG, keep: Keep { messages: KEPT, ..Keep::default() } });
        }
    }

    /// All from there on.
    fn read(&mut self, from: Offset) -> usize {
        let below = Offset(self.next);
        let op = Op::Read { log: LOG, from, below, bytes_max: READ_BYTES, records_only: false };
        match run(&mut self.engine, op).result {
            Ok(Outcome::Entries { entries, next }) => {
                assert_eq!(next, below, "one read has all");
                entries.len()
            }
            other => panic!("it can be read: {other:?}"),
        }
    }
}

/// This engine has done it after the next flush.
fn run(engine: &mut Memory, op: Op) -> Completion {
    engine.submit(op);
    engine.flush(Now { mono: Mono(0), wall: Wall(0) });
    let done = engine.poll().expect("it is done");
    assert!(done.result.is_ok(), "{done:?}");
    done
}
