//! Mutants of layout, algorithm, issuer, times and name.

use sealmq::base::Wall;
use sealmq::base::names::NameError;
use sealmq::crypto::cert::CertFault;
use sealmq::crypto::cert::testing::{self, NOON};

use crate::editor::*;
use crate::mutants::{CLIENT, Mutant, malformed};

/// Leaf certificates begin at noon on 2026-11-23 and end 397 days later.
const BEGIN: &str = "261123120000Z";

pub fn form() -> Vec<Mutant> {
    vec![
        ("version 1", CLIENT, |c| drop(c.tbs.nodes().remove(VERSION)), CertFault::Version),
        ("version 1 written out", CLIENT, |c| *c.tbs.at(&[VERSION, 0]) = integer(&[0]), CertFault::Version),
        ("version 2", CLIENT, |c| *c.tbs.at(&[VERSION, 0]) = integer(&[1]), CertFault::Version),
        ("version 4", CLIENT, |c| *c.tbs.at(&[VERSION, 0]) = integer(&[3]), CertFault::Version),
        ("serial 0", CLIENT, |c| *c.tbs.at(&[SERIAL]) = integer(&[0]), CertFault::Serial),
        ("negative serial", CLIENT, |c| *c.tbs.at(&[SERIAL]) = integer(&[0x80, 1]), CertFault::Serial),
        ("serial of 21 bytes", CLIENT, |c| *c.tbs.at(&[SERIAL]) = integer(&[1; 21]), CertFault::Serial),
        (
            "serial of 20 bytes and a sign byte",
            CLIENT,
            |c| *c.tbs.at(&[SERIAL]) = integer(&[&[0][..], &[0xff; 20]].concat()),
            CertFault::Serial,
        ),
        (
            "serial with a leading zero",
            CLIENT,
            |c| *c.tbs.at(&[SERIAL]) = integer(&[0, 1]),
            malformed("has an INTEGER that is not in its shortest form"),
        ),
        (
            "a length in a longer form",
            CLIENT,
            |c| *c.tbs.at(&[SERIAL]) = Node::Raw(vec![0x02, 0x81, 0x01, 0x05]),
            malformed("has a length that is not in its shortest form"),
        ),
        (
            "an indefinite length",
            CLIENT,
            |c| *c.tbs.at(&[SUBJECT]) = Node::Raw(vec![0x30, 0x80, 0, 0]),
            malformed("has an element of indefinite length"),
        ),
        (
            "nested too deeply",
            CLIENT,
            |c| *c.tbs.at(&[SUBJECT]) = (0..20).fold(null(), |inner, _| sequence(vec![inner])),
            malformed("is nested too deeply"),
        ),
        (
            "a fourth element behind the signature",
            CLIENT,
            |c| c.extra.push(null()),
            malformed("has something behind its signature"),
        ),
        (
            "an element behind the extensions",
            CLIENT,
            |c| c.tbs.nodes().push(null()),
            malformed("has something behind its extensions"),
        ),
        (
            "a missing subject",
            CLIENT,
            |c| drop(c.tbs.nodes().remove(SUBJECT)),
            malformed("is not laid out as a certificate"),
        ),
        (
            "an issuer's unique identifier",
            CLIENT,
            |c| c.tbs.nodes().insert(EXTENSIONS, Node::Leaf(0x81, vec![0, 1])),
            CertFault::UniqueId,
        ),
        (
            "a subject's unique identifier",
            CLIENT,
            |c| c.tbs.nodes().insert(EXTENSIONS, Node::Leaf(0x82, vec![0, 1])),
            CertFault::UniqueId,
        ),
    ]
}

pub fn algorithms() -> Vec<Mutant> {
    vec![
        (
            "SHA-1",
            CLIENT,
            |c| c.set_algorithm(ALGORITHM, sequence(vec![oid(SHA1_WITH_RSA), null()])),
            CertFault::SignatureAlgorithm,
        ),
        (
            "SHA-512",
            CLIENT,
            |c| c.set_algorithm(ALGORITHM, sequence(vec![oid(SHA512_WITH_RSA), null()])),
            CertFault::SignatureAlgorithm,
        ),
        (
            "PSS",
            CLIENT,
            |c| c.set_algorithm(ALGORITHM, sequence(vec![oid(RSA_PSS), sequence(vec![])])),
            CertFault::SignatureAlgorithm,
        ),
        (
            "no parameters",
            CLIENT,
            |c| c.set_algorithm(ALGORITHM, sequence(vec![oid(SHA256_WITH_RSA)])),
            CertFault::SignatureAlgorithm,
        ),
        (
            "other parameters",
            CLIENT,
            |c| c.set_algorithm(ALGORITHM, sequence(vec![oid(SHA256_WITH_RSA), integer(&[1])])),
            CertFault::SignatureAlgorithm,
        ),
        (
            "another algorithm outside",
            CLIENT,
            |c| c.outer_algorithm = sequence(vec![oid(SHA512_WITH_RSA), null()]),
            CertFault::AlgorithmMismatch,
        ),
        (
            "another algorithm inside",
            CLIENT,
            |c| *c.tbs.at(&[ALGORITHM]) = sequence(vec![oid(SHA1_WITH_RSA), null()]),
            CertFault::AlgorithmMismatch,
        ),
        (
            "parameters outside only",
            CLIENT,
            |c| *c.tbs.at(&[ALGORITHM]) = sequence(vec![oid(SHA256_WITH_RSA)]),
            CertFault::AlgorithmMismatch,
        ),
    ]
}

