//! A store that fails, is full, or holds what is damaged: what is said then, and what is not.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::rc::Rc;
use std::time::Duration;

use super::harness::{Harness, Peer, brief, messages, publish};
use super::requests::list;
use crate::base::ids::{Incarnation, Offset, TopicHandle};
use crate::base::names::{TopicFilter, TopicName};
use crate::base::{Mono, Now};
use crate::broker::BrokerConfig;
use crate::store::{
    Completion, Durability as Kept, Memory, NoteKind, Op, Outcome, Store, StoreError, Ticket,
};
use crate::wire::frame::ClientFrame;
use crate::wire::values::{Durability, Retention, Start};

/// What a store does wrong, from now on.
#[derive(Default)]
struct Ills {
    /// Nothing is stored any more.
    failed: bool,
    /// There is no room on disk; RAM has some.
    full: bool,
    /// No log can be removed.
    irremovable: bool,
    /// Nothing can be trimmed.
    untrimmable: bool,
    /// What is kept there is not what was stored.
    damaged: Option<Offset>,
    /// Messages that a disk has lost.
    lost: Vec<Offset>,
    /// What the broker read: from, below.
    reads: Vec<(Offset, Offset)>,
}

/// The engine in RAM, with ills, and as durable as it says.
struct Sick {
    memory: Memory,
    ills: Rc<RefCell<Ills>>,
    on_disk: HashSet<Incarnation>,
    faults: HashMap<Ticket, StoreError>,
}

impl Sick {
    /// Why the operation is not done.
    fn fault(&self, op: &Op) -> Option<StoreError> {
        let mut ills = self.ills.borrow_mut();
        let is_on_disk = op.log().is_none_or(|log| self.on_disk.contains(&log));
        match op {
            _ if ills.failed && is_on_disk => Some(StoreError::Failed("no such device".into())),
            Op::Append { .. } | Op::Create { .. } | Op::Put { .. } if ills.full && is_on_disk => {
                Some(StoreError::Full)
            }
            Op::Remove { .. } if ills.irremovable => Some(StoreError::Full),
            Op::Trim { .. } if ills.untrimmable => Some(StoreError::Full),
            Op::Read { from, below, .. } => {
                ills.reads.push((*from, *below));
                let offset = ills.damaged.filter(|bad| *bad == *from)?;
                Some(StoreError::Damaged { offset })
            }
            Op::Find { .. } => ills.damaged.map(|offset| StoreError::Damaged { offset }),
            _ => None,
        }
    }
}

impl Store for Sick {
    fn submit(&mut self, mut op: Op) -> Ticket {
        if let Op::Create { log, settings, .. } = &op
            && settings.durability == Kept::Disk
        {
            self.on_disk.insert(*log);
        }
        if let Some(fault) = self.fault(&op) {
            // It takes its turn, and does nothing.
            let ticket = self.memory.submit(Op::Drop { kind: NoteKind::Client, key: Vec::new() });
            self.faults.insert(ticket, fault);
            return ticket;
        }
        if let (Op::Read { from, below, .. }, Some(bad)) = (&mut op, self.ills.borrow().damaged)
            && *from < bad
        {
            *below = (*below).min(bad);
        }
        self.memory.submit(op)
    }

    fn poll(&mut self) -> Option<Completion> {
        let Completion { ticket, result } = self.memory.poll()?;
        let mut result = self.faults.remove(&ticket).map_or(result, Err);
        if let Ok(Outcome::Entries { entries, .. }) = &mut result {
            let ills = self.ills.borrow();
            entries.retain(|entry| !ills.lost.contains(&entry.offset));
        }
        Some(Completion { ticket, result })
    }

    fn flush(&mut self, now: Now) {
        self.memory.flush(now);
    }

    fn poll_timeout(&self) -> Option<Mono> {
        self.memory.poll_timeout()
    }

    fn wants_io(&self) -> bool {
        self.memory.wants_io()
    }

    fn is_durable(&self) -> bool {
        true
    }

    fn used_bytes(&self) -> u64 {
        self.memory.used_bytes()
    }

    fn failure(&self) -> Option<&str> {
        self.ills.borrow().failed.then_some("no such device")
    }
}

fn sick(tail_bytes_max: usize) -> (Harness, Rc<RefCell<Ills>>) {
    let ills = Rc::new(RefCell::new(Ills::default()));
    let memory = Memory::new(64 << 20);
    let store = Sick { memory, ills: Rc::clone(&ills), on_disk: HashSet::new(), faults: HashMap::new() };
    let config = BrokerConfig { tail_bytes_max, ..BrokerConfig::default() };
    let mut h = Harness::with(config, Box::new(store));
    h.durability = Durability::Disk;
    (h, ills)
}

