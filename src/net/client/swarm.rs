//! Drives many client cores of one program over one poll loop, on one thread. Knows nothing of what they do.
//!
//! Only who has something to do has a turn: whose socket is ready, whose time has come, whom the caller has touched.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use mio::{Token, Waker};
use rustix::event::{PollFd, PollFlags, Timespec};

use super::Address;
use super::line::{Line, READ_BYTES, Turn};
use crate::base::{Mono, Now};
use crate::client::{Client, Event};
use crate::net::clock::Clock;

/// Clients of one broker. Dropping it closes all connections.
pub struct Swarm {
    clock: Clock,
    address: Address,
    poll: mio::Poll,
    ready: mio::Events,
    waker: Arc<Waker>,
    woken: bool,
    members: Vec<Member>,
    /// Those that are to have a turn, each once.
    due: VecDeque<usize>,
    /// Turns before all sockets are asked again: one to whom much comes does not hold up the others.
    turns_left: usize,
    /// The earliest time that any of them waits for, or one before it.
    timer: Option<Mono>,
    buffer: Vec<u8>,
}

struct Member {
    line: Line,
    is_due: bool,
}

/// A poll's token, in no member's range.
const WAKER: Token = Token(usize::MAX);
/// Taken from one poll.
const READY_MAX: usize = 1024;

impl Swarm {
    pub fn new(address: Address) -> io::Result<Swarm> {
        let poll = mio::Poll::new()?;
        let waker = Arc::new(Waker::new(poll.registry(), WAKER)?);
        Ok(Swarm {
            clock: Clock::new(),
            address,
            poll,
            ready: mio::Events::with_capacity(READY_MAX),
            waker,
            woken: false,
            members: Vec::new(),
            due: VecDeque::new(),
            turns_left: 0,
            timer: None,
            buffer: vec![0; READ_BYTES],
        })
    }

    /// Adds a core, which dials in the next [`Swarm::wait`]; returns its index.
    pub fn add(&mut self, core: Client) -> usize {
        let index = self.members.len();
        self.members.push(Member { line: Line::new(core, Token(index)), is_due: false });
        self.make_due(index);
        index
    }

    /// Drops all but the first `count`, whatever they have to do still: their connections are closed.
    pub fn truncate(&mut self, count: usize) {
        self.members.truncate(count);
        self.due.retain(|index| *index < count);
        self.turns_left = self.turns_left.min(self.due.len());
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.members.len()
    }

    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// For requests; they go out in the next [`Swarm::wait`].
    pub fn core(&mut self, index: usize) -> &mut Client {
        self.make_due(index);
        &mut self.members[index].line.core
    }

    /// The next event and whose it is. Nothing: `deadline` has passed, or the [`Swarm::waker`] was used.
    pub fn wait(&mut self, deadline: Option<Mono>) -> io::Result<Option<(usize, Event)>> {
        let mut has_looked = false;
        loop {
            self.wake_timed();
            while self.turns_left > 0 {
                let Some(&index) = self.due.front() else { break };
                // All that has come is told before the socket is looked at again: what the caller answers goes out
                // in one write.
                if let Some(event) = self.members[index].line.core.poll_event() {
                    return Ok(Some((index, event)));
                }
                self.due.pop_front();
                self.members[index].is_due = false;
                self.turns_left -= 1;
                self.turn(index)?;
                let event = self.members[index].line.core.poll_event();
                self.settle(index, event.is_some());
                if let Some(event) = event {
                    return Ok(Some((index, event)));
                }
            }
            let is_due = has_looked && deadline.is_some_and(|at| self.clock.mono() >= at);
            if std::mem::take(&mut self.woken) || is_due {
                return Ok(None);
            }
            self.sleep(deadline)?;
            self.turns_left = self.due.len();
            has_looked = true;
        }
    }

    /// Ends a [`Swarm::wait`] from another thread.
    pub fn waker(&self) -> Arc<Waker> {
        self.waker.clone()
    }

    pub fn now(&self) -> Now {
        self.clock.now()
    }

    fn make_due(&mut self, index: usize) {
        if !std::mem::replace(&mut self.members[index].is_due, true) {
            self.due.push_back(index);
        }
    }

    fn turn(&mut self, index: usize) -> io::Result<()> {
        let now = self.clock.now();
        let (registry, buffer) = (self.poll.registry(), &mut self.buffer[..]);
        self.members[index].line.turn(&mut Turn { now, address: &self.address, registry, buffer })
    }

    /// After a turn: when it is due again.
    fn settle(&mut self, index: usize, has_events: bool) {
        let line = &self.members[index].line;
        self.timer = [self.timer, line.poll_timeout()].into_iter().flatten().min();
        if has_events || line.can_work() {
            self.make_due(index);
        }
    }

    /// Looks at all of them only when one's time may have come.
    fn wake_timed(&mut self) {
        let now = self.clock.mono();
        if self.timer.is_none_or(|at| now < at) {
            return;
        }
        self.timer = None;
        for index in 0..self.members.len() {
            match self.members[index].line.poll_timeout() {
                Some(at) if now >= at => self.make_due(index),
                at => self.timer = [self.timer, at].into_iter().flatten().min(),
            }
        }
    }

    /// The poll counts milliseconds, and up: it is asked for whole ones only, and what is left of a wait, less than
    /// one, is slept here. Says how long the poll is to wait.
    fn sleep_to_the_point(&self, timeout: Option<Duration>) -> io::Result<Option<Duration>> {
        let Some(timeout) = timeout.filter(|timeout| !timeout.is_zero()) else { return Ok(timeout) };
        let whole = Duration::from_millis(u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX));
        if !whole.is_zero() {
            return Ok(Some(whole));
        }
        let mut sockets = [PollFd::new(self.poll.registry(), PollFlags::IN)];
        let rest = Timespec { tv_sec: 0, tv_nsec: timeout.subsec_nanos().into() };
        match rustix::event::poll(&mut sockets, Some(&rest)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(Some(Duration::ZERO)),
            Err(e) => Err(e.into()),
        }
    }

    fn sleep(&mut self, deadline: Option<Mono>) -> io::Result<()> {
        let now = self.clock.now();
        let next = [deadline, self.timer].into_iter().flatten().min();
        let timeout =
            if self.due.is_empty() { next.map(|at| at.since(now.mono)) } else { Some(Duration::ZERO) };
        let timeout = self.sleep_to_the_point(timeout)?;
        match self.poll.poll(&mut self.ready, timeout) {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => return Ok(()),
            result => result?,
        }
        let now = self.clock.now();
        let (registry, buffer) = (self.poll.registry(), &mut self.buffer[..]);
        let mut turn = Turn { now, address: &self.address, registry, buffer };
        for event in &self.ready {
            let Token(index) = event.token();
            let Some(member) = self.members.get_mut(index) else {
                self.woken |= event.token() == WAKER;
                continue;
            };
            member.line.handle_ready(event, &mut turn)?;
            if !std::mem::replace(&mut member.is_due, true) {
                self.due.push_back(index);
            }
        }
        Ok(())
    }
}
