//! Making topics.

use super::rig::{Rig, topic};
use super::topic::HANDLE;
use crate::base::ids::{Incarnation, Offset, RequestId};
use crate::base::names::Name;
use crate::base::time::Wall;
use crate::chain::Chain;
use crate::client::{
    Answer, CreateRequest, Created, Event, Failure, KnownClient, MemberChoice, MemberRole, Ticket,
};
use crate::crypto::cert::Role;
use crate::crypto::cert::testing::name;
use crate::wire::frame::{BrokerFrame, ClientFrame};
use crate::wire::values::{ClientEntry, Durability, Notice, RefuseCode};

/// What the broker is sent for a new topic.
struct Made {
    request: RequestId,
    genesis: Vec<u8>,
    delta: Vec<u8>,
    wraps: Vec<Vec<u8>>,
}

fn start(rig: &mut Rig, members: MemberChoice) -> Ticket {
    rig.client.create(CreateRequest { members, ..CreateRequest::new(topic("a/b")) })
}

/// The broker answers the question for certificates with these.
fn list(rig: &mut Rig, certificates: &[Vec<u8>]) -> Vec<Name> {
    let heard = rig.heard();
    let [ClientFrame::ListClients { request, names, .. }] = &heard[..] else { panic!("{heard:?}") };
    let entry = |c: &Vec<u8>| ClientEntry { certificate: c.clone(), last_seen: Wall(0) };
    let clients = certificates.iter().map(entry).collect();
    rig.say(&[BrokerFrame::Clients { request: *request, more: false, clients }]);
    names.clone()
}

/// The broker knows these.
pub fn welcome_clients(rig: &mut Rig, known: &[&str]) {
    let certificates: Vec<Vec<u8>> = known.iter().map(|who| rig.world.client(who).1).collect();
    list(rig, &certificates);
}

fn made(rig: &mut Rig) -> Made {
    let heard = rig.heard();
    let (mut staged, mut made) = (Vec::new(), None);
    for frame in heard {
        match frame {
            ClientFrame::Wraps { wraps } => staged.extend(wraps),
            ClientFrame::Create { request, name, durability, genesis, delta, .. } => {
                assert_eq!((name, durability), (topic("a/b"), Durability::Disk));
                made = Some(Made { request, genesis, delta, wraps: std::mem::take(&mut staged) });
            }
            other => panic!("{other:?}"),
        }
    }
    made.expect("a Create")
}

fn opened(request: RequestId) -> BrokerFrame {
    BrokerFrame::Topic {
        request,
        topic: HANDLE,
        name: topic("a/b"),
        incarnation: Incarnation(1),
        start: Offset(2),
        end: Offset(2),
        durability: Durability::Memory,
        notice: Notice::None,
    }
}

fn created(rig: &mut Rig) -> (Ticket, Created) {
    let mut answers = rig.answers();
    assert_eq!(answers.len(), 1, "{answers:?}");
    match answers.remove(0) {
        (ticket, Ok(Answer::Created(created))) => (ticket, created),
        other => panic!("{other:?}"),
    }
}

fn failure(rig: &mut Rig) -> Failure {
    let mut answers = rig.answers();
    assert_eq!(answers.len(), 1, "{answers:?}");
    answers.remove(0).1.expect_err("it failed")
}

