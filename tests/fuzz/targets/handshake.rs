//! Handshake messages: their decoders, and both sides' states.
//!
//! Nobody becomes Active by anything but the one good message, whatever comes in whatever state.

use std::sync::LazyLock;

use sealmq::base::entropy::random_array;
use sealmq::crypto::cert::testing::Seeded;
use sealmq::crypto::dh::Ephemeral;
use sealmq::crypto::fernet::{OpeningKey, SealingKey};
use sealmq::crypto::kdf::mac;
use sealmq::session::broker::{self, AwaitingCert, Handshake, Queued};
use sealmq::session::client::{self, ClientError, ClientHandshake};
use sealmq::session::schedule::{Agreed, Th1, Th2, Th3};
use sealmq::session::{Batch, Inbox, sign_batch};
use sealmq::wire::handshake::*;

use super::feed::Feed;
use super::stage::{NOW, STAGE};

const HELLO: usize = 0;
const BROKER_HELLO: usize = 1;
const AUTH: usize = 2;
const SESSION_KEY: usize = 3;
const READY: usize = 4;
/// Bytes of length and type before a message's payload.
const HEADER: usize = 5;

/// One good conversation between alice and the broker, and the keys that alice had in it.
struct Talk {
    batch: Batch,
    messages: [Vec<u8>; 5],
    agreed: Agreed,
    th2: Th2,
    /// Alice's signature in her ClientAuth.
    signature: Vec<u8>,
}

static TALK: LazyLock<Talk> = LazyLock::new(Talk::hold);

impl Talk {
    fn hold() -> Talk {
        let (client, hello) = ClientHandshake::start(&mut Seeded::new(1));
        let queued = Talk::queued(&hello);
        let batch =
            sign_batch(&[queued.th1()], &STAGE.broker.0, &mut Seeded::new(3)).expect("a sound machine");
        let (challenged, broker_hello) = queued.challenge(&batch, 0);
        let mut entropy = Seeded::new(4);
        let with = STAGE.as_client(&STAGE.alice, &mut entropy);
        let Ok(client::Step::Handshake(client, auth)) =
            client.handle(broker_hello[4], &broker_hello[HEADER..], with)
        else {
            panic!("a good BrokerHello is answered");
        };
        let verified = challenged
            .auth(&auth[HEADER..], &STAGE.world.trust, NOW, &mut Seeded::new(5))
            .expect("a good ClientAuth is verified");
        let (_, session_key) = verified.key(NOW, &mut Seeded::new(6)).expect("a sound machine");
        let mut entropy = Seeded::new(7);
        let with = STAGE.as_client(&STAGE.alice, &mut entropy);
        let Ok(client::Step::Active(_, ready, _)) =
            client.handle(session_key[4], &session_key[HEADER..], with)
        else {
            panic!("a good SessionKey makes the client active");
        };
        let messages = [hello, broker_hello, auth, session_key, ready];
        let (agreed, th2, signature) = secrets(&messages);
        Talk { batch, messages, agreed, th2, signature }
    }

    fn queued(hello: &[u8]) -> Queued {
        let mut entropy = Seeded::new(2);
        let step = Handshake::new().handle(hello[4], &hello[HEADER..], STAGE.as_broker(&mut entropy));
        match step {
            Ok(broker::Step::Handshake(Handshake::AwaitingCert(AwaitingCert::Queued(queued)))) => queued,
            _ => panic!("a good ClientHello is queued"),
        }
    }

    /// The broker in its `n`th state.
    fn broker(&self, n: usize) -> Handshake {
        if n == 0 {
            return Handshake::new();
        }
        let queued = Talk::queued(&self.messages[HELLO]);
        if n == 1 {
            return queued.into();
        }
        let (challenged, _) = queued.challenge(&self.batch, 0);
        if n == 2 {
            return challenged.into();
        }
        let verified = challenged
            .auth(&self.messages[AUTH][HEADER..], &STAGE.world.trust, NOW, &mut Seeded::new(5))
            .expect("a good ClientAuth is verified");
        match n {
            3 => verified.into(),
            _ => verified.key(NOW, &mut Seeded::new(6)).expect("a sound machine").0.into(),
        }
    }

    /// The client in its `n`th state.
    fn client(&self, n: usize) -> ClientHandshake {
        let (client, _) = ClientHandshake::start(&mut Seeded::new(1));
        if n == 0 {
            return client;
        }
        let mut entropy = Seeded::new(4);
        let with = STAGE.as_client(&STAGE.alice, &mut entropy);
        let hello = &self.messages[BROKER_HELLO];
        match client.handle(hello[4], &hello[HEADER..], with) {
            Ok(client::Step::Handshake(client, _)) => client,
            _ => panic!("a good BrokerHello is answered"),
        }
    }
}

