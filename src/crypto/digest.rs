//! The hash over a list of items that transcripts and identifiers are made of.

use sha2::{Digest, Sha256};

/// SHA-256 over each item's length (32-bit big-endian) and bytes, in order.
///
/// The lengths make it injective: no two lists of items feed it the same bytes.
///
/// # Panics
/// If an item is 4 GiB or longer; messages are bounded far below.
pub fn hash_items(items: &[&[u8]]) -> [u8; 32] {
    let mut hash = Sha256::new();
    for item in items {
        let len = u32::try_from(item.len()).expect("an item fits a message");
        hash.update(len.to_be_bytes());
        hash.update(item);
    }
    hash.finalize().into()
}

/// SHA-256 of the bytes alone.
pub fn sha256(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_part_of_the_hash() {
        assert_eq!(hash_items(&[b"ab", b"c"]), sha256(b"\0\0\0\x02ab\0\0\0\x01c"));
        assert_ne!(hash_items(&[b"ab", b"c"]), hash_items(&[b"a", b"bc"]));
        assert_ne!(hash_items(&[b"ab"]), hash_items(&[b"ab", b""]));
        assert_eq!(hash_items(&[]), sha256(b""));
    }
}
