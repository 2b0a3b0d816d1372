//! Messages and membership records.

use std::sync::Arc;

use rusqlite::{Connection, Row, params};

use super::*;
use crate::base::Wall;
use crate::base::ids::{Counter, Epoch, Fingerprint, Offset};
use crate::store::entry::Wraps;
use crate::store::{Content, Entry, Sender};

pub(in crate::store::disk) fn write_entry(
    connection: &Connection,
    log: &Log,
    entry: &Entry,
) -> Result<(), Fault> {
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
pub(in crate::store::disk) fn read_message(
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
pub(in crate::store::disk) fn read_record(row: &Row<'_>, log: &Log) -> Result<Entry, Fault> {
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

pub(in crate::store::disk) const MESSAGE_COLUMNS: &str =
    "place, time, sender, epoch, counter, sha256, checksum, body";
pub(in crate::store::disk) const RECORD_COLUMNS: &str = "place, time, record, certificate, wraps, checksum";

fn bad_entry(place: i64) -> Fault {
    Fault::Damaged(format!("the entry at {} of log {}", index(place), place >> INDEX_BITS))
}

fn entry_checksum(log: Incarnation, place: i64, entry: &Entry) -> i64 {
    match &entry.content {
        Content::Message { sender, epoch, counter, body, sha256 } => {
            let numbers = [entry.time.0, u64::from(sender.number), u64::from(epoch.0), counter.0];
            message_checksum(log, place, numbers, sha256, body)
        }
        Content::Record { record, certificate, wraps } => Sum::new("records", log, place)
            .number(entry.time.0)
            .bytes(record)
            .bytes(certificate)
            .bytes(&wraps_to_bytes(wraps))
            .end(),
    }
}

/// `numbers`: time, sender, epoch, counter.
fn message_checksum(log: Incarnation, place: i64, numbers: [u64; 4], sha256: &[u8; 32], body: &[u8]) -> i64 {
    let sum = numbers.into_iter().fold(Sum::new("messages", log, place), Sum::number);
    sum.bytes(sha256).bytes(body).end()
}

/// What is counted of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::store::disk) struct Measured {
    pub(in crate::store::disk) offset: u64,
    pub(in crate::store::disk) time: Wall,
    pub(in crate::store::disk) sender: u32,
    pub(in crate::store::disk) counter: Counter,
    pub(in crate::store::disk) body_bytes: u64,
}

/// Holds a message as [`MESSAGE_COLUMNS`] gives it against its checksum, and copies nothing.
pub(in crate::store::disk) fn check_message(row: &Row<'_>, log: &Log) -> Result<Measured, Fault> {
    let place: i64 = row.get(0)?;
    let (sender, epoch): (u32, u32) = (row.get(2)?, row.get(3)?);
    let numbers = [number(row, 1)?, u64::from(sender), u64::from(epoch), number(row, 4)?];
    let body = blob(row, 7)?;
    if message_checksum(log.id, place, numbers, &row.get(5)?, body) != row.get::<_, i64>(6)? {
        return Err(bad_entry(place));
    }
    let (time, counter) = (Wall(numbers[0]), Counter(numbers[3]));
    Ok(Measured { offset: index(place), time, sender, counter, body_bytes: body.len() as u64 })
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
