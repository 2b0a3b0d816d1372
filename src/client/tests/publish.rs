//! Publishing: what is sent when, and what becomes of it.

use std::sync::Arc;
use std::time::Duration;

use super::rig::{Rig, WINDOW, topic};
use super::subscribe::me;
use super::topic::{HANDLE, Script};
use crate::base::ids::{Counter, Epoch, Offset, PublisherId};
use crate::chain::Delegation;
use crate::client::body::Place;
use crate::client::{Answer, ClientConfig, Event, Failure, Full, Ticket};
use crate::crypto::cert::testing::key;
use crate::crypto::ed25519::MessageKey;
use crate::wire::body::Body;
use crate::wire::frame::{BrokerFrame, ClientFrame};
use crate::wire::values::{RefuseCode, Start};

/// A publish as it reached the broker.
pub struct Got {
    pub slot: u16,
    pub epoch: u32,
    pub counter: u64,
    pub body: Arc<[u8]>,
}

/// A publisher id that the broker was told, and the key that bob says signs for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Told {
    pub slot: u16,
    pub id: PublisherId,
    pub key: MessageKey,
}

fn told(slot: u16, id: PublisherId, delegation: &[u8]) -> Told {
    let said = Delegation::verify(delegation, &key("bob").public(), id).expect("bob's own");
    Told { slot, id, key: said.key }
}

/// The publishes among what was heard, and the ids that slots were given.
pub fn got(rig: &mut Rig) -> (Vec<Got>, Vec<Told>) {
    let (mut publishes, mut ids) = (Vec::new(), Vec::new());
    for (frame, beside) in rig.heard_bodies() {
        match frame {
            ClientFrame::Publish { slot, topic, epoch, counter, body } => {
                assert_eq!(topic, HANDLE);
                let body = match body {
                    Body::Inline(bytes) => bytes.into(),
                    Body::Beside(_) => beside.expect("a body beside the token"),
                };
                publishes.push(Got { slot, epoch: epoch.0, counter: counter.0, body });
            }
            ClientFrame::Publisher { slot, id, delegation } => ids.push(told(slot, id, &delegation)),
            other => panic!("{other:?}"),
        }
    }
    (publishes, ids)
}

pub fn counters(rig: &mut Rig) -> Vec<u64> {
    got(rig).0.iter().map(|got| got.counter).collect()
}

/// The broker opens the topic, with all its records.
pub fn open(rig: &mut Rig, script: &Script) {
    let heard = rig.heard();
    let [ClientFrame::Open { request, start: Start::RecordsOnly, .. }] = heard[..] else {
        panic!("{heard:?}")
    };
    let mut frames = vec![script.announce(request, 2, 2)];
    frames.extend(script.all_records(me(rig)));
    rig.say(&frames);
}

pub fn bob_in(seed: u64) -> (Rig, Script) {
    let rig = Rig::connected("bob");
    let script = Script::new(&rig.world, "a/b", "alice", &["bob"], seed);
    (rig, script)
}

pub fn publish(rig: &mut Rig, content: &[u8]) -> Ticket {
    rig.client.publish(&topic("a/b"), content).expect("there is room")
}

fn published(counter: u64, offset: u64) -> BrokerFrame {
    BrokerFrame::Published { slot: 0, topic: HANDLE, counter: Counter(counter), offset: Offset(offset) }
}

pub fn refused(counter: u64, code: RefuseCode, detail: u64) -> BrokerFrame {
    BrokerFrame::PublishRefused { slot: 0, topic: HANDLE, counter: Counter(counter), code, detail }
}

fn stored(counter: u64, offset: u64) -> Result<Answer, Failure> {
    let (counter, offset) = (Counter(counter), Some(Offset(offset)));
    Ok(Answer::Published { topic: topic("a/b"), counter, offset })
}

