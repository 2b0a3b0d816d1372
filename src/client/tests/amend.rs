//! Changing who is a member, before a broker that helps, refuses, loses or lies.

use super::rig::{Rig, topic};
use super::topic::{HANDLE, Script};
use crate::base::ids::{Epoch, Fingerprint, RequestId};
use crate::base::limits::{CHAIN_RECORD_BYTES_MAX, MEMBERS_MAX};
use crate::base::names::Name;
use crate::base::time::Wall;
use crate::chain::{Chain, DeltaBuilder, Genesis, History, JoinPolicy, Role as MemberRole};
use crate::client::amend::additions_max;
use crate::client::create::members_of;
use crate::client::{Amended, Answer, Failure, GrantAs, Join};
use crate::crypto::cert::Role;
use crate::crypto::cert::testing::{NOON, Seeded, key, name};
use crate::wire::frame::{BrokerFrame, ClientFrame};
use crate::wire::values::{ClientEntry, RefuseCode};

/// Whether a failure is the one that it should be.
type IsIt = fn(&Failure) -> bool;

/// A record that the broker was given, with its wraps.
struct Given {
    request: RequestId,
    record: Vec<u8>,
    wraps: Vec<Vec<u8>>,
}

fn me(rig: &Rig) -> Fingerprint {
    rig.client.identity.certificate.fingerprint()
}

/// Alice's topic with bob, whose records she has.
fn opened(rig: &mut Rig, ask: impl FnOnce(&mut Rig)) -> Script {
    let script = Script::new(&rig.world, "a/b", "alice", &["bob"], 3);
    ask(rig);
    open(rig, &script);
    script
}

fn open(rig: &mut Rig, script: &Script) {
    let heard = rig.heard();
    let open = heard.iter().find_map(|frame| match frame {
        ClientFrame::Open { request, .. } => Some(*request),
        _ => None,
    });
    let end = script.records.len() as u64;
    let mut frames = vec![script.announce(open.expect("it opens the topic"), end, end)];
    frames.extend(script.all_records(me(rig)));
    frames.push(BrokerFrame::CaughtUp { topic: HANDLE, next: crate::base::ids::Offset(end) });
    rig.say(&frames);
}

fn clients(request: RequestId, more: bool, certificates: &[Vec<u8>]) -> BrokerFrame {
    let entry = |c: &Vec<u8>| ClientEntry { certificate: c.clone(), last_seen: Wall(0) };
    BrokerFrame::Clients { request, more, clients: certificates.iter().map(entry).collect() }
}

fn names_asked(rig: &mut Rig) -> (RequestId, Vec<Name>) {
    let heard = rig.heard();
    let [ClientFrame::ListClients { request, names, .. }] = &heard[..] else { panic!("{heard:?}") };
    (*request, names.clone())
}

fn keys_asked(rig: &mut Rig) -> (RequestId, Vec<Fingerprint>) {
    let heard = rig.heard();
    let [ClientFrame::GetCertificates { request, fingerprints }] = &heard[..] else { panic!("{heard:?}") };
    (*request, fingerprints.clone())
}

fn given(rig: &mut Rig) -> Given {
    let (mut staged, mut given) = (Vec::new(), None);
    for frame in rig.heard() {
        match frame {
            ClientFrame::Wraps { wraps } => staged.extend(wraps),
            ClientFrame::Append { request, topic: HANDLE, record } => {
                given = Some(Given { request, record, wraps: std::mem::take(&mut staged) });
            }
            other => panic!("{other:?}"),
        }
    }
    given.expect("an Append")
}

/// Takes a record as an honest broker does, and sends it back.
fn land(rig: &mut Rig, script: &mut Script, given: &Given) {
    rig.say(&[BrokerFrame::Done { request: given.request }]);
    script.adopt(&given.record, given.wraps.clone());
    let number = script.records.len() - 1;
    rig.say(&[script.record(number, me(rig))]);
}

