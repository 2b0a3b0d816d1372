//! The state folder: what this computer remembers for an identity between two runs.
//!
//! One folder for each fingerprint, readable by its owner alone; files are replaced as a
//! whole, under a lock.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::error::CliError;
use super::keyfiles;
use super::surroundings::Surroundings;
use crate::base::ids::Fingerprint;
use crate::base::names::Name;

/// The folder of one identity.
#[derive(Clone, Debug)]
pub struct State {
    folder: PathBuf,
}

/// The fingerprints that this computer has seen before.
pub struct Seen {
    state: State,
    known: BTreeSet<Fingerprint>,
}

impl State {
    /// Opens, and makes if need be, the folder of `me`.
    pub fn open(around: &Surroundings, me: Fingerprint) -> Result<State, CliError> {
        let Some(state) = &around.state else {
            return Err(CliError::other("there is no state folder: neither XDG_STATE_HOME nor HOME is set")
                .remedy("set HOME, or XDG_STATE_HOME to a folder that you can write"));
        };
        let folder = state.join("sealmq").join(me.to_string());
        keyfiles::make_folder(&folder, true)?;
        Ok(State { folder })
    }

    /// A file in it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// A file's content; `None` if there is no such file.
    pub fn read(&self, name: &str) -> Result<Option<Vec<u8>>, CliError> {
        let path = self.path(name);
        match fs::read(&path) {
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

impl Seen {
    pub fn open(state: State) -> Result<Seen, CliError> {
        let known = parse(&state, state.read(SEEN_FILE)?)?;
        Ok(Seen { state, known })
    }

    pub fn contains(&self, fingerprint: &Fingerprint) -> bool {
        self.known.contains(fingerprint)
    }

    /// Remembers these from now on.
    pub fn remember(&mut self, new: &[(Fingerprint, Name)]) -> Result<(), CliError> {
        if new.iter().all(|(fingerprint, _)| self.known.contains(fingerprint)) {
            return Ok(());
        }
        let state = self.state.clone();
        state.update(SEEN_FILE, |content| {
            // Another program of ours may have written since it was read.
            self.known.append(&mut parse(&state, content.clone())?);
            let mut content = content.unwrap_or_default();
            for (fingerprint, name) in new {
                if self.known.insert(*fingerprint) {
                    content.extend_from_slice(format!("{fingerprint} {name}\n").as_bytes());
                }
            }
            Ok(content)
        })
    }
}

/// A line for each: the fingerprint, and a name for people.
fn parse(state: &State, content: Option<Vec<u8>>) -> Result<BTreeSet<Fingerprint>, CliError> {
    let text = String::from_utf8_lossy(content.as_deref().unwrap_or_default()).into_owned();
    let fingerprints = text.lines().enumerate().map(|(index, line)| {
        let first = line.split(' ').next().and_then(Fingerprint::parse_hex);
        first.ok_or_else(|| {
            let path = state.path(SEEN_FILE);
            CliError::other(format!("{}, line {}: not a fingerprint", path.display(), index + 1))
                .remedy("take the line out; whoever it named will count as new once")
        })
    });
    fingerprints.collect()
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

const SEEN_FILE: &str = "seen";

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn around(folder: &tempfile::TempDir) -> Surroundings {
        Surroundings { state: Some(folder.path().to_owned()), ..Surroundings::default() }
    }

    fn somebody(byte: u8, name: &str) -> (Fingerprint, Name) {
        (Fingerprint([byte; 32]), Name::parse(name).expect("a good name"))
    }

    #[test]
    fn what_was_seen_stays_seen() {
        let folder = tempfile::tempdir().expect("a scratch folder");
        let me = Fingerprint([9; 32]);
        let open = || Seen::open(State::open(&around(&folder), me).expect("a folder")).expect("readable");
        let (mut one, mut other) = (open(), open());
        assert!(!one.contains(&Fingerprint([1; 32])));
        one.remember(&[somebody(1, "alice")]).expect("written");
        other.remember(&[somebody(2, "bob"), somebody(1, "alice")]).expect("written");
        assert!(other.contains(&Fingerprint([1; 32])));
        let again = open();
        assert!(again.contains(&Fingerprint([1; 32])) && again.contains(&Fingerprint([2; 32])));
        let path = again.state.path(SEEN_FILE);
        assert_eq!(fs::read_to_string(&path).expect("text").lines().count(), 2);
        assert_eq!(fs::metadata(&path).expect("there").permissions().mode() & 0o777, 0o600);
        let parent = path.parent().expect("a folder");
        assert_eq!(fs::metadata(parent).expect("there").permissions().mode() & 0o777, 0o700);
    }

    #[test]
    fn each_identity_has_its_own() {
        let folder = tempfile::tempdir().expect("a scratch folder");
        let open = |byte| {
            let state = State::open(&around(&folder), Fingerprint([byte; 32])).expect("a folder");
            Seen::open(state).expect("readable")
        };
        open(1).remember(&[somebody(7, "carol")]).expect("written");
        assert!(open(1).contains(&Fingerprint([7; 32])));
        assert!(!open(2).contains(&Fingerprint([7; 32])));
    }

    #[test]
    fn a_damaged_file_is_named_with_its_line() {
        let folder = tempfile::tempdir().expect("a scratch folder");
        let state = State::open(&around(&folder), Fingerprint([1; 32])).expect("a folder");
        fs::write(state.path(SEEN_FILE), format!("{} a\nrubbish\n", Fingerprint([3; 32]))).expect("written");
        let error = Seen::open(state).err().expect("damaged").to_string();
        assert!(error.contains("seen, line 2"), "{error}");
    }

    #[test]
    fn without_a_home_the_remedy_is_said() {
        let error = State::open(&Surroundings::default(), Fingerprint([1; 32])).expect_err("nowhere");
        assert!(error.to_string().contains("XDG_STATE_HOME"), "{error}");
    }
}
