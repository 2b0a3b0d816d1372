//! What a caller asks of the client: each request gives a [`Ticket`], each ticket ends in one answer.

use crate::base::names::{Name, TopicName};
use crate::wire::values::{Durability, Retention};

pub use crate::chain::{History, JoinPolicy as Join};

/// A request's number within its client; never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub u64);

/// A topic to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreateRequest {
    pub name: TopicName,
    pub durability: Durability,
    pub retention: Retention,
    pub members: MemberChoice,
    pub join: Join,
    pub history: History,
    /// Certificates, in DER, of keys that get the topic's key and never connect; at most eight.
    pub recovery: Vec<Vec<u8>>,
}

/// What somebody is let in as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GrantAs {
    Member,
    /// Also makes a member one.
    Admin,
}

/// Who is let into a new topic, besides its creator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MemberChoice {
    /// Every client that the broker knows and whose certificate is good; the others are
    /// skipped, and the answer says why.
    AllKnown,
    /// These, and each of them must be known with one good certificate.
    Only(Vec<Name>),
    OnlyMe,
}

/// The window of unanswered publishes is full: wait for an answer, then try again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

impl CreateRequest {
    /// A topic on disk for all known clients, kept as long as the default retention says.
    pub fn new(name: TopicName) -> CreateRequest {
        CreateRequest {
            name,
            durability: Durability::Disk,
            retention: Retention::default(),
            members: MemberChoice::AllKnown,
            join: Join::Ask,
            history: History::All,
            recovery: Vec::new(),
        }
    }

    /// The same, with messages in the broker's RAM only: answered at once, and gone when it ends.
    pub fn in_memory(name: TopicName) -> CreateRequest {
        CreateRequest { durability: Durability::Memory, ..CreateRequest::new(name) }
    }
}

impl std::fmt::Display for Full {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("too many publishes are unanswered")
    }
}

impl std::error::Error for Full {}
