//! Appends that fail while others are on their way: what was sent behind them is not stored in their
//! place, whoever sent it, and nothing is answered as stored that is not.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet, VecDeque};
use std::rc::Rc;

use super::harness::{Harness, Peer, brief, messages, publish};
use crate::base::ids::{Incarnation, TopicHandle};
use crate::base::names::TopicFilter;
use crate::base::{Mono, Now, Wall};
use crate::broker::BrokerConfig;
use crate::store::{Completion, Memory, Op, Store, StoreError, Ticket};
use crate::wire::frame::ClientFrame;
use crate::wire::values::{Retention, Start};

/// A disk, told what to do when: it has a queue, and is at its place in it.
#[derive(Default)]
struct Disk {
    queue: VecDeque<(Ticket, Op)>,
    /// So many of the queue may be done.
    allowed: usize,
    /// There is no room for messages.
    is_full: bool,
    /// So many reads meet damage.
    unreadable: usize,
    /// Whether what comes is done later, when it is allowed.
    is_slow: bool,
    /// Whether reads wait, while all else goes on; and those that do.
    holds_reads: bool,
    held: VecDeque<(Ticket, Op)>,
}

/// The engine in RAM behind a queue; a failure stands until it was taken, as with every engine.
struct Slow {
    memory: Memory,
    disk: Rc<RefCell<Disk>>,
    next: u64,
    tickets: HashMap<Ticket, Ticket>,
    done: VecDeque<(Completion, Option<Incarnation>)>,
    refused: HashSet<Incarnation>,
    /// Appends below fail, in each log: they were submitted before a failure was taken.
    new_from: HashMap<Incarnation, Ticket>,
    now: Now,
}

impl Slow {
    fn work(&mut self) {
        loop {
            let (ticket, op) = {
                let mut disk = self.disk.borrow_mut();
                if disk.is_slow && disk.allowed == 0 {
                    return;
                }
                if !disk.holds_reads {
                    let held = std::mem::take(&mut disk.held);
                    held.into_iter().rev().for_each(|read| disk.queue.push_front(read));
                }
                let Some(next) = disk.queue.pop_front() else { return };
                if disk.holds_reads && next.1.is_query() {
                    disk.held.push_back(next);
                    continue;
                }
                disk.allowed = disk.allowed.saturating_sub(1);
                next
            };
            let fault = self.fault(ticket, &op);
            if let Some((error, failure_of)) = fault {
                self.done.push_back((Completion { ticket, result: Err(error) }, failure_of));
                continue;
            }
            let inner = self.memory.submit(op);
            self.tickets.insert(inner, ticket);
            self.memory.flush(self.now);
            while let Some(Completion { ticket, result }) = self.memory.poll() {
                let ticket = self.tickets.remove(&ticket).expect("it was submitted");
                self.done.push_back((Completion { ticket, result }, None));
            }
        }
    }

    fn fault(&mut self, ticket: Ticket, op: &Op) -> Option<(StoreError, Option<Incarnation>)> {
        if let Op::Read { from, .. } = op
            && self.disk.borrow().unreadable > 0
        {
            self.disk.borrow_mut().unreadable -= 1;
            return Some((StoreError::Damaged { offset: *from }, None));
        }
        let Op::Append { log, entry } = op else { return None };
        let is_behind = self.new_from.get(log).is_some_and(|new_from| ticket < *new_from);
        if self.refused.contains(log) || is_behind {
            return Some((StoreError::EarlierFailed, None));
        }
        if self.disk.borrow().is_full && entry.content.is_message() {
            self.refused.insert(*log);
            return Some((StoreError::Full, Some(*log)));
        }
        None
    }
}

impl Store for Slow {
    fn submit(&mut self, op: Op) -> Ticket {
        let ticket = Ticket(self.next);
        self.next += 1;
        self.disk.borrow_mut().queue.push_back((ticket, op));
        ticket
    }

    fn poll(&mut self) -> Option<Completion> {
        self.work();
        let (completion, failure_of) = self.done.pop_front()?;
        if let Some(log) = failure_of {
            self.refused.remove(&log);
            self.new_from.insert(log, Ticket(self.next));
        }
        Some(completion)
    }

    fn flush(&mut self, now: Now) {
        self.now = now;
        self.work();
    }

    fn poll_timeout(&self) -> Option<Mono> {
        None
    }

    fn wants_io(&self) -> bool {
        !self.disk.borrow().queue.is_empty() || !self.done.is_empty()
    }

