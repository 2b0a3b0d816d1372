//! `sub --resume NAME`: how far a reader of this name has printed each topic, in the state folder.
//!
//! What holds, for a message that was printed and flushed: if the program is killed, the place behind it is kept
//! unless the kill came between the flush and the write that follows it, so at most that one message is
//! printed twice. After a power cut the place is at most [`KEEP_INTERVAL`] and one sync older, so what was
//! printed since is printed again; a file on standard output is synced first, so nothing is left out.

pub mod slots;

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::error::CliError;
use super::keyfiles;
use super::state::State;
use crate::base::Mono;
use crate::base::ids::Offset;
use crate::base::names::{Name, TopicName};
use crate::client::Stand;
use slots::{Boot, Mark, Medium, NotUnderstood, Slots, VERSION};

/// The places of one name, held by this process alone.
pub struct Places {
    slots: Slots<File>,
    path: PathBuf,
    kept: Mono,
}

impl Places {
    /// Opens the places of `name`, or begins them.
    pub fn open(state: &State, name: &Name) -> Result<Places, CliError> {
        if state.is_missing() {
            return Err(CliError::other(format!(
                "--resume {name}: there is no state folder to keep places in"
            ))
            .remedy("set HOME, or XDG_STATE_HOME to a folder that you can write"));
        }
        let folder = state.path(FOLDER);
        keyfiles::make_folder(&folder, true)?;
        let path = folder.join(name.as_str());
        let mut file = lock(&path, name, true)?;
        let failed = |e| keyfiles::cannot("read", &path, &e);
        let mut content = Vec::new();
        file.read_to_end(&mut content).map_err(failed)?;
        if content.len() < slots::header().len() {
            // No entry is written before the header is on the disk, so this was never used.
            begin(&file, &folder).map_err(|e| keyfiles::cannot("write", &path, &e))?;
            content = slots::header().to_vec();
        }
        let slots = Slots::read(&content, file, boot()).map_err(|e| not_understood(&path, name, &e))?;
        Ok(Places { slots, path, kept: Mono(0) })
    }

    pub fn marks(&self) -> impl Iterator<Item = (&TopicName, Mark)> {
        self.slots.marks()
    }

    /// All of a topic before this place was printed and flushed.
    pub fn note(&mut self, topic: &TopicName, mark: Mark) -> Result<(), CliError> {
        self.slots.note(topic, mark).map_err(|e| keyfiles::cannot("write", &self.path, &e))
    }

    /// When the places are to be kept over a power cut, if they have changed.
    pub fn keep_at(&self) -> Option<Mono> {
        self.slots.is_dirty().then(|| self.kept + KEEP_INTERVAL)
    }

    pub fn keep_in_time(&mut self, now: Mono) -> Result<(), CliError> {
        if self.keep_at().is_some_and(|at| now >= at) { self.keep(now) } else { Ok(()) }
    }

    /// Has the places outlive a power cut, behind what was printed into a file.
    pub fn keep(&mut self, now: Mono) -> Result<(), CliError> {
        if !self.slots.is_dirty() {
            return Ok(());
        }
        sync_output().map_err(|e| CliError::other(format!("standard output cannot be synced: {e}")))?;
        self.slots.keep().map_err(|e| keyfiles::cannot("write", &self.path, &e))?;
        self.kept = now;
        Ok(())
    }
}

impl Medium for File {
    fn write_at(&mut self, bytes: &[u8], place: u64) -> io::Result<()> {
        self.write_all_at(bytes, place)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.sync_data()
    }
}

/// The resume names of an identity, in order.
pub fn names(state: &State) -> Result<Vec<Name>, CliError> {
    let folder = state.path(FOLDER);
    let entries = match fs::read_dir(&folder) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(keyfiles::cannot("read", &folder, &e)),
    };
    let name =
        |entry: io::Result<fs::DirEntry>| Name::parse(&entry.ok()?.file_name().into_string().ok()?).ok();
    let mut names: Vec<Name> = entries.filter_map(name).collect();
    names.sort();
    Ok(names)
}

