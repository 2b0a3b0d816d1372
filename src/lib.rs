//! sealmq: a publish/subscribe broker that cannot read what it carries, and its client.
#![forbid(unsafe_code)]

pub mod base;
pub mod broker;
pub mod chain;
pub mod cli;
pub mod client;
pub mod crypto;
pub mod net;
pub mod session;
#[cfg(any(test, feature = "testing"))]
pub mod sim;
pub mod store;
pub mod wire;
