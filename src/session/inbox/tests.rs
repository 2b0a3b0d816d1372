//! Whole messages and records from pieces of any size, and memory only for what is due.

use super::*;
use crate::base::Wall;
use crate::crypto::digest::sha256;
use crate::crypto::fernet::FernetError;
use crate::crypto::secret::Secret32;
use crate::session::record::Sealer;
use crate::wire::codec::{Reader, Writer};
use crate::wire::handshake::{MessageType, message};

fn sealer() -> Sealer {
    Sealer::new(Secret32::new([1; 32]))
}

fn opener() -> Opener {
    Opener::new(Secret32::new([1; 32]))
}

/// Frames of these tests: a count, then length and hash of each body.
fn scan(frames: &[u8]) -> Result<Vec<BodyRef>, WireError> {
    let mut r = Reader::new(frames);
    let n = r.u8()?;
    let refs = (0..n).map(|_| Ok(BodyRef { len: r.u32()?, sha256: r.array()? })).collect::<Result<_, _>>()?;
    r.finish()?;
    Ok(refs)
}

fn frames(bodies: &[&[u8]]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut w = Writer::new(&mut out);
    w.u8(bodies.len() as u8);
    for body in bodies {
        w.u32(body.len() as u32).bytes(&sha256(body));
    }
    out
}

/// A record on the wire, with whatever bodies behind it.
fn record(sealer: &mut Sealer, frames: &[u8], bodies: &[&[u8]]) -> Vec<u8> {
    let mut out = Vec::new();
    let start = sealer.begin(&mut out);
    out.extend_from_slice(frames);
    sealer.finish(&mut out, start, Wall(0), &[2; 16]);
    out.extend(bodies.concat());
    out
}

fn good(sealer: &mut Sealer, bodies: &[&[u8]]) -> Vec<u8> {
    record(sealer, &frames(bodies), bodies)
}

/// All records that are whole, as owned bytes.
fn drain(inbox: &mut Inbox, opener: &mut Opener) -> Vec<(Vec<u8>, Vec<Vec<u8>>)> {
    let mut out = Vec::new();
    while let Progress::Record(r) = inbox.next_record(opener, scan, usize::MAX).expect("good records") {
        out.push((r.frames.to_vec(), r.bodies.iter().map(|b| b.to_vec()).collect()));
    }
    out
}

#[test]
fn handshake_messages_come_in_pieces_of_any_size() {
    let bytes =
        [message(MessageType::ClientHello, b"hello"), message(MessageType::ClientReady, b"")].concat();
    for step in 1..=bytes.len() {
        let mut inbox = Inbox::new();
        let mut seen = Vec::new();
        for piece in bytes.chunks(step) {
            inbox.push(piece);
            while let Some(m) = inbox.next_handshake().expect("good messages") {
                seen.push((m.kind, m.payload.to_vec()));
            }
        }
        assert_eq!(seen, [(1, b"hello".to_vec()), (5, Vec::new())], "pieces of {step}");
        assert!(!inbox.is_partial());
    }
}

#[test]
fn a_bad_length_is_refused_before_anything_follows() {
    for (prefix, error) in [
        ([0, 0, 0, 0], HandshakeError::Malformed(WireError::Truncated)),
        ([0, 0, 0x20, 1], HandshakeError::TooLarge),
        ([0xff; 4], HandshakeError::TooLarge),
    ] {
        let mut inbox = Inbox::new();
        inbox.push(&prefix);
        assert_eq!(inbox.next_handshake(), Err(error.clone()));
        assert_eq!(inbox.next_handshake(), Err(error));
    }
}

#[test]
fn the_longest_message_is_taken() {
    let mut inbox = Inbox::new();
    inbox.push(&[0, 0, 0x20, 0, 3]);
    assert_eq!(inbox.next_handshake(), Ok(None));
    inbox.push(&[9; 8191]);
    assert_eq!(inbox.next_handshake(), Ok(Some(Message { kind: 3, payload: &[9; 8191] })));
}

