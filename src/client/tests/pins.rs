//! What is remembered from an earlier run, and what is found out by it.

use super::author::Author;
use super::create::welcome_clients;
use super::rig::{Rig, filter, topic};
use super::subscribe::{me, subscribe};
use super::topic::{HANDLE, INCARNATION, PUBLISHER, SENDER, Script};
use crate::base::Wall;
use crate::base::ids::{Counter, Fingerprint, Incarnation, Offset, PublisherId};
use crate::base::names::Name;
use crate::client::pins::{Acquaintance, PEERS_MAX, PLACES_MAX, PeerChanged, Pins, Place};
use crate::client::{ClientConfig, CreateRequest, Event, Failure, IntegrityFault, MemberChoice, Notice};
use crate::crypto::cert::testing::{NOON, World, key, name, world};
use crate::crypto::cert::{Role, Serial};
use crate::wire::frame::{BrokerFrame, ClientFrame};
use crate::wire::values::Start;

/// Bob in another run, with what the earlier one remembered.
fn again(pins: &Pins) -> Rig {
    let config = ClientConfig { host: "localhost".into(), ..ClientConfig::default() };
    let mut rig = Rig::remembering("bob", config, pins.clone());
    rig.connect();
    rig.events();
    rig
}

/// Has bob open the topic for its records, and all of them come.
fn open(rig: &mut Rig, script: &Script) {
    announce(rig, script);
    let mut frames = script.all_records(me(rig));
    frames.push(caught_up(script));
    rig.say(&frames);
}

fn announce(rig: &mut Rig, script: &Script) {
    rig.client.open(&script.name);
    let heard = rig.heard();
    let [ClientFrame::Open { request, .. }] = heard[..] else { panic!("{heard:?}") };
    rig.say(&[script.announce(request, 2, 2)]);
}

fn caught_up(script: &Script) -> BrokerFrame {
    let last = script.records.last().expect("a topic has records");
    BrokerFrame::CaughtUp { topic: HANDLE, next: last.offset.next() }
}

/// What a run of bob's remembers that has seen all of this.
fn pinned(script: &Script) -> Pins {
    let mut rig = again(&Pins::default());
    open(&mut rig, script);
    assert_eq!(faults(&mut rig), []);
    assert!(rig.client.take_pins_change());
    assert!(!rig.client.take_pins_change(), "once");
    rig.client.pins().clone()
}

fn faults(rig: &mut Rig) -> Vec<(IntegrityFault, bool)> {
    let fault = |event| match event {
        Event::Integrity(integrity) => Some((integrity.fault, integrity.stopped)),
        _ => None,
    };
    rig.events().into_iter().filter_map(fault).collect()
}

fn script(world: &World, members: &[&str]) -> Script {
    Script::new(world, "a/b", "alice", members, 1)
}

fn print(who: &str) -> Fingerprint {
    key(who).public().fingerprint()
}

/// Somebody who is pinned to a key.
fn knowing(who: &str, fingerprint: Fingerprint) -> Pins {
    let mut pins = Pins::default();
    assert!(pins.pin_peer(&name(who), fingerprint, NOON));
    pins
}

#[test]
fn a_first_sight_is_remembered() {
    let script = script(&world(), &["bob", "carol"]);
    let pins = pinned(&script);
    let topic = &pins.topics[&script.name];
    assert_eq!((topic.id, topic.owner, topic.number), (script.chain.topic(), print("alice"), 1));
    assert_eq!((topic.head, topic.log), (script.chain.head(), Some(INCARNATION)));
    let peers: Vec<(&str, Fingerprint)> =
        pins.peers.iter().map(|(who, pin)| (who.as_str(), pin.fingerprint)).collect();
    assert_eq!(peers, [("alice", print("alice")), ("carol", print("carol"))], "all but oneself");
}

#[test]
fn the_same_and_more_of_it_is_silent() {
    let mut script = script(&world(), &["bob"]);
    let pins = pinned(&script);
    script.rotate(5);
    let mut rig = again(&pins);
    open(&mut rig, &script);
    assert_eq!(faults(&mut rig), []);
    assert_eq!(rig.client.pins().topics[&script.name].number, 2);
    assert!(rig.client.take_pins_change());

    let mut rig = again(&rig.client.pins().clone());
    open(&mut rig, &script);
    assert!(!rig.client.take_pins_change(), "nothing new");
}

