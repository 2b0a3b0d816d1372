//! Records in order pass; cut, changed, repeated, swapped, reflected or strange ones never do.

use super::*;
use crate::crypto::fernet::FernetError;

const NOW: Wall = Wall(1_795_435_200_000);

fn secret(byte: u8) -> Secret32 {
    Secret32::new([byte; 32])
}

/// The next record's token.
fn token(sealer: &mut Sealer, frames: &[u8]) -> Vec<u8> {
    let mut out = b"what was there before".to_vec();
    let before = out.len();
    let start = sealer.begin(&mut out);
    out.extend_from_slice(frames);
    sealer.finish(&mut out, start, NOW, &[7; 16]);
    assert_eq!(&out[..before], b"what was there before");
    let len = u32::from_be_bytes(out[before..before + 4].try_into().expect("four bytes")) as usize;
    let token = out.split_off(before + 4);
    assert_eq!(token.len(), len);
    token
}

fn tokens<const N: usize>(sealer: &mut Sealer) -> [Vec<u8>; N] {
    std::array::from_fn(|i| token(sealer, &[i as u8; 20]))
}

#[test]
fn records_pass_in_order() {
    let (mut sealer, mut opener) = (Sealer::new(secret(1)), Opener::new(secret(1)));
    for i in 0..50_u64 {
        assert_eq!((sealer.next_sequence(), opener.next_sequence()), (i, i));
        let frames = vec![i as u8; i as usize * 13];
        let mut token = token(&mut sealer, &frames);
        assert_eq!(fernet::timestamp(&token), Some(NOW.secs()));
        assert_eq!(opener.open(&mut token), Ok(&frames[..]));
    }
}

#[test]
fn the_largest_record_fits_exactly() {
    let mut sealer = Sealer::new(secret(1));
    let mut out = Vec::new();
    let start = sealer.begin(&mut out);
    assert_eq!(Sealer::room(&out, &start), FRAMES_BYTES_MAX);
    out.resize(out.len() + FRAMES_BYTES_MAX, 3);
    assert_eq!(Sealer::room(&out, &start), 0);
    sealer.finish(&mut out, start, NOW, &[7; 16]);
    assert!(out.len() - LENGTH_BYTES <= TOKEN_BYTES_MAX && out.len() - LENGTH_BYTES > TOKEN_BYTES_MAX - 16);
    let opened = Opener::new(secret(1)).open(&mut out[LENGTH_BYTES..]).map(<[u8]>::len);
    assert_eq!(opened, Ok(FRAMES_BYTES_MAX));
}

#[test]
#[should_panic(expected = "frames are packed within a token's limit")]
fn a_larger_record_is_a_bug() {
    let mut sealer = Sealer::new(secret(1));
    let mut out = Vec::new();
    let start = sealer.begin(&mut out);
    out.resize(out.len() + FRAMES_BYTES_MAX + 1, 3);
    sealer.finish(&mut out, start, NOW, &[7; 16]);
}

#[test]
fn an_oversized_token_is_refused_however_good() {
    let key = SealingKey::new(&secret(1));
    let mut token = key.seal_to_vec(&[0; FRAMES_BYTES_MAX + 8 + 1], 0, &[0; 16]);
    let error = Opener::new(secret(1)).open(&mut token).unwrap_err();
    assert_eq!(error, RecordError::TokenLength(TOKEN_BYTES_MAX + 9));
}

#[test]
fn every_cut_and_every_changed_byte_is_refused() {
    let token = token(&mut Sealer::new(secret(1)), b"some frames that take two blocks");
    for end in 0..token.len() {
        assert!(Opener::new(secret(1)).open(&mut token[..end].to_vec()).is_err(), "{end} bytes");
    }
    for at in 0..token.len() {
        let mut bad = token.clone();
        bad[at] ^= 1 << (at % 8);
        assert!(Opener::new(secret(1)).open(&mut bad).is_err(), "byte {at}");
    }
}

