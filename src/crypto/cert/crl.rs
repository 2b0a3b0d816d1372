//! Revocation lists (RFC 5280, section 5): read strictly, and made.

use std::sync::Arc;

use x509_cert::certificate::Version;
use x509_cert::crl::{CertificateList, RevokedCert, TbsCertList};
use x509_cert::der::asn1::Uint;
use x509_cert::der::{Decode, Encode};
use x509_cert::ext::pkix::CrlNumber;
use x509_cert::serial_number::SerialNumber;
use x509_cert::spki::AlgorithmIdentifierOwned;
use x509_parser::prelude::FromDer;
use x509_parser::time::ASN1Time;

use super::der::{self, Element, Reader};
use super::fields::{Extension, Time, extensions, signature_bytes};
use super::issue::{IssueError, Issuer, extension, library, time};
use super::profile::{self, Authority};
use super::{CrlFault, Serial};
use crate::base::limits::{CLOCK_SKEW, CRL_BYTES_MAX};
use crate::base::{Entropy, Wall};

/// A revocation list of the CA that it was held against.
pub(super) struct Crl {
    der: Arc<[u8]>,
    number: u64,
    next_update: Wall,
    /// In ascending order.
    serials: Box<[Serial]>,
}

/// A certificate that is no longer to be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Revocation {
    pub serial: Serial,
    pub at: Wall,
}

/// The elements of a list, as they came.
struct Layout<'a> {
    signed: &'a [u8],
    version: Option<&'a [u8]>,
    inner_algorithm: &'a [u8],
    issuer: &'a [u8],
    this_update: Element<'a>,
    next_update: Option<Element<'a>>,
    entries: Option<Element<'a>>,
    extensions: Option<Element<'a>>,
    outer_algorithm: &'a [u8],
    signature: &'a [u8],
}

impl Crl {
    /// Reads a list and holds it against the CA that it should be of.
    pub fn read(der: &[u8], authority: &Authority, now: Wall) -> Result<Crl, CrlFault> {
        if der.len() > CRL_BYTES_MAX {
            return Err(CrlFault::TooLarge);
        }
        let list = der::whole(der).and_then(layout).map_err(CrlFault::Malformed)?;
        check_form(&list, authority)?;
        let number = check_extensions(&list, authority)?;
        // Before the entries, of which there may be many.
        if !profile::signature_is_good(list.signed, list.signature, &authority.key) {
            return Err(CrlFault::BadSignature);
        }
        let next_update = check_times(&list, now)?;
        let serials = serials(&list)?;
        Ok(Crl { der: der.into(), number, next_update, serials })
    }

    pub fn der(&self) -> &Arc<[u8]> {
        &self.der
    }

    pub fn number(&self) -> u64 {
        self.number
    }

    pub fn next_update(&self) -> Wall {
        self.next_update
    }

    pub fn contains(&self, serial: &Serial) -> bool {
        self.serials.binary_search(serial).is_ok()
    }
}

impl Issuer<'_> {
    /// Makes the list of all that is revoked. `number` must be above all before it.
    pub fn crl(
        &self,
        number: u64,
        revoked: &[Revocation],
        this_update: Wall,
        next_update: Wall,
        entropy: &mut dyn Entropy,
    ) -> Result<Vec<u8>, IssueError> {
        let algorithm = AlgorithmIdentifierOwned::from_der(profile::SHA256_WITH_RSA).map_err(library)?;
        let number = CrlNumber(Uint::new(&number.to_be_bytes()).map_err(library)?);
        let entries: Vec<RevokedCert> = revoked.iter().map(entry).collect::<Result<_, _>>()?;
        let list = TbsCertList {
            version: Version::V2,
            signature: algorithm.clone(),
            issuer: self.subject().clone(),
            this_update: time(this_update)?,
            next_update: Some(time(next_update)?),
            // An empty list is left out (RFC 5280, 5.1.2.6).
            revoked_certificates: (!entries.is_empty()).then_some(entries),
            crl_extensions: Some(vec![
                extension(&self.authority_key()?, self.subject())?,
                extension(&number, self.subject())?,
            ]),
        };
        let signature = self.sign(&list.to_der().map_err(library)?, entropy)?;
        let signed = CertificateList { tbs_cert_list: list, signature_algorithm: algorithm, signature };
        signed.to_der().map_err(library)
    }
}

fn entry(revocation: &Revocation) -> Result<RevokedCert, IssueError> {
    Ok(RevokedCert {
        serial_number: SerialNumber::new(revocation.serial.as_bytes()).map_err(library)?,
        revocation_date: time(revocation.at)?,
        crl_entry_extensions: None,
    })
}

