//! Where this client is in a topic's log, and whether what comes is what must come next.
//!
//! Each publisher counts its messages from 0. Where nothing was passed over, the next one of a
//! publisher is known, and a new publisher begins at 0; what was read before must not change.
//! It knows nothing of keys: what it is told of has been verified.

use std::collections::{BTreeMap, HashMap};

use super::failure::IntegrityFault;
use super::pins::Place;
use super::records::Records;
use crate::base::ids::{Counter, Fingerprint, Incarnation, Offset, PublisherId};

/// One topic's delivery. It outlives sessions: the next one goes on at [`Delivery::next`].
pub struct Delivery {
    pub incarnation: Incarnation,
    /// The offset of the next entry; all before it was delivered, or told of as a gap.
    pub next: Offset,
    /// Whether the caller has been told that the past has been delivered.
    pub caught_up: bool,
    /// Whether the caller has been told that it begins.
    pub announced: bool,
    /// From here to [`Delivery::next`] nothing was passed over.
    unbroken: Offset,
    /// Whether all publishers since then are known: none had to be forgotten.
    is_complete: bool,
    /// Where delivery began; what was read before is in `before`.
    begun: Offset,
    seen: Places,
    /// What was read before delivery began here, and may come again.
    before: Memory,
}

/// A publisher id belongs to the client that uses it.
pub type Publisher = (Fingerprint, PublisherId);

/// What is remembered of a topic's delivery, for when it begins again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// All messages below were read or passed over.
    pub next: Offset,
    /// From here to `next` nothing was passed over. Who does not know says `next`.
    pub unbroken: Offset,
    /// Whether each publisher that was met since `unbroken` has its place. Who does not know says no.
    pub is_complete: bool,
    /// Each publisher's newest message.
    pub places: BTreeMap<Publisher, Place>,
}

/// The newest message of each publisher, no more than so many.
#[derive(Default)]
struct Places {
    by_publisher: HashMap<Publisher, Place>,
    by_offset: BTreeMap<Offset, Publisher>,
}

/// Publishers known in one topic while it is delivered; each run of a one-shot client is one.
const PUBLISHERS_MAX: usize = 4096;
/// Those that are remembered, the newest.
const REMEMBERED_MAX: usize = 256;

impl Delivery {
    pub fn new(incarnation: Incarnation, start: Offset) -> Delivery {
        Delivery::with_memory(incarnation, start, Memory { is_complete: true, ..Memory::default() })
    }

    /// Begins at `start` of a log of which `before` is known.
    pub fn with_memory(incarnation: Incarnation, start: Offset, mut before: Memory) -> Delivery {
        let mut delivery = Delivery {
            incarnation,
            next: start,
            caught_up: false,
            announced: false,
            unbroken: start,
            is_complete: true,
            begun: start,
            seen: Places::default(),
            before: Memory::default(),
        };
        // Goes on where, or in the midst of what, was read without a break.
        if before.unbroken <= start && start <= before.next && before.next > Offset(0) {
            delivery.unbroken = before.unbroken;
            delivery.is_complete = before.is_complete;
            for (who, place) in before.places.extract_if(.., |_, place| place.offset < start) {
                delivery.seen.insert(who, place);
            }
        }
        delivery.before = before;
        delivery
    }

    /// What is to be remembered.
    pub fn memory(&self) -> Memory {
        let mut places = self.before.places.clone();
        for (who, place) in &self.seen.by_publisher {
            let known = places.entry(*who).or_insert(*place);
            if known.offset < place.offset {
                *known = *place;
            }
        }
        let has_passed_all = self.next >= self.before.next;
        let (unbroken, is_complete) = match has_passed_all {
            true => (self.unbroken, self.is_complete),
            false => (self.before.unbroken, self.before.is_complete),
        };
        let is_complete = is_complete && places.len() <= REMEMBERED_MAX;
        if places.len() > REMEMBERED_MAX {
            let mut offsets: Vec<Offset> = places.values().map(|place| place.offset).collect();
            offsets.sort_unstable_by(|a, b| b.cmp(a));
            places.retain(|_, place| place.offset > offsets[REMEMBERED_MAX]);
        }
        Memory { next: self.next.max(self.before.next), unbroken, is_complete, places }
    }

    /// Whether a session that begins at `start` of this log goes on here, or leaves something out.
    pub fn goes_on_at(&self, incarnation: Incarnation, start: Offset) -> bool {
        incarnation == self.incarnation && start >= self.next
    }

    /// The session resumes elsewhere than asked: what lies between is not told of again.
    pub fn move_to(&mut self, incarnation: Incarnation, start: Offset) {
        let before = match incarnation == self.incarnation {
            true => self.memory(),
            // Another log: its publishers may count anew.
            false => Memory::default(),
        };
        let caught_up = self.caught_up;
        *self = Delivery { caught_up, ..Delivery::with_memory(incarnation, start, before) };
    }

