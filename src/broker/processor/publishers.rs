//! Who published what in a topic: counters that make a re-sent publish harmless.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use crate::base::Wall;
use crate::base::ids::{ConnId, Counter, Fingerprint, Offset, PublisherId};
use crate::base::limits::{PUBLISHER_MEMORY, UNANSWERED_PUBLISHES_MAX};
use crate::base::plain_hash::PlainMap;
use crate::store::{Run, Sender, StoredPublisher};
use crate::wire::values::RefuseCode;

/// The publishers of one topic. Each has a number that no other had or gets.
#[derive(Default)]
pub struct Publishers {
    /// Peers choose these keys, so that their hash is keyed; a number is all that is needed from then on.
    numbers: HashMap<PublisherKey, u32>,
    by_number: PlainMap<u32, Publisher>,
    next_number: u32,
}

/// A publisher id belongs to the client that used it: another client's equal id is another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PublisherKey {
    pub client: Fingerprint,
    pub id: PublisherId,
}

/// Who waits for the answer to a publish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Waiter {
    pub conn: ConnId,
    pub slot: u16,
}

/// What a counter means to the broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The next one: to be stored.
    Accept,
    /// Stored before, at this offset.
    Stored(Offset),
    /// On its way to the store: its answer will come to this waiter too.
    Pending,
    Refuse(RefuseCode, u64),
}

/// One publisher's place.
pub struct Publisher {
    pub sender: Arc<Sender>,
    /// The counter that is stored next.
    stored: Counter,
    /// Who waits for each of those on their way, from `stored` on.
    pending: VecDeque<Waiter>,
    /// Others who sent one of those again.
    repeats: Vec<(Counter, Waiter)>,
    /// Offsets of the last counters stored.
    runs: VecDeque<Run>,
    last_publish: Wall,
}

/// How many of a publisher's last offsets are remembered: twice the window, since a
/// re-send begins at most one window back.
const REMEMBERED: u64 = 2 * UNANSWERED_PUBLISHES_MAX as u64;

impl Publishers {
    pub fn len(&self) -> usize {
        self.by_number.len()
    }

    pub fn number_of(&self, key: &PublisherKey) -> Option<u32> {
        self.numbers.get(key).copied()
    }

    pub fn knows(&self, number: u32) -> bool {
        self.by_number.contains_key(&number)
    }

