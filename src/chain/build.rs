//! A delta in the making, on top of a chain.

use super::error::ChainError;
use super::record::{Added, Delta, Denied, EpochStart};
use super::rules;
use super::state::Chain;
use super::values::{JoinPolicy, Role};
use crate::base::ids::{Epoch, Fingerprint};
use crate::base::names::Name;
use crate::base::{Entropy, Wall};
use crate::crypto::digest::sha256;
use crate::crypto::key::PrivateKey;

/// Gathers what is to change, says who gets a wrap, and signs.
///
/// ```text
/// add, remove, deny, change, join -> needs_epoch? new_epoch -> recipients -> sign
/// ```
pub struct DeltaBuilder<'a> {
    chain: &'a Chain,
    delta: Delta,
}

impl<'a> DeltaBuilder<'a> {
    /// A record by `signer` at `time` that changes nothing yet.
    pub fn new(chain: &'a Chain, signer: Fingerprint, time: Wall) -> DeltaBuilder<'a> {
        let delta = Delta {
            topic: chain.topic(),
            number: chain.number().saturating_add(1),
            previous: chain.head(),
            signer,
            time,
            added: Vec::new(),
            removed: Vec::new(),
            denied: Vec::new(),
            changed: Vec::new(),
            join: None,
            epoch: None,
            members_hash: [0; 32],
            wraps: Vec::new(),
        };
        DeltaBuilder { chain, delta }
    }

    /// Also lets in again who was removed or denied; the caller sees to it that this is by hand.
    pub fn add(&mut self, fingerprint: Fingerprint, name: Name, role: Role) -> &mut Self {
        self.delta.added.push(Added { fingerprint, name, role });
        self
    }

    pub fn remove(&mut self, who: Fingerprint) -> &mut Self {
        self.delta.removed.push(who);
        self
    }

    /// `because` is for whoever asked to join; it may be empty, and has at most
    /// [`DENIAL_BYTES_MAX`](crate::base::limits::DENIAL_BYTES_MAX) bytes and no control characters.
    pub fn deny(&mut self, who: Fingerprint, because: &str) -> &mut Self {
        self.delta.denied.push(Denied { fingerprint: who, because: because.to_owned() });
        self
    }

    pub fn change(&mut self, who: Fingerprint, role: Role) -> &mut Self {
        self.delta.changed.push((who, role));
        self
    }

    pub fn join(&mut self, policy: JoinPolicy) -> &mut Self {
        self.delta.join = Some(policy);
        self
    }

    /// Whether the rules ask for a new epoch, by what was gathered so far.
    pub fn needs_epoch(&self) -> bool {
        rules::needs_epoch(self.chain, &self.delta)
    }

    /// Starts [`Chain::next_epoch`]. `previous_key` is empty in epoch 0 and under since-join.
    pub fn new_epoch(&mut self, commitment: [u8; 32], previous_key: Vec<u8>) -> &mut Self {
        self.delta.epoch = Some(EpochStart { epoch: self.chain.next_epoch(), commitment, previous_key });
        self
    }

    /// The epoch whose key the wraps hold: the new one if one starts, else the newest.
    pub fn wrap_epoch(&self) -> Epoch {
        match (&self.delta.epoch, self.chain.epoch()) {
            (None, Some(newest)) => newest,
            _ => self.chain.next_epoch(),
        }
    }

    /// To whom the key is to be wrapped, in the order in which [`DeltaBuilder::sign`] wants the wraps.
    pub fn recipients(&self) -> Result<Vec<Fingerprint>, ChainError> {
        let members = rules::resulting_members(self.chain, &self.delta)?;
        Ok(rules::recipients(&self.delta, &members))
    }

    /// The record, held to every rule before it is signed. Draws what the signature takes.
    pub fn sign(
        mut self,
        wraps: &[impl AsRef<[u8]>],
        key: &PrivateKey,
        entropy: &mut dyn Entropy,
    ) -> Result<Vec<u8>, ChainError> {
        rules::check_place(self.chain, &self.delta)?;
        let members = rules::resulting_members(self.chain, &self.delta)?;
        self.delta.members_hash = rules::members_hash(&members);
        self.delta.wraps = wraps.iter().map(|wrap| sha256(wrap.as_ref())).collect();
        rules::check_content(self.chain, &self.delta)?;
        self.delta.sign(key, entropy)
    }
}
