//! Lies told together with somebody who has, or had, a key: a member, one who left, a stranger.

use std::time::Duration;

use sealmq::base::Wall;
use sealmq::base::ids::{Counter, Epoch, Offset, PublisherId};
use sealmq::base::names::TopicFilter;
use sealmq::broker::lies::Said;
use sealmq::chain::Delegation;
use sealmq::client::{GrantAs, IntegrityFault};
use sealmq::crypto::cert::testing::Seeded;
use sealmq::crypto::ed25519::MessageSigner;
use sealmq::wire::frame::BrokerFrame;

use crate::forger::{Claim, Insider, introduction, messages, with_body};
use crate::news::News;
use crate::town::{Town, topic_name};

const DOOR: &str = "home/door";
const FORGERS: PublisherId = PublisherId([0xf0; 16]);

fn forgers_signer() -> MessageSigner {
    MessageSigner::generate(&mut Seeded::new(77))
}

/// Alice's topic with bob and carol, both of whom read it; alice has published number 0 at offset 2.
fn alices_door() -> Town {
    let mut town = Town::awake(&["alice", "bob", "carol", "mallory"]);
    town.create("alice", DOOR, &["bob", "carol"]);
    town.subscribe("bob", DOOR);
    town.subscribe("carol", DOOR);
    town.publish("alice", DOOR, b"one");
    town.events("bob");
    town
}

/// `who`, with its own certificate, lets the forger's key sign for it.
fn introduce(town: &Town, who: &str, signed_by: &str) -> BrokerFrame {
    let (sender, not_before) = (town.fingerprint(who), town.now.wall);
    let not_after = not_before + Duration::from_secs(7 * 86_400);
    let key = forgers_signer().public();
    let delegation = Delegation { sender, publisher: FORGERS, key, not_before, not_after };
    let delegation = delegation.sign(town.key(signed_by), &mut Seeded::new(5)).expect("a sound machine");
    BrokerFrame::Sender {
        topic: town.handle("bob", DOOR),
        sender: 900,
        publisher: FORGERS,
        fingerprint: sender,
        name: town.certificate(who).name().clone(),
        delegation,
        certificate: town.certificate(who).der().to_vec(),
    }
}

/// A message of the forger's at an offset, made with what `insider` knows of the topic.
fn forged(town: &Town, insider: &Insider, epoch: Epoch, at: u64) -> Said {
    let signer = forgers_signer();
    let claim =
        Claim { epoch, publisher: FORGERS, counter: Counter(0), content: b"forged", signer: Some(&signer) };
    let body = insider.body(claim);
    let mut said = with_body(&messages(town, "bob", town.handle("bob", DOOR))[0].frame, body);
    if let BrokerFrame::Message { offset, time, sender, epoch: stated, counter, .. } = &mut said.frame {
        (*offset, *time, *sender) = (Offset(at), town.now.wall, 900);
        (*stated, *counter) = (epoch, Counter(0));
    }
    said
}

/// Bob is told of a forged message by `who`, whose word for the forger's key `signed_by` gave.
fn bob_is_told(town: &mut Town, who: &str, signed_by: &str, epoch: Epoch, at: u64) -> News {
    let insider = Insider::of(town, "carol", DOOR);
    let told = vec![introduce(town, who, signed_by).into(), forged(town, &insider, epoch, at)];
    town.tell("bob", told);
    town.news("bob")
}

#[test]
fn the_truth() {
    // What is forged below is good when it is carol's own.
    let mut town = alices_door();
    let news = bob_is_told(&mut town, "carol", "carol", Epoch(0), 3);
    news.all_well(&[("carol", "forged")]);
}

