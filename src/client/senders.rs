//! Who signs the messages of a publisher id: a certificate of our CA, and a delegation under it.
//!
//! Each costs an RSA verification, so what was verified is remembered: a broker introduces the same
//! senders again in every session and every topic. It does not know which topics they may write to.

use std::collections::HashMap;
use std::hash::Hash;

use super::failure::IntegrityFault;
use crate::base::ids::{Fingerprint, PublisherId};
use crate::base::names::Name;
use crate::chain::Delegation;
use crate::crypto::cert::{Certificate, Role, Trust};
use crate::crypto::digest::{hash_items, sha256};

/// What the broker says of a sender.
#[derive(Clone, Copy)]
pub struct Claim<'a> {
    pub publisher: PublisherId,
    pub fingerprint: Fingerprint,
    pub name: &'a Name,
    pub delegation: &'a [u8],
    pub certificate: &'a [u8],
}

/// Claims that were judged.
pub struct Senders {
    /// By their hashes.
    certificates: Recent<[u8; 32], Certificate>,
    /// By the hash of certificate and delegation.
    delegations: Recent<[u8; 32], Delegation>,
    #[cfg(test)]
    pub(super) verifications: usize,
}

/// What was used recently: at least half as many as its size, at most as many.
struct Recent<K, V> {
    newer: HashMap<K, V>,
    older: HashMap<K, V>,
    half: usize,
}

/// Certificates that are remembered: as many clients as a household has, some ten times over.
const CERTIFICATES_MAX: usize = 1024;
/// Delegations that are remembered; each run of a one-shot client has its own.
const DELEGATIONS_MAX: usize = 8192;

impl Default for Senders {
    fn default() -> Senders {
        Senders {
            certificates: Recent::new(CERTIFICATES_MAX),
            delegations: Recent::new(DELEGATIONS_MAX),
            #[cfg(test)]
            verifications: 0,
        }
    }
}

impl Senders {
    /// The delegation, if certificate and delegation are the sender's. Whether the certificate has
    /// ended or was revoked since is not asked: history outlives certificates.
    pub fn judge(&mut self, claim: Claim<'_>, trust: &Trust) -> Result<Delegation, IntegrityFault> {
        let sender = self.identify(claim.certificate, trust)?;
        if sender.fingerprint() != claim.fingerprint || sender.name() != claim.name {
            return Err(IntegrityFault::BadSender("is not the one that the broker names".into()));
        }
        let hash = hash_items(&[claim.certificate, claim.delegation]);
        let delegation = match self.delegations.get(&hash) {
            Some(known) => known,
            None => {
                self.count_verification();
                let verified = Delegation::verify(claim.delegation, sender.public_key(), claim.publisher)
                    .map_err(|fault| IntegrityFault::BadDelegation(fault.to_string()))?;
                self.delegations.insert(hash, verified);
                verified
            }
        };
        // One that is remembered was verified for the publisher that it names.
        if delegation.publisher != claim.publisher {
            return Err(IntegrityFault::BadDelegation("is for another publisher id".into()));
        }
        Ok(delegation)
    }

    /// Of a key's certificates with which senders came lately, the one that ends last.
    pub fn newest(&self, who: Fingerprint) -> Option<&Certificate> {
        let known = self.certificates.newer.values().chain(self.certificates.older.values());
        known.filter(|certificate| certificate.fingerprint() == who).max_by_key(|c| c.not_after())
    }

    fn identify(&mut self, certificate: &[u8], trust: &Trust) -> Result<Certificate, IntegrityFault> {
        let hash = sha256(certificate);
        if let Some(known) = self.certificates.get(&hash) {
            return Ok(known);
        }
        self.count_verification();
        let verified = trust
            .verify_historic(certificate, Role::Client)
            .map_err(|fault| IntegrityFault::BadSender(fault.to_string()))?;
        self.certificates.insert(hash, verified.clone());
        Ok(verified)
    }

    fn count_verification(&mut self) {
        #[cfg(test)]
        {
            self.verifications += 1;
        }
    }
}

impl<K: Eq + Hash, V: Clone> Recent<K, V> {
    fn new(max: usize) -> Recent<K, V> {
        Recent { newer: HashMap::new(), older: HashMap::new(), half: max / 2 }
    }

    /// What is known of `key`, which is then recent.
    fn get(&mut self, key: &K) -> Option<V> {
        if let Some(value) = self.newer.get(key) {
            return Some(value.clone());
        }
        let (key, value) = self.older.remove_entry(key)?;
        self.insert(key, value.clone());
        Some(value)
    }

    fn insert(&mut self, key: K, value: V) {
        if self.newer.len() >= self.half {
            self.older = std::mem::take(&mut self.newer);
        }
        self.newer.insert(key, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_used_is_kept_and_the_rest_is_bounded() {
        let mut recent = Recent::new(8);
        for i in 0..100 {
            recent.insert(i, i);
            assert_eq!(recent.get(&0), Some(0), "it is asked for each time");
            assert!(recent.newer.len() + recent.older.len() <= 8);
        }
        assert_eq!((recent.get(&99), recent.get(&50)), (Some(99), None));
    }
}
