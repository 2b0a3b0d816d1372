//! A log made anew of what was found of it: without what is lost, and with its counts right.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use rusqlite::Connection;

use super::SalvagedTopic;
use super::found::{Message, Topic};
use crate::base::Wall;
use crate::base::ids::{Counter, Offset};
use crate::store::disk::apply::{LOG_BYTES, RESERVED};
use crate::store::disk::fault::Fault;
use crate::store::disk::rows::{self, Publisher};
use crate::store::{Content, Durability, Run};

impl Topic {
    /// Writes all but its messages, which are there already.
    pub(super) fn write(mut self, connection: &Connection) -> Result<SalvagedTopic, Fault> {
        self.messages.sort_unstable_by_key(|message| message.offset);
        let is_older = self.extend();
        self.log.records = Arc::new(self.records.keys().copied().collect());
        let lost = self.place(is_older);
        self.count();
        for record in self.records.values() {
            rows::write_entry(connection, &self.log, record)?;
        }
        for range in self.log.lost.iter() {
            rows::write_lost(connection, &self.log, *range)?;
        }
        let lost_publishers = self.write_publishers(connection)?;
        self.log.write(connection)?;
        Ok(SalvagedTopic {
            name: self.log.settings.name,
            messages: self.messages.len() as u64,
            lost,
            lost_publishers,
            is_older,
        })
    }

    /// A row that is older than what was stored: how many offsets were given out nobody knows, so
    /// that some are left out, or one would mean another message than before.
    fn extend(&mut self) -> bool {
        let last_message = self.messages.last().map(|message| message.offset);
        let last = last_message.max(self.records.keys().next_back().copied());
        let Some(last) = last.filter(|last| *last >= self.log.next) else { return false };
        self.log.next = last + 1 + RESERVED;
        self.log.reserved = self.log.reserved.max(self.log.next);
        true
    }

    /// The first message and what is lost behind it; all that was lost.
    fn place(&mut self, is_older: bool) -> Vec<(Offset, Offset)> {
        let log = &mut self.log;
        if log.settings.durability == Durability::Memory {
            log.first = log.next;
            return Vec::new();
        }
        let first = self.messages.first().map_or(log.next, |message| message.offset);
        let mut there: Vec<u64> = self.messages.iter().map(|message| message.offset).collect();
        there.extend(self.records.range(log.first..).map(|(offset, _)| offset));
        there.sort_unstable();
        let (mut lost, mut at) = (Vec::new(), log.first);
        for offset in there.into_iter().chain([log.next]) {
            if offset > at {
                lost.push((at, offset));
            }
            at = offset + 1;
        }
        log.first = first;
        log.lost = Arc::new(lost.iter().copied().filter(|(from, _)| *from > first).collect());
        if is_older {
            // Nothing is known to have been there.
            lost.pop();
        }
        lost.into_iter().map(|(from, to)| (Offset(from), Offset(to))).collect()
    }

    fn count(&mut self) {
        let log = &mut self.log;
        log.messages = self.messages.len() as u64;
        log.body_bytes = self.messages.iter().map(|message| message.body_bytes).sum();
        log.first_time = self.messages.first().map_or(Wall(0), |message| Wall(message.time));
        let last = self.messages.last().map_or(0, |message| message.time);
        let records = self.records.values().map(|record| record.time.0).max().unwrap_or(0);
        log.time = log.time.max(Wall(last)).max(Wall(records));
        if log.settings.durability == Durability::Memory {
            return;
        }
        let records: u64 = self.records.values().map(|record| record.bytes()).sum();
        let own = LOG_BYTES + log.settings.name.as_str().len() as u64;
        let messages = Content::message_bytes(0) * log.messages + log.body_bytes;
        log.bytes = own + records + messages;
    }

    /// Those whose row is lost are made of their messages; how many are.
    fn write_publishers(&mut self, connection: &Connection) -> Result<u64, Fault> {
        let mut sent: HashMap<u32, Vec<Message>> = HashMap::new();
        for message in &self.messages {
            sent.entry(message.sender).or_default().push(*message);
        }
        let (all, mut written, mut good) = (self.log.publishers, 0, 0);
        for (number, sender) in &self.senders {
            let messages = sent.remove(number).unwrap_or_default();
            let row = self.publishers.get(number);
            let mut runs = self.runs.remove(number).unwrap_or_default();
            let is_whole = row.is_some_and(|row| row.runs == runs.len() as u64);
            good += u64::from(is_whole);
            let Some(mut publisher) = merge(row, &messages) else { continue };
            if !is_whole {
                runs = runs_of(&messages);
            }
            publisher.runs = 0;
            if publisher.kept > 0 {
                self.log.bytes += sender.bytes();
            }
            rows::write_sender(connection, &self.log, sender)?;
            for run in runs.values() {
                publisher.runs += u64::from(rows::write_run(connection, &self.log, *number, run)?);
            }
            publisher.write(connection, &self.log, *number)?;
            self.log.senders = self.log.senders.max(number.saturating_add(1));
            written += 1;
        }
        self.log.publishers = written;
        Ok(all.saturating_sub(good))
    }
}

/// A publisher's row with what its messages say; `None` if nobody asks for it any more.
fn merge(row: Option<&Publisher>, messages: &[Message]) -> Option<Publisher> {
    let kept = messages.len() as u64;
    let next = messages.iter().map(|message| Counter(message.counter).next()).max();
    let last = messages.last().map_or(Wall(0), |message| Wall(message.time));
    let publisher = match row {
        Some(row) => Publisher {
            kept,
            next: row.next.max(next.unwrap_or(row.next)),
            last: row.last.max(last),
            ..row.clone()
        },
        None => Publisher { kept, next: next?, last, remembered: true, runs: 0 },
    };
    (publisher.kept > 0 || publisher.remembered).then_some(publisher)
}

/// The places of the last counters, as far as their messages are there.
fn runs_of(messages: &[Message]) -> BTreeMap<u64, Run> {
    let mut runs: BTreeMap<u64, Run> = BTreeMap::new();
    let recent = messages.len().saturating_sub(rows::REMEMBERED as usize);
    for message in &messages[recent..] {
        let goes_on = |run: &&mut Run| {
            (run.counter.0 + run.len, run.offset.0 + run.len) == (message.counter, message.offset)
        };
        match runs.values_mut().next_back().filter(goes_on) {
            Some(run) => run.len += 1,
            None => {
                let (counter, offset) = (Counter(message.counter), Offset(message.offset));
                runs.insert(message.counter, Run { counter, offset, len: 1 });
            }
        }
    }
    runs
}
