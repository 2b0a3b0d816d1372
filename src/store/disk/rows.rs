//! Rows: each to its table and back, with a checksum that is held before anything is served.
//!
//! A checksum covers every column, the table's name, the log's incarnation and the row's place,
//! so that a row that was moved, or that a log of the same number left behind, is bad as well.
//! It is the first 64 bits of a SHA-256: a CRC32C would let one bad row in four billion pass,
//! and SHA-256 is here already. It finds accidents; whoever writes the file can write checksums,
//! and what guards against him are the signatures that clients check.

use std::sync::Arc;

use rusqlite::{Connection, Row, params};
use sha2::{Digest, Sha256};

use super::fault::Fault;
use crate::base::Wall;
use crate::base::ids::{Counter, Epoch, Fingerprint, Incarnation, Offset, PublisherId};
use crate::base::limits::UNANSWERED_PUBLISHES_MAX;
use crate::base::names::{Name, TopicName};
use crate::store::entry::Wraps;
use crate::store::{
    Content, Durability, Entry, Kept, LogSettings, Note, NoteKind, Retain, Run, Sender, Ticket,
};

/// A log, as its row has it.
#[derive(Clone, Debug)]
pub(super) struct Log {
    /// What stands for it in the places of its rows.
    pub(super) number: i64,
    pub(super) id: Incarnation,
    pub(super) settings: LogSettings,
    /// The offset and earliest time of the next entry.
    pub(super) next: u64,
    pub(super) time: Wall,
    /// The oldest message kept; the end if there is none.
    pub(super) first: u64,
    pub(super) first_time: Wall,
    pub(super) messages: u64,
    pub(super) body_bytes: u64,
    /// As the cap counts them; 0 for a log of RAM, which is counted there.
    pub(super) bytes: u64,
    /// The offsets of the records.
    pub(super) records: Arc<Vec<u64>>,
    /// The lowest number that no sender has had.
    pub(super) senders: u32,
    /// Of a log of RAM: no message has been given this offset or a higher one.
    pub(super) reserved: u64,
    /// The append that failed, until that was seen; those behind it fail too.
    pub(super) refused: Option<Ticket>,
}

/// What is counted of a publisher.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Publisher {
    /// How many of its messages are kept.
    pub(super) kept: u64,
    pub(super) next: Counter,
    pub(super) last: Wall,
    /// Until the broker says to forget it.
    pub(super) remembered: bool,
}

impl Log {
    pub(super) fn kept(&self) -> Kept {
        let oldest = (self.messages > 0).then_some((Offset(self.first), self.first_time));
        Kept { messages: self.messages, bytes: self.body_bytes, oldest }
    }

    pub(super) fn place(&self, index: u64) -> Result<i64, Fault> {
        place(self.number, index)
    }

    fn checksum(&self) -> i64 {
        let LogSettings { name, durability, retain } = &self.settings;
        let sum = Sum::new("logs", self.id, self.number).bytes(name.as_str().as_bytes());
        let numbers = [
            durability_number(*durability) as u64,
            retain.messages,
            retain.bytes,
            retain.age_ms,
            self.next,
            self.time.0,
            self.first,
            self.first_time.0,
            self.messages,
            self.body_bytes,
            self.bytes,
            self.records.len() as u64,
            u64::from(self.senders),
            self.reserved,
        ];
        numbers.into_iter().fold(sum, Sum::number).end()
    }

    pub(super) fn write(&self, connection: &Connection) -> Result<(), Fault> {
        let LogSettings { name, durability, retain } = &self.settings;
        let mut statement = connection
            .prepare_cached("INSERT OR REPLACE INTO logs VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)")?;
        statement.execute(params![
            self.number,
            self.id.0 as i64,
            name.as_str(),
            durability_number(*durability),
            retain.messages as i64,
            retain.bytes as i64,
            retain.age_ms as i64,
            self.next as i64,
            self.time.0 as i64,
            self.first as i64,
            self.first_time.0 as i64,
            self.messages as i64,
            self.body_bytes as i64,
            self.bytes as i64,
            self.records.len() as i64,
            self.senders,
            self.reserved as i64,
            self.checksum(),
        ])?;
        Ok(())
    }

