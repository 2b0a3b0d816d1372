//! Where the broker keeps its topics: the store opened, and in words what hinders it.
//!
//! It must not know what is in the files; that is the store's.

use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use super::holder;
use crate::broker::RestoreFault;
use crate::cli::error::{CliError, Exit};
use crate::cli::keyfiles::quoted;
use crate::cli::progress::Progress;
use crate::cli::units;
use crate::net::broker::Poller;
use crate::store::disk::{Caps, OpenError, Opening, Recovered};
use crate::store::{Contents, Disk, Memory, Store};

/// The database in a data folder.
pub const DATABASE: &str = "sealmq.db";

/// Where topics are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Storage {
    /// In this folder.
    Disk(PathBuf),
    /// In RAM, though this folder may have a database.
    Memory(PathBuf),
}

impl Storage {
    /// Opens it, says in the log what it has, and lets it wake the loop.
    pub fn open(&self, caps: Caps, poller: &Poller) -> Result<(Box<dyn Store>, Contents), CliError> {
        match self {
            Storage::Disk(folder) => {
                let (store, contents) = open_disk(folder, caps, poller)?;
                Ok((Box::new(store), contents))
            }
            Storage::Memory(folder) => {
                log::info!("topics are kept in RAM only: they end with this broker");
                let database = folder.join(DATABASE);
                if database.exists() {
                    log::warn!("{} stays as it is, and its topics are not served", database.display());
                }
                Ok((Box::new(Memory::new(caps.memory_bytes)), Contents::default()))
            }
        }
    }

    /// What the broker's core did not take of the store's contents.
    pub fn not_restored(&self, fault: &RestoreFault) -> CliError {
        let (Storage::Disk(folder) | Storage::Memory(folder)) = self;
        damaged(folder, &fault.to_string())
    }
}

fn open_disk(folder: &Path, caps: Caps, poller: &Poller) -> Result<(Disk, Contents), CliError> {
    warn_of_neighbours(folder);
    let mut progress = Progress::new("sealmqd", format!("opening {}", folder.display()));
    let opened = Disk::open(folder, caps, Box::new(poller.wake()), &mut |news| match news {
        Opening::Logs { done, all } => progress.tell(done, all, "topics"),
        Opening::Recovered(recovered) => log_recovered(&recovered),
    });
    let (store, contents) = opened.map_err(|error| not_opened(folder, &error))?;
    let taken = progress.taken();
    drop(progress);
    let messages: u64 = contents.logs.iter().map(|log| log.kept.messages).sum();
    log::info!(
        "topics: {}, messages: {messages}, {}, from {} (opened in {} ms)",
        contents.logs.len(),
        units::show_bytes(store.used_bytes()),
        folder.display(),
        taken.as_millis()
    );
    Ok((store, contents))
}

/// The broker before did not end in good order: what that means for what it had.
fn log_recovered(recovered: &Recovered) {
    let Recovered { bytes, torn_bytes, .. } = *recovered;
    if bytes > 0 {
        log::info!(
            "the broker before did not end in good order; {} of what it stored last are taken over",
            units::show_bytes(bytes)
        );
    }
    if torn_bytes > 0 {
        log::warn!(
            "it was ended while it wrote: {} of a write that was not finished are dropped. Nothing in it \
             had been answered, and publishers send it again",
            units::show_bytes(torn_bytes)
        );
    }
}

/// Says why the store was not opened, and what to do about it.
pub fn not_opened(folder: &Path, error: &OpenError) -> CliError {
    let shown = folder.display();
    match error {
        OpenError::Locked { .. } => locked(folder),
        OpenError::File { path, error } => file_fault(path, error),
        OpenError::Newer { .. } => CliError::other(format!("{shown}: {error}")).remedy(
            "start the sealmqd that wrote it (`sealmqd --version` tells which one is here), \
             or choose another folder: --data DIR",
        ),
        OpenError::NotOurs => CliError::other(format!("{}: {error}", folder.join(DATABASE).display()))
            .remedy("choose another folder: --data DIR"),
        OpenError::Shared { .. } => CliError::other(error.to_string()).remedy(format!(
            "name a folder that is not there yet, it is made for sealmqd alone: --data {}",
            quoted(&folder.join("sealmq"))
        )),
        OpenError::Damaged(what) => damaged(folder, what),
        OpenError::Full => full(folder),
        OpenError::Busy => CliError::other(format!("{shown}: {error}"))
            .remedy(format!("`fuser -v {}` names it", quoted(&folder.join(DATABASE)))),
        OpenError::Failed(why) => CliError::new(Exit::Disk, format!("{shown}: {why}")).remedy(
            "the system's log tells whether the disk has failed: dmesg | tail. \
             Copy the folder to a good disk before anything else",
        ),
    }
}

/// A database that does not hold what was put there.
pub fn damaged(folder: &Path, what: &str) -> CliError {
    let new = unused_beside(folder);
    CliError::new(Exit::Integrity, format!("the database in {} is damaged: {what}", folder.display())).remedy(
        format!(
            "save what is good of it, and start with that:\n  sealmqd salvage {} {}\n  sealmqd --data {}",
            quoted(folder),
            quoted(&new),
            quoted(&new)
        ),
    )
}

