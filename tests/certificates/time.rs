//! Validity, judged with 300 s of skew: of the leaf, of the CA, and not at all for history.

use std::time::Duration;

use sealmq::base::Wall;
use sealmq::crypto::cert::testing::{self, NOON};
use sealmq::crypto::cert::{CertFault, FaultKind};

use crate::editor::*;
use crate::mutants::{CLIENT, good};

fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

#[test]
fn validity_has_a_skew_of_five_minutes() {
    let world = testing::world();
    let (_, der) = world.client("alice");
    let alice = world.verified(&der, CLIENT);
    let (begin, end) = (alice.not_before(), alice.not_after());
    assert_eq!((begin, end), (NOON, NOON + secs(397 * 86_400)));
    let before = |at: Wall, n: u64| Wall(at.0 - n * 1000);
    for (now, expected) in [
        (before(begin, 300), None),
        (before(begin, 301), Some(CertFault::NotYetValid { not_before: begin })),
        (Wall(0), Some(CertFault::NotYetValid { not_before: begin })),
        (end, None),
        (end + secs(300), None),
        (end + secs(301), Some(CertFault::Expired { not_after: end })),
        (Wall(u64::MAX), Some(CertFault::Expired { not_after: end })),
    ] {
        assert_eq!(world.trust.verify(&der, CLIENT, now).err(), expected, "at {now:?}");
        // History outlives certificates.
        assert!(world.trust.verify_historic(&der, CLIENT).is_ok());
    }
}

#[test]
fn a_ca_ends_too() {
    let world = testing::world();
    let not_after = world.trust.ca_not_after();
    // A leaf that claims to outlive its CA.
    let mut certificate = good(&world, CLIENT);
    certificate.set_times(utc("361101000000Z"), utc("371101000000Z"));
    let der = certificate.sign(&world.ca_key);
    assert_eq!(world.trust.verify(&der, CLIENT, not_after).err(), None);
    let fault = world.trust.verify(&der, CLIENT, not_after + secs(301)).err();
    assert_eq!(fault, Some(CertFault::CaExpired { not_after }));
    assert_eq!(fault.map(|f| f.kind()), Some(FaultKind::Expired));

    // And one from before its CA was.
    certificate.set_times(utc("260101000000Z"), utc("261231000000Z"));
    let der = certificate.sign(&world.ca_key);
    let early = Wall(NOON.0 - 86_400_000);
    let fault = world.trust.verify(&der, CLIENT, early).err();
    assert_eq!(fault, Some(CertFault::CaNotYetValid { not_before: NOON }));
}

#[test]
fn from_2050_on_times_have_four_digits_for_the_year() {
    let far = Wall::from_secs(2_600_000_000);
    let world = testing::world_at(far);
    let mut certificate = good(&world, CLIENT);
    assert!(matches!(certificate.tbs.at(&[VALIDITY, 0]), Node::Leaf(0x18, _)));
    let der = certificate.sign(&world.ca_key);
    assert!(world.trust.verify(&der, CLIENT, far).is_ok());
}
