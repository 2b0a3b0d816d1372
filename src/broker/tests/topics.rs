//! Topics, publishes, subscriptions: what a client sees.

use std::time::Duration;

use super::harness::{Harness, brief, messages, publish};
use crate::base::Wall;
use crate::base::ids::{Counter, Epoch, Incarnation, Offset, TopicHandle};
use crate::base::limits::BODY_BYTES_MAX;
use crate::base::names::TopicFilter;
use crate::broker::BrokerConfig;
use crate::crypto::cert::testing::name;
use crate::store::Memory;
use crate::wire::body::Body;
use crate::wire::frame::{BrokerFrame, ClientFrame};
use crate::wire::values::{Retention, Start};

/// A topic of alice's with bob as a member and `count` messages, and both of them.
fn topic_with(
    count: u64,
    retention: Retention,
) -> (Harness, super::harness::Peer, super::harness::Peer, TopicHandle) {
    let mut h = Harness::new();
    let mut alice = h.connect("alice");
    let bob = h.connect("bob");
    let topic = h.create(&mut alice, "home/x", &["bob"], retention);
    h.name_publisher(&mut alice);
    assert_eq!(h.publish(&mut alice, topic, 0..count), (2..2 + count).collect::<Vec<_>>());
    (h, alice, bob, topic)
}

#[test]
fn a_late_subscriber_gets_the_records_with_its_wrap_then_the_past() {
    let (mut h, _alice, mut bob, _) = topic_with(3, Retention::default());
    let frames = h.subscribe(&mut bob, "home/x", Start::Earliest);
    assert_eq!(
        brief(&frames),
        [
            "topic 2..5 None",
            "subscribed 1 0",
            "record 0 wrap 0",
            "record 1 wrap 256",
            "sender",
            "message 2",
            "message 3",
            "message 4",
            "caught up 5"
        ]
    );
    assert_eq!(bob.bodies, [b"body 0", b"body 1", b"body 2"]);
}

#[test]
fn live_messages_follow_the_past_once() {
    let (mut h, mut alice, mut bob, topic) = topic_with(1, Retention::default());
    h.subscribe(&mut bob, "home/+", Start::Latest);
    h.publish(&mut alice, topic, 1..3);
    h.read(&mut bob);
    assert_eq!(messages(&bob.frames), [3, 4]);
    let overlapping = h.subscribe(&mut bob, "#", Start::Earliest);
    assert!(!brief(&overlapping).contains(&"message 2".to_owned()), "a topic is delivered once");
    h.publish(&mut alice, topic, 3..4);
    h.read(&mut bob);
    assert_eq!(messages(&bob.frames), [5]);
}

#[test]
fn every_start_begins_where_it_says() {
    let (mut h, mut alice, _, topic) = topic_with(2, Retention::default());
    h.advance(Duration::from_secs(10));
    let late = h.now.wall;
    h.publish(&mut alice, topic, 2..4);
    let frames = h.open(&mut alice, "home/x", Start::RecordsOnly);
    let BrokerFrame::Topic { incarnation, .. } = frames[0] else { panic!("{frames:?}") };
    let cases = [
        (Start::Earliest, "topic 2..6 None", vec![2, 3, 4, 5]),
        (Start::Latest, "topic 6..6 None", vec![]),
        (Start::Last(0), "topic 6..6 None", vec![]),
        (Start::Last(3), "topic 3..6 None", vec![3, 4, 5]),
        (Start::Last(99), "topic 2..6 None", vec![2, 3, 4, 5]),
        (Start::Since(late), "topic 4..6 None", vec![4, 5]),
        (Start::Since(Wall(0)), "topic 2..6 None", vec![2, 3, 4, 5]),
        (Start::Since(late + Duration::from_secs(1)), "topic 6..6 None", vec![]),
        (Start::Offset(Offset(5)), "topic 5..6 None", vec![5]),
        (Start::Offset(Offset(6)), "topic 6..6 None", vec![]),
        (Start::Offset(Offset(7)), "topic 2..6 BeyondEnd", vec![2, 3, 4, 5]),
        (Start::Resume(Offset(4), incarnation), "topic 4..6 None", vec![4, 5]),
        (
            Start::Resume(Offset(4), Incarnation(incarnation.0 ^ 1)),
            "topic 2..6 OtherIncarnation",
            vec![2, 3, 4, 5],
        ),
    ];
    for (start, announced, expected) in cases {
        let mut reader = h.connect("bob");
        let frames = h.subscribe(&mut reader, "home/x", start);
        let told = brief(&frames);
        assert_eq!(told[0], announced, "{start:?}");
        assert_eq!(told.last().map(String::as_str), Some("caught up 6"), "{start:?}");
        assert_eq!(messages(&frames), expected, "{start:?}");
        let records = told.iter().filter(|line| line.starts_with("record")).count();
        assert_eq!(records, 2, "records come whatever the start: {start:?}");
    }
}

