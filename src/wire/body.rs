//! A message's body in a frame, and the plaintext that a body seals.

use super::codec::{Reader, WireError, Writer};
use super::field::Field;
use crate::base::ids::{Counter, PublisherId, RecordHash, TopicId};
use crate::base::limits::{BODY_BYTES_MAX, MESSAGE_BYTES_MAX};

/// A message's body: beside the token, or inside the frame.
///
/// `u8 0 | u32 length | SHA-256[32]` or `u8 1 | u16 length | bytes`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    Beside(BodyRef),
    Inline(Vec<u8>),
}

/// What a frame says of a body that follows its record's token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BodyRef {
    /// Bytes of the body.
    pub len: u32,
    pub sha256: [u8; 32],
}

impl Field for Body {
    fn put(&self, w: &mut Writer<'_>) {
        match self {
            Body::Beside(body) => {
                w.u8(0);
                w.u32(body.len);
                w.bytes(&body.sha256);
            }
            Body::Inline(bytes) => {
                w.u8(1);
                w.bytes16(bytes);
            }
        }
    }

    fn take(r: &mut Reader<'_>) -> Result<Self, WireError> {
        match r.u8()? {
            0 => {
                let len = r.u32()?;
                if len as usize > BODY_BYTES_MAX {
                    return Err(WireError::TooLong);
                }
                Ok(Body::Beside(BodyRef { len, sha256: r.array()? }))
            }
            1 => Ok(Body::Inline(r.bytes16()?.to_vec())),
            _ => Err(WireError::BadValue("body kind")),
        }
    }
}

/// The plaintext of a body: what binds a content to its topic, epoch, sender and place.
///
/// `u8 version = 1 | u8 kind = 1 | topic id[32] | hash of the epoch's record[32] |
/// publisher id[16] | u64 counter | content | signature[64]`; the signature is made over the
/// SHA-256 of all before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sealed<'a> {
    pub topic: TopicId,
    pub epoch_record: RecordHash,
    pub publisher: PublisherId,
    pub counter: Counter,
    pub content: &'a [u8],
}

/// A plaintext's last bytes, and what they are made over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Signed<'a> {
    /// Whose hash is signed.
    pub part: &'a [u8],
    pub signature: &'a [u8; SIGNATURE_BYTES],
}

const VERSION: u8 = 1;
/// A form without a signature, which proved no sender. Nobody makes it, nobody takes it.
const UNSIGNED: u8 = 0;
const SIGNED: u8 = 1;
const SIGNATURE_BYTES: usize = 64;

impl<'a> Sealed<'a> {
    /// What a plaintext has beside its content.
    pub const OVERHEAD_BYTES: usize = 2 + 32 + 32 + 16 + 8 + SIGNATURE_BYTES;

    /// Appends the part whose hash is signed. The signature is all that follows it.
    pub fn encode_signed_part(&self, out: &mut Vec<u8>) {
        let mut w = Writer::new(out);
        w.u8(VERSION);
        w.u8(SIGNED);
        self.topic.put(&mut w);
        self.epoch_record.put(&mut w);
        self.publisher.put(&mut w);
        self.counter.put(&mut w);
        w.bytes(self.content);
    }

    pub fn decode(plaintext: &'a [u8]) -> Result<(Sealed<'a>, Signed<'a>), WireError> {
        let (part, signature) =
            plaintext.split_last_chunk::<SIGNATURE_BYTES>().ok_or(WireError::Truncated)?;
        let mut r = Reader::new(part);
        if r.u8()? != VERSION {
            return Err(WireError::BadValue("body version"));
        }
        if r.u8()? != SIGNED {
            return Err(WireError::BadValue("body kind"));
        }
        let sealed = Sealed {
            topic: Field::take(&mut r)?,
            epoch_record: Field::take(&mut r)?,
            publisher: Field::take(&mut r)?,
            counter: Field::take(&mut r)?,
            content: r.rest(),
        };
        if sealed.content.len() > MESSAGE_BYTES_MAX {
            return Err(WireError::TooLong);
        }
        Ok((sealed, Signed { part, signature }))
    }

    /// Whether a plaintext says that it bears no signature.
    pub fn is_unsigned(plaintext: &[u8]) -> bool {
        plaintext.starts_with(&[VERSION, UNSIGNED])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEALED: Sealed<'static> = Sealed {
        topic: TopicId([1; 32]),
        epoch_record: RecordHash([2; 32]),
        publisher: PublisherId([3; 16]),
        counter: Counter(4),
        content: b"content",
    };

    fn plaintext() -> Vec<u8> {
        let mut out = Vec::new();
        SEALED.encode_signed_part(&mut out);
        out.extend_from_slice(&[9; SIGNATURE_BYTES]);
        out
    }

    #[test]
    fn what_is_encoded_is_decoded_and_all_before_the_signature_is_signed() {
        let bytes = plaintext();
        assert_eq!(bytes.len(), SEALED.content.len() + Sealed::OVERHEAD_BYTES);
        let (sealed, signed) = Sealed::decode(&bytes).expect("it was just encoded");
        assert_eq!(sealed, SEALED);
        assert_eq!(signed.part, &bytes[..bytes.len() - SIGNATURE_BYTES]);
        assert_eq!(signed.signature, &[9; SIGNATURE_BYTES]);
    }

    #[test]
    fn other_forms_are_refused() {
        let bytes = plaintext();
        for (at, value) in [(0, 0), (0, 2), (1, 0), (1, 2)] {
            let mut other = bytes.clone();
            other[at] = value;
            assert!(Sealed::decode(&other).is_err(), "byte {at} is {value}");
            assert_eq!(Sealed::is_unsigned(&other), (at, value) == (1, 0));
        }
        assert!(!Sealed::is_unsigned(&bytes));
        for len in 0..Sealed::OVERHEAD_BYTES {
            assert!(Sealed::decode(&bytes[..len]).is_err(), "{len} bytes");
        }
        let mut long = plaintext();
        long.resize(MESSAGE_BYTES_MAX + Sealed::OVERHEAD_BYTES, 0);
        assert!(Sealed::decode(&long).is_ok());
        long.push(0);
        assert_eq!(Sealed::decode(&long), Err(WireError::TooLong));
    }
}
