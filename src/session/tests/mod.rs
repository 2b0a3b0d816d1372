//! The handshake from end to end, and what must never pass.

mod flips;
mod forged;
mod matrix;
mod refusals;
mod vectors;

use std::sync::LazyLock;

use super::broker::{self, Handshake};
use super::client::{self, ClientError, ClientHandshake};
use super::{Active, Batch, Inbox, sign_batch};
use crate::base::{Entropy, Wall};
use crate::crypto::cert::testing::{NOON, Seeded, World, key, world};
use crate::crypto::cert::{Certificate, Role, Trust};
use crate::crypto::key::PrivateKey;
use crate::wire::handshake::MessageType;

/// Who the two sides are, and at what time.
pub struct Cast {
    pub trust: Trust,
    pub now: Wall,
    pub broker: (PrivateKey, Certificate),
    pub client: (PrivateKey, Certificate),
}

impl Cast {
    pub fn new(world: &World, who: &str) -> Cast {
        let (broker_key, broker) = &world.broker;
        let broker = (broker_key.clone(), world.verified(broker, Role::Broker));
        let client = (key(who), world.issue(who, who, Role::Client, &[]));
        Cast { trust: world.trust.clone(), now: NOON, broker, client }
    }

    pub fn as_broker<'a>(&'a self, entropy: &'a mut dyn Entropy) -> broker::Surroundings<'a> {
        broker::Surroundings { certificate: &self.broker.1, trust: &self.trust, now: self.now, entropy }
    }

    pub fn as_client<'a>(&'a self, entropy: &'a mut dyn Entropy) -> client::Surroundings<'a> {
        client::Surroundings {
            trust: &self.trust,
            certificate: &self.client.1,
            key: &self.client.0,
            host: Some("localhost"),
            now: self.now,
            entropy,
        }
    }
}

