//! Lies about messages: dropped, repeated, swapped, moved, forged.

use std::sync::Arc;

use sealmq::base::ids::{Counter, Epoch, Offset, PublisherId};
use sealmq::broker::lies::Said;
use sealmq::client::{Event, IntegrityFault};
use sealmq::wire::frame::BrokerFrame;

use crate::forger::{introduction, messages, with_body};
use crate::news::News;
use crate::town::Town;

const DOOR: &str = "home/door";
const LAMP: &str = "home/lamp";

/// A lie about the messages that bob hears; all else is said as it is.
fn of_messages(mut lie: impl FnMut(Said) -> Vec<Said> + 'static) -> impl FnMut(&str, Said) -> Vec<Said> {
    move |who, said| match said.frame {
        BrokerFrame::Message { .. } if who == "bob" => lie(said),
        _ => vec![said],
    }
}

/// Alice's topic, which bob reads.
fn alices_door() -> Town {
    let mut town = Town::awake(&["alice", "bob"]);
    town.create("alice", DOOR, &["bob"]);
    town.subscribe("bob", DOOR);
    town
}

/// What bob hears of three messages of alice's, at offsets 2 to 4 and with counters 0 to 2.
fn three_under(lie: impl FnMut(Said) -> Vec<Said> + 'static) -> News {
    let mut town = alices_door();
    town.lie(of_messages(lie));
    for content in ["one", "two", "three"] {
        town.publish("alice", DOOR, content.as_bytes());
    }
    town.news("bob")
}

/// The fields of a message that lies are about.
fn place(said: &mut Said) -> (&mut Offset, &mut Counter, &mut Epoch, &mut u32) {
    match &mut said.frame {
        BrokerFrame::Message { offset, counter, epoch, sender, .. } => (offset, counter, epoch, sender),
        other => panic!("{} is no message", other.label()),
    }
}

fn offset_of(said: &mut Said) -> u64 {
    place(said).0.0
}

fn faults(news: &News) -> Vec<&IntegrityFault> {
    assert!(news.faults.iter().all(|f| f.topic.as_str() == DOOR && !f.stopped), "{:?}", news.faults);
    news.faults.iter().map(|f| &f.fault).collect()
}

#[test]
fn the_truth() {
    let news = three_under(|said| vec![said]);
    news.all_well(&[("alice", "one"), ("alice", "two"), ("alice", "three")]);
}

#[test]
fn drops_a_message() {
    let news = three_under(|mut said| if offset_of(&mut said) == 3 { vec![] } else { vec![said] });
    let skipped = IntegrityFault::Skipped { from: Offset(3), to: Offset(4) };
    assert_eq!(faults(&news)[0], &skipped);
    assert_eq!(news.heard(), [("alice", "one"), ("alice", "three")]);
}

#[test]
fn drops_a_message_and_closes_the_ranks() {
    let news = three_under(|mut said| match offset_of(&mut said) {
        3 => vec![],
        4 => {
            *place(&mut said).0 = Offset(3);
            vec![said]
        }
        _ => vec![said],
    });
    let missing = IntegrityFault::Missing { expected: Counter(1), got: Counter(2) };
    assert_eq!(news.fault(DOOR, Some("alice")), &missing);
    assert_eq!(news.heard(), [("alice", "one"), ("alice", "three")]);
}

#[test]
fn drops_the_last_messages_and_says_that_all_is_told() {
    let mut town = alices_door();
    town.publish("alice", DOOR, b"one");
    town.publish("alice", DOOR, b"two");
    town.wake("bob");
    town.events("bob");
    town.lie(of_messages(|mut said| if offset_of(&mut said) == 3 { vec![] } else { vec![said] }));
    town.subscribe("bob", DOOR);
    let news = town.news("bob");
    let skipped = IntegrityFault::Skipped { from: Offset(3), to: Offset(4) };
    assert_eq!(news.fault(DOOR, None), &skipped);
    assert_eq!(news.heard(), [("alice", "one")]);
}

#[test]
fn repeats_a_message() {
    let news =
        three_under(|mut said| if offset_of(&mut said) == 3 { vec![said.clone(), said] } else { vec![said] });
    assert_eq!(news.fault(DOOR, Some("alice")), &IntegrityFault::Replayed { counter: Counter(1) });
    assert_eq!(news.heard(), [("alice", "one"), ("alice", "two"), ("alice", "three")]);
}

#[test]
fn repeats_a_message_at_a_new_place() {
    let mut first = None;
    let news = three_under(move |mut said| {
        let first = first.get_or_insert_with(|| said.clone());
        if offset_of(&mut said) != 4 {
            return vec![said];
        }
        let mut again = first.clone();
        *place(&mut again).0 = Offset(4);
        *place(&mut said).0 = Offset(5);
        vec![again, said]
    });
    assert_eq!(news.fault(DOOR, Some("alice")), &IntegrityFault::Replayed { counter: Counter(0) });
    assert_eq!(news.heard(), [("alice", "one"), ("alice", "two"), ("alice", "three")]);
}

