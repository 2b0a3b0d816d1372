//! Many clients in one poll loop, on this thread. Counts the bytes at the sockets. Knows no protocol.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};

use crate::process;
use crate::talk::{Seen, Talk};

pub struct Swarm {
    poll: Poll,
    events: Events,
    links: Vec<Link>,
    buffer: Vec<u8>,
    broker: SocketAddr,
    /// Whether the CPU time of each client's own work is taken; that costs two system calls a read.
    pub is_timed: bool,
}

/// One client and its socket.
pub struct Link {
    stream: TcpStream,
    talk: Box<dyn Talk>,
    out: Vec<u8>,
    written: usize,
    /// Set by the poll, cleared when the socket takes no more.
    is_writable: bool,
    pub seen: Seen,
    pub bytes_down: u64,
    pub bytes_up: u64,
    /// Spent on what came, if that is taken.
    pub cpu: Duration,
}

/// Large enough that one read takes what a socket holds.
const READ_BYTES: usize = 512 * 1024;
/// A broker from which nothing comes for so long has lost something.
const SILENCE_MAX: Duration = Duration::from_secs(15);

impl Swarm {
    pub fn new(port: u16) -> Result<Swarm> {
        Ok(Swarm {
            poll: Poll::new()?,
            events: Events::with_capacity(1024),
            links: Vec::new(),
            buffer: vec![0; READ_BYTES],
            broker: (Ipv4Addr::LOCALHOST, port).into(),
            is_timed: false,
        })
    }

    /// Begins a connection; says its index.
    pub fn dial(&mut self, talk: Box<dyn Talk>) -> Result<usize> {
        let mut stream = TcpStream::connect(self.broker)?;
        let token = Token(self.links.len());
        self.poll.registry().register(&mut stream, token, Interest::READABLE | Interest::WRITABLE)?;
        // What is written is whole: waiting for more of it would only delay it.
        stream.set_nodelay(true)?;
        self.links.push(Link {
            stream,
            talk,
            out: Vec::new(),
            written: 0,
            is_writable: false,
            seen: Seen::default(),
            bytes_down: 0,
            bytes_up: 0,
            cpu: Duration::ZERO,
        });
        Ok(token.0)
    }

    pub fn link(&self, index: usize) -> &Link {
        &self.links[index]
    }

    pub fn links(&self) -> &[Link] {
        &self.links
    }

    pub fn publish(&mut self, index: usize, count: u64) -> Result<()> {
        self.links[index].talk.publish(count)?;
        self.links[index].write()
    }

    /// Has a client ask for messages that it did not ask for when it connected.
    pub fn subscribe(&mut self, index: usize, topic: &'static str, first: u64) -> Result<()> {
        self.links[index].talk.subscribe(topic, first)?;
        self.links[index].write()
    }

    /// Ends a connection; its link stays, with what it has seen.
    pub fn hang_up(&mut self, index: usize) -> Result<()> {
        let stream = &mut self.links[index].stream;
        self.poll.registry().deregister(stream)?;
        Ok(stream.shutdown(std::net::Shutdown::Both)?)
    }

    /// Turns the loop until `is_done`, which may publish, says so.
    pub fn until(&mut self, what: &str, mut is_done: impl FnMut(&mut Swarm) -> Result<bool>) -> Result<()> {
        let mut heard = Instant::now();
        while !is_done(self)? {
            match self.turn(SILENCE_MAX)? {
                true => heard = Instant::now(),
                false => ensure!(heard.elapsed() < SILENCE_MAX, "nothing came for {SILENCE_MAX:?}, {what}"),
            }
        }
        Ok(())
    }

    /// Turns the loop for a while, so that whoever is asked answers.
    pub fn rest(&mut self, time: Duration) -> Result<()> {
        let end = Instant::now() + time;
        while let Some(left) = end.checked_duration_since(Instant::now()) {
            self.turn(left)?;
        }
        Ok(())
    }

    /// One round of the loop; says whether anything happened.
    fn turn(&mut self, timeout: Duration) -> Result<bool> {
        match self.poll.poll(&mut self.events, Some(timeout)) {
            Err(e) if e.kind() == ErrorKind::Interrupted => return Ok(false),
            result => result?,
        }
        for event in &self.events {
            let index = event.token().0;
            let link = &mut self.links[index];
            link.is_writable |= event.is_writable();
            if event.is_readable() || event.is_read_closed() || event.is_error() {
                link.read(&mut self.buffer, self.is_timed).with_context(|| format!("client {index}"))?;
            }
            link.write().with_context(|| format!("client {index}"))?;
        }
        Ok(!self.events.is_empty())
    }
}

impl Link {
    /// Reads until the socket has no more. A read that does not fill the buffer has emptied the socket.
    fn read(&mut self, buffer: &mut [u8], is_timed: bool) -> Result<()> {
        loop {
            let n = match self.stream.read(buffer) {
                Ok(0) => anyhow::bail!("the broker closed the connection"),
                Ok(n) => n,
                Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(e) if e.kind() == ErrorKind::Interrupted => continue,
                Err(e) => return Err(e.into()),
            };
            self.bytes_down += n as u64;
            if self.talk.acks_at_once() {
                // The kernel forgets it after a while.
                socket2::SockRef::from(&self.stream).set_tcp_quickack(true)?;
            }
            let began = if is_timed { process::thread_cpu()? } else { Duration::ZERO };
            self.talk.take(&buffer[..n], &mut self.seen)?;
            if is_timed {
                self.cpu += process::thread_cpu()? - began;
            }
            if n < buffer.len() {
                return Ok(());
            }
        }
    }

    /// Writes what there is, as far as the socket takes it.
    fn write(&mut self) -> Result<()> {
        while self.is_writable {
            if self.written == self.out.len() {
                self.out.clear();
                self.written = 0;
                self.talk.give(&mut self.out)?;
                if self.out.is_empty() {
                    break;
                }
            }
            match self.stream.write(&self.out[self.written..]) {
                Ok(n) => {
                    self.written += n;
                    self.bytes_up += n as u64;
                }
                Err(e) if e.kind() == ErrorKind::WouldBlock || not_yet(&e) => self.is_writable = false,
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return Err(e.into()),
            }
        }
        Ok(())
    }
}

/// A connection that is still being made.
fn not_yet(e: &io::Error) -> bool {
    e.kind() == ErrorKind::NotConnected
}