pub fn issuers() -> Vec<Mutant> {
    vec![
        (
            "another CA's name",
            CLIENT,
            |c| *c.tbs.at(&[ISSUER]) = sequence(vec![attribute(COMMON_NAME, 0x0c, b"other-ca")]),
            CertFault::WrongCa,
        ),
        (
            "the CA's name in another string type",
            CLIENT,
            |c| *c.tbs.at(&[ISSUER]) = sequence(vec![attribute(COMMON_NAME, 0x13, b"test-ca")]),
            CertFault::WrongCa,
        ),
        (
            "the CA's name in another case",
            CLIENT,
            |c| *c.tbs.at(&[ISSUER]) = sequence(vec![attribute(COMMON_NAME, 0x0c, b"TEST-CA")]),
            CertFault::WrongCa,
        ),
        (
            "the CA's name and more",
            CLIENT,
            |c| c.tbs.at(&[ISSUER]).nodes().push(attribute(ORGANIZATION, 0x0c, b"x")),
            CertFault::WrongCa,
        ),
        (
            "a client as the issuer",
            CLIENT,
            |c| *c.tbs.at(&[ISSUER]) = sequence(vec![attribute(COMMON_NAME, 0x0c, b"alice")]),
            CertFault::WrongCa,
        ),
        (
            "no authority key identifier",
            CLIENT,
            |c| c.remove_extension(AUTHORITY_KEY),
            CertFault::NoAuthorityKey,
        ),
        (
            "another authority key identifier",
            CLIENT,
            |c| c.set_extension(AUTHORITY_KEY, &[&[0x30, 22, 0x80, 20][..], &[7; 20]].concat()),
            CertFault::WrongAuthorityKey,
        ),
        (
            "an empty authority key identifier",
            CLIENT,
            |c| c.set_extension(AUTHORITY_KEY, &[0x30, 0]),
            CertFault::WrongAuthorityKey,
        ),
        (
            "an authority by serial only",
            CLIENT,
            |c| c.set_extension(AUTHORITY_KEY, &[0x30, 3, 0x82, 1, 1]),
            CertFault::WrongAuthorityKey,
        ),
        (
            "the CA's key",
            CLIENT,
            |c| *c.tbs.at(&[KEY]) = Node::parse(&testing::key("ca").public().to_spki_der()),
            CertFault::CaItself,
        ),
    ]
}

pub fn times() -> Vec<Mutant> {
    vec![
        (
            "399 days",
            CLIENT,
            |c| c.set_times(utc(BEGIN), utc("271227120000Z")),
            CertFault::LifetimeTooLong { days: 399 },
        ),
        (
            "398 days and a second",
            CLIENT,
            |c| c.set_times(utc(BEGIN), utc("271226120001Z")),
            CertFault::LifetimeTooLong { days: 399 },
        ),
        (
            "for ever",
            CLIENT,
            |c| c.set_times(utc(BEGIN), generalized("99991231235959Z")),
            CertFault::LifetimeTooLong { days: 2_912_117 },
        ),
        (
            "the end before the beginning",
            CLIENT,
            |c| c.set_times(utc(BEGIN), utc("261123115959Z")),
            CertFault::ValidityReversed,
        ),
        ("no time at all", CLIENT, |c| c.set_times(utc(BEGIN), utc(BEGIN)), CertFault::ValidityReversed),
        (
            "GeneralizedTime before 2050",
            CLIENT,
            |c| c.set_times(utc(BEGIN), generalized("20271124120000Z")),
            CertFault::TimeForm,
        ),
        ("1960", CLIENT, |c| c.set_times(utc("600101000000Z"), utc("270101000000Z")), CertFault::TimeForm),
        (
            "a time without seconds",
            CLIENT,
            |c| c.set_times(utc("2611231200Z"), utc("271124120000Z")),
            malformed("has a time that is not written to the second in UTC"),
        ),
        (
            "a time of another zone",
            CLIENT,
            |c| c.set_times(utc("261123120000+0100"), utc("271124120000Z")),
            malformed("has a time that is not written to the second in UTC"),
        ),
        (
            "fractions of a second",
            CLIENT,
            |c| c.set_times(utc(BEGIN), generalized("20500101000000.5Z")),
            malformed("has a time that is not written to the second in UTC"),
        ),
        (
            "a thirteenth month",
            CLIENT,
            |c| c.set_times(utc(BEGIN), utc("271324120000Z")),
            malformed("cannot be read as an X.509 certificate"),
        ),
        (
            "three times",
            CLIENT,
            |c| c.tbs.at(&[VALIDITY]).nodes().push(utc(BEGIN)),
            malformed("has a validity that is not two times"),
        ),
        (
            "a number in place of a time",
            CLIENT,
            |c| c.set_times(utc(BEGIN), integer(&[1])),
            malformed("has a validity that is not two times"),
        ),
        (
            "expired",
            CLIENT,
            |c| c.set_times(utc("251123120000Z"), utc("261123115459Z")),
            CertFault::Expired { not_after: Wall(NOON.0 - 301_000) },
        ),
        (
            "not yet valid",
            CLIENT,
            |c| c.set_times(utc("261123120501Z"), utc("271123120000Z")),
            CertFault::NotYetValid { not_before: Wall(NOON.0 + 301_000) },
        ),
    ]
}