#[test]
fn a_topic_for_all_known_clients() {
    let mut rig = Rig::connected("alice");
    let ticket = start(&mut rig, MemberChoice::AllKnown);
    let [alice, bob, carol] = ["alice", "bob", "carol"].map(|who| rig.world.client(who).1);
    let mut torn = bob.clone();
    torn[200] ^= 1;
    assert_eq!(list(&mut rig, &[alice, bob, carol, torn]), []);
    let made = made(&mut rig);
    assert_eq!(made.wraps.len(), 3);

    // The records hold, by the rules that everybody holds them to.
    let key = rig.world.client("alice").0.public();
    let mut chain = Chain::begin(&made.genesis, &key).expect("a good genesis");
    let change = chain.check(&made.delta, &key).expect("a good delta");
    change.check_wraps(made.wraps.clone()).expect("the wraps that it names");
    chain.apply(change).expect("the first delta");

    rig.say(&[opened(made.request)]);
    let (answered, created) = created(&mut rig);
    assert_eq!((answered, created.id), (ticket, chain.topic()));
    let members: Vec<_> = created.members.iter().map(|m| (m.name.as_str(), m.role, m.me)).collect();
    let expected = [
        ("alice", MemberRole::Owner, true),
        ("bob", MemberRole::Member, false),
        ("carol", MemberRole::Member, false),
    ];
    assert_eq!(members, expected);
    assert_eq!(created.skipped.len(), 1, "{:?}", created.skipped);

    // The topic is open: publishing needs the records alone.
    rig.client.publish(&topic("a/b"), b"x").expect("room");
    assert!(rig.heard().is_empty());
    let record = |offset, record: &[u8], wrap: Option<&Vec<u8>>| BrokerFrame::Record {
        topic: HANDLE,
        offset: Offset(offset),
        time: Wall(0),
        record: record.to_vec(),
        wrap: wrap.cloned().unwrap_or_default(),
        certificate: rig.world.client("alice").1,
    };
    let me = rig.client.identity.certificate.fingerprint();
    let place = chain.members().keys().position(|k| *k == me).expect("the owner is a member");
    let records = [record(0, &made.genesis, None), record(1, &made.delta, Some(&made.wraps[place]))];
    rig.say(&records);
    assert!(rig.heard().iter().any(|frame| matches!(frame, ClientFrame::Publish { .. })));
}

#[test]
fn a_topic_for_oneself_asks_for_nobody() {
    let mut rig = Rig::connected("alice");
    start(&mut rig, MemberChoice::OnlyMe);
    let made = made(&mut rig);
    assert_eq!(made.wraps.len(), 1);
    rig.say(&[opened(made.request)]);
    assert_eq!(created(&mut rig).1.members.len(), 1);
}

#[test]
fn names_are_asked_for_and_must_all_be_good() {
    let only = |names: &[&str]| MemberChoice::Only(names.iter().map(|n| name(n)).collect());
    let mut rig = Rig::connected("alice");
    let bob = rig.world.client("bob").1;
    start(&mut rig, only(&["bob"]));
    assert_eq!(list(&mut rig, std::slice::from_ref(&bob)), [name("bob")]);
    let made = made(&mut rig);
    assert_eq!(made.wraps.len(), 2);
    rig.say(&[BrokerFrame::Refused {
        request: made.request,
        code: RefuseCode::Exists,
        detail: 0,
        text: String::new(),
    }]);
    assert_eq!(failure(&mut rig), Failure::Exists(topic("a/b")));

    start(&mut rig, only(&["bob", "dave", "alice"]));
    list(&mut rig, std::slice::from_ref(&bob));
    assert_eq!(failure(&mut rig), Failure::UnknownClients(vec![name("dave")]));

    // Bob's certificate is revoked: who asked for him by name is told.
    let serial = *rig.world.verified(&bob, Role::Client).serial();
    rig.client.trust.update_crl(&rig.world.crl(&[serial], 1), rig.now.wall).expect("a good list");
    start(&mut rig, only(&["bob"]));
    list(&mut rig, std::slice::from_ref(&bob));
    let failed = failure(&mut rig);
    assert!(
        matches!(&failed, Failure::BadClient { name, why } if name.as_str() == "bob" && why.contains("revoked"))
    );
    assert_eq!(failed.exit_code(), 4);

    // And without being asked for, he is left out.
    start(&mut rig, MemberChoice::AllKnown);
    list(&mut rig, &[bob]);
    let made = self::made(&mut rig);
    rig.say(&[opened(made.request)]);
    let created = created(&mut rig).1;
    assert_eq!((created.members.len(), created.skipped.len()), (1, 1));
    assert_eq!(created.skipped[0].name, Some(name("bob")));
}

