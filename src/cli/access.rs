//! Who one is and where the broker is: flags, the environment, `sealmq.toml`, the files of an identity.
//!
//! A flag goes before the environment, the environment before the file.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::args::{Access, Identity};
use super::error::{CliError, Exit};
use super::home::Home;
use super::keyfiles;
use super::output::note;
use super::state::State;
use super::surroundings::Surroundings;
use crate::base::Wall;
use crate::base::names::Name;
use crate::crypto::cert::{CertFault, Certificate, Role, Trust};
use crate::crypto::key::PrivateKey;
use crate::net::client::Address;

/// The broker's port, unless said otherwise.
pub const PORT: u16 = 7883;
const HOST: &str = "localhost";
const SETTINGS_FILE: &str = "sealmq.toml";

/// The home folder in use, its settings, and what the process was started into.
#[derive(Clone, Debug)]
pub struct Base {
    pub home: Home,
    settings: Settings,
    pub around: Surroundings,
}

/// `sealmq.toml`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    host: Option<String>,
    port: Option<u16>,
    #[serde(rename = "as")]
    as_name: Option<String>,
}

/// The files of an identity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdentityFiles {
    pub key: PathBuf,
    pub certificate: PathBuf,
    pub ca: PathBuf,
    /// The revocation list beside the CA's certificate; may be missing.
    pub crl: PathBuf,
}

/// An identity, read and found to be whole.
pub struct Me {
    pub certificate: Certificate,
    pub key: PrivateKey,
    pub trust: Trust,
    pub state: State,
}

impl Base {
    /// Finds the home and reads its settings. A folder that was named must be there; the
    /// default one need not be.
    pub fn find(named: Option<&Path>, around: Surroundings) -> Result<Base, CliError> {
        let home = Home::find(named)?;
        if named.is_some() && !home.dir().is_dir() {
            return Err(CliError::other(format!("the home folder {home} is not there"))
                .remedy("name the folder that holds keys/ and certs/; `sealmq ca init` makes a new one"));
        }
        let settings = read_settings(&home.dir().join(SETTINGS_FILE))?;
        Ok(Base { home, settings, around })
    }

    /// The identity's files: those that were named, or those of a name in this home.
    pub fn identity_files(&self, flags: &Identity) -> Result<IdentityFiles, CliError> {
        let ca = self.ca_file(flags);
        let crl = ca.with_extension("crl");
        let (key, certificate) = match (&flags.key, &flags.cert) {
            (Some(key), Some(certificate)) => (key.clone(), certificate.clone()),
            _ => {
                let name = match self.chosen_name(flags)? {
                    Some(name) => name,
                    None => self.only_client(&ca)?,
                };
                (self.home.key(&name), self.home.certificate(&name))
            }
        };
        Ok(IdentityFiles { key, certificate, ca, crl })
    }

    /// The CA's certificate file.
    pub fn ca_file(&self, flags: &Identity) -> PathBuf {
        flags.cafile.clone().unwrap_or_else(|| self.home.ca_certificate())
    }

    /// Reads the identity, and checks that its parts belong together and are in force.
    pub fn me(&self, flags: &Identity, now: Wall) -> Result<Me, CliError> {
        let files = self.identity_files(flags)?;
        let mut trust = keyfiles::read_ca(&files.ca)?;
        let der = keyfiles::read_certificate(&files.certificate)?;
        let certificate =
            trust.verify_historic(&der, Role::Client).map_err(|fault| bad_certificate(&files, &fault))?;
        let key = keyfiles::read_private_key(&files.key)?;
        if key.public().fingerprint() != certificate.fingerprint() {
            let (key, cert) = (files.key.display(), files.certificate.display());
            return Err(CliError::new(Exit::Refused, format!("{key} is not the key of {cert}"))
                .remedy("name the two files that belong together, or issue a certificate for this key"));
        }
        let state = State::open(&self.around, certificate.fingerprint())?;
        take_revocation_lists(&mut trust, &files.crl, &state, now)?;
        trust.judge(&certificate, now).map_err(|fault| bad_certificate(&files, &fault))?;
        Ok(Me { certificate, key, trust, state })
    }

    /// Where the broker is.
    pub fn address(&self, access: &Access) -> Result<Address, CliError> {
        let around = &self.around;
        let host = access.host.as_ref().or(around.sealmq_host.as_ref()).or(self.settings.host.as_ref());
        let port = match (access.port, &around.sealmq_port) {
            (Some(port), _) => port,
            (None, Some(text)) => text.parse().map_err(|_| {
                CliError::usage(format!("SEALMQ_PORT is {text:?}; expected a port, 1 to 65535"))
            })?,
            (None, None) => self.settings.port.unwrap_or(PORT),
        };
        Ok(Address { host: host.map_or(HOST, String::as_str).to_owned(), port })
    }

