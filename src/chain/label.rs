//! What ties a topic key to its topic, epoch and recipient: salts and labels, without the key.

use crate::base::ids::{Epoch, Fingerprint, TopicId};

/// KDF label of an epoch's commitment, which shows that a wrap held the right key.
pub const COMMITMENT_LABEL: &str = "commitment";
/// KDF label of the key that seals an epoch's messages.
pub const BODY_LABEL: &str = "body";
/// KDF label of the key that seals the key of the epoch before.
pub const PREVIOUS_EPOCH_LABEL: &str = "previous epoch";

/// The KDF salt for whatever is derived from an epoch's key: `topic id | u32 epoch`.
pub fn epoch_salt(topic: TopicId, epoch: Epoch) -> [u8; 36] {
    let mut salt = [0; 36];
    salt[..32].copy_from_slice(&topic.0);
    salt[32..].copy_from_slice(&epoch.0.to_be_bytes());
    salt
}

/// The OAEP label of an epoch key's wrap:
/// `"sealmq/1 wrap" | topic id | u32 epoch | recipient's fingerprint`.
pub fn wrap_label(topic: TopicId, epoch: Epoch, recipient: Fingerprint) -> Vec<u8> {
    [b"sealmq/1 wrap".as_slice(), &epoch_salt(topic, epoch), &recipient.0].concat()
}
