//! Every message in every state, on both sides. None is left out: the tables' shape sees to it.

use super::*;
use crate::session::close::HandshakeError;
use crate::wire::handshake::RefusalCode;

/// The type bytes that are tried: all seven types, and three that there are not.
const KINDS: [u8; 10] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 255];

/// What the broker does with a message that is good as such.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum B {
    /// Goes to the state.
    To(BrokerState),
    Active,
    /// Refuses a known message out of turn: in clear, or sealed.
    Clear,
    Sealed,
    /// Refuses an unknown type: in clear, or sealed.
    ClearUnknown,
    SealedUnknown,
}

/// What the client does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum C {
    To(ClientState),
    Active,
    /// Out of turn.
    Unexpected,
    /// An unknown type.
    Unknown,
    /// A refusal that anybody may have sent.
    RefusedByAnybody,
    /// A refusal of the broker's own.
    RefusedByBroker,
}

const BROKER: [(BrokerState, [B; 10]); 5] = {
    use B::*;
    use BrokerState::*;
    [
        //            0             1           2      3             4      5       6      7      8             255
        (
            Fresh,
            [ClearUnknown, To(Queued), Clear, Clear, Clear, Clear, Clear, Clear, ClearUnknown, ClearUnknown],
        ),
        (Queued, [ClearUnknown, Clear, Clear, Clear, Clear, Clear, Clear, Clear, ClearUnknown, ClearUnknown]),
        (
            Challenged,
            [
                ClearUnknown,
                Clear,
                Clear,
                To(Verified),
                Clear,
                Clear,
                Clear,
                Clear,
                ClearUnknown,
                ClearUnknown,
            ],
        ),
        (
            Verified,
            [
                SealedUnknown,
                Sealed,
                Sealed,
                Sealed,
                Sealed,
                Sealed,
                Sealed,
                Sealed,
                SealedUnknown,
                SealedUnknown,
            ],
        ),
        (
            Keyed,
            [
                SealedUnknown,
                Sealed,
                Sealed,
                Sealed,
                Sealed,
                Active,
                Sealed,
                Sealed,
                SealedUnknown,
                SealedUnknown,
            ],
        ),
    ]
};

const CLIENT: [(ClientState, [C; 10]); 2] = {
    use C::*;
    use ClientState::*;
    [
        (
            AwaitingBrokerHello,
            [
                Unknown,
                Unexpected,
                To(AwaitingSessionKey),
                Unexpected,
                Unexpected,
                Unexpected,
                RefusedByAnybody,
                Unexpected,
                Unknown,
                Unknown,
            ],
        ),
        (
            AwaitingSessionKey,
            [
                Unknown,
                Unexpected,
                Unexpected,
                Unexpected,
                Active,
                Unexpected,
                RefusedByAnybody,
                RefusedByBroker,
                Unknown,
                Unknown,
            ],
        ),
    ]
};

/// The conversation's own message of the type, or a good refusal, or some bytes.
fn message_of(kind: u8) -> Vec<u8> {
    match kind {
        1..=5 => ALICE.messages[usize::from(kind) - 1].clone(),
        6 => {
            ALICE
                .broker(BrokerState::Fresh)
                .refuse(HandshakeError::Timeout, NOON, &mut Seeded::new(7))
                .message
        }
        7 => {
            ALICE
                .broker(BrokerState::Keyed)
                .refuse(HandshakeError::Timeout, NOON, &mut Seeded::new(7))
                .message
        }
        unknown => raw(unknown, &[1, 2, 3]),
    }
}

#[test]
fn the_broker_in_every_state() {
    for (state, row) in BROKER {
        for (kind, expected) in KINDS.into_iter().zip(row) {
            let handshake = ALICE.broker(state);
            assert_eq!(broker_state(&handshake), state);
            let got = match to_broker(handshake, &message_of(kind), &ALICE.cast, 70) {
                Ok(None) => panic!("{state:?}, type {kind}: a whole message is taken"),
                Ok(Some(broker::Step::Handshake(next))) => B::To(broker_state(&next)),
                Ok(Some(broker::Step::Active(_))) => B::Active,
                Err(refused) => outcome(&refused),
            };
            assert_eq!(got, expected, "{state:?}, type {kind}");
        }
    }
}

fn outcome(refused: &broker::Refused) -> B {
    match (refused.refusal.code, refused.message[4]) {
        (RefusalCode::Unexpected, 6) => B::Clear,
        (RefusalCode::Unexpected, 7) => B::Sealed,
        (RefusalCode::Malformed, 6) => B::ClearUnknown,
        (RefusalCode::Malformed, 7) => B::SealedUnknown,
        other => panic!("refused with {other:?}"),
    }
}

#[test]
fn the_client_in_every_state() {
    for (state, row) in CLIENT {
        for (kind, expected) in KINDS.into_iter().zip(row) {
            let handshake = ALICE.client(state);
            assert_eq!(client_state(&handshake), state);
            let got = match to_client(handshake, &message_of(kind), &ALICE.cast, 71) {
                Ok(None) => panic!("{state:?}, type {kind}: a whole message is taken"),
                Ok(Some(client::Step::Handshake(next, _))) => C::To(client_state(&next)),
                Ok(Some(client::Step::Active(..))) => C::Active,
                Err(ClientError::Refused { authenticated: true, .. }) => C::RefusedByBroker,
                Err(ClientError::Refused { authenticated: false, .. }) => C::RefusedByAnybody,
                Err(ClientError::Failed(HandshakeError::Unexpected(k))) if k as u8 == kind => C::Unexpected,
                Err(ClientError::Failed(HandshakeError::Malformed(_))) => C::Unknown,
                Err(e) => panic!("{state:?}, type {kind}: {e}"),
            };
            assert_eq!(got, expected, "{state:?}, type {kind}");
        }
    }
}

/// What `expects` says is what the table says.
#[test]
fn expects_names_the_one_message_that_leads_on() {
    for (state, row) in BROKER {
        let on = KINDS.into_iter().zip(row).filter(|(_, b)| matches!(b, B::To(_) | B::Active));
        let on: Vec<u8> = on.map(|(kind, _)| kind).collect();
        let expected: Vec<u8> = ALICE.broker(state).expects().map(|k| k as u8).into_iter().collect();
        assert_eq!(on, expected, "{state:?}");
    }
}

/// Once active, a handshake message is read as a record, and is none.
#[test]
fn a_handshake_message_is_no_record() {
    for kind in KINDS {
        let (at_broker, at_client) = active(&ALICE);
        for (_, mut opener) in [at_broker.keys.into_broker(), at_client.keys.into_client()] {
            let mut inbox = Inbox::new();
            inbox.push(&message_of(kind));
            // Whatever length it claims: pad it, so that nothing is merely waiting.
            inbox.push(&[0; 8192]);
            assert!(inbox.next_record(&mut opener, |_| Ok(Vec::new()), usize::MAX).is_err(), "type {kind}");
        }
    }
}
