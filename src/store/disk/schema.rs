//! The tables, and how a database of an older version becomes one of this.
//!
//! Offsets and numbers of logs share a row's key (see `place`), so that a log's entries lie
//! together in the order of their offsets, without an index beside the table.

use std::cmp::Ordering;
use std::path::Path;
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

use super::OpenError;
use super::fault::Fault;

/// What each version adds to the one before. A step is never changed once it has been released.
const STEPS: &[&str] = &[VERSION_1];

/// - `logs`: all that a start has to know of a log, so that it reads no messages.
/// - `records`, `messages`: the entries.
/// - `senders`: who sent messages, written once; `publishers`: their counters, written with the
///   appends; `runs`: the offsets of the last counters.
/// - `lost`: offsets that a salvage did not find.
/// - `notes`: what the broker keeps beside logs.
/// - `totals`: one row. A row that has vanished is noticed by it, and by the counts in the rows of
///   logs and publishers: a page of a broken tree may hide rows and be good in itself.
///
/// Unsigned numbers are kept as the signed ones of the same bits. `checksum`: see `rows`.
const VERSION_1: &str = "
CREATE TABLE logs (
    number INTEGER PRIMARY KEY, incarnation INTEGER NOT NULL, name TEXT NOT NULL,
    durability INTEGER NOT NULL, retain_messages INTEGER NOT NULL, retain_bytes INTEGER NOT NULL,
    retain_age INTEGER NOT NULL, next INTEGER NOT NULL, time INTEGER NOT NULL,
    first INTEGER NOT NULL, first_time INTEGER NOT NULL, messages INTEGER NOT NULL,
    body_bytes INTEGER NOT NULL, bytes INTEGER NOT NULL, records INTEGER NOT NULL,
    senders INTEGER NOT NULL, reserved INTEGER NOT NULL, publishers INTEGER NOT NULL,
    lost INTEGER NOT NULL, checksum INTEGER NOT NULL);
CREATE TABLE records (
    place INTEGER PRIMARY KEY, time INTEGER NOT NULL, record BLOB NOT NULL,
    certificate BLOB NOT NULL, wraps BLOB NOT NULL, checksum INTEGER NOT NULL);
CREATE TABLE messages (
    place INTEGER PRIMARY KEY, time INTEGER NOT NULL, sender INTEGER NOT NULL,
    epoch INTEGER NOT NULL, counter INTEGER NOT NULL, sha256 BLOB NOT NULL,
    checksum INTEGER NOT NULL, body BLOB NOT NULL);
CREATE TABLE senders (
    place INTEGER PRIMARY KEY, publisher BLOB NOT NULL, fingerprint BLOB NOT NULL,
    name TEXT NOT NULL, delegation BLOB NOT NULL, certificate BLOB NOT NULL,
    checksum INTEGER NOT NULL);
CREATE TABLE publishers (
    place INTEGER PRIMARY KEY, kept INTEGER NOT NULL, next INTEGER NOT NULL,
    last INTEGER NOT NULL, remembered INTEGER NOT NULL, runs INTEGER NOT NULL,
    checksum INTEGER NOT NULL);
CREATE TABLE lost (
    place INTEGER PRIMARY KEY, length INTEGER NOT NULL, checksum INTEGER NOT NULL);
CREATE TABLE totals (
    id INTEGER PRIMARY KEY, logs INTEGER NOT NULL, notes INTEGER NOT NULL,
    checksum INTEGER NOT NULL);
CREATE TABLE runs (
    publisher INTEGER NOT NULL, counter INTEGER NOT NULL, start INTEGER NOT NULL,
    length INTEGER NOT NULL, checksum INTEGER NOT NULL,
    PRIMARY KEY (publisher, counter)) WITHOUT ROWID;
CREATE TABLE notes (
    kind INTEGER NOT NULL, key BLOB NOT NULL, value BLOB NOT NULL, checksum INTEGER NOT NULL,
    PRIMARY KEY (kind, key)) WITHOUT ROWID;
";

/// Opens the database, makes or migrates its tables, and says how it is to be kept.
pub(super) fn open(path: &Path) -> Result<Connection, OpenError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut connection = Connection::open_with_flags(path, flags).map_err(Fault::from)?;
    // One that is not ours is refused before anything is written to it.
    let done = version(&connection, tables(&connection)?.is_empty())?;
    configure(&connection).map_err(Fault::from)?;
    // SQLite keeps another mode without a word while somebody else has the file open in it.
    let mode: String =
        connection.pragma_query_value(None, "journal_mode", |row| row.get(0)).map_err(Fault::from)?;
    if mode != "wal" {
        return Err(OpenError::Busy);
    }
    migrate(&mut connection, STEPS, done).map_err(Fault::from)?;
    check_tables(&connection)?;
    Ok(connection)
}

/// Makes a database that nobody else knows of yet; it is worth nothing before it is complete.
pub(super) fn make(path: &Path) -> Result<Connection, Fault> {
    let mut connection = Connection::open(path)?;
    pragma(&connection, "auto_vacuum", "INCREMENTAL")?;
    pragma(&connection, "journal_mode", "OFF")?;
    pragma(&connection, "synchronous", "OFF")?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS_MAX);
    migrate(&mut connection, STEPS, 0)?;
    Ok(connection)
}

