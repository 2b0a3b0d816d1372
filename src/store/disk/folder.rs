//! The folder of a database: who may look into it, and that one process has it.
//!
//! The only file of the store that touches files itself. It must not know what is in them.

use std::ffi::OsString;
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions, TryLockError};
use std::io::{self, BufReader};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use super::OpenError;
use super::wal::{self, Survey};

/// A folder whose files are only looked at; no broker has it meanwhile.
pub(super) struct Source {
    database: File,
    /// `None` if there is no write-ahead log.
    wal: Option<File>,
    _lock: Option<File>,
}

/// A file that is put in its place when it is complete, and else removed.
pub(super) struct Draft {
    pub(super) path: PathBuf,
    target: PathBuf,
    is_kept: bool,
}

/// A folder that is ours until this is dropped.
pub(super) struct Folder {
    pub(super) database: PathBuf,
    lock: File,
}

impl Folder {
    /// Makes the folder and its files if they are not there, and locks it. Whatever the umask
    /// and whoever made them: nobody else may look in.
    pub(super) fn take(path: &Path) -> Result<Folder, OpenError> {
        let failed = |what: &Path| {
            let what = what.to_owned();
            move |error| OpenError::File { path: what, error }
        };
        if !path.is_dir() {
            make(path).map_err(failed(path))?;
        }
        close(path).map_err(failed(path))??;
        let lock_path = path.join(LOCK);
        let lock = open(&lock_path).map_err(failed(&lock_path))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(OpenError::Locked { path: path.to_owned() }),
            Err(TryLockError::Error(error)) => return Err(OpenError::File { path: lock_path, error }),
        }
        // SQLite gives the write-ahead log the permissions of the database.
        let database = path.join(DATABASE);
        check_length(&database, &lock).map_err(failed(&database))??;
        open(&database).map_err(failed(&database))?;
        sync(path).map_err(failed(path))?;
        Ok(Folder { database, lock })
    }

    /// From here on there is a database: one that is empty has lost all it had.
    pub(super) fn mark(&self) -> Result<(), OpenError> {
        let failed = |error| OpenError::File { path: self.database.with_file_name(LOCK), error };
        if self.lock.metadata().map_err(failed)?.len() == 0 {
            self.lock.write_all_at(MARK, 0).and_then(|()| self.lock.sync_all()).map_err(failed)?;
        }
        Ok(())
    }

    /// What the write-ahead log says, if there is one; before SQLite has opened it.
    pub(super) fn survey_wal(&self) -> Result<Survey, OpenError> {
        let path = wal_path(&self.database);
        let failed = |error| OpenError::File { path: path.clone(), error };
        match if_there(File::open(&path)).map_err(failed)? {
            Some(file) => wal::survey(&mut BufReader::with_capacity(READ_BYTES, file)).map_err(failed),
            None => Ok(Survey::default()),
        }
    }
}

impl Source {
    /// Opens what there is for reading; nothing is made and nothing is changed.
    pub(super) fn take(path: &Path) -> Result<Source, OpenError> {
        let open = |name: &Path| {
            if_there(File::open(name)).map_err(|error| OpenError::File { path: name.to_owned(), error })
        };
        let lock_path = path.join(LOCK);
        let lock = open(&lock_path)?;
        match lock.as_ref().map(File::try_lock) {
            None | Some(Ok(())) => {}
            Some(Err(TryLockError::WouldBlock)) => return Err(OpenError::Locked { path: path.to_owned() }),
            Some(Err(TryLockError::Error(error))) => return Err(OpenError::File { path: lock_path, error }),
        }
        let database = path.join(DATABASE);
        let missing = || OpenError::File { path: database.clone(), error: io::ErrorKind::NotFound.into() };
        let wal = open(&wal_path(&database))?;
        Ok(Source { database: open(&database)?.ok_or_else(missing)?, wal, _lock: lock })
    }
}

impl Source {
    pub(super) fn survey_wal(&self) -> io::Result<Survey> {
        match &self.wal {
            Some(wal) => wal::survey(&mut BufReader::with_capacity(READ_BYTES, wal)),
            None => Ok(Survey::default()),
        }
    }

    pub(super) fn database_bytes(&self) -> io::Result<u64> {
        Ok(self.database.metadata()?.len())
    }

    /// Reads what there is; how much that was.
    pub(super) fn read_database(&self, at: u64, to: &mut [u8]) -> io::Result<usize> {
        self.database.read_at(to, at)
    }

    pub(super) fn read_wal(&self, at: u64, to: &mut [u8]) -> io::Result<usize> {
        self.wal.as_ref().map_or(Ok(0), |wal| wal.read_at(to, at))
    }
}

