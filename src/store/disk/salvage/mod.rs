//! What can be had of a database that is damaged, made into a new one.
//!
//! The old folder is only read, and without SQLite, which gives up where its trees are broken:
//! pages are read as the file format has them, and a row counts when its checksum does. It must
//! not know what a record or a note means.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, params_from_iter};

use self::found::{Found, Topic};
use self::image::Image;
use super::database::Database;
use super::fault::{Fault, OpenError};
use super::folder::{self, Source};
use super::rows::{self, Totals};
use super::schema;
use crate::base::ids::Offset;
use crate::base::names::TopicName;

mod cells;
mod found;
mod image;
mod rebuild;

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
/// there. `progress` is told how many pages of all have been looked at; each is, twice.
pub fn salvage(
    old: &Path,
    new: &Path,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<SalvageReport, SalvageError> {
    let source = Source::take(old).map_err(SalvageError::Old)?;
    let read = |error| SalvageError::Read { path: old.to_owned(), error };
    let image = Image::open(source).map_err(read)?;
    let pages = image.row_pages();
    let (mut done, all) = (0, 2 * pages.len() as u64);
    let mut step = || {
        done += 1;
        progress(done, all);
    };
    let made = |fault: Fault| SalvageError::New(fault.into());
    let found = Found::gather(&image, &pages, &mut step).map_err(made)?;
    if found.topics.is_empty() && found.notes.is_empty() && found.totals.is_none() {
        return Err(SalvageError::Nothing { path: old.to_owned() });
    }
    let draft = folder::draft_in(new).map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => SalvageError::NotEmpty { path: new.to_owned() },
        _ => SalvageError::New(OpenError::File { path: new.to_owned(), error }),
    })?;
    let report = build(&draft.path, found, &image, &pages, &mut step).map_err(made)?;
    draft.keep().map_err(|error| SalvageError::New(OpenError::File { path: new.to_owned(), error }))?;
    Ok(report)
}

fn build(
    path: &Path,
    mut found: Found,
    image: &Image,
    pages: &[u32],
    step: &mut dyn FnMut(),
) -> Result<SalvageReport, Fault> {
    let connection = schema::make(path)?;
    connection.execute_batch("BEGIN")?;
    copy_messages(&connection, &mut found, image, pages, step)?;
    let totals = found.totals;
    let mut report = SalvageReport { bad_frames: image.bad_frames, ..SalvageReport::default() };
    for topic in found.topics.into_values() {
        let missing = topic.records_all.saturating_sub(topic.records.len() as u64);
        if missing > 0 {
            drop_messages(&connection, &topic)?;
            report.lost_topics.push(LostTopic {
                name: topic.log.settings.name,
                lost_records: missing,
                messages: topic.messages.len() as u64,
            });
        } else {
            report.topics.push(topic.write(&connection)?);
        }
    }
    for note in found.notes.values() {
        rows::write_note(&connection, note)?;
    }
    let written = Totals { logs: report.topics.len() as u64, notes: found.notes.len() as u64 };
    written.write(&connection)?;
    connection.execute_batch("COMMIT")?;
    report.notes = written.notes;
    if let Some(all) = totals {
        report.lost_notes = all.notes.saturating_sub(written.notes);
        let named = (report.topics.len() + report.lost_topics.len()) as u64;
        report.nameless_topics = all.logs.saturating_sub(named);
    }
    // A start is to take it.
    Database::load(connection, u64::MAX, &mut |_| {})?;
    Ok(report)
}

fn copy_messages(
    connection: &Connection,
    found: &mut Found,
    image: &Image,
    pages: &[u32],
    step: &mut dyn FnMut(),
) -> Result<(), Fault> {
    let mut insert = connection.prepare("INSERT OR IGNORE INTO messages VALUES (?,?,?,?,?,?,?,?)")?;
    for page in pages {
        for cell in image.page(*page).map(|page| cells::of(&page, 0)).unwrap_or_default() {
            let Some((topic, values, message)) = found.message(&cell, image) else { continue };
            if insert.execute(params_from_iter(values))? > 0 {
                topic.messages.push(message);
            }
        }
        step();
    }
    Ok(())
}

fn drop_messages(connection: &Connection, topic: &Topic) -> Result<(), Fault> {
    let bounds = [topic.log.place(0)?, topic.log.place(rows::INDEX_MAX)?];
    connection.execute("DELETE FROM messages WHERE place >= ? AND place < ?", bounds)?;
    Ok(())
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
