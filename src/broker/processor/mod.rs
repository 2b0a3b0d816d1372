//! The command processor: topics, cursors, clients and the store behind them.
//!
//! It takes commands of connections that are Active and fills their records, in turns. It
//! knows no socket, no session key and no clock. A connection is a *seat* here; one is looked up for
//! each step and never held across a fan-out.

mod certificates;
mod commands;
mod completions;
mod create;
mod cursor;
mod delegations;
mod delivery;
mod fetched;
mod invariants;
mod jobs;
mod joining;
mod listing;
mod news;
mod notes;
mod open;
mod orphans;
mod ownership;
mod publish;
mod publishers;
mod requests;
mod restore;
mod rotation;
mod seat;
mod seats;
mod topic;

use std::collections::{BTreeSet, HashMap, VecDeque};

use self::delegations::VerifiedDelegations;
use self::orphans::Owed;
use self::requests::Requests;
use self::rotation::Rotation;
use self::seats::Seats;
use self::topic::{TopicKey, TopicTable};
use super::clients::KnownClients;
use super::config::BrokerConfig;
use crate::base::ids::{ConnId, Counter, Fingerprint, Incarnation, RequestId, TopicHandle};
use crate::base::limits::{SHARE_BYTES_MIN, SHARED_POOL_BYTES, UNANSWERED_BYTES_MAX};
use crate::base::plain_hash::PlainMap;
use crate::base::{Entropy, Now, Wall};
use crate::crypto::cert::Trust;
use crate::session::budget::RsaBudget;
use crate::store::{Store, Ticket};
use crate::wire::frame::BrokerFrame;
use crate::wire::values::{RefuseCode, Retention};

pub use self::commands::Handled;
pub use self::delivery::Outgoing;
pub use self::notes::ClientNote;
pub use self::restore::RestoreFault;
pub use self::seat::{Peer, Seat};

pub struct Processor {
    config: BrokerConfig,
    pub clients: KnownClients,
    store: Box<dyn Store>,
    topics: TopicTable,
    seats: Seats,
    by_client: HashMap<Fingerprint, Vec<ConnId>>,
    /// What the store is doing, and for whom.
    pending: PlainMap<Ticket, Pending>,
    /// Who is to be told of one completion; empty but for its room.
    waiters: Vec<publishers::Waiter>,
    /// Whether something was submitted since the store was last flushed.
    unflushed: bool,
    /// Connections whose driver is to be told that there is output.
    wakes: VecDeque<ConnId>,
    /// When the oldest message of a topic with an age limit outlives it.
    ages: BTreeSet<(Wall, usize, Incarnation)>,
    publisher_ages: VecDeque<publish::PublisherAge>,
    publisher_count: usize,
    /// Topics by the client that made them.
    created_by: HashMap<Fingerprint, usize>,
    /// Wraps and certificates that wait for their record, of all connections.
    staged_bytes: usize,
    requests: Requests,
    rotation: Rotation,
    /// Followers that are to be told something.
    news: VecDeque<ConnId>,
    delegations: VerifiedDelegations,
    fetched: fetched::FetchedPool,
    orphans: orphans::Orphans,
    pub counters: listing::Counters,
    /// The CRL that clients may fetch: its number and its DER.
    crl: Option<(u64, std::sync::Arc<[u8]>)>,
}

/// An operation that the store has not completed.
enum Pending {
    Create(Box<create::Creation>),
    Message {
        conn: ConnId,
        topic: TopicKey,
        /// The sender's number.
        publisher: u32,
        counter: Counter,
        bytes: usize,
    },
    Record(Box<create::Change>),
    Read {
        conn: ConnId,
        handle: TopicHandle,
    },
    Find {
        conn: ConnId,
        handle: TopicHandle,
    },
    Trim {
        topic: TopicKey,
    },
    Configure(ownership::Owned, Retention),
    Remove(ownership::Owned),
    Forget,
    Request(Box<joining::Asking>),
    Client(Fingerprint),
    /// What nobody waits for.
    Note,
}

/// What a command may use beside the processor's own.
pub struct Means<'a> {
    pub budget: &'a mut RsaBudget,
    pub entropy: &'a mut dyn Entropy,
    pub trust: &'a Trust,
    pub now: Now,
}

/// Why a command was not done: code, detail and a sentence for people.
#[derive(Debug, PartialEq, Eq)]
pub struct Refusal {
    pub code: RefuseCode,
    pub detail: u64,
    pub text: String,
}

