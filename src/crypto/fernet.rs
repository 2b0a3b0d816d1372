//! Fernet tokens in their binary form, made and opened in place.
//!
//! A token is `0x80 | u64 timestamp | IV[16] | AES-128-CBC, PKCS#7 | HMAC-SHA256[32]`, which is
//! the Fernet specification without its base64. The key schedule and the MAC's state are made
//! once; after that a token costs no allocation. The timestamp is written and can be read,
//! it is never judged here.

use std::fmt;

use aes::cipher::block_padding::Pkcs7;
use aes::cipher::{Array, BlockModeDecrypt, BlockModeEncrypt, InnerIvInit, KeyInit as _};
use aes::{Aes128Dec, Aes128Enc};
use hmac::{Hmac, Mac};
use sha2::Sha256;

use super::secret::Secret32;

/// What comes before the ciphertext: version, timestamp, IV.
pub const HEADER_BYTES: usize = 1 + 8 + IV_BYTES;
pub const IV_BYTES: usize = 16;
/// A token of no plaintext: header, one block of padding, MAC.
pub const TOKEN_BYTES_MIN: usize = HEADER_BYTES + BLOCK_BYTES + TAG_BYTES;

const VERSION: u8 = 0x80;
const BLOCK_BYTES: usize = 16;
const TAG_BYTES: usize = 32;
/// What is encrypted at a time: a block of SHA-256, which begins where the token does.
const CHUNK_BYTES: usize = 64;

/// The half of a key that makes tokens.
///
/// A session has a key for each direction, so one side never both makes and opens under
/// one key: each half is a type of its own, and holds only its half of the schedule.
pub struct SealingKey {
    aes: Aes128Enc,
    mac: Hmac<Sha256>,
}

/// The half of a key that opens tokens.
pub struct OpeningKey {
    aes: Aes128Dec,
    mac: Hmac<Sha256>,
}

/// Why a token does not open. For the log; a peer is never told which.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FernetError {
    /// Too short, not in whole blocks, or of another version.
    Malformed,
    /// The MAC is wrong.
    Forged,
    /// The MAC is right and the padding is not: whoever has the key made it badly.
    Padding,
}

/// How long the token of `plain` bytes is.
pub const fn token_bytes(plain: usize) -> usize {
    HEADER_BYTES + (plain / BLOCK_BYTES + 1) * BLOCK_BYTES + TAG_BYTES
}

/// The longest plaintext whose token has at most `token` bytes; `token` is at least [`TOKEN_BYTES_MIN`].
pub const fn plain_bytes_max(token: usize) -> usize {
    (token - HEADER_BYTES - TAG_BYTES) / BLOCK_BYTES * BLOCK_BYTES - 1
}

/// Reserves a token's header at the end of `out`. The caller appends the plaintext and
/// hands what this returned to [`SealingKey::seal`].
pub fn begin(out: &mut Vec<u8>) -> usize {
    let start = out.len();
    out.extend_from_slice(&[0; HEADER_BYTES]);
    start
}

/// The timestamp of a token, in seconds since 1970. Authentic only once the token has opened.
pub fn timestamp(token: &[u8]) -> Option<u64> {
    token.get(1..)?.first_chunk().map(|b| u64::from_be_bytes(*b))
}

impl SealingKey {
    /// The first 16 bytes of `key` sign, the last 16 encrypt.
    pub fn new(key: &Secret32) -> SealingKey {
        let (signing, encryption) = halves(key);
        SealingKey { aes: Aes128Enc::new(encryption.into()), mac: keyed(signing) }
    }

    /// Turns the plaintext behind the header that [`begin`] reserved at `start` into a token, in place.
    ///
    /// # Panics
    /// If `out` ends before the header does: `start` is what [`begin`] returned for `out`.
    pub fn seal(&self, out: &mut Vec<u8>, start: usize, timestamp: u64, iv: &[u8; IV_BYTES]) {
        let body = start + HEADER_BYTES;
        let plain = out.len().checked_sub(body).expect("begin() reserved the header");
        out[start] = VERSION;
        out[start + 1..start + 9].copy_from_slice(&timestamp.to_be_bytes());
        out[start + 9..body].copy_from_slice(iv);
        out.reserve(BLOCK_BYTES + TAG_BYTES);
        out.resize(body + (plain / BLOCK_BYTES + 1) * BLOCK_BYTES, 0);
        let tag = self.encrypt_and_sign(&mut out[start..], plain, iv);
        out.extend_from_slice(&tag);
    }