#[test]
fn records_with_and_without_bodies_come_in_pieces_of_any_size() {
    let (mut sealer, big) = (sealer(), vec![5; 700]);
    let contents: [&[&[u8]]; 6] = [&[], &[b"one"], &[], &[b"", &big, b"", b"three"], &[b""], &[&big]];
    let bytes: Vec<u8> = contents.iter().flat_map(|bodies| good(&mut sealer, bodies)).collect();
    let expected: Vec<_> =
        contents.iter().map(|c| (frames(c), c.iter().map(|b| b.to_vec()).collect::<Vec<_>>())).collect();
    for step in (1..150).chain([500, 1000, bytes.len()]) {
        let (mut inbox, mut opener) = (Inbox::new(), opener());
        let mut seen = Vec::new();
        for piece in bytes.chunks(step) {
            inbox.push(piece);
            seen.extend(drain(&mut inbox, &mut opener));
        }
        assert_eq!(seen, expected, "pieces of {step}");
        assert!(!inbox.is_partial());
        assert!(inbox.held_bytes() <= KEPT_BYTES, "{} bytes kept", inbox.held_bytes());
    }
}

/// The last handshake message and the first record may come in one piece.
#[test]
fn records_follow_the_handshake_in_one_piece() {
    let mut inbox = Inbox::new();
    inbox.push(&[message(MessageType::ClientReady, &[1; 32]), good(&mut sealer(), &[b"body"])].concat());
    assert!(matches!(inbox.next_handshake(), Ok(Some(Message { kind: 5, .. }))));
    assert_eq!(drain(&mut inbox, &mut opener()), [(frames(&[b"body"]), vec![b"body".to_vec()])]);
}

#[test]
fn a_record_cut_anywhere_is_never_handed_out() {
    let bytes = good(&mut sealer(), &[b"first", b"second"]);
    for end in 0..bytes.len() {
        let mut inbox = Inbox::new();
        inbox.push(&bytes[..end]);
        assert_eq!(drain(&mut inbox, &mut opener()), [], "{end} bytes");
        assert_eq!(inbox.is_partial(), end > 0);
    }
}

#[test]
fn every_changed_byte_is_refused_and_the_inbox_is_dead() {
    let bytes = good(&mut sealer(), &[b"first", b"second"]);
    for at in 0..bytes.len() {
        let (mut inbox, mut opener) = (Inbox::new(), opener());
        let mut bad = bytes.clone();
        bad[at] ^= 1 << (at % 8);
        inbox.push(&bad);
        match inbox.next_record(&mut opener, scan, usize::MAX) {
            Ok(Progress::NeedsBytes) => assert!(at < 4, "byte {at}"),
            Ok(progress) => panic!("byte {at}: {progress:?}"),
            Err(_) => {
                inbox.push(&bytes);
                let again = inbox.next_record(&mut opener, scan, usize::MAX);
                assert!(matches!(again, Err(RecordError::Closed)), "byte {at}");
            }
        }
    }
}

#[test]
fn bad_token_lengths_are_refused_at_once() {
    for len in [0, 1, TOKEN_BYTES_MIN - 1, TOKEN_BYTES_MAX + 1, u32::MAX as usize] {
        let mut inbox = Inbox::new();
        inbox.push(&(len as u32).to_be_bytes());
        let error = inbox.next_record(&mut opener(), scan, usize::MAX).unwrap_err();
        assert_eq!(error, RecordError::TokenLength(len));
    }
    let mut inbox = Inbox::new();
    inbox.push(&(TOKEN_BYTES_MAX as u32).to_be_bytes());
    assert!(matches!(inbox.next_record(&mut opener(), scan, usize::MAX), Ok(Progress::NeedsBytes)));
    assert!(inbox.held_bytes() < 64, "an announced length allocates nothing");
}

