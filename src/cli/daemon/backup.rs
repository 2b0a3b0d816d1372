//! `sealmqd backup`: a copy of the database in one file, while the broker runs or not.

use std::fs;
use std::path::{Path, PathBuf};

use super::args::Backup;
use super::check::print;
use super::storage;
use crate::cli::error::{CliError, Exit};
use crate::cli::keyfiles::{self, quoted};
use crate::cli::progress::Progress;
use crate::cli::units::show_bytes;
use crate::net::broker::survive_size_limits;
use crate::store::disk::{self, BackupError, BackupReport};

/// Copies the database of the data folder `data`.
pub fn backup(data: &Path, asked: &Backup) -> Result<(), CliError> {
    survive_size_limits().map_err(|e| CliError::other(e.to_string()))?;
    let file = &asked.file;
    let exists = fs::symlink_metadata(file).is_ok();
    if exists && !asked.force {
        return Err(in_the_way(file));
    }
    if fs::metadata(file).is_ok_and(|there| there.is_dir()) {
        return Err(CliError::other(format!("{} is a folder", file.display())).remedy("name a file in it"));
    }
    // The one that is there goes when the new one is whole.
    let target = if exists { beside(file) } else { file.clone() };
    let mut progress = Progress::new("sealmqd", format!("copying {}", data.display()));
    let made = disk::backup(data, &target, &mut |done, all| progress.tell(done, all, "pages"));
    drop(progress);
    let report = made.map_err(|error| not_made(data, file, error))?;
    if exists {
        keyfiles::put_in_place(&target, file)?;
    }
    print(&told(file, &report))
}

/// A name in the same folder, for as long as it takes.
fn beside(file: &Path) -> PathBuf {
    let name = file.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    file.with_file_name(format!(".{name}.{}.new", std::process::id()))
}

fn told(file: &Path, report: &BackupReport) -> String {
    let mut text = format!(
        "{}: {} topics, {} messages, {}\n",
        file.display(),
        report.topics,
        report.messages,
        show_bytes(report.bytes)
    );
    for topic in &report.damaged {
        text += &format!(
            "  {}: {} messages are damaged in the database, and in the copy\n",
            topic.name, topic.messages
        );
    }
    text += &format!(
        "to go back to it: stop the broker, then\n  mkdir -m 700 NEW && cp {} NEW/{} && sealmqd --data NEW\n",
        quoted(file),
        storage::DATABASE
    );
    text
}

fn in_the_way(file: &Path) -> CliError {
    CliError::other(format!("{} exists", file.display())).remedy("name another file, or replace it: --force")
}

fn not_made(data: &Path, file: &Path, error: BackupError) -> CliError {
    match error {
        BackupError::NoDatabase { .. } => {
            CliError::other(format!("there is no {}", data.join(storage::DATABASE).display())).remedy(
                "name the folder that the broker keeps its topics in: --data DIR, or -c FILE as it has",
            )
        }
        BackupError::Exists { .. } => in_the_way(file),
        BackupError::File { error, .. } => keyfiles::cannot("write", file, &error),
        BackupError::Full { .. } => CliError::other(format!("there is no room for {}", file.display()))
            .remedy("make room (`df -h` shows how much there is), or name a file on another disk"),
        BackupError::Source(error) => storage::not_opened(data, &error),
        BackupError::Bad(why) => {
            CliError::new(Exit::Integrity, format!("the copy cannot be read back: {why}"))
                .remedy("try again; if it happens again, a disk or the memory of this computer is failing")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::names::TopicName;
    use crate::store::disk::DamagedTopic;

    #[test]
    fn a_backup_says_what_is_in_it_and_how_to_go_back() {
        let name = TopicName::parse("home/door").expect("a good name");
        let damaged = vec![DamagedTopic { name, messages: 2 }];
        let report = BackupReport { bytes: 4096, topics: 3, messages: 7, damaged };
        let text = told(Path::new("my copy.db"), &report);
        for expected in [
            "3 topics, 7 messages, 4 KiB",
            "home/door: 2 messages are damaged",
            "cp 'my copy.db' NEW/sealmq.db",
        ] {
            assert!(text.contains(expected), "{expected:?} is not in {text}");
        }
    }
}