    /// `records` are the offsets of those that were found.
    pub(super) fn read(row: &Row<'_>, records: Vec<u64>) -> Result<Log, Fault> {
        let name: String = row.get(2)?;
        let bad = || Fault::Damaged(format!("the row of the log {name:?}"));
        let log = Log {
            number: row.get(0)?,
            id: Incarnation(number(row, 1)?),
            settings: LogSettings {
                name: TopicName::parse(&name).map_err(|_| bad())?,
                durability: durability(row.get(3)?).ok_or_else(bad)?,
                retain: Retain { messages: number(row, 4)?, bytes: number(row, 5)?, age_ms: number(row, 6)? },
            },
            next: number(row, 7)?,
            time: Wall(number(row, 8)?),
            first: number(row, 9)?,
            first_time: Wall(number(row, 10)?),
            messages: number(row, 11)?,
            body_bytes: number(row, 12)?,
            bytes: number(row, 13)?,
            // Their number is among what the checksum covers.
            records: Arc::new(records),
            senders: row.get(15)?,
            reserved: number(row, 16)?,
            refused: None,
        };
        if log.checksum() != row.get::<_, i64>(17)? {
            return Err(bad());
        }
        Ok(log)
    }
}

// ---- Entries ----

pub(super) fn write_entry(connection: &Connection, log: &Log, entry: &Entry) -> Result<(), Fault> {
    let place = log.place(entry.offset.0)?;
    let checksum = entry_checksum(log.id, place, entry);
    match &entry.content {
        Content::Message { sender, epoch, counter, body, sha256 } => {
            let mut statement = connection.prepare_cached("INSERT INTO messages VALUES (?,?,?,?,?,?,?,?)")?;
            statement.execute(params![
                place,
                entry.time.0 as i64,
                sender.number,
                epoch.0,
                counter.0 as i64,
                sha256,
                checksum,
                &body[..],
            ])?;
        }
        Content::Record { record, certificate, wraps } => {
            let mut statement = connection.prepare_cached("INSERT INTO records VALUES (?,?,?,?,?,?)")?;
            let wraps = wraps_to_bytes(wraps);
            statement.execute(params![
                place,
                entry.time.0 as i64,
                &record[..],
                &certificate[..],
                wraps,
                checksum,
            ])?;
        }
    }
    Ok(())
}

/// A message as [`MESSAGE_COLUMNS`] gives it; `sender` finds who sent it.
pub(super) fn read_message(
    row: &Row<'_>,
    log: &Log,
    sender: impl FnOnce(u32) -> Result<Arc<Sender>, Fault>,
) -> Result<Entry, Fault> {
    let place: i64 = row.get(0)?;
    let content = Content::Message {
        sender: sender(row.get(2)?)?,
        epoch: Epoch(row.get(3)?),
        counter: Counter(number(row, 4)?),
        body: blob(row, 7)?.into(),
        sha256: row.get(5)?,
    };
    checked(row, log, place, content, 6)
}

/// A record as [`RECORD_COLUMNS`] gives it.
pub(super) fn read_record(row: &Row<'_>, log: &Log) -> Result<Entry, Fault> {
    let place: i64 = row.get(0)?;
    let wraps = wraps_from_bytes(blob(row, 4)?).ok_or_else(|| bad_entry(place))?;
    let content = Content::Record { record: blob(row, 2)?.into(), certificate: blob(row, 3)?.into(), wraps };
    checked(row, log, place, content, 5)
}

fn checked(
    row: &Row<'_>,
    log: &Log,
    place: i64,
    content: Content,
    checksum_column: usize,
) -> Result<Entry, Fault> {
    let entry = Entry { offset: Offset(index(place)), time: Wall(number(row, 1)?), content };
    if entry_checksum(log.id, place, &entry) != row.get::<_, i64>(checksum_column)? {
        return Err(bad_entry(place));
    }
    Ok(entry)
}

pub(super) const MESSAGE_COLUMNS: &str = "place, time, sender, epoch, counter, sha256, checksum, body";
pub(super) const RECORD_COLUMNS: &str = "place, time, record, certificate, wraps, checksum";

fn bad_entry(place: i64) -> Fault {
    Fault::Damaged(format!("the entry at {} of log {}", index(place), place >> INDEX_BITS))
}

fn entry_checksum(log: Incarnation, place: i64, entry: &Entry) -> i64 {
    match &entry.content {
        Content::Message { sender, epoch, counter, body, sha256 } => Sum::new("messages", log, place)
            .number(entry.time.0)
            .number(u64::from(sender.number))
            .number(u64::from(epoch.0))
            .number(counter.0)
            .bytes(sha256)
            .bytes(body)
            .end(),
        Content::Record { record, certificate, wraps } => Sum::new("records", log, place)
            .number(entry.time.0)
            .bytes(record)
            .bytes(certificate)
            .bytes(&wraps_to_bytes(wraps))
            .end(),
    }
}

/// Each wrap as its recipient, its length and itself.
fn wraps_to_bytes(wraps: &Wraps) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (recipient, wrap) in wraps.iter() {
        bytes.extend_from_slice(&recipient.0);
        bytes.extend_from_slice(&(wrap.len() as u32).to_be_bytes());
        bytes.extend_from_slice(wrap);
    }
    bytes
}