impl Draft {
    /// Makes an empty file beside `target`, which must not be there.
    pub(super) fn new(target: &Path) -> io::Result<Draft> {
        if fs::symlink_metadata(target).is_ok() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let name = target.file_name().ok_or(io::ErrorKind::InvalidInput)?;
        let mut draft = OsString::from(".");
        draft.push(name);
        draft.push(format!(".{}", std::process::id()));
        let path = target.with_file_name(draft);
        OpenOptions::new().write(true).create_new(true).mode(FILE_MODE).open(&path)?;
        Ok(Draft { path, target: target.to_owned(), is_kept: false })
    }

    /// Its bytes and then its name are on disk when this returns.
    pub(super) fn keep(mut self) -> io::Result<u64> {
        let file = File::open(&self.path)?;
        file.sync_all()?;
        let bytes = file.metadata()?.len();
        fs::rename(&self.path, &self.target)?;
        self.is_kept = true;
        let parent = self.target.parent().filter(|parent| !parent.as_os_str().is_empty());
        sync(parent.unwrap_or(Path::new(".")))?;
        Ok(bytes)
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if self.is_kept {
            return;
        }
        // What is left behind says by its name what it is.
        for suffix in ["", "-wal", "-shm", "-journal"] {
            let _ = fs::remove_file(beside(&self.path, suffix));
        }
    }
}

/// A database in the making, in a folder that has nothing else and is made if it is not there.
pub(super) fn draft_in(folder: &Path) -> io::Result<Draft> {
    let mut files = if_there(fs::read_dir(folder))?;
    match files.as_mut().map(Iterator::next) {
        None => make(folder)?,
        Some(None) => {}
        Some(Some(_)) => return Err(io::ErrorKind::AlreadyExists.into()),
    }
    fs::set_permissions(folder, Permissions::from_mode(FOLDER_MODE))?;
    Draft::new(&folder.join(DATABASE))
}

fn make(folder: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(FOLDER_MODE).create(folder)?;
    match folder.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        Some(parent) => sync(parent),
        None => Ok(()),
    }
}

/// Where a folder's database is, if it has one.
pub(super) fn find_database(folder: &Path) -> io::Result<Option<PathBuf>> {
    let path = folder.join(DATABASE);
    Ok(if_there(fs::metadata(&path))?.map(|_| path))
}

/// SQLite takes a file that is shorter than its smallest page for a new database.
fn check_length(database: &Path, lock: &File) -> io::Result<Result<(), OpenError>> {
    let length = |path: &Path| io::Result::Ok(if_there(fs::metadata(path))?.map(|file| file.len()));
    let has_wal = length(&wal_path(database))?.is_some_and(|wal| wal > 0);
    Ok(match length(database)? {
        Some(0) if lock.metadata()?.len() > 0 && !has_wal => {
            Err(OpenError::Damaged(format!("{DATABASE} is empty, and was not before")))
        }
        Some(1..PAGE_BYTES_MIN) => Err(OpenError::Damaged(format!("{DATABASE} has been cut off"))),
        _ => Ok(()),
    })
}

fn if_there<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn wal_path(database: &Path) -> PathBuf {
    beside(database, "-wal")
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// Lets nobody else look in. A folder of other things, such as /srv, is not ours to close.
fn close(path: &Path) -> io::Result<Result<(), OpenError>> {
    if fs::metadata(path)?.permissions().mode() & OTHERS_MODE == 0 {
        return Ok(Ok(()));
    }
    let (mut is_ours, mut is_empty) = (false, true);
    for entry in fs::read_dir(path)? {
        let name = entry?.file_name();
        is_ours |= name == LOCK || name == DATABASE;
        // Of the file system itself.
        is_empty &= name == "lost+found";
    }
    if !is_ours && !is_empty {
        return Ok(Err(OpenError::Shared { path: path.to_owned() }));
    }
    fs::set_permissions(path, Permissions::from_mode(FOLDER_MODE)).map(Ok)
}

fn open(path: &Path) -> io::Result<File> {
    let file =
        OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(FILE_MODE).open(path)?;
    file.set_permissions(Permissions::from_mode(FILE_MODE))?;
    Ok(file)
}

/// A new name in a folder outlives a power cut only when the folder is synced.
fn sync(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// Some tens of pages at a time.
const READ_BYTES: usize = 256 * 1024;
const OTHERS_MODE: u32 = 0o077;
const FOLDER_MODE: u32 = 0o700;
const FILE_MODE: u32 = 0o600;
const LOCK: &str = "lock";
const MARK: &[u8] = b"sealmq.db is there\n";
const PAGE_BYTES_MIN: u64 = 512;
const DATABASE: &str = "sealmq.db";
