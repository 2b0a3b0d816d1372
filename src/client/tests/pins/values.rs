//! What is remembered as such: merged, bounded, looked up.

use super::{knowing, pinned, print, script};
use crate::base::Wall;
use crate::base::ids::{Counter, Fingerprint, Incarnation, Offset, PublisherId};
use crate::base::names::Name;
use crate::client::pins::{Acquaintance, PEERS_MAX, PLACES_MAX, PeerChanged, Pins, Place};
use crate::client::tests::topic::{INCARNATION, PUBLISHER, Script};
use crate::crypto::cert::testing::{NOON, name, world};

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
