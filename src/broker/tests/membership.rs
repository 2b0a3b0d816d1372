//! What members, owners and strangers may do, and that a change of that takes hold at once.

use super::harness::{Harness, Peer, brief, delegation, messages, publish, publisher};
use crate::base::ids::{Epoch, Fingerprint, PublisherId, TopicHandle};
use crate::base::names::{TopicFilter, TopicName};
use crate::broker::BrokerConfig;
use crate::chain::{Chain, Role};
use crate::crypto::cert::testing::{Seeded, key, name};
use crate::crypto::digest::sha256;
use crate::crypto::sign::{Context, sign_pss};
use crate::store::Memory;
use crate::wire::frame::{BrokerFrame, ClientFrame};
use crate::wire::values::{Retention, Start};

fn topic_name(text: &str) -> TopicName {
    TopicName::parse(text).expect("a good topic")
}

pub fn fingerprint(who: &str) -> Fingerprint {
    key(who).public().fingerprint()
}

/// Alice's topic with bob in it, both connected, bob subscribed and with a publisher id.
pub fn alice_and_bob() -> (Harness, Peer, Peer, TopicHandle, TopicHandle, Chain) {
    let mut h = Harness::new();
    let (mut alice, mut bob) = (h.connect("alice"), h.connect("bob"));
    let (topic, chain) = h.create_chain(&mut alice, "home/x", &["bob"], Retention::default());
    h.name_publisher(&mut alice);
    h.name_publisher(&mut bob);
    let frames = h.subscribe(&mut bob, "home/#", Start::Earliest);
    let of_bob = handle(&frames);
    (h, alice, bob, topic, of_bob, chain)
}

pub fn handle(frames: &[BrokerFrame]) -> TopicHandle {
    match frames.first() {
        Some(BrokerFrame::Topic { topic, .. }) => *topic,
        _ => panic!("no topic but {frames:?}"),
    }
}

fn in_epoch(mut frame: ClientFrame, number: u32) -> ClientFrame {
    if let ClientFrame::Publish { epoch, .. } = &mut frame {
        *epoch = Epoch(number);
    }
    frame
}

fn try_publish(h: &mut Harness, peer: &mut Peer, frame: ClientFrame) -> String {
    h.send(peer, &[frame], &[b"x"]);
    h.read(peer);
    brief(&std::mem::take(&mut peer.frames)).join(" ")
}

fn retention_of(peer: &mut Peer, topic: &str, count: u64) -> ClientFrame {
    let retention = Retention { count, bytes: 0, age_ms: 0 };
    ClientFrame::SetRetention { request: peer.request(), name: topic_name(topic), retention }
}

fn deletion_of(peer: &mut Peer, topic: &str) -> ClientFrame {
    ClientFrame::Delete { request: peer.request(), name: topic_name(topic) }
}

#[test]
fn a_stranger_who_knows_name_and_id_gets_nothing() {
    let (mut h, mut alice, _bob, topic, _, chain) = alice_and_bob();
    let mut carol = h.connect("carol");
    h.name_publisher(&mut carol);
    h.join(&mut carol, "home/x", chain.topic());
    assert_eq!(brief(&h.subscribe(&mut carol, "home/x", Start::Earliest)), ["subscribed 0 1"]);
    for guess in 0..4 {
        let refused = try_publish(&mut h, &mut carol, publish(TopicHandle(guess), 0, b"x"));
        assert_eq!(refused, "publish refused UnknownHandle 0");
        let append =
            ClientFrame::Append { request: carol.request(), topic: TopicHandle(guess), record: vec![1; 200] };
        assert_eq!(brief(&h.ask(&mut carol, append)), ["refused UnknownHandle"]);
    }
    let delete = deletion_of(&mut carol, "home/x");
    assert_eq!(brief(&h.ask(&mut carol, delete)), ["refused NotAllowed"]);
    let retain = retention_of(&mut carol, "home/x", 1);
    assert_eq!(brief(&h.ask(&mut carol, retain)), ["refused NotAllowed"]);
    let list = ClientFrame::ListRequests {
        request: carol.request(),
        follow: true,
        filter: TopicFilter::parse("#").expect("a good filter"),
        after: String::new(),
        after_client: Fingerprint([0; 32]),
    };
    let frames = h.ask(&mut carol, list);
    assert!(
        matches!(&frames[..], [BrokerFrame::Requests { more: false, requests, .. }] if requests.is_empty())
    );
    let entry = h.listed(&mut carol, "home/x");
    assert_eq!((entry.role, entry.requests, entry.rotate_due), (None, 0, false));
    // What happens in the topic does not reach it, nor what others ask.
    h.publish(&mut alice, topic, 0..3);
    h.read(&mut carol);
    assert_eq!(brief(&carol.frames), [""; 0]);
}

