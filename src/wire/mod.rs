//! Bytes to messages and back: bounds, no trailing bytes, no state, no cryptography.

pub mod codec;
pub mod handshake;

pub use codec::{Reader, WireError, Writer};
