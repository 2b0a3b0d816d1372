//! Lies about who somebody is: certificates for whoever makes a topic, and revocation lists.

use sealmq::base::ids::Fingerprint;
use sealmq::broker::lies::Said;
use sealmq::client::{Answer, CreateRequest, Event, Failure, MemberChoice, Notice};
use sealmq::crypto::cert::Role;
use sealmq::crypto::cert::issue::{CA_DAYS, Issuer, LEAF_DAYS, Subscriber, make_ca};
use sealmq::crypto::cert::testing::{NOON, Seeded, key};
use sealmq::wire::frame::BrokerFrame;
use sealmq::wire::values::ClientEntry;

use crate::town::{Town, name, topic_name};

const DOOR: &str = "home/door";

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
    let request =
        CreateRequest { members: MemberChoice::AllKnown, ..CreateRequest::in_memory(topic_name(DOOR)) };
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
