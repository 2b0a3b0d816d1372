//! The bytes of records: encoding, parsing, signing. Says nothing of what they may do.

use super::error::ChainError;
use super::values::{History, JoinPolicy, Role};
use crate::base::Entropy;
use crate::base::Wall;
use crate::base::ids::{Epoch, Fingerprint, RecordHash, TopicId};
use crate::base::limits::{CHAIN_RECORD_BYTES_MAX, DENIAL_BYTES_MAX};
use crate::base::names::{Name, TopicName};
use crate::crypto::digest::sha256;
use crate::crypto::key::{PrivateKey, PublicKey};
use crate::crypto::sign::{Context, SignatureValid, sign_pss, verify_pss};
use crate::wire::field::Field;
use crate::wire::{Reader, WireError, Writer};

/// The record that a topic begins with; its hash is the topic's id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Genesis {
    pub name: TopicName,
    /// Random, so that no two topics have one id.
    pub nonce: [u8; 32],
    pub owner: Fingerprint,
    pub owner_name: Name,
    pub join: JoinPolicy,
    pub history: History,
}

/// A later record: what changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delta {
    pub topic: TopicId,
    /// 1 for the first, then one more each.
    pub number: u32,
    /// The hash of the record before.
    pub previous: RecordHash,
    pub signer: Fingerprint,
    /// The signer's clock, for people to read.
    pub time: Wall,
    pub added: Vec<Added>,
    pub removed: Vec<Fingerprint>,
    pub denied: Vec<Denied>,
    pub changed: Vec<(Fingerprint, Role)>,
    /// `None`: as before.
    pub join: Option<JoinPolicy>,
    pub epoch: Option<EpochStart>,
    /// Of the list that results.
    pub members_hash: [u8; 32],
    /// SHA-256 of each wrap that comes with the record, in the order of its recipients.
    pub wraps: Vec<[u8; 32]>,
}

/// A member to be: `fingerprint | str8 name | u8 role`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Added {
    pub fingerprint: Fingerprint,
    pub name: Name,
    pub role: Role,
}

/// Somebody who is not to join: `fingerprint | str16 because`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denied {
    pub fingerprint: Fingerprint,
    /// For whoever asked; may be empty.
    pub because: String,
}

/// An epoch's beginning: `u32 epoch | commitment[32] | bytes16 previous key`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EpochStart {
    pub epoch: Epoch,
    /// Derived from the epoch's key, so that a member sees whether its wrap held that key.
    pub commitment: [u8; 32],
    /// The key of the epoch before, as a Fernet token under this one's; empty for none.
    pub previous_key: Vec<u8>,
}

/// A record whose form is good, and whose signature nobody has checked yet.
pub(super) struct Unverified<'a, T> {
    pub(super) record: T,
    signed: &'a [u8],
    signature: &'a [u8],
}

/// The hash by which the next record names this one.
pub fn record_hash(record: &[u8]) -> RecordHash {
    RecordHash(sha256(record))
}

/// Whose signature a record claims to have: whose certificate is needed to check it.
pub fn signer_of(record: &[u8]) -> Result<Fingerprint, ChainError> {
    match kind_of(record)? {
        Kind::Genesis => Ok(Genesis::parse(record)?.record.owner),
        Kind::Delta => Ok(Delta::parse(record)?.record.signer),
    }
}

impl Genesis {
    /// Signs as the owner, with the owner's key. Draws what the signature takes.
    pub fn sign(&self, key: &PrivateKey, entropy: &mut dyn Entropy) -> Result<Vec<u8>, ChainError> {
        let mut out = Vec::new();
        let mut w = Writer::new(&mut out);
        w.u8(VERSION);
        w.u8(Kind::Genesis as u8);
        self.name.put(&mut w);
        w.bytes(&self.nonce);
        self.owner.put(&mut w);
        self.owner_name.put(&mut w);
        self.join.put(&mut w);
        self.history.put(&mut w);
        finish(out, self.owner, key, entropy)
    }

    pub(super) fn parse(record: &[u8]) -> Result<Unverified<'_, Genesis>, ChainError> {
        parse(record, Kind::Genesis, |r| {
            Ok(Genesis {
                name: Field::take(r)?,
                nonce: Field::take(r)?,
                owner: Field::take(r)?,
                owner_name: Field::take(r)?,
                join: Field::take(r)?,
                history: Field::take(r)?,
            })
        })
    }
}

impl Delta {
    /// Signs as it stands, whether the rules allow it or not: [`super::DeltaBuilder`] sees to those.
    /// Draws what the signature takes.
    pub fn sign(&self, key: &PrivateKey, entropy: &mut dyn Entropy) -> Result<Vec<u8>, ChainError> {
        if !self.fits_its_lengths() {
            return Err(ChainError::TooLong);
        }
        let mut out = Vec::new();
        let mut w = Writer::new(&mut out);
        w.u8(VERSION);
        w.u8(Kind::Delta as u8);
        self.topic.put(&mut w);
        self.number.put(&mut w);
        self.previous.put(&mut w);
        self.signer.put(&mut w);
        self.time.put(&mut w);
        put_list(&self.added, &mut w);
        self.removed.put(&mut w);
        put_list(&self.denied, &mut w);
        put_list(&self.changed, &mut w);
        self.join.put(&mut w);
        self.epoch.is_some().put(&mut w);
        if let Some(epoch) = &self.epoch {
            epoch.put(&mut w);
        }
        self.members_hash.put(&mut w);
        self.wraps.put(&mut w);
        finish(out, self.signer, key, entropy)
    }

