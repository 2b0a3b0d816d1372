//! Topic keys: the only place that holds them.
//!
//! A key gets in through a wrap that a verified record names, or through the token that a
//! newer epoch carries of the one before; the record's commitment decides. It leaves only
//! as a wrap for a member, and as the key of bodies.

use std::collections::BTreeMap;

use subtle::ConstantTimeEq;

use super::body::BodyKey;
use super::failure::IntegrityFault;
use crate::base::ids::{Epoch, TopicId};
use crate::base::{Entropy, Wall};
use crate::chain::{BODY_LABEL, COMMITMENT_LABEL, PREVIOUS_EPOCH_LABEL, epoch_salt, wrap_label};
use crate::crypto::digest::sha256;
use crate::crypto::envelope;
use crate::crypto::fernet::{IV_BYTES, OpeningKey, SealingKey};
use crate::crypto::kdf::kdf;
use crate::crypto::key::{PrivateKey, PublicKey};
use crate::crypto::secret::Secret32;
use crate::crypto::sign::RsaFault;

/// One topic's keys, by epoch.
#[derive(Default)]
pub struct Keyring {
    keys: BTreeMap<Epoch, EpochKey>,
}

/// One epoch's key.
pub struct EpochKey {
    topic: TopicId,
    epoch: Epoch,
    secret: Secret32,
    body: BodyKey,
}

/// What a verified record says of an epoch's key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Commitment {
    pub topic: TopicId,
    pub epoch: Epoch,
    pub commitment: [u8; 32],
}

impl Keyring {
    /// The key of an epoch's bodies.
    pub fn body_key(&self, epoch: Epoch) -> Option<&BodyKey> {
        self.keys.get(&epoch).map(|key| &key.body)
    }

    /// An epoch's key, to be handed on.
    pub fn get(&self, epoch: Epoch) -> Option<&EpochKey> {
        self.keys.get(&epoch)
    }

    pub fn has(&self, epoch: Epoch) -> bool {
        self.keys.contains_key(&epoch)
    }

    pub fn insert(&mut self, key: EpochKey) {
        self.keys.insert(key.epoch, key);
    }

    /// Takes in the key before `newer` from the token that the record of `newer` carries.
    pub fn open_previous(
        &mut self,
        newer: Epoch,
        token: &[u8],
        previous: &Commitment,
    ) -> Result<(), IntegrityFault> {
        let Some(holder) = self.keys.get(&newer) else { return Ok(()) };
        let key = holder.open_previous(token, previous)?;
        self.insert(key);
        Ok(())
    }

    /// The keys themselves, for tests that search a broker's memory for them. Nothing else may
    /// have them, and no build but that of tests has this.
    #[cfg(any(test, feature = "testing"))]
    pub fn secrets(&self) -> impl Iterator<Item = (TopicId, Epoch, &Secret32)> {
        self.keys.values().map(|key| (key.topic, key.epoch, &key.secret))
    }
}

impl EpochKey {
    /// A new key.
    pub fn random(topic: TopicId, epoch: Epoch, entropy: &mut dyn Entropy) -> EpochKey {
        EpochKey::new(topic, epoch, Secret32::random(entropy))
    }

    pub fn new(topic: TopicId, epoch: Epoch, secret: Secret32) -> EpochKey {
        let body = BodyKey::new(&kdf(secret.expose(), &epoch_salt(topic, epoch), BODY_LABEL));
        EpochKey { topic, epoch, secret, body }
    }

    /// What a record says of this key, so that all members know they have the same one.
    pub fn commitment(&self) -> [u8; 32] {
        *kdf(self.secret.expose(), &epoch_salt(self.topic, self.epoch), COMMITMENT_LABEL).expose()
    }

    /// The key for one member.
    pub fn wrap(&self, member: &PublicKey, entropy: &mut dyn Entropy) -> Result<Vec<u8>, RsaFault> {
        let label = wrap_label(self.topic, self.epoch, member.fingerprint());
        envelope::seal(member, &label, &self.secret, entropy)
    }

