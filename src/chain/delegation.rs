//! Delegations: a client's certified key hands the signing of messages to a fast key of its own,
//! for one publisher id and a limited time.

use std::fmt;
use std::time::Duration;

use crate::base::ids::{Fingerprint, PublisherId};
use crate::base::limits::RSA_BYTES_MAX;
use crate::base::{Entropy, Wall};
use crate::crypto::digest::sha256;
use crate::crypto::ed25519::MessageKey;
use crate::crypto::key::{PrivateKey, PublicKey};
use crate::crypto::sign::{Context, RsaFault, sign_pss, verify_pss};
use crate::wire::field::Field;
use crate::wire::{Reader, WireError, Writer};

/// A delegation under the largest key.
pub const DELEGATION_BYTES_MAX: usize = 1 + 32 + 16 + 32 + 8 + 8 + 2 + RSA_BYTES_MAX;

/// Who lets which key sign the messages of which publisher id, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delegation {
    pub sender: Fingerprint,
    pub publisher: PublisherId,
    pub key: MessageKey,
    /// By the sender's clock.
    pub not_before: Wall,
    pub not_after: Wall,
}

/// Why a delegation is not believed. Prints as a sentence's predicate: "the delegation ...".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DelegationFault {
    Malformed(WireError),
    /// Its key is none under which signatures mean anything.
    WeakKey,
    /// It is somebody else's.
    OtherSender,
    /// It is for another publisher id.
    OtherPublisher,
    Signature,
}

/// How far the broker's time of a message may lie outside the delegation's: clocks differ, and a
/// message may wait for its broker.
pub const DELEGATION_SKEW: Duration = Duration::from_secs(24 * 3600);

impl Delegation {
    /// Signs with the sender's key. Draws what the signature takes.
    pub fn sign(&self, key: &PrivateKey, entropy: &mut dyn Entropy) -> Result<Vec<u8>, RsaFault> {
        let mut out = Vec::with_capacity(DELEGATION_BYTES_MAX);
        let mut w = Writer::new(&mut out);
        w.u8(VERSION);
        self.sender.put(&mut w);
        self.publisher.put(&mut w);
        w.bytes(&self.key.to_bytes());
        self.not_before.put(&mut w);
        self.not_after.put(&mut w);
        let signature = sign_pss(key, Context::Delegation, &sha256(&out), entropy)?;
        Writer::new(&mut out).bytes16(&signature);
        Ok(out)
    }

    /// What a delegation says, without a look at its signature: for a first judgement that costs nothing.
    pub fn parse(bytes: &[u8]) -> Result<Delegation, DelegationFault> {
        Delegation::split(bytes).map(|(delegation, ..)| delegation)
    }

    /// What a delegation says, if `sender` signed it for `publisher`. One RSA verification.
    pub fn verify(
        bytes: &[u8],
        sender: &PublicKey,
        publisher: PublisherId,
    ) -> Result<Delegation, DelegationFault> {
        let (delegation, signed, signature) = Delegation::split(bytes)?;
        if delegation.sender != sender.fingerprint() {
            return Err(DelegationFault::OtherSender);
        }
        if delegation.publisher != publisher {
            return Err(DelegationFault::OtherPublisher);
        }
        verify_pss(sender, Context::Delegation, &sha256(signed), signature)
            .map_err(|_| DelegationFault::Signature)?;
        Ok(delegation)
    }

    /// Whether a message that the broker received at `time` may be under it.
    pub fn covers(&self, time: Wall) -> bool {
        time + DELEGATION_SKEW >= self.not_before && time <= self.not_after + DELEGATION_SKEW
    }

    fn split(bytes: &[u8]) -> Result<(Delegation, &[u8], &[u8]), DelegationFault> {
        let mut r = Reader::new(bytes);
        if r.u8()? != VERSION {
            return Err(WireError::BadValue("delegation version").into());
        }
        let (sender, publisher) = (Field::take(&mut r)?, Field::take(&mut r)?);
        let key = r.array()?;
        let (not_before, not_after) = (Field::take(&mut r)?, Field::take(&mut r)?);
        let signed = &bytes[..bytes.len() - r.remaining()];
        let signature = r.bytes16()?;
        r.finish()?;
        let key = MessageKey::from_bytes(&key).ok_or(DelegationFault::WeakKey)?;
        Ok((Delegation { sender, publisher, key, not_before, not_after }, signed, signature))
    }
}

impl From<WireError> for DelegationFault {
    fn from(error: WireError) -> DelegationFault {
        DelegationFault::Malformed(error)
    }
}

impl fmt::Display for DelegationFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DelegationFault::Malformed(error) => write!(f, "{error}"),
            DelegationFault::WeakKey => write!(f, "hands signing to a key that proves nothing"),
            DelegationFault::OtherSender => write!(f, "is somebody else's"),
            DelegationFault::OtherPublisher => write!(f, "is for another publisher id"),
            DelegationFault::Signature => write!(f, "is not signed by its sender"),
        }
    }
}

const VERSION: u8 = 1;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::cert::testing::{Seeded, key};
    use crate::crypto::ed25519::MessageSigner;

    const ID: PublisherId = PublisherId([3; 16]);
    const DAY: u64 = 86_400_000;

    fn delegation() -> Delegation {
        Delegation {
            sender: key("alice").public().fingerprint(),
            publisher: ID,
            key: MessageSigner::generate(&mut Seeded::new(1)).public(),
            not_before: Wall(10 * DAY),
            not_after: Wall(17 * DAY),
        }
    }

    fn signed() -> Vec<u8> {
        delegation().sign(&key("alice"), &mut Seeded::new(2)).expect("a sound machine")
    }

    #[test]
    fn it_is_good_for_its_sender_and_publisher_alone() {
        let (bytes, alice) = (signed(), key("alice").public());
        assert!(bytes.len() <= DELEGATION_BYTES_MAX);
        assert_eq!(Delegation::verify(&bytes, &alice, ID), Ok(delegation()));
        let bob = key("bob").public();
        assert_eq!(Delegation::verify(&bytes, &bob, ID), Err(DelegationFault::OtherSender));
        let other = PublisherId([4; 16]);
        assert_eq!(Delegation::verify(&bytes, &alice, other), Err(DelegationFault::OtherPublisher));
        let forged = delegation().sign(&key("bob"), &mut Seeded::new(2)).expect("a sound machine");
        assert_eq!(Delegation::verify(&forged, &alice, ID), Err(DelegationFault::Signature));
    }

    #[test]
    fn no_byte_of_it_may_change() {
        let (bytes, alice) = (signed(), key("alice").public());
        for i in 0..bytes.len() {
            let mut bad = bytes.clone();
            bad[i] ^= 1;
            assert!(Delegation::verify(&bad, &alice, ID).is_err(), "byte {i}");
            assert!(Delegation::verify(&bytes[..i], &alice, ID).is_err(), "{i} bytes");
        }
    }

    #[test]
    fn its_time_is_judged_with_a_day_to_spare() {
        let covers = |day: u64| delegation().covers(Wall(day * DAY));
        assert_eq!([8, 9, 10, 17, 18, 19].map(covers), [false, true, true, true, true, false]);
    }
}
