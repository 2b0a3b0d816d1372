//! Message bodies: signed and sealed, opened and verified. The `fernet` crate does the sealing, and
//! nothing else uses it.
//!
//! The crate speaks base64; the wire and the disk hold a body as binary, so base64 stays at
//! the crate's edge. Two traps of its version 0.2.2 are kept out here. `decrypt_with_ttl`
//! adds to the timestamp before the MAC is checked, which overflows; and `decrypt` refuses
//! what comes from a clock ahead of ours. So the one call is `decrypt_at_time` without a
//! lifetime, at a time before which every timestamp lies.

use base64ct::{Base64Url, Encoding};
use fernet::Fernet;
use zeroize::Zeroizing;

use super::failure::IntegrityFault;
use crate::base::Wall;
use crate::base::ids::{Counter, PublisherId, RecordHash, TopicId};
use crate::crypto::digest::sha256;
use crate::crypto::ed25519::{MessageKey, MessageSigner};
use crate::crypto::secret::Secret32;
use crate::wire::body::Sealed;

/// The key of one epoch's bodies. Wiped when dropped.
pub struct BodyKey(Fernet);

/// Where a message stands, as sealed inside its body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    pub topic: TopicId,
    /// The record that started the epoch.
    pub epoch_record: RecordHash,
    pub publisher: PublisherId,
    pub counter: Counter,
}

/// The crate adds a minute of its own to this, so it is the latest time that does not overflow.
const END_OF_TIME: u64 = u64::MAX - 60;

impl BodyKey {
    /// The first 16 bytes of `key` sign, the last 16 encrypt.
    pub fn new(key: &Secret32) -> BodyKey {
        let text = Zeroizing::new(Base64Url::encode_string(key.expose()));
        BodyKey(Fernet::new(&text).expect("32 bytes in base64 are a key"))
    }

    /// Signs `content` and seals it to its place; `now` becomes the token's timestamp, which nobody judges.
    pub fn seal(&self, place: &Place, content: &[u8], signer: &MessageSigner, now: Wall) -> Vec<u8> {
        let Place { topic, epoch_record, publisher, counter } = *place;
        let sealed = Sealed { topic, epoch_record, publisher, counter, content };
        let mut plain = Zeroizing::new(Vec::with_capacity(content.len() + Sealed::OVERHEAD_BYTES));
        sealed.encode_signed_part(&mut plain);
        let signature = signer.sign(&sha256(&plain));
        plain.extend_from_slice(&signature);
        let token = self.0.encrypt_at_time(&plain, now.secs());
        Base64Url::decode_vec(&token).expect("the crate writes base64")
    }

    /// Opens a body that came as the message at `place`, from the holder of `key`.
    pub fn open(&self, place: &Place, body: &[u8], key: &MessageKey) -> Result<Vec<u8>, IntegrityFault> {
        let token = Base64Url::encode_string(body);
        let plain = self.0.decrypt_at_time(&token, None, END_OF_TIME).map_err(|_| IntegrityFault::BadBody)?;
        let plain = Zeroizing::new(plain);
        if Sealed::is_unsigned(&plain) {
            return Err(IntegrityFault::UnsignedBody);
        }
        let (sealed, signed) = Sealed::decode(&plain).map_err(|_| IntegrityFault::UnknownBody)?;
        // Any member can seal; where it was sealed for is told before who did not do it.
        place.check(&sealed)?;
        key.verify(&sha256(signed.part), signed.signature).map_err(|_| IntegrityFault::BadSignature)?;
        Ok(sealed.content.to_vec())
    }
}