    fn chosen_name(&self, flags: &Identity) -> Result<Option<Name>, CliError> {
        if let Some(name) = &flags.as_name {
            return Ok(Some(name.clone()));
        }
        let file = self.home.dir().join(SETTINGS_FILE).display().to_string();
        let (text, by) = match (&self.around.sealmq_as, &self.settings.as_name) {
            (Some(text), _) => (text, "SEALMQ_AS"),
            (None, Some(text)) => (text, file.as_str()),
            (None, None) => return Ok(None),
        };
        let name = Name::parse(text);
        name.map(Some).map_err(|e| CliError::usage(format!("the name {text:?} ({by}) {e}")))
    }

    /// The one client in this home that has both key and certificate.
    fn only_client(&self, ca: &Path) -> Result<Name, CliError> {
        let names = self.names()?;
        let trust = keyfiles::read_ca(ca)?;
        let is_client = |name: &Name| {
            let der = keyfiles::read_certificate(&self.home.certificate(name));
            der.is_ok_and(|der| trust.verify_historic(&der, Role::Client).is_ok())
        };
        let with_key = names.into_iter().filter(|name| self.home.key(name).exists());
        let clients: Vec<Name> = with_key.filter(is_client).collect();
        match clients.as_slice() {
            [only] => Ok(only.clone()),
            [] => Err(self.nobody()),
            several => {
                let list: Vec<&str> = several.iter().map(Name::as_str).collect();
                Err(CliError::usage(format!("{} has several clients: {}", self.home, list.join(", ")))
                    .remedy("say which one you are: --as NAME, or SEALMQ_AS=NAME"))
            }
        }
    }

    fn nobody(&self) -> CliError {
        CliError::new(Exit::Refused, format!("there is no client's key and certificate in {}", self.home))
            .remedy("`sealmq ca issue NAME` makes them; --home DIR says where they are")
    }

    /// The names of all certificates in this home but the CA's, in order.
    fn names(&self) -> Result<Vec<Name>, CliError> {
        let folder = self.home.certs();
        let entries = match fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Err(self.nobody()),
            Err(e) => return Err(keyfiles::cannot("read", &folder, &e)),
        };
        let mut names: Vec<Name> = entries
            .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
            .filter_map(|file| Name::parse(file.strip_suffix(".crt")?).ok())
            .filter(|name| name.as_str() != "ca")
            .collect();
        names.sort();
        Ok(names)
    }
}

fn bad_certificate(files: &IdentityFiles, fault: &CertFault) -> CliError {
    let error = CliError::new(Exit::Refused, format!("{}: {fault}", files.certificate.display()));
    match fault {
        CertFault::Expired { .. } => error.remedy("on the CA's host: `sealmq ca renew NAME`; the key stays"),
        CertFault::NotYetValid { .. } | CertFault::CaNotYetValid { .. } => {
            error.remedy("is this host's clock right?")
        }
        CertFault::Revoked => {
            error.remedy("its key is not to be used again: `sealmq keygen NAME` begins anew")
        }
        CertFault::WrongRole { .. } => {
            error.remedy("a broker's certificate is not a client's: --as NAME says who you are")
        }
        CertFault::WrongCa | CertFault::WrongAuthorityKey | CertFault::BadSignature => {
            error.remedy(format!("it was issued by another CA than that of {}", files.ca.display()))
        }
        _ => error,
    }
}

/// Takes the revocation list beside the CA's certificate and the one that the broker gave
/// last, whichever is newer.
fn take_revocation_lists(trust: &mut Trust, file: &Path, state: &State, now: Wall) -> Result<(), CliError> {
    if let Some(der) = state.read(CRL_FILE)?
        && let Err(fault) = trust.update_crl(&der, now)
    {
        // Of another CA before, perhaps. The broker gives it again.
        note(&format!("{}: {fault}", state.path(CRL_FILE).display()));
    }
    let held = trust.crl_number();
    if let Some(der) = keyfiles::read_crl(file)?
        && let Err(fault) = trust.update_crl(&der, now)
        && held.is_none()
    {
        return Err(CliError::new(Exit::Refused, format!("{}: {fault}", file.display()))
            .remedy("bring a good one from the CA's host, or move this one away"));
    }
    if trust.crl_number().is_none() {
        note(&format!("there is no revocation list ({}): revoked peers are not recognised", file.display()));
    }
    Ok(())
}

fn read_settings(path: &Path) -> Result<Settings, CliError> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Settings::default()),
        Err(e) => return Err(keyfiles::cannot("read", path, &e)),
    };
    toml::from_str(&text).map_err(|e| {
        CliError::usage(format!("{} is not as it should be: {}", path.display(), e.to_string().trim_end()))
            .remedy("it may hold host = \"HOST\", port = PORT and as = \"NAME\"")
    })
}

/// The newest revocation list that a broker gave, in the state folder.
pub const CRL_FILE: &str = "ca.crl.der";

#[cfg(test)]
mod tests;
