//! What each side says and hears when a certificate is not taken, and when it is not the peer who speaks.

use std::time::Duration;

use super::*;
use crate::crypto::cert::CertFault;
use crate::crypto::cert::testing::world_at;
use crate::session::SessionError;
use crate::session::close::{HandshakeError, Proof, RecordError};
use crate::wire::WireError;
use crate::wire::handshake::RefusalCode;

const DAY: Duration = Duration::from_secs(86_400);

/// Runs the handshake up to ClientAuth and returns the broker's refusal as the client hears it.
fn refused_by_broker(at_broker: &Cast, at_client: &Cast) -> (broker::Refused, ClientError) {
    let (client, hello) = ClientHandshake::start(&mut Seeded::new(30));
    let queued = queued(to_broker(Handshake::new(), &hello, at_broker, 31));
    let batch =
        sign_batch(&[queued.th1()], &at_broker.broker.0, &mut Seeded::new(32)).expect("a sound machine");
    let (challenged, answer) = queued.challenge(&batch, 0);
    let (client, auth) = pending(to_client(client, &answer, at_client, 33));
    let Err(refused) = to_broker(challenged.into(), &auth, at_broker, 34) else {
        panic!("the broker takes the client");
    };
    let Err(heard) = to_client(client, &refused.message, at_client, 35) else {
        panic!("the client takes a refusal for something else");
    };
    (refused, heard)
}

fn says(at_broker: &Cast, at_client: &Cast, code: RefusalCode, text: &str) {
    let (refused, heard) = refused_by_broker(at_broker, at_client);
    assert_eq!(refused.message[4], MessageType::SealedRefusal as u8);
    assert_eq!(refused.refusal.code, code);
    assert!(refused.refusal.text.contains(text), "{}", refused.refusal.text);
    assert_eq!(refused.refusal.retry_after_ms, 0);
    assert_eq!(heard, ClientError::Refused { refusal: refused.refusal, authenticated: true });
}

fn alice() -> Cast {
    Cast::new(&world(), "alice")
}

#[test]
fn an_expired_client_is_told_the_date() {
    // The client's clock is behind, so it does not see that the broker's certificate has ended too.
    let late = Cast { now: NOON + 398 * DAY, ..alice() };
    says(&late, &alice(), RefusalCode::CertExpired, "2027-12-25");
}

#[test]
fn a_client_from_the_future_is_told_so() {
    let later = world_at(NOON + 30 * DAY);
    let future = (key("alice"), later.issue("alice", "alice", Role::Client, &[]));
    let client = Cast { client: future, ..alice() };
    says(&alice(), &client, RefusalCode::CertNotYetValid, "2026-12-23");
}

#[test]
fn a_broker_is_no_client() {
    let client = Cast { client: alice().broker, ..alice() };
    says(&alice(), &client, RefusalCode::CertWrongUsage, "broker");
}

#[test]
fn a_certificate_with_another_key_is_no_detail() {
    let client = Cast { client: (key("bob"), alice().client.1), ..alice() };
    says(&alice(), &client, RefusalCode::Authentication, "authentication failed");
    let (refused, _) = refused_by_broker(&alice(), &client);
    assert_eq!(refused.error, HandshakeError::Authentication(Proof::ClientSignature));
}

#[test]
fn the_client_checks_who_the_broker_is() {
    let heard = |at_broker: &Cast, with: &dyn Fn(&mut client::Surroundings<'_>)| {
        let (client, hello) = ClientHandshake::start(&mut Seeded::new(40));
        let queued = queued(to_broker(Handshake::new(), &hello, at_broker, 41));
        let key = &at_broker.broker.0;
        let batch = sign_batch(&[queued.th1()], key, &mut Seeded::new(42)).expect("a sound machine");
        let answer = queued.challenge(&batch, 0).1;
        let (cast, mut entropy) = (alice(), Seeded::new(43));
        let mut surroundings = cast.as_client(&mut entropy);
        with(&mut surroundings);
        match client.handle(answer[4], &answer[5..], surroundings) {
            Ok(_) => None,
            Err(ClientError::Failed(e)) => Some(e),
            Err(e) => panic!("{e}"),
        }
    };
    let broker = alice();
    assert_eq!(heard(&broker, &|_| {}), None);
    assert_eq!(heard(&broker, &|s| s.host = None), None);
    let wrong_name = Some(HandshakeError::Certificate(CertFault::WrongName));
    assert_eq!(heard(&broker, &|s| s.host = Some("example.com")), wrong_name);
    let expired = heard(&broker, &|s| s.now = NOON + 398 * DAY);
    assert!(matches!(expired, Some(HandshakeError::Certificate(CertFault::Expired { .. }))), "{expired:?}");
    // A client that poses as a broker.
    let poser = Cast { broker: alice().client, ..alice() };
    let wrong_role = heard(&poser, &|s| s.host = None);
    assert!(matches!(wrong_role, Some(HandshakeError::Certificate(CertFault::WrongRole { .. }))));
    // The broker's certificate without its key.
    let thief = Cast { broker: (key("bob"), alice().broker.1), ..alice() };
    assert_eq!(heard(&thief, &|_| {}), Some(HandshakeError::Authentication(Proof::BrokerSignature)));
}

