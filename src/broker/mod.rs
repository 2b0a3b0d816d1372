//! The broker's core: connections, the handshake within its RSA budget, commands, topics, delivery.
//!
//! There is no socket here, no clock and no randomness of its own. A driver (`net`, or the
//! simulator) calls it so, in every turn of its loop:
//!
//! > `accept` and `handle_bytes` as things come, then `turn`, then `poll_event` until it is
//! > empty, then `poll_transmit` for each connection that has output and can take it. Sleep no
//! > longer than `poll_timeout`, and not at all if `turn` said that work is left over.

mod admission;
mod clients;
mod commands;
mod config;
mod connection;
mod deadlines;
mod handshakes;
#[cfg(any(test, feature = "testing"))]
pub mod lies;
mod output;
mod processor;
mod report;
mod spares;
mod timers;

#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use slab::Slab;

pub use self::config::{BrokerConfig, Identity};
pub use self::processor::RestoreFault;

use self::admission::Admission;
use self::connection::{Connection, State};
use self::processor::Processor;
use self::report::Counters;
use self::spares::Spares;
use self::timers::Timers;
use crate::base::ids::ConnId;
use crate::base::limits::{INBOX_FREE_BYTES, INBOX_POOL_BYTES_MAX, RECORD_BODIES_BYTES_MAX, TOKEN_BYTES_MAX};
use crate::base::{Entropy, Mono, Now};
use crate::crypto::cert::{CertFault, Role, Trust};
use crate::session::budget::RsaBudget;
use crate::store::{Contents, Store};
use crate::wire::values::CloseCode;

pub struct Broker {
    config: BrokerConfig,
    identity: Identity,
    trust: Trust,
    entropy: Box<dyn Entropy>,
    processor: Processor,
    connections: Slab<Connection>,
    /// How many owers each slot has had.
    generations: Vec<u32>,
    admission: Admission,
    budget: RsaBudget,
    /// Handshakes with a step to take, those under way before new ones.
    steps: VecDeque<ConnId>,
    /// Hellos that wait for a signature.
    hellos: VecDeque<ConnId>,
    /// Active connections with input.
    input: VecDeque<ConnId>,
    /// Active connections whose next command waits for the RSA budget.
    deferred: Vec<ConnId>,
    /// Active connections whose input waits for room.
    roomless: VecDeque<ConnId>,
    /// Bytes of input held beyond each connection's free share.
    pooled: usize,
    timers: Timers,
    events: VecDeque<BrokerEvent>,
    /// Connections to be removed at the end of the turn.
    dying: Vec<ConnId>,
    shutting_down: bool,
    last_turn: Now,
    counters: Counters,
    spares: Spares,
    /// Bodies of the record being made; empty but for its room.
    bodies: Vec<std::sync::Arc<[u8]>>,
    /// Of a broker that is to be caught.
    #[cfg(any(test, feature = "testing"))]
    liar: Option<Box<dyn lies::Liar>>,
}

/// What a driver is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BrokerEvent {
    /// The connection has output: call `poll_transmit` once its socket is writable.
    Transmit(ConnId),
    /// `wants_read` may have become true again.
    Readable(ConnId),
    /// The id is dead: write what was taken with `poll_transmit`, then close the socket.
    Close(ConnId),
}

impl Broker {
    pub fn new(
        config: BrokerConfig,
        identity: Identity,
        trust: Trust,
        store: Box<dyn Store>,
        entropy: Box<dyn Entropy>,
        now: Now,
    ) -> Broker {
        let mut processor = Processor::new(config.clone(), store);
        processor.set_crl(crl_of(&trust));
        Broker {
            admission: Admission::new(&config),
            config,
            identity,
            trust,
            entropy,
            processor,
            connections: Slab::new(),
            generations: Vec::new(),
            budget: RsaBudget::new(now.mono),
            steps: VecDeque::new(),
            hellos: VecDeque::new(),
            input: VecDeque::new(),
            deferred: Vec::new(),
            roomless: VecDeque::new(),
            pooled: 0,
            timers: Timers::default(),
            events: VecDeque::new(),
            dying: Vec::new(),
            shutting_down: false,
            last_turn: now,
            counters: Counters::default(),
            spares: Spares::default(),
            bodies: Vec::new(),
            #[cfg(any(test, feature = "testing"))]
            liar: None,
        }
    }