#[test]
fn retention_leaves_one_gap_and_keeps_the_records() {
    let keep_three = Retention { count: 3, bytes: 0, age_ms: 0 };
    let (mut h, mut alice, mut bob, topic) = topic_with(2, keep_three);
    h.subscribe(&mut bob, "home/x", Start::Earliest);
    let mut late = h.connect("bob");
    let frames = h.subscribe(&mut late, "home/x", Start::Latest);
    assert!(messages(&frames).is_empty());
    // Nobody reads while ten messages pass.
    for counter in 2..12 {
        h.send(&mut alice, &[publish(topic, counter, b"x")], &[b"x"]);
        h.drain(alice.id);
    }
    h.read(&mut bob);
    assert_eq!(brief(&bob.frames), ["gap 4..11", "message 11", "message 12", "message 13"]);
    let mut newcomer = h.connect("bob");
    let frames = h.subscribe(&mut newcomer, "home/x", Start::Earliest);
    assert_eq!(brief(&frames)[0], "topic 11..14 None");
    assert!(!brief(&frames).iter().any(|line| line.starts_with("gap")), "the earliest is no gap");
    let mut picky = h.connect("bob");
    let frames = h.subscribe(&mut picky, "home/x", Start::Offset(Offset(5)));
    assert!(brief(&frames).contains(&"gap 5..11".to_owned()), "{:?}", brief(&frames));
    assert_eq!(messages(&frames), [11, 12, 13]);
}

#[test]
fn retention_by_age_needs_no_publish() {
    let (mut h, _, _, _) = topic_with(3, Retention { count: 0, bytes: 0, age_ms: 5_000 });
    h.advance(Duration::from_millis(4_000));
    h.settle();
    let mut reader = h.connect("bob");
    let frames = h.subscribe(&mut reader, "home/x", Start::Earliest);
    assert_eq!(messages(&frames), [2, 3, 4]);
    h.advance(Duration::from_millis(1_500));
    h.settle();
    let mut reader = h.connect("bob");
    let frames = h.subscribe(&mut reader, "home/x", Start::Earliest);
    assert!(messages(&frames).is_empty());
}

#[test]
fn a_repeated_publish_gets_its_offset_and_is_stored_once() {
    let (mut h, mut alice, mut bob, topic) = topic_with(3, Retention::default());
    assert_eq!(h.publish(&mut alice, topic, 1..3), [3, 4]);
    h.broker.handle_eof(alice.id, h.now);
    let mut again = h.connect("alice");
    let frames = h.open(&mut again, "home/x", Start::RecordsOnly);
    let BrokerFrame::Topic { topic, .. } = frames[0] else { panic!("{frames:?}") };
    h.name_publisher(&mut again);
    assert_eq!(h.publish(&mut again, topic, 2..4), [4, 5]);
    let frames = h.subscribe(&mut bob, "home/x", Start::Earliest);
    assert_eq!(messages(&frames), [2, 3, 4, 5]);
}

