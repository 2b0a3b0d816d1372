//! Messages from publishers to subscribers, as many on their way as the window says. Each is followed until it
//! is answered and with every subscriber, so a run loses none without saying so.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use super::crew::Crew;
use super::pace::Pace;
use super::report::Times;
use crate::base::Mono;
use crate::base::names::TopicName;
use crate::cli::error::{CliError, Exit};
use crate::cli::link::no_answer;
use crate::cli::progress::Progress;
use crate::client::{Answer, Event, Ticket};

/// Who publishes how.
pub struct Plan {
    /// Each publisher's index in the crew, and the topics that it publishes to in turn.
    pub publishers: Vec<(usize, Vec<TopicName>)>,
    pub subscribers: u32,
    pub size: usize,
    pub window: usize,
    /// Messages a second of all together; as many as the windows take, unless said.
    pub rate: Option<f64>,
}

/// When publishing ends.
#[derive(Clone, Copy)]
pub enum Until {
    /// So many messages of all together.
    Count(u64),
    Time(Mono),
}

/// A run under way, or ended.
pub struct Flow {
    plan: Plan,
    publishers: Vec<Publisher>,
    /// Which publisher has an index in the crew.
    by_index: HashMap<usize, usize>,
    until: Until,
    /// Messages that were handed over in this run.
    sent: u64,
    began: Mono,
    /// Of a run at a rate.
    pace: Option<Pace>,
    /// Who is to send the next message that is due.
    turn: usize,
    /// Nobody took the one that is due: somebody may when something has come.
    is_held: bool,
    /// When the last message was handed over.
    last_sent: Mono,
    /// When something was heard last, or began to be waited for.
    moved: Mono,
    pub tally: Tally,
    /// Ctrl-C came: what was on its way by then is waited for a little longer.
    stopped_at: Option<Mono>,
}

pub struct Tally {
    pub published: u64,
    pub delivered: u64,
    /// From the publish to each subscriber, and to the broker's answer; at a rate, from when it was due.
    pub delivery: Times,
    pub answer: Times,
    /// From when a message was due to its publish.
    pub lag: Times,
}

struct Publisher {
    /// The number of the oldest message in flight.
    oldest: u32,
    flight: VecDeque<Flight>,
    tickets: HashMap<Ticket, u32>,
}

struct Flight {
    /// When it was published, or was due.
    since: Mono,
    /// The answer, and deliveries, that are to come.
    left: u32,
}

impl Flow {
    pub fn new(plan: Plan) -> Flow {
        let by_index = plan.publishers.iter().enumerate().map(|(at, (index, _))| (*index, at)).collect();
        let fresh = |_| Publisher { oldest: 0, flight: VecDeque::new(), tickets: HashMap::new() };
        let publishers = plan.publishers.iter().map(fresh).collect();
        Flow {
            plan,
            publishers,
            by_index,
            until: Until::Count(0),
            sent: 0,
            began: Mono(0),
            pace: None,
            turn: 0,
            is_held: false,
            last_sent: Mono(0),
            moved: Mono(0),
            tally: Tally::new(),
            stopped_at: None,
        }
    }

    /// One message of each publisher to each of its topics, so that what comes only once is over: topics are opened,
    /// publishers known to subscribers.
    pub fn warm_up(&mut self, crew: &mut Crew) -> Result<(), CliError> {
        self.moved = crew.now().mono;
        for at in 0..self.publishers.len() {
            for _ in 0..self.plan.publishers[at].1.len() {
                // Nothing but this is sent: the run has not begun.
                while !self.send(crew, at, None)? {
                    crew.check_stop()?;
                    self.step(crew, None)?;
                }
            }
        }
        while !self.is_drained() {
            crew.check_stop()?;
            self.step(crew, None)?;
        }
        Ok(())
    }

