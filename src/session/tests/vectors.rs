//! `tests/vectors/handshake.json`: one whole conversation with every value in it, so that a client in
//! another language can check itself step by step.
//!
//! `SEALMQ_BLESS=1 cargo test session::tests::vectors` writes the file anew.

use hkdf::Hkdf;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::*;
use crate::crypto::secret::Secret32;
use crate::session::record::Sealer;
use crate::session::schedule::{Th1, next_key};
use crate::session::{HandshakeError, Opener};
use crate::wire::handshake::{BrokerHello, ClientAuth, SessionKey};

const PATH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vectors/handshake.json");

const ABOUT: [&str; 9] = [
    "One conversation of sealmq/1, every value of it, bytes in hexadecimal.",
    "The RSA keys are keys/broker.key and keys/alice.key; the certificates below belong to them.",
    "A message stands whole, as on the wire: length, type, payload. The names of the values are those",
    "of docs/PROTOCOL.md.",
    "Random values are given where they were drawn: nonce and x_secret (the X25519 private key, not yet",
    "clamped), pss_salt, oaep_seed, session_secret, and iv. Blinding changes no result and is not given.",
    "The batch has three hellos, of which this one is at index 1; of the others only th1 is given.",
    "A record's frames are any bytes here; what frames are is another matter. The record numbered 1048576",
    "is the first under the key that follows client_to_broker.",
];

/// Bytes that are read and written as hexadecimal digits.
#[derive(Clone, PartialEq, Eq)]
struct Hex(Vec<u8>);

#[derive(Serialize, Deserialize, PartialEq, Debug, Clone)]
struct Vectors {
    about: Vec<String>,
    now: u64,
    ca_certificate: Hex,
    broker_certificate: Hex,
    client_certificate: Hex,
    client_hello: ClientHelloVector,
    broker_hello: BrokerHelloVector,
    client_auth: ClientAuthVector,
    session_key: SessionKeyVector,
    client_ready: ClientReadyVector,
    session_keys: SessionKeysVector,
    records: Vec<RecordVector>,
    refusal: RefusalVector,
    sealed_refusal: RefusalVector,
}

#[derive(Serialize, Deserialize, PartialEq, Debug, Clone)]
struct ClientHelloVector {
    nonce: Hex,
    x_secret: Hex,
    message: Hex,
}

#[derive(Serialize, Deserialize, PartialEq, Debug, Clone)]
struct BrokerHelloVector {
    nonce: Hex,
    x_secret: Hex,
    th1: Hex,
    batch: Vec<Hex>,
    root: Hex,
    pss_salt: Hex,
    signature: Hex,
    batch_path: Hex,
    message: Hex,
}

#[derive(Serialize, Deserialize, PartialEq, Debug, Clone)]
struct ClientAuthVector {
    dh: Hex,
    th2: Hex,
    pss_salt: Hex,
    signature: Hex,
    hs_key: Hex,
    iv: Hex,
    plaintext: Hex,
    message: Hex,
}

#[derive(Serialize, Deserialize, PartialEq, Debug, Clone)]
struct SessionKeyVector {
    session_secret: Hex,
    oaep_seed: Hex,
    envelope: Hex,
    th3: Hex,
    env_key: Hex,
    mac: Hex,
    message: Hex,
}

#[derive(Serialize, Deserialize, PartialEq, Debug, Clone)]
struct ClientReadyVector {
    ready_key: Hex,
    message: Hex,
}

#[derive(Serialize, Deserialize, PartialEq, Debug, Clone)]
struct SessionKeysVector {
    client_to_broker: Hex,
    broker_to_client: Hex,
    client_to_broker_from_1048576: Hex,
}

#[derive(Serialize, Deserialize, PartialEq, Debug, Clone)]
struct RecordVector {
    from: String,
    sequence: u64,
    iv: Hex,
    frames: Hex,
    record: Hex,
}

#[derive(Serialize, Deserialize, PartialEq, Debug, Clone)]
struct RefusalVector {
    code: u16,
    retry_after_ms: u32,
    text: String,
    /// Of the sealed one.
    #[serde(skip_serializing_if = "Option::is_none")]
    refuse_key: Option<Hex>,
    #[serde(skip_serializing_if = "Option::is_none")]
    iv: Option<Hex>,
    message: Hex,
}

