//! Files that may change while the broker runs.
//!
//! A look every few seconds at size, inode and times needs no kernel watch, works on every
//! file system, and sees a file replaced as well as one written in place.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::base::Mono;

/// A change is to be obeyed within 5 s; the rest is for reading and verifying.
const INTERVAL: Duration = Duration::from_secs(4);

/// Files and folders, and how they were when last looked at.
pub struct Watch {
    seen: Vec<(PathBuf, Option<Stamp>)>,
    next: Mono,
}

/// What differs when a file was changed or replaced.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Stamp {
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Watch {
    /// Takes the files as they are now.
    pub fn new(paths: Vec<PathBuf>, now: Mono) -> Watch {
        let seen = paths
            .into_iter()
            .map(|path| {
                let stamp = Stamp::of(&path);
                (path, stamp)
            })
            .collect();
        Watch { seen, next: now + INTERVAL }
    }

    /// When to look again; `None` if there is nothing to look at.
    pub fn poll_timeout(&self) -> Option<Mono> {
        (!self.seen.is_empty()).then_some(self.next)
    }

    /// Whether a look was due and found a file other than it was. Call before reading the
    /// files, so that a change during the reading is found by the next look.
    pub fn is_changed(&mut self, now: Mono) -> bool {
        now >= self.next && self.look(now)
    }

    /// Takes the files as they are now; whether one is other than it was.
    pub fn look(&mut self, now: Mono) -> bool {
        self.next = now + INTERVAL;
        let mut changed = false;
        for (path, seen) in &mut self.seen {
            let stamp = Stamp::of(path);
            changed |= stamp != *seen;
            *seen = stamp;
        }
        changed
    }
}

impl Stamp {
    /// `None` if the file is not there.
    fn of(path: &Path) -> Option<Stamp> {
        let m = fs::metadata(path).ok()?;
        Some(Stamp {
            inode: m.ino(),
            size: m.size(),
            modified: (m.mtime(), m.mtime_nsec()),
            changed: (m.ctime(), m.ctime_nsec()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_seen_once_and_when_due() {
        let folder = tempfile::tempdir().expect("a scratch folder");
        let path = folder.path().join("ca.crl");
        let mut watch = Watch::new(vec![path.clone()], Mono(0));
        let due = watch.poll_timeout().expect("a file is watched");

        fs::write(&path, "one").expect("a file is written");
        assert!(!watch.is_changed(Mono(1)), "not due yet");
        assert!(watch.is_changed(due), "a file that came");
        assert!(!watch.is_changed(due + INTERVAL), "seen already");

        fs::write(&path, "three").expect("a file is written");
        assert!(watch.is_changed(due + INTERVAL * 2), "written in place");

        let other = folder.path().join("new");
        fs::write(&other, "three").expect("a file is written");
        fs::rename(&other, &path).expect("a file is replaced");
        assert!(watch.is_changed(due + INTERVAL * 3), "replaced");

        fs::remove_file(&path).expect("a file is removed");
        assert!(watch.is_changed(due + INTERVAL * 4), "gone");
    }

    #[test]
    fn nothing_watched_wakes_nobody() {
        assert_eq!(Watch::new(Vec::new(), Mono(0)).poll_timeout(), None);
    }
}
