//! Drives the client core over TCP, blocking: one thread, one `mio` poll.

use std::collections::VecDeque;
use std::fmt;
use std::io::{self, IoSlice, Read, Write};
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::time::Duration;

use mio::net::TcpStream;
use mio::{Interest, Token, Waker};

use super::clock::Clock;
use crate::base::transmit::Transmit;
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
    core: Client,
    clock: Clock,
    address: Address,
    poll: mio::Poll,
    ready: mio::Events,
    waker: Arc<Waker>,
    woken: bool,
    transport: Transport,
    buffer: Vec<u8>,
}

/// The connection to the broker.
enum Transport {
    /// Never dialled.
    Fresh,
    /// None until the core asks for one.
    Down,
    Dialling(Dial),
    Up(Socket),
}

/// Addresses that are tried one after the other.
struct Dial {
    stream: TcpStream,
    deadline: Mono,
    rest: VecDeque<SocketAddr>,
}

/// A connected stream. Edges are reported once, so what is known of its readiness is kept here.
struct Socket {
    stream: TcpStream,
    readable: bool,
    writable: bool,
    out: Transmit,
}

/// Why a dial came to nothing.
#[derive(Debug)]
enum DialError {
    Resolve(io::Error),
    NoAddress,
    Connect(io::Error),
    Timeout,
}

const WAKER: Token = Token(0);
const SOCKET: Token = Token(1);
/// How long one address may take to answer.
const DIAL_TIME_MAX: Duration = Duration::from_secs(10);
/// One read from the socket.
const READ_BYTES: usize = 64 * 1024;
/// Reads before the events that they brought are handed out.
const READS_MAX: usize = 16;
/// Chunks of one vectored write.
const SLICES_MAX: usize = 64;

