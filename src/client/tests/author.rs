//! Somebody who publishes, as a broker introduces them: honest, or not.

use super::topic::HANDLE;
use crate::base::ids::{Fingerprint, PublisherId};
use crate::base::names::Name;
use crate::base::time::Wall;
use crate::chain::Delegation;
use crate::crypto::cert::testing::{NOON, Seeded, World, name};
use crate::crypto::ed25519::MessageSigner;
use crate::crypto::key::PrivateKey;
use crate::wire::frame::BrokerFrame;

pub struct Author {
    pub key: PrivateKey,
    pub certificate: Vec<u8>,
    pub name: Name,
    pub fingerprint: Fingerprint,
    pub publisher: PublisherId,
    pub signer: MessageSigner,
    pub delegation: Vec<u8>,
    /// By which the broker speaks of it.
    pub number: u32,
}

pub const DAY: u64 = 86_400_000;

impl Author {
    /// An honest one, whose week begins at noon.
    pub fn new(world: &World, who: &str, publisher: PublisherId, number: u32) -> Author {
        let (key, certificate) = world.client(who);
        let signer = MessageSigner::generate(&mut Seeded::new(u64::from(number)));
        let fingerprint = key.public().fingerprint();
        let mut author = Author {
            key,
            certificate,
            name: name(who),
            fingerprint,
            publisher,
            signer,
            delegation: Vec::new(),
            number,
        };
        author.delegation = author.sign(&author.said());
        author
    }

    /// What the delegation says.
    pub fn said(&self) -> Delegation {
        Delegation {
            sender: self.fingerprint,
            publisher: self.publisher,
            key: self.signer.public(),
            not_before: NOON,
            not_after: Wall(NOON.0 + 7 * DAY),
        }
    }

    /// Signs a delegation with this author's own key, whatever it says.
    pub fn sign(&self, delegation: &Delegation) -> Vec<u8> {
        delegation.sign(&self.key, &mut Seeded::new(3)).expect("a sound machine")
    }

    pub fn introduce(&self) -> BrokerFrame {
        BrokerFrame::Sender {
            topic: HANDLE,
            sender: self.number,
            publisher: self.publisher,
            fingerprint: self.fingerprint,
            name: self.name.clone(),
            delegation: self.delegation.clone(),
            certificate: self.certificate.clone(),
        }
    }
}
