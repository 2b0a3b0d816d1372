//! Numbers that a seed decides.

use sealmq::base::Entropy;
use sealmq::crypto::cert::testing::Seeded;

pub struct Dice(Seeded);

impl Dice {
    pub fn new(seed: u64) -> Dice {
        Dice(Seeded::new(seed))
    }

    /// Below `bound`, which is not 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        let mut bytes = [0; 8];
        self.0.fill(&mut bytes);
        u64::from_be_bytes(bytes) % bound
    }

    pub fn percent(&mut self, chance: u64) -> bool {
        self.below(100) < chance
    }
}