#[test]
fn swaps_messages() {
    let mut held = None;
    let news = three_under(move |mut said| match offset_of(&mut said) {
        3 => {
            held = Some(said);
            vec![]
        }
        4 => [Some(said), held.take()].into_iter().flatten().collect(),
        _ => vec![said],
    });
    let replayed = IntegrityFault::Replayed { counter: Counter(1) };
    assert_eq!(faults(&news).last(), Some(&&replayed));
    assert!(faults(&news).contains(&&IntegrityFault::Skipped { from: Offset(3), to: Offset(4) }));
    assert_eq!(news.heard(), [("alice", "one"), ("alice", "three")]);
}

#[test]
fn swaps_messages_and_their_places() {
    let mut held = None;
    let news = three_under(move |mut said| match offset_of(&mut said) {
        3 => {
            held = Some(said);
            vec![]
        }
        4 => {
            let mut second = held.take().expect("the one before");
            (*place(&mut said).0, *place(&mut second).0) = (Offset(3), Offset(4));
            vec![said, second]
        }
        _ => vec![said],
    });
    let missing = IntegrityFault::Missing { expected: Counter(1), got: Counter(2) };
    assert_eq!(faults(&news), [&missing, &IntegrityFault::Replayed { counter: Counter(1) }]);
    assert_eq!(news.heard(), [("alice", "one"), ("alice", "three")]);
}

#[test]
fn moves_a_message_to_another_topic() {
    let mut town = alices_door();
    town.create("alice", LAMP, &["bob"]);
    town.subscribe("bob", LAMP);
    town.publish("alice", LAMP, b"lamp on");
    town.publish("alice", DOOR, b"one");
    town.events("bob");
    let (door, lamp) = (town.handle("bob", DOOR), town.handle("bob", LAMP));
    let mut moved = messages(&town, "bob", lamp).remove(0);
    let number = match introduction(&town, "bob", door, town.fingerprint("alice")) {
        BrokerFrame::Sender { sender, .. } => sender,
        other => panic!("{} is no sender", other.label()),
    };
    if let BrokerFrame::Message { topic, offset, counter, sender, .. } = &mut moved.frame {
        (*topic, *offset, *counter, *sender) = (door, Offset(3), Counter(1), number);
    }
    town.tell("bob", vec![moved]);
    let news = town.news("bob");
    assert_eq!(news.fault(DOOR, Some("alice")), &IntegrityFault::BadBody);
    assert!(news.messages.is_empty());
}

#[test]
fn changes_a_content() {
    let news = three_under(|said| {
        let mut body = said.body.as_ref().expect("a body beside").to_vec();
        let middle = body.len() / 2;
        body[middle] ^= 1;
        vec![with_body(&said.frame, body.into())]
    });
    assert_eq!(faults(&news), [&IntegrityFault::BadBody; 3]);
    assert!(news.messages.is_empty());
}

#[test]
fn sends_another_body_than_it_says() {
    let news = three_under(|mut said| {
        said.body = said.body.map(|body| Arc::from(vec![0; body.len()]));
        vec![said]
    });
    assert!(news.messages.is_empty());
    assert!(news.ends.iter().all(|why| why.contains("changed")), "{:?}", news.ends);
    assert!(!news.ends.is_empty());
}

#[test]
fn exchanges_the_bodies_of_two_messages() {
    let mut held: Option<Said> = None;
    let news = three_under(move |mut said| match offset_of(&mut said) {
        3 => {
            held = Some(said);
            vec![]
        }
        4 => {
            let second = held.take().expect("the one before");
            let bodies = (second.body.expect("a body"), said.body.expect("a body"));
            vec![with_body(&second.frame, bodies.1), with_body(&said.frame, bodies.0)]
        }
        _ => vec![said],
    });
    let wrong =
        |stated, sealed| IntegrityFault::WrongCounter { stated: Counter(stated), sealed: Counter(sealed) };
    assert_eq!(faults(&news), [&wrong(1, 2), &wrong(2, 1)]);
    assert_eq!(news.heard(), [("alice", "one")]);
}

#[test]
fn forges_a_counter() {
    let news = three_under(|mut said| {
        if offset_of(&mut said) == 4 {
            *place(&mut said).1 = Counter(7);
        }
        vec![said]
    });
    let wrong = IntegrityFault::WrongCounter { stated: Counter(7), sealed: Counter(2) };
    assert_eq!(news.fault(DOOR, Some("alice")), &wrong);
    assert_eq!(news.heard(), [("alice", "one"), ("alice", "two")]);
}

#[test]
fn forges_an_epoch() {
    let news = three_under(|mut said| {
        *place(&mut said).2 = Epoch(4);
        vec![said]
    });
    let stale = IntegrityFault::StaleEpoch { epoch: Epoch(4), expected: Epoch(0) };
    assert_eq!(faults(&news), [&stale; 3]);
    assert!(news.messages.is_empty());
}