#[test]
fn a_publish_opens_its_topic_and_is_sealed_to_its_place() {
    let (mut rig, script) = bob_in(1);
    let tickets = [publish(&mut rig, b"one"), publish(&mut rig, b"")];
    open(&mut rig, &script);
    let (publishes, ids) = got(&mut rig);
    assert_eq!(ids.len(), 1);
    for (i, content) in [&b"one"[..], b""].into_iter().enumerate() {
        let place = Place { publisher: ids[0].id, ..script.place(i as u64) };
        assert_eq!(publishes[i].counter, i as u64);
        assert_eq!(script.body_key().open(&place, &publishes[i].body, &ids[0].key).as_deref(), Ok(content));
    }
    rig.say(&[published(0, 2), published(1, 3)]);
    assert_eq!(rig.answers(), [(tickets[0], stored(0, 2)), (tickets[1], stored(1, 3))]);
    assert_eq!(rig.client.unanswered_publishes(), 0);
}

#[test]
fn the_window_is_the_broker_s() {
    let (mut rig, script) = bob_in(1);
    let window = u64::from(WINDOW);
    for n in 0..window {
        publish(&mut rig, &[n as u8]);
    }
    assert_eq!(rig.client.publish(&topic("a/b"), b"more"), Err(Full));
    open(&mut rig, &script);
    assert_eq!(counters(&mut rig), (0..window).collect::<Vec<_>>());
    rig.say(&[published(0, 2)]);
    publish(&mut rig, b"more");
    assert_eq!(rig.client.publish(&topic("a/b"), b"yet more"), Err(Full));
    assert_eq!(counters(&mut rig), [window]);
}

#[test]
fn what_is_unanswered_is_sent_again_with_the_same_id_and_counters() {
    let (mut rig, script) = bob_in(1);
    let tickets: Vec<Ticket> = (0..3).map(|n| publish(&mut rig, &[n])).collect();
    open(&mut rig, &script);
    let (before, ids) = got(&mut rig);
    rig.say(&[published(0, 2)]);
    assert_eq!(rig.answers(), [(tickets[0], stored(0, 2))]);
    rig.cut();
    rig.events();
    rig.connect();
    let fourth = publish(&mut rig, b"new");
    open(&mut rig, &script);
    let (again, ids_again) = got(&mut rig);
    assert_eq!(ids_again, ids);
    assert_eq!(again.iter().map(|g| g.counter).collect::<Vec<_>>(), [1, 2, 3]);
    assert_eq!(again[0].body, before[1].body, "the very same body");
    rig.say(&[published(1, 3), published(2, 4), published(3, 5)]);
    let expected = [(tickets[1], stored(1, 3)), (tickets[2], stored(2, 4)), (fourth, stored(3, 5))];
    assert_eq!(rig.answers(), expected);
}

#[test]
fn nothing_is_sent_under_keys_that_this_session_has_not_borne_out() {
    let (mut rig, script) = bob_in(1);
    publish(&mut rig, b"x");
    open(&mut rig, &script);
    rig.cut();
    rig.connect();
    rig.events();
    let heard = rig.heard();
    let Some(ClientFrame::Open { request, .. }) = heard.last() else { panic!("{heard:?}") };
    let anew = Script::new(&rig.world, "a/b", "alice", &["bob"], 2);
    rig.say(&[anew.announce(*request, 2, 2)]);
    assert!(rig.heard().is_empty(), "the broker may have another topic by now");
    let records = anew.all_records(me(&rig));
    rig.say(&records);
    let (publishes, ids) = got(&mut rig);
    let place = Place { publisher: ids[0].id, ..anew.place(0) };
    assert_eq!(anew.body_key().open(&place, &publishes[0].body, &ids[0].key).as_deref(), Ok(&b"x"[..]));
}

