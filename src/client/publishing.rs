//! Messages on their way to one topic: their counters, their order, their one answer each.
//!
//! A counter is refused when one before it was; all that was sent behind it is then refused
//! too. So after a refusal nothing is sent until every publish under way is answered, and
//! then it goes on from the first that is not stored. Nothing is stored twice, for the broker
//! knows each counter; nothing is skipped, for a counter that was refused is used again.
//!
//! Counters are those of a publisher id. Another id may be taken only for what cannot have been
//! stored under the one before.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use zeroize::Zeroizing;

use super::request::Ticket;
use super::signing::Under;
use crate::base::Mono;
use crate::base::ids::{Counter, Epoch, PublisherId};
use crate::wire::values::RefuseCode;

/// One topic's publishes that are not answered yet.
#[derive(Default)]
pub struct Publishing {
    /// Which of the client's publisher ids counts these messages; none before the first is sent.
    under: Option<Under>,
    /// An id that may not be gone on with: its counters are not known any more.
    spent: Option<PublisherId>,
    /// The caller keeps id and counters: without its word there is no other id, and no counter is used again.
    is_kept: bool,
    queue: VecDeque<Outgoing>,
    next: Counter,
    /// Counters sent in this session and not answered.
    awaiting: BTreeSet<Counter>,
    /// The refusal of the lowest counter since nothing is sent any more.
    refusal: Option<Refusal>,
    hold: Hold,
}

/// A message until its answer.
pub struct Outgoing {
    pub ticket: Ticket,
    pub counter: Counter,
    pub content: Zeroizing<Vec<u8>>,
    /// The body, and the epoch that it was sealed for.
    pub sealed: Option<(Epoch, Arc<[u8]>)>,
    sent: bool,
    /// Whether the broker may have stored it under its counter, answer or not.
    maybe_stored: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub counter: Counter,
    pub code: RefuseCode,
    pub detail: u64,
}

/// What sending waits for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Hold {
    #[default]
    Nothing,
    /// The record that starts this epoch.
    Epoch(Epoch),
    Until(Mono),
}

/// What follows from a refusal once all is answered.
#[derive(Debug, PartialEq, Eq)]
pub enum Consequence {
    /// Sending goes on, at once or when what it waits for has come.
    Resume,
    /// This message is refused for good; sending goes on with the next.
    FailOne(Ticket, Refusal),
    /// No message of this topic has a chance.
    FailAll(Refusal),
    /// The broker has forgotten the publisher id: go on under a new one.
    NewPublisher,
}

/// The broker answered a publish that it was not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unasked;

/// Before a message is sent again that was refused behind another one.
const RETRY_MS: u64 = 50;

impl Publishing {
    pub fn push(&mut self, ticket: Ticket, content: &[u8]) {
        let content = Zeroizing::new(content.to_vec());
        let counter = self.next;
        self.queue.push_back(Outgoing {
            ticket,
            counter,
            content,
            sealed: None,
            sent: false,
            maybe_stored: false,
        });
        self.next = self.next.next();
    }

    /// Counts on under an id that the caller keeps, from where it says. Nothing waits now.
    pub fn keep(&mut self, under: Under, next: Counter) {
        debug_assert!(self.queue.is_empty(), "what waits has counters of another id");
        self.restart();
        self.under = Some(under);
        self.is_kept = true;
        self.next = next;
    }

    /// The caller keeps the id no longer.
    pub fn release(&mut self) {
        self.is_kept = false;
    }

    pub fn is_kept(&self) -> bool {
        self.is_kept
    }

    /// The publisher id, if it may be gone on with.
    pub fn under(&self) -> Option<Under> {
        self.under.filter(|under| Some(under.id) != self.spent)
    }

    pub fn spent(&self) -> Option<PublisherId> {
        self.spent
    }

    /// Whether messages of this topic wait that are another slot's.
    pub fn holds(&self, slot: u16) -> bool {
        !self.queue.is_empty() && self.is_under(slot)
    }

    pub fn is_under(&self, slot: u16) -> bool {
        self.under.is_some_and(|under| under.slot == slot)
    }

    /// Whether some of what waits may be stored under the id that there is.
    pub fn is_begun(&self) -> bool {
        self.queue.iter().any(|m| m.maybe_stored)
    }

    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    pub fn len(&self) -> usize {
        self.queue.len()
    }

    /// Bytes of contents that wait.
    pub fn bytes(&self) -> usize {
        self.queue.iter().map(|m| m.content.len()).sum()
    }