    /// The publishers that a log remembers at a start, of which no sender has had a number from
    /// `next_number` on; and the numbers of those that it was to forget, and had no room to: their clients
    /// have come again, under a higher number. What cannot be is said in words.
    pub fn restore(
        mut stored: Vec<StoredPublisher>,
        next_number: u32,
    ) -> Result<(Publishers, Vec<u32>), &'static str> {
        stored.sort_by_key(|publisher| publisher.sender.number);
        let mut numbers = HashMap::with_capacity(stored.len());
        let mut by_number = PlainMap::default();
        let mut outlived = Vec::new();
        for StoredPublisher { sender, next, last_publish, runs } in stored {
            if sender.number >= next_number {
                return Err("a publisher has a number that none has had");
            }
            let key = PublisherKey { client: sender.fingerprint, id: sender.publisher };
            let runs = restore_runs(runs, next)?;
            let number = sender.number;
            let (stored, pending, repeats) = (next, VecDeque::new(), Vec::new());
            let publisher = Publisher { sender, stored, pending, repeats, runs, last_publish };
            if by_number.insert(number, publisher).is_some() {
                return Err("two publishers have the same number");
            }
            if let Some(before) = numbers.insert(key, number) {
                by_number.remove(&before);
                outlived.push(before);
            }
        }
        Ok((Publishers { numbers, by_number, next_number }, outlived))
    }

    /// Each one's number, with the time of its last publish.
    pub fn ages(&self) -> impl Iterator<Item = (u32, Wall)> {
        self.by_number.iter().map(|(number, p)| (*number, p.last_publish))
    }

    /// Whether this counter was stored, though perhaps not where.
    pub fn has_stored(&self, number: Option<u32>, counter: Counter) -> bool {
        number
            .and_then(|number| self.by_number.get(&number))
            .is_some_and(|publisher| counter < publisher.stored)
    }

    /// Judges a counter of a publisher, if it is one already, without changing anything but who waits
    /// for a pending one.
    pub fn judge(&mut self, number: Option<u32>, counter: Counter, waiter: Waiter) -> Verdict {
        let Some(publisher) = number.and_then(|number| self.by_number.get_mut(&number)) else {
            return if counter == Counter(0) {
                Verdict::Accept
            } else {
                Verdict::Refuse(RefuseCode::CounterAhead, 0)
            };
        };
        publisher.judge(counter, waiter)
    }

    /// Adds a publisher; `make` is given its number, by which subscribers will hear of it.
    pub fn add(&mut self, now: Wall, make: impl FnOnce(u32) -> Sender) -> u32 {
        let number = self.next_number;
        let sender = Arc::new(make(number));
        self.next_number = self.next_number.wrapping_add(1);
        self.numbers.insert(PublisherKey { client: sender.fingerprint, id: sender.publisher }, number);
        self.by_number.insert(
            number,
            Publisher {
                sender,
                stored: Counter(0),
                pending: VecDeque::new(),
                repeats: Vec::new(),
                runs: VecDeque::new(),
                last_publish: now,
            },
        );
        number
    }

    /// Notes that the next counter is on its way to the store, under whose name it goes.
    pub fn sent_to_store(&mut self, number: u32, waiter: Waiter, now: Wall) -> Option<Arc<Sender>> {
        let publisher = self.by_number.get_mut(&number)?;
        publisher.pending.push_back(waiter);
        publisher.last_publish = now;
        Some(Arc::clone(&publisher.sender))
    }

    /// The oldest pending counter is stored at `offset`: adds to `told` who is to be told.
    pub fn stored(&mut self, number: u32, offset: Offset, told: &mut Vec<Waiter>) {
        if let Some(publisher) = self.by_number.get_mut(&number) {
            publisher.take_waiters(publisher.stored, told);
            publisher.remember(offset);
        }
    }

    /// The oldest pending counter could not be stored; those behind it fail likewise, one
    /// call each. Adds to `told` who is to be told.
    pub fn failed(&mut self, number: u32, told: &mut Vec<Waiter>) {
        if let Some(publisher) = self.by_number.get_mut(&number) {
            publisher.take_waiters(publisher.stored, told);
            publisher.repeats_move_up();
        }
    }

    /// Forgets a publisher that will not come back; false if it stays, with messages pending, or is none.
    pub fn forget(&mut self, number: u32) -> bool {
        let Some(publisher) = self.by_number.get(&number).filter(|p| p.pending.is_empty()) else {
            return false;
        };
        let Sender { fingerprint: client, publisher: id, .. } = *publisher.sender;
        self.numbers.remove(&PublisherKey { client, id });
        self.by_number.remove(&number).is_some()
    }

    /// Forgets a publisher whose last publish is long past; otherwise says when it was.
    pub fn expire(&mut self, number: u32, now: Wall) -> Expiry {
        match self.by_number.get(&number) {
            None => Expiry::Unknown,
            Some(p) if now.since(p.last_publish) < PUBLISHER_MEMORY => Expiry::Live(p.last_publish),
            // It is not dead before its last messages are stored.
            Some(p) if !p.pending.is_empty() => Expiry::Live(now),
            Some(_) => {
                self.forget(number);
                Expiry::Forgotten
            }
        }
    }
}

/// A publisher's last offsets: consecutive counters each, none from `next` on.
fn restore_runs(runs: Vec<Run>, next: Counter) -> Result<VecDeque<Run>, &'static str> {
    let mut from = 0;
    for run in &runs {
        let end = run.counter.0.checked_add(run.len).filter(|_| run.offset.0.checked_add(run.len).is_some());
        match end {
            Some(end) if run.counter.0 >= from && end <= next.0 => from = end,
            _ => return Err("a publisher's counters do not fit each other"),
        }
    }
    let mut runs = VecDeque::from(runs);
    forget_runs(&mut runs, next);
    Ok(runs)
}

