//! Nouns that every floor shares: limits, identifiers, names, time as a value,
//! the entropy trait, and the rope that carries output.
//!
//! Nothing here does I/O, reads a clock or knows a key.

pub mod entropy;
pub mod ids;
pub mod limits;
pub mod names;
pub mod plain_hash;
pub mod time;
pub mod transmit;

pub use entropy::Entropy;
pub use time::{Mono, Now, Wall};
