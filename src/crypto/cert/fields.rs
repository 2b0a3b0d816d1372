//! A certificate taken apart: the fields of RFC 5280, 4.1, not yet judged.

use x509_parser::certificate::X509CertificateParser;
use x509_parser::extensions::X509ExtensionParser;
use x509_parser::nom::Parser;
use x509_parser::x509::X509Name;

use super::CertFault;
use super::der::{self, Reader};
use crate::base::limits::CERT_BYTES_MAX;

/// The fields of a certificate that is DER and laid out as it should be.
pub(super) struct Fields<'a> {
    pub raw: Layout<'a>,
    pub subject: X509Name<'a>,
    pub not_before: Time,
    pub not_after: Time,
    pub extensions: Vec<Extension<'a>>,
}

/// The elements of a certificate, as they came.
pub(super) struct Layout<'a> {
    /// What the signature is over.
    pub signed: &'a [u8],
    /// `[0]` with the version in it; a certificate of version 1 has none.
    pub version: Option<&'a [u8]>,
    /// The INTEGER's content.
    pub serial: &'a [u8],
    pub inner_algorithm: &'a [u8],
    pub issuer: &'a [u8],
    pub subject: &'a [u8],
    pub key: &'a [u8],
    pub has_unique_id: bool,
    pub outer_algorithm: &'a [u8],
    pub signature: &'a [u8],
}

/// A time as it was written.
#[derive(Clone, Copy)]
pub(super) struct Time {
    /// Seconds since 1970, leap seconds ignored.
    pub timestamp: i64,
    pub generalized: bool,
}

pub(super) struct Extension<'a> {
    /// In dotted decimal.
    pub oid: String,
    pub critical: bool,
    /// The OCTET STRING's content.
    pub value: &'a [u8],
}

impl<'a> Fields<'a> {
    /// Takes a certificate apart. Everything is bounded by the input's 4,096 bytes.
    pub fn read(der: &'a [u8]) -> Result<Fields<'a>, CertFault> {
        if der.len() > CERT_BYTES_MAX {
            return Err(CertFault::TooLarge);
        }
        let certificate = der::whole(der).map_err(|fault| match fault {
            der::TRAILING => CertFault::TrailingBytes,
            fault => CertFault::Malformed(fault),
        })?;
        let raw = layout(certificate).map_err(CertFault::Malformed)?;
        // The library reads what has an inner form: names, times and extensions.
        let mut parser = X509CertificateParser::new().with_deep_parse_extensions(false);
        let (_, read) =
            parser.parse(der).map_err(|_| CertFault::Malformed("cannot be read as an X.509 certificate"))?;
        let tbs = read.tbs_certificate;
        Ok(Fields {
            raw,
            not_before: Time::from(tbs.validity.not_before),
            not_after: Time::from(tbs.validity.not_after),
            extensions: tbs.extensions().iter().map(Extension::from).collect(),
            subject: tbs.subject,
        })
    }

    /// The extension with this identifier; that there is one only is a rule of the profile.
    pub fn extension(&self, oid: &str) -> Option<&Extension<'a>> {
        self.extensions.iter().find(|e| e.oid == oid)
    }
}

impl From<x509_parser::time::ASN1Time> for Time {
    fn from(time: x509_parser::time::ASN1Time) -> Time {
        Time { timestamp: time.timestamp(), generalized: time.is_generalizedtime() }
    }
}

impl<'a> From<&x509_parser::extensions::X509Extension<'a>> for Extension<'a> {
    fn from(extension: &x509_parser::extensions::X509Extension<'a>) -> Extension<'a> {
        Extension { oid: extension.oid.to_id_string(), critical: extension.critical, value: extension.value }
    }
}