fn layout(list: Element<'_>) -> Result<Layout<'_>, der::Fault> {
    const OUTER: der::Fault = "is not a signed list";
    const INNER: der::Fault = "is not laid out as a revocation list";
    if list.tag != der::SEQUENCE {
        return Err(OUTER);
    }
    let mut outer = list.inside();
    let signed = outer.expect(der::SEQUENCE, OUTER)?;
    let outer_algorithm = outer.expect(der::SEQUENCE, OUTER)?.raw;
    let signature = signature_bytes(outer.expect(der::BIT_STRING, OUTER)?.content)?;
    outer.end("has something behind its signature")?;

    let mut tbs = signed.inside();
    let layout = Layout {
        signed: signed.raw,
        version: tbs.optional(der::INTEGER)?.map(|e| e.content),
        inner_algorithm: tbs.expect(der::SEQUENCE, INNER)?.raw,
        issuer: tbs.expect(der::SEQUENCE, INNER)?.raw,
        this_update: tbs.next()?,
        next_update: match tbs.optional(der::UTC_TIME)? {
            Some(time) => Some(time),
            None => tbs.optional(der::GENERALIZED_TIME)?,
        },
        entries: tbs.optional(der::SEQUENCE)?,
        extensions: tbs.optional(der::CONTEXT_0)?,
        outer_algorithm,
        signature,
    };
    tbs.end("has something behind its extensions")?;
    Ok(layout)
}

fn check_form(list: &Layout<'_>, authority: &Authority) -> Result<(), CrlFault> {
    // INTEGER 1 is version 2.
    if list.version != Some(&[1]) {
        return Err(CrlFault::Version);
    }
    if list.inner_algorithm != list.outer_algorithm {
        return Err(CrlFault::AlgorithmMismatch);
    }
    if list.inner_algorithm != profile::SHA256_WITH_RSA {
        return Err(CrlFault::SignatureAlgorithm);
    }
    if *list.issuer == *authority.subject { Ok(()) } else { Err(CrlFault::WrongCa) }
}

/// The CA's key named, a number, and nothing that narrows what the list is about. Returns
/// the number.
fn check_extensions(list: &Layout<'_>, authority: &Authority) -> Result<u64, CrlFault> {
    let mut inside = list.extensions.as_ref().map(Element::inside).ok_or(CrlFault::NoNumber)?;
    let all = extension_list(&mut inside)?;
    inside.end("has something behind its extensions").map_err(CrlFault::Malformed)?;
    for (i, extension) in all.iter().enumerate() {
        if all[..i].iter().any(|before| before.oid == extension.oid) {
            return Err(CrlFault::DuplicateExtension(extension.oid.clone()));
        }
        // Delta lists and lists of one distribution point are critical: they end here.
        if extension.critical {
            return Err(CrlFault::UnknownCritical(extension.oid.clone()));
        }
    }
    let find = |oid: &str| all.iter().find(|e| e.oid == oid).map(|e| e.value);
    let key = find(profile::AUTHORITY_KEY_ID).ok_or(CrlFault::WrongAuthorityKey)?;
    if !profile::names_authority_key(key, &authority.key_id) {
        return Err(CrlFault::WrongAuthorityKey);
    }
    find(CRL_NUMBER).and_then(read_number).ok_or(CrlFault::NoNumber)
}

fn extension_list<'a>(reader: &mut Reader<'a>) -> Result<Vec<Extension<'a>>, CrlFault> {
    reader.expect(der::SEQUENCE, "has malformed extensions").and_then(extensions).map_err(CrlFault::Malformed)
}

fn read_number(value: &[u8]) -> Option<u64> {
    let number = der::whole(value).ok().filter(|e| e.tag == der::INTEGER)?.content;
    let digits = if let [0, rest @ ..] = number { rest } else { number };
    let negative = number[0] & 0x80 != 0;
    (!negative && digits.len() <= 8).then(|| digits.iter().fold(0, |sum, d| sum << 8 | u64::from(*d)))
}

fn check_times(list: &Layout<'_>, now: Wall) -> Result<Wall, CrlFault> {
    let this_update = read_time(list.this_update)?;
    let next_update = list.next_update.map(read_time).transpose()?.ok_or(CrlFault::NoNextUpdate)?;
    if now + CLOCK_SKEW < this_update {
        return Err(CrlFault::NotYetValid { this_update });
    }
    if this_update < next_update { Ok(next_update) } else { Err(CrlFault::NoNextUpdate) }
}

fn read_time(element: Element<'_>) -> Result<Wall, CrlFault> {
    const FORM: CrlFault = CrlFault::Malformed("has a malformed time");
    let (_, time) = ASN1Time::from_der(element.raw).map_err(|_| FORM)?;
    profile::wall(Time::from(time)).map_err(|_| FORM)
}

fn serials(list: &Layout<'_>) -> Result<Box<[Serial]>, CrlFault> {
    let Some(entries) = list.entries else { return Ok(Box::new([])) };
    let mut entries = entries.inside();
    if entries.is_empty() {
        return Err(CrlFault::Malformed("has an empty list of entries, which would be left out"));
    }
    let mut serials = Vec::new();
    while !entries.is_empty() {
        let entry = entries.expect(der::SEQUENCE, MALFORMED_ENTRY).map_err(CrlFault::BadEntry)?;
        serials.push(entry_serial(entry.inside())?);
    }
    serials.sort_unstable();
    serials.dedup();
    Ok(serials.into_boxed_slice())
}

fn entry_serial(mut entry: Reader<'_>) -> Result<Serial, CrlFault> {
    let serial = entry.expect(der::INTEGER, MALFORMED_ENTRY).map_err(CrlFault::BadEntry)?;
    let serial = Serial::from_der_content(serial.content)
        .ok_or(CrlFault::BadEntry("has a serial number that no certificate can have"))?;
    read_time(entry.next().map_err(CrlFault::BadEntry)?)?;
    if !entry.is_empty() {
        for extension in extension_list(&mut entry)? {
            // removeFromCRL takes a certificate off the list: for delta lists only.
            let removes = extension.oid == REASON_CODE && extension.value == [0x0a, 0x01, 0x08];
            if removes || extension.critical {
                return Err(CrlFault::BadEntry("has an extension that changes its meaning"));
            }
        }
    }
    entry.end(MALFORMED_ENTRY).map_err(CrlFault::BadEntry)?;
    Ok(serial)
}

const MALFORMED_ENTRY: der::Fault = "is malformed";
const CRL_NUMBER: &str = "2.5.29.20";
const REASON_CODE: &str = "2.5.29.21";
