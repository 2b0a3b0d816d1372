//! What a start has to know, read without a look at any message.

use std::collections::HashMap;
use std::sync::Arc;

use rusqlite::{Connection, Row};

use super::Opening;
use super::database::{Change, Database, Numbers};
use super::fault::Fault;
use super::rows::{self, INDEX_MAX, Log, Publisher, RECORD_COLUMNS, place};
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
        let logs_all =
            connection.query_row("SELECT count(*) FROM logs", [], |row| row.get::<_, i64>(0))? as u64;
        let mut statement = connection.prepare("SELECT * FROM logs ORDER BY number")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let (log, records) = read_log(&connection, row)?;
            used_bytes = used_bytes.saturating_add(log.bytes);
            stored.push(log.stored(&connection, records)?);
            if let Some(twin) = logs.insert(log.id, log) {
                return Err(Fault::Damaged(format!("two logs are one: {:?}", twin.settings.name)));
            }
            progress(Opening::Logs { done: stored.len() as u64, all: logs_all });
        }
        drop(rows);
        drop(statement);
        let notes = read_notes(&connection)?;
        let mut database = Database {
            connection,
            logs,
            used_bytes,
            bytes_max,
            numbers: Numbers::default(),
            sweeps: Default::default(),
            scans: HashMap::new(),
            change: Change::default(),
            unchecked_bytes: 0,
            commits: 0,
            #[cfg(test)]
            fail_commit: false,
        };
        database.find_garbage()?;
        Ok((database, Contents { logs: stored, notes }))
    }
}

fn read_log(connection: &Connection, row: &Row<'_>) -> Result<(Log, Vec<Arc<Entry>>), Fault> {
    let number: i64 = row.get(0)?;
    let bounds = [place(number, 0)?, place(number, INDEX_MAX)?];
    let offsets = {
        let sentence = "SELECT place FROM records WHERE place >= ? AND place < ? ORDER BY place";
        let mut statement = connection.prepare_cached(sentence)?;
        let places = statement.query_map(bounds, |row| row.get(0))?;
        places.map(|place| place.map(rows::index)).collect::<Result<Vec<u64>, _>>()?
    };
    let mut log = Log::read(row, offsets)?;
    let sentence =
        format!("SELECT {RECORD_COLUMNS} FROM records WHERE place >= ? AND place < ? ORDER BY place");
    let mut statement = connection.prepare_cached(&sentence)?;
    let mut found = statement.query(bounds)?;
    let mut records = Vec::with_capacity(log.records.len());
    while let Some(row) = found.next()? {
        records.push(Arc::new(rows::read_record(row, &log)?));
    }
    if log.settings.durability == Durability::Memory {
        log.next = log.next.max(log.reserved);
        log.first = log.next;
    }
    Ok((log, records))
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
            runs.entry(number).or_default().push(run);
        }
        let mut publishers = Vec::new();
        let mut statement = connection.prepare_cached(
            "SELECT place, kept, next, last, remembered, checksum FROM publishers \
             WHERE place >= ? AND place < ? ORDER BY place",
        )?;
        let mut found = statement.query(bounds)?;
        while let Some(row) = found.next()? {
            let (number, publisher) = Publisher::read(row, self)?;
            if publisher.remembered {
                publishers.push(StoredPublisher {
                    sender: rows::read_sender(connection, self, number)?,
                    next: publisher.next,
                    last_publish: publisher.last,
                    runs: runs.remove(&number).unwrap_or_default(),
                });
            }
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

fn read_notes(connection: &Connection) -> Result<Vec<Note>, Fault> {
    let mut statement =
        connection.prepare("SELECT kind, key, value, checksum FROM notes ORDER BY kind, key")?;
    let mut found = statement.query([])?;
    let mut notes = Vec::new();
    while let Some(row) = found.next()? {
        notes.push(rows::read_note(row)?);
    }
    Ok(notes)
}
