//! Who sent a message, and whether it stands where its sender put it.

use super::author::{Author, DAY};
use super::deliver::faults;
use super::rig::Rig;
use super::subscribe::{bob, me, subscribe};
use super::topic::{HANDLE, PUBLISHER, SENDER, Script};
use crate::base::ids::{Counter, Offset, PublisherId};
use crate::base::time::Wall;
use crate::chain::Delegation;
use crate::client::{Event, IntegrityFault, Message};
use crate::crypto::cert::Role;
use crate::crypto::cert::testing::{NOON, Seeded, name, world_at};
use crate::crypto::ed25519::MessageSigner;
use crate::wire::frame::{BrokerFrame, ClientFrame};
use crate::wire::values::Notice as StartNotice;

/// Carol's first publisher.
const HERS: PublisherId = PublisherId([9; 16]);

/// Bob reads from offset 2 on, in alice's topic with carol in it.
fn three() -> (Rig, Script, Author) {
    let mut rig = Rig::connected("bob");
    let script = Script::new(&rig.world, "a/b", "alice", &["bob", "carol"], 1);
    let carol = Author::new(&rig.world, "carol", HERS, SENDER + 1);
    subscribe(&mut rig, &script, 2, 50);
    (rig, script, carol)
}

fn say(rig: &mut Rig, (frame, body): (BrokerFrame, Vec<u8>)) {
    rig.say_with(&[frame], &[&body]);
}

/// The messages among the events; there may be nothing else.
fn messages(rig: &mut Rig) -> Vec<Message> {
    let message = |event| match event {
        Event::Message(message) => message,
        other => panic!("{other:?}"),
    };
    rig.events().into_iter().map(message).collect()
}

/// The one fault among the events, with a message behind it or not.
fn one_fault(rig: &mut Rig) -> (IntegrityFault, bool) {
    let events = rig.events();
    match &events[..] {
        [Event::Integrity(integrity)] => (integrity.fault.clone(), false),
        [Event::Integrity(integrity), Event::Message(_)] => (integrity.fault.clone(), true),
        other => panic!("{other:?}"),
    }
}

#[test]
fn each_member_s_messages_are_its_own() {
    let (mut rig, script, carol) = three();
    rig.say(&[carol.introduce()]);
    say(&mut rig, script.message(2, 0, b"alice's"));
    say(&mut rig, script.message_of(&carol, 3, 0, b"carol's"));
    let shown = messages(&mut rig);
    let said: Vec<_> = shown.iter().map(|m| (m.sender.as_str(), m.fingerprint, &m.content[..])).collect();
    let alice = script.author.fingerprint;
    assert_eq!(said, [("alice", alice, &b"alice's"[..]), ("carol", carol.fingerprint, b"carol's")]);
}

#[test]
fn a_sender_is_called_as_the_records_call_it() {
    // Carol's key has got a certificate under another name since.
    let (mut rig, script, mut carol) = three();
    let renamed = rig.world.issue("caroline", "carol", Role::Client, &[]);
    (carol.certificate, carol.name) = (renamed.der().to_vec(), name("caroline"));
    rig.say(&[carol.introduce()]);
    say(&mut rig, script.message_of(&carol, 2, 0, b"carol's"));
    let shown = messages(&mut rig);
    assert_eq!((shown[0].sender.as_str(), shown[0].fingerprint), ("carol", carol.fingerprint));
}

