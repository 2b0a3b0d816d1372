//! Lies about who is in a topic: records, wraps, whole topics.

use sealmq::base::ids::{Fingerprint, Offset};
use sealmq::broker::lies::Said;
use sealmq::chain::{DeltaBuilder, Role as MemberRole};
use sealmq::client::{Failure, GrantAs, Integrity, IntegrityFault, Join};
use sealmq::wire::frame::BrokerFrame;
use sealmq::wire::values::Start;

use crate::forger::{Insider, records};
use crate::news::News;
use crate::town::{Town, name, topic_name};

const DOOR: &str = "home/door";

/// A record, its reader's wrap, its signer's certificate.
type Parts = (Vec<u8>, Vec<u8>, Vec<u8>);

/// Instead of the records of a topic, bob hears what is made of them once all have come.
fn of_records(mut lie: impl FnMut(Vec<Said>) -> Vec<Said> + 'static) -> impl FnMut(&str, Said) -> Vec<Said> {
    let mut held = Vec::new();
    move |who, said| match said.frame {
        _ if who != "bob" => vec![said],
        BrokerFrame::Record { .. } => {
            held.push(said);
            vec![]
        }
        _ if held.is_empty() => vec![said],
        _ => {
            let mut told = lie(std::mem::take(&mut held));
            told.push(said);
            told
        }
    }
}

fn parts(said: &mut Said) -> (&mut Offset, &mut Vec<u8>, &mut Vec<u8>, &mut Vec<u8>) {
    match &mut said.frame {
        BrokerFrame::Record { offset, record, wrap, certificate, .. } => (offset, record, wrap, certificate),
        other => panic!("{} is no record", other.label()),
    }
}

/// The record at `number` with other parts.
fn replaced(said: &Said, with: &Parts) -> Said {
    let mut said = said.clone();
    let (_, record, wrap, certificate) = parts(&mut said);
    (*record, *wrap, *certificate) = with.clone();
    said
}

/// Alice's topic with bob and carol in it and a message of hers, and all that bob is told of it
/// when he reads it under a lie about its records.
fn bob_reads_under(lie: impl FnMut(Vec<Said>) -> Vec<Said> + 'static) -> (Town, News) {
    let mut town = alices_door();
    bob_reads(&mut town, lie)
        .map(|news| (town, news))
        .unwrap_or_else(|failure| panic!("bob's filter was refused: {failure}"))
}

fn alices_door() -> Town {
    let mut town = Town::awake(&["alice", "bob", "carol", "mallory"]);
    town.create("alice", DOOR, &["bob", "carol"]);
    town.publish("alice", DOOR, b"welcome");
    town
}

fn bob_reads(town: &mut Town, lie: impl FnMut(Vec<Said>) -> Vec<Said> + 'static) -> Result<News, Failure> {
    town.lie(of_records(lie));
    town.try_subscribe("bob", DOOR, Start::Earliest)?;
    Ok(town.news("bob"))
}

/// Bob has given the topic up: shows nothing of it, and seals nothing for it.
fn gave_up(town: &mut Town, news: &News) -> IntegrityFault {
    assert!(news.messages.is_empty(), "{:?}", news.messages);
    let fault = news.end_of(DOOR).clone();
    let refused = town.try_publish("bob", DOOR, b"open");
    assert_eq!(refused, Err(Failure::Integrity(topic_name(DOOR), fault.clone())));
    town.publish("alice", DOOR, b"still here");
    assert!(town.news("bob").messages.is_empty());
    fault
}

/// The fault is a record that breaks a rule, for which this is said.
fn assert_bad_record(fault: &IntegrityFault, why: &str) {
    match fault {
        IntegrityFault::BadRecord(text) if text.contains(why) => {}
        other => panic!("not {why:?} but {other:?}"),
    }
}

#[test]
fn the_truth() {
    let (mut town, news) = bob_reads_under(|records| records);
    news.all_well(&[("alice", "welcome")]);
    town.publish("bob", DOOR, b"thanks");
}

#[test]
fn a_wrap_for_another_recipient() {
    let mut town = alices_door();
    town.subscribe("carol", DOOR);
    let carols = records(&town, "carol", town.handle("carol", DOOR))[1].1.clone();
    let news = bob_reads(&mut town, move |mut records| {
        *parts(&mut records[1]).2 = carols.clone();
        records
    });
    assert_eq!(gave_up(&mut town, &news.expect("a filter")), IntegrityFault::WrongWrap);
}

#[test]
fn a_wrap_of_another_topic() {
    let mut town = alices_door();
    town.create("alice", "home/lamp", &["bob"]);
    town.subscribe("bob", "home/lamp");
    let lamps = records(&town, "bob", town.handle("bob", "home/lamp"))[1].1.clone();
    let news = bob_reads(&mut town, move |mut records| {
        *parts(&mut records[1]).2 = lamps.clone();
        records
    });
    assert_eq!(gave_up(&mut town, &news.expect("a filter")), IntegrityFault::WrongWrap);
}

