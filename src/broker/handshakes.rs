//! Handshakes within the RSA budget: those under way first, then one signature for all hellos
//! that wait.

use super::connection::{Connection, Live, State};
use super::processor::Peer;
use super::{Broker, BrokerEvent, admission::HELLO_TIME_WHEN_FULL};
use crate::base::ids::ConnId;
use crate::base::limits::HELLO_BATCH_MAX;
use crate::base::{Mono, Now};
use crate::session::broker::{AwaitingCert, Handshake, Refused, Step, Surroundings};
use crate::session::budget::RsaCost;
use crate::session::{Active, HandshakeError, sign_batch};
use crate::wire::frame::BrokerFrame;

/// What came of looking at one handshake.
enum Looked {
    /// It waits for its peer, or is over.
    Rest,
    /// It has another step to take.
    Again,
    /// It needs more of the budget than there is.
    TooDear,
}

impl Broker {
    /// Takes steps while the budget lasts; true if some could be taken at once in the next turn.
    pub(super) fn run_handshakes(&mut self, now: Now) -> bool {
        for _ in 0..STEPS_PER_TURN {
            let Some(id) = self.steps.pop_front() else { break };
            match self.step_handshake(id, now) {
                Looked::Rest => {}
                Looked::Again => self.steps.push_front(id),
                Looked::TooDear => {
                    self.steps.push_front(id);
                    return false;
                }
            }
        }
        if self.steps.is_empty() {
            self.answer_hellos(now);
        }
        !self.steps.is_empty()
    }

    /// When the budget will allow the next step that waits for it.
    pub(super) fn handshake_timeout(&self) -> Option<Mono> {
        let cost = match self.steps.front() {
            Some(id) => self.connection(*id).map_or(RsaCost::default(), |c| self.cost(c)),
            None if self.hellos.is_empty() => return None,
            None => self.signature_cost(),
        };
        Some(self.budget.affordable_at(cost))
    }

    /// What the next step of a handshake costs.
    fn cost(&self, connection: &Connection) -> RsaCost {
        let State::Handshake(Some(handshake)) = &connection.state else { return RsaCost::default() };
        match &**handshake {
            // Two X25519 operations take about as long as one RSA public operation.
            Handshake::AwaitingCert(AwaitingCert::Fresh(_)) => RsaCost::public(2048),
            // The CA's signature and the client's; the client's key is not known before.
            Handshake::AwaitingCert(AwaitingCert::Challenged(_)) => RsaCost::public(2048) * 2,
            Handshake::Verified(verified) => {
                let cost = RsaCost::public(verified.client().public_key().bits());
                // One of the two before was paid for and not made.
                if verified.was_remembered() { cost.beyond(RsaCost::public(2048)) } else { cost }
            }
            Handshake::AwaitingCert(AwaitingCert::Queued(_)) | Handshake::Keyed(_) => RsaCost::default(),
        }
    }

    fn signature_cost(&self) -> RsaCost {
        RsaCost::private(self.identity.key.public().bits())
    }

    fn step_handshake(&mut self, id: ConnId, now: Now) -> Looked {
        let Some(connection) = self.connection(id) else { return Looked::Rest };
        let cost = self.cost(connection);
        if matches!(&connection.state, State::Handshake(Some(h)) if matches!(**h, Handshake::Verified(_))) {
            if !self.budget.try_take(cost) {
                return Looked::TooDear;
            }
            return self.send_key(id, now);
        }
        self.take_message(id, cost, now)
    }

    /// Takes the next message of a handshake, if one is whole.
    fn take_message(&mut self, id: ConnId, cost: RsaCost, now: Now) -> Looked {
        let Some(connection) = self.connections.get_mut(id.slot as usize).filter(|c| c.id == id) else {
            return Looked::Rest;
        };
        let State::Handshake(state) = &mut connection.state else { return Looked::Rest };
        let expects = state.as_ref().is_some_and(|handshake| handshake.expects().is_some());
        if !expects || !connection.inbox.is_partial() {
            connection.queued = false;
            return Looked::Rest;
        }
        // Only a whole message is paid for; it is looked at again when the budget allows.
        match connection.inbox.has_handshake() {
            Ok(true) if !self.budget.try_take(cost) => return Looked::TooDear,
            Ok(true) | Err(_) => {}
            Ok(false) => {
                connection.queued = false;
                return Looked::Rest;
            }
        }
        let Some(handshake) = state.take() else { return Looked::Rest };
        let surroundings = Surroundings {
            certificate: &self.identity.certificate,
            trust: &self.trust,
            now: now.wall,
            entropy: &mut *self.entropy,
        };
        let step = match connection.inbox.next_handshake() {
            Ok(Some(message)) => handshake.handle(message.kind, message.payload, surroundings),
            Ok(None) => {
                *state = Some(handshake);
                connection.queued = false;
                return Looked::Rest;
            }
            Err(error) => Err(handshake.refuse(error, now.wall, &mut *self.entropy)),
        };
        match step {
            Ok(Step::Handshake(handshake)) => self.stepped(id, handshake),
            Ok(Step::Active(active)) => {
                self.activate(id, active, now);
                Looked::Rest
            }
            Err(refused) => {
                self.refuse(id, refused, now);
                Looked::Rest
            }
        }
    }

