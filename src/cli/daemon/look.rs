//! A look at the data folder for `--check`: whether a start would find what it needs. Nothing is
//! written, and nothing of the database is read but its first bytes.

use std::fs::{self, File, TryLockError};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use super::holder;
use super::storage::{self, DATABASE, Storage};
use crate::cli::error::CliError;
use crate::cli::units::show_bytes;
use crate::store::disk::{APPLICATION_ID, OpenError, SCHEMA_VERSION};

/// What was found, for people; an error is one that a start would have met.
pub fn look(storage: &Storage) -> Result<String, CliError> {
    let folder = match storage {
        Storage::Memory(_) => return Ok("none: topics are kept in RAM only".to_owned()),
        Storage::Disk(folder) => folder,
    };
    let failed = |path: &Path, error: io::Error| storage::file_fault(path, &error);
    let shown = folder.display();
    let about = match if_there(fs::metadata(folder)).map_err(|e| failed(folder, e))? {
        None => return Ok(format!("{shown}, which is not there yet")),
        Some(about) if !about.is_dir() => {
            return Err(failed(folder, io::ErrorKind::NotADirectory.into()));
        }
        Some(about) => about,
    };
    let me = rustix::process::geteuid();
    if !me.is_root() && about.uid() != me.as_raw() {
        return Err(failed(folder, io::ErrorKind::PermissionDenied.into()));
    }
    let path = folder.join(DATABASE);
    let found = match if_there(File::open(&path)).map_err(|e| failed(&path, e))? {
        None => "no database yet".to_owned(),
        Some(mut file) => {
            let bytes = file.metadata().map_err(|e| failed(&path, e))?.len();
            let version = match has_log(&path) {
                // What is newest in the header may still be in the log.
                true => Ok("a database with a write-ahead log".to_owned()),
                false => version(&mut file).map_err(|e| failed(&path, e))?,
            };
            let version = version.map_err(|error| storage::not_opened(folder, &error))?;
            format!("{version}, {}", show_bytes(bytes))
        }
    };
    let mode = about.permissions().mode() & 0o777;
    let open_to =
        if mode & 0o077 == 0 { String::new() } else { format!(", mode {mode:o} (a start makes it 700)") };
    Ok(format!("{shown}, {found}{open_to}{}", in_use(folder).map_err(|e| failed(folder, e))?))
}

/// Whether a broker that runs, or one that did not end well, has a write-ahead log there.
fn has_log(database: &Path) -> bool {
    let mut name = database.as_os_str().to_owned();
    name.push("-wal");
    fs::metadata(name).is_ok_and(|log| log.len() > 0)
}

/// By the header of the database file (SQLite's file format, 1.3).
fn version(file: &mut File) -> io::Result<Result<String, OpenError>> {
    const HEADER_BYTES: usize = 100;
    let mut header = Vec::new();
    file.take(HEADER_BYTES as u64).read_to_end(&mut header)?;
    if header.is_empty() {
        return Ok(Ok("an empty database".to_owned()));
    }
    let number =
        |at: usize| header.get(at..at + 4).and_then(|bytes| bytes.try_into().ok()).map(i32::from_be_bytes);
    let (Some(version), Some(application)) = (number(60), number(68)) else {
        return Ok(Err(OpenError::Damaged("the file is cut short".into())));
    };
    let (found, known) = (i64::from(version), SCHEMA_VERSION);
    Ok(match i64::from(application) {
        _ if !header.starts_with(b"SQLite format 3\0") => {
            Err(OpenError::Damaged("the file does not begin as a database does".into()))
        }
        APPLICATION_ID if found > known => Err(OpenError::Newer { found, known }),
        APPLICATION_ID => Ok(format!("a database of version {found}")),
        _ => Err(OpenError::NotOurs),
    })
}

/// A lock taken for a moment, through a file that is only read.
fn in_use(folder: &Path) -> io::Result<String> {
    let Some(lock) = if_there(File::open(folder.join(holder::LOCK)))? else { return Ok(String::new()) };
    match lock.try_lock_shared() {
        Ok(()) => Ok(String::new()),
        Err(TryLockError::WouldBlock) => Ok(match holder::of(folder) {
            Some(pid) => format!(", in use by process {pid}"),
            None => ", in use by another process".to_owned(),
        }),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

fn if_there<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        result => result.map(Some),
    }
}
