//! A copy of a database in one file, made while a broker goes on writing, or without one.
//!
//! SQLite's online backup, page by page, of one read transaction: what was committed before it
//! began, and nothing of what came later. `VACUUM INTO` would give a smaller file, but in one
//! sentence that says nothing of how far it is. What a broker commits meanwhile stays in its
//! write-ahead log until the copy is made. The copy is read again, every row, before it gets its
//! name. To go back to it: as `sealmq.db` in an empty folder, which is then the broker's.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use rusqlite::Connection;
use rusqlite::backup::{Backup, StepResult};

use super::database::Database;
use super::fault::{Fault, OpenError};
use super::folder::{self, Draft};
use super::rows::{self, Log, MESSAGE_COLUMNS};
use super::schema;
use crate::base::names::TopicName;

/// What is in a backup.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BackupReport {
    /// Of the file.
    pub bytes: u64,
    pub topics: u64,
    pub messages: u64,
    /// Topics with messages that were damaged in the database already, and so are in the copy.
    pub damaged: Vec<DamagedTopic>,
}

/// A topic of which not all messages can be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DamagedTopic {
    pub name: TopicName,
    pub messages: u64,
}

/// Why there is no backup.
#[derive(Debug)]
pub enum BackupError {
    /// The folder has no database.
    NoDatabase { folder: PathBuf },
    /// There is a file of that name already.
    Exists { path: PathBuf },
    /// The file could not be written.
    File { path: PathBuf, error: io::Error },
    /// No room for it.
    Full { path: PathBuf },
    /// The database cannot be read as it is.
    Source(OpenError),
    /// The copy is not what it should be.
    Bad(String),
}

/// Copies the database in `folder` to `file`, which must not be there yet. `progress` is told how
/// many pages of all have been copied.
pub fn backup(
    folder: &Path,
    file: &Path,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<BackupReport, BackupError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |error: io::Error| match error.kind() {
            io::ErrorKind::AlreadyExists => BackupError::Exists { path },
            io::ErrorKind::StorageFull => BackupError::Full { path },
            _ => BackupError::File { path, error },
        }
    };
    let database = folder::find_database(folder).map_err(failed(folder))?;
    let database = database.ok_or_else(|| BackupError::NoDatabase { folder: folder.to_owned() })?;
    let source = schema::open_to_read(&database).map_err(BackupError::Source)?;
    let draft = Draft::new(file).map_err(failed(file))?;
    copy(&source, &draft.path, progress).map_err(|fault| match fault {
        Fault::Full => BackupError::Full { path: file.to_owned() },
        fault => BackupError::Source(fault.into()),
    })?;
    drop(source);
    let mut report = check(&draft.path).map_err(|fault| BackupError::Bad(fault.to_string()))?;
    report.bytes = draft.keep().map_err(failed(file))?;
    Ok(report)
}

fn copy(source: &Connection, to: &Path, progress: &mut dyn FnMut(u64, u64)) -> Result<(), Fault> {
    let mut target = Connection::open(to)?;
    // It is worth nothing before it is complete, and is synced then.
    schema::pragma(&target, "journal_mode", "OFF")?;
    schema::pragma(&target, "synchronous", "OFF")?;
    let backup = Backup::new(source, &mut target)?;
    let mut refused = 0;
    loop {
        let step = backup.step(PAGES_AT_ONCE)?;
        let (left, all) = (backup.progress().remaining as u64, backup.progress().pagecount as u64);
        progress(all.saturating_sub(left), all);
        match step {
            StepResult::Done => return Ok(()),
            // SQLite has waited each time.
            StepResult::Busy | StepResult::Locked if refused == REFUSED_MAX => return Err(Fault::Busy),
            StepResult::Busy | StepResult::Locked => refused += 1,
            _ => {}
        }
    }
}

/// Makes one file of the copy, and reads all of it.
fn check(path: &Path) -> Result<BackupReport, Fault> {
    let connection = Connection::open(path)?;
    // It says of itself that it has a write-ahead log, as its source does.
    schema::pragma(&connection, "journal_mode", "DELETE")?;
    let found: String = connection.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0))?;
    if found != "ok" {
        return Err(Fault::Damaged(found));
    }
    let (database, _) = Database::load(connection, u64::MAX, &mut |_| {})?;
    let mut report = BackupReport { topics: database.logs.len() as u64, ..BackupReport::default() };
    for log in database.logs.values() {
        let good = good_messages(&database.connection, log)?;
        report.messages += good;
        if good < log.messages {
            let (name, messages) = (log.settings.name.clone(), log.messages - good);
            report.damaged.push(DamagedTopic { name, messages });
        }
    }
    Ok(report)
}

fn good_messages(connection: &Connection, log: &Log) -> Result<u64, Fault> {
    let sentence = format!("SELECT {MESSAGE_COLUMNS} FROM messages WHERE place >= ? AND place < ?");
    let mut statement = connection.prepare_cached(&sentence)?;
    let mut found = statement.query([log.place(log.first)?, log.place(log.next)?])?;
    let mut good = 0;
    while let Some(row) = found.next()? {
        good += u64::from(rows::check_message(row, log).is_ok());
    }
    Ok(good)
}

impl fmt::Display for BackupError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BackupError::NoDatabase { folder } => write!(f, "{}: no database is there", folder.display()),
            BackupError::Exists { path } => write!(f, "{}: the file exists", path.display()),
            BackupError::File { path, error } => write!(f, "{}: {error}", path.display()),
            BackupError::Full { path } => write!(f, "{}: the disk is full", path.display()),
            BackupError::Source(error) => write!(f, "{error}"),
            BackupError::Bad(why) => write!(f, "the copy cannot be read back: {why}"),
        }
    }
}

impl std::error::Error for BackupError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            BackupError::File { error, .. } => Some(error),
            BackupError::Source(error) => Some(error),
            _ => None,
        }
    }
}

/// A MiB.
const PAGES_AT_ONCE: i32 = 256;
/// Times that a lock was waited for.
const REFUSED_MAX: u32 = 3;
