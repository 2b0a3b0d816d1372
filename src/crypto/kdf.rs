//! Key derivation (HKDF-SHA256, RFC 5869) and key confirmation (HMAC-SHA256).

use hkdf::Hkdf;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use super::secret::Secret32;

/// What every derivation's `info` begins with: the protocol and its version.
const INFO_PREFIX: &str = "sealmq/1 ";

/// That a MAC was good. Only [`verify_mac`] makes one; a state that needs the check
/// to have happened asks for it.
#[derive(Debug)]
pub struct MacValid(());

/// HKDF-SHA256 of `ikm` with `salt` and info `"sealmq/1 " + label`, 32 bytes.
pub fn kdf(ikm: &[u8], salt: &[u8], label: &str) -> Secret32 {
    let mut key = Secret32::new([0; 32]);
    Hkdf::<Sha256>::new(Some(salt), ikm)
        .expand_multi_info(&[INFO_PREFIX.as_bytes(), label.as_bytes()], key.expose_mut())
        .expect("32 bytes are within HKDF's 255 blocks");
    key
}

/// HMAC-SHA256 of `message` under all 32 bytes of `key`.
pub fn mac(key: &Secret32, message: &[u8]) -> [u8; 32] {
    keyed(key).chain_update(message).finalize().into_bytes().into()
}

/// Checks `tag` in constant time.
pub fn verify_mac(key: &Secret32, message: &[u8], tag: &[u8; 32]) -> Option<MacValid> {
    keyed(key).chain_update(message).verify_slice(tag).ok().map(|()| MacValid(()))
}

fn keyed(key: &Secret32) -> Hmac<Sha256> {
    Hmac::new_from_slice(key.expose()).expect("HMAC takes a key of any length")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(text: &str) -> Vec<u8> {
        let digit = |c: u8| (c as char).to_digit(16).expect("a hexadecimal digit") as u8;
        text.as_bytes().chunks(2).map(|p| digit(p[0]) << 4 | digit(p[1])).collect()
    }

    /// RFC 5869, appendix A, the three cases for SHA-256: (IKM, salt, info, OKM).
    #[test]
    fn rfc_5869() {
        let counting = |from: u8, to: u8| (from..=to).collect::<Vec<u8>>();
        let cases = [
            (
                vec![0x0b; 22],
                counting(0x00, 0x0c),
                counting(0xf0, 0xf9),
                "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865",
            ),
            (
                counting(0x00, 0x4f),
                counting(0x60, 0xaf),
                counting(0xb0, 0xff),
                "b11e398dc80327a1c8e7f78c596a49344f012eda2d4efad8a050cc4c19afa97c59045a99cac7827271cb41c65e590e0\
                 9da3275600c2f09b8367793a9aca3db71cc30c58179ec3e87c14c01d5c1f3434f1d87",
            ),
            (
                vec![0x0b; 22],
                vec![],
                vec![],
                "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8",
            ),
        ];
        for (ikm, salt, info, okm) in cases {
            let expected = hex(okm);
            let mut out = vec![0; expected.len()];
            Hkdf::<Sha256>::new(Some(&salt), &ikm).expand(&info, &mut out).expect("a short output");
            assert_eq!(out, expected);
        }
    }

    #[test]
    fn the_label_is_behind_the_protocol_and_version() {
        let mut out = [0; 32];
        Hkdf::<Sha256>::new(Some(b"salt"), b"ikm").expand(b"sealmq/1 hs", &mut out).expect("32 bytes");
        assert_eq!(kdf(b"ikm", b"salt", "hs"), Secret32::new(out));
        assert_ne!(kdf(b"ikm", b"salt", "refuse"), Secret32::new(out));
        assert_ne!(kdf(b"ikm", b"tlas", "hs"), Secret32::new(out));
        assert_ne!(kdf(b"mik", b"salt", "hs"), Secret32::new(out));
    }

    #[test]
    fn a_mac_with_any_bit_wrong_is_refused() {
        let key = Secret32::new([3; 32]);
        let tag = mac(&key, b"message");
        assert!(verify_mac(&key, b"message", &tag).is_some());
        assert!(verify_mac(&key, b"massage", &tag).is_none());
        assert!(verify_mac(&Secret32::new([4; 32]), b"message", &tag).is_none());
        for bit in 0..256 {
            let mut bad = tag;
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(verify_mac(&key, b"message", &bad).is_none());
        }
    }
}