/// What alice knows, made again from her seed.
fn secrets(messages: &[Vec<u8>; 5]) -> (Agreed, Th2, Vec<u8>) {
    let hello = BrokerHello::decode(&messages[BROKER_HELLO][HEADER..]).expect("a good BrokerHello");
    let mut entropy = Seeded::new(1);
    let _nonce: [u8; 32] = random_array(&mut entropy);
    let dh = Ephemeral::generate(&mut entropy).agree(&hello.x).expect("no zero");
    let th1 = Th1::new(&messages[HELLO][HEADER..], &hello.nonce, &hello.x, hello.certificate);
    let agreed = Agreed::new(dh, th1);
    let own = STAGE.alice.1.der();
    let th2 = Th2::new(agreed.th1(), &hello.path.encode(), hello.signature, own);
    let mut token = messages[AUTH][HEADER..].to_vec();
    let plain = OpeningKey::new(&agreed.auth_key()).open(&mut token).expect("alice's own");
    let signature = ClientAuth::decode(plain).expect("alice's own").signature.to_vec();
    (agreed, th2, signature)
}

/// The first byte says which message the others are to be.
pub fn messages(data: &[u8]) {
    let Some((kind, payload)) = data.split_first() else { return };
    let again = match kind {
        1 => ClientHello::decode(payload).ok().map(|m| m.encode()),
        2 => BrokerHello::decode(payload).ok().map(|m| m.encode()),
        3 => ClientAuth::decode(payload).ok().map(|m| m.encode()),
        4 => SessionKey::decode(payload).ok().map(|m| m.encode()),
        5 => ClientReady::decode(payload).ok().map(|m| m.mac.to_vec()),
        6 => Refusal::decode(payload).ok().map(|m| m.encode()),
        _ => {
            assert_eq!(MessageType::try_from(*kind).is_ok(), *kind == 7);
            None
        }
    };
    assert!(again.is_none_or(|again| again == payload), "one meaning has one form");
}

pub fn message_seeds() -> Vec<Vec<u8>> {
    let mut seeds: Vec<Vec<u8>> = TALK.messages.iter().map(|m| m[4..].to_vec()).collect();
    let auth = ClientAuth { certificate: STAGE.alice.1.der(), signature: &TALK.signature };
    seeds[AUTH] = [&[3], &auth.encode()[..]].concat();
    let path = BatchPath { index: 3, size: 200, siblings: vec![[7; 32]; 8] };
    let hello = BrokerHello::decode(&TALK.messages[BROKER_HELLO][HEADER..]).expect("a good BrokerHello");
    seeds.push([&[2], &BrokerHello { path, ..hello }.encode()[..]].concat());
    seeds.push([&[6], &refusal()[..]].concat());
    seeds
}

fn refusal() -> Vec<u8> {
    Refusal { code: RefusalCode::Busy, retry_after_ms: 250, text: "come back later".to_owned() }.encode()
}

/// First the state, then where the bytes are cut in two, then what comes on the wire. In the state after
/// the last what comes is the plaintext of a ClientAuth that is sealed as it should be.
pub fn broker(data: &[u8]) {
    let mut feed = Feed::new(data);
    let (state, cut) = (feed.below(6), usize::from(feed.byte()));
    let bytes = feed.rest();
    if state == 5 {
        return auth_plaintext(bytes);
    }
    let mut handshake = TALK.broker(state);
    let mut inbox = Inbox::new();
    let (first, second) = bytes.split_at(cut.min(bytes.len()));
    for piece in [first, second] {
        inbox.push(piece);
        loop {
            let mut entropy = Seeded::new(8);
            let message = match inbox.next_handshake() {
                Ok(Some(message)) => message,
                Ok(None) => break,
                Err(e) => return drop(handshake.refuse(e, NOW, &mut entropy)),
            };
            let ready = &TALK.messages[READY];
            let good = state == 4 && message.kind == ready[4] && message.payload == &ready[HEADER..];
            match handshake.handle(message.kind, message.payload, STAGE.as_broker(&mut entropy)) {
                Ok(broker::Step::Handshake(next)) => handshake = next,
                Ok(broker::Step::Active(_)) => return assert!(good, "active by something else"),
                Err(refused) => return assert!(!good, "{}", refused.error),
            }
        }
    }
}

