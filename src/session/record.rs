//! Records: a sequence number and frames under one Fernet token, sealed and opened in place.
//!
//! On the wire a record is `u32 token length | token | bodies`; the bodies are the inbox's.
//! The number is 0 for a direction's first record and grows by exactly one.

use super::close::RecordError;
use super::schedule::next_key;
use crate::base::Wall;
use crate::base::limits::{RECORDS_PER_KEY, TOKEN_BYTES_MAX};
use crate::crypto::fernet::{self, HEADER_BYTES, IV_BYTES, OpeningKey, SealingKey, plain_bytes_max};
use crate::crypto::secret::Secret32;

/// The token's length before it.
pub const LENGTH_BYTES: usize = 4;
/// The sequence number, first in the plaintext.
const SEQUENCE_BYTES: usize = 8;
/// Where in a token, once it has opened, the frames begin.
pub(super) const FRAMES_AT: usize = HEADER_BYTES + SEQUENCE_BYTES;
/// Frames that fit one token.
pub const FRAMES_BYTES_MAX: usize = plain_bytes_max(TOKEN_BYTES_MAX) - SEQUENCE_BYTES;

/// Seals one direction's records.
pub struct Sealer {
    chain: KeyChain,
    key: SealingKey,
}

/// Opens one direction's records. After an error it opens nothing more: the session is over.
pub struct Opener {
    chain: KeyChain,
    key: OpeningKey,
    failed: bool,
}

/// Where a record begins in the caller's buffer.
#[derive(Debug)]
#[must_use = "a record begun is finished, or cut off the buffer"]
pub struct RecordStart(usize);

/// The number of the next record, and the secret of the key it goes under.
struct KeyChain {
    secret: Secret32,
    sequence: u64,
}

impl Sealer {
    pub fn new(secret: Secret32) -> Sealer {
        Sealer { key: SealingKey::new(&secret), chain: KeyChain { secret, sequence: 0 } }
    }

    /// Reserves room for all that precedes the frames, which the caller then appends to `out`.
    pub fn begin(&self, out: &mut Vec<u8>) -> RecordStart {
        let start = out.len();
        out.extend_from_slice(&[0; LENGTH_BYTES]);
        fernet::begin(out);
        out.extend_from_slice(&self.chain.sequence.to_be_bytes());
        RecordStart(start)
    }

    /// How many more bytes of frames fit the record begun at `start`.
    pub fn room(out: &[u8], start: &RecordStart) -> usize {
        (start.0 + LENGTH_BYTES + FRAMES_AT + FRAMES_BYTES_MAX).saturating_sub(out.len())
    }

    /// Encrypts in place and fills in the length. Bodies, if any, follow on the wire.
    ///
    /// # Panics
    /// If the frames exceed [`FRAMES_BYTES_MAX`]: callers ask [`Sealer::room`].
    pub fn finish(&mut self, out: &mut Vec<u8>, start: RecordStart, now: Wall, iv: &[u8; IV_BYTES]) {
        let token = start.0 + LENGTH_BYTES;
        if self.chain.turns() {
            self.chain.turn();
            self.key = SealingKey::new(&self.chain.secret);
        }
        self.key.seal(out, token, now.secs(), iv);
        let len = out.len() - token;
        assert!(len <= TOKEN_BYTES_MAX, "frames are packed within a token's limit");
        out[start.0..token].copy_from_slice(&(len as u32).to_be_bytes());
        self.chain.advance();
    }

    /// The number that the next record will have; the close frame names it.
    pub fn next_sequence(&self) -> u64 {
        self.chain.sequence
    }

    /// As if `sequence` records had gone before, the last of them under the key of `secret`.
    #[cfg(test)]
    pub(super) fn at(secret: Secret32, sequence: u64) -> Sealer {
        Sealer { key: SealingKey::new(&secret), chain: KeyChain { secret, sequence } }
    }
}

impl Opener {
    pub fn new(secret: Secret32) -> Opener {
        Opener { key: OpeningKey::new(&secret), chain: KeyChain { secret, sequence: 0 }, failed: false }
    }

    /// Opens the next record's token in place and returns its frames.
    pub fn open<'a>(&mut self, token: &'a mut [u8]) -> Result<&'a [u8], RecordError> {
        if self.failed {
            return Err(RecordError::Closed);
        }
        self.failed = true;
        if token.len() > TOKEN_BYTES_MAX {
            return Err(RecordError::TokenLength(token.len()));
        }
        if self.chain.turns() {
            self.chain.turn();
            self.key = OpeningKey::new(&self.chain.secret);
        }
        let plain: &[u8] = self.key.open(token).map_err(RecordError::Token)?;
        let (sequence, frames) = plain.split_first_chunk().ok_or(RecordError::NoSequence)?;
        let (got, expected) = (u64::from_be_bytes(*sequence), self.chain.sequence);
        if got != expected {
            return Err(RecordError::Sequence { got, expected });
        }
        self.chain.advance();
        self.failed = false;
        Ok(frames)
    }

    /// The number that the next record must have.
    pub fn next_sequence(&self) -> u64 {
        self.chain.sequence
    }

    /// The counterpart of [`Sealer::at`].
    #[cfg(test)]
    pub(super) fn at(secret: Secret32, sequence: u64) -> Opener {
        Opener { key: OpeningKey::new(&secret), chain: KeyChain { secret, sequence }, failed: false }
    }
}

impl KeyChain {
    /// Whether the next record is the first under a new key.
    fn turns(&self) -> bool {
        self.sequence != 0 && self.sequence.is_multiple_of(RECORDS_PER_KEY)
    }

    fn turn(&mut self) {
        self.secret = next_key(&self.secret, self.sequence);
    }

    fn advance(&mut self) {
        self.sequence = self.sequence.checked_add(1).expect("2^64 records outlast any session");
    }
}

#[cfg(test)]
mod tests;
