//! X.509 certificates: who a broker or a client is.
//!
//! A [`Trust`] holds one CA and its newest revocation list. It is the only maker of a
//! [`Certificate`], so that holding one is proof that the strict profile was met. The
//! profile refuses whatever it does not know; each rule has its own [`CertFault`].
//!
//! `der` walks, `x509-parser` reads, `profile` compares; `issue`, `csr` and `crl` write
//! with `x509-cert`. Nothing here knows files or the clock.

pub mod crl;
pub mod csr;
mod der;
mod fault;
mod fields;
pub mod issue;
pub mod pem;
mod profile;
mod remembered;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
mod trust;

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

pub use fault::{CertFault, CrlFault, FaultKind};
pub use trust::{CrlUpdate, Trust};

use super::key::PublicKey;
use crate::base::Wall;
use crate::base::ids::Fingerprint;
use crate::base::names::Name;

/// What a certificate may be used as. One can never stand for the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    Client,
    Broker,
}

/// A certificate that met the profile: proof, for only a [`Trust`] makes one.
#[derive(Clone)]
pub struct Certificate(Arc<Facts>);

/// What is known of a verified certificate.
#[cfg_attr(test, derive(Clone))]
struct Facts {
    der: Arc<[u8]>,
    role: Role,
    name: Name,
    public_key: PublicKey,
    serial: Serial,
    not_before: Wall,
    not_after: Wall,
    hosts: Vec<Host>,
}

/// A subject alternative name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Host {
    /// In lower case.
    Dns(String),
    Address(IpAddr),
}

/// A serial number: positive, at most 20 bytes of DER (RFC 5280, 4.1.2.2).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Serial {
    length: u8,
    bytes: [u8; SERIAL_BYTES_MAX],
}

/// An INTEGER's content: a leading zero byte before a high bit counts.
const SERIAL_BYTES_MAX: usize = 20;

impl Role {
    pub fn other(self) -> Role {
        match self {
            Role::Client => Role::Broker,
            Role::Broker => Role::Client,
        }
    }
}

impl Certificate {
    /// The certificate as it came.
    pub fn der(&self) -> &[u8] {
        &self.0.der
    }

    /// The same, to be held by whoever needs no more of it.
    pub fn shared_der(&self) -> Arc<[u8]> {
        Arc::clone(&self.0.der)
    }

    /// The common name: who this is to people.
    pub fn name(&self) -> &Name {
        &self.0.name
    }

    /// The key's fingerprint: who this is to the protocol.
    pub fn fingerprint(&self) -> Fingerprint {
        self.0.public_key.fingerprint()
    }

    pub fn public_key(&self) -> &PublicKey {
        &self.0.public_key
    }

    pub fn role(&self) -> Role {
        self.0.role
    }

    pub fn serial(&self) -> &Serial {
        &self.0.serial
    }

    pub fn not_before(&self) -> Wall {
        self.0.not_before
    }

    pub fn not_after(&self) -> Wall {
        self.0.not_after
    }

    /// The subject alternative names.
    pub fn hosts(&self) -> &[Host] {
        &self.0.hosts
    }

    /// Whether `host`, a host name or an address, is among the subject alternative names.
    ///
    /// Names are compared whole and without regard to ASCII case; there are no wildcards.
    pub fn matches_host(&self, host: &str) -> bool {
        Host::parse(host).is_some_and(|host| self.0.hosts.contains(&host))
    }
}

impl Host {
    /// Reads an address, or a host name of letters, digits and hyphens between dots, at most
    /// 253 bytes (RFC 1034, 3.5: the preferred name syntax that RFC 5280 asks for).
    pub fn parse(text: &str) -> Option<Host> {
        if let Ok(address) = text.parse() {
            return Some(Host::Address(address));
        }
        let allowed = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
        let edges = |l: &str| !l.starts_with('-') && !l.ends_with('-');
        let label = |l: &str| (1..=63).contains(&l.len()) && l.bytes().all(allowed) && edges(l);
        // A name of digits only in its last level would look like an address (RFC 1123, 2.1).
        let numeric = text.rsplit('.').next().is_some_and(|l| l.bytes().all(|b| b.is_ascii_digit()));
        let good = text.len() <= 253 && text.split('.').all(label) && !numeric;
        good.then(|| Host::Dns(text.to_ascii_lowercase()))
    }
}

impl Serial {
    /// Reads the content of a DER INTEGER.
    pub(crate) fn from_der_content(content: &[u8]) -> Option<Serial> {
        let positive = content.first().is_some_and(|b| b & 0x80 == 0) && content.iter().any(|b| *b != 0);
        if !positive || content.len() > SERIAL_BYTES_MAX {
            return None;
        }
        let mut bytes = [0; SERIAL_BYTES_MAX];
        bytes[..content.len()].copy_from_slice(content);
        Some(Serial { length: content.len() as u8, bytes })
    }

    /// The content of the DER INTEGER.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.length)]
    }

    /// Reads what [`Serial`] prints.
    pub fn parse_hex(text: &str) -> Option<Serial> {
        if !text.len().is_multiple_of(2) || text.len() > 2 * SERIAL_BYTES_MAX {
            return None;
        }
        let digit = |b: u8| (b as char).to_digit(16).map(|d| d as u8);
        let pairs = text.as_bytes().chunks_exact(2);
        let bytes: Option<Vec<u8>> = pairs.map(|p| Some(digit(p[0])? << 4 | digit(p[1])?)).collect();
        Serial::from_der_content(&bytes?)
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Role::Client => "client",
            Role::Broker => "broker",
        })
    }
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Certificate({}, {:?})", self.name(), self.fingerprint())
    }
}

impl PartialEq for Certificate {
    fn eq(&self, other: &Certificate) -> bool {
        self.0.der == other.0.der && self.0.role == other.0.role
    }
}

impl Eq for Certificate {}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Host::Dns(name) => f.pad(name),
            Host::Address(address) => fmt::Display::fmt(address, f),
        }
    }
}

impl fmt::Display for Serial {
    /// Lower-case hexadecimal, as it stands in the certificate.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_bytes().iter().try_for_each(|b| write!(f, "{b:02x}"))
    }
}

impl fmt::Debug for Serial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn serials_print_and_parse() {
        for good in ["01", "7f", "00ff", "7fffffffffffffffffffffffffffffffffffffff"] {
            assert_eq!(Serial::parse_hex(good).map(|s| s.to_string()).as_deref(), Some(good));
        }
        for bad in ["", "0", "00", "80", "zz", "é0", "00ffffffffffffffffffffffffffffffffffffffff"] {
            assert_eq!(Serial::parse_hex(bad), None, "{bad}");
        }
    }

    #[test]
    fn hosts_are_names_or_addresses() {
        for good in ["localhost", "a.b-c.lan", "x.local", "127.0.0.1", "::1", "1a"] {
            assert!(Host::parse(good).is_some(), "{good}");
        }
        for bad in
            ["", ".", "a.", ".a", "*.a", "-a", "a-", "a_b", "a b", "ä", "1.2", "1.2.3.4.5", "[::1]", "a/b"]
        {
            assert_eq!(Host::parse(bad), None, "{bad}");
        }
        assert_eq!(Host::parse("BROKER.lan"), Host::parse("broker.LAN"));
    }
}
