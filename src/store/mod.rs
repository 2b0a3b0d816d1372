//! Topic logs behind one small trait: the broker submits operations and takes their
//! completions, and never waits.
//!
//! A log is an append-only sequence of entries with offsets from 0, messages and
//! membership records. The store keeps what it is told and drops what it is told; who may
//! write, and what retention says, is the broker's business. It must not know sockets,
//! sessions, frames or what a record means.
//!
//! What holds for every engine, and what `contract` tests:
//!
//! - Create, Append, Trim, Configure and Remove of one log take effect and complete in the order in
//!   which they were submitted. Reads and finds see what was complete when they ran, and
//!   nothing else; their own order is free.
//! - Offsets are given out in that order, without holes, and come with the completion. So
//!   does the time, which never goes back within a log.
//! - When an append fails, so does every append to that log that was submitted before the
//!   failure was taken with [`Store::poll`]: with [`StoreError::EarlierFailed`]. What the broker
//!   submits after that is new.
//! - Creating is all or nothing.
//! - Trim takes messages and never records.
//! - A cap on bytes refuses with [`StoreError::Full`]; it never makes room by itself.
//! - An operation may complete only at or after the next [`Store::flush`].

use std::fmt;
use std::sync::Arc;

use crate::base::ids::{Counter, Incarnation, Offset};
use crate::base::names::TopicName;
use crate::base::{Mono, Now, Wall};

pub mod contents;
#[cfg(test)]
pub(crate) mod contract;
pub mod disk;
pub mod entry;
pub mod memory;

pub use contents::{Contents, Stored, StoredPublisher};
pub use disk::Disk;
pub use entry::{Content, Entry, NewEntry, Sender};
pub use memory::Memory;

/// Where topic logs are kept.
///
/// A driver calls `flush` once in each turn of its loop, after it has submitted, and then
/// `poll` until it gives nothing. It comes back by [`Store::poll_timeout`].
pub trait Store {
    /// Takes an operation on; never blocks and never refuses. Tickets grow.
    fn submit(&mut self, op: Op) -> Ticket;

    /// The next operation that has completed. Each ticket comes once.
    fn poll(&mut self) -> Option<Completion>;

    /// Sets what was submitted going. An engine that gathers writes does so until here.
    fn flush(&mut self, now: Now);

    /// When to call `flush` at the latest; `None` while nothing is under way, and while the
    /// engine will wake its driver by itself.
    fn poll_timeout(&self) -> Option<Mono>;

    /// Whether an operation is under way: submitted, and not yet taken with `poll`.
    fn wants_io(&self) -> bool;

    /// Whether what it completes outlives the process.
    fn is_durable(&self) -> bool;

    /// Bytes held, counted as the cap counts them.
    fn used_bytes(&self) -> u64;

    /// Why nothing will be stored any more, however often it is tried: the process is to stop.
    fn failure(&self) -> Option<&str> {
        None
    }
}

/// Which operation a completion belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub u64);

/// An operation, done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Completion {
    pub ticket: Ticket,
    pub result: Result<Outcome, StoreError>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    /// A new log that begins with `records`: all of it or nothing.
    Create {
        log: Incarnation,
        settings: LogSettings,
        records: Vec<NewEntry>,
    },
    Append {
        log: Incarnation,
        entry: NewEntry,
    },
    /// Entries from `from` on, those below `below`, at most `bytes_max` bytes ([`Entry::bytes`])
    /// but always one if there is one. Messages among them only without `records_only`.
    Read {
        log: Incarnation,
        from: Offset,
        below: Offset,
        bytes_max: usize,
        records_only: bool,
    },
    Find {
        log: Incarnation,
        what: Find,
    },
    /// Drops the oldest messages until what is kept is no more than `keep` allows.
    Trim {
        log: Incarnation,
        keep: Keep,
    },
    /// Remembers another retention for the log; what it keeps, a Trim says.
    Configure {
        log: Incarnation,
        retain: Retain,
    },
    /// Drops the log with all its entries.
    Remove {
        log: Incarnation,
    },
    /// Forgets the counters of a publisher that will not come back. What it sent stays.
    Forget {
        log: Incarnation,
        sender: u32,
    },
    /// Remembers a note in place of the one of the same key, if any.
    Put {
        note: Note,
    },
    /// Forgets a note; one that is not there is forgotten already.
    Drop {
        kind: NoteKind,
        key: Vec<u8>,
    },
}

