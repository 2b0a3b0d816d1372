//! Where randomness comes from, as an argument.

/// A source of cryptographically secure random bytes.
///
/// `net` gives one that is seeded by the operating system, tests and `sim` a seeded one.
pub trait Entropy {
    /// Fills `out` with random bytes.
    fn fill(&mut self, out: &mut [u8]);
}

/// `N` random bytes.
pub fn random_array<const N: usize>(entropy: &mut dyn Entropy) -> [u8; N] {
    let mut out = [0; N];
    entropy.fill(&mut out);
    out
}
