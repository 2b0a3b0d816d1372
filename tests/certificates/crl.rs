//! Revocation lists: which are taken, and what they do.

use std::time::Duration;

use sealmq::base::Wall;
use sealmq::crypto::cert::crl::Revocation;
use sealmq::crypto::cert::issue::Issuer;
use sealmq::crypto::cert::testing::{self, NOON, Seeded, World};
use sealmq::crypto::cert::{CertFault, CrlFault, CrlUpdate, Role, Serial};

use crate::editor::*;
use crate::mutants::CLIENT;

const YEAR: Duration = Duration::from_secs(365 * 86_400);

// Places in a TBSCertList with entries.
const LIST_ALGORITHM: usize = 1;
const LIST_ISSUER: usize = 2;
const THIS_UPDATE: usize = 3;
const NEXT_UPDATE: usize = 4;
const ENTRIES: usize = 5;
const LIST_EXTENSIONS: usize = 6;

fn list(world: &World, number: u64, serials: &[Serial]) -> Vec<u8> {
    let issuer = Issuer::new(&world.ca_key, &world.ca_cert_der).expect("the CA");
    let revoked: Vec<Revocation> = serials.iter().map(|s| Revocation { serial: *s, at: NOON }).collect();
    issuer.crl(number, &revoked, NOON, NOON + YEAR, &mut Seeded::new(number)).expect("a list")
}

fn serial(world: &World, who: &str) -> Serial {
    *world.verified(&world.client(who).1, CLIENT).serial()
}

#[test]
fn who_is_on_the_list_is_refused() {
    let mut world = testing::world();
    let (alice, bob) = (world.client("alice").1, world.client("bob").1);
    let first = list(&world, 1, &[]);
    assert_eq!(world.trust.update_crl(&first, NOON), Ok(CrlUpdate { newer: true, past_next_update: false }));
    assert!(world.trust.verify(&alice, CLIENT, NOON).is_ok());

    let second = list(&world, 2, &[serial(&world, "alice")]);
    world.trust.update_crl(&second, NOON).expect("a newer list");
    assert_eq!(world.trust.crl_der().map(|der| der.to_vec()), Some(second));
    assert_eq!(world.trust.verify(&alice, CLIENT, NOON).err(), Some(CertFault::Revoked));
    assert!(world.trust.verify_historic(&alice, CLIENT).is_ok());
    assert!(world.trust.verify(&bob, CLIENT, NOON).is_ok());
    assert!(world.trust.verify(&world.broker.1, Role::Broker, NOON).is_ok());
}

#[test]
fn the_number_never_goes_back() {
    let mut world = testing::world();
    assert_eq!(world.trust.crl_number(), None);
    assert!(!world.trust.crl_is_current(NOON));
    let five = list(&world, 5, &[]);
    world.trust.update_crl(&five, NOON).expect("the first list");
    assert_eq!(world.trust.crl_number(), Some(5));
    assert!(world.trust.crl_is_current(NOON));
    // The same bytes again are no news.
    assert_eq!(world.trust.update_crl(&five, NOON).map(|update| update.newer), Ok(false));
    // Other bytes under the number are a CA that has lost its count.
    let other = list(&world, 5, &[serial(&world, "alice")]);
    assert_eq!(world.trust.update_crl(&other, NOON), Err(CrlFault::NumberReused { number: 5 }));
    let four = list(&world, 4, &[]);
    assert_eq!(world.trust.update_crl(&four, NOON), Err(CrlFault::LowerNumber { number: 4, seen: 5 }));
    assert_eq!(world.trust.crl_der().map(|der| der.to_vec()), Some(five));
}

#[test]
fn a_number_seen_in_an_earlier_life_counts() {
    let mut world = testing::world();
    world.trust.require_crl_number(7);
    let six = list(&world, 6, &[]);
    assert_eq!(world.trust.update_crl(&six, NOON), Err(CrlFault::LowerNumber { number: 6, seen: 7 }));
    assert!(!world.trust.crl_is_current(NOON));
    let seven = list(&world, 7, &[]);
    assert!(world.trust.update_crl(&seven, NOON).is_ok());
    assert!(world.trust.crl_is_current(NOON));
    world.trust.require_crl_number(3);
    assert_eq!(world.trust.crl_number(), Some(7));
    // A higher one is out there: what we have is in force, and not current.
    world.trust.require_crl_number(8);
    assert!(!world.trust.crl_is_current(NOON));
    assert!(world.trust.crl_der().is_some());
}

