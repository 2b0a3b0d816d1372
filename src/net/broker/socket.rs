//! The sockets of live connections, under the broker's ids, and what each can do now.

use std::io::{self, IoSlice, Read, Write};

use mio::Token;
use mio::event::Event;
use mio::net::TcpStream;

use super::token;
use crate::base::ids::ConnId;
use crate::base::transmit::Transmit;

/// Chunks of one vectored write: a token and its bodies. As many as a record of 256 KiB has that are not
/// copied, nearly.
const SLICES: usize = 256;

/// A connection's socket. The bits are its own, for an edge that a budget left behind
/// brings no second event.
pub struct Socket {
    pub stream: TcpStream,
    /// What was taken from the core and not yet by the kernel.
    pub out: Transmit,
    pub readable: bool,
    pub writable: bool,
    /// The core has more output.
    pub has_output: bool,
    /// The peer ended its side, or the connection is lost.
    pub ended: bool,
    /// An event said that the peer has ended its side: read on to its end.
    read_closed: bool,
    /// In the queue of those to read from, or to write to.
    pub in_read_queue: bool,
    pub in_write_queue: bool,
}

/// What a read brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Received {
    Bytes(usize),
    Nothing,
    /// The peer's side is at its end, or the connection is lost.
    End,
}

/// What a write brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    /// So many bytes, maybe not all.
    Bytes(usize),
    /// The connection is lost.
    Lost,
}

/// Sockets by slot. A slot's socket is found under its own generation only.
#[derive(Default)]
pub struct Sockets(Vec<Option<(ConnId, Socket)>>);

impl Socket {
    /// A socket just accepted: to be tried, without waiting for the first event.
    pub fn new(stream: TcpStream) -> Socket {
        Socket {
            stream,
            out: Transmit::new(),
            readable: true,
            writable: true,
            has_output: false,
            ended: false,
            read_closed: false,
            in_read_queue: false,
            in_write_queue: false,
        }
    }

    /// Takes over what an event says.
    pub fn note(&mut self, event: &Event) {
        // After an error both pumps try, and find out what it was.
        let broken = event.is_error();
        self.readable |= !self.ended && (event.is_readable() || event.is_read_closed() || broken);
        self.writable |= event.is_writable() || event.is_write_closed() || broken;
        self.read_closed |= event.is_read_closed() || broken;
    }

    pub fn wants_write(&self) -> bool {
        self.writable && (self.has_output || !self.out.is_empty())
    }

    /// One read of at most the buffer's size.
    pub fn receive(&mut self, buffer: &mut [u8]) -> Received {
        match read(&mut self.stream, buffer) {
            Ok(0) => self.end(),
            Ok(n) => {
                // A short read has emptied the kernel's buffer (epoll(7), question 9), but the
                // end of the stream may stand behind it without another event.
                self.readable = n == buffer.len() || self.read_closed;
                Received::Bytes(n)
            }
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                self.readable = false;
                Received::Nothing
            }
            Err(_) => self.end(),
        }
    }

    /// One vectored write of what is in `out`.
    pub fn send(&mut self) -> Sent {
        match write(&mut self.stream, &mut self.out) {
            Ok(n) => Sent::Bytes(n),
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                self.writable = false;
                Sent::Bytes(0)
            }
            Err(_) => {
                self.writable = false;
                self.end();
                self.out = Transmit::new();
                Sent::Lost
            }
        }
    }

    fn end(&mut self) -> Received {
        self.readable = false;
        self.ended = true;
        Received::End
    }
}

impl Sockets {
    /// Keeps a new connection's socket. The core gives a slot away only after it has closed
    /// the owner before.
    pub fn insert(&mut self, id: ConnId, socket: Socket) {
        let slot = id.slot as usize;
        if self.0.len() <= slot {
            self.0.resize_with(slot + 1, || None);
        }
        debug_assert!(self.0[slot].is_none(), "{id}: the slot is still taken");
        self.0[slot] = Some((id, socket));
    }

    pub fn socket_mut(&mut self, id: ConnId) -> Option<&mut Socket> {
        match self.0.get_mut(id.slot as usize)? {
            Some((owner, socket)) if *owner == id => Some(socket),
            _ => None,
        }
    }

    /// The live connection that an event is of.
    pub fn owner(&self, token: Token) -> Option<ConnId> {
        let (id, _) = self.0.get(token::slot(token))?.as_ref()?;
        (token::connection(*id) == token).then_some(*id)
    }

    pub fn remove(&mut self, id: ConnId) -> Option<Socket> {
        let place = self.0.get_mut(id.slot as usize)?;
        let (_, socket) = place.take_if(|(owner, _)| *owner == id)?;
        Some(socket)
    }

    /// Looks at every slot: for the end of the broker's life.
    pub fn is_empty(&self) -> bool {
        self.0.iter().all(Option::is_none)
    }
}

/// One read, again after a signal.
pub fn read(stream: &mut TcpStream, buffer: &mut [u8]) -> io::Result<usize> {
    loop {
        match stream.read(buffer) {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

/// One vectored write from the front of `out`, again after a signal.
pub fn write(stream: &mut TcpStream, out: &mut Transmit) -> io::Result<usize> {
    loop {
        let mut slices = [IoSlice::new(&[]); SLICES];
        let filled = out.slices(&mut slices);
        match stream.write_vectored(&slices[..filled]) {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Ok(n) => {
                out.advance(n);
                return Ok(n);
            }
            Err(e) => return Err(e),
        }
    }
}
