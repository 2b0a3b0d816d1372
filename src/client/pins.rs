//! What a client remembers of others between two runs, so that a broker which shows something
//! else later is found out. Plain values: callers keep them on disk.

use std::collections::{BTreeMap, BTreeSet};

use crate::base::Wall;
use crate::base::ids::{Counter, Fingerprint, Incarnation, Offset, PublisherId, RecordHash, TopicId};
use crate::base::names::{Name, TopicName};

/// All that is remembered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pins {
    pub peers: BTreeMap<Name, PeerPin>,
    pub topics: BTreeMap<TopicName, TopicPin>,
}

/// A client's key, since it was first seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerPin {
    pub fingerprint: Fingerprint,
    pub first_seen: Wall,
    /// Keys that a person has said were replaced. What they signed stays good.
    pub former: BTreeSet<Fingerprint>,
}

/// A topic as it was last seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicPin {
    pub id: TopicId,
    pub owner: Fingerprint,
    pub owner_name: Name,
    /// The newest record's number and hash.
    pub number: u32,
    pub head: RecordHash,
    /// The log in which the places are, once messages were read.
    pub log: Option<Incarnation>,
    /// All messages below were read or passed over.
    pub next: Offset,
    /// Each sender's newest message that was read.
    pub places: BTreeMap<(Fingerprint, PublisherId), Place>,
}

/// A message's place, and what it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    pub offset: Offset,
    pub counter: Counter,
    /// SHA-256 of the body.
    pub hash: [u8; 32],
}
