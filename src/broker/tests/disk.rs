//! The disk engine for tests: a turn of the broker sees the end of what was submitted before it.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use tempfile::TempDir;

use super::harness::Harness;
use crate::base::{Mono, Now};
use crate::broker::BrokerConfig;
use crate::store::disk::Caps;
use crate::store::{Completion, Contents, Disk, Op, Store, Ticket};
use crate::wire::values::Durability;

pub const ROOMY: Caps = Caps { disk_bytes: 1 << 40, memory_bytes: 1 << 30 };

/// A folder in RAM where there is one: these tests cut no power.
pub fn folder() -> TempDir {
    let shared = Path::new("/dev/shm");
    if shared.is_dir() { TempDir::new_in(shared) } else { TempDir::new() }.expect("a folder can be made")
}

/// The disk engine, whose flush waits until nothing is under way.
pub struct Waiting {
    disk: Disk,
    woken: Receiver<()>,
    done: VecDeque<Completion>,
}

pub fn open(folder: &Path, caps: Caps) -> (Box<Waiting>, Contents) {
    let (waking, woken) = channel();
    let wake = move || {
        // Nobody listens any more while the engine is being dropped.
        let _ = waking.send(());
    };
    let (disk, contents) = Disk::open(folder, caps, Box::new(wake), &mut |_| {}).expect("a good database");
    (Box::new(Waiting { disk, woken, done: VecDeque::new() }), contents)
}

/// A broker over a folder, new or as it was left; its topics are to be disk topics.
pub fn broker_at(folder: &Path, now: Option<Now>) -> Harness {
    let (store, contents) = open(folder, ROOMY);
    let mut h = Harness::with(BrokerConfig::default(), store);
    h.durability = Durability::Disk;
    h.now = now.unwrap_or(h.now);
    h.broker.restore(contents, h.now).expect("what a broker left");
    h
}

/// What is in a folder once its broker has ended.
pub fn contents_of(h: Harness, folder: &Path) -> Contents {
    drop(h);
    open(folder, ROOMY).1
}

/// A broker that is told something else than its store has.
pub fn broker_over(folder: &Path, contents: Contents) -> Harness {
    let mut h = Harness::with(BrokerConfig::default(), open(folder, ROOMY).0);
    h.durability = Durability::Disk;
    h.broker.restore(contents, h.now).expect("what a broker could have left");
    h
}

/// Ends a broker as a kill does, nobody told of it, and starts one over the same folder later.
pub fn restart(h: Harness, folder: &Path, later: Duration) -> Harness {
    let now = Now { mono: h.now.mono, wall: h.now.wall + later };
    drop(h);
    broker_at(folder, Some(now))
}

impl Store for Waiting {
    fn submit(&mut self, op: Op) -> Ticket {
        self.disk.submit(op)
    }

    fn poll(&mut self) -> Option<Completion> {
        self.done.pop_front()
    }

    fn flush(&mut self, now: Now) {
        self.disk.flush(now);
        loop {
            self.done.extend(std::iter::from_fn(|| self.disk.poll()));
            if !self.disk.wants_io() {
                return;
            }
            self.woken.recv_timeout(Duration::from_secs(60)).expect("the writer wakes us");
        }
    }

    fn poll_timeout(&self) -> Option<Mono> {
        (!self.done.is_empty()).then_some(Mono(0))
    }

    fn wants_io(&self) -> bool {
        !self.done.is_empty()
    }

    fn is_durable(&self) -> bool {
        true
    }

    fn used_bytes(&self) -> u64 {
        self.disk.used_bytes()
    }

    fn failure(&self) -> Option<&str> {
        self.disk.failure()
    }
}
