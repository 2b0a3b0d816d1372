//! A client and a broker written by hand from the primitives alone, each value of theirs bendable: as they
//! should be they get through, with any label, context or hash exchanged they do not.

use super::*;
use crate::base::entropy::random_array;
use crate::crypto::dh::Ephemeral;
use crate::crypto::digest::hash_items;
use crate::crypto::envelope;
use crate::crypto::fernet::{OpeningKey, SealingKey};
use crate::crypto::kdf::{kdf, mac};
use crate::crypto::merkle::{Tree, root_from_path};
use crate::crypto::secret::Secret32;
use crate::crypto::sign::{Context, sign_pss};
use crate::session::close::{HandshakeError, Proof};
use crate::wire::WireError;
use crate::wire::handshake::{BatchPath, BrokerHello, ClientAuth, ClientHello, SessionKey};

/// Every label that a key is derived under.
const LABELS: [&str; 7] = ["hs", "refuse", "env", "ready", "client to broker", "broker to client", "next"];

/// How the hand-written client goes about it.
#[derive(Clone)]
struct ByHand {
    auth_label: &'static str,
    auth_context: Context,
    /// Which items th2 is over: th1, path, the broker's signature, the client's certificate.
    th2_items: [bool; 4],
    /// Which items th3 is over: th2, the client's signature, the envelope.
    th3_items: [bool; 3],
    ready_label: &'static str,
    /// Whether the ready key comes from the session secret too, and not from X25519 alone.
    ready_with_secret: bool,
}

const GOOD: ByHand = ByHand {
    auth_label: "hs",
    auth_context: Context::ClientAuth,
    th2_items: [true; 4],
    th3_items: [true; 3],
    ready_label: "ready",
    ready_with_secret: true,
};

fn chosen<const N: usize>(items: [&[u8]; N], which: [bool; N]) -> [u8; 32] {
    let items: Vec<&[u8]> = items.into_iter().zip(which).filter(|(_, w)| *w).map(|(i, _)| i).collect();
    hash_items(&items)
}

/// A hand-written client against the real broker; `Ok` when the broker is active.
fn client_by_hand(how: &ByHand) -> Result<(), HandshakeError> {
    let (cast, mut entropy) = (&ALICE.cast, Seeded::new(80));
    let (own_key, own) = &cast.client;
    let nonce = random_array(&mut entropy);
    let ephemeral = Ephemeral::generate(&mut entropy);
    let hello = ClientHello { version: 1, nonce, x: ephemeral.public() }.encode();
    let queued = queued(to_broker(Handshake::new(), &raw(1, &hello), cast, 81));
    let batch = sign_batch(&[queued.th1()], &cast.broker.0, &mut entropy).expect("a sound machine");
    let (challenged, answer) = queued.challenge(&batch, 0);

    let answer = BrokerHello::decode(&answer[5..]).expect("a good BrokerHello");
    let dh = ephemeral.agree(&answer.x).expect("a good key");
    let th1 = hash_items(&[&hello, &[0, 1], &answer.nonce, &answer.x, answer.certificate]);
    let th2 = chosen([&th1, &answer.path.encode(), answer.signature, own.der()], how.th2_items);
    let signature = sign_pss(own_key, how.auth_context, &th2, &mut entropy).expect("a sound machine");
    let auth = ClientAuth { certificate: own.der(), signature: &signature }.encode();
    let key = kdf(dh.expose(), &th1, how.auth_label);
    let token = SealingKey::new(&key).seal_to_vec(&auth, 0, &[5; 16]);

    let verified = match to_broker(challenged.into(), &raw(3, &token), cast, 82) {
        Ok(Some(broker::Step::Handshake(Handshake::Verified(verified)))) => verified,
        Ok(_) => panic!("a ClientAuth verifies or is refused"),
        Err(refused) => return Err(refused.error),
    };
    let (keyed, message) = verified.key(NOON, &mut entropy).expect("a sound machine");
    let message = SessionKey::decode(&message[5..]).expect("a good SessionKey");
    let secret =
        envelope::open(own_key, b"sealmq/1 session", message.envelope, &mut entropy).expect("for us");
    let th3 = chosen([&th2, &signature, message.envelope], how.th3_items);
    let mut ikm = dh.expose().to_vec();
    if how.ready_with_secret {
        ikm.extend_from_slice(secret.expose());
    }
    let ready = mac(&kdf(&ikm, &th3, how.ready_label), &th3);
    match to_broker(keyed.into(), &raw(5, &ready), cast, 83) {
        Ok(Some(broker::Step::Active(active))) => {
            let expected = (kdf(&ikm, &th3, "client to broker"), kdf(&ikm, &th3, "broker to client"));
            assert_eq!(active.keys.expose(), (&expected.0, &expected.1));
            Ok(())
        }
        Ok(_) => panic!("a ClientReady makes active or is refused"),
        Err(refused) => Err(refused.error),
    }
}