#[test]
fn a_co_member_cannot_sign_for_another() {
    // With the topic's key, in alice's name, but with a key of its own.
    let (mut rig, script, carol) = three();
    let body = script.body_key().seal(&script.place(0), b"x", &carol.signer, Wall(0));
    rig.say_with(&[script.frame(2, 0, &body)], &[&body]);
    let events = rig.events();
    let [Event::Integrity(told)] = &events[..] else { panic!("{events:?}") };
    assert_eq!(told.fault, IntegrityFault::BadSignature);
    assert_eq!((told.offset, told.counter), (Some(Offset(2)), Some(Counter(0))));
    assert_eq!((told.sender.as_ref().map(|s| s.as_str()), told.stopped), (Some("alice"), false));
    say(&mut rig, script.message(3, 0, b"alice's first"));
    assert_eq!(messages(&mut rig)[0].content, b"alice's first", "what was forged counts for nothing");

    // In alice's name, under a delegation that carol has signed.
    let (mut rig, script, carol) = three();
    let mut forger = Author::new(&rig.world, "alice", HERS, SENDER + 1);
    forger.delegation = carol.sign(&forger.said());
    rig.say(&[forger.introduce()]);
    say(&mut rig, script.message_of(&forger, 2, 0, b"x"));
    assert!(
        matches!(one_fault(&mut rig), (IntegrityFault::BadDelegation(why), false) if why.contains("not signed"))
    );

    // Under carol's own delegation, with alice's name and certificate beside it.
    let (mut rig, script, carol) = three();
    let mut forger = Author::new(&rig.world, "alice", HERS, SENDER + 1);
    forger.delegation = carol.delegation.clone();
    rig.say(&[forger.introduce()]);
    say(&mut rig, script.message_of(&forger, 2, 0, b"x"));
    assert!(
        matches!(one_fault(&mut rig), (IntegrityFault::BadDelegation(why), false) if why.contains("else's"))
    );

    // Under alice's own delegation, which is no secret, signed by carol.
    let (mut rig, script, _) = three();
    let mut forger = Author::new(&rig.world, "alice", PUBLISHER, SENDER);
    forger.signer = MessageSigner::generate(&mut Seeded::new(99));
    say(&mut rig, script.message_of(&forger, 2, 0, b"x"));
    assert_eq!(one_fault(&mut rig), (IntegrityFault::BadSignature, false));
}

#[test]
fn a_delegation_is_good_for_its_sender_its_publisher_and_its_time() {
    type Spoil = fn(&mut Author, &Rig);
    let expired = |author: &mut Author, from: u64, to: u64| {
        let said = Delegation { not_before: Wall(from), not_after: Wall(to), ..author.said() };
        author.delegation = author.sign(&said);
    };
    let spoils: [(&str, Spoil); 5] = [
        ("another publisher id", |author, _| {
            let said = Delegation { publisher: PublisherId([1; 16]), ..author.said() };
            author.delegation = author.sign(&said);
        }),
        ("somebody else's", |author, rig| {
            author.delegation = Author::new(&rig.world, "alice", HERS, 1).delegation;
        }),
        ("proves nothing", |author, _| {
            // The point of order 1, with a signature over it.
            let mut bytes = author.delegation.clone();
            bytes[49..81].copy_from_slice(&[&[1][..], &[0; 31]].concat());
            author.delegation = resigned(author, &bytes);
        }),
        ("", |author, _| author.delegation.clear()),
        ("not signed", |author, _| *author.delegation.last_mut().expect("bytes") ^= 1),
    ];
    for (says, spoil) in spoils {
        let (mut rig, script, mut carol) = three();
        spoil(&mut carol, &rig);
        rig.say(&[carol.introduce()]);
        say(&mut rig, script.message_of(&carol, 2, 0, b"x"));
        let (fault, _) = one_fault(&mut rig);
        assert!(matches!(&fault, IntegrityFault::BadDelegation(why) if why.contains(says)), "{fault:?}");
    }
    let times = [
        (NOON.0 - 9 * DAY, NOON.0 - 2 * DAY, false),
        (NOON.0 - 8 * DAY, NOON.0 - DAY, true),
        (NOON.0 + DAY, NOON.0 + 8 * DAY, true),
        (NOON.0 + 2 * DAY, NOON.0 + 9 * DAY, false),
    ];
    for (from, to, is_good) in times {
        let (mut rig, script, mut carol) = three();
        expired(&mut carol, from, to);
        rig.say(&[carol.introduce()]);
        say(&mut rig, script.message_of(&carol, 2, 0, b"x"));
        if is_good {
            assert_eq!(messages(&mut rig).len(), 1);
        } else {
            assert_eq!(one_fault(&mut rig), (IntegrityFault::OutOfTime, false));
        }
    }
}