    /// Takes over what the store had at its start. To be called once, before anything else.
    pub fn restore(&mut self, contents: Contents, now: Now) -> Result<(), RestoreFault> {
        self.processor.restore(contents, &self.trust, now)
    }

    /// Why nothing will be stored any more: the process is to stop, and answers nothing more.
    pub fn store_failure(&self) -> Option<&str> {
        self.processor.store_failure()
    }

    /// Makes a client known that has not connected yet, from its certificate in DER.
    pub fn know_client(&mut self, der: &[u8], now: Now) -> Result<(), CertFault> {
        let certificate = self.trust.verify(der, Role::Client, now.wall)?;
        if !self.processor.know(&certificate, None) {
            log::warn!("too many clients are known to remember {}", certificate.name());
        }
        Ok(())
    }

    /// Whether a connection may be accepted; otherwise the listener is left unread.
    pub fn can_accept(&self) -> bool {
        !self.shutting_down && self.admission.can_accept(self.connections.len())
    }

    /// A peer has connected.
    pub fn accept(&mut self, peer: SocketAddr, now: Now) -> ConnId {
        let entry = self.connections.vacant_entry();
        let slot = entry.key();
        if slot == self.generations.len() {
            self.generations.push(0);
        }
        let id = ConnId { slot: slot as u32, generation: self.generations[slot] };
        entry.insert(Connection::new(id, peer.ip(), now));
        self.counters.accepted += 1;
        let admitted = self.admission.enter(id, peer.ip(), self.connections.len());
        self.arm(id, now);
        if !admitted {
            self.refuse_busy(id, now);
        }
        id
    }

    /// Bytes have come.
    pub fn handle_bytes(&mut self, id: ConnId, bytes: &[u8], now: Now) {
        let Some(connection) = self.connection_mut(id) else { return };
        connection.heard = now.mono;
        connection.pinged = None;
        connection.bytes_in += bytes.len() as u64;
        if connection.closing.is_some() || matches!(connection.state, State::Ended) {
            return;
        }
        if let Some(connection) = self.connections.get_mut(id.slot as usize) {
            self.spares.lend_buffer(connection);
            connection.inbox.push(bytes);
        }
        self.count_input(id);
        self.enqueue(id);
    }

    /// The peer has gone, or its transport is broken.
    pub fn handle_eof(&mut self, id: ConnId, _now: Now) {
        self.bury(id);
    }

    /// All that is to be done between input and output, within the turn's budgets. Returns
    /// true if work is left over.
    pub fn turn(&mut self, now: Now) -> bool {
        self.last_turn = now;
        self.budget.refill(now.mono);
        self.make_room_for_newcomers(now);
        let handshakes_left = self.run_handshakes(now);
        let commands_left = self.run_commands(now);
        let store_left = self.processor.turn(now);
        self.run_timers(now);
        while let Some(id) = self.processor.poll_wake() {
            self.events.push_back(BrokerEvent::Transmit(id));
        }
        self.sweep(now);
        if cfg!(debug_assertions) {
            self.check_invariants();
        }
        handshakes_left || commands_left || store_left
    }

    pub fn poll_event(&mut self) -> Option<BrokerEvent> {
        self.events.pop_front()
    }

    /// When `turn` is to be called at the latest; a time that has passed means at once.
    pub fn poll_timeout(&self) -> Option<Mono> {
        if !self.dying.is_empty() || !self.input.is_empty() {
            return Some(self.last_turn.mono);
        }
        let times = [
            self.timers.next(),
            self.processor.poll_timeout(self.last_turn),
            self.handshake_timeout(),
            // A refill of a few units.
            (!self.deferred.is_empty()).then(|| self.last_turn.mono + Duration::from_millis(1)),
            self.admission.next_eviction(),
        ];
        times.into_iter().flatten().min()
    }

