//! Asking to join: who may ask, who hears of it, and what becomes of it.

use std::time::Duration;

use super::harness::{Harness, Peer, brief};
use crate::base::ids::{Fingerprint, TopicHandle, TopicId};
use crate::base::limits::{REQUEST_LIFETIME, REQUESTS_PER_TOPIC_MAX};
use crate::base::names::{TopicFilter, TopicName};
use crate::broker::BrokerConfig;
use crate::chain::{Chain, JoinPolicy, JoinRequest, Role};
use crate::crypto::cert::testing::{Seeded, key, name};
use crate::store::Memory;
use crate::wire::frame::{BrokerFrame, ClientFrame};
use crate::wire::values::{JoinEntry, Retention, Start};

const X: &str = "home/x";

fn topic_name(text: &str) -> TopicName {
    TopicName::parse(text).expect("a good topic")
}

fn fingerprint(who: &str) -> Fingerprint {
    key(who).public().fingerprint()
}

/// Alice's topic with bob in it, and all three connected.
pub fn three() -> (Harness, Peer, Peer, Peer, TopicHandle, Chain) {
    let mut h = Harness::new();
    let (mut alice, bob, carol) = (h.connect("alice"), h.connect("bob"), h.connect("carol"));
    let (topic, chain) = h.create_chain(&mut alice, X, &["bob"], Retention::default());
    (h, alice, bob, carol, topic, chain)
}

fn listing(peer: &mut Peer, follow: bool, filter: &str, after: &str, client: Fingerprint) -> ClientFrame {
    ClientFrame::ListRequests {
        request: peer.request(),
        follow,
        filter: TopicFilter::parse(filter).expect("a good filter"),
        after: after.to_owned(),
        after_client: client,
    }
}

/// All pages of requests; what else comes stays with the peer.
pub fn list(h: &mut Harness, peer: &mut Peer, follow: bool, filter: &str) -> (Vec<JoinEntry>, usize) {
    let (mut entries, mut pages) = (Vec::new(), 0);
    let (mut after, mut client) = (String::new(), Fingerprint([0; 32]));
    loop {
        let frame = listing(peer, follow, filter, &after, client);
        let mut more_pages = false;
        for frame in h.ask(peer, frame) {
            match frame {
                BrokerFrame::Requests { more, requests, .. } => {
                    more_pages = more;
                    entries.extend(requests);
                }
                other => peer.frames.push(other),
            }
        }
        pages += 1;
        if !more_pages {
            return (entries, pages);
        }
        let last: &JoinEntry = entries.last().expect("a page that goes on is not empty");
        after = last.topic.to_string();
        client = JoinRequest::parse(&last.ask).expect("a good request").who;
    }
}

