//! `pub --spool DIR`: messages are in DIR before they are sent, and leave it when they are answered.
//!
//! In each round: hear what came, accept what there is to read, hand over what the window takes, sync the spool,
//! and only then let the connection send.

use std::collections::VecDeque;
use std::path::Path;
use std::time::Duration;

use super::{AWAY_TIME, LineReader, Messages, OPEN_BYTES_MAX, STALL_TIME, one_message};
use crate::base::Mono;
use crate::base::ids::Counter;
use crate::base::limits::PUBLISHER_MEMORY;
use crate::base::names::TopicName;
use crate::cli::access::Base;
use crate::cli::args::Publish;
use crate::cli::error::{CliError, Exit};
use crate::cli::keyfiles;
use crate::cli::link::{CONNECT_TIME, Link, no_answer};
use crate::cli::output::{Output, note};
use crate::cli::spool::Spool;
use crate::cli::units::{show_bytes, show_duration};
use crate::client::{Answer, Disconnect, Event, Failure, Ticket};
use crate::wire::values::RefuseCode;

pub fn run(base: &Base, publish: Publish, folder: &Path) -> Result<(), CliError> {
    let Publish { topic, source, spool: args, verbose, patience, access, .. } = publish;
    let (is_flush, message) = match source.flush {
        true => (true, None),
        false => (false, one_message(source)?),
    };
    let mut link = Link::prepare(base, &access)?;
    let me = link.fingerprint;
    let spool = Spool::open(folder, &topic, me, link.core(), args.spool_max)?;
    if is_flush && spool.waiting() == 0 {
        note(&format!("nothing waits in {} for {topic}", folder.display()));
        return Ok(());
    }
    let messages = match message {
        Some(content) => Messages::One(Some(content)),
        None if is_flush => Messages::One(None),
        None => Messages::Lines(LineReader::start(link.connection().waker())),
    };
    let now = link.now().mono;
    let publisher = Spooled {
        topic,
        folder: keyfiles::quoted(folder),
        messages,
        spool,
        strict: args.strict,
        patience: patience.wait,
        verbose,
        output: Output::new(),
        state: Connection::Connecting(now),
        has_connected: false,
        open: VecDeque::new(),
        open_bytes: 0,
        refusal: None,
        is_adopted: false,
        is_lost: false,
        is_full: false,
        hold: None,
        moved: now,
        too_large: 0,
        trouble: None,
        link,
    };
    publisher.run()
}

/// Everything of one run.
struct Spooled {
    topic: TopicName,
    /// As a shell takes it.
    folder: String,
    messages: Messages,
    spool: Spool,
    strict: bool,
    /// What -W says.
    patience: Option<Duration>,
    verbose: bool,
    output: Output,
    state: Connection,
    has_connected: bool,
    /// Messages that were handed over and not answered, with their lengths.
    open: VecDeque<(Ticket, usize)>,
    open_bytes: usize,
    /// Why the first of them was refused; what it means is looked at when none is left.
    refusal: Option<Failure>,
    /// Whether the client counts as the spool does.
    is_adopted: bool,
    /// The publisher id is not to be gone on with.
    is_lost: bool,
    /// There is something to read that the spool has no room for.
    is_full: bool,
    /// The broker has no room: when to try again.
    hold: Option<Mono>,
    /// When something was last sent or answered.
    moved: Mono,
    /// Messages that the broker does not take.
    too_large: u64,
    /// What ends the run; nothing more is accepted and sent then.
    trouble: Option<CliError>,
    link: Link,
}

enum Connection {
    /// Since then.
    Connecting(Mono),
    Up {
        message_bytes_max: usize,
    },
    Away {
        since: Mono,
        reason: Disconnect,
    },
}

impl Spooled {
    fn run(mut self) -> Result<(), CliError> {
        let result = self.work();
        result.map_err(|error| self.waiting_said(error))?;
        self.finish()
    }

