//! `sealmq ca revoke` and `crl`: who no longer belongs.

use clap::Args;

use super::issue::parse_fingerprint;
use super::office::{Office, date, shown};
use crate::base::ids::Fingerprint;
use crate::base::names::Name;
use crate::cli::error::CliError;
use crate::cli::home::Home;

/// Take a name's key out of circulation: writes certs/ca.crl
///
/// The list names every unexpired certificate of that key. The broker takes a new list within
/// five seconds and ends the sessions of whoever is on it.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  sealmq ca revoke alice")]
pub struct Revoke {
    /// Whose key
    name: Name,
    /// Which of several keys of that name
    #[arg(long, value_name = "HEX", value_parser = parse_fingerprint)]
    fingerprint: Option<Fingerprint>,
}

/// Write the revocation list anew, before its date of renewal passes
#[derive(Debug, Args)]
pub struct Crl {}

impl Revoke {
    pub(super) fn run(self, home: &Home) -> Result<String, CliError> {
        let mut office = Office::open(home)?;
        let mut report = match office.one_key(&self.name, self.fingerprint) {
            Ok(key) => {
                let count = office.index.revoke(key, office.now);
                let certificates = if count == 1 { "certificate" } else { "certificates" };
                format!("{} is revoked, with {count} {certificates}\n  fingerprint  {key}\n", self.name)
            }
            // An earlier command may have been cut off before it wrote the list.
            Err(error) => match self.revoked_before(&office) {
                Some(key) => format!("{} was revoked before\n  fingerprint  {key}\n", self.name),
                None => return Err(error),
            },
        };
        office.write_crl()?;
        report += &describe(&office);
        Ok(report)
    }

    fn revoked_before(&self, office: &Office) -> Option<Fingerprint> {
        let mut revoked = office.index.of_name(&self.name).filter(|row| row.revoked.is_some());
        revoked.find(|row| self.fingerprint.is_none_or(|f| f == row.fingerprint)).map(|row| row.fingerprint)
    }
}

impl Crl {
    pub(super) fn run(self, home: &Home) -> Result<String, CliError> {
        let mut office = Office::open(home)?;
        office.write_crl()?;
        Ok(describe(&office))
    }
}

fn describe(office: &Office) -> String {
    let count = office.index.revocations(office.now).len();
    let certificates = if count == 1 { "certificate" } else { "certificates" };
    format!(
        "wrote {}: list number {}, {count} {certificates}, to be renewed by {}\n\
         next: copy it to the broker's certs folder; the broker takes it within 5 seconds\n",
        shown(&office.home.crl()),
        office.index.crl_number,
        date(office.index.crl_next_update),
    )
}
