//! Requests to join a topic, signed by whoever asks, so that nobody is let in under a name that
//! did not ask.

use std::fmt;

use crate::base::ids::{Fingerprint, TopicId};
use crate::base::limits::{RSA_BYTES_MAX, TOPIC_NAME_BYTES_MAX};
use crate::base::names::{Name, TopicName};
use crate::base::{Entropy, Wall};
use crate::crypto::digest::sha256;
use crate::crypto::key::{PrivateKey, PublicKey};
use crate::crypto::sign::{Context, RsaFault, sign_pss, verify_pss};
use crate::wire::field::Field;
use crate::wire::{Reader, WireError, Writer};

/// A request under the largest key and the longest names.
pub const JOIN_REQUEST_BYTES_MAX: usize =
    1 + 2 + TOPIC_NAME_BYTES_MAX + 32 + 32 + 1 + 64 + 8 + 2 + RSA_BYTES_MAX;

/// Who asks to join which topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinRequest {
    pub name: TopicName,
    /// Which topic of that name: a request is not good for another one made later.
    pub topic: TopicId,
    pub who: Fingerprint,
    pub who_name: Name,
    /// By the clock of whoever asks, for people to read.
    pub time: Wall,
}

/// Why a request is not believed. Prints as a sentence's predicate: "the request ...".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JoinRequestFault {
    Malformed(WireError),
    /// The key that was brought is not that of whoever asks.
    WrongKey,
    Signature,
}

impl JoinRequest {
    /// Signs with the key of whoever asks. Draws what the signature takes.
    pub fn sign(&self, key: &PrivateKey, entropy: &mut dyn Entropy) -> Result<Vec<u8>, RsaFault> {
        let mut out = Vec::new();
        let mut w = Writer::new(&mut out);
        w.u8(VERSION);
        self.name.put(&mut w);
        self.topic.put(&mut w);
        self.who.put(&mut w);
        self.who_name.put(&mut w);
        self.time.put(&mut w);
        let signature = sign_pss(key, Context::JoinRequest, &sha256(&out), entropy)?;
        Writer::new(&mut out).bytes16(&signature);
        Ok(out)
    }

    /// What a request says, without a look at its signature.
    pub fn parse(bytes: &[u8]) -> Result<JoinRequest, JoinRequestFault> {
        JoinRequest::split(bytes).map(|(request, ..)| request)
    }

    /// What a request says, if the owner of `key`, who asks, signed it. One RSA verification.
    pub fn verify(bytes: &[u8], key: &PublicKey) -> Result<JoinRequest, JoinRequestFault> {
        let (request, signed, signature) = JoinRequest::split(bytes)?;
        if request.who != key.fingerprint() {
            return Err(JoinRequestFault::WrongKey);
        }
        verify_pss(key, Context::JoinRequest, &sha256(signed), signature)
            .map_err(|_| JoinRequestFault::Signature)?;
        Ok(request)
    }

    fn split(bytes: &[u8]) -> Result<(JoinRequest, &[u8], &[u8]), JoinRequestFault> {
        let mut r = Reader::new(bytes);
        if r.u8()? != VERSION {
            return Err(WireError::BadValue("join request version").into());
        }
        let request = JoinRequest {
            name: Field::take(&mut r)?,
            topic: Field::take(&mut r)?,
            who: Field::take(&mut r)?,
            who_name: Field::take(&mut r)?,
            time: Field::take(&mut r)?,
        };
        let signed = &bytes[..bytes.len() - r.remaining()];
        let signature = r.bytes16()?;
        r.finish()?;
        Ok((request, signed, signature))
    }
}

impl From<WireError> for JoinRequestFault {
    fn from(error: WireError) -> JoinRequestFault {
        JoinRequestFault::Malformed(error)
    }
}

impl fmt::Display for JoinRequestFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            JoinRequestFault::Malformed(error) => write!(f, "{error}"),
            JoinRequestFault::WrongKey => write!(f, "is of another key than that of whoever asks"),
            JoinRequestFault::Signature => write!(f, "is not signed by whoever asks"),
        }
    }
}

const VERSION: u8 = 1;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::cert::testing::{Seeded, key};

    fn request() -> JoinRequest {
        JoinRequest {
            name: TopicName::parse("home/door").expect("a good name"),
            topic: TopicId([1; 32]),
            who: key("carol").public().fingerprint(),
            who_name: Name::parse("carol").expect("a good name"),
            time: Wall(5),
        }
    }

    #[test]
    fn only_whoever_asks_can_have_signed_it() {
        let carol = key("carol");
        let bytes = request().sign(&carol, &mut Seeded::new(1)).expect("a sound machine");
        assert!(bytes.len() <= JOIN_REQUEST_BYTES_MAX);
        assert_eq!(JoinRequest::verify(&bytes, &carol.public()), Ok(request()));
        let bob = key("bob");
        assert_eq!(JoinRequest::verify(&bytes, &bob.public()), Err(JoinRequestFault::WrongKey));
        let forged = request().sign(&bob, &mut Seeded::new(1)).expect("a sound machine");
        assert_eq!(JoinRequest::verify(&forged, &carol.public()), Err(JoinRequestFault::Signature));
    }

    #[test]
    fn no_byte_of_it_may_change() {
        let carol = key("carol");
        let bytes = request().sign(&carol, &mut Seeded::new(1)).expect("a sound machine");
        for i in 0..bytes.len() {
            let mut bad = bytes.clone();
            bad[i] ^= 1;
            assert!(JoinRequest::verify(&bad, &carol.public()).is_err(), "byte {i}");
            assert!(JoinRequest::verify(&bytes[..i], &carol.public()).is_err(), "{i} bytes");
        }
    }
}
