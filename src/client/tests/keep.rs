//! Publishing under an id that the caller keeps, and reading on from a place that it keeps.

use super::publish::{bob_in, got, open, publish, refused};
use super::rig::{Rig, filter, topic};
use super::subscribe::me;
use super::topic::{HANDLE, INCARNATION, Script};
use crate::base::ids::{Counter, Offset};
use crate::client::body::Place;
use crate::client::{Answer, Event, Failure, KeptPublisher, Stand, Ticket};
use crate::wire::frame::{BrokerFrame, ClientFrame};
use crate::wire::values::{Notice as StartNotice, RefuseCode, Start};

fn keep(rig: &mut Rig, next: u64) -> KeptPublisher {
    let kept = rig.client.make_publisher(rig.now.wall).expect("a sound machine");
    rig.client.publish_as(&topic("a/b"), &kept, Counter(next)).expect("a slot");
    kept
}

fn published(counter: u64, offset: u64) -> BrokerFrame {
    BrokerFrame::Published { slot: 0, topic: HANDLE, counter: Counter(counter), offset: Offset(offset) }
}

fn counters_lost() -> Result<Answer, Failure> {
    Err(Failure::CountersLost(topic("a/b")))
}

#[test]
fn another_run_goes_on_under_the_same_id_and_counters() {
    let (mut rig, script) = bob_in(1);
    let kept = keep(&mut rig, 0);
    for n in 0..3 {
        publish(&mut rig, &[n]);
    }
    open(&mut rig, &script);
    let (_, ids) = got(&mut rig);
    rig.say(&[published(0, 2)]);

    let mut again = Rig::connected("bob");
    again.client.publish_as(&topic("a/b"), &kept, Counter(1)).expect("a slot");
    let tickets: Vec<Ticket> = (1..3).map(|n| publish(&mut again, &[n])).collect();
    open(&mut again, &script);
    let (publishes, ids_again) = got(&mut again);
    assert_eq!(ids_again, ids, "the same id, key and delegation");
    assert_eq!(publishes.iter().map(|g| g.counter).collect::<Vec<_>>(), [1, 2]);
    let place = Place { publisher: kept.id, ..script.place(2) };
    assert_eq!(script.body_key().open(&place, &publishes[1].body, &ids[0].key).as_deref(), Ok(&[2][..]));
    again.say(&[published(1, 3), published(2, 4)]);
    assert!(again.answers().iter().map(|(ticket, _)| *ticket).eq(tickets));
}

#[test]
fn a_kept_id_gives_way_to_none_without_its_keeper_s_word() {
    let (mut rig, script) = bob_in(1);
    keep(&mut rig, 4);
    let tickets: Vec<Ticket> = (0..2).map(|n| publish(&mut rig, &[n])).collect();
    open(&mut rig, &script);
    assert_eq!(got(&mut rig).0.len(), 2);
    rig.say(&[refused(4, RefuseCode::CounterAhead, 0), refused(5, RefuseCode::CounterAhead, 0)]);
    let lost: Vec<_> = tickets.into_iter().map(|ticket| (ticket, counters_lost())).collect();
    assert_eq!(rig.answers(), lost);
    let unheard = publish(&mut rig, b"unheard");
    assert_eq!(rig.answers(), [(unheard, counters_lost())], "it is still not good");
    assert!(rig.heard().is_empty(), "nothing was sent under another id");
    let other = keep(&mut rig, 0);
    publish(&mut rig, b"anew");
    let (publishes, ids) = got(&mut rig);
    assert_eq!((publishes.len(), publishes[0].counter, ids[0].id), (1, 0, other.id));
}

#[test]
fn what_is_refused_fails_with_all_behind_it() {
    let (mut rig, script) = bob_in(1);
    keep(&mut rig, 0);
    let tickets: Vec<Ticket> = (0..3).map(|n| publish(&mut rig, &[n])).collect();
    open(&mut rig, &script);
    got(&mut rig);
    rig.say(&[
        published(0, 2),
        refused(1, RefuseCode::TooLarge, 10),
        refused(2, RefuseCode::EarlierRefused, 0),
    ]);
    let answers = rig.answers();
    let failed: Vec<Ticket> = answers.iter().filter(|(_, r)| r.is_err()).map(|(t, _)| *t).collect();
    assert_eq!(failed, tickets[1..], "its counter would be another message's");
    assert!(rig.heard().is_empty());
}

#[test]
fn the_broker_keeps_an_id_that_comes_back() {
    for is_released in [false, true] {
        let mut rig = Rig::connected("bob");
        keep(&mut rig, 0);
        if is_released {
            rig.client.release_publisher(&topic("a/b"));
        }
        rig.client.exit();
        let heard = rig.heard();
        assert!(matches!(heard[..], [ClientFrame::Exit { forget }] if forget == is_released), "{heard:?}");
    }
}

#[test]
fn a_kept_id_is_nobody_else_s() {
    let mut rig = Rig::connected("bob");
    let kept = keep(&mut rig, 0);
    // A topic whose counters nobody keeps must not count under an id that it may have used before.
    let other = Script::new(&rig.world, "a/b", "alice", &["bob"], 3);
    rig.client.release_publisher(&topic("a/b"));
    rig.client.forget(&topic("a/b"));
    publish(&mut rig, b"x");
    open(&mut rig, &other);
    let (publishes, ids) = got(&mut rig);
    assert_eq!((publishes[0].counter, ids[0].id == kept.id), (0, false));
}

#[test]
fn reading_goes_on_at_a_place_that_was_kept() {
    let mut rig = Rig::connected("bob");
    let script = Script::new(&rig.world, "a/b", "alice", &["bob"], 1);
    let stand = Stand { incarnation: INCARNATION, next: Offset(4) };
    rig.client.resume_at(&topic("a/b"), stand);
    rig.client.subscribe(filter("a/#"), Start::Latest);
    let heard = rig.heard();
    let [
        ClientFrame::Open { request, start: Start::Resume(Offset(4), INCARNATION), .. },
        ClientFrame::Subscribe { request: filter, .. },
    ] = heard[..]
    else {
        panic!("{heard:?}")
    };
    let mut frames = vec![
        script.announce(request, 4, 6),
        script.announce(filter, 4, 6),
        BrokerFrame::Subscribed { request: filter, matched: 1, others: 0 },
    ];
    frames.extend(script.all_records(me(&rig)));
    frames.push(script.sender());
    rig.say(&frames);
    let events = rig.events();
    assert!(
        matches!(&events[..], [Event::Opened(opened), Event::Answer { .. }]
            if opened.start == Offset(4) && opened.notice == StartNotice::None),
        "{events:?}"
    );
    let (message, body) = script.message(4, 2, b"third");
    rig.say_with(&[message], &[&body]);
    assert!(matches!(&rig.events()[..], [Event::Message(m)] if m.content == b"third"));
    assert_eq!(rig.client.stand(&topic("a/b")), Some(Stand { next: Offset(5), ..stand }));
    rig.say(&[BrokerFrame::Ended { topic: HANDLE, code: RefuseCode::Damaged }]);
    assert_eq!(
        (rig.client.stand(&topic("a/b")), rig.client.ended_at(&topic("a/b"))),
        (None, Some(Offset(5)))
    );
}
