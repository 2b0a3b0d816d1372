//! `pub`: sends messages and waits until each was answered.

mod spooled;

use std::collections::HashMap;
use std::io::{self, Read};
use std::os::unix::ffi::OsStringExt;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, SyncSender, TryRecvError};
use std::thread;
use std::time::Duration;

use mio::Waker;

use crate::base::Mono;
use crate::base::names::TopicName;
use crate::cli::access::Base;
use crate::cli::args::{Publish, Source};
use crate::cli::error::{CliError, Exit};
use crate::cli::link::{Link, no_answer};
use crate::cli::output::{Output, note};
use crate::cli::payload::{self, Lines, PayloadError};
use crate::cli::units::show_duration;
use crate::client::{Answer, Disconnect, Event, Failure, Ticket};

pub fn run(base: &Base, publish: Publish) -> Result<(), CliError> {
    for line in publish.foreign.0.verdict().map_err(CliError::usage)? {
        note(line);
    }
    if let Some(folder) = publish.spool.folder.clone() {
        return spooled::run(base, publish, &folder);
    }
    let Publish { topic, source, verbose, patience, access, .. } = publish;
    // What cannot be read is said before anything is dialled.
    let message = one_message(source)?;
    let (link, _) = Link::open(base, &access, patience.wait)?;
    let messages = match message {
        Some(content) => Messages::One(Some(content)),
        None => Messages::Lines(LineReader::start(link.connection().waker())),
    };
    let away_max = patience.wait.unwrap_or(AWAY_TIME);
    let publisher = Publisher {
        topic,
        messages,
        link,
        verbose,
        output: Output::new(),
        away_max,
        tally: Tally::default(),
    };
    publisher.run()
}

/// The message of a source that has one; `None`: the lines of standard input.
fn one_message(source: Source) -> Result<Option<Vec<u8>>, CliError> {
    let content = match source {
        Source { message: Some(text), .. } => {
            let content = text.into_vec();
            payload::check_length(&content, "the text of -m")?;
            content
        }
        Source { file: Some(path), .. } => payload::read_file(&path)?,
        Source { stdin_file: true, .. } => payload::read_stdin()?,
        Source { null_message: true, .. } => Vec::new(),
        Source { .. } => return Ok(None),
    };
    Ok(Some(content))
}

/// Everything of one run.
struct Publisher {
    topic: TopicName,
    messages: Messages,
    link: Link,
    verbose: bool,
    output: Output,
    /// How long a lost connection may stay lost.
    away_max: Duration,
    tally: Tally,
}

/// How it stands.
#[derive(Default)]
struct Tally {
    sent: u64,
    answered: u64,
    /// Bytes of each message that is not answered yet, and their sum.
    open: HashMap<Ticket, usize>,
    open_bytes: usize,
    /// Since when the connection has been lost, and why.
    away: Option<(Mono, Disconnect)>,
    /// The first thing that went wrong; then nothing more is sent.
    trouble: Option<CliError>,
    /// When something was last sent or answered.
    moved: Mono,
}

impl Publisher {
    fn run(mut self) -> Result<(), CliError> {
        self.tally.moved = self.link.now().mono;
        loop {
            // Hearing comes before sending: it may use up a wake-up, and sending then sees its line.
            let mut moved = false;
            while let Some(event) = self.ready()? {
                self.hear(event)?;
                moved = true;
            }
            match self.send() {
                Ok(sent) => moved |= sent,
                Err(error) => drop(self.tally.trouble.get_or_insert(error)),
            }
            let ended = self.messages.is_done() || self.tally.trouble.is_some();
            if ended && self.tally.open.is_empty() {
                break;
            }
            if !moved {
                self.output.flush()?;
                match self.wait(self.deadline())? {
                    Some(event) => self.hear(event)?,
                    None => self.check_time()?,
                }
            }
        }
        self.finish()
    }

    /// Hands over as much as the window takes; says whether that was anything.
    fn send(&mut self) -> Result<bool, CliError> {
        let before = self.tally.sent;
        while self.tally.trouble.is_none() && self.tally.open_bytes < OPEN_BYTES_MAX {
            let Some(content) = self.messages.peek()? else { break };
            let length = content.len();
            let Ok(ticket) = self.link.core().publish(&self.topic, content) else { break };
            self.messages.advance();
            self.tally.sent += 1;
            self.tally.open.insert(ticket, length);
            self.tally.open_bytes += length;
            self.tally.moved = self.link.now().mono;
        }
        Ok(self.tally.sent > before)
    }

    fn ready(&mut self) -> Result<Option<Event>, CliError> {
        let result = self.link.next_ready();
        result.map_err(|e| self.counted(e))
    }

    fn wait(&mut self, deadline: Option<Mono>) -> Result<Option<Event>, CliError> {
        let result = self.link.next(deadline);
        result.map_err(|e| self.counted(e))
    }