#[test]
fn anothers_equal_publisher_id_is_another() {
    let (mut h, _alice, mut bob, _) = topic_with(3, Retention::default());
    let frames = h.open(&mut bob, "home/x", Start::RecordsOnly);
    let BrokerFrame::Topic { topic, .. } = frames[0] else { panic!("{frames:?}") };
    h.name_publisher(&mut bob);
    assert_eq!(h.publish(&mut bob, topic, 0..1), [5]);
}

#[test]
fn publishes_are_refused_with_a_code_and_its_detail() {
    let (mut h, mut alice, _, topic) = topic_with(1, Retention::default());
    let mut refused = |h: &mut Harness, frame: ClientFrame, body: &[u8]| {
        h.send(&mut alice, &[frame], &[body]);
        h.read(&mut alice);
        brief(&std::mem::take(&mut alice.frames)).join(" ")
    };
    assert_eq!(refused(&mut h, publish(topic, 2, b"x"), b"x"), "publish refused CounterAhead 1");
    assert_eq!(refused(&mut h, publish(TopicHandle(9), 1, b"x"), b"x"), "publish refused UnknownHandle 0");
    let mut other_epoch = publish(topic, 1, b"x");
    if let ClientFrame::Publish { epoch, .. } = &mut other_epoch {
        *epoch = Epoch(1);
    }
    assert_eq!(refused(&mut h, other_epoch, b"x"), "publish refused EpochChanged 0");
    let mut other_slot = publish(topic, 1, b"x");
    if let ClientFrame::Publish { slot, .. } = &mut other_slot {
        *slot = 3;
    }
    assert_eq!(refused(&mut h, other_slot, b"x"), "publish refused UnknownHandle 0");
    assert_eq!(
        refused(&mut h, publish(topic, 1, b"x"), b"x"),
        "published 1 at 3",
        "what was refused is used again"
    );
}

#[test]
fn the_largest_body_passes_and_an_empty_one_too() {
    let (mut h, mut alice, mut bob, topic) = topic_with(0, Retention::default());
    let large = vec![7; BODY_BYTES_MAX];
    h.send(&mut alice, &[publish(topic, 0, &large), publish(topic, 1, b"")], &[&large, b""]);
    let inline = ClientFrame::Publish {
        slot: 0,
        topic,
        epoch: Epoch(0),
        counter: Counter(2),
        body: Body::Inline(b"inside".to_vec()),
    };
    h.send(&mut alice, &[inline], &[]);
    h.read(&mut alice);
    assert_eq!(brief(&alice.frames), ["published 0 at 2", "published 1 at 3", "published 2 at 4"]);
    h.subscribe(&mut bob, "home/x", Start::Earliest);
    assert_eq!(bob.bodies.iter().map(Vec::len).collect::<Vec<_>>(), [BODY_BYTES_MAX, 0, 6]);
}

#[test]
fn a_full_store_refuses_and_never_makes_room() {
    let mut h = Harness::with(BrokerConfig::default(), Box::new(Memory::new(40_000)));
    let mut alice = h.connect("alice");
    let topic = h.create(&mut alice, "home/x", &[], Retention::default());
    let body = vec![1; 10_000];
    h.name_publisher(&mut alice);
    for counter in 0..6 {
        h.send(&mut alice, &[publish(topic, counter, &body)], &[&body]);
    }
    h.read(&mut alice);
    let told = brief(&alice.frames);
    assert!(told.contains(&"publish refused StorageFull 0".to_owned()), "{told:?}");
    let stored = told.iter().filter(|line| line.starts_with("published")).count() as u64;
    alice.frames.clear();
    let frames = h.subscribe(&mut alice, "home/x", Start::Earliest);
    assert_eq!(messages(&frames).len() as u64, stored, "what was answered is there");
}

