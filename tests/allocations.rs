//! The broker's core allocates what it keeps, and nothing else: counted with an allocator of its own.

#[path = "../benches/work/stage.rs"]
mod stage;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use sealmq::base::transmit::Transmit;
use stage::{KEPT, Stage};

/// The system's, with each thread's calls counted, and the bytes that it holds.
struct Counting;

thread_local! {
    static CALLS: Cell<u64> = const { Cell::new(0) };
    static HELD: Cell<i64> = const { Cell::new(0) };
}

// SAFETY: everything is passed on to the system's allocator as it came; counting touches no memory but a
// thread's own cell, which has neither a destructor nor an initialiser that allocates.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        CALLS.set(CALLS.get() + 1);
        HELD.set(HELD.get() + layout.size() as i64);
        // SAFETY: as our caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        HELD.set(HELD.get() - layout.size() as i64);
        // SAFETY: as our caller promises.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        CALLS.set(CALLS.get() + 1);
        HELD.set(HELD.get() + size as i64 - layout.size() as i64);
        // SAFETY: as our caller promises.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Bytes of a body: what a message of 64 B comes to.
const BODY: usize = 281;
/// Until all that grows has grown.
const WARM_UP: usize = 3 * KEPT as usize;
const MESSAGES: usize = 1024;

/// Allocations of the broker for each message.
fn allocations(subscribers: usize, batch: usize) -> f64 {
    let mut stage = Stage::new();
    let (mut author, _readers) = stage.author(subscribers);
    let mut out = Transmit::new();
    let mut calls = 0;
    for number in 0..(WARM_UP + MESSAGES) / batch {
        let record = author.record(&mut stage, batch, BODY);
        stage.advance(1);
        let before = CALLS.get();
        stage.serve(&[(author.peer.id, &record)], &mut out, &mut |_, _| {});
        if number >= WARM_UP / batch {
            calls += CALLS.get() - before;
        }
    }
    calls as f64 / MESSAGES as f64
}

/// Bytes that a broker holds with so many idle sessions of one client.
fn held(sessions: usize) -> i64 {
    let mut stage = Stage::new();
    let peers = stage.connect("alice", sessions);
    let before = HELD.get();
    drop(stage);
    let held = before - HELD.get();
    drop(peers);
    held
}

/// Without its certificate, which all sessions of a client and the table of known clients share.
#[test]
fn an_idle_session_holds_little() {
    // Powers of two, so that tables are as full at one as at the other.
    let each = (held(64) - held(32)) / 32;
    println!("{each} bytes");
    assert!(each <= 2400, "{each} bytes for an idle session");
}

/// A body and its entry in the log are what is kept. A record costs a few more, however many it holds.
#[test]
fn a_message_costs_what_is_kept_of_it() {
    let many = allocations(1, 64);
    assert!(many <= 2.2, "{many} allocations for each of 64 messages in a record");
    let single = allocations(1, 1);
    assert!(single <= 8.0, "{single} allocations for a message in a record of its own");
}

#[test]
fn a_delivery_costs_none() {
    let (one, ten) = (allocations(1, 64), allocations(11, 64));
    assert!((ten - one) / 10.0 < 0.02, "{one} allocations with one subscriber, {ten} with eleven");
}
