//! Thirty-two secret bytes: wiped when dropped, printed as `***`, compared in constant time.

use std::fmt;

use subtle::{Choice, ConstantTimeEq};
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::base::Entropy;

/// A symmetric key, a shared secret, or what a key is derived from.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct Secret32([u8; 32]);

impl Secret32 {
    /// Takes over `bytes`; the caller's copy, if any, is the caller's to wipe.
    pub fn new(bytes: [u8; 32]) -> Secret32 {
        Secret32(bytes)
    }

    pub fn random(entropy: &mut dyn Entropy) -> Secret32 {
        let mut secret = Secret32([0; 32]);
        entropy.fill(&mut secret.0);
        secret
    }

    pub fn from_slice(bytes: &[u8]) -> Option<Secret32> {
        let mut secret = Secret32([0; 32]);
        if bytes.len() != secret.0.len() {
            return None;
        }
        secret.0.copy_from_slice(bytes);
        Some(secret)
    }

    /// The bytes themselves, for the primitive that needs them.
    pub fn expose(&self) -> &[u8; 32] {
        &self.0
    }

    pub(super) fn expose_mut(&mut self) -> &mut [u8; 32] {
        &mut self.0
    }
}

impl ConstantTimeEq for Secret32 {
    fn ct_eq(&self, other: &Secret32) -> Choice {
        self.0.ct_eq(&other.0)
    }
}

impl PartialEq for Secret32 {
    fn eq(&self, other: &Secret32) -> bool {
        self.ct_eq(other).into()
    }
}

impl Eq for Secret32 {}

impl fmt::Debug for Secret32 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_prints_nothing_and_compares_all_bytes() {
        let a = Secret32::new([7; 32]);
        assert_eq!(format!("{a:?}"), "***");
        for i in 0..32 {
            let mut other = [7; 32];
            other[i] ^= 1;
            assert_ne!(a, Secret32::new(other));
        }
        assert_eq!(Secret32::from_slice(&[7; 32]), Some(a));
        assert_eq!(Secret32::from_slice(&[7; 31]), None);
        assert_eq!(Secret32::from_slice(&[7; 33]), None);
    }
}
