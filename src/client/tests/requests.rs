//! Asking to join, who asks, and answering by itself, before a broker that helps or lies.

use std::time::Duration;

use super::author::Author;
use super::rig::{Rig, filter, topic};
use super::topic::{HANDLE, SENDER, Script};
use crate::base::ids::{Fingerprint, Incarnation, Offset, PublisherId, RequestId, TopicId};
use crate::base::time::Wall;
use crate::chain::{History, JoinPolicy, JoinRequest};
use crate::client::{Answer, Asked, Event, Failure, Join, Notice};
use crate::crypto::cert::Role;
use crate::crypto::cert::testing::{NOON, Seeded, key, name};
use crate::wire::frame::{BrokerFrame, ClientFrame};
use crate::wire::values::{ClientEntry, Durability, JoinEntry, RefuseCode, Retention, TopicEntry};

/// Whether an answer is the one that it should be.
type IsIt = fn(&Result<Answer, Failure>) -> bool;

fn entry(id: TopicId, owner_seen: Wall) -> TopicEntry {
    TopicEntry {
        name: topic("a/b"),
        topic: id,
        role: None,
        owner: name("alice"),
        owner_fingerprint: key("alice").public().fingerprint(),
        owner_seen,
        members: 1,
        join: JoinPolicy::Ask,
        history: History::All,
        requests: 0,
        rotate_due: false,
        durability: Durability::Memory,
        retention: Retention::default(),
        incarnation: Incarnation(1),
        first: Offset(2),
        next: Offset(2),
        messages: 0,
        bytes: 0,
        oldest: Wall(0),
    }
}

fn request(of: &str, signed_by: &str, id: TopicId) -> Vec<u8> {
    let request = JoinRequest {
        name: topic("a/b"),
        topic: id,
        who: key(of).public().fingerprint(),
        who_name: name(of),
        time: NOON,
    };
    request.sign(&key(signed_by), &mut Seeded::new(3)).expect("a sound machine")
}

fn asking(rig: &Rig, who: &str, ask: Vec<u8>) -> JoinEntry {
    JoinEntry { topic: topic("a/b"), time: NOON, ask, certificate: rig.world.client(who).1 }
}

fn listed(rig: &mut Rig) -> (RequestId, bool) {
    let heard = rig.heard();
    let at = heard.iter().find_map(|frame| match frame {
        ClientFrame::ListRequests { request, follow, .. } => Some((*request, *follow)),
        _ => None,
    });
    at.unwrap_or_else(|| panic!("{heard:?}"))
}

#[test]
fn who_asks_signs_which_topic_it_is() {
    let answers: [(Option<RefuseCode>, IsIt); 5] = [
        (None, |r| matches!(r, Ok(Answer::Asked(Asked { owner_seen: Some(Wall(9)), .. })))),
        (
            Some(RefuseCode::Denied),
            |r| matches!(r, Err(f @ Failure::Denied { because, .. }) if because == "no" && f.exit_code() == 5),
        ),
        (Some(RefuseCode::Closed), |r| matches!(r, Err(Failure::Closed { .. }))),
        (Some(RefuseCode::Exists), |r| matches!(r, Err(Failure::AlreadyMember(_)))),
        (Some(RefuseCode::NoSuchTopic), |r| matches!(r, Err(Failure::NoSuchTopic(_)))),
    ];
    for (code, is_it) in answers {
        let mut rig = Rig::connected("bob");
        rig.client.join(&topic("a/b"));
        let heard = rig.heard();
        let [ClientFrame::ListTopics { request, filter: asked, .. }] = &heard[..] else {
            panic!("{heard:?}")
        };
        assert_eq!(*asked, filter("a/b"));
        let id = TopicId([8; 32]);
        let topics = vec![entry(id, Wall(9))];
        rig.say(&[BrokerFrame::Topics { request: *request, more: false, topics }]);
        let heard = rig.heard();
        let [ClientFrame::Join { request, ask, .. }] = &heard[..] else { panic!("{heard:?}") };
        let said = JoinRequest::verify(ask, &key("bob").public()).expect("bob's own");
        assert_eq!((said.topic, said.who_name), (id, name("bob")));
        rig.say(&[match code {
            None => BrokerFrame::Done { request: *request },
            Some(code) => BrokerFrame::Refused { request: *request, code, detail: 0, text: "no".into() },
        }]);
        let answers = rig.answers();
        assert!(is_it(&answers[0].1), "{answers:?}");
    }
}