const TAIL: usize = 1 << 20;

#[test]
fn a_topic_that_could_not_be_deleted_loses_what_is_too_old_as_before() {
    let (mut h, ills) = sick(TAIL);
    let retention = Retention { count: 0, bytes: 0, age_ms: 60_000 };
    let (mut alice, _) = six_messages(&mut h, retention);
    ills.borrow_mut().irremovable = true;
    let before = h.listed(&mut alice, "home/x");
    assert_eq!(before.messages, 6);
    let left = Duration::from_millis(60_000) - h.now.wall.since(before.oldest);
    h.advance(left - Duration::from_millis(10));
    // Its age is reached while it is on its way out.
    let request = alice.request();
    let name = TopicName::parse("home/x").expect("a good name");
    assert_eq!(brief(&h.ask(&mut alice, ClientFrame::Delete { request, name })), ["refused StorageFull"]);
    h.advance(Duration::from_secs(1));
    h.settle();
    assert_eq!(h.listed(&mut alice, "home/x").messages, 0);
}

/// Alice's topic with bob in it; she has published six messages of 500 bytes, from offset 2 on.
fn six_messages(h: &mut Harness, retention: Retention) -> (Peer, TopicHandle) {
    let mut alice = h.connect("alice");
    let topic = h.create(&mut alice, "home/x", &["bob"], retention);
    h.name_publisher(&mut alice);
    for counter in 0..6 {
        h.send(&mut alice, &[publish(topic, counter, &[7; 500])], &[&[7; 500]]);
    }
    h.read(&mut alice);
    alice.frames.clear();
    (alice, topic)
}

#[test]
fn a_store_that_has_failed_is_answered_for_nothing() {
    let (mut h, ills) = sick(TAIL);
    let (mut alice, topic) = six_messages(&mut h, Retention { count: 6, bytes: 0, age_ms: 0 });
    let (mut bob, mut carol) = (h.connect("bob"), h.connect("carol"));
    h.subscribe(&mut bob, "home/x", Start::Latest);
    let (other, chain) = h.create_chain(&mut alice, "home/y", &[], Retention::default());
    h.durability = Durability::Memory;
    let in_ram = h.create(&mut alice, "home/m", &["bob"], Retention::default());
    h.durability = Durability::Disk;
    assert_eq!(h.broker.store_failure(), None);
    ills.borrow_mut().failed = true;
    let frames: Vec<ClientFrame> = (6..9).map(|counter| publish(topic, counter, b"x")).collect();
    h.send(&mut alice, &frames, &[b"x", b"x", b"x"]);
    h.send(&mut alice, &[publish(in_ram, 0, b"x")], &[b"x"]);
    assert_eq!(brief(&h.join(&mut carol, "home/y", chain.topic()).1), [""; 0]);
    h.read(&mut alice);
    assert_eq!(brief(&alice.frames), ["published 0 at 2"], "only what is in RAM alone");
    alice.frames.clear();
    let (wraps, record) = h.record(&alice, &chain, |b| {
        b.deny(carol.certificate.fingerprint(), "");
    });
    let append = ClientFrame::Append { request: alice.request(), topic: other, record };
    h.send(&mut alice, &[ClientFrame::Wraps { wraps }], &[]);
    assert_eq!(brief(&h.ask(&mut alice, append)), [""; 0]);
    let mut again = h.connect("alice");
    let name = TopicName::parse("home/x").expect("a good topic");
    let (request, retention) = (again.request(), Retention { count: 1, bytes: 0, age_ms: 0 });
    let retain = ClientFrame::SetRetention { request, name: name.clone(), retention };
    assert_eq!(brief(&h.ask(&mut again, retain)), [""; 0]);
    let mut again = h.connect("alice");
    let (frames, _) = h.creation(&mut again, "home/z", &[], Retention::default());
    frames.iter().for_each(|frame| h.send(&mut again, std::slice::from_ref(frame), &[]));
    h.read(&mut again);
    let mut late = h.connect("alice");
    let delete = ClientFrame::Delete { request: late.request(), name };
    assert_eq!(brief(&h.ask(&mut late, delete)), [""; 0]);
    assert_eq!(brief(&h.ask(&mut alice, ClientFrame::Exit { forget: true })), [""; 0], "it is not settled");
    for peer in [&mut bob, &mut again] {
        h.read(peer);
        assert_eq!(brief(&peer.frames), [""; 0]);
    }
    assert_eq!(h.broker.store_failure(), Some("no such device"));
}