/// Opens a database that is there, of this version, and only reads it; another process may write
/// to it. Nothing is seen of what comes after this.
pub(super) fn open_to_read(path: &Path) -> Result<Connection, OpenError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).map_err(Fault::from)?;
    configure_common(&connection).map_err(Fault::from)?;
    connection.execute_batch("BEGIN").map_err(Fault::from)?;
    match usize::cmp(&version(&connection, false)?, &STEPS.len()) {
        Ordering::Equal => check_tables(&connection)?,
        _ => return Err(OpenError::Failed("it is of an older version: start the broker once".into())),
    }
    Ok(connection)
}

/// How many steps have been made; those of a database that is not ours are none.
fn version(connection: &Connection, is_empty: bool) -> Result<usize, OpenError> {
    let known = STEPS.len() as i64;
    let found = number(connection, "user_version")?;
    let ours = number(connection, "application_id")? == APPLICATION_ID;
    if !ours && (!is_empty || found != 0) {
        return Err(OpenError::NotOurs);
    }
    if found > known {
        return Err(OpenError::Newer { found, known });
    }
    usize::try_from(found).map_err(|_| OpenError::NotOurs)
}

fn check_tables(connection: &Connection) -> Result<(), OpenError> {
    if tables(connection)? != expected()? {
        return Err(OpenError::Damaged("the tables are not those of this version".into()));
    }
    Ok(())
}

fn configure(connection: &Connection) -> rusqlite::Result<()> {
    configure_common(connection)?;
    // Works on an empty file only, before the first table; one bounded step at a time.
    pragma(connection, "auto_vacuum", "INCREMENTAL")?;
    pragma(connection, "journal_mode", "WAL")?;
    pragma(connection, "synchronous", "FULL")?;
    // SQLite's own checkpoints hide their errors; the writer makes them itself.
    pragma(connection, "wal_autocheckpoint", "0")?;
    pragma(connection, "journal_size_limit", "8388608")?;
    Ok(())
}

fn configure_common(connection: &Connection) -> rusqlite::Result<()> {
    // A checkpoint on closing would sync again what could not be synced before.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
    // Our own lock keeps other brokers out. SQLite's are held while they are needed only, so that a
    // backup can be made by a process of its own.
    pragma(connection, "locking_mode", "NORMAL")?;
    connection.busy_timeout(BUSY_WAIT)?;
    pragma(connection, "cache_size", "-1024")?;
    pragma(connection, "mmap_size", "0")?;
    pragma(connection, "temp_store", "MEMORY")?;
    pragma(connection, "cell_size_check", "ON")?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS_MAX);
    Ok(())
}

/// All steps that are missing, in one transaction.
fn migrate(connection: &mut Connection, steps: &[&str], done: usize) -> rusqlite::Result<()> {
    if done == steps.len() {
        return Ok(());
    }
    let transaction = connection.transaction()?;
    for step in &steps[done..] {
        transaction.execute_batch(step)?;
    }
    transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
    transaction.pragma_update(None, "user_version", steps.len() as i64)?;
    transaction.commit()
}

/// Pragmas answer with a row or none, each in its own way.
pub(super) fn pragma(connection: &Connection, name: &str, value: &str) -> rusqlite::Result<()> {
    connection.pragma_update_and_check(None, name, value, |_| Ok(())).or_else(|error| match error {
        rusqlite::Error::QueryReturnedNoRows => Ok(()),
        error => Err(error),
    })
}

pub(super) fn number(connection: &Connection, pragma: &str) -> Result<i64, Fault> {
    Ok(connection.pragma_query_value(None, pragma, |row| row.get(0))?)
}

/// The sentences that made the tables.
fn tables(connection: &Connection) -> Result<Vec<String>, Fault> {
    let mut statement = connection.prepare("SELECT coalesce(sql, name) FROM sqlite_schema ORDER BY name")?;
    let rows = statement.query_map([], |row| row.get(0))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// What they are in a database just made.
fn expected() -> Result<Vec<String>, Fault> {
    let mut fresh = Connection::open_in_memory()?;
    migrate(&mut fresh, STEPS, 0)?;
    tables(&fresh)
}

/// "SmQd", where file(1) and others look for it.
pub const APPLICATION_ID: i64 = 0x536d_5164;
/// The newest version that this program knows.
pub const SCHEMA_VERSION: i64 = STEPS.len() as i64;
/// Who opens the write-ahead log first reads all of it, and the others wait.
const BUSY_WAIT: Duration = Duration::from_secs(10);
/// All sentences that there are.
const STATEMENTS_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_that_are_missing_are_made_and_no_others() {
        let mut connection = Connection::open_in_memory().expect("SQLite is there");
        let steps = ["CREATE TABLE a (x)", "ALTER TABLE a ADD COLUMN y", "CREATE TABLE b (z)"];
        migrate(&mut connection, &steps[..1], 0).expect("good sentences");
        assert_eq!(number(&connection, "user_version").expect("a number"), 1);
        connection.execute("INSERT INTO a VALUES (7)", []).expect("the table is there");
        migrate(&mut connection, &steps, 1).expect("the first is not made again");
        let kept: (i64, Option<i64>) = connection
            .query_row("SELECT x, y FROM a", [], |row| Ok((row.get(0)?, row.get(1)?)))
            .expect("the row is still there");
        assert_eq!(kept, (7, None));
        assert_eq!(number(&connection, "user_version").expect("a number"), 3);
        let broken = ["", "", "", "CREATE TABLE c (x)", "no sentence"];
        migrate(&mut connection, &broken, 3).expect_err("a bad step");
        assert_eq!(number(&connection, "user_version").expect("a number"), 3, "all or nothing");
        assert_eq!(tables(&connection).expect("readable").len(), 2);
    }
}
