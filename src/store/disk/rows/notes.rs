//! What the broker keeps beside logs; how many of them and of logs there are; what a salvage has
//! not found.

use rusqlite::{Connection, Row, params};

use super::*;
use crate::store::{Note, NoteKind};

/// In place of the one of the same key; whether there was none.
pub(in crate::store::disk) fn write_note(connection: &Connection, note: &Note) -> Result<bool, Fault> {
    let values = params![note.kind as i64, note.key, note.value, note_checksum(note)];
    let update = "UPDATE notes SET value = ?3, checksum = ?4 WHERE kind = ?1 AND key = ?2";
    if connection.prepare_cached(update)?.execute(values)? > 0 {
        return Ok(false);
    }
    connection.prepare_cached("INSERT INTO notes VALUES (?,?,?,?)")?.execute(values)?;
    Ok(true)
}

/// From `kind, key, value, checksum`.
pub(in crate::store::disk) fn read_note(row: &Row<'_>) -> Result<Note, Fault> {
    let kind = match row.get(0)? {
        1_i64 => NoteKind::Request,
        2 => NoteKind::Client,
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

/// How many rows there are of what no other row counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::store::disk) struct Totals {
    pub(in crate::store::disk) logs: u64,
    pub(in crate::store::disk) notes: u64,
}

impl Totals {
    pub(in crate::store::disk) fn write(self, connection: &Connection) -> Result<(), Fault> {
        let mut statement = connection.prepare_cached("INSERT OR REPLACE INTO totals VALUES (0,?,?,?)")?;
        statement.execute(params![self.logs as i64, self.notes as i64, self.checksum()])?;
        Ok(())
    }

    /// Nothing, in a database just made.
    pub(in crate::store::disk) fn find(connection: &Connection) -> Result<Totals, Fault> {
        let mut statement = connection.prepare_cached("SELECT id, logs, notes, checksum FROM totals")?;
        let mut rows = statement.query([])?;
        rows.next()?.map_or(Ok(Totals::default()), Totals::read)
    }

    /// From `id, logs, notes, checksum`.
    pub(in crate::store::disk) fn read(row: &Row<'_>) -> Result<Totals, Fault> {
        let totals = Totals { logs: number(row, 1)?, notes: number(row, 2)? };
        if row.get::<_, i64>(0)? != 0 || totals.checksum() != row.get::<_, i64>(3)? {
            return Err(Fault::Damaged("the row of totals".into()));
        }
        Ok(totals)
    }

    fn checksum(self) -> i64 {
        Sum::new("totals", Incarnation(0), 0).number(self.logs).number(self.notes).end()
    }
}

pub(in crate::store::disk) fn write_lost(
    connection: &Connection,
    log: &Log,
    (from, to): (u64, u64),
) -> Result<(), Fault> {
    let (place, length) = (log.place(from)?, to - from);
    let mut statement = connection.prepare_cached("INSERT INTO lost VALUES (?,?,?)")?;
    statement.execute(params![place, length as i64, lost_checksum(log.id, place, length)])?;
    Ok(())
}

/// From `place, length, checksum`.
pub(in crate::store::disk) fn read_lost(row: &Row<'_>, log: &Log) -> Result<(u64, u64), Fault> {
    let (place, length): (i64, _) = (row.get(0)?, number(row, 1)?);
    if lost_checksum(log.id, place, length) != row.get::<_, i64>(2)? {
        return Err(Fault::Damaged(format!("lost offsets of log {}", log.number)));
    }
    Ok((index(place), index(place).saturating_add(length)))
}

fn lost_checksum(log: Incarnation, place: i64, length: u64) -> i64 {
    Sum::new("lost", log, place).number(length).end()
}