    /// How many are under way.
    pub fn in_flight(&self) -> usize {
        self.awaiting.len()
    }

    /// The next message to be sent, with `epoch` the newest that is known; if `only_begun`, none that
    /// another id may have.
    pub fn next_unsent(&mut self, epoch: Epoch, now: Mono, only_begun: bool) -> Option<&mut Outgoing> {
        let is_held = match self.hold {
            Hold::Nothing => false,
            Hold::Epoch(awaited) => epoch < awaited,
            Hold::Until(at) => now < at,
        };
        if is_held || self.refusal.is_some() {
            return None;
        }
        self.hold = Hold::Nothing;
        self.queue.get_mut(self.awaiting.len()).filter(|m| !m.sent && (m.maybe_stored || !only_begun))
    }

    /// Notes that the message which [`Publishing::next_unsent`] gave has been sent.
    pub fn sent(&mut self) {
        if let Some(message) = self.queue.get_mut(self.awaiting.len()) {
            message.sent = true;
            message.maybe_stored = true;
            self.awaiting.insert(message.counter);
        }
    }

    /// When sending may go on, if it waits for a time.
    pub fn held_until(&self) -> Option<Mono> {
        match self.hold {
            Hold::Until(at) if !self.queue.is_empty() => Some(at),
            _ => None,
        }
    }

    /// The oldest message is stored.
    pub fn stored(&mut self, counter: Counter) -> Result<Ticket, Unasked> {
        let is_oldest = self.queue.front().is_some_and(|m| m.counter == counter);
        if !is_oldest || !self.awaiting.remove(&counter) {
            return Err(Unasked);
        }
        self.queue.pop_front().map(|m| m.ticket).ok_or(Unasked)
    }

    /// A message was not stored; ask [`Publishing::settle`] what follows.
    pub fn refused(&mut self, refusal: Refusal) -> Result<(), Unasked> {
        if !self.awaiting.remove(&refusal.counter) {
            return Err(Unasked);
        }
        if let Some(message) = self.queue.iter_mut().find(|m| m.counter == refusal.counter) {
            message.maybe_stored = false;
        }
        if self.refusal.is_none_or(|first| refusal.counter < first.counter) {
            self.refusal = Some(refusal);
        }
        Ok(())
    }

    /// What follows from a refusal, once nothing is under way any more.
    pub fn settle(&mut self, now: Mono) -> Option<Consequence> {
        if matches!(self.hold, Hold::Until(at) if now >= at) {
            self.hold = Hold::Nothing;
        }
        if !self.awaiting.is_empty() {
            return None;
        }
        let refusal = self.refusal.take()?;
        self.rewind();
        Some(self.consequence(refusal, now))
    }

    fn consequence(&mut self, refusal: Refusal, now: Mono) -> Consequence {
        let first = self.queue.front().map_or(self.next, |m| m.counter);
        let later = |ms| Hold::Until(now + std::time::Duration::from_millis(ms));
        match refusal.code {
            RefuseCode::EpochChanged => {
                self.hold = Hold::Epoch(Epoch(refusal.detail.try_into().unwrap_or(u32::MAX)));
                Consequence::Resume
            }
            RefuseCode::Busy => {
                self.hold = later(refusal.detail.max(1));
                Consequence::Resume
            }
            RefuseCode::CounterAhead if refusal.detail < first.0 => Consequence::NewPublisher,
            RefuseCode::CounterAhead | RefuseCode::EarlierRefused => {
                self.hold = later(RETRY_MS);
                Consequence::Resume
            }
            RefuseCode::TooLarge if self.is_kept => Consequence::FailAll(refusal),
            RefuseCode::TooLarge => match self.drop_one(refusal.counter) {
                Some(ticket) => Consequence::FailOne(ticket, refusal),
                None => Consequence::Resume,
            },
            _ => Consequence::FailAll(refusal),
        }
    }

    /// Takes a message out; those behind it move up, since its counter is used again.
    fn drop_one(&mut self, counter: Counter) -> Option<Ticket> {
        let at = self.queue.iter().position(|m| m.counter == counter)?;
        let gone = self.queue.remove(at)?;
        self.count_from(gone.counter, at);
        Some(gone.ticket)
    }

