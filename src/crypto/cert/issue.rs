//! Making certificates. What is made here meets our own profile, and `openssl verify
//! -x509_strict`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use rsa::pkcs1v15::{Signature, SigningKey};
use rsa::signature::RandomizedSigner;
use sha2::{Digest, Sha256};
use x509_cert::Certificate as X509;
use x509_cert::builder::profile::BuilderProfile;
use x509_cert::builder::{Builder, CertificateBuilder};
use x509_cert::certificate::TbsCertificate;
use x509_cert::der::asn1::{BitString, Ia5String, OctetString};
use x509_cert::der::oid::db::rfc5280::{ID_KP_CLIENT_AUTH, ID_KP_SERVER_AUTH};
use x509_cert::der::{DateTime, Decode, Encode};
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::ext::pkix::{
    AuthorityKeyIdentifier, BasicConstraints, ExtendedKeyUsage, KeyUsage, KeyUsages, SubjectAltName,
    SubjectKeyIdentifier,
};
use x509_cert::ext::{Extension, ToExtension};
use x509_cert::name::Name as Subject;
use x509_cert::serial_number::SerialNumber;
use x509_cert::spki::{SignatureBitStringEncoding, SubjectPublicKeyInfoOwned, SubjectPublicKeyInfoRef};
use x509_cert::time::{Time, Validity};

use super::{CertFault, Certificate, Host, Role, Trust};
use crate::base::limits::{CLOCK_SKEW, LEAF_LIFETIME_MAX};
use crate::base::names::Name;
use crate::base::{Entropy, Wall};
use crate::crypto::key::{PrivateKey, PublicKey};
use crate::crypto::rng::Rng;

/// Ten years.
pub const CA_DAYS: u32 = 3652;
/// Thirty years: a CA is replaced long before, and the time fits every encoding.
pub const CA_DAYS_MAX: u32 = 30 * 366;
/// One below the most that the profile takes, for a clock that runs through the night.
pub const LEAF_DAYS: u32 = 397;

/// A CA that can sign: its key, and the certificate over it.
pub struct Issuer<'a> {
    key: &'a PrivateKey,
    certificate: X509,
    trust: Trust,
}

/// Whom a certificate is for.
#[derive(Clone, Debug)]
pub struct Subscriber<'a> {
    pub name: &'a Name,
    pub role: Role,
    /// Subject alternative names: a broker has at least one.
    pub hosts: &'a [Host],
    pub public_key: &'a PublicKey,
}

/// Why nothing was issued.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IssueError {
    /// The CA's certificate does not meet the profile, or what was made would not.
    Fault(CertFault),
    /// The key is not the one that the CA's certificate is over.
    WrongKey,
    /// Longer than a certificate may be valid, or not at all.
    Days { max: u32 },
    /// The library that encodes certificates refused.
    Library(String),
}

/// Makes a CA's certificate over its own key, valid for `days` from `now`.
pub fn make_ca(
    key: &PrivateKey,
    name: &Name,
    now: Wall,
    days: u32,
    entropy: &mut dyn Entropy,
) -> Result<Vec<u8>, IssueError> {
    if !(1..=CA_DAYS_MAX).contains(&days) {
        return Err(IssueError::Days { max: CA_DAYS_MAX });
    }
    let subject = subject(name)?;
    let key_id = key_id(&key.public());
    let extensions = vec![
        extension(&BasicConstraints { ca: true, path_len_constraint: Some(0) }, &subject)?,
        extension(&KeyUsage(KeyUsages::KeyCertSign | KeyUsages::CRLSign), &subject)?,
        extension(&SubjectKeyIdentifier(octets(&key_id)?), &subject)?,
    ];
    let profile = Contents { issuer: subject.clone(), subject, extensions };
    let der = build(profile, now, now + day(days), &key.public(), key, entropy)?;
    Trust::from_der(&der).map_err(IssueError::Fault)?;
    Ok(der)
}