fn auth_plaintext(plain: &[u8]) {
    if plain.len() > HANDSHAKE_PLAIN_MAX {
        return;
    }
    let token = SealingKey::new(&TALK.agreed.auth_key()).seal_to_vec(plain, NOW.secs(), &[9; 16]);
    let mut entropy = Seeded::new(8);
    let with = STAGE.as_broker(&mut entropy);
    let step = TALK.broker(2).handle(MessageType::ClientAuth as u8, &token, with);
    let good = ClientAuth { certificate: STAGE.alice.1.der(), signature: &TALK.signature }.encode();
    assert_eq!(step.is_ok(), plain == good, "alice's own, and nothing else");
}

/// What fits a message with a token's own bytes.
const HANDSHAKE_PLAIN_MAX: usize = 8000;

pub fn broker_seeds() -> Vec<Vec<u8>> {
    let mut seeds: Vec<Vec<u8>> = Vec::new();
    for state in 0..5 {
        for message in [HELLO, AUTH, READY] {
            seeds.push([&[state, 20], &TALK.messages[message][..]].concat());
        }
    }
    let auth = ClientAuth { certificate: STAGE.alice.1.der(), signature: &TALK.signature };
    seeds.push([&[5, 0], &auth.encode()[..]].concat());
    seeds
}

/// First the state, then what comes on the wire; or the envelope of a SessionKey with a good MAC, or the
/// plaintext of a refusal that is sealed as it should be.
pub fn client(data: &[u8]) {
    let mut feed = Feed::new(data);
    let state = feed.below(4);
    let bytes = feed.rest();
    match state {
        2 => return envelope(bytes),
        3 => return sealed_refusal(bytes),
        _ => {}
    }
    let mut handshake = TALK.client(state);
    let mut inbox = Inbox::new();
    inbox.push(bytes);
    while let Ok(Some(message)) = inbox.next_handshake() {
        let good = message.payload == &TALK.messages[SESSION_KEY][HEADER..];
        let mut entropy = Seeded::new(8);
        let with = STAGE.as_client(&STAGE.alice, &mut entropy);
        match handshake.handle(message.kind, message.payload, with) {
            Ok(client::Step::Handshake(next, _)) => handshake = next,
            Ok(client::Step::Active(..)) => return assert!(good, "active by something else"),
            Err(_) => return,
        }
    }
}

fn envelope(envelope: &[u8]) {
    let envelope = &envelope[..envelope.len().min(1000)];
    let th3 = Th3::new(&TALK.th2, &TALK.signature, envelope);
    let mac = mac(&TALK.agreed.envelope_key(&TALK.th2), th3.as_bytes());
    let message = SessionKey { envelope, mac }.encode();
    let mut entropy = Seeded::new(8);
    let with = STAGE.as_client(&STAGE.alice, &mut entropy);
    let step = TALK.client(1).handle(MessageType::SessionKey as u8, &message, with);
    let good = SessionKey::decode(&TALK.messages[SESSION_KEY][HEADER..]).expect("a good SessionKey");
    assert_eq!(matches!(step, Ok(client::Step::Active(..))), envelope == good.envelope);
}

fn sealed_refusal(plain: &[u8]) {
    let token = SealingKey::new(&TALK.agreed.refusal_key()).seal_to_vec(plain, NOW.secs(), &[9; 16]);
    let mut entropy = Seeded::new(8);
    let with = STAGE.as_client(&STAGE.alice, &mut entropy);
    match TALK.client(1).handle(MessageType::SealedRefusal as u8, &token, with) {
        Ok(_) => panic!("a refusal led on"),
        Err(ClientError::Refused { authenticated, .. }) => assert!(authenticated),
        Err(ClientError::Failed(_)) => {}
    }
}

pub fn client_seeds() -> Vec<Vec<u8>> {
    let mut seeds: Vec<Vec<u8>> = Vec::new();
    for state in 0..2 {
        for sent in [BROKER_HELLO, SESSION_KEY] {
            seeds.push([&[state], &TALK.messages[sent][..]].concat());
        }
        seeds.push([&[state], &message(MessageType::Refusal, &refusal())[..]].concat());
    }
    let key = SessionKey::decode(&TALK.messages[SESSION_KEY][HEADER..]).expect("a good SessionKey");
    seeds.push([&[2], key.envelope].concat());
    seeds.push([&[3], &refusal()[..]].concat());
    seeds
}