#[test]
fn a_sealed_refusal_of_another_session_is_refused() {
    let other = Conversation::hold(alice(), 700);
    let refused = other.broker(BrokerState::Keyed).refuse(HandshakeError::Timeout, NOON, &mut Seeded::new(1));
    let client = ALICE.client(ClientState::AwaitingSessionKey);
    let heard = to_client(client, &refused.message, &ALICE.cast, 9).err();
    assert!(matches!(
        heard,
        Some(ClientError::Failed(HandshakeError::Authentication(Proof::RefusalToken(_))))
    ));
}

#[test]
fn every_byte_of_a_sealed_refusal_counts() {
    let refused = ALICE.broker(BrokerState::Keyed).refuse(HandshakeError::Timeout, NOON, &mut Seeded::new(1));
    for at in (5..refused.message.len()).step_by(11) {
        let mut bad = refused.message.clone();
        bad[at] ^= 1;
        let client = ALICE.client(ClientState::AwaitingSessionKey);
        let heard = to_client(client, &bad, &ALICE.cast, 9).err();
        assert!(matches!(heard, Some(ClientError::Failed(_))), "byte {at}: {heard:?}");
    }
}

/// A point of small order makes the X25519 secret zero, on either side.
#[test]
fn a_zero_secret_is_refused() {
    let mut hello = ALICE.messages[0].clone();
    let x = hello.len() - 32;
    hello[x..].fill(0);
    let refused = to_broker(Handshake::new(), &hello, &ALICE.cast, 2).err().expect("a zero key is refused");
    assert_eq!(refused.error, HandshakeError::Malformed(WireError::BadValue("the X25519 key")));
}

#[test]
fn another_version_is_named() {
    let mut hello = ALICE.messages[0].clone();
    hello[12] = 9;
    let refused = to_broker(Handshake::new(), &hello, &ALICE.cast, 2).err().expect("version 9 is refused");
    assert_eq!(refused.refusal.code, RefusalCode::UnsupportedVersion);
    assert!(refused.refusal.text.contains('9'), "{}", refused.refusal.text);
}

/// The whole map from errors to what the peer is told.
#[test]
fn every_error_has_its_code() {
    use crate::crypto::fernet::FernetError;
    use crate::crypto::sign::RsaFault;
    use HandshakeError as H;
    use RecordError as R;
    use SessionError as S;
    let retry_after = Duration::from_millis(250);
    let cases = [
        (S::from(H::Version(2)), RefusalCode::UnsupportedVersion, 0),
        (H::Malformed(WireError::Trailing).into(), RefusalCode::Malformed, 0),
        (H::Malformed(WireError::TooLong).into(), RefusalCode::TooLarge, 0),
        (H::Unexpected(MessageType::ClientReady).into(), RefusalCode::Unexpected, 0),
        (H::TooLarge.into(), RefusalCode::TooLarge, 0),
        (H::Certificate(CertFault::Revoked).into(), RefusalCode::CertRevoked, 0),
        (H::Certificate(CertFault::WrongCa).into(), RefusalCode::CertWrongCa, 0),
        (H::Certificate(CertFault::Version).into(), RefusalCode::CertMalformed, 0),
        (H::Certificate(CertFault::WrongName).into(), RefusalCode::CertWrongName, 0),
        (H::Authentication(Proof::BatchPath).into(), RefusalCode::Authentication, 0),
        (H::Busy { retry_after }.into(), RefusalCode::Busy, 250),
        (H::Timeout.into(), RefusalCode::Timeout, 1000),
        (H::ShuttingDown.into(), RefusalCode::ShuttingDown, 1000),
        (H::Fault(RsaFault).into(), RefusalCode::Busy, 1000),
        (R::TokenLength(1).into(), RefusalCode::TooLarge, 0),
        (R::Token(FernetError::Forged).into(), RefusalCode::Authentication, 0),
        (R::NoSequence.into(), RefusalCode::Malformed, 0),
        (R::Sequence { got: 1, expected: 2 }.into(), RefusalCode::Authentication, 0),
        (R::Frames(WireError::Truncated).into(), RefusalCode::Malformed, 0),
        (R::BodiesLength(1 << 40).into(), RefusalCode::TooLarge, 0),
        (R::Body.into(), RefusalCode::Authentication, 0),
        (R::Closed.into(), RefusalCode::Authentication, 0),
        (S::Frame(WireError::Truncated), RefusalCode::Malformed, 0),
        (S::Certificate(CertFault::Revoked), RefusalCode::CertRevoked, 0),
        (S::Timeout, RefusalCode::Timeout, 1000),
        (S::ShuttingDown, RefusalCode::ShuttingDown, 1000),
    ];
    for (error, code, retry) in cases {
        let refusal = error.refusal();
        assert_eq!((refusal.code, refusal.retry_after_ms), (code, retry), "{error}");
    }
}

/// Which proof failed is never in what the peer is told.
#[test]
fn a_failed_proof_tells_nothing() {
    use crate::crypto::fernet::FernetError::{Forged, Padding};
    let proofs = [
        Proof::BatchPath,
        Proof::BrokerSignature,
        Proof::ClientToken(Forged),
        Proof::ClientToken(Padding),
        Proof::ClientSignature,
        Proof::EnvelopeMac,
        Proof::Envelope,
        Proof::ReadyMac,
        Proof::RefusalToken(Padding),
    ];
    let told = proofs.map(|p| SessionError::from(HandshakeError::from(p)).refusal());
    assert!(told.iter().all(|t| *t == told[0]));
}
