//! The connection: handshake, records, keepalive, the end, and when to come back.

use std::collections::HashMap;
use std::time::Duration;

use super::asks::Asks;
use super::failure::{Disconnect, Failure, is_about_us};
use super::lull::Lull;
use super::{Client, Event};
use crate::base::entropy::random_array;
use crate::base::ids::{PublisherId, RequestId, TopicHandle};
use crate::base::limits::{HANDSHAKE_TIME_MAX, KEEPALIVE, PUBLISHER_SLOTS_MAX};
use crate::base::names::{TopicFilter, TopicName};
use crate::base::time::{Mono, Now};
use crate::base::transmit::Transmit;
use crate::crypto::cert::{CertFault, Certificate, Role};
use crate::session::client::{ClientError, ClientHandshake, LateRefusal, Step, Surroundings};
use crate::session::inbox::Progress;
use crate::session::{Active, HandshakeError, Inbox, Opener, RecordError, Sealer};
use crate::wire::frame::{BrokerFrame, ClientFrame, scan_bodies};
use crate::wire::handshake::BrokerHello;
use crate::wire::values::CloseCode;

/// Where the connection is.
pub enum Phase {
    /// Never connected.
    Idle,
    Handshaking(Box<Handshaking>),
    Active(Box<Session>),
    /// To be dialled again then.
    Backoff(Mono),
    /// For good, and what every request gets from now on.
    Ended(Failure),
}

pub struct Handshaking {
    /// Taken out for each step.
    state: Option<ClientHandshake>,
    inbox: Inbox,
    deadline: Mono,
}

/// An active session.
pub struct Session {
    sealer: Sealer,
    opener: Opener,
    inbox: Inbox,
    /// Until the first record has come.
    late: Option<LateRefusal>,
    pub broker: Certificate,
    /// Until then the broker has to say Welcome.
    deadline: Mono,
    pub welcome: Option<Welcome>,
    began: Mono,
    heard: Mono,
    spoke: Mono,
    pinged: Mono,
    pub lull: Lull,
    pub asks: Asks,
    /// Requests of filters, which announce topics for as long as the session lasts.
    pub filters: HashMap<RequestId, TopicFilter>,
    pub handles: HashMap<TopicHandle, TopicName>,
    /// Publisher ids that the broker has been told, by slot.
    pub ids_told: [Option<PublisherId>; PUBLISHER_SLOTS_MAX],
    /// The highest number of a revocation list that was asked for.
    pub crl_offered: u64,
}

/// What the broker said of itself.
#[derive(Clone, Copy)]
pub struct Welcome {
    pub keepalive: Duration,
    pub message_bytes_max: usize,
    pub window: usize,
}

/// Why and how a connection ends.
pub struct End {
    pub reason: Disconnect,
    pub fatal: bool,
    /// What the broker is told, if there is a session to tell it in.
    pub goodbye: Option<CloseCode>,
    /// How long the broker wants us to stay away.
    pub retry_after: Duration,
}

/// The shortest wait before a new attempt.
const RETRY_MIN: Duration = Duration::from_millis(250);
/// A session that lasted this long was a good one: the next attempt begins at the shortest wait.
const GOOD_SESSION: Duration = Duration::from_secs(5);
/// Numbers of our own pings lie above those of requests.
const KEEPALIVE_NUMBER: u64 = 1 << 32;

impl Client {
    /// The transport is up: the handshake begins.
    pub fn connect(&mut self, now: Now) {
        self.now = now;
        if matches!(self.phase, Phase::Ended(_)) {
            return;
        }
        let (state, hello) = ClientHandshake::start(&mut *self.entropy);
        self.raw = hello;
        self.outbox.clear();
        let deadline = now.mono + HANDSHAKE_TIME_MAX;
        self.phase =
            Phase::Handshaking(Box::new(Handshaking { state: Some(state), inbox: Inbox::new(), deadline }));
    }

    /// Takes bytes from the transport.
    pub fn handle_bytes(&mut self, bytes: &[u8], now: Now) {
        self.now = now;
        match &mut self.phase {
            Phase::Handshaking(h) => h.inbox.push(bytes),
            Phase::Active(s) => {
                s.heard = now.mono;
                s.inbox.push(bytes);
            }
            _ => return,
        }
        if let Err(end) = self.run_handshake().and_then(|()| self.run_records()) {
            self.end(end);
        }
        self.advance();
    }