    /// Publishes until `until` or until it is stopped, then waits until all is delivered.
    pub fn run(&mut self, crew: &mut Crew, until: Until, progress: &mut Progress) -> Result<(), CliError> {
        (self.until, self.sent, self.tally) = (until, 0, Tally::new());
        self.began = crew.now().mono;
        (self.last_sent, self.moved) = (self.began, self.began);
        self.pace = self.plan.rate.map(|rate| Pace::new(self.began, rate));
        for at in 0..self.publishers.len() {
            self.go_on(crew, at)?;
        }
        while !self.is_drained() || (self.pace.is_some() && self.may_send(crew)) {
            if crew.is_stopped() && self.stopped_at.is_none() {
                self.until = Until::Count(0);
                self.stopped_at = Some(crew.now().mono);
            }
            if self.drains_until().is_some_and(|at| crew.now().mono >= at) {
                break;
            }
            self.step(crew, Some(progress))?;
        }
        Ok(())
    }

    /// Messages a second that were handed over, where a rate was asked for.
    pub fn rate_reached(&self) -> Option<f64> {
        let end = match self.until {
            Until::Count(_) => self.last_sent,
            Until::Time(end) => end,
        };
        let ended = self.stopped_at.unwrap_or(end);
        self.pace.map(|pace| pace.reached(self.sent, self.last_sent, ended))
    }

    /// Ctrl-C came before the end.
    pub fn was_stopped(&self) -> bool {
        self.stopped_at.is_some()
    }

    fn drains_until(&self) -> Option<Mono> {
        self.stopped_at.map(|at| at + DRAIN_TIME)
    }

    fn is_drained(&self) -> bool {
        self.publishers.iter().all(|publisher| publisher.flight.is_empty())
    }

    /// Takes one event, and has its publisher go on; or what has become due goes out.
    fn step(&mut self, crew: &mut Crew, progress: Option<&mut Progress>) -> Result<(), CliError> {
        let due = self.next_due();
        // Between two messages of a slow pace nobody owes us anything.
        let is_idle = due.is_some() && self.is_drained();
        let stalled = (!is_idle).then(|| self.moved + STALL_TIME);
        let deadline = [due, self.drains_until(), stalled].into_iter().flatten().min();
        let event = crew.wait(deadline)?;
        let now = crew.now().mono;
        if event.is_none() && stalled.is_some_and(|at| now >= at) {
            return Err(no_answer(STALL_TIME));
        }
        if event.is_some() || is_idle {
            self.moved = now;
        }
        let moved_on = match event {
            Some((index, event)) => self.hear(index, event, now)?,
            None => None,
        };
        match moved_on {
            Some(at) => self.go_on(crew, at)?,
            None => self.keep_pace(crew)?,
        }
        if let Some(progress) = progress {
            self.tell(progress, now);
        }
        Ok(())
    }

    fn tell(&self, progress: &mut Progress, now: Mono) {
        let Tally { published, delivered, .. } = self.tally;
        match self.until {
            Until::Count(all) if self.plan.subscribers == 0 => {
                progress.tell(published, all, "messages published");
            }
            Until::Count(all) => {
                progress.tell(published, all, format_args!("published, {delivered} delivered"));
            }
            Until::Time(end) => {
                let all = end.since(self.began).as_secs_f64().ceil() as u64;
                let done = now.since(self.began).as_secs().min(all);
                progress.tell(done, all, format_args!("s, {published} messages published"));
            }
        }
    }

    /// Says whose message has come a step further.
    fn hear(&mut self, index: usize, event: Event, now: Mono) -> Result<Option<usize>, CliError> {
        match event {
            Event::Answer { ticket, result } => {
                let Some(at) = self.by_index.get(&index).copied() else { return Ok(None) };
                let Some(number) = self.publishers[at].tickets.remove(&ticket) else { return Ok(None) };
                let Answer::Published { .. } = result? else { return Ok(None) };
                let time = self.done(at, number, now).ok_or_else(not_ours)?;
                self.tally.published += 1;
                self.tally.answer.record(time);
                Ok(Some(at))
            }
            Event::Message(message) => {
                let (at, number) = marks(&message.content).ok_or_else(not_ours)?;
                let time = self.done(at, number, now).ok_or_else(not_ours)?;
                self.tally.delivered += 1;
                self.tally.delivery.record(time);
                Ok(Some(at))
            }
            Event::Gap { topic, from, to } => Err(CliError::other(format!(
                "the broker dropped messages {from} to {to} of {topic} before they were read"
            ))),
            Event::Ended { topic, code } => {
                Err(CliError::other(format!("the broker delivers {topic} no more: {code:?}")))
            }
            Event::Integrity(fault) => {
                Err(CliError::new(Exit::Integrity, format!("{}: {}", fault.topic, fault.fault)))
            }
            Event::Disconnected { reason, .. } => {
                let (exit, published) = (CliError::from(reason.clone()).exit(), self.tally.published);
                Err(CliError::new(exit, format!("{reason}; {published} messages were published by then")))
            }
            _ => Ok(None),
        }
    }

