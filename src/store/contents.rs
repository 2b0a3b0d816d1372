//! What a store tells at its start: everything that the broker has to know of it without a look
//! at any message.

use std::sync::Arc;

use super::{Entry, Kept, LogSettings, Note, Run, Sender};
use crate::base::Wall;
use crate::base::ids::{Counter, Incarnation, Offset};

/// All that a store has but messages.
#[derive(Clone, Debug, Default)]
pub struct Contents {
    pub logs: Vec<Stored>,
    pub notes: Vec<Note>,
}

/// A log as it is at a start.
#[derive(Clone, Debug)]
pub struct Stored {
    pub log: Incarnation,
    pub settings: LogSettings,
    /// Membership records, with certificates and wraps: the chain is made of them.
    pub records: Vec<Arc<Entry>>,
    /// The offset and the earliest time of the next entry. In a log of RAM it lies beyond all
    /// offsets that were ever given out.
    pub next: Offset,
    pub time: Wall,
    pub kept: Kept,
    pub publishers: Vec<StoredPublisher>,
    /// The lowest number that no sender has had.
    pub next_sender: u32,
}

/// A publisher that has not been forgotten.
#[derive(Clone, Debug)]
pub struct StoredPublisher {
    pub sender: Arc<Sender>,
    /// The counter that is stored next.
    pub next: Counter,
    pub last_publish: Wall,
    /// The offsets of the last counters.
    pub runs: Vec<Run>,
}
