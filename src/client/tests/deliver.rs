//! What is not believed: records, wraps, senders, bodies.

use super::author::Author;
use super::rig::Rig;
use super::subscribe::{bob, me, subscribe};
use super::topic::{PUBLISHER, SENDER, Script};
use crate::base::ids::{Counter, Epoch, Offset, PublisherId};
use crate::base::time::Wall;
use crate::client::{Disconnect, Event, Failure, IntegrityFault, Notice};
use crate::crypto::cert::testing::name;
use crate::wire::frame::{BrokerFrame, ClientFrame};

/// The faults among the events, and whether the topic was given up; there may be no messages.
pub fn faults(rig: &mut Rig) -> Vec<(IntegrityFault, bool)> {
    let mut faults = Vec::new();
    for event in rig.events() {
        match event {
            Event::Integrity(integrity) => faults.push((integrity.fault, integrity.stopped)),
            Event::Message(message) => panic!("{message:?}"),
            _ => {}
        }
    }
    faults
}

/// Opens the topic and has the broker send these records.
fn open_with(rig: &mut Rig, script: &Script, records: &[BrokerFrame]) {
    rig.client.open(&script.name);
    let heard = rig.heard();
    let [ClientFrame::Open { request, .. }] = heard[..] else { panic!("{heard:?}") };
    rig.say(&[script.announce(request, 2, 2)]);
    rig.say(records);
}

#[test]
fn a_record_that_does_not_hold_stops_the_topic() {
    type Change = fn(&mut Vec<u8>, &mut Vec<u8>, &mut Vec<u8>);
    let flips: [(usize, Change); 4] = [
        (0, |record, _, _| *record.last_mut().expect("bytes") ^= 1),
        (1, |record, _, _| record[100] ^= 1),
        (1, |record, _, _| record.truncate(50)),
        (0, |record, _, _| record[40] ^= 1),
    ];
    for (number, change) in flips {
        let (mut rig, script) = bob();
        let mut records = script.all_records(me(&rig));
        let BrokerFrame::Record { record, wrap, certificate, .. } = &mut records[number] else { panic!() };
        change(record, wrap, certificate);
        open_with(&mut rig, &script, &records);
        let faults = faults(&mut rig);
        assert!(
            matches!(faults[..], [(IntegrityFault::BadRecord(_) | IntegrityFault::BadSigner(_), true)]),
            "{faults:?}"
        );
        let ticket = rig.client.publish(&script.name, b"x").expect("room");
        let answers = rig.answers();
        assert!(
            matches!(&answers[..], [(t, Err(failure @ Failure::Integrity(..)))] if *t == ticket && failure.exit_code() == 7),
            "{answers:?}"
        );
    }

    let (mut rig, script) = bob();
    let mut records = script.all_records(me(&rig));
    let stranger = rig.world.client("carol").1;
    let BrokerFrame::Record { certificate, .. } = &mut records[1] else { panic!() };
    *certificate = stranger;
    open_with(&mut rig, &script, &records);
    assert!(matches!(faults(&mut rig)[..], [(IntegrityFault::BadSigner(_), true)]));

    let (mut rig, script) = bob();
    let records = script.all_records(me(&rig));
    open_with(&mut rig, &script, &records[1..]);
    assert!(matches!(faults(&mut rig)[..], [(IntegrityFault::BadRecord(_), true)]), "no genesis");
}

#[test]
fn a_topic_s_records_do_not_serve_another_name() {
    let (mut rig, script) = bob();
    let other = Script::new(&rig.world, "a/c", "alice", &["bob"], 2);
    let records = other.all_records(me(&rig));
    open_with(&mut rig, &script, &records);
    let faults = faults(&mut rig);
    assert!(
        matches!(&faults[..], [(IntegrityFault::BadRecord(why), true)] if why.contains("a/c")),
        "{faults:?}"
    );
}

#[test]
fn a_wrap_that_is_not_ours_stops_the_topic() {
    let (mut rig, script) = bob();
    let mut records = script.all_records(me(&rig));
    let BrokerFrame::Record { wrap, .. } = &mut records[1] else { panic!() };
    wrap[9] ^= 1;
    open_with(&mut rig, &script, &records);
    assert_eq!(faults(&mut rig), [(IntegrityFault::WrongWrap, true)]);

    let (mut rig, script) = bob();
    let mut records = script.all_records(me(&rig));
    let another = script.records[1].wraps.iter().find(|(to, _)| *to != me(&rig)).expect("the owner's");
    let BrokerFrame::Record { wrap, .. } = &mut records[1] else { panic!() };
    *wrap = another.1.clone();
    open_with(&mut rig, &script, &records);
    assert_eq!(faults(&mut rig), [(IntegrityFault::WrongWrap, true)], "somebody else's");

    let (mut rig, script) = bob();
    let mut records = script.all_records(me(&rig));
    let BrokerFrame::Record { wrap, .. } = &mut records[0] else { panic!() };
    *wrap = vec![0; 256];
    open_with(&mut rig, &script, &records);
    assert_eq!(faults(&mut rig), [(IntegrityFault::WrongWrap, true)], "none was named");
}