#[test]
fn gives_a_message_to_another_sender() {
    let mut town = Town::awake(&["alice", "bob", "carol"]);
    town.create("alice", DOOR, &["bob", "carol"]);
    town.subscribe("bob", DOOR);
    town.publish("carol", DOOR, b"mine");
    let door = town.handle("bob", DOOR);
    let BrokerFrame::Sender { sender: carols, .. } =
        introduction(&town, "bob", door, town.fingerprint("carol"))
    else {
        panic!("no introduction")
    };
    town.lie(of_messages(move |mut said| {
        *place(&mut said).3 = carols;
        vec![said]
    }));
    town.publish("alice", DOOR, b"carol is wrong");
    let news = town.news("bob");
    assert_eq!(news.fault(DOOR, Some("carol")), &IntegrityFault::WrongPublisher);
    assert_eq!(news.heard(), [("carol", "mine")]);
}

#[test]
fn does_not_say_who_sent_it() {
    let news = three_under(|mut said| {
        *place(&mut said).3 = 99;
        vec![said]
    });
    assert_eq!(faults(&news), [&IntegrityFault::UnknownSender; 3]);
    assert!(news.messages.is_empty());
}

/// What bob is told when alice is introduced to him as changed.
fn introduced(change: impl Fn(&Town, &mut BrokerFrame)) -> News {
    let mut town = Town::awake(&["alice", "bob", "mallory"]);
    town.create("alice", DOOR, &["bob"]);
    town.subscribe("bob", DOOR);
    town.publish("alice", DOOR, b"one");
    let door = town.handle("bob", DOOR);
    let mut frame = introduction(&town, "bob", door, town.fingerprint("alice"));
    change(&town, &mut frame);
    town.wake("bob");
    town.events("bob");
    town.lie(move |who, said| match &said.frame {
        BrokerFrame::Sender { topic, sender, .. } if who == "bob" => {
            let (handle, number) = (*topic, *sender);
            let mut told = frame.clone();
            if let BrokerFrame::Sender { topic, sender, .. } = &mut told {
                (*topic, *sender) = (handle, number);
            }
            vec![told.into()]
        }
        _ => vec![said],
    });
    town.subscribe("bob", DOOR);
    let news = town.news("bob");
    assert!(news.messages.is_empty(), "{:?}", news.messages);
    news
}

#[test]
fn introduces_a_sender_with_the_certificate_of_another() {
    let news = introduced(|town, frame| {
        if let BrokerFrame::Sender { certificate, .. } = frame {
            *certificate = town.certificate("mallory").der().to_vec();
        }
    });
    assert!(matches!(news.fault(DOOR, Some("alice")), IntegrityFault::BadSender(_)));
}

#[test]
fn introduces_a_sender_under_another_name() {
    let news = introduced(|town, frame| {
        if let BrokerFrame::Sender { name, .. } = frame {
            *name = town.certificate("bob").name().clone();
        }
    });
    assert!(matches!(news.fault(DOOR, Some("bob")), IntegrityFault::BadSender(_)));
}

#[test]
fn introduces_a_stranger_as_the_sender() {
    let news = introduced(|town, frame| {
        if let BrokerFrame::Sender { certificate, name, fingerprint, .. } = frame {
            *certificate = town.certificate("mallory").der().to_vec();
            *name = town.certificate("mallory").name().clone();
            *fingerprint = town.fingerprint("mallory");
        }
    });
    assert!(matches!(news.fault(DOOR, Some("mallory")), IntegrityFault::BadDelegation(_)));
}

#[test]
fn introduces_a_sender_with_another_publisher_id() {
    let news = introduced(|_, frame| {
        if let BrokerFrame::Sender { publisher, .. } = frame {
            *publisher = PublisherId([9; 16]);
        }
    });
    assert!(matches!(news.fault(DOOR, Some("alice")), IntegrityFault::BadDelegation(_)));
}

#[test]
fn says_that_messages_are_gone_that_are_not() {
    let mut town = alices_door();
    town.publish("alice", DOOR, b"one");
    town.publish("alice", DOOR, b"two");
    town.wake("bob");
    town.events("bob");
    town.lie(of_messages(|mut said| {
        let BrokerFrame::Message { topic, .. } = said.frame else { return vec![said] };
        match offset_of(&mut said) {
            2 => vec![BrokerFrame::Gap { topic, from: Offset(2), to: Offset(3) }.into()],
            _ => vec![said],
        }
    }));
    town.subscribe("bob", DOOR);
    let news = town.news("bob");
    news.all_well(&[("alice", "two")]);
    let is_told = |e: &Event| matches!(e, Event::Gap { from: Offset(2), to: Offset(3), .. });
    assert!(news.others.iter().any(is_told), "a gap is told as what it is: {:?}", news.others);
}

#[test]
fn a_message_of_somebody_without_the_key() {
    // Mallory knows the topic's id and all that the broker has, but no key.
    let mut town = alices_door();
    town.publish("alice", DOOR, b"one");
    town.events("bob");
    let door = town.handle("bob", DOOR);
    let mut forged = with_body(&messages(&town, "bob", door)[0].frame, Arc::from(vec![0x80; 153]));
    (*place(&mut forged).0, *place(&mut forged).1) = (Offset(3), Counter(1));
    town.tell("bob", vec![forged]);
    let news = town.news("bob");
    assert_eq!(news.fault(DOOR, Some("alice")), &IntegrityFault::BadBody);
    assert!(news.messages.is_empty());
}