#[test]
fn nobody_asks_to_join_another_topic_than_the_one_that_is_remembered() {
    let alice = key("alice").public().fingerprint();
    let joining = |rig: &mut Rig, entry: TopicEntry| {
        rig.client.join(&topic("a/b"));
        let heard = rig.heard();
        let [ClientFrame::ListTopics { request, .. }] = &heard[..] else { panic!("{heard:?}") };
        rig.say(&[BrokerFrame::Topics { request: *request, more: false, topics: vec![entry] }]);
        let asks = rig.heard().iter().any(|frame| matches!(frame, ClientFrame::Join { .. }));
        (asks, rig.answers().pop().map(|(_, result)| result.expect_err("not asked yet")))
    };
    let stolen = || TopicEntry {
        owner: name("carol"),
        owner_fingerprint: key("carol").public().fingerprint(),
        ..entry(TopicId([8; 32]), Wall(9))
    };
    let mut rig = Rig::connected("bob");
    let known = Script::new(&rig.world, "a/b", "alice", &[], 3);
    rig.client.pins.pin_topic(&known.chain, NOON);
    let (asks, failure) = joining(&mut rig, stolen());
    assert!(!asks);
    assert_eq!(failure.map(|failure| failure.exit_code()), Some(7), "another owner's");
    assert_eq!(joining(&mut rig, entry(TopicId([8; 32]), Wall(9))), (true, None), "alice made it anew");

    let mut rig = Rig::connected("bob");
    rig.client.expect_owner(&topic("a/b"), name("alice"));
    assert!(matches!(joining(&mut rig, stolen()), (false, Some(Failure::Integrity(..)))));
    let mut rig = Rig::connected("bob");
    rig.client.pins.pin_peer(&name("alice"), Fingerprint([1; 32]), NOON);
    let failure = joining(&mut rig, entry(TopicId([8; 32]), Wall(9)));
    assert!(matches!(failure, (false, Some(Failure::PeerChanged { now, .. })) if now == alice));
}

#[test]
fn requests_that_do_not_verify_are_shown_as_that() {
    let mut rig = Rig::connected("alice");
    rig.client.requests(filter("#"));
    let (at, follow) = listed(&mut rig);
    assert!(!follow);
    let id = TopicId([8; 32]);
    let good = asking(&rig, "bob", request("bob", "bob", id));
    let forged = asking(&rig, "carol", request("carol", "bob", id));
    let renamed = JoinEntry {
        certificate: rig.world.issue("mallory", "bob", Role::Client, &[]).der().to_vec(),
        ..good.clone()
    };
    let moved = JoinEntry { topic: topic("other"), ..good.clone() };
    let torn = JoinEntry { ask: vec![1, 2, 3], ..good.clone() };
    let requests = vec![good, forged, renamed, moved, torn];
    rig.say(&[BrokerFrame::Requests { request: at, more: false, requests }]);
    let answers = rig.answers();
    let [(_, Ok(Answer::Requests(requests)))] = &answers[..] else { panic!("{answers:?}") };
    let faults: Vec<bool> = requests.iter().map(|r| r.fault.is_some()).collect();
    assert_eq!(faults, [false, true, true, true], "what cannot be read is dropped: {requests:?}");
}

#[test]
fn pages_of_requests_that_repeat_end_the_session() {
    let mut rig = Rig::connected("alice");
    rig.client.requests(filter("#"));
    let id = TopicId([8; 32]);
    for round in 0..2 {
        let (at, _) = listed(&mut rig);
        let requests = vec![asking(&rig, "bob", request("bob", "bob", id))];
        rig.say(&[BrokerFrame::Requests { request: at, more: true, requests }]);
        let is_over = rig.events().iter().any(|e| matches!(e, Event::Disconnected { fatal: false, .. }));
        assert_eq!(is_over, round == 1);
    }
}

