//! The broker's files: the CA's certificate and revocation list, its own certificate and key,
//! the clients that it is to know.
//!
//! Loading never changes a file; [`remember_crl_number`] is the one that writes.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::base::Wall;
use crate::base::names::Name;
use crate::broker::Identity;
use crate::cli::error::{CliError, Exit};
use crate::cli::home::Home;
use crate::cli::keyfiles;
use crate::crypto::cert::{CertFault, CrlFault, Role, Trust};

/// Where everything lies.
#[derive(Clone, Debug)]
pub struct Places {
    pub home: Home,
    /// Whose certificate and key are the broker's.
    pub name: Name,
    pub known_clients: PathBuf,
    pub data: PathBuf,
}

/// What was read, and what is to be said about it.
pub struct Material {
    pub identity: Identity,
    pub trust: Trust,
    pub warnings: Vec<String>,
}

/// A certificate file of the folder of known clients.
pub struct KnownFile {
    pub path: PathBuf,
    pub der: Result<Vec<u8>, String>,
}

/// A certificate that ends so soon is warned of.
const EXPIRY_WARNING: Duration = Duration::from_secs(30 * 86_400);
/// In the data folder: the highest number that a revocation list had.
pub const CRL_NUMBER_FILE: &str = "crl-number";
/// The default name, if the files do not say which is meant.
const DEFAULT_NAME: &str = "broker";

impl Places {
    /// Finds the broker's name if it is not given; `known_clients` counts from home.
    pub fn find(
        home: Home,
        name: Option<&str>,
        known_clients: &str,
        data: PathBuf,
    ) -> Result<Places, CliError> {
        let dir = home.dir();
        if !dir.is_dir() {
            return Err(CliError::other(format!("the home folder {home} is not there"))
                .remedy("make one with `sealmq ca init`, or name another with --home DIR"));
        }
        let known_clients = dir.join(known_clients);
        let name = match name {
            Some(text) => {
                Name::parse(text).map_err(|e| CliError::other(format!("the broker's name {text:?} {e}")))?
            }
            None => find_name(&home)?,
        };
        Ok(Places { home, name, known_clients, data })
    }

    /// What the broker reads again when it changes.
    pub fn watched(&self) -> Vec<PathBuf> {
        let Places { home, name, known_clients, .. } = self;
        vec![home.crl(), home.certificate(name), home.key(name), known_clients.clone()]
    }

    fn crl_number_file(&self) -> PathBuf {
        self.data.join(CRL_NUMBER_FILE)
    }
}

/// Reads everything, at the start. A revocation list that is not good stops it: without one
/// that was good before, those whom it revokes would get in.
pub fn load(places: &Places, now: Wall) -> Result<Material, CliError> {
    let home = &places.home;
    let ca = home.ca_certificate();
    let mut trust = keyfiles::read_ca(&ca).map_err(|e| if ca.exists() { e } else { no_ca(home) })?;
    trust.judge_ca(now).map_err(|fault| at_fault(&ca, &fault))?;
    if let Some(number) = read_crl_number(&places.crl_number_file())? {
        trust.require_crl_number(number);
    }
    let mut warnings = Vec::new();
    update_crl(places, &mut trust, now, &mut warnings)?;
    let identity = load_identity(places, &trust, now, &mut warnings)?;
    if fs::File::open(home.ca_key()).is_ok() {
        warnings.push(format!(
            "the CA's key {} can be read here; who holds it can invent members. Keep it on another machine",
            home.ca_key().display()
        ));
    }
    Ok(Material { identity, trust, warnings })
}

/// Reads list, certificate and key again. The CA stays the one of the start; a list that is
/// gone leaves the one before in force.
pub fn load_again(places: &Places, held: &Trust, now: Wall) -> Result<Material, CliError> {
    let mut trust = held.clone();
    let mut warnings = Vec::new();
    update_crl(places, &mut trust, now, &mut warnings)?;
    let identity = load_identity(places, &trust, now, &mut warnings)?;
    Ok(Material { identity, trust, warnings })
}

/// Keeps the number of the newest revocation list in the data folder, so that an older list
/// is refused also after a restart.
pub fn remember_crl_number(places: &Places, trust: &Trust) -> Result<(), CliError> {
    let Some(number) = trust.crl_number() else { return Ok(()) };
    let path = places.crl_number_file();
    if read_crl_number(&path).is_ok_and(|known| known >= Some(number)) {
        return Ok(());
    }
    keyfiles::make_folder(&places.data, true)?;
    keyfiles::write_public(&path, &format!("{number}\n"))
}

/// The certificates in the folder of known clients, without those of the CA and of brokers.
pub fn known_clients(places: &Places, trust: &Trust) -> Result<Vec<KnownFile>, CliError> {
    let mut files = Vec::new();
    for path in certificate_files(&places.known_clients)? {
        let der = keyfiles::read_certificate(&path);
        if der.as_ref().is_ok_and(|der| der == trust.ca_der() || is_broker(trust, der)) {
            continue;
        }
        files.push(KnownFile { path, der: der.map_err(|e| e.to_string()) });
    }
    Ok(files)
}

