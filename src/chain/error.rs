//! Why a membership record was not taken.

use std::fmt;

use crate::base::ids::{Epoch, Fingerprint};
use crate::base::limits::{CHAIN_RECORD_BYTES_MAX, MEMBERS_MAX, RECORD_MEMBERS_MAX};
use crate::crypto::sign::RsaFault;
use crate::wire::WireError;

/// Why a record was not taken, or could not be made. Prints as a sentence's predicate:
/// "the record is not signed by its signer".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChainError {
    // What the record is.
    Malformed(WireError),
    TooLong,
    /// A delta where a genesis belongs, or the other way round.
    WrongKind,
    OtherTopic,
    /// Another record was appended since: rebuild on the new head.
    HeadMoved,
    Number,

    // Who made it.
    /// The key that was brought is not that of the signer whom the record names.
    WrongKey,
    Signature,
    /// Neither owner nor admin.
    MayNotSign(Fingerprint),
    /// An admin did what only the owner may; says what.
    OwnerOnly(&'static str),

    // What it does.
    /// One fingerprint stands in the lists twice.
    Twice(Fingerprint),
    /// Added or denied, and a member already.
    IsMember(Fingerprint),
    /// Removed or changed, and not a member.
    NotMember(Fingerprint),
    /// The owner would be removed or changed, or another one made.
    Owner,
    TooManyInList,
    TooManyMembers,
    Nothing,
    /// A new epoch is called for: the first delta, a removal, an add under since-join.
    NoEpoch,
    /// The epoch is not the one that comes next.
    EpochNumber {
        expected: Epoch,
    },
    /// The previous epoch's key is there and should not be, or the other way round, or is
    /// not of a token's size.
    PreviousKey,
    MembersHash,
    WrapCount {
        expected: usize,
    },
    /// The wraps that came are not those that the record names.
    Wraps,

    /// Our own key did not sign.
    Fault(RsaFault),
}

impl From<WireError> for ChainError {
    fn from(error: WireError) -> ChainError {
        ChainError::Malformed(error)
    }
}

impl From<RsaFault> for ChainError {
    fn from(fault: RsaFault) -> ChainError {
        ChainError::Fault(fault)
    }
}

impl fmt::Display for ChainError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ChainError::Malformed(error) => write!(f, "{error}"),
            ChainError::TooLong => write!(f, "is longer than {CHAIN_RECORD_BYTES_MAX} bytes"),
            ChainError::WrongKind => write!(f, "is not of the kind that belongs here"),
            ChainError::OtherTopic => write!(f, "belongs to another topic"),
            ChainError::HeadMoved => write!(f, "does not follow the newest record"),
            ChainError::Number => write!(f, "does not have the next number"),
            ChainError::WrongKey => write!(f, "names a signer of another key"),
            ChainError::Signature => write!(f, "is not signed by its signer"),
            ChainError::MayNotSign(who) => {
                write!(f, "is signed by {}, who is neither owner nor admin", who.short())
            }
            ChainError::OwnerOnly(what) => write!(f, "{what}, which only the owner may do"),
            ChainError::Twice(who) => write!(f, "names {} twice", who.short()),
            ChainError::IsMember(who) => write!(f, "adds or denies {}, who is a member", who.short()),
            ChainError::NotMember(who) => {
                write!(f, "removes or changes {}, who is not a member", who.short())
            }
            ChainError::Owner => write!(f, "would remove or change the owner, or make another one"),
            ChainError::TooManyInList => write!(f, "adds or denies more than {RECORD_MEMBERS_MAX} at once"),
            ChainError::TooManyMembers => write!(f, "would leave more than {MEMBERS_MAX} members"),
            ChainError::Nothing => write!(f, "changes nothing"),
            ChainError::NoEpoch => write!(f, "should start an epoch and does not"),
            ChainError::EpochNumber { expected } => write!(f, "should start epoch {expected}"),
            ChainError::PreviousKey => write!(f, "does not carry the key before as it should"),
            ChainError::MembersHash => write!(f, "has the hash of another member list"),
            ChainError::WrapCount { expected } => write!(f, "should name {expected} wraps"),
            ChainError::Wraps => write!(f, "names other wraps than those that came with it"),
            ChainError::Fault(fault) => write!(f, "could not be signed: {fault}"),
        }
    }
}

impl std::error::Error for ChainError {}
