//! Lies to those who may change a topic: certificates for grants and new epochs, requests, rotations.

use sealmq::base::ids::{Offset, TopicId};
use sealmq::base::names::TopicFilter;
use sealmq::broker::lies::Said;
use sealmq::chain::JoinRequest;
use sealmq::client::{Answer, CreateRequest, Event, Failure, GrantAs, Join, MemberChoice};
use sealmq::crypto::cert::Role;
use sealmq::crypto::cert::testing::Seeded;
use sealmq::wire::frame::BrokerFrame;
use sealmq::wire::values::JoinEntry;

use crate::town::{Town, name, topic_name};

const DOOR: &str = "home/door";

/// The certificate that the CA made for bob over another key than the one that is known.
fn later_bob(town: &Town) -> Vec<u8> {
    town.world.issue("bob", "other-ca", Role::Client, &[]).der().to_vec()
}

/// Whoever asks for certificates gets this one.
fn gives(certificate: Vec<u8>) -> impl FnMut(&str, Said) -> Vec<Said> {
    move |_, mut said| {
        if let BrokerFrame::Clients { clients, .. } = &mut said.frame {
            for client in clients.iter_mut() {
                client.certificate = certificate.clone();
            }
        }
        vec![said]
    }
}

/// How many records a topic has, by what its owner sees in a new run.
fn records_of(town: &mut Town, owner: &str, topic: &str) -> usize {
    town.be_honest();
    town.wake(owner);
    town.subscribe(owner, topic);
    crate::forger::records(town, owner, town.handle(owner, topic)).len()
}

/// Alice has made a topic for bob before, so she knows him.
fn alice_knows_bob() -> Town {
    let mut town = Town::awake(&["alice", "bob", "carol", "mallory"]);
    town.create("alice", DOOR, &["bob"]);
    town
}

#[test]
fn a_certificate_of_the_right_name_made_afterwards() {
    for next_run in [false, true] {
        let mut town = alice_knows_bob();
        let later = later_bob(&town);
        if next_run {
            town.wake("alice");
        }
        town.lie(gives(later));
        let (pinned, now) = (town.fingerprint("bob"), town.fingerprint("mallory"));
        let changed = Failure::PeerChanged { name: name("bob"), pinned, now };
        assert_eq!(town.try_create("alice", "home/lamp", &["bob"]), Err(changed));
        let is_lamp = |said: &Said| matches!(&said.frame, BrokerFrame::Topic { name, .. } if name.as_str() == "home/lamp");
        assert!(!town.truth("alice").iter().any(is_lamp), "no topic, no wrap");
    }
}

#[test]
fn a_later_certificate_for_a_grant() {
    let mut town = Town::awake(&["alice", "bob", "mallory"]);
    town.create("alice", "home/lamp", &["bob"]);
    town.create("alice", DOOR, &[]);
    let later = later_bob(&town);
    town.lie(gives(later));
    let topic = topic_name(DOOR);
    let answer = town.ask("alice", |c| c.grant(&topic, vec![name("bob")], GrantAs::Member));
    let (pinned, now) = (town.fingerprint("bob"), town.fingerprint("mallory"));
    assert_eq!(answer, Err(Failure::PeerChanged { name: name("bob"), pinned, now }));
    assert_eq!(records_of(&mut town, "alice", DOOR), 2);
}

#[test]
fn another_certificate_for_a_member_of_a_new_epoch() {
    for certificate in [later_bob, |town: &Town| town.certificate("mallory").der().to_vec()] {
        let mut town = alice_knows_bob();
        town.wake("alice");
        let given = certificate(&town);
        town.lie(gives(given));
        let topic = topic_name(DOOR);
        let answer = town.ask("alice", |c| c.rotate(&topic));
        match answer {
            Err(Failure::WrongCertificates { topic, .. }) => assert_eq!(topic, topic_name(DOOR)),
            other => panic!("not wrong certificates but {other:?}"),
        }
        assert_eq!(records_of(&mut town, "alice", DOOR), 2);
    }
}

