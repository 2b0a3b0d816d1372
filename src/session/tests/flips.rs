//! Every byte of every handshake message changed, and every message cut: never active.

use super::*;

/// The message with each byte in turn changed, in two ways: one bit, and all bits.
fn changed(message: &[u8]) -> impl Iterator<Item = (usize, Vec<u8>)> {
    changed_by(message, |at| 1 << (at % 8)).chain(changed_by(message, |_| 0xff))
}

/// The message with each byte in turn changed by the mask for its place.
fn changed_by(message: &[u8], mask: fn(usize) -> u8) -> impl Iterator<Item = (usize, Vec<u8>)> {
    (0..message.len()).map(move |at| {
        let mut bad = message.to_vec();
        bad[at] ^= mask(at);
        (at, bad)
    })
}

/// The broker may take a changed hello, for all in it is the client's to choose; the client does not
/// take the answer.
#[test]
fn client_hello() {
    let cast = &ALICE.cast;
    for (at, bad) in changed_by(&ALICE.messages[0], |at| 1 << (at % 8)) {
        let Ok(Some(broker::Step::Handshake(next))) = to_broker(Handshake::new(), &bad, cast, 2) else {
            continue;
        };
        let Handshake::AwaitingCert(broker::AwaitingCert::Queued(queued)) = next else {
            panic!("byte {at}: a hello leads to the queue and nowhere else");
        };
        // Only nonce and key can change and the hello still be one.
        assert!(at >= 13, "byte {at}");
        let batch =
            sign_batch(&[queued.th1()], &cast.broker.0, &mut Seeded::new(3)).expect("a sound machine");
        let (_, answer) = queued.challenge(&batch, 0);
        let client = ALICE.client(ClientState::AwaitingBrokerHello);
        assert!(to_client(client, &answer, cast, 4).is_err(), "byte {at}");
    }
}

#[test]
fn broker_hello() {
    for (at, bad) in changed(&ALICE.messages[1]) {
        let client = ALICE.client(ClientState::AwaitingBrokerHello);
        match to_client(client, &bad, &ALICE.cast, 4) {
            Err(_) => {}
            Ok(None) => assert!(at < 4, "byte {at}: only a changed length leaves the client waiting"),
            Ok(Some(_)) => panic!("byte {at}: the client goes on"),
        }
    }
}

#[test]
fn client_auth() {
    for (at, bad) in changed(&ALICE.messages[2]) {
        let challenged = ALICE.broker(BrokerState::Challenged);
        match to_broker(challenged, &bad, &ALICE.cast, 5) {
            Err(_) => {}
            Ok(None) => assert!(at < 4, "byte {at}: only a changed length leaves the broker waiting"),
            Ok(Some(_)) => panic!("byte {at}: the broker goes on"),
        }
    }
}

#[test]
fn session_key() {
    for (at, bad) in changed_by(&ALICE.messages[3], |at| 1 << (at % 8)) {
        let client = ALICE.client(ClientState::AwaitingSessionKey);
        match to_client(client, &bad, &ALICE.cast, 7) {
            Err(_) => {}
            Ok(None) => assert!(at < 4, "byte {at}: only a changed length leaves the client waiting"),
            Ok(Some(_)) => panic!("byte {at}: the client goes on"),
        }
    }
}

#[test]
fn client_ready() {
    for (at, bad) in changed(&ALICE.messages[4]) {
        match to_broker(ALICE.broker(BrokerState::Keyed), &bad, &ALICE.cast, 8) {
            Err(_) => {}
            Ok(None) => assert!(at < 4, "byte {at}: only a changed length leaves the broker waiting"),
            Ok(Some(_)) => panic!("byte {at}: the broker goes on"),
        }
    }
}

/// A message that ends early leaves its reader waiting for the deadline, wherever it is cut.
#[test]
fn cut_messages_wait() {
    for (i, message) in ALICE.messages.iter().enumerate() {
        for end in 0..message.len() {
            let mut inbox = Inbox::new();
            inbox.push(&message[..end]);
            assert_eq!(inbox.next_handshake(), Ok(None), "message {i}, {end} bytes");
            assert_eq!(inbox.is_partial(), end > 0);
        }
    }
}

/// A payload that ends early under a length that says so is refused, wherever it is cut.
#[test]
fn short_payloads_are_refused() {
    let states = [(1, BrokerState::Fresh), (3, BrokerState::Challenged), (5, BrokerState::Keyed)];
    for (kind, state) in states {
        let payload = &ALICE.messages[kind - 1][5..];
        for end in (0..payload.len()).step_by(7) {
            let bytes = raw(kind as u8, &payload[..end]);
            assert!(to_broker(ALICE.broker(state), &bytes, &ALICE.cast, 9).is_err(), "type {kind}, {end}");
        }
        let long = raw(kind as u8, &[payload, &[0]].concat());
        assert!(to_broker(ALICE.broker(state), &long, &ALICE.cast, 9).is_err(), "type {kind}, a byte more");
    }
    let payload = &ALICE.messages[1][5..];
    for end in (0..payload.len()).step_by(7) {
        let client = ALICE.client(ClientState::AwaitingBrokerHello);
        assert!(to_client(client, &raw(2, &payload[..end]), &ALICE.cast, 9).is_err(), "type 2, {end}");
    }
    let payload = &ALICE.messages[3][5..];
    for end in (0..payload.len()).step_by(37) {
        let client = ALICE.client(ClientState::AwaitingSessionKey);
        assert!(to_client(client, &raw(4, &payload[..end]), &ALICE.cast, 9).is_err(), "type 4, {end}");
    }
}

/// Each message of another conversation between the same two is refused in this one.
#[test]
fn messages_of_another_session_are_refused() {
    let cast = Cast::new(&world(), "alice");
    let other = Conversation::hold(cast, 500);
    let cast = &ALICE.cast;
    let hello = ALICE.client(ClientState::AwaitingBrokerHello);
    assert!(to_client(hello, &other.messages[1], cast, 9).is_err());
    assert!(to_broker(ALICE.broker(BrokerState::Challenged), &other.messages[2], cast, 9).is_err());
    let waiting = ALICE.client(ClientState::AwaitingSessionKey);
    assert!(to_client(waiting, &other.messages[3], cast, 9).is_err());
    assert!(to_broker(ALICE.broker(BrokerState::Keyed), &other.messages[4], cast, 9).is_err());
}

/// The same conversation again, word for word: the broker's hello is fresh, so the replayed
/// ClientAuth is for nothing.
#[test]
fn a_replayed_client_is_refused() {
    let cast = &ALICE.cast;
    let queued = queued(to_broker(Handshake::new(), &ALICE.messages[0], cast, 600));
    let batch = sign_batch(&[queued.th1()], &cast.broker.0, &mut Seeded::new(601)).expect("a sound machine");
    let (challenged, _) = queued.challenge(&batch, 0);
    assert!(to_broker(challenged.into(), &ALICE.messages[2], cast, 602).is_err());
}