#[test]
fn bodies_wait_for_room_and_allocate_nothing_before() {
    let body = vec![8; 100_000];
    let bytes = good(&mut sealer(), &[&body, &body]);
    let (token, bodies) = bytes.split_at(bytes.len() - 200_000);
    let (mut inbox, mut opener) = (Inbox::new(), opener());
    inbox.push(token);
    for _ in 0..3 {
        let progress = inbox.next_record(&mut opener, scan, 199_999);
        assert!(matches!(progress, Ok(Progress::NeedsRoom(200_000))));
        assert_eq!(inbox.wanted_bytes(), 200_000);
        assert!(inbox.held_bytes() < 1000);
    }
    // What was read together with the token waits in the buffer.
    inbox.push(&bodies[..10]);
    assert!(matches!(inbox.next_record(&mut opener, scan, 0), Ok(Progress::NeedsRoom(_))));
    assert!(matches!(inbox.next_record(&mut opener, scan, 200_000), Ok(Progress::NeedsBytes)));
    assert_eq!(inbox.wanted_bytes(), 0);
    assert!(inbox.held_bytes() >= 200_000);
    inbox.push(&bodies[10..]);
    // Granted once is granted.
    let Ok(Progress::Record(record)) = inbox.next_record(&mut opener, scan, 0) else { panic!("not whole") };
    assert!(record.bodies.iter().all(|b| **b == body[..]));
    drop(record);
    assert!(matches!(inbox.next_record(&mut opener, scan, 0), Ok(Progress::NeedsBytes)));
    assert!(inbox.held_bytes() <= KEPT_BYTES);
}

#[test]
fn a_forged_token_never_gets_to_its_bodies() {
    let mut inbox = Inbox::new();
    inbox.push(&good(&mut Sealer::new(Secret32::new([2; 32])), &[b"body"]));
    let error = inbox.next_record(&mut opener(), |_| panic!("scanned"), usize::MAX).unwrap_err();
    assert_eq!(error, RecordError::Token(FernetError::Forged));
    assert_eq!(inbox.held_bytes(), 0);
}

#[test]
fn bodies_have_a_limit_in_all() {
    let half = RECORD_BODIES_BYTES_MAX as u32 / 2;
    let outcome = |lens: &[u32]| {
        let mut frames = vec![lens.len() as u8];
        for len in lens {
            Writer::new(&mut frames).u32(*len).bytes(&[0; 32]);
        }
        let mut inbox = Inbox::new();
        inbox.push(&record(&mut sealer(), &frames, &[]));
        inbox.next_record(&mut opener(), scan, 0).map(|p| matches!(p, Progress::NeedsRoom(_)))
    };
    assert_eq!(outcome(&[half, half]), Ok(true));
    assert_eq!(outcome(&[half, half, 1]), Err(RecordError::BodiesLength(u64::from(half) * 2 + 1)));
    let most = [u32::MAX; 255];
    assert_eq!(outcome(&most), Err(RecordError::BodiesLength(255 * u64::from(u32::MAX))));
}

/// A body that is not the one its frame names, exchanged ones included, acts as a bad record.
#[test]
fn exchanged_bodies_are_refused() {
    let bytes = record(&mut sealer(), &frames(&[b"aaaa", b"bbbb"]), &[b"bbbb", b"aaaa"]);
    let mut inbox = Inbox::new();
    inbox.push(&bytes);
    let error = inbox.next_record(&mut opener(), scan, usize::MAX).unwrap_err();
    assert_eq!(error, RecordError::Body);
}

#[test]
fn malformed_frames_are_refused() {
    let mut inbox = Inbox::new();
    inbox.push(&record(&mut sealer(), &[1, 0, 0], &[]));
    let error = inbox.next_record(&mut opener(), scan, usize::MAX).unwrap_err();
    assert_eq!(error, RecordError::Frames(WireError::Truncated));
}

/// Half a frame and silence, after a busy time, holds little.
#[test]
fn a_large_buffer_is_given_back() {
    let mut sealer = sealer();
    let mut bytes: Vec<u8> = (0..500).flat_map(|_| good(&mut sealer, &[])).collect();
    bytes.extend([0, 0, 1]);
    let (mut inbox, mut opener) = (Inbox::new(), opener());
    inbox.push(&bytes);
    assert_eq!(drain(&mut inbox, &mut opener).len(), 500);
    assert!(inbox.is_partial() && inbox.held_bytes() < 64, "{} bytes", inbox.held_bytes());
}