    /// Takes all messages out: who asked for them. Their counters are used again, unless one may be
    /// stored: then it is not known which ones.
    pub fn drop_all(&mut self) -> Vec<Ticket> {
        let tickets = self.queue.iter().map(|m| m.ticket).collect();
        if let Some(first) = self.queue.front() {
            self.next = first.counter;
        }
        if self.is_begun() {
            self.spend();
        }
        self.queue.clear();
        self.end_session();
        tickets
    }

    /// Nothing that was sent will be answered any more: all of it is to be sent again.
    pub fn end_session(&mut self) {
        self.awaiting.clear();
        self.refusal = None;
        self.hold = Hold::Nothing;
        self.rewind();
    }

    /// Goes on under another publisher id, with all that is not answered.
    pub fn renumber(&mut self, under: Under) {
        self.restart();
        self.under = Some(under);
    }

    /// Counts from 0, in another topic of this name: any id will do.
    pub fn restart(&mut self) {
        self.end_session();
        self.under = None;
        self.spent = None;
        self.count_from(Counter(0), 0);
    }

    /// The id may not be gone on with. Its slot is kept until another one is found.
    pub fn spend(&mut self) {
        self.spent = self.under.map(|under| under.id);
    }

    fn rewind(&mut self) {
        self.queue.iter_mut().for_each(|m| m.sent = false);
    }