#[test]
fn a_new_epoch_seals_again_and_keeps_order_and_counters() {
    let (mut rig, mut script) = bob_in(1);
    let tickets: Vec<Ticket> = (0..3).map(|n| publish(&mut rig, &[n])).collect();
    open(&mut rig, &script);
    let (_, ids) = got(&mut rig);
    script.rotate(3);
    // The refusals come before the answer of what is still being stored.
    rig.say(&[refused(1, RefuseCode::EpochChanged, 1), refused(2, RefuseCode::CounterAhead, 1)]);
    assert!(rig.heard().is_empty());
    rig.say(&[published(0, 2)]);
    assert!(rig.heard().is_empty(), "the record has not come");
    rig.say(&[script.record(2, me(&rig))]);
    let (publishes, _) = got(&mut rig);
    let sent: Vec<_> = publishes.iter().map(|g| (g.epoch, g.counter)).collect();
    assert_eq!(sent, [(1, 1), (1, 2)]);
    let place = Place { publisher: ids[0].id, ..script.place(1) };
    assert_eq!(script.body_key().open(&place, &publishes[0].body, &ids[0].key).as_deref(), Ok(&[1][..]));
    rig.say(&[published(1, 4), published(2, 5)]);
    let expected = [(tickets[0], stored(0, 2)), (tickets[1], stored(1, 4)), (tickets[2], stored(2, 5))];
    assert_eq!(rig.answers(), expected);
}

#[test]
fn a_refusal_fails_what_it_must_and_no_more() {
    let (mut rig, script) = bob_in(1);
    let tickets: Vec<Ticket> = (0..2).map(|n| publish(&mut rig, &[n])).collect();
    open(&mut rig, &script);
    counters(&mut rig);
    rig.say(&[refused(0, RefuseCode::TooLarge, 5), refused(1, RefuseCode::CounterAhead, 0)]);
    assert_eq!(counters(&mut rig), [0], "the second takes the first one's counter");
    rig.say(&[published(0, 2)]);
    let answers = rig.answers();
    assert!(
        matches!(
            &answers[..],
            [(a, Err(Failure::Refused { code: RefuseCode::TooLarge, .. })), (b, Ok(_))] if (*a, *b) == (tickets[0], tickets[1])
        ),
        "{answers:?}"
    );

    let tickets: Vec<Ticket> = (0..2).map(|n| publish(&mut rig, &[n])).collect();
    counters(&mut rig);
    rig.say(&[refused(1, RefuseCode::StorageFull, 0), refused(2, RefuseCode::EarlierRefused, 1)]);
    let answers = rig.answers();
    assert!(answers.iter().all(|(_, result)| result.is_err()), "{answers:?}");
    assert_eq!(answers.into_iter().map(|(ticket, _)| ticket).collect::<Vec<_>>(), tickets);
    publish(&mut rig, b"later");
    assert_eq!(counters(&mut rig), [1]);
}

#[test]
fn a_busy_broker_is_asked_again_in_time() {
    let (mut rig, script) = bob_in(1);
    publish(&mut rig, b"x");
    open(&mut rig, &script);
    counters(&mut rig);
    rig.say(&[refused(0, RefuseCode::Busy, 200)]);
    rig.pass(Duration::from_millis(199));
    assert!(counters(&mut rig).is_empty());
    rig.pass(Duration::from_millis(1));
    assert_eq!(counters(&mut rig), [0]);
}

#[test]
fn a_broker_that_forgot_our_id_gets_a_new_one() {
    let (mut rig, script) = bob_in(1);
    publish(&mut rig, b"first");
    open(&mut rig, &script);
    let (_, ids) = got(&mut rig);
    rig.say(&[published(0, 2)]);
    rig.events();
    let ticket = publish(&mut rig, b"a day later");
    assert_eq!(counters(&mut rig), [1]);
    rig.say(&[refused(1, RefuseCode::CounterAhead, 0)]);
    let heard = rig.heard_bodies();
    let [
        (ClientFrame::Publisher { slot: 1, id, delegation }, _),
        (ClientFrame::Publish { slot: 1, counter: Counter(0), .. }, Some(body)),
    ] = &heard[..]
    else {
        panic!("{heard:?}")
    };
    assert_ne!(*id, ids[0].id);
    let key = told(1, *id, delegation).key;
    assert_ne!(key, ids[0].key);
    let place = Place { publisher: *id, ..script.place(0) };
    assert_eq!(script.body_key().open(&place, body, &key).as_deref(), Ok(&b"a day later"[..]));
    rig.say(&[BrokerFrame::Published { slot: 1, topic: HANDLE, counter: Counter(0), offset: Offset(3) }]);
    assert_eq!(rig.answers(), [(ticket, stored(0, 3))]);
}