/// A delegation's bytes with a good signature over what they say.
fn resigned(author: &Author, bytes: &[u8]) -> Vec<u8> {
    use crate::crypto::sign::{Context, sign_pss};
    let part = &bytes[..97];
    let hash = crate::crypto::digest::sha256(part);
    let signature =
        sign_pss(&author.key, Context::Delegation, &hash, &mut Seeded::new(4)).expect("a sound machine");
    [part, &(signature.len() as u16).to_be_bytes(), &signature].concat()
}

#[test]
fn an_unsigned_body_is_refused() {
    let (mut rig, script) = bob();
    subscribe(&mut rig, &script, 2, 20);
    let body = script.unsigned_body(0, b"x");
    rig.say_with(&[script.frame(2, 0, &body)], &[&body]);
    assert_eq!(faults(&mut rig), [(IntegrityFault::UnsignedBody, false)]);
}

#[test]
fn repeated_swapped_and_dropped_messages_are_told() {
    let (mut rig, script) = bob();
    subscribe(&mut rig, &script, 2, 20);
    let (_, zero) = script.message(2, 0, b"0");
    let (_, one) = script.message(2, 1, b"1");
    let missing = |expected, got| IntegrityFault::Missing { expected: Counter(expected), got: Counter(got) };
    let replayed = |counter| IntegrityFault::Replayed { counter: Counter(counter) };
    // The first two are swapped.
    rig.say_with(&[script.frame(2, 1, &one)], &[&one]);
    assert_eq!(one_fault(&mut rig), (missing(0, 1), true));
    rig.say_with(&[script.frame(3, 0, &zero)], &[&zero]);
    assert_eq!(one_fault(&mut rig), (replayed(0), false));
    // One that was shown comes again, higher up.
    rig.say_with(&[script.frame(4, 1, &one)], &[&one]);
    assert_eq!(one_fault(&mut rig), (replayed(1), false));
    // It does not help to call it another one.
    rig.say_with(&[script.frame(5, 2, &one)], &[&one]);
    let sealed = IntegrityFault::WrongCounter { stated: Counter(2), sealed: Counter(1) };
    assert_eq!(one_fault(&mut rig), (sealed, false));
    // The third is left out, its place taken by the fourth.
    say(&mut rig, script.message(6, 3, b"3"));
    assert_eq!(one_fault(&mut rig), (missing(2, 3), true));
    // Left out with its place.
    say(&mut rig, script.message(8, 5, b"5"));
    let skipped = IntegrityFault::Skipped { from: Offset(7), to: Offset(8) };
    assert_eq!(one_fault(&mut rig), (skipped, true), "said once");
    say(&mut rig, script.message(9, 6, b"6"));
    assert_eq!(messages(&mut rig).len(), 1);
}

#[test]
fn a_message_of_another_topic_does_not_open_here() {
    let (mut rig, script) = bob();
    subscribe(&mut rig, &script, 2, 20);
    let other = Script::new(&rig.world, "a/c", "alice", &["bob"], 2);
    let (_, body) = other.message(2, 0, b"open the door");
    rig.say_with(&[script.frame(2, 0, &body)], &[&body]);
    assert_eq!(faults(&mut rig), [(IntegrityFault::BadBody, false)]);
    // A member may seal it again under this topic's key; what alice signed still says where it belongs.
    let moved = script.body_key().seal(&other.place(0), b"open the door", &script.author.signer, Wall(0));
    rig.say_with(&[script.frame(3, 0, &moved)], &[&moved]);
    assert_eq!(faults(&mut rig), [(IntegrityFault::WrongTopic, false)]);
}

