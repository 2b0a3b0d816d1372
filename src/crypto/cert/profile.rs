//! The strict profile: what a certificate must be, one rule after the other.
//!
//! A leaf stands directly under the CA. Whatever is not named here is refused, but for
//! unknown extensions that are not critical.

use std::net::IpAddr;

use rsa::pkcs1v15::{Signature, VerifyingKey};
use rsa::signature::Verifier;
use sha2::Sha256;
use x509_parser::extensions::{GeneralName, SubjectAlternativeName};
use x509_parser::oid_registry::OID_X509_COMMON_NAME;
use x509_parser::prelude::FromDer;

use super::der::{self, Reader};
use super::fields::{Fields, Time, signature_bytes};
use super::remembered::Remembered;
use super::{CertFault, Facts, Host, Role, Serial};
use crate::base::Wall;
use crate::base::limits::{LEAF_LIFETIME_MAX, RSA_BITS_MAX, RSA_BITS_MIN, RSA_BYTES_MAX};
use crate::base::names::Name;
use crate::crypto::key::PublicKey;

/// A CA's certificate that met its own profile.
pub(super) struct Authority {
    pub der: Box<[u8]>,
    /// Leaves of this CA that met the profile.
    pub remembered: Remembered,
    /// The subject in DER.
    pub subject: Box<[u8]>,
    pub key: PublicKey,
    /// The content of the subject key identifier.
    pub key_id: Box<[u8]>,
    pub not_before: Wall,
    pub not_after: Wall,
}

/// A leaf in the light of the CA that it should be of.
pub(super) struct Leaf<'a> {
    pub fields: &'a Fields<'a>,
    pub authority: &'a Authority,
    pub role: Role,
}

