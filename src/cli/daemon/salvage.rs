//! `sealmqd salvage`: what is good of a damaged database, in a new data folder; and in words, or in
//! JSON, what is not.

use std::path::Path;

use serde_json::json;

use super::args::Salvage;
use super::check::print;
use super::material::CRL_NUMBER_FILE;
use super::storage;
use crate::base::ids::Offset;
use crate::cli::error::{CliError, Exit};
use crate::cli::keyfiles::{self, quoted};
use crate::cli::progress::Progress;
use crate::net::broker::survive_size_limits;
use crate::store::disk::{self, SalvageError, SalvageReport, SalvagedTopic};

/// Copies what is good and says what is not; that something was lost is an error with a code of
/// its own.
pub fn salvage(asked: &Salvage) -> Result<(), CliError> {
    survive_size_limits().map_err(|e| CliError::other(e.to_string()))?;
    let (old, new) = (&asked.old, &asked.new);
    let mut progress = Progress::new("sealmqd", format!("reading {}", old.display()));
    let made = disk::salvage(old, new, &mut |done, all| progress.tell(done, all, "pages"));
    drop(progress);
    let report = made.map_err(|error| not_made(old, new, error))?;
    keep_crl_number(old, new)?;
    print(&if asked.json { in_json(&report) } else { in_words(&report) })?;
    let start = format!("start with what is good: sealmqd --data {}", quoted(new));
    if is_whole(&report) {
        return if asked.json { Ok(()) } else { print(&format!("nothing was lost; {start}\n")) };
    }
    let problem = format!("not all of {} could be saved; keep it until all is well", old.display());
    Err(CliError::new(Exit::Integrity, problem).remedy(start))
}

/// The broker that starts with the new folder is to refuse older revocation lists as before.
fn keep_crl_number(old: &Path, new: &Path) -> Result<(), CliError> {
    let (from, to) = (old.join(CRL_NUMBER_FILE), new.join(CRL_NUMBER_FILE));
    if !from.exists() {
        return Ok(());
    }
    const FILE_BYTES_MAX: u64 = 64;
    keyfiles::write_public(&to, &keyfiles::read_file(&from, FILE_BYTES_MAX)?)
}

/// Whether all that was answered is there.
fn is_whole(report: &SalvageReport) -> bool {
    let lost =
        report.lost_topics.len() as u64 + report.lost_notes + report.nameless_topics + report.bad_frames;
    lost == 0 && report.topics.iter().all(is_good)
}

fn is_good(topic: &SalvagedTopic) -> bool {
    topic.lost.is_empty() && topic.lost_publishers == 0 && !topic.is_older
}

fn in_words(report: &SalvageReport) -> String {
    let mut lines = Vec::new();
    for topic in &report.topics {
        lines.push(format!("{}: {} messages copied", topic.name, topic.messages));
        if !topic.lost.is_empty() {
            let lost: u64 = topic.lost.iter().map(|(from, to)| to.0.saturating_sub(from.0)).sum();
            let ranges: Vec<String> = topic.lost.iter().map(range).collect();
            lines.push(format!("  LOST {lost} messages: offsets {}", ranges.join(", ")));
        }
        if topic.lost_publishers > 0 {
            lines.push(format!(
                "  LOST the counters of {} publishers: what they send again may be stored twice",
                topic.lost_publishers
            ));
        }
        if topic.is_older {
            lines.push("  its settings are older ones".to_owned());
        }
    }
    for topic in &report.lost_topics {
        lines.push(format!(
            "{}: LOST, for {} of its membership records cannot be read, and without all of them nobody could \
             verify its {} messages",
            topic.name, topic.lost_records, topic.messages
        ));
    }
    for (count, what) in [
        (report.nameless_topics, "topics of which not even the name is left: LOST"),
        (report.lost_notes, "requests to join, known certificates and numbers: LOST"),
        (report.bad_frames, "pages of the write-ahead log, with what was stored last: LOST"),
    ] {
        if count > 0 {
            lines.push(format!("{count} {what}"));
        }
    }
    lines.push(format!("{} topics and {} notes of the broker copied", report.topics.len(), report.notes));
    lines.join("\n") + "\n"
}