#[test]
fn a_removed_member_gets_nothing_from_behind_its_removal() {
    let (mut h, mut alice, mut bob, topic, of_bob, mut chain) = alice_and_bob();
    let mut again = h.connect("bob");
    h.open(&mut again, "home/x", Start::Earliest);
    h.publish(&mut alice, topic, 0..2);
    assert_eq!(
        h.amend(&mut alice, topic, &mut chain, |b| {
            b.remove(fingerprint("bob"));
        }),
        ["done"]
    );
    for frame in [publish(topic, 2, b"x"), in_epoch(publish(topic, 2, b"x"), 1)] {
        try_publish(&mut h, &mut alice, frame);
    }
    for peer in [&mut bob, &mut again] {
        h.read(peer);
        let told = brief(&peer.frames);
        assert_eq!(told.last().map(String::as_str), Some("ended NotMember"), "{told:?}");
        assert!(messages(&peer.frames).iter().all(|offset| *offset < 4), "{told:?}");
        assert!(!told.iter().any(|line| line.starts_with("record 4")), "{told:?}");
        peer.frames.clear();
    }
    let refused = try_publish(&mut h, &mut bob, in_epoch(publish(of_bob, 0, b"x"), 1));
    assert_eq!(refused, "publish refused UnknownHandle 0");
    assert_eq!(brief(&h.open(&mut bob, "home/x", Start::Earliest)), ["refused NotMember"]);
    let (_, frames) = h.join(&mut bob, "home/x", chain.topic());
    assert!(matches!(&frames[..], [BrokerFrame::Refused { text, .. }] if text.contains("removed")));
    assert_eq!(brief(&frames), ["refused Denied"]);
    // Let in again by hand, it hears of the topic by its filter, under a handle of its own.
    let told = h.amend(&mut alice, topic, &mut chain, |b| {
        b.add(fingerprint("bob"), name("bob"), Role::Member);
    });
    assert_eq!(told[0], "done");
    h.read(&mut bob);
    assert_ne!(handle(&bob.frames), of_bob);
    assert_eq!(messages(&bob.frames), [2, 3, 5]);
}

#[test]
fn a_removal_while_the_store_reads_ends_the_reading() {
    for seed in 0..20 {
        let config = BrokerConfig { tail_bytes_max: 0, ..BrokerConfig::default() };
        let mut h = Harness::with(config, Box::new(Memory::with_delay(64 << 20, seed, 3)));
        let (mut alice, mut bob) = (h.connect("alice"), h.connect("bob"));
        let (topic, mut chain) = h.create_chain(&mut alice, "home/x", &["bob"], Retention::default());
        h.name_publisher(&mut alice);
        for counter in 0..20 {
            h.send(&mut alice, &[publish(topic, counter, b"x")], &[b"x"]);
        }
        for _ in 0..30 {
            h.advance(std::time::Duration::from_millis(2));
            h.read(&mut alice);
        }
        alice.frames.clear();
        h.subscribe(&mut bob, "home/x", Start::Earliest);
        let told = h.amend(&mut alice, topic, &mut chain, |b| {
            b.remove(fingerprint("bob"));
        });
        assert_eq!(told, ["done"], "seed {seed}");
        h.read(&mut bob);
        let told = brief(&bob.frames);
        assert_eq!(told.last().map(String::as_str), Some("ended NotMember"), "seed {seed}: {told:?}");
        assert!(!told.contains(&"record 22 wrap 0".to_owned()), "seed {seed}: {told:?}");
    }
}