#[test]
fn a_topic_of_the_same_owner_is_taken_and_of_another_is_not() {
    let world = world();
    let mut pins = pinned(&script(&world, &["bob"]));
    let place = Place { offset: Offset(3), counter: Counter(0), hash: [1; 32] };
    let pin = pins.topics.values_mut().next().expect("the topic");
    (pin.next, pin.places) = (Offset(4), [((print("alice"), PUBLISHER), place)].into());
    let anew = Script::new(&world, "a/b", "alice", &["bob"], 9);
    let mut rig = again(&pins);
    open(&mut rig, &anew);
    let is_told = |event: &Event| matches!(event, Event::Notice(Notice::TopicReplaced { .. }));
    assert!(rig.events().iter().any(is_told));
    let pin = &rig.client.pins().topics[&anew.name];
    assert_eq!((pin.id, pin.next, pin.places.len()), (anew.chain.topic(), Offset(0), 0));

    // The one that was replaced does not come back.
    let replaced = rig.client.pins().clone();
    let old = script(&world, &["bob"]);
    let mut rig = again(&replaced);
    open(&mut rig, &old);
    let fault = IntegrityFault::OtherTopic { before: anew.chain.topic(), now: old.chain.topic() };
    assert_eq!(faults(&mut rig), [(fault, true)]);
    // Nor by another process of ours, though that met it later.
    let mut late = Pins::default();
    late.pin_topic(&old.chain, Wall(u64::MAX));
    for (mut first, second) in [(late.clone(), replaced.clone()), (replaced, late)] {
        first.merge(second);
        assert_eq!(first.topics[&anew.name].id, anew.chain.topic());
    }

    let stolen = Script::new(&world, "a/b", "carol", &["bob"], 9);
    let mut rig = again(&pins);
    open(&mut rig, &stolen);
    let fault = IntegrityFault::OwnerChanged {
        pinned: print("alice"),
        pinned_name: name("alice"),
        now: print("carol"),
        now_name: name("carol"),
    };
    for side in [print("alice").to_string(), print("carol").to_string()] {
        assert!(fault.to_string().contains(&side), "{fault}");
    }
    assert_eq!(faults(&mut rig), [(fault.clone(), true)]);
    assert_eq!(rig.client.pins().topics[&stolen.name].owner, print("alice"), "the pin stays");
    let ticket = rig.client.publish(&stolen.name, b"x").expect("room");
    let refused = Failure::Integrity(stolen.name.clone(), fault);
    assert_eq!(refused.exit_code(), 7);
    assert_eq!(rig.answers(), [(ticket, Err(refused))]);
}

#[test]
fn an_owner_with_a_key_that_was_replaced_is_the_same_owner() {
    let world = world();
    let mut pins = pinned(&script(&world, &["bob"]));
    // Alice now has the key that is carol's in this world, as a person has said.
    pins.replace_peer(&name("alice"), print("carol"), NOON);
    let (new_key, new_certificate) =
        (key("carol"), world.issue("alice", "carol", Role::Client, &[]).der().to_vec());
    let anew = Script::by(&world, "a/b", "alice", (new_key, new_certificate), &["bob"], 9);
    let mut rig = again(&pins);
    open(&mut rig, &anew);
    assert_eq!(faults(&mut rig), []);
    assert_eq!(rig.client.pins().topics[&anew.name].owner, print("carol"));
}

#[test]
fn an_older_state_is_found_out_once_there_is_no_more() {
    let world = world();
    let old = script(&world, &["bob"]);
    let mut new = script(&world, &["bob"]);
    new.rotate(5);
    new.rotate(6);
    let pins = pinned(&new);
    let mut rig = again(&pins);
    let ticket = rig.client.publish(&old.name, b"x").expect("room");
    let heard = rig.heard();
    let [ClientFrame::Open { request, .. }] = heard[..] else { panic!("{heard:?}") };
    rig.say(&[old.announce(request, 2, 2)]);
    let records = old.all_records(me(&rig));
    rig.say(&records);
    // It has the key of an epoch, but that one may be over.
    assert!(rig.heard().is_empty());
    assert!(rig.events().is_empty());
    rig.say(&[caught_up(&old)]);
    let fault = IntegrityFault::OlderChain { pinned: 3, now: 1 };
    let events = rig.events();
    let [Event::Integrity(integrity), Event::Answer { ticket: answered, result: Err(failure) }] = &events[..]
    else {
        panic!("{events:?}")
    };
    assert_eq!((&integrity.fault, integrity.stopped, *answered), (&fault, true, ticket));
    assert_eq!(*failure, Failure::Integrity(old.name.clone(), fault));
    assert!(rig.heard().is_empty(), "nothing was published");
}

