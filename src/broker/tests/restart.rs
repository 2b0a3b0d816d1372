//! A broker that ends and comes back over the same disk: what was answered is there, and goes on
//! where it was.

use std::time::Duration;

use super::disk::{broker_at, broker_over, folder, restart};
use super::harness::{Harness, Peer, brief, messages, publish};
use super::membership::{fingerprint, handle};
use super::requests::list;
use crate::base::Wall;
use crate::base::ids::{Fingerprint, Offset, TopicHandle};
use crate::base::limits::REQUEST_LIFETIME;
use crate::base::names::TopicName;
use crate::broker::{Broker, BrokerConfig};
use crate::chain::{Role, record_hash};
use crate::crypto::cert::testing::name;
use crate::store::{Content, Contents, Entry};
use crate::wire::frame::{BrokerFrame, ClientFrame};
use crate::wire::values::{Durability, Retention, Start, TopicEntry};

const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(86_400);

fn opened(h: &mut Harness, peer: &mut Peer, topic: &str) -> TopicHandle {
    handle(&h.open(peer, topic, Start::RecordsOnly))
}

/// What a listing says that a restart may not change; who was seen when may.
fn lasting(entry: TopicEntry) -> TopicEntry {
    TopicEntry { owner_seen: Wall(0), ..entry }
}

#[test]
fn a_topic_goes_on_where_it_was() {
    let folder = folder();
    let mut h = broker_at(folder.path(), None);
    let (mut alice, mut bob) = (h.connect("alice"), h.connect("bob"));
    let keep = Retention { count: 7, bytes: 0, age_ms: 86_400_000 };
    let (topic, mut chain) = h.create_chain(&mut alice, "home/x", &["bob", "carol"], keep);
    h.name_publisher(&mut alice);
    h.name_publisher(&mut bob);
    assert_eq!(h.publish(&mut alice, topic, 0..6), [2, 3, 4, 5, 6, 7]);
    let of_bob = opened(&mut h, &mut bob, "home/x");
    assert_eq!(h.publish(&mut bob, of_bob, 0..2), [8, 9]);
    let denied = h.amend(&mut alice, topic, &mut chain, |b| {
        b.deny(fingerprint("dave"), "not you");
    });
    assert_eq!(denied, ["done"]);
    h.publish(&mut alice, topic, 6..8);
    let before = lasting(h.listed(&mut alice, "home/x"));
    assert_eq!((before.messages, before.first, before.next), (7, Offset(5), Offset(13)));
    let mut reader = h.connect("bob");
    let read = brief(&h.subscribe(&mut reader, "home/x", Start::Earliest));

    let mut h = restart(h, folder.path(), MINUTE);
    let (mut alice, mut bob) = (h.connect("alice"), h.connect("bob"));
    assert_eq!(lasting(h.listed(&mut alice, "home/x")), before);
    let frames = h.subscribe(&mut bob, "home/x", Start::Earliest);
    assert_eq!(brief(&frames), read, "records with their wraps, then the messages");
    assert_eq!(bob.bodies.len(), 7);
    let mut again = h.connect("bob");
    let frames = h.subscribe(&mut again, "home/x", Start::Resume(Offset(9), before.incarnation));
    assert_eq!(messages(&frames), [9, 11, 12], "a cursor goes on in the same log");
    // A denied client is denied, and by the same words.
    let mut dave = h.connect("dave");
    let (_, told) = h.join(&mut dave, "home/x", chain.topic());
    assert!(matches!(&told[..], [BrokerFrame::Refused { text, .. }] if text == "not you"), "{told:?}");
    // What was not answered is sent again; what comes next is accepted, and retained.
    let topic = opened(&mut h, &mut alice, "home/x");
    h.name_publisher(&mut alice);
    assert_eq!(h.publish(&mut alice, topic, 6..10), [11, 12, 13, 14]);
    let of_bob = opened(&mut h, &mut bob, "home/x");
    h.name_publisher(&mut bob);
    assert_eq!(h.publish(&mut bob, of_bob, 1..3), [9, 15]);
    assert_eq!(h.listed(&mut alice, "home/x").messages, 7);
    let granted = h.amend(&mut alice, topic, &mut chain, |b| {
        b.remove(fingerprint("carol"));
    });
    assert_eq!(granted, ["done"], "the chain goes on at its head");
    let mut carol = h.connect("carol");
    assert_eq!(brief(&h.open(&mut carol, "home/x", Start::Earliest)), ["refused NotMember"]);
}