#[test]
fn the_client_by_hand_gets_through() {
    assert_eq!(client_by_hand(&GOOD), Ok(()));
}

#[test]
fn the_broker_takes_no_other_label_or_context() {
    for label in LABELS.into_iter().filter(|l| *l != "hs") {
        let e = client_by_hand(&ByHand { auth_label: label, ..GOOD }).unwrap_err();
        assert!(matches!(e, HandshakeError::Authentication(Proof::ClientToken(_))), "{label}: {e}");
    }
    for context in Context::ALL.into_iter().filter(|c| *c != Context::ClientAuth) {
        let e = client_by_hand(&ByHand { auth_context: context, ..GOOD }).unwrap_err();
        assert_eq!(e, HandshakeError::Authentication(Proof::ClientSignature), "{context:?}");
    }
    for label in LABELS.into_iter().filter(|l| *l != "ready") {
        let e = client_by_hand(&ByHand { ready_label: label, ..GOOD }).unwrap_err();
        assert_eq!(e, HandshakeError::Authentication(Proof::ReadyMac), "{label}");
    }
    let e = client_by_hand(&ByHand { ready_with_secret: false, ..GOOD }).unwrap_err();
    assert_eq!(e, HandshakeError::Authentication(Proof::ReadyMac));
}

#[test]
fn the_broker_misses_any_item_of_a_transcript() {
    for i in 0..4 {
        let mut how = GOOD;
        how.th2_items[i] = false;
        let e = client_by_hand(&how).unwrap_err();
        assert_eq!(e, HandshakeError::Authentication(Proof::ClientSignature), "th2 without item {i}");
    }
    for i in 0..3 {
        let mut how = GOOD;
        how.th3_items[i] = false;
        let e = client_by_hand(&how).unwrap_err();
        assert_eq!(e, HandshakeError::Authentication(Proof::ReadyMac), "th3 without item {i}");
    }
}

/// How the hand-written broker goes about it.
#[derive(Clone)]
struct BrokerByHand {
    hello_context: Context,
    /// Changes the path in the message, after the root was signed.
    bend_path: fn(&mut BatchPath),
    /// Sends this X25519 key instead of its own, well signed.
    x: Option<[u8; 32]>,
    env_label: &'static str,
    oaep_label: &'static [u8],
    /// Answers with this refusal's label instead of a SessionKey.
    refuse_label: Option<&'static str>,
}

const GOOD_BROKER: BrokerByHand = BrokerByHand {
    hello_context: Context::BrokerHello,
    bend_path: |_| {},
    x: None,
    env_label: "env",
    oaep_label: b"sealmq/1 session",
    refuse_label: None,
};

/// A hand-written broker against the real client; `Ok` when the client is active.
fn broker_by_hand(how: &BrokerByHand) -> Result<(), ClientError> {
    let (cast, mut entropy) = (&ALICE.cast, Seeded::new(85));
    let (client, hello) = ClientHandshake::start(&mut entropy);
    let hello = &hello[5..];
    let nonce: [u8; 32] = random_array(&mut entropy);
    let ephemeral = Ephemeral::generate(&mut entropy);
    let x = how.x.unwrap_or(ephemeral.public());
    let certificate = cast.broker.1.der();
    let th1 = hash_items(&[hello, &[0, 1], &nonce, &x, certificate]);
    let tree = Tree::new(&[[1; 32], th1, [2; 32]]);
    let signature =
        sign_pss(&cast.broker.0, how.hello_context, &tree.root(), &mut entropy).expect("a sound machine");
    let mut path = BatchPath { index: 1, size: 3, siblings: tree.path(1) };
    assert_eq!(root_from_path(&th1, 1, 3, &path.siblings), Ok(tree.root()));
    (how.bend_path)(&mut path);
    let path_bytes = path.encode();
    let answer = BrokerHello { version: 1, nonce, x, certificate, path, signature: &signature }.encode();

    let Some(client::Step::Handshake(client, auth)) = to_client(client, &raw(2, &answer), cast, 86)? else {
        panic!("a BrokerHello is answered or refused");
    };
    let client_hello = ClientHello::decode(hello).expect("a good ClientHello");
    let dh = ephemeral.agree(&client_hello.x).expect("a good key");
    let mut token = auth[5..].to_vec();
    let plain = OpeningKey::new(&kdf(dh.expose(), &th1, "hs")).open(&mut token).expect("for us");
    let auth = ClientAuth::decode(plain).expect("a good ClientAuth");
    let th2 = hash_items(&[&th1, &path_bytes, &signature, auth.certificate]);
    if let Some(label) = how.refuse_label {
        let refusal = broker::Handshake::new().refuse(HandshakeError::Timeout, NOON, &mut entropy).refusal;
        let key = SealingKey::new(&kdf(dh.expose(), &th1, label));
        let token = key.seal_to_vec(&refusal.encode(), 0, &[6; 16]);
        return to_client(client, &raw(7, &token), cast, 87).map(|_| ());
    }

    let secret = Secret32::new([9; 32]);
    let public = cast.client.1.public_key();
    let envelope = envelope::seal(public, how.oaep_label, &secret, &mut entropy).expect("a sound machine");
    let th3 = hash_items(&[&th2, auth.signature, &envelope]);
    let mac = mac(&kdf(dh.expose(), &th2, how.env_label), &th3);
    let key = SessionKey { envelope: &envelope, mac }.encode();
    let Some(client::Step::Active(active, ..)) = to_client(client, &raw(4, &key), cast, 88)? else {
        panic!("a SessionKey makes active or is refused");
    };
    let ikm = [*dh.expose(), *secret.expose()].concat();
    let expected = (kdf(&ikm, &th3, "client to broker"), kdf(&ikm, &th3, "broker to client"));
    assert_eq!(active.keys.expose(), (&expected.0, &expected.1));
    Ok(())
}