#[test]
fn wildcards_cover_topics_to_come_and_count_those_of_others() {
    let (mut h, mut alice, mut bob, _) = topic_with(0, Retention::default());
    h.create(&mut alice, "home/secret", &[], Retention::default());
    let frames = h.subscribe(&mut bob, "home/#", Start::Earliest);
    assert!(brief(&frames).contains(&"subscribed 1 1".to_owned()), "{:?}", brief(&frames));
    let later = h.create(&mut alice, "home/later", &["bob"], Retention::default());
    h.create(&mut alice, "lab/later", &["bob"], Retention::default());
    h.publish(&mut alice, later, 0..2);
    h.read(&mut bob);
    assert_eq!(messages(&bob.frames), [2, 3]);
    let topics = brief(&bob.frames).iter().filter(|line| line.starts_with("topic")).count();
    assert_eq!(topics, 1, "only the topic that matches is announced");
}

#[test]
fn unsubscribe_leaves_what_another_filter_holds() {
    let (mut h, mut alice, mut bob, topic) = topic_with(0, Retention::default());
    h.subscribe(&mut bob, "home/x", Start::Latest);
    h.subscribe(&mut bob, "home/#", Start::Latest);
    let unsubscribe = |peer: &mut super::harness::Peer, filter: &str| ClientFrame::Unsubscribe {
        request: peer.request(),
        filter: TopicFilter::parse(filter).expect("a good filter"),
    };
    let first = unsubscribe(&mut bob, "home/x");
    assert_eq!(brief(&h.ask(&mut bob, first)), ["done"]);
    h.publish(&mut alice, topic, 0..1);
    h.read(&mut bob);
    assert_eq!(messages(&bob.frames), [2]);
    let second = unsubscribe(&mut bob, "home/#");
    h.ask(&mut bob, second);
    h.publish(&mut alice, topic, 1..2);
    h.read(&mut bob);
    assert!(messages(&bob.frames).is_empty());
    let frames = h.subscribe(&mut bob, "home/x", Start::Offset(Offset(3)));
    assert_eq!(messages(&frames), [3], "and it can be taken up again");
    assert!(!brief(&frames).iter().any(|line| line.starts_with("record")), "records are not repeated");
}

#[test]
fn strangers_are_refused_and_names_are_taken_once() {
    let (mut h, mut alice, _, _) = topic_with(0, Retention::default());
    let mut carol = h.connect("carol");
    assert_eq!(brief(&h.open(&mut carol, "home/x", Start::Earliest)), ["refused NotMember"]);
    assert_eq!(brief(&h.open(&mut carol, "home/none", Start::Earliest)), ["refused NoSuchTopic"]);
    let (frames, _) = h.creation(&mut alice, "home/x", &[], Retention::default());
    for frame in frames {
        h.send(&mut alice, &[frame], &[]);
    }
    h.advance(Duration::from_millis(20));
    h.read(&mut alice);
    assert_eq!(brief(&alice.frames), ["refused Exists"]);
}

#[test]
fn a_creation_is_held_to_its_records_and_wraps() {
    let mut h = Harness::new();
    let mut alice = h.connect("alice");
    type Mutate = fn(&mut Vec<ClientFrame>);
    let mutants: [(&str, Mutate); 5] = [
        ("BadWraps", |frames| drop(frames.remove(0))),
        ("BadWraps", |frames| {
            if let ClientFrame::Wraps { wraps } = &mut frames[0] {
                wraps[0][3] ^= 1;
            }
        }),
        ("BadRecord", |frames| {
            if let ClientFrame::Create { genesis, .. } = &mut frames[1] {
                *genesis.last_mut().expect("a record has bytes") ^= 1;
            }
        }),
        ("BadRecord", |frames| {
            if let ClientFrame::Create { delta, .. } = &mut frames[1] {
                *delta.last_mut().expect("a record has bytes") ^= 1;
            }
        }),
        ("BadRecord", |frames| {
            if let ClientFrame::Create { name, .. } = &mut frames[1] {
                *name = crate::base::names::TopicName::parse("another").expect("a good name");
            }
        }),
    ];
    for (expected, mutate) in mutants {
        let (mut frames, _) = h.creation(&mut alice, "home/y", &[], Retention::default());
        mutate(&mut frames);
        for frame in frames {
            h.send(&mut alice, &[frame], &[]);
        }
        h.advance(Duration::from_millis(30));
        h.read(&mut alice);
        assert_eq!(brief(&std::mem::take(&mut alice.frames)), [format!("refused {expected}")]);
    }
    let (frames, _) = h.creation_as(&mut alice, name("bob"), "home/y", &[], Retention::default());
    for frame in frames {
        h.send(&mut alice, &[frame], &[]);
    }
    h.advance(Duration::from_millis(30));
    h.read(&mut alice);
    assert_eq!(brief(&std::mem::take(&mut alice.frames)), ["refused BadRecord"], "her name is alice");
    let (frames, _) = h.creation(&mut alice, "home/y", &["bob"], Retention::default());
    for frame in frames {
        h.send(&mut alice, &[frame], &[]);
    }
    h.advance(Duration::from_millis(30));
    h.read(&mut alice);
    assert_eq!(brief(&alice.frames), ["refused BadRecord"], "bob is not known here");
}