#[test]
fn a_member_forges_anothers_message() {
    let mut town = alices_door();
    let insider = Insider::of(&town, "carol", DOOR);
    let door = town.handle("bob", DOOR);
    let BrokerFrame::Sender { publisher, .. } = introduction(&town, "bob", door, town.fingerprint("alice"))
    else {
        panic!("no introduction")
    };
    let signer = forgers_signer();
    let genuine = messages(&town, "bob", door).remove(0);
    for (signer, fault) in
        [(Some(&signer), IntegrityFault::BadSignature), (None, IntegrityFault::UnsignedBody)]
    {
        let place = town.truth("bob").len() as u64;
        let claim = Claim { epoch: Epoch(0), publisher, counter: Counter(1), content: b"forged", signer };
        let mut said = with_body(&genuine.frame, insider.body(claim));
        if let BrokerFrame::Message { offset, counter, .. } = &mut said.frame {
            (*offset, *counter) = (Offset(3 + place), Counter(1));
        }
        town.tell("bob", vec![said]);
        let news = town.news("bob");
        assert!(news.messages.is_empty(), "{:?}", news.messages);
        let found: Vec<_> = news.faults.iter().filter(|f| f.fault == fault).collect();
        let [one] = &found[..] else { panic!("{:?}", news.faults) };
        assert_eq!(one.sender.as_ref().map(|name| name.as_str()), Some("alice"));
        assert_eq!((one.topic.as_str(), one.counter), (DOOR, Some(Counter(1))));
    }
}

#[test]
fn a_member_signs_a_delegation_for_another() {
    let mut town = alices_door();
    let news = bob_is_told(&mut town, "alice", "carol", Epoch(0), 3);
    assert!(matches!(news.fault(DOOR, Some("alice")), IntegrityFault::BadDelegation(_)));
    assert!(news.messages.is_empty());
}

#[test]
fn replays_a_delegation_as_anothers() {
    // Alice's good word for her key, shown as carol's.
    let mut town = alices_door();
    let door = town.handle("bob", DOOR);
    let mut frame = introduction(&town, "bob", door, town.fingerprint("alice"));
    let genuine = messages(&town, "bob", door).remove(0);
    if let BrokerFrame::Sender { sender, fingerprint, name, certificate, .. } = &mut frame {
        *sender = 900;
        *fingerprint = town.fingerprint("carol");
        *name = town.certificate("carol").name().clone();
        *certificate = town.certificate("carol").der().to_vec();
    }
    let mut said = genuine;
    if let BrokerFrame::Message { offset, sender, .. } = &mut said.frame {
        (*offset, *sender) = (Offset(3), 900);
    }
    town.tell("bob", vec![frame.into(), said]);
    let news = town.news("bob");
    assert!(matches!(news.fault(DOOR, Some("carol")), IntegrityFault::BadDelegation(_)));
    assert!(news.messages.is_empty());
}

#[test]
fn replays_a_delegation_after_its_time() {
    let mut town = alices_door();
    let late = Wall(town.now.wall.0 + 9 * 86_400_000);
    town.lie(move |who, mut said| {
        if let BrokerFrame::Message { time, .. } = &mut said.frame
            && who == "bob"
        {
            *time = late;
        }
        vec![said]
    });
    town.publish("alice", DOOR, b"two");
    let news = town.news("bob");
    assert_eq!(news.fault(DOOR, Some("alice")), &IntegrityFault::OutOfTime);
    assert!(news.messages.is_empty());
}

#[test]
fn a_stranger_that_knows_the_topic() {
    // Mallory has a good certificate, knows the topic's id, and even its key, by carol.
    let mut town = alices_door();
    let news = bob_is_told(&mut town, "mallory", "mallory", Epoch(0), 3);
    assert_eq!(news.fault(DOOR, Some("mallory")), &IntegrityFault::StrangeSender);
    assert!(news.messages.is_empty());
}