#[test]
fn a_wrap_of_another_epoch() {
    let mut town = alices_door();
    town.rotate("alice", DOOR);
    let news = bob_reads(&mut town, |mut records| {
        let newer = parts(&mut records[2]).2.clone();
        let older = std::mem::replace(parts(&mut records[1]).2, newer);
        *parts(&mut records[2]).2 = older;
        records
    });
    assert_eq!(gave_up(&mut town, &news.expect("a filter")), IntegrityFault::WrongWrap);
}

#[test]
fn a_wrap_with_a_record_that_names_none() {
    let (mut town, news) = bob_reads_under(|mut records| {
        *parts(&mut records[0]).2 = vec![7; 256];
        records
    });
    assert_eq!(gave_up(&mut town, &news), IntegrityFault::WrongWrap);
}

#[test]
fn withholds_a_wrap() {
    let (mut town, news) = bob_reads_under(|mut records| {
        parts(&mut records[1]).2.clear();
        records
    });
    assert!(matches!(news.fault(DOOR, Some("alice")), IntegrityFault::NoKey { .. }));
    assert!(news.messages.is_empty());
    assert_eq!(town.try_publish("bob", DOOR, b"open"), Err(Failure::NoKey(topic_name(DOOR))));
}

#[test]
fn withholds_the_wrap_of_one_who_was_let_in() {
    let mut town = alices_door();
    town.grant("alice", DOOR, "mallory", GrantAs::Member);
    town.lie(|who, mut said| {
        if let BrokerFrame::Record { wrap, .. } = &mut said.frame
            && who == "mallory"
        {
            wrap.clear();
        }
        vec![said]
    });
    town.subscribe("mallory", DOOR);
    town.publish("alice", DOOR, b"come in");
    let news = town.news("mallory");
    assert!(news.messages.is_empty(), "{:?}", news.messages);
    let is_no_key = |found: &Integrity| matches!(found.fault, IntegrityFault::NoKey { .. });
    assert!(!news.faults.is_empty() && news.faults.iter().all(is_no_key), "{:?}", news.faults);
    assert_eq!(town.try_publish("mallory", DOOR, b"hello"), Err(Failure::NoKey(topic_name(DOOR))));
}

#[test]
fn changes_a_record() {
    let (mut town, news) = bob_reads_under(|mut records| {
        let record = parts(&mut records[1]).1;
        let middle = record.len() / 3;
        record[middle] ^= 1;
        records
    });
    gave_up(&mut town, &news);
}

#[test]
fn drops_the_first_record() {
    let (mut town, news) = bob_reads_under(|mut records| {
        records.remove(0);
        records
    });
    assert_bad_record(&gave_up(&mut town, &news), "kind");
}

#[test]
fn reorders_records() {
    let (mut town, news) = bob_reads_under(|mut records| {
        records.swap(0, 1);
        records
    });
    assert_bad_record(&gave_up(&mut town, &news), "kind");
}

#[test]
fn repeats_a_record() {
    let (mut town, news) = bob_reads_under(|mut records| {
        records.push(records[1].clone());
        records
    });
    assert_bad_record(&gave_up(&mut town, &news), "order");
    let (mut town, news) = bob_reads_under(|mut records| {
        let mut again = records[1].clone();
        *parts(&mut again).0 = Offset(2);
        records.push(again);
        records
    });
    assert_bad_record(&gave_up(&mut town, &news), "newest");
}

#[test]
fn a_signers_certificate_that_is_anothers() {
    let mut town = alices_door();
    let mallorys = town.certificate("mallory").der().to_vec();
    let news = bob_reads(&mut town, move |mut records| {
        *parts(&mut records[1]).3 = mallorys.clone();
        records
    });
    let fault = gave_up(&mut town, &news.expect("a filter"));
    assert!(matches!(fault, IntegrityFault::BadSigner(_)), "{fault:?}");
}

#[test]
fn a_signers_certificate_of_another_ca() {
    let mut town = alices_door();
    // Of the broker's role: not one that signs records.
    let brokers = town.world.broker.1.clone();
    let news = bob_reads(&mut town, move |mut records| {
        *parts(&mut records[1]).3 = brokers.clone();
        records
    });
    let fault = gave_up(&mut town, &news.expect("a filter"));
    assert!(matches!(fault, IntegrityFault::BadSigner(_)), "{fault:?}");
}