#[test]
fn a_broker_that_does_not_say_when_it_is_done_gets_nothing_either() {
    let world = world();
    let old = script(&world, &["bob"]);
    let mut new = script(&world, &["bob"]);
    new.rotate(5);
    let mut rig = again(&pinned(&new));
    rig.client.publish(&old.name, b"x").expect("room");
    let heard = rig.heard();
    let [ClientFrame::Open { request, .. }] = heard[..] else { panic!("{heard:?}") };
    rig.say(&[old.announce(request, 2, 2)]);
    let records = old.all_records(me(&rig));
    rig.say(&records);
    rig.pass(std::time::Duration::from_secs(11));
    assert!(!rig.heard().iter().any(|frame| matches!(frame, ClientFrame::Publish { .. })));
    assert_eq!(faults(&mut rig), [(IntegrityFault::OlderChain { pinned: 2, now: 1 }, true)]);
}

#[test]
fn nothing_is_shown_under_an_older_state() {
    let world = world();
    let old = script(&world, &["bob", "carol"]);
    let mut new = script(&world, &["bob", "carol"]);
    new.remove(&world, "carol", 5);
    let mut rig = again(&pinned(&new));
    subscribe(&mut rig, &old, 2, 20);
    // Carol was removed, and her friend the broker never says that all records have come.
    let carol = Author::new(&world, "carol", PublisherId([9; 16]), SENDER + 1);
    let (frame, body) = old.message_of(&carol, 2, 0, b"still here");
    rig.say_with(&[carol.introduce(), frame], &[&body]);
    let events = rig.events();
    let [Event::Integrity(integrity)] = &events[..] else { panic!("{events:?}") };
    assert_eq!(
        (&integrity.fault, integrity.stopped),
        (&IntegrityFault::OlderChain { pinned: 2, now: 1 }, true)
    );
    assert!(!rig.client.pins().topics[&old.name].places.contains_key(&(carol.fingerprint, carol.publisher)));
}

#[test]
fn publishing_begins_when_the_pinned_record_has_come() {
    let mut script = script(&world(), &["bob"]);
    script.rotate(5);
    let mut rig = again(&pinned(&script));
    rig.client.publish(&script.name, b"x").expect("room");
    let heard = rig.heard();
    let [ClientFrame::Open { request, .. }] = heard[..] else { panic!("{heard:?}") };
    let records = script.all_records(me(&rig));
    rig.say(&[script.announce(request, 2, 2)]);
    rig.say(&records[..2]);
    assert!(rig.heard().is_empty());
    rig.say(&records[2..]);
    let epochs: Vec<u32> = rig
        .heard()
        .into_iter()
        .filter_map(|frame| match frame {
            ClientFrame::Publish { epoch, .. } => Some(epoch.0),
            _ => None,
        })
        .collect();
    assert_eq!(epochs, [1], "before all is known to have come");
}

#[test]
fn another_record_at_the_pinned_number_is_a_fork() {
    let world = world();
    let pins = pinned(&script(&world, &["bob"]));
    let fork = script(&world, &["bob", "carol"]);
    let mut rig = again(&pins);
    open(&mut rig, &fork);
    assert_eq!(faults(&mut rig), [(IntegrityFault::OtherHistory, true)]);
}

#[test]
fn records_stay_where_they_are() {
    let mut script = script(&world(), &["bob"]);
    script.rotate(5);
    let mut rig = again(&Pins::default());
    open(&mut rig, &script);
    rig.cut();
    rig.connect();
    rig.events();
    // The messages between them were records, says the broker now.
    script.records[1].offset = Offset(4);
    open(&mut rig, &script);
    assert_eq!(faults(&mut rig), [(IntegrityFault::OtherHistory, true)]);
}