    /// One of those that a message waits for has come; says how long it took.
    fn done(&mut self, at: usize, number: u32, now: Mono) -> Option<Duration> {
        let publisher = self.publishers.get_mut(at)?;
        let place = number.checked_sub(publisher.oldest)? as usize;
        let flight = publisher.flight.get_mut(place)?;
        flight.left = flight.left.checked_sub(1)?;
        let time = now.since(flight.since);
        while publisher.flight.front().is_some_and(|flight| flight.left == 0) {
            publisher.flight.pop_front();
            publisher.oldest += 1;
        }
        Some(time)
    }

    /// Publishes what may go out now that this publisher has come a step further.
    fn go_on(&mut self, crew: &mut Crew, at: usize) -> Result<(), CliError> {
        if self.pace.is_some() { self.keep_pace(crew) } else { self.fill(crew, at) }
    }

    /// Publishes what is due. Publishers take turns, and one whose window is full is passed over.
    fn keep_pace(&mut self, crew: &mut Crew) -> Result<(), CliError> {
        let Some(pace) = self.pace else { return Ok(()) };
        self.is_held = false;
        while !self.is_held && self.may_send(crew) && pace.due(self.sent) <= crew.now().mono {
            self.is_held = !self.send_next(crew, pace.due(self.sent))?;
        }
        Ok(())
    }

