//! The folder of a database: who may look into it, and that one process has it.
//!
//! The only file of the store that touches files itself. It must not know what is in them.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use super::OpenError;

/// A folder that is ours until this is dropped.
pub(super) struct Folder {
    pub(super) database: PathBuf,
    _lock: File,
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
            DirBuilder::new().recursive(true).mode(FOLDER_MODE).create(path).map_err(failed(path))?;
            if let Some(parent) = path.parent().filter(|p| !p.as_os_str().is_empty()) {
                sync(parent).map_err(failed(parent))?;
            }
        }
        fs::set_permissions(path, Permissions::from_mode(FOLDER_MODE)).map_err(failed(path))?;
        let lock_path = path.join(LOCK);
        let lock = open(&lock_path).map_err(failed(&lock_path))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(OpenError::Locked { path: path.to_owned() }),
            Err(TryLockError::Error(error)) => return Err(OpenError::File { path: lock_path, error }),
        }
        // SQLite gives the write-ahead log the permissions of the database.
        let database = path.join(DATABASE);
        open(&database).map_err(failed(&database))?;
        sync(path).map_err(failed(path))?;
        Ok(Folder { database, _lock: lock })
    }
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

const FOLDER_MODE: u32 = 0o700;
const FILE_MODE: u32 = 0o600;
const LOCK: &str = "lock";
const DATABASE: &str = "sealmq.db";
