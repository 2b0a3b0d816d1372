//! A topic's membership as this client has verified it, with the keys that came by its records.
//!
//! Every session sends all of a topic's records again. Those that were taken before must come
//! back as they were: a chain may grow, it never changes.

use std::collections::{BTreeSet, HashMap};

use super::failure::IntegrityFault;
use super::keyring::{Commitment, EpochKey, Keyring};
use crate::base::Entropy;
use crate::base::ids::{Epoch, Fingerprint, Offset, RecordHash, TopicId};
use crate::base::names::{Name, TopicName};
use crate::chain::{Chain, ChainError, Delta, Role as MemberRole, record_hash, signer_of};
use crate::crypto::cert::{Certificate, Role, Serial, Trust};
use crate::crypto::key::PrivateKey;

/// The records of one topic, from its genesis on.
#[derive(Default)]
pub struct Records {
    chain: Option<Chain>,
    /// By number.
    taken: Vec<Taken>,
    /// Where each epoch begins, by epoch.
    epochs: Vec<Offset>,
    /// Whom records have named since that was last asked, in order.
    named: Vec<(Name, Fingerprint)>,
    /// Who signed the newest record.
    newest_signer: Option<Fingerprint>,
    /// The certificates under which records were signed; who renews one has several.
    signers: HashMap<Fingerprint, BTreeSet<Serial>>,
    /// For all who are members or were: from where on they may publish, and from where on not.
    senders: HashMap<Fingerprint, Vec<(Offset, bool)>>,
    /// By what name records call each of them, and from where on.
    names: HashMap<Fingerprint, Vec<(Offset, Name)>>,
    keyring: Keyring,
}

/// What is kept of a record.
struct Taken {
    hash: RecordHash,
    offset: Offset,
    /// The wrap for us that it names, and the epoch whose key is in that.
    wrap: Option<([u8; 32], Epoch)>,
}

/// Certificates of one key that are told apart.
const SERIALS_MAX: usize = 16;

/// A record as it came.
#[derive(Clone, Copy)]
pub struct Incoming<'a> {
    pub offset: Offset,
    pub record: &'a [u8],
    /// Ours, empty for none.
    pub wrap: &'a [u8],
    /// Its signer's.
    pub certificate: &'a [u8],
}

/// Who takes a record, and whom it trusts.
pub struct Reader<'a> {
    pub topic: &'a TopicName,
    pub key: &'a PrivateKey,
    pub me: Fingerprint,
    pub trust: &'a Trust,
    pub entropy: &'a mut dyn Entropy,
}

impl Records {
    /// Takes the record that stands at `number` in the order of delivery.
    pub fn take(
        &mut self,
        number: usize,
        incoming: Incoming<'_>,
        reader: &mut Reader<'_>,
    ) -> Result<(), IntegrityFault> {
        match self.taken.get(number) {
            Some(known) if known.hash != record_hash(incoming.record) => {
                return Err(self.other_than(number, incoming.record));
            }
            // In one log each has its place; who moves them hides what was between them.
            Some(known) if known.offset != incoming.offset => return Err(IntegrityFault::OtherHistory),
            Some(_) => {
                if number + 1 == self.taken.len() {
                    // The signer may have another certificate by now, which may have been revoked.
                    self.note_signer(&signer(incoming, reader.trust)?);
                }
            }
            None => self.append(incoming, reader)?,
        }
        self.take_wrap(number, incoming.wrap, reader)
    }

    /// Owner and added members, of the records that came since this was last asked.
    pub fn take_named(&mut self) -> Vec<(Name, Fingerprint)> {
        std::mem::take(&mut self.named)
    }

    /// The name of the newest record's signer, if `trust` holds that one's certificate for revoked.
    pub fn revoked_signer(&self, trust: &Trust) -> Option<Name> {
        let (chain, signer) = (self.chain.as_ref()?, self.newest_signer?);
        let is_revoked = self.signers.get(&signer)?.iter().any(|serial| trust.is_revoked(serial));
        // Who signs is a member until a later record says otherwise.
        chain.member(signer).filter(|_| is_revoked).map(|member| member.name.clone())
    }

    /// A record's hash.
    pub fn hash_of(&self, number: usize) -> Option<RecordHash> {
        self.taken.get(number).map(|taken| taken.hash)
    }