impl Issuer<'_> {
    /// A CA of this key and this certificate, which must belong together.
    pub fn new<'a>(key: &'a PrivateKey, ca_der: &[u8]) -> Result<Issuer<'a>, IssueError> {
        let trust = Trust::from_der(ca_der).map_err(IssueError::Fault)?;
        if trust.ca_fingerprint() != key.public().fingerprint() {
            return Err(IssueError::WrongKey);
        }
        let certificate = X509::from_der(ca_der).map_err(library)?;
        Ok(Issuer { key, certificate, trust })
    }

    /// Issues a certificate that is valid for `days` from `now`, and not longer than the CA's.
    pub fn issue(
        &self,
        subscriber: &Subscriber<'_>,
        now: Wall,
        days: u32,
        entropy: &mut dyn Entropy,
    ) -> Result<Certificate, IssueError> {
        let max = (LEAF_LIFETIME_MAX.as_secs() / 86_400) as u32;
        if !(1..=max).contains(&days) {
            return Err(IssueError::Days { max });
        }
        self.trust.judge_ca(now).map_err(IssueError::Fault)?;
        let not_after = (now + day(days)).min(self.trust.ca_not_after());
        let subject = subject(subscriber.name)?;
        let extensions = self.leaf_extensions(subscriber, &subject)?;
        let profile = Contents { issuer: self.subject().clone(), subject, extensions };
        let der = build(profile, now, not_after, subscriber.public_key, self.key, entropy)?;
        self.trust.verify(&der, subscriber.role, now).map_err(IssueError::Fault)
    }

    fn leaf_extensions(
        &self,
        subscriber: &Subscriber<'_>,
        subject: &Subject,
    ) -> Result<Vec<Extension>, IssueError> {
        let purpose = match subscriber.role {
            Role::Client => ID_KP_CLIENT_AUTH,
            Role::Broker => ID_KP_SERVER_AUTH,
        };
        let subject_key = SubjectKeyIdentifier(octets(&key_id(subscriber.public_key))?);
        let usage = KeyUsage(KeyUsages::DigitalSignature | KeyUsages::KeyEncipherment);
        let mut extensions = vec![
            extension(&BasicConstraints { ca: false, path_len_constraint: None }, subject)?,
            extension(&usage, subject)?,
            extension(&ExtendedKeyUsage(vec![purpose]), subject)?,
            extension(&subject_key, subject)?,
            extension(&self.authority_key()?, subject)?,
        ];
        if !subscriber.hosts.is_empty() {
            let names = subscriber.hosts.iter().map(general_name).collect::<Result<_, _>>()?;
            extensions.push(extension(&SubjectAltName(names), subject)?);
        }
        Ok(extensions)
    }

    /// The CA's subject.
    pub(super) fn subject(&self) -> &Subject {
        self.certificate.tbs_certificate().subject()
    }

    /// The CA's key, by its identifier only.
    pub(super) fn authority_key(&self) -> Result<AuthorityKeyIdentifier, IssueError> {
        Ok(AuthorityKeyIdentifier {
            key_identifier: Some(octets(self.trust.ca_key_id())?),
            authority_cert_issuer: None,
            authority_cert_serial_number: None,
        })
    }

    pub(super) fn sign(&self, bytes: &[u8], entropy: &mut dyn Entropy) -> Result<BitString, IssueError> {
        sign(self.key, bytes, entropy)
    }
}

/// What the library's builder asks for.
struct Contents {
    issuer: Subject,
    subject: Subject,
    extensions: Vec<Extension>,
}

impl BuilderProfile for Contents {
    fn get_issuer(&self, _: &Subject) -> Subject {
        self.issuer.clone()
    }

    fn get_subject(&self) -> Subject {
        self.subject.clone()
    }

    fn build_extensions(
        &self,
        _: SubjectPublicKeyInfoRef<'_>,
        _: SubjectPublicKeyInfoRef<'_>,
        _: &TbsCertificate,
    ) -> x509_cert::builder::Result<Vec<Extension>> {
        Ok(self.extensions.clone())
    }
}

