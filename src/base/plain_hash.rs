//! Maps whose keys no peer can choose: numbers that this process gives out itself.
//!
//! The standard hasher is keyed, so that nobody can make keys that collide; that costs more than the
//! rest of a look-up. Where a peer has a say in the key (names, fingerprints, publisher ids), it stays.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

/// A map for keys that are numbers of our own.
pub type PlainMap<K, V> = HashMap<K, V, BuildHasherDefault<PlainHasher>>;

/// Multiplies and folds: each bit of a number changes both ends of its hash.
#[derive(Clone, Copy, Default)]
pub struct PlainHasher(u64);

/// 2^64 over the golden ratio, made odd (Knuth, The Art of Computer Programming 3, 6.4).
const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;

impl PlainHasher {
    fn mix(&mut self, value: u64) {
        let wide = u128::from(self.0.rotate_left(23) ^ value) * u128::from(FACTOR);
        self.0 = (wide as u64) ^ ((wide >> 64) as u64);
    }
}

impl Hasher for PlainHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut padded = [0; 8];
            padded[..chunk.len()].copy_from_slice(chunk);
            self.mix(u64::from_le_bytes(padded));
        }
    }

    fn write_u32(&mut self, value: u32) {
        self.mix(value.into());
    }

    fn write_u64(&mut self, value: u64) {
        self.mix(value);
    }

    fn write_usize(&mut self, value: usize) {
        self.mix(value as u64);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn hash(value: u64) -> u64 {
        let mut hasher = PlainHasher::default();
        hasher.write_u64(value);
        hasher.finish()
    }

    #[test]
    fn neighbours_and_multiples_fall_into_places_of_their_own() {
        // A map of 4,096 places takes the low bits, and tells them apart by the seven highest.
        for step in [1, 2, 64, 4096, 1 << 20, 1 << 32, 1 << 44] {
            let places: HashSet<u64> = (0..2048).map(|n| hash(n * step) % 4096).collect();
            let tags: HashSet<u64> = (0..2048).map(|n| hash(n * step) >> 57).collect();
            assert!(places.len() > 1400, "step {step}: {} places", places.len());
            assert!(tags.len() > 100, "step {step}: {} tags", tags.len());
        }
    }
}