    /// How many records were taken.
    pub fn len(&self) -> usize {
        self.taken.len()
    }

    pub fn chain(&self) -> Option<&Chain> {
        self.chain.as_ref()
    }

    pub fn topic_id(&self) -> Option<TopicId> {
        self.chain.as_ref().map(Chain::topic)
    }

    /// The newest epoch.
    pub fn epoch(&self) -> Option<Epoch> {
        self.chain.as_ref()?.epoch()
    }

    /// The epoch that held for a message at `offset`.
    pub fn epoch_at(&self, offset: Offset) -> Option<Epoch> {
        let begun = self.epochs.partition_point(|start| *start < offset);
        u32::try_from(begun.checked_sub(1)?).ok().map(Epoch)
    }

    /// The record that started an epoch.
    pub fn epoch_record(&self, epoch: Epoch) -> Option<RecordHash> {
        self.chain.as_ref()?.started(epoch).map(|started| started.record)
    }

    pub fn keyring(&self) -> &Keyring {
        &self.keyring
    }

    /// Why `who` may not have sent a message that stands at `offset`: the records with lower
    /// offsets decide.
    pub fn why_no_sender(&self, who: Fingerprint, offset: Offset) -> Option<IntegrityFault> {
        let turns = self.senders.get(&who).map(Vec::as_slice).unwrap_or_default();
        let begun = turns.partition_point(|(from, _)| *from < offset);
        match begun.checked_sub(1).map(|last| turns[last].1) {
            Some(true) => None,
            Some(false) if turns[..begun].iter().any(|(_, may)| *may) => Some(IntegrityFault::NoLongerMember),
            _ if turns.iter().any(|(_, may)| *may) => Some(IntegrityFault::NotYetMember),
            _ => Some(IntegrityFault::StrangeSender),
        }
    }

    /// Whether somebody is or was a member.
    pub fn has_named(&self, who: Fingerprint) -> bool {
        self.senders.contains_key(&who)
    }

    /// By what name the records below `offset` know `who`: the newest that one of them gives.
    pub fn name_at(&self, who: Fingerprint, offset: Offset) -> Option<&Name> {
        let names = self.names.get(&who)?;
        let given = names.partition_point(|(from, _)| *from < offset);
        names[..given].last().map(|(_, name)| name)
    }

    pub fn is_member(&self, who: Fingerprint) -> bool {
        self.chain.as_ref().is_some_and(|chain| chain.member(who).is_some())
    }

    /// How many records have offsets from `from` to before `to`.
    pub fn count_between(&self, from: Offset, to: Offset) -> u64 {
        let below = |limit| self.taken.partition_point(|taken| taken.offset < limit);
        below(to).saturating_sub(below(from)) as u64
    }

    fn append(&mut self, incoming: Incoming<'_>, reader: &Reader<'_>) -> Result<(), IntegrityFault> {
        if self.taken.last().is_some_and(|last| incoming.offset <= last.offset) {
            return Err(IntegrityFault::BadRecord("is out of order".into()));
        }
        let signer = signer(incoming, reader.trust)?;
        self.note_signer(&signer);
        let (hash, wrap) = match &mut self.chain {
            None => {
                let chain = Chain::begin(incoming.record, signer.public_key()).map_err(bad_record)?;
                if chain.name() != reader.topic {
                    return Err(IntegrityFault::BadRecord(format!("is that of {}", chain.name())));
                }
                // The key is known by its certificate; the name would be anybody's choice.
                if chain.owner_name() != signer.name() {
                    let (said, is) = (chain.owner_name(), signer.name());
                    return Err(IntegrityFault::BadSigner(format!("says {said} and is {is}")));
                }
                self.named.push((chain.owner_name().clone(), chain.owner()));
                let name = (incoming.offset, chain.owner_name().clone());
                self.names.entry(chain.owner()).or_default().push(name);
                self.senders.entry(chain.owner()).or_default().push((incoming.offset, true));
                let hash = chain.head();
                self.chain = Some(chain);
                (hash, None)
            }
            Some(chain) => {
                let change = chain.check(incoming.record, signer.public_key()).map_err(bad_record)?;
                let (hash, named) = (change.hash(), change.wrap_hash(reader.me));
                if change.delta().epoch.is_some() {
                    self.epochs.push(incoming.offset);
                }
                for added in &change.delta().added {
                    self.named.push((added.name.clone(), added.fingerprint));
                    let name = (incoming.offset, added.name.clone());
                    self.names.entry(added.fingerprint).or_default().push(name);
                }
                for (who, may_send) in sender_changes(change.delta()) {
                    self.senders.entry(who).or_default().push((incoming.offset, may_send));
                }
                chain.apply(change).map_err(bad_record)?;
                (hash, named.zip(chain.epoch()))
            }
        };
        self.newest_signer = Some(signer.fingerprint());
        self.taken.push(Taken { hash, offset: incoming.offset, wrap });
        Ok(())
    }

