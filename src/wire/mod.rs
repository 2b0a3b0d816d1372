//! Bytes to messages and back: bounds, no trailing bytes, no state, no cryptography.

pub mod body;
pub mod codec;
pub mod field;
pub mod frame;
pub mod handshake;
pub mod policy;
pub mod values;

pub use codec::{Reader, WireError, Writer};
