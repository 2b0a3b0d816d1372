//! The text form of certificates, requests and revocation lists (RFC 7468).

use x509_cert::der::pem::{LineEnding, decode_vec, encode_string};

use super::{CertFault, CrlFault};

const CERTIFICATE: &str = "CERTIFICATE";
const REQUEST: &str = "CERTIFICATE REQUEST";
const CRL: &str = "X509 CRL";

pub fn certificate_to_pem(der: &[u8]) -> String {
    encode(CERTIFICATE, der)
}

/// The one certificate in `text`.
pub fn certificate_from_pem(text: &str) -> Result<Vec<u8>, CertFault> {
    decode(CERTIFICATE, text).ok_or(CertFault::Malformed("is not one CERTIFICATE block of PEM"))
}

pub fn request_to_pem(der: &[u8]) -> String {
    encode(REQUEST, der)
}

/// The one certificate request in `text`.
pub fn request_from_pem(text: &str) -> Option<Vec<u8>> {
    decode(REQUEST, text)
}

pub fn crl_to_pem(der: &[u8]) -> String {
    encode(CRL, der)
}

/// The one revocation list in `text`.
pub fn crl_from_pem(text: &str) -> Result<Vec<u8>, CrlFault> {
    decode(CRL, text).ok_or(CrlFault::Malformed("is not one X509 CRL block of PEM"))
}

fn encode(label: &str, der: &[u8]) -> String {
    encode_string(label, LineEnding::LF, der).expect("what fits in memory fits in PEM")
}

/// One block under the label, and nothing but whitespace around it.
fn decode(label: &str, text: &str) -> Option<Vec<u8>> {
    let (found, der) = decode_vec(text.trim().as_bytes()).ok()?;
    (found == label).then_some(der)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_block_and_nothing_else() {
        let pem = certificate_to_pem(&[0x30, 0x00]);
        assert_eq!(certificate_from_pem(&pem), Ok(vec![0x30, 0x00]));
        assert_eq!(certificate_from_pem(&pem.replace('\n', "\r\n")), Ok(vec![0x30, 0x00]));
        for bad in ["", "MAA=", &format!("{pem}{pem}"), &crl_to_pem(&[0x30, 0x00]), &pem[..40]] {
            assert!(certificate_from_pem(bad).is_err(), "{bad:?}");
        }
    }
}
