//! `tests/vectors/messages.json`: a delegation, a message under it and a request to join, byte for
//! byte, with some of each that are to be refused. For clients in other languages; here they hold
//! that the formats do not change unnoticed.
//!
//! After a change of a format on purpose:
//! `cargo test --lib client::tests::vectors -- --ignored`

use serde_json::{Value, json};

use crate::base::Wall;
use crate::base::ids::{Counter, Epoch, PublisherId, RecordHash, TopicId};
use crate::base::names::{Name, TopicName};
use crate::chain::{BODY_LABEL, Delegation, JoinRequest, epoch_salt};
use crate::client::body::{BodyKey, Place};
use crate::client::failure::IntegrityFault;
use crate::crypto::cert::testing::{Seeded, key};
use crate::crypto::digest::sha256;
use crate::crypto::ed25519::{MessageKey, MessageSigner};
use crate::crypto::fernet::SealingKey;
use crate::crypto::kdf::kdf;
use crate::crypto::secret::Secret32;
use crate::wire::body::Sealed;

const TOPIC: TopicId = TopicId([0x11; 32]);
const EPOCH: Epoch = Epoch(2);
const RECORD: RecordHash = RecordHash([0x22; 32]);
const PUBLISHER: PublisherId = PublisherId([0x33; 16]);
const COUNTER: Counter = Counter(7);
const CONTENT: &[u8] = b"turn the light on";
const EPOCH_KEY: [u8; 32] = [0x44; 32];
const SEED: [u8; 32] = [0x55; 32];
const IV: [u8; 16] = [0x66; 16];
const TIME: Wall = Wall(1_800_000_000_000);
const WEEK_MS: u64 = 7 * 86_400_000;

