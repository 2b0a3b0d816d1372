//! Mutants of key, extensions, usages and host names.

use sealmq::crypto::cert::CertFault;

use crate::editor::*;
use crate::mutants::{BROKER, CLIENT, Mutant, malformed};

/// An odd number of so many bits.
fn modulus(bits: usize) -> Vec<u8> {
    let mut bytes = vec![0xff; bits.div_ceil(8)];
    bytes[0] = 0xff >> ((8 - bits % 8) % 8);
    if bytes[0] & 0x80 != 0 {
        bytes.insert(0, 0);
    }
    bytes
}

/// The SubjectPublicKeyInfo of a key file.
fn key_file(pem: &str) -> Node {
    use rsa::pkcs8::{DecodePrivateKey, EncodePublicKey};
    let key = rsa::RsaPrivateKey::from_pkcs8_pem(pem).expect("a key file of ours");
    Node::parse(key.to_public_key().to_public_key_der().expect("it encodes").as_bytes())
}

const F4: &[u8] = &[1, 0, 1];

pub fn keys() -> Vec<Mutant> {
    vec![
        (
            "1024 bits",
            CLIENT,
            |c| *c.tbs.at(&[KEY]) = key_file(include_str!("../vectors/keys/weak-1024.key")),
            CertFault::KeySize { bits: 1024 },
        ),
        (
            "exponent 3",
            CLIENT,
            |c| *c.tbs.at(&[KEY]) = key_file(include_str!("../vectors/keys/exponent-3.key")),
            CertFault::KeyExponent,
        ),
        (
            "2047 bits",
            CLIENT,
            |c| *c.tbs.at(&[KEY]) = rsa_key(&modulus(2047), F4),
            CertFault::KeySize { bits: 2047 },
        ),
        (
            "4097 bits",
            CLIENT,
            |c| *c.tbs.at(&[KEY]) = rsa_key(&modulus(4097), F4),
            CertFault::KeySize { bits: 4097 },
        ),
        (
            "as many bits as fit",
            CLIENT,
            |c| *c.tbs.at(&[KEY]) = rsa_key(&modulus(24_000), F4),
            CertFault::KeySize { bits: 24_000 },
        ),
        ("exponent 1", CLIENT, |c| *c.tbs.at(&[KEY]) = rsa_key(&modulus(2048), &[1]), CertFault::KeyExponent),
        (
            "an exponent of 2048 bits",
            CLIENT,
            |c| *c.tbs.at(&[KEY]) = rsa_key(&modulus(2048), &modulus(2048)),
            CertFault::KeyExponent,
        ),
        (
            "an even modulus",
            CLIENT,
            |c| {
                let mut even = modulus(2048);
                *even.last_mut().expect("256 bytes") = 0xfe;
                *c.tbs.at(&[KEY]) = rsa_key(&even, F4);
            },
            CertFault::KeyForm,
        ),
        (
            "a negative modulus",
            CLIENT,
            |c| *c.tbs.at(&[KEY]) = rsa_key(&[&[0x80][..], &[0xff; 255]].concat(), F4),
            CertFault::KeyForm,
        ),
        (
            "an elliptic curve",
            CLIENT,
            |c| *c.tbs.at(&[KEY]) = key_info(sequence(vec![oid(EC_KEY), oid(&[0x2a, 3])]), &[4; 65]),
            CertFault::KeyForm,
        ),
        (
            "a key for PSS only",
            CLIENT,
            |c| *c.tbs.at(&[KEY, 0]) = sequence(vec![oid(RSA_PSS), null()]),
            CertFault::KeyForm,
        ),
        (
            "a key without parameters",
            CLIENT,
            |c| *c.tbs.at(&[KEY, 0]) = sequence(vec![oid(RSA_ENCRYPTION)]),
            CertFault::KeyForm,
        ),
        (
            "a third number in the key",
            CLIENT,
            |c| {
                let numbers = sequence(vec![integer(&modulus(2048)), integer(F4), integer(&[1])]);
                *c.tbs.at(&[KEY, 1]) = Node::Leaf(0x03, [&[0], &numbers.to_der()[..]].concat());
            },
            CertFault::KeyForm,
        ),
        (
            "bytes behind the key",
            CLIENT,
            |c| {
                let Node::Leaf(_, bits) = c.tbs.at(&[KEY, 1]) else { unreachable!("a BIT STRING") };
                bits.push(0);
            },
            CertFault::KeyForm,
        ),
        ("an element behind the key", CLIENT, |c| c.tbs.at(&[KEY]).nodes().push(null()), CertFault::KeyForm),
    ]
}

