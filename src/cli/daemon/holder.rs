//! Which process has a data folder, as far as the system tells.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// The file in a data folder that a broker holds locked.
pub const LOCK: &str = "lock";

/// The process that has the folder's lock; `None` where the system does not tell.
pub fn of(folder: &Path) -> Option<u32> {
    let inode = fs::metadata(folder.join(LOCK)).ok()?.ino();
    let locks = fs::read_to_string("/proc/locks").ok()?;
    let named = |pid: u32| {
        fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name.trim_end() == "sealmqd")
    };
    holders(&locks, inode).find(|pid| named(*pid))
}

/// Processes that hold a whole file of this number locked, from the text of `/proc/locks`
/// (proc_locks(5)). Files of other disks may have the same number.
fn holders(locks: &str, inode: u64) -> impl Iterator<Item = u32> {
    locks.lines().filter_map(move |line| {
        let mut words = line.split_whitespace().skip(1);
        let is_held = words.next() == Some("FLOCK") && words.nth(1) == Some("WRITE");
        let pid = words.next()?.parse().ok()?;
        let file = words.next()?.rsplit_once(':')?.1;
        (is_held && file.parse() == Ok(inode)).then_some(pid)
    })
}

#[cfg(test)]
mod tests {
    use super::holders;

    #[test]
    fn the_holder_of_a_lock_is_found_among_others() {
        let locks = "1: POSIX  ADVISORY  WRITE 11 08:02:77 0 EOF\n\
                     2: FLOCK  ADVISORY  WRITE 12 08:02:78 0 EOF\n\
                     2: -> FLOCK  ADVISORY  WRITE 14 08:02:77 0 EOF\n\
                     junk\n\
                     3: FLOCK  ADVISORY  WRITE 13 08:02:77 0 EOF\n";
        assert_eq!(holders(locks, 77).collect::<Vec<_>>(), [13]);
        assert_eq!(holders(locks, 79).count(), 0);
    }
}
