//! A log's row: all that a start has to know of it.

use std::sync::Arc;

use rusqlite::{Connection, Row, params};

use super::*;
use crate::base::Wall;
use crate::base::ids::Offset;
use crate::base::names::TopicName;
use crate::store::{Durability, Kept, LogSettings, Retain, Ticket};

/// A log, as its row has it.
#[derive(Clone, Debug)]
pub(in crate::store::disk) struct Log {
    /// What stands for it in the places of its rows.
    pub(in crate::store::disk) number: i64,
    pub(in crate::store::disk) id: Incarnation,
    pub(in crate::store::disk) settings: LogSettings,
    /// The offset and earliest time of the next entry.
    pub(in crate::store::disk) next: u64,
    pub(in crate::store::disk) time: Wall,
    /// The oldest message kept; the end if there is none.
    pub(in crate::store::disk) first: u64,
    pub(in crate::store::disk) first_time: Wall,
    pub(in crate::store::disk) messages: u64,
    pub(in crate::store::disk) body_bytes: u64,
    /// As the cap counts them; 0 for a log of RAM, which is counted there.
    pub(in crate::store::disk) bytes: u64,
    /// The offsets of the records.
    pub(in crate::store::disk) records: Arc<Vec<u64>>,
    /// The lowest number that no sender has had.
    pub(in crate::store::disk) senders: u32,
    /// Of a log of RAM: no message has been given this offset or a higher one.
    pub(in crate::store::disk) reserved: u64,
    /// The append that failed, until that was seen; those behind it fail too.
    pub(in crate::store::disk) refused: Option<Ticket>,
}

impl Log {
    pub(in crate::store::disk) fn kept(&self) -> Kept {
        let oldest = (self.messages > 0).then_some((Offset(self.first), self.first_time));
        Kept { messages: self.messages, bytes: self.body_bytes, oldest }
    }

    pub(in crate::store::disk) fn place(&self, index: u64) -> Result<i64, Fault> {
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

    pub(in crate::store::disk) fn write(&self, connection: &Connection) -> Result<(), Fault> {
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
    pub(in crate::store::disk) fn read(row: &Row<'_>, records: Vec<u64>) -> Result<Log, Fault> {
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