/// One good conversation, kept, so that each side can be put into any state again without
/// the other: the same seeds give the same bytes.
pub struct Conversation {
    pub cast: Cast,
    seed: u64,
    batch: Batch,
    /// The five messages, whole.
    pub messages: [Vec<u8>; 5],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BrokerState {
    Fresh,
    Queued,
    Challenged,
    Verified,
    Keyed,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientState {
    AwaitingBrokerHello,
    AwaitingSessionKey,
}

/// Alice's conversation with the broker.
pub static ALICE: LazyLock<Conversation> =
    LazyLock::new(|| Conversation::hold(Cast::new(&world(), "alice"), 1));

impl Conversation {
    pub fn hold(cast: Cast, seed: u64) -> Conversation {
        let (client, hello) = ClientHandshake::start(&mut Seeded::new(seed));
        let queued = queued(to_broker(Handshake::new(), &hello, &cast, seed + 1));
        let batch =
            sign_batch(&[queued.th1()], &cast.broker.0, &mut Seeded::new(seed + 2)).expect("a sound machine");
        let (challenged, broker_hello) = queued.challenge(&batch, 0);
        let (client, auth) = pending(to_client(client, &broker_hello, &cast, seed + 3));
        let Ok(Some(broker::Step::Handshake(Handshake::Verified(verified)))) =
            to_broker(challenged.into(), &auth, &cast, seed + 4)
        else {
            panic!("a good ClientAuth is verified");
        };
        let (_, session_key) = verified.key(cast.now, &mut Seeded::new(seed + 5)).expect("a sound machine");
        let Ok(Some(client::Step::Active(_, ready, _))) = to_client(client, &session_key, &cast, seed + 6)
        else {
            panic!("a good SessionKey makes the client active");
        };
        Conversation { cast, seed, batch, messages: [hello, broker_hello, auth, session_key, ready] }
    }

    /// The broker as it is in `state` of this conversation.
    pub fn broker(&self, state: BrokerState) -> Handshake {
        let (cast, seed) = (&self.cast, self.seed);
        let fresh = Handshake::new();
        if state == BrokerState::Fresh {
            return fresh;
        }
        let queued = queued(to_broker(fresh, &self.messages[0], cast, seed + 1));
        if state == BrokerState::Queued {
            return queued.into();
        }
        let (challenged, _) = queued.challenge(&self.batch, 0);
        if state == BrokerState::Challenged {
            return challenged.into();
        }
        let payload = &self.messages[2][5..];
        let verified = challenged
            .auth(payload, &cast.trust, cast.now, &mut Seeded::new(seed + 4))
            .expect("a good ClientAuth is verified");
        if state == BrokerState::Verified {
            return verified.into();
        }
        verified.key(cast.now, &mut Seeded::new(seed + 5)).expect("a sound machine").0.into()
    }

    /// The client as it is in `state` of this conversation.
    pub fn client(&self, state: ClientState) -> ClientHandshake {
        let (client, _) = ClientHandshake::start(&mut Seeded::new(self.seed));
        match state {
            ClientState::AwaitingBrokerHello => client,
            ClientState::AwaitingSessionKey => {
                pending(to_client(client, &self.messages[1], &self.cast, self.seed + 3)).0
            }
        }
    }
}

pub fn broker_state(handshake: &Handshake) -> BrokerState {
    match handshake {
        Handshake::AwaitingCert(broker::AwaitingCert::Fresh(_)) => BrokerState::Fresh,
        Handshake::AwaitingCert(broker::AwaitingCert::Queued(_)) => BrokerState::Queued,
        Handshake::AwaitingCert(broker::AwaitingCert::Challenged(_)) => BrokerState::Challenged,
        Handshake::Verified(_) => BrokerState::Verified,
        Handshake::Keyed(_) => BrokerState::Keyed,
    }
}

pub fn client_state(handshake: &ClientHandshake) -> ClientState {
    match handshake {
        ClientHandshake::AwaitingBrokerHello(_) => ClientState::AwaitingBrokerHello,
        ClientHandshake::AwaitingSessionKey(_) => ClientState::AwaitingSessionKey,
    }
}

/// Bytes through an inbox to the broker; `None`: it waits for more.
pub fn to_broker(
    state: Handshake,
    bytes: &[u8],
    cast: &Cast,
    seed: u64,
) -> Result<Option<broker::Step>, broker::Refused> {
    let mut inbox = Inbox::new();
    inbox.push(bytes);
    match inbox.next_handshake() {
        Ok(None) => Ok(None),
        Ok(Some(m)) => state.handle(m.kind, m.payload, cast.as_broker(&mut Seeded::new(seed))).map(Some),
        Err(e) => Err(state.refuse(e, cast.now, &mut Seeded::new(seed))),
    }
}

/// Bytes through an inbox to the client; `None`: it waits for more.
pub fn to_client(
    state: ClientHandshake,
    bytes: &[u8],
    cast: &Cast,
    seed: u64,
) -> Result<Option<client::Step>, ClientError> {
    let mut inbox = Inbox::new();
    inbox.push(bytes);
    let Some(m) = inbox.next_handshake()? else { return Ok(None) };
    state.handle(m.kind, m.payload, cast.as_client(&mut Seeded::new(seed))).map(Some)
}

pub fn queued(step: Result<Option<broker::Step>, broker::Refused>) -> broker::Queued {
    match step {
        Ok(Some(broker::Step::Handshake(Handshake::AwaitingCert(broker::AwaitingCert::Queued(q))))) => q,
        Ok(_) => panic!("a good ClientHello is queued"),
        Err(refused) => panic!("{}", refused.error),
    }
}

pub fn pending(step: Result<Option<client::Step>, ClientError>) -> (ClientHandshake, Vec<u8>) {
    match step {
        Ok(Some(client::Step::Handshake(state, bytes))) => (state, bytes),
        Ok(_) => panic!("a good BrokerHello is answered"),
        Err(e) => panic!("{e}"),
    }
}

/// A whole message of any type byte.
pub fn raw(kind: u8, payload: &[u8]) -> Vec<u8> {
    [&(payload.len() as u32 + 1).to_be_bytes()[..], &[kind], payload].concat()
}

fn active(talk: &Conversation) -> (Active, Active) {
    let keyed = talk.broker(BrokerState::Keyed);
    let Ok(Some(broker::Step::Active(at_broker))) = to_broker(keyed, &talk.messages[4], &talk.cast, 90)
    else {
        panic!("a good ClientReady makes the broker active");
    };
    let client = talk.client(ClientState::AwaitingSessionKey);
    let Ok(Some(client::Step::Active(at_client, ..))) = to_client(client, &talk.messages[3], &talk.cast, 91)
    else {
        panic!("a good SessionKey makes the client active");
    };
    (at_broker, at_client)
}

#[test]
fn both_sides_know_each_other_and_share_two_keys() {
    let (at_broker, at_client) = active(&ALICE);
    assert_eq!(at_broker.peer.fingerprint(), ALICE.cast.client.1.fingerprint());
    assert_eq!(at_client.peer.fingerprint(), ALICE.cast.broker.1.fingerprint());
    assert_eq!(at_broker.keys.expose(), at_client.keys.expose());
    let (client_to_broker, broker_to_client) = at_broker.keys.expose();
    assert_ne!(client_to_broker, broker_to_client);
    assert_eq!(
        format!("{:?}", at_broker.keys),
        "SessionKeys { client_to_broker: ***, broker_to_client: *** }"
    );
}

#[test]
fn records_flow_both_ways_and_never_back() {
    let (at_broker, at_client) = active(&ALICE);
    let (mut broker_seals, mut broker_opens) = at_broker.keys.into_broker();
    let (mut client_seals, mut client_opens) = at_client.keys.into_client();
    let record = |sealer: &mut super::Sealer, frames: &[u8]| {
        let mut out = Vec::new();
        let start = sealer.begin(&mut out);
        out.extend_from_slice(frames);
        sealer.finish(&mut out, start, NOON, &[1; 16]);
        out.split_off(super::record::LENGTH_BYTES)
    };
    let mut up = record(&mut client_seals, b"up");
    let mut down = record(&mut broker_seals, b"down");
    // A record sent back to its sender is not the peer's: each direction has a key of its own.
    let (_, mut client_again) = active(&ALICE).1.keys.into_client();
    assert!(client_again.open(&mut up.clone()).is_err());
    let (_, mut broker_again) = active(&ALICE).0.keys.into_broker();
    assert!(broker_again.open(&mut down.clone()).is_err());
    // Nor does another session of the same two take it.
    let other = active(&Conversation::hold(Cast::new(&world(), "alice"), 900));
    assert!(other.0.keys.into_broker().1.open(&mut up.clone()).is_err());
    assert!(other.1.keys.into_client().1.open(&mut down.clone()).is_err());
    assert_eq!(broker_opens.open(&mut up), Ok(&b"up"[..]));
    assert_eq!(client_opens.open(&mut down), Ok(&b"down"[..]));
}

/// Two hundred and fifty-six clients, one signature, each with its own path.
#[test]
fn one_signature_answers_a_whole_batch() {
    let cast = &ALICE.cast;
    let (clients, queued): (Vec<_>, Vec<_>) = (0..256)
        .map(|i| {
            let (client, hello) = ClientHandshake::start(&mut Seeded::new(1000 + i));
            (client, queued(to_broker(Handshake::new(), &hello, cast, 2000 + i)))
        })
        .unzip();
    let hellos: Vec<_> = queued.iter().map(|q| q.th1()).collect();
    let batch = sign_batch(&hellos, &cast.broker.0, &mut Seeded::new(3)).expect("a sound machine");
    let answers = queued.into_iter().enumerate().map(|(i, q)| q.challenge(&batch, i).1);
    for (i, (client, answer)) in clients.into_iter().zip(answers).enumerate() {
        // A client's own signature takes its time; every fifteenth, the first and the last among them, makes it.
        if i % 15 == 0 {
            pending(to_client(client, &answer, cast, 4));
        }
    }
}

/// The answer to one hello of a batch is no answer to another.
#[test]
fn an_answer_serves_its_own_hello_alone() {
    let cast = &ALICE.cast;
    let (_, hello_a) = ClientHandshake::start(&mut Seeded::new(50));
    let (client_b, hello_b) = ClientHandshake::start(&mut Seeded::new(51));
    let a = queued(to_broker(Handshake::new(), &hello_a, cast, 52));
    let b = queued(to_broker(Handshake::new(), &hello_b, cast, 53));
    let batch =
        sign_batch(&[a.th1(), b.th1()], &cast.broker.0, &mut Seeded::new(54)).expect("a sound machine");
    let (_, answer_a) = a.challenge(&batch, 0);
    assert!(to_client(client_b, &answer_a, cast, 55).is_err());
    let (client_b, _) = ClientHandshake::start(&mut Seeded::new(51));
    pending(to_client(client_b, &b.challenge(&batch, 1).1, cast, 56));
}

#[test]
#[should_panic(expected = "a hello is answered from its own place")]
fn answering_from_another_place_is_a_bug() {
    let cast = &ALICE.cast;
    let hello = |seed| {
        let (_, hello) = ClientHandshake::start(&mut Seeded::new(seed));
        queued(to_broker(Handshake::new(), &hello, cast, seed + 100))
    };
    let (a, b) = (hello(60), hello(61));
    let batch =
        sign_batch(&[a.th1(), b.th1()], &cast.broker.0, &mut Seeded::new(62)).expect("a sound machine");
    let _ = a.challenge(&batch, 1);
}

#[test]
fn every_message_type_is_what_it_says() {
    let kinds = [
        MessageType::ClientHello,
        MessageType::BrokerHello,
        MessageType::ClientAuth,
        MessageType::SessionKey,
        MessageType::ClientReady,
    ];
    for (message, kind) in ALICE.messages.iter().zip(kinds) {
        assert_eq!(message[..4], (message.len() as u32 - 4).to_be_bytes());
        assert_eq!(message[4], kind as u8);
    }
}