    fn work(&mut self) -> Result<(), CliError> {
        loop {
            let mut moved = false;
            while let Some(event) = self.link.next_ready()? {
                self.hear(event)?;
                moved = true;
            }
            self.judge_refusal()?;
            if self.trouble.is_none() {
                match self.accept() {
                    Ok(accepted) => moved |= accepted,
                    Err(error) => self.trouble = Some(error),
                }
                moved |= self.hand_over()?;
            }
            let now = self.link.now().wall;
            self.spool.sync(self.link.core(), now)?;
            let all_said = self.messages.is_done() && self.spool.waiting() == 0;
            if all_said || self.trouble.is_some() && self.open.is_empty() {
                return Ok(());
            }
            if !moved {
                self.verbose &= self.output.flush().is_ok();
                match self.link.next(self.wake_up())? {
                    Some(event) => self.hear(event)?,
                    None => self.check_time()?,
                }
            }
        }
    }

    /// Puts what there is to read into the spool, as far as that has room.
    fn accept(&mut self) -> Result<bool, CliError> {
        let now = self.link.now().wall;
        let mut taken = 0;
        self.is_full = false;
        while taken < ROUND_BYTES_MAX {
            let Some(content) = self.messages.peek()? else { break };
            let length = content.len();
            if !self.spool.has_room(length) {
                self.is_full = true;
                break;
            }
            self.spool.push(content, self.link.core(), now)?;
            self.messages.advance();
            taken += length + 1;
        }
        Ok(taken > 0)
    }

    /// Hands over as much as the window takes.
    fn hand_over(&mut self) -> Result<bool, CliError> {
        let Connection::Up { message_bytes_max } = self.state else { return Ok(false) };
        let now = self.link.now();
        if self.refusal.is_some() || self.hold.is_some_and(|at| now.mono < at) {
            return Ok(false);
        }
        self.hold = None;
        let mut handed = false;
        while self.open_bytes < OPEN_BYTES_MAX {
            let Some(message) = self.spool.peek()? else { break };
            if !self.is_adopted_for(message.number) {
                // What is under way is answered under its own id first.
                if !self.open.is_empty() {
                    break;
                }
                self.adopt()?;
                continue;
            }
            if message.content.len() > message_bytes_max {
                if self.open.is_empty() && message.number < self.spool.sent() {
                    // It may be stored since the limit was higher: its counter is nobody else's.
                    (self.is_lost, self.is_adopted) = (true, false);
                    continue;
                }
                if self.open.is_empty() {
                    self.spool.advance(&message);
                    self.refused_as_too_large(message.content.len());
                    handed = true;
                    // The counter is used again: that is kept before anything is sent under it.
                    continue;
                }
                break;
            }
            let Ok(ticket) = self.link.core().publish(&self.topic, &message.content) else { break };
            self.spool.advance(&message);
            self.open.push_back((ticket, message.content.len()));
            self.open_bytes += message.content.len();
            self.moved = now.mono;
            handed = true;
        }
        self.spool.mark_sent(self.link.core(), now.wall)?;
        Ok(handed)
    }

    /// Whether the client goes on with an id that is good for this message: an old one is for those alone that may
    /// be stored under it.
    fn is_adopted_for(&self, number: u64) -> bool {
        let now = self.link.now().wall;
        let is_young = self.spool.publisher().is_some_and(|kept| !kept.is_old(now));
        self.is_adopted && (is_young || number < self.spool.sent())
    }

    /// Has the client count as the spool does: under the id that it keeps, or under a new one.
    fn adopt(&mut self) -> Result<(), CliError> {
        let now = self.link.now().wall;
        let uncertain = self.spool.maybe_stored();
        let kept = self.spool.publisher().cloned();
        let is_stale = self.spool.oldest_sent().is_some_and(|sent| now.since(sent) >= TRUSTED_MEMORY);
        let kept = match kept {
            // What may be stored keeps its id, even an old one, as long as the broker knows that.
            Some(kept) if !self.is_lost && !is_stale && (uncertain > 0 || !kept.is_old(now)) => kept,
            _ => {
                self.say_uncertain(uncertain)?;
                let kept = self.link.core().make_publisher(now)?;
                self.spool.count_under(&kept, self.link.core(), now)?;
                self.is_lost = false;
                kept
            }
        };
        let counter = Counter(self.spool.counter());
        let adopted = self.link.core().publish_as(&self.topic, &kept, counter);
        adopted
            .map_err(|_| CliError::other("messages of this topic are under way that are not of the spool"))?;
        self.is_adopted = true;
        Ok(())
    }

