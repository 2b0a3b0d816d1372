//! Whom one trusts: a CA and the newest of its revocation lists.

use std::sync::Arc;

use super::crl::Crl;
use super::fields::Fields;
use super::profile::{Authority, Leaf};
use super::{CertFault, Certificate, CrlFault, Role, Serial, pem};
use crate::base::Wall;
use crate::base::ids::Fingerprint;
use crate::base::limits::CLOCK_SKEW;

/// A CA's certificate, its newest revocation list, and the highest number that any had.
///
/// Without a list nothing counts as revoked; whoever holds it warns of that.
#[derive(Clone)]
pub struct Trust {
    authority: Arc<Authority>,
    crl: Option<Arc<Crl>>,
    /// Kept by callers across restarts: see [`Trust::require_crl_number`].
    crl_number_seen: Option<u64>,
}

/// What an accepted revocation list brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CrlUpdate {
    /// Whether it is another list than the one before.
    pub newer: bool,
    /// It should have been replaced by now. It holds all the same.
    pub past_next_update: bool,
}

impl Trust {
    /// Trusts the one CA whose certificate this is, in PEM.
    pub fn from_pem(ca_pem: &str) -> Result<Trust, CertFault> {
        Trust::from_der(&pem::certificate_from_pem(ca_pem)?)
    }

    /// Trusts the one CA whose certificate this is.
    pub fn from_der(ca_der: &[u8]) -> Result<Trust, CertFault> {
        let authority = Arc::new(Authority::read(ca_der)?);
        Ok(Trust { authority, crl: None, crl_number_seen: None })
    }

    /// The CA's certificate.
    pub fn ca_der(&self) -> &[u8] {
        &self.authority.der
    }

    /// The fingerprint of the CA's key.
    pub fn ca_fingerprint(&self) -> Fingerprint {
        self.authority.key.fingerprint()
    }

    /// The CA's subject key identifier.
    pub(super) fn ca_key_id(&self) -> &[u8] {
        &self.authority.key_id
    }

    /// When the CA's own certificate ends.
    pub fn ca_not_after(&self) -> Wall {
        self.authority.not_after
    }

    /// Holds a certificate against the profile, the clock and the revocation list.
    pub fn verify(&self, der: &[u8], role: Role, now: Wall) -> Result<Certificate, CertFault> {
        let certificate = self.verify_historic(der, role)?;
        self.judge(&certificate, now)?;
        Ok(certificate)
    }

    /// The same without clock and revocation list, for what a key signed in the past.
    pub fn verify_historic(&self, der: &[u8], role: Role) -> Result<Certificate, CertFault> {
        let remembered = &self.authority.remembered;
        if let Some(certificate) = remembered.find(der, role) {
            return Ok(certificate);
        }
        let fields = Fields::read(der)?;
        let leaf = Leaf { fields: &fields, authority: &self.authority, role };
        let certificate = Certificate(Arc::new(leaf.facts(der)?));
        remembered.insert(&certificate);
        Ok(certificate)
    }

    /// Whether verifying this certificate takes no RSA operation, for it was done before.
    pub fn remembers(&self, der: &[u8], role: Role) -> bool {
        self.authority.remembered.find(der, role).is_some()
    }

    #[cfg(test)]
    pub(super) fn remembered(&self) -> &super::remembered::Remembered {
        &self.authority.remembered
    }

    /// Whether a certificate that met the profile is in force: at every handshake, and again
    /// when the clock has moved on or the revocation list has changed.
    pub fn judge(&self, certificate: &Certificate, now: Wall) -> Result<(), CertFault> {
        let (not_before, not_after) = (certificate.not_before(), certificate.not_after());
        self.judge_leaf(certificate.serial(), not_before, not_after, now)
    }