fn wraps_from_bytes(mut bytes: &[u8]) -> Option<Wraps> {
    let mut wraps = Vec::new();
    while !bytes.is_empty() {
        let (recipient, rest) = bytes.split_first_chunk::<32>()?;
        let (len, rest) = rest.split_first_chunk::<4>()?;
        let (wrap, rest) = rest.split_at_checked(u32::from_be_bytes(*len) as usize)?;
        wraps.push((Fingerprint(*recipient), wrap.into()));
        bytes = rest;
    }
    Some(wraps.into())
}

// ---- Who sent messages ----

pub(super) fn write_sender(connection: &Connection, log: &Log, sender: &Sender) -> Result<(), Fault> {
    let place = log.place(u64::from(sender.number))?;
    let mut statement = connection.prepare_cached("INSERT INTO senders VALUES (?,?,?,?,?,?,?)")?;
    statement.execute(params![
        place,
        sender.publisher.0,
        sender.fingerprint.0,
        sender.name.as_str(),
        &sender.delegation[..],
        &sender.certificate[..],
        sender_checksum(log.id, place, sender),
    ])?;
    Ok(())
}

/// The sender of this number; it is there while a message of it is, or its counters are.
pub(super) fn read_sender(connection: &Connection, log: &Log, number: u32) -> Result<Arc<Sender>, Fault> {
    let place = log.place(u64::from(number))?;
    let mut statement = connection.prepare_cached(
        "SELECT place, publisher, fingerprint, name, delegation, certificate, checksum \
         FROM senders WHERE place = ?",
    )?;
    let mut rows = statement.query([place])?;
    let bad = || Fault::Damaged(format!("the sender {number} of log {}", log.number));
    let row = rows.next()?.ok_or_else(bad)?;
    let sender = Sender {
        number,
        publisher: PublisherId(row.get(1)?),
        fingerprint: Fingerprint(row.get(2)?),
        name: Name::parse(&row.get::<_, String>(3)?).map_err(|_| bad())?,
        delegation: blob(row, 4)?.into(),
        certificate: blob(row, 5)?.into(),
    };
    if sender_checksum(log.id, place, &sender) != row.get::<_, i64>(6)? {
        return Err(bad());
    }
    Ok(Arc::new(sender))
}

fn sender_checksum(log: Incarnation, place: i64, sender: &Sender) -> i64 {
    Sum::new("senders", log, place)
        .bytes(&sender.publisher.0)
        .bytes(&sender.fingerprint.0)
        .bytes(sender.name.as_str().as_bytes())
        .bytes(&sender.delegation)
        .bytes(&sender.certificate)
        .end()
}

impl Publisher {
    pub(super) fn write(&self, connection: &Connection, log: &Log, number: u32) -> Result<(), Fault> {
        let place = log.place(u64::from(number))?;
        let mut statement =
            connection.prepare_cached("INSERT OR REPLACE INTO publishers VALUES (?,?,?,?,?,?)")?;
        statement.execute(params![
            place,
            self.kept as i64,
            self.next.0 as i64,
            self.last.0 as i64,
            self.remembered,
            self.checksum(log.id, place),
        ])?;
        Ok(())
    }

    /// From `place, kept, next, last, remembered, checksum`.
    pub(super) fn read(row: &Row<'_>, log: &Log) -> Result<(u32, Publisher), Fault> {
        let place: i64 = row.get(0)?;
        let publisher = Publisher {
            kept: number(row, 1)?,
            next: Counter(number(row, 2)?),
            last: Wall(number(row, 3)?),
            remembered: row.get(4)?,
        };
        match u32::try_from(index(place)) {
            Ok(number) if publisher.checksum(log.id, place) == row.get::<_, i64>(5)? => {
                Ok((number, publisher))
            }
            _ => Err(Fault::Damaged(format!("the publisher {} of log {}", index(place), log.number))),
        }
    }

    fn checksum(&self, log: Incarnation, place: i64) -> i64 {
        let sum = Sum::new("publishers", log, place).number(self.kept).number(self.next.0);
        sum.number(self.last.0).number(u64::from(self.remembered)).end()
    }
}

pub(super) fn write_run(connection: &Connection, log: &Log, number: u32, run: &Run) -> Result<(), Fault> {
    let place = log.place(u64::from(number))?;
    let mut statement = connection.prepare_cached("INSERT OR REPLACE INTO runs VALUES (?,?,?,?,?)")?;
    statement.execute(params![
        place,
        run.counter.0 as i64,
        run.offset.0 as i64,
        run.len as i64,
        run_checksum(log.id, place, run),
    ])?;
    Ok(())
}