#[test]
fn withholds_a_members_certificate() {
    let mut town = alice_knows_bob();
    town.wake("alice");
    town.lie(|_, mut said| {
        if let BrokerFrame::Clients { clients, .. } = &mut said.frame {
            clients.clear();
        }
        vec![said]
    });
    let topic = topic_name(DOOR);
    let answer = town.ask("alice", |c| c.rotate(&topic));
    assert!(
        matches!(&answer, Err(Failure::BadClient { name: who, .. }) if *who == name("bob")),
        "{answer:?}"
    );
    assert_eq!(records_of(&mut town, "alice", DOOR), 2);
}

/// Alice's open topic without carol and mallory; she lets in by herself who may be.
fn an_open_door() -> (Town, TopicId) {
    let mut town = Town::awake(&["alice", "bob", "carol", "mallory"]);
    // Nobody is let in without a list that is in force.
    town.revoke(&[], 1);
    let members = MemberChoice::Only(vec![name("bob"), name("carol")]);
    let request = CreateRequest { members, join: Join::Open, ..CreateRequest::in_memory(topic_name(DOOR)) };
    let id = match town.ask("alice", |client| client.create(request)) {
        Ok(Answer::Created(created)) => created.id,
        other => panic!("not made but {other:?}"),
    };
    town.revoke_member("alice", DOOR, "carol");
    town.client("alice").watch(true);
    town.run();
    town.events("alice");
    (town, id)
}

/// A request in `who`'s name, signed by `signer`.
fn request(town: &Town, topic: TopicId, who: &str, signer: &str) -> JoinEntry {
    let asked = JoinRequest {
        name: topic_name(DOOR),
        topic,
        who: town.fingerprint(who),
        who_name: name(who),
        time: town.now.wall,
    };
    JoinEntry {
        topic: topic_name(DOOR),
        time: town.now.wall,
        ask: asked.sign(town.key(signer), &mut Seeded::new(8)).expect("a sound machine"),
        certificate: town.certificate(who).der().to_vec(),
    }
}

/// Alice hears of a request; what is wrong with it, by what she tells, and how many records there are then.
fn alice_hears(town: &mut Town, entry: JoinEntry) -> (Option<String>, usize) {
    town.tell("alice", vec![BrokerFrame::Requested { entry }.into()]);
    town.run();
    let told = town.events("alice");
    let fault = told.into_iter().find_map(|event| match event {
        Event::Requested(request) => Some(request.fault),
        _ => None,
    });
    (fault.expect("a request that is told of"), records_of(town, "alice", DOOR))
}

#[test]
fn the_truth() {
    let (mut town, id) = an_open_door();
    let entry = request(&town, id, "mallory", "mallory");
    assert_eq!(alice_hears(&mut town, entry), (None, 4), "who may be is let in");
}

#[test]
fn a_request_that_nobody_signed() {
    let (mut town, id) = an_open_door();
    let entry = request(&town, id, "mallory", "bob");
    let (fault, records) = alice_hears(&mut town, entry);
    assert!(fault.expect("a fault").contains("signed"), "the signature is what is wrong");
    assert_eq!(records, 3);
}

#[test]
fn a_request_with_the_certificate_of_another() {
    let (mut town, id) = an_open_door();
    let mut entry = request(&town, id, "mallory", "mallory");
    entry.certificate = town.certificate("carol").der().to_vec();
    let (fault, records) = alice_hears(&mut town, entry);
    assert!(fault.is_some());
    assert_eq!(records, 3);
}

#[test]
fn a_request_for_another_topic_of_the_name() {
    let (mut town, _) = an_open_door();
    let entry = request(&town, TopicId([7; 32]), "mallory", "mallory");
    let (fault, records) = alice_hears(&mut town, entry);
    assert!(fault.expect("a fault").contains("another topic"));
    assert_eq!(records, 3);
}

#[test]
fn one_who_was_removed_asks_under_an_open_policy() {
    let (mut town, id) = an_open_door();
    let entry = request(&town, id, "carol", "carol");
    let (fault, records) = alice_hears(&mut town, entry);
    assert!(fault.expect("a fault").contains("removed"));
    assert_eq!(records, 3, "carol is not let in by itself");
}

#[test]
fn one_who_was_removed_asks_somebody_new_to_the_topic() {
    // Alice's client has just started, and has not seen the topic's records yet.
    let (mut town, id) = an_open_door();
    town.wake("alice");
    town.client("alice").watch(true);
    let entry = request(&town, id, "carol", "carol");
    town.tell("alice", vec![BrokerFrame::Requested { entry }.into()]);
    town.run();
    assert_eq!(records_of(&mut town, "alice", DOOR), 3, "carol is not let in by itself");
}

