//! What a client keeps for itself on a disk, sealed: who has the files but not the private key reads nothing.
//!
//! A chest has a random key. Its lock, kept with it, is that key in an envelope for the owner's own RSA key. What
//! is put in is a Fernet token each.

use zeroize::Zeroizing;

use crate::base::entropy::random_array;
use crate::base::{Entropy, Wall};
use crate::crypto::envelope;
use crate::crypto::fernet::{OpeningKey, SealingKey};
use crate::crypto::key::{PrivateKey, PublicKey};
use crate::crypto::secret::Secret32;
use crate::crypto::sign::RsaFault;

/// A key for things of one's own.
pub struct Chest {
    sealing: SealingKey,
    opening: OpeningKey,
}

/// The lock is not of this identity, or damaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoChest;

/// This is not what was put in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spoilt;

const LABEL: &[u8] = b"sealmq/1 own files";

impl Chest {
    pub(super) fn make(owner: &PublicKey, entropy: &mut dyn Entropy) -> Result<(Chest, Vec<u8>), RsaFault> {
        let key = Secret32::random(entropy);
        let lock = envelope::seal(owner, LABEL, &key, entropy)?;
        Ok((Chest::new(&key), lock))
    }

    pub(super) fn open(owner: &PrivateKey, lock: &[u8], entropy: &mut dyn Entropy) -> Result<Chest, NoChest> {
        let key = envelope::open(owner, LABEL, lock, entropy).map_err(|_| NoChest)?;
        Ok(Chest::new(&key))
    }

    fn new(key: &Secret32) -> Chest {
        Chest { sealing: SealingKey::new(key), opening: OpeningKey::new(key) }
    }

    pub fn seal(&self, plain: &[u8], now: Wall, entropy: &mut dyn Entropy) -> Vec<u8> {
        self.sealing.seal_to_vec(plain, now.secs(), &random_array(entropy))
    }

    pub fn unseal(&self, token: &[u8]) -> Result<Zeroizing<Vec<u8>>, Spoilt> {
        let mut token = Zeroizing::new(token.to_vec());
        let plain = self.opening.open(&mut token).map_err(|_| Spoilt)?;
        Ok(Zeroizing::new(plain.to_vec()))
    }

    #[cfg(test)]
    pub fn of_tests() -> Chest {
        Chest::new(&Secret32::new([3; 32]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::cert::testing::{NOON, Seeded, key};

    #[test]
    fn what_is_put_in_comes_out_for_the_owner_alone() {
        let (bob, mut entropy) = (key("bob"), Seeded::new(1));
        let (chest, lock) = Chest::make(&bob.public(), &mut entropy).expect("a sound machine");
        let token = chest.seal(b"mine", NOON, &mut entropy);
        assert!(!token.windows(4).any(|w| w == b"mine"));
        let again = Chest::open(&bob, &lock, &mut entropy).expect("his own");
        assert_eq!(again.unseal(&token).expect("whole").as_slice(), b"mine");
        assert_eq!(Chest::open(&key("alice"), &lock, &mut entropy).err(), Some(NoChest));
        assert_eq!(Chest::open(&bob, &lock[1..], &mut entropy).err(), Some(NoChest));
        for i in 0..token.len() {
            let mut bad = token.clone();
            bad[i] ^= 1;
            assert!(again.unseal(&bad).is_err(), "byte {i}");
        }
    }
}
