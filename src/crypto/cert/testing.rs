//! A small world for tests: certificates of fixed keys, issued for any time.
//!
//! The keys lie in `tests/vectors/keys` and are public.

use rand_chacha::ChaCha20Rng;
use rand_core::{Rng as _, SeedableRng};

use super::crl::Revocation;
use super::issue::{CA_DAYS, Issuer, LEAF_DAYS, Subscriber, make_ca};
use super::{Certificate, Host, Role, Serial, Trust};
use crate::base::names::Name;
use crate::base::{Entropy, Wall};
use crate::crypto::key::PrivateKey;

/// A CA, its broker, and whatever clients are asked for.
pub struct World {
    pub ca_key: PrivateKey,
    pub ca_cert_der: Vec<u8>,
    /// The broker's key and certificate, for localhost, broker.test, 127.0.0.1 and ::1.
    pub broker: (PrivateKey, Vec<u8>),
    /// Trusts the CA; holds no revocation list.
    pub trust: Trust,
    now: Wall,
}

/// Entropy that is the same in every run.
pub struct Seeded(ChaCha20Rng);

impl Seeded {
    pub fn new(seed: u64) -> Seeded {
        Seeded(ChaCha20Rng::seed_from_u64(seed))
    }
}

impl Entropy for Seeded {
    fn fill(&mut self, out: &mut [u8]) {
        self.0.fill_bytes(out);
    }
}

/// A world whose certificates are valid from `now` on: the CA's ten years, the others' 397 days.
pub fn world_at(now: Wall) -> World {
    let ca_key = key("ca");
    let ca_cert_der =
        make_ca(&ca_key, &name("test-ca"), now, CA_DAYS, &mut Seeded::new(1)).expect("a CA over a good key");
    let trust = Trust::from_der(&ca_cert_der).expect("the CA was just made");
    let hosts = ["localhost", "broker.test", "127.0.0.1", "::1"];
    let hosts = hosts.map(|host| Host::parse(host).expect("a good host"));
    let broker = issue(&ca_key, &ca_cert_der, "broker", "broker", Role::Broker, &hosts, now);
    World { broker: (key("broker"), broker.der().to_vec()), ca_key, ca_cert_der, trust, now }
}

/// A world around 2026-11-23, midday.
pub fn world() -> World {
    world_at(NOON)
}

/// 2026-11-23T12:00:00Z.
pub const NOON: Wall = Wall(1_795_435_200_000);

impl World {
    /// When this world's certificates begin.
    pub fn now(&self) -> Wall {
        self.now
    }

    /// Key and certificate of `alice`, `bob`, `carol` or `dave`.
    pub fn client(&self, who: &str) -> (PrivateKey, Vec<u8>) {
        (key(who), self.issue(who, who, Role::Client, &[]).der().to_vec())
    }

    /// A certificate of this CA for a name over one of the fixed keys.
    pub fn issue(&self, who: &str, key_of: &str, role: Role, hosts: &[Host]) -> Certificate {
        issue(&self.ca_key, &self.ca_cert_der, who, key_of, role, hosts, self.now)
    }

    /// A client's next certificate: the same key, and it ends a little later.
    pub fn renewed(&self, who: &str) -> Certificate {
        let issuer = Issuer::new(&self.ca_key, &self.ca_cert_der).expect("the CA's key and certificate");
        let (name, public_key) = (name(who), key(who).public());
        let subscriber = Subscriber { name: &name, role: Role::Client, hosts: &[], public_key: &public_key };
        let later = Wall(self.now.0 + 60_000);
        issuer.issue(&subscriber, later, LEAF_DAYS, &mut Seeded::new(99)).expect("a good certificate")
    }

    /// A revocation list of this CA, from the world's beginning on.
    pub fn crl(&self, serials: &[Serial], number: u64) -> Vec<u8> {
        let issuer = Issuer::new(&self.ca_key, &self.ca_cert_der).expect("the CA's key and certificate");
        let revoked: Vec<Revocation> =
            serials.iter().map(|serial| Revocation { serial: *serial, at: self.now }).collect();
        let next_update = Wall(self.now.0 + 30 * 86_400_000);
        issuer.crl(number, &revoked, self.now, next_update, &mut Seeded::new(number)).expect("a good list")
    }

    /// The same, already verified.
    pub fn verified(&self, der: &[u8], role: Role) -> Certificate {
        self.trust.verify(der, role, self.now).expect("a certificate of this world")
    }
}

/// One of the fixed keys: `ca`, `other-ca`, `broker`, `alice`, `bob`, `carol`, `dave`.
pub fn key(who: &str) -> PrivateKey {
    let pem = match who {
        "ca" => include_str!("../../../tests/vectors/keys/ca.key"),
        "other-ca" => include_str!("../../../tests/vectors/keys/other-ca.key"),
        "broker" => include_str!("../../../tests/vectors/keys/broker.key"),
        "alice" => include_str!("../../../tests/vectors/keys/alice.key"),
        "bob" => include_str!("../../../tests/vectors/keys/bob.key"),
        "carol" => include_str!("../../../tests/vectors/keys/carol.key"),
        "dave" => include_str!("../../../tests/vectors/keys/dave.key"),
        other => panic!("there is no test key for {other}"),
    };
    PrivateKey::from_pem(pem).expect("the test keys are good")
}

/// A name known to be good.
pub fn name(text: &str) -> Name {
    Name::parse(text).expect("a good name")
}

fn issue(
    ca_key: &PrivateKey,
    ca_der: &[u8],
    who: &str,
    key_of: &str,
    role: Role,
    hosts: &[Host],
    now: Wall,
) -> Certificate {
    let issuer = Issuer::new(ca_key, ca_der).expect("the CA's key and certificate belong together");
    let public_key = key(key_of).public();
    let name = name(who);
    let subscriber = Subscriber { name: &name, role, hosts, public_key: &public_key };
    // A serial of its own for each name and role, the same in every run.
    let seed = who.bytes().fold(role as u64, |sum, b| sum.wrapping_mul(131).wrapping_add(u64::from(b)));
    issuer.issue(&subscriber, now, LEAF_DAYS, &mut Seeded::new(seed)).expect("good certificates are issued")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_world_verifies_at_any_time() {
        for now in [NOON, Wall::from_secs(1), Wall::from_secs(4_102_444_800)] {
            let world = world_at(now);
            let broker = world.verified(&world.broker.1, Role::Broker);
            assert_eq!(broker.name().as_str(), "broker");
            for host in ["localhost", "LOCALHOST", "broker.test", "127.0.0.1", "::1", "0:0::1"] {
                assert!(broker.matches_host(host), "{host}");
            }
            assert!(!broker.matches_host("example.com"));
            let (alice_key, alice) = world.client("alice");
            let alice = world.verified(&alice, Role::Client);
            assert_eq!(alice.fingerprint(), alice_key.public().fingerprint());
            assert_ne!(alice.serial(), broker.serial());
        }
    }
}