fn set_name(certificate: &mut Signed, string_type: u8, name: &[u8]) {
    *certificate.tbs.at(&[SUBJECT]) = sequence(vec![attribute(COMMON_NAME, string_type, name)]);
}

pub fn names() -> Vec<Mutant> {
    vec![
        ("an empty subject", CLIENT, |c| c.tbs.at(&[SUBJECT]).nodes().clear(), CertFault::NoCommonName),
        (
            "an organisation only",
            CLIENT,
            |c| *c.tbs.at(&[SUBJECT]) = sequence(vec![attribute(ORGANIZATION, 0x0c, b"alice")]),
            CertFault::NoCommonName,
        ),
        (
            "two common names",
            CLIENT,
            |c| c.tbs.at(&[SUBJECT]).nodes().push(attribute(COMMON_NAME, 0x0c, b"bob")),
            CertFault::ManyCommonNames,
        ),
        (
            "two common names in one set",
            CLIENT,
            |c| c.tbs.at(&[SUBJECT, 0]).nodes().insert(0, pair(COMMON_NAME, 0x0c, b"al")),
            CertFault::ManyCommonNames,
        ),
        (
            "an empty common name",
            CLIENT,
            |c| set_name(c, 0x0c, b""),
            CertFault::BadCommonName(NameError::Empty),
        ),
        (
            "a space",
            CLIENT,
            |c| set_name(c, 0x0c, b"al ice"),
            CertFault::BadCommonName(NameError::BadCharacter(' ')),
        ),
        (
            "a zero byte",
            CLIENT,
            |c| set_name(c, 0x0c, b"alice\0.evil"),
            CertFault::BadCommonName(NameError::BadCharacter('\0')),
        ),
        (
            "a slash",
            CLIENT,
            |c| set_name(c, 0x0c, b"../ca"),
            CertFault::BadCommonName(NameError::BadCharacter('/')),
        ),
        (
            "a letter beyond ASCII",
            CLIENT,
            |c| set_name(c, 0x0c, "аlice".as_bytes()),
            CertFault::BadCommonName(NameError::BadCharacter('а')),
        ),
        (
            "a hyphen at the beginning",
            CLIENT,
            |c| set_name(c, 0x0c, b"-alice"),
            CertFault::BadCommonName(NameError::BadStart('-')),
        ),
        (
            "65 letters",
            CLIENT,
            |c| set_name(c, 0x0c, &[b'a'; 65]),
            CertFault::BadCommonName(NameError::TooLong { max: 64 }),
        ),
        ("an IA5String", CLIENT, |c| set_name(c, 0x16, b"alice"), CertFault::CommonNameType),
        ("a TeletexString", CLIENT, |c| set_name(c, 0x14, b"alice"), CertFault::CommonNameType),
        ("a BMPString", CLIENT, |c| set_name(c, 0x1e, b"\0a\0l"), CertFault::CommonNameType),
        (
            "invalid UTF-8",
            CLIENT,
            |c| set_name(c, 0x0c, b"ali\xffce"),
            malformed("has a UTF8String that is not UTF-8"),
        ),
        (
            "a set out of order",
            CLIENT,
            |c| c.tbs.at(&[SUBJECT, 0]).nodes().push(pair(COMMON_NAME, 0x0c, b"al")),
            malformed("has a SET that is not in order"),
        ),
    ]
}
