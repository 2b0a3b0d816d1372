//! Our own publisher ids: how long they last, and what is never sent twice or lost as they change.

use super::author::DAY;
use super::publish::{Got, Told, bob_in, counters, got, open, publish, refused};
use super::rig::Rig;
use super::subscribe::me;
use super::topic::{HANDLE, Script};
use crate::base::ids::{Counter, Offset};
use crate::base::time::Wall;
use crate::client::body::Place;
use crate::client::{Answer, Event};
use crate::wire::frame::BrokerFrame;
use crate::wire::values::RefuseCode;

/// The clock goes on, and nothing else.
fn pass(rig: &mut Rig, ms: u64) {
    set_clock(rig, rig.now.wall.0 + ms);
}

fn set_clock(rig: &mut Rig, ms: u64) {
    rig.now.wall = Wall(ms);
    rig.client.handle_timeout(rig.now);
}

fn published(slot: u16, counter: u64, offset: u64) -> BrokerFrame {
    BrokerFrame::Published { slot, topic: HANDLE, counter: Counter(counter), offset: Offset(offset) }
}

/// How many of the answers among the events are those of messages that are stored.
fn stored(rig: &mut Rig) -> usize {
    let answers = rig.answers();
    assert!(answers.iter().all(|(_, result)| matches!(result, Ok(Answer::Published { .. }))), "{answers:?}");
    answers.len()
}

/// What a publish says, if it is signed and sealed for its place in the newest epoch.
fn content(script: &Script, got: &Got, told: &Told) -> Option<Vec<u8>> {
    assert_eq!(got.slot, told.slot);
    let place = Place { publisher: told.id, ..script.place(got.counter) };
    script.body_key().open(&place, &got.body, &told.key).ok()
}

#[test]
fn after_a_day_a_new_id_is_taken() {
    let (mut rig, script) = bob_in(1);
    publish(&mut rig, b"one");
    open(&mut rig, &script);
    let (_, first) = got(&mut rig);
    rig.say(&[published(0, 0, 2)]);
    pass(&mut rig, DAY - 1);
    publish(&mut rig, b"two");
    assert_eq!(counters(&mut rig), [1], "it is still young");
    rig.say(&[published(0, 1, 3)]);
    pass(&mut rig, 1);
    publish(&mut rig, b"three");
    let (sent, second) = got(&mut rig);
    assert_eq!((second.len(), sent.len(), sent[0].counter), (1, 1, 0));
    assert_eq!(second[0].slot, 0, "nothing uses the slot any more");
    assert!(second[0].id != first[0].id && second[0].key != first[0].key);
    assert_eq!(content(&script, &sent[0], &second[0]).as_deref(), Some(&b"three"[..]));
    rig.say(&[published(0, 0, 4)]);
    assert_eq!(stored(&mut rig), 3);
}

#[test]
fn what_is_under_way_keeps_its_id_and_its_order() {
    let (mut rig, script) = bob_in(1);
    publish(&mut rig, b"one");
    open(&mut rig, &script);
    let (_, first) = got(&mut rig);
    pass(&mut rig, DAY);
    publish(&mut rig, b"two");
    assert!(rig.heard().is_empty(), "it waits for the answer to the one before");
    rig.say(&[refused(0, RefuseCode::Busy, 10)]);
    rig.pass(std::time::Duration::from_millis(10));
    let (sent, second) = got(&mut rig);
    // What was refused is stored nowhere: both go on under the new id.
    assert_eq!(sent.iter().map(|g| (g.slot, g.counter)).collect::<Vec<_>>(), [(0, 0), (0, 1)]);
    assert_ne!(second[0].id, first[0].id);
    rig.say(&[published(0, 0, 2), published(0, 1, 3)]);
    assert_eq!(stored(&mut rig), 2);
}

#[test]
fn what_may_be_stored_is_sent_again_under_its_old_id() {
    let (mut rig, script) = bob_in(1);
    publish(&mut rig, b"one");
    open(&mut rig, &script);
    let (before, first) = got(&mut rig);
    rig.cut();
    pass(&mut rig, 2 * DAY);
    publish(&mut rig, b"two");
    rig.connect();
    open(&mut rig, &script);
    let (again, told) = got(&mut rig);
    assert_eq!((told, again.len()), (first.clone(), 1));
    assert_eq!((again[0].counter, &again[0].body), (0, &before[0].body));
    rig.say(&[published(0, 0, 2)]);
    let (sent, second) = got(&mut rig);
    assert_eq!(content(&script, &sent[0], &second[0]).as_deref(), Some(&b"two"[..]));
    assert_eq!((sent[0].counter, second[0].id != first[0].id), (0, true));
    rig.say(&[published(sent[0].slot, 0, 3)]);
    assert_eq!(stored(&mut rig), 2);
}