#[test]
fn a_name_with_two_keys_stops_it() {
    let mut rig = Rig::connected("alice");
    let bob = rig.world.client("bob").1;
    let other = rig.world.issue("bob", "carol", Role::Client, &[]);
    start(&mut rig, MemberChoice::AllKnown);
    list(&mut rig, &[bob, other.der().to_vec()]);
    let failed = failure(&mut rig);
    assert!(
        matches!(&failed, Failure::TwoKeys { name, fingerprints } if name.as_str() == "bob" && fingerprints.len() == 2)
    );

    let false_alice = rig.world.issue("alice", "carol", Role::Client, &[]);
    start(&mut rig, MemberChoice::AllKnown);
    list(&mut rig, &[false_alice.der().to_vec()]);
    assert!(matches!(failure(&mut rig), Failure::TwoKeys { .. }));

    // The same key twice, renewed, is one member.
    let renewed = rig.world.issue("bob", "bob", Role::Client, &[]);
    start(&mut rig, MemberChoice::AllKnown);
    let bob = rig.world.client("bob").1;
    list(&mut rig, &[bob, renewed.der().to_vec()]);
    assert_eq!(made(&mut rig).wraps.len(), 2);
}

#[test]
fn pages_are_asked_for_to_the_end_but_not_for_ever() {
    let mut rig = Rig::connected("alice");
    let ticket = rig.client.known_clients();
    let mut certificates = ["bob", "carol"].map(|who| rig.world.issue(who, who, Role::Client, &[]));
    certificates.sort_by_key(|c| c.fingerprint());
    let heard = rig.heard();
    let [ClientFrame::ListClients { request, .. }] = heard[..] else { panic!("{heard:?}") };
    let entry = |seen| ClientEntry {
        certificate: certificates[usize::from(seen > 0)].der().to_vec(),
        last_seen: Wall(seen),
    };
    rig.say(&[BrokerFrame::Clients { request, more: true, clients: vec![entry(0)] }]);
    let heard = rig.heard();
    let [ClientFrame::ListClients { request, after, .. }] = heard[..] else { panic!("{heard:?}") };
    assert_eq!(after, certificates[0].fingerprint());
    rig.say(&[BrokerFrame::Clients { request, more: false, clients: vec![entry(9)] }]);
    let answers = rig.answers();
    let [(answered, Ok(Answer::Clients(clients)))] = &answers[..] else { panic!("{answers:?}") };
    assert_eq!(*answered, ticket);
    let names: Vec<&str> = clients.iter().map(|c: &KnownClient| c.name.as_str()).collect();
    assert_eq!(names, ["bob", "carol"]);
    assert_eq!(clients.iter().filter(|c| c.last_seen == Some(Wall(9))).count(), 1);

    for ask in
        [|rig: &mut Rig| rig.client.known_clients(), |rig: &mut Rig| start(rig, MemberChoice::AllKnown)]
    {
        ask(&mut rig);
        let heard = rig.heard();
        let [ClientFrame::ListClients { request, .. }] = heard[..] else { panic!("{heard:?}") };
        rig.say(&[BrokerFrame::Clients { request, more: true, clients: Vec::new() }]);
        assert!(matches!(failure(&mut rig), Failure::Nonsense(_)));
    }
}

#[test]
fn a_lost_connection_fails_what_the_broker_may_have_done() {
    let mut rig = Rig::connected("alice");
    start(&mut rig, MemberChoice::AllKnown);
    rig.run();
    rig.cut();
    assert!(rig.answers().is_empty(), "nothing was made yet");
    rig.connect();
    rig.events();
    list(&mut rig, &[]);
    made(&mut rig);
    rig.cut();
    let events = rig.events();
    let [Event::Answer { result: Err(Failure::ConnectionLost), .. }, Event::Disconnected { .. }] = events[..]
    else {
        panic!("{events:?}")
    };
}