pub fn extensions() -> Vec<Mutant> {
    let twice = |oid: &str| CertFault::DuplicateExtension(oid.to_owned());
    let critical = |oid: &str| CertFault::UnknownCritical(oid.to_owned());
    vec![
        ("no extensions", CLIENT, |c| drop(c.tbs.nodes().remove(EXTENSIONS)), CertFault::NoBasicConstraints),
        (
            "an empty list of extensions",
            CLIENT,
            |c| c.extensions().clear(),
            malformed("has an empty list of extensions"),
        ),
        ("the usage twice", CLIENT, |c| c.duplicate_extension(EXTENDED_USAGE), twice("2.5.29.37")),
        (
            "a second usage, of the other role",
            CLIENT,
            |c| c.extensions().push(extension(EXTENDED_USAGE, None, FOR_SERVERS)),
            twice("2.5.29.37"),
        ),
        ("the constraints twice", BROKER, |c| c.duplicate_extension(BASIC_CONSTRAINTS), twice("2.5.29.19")),
        ("the host names twice", BROKER, |c| c.duplicate_extension(ALTERNATIVE_NAME), twice("2.5.29.17")),
        (
            "an unknown extension twice",
            CLIENT,
            |c| {
                c.extensions().push(extension(UNKNOWN, None, &[5, 0]));
                c.duplicate_extension(UNKNOWN);
            },
            twice("1.3.6.1.4.1.32473.1"),
        ),
        (
            "an unknown critical extension",
            CLIENT,
            |c| c.extensions().push(extension(UNKNOWN, Some(0xff), &[5, 0])),
            critical("1.3.6.1.4.1.32473.1"),
        ),
        (
            "critical policies",
            CLIENT,
            |c| c.extensions().push(extension(POLICIES, Some(0xff), &[0x30, 0])),
            critical("2.5.29.32"),
        ),
        (
            "a default written out",
            CLIENT,
            |c| c.set_critical(EXTENDED_USAGE, 0x00),
            malformed("has an extension that spells out its default"),
        ),
        (
            "a BOOLEAN of 01",
            CLIENT,
            |c| c.set_critical(EXTENDED_USAGE, 0x01),
            malformed("has a BOOLEAN that is neither 00 nor ff"),
        ),
        (
            "an extension without a value",
            CLIENT,
            |c| c.extensions().push(sequence(vec![oid(UNKNOWN)])),
            malformed("has a malformed extension"),
        ),
        (
            "an extension with two values",
            CLIENT,
            |c| {
                let value = || Node::Leaf(0x04, vec![5, 0]);
                c.extensions().push(sequence(vec![oid(UNKNOWN), value(), value()]));
            },
            malformed("has a malformed extension"),
        ),
        (
            "a critical authority key identifier",
            CLIENT,
            |c| c.set_critical(AUTHORITY_KEY, 0xff),
            CertFault::Criticality("authority key identifier"),
        ),
        (
            "a critical subject key identifier",
            CLIENT,
            |c| c.set_critical(SUBJECT_KEY, 0xff),
            CertFault::Criticality("subject key identifier"),
        ),
        (
            "a critical extended usage",
            CLIENT,
            |c| c.set_critical(EXTENDED_USAGE, 0xff),
            CertFault::Criticality("extended key usage"),
        ),
        (
            "critical host names",
            BROKER,
            |c| c.set_critical(ALTERNATIVE_NAME, 0xff),
            CertFault::Criticality("alternative names"),
        ),
        (
            "an empty subject key identifier",
            CLIENT,
            |c| c.set_extension(SUBJECT_KEY, &[4, 0]),
            CertFault::SubjectKeyForm,
        ),
        (
            "bytes behind the subject key identifier",
            CLIENT,
            |c| c.set_extension(SUBJECT_KEY, &[4, 1, 1, 0]),
            CertFault::SubjectKeyForm,
        ),
        (
            "critical name constraints",
            CLIENT,
            |c| c.extensions().push(extension(NAME_CONSTRAINTS, Some(0xff), &[0x30, 0])),
            CertFault::NameConstraints,
        ),
        (
            "name constraints",
            CLIENT,
            |c| c.extensions().push(extension(NAME_CONSTRAINTS, None, &[0x30, 0])),
            CertFault::NameConstraints,
        ),
        (
            "more than 4,096 bytes",
            CLIENT,
            |c| c.extensions().push(extension(UNKNOWN, None, &[0; 3400])),
            CertFault::TooLarge,
        ),
    ]
}