#[test]
fn an_id_whose_delegation_has_ended_is_given_up() {
    for (first_clock, later) in [(0, 7 * DAY), (2 * DAY, 0)] {
        let (mut rig, script) = bob_in(1);
        pass(&mut rig, first_clock);
        publish(&mut rig, b"one");
        open(&mut rig, &script);
        let (_, first) = got(&mut rig);
        rig.cut();
        let noon = rig.now.wall.0 - first_clock;
        set_clock(&mut rig, noon + later);
        rig.connect();
        open(&mut rig, &script);
        let (sent, second) = got(&mut rig);
        assert_eq!((sent.len(), second.len()), (1, 1));
        assert_ne!(second[0].id, first[0].id);
        assert_eq!(content(&script, &sent[0], &second[0]).as_deref(), Some(&b"one"[..]));
    }
}

#[test]
fn a_clock_that_jumps_holds_nothing_up() {
    let (mut rig, script) = bob_in(1);
    open_idle(&mut rig, &script);
    let noon = rig.now.wall.0;
    for (n, clock) in [noon, u64::MAX, 0, noon, noon + 400 * DAY, noon].into_iter().enumerate() {
        rig.now.wall = Wall(clock);
        // Not by a deadline: certificates have times too, and are judged then.
        rig.client.handle_bytes(&[], rig.now);
        publish(&mut rig, &[n as u8]);
        let (sent, told) = got(&mut rig);
        assert_eq!((sent.len(), told.len(), sent[0].counter), (1, 1, 0), "{clock}");
        assert_eq!(content(&script, &sent[0], &told[0]), Some(vec![n as u8]));
        rig.say(&[published(sent[0].slot, 0, 2 + n as u64)]);
        assert_eq!(stored(&mut rig), 1);
    }
}

fn open_idle(rig: &mut Rig, script: &Script) {
    rig.client.open(&script.name);
    open(rig, script);
    assert!(rig.heard().is_empty(), "no id is made before something is published");
    rig.events();
}

#[test]
fn counters_of_messages_that_may_be_stored_are_not_given_to_others() {
    let (mut rig, script) = bob_in(1);
    publish(&mut rig, b"maybe stored");
    open(&mut rig, &script);
    let (_, first) = got(&mut rig);
    rig.say(&[BrokerFrame::Ended { topic: HANDLE, code: RefuseCode::NotMember }]);
    assert!(matches!(&rig.events()[..], [Event::Answer { result: Err(_), .. }]));
    rig.cut();
    rig.connect();
    rig.events();
    publish(&mut rig, b"another");
    open(&mut rig, &script);
    let (sent, second) = got(&mut rig);
    assert_ne!(second[0].id, first[0].id, "else the broker would take it for the one before");
    assert_eq!(content(&script, &sent[0], &second[0]).as_deref(), Some(&b"another"[..]));
}

#[test]
fn what_is_published_while_an_epoch_changes_is_sealed_again_and_none_is_lost() {
    for record_first in [true, false] {
        let (mut rig, mut script) = bob_in(1);
        (0..3).for_each(|n| _ = publish(&mut rig, &[n]));
        open(&mut rig, &script);
        let (before, told) = got(&mut rig);
        assert_eq!(content(&script, &before[1], &told[0]), Some(vec![1]));
        let rig_world = Rig::new("bob").world;
        script.admit(&rig_world, "carol", 2);
        script.remove(&rig_world, "carol", 3);
        let refusals = [
            refused(0, RefuseCode::EpochChanged, 1),
            refused(1, RefuseCode::CounterAhead, 0),
            refused(2, RefuseCode::CounterAhead, 0),
        ];
        let records = [script.record(2, me(&rig)), script.record(3, me(&rig))];
        if record_first {
            rig.say(&records);
            rig.say(&refusals);
        } else {
            rig.say(&refusals);
            assert!(rig.heard().is_empty(), "the new key has not come");
            rig.say(&records);
        }
        let (again, told_again) = got(&mut rig);
        assert!(told_again.is_empty(), "the same id, and the same counters");
        assert_eq!(again.iter().map(|g| (g.epoch, g.counter)).collect::<Vec<_>>(), [(1, 0), (1, 1), (1, 2)]);
        for (n, got) in again.iter().enumerate() {
            assert_eq!(content(&script, got, &told[0]), Some(vec![n as u8]), "signed for the new epoch");
            assert_eq!(content(&script, &before[n], &told[0]), None);
        }
        rig.say(&[published(0, 0, 4), published(0, 1, 5), published(0, 2, 6)]);
        assert_eq!(stored(&mut rig), 3);
    }
}
