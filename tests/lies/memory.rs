//! Lies to somebody who remembers: older states, other histories, other keys, in the same run and in
//! the next.

use sealmq::base::ids::{Incarnation, Offset};
use sealmq::broker::lies::Said;
use sealmq::client::{Failure, GrantAs, IntegrityFault, Notice};
use sealmq::wire::frame::BrokerFrame;

use crate::forger::{messages, with_body};
use crate::town::{Town, name, topic_name};

const DOOR: &str = "home/door";

/// Alice's topic, which bob has read up to a message; carol is not in it.
fn bob_has_read() -> Town {
    let mut town = Town::awake(&["alice", "bob", "carol", "mallory"]);
    town.create("alice", DOOR, &["bob"]);
    town.subscribe("bob", DOOR);
    town.publish("alice", DOOR, b"welcome");
    town.news("bob").all_well(&[("alice", "welcome")]);
    town
}

/// Nothing that stands at this offset or behind it is told to bob, and that all is told.
fn hides_from_bob(from: u64) -> impl FnMut(&str, Said) -> Vec<Said> {
    move |who, mut said| {
        if who != "bob" {
            return vec![said];
        }
        match &mut said.frame {
            BrokerFrame::Record { offset, .. } | BrokerFrame::Message { offset, .. }
                if *offset >= Offset(from) =>
            {
                return vec![];
            }
            BrokerFrame::CaughtUp { next, .. } => *next = (*next).min(Offset(from)),
            _ => {}
        }
        vec![said]
    }
}

/// Bob shows nothing of the topic and seals nothing for it; the reason is returned.
fn gave_up(town: &mut Town) -> IntegrityFault {
    let refused = town.try_publish("bob", DOOR, b"open");
    let news = town.news("bob");
    assert!(news.messages.is_empty(), "{:?}", news.messages);
    let fault = news.end_of(DOOR).clone();
    assert_eq!(refused, Err(Failure::Integrity(topic_name(DOOR), fault.clone())));
    fault
}

/// How somebody comes to hear everything again: in the same run, or in the next.
type Back = fn(&mut Town, &str);

/// What bob gives the topic up for when he comes back to a broker that lies, and a record has come since.
fn bob_comes_back_to(lie: impl FnMut(&str, Said) -> Vec<Said> + 'static, back: Back) -> IntegrityFault {
    let mut town = bob_has_read();
    town.grant("alice", DOOR, "carol", GrantAs::Member);
    town.events("bob");
    town.lie(lie);
    back(&mut town, "bob");
    gave_up(&mut town)
}

#[test]
fn an_older_chain_in_the_same_run_or_the_next() {
    for back in [Town::cut as Back, Town::wake] {
        let older = IntegrityFault::OlderChain { pinned: 2, now: 1 };
        assert_eq!(bob_comes_back_to(hides_from_bob(3), back), older);
    }
}

#[test]
fn an_older_epoch_in_the_next_run() {
    // Bob would seal for carol, who has left.
    let mut town = Town::awake(&["alice", "bob", "carol"]);
    town.create("alice", DOOR, &["bob", "carol"]);
    town.subscribe("bob", DOOR);
    town.revoke_member("alice", DOOR, "carol");
    town.events("bob");
    town.lie(hides_from_bob(2));
    town.wake("bob");
    assert_eq!(gave_up(&mut town), IntegrityFault::OlderChain { pinned: 2, now: 1 });
    town.be_honest();
    town.subscribe("alice", DOOR);
    assert!(town.news("alice").messages.is_empty(), "nothing of bob's was sealed");
}

/// A twin of the town in which alice lets in somebody else: the same topic with another record.
fn forked() -> Vec<(Vec<u8>, Vec<u8>, Vec<u8>)> {
    let mut twin = bob_has_read();
    twin.grant("alice", DOOR, "mallory", GrantAs::Member);
    crate::forger::records(&twin, "bob", twin.handle("bob", DOOR))
}

/// Bob hears the twin's records.
fn of_the_twin() -> impl FnMut(&str, Said) -> Vec<Said> {
    let twin = forked();
    let mut number = 0;
    move |who, mut said| {
        if let BrokerFrame::Record { record, wrap, certificate, .. } = &mut said.frame
            && who == "bob"
        {
            (*record, *wrap, *certificate) = twin[number].clone();
            number += 1;
        }
        vec![said]
    }
}

#[test]
fn another_history_in_the_same_run_or_the_next() {
    for back in [Town::cut as Back, Town::wake] {
        assert_eq!(bob_comes_back_to(of_the_twin(), back), IntegrityFault::OtherHistory);
    }
}