/// The places of a name, also while a reader goes on.
pub fn look(state: &State, name: &Name) -> Result<Vec<(TopicName, Mark)>, CliError> {
    let path = state.path(FOLDER).join(name.as_str());
    let content = match fs::read(&path) {
        Ok(content) => content,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Err(unknown(name)),
        Err(e) => return Err(keyfiles::cannot("read", &path, &e)),
    };
    if content.len() < slots::header().len() {
        return Ok(Vec::new());
    }
    let slots = Slots::read(&content, Untouched, boot()).map_err(|e| not_understood(&path, name, &e))?;
    Ok(slots.marks().map(|(topic, mark)| (topic.clone(), mark)).collect())
}

/// Drops all places of a name that nobody uses.
pub fn forget(state: &State, name: &Name) -> Result<(), CliError> {
    let path = state.path(FOLDER).join(name.as_str());
    let _held = lock(&path, name, false)?;
    fs::remove_file(&path).map_err(|e| keyfiles::cannot("remove", &path, &e))
}

/// Moves a place of a name that nobody uses.
pub fn go_on_at(state: &State, name: &Name, topic: &TopicName, next: Offset) -> Result<(), CliError> {
    // Whoever mistypes a name does not begin one.
    look(state, name)?;
    let mut places = Places::open(state, name)?;
    let Some(mark) = places.marks().find(|(known, _)| *known == topic).map(|(_, mark)| mark) else {
        return Err(CliError::other(format!("{name} has no place in {topic}"))
            .remedy(format!("`sealmq resume {name}` lists those that it has")));
    };
    places.note(topic, Mark { stand: Stand { next, ..mark.stand }, ..mark })?;
    places.keep(Mono(0))
}

/// Opens the file of a name for this process alone.
fn lock(path: &Path, name: &Name, make: bool) -> Result<File, CliError> {
    let failed = |e: io::Error| match e.kind() {
        io::ErrorKind::NotFound => unknown(name),
        _ => keyfiles::cannot("open", path, &e),
    };
    loop {
        let mut options = OpenOptions::new();
        let file = options.read(true).write(true).create(make).mode(0o600).open(path).map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(CliError::other(format!("--resume {name} is in use by another sealmq"))
                    .remedy("end that one first, or choose another name: each reader has its own"));
            }
            Err(TryLockError::Error(e)) => return Err(keyfiles::cannot("lock", path, &e)),
        }
        // Another process may have removed it before we had the lock.
        let held = file.metadata().map_err(failed)?.ino();
        if fs::metadata(path).is_ok_and(|there| there.ino() == held) {
            return Ok(file);
        }
    }
}

/// Writes the header, down to the disk, the file's name included.
fn begin(file: &File, folder: &Path) -> io::Result<()> {
    file.set_len(0)?;
    file.write_all_at(&slots::header(), 0)?;
    file.sync_all()?;
    File::open(folder)?.sync_all()
}

fn unknown(name: &Name) -> CliError {
    CliError::other(format!("there is no resume name {name}"))
        .remedy("`sealmq resume` lists those that there are")
}

fn not_understood(path: &Path, name: &Name, why: &NotUnderstood) -> CliError {
    let file = path.display();
    match why {
        NotUnderstood::Newer(version) => CliError::other(format!(
            "{file} is of version {version}, and this sealmq knows versions up to {VERSION}"
        ))
        .remedy("use the newer sealmq that wrote it"),
        NotUnderstood::Foreign => CliError::other(format!("{file} is not a file of --resume"))
            .remedy("move it away; the topics then begin where --from says"),
        NotUnderstood::Damaged { place } => CliError::other(format!(
            "{file} is damaged at byte {place}: a topic's place is lost"
        ))
        .remedy(format!(
            "bring the file back from a backup, or begin anew with `sealmq resume {name} --forget`, and \
                 --from to say where"
        )),
    }
}

/// Linux names each start of the computer; what cannot be read is not known.
fn boot() -> Boot {
    let text = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let digits: String = text.chars().filter(char::is_ascii_hexdigit).collect();
    let id = u128::from_str_radix(&digits, 16).ok().filter(|id| *id != 0 && digits.len() == 32);
    Boot(id.map(u128::to_be_bytes))
}

