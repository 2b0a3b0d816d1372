//! `sub`: prints past and new messages until something says that it is enough.

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::base::Mono;
use crate::base::names::{TopicFilter, TopicName};
use crate::cli::access::Base;
use crate::cli::args::{SubOutput, Subscribe};
use crate::cli::error::{CliError, Exit};
use crate::cli::format::{Format, Shown};
use crate::cli::link::{CONNECT_TIME, Link};
use crate::cli::output::{Output, note, printable_bytes};
use crate::cli::tidings;
use crate::cli::units::show_duration;
use crate::client::{Answer, Event, Failure, Integrity, Message, Ticket};
use crate::net::hangup::on_hangup;

pub fn run(base: &Base, mut sub: Subscribe) -> Result<(), CliError> {
    for line in sub.foreign.0.verdict().map_err(CliError::usage)? {
        note(line);
    }
    let mut link = Link::prepare(base, &sub.access)?;
    let deadline = sub.timeout.map(|time| link.now().mono + time);
    connect(&mut link, &sub)?;
    let start = sub.from.start(link.now().wall);
    let open_requests =
        sub.topics.drain(..).map(|filter| (link.core().subscribe(filter.clone(), start), filter)).collect();
    let output = Output::new();
    let gone = watch_reader(&output, &link);
    let printer = Printer::new(&sub.output, output);
    let subscriber = Subscriber {
        sub,
        printer,
        gone,
        link,
        deadline,
        open_requests,
        filters: Vec::new(),
        behind: BTreeSet::new(),
        open: BTreeSet::new(),
        away: false,
        printed: 0,
        unbelieved: 0,
    };
    subscriber.run()
}

/// The first connect; -W is the end of it, too.
fn connect(link: &mut Link, sub: &Subscribe) -> Result<(), CliError> {
    let patience = sub.wait_for_broker.unwrap_or_default();
    let at_most = patience.max(CONNECT_TIME);
    let timeout = sub.timeout.filter(|timeout| *timeout < at_most);
    let connected = link.connect(patience, timeout.unwrap_or(at_most));
    match connected {
        Err(error) if timeout.is_some() && error.exit() == Exit::Unreachable && patience > Duration::ZERO => {
            Err(CliError::new(Exit::TimedOut, error.to_string()))
        }
        other => other.map(drop),
    }
}

/// Notices, also between two messages, that nobody reads what we print.
fn watch_reader(output: &Output, link: &Link) -> Arc<AtomicBool> {
    let gone = Arc::new(AtomicBool::new(false));
    if !output.is_terminal {
        let (flag, waker) = (gone.clone(), link.connection().waker());
        // A file has no reader who could leave.
        let _ = on_hangup(io::stdout(), move || {
            flag.store(true, Ordering::Relaxed);
            let _ = waker.wake();
        });
    }
    gone
}

/// Everything of one run.
struct Subscriber {
    sub: Subscribe,
    printer: Printer,
    /// Whoever read our output has enough of it.
    gone: Arc<AtomicBool>,
    link: Link,
    deadline: Option<Mono>,
    /// Subscriptions that are not answered yet.
    open_requests: Vec<(Ticket, TopicFilter)>,
    /// Those that are.
    filters: Vec<TopicFilter>,
    /// Topics whose past has not all come yet.
    behind: BTreeSet<TopicName>,
    /// Topics that deliver.
    open: BTreeSet<TopicName>,
    /// The connection is lost, and that was said.
    away: bool,
    printed: u64,
    /// What did not verify.
    unbelieved: u64,
}

/// Whether it goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Course {
    On,
    Enough,
}

impl Subscriber {
    fn run(mut self) -> Result<(), CliError> {
        let result = self.follow();
        if result.as_ref().is_err_and(|e| e.exit() == Exit::Done) {
            return result;
        }
        self.printer.output.flush()?;
        match &result {
            Err(error) if error.exit() == Exit::TimedOut => {}
            Err(_) => return result,
            Ok(()) => {}
        }
        self.link.leave();
        if self.unbelieved > 0 {
            return Err(CliError::new(
                Exit::Integrity,
                format!("{} did not verify, see above", self.unbelieved),
            ));
        }
        result
    }

    fn follow(&mut self) -> Result<(), CliError> {
        loop {
            while let Some(event) = self.link.next_ready()? {
                if self.hear(event)? == Course::Enough {
                    return Ok(());
                }
                self.check()?;
            }
            // Nothing is there to be done: what was printed is to be seen now.
            self.printer.output.flush()?;
            match self.link.next(self.deadline)? {
                Some(event) => {
                    if self.hear(event)? == Course::Enough {
                        return Ok(());
                    }
                }
                None => self.check()?,
            }
        }
    }

    /// Whether it is time to end, and why.
    fn check(&self) -> Result<(), CliError> {
        if self.gone.load(Ordering::Relaxed) {
            return Err(CliError::new(Exit::Done, ""));
        }
        if self.deadline.is_some_and(|deadline| self.link.now().mono >= deadline) {
            let time = show_duration(self.sub.timeout.unwrap_or_default());
            return Err(CliError::new(Exit::TimedOut, format!("timed out after {time}")));
        }
        Ok(())
    }

