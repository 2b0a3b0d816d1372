//! For tests: a generator that repeats itself, and the fixed keys of `tests/vectors/keys`.

use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use super::key::PrivateKey;
use crate::base::Entropy;

/// ChaCha20 from a small seed: the same seed, the same bytes.
pub struct Seeded(ChaCha20Rng);

impl Seeded {
    pub fn new(seed: u64) -> Seeded {
        Seeded(ChaCha20Rng::seed_from_u64(seed))
    }
}

impl Entropy for Seeded {
    fn fill(&mut self, out: &mut [u8]) {
        self.0.fill_bytes(out);
    }
}

/// The key `tests/vectors/keys/NAME.key`.
pub fn key(name: &str) -> PrivateKey {
    let path = format!("{}/tests/vectors/keys/{name}.key", env!("CARGO_MANIFEST_DIR"));
    let pem = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{path}: {e}"));
    PrivateKey::from_pem(&pem).unwrap_or_else(|e| panic!("{path} {e}"))
}
