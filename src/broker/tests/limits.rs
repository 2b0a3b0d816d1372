//! What one connection may hold, and that the others do not feel it.

use std::time::Duration;

use super::harness::{Harness, brief, messages, publish, publisher};
use crate::base::limits::{INBOX_POOL_BYTES_MAX, TOKEN_BYTES_MAX};
use crate::base::transmit::Transmit;
use crate::broker::BrokerConfig;
use crate::store::Memory;
use crate::wire::frame::ClientFrame;
use crate::wire::values::{Retention, Start};

#[test]
fn a_subscriber_that_never_reads_costs_a_cursor() {
    let mut h = Harness::new();
    let mut alice = h.connect("alice");
    let topic = h.create(&mut alice, "a", &["bob", "carol"], Retention::default());
    let mut stuck = h.connect("bob");
    let mut quick = h.connect("carol");
    h.subscribe(&mut stuck, "a", Start::Latest);
    h.subscribe(&mut quick, "a", Start::Latest);
    h.name_publisher(&mut alice);
    let body = vec![1; 100_000];
    for counter in 0..50 {
        h.send(&mut alice, &[publish(topic, counter, &body)], &[&body]);
        h.read(&mut alice);
        h.read(&mut quick);
    }
    assert_eq!(messages(&quick.frames).len(), 50);
    // One record, once asked for, is no larger than an outbox and a body.
    let mut out = Transmit::new();
    assert!(h.broker.poll_transmit(stuck.id, h.now, &mut out));
    assert!(out.len() < 400_000, "{} bytes at once", out.len());
    assert_eq!(h.broker.processor.lag(stuck.id).1, 1, "it is behind, and that is all");
}

#[test]
fn a_flood_of_pings_is_held_back_by_its_own_answers() {
    let config = BrokerConfig { outbox_bytes_max: 10_000, ..BrokerConfig::default() };
    let mut h = Harness::with(config, Box::new(Memory::new(1 << 20)));
    let mut alice = h.connect("alice");
    let flood = vec![ClientFrame::Ping { number: 1 }; 5_000];
    h.send(&mut alice, &flood, &[]);
    h.settle();
    assert!(!h.broker.wants_read(alice.id), "its socket is left unread");
    let held = h.broker.processor.seat(alice.id).map_or(0, |seat| seat.answers_bytes());
    assert!(held < 20_000, "{held} bytes of answers");
    h.read(&mut alice);
    assert_eq!(alice.frames.len(), 5_000, "and none is lost");
    assert!(h.broker.wants_read(alice.id));
}

#[test]
fn a_window_of_publishes_is_taken_and_no_more() {
    let config = BrokerConfig { unanswered_publishes_max: 8, ..BrokerConfig::default() };
    let mut h = Harness::with(config, Box::new(Memory::with_delay(1 << 20, 1, 2)));
    let mut alice = h.connect("alice");
    let topic = h.create(&mut alice, "a", &[], Retention::default());
    let mut frames = vec![publisher("alice")];
    frames.extend((0..100).map(|counter| publish(topic, counter, b"x")));
    let bodies: Vec<&[u8]> = vec![b"x"; 100];
    h.send(&mut alice, &frames, &bodies);
    for _ in 0..200 {
        let unanswered = h.broker.processor.seat(alice.id).map_or(0, |seat| seat.unanswered);
        assert!(unanswered <= 8, "{unanswered} in the store's hands");
        h.advance(Duration::from_millis(5));
        h.read(&mut alice);
    }
    let offsets: Vec<String> = (0..100).map(|n| format!("published {n} at {}", n + 2)).collect();
    assert_eq!(brief(&alice.frames), offsets);
}

#[test]
fn input_of_all_connections_keeps_to_its_pool() {
    let mut h = Harness::new();
    let body = vec![0; 1 << 20];
    let mut writers = Vec::new();
    let mut alice = h.connect("alice");
    h.create(&mut alice, "a", &[], Retention::default());
    for _ in 0..80 {
        let mut peer = h.connect("alice");
        let opened = h.open(&mut peer, "a", Start::RecordsOnly);
        let crate::wire::frame::BrokerFrame::Topic { topic, .. } = opened[0] else { panic!("{opened:?}") };
        let record = peer.seal(&[publisher("alice"), publish(topic, 0, &body)], &[&body], h.now.wall);
        // All but the last byte, so that every body is under way, as far as the broker reads.
        let mut left = &record[..record.len() - 1];
        loop {
            let (now, later) = left.split_at(left.len().min(h.broker.read_limit(peer.id)));
            if now.is_empty() {
                break;
            }
            h.broker.handle_bytes(peer.id, now, h.now);
            h.settle();
            left = later;
        }
        writers.push((peer, record));
        assert!(h.broker.pooled <= INBOX_POOL_BYTES_MAX + 2 * TOKEN_BYTES_MAX, "{}", h.broker.pooled);
    }
    let waiting = writers.iter().filter(|(peer, _)| !h.broker.wants_read(peer.id)).count();
    assert!(waiting > 0, "some wait for room");
    assert_eq!(brief(&h.ask(&mut alice, ClientFrame::Ping { number: 1 })), ["pong"], "others go on");
    // Those that held the room go after their time, then those that got it from them.
    for _ in 0..2 {
        h.advance(Duration::from_secs(31));
        h.settle();
        for (peer, _) in &mut writers {
            h.read(peer);
        }
    }
    assert_eq!(h.broker.pooled, 0, "what was never finished is given back");
}

#[test]
fn a_topic_budget_is_kept() {
    let config = BrokerConfig { topics_per_client_max: 2, ..BrokerConfig::default() };
    let mut h = Harness::with(config, Box::new(Memory::new(1 << 20)));
    let mut alice = h.connect("alice");
    h.create(&mut alice, "a", &[], Retention::default());
    h.create(&mut alice, "b", &[], Retention::default());
    let (frames, _) = h.creation(&mut alice, "c", &[], Retention::default());
    for frame in frames {
        h.send(&mut alice, &[frame], &[]);
    }
    h.advance(Duration::from_millis(20));
    h.read(&mut alice);
    assert_eq!(brief(&alice.frames), ["refused Limit"]);
}

/// Its record's time had passed while it waited, and its timer was due again at once, for ever.
#[test]
fn a_record_that_waits_for_room_beyond_its_time_does_not_hold_the_loop() {
    let mut h = Harness::new();
    let body = vec![0; 1 << 20];
    let mut alice = h.connect("alice");
    h.create(&mut alice, "a", &[], Retention::default());
    let begin = |h: &mut Harness, bytes: usize| {
        let mut peer = h.connect("alice");
        let opened = h.open(&mut peer, "a", Start::RecordsOnly);
        let crate::wire::frame::BrokerFrame::Topic { topic, .. } = opened[0] else { panic!("{opened:?}") };
        let record = peer.seal(&[publisher("alice"), publish(topic, 0, &body)], &[&body], h.now.wall);
        h.broker.handle_bytes(peer.id, &record[..bytes], h.now);
        h.settle();
        (peer, record)
    };
    let (slow, slow_record) = begin(&mut h, 10);
    h.advance(Duration::from_secs(1));
    let writers: Vec<_> = (0..80).map(|_| begin(&mut h, 20_000)).collect();
    h.broker.handle_bytes(slow.id, &slow_record[10..20_000], h.now);
    h.settle();
    assert!(!h.broker.wants_read(slow.id), "it waits for room");
    // Each writer took some of the RSA budget's time to connect.
    h.advance(Duration::from_millis(28_500));
    h.settle();
    assert!(!h.closed.contains(&slow.id), "and is not ended for it");
    drop(writers);
}