#[test]
fn a_member_before_it_was_one() {
    let mut town = Town::awake(&["alice", "bob", "carol"]);
    town.create("alice", DOOR, &["bob"]);
    town.publish("alice", DOOR, b"one");
    town.grant("alice", DOOR, "carol", GrantAs::Member);
    town.subscribe("carol", DOOR);
    town.subscribe("bob", DOOR);
    town.events("bob");
    let insider = Insider::of(&town, "carol", DOOR);
    let mut told = vec![introduce(&town, "carol", "carol").into(), forged(&town, &insider, Epoch(0), 2)];
    // Bob reads from the beginning once more, and hears it in the place of alice's message.
    let filter = TopicFilter::from(&topic_name(DOOR));
    town.ask("bob", |client| client.unsubscribe(filter)).expect("an answer");
    town.lie(move |who, said| match &said.frame {
        BrokerFrame::Message { offset: Offset(2), .. } if who == "bob" => std::mem::take(&mut told),
        _ => vec![said],
    });
    town.subscribe("bob", DOOR);
    let news = town.news("bob");
    assert_eq!(news.fault(DOOR, Some("carol")), &IntegrityFault::NotYetMember);
    assert!(news.messages.is_empty());
}

/// Alice has removed carol, by the record at offset 3.
fn carol_has_left() -> Town {
    let mut town = alices_door();
    town.revoke_member("alice", DOOR, "carol");
    town.events("bob");
    town
}

#[test]
fn one_who_has_left_with_all_its_keys() {
    let mut town = carol_has_left();
    let news = bob_is_told(&mut town, "carol", "carol", Epoch(0), 4);
    assert_eq!(news.fault(DOOR, Some("carol")), &IntegrityFault::NoLongerMember);
    assert!(news.messages.is_empty());
}

#[test]
fn one_who_has_left_below_its_removal() {
    let mut town = carol_has_left();
    let news = bob_is_told(&mut town, "carol", "carol", Epoch(0), 2);
    assert_eq!(news.fault(DOOR, Some("carol")), &IntegrityFault::Replayed { counter: Counter(0) });
    assert!(news.messages.is_empty());
}

/// What cannot be seen: who reads for the first time has no memory of what stood there.
#[test]
fn one_who_has_left_backdates_below_its_removal_to_a_first_reader() {
    let mut town = Town::awake(&["alice", "bob", "carol"]);
    town.create("alice", DOOR, &["bob", "carol"]);
    town.publish("carol", DOOR, b"what carol wrote");
    town.revoke_member("alice", DOOR, "carol");
    town.publish("alice", DOOR, b"carol is gone");
    // Bob has the topic open, and has read nothing of it yet.
    town.ask("bob", |client| client.open(&topic_name(DOOR))).expect("bob is a member");
    let insider = Insider::of(&town, "bob", DOOR);
    let introduced = introduce(&town, "carol", "carol");
    let signer = forgers_signer();
    let claim = Claim {
        epoch: Epoch(0),
        publisher: FORGERS,
        counter: Counter(0),
        content: b"made later",
        signer: Some(&signer),
    };
    let body = insider.body(claim);
    town.lie(move |who, said| match &said.frame {
        BrokerFrame::Message { offset: Offset(2), .. } if who == "bob" => {
            let mut forged = with_body(&said.frame, body.clone());
            if let BrokerFrame::Message { sender, .. } = &mut forged.frame {
                *sender = 900;
            }
            vec![introduced.clone().into(), forged]
        }
        _ => vec![said],
    });
    town.subscribe("bob", DOOR);
    town.news("bob").all_well(&[("carol", "made later"), ("alice", "carol is gone")]);
}

#[test]
fn one_who_has_left_gets_no_key_any_more() {
    let mut town = carol_has_left();
    town.publish("alice", DOOR, b"without carol");
    town.news("bob").all_well(&[("alice", "without carol")]);
    // All that the broker has of the new epoch: the wraps of others open with none of carol's keys.
    let door = town.handle("bob", DOOR);
    let (_, wrap, _) = crate::forger::records(&town, "bob", door).remove(2);
    let insider = Insider::of(&town, "bob", DOOR);
    let label = sealmq::chain::wrap_label(insider.chain.topic(), Epoch(1), town.fingerprint("carol"));
    let opened = sealmq::crypto::envelope::open(town.key("carol"), &label, &wrap, &mut Seeded::new(9));
    assert!(opened.is_err());
}
