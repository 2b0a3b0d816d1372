//! Lies to a publisher: about what was stored, and about the epoch that holds.

use sealmq::base::ids::{Counter, Epoch, Offset};
use sealmq::broker::lies::Said;
use sealmq::client::{Answer, IntegrityFault};
use sealmq::wire::frame::BrokerFrame;
use sealmq::wire::values::RefuseCode;

use crate::forger::{Claim, Insider, introduction, messages, with_body};
use crate::town::{Town, topic_name};

const DOOR: &str = "home/door";

#[test]
fn says_that_the_epoch_has_changed() {
    let mut town = Town::awake(&["alice", "bob"]);
    town.create("alice", DOOR, &["bob"]);
    town.subscribe("bob", DOOR);
    let mut refusals = 0;
    town.lie(move |who, said| match said.frame {
        BrokerFrame::Published { slot, topic, counter, .. } if who == "alice" && refusals < 3 => {
            refusals += 1;
            let code = RefuseCode::EpochChanged;
            vec![BrokerFrame::PublishRefused { slot, topic, counter, code, detail: 9 }.into()]
        }
        _ => vec![said],
    });
    let topic = topic_name(DOOR);
    let ticket = town.client("alice").publish(&topic, b"one").expect("room");
    town.wait(std::time::Duration::from_secs(60));
    // Sealed under no other epoch than the one that holds, and heard once.
    let news = town.news("bob");
    news.all_well(&[("alice", "one")]);
    assert_eq!(news.messages[0].epoch, Epoch(0));
    let _ = town.answer("alice", ticket);
}

#[test]
fn answers_a_publish_that_was_not_sent() {
    let mut town = Town::awake(&["alice", "bob"]);
    town.create("alice", DOOR, &["bob"]);
    town.lie(|who, mut said| {
        if let BrokerFrame::Published { counter, .. } = &mut said.frame
            && who == "alice"
        {
            counter.0 += 5;
        }
        vec![said]
    });
    let topic = topic_name(DOOR);
    let ticket = town.client("alice").publish(&topic, b"one").expect("room");
    town.run();
    assert!(town.answer("alice", ticket).is_none(), "nothing is believed to be stored");
    let ends = town.news("alice").ends;
    assert!(ends.iter().any(|why| why.contains("was not sent")), "{ends:?}");
}

/// Bob does not hear of the record at offset 2, and that all of his is stored.
fn keeps_bob_behind(who: &str, said: Said) -> Vec<Said> {
    match said.frame {
        BrokerFrame::Record { offset: Offset(2), .. } if who == "bob" => vec![],
        BrokerFrame::PublishRefused { slot, topic, counter, code: RefuseCode::EpochChanged, .. }
            if who == "bob" =>
        {
            vec![BrokerFrame::Published { slot, topic, counter, offset: Offset(2) }.into()]
        }
        _ => vec![said],
    }
}

/// Carol has left, and bob was not told: he has sealed a message that she can open, and believes it stored.
fn bob_seals_for_carol() -> Town {
    let mut town = Town::awake(&["alice", "bob", "carol"]);
    town.create("alice", DOOR, &["bob", "carol"]);
    town.subscribe("bob", DOOR);
    town.subscribe("alice", DOOR);
    town.lie(keeps_bob_behind);
    town.revoke_member("alice", DOOR, "carol");
    town.events("alice");
    let answer = town.try_publish("bob", DOOR, b"is she gone?");
    assert!(matches!(answer, Ok(Answer::Published { offset: Some(Offset(2)), .. })), "{answer:?}");
    // Silence: nothing tells bob, and nobody else hears him.
    town.news("bob").all_well(&[]);
    town.news("alice").all_well(&[]);
    town
}

#[test]
fn hides_the_newest_epoch_from_a_publisher_until_a_message_crosses() {
    let mut town = bob_seals_for_carol();
    town.publish("alice", DOOR, b"she is");
    let news = town.news("bob");
    assert!(news.messages.is_empty(), "{:?}", news.messages);
    let faults: Vec<&IntegrityFault> = news.faults.iter().map(|found| &found.fault).collect();
    let skipped = IntegrityFault::Skipped { from: Offset(2), to: Offset(3) };
    let stale = IntegrityFault::StaleEpoch { epoch: Epoch(1), expected: Epoch(0) };
    assert_eq!(faults, [&skipped, &stale]);
}

#[test]
fn hides_the_newest_epoch_from_a_publisher_until_the_record_crosses() {
    let mut town = bob_seals_for_carol();
    let is_hidden = |said: &Said| matches!(said.frame, BrokerFrame::Record { offset: Offset(2), .. });
    let hidden: Vec<Said> = town.truth("bob").into_iter().filter(is_hidden).collect();
    town.be_honest();
    town.tell("bob", hidden);
    // From here on he seals for those who are left. That the first one was lost is not seen: 10.2.
    town.publish("bob", DOOR, b"she is");
    let news = town.news("alice");
    news.all_well(&[("bob", "she is")]);
    assert_eq!(news.messages[0].epoch, Epoch(1));
}

#[test]
fn a_message_that_was_sealed_for_one_who_left_is_shown_to_nobody_else() {
    // The broker does let the others hear what bob has sealed under the epoch that is over.
    let mut town = Town::awake(&["alice", "bob", "carol"]);
    town.create("alice", DOOR, &["bob", "carol"]);
    town.subscribe("alice", DOOR);
    town.publish("bob", DOOR, b"before");
    town.news("alice").all_well(&[("bob", "before")]);
    town.revoke_member("alice", DOOR, "carol");
    let insider = Insider::of(&town, "alice", DOOR);
    let door = town.handle("alice", DOOR);
    let genuine = messages(&town, "alice", door).remove(0);
    let BrokerFrame::Sender { publisher, .. } = introduction(&town, "alice", door, town.fingerprint("bob"))
    else {
        panic!("no introduction")
    };
    let claim =
        Claim { epoch: Epoch(0), publisher, counter: Counter(1), content: b"is she gone?", signer: None };
    let mut said = with_body(&genuine.frame, insider.body(claim));
    if let BrokerFrame::Message { offset, counter, .. } = &mut said.frame {
        (*offset, *counter) = (Offset(4), Counter(1));
    }
    town.tell("alice", vec![said]);
    let stale = IntegrityFault::StaleEpoch { epoch: Epoch(0), expected: Epoch(1) };
    assert_eq!(town.news("alice").fault(DOOR, Some("bob")), &stale);
}
