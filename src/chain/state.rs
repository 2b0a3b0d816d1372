//! What a topic's records add up to, and how one more is checked and taken.

use std::collections::BTreeMap;

use super::error::ChainError;
use super::record::{Delta, Genesis, record_hash};
use super::rules;
use super::values::{History, JoinPolicy, Member, Members, Role};
use crate::base::ids::{Epoch, Fingerprint, RecordHash, TopicId};
use crate::base::limits::{RSA_BITS_MIN, RSA_BYTES_MAX};
use crate::base::names::{Name, TopicName};
use crate::crypto::digest::sha256;
use crate::crypto::key::PublicKey;

/// A topic's membership after all records so far.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chain {
    topic: TopicId,
    genesis: Genesis,
    join: JoinPolicy,
    members: Members,
    /// Who was removed or denied, and not added since.
    barred: BTreeMap<Fingerprint, Barred>,
    /// By number, from 0.
    epochs: Vec<StartedEpoch>,
    /// The newest record's hash and number; the genesis is number 0.
    head: RecordHash,
    number: u32,
}

/// Why somebody may be let in by hand only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Barred {
    Removed,
    /// With the reason, which may be empty.
    Denied(String),
}

/// What the chain says of an epoch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StartedEpoch {
    /// The record that started it.
    pub record: RecordHash,
    pub commitment: [u8; 32],
    /// The key of the epoch before, sealed under this one's; empty for none.
    pub previous_key: Vec<u8>,
}

/// A delta that was checked, signature and rules, against a chain. Only [`Chain::check`] makes one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    delta: Delta,
    hash: RecordHash,
    members: Members,
}

impl Chain {
    /// The chain that a genesis begins, if the owner of `owner` signed it.
    pub fn begin(genesis: &[u8], owner: &PublicKey) -> Result<Chain, ChainError> {
        let unverified = Genesis::parse(genesis)?;
        unverified.verify(unverified.record.owner, owner)?;
        Ok(Chain::begun(unverified.record, record_hash(genesis)))
    }