/// Gives the bytes it was told to, then what blinding may have.
struct Script {
    fixed: Vec<u8>,
    then: Seeded,
}

impl Script {
    fn new(values: &[&Hex]) -> Script {
        let fixed = values.iter().flat_map(|h| h.0.iter().copied()).collect();
        Script { fixed, then: Seeded::new(0) }
    }
}

impl Entropy for Script {
    fn fill(&mut self, out: &mut [u8]) {
        if self.fixed.is_empty() {
            return self.then.fill(out);
        }
        // Nothing is drawn half from the script and half from behind it.
        let rest = self.fixed.split_off(out.len());
        out.copy_from_slice(&std::mem::replace(&mut self.fixed, rest));
    }
}

/// The given values alone: time, certificates, what was drawn.
fn inputs() -> Vectors {
    let world = world();
    let cast = Cast::new(&world, "alice");
    let mut entropy = Seeded::new(2026);
    let mut draw = |n: usize| {
        let mut bytes = vec![0; n];
        entropy.fill(&mut bytes);
        Hex(bytes)
    };
    let none = || Hex(Vec::new());
    let record = |from: &str, sequence, iv, frames: &[u8]| RecordVector {
        from: from.into(),
        sequence,
        iv,
        frames: Hex(frames.to_vec()),
        record: none(),
    };
    Vectors {
        about: ABOUT.map(String::from).to_vec(),
        now: NOON.secs(),
        ca_certificate: Hex(world.ca_cert_der.clone()),
        broker_certificate: Hex(cast.broker.1.der().to_vec()),
        client_certificate: Hex(cast.client.1.der().to_vec()),
        client_hello: ClientHelloVector { nonce: draw(32), x_secret: draw(32), message: none() },
        broker_hello: BrokerHelloVector {
            nonce: draw(32),
            x_secret: draw(32),
            th1: none(),
            batch: vec![draw(32), none(), draw(32)],
            root: none(),
            pss_salt: draw(32),
            signature: none(),
            batch_path: none(),
            message: none(),
        },
        client_auth: ClientAuthVector {
            dh: none(),
            th2: none(),
            pss_salt: draw(32),
            signature: none(),
            hs_key: none(),
            iv: draw(16),
            plaintext: none(),
            message: none(),
        },
        session_key: SessionKeyVector {
            session_secret: draw(32),
            oaep_seed: draw(32),
            envelope: none(),
            th3: none(),
            env_key: none(),
            mac: none(),
            message: none(),
        },
        client_ready: ClientReadyVector { ready_key: none(), message: none() },
        session_keys: SessionKeysVector {
            client_to_broker: none(),
            broker_to_client: none(),
            client_to_broker_from_1048576: none(),
        },
        records: vec![
            record("client", 0, draw(16), b""),
            record("client", 1, draw(16), b"frames that fill more than one block of AES"),
            record("broker", 0, draw(16), b"frames"),
            record("client", 1 << 20, draw(16), b"under the next key"),
        ],
        refusal: RefusalVector {
            code: 0,
            retry_after_ms: 250,
            text: String::new(),
            refuse_key: None,
            iv: None,
            message: none(),
        },
        sealed_refusal: RefusalVector {
            code: 0,
            retry_after_ms: 0,
            text: String::new(),
            refuse_key: None,
            iv: Some(draw(16)),
            message: none(),
        },
    }
}

fn cast_of(v: &Vectors) -> Cast {
    let now = Wall::from_secs(v.now);
    let trust = Trust::from_der(&v.ca_certificate.0).expect("a good CA certificate");
    let verified = |der: &Hex, role| trust.verify(&der.0, role, now).expect("a good certificate");
    let broker = (key("broker"), verified(&v.broker_certificate, Role::Broker));
    let client = (key("alice"), verified(&v.client_certificate, Role::Client));
    Cast { trust, now, broker, client }
}

