//! Message bodies: sealed and opened with the `fernet` crate, which nothing else uses.
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

    /// Seals `content` to its place; `now` becomes the token's timestamp, which nobody judges.
    pub fn seal(&self, place: &Place, content: &[u8], now: Wall) -> Vec<u8> {
        let sealed = Sealed {
            topic: place.topic,
            epoch_record: place.epoch_record,
            publisher: place.publisher,
            counter: place.counter,
            content,
            signature: None,
        };
        let mut plain = Zeroizing::new(Vec::with_capacity(content.len() + BINDING_BYTES));
        sealed.encode(&mut plain);
        let token = self.0.encrypt_at_time(&plain, now.secs());
        Base64Url::decode_vec(&token).expect("the crate writes base64")
    }

    /// Opens a body that came as the message at `place`.
    pub fn open(&self, place: &Place, body: &[u8]) -> Result<Vec<u8>, IntegrityFault> {
        let token = Base64Url::encode_string(body);
        let plain = self.0.decrypt_at_time(&token, None, END_OF_TIME).map_err(|_| IntegrityFault::BadBody)?;
        let plain = Zeroizing::new(plain);
        let sealed = Sealed::decode(&plain).map_err(|_| IntegrityFault::UnknownBody)?;
        if sealed.signature.is_some() {
            return Err(IntegrityFault::UnknownBody);
        }
        place.check(&sealed)?;
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

/// What [`Sealed`] puts before the content: version, kind, topic, record, publisher, counter.
const BINDING_BYTES: usize = 2 + 32 + 32 + 16 + 8;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::limits::{BODY_BYTES_MAX, MESSAGE_BYTES_MAX};
    use crate::base::time::Wall;

    const NOW: Wall = Wall(1_800_000_000_000);

    fn key(byte: u8) -> BodyKey {
        BodyKey::new(&Secret32::new([byte; 32]))
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
            let body = key(1).seal(&place(), content, NOW);
            assert!(body.len() <= BODY_BYTES_MAX);
            assert_eq!(body[0], 0x80, "the binary form of a token");
            assert_eq!(key(1).open(&place(), &body).as_deref(), Ok(content));
        }
    }

    #[test]
    fn the_sender_s_clock_is_not_judged() {
        let day = 86_400_000;
        for at in [Wall(0), Wall(NOW.0 - day), Wall(NOW.0 + day), Wall(u64::MAX)] {
            let body = key(1).seal(&place(), b"hello", at);
            assert_eq!(key(1).open(&place(), &body).as_deref(), Ok(&b"hello"[..]), "{at}");
        }
    }

    #[test]
    fn a_timestamp_at_the_end_of_time_does_not_overflow() {
        let mut body = key(1).seal(&place(), b"", NOW);
        body[1..9].fill(0xff);
        assert_eq!(key(1).open(&place(), &body), Err(IntegrityFault::BadBody));
        assert_eq!(key(1).open(&place(), &body[..9]), Err(IntegrityFault::BadBody));
        assert_eq!(key(1).open(&place(), &[]), Err(IntegrityFault::BadBody));
    }

    #[test]
    fn every_flipped_byte_is_refused() {
        let body = key(1).seal(&place(), b"turn the light on", NOW);
        for i in 0..body.len() {
            let mut bad = body.clone();
            bad[i] ^= 1;
            assert_eq!(key(1).open(&place(), &bad), Err(IntegrityFault::BadBody), "byte {i}");
            assert_eq!(key(1).open(&place(), &body[..i]), Err(IntegrityFault::BadBody), "{i} bytes");
        }
        assert_eq!(key(2).open(&place(), &body), Err(IntegrityFault::BadBody));
    }

    #[test]
    fn a_body_is_good_in_its_place_alone() {
        let body = key(1).seal(&place(), b"content", NOW);
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
            assert_eq!(key(1).open(&elsewhere, &body), Err(fault));
        }
    }

    #[test]
    fn forms_of_later_versions_are_refused() {
        let seal = |plain: &[u8]| {
            let token = key(1).0.encrypt_at_time(plain, NOW.secs());
            Base64Url::decode_vec(&token).expect("the crate writes base64")
        };
        let p = place();
        let sealed = Sealed {
            topic: p.topic,
            epoch_record: p.epoch_record,
            publisher: p.publisher,
            counter: p.counter,
            content: b"signed",
            signature: Some(&[0; 64]),
        };
        let mut plain = Vec::new();
        sealed.encode(&mut plain);
        assert_eq!(key(1).open(&p, &seal(&plain)), Err(IntegrityFault::UnknownBody));
        plain[0] = 2;
        assert_eq!(key(1).open(&p, &seal(&plain)), Err(IntegrityFault::UnknownBody));
        assert_eq!(key(1).open(&p, &seal(&plain[..40])), Err(IntegrityFault::UnknownBody));
    }
}