/// Every element in its place, none missing and none besides.
fn layout(certificate: der::Element<'_>) -> Result<Layout<'_>, der::Fault> {
    const OUTER: der::Fault = "is not a signed certificate";
    const INNER: der::Fault = "is not laid out as a certificate";
    if certificate.tag != der::SEQUENCE {
        return Err(OUTER);
    }
    let mut outer = certificate.inside();
    let signed = outer.expect(der::SEQUENCE, OUTER)?;
    let outer_algorithm = outer.expect(der::SEQUENCE, OUTER)?.raw;
    let signature = signature_bytes(outer.expect(der::BIT_STRING, OUTER)?.content)?;
    outer.end("has something behind its signature")?;

    let mut tbs = signed.inside();
    let version = tbs.optional(der::CONTEXT_0)?.map(|e| e.raw);
    let serial = tbs.expect(der::INTEGER, INNER)?.content;
    let inner_algorithm = tbs.expect(der::SEQUENCE, INNER)?.raw;
    let issuer = tbs.expect(der::SEQUENCE, INNER)?.raw;
    two_times(tbs.expect(der::SEQUENCE, INNER)?.inside())?;
    let subject = tbs.expect(der::SEQUENCE, INNER)?.raw;
    let key = tbs.expect(der::SEQUENCE, INNER)?.raw;
    let issuer_id = tbs.optional(der::CONTEXT_1_PRIMITIVE)?;
    let subject_id = tbs.optional(der::CONTEXT_2_PRIMITIVE)?;
    if let Some(extensions) = tbs.optional(der::CONTEXT_3)? {
        let mut inside = extensions.inside();
        extension_list(inside.expect(der::SEQUENCE, INNER)?.inside())?;
        inside.end(INNER)?;
    }
    tbs.end("has something behind its extensions")?;

    Ok(Layout {
        signed: signed.raw,
        version,
        serial,
        inner_algorithm,
        issuer,
        subject,
        key,
        has_unique_id: issuer_id.is_some() || subject_id.is_some(),
        outer_algorithm,
        signature,
    })
}

/// A BIT STRING of whole bytes.
pub(super) fn signature_bytes(content: &[u8]) -> Result<&[u8], der::Fault> {
    match content {
        [0, bytes @ ..] => Ok(bytes),
        _ => Err("has a signature that is not of whole bytes"),
    }
}

fn two_times(mut validity: Reader<'_>) -> Result<(), der::Fault> {
    const FORM: der::Fault = "has a validity that is not two times";
    for _ in 0..2 {
        if !matches!(validity.next()?.tag, der::UTC_TIME | der::GENERALIZED_TIME) {
            return Err(FORM);
        }
    }
    validity.end(FORM)
}

/// Each extension: identifier, TRUE if critical, value, and nothing else.
fn extension_list(mut list: Reader<'_>) -> Result<(), der::Fault> {
    const FORM: der::Fault = "has a malformed extension";
    if list.is_empty() {
        return Err("has an empty list of extensions");
    }
    while !list.is_empty() {
        let mut extension = list.expect(der::SEQUENCE, FORM)?.inside();
        extension.expect(der::OID, FORM)?;
        // FALSE is the default, which DER does not write (X.690, 11.5).
        if extension.optional(der::BOOLEAN)?.is_some_and(|critical| critical.content != [0xff]) {
            return Err("has an extension that spells out its default");
        }
        extension.expect(der::OCTET_STRING, FORM)?;
        extension.end(FORM)?;
    }
    Ok(())
}

/// The extensions in a SEQUENCE of them.
pub(super) fn extensions(list: der::Element<'_>) -> Result<Vec<Extension<'_>>, der::Fault> {
    extension_list(list.inside())?;
    let mut reader = list.inside();
    let mut all = Vec::new();
    while !reader.is_empty() {
        let mut parser = X509ExtensionParser::new().with_deep_parse_extensions(false);
        let (_, read) = parser.parse(reader.next()?.raw).map_err(|_| "has a malformed extension")?;
        all.push(Extension::from(&read));
    }
    Ok(all)
}