#[test]
fn a_topic_is_in_one_log_for_good() {
    let script = script(&world(), &["bob"]);
    let mut pins = pinned(&script);
    pins.topics.values_mut().for_each(|pin| pin.log = Some(Incarnation(1)));
    let mut rig = again(&pins);
    open(&mut rig, &script);
    assert_eq!(faults(&mut rig), [(IntegrityFault::OtherLog, true)]);
}

#[test]
fn names_keep_their_keys() {
    let world = world();
    let other = Fingerprint([7; 32]);
    for (who, number) in [("alice", 0), ("carol", 1)] {
        let mut rig = again(&knowing(who, other));
        open(&mut rig, &script(&world, &["bob", "carol"]));
        let changed = IntegrityFault::PeerChanged { name: name(who), pinned: other, now: print(who) };
        let text = changed.to_string();
        assert!(text.contains(&other.to_string()) && text.contains(&print(who).to_string()), "{text}");
        assert_eq!(faults(&mut rig), [(changed, true)], "in record {number}");
        let is_remembered = rig.client.pins().topics.contains_key(&topic("a/b"));
        assert_eq!(is_remembered, number > 0, "nothing of an owner who is not believed");
        // Of things of the past a key that was replaced is as good.
        let mut pins = knowing(who, print(who));
        pins.replace_peer(&name(who), other, NOON).expect("known");
        let mut rig = again(&pins);
        open(&mut rig, &script(&world, &["bob", "carol"]));
        assert_eq!(faults(&mut rig), []);
        assert_eq!(rig.client.pins().peers[&name(who)].fingerprint, other);
    }
}

#[test]
fn a_sender_under_a_pinned_name_has_its_key() {
    let world = world();
    let script = script(&world, &["bob"]);
    // The CA has given somebody else alice's name.
    let false_alice = world.issue("alice", "carol", Role::Client, &[]);
    let mut rig = again(&pinned(&script));
    subscribe(&mut rig, &script, 2, 20);
    let mut author = Author::new(&world, "carol", PublisherId([9; 16]), SENDER + 1);
    (author.certificate, author.name) = (false_alice.der().to_vec(), name("alice"));
    rig.say(&[author.introduce()]);
    let (mut frame, body) = script.message(2, 0, b"x");
    let BrokerFrame::Message { sender, .. } = &mut frame else { panic!() };
    *sender = SENDER + 1;
    rig.say_with(&[frame], &[&body]);
    let (pinned, now) = (print("alice"), print("carol"));
    let changed = IntegrityFault::PeerChanged { name: name("alice"), pinned, now };
    assert_eq!(faults(&mut rig), [(changed, false)]);
    let (frame, body) = script.message(3, 0, b"good");
    rig.say_with(&[frame], &[&body]);
    assert!(matches!(&rig.events()[..], [Event::Message(m)] if m.content == b"good"), "the topic goes on");
}

#[test]
fn a_sender_who_was_never_a_member_is_not_remembered() {
    let world = world();
    let mut rig = again(&Pins::default());
    subscribe(&mut rig, &script(&world, &["bob"]), 2, 20);
    let stranger = Author::new(&world, "carol", PublisherId([9; 16]), SENDER + 1);
    rig.say(&[stranger.introduce()]);
    assert!(!rig.client.pins().peers.contains_key(&name("carol")));
}

#[test]
fn a_key_that_was_replaced_before_we_looked_is_no_change() {
    let world = world();
    let mut old = script(&world, &["bob", "carol"]);
    old.remove(&world, "carol", 5);
    // Carol has come back with another key, here that of the broker.
    old.admit_as("carol", &key("broker").public(), 6);
    let mut rig = again(&Pins::default());
    open(&mut rig, &old);
    assert_eq!(faults(&mut rig), []);
    let carol = &rig.client.pins().peers[&name("carol")];
    assert_eq!(carol.fingerprint, print("broker"));
    assert!(carol.former.contains(&print("carol")));

    // Whoever knew her before has to be told.
    let mut rig = again(&pinned(&script(&world, &["bob", "carol"])));
    open(&mut rig, &old);
    let (pinned, now) = (print("carol"), print("broker"));
    let changed = IntegrityFault::PeerChanged { name: name("carol"), pinned, now };
    assert_eq!(faults(&mut rig), [(changed.clone(), true)]);

    // And so does whoever was there when it happened.
    let mut live = script(&world, &["bob", "carol"]);
    let mut rig = again(&Pins::default());
    open(&mut rig, &live);
    live.remove(&world, "carol", 5);
    live.admit_as("carol", &key("broker").public(), 6);
    rig.say(&[live.record(2, me(&rig)), live.record(3, me(&rig))]);
    assert_eq!(faults(&mut rig), [(changed, true)]);
}

