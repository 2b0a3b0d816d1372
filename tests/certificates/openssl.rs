//! What OpenSSL says of our certificates, where it is installed.

use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use sealmq::crypto::cert::crl::Revocation;
use sealmq::crypto::cert::issue::Issuer;
use sealmq::crypto::cert::testing::{self, NOON, Seeded};
use sealmq::crypto::cert::{csr, pem};
use sealmq::crypto::key::PrivateKey;

use crate::mutants::CLIENT;

/// Runs openssl in `folder`; none if there is no such program.
fn openssl(folder: &Path, arguments: &str) -> Option<Output> {
    let run = Command::new("openssl").current_dir(folder).args(arguments.split(' ')).output();
    if run.is_err() {
        eprintln!("SKIPPED: openssl is not installed, so its view of our certificates was not asked for");
    }
    run.ok()
}

fn write(folder: &Path, name: &str, text: &str) {
    std::fs::write(folder.join(name), text).expect("a scratch file");
}

#[test]
fn openssl_verifies_what_we_issue() {
    let (world, folder) = (testing::world(), tempfile::tempdir().expect("a scratch folder"));
    let folder = folder.path();
    let (alice, bob) = (world.client("alice").1, world.client("bob").1);
    let issuer = Issuer::new(&world.ca_key, &world.ca_cert_der).expect("the CA");
    let revoked = Revocation { serial: *world.verified(&bob, CLIENT).serial(), at: NOON };
    let next = NOON + Duration::from_secs(86_400);
    let list = issuer.crl(1, &[revoked], NOON, next, &mut Seeded::new(1)).expect("a list");
    for (name, der) in
        [("ca", &world.ca_cert_der), ("broker", &world.broker.1), ("alice", &alice), ("bob", &bob)]
    {
        write(folder, &format!("{name}.crt"), &pem::certificate_to_pem(der));
    }
    write(folder, "ca.crl", &pem::crl_to_pem(&list));

    let verify = |purpose: &str, who: &str| {
        let strict = "verify -x509_strict -check_ss_sig -CAfile ca.crt -CRLfile ca.crl -crl_check";
        openssl(folder, &format!("{strict} -attime {} -purpose {purpose} {who}.crt", NOON.secs()))
    };
    for (purpose, who, good) in [
        ("sslclient", "alice", true),
        ("sslserver", "broker", true),
        ("sslserver", "alice", false),
        ("sslclient", "broker", false),
        ("sslclient", "bob", false),
    ] {
        let Some(output) = verify(purpose, who) else { return };
        assert_eq!(output.status.success(), good, "{who} as {purpose}: {output:?}");
    }
}

#[test]
fn openssl_and_we_take_each_others_requests() {
    let folder = tempfile::tempdir().expect("a scratch folder");
    let folder = folder.path();
    let made = csr::make(&testing::key("alice"), &testing::name("alice"), &mut Seeded::new(1));
    write(folder, "alice.csr", &pem::request_to_pem(&made.expect("a request")));
    write(folder, "bob.key", &testing::key("bob").to_pem());
    let Some(output) = openssl(folder, "req -in alice.csr -noout -verify") else { return };
    assert!(output.status.success(), "{output:?}");

    let new = "req -new -key bob.key -subj /O=Firm/CN=anything -addext subjectAltName=DNS:evil -out bob.csr";
    let output = openssl(folder, new).expect("it ran before");
    assert!(output.status.success(), "{output:?}");
    let text = std::fs::read_to_string(folder.join("bob.csr")).expect("openssl wrote it");
    let der = pem::request_from_pem(&text).expect("PEM of openssl");
    let key = csr::read(&der).expect("a request of openssl");
    assert_eq!(key.fingerprint(), testing::key("bob").public().fingerprint());
}

#[test]
fn openssl_reads_our_keys_and_we_its() {
    let folder = tempfile::tempdir().expect("a scratch folder");
    let folder = folder.path();
    let key = PrivateKey::generate(2048, &mut Seeded::new(7)).expect("a key");
    write(folder, "our.key", &key.to_pem());
    let Some(output) = openssl(folder, "pkey -in our.key -check -noout") else { return };
    assert!(output.status.success(), "{output:?}");
    let output = openssl(folder, "genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out its.key");
    assert!(output.expect("it ran before").status.success());
    let text = std::fs::read_to_string(folder.join("its.key")).expect("openssl wrote it");
    assert_eq!(PrivateKey::from_pem(&text).expect("a key of openssl").public().bits(), 2048);
}
