//! What may be trusted as a CA.

use sealmq::crypto::cert::testing;
use sealmq::crypto::cert::{CertFault, Role, Trust, pem};

use crate::editor::*;

/// What is wrong with the CA, how it is made, and what must be said of it.
type Mutant = (&'static str, fn(&mut Signed), CertFault);

#[test]
fn a_ca_must_be_one() {
    let world = testing::world();
    let mutants: Vec<Mutant> = vec![
        ("version 1", |c| drop(c.tbs.nodes().remove(VERSION)), CertFault::Version),
        ("serial 0", |c| *c.tbs.at(&[SERIAL]) = integer(&[0]), CertFault::Serial),
        (
            "SHA-1",
            |c| c.set_algorithm(ALGORITHM, sequence(vec![oid(SHA1_WITH_RSA), null()])),
            CertFault::SignatureAlgorithm,
        ),
        (
            "issued by another",
            |c| *c.tbs.at(&[ISSUER]) = sequence(vec![attribute(COMMON_NAME, 0x0c, b"root")]),
            CertFault::WrongCa,
        ),
        (
            "another key in it",
            |c| *c.tbs.at(&[KEY]) = Node::parse(&testing::key("other-ca").public().to_spki_der()),
            CertFault::BadSignature,
        ),
        ("no constraints", |c| c.remove_extension(BASIC_CONSTRAINTS), CertFault::NoBasicConstraints),
        (
            "constraints that are not critical",
            |c| c.set_extension(BASIC_CONSTRAINTS, &[0x30, 3, 1, 1, 0xff]),
            CertFault::Criticality("basic constraints"),
        ),
        (
            "CA:FALSE",
            |c| {
                c.set_extension(BASIC_CONSTRAINTS, &[0x30, 0]);
                c.set_critical(BASIC_CONSTRAINTS, 0xff);
            },
            CertFault::NotCa,
        ),
        ("no key usage", |c| c.remove_extension(KEY_USAGE), CertFault::NoKeyUsage),
        ("no cRLSign", |c| c.set_extension(KEY_USAGE, &[3, 2, 2, 4]), CertFault::KeyUsageMissing),
        ("no keyCertSign", |c| c.set_extension(KEY_USAGE, &[3, 2, 1, 2]), CertFault::KeyUsageMissing),
        ("an extended usage", |c| c.set_extension(EXTENDED_USAGE, &[0x30, 0]), CertFault::WrongUsage),
        ("no key identifier", |c| c.remove_extension(SUBJECT_KEY), CertFault::NoSubjectKey),
        (
            "another authority",
            |c| c.set_extension(AUTHORITY_KEY, &[0x30, 3, 0x80, 1, 1]),
            CertFault::WrongAuthorityKey,
        ),
        ("name constraints", |c| c.set_extension(NAME_CONSTRAINTS, &[0x30, 0]), CertFault::NameConstraints),
        (
            "an extension twice",
            |c| c.duplicate_extension(KEY_USAGE),
            CertFault::DuplicateExtension("2.5.29.15".to_owned()),
        ),
    ];
    for (what, mutate, expected) in mutants {
        let mut ca = Signed::parse(&world.ca_cert_der);
        mutate(&mut ca);
        assert_eq!(Trust::from_der(&ca.sign(&world.ca_key)).err(), Some(expected), "{what}");
    }
}

#[test]
fn a_leaf_is_no_ca() {
    let world = testing::world();
    let (_, alice) = world.client("alice");
    assert_eq!(Trust::from_der(&alice).err(), Some(CertFault::WrongCa));
}

#[test]
fn a_ca_comes_in_pem() {
    let world = testing::world();
    let trust = Trust::from_pem(&pem::certificate_to_pem(&world.ca_cert_der)).expect("our own PEM");
    assert_eq!(trust.ca_fingerprint(), world.ca_key.public().fingerprint());
    assert!(trust.verify(&world.broker.1, Role::Broker, world.now()).is_ok());
    assert!(Trust::from_pem("").is_err());
    assert!(Trust::from_pem(&pem::crl_to_pem(&world.ca_cert_der)).is_err());
}