/// Alice watches, holds a current list, and bob asks for her topic of this policy.
fn watching(join: JoinPolicy, with_crl: bool) -> (Rig, Script) {
    let mut rig = Rig::connected("alice");
    if with_crl {
        rig.client.trust.update_crl(&rig.world.crl(&[], 1), rig.now.wall).expect("a good list");
    }
    rig.client.watch(true);
    let (at, follow) = listed(&mut rig);
    assert!(follow);
    rig.say(&[BrokerFrame::Requests { request: at, more: false, requests: Vec::new() }]);
    let mut script = Script::new(&rig.world, "a/b", "alice", &[], 3);
    script.set_join(join, 2);
    (rig, script)
}

/// The topic's records come.
fn open(rig: &mut Rig, script: &Script) {
    let heard = rig.heard();
    let [ClientFrame::Open { request, .. }] = heard[..] else { panic!("{heard:?}") };
    let me = rig.client.identity.certificate.fingerprint();
    let end = script.records.len() as u64;
    let mut frames = vec![script.announce(request, end, end)];
    frames.extend(script.all_records(me));
    frames.push(BrokerFrame::CaughtUp { topic: HANDLE, next: Offset(end) });
    rig.say(&frames);
}

fn appended(rig: &mut Rig) -> Option<RequestId> {
    rig.heard().into_iter().find_map(|frame| match frame {
        ClientFrame::Append { request, .. } => Some(request),
        _ => None,
    })
}

#[test]
fn an_open_topic_lets_in_who_asks_and_tells_of_each_request_once() {
    let (mut rig, script) = watching(JoinPolicy::Open, true);
    let ask = asking(&rig, "bob", request("bob", "bob", script.chain.topic()));
    rig.say(&[BrokerFrame::Requested { entry: ask.clone() }, BrokerFrame::Requested { entry: ask }]);
    open(&mut rig, &script);
    let told = rig.events().iter().filter(|e| matches!(e, Event::Requested(_))).count();
    assert_eq!(told, 1);
    assert!(appended(&mut rig).is_some());
}

#[test]
fn who_finds_no_room_is_let_in_when_there_is_some() {
    let (mut rig, script) = watching(JoinPolicy::Open, true);
    let ask = asking(&rig, "bob", request("bob", "bob", script.chain.topic()));
    rig.say(&[BrokerFrame::Requested { entry: ask }]);
    open(&mut rig, &script);
    let full = |rig: &mut Rig| {
        let request = appended(rig).expect("a record is sent");
        let (code, text) = (RefuseCode::StorageFull, String::new());
        rig.say(&[BrokerFrame::Refused { request, code, detail: 0, text }]);
    };
    rig.events();
    for _ in 0..20 {
        full(&mut rig);
        assert!(appended(&mut rig).is_none(), "not at once");
        assert!(rig.events().is_empty(), "it is not given up");
        rig.pass(Duration::from_secs(11));
    }
    // Somebody's own wish does not wait for room.
    rig.client.set_join_policy(&topic("a/b"), Join::Closed);
    full(&mut rig);
    full(&mut rig);
    assert!(matches!(rig.answers()[..], [(_, Err(Failure::Refused { .. }))]));
    rig.pass(Duration::from_secs(11));
    assert!(appended(&mut rig).is_some(), "and who asked is still to be let in");
}

#[test]
fn who_asks_again_and_again_is_heard_now_and_then() {
    let (mut rig, script) = watching(JoinPolicy::Ask, true);
    let ask = asking(&rig, "bob", request("bob", "bob", script.chain.topic()));
    let told: Vec<usize> = [0, 1, 9_999, 10_000, 10_001]
        .into_iter()
        .map(|later| {
            let entry = JoinEntry { time: Wall(NOON.0 + later), ..ask.clone() };
            rig.say(&[BrokerFrame::Requested { entry }]);
            rig.events().iter().filter(|e| matches!(e, Event::Requested(_))).count()
        })
        .collect();
    assert_eq!(told, [1, 0, 0, 1, 0]);
}

