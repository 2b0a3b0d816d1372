//! Certificate requests (PKCS #10, RFC 2986): how a public key comes to the CA while the
//! private key stays where it was made.

use std::fmt;

use x509_cert::der::asn1::SetOfVec;
use x509_cert::der::{Decode, Encode};
use x509_cert::request::{CertReq, CertReqInfo};
use x509_cert::spki::{AlgorithmIdentifierOwned, SubjectPublicKeyInfoOwned};

use super::der::{self, Element};
use super::fields::signature_bytes;
use super::issue::{IssueError, library, sign, subject};
use super::{CertFault, profile};
use crate::base::Entropy;
use crate::base::names::Name;
use crate::crypto::key::{PrivateKey, PublicKey};

/// Twice what a request over an RSA-4096 key takes.
const REQUEST_BYTES_MAX: usize = 8192;

/// Why a certificate request was not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RequestFault {
    Malformed(&'static str),
    /// Signed in another way than sha256WithRSAEncryption.
    SignatureAlgorithm,
    /// Its key is none that a certificate may hold.
    Key(CertFault),
    /// Not signed by the key in it: whoever sent it may not have that key.
    BadSignature,
}

/// Makes a request for a certificate over the key's public half.
pub fn make(key: &PrivateKey, name: &Name, entropy: &mut dyn Entropy) -> Result<Vec<u8>, IssueError> {
    let public_key = SubjectPublicKeyInfoOwned::from_der(&key.public().to_spki_der()).map_err(library)?;
    let info = CertReqInfo {
        version: Default::default(),
        subject: subject(name)?,
        public_key,
        attributes: SetOfVec::new(),
    };
    let signature = sign(key, &info.to_der().map_err(library)?, entropy)?;
    let request = CertReq {
        info,
        algorithm: AlgorithmIdentifierOwned::from_der(profile::SHA256_WITH_RSA).map_err(library)?,
        signature,
    };
    request.to_der().map_err(library)
}

/// The public key of a request that its private key signed. Nothing else in it counts:
/// name and role are the CA's to say.
pub fn read(request: &[u8]) -> Result<PublicKey, RequestFault> {
    if request.len() > REQUEST_BYTES_MAX {
        return Err(RequestFault::Malformed("is too large"));
    }
    let request = der::whole(request).and_then(layout).map_err(RequestFault::Malformed)?;
    if request.algorithm != profile::SHA256_WITH_RSA {
        return Err(RequestFault::SignatureAlgorithm);
    }
    let key = profile::key_from_spki(request.key).map_err(RequestFault::Key)?;
    if profile::signature_is_good(request.signed, request.signature, &key) {
        Ok(key)
    } else {
        Err(RequestFault::BadSignature)
    }
}

struct Layout<'a> {
    signed: &'a [u8],
    key: &'a [u8],
    algorithm: &'a [u8],
    signature: &'a [u8],
}

fn layout(request: Element<'_>) -> Result<Layout<'_>, der::Fault> {
    const FORM: der::Fault = "is not laid out as a certificate request";
    if request.tag != der::SEQUENCE {
        return Err(FORM);
    }
    let mut outer = request.inside();
    let signed = outer.expect(der::SEQUENCE, FORM)?;
    let algorithm = outer.expect(der::SEQUENCE, FORM)?.raw;
    let signature = signature_bytes(outer.expect(der::BIT_STRING, FORM)?.content)?;
    outer.end(FORM)?;
    let mut info = signed.inside();
    info.expect(der::INTEGER, FORM)?;
    info.expect(der::SEQUENCE, FORM)?;
    let key = info.expect(der::SEQUENCE, FORM)?.raw;
    info.expect(der::CONTEXT_0, FORM)?;
    info.end(FORM)?;
    Ok(Layout { signed: signed.raw, key, algorithm, signature })
}

impl fmt::Display for RequestFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RequestFault::Malformed(how) => write!(f, "the request {how}"),
            RequestFault::SignatureAlgorithm => {
                write!(f, "the request is not signed with sha256WithRSAEncryption")
            }
            RequestFault::Key(fault) => {
                // The same words as for a certificate, about the request.
                let fault = fault.to_string();
                write!(f, "{}", fault.replacen("the certificate", "the request", 1))
            }
            RequestFault::BadSignature => {
                write!(f, "the request is not signed by the key that it is for")
            }
        }
    }
}

impl std::error::Error for RequestFault {}