    /// The key of the epoch before, sealed under this one's for those who may read on back.
    pub fn seal_previous(&self, previous: &EpochKey, now: Wall, iv: &[u8; IV_BYTES]) -> Vec<u8> {
        let key = kdf(self.secret.expose(), &epoch_salt(self.topic, self.epoch), PREVIOUS_EPOCH_LABEL);
        SealingKey::new(&key).seal_to_vec(previous.secret.expose(), now.secs(), iv)
    }

    /// Opens the wrap that came with a record: it must be the one that the record names, then open
    /// with our key, then hold what the record commits to. In this order, so that nothing is
    /// decrypted that no member's record has named.
    pub fn unwrap(
        said: &Commitment,
        wrap: &[u8],
        named: &[u8; 32],
        key: &PrivateKey,
        entropy: &mut dyn Entropy,
    ) -> Result<EpochKey, IntegrityFault> {
        if sha256(wrap) != *named {
            return Err(IntegrityFault::WrongWrap);
        }
        let label = wrap_label(said.topic, said.epoch, key.public().fingerprint());
        let secret = envelope::open(key, &label, wrap, entropy).map_err(|_| IntegrityFault::BadWrap)?;
        EpochKey::committed(said, secret)
    }

    fn open_previous(&self, token: &[u8], previous: &Commitment) -> Result<EpochKey, IntegrityFault> {
        let key = kdf(self.secret.expose(), &epoch_salt(self.topic, self.epoch), PREVIOUS_EPOCH_LABEL);
        let mut token = zeroize::Zeroizing::new(token.to_vec());
        let plain = OpeningKey::new(&key).open(&mut token).map_err(|_| IntegrityFault::BadWrap)?;
        let secret = Secret32::from_slice(plain).ok_or(IntegrityFault::BadWrap)?;
        EpochKey::committed(previous, secret)
    }

    fn committed(said: &Commitment, secret: Secret32) -> Result<EpochKey, IntegrityFault> {
        let key = EpochKey::new(said.topic, said.epoch, secret);
        let same: bool = key.commitment().ct_eq(&said.commitment).into();
        if same { Ok(key) } else { Err(IntegrityFault::WrongKey) }
    }
}

#[cfg(test)]
mod tests {
    use super::super::body::Place;
    use super::*;
    use crate::base::ids::{Counter, PublisherId, RecordHash};
    use crate::base::time::Wall;
    use crate::crypto::cert::testing::{Seeded, key};
    use crate::crypto::ed25519::MessageSigner;

    const TOPIC: TopicId = TopicId([1; 32]);

    fn said(key: &EpochKey) -> Commitment {
        Commitment { topic: key.topic, epoch: key.epoch, commitment: key.commitment() }
    }

    #[test]
    fn a_wrap_opens_for_its_member_topic_and_epoch_alone() {
        let mut e = Seeded::new(1);
        let (alice, bob) = (key("alice"), key("bob"));
        let epoch_key = EpochKey::random(TOPIC, Epoch(3), &mut e);
        let wrap = epoch_key.wrap(&alice.public(), &mut e).expect("a sound machine");
        let (said, named) = (said(&epoch_key), sha256(&wrap));
        let opened = EpochKey::unwrap(&said, &wrap, &named, &alice, &mut e).expect("our own wrap");
        assert_eq!(opened.commitment(), epoch_key.commitment());

        let mut fault = |said: &Commitment, wrap: &[u8], named: &[u8; 32], who: &PrivateKey| {
            EpochKey::unwrap(said, wrap, named, who, &mut e).err()
        };
        assert_eq!(fault(&said, &wrap, &named, &bob), Some(IntegrityFault::BadWrap));
        let elsewhere = Commitment { topic: TopicId([2; 32]), ..said };
        assert_eq!(fault(&elsewhere, &wrap, &named, &alice), Some(IntegrityFault::BadWrap));
        let later = Commitment { epoch: Epoch(4), ..said };
        assert_eq!(fault(&later, &wrap, &named, &alice), Some(IntegrityFault::BadWrap));
        let other = Commitment { commitment: [0; 32], ..said };
        assert_eq!(fault(&other, &wrap, &named, &alice), Some(IntegrityFault::WrongKey));
        assert_eq!(fault(&said, &wrap, &[0; 32], &alice), Some(IntegrityFault::WrongWrap));
        for i in [0, 100, wrap.len() - 1] {
            let mut bad = wrap.clone();
            bad[i] ^= 1;
            assert_eq!(fault(&said, &bad, &named, &alice), Some(IntegrityFault::WrongWrap));
            assert_eq!(fault(&said, &bad, &sha256(&bad), &alice), Some(IntegrityFault::BadWrap));
        }
        assert_eq!(fault(&said, &[], &named, &alice), Some(IntegrityFault::WrongWrap));
    }