/// What the broker remembers beside its logs: a value that only the broker understands. Notes
/// are always kept as durably as the engine can.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    pub kind: NoteKind,
    pub key: Vec<u8>,
    pub value: Vec<u8>,
}

/// What a note is about; its number is what the disk has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NoteKind {
    /// A request to join a topic.
    Request = 1,
    /// A certificate that a client has shown.
    Client = 2,
}

/// A place in a log that is not named by its offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Find {
    /// The first message kept of this time or later.
    Since(Wall),
    /// So many messages before the end; the oldest kept if there are fewer.
    Last(u64),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The log exists, with its first entries.
    Created {
        entries: Vec<Arc<Entry>>,
    },
    /// The entry is stored as the log's durability says.
    Appended {
        entry: Arc<Entry>,
    },
    /// `next` is where to read on. What lies between `from` and `next` and is not among the
    /// entries has been trimmed (or, with `records_only`, is a message).
    Entries {
        entries: Vec<Arc<Entry>>,
        next: Offset,
    },
    /// The end of the log if no message is meant.
    Found(Offset),
    Trimmed {
        freed_bytes: u64,
        kept: Kept,
    },
    /// The retention is kept, as the log's durability says.
    Configured,
    Removed {
        freed_bytes: u64,
    },
    Forgotten,
    /// Of Put and Drop.
    Noted,
}

/// What a trim is to keep: whatever all of these allow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Keep {
    /// No message below.
    pub from: Offset,
    /// No message older.
    pub since: Wall,
    /// No more messages; 0: any number.
    pub messages: u64,
    /// No more bytes of bodies; 0: any number.
    pub bytes: u64,
}

/// The messages that a log has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Kept {
    pub messages: u64,
    /// Of their bodies.
    pub bytes: u64,
    /// The offset and time of the oldest.
    pub oldest: Option<(Offset, Wall)>,
}

/// Why an operation was not done; nothing of it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreError {
    /// The cap on bytes is reached, or the disk is full.
    Full,
    NoSuchLog,
    /// There is a log of this incarnation.
    Exists,
    /// An append to this log failed before this one, and the broker could not know yet.
    EarlierFailed,
    /// What is kept at this offset is not what was stored there, or is gone. As the answer to a change:
    /// rows of the log are, and it takes no more; it can be read on, and removed.
    Damaged {
        offset: Offset,
    },
    /// The engine could not do it: a disk that is broken. In words, for the log file.
    Failed(String),
}

/// What an engine has to know of a log, and keeps for the broker's next start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogSettings {
    pub name: TopicName,
    pub durability: Durability,
    pub retain: Retain,
}

/// When an append is complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// Once it is in RAM.
    Memory,
    /// Once it is on disk, as far as the operating system can tell.
    Disk,
}

/// Consecutive counters of a publisher that got consecutive offsets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// The first of them.
    pub counter: Counter,
    pub offset: Offset,
    pub len: u64,
}

/// How much of a log is to be kept. The broker acts on it; the store only remembers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retain {
    /// 0: no limit, as in the others.
    pub messages: u64,
    /// Of sealed bodies.
    pub bytes: u64,
    /// In milliseconds.
    pub age_ms: u64,
}

impl Op {
    /// The log that the operation is about.
    pub fn log(&self) -> Option<Incarnation> {
        match *self {
            Op::Put { .. } | Op::Drop { .. } => None,
            Op::Create { log, .. }
            | Op::Append { log, .. }
            | Op::Read { log, .. }
            | Op::Find { log, .. }
            | Op::Trim { log, .. }
            | Op::Configure { log, .. }
            | Op::Forget { log, .. }
            | Op::Remove { log } => Some(log),
        }
    }

    /// Whether the operation only looks.
    pub fn is_query(&self) -> bool {
        matches!(self, Op::Read { .. } | Op::Find { .. })
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StoreError::Full => write!(f, "storage full"),
            StoreError::NoSuchLog => write!(f, "no such log"),
            StoreError::Exists => write!(f, "the log exists"),
            StoreError::EarlierFailed => write!(f, "an earlier append to the log failed"),
            StoreError::Damaged { offset } => write!(f, "the entry at {offset} is damaged"),
            StoreError::Failed(why) => write!(f, "the store failed: {why}"),
        }
    }
}

impl std::error::Error for StoreError {}