fn result(rig: &mut Rig) -> Result<Amended, Failure> {
    let mut answers = rig.answers();
    assert_eq!(answers.len(), 1, "{answers:?}");
    match answers.remove(0).1 {
        Ok(Answer::Amended(amended)) => Ok(amended),
        Ok(other) => panic!("{other:?}"),
        Err(failure) => Err(failure),
    }
}

fn names(who: &[&str]) -> Vec<Name> {
    who.iter().map(|who| name(who)).collect()
}

#[test]
fn a_grant_brings_one_wrap_and_a_removal_a_key_for_those_who_stay() {
    let mut rig = Rig::connected("alice");
    let grant = |rig: &mut Rig| _ = rig.client.grant(&topic("a/b"), names(&["carol"]), GrantAs::Member);
    let mut script = opened(&mut rig, grant);
    let (request, asked) = names_asked(&mut rig);
    assert_eq!(asked, names(&["carol"]));
    let carol = rig.world.client("carol").1;
    rig.say(&[clients(request, false, &[carol])]);
    let granted = given(&mut rig);
    assert_eq!(granted.wraps.len(), 1);
    land(&mut rig, &mut script, &granted);
    let answer = result(&mut rig).expect("it was done");
    assert_eq!((answer.number, answer.members, answer.new_epoch), (2, 3, false));
    assert_eq!(answer.added[0].name, name("carol"));

    rig.client.revoke(&topic("a/b"), names(&["bob", "dave"]));
    let (request, asked) = keys_asked(&mut rig);
    let carol = rig.world.client("carol");
    assert_eq!(asked, [carol.0.public().fingerprint()], "neither ours nor that of who leaves");
    rig.say(&[clients(request, false, &[carol.1])]);
    let revoked = given(&mut rig);
    assert_eq!(revoked.wraps.len(), 2);
    land(&mut rig, &mut script, &revoked);
    let answer = result(&mut rig).expect("it was done");
    assert_eq!((answer.epoch, answer.new_epoch, answer.members), (Epoch(1), true, 2));
    assert_eq!(answer.unchanged, names(&["dave"]));
    let records = &rig.client.topics[&topic("a/b")].records;
    assert!(records.keyring().has(Epoch(0)) && records.keyring().has(Epoch(1)), "our own wrap opens");
    // Carol reads on back: her wrap opens, and the key before is under it.
    let mut reader = Rig::connected("carol");
    reader.client.open(&topic("a/b"));
    open(&mut reader, &script);
    let records = &reader.client.topics[&topic("a/b")].records;
    assert!(records.keyring().has(Epoch(0)) && records.keyring().has(Epoch(1)));
}

#[test]
fn what_is_so_already_takes_no_record() {
    let mut rig = Rig::connected("alice");
    opened(&mut rig, |rig| _ = rig.client.set_join_policy(&topic("a/b"), Join::Ask));
    assert_eq!(result(&mut rig).expect("nothing to do").number, 1);
    rig.client.grant(&topic("a/b"), names(&["bob"]), GrantAs::Member);
    let (request, _) = names_asked(&mut rig);
    rig.say(&[clients(request, false, &[])]);
    assert_eq!(result(&mut rig).expect("nothing to do").unchanged, names(&["bob"]));
    assert!(rig.heard().is_empty());
}

#[test]
fn only_who_may_is_let_do_it() {
    let mut rig = Rig::connected("bob");
    let script = Script::new(&rig.world, "a/b", "alice", &["bob"], 3);
    rig.client.rotate(&topic("a/b"));
    open(&mut rig, &script);
    let failure = result(&mut rig).expect_err("bob is a plain member");
    assert!(matches!(&failure, Failure::NotAllowed { text, .. } if text.contains("alice")), "{failure}");
    let mut rig = Rig::connected("alice");
    opened(&mut rig, |rig| _ = rig.client.revoke(&topic("a/b"), names(&["alice"])));
    assert!(matches!(result(&mut rig), Err(Failure::NotAllowed { .. })), "the owner stays");
}