/// What was printed into a file is on the disk; pipes and terminals have none.
fn sync_output() -> io::Result<()> {
    let output = File::from(io::stdout().as_fd().try_clone_to_owned()?);
    if output.metadata()?.is_file() { output.sync_data() } else { Ok(()) }
}

/// For who only looks.
struct Untouched;

impl Medium for Untouched {
    fn write_at(&mut self, _: &[u8], _: u64) -> io::Result<()> {
        Err(io::ErrorKind::PermissionDenied.into())
    }

    fn sync(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A folder in the state folder, with a file for each name.
const FOLDER: &str = "resume";
/// Between two syncs; a message is printed again after a power cut if it came since the last.
pub const KEEP_INTERVAL: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::base::ids::{Fingerprint, Incarnation};
    use crate::cli::surroundings::Surroundings;

    fn state(folder: &tempfile::TempDir) -> State {
        let around = Surroundings { state: Some(folder.path().to_owned()), ..Surroundings::default() };
        State::open(&around, Fingerprint([9; 32])).expect("a folder")
    }

    fn name(text: &str) -> Name {
        Name::parse(text).expect("a good name")
    }

    fn mark(next: u64) -> Mark {
        Mark { topic: None, stand: Stand { incarnation: Incarnation(1), next: Offset(next) } }
    }

    #[test]
    fn places_are_ours_alone_and_held_by_one() {
        let folder = tempfile::tempdir().expect("a scratch folder");
        let state = state(&folder);
        let topic = TopicName::parse("a/b").expect("a good name");
        assert!(names(&state).expect("readable").is_empty());
        let mut places = Places::open(&state, &name("log")).expect("new");
        places.note(&topic, mark(5)).expect("written");
        let error = Places::open(&state, &name("log")).err().expect("it is held").to_string();
        assert!(error.contains("in use"), "{error}");
        assert!(forget(&state, &name("log")).is_err());
        assert_eq!(look(&state, &name("log")).expect("readable"), [(topic.clone(), mark(5))]);
        drop(places);
        let mode = |path: &Path| fs::metadata(path).expect("there").permissions().mode() & 0o777;
        let file = state.path(FOLDER).join("log");
        assert_eq!((mode(&file), mode(&state.path(FOLDER))), (0o600, 0o700));

        let mut places = Places::open(&state, &name("log")).expect("there");
        assert_eq!(places.marks().collect::<Vec<_>>(), [(&topic, mark(5))]);
        assert_eq!(places.keep_at(), None);
        places.note(&topic, mark(6)).expect("written");
        places.keep_in_time(Mono(5_000_000)).expect("kept");
        assert_eq!(places.keep_at(), None);
        drop(places);
        assert_eq!(names(&state).expect("readable"), [name("log")]);
        forget(&state, &name("log")).expect("nobody uses it");
        assert!(look(&state, &name("log")).is_err() && forget(&state, &name("log")).is_err());
        assert!(Places::open(&state, &name("log")).expect("new").marks().next().is_none());
    }

    #[test]
    fn a_file_that_was_only_begun_is_begun_again() {
        let folder = tempfile::tempdir().expect("a scratch folder");
        let state = state(&folder);
        drop(Places::open(&state, &name("log")).expect("new"));
        let file = state.path(FOLDER).join("log");
        for content in [&b""[..], b"sealmq"] {
            fs::write(&file, content).expect("written");
            assert!(Places::open(&state, &name("log")).is_ok());
        }
        fs::write(&file, [b'x'; 600]).expect("written");
        let error = Places::open(&state, &name("log")).err().expect("no such file").to_string();
        assert!(error.contains("not a file of --resume"), "{error}");
        assert_eq!(fs::read(&file).expect("there"), [b'x'; 600], "it is not overwritten");
    }

    #[test]
    fn this_computer_knows_its_boot() {
        assert_eq!(boot(), boot());
        assert!(boot().0.is_some(), "Linux says which it is");
    }
}
