//! The codec against Fernet's own vectors, against the `fernet` crate, and against bent tokens.

use base64ct::{Base64Url, Encoding};
use serde_json::Value;

use super::*;

const GENERATE: &str = include_str!("../../../tests/vectors/fernet/generate.json");
const VERIFY: &str = include_str!("../../../tests/vectors/fernet/verify.json");
const INVALID: &str = include_str!("../../../tests/vectors/fernet/invalid.json");

/// The vectors' one date, 1985-10-26T01:20:00-07:00, in seconds since 1970.
const MADE: u64 = 499_162_800;

fn cases(text: &str) -> Vec<Value> {
    serde_json::from_str(text).expect("the vectors are JSON")
}

fn text<'a>(case: &'a Value, field: &str) -> &'a str {
    case[field].as_str().expect("a text field")
}

fn secret(case: &Value) -> Secret32 {
    let bytes = Base64Url::decode_vec(text(case, "secret")).expect("the key is base64");
    Secret32::from_slice(&bytes).expect("a key has 32 bytes")
}

/// `now` of a case; all of them lie within the hour of [`MADE`].
fn now(case: &Value) -> u64 {
    let minutes_and_seconds = text(case, "now").strip_prefix("1985-10-26T01:").expect("the one date");
    let (minutes, rest) = minutes_and_seconds.split_once(':').expect("minutes");
    let number = |t: &str| t.parse::<u64>().expect("a number");
    MADE + (number(minutes) - 20) * 60 + number(&rest[..2])
}

fn pair(key: [u8; 32]) -> (SealingKey, OpeningKey) {
    let key = Secret32::new(key);
    (SealingKey::new(&key), OpeningKey::new(&key))
}

#[test]
fn specification_generate() {
    for case in cases(GENERATE) {
        let iv: Vec<u8> = serde_json::from_value(case["iv"].clone()).expect("an IV");
        let iv = iv.try_into().expect("16 bytes");
        let token =
            SealingKey::new(&secret(&case)).seal_to_vec(text(&case, "src").as_bytes(), now(&case), &iv);
        assert_eq!(Base64Url::encode_string(&token), text(&case, "token"));
    }
}

#[test]
fn specification_verify() {
    for case in cases(VERIFY) {
        let mut token = Base64Url::decode_vec(text(&case, "token")).expect("base64");
        assert_eq!(timestamp(&token), Some(MADE));
        let plain = OpeningKey::new(&secret(&case)).open(&mut token).expect("a good token");
        assert_eq!(plain, text(&case, "src").as_bytes());
    }
}

/// What the specification calls invalid does not open, but for the two cases that only a judge
/// of timestamps can refuse: these open, and the timestamp shows why.
#[test]
fn specification_invalid() {
    let by_the_clock = ["far-future TS (unacceptable clock skew)", "expired TTL"];
    for case in cases(INVALID) {
        let desc = text(&case, "desc");
        let Ok(mut token) = Base64Url::decode_vec(text(&case, "token")) else {
            assert_eq!(desc, "invalid base64");
            continue;
        };
        let opened = OpeningKey::new(&secret(&case)).open(&mut token).map(|_| ());
        if by_the_clock.contains(&desc) {
            assert_eq!(opened, Ok(()), "{desc}");
            let made = timestamp(&token).expect("a token has a timestamp");
            assert!(made > now(&case) + 60 || now(&case) > made + 60, "{desc}");
        } else {
            assert!(opened.is_err(), "{desc}");
        }
    }
}

#[test]
fn the_fernet_crate_opens_ours_and_we_open_its() {
    let (sealing, opening) = pair([0x5a; 32]);
    let other = fernet::Fernet::new(&Base64Url::encode_string(&[0x5a; 32])).expect("a good key");
    for len in (0..300).chain([1000, 4095, 4096, 65_471]) {
        let plain: Vec<u8> = (0..len).map(|i| i as u8).collect();
        let token = sealing.seal_to_vec(&plain, MADE, &[len as u8; 16]);
        assert_eq!(token.len(), token_bytes(len));
        let opened = other.decrypt_at_time(&Base64Url::encode_string(&token), None, u64::MAX - 60);
        assert_eq!(opened, Ok(plain.clone()), "{len} bytes");

        let mut theirs = Base64Url::decode_vec(&other.encrypt_at_time(&plain, MADE)).expect("base64");
        assert_eq!(timestamp(&theirs), Some(MADE));
        assert_eq!(opening.open(&mut theirs).as_deref(), Ok(&plain[..]), "{len} bytes");
    }
}

#[test]
fn sizes_are_as_computed() {
    assert_eq!(token_bytes(0), TOKEN_BYTES_MIN);
    for max in TOKEN_BYTES_MIN..TOKEN_BYTES_MIN + 64 {
        let plain = plain_bytes_max(max);
        assert!(token_bytes(plain) <= max && token_bytes(plain + 1) > max, "{max}");
    }
}

#[test]
fn every_bit_counts_and_every_cut_is_refused() {
    let (sealing, opening) = pair([1; 32]);
    let token = sealing.seal_to_vec(b"thirty-three bytes of plain text.", 7, &[9; 16]);
    assert!(opening.open(&mut token.clone()).is_ok());
    for bit in 0..token.len() * 8 {
        let mut bad = token.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        let before = bad.clone();
        assert!(opening.open(&mut bad).is_err(), "bit {bit}");
        assert_eq!(bad, before, "nothing is decrypted before the MAC holds");
    }
    for end in 0..token.len() {
        assert!(opening.open(&mut token[..end].to_vec()).is_err(), "{end} bytes");
    }
    assert!(opening.open(&mut [&token[..], &[0; 16]].concat()).is_err());
}

/// Each half of the key matters: the wrong signing half forges, the wrong encrypting half garbles.
#[test]
fn both_halves_of_the_key_are_used() {
    let (sealing, _) = pair([1; 32]);
    let token = sealing.seal_to_vec(&[0; 64], 7, &[9; 16]);
    let mut signing = [1; 32];
    signing[0] ^= 1;
    assert_eq!(pair(signing).1.open(&mut token.clone()), Err(FernetError::Forged));
    let mut encrypting = [1; 32];
    encrypting[16] ^= 1;
    assert_ne!(pair(encrypting).1.open(&mut token.clone()).as_deref(), Ok(&[0; 64][..]));
}

#[test]
fn a_token_is_made_behind_what_the_buffer_holds() {
    let (sealing, opening) = pair([2; 32]);
    let mut out = b"before".to_vec();
    let start = begin(&mut out);
    out.extend_from_slice(b"plain");
    sealing.seal(&mut out, start, 3, &[4; 16]);
    assert_eq!(&out[..start], b"before");
    assert_eq!(out[start..], sealing.seal_to_vec(b"plain", 3, &[4; 16]));
    assert_eq!(opening.open(&mut out[start..]).as_deref(), Ok(&b"plain"[..]));
}