#[test]
fn a_chain_only_grows() {
    let (mut rig, script) = bob();
    let records = script.all_records(me(&rig));
    open_with(&mut rig, &script, &records);
    rig.cut();
    rig.connect();
    rig.events();
    // The same topic, but another second record than the one that was seen.
    let other = Script::new(&rig.world, "a/b", "alice", &["bob", "carol"], 1);
    let records = [script.record(0, me(&rig)), other.record(1, me(&rig))];
    open_with(&mut rig, &script, &records);
    assert_eq!(faults(&mut rig), [(IntegrityFault::OtherHistory, true)]);
}

#[test]
fn a_topic_made_anew_by_its_owner_is_taken_and_by_another_is_not() {
    let (mut rig, script) = bob();
    let records = script.all_records(me(&rig));
    open_with(&mut rig, &script, &records);
    rig.cut();
    rig.connect();
    rig.events();
    let anew = Script::new(&rig.world, "a/b", "alice", &["bob"], 9);
    let records = anew.all_records(me(&rig));
    open_with(&mut rig, &anew, &records);
    let notice = rig.events().into_iter().find(|event| matches!(event, Event::Notice(_)));
    assert!(matches!(notice, Some(Event::Notice(Notice::TopicReplaced { .. }))));

    rig.cut();
    rig.connect();
    rig.events();
    let stolen = Script::new(&rig.world, "a/b", "carol", &["bob"], 9);
    let records = stolen.all_records(me(&rig));
    open_with(&mut rig, &stolen, &records);
    let (before, now) = (anew.chain.topic(), stolen.chain.topic());
    assert_eq!(faults(&mut rig), [(IntegrityFault::OtherTopic { before, now }, true)]);
}

#[test]
fn bodies_that_do_not_belong_are_reported_and_not_shown() {
    let (mut rig, script) = bob();
    subscribe(&mut rig, &script, 2, 20);
    let key = script.body_key();
    let place = script.place(0);
    let elsewhere = [
        (
            crate::client::body::Place { topic: crate::base::ids::TopicId([1; 32]), ..place },
            IntegrityFault::WrongTopic,
        ),
        (
            crate::client::body::Place { epoch_record: crate::base::ids::RecordHash([1; 32]), ..place },
            IntegrityFault::WrongEpoch,
        ),
        (
            crate::client::body::Place { publisher: PublisherId([1; 16]), ..place },
            IntegrityFault::WrongPublisher,
        ),
        (
            crate::client::body::Place { counter: Counter(8), ..place },
            IntegrityFault::WrongCounter { stated: Counter(0), sealed: Counter(8) },
        ),
    ];
    for (offset, (wrong, fault)) in (2..).zip(elsewhere) {
        let body = key.seal(&wrong, b"secret", &script.author.signer, Wall(0));
        rig.say_with(&[script.frame(offset, 0, &body)], &[&body]);
        assert_eq!(faults(&mut rig), [(fault, false)]);
    }
    let mut body = key.seal(&place, b"secret", &script.author.signer, Wall(0));
    body[30] ^= 1;
    rig.say_with(&[script.frame(6, 0, &body)], &[&body]);
    assert_eq!(faults(&mut rig), [(IntegrityFault::BadBody, false)]);
    let (frame, body) = script.message(7, 0, b"good");
    rig.say_with(&[frame], &[&body]);
    assert!(matches!(&rig.events()[..], [Event::Message(m)] if m.content == b"good"), "the topic goes on");
}

#[test]
fn a_body_other_than_its_frame_names_ends_the_session() {
    let (mut rig, script) = bob();
    subscribe(&mut rig, &script, 2, 20);
    let (frame, body) = script.message(2, 0, b"good");
    let mut changed = body.clone();
    changed[20] ^= 1;
    rig.say_with(&[frame], &[&changed]);
    assert!(matches!(rig.events()[..], [Event::Disconnected { reason: Disconnect::Protocol(_), .. }]));
}