#[test]
fn an_owner_has_the_name_that_the_ca_gave_it() {
    let world = world();
    // Carol makes a topic and says that she is alice.
    let stolen = Script::by(&world, "a/b", "alice", world.client("carol"), &["bob"], 1);
    let mut rig = again(&Pins::default());
    rig.client.expect_owner(&stolen.name, name("alice"));
    open(&mut rig, &stolen);
    assert!(matches!(&faults(&mut rig)[..], [(IntegrityFault::BadSigner(_), true)]));
    assert_eq!(rig.client.pins(), &Pins::default());
}

#[test]
fn an_owner_may_be_insisted_on() {
    let world = world();
    let script = script(&world, &["bob"]);
    for (owner, is_good) in [("alice", true), ("carol", false)] {
        let expected = || {
            let fault = IntegrityFault::NotOwnedBy {
                expected: name("carol"),
                now: print("alice"),
                now_name: name("alice"),
            };
            if is_good { vec![] } else { vec![(fault, true)] }
        };
        let mut rig = again(&Pins::default());
        rig.client.expect_owner(&script.name, name(owner));
        open(&mut rig, &script);
        assert_eq!(faults(&mut rig), expected());
        assert_eq!(rig.client.pins().topics.is_empty(), !is_good, "what is refused is not pinned");
        // Also when the topic is open already, and for all that a filter matches.
        let mut rig = again(&Pins::default());
        open(&mut rig, &script);
        rig.events();
        rig.client.expect_owners(filter("a/+"), name(owner));
        rig.client.expect_owners(filter("b/+"), name("bob"));
        assert_eq!(faults(&mut rig), expected());
    }
}

#[test]
fn whoever_gets_a_key_is_who_it_was() {
    let other = Fingerprint([7; 32]);
    for (pins, is_good) in [(knowing("carol", other), false), (knowing("carol", print("carol")), true)] {
        let mut rig = again(&pins);
        let request = CreateRequest {
            members: MemberChoice::Only(vec![name("carol")]),
            ..CreateRequest::new(super::rig::topic("new"))
        };
        let ticket = rig.client.create(request);
        welcome_clients(&mut rig, &["carol"]);
        let made = rig.heard().iter().any(|frame| matches!(frame, ClientFrame::Create { .. }));
        assert_eq!(made, is_good);
        if !is_good {
            let changed = Failure::PeerChanged { name: name("carol"), pinned: other, now: print("carol") };
            assert_eq!(changed.exit_code(), 7);
            assert_eq!(rig.answers(), [(ticket, Err(changed))]);
        }
    }
}

fn serials(world: &World, who: &str) -> Vec<Serial> {
    vec![*world.issue(who, who, Role::Client, &[]).serial()]
}

/// Has the broker offer this list, and hands it out.
fn revoke(rig: &mut Rig, who: &[Serial], number: u64) {
    let der = rig.world.crl(who, number);
    rig.say(&[BrokerFrame::CrlChanged { number }]);
    let asked = rig.heard().into_iter().find_map(|frame| match frame {
        ClientFrame::GetCrl { request, .. } => Some(request),
        _ => None,
    });
    let request = asked.expect("it is asked for");
    let total = der.len() as u32;
    rig.say(&[BrokerFrame::CrlPart { request, number, total, from: 0, part: der }]);
}