#[test]
fn who_was_told_of_without_an_answer_gets_one_once_answers_are_on() {
    let (mut rig, script) = watching(JoinPolicy::Open, true);
    rig.client.watch(false);
    let entry = asking(&rig, "bob", request("bob", "bob", script.chain.topic()));
    let told = |rig: &mut Rig| rig.events().iter().filter(|e| matches!(e, Event::Requested(_))).count();
    rig.say(&[BrokerFrame::Requested { entry: entry.clone() }]);
    rig.say(&[BrokerFrame::RotateDue { name: topic("t/1") }]);
    assert_eq!((told(&mut rig), rig.heard().len()), (1, 0));
    rig.client.watch(true);
    let heard = rig.heard();
    let [ClientFrame::ListRequests { request, follow: true, .. }, ClientFrame::Open { name, .. }] =
        &heard[..]
    else {
        panic!("{heard:?}")
    };
    assert_eq!(*name, topic("t/1"), "what was due is");
    rig.say(&[BrokerFrame::Requests { request: *request, more: false, requests: vec![entry] }]);
    open(&mut rig, &script);
    assert!(appended(&mut rig).is_some());
    assert_eq!(told(&mut rig), 0, "it was told of before");
    rig.client.watch(true);
    assert!(rig.heard().is_empty(), "nothing has changed");
}

#[test]
fn who_asks_for_a_topic_that_was_made_anew_is_heard_at_once() {
    let (mut rig, script) = watching(JoinPolicy::Ask, true);
    for id in [script.chain.topic(), TopicId([8; 32])] {
        let entry = asking(&rig, "bob", request("bob", "bob", id));
        rig.say(&[BrokerFrame::Requested { entry }]);
        assert_eq!(rig.events().iter().filter(|e| matches!(e, Event::Requested(_))).count(), 1);
    }
}

#[test]
fn a_broker_that_names_topics_without_end_is_not_remembered_for_it() {
    let (mut rig, _) = watching(JoinPolicy::Ask, true);
    for n in 0..100 {
        rig.say(&[BrokerFrame::RotateDue { name: topic(&format!("t/{n}")) }]);
        for frame in rig.heard() {
            let ClientFrame::Open { request, .. } = frame else { panic!("{frame:?}") };
            let (code, text) = (RefuseCode::NoSuchTopic, String::new());
            rig.say(&[BrokerFrame::Refused { request, code, detail: 0, text }]);
        }
    }
    assert_eq!(rig.client.topics.len(), 0);
}

#[test]
fn what_is_done_by_itself_waits_once_of_a_kind() {
    let (mut rig, script) = watching(JoinPolicy::Open, true);
    let ask = asking(&rig, "bob", request("bob", "bob", script.chain.topic()));
    for n in 0..100 {
        let entry = JoinEntry { time: Wall(NOON.0 + n * 20_000), ..ask.clone() };
        rig.say(&[BrokerFrame::RotateDue { name: topic("a/b") }, BrokerFrame::Requested { entry }]);
    }
    assert_eq!(rig.client.topics[&topic("a/b")].amendments.len(), 2);
}

#[test]
fn nobody_is_let_in_by_itself_against_the_rules() {
    let other = TopicId([8; 32]);
    for case in ["ask", "no list", "other topic", "forged", "barred", "other key"] {
        let policy = if case == "ask" { JoinPolicy::Ask } else { JoinPolicy::Open };
        let (mut rig, mut script) = watching(policy, case != "no list");
        let id = if case == "other topic" { other } else { script.chain.topic() };
        if case == "barred" {
            script.admit(&rig.world, "bob", 3);
            script.remove(&rig.world, "bob", 4);
        }
        if case == "other key" {
            rig.client.pins.pin_peer(&name("bob"), Fingerprint([1; 32]), NOON);
        }
        let ask = request("bob", if case == "forged" { "carol" } else { "bob" }, id);
        rig.say(&[BrokerFrame::Requested { entry: asking(&rig, "bob", ask) }]);
        let is_doubtful = ["forged", "other key"].contains(&case);
        if is_doubtful {
            assert!(rig.heard().is_empty(), "{case}");
        } else {
            open(&mut rig, &script);
        }
        assert!(appended(&mut rig).is_none(), "{case}");
        let events = rig.events();
        let refusals = events.iter().filter(|e| matches!(e, Event::Notice(Notice::NotLetIn { .. }))).count();
        let is_said = !is_doubtful && case != "ask";
        assert_eq!(refusals, usize::from(is_said), "{case}: {events:?}");
        let faults = events.iter().filter(|e| matches!(e, Event::Requested(r) if r.fault.is_some())).count();
        assert_eq!(faults, usize::from(is_doubtful), "{case}");
    }
}