#[test]
fn a_change_of_role_takes_hold_at_once() {
    let (mut h, mut alice, mut bob, topic, of_bob, mut chain) = alice_and_bob();
    h.read(&mut bob);
    bob.frames.clear();
    let bobs = fingerprint("bob");
    let policy = |h: &mut Harness, bob: &mut Peer, chain: &mut Chain| {
        let told = h.amend(bob, of_bob, chain, |b| {
            b.deny(fingerprint("carol"), "");
        });
        told.into_iter().filter(|line| !line.starts_with("record")).collect::<Vec<_>>()
    };
    h.amend(&mut alice, topic, &mut chain, |b| {
        b.change(bobs, Role::Admin);
    });
    assert_eq!(policy(&mut h, &mut bob, &mut chain), ["done"], "an admin may");
    h.amend(&mut alice, topic, &mut chain, |b| {
        b.change(bobs, Role::Recovery);
    });
    h.read(&mut bob);
    bob.frames.clear();
    assert_eq!(try_publish(&mut h, &mut bob, publish(of_bob, 0, b"x")), "publish refused NotAllowed 0");
    h.amend(&mut alice, topic, &mut chain, |b| {
        b.change(bobs, Role::Member);
    });
    h.read(&mut bob);
    bob.frames.clear();
    let published = try_publish(&mut h, &mut bob, publish(of_bob, 0, b"x"));
    assert!(published.starts_with("published 0"), "{published}");
    // A well-formed record of one who may not sign: alice's, with bob as its signer.
    let (_, mut record) = h.record(&alice, &chain, |b| {
        b.add(fingerprint("carol"), name("carol"), Role::Member);
    });
    record.truncate(record.len() - 2 - 256);
    record[70..102].copy_from_slice(&bobs.0);
    let signature = sign_pss(&key("bob"), Context::TopicRecord, &sha256(&record), &mut Seeded::new(3));
    record.extend_from_slice(&256_u16.to_be_bytes());
    record.extend_from_slice(&signature.expect("a sound machine"));
    let append = ClientFrame::Append { request: bob.request(), topic: of_bob, record };
    let frames = h.ask(&mut bob, append);
    assert_eq!(brief(&frames), ["refused BadRecord"]);
    assert!(
        matches!(&frames[..], [BrokerFrame::Refused { text, .. }] if text.contains("sign")),
        "{frames:?}"
    );
}

#[test]
fn an_admin_neither_deletes_nor_sets_the_retention() {
    let (mut h, mut alice, mut bob, topic, _, mut chain) = alice_and_bob();
    h.amend(&mut alice, topic, &mut chain, |b| {
        b.change(fingerprint("bob"), Role::Admin);
    });
    h.read(&mut bob);
    bob.frames.clear();
    for frame in [deletion_of(&mut bob, "home/x"), retention_of(&mut bob, "home/x", 1)] {
        let frames = h.ask(&mut bob, frame);
        assert_eq!(brief(&frames), ["refused NotAllowed"]);
        assert!(matches!(&frames[..], [BrokerFrame::Refused { text, .. }] if text.contains("alice")));
    }
    for frame in [deletion_of(&mut alice, "home/none"), retention_of(&mut alice, "home/none", 1)] {
        assert_eq!(brief(&h.ask(&mut alice, frame)), ["refused NoSuchTopic"]);
    }
}

#[test]
fn a_new_retention_is_applied_at_once() {
    let (mut h, mut alice, mut bob, topic, _, _) = alice_and_bob();
    h.publish(&mut alice, topic, 0..10);
    let three = retention_of(&mut alice, "home/x", 3);
    assert_eq!(brief(&h.ask(&mut alice, three)), ["done"]);
    let entry = h.listed(&mut alice, "home/x");
    assert_eq!((entry.retention.count, entry.messages, entry.first.0), (3, 3, 9));
    let age = Retention { count: 0, bytes: 0, age_ms: 5_000 };
    let frame =
        ClientFrame::SetRetention { request: alice.request(), name: topic_name("home/x"), retention: age };
    assert_eq!(brief(&h.ask(&mut alice, frame)), ["done"]);
    assert_eq!(h.listed(&mut alice, "home/x").messages, 3);
    h.advance(std::time::Duration::from_secs(6));
    h.settle();
    assert_eq!(h.listed(&mut alice, "home/x").messages, 0, "age needs no publish");
    h.read(&mut bob);
    let forever = retention_of(&mut alice, "home/x", 0);
    assert_eq!(brief(&h.ask(&mut alice, forever)), ["done"]);
    h.publish(&mut alice, topic, 10..20);
    h.advance(std::time::Duration::from_secs(60));
    h.settle();
    assert_eq!(h.listed(&mut alice, "home/x").messages, 10, "no age holds any more");
}