#[test]
fn a_revoked_signer_suspends_until_another_one_has_signed() {
    let world = world();
    let mut script = script(&world, &["bob"]);
    script.admit(&world, "carol", 2);
    script.promote(&world, "carol", 3);
    let mut rig = again(&Pins::default());
    open(&mut rig, &script);
    rig.events();
    let alice = serials(&world, "alice");
    revoke(&mut rig, &alice, 2);
    let fault = IntegrityFault::RevokedSigner { name: name("alice") };
    assert_eq!(faults(&mut rig), [(fault.clone(), true)]);

    let ticket = rig.client.publish(&script.name, b"x").expect("room");
    let refused = Failure::Integrity(script.name.clone(), fault.clone());
    assert_eq!(rig.answers(), [(ticket, Err(refused))]);
    let members = rig.client.members(&script.name);
    assert!(matches!(&rig.answers()[..], [(t, Ok(_))] if *t == members), "its records are open all the same");

    // Nobody else signs: a newer list changes nothing, and is not told of again.
    revoke(&mut rig, &alice, 3);
    assert_eq!(faults(&mut rig), []);

    script.signs_as(&world, "carol");
    script.rotate(4);
    rig.say(&[script.record(4, me(&rig))]);
    let is_told = |event: &Event| matches!(event, Event::Notice(Notice::SignerGood { .. }));
    assert!(rig.events().iter().any(is_told));
    rig.heard();
    rig.client.publish(&script.name, b"x").expect("room");
    assert!(rig.heard().iter().any(|frame| matches!(frame, ClientFrame::Publish { .. })));
}

#[test]
fn what_was_passed_over_while_suspended_is_read_later() {
    let world = world();
    let mut script = script(&world, &["bob"]);
    script.admit(&world, "carol", 2);
    script.promote(&world, "carol", 3);
    let mut rig = again(&Pins::default());
    subscribe(&mut rig, &script, 4, 4);
    rig.say(&[BrokerFrame::CaughtUp { topic: HANDLE, next: Offset(4) }]);
    rig.events();
    let alice = serials(&world, "alice");
    revoke(&mut rig, &alice, 2);
    rig.events();
    let (frame, body) = script.message(4, 0, b"meanwhile");
    rig.say_with(&[frame], &[&body]);
    assert!(rig.events().is_empty(), "it is not delivered");
    script.signs_as(&world, "carol");
    script.rotate(5);
    rig.say(&[script.record(4, me(&rig))]);
    assert!(rig.events().iter().any(|event| matches!(event, Event::Disconnected { fatal: false, .. })));
    rig.heard();
    rig.connect();
    let start = rig.heard().into_iter().find_map(|frame| match frame {
        ClientFrame::Open { start, .. } => Some(start),
        _ => None,
    });
    assert_eq!(start, Some(Start::Resume(Offset(4), INCARNATION)));
}

#[test]
fn a_signer_who_was_revoked_before_is_found_out_when_all_records_have_come() {
    let script = script(&world(), &["bob"]);
    let mut rig = again(&Pins::default());
    let alice = serials(&rig.world, "alice");
    revoke(&mut rig, &alice, 2);
    rig.events();
    let ticket = rig.client.publish(&script.name, b"x").expect("room");
    let heard = rig.heard();
    let [ClientFrame::Open { request, .. }] = heard[..] else { panic!("{heard:?}") };
    rig.say(&[script.announce(request, 2, 2)]);
    let records = script.all_records(me(&rig));
    rig.say(&records);
    assert!(rig.heard().is_empty(), "a record that mends it may follow");
    rig.say(&[caught_up(&script)]);
    let fault = IntegrityFault::RevokedSigner { name: name("alice") };
    let answer = rig.events().into_iter().find_map(|event| match event {
        Event::Answer { ticket: answered, result } if answered == ticket => Some(result),
        _ => None,
    });
    assert_eq!(answer, Some(Err(Failure::Integrity(script.name.clone(), fault))));
    assert!(rig.heard().is_empty());
}

// ---- The values ----