/// `10` or `10-12`, both ends lost.
fn range((from, to): &(Offset, Offset)) -> String {
    let last = to.0.saturating_sub(1);
    if last <= from.0 { from.0.to_string() } else { format!("{}-{last}", from.0) }
}

fn in_json(report: &SalvageReport) -> String {
    let topics: Vec<_> = report
        .topics
        .iter()
        .map(|topic| {
            let lost: Vec<_> = topic
                .lost
                .iter()
                .map(|(from, to)| json!({ "from": from.0, "to": to.0.saturating_sub(1) }))
                .collect();
            json!({
                "topic": topic.name.as_str(),
                "messages": topic.messages,
                "lost": lost,
                "lost_publishers": topic.lost_publishers,
                "older_settings": topic.is_older,
            })
        })
        .collect();
    let lost_topics: Vec<_> = report
        .lost_topics
        .iter()
        .map(|topic| {
            json!({
                "topic": topic.name.as_str(),
                "lost_records": topic.lost_records,
                "messages": topic.messages,
            })
        })
        .collect();
    let all = json!({
        "complete": is_whole(report),
        "topics": topics,
        "lost_topics": lost_topics,
        "nameless_topics": report.nameless_topics,
        "notes": report.notes,
        "lost_notes": report.lost_notes,
        "bad_frames": report.bad_frames,
    });
    format!("{all}\n")
}

fn not_made(old: &Path, new: &Path, error: SalvageError) -> CliError {
    match error {
        SalvageError::Old(error) => storage::not_opened(old, &error),
        SalvageError::New(error) => storage::not_opened(new, &error),
        SalvageError::NotEmpty { path } => CliError::other(format!("{} has files in it already", path.display()))
            .remedy("name a folder that is not there yet"),
        SalvageError::Read { path, error } => storage::file_fault(&path, &error),
        SalvageError::Nothing { path } => CliError::new(
            Exit::Integrity,
            format!("nothing of a topic is left in {}", path.display()),
        )
        .remedy("go back to a backup, if there is one: put it as sealmq.db into an empty folder, and name that with --data"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::names::TopicName;
    use crate::store::disk::LostTopic;

    fn named(name: &str) -> TopicName {
        TopicName::parse(name).expect("a good name")
    }

    #[test]
    fn what_was_lost_is_listed_with_its_offsets() {
        let good = SalvagedTopic {
            name: named("a"),
            messages: 5,
            lost: Vec::new(),
            lost_publishers: 0,
            is_older: false,
        };
        let mut report = SalvageReport { topics: vec![good.clone()], notes: 2, ..SalvageReport::default() };
        assert!(is_whole(&report));
        assert_eq!(in_words(&report), "a: 5 messages copied\n1 topics and 2 notes of the broker copied\n");

        let lost = vec![(Offset(7), Offset(8)), (Offset(10), Offset(13))];
        report.topics.push(SalvagedTopic { name: named("b"), lost, lost_publishers: 1, ..good });
        report.lost_topics.push(LostTopic { name: named("c"), lost_records: 1, messages: 9 });
        report.bad_frames = 4;
        assert!(!is_whole(&report));
        let text = in_words(&report);
        for expected in
            ["LOST 4 messages: offsets 7, 10-12\n", "counters of 1 publishers", "c: LOST", "4 pages"]
        {
            assert!(text.contains(expected), "{expected:?} is not in {text}");
        }
        let value: serde_json::Value = serde_json::from_str(&in_json(&report)).expect("it is JSON");
        assert_eq!(value["topics"][1]["lost"][1], json!({ "from": 10, "to": 12 }));
        assert_eq!(value["complete"], json!(false));
    }

    #[test]
    fn each_kind_of_loss_counts() {
        for report in [
            SalvageReport { lost_notes: 1, ..SalvageReport::default() },
            SalvageReport { nameless_topics: 1, ..SalvageReport::default() },
            SalvageReport { bad_frames: 1, ..SalvageReport::default() },
        ] {
            assert!(!is_whole(&report), "{report:?}");
        }
    }
}