    fn is_durable(&self) -> bool {
        true
    }

    fn used_bytes(&self) -> u64 {
        self.memory.used_bytes()
    }
}

fn slow() -> (Harness, Rc<RefCell<Disk>>) {
    slow_with(BrokerConfig::default())
}

fn slow_with(config: BrokerConfig) -> (Harness, Rc<RefCell<Disk>>) {
    let disk = Rc::new(RefCell::new(Disk::default()));
    let store = Slow {
        memory: Memory::new(64 << 20),
        disk: Rc::clone(&disk),
        next: 0,
        tickets: HashMap::new(),
        done: VecDeque::new(),
        refused: HashSet::new(),
        new_from: HashMap::new(),
        now: Now { mono: Mono(0), wall: Wall(0) },
    };
    (Harness::with(config, Box::new(store)), disk)
}

/// Lets the disk do the next `count` of what it was given.
fn allow(h: &mut Harness, disk: &Rc<RefCell<Disk>>, count: usize) {
    disk.borrow_mut().allowed += count;
    h.settle();
}

fn say(h: &mut Harness, peer: &mut Peer, topic: TopicHandle, counter: u64) {
    let body = format!("{} {counter}", peer.certificate.name()).into_bytes();
    h.send(peer, &[publish(topic, counter, &body)], &[&body]);
    h.settle();
}

fn heard(h: &mut Harness, peer: &mut Peer) -> Vec<String> {
    h.read(peer);
    brief(&std::mem::take(&mut peer.frames))
}

/// Alice and bob with a publisher id each, and a disk that waits to be told.
fn two_publishers(h: &mut Harness, disk: &Rc<RefCell<Disk>>) -> (Peer, Peer, TopicHandle, TopicHandle) {
    let mut alice = h.connect("alice");
    let of_alice = h.create(&mut alice, "home/x", &["bob"], Retention::default());
    let mut bob = h.connect("bob");
    h.open(&mut bob, "home/x", Start::RecordsOnly);
    let of_bob = of_alice;
    for peer in [&mut alice, &mut bob] {
        h.name_publisher(peer);
        peer.frames.clear();
    }
    disk.borrow_mut().is_slow = true;
    (alice, bob, of_alice, of_bob)
}

#[test]
fn what_another_sends_behind_a_failure_does_not_take_the_place_of_what_failed_with_it() {
    let (mut h, disk) = slow();
    let (mut alice, mut bob, of_alice, of_bob) = two_publishers(&mut h, &disk);
    disk.borrow_mut().is_full = true;
    say(&mut h, &mut alice, of_alice, 0);
    say(&mut h, &mut bob, of_bob, 0);
    // Alice's finds no room; bob's is behind it and not done yet, and he goes on.
    allow(&mut h, &disk, 1);
    disk.borrow_mut().is_full = false;
    say(&mut h, &mut bob, of_bob, 1);
    allow(&mut h, &disk, 100);
    assert_eq!(heard(&mut h, &mut alice), ["publish refused StorageFull 0"]);
    let refused = heard(&mut h, &mut bob);
    assert!(refused.iter().all(|answer| answer.starts_with("publish refused")), "{refused:?}");
    // Both are sent again, and stored, each at its own place.
    say(&mut h, &mut bob, of_bob, 0);
    say(&mut h, &mut bob, of_bob, 1);
    allow(&mut h, &disk, 100);
    assert_eq!(heard(&mut h, &mut bob), ["published 0 at 2", "published 1 at 3"]);
}

#[test]
fn damage_ends_no_cursor_that_was_sent_elsewhere_meanwhile() {
    let (mut h, disk) = slow_with(BrokerConfig { tail_bytes_max: 2000, ..BrokerConfig::default() });
    let mut alice = h.connect("alice");
    let topic = h.create(&mut alice, "home/x", &["bob"], Retention::default());
    h.name_publisher(&mut alice);
    for counter in 0..10 {
        h.send(&mut alice, &[publish(topic, counter, &[7; 500])], &[&[7; 500]]);
    }
    h.read(&mut alice);
    let mut bob = h.connect("bob");
    disk.borrow_mut().is_slow = true;
    disk.borrow_mut().unreadable = 1;
    h.subscribe(&mut bob, "home/x", Start::Earliest);
    let request = bob.request();
    let filter = TopicFilter::parse("home/x").expect("a good filter");
    h.ask(&mut bob, ClientFrame::Unsubscribe { request, filter });
    h.subscribe(&mut bob, "home/x", Start::Latest);
    allow(&mut h, &disk, 100);
    let told = heard(&mut h, &mut bob);
    assert!(!told.iter().any(|frame| frame.starts_with("ended")), "{told:?}");
}

