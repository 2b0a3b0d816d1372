//! Certificates, signatures, envelopes, Fernet, the key schedule, the Merkle batch.
//!
//! Only compositions of library primitives, each use with its own context string.
//! Knows no connection, no topic and no clock.

pub mod cert;
pub mod key;
pub mod rng;
