//! `export`: a topic's past as JSON lines, as a member reads it.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::base::Wall;
use crate::base::ids::Offset;
use crate::base::names::{TopicFilter, TopicName};
use crate::cli::access::Base;
use crate::cli::args::Export;
use crate::cli::error::{CliError, Exit};
use crate::cli::format::{Shown, gap_line, integrity_line, json_line};
use crate::cli::keyfiles;
use crate::cli::link::{Link, no_answer};
use crate::cli::output::{Output, note};
use crate::cli::units::Until;
use crate::cli::{remedies, tidings};
use crate::client::{Answer, Event, Failure, Integrity, Message};
use crate::wire::values::RefuseCode;

pub fn run(base: &Base, export: &Export) -> Result<(), CliError> {
    let sink = Sink::open(export.output.as_deref(), export.force)?;
    let (mut link, connected) = Link::open(base, &export.access, export.patience.wait)?;
    let now = link.now().wall;
    let filter = TopicFilter::parse(export.topic.as_str()).expect("a topic's name is a filter for it alone");
    link.core().subscribe(filter, export.from.start(now));
    let mut exporter = Exporter {
        topic: &export.topic,
        until: End::of(export.until, connected.time),
        link,
        sink,
        tally: Tally::default(),
    };
    exporter.read()?;
    exporter.finish()
}

struct Exporter<'a> {
    topic: &'a TopicName,
    until: End,
    link: Link,
    sink: Sink,
    tally: Tally,
}

/// What was written.
#[derive(Default)]
struct Tally {
    messages: u64,
    /// Forged, replayed, reordered or missing.
    unverified: u64,
    /// Of before one joined.
    unreadable: u64,
    /// No longer kept.
    missing: u64,
    /// The offset behind all of it.
    next: Offset,
}

/// Where it ends at the latest.
#[derive(Clone, Copy)]
enum End {
    Nowhere,
    Before(Offset),
    At(Wall),
}

impl Exporter<'_> {
    /// Reads to the end of the past, or to where it is to end.
    fn read(&mut self) -> Result<(), CliError> {
        loop {
            let give_up = self.link.now().mono + SILENCE_MAX;
            let Some(event) = self.link.next(Some(give_up))? else {
                if self.link.now().mono >= give_up {
                    return Err(no_answer(SILENCE_MAX));
                }
                continue;
            };
            match event {
                Event::Answer { result, .. } => self.subscribed(result?)?,
                Event::Opened(opened) => {
                    tidings::start(&opened).iter().for_each(|line| note(line));
                    self.tally.next = opened.start;
                }
                Event::Message(message) if self.until.is_reached(&message) => return Ok(()),
                Event::Message(message) => self.message(&message)?,
                Event::Gap { topic, from, to } => {
                    self.tally.missing += to.0.saturating_sub(from.0);
                    self.tally.next = to;
                    self.sink.line(&gap_line(&topic, from, to))?;
                }
                Event::Integrity(fault) if self.until.is_behind(&fault) => return Ok(()),
                Event::Integrity(fault) => self.unverified(&fault)?,
                Event::CaughtUp { next, .. } => {
                    self.tally.next = next;
                    return Ok(());
                }
                Event::Ended { topic, code } => return Err(self.ended(topic, code)),
                Event::Disconnected { reason, retry_at, .. } => {
                    note(&tidings::away(&reason, retry_at, self.link.now().mono));
                }
                _ => {}
            }
        }
    }

    fn subscribed(&self, answer: Answer) -> Result<(), CliError> {
        match answer {
            Answer::Subscribed { matched: 0, others: 0, .. } => {
                Err(Failure::NoSuchTopic(self.topic.clone()).into())
            }
            Answer::Subscribed { matched: 0, .. } => Err(Failure::NotMember(self.topic.clone()).into()),
            _ => Ok(()),
        }
    }

    fn message(&mut self, message: &Message) -> Result<(), CliError> {
        self.tally.messages += 1;
        self.tally.next = message.offset.next();
        self.sink.line(&json_line(&Shown::from(message)))
    }

    /// What is wrong stands in the place of the message, or before it; never its content.
    fn unverified(&mut self, fault: &Integrity) -> Result<(), CliError> {
        match fault.fault.accuses() {
            true => self.tally.unverified += 1,
            false => self.tally.unreadable += 1,
        }
        self.sink.line(&integrity_line(fault))?;
        if fault.stopped {
            let error = CliError::from(Failure::Integrity(self.topic.clone(), fault.fault.clone()));
            return Err(self.cut_short(error));
        }
        Ok(())
    }

    fn ended(&mut self, topic: TopicName, code: RefuseCode) -> CliError {
        let failure = Failure::Refused { code, detail: 0, text: topic.to_string() };
        let at = self.link.core().ended_at(&topic);
        let error = match (code, at) {
            (RefuseCode::Damaged, Some(at)) => {
                CliError::other(failure.to_string()).remedy(remedies::damaged(&topic, at))
            }
            (RefuseCode::NotMember, _) => Failure::NotMember(topic).into(),
            _ => failure.into(),
        };
        self.cut_short(error)
    }

    /// A reader of standard output is to have what there is.
    fn cut_short(&mut self, error: CliError) -> CliError {
        match self.sink.flush() {
            Ok(()) => error,
            Err(unwritten) => unwritten,
        }
    }

    fn finish(mut self) -> Result<(), CliError> {
        let Tally { messages, unverified, unreadable, missing, next } = self.tally;
        let end = serde_json::json!({
            "event": "end",
            "topic": self.topic.as_str(),
            "id": self.link.connection().client().topic_id(self.topic).map(|id| id.to_string()),
            "next": next.0,
            "messages": messages,
            "unverified": unverified,
            "unreadable": unreadable,
            "no_longer_kept": missing,
        });
        self.sink.line(&end.to_string())?;
        self.sink.finish()?;
        self.link.leave();
        match unverified {
            0 => Ok(()),
            n => Err(CliError::new(
                Exit::Integrity,
                format!("{n} did not verify: see \"event\":\"integrity\""),
            )),
        }
    }
}