#[test]
fn a_full_disk_refuses_and_is_used_again_when_there_is_room() {
    let (mut h, ills) = sick(0);
    let (mut alice, topic) = six_messages(&mut h, Retention::default());
    let mut carol = h.connect("carol");
    let (_, chain) = h.create_chain(&mut alice, "home/y", &[], Retention::default());
    h.durability = Durability::Memory;
    let in_ram = h.create(&mut alice, "home/m", &[], Retention::default());
    h.durability = Durability::Disk;
    ills.borrow_mut().full = true;
    let mut bob = h.connect("bob");
    for round in 0..3 {
        h.send(&mut alice, &[publish(topic, 6, b"x"), publish(in_ram, round, b"x")], &[b"x", b"x"]);
        h.read(&mut alice);
        let stored = format!("published {round} at {}", round + 2);
        assert_eq!(brief(&std::mem::take(&mut alice.frames)), ["publish refused StorageFull 0", &stored]);
    }
    assert_eq!(brief(&h.join(&mut carol, "home/y", chain.topic()).1), ["refused StorageFull"]);
    assert_eq!(list(&mut h, &mut alice, false, "#").0, []);
    let (frames, _) = h.creation(&mut alice, "home/z", &[], Retention::default());
    frames.iter().for_each(|frame| h.send(&mut alice, std::slice::from_ref(frame), &[]));
    h.advance(Duration::from_millis(20));
    h.read(&mut alice);
    assert_eq!(brief(&std::mem::take(&mut alice.frames)), ["refused StorageFull"]);
    let frames = h.subscribe(&mut bob, "home/x", Start::Earliest);
    assert_eq!(messages(&frames), [2, 3, 4, 5, 6, 7], "readers go on");
    ills.borrow_mut().full = false;
    assert_eq!(h.publish(&mut alice, topic, 6..8), [8, 9]);
    // Nothing is kept in RAM here: the first look asks for a read.
    h.read(&mut bob);
    h.read(&mut bob);
    assert_eq!(messages(&bob.frames), [8, 9]);
    assert_eq!(brief(&h.join(&mut carol, "home/y", chain.topic()).1), ["done"]);
    assert_eq!(list(&mut h, &mut alice, false, "#").0.len(), 1);
    h.create(&mut alice, "home/z", &[], Retention::default());
}

#[test]
fn what_is_damaged_ends_its_readers_and_no_others() {
    let (mut h, ills) = sick(2_500);
    let (mut alice, topic) = six_messages(&mut h, Retention::default());
    let (mut live, mut late) = (h.connect("bob"), h.connect("bob"));
    h.subscribe(&mut live, "home/x", Start::Latest);
    ills.borrow_mut().damaged = Some(Offset(4));
    let told = brief(&h.subscribe(&mut late, "home/x", Start::Earliest));
    assert_eq!(told[told.len() - 3..], ["message 2", "message 3", "ended Damaged"]);
    let told = brief(&h.subscribe(&mut late, "home/x", Start::Last(5)));
    assert_eq!(told.iter().filter(|line| *line == "ended Damaged").count(), 1, "{told:?}");
    assert!(!told.iter().any(|line| line.starts_with("message")), "{told:?}");
    // Behind it there is nothing wrong.
    let told = h.subscribe(&mut late, "home/x", Start::Offset(Offset(5)));
    assert_eq!(messages(&told), [5, 6, 7]);
    h.publish(&mut alice, topic, 6..8);
    for peer in [&mut live, &mut late] {
        h.read(peer);
        assert_eq!(messages(&peer.frames), [8, 9], "what is live goes on");
    }
    // What is in RAM is not read, whatever became of it on disk.
    ills.borrow_mut().damaged = Some(Offset(9));
    ills.borrow_mut().reads.clear();
    let mut again = h.connect("bob");
    let told = h.subscribe(&mut again, "home/x", Start::Earliest);
    assert_eq!(messages(&told), [2, 3, 4, 5, 6, 7, 8, 9]);
    let reads = std::mem::take(&mut ills.borrow_mut().reads);
    assert!(!reads.is_empty() && reads.iter().all(|(_, below)| *below <= Offset(9)), "{reads:?}");
}

