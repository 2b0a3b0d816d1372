//! Certificates, revocation lists and requests: from bytes alone, and signed by the CA as they are.

use std::sync::LazyLock;

use rsa::pkcs1v15::SigningKey;
use rsa::pkcs8::DecodePrivateKey;
use rsa::signature::{SignatureEncoding, Signer};
use sealmq::crypto::cert::testing::Seeded;
use sealmq::crypto::cert::{Role, csr, pem};
use sealmq::crypto::key::PublicKey;
use sha2::Sha256;

use super::stage::{NOW, STAGE};

/// The certificates that the CA has issued, in this world.
fn issued() -> Vec<(Role, &'static [u8])> {
    let clients = [&STAGE.alice, &STAGE.bob, &STAGE.carol].map(|party| (Role::Client, party.1.der()));
    clients.into_iter().chain([(Role::Broker, STAGE.broker.1.der())]).collect()
}

/// Nothing is accepted but what the CA has issued, in its role; and the two ways of looking agree.
pub fn certificate(data: &[u8]) {
    for role in [Role::Client, Role::Broker] {
        let verified = STAGE.world.trust.verify(data, role, NOW);
        assert_eq!(verified.is_ok(), issued().contains(&(role, data)));
        let faults = STAGE.world.trust.faults(data, role, None, NOW);
        assert_eq!(verified.err().is_none(), faults.is_empty(), "{faults:?}");
        faults.iter().for_each(|fault| drop(fault.to_string()));
    }
    let _ = PublicKey::from_spki_der(data);
    let _ = sealmq::crypto::cert::Trust::from_der(data);
    if let Ok(text) = std::str::from_utf8(data) {
        let _ = (pem::certificate_from_pem(text), pem::crl_from_pem(text), pem::request_from_pem(text));
    }
}

pub fn seeds() -> Vec<Vec<u8>> {
    let alice = STAGE.alice.1.der();
    let mut seeds: Vec<Vec<u8>> = issued().into_iter().map(|(_, der)| der.to_vec()).collect();
    seeds.push(STAGE.world.ca_cert_der.clone());
    seeds.push(STAGE.alice.1.public_key().to_spki_der());
    seeds.push(pem::certificate_to_pem(alice).into_bytes());
    seeds.push(pem::crl_to_pem(&STAGE.world.crl(&[], 1)).into_bytes());
    seeds
}

/// What is to be signed, with a good signature of the CA: past that check, the profile is alone.
pub fn signed(data: &[u8]) {
    static CA: LazyLock<SigningKey<Sha256>> = LazyLock::new(|| {
        let key = rsa::RsaPrivateKey::from_pkcs8_pem(&STAGE.world.ca_key.to_pem()).expect("our own PEM");
        SigningKey::new(key)
    });
    if data.len() > 5000 {
        return;
    }
    let signature = [&[0], &CA.sign(data).to_vec()[..]].concat();
    let der = sequence(&[data, SHA256_WITH_RSA, &element(0x03, &signature)].concat());
    for role in [Role::Client, Role::Broker] {
        let faults = STAGE.world.trust.faults(&der, role, Some("localhost"), NOW);
        faults.iter().for_each(|fault| drop(fault.to_string()));
        // What is accepted is whole: all that a session asks of it is there.
        if let Ok(certificate) = STAGE.world.trust.verify(&der, role, NOW) {
            assert_eq!((certificate.der(), certificate.role()), (&der[..], role));
            assert!(certificate.not_before() < certificate.not_after());
            assert!(STAGE.world.trust.verify(&der, role.other(), NOW).is_err(), "one role, not both");
            assert!(!faults.iter().any(|fault| !matches!(fault, sealmq::crypto::cert::CertFault::WrongName)));
        }
    }
    let mut trust = STAGE.world.trust.clone();
    if trust.update_crl(&der, NOW).is_ok() {
        assert!(trust.crl_number().is_some());
    }
}

pub fn signed_seeds() -> Vec<Vec<u8>> {
    let lists = [STAGE.world.crl(&[], 1), STAGE.world.crl(&[*STAGE.bob.1.serial()], 2)];
    let certificates = issued().into_iter().map(|(_, der)| der.to_vec());
    certificates.chain(lists).map(|der| first_inside(&der).to_vec()).collect()
}

/// No list is taken but what the CA has signed.
pub fn crl(data: &[u8]) {
    let mut trust = STAGE.world.trust.clone();
    let before = trust.crl_number();
    match trust.update_crl(data, NOW) {
        Ok(_) => assert!(lists().iter().any(|list| list == data), "a list that nobody signed"),
        Err(fault) => {
            assert_eq!(trust.crl_number(), before, "{fault}");
            assert!(trust.crl_der().is_none());
        }
    }
}

fn lists() -> &'static [Vec<u8>] {
    static LISTS: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
        let serials = [*STAGE.bob.1.serial(), *STAGE.carol.1.serial()];
        (0..=2).map(|n| STAGE.world.crl(&serials[..n], n as u64 + 1)).collect()
    });
    &LISTS
}

pub fn crl_seeds() -> Vec<Vec<u8>> {
    lists().to_vec()
}

/// No request is taken but what its own key has signed.
pub fn request(data: &[u8]) {
    match csr::read(data) {
        Ok(_) => assert!(requests().iter().any(|request| request == data), "a request that nobody signed"),
        Err(fault) => drop(fault.to_string()),
    }
}

fn requests() -> &'static [Vec<u8>] {
    static REQUESTS: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
        let make = |(key, certificate): &super::stage::Party| {
            csr::make(key, certificate.name(), &mut Seeded::new(1)).expect("a good request")
        };
        vec![make(&STAGE.alice), make(&STAGE.bob)]
    });
    &REQUESTS
}

pub fn request_seeds() -> Vec<Vec<u8>> {
    requests().to_vec()
}

/// sha256WithRSAEncryption, with its NULL.
const SHA256_WITH_RSA: &[u8] = &[0x30, 13, 6, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 13, 1, 1, 11, 5, 0];

fn sequence(content: &[u8]) -> Vec<u8> {
    element(0x30, content)
}

fn element(tag: u8, content: &[u8]) -> Vec<u8> {
    let len = content.len();
    let mut out = match len {
        0..0x80 => vec![tag, len as u8],
        0x80..0x100 => vec![tag, 0x81, len as u8],
        _ => vec![tag, 0x82, (len >> 8) as u8, len as u8],
    };
    out.extend_from_slice(content);
    out
}

/// The first element inside of an element.
fn first_inside(der: &[u8]) -> &[u8] {
    let inner = &der[header(der).0..];
    let (header, content) = header(inner);
    &inner[..header + content]
}

/// How long the tag and length of an element are, and how long its content.
fn header(der: &[u8]) -> (usize, usize) {
    match der[1] {
        0x81 => (3, der[2].into()),
        0x82 => (4, usize::from(der[2]) * 256 + usize::from(der[3])),
        short => (2, short.into()),
    }
}