    /// Some are sent again of which the broker does not know any more whether it has them.
    fn say_uncertain(&self, count: u64) -> Result<(), CliError> {
        if count == 0 {
            return Ok(());
        }
        let (what, it) = if count == 1 { ("1 message was", "it") } else { ("messages were", "them") };
        let what = if count == 1 { what.to_owned() } else { format!("{count} {what}") };
        let problem = format!(
            "{what} sent before and not answered, and the broker does not remember whether it has {it}: a repeat is \
             possible"
        );
        if self.strict {
            let topic = &self.topic;
            return Err(CliError::new(Exit::Integrity, problem).remedy(format!(
                "`sealmq sub -t '{topic}' --from since=2d` shows what is there; without --strict they are sent again"
            )));
        }
        note(&problem);
        Ok(())
    }

    fn hear(&mut self, event: Event) -> Result<(), CliError> {
        let now = self.link.now().mono;
        match event {
            Event::Answer { ticket, result } => return self.answered(ticket, result),
            // Once, not at every attempt.
            Event::Disconnected { reason, .. } if !matches!(self.state, Connection::Away { .. }) => {
                note(&format!("{reason}; messages are kept in {}", self.folder));
                self.state = Connection::Away { since: now, reason };
            }
            Event::Connected(connected) => {
                self.state = Connection::Up { message_bytes_max: connected.message_bytes_max };
                self.has_connected = true;
                self.moved = now;
            }
            Event::Integrity(fault) => note(&format!("{}: {}", fault.topic, fault.fault)),
            _ => {}
        }
        Ok(())
    }

    fn answered(&mut self, ticket: Ticket, result: Result<Answer, Failure>) -> Result<(), CliError> {
        let Some(at) = self.open.iter().position(|(open, _)| *open == ticket) else { return Ok(()) };
        let (_, length) = self.open.remove(at).expect("it was found there");
        self.open_bytes -= length;
        self.moved = self.link.now().mono;
        match result {
            Ok(Answer::Published { topic, offset, .. }) => {
                self.spool.stored();
                if self.verbose {
                    let offset = offset.map_or("?".to_owned(), |offset| offset.to_string());
                    // Whoever read it has enough; the messages are to be sent all the same.
                    self.verbose = self.output.line(&format!("{topic} {offset}")).is_ok();
                }
            }
            Ok(_) => {}
            // All behind it fail as well: the first says why.
            Err(failure) => drop(self.refusal.get_or_insert(failure)),
        }
        Ok(())
    }

    /// What follows from a refusal, once nothing is under way.
    fn judge_refusal(&mut self) -> Result<(), CliError> {
        let Some(failure) = self.refusal.take_if(|_| self.open.is_empty()) else { return Ok(()) };
        // The client has dropped all that waits: it is handed over again from the first.
        self.is_adopted = false;
        self.spool.rewind();
        let now = self.link.now().mono;
        match failure {
            Failure::CountersLost(_) => self.is_lost = true,
            Failure::Refused { code: RefuseCode::TooLarge, .. } | Failure::TooLarge { .. } => {
                if let Some(message) = self.spool.peek()? {
                    self.spool.advance(&message);
                    self.refused_as_too_large(message.content.len());
                }
            }
            Failure::Refused { code: RefuseCode::StorageFull, .. } if !self.messages.is_done() => {
                note(&format!("the broker has no room; messages are kept in {} until it has", self.folder));
                self.hold = Some(now + ROOM_PAUSE);
            }
            other => self.trouble = Some(other.into()),
        }
        Ok(())
    }

