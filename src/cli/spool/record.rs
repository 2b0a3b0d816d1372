//! What stands in a spool, record by record, and what a sequence of records means.
//!
//! A record is a length and a sealed token; this knows what is inside the token. It knows no file.

use std::collections::VecDeque;

use crate::base::Wall;
use crate::base::ids::PublisherId;
use crate::client::KeptPublisher;
use crate::crypto::secret::Secret32;

/// One thing that happened to a spool.
pub enum Record {
    /// A message was accepted.
    Message { number: u64, content: Vec<u8> },
    /// From here on messages are counted under this id, the next one that is not answered as `at` says.
    Publisher { kept: Box<KeptPublisher>, at: Base },
    /// All before `until` may have been sent since then.
    Sent(Sent),
    /// All before were answered; the next one has this counter.
    Done(Base),
}

/// Which counter a message has: each later one has one more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Base {
    pub number: u64,
    pub counter: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sent {
    pub until: u64,
    pub time: Wall,
}

/// How it stands after some records.
#[derive(Default)]
pub struct History {
    /// The number of the first message that is not answered.
    pub done: u64,
    /// The next message's number.
    pub next: u64,
    /// The counter of `done`.
    pub counter: u64,
    pub publisher: Option<KeptPublisher>,
    /// When what is not answered was first sent under this id, in order.
    sent: VecDeque<Sent>,
    begun: bool,
}

impl History {
    pub fn take(&mut self, record: &Record) {
        match record {
            Record::Message { number, .. } => {
                if !std::mem::replace(&mut self.begun, true) {
                    self.done = *number;
                }
                self.next = number + 1;
            }
            Record::Publisher { kept, at } => {
                self.publisher = Some(*kept.clone());
                self.sent.clear();
                self.reach(*at);
            }
            Record::Sent(sent) => self.sent_until(*sent),
            Record::Done(base) => self.reach(*base),
        }
    }

    fn reach(&mut self, base: Base) {
        self.begun = true;
        self.done = self.done.max(base.number);
        self.next = self.next.max(self.done);
        self.counter = base.counter + (self.done - base.number);
        while self.sent.front().is_some_and(|sent| sent.until <= self.done) {
            self.sent.pop_front();
        }
    }

    fn sent_until(&mut self, sent: Sent) {
        match self.sent.back_mut() {
            Some(last) if sent.until <= last.until => {}
            // The older time is the one that matters.
            Some(last) if sent.time.since(last.time).as_secs() < SAME_TIME_SECS => last.until = sent.until,
            _ => self.sent.push_back(sent),
        }
    }

    /// Up to where messages may have been sent.
    pub fn sent(&self) -> u64 {
        self.sent.back().map_or(self.done, |sent| sent.until.max(self.done))
    }

    /// Since when one that is not answered may be with the broker.
    pub fn oldest_sent(&self) -> Option<Wall> {
        self.sent.front().map(|sent| sent.time)
    }

    /// The marks that still mean something.
    pub fn marks(&self) -> impl Iterator<Item = Sent> {
        self.sent.iter().copied()
    }

    pub fn waiting(&self) -> u64 {
        self.next - self.done
    }

    pub fn base(&self) -> Base {
        Base { number: self.done, counter: self.counter }
    }
}

impl Record {
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        let put = |out: &mut Vec<u8>, n: u64| out.extend_from_slice(&n.to_be_bytes());
        match self {
            Record::Message { number, content } => {
                out.push(MESSAGE);
                put(&mut out, *number);
                out.extend_from_slice(content);
            }
            Record::Publisher { kept, at } => {
                out.push(PUBLISHER);
                put(&mut out, at.number);
                put(&mut out, at.counter);
                out.extend_from_slice(&kept.id.0);
                out.extend_from_slice(kept.seed.expose());
                put(&mut out, kept.not_before.0);
                out.extend_from_slice(&kept.delegation);
            }
            Record::Sent(sent) => {
                out.push(SENT);
                put(&mut out, sent.until);
                put(&mut out, sent.time.0);
            }
            Record::Done(base) => {
                out.push(DONE);
                put(&mut out, base.number);
                put(&mut out, base.counter);
            }
        }
        out
    }

    /// Nothing: a form that this version does not know.
    pub fn decode(bytes: &[u8]) -> Option<Record> {
        let (kind, rest) = bytes.split_first()?;
        let (first, rest) = rest.split_first_chunk()?;
        let first = u64::from_be_bytes(*first);
        if *kind == MESSAGE {
            return Some(Record::Message { number: first, content: rest.to_vec() });
        }
        let (second, rest) = rest.split_first_chunk()?;
        let second = u64::from_be_bytes(*second);
        let base = Base { number: first, counter: second };
        match *kind {
            SENT if rest.is_empty() => Some(Record::Sent(Sent { until: first, time: Wall(second) })),
            DONE if rest.is_empty() => Some(Record::Done(base)),
            PUBLISHER => {
                let (id, rest) = rest.split_first_chunk()?;
                let (seed, rest) = rest.split_first_chunk()?;
                let (not_before, delegation) = rest.split_first_chunk()?;
                let kept = KeptPublisher {
                    id: PublisherId(*id),
                    seed: Secret32::new(*seed),
                    delegation: delegation.to_vec(),
                    not_before: Wall(u64::from_be_bytes(*not_before)),
                };
                Some(Record::Publisher { kept: Box::new(kept), at: base })
            }
            _ => None,
        }
    }
}

