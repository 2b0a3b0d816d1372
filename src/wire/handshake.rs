//! The handshake's messages: what their bytes mean, nothing of what they prove.
//!
//! On the wire each is `u32 length of what follows | u8 type | payload`.

use std::fmt;

use super::codec::{Reader, WireError, Writer};
use crate::base::limits::{CERT_BYTES_MAX, HANDSHAKE_BYTES_MAX, HELLO_BATCH_MAX, RSA_BYTES_MAX};

/// What a ClientHello begins with, so that a stray connection is told at once.
pub const MAGIC: &[u8; 6] = b"SEALMQ";
/// The one version there is.
pub const VERSION: u16 = 1;
/// The length before each message.
pub const LENGTH_BYTES: usize = 4;
/// A refusal's sentence.
pub const REFUSAL_TEXT_BYTES_MAX: usize = 512;
/// Siblings in a batch path: the height of the largest batch's tree.
const SIBLINGS_MAX: usize = HELLO_BATCH_MAX.ilog2() as usize;

/// A handshake message's type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MessageType {
    ClientHello = 1,
    BrokerHello = 2,
    ClientAuth = 3,
    SessionKey = 4,
    ClientReady = 5,
    Refusal = 6,
    SealedRefusal = 7,
}

/// The client's first message: a fresh nonce and a fresh X25519 key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientHello {
    pub version: u16,
    pub nonce: [u8; 32],
    pub x: [u8; 32],
}

/// The broker's answer: its own, its certificate, and its signature over a batch of hellos.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BrokerHello<'a> {
    pub version: u16,
    pub nonce: [u8; 32],
    pub x: [u8; 32],
    pub certificate: &'a [u8],
    pub path: BatchPath,
    pub signature: &'a [u8],
}

/// Where in the batch's Merkle tree this hello is, and the way from it to the root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BatchPath {
    pub index: u16,
    pub size: u16,
    pub siblings: Vec<[u8; 32]>,
}

/// What the token of a ClientAuth message holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientAuth<'a> {
    pub certificate: &'a [u8],
    pub signature: &'a [u8],
}

/// The session secret, sealed to the client's RSA key, and the broker's MAC.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionKey<'a> {
    pub envelope: &'a [u8],
    pub mac: [u8; 32],
}

/// The client's MAC: it has the secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientReady {
    pub mac: [u8; 32],
}

/// Why the broker goes no further.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub code: RefusalCode,
    /// When to come back, in milliseconds; 0: coming back as you are is of no use.
    pub retry_after_ms: u32,
    /// A sentence for people, at most [`REFUSAL_TEXT_BYTES_MAX`] bytes. Never trusted, never acted on.
    pub text: String,
}

/// What a refusal, or a session's end by fault, is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RefusalCode {
    UnsupportedVersion,
    Malformed,
    Unexpected,
    TooLarge,
    Busy,
    Timeout,
    CertMalformed,
    CertExpired,
    CertNotYetValid,
    CertRevoked,
    CertWrongCa,
    CertWrongName,
    CertWrongUsage,
    /// Any signature, MAC or decryption that failed, without detail.
    Authentication,
    ShuttingDown,
    /// A code of a later version, as it came.
    Unknown(u16),
}

/// A whole handshake message: length, type, payload.
///
/// # Panics
/// If it exceeds the limit; what we write is bounded by the limits of its fields.
pub fn message(kind: MessageType, payload: &[u8]) -> Vec<u8> {
    let len = 1 + payload.len();
    assert!(len <= HANDSHAKE_BYTES_MAX, "a handshake message is bounded by its fields");
    let mut out = Vec::with_capacity(LENGTH_BYTES + len);
    Writer::new(&mut out).u32(len as u32).u8(kind as u8).bytes(payload);
    out
}

/// Reads a message's length prefix: what follows it has 1 to 8,192 bytes.
pub fn message_length(prefix: [u8; LENGTH_BYTES]) -> Result<usize, WireError> {
    match u32::from_be_bytes(prefix) as usize {
        0 => Err(WireError::Truncated),
        len if len > HANDSHAKE_BYTES_MAX => Err(WireError::TooLong),
        len => Ok(len),
    }
}