pub fn usages() -> Vec<Mutant> {
    vec![
        (
            "no basic constraints",
            CLIENT,
            |c| c.remove_extension(BASIC_CONSTRAINTS),
            CertFault::NoBasicConstraints,
        ),
        ("CA:TRUE", CLIENT, |c| c.set_extension(BASIC_CONSTRAINTS, &[0x30, 3, 1, 1, 0xff]), CertFault::IsCa),
        (
            "CA:FALSE written out",
            CLIENT,
            |c| c.set_extension(BASIC_CONSTRAINTS, &[0x30, 3, 1, 1, 0]),
            CertFault::IsCa,
        ),
        (
            "a path length without a CA",
            CLIENT,
            |c| c.set_extension(BASIC_CONSTRAINTS, &[0x30, 3, 2, 1, 0]),
            CertFault::IsCa,
        ),
        (
            "bytes behind the constraints",
            CLIENT,
            |c| c.set_extension(BASIC_CONSTRAINTS, &[0x30, 0, 0]),
            CertFault::IsCa,
        ),
        ("no key usage", CLIENT, |c| c.remove_extension(KEY_USAGE), CertFault::NoKeyUsage),
        ("a key usage of no bits", CLIENT, |c| c.set_extension(KEY_USAGE, &[3, 1, 0]), CertFault::NoKeyUsage),
        (
            "a key usage with zeros at its end",
            CLIENT,
            |c| c.set_extension(KEY_USAGE, &[3, 2, 4, 0xa0]),
            CertFault::NoKeyUsage,
        ),
        (
            "bytes behind the key usage",
            CLIENT,
            |c| c.set_extension(KEY_USAGE, &[3, 2, 5, 0xa0, 0]),
            CertFault::NoKeyUsage,
        ),
        (
            "a key usage that is a number",
            CLIENT,
            |c| c.set_extension(KEY_USAGE, &[2, 1, 5]),
            CertFault::NoKeyUsage,
        ),
        (
            "keyEncipherment only",
            CLIENT,
            |c| c.set_extension(KEY_USAGE, &[3, 2, 5, 0x20]),
            CertFault::KeyUsageMissing,
        ),
        (
            "digitalSignature and keyCertSign",
            CLIENT,
            |c| c.set_extension(KEY_USAGE, &[3, 2, 2, 0x84]),
            CertFault::KeyUsageOfCa,
        ),
        (
            "digitalSignature and cRLSign",
            CLIENT,
            |c| c.set_extension(KEY_USAGE, &[3, 2, 1, 0x82]),
            CertFault::KeyUsageOfCa,
        ),
        ("no extended usage", CLIENT, |c| c.remove_extension(EXTENDED_USAGE), CertFault::WrongUsage),
        (
            "a broker's usage for a client",
            CLIENT,
            |c| c.set_extension(EXTENDED_USAGE, FOR_SERVERS),
            CertFault::WrongRole { expected: CLIENT },
        ),
        (
            "a client's usage for a broker",
            BROKER,
            |c| c.set_extension(EXTENDED_USAGE, FOR_CLIENTS),
            CertFault::WrongRole { expected: BROKER },
        ),
        (
            "both usages for a client",
            CLIENT,
            |c| {
                c.set_extension(EXTENDED_USAGE, &[&[0x30, 20], &FOR_SERVERS[2..], &FOR_CLIENTS[2..]].concat())
            },
            CertFault::WrongUsage,
        ),
        (
            "both usages for a broker",
            BROKER,
            |c| {
                c.set_extension(EXTENDED_USAGE, &[&[0x30, 20], &FOR_SERVERS[2..], &FOR_CLIENTS[2..]].concat())
            },
            CertFault::WrongUsage,
        ),
        (
            "any usage",
            BROKER,
            |c| c.set_extension(EXTENDED_USAGE, &[0x30, 6, 6, 4, 0x55, 0x1d, 0x25, 0]),
            CertFault::WrongUsage,
        ),
        (
            "code signing",
            CLIENT,
            |c| c.set_extension(EXTENDED_USAGE, &[&FOR_CLIENTS[..11], &[3]].concat()),
            CertFault::WrongUsage,
        ),
        (
            "an empty extended usage",
            CLIENT,
            |c| c.set_extension(EXTENDED_USAGE, &[0x30, 0]),
            CertFault::WrongUsage,
        ),
        (
            "bytes behind the extended usage",
            CLIENT,
            |c| c.set_extension(EXTENDED_USAGE, &[FOR_CLIENTS, &[0]].concat()),
            CertFault::WrongUsage,
        ),
    ]
}