const MESSAGE: u8 = 1;
const PUBLISHER: u8 = 2;
const SENT: u8 = 3;
const DONE: u8 = 4;
/// Marks of one minute are one: less to keep, and the older time is the careful one.
const SAME_TIME_SECS: u64 = 60;

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(byte: u8) -> Box<KeptPublisher> {
        Box::new(KeptPublisher {
            id: PublisherId([byte; 16]),
            seed: Secret32::new([byte; 32]),
            delegation: vec![byte; 5],
            not_before: Wall(7),
        })
    }

    fn message(number: u64) -> Record {
        Record::Message { number, content: vec![9; 3] }
    }

    fn after(records: &[Record]) -> History {
        let mut history = History::default();
        records.iter().for_each(|record| history.take(record));
        history
    }

    #[test]
    fn records_are_read_as_they_were_written() {
        let records = [
            message(4),
            Record::Publisher { kept: kept(2), at: Base { number: 4, counter: 1 } },
            Record::Sent(Sent { until: 5, time: Wall(8) }),
            Record::Done(Base { number: 5, counter: 2 }),
        ];
        for record in &records {
            let bytes = record.encode();
            let again = Record::decode(&bytes).expect("our own");
            assert_eq!(again.encode(), bytes);
            assert!(bytes.len() < 18 || Record::decode(&bytes[..9]).is_none());
        }
        assert!(Record::decode(&[]).is_none() && Record::decode(&[9; 40]).is_none());
    }

    #[test]
    fn counters_follow_from_the_last_base() {
        let at = |number, counter| Base { number, counter };
        let history = after(&[
            message(0),
            message(1),
            Record::Publisher { kept: kept(1), at: at(0, 0) },
            Record::Sent(Sent { until: 2, time: Wall(100) }),
            message(2),
            Record::Done(at(1, 1)),
        ]);
        assert_eq!((history.done, history.next, history.counter), (1, 3, 1));
        assert_eq!((history.sent(), history.oldest_sent(), history.waiting()), (2, Some(Wall(100)), 2));
        // One that was refused has used no counter.
        let history = after(&[message(0), message(1), Record::Done(at(1, 0))]);
        assert_eq!(history.base(), at(1, 0));
        // Another id counts anew, and nothing was sent under it.
        let history = after(&[
            message(0),
            Record::Publisher { kept: kept(1), at: at(0, 0) },
            Record::Sent(Sent { until: 1, time: Wall(1) }),
            Record::Publisher { kept: kept(2), at: at(0, 0) },
        ]);
        assert_eq!((history.sent(), history.oldest_sent()), (0, None));
    }

    #[test]
    fn what_was_dropped_from_the_front_is_not_waited_for() {
        let history = after(&[message(70), message(71), Record::Done(Base { number: 71, counter: 3 })]);
        assert_eq!((history.done, history.waiting()), (71, 1));
    }

    #[test]
    fn marks_of_a_minute_are_one_and_the_older_counts() {
        let sent = |until, secs| Record::Sent(Sent { until, time: Wall::from_secs(secs) });
        let records = (0..9).map(message).chain([sent(2, 100), sent(4, 150), sent(6, 300)]);
        let mut history = after(&records.collect::<Vec<_>>());
        assert_eq!(history.marks().count(), 2);
        history.take(&Record::Done(Base { number: 4, counter: 4 }));
        assert_eq!(history.oldest_sent(), Some(Wall::from_secs(300)));
    }
}