#[test]
fn only_who_is_a_member_at_a_message_s_place_has_sent_it() {
    let mut rig = Rig::connected("bob");
    let mut script = Script::new(&rig.world, "a/b", "alice", &["bob"], 1);
    let carol = Author::new(&rig.world, "carol", HERS, SENDER + 1);
    subscribe(&mut rig, &script, 2, 50);
    rig.say(&[carol.introduce()]);
    say(&mut rig, script.message_of(&carol, 2, 0, b"a stranger's"));
    assert_eq!(one_fault(&mut rig), (IntegrityFault::StrangeSender, false));
    script.admit(&rig.world, "carol", 4);
    rig.say(&[script.record(2, me(&rig))]);
    say(&mut rig, script.message_of(&carol, 3, 0, b"slipped in below"));
    assert_eq!(one_fault(&mut rig), (IntegrityFault::NotYetMember, false));
    say(&mut rig, script.message_of(&carol, 5, 0, b"a member's"));
    assert_eq!(messages(&mut rig).len(), 1);

    let (late, late_body) = script.message_of(&carol, 7, 1, b"too late");
    script.remove(&rig.world, "carol", 6);
    rig.say(&[script.record(3, me(&rig))]);
    rig.say_with(&[late], &[&late_body]);
    assert_eq!(one_fault(&mut rig), (IntegrityFault::NoLongerMember, false));
    say(&mut rig, script.message_of(&carol, 8, 1, b"with the new key, even"));
    assert_eq!(one_fault(&mut rig), (IntegrityFault::NoLongerMember, false));

    script.admit(&rig.world, "carol", 9);
    rig.say(&[script.record(4, me(&rig))]);
    say(&mut rig, script.message_of(&carol, 10, 1, b"back again"));
    assert_eq!(messages(&mut rig).len(), 1);
}

#[test]
fn before_its_joining_nobody_has_sent_anything() {
    let mut rig = Rig::connected("bob");
    let mut script = Script::new(&rig.world, "a/b", "alice", &["bob"], 1);
    let carol = Author::new(&rig.world, "carol", HERS, SENDER + 1);
    script.admit(&rig.world, "carol", 4);
    // All records come first, since delivery begins behind them in an earlier session.
    subscribe(&mut rig, &script, 2, 50);
    rig.say(&[carol.introduce()]);
    let at = |rig: &mut Rig, offset| say(rig, script.message_of(&carol, offset, 0, b"x"));
    at(&mut rig, 2);
    assert_eq!(one_fault(&mut rig), (IntegrityFault::NotYetMember, false));
    at(&mut rig, 5);
    let (fault, is_shown) = match &rig.events()[..] {
        [Event::Message(_)] => (None, true),
        [Event::Integrity(i), Event::Message(_)] => (Some(i.fault.clone()), true),
        other => panic!("{other:?}"),
    };
    let left_out = IntegrityFault::Skipped { from: Offset(3), to: Offset(5) };
    assert_eq!((fault, is_shown), (Some(left_out), true));
}

#[test]
fn who_holds_a_key_for_recovery_does_not_publish() {
    let mut rig = Rig::connected("bob");
    let mut script = Script::new(&rig.world, "a/b", "alice", &["bob"], 1);
    let carol = Author::new(&rig.world, "carol", HERS, SENDER + 1);
    script.admit_for_recovery(&rig.world, "carol", 2);
    subscribe(&mut rig, &script, 2, 50);
    rig.say(&[carol.introduce()]);
    say(&mut rig, script.message_of(&carol, 3, 0, b"x"));
    assert_eq!(one_fault(&mut rig), (IntegrityFault::StrangeSender, false));
}

#[test]
fn history_outlives_its_sender_s_certificate() {
    let (mut rig, script) = bob();
    let mut old = Author::new(&world_at(Wall(NOON.0 - 900 * DAY)), "alice", PUBLISHER, SENDER);
    let then = NOON.0 - 600 * DAY;
    let said = Delegation { not_before: Wall(then), not_after: Wall(then + 7 * DAY), ..old.said() };
    old.delegation = old.sign(&said);
    subscribe(&mut rig, &script, 2, 20);
    rig.say(&[old.introduce()]);
    let (mut frame, body) = script.message_of(&old, 2, 0, b"long ago");
    if let BrokerFrame::Message { time, .. } = &mut frame {
        *time = Wall(then + DAY);
    }
    rig.say_with(&[frame], &[&body]);
    let events = rig.events();
    assert!(matches!(&events[..], [Event::Message(m)] if m.content == b"long ago"), "{events:?}");
}

