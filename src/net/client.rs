//! Drives the client core over TCP, blocking: one thread, one `mio` poll.

mod line;
pub mod swarm;

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use mio::{Token, Waker};

use line::{Line, READ_BYTES, Turn};

use super::clock::Clock;
use crate::base::{Mono, Now};
use crate::client::{Client, Event};

/// Where the broker is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    pub host: String,
    pub port: u16,
}

/// A client core with its connection, which comes back by itself.
///
/// Dropping it closes the connection; [`Client::exit`] and waiting for [`Event::Closed`] ends
/// it well.
pub struct Connection {
    line: Line,
    clock: Clock,
    address: Address,
    poll: mio::Poll,
    ready: mio::Events,
    waker: Arc<Waker>,
    woken: bool,
    buffer: Vec<u8>,
}

const WAKER: Token = Token(0);
const SOCKET: Token = Token(1);

impl Connection {
    /// Prepares; the first [`Connection::wait`] dials. The core's configuration names the same host.
    pub fn new(address: Address, core: Client) -> io::Result<Connection> {
        let poll = mio::Poll::new()?;
        let waker = Arc::new(Waker::new(poll.registry(), WAKER)?);
        Ok(Connection {
            line: Line::new(core, SOCKET),
            clock: Clock::new(),
            address,
            poll,
            ready: mio::Events::with_capacity(8),
            waker,
            woken: false,
            buffer: vec![0; READ_BYTES],
        })
    }

    /// The next event; nothing once `deadline` has passed, the [`Connection::waker`] was used, or
    /// the core has ended and told everything. Looking up the host's name blocks as long as the
    /// system takes for it.
    pub fn wait(&mut self, deadline: Option<Mono>) -> io::Result<Option<Event>> {
        let mut has_looked = false;
        loop {
            self.turn()?;
            if let Some(event) = self.line.core.poll_event() {
                return Ok(Some(event));
            }
            // What has come is looked at once, even if the deadline has passed already.
            let is_due = has_looked && deadline.is_some_and(|at| self.clock.mono() >= at);
            if std::mem::take(&mut self.woken) || is_due || self.line.core.is_over() {
                return Ok(None);
            }
            self.sleep(deadline)?;
            has_looked = true;
        }
    }

    /// For requests; they go out in the next [`Connection::wait`].
    pub fn core(&mut self) -> &mut Client {
        &mut self.line.core
    }

    /// To look at.
    pub fn client(&self) -> &Client {
        &self.line.core
    }

    pub fn address(&self) -> &Address {
        &self.address
    }

    /// Ends a [`Connection::wait`] from another thread.
    pub fn waker(&self) -> Arc<Waker> {
        self.waker.clone()
    }

    pub fn now(&self) -> Now {
        self.clock.now()
    }

    fn turn(&mut self) -> io::Result<()> {
        let now = self.clock.now();
        let (registry, buffer) = (self.poll.registry(), &mut self.buffer[..]);
        self.line.turn(&mut Turn { now, address: &self.address, registry, buffer })
    }

    fn sleep(&mut self, deadline: Option<Mono>) -> io::Result<()> {
        let now = self.clock.mono();
        let next = [deadline, self.line.poll_timeout()].into_iter().flatten().min();
        let timeout = if self.line.can_work() { Some(Duration::ZERO) } else { next.map(|at| at.since(now)) };
        match self.poll.poll(&mut self.ready, timeout) {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => return Ok(()),
            result => result?,
        }
        let now = self.clock.now();
        let (registry, buffer) = (self.poll.registry(), &mut self.buffer[..]);
        let mut turn = Turn { now, address: &self.address, registry, buffer };
        for event in &self.ready {
            match event.token() {
                WAKER => self.woken = true,
                _ => self.line.handle_ready(event, &mut turn)?,
            }
        }
        Ok(())
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "[{}]:{}", self.host, self.port),
            false => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

#[cfg(test)]
mod tests;