#[test]
fn a_memory_topic_comes_back_empty_and_goes_on_above() {
    let folder = folder();
    let mut h = broker_at(folder.path(), None);
    let mut alice = h.connect("alice");
    h.durability = Durability::Memory;
    let (topic, mut chain) = h.create_chain(&mut alice, "home/m", &["bob"], Retention::default());
    h.name_publisher(&mut alice);
    h.publish(&mut alice, topic, 0..5);
    let before = h.listed(&mut alice, "home/m");
    let mut h = restart(h, folder.path(), MINUTE);
    let (mut alice, mut bob) = (h.connect("alice"), h.connect("bob"));
    let after = h.listed(&mut alice, "home/m");
    assert_eq!((after.messages, after.bytes, after.incarnation), (0, 0, before.incarnation));
    assert_eq!(after.durability, Durability::Memory);
    assert!(after.next > before.next, "no offset is used again");
    let resumed = h.subscribe(&mut bob, "home/m", Start::Resume(Offset(4), before.incarnation));
    let gone = format!("gap 4..{}", after.next);
    assert!(brief(&resumed).contains(&gone), "{:?}", brief(&resumed));
    let topic = opened(&mut h, &mut alice, "home/m");
    h.name_publisher(&mut alice);
    h.send(&mut alice, &[publish(topic, 4, b"x")], &[b"x"]);
    h.read(&mut alice);
    assert_eq!(brief(&alice.frames), ["publish refused CounterAhead 0"], "who published is forgotten");
    alice.frames.clear();
    assert_eq!(h.publish(&mut alice, topic, 0..2), [after.next.0, after.next.0 + 1]);
    h.read(&mut bob);
    assert_eq!(messages(&bob.frames), [after.next.0, after.next.0 + 1]);
    let changed = h.amend(&mut alice, topic, &mut chain, |b| {
        b.deny(fingerprint("carol"), "");
    });
    assert_eq!(changed, ["done"]);
}

#[test]
fn requests_are_kept_with_their_time_until_they_are_settled() {
    let folder = folder();
    let mut h = broker_at(folder.path(), None);
    let (mut alice, mut bob, mut carol) = (h.connect("alice"), h.connect("bob"), h.connect("carol"));
    let (topic, mut chain) = h.create_chain(&mut alice, "home/x", &[], Retention::default());
    let (_, other) = h.create_chain(&mut alice, "home/y", &[], Retention::default());
    assert_eq!(brief(&h.join(&mut carol, "home/x", chain.topic()).1), ["done"]);
    h.advance(MINUTE);
    assert_eq!(brief(&h.join(&mut bob, "home/x", chain.topic()).1), ["done"]);
    h.join(&mut bob, "home/y", other.topic());
    let before = list(&mut h, &mut alice, false, "#").0;
    assert_eq!(before.len(), 3);

    let mut h = restart(h, folder.path(), MINUTE);
    let mut alice = h.connect("alice");
    assert_eq!(list(&mut h, &mut alice, false, "#").0, before, "as they came and when");
    let mut bob = h.connect("bob");
    assert_eq!(brief(&h.open(&mut bob, "home/x", Start::Earliest)), ["refused NoKeyYet"]);
    opened(&mut h, &mut alice, "home/x");
    let granted = h.amend(&mut alice, topic, &mut chain, |b| {
        b.add(fingerprint("bob"), name("bob"), Role::Member);
    });
    assert_eq!(granted, ["done"]);
    let delete =
        ClientFrame::Delete { request: alice.request(), name: TopicName::parse("home/y").expect("good") };
    assert_eq!(brief(&h.ask(&mut alice, delete)), ["done"]);

    let mut h = restart(h, folder.path(), MINUTE);
    let mut alice = h.connect("alice");
    let left = list(&mut h, &mut alice, false, "#").0;
    assert_eq!(left.len(), 1, "the granted one and that of the deleted topic are gone");
    assert_eq!(left[0].certificate, carol.certificate.der());

    let mut h = restart(h, folder.path(), REQUEST_LIFETIME);
    let mut alice = h.connect("alice");
    assert_eq!(list(&mut h, &mut alice, false, "#").0, [], "nobody has answered it in time");
    // And not only in RAM.
    h.settle();
    drop(h);
    assert_eq!(requests_in(&super::disk::open(folder.path(), super::disk::ROOMY).1), 0);
}

fn requests_in(contents: &Contents) -> usize {
    contents.notes.iter().filter(|note| note.kind == crate::store::NoteKind::Request).count()
}

