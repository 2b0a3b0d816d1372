//! `sub`: prints past and new messages until something says that it is enough. Asks to join where one is
//! no member.

mod bookmarks;
mod printer;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::base::ids::Offset;
use crate::base::names::{TopicFilter, TopicName};
use crate::base::{Mono, Wall};
use crate::cli::access::Base;
use crate::cli::args::Subscribe;
use crate::cli::error::{CliError, Exit};
use crate::cli::link::{CONNECT_TIME, Link};
use crate::cli::membership::{self, News};
use crate::cli::output::{Output, note};
use crate::cli::units::show_duration;
use crate::cli::{format, tidings};
use crate::client::{Answer, Asked, Event, Failure, Integrity, Message, Ticket};
use crate::net::hangup::on_hangup;
use crate::wire::values::RefuseCode;
use bookmarks::Bookmarks;
use printer::Printer;

pub fn run(base: &Base, mut sub: Subscribe) -> Result<(), CliError> {
    for line in sub.foreign.0.verdict().map_err(CliError::usage)? {
        note(line);
    }
    let mut link = Link::prepare(base, &sub.access)?;
    let bookmarks = Bookmarks::open(&sub, &link)?;
    let deadline = sub.timeout.map(|time| link.now().mono + time);
    let session_began = connect(&mut link, &sub)?;
    let start = sub.from.start(link.now().wall);
    let mut filters = std::mem::take(&mut sub.positional);
    filters.append(&mut sub.topics);
    if let Some(owner) = &sub.owner {
        filters.iter().for_each(|filter| link.core().expect_owners(filter.clone(), owner.clone()));
    }
    bookmarks.resume(&filters, link.core());
    // Whoever may change a topic hears of those who ask to join, and lets them into open ones.
    link.core().watch(true);
    let open_requests =
        filters.into_iter().map(|filter| (link.core().subscribe(filter.clone(), start), filter)).collect();
    let output = Output::new();
    let gone = watch_reader(&output, &link);
    let printer = Printer::new(&sub.output, output);
    let subscriber = Subscriber {
        sub,
        printer,
        bookmarks,
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
        unreadable: BTreeSet::new(),
        stopped: 0,
        session_began,
        joins: Vec::new(),
        waiting: BTreeMap::new(),
        news: News::default(),
    };
    subscriber.run()
}

