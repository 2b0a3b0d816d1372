//! Names and the keys that they are known by.

use super::{again, faults, knowing, open, pinned, print, script};
use crate::base::ids::{Fingerprint, PublisherId};
use crate::client::pins::Pins;
use crate::client::tests::author::Author;
use crate::client::tests::create::welcome_clients;
use crate::client::tests::subscribe::{me, subscribe};
use crate::client::tests::topic::SENDER;
use crate::client::{CreateRequest, Event, Failure, IntegrityFault, MemberChoice};
use crate::crypto::cert::Role;
use crate::crypto::cert::testing::{NOON, key, name, world};
use crate::wire::frame::{BrokerFrame, ClientFrame};

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
fn whoever_gets_a_key_is_who_it_was() {
    let other = Fingerprint([7; 32]);
    for (pins, is_good) in [(knowing("carol", other), false), (knowing("carol", print("carol")), true)] {
        let mut rig = again(&pins);
        let request = CreateRequest {
            members: MemberChoice::Only(vec![name("carol")]),
            ..CreateRequest::new(crate::client::tests::rig::topic("new"))
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