    /// The transport has ended, with the system's words for it if it has any.
    pub fn handle_eof(&mut self, why: Option<String>, now: Now) {
        self.now = now;
        if self.wants_transport() {
            self.end(End::retry(Disconnect::Lost(why)));
        }
    }

    /// No transport could be had; `why` names host, port and remedy.
    pub fn handle_unreachable(&mut self, why: String, now: Now) {
        self.now = now;
        if !matches!(self.phase, Phase::Ended(_)) {
            self.end(End::retry(Disconnect::Unreachable(why)));
        }
    }

    /// [`Client::poll_timeout`] has come.
    pub fn handle_timeout(&mut self, now: Now) {
        self.now = now;
        if let Err(end) = self.check_deadlines() {
            self.end(end);
        }
        self.advance();
    }

    /// Appends at most one record to `out`; call when `out` is empty and the transport is writable.
    pub fn poll_transmit(&mut self, now: Now, out: &mut Transmit) -> bool {
        self.now = now;
        if !self.raw.is_empty() {
            out.push(&std::mem::take(&mut self.raw));
            return true;
        }
        let Phase::Active(session) = &mut self.phase else { return false };
        if self.outbox.is_empty() {
            return false;
        }
        session.asks.stamp_pings(now.mono);
        session.spoke = now.mono;
        let bytes = out.open();
        let start = session.sealer.begin(bytes);
        let room = Sealer::room(bytes, &start);
        let bodies = self.outbox.fill(bytes, room);
        session.sealer.finish(bytes, start, now.wall, &random_array(&mut *self.entropy));
        out.commit();
        bodies.into_iter().for_each(|body| out.push_shared(body));
        true
    }

    /// When [`Client::handle_timeout`] is to be called.
    pub fn poll_timeout(&self) -> Option<Mono> {
        let link = match &self.phase {
            Phase::Handshaking(h) => Some(h.deadline),
            Phase::Active(s) if s.welcome.is_none() => Some(s.deadline),
            Phase::Active(s) => Some(s.next_deadline(self.wants_read())),
            _ => None,
        };
        let topics = self.watched.iter().filter_map(|name| self.topics.get(name)?.deadline());
        let topics = topics.min().filter(|_| self.is_connected());
        [link, topics, self.probe_due(), self.exit_deadline].into_iter().flatten().min()
    }

    /// Whether there is a session or a handshake. False: write out what
    /// [`Client::poll_transmit`] still gives, then close the transport.
    pub fn wants_transport(&self) -> bool {
        matches!(self.phase, Phase::Handshaking(_) | Phase::Active(_))
    }

    /// Whether requests are sent at once.
    pub fn is_connected(&self) -> bool {
        matches!(&self.phase, Phase::Active(session) if session.welcome.is_some())
    }

    /// Whether it has ended for good: after [`Event::Closed`] or a fatal [`Event::Disconnected`].
    pub fn is_over(&self) -> bool {
        matches!(self.phase, Phase::Ended(_))
    }

    /// When to dial again; nothing while a transport is wanted, before the first
    /// [`Client::connect`], and after a fatal end.
    pub fn reconnect_at(&self) -> Option<Mono> {
        match self.phase {
            Phase::Backoff(at) => Some(at),
            _ => None,
        }
    }

    /// The session that the broker has welcomed us to.
    pub(super) fn session_mut(&mut self) -> Option<&mut Session> {
        match &mut self.phase {
            Phase::Active(session) => Some(session),
            _ => None,
        }
    }

    /// Why no session will come any more.
    pub(super) fn why_ended(&self) -> Option<Failure> {
        match &self.phase {
            Phase::Ended(failure) => Some(failure.clone()),
            _ => None,
        }
    }

    fn run_handshake(&mut self) -> Result<(), End> {
        loop {
            let Phase::Handshaking(h) = &mut self.phase else { return Ok(()) };
            let Some(message) = h.inbox.next_handshake().map_err(End::handshake)? else {
                return Ok(());
            };
            let state = h.state.take().expect("a handshake that failed is over");
            let with = Surroundings {
                trust: &self.trust,
                certificate: &self.identity.certificate,
                key: &self.identity.key,
                host: Some(self.config.host.as_str()).filter(|host| !host.is_empty()),
                now: self.now.wall,
                entropy: &mut *self.entropy,
            };
            match state.handle(message.kind, message.payload, with) {
                Ok(Step::Handshake(next, bytes)) => {
                    h.state = Some(next);
                    self.raw.extend_from_slice(&bytes);
                }
                Ok(Step::Active(active, bytes, late)) => {
                    let inbox = std::mem::take(&mut h.inbox);
                    let session = Session::new(active, inbox, late, h.deadline, self.now.mono);
                    self.raw.extend_from_slice(&bytes);
                    self.phase = Phase::Active(Box::new(session));
                }
                Err(ClientError::Failed(HandshakeError::Certificate(CertFault::WrongName))) => {
                    let hello = BrokerHello::decode(message.payload).ok();
                    let broker =
                        hello.and_then(|h| self.trust.verify_historic(h.certificate, Role::Broker).ok());
                    return Err(End::wrong_host(&self.config.host, broker));
                }
                Err(e) => return Err(e.into()),
            }
        }
    }