    /// False: nobody takes a message now.
    fn send_next(&mut self, crew: &mut Crew, due: Mono) -> Result<bool, CliError> {
        for _ in 0..self.publishers.len() {
            let at = self.turn;
            self.turn = (self.turn + 1) % self.publishers.len();
            if self.publishers[at].flight.len() < self.plan.window && self.send(crew, at, Some(due))? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// When the clock has us go on, if nothing else does before.
    fn next_due(&self) -> Option<Mono> {
        let due = self.pace?.due(self.sent);
        (!self.is_held && self.wants(due)).then_some(due)
    }

    /// Publishes what the window takes.
    fn fill(&mut self, crew: &mut Crew, at: usize) -> Result<(), CliError> {
        while self.publishers[at].flight.len() < self.plan.window && self.may_send(crew) {
            if !self.send(crew, at, None)? {
                break;
            }
        }
        Ok(())
    }

    fn may_send(&self, crew: &Crew) -> bool {
        let now = crew.now().mono;
        self.wants(self.pace.map_or(now, |pace| now.max(pace.due(self.sent))))
    }

    /// Whether a message is to go out at that time.
    fn wants(&self, at: Mono) -> bool {
        match self.until {
            Until::Count(count) => self.sent < count,
            Until::Time(end) => self.sent < MESSAGES_MAX && at < end,
        }
    }

    /// False: its client takes no more before an answer has come. Its times count from when it was due, if that
    /// is said: what it waited for until it could go out is part of them.
    fn send(&mut self, crew: &mut Crew, at: usize, due: Option<Mono>) -> Result<bool, CliError> {
        let (index, topics) = &self.plan.publishers[at];
        let publisher = &mut self.publishers[at];
        let number = publisher.oldest + publisher.flight.len() as u32;
        let content = content(at, number, self.plan.size);
        let sent = crew.now().mono;
        let Ok(ticket) = crew.core(*index).publish(&topics[number as usize % topics.len()], &content) else {
            return Ok(false);
        };
        let since = due.unwrap_or(sent);
        publisher.flight.push_back(Flight { since, left: 1 + self.plan.subscribers });
        publisher.tickets.insert(ticket, number);
        self.sent += 1;
        self.last_sent = sent;
        if let Some(due) = due {
            self.tally.lag.record(sent.since(due));
        }
        Ok(true)
    }
}

impl Tally {
    fn new() -> Tally {
        Tally { published: 0, delivered: 0, delivery: Times::new(), answer: Times::new(), lag: Times::new() }
    }
}

/// A message begins with its publisher and its number; what follows says nothing.
fn content(publisher: usize, number: u32, size: usize) -> Vec<u8> {
    let mut content = Vec::with_capacity(size);
    content.extend((publisher as u32).to_be_bytes());
    content.extend(number.to_be_bytes());
    content.resize(size, b'.');
    content
}

/// The two that it begins with.
fn marks(content: &[u8]) -> Option<(usize, u32)> {
    let (publisher, rest) = content.split_first_chunk()?;
    let (number, _) = rest.split_first_chunk()?;
    Some((u32::from_be_bytes(*publisher) as usize, u32::from_be_bytes(*number)))
}

fn not_ours() -> CliError {
    CliError::new(Exit::Integrity, "a message came that was not published here, or came twice")
}

/// The broker is there, but nothing comes.
const STALL_TIME: Duration = Duration::from_secs(30);
/// For what is on its way at Ctrl-C. Who stops a run does not want to wait for the end of a long queue.
const DRAIN_TIME: Duration = Duration::from_secs(3);
/// A message's number has 32 bits; the first of them were used to warm up.
const MESSAGES_MAX: u64 = u32::MAX as u64 / 2;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_says_whose_it_is() {
        assert_eq!(content(7, 9, 12).len(), 12);
        assert_eq!(marks(&content(7, 9, 8)), Some((7, 9)));
        assert_eq!(marks(&[0; 7]), None);
    }

    fn flow(subscribers: u32, rate: Option<f64>) -> Flow {
        let topic = TopicName::parse("a").expect("a good name");
        Flow::new(Plan { publishers: vec![(1, vec![topic])], subscribers, size: 8, window: 2, rate })
    }

    #[test]
    fn the_clock_has_a_run_at_a_rate_go_on_until_no_more_is_wanted() {
        let mut flow = flow(0, Some(10.0));
        assert_eq!(flow.next_due(), None, "nothing is due while it warms up");
        flow.pace = Some(Pace::new(Mono(7), 10.0));
        (flow.until, flow.sent) = (Until::Count(3), 2);
        assert_eq!(flow.next_due(), Some(Mono(200_007)));
        flow.is_held = true;
        assert_eq!(flow.next_due(), None, "what nobody takes waits for an answer, not for the clock");
        (flow.is_held, flow.sent) = (false, 3);
        assert_eq!(flow.next_due(), None, "all were sent");
        flow.until = Until::Time(Mono(300_008));
        assert_eq!(flow.next_due(), Some(Mono(300_007)));
        flow.sent = 4;
        assert_eq!(flow.next_due(), None, "the end comes first");
    }

    #[test]
    fn a_message_is_done_when_all_have_it_and_no_one_has_it_twice() {
        let mut flow = flow(1, None);
        let flight = |_| Flight { since: Mono(10), left: 2 };
        flow.publishers[0].flight.extend((0..2).map(flight));
        // The second is done before the first, and waits for it.
        for _ in 0..2 {
            assert_eq!(flow.done(0, 1, Mono(15)), Some(Duration::from_micros(5)));
        }
        assert_eq!(flow.publishers[0].flight.len(), 2);
        assert!(flow.done(0, 1, Mono(15)).is_none(), "a third of two");
        assert!(flow.done(0, 0, Mono(15)).is_some() && flow.done(0, 0, Mono(15)).is_some());
        assert!(flow.publishers[0].flight.is_empty());
        assert!(flow.done(0, 0, Mono(15)).is_none() && flow.done(1, 0, Mono(15)).is_none());
        assert!(flow.done(0, 2, Mono(15)).is_none(), "it was not sent yet");
    }
}