    fn hear(&mut self, event: Event) -> Result<(), CliError> {
        let now = self.link.now().mono;
        match event {
            Event::Answer { ticket, result } => {
                let Some(length) = self.tally.open.remove(&ticket) else { return Ok(()) };
                self.tally.open_bytes -= length;
                self.tally.moved = now;
                self.answered(result)
            }
            Event::Disconnected { reason, .. } => {
                self.tally.away.get_or_insert((now, reason));
                Ok(())
            }
            Event::Connected(_) => {
                self.tally.away = None;
                self.tally.moved = now;
                Ok(())
            }
            Event::Integrity(fault) => {
                note(&format!("{}: {}", fault.topic, fault.fault));
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn answered(&mut self, result: Result<Answer, Failure>) -> Result<(), CliError> {
        match result {
            Ok(Answer::Published { topic, offset, .. }) => {
                self.tally.answered += 1;
                if self.verbose {
                    let offset = offset.map_or("?".to_owned(), |offset| offset.to_string());
                    self.output.line(&format!("{topic} {offset}"))?;
                }
            }
            Ok(_) => {}
            Err(failure) => {
                self.tally.trouble.get_or_insert_with(|| failure.into());
            }
        }
        Ok(())
    }

    /// When patience ends: with a lost connection, or with a broker that does not answer.
    fn deadline(&self) -> Option<Mono> {
        match &self.tally.away {
            Some((since, _)) => Some(*since + self.away_max),
            None if self.tally.open.is_empty() => None,
            None => Some(self.tally.moved + STALL_TIME),
        }
    }

    fn check_time(&mut self) -> Result<(), CliError> {
        let now = self.link.now().mono;
        if self.deadline().is_none_or(|deadline| now < deadline) {
            return Ok(());
        }
        let error = match &self.tally.away {
            Some((_, reason)) => {
                let away = show_duration(self.away_max);
                CliError::new(Exit::Unreachable, format!("the broker was away for {away}: {reason}"))
                    .remedy("-W SECONDS says how long to wait for it")
            }
            None => no_answer(STALL_TIME),
        };
        Err(self.counted(error))
    }

    fn finish(mut self) -> Result<(), CliError> {
        self.output.flush()?;
        let result = match self.tally.trouble.take() {
            Some(trouble) => Err(self.counted(trouble)),
            None => Ok(()),
        };
        self.link.leave();
        result
    }

    /// Says of a run of several messages how many were answered.
    fn counted(&self, error: CliError) -> CliError {
        let Tally { sent, answered, .. } = self.tally;
        if matches!(self.messages, Messages::One(_)) || error.exit() == Exit::Done {
            return error;
        }
        CliError::new(error.exit(), format!("{error}\n  {answered} of {sent} messages sent were answered"))
    }
}

/// The messages still to be sent.
enum Messages {
    One(Option<Vec<u8>>),
    Lines(LineReader),
}

impl Messages {
    /// The next message, if there is one now.
    fn peek(&mut self) -> Result<Option<&[u8]>, PayloadError> {
        match self {
            Messages::One(content) => Ok(content.as_deref()),
            Messages::Lines(reader) => reader.peek(),
        }
    }

    /// The message was handed over.
    fn advance(&mut self) {
        match self {
            Messages::One(content) => *content = None,
            Messages::Lines(reader) => reader.current = None,
        }
    }

    /// Whether none will come.
    fn is_done(&self) -> bool {
        match self {
            Messages::One(content) => content.is_none(),
            Messages::Lines(reader) => reader.done,
        }
    }
}

/// Standard input, read on a thread of its own, so that the session lives while a person types.
///
/// Holds at most [`CHUNKS_MAX`] chunks and one line: whoever writes into the pipe waits then.
struct LineReader {
    chunks: Receiver<io::Result<Vec<u8>>>,
    lines: Lines,
    current: Option<Vec<u8>>,
    /// All of the input is in `lines`.
    ended: bool,
    /// All of it was handed out.
    done: bool,
}

impl LineReader {
    fn start(waker: Arc<Waker>) -> LineReader {
        let (sender, chunks) = mpsc::sync_channel(CHUNKS_MAX);
        // It ends with the input or with the process: nothing can interrupt a read of a terminal.
        thread::spawn(move || read_chunks(&mut io::stdin().lock(), &sender, &waker));
        LineReader { chunks, lines: Lines::default(), current: None, ended: false, done: false }
    }

    fn peek(&mut self) -> Result<Option<&[u8]>, PayloadError> {
        while self.current.is_none() && !self.done {
            if let Some(line) = self.lines.take()? {
                self.current = Some(line.to_vec());
            } else if self.ended {
                self.done = true;
            } else {
                match self.chunks.try_recv() {
                    Ok(Ok(chunk)) if !chunk.is_empty() => self.lines.feed(&chunk),
                    Ok(Err(error)) => return Err(PayloadError::Stdin(error)),
                    Err(TryRecvError::Empty) => break,
                    Ok(Ok(_)) | Err(TryRecvError::Disconnected) => {
                        self.lines.end();
                        self.ended = true;
                    }
                }
            }
        }
        Ok(self.current.as_deref())
    }
}

/// Sends what `input` gives, an empty chunk at its end.
fn read_chunks(input: &mut impl Read, chunks: &SyncSender<io::Result<Vec<u8>>>, waker: &Waker) {
    let mut buffer = vec![0; CHUNK_BYTES];
    loop {
        let chunk = match input.read(&mut buffer) {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            read => read.map(|n| buffer[..n].to_vec()),
        };
        let last = chunk.as_ref().map_or(true, Vec::is_empty);
        if chunks.send(chunk).is_err() {
            return;
        }
        // Without the wake-up the main thread would see it a little later.
        let _ = waker.wake();
        if last {
            return;
        }
    }
}

const CHUNK_BYTES: usize = 64 * 1024;
const CHUNKS_MAX: usize = 4;
/// Content of unanswered messages; the core holds their sealed bodies as well.
const OPEN_BYTES_MAX: usize = 4 * 1024 * 1024;
/// How long a lost connection may stay lost, unless -W says otherwise.
const AWAY_TIME: Duration = Duration::from_secs(30);
/// How long a broker that is there may answer nothing.
const STALL_TIME: Duration = Duration::from_secs(60);