pub fn hosts() -> Vec<Mutant> {
    vec![
        ("a broker without hosts", BROKER, |c| c.remove_extension(ALTERNATIVE_NAME), CertFault::NoHostName),
        (
            "an empty list of hosts",
            BROKER,
            |c| c.set_extension(ALTERNATIVE_NAME, &[0x30, 0]),
            CertFault::BadHostName,
        ),
        ("a wildcard", BROKER, |c| set_host(c, 0x82, b"*.lan"), CertFault::BadHostName),
        ("an empty host", BROKER, |c| set_host(c, 0x82, b""), CertFault::BadHostName),
        ("a dot at the end", BROKER, |c| set_host(c, 0x82, b"hub.lan."), CertFault::BadHostName),
        ("an underscore", BROKER, |c| set_host(c, 0x82, b"the_hub"), CertFault::BadHostName),
        ("a zero byte in a host", BROKER, |c| set_host(c, 0x82, b"hub.lan\0.evil"), CertFault::BadHostName),
        ("a host beyond ASCII", BROKER, |c| set_host(c, 0x82, "hüb".as_bytes()), CertFault::BadHostName),
        ("an address as a name", BROKER, |c| set_host(c, 0x82, b"127.0.0.1"), CertFault::BadHostName),
        (
            "an address of five bytes",
            BROKER,
            |c| set_host(c, 0x87, &[127, 0, 0, 0, 1]),
            CertFault::BadHostName,
        ),
        (
            "a range of addresses",
            BROKER,
            |c| set_host(c, 0x87, &[10, 0, 0, 0, 255, 0, 0, 0]),
            CertFault::BadHostName,
        ),
        ("a mail address", BROKER, |c| set_host(c, 0x81, b"hub@lan"), CertFault::BadHostName),
        ("a URI", BROKER, |c| set_host(c, 0x86, b"mq://hub"), CertFault::BadHostName),
        ("a client's bad host", CLIENT, |c| set_host(c, 0x82, b"*"), CertFault::BadHostName),
        (
            "bytes behind the hosts",
            BROKER,
            |c| c.set_extension(ALTERNATIVE_NAME, &[0x30, 3, 0x82, 1, b'a', 0]),
            CertFault::BadHostName,
        ),
    ]
}

fn set_host(certificate: &mut Signed, kind: u8, host: &[u8]) {
    let names = sequence(vec![Node::Leaf(kind, host.to_vec())]);
    certificate.set_extension(ALTERNATIVE_NAME, &names.to_der());
}

/// ExtKeyUsageSyntax of id-kp-serverAuth and id-kp-clientAuth.
const FOR_SERVERS: &[u8] = &[0x30, 0x0a, 0x06, 0x08, 0x2b, 6, 1, 5, 5, 7, 3, 1];
const FOR_CLIENTS: &[u8] = &[0x30, 0x0a, 0x06, 0x08, 0x2b, 6, 1, 5, 5, 7, 3, 2];
