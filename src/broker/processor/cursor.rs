//! A subscription to one topic: a place in its log, and why it is where it is.

use super::fetched::Fetched;
use super::topic::{ListenerKey, TopicKey};
use crate::base::ids::{Offset, RequestId};
use crate::store::Ticket;

/// One connection's place in one topic's log.
pub struct Cursor {
    pub topic: TopicKey,
    pub listener: ListenerKey,
    /// The next entry to look at.
    pub next: Offset,
    /// Records below were sent already: a cursor that goes back does not repeat them.
    pub records_sent: Offset,
    /// Messages below are skipped, records are not. [`RECORDS_ONLY`]: all messages are.
    pub floor: Offset,
    /// Where messages begin, while the records that there are go out before them: who was let in late finds
    /// the keys of the past in a record behind it. Until then `floor` is the end of these records.
    pub messages_from: Option<Offset>,
    /// A read found nothing from `next` to here.
    pub nothing_below: Offset,
    /// Whether the client wants messages; which of its topic's listeners it stands among.
    pub subscribed: bool,
    pub status: Status,
    /// Where the past ends, until the client has been told that it has seen it.
    pub past_end: Option<Offset>,
    /// Requests that are to be told where it begins, once the store has found that.
    pub unannounced: Vec<RequestId>,
    announced: Announced,
}

/// A floor above every offset.
pub const RECORDS_ONLY: Offset = Offset(u64::MAX);

/// What a cursor is doing.
pub enum Status {
    /// It has seen all there is; the topic's next entry wakes it.
    CaughtUp,
    /// It may have something to send, and stands in its connection's queue.
    Ready,
    /// It waits for the store to find where it begins.
    Finding(Ticket),
    /// It would read from the store, and waits until its connection reads less.
    Parked,
    /// It waits for the entries of one read from the store.
    Reading(Ticket),
    /// Entries from the store, next to be sent; it stands in its connection's queue.
    Fetched(Fetched),
}

/// The senders that this connection was last told of, so that their names are not repeated
/// with each message. Bounded: a sender that has dropped out is named again.
struct Announced {
    numbers: [Option<u32>; ANNOUNCED],
    oldest: usize,
}

const ANNOUNCED: usize = 8;

impl Cursor {
    /// A cursor at rest that wants records only.
    pub fn new(topic: TopicKey, listener: ListenerKey) -> Cursor {
        Cursor {
            topic,
            listener,
            next: Offset(0),
            records_sent: Offset(0),
            floor: RECORDS_ONLY,
            messages_from: None,
            nothing_below: Offset(0),
            subscribed: false,
            status: Status::CaughtUp,
            past_end: None,
            unannounced: Vec::new(),
            announced: Announced { numbers: [None; ANNOUNCED], oldest: 0 },
        }
    }

    /// Begins messages at `floor` of a log that ends at `end`, behind all records below that.
    pub fn begin(&mut self, floor: Offset, end: Offset) {
        self.floor = floor;
        (self.messages_from, self.nothing_below) = (None, Offset(0));
        if floor != RECORDS_ONLY {
            // What lies below the floor is records that were sent, or are still to be.
            self.next = self.next.min(floor);
            if floor < end {
                self.floor = end;
                self.messages_from = Some(floor);
            }
        }
    }

    /// The place from which the client has, or gets, messages.
    pub fn place(&self) -> Offset {
        self.messages_from.unwrap_or(self.next.max(self.floor))
    }

    /// Whether it stands in its connection's queue.
    pub fn is_queued(&self) -> bool {
        matches!(self.status, Status::Ready | Status::Fetched(_))
    }

    /// Whether entries of the store are held for it, or on their way.
    pub fn is_fetching(&self) -> bool {
        matches!(self.status, Status::Reading(_) | Status::Fetched(_))
    }

    /// Whether the client still knows who `sender` is.
    pub fn has_introduced(&self, sender: u32) -> bool {
        self.announced.numbers.contains(&Some(sender))
    }

    /// Notes that the client was told who `sender` is.
    pub fn introduced(&mut self, sender: u32) {
        self.announced.numbers[self.announced.oldest] = Some(sender);
        self.announced.oldest = (self.announced.oldest + 1) % ANNOUNCED;
    }
}