    /// How many bytes of this connection are of use now; 0: leave its socket unread.
    ///
    /// While the pool for input is used up, only records that were granted room go on, and
    /// small ones.
    pub fn read_limit(&self, id: ConnId) -> usize {
        match self.connection(id) {
            Some(connection) if self.shutting_down || !connection.wants_read() => 0,
            None => 0,
            Some(connection) if connection.inbox.is_granted() => RECORD_BODIES_BYTES_MAX,
            Some(_) if self.input_room() >= TOKEN_BYTES_MAX => TOKEN_BYTES_MAX,
            Some(connection) => INBOX_FREE_BYTES.saturating_sub(connection.held_bytes()),
        }
    }

    /// Whether bytes of this connection are of use now.
    pub fn wants_read(&self, id: ConnId) -> bool {
        self.read_limit(id) > 0
    }

    /// Takes over a new certificate, a new CRL or both. Sessions that they end get their
    /// close in the next `poll_transmit`.
    pub fn reload(&mut self, identity: Option<Identity>, trust: Trust, now: Now) {
        let same_ca = trust.ca_fingerprint() == self.trust.ca_fingerprint();
        if let Some(identity) = identity {
            self.identity = identity;
        }
        self.trust = trust;
        self.processor.set_crl(crl_of(&self.trust));
        let trust = &self.trust;
        self.processor.judge_clients(|certificate| trust.is_revoked(certificate.serial()));
        let mut ended = Vec::new();
        for (_, connection) in &self.connections {
            match &connection.state {
                State::Active(live) if self.trust.is_revoked(live.peer.serial()) => {
                    ended.push((connection.id, CloseCode::Revoked));
                }
                State::Active(_) if !same_ca => ended.push((connection.id, CloseCode::ShuttingDown)),
                // A handshake under way was judged by the old set in part: the peer begins anew.
                State::Handshake(_) if !connection.is_fresh() => {
                    ended.push((connection.id, CloseCode::Normal))
                }
                State::Active(_) | State::Handshake(_) | State::Ended => {}
            }
        }
        for (id, code) in ended {
            match code {
                CloseCode::Normal => self.refuse_busy(id, now),
                code => self.close(id, code, String::new(), now),
            }
        }
    }

    /// Ends: takes no more commands, answers those that were taken, and then tells each client.
    pub fn shutdown(&mut self, now: Now) {
        self.shutting_down = true;
        let everyone: Vec<ConnId> = self.connections.iter().map(|(_, c)| c.id).collect();
        for id in everyone {
            match self.connection_mut(id) {
                Some(connection) if connection.is_active() => {
                    connection.cut_at.get_or_insert(now.mono + CLOSE_TIME_MAX);
                    self.arm(id, now);
                    self.finish_exit(id, now);
                }
                _ => self.bury(id),
            }
        }
        self.sweep(now);
    }

    /// Whether nobody is connected any more.
    pub fn is_drained(&self) -> bool {
        self.connections.is_empty()
    }

    /// # Panics
    /// If the broker's tables disagree: that is a bug of ours.
    pub fn check_invariants(&self) {
        self.processor.check_invariants();
        assert_eq!(self.timers.len(), self.connections.iter().filter(|(_, c)| c.deadline.is_some()).count());
        assert_eq!(self.pooled, self.connections.iter().map(|(_, c)| c.pooled).sum::<usize>());
        assert_eq!(
            self.admission.pending(),
            self.connections.iter().filter(|(_, c)| matches!(c.state, State::Handshake(_))).count()
        );
        for (slot, connection) in &self.connections {
            assert_eq!(
                (connection.id.slot as usize, connection.id.generation),
                (slot, self.generations[slot])
            );
            assert_eq!(connection.is_active(), self.processor.seat(connection.id).is_some());
        }
    }

