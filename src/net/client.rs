//! Drives the client core over TCP, blocking: one thread, one `mio` poll.

use std::io;
use std::sync::Arc;

use mio::Waker;

use super::clock::Clock;
use crate::base::{Mono, Now};
use crate::client::{Client, Event};

/// Where the broker is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    pub host: String,
    pub port: u16,
}

/// A client core with its connection.
///
/// Dropping it closes the connection; [`Client::exit`] and waiting for [`Event::Closed`] ends
/// it well.
pub struct Connection {
    core: Client,
    clock: Clock,
    #[expect(dead_code)]
    address: Address,
    poll: mio::Poll,
    waker: Arc<Waker>,
}

impl Connection {
    /// Prepares; the first [`Connection::wait`] dials.
    pub fn new(address: Address, core: Client) -> io::Result<Connection> {
        let poll = mio::Poll::new()?;
        let waker = Arc::new(Waker::new(poll.registry(), mio::Token(0))?);
        Ok(Connection { core, clock: Clock::new(), address, poll, waker })
    }

    /// The next event; nothing once `deadline` has passed or the [`Connection::waker`] was used.
    pub fn wait(&mut self, _deadline: Option<Mono>) -> io::Result<Option<Event>> {
        let _ = &self.poll;
        Ok(self.core.poll_event())
    }

    /// For requests; they go out in the next [`Connection::wait`].
    pub fn core(&mut self) -> &mut Client {
        &mut self.core
    }

    /// Ends a [`Connection::wait`] from another thread.
    pub fn waker(&self) -> Arc<Waker> {
        self.waker.clone()
    }

    pub fn now(&self) -> Now {
        self.clock.now()
    }
}