type LeafRule = fn(&Leaf<'_>) -> Result<(), CertFault>;
type CaRule = fn(&Fields<'_>) -> Result<(), CertFault>;

/// Ordered so that the fault that says most comes first: a certificate of another CA is
/// that, whatever else it is. The signature, which costs most, comes last.
const LEAF_RULES: &[LeafRule] = &[
    |leaf| issuer(leaf),
    |leaf| not_the_ca(leaf),
    |leaf| version(leaf.fields),
    |leaf| serial(leaf.fields).map(drop),
    |leaf| algorithms(leaf.fields),
    |leaf| no_unique_id(leaf.fields),
    |leaf| validity(leaf.fields).map(drop),
    |leaf| lifetime(leaf.fields),
    |leaf| common_name(leaf.fields).map(drop),
    |leaf| public_key(leaf.fields).map(drop),
    |leaf| extensions_once(leaf.fields),
    |leaf| no_name_constraints(leaf.fields),
    |leaf| critical_known(leaf.fields),
    |leaf| leaf_constraints(leaf.fields),
    |leaf| leaf_usage(leaf.fields),
    |leaf| role_usage(leaf),
    |leaf| authority_key(leaf),
    |leaf| subject_key(leaf.fields).map(drop),
    |leaf| host_names(leaf).map(drop),
    |leaf| signature(leaf.fields, &leaf.authority.key),
];

const CA_RULES: &[CaRule] = &[
    |ca| version(ca),
    |ca| serial(ca).map(drop),
    |ca| algorithms(ca),
    |ca| no_unique_id(ca),
    |ca| validity(ca).map(drop),
    |ca| if ca.raw.issuer == ca.raw.subject { Ok(()) } else { Err(CertFault::WrongCa) },
    |ca| public_key(ca).map(drop),
    |ca| extensions_once(ca),
    |ca| no_name_constraints(ca),
    |ca| critical_known(ca),
    |ca| ca_constraints(ca),
    |ca| ca_usage(ca),
    |ca| ca_key_ids(ca),
    |ca| signature(ca, &public_key(ca)?),
];

impl Authority {
    /// Reads a CA's certificate and holds it against the CA's profile: self-signed, CA:TRUE,
    /// keyCertSign and cRLSign. Its validity is judged when a certificate of it is.
    pub fn read(der: &[u8]) -> Result<Authority, CertFault> {
        let fields = Fields::read(der)?;
        CA_RULES.iter().try_for_each(|rule| rule(&fields))?;
        let (not_before, not_after) = validity(&fields)?;
        let key_id = subject_key(&fields)?.ok_or(CertFault::NoSubjectKey)?;
        Ok(Authority {
            der: der.into(),
            remembered: Remembered::default(),
            subject: fields.raw.subject.into(),
            key: public_key(&fields)?,
            key_id: key_id.into(),
            not_before,
            not_after,
        })
    }
}

impl Leaf<'_> {
    /// All that is to be known of the leaf, if it meets the profile.
    pub fn facts(&self, der: &[u8]) -> Result<Facts, CertFault> {
        LEAF_RULES.iter().try_for_each(|rule| rule(self))?;
        let (not_before, not_after) = validity(self.fields)?;
        Ok(Facts {
            der: der.into(),
            role: self.role,
            name: common_name(self.fields)?,
            public_key: public_key(self.fields)?,
            serial: serial(self.fields)?,
            not_before,
            not_after,
            hosts: host_names(self)?,
        })
    }

    /// Every rule that is broken, and whether the host that was asked for is missing.
    pub fn faults(&self, host: Option<&str>) -> Vec<CertFault> {
        let mut faults: Vec<CertFault> = LEAF_RULES.iter().filter_map(|rule| rule(self).err()).collect();
        let named =
            |host| host_names(self).is_ok_and(|hosts| Host::parse(host).is_some_and(|h| hosts.contains(&h)));
        if host.is_some_and(|host| !named(host)) {
            faults.push(CertFault::WrongName);
        }
        faults
    }

    /// What its being in force depends on.
    pub fn identity(&self) -> Result<(Serial, Wall, Wall), CertFault> {
        let (not_before, not_after) = validity(self.fields)?;
        Ok((serial(self.fields)?, not_before, not_after))
    }
}

fn version(fields: &Fields<'_>) -> Result<(), CertFault> {
    if fields.raw.version == Some(VERSION_3) { Ok(()) } else { Err(CertFault::Version) }
}

fn serial(fields: &Fields<'_>) -> Result<Serial, CertFault> {
    Serial::from_der_content(fields.raw.serial).ok_or(CertFault::Serial)
}

fn algorithms(fields: &Fields<'_>) -> Result<(), CertFault> {
    if fields.raw.inner_algorithm != fields.raw.outer_algorithm {
        return Err(CertFault::AlgorithmMismatch);
    }
    if fields.raw.inner_algorithm == SHA256_WITH_RSA { Ok(()) } else { Err(CertFault::SignatureAlgorithm) }
}

fn issuer(leaf: &Leaf<'_>) -> Result<(), CertFault> {
    if *leaf.fields.raw.issuer == *leaf.authority.subject { Ok(()) } else { Err(CertFault::WrongCa) }
}

/// Neither the CA's certificate nor another one over the CA's key.
fn not_the_ca(leaf: &Leaf<'_>) -> Result<(), CertFault> {
    let key = leaf.authority.key.to_spki_der();
    if leaf.fields.raw.key == key { Err(CertFault::CaItself) } else { Ok(()) }
}

fn no_unique_id(fields: &Fields<'_>) -> Result<(), CertFault> {
    if fields.raw.has_unique_id { Err(CertFault::UniqueId) } else { Ok(()) }
}

fn validity(fields: &Fields<'_>) -> Result<(Wall, Wall), CertFault> {
    let not_before = wall(fields.not_before)?;
    let not_after = wall(fields.not_after)?;
    if not_before < not_after { Ok((not_before, not_after)) } else { Err(CertFault::ValidityReversed) }
}

/// UTCTime to the end of 2049, GeneralizedTime from 2050 on (RFC 5280, 4.1.2.5).
pub(super) fn wall(time: Time) -> Result<Wall, CertFault> {
    const YEAR_2050: u64 = 2_524_608_000;
    let secs = u64::try_from(time.timestamp).map_err(|_| CertFault::TimeForm)?;
    if time.generalized == (secs >= YEAR_2050) { Ok(Wall::from_secs(secs)) } else { Err(CertFault::TimeForm) }
}

fn lifetime(fields: &Fields<'_>) -> Result<(), CertFault> {
    let (not_before, not_after) = validity(fields)?;
    let lifetime = not_after.since(not_before);
    if lifetime <= LEAF_LIFETIME_MAX {
        return Ok(());
    }
    Err(CertFault::LifetimeTooLong { days: lifetime.as_secs().div_ceil(86_400) })
}

/// Exactly one common name, of the form that names have here.
fn common_name(fields: &Fields<'_>) -> Result<Name, CertFault> {
    let mut names = fields.subject.iter_attributes().filter(|a| *a.attr_type() == OID_X509_COMMON_NAME);
    let name = names.next().ok_or(CertFault::NoCommonName)?;
    if names.next().is_some() {
        return Err(CertFault::ManyCommonNames);
    }
    let tag = name.attr_value().header.tag().0;
    if tag != u32::from(der::UTF8_STRING) && tag != u32::from(der::PRINTABLE_STRING) {
        return Err(CertFault::CommonNameType);
    }
    let text = name.as_str().map_err(|_| CertFault::CommonNameType)?;
    Name::parse(text).map_err(CertFault::BadCommonName)
}

fn public_key(fields: &Fields<'_>) -> Result<PublicKey, CertFault> {
    key_from_spki(fields.raw.key)
}

/// Reads a key whose size is judged before anything is computed with it.
pub(super) fn key_from_spki(spki: &[u8]) -> Result<PublicKey, CertFault> {
    let (modulus, exponent) = rsa_numbers(spki).map_err(|_| CertFault::KeyForm)?;
    let bits = match modulus.iter().position(|b| *b != 0) {
        Some(zeros) => (modulus.len() - zeros) * 8 - modulus[zeros].leading_zeros() as usize,
        None => 0,
    };
    if !(RSA_BITS_MIN..=RSA_BITS_MAX).contains(&bits) {
        return Err(CertFault::KeySize { bits });
    }
    if exponent != [0x01, 0x00, 0x01] {
        return Err(CertFault::KeyExponent);
    }
    let key = PublicKey::from_spki_der(spki).map_err(|_| CertFault::KeyForm)?;
    // One encoding only, for the fingerprint is over it.
    if key.to_spki_der() == spki { Ok(key) } else { Err(CertFault::KeyForm) }
}

/// Modulus and exponent of a SubjectPublicKeyInfo (RFC 8017, appendix A.1.1).
fn rsa_numbers(spki: &[u8]) -> Result<(&[u8], &[u8]), der::Fault> {
    const FORM: der::Fault = "is not an RSA key";
    let mut info = Reader::new(spki).expect(der::SEQUENCE, FORM)?.inside();
    if info.expect(der::SEQUENCE, FORM)?.raw != RSA_ENCRYPTION {
        return Err(FORM);
    }
    let bits = info.expect(der::BIT_STRING, FORM)?;
    let key = der::whole(signature_bytes(bits.content)?)?;
    let mut numbers = key.inside();
    let modulus = numbers.expect(der::INTEGER, FORM)?.content;
    let exponent = numbers.expect(der::INTEGER, FORM)?.content;
    numbers.end(FORM)?;
    // A negative modulus, or an even one, is none.
    if modulus[0] & 0x80 != 0 || modulus.last().is_none_or(|b| b & 1 == 0) {
        return Err(FORM);
    }
    Ok((modulus, exponent))
}

fn extensions_once(fields: &Fields<'_>) -> Result<(), CertFault> {
    let all = &fields.extensions;
    let twice = all.iter().enumerate().find(|(i, e)| all[..*i].iter().any(|before| before.oid == e.oid));
    twice.map_or(Ok(()), |(_, e)| Err(CertFault::DuplicateExtension(e.oid.clone())))
}

fn no_name_constraints(fields: &Fields<'_>) -> Result<(), CertFault> {
    if fields.extension(NAME_CONSTRAINTS).is_some() { Err(CertFault::NameConstraints) } else { Ok(()) }
}

fn critical_known(fields: &Fields<'_>) -> Result<(), CertFault> {
    for extension in fields.extensions.iter().filter(|e| e.critical) {
        match extension.oid.as_str() {
            BASIC_CONSTRAINTS | KEY_USAGE => {}
            // RFC 5280, 4.2.1.1 and 4.2.1.2: never critical.
            AUTHORITY_KEY_ID => return Err(CertFault::Criticality("authority key identifier")),
            SUBJECT_KEY_ID => return Err(CertFault::Criticality("subject key identifier")),
            // 4.2.1.6: not beside a subject, which is never empty here.
            ALTERNATIVE_NAME => return Err(CertFault::Criticality("alternative names")),
            // 4.2.1.12 leaves it open, CA/Browser Forum BR 7.1.2.7.6 does not.
            EXTENDED_KEY_USAGE => return Err(CertFault::Criticality("extended key usage")),
            unknown => return Err(CertFault::UnknownCritical(unknown.to_owned())),
        }
    }
    Ok(())
}

/// CA:FALSE, which in DER is an empty sequence, for FALSE is the default.
fn leaf_constraints(fields: &Fields<'_>) -> Result<(), CertFault> {
    let constraints = fields.extension(BASIC_CONSTRAINTS).ok_or(CertFault::NoBasicConstraints)?;
    if constraints.value == [0x30, 0x00] { Ok(()) } else { Err(CertFault::IsCa) }
}

/// Critical and CA:TRUE; a path length may be there, and cannot matter with leaves below only.
fn ca_constraints(fields: &Fields<'_>) -> Result<(), CertFault> {
    let constraints = fields.extension(BASIC_CONSTRAINTS).ok_or(CertFault::NoBasicConstraints)?;
    if !constraints.critical {
        return Err(CertFault::Criticality("basic constraints"));
    }
    let is_ca = || {
        let mut inside = der::whole(constraints.value)?.inside();
        let ca = inside.expect(der::BOOLEAN, "is not a CA")?;
        inside.optional(der::INTEGER)?;
        inside.end("has more than a path length")?;
        Ok::<bool, der::Fault>(ca.content == [0xff])
    };
    if is_ca() == Ok(true) { Ok(()) } else { Err(CertFault::NotCa) }
}

fn leaf_usage(fields: &Fields<'_>) -> Result<(), CertFault> {
    let usage = key_usage(fields)?;
    if usage & DIGITAL_SIGNATURE == 0 {
        return Err(CertFault::KeyUsageMissing);
    }
    if usage & (KEY_CERT_SIGN | CRL_SIGN) != 0 { Err(CertFault::KeyUsageOfCa) } else { Ok(()) }
}

fn ca_usage(fields: &Fields<'_>) -> Result<(), CertFault> {
    if fields.extension(EXTENDED_KEY_USAGE).is_some() {
        return Err(CertFault::WrongUsage);
    }
    let both = KEY_CERT_SIGN | CRL_SIGN;
    if key_usage(fields)? & both == both { Ok(()) } else { Err(CertFault::KeyUsageMissing) }
}

/// The first byte of the named bits; the ninth, decipherOnly, stands for nothing here.
fn key_usage(fields: &Fields<'_>) -> Result<u8, CertFault> {
    let usage = fields.extension(KEY_USAGE).ok_or(CertFault::NoKeyUsage)?;
    match der::whole(usage.value) {
        // Named bits are written without zeros at their end (X.690, 11.2.2).
        Ok(bits) if bits.tag == der::BIT_STRING => match *bits.content {
            [unused, first] if first != 0 && first.trailing_zeros() == u32::from(unused) => Ok(first),
            [7, first, 0x80] => Ok(first),
            _ => Err(CertFault::NoKeyUsage),
        },
        _ => Err(CertFault::NoKeyUsage),
    }
}

/// Exactly the purpose of the role: no certificate serves for both.
fn role_usage(leaf: &Leaf<'_>) -> Result<(), CertFault> {
    let usage = leaf.fields.extension(EXTENDED_KEY_USAGE).ok_or(CertFault::WrongUsage)?;
    if usage.value == purpose(leaf.role) {
        return Ok(());
    }
    if usage.value == purpose(leaf.role.other()) {
        return Err(CertFault::WrongRole { expected: leaf.role });
    }
    Err(CertFault::WrongUsage)
}

fn authority_key(leaf: &Leaf<'_>) -> Result<(), CertFault> {
    let named = leaf.fields.extension(AUTHORITY_KEY_ID).ok_or(CertFault::NoAuthorityKey)?;
    if names_authority_key(named.value, &leaf.authority.key_id) {
        Ok(())
    } else {
        Err(CertFault::WrongAuthorityKey)
    }
}

/// Whether an AuthorityKeyIdentifier is this key's identifier and nothing besides.
pub(super) fn names_authority_key(value: &[u8], key_id: &[u8]) -> bool {
    let read = || {
        let mut inside = der::whole(value)?.inside();
        let named = inside.expect(CONTEXT_0_PRIMITIVE, "names no key")?;
        inside.end("names more than a key")?;
        Ok::<&[u8], der::Fault>(named.content)
    };
    read() == Ok(key_id)
}

fn subject_key<'a>(fields: &Fields<'a>) -> Result<Option<&'a [u8]>, CertFault> {
    let Some(extension) = fields.extension(SUBJECT_KEY_ID) else { return Ok(None) };
    match der::whole(extension.value) {
        // 64 bytes are the longest hash that anybody puts there.
        Ok(id) if id.tag == der::OCTET_STRING && (1..=64).contains(&id.content.len()) => Ok(Some(id.content)),
        _ => Err(CertFault::SubjectKeyForm),
    }
}