    fn judge_leaf(
        &self,
        serial: &Serial,
        not_before: Wall,
        not_after: Wall,
        now: Wall,
    ) -> Result<(), CertFault> {
        if self.is_revoked(serial) {
            return Err(CertFault::Revoked);
        }
        if now > not_after + CLOCK_SKEW {
            return Err(CertFault::Expired { not_after });
        }
        if now + CLOCK_SKEW < not_before {
            return Err(CertFault::NotYetValid { not_before });
        }
        self.judge_ca(now)
    }

    /// Whether the CA's own certificate is in force.
    pub fn judge_ca(&self, now: Wall) -> Result<(), CertFault> {
        let Authority { not_before, not_after, .. } = *self.authority;
        if now > not_after + CLOCK_SKEW {
            return Err(CertFault::CaExpired { not_after });
        }
        if now + CLOCK_SKEW < not_before {
            return Err(CertFault::CaNotYetValid { not_before });
        }
        Ok(())
    }

    /// Every rule that a certificate breaks, as a broker's for `host` too, for whoever looks
    /// into one; of one that cannot be read, the first. [`Trust::verify`] says the first only.
    pub fn faults(&self, der: &[u8], role: Role, host: Option<&str>, now: Wall) -> Vec<CertFault> {
        let fields = match Fields::read(der) {
            Ok(fields) => fields,
            Err(fault) => return vec![fault],
        };
        let leaf = Leaf { fields: &fields, authority: &self.authority, role };
        let mut faults = leaf.faults(host);
        if let Ok((serial, not_before, not_after)) = leaf.identity() {
            faults.extend(self.judge_leaf(&serial, not_before, not_after, now).err());
        }
        faults
    }

    /// The highest number that a revocation list had.
    pub fn crl_number(&self) -> Option<u64> {
        self.crl_number_seen
    }

    /// Refuses revocation lists below this number, which was seen in an earlier life.
    pub fn require_crl_number(&mut self, at_least: u64) {
        self.crl_number_seen = self.crl_number_seen.max(Some(at_least));
    }

    /// The revocation list in force, for those who ask for it.
    pub fn crl_der(&self) -> Option<&Arc<[u8]>> {
        self.crl.as_ref().map(|crl| crl.der())
    }

    /// Takes a revocation list, if it is of this CA and not older than one seen before.
    /// On error all stays as it was.
    pub fn update_crl(&mut self, der: &[u8], now: Wall) -> Result<CrlUpdate, CrlFault> {
        let same = self.crl_der().is_some_and(|held| **held == *der);
        if !same {
            let crl = Crl::read(der, &self.authority, now)?;
            self.check_number(&crl)?;
            self.require_crl_number(crl.number());
            self.crl = Some(Arc::new(crl));
        }
        Ok(CrlUpdate { newer: !same, past_next_update: self.crl_past_due(now) })
    }

    fn check_number(&self, crl: &Crl) -> Result<(), CrlFault> {
        let number = crl.number();
        match self.crl_number_seen {
            Some(seen) if number < seen => Err(CrlFault::LowerNumber { number, seen }),
            Some(_) if self.crl.as_ref().is_some_and(|held| held.number() == number) => {
                Err(CrlFault::NumberReused { number })
            }
            _ => Ok(()),
        }
    }

    /// Whether the revocation list in force names this serial number.
    pub fn is_revoked(&self, serial: &Serial) -> bool {
        self.crl.as_ref().is_some_and(|crl| crl.contains(serial))
    }

    /// Whether there is a revocation list that should have been replaced by now. It is
    /// enforced all the same.
    pub fn crl_past_due(&self, now: Wall) -> bool {
        self.crl.as_ref().is_some_and(|crl| now > crl.next_update() + CLOCK_SKEW)
    }

    /// Whether there is a revocation list, it is not past due, and none with a higher
    /// number is known of.
    pub fn crl_is_current(&self, now: Wall) -> bool {
        let newest = self.crl.as_ref().map(|crl| crl.number());
        newest.is_some() && newest == self.crl_number_seen && !self.crl_past_due(now)
    }
}

impl std::fmt::Debug for Trust {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Trust({:?}, list {:?})", self.ca_fingerprint(), self.crl_number_seen)
    }
}
