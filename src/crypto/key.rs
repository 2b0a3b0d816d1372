//! RSA keys: the long-term identity of a CA, a broker or a client.

use std::fmt;

use rsa::pkcs1::EncodeRsaPublicKey;
use rsa::pkcs8::{DecodePrivateKey, DecodePublicKey, EncodePrivateKey, EncodePublicKey, LineEnding};
use rsa::traits::PublicKeyParts;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::rng::Rng;
use crate::base::Entropy;
use crate::base::ids::Fingerprint;
use crate::base::limits::{RSA_BITS_MAX, RSA_BITS_MIN};

/// An RSA private key of an accepted size. Wiped when dropped; prints as `***`.
#[derive(Clone)]
pub struct PrivateKey(rsa::RsaPrivateKey);

/// An RSA public key of an accepted size, exponent 65537, with its fingerprint.
#[derive(Clone, PartialEq, Eq)]
pub struct PublicKey {
    key: rsa::RsaPublicKey,
    fingerprint: Fingerprint,
}

/// Why a key was not taken. Never says anything of the key itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyError {
    /// Not a PKCS#8 (private) or SubjectPublicKeyInfo (public) RSA key.
    Malformed,
    /// Fewer than 2048 or more than 4096 bits.
    Size { bits: usize },
    /// Public exponent is not 65537.
    Exponent,
    /// The library could not generate a key.
    Generation,
}

impl PrivateKey {
    /// A new key of `bits` bits (2048 to 4096) and exponent 65537.
    pub fn generate(bits: usize, entropy: &mut dyn Entropy) -> Result<PrivateKey, KeyError> {
        check_bits(bits)?;
        let key = rsa::RsaPrivateKey::new(&mut Rng(entropy), bits).map_err(|_| KeyError::Generation)?;
        Ok(PrivateKey(key))
    }

    /// Reads an unencrypted PKCS#8 key in PEM (RFC 7468, section 10).
    pub fn from_pem(pem: &str) -> Result<PrivateKey, KeyError> {
        let key = rsa::RsaPrivateKey::from_pkcs8_pem(pem).map_err(|_| KeyError::Malformed)?;
        PublicKey::new(key.to_public_key())?;
        Ok(PrivateKey(key))
    }

    /// PKCS#8 in PEM, for a file that only its owner can read.
    pub fn to_pem(&self) -> Zeroizing<String> {
        self.0.to_pkcs8_pem(LineEnding::LF).expect("a valid RSA key always encodes")
    }

    pub fn public(&self) -> PublicKey {
        PublicKey::new(self.0.to_public_key()).expect("a private key was checked when it was made")
    }

    pub(crate) fn rsa(&self) -> &rsa::RsaPrivateKey {
        &self.0
    }
}

impl PublicKey {
    pub(crate) fn new(key: rsa::RsaPublicKey) -> Result<PublicKey, KeyError> {
        check_bits(key.n().bit_width() as usize)?;
        if key.e() != &rsa::BoxedUint::from(65_537u32) {
            return Err(KeyError::Exponent);
        }
        let spki = key.to_public_key_der().map_err(|_| KeyError::Malformed)?;
        let fingerprint = Fingerprint(Sha256::digest(spki.as_bytes()).into());
        Ok(PublicKey { key, fingerprint })
    }

    /// Reads a SubjectPublicKeyInfo in DER (RFC 5280, section 4.1.2.7).
    ///
    /// The fingerprint is that of the canonical encoding; a certificate whose own
    /// encoding differs is refused by the profile.
    pub fn from_spki_der(der: &[u8]) -> Result<PublicKey, KeyError> {
        let key = rsa::RsaPublicKey::from_public_key_der(der).map_err(|_| KeyError::Malformed)?;
        PublicKey::new(key)
    }

    /// The SubjectPublicKeyInfo in DER.
    pub fn to_spki_der(&self) -> Vec<u8> {
        self.key.to_public_key_der().expect("a valid RSA key always encodes").into_vec()
    }

    /// The RSAPublicKey in DER (RFC 8017, appendix A.1.1), which the other form wraps.
    pub fn to_pkcs1_der(&self) -> Vec<u8> {
        self.key.to_pkcs1_der().expect("a valid RSA key always encodes").into_vec()
    }

    /// SHA-256 of the SubjectPublicKeyInfo.
    pub fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    /// The modulus' size in bits.
    pub fn bits(&self) -> usize {
        self.key.n().bit_width() as usize
    }

    pub(crate) fn rsa(&self) -> &rsa::RsaPublicKey {
        &self.key
    }
}

fn check_bits(bits: usize) -> Result<(), KeyError> {
    if (RSA_BITS_MIN..=RSA_BITS_MAX).contains(&bits) { Ok(()) } else { Err(KeyError::Size { bits }) }
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({:?}, {} bits)", self.fingerprint, self.bits())
    }
}

impl fmt::Display for KeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            KeyError::Malformed => write!(f, "is not an RSA key in PKCS#8 (private) or SPKI (public) form"),
            KeyError::Size { bits } => {
                write!(f, "has {bits} bits; {RSA_BITS_MIN} to {RSA_BITS_MAX} are accepted")
            }
            KeyError::Exponent => write!(f, "has a public exponent other than 65537"),
            KeyError::Generation => write!(f, "could not be generated"),
        }
    }
}

impl std::error::Error for KeyError {}