    fn hear(&mut self, event: Event) -> Result<Course, CliError> {
        match event {
            Event::Message(message) => return self.message(&message),
            Event::Answer { ticket, result } => self.answered(ticket, result)?,
            Event::Opened(opened) => {
                tidings::start(&opened).iter().for_each(|line| self.tell(line));
                self.behind.insert(opened.topic.clone());
                self.open.insert(opened.topic);
            }
            Event::CaughtUp { topic, .. } => {
                self.behind.remove(&topic);
            }
            Event::Gap { topic, from, to } => self.tell(&tidings::gap(&topic, from, to)),
            Event::Integrity(fault) => self.unbelieved(&fault)?,
            Event::Ended { topic, code } => {
                self.tell(&tidings::ended(&topic, code));
                self.give_up(&topic, || Failure::Refused { code, detail: 0, text: topic.to_string() })?;
            }
            // Once, not at every attempt.
            Event::Disconnected { reason, retry_at, .. } if !self.away => {
                self.away = true;
                self.tell(&tidings::away(&reason, retry_at, self.link.now().mono));
            }
            Event::Connected(connected) => {
                self.away = false;
                self.tell(&tidings::back(&connected));
            }
            _ => {}
        }
        Ok(self.course())
    }

    /// Whether what -e and -E wait for has come.
    fn course(&self) -> Course {
        let subscribed = self.open_requests.is_empty();
        let caught_up = subscribed && self.behind.is_empty();
        if self.sub.exit_when_subscribed && subscribed || self.sub.exit_when_caught_up && caught_up {
            Course::Enough
        } else {
            Course::On
        }
    }

    fn message(&mut self, message: &Message) -> Result<Course, CliError> {
        if !self.sub.filter_out.iter().any(|filter| filter.matches(&message.topic)) {
            self.printer.print(message)?;
            self.printed += 1;
        }
        Ok(if self.sub.count.is_some_and(|count| self.printed >= count) {
            Course::Enough
        } else {
            self.course()
        })
    }

    fn answered(&mut self, ticket: Ticket, result: Result<Answer, Failure>) -> Result<(), CliError> {
        let Some(at) = self.open_requests.iter().position(|(open, _)| *open == ticket) else { return Ok(()) };
        let (_, filter) = self.open_requests.remove(at);
        if let Answer::Subscribed { matched: 0, others, .. } = result? {
            self.unmatched(&filter, others)?;
        }
        self.filters.push(filter);
        Ok(())
    }

    /// No topic yet. A filter may wait for one; a name most likely was mistyped.
    fn unmatched(&mut self, filter: &TopicFilter, others: u32) -> Result<(), CliError> {
        match filter.exact() {
            Some(topic) if others > 0 => Err(Failure::NotMember(topic).into()),
            Some(topic) if !self.sub.wait_for_topic => {
                let error = CliError::from(Failure::NoSuchTopic(topic));
                Err(CliError::new(error.exit(), error.to_string())
                    .remedy("--wait-for-topic waits until it is there"))
            }
            _ => {
                self.tell(&tidings::unmatched(filter, others));
                Ok(())
            }
        }
    }

    fn unbelieved(&mut self, fault: &Integrity) -> Result<(), CliError> {
        self.unbelieved += 1;
        // That is never left unsaid.
        note(&tidings::unbelieved(fault));
        if fault.stopped {
            let (topic, why) = (fault.topic.clone(), fault.fault.clone());
            self.give_up(&fault.topic, || Failure::Integrity(topic, why))?;
        }
        Ok(())
    }

    /// A topic delivers no more. If none is left that could, that is the end.
    fn give_up(&mut self, topic: &TopicName, why: impl FnOnce() -> Failure) -> Result<(), CliError> {
        self.behind.remove(topic);
        self.open.remove(topic);
        let may_match = self.filters.iter().any(|filter| filter.exact().is_none());
        if self.open.is_empty() && self.open_requests.is_empty() && !may_match {
            return Err(why().into());
        }
        Ok(())
    }

    fn tell(&self, line: &str) {
        if !self.sub.foreign.0.quiet {
            note(line);
        }
    }
}

/// Prints messages in their format.
struct Printer {
    format: Format,
    newline: bool,
    /// What is on a terminal is shown as text.
    escape: bool,
    output: Output,
    line: Vec<u8>,
}

impl Printer {
    fn new(args: &SubOutput, output: Output) -> Printer {
        let format = match &args.format {
            _ if args.json => Format::json(),
            Some(format) => format.clone(),
            None => Format::plain(args.verbose),
        };
        // Whoever gives a format may have put escape sequences into it.
        let escape = output.is_terminal && args.format.is_none();
        Printer { format, newline: !args.no_newline, escape, output, line: Vec::new() }
    }

    fn print(&mut self, message: &Message) -> Result<(), CliError> {
        self.line.clear();
        self.format.render(&Shown::from(message), &mut self.line);
        if self.escape {
            self.line = printable_bytes(&self.line).into_bytes();
        }
        if self.newline {
            self.line.push(b'\n');
        }
        self.output.write(&self.line)
    }
}