/// Names, and when they were last seen, of those who are offered to a creator.
fn offered(h: &mut Harness, peer: &mut Peer) -> Vec<(String, Wall)> {
    let request = peer.request();
    let frames =
        h.ask(peer, ClientFrame::ListClients { request, after: Fingerprint([0; 32]), names: vec![] });
    let [BrokerFrame::Clients { clients, .. }] = &frames[..] else { panic!("{frames:?}") };
    let read = |der: &[u8]| h.world.trust.verify_historic(der, crate::crypto::cert::Role::Client);
    let mut named: Vec<_> = clients
        .iter()
        .map(|entry| (read(&entry.certificate).expect("a client's").name().to_string(), entry.last_seen))
        .collect();
    named.sort();
    named
}

#[test]
fn clients_are_known_and_recovery_keys_apart() {
    let folder = folder();
    let mut h = broker_at(folder.path(), None);
    let mut alice = h.connect("alice");
    let bob = h.connect("bob");
    let seen = h.now.wall;
    let (_, carol) = h.world.client("carol");
    h.broker.know_client(&carol, h.now).expect("a good certificate");
    let (topic, mut chain) = h.create_chain(&mut alice, "home/x", &["bob"], Retention::default());
    let (_, dave) = h.world.client("dave");
    h.send(&mut alice, &[ClientFrame::RecoveryCertificate { certificate: dave.clone() }], &[]);
    let added = h.amend(&mut alice, topic, &mut chain, |b| {
        b.add(fingerprint("dave"), name("dave"), Role::Recovery);
    });
    assert_eq!(added, ["done"]);
    h.broker.handle_eof(bob.id, h.now);
    h.settle();

    let mut h = restart(h, folder.path(), DAY);
    let mut alice = h.connect("alice");
    let now = h.now.wall;
    let known = offered(&mut h, &mut alice);
    assert_eq!(known.iter().map(|(who, _)| who.as_str()).collect::<Vec<_>>(), ["alice", "bob", "carol"]);
    assert_eq!((known[0].1, known[1].1, known[2].1), (now, seen, Wall(0)), "and when they were here");
    let request = alice.request();
    let get = ClientFrame::GetCertificates { request, fingerprints: vec![fingerprint("dave")] };
    let frames = h.ask(&mut alice, get);
    assert!(matches!(&frames[..], [BrokerFrame::Clients { clients, .. }] if clients[0].certificate == dave));
    // One that does connect is a client's like any other, also behind the next start.
    h.connect("dave");
    let mut h = restart(h, folder.path(), MINUTE);
    let mut alice = h.connect("alice");
    assert_eq!(offered(&mut h, &mut alice).len(), 4);
}

#[test]
fn a_member_revoked_meanwhile_makes_its_topic_due() {
    let folder = folder();
    let mut h = broker_at(folder.path(), None);
    let mut alice = h.connect("alice");
    h.connect("bob");
    h.create(&mut alice, "home/x", &["bob"], Retention::default());
    h.create(&mut alice, "home/y", &[], Retention::default());
    let mut h = restart(h, folder.path(), MINUTE);
    h.revoke(1, &["bob"]);
    let mut alice = h.connect("alice");
    assert!(h.listed(&mut alice, "home/x").rotate_due);
    assert!(!h.listed(&mut alice, "home/y").rotate_due);
    assert_eq!(offered(&mut h, &mut alice).len(), 1);
}

#[test]
fn what_became_too_old_meanwhile_is_dropped() {
    let folder = folder();
    let mut h = broker_at(folder.path(), None);
    let mut alice = h.connect("alice");
    let topic = h.create(&mut alice, "home/x", &[], Retention { count: 0, bytes: 0, age_ms: 3_600_000 });
    h.name_publisher(&mut alice);
    h.publish(&mut alice, topic, 0..3);
    h.advance(Duration::from_secs(1800));
    h.publish(&mut alice, topic, 3..5);
    let mut h = restart(h, folder.path(), Duration::from_secs(1801));
    h.settle();
    let mut alice = h.connect("alice");
    let entry = h.listed(&mut alice, "home/x");
    assert_eq!((entry.messages, entry.first), (2, Offset(5)));
    h.advance(Duration::from_secs(1800));
    h.settle();
    assert_eq!(h.listed(&mut alice, "home/x").messages, 0, "the rest goes when its time comes");
}