    /// Encrypts the `plain` bytes behind a token's header, and gives the MAC over all.
    ///
    /// A chunk is encrypted, then the one before it hashed: neither waits for the other, so that the
    /// processor does both at a time. One after the other they take a third longer.
    fn encrypt_and_sign(&self, token: &mut [u8], plain: usize, iv: &[u8; IV_BYTES]) -> [u8; TAG_BYTES] {
        let mut cipher = cbc::Encryptor::<&Aes128Enc>::inner_iv_init(&self.aes, iv.into());
        let mut mac = self.mac.clone();
        let (mut encrypted, mut hashed) = (HEADER_BYTES, 0);
        while HEADER_BYTES + plain - encrypted >= CHUNK_BYTES {
            let (blocks, _) = Array::slice_as_chunks_mut(&mut token[encrypted..encrypted + CHUNK_BYTES]);
            cipher.encrypt_blocks(blocks);
            if encrypted > HEADER_BYTES {
                mac.update(&token[hashed..hashed + CHUNK_BYTES]);
                hashed += CHUNK_BYTES;
            }
            encrypted += CHUNK_BYTES;
        }
        let left = HEADER_BYTES + plain - encrypted;
        cipher.encrypt_padded::<Pkcs7>(&mut token[encrypted..], left).expect("there is room for the padding");
        mac.chain_update(&token[hashed..]).finalize().into_bytes().into()
    }

    /// The token of `plain`, in a vector of its own: for messages that are rare.
    pub fn seal_to_vec(&self, plain: &[u8], timestamp: u64, iv: &[u8; IV_BYTES]) -> Vec<u8> {
        let mut out = Vec::with_capacity(token_bytes(plain.len()));
        let start = begin(&mut out);
        out.extend_from_slice(plain);
        self.seal(&mut out, start, timestamp, iv);
        out
    }
}

impl OpeningKey {
    /// The first 16 bytes of `key` sign, the last 16 encrypt.
    pub fn new(key: &Secret32) -> OpeningKey {
        let (signing, encryption) = halves(key);
        OpeningKey { aes: Aes128Dec::new(encryption.into()), mac: keyed(signing) }
    }

    /// Checks the MAC, in constant time and before anything else, then decrypts in place.
    pub fn open<'a>(&self, token: &'a mut [u8]) -> Result<&'a mut [u8], FernetError> {
        let sealed = token.len().checked_sub(TAG_BYTES).ok_or(FernetError::Malformed)?;
        let whole = token.len() >= TOKEN_BYTES_MIN && (sealed - HEADER_BYTES).is_multiple_of(BLOCK_BYTES);
        if !whole || token[0] != VERSION {
            return Err(FernetError::Malformed);
        }
        let (signed, tag) = token.split_at_mut(sealed);
        self.mac.clone().chain_update(&*signed).verify_slice(tag).map_err(|_| FernetError::Forged)?;
        let (header, body) = signed.split_at_mut(HEADER_BYTES);
        let iv: &[u8; IV_BYTES] = header[9..].first_chunk().expect("the header ends in the IV");
        let plain = cbc::Decryptor::<&Aes128Dec>::inner_iv_init(&self.aes, iv.into())
            .decrypt_padded::<Pkcs7>(body)
            .map_err(|_| FernetError::Padding)?
            .len();
        Ok(&mut body[..plain])
    }
}

fn halves(key: &Secret32) -> (&[u8; 16], &[u8; 16]) {
    let (signing, encryption) = key.expose().split_at(16);
    let half = |b| <&[u8; 16]>::try_from(b).expect("half of 32 bytes");
    (half(signing), half(encryption))
}

fn keyed(signing: &[u8; 16]) -> Hmac<Sha256> {
    Hmac::new_from_slice(signing).expect("HMAC takes a key of any length")
}

impl fmt::Debug for SealingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl fmt::Debug for OpeningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl fmt::Display for FernetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            FernetError::Malformed => "is not a Fernet token",
            FernetError::Forged => "does not verify under the key",
            FernetError::Padding => "verifies, but is badly padded",
        })
    }
}

impl std::error::Error for FernetError {}

#[cfg(test)]
mod tests;