/// Holds the conversation with the real states and fills in every value that follows.
fn held(given: &Vectors) -> Vectors {
    let (mut v, cast) = (given.clone(), cast_of(given));
    let c = &mut v.client_hello;
    let (client, hello) = ClientHandshake::start(&mut Script::new(&[&c.nonce, &c.x_secret]));
    c.message = Hex(hello.clone());

    let b = &mut v.broker_hello;
    let mut script = Script::new(&[&b.nonce, &b.x_secret]);
    let step = Handshake::new().handle(hello[4], &hello[5..], cast.as_broker(&mut script));
    let queued = queued(step.map(Some));
    b.th1 = Hex(queued.th1().as_bytes().to_vec());
    b.batch[1] = b.th1.clone();
    let hellos: Vec<Th1> = b.batch.iter().map(|h| Th1(h.0[..].try_into().expect("32 bytes"))).collect();
    let batch = sign_batch(&hellos, &cast.broker.0, &mut Script::new(&[&b.pss_salt])).expect("sound");
    let (challenged, broker_hello) = queued.challenge(&batch, 1);
    let decoded = BrokerHello::decode(&broker_hello[5..]).expect("a good BrokerHello");
    b.signature = Hex(decoded.signature.to_vec());
    b.batch_path = Hex(decoded.path.encode());
    b.root = Hex(crate::crypto::merkle::Tree::new(&hellos.iter().map(|t| *t.as_bytes()).collect::<Vec<_>>())
        .root()
        .to_vec());
    b.message = Hex(broker_hello.clone());

    let a = &mut v.client_auth;
    let mut script = Script::new(&[&a.iv, &a.pss_salt]);
    let step = client.handle(broker_hello[4], &broker_hello[5..], cast.as_client(&mut script));
    let (client, auth) = pending(step.map(Some));
    a.message = Hex(auth.clone());
    let verified =
        challenged.auth(&auth[5..], &cast.trust, cast.now, &mut Seeded::new(0)).expect("a good ClientAuth");

    let s = &mut v.session_key;
    let mut script = Script::new(&[&s.session_secret, &s.oaep_seed]);
    let (keyed, session_key) = verified.key(cast.now, &mut script).expect("a sound machine");
    s.message = Hex(session_key.clone());
    let decoded = SessionKey::decode(&session_key[5..]).expect("a good SessionKey");
    s.envelope = Hex(decoded.envelope.to_vec());
    s.mac = Hex(decoded.mac.to_vec());
    let refused = Handshake::from(keyed).refuse(
        HandshakeError::Timeout,
        cast.now,
        &mut Script::new(&[v.sealed_refusal.iv.as_ref().expect("an IV")]),
    );
    refusal(&mut v.sealed_refusal, &refused);
    let busy = HandshakeError::Busy { retry_after: std::time::Duration::from_millis(250) };
    refusal(&mut v.refusal, &Handshake::new().refuse(busy, cast.now, &mut Seeded::new(0)));

    let step = client.handle(4, &session_key[5..], cast.as_client(&mut Seeded::new(1)));
    let Ok(client::Step::Active(active, ready, _)) = step else { panic!("a good SessionKey") };
    v.client_ready.message = Hex(ready);
    let (up, down) = active.keys.expose();
    let next = next_key(up, 1 << 20);
    for r in &mut v.records {
        r.record = Hex(record(r, if r.from == "client" { up } else { down }, cast.now));
    }
    v.session_keys = SessionKeysVector {
        client_to_broker: Hex(up.expose().to_vec()),
        broker_to_client: Hex(down.expose().to_vec()),
        client_to_broker_from_1048576: Hex(next.expose().to_vec()),
    };
    by_the_book(&mut v);
    v
}

fn refusal(v: &mut RefusalVector, refused: &broker::Refused) {
    v.code = refused.refusal.code.into();
    v.retry_after_ms = refused.refusal.retry_after_ms;
    v.text.clone_from(&refused.refusal.text);
    v.message = Hex(refused.message.clone());
}

fn record(r: &RecordVector, secret: &Secret32, now: Wall) -> Vec<u8> {
    let mut sealer = Sealer::at(secret.clone(), r.sequence);
    let mut out = Vec::new();
    let start = sealer.begin(&mut out);
    out.extend_from_slice(&r.frames.0);
    sealer.finish(&mut out, start, now, &r.iv.0[..].try_into().expect("16 bytes"));
    let mut opener = Opener::at(secret.clone(), r.sequence);
    assert_eq!(opener.open(&mut out.clone()[4..]), Ok(&r.frames.0[..]));
    out
}