#[test]
fn repeated_lost_swapped_and_late_records_end_the_session() {
    let [a, b, c]: [Vec<u8>; 3] = tokens(&mut Sealer::new(secret(1)));
    let bad_orders: [&[&Vec<u8>]; 6] =
        [&[&a, &a], &[&b], &[&a, &c], &[&a, &b, &a], &[&a, &b, &b], &[&a, &b, &c, &b]];
    for order in bad_orders {
        let mut opener = Opener::new(secret(1));
        let (last, good) = order.split_last().expect("not empty");
        for token in good {
            assert!(opener.open(&mut token.to_vec()).is_ok());
        }
        let expected = good.len() as u64;
        let error = opener.open(&mut last.to_vec()).unwrap_err();
        assert!(matches!(error, RecordError::Sequence { expected: e, .. } if e == expected), "{error}");
        // Even the right one is refused now.
        for token in [&a, &b, &c] {
            assert_eq!(opener.open(&mut token.to_vec()), Err(RecordError::Closed));
        }
    }
}

#[test]
fn records_of_another_key_are_refused() {
    let [a]: [Vec<u8>; 1] = tokens(&mut Sealer::new(secret(2)));
    let error = Opener::new(secret(1)).open(&mut a.clone()).unwrap_err();
    assert_eq!(error, RecordError::Token(FernetError::Forged));
}

#[test]
fn a_token_without_a_sequence_number_is_refused() {
    for len in 0..8 {
        let mut token = SealingKey::new(&secret(1)).seal_to_vec(&vec![0; len], 0, &[0; 16]);
        assert_eq!(Opener::new(secret(1)).open(&mut token), Err(RecordError::NoSequence), "{len} bytes");
    }
}

#[test]
fn no_frames_are_frames_too() {
    let mut token = token(&mut Sealer::new(secret(1)), b"");
    assert_eq!(Opener::new(secret(1)).open(&mut token), Ok(&b""[..]));
}

#[test]
fn keys_change_after_their_records_and_numbers_go_on() {
    for boundary in [RECORDS_PER_KEY, 2 * RECORDS_PER_KEY] {
        let mut sealer = Sealer::at(secret(1), boundary - 2);
        let [a, b, c, d]: [Vec<u8>; 4] = tokens(&mut sealer);
        assert_eq!(sealer.next_sequence(), boundary + 2);
        let mut opener = Opener::at(secret(1), boundary - 2);
        for token in [&a, &b, &c, &d] {
            assert!(opener.open(&mut token.clone()).is_ok());
        }
        // Before the boundary the old key, after it the one that follows, and that is not the old.
        let next = next_key(&secret(1), boundary);
        for (token, old) in [(&a, true), (&b, true), (&c, false), (&d, false)] {
            assert_eq!(OpeningKey::new(&secret(1)).open(&mut token.clone()).is_ok(), old);
            assert_eq!(OpeningKey::new(&next).open(&mut token.clone()).is_ok(), !old);
        }
    }
}

#[test]
fn the_boundary_takes_no_other_record() {
    let [a, b, c, d]: [Vec<u8>; 4] = tokens(&mut Sealer::at(secret(1), RECORDS_PER_KEY - 2));
    for bad in [&a, &b, &d] {
        let mut opener = Opener::at(secret(1), RECORDS_PER_KEY - 2);
        assert!(opener.open(&mut a.clone()).is_ok() && opener.open(&mut b.clone()).is_ok());
        assert!(opener.open(&mut bad.clone()).is_err());
        assert_eq!(opener.open(&mut c.clone()), Err(RecordError::Closed));
    }
    // A record numbered beyond the boundary, but under the old key.
    let mut plain = RECORDS_PER_KEY.to_be_bytes().to_vec();
    plain.extend_from_slice(b"frames");
    let mut stale = SealingKey::new(&secret(1)).seal_to_vec(&plain, 0, &[0; 16]);
    let mut opener = Opener::at(secret(1), RECORDS_PER_KEY);
    // `at` gives the key before the boundary; the first record there turns it.
    assert_eq!(opener.open(&mut stale), Err(RecordError::Token(FernetError::Forged)));
}

/// Ten thousand connections hold two of these each.
#[test]
fn keys_stay_small() {
    assert!(
        size_of::<Sealer>() + size_of::<Opener>() <= 2300,
        "{} {}",
        size_of::<Sealer>(),
        size_of::<Opener>()
    );
}