#[test]
fn publisher_ids_are_forgotten_a_day_after_their_last_publish_whatever_happens_between() {
    let folder = folder();
    let mut h = broker_at(folder.path(), None);
    let mut alice = h.connect("alice");
    let topic = h.create(&mut alice, "home/x", &["bob"], Retention::default());
    h.name_publisher(&mut alice);
    h.publish(&mut alice, topic, 0..2);
    h.advance(DAY / 2);
    let mut bob = h.connect("bob");
    let of_bob = opened(&mut h, &mut bob, "home/x");
    h.name_publisher(&mut bob);
    h.publish(&mut bob, of_bob, 0..2);
    let mut h = restart(h, folder.path(), DAY / 2 - MINUTE);
    let mut alice = h.connect("alice");
    assert_eq!(h.stat(&mut alice, "publisher ids remembered"), 2);
    h.advance(2 * MINUTE);
    h.settle();
    let mut alice = h.connect("alice");
    assert_eq!(h.stat(&mut alice, "publisher ids remembered"), 1);
    // One that says it will not be used again is forgotten at once, for good.
    let mut bob = h.connect("bob");
    let of_bob = opened(&mut h, &mut bob, "home/x");
    h.name_publisher(&mut bob);
    assert_eq!(h.publish(&mut bob, of_bob, 1..3), [5, 6]);
    h.ask(&mut bob, ClientFrame::Exit { forget: true });
    drop(h);
    let contents = super::disk::open(folder.path(), super::disk::ROOMY).1;
    assert_eq!(contents.logs[0].publishers.len(), 0);
    assert_eq!(contents.logs[0].kept.messages, 5, "what they sent stays");
}

#[test]
fn a_publisher_that_could_not_be_forgotten_gives_way_to_the_one_that_came_after() {
    let folder = folder();
    let mut h = broker_at(folder.path(), None);
    let mut alice = h.connect("alice");
    let topic = h.create(&mut alice, "home/x", &["bob"], Retention::default());
    h.name_publisher(&mut alice);
    h.publish(&mut alice, topic, 0..3);
    let before = super::disk::contents_of(h, folder.path());
    let mut h = broker_at(folder.path(), None);
    let mut alice = h.connect("alice");
    let topic = opened(&mut h, &mut alice, "home/x");
    h.name_publisher(&mut alice);
    h.publish(&mut alice, topic, 3..4);
    h.ask(&mut alice, ClientFrame::Exit { forget: true });
    let mut alice = h.connect("alice");
    let topic = opened(&mut h, &mut alice, "home/x");
    h.name_publisher(&mut alice);
    assert_eq!(h.publish(&mut alice, topic, 0..2), [6, 7], "the same id, from the beginning");
    // The disk was full when the first was to be forgotten: both are there.
    let mut contents = super::disk::contents_of(h, folder.path());
    contents.logs[0].publishers.insert(0, before.logs[0].publishers[0].clone());
    let mut h = broker_over(folder.path(), contents);
    let mut alice = h.connect("alice");
    assert_eq!(h.stat(&mut alice, "publisher ids remembered"), 1);
    let topic = opened(&mut h, &mut alice, "home/x");
    h.name_publisher(&mut alice);
    assert_eq!(h.publish(&mut alice, topic, 1..3), [7, 8], "it is the newer one");
}

#[test]
fn what_was_stored_under_a_higher_limit_keeps_its_counter_under_a_lower_one() {
    let folder = folder();
    let mut h = broker_at(folder.path(), None);
    let mut alice = h.connect("alice");
    let topic = h.create(&mut alice, "home/x", &["bob"], Retention::default());
    h.name_publisher(&mut alice);
    let large = vec![7; 8000];
    h.send(&mut alice, &[publish(topic, 0, &large)], &[&large]);
    h.settle();
    // The answer is lost with the broker, which then takes less.
    drop(h);
    let (store, contents) = super::disk::open(folder.path(), super::disk::ROOMY);
    let config = BrokerConfig { message_bytes_max: 1000, ..BrokerConfig::default() };
    let mut h = Harness::with(config, store);
    h.broker.restore(contents, h.now).expect("what a broker left");
    let mut alice = h.connect("alice");
    let topic = opened(&mut h, &mut alice, "home/x");
    h.name_publisher(&mut alice);
    for counter in 0..2 {
        h.send(&mut alice, &[publish(topic, counter, &large)], &[&large]);
    }
    h.read(&mut alice);
    let answers = brief(&std::mem::take(&mut alice.frames));
    assert_eq!(answers[0], "published 0 at 2");
    assert!(answers[1].starts_with("publish refused TooLarge"), "{answers:?}");
}