#[test]
fn what_left_the_tail_is_read_from_the_store() {
    let config = BrokerConfig { tail_bytes_max: 3_000, ..BrokerConfig::default() };
    for seed in 0..20 {
        let store = Memory::with_delay(64 * 1024 * 1024, seed, 3);
        let mut h = Harness::with(config.clone(), Box::new(store));
        let mut alice = h.connect("alice");
        let topic = h.create(&mut alice, "home/x", &["bob"], Retention::default());
        h.name_publisher(&mut alice);
        let body = vec![9; 500];
        for counter in 0..50 {
            h.send(&mut alice, &[publish(topic, counter, &body)], &[&body]);
            h.advance(Duration::from_millis(5));
            h.settle();
        }
        for _ in 0..20 {
            h.advance(Duration::from_millis(5));
            h.read(&mut alice);
        }
        let mut bob = h.connect("bob");
        let mut frames = h.subscribe(&mut bob, "home/x", Start::Earliest);
        for _ in 0..50 {
            h.advance(Duration::from_millis(5));
            h.read(&mut bob);
            frames.append(&mut bob.frames);
        }
        assert_eq!(messages(&frames), (2..52).collect::<Vec<_>>(), "seed {seed}");
        assert_eq!(brief(&frames).last().map(String::as_str), Some("caught up 52"));
    }
}

#[test]
fn what_is_trimmed_while_it_is_read_is_told_as_a_gap() {
    let config = BrokerConfig { tail_bytes_max: 0, ..BrokerConfig::default() };
    let retention = Retention { count: 2, ..Retention::default() };
    for seed in 0..40 {
        let store = Memory::with_delay(64 * 1024 * 1024, seed, 3);
        let mut h = Harness::with(config.clone(), Box::new(store));
        let (mut alice, mut bob) = (h.connect("alice"), h.connect("bob"));
        let topic = h.create(&mut alice, "home/x", &["bob"], retention);
        h.name_publisher(&mut alice);
        let mut frames = h.subscribe(&mut bob, "home/x", Start::Earliest);
        for counter in 0..30 {
            h.send(&mut alice, &[publish(topic, counter, b"body")], &[b"body"]);
            h.advance(Duration::from_millis(1));
            h.broker.turn(h.now);
            if counter % 3 == seed % 3 {
                h.read(&mut bob);
            }
        }
        for _ in 0..20 {
            h.advance(Duration::from_millis(5));
            h.read(&mut bob);
        }
        frames.append(&mut bob.frames);
        let mut next = 2;
        for frame in &frames {
            match frame {
                BrokerFrame::Message { offset, .. } => {
                    assert_eq!(offset.0, next, "seed {seed}: {:?}", brief(&frames));
                    next += 1;
                }
                BrokerFrame::Gap { from, to, .. } => {
                    assert_eq!(from.0, next, "seed {seed}: {:?}", brief(&frames));
                    next = to.0;
                }
                _ => {}
            }
        }
        assert_eq!(next, 32, "seed {seed}: {:?}", brief(&frames));
    }
}