#[test]
fn two_histories_for_two_members() {
    // Alice has removed carol; bob is not told, and lives on in the world before.
    let mut town = Town::awake(&["alice", "bob", "carol"]);
    town.create("alice", DOOR, &["bob", "carol"]);
    town.subscribe("bob", DOOR);
    town.lie(|who, said| match &said.frame {
        BrokerFrame::Record { offset: Offset(2), .. } if who == "bob" => vec![],
        _ => vec![said],
    });
    town.revoke_member("alice", DOOR, "carol");
    town.publish("alice", DOOR, b"carol is gone");
    // What is written in one world and read in the other gives it away.
    let news = town.news("bob");
    assert!(news.messages.is_empty());
    let faults: Vec<&IntegrityFault> = news.faults.iter().map(|f| &f.fault).collect();
    let skipped = IntegrityFault::Skipped { from: Offset(2), to: Offset(3) };
    let stale = IntegrityFault::StaleEpoch {
        epoch: sealmq::base::ids::Epoch(1),
        expected: sealmq::base::ids::Epoch(0),
    };
    assert_eq!(faults, [&skipped, &stale]);
}

#[test]
fn another_incarnation_of_the_same_topic() {
    for back in [Town::cut as Back, Town::wake] {
        let mut town = bob_has_read();
        town.lie(|who, mut said| {
            if let BrokerFrame::Topic { incarnation, .. } = &mut said.frame
                && who == "bob"
            {
                *incarnation = Incarnation(7);
            }
            vec![said]
        });
        back(&mut town, "bob");
        assert_eq!(gave_up(&mut town), IntegrityFault::OtherLog);
    }
}

#[test]
fn a_topic_made_anew_by_somebody_else_in_the_next_run() {
    let mut town = bob_has_read();
    town.sleep("bob");
    town.delete("alice", DOOR);
    town.create("mallory", DOOR, &["bob"]);
    town.wake("bob");
    let (pinned, now) = (town.fingerprint("alice"), town.fingerprint("mallory"));
    let (pinned_name, now_name) = (name("alice"), name("mallory"));
    let fault = IntegrityFault::OwnerChanged { pinned, pinned_name, now, now_name };
    assert_eq!(gave_up(&mut town), fault);
}

#[test]
fn a_topic_made_anew_by_its_owner_is_taken_with_a_notice() {
    let mut town = bob_has_read();
    town.sleep("bob");
    town.delete("alice", DOOR);
    town.create("alice", DOOR, &["bob"]);
    town.wake("bob");
    town.subscribe("bob", DOOR);
    town.publish("alice", DOOR, b"anew");
    let news = town.news("bob");
    news.all_well(&[("alice", "anew")]);
    assert!(news.notices.contains(&Notice::TopicReplaced { topic: topic_name(DOOR) }), "{news:?}");
}

#[test]
fn an_owner_that_was_not_expected() {
    let mut town = Town::awake(&["bob", "mallory"]);
    town.create("mallory", DOOR, &["bob"]);
    town.client("bob").expect_owner(&topic_name(DOOR), name("alice"));
    let (now, now_name) = (town.fingerprint("mallory"), name("mallory"));
    let expected = IntegrityFault::NotOwnedBy { expected: name("alice"), now, now_name };
    assert_eq!(gave_up(&mut town), expected);
}

#[test]
fn another_message_where_one_was_read() {
    // The broker has an old message of alice's in store, and puts it where bob has read another.
    let mut town = bob_has_read();
    town.publish("alice", DOOR, b"second");
    let door = town.handle("bob", DOOR);
    let first = messages(&town, "bob", door).remove(0);
    town.wake("bob");
    town.events("bob");
    town.lie(move |who, said| match &said.frame {
        BrokerFrame::Message { offset: Offset(3), .. } if who == "bob" => {
            let mut told = with_body(&said.frame, first.body.clone().expect("a body"));
            if let BrokerFrame::Message { counter, .. } = &mut told.frame {
                counter.0 = 0;
            }
            vec![told]
        }
        BrokerFrame::Message { .. } if who == "bob" => vec![],
        _ => vec![said],
    });
    town.subscribe("bob", DOOR);
    let news = town.news("bob");
    assert!(news.messages.is_empty(), "{:?}", news.messages);
    let is_rewritten = |f: &IntegrityFault| matches!(f, IntegrityFault::Rewritten { .. });
    assert!(news.faults.iter().any(|f| is_rewritten(&f.fault)), "{:?}", news.faults);
}

#[test]
fn a_record_of_somebody_who_was_revoked() {
    let mut town = bob_has_read();
    let serial = *town.certificate("alice").serial();
    town.revoke(&[serial], 1);
    assert_eq!(gave_up(&mut town), IntegrityFault::RevokedSigner { name: name("alice") });
}

#[test]
fn history_outlives_the_certificate_of_its_owner() {
    let mut town = Town::awake(&["alice", "bob"]);
    town.create("alice", DOOR, &["bob"]);
    town.publish("alice", DOOR, b"read me in a year");
    town.years_pass(&["bob"]);
    assert!(town.certificate("alice").not_after() < town.now.wall);
    town.wake("bob");
    town.subscribe("bob", DOOR);
    town.news("bob").all_well(&[("alice", "read me in a year")]);
}
