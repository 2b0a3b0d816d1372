//! `sealmq keygen`: a key that never leaves its host, and the request for its certificate.

use clap::Args;

use super::ca::{check_name, new_key, parse_bits};
use super::error::CliError;
use super::home::Home;
use super::keyfiles;
use super::system::SystemEntropy;
use crate::base::names::Name;
use crate::crypto::cert::{csr, pem};

/// Make a key on this host and a request for its certificate: keys/NAME.key, NAME.csr
///
/// Only the request goes to the CA, where `sealmq ca sign NAME.csr` certifies it.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  sealmq keygen alice")]
pub struct Keygen {
    /// Who one will be: letters, digits, . _ -
    name: Name,
    /// Size of the RSA key
    #[arg(long, value_name = "BITS", default_value_t = 2048, value_parser = parse_bits)]
    bits: usize,
}

impl Keygen {
    /// Does it; returns what to tell. A key that is there already is kept, and asked for again.
    pub fn run(self, home: &Home) -> Result<String, CliError> {
        check_name(&self.name)?;
        keyfiles::make_folder(&home.keys(), true)?;
        keyfiles::make_folder(&home.certs(), false)?;
        let path = home.key(&self.name);
        let kept = path.exists();
        let key = if kept { keyfiles::read_private_key(&path)? } else { new_key(self.bits)? };
        if !kept {
            keyfiles::write_private_key(&path, &key)?;
        }
        let made = csr::make(&key, &self.name, &mut SystemEntropy);
        let request = made.map_err(|e| CliError::other(e.to_string()))?;
        let request_path = home.request(&self.name);
        keyfiles::write_public(&request_path, &pem::request_to_pem(&request))?;
        Ok(format!(
            "{name}\n  fingerprint  {}\n{} {}\nwrote {}\n\
             next: take {name}.csr to the CA's host, there: sealmq ca sign {name}.csr\n\
             \x20     bring certs/{name}.crt and certs/ca.crt back into {}\n",
            key.public().fingerprint(),
            if kept { "kept, as it was," } else { "wrote (private, stays on this host)" },
            path.display(),
            request_path.display(),
            home.certs().display(),
            name = self.name,
        ))
    }
}