    /// A message at `offset` has come. `Ok(Some(…))`: it may be taken, but entries before it were
    /// left out. An error: it came before.
    pub fn reach(&mut self, offset: Offset, records: &Records) -> Result<Option<IntegrityFault>, Reached> {
        if offset < self.next {
            return Err(Reached);
        }
        let skipped = self.skipped(offset, records);
        self.next = offset.next();
        Ok(skipped)
    }

    /// The broker says that all before `offset` has been sent.
    pub fn pass(&mut self, offset: Offset, records: &Records) -> Option<IntegrityFault> {
        let skipped = self.skipped(offset, records);
        self.next = self.next.max(offset);
        skipped
    }

    /// The broker says that the messages from `from` to before `to` are not kept any more.
    pub fn gap(&mut self, from: Offset, to: Offset, records: &Records) -> Option<IntegrityFault> {
        let skipped = self.skipped(from, records);
        self.next = self.next.max(to);
        self.unbroken = self.next;
        skipped
    }

    /// The entry that was reached last could not be opened, and so not be counted.
    pub fn could_not_open(&mut self) {
        self.unbroken = self.next;
    }

    /// Holds a verified message against what is known of its publisher. `Ok(Some(…))`: it is new,
    /// but messages before it are missing. An error: it came before, or something else stood there.
    pub fn count(
        &mut self,
        who: Publisher,
        place: Place,
        records: &Records,
    ) -> Result<Option<IntegrityFault>, IntegrityFault> {
        let counter = place.counter;
        self.before.check(who, place)?;
        let last = self.seen.by_publisher.get(&who).copied();
        if last.is_some_and(|last| counter <= last.counter) {
            return Err(IntegrityFault::Replayed { counter });
        }
        let expected = match last {
            Some(last) => (last.offset >= self.unbroken).then(|| last.counter.next()),
            None => self.begins_at_zero(who, records).then_some(Counter(0)),
        };
        self.is_complete &= self.seen.insert(who, place);
        let missing = expected.filter(|expected| *expected != counter);
        Ok(missing.map(|expected| IntegrityFault::Missing { expected, got: counter }))
    }

    /// Whether a publisher that was not seen yet must be one that has just begun: all messages
    /// from the log's first on were read, and each publisher is known that was met.
    fn begins_at_zero(&self, who: Publisher, records: &Records) -> bool {
        let is_whole = records.count_between(Offset(0), self.unbroken) == self.unbroken.0;
        // Where reading goes on before its newest message that was read, its older ones are not known.
        let was_cut = self.unbroken < self.begun && self.before.places.contains_key(&who);
        is_whole && self.is_complete && !was_cut
    }

    /// What was left out between the place and `offset`. Records are sent ahead of their
    /// place when delivery begins behind them, and once only.
    fn skipped(&mut self, offset: Offset, records: &Records) -> Option<IntegrityFault> {
        let missing = offset.0.saturating_sub(self.next.0);
        if missing <= records.count_between(self.next, offset) {
            return None;
        }
        let from = self.next;
        self.unbroken = offset;
        Some(IntegrityFault::Skipped { from, to: offset })
    }
}

impl Memory {
    /// Whether what comes now is what was read before, or may stand behind or before it.
    fn check(&self, who: Publisher, place: Place) -> Result<(), IntegrityFault> {
        // What stood at this offset stands there for ever.
        let stood_here = self.places.iter().find(|(_, known)| known.offset == place.offset);
        if let Some((publisher, known)) = stood_here
            && (*publisher, *known) != (who, place)
        {
            return Err(IntegrityFault::Rewritten { counter: known.counter });
        }
        let counter = place.counter;
        match self.places.get(&who) {
            Some(known) if place.offset > known.offset && counter <= known.counter => {
                Err(IntegrityFault::Replayed { counter })
            }
            Some(known) if place.offset < known.offset && counter >= known.counter => {
                Err(IntegrityFault::Rewritten { counter: known.counter })
            }
            _ => Ok(()),
        }
    }
}

impl Places {
    /// Notes a publisher's newest message. False if another publisher had to be forgotten.
    fn insert(&mut self, who: Publisher, place: Place) -> bool {
        if let Some(last) = self.by_publisher.insert(who, place) {
            self.by_offset.remove(&last.offset);
        }
        self.by_offset.insert(place.offset, who);
        if self.by_publisher.len() <= PUBLISHERS_MAX {
            return true;
        }
        if let Some((_, oldest)) = self.by_offset.pop_first() {
            self.by_publisher.remove(&oldest);
        }
        false
    }
}

/// The offset was delivered before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reached;

#[cfg(test)]
mod tests;
