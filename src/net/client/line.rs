//! One client core and its stream, registered with somebody's poll: dials, reads, writes.

use std::collections::VecDeque;
use std::io::{self, IoSlice, Read, Write};
use std::net::{SocketAddr, ToSocketAddrs};
use std::time::Duration;

use mio::net::TcpStream;
use mio::{Interest, Registry, Token};

use super::Address;
use crate::base::transmit::Transmit;
use crate::base::{Mono, Now};
use crate::client::Client;

/// A core, and the way to its broker. Whoever polls tells it what its token is ready for.
pub struct Line {
    pub core: Client,
    token: Token,
    transport: Transport,
}

/// What a turn takes from whoever drives the line.
pub struct Turn<'a> {
    pub now: Now,
    pub address: &'a Address,
    pub registry: &'a Registry,
    /// For one read: nothing stays in it.
    pub buffer: &'a mut [u8],
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

/// How long one address may take to answer.
const DIAL_TIME_MAX: Duration = Duration::from_secs(10);
/// What a buffer for reads should hold.
pub const READ_BYTES: usize = 64 * 1024;
/// Reads before the events that they brought are handed out.
const READS_MAX: usize = 16;
/// Chunks of one vectored write.
const SLICES_MAX: usize = 64;

impl Line {
    /// Nothing is dialled before the first [`Line::turn`].
    pub fn new(core: Client, token: Token) -> Line {
        Line { core, token, transport: Transport::Fresh }
    }

    /// Does all that can be done without waiting.
    pub fn turn(&mut self, turn: &mut Turn<'_>) -> io::Result<()> {
        let now = turn.now;
        match &mut self.transport {
            Transport::Fresh => self.dial(turn)?,
            Transport::Down if self.core.reconnect_at().is_some_and(|at| now.mono >= at) => {
                self.dial(turn)?
            }
            Transport::Down => {}
            Transport::Dialling(dial) if self.core.is_over() => {
                turn.registry.deregister(&mut dial.stream)?;
                self.transport = Transport::Down;
            }
            Transport::Dialling(dial) if now.mono >= dial.deadline => {
                self.dial_failed(DialError::Timeout, turn)?;
            }
            Transport::Dialling(_) => {}
            Transport::Up(_) => self.run_socket(turn)?,
        }
        // After what has come was read: a caller that was away for long has not missed it.
        if self.core.poll_timeout().is_some_and(|at| now.mono >= at) {
            self.core.handle_timeout(now);
            self.run_socket(turn)?;
        }
        Ok(())
    }

    fn run_socket(&mut self, turn: &mut Turn<'_>) -> io::Result<()> {
        let Transport::Up(socket) = &mut self.transport else { return Ok(()) };
        let now = turn.now;
        let mut lost = None;
        for _ in 0..READS_MAX {
            if !socket.readable || !self.core.wants_read() {
                break;
            }
            match socket.stream.read(turn.buffer) {
                Ok(0) => {
                    socket.readable = false;
                    lost = Some(None);
                }
                Ok(n) => self.core.handle_bytes(&turn.buffer[..n], now),
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
            self.hang_up(turn)?;
        }
        Ok(())
    }

    /// Lets the last words out as far as the system takes them at once, then closes.
    fn hang_up(&mut self, turn: &Turn<'_>) -> io::Result<()> {
        if let Transport::Up(mut socket) = std::mem::replace(&mut self.transport, Transport::Down) {
            let _ = socket.write(&mut self.core, turn.now);
            turn.registry.deregister(&mut socket.stream)?;
        }
        Ok(())
    }

    fn dial(&mut self, turn: &Turn<'_>) -> io::Result<()> {
        let found = (turn.address.host.as_str(), turn.address.port).to_socket_addrs();
        match found {
            Ok(addresses) => self.dial_next(addresses.collect(), DialError::NoAddress, turn),
            Err(e) => self.unreachable(DialError::Resolve(e), turn),
        }
    }

    /// Tries the next address; `last` is what is said if there is none.
    fn dial_next(
        &mut self,
        mut rest: VecDeque<SocketAddr>,
        mut last: DialError,
        turn: &Turn<'_>,
    ) -> io::Result<()> {
        while let Some(address) = rest.pop_front() {
            match TcpStream::connect(address) {
                Ok(mut stream) => {
                    let interest = Interest::READABLE | Interest::WRITABLE;
                    turn.registry.register(&mut stream, self.token, interest)?;
                    let deadline = turn.now.mono + DIAL_TIME_MAX;
                    self.transport = Transport::Dialling(Dial { stream, deadline, rest });
                    return Ok(());
                }
                Err(e) => last = DialError::Connect(e),
            }
        }
        self.unreachable(last, turn)
    }

    fn dial_failed(&mut self, why: DialError, turn: &Turn<'_>) -> io::Result<()> {
        match std::mem::replace(&mut self.transport, Transport::Down) {
            Transport::Dialling(mut dial) => {
                turn.registry.deregister(&mut dial.stream)?;
                self.dial_next(dial.rest, why, turn)
            }
            other => {
                self.transport = other;
                Ok(())
            }
        }
    }

    fn unreachable(&mut self, why: DialError, turn: &Turn<'_>) -> io::Result<()> {
        self.transport = Transport::Down;
        self.core.handle_unreachable(why.say(turn.address), turn.now);
        Ok(())
    }

    /// Whether a dial has come to an end, now that its stream is ready for something.
    fn dialled(&mut self, turn: &Turn<'_>) -> io::Result<()> {
        let Transport::Dialling(dial) = &mut self.transport else { return Ok(()) };
        let fault = match (dial.stream.take_error(), dial.stream.peer_addr()) {
            (Ok(Some(e)) | Err(e), _) => Some(e),
            (_, Ok(_)) => None,
            // Not yet connected.
            (_, Err(e)) if e.kind() == io::ErrorKind::NotConnected => return Ok(()),
            (_, Err(e)) => Some(e),
        };
        if let Some(e) = fault {
            return self.dial_failed(DialError::Connect(e), turn);
        }
        if let Transport::Dialling(dial) = std::mem::replace(&mut self.transport, Transport::Down) {
            // Records are whole when they are written: waiting for more of them only delays.
            dial.stream.set_nodelay(true)?;
            let (stream, out) = (dial.stream, Transmit::new());
            self.transport = Transport::Up(Socket { stream, readable: true, writable: true, out });
            self.core.connect(turn.now);
        }
        Ok(())
    }

    /// What the poll says of the stream.
    pub fn handle_ready(&mut self, event: &mio::event::Event, turn: &mut Turn<'_>) -> io::Result<()> {
        match &mut self.transport {
            Transport::Up(socket) => {
                socket.readable |= event.is_readable() || event.is_read_closed() || event.is_error();
                socket.writable |= event.is_writable();
                Ok(())
            }
            _ => self.dialled(turn),
        }
    }

    /// When it wants its next turn, though nothing may have come.
    pub fn poll_timeout(&self) -> Option<Mono> {
        let transport = match &self.transport {
            Transport::Dialling(dial) => Some(dial.deadline),
            Transport::Up(_) => None,
            _ => self.core.reconnect_at(),
        };
        [self.core.poll_timeout(), transport].into_iter().flatten().min()
    }

    /// Whether there is more to read at once.
    pub fn can_work(&self) -> bool {
        matches!(&self.transport, Transport::Up(socket) if socket.readable && self.core.wants_read())
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