fn build(
    contents: Contents,
    not_before: Wall,
    not_after: Wall,
    public_key: &PublicKey,
    key: &PrivateKey,
    entropy: &mut dyn Entropy,
) -> Result<Vec<u8>, IssueError> {
    // 17 random bytes, the first not zero (CA/Browser Forum, ballot 164 asks for 8).
    let serial = SerialNumber::generate(&mut Rng(entropy));
    let validity = Validity::new(time(not_before)?, time(not_after)?);
    let public_key = SubjectPublicKeyInfoOwned::from_der(&public_key.to_spki_der()).map_err(library)?;
    let builder = CertificateBuilder::new(contents, serial, validity, public_key).map_err(library)?;
    let signer = SigningKey::<Sha256>::new(key.rsa().clone());
    let made = builder.build_with_rng::<_, Signature, _>(&signer, &mut Rng(entropy)).map_err(library)?;
    made.to_der().map_err(library)
}

/// RSASSA-PKCS1-v1_5 with SHA-256, blinded with our entropy.
pub(super) fn sign(
    key: &PrivateKey,
    bytes: &[u8],
    entropy: &mut dyn Entropy,
) -> Result<BitString, IssueError> {
    let signer = SigningKey::<Sha256>::new(key.rsa().clone());
    let signature = signer.try_sign_with_rng(&mut Rng(entropy), bytes).map_err(library)?;
    signature.to_bitstring().map_err(library)
}

/// A distinguished name of the one common name.
pub(super) fn subject(name: &Name) -> Result<Subject, IssueError> {
    // A name's characters have no meaning in the text form of RFC 4514.
    Subject::from_str(&format!("CN={name}")).map_err(library)
}

pub(super) fn time(at: Wall) -> Result<Time, IssueError> {
    DateTime::from_unix_duration(Duration::from_secs(at.secs())).map(Time::from).map_err(library)
}

pub(super) fn library(error: impl fmt::Display) -> IssueError {
    IssueError::Library(error.to_string())
}

fn general_name(host: &Host) -> Result<GeneralName, IssueError> {
    match host {
        Host::Dns(name) => Ia5String::new(name).map(GeneralName::DnsName).map_err(library),
        Host::Address(address) => Ok(GeneralName::from(*address)),
    }
}

/// RFC 7093, section 2, method 1: the leftmost 160 bits of SHA-256 over the key.
fn key_id(key: &PublicKey) -> [u8; 20] {
    let digest: [u8; 32] = Sha256::digest(key.to_pkcs1_der()).into();
    *digest.first_chunk().expect("20 bytes are fewer than 32")
}

fn octets(bytes: &[u8]) -> Result<OctetString, IssueError> {
    OctetString::new(bytes).map_err(library)
}

/// The extension in the criticality that RFC 5280 asks for.
pub(super) fn extension<'a, E>(value: &'a E, subject: &Subject) -> Result<Extension, IssueError>
where
    &'a E: ToExtension<Error: fmt::Display>,
{
    value.to_extension(subject, &[]).map_err(library)
}

fn day(days: u32) -> Duration {
    Duration::from_secs(u64::from(days) * 86_400)
}

impl fmt::Display for IssueError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            IssueError::Fault(fault) => fault.fmt(f),
            IssueError::WrongKey => write!(f, "the CA's key does not belong to the CA's certificate"),
            IssueError::Days { max } => write!(f, "a certificate may be valid for 1 to {max} days"),
            IssueError::Library(why) => write!(f, "the certificate could not be encoded: {why}"),
        }
    }
}

impl std::error::Error for IssueError {}

// A certificate made by a clock that is ahead must not be refused as too long.
const _: () = assert!(LEAF_DAYS as u64 * 86_400 + CLOCK_SKEW.as_secs() < LEAF_LIFETIME_MAX.as_secs());
