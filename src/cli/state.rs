//! The state folder: what this computer remembers for an identity between two runs.
//!
//! One folder for each fingerprint, readable by its owner alone; files are replaced as a
//! whole, under a lock. Where there can be no such folder, nothing is remembered.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::error::CliError;
use super::keyfiles;
use super::output::note;
use super::surroundings::Surroundings;
use crate::base::ids::Fingerprint;

/// The folder of one identity.
#[derive(Clone, Debug)]
pub struct State {
    folder: PathBuf,
    /// There is no such folder, and none can be made: nothing is remembered.
    is_missing: bool,
}

impl State {
    /// Opens, and makes if need be, the folder of `me`.
    pub fn open(around: &Surroundings, me: Fingerprint) -> Result<State, CliError> {
        let Some(state) = &around.state else {
            return Err(CliError::other("there is no state folder: neither XDG_STATE_HOME nor HOME is set")
                .remedy("set HOME, or XDG_STATE_HOME to a folder that you can write"));
        };
        let folder = state.join("sealmq").join(me.to_string());
        let made = keyfiles::make_folder(&folder, true);
        if let Err(error) = &made {
            note(&format!("nothing is remembered between two runs: {error}"));
        }
        Ok(State { folder, is_missing: made.is_err() })
    }

    /// Whether there is no folder to keep anything in; that was said.
    pub fn is_missing(&self) -> bool {
        self.is_missing
    }

    /// A file in it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// A file's content; `None` if there is no such file.
    pub fn read(&self, name: &str) -> Result<Option<Vec<u8>>, CliError> {
        let path = self.path(name);
        match fs::read(&path) {
            _ if self.is_missing => Ok(None),
            Ok(content) => Ok(Some(content)),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(keyfiles::cannot("read", &path, &e)),
        }
    }

    /// Replaces a file by what `change` makes of its content, while nobody else does.
    pub fn update(
        &self,
        name: &str,
        change: impl FnOnce(Option<Vec<u8>>) -> Result<Vec<u8>, CliError>,
    ) -> Result<(), CliError> {
        let lock = self.path("lock");
        let locked = private(OpenOptions::new().create(true)).open(&lock).and_then(|file| {
            file.lock()?;
            Ok(file)
        });
        let _held = locked.map_err(|e| keyfiles::cannot("lock", &lock, &e))?;
        let content = change(self.read(name)?)?;
        let path = self.path(name);
        replace(&path, &content).map_err(|e| keyfiles::cannot("write", &path, &e))
    }
}

/// Writes beside, then renames, so that a reader sees the old file or the new one.
fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let beside = path.with_extension("new");
    let mut file: File = private(OpenOptions::new().create(true).truncate(true)).open(&beside)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(&beside, path)
}

fn private(options: &mut OpenOptions) -> &mut OpenOptions {
    options.write(true).mode(0o600)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn around(folder: &tempfile::TempDir) -> Surroundings {
        Surroundings { state: Some(folder.path().to_owned()), ..Surroundings::default() }
    }

    #[test]
    fn files_are_ours_alone_and_replaced_as_a_whole() {
        let folder = tempfile::tempdir().expect("a scratch folder");
        let state = State::open(&around(&folder), Fingerprint([9; 32])).expect("a folder");
        assert_eq!(state.read("a").expect("readable"), None);
        state.update("a", |before| Ok(before.unwrap_or_default())).expect("written");
        state.update("a", |before| Ok([before.expect("there"), b"x".to_vec()].concat())).expect("written");
        assert_eq!(state.read("a").expect("readable").as_deref(), Some(&b"x"[..]));
        let failed = state.update("a", |_| Err(CliError::other("no")));
        assert_eq!(failed, Err(CliError::other("no")));
        assert_eq!(state.read("a").expect("readable").as_deref(), Some(&b"x"[..]));
        let mode = |path: &Path| fs::metadata(path).expect("there").permissions().mode() & 0o777;
        assert_eq!((mode(&state.path("a")), mode(&state.folder)), (0o600, 0o700));
    }

    #[test]
    fn each_identity_has_its_own() {
        let folder = tempfile::tempdir().expect("a scratch folder");
        let open = |byte| State::open(&around(&folder), Fingerprint([byte; 32])).expect("a folder");
        open(1).update("a", |_| Ok(b"x".to_vec())).expect("written");
        assert!(open(1).read("a").expect("readable").is_some());
        assert!(open(2).read("a").expect("readable").is_none());
    }

    #[test]
    fn where_there_can_be_no_folder_there_is_nothing() {
        let folder = tempfile::tempdir().expect("a scratch folder");
        let file = folder.path().join("file");
        fs::write(&file, "").expect("written");
        let around = Surroundings { state: Some(file), ..Surroundings::default() };
        let state = State::open(&around, Fingerprint([1; 32])).expect("not worth an error");
        assert!(state.is_missing());
        assert_eq!(state.read("a").expect("nothing"), None);
        assert!(state.update("a", |_| Ok(Vec::new())).is_err());
    }

    #[test]
    fn without_a_home_the_remedy_is_said() {
        let error = State::open(&Surroundings::default(), Fingerprint([1; 32])).expect_err("nowhere");
        assert!(error.to_string().contains("XDG_STATE_HOME"), "{error}");
    }
}
