//! The broker's driver: one thread, one poll loop around the core.
//!
//! Each turn of the loop is in a fixed order: poll, signals, accept, read, the core's turn,
//! its events, write, close. Every step has a budget, so that no peer holds up the others;
//! what a budget leaves stands in a queue, and the next poll does not wait.
//!
//! The store works on a thread of its own and wakes the poll when it has something; the core's
//! turn takes it. When the store has failed, the loop ends before that turn's output is written.
//!
//! Knows sockets, signals and files' times; it must not know frames, keys or topics, and
//! reads no file.

mod closing;
mod descriptors;
mod listener;
mod poller;
mod signals;
mod socket;
mod spin;
mod token;
mod watch;

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::num::NonZero;
use std::time::Duration;

use mio::{Events, Interest};

pub use descriptors::{connections_within, raise_limit};
pub use listener::{ListenError, Listeners};
pub use poller::Poller;
pub use signals::survive_size_limits;
pub use token::LISTENERS_MAX;
pub use watch::Watch;

use super::Clock;
use crate::base::ids::ConnId;
use crate::base::transmit::Transmit;
use crate::base::{Mono, Now};
use crate::broker::{Broker, BrokerEvent};
use closing::Closing;
use signals::{Request, Signals};
use socket::{Received, Sent, Socket, Sockets};
use spin::Spin;
use token::Source;

/// Connections accepted in one tick.
const ACCEPTS_PER_TICK: usize = 64;
/// Bytes read from one connection in a tick, and the size of the buffer that all share.
const READ_BYTES: usize = 64 * 1024;
/// Bytes read from all connections in a tick; the rest have their turn in the next.
const READ_BYTES_PER_TICK: usize = 1024 * 1024;
/// Bytes written to one connection in a tick, and to all.
const WRITE_BYTES: usize = 256 * 1024;
const WRITE_BYTES_PER_TICK: usize = 4 * 1024 * 1024;
/// Room kept for output: a record of small bodies, and as much again as a vector grows.
const SPARE_BYTES_MAX: usize = 1024 * 1024;
/// Events taken from one poll; the kernel keeps the rest.
const EVENTS_PER_TICK: usize = 1024;
/// For clients to take what they are owed when the broker ends.
const DRAIN_TIME: Duration = Duration::from_secs(5);

/// A broker with its sockets.
pub struct Server {
    core: Broker,
    clock: Clock,
    poller: Poller,
    signals: Signals,
    listeners: Listeners,
    sockets: Sockets,
    closing: Closing,
    watch: Watch,
    /// Connections that may be read from and written to, each at most once, served in turn.
    to_read: VecDeque<ConnId>,
    to_write: VecDeque<ConnId>,
    /// Shared by all connections, so that an idle one costs nothing.
    buffer: Vec<u8>,
    /// The same for output: empty but for its room, and lent to the connection that is written to.
    spare_out: Transmit,
    /// When ending, the time after which nobody is waited for.
    drain_until: Option<Mono>,
    work_left: bool,
    spin: Spin,
}

/// What the loop comes back with to whoever runs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum News {
    /// SIGHUP came.
    ReloadAsked,
    /// A watched file or folder has changed.
    FilesChanged,
    /// The broker has ended as asked.
    Stopped,
    /// The core's store has failed, see [`Broker::store_failure`]: nothing is written any more,
    /// for nobody knows what of it is on the disk.
    StoreFailed,
}

impl Server {
    /// Puts a core behind listening sockets. `watch` has the files whose change is news, as
    /// they were before the core's makers read them.
    pub fn new(
        poller: Poller,
        core: Broker,
        clock: Clock,
        mut listeners: Listeners,
        watch: Watch,
    ) -> io::Result<Server> {
        let registry = poller.poll.registry();
        let signals = Signals::register(registry, token::SIGNALS)?;
        listeners.register(registry)?;
        Ok(Server {
            core,
            clock,
            poller,
            signals,
            listeners,
            sockets: Sockets::default(),
            closing: Closing::default(),
            watch,
            to_read: VecDeque::new(),
            to_write: VecDeque::new(),
            buffer: vec![0; READ_BYTES],
            spare_out: Transmit::new(),
            drain_until: None,
            work_left: true,
            spin: Spin::new(std::thread::available_parallelism().map_or(1, NonZero::get)),
        })
    }

    /// The addresses served, with their real ports.
    pub fn addresses(&self) -> impl Iterator<Item = SocketAddr> {
        self.listeners.addresses()
    }

    pub fn core(&self) -> &Broker {
        &self.core
    }

    /// The core, to be told what the news brought; what that leads to is done without waiting.
    pub fn core_mut(&mut self) -> &mut Broker {
        self.work_left = true;
        &mut self.core
    }

