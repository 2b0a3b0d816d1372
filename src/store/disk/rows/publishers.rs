//! Who sent messages: written once; their counters, with the appends; the offsets of the last of them.

use std::sync::Arc;

use rusqlite::{Connection, Row, params};

use super::*;
use crate::base::Wall;
use crate::base::ids::{Counter, Fingerprint, Offset, PublisherId};
use crate::base::names::Name;
use crate::store::{Run, Sender};

/// What is counted of a publisher.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::store::disk) struct Publisher {
    /// How many of its messages are kept.
    pub(in crate::store::disk) kept: u64,
    pub(in crate::store::disk) next: Counter,
    pub(in crate::store::disk) last: Wall,
    /// Until the broker says to forget it.
    pub(in crate::store::disk) remembered: bool,
}

pub(in crate::store::disk) fn write_sender(
    connection: &Connection,
    log: &Log,
    sender: &Sender,
) -> Result<(), Fault> {
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
pub(in crate::store::disk) fn read_sender(
    connection: &Connection,
    log: &Log,
    number: u32,
) -> Result<Arc<Sender>, Fault> {
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
    pub(in crate::store::disk) fn write(
        &self,
        connection: &Connection,
        log: &Log,
        number: u32,
    ) -> Result<(), Fault> {
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
    pub(in crate::store::disk) fn read(row: &Row<'_>, log: &Log) -> Result<(u32, Publisher), Fault> {
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

pub(in crate::store::disk) fn write_run(
    connection: &Connection,
    log: &Log,
    number: u32,
    run: &Run,
) -> Result<(), Fault> {
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
pub(in crate::store::disk) fn read_run(row: &Row<'_>, log: &Log) -> Result<(u32, Run), Fault> {
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
