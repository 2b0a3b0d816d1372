//! The broker's end of a session, without a broker: it shakes hands, then says what it is told.

use std::sync::Arc;

use crate::base::entropy::random_array;
use crate::base::time::Now;
use crate::crypto::cert::testing::{Seeded, World};
use crate::crypto::cert::{Certificate, Role, Trust};
use crate::crypto::key::PrivateKey;
use crate::session::broker::{AwaitingCert, Handshake, Step, Surroundings};
use crate::session::inbox::Progress;
use crate::session::{Inbox, Opener, Sealer, sign_batch};
use crate::wire::frame::{BrokerFrame, ClientFrame, scan_bodies};

pub struct Peer {
    key: PrivateKey,
    pub certificate: Certificate,
    /// Whom it takes for a client.
    trust: Trust,
    entropy: Seeded,
    inbox: Inbox,
    state: State,
    /// What the client said, each with the body beside it.
    heard: Vec<(ClientFrame, Option<Arc<[u8]>>)>,
}

enum State {
    Shaking(Option<Handshake>),
    Active(Box<(Sealer, Opener)>),
    Over,
}

impl Peer {
    pub fn new(world: &World) -> Peer {
        let certificate = world.verified(&world.broker.1, Role::Broker);
        Peer {
            key: world.broker.0.clone(),
            certificate,
            trust: world.trust.clone(),
            entropy: Seeded::new(77),
            inbox: Inbox::new(),
            state: State::Shaking(Some(Handshake::new())),
            heard: Vec::new(),
        }
    }

    /// Takes what the client sent; returns the handshake's answers.
    pub fn handle(&mut self, bytes: &[u8], now: Now) -> Vec<u8> {
        self.inbox.push(bytes);
        let mut out = Vec::new();
        self.shake(&mut out, now);
        self.listen();
        out
    }

    /// A record of these frames, with bodies beside the token.
    pub fn say(&mut self, frames: &[BrokerFrame], bodies: &[&[u8]], now: Now) -> Vec<u8> {
        let State::Active(keys) = &mut self.state else { panic!("there is no session to speak in") };
        let sealer = &mut keys.0;
        let mut out = Vec::new();
        let start = sealer.begin(&mut out);
        frames.iter().for_each(|frame| frame.encode(&mut out));
        sealer.finish(&mut out, start, now.wall, &random_array(&mut self.entropy));
        bodies.iter().for_each(|body| out.extend_from_slice(body));
        out
    }

    /// The number of the next record: a goodbye names it.
    pub fn next_sequence(&self) -> u64 {
        match &self.state {
            State::Active(keys) => keys.0.next_sequence(),
            _ => 0,
        }
    }

    pub fn is_active(&self) -> bool {
        matches!(self.state, State::Active(..))
    }

    /// What the client said since it was last asked.
    pub fn heard(&mut self) -> Vec<(ClientFrame, Option<Arc<[u8]>>)> {
        std::mem::take(&mut self.heard)
    }

    fn shake(&mut self, out: &mut Vec<u8>, now: Now) {
        while let State::Shaking(state) = &mut self.state {
            let Some(message) = self.inbox.next_handshake().expect("whole messages") else { return };
            let with = Surroundings {
                certificate: &self.certificate,
                trust: &self.trust,
                now: now.wall,
                entropy: &mut self.entropy,
            };
            let before = state.take().expect("there is a state until the end");
            let next = match before.handle(message.kind, message.payload, with) {
                Ok(Step::Handshake(Handshake::AwaitingCert(AwaitingCert::Queued(queued)))) => {
                    let batch =
                        sign_batch(&[queued.th1()], &self.key, &mut self.entropy).expect("a signature");
                    let (challenged, bytes) = queued.challenge(&batch, 0);
                    out.extend(bytes);
                    State::Shaking(Some(Handshake::AwaitingCert(AwaitingCert::Challenged(challenged))))
                }
                Ok(Step::Handshake(Handshake::Verified(verified))) => {
                    let (keyed, bytes) = verified.key(now.wall, &mut self.entropy).expect("an envelope");
                    out.extend(bytes);
                    State::Shaking(Some(Handshake::Keyed(keyed)))
                }
                Ok(Step::Handshake(other)) => State::Shaking(Some(other)),
                Ok(Step::Active(active)) => State::Active(Box::new(active.keys.into_broker())),
                Err(refused) => {
                    out.extend(refused.message);
                    State::Over
                }
            };
            self.state = next;
        }
    }

    fn listen(&mut self) {
        while let State::Active(keys) = &mut self.state {
            let progress =
                self.inbox.next_record(&mut keys.1, scan_bodies, usize::MAX).expect("good records");
            let Progress::Record(record) = progress else { return };
            let mut bodies = record.bodies.into_iter();
            for frame in ClientFrame::decode_all(record.frames).expect("good frames") {
                let beside =
                    matches!(&frame, ClientFrame::Publish { body: crate::wire::body::Body::Beside(_), .. });
                let body = if beside { bodies.next() } else { None };
                self.heard.push((frame, body));
            }
        }
    }
}
