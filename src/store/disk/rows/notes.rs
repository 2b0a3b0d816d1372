//! What the broker keeps beside logs.

use rusqlite::{Connection, Row, params};

use super::*;
use crate::store::{Note, NoteKind};

pub(in crate::store::disk) fn write_note(connection: &Connection, note: &Note) -> Result<(), Fault> {
    let mut statement = connection.prepare_cached("INSERT OR REPLACE INTO notes VALUES (?,?,?,?)")?;
    statement.execute(params![note.kind as i64, note.key, note.value, note_checksum(note)])?;
    Ok(())
}

/// From `kind, key, value, checksum`.
pub(in crate::store::disk) fn read_note(row: &Row<'_>) -> Result<Note, Fault> {
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
