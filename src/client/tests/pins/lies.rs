//! What a broker or another member may try against what is remembered.

use super::{again, faults, open, pinned, script};
use crate::base::ids::{Offset, PublisherId};
use crate::client::pins::Pins;
use crate::client::tests::author::Author;
use crate::client::tests::subscribe::subscribe;
use crate::client::tests::topic::{SENDER, Script};
use crate::client::{Event, IntegrityFault};
use crate::crypto::cert::testing::{name, world};

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
fn a_sender_who_was_never_a_member_is_not_remembered() {
    let world = world();
    let mut rig = again(&Pins::default());
    subscribe(&mut rig, &script(&world, &["bob"]), 2, 20);
    let stranger = Author::new(&world, "carol", PublisherId([9; 16]), SENDER + 1);
    rig.say(&[stranger.introduce()]);
    assert!(!rig.client.pins().peers.contains_key(&name("carol")));
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