    fn run_records(&mut self) -> Result<(), End> {
        loop {
            let Phase::Active(session) = &mut self.phase else { return Ok(()) };
            if session.is_refused()? {
                return Ok(());
            }
            let progress = session.inbox.next_record(&mut session.opener, scan_bodies, usize::MAX)?;
            let Progress::Record(record) = progress else { return Ok(()) };
            session.late = None;
            let frames =
                BrokerFrame::decode_all(record.frames).map_err(|e| End::protocol(format!("a frame {e}")))?;
            let mut bodies = record.bodies.into_iter();
            for frame in frames {
                self.take_frame(frame, &mut bodies)?;
            }
        }
    }

    /// A Close frame has come in the newest record.
    pub(super) fn closed(&mut self, sequence: u64, code: CloseCode, text: String) -> End {
        let is_last =
            self.session_mut().is_some_and(|s| s.opener.next_sequence() == sequence.wrapping_add(1));
        if !is_last {
            return End::protocol("a goodbye with another record's number");
        }
        let fatal = matches!(code, CloseCode::Revoked | CloseCode::Expired);
        End { fatal, ..End::retry(Disconnect::Closed { code, text }) }
    }

    fn check_deadlines(&mut self) -> Result<(), End> {
        let (now, reads) = (self.now.mono, self.wants_read());
        let session = match &mut self.phase {
            Phase::Handshaking(h) if now >= h.deadline => {
                return Err(End::retry(Disconnect::HandshakeTimeout));
            }
            Phase::Active(s) if s.welcome.is_none() && now >= s.deadline => {
                return Err(End::retry(Disconnect::HandshakeTimeout));
            }
            Phase::Active(session) => session,
            _ => return Ok(()),
        };
        let keepalive = session.keepalive();
        if !reads {
            // What we do not read we cannot have heard.
            session.heard = now;
        }
        if now.since(session.heard) >= keepalive * 2 {
            return Err(End { goodbye: Some(CloseCode::Dead), ..End::retry(Disconnect::BrokerSilent) });
        }
        if now >= session.next_ping() {
            session.pinged = now;
            let number = KEEPALIVE_NUMBER + session.sealer.next_sequence();
            self.outbox.push(&ClientFrame::Ping { number });
            self.judge_broker()?;
        }
        Ok(())
    }

    /// Ends the connection, and says when it comes back if it does.
    pub(super) fn end(&mut self, end: End) {
        log::debug!("the connection has ended: {}", end.reason);
        let phase = std::mem::replace(&mut self.phase, Phase::Idle);
        let lasted = match &phase {
            Phase::Active(session) => self.now.mono.since(session.began),
            _ => Duration::ZERO,
        };
        self.attempts = if lasted >= GOOD_SESSION { 0 } else { self.attempts.saturating_add(1) };
        self.raw.clear();
        self.outbox.clear();
        self.topics.values_mut().for_each(super::topic::Topic::end_session);
        self.end_subscriptions_session();
        self.drop_forgotten();
        if let Phase::Active(session) = phase {
            self.say_goodbye(*session, end.goodbye);
        }
        if self.exit_deadline.is_some() {
            return self.finish_exit();
        }
        let retry_at = (!end.fatal).then(|| self.now.mono + self.retry_delay().max(end.retry_after));
        self.phase = match retry_at {
            Some(at) => Phase::Backoff(at),
            None => Phase::Ended(Failure::Session(end.reason.clone())),
        };
        if end.fatal {
            self.fail_all(&Failure::Session(end.reason.clone()));
        }
        self.events.push(Event::Disconnected { reason: end.reason, fatal: end.fatal, retry_at });
    }

