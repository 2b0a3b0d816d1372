//! Entries that the store has read for cursors: held in RAM until they are sent, and no more of them
//! than a pool has room for.
//!
//! One entry may be as large as a message, whatever a read asks for, so that reads of many
//! connections could hold far more than their shares. When the pool is over, the oldest are let go:
//! whoever had them reads again when its socket takes more. A cursor reads only when its socket does,
//! so that nobody who drains it loses anything by that as a rule.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::Processor;
use super::cursor::Status;
use crate::base::ids::{ConnId, TopicHandle};
use crate::base::limits::FETCHED_BYTES_MAX;
use crate::store::{Entry, Ticket};

/// What one read has brought, in the order of offsets.
pub struct Fetched {
    pub entries: VecDeque<Arc<Entry>>,
    /// The read that brought it.
    read: Ticket,
    bytes: usize,
    pool: Arc<AtomicUsize>,
}

/// All that is held, and where the oldest is.
#[derive(Default)]
pub struct FetchedPool {
    /// Each [`Fetched`] gives back what it counts when it is dropped, however its cursor ends.
    bytes: Arc<AtomicUsize>,
    order: VecDeque<(ConnId, TopicHandle, Ticket)>,
    /// How long the order was when what is gone was last taken out of it.
    tidied_len: usize,
}

impl FetchedPool {
    pub fn hold(&self, read: Ticket, entries: Vec<Arc<Entry>>) -> Fetched {
        let bytes = entries.iter().map(|entry| entry.bytes() as usize).sum();
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        Fetched { entries: entries.into(), read, bytes, pool: Arc::clone(&self.bytes) }
    }

    pub fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }
}

impl Drop for Fetched {
    fn drop(&mut self) {
        self.pool.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

impl Processor {
    /// Notes that a cursor holds what a read has brought, and lets the oldest go that exceed the pool.
    pub(super) fn has_fetched(&mut self, id: ConnId, handle: TopicHandle, read: Ticket) {
        self.fetched.order.push_back((id, handle, read));
        // One is left at least: the newest, which is to be sent now.
        while self.fetched.bytes() > FETCHED_BYTES_MAX && self.fetched.order.len() > 1 {
            let Some((id, handle, read)) = self.fetched.order.pop_front() else { return };
            let seat = self.seats.get_mut(id);
            let Some(cursor) = seat.and_then(|seat| seat.cursor_mut(handle)) else { continue };
            if matches!(&cursor.status, Status::Fetched(held) if held.read == read) {
                cursor.status = Status::Ready;
            }
        }
        if self.fetched.order.len() > 2 * self.fetched.tidied_len + 1024 {
            let seats = &self.seats;
            self.fetched.order.retain(|(id, handle, read)| {
                let cursor = seats.get(*id).and_then(|seat| seat.cursor(*handle));
                cursor.is_some_and(|c| matches!(&c.status, Status::Fetched(held) if held.read == *read))
            });
            self.fetched.tidied_len = self.fetched.order.len();
        }
    }
}
