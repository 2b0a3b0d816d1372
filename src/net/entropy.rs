//! The system's randomness: asked once for a seed, stretched by ChaCha20.

use std::fmt;

use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use zeroize::Zeroizing;

use crate::base::Entropy;

/// A cryptographically secure generator, seeded by the operating system.
///
/// Each has a seed of its own, so one may be handed to each core.
pub struct SystemEntropy(ChaCha20Rng);

/// The operating system gave no randomness.
#[derive(Debug)]
pub struct NoEntropy(getrandom::Error);

impl SystemEntropy {
    pub fn new() -> Result<SystemEntropy, NoEntropy> {
        let mut seed = Zeroizing::new([0; 32]);
        getrandom::fill(seed.as_mut()).map_err(NoEntropy)?;
        Ok(SystemEntropy(ChaCha20Rng::from_seed(*seed)))
    }
}

impl Entropy for SystemEntropy {
    fn fill(&mut self, out: &mut [u8]) {
        self.0.fill_bytes(out);
    }
}

impl fmt::Display for NoEntropy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the operating system gives no random numbers: {}", self.0)
    }
}

impl std::error::Error for NoEntropy {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::entropy::random_array;

    #[test]
    fn each_has_a_seed_of_its_own() {
        let mut a = SystemEntropy::new().expect("a system with randomness");
        let mut b = SystemEntropy::new().expect("a system with randomness");
        let first: [u8; 32] = random_array(&mut a);
        assert_ne!(first, random_array(&mut a));
        assert_ne!(first, random_array(&mut b));
    }
}