#[test]
fn a_deleted_topic_is_gone_for_all_and_its_name_free() {
    let config = BrokerConfig { topics_per_client_max: 1, ..BrokerConfig::default() };
    let mut h = Harness::with(config, Box::new(Memory::new(64 << 20)));
    let (mut alice, mut bob, mut carol) = (h.connect("alice"), h.connect("bob"), h.connect("carol"));
    let stored = h.stat(&mut alice, "bytes stored");
    let (topic, chain) = h.create_chain(&mut alice, "home/x", &["bob"], Retention::default());
    h.name_publisher(&mut alice);
    h.publish(&mut alice, topic, 0..5);
    h.subscribe(&mut bob, "home/#", Start::Earliest);
    h.join(&mut carol, "home/x", chain.topic());
    let delete = deletion_of(&mut alice, "home/x");
    let told = brief(&h.ask(&mut alice, delete));
    assert_eq!(told, ["ended Deleted", "done"]);
    h.read(&mut bob);
    assert_eq!(brief(&bob.frames), ["ended Deleted"]);
    bob.frames.clear();
    let gone = ["bytes stored", "publisher ids remembered", "requests to join", "topics"];
    let left = gone.map(|stat| h.stat(&mut alice, stat));
    assert_eq!(left, [stored, 0, 0, 0]);
    assert_eq!(h.stat(&mut alice, "bytes of newest entries in RAM"), 0);
    assert_eq!(try_publish(&mut h, &mut alice, publish(topic, 5, b"x")), "publish refused UnknownHandle 0");
    assert_eq!(brief(&h.open(&mut bob, "home/x", Start::Earliest)), ["refused NoSuchTopic"]);
    assert_eq!(brief(&h.join(&mut carol, "home/x", chain.topic()).1), ["refused NoSuchTopic"]);
    // The name is free at once, and the creator's one topic too; bob's filter brings the new one.
    let again = h.create(&mut alice, "home/x", &["bob"], Retention::default());
    assert_ne!(again, topic, "no handle is used for another topic");
    assert_eq!(brief(&h.open(&mut carol, "home/x", Start::Earliest)), ["refused NotMember"]);
    assert_eq!(h.publish(&mut alice, again, 0..2), [2, 3], "counters begin anew");
    h.read(&mut bob);
    assert_eq!(messages(&bob.frames), [2, 3]);
}

#[test]
fn publishes_under_way_are_answered_before_their_topic_goes() {
    let (mut before, mut behind) = (0, 0);
    for seed in 0..40 {
        let mut h = Harness::with(BrokerConfig::default(), Box::new(Memory::with_delay(64 << 20, seed, 3)));
        let (mut alice, mut bob) = (h.connect("alice"), h.connect("bob"));
        let topic = h.create(&mut alice, "home/x", &["bob"], Retention { count: 2, bytes: 0, age_ms: 0 });
        h.name_publisher(&mut bob);
        let of_bob = handle(&h.open(&mut bob, "home/x", Start::Earliest));
        let publishes: Vec<ClientFrame> = (0..5).map(|counter| publish(of_bob, counter, b"x")).collect();
        h.send(&mut bob, &publishes, &[b"x".as_slice(); 5]);
        h.settle();
        let delete = deletion_of(&mut alice, "home/x");
        h.send(&mut alice, &[delete], &[]);
        h.broker.turn(h.now);
        let repeat = deletion_of(&mut alice, "home/x");
        h.send(&mut bob, &[publish(of_bob, 5, b"x")], &[b"x"]);
        h.send(&mut alice, &[repeat], &[]);
        for _ in 0..20 {
            h.advance(std::time::Duration::from_millis(5));
            h.read(&mut alice);
            h.read(&mut bob);
        }
        let told = brief(&bob.frames);
        let published = told.iter().filter(|line| line.starts_with("published")).count();
        assert_eq!(published, 5, "seed {seed}: {told:?}");
        let refused: Vec<&str> =
            told.iter().map(String::as_str).filter(|line| line.starts_with("publish refused")).collect();
        match refused[..] {
            ["publish refused Deleted 0"] => before += 1,
            ["publish refused UnknownHandle 0"] => behind += 1,
            _ => panic!("seed {seed}: {told:?}"),
        }
        let told = brief(&alice.frames);
        let ends = ["ended Deleted", "done", "refused NoSuchTopic"];
        assert_eq!(told, ends, "seed {seed}");
        assert_eq!(h.stat(&mut alice, "publisher ids remembered"), 0);
        assert_ne!(h.create(&mut alice, "home/x", &[], Retention::default()), topic);
    }
    assert!(before > 0, "{before} came before the store was done, {behind} behind it");
}

