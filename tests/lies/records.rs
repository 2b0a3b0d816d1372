//! Lies about who is in a topic: certificates, records, wraps, whole topics.

use sealmq::base::ids::{Fingerprint, Offset};
use sealmq::broker::lies::Said;
use sealmq::chain::Role as MemberRole;
use sealmq::client::{Answer, Failure, IntegrityFault, MemberChoice, Notice};
use sealmq::client::{CreateRequest, Event};
use sealmq::crypto::cert::Role;
use sealmq::wire::frame::BrokerFrame;
use sealmq::wire::values::{ClientEntry, Start};

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

/// What comes of it when `signer` makes a record that adds mallory, and the broker shows it to bob.
fn adds_mallory(signer: &str) -> IntegrityFault {
    let mut town = alices_door();
    town.subscribe("carol", DOOR);
    let insider = Insider::of(&town, "carol", DOOR);
    let (mallory, key) = (town.fingerprint("mallory"), town.key(signer).clone());
    let record = insider.unchecked_delta(&town, &key, |builder| {
        builder.add(mallory, name("mallory"), MemberRole::Member);
    });
    let forged = (record, Vec::new(), town.certificate(signer).der().to_vec());
    let news = bob_reads(&mut town, move |mut records| {
        let mut more = replaced(&records[1], &forged);
        *parts(&mut more).0 = Offset(2);
        records.push(more);
        records
    });
    gave_up(&mut town, &news.expect("a filter"))
}

#[test]
fn adds_a_reader_with_the_help_of_a_member() {
    assert_bad_record(&adds_mallory("carol"), "neither owner nor admin");
}