    pub(super) fn parse(record: &[u8]) -> Result<Unverified<'_, Delta>, ChainError> {
        parse(record, Kind::Delta, |r| {
            Ok(Delta {
                topic: Field::take(r)?,
                number: Field::take(r)?,
                previous: Field::take(r)?,
                signer: Field::take(r)?,
                time: Field::take(r)?,
                added: take_list(r)?,
                removed: Field::take(r)?,
                denied: take_list(r)?,
                changed: take_list(r)?,
                join: Field::take(r)?,
                epoch: bool::take(r)?.then(|| Field::take(r)).transpose()?,
                members_hash: Field::take(r)?,
                wraps: Field::take(r)?,
            })
        })
    }

    /// Whether each list's count and the previous key's length fit the 16 bits they have.
    fn fits_its_lengths(&self) -> bool {
        let previous_key = self.epoch.as_ref().map_or(0, |e| e.previous_key.len());
        let lists = [self.added.len(), self.removed.len(), self.denied.len(), self.changed.len()];
        let longest = lists.into_iter().chain([self.wraps.len(), previous_key]).max();
        let reasons = self.denied.iter().map(|denied| denied.because.len()).max();
        longest <= Some(u16::MAX.into()) && reasons <= Some(DENIAL_BYTES_MAX)
    }
}

impl<T> Unverified<'_, T> {
    /// Checks that the owner of `key`, who must be `signer`, signed the record.
    pub(super) fn verify(&self, signer: Fingerprint, key: &PublicKey) -> Result<SignatureValid, ChainError> {
        if key.fingerprint() != signer {
            return Err(ChainError::WrongKey);
        }
        verify_pss(key, Context::TopicRecord, &sha256(self.signed), self.signature)
            .map_err(|_| ChainError::Signature)
    }
}

/// Appends the signature, over all that is before its length.
fn finish(
    mut out: Vec<u8>,
    signer: Fingerprint,
    key: &PrivateKey,
    entropy: &mut dyn Entropy,
) -> Result<Vec<u8>, ChainError> {
    if key.public().fingerprint() != signer {
        return Err(ChainError::WrongKey);
    }
    let signature = sign_pss(key, Context::TopicRecord, &sha256(&out), entropy)?;
    Writer::new(&mut out).bytes16(&signature);
    if out.len() > CHAIN_RECORD_BYTES_MAX {
        return Err(ChainError::TooLong);
    }
    Ok(out)
}

fn parse<'a, T>(
    record: &'a [u8],
    kind: Kind,
    fields: impl FnOnce(&mut Reader<'a>) -> Result<T, WireError>,
) -> Result<Unverified<'a, T>, ChainError> {
    if kind_of(record)? != kind {
        return Err(ChainError::WrongKind);
    }
    let mut r = Reader::new(&record[HEADER_BYTES..]);
    let parsed = fields(&mut r)?;
    let signed = &record[..record.len() - r.remaining()];
    let signature = r.bytes16()?;
    r.finish()?;
    Ok(Unverified { record: parsed, signed, signature })
}

fn kind_of(record: &[u8]) -> Result<Kind, ChainError> {
    if record.len() > CHAIN_RECORD_BYTES_MAX {
        return Err(ChainError::TooLong);
    }
    let mut r = Reader::new(record);
    if r.u8()? != VERSION {
        return Err(WireError::BadValue("record version").into());
    }
    match r.u8()? {
        0 => Ok(Kind::Genesis),
        1 => Ok(Kind::Delta),
        _ => Err(WireError::BadValue("record kind").into()),
    }
}

fn put_list<T: Field>(items: &[T], w: &mut Writer<'_>) {
    w.u16(u16::try_from(items.len()).expect("checked by fits_its_lengths"));
    items.iter().for_each(|item| item.put(w));
}

/// A count never allocates ahead of the bytes that bear it out.
fn take_list<T: Field>(r: &mut Reader<'_>) -> Result<Vec<T>, WireError> {
    let count = r.u16()?;
    (0..count).map(|_| T::take(r)).collect()
}

impl Field for Added {
    fn put(&self, w: &mut Writer<'_>) {
        self.fingerprint.put(w);
        self.name.put(w);
        self.role.put(w);
    }

    fn take(r: &mut Reader<'_>) -> Result<Self, WireError> {
        Ok(Added { fingerprint: Field::take(r)?, name: Field::take(r)?, role: Field::take(r)? })
    }
}

impl Field for Denied {
    fn put(&self, w: &mut Writer<'_>) {
        self.fingerprint.put(w);
        self.because.put(w);
    }

    fn take(r: &mut Reader<'_>) -> Result<Self, WireError> {
        let (fingerprint, because) = (Field::take(r)?, String::take(r)?);
        if because.len() > DENIAL_BYTES_MAX || because.chars().any(char::is_control) {
            return Err(WireError::BadValue("reason"));
        }
        Ok(Denied { fingerprint, because })
    }
}

impl Field for (Fingerprint, Role) {
    fn put(&self, w: &mut Writer<'_>) {
        self.0.put(w);
        self.1.put(w);
    }

    fn take(r: &mut Reader<'_>) -> Result<Self, WireError> {
        Ok((Field::take(r)?, Field::take(r)?))
    }
}

impl Field for EpochStart {
    fn put(&self, w: &mut Writer<'_>) {
        self.epoch.put(w);
        self.commitment.put(w);
        self.previous_key.put(w);
    }

    fn take(r: &mut Reader<'_>) -> Result<Self, WireError> {
        Ok(EpochStart { epoch: Field::take(r)?, commitment: Field::take(r)?, previous_key: Field::take(r)? })
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Genesis = 0,
    Delta = 1,
}

const VERSION: u8 = 1;
/// Version and kind.
const HEADER_BYTES: usize = 2;