#[test]
fn who_publishes_leaves_and_comes_again_has_no_more_under_way_than_who_stays() {
    let (mut h, disk) = slow();
    let mut alice = h.connect("alice");
    let topic = h.create(&mut alice, "home/x", &["bob"], Retention::default());
    disk.borrow_mut().is_slow = true;
    let queued = |disk: &Rc<RefCell<Disk>>| {
        let disk = disk.borrow();
        let appends = disk.queue.iter().filter(|(_, op)| matches!(op, Op::Append { .. }));
        appends.count()
    };
    let body = vec![7; 1 << 20];
    for round in 0..5 {
        h.name_publisher(&mut alice);
        for counter in round * 8..round * 8 + 8 {
            h.send(&mut alice, &[publish(topic, counter, &body)], &[&body]);
        }
        h.settle();
        h.broker.handle_eof(alice.id, h.now);
        h.settle();
        alice = h.connect("alice");
        h.open(&mut alice, "home/x", Start::RecordsOnly);
    }
    assert!(queued(&disk) <= 9, "{} MiB wait for the disk", queued(&disk));
    // Once they are done she goes on, told of by nothing else.
    allow(&mut h, &disk, 1000);
    disk.borrow_mut().is_slow = false;
    h.read(&mut alice);
    h.read(&mut alice);
    let opened = brief(&std::mem::take(&mut alice.frames));
    assert!(opened.iter().any(|frame| frame.starts_with("topic")), "{opened:?}");
}

#[test]
fn a_window_that_is_sent_again_while_it_fails_is_not_stored_with_a_hole() {
    let (mut h, disk) = slow();
    let (mut alice, _, of_alice, _) = two_publishers(&mut h, &disk);
    disk.borrow_mut().is_full = true;
    for counter in 0..3 {
        say(&mut h, &mut alice, of_alice, counter);
    }
    allow(&mut h, &disk, 1);
    disk.borrow_mut().is_full = false;
    // Her line breaks, and she sends all of it again while the disk still has the rest of the first time.
    h.broker.handle_eof(alice.id, h.now);
    h.settle();
    let mut alice = h.connect("alice");
    h.open(&mut alice, "home/x", Start::RecordsOnly);
    h.name_publisher(&mut alice);
    alice.frames.clear();
    for counter in 0..3 {
        say(&mut h, &mut alice, of_alice, counter);
    }
    allow(&mut h, &disk, 100);
    let refused = heard(&mut h, &mut alice);
    assert_eq!(refused.len(), 3, "each is answered: {refused:?}");
    assert!(refused.iter().all(|answer| answer.starts_with("publish refused")), "{refused:?}");
    for counter in 0..3 {
        say(&mut h, &mut alice, of_alice, counter);
    }
    allow(&mut h, &disk, 100);
    assert_eq!(heard(&mut h, &mut alice), ["published 0 at 2", "published 1 at 3", "published 2 at 4"]);
}

#[test]
fn who_reads_a_long_past_holds_nobody_up() {
    let (mut h, disk) = slow_with(BrokerConfig { tail_bytes_max: 4_000, ..BrokerConfig::default() });
    let (mut alice, _, topic, _) = two_publishers(&mut h, &disk);
    disk.borrow_mut().is_slow = false;
    (0..100).for_each(|counter| say(&mut h, &mut alice, topic, counter));
    let (mut live, mut late) = (h.connect("bob"), h.connect("bob"));
    h.subscribe(&mut live, "home/x", Start::Latest);
    disk.borrow_mut().holds_reads = true;
    assert_eq!(messages(&h.subscribe(&mut late, "home/x", Start::Earliest)), [0; 0]);
    heard(&mut h, &mut alice);
    for counter in 100..110 {
        say(&mut h, &mut alice, topic, counter);
        assert_eq!(heard(&mut h, &mut alice).len(), 1, "the publisher is answered");
        h.read(&mut live);
        assert_eq!(messages(&std::mem::take(&mut live.frames)), [2 + counter], "and the live one has it");
    }
    assert_eq!(disk.borrow().held.len(), 1, "one read for the late one, however much comes");
    disk.borrow_mut().holds_reads = false;
    (0..20).for_each(|_| h.read(&mut late));
    assert_eq!(messages(&late.frames), (2..112).collect::<Vec<u64>>());
}
