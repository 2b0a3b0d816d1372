//! Who takes part: a CA, a broker and its clients' people, made once for all seeds.

use std::sync::OnceLock;

use crate::base::Wall;
use crate::base::ids::Fingerprint;
use crate::base::names::Name;
use crate::broker::Identity;
use crate::client::ClientIdentity;
use crate::crypto::cert::testing::{World, world};
use crate::crypto::cert::{Certificate, Role, Trust};
use crate::crypto::key::{PrivateKey, PublicKey};

/// Keys and certificates. Reading a key and issuing a certificate take as long as a handshake.
pub struct Cast {
    world: World,
    broker: Certificate,
    people: Vec<Person>,
    /// A revocation list without anybody on it.
    empty_crl: Vec<u8>,
    /// The revocation list on which each person alone stands.
    crls: Vec<Vec<u8>>,
}

/// Somebody who may run a client. One of them is here twice: whoever has two clients at once.
pub struct Person {
    pub name: Name,
    pub fingerprint: Fingerprint,
    key: PrivateKey,
    certificate: Certificate,
}

/// Certificates begin some days before a run does, so that its clocks may go back.
const DAYS_BEFORE: u64 = 10;

impl Cast {
    pub fn get() -> &'static Cast {
        static CAST: OnceLock<Cast> = OnceLock::new();
        CAST.get_or_init(Cast::new)
    }

    fn new() -> Cast {
        let world = world();
        let people: Vec<Person> = ["alice", "bob", "carol", "dave", "alice"]
            .into_iter()
            .map(|who| {
                let (key, der) = world.client(who);
                let certificate = world.verified(&der, Role::Client);
                let (name, fingerprint) = (certificate.name().clone(), certificate.fingerprint());
                Person { name, fingerprint, key, certificate }
            })
            .collect();
        let crls = people.iter().map(|p| world.crl(&[*p.certificate.serial()], 2)).collect();
        let (broker, empty_crl) = (world.verified(&world.broker.1, Role::Broker), world.crl(&[], 1));
        Cast { broker, people, empty_crl, crls, world }
    }

    /// Civil time when a run begins.
    pub fn begin(&self) -> Wall {
        Wall(self.world.now().0 + DAYS_BEFORE * 86_400_000)
    }

    pub fn people(&self) -> &[Person] {
        &self.people
    }

    /// Trust in the CA, without a revocation list.
    pub fn trust(&self) -> Trust {
        self.world.trust.clone()
    }

    /// The key whose fingerprint this is: of nobody here, if it is not among theirs.
    pub fn key_of(&self, fingerprint: Fingerprint) -> &PublicKey {
        let person = self.people.iter().find(|person| person.fingerprint == fingerprint);
        person.map_or(self.broker.public_key(), |person| person.certificate.public_key())
    }

    /// A name's fingerprint.
    pub fn fingerprint_of(&self, name: &Name) -> Option<Fingerprint> {
        self.people.iter().find(|person| person.name == *name).map(|person| person.fingerprint)
    }

    /// The revocation list that names nobody.
    pub fn empty_crl(&self) -> &[u8] {
        &self.empty_crl
    }

    /// The revocation list that names this person.
    pub fn crl(&self, person: usize) -> &[u8] {
        &self.crls[person]
    }

    pub fn broker(&self) -> Identity {
        Identity { certificate: self.broker.clone(), key: self.world.broker.0.clone() }
    }
}

impl Person {
    pub fn identity(&self) -> ClientIdentity {
        ClientIdentity { certificate: self.certificate.clone(), key: self.key.clone() }
    }

    pub fn der(&self) -> &[u8] {
        self.certificate.der()
    }
}