    fn stepped(&mut self, id: ConnId, handshake: Handshake) -> Looked {
        let (queued, verified) = (
            matches!(handshake, Handshake::AwaitingCert(AwaitingCert::Queued(_))),
            matches!(handshake, Handshake::Verified(_)),
        );
        let Some(connection) = self.connection_mut(id) else { return Looked::Rest };
        connection.state = State::Handshake(Some(Box::new(handshake)));
        if queued {
            self.hellos.push_back(id);
        }
        if verified { Looked::Again } else { Looked::Rest }
    }

    /// Sends the envelope: Verified becomes Keyed.
    fn send_key(&mut self, id: ConnId, now: Now) -> Looked {
        let Some(connection) = self.connections.get_mut(id.slot as usize).filter(|c| c.id == id) else {
            return Looked::Rest;
        };
        let State::Handshake(state) = &mut connection.state else { return Looked::Rest };
        let verified = match state.take().map(|handshake| *handshake) {
            Some(Handshake::Verified(verified)) => verified,
            other => {
                *state = other.map(Box::new);
                return Looked::Rest;
            }
        };
        match verified.key(now.wall, &mut *self.entropy) {
            Ok((keyed, bytes)) => {
                *state = Some(Box::new(keyed.into()));
                connection.greeting.extend_from_slice(&bytes);
                self.owe_and_listen(id);
                // ClientReady cannot be there yet, but what is there is looked at.
                Looked::Again
            }
            Err(refused) => {
                self.refuse(id, refused, now);
                Looked::Rest
            }
        }
    }

    /// One signature for all hellos that wait, if the budget allows it.
    fn answer_hellos(&mut self, now: Now) {
        let certificate = self.identity.certificate.der();
        let mut batch = Vec::new();
        let mut stale = Vec::new();
        if self.hellos.is_empty() || !self.budget.try_take(self.signature_cost()) {
            return;
        }
        while batch.len() < HELLO_BATCH_MAX {
            let Some(id) = self.hellos.pop_front() else { break };
            let Some(connection) = self.connections.get(id.slot as usize).filter(|c| c.id == id) else {
                continue;
            };
            let State::Handshake(Some(handshake)) = &connection.state else { continue };
            let Handshake::AwaitingCert(AwaitingCert::Queued(queued)) = &**handshake else { continue };
            // A hello that came before the certificate was replaced begins anew.
            if queued.certificate().der() == certificate {
                batch.push((id, queued.th1()));
            } else {
                stale.push(id);
            }
        }
        for id in stale {
            self.refuse_busy(id, now);
        }
        if batch.is_empty() {
            return;
        }
        let leaves: Vec<_> = batch.iter().map(|(_, th1)| *th1).collect();
        self.counters.signatures += 1;
        match sign_batch(&leaves, &self.identity.key, &mut *self.entropy) {
            Ok(signed) => {
                for (index, (id, _)) in batch.into_iter().enumerate() {
                    self.challenge(id, &signed, index);
                }
            }
            Err(fault) => {
                log::error!("the broker's key does not sign: {fault}");
                for (id, _) in batch {
                    self.refuse_busy(id, now);
                }
            }
        }
    }

    fn challenge(&mut self, id: ConnId, signed: &crate::session::Batch, index: usize) {
        let Some(connection) = self.connection_mut(id) else { return };
        let State::Handshake(state) = &mut connection.state else { return };
        match state.take().map(|handshake| *handshake) {
            Some(Handshake::AwaitingCert(AwaitingCert::Queued(queued))) => {
                let (challenged, bytes) = queued.challenge(signed, index);
                *state = Some(Box::new(challenged.into()));
                connection.greeting.extend_from_slice(&bytes);
                connection.queued = false;
                self.owe_and_listen(id);
                self.enqueue(id);
            }
            other => *state = other.map(Box::new),
        }
    }