#[test]
fn a_merge_keeps_what_was_first_and_what_is_newest() {
    let world = world();
    let mut longer = script(&world, &["bob"]);
    let mut disk = pinned(&longer);
    longer.rotate(5);
    let mut ours = pinned(&longer);
    let who = (print("alice"), PUBLISHER);
    let place = |counter| Place { offset: Offset(counter + 2), counter: Counter(counter), hash: [3; 32] };
    let topic = |pins: &mut Pins| pins.topics.values_mut().next().expect("the topic").clone();
    disk.topics.values_mut().for_each(|pin| {
        (pin.next, pin.places) = (Offset(12), [(who, place(9))].into());
    });
    ours.topics.values_mut().for_each(|pin| {
        pin.next = Offset(7);
        pin.places = [(who, place(4)), ((print("carol"), PUBLISHER), place(1))].into();
    });
    ours.pin_peer(&name("dave"), Fingerprint([1; 32]), Wall(5));
    disk.pin_peer(&name("dave"), Fingerprint([2; 32]), Wall(6));
    for (first, second, dave) in [(&disk, &ours, 2), (&ours, &disk, 1)] {
        let mut merged = first.clone();
        merged.merge(second.clone());
        let pin = topic(&mut merged);
        assert_eq!((pin.number, pin.head, pin.next), (2, longer.chain.head(), Offset(12)));
        assert_eq!((pin.places[&who], pin.places.len()), (place(9), 2));
        assert_eq!(merged.peers[&name("dave")].fingerprint, Fingerprint([dave; 32]), "whoever was first");
    }
    // A key that a person has replaced stays replaced, whoever writes last.
    let mut replaced = disk.clone();
    replaced.replace_peer(&name("dave"), Fingerprint([9; 32]), Wall(7));
    for (mut first, second) in [(disk.clone(), replaced.clone()), (replaced, disk.clone())] {
        first.merge(second);
        assert_eq!(first.peers[&name("dave")].fingerprint, Fingerprint([9; 32]));
    }
    // What a person wants forgotten is.
    assert!(ours.forget_topic(&longer.name) && !ours.forget_topic(&longer.name));
    // Also if another state of it was met before that could be kept.
    let (mut met, shorter) = (ours.clone(), script(&world, &["bob"]).chain);
    met.pin_topic(&shorter, Wall(9));
    let mut kept = disk.clone();
    kept.merge(met);
    assert_eq!(topic(&mut kept).number, shorter.number());
    disk.merge(ours);
    assert!(disk.topics.is_empty());
}

#[test]
fn of_two_topics_of_one_name_the_later_one_holds() {
    let world = world();
    let (old, new) = (script(&world, &["bob"]), Script::new(&world, "a/b", "alice", &["bob"], 9));
    let (mut before, mut after) = (Pins::default(), Pins::default());
    before.pin_topic(&old.chain, Wall(1));
    after.pin_topic(&new.chain, Wall(2));
    for (mut first, second) in [(before.clone(), after.clone()), (after, before)] {
        first.merge(second);
        assert_eq!(first.topics[&new.name].id, new.chain.topic());
    }
}

#[test]
fn what_is_remembered_is_bounded() {
    let mut pins = Pins::default();
    let somebody = |n: usize| Name::parse(&format!("n{n}")).expect("a good name");
    for n in 0..PEERS_MAX + 1 {
        pins.pin_peer(&somebody(n), Fingerprint([1; 32]), Wall(n as u64));
    }
    assert!(pins.peers.len() <= PEERS_MAX && pins.peers.len() > PEERS_MAX / 2);
    assert!(!pins.peers.contains_key(&somebody(0)) && pins.peers.contains_key(&somebody(PEERS_MAX)));

    pins.pin_topic(&script(&world(), &["bob"]).chain, NOON);
    let pin = pins.topics.values_mut().next().expect("the topic");
    let mut memory = pin.memory();
    for n in 0..=PLACES_MAX as u64 {
        let id = PublisherId(std::array::from_fn(|i| (n >> (8 * (i % 2))) as u8));
        let place = Place { offset: Offset(n), counter: Counter(0), hash: [0; 32] };
        memory.places.insert((print("alice"), id), place);
    }
    pin.log = Some(INCARNATION);
    assert!(!pin.remember(Incarnation(1), memory.clone()), "of another log");
    assert!(pin.remember(INCARNATION, memory) && !pin.is_complete);
    assert_eq!(pin.places.len(), PLACES_MAX);
    assert!(pin.places.values().all(|place| place.offset > Offset(0)), "the oldest went");
}