#[test]
fn senders_are_who_their_certificates_say() {
    let cases: [fn(&mut BrokerFrame, &Rig); 3] = [
        |frame, rig| {
            let BrokerFrame::Sender { certificate, .. } = frame else { panic!() };
            *certificate = rig.world.client("carol").1;
        },
        |frame, _| {
            let BrokerFrame::Sender { name: said, .. } = frame else { panic!() };
            *said = name("carol");
        },
        |frame, _| {
            let BrokerFrame::Sender { certificate, .. } = frame else { panic!() };
            certificate[100] ^= 1;
        },
    ];
    for change in cases {
        let (mut rig, script) = bob();
        subscribe(&mut rig, &script, 2, 20);
        let mut sender = script.sender();
        change(&mut sender, &rig);
        rig.say(&[sender]);
        let (frame, body) = script.message(2, 0, b"x");
        rig.say_with(&[frame], &[&body]);
        let faults = faults(&mut rig);
        assert!(matches!(faults[..], [(IntegrityFault::BadSender(_), false)]), "{faults:?}");
    }

    let (mut rig, script) = bob();
    subscribe(&mut rig, &script, 2, 20);
    let (mut frame, body) = script.message(2, 0, b"x");
    let BrokerFrame::Message { sender, .. } = &mut frame else { panic!() };
    *sender = 99;
    rig.say_with(&[frame], &[&body]);
    assert_eq!(faults(&mut rig), [(IntegrityFault::UnknownSender, false)]);

    let mut other = script.sender();
    let BrokerFrame::Sender { publisher, .. } = &mut other else { panic!() };
    *publisher = PublisherId([1; 16]);
    rig.say(&[other]);
    assert!(matches!(rig.events()[..], [Event::Disconnected { reason: Disconnect::Protocol(_), .. }]));
}

#[test]
fn a_stranger_s_message_is_not_shown() {
    let (mut rig, script) = bob();
    subscribe(&mut rig, &script, 2, 20);
    let carol = Author::new(&rig.world, "carol", PUBLISHER, SENDER + 1);
    rig.say(&[carol.introduce()]);
    let (frame, body) = script.message_of(&carol, 2, 0, b"x");
    rig.say_with(&[frame], &[&body]);
    assert_eq!(faults(&mut rig), [(IntegrityFault::StrangeSender, false)]);
}

#[test]
fn epochs_hold_where_their_records_stand() {
    let (mut rig, mut script) = bob();
    let (early, early_body) = script.message(2, 0, b"epoch 0");
    let (late, late_body) = script.message(4, 1, b"epoch 0, too late");
    subscribe(&mut rig, &script, 2, 20);
    rig.say_with(&[early], &[&early_body]);
    script.rotate(3);
    rig.say(&[script.record(2, me(&rig))]);
    rig.say_with(&[late], &[&late_body]);
    let (frame, body) = script.message(5, 1, b"epoch 1");
    rig.say_with(&[frame], &[&body]);
    let events = rig.events();
    let [Event::Message(_), Event::Integrity(stale), Event::Message(new)] = &events[..] else {
        panic!("{events:?}")
    };
    assert_eq!(stale.fault, IntegrityFault::StaleEpoch { epoch: Epoch(0), expected: Epoch(1) });
    assert_eq!((stale.offset, new.epoch), (Some(Offset(4)), Epoch(1)));
}

#[test]
fn a_late_member_reads_back_through_the_keys_that_records_carry() {
    let mut rig = Rig::connected("carol");
    let mut script = Script::new(&rig.world, "a/b", "alice", &["bob"], 1);
    let (old, old_body) = script.message(2, 0, b"before carol");
    script.rotate(3);
    script.admit(&rig.world, "carol", 4);
    subscribe(&mut rig, &script, 2, 6);
    rig.say_with(&[old], &[&old_body]);
    let (new, new_body) = script.message(5, 1, b"with carol");
    rig.say_with(&[new], &[&new_body]);
    let contents: Vec<Vec<u8>> = rig
        .events()
        .into_iter()
        .map(|event| match event {
            Event::Message(message) => message.content,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(contents, [b"before carol".to_vec(), b"with carol".to_vec()]);
}

#[test]
fn without_a_wrap_there_are_no_messages() {
    let mut rig = Rig::connected("carol");
    let script = Script::new(&rig.world, "a/b", "alice", &["bob"], 1);
    subscribe(&mut rig, &script, 2, 6);
    let (frame, body) = script.message(2, 0, b"not for carol");
    rig.say_with(&[frame], &[&body]);
    assert_eq!(faults(&mut rig), [(IntegrityFault::NoKey { epoch: Epoch(0) }, false)]);
}
