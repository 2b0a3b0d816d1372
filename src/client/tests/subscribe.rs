//! Filters, delivery, and going on after a lost connection.

use super::rig::{Rig, filter, topic};
use super::topic::{HANDLE, INCARNATION, Script};
use crate::base::ids::{Fingerprint, Incarnation, Offset, TopicHandle};
use crate::client::{Answer, ClientConfig, Disconnect, Event, Failure, IntegrityFault, Ticket};
use crate::wire::frame::{BrokerFrame, ClientFrame};
use crate::wire::values::{Notice as StartNotice, RefuseCode, Start};

/// Bob, connected, and alice's topic `a/b` with him in it.
pub fn bob() -> (Rig, Script) {
    let rig = Rig::connected("bob");
    let script = Script::new(&rig.world, "a/b", "alice", &["bob"], 1);
    (rig, script)
}

pub fn me(rig: &Rig) -> Fingerprint {
    rig.client.identity.certificate.fingerprint()
}

/// Subscribes to `a/b`; the broker delivers from `start` on, behind all records so far.
pub fn subscribe(rig: &mut Rig, script: &Script, start: u64, end: u64) -> Ticket {
    let ticket = rig.client.subscribe(filter("a/#"), Start::Earliest);
    let heard = rig.heard();
    let [ClientFrame::Subscribe { request, .. }] = heard[..] else { panic!("{heard:?}") };
    let mut frames = vec![
        script.announce(request, start, end),
        BrokerFrame::Subscribed { request, matched: 1, others: 2 },
    ];
    frames.extend(script.all_records(me(rig)));
    frames.push(script.sender());
    rig.say(&frames);
    let events = rig.events();
    let [Event::Opened(opened), Event::Answer { ticket: answered, result: Ok(_) }] = &events[..] else {
        panic!("{events:?}")
    };
    assert_eq!((opened.start, opened.end, *answered), (Offset(start), Offset(end), ticket));
    ticket
}

fn deliver(rig: &mut Rig, script: &Script, offset: u64, counter: u64) {
    let (frame, body) = script.message(offset, counter, format!("message {counter}").as_bytes());
    rig.say_with(&[frame], &[&body]);
}

/// The offsets of the messages among the events; there may be nothing else.
fn offsets(rig: &mut Rig) -> Vec<u64> {
    let offset = |event| match event {
        Event::Message(message) => message.offset.0,
        other => panic!("{other:?}"),
    };
    rig.events().into_iter().map(offset).collect()
}

#[test]
fn messages_come_with_their_sender_in_order() {
    let (mut rig, script) = bob();
    subscribe(&mut rig, &script, 2, 3);
    let (first, body) = script.message(2, 0, b"past");
    rig.say_with(&[first, BrokerFrame::CaughtUp { topic: HANDLE, next: Offset(3) }], &[&body]);
    deliver(&mut rig, &script, 3, 1);
    let events = rig.events();
    let [Event::Message(past), Event::CaughtUp { next, .. }, Event::Message(new)] = &events[..] else {
        panic!("{events:?}")
    };
    assert_eq!(
        (past.content.as_slice(), past.sender.as_str(), past.offset),
        (&b"past"[..], "alice", Offset(2))
    );
    assert_eq!((next, new.content.as_slice(), new.counter.0), (&Offset(3), &b"message 1"[..], 1));
    assert_eq!(past.fingerprint, script.chain.owner());
}

#[test]
fn a_body_inside_its_frame_is_as_good() {
    let (mut rig, script) = bob();
    subscribe(&mut rig, &script, 2, 2);
    let (mut frame, inside) = script.message(2, 0, b"inside");
    if let BrokerFrame::Message { body, .. } = &mut frame {
        *body = crate::wire::body::Body::Inline(inside);
    }
    rig.say(&[frame]);
    assert_eq!(offsets(&mut rig), [2]);
}