    /// Counts on from `counter` at place `at`. What was sealed with another counter is sealed anew.
    fn count_from(&mut self, counter: Counter, at: usize) {
        self.next = counter;
        for message in self.queue.iter_mut().skip(at) {
            message.counter = self.next;
            message.sealed = None;
            message.maybe_stored = false;
            self.next = self.next.next();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const E0: Epoch = Epoch(0);
    const NOW: Mono = Mono(1_000_000);

    const FIRST: Under = Under { slot: 0, id: PublisherId([1; 16]) };
    const SECOND: Under = Under { slot: 1, id: PublisherId([2; 16]) };

    fn with(n: u64) -> Publishing {
        let mut p = Publishing::default();
        p.renumber(FIRST);
        (0..n).for_each(|i| p.push(Ticket(i), &[i as u8]));
        p
    }

    /// Sends all that may be sent: which counters these are.
    fn send(p: &mut Publishing) -> Vec<u64> {
        let mut sent = Vec::new();
        while let Some(m) = p.next_unsent(E0, NOW, false) {
            sent.push(m.counter.0);
            m.sealed = Some((E0, Arc::from([0].as_slice())));
            p.sent();
        }
        sent
    }

    fn refuse(p: &mut Publishing, counter: u64, code: RefuseCode, detail: u64) {
        assert_eq!(p.refused(Refusal { counter: Counter(counter), code, detail }), Ok(()));
    }

    #[test]
    fn answers_come_in_order_and_once() {
        let mut p = with(3);
        assert_eq!(p.stored(Counter(0)), Err(Unasked), "it was not sent yet");
        assert_eq!(send(&mut p), [0, 1, 2]);
        assert_eq!(p.stored(Counter(1)), Err(Unasked));
        assert_eq!(p.stored(Counter(0)), Ok(Ticket(0)));
        assert_eq!(p.stored(Counter(0)), Err(Unasked));
        p.push(Ticket(3), b"");
        assert_eq!(send(&mut p), [3]);
        assert_eq!(p.stored(Counter(1)), Ok(Ticket(1)));
        assert_eq!(p.in_flight(), 2);
        assert!(p.settle(NOW).is_none());
    }

    #[test]
    fn a_lost_session_sends_the_same_counters_again() {
        let mut p = with(3);
        send(&mut p);
        assert_eq!(p.stored(Counter(0)), Ok(Ticket(0)));
        p.end_session();
        assert_eq!(p.stored(Counter(1)), Err(Unasked), "not of this session");
        assert_eq!(send(&mut p), [1, 2]);
        assert_eq!(p.stored(Counter(1)), Ok(Ticket(1)));
    }

    #[test]
    fn nothing_is_sent_between_a_refusal_and_the_last_answer() {
        let mut p = with(4);
        send(&mut p);
        refuse(&mut p, 2, RefuseCode::EpochChanged, 1);
        assert!(send(&mut p).is_empty());
        assert_eq!(p.stored(Counter(0)), Ok(Ticket(0)));
        refuse(&mut p, 3, RefuseCode::EarlierRefused, 2);
        assert!(p.settle(NOW).is_none());
        assert_eq!(p.stored(Counter(1)), Ok(Ticket(1)));
        assert_eq!(p.settle(NOW), Some(Consequence::Resume));
        assert!(send(&mut p).is_empty(), "the new epoch's record has not come");
        let again = p.next_unsent(Epoch(1), NOW, false).expect("now it has");
        assert_eq!((again.ticket, again.counter), (Ticket(2), Counter(2)));
    }

    #[test]
    fn a_message_refused_for_good_leaves_its_counter_to_the_next() {
        let mut p = with(3);
        send(&mut p);
        refuse(&mut p, 1, RefuseCode::TooLarge, 10);
        refuse(&mut p, 2, RefuseCode::EarlierRefused, 0);
        assert_eq!(p.stored(Counter(0)), Ok(Ticket(0)));
        assert!(matches!(p.settle(NOW), Some(Consequence::FailOne(Ticket(1), _))));
        let next = p.next_unsent(E0, NOW, false).expect("one is left");
        assert_eq!((next.ticket, next.counter, next.sealed.is_none()), (Ticket(2), Counter(1), true));
        p.push(Ticket(9), b"");
        assert_eq!(send(&mut p), [1, 2]);
    }

    #[test]
    fn the_lowest_counter_s_refusal_decides() {
        let mut p = with(2);
        send(&mut p);
        refuse(&mut p, 1, RefuseCode::CounterAhead, 0);
        refuse(&mut p, 0, RefuseCode::StorageFull, 0);
        let full = Refusal { counter: Counter(0), code: RefuseCode::StorageFull, detail: 0 };
        assert_eq!(p.settle(NOW), Some(Consequence::FailAll(full)));
        assert_eq!(p.drop_all(), [Ticket(0), Ticket(1)]);
        p.push(Ticket(5), b"");
        assert_eq!(send(&mut p), [0], "no counter was used up");
    }

    #[test]
    fn busy_is_waited_for() {
        let mut p = with(1);
        send(&mut p);
        refuse(&mut p, 0, RefuseCode::Busy, 20);
        assert_eq!(p.settle(NOW), Some(Consequence::Resume));
        assert!(send(&mut p).is_empty());
        let at = p.held_until().expect("it waits");
        assert_eq!(at, Mono(NOW.0 + 20_000));
        assert_eq!(p.settle(at), None);
        assert_eq!(p.held_until(), None, "what is over is not waited for, window or not");
        assert!(p.next_unsent(E0, at, false).is_some());
    }

    #[test]
    fn a_forgotten_publisher_begins_anew() {
        let mut p = with(3);
        send(&mut p);
        assert_eq!(p.stored(Counter(0)), Ok(Ticket(0)));
        p.end_session();
        send(&mut p);
        refuse(&mut p, 1, RefuseCode::CounterAhead, 0);
        refuse(&mut p, 2, RefuseCode::CounterAhead, 0);
        assert!(matches!(p.settle(NOW), Some(Consequence::NewPublisher)));
        p.spend();
        assert_eq!((p.under(), p.spent(), p.holds(0)), (None, Some(FIRST.id), true));
        p.renumber(SECOND);
        assert_eq!((p.under(), send(&mut p)), (Some(SECOND), vec![0, 1]));
        assert_eq!(p.stored(Counter(0)), Ok(Ticket(1)));
    }

    #[test]
    fn what_may_be_stored_keeps_its_id() {
        let mut p = with(2);
        assert!(!p.is_begun());
        assert!(p.next_unsent(E0, NOW, true).is_none());
        p.next_unsent(E0, NOW, false).expect("the first");
        p.sent();
        assert!(p.is_begun());
        p.end_session();
        let again = p.next_unsent(E0, NOW, true).expect("the first again");
        assert_eq!(again.counter, Counter(0));
        p.sent();
        assert!(p.next_unsent(E0, NOW, true).is_none(), "the second may have another id");
        refuse(&mut p, 0, RefuseCode::Busy, 1);
        assert!(!p.is_begun(), "what was refused is not stored");
    }

    #[test]
    fn counters_of_what_may_be_stored_are_not_used_again() {
        let mut p = with(2);
        assert_eq!(p.stored(Counter(0)), Err(Unasked));
        send(&mut p);
        assert_eq!(p.stored(Counter(0)), Ok(Ticket(0)));
        p.end_session();
        assert_eq!(p.drop_all(), [Ticket(1)]);
        assert_eq!((p.under(), p.spent()), (None, Some(FIRST.id)));
        p.push(Ticket(7), b"");
        p.renumber(SECOND);
        assert_eq!(send(&mut p), [0]);
    }
}
