//! What may go wrong with a database, by what is to be done about it.

use std::path::PathBuf;
use std::{fmt, io};

use rusqlite::ErrorCode;

use crate::base::ids::Offset;
use crate::store::StoreError;

/// Why the database was not opened.
#[derive(Debug)]
pub enum OpenError {
    File {
        path: PathBuf,
        error: io::Error,
    },
    Locked {
        path: PathBuf,
    },
    Newer {
        found: i64,
        known: i64,
    },
    NotOurs,
    /// A folder that others may look into, and that is not ours alone to close.
    Shared {
        path: PathBuf,
    },
    Damaged(String),
    Full,
    /// A process that is no broker keeps the database from being opened.
    Busy,
    Failed(String),
}

/// Why a sentence was not carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// No room: what was begun is undone, and all goes on.
    Full,
    /// Another process holds a lock: nothing was done, and it may be tried again.
    Busy,
    /// What is there is not what was written.
    Damaged(String),
    /// Nobody knows what is on the disk now.
    Failed(String),
}

impl Fault {
    /// What a query answers that met this fault near `offset`; others are not its own.
    pub(super) fn of_query(self, offset: Offset) -> Result<StoreError, Fault> {
        match self {
            Fault::Damaged(_) => Ok(StoreError::Damaged { offset }),
            fault => Err(fault),
        }
    }
}

impl From<rusqlite::Error> for Fault {
    fn from(error: rusqlite::Error) -> Fault {
        use rusqlite::Error;
        match &error {
            Error::SqliteFailure(cause, _) => match cause.code {
                ErrorCode::DiskFull => Fault::Full,
                // The index of the write-ahead log finds no room to grow; SQLite has no better word for it.
                ErrorCode::SystemIoFailure if cause.extended_code == INDEX_SIZE_FAILURE => Fault::Full,
                ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked => Fault::Busy,
                // A sector that cannot be read is damage of what was there; a write is another matter.
                ErrorCode::SystemIoFailure if READ_FAILURES.contains(&cause.extended_code) => {
                    Fault::Damaged(error.to_string())
                }
                ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase => Fault::Damaged(error.to_string()),
                _ => Fault::Failed(format!("{error} (code {})", cause.extended_code)),
            },
            Error::InvalidColumnType(..)
            | Error::FromSqlConversionFailure(..)
            | Error::IntegralValueOutOfRange(..)
            | Error::Utf8Error(..) => Fault::Damaged(error.to_string()),
            _ => Fault::Failed(error.to_string()),
        }
    }
}

/// SQLITE_IOERR_READ and SQLITE_IOERR_SHORT_READ.
const READ_FAILURES: [i32; 2] = [266, 522];
/// `SQLITE_IOERR_SHMSIZE`: the file is only ever made larger.
const INDEX_SIZE_FAILURE: i32 = 4874;

impl From<Fault> for OpenError {
    fn from(fault: Fault) -> OpenError {
        match fault {
            Fault::Full => OpenError::Full,
            Fault::Busy => OpenError::Busy,
            Fault::Damaged(what) => OpenError::Damaged(what),
            Fault::Failed(why) => OpenError::Failed(why),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::Full => write!(f, "the disk is full"),
            Fault::Busy => write!(f, "another process has locked the database"),
            Fault::Damaged(what) => write!(f, "the database is damaged: {what}"),
            Fault::Failed(why) => write!(f, "{why}"),
        }
    }
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            OpenError::File { path, error } => write!(f, "{}: {error}", path.display()),
            OpenError::Locked { path } => write!(f, "{}: another process has it open", path.display()),
            OpenError::Newer { found, known } => write!(
                f,
                "the database is of version {found}, and this program knows versions up to {known}: \
                 it was written by a newer one"
            ),
            OpenError::NotOurs => write!(f, "the database was made by another program"),
            OpenError::Shared { path } => {
                write!(f, "{}: others may look into it, and there are other things in it", path.display())
            }
            OpenError::Damaged(what) => write!(f, "the database is damaged: {what}"),
            OpenError::Full => write!(f, "the disk is full"),
            OpenError::Busy => write!(f, "another process has locked the database"),
            OpenError::Failed(why) => write!(f, "the database could not be opened: {why}"),
        }
    }
}

impl std::error::Error for OpenError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            OpenError::File { error, .. } => Some(error),
            _ => None,
        }
    }
}