#[test]
fn an_offset_that_is_forgotten_is_an_answer_all_the_same() {
    let (mut rig, script) = bob_in(1);
    let ticket = publish(&mut rig, b"x");
    open(&mut rig, &script);
    rig.say(&[refused(0, RefuseCode::Forgotten, 0)]);
    let answer = Answer::Published { topic: topic("a/b"), counter: Counter(0), offset: None };
    assert_eq!(rig.answers(), [(ticket, Ok(answer))]);
}

#[test]
fn answers_to_what_was_not_sent_end_the_session() {
    for frame in [published(0, 1), published(3, 1), refused(3, RefuseCode::Busy, 1)] {
        let (mut rig, script) = bob_in(1);
        publish(&mut rig, b"x");
        open(&mut rig, &script);
        rig.say(&[published(0, 2)]);
        rig.events();
        rig.say(&[frame]);
        assert!(matches!(rig.events()[..], [Event::Disconnected { fatal: false, .. }]));
    }
}

#[test]
fn a_topic_that_is_not_there_or_not_ours_says_so() {
    for (code, exit_code) in [(RefuseCode::NoSuchTopic, 1), (RefuseCode::NotMember, 5)] {
        let mut rig = Rig::connected("bob");
        let tickets = [publish(&mut rig, b"x"), rig.client.members(&topic("a/b"))];
        let heard = rig.heard();
        let [ClientFrame::Open { request, .. }] = heard[..] else { panic!("{heard:?}") };
        rig.say(&[BrokerFrame::Refused { request, code, detail: 0, text: String::new() }]);
        let answers = rig.answers();
        for (ticket, (answered, result)) in tickets.iter().zip(&answers) {
            assert_eq!(ticket, answered);
            assert_eq!(result.as_ref().map_err(Failure::exit_code), Err(exit_code));
        }
        assert_eq!(answers.len(), 2);
    }
    let create = Failure::NoSuchTopic(topic("a/b")).to_string();
    assert!(create.contains("sealmq create 'a/b'"), "{create}");
}

#[test]
fn a_member_without_a_key_is_told_so_once_all_records_are_there() {
    let (mut rig, script) = bob_in(1);
    let ticket = publish(&mut rig, b"x");
    let heard = rig.heard();
    let [ClientFrame::Open { request, .. }] = heard[..] else { panic!("{heard:?}") };
    let mut record = script.record(1, me(&rig));
    if let BrokerFrame::Record { wrap, .. } = &mut record {
        wrap.clear();
    }
    rig.say(&[script.announce(request, 2, 2), script.record(0, me(&rig)), record]);
    rig.pass(Duration::from_secs(9));
    assert!(rig.events().is_empty(), "another record may bring it");
    rig.say(&[caught_up()]);
    assert_eq!(rig.answers(), [(ticket, Err(Failure::NoKey(topic("a/b"))))]);

    let mut rig = Rig::connected("carol");
    let ticket = publish(&mut rig, b"x");
    open(&mut rig, &script);
    rig.lull();
    assert_eq!(rig.answers(), [(ticket, Err(Failure::NotMember(topic("a/b"))))], "told or not");
}

#[test]
fn a_line_that_carries_nothing_is_no_answer() {
    let (mut rig, script) = bob_in(1);
    let asked = [publish(&mut rig, b"x"), rig.client.members(&topic("a/b"))];
    let heard = rig.heard();
    let [ClientFrame::Open { request, .. }] = heard[..] else { panic!("{heard:?}") };
    rig.say(&[script.announce(request, 2, 2)]);
    // Only one ping asks, however long it takes.
    rig.pass(Duration::from_secs(50));
    let heard = rig.heard();
    let [ClientFrame::Ping { number }] = heard[..] else { panic!("{heard:?}") };
    assert!(rig.events().is_empty(), "not even the pong has come");
    // What was on its way comes first.
    rig.say(&[script.record(0, me(&rig)), script.record(1, me(&rig))]);
    rig.say(&[BrokerFrame::Pong { number }]);
    let answers = rig.answers();
    assert!(answers.is_empty(), "there may be more of it: {answers:?}");
    assert!(matches!(rig.heard()[..], [ClientFrame::Publisher { .. }, ClientFrame::Publish { .. }]));
    rig.lull();
    let answers = rig.answers();
    let [(answered, Ok(Answer::Members(_)))] = &answers[..] else { panic!("{answers:?}") };
    assert_eq!(*answered, asked[1]);
}

