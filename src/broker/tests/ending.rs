//! How a broker ends whose store takes its time: what was taken is answered first.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use super::harness::{Harness, brief, publish};
use crate::base::{Mono, Now};
use crate::broker::BrokerConfig;
use crate::store::{Completion, Memory, Op, Store, Ticket};
use crate::wire::frame::ClientFrame;
use crate::wire::values::Retention;

/// An engine whose completions come only while its gate is open, as those of a disk that is slow.
struct Gated {
    inner: Memory,
    is_open: Rc<Cell<bool>>,
}

impl Store for Gated {
    fn submit(&mut self, op: Op) -> Ticket {
        self.inner.submit(op)
    }

    fn poll(&mut self) -> Option<Completion> {
        self.is_open.get().then(|| self.inner.poll()).flatten()
    }

    fn flush(&mut self, now: Now) {
        self.inner.flush(now);
    }

    /// It wakes its driver by itself.
    fn poll_timeout(&self) -> Option<Mono> {
        None
    }

    fn wants_io(&self) -> bool {
        self.inner.wants_io()
    }

    fn is_durable(&self) -> bool {
        true
    }

    fn used_bytes(&self) -> u64 {
        self.inner.used_bytes()
    }
}

fn gated() -> (Harness, Rc<Cell<bool>>) {
    let is_open = Rc::new(Cell::new(true));
    let store = Gated { inner: Memory::new(64 * 1024 * 1024), is_open: Rc::clone(&is_open) };
    (Harness::with(BrokerConfig::default(), Box::new(store)), is_open)
}

#[test]
fn what_the_store_has_is_answered_before_the_goodbye() {
    let (mut h, gate) = gated();
    let (mut alice, mut bob) = (h.connect("alice"), h.connect("bob"));
    let topic = h.create(&mut alice, "a", &[], Retention::default());
    h.name_publisher(&mut alice);
    gate.set(false);
    h.send(&mut alice, &[publish(topic, 0, b"x"), publish(topic, 1, b"y")], &[b"x", b"y"]);
    h.read(&mut alice);
    assert_eq!(brief(&alice.frames), [""; 0], "the store has not done it yet");

    h.broker.shutdown(h.now);
    h.read(&mut bob);
    assert_eq!(brief(&bob.frames), ["close ShuttingDown"], "who waits for nothing goes at once");
    h.read(&mut alice);
    assert_eq!(brief(&alice.frames), [""; 0]);
    assert!(!h.broker.is_drained());

    // What comes now is not taken any more.
    h.send(&mut alice, &[ClientFrame::Ping { number: 7 }, publish(topic, 2, b"z")], &[b"z"]);
    gate.set(true);
    h.read(&mut alice);
    assert_eq!(brief(&alice.frames), ["published 0 at 2", "published 1 at 3", "close ShuttingDown"]);
    assert!(h.broker.is_drained());
}

#[test]
fn a_store_that_never_answers_is_not_waited_for_without_end() {
    let (mut h, gate) = gated();
    let mut alice = h.connect("alice");
    let topic = h.create(&mut alice, "a", &[], Retention::default());
    h.name_publisher(&mut alice);
    gate.set(false);
    h.send(&mut alice, &[publish(topic, 0, b"x")], &[b"x"]);
    h.settle();
    h.broker.shutdown(h.now);
    h.settle();
    assert!(!h.broker.is_drained());
    h.advance(Duration::from_secs(5));
    h.settle();
    assert!(h.broker.is_drained());
}