#[test]
fn past_its_date_a_list_is_still_enforced() {
    let mut world = testing::world();
    let der = list(&world, 1, &[serial(&world, "alice")]);
    let late = NOON + YEAR + Duration::from_secs(301);
    let update = world.trust.update_crl(&der, late).expect("past its date, and taken");
    assert_eq!(update, CrlUpdate { newer: true, past_next_update: true });
    assert!(world.trust.crl_past_due(late) && !world.trust.crl_past_due(NOON + YEAR));
    assert!(!world.trust.crl_is_current(late));
    let alice = world.client("alice").1;
    assert_eq!(world.trust.verify(&alice, CLIENT, late).err(), Some(CertFault::Revoked));
}

#[test]
fn a_list_of_many() {
    let mut world = testing::world();
    let of = |n: u32| Serial::parse_hex(&format!("01{n:032x}")).expect("a good serial");
    let serials: Vec<Serial> = (0..20_000).rev().map(of).collect();
    let der = list(&world, 1, &serials);
    assert!(world.trust.update_crl(&der, NOON).is_ok());
    assert!(serials.iter().all(|serial| world.trust.is_revoked(serial)));
    assert!(!world.trust.is_revoked(&of(20_000)));
}

type Mutant = (&'static str, fn(&mut Signed), CrlFault);

#[test]
fn lists_that_are_refused_change_nothing() {
    let mut world = testing::world();
    let alice = serial(&world, "alice");
    let held = list(&world, 1, &[alice]);
    world.trust.update_crl(&held, NOON).expect("the first list");
    let good = Signed::parse(&list(&world, 2, &[]));
    let with_entry = Signed::parse(&list(&world, 2, &[alice]));
    for (what, mutate, expected) in mutants() {
        let mut changed = with_entry.clone();
        mutate(&mut changed);
        let der = changed.sign(&world.ca_key);
        assert_eq!(world.trust.update_crl(&der, NOON), Err(expected), "{what}");
        assert_eq!(world.trust.crl_der().map(|der| der.to_vec()).as_ref(), Some(&held), "{what}");
        assert_eq!(world.trust.crl_number(), Some(1), "{what}");
        assert!(world.trust.is_revoked(&alice), "{what}");
    }
    let forged = good.sign(&testing::key("other-ca"));
    assert_eq!(world.trust.update_crl(&forged, NOON), Err(CrlFault::BadSignature));
    let large = vec![0x30; 1024 * 1024 + 1];
    assert_eq!(world.trust.update_crl(&large, NOON), Err(CrlFault::TooLarge));
    assert!(world.trust.update_crl(&good.sign(&world.ca_key), NOON).is_ok());
}

/// Gives an entry's extensions, or the list's own, this one more.
fn entry_extension(id: &[u8], critical: Option<u8>, value: &[u8]) -> Node {
    sequence(vec![extension(id, critical, value)])
}

fn mutants() -> Vec<Mutant> {
    let malformed = CrlFault::Malformed;
    let entry = CrlFault::BadEntry;
    vec![
        ("version 1", |c| drop(c.tbs.nodes().remove(0)), CrlFault::Version),
        ("version 3", |c| *c.tbs.at(&[0]) = integer(&[2]), CrlFault::Version),
        (
            "SHA-1",
            |c| c.set_algorithm(LIST_ALGORITHM, sequence(vec![oid(SHA1_WITH_RSA), null()])),
            CrlFault::SignatureAlgorithm,
        ),
        (
            "two algorithms",
            |c| c.outer_algorithm = sequence(vec![oid(SHA512_WITH_RSA), null()]),
            CrlFault::AlgorithmMismatch,
        ),
        (
            "another issuer",
            |c| *c.tbs.at(&[LIST_ISSUER]) = sequence(vec![attribute(COMMON_NAME, 0x0c, b"other-ca")]),
            CrlFault::WrongCa,
        ),
        (
            "another authority key",
            |c| *c.tbs.at(&[LIST_EXTENSIONS, 0, 0]) = extension(AUTHORITY_KEY, None, &[0x30, 3, 0x80, 1, 1]),
            CrlFault::WrongAuthorityKey,
        ),
        (
            "no authority key",
            |c| drop(c.tbs.at(&[LIST_EXTENSIONS, 0]).nodes().remove(0)),
            CrlFault::WrongAuthorityKey,
        ),
        ("no number", |c| drop(c.tbs.at(&[LIST_EXTENSIONS, 0]).nodes().remove(1)), CrlFault::NoNumber),
        ("no extensions", |c| drop(c.tbs.nodes().remove(LIST_EXTENSIONS)), CrlFault::NoNumber),
        (
            "a negative number",
            |c| *c.tbs.at(&[LIST_EXTENSIONS, 0, 1]) = extension(CRL_NUMBER, None, &[2, 1, 0xff]),
            CrlFault::NoNumber,
        ),
        (
            "a number of 9 bytes",
            |c| {
                let number = [&[2, 9][..], &[1; 9]].concat();
                *c.tbs.at(&[LIST_EXTENSIONS, 0, 1]) = extension(CRL_NUMBER, None, &number);
            },
            CrlFault::NoNumber,
        ),
        (
            "two numbers",
            |c| c.tbs.at(&[LIST_EXTENSIONS, 0]).nodes().push(extension(CRL_NUMBER, None, &[2, 1, 9])),
            CrlFault::DuplicateExtension("2.5.29.20".to_owned()),
        ),
        (
            "a delta list",
            |c| c.tbs.at(&[LIST_EXTENSIONS, 0]).nodes().push(extension(DELTA_CRL, Some(0xff), &[2, 1, 1])),
            CrlFault::UnknownCritical("2.5.29.27".to_owned()),
        ),
        ("no next update", |c| drop(c.tbs.nodes().remove(NEXT_UPDATE)), CrlFault::NoNextUpdate),
        (
            "a next update in the past of it",
            |c| *c.tbs.at(&[NEXT_UPDATE]) = utc("261123120000Z"),
            CrlFault::NoNextUpdate,
        ),
        (
            "made in the future",
            |c| *c.tbs.at(&[THIS_UPDATE]) = utc("261123120501Z"),
            CrlFault::NotYetValid { this_update: Wall(NOON.0 + 301_000) },
        ),
        (
            "a number in place of a time",
            |c| *c.tbs.at(&[THIS_UPDATE]) = integer(&[1]),
            malformed("has a malformed time"),
        ),
        (
            "an empty list of entries",
            |c| c.tbs.at(&[ENTRIES]).nodes().clear(),
            malformed("has an empty list of entries, which would be left out"),
        ),
        ("an entry that is none", |c| c.tbs.at(&[ENTRIES]).nodes().push(null()), entry("is malformed")),
        (
            "serial 0",
            |c| *c.tbs.at(&[ENTRIES, 0, 0]) = integer(&[0]),
            entry("has a serial number that no certificate can have"),
        ),
        (
            "an entry that takes back",
            |c| c.tbs.at(&[ENTRIES, 0]).nodes().push(entry_extension(REASON_CODE, None, &[0x0a, 1, 8])),
            entry("has an extension that changes its meaning"),
        ),
        (
            "an entry with a critical extension",
            |c| c.tbs.at(&[ENTRIES, 0]).nodes().push(entry_extension(UNKNOWN, Some(0xff), &[5, 0])),
            entry("has an extension that changes its meaning"),
        ),
        (
            "an entry with more behind",
            |c| {
                c.tbs.at(&[ENTRIES, 0]).nodes().push(entry_extension(REASON_CODE, None, &[0x0a, 1, 1]));
                c.tbs.at(&[ENTRIES, 0]).nodes().push(null());
            },
            entry("is malformed"),
        ),
        (
            "something behind the extensions",
            |c| c.tbs.nodes().push(null()),
            malformed("has something behind its extensions"),
        ),
        (
            "something behind the signature",
            |c| c.extra.push(null()),
            malformed("has something behind its signature"),
        ),
    ]
}