#[test]
fn a_rotation_that_is_not_due() {
    let (mut town, _) = an_open_door();
    town.tell("alice", vec![BrokerFrame::RotateDue { name: topic_name(DOOR) }.into()]);
    town.run();
    assert_eq!(records_of(&mut town, "alice", DOOR), 3, "nobody was removed on the broker's word");
}

#[test]
fn one_who_was_removed_reads_nothing_new() {
    let mut town = Town::awake(&["alice", "bob", "carol"]);
    town.create("alice", DOOR, &["bob", "carol"]);
    town.subscribe("carol", DOOR);
    town.subscribe("bob", DOOR);
    town.revoke_member("alice", DOOR, "carol");
    town.publish("bob", DOOR, b"is she gone?");
    town.events("carol");
    // The broker gives carol all that it has: the record, bob's wrap, the message.
    let (bobs, carols) = (town.handle("bob", DOOR), town.handle("carol", DOOR));
    let mut leak: Vec<Said> = town
        .truth("bob")
        .into_iter()
        .filter(|said| match &said.frame {
            BrokerFrame::Record { topic, offset, .. } => *topic == bobs && *offset == Offset(2),
            BrokerFrame::Message { topic, .. } | BrokerFrame::Sender { topic, .. } => *topic == bobs,
            _ => false,
        })
        .collect();
    for said in &mut leak {
        match &mut said.frame {
            BrokerFrame::Record { topic, .. }
            | BrokerFrame::Message { topic, .. }
            | BrokerFrame::Sender { topic, .. } => *topic = carols,
            _ => {}
        }
    }
    town.tell("carol", leak);
    let news = town.news("carol");
    assert!(news.messages.is_empty(), "{:?}", news.messages);
}

/// What alice is answered when she asks who wants to join, and the broker says this instead of the truth.
fn alice_lists_under(
    town: &mut Town,
    mut lie: impl FnMut(&mut bool, &mut Vec<JoinEntry>) + 'static,
) -> Option<Result<Answer, Failure>> {
    town.lie(move |_, mut said| {
        if let BrokerFrame::Requests { more, requests, .. } = &mut said.frame {
            lie(more, requests);
        }
        vec![said]
    });
    let filter = TopicFilter::from(&topic_name(DOOR));
    let ticket = town.client("alice").requests(filter);
    town.run();
    town.answer("alice", ticket)
}

#[test]
fn a_page_of_requests_that_are_not_what_they_say() {
    let (mut town, id) = an_open_door();
    let mut entries = vec![
        request(&town, id, "mallory", "bob"),
        request(&town, id, "carol", "carol"),
        request(&town, TopicId([7; 32]), "mallory", "mallory"),
        // Of another topic than it is listed under.
        JoinEntry { topic: topic_name("home/lamp"), ..request(&town, id, "mallory", "mallory") },
    ];
    // One that cannot even be read is left out.
    entries.push(JoinEntry { ask: vec![1, 2, 3], ..entries[0].clone() });
    let answer = alice_lists_under(&mut town, move |_, requests| *requests = entries.clone());
    let Some(Ok(Answer::Requests(listed))) = answer else { panic!("{answer:?}") };
    let faults: Vec<&str> = listed.iter().filter_map(|request| request.fault.as_deref()).collect();
    let [unsigned, removed, other, elsewhere] = faults[..] else { panic!("{faults:?}") };
    assert!(unsigned.contains("signed") && removed.contains("removed"), "{faults:?}");
    assert!(other.contains("another topic") && elsewhere.contains(DOOR), "{faults:?}");
    assert_eq!(records_of(&mut town, "alice", DOOR), 3, "a list lets nobody in");
}

#[test]
fn pages_of_requests_without_end() {
    for empty in [false, true] {
        let (mut town, id) = an_open_door();
        let entry = request(&town, id, "mallory", "mallory");
        let answer = alice_lists_under(&mut town, move |more, requests| {
            *more = true;
            *requests = if empty { Vec::new() } else { vec![entry.clone()] };
        });
        assert!(answer.is_none(), "{answer:?}");
        let ends = town.news("alice").ends;
        assert!(ends.iter().any(|why| why.contains("does not go on")), "{ends:?}");
    }
}