fn ca_key_ids(fields: &Fields<'_>) -> Result<(), CertFault> {
    let own = subject_key(fields)?.ok_or(CertFault::NoSubjectKey)?;
    match fields.extension(AUTHORITY_KEY_ID) {
        Some(named) if !names_authority_key(named.value, own) => Err(CertFault::WrongAuthorityKey),
        _ => Ok(()),
    }
}

/// DNS names without wildcards, and addresses; a broker has at least one.
fn host_names(leaf: &Leaf<'_>) -> Result<Vec<Host>, CertFault> {
    let Some(extension) = leaf.fields.extension(ALTERNATIVE_NAME) else {
        return if leaf.role == Role::Broker { Err(CertFault::NoHostName) } else { Ok(Vec::new()) };
    };
    der::whole(extension.value).map_err(|_| CertFault::BadHostName)?;
    let (_, names) = SubjectAlternativeName::from_der(extension.value).map_err(|_| CertFault::BadHostName)?;
    let hosts: Option<Vec<Host>> = names.general_names.iter().map(host).collect();
    hosts.filter(|hosts| !hosts.is_empty()).ok_or(CertFault::BadHostName)
}

fn host(name: &GeneralName<'_>) -> Option<Host> {
    match name {
        GeneralName::DNSName(text) => Host::parse(text).filter(|host| matches!(host, Host::Dns(_))),
        GeneralName::IPAddress(bytes) => {
            let v4 = <[u8; 4]>::try_from(*bytes).map(IpAddr::from);
            let v6 = <[u8; 16]>::try_from(*bytes).map(IpAddr::from);
            v4.or(v6).ok().map(Host::Address)
        }
        _ => None,
    }
}