#[test]
fn what_does_not_fit_together_is_refused_by_its_topics_name() {
    let folder = folder();
    let mut h = broker_at(folder.path(), None);
    let mut alice = h.connect("alice");
    let (topic, mut chain) = h.create_chain(&mut alice, "home/x", &["bob"], Retention::default());
    h.amend(&mut alice, topic, &mut chain, |b| {
        b.deny(fingerprint("carol"), "");
    });
    h.name_publisher(&mut alice);
    h.publish(&mut alice, topic, 0..3);
    drop(h);
    type Spoil = fn(&mut Contents);
    let cases: [(&str, Spoil); 8] = [
        ("does not follow the newest record", |c| drop(c.logs[0].records.remove(1))),
        ("no membership records", |c| c.logs[0].records.clear()),
        ("those of home/x", |c| c.logs[0].settings.name = TopicName::parse("home/z").expect("good")),
        ("two of this name", |c| c.logs.push(c.logs[0].clone())),
        ("no certificate", |c| {
            c.notes.clear();
            let genesis = &c.logs[0].records[0];
            let Content::Record { record, wraps, .. } = &genesis.content else { panic!("a record") };
            let (record, wraps, certificate) = (record.clone(), wraps.clone(), Vec::new().into());
            let content = Content::Record { record, certificate, wraps };
            c.logs[0].records[0] = Entry { content, ..Entry::clone(genesis) }.into();
        }),
        ("below its end", |c| c.logs[0].next = Offset(2)),
        ("messages from", |c| c.logs[0].kept.messages = 9),
        ("counters do not fit", |c| c.logs[0].publishers[0].next.0 = 2),
    ];
    for (expected, spoil) in cases {
        let mut contents = super::disk::open(folder.path(), super::disk::ROOMY).1;
        spoil(&mut contents);
        let fault = empty().restore(contents, Harness::new().now).expect_err(expected).to_string();
        assert!(fault.starts_with("topic home/") && fault.contains(expected), "{fault}");
    }
    let mut contents = super::disk::open(folder.path(), super::disk::ROOMY).1;
    contents.notes[0].value[0] = 2;
    let fault = empty().restore(contents, Harness::new().now).expect_err("a newer note").to_string();
    assert!(fault.starts_with("a known client") && fault.contains("version"), "{fault}");
}

fn empty() -> Broker {
    Harness::new().broker
}

/// What a store with so many topics tells, each with two records, four members and a publisher. Their
/// signatures are no good, which nobody looks at; all else is as a broker left it.
fn many_topics(count: usize) -> Contents {
    let folder = folder();
    let mut h = broker_at(folder.path(), None);
    let mut alice = h.connect("alice");
    let topic = h.create(&mut alice, "t/00000", &["bob", "carol", "dave"], Retention::default());
    h.name_publisher(&mut alice);
    h.publish(&mut alice, topic, 0..3);
    drop(h);
    let mut contents = super::disk::open(folder.path(), super::disk::ROOMY).1;
    let first = contents.logs.pop().expect("the topic");
    let bytes = |n: usize| match &first.records[n].content {
        Content::Record { record, .. } => record.to_vec(),
        Content::Message { .. } => panic!("a record"),
    };
    let (genesis, delta) = (bytes(0), bytes(1));
    let at = genesis.windows(7).position(|bytes| bytes == b"t/00000").expect("it names the topic");
    for n in 0..count {
        let (mut stored, name) = (first.clone(), format!("t/{n:05}"));
        let (mut genesis, mut delta) = (genesis.clone(), delta.clone());
        genesis[at..at + 7].copy_from_slice(name.as_bytes());
        // Version and kind, the topic's id, a number, the hash of the record before.
        let hash = record_hash(&genesis).0;
        delta[2..34].copy_from_slice(&hash);
        delta[38..70].copy_from_slice(&hash);
        for (entry, bytes) in stored.records.iter_mut().zip([genesis, delta]) {
            let Content::Record { certificate, wraps, .. } = entry.content.clone() else { continue };
            let content = Content::Record { record: bytes.into(), certificate, wraps };
            *entry = Entry { content, ..Entry::clone(entry) }.into();
        }
        stored.log.0 = n as u64;
        stored.settings.name = TopicName::parse(&name).expect("a good name");
        contents.logs.push(stored);
    }
    contents
}

#[test]
fn ten_thousand_topics_are_taken_over() {
    let contents = many_topics(10_000);
    let mut h = Harness::new();
    let begun = std::time::Instant::now();
    h.broker.restore(contents, h.now).expect("what a broker left");
    println!("10,000 topics of two records, four members, one publisher: {:?}", begun.elapsed());
    let mut alice = h.connect("alice");
    assert_eq!(h.stat(&mut alice, "topics"), 10_000);
    assert_eq!(h.stat(&mut alice, "publisher ids remembered"), 10_000);
    let entry = h.listed(&mut alice, "t/09999");
    assert_eq!((entry.messages, entry.first, entry.next), (3, Offset(2), Offset(5)));
}