#[test]
fn a_name_has_one_key_now_and_others_before() {
    let (old, new) = (Fingerprint([1; 32]), Fingerprint([2; 32]));
    let mut pins = knowing("dave", old);
    let dave = name("dave");
    assert_eq!(pins.check_peer(&dave, old), Ok(Acquaintance::Known));
    assert_eq!(pins.check_peer(&name("erna"), old), Ok(Acquaintance::New));
    assert_eq!(pins.check_past(&dave, new), Err(PeerChanged { pinned: old }));
    assert!(!pins.pin_peer(&dave, new, NOON), "never by itself");
    assert_eq!(pins.replace_peer(&dave, new, NOON).expect("known").fingerprint, old);
    assert_eq!(pins.check_peer(&dave, old), Err(PeerChanged { pinned: new }), "not for what is new");
    assert_eq!(pins.check_past(&dave, old), Ok(Acquaintance::Known));
    assert!(pins.replace_peer(&name("erna"), new, NOON).is_none());
}

// ---- What was read, over two runs ----

/// A run of bob's that reads from the log's beginning.
fn reads(
    pins: &Pins,
    script: &Script,
    messages: &[(u64, u64, &[u8])],
) -> (Rig, Vec<IntegrityFault>, Vec<u64>) {
    let mut rig = again(pins);
    subscribe(&mut rig, script, 2, 20);
    for (offset, counter, content) in messages {
        let (frame, body) = script.message(*offset, *counter, content);
        rig.say_with(&[frame], &[&body]);
    }
    let (mut faults, mut offsets) = (Vec::new(), Vec::new());
    for event in rig.events() {
        match event {
            Event::Integrity(integrity) => faults.push(integrity.fault),
            Event::Message(message) => offsets.push(message.offset.0),
            _ => {}
        }
    }
    rig.client.take_pins_change();
    (rig, faults, offsets)
}

#[test]
fn what_was_read_is_held_against_what_is_read_again() {
    let script = script(&world(), &["bob"]);
    let read: [(u64, u64, &[u8]); 3] = [(2, 0, b"a"), (3, 1, b"b"), (4, 2, b"c")];
    let (rig, faults, _) = reads(&Pins::default(), &script, &read);
    assert_eq!(faults, []);
    let pins = rig.client.pins().clone();
    let pin = &pins.topics[&script.name];
    assert_eq!((pin.next, pin.places.len()), (Offset(5), 1));
    let place = pin.places[&(print("alice"), PUBLISHER)];
    assert_eq!((place.offset, place.counter), (Offset(4), Counter(2)));

    // Sealing draws fresh randomness: only what is sent as it was is the same message again.
    let mut rig = again(&pins);
    subscribe(&mut rig, &script, 2, 20);
    for (offset, counter, content) in [(2, 0, b"a"), (3, 1, b"b")] {
        let (frame, body) = script.message(offset, counter, content);
        rig.say_with(&[frame], &[&body]);
    }
    assert!(rig.events().iter().all(|event| matches!(event, Event::Message(_))), "below, nothing is known");

    let (_, faults, offsets) = reads(&pins, &script, &[(2, 0, b"a"), (3, 1, b"b"), (4, 2, b"other")]);
    assert_eq!((faults, offsets), (vec![IntegrityFault::Rewritten { counter: Counter(2) }], vec![2, 3]));

    let mut rig = again(&pins);
    subscribe(&mut rig, &script, 5, 20);
    let (frame, body) = script.message(5, 1, b"b");
    rig.say_with(&[frame], &[&body]);
    let replayed = IntegrityFault::Replayed { counter: Counter(1) };
    assert_eq!(super::pins::faults(&mut rig), [(replayed, false)]);
}

#[test]
fn an_honest_second_reading_is_silent() {
    let script = script(&world(), &["bob"]);
    let sent: Vec<(BrokerFrame, Vec<u8>)> = (0..4).map(|n| script.message(n + 2, n, b"x")).collect();
    let mut pins = Pins::default();
    for count in [2, 3, 4, 4] {
        let mut rig = again(&pins);
        subscribe(&mut rig, &script, 2, 20);
        for (frame, body) in &sent[..count] {
            rig.say_with(std::slice::from_ref(frame), &[body]);
        }
        let events = rig.events();
        assert!(events.len() == count && events.iter().all(|e| matches!(e, Event::Message(_))), "{events:?}");
        rig.client.unsubscribe(filter("a/#"));
        rig.client.take_pins_change();
        pins = rig.client.pins().clone();
    }
    assert_eq!(pins.topics[&script.name].next, Offset(6));
}