/// Another process has the folder.
pub fn locked(folder: &Path) -> CliError {
    let shown = folder.display();
    match holder::of(folder) {
        Some(pid) => CliError::other(format!("another sealmqd (process {pid}) serves from {shown}"))
            .remedy(format!("stop it (kill {pid}), or choose another folder: --data DIR")),
        None => CliError::other(format!("another sealmqd serves from {shown}"))
            .remedy("stop it, or choose another folder: --data DIR"),
    }
}

pub fn full(folder: &Path) -> CliError {
    CliError::other(format!("the disk that has {} is full", folder.display()))
        .remedy("make room on it (`df -h` shows how much there is), or choose another folder: --data DIR")
}

/// A file or folder that could not be made, read or written.
pub fn file_fault(path: &Path, error: &io::Error) -> CliError {
    let shown = path.display();
    match error.kind() {
        ErrorKind::PermissionDenied => {
            let me = rustix::process::geteuid().as_raw();
            let problem = match nearest(path) {
                Some((there, owner)) => format!(
                    "{shown}: permission denied: {} belongs to user {owner}, and sealmqd runs as user {me}",
                    there.display()
                ),
                None => format!("{shown}: permission denied to user {me}"),
            };
            CliError::other(problem)
                .remedy(format!("run sealmqd as its owner, give it away (chown -R {me} …), or choose another folder: --data DIR"))
        }
        ErrorKind::ReadOnlyFilesystem => CliError::other(format!("{shown}: the file system is read-only")).remedy(
            "a disk with errors becomes so (dmesg | tail tells); else mount it for writing, choose another \
             folder (--data DIR), or keep topics in RAM only (--memory)",
        ),
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => full(path),
        _ => CliError::other(format!("{shown}: {error}")).remedy("choose another folder: --data DIR"),
    }
}

/// The file, or the folder nearest above it that is there, and whose it is.
fn nearest(path: &Path) -> Option<(PathBuf, u32)> {
    let absolute = std::path::absolute(path).ok()?;
    absolute.ancestors().find_map(|there| Some((there.to_owned(), fs::metadata(there).ok()?.uid())))
}

/// The folder itself is closed to others; who may rename it can still put another in its place.
fn warn_of_neighbours(folder: &Path) {
    const OTHERS_WRITE: u32 = 0o002;
    const STICKY: u32 = 0o1000;
    let Ok(absolute) = std::path::absolute(folder) else { return };
    let Some(parent) = absolute.parent() else { return };
    let mode = fs::metadata(parent).map_or(0, |meta| meta.permissions().mode());
    if mode & (OTHERS_WRITE | STICKY) == OTHERS_WRITE {
        log::warn!(
            "everybody can write to {0}, and so put another folder in the place of {1}: chmod o-w {0}",
            parent.display(),
            folder.display()
        );
    }
}

/// A name beside the folder that nothing has yet.
fn unused_beside(folder: &Path) -> PathBuf {
    let name = folder.file_name().map_or_else(|| "data".into(), |name| name.to_string_lossy().into_owned());
    let named = |suffix: String| folder.with_file_name(format!("{name}.{suffix}"));
    let first = named("salvaged".to_owned());
    let others = (2_u32..).map(|n| named(format!("salvaged{n}")));
    std::iter::once(first)
        .chain(others)
        .find(|path| fs::symlink_metadata(path).is_err())
        .expect("no folder has four billion entries of one kind")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_hinders_a_start_is_said_with_what_mends_it() {
        let folder = tempfile::tempdir().expect("a scratch folder");
        let data = folder.path().join("my data");
        let said = |error: OpenError| {
            let shown = not_opened(&data, &error);
            (shown.exit(), shown.to_string())
        };
        let io = |errno| io::Error::from_raw_os_error(errno);
        let (exit, text) = said(OpenError::Damaged("page 7".into()));
        assert_eq!(exit, Exit::Integrity);
        let new = format!("'{}.salvaged'", data.display());
        assert!(
            text.contains("page 7") && text.contains(&format!("sealmqd salvage '{}' {new}", data.display()))
        );
        assert!(text.contains(&format!("sealmqd --data {new}")), "{text}");

        fs::create_dir(folder.path().join("my data.salvaged")).expect("made");
        let (_, text) = said(OpenError::Damaged("page 7".into()));
        assert!(text.contains("my data.salvaged2'"), "a name that is not taken: {text}");

        let (exit, text) = said(OpenError::File { path: data.clone(), error: io(13) });
        let me = rustix::process::geteuid().as_raw();
        assert_eq!(exit, Exit::Other);
        assert!(text.contains(&format!("{} belongs to user {me}", folder.path().display())), "{text}");

        for (error, expected) in [
            (OpenError::Locked { path: data.clone() }, "another sealmqd serves from"),
            (OpenError::Newer { found: 9, known: 1 }, "version 9"),
            (OpenError::NotOurs, "my data/sealmq.db"),
            (OpenError::Shared { path: data.clone() }, "my data/sealmq'"),
            (OpenError::Full, "df -h"),
            (OpenError::File { path: data.clone(), error: io(30) }, "read-only"),
            (OpenError::File { path: data.clone(), error: io(28) }, "df -h"),
            (OpenError::File { path: data.clone(), error: io(20) }, "--data DIR"),
        ] {
            let (exit, text) = said(error);
            assert!(exit == Exit::Other && text.contains(expected), "{expected:?} is not in {text}");
        }
        assert_eq!(said(OpenError::Failed("disk I/O error".into())).0, Exit::Disk);
    }
}
