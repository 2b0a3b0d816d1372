//! What a start has to know, read without a look at any message.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use rusqlite::{Connection, Row};

use super::Opening;
use super::database::{Change, Database, Numbers, WalGrowth};
use super::fault::Fault;
use super::rows::{self, INDEX_MAX, Log, Publisher, RECORD_COLUMNS, Totals, place};
use crate::base::ids::Offset;
use crate::store::{Contents, Durability, Entry, Note, Run, Stored, StoredPublisher};

impl Database {
    pub(super) fn load(
        connection: Connection,
        bytes_max: u64,
        progress: &mut dyn FnMut(Opening),
    ) -> Result<(Database, Contents), Fault> {
        let (mut logs, mut stored) = (HashMap::new(), Vec::new());
        let mut used_bytes = 0_u64;
        let totals = Totals::find(&connection)?;
        let mut statement = connection.prepare("SELECT * FROM logs ORDER BY number")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let (log, records) = read_log(&connection, row)?;
            used_bytes = used_bytes.saturating_add(log.bytes);
            stored.push(log.stored(&connection, records)?);
            if let Some(twin) = logs.insert(log.id, log) {
                return Err(Fault::Damaged(format!("two logs are one: {:?}", twin.settings.name)));
            }
            progress(Opening::Logs { done: stored.len() as u64, all: totals.logs });
        }
        drop(rows);
        drop(statement);
        let notes = read_notes(&connection)?;
        if totals != (Totals { logs: stored.len() as u64, notes: notes.len() as u64 }) {
            let found = (stored.len(), notes.len());
            return Err(Fault::Damaged(format!("{} logs and {} notes of {totals:?}", found.0, found.1)));
        }
        let mut database = Database {
            connection,
            logs,
            used_bytes,
            bytes_max,
            numbers: Numbers::default(),
            sweeps: Default::default(),
            scans: HashMap::new(),
            notes: totals.notes,
            spoiled: HashMap::new(),
            notes_are_spoiled: false,
            may_shrink: true,
            wal: WalGrowth::default(),
            change: Change::default(),
            unchecked_bytes: 0,
            commits: 0,
            #[cfg(test)]
            fail_commit: false,
            #[cfg(test)]
            fail_checkpoint: false,
        };
        database.find_garbage()?;
        // From here on others wait for its answers.
        database.connection.busy_timeout(BUSY_WAIT)?;
        Ok((database, Contents { logs: stored, notes }))
    }
}

fn read_log(connection: &Connection, row: &Row<'_>) -> Result<(Log, Vec<Arc<Entry>>), Fault> {
    let number: i64 = row.get(0)?;
    let bounds = [place(number, 0)?, place(number, INDEX_MAX)?];
    let (mut log, counts) = Log::read(row)?;
    let sentence =
        format!("SELECT {RECORD_COLUMNS} FROM records WHERE place >= ? AND place < ? ORDER BY place");
    let mut statement = connection.prepare_cached(&sentence)?;
    let mut found = statement.query(bounds)?;
    let mut records: Vec<Arc<Entry>> = Vec::new();
    while let Some(row) = found.next()? {
        let record = rows::read_record(row, &log)?;
        follows(records.last().map(|last| last.offset), record.offset, "record")?;
        records.push(Arc::new(record));
    }
    log.records = Arc::new(records.iter().map(|record| record.offset.0).collect());
    log.lost = Arc::new(read_lost(connection, &log, bounds)?);
    if [log.records.len() as u64, log.lost.len() as u64] != counts {
        let (found, all) = (log.records.len(), counts[0]);
        return Err(Fault::Damaged(format!("{found} of {all} records of {:?} are there", log.settings.name)));
    }
    if log.settings.durability == Durability::Memory {
        log.next = log.next.max(log.reserved);
        log.first = log.next;
    }
    Ok((log, records))
}

fn read_lost(connection: &Connection, log: &Log, bounds: [i64; 2]) -> Result<Vec<(u64, u64)>, Fault> {
    let mut statement = connection.prepare_cached(
        "SELECT place, length, checksum FROM lost WHERE place >= ? AND place < ? ORDER BY place",
    )?;
    let mut found = statement.query(bounds)?;
    let mut lost = Vec::new();
    while let Some(row) = found.next()? {
        let range = rows::read_lost(row, log)?;
        follows(lost.last(), &range, "lost range")?;
        lost.push(range);
    }
    Ok(lost)
}

impl Log {
    fn stored(&self, connection: &Connection, records: Vec<Arc<Entry>>) -> Result<Stored, Fault> {
        let bounds = [self.place(0)?, self.place(INDEX_MAX)?];
        let mut runs: HashMap<u32, Vec<Run>> = HashMap::new();
        let mut statement = connection.prepare_cached(
            "SELECT publisher, counter, start, length, checksum FROM runs \
             WHERE publisher >= ? AND publisher < ? ORDER BY publisher, counter",
        )?;
        let mut found = statement.query(bounds)?;
        while let Some(row) = found.next()? {
            let (number, run) = rows::read_run(row, self)?;
            let runs = runs.entry(number).or_default();
            follows(runs.last().map(|last| last.counter), run.counter, "run")?;
            runs.push(run);
        }
        let mut publishers = Vec::new();
        let mut statement = connection.prepare_cached(
            "SELECT place, kept, next, last, remembered, runs, checksum FROM publishers \
             WHERE place >= ? AND place < ? ORDER BY place",
        )?;
        let mut found = statement.query(bounds)?;
        let (mut rows_found, mut last) = (0, None);
        while let Some(row) = found.next()? {
            let (number, publisher) = Publisher::read(row, self)?;
            let runs = runs.remove(&number).unwrap_or_default();
            follows(last.replace(number), number, "publisher")?;
            rows_found += 1;
            if runs.len() as u64 != publisher.runs {
                let what = format!("counters of the publisher {number} of {:?} are gone", self.settings.name);
                return Err(Fault::Damaged(what));
            }
            if publisher.remembered {
                let sender = rows::read_sender(connection, self, number)?;
                let (next, last_publish) = (publisher.next, publisher.last);
                publishers.push(StoredPublisher { sender, next, last_publish, runs });
            }
        }
        if rows_found != self.publishers {
            let what = format!("{rows_found} of {} publishers of {:?}", self.publishers, self.settings.name);
            return Err(Fault::Damaged(what));
        }
        Ok(Stored {
            log: self.id,
            settings: self.settings.clone(),
            records,
            next: Offset(self.next),
            time: self.time,
            kept: self.kept(),
            publishers,
            next_sender: self.senders,
        })
    }
}

fn key_of(note: &Note) -> (i64, Vec<u8>) {
    (note.kind as i64, note.key.clone())
}

/// A page of a broken tree may show one row in another's place, and the count be right.
fn follows<T: PartialOrd>(last: Option<T>, next: T, what: &str) -> Result<(), Fault> {
    match last {
        Some(last) if last >= next => Err(Fault::Damaged(format!("a {what} is there twice"))),
        _ => Ok(()),
    }
}

/// How long a change waits for another process's lock before reads have a turn.
const BUSY_WAIT: Duration = Duration::from_secs(1);

fn read_notes(connection: &Connection) -> Result<Vec<Note>, Fault> {
    let mut statement =
        connection.prepare("SELECT kind, key, value, checksum FROM notes ORDER BY kind, key")?;
    let mut found = statement.query([])?;
    let mut notes = Vec::new();
    while let Some(row) = found.next()? {
        let note = rows::read_note(row)?;
        follows(notes.last().map(key_of), key_of(&note), "note")?;
        notes.push(note);
    }
    Ok(notes)
}