/// Drops runs that lie too far back to be sent again.
fn forget_runs(runs: &mut VecDeque<Run>, next: Counter) {
    let oldest = next.0.saturating_sub(REMEMBERED);
    while runs.front().is_some_and(|run| run.counter.0 + run.len <= oldest) {
        runs.pop_front();
    }
}

/// What became of a publisher that was looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expiry {
    Unknown,
    Forgotten,
    /// Its last publish was then.
    Live(Wall),
}

impl Publisher {
    fn judge(&mut self, counter: Counter, waiter: Waiter) -> Verdict {
        let next = self.stored.0 + self.pending.len() as u64;
        if counter.0 == next {
            return Verdict::Accept;
        }
        if counter.0 > next {
            return Verdict::Refuse(RefuseCode::CounterAhead, next);
        }
        if counter >= self.stored {
            let first = &mut self.pending[(counter.0 - self.stored.0) as usize];
            // One connection waits once: it replaces what it sent before.
            if first.conn == waiter.conn {
                *first = waiter;
            } else {
                self.repeats.retain(|(of, w)| *of != counter || w.conn != waiter.conn);
                self.repeats.push((counter, waiter));
            }
            return Verdict::Pending;
        }
        match self.offset_of(counter) {
            Some(offset) => Verdict::Stored(offset),
            None => Verdict::Refuse(RefuseCode::Forgotten, 0),
        }
    }

    /// Takes out who waits for the oldest pending counter, which is `counter`.
    fn take_waiters(&mut self, counter: Counter, told: &mut Vec<Waiter>) {
        told.extend(self.pending.pop_front());
        if !self.repeats.is_empty() {
            told.extend(self.repeats.iter().filter(|(of, _)| *of == counter).map(|(_, waiter)| *waiter));
            self.repeats.retain(|(of, _)| *of != counter);
        }
    }

    /// After a failure the counters behind it stand one place further to the front.
    fn repeats_move_up(&mut self) {
        self.repeats.iter_mut().for_each(|(of, _)| of.0 -= 1);
    }

    fn offset_of(&self, counter: Counter) -> Option<Offset> {
        let run = self.runs.iter().rev().find(|run| run.counter <= counter)?;
        let ahead = counter.0 - run.counter.0;
        (ahead < run.len).then_some(Offset(run.offset.0 + ahead))
    }