    fn connection(&self, id: ConnId) -> Option<&Connection> {
        self.connections.get(id.slot as usize).filter(|connection| connection.id == id)
    }

    fn connection_mut(&mut self, id: ConnId) -> Option<&mut Connection> {
        self.connections.get_mut(id.slot as usize).filter(|connection| connection.id == id)
    }

    /// Puts a connection in the queue of those with work, once.
    fn enqueue(&mut self, id: ConnId) {
        let Some(connection) = self.connections.get_mut(id.slot as usize).filter(|c| c.id == id) else {
            return;
        };
        if connection.queued {
            return;
        }
        match &connection.state {
            State::Handshake(_) => self.steps.push_back(id),
            State::Active(_) => self.input.push_back(id),
            State::Ended => return,
        }
        connection.queued = true;
    }

    /// Counts what a connection's input holds beyond its free share, and lets others have
    /// what it gave back.
    fn count_input(&mut self, id: ConnId) {
        let Some(connection) = self.connections.get_mut(id.slot as usize).filter(|c| c.id == id) else {
            return;
        };
        let pooled = connection.held_bytes().saturating_sub(INBOX_FREE_BYTES);
        let gave_back = pooled < connection.pooled;
        self.pooled = self.pooled - connection.pooled + pooled;
        connection.pooled = pooled;
        if gave_back {
            self.grant_room();
        }
    }

    /// Room for bodies that one connection may take now.
    fn input_room(&self) -> usize {
        INBOX_POOL_BYTES_MAX.saturating_sub(self.pooled)
    }

    /// Lets connections that wait for room try again.
    fn grant_room(&mut self) {
        let now = self.last_turn.mono;
        while let Some(id) = self.roomless.pop_front() {
            if let Some(connection) = self.connection_mut(id) {
                connection.wants_room = false;
                connection.heard = connection.heard.max(now);
                self.enqueue(id);
                self.events.push_back(BrokerEvent::Readable(id));
            }
        }
    }

    /// Ends a session: the close is the next thing that its peer gets.
    fn close(&mut self, id: ConnId, code: CloseCode, text: String, now: Now) {
        let Some(connection) = self.connection_mut(id) else { return };
        if connection.closing.is_some() || !connection.is_active() {
            return;
        }
        log::info!("{id} {}: closing: {code}", connection.peer_name());
        connection.closing = Some((code, text));
        connection.cut_at = Some(now.mono + CLOSE_TIME_MAX);
        self.arm(id, now);
        self.events.push_back(BrokerEvent::Transmit(id));
    }

    /// A connection is to go at the end of the turn.
    fn bury(&mut self, id: ConnId) {
        if self.connection(id).is_some() {
            self.dying.push(id);
        }
    }

    /// Removes the dead. Only here are slots freed, so that none is used twice in a turn.
    fn sweep(&mut self, now: Now) {
        for id in std::mem::take(&mut self.dying) {
            let Some(connection) = self.connection_mut(id) else { continue };
            let (deadline, pooled) = (connection.deadline, connection.pooled);
            log::debug!("{id} {}: gone", connection.peer_name());
            let was_pending = matches!(connection.state, State::Handshake(_));
            let address = connection.address;
            self.timers.set(id, deadline, None);
            self.pooled -= pooled;
            self.admission.leave(address, was_pending);
            self.processor.leave(id, now);
            self.connections.remove(id.slot as usize);
            self.generations[id.slot as usize] = id.generation.wrapping_add(1);
            self.events.push_back(BrokerEvent::Close(id));
            if pooled > 0 {
                self.grant_room();
            }
        }
    }
}

/// How long a peer may take to read its close.
const CLOSE_TIME_MAX: Duration = Duration::from_secs(5);

fn crl_of(trust: &Trust) -> Option<(u64, std::sync::Arc<[u8]>)> {
    Some((trust.crl_number()?, std::sync::Arc::clone(trust.crl_der()?)))
}