impl MessageType {
    pub const ALL: [MessageType; 7] = [
        MessageType::ClientHello,
        MessageType::BrokerHello,
        MessageType::ClientAuth,
        MessageType::SessionKey,
        MessageType::ClientReady,
        MessageType::Refusal,
        MessageType::SealedRefusal,
    ];
}

impl TryFrom<u8> for MessageType {
    type Error = WireError;

    fn try_from(byte: u8) -> Result<MessageType, WireError> {
        MessageType::ALL.into_iter().find(|t| *t as u8 == byte).ok_or(WireError::UnknownType(byte))
    }
}

impl ClientHello {
    /// Reads magic and version first, so that whoever speaks something else is told so, and the rest
    /// only in the version that we know.
    pub fn decode(payload: &[u8]) -> Result<ClientHello, HelloError> {
        let mut r = Reader::new(payload);
        if r.array()? != *MAGIC {
            return Err(WireError::BadValue("the protocol's name").into());
        }
        let version = known_version(r.u16()?)?;
        let hello = ClientHello { version, nonce: r.array()?, x: r.array()? };
        r.finish()?;
        Ok(hello)
    }

    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        Writer::new(&mut out).bytes(MAGIC).u16(self.version).bytes(&self.nonce).bytes(&self.x);
        out
    }
}

impl<'a> BrokerHello<'a> {
    pub fn decode(payload: &'a [u8]) -> Result<BrokerHello<'a>, HelloError> {
        let mut r = Reader::new(payload);
        let version = known_version(r.u16()?)?;
        let hello = BrokerHello {
            version,
            nonce: r.array()?,
            x: r.array()?,
            certificate: bounded(r.bytes16()?, CERT_BYTES_MAX)?,
            path: BatchPath::decode(&mut r)?,
            signature: bounded(r.bytes16()?, RSA_BYTES_MAX)?,
        };
        r.finish()?;
        Ok(hello)
    }

    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        let mut w = Writer::new(&mut out);
        w.u16(self.version).bytes(&self.nonce).bytes(&self.x).bytes16(self.certificate);
        w.bytes(&self.path.encode()).bytes16(self.signature);
        out
    }
}

impl BatchPath {
    fn decode(r: &mut Reader<'_>) -> Result<BatchPath, WireError> {
        let (index, size, n) = (r.u16()?, r.u16()?, r.u8()?);
        if usize::from(n) > SIBLINGS_MAX {
            return Err(WireError::TooLong);
        }
        let siblings = (0..n).map(|_| r.array()).collect::<Result<_, _>>()?;
        Ok(BatchPath { index, size, siblings })
    }

    /// The bytes that stand in the message and enter the transcript.
    ///
    /// # Panics
    /// If there are more siblings than the largest tree is high.
    pub fn encode(&self) -> Vec<u8> {
        assert!(self.siblings.len() <= SIBLINGS_MAX, "a path is no longer than its tree is high");
        let mut out = Vec::new();
        let mut w = Writer::new(&mut out);
        w.u16(self.index).u16(self.size).u8(self.siblings.len() as u8).bytes(self.siblings.as_flattened());
        out
    }
}

impl<'a> ClientAuth<'a> {
    pub fn decode(plain: &'a [u8]) -> Result<ClientAuth<'a>, WireError> {
        let mut r = Reader::new(plain);
        let auth = ClientAuth {
            certificate: bounded(r.bytes16()?, CERT_BYTES_MAX)?,
            signature: bounded(r.bytes16()?, RSA_BYTES_MAX)?,
        };
        r.finish()?;
        Ok(auth)
    }

    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        Writer::new(&mut out).bytes16(self.certificate).bytes16(self.signature);
        out
    }
}

impl<'a> SessionKey<'a> {
    pub fn decode(payload: &'a [u8]) -> Result<SessionKey<'a>, WireError> {
        let mut r = Reader::new(payload);
        let key = SessionKey { envelope: bounded(r.bytes16()?, RSA_BYTES_MAX)?, mac: r.array()? };
        r.finish()?;
        Ok(key)
    }

    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        Writer::new(&mut out).bytes16(self.envelope).bytes(&self.mac);
        out
    }
}

impl ClientReady {
    pub fn decode(payload: &[u8]) -> Result<ClientReady, WireError> {
        let mut r = Reader::new(payload);
        let ready = ClientReady { mac: r.array()? };
        r.finish()?;
        Ok(ready)
    }
}