#[test]
fn adds_a_reader_that_adds_itself() {
    assert_bad_record(&adds_mallory("mallory"), "neither owner nor admin");
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

// ---- Certificates for whoever makes a topic ----

/// Alice makes a topic for bob while the broker shows these certificates instead of those it has.
fn alice_creates_among(shown: impl Fn(&Town) -> Vec<Vec<u8>>) -> (Town, Result<Answer, Failure>) {
    let mut town = Town::awake(&["alice", "bob", "mallory"]);
    let shown = shown(&town);
    let entry = |der: &Vec<u8>| ClientEntry { certificate: der.clone(), last_seen: town.now.wall };
    let shown: Vec<ClientEntry> = shown.iter().map(entry).collect();
    town.lie(move |_, mut said| {
        if let BrokerFrame::Clients { clients, .. } = &mut said.frame {
            *clients = shown.clone();
        }
        vec![said]
    });
    let answer = town.try_create("alice", DOOR, &["bob"]);
    (town, answer)
}

/// No topic was made, so no key was wrapped for anybody.
fn assert_nothing_made(town: &Town) {
    let is_topic = |said: &Said| matches!(said.frame, BrokerFrame::Topic { .. });
    assert!(!town.truth("alice").iter().any(is_topic));
}

#[test]
fn a_certificate_of_another_name_for_a_member() {
    let (town, answer) = alice_creates_among(|town| vec![town.certificate("mallory").der().to_vec()]);
    assert_eq!(answer, Err(Failure::UnknownClients(vec![name("bob")])));
    assert_nothing_made(&town);
}

#[test]
fn a_certificate_of_another_ca_for_a_member() {
    let (town, answer) = alice_creates_among(|_| vec![stranger_bob()]);
    assert_eq!(answer, Err(Failure::UnknownClients(vec![name("bob")])));
    assert_nothing_made(&town);
}

/// A certificate for bob of a CA that nobody here trusts.
fn stranger_bob() -> Vec<u8> {
    use sealmq::crypto::cert::issue::{CA_DAYS, Issuer, LEAF_DAYS, Subscriber, make_ca};
    use sealmq::crypto::cert::testing::{NOON, Seeded, key};
    let (ca, mut entropy) = (key("other-ca"), Seeded::new(1));
    let der = make_ca(&ca, &name("test-ca"), NOON, CA_DAYS, &mut entropy).expect("a CA");
    let issuer = Issuer::new(&ca, &der).expect("its own");
    let (bob, public_key) = (name("bob"), key("carol").public());
    let subscriber = Subscriber { name: &bob, role: Role::Client, hosts: &[], public_key: &public_key };
    issuer.issue(&subscriber, NOON, LEAF_DAYS, &mut entropy).expect("a certificate").der().to_vec()
}

#[test]
fn a_second_certificate_of_the_right_name() {
    let (town, answer) = alice_creates_among(|town| {
        let later = town.world.issue("bob", "other-ca", Role::Client, &[]);
        vec![town.certificate("bob").der().to_vec(), later.der().to_vec()]
    });
    match answer {
        Err(Failure::TwoKeys { name: of, fingerprints }) => {
            assert_eq!((of, fingerprints.len()), (name("bob"), 2));
        }
        other => panic!("not two keys but {other:?}"),
    }
    assert_nothing_made(&town);
}

#[test]
fn a_brokers_certificate_for_a_member() {
    let (town, answer) = alice_creates_among(|town| vec![town.world.broker.1.clone()]);
    assert_eq!(answer, Err(Failure::UnknownClients(vec![name("bob")])));
    assert_nothing_made(&town);
}

#[test]
fn adds_somebody_to_those_who_were_asked_for() {
    let (_, answer) = alice_creates_among(|town| {
        ["bob", "mallory"].map(|who| town.certificate(who).der().to_vec()).to_vec()
    });
    let Ok(Answer::Created(created)) = answer else { panic!("not made but {answer:?}") };
    let members: Vec<&str> = created.members.iter().map(|member| member.name.as_str()).collect();
    assert_eq!(members, ["alice", "bob"], "no key for mallory");
}

#[test]
fn leaves_members_out_of_the_list_of_all() {
    // What "all known" means is the broker's word: whoever is made a member is shown by name and key.
    let mut town = Town::awake(&["alice", "bob", "mallory"]);
    let bobs = town.fingerprint("bob");
    let only_bob = town.certificate("bob").der().to_vec();
    town.lie(move |_, mut said| {
        if let BrokerFrame::Clients { clients, .. } = &mut said.frame {
            clients.retain(|client| client.certificate == only_bob);
        }
        vec![said]
    });
    let request = CreateRequest { members: MemberChoice::AllKnown, ..CreateRequest::new(topic_name(DOOR)) };
    match town.ask("alice", |client| client.create(request)) {
        Ok(Answer::Created(created)) => {
            let others: Vec<Fingerprint> =
                created.members.iter().filter(|m| !m.me).map(|m| m.fingerprint).collect();
            assert_eq!(others, [bobs]);
        }
        other => panic!("not made but {other:?}"),
    }
}

// ---- Revocation lists ----

#[test]
fn shows_an_old_revocation_list() {
    let mut town = Town::awake(&["alice", "bob"]);
    let mallory = town.world.issue("mallory", "other-ca", Role::Client, &[]);
    let old = town.world.crl(&[], 1);
    town.revoke(&[*mallory.serial()], 2);
    let is_two = |e: &Event| matches!(e, Event::CrlUpdated { number: 2, .. });
    assert!(town.news("bob").others.iter().any(is_two), "the newest list is fetched");
    // It says that there is a newer one, and shows the older.
    town.lie(move |_, mut said| {
        if let BrokerFrame::CrlPart { number, total, from, part, .. } = &mut said.frame {
            (*number, *total, *from) = (3, old.len() as u32, 0);
            *part = old.clone();
        }
        vec![said]
    });
    town.tell("bob", vec![BrokerFrame::CrlChanged { number: 3 }.into()]);
    let news = town.news("bob");
    assert!(matches!(&news.notices[..], [Notice::CrlRefused(_)]), "{news:?}");
    assert_eq!(town.client("bob").trust().crl_number(), Some(2));
    assert!(town.client("bob").trust().is_revoked(mallory.serial()));
}

#[test]
fn enforces_an_old_revocation_list() {
    let mut town = Town::awake(&["alice", "bob"]);
    town.revoke(&[], 2);
    town.events("bob");
    town.lie(|_, mut said| {
        if let BrokerFrame::Welcome { crl_number, .. } = &mut said.frame {
            *crl_number = 1;
        }
        vec![said]
    });
    town.cut("bob");
    let news = town.news("bob");
    assert!(news.notices.contains(&Notice::BrokerCrlOlder { ours: 2, broker: 1 }), "{news:?}");
    assert_eq!(town.client("bob").trust().crl_number(), Some(2));
}
