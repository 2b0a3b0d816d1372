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

/// The plaintext of a body: what binds a content to its topic, epoch and place.
///
/// `u8 version = 1 | u8 kind | topic id[32] | hash of the epoch's record[32] |
/// publisher id[16] | u64 counter | content | signature`, where kind 0 has no signature
/// and kind 1 ends in an Ed25519 signature[64].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sealed<'a> {
    pub topic: TopicId,
    pub epoch_record: RecordHash,
    pub publisher: PublisherId,
    pub counter: Counter,
    pub content: &'a [u8],
    pub signature: Option<&'a [u8; 64]>,
}

const VERSION: u8 = 1;
const UNSIGNED: u8 = 0;
const SIGNED: u8 = 1;
const SIGNATURE_BYTES: usize = 64;

impl<'a> Sealed<'a> {
    /// Appends all but the signature: the bytes that a signature is made over.
    pub fn encode_unsigned_part(&self, out: &mut Vec<u8>) {
        let mut w = Writer::new(out);
        w.u8(VERSION);
        w.u8(if self.signature.is_some() { SIGNED } else { UNSIGNED });
        self.topic.put(&mut w);
        self.epoch_record.put(&mut w);
        self.publisher.put(&mut w);
        self.counter.put(&mut w);
        w.bytes(self.content);
    }

    pub fn encode(&self, out: &mut Vec<u8>) {
        self.encode_unsigned_part(out);
        if let Some(signature) = self.signature {
            out.extend_from_slice(signature);
        }
    }

    pub fn decode(plaintext: &'a [u8]) -> Result<Sealed<'a>, WireError> {
        let mut r = Reader::new(plaintext);
        if r.u8()? != VERSION {
            return Err(WireError::BadValue("body version"));
        }
        let kind = r.u8()?;
        let topic = Field::take(&mut r)?;
        let epoch_record = Field::take(&mut r)?;
        let publisher = Field::take(&mut r)?;
        let counter = Field::take(&mut r)?;
        let rest = r.rest();
        let (content, signature) = match kind {
            UNSIGNED => (rest, None),
            SIGNED => {
                let (content, signature) =
                    rest.split_last_chunk::<SIGNATURE_BYTES>().ok_or(WireError::Truncated)?;
                (content, Some(signature))
            }
            _ => return Err(WireError::BadValue("body kind")),
        };
        if content.len() > MESSAGE_BYTES_MAX {
            return Err(WireError::TooLong);
        }
        Ok(Sealed { topic, epoch_record, publisher, counter, content, signature })
    }
}