    fn activate(&mut self, id: ConnId, active: Active, now: Now) {
        let Active { peer, keys } = active;
        let (sealer, opener) = keys.into_broker();
        if !self.processor.know(&peer, Some(now.wall)) {
            log::warn!("{id} {}: too many clients are known to remember this one", peer.name());
        }
        let Some(connection) = self.connection_mut(id) else { return };
        log::info!(
            "{id} {}: active, key {}, from {}",
            peer.name(),
            peer.fingerprint().short(),
            connection.address
        );
        connection.state = State::Active(Box::new(Live { peer: peer.clone(), sealer, opener }));
        connection.queued = false;
        self.counters.sessions += 1;
        self.admission.settled();
        let seat = Peer {
            name: peer.name().clone(),
            fingerprint: peer.fingerprint(),
            certificate: peer.shared_der(),
            verified: peer,
        };
        self.processor.join(id, seat);
        let welcome = BrokerFrame::Welcome {
            time: now.wall,
            keepalive_secs: self.config.keepalive.as_secs().clamp(1, u16::MAX.into()) as u16,
            message_bytes_max: self.config.message_bytes_max as u32,
            window: self.config.unanswered_publishes_max.min(u16::MAX.into()) as u16,
            crl_number: self.processor.crl_number(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
        };
        self.processor.answer(id, welcome);
        self.arm(id, now);
        self.enqueue(id);
        self.events.push_back(BrokerEvent::Readable(id));
    }

    /// Output is owed, and the peer's next message may come.
    fn owe_and_listen(&mut self, id: ConnId) {
        self.events.push_back(BrokerEvent::Transmit(id));
        self.events.push_back(BrokerEvent::Readable(id));
    }

    /// Ends a handshake: the refusal is written, then the connection is closed.
    pub(super) fn refuse(&mut self, id: ConnId, refused: Refused, now: Now) {
        let Some(connection) = self.connection_mut(id) else { return };
        if !matches!(connection.state, State::Handshake(_)) {
            return;
        }
        log::debug!("{id} from {}: refused: {}", connection.address, refused.error);
        connection.greeting.extend_from_slice(&refused.message);
        connection.state = State::Ended;
        connection.cut_at = Some(now.mono + super::CLOSE_TIME_MAX);
        self.counters.refused += 1;
        self.admission.settled();
        self.arm(id, now);
        self.events.push_back(BrokerEvent::Transmit(id));
    }

    pub(super) fn refuse_busy(&mut self, id: ConnId, now: Now) {
        self.refuse_for(id, HandshakeError::Busy { retry_after: BUSY_RETRY }, now);
    }

    pub(super) fn refuse_timeout(&mut self, id: ConnId, now: Now) {
        self.refuse_for(id, HandshakeError::Timeout, now);
    }

    fn refuse_for(&mut self, id: ConnId, error: HandshakeError, now: Now) {
        let Some(connection) = self.connections.get(id.slot as usize).filter(|c| c.id == id) else { return };
        if let State::Handshake(Some(handshake)) = &connection.state {
            let refused = handshake.refuse(error, now.wall, &mut *self.entropy);
            self.refuse(id, refused, now);
        }
    }

    /// While all places are taken, the oldest newcomer without a whole hello goes.
    pub(super) fn make_room_for_newcomers(&mut self, now: Now) {
        self.admission.set_next_eviction(None);
        while let Some(id) = self.admission.newcomers.front().copied() {
            let fresh_since = self.connection(id).filter(|c| c.is_fresh()).map(|c| c.since.mono);
            let Some(since) = fresh_since else {
                self.admission.newcomers.pop_front();
                continue;
            };
            if !self.admission.is_full() {
                return;
            }
            if since + HELLO_TIME_WHEN_FULL > now.mono {
                self.admission.set_next_eviction(Some(since + HELLO_TIME_WHEN_FULL));
                return;
            }
            self.admission.newcomers.pop_front();
            self.refuse_busy(id, now);
        }
    }
}

/// When a refused newcomer should come back.
const BUSY_RETRY: std::time::Duration = std::time::Duration::from_secs(2);
/// Looks at handshakes in one turn, most of them cheap.
const STEPS_PER_TURN: usize = 512;