#[test]
fn delivery_goes_on_where_it_stopped() {
    let (mut rig, script) = bob();
    subscribe(&mut rig, &script, 2, 4);
    deliver(&mut rig, &script, 2, 0);
    rig.cut();
    rig.events();
    rig.connect();
    let heard = rig.heard();
    let [
        ClientFrame::Open { request: open, start, .. },
        ClientFrame::Subscribe { request: subscribe, start: Start::Earliest, .. },
    ] = heard[..]
    else {
        panic!("{heard:?}")
    };
    assert_eq!(start, Start::Resume(Offset(3), INCARNATION));
    let mut frames = vec![script.announce(open, 3, 4), script.announce(subscribe, 3, 4)];
    frames.push(BrokerFrame::Subscribed { request: subscribe, matched: 1, others: 2 });
    frames.extend(script.all_records(me(&rig)));
    frames.push(script.sender());
    rig.say(&frames);
    deliver(&mut rig, &script, 3, 1);
    let events = rig.events();
    let [Event::Connected(_), Event::Message(message)] = &events[..] else { panic!("{events:?}") };
    assert_eq!(message.offset, Offset(3));
}

#[test]
fn a_log_that_is_another_one_is_told() {
    let (mut rig, script) = bob();
    subscribe(&mut rig, &script, 2, 9);
    deliver(&mut rig, &script, 2, 0);
    rig.cut();
    rig.connect();
    rig.events();
    let heard = rig.heard();
    let [ClientFrame::Open { request, .. }, _] = heard[..] else { panic!("{heard:?}") };
    // A log has a topic of its own: its owner has made both anew.
    let script = Script::new(&rig.world, "a/b", "alice", &["bob"], 9);
    let mut at = script.announce(request, 2, 3);
    if let BrokerFrame::Topic { incarnation, notice, .. } = &mut at {
        (*incarnation, *notice) = (Incarnation(9), StartNotice::OtherIncarnation);
    }
    let mut frames = vec![at];
    frames.extend(script.all_records(me(&rig)));
    frames.push(script.sender());
    rig.say(&frames);
    deliver(&mut rig, &script, 2, 0);
    let events = rig.events();
    let [Event::Opened(opened), Event::Notice(_), Event::Message(_)] = &events[..] else {
        panic!("{events:?}")
    };
    assert_eq!((opened.notice, opened.incarnation), (StartNotice::OtherIncarnation, Incarnation(9)));
}

#[test]
fn gaps_are_told_and_omissions_reported() {
    let (mut rig, script) = bob();
    subscribe(&mut rig, &script, 2, 20);
    rig.say(&[BrokerFrame::Gap { topic: HANDLE, from: Offset(2), to: Offset(10) }]);
    deliver(&mut rig, &script, 10, 5);
    let events = rig.events();
    assert!(
        matches!(events[..], [Event::Gap { from: Offset(2), to: Offset(10), .. }, Event::Message(_)]),
        "{events:?}"
    );
    deliver(&mut rig, &script, 12, 6);
    let events = rig.events();
    let [Event::Integrity(integrity), Event::Message(_)] = &events[..] else { panic!("{events:?}") };
    assert_eq!(integrity.fault, IntegrityFault::Skipped { from: Offset(11), to: Offset(12) });
    deliver(&mut rig, &script, 12, 7);
    deliver(&mut rig, &script, 13, 6);
    let faults: Vec<_> = rig
        .events()
        .into_iter()
        .map(|event| match event {
            Event::Integrity(integrity) => (integrity.fault, integrity.stopped),
            other => panic!("{other:?}"),
        })
        .collect();
    let replayed = |n| (IntegrityFault::Replayed { counter: crate::base::ids::Counter(n) }, false);
    assert_eq!(faults, [replayed(7), replayed(6)]);
}

#[test]
fn a_topic_of_two_filters_is_delivered_once() {
    let (mut rig, script) = bob();
    subscribe(&mut rig, &script, 2, 3);
    rig.client.subscribe(filter("a/b"), Start::Latest);
    let heard = rig.heard();
    let [ClientFrame::Subscribe { request, .. }] = heard[..] else { panic!("{heard:?}") };
    rig.say(&[
        script.announce(request, 2, 3),
        BrokerFrame::Subscribed { request, matched: 1, others: 0 },
        BrokerFrame::CaughtUp { topic: HANDLE, next: Offset(2) },
        BrokerFrame::CaughtUp { topic: HANDLE, next: Offset(2) },
    ]);
    let events = rig.events();
    assert!(
        matches!(
            events[..],
            [Event::Answer { result: Ok(Answer::Subscribed { matched: 1, .. }), .. }, Event::CaughtUp { .. }]
        ),
        "{events:?}"
    );

    let ticket = rig.client.unsubscribe(filter("a/b"));
    let heard = rig.heard();
    let [ClientFrame::Unsubscribe { request, .. }] = heard[..] else { panic!("{heard:?}") };
    rig.say(&[BrokerFrame::Done { request }]);
    assert_eq!(rig.answers(), [(ticket, Ok(Answer::Unsubscribed { filter: filter("a/b") }))]);
    deliver(&mut rig, &script, 2, 0);
    assert_eq!(offsets(&mut rig), [2], "the other filter still matches");
}

