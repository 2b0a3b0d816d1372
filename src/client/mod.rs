//! The client core: a session with one broker, topics and their keys, requests and their answers.
//!
//! It does no I/O: what arrives is handed to `handle_*`, what is to be sent and told is taken
//! with `poll_*`, time and randomness come in as arguments. After every input and every
//! request, take [`Client::poll_transmit`] and [`Client::poll_event`] until they give nothing,
//! then wait until [`Client::poll_timeout`] or [`Client::reconnect_at`].
//!
//! ```text
//! link        handshake, records, keepalive, end and return ── lull  silence that is an answer
//! receive     what a frame leads to ─┬─ deliver    records, senders, messages ── records, senders, delivery
//!                                    ├─ publish    answers, what is sent when ── publishing, signing
//!                                    ├─ subscribe  filters, topics, resumption ── resume  over runs
//!                                    ├─ create     certificates, first records
//!                                    ├─ amend      who comes, who leaves, new epochs
//!                                    ├─ requests   who asks to join ── watch  answering by itself
//!                                    └─ crl        the revocation list
//! memory      what comes against what is remembered ── pins
//! asks        requests under way            keyring, body   the only holders of topic keys
//! ```

mod amend;
mod asks;
mod body;
pub mod chest;
mod create;
mod crl;
mod deliver;
mod delivery;
pub mod event;
mod events;
pub mod failure;
mod keep;
mod keyring;
mod link;
mod lull;
mod memory;
mod outbox;
pub mod pins;
mod publish;
mod publishing;
mod receive;
mod records;
pub mod request;
mod requests;
mod resume;
#[cfg(any(test, feature = "testing"))]
mod secrets;
mod senders;
mod signing;
mod subscribe;
mod topic;
mod watch;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use asks::Ask;
use create::Creation;
use events::Events;
use link::Phase;
use outbox::Outbox;
use pins::Pins;
use senders::Senders;
use signing::Signing;
use subscribe::Subscription;
use topic::Topic;
use watch::Watch;

use crate::base::Wall;
use crate::base::entropy::Entropy;
use crate::base::ids::Fingerprint;
use crate::base::names::{Name, TopicFilter, TopicName};
use crate::base::time::{Mono, Now};
use crate::crypto::cert::{Certificate, Trust};
use crate::crypto::key::PrivateKey;
use crate::wire::frame::ClientFrame;
use crate::wire::values::Start;

pub use event::{
    Amended, Answer, Asked, Connected, Created, Event, Integrity, KnownClient, Member, MemberRole,
};
pub use event::{Members, Message, Notice, Opened, Request, Skipped};
pub use failure::{Disconnect, Failure, IntegrityFault};
pub use request::{CreateRequest, Full, GrantAs, History, Join, MemberChoice, Ticket};
pub use resume::Stand;
pub use signing::KeptPublisher;

/// What a caller may choose.
#[derive(Clone, Debug)]
pub struct ClientConfig {
    /// The host that was dialled; the broker's certificate must name it. Empty: any broker of the CA.
    pub host: String,
    /// Put a message's body inside the session's token where it fits, so that nobody on the
    /// wire can tell two links that carry the same message; costs a copy for each.
    pub seal_bodies: bool,
    /// Events that wait for the caller, in bytes; above, the broker is not read.
    pub event_bytes_max: usize,
    /// The longest wait before a lost connection is tried again.
    pub retry_max: Duration,
}

/// Who we are.
pub struct ClientIdentity {
    pub certificate: Certificate,
    /// The certificate's own.
    pub key: PrivateKey,
}