    /// The chain of records that were checked when they were taken, and kept since where nobody else
    /// writes: the genesis, then each delta. Form, place and rules are checked again, signatures are not.
    pub fn rebuild<'a>(records: impl IntoIterator<Item = &'a [u8]>) -> Result<Chain, ChainError> {
        let mut records = records.into_iter();
        let genesis = records.next().ok_or(ChainError::WrongKind)?;
        let mut chain = Chain::begun(Genesis::parse(genesis)?.record, record_hash(genesis));
        for record in records {
            let delta = Delta::parse(record)?.record;
            rules::check_place(&chain, &delta)?;
            let members = rules::check_content(&chain, &delta)?;
            chain.apply(Change { delta, hash: record_hash(record), members })?;
        }
        Ok(chain)
    }

    fn begun(genesis: Genesis, head: RecordHash) -> Chain {
        let member = Member { name: genesis.owner_name.clone(), role: Role::Owner };
        Chain {
            topic: TopicId(head.0),
            join: genesis.join,
            members: BTreeMap::from([(genesis.owner, member)]),
            barred: BTreeMap::new(),
            epochs: Vec::new(),
            head,
            number: 0,
            genesis,
        }
    }

    /// What a delta would change, if it is the chain's next, is signed by the owner of `signer`
    /// and keeps the rules. One RSA verification, after a few comparisons.
    pub fn check(&self, record: &[u8], signer: &PublicKey) -> Result<Change, ChainError> {
        let unverified = Delta::parse(record)?;
        rules::check_place(self, &unverified.record)?;
        unverified.verify(unverified.record.signer, signer)?;
        let members = rules::check_content(self, &unverified.record)?;
        Ok(Change { delta: unverified.record, hash: record_hash(record), members })
    }

    /// Takes a change over. [`ChainError::HeadMoved`] if another was taken since it was checked.
    pub fn apply(&mut self, change: Change) -> Result<(), ChainError> {
        let Change { delta, hash, members } = change;
        if delta.previous != self.head {
            return Err(ChainError::HeadMoved);
        }
        self.barred.extend(delta.removed.iter().map(|who| (*who, Barred::Removed)));
        for denied in delta.denied {
            self.barred.insert(denied.fingerprint, Barred::Denied(denied.because));
        }
        for added in &delta.added {
            self.barred.remove(&added.fingerprint);
        }
        self.join = delta.join.unwrap_or(self.join);
        self.epochs.extend(delta.epoch.map(|start| StartedEpoch {
            record: hash,
            commitment: start.commitment,
            previous_key: start.previous_key,
        }));
        self.members = members;
        self.head = hash;
        self.number = delta.number;
        Ok(())
    }

    pub fn topic(&self) -> TopicId {
        self.topic
    }

    pub fn name(&self) -> &TopicName {
        &self.genesis.name
    }

    pub fn owner(&self) -> Fingerprint {
        self.genesis.owner
    }

    pub fn owner_name(&self) -> &Name {
        &self.genesis.owner_name
    }

    pub fn join(&self) -> JoinPolicy {
        self.join
    }

    pub fn history(&self) -> History {
        self.genesis.history
    }

    /// In fingerprint order, the owner among them.
    pub fn members(&self) -> &BTreeMap<Fingerprint, Member> {
        &self.members
    }

    pub fn member(&self, who: Fingerprint) -> Option<&Member> {
        self.members.get(&who)
    }

    /// Whether `who` was removed or denied, so that only a grant by hand may let it in again.
    pub fn is_barred(&self, who: Fingerprint) -> bool {
        self.barred.contains_key(&who)
    }

    /// Why `who` is barred, if it is.
    pub fn barred(&self, who: Fingerprint) -> Option<&Barred> {
        self.barred.get(&who)
    }

    /// The newest record's hash.
    pub fn head(&self) -> RecordHash {
        self.head
    }

    /// The newest record's number; 0 is the genesis.
    pub fn number(&self) -> u32 {
        self.number
    }

    /// The newest epoch; `None` before the first delta.
    pub fn epoch(&self) -> Option<Epoch> {
        self.epochs.len().checked_sub(1).map(epoch_number)
    }

    /// The epoch that a delta would start.
    pub fn next_epoch(&self) -> Epoch {
        epoch_number(self.epochs.len())
    }

    pub fn started(&self, epoch: Epoch) -> Option<&StartedEpoch> {
        self.epochs.get(usize::try_from(epoch.0).ok()?)
    }
}

impl Change {
    pub fn delta(&self) -> &Delta {
        &self.delta
    }

    /// The record's hash.
    pub fn hash(&self) -> RecordHash {
        self.hash
    }

    /// The members that result, in fingerprint order.
    pub fn members(&self) -> &BTreeMap<Fingerprint, Member> {
        &self.members
    }

    /// To whom the wraps go, in their order.
    pub fn recipients(&self) -> Vec<Fingerprint> {
        rules::recipients(&self.delta, &self.members)
    }

    /// Pairs the wraps that came with the record with their recipients, if they are just those
    /// that it names. A wrap is a ciphertext of an accepted RSA key's size.
    pub fn check_wraps(&self, wraps: Vec<Vec<u8>>) -> Result<Vec<(Fingerprint, Vec<u8>)>, ChainError> {
        let sizes = RSA_BITS_MIN / 8..=RSA_BYTES_MAX;
        let is_named =
            |(wrap, hash): (&Vec<u8>, &[u8; 32])| sizes.contains(&wrap.len()) && sha256(wrap) == *hash;
        if wraps.len() != self.delta.wraps.len() || !wraps.iter().zip(&self.delta.wraps).all(is_named) {
            return Err(ChainError::Wraps);
        }
        Ok(self.recipients().into_iter().zip(wraps).collect())
    }

    /// The hash of `who`'s wrap, if the record names one.
    pub fn wrap_hash(&self, who: Fingerprint) -> Option<[u8; 32]> {
        let place = self.recipients().iter().position(|r| *r == who)?;
        self.delta.wraps.get(place).copied()
    }
}

/// Each record starts one epoch at most, and records are numbered in 32 bits.
fn epoch_number(index: usize) -> Epoch {
    Epoch(u32::try_from(index).expect("there are fewer epochs than records"))
}