impl Place {
    fn check(&self, sealed: &Sealed<'_>) -> Result<(), IntegrityFault> {
        if sealed.topic != self.topic {
            return Err(IntegrityFault::WrongTopic);
        }
        if sealed.epoch_record != self.epoch_record {
            return Err(IntegrityFault::WrongEpoch);
        }
        if sealed.publisher != self.publisher {
            return Err(IntegrityFault::WrongPublisher);
        }
        if sealed.counter != self.counter {
            return Err(IntegrityFault::WrongCounter { stated: self.counter, sealed: sealed.counter });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::limits::{BODY_BYTES_MAX, MESSAGE_BYTES_MAX};
    use crate::base::time::Wall;
    use crate::crypto::cert::testing::Seeded;

    const NOW: Wall = Wall(1_800_000_000_000);

    fn key(byte: u8) -> BodyKey {
        BodyKey::new(&Secret32::new([byte; 32]))
    }

    fn signer() -> MessageSigner {
        MessageSigner::generate(&mut Seeded::new(1))
    }

    fn seal(place: &Place, content: &[u8]) -> Vec<u8> {
        key(1).seal(place, content, &signer(), NOW)
    }

    fn open(place: &Place, body: &[u8]) -> Result<Vec<u8>, IntegrityFault> {
        key(1).open(place, body, &signer().public())
    }

    fn place() -> Place {
        Place {
            topic: TopicId([1; 32]),
            epoch_record: RecordHash([2; 32]),
            publisher: PublisherId([3; 16]),
            counter: Counter(4),
        }
    }

    #[test]
    fn what_is_sealed_opens_in_its_place() {
        for content in [&b""[..], b"x", &[0xff, 0xfe], &vec![7; MESSAGE_BYTES_MAX]] {
            let body = seal(&place(), content);
            assert!(body.len() <= BODY_BYTES_MAX);
            assert_eq!(body[0], 0x80, "the binary form of a token");
            assert_eq!(open(&place(), &body).as_deref(), Ok(content));
        }
    }

    #[test]
    fn the_sender_s_clock_is_not_judged() {
        let day = 86_400_000;
        for at in [Wall(0), Wall(NOW.0 - day), Wall(NOW.0 + day), Wall(u64::MAX)] {
            let body = key(1).seal(&place(), b"hello", &signer(), at);
            assert_eq!(open(&place(), &body).as_deref(), Ok(&b"hello"[..]), "{at}");
        }
    }

    #[test]
    fn a_timestamp_at_the_end_of_time_does_not_overflow() {
        let mut body = seal(&place(), b"");
        body[1..9].fill(0xff);
        assert_eq!(open(&place(), &body), Err(IntegrityFault::BadBody));
        assert_eq!(open(&place(), &body[..9]), Err(IntegrityFault::BadBody));
        assert_eq!(open(&place(), &[]), Err(IntegrityFault::BadBody));
    }

    #[test]
    fn every_flipped_byte_is_refused() {
        let body = seal(&place(), b"turn the light on");
        for i in 0..body.len() {
            let mut bad = body.clone();
            bad[i] ^= 1;
            assert_eq!(open(&place(), &bad), Err(IntegrityFault::BadBody), "byte {i}");
            assert_eq!(open(&place(), &body[..i]), Err(IntegrityFault::BadBody), "{i} bytes");
        }
        assert_eq!(key(2).open(&place(), &body, &signer().public()), Err(IntegrityFault::BadBody));
    }

    #[test]
    fn a_body_is_good_in_its_place_alone() {
        let body = seal(&place(), b"content");
        let cases = [
            (Place { topic: TopicId([9; 32]), ..place() }, IntegrityFault::WrongTopic),
            (Place { epoch_record: RecordHash([9; 32]), ..place() }, IntegrityFault::WrongEpoch),
            (Place { publisher: PublisherId([9; 16]), ..place() }, IntegrityFault::WrongPublisher),
            (
                Place { counter: Counter(5), ..place() },
                IntegrityFault::WrongCounter { stated: Counter(5), sealed: Counter(4) },
            ),
        ];
        for (elsewhere, fault) in cases {
            assert_eq!(open(&elsewhere, &body), Err(fault));
        }
    }

    #[test]
    fn a_body_is_its_signer_s_alone() {
        let other = MessageSigner::generate(&mut Seeded::new(2));
        let forged = key(1).seal(&place(), b"content", &other, NOW);
        assert_eq!(open(&place(), &forged), Err(IntegrityFault::BadSignature));
        assert!(key(1).open(&place(), &forged, &other.public()).is_ok());
        // A member knows the topic's key, and may change what another has signed.
        let body = seal(&place(), b"turn the light on");
        let plain = key(1).0.decrypt_at_time(&Base64Url::encode_string(&body), None, END_OF_TIME);
        let plain = plain.expect("our own body");
        for i in Sealed::OVERHEAD_BYTES - 64..plain.len() {
            let mut changed = plain.clone();
            changed[i] ^= 1;
            assert_eq!(open(&place(), &reseal(&changed)), Err(IntegrityFault::BadSignature), "byte {i}");
        }
        let longer = [&plain[..], &[0]].concat();
        assert_eq!(open(&place(), &reseal(&longer)), Err(IntegrityFault::BadSignature));
        assert!(open(&place(), &reseal(&plain)).is_ok());
    }

    #[test]
    fn other_forms_are_refused() {
        let mut plain = vec![1, 0];
        plain.extend_from_slice(&[0; 200]);
        assert_eq!(open(&place(), &reseal(&plain)), Err(IntegrityFault::UnsignedBody));
        plain[1] = 2;
        assert_eq!(open(&place(), &reseal(&plain)), Err(IntegrityFault::UnknownBody));
        plain[..2].copy_from_slice(&[2, 1]);
        assert_eq!(open(&place(), &reseal(&plain)), Err(IntegrityFault::UnknownBody));
        assert_eq!(open(&place(), &reseal(&[1, 1, 0])), Err(IntegrityFault::UnknownBody));
        assert_eq!(open(&place(), &reseal(&[])), Err(IntegrityFault::UnknownBody));
    }

    /// A plaintext as a member may seal it.
    fn reseal(plain: &[u8]) -> Vec<u8> {
        let token = key(1).0.encrypt_at_time(plain, NOW.secs());
        Base64Url::decode_vec(&token).expect("the crate writes base64")
    }
}