#[test]
fn who_is_let_in_must_have_one_good_key_and_the_one_that_is_pinned() {
    let cases: [(&[(&str, &str)], IsIt); 4] = [
        (&[], |f| matches!(f, Failure::UnknownClients(names) if names.len() == 1)),
        (&[("bob", "bob")], |f| matches!(f, Failure::UnknownClients(_))),
        (&[("carol", "carol"), ("carol", "bob")], |f| matches!(f, Failure::TwoKeys { .. })),
        (&[("carol", "broker")], |f| matches!(f, Failure::PeerChanged { .. })),
    ];
    for (certificates, is_it) in cases {
        let mut rig = Rig::connected("alice");
        let carol = key("carol").public().fingerprint();
        rig.client.pins.pin_peer(&name("carol"), carol, NOON);
        opened(&mut rig, |rig| _ = rig.client.grant(&topic("a/b"), names(&["carol"]), GrantAs::Member));
        let (request, _) = names_asked(&mut rig);
        let issue =
            |(who, key_of): &(&str, &str)| rig.world.issue(who, key_of, Role::Client, &[]).der().to_vec();
        let page: Vec<Vec<u8>> = certificates.iter().map(issue).collect();
        rig.say(&[clients(request, false, &page)]);
        let failure = result(&mut rig).expect_err("nobody is let in");
        assert!(is_it(&failure), "{certificates:?}: {failure}");
        assert!(rig.heard().is_empty(), "no key has left");
    }
}

#[test]
fn a_member_s_certificate_that_is_wrong_or_missing_stops_a_rotation() {
    let lies: [(&str, IsIt); 4] = [
        ("carol", |f| matches!(f, Failure::WrongCertificates { .. }) && f.exit_code() == 7),
        ("nobody", |f| matches!(f, Failure::BadClient { name, .. } if name.as_str() == "bob")),
        ("torn", |f| matches!(f, Failure::WrongCertificates { .. })),
        ("endless", |f| matches!(f, Failure::Nonsense(_))),
    ];
    for (lie, is_it) in lies {
        let mut rig = Rig::connected("alice");
        opened(&mut rig, |rig| _ = rig.client.rotate(&topic("a/b")));
        let (request, _) = keys_asked(&mut rig);
        let mut torn = rig.world.client("bob").1;
        torn[200] ^= 1;
        let page = match lie {
            // Bob's name, another key: the CA has made it, the chain does not name it.
            "carol" => vec![rig.world.issue("bob", "carol", Role::Client, &[]).der().to_vec()],
            "torn" => vec![torn],
            _ => Vec::new(),
        };
        rig.say(&[clients(request, lie == "endless", &page)]);
        let failure = result(&mut rig).expect_err("no key is wrapped");
        assert!(is_it(&failure), "{lie}: {failure}");
        assert!(rig.heard().is_empty(), "no key has left");
    }
}

#[test]
fn another_record_that_came_first_counts() {
    let mut rig = Rig::connected("alice");
    let grant = |rig: &mut Rig| _ = rig.client.grant(&topic("a/b"), names(&["carol"]), GrantAs::Member);
    let mut script = opened(&mut rig, grant);
    let (request, _) = names_asked(&mut rig);
    let carol = rig.world.client("carol").1;
    rig.say(&[clients(request, false, &[carol])]);
    let refused = given(&mut rig).request;
    let text = String::new();
    rig.say(&[BrokerFrame::Refused { request: refused, code: RefuseCode::HeadMoved, detail: 0, text }]);
    assert!(rig.heard().is_empty() && rig.answers().is_empty(), "it waits for that record");
    // Another of alice's programs has let carol in.
    script.admit(&rig.world, "carol", 2);
    rig.say(&[script.record(2, me(&rig))]);
    let answer = result(&mut rig).expect("it is so");
    assert_eq!((answer.number, answer.unchanged), (2, names(&["carol"])));

    // A broker that always says so is not followed for ever, though no record comes.
    rig.client.set_join_policy(&topic("a/b"), Join::Open);
    for _ in 0..16 {
        let refused = given(&mut rig).request;
        let text = String::new();
        rig.say(&[BrokerFrame::Refused { request: refused, code: RefuseCode::HeadMoved, detail: 0, text }]);
        rig.pass(std::time::Duration::from_secs(3));
    }
    assert_eq!(result(&mut rig), Err(Failure::Crowded(topic("a/b"))));
}