    fn remember(&mut self, offset: Offset) {
        let counter = self.stored;
        self.stored = counter.next();
        match self.runs.back_mut() {
            Some(run) if run.offset.0 + run.len == offset.0 => run.len += 1,
            _ => self.runs.push_back(Run { counter, offset, len: 1 }),
        }
        forget_runs(&mut self.runs, self.stored);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::names::Name;

    const KEY: PublisherKey = PublisherKey { client: Fingerprint([1; 32]), id: PublisherId([2; 16]) };

    fn waiter(slot: u32) -> Waiter {
        Waiter { conn: ConnId { slot, generation: 0 }, slot: 0 }
    }

    fn known() -> Publishers {
        let mut publishers = Publishers::default();
        publishers.add(Wall(0), |number| Sender {
            number,
            publisher: KEY.id,
            fingerprint: KEY.client,
            name: Name::parse("alice").expect("a good name"),
            delegation: Arc::from([].as_slice()),
            certificate: Arc::from([].as_slice()),
        });
        publishers
    }

    fn stored(publishers: &mut Publishers, offset: u64) -> Vec<Waiter> {
        let mut told = Vec::new();
        publishers.stored(0, Offset(offset), &mut told);
        told
    }

    fn failed(publishers: &mut Publishers) -> Vec<Waiter> {
        let mut told = Vec::new();
        publishers.failed(0, &mut told);
        told
    }

    #[test]
    fn an_unknown_publisher_begins_at_zero() {
        let mut publishers = Publishers::default();
        assert_eq!(publishers.judge(None, Counter(0), waiter(1)), Verdict::Accept);
        assert_eq!(
            publishers.judge(None, Counter(7), waiter(1)),
            Verdict::Refuse(RefuseCode::CounterAhead, 0)
        );
    }

    #[test]
    fn a_repeat_gets_the_offset_it_got_before() {
        let mut publishers = known();
        for (counter, offset) in [(0, 5), (1, 6), (2, 9), (3, 10)] {
            assert_eq!(publishers.judge(Some(0), Counter(counter), waiter(1)), Verdict::Accept);
            publishers.sent_to_store(0, waiter(1), Wall(0));
            assert_eq!(stored(&mut publishers, offset), [waiter(1)]);
        }
        for (counter, offset) in [(0, 5), (1, 6), (2, 9), (3, 10)] {
            assert_eq!(
                publishers.judge(Some(0), Counter(counter), waiter(1)),
                Verdict::Stored(Offset(offset))
            );
        }
        assert_eq!(
            publishers.judge(Some(0), Counter(5), waiter(1)),
            Verdict::Refuse(RefuseCode::CounterAhead, 4)
        );
    }

    #[test]
    fn a_repeat_of_what_is_on_its_way_waits_with_it() {
        let mut publishers = known();
        publishers.sent_to_store(0, waiter(1), Wall(0));
        assert_eq!(publishers.judge(Some(0), Counter(0), waiter(2)), Verdict::Pending);
        assert_eq!(publishers.judge(Some(0), Counter(0), waiter(2)), Verdict::Pending);
        assert_eq!(stored(&mut publishers, 3), [waiter(1), waiter(2)]);
    }

    #[test]
    fn what_failed_is_used_again() {
        let mut publishers = known();
        publishers.sent_to_store(0, waiter(1), Wall(0));
        publishers.sent_to_store(0, waiter(1), Wall(0));
        assert_eq!(publishers.judge(Some(0), Counter(1), waiter(2)), Verdict::Pending);
        assert_eq!(failed(&mut publishers), [waiter(1)]);
        assert_eq!(failed(&mut publishers), [waiter(1), waiter(2)]);
        assert_eq!(publishers.judge(Some(0), Counter(0), waiter(1)), Verdict::Accept);
    }

    #[test]
    fn memory_of_offsets_is_bounded_and_says_so() {
        let mut publishers = known();
        // Every second offset, so that no two counters share a run.
        for i in 0..3 * REMEMBERED {
            publishers.sent_to_store(0, waiter(1), Wall(0));
            stored(&mut publishers, 2 * i);
        }
        assert!(publishers.by_number[&0].runs.len() as u64 <= REMEMBERED + 1);
        assert_eq!(
            publishers.judge(Some(0), Counter(0), waiter(1)),
            Verdict::Refuse(RefuseCode::Forgotten, 0)
        );
        let recent = 3 * REMEMBERED - REMEMBERED / 2;
        assert_eq!(
            publishers.judge(Some(0), Counter(recent), waiter(1)),
            Verdict::Stored(Offset(2 * recent))
        );
    }

    #[test]
    fn publishers_expire_a_day_after_their_last_publish() {
        let mut publishers = known();
        publishers.sent_to_store(0, waiter(1), Wall(1000));
        let late = Wall(1000) + PUBLISHER_MEMORY;
        assert!(matches!(publishers.expire(0, late), Expiry::Live(_)), "a pending one stays");
        stored(&mut publishers, 0);
        assert_eq!(publishers.expire(0, Wall(2000)), Expiry::Live(Wall(1000)));
        assert_eq!(publishers.expire(0, late), Expiry::Forgotten);
        assert_eq!(publishers.expire(0, late), Expiry::Unknown);
        assert_eq!(publishers.number_of(&KEY), None, "it may come again, and gets another number");
    }
}