#[test]
fn after_an_unsubscribe_delivery_begins_anew() {
    let (mut rig, script) = bob();
    subscribe(&mut rig, &script, 2, 3);
    let (message, body) = script.message(2, 0, b"x");
    rig.say_with(std::slice::from_ref(&message), &[&body]);
    rig.events();
    rig.client.unsubscribe(filter("a/#"));
    // Asked for again before the broker has answered.
    rig.client.subscribe(filter("a/b"), Start::Earliest);
    let heard = rig.heard();
    let [
        ClientFrame::Unsubscribe { request: gone, .. },
        ClientFrame::Subscribe { request, start: Start::Earliest, .. },
    ] = heard[..]
    else {
        panic!("{heard:?}")
    };
    rig.say(&[
        BrokerFrame::Done { request: gone },
        script.announce(request, 2, 3),
        BrokerFrame::Subscribed { request, matched: 1, others: 0 },
    ]);
    rig.events();
    rig.say_with(&[message], &[&body]);
    assert_eq!(offsets(&mut rig), [2], "from the beginning, and no replay");
}

#[test]
fn an_unsubscribe_of_a_lost_session_does_not_end_a_later_subscription() {
    let (mut rig, script) = bob();
    subscribe(&mut rig, &script, 2, 3);
    let ticket = rig.client.unsubscribe(filter("a/#"));
    rig.client.subscribe(filter("a/#"), Start::Earliest);
    rig.heard();
    rig.cut();
    rig.connect();
    let heard = rig.heard();
    let resumed = matches!(heard[..], [ClientFrame::Open { .. }, ClientFrame::Subscribe { .. }]);
    assert!(resumed, "no end of the filter that is wanted: {heard:?}");
    assert_eq!(rig.answers(), [(ticket, Ok(Answer::Unsubscribed { filter: filter("a/#") }))]);
}

#[test]
fn a_filter_dropped_between_sessions_is_not_asked_for_again() {
    let (mut rig, script) = bob();
    subscribe(&mut rig, &script, 2, 3);
    rig.cut();
    let ticket = rig.client.unsubscribe(filter("a/#"));
    let answers = rig.answers();
    assert_eq!(answers, [(ticket, Ok(Answer::Unsubscribed { filter: filter("a/#") }))]);
    rig.connect();
    assert!(rig.heard().is_empty());
}

#[test]
fn topics_that_end_are_told_and_their_handles_are_dead() {
    let (mut rig, script) = bob();
    subscribe(&mut rig, &script, 2, 3);
    rig.say(&[BrokerFrame::Ended { topic: HANDLE, code: RefuseCode::Deleted }]);
    assert!(matches!(rig.events()[..], [Event::Ended { code: RefuseCode::Deleted, .. }]));
    let (frame, body) = script.message(2, 0, b"late");
    rig.say_with(&[frame], &[&body]);
    assert!(rig.events().is_empty());

    rig.cut();
    rig.events();
    rig.connect();
    let heard = rig.heard();
    assert!(matches!(heard[..], [ClientFrame::Subscribe { .. }]), "nothing to resume: {heard:?}");
}