#[test]
fn what_a_disk_has_lost_is_told_as_gaps() {
    let (mut h, ills) = sick(0);
    let (mut alice, topic) = six_messages(&mut h, Retention::default());
    ills.borrow_mut().lost = [4, 6, 7].map(Offset).to_vec();
    let mut bob = h.connect("bob");
    let told = brief(&h.subscribe(&mut bob, "home/x", Start::Earliest));
    let expected = ["message 2", "message 3", "gap 4..5", "message 5", "gap 6..8", "caught up 8"];
    assert_eq!(told[told.len() - expected.len()..], expected);
    h.publish(&mut alice, topic, 6..7);
    h.read(&mut bob);
    h.read(&mut bob);
    assert_eq!(brief(&std::mem::take(&mut bob.frames)), ["message 8"]);
    // Going back begins anew.
    ills.borrow_mut().lost = vec![Offset(8)];
    let filter = TopicFilter::parse("home/x").expect("a good filter");
    let request = bob.request();
    h.ask(&mut bob, ClientFrame::Unsubscribe { request, filter });
    let told = h.subscribe(&mut bob, "home/x", Start::Offset(Offset(6)));
    assert_eq!(messages(&told), [6, 7]);
    assert_eq!(brief(&told).last().map(String::as_str), Some("caught up 9"));
}

#[test]
fn a_trim_that_came_to_nothing_is_tried_again() {
    let (mut h, ills) = sick(TAIL);
    ills.borrow_mut().untrimmable = true;
    let (mut alice, topic) = six_messages(&mut h, Retention { count: 3, bytes: 0, age_ms: 0 });
    assert_eq!(h.listed(&mut alice, "home/x").messages, 6, "nothing was dropped, so that is what is said");
    ills.borrow_mut().untrimmable = false;
    h.advance(Duration::from_secs(61));
    h.settle();
    assert_eq!(h.listed(&mut alice, "home/x").messages, 3, "without a publish");
    h.publish(&mut alice, topic, 6..9);
    assert_eq!(h.listed(&mut alice, "home/x").first, Offset(8));
}

#[test]
fn a_disk_topic_needs_a_disk() {
    let mut h = Harness::new();
    let mut alice = h.connect("alice");
    h.durability = Durability::Disk;
    let (frames, _) = h.creation(&mut alice, "home/x", &[], Retention::default());
    frames.iter().for_each(|frame| h.send(&mut alice, std::slice::from_ref(frame), &[]));
    h.advance(Duration::from_millis(20));
    h.read(&mut alice);
    assert_eq!(brief(&alice.frames), ["refused NotDurable"]);
}

#[test]
fn entries_read_for_slow_subscribers_keep_to_their_pool() {
    let config = BrokerConfig { tail_bytes_max: 0, address_connections_max: 1000, ..BrokerConfig::default() };
    let mut h = Harness::with(config, Box::new(Memory::new(256 << 20)));
    let mut alice = h.connect("alice");
    let topic = h.create(&mut alice, "home/x", &["bob"], Retention::default());
    h.name_publisher(&mut alice);
    let body = vec![1; 1 << 20];
    for counter in 0..4 {
        h.send(&mut alice, &[publish(topic, counter, &body)], &[&body]);
        h.read(&mut alice);
    }
    let readers = 2 * crate::base::limits::FETCHED_BYTES_MAX / body.len();
    let mut peers: Vec<Peer> = (0..readers).map(|_| h.connect("bob")).collect();
    alice.frames.clear();
    let mut most = 0;
    for peer in &mut peers {
        let open = ClientFrame::Open {
            request: peer.request(),
            name: TopicName::parse("home/x").expect("a good topic"),
            start: Start::Earliest,
        };
        h.send(peer, &[open], &[]);
        h.settle();
        // The records are read, and are sent; the first message is read, and is not.
        h.stall(peer);
        h.stall(peer);
        most = most.max(h.stat(&mut alice, "bytes read for subscribers and not sent yet"));
    }
    let max = crate::base::limits::FETCHED_BYTES_MAX as u64;
    assert!(most > max / 2 && most <= max, "{most} of {max}");
    for peer in [0, readers - 1] {
        let peer = &mut peers[peer];
        // Each message takes a read of its own, which the next look finds done.
        (0..6).for_each(|_| h.read(peer));
        assert_eq!(messages(&peer.frames), [2, 3, 4, 5], "whoever lost what was read reads it again");
    }
}
