//! Mutants of good certificates, each signed again by the CA: one for each rule or variant
//! of a rule, with the one fault that it must be refused for.

use sealmq::crypto::cert::testing::{self, NOON, World};
use sealmq::crypto::cert::{CertFault, FaultKind, Role, Trust};

use crate::editor::*;
use crate::{extras, fields};

/// What is wrong, in whose certificate, how it is made, and what must be said of it.
pub type Mutant = (&'static str, Role, fn(&mut Signed), CertFault);

/// What is other than usual, and in whose certificate.
type Variant = (&'static str, Role, fn(&mut Signed));

pub const CLIENT: Role = Role::Client;
pub const BROKER: Role = Role::Broker;

pub fn malformed(how: &'static str) -> CertFault {
    CertFault::Malformed(how)
}

pub fn good(world: &World, role: Role) -> Signed {
    Signed::parse(&match role {
        Role::Client => world.client("alice").1,
        Role::Broker => world.broker.1.clone(),
    })
}

fn all() -> Vec<Mutant> {
    let tables = [
        fields::form(),
        fields::algorithms(),
        fields::issuers(),
        fields::times(),
        fields::names(),
        extras::keys(),
        extras::extensions(),
        extras::usages(),
        extras::hosts(),
    ];
    tables.into_iter().flatten().collect()
}

#[test]
fn each_mutant_is_refused_for_its_own_fault() {
    let world = testing::world();
    for (what, role, mutate, expected) in all() {
        let mut certificate = good(&world, role);
        mutate(&mut certificate);
        let der = certificate.sign(&world.ca_key);
        assert_eq!(world.trust.verify(&der, role, NOON).err(), Some(expected), "{what}");
    }
}

#[test]
fn there_are_more_than_sixty_mutants() {
    assert!(all().len() > 60, "{}", all().len());
}

#[test]
fn every_fault_has_a_sentence_and_a_kind() {
    for (what, _, _, fault) in all() {
        let sentence = fault.to_string();
        assert!(sentence.starts_with("the certificate ") && sentence.len() > 25, "{what}: {sentence}");
    }
    let expired = CertFault::Expired { not_after: NOON };
    assert_eq!(expired.to_string(), "the certificate expired on 2026-11-23T12:00:00Z");
    assert_eq!(expired.kind(), FaultKind::Expired);
    assert_eq!(CertFault::WrongRole { expected: BROKER }.kind(), FaultKind::WrongUsage);
    assert_eq!(CertFault::BadSignature.kind(), FaultKind::WrongCa);
}

/// What a mutant must not be refused for: the profile is strict, not deaf.
#[test]
fn harmless_variants_are_accepted() {
    let world = testing::world();
    let variants: [Variant; 8] = [
        ("nothing changed", CLIENT, |_| ()),
        ("nothing changed", BROKER, |_| ()),
        ("an unknown extension", CLIENT, |c| c.extensions().push(extension(UNKNOWN, None, b"any bytes"))),
        ("no subject key identifier", CLIENT, |c| c.remove_extension(SUBJECT_KEY)),
        ("an organisation", CLIENT, |c| {
            c.tbs.at(&[SUBJECT]).nodes().insert(0, attribute(ORGANIZATION, 0x0c, b"The Firm"));
        }),
        ("a printable name", CLIENT, |c| {
            *c.tbs.at(&[SUBJECT]) = sequence(vec![attribute(COMMON_NAME, 0x13, b"alice")]);
        }),
        ("a serial of 20 bytes", CLIENT, |c| *c.tbs.at(&[SERIAL]) = integer(&[0x7f; 20])),
        ("398 days to the second", CLIENT, |c| {
            c.set_times(utc("261123120000Z"), utc("271226120000Z"));
        }),
    ];
    for (what, role, vary) in variants {
        let mut certificate = good(&world, role);
        vary(&mut certificate);
        let der = certificate.sign(&world.ca_key);
        assert_eq!(world.trust.verify(&der, role, NOON).err(), None, "{what}");
    }
}

#[test]
fn signatures_that_the_ca_did_not_make() {
    let world = testing::world();
    let certificate = good(&world, CLIENT);
    let signature_of = |who| signature(&testing::key(who), &certificate.tbs.to_der());
    let right = signature_of("ca");
    let mut flipped = right.clone();
    flipped[100] ^= 1;
    let bad = CertFault::BadSignature;
    for (what, bytes, unused, expected) in [
        ("another CA", signature_of("other-ca"), 0, bad.clone()),
        ("the client itself", signature_of("alice"), 0, bad.clone()),
        ("a bit flipped", flipped, 0, bad.clone()),
        ("none", Vec::new(), 0, bad.clone()),
        ("a byte too few", right[..255].to_vec(), 0, bad.clone()),
        ("a zero before", [&[0], &right[..]].concat(), 0, bad.clone()),
        ("a zero behind", [&right[..], &[0]].concat(), 0, bad.clone()),
        ("all zeros", vec![0; 256], 0, bad.clone()),
        ("all ones", vec![0xff; 256], 0, bad.clone()),
        ("2,000 bytes", vec![1; 2000], 0, bad),
        (
            "unused bits",
            [&right[..255], &[0]].concat(),
            1,
            malformed("has a signature that is not of whole bytes"),
        ),
    ] {
        let der = certificate.with_signature(&bytes, unused);
        assert_eq!(world.trust.verify(&der, CLIENT, NOON).err(), Some(expected), "{what}");
    }
}

#[test]
fn a_ca_of_the_same_name_is_another_ca() {
    let world = testing::world();
    let (mut ca, other) = (Signed::parse(&world.ca_cert_der), testing::key("other-ca"));
    *ca.tbs.at(&[KEY]) = Node::parse(&other.public().to_spki_der());
    let trust = Trust::from_der(&ca.sign(&other)).expect("a good CA");
    // Same name, same key identifier: only the signature tells.
    let fault = trust.verify(&world.client("alice").1, CLIENT, NOON).err();
    assert_eq!(fault, Some(CertFault::BadSignature));
}

#[test]
fn the_cas_own_certificate_is_nobodys() {
    let world = testing::world();
    for role in [CLIENT, BROKER] {
        let fault = world.trust.verify(&world.ca_cert_der, role, NOON).err();
        assert_eq!(fault, Some(CertFault::CaItself));
    }
}

#[test]
fn bytes_that_are_no_certificate() {
    let world = testing::world();
    let der = world.client("alice").1;
    let verify = |der: &[u8]| world.trust.verify(der, CLIENT, NOON).err();
    assert_eq!(verify(&[&der[..], &[0]].concat()), Some(CertFault::TrailingBytes));
    assert_eq!(verify(&[&der[..], &der[..]].concat()), Some(CertFault::TrailingBytes));
    assert_eq!(verify(&[0x30; 4097]), Some(CertFault::TooLarge));
    for cut in 0..der.len() {
        assert!(matches!(verify(&der[..cut]), Some(CertFault::Malformed(_))), "cut to {cut} bytes");
    }
    // The most elements that fit, and the deepest nesting: an answer, and soon.
    let many = sequence(vec![Node::Raw([0x30, 0].repeat(2000))]).to_der();
    assert!(matches!(verify(&many), Some(CertFault::Malformed(_))));
    let deep = (0..1000).fold(null(), |inner, _| sequence(vec![inner])).to_der();
    assert!(verify(&deep).is_some());
}

/// Every byte of a certificate is covered by a rule or by the signature.
#[test]
fn no_byte_can_be_changed() {
    let world = testing::world();
    for (der, role) in [(world.client("alice").1, CLIENT), (world.broker.1.clone(), BROKER)] {
        for place in 0..der.len() {
            for flip in [0x01, 0x80] {
                let mut changed = der.clone();
                changed[place] ^= flip;
                let fault = world.trust.verify(&changed, role, NOON);
                assert!(fault.is_err(), "byte {place} by {flip:#x}");
            }
        }
    }
}