    pub fn now(&self) -> Now {
        self.clock.now()
    }

    /// Serves until there is news. An error is one of the poll itself, after which no socket
    /// can be served.
    pub fn run(&mut self) -> io::Result<News> {
        let mut events = Events::with_capacity(EVENTS_PER_TICK);
        loop {
            if let Some(news) = self.tick(&mut events)? {
                return Ok(news);
            }
        }
    }

    fn tick(&mut self, events: &mut Events) -> io::Result<Option<News>> {
        self.wait(events)?;
        let now = self.clock.now();
        let signalled = self.note(events, now.mono);
        if signalled && let Some(news) = self.obey_signals(now) {
            self.work_left = true; // What else the poll brought is served after the news.
            return Ok(Some(news));
        }
        self.accept(now);
        self.read(now);
        self.work_left = self.core.turn(now);
        if self.core.store_failure().is_some() {
            return Ok(Some(News::StoreFailed));
        }
        self.drain_events(now.mono);
        self.write(now);
        // Writing makes room, which may end a wait or a connection.
        self.drain_events(now.mono);
        if self.closing.handle_timeout(now.mono) {
            self.listeners.resume();
        }
        self.work_left |= !self.to_read.is_empty() || !self.to_write.is_empty();
        self.work_left |= self.listeners.is_ready() && self.core.can_accept();
        Ok(self.take_news(now.mono))
    }

    fn wait(&mut self, events: &mut Events) -> io::Result<()> {
        if self.work_left {
            return self.poll(events, Some(Duration::ZERO));
        }
        let timeout = self.timeout();
        if let Some(window) = self.spin.window(timeout) {
            return self.look_then_sleep(events, window);
        }
        let began = self.clock.mono();
        self.poll(events, timeout)?;
        self.spin.note_slept(self.clock.mono().since(began));
        Ok(())
    }

    fn look_then_sleep(&mut self, events: &mut Events, window: Duration) -> io::Result<()> {
        let until = self.clock.mono() + window;
        while self.clock.mono() < until {
            self.poll(events, Some(Duration::ZERO))?;
            if !events.is_empty() {
                self.spin.note_caught();
                return Ok(());
            }
        }
        self.spin.note_in_vain();
        self.poll(events, self.timeout())
    }

    fn poll(&mut self, events: &mut Events, timeout: Option<Duration>) -> io::Result<()> {
        match self.poller.poll.poll(events, timeout) {
            // A signal: its own event follows.
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {
                events.clear();
                Ok(())
            }
            result => result,
        }
    }

    fn timeout(&self) -> Option<Duration> {
        let deadlines = [
            self.core.poll_timeout(),
            // While the core takes nobody, there is nothing to try again for.
            self.listeners.poll_timeout().filter(|_| self.core.can_accept()),
            self.closing.poll_timeout(),
            // A broker that ends reads no files any more.
            self.watch.poll_timeout().filter(|_| self.drain_until.is_none()),
            self.drain_until,
        ];
        let next = deadlines.into_iter().flatten().min()?;
        Some(next.since(self.clock.mono()))
    }

    /// Sets the bits that the events are of. True: signals are pending.
    fn note(&mut self, events: &Events, now: Mono) -> bool {
        let mut signalled = false;
        for event in events {
            match token::source(event.token()) {
                Source::Signals => signalled = true,
                // The core's turn, which follows, takes what there is.
                Source::Waker => {}
                Source::Listener(index) => self.listeners.mark_ready(index),
                Source::Connection(token) => match self.sockets.owner(token) {
                    Some(id) => {
                        if let Some(socket) = self.sockets.socket_mut(id) {
                            socket.note(event);
                        }
                        self.queue(id);
                    }
                    None => {
                        if self.closing.go_on(token, &mut self.buffer, now) {
                            self.listeners.resume();
                        }
                    }
                },
            }
        }
        signalled
    }

    /// Puts a connection into the queues where it has something to do.
    fn queue(&mut self, id: ConnId) {
        let Some(socket) = self.sockets.socket_mut(id) else { return };
        if socket.readable && !socket.in_read_queue && self.core.wants_read(id) {
            socket.in_read_queue = true;
            self.to_read.push_back(id);
        }
        if socket.wants_write() && !socket.in_write_queue {
            socket.in_write_queue = true;
            self.to_write.push_back(id);
        }
    }

    fn obey_signals(&mut self, now: Now) -> Option<News> {
        let mut news = None;
        for request in self.signals.pending() {
            match request {
                Request::Report => self.core.report(now).iter().for_each(|line| log::info!("{line}")),
                Request::Reload => {
                    // What comes now need not come again as a change.
                    self.watch.look(now.mono);
                    news = news.or(Some(News::ReloadAsked));
                }
                Request::Stop if self.drain_until.is_some() => {
                    log::warn!("a second signal: ending without waiting for clients");
                    news = Some(News::Stopped);
                }
                Request::Stop => self.stop(now),
            }
        }
        news
    }

