//! The one-shot verbs.

pub mod create;
pub mod fingerprint;
pub mod list;
pub mod publish;
pub mod subscribe;
pub mod trust;