impl Refusal {
    pub fn decode(payload: &[u8]) -> Result<Refusal, WireError> {
        let mut r = Reader::new(payload);
        let (code, retry_after_ms, text) = (RefusalCode::from(r.u16()?), r.u32()?, r.str16()?);
        r.finish()?;
        if text.len() > REFUSAL_TEXT_BYTES_MAX {
            return Err(WireError::TooLong);
        }
        Ok(Refusal { code, retry_after_ms, text: text.to_owned() })
    }

    /// The payload; a longer text is cut at the limit, between characters.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        let fits = |end: &usize| self.text.is_char_boundary(*end);
        let end = (0..=self.text.len().min(REFUSAL_TEXT_BYTES_MAX)).rfind(fits).unwrap_or(0);
        let text = &self.text[..end];
        Writer::new(&mut out).u16(self.code.into()).u32(self.retry_after_ms).str16(text);
        out
    }
}

/// Why a hello was not understood: nonsense, or another version's sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HelloError {
    Wire(WireError),
    Version(u16),
}

impl From<WireError> for HelloError {
    fn from(e: WireError) -> HelloError {
        HelloError::Wire(e)
    }
}

fn known_version(version: u16) -> Result<u16, HelloError> {
    if version == VERSION { Ok(version) } else { Err(HelloError::Version(version)) }
}

fn bounded(bytes: &[u8], max: usize) -> Result<&[u8], WireError> {
    if bytes.len() <= max { Ok(bytes) } else { Err(WireError::TooLong) }
}

impl RefusalCode {
    /// Every code of this version, with its number.
    pub const ALL: [(RefusalCode, u16); 15] = [
        (RefusalCode::UnsupportedVersion, 1),
        (RefusalCode::Malformed, 2),
        (RefusalCode::Unexpected, 3),
        (RefusalCode::TooLarge, 4),
        (RefusalCode::Busy, 5),
        (RefusalCode::Timeout, 6),
        (RefusalCode::CertMalformed, 10),
        (RefusalCode::CertExpired, 11),
        (RefusalCode::CertNotYetValid, 12),
        (RefusalCode::CertRevoked, 13),
        (RefusalCode::CertWrongCa, 14),
        (RefusalCode::CertWrongName, 15),
        (RefusalCode::CertWrongUsage, 16),
        (RefusalCode::Authentication, 17),
        (RefusalCode::ShuttingDown, 20),
    ];

    /// Whether it is the client's certificate or identity that is not taken.
    pub fn is_authentication(self) -> bool {
        (10..20).contains(&u16::from(self))
    }
}

impl From<u16> for RefusalCode {
    fn from(number: u16) -> RefusalCode {
        let known = RefusalCode::ALL.iter().find(|(_, n)| *n == number);
        known.map_or(RefusalCode::Unknown(number), |(code, _)| *code)
    }
}

impl From<RefusalCode> for u16 {
    fn from(code: RefusalCode) -> u16 {
        match code {
            RefusalCode::Unknown(number) => number,
            code => RefusalCode::ALL.iter().find(|(c, _)| *c == code).expect("ALL has every code").1,
        }
    }
}

impl fmt::Display for RefusalCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            RefusalCode::UnsupportedVersion => "unsupported version",
            RefusalCode::Malformed => "malformed message",
            RefusalCode::Unexpected => "unexpected message",
            RefusalCode::TooLarge => "message too large",
            RefusalCode::Busy => "busy",
            RefusalCode::Timeout => "too slow",
            RefusalCode::CertMalformed => "certificate malformed or not in the profile",
            RefusalCode::CertExpired => "certificate expired",
            RefusalCode::CertNotYetValid => "certificate not yet valid",
            RefusalCode::CertRevoked => "certificate revoked",
            RefusalCode::CertWrongCa => "certificate not of this CA",
            RefusalCode::CertWrongName => "certificate for another name",
            RefusalCode::CertWrongUsage => "certificate for another usage",
            RefusalCode::Authentication => "authentication failed",
            RefusalCode::ShuttingDown => "shutting down",
            RefusalCode::Unknown(number) => return write!(f, "code {number}"),
        })
    }
}

#[cfg(test)]
mod tests;