impl Refusal {
    pub fn code(code: RefuseCode) -> Refusal {
        Refusal { code, detail: 0, text: code.to_string() }
    }

    pub fn because(code: RefuseCode, text: impl Into<String>) -> Refusal {
        Refusal { code, detail: 0, text: text.into() }
    }

    pub fn limit(limit: usize) -> Refusal {
        Refusal { code: RefuseCode::Limit, detail: limit as u64, text: format!("the limit is {limit}") }
    }
}

impl Processor {
    pub fn new(config: BrokerConfig, store: Box<dyn Store>) -> Processor {
        Processor {
            topics: TopicTable::new(config.tail_bytes_max),
            clients: KnownClients::new(config.known_clients_max),
            config,
            store,
            seats: Seats::default(),
            by_client: HashMap::new(),
            pending: PlainMap::default(),
            waiters: Vec::new(),
            unflushed: false,
            wakes: VecDeque::new(),
            ages: BTreeSet::new(),
            publisher_ages: VecDeque::new(),
            publisher_count: 0,
            created_by: HashMap::new(),
            staged_bytes: 0,
            requests: Requests::default(),
            rotation: Rotation::default(),
            news: VecDeque::new(),
            delegations: VerifiedDelegations::default(),
            fetched: fetched::FetchedPool::default(),
            orphans: orphans::Orphans::default(),
            counters: listing::Counters::default(),
            crl: None,
        }
    }

    /// A connection has become Active.
    pub fn join(&mut self, id: ConnId, peer: Peer) {
        self.by_client.entry(peer.fingerprint).or_default().push(id);
        self.seats.insert(id, Seat::new(peer));
    }

    /// A connection is gone. What it has published and the store has accepted stays.
    pub fn leave(&mut self, id: ConnId, now: Now) {
        let Some(seat) = self.seats.remove(id) else { return };
        self.clients.saw(&seat.peer.fingerprint, now.wall);
        self.keep_client(&seat.peer.fingerprint);
        if let Some(conns) = self.by_client.get_mut(&seat.peer.fingerprint) {
            conns.retain(|conn| *conn != id);
            if conns.is_empty() {
                self.by_client.remove(&seat.peer.fingerprint);
            }
        }
        for (_, cursor) in seat.cursors() {
            if let Some(topic) = self.topics.topic_mut(cursor.topic) {
                topic.listeners(cursor.subscribed).remove(cursor.listener.0);
            }
        }
        self.staged_bytes -= seat.staged_bytes;
        let (publishes, bytes, changes) = (seat.unanswered, seat.unanswered_bytes, seat.changes);
        self.orphans.leave(id, seat.peer.fingerprint, Owed { publishes, bytes, changes });
        if seat.follower.is_some() {
            self.news.retain(|conn| *conn != id);
        }
    }

    pub fn seat(&self, id: ConnId) -> Option<&Seat> {
        self.seats.get(id)
    }

    fn seat_mut(&mut self, id: ConnId) -> Option<&mut Seat> {
        self.seats.get_mut(id)
    }

    /// Whether commands of this connection may be taken: it holds no more than its share of
    /// answers and of the store's work, with what its client left behind.
    pub fn wants_commands(&self, id: ConnId) -> bool {
        self.seat(id).is_some_and(|seat| {
            let left = self.orphans.of(&seat.peer.fingerprint);
            self.is_within_share(seat.answers_bytes(), self.config.outbox_bytes_max)
                && seat.unanswered + left.publishes < self.config.unanswered_publishes_max
                && self.is_within_share(seat.unanswered_bytes + left.bytes, UNANSWERED_BYTES_MAX)
                && seat.changes + left.changes == 0
                && seat.jobs.is_empty()
                && seat.exit.is_none()
        })
    }

    /// One connection's share of [`SHARED_POOL_BYTES`]: up to `most` while they are few, less the
    /// more they are.
    fn share(&self, most: usize) -> usize {
        (SHARED_POOL_BYTES / self.seats.len().max(1)).clamp(SHARE_BYTES_MIN.min(most), most)
    }

    /// Whether `bytes` are less than one connection's share of at most `most`.
    fn is_within_share(&self, bytes: usize, most: usize) -> bool {
        // No share is smaller than that, so that there is nothing to divide as a rule.
        bytes < SHARE_BYTES_MIN.min(most) || bytes < self.share(most)
    }

