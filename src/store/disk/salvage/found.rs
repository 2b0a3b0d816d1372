//! All rows but messages that are good, by the log they belong to.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use rusqlite::types::Value;
use rusqlite::{Connection, Row, params_from_iter};

use super::cells::{self, Cell};
use super::image::Image;
use crate::store::disk::fault::Fault;
use crate::store::disk::rows::{self, Log, Publisher, Totals};
use crate::store::{Entry, Note, Run, Sender};

pub(super) struct Found {
    judge: Judge,
    pub(super) topics: BTreeMap<i64, Topic>,
    pub(super) notes: BTreeMap<(i64, Vec<u8>), Note>,
    pub(super) totals: Option<Totals>,
}

/// A log, and what is there of it.
pub(super) struct Topic {
    pub(super) log: Log,
    /// How many records its row counts.
    pub(super) records_all: u64,
    pub(super) records: BTreeMap<u64, Arc<Entry>>,
    pub(super) senders: HashMap<u32, Arc<Sender>>,
    pub(super) publishers: HashMap<u32, Publisher>,
    pub(super) runs: HashMap<u32, BTreeMap<u64, Run>>,
    pub(super) messages: Vec<Message>,
}

/// A message that was copied.
#[derive(Clone, Copy)]
pub(super) struct Message {
    pub(super) offset: u64,
    pub(super) time: u64,
    pub(super) counter: u64,
    pub(super) body_bytes: u64,
    pub(super) sender: u32,
}

/// Gives columns the form in which the rest of the engine takes them.
pub(super) struct Judge(Connection);

impl Judge {
    pub(super) fn new() -> Result<Judge, Fault> {
        Ok(Judge(Connection::open_in_memory()?))
    }

    /// What `read` makes of the columns, `None` if they are not good.
    pub(super) fn row<T>(
        &self,
        values: &[Value],
        read: impl FnOnce(&Row<'_>) -> Result<T, Fault>,
    ) -> Option<T> {
        let places = vec!["?"; values.len()].join(",");
        let mut statement = self.0.prepare_cached(&format!("SELECT {places}")).ok()?;
        let mut rows = statement.query(params_from_iter(values)).ok()?;
        read(rows.next().ok()??).ok()
    }
}

impl Found {
    /// Looks through `pages`; `step` is called after each.
    pub(super) fn gather(image: &Image, pages: &[u32], step: &mut dyn FnMut()) -> Result<Found, Fault> {
        let judge = Judge::new()?;
        let mut found = Found { judge, topics: BTreeMap::new(), notes: BTreeMap::new(), totals: None };
        let mut later = Vec::new();
        for page in pages {
            let cells = image.page(*page).map(|page| cells::of(&page, 0)).unwrap_or_default();
            for cell in cells.iter().filter(|cell| cell.columns() != MESSAGE_COLUMNS) {
                let Some(values) = cell.values(image) else { continue };
                if !found.take_first(&values) {
                    later.push(values);
                }
            }
            step();
        }
        found.drop_twins();
        later.iter().for_each(|values| found.take_of_log(values));
        Ok(found)
    }

    /// Takes what can be judged without knowing its log.
    fn take_first(&mut self, values: &[Value]) -> bool {
        if let Some((log, [records_all, _])) = self.judge.row(values, Log::read) {
            let is_newer = |known: &Topic| known.log.id == log.id && known.log.next < log.next;
            if self.topics.get(&log.number).is_none_or(is_newer) {
                self.topics.insert(log.number, Topic::new(log, records_all));
            }
            return true;
        }
        if let Some(note) = self.judge.row(values, rows::read_note) {
            self.notes.entry((note.kind as i64, note.key.clone())).or_insert(note);
            return true;
        }
        match self.judge.row(values, Totals::read) {
            Some(totals) => self.totals.get_or_insert(totals) == &totals,
            None => false,
        }
    }

    /// No two topics of one name or number: the later ones come from pages that no tree leads to.
    fn drop_twins(&mut self) {
        let (mut names, mut ids) = (HashSet::new(), HashSet::new());
        self.topics
            .retain(|_, topic| names.insert(topic.log.settings.name.clone()) && ids.insert(topic.log.id));
    }

    fn take_of_log(&mut self, values: &[Value]) {
        let Some(topic) = topic_of(&mut self.topics, values) else { return };
        let Topic { log, .. } = topic;
        let judge = &self.judge;
        if let Some(record) = judge.row(values, |row| rows::read_record(row, log)) {
            topic.records.insert(record.offset.0, Arc::new(record));
        } else if let Some(sender) = judge.row(values, |row| rows::sender_from(row, log)) {
            topic.senders.insert(sender.number, sender);
        } else if let Some((number, publisher)) = judge.row(values, |row| Publisher::read(row, log)) {
            let known = topic.publishers.entry(number).or_insert_with(|| publisher.clone());
            if known.next < publisher.next {
                *known = publisher;
            }
        } else if let Some((number, run)) = judge.row(values, |row| rows::read_run(row, log)) {
            let runs = topic.runs.entry(number).or_default();
            let known = runs.entry(run.counter.0).or_insert(run);
            known.len = known.len.max(run.len);
        }
    }

    /// A message that is good, with the topic it is of.
    pub(super) fn message(
        &mut self,
        cell: &Cell,
        image: &Image,
    ) -> Option<(&mut Topic, Vec<Value>, Message)> {
        if cell.columns() != MESSAGE_COLUMNS {
            return None;
        }
        let values = cell.values(image)?;
        let topic = topic_of(&mut self.topics, &values)?;
        let found = self.judge.row(&values, |row| rows::check_message(row, &topic.log))?;
        let is_kept = found.offset >= topic.log.first && topic.senders.contains_key(&found.sender);
        let message = Message {
            offset: found.offset,
            time: found.time.0,
            counter: found.counter.0,
            body_bytes: found.body_bytes,
            sender: found.sender,
        };
        is_kept.then_some((topic, values, message))
    }
}

impl Topic {
    fn new(log: Log, records_all: u64) -> Topic {
        Topic {
            log,
            records_all,
            records: BTreeMap::new(),
            senders: HashMap::new(),
            publishers: HashMap::new(),
            runs: HashMap::new(),
            messages: Vec::new(),
        }
    }
}

fn topic_of<'a>(topics: &'a mut BTreeMap<i64, Topic>, values: &[Value]) -> Option<&'a mut Topic> {
    match values.first() {
        Some(Value::Integer(place)) => topics.get_mut(&(place >> rows::INDEX_BITS)),
        _ => None,
    }
}

const MESSAGE_COLUMNS: usize = 8;