    fn refused_as_too_large(&mut self, bytes: usize) {
        note(&format!("a message of {bytes} bytes is larger than the broker takes, and is left out"));
        self.too_large += 1;
        self.spool.refused();
        self.is_adopted = false;
    }

    /// When something is to be done, even if nothing comes.
    fn wake_up(&self) -> Option<Mono> {
        self.hold.into_iter().chain(self.deadline()).min()
    }

    /// When patience ends. As long as there is something to read and room for it, an absent broker is no matter.
    fn deadline(&self) -> Option<Mono> {
        let is_waiting = self.messages.is_done() || self.is_full || self.trouble.is_some();
        match &self.state {
            Connection::Up { .. } if self.open.is_empty() => None,
            Connection::Up { .. } => Some(self.moved + STALL_TIME),
            _ if !is_waiting => None,
            Connection::Connecting(since) => Some(*since + self.away_max().max(CONNECT_TIME)),
            Connection::Away { since, .. } => Some(*since + self.away_max()),
        }
    }

    /// Who never got through does not wait, unless told to.
    fn away_max(&self) -> Duration {
        self.patience.unwrap_or(if self.has_connected { AWAY_TIME } else { Duration::ZERO })
    }

    fn check_time(&mut self) -> Result<(), CliError> {
        let now = self.link.now().mono;
        if self.deadline().is_none_or(|deadline| now < deadline) {
            return Ok(());
        }
        if let Some(trouble) = self.trouble.take() {
            return Err(trouble);
        }
        let away = show_duration(self.away_max());
        let error = match &self.state {
            Connection::Up { .. } => return Err(no_answer(STALL_TIME)),
            Connection::Connecting(_) => CliError::new(Exit::Unreachable, "no session with the broker"),
            Connection::Away { reason, .. } if self.away_max().is_zero() => {
                CliError::new(Exit::Unreachable, reason.to_string())
            }
            Connection::Away { reason, .. } => {
                CliError::new(Exit::Unreachable, format!("the broker was away for {away}: {reason}"))
            }
        };
        if self.messages.is_done() {
            return Err(error);
        }
        let limit = show_bytes(self.spool.limit());
        Err(CliError::other(format!("the spool is full ({limit}), and {error}"))
            .remedy("bring the broker back, or let more wait: --spool-max SIZE"))
    }

    fn finish(mut self) -> Result<(), CliError> {
        let trouble = self.trouble.take().map(|error| self.waiting_said(error));
        let result = match trouble {
            Some(error) => Err(error),
            None if self.too_large > 0 => Err(CliError::other(format!(
                "{} of the messages were larger than the broker takes, and were left out",
                self.too_large
            ))),
            None => Ok(()),
        };
        let _ = self.output.flush();
        if self.spool.waiting() == 0 {
            self.spool.clear()?;
            self.link.core().release_publisher(&self.topic);
        }
        if matches!(self.state, Connection::Up { .. }) {
            self.link.leave();
        }
        result
    }

    /// Says with an error what waits, and how it is sent.
    fn waiting_said(&self, error: CliError) -> CliError {
        let (folder, topic) = (&self.folder, &self.topic);
        let waiting = match self.spool.waiting() {
            0 => return error,
            1 => "1 message waits".to_owned(),
            n => format!("{n} messages wait"),
        };
        CliError::new(error.exit(), error.to_string()).remedy(format!(
            "{waiting} in {folder}; this sends what waits:\nsealmq pub -t '{topic}' --spool {folder} --flush"
        ))
    }
}

/// Read in one round, before it is synced.
const ROUND_BYTES_MAX: usize = 1024 * 1024;
/// Before a broker without room is asked again.
const ROOM_PAUSE: Duration = Duration::from_secs(10);
/// What the broker remembers, less what clocks may differ.
const TRUSTED_MEMORY: Duration = Duration::from_secs(PUBLISHER_MEMORY.as_secs() - 3600);