/// What comes of it when the broker shows bob one record more than there are.
fn bob_is_shown(town: &mut Town, forged: Parts) -> IntegrityFault {
    let news = bob_reads(town, move |mut records| {
        let mut more = replaced(&records[1], &forged);
        *parts(&mut more).0 = parts(records.last_mut().expect("a topic has records")).0.next();
        records.push(more);
        records
    });
    gave_up(town, &news.expect("a filter"))
}

/// What comes of it when `signer` makes a record that adds mallory, and the broker shows it to bob.
fn adds_mallory(signer: &str) -> IntegrityFault {
    let mut town = alices_door();
    town.subscribe("carol", DOOR);
    let insider = Insider::of(&town, "carol", DOOR);
    let mallory = town.fingerprint("mallory");
    let record = insider.unchecked_delta(&town, town.key(signer), |builder| {
        builder.add(mallory, name("mallory"), MemberRole::Member);
    });
    let certificate = town.certificate(signer).der().to_vec();
    bob_is_shown(&mut town, (record, Vec::new(), certificate))
}

#[test]
fn adds_a_reader_with_the_help_of_a_member() {
    assert_bad_record(&adds_mallory("carol"), "neither owner nor admin");
}

#[test]
fn adds_a_reader_that_adds_itself() {
    assert_bad_record(&adds_mallory("mallory"), "neither owner nor admin");
}

/// What comes of it when carol, an admin, makes a record with its wraps, and the broker shows it to bob.
fn admin_carol_makes(record: impl FnOnce(&Town, &Insider) -> (Vec<u8>, Vec<u8>)) -> IntegrityFault {
    let mut town = alices_door();
    town.grant("alice", DOOR, "carol", GrantAs::Admin);
    town.subscribe("carol", DOOR);
    let insider = Insider::of(&town, "carol", DOOR);
    let (record, wrap) = record(&town, &insider);
    let certificate = town.certificate("carol").der().to_vec();
    bob_is_shown(&mut town, (record, wrap, certificate))
}

#[test]
fn an_admin_commits_to_another_key_than_it_hands_out() {
    let fault = admin_carol_makes(|town, insider| {
        let (record, wraps) = insider.epoch_of_two_keys(town, "carol");
        (record, wraps[&town.fingerprint("bob")].clone())
    });
    assert_eq!(fault, IntegrityFault::WrongKey);
}

#[test]
fn an_admin_makes_a_change_that_is_the_owners() {
    let make_admin: fn(&mut DeltaBuilder<'_>, Fingerprint) = |builder, bob| {
        builder.change(bob, MemberRole::Admin);
    };
    let open_the_door: fn(&mut DeltaBuilder<'_>, Fingerprint) = |builder, _| {
        builder.join(Join::Open);
    };
    for change in [make_admin, open_the_door] {
        let fault = admin_carol_makes(|town, insider| {
            let (bob, key) = (town.fingerprint("bob"), town.key("carol"));
            (insider.unchecked_delta(town, key, |builder| change(builder, bob)), Vec::new())
        });
        assert_bad_record(&fault, "owner");
    }
}

/// The records of a topic of the same name, with bob in it, that somebody else made: as bob would get them.
fn other_topic_of(owner: &str) -> Vec<Parts> {
    let mut elsewhere = Town::awake(&["alice", "bob", "carol", "mallory"]);
    // Another topic than the first, also of the same owner.
    elsewhere.create(owner, "another", &[]);
    elsewhere.create(owner, DOOR, &["bob"]);
    elsewhere.subscribe("bob", DOOR);
    records(&elsewhere, "bob", elsewhere.handle("bob", DOOR))
}

#[test]
fn a_topic_made_anew_by_somebody_else() {
    let (mut town, news) = bob_reads_under(|records| records);
    news.all_well(&[("alice", "welcome")]);
    let other = other_topic_of("mallory");
    town.lie(of_records(move |records| {
        records.iter().zip(&other).map(|(said, with)| replaced(said, with)).collect()
    }));
    town.cut("bob");
    let news = town.news("bob");
    let fault = gave_up(&mut town, &news);
    let (pinned, now) = (town.fingerprint("alice"), town.fingerprint("mallory"));
    let (pinned_name, now_name) = (name("alice"), name("mallory"));
    assert_eq!(fault, IntegrityFault::OwnerChanged { pinned, pinned_name, now, now_name });
}

#[test]
fn a_topic_under_another_name() {
    let mut elsewhere = Town::awake(&["alice", "bob"]);
    elsewhere.create("alice", "home/lamp", &["bob"]);
    elsewhere.subscribe("bob", "home/lamp");
    let lamps = records(&elsewhere, "bob", elsewhere.handle("bob", "home/lamp"));
    let (mut town, news) = bob_reads_under(move |records| {
        records.iter().zip(&lamps).map(|(said, with)| replaced(said, with)).collect()
    });
    assert_bad_record(&gave_up(&mut town, &news), "home/lamp");
}