#[test]
fn sessions_and_runs_of_one_client_count_each_for_itself() {
    let (mut rig, script) = bob();
    subscribe(&mut rig, &script, 2, 50);
    // Parallel one-shot publishers, a session that goes on among them, a state folder that was lost.
    let mut offset = 2;
    for run in 0..20u8 {
        let number = SENDER + 1 + u32::from(run);
        let alice = Author::new(&rig.world, "alice", PublisherId([100 + run; 16]), number);
        rig.say(&[alice.introduce()]);
        say(&mut rig, script.message_of(&alice, offset, 0, b"one shot"));
        say(&mut rig, script.message(offset + 1, u64::from(run), b"the long session"));
        offset += 2;
    }
    assert_eq!(messages(&mut rig).len(), 40);
}

#[test]
fn what_was_verified_is_not_verified_again() {
    let (mut rig, script) = bob();
    subscribe(&mut rig, &script, 2, 20);
    assert_eq!(rig.client.senders.verifications, 2, "a certificate and a delegation");
    for _ in 0..3 {
        rig.say(&[script.sender()]);
    }
    rig.cut();
    rig.connect();
    let heard = rig.heard();
    let [ClientFrame::Open { request, .. }, _] = heard[..] else { panic!("{heard:?}") };
    rig.say(&[script.announce(request, 2, 20)]);
    let records = script.all_records(me(&rig));
    rig.say(&records);
    rig.say(&[script.sender()]);
    assert_eq!(rig.client.senders.verifications, 2);
    rig.events();
    say(&mut rig, script.message(2, 0, b"x"));
    assert_eq!(messages(&mut rig).len(), 1);
    // Another run: one more delegation, and the certificate is known.
    rig.say(&[Author::new(&rig.world, "alice", HERS, SENDER + 1).introduce()]);
    assert_eq!(rig.client.senders.verifications, 3);
    // What is known of one publisher says nothing of another.
    let mut other = Author::new(&rig.world, "alice", PublisherId([77; 16]), SENDER + 2);
    other.delegation = script.author.delegation.clone();
    rig.say(&[other.introduce()]);
    say(&mut rig, script.message_of(&other, 3, 0, b"x"));
    assert!(matches!(one_fault(&mut rig), (IntegrityFault::BadDelegation(_), false)));
}

#[test]
fn a_session_that_leaves_messages_out_as_it_resumes_is_told() {
    let (mut rig, script) = bob();
    subscribe(&mut rig, &script, 2, 4);
    say(&mut rig, script.message(2, 0, b"x"));
    rig.cut();
    rig.connect();
    rig.events();
    let heard = rig.heard();
    let [ClientFrame::Open { request, .. }, _] = heard[..] else { panic!("{heard:?}") };
    let frame = script.announce(request, 5, 9);
    assert!(matches!(&frame, BrokerFrame::Topic { notice: StartNotice::None, .. }));
    rig.say(&[frame]);
    let records = script.all_records(me(&rig));
    rig.say(&records);
    rig.say(&[script.sender()]);
    say(&mut rig, script.message(5, 3, b"y"));
    let skipped = IntegrityFault::Skipped { from: Offset(3), to: Offset(5) };
    assert_eq!(one_fault(&mut rig), (skipped, true));
}

#[test]
fn retention_is_told_and_nobody_is_accused() {
    let (mut rig, script, carol) = three();
    rig.say(&[carol.introduce()]);
    say(&mut rig, script.message(2, 0, b"x"));
    rig.say(&[BrokerFrame::Gap { topic: HANDLE, from: Offset(3), to: Offset(20) }]);
    say(&mut rig, script.message(20, 9, b"y"));
    say(&mut rig, script.message_of(&carol, 21, 4, b"z"));
    let events = rig.events();
    let [Event::Message(_), Event::Gap { .. }, Event::Message(_), Event::Message(_)] = &events[..] else {
        panic!("{events:?}")
    };
}
