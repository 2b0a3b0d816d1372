//! One deadline for each connection, the nearest first.

use std::collections::BTreeSet;

use crate::base::Mono;
use crate::base::ids::ConnId;

/// Deadlines in order. A connection has one at most; setting another replaces it.
#[derive(Default)]
pub struct Timers {
    order: BTreeSet<(Mono, ConnId)>,
}

impl Timers {
    /// Moves `id`'s deadline from `old` to `new`; `None` is no deadline.
    pub fn set(&mut self, id: ConnId, old: Option<Mono>, new: Option<Mono>) {
        if old == new {
            return;
        }
        if let Some(at) = old {
            self.order.remove(&(at, id));
        }
        if let Some(at) = new {
            self.order.insert((at, id));
        }
    }

    /// The nearest deadline.
    pub fn next(&self) -> Option<Mono> {
        self.order.first().map(|(at, _)| *at)
    }

    /// Takes a connection whose deadline has come.
    pub fn pop_due(&mut self, now: Mono) -> Option<ConnId> {
        let (at, id) = *self.order.first()?;
        if at > now {
            return None;
        }
        self.order.pop_first();
        Some(id)
    }

    pub fn len(&self) -> usize {
        self.order.len()
    }
}
