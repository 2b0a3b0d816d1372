//! What was read, over two runs.

use super::{again, print, script};
use crate::base::ids::{Counter, Offset};
use crate::client::pins::Pins;
use crate::client::tests::rig::{Rig, filter};
use crate::client::tests::subscribe::subscribe;
use crate::client::tests::topic::{PUBLISHER, Script};
use crate::client::{Event, IntegrityFault};
use crate::crypto::cert::testing::world;
use crate::wire::frame::BrokerFrame;

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
    assert_eq!(super::faults(&mut rig), [(replayed, false)]);
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
