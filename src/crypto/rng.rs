//! Our entropy trait as the generator that library crates ask for.

use std::convert::Infallible;

use rand_core::{TryCryptoRng, TryRng};

use crate::base::Entropy;

/// Lends an [`Entropy`] to a crate that wants a [`rand_core::CryptoRng`].
pub struct Rng<'a>(pub &'a mut dyn Entropy);

impl TryRng for Rng<'_> {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        Ok(u32::from_le_bytes(crate::base::entropy::random_array(self.0)))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        Ok(u64::from_le_bytes(crate::base::entropy::random_array(self.0)))
    }

    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), Infallible> {
        self.0.fill(out);
        Ok(())
    }
}

impl TryCryptoRng for Rng<'_> {}
