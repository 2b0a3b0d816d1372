//! The key schedule: three hashes over the conversation, and what is derived under each.
//!
//! Every label and every hash of the handshake is in this file, used by both sides.

use zeroize::Zeroizing;

use super::record::{Opener, Sealer};
use crate::crypto::digest::hash_items;
use crate::crypto::kdf::kdf;
use crate::crypto::secret::Secret32;
use crate::wire::handshake::VERSION;

/// OAEP's label around the session secret.
pub const ENVELOPE_LABEL: &[u8] = b"sealmq/1 session";

/// The transcript up to the broker's certificate: what the batch signature answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Th1(pub(super) [u8; 32]);

/// The transcript up to the client's certificate: what the client signs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Th2(pub(super) [u8; 32]);

/// The whole transcript.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Th3(pub(super) [u8; 32]);

/// The X25519 secret together with the hellos that it came from.
pub struct Agreed {
    dh: Secret32,
    th1: Th1,
}

/// The X25519 secret and the session secret: who has this owns the client's RSA key too.
pub struct Master {
    secrets: Zeroizing<[u8; 64]>,
    th3: Th3,
}

/// A key for each direction, from then on wiped by its owner.
#[derive(Debug)]
pub struct SessionKeys {
    client_to_broker: Secret32,
    broker_to_client: Secret32,
}

impl Th1 {
    /// `client_hello` is the message's payload as it came.
    pub fn new(client_hello: &[u8], nonce_b: &[u8; 32], x_b: &[u8; 32], certificate: &[u8]) -> Th1 {
        Th1(hash_items(&[client_hello, &VERSION.to_be_bytes(), nonce_b, x_b, certificate]))
    }

    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl Th2 {
    pub fn new(th1: &Th1, batch_path: &[u8], signature: &[u8], client_certificate: &[u8]) -> Th2 {
        Th2(hash_items(&[&th1.0, batch_path, signature, client_certificate]))
    }

    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl Th3 {
    pub fn new(th2: &Th2, client_signature: &[u8], envelope: &[u8]) -> Th3 {
        Th3(hash_items(&[&th2.0, client_signature, envelope]))
    }

    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl Agreed {
    pub fn new(dh: Secret32, th1: Th1) -> Agreed {
        Agreed { dh, th1 }
    }

    pub fn th1(&self) -> &Th1 {
        &self.th1
    }

    /// For the token of ClientAuth.
    pub fn auth_key(&self) -> Secret32 {
        kdf(self.dh.expose(), &self.th1.0, "hs")
    }

    /// For the token of SealedRefusal.
    pub fn refusal_key(&self) -> Secret32 {
        kdf(self.dh.expose(), &self.th1.0, "refuse")
    }

    /// For the MAC of SessionKey.
    pub fn envelope_key(&self, th2: &Th2) -> Secret32 {
        kdf(self.dh.expose(), &th2.0, "env")
    }

    pub fn master(&self, secret: &Secret32, th3: Th3) -> Master {
        let mut secrets = Zeroizing::new([0; 64]);
        secrets[..32].copy_from_slice(self.dh.expose());
        secrets[32..].copy_from_slice(secret.expose());
        Master { secrets, th3 }
    }
}

impl Master {
    pub fn th3(&self) -> &Th3 {
        &self.th3
    }

    /// For the MAC of ClientReady.
    pub fn ready_key(&self) -> Secret32 {
        self.derive("ready")
    }

    pub fn session_keys(&self) -> SessionKeys {
        SessionKeys {
            client_to_broker: self.derive("client to broker"),
            broker_to_client: self.derive("broker to client"),
        }
    }

    fn derive(&self, label: &str) -> Secret32 {
        kdf(&self.secrets[..], &self.th3.0, label)
    }
}

impl SessionKeys {
    pub fn into_broker(self) -> (Sealer, Opener) {
        (Sealer::new(self.broker_to_client), Opener::new(self.client_to_broker))
    }

    pub fn into_client(self) -> (Sealer, Opener) {
        (Sealer::new(self.client_to_broker), Opener::new(self.broker_to_client))
    }

    #[cfg(test)]
    pub(super) fn expose(&self) -> (&Secret32, &Secret32) {
        (&self.client_to_broker, &self.broker_to_client)
    }
}

/// The key after `key`, from the record numbered `sequence` on.
pub fn next_key(key: &Secret32, sequence: u64) -> Secret32 {
    kdf(key.expose(), &sequence.to_be_bytes(), "next")
}