#[test]
fn a_request_reaches_owner_and_admins_and_goes_with_the_grant() {
    let (mut h, mut alice, mut bob, mut carol, _, mut chain) = three();
    h.subscribe(&mut carol, "home/#", Start::Earliest);
    list(&mut h, &mut alice, true, "no/such");
    list(&mut h, &mut bob, true, "#");
    let (ask, frames) = h.join(&mut carol, X, chain.topic());
    assert_eq!(brief(&frames), ["done"]);
    let asked = h.now.wall;
    h.read(&mut alice);
    let [BrokerFrame::Requested { entry }] = &alice.frames[..] else { panic!("{:?}", alice.frames) };
    let expected = JoinEntry {
        topic: topic_name(X),
        time: asked,
        ask: ask.clone(),
        certificate: carol.certificate.der().to_vec(),
    };
    assert_eq!(*entry, expected, "whatever the filter");
    alice.frames.clear();
    h.read(&mut bob);
    assert_eq!(brief(&bob.frames), [""; 0], "a plain member is not told");
    assert_eq!(list(&mut h, &mut alice, false, "home/+"), (vec![expected], 1));
    assert_eq!(list(&mut h, &mut alice, false, "lab/#").0, []);
    assert_eq!(list(&mut h, &mut bob, false, "#").0, []);
    assert_eq!((h.listed(&mut alice, X).requests, h.listed(&mut bob, X).requests), (1, 0));
    // While it is kept, open says so, and when the owner was last here.
    let seen = |frames: &[BrokerFrame]| match frames {
        [BrokerFrame::Refused { code: crate::wire::values::RefuseCode::NoKeyYet, detail, .. }] => *detail,
        other => panic!("{other:?}"),
    };
    let frames = h.open(&mut carol, X, Start::Earliest);
    assert_eq!(seen(&frames), h.now.wall.0, "the owner is here");
    let left = h.now.wall;
    h.broker.handle_eof(alice.id, h.now);
    h.settle();
    h.advance(Duration::from_secs(50));
    assert_eq!(seen(&h.open(&mut carol, X, Start::Earliest)), left.0);
    assert_eq!(h.listed(&mut carol, X).owner_seen, left);
    // It outlives the session of whoever asked.
    h.broker.handle_eof(carol.id, h.now);
    let mut alice = h.connect("alice");
    assert_eq!(list(&mut h, &mut alice, false, "#").0.len(), 1);
    let mut carol = h.connect("carol");
    h.subscribe(&mut carol, "home/#", Start::Earliest);
    let opened = h.open(&mut alice, X, Start::RecordsOnly);
    let BrokerFrame::Topic { topic: again, .. } = opened[0] else { panic!("{opened:?}") };
    let told = h.amend(&mut alice, again, &mut chain, |b| {
        b.add(fingerprint("carol"), name("carol"), Role::Member);
    });
    assert!(told.contains(&"done".to_owned()), "{told:?}");
    assert_eq!(list(&mut h, &mut alice, false, "#").0, []);
    h.read(&mut carol);
    assert_eq!(brief(&carol.frames)[0], "topic 3..3 None", "its filter brings it");
    carol.frames.clear();
    assert_eq!(brief(&h.join(&mut carol, X, chain.topic()).1), ["refused Exists"]);
}

#[test]
fn each_request_that_is_refused_says_why() {
    let (mut h, mut alice, mut bob, mut carol, topic, mut chain) = three();
    let id = chain.topic();
    assert_eq!(brief(&h.join(&mut carol, "home/none", id).1), ["refused NoSuchTopic"]);
    assert_eq!(brief(&h.join(&mut bob, X, id).1), ["refused Exists"]);
    assert_eq!(brief(&h.join(&mut carol, X, TopicId([1; 32])).1), ["refused BadRecord"]);
    let good = JoinRequest {
        name: topic_name(X),
        topic: id,
        who: fingerprint("carol"),
        who_name: name("carol"),
        time: h.now.wall,
    };
    let sign = |request: &JoinRequest, who: &str| {
        request.sign(&key(who), &mut Seeded::new(4)).expect("a sound machine")
    };
    let mut altered = sign(&good, "carol");
    *altered.last_mut().expect("a signature") ^= 1;
    let bad = [
        ("signed by another", sign(&good, "bob")),
        ("another's", sign(&JoinRequest { who: fingerprint("bob"), ..good.clone() }, "carol")),
        ("another's name", sign(&JoinRequest { who_name: name("bob"), ..good.clone() }, "carol")),
        ("another topic's", sign(&JoinRequest { name: topic_name("home/y"), ..good.clone() }, "carol")),
        ("altered", altered),
        ("empty", Vec::new()),
        ("too long", vec![1; 2000]),
    ];
    for (what, ask) in bad {
        let frame = ClientFrame::Join { request: carol.request(), name: topic_name(X), ask };
        assert_eq!(brief(&h.ask(&mut carol, frame)), ["refused BadRecord"], "{what}");
    }
    assert_eq!(h.stat(&mut alice, "requests to join"), 0);
    h.broker.processor.pretend_requests(&topic_name(X), REQUESTS_PER_TOPIC_MAX);
    let (_, frames) = h.join(&mut carol, X, id);
    let full = REQUESTS_PER_TOPIC_MAX as u64;
    assert!(matches!(&frames[..], [BrokerFrame::Refused { detail, .. }] if *detail == full), "{frames:?}");
    assert_eq!(brief(&frames), ["refused Limit"]);
    let told = h.amend(&mut alice, topic, &mut chain, |b| {
        b.deny(fingerprint("carol"), "not you");
    });
    assert!(told.contains(&"done".to_owned()), "{told:?}");
    let (_, frames) = h.join(&mut carol, X, id);
    assert!(matches!(&frames[..], [BrokerFrame::Refused { text, .. }] if text == "not you"), "{frames:?}");
    assert_eq!(brief(&frames), ["refused Denied"]);
    h.policy = JoinPolicy::Closed;
    let (_, closed) = h.create_chain(&mut alice, "home/closed", &[], Retention::default());
    assert_eq!(brief(&h.join(&mut carol, "home/closed", closed.topic()).1), ["refused Closed"]);
}