fn update_crl(
    places: &Places,
    trust: &mut Trust,
    now: Wall,
    warnings: &mut Vec<String>,
) -> Result<(), CliError> {
    let path = places.home.crl();
    let Some(der) = keyfiles::read_crl(&path)? else {
        let kept = if trust.crl_der().is_some() { "; the one read before stays in force" } else { "" };
        warnings.push(format!("there is no revocation list {}{kept}", path.display()));
        return Ok(());
    };
    let update = trust.update_crl(&der, now).map_err(|fault| {
        let error = at_fault(&path, &fault);
        match fault {
            CrlFault::LowerNumber { .. } => error.remedy("copy the newest list from the CA's machine here"),
            _ => error,
        }
    })?;
    if update.past_next_update {
        warnings.push(format!(
            "the revocation list {} should have been replaced by now; it is enforced all the same. \
             `sealmq ca crl` on the CA's machine makes a new one",
            path.display()
        ));
    }
    Ok(())
}

fn load_identity(
    places: &Places,
    trust: &Trust,
    now: Wall,
    warnings: &mut Vec<String>,
) -> Result<Identity, CliError> {
    let (cert_path, key_path) = (places.home.certificate(&places.name), places.home.key(&places.name));
    let issue = format!("sealmq ca issue --broker {}", places.name);
    for path in [&cert_path, &key_path] {
        if !path.exists() {
            return Err(missing(path).remedy(format!("`{issue}` makes it; --name NAME takes another")));
        }
    }
    let der = keyfiles::read_certificate(&cert_path)?;
    let certificate = trust.verify(&der, Role::Broker, now).map_err(|fault| {
        let error = at_fault(&cert_path, &fault);
        if matches!(fault, CertFault::Expired { .. }) {
            error.remedy(format!("`sealmq ca renew {}` gives it a new end", places.name))
        } else {
            error
        }
    })?;
    let key = keyfiles::read_private_key(&key_path)?;
    if key.public().fingerprint() != certificate.fingerprint() {
        let (cert, key) = (cert_path.display(), key_path.display());
        return Err(CliError::new(Exit::Refused, format!("{cert} is not the certificate of {key}")));
    }
    if certificate.not_after() < now + EXPIRY_WARNING {
        let (cert, end) = (cert_path.display(), certificate.not_after());
        warnings.push(format!("{cert} ends at {end}; `sealmq ca renew {}` renews it", places.name));
    }
    Ok(Identity { certificate, key })
}

/// The only broker certificate that has its key beside it; "broker" if there is none or more.
fn find_name(home: &Home) -> Result<Name, CliError> {
    let default = Name::parse(DEFAULT_NAME).expect("the default name is of the allowed form");
    // Without a CA there is nothing to look for; loading says what is missing.
    let Ok(trust) = keyfiles::read_ca(&home.ca_certificate()) else { return Ok(default) };
    let mut found = Vec::new();
    for path in certificate_files(&home.certs())? {
        let stem = path.file_stem().and_then(|stem| stem.to_str());
        let Some(name) = stem.and_then(|stem| Name::parse(stem).ok()) else { continue };
        let is_broker = || keyfiles::read_certificate(&path).is_ok_and(|der| is_broker(&trust, &der));
        if home.key(&name).exists() && is_broker() {
            found.push(name);
        }
    }
    match <[Name; 1]>::try_from(found) {
        Ok([only]) => Ok(only),
        Err(several) if several.is_empty() || several.contains(&default) => Ok(default),
        Err(several) => {
            let names: Vec<&str> = several.iter().map(Name::as_str).collect();
            let problem =
                format!("{} has several broker certificates: {}", home.certs().display(), names.join(", "));
            Err(CliError::other(problem).remedy("say which one is meant: --name NAME"))
        }
    }
}

/// The files `*.crt` of a folder, in order.
fn certificate_files(folder: &Path) -> Result<Vec<PathBuf>, CliError> {
    let failed = |e: io::Error| keyfiles::cannot("read", folder, &e);
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path.extension().is_some_and(|extension| extension == "crt") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

fn is_broker(trust: &Trust, der: &[u8]) -> bool {
    trust.verify_historic(der, Role::Broker).is_ok()
}

fn read_crl_number(path: &Path) -> Result<Option<u64>, CliError> {
    const FILE_BYTES_MAX: u64 = 64;
    if !path.exists() {
        return Ok(None);
    }
    let text = keyfiles::read_file(path, FILE_BYTES_MAX)?;
    text.trim().parse().map(Some).map_err(|_| {
        let shown = path.display();
        CliError::other(format!("{shown} is to hold a number: the highest of a revocation list seen"))
            .remedy(format!("remove it if you are sure that certs/ca.crl is the newest list: rm {shown}"))
    })
}

/// A file that breaks a rule of certificates or revocation lists.
fn at_fault(path: &Path, fault: &dyn std::fmt::Display) -> CliError {
    CliError::new(Exit::Refused, format!("{}: {fault}", path.display()))
}

fn missing(path: &Path) -> CliError {
    CliError::new(Exit::Refused, format!("there is no {}", path.display()))
}

fn no_ca(home: &Home) -> CliError {
    missing(&home.ca_certificate())
        .remedy("`sealmq ca init` makes a CA; --home DIR names the folder that holds keys/ and certs/")
}