/// Bob at a broker whose store takes its time, and ten messages at 2 to 11.
fn slow_store(seed: u64) -> (Harness, super::harness::Peer) {
    let store = Memory::with_delay(64 * 1024 * 1024, seed, 3);
    let mut h = Harness::with(BrokerConfig::default(), Box::new(store));
    let (mut alice, bob) = (h.connect("alice"), h.connect("bob"));
    let topic = h.create(&mut alice, "home/x", &["bob"], Retention::default());
    h.name_publisher(&mut alice);
    for counter in 0..10 {
        h.send(&mut alice, &[publish(topic, counter, b"body")], &[b"body"]);
    }
    read_slowly(&mut h, &mut alice);
    (h, bob)
}

fn read_slowly(h: &mut Harness, peer: &mut super::harness::Peer) {
    for _ in 0..20 {
        h.advance(Duration::from_millis(5));
        h.read(peer);
    }
}

#[test]
fn filters_that_meet_while_the_store_looks_begin_at_one_place() {
    for seed in 0..10 {
        let (mut h, mut bob) = slow_store(seed);
        let filter = |text| TopicFilter::parse(text).expect("a good filter");
        let (one, two) = (bob.request(), bob.request());
        let frames = [
            ClientFrame::Subscribe { request: one, filter: filter("home/x"), start: Start::Last(3) },
            ClientFrame::Subscribe { request: two, filter: filter("#"), start: Start::Earliest },
        ];
        h.send(&mut bob, &frames, &[]);
        read_slowly(&mut h, &mut bob);
        let got = brief(&bob.frames);
        let begin = ["topic 9..12 None", "topic 9..12 None", "subscribed 1 0", "subscribed 1 0"];
        assert_eq!(got[..4], begin, "seed {seed}");
        assert_eq!(messages(&bob.frames), [9, 10, 11], "seed {seed}");
    }
}

#[test]
fn an_unsubscribe_while_the_store_looks_is_answered_behind_the_announcement() {
    for seed in 0..10 {
        let (mut h, mut bob) = slow_store(seed);
        let filter = || TopicFilter::parse("home/x").expect("a good filter");
        let [first, end, again] = [bob.request(), bob.request(), bob.request()];
        let frames = [
            ClientFrame::Subscribe { request: first, filter: filter(), start: Start::Last(8) },
            ClientFrame::Unsubscribe { request: end, filter: filter() },
            ClientFrame::Subscribe { request: again, filter: filter(), start: Start::Last(2) },
        ];
        h.send(&mut bob, &frames, &[]);
        read_slowly(&mut h, &mut bob);
        let got = brief(&bob.frames);
        let begin = ["topic 12..12 None", "subscribed 1 0", "done", "topic 10..12 None", "subscribed 1 0"];
        assert_eq!(got[..5], begin, "seed {seed}");
        assert_eq!(messages(&bob.frames), [10, 11], "seed {seed}: only where the last one asked");
    }
}

#[test]
fn topics_are_listed_page_by_page() {
    let mut h = Harness::new();
    let mut alice = h.connect("alice");
    for n in 0..30 {
        h.create(&mut alice, &format!("t/{n:03}{}", "x".repeat(200)), &[], Retention::default());
    }
    let mut carol = h.connect("carol");
    let mut after = String::new();
    let mut seen = Vec::new();
    loop {
        let request = carol.request();
        let filter = TopicFilter::parse("t/#").expect("a good filter");
        let frames = h.ask(&mut carol, ClientFrame::ListTopics { request, after, filter });
        let [BrokerFrame::Topics { more, topics, .. }] = &frames[..] else { panic!("{frames:?}") };
        assert!(topics.iter().all(|t| t.role.is_none() && t.owner.as_str() == "alice" && t.members == 1));
        seen.extend(topics.iter().map(|topic| topic.name.to_string()));
        after = seen.last().cloned().unwrap_or_default();
        if !more {
            break;
        }
    }
    assert_eq!(seen.len(), 30);
    assert!(seen.is_sorted());
}