    #[test]
    fn a_new_epoch_carries_the_key_before_it() {
        let mut e = Seeded::new(2);
        let old = EpochKey::random(TOPIC, Epoch(0), &mut e);
        let new = EpochKey::random(TOPIC, Epoch(1), &mut e);
        let signer = MessageSigner::generate(&mut e);
        let carrier = kdf(new.secret.expose(), &epoch_salt(TOPIC, Epoch(1)), "previous epoch");
        let token = SealingKey::new(&carrier).seal_to_vec(old.secret.expose(), 5, &[9; 16]);
        let (old_said, place) = (said(&old), place());
        let body = old.body.seal(&place, b"from before", &signer, Wall(0));

        let mut ring = Keyring::default();
        assert_eq!(ring.open_previous(Epoch(1), &token, &old_said), Ok(()));
        assert!(!ring.has(Epoch(0)), "who has not the new key gets no older one");
        ring.insert(new);
        let mut bad = token.clone();
        bad[30] ^= 1;
        assert_eq!(ring.open_previous(Epoch(1), &bad, &old_said), Err(IntegrityFault::BadWrap));
        let other = Commitment { commitment: [7; 32], ..old_said };
        assert_eq!(ring.open_previous(Epoch(1), &token, &other), Err(IntegrityFault::WrongKey));
        assert!(!ring.has(Epoch(0)));
        assert_eq!(ring.open_previous(Epoch(1), &token, &old_said), Ok(()));
        let key = ring.body_key(Epoch(0)).expect("it was taken in");
        assert_eq!(key.open(&place, &body, &signer.public()).as_deref(), Ok(&b"from before"[..]));
    }

    #[test]
    fn commitment_body_and_carrier_are_keys_of_their_own() {
        let key = EpochKey::new(TOPIC, Epoch(0), Secret32::new([5; 32]));
        let salt = epoch_salt(TOPIC, Epoch(0));
        let derived = ["commitment", "body", "previous epoch"].map(|l| *kdf(&[5; 32], &salt, l).expose());
        assert_eq!(key.commitment(), derived[0]);
        assert!(derived[0] != derived[1] && derived[1] != derived[2] && derived[0] != derived[2]);
        let signer = MessageSigner::generate(&mut Seeded::new(3));
        let body = BodyKey::new(&Secret32::new(derived[1])).seal(&place(), b"x", &signer, Wall(0));
        assert!(key.body.open(&place(), &body, &signer.public()).is_ok());
        let next = EpochKey::new(TOPIC, Epoch(1), Secret32::new([5; 32]));
        assert_eq!(next.body.open(&place(), &body, &signer.public()), Err(IntegrityFault::BadBody));
        assert_ne!(next.commitment(), key.commitment());
    }

    fn place() -> Place {
        Place {
            topic: TOPIC,
            epoch_record: RecordHash([2; 32]),
            publisher: PublisherId([3; 16]),
            counter: Counter(4),
        }
    }
}
