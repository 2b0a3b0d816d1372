//! Every message reads back as written; every cut, excess and length out of bounds is refused.

use super::*;

fn path(n: usize) -> BatchPath {
    BatchPath { index: 3, size: 256, siblings: (0..n).map(|i| [i as u8; 32]).collect() }
}

fn broker_hello<'a>(certificate: &'a [u8], signature: &'a [u8]) -> BrokerHello<'a> {
    BrokerHello { version: 1, nonce: [1; 32], x: [2; 32], certificate, path: path(8), signature }
}

/// `decode` takes `bytes` and nothing that is shorter or longer.
fn takes_exactly(bytes: &[u8], decode: impl Fn(&[u8]) -> bool) {
    assert!(decode(bytes));
    for end in 0..bytes.len() {
        assert!(!decode(&bytes[..end]), "{end} of {} bytes", bytes.len());
    }
    assert!(!decode(&[bytes, &[0]].concat()));
}

#[test]
fn hellos() {
    let client = ClientHello { version: 1, nonce: [1; 32], x: [2; 32] };
    assert_eq!(client.encode().len(), 72);
    takes_exactly(&client.encode(), |b| ClientHello::decode(b) == Ok(client.clone()));
    let broker = broker_hello(b"certificate", &[7; 512]);
    takes_exactly(&broker.encode(), |b| BrokerHello::decode(b) == Ok(broker.clone()));
    let alone = BrokerHello { path: path(0), ..broker };
    takes_exactly(&alone.encode(), |b| BrokerHello::decode(b) == Ok(alone.clone()));
}

#[test]
fn another_version_is_named_before_anything_else_is_read() {
    let hello = ClientHello { version: 2, nonce: [1; 32], x: [2; 32] }.encode();
    assert_eq!(ClientHello::decode(&hello), Err(HelloError::Version(2)));
    assert_eq!(ClientHello::decode(&hello[..8]), Err(HelloError::Version(2)));
    assert_eq!(BrokerHello::decode(&[0, 2]), Err(HelloError::Version(2)));
    let other = WireError::BadValue("the protocol's name");
    assert_eq!(ClientHello::decode(b"GET / HTTP/1.1\r\n"), Err(other.into()));
}

#[test]
fn certificates_signatures_and_paths_are_bounded() {
    let long = [0; CERT_BYTES_MAX + 1];
    let too_long = Err(HelloError::Wire(WireError::TooLong));
    assert_eq!(BrokerHello::decode(&broker_hello(&long, b"").encode()), too_long);
    assert_eq!(BrokerHello::decode(&broker_hello(b"", &[0; 513]).encode()), too_long);
    let mut nine_siblings = BrokerHello { path: path(0), ..broker_hello(b"", b"") }.encode();
    let at = nine_siblings.len() - 3;
    nine_siblings[at] = 9;
    nine_siblings.extend([0; 9 * 32]);
    assert_eq!(BrokerHello::decode(&nine_siblings), too_long);
    let auth = ClientAuth { certificate: &long, signature: b"" }.encode();
    assert_eq!(ClientAuth::decode(&auth), Err(WireError::TooLong));
    let key = SessionKey { envelope: &long, mac: [0; 32] }.encode();
    assert_eq!(SessionKey::decode(&key), Err(WireError::TooLong));
}

/// The largest of each still fits a message: `message` would panic otherwise.
#[test]
fn the_largest_messages_fit() {
    let (certificate, rsa) = ([0; CERT_BYTES_MAX], [0; RSA_BYTES_MAX]);
    message(MessageType::BrokerHello, &broker_hello(&certificate, &rsa).encode());
    let auth = ClientAuth { certificate: &certificate, signature: &rsa }.encode();
    message(MessageType::ClientAuth, &[auth, vec![0; 25 + 16 + 32]].concat());
}

#[test]
fn the_rest() {
    let auth = ClientAuth { certificate: b"certificate", signature: b"signature" };
    takes_exactly(&auth.encode(), |b| ClientAuth::decode(b) == Ok(auth.clone()));
    let key = SessionKey { envelope: b"envelope", mac: [9; 32] };
    takes_exactly(&key.encode(), |b| SessionKey::decode(b) == Ok(key.clone()));
    takes_exactly(&[3; 32], |b| ClientReady::decode(b) == Ok(ClientReady { mac: [3; 32] }));
    let refusal = Refusal { code: RefusalCode::Busy, retry_after_ms: 250, text: "später".into() };
    takes_exactly(&refusal.encode(), |b| Refusal::decode(b) == Ok(refusal.clone()));
}

#[test]
fn a_refusals_text_is_cut_between_characters() {
    let text = "ä".repeat(300);
    let refusal = Refusal { code: RefusalCode::Malformed, retry_after_ms: 0, text };
    let read = Refusal::decode(&refusal.encode()).expect("a cut refusal is a good one");
    assert_eq!(read.text, "ä".repeat(256));
    let mut long = Vec::new();
    Writer::new(&mut long).u16(2).u32(0).str16(&"a".repeat(513));
    assert_eq!(Refusal::decode(&long), Err(WireError::TooLong));
}

#[test]
fn codes_and_types_keep_their_numbers() {
    for (code, number) in RefusalCode::ALL {
        assert_eq!((u16::from(code), RefusalCode::from(number)), (number, code));
    }
    for number in 0..=u16::MAX {
        assert_eq!(u16::from(RefusalCode::from(number)), number);
    }
    for byte in 0..=u8::MAX {
        match MessageType::try_from(byte) {
            Ok(kind) => assert_eq!(kind as u8, byte),
            Err(e) => assert!(e == WireError::UnknownType(byte) && !(1..=7).contains(&byte)),
        }
    }
}

#[test]
fn lengths() {
    assert_eq!(message(MessageType::ClientReady, &[9; 2]), [0, 0, 0, 3, 5, 9, 9]);
    assert_eq!(message_length([0, 0, 0, 0]), Err(WireError::Truncated));
    assert_eq!(message_length([0, 0, 0, 1]), Ok(1));
    assert_eq!(message_length([0, 0, 0x20, 0]), Ok(8192));
    assert_eq!(message_length([0, 0, 0x20, 1]), Err(WireError::TooLong));
    assert_eq!(message_length([0xff; 4]), Err(WireError::TooLong));
}
