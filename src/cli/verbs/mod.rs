//! The one-shot verbs.

pub mod bench;
pub mod create;
pub mod export;
pub mod fingerprint;
pub mod list;
pub mod members;
pub mod publish;
pub mod readers;
pub mod requests;
pub mod resume;
pub mod steward;
pub mod subscribe;
pub mod topic;
pub mod trust;
