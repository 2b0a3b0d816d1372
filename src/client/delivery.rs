//! Where this client is in a topic's log, and whether what comes is what must come next.

use std::collections::{HashMap, VecDeque};

use super::failure::IntegrityFault;
use super::records::Records;
use crate::base::ids::{Counter, Fingerprint, Incarnation, Offset, PublisherId};

/// One topic's delivery. It outlives sessions: the next one goes on at [`Delivery::next`].
pub struct Delivery {
    pub incarnation: Incarnation,
    /// The offset of the next entry; all before it was delivered, or told of as a gap.
    pub next: Offset,
    /// Whether the caller has been told that the past has been delivered.
    pub caught_up: bool,
    /// How many gaps there were: across a gap a publisher's messages may be missing.
    gaps: u64,
    publishers: HashMap<Publisher, Seen>,
    /// Publishers from the one that was met first; the map forgets in this order.
    order: VecDeque<Publisher>,
}

/// A publisher id belongs to the client that uses it.
pub type Publisher = (Fingerprint, PublisherId);

/// A publisher's last message.
#[derive(Clone, Copy)]
struct Seen {
    counter: Counter,
    gaps: u64,
}

/// Publishers remembered in one topic; each run of a one-shot client is one.
const PUBLISHERS_MAX: usize = 4096;

impl Delivery {
    pub fn new(incarnation: Incarnation, start: Offset) -> Delivery {
        Delivery {
            incarnation,
            next: start,
            caught_up: false,
            gaps: 0,
            publishers: HashMap::new(),
            order: VecDeque::new(),
        }
    }

    /// The session resumes elsewhere than asked: what lies between is not told of again.
    pub fn move_to(&mut self, incarnation: Incarnation, start: Offset) {
        if incarnation != self.incarnation {
            // Another log: its publishers may count anew.
            self.publishers.clear();
            self.order.clear();
        }
        self.incarnation = incarnation;
        self.next = start;
        self.gaps += 1;
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
        self.gaps += 1;
        skipped
    }

    /// Holds a message's counter against the last one of its publisher. `Ok(Some(…))`: it is new,
    /// but messages before it are missing. An error: it came before.
    pub fn count(
        &mut self,
        who: Publisher,
        counter: Counter,
    ) -> Result<Option<IntegrityFault>, IntegrityFault> {
        let now = Seen { counter, gaps: self.gaps };
        let Some(seen) = self.publishers.get_mut(&who) else {
            self.meet(who, now);
            return Ok(None);
        };
        let last = std::mem::replace(seen, now);
        if counter <= last.counter {
            *seen = last;
            return Err(IntegrityFault::Replayed { counter });
        }
        let expected = last.counter.next();
        let is_missing = counter != expected && last.gaps == self.gaps;
        Ok(is_missing.then_some(IntegrityFault::Missing { expected, got: counter }))
    }

    /// What was left out between the place and `offset`. Records are sent ahead of their
    /// place when delivery begins behind them, and once only.
    fn skipped(&mut self, offset: Offset, records: &Records) -> Option<IntegrityFault> {
        let missing = offset.0.saturating_sub(self.next.0);
        if missing <= records.count_between(self.next, offset) {
            return None;
        }
        self.gaps += 1;
        Some(IntegrityFault::Skipped { from: self.next, to: offset })
    }

    fn meet(&mut self, who: Publisher, seen: Seen) {
        if self.order.len() >= PUBLISHERS_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.publishers.remove(&oldest);
        }
        self.order.push_back(who);
        self.publishers.insert(who, seen);
    }
}

/// The offset was delivered before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reached;

#[cfg(test)]
mod tests {
    use super::*;

    const WHO: Publisher = (Fingerprint([1; 32]), PublisherId([2; 16]));

    fn at(start: u64) -> Delivery {
        Delivery::new(Incarnation(7), Offset(start))
    }

    #[test]
    fn offsets_come_once_and_in_order() {
        let (mut d, none) = (at(2), Records::default());
        assert_eq!(d.reach(Offset(2), &none), Ok(None));
        assert_eq!(d.reach(Offset(3), &none), Ok(None));
        assert_eq!(d.reach(Offset(3), &none), Err(Reached));
        assert_eq!(d.reach(Offset(0), &none), Err(Reached));
        let left_out = IntegrityFault::Skipped { from: Offset(4), to: Offset(9) };
        assert_eq!(d.reach(Offset(9), &none), Ok(Some(left_out)));
        assert_eq!(d.next, Offset(10));
    }

    #[test]
    fn a_gap_that_is_told_is_no_omission() {
        let (mut d, none) = (at(0), Records::default());
        assert_eq!(d.gap(Offset(0), Offset(5), &none), None);
        assert_eq!(d.reach(Offset(5), &none), Ok(None));
        assert_eq!(d.pass(Offset(6), &none), None);
        let left_out = IntegrityFault::Skipped { from: Offset(6), to: Offset(8) };
        assert_eq!(d.pass(Offset(8), &none), Some(left_out));
        assert_eq!(d.pass(Offset(3), &none), None);
        assert_eq!(d.next, Offset(8), "never back");
    }

    #[test]
    fn counters_grow_by_one_but_for_gaps() {
        let mut d = at(0);
        assert_eq!(d.count(WHO, Counter(5)), Ok(None), "the first may be any");
        assert_eq!(d.count(WHO, Counter(6)), Ok(None));
        assert_eq!(d.count(WHO, Counter(6)), Err(IntegrityFault::Replayed { counter: Counter(6) }));
        assert_eq!(d.count(WHO, Counter(0)), Err(IntegrityFault::Replayed { counter: Counter(0) }));
        let missing = IntegrityFault::Missing { expected: Counter(7), got: Counter(9) };
        assert_eq!(d.count(WHO, Counter(9)), Ok(Some(missing)));
        d.gap(Offset(0), Offset(4), &Records::default());
        assert_eq!(d.count(WHO, Counter(20)), Ok(None));
        assert_eq!(d.count((WHO.0, PublisherId([3; 16])), Counter(0)), Ok(None));
    }

    #[test]
    fn in_another_log_publishers_may_count_anew() {
        let mut d = at(5);
        assert_eq!(d.count(WHO, Counter(3)), Ok(None));
        d.move_to(Incarnation(7), Offset(9));
        assert!(d.count(WHO, Counter(0)).is_err());
        d.move_to(Incarnation(8), Offset(0));
        assert_eq!(d.count(WHO, Counter(0)), Ok(None));
        assert_eq!(d.next, Offset(0));
    }

    #[test]
    fn the_memory_of_publishers_is_bounded() {
        let mut d = at(0);
        let nth = |i: usize| (WHO.0, PublisherId((i as u128).to_be_bytes()));
        for i in 0..PUBLISHERS_MAX + 10 {
            assert_eq!(d.count(nth(i), Counter(0)), Ok(None));
        }
        assert_eq!(d.publishers.len(), PUBLISHERS_MAX);
        assert_eq!(d.count(nth(0), Counter(0)), Ok(None), "the first was forgotten");
        let newest = nth(PUBLISHERS_MAX + 9);
        assert!(d.count(newest, Counter(0)).is_err());
    }
}