/// The first connect; -W is the end of it, too.
/// Returns the broker's time then.
fn connect(link: &mut Link, sub: &Subscribe) -> Result<Wall, CliError> {
    let patience = sub.wait_for_broker.unwrap_or_default();
    let at_most = patience.max(CONNECT_TIME);
    let timeout = sub.timeout.filter(|timeout| *timeout < at_most);
    let connected = link.connect(patience, timeout.unwrap_or(at_most));
    match connected {
        Err(error) if timeout.is_some() && error.exit() == Exit::Unreachable && patience > Duration::ZERO => {
            Err(CliError::new(Exit::TimedOut, error.to_string()))
        }
        other => other.map(|connected| connected.time),
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
    /// How far that was, for the next run.
    bookmarks: Bookmarks,
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
    /// Messages that did not verify, or are missing.
    unbelieved: u64,
    /// Topics whose past is for those who were there.
    unreadable: BTreeSet<TopicName>,
    /// Topics that were given up since somebody lies.
    stopped: u64,
    /// The broker's clock when the session began.
    session_began: Wall,
    /// Requests to join that are not answered yet.
    joins: Vec<(Ticket, TopicName)>,
    /// Topics that we have asked to join, and when to ask again whether it was denied.
    waiting: BTreeMap<TopicName, Mono>,
    news: News,
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
        // What was printed is noted already; if it cannot be kept, whoever closed the pipe does not care.
        let kept = self.bookmarks.keep(self.link.now().mono);
        if result.as_ref().is_err_and(|e| e.exit() == Exit::Done) {
            return result;
        }
        self.printer.output.flush()?;
        match &result {
            Err(error) if error.exit() == Exit::TimedOut => {}
            Err(_) => return result,
            Ok(()) => {}
        }
        kept?;
        self.link.leave();
        let counted = if self.sub.strict { self.unbelieved + self.stopped } else { self.stopped };
        if counted > 0 {
            return Err(CliError::new(Exit::Integrity, format!("{counted} did not verify, see above")));
        }
        result
    }

    fn follow(&mut self) -> Result<(), CliError> {
        loop {
            while let Some(event) = self.link.next_or_notice(Some(self.link.now().mono))? {
                if self.hear(event)? == Course::Enough {
                    return Ok(());
                }
                self.check()?;
            }
            // Nothing is there to be done: what was printed is to be seen now.
            self.printer.output.flush()?;
            self.bookmarks.reach_all(self.link.core())?;
            self.bookmarks.keep_in_time(self.link.now().mono)?;
            match self.link.next_or_notice(self.wake_up())? {
                Some(event) => {
                    if self.hear(event)? == Course::Enough {
                        return Ok(());
                    }
                }
                None => self.check()?,
            }
            self.ask_again();
        }
    }

    /// When there is something to do, even if nothing comes.
    fn wake_up(&self) -> Option<Mono> {
        self.waiting.values().copied().chain(self.deadline).chain(self.bookmarks.keep_at()).min()
    }

    /// A denial is told only to whoever asks again.
    fn ask_again(&mut self) {
        let now = self.link.now().mono;
        let due: Vec<TopicName> =
            self.waiting.iter().filter(|(_, at)| now >= **at).map(|(topic, _)| topic.clone()).collect();
        for topic in due {
            self.waiting.insert(topic.clone(), now + ASK_AGAIN);
            self.joins.push((self.link.core().join(&topic), topic));
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
        if let Some(line) = self.news.line(&event, self.link.now().mono, "sealmq ") {
            self.tell(&line);
            return Ok(self.course());
        }
        match event {
            Event::Notice(notice) => note(&notice.to_string()),
            Event::Message(message) => return self.message(&message),
            Event::Answer { ticket, result } => self.answered(ticket, result)?,
            Event::Opened(opened) => {
                tidings::start(&opened).iter().for_each(|line| self.tell(line));
                self.bookmarks.opened(&opened, self.link.core())?;
                if self.waiting.remove(&opened.topic).is_some() {
                    self.tell(&format!("you are a member of {} now", opened.topic));
                }
                self.behind.insert(opened.topic.clone());
                self.open.insert(opened.topic);
            }
            Event::CaughtUp { topic, next } => {
                self.printed_to(&topic, next)?;
                self.behind.remove(&topic);
            }
            Event::Gap { topic, from, to } => {
                match self.printer.takes_events() {
                    true => self.printer.event(&format::gap_line(&topic, from, to))?,
                    false => self.tell(&tidings::gap(&topic, from, to)),
                }
                self.printed_to(&topic, to)?;
            }
            Event::Integrity(fault) => self.unbelieved(&fault)?,
            Event::Ended { topic, code } => {
                let at = self.link.core().ended_at(&topic);
                self.tell(&tidings::ended(&topic, code, at));
                self.give_up(&topic, || match code {
                    RefuseCode::NotMember => {
                        CliError::new(Exit::Denied, format!("you are no longer a member of {topic}"))
                    }
                    _ => Failure::Refused { code, detail: 0, text: topic.to_string() }.into(),
                })?;
            }
            // Once, not at every attempt.
            Event::Disconnected { reason, retry_at, .. } if !self.away => {
                self.away = true;
                self.tell(&tidings::away(&reason, retry_at, self.link.now().mono));
            }
            Event::Connected(connected) => {
                self.away = false;
                self.session_began = connected.time;
                self.tell(&tidings::back(&connected));
            }
            _ => {}
        }
        Ok(self.course())
    }

    /// Whether what -e and -E wait for has come.
    fn course(&self) -> Course {
        let subscribed = self.open_requests.is_empty() && self.joins.is_empty() && self.waiting.is_empty();
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
        self.printed_to(&message.topic, message.offset.next())?;
        Ok(if self.sub.count.is_some_and(|count| self.printed >= count) {
            Course::Enough
        } else {
            self.course()
        })
    }

    /// Whoever resumes goes on at `next`. For that all before is out of our hands: flushed, then noted.
    fn printed_to(&mut self, topic: &TopicName, next: Offset) -> Result<(), CliError> {
        if self.bookmarks.are_kept() {
            self.printer.output.flush()?;
            self.bookmarks.reach(topic, next, self.link.core())?;
            self.bookmarks.keep_in_time(self.link.now().mono)?;
        }
        Ok(())
    }

    fn answered(&mut self, ticket: Ticket, result: Result<Answer, Failure>) -> Result<(), CliError> {
        if let Some(at) = self.joins.iter().position(|(open, _)| *open == ticket) {
            let (_, topic) = self.joins.remove(at);
            return self.join_answered(topic, result);
        }
        let Some(at) = self.open_requests.iter().position(|(open, _)| *open == ticket) else { return Ok(()) };
        let (_, filter) = self.open_requests.remove(at);
        let answer = result?;
        self.filters.push(filter.clone());
        match answer {
            Answer::Subscribed { matched: 0, others, .. } => self.unmatched(&filter, others),
            Answer::Subscribed { others: others @ 1.., .. } => {
                self.tell(&tidings::not_yours(&filter, others));
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn join_answered(&mut self, topic: TopicName, result: Result<Answer, Failure>) -> Result<(), CliError> {
        match result {
            Ok(Answer::Asked(asked)) => self.asked(&asked),
            // It was granted meanwhile: it opens by itself.
            Ok(_) | Err(Failure::AlreadyMember(_)) => Ok(()),
            Err(failure) => {
                self.waiting.remove(&topic);
                Err(failure.into())
            }
        }
    }

    fn asked(&mut self, asked: &Asked) -> Result<(), CliError> {
        if !self.sub.wait {
            return Err(membership::asked_error(asked, self.session_began));
        }
        let again = self.link.now().mono + ASK_AGAIN;
        // Being let in may have been heard of before the answer.
        let is_news = !self.open.contains(&asked.topic)
            && !self.waiting.contains_key(&asked.topic)
            && self.waiting.insert(asked.topic.clone(), again).is_none();
        if is_news {
            self.tell(&format!("{}; waiting", membership::asked(asked, self.session_began)));
        }
        Ok(())
    }

    /// No topic yet. A filter may wait for one; a name most likely was mistyped.
    fn unmatched(&mut self, filter: &TopicFilter, others: u32) -> Result<(), CliError> {
        match filter.exact() {
            Some(topic) if others > 0 => {
                self.joins.push((self.link.core().join(&topic), topic));
                Ok(())
            }
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
        if !fault.fault.accuses() {
            // That is as the owner wants it; once is enough.
            if self.unreadable.insert(fault.topic.clone()) {
                self.tell(&tidings::unreadable(&fault.topic));
            }
            return Ok(());
        }
        match fault.stopped {
            true => self.stopped += 1,
            false => self.unbelieved += 1,
        }
        if self.printer.takes_events() {
            self.printer.event(&format::integrity_line(fault))?;
        }
        if fault.stopped {
            let (topic, why) = (fault.topic.clone(), fault.fault.clone());
            // If that is the end, it is said with what mends it.
            self.give_up(&fault.topic, || Failure::Integrity(topic, why).into())?;
        }
        // It is never left unsaid.
        if !self.printer.takes_events() {
            note(&tidings::unbelieved(fault));
        }
        Ok(())
    }

    /// A topic delivers no more. If none is left that could, that is the end.
    fn give_up(&mut self, topic: &TopicName, why: impl FnOnce() -> CliError) -> Result<(), CliError> {
        self.behind.remove(topic);
        self.open.remove(topic);
        let may_match = self.filters.iter().any(|filter| filter.exact().is_none());
        if self.open.is_empty() && self.open_requests.is_empty() && !may_match {
            return Err(why());
        }
        Ok(())
    }

    fn tell(&self, line: &str) {
        if !self.sub.foreign.0.quiet {
            note(line);
        }
    }
}

/// Whoever waits to be let in asks so often whether that was denied.
const ASK_AGAIN: Duration = Duration::from_secs(60);