#[test]
fn a_denial_ends_the_request() {
    let (mut h, mut alice, _bob, mut carol, topic, mut chain) = three();
    h.join(&mut carol, X, chain.topic());
    h.amend(&mut alice, topic, &mut chain, |b| {
        b.deny(fingerprint("carol"), "");
    });
    assert_eq!(list(&mut h, &mut alice, false, "#").0, []);
    assert_eq!(brief(&h.open(&mut carol, X, Start::Earliest)), ["refused NotMember"]);
}

#[test]
fn asking_again_replaces_and_is_told_again() {
    let (mut h, mut alice, _bob, mut carol, _, chain) = three();
    list(&mut h, &mut alice, true, "#");
    for _ in 0..5 {
        h.advance(Duration::from_secs(5));
        assert_eq!(brief(&h.join(&mut carol, X, chain.topic()).1), ["done"]);
    }
    let last = h.now.wall;
    h.read(&mut alice);
    assert_eq!(brief(&alice.frames), ["requested home/x"; 5]);
    let (entries, _) = list(&mut h, &mut alice, false, "#");
    assert_eq!(entries.iter().map(|entry| entry.time).collect::<Vec<_>>(), [last]);
}

#[test]
fn a_request_goes_after_thirty_days() {
    let (mut h, mut alice, _bob, mut carol, _, chain) = three();
    h.join(&mut carol, X, chain.topic());
    h.broker.handle_eof(carol.id, h.now);
    h.broker.handle_eof(alice.id, h.now);
    h.settle();
    h.advance(REQUEST_LIFETIME - Duration::from_secs(60));
    h.settle();
    alice = h.connect("alice");
    assert_eq!(list(&mut h, &mut alice, false, "#").0.len(), 1);
    let due = h.broker.poll_timeout().expect("something is due");
    assert!(due <= h.now.mono + Duration::from_secs(60));
    h.advance(Duration::from_secs(61));
    h.settle();
    h.read(&mut alice);
    alice.frames.clear();
    assert_eq!(list(&mut h, &mut alice, false, "#").0, []);
}