    /// Takes no more connections and tells the clients; the loop ends when all is written.
    fn stop(&mut self, now: Now) {
        log::info!("ending: telling the clients");
        self.drain_until = Some(now.mono + DRAIN_TIME);
        self.listeners.close();
        self.core.shutdown(now);
    }

    fn take_news(&mut self, now: Mono) -> Option<News> {
        if let Some(until) = self.drain_until {
            let told = self.core.is_drained() && self.sockets.is_empty() && self.closing.is_empty();
            if !told && now >= until {
                log::warn!("some clients did not take their goodbye within {} s", DRAIN_TIME.as_secs());
            }
            return (told || now >= until).then_some(News::Stopped);
        }
        self.watch.is_changed(now).then_some(News::FilesChanged)
    }

    fn accept(&mut self, now: Now) {
        for _ in 0..ACCEPTS_PER_TICK {
            if !self.core.can_accept() {
                return;
            }
            let Some((mut stream, peer)) = self.listeners.accept(now.mono) else { return };
            let id = self.core.accept(peer, now);
            // Without it small records wait for acknowledgements; a failure costs only that wait.
            let _ = stream.set_nodelay(true);
            let interest = Interest::READABLE | Interest::WRITABLE;
            let registered =
                self.poller.poll.registry().register(&mut stream, token::connection(id), interest);
            self.sockets.insert(id, Socket::new(stream));
            match registered {
                Ok(()) => self.queue(id),
                Err(e) => {
                    log::warn!("{id} {peer}: cannot be polled: {e}");
                    self.core.handle_eof(id, now);
                }
            }
        }
    }

    fn read(&mut self, now: Now) {
        let mut budget = READ_BYTES_PER_TICK;
        for _ in 0..self.to_read.len() {
            if budget == 0 {
                return;
            }
            let Some(id) = self.to_read.pop_front() else { return };
            let Some(socket) = self.sockets.socket_mut(id) else { continue };
            socket.in_read_queue = false;
            let wanted = self.core.read_limit(id).min(READ_BYTES);
            if wanted == 0 {
                continue;
            }
            match socket.receive(&mut self.buffer[..wanted]) {
                Received::Bytes(n) => {
                    budget = budget.saturating_sub(n);
                    self.core.handle_bytes(id, &self.buffer[..n], now);
                    self.queue(id);
                }
                Received::Nothing => {}
                Received::End => self.core.handle_eof(id, now),
            }
        }
    }

    fn drain_events(&mut self, now: Mono) {
        while let Some(event) = self.core.poll_event() {
            match event {
                BrokerEvent::Readable(id) => self.queue(id),
                BrokerEvent::Transmit(id) => {
                    if let Some(socket) = self.sockets.socket_mut(id) {
                        socket.has_output = true;
                    }
                    self.queue(id);
                }
                BrokerEvent::Close(id) => self.close(id, now),
            }
        }
    }

    fn close(&mut self, id: ConnId, now: Mono) {
        let Some(socket) = self.sockets.remove(id) else { return };
        if self.closing.take(token::connection(id), socket, &mut self.buffer, now) {
            self.listeners.resume();
        }
    }

    fn write(&mut self, now: Now) {
        let mut budget = WRITE_BYTES_PER_TICK;
        for _ in 0..self.to_write.len() {
            if budget == 0 {
                return;
            }
            let Some(id) = self.to_write.pop_front() else { return };
            budget = budget.saturating_sub(self.write_to(id, now));
        }
    }

    /// Pulls output from the core as the socket takes it; returns the bytes written.
    fn write_to(&mut self, id: ConnId, now: Now) -> usize {
        let Some(socket) = self.sockets.socket_mut(id) else { return 0 };
        socket.in_write_queue = false;
        if socket.out.is_empty() {
            std::mem::swap(&mut socket.out, &mut self.spare_out);
        }
        let mut written = 0;
        while written < WRITE_BYTES && socket.writable {
            if socket.out.is_empty() {
                socket.has_output = self.core.poll_transmit(id, now, &mut socket.out);
                if !socket.has_output {
                    break;
                }
            }
            match socket.send() {
                Sent::Bytes(0) => break,
                Sent::Bytes(n) => written += n,
                Sent::Lost => {
                    self.core.handle_eof(id, now);
                    break;
                }
            }
        }
        if socket.out.is_empty() {
            let emptied = std::mem::take(&mut socket.out);
            if (self.spare_out.capacity()..=SPARE_BYTES_MAX).contains(&emptied.capacity()) {
                self.spare_out = emptied;
            }
        }
        self.queue(id);
        written
    }
}
