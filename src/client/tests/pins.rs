//! What is remembered from an earlier run, and what is found out by it.

mod lies;
mod names;
mod reread;
mod revoked;
mod values;

use super::rig::{Rig, filter};
use super::subscribe::me;
use super::topic::{HANDLE, INCARNATION, PUBLISHER, Script};
use crate::base::Wall;
use crate::base::ids::{Counter, Fingerprint, Incarnation, Offset};
use crate::client::pins::{Pins, Place};
use crate::client::{ClientConfig, Disconnect, Event, Failure, IntegrityFault, Notice};
use crate::crypto::cert::Role;
use crate::crypto::cert::testing::{NOON, World, key, name, world};
use crate::wire::frame::{BrokerFrame, ClientFrame};

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
    rig.lull();
    assert!(!rig.heard().iter().any(|frame| matches!(frame, ClientFrame::Publish { .. })));
    // It may be the line, so nobody is accused.
    let events = rig.events();
    let [Event::Disconnected { reason, fatal, .. }] = &events[..] else { panic!("{events:?}") };
    assert_eq!((reason, *fatal), (&Disconnect::BrokerSilent, false));
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
fn a_topic_is_in_one_log_for_good() {
    let script = script(&world(), &["bob"]);
    let mut pins = pinned(&script);
    pins.topics.values_mut().for_each(|pin| pin.log = Some(Incarnation(1)));
    let mut rig = again(&pins);
    open(&mut rig, &script);
    assert_eq!(faults(&mut rig), [(IntegrityFault::OtherLog, true)]);
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