#[test]
fn a_record_that_was_taken_has_to_come_back() {
    for silent in [true, false] {
        let mut rig = Rig::connected("alice");
        let mut script = opened(&mut rig, |rig| _ = rig.client.set_join_policy(&topic("a/b"), Join::Open));
        let given = given(&mut rig);
        rig.say(&[BrokerFrame::Done { request: given.request }]);
        assert!(rig.answers().is_empty());
        if silent {
            rig.lull();
        } else {
            script.admit(&rig.world, "carol", 2);
            rig.say(&[script.record(2, me(&rig))]);
        }
        assert!(matches!(result(&mut rig), Err(Failure::Nonsense(_))), "silent {silent}");
    }
}

#[test]
fn a_lost_connection_is_looked_into_and_not_given_up() {
    for was_taken in [true, false] {
        let mut rig = Rig::connected("alice");
        let mut script = opened(&mut rig, |rig| _ = rig.client.set_join_policy(&topic("a/b"), Join::Open));
        let first = given(&mut rig);
        rig.cut();
        assert!(rig.answers().is_empty());
        rig.connect();
        if was_taken {
            script.adopt(&first.record, first.wraps);
        }
        open(&mut rig, &script);
        if !was_taken {
            let second = given(&mut rig);
            land(&mut rig, &mut script, &second);
        }
        assert_eq!(result(&mut rig).expect("it was done").number, 2, "taken {was_taken}");
    }
}

#[test]
fn the_largest_record_keeps_to_its_size() {
    let alice = key("alice");
    let long = |i: usize| name(&format!("{i:0>64}"));
    let who = |i: usize| Fingerprint(std::array::from_fn(|b| (i >> (8 * (b % 4))) as u8 ^ b as u8));
    for history in [History::All, History::SinceJoin] {
        let mut entropy = Seeded::new(4);
        let genesis = Genesis {
            name: topic("a/b"),
            nonce: [1; 32],
            owner: alice.public().fingerprint(),
            owner_name: name("alice"),
            join: JoinPolicy::Ask,
            history,
        };
        let record = genesis.sign(&alice, &mut entropy).expect("a good genesis");
        let mut chain = Chain::begin(&record, &alice.public()).expect("a good genesis");
        let names: Vec<Name> = (1..MEMBERS_MAX).map(long).collect();
        let (mut added, mut largest) = (0, 0);
        while added < names.len() {
            let new_epoch = chain.epoch().is_none() || history == History::SinceJoin;
            let count = additions_max(names[added..].iter(), chain.members().len(), new_epoch);
            assert!(count > 0, "after {added}");
            let mut delta = DeltaBuilder::new(&chain, alice.public().fingerprint(), NOON);
            for (i, name) in names.iter().enumerate().skip(added).take(count) {
                delta.add(who(i + 1), name.clone(), MemberRole::Member);
            }
            if delta.needs_epoch() {
                delta.new_epoch([1; 32], Vec::new());
            }
            let wraps = vec![vec![0; 256]; delta.recipients().expect("good members").len()];
            let record = delta.sign(&wraps, &alice, &mut entropy).expect("it is not too long");
            largest = largest.max(record.len());
            let change = chain.check(&record, &alice.public()).expect("a good delta");
            chain.apply(change).expect("the next delta");
            added += count;
        }
        assert_eq!(members_of(&chain, alice.public().fingerprint()).len(), MEMBERS_MAX);
        assert!(largest <= CHAIN_RECORD_BYTES_MAX, "{largest}");
    }
}