/// From `publisher, counter, start, length, checksum`.
pub(super) fn read_run(row: &Row<'_>, log: &Log) -> Result<(u32, Run), Fault> {
    let place: i64 = row.get(0)?;
    let run =
        Run { counter: Counter(number(row, 1)?), offset: Offset(number(row, 2)?), len: number(row, 3)? };
    match u32::try_from(index(place)) {
        Ok(number) if run_checksum(log.id, place, &run) == row.get::<_, i64>(4)? => Ok((number, run)),
        _ => Err(Fault::Damaged(format!("offsets of the publisher {} of log {}", index(place), log.number))),
    }
}

fn run_checksum(log: Incarnation, place: i64, run: &Run) -> i64 {
    Sum::new("runs", log, place).number(run.counter.0).number(run.offset.0).number(run.len).end()
}

// ---- Notes ----

pub(super) fn write_note(connection: &Connection, note: &Note) -> Result<(), Fault> {
    let mut statement = connection.prepare_cached("INSERT OR REPLACE INTO notes VALUES (?,?,?,?)")?;
    statement.execute(params![note.kind as i64, note.key, note.value, note_checksum(note)])?;
    Ok(())
}

/// From `kind, key, value, checksum`.
pub(super) fn read_note(row: &Row<'_>) -> Result<Note, Fault> {
    let kind = match row.get(0)? {
        1_i64 => NoteKind::Request,
        2 => NoteKind::Client,
        3 => NoteKind::RevocationNumber,
        _ => return Err(Fault::Damaged("a note of no kind".into())),
    };
    let note = Note { kind, key: row.get(1)?, value: row.get(2)? };
    if note_checksum(&note) != row.get::<_, i64>(3)? {
        return Err(Fault::Damaged(format!("a note of kind {kind:?}")));
    }
    Ok(note)
}

fn note_checksum(note: &Note) -> i64 {
    Sum::new("notes", Incarnation(0), note.kind as i64).bytes(&note.key).bytes(&note.value).end()
}

// ---- Places and checksums ----

/// Where row `index` of a log is: 20 bits of the log's number, 43 of the offset (or, of
/// senders, of their number). A log of 10,000 messages a second is at its end in 28 years.
pub(super) fn place(log: i64, index: u64) -> Result<i64, Fault> {
    if index > INDEX_MAX || !(0..NUMBERS).contains(&log) {
        return Err(Fault::Failed("a log has come to the end of its offsets".into()));
    }
    Ok(log << INDEX_BITS | index as i64)
}

pub(super) fn index(place: i64) -> u64 {
    place as u64 & INDEX_MAX
}

pub(super) const INDEX_BITS: u32 = 43;
pub(super) const INDEX_MAX: u64 = (1 << INDEX_BITS) - 1;
/// How many of a publisher's last counters keep their offsets: twice the window, since a
/// re-send begins at most one window back.
pub(super) const REMEMBERED: u64 = 2 * UNANSWERED_PUBLISHES_MAX as u64;
/// So many logs at a time; a number is used again.
pub(super) const NUMBERS: i64 = 1 << (63 - INDEX_BITS);

struct Sum(Sha256);

impl Sum {
    fn new(table: &str, log: Incarnation, place: i64) -> Sum {
        Sum(Sha256::new()).bytes(table.as_bytes()).number(log.0).number(place as u64)
    }

    fn number(mut self, number: u64) -> Sum {
        self.0.update(number.to_be_bytes());
        self
    }

    /// With their length, so that no two rows give the same input.
    fn bytes(mut self, bytes: &[u8]) -> Sum {
        self.0.update((bytes.len() as u64).to_be_bytes());
        self.0.update(bytes);
        self
    }

    fn end(self) -> i64 {
        let hash: [u8; 32] = self.0.finalize().into();
        let (head, _) = hash.split_first_chunk::<8>().expect("32 bytes are more than 8");
        i64::from_be_bytes(*head)
    }
}

pub(super) fn number(row: &Row<'_>, column: usize) -> Result<u64, Fault> {
    Ok(row.get::<_, i64>(column)? as u64)
}

fn blob<'a>(row: &'a Row<'_>, column: usize) -> Result<&'a [u8], Fault> {
    row.get_ref(column)?.as_blob().map_err(|error| Fault::Damaged(error.to_string()))
}

fn durability_number(durability: Durability) -> i64 {
    match durability {
        Durability::Memory => 0,
        Durability::Disk => 1,
    }
}

fn durability(number: i64) -> Option<Durability> {
    match number {
        0 => Some(Durability::Memory),
        1 => Some(Durability::Disk),
        _ => None,
    }
}
