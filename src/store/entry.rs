//! What a log holds: immutable entries, shared by the store, the broker's tail in RAM and
//! every subscriber that is being served.

use std::fmt;
use std::mem::size_of;
use std::sync::Arc;

use crate::base::Wall;
use crate::base::ids::{Counter, Epoch, Fingerprint, Offset, PublisherId};
use crate::base::names::Name;

/// One entry of a log.
#[derive(Clone, PartialEq, Eq)]
pub struct Entry {
    pub offset: Offset,
    /// When the broker received it; never before that of the entry in front of it.
    pub time: Wall,
    pub content: Content,
}

/// An entry that has no place yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewEntry {
    /// When the broker received it, by a clock that may jump.
    pub time: Wall,
    pub content: Content,
}

#[derive(Clone, PartialEq, Eq)]
pub enum Content {
    Message {
        sender: Arc<Sender>,
        epoch: Epoch,
        counter: Counter,
        /// The sealed body.
        body: Arc<[u8]>,
        /// Of the body.
        sha256: [u8; 32],
    },
    Record {
        /// The membership record, as its signer made it.
        record: Arc<[u8]>,
        /// The signer's, in DER.
        certificate: Arc<[u8]>,
        /// The wraps that the record names, by recipient.
        wraps: Wraps,
    },
}

/// A topic key, sealed to each of some members.
pub type Wraps = Arc<[(Fingerprint, Box<[u8]>)]>;

/// Who sent a message: one of these for all messages of a publisher in a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sender {
    /// The sender's number in this log; no two senders share one.
    pub number: u32,
    pub publisher: PublisherId,
    pub fingerprint: Fingerprint,
    pub name: Name,
    pub delegation: Arc<[u8]>,
    /// In DER.
    pub certificate: Arc<[u8]>,
}

impl Entry {
    pub fn is_message(&self) -> bool {
        self.content.is_message()
    }

    /// What the entry counts for caps and read limits: its bytes and its own bookkeeping, the
    /// sender left out, which many share.
    pub fn bytes(&self) -> u64 {
        self.content.bytes()
    }
}

impl Content {
    pub fn is_message(&self) -> bool {
        matches!(self, Content::Message { .. })
    }

    /// Bytes of a message's sealed body; a record has none.
    pub fn body_bytes(&self) -> u64 {
        match self {
            Content::Message { body, .. } => body.len() as u64,
            Content::Record { .. } => 0,
        }
    }

    /// As [`Entry::bytes`].
    pub fn bytes(&self) -> u64 {
        let held = match self {
            Content::Message { body, .. } => body.len(),
            Content::Record { record, certificate, wraps } => {
                let per_wrap = size_of::<(Fingerprint, Box<[u8]>)>();
                let wraps: usize = wraps.iter().map(|(_, wrap)| wrap.len() + per_wrap).sum();
                record.len() + certificate.len() + wraps
            }
        };
        held as u64 + ENTRY_BYTES
    }

    /// As [`Entry::bytes`], of a message with a body of so many bytes.
    pub(super) fn message_bytes(body_bytes: u64) -> u64 {
        body_bytes + ENTRY_BYTES
    }
}

impl Sender {
    /// What a sender counts, once in a log.
    pub fn bytes(&self) -> u64 {
        (size_of::<Sender>() + self.name.as_str().len() + self.delegation.len() + self.certificate.len())
            as u64
    }
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{} {:?}", self.offset, self.time.0, self.content)
    }
}

impl fmt::Debug for Content {
    /// Sizes, not bytes: a body is up to a MiB.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Content::Message { sender, epoch, counter, body, .. } => {
                write!(f, "Message({}, {:?}, {epoch}, {counter}, ", sender.number, sender.publisher)?;
                write!(f, "{} bytes)", body.len())
            }
            Content::Record { record, wraps, .. } => {
                write!(f, "Record({} bytes, {} wraps)", record.len(), wraps.len())
            }
        }
    }
}

/// An entry's own size, the counts beside its shared parts, and its slot in a log.
const ENTRY_BYTES: u64 = (size_of::<Entry>() + 4 * 2 * size_of::<usize>() + size_of::<usize>()) as u64;