/// Hashes and keys that the states keep to themselves, computed here from the messages and the given
/// values by nothing but SHA-256, HKDF and X25519, as the protocol's page says.
fn by_the_book(v: &mut Vectors) {
    let (c, b, a, s) = (&v.client_hello, &mut v.broker_hello, &mut v.client_auth, &mut v.session_key);
    let array = |h: &Hex| <[u8; 32]>::try_from(&h.0[..]).expect("32 bytes");
    let x_b = x25519_dalek::x25519(array(&b.x_secret), x25519_dalek::X25519_BASEPOINT_BYTES);
    let dh = x25519_dalek::x25519(array(&c.x_secret), x_b);
    a.dh = Hex(dh.to_vec());
    let th1 = h(&[&c.message.0[5..], &[0, 1], &b.nonce.0, &x_b, &v.broker_certificate.0]);
    b.th1 = Hex(th1.to_vec());
    a.hs_key = derive(&dh, &th1, "hs");
    let mut token = a.message.0[5..].to_vec();
    let opening = crate::crypto::fernet::OpeningKey::new(&Secret32::new(array(&a.hs_key)));
    a.plaintext = Hex(opening.open(&mut token).expect("a good token").to_vec());
    let auth = ClientAuth::decode(&a.plaintext.0).expect("a good ClientAuth");
    assert_eq!(auth.certificate, v.client_certificate.0);
    a.signature = Hex(auth.signature.to_vec());
    let th2 = h(&[&th1, &b.batch_path.0, &b.signature.0, &v.client_certificate.0]);
    a.th2 = Hex(th2.to_vec());
    let th3 = h(&[&th2, &a.signature.0, &s.envelope.0]);
    s.th3 = Hex(th3.to_vec());
    s.env_key = derive(&dh, &th2, "env");
    let ikm = [&dh[..], &s.session_secret.0].concat();
    v.client_ready.ready_key = derive(&ikm, &th3, "ready");
    v.sealed_refusal.refuse_key = Some(derive(&dh, &th1, "refuse"));
    let keys = &v.session_keys;
    assert_eq!(keys.client_to_broker, derive(&ikm, &th3, "client to broker"));
    assert_eq!(keys.broker_to_client, derive(&ikm, &th3, "broker to client"));
    let next = derive(&keys.client_to_broker.0, &(1u64 << 20).to_be_bytes(), "next");
    assert_eq!(keys.client_to_broker_from_1048576, next);
}

fn h(items: &[&[u8]]) -> [u8; 32] {
    let mut bytes = Vec::new();
    for item in items {
        bytes.extend_from_slice(&(item.len() as u32).to_be_bytes());
        bytes.extend_from_slice(item);
    }
    Sha256::digest(bytes).into()
}

fn derive(ikm: &[u8], salt: &[u8], label: &str) -> Hex {
    let mut out = vec![0; 32];
    let info = format!("sealmq/1 {label}");
    Hkdf::<Sha256>::new(Some(salt), ikm).expand(info.as_bytes(), &mut out).expect("32 bytes");
    Hex(out)
}

#[test]
fn the_conversation_is_as_written_down() {
    if std::env::var_os("SEALMQ_BLESS").is_some() {
        let text = serde_json::to_string_pretty(&held(&inputs())).expect("vectors are JSON");
        std::fs::write(PATH, text + "\n").expect("the vectors are written");
    }
    let text = std::fs::read_to_string(PATH).expect("the vectors are there");
    let written: Vectors = serde_json::from_str(&text).expect("the vectors are JSON");
    let held = held(&written);
    assert_eq!(held.client_hello, written.client_hello);
    assert_eq!(held.broker_hello, written.broker_hello);
    assert_eq!(held.client_auth, written.client_auth);
    assert_eq!(held.session_key, written.session_key);
    assert_eq!(held.client_ready, written.client_ready);
    assert_eq!(held.session_keys, written.session_keys);
    assert_eq!(held.records, written.records);
    assert_eq!(held.refusal, written.refusal);
    assert_eq!(held.sealed_refusal, written.sealed_refusal);
    assert_eq!(written.about, ABOUT);
}

impl std::fmt::Debug for Hex {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|b| write!(f, "{b:02x}"))
    }
}

impl Serialize for Hex {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&format!("{self:?}"))
    }
}

impl<'de> Deserialize<'de> for Hex {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Hex, D::Error> {
        let text = String::deserialize(from)?;
        let bytes = (0..text.len()).step_by(2).map(|i| u8::from_str_radix(text.get(i..i + 2)?, 16).ok());
        bytes.collect::<Option<_>>().map(Hex).ok_or(serde::de::Error::custom("not hexadecimal"))
    }
}