impl End {
    /// A time ago counts from the broker's clock: that is what messages are stamped with.
    fn of(until: Option<Until>, broker: Wall) -> End {
        match until {
            None => End::Nowhere,
            Some(Until::Offset(offset)) => End::Before(Offset(offset)),
            Some(Until::Time(since)) => End::At(since.at(broker)),
        }
    }

    /// Whether something that is wrong lies behind the end; of a time only its message would tell.
    fn is_behind(self, fault: &Integrity) -> bool {
        matches!((self, fault.offset), (End::Before(end), Some(offset)) if offset >= end && !fault.stopped)
    }

    fn is_reached(self, message: &Message) -> bool {
        match self {
            End::Nowhere => false,
            End::Before(offset) => message.offset >= offset,
            End::At(time) => message.time >= time,
        }
    }
}

/// Where the lines go.
enum Sink {
    Stdout(Output),
    /// A file beside the one that is wanted, which appears once all is there.
    File {
        beside: PathBuf,
        path: PathBuf,
        file: BufWriter<File>,
        force: bool,
    },
}

impl Sink {
    fn open(path: Option<&Path>, force: bool) -> Result<Sink, CliError> {
        let Some(path) = path else { return Ok(Sink::Stdout(Output::new())) };
        if !force && path.exists() {
            return Err(exists(path));
        }
        let mut beside = path.as_os_str().to_owned();
        beside.push(".part");
        let beside = PathBuf::from(beside);
        let mut options = OpenOptions::new();
        // One that a killed export has left is nobody's; its rights may be others than ours.
        let _ = fs::remove_file(&beside);
        let file = options.write(true).create_new(true).mode(0o600).open(&beside);
        let file = file.map_err(|e| keyfiles::cannot("write", &beside, &e))?;
        Ok(Sink::File { beside, path: path.to_owned(), file: BufWriter::new(file), force })
    }

    fn line(&mut self, text: &str) -> Result<(), CliError> {
        match self {
            Sink::Stdout(output) => output.line(text),
            Sink::File { file, beside, .. } => {
                writeln!(file, "{text}").map_err(|e| keyfiles::cannot("write", beside, &e))
            }
        }
    }

    fn flush(&mut self) -> Result<(), CliError> {
        match self {
            Sink::Stdout(output) => output.flush(),
            Sink::File { .. } => Ok(()),
        }
    }

    /// All is there: the file gets its name.
    fn finish(&mut self) -> Result<(), CliError> {
        let (beside, path, file, force) = match self {
            Sink::Stdout(output) => return output.flush(),
            Sink::File { beside, path, file, force } => (beside, path, file, *force),
        };
        let written = file.flush().and_then(|()| file.get_ref().sync_all());
        written.map_err(|e| keyfiles::cannot("write", beside, &e))?;
        let named = match force {
            true => fs::rename(&*beside, &*path),
            // Somebody may have made it meanwhile: a link does not replace.
            false => fs::hard_link(&*beside, &*path).and_then(|()| fs::remove_file(&*beside)),
        };
        named.map_err(|e| match e.kind() {
            io::ErrorKind::AlreadyExists => exists(path),
            _ => keyfiles::cannot("write", path, &e),
        })
    }
}

impl Drop for Sink {
    /// What was not finished is no export.
    fn drop(&mut self) {
        if let Sink::File { beside, .. } = self {
            let _ = fs::remove_file(beside);
        }
    }
}

fn exists(path: &Path) -> CliError {
    CliError::other(format!("{} is there already", path.display()))
        .remedy("name another file, or replace it with --force")
}

/// For the next piece of a past, a lost connection included.
const SILENCE_MAX: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_file_appears_whole_ours_alone_and_in_nobody_s_place() {
        let folder = tempfile::tempdir().expect("a scratch folder");
        let path = folder.path().join("a.jsonl");
        let mut sink = Sink::open(Some(&path), false).expect("a new file");
        sink.line("{}").expect("written");
        assert!(!path.exists());
        sink.finish().expect("named");
        drop(sink);
        assert_eq!(fs::read_to_string(&path).expect("there"), "{}\n");
        assert_eq!(fs::metadata(&path).expect("there").permissions().mode() & 0o777, 0o600);
        let error = Sink::open(Some(&path), false).err().expect("it is there").to_string();
        assert!(error.contains("there already") && error.contains("--force"), "{error}");

        let mut cut = Sink::open(Some(&path), true).expect("to replace it");
        cut.line("half").expect("written");
        drop(cut);
        assert_eq!(fs::read_to_string(&path).expect("there"), "{}\n");
        assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), 1, "nothing is left over");
        let other = folder.path().join("b.jsonl");
        let mut late = Sink::open(Some(&other), false).expect("a new file");
        fs::write(&other, "theirs").expect("written");
        assert!(late.finish().is_err());
        drop(late);
        assert_eq!(fs::read_to_string(&other).expect("there"), "theirs");
    }

    #[test]
    fn an_end_is_an_offset_or_a_time() {
        assert_eq!(Until::parse("offset=7"), Ok(Until::Offset(7)));
        assert!(matches!(Until::parse("2h"), Ok(Until::Time(_))));
        assert!(Until::parse("offset=x").is_err() && Until::parse("soon").is_err());
    }
}