#[test]
fn a_topic_can_be_opened_until_its_removal_is_stored() {
    let (mut before, mut behind) = (0, 0);
    for seed in 0..20 {
        let mut h = Harness::with(BrokerConfig::default(), Box::new(Memory::with_delay(64 << 20, seed, 3)));
        let (mut alice, mut bob) = (h.connect("alice"), h.connect("bob"));
        h.create(&mut alice, "home/x", &["bob"], Retention::default());
        let delete = deletion_of(&mut alice, "home/x");
        h.send(&mut alice, &[delete], &[]);
        h.broker.turn(h.now);
        let (request, name) = (bob.request(), topic_name("home/x"));
        h.send(&mut bob, &[ClientFrame::Open { request, name, start: Start::Earliest }], &[]);
        for _ in 0..20 {
            h.advance(std::time::Duration::from_millis(5));
            h.read(&mut alice);
            h.read(&mut bob);
        }
        let told = brief(&bob.frames);
        match told.first().map(String::as_str) {
            Some("refused NoSuchTopic") => behind += 1,
            _ => {
                assert_eq!(told.last().map(String::as_str), Some("ended Deleted"), "seed {seed}: {told:?}");
                before += 1;
            }
        }
        assert_eq!(brief(&alice.frames), ["ended Deleted", "done"], "seed {seed}");
    }
    assert!(before > 0, "{before} came before the store was done, {behind} behind it");
}

// ---- Delegations ----

#[test]
fn a_delegation_that_is_not_the_clients_own_ends_the_session() {
    let mut h = Harness::new();
    let (id, other) = (PublisherId([5; 16]), PublisherId([6; 16]));
    let mut forged = delegation("alice", id);
    *forged.last_mut().expect("a signature") ^= 1;
    let mut altered = delegation("alice", id);
    altered[60] ^= 1;
    let bad = [Vec::new(), vec![1; 2000], delegation("bob", id), delegation("alice", other), forged, altered];
    for (n, delegation) in bad.into_iter().enumerate() {
        let mut alice = h.connect("alice");
        let frames = h.ask(&mut alice, ClientFrame::Publisher { slot: 0, id, delegation });
        assert_eq!(brief(&frames), ["close ProtocolError"], "number {n}");
        let mut carol = h.connect("carol");
        assert_eq!(h.stat(&mut carol, "delegations verified and remembered"), 0);
    }
    let mut alice = h.connect("alice");
    let frame = ClientFrame::Publisher { slot: 16, id, delegation: delegation("alice", id) };
    assert_eq!(brief(&h.ask(&mut alice, frame)), ["close ProtocolError"], "no such slot");
}

#[test]
fn a_delegation_is_verified_once_and_from_the_budget() {
    let mut h = Harness::new();
    let mut alice = h.connect("alice");
    let topic = h.create(&mut alice, "a", &[], Retention::default());
    h.name_publisher(&mut alice);
    let mut again = h.connect("alice");
    h.open(&mut again, "a", Start::RecordsOnly);
    // Time stands still: one operation each until the budget is spent.
    let fresh: Vec<ClientFrame> = (0..200_u16)
        .map(|n| {
            let id = PublisherId([n as u8; 16]);
            ClientFrame::Publisher { slot: n % 16, id, delegation: delegation("alice", id) }
        })
        .collect();
    for frame in fresh {
        h.send(&mut again, &[frame], &[]);
    }
    h.settle();
    let mut carol = h.connect("carol");
    let verified = h.stat(&mut carol, "delegations verified and remembered");
    assert!(verified < 200, "{verified} without a moment's time");
    for _ in 0..100 {
        h.advance(std::time::Duration::from_millis(5));
        h.settle();
    }
    assert_eq!(h.stat(&mut carol, "delegations verified and remembered"), 200, "none is dropped");
    // A repeat is known, so that publishes behind it need no budget.
    let repeats: Vec<ClientFrame> = (0..500).map(|_| publisher("alice")).collect();
    for frames in repeats.chunks(100) {
        h.send(&mut alice, frames, &[]);
    }
    h.send(&mut alice, &[publish(topic, 0, b"x")], &[b"x"]);
    h.read(&mut alice);
    assert_eq!(brief(&alice.frames), ["published 0 at 2"]);
}
