//! Membership records: their form, their rules, their verification.
//!
//! A topic begins with a *genesis*, signed by its owner; every later record is a *delta*, signed
//! by the owner or an admin, that names the hash of the record before it. [`Chain`] is what
//! the records so far add up to. Broker and clients hold records to the same rules, so
//! neither has to trust the other with the membership.
//!
//! Knows no topic key: wraps and commitments come in as bytes and hashes. Knows no certificate
//! either: a caller finds the signer's by [`signer_of`], judges it, and brings its public key.
//! A record cannot show whether a grant was made by hand. That a removed or denied member is
//! let in again only by hand is a promise of the client that signs; [`Chain::is_barred`] tells it.

mod build;
mod delegation;
mod error;
mod join;
mod label;
mod record;
mod rules;
mod state;
mod values;

#[cfg(test)]
mod tests;

pub use build::DeltaBuilder;
pub use delegation::{DELEGATION_BYTES_MAX, Delegation, DelegationFault};
pub use error::ChainError;
pub use join::{JOIN_REQUEST_BYTES_MAX, JoinRequest, JoinRequestFault};
pub use label::{BODY_LABEL, COMMITMENT_LABEL, PREVIOUS_EPOCH_LABEL, epoch_salt, wrap_label};
pub use record::{Added, Delta, Denied, EpochStart, Genesis, record_hash, signer_of};
pub use rules::PREVIOUS_KEY_BYTES;
pub use state::{Barred, Chain, Change, StartedEpoch};
pub use values::{History, JoinPolicy, Member, Role};