impl Connection {
    /// Prepares; the first [`Connection::wait`] dials. The core's configuration names the same host.
    pub fn new(address: Address, core: Client) -> io::Result<Connection> {
        let poll = mio::Poll::new()?;
        let waker = Arc::new(Waker::new(poll.registry(), WAKER)?);
        Ok(Connection {
            core,
            clock: Clock::new(),
            address,
            poll,
            ready: mio::Events::with_capacity(8),
            waker,
            woken: false,
            transport: Transport::Fresh,
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
            if let Some(event) = self.core.poll_event() {
                return Ok(Some(event));
            }
            // What has come is looked at once, even if the deadline has passed already.
            let is_due = has_looked && deadline.is_some_and(|at| self.clock.mono() >= at);
            if std::mem::take(&mut self.woken) || is_due || self.core.is_over() {
                return Ok(None);
            }
            self.sleep(deadline)?;
            has_looked = true;
        }
    }

    /// For requests; they go out in the next [`Connection::wait`].
    pub fn core(&mut self) -> &mut Client {
        &mut self.core
    }

    /// To look at.
    pub fn client(&self) -> &Client {
        &self.core
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

    /// Does all that can be done without waiting.
    fn turn(&mut self) -> io::Result<()> {
        let now = self.clock.now();
        match &mut self.transport {
            Transport::Fresh => self.dial(now)?,
            Transport::Down if self.core.reconnect_at().is_some_and(|at| now.mono >= at) => self.dial(now)?,
            Transport::Down => {}
            Transport::Dialling(dial) if self.core.is_over() => {
                self.poll.registry().deregister(&mut dial.stream)?;
                self.transport = Transport::Down;
            }
            Transport::Dialling(dial) if now.mono >= dial.deadline => {
                self.dial_failed(DialError::Timeout, now)?;
            }
            Transport::Dialling(_) => {}
            Transport::Up(_) => self.run_socket(now)?,
        }
        // After what has come was read: a caller that was away for long has not missed it.
        if self.core.poll_timeout().is_some_and(|at| now.mono >= at) {
            self.core.handle_timeout(now);
            self.run_socket(now)?;
        }
        Ok(())
    }

    fn run_socket(&mut self, now: Now) -> io::Result<()> {
        let Transport::Up(socket) = &mut self.transport else { return Ok(()) };
        let mut lost = None;
        for _ in 0..READS_MAX {
            if !socket.readable || !self.core.wants_read() {
                break;
            }
            match socket.stream.read(&mut self.buffer) {
                Ok(0) => {
                    socket.readable = false;
                    lost = Some(None);
                }
                Ok(n) => self.core.handle_bytes(&self.buffer[..n], now),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => socket.readable = false,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => {
                    socket.readable = false;
                    lost = Some(Some(e.to_string()));
                }
            }
        }
        if let Err(e) = socket.write(&mut self.core, now) {
            // A reset may have come behind a goodbye that is still to be read.
            lost = lost.or((!socket.readable).then(|| Some(e.to_string())));
            socket.writable = false;
        }
        if let Some(why) = lost {
            self.core.handle_eof(why, now);
        }
        if !self.core.wants_transport() {
            self.hang_up(now)?;
        }
        Ok(())
    }

    /// Lets the last words out as far as the system takes them at once, then closes.
    fn hang_up(&mut self, now: Now) -> io::Result<()> {
        if let Transport::Up(mut socket) = std::mem::replace(&mut self.transport, Transport::Down) {
            let _ = socket.write(&mut self.core, now);
            self.poll.registry().deregister(&mut socket.stream)?;
        }
        Ok(())
    }

    fn dial(&mut self, now: Now) -> io::Result<()> {
        let found = (self.address.host.as_str(), self.address.port).to_socket_addrs();
        match found {
            Ok(addresses) => self.dial_next(addresses.collect(), DialError::NoAddress, now),
            Err(e) => self.unreachable(DialError::Resolve(e), now),
        }
    }

    /// Tries the next address; `last` is what is said if there is none.
    fn dial_next(&mut self, mut rest: VecDeque<SocketAddr>, mut last: DialError, now: Now) -> io::Result<()> {
        while let Some(address) = rest.pop_front() {
            match TcpStream::connect(address) {
                Ok(mut stream) => {
                    let interest = Interest::READABLE | Interest::WRITABLE;
                    self.poll.registry().register(&mut stream, SOCKET, interest)?;
                    let deadline = now.mono + DIAL_TIME_MAX;
                    self.transport = Transport::Dialling(Dial { stream, deadline, rest });
                    return Ok(());
                }
                Err(e) => last = DialError::Connect(e),
            }
        }
        self.unreachable(last, now)
    }

    fn dial_failed(&mut self, why: DialError, now: Now) -> io::Result<()> {
        match std::mem::replace(&mut self.transport, Transport::Down) {
            Transport::Dialling(mut dial) => {
                self.poll.registry().deregister(&mut dial.stream)?;
                self.dial_next(dial.rest, why, now)
            }
            other => {
                self.transport = other;
                Ok(())
            }
        }
    }

    fn unreachable(&mut self, why: DialError, now: Now) -> io::Result<()> {
        self.transport = Transport::Down;
        self.core.handle_unreachable(why.say(&self.address), now);
        Ok(())
    }

    /// Whether a dial has come to an end, now that its stream is ready for something.
    fn dialled(&mut self) -> io::Result<()> {
        let Transport::Dialling(dial) = &mut self.transport else { return Ok(()) };
        let now = self.clock.now();
        let fault = match (dial.stream.take_error(), dial.stream.peer_addr()) {
            (Ok(Some(e)) | Err(e), _) => Some(e),
            (_, Ok(_)) => None,
            // Not yet connected.
            (_, Err(e)) if e.kind() == io::ErrorKind::NotConnected => return Ok(()),
            (_, Err(e)) => Some(e),
        };
        if let Some(e) = fault {
            return self.dial_failed(DialError::Connect(e), now);
        }
        if let Transport::Dialling(dial) = std::mem::replace(&mut self.transport, Transport::Down) {
            // Records are whole when they are written: waiting for more of them only delays.
            dial.stream.set_nodelay(true)?;
            let (stream, out) = (dial.stream, Transmit::new());
            self.transport = Transport::Up(Socket { stream, readable: true, writable: true, out });
            self.core.connect(now);
        }
        Ok(())
    }

    fn sleep(&mut self, deadline: Option<Mono>) -> io::Result<()> {
        let now = self.clock.mono();
        let (dial, can_work) = match &self.transport {
            Transport::Dialling(dial) => (Some(dial.deadline), false),
            Transport::Up(socket) => (None, socket.readable && self.core.wants_read()),
            _ => (self.core.reconnect_at(), false),
        };
        let next = [deadline, self.core.poll_timeout(), dial].into_iter().flatten().min();
        let timeout = if can_work { Some(Duration::ZERO) } else { next.map(|at| at.since(now)) };
        match self.poll.poll(&mut self.ready, timeout) {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => return Ok(()),
            result => result?,
        }
        let mut is_socket = false;
        for event in &self.ready {
            match (event.token(), &mut self.transport) {
                (WAKER, _) => self.woken = true,
                (_, Transport::Up(socket)) => {
                    socket.readable |= event.is_readable() || event.is_read_closed() || event.is_error();
                    socket.writable |= event.is_writable();
                }
                _ => is_socket = true,
            }
        }
        if is_socket { self.dialled() } else { Ok(()) }
    }
}

impl Socket {
    /// Writes what the core has, until it has no more or the system takes no more.
    fn write(&mut self, core: &mut Client, now: Now) -> io::Result<()> {
        while self.writable {
            if self.out.is_empty() && !core.poll_transmit(now, &mut self.out) {
                break;
            }
            let mut slices = [IoSlice::new(&[]); SLICES_MAX];
            let filled = self.out.slices(&mut slices);
            match self.stream.write_vectored(&slices[..filled]) {
                Ok(n) => self.out.advance(n),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => self.writable = false,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }
}

impl DialError {
    /// The problem and what to do about it.
    fn say(&self, address: &Address) -> String {
        match self {
            DialError::Resolve(e) => {
                format!("cannot find the host {}: {e}; is its name right (-h)?", address.host)
            }
            DialError::NoAddress => format!("the host {} has no address", address.host),
            DialError::Connect(e) if e.kind() == io::ErrorKind::ConnectionRefused => {
                format!("nothing listens on {address}; is sealmqd running there, and on this port (-h, -p)?")
            }
            DialError::Connect(e) => format!("cannot connect to {address}: {e}"),
            DialError::Timeout => format!(
                "no answer from {address} within {} s; is the host up, does a firewall let the port through?",
                DIAL_TIME_MAX.as_secs()
            ),
        }
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