/// A client of one broker. See the module for how it is driven.
pub struct Client {
    config: ClientConfig,
    identity: ClientIdentity,
    trust: Trust,
    entropy: Box<dyn Entropy>,
    /// When the last input came.
    now: Now,
    phase: Phase,
    /// Handshake messages, and a session's last record.
    raw: Vec<u8>,
    outbox: Outbox,
    events: Events,
    topics: BTreeMap<TopicName, Topic>,
    /// Topics that something waits for.
    watched: BTreeSet<TopicName>,
    subscriptions: Vec<Subscription>,
    /// Requests for the next session.
    waiting: VecDeque<Ask>,
    /// Our publisher ids, and the keys that sign for them.
    signing: Signing,
    /// Others' that were verified.
    senders: Senders,
    /// Whether requests to join are followed.
    watch: Option<Watch>,
    /// Attempts since the last good session.
    attempts: u32,
    was_connected: bool,
    /// Since [`Client::exit`]: by when it is over, answered or not.
    exit_deadline: Option<Mono>,
    exit_sent: bool,
    /// Whether [`Event::Closed`] was told.
    is_closed: bool,
    last_ticket: u64,
    pins: Pins,
    /// Topics that were read on since that was noted there.
    read_on: BTreeSet<TopicName>,
    /// Whether they have changed since the caller last asked.
    pins_changed: bool,
    /// The owners that the caller insists on.
    expected_owners: Vec<(TopicFilter, Name)>,
}

/// How long answers are waited for after [`Client::exit`].
const EXIT_TIME_MAX: Duration = Duration::from_secs(10);

impl Client {
    /// `certificate` and `key` belong together, `pins` are what an earlier run of this identity has
    /// remembered; the driver dials and then calls [`Client::connect`].
    pub fn new(
        config: ClientConfig,
        identity: ClientIdentity,
        trust: Trust,
        pins: Pins,
        entropy: Box<dyn Entropy>,
    ) -> Client {
        Client {
            events: Events::new(config.event_bytes_max),
            config,
            identity,
            trust,
            entropy,
            now: Now { mono: Mono(0), wall: Wall(0) },
            phase: Phase::Idle,
            raw: Vec::new(),
            outbox: Outbox::default(),
            topics: BTreeMap::new(),
            watched: BTreeSet::new(),
            subscriptions: Vec::new(),
            waiting: VecDeque::new(),
            signing: Signing::default(),
            senders: Senders::default(),
            watch: None,
            attempts: 0,
            was_connected: false,
            exit_deadline: None,
            exit_sent: false,
            is_closed: false,
            last_ticket: 0,
            pins,
            read_on: BTreeSet::new(),
            pins_changed: false,
            expected_owners: Vec::new(),
        }
    }

