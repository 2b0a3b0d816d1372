//! What the loop's thread asks of the writer's, and how it is answered.

use std::sync::Arc;

use crate::base::ids::Incarnation;
use crate::store::{Completion, Entry, Op, Outcome, StoreError, Ticket};

pub(super) enum Job {
    Op(Ticket, Op),
    /// A membership record of a log of RAM, at the offset it is going to have.
    Record {
        ticket: Ticket,
        log: Incarnation,
        entry: Arc<Entry>,
    },
    /// A log of RAM is about to give out offsets up to here.
    Reserve {
        ticket: Ticket,
        log: Incarnation,
        below: u64,
    },
    /// There is no room in RAM for this log; but if it exists, that is said.
    Refuse {
        ticket: Ticket,
        log: Incarnation,
    },
    /// The failure of this append has been seen: what comes from here on is new.
    Seen {
        log: Incarnation,
        failed: Ticket,
    },
    /// Looks at the engine from inside, between two rounds.
    #[cfg(test)]
    Probe(Box<dyn FnOnce(&mut super::database::Database) + Send>),
}

pub(super) type Results = Vec<(Ticket, Result<Outcome, StoreError>)>;

/// What a round has done.
pub(super) struct Report {
    pub(super) done: Vec<Done>,
    pub(super) used_bytes: u64,
    pub(super) commits: u64,
    pub(super) failure: Option<String>,
}

/// An operation, done.
pub(super) struct Done {
    pub(super) completion: Completion,
    /// The log whose appends are refused until this failure was seen.
    pub(super) failure_of: Option<Incarnation>,
}

impl Job {
    pub(super) fn ticket(&self) -> Option<Ticket> {
        match self {
            Job::Op(ticket, _)
            | Job::Record { ticket, .. }
            | Job::Reserve { ticket, .. }
            | Job::Refuse { ticket, .. } => Some(*ticket),
            _ => None,
        }
    }

    pub(super) fn log(&self) -> Option<Incarnation> {
        match self {
            Job::Op(_, op) => op.log(),
            Job::Record { log, .. }
            | Job::Reserve { log, .. }
            | Job::Refuse { log, .. }
            | Job::Seen { log, .. } => Some(*log),
            #[cfg(test)]
            Job::Probe(_) => None,
        }
    }

    /// Whether it may be refused for want of room; the others make some, or need next to none.
    pub(super) fn takes_room(&self) -> bool {
        match self {
            Job::Op(_, op) => matches!(op, Op::Create { .. } | Op::Append { .. } | Op::Put { .. }),
            Job::Record { .. } => true,
            _ => false,
        }
    }

    pub(super) fn is_append(&self) -> bool {
        matches!(self, Job::Op(_, Op::Append { .. }))
    }

    /// What it brings into a transaction.
    pub(super) fn bytes(&self) -> u64 {
        match self {
            Job::Op(_, Op::Append { entry, .. }) => entry.content.bytes(),
            Job::Op(_, Op::Create { records, .. }) => records.iter().map(|r| r.content.bytes()).sum(),
            Job::Record { entry, .. } => entry.bytes(),
            _ => 0,
        }
    }
}