fn failed(how: BrokerByHand) -> HandshakeError {
    match broker_by_hand(&how) {
        Err(ClientError::Failed(e)) => e,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_broker_by_hand_gets_through() {
    assert_eq!(broker_by_hand(&GOOD_BROKER), Ok(()));
}

#[test]
fn the_client_takes_no_other_label_or_context() {
    for context in Context::ALL.into_iter().filter(|c| *c != Context::BrokerHello) {
        let e = failed(BrokerByHand { hello_context: context, ..GOOD_BROKER });
        assert_eq!(e, HandshakeError::Authentication(Proof::BrokerSignature), "{context:?}");
    }
    for label in LABELS.into_iter().filter(|l| *l != "env") {
        let e = failed(BrokerByHand { env_label: label, ..GOOD_BROKER });
        assert_eq!(e, HandshakeError::Authentication(Proof::EnvelopeMac), "{label}");
    }
    for label in [&b""[..], b"sealmq/1", b"sealmq/1 session ", b"sealmq/2 session"] {
        let e = failed(BrokerByHand { oaep_label: label, ..GOOD_BROKER });
        assert_eq!(e, HandshakeError::Authentication(Proof::Envelope));
    }
    for label in LABELS.into_iter().filter(|l| *l != "refuse") {
        let e = failed(BrokerByHand { refuse_label: Some(label), ..GOOD_BROKER });
        assert!(matches!(e, HandshakeError::Authentication(Proof::RefusalToken(_))), "{label}: {e}");
    }
    let heard = broker_by_hand(&BrokerByHand { refuse_label: Some("refuse"), ..GOOD_BROKER });
    assert!(matches!(heard, Err(ClientError::Refused { authenticated: true, .. })));
}

#[test]
fn the_client_checks_the_paths_shape_and_hashes() {
    let shapes: [fn(&mut BatchPath); 6] = [
        |p| p.index = 3,
        |p| p.size = 0,
        |p| p.size = 257,
        |p| p.size = 5,
        |p| p.siblings.push([0; 32]),
        |p| p.siblings.clear(),
    ];
    for bend_path in shapes {
        let e = failed(BrokerByHand { bend_path, ..GOOD_BROKER });
        assert_eq!(e, HandshakeError::Authentication(Proof::BatchPath));
    }
    let hashes: [fn(&mut BatchPath); 3] =
        [|p| p.index = 0, |p| p.siblings[0][0] ^= 1, |p| p.siblings.swap(0, 1)];
    for bend_path in hashes {
        let e = failed(BrokerByHand { bend_path, ..GOOD_BROKER });
        assert_eq!(e, HandshakeError::Authentication(Proof::BrokerSignature));
    }
}

/// A size of four instead of three changes nothing on this leaf's way to the root. The client cannot see
/// it, but it signs the path as it came, and a broker that sent another refuses that signature: in
/// this test the broker by hand has the bent path in its own transcript, so both get through.
#[test]
fn a_path_is_bound_by_the_transcript_too() {
    assert_eq!(broker_by_hand(&BrokerByHand { bend_path: |p| p.size = 4, ..GOOD_BROKER }), Ok(()));
}

/// Keys of small order make the X25519 secret zero (RFC 7748, section 6.1).
#[test]
fn the_client_refuses_a_zero_secret() {
    let mut one = [0; 32];
    one[0] = 1;
    for x in [[0; 32], one] {
        let e = failed(BrokerByHand { x: Some(x), ..GOOD_BROKER });
        assert_eq!(e, HandshakeError::Malformed(WireError::BadValue("the X25519 key")));
    }
}