    fn note_signer(&mut self, certificate: &Certificate) {
        let serials = self.signers.entry(certificate.fingerprint()).or_default();
        if serials.len() < SERIALS_MAX {
            serials.insert(*certificate.serial());
        }
    }

    fn take_wrap(
        &mut self,
        number: usize,
        wrap: &[u8],
        reader: &mut Reader<'_>,
    ) -> Result<(), IntegrityFault> {
        let (Some(chain), Some(taken)) = (&self.chain, self.taken.get(number)) else { return Ok(()) };
        let (named, epoch) = match taken.wrap {
            Some(named) => named,
            None if wrap.is_empty() => return Ok(()),
            None => return Err(IntegrityFault::WrongWrap),
        };
        if wrap.is_empty() || self.keyring.has(epoch) {
            return Ok(());
        }
        let Some(said) = commitment(chain, epoch) else { return Ok(()) };
        let key = EpochKey::unwrap(&said, wrap, &named, reader.key, reader.entropy)?;
        self.keyring.insert(key);
        self.open_older_keys(epoch)
    }

    /// Goes from a key to those of the epochs before it, as far as records carry them.
    fn open_older_keys(&mut self, mut newer: Epoch) -> Result<(), IntegrityFault> {
        let Some(chain) = &self.chain else { return Ok(()) };
        while let Some(older) = newer.0.checked_sub(1).map(Epoch) {
            let (Some(started), Some(said)) = (chain.started(newer), commitment(chain, older)) else { break };
            if started.previous_key.is_empty() || self.keyring.has(older) {
                break;
            }
            self.keyring.open_previous(newer, &started.previous_key, &said)?;
            newer = older;
        }
        Ok(())
    }

    /// Why a record other than the one that was taken at `number` is refused.
    fn other_than(&self, number: usize, record: &[u8]) -> IntegrityFault {
        match (number, self.topic_id()) {
            (0, Some(before)) => IntegrityFault::OtherTopic { before, now: TopicId(record_hash(record).0) },
            _ => IntegrityFault::OtherHistory,
        }
    }
}

/// The certificate that came with a record: of our CA, and its signer's. Whether it has expired
/// meanwhile is not asked: history outlives certificates.
fn signer(incoming: Incoming<'_>, trust: &Trust) -> Result<Certificate, IntegrityFault> {
    let named = signer_of(incoming.record).map_err(bad_record)?;
    let certificate = trust
        .verify_historic(incoming.certificate, Role::Client)
        .map_err(|fault| IntegrityFault::BadSigner(fault.to_string()))?;
    if certificate.fingerprint() != named {
        return Err(IntegrityFault::BadSigner("is not the one that the record names".into()));
    }
    Ok(certificate)
}

/// Whom a record lets publish from now on, and whom no longer. Who only holds a key for recovery
/// does not publish.
fn sender_changes(delta: &Delta) -> impl Iterator<Item = (Fingerprint, bool)> {
    let added = delta.added.iter().map(|added| (added.fingerprint, added.role));
    let roles =
        added.chain(delta.changed.iter().copied()).map(|(who, role)| (who, role != MemberRole::Recovery));
    roles.chain(delta.removed.iter().map(|who| (*who, false)))
}

fn commitment(chain: &Chain, epoch: Epoch) -> Option<Commitment> {
    let commitment = chain.started(epoch)?.commitment;
    Some(Commitment { topic: chain.topic(), epoch, commitment })
}

fn bad_record(e: ChainError) -> IntegrityFault {
    IntegrityFault::BadRecord(e.to_string())
}