    /// The next thing that the caller should know.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop()
    }

    /// Whether the transport is to be read. False while more events wait than the caller takes.
    pub fn wants_read(&self) -> bool {
        self.wants_transport() && !self.events.is_over_limit()
    }

    /// Our own name.
    pub fn name(&self) -> &Name {
        self.identity.certificate.name()
    }

    /// Whom this client trusts, with the newest revocation list.
    pub fn trust(&self) -> &Trust {
        &self.trust
    }

    /// The filters that are subscribed to.
    pub fn filters(&self) -> impl Iterator<Item = &TopicFilter> {
        self.subscriptions.iter().map(|s| &s.filter)
    }

    // ---- Requests ----

    /// Makes a topic. Answered by [`Answer::Created`].
    pub fn create(&mut self, request: CreateRequest) -> Ticket {
        self.request(|ticket| Ask::Create(Box::new(Creation::new(ticket, request))))
    }

    /// Opens a topic for its records, as publishing does by itself. Answered by [`Answer::Opened`].
    pub fn open(&mut self, topic: &TopicName) -> Ticket {
        let topic = topic.clone();
        self.request(|ticket| Ask::Open { topic, start: Start::RecordsOnly, ticket: Some(ticket) })
    }

    /// Has each topic delivered, present and future, that the filter matches and we are a member of.
    /// Answered by [`Answer::Subscribed`]; lasts until [`Client::unsubscribe`], over all sessions.
    pub fn subscribe(&mut self, filter: TopicFilter, start: Start) -> Ticket {
        let ticket = self.ticket();
        self.add_subscription(filter, start, ticket);
        ticket
    }

    /// Answered by [`Answer::Unsubscribed`]. Messages may still come before that.
    pub fn unsubscribe(&mut self, filter: TopicFilter) -> Ticket {
        let ticket = self.ticket();
        self.remove_subscription(filter, ticket);
        ticket
    }

    /// Answered by [`Answer::Topics`].
    pub fn topics(&mut self, filter: TopicFilter) -> Ticket {
        self.request(|ticket| Ask::Topics { filter, found: Vec::new(), ticket })
    }

    /// A topic's members as its records say. Answered by [`Answer::Members`].
    pub fn members(&mut self, topic: &TopicName) -> Ticket {
        let ticket = self.ticket();
        if let Some(failure) = self.why_not(topic) {
            self.answer(ticket, Err(failure));
            return ticket;
        }
        let state = self.topics.entry(topic.clone()).or_default();
        state.members_asked.push(ticket);
        self.watched.insert(topic.clone());
        self.advance();
        ticket
    }

    /// The broker's counters. Answered by [`Answer::Stats`].
    pub fn stats(&mut self) -> Ticket {
        self.request(|ticket| Ask::Stats { ticket })
    }

    /// Answered by [`Answer::Pong`].
    pub fn ping(&mut self) -> Ticket {
        self.request(|ticket| Ask::Ping { sent: None, ticket })
    }

    /// The clients whose certificates the broker has. Answered by [`Answer::Clients`].
    pub fn known_clients(&mut self) -> Ticket {
        let after = Fingerprint([0; 32]);
        self.request(|ticket| Ask::Clients { after, found: Vec::new(), ticket })
    }

    /// Ends the session once all that was asked is answered; [`Event::Closed`] is the last event.
    /// Messages that come meanwhile are not shown. Without a session it ends at once.
    pub fn exit(&mut self) {
        if self.exit_deadline.is_none() {
            self.exit_deadline = Some(self.now.mono + EXIT_TIME_MAX);
            self.advance();
        }
    }

    fn request(&mut self, ask: impl FnOnce(Ticket) -> Ask) -> Ticket {
        let ticket = self.ticket();
        let ask = ask(ticket);
        if self.exit_deadline.is_some() {
            self.fail_ask(ask, Failure::Exiting);
        } else {
            self.ask(ask);
        }
        ticket
    }

    /// Drops what is known of a topic. One that is open in this session keeps its records until that
    /// ends, since the broker sends them once a session; one that a filter still matches comes back
    /// with the next session, from its earliest: unsubscribe first.
    pub fn forget(&mut self, topic: &TopicName) {
        self.pins_changed |= self.pins.forget_topic(topic);
        self.forget_topic(topic);
    }

    fn ticket(&mut self) -> Ticket {
        self.last_ticket += 1;
        Ticket(self.last_ticket)
    }

    /// Does what can be done after an input or a request.
    fn advance(&mut self) {
        self.advance_topics();
        self.probe();
        if self.exit_deadline.is_some() {
            self.advance_exit();
        }
    }

    fn advance_exit(&mut self) {
        let Some(deadline) = self.exit_deadline else { return };
        if !self.is_connected() || self.now.mono >= deadline {
            return self.finish_exit();
        }
        let is_owed = !self.watched.is_empty();
        let Phase::Active(session) = &self.phase else { return };
        if !self.exit_sent && !is_owed && session.asks.is_empty() {
            self.exit_sent = true;
            // An id that is kept comes back.
            let forget = !self.topics.values().any(|topic| topic.publishing.is_kept());
            self.outbox.push(&ClientFrame::Exit { forget });
        }
    }

    /// The end that was asked for: whoever still waits is told, and nothing comes after.
    fn finish_exit(&mut self) {
        let phase = std::mem::replace(&mut self.phase, Phase::Ended(Failure::Exiting));
        if let Phase::Active(session) = phase {
            self.requeue(session.asks);
        }
        self.fail_all(&Failure::Exiting);
        if !std::mem::replace(&mut self.is_closed, true) {
            self.events.push(Event::Closed);
        }
        self.exit_deadline = None;
    }

    /// Answers everything that is owed.
    fn fail_all(&mut self, failure: &Failure) {
        for ask in std::mem::take(&mut self.waiting) {
            self.fail_ask(ask, failure.clone());
        }
        self.fail_subscriptions(failure);
        for name in std::mem::take(&mut self.watched) {
            self.fail_topic(&name, failure);
        }
    }
}

impl Default for ClientConfig {
    fn default() -> ClientConfig {
        ClientConfig {
            host: String::new(),
            seal_bodies: false,
            event_bytes_max: 4 * 1024 * 1024,
            retry_max: Duration::from_secs(30),
        }
    }
}