    /// The session's last record, if there is something to be said, and its requests' end.
    fn say_goodbye(&mut self, mut session: Session, code: Option<CloseCode>) {
        if let Some(code) = code {
            let sequence = session.sealer.next_sequence();
            let start = session.sealer.begin(&mut self.raw);
            ClientFrame::Close { sequence, code, text: String::new() }.encode(&mut self.raw);
            session.sealer.finish(&mut self.raw, start, self.now.wall, &random_array(&mut *self.entropy));
        }
        self.requeue(session.asks);
    }

    /// Full jitter: anything between the shortest wait and twice the last bound.
    fn retry_delay(&mut self) -> Duration {
        let bound = RETRY_MIN.saturating_mul(1 << self.attempts.min(16));
        let bound = bound.min(self.config.retry_max).max(RETRY_MIN);
        let spread = (bound - RETRY_MIN).as_micros() as u64 + 1;
        let random = u64::from_be_bytes(random_array(&mut *self.entropy));
        RETRY_MIN + Duration::from_micros(random % spread)
    }
}

impl Session {
    fn new(active: Active, inbox: Inbox, late: LateRefusal, deadline: Mono, now: Mono) -> Session {
        let (seal, open) = active.keys.into_client();
        Session {
            sealer: seal,
            opener: open,
            inbox,
            late: Some(late),
            broker: active.peer,
            deadline,
            welcome: None,
            began: now,
            heard: now,
            spoke: now,
            pinged: now,
            lull: Lull::default(),
            asks: Asks::default(),
            filters: HashMap::new(),
            handles: HashMap::new(),
            ids_told: [None; PUBLISHER_SLOTS_MAX],
            crl_offered: 0,
        }
    }

    /// Whether the broker refuses ClientReady instead of sending its first record; an error once that
    /// is whole.
    fn is_refused(&mut self) -> Result<bool, End> {
        let Some(late) = self.late.as_ref().filter(|_| self.inbox.has_late_refusal()) else {
            return Ok(false);
        };
        match self.inbox.next_handshake().map_err(End::handshake)? {
            Some(message) => Err(late.handle(message.kind, message.payload).into()),
            None => Ok(true),
        }
    }

    fn keepalive(&self) -> Duration {
        self.welcome.map_or(KEEPALIVE, |w| w.keepalive)
    }

    /// A ping is due after the keepalive without a word from the broker, or from us: while we do
    /// not read we cannot answer its pings, and it must hear from us all the same.
    fn next_ping(&self) -> Mono {
        self.heard.min(self.spoke).max(self.pinged) + self.keepalive()
    }

    fn next_deadline(&self, reads: bool) -> Mono {
        let silent = self.heard + self.keepalive() * 2;
        if reads { silent.min(self.next_ping()) } else { self.next_ping() }
    }
}

impl End {
    /// Comes back, and says nothing.
    pub fn retry(reason: Disconnect) -> End {
        End { reason, fatal: false, goodbye: None, retry_after: Duration::ZERO }
    }

    /// The broker, or who claims to be it, broke the protocol.
    pub fn protocol(what: impl Into<String>) -> End {
        End { goodbye: Some(CloseCode::ProtocolError), ..End::retry(Disconnect::Protocol(what.into())) }
    }

    fn handshake(e: HandshakeError) -> End {
        match e {
            HandshakeError::Certificate(fault) => {
                End { fatal: true, ..End::retry(Disconnect::BrokerCertificate(fault.to_string())) }
            }
            HandshakeError::Fault(fault) => End::retry(Disconnect::Fault(fault.to_string())),
            e => End::retry(Disconnect::Protocol(e.to_string())),
        }
    }

    fn wrong_host(host: &str, broker: Option<Certificate>) -> End {
        let reason = match broker {
            Some(broker) => Disconnect::WrongHost {
                host: host.to_owned(),
                broker: broker.name().clone(),
                hosts: broker.hosts().iter().map(ToString::to_string).collect(),
            },
            None => Disconnect::BrokerCertificate(CertFault::WrongName.to_string()),
        };
        End { fatal: true, ..End::retry(reason) }
    }
}

impl From<ClientError> for End {
    fn from(e: ClientError) -> End {
        match e {
            ClientError::Refused { refusal, authenticated } => End {
                fatal: authenticated && is_about_us(refusal.code),
                retry_after: Duration::from_millis(refusal.retry_after_ms.into()),
                ..End::retry(Disconnect::Refused {
                    code: refusal.code,
                    text: refusal.text,
                    authentic: authenticated,
                })
            },
            ClientError::Failed(e) => End::handshake(e),
        }
    }
}

impl From<RecordError> for End {
    fn from(e: RecordError) -> End {
        End::protocol(e.to_string())
    }
}