#[test]
fn handles_are_held_to_what_they_mean() {
    let (mut rig, script) = bob();
    subscribe(&mut rig, &script, 2, 3);
    rig.client.open(&topic("other"));
    let heard = rig.heard();
    let [ClientFrame::Open { request, .. }] = heard[..] else { panic!("{heard:?}") };
    let mut at = script.announce(request, 0, 0);
    if let BrokerFrame::Topic { name, .. } = &mut at {
        *name = topic("other");
    }
    rig.say(&[at]);
    let ends = |events: &[Event]| {
        events.iter().any(|e| matches!(e, Event::Disconnected { reason: Disconnect::Protocol(_), .. }))
    };
    assert!(ends(&rig.events()), "one handle for two topics");

    let (mut rig, script) = bob();
    rig.client.open(&topic("other"));
    rig.client.subscribe(filter("x/+"), Start::Latest);
    for frame in rig.heard() {
        let (ClientFrame::Open { request, .. } | ClientFrame::Subscribe { request, .. }) = frame else {
            panic!()
        };
        rig.say(&[script.announce(request, 0, 0)]);
        assert!(ends(&rig.events()), "a/b answers neither");
        rig.connect();
        rig.events();
    }

    let (mut rig, script) = bob();
    subscribe(&mut rig, &script, 2, 3);
    rig.client.open(&script.name);
    let heard = rig.heard();
    let [ClientFrame::Open { request, .. }] = heard[..] else { panic!("{heard:?}") };
    let mut at = script.announce(request, 0, 0);
    if let BrokerFrame::Topic { topic, .. } = &mut at {
        *topic = TopicHandle(8);
    }
    rig.say(&[at]);
    assert!(ends(&rig.events()), "two handles for one topic");
}

#[test]
fn a_refused_filter_is_answered_and_forgotten() {
    let mut rig = Rig::connected("bob");
    let ticket = rig.client.subscribe(filter("#"), Start::Earliest);
    let heard = rig.heard();
    let [ClientFrame::Subscribe { request, .. }] = heard[..] else { panic!("{heard:?}") };
    rig.say(&[BrokerFrame::Refused { request, code: RefuseCode::Limit, detail: 9, text: "filters".into() }]);
    let failure = Failure::Refused { code: RefuseCode::Limit, detail: 9, text: "filters".into() };
    assert_eq!(rig.answers(), [(ticket, Err(failure))]);
    assert_eq!(rig.client.filters().count(), 0);
}

#[test]
fn a_slow_caller_holds_the_broker_back() {
    let config = ClientConfig { host: "localhost".into(), event_bytes_max: 2000, ..ClientConfig::default() };
    let mut rig = Rig::with("bob", config);
    rig.connect();
    rig.events();
    let script = Script::new(&rig.world, "a/b", "alice", &["bob"], 1);
    subscribe(&mut rig, &script, 2, 9);
    assert!(rig.client.wants_read());
    for n in 0..8 {
        deliver(&mut rig, &script, 2 + n, n);
    }
    assert!(!rig.client.wants_read());
    assert_eq!(offsets(&mut rig), (2..10).collect::<Vec<_>>());
    assert!(rig.client.wants_read());
}

#[test]
fn nothing_is_shown_after_exit() {
    let (mut rig, script) = bob();
    subscribe(&mut rig, &script, 2, 9);
    rig.client.exit();
    deliver(&mut rig, &script, 2, 0);
    assert!(rig.events().is_empty());
    assert_eq!(rig.heard(), [ClientFrame::Exit { forget: true }]);
}

#[test]
fn what_comes_after_exit_is_not_missed() {
    let (mut rig, script) = bob();
    subscribe(&mut rig, &script, 2, 9);
    rig.client.exit();
    deliver(&mut rig, &script, 2, 0);
    let gap = BrokerFrame::Gap { topic: HANDLE, from: Offset(3), to: Offset(8) };
    rig.say(&[gap, BrokerFrame::CaughtUp { topic: HANDLE, next: Offset(9) }]);
    let events = rig.events();
    assert!(events.is_empty(), "nobody is accused of leaving out what is not shown: {events:?}");
}

#[test]
fn a_topic_that_comes_to_match_later_is_announced_by_the_filter_s_number() {
    let mut rig = Rig::connected("bob");
    rig.client.subscribe(filter("a/#"), Start::Latest);
    let heard = rig.heard();
    let [ClientFrame::Subscribe { request, start: Start::Latest, .. }] = heard[..] else {
        panic!("{heard:?}")
    };
    rig.say(&[BrokerFrame::Subscribed { request, matched: 0, others: 1 }]);
    rig.events();
    let script = Script::new(&rig.world, "a/b", "alice", &["bob"], 1);
    let mut frames = vec![script.announce(request, 0, 2)];
    frames.extend(script.all_records(me(&rig)));
    frames.push(script.sender());
    rig.say(&frames);
    deliver(&mut rig, &script, 2, 0);
    let events = rig.events();
    assert!(matches!(events[..], [Event::Opened(_), Event::Message(_)]), "{events:?}");
}
