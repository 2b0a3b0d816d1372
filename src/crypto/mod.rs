//! Certificates, signatures, envelopes, Fernet, the key schedule, the Merkle batch.
//!
//! Only compositions of library primitives, each use with its own context string.
//! Knows no connection, no topic and no clock.

pub mod cert;
pub mod dh;
pub mod digest;
pub mod ed25519;
pub mod envelope;
pub mod fernet;
pub mod kdf;
pub mod key;
pub mod merkle;
pub mod rng;
pub mod secret;
pub mod sign;
