//! `sealmq ca init`.

use clap::Args;

use super::index::Index;
use super::office::{Lock, Office, date, issue_error, shown};
use crate::base::limits::{RSA_BITS_MAX, RSA_BITS_MIN};
use crate::base::names::Name;
use crate::cli::error::CliError;
use crate::cli::home::Home;
use crate::cli::keyfiles;
use crate::cli::system::{SystemEntropy, now};
use crate::crypto::cert::issue::{CA_DAYS, CA_DAYS_MAX, make_ca};
use crate::crypto::cert::{Trust, pem};
use crate::crypto::key::PrivateKey;

/// Make a CA: keys/ca.key, certs/ca.crt and an empty revocation list
///
/// Whoever holds keys/ca.key can invent members. It is needed to issue and to revoke, never
/// to run the broker: keep it on another machine than the broker's.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  sealmq ca init --home ~/sealmq-ca")]
pub struct Init {
    /// The CA's name, for people
    #[arg(long, value_name = "NAME", default_value = "sealmq-ca")]
    name: Name,
    /// Days until it ends
    #[arg(long, value_name = "N", default_value_t = CA_DAYS, value_parser = clap::value_parser!(u32).range(1..=i64::from(CA_DAYS_MAX)))]
    days: u32,
    /// Size of the RSA key
    // Ten years reach beyond 2030, until when NIST SP 800-57 takes 2048 bits for enough.
    #[arg(long, value_name = "BITS", default_value_t = 3072, value_parser = parse_bits)]
    bits: usize,
}

impl Init {
    pub(super) fn run(self, home: &Home) -> Result<String, CliError> {
        keyfiles::make_folder(&home.keys(), true)?;
        keyfiles::make_folder(&home.certs(), false)?;
        let lock = Lock::take(home)?;
        for path in [home.ca_certificate(), home.issued()] {
            if path.exists() {
                let problem = format!("there is a CA already: {}", shown(&path));
                return Err(CliError::other(problem)
                    .remedy("see what it has issued: sealmq ca list\nfor another CA choose another folder: --home DIR"));
            }
        }
        let key = self.key(home)?;
        let made = make_ca(&key, &self.name, now(), self.days, &mut SystemEntropy);
        let der = made.map_err(|e| issue_error(&e))?;
        Index::new(home.issued()).write()?;
        keyfiles::write_public(&home.ca_certificate(), &pem::certificate_to_pem(&der))?;
        drop(lock);
        Office::open(home)?.write_crl()?;
        self.report(home, &der)
    }

    /// A new key; or the one that an interrupted `ca init` left.
    fn key(&self, home: &Home) -> Result<PrivateKey, CliError> {
        if home.ca_key().exists() {
            return keyfiles::read_private_key(&home.ca_key());
        }
        let key = new_key(self.bits)?;
        keyfiles::write_private_key(&home.ca_key(), &key)?;
        Ok(key)
    }

    fn report(&self, home: &Home, der: &[u8]) -> Result<String, CliError> {
        let ca = Trust::from_der(der).map_err(|fault| CliError::other(fault.to_string()))?;
        Ok(format!(
            "{} is a new CA\n  fingerprint  {}\n  valid until  {}\n\
             wrote {} (private: who has it can invent members; keep it off the broker's host)\n\
             wrote {} (everybody needs it)\n\
             wrote {} (who is revoked: nobody yet)\n\
             keep {} too: without it, what was issued cannot be revoked\n\
             next: sealmq ca issue --broker NAME, then sealmq ca issue NAME for each client\n",
            self.name,
            ca.ca_fingerprint(),
            date(ca.ca_not_after()),
            shown(&home.ca_key()),
            shown(&home.ca_certificate()),
            shown(&home.crl()),
            shown(&home.issued()),
        ))
    }
}

/// A new RSA key of the size that was asked for.
pub(in crate::cli) fn new_key(bits: usize) -> Result<PrivateKey, CliError> {
    PrivateKey::generate(bits, &mut SystemEntropy)
        .map_err(|fault| CliError::other(format!("the key {fault}")))
}

pub(in crate::cli) fn parse_bits(text: &str) -> Result<usize, String> {
    let bits = text.parse().ok().filter(|bits| (RSA_BITS_MIN..=RSA_BITS_MAX).contains(bits));
    bits.ok_or_else(|| format!("a key has {RSA_BITS_MIN} to {RSA_BITS_MAX} bits"))
}