fn caught_up() -> BrokerFrame {
    BrokerFrame::CaughtUp { topic: HANDLE, next: Offset(2) }
}

#[test]
fn members_are_those_of_the_verified_records() {
    let (mut rig, mut script) = bob_in(1);
    script.admit(&Rig::new("bob").world, "carol", 2);
    let ticket = rig.client.members(&topic("a/b"));
    open(&mut rig, &script);
    rig.say(&[caught_up()]);
    let answers = rig.answers();
    let [(answered, Ok(Answer::Members(members)))] = &answers[..] else { panic!("{answers:?}") };
    assert_eq!(*answered, ticket);
    assert_eq!(
        (members.owner.as_str(), members.epoch, members.id),
        ("alice", Epoch(0), script.chain.topic())
    );
    let names: Vec<_> = members.members.iter().map(|m| (m.name.as_str(), m.role.to_string(), m.me)).collect();
    let expected =
        [("alice", "owner".into(), false), ("bob", "member".into(), true), ("carol", "member".into(), false)];
    assert_eq!(names, expected);
    // In this session they are known now.
    let again = rig.client.members(&topic("a/b"));
    assert!(matches!(rig.answers()[..], [(t, Ok(Answer::Members(_)))] if t == again));
}

#[test]
fn contents_beyond_the_broker_s_limit_are_refused_here() {
    let (mut rig, _) = bob_in(1);
    let max = 1 << 20;
    let ticket = publish(&mut rig, &vec![0; max + 1]);
    assert_eq!(rig.answers(), [(ticket, Err(Failure::TooLarge { bytes: max + 1, max }))]);
    assert!(rig.heard().is_empty());
}

#[test]
fn large_messages_go_in_records_of_their_own_size() {
    let (mut rig, script) = bob_in(1);
    for n in 0..3 {
        publish(&mut rig, &vec![n; 1 << 20]);
    }
    open(&mut rig, &script);
    let (publishes, _) = got(&mut rig);
    assert_eq!(publishes.len(), 3);
    assert!(publishes.iter().all(|got| got.body.len() > 1 << 20 && got.slot == 0));
}

#[test]
fn bodies_may_be_sealed_with_the_session_too() {
    let config = ClientConfig { host: "localhost".into(), seal_bodies: true, ..ClientConfig::default() };
    let mut rig = Rig::with("bob", config);
    rig.connect();
    rig.events();
    let script = Script::new(&rig.world, "a/b", "alice", &["bob"], 1);
    publish(&mut rig, b"small");
    publish(&mut rig, &vec![0; 100_000]);
    open(&mut rig, &script);
    let heard = rig.heard_bodies();
    let [
        _,
        (ClientFrame::Publish { body: Body::Inline(_), .. }, None),
        (ClientFrame::Publish { body: Body::Beside(_), .. }, Some(_)),
    ] = &heard[..]
    else {
        panic!("{heard:?}")
    };
}

#[test]
fn exit_waits_for_publishes_and_ends_with_the_connection() {
    let (mut rig, script) = bob_in(1);
    let ticket = publish(&mut rig, b"x");
    rig.client.exit();
    open(&mut rig, &script);
    assert_eq!(counters(&mut rig), [0]);
    rig.say(&[published(0, 2)]);
    assert_eq!(rig.heard(), [ClientFrame::Exit { forget: true }]);
    assert_eq!(rig.answers(), [(ticket, stored(0, 2))]);

    let (mut rig, script) = bob_in(1);
    let ticket = publish(&mut rig, b"x");
    rig.client.exit();
    open(&mut rig, &script);
    rig.cut();
    let events = rig.events();
    let [Event::Answer { ticket: answered, result: Err(_) }, Event::Closed] = events[..] else {
        panic!("{events:?}")
    };
    assert_eq!(answered, ticket);
}