#[test]
fn a_due_rotation_is_not_done_on_the_broker_s_word() {
    let (mut rig, mut script) = watching(JoinPolicy::Ask, true);
    script.admit(&rig.world, "bob", 3);
    rig.say(&[BrokerFrame::RotateDue { name: topic("a/b") }]);
    open(&mut rig, &script);
    let bob = rig.world.client("bob").1;
    let answer = |rig: &mut Rig| {
        let heard = rig.heard();
        let [ClientFrame::GetCertificates { request, .. }] = heard[..] else { panic!("{heard:?}") };
        let clients = vec![ClientEntry { certificate: bob.clone(), last_seen: Wall(0) }];
        rig.say(&[BrokerFrame::Clients { request, more: false, clients }]);
    };
    answer(&mut rig);
    assert!(appended(&mut rig).is_none(), "our list does not name bob");
    rig.say(&[BrokerFrame::RotateDue { name: topic("a/b") }]);
    assert!(rig.heard().is_empty(), "it is not looked at again by the same list");

    // A newer list does: now he goes, without being told again.
    let serial = *rig.world.verified(&bob, Role::Client).serial();
    let crl = rig.world.crl(&[serial], 2);
    rig.say(&[BrokerFrame::CrlChanged { number: 2 }]);
    let heard = rig.heard();
    let [ClientFrame::GetCrl { request, .. }] = heard[..] else { panic!("{heard:?}") };
    let total = crl.len() as u32;
    rig.say(&[BrokerFrame::CrlPart { request, number: 2, total, from: 0, part: crl }]);
    answer(&mut rig);
    assert!(appended(&mut rig).is_some());
}

#[test]
fn who_has_sent_under_a_later_certificate_is_not_removed_for_the_old_one() {
    for has_sent in [true, false] {
        let (mut rig, mut script) = watching(JoinPolicy::Ask, true);
        script.admit(&rig.world, "bob", 3);
        let old = rig.world.client("bob").1;
        let serial = *rig.world.verified(&old, Role::Client).serial();
        let crl = rig.world.crl(&[serial], 2);
        rig.client.trust.update_crl(&crl, rig.now.wall).expect("a newer list");
        rig.say(&[BrokerFrame::RotateDue { name: topic("a/b") }]);
        open(&mut rig, &script);
        if has_sent {
            let mut bob = Author::new(&rig.world, "bob", PublisherId([9; 16]), SENDER + 1);
            bob.certificate = rig.world.renewed("bob").der().to_vec();
            rig.say(&[bob.introduce()]);
        }
        let heard = rig.heard();
        let [ClientFrame::GetCertificates { request, .. }] = heard[..] else { panic!("{heard:?}") };
        let clients = vec![ClientEntry { certificate: old, last_seen: Wall(0) }];
        rig.say(&[BrokerFrame::Clients { request, more: false, clients }]);
        assert_eq!(appended(&mut rig).is_some(), !has_sent);
    }
}

#[test]
fn what_is_not_followed_is_not_listened_to() {
    let mut rig = Rig::connected("alice");
    rig.say(&[BrokerFrame::RotateDue { name: topic("a/b") }]);
    assert!(rig.events().iter().any(|e| matches!(e, Event::Disconnected { .. })));
}

#[test]
fn a_topic_is_dropped_and_its_retention_set_by_name() {
    let mut rig = Rig::connected("alice");
    let retention = Retention { count: 3, ..Retention::default() };
    rig.client.set_retention(&topic("a/b"), retention);
    let heard = rig.heard();
    let [ClientFrame::SetRetention { request, .. }] = heard[..] else { panic!("{heard:?}") };
    rig.say(&[BrokerFrame::Done { request }]);
    assert!(matches!(rig.answers()[..], [(_, Ok(Answer::RetentionSet { .. }))]));
    rig.client.delete(&topic("a/b"));
    let heard = rig.heard();
    let [ClientFrame::Delete { request, .. }] = heard[..] else { panic!("{heard:?}") };
    rig.say(&[BrokerFrame::Refused {
        request,
        code: RefuseCode::NotAllowed,
        detail: 0,
        text: String::new(),
    }]);
    assert!(matches!(rig.answers()[..], [(_, Err(Failure::NotAllowed { .. }))]));
    rig.client.delete(&topic("a/b"));
    rig.run();
    rig.cut();
    assert!(matches!(rig.answers()[..], [(_, Err(Failure::ConnectionLost))]), "not done twice");
}