#[test]
fn a_new_admin_begins_to_hear_and_one_that_was_does_no_more() {
    let (mut h, mut alice, mut bob, mut carol, topic, mut chain) = three();
    list(&mut h, &mut bob, true, "#");
    let ask = |h: &mut Harness, carol: &mut Peer, bob: &mut Peer, chain: &Chain| {
        assert_eq!(brief(&h.join(carol, X, chain.topic()).1), ["done"]);
        h.read(bob);
        brief(&std::mem::take(&mut bob.frames))
    };
    assert_eq!(ask(&mut h, &mut carol, &mut bob, &chain), [""; 0]);
    h.amend(&mut alice, topic, &mut chain, |b| {
        b.change(fingerprint("bob"), Role::Admin);
    });
    assert_eq!(ask(&mut h, &mut carol, &mut bob, &chain), ["requested home/x"]);
    assert_eq!(list(&mut h, &mut bob, false, "#").0.len(), 1);
    assert_eq!(h.listed(&mut bob, X).requests, 1);
    h.amend(&mut alice, topic, &mut chain, |b| {
        b.change(fingerprint("bob"), Role::Member);
    });
    assert_eq!(ask(&mut h, &mut carol, &mut bob, &chain), [""; 0]);
    // Following ends with the session.
    list(&mut h, &mut alice, true, "#");
    h.broker.handle_eof(alice.id, h.now);
    assert_eq!(ask(&mut h, &mut carol, &mut bob, &chain), [""; 0]);
    let mut again = h.connect("alice");
    assert_eq!(ask(&mut h, &mut carol, &mut again, &chain), [""; 0]);
}

#[test]
fn a_follower_that_does_not_read_is_told_later_and_holds_no_more() {
    let config = BrokerConfig { outbox_bytes_max: 8 * 1024, ..BrokerConfig::default() };
    let mut h = Harness::with(config, Box::new(Memory::new(64 << 20)));
    let (mut alice, mut carol) = (h.connect("alice"), h.connect("carol"));
    list(&mut h, &mut alice, true, "#");
    let ids: Vec<TopicId> = (0..30)
        .map(|n| h.create_chain(&mut alice, &format!("t/{n:02}"), &[], Retention::default()).1.topic())
        .collect();
    for (n, id) in ids.iter().enumerate() {
        assert_eq!(brief(&h.join(&mut carol, &format!("t/{n:02}"), *id).1), ["done"]);
        let held = h.broker.processor.seat(alice.id).expect("she is here").answers_bytes();
        assert!(held < 16 * 1024, "{held} bytes wait for one that does not read");
    }
    h.read(&mut alice);
    let expected: Vec<String> = (0..30).map(|n| format!("requested t/{n:02}")).collect();
    assert_eq!(brief(&alice.frames), expected);
}

#[test]
fn many_requests_come_in_pages_that_fit() {
    let mut h = Harness::new();
    let (mut alice, mut bob, mut carol) = (h.connect("alice"), h.connect("bob"), h.connect("carol"));
    // Every fifth topic is carol's, so that alice is shown what is hers only.
    let mut hers = Vec::new();
    for n in 0..300 {
        let text = format!("t/{n:03}");
        let owner = if n % 5 == 0 { &mut carol } else { &mut alice };
        let (_, chain) = h.create_chain(owner, &text, &[], Retention::default());
        let id = chain.topic();
        assert_eq!(brief(&h.join(&mut bob, &text, id).1), ["done"]);
        if n % 5 != 0 {
            assert_eq!(brief(&h.join(&mut carol, &text, id).1), ["done"]);
            let mut clients = [fingerprint("bob"), fingerprint("carol")];
            clients.sort_unstable();
            hers.extend(clients.map(|client| (text.clone(), client)));
        }
    }
    let seen = |entries: Vec<JoinEntry>| -> Vec<(String, Fingerprint)> {
        let who = |entry: &JoinEntry| JoinRequest::parse(&entry.ask).expect("a good request").who;
        entries.iter().map(|entry| (entry.topic.to_string(), who(entry))).collect()
    };
    let (entries, pages) = list(&mut h, &mut alice, false, "#");
    assert!(pages > 5, "{pages} pages");
    assert_eq!(seen(entries), hers);
    let (entries, _) = list(&mut h, &mut alice, false, "t/001");
    assert_eq!(seen(entries), hers[..2]);
    assert_eq!(list(&mut h, &mut carol, false, "#").0.len(), 60);
    assert_eq!(list(&mut h, &mut bob, false, "#").0, []);
}
