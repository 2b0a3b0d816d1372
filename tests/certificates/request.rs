//! Certificate requests: only a key that signed its own request is taken.

use sealmq::crypto::cert::csr::{self, RequestFault};
use sealmq::crypto::cert::testing::{self, Seeded};
use sealmq::crypto::cert::{CertFault, pem};

use crate::editor::*;

fn request() -> Vec<u8> {
    csr::make(&testing::key("alice"), &testing::name("alice"), &mut Seeded::new(1)).expect("a request")
}

#[test]
fn a_request_carries_a_key_and_its_proof() {
    let key = csr::read(&request()).expect("a good request");
    assert_eq!(key.fingerprint(), testing::key("alice").public().fingerprint());
    let pem = pem::request_to_pem(&request());
    assert_eq!(pem::request_from_pem(&pem), Some(request()));
}

#[test]
fn requests_that_are_refused() {
    let alice = testing::key("alice");
    let bobs_key = Node::parse(&testing::key("bob").public().to_spki_der());
    let mut others = Signed::parse(&request());
    *others.tbs.at(&[2]) = bobs_key;
    assert_eq!(csr::read(&others.sign(&alice)).err(), Some(RequestFault::BadSignature));

    let mut weak = Signed::parse(&request());
    *weak.tbs.at(&[2]) = rsa_key(&[0x7f; 128], &[1, 0, 1]);
    let fault = csr::read(&weak.sign(&alice)).expect_err("a weak key");
    assert_eq!(fault, RequestFault::Key(CertFault::KeySize { bits: 1023 }));
    assert_eq!(fault.to_string(), "the request has a key of 1023 bits; 2048 to 4096 are accepted");

    let mut sha1 = Signed::parse(&request());
    sha1.outer_algorithm = sequence(vec![oid(SHA1_WITH_RSA), null()]);
    assert_eq!(csr::read(&sha1.sign(&alice)).err(), Some(RequestFault::SignatureAlgorithm));

    let trailing = [&request()[..], &[0]].concat();
    assert!(matches!(csr::read(&trailing), Err(RequestFault::Malformed(_))));
    assert!(matches!(csr::read(&[0x30; 9000]), Err(RequestFault::Malformed(_))));
    for place in 0..request().len() {
        let mut changed = request();
        changed[place] ^= 1;
        assert!(csr::read(&changed).is_err(), "byte {place}");
    }
}

/// The signature does not cover the outermost tag, so that it has to be looked at.
#[test]
fn a_request_under_another_outer_tag_is_refused() {
    for tag in (0..=255).filter(|tag| *tag != 0x30) {
        let mut other = request();
        other[0] = tag;
        assert!(matches!(csr::read(&other), Err(RequestFault::Malformed(_))), "{tag:#x}");
    }
}