    pub fn has_output(&self, id: ConnId) -> bool {
        self.seat(id).is_some_and(Seat::has_output)
    }

    /// The driver has come and there was nothing: it is to be told again when there is.
    pub fn woke_for_nothing(&mut self, id: ConnId) {
        if let Some(seat) = self.seat_mut(id) {
            seat.woken = false;
        }
    }

    /// A connection that has output, and whose driver was not told yet.
    pub fn poll_wake(&mut self) -> Option<ConnId> {
        self.wakes.pop_front()
    }

    /// The work of a turn beside commands: ages, the store's operations and their completions.
    /// Returns true if work is left over.
    pub fn turn(&mut self, now: Now) -> bool {
        self.drop_outlived(now);
        self.expire_publishers(now);
        self.expire_requests(now, EXPIRED_REQUESTS_PER_TURN);
        let sweeping = self.sweep_topics();
        let telling = self.tell_news();
        let mut completions_left = COMPLETIONS_PER_TURN;
        // A completion may submit something, a trim as a rule: that goes at once, not in a turn of its own.
        for _ in 0..FLUSHES_PER_TURN {
            if self.unflushed || self.store.poll_timeout().is_some_and(|at| at <= now.mono) {
                self.unflushed = false;
                self.store.flush(now);
            }
            while completions_left > 0 {
                let Some(completion) = self.store.poll() else { break };
                self.complete(completion, now);
                completions_left -= 1;
            }
        }
        let is_left = self.unflushed || completions_left == 0;
        is_left || sweeping || telling || !self.news.is_empty()
    }

    /// When [`Processor::turn`] is to be called at the latest.
    pub fn poll_timeout(&self, now: Now) -> Option<crate::base::Mono> {
        if self.rotation.is_sweeping() || !self.news.is_empty() {
            return Some(now.mono);
        }
        let age = self.ages.first().map(|(at, ..)| *at);
        let old = [age, self.requests.next_expiry()].into_iter().flatten().min();
        let old = old.map(|at| now.mono + at.since(now.wall));
        [old, self.store.poll_timeout()].into_iter().flatten().min()
    }

    /// Holds the CRL that clients may fetch, and tells them of it.
    pub fn set_crl(&mut self, crl: Option<(u64, std::sync::Arc<[u8]>)>) {
        let newer = crl.as_ref().map(|(number, _)| *number) > self.crl.as_ref().map(|(number, _)| *number);
        self.crl = crl;
        if let (true, Some((number, _))) = (newer, &self.crl) {
            let number = *number;
            let everyone: Vec<ConnId> = self.seats.iter().map(|(id, _)| id).collect();
            for id in everyone {
                self.answer(id, BrokerFrame::CrlChanged { number });
            }
        }
    }

    pub fn store_failure(&self) -> Option<&str> {
        self.store.failure()
    }

    pub fn crl_number(&self) -> u64 {
        self.crl.as_ref().map_or(0, |(number, _)| *number)
    }

    /// How far a connection's slowest subscription is behind, and how many are.
    pub fn lag(&self, id: ConnId) -> (u64, usize) {
        self.seat(id).map_or((0, 0), |seat| delivery::lag(seat, &self.topics))
    }

    /// Queues a frame for a connection, if it is still there.
    pub fn answer(&mut self, id: ConnId, frame: BrokerFrame) {
        if let Some(seat) = self.seat_mut(id) {
            seat.answer(frame);
            self.wake(id);
        }
    }

    fn refuse(&mut self, id: ConnId, request: RequestId, refusal: Refusal) {
        self.counters.requests_refused += 1;
        let Refusal { code, detail, text } = refusal;
        self.answer(id, BrokerFrame::Refused { request, code, detail, text });
    }

    fn wake(&mut self, id: ConnId) {
        if let Some(seat) = self.seats.get_mut(id)
            && !seat.woken
        {
            seat.woken = true;
            self.wakes.push_back(id);
        }
    }

    /// Notes that the store has something to set going.
    fn submitted(&mut self) {
        self.unflushed = true;
    }
}

/// Requests that one turn forgets because of their age.
const EXPIRED_REQUESTS_PER_TURN: usize = 64;
/// The store's completions that one turn takes: some 500 us of answers.
const COMPLETIONS_PER_TURN: usize = 2048;
const FLUSHES_PER_TURN: usize = 2;