fn path() -> String {
    format!("{}/tests/vectors/messages.json", env!("CARGO_MANIFEST_DIR"))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

fn unhex(value: &Value) -> Vec<u8> {
    let digits = value.as_str().expect("hexadecimal text");
    let byte = |at| u8::from_str_radix(&digits[at..at + 2], 16).expect("hexadecimal digits");
    (0..digits.len()).step_by(2).map(byte).collect()
}

fn signer(seed: [u8; 32]) -> MessageSigner {
    MessageSigner::from_seed(Secret32::new(seed))
}

fn place() -> Place {
    Place { topic: TOPIC, epoch_record: RECORD, publisher: PUBLISHER, counter: COUNTER }
}

fn body_key() -> Secret32 {
    kdf(&EPOCH_KEY, &epoch_salt(TOPIC, EPOCH), BODY_LABEL)
}

/// What is signed of the message, and the signature of this seed's key.
fn signed(place: Place, seed: [u8; 32]) -> (Vec<u8>, [u8; 64]) {
    let Place { topic, epoch_record, publisher, counter } = place;
    let mut part = Vec::new();
    Sealed { topic, epoch_record, publisher, counter, content: CONTENT }.encode_signed_part(&mut part);
    let signature = signer(seed).sign(&sha256(&part));
    (part, signature)
}

fn sealed(plain: &[u8]) -> Vec<u8> {
    SealingKey::new(&body_key()).seal_to_vec(plain, TIME.secs(), &IV)
}

fn delegation(sender: &str, signs: &str, publisher: PublisherId) -> Vec<u8> {
    let delegation = Delegation {
        sender: key(sender).public().fingerprint(),
        publisher,
        key: signer(SEED).public(),
        not_before: TIME,
        not_after: Wall(TIME.0 + WEEK_MS),
    };
    delegation.sign(&key(signs), &mut Seeded::new(1)).expect("a sound machine")
}

fn join_request(who: &str, signs: &str) -> Vec<u8> {
    let request = JoinRequest {
        name: TopicName::parse("home/kitchen").expect("a good name"),
        topic: TOPIC,
        who: key(who).public().fingerprint(),
        who_name: Name::parse(who).expect("a good name"),
        time: TIME,
    };
    request.sign(&key(signs), &mut Seeded::new(2)).expect("a sound machine")
}

/// A key of small order in a delegation whose signature is good.
fn weak_delegation() -> Vec<u8> {
    let mut bytes = delegation("alice", "alice", PUBLISHER);
    let at = 1 + 32 + 16;
    bytes[at..at + 32].fill(0);
    bytes[at] = 1;
    let signed = bytes.len() - 2 - key("alice").public().bits() / 8;
    let context = crate::crypto::sign::Context::Delegation;
    let hash = sha256(&bytes[..signed]);
    let signature = crate::crypto::sign::sign_pss(&key("alice"), context, &hash, &mut Seeded::new(1));
    bytes.truncate(signed + 2);
    bytes.extend(signature.expect("a sound machine"));
    bytes
}

/// Bodies that open under the epoch's key and are not to be taken.
fn refused_bodies() -> Vec<(&'static str, Vec<u8>, IntegrityFault)> {
    let plain = |(part, signature): (Vec<u8>, [u8; 64])| [&part[..], &signature].concat();
    let moved = |place: Place| sealed(&plain(signed(place, SEED)));
    let (part, signature) = signed(place(), SEED);
    let mut unsigned = part.clone();
    unsigned[1] = 0;
    let mut changed = plain((part, signature));
    changed[90] ^= 1;
    let other_counter = IntegrityFault::WrongCounter { stated: COUNTER, sealed: Counter(8) };
    vec![
        ("signed by another key", sealed(&plain(signed(place(), [0x56; 32]))), IntegrityFault::BadSignature),
        ("its content was changed", sealed(&changed), IntegrityFault::BadSignature),
        ("it bears no signature", sealed(&unsigned), IntegrityFault::UnsignedBody),
        (
            "sealed for another topic",
            moved(Place { topic: TopicId([1; 32]), ..place() }),
            IntegrityFault::WrongTopic,
        ),
        (
            "sealed for another epoch",
            moved(Place { epoch_record: RecordHash([1; 32]), ..place() }),
            IntegrityFault::WrongEpoch,
        ),
        (
            "another publisher's",
            moved(Place { publisher: PublisherId([1; 16]), ..place() }),
            IntegrityFault::WrongPublisher,
        ),
        ("another number", moved(Place { counter: Counter(8), ..place() }), other_counter),
    ]
}

fn refused_delegations() -> [(&'static str, Vec<u8>); 4] {
    [
        ("signed by somebody else", delegation("alice", "bob", PUBLISHER)),
        ("somebody else's", delegation("bob", "bob", PUBLISHER)),
        ("for another publisher id", delegation("alice", "alice", PublisherId([1; 16]))),
        ("for a key of small order", weak_delegation()),
    ]
}

fn document() -> Value {
    let (part, signature) = signed(place(), SEED);
    let plain = [&part[..], &signature].concat();
    let bodies = refused_bodies().into_iter().map(|(why, body, _)| json!({ "why": why, "body": hex(&body) }));
    let delegations =
        refused_delegations().map(|(why, bytes)| json!({ "why": why, "delegation": hex(&bytes) }));
    json!({
        "about": "A delegation, a message and a request to join of docs/PROTOCOL.md, 7.3 and 7.4; all bytes in \
                  hexadecimal. The sender is alice, whose key is in keys/alice.key; the one who asks to join is \
                  carol. What stands under `refused` breaks one rule each; where it is signed, the signature is good.",
        "sender": { "key": "keys/alice.key", "fingerprint": key("alice").public().fingerprint().to_string() },
        "topic": hex(&TOPIC.0), "topic_name": "home/kitchen", "epoch": EPOCH.0, "epoch_record": hex(&RECORD.0),
        "epoch_key": hex(&EPOCH_KEY), "body_key": hex(body_key().expose()), "time": TIME.0,
        "publisher": hex(&PUBLISHER.0), "counter": COUNTER.0, "content": hex(CONTENT),
        "ed25519": { "seed": hex(&SEED), "public": hex(&signer(SEED).public().to_bytes()) },
        "delegation": hex(&delegation("alice", "alice", PUBLISHER)),
        "message": { "signed": hex(&part), "hash": hex(&sha256(&part)), "signature": hex(&signature),
            "plaintext": hex(&plain), "iv": hex(&IV), "body": hex(&sealed(&plain)) },
        "join_request": { "key": "keys/carol.key", "bytes": hex(&join_request("carol", "carol")) },
        "refused": { "bodies": bodies.collect::<Vec<Value>>(), "delegations": delegations,
            "join_requests": [{ "why": "signed by somebody else", "bytes": hex(&join_request("carol", "bob")) }] },
    })
}

fn kept() -> Value {
    let text = std::fs::read_to_string(path()).expect("the vectors are kept with the tests");
    serde_json::from_str(&text).expect("the vectors are JSON")
}

#[test]
fn the_kept_vectors_are_what_is_made_today() {
    assert!(kept() == document(), "the format changed: see this file's head");
}

/// As a client would use them: from the file alone, with the keys beside it.
#[test]
fn the_kept_vectors_hold() {
    let (kept, alice, carol) = (kept(), key("alice").public(), key("carol").public());
    let delegation = Delegation::verify(&unhex(&kept["delegation"]), &alice, PUBLISHER).expect("it is good");
    assert_eq!(hex(&delegation.key.to_bytes()), kept["ed25519"]["public"]);
    let bodies = BodyKey::new(&body_key());
    let open = |body: &Value, key: &MessageKey| bodies.open(&place(), &unhex(body), key);
    assert_eq!(open(&kept["message"]["body"], &delegation.key).as_deref(), Ok(CONTENT));
    let request = JoinRequest::verify(&unhex(&kept["join_request"]["bytes"]), &carol).expect("it is good");
    assert_eq!((request.topic, request.who), (TOPIC, carol.fingerprint()));

    let refused = &kept["refused"];
    let list = |what: &str| refused[what].as_array().expect("a list").clone();
    for (body, (why, _, fault)) in list("bodies").iter().zip(refused_bodies()) {
        assert_eq!(open(&body["body"], &delegation.key), Err(fault), "{why}");
    }
    for case in list("delegations") {
        assert!(
            Delegation::verify(&unhex(&case["delegation"]), &alice, PUBLISHER).is_err(),
            "{}",
            case["why"]
        );
    }
    for case in list("join_requests") {
        assert!(JoinRequest::verify(&unhex(&case["bytes"]), &carol).is_err(), "{}", case["why"]);
    }
}

#[test]
#[ignore = "writes tests/vectors/messages.json"]
fn write() {
    let text = serde_json::to_string_pretty(&document()).expect("it is JSON");
    std::fs::write(path(), text + "\n").expect("the source tree can be written");
}
