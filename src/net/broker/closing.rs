//! Sockets whose connection the core has forgotten: what was taken from the core is still
//! written, then the socket is closed.
//!
//! Closing at once would throw away what the peer has not read yet, such as the reason
//! for a refusal, whenever bytes of the peer lie unread (RFC 1122, 4.2.2.13). So our side
//! is ended first, and the peer's bytes are thrown away until it ends its own.

use std::collections::HashMap;
use std::io;
use std::net::Shutdown;
use std::time::Duration;

use mio::Token;
use mio::net::TcpStream;

use super::socket::{Socket, read, write};
use crate::base::Mono;
use crate::base::transmit::Transmit;

/// For the peer to take what is left.
const FLUSH_TIME: Duration = Duration::from_secs(5);
/// For the peer to end its side after that.
const LINGER_TIME: Duration = Duration::from_secs(1);
/// Bytes thrown away at one event; who sends more than this is not reading.
const DISCARD_READS: usize = 16;
/// Above so many sockets, one to which all is written is closed without waiting for its peer.
const LINGERING_MAX: usize = 1024;

/// Sockets on their way out, by token.
#[derive(Default)]
pub struct Closing(HashMap<Token, Parting>);

struct Parting {
    stream: TcpStream,
    out: Transmit,
    /// The peer has ended its side.
    peer_ended: bool,
    /// Ours is ended too.
    flushed: bool,
    deadline: Mono,
}

impl Closing {
    /// Takes a socket over. True if it is closed already.
    pub fn take(&mut self, token: Token, socket: Socket, buffer: &mut [u8], now: Mono) -> bool {
        let Socket { stream, out, ended, .. } = socket;
        let mut parting =
            Parting { stream, out, peer_ended: ended, flushed: false, deadline: now + FLUSH_TIME };
        let done = parting.go_on(buffer, now) || parting.flushed && self.0.len() >= LINGERING_MAX;
        if !done {
            self.0.insert(token, parting);
        }
        done
    }

    /// Goes on with the socket that an event is of. True if it is closed now.
    pub fn go_on(&mut self, token: Token, buffer: &mut [u8], now: Mono) -> bool {
        let done = self.0.get_mut(&token).is_some_and(|parting| parting.go_on(buffer, now));
        done && self.0.remove(&token).is_some()
    }

    /// Closes those whose time is over; true if there was one.
    pub fn handle_timeout(&mut self, now: Mono) -> bool {
        let before = self.0.len();
        self.0.retain(|_, parting| now < parting.deadline);
        self.0.len() < before
    }

    pub fn poll_timeout(&self) -> Option<Mono> {
        self.0.values().map(|parting| parting.deadline).min()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Parting {
    /// Writes, ends our side, reads on to the peer's end. True: the socket can be closed.
    fn go_on(&mut self, buffer: &mut [u8], now: Mono) -> bool {
        while !self.out.is_empty() {
            match write(&mut self.stream, &mut self.out) {
                Ok(n) if n > 0 => {}
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return false,
                _ => return true,
            }
        }
        if !self.flushed {
            self.flushed = true;
            self.deadline = now + LINGER_TIME;
            if self.peer_ended || self.stream.shutdown(Shutdown::Write).is_err() {
                return true;
            }
        }
        for _ in 0..DISCARD_READS {
            match read(&mut self.stream, buffer) {
                Ok(n) if n > 0 => {}
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return false,
                _ => return true,
            }
        }
        true
    }
}
