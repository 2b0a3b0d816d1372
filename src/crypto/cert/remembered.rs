//! Certificates that a CA's profile was found to be met by, so that the same one costs no RSA again: a
//! client that comes back, a member of many topics.
//!
//! Only what nothing can change is remembered. Clock and revocation list judge anew each time.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use super::{Certificate, Facts, Role};
use crate::base::limits::CERTIFICATES_REMEMBERED_MAX;
use crate::crypto::digest::sha256;

/// Good certificates of one CA by the SHA-256 of their DER, as long as somebody holds them. The oldest
/// make room.
#[derive(Default)]
pub(super) struct Remembered(Mutex<Table>);

#[derive(Default)]
struct Table {
    by_hash: HashMap<[u8; 32], Weak<Facts>>,
    order: VecDeque<[u8; 32]>,
}

impl Remembered {
    pub fn find(&self, der: &[u8], role: Role) -> Option<Certificate> {
        let table = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let facts = table.by_hash.get(&sha256(der))?.upgrade()?;
        (facts.role == role && *facts.der == *der).then_some(Certificate(facts))
    }

    pub fn insert(&self, certificate: &Certificate) {
        let mut table = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let hash = sha256(certificate.der());
        if table.by_hash.insert(hash, Arc::downgrade(&certificate.0)).is_some() {
            return;
        }
        table.order.push_back(hash);
        if table.order.len() > CERTIFICATES_REMEMBERED_MAX
            && let Some(oldest) = table.order.pop_front()
        {
            table.by_hash.remove(&oldest);
        }
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.0.lock().expect("no test panics with it").by_hash.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::time::Wall;
    use crate::crypto::cert::CertFault;
    use crate::crypto::cert::testing::world;

    #[test]
    fn the_same_certificate_is_read_once_while_somebody_holds_it() {
        let world = world();
        let (_, der) = world.client("bob");
        let verify = || world.trust.verify(&der, Role::Client, world.now()).expect("a good certificate");
        let (first, second) = (verify(), verify());
        assert!(Arc::ptr_eq(&first.0, &second.0));
        let held = Arc::downgrade(&first.0);
        drop((first, second));
        assert!(held.upgrade().is_none(), "to remember it keeps nothing alive");
        assert_eq!(verify().der(), der);
        assert_eq!(world.trust.remembered().len(), 1);
    }

    #[test]
    fn what_is_remembered_is_judged_all_the_same() {
        let world = world();
        let (_, der) = world.client("bob");
        let held = world.trust.verify(&der, Role::Client, world.now()).expect("a good certificate");
        let late = held.not_after() + std::time::Duration::from_secs(86_400);
        let expired = world.trust.verify(&der, Role::Client, late);
        assert!(matches!(expired, Err(CertFault::Expired { .. })), "{expired:?}");
        assert!(world.trust.verify(&der, Role::Client, Wall(0)).is_err());
        assert!(world.trust.verify(&der, Role::Broker, world.now()).is_err(), "a client is no broker");
        let mut other = der.clone();
        *other.last_mut().expect("it has bytes") ^= 1;
        assert!(world.trust.verify(&other, Role::Client, world.now()).is_err(), "another signature");
    }

    #[test]
    fn the_oldest_make_room() {
        let world = world();
        let bob = world.verified(&world.client("bob").1, Role::Client);
        let remembered = Remembered::default();
        for n in 0..=CERTIFICATES_REMEMBERED_MAX {
            let facts = Facts { der: n.to_be_bytes().as_slice().into(), ..(*bob.0).clone() };
            remembered.insert(&Certificate(Arc::new(facts)));
        }
        assert_eq!(remembered.len(), CERTIFICATES_REMEMBERED_MAX);
    }
}