fn signature(fields: &Fields<'_>, key: &PublicKey) -> Result<(), CertFault> {
    if signature_is_good(fields.raw.signed, fields.raw.signature, key) {
        Ok(())
    } else {
        Err(CertFault::BadSignature)
    }
}

/// RSASSA-PKCS1-v1_5 with SHA-256 (RFC 8017, 8.2.2).
pub(super) fn signature_is_good(signed: &[u8], signature: &[u8], key: &PublicKey) -> bool {
    if signature.len() > RSA_BYTES_MAX {
        return false;
    }
    let verifying = VerifyingKey::<Sha256>::new(key.rsa().clone());
    Signature::try_from(signature).is_ok_and(|signature| verifying.verify(signed, &signature).is_ok())
}

/// ExtKeyUsageSyntax with the one purpose of the role: id-kp-clientAuth or id-kp-serverAuth.
fn purpose(role: Role) -> &'static [u8] {
    match role {
        Role::Broker => &[0x30, 0x0a, 0x06, 0x08, 0x2b, 6, 1, 5, 5, 7, 3, 1],
        Role::Client => &[0x30, 0x0a, 0x06, 0x08, 0x2b, 6, 1, 5, 5, 7, 3, 2],
    }
}

pub(super) const AUTHORITY_KEY_ID: &str = "2.5.29.35";
const BASIC_CONSTRAINTS: &str = "2.5.29.19";
const KEY_USAGE: &str = "2.5.29.15";
const EXTENDED_KEY_USAGE: &str = "2.5.29.37";
const ALTERNATIVE_NAME: &str = "2.5.29.17";
const SUBJECT_KEY_ID: &str = "2.5.29.14";
const NAME_CONSTRAINTS: &str = "2.5.29.30";

/// Key usage, named bits from the top (RFC 5280, 4.2.1.3).
const DIGITAL_SIGNATURE: u8 = 0x80;
const KEY_CERT_SIGN: u8 = 0x04;
const CRL_SIGN: u8 = 0x02;

/// keyIdentifier of an AuthorityKeyIdentifier.
const CONTEXT_0_PRIMITIVE: u8 = 0x80;
/// `[0] { INTEGER 2 }`.
const VERSION_3: &[u8] = &[0xa0, 0x03, 0x02, 0x01, 0x02];
/// sha256WithRSAEncryption, parameters NULL (RFC 4055, section 5).
pub(super) const SHA256_WITH_RSA: &[u8] =
    &[0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 0x0b, 0x05, 0x00];
/// rsaEncryption, parameters NULL (RFC 3279, 2.3.1).
const RSA_ENCRYPTION: &[u8] =
    &[0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 0x01, 0x05, 0x00];
