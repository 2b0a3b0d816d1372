//! `sealmq ca issue`, `sign` and `renew`: three ways to a certificate.

use std::path::PathBuf;

use clap::Args;

use super::init::{new_key, parse_bits};
use super::office::{Office, date, shown};
use crate::base::ids::Fingerprint;
use crate::base::limits::LEAF_LIFETIME_MAX;
use crate::base::names::Name;
use crate::cli::error::{CliError, Exit};
use crate::cli::home::Home;
use crate::cli::{keyfiles, system};
use crate::crypto::cert::issue::{LEAF_DAYS, Subscriber};
use crate::crypto::cert::{Certificate, Host, Role, Trust, csr};
use crate::crypto::key::PublicKey;

/// Make a key and a certificate in one step: keys/NAME.key, certs/NAME.crt
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  sealmq ca issue alice
  sealmq ca issue --broker hub --san hub.lan,192.168.1.7")]
pub struct Issue {
    /// Whom it is for: letters, digits, . _ -
    name: Name,
    #[command(flatten)]
    terms: Terms,
    /// Size of the RSA key
    #[arg(long, value_name = "BITS", default_value_t = 2048, value_parser = parse_bits)]
    bits: usize,
}

/// Certify the key of a request that `sealmq keygen` made on the client's own host
///
/// Only the public key is taken from the request, after its self-signature; name and role are
/// what you say here. Compare the fingerprint with the one that keygen printed.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  sealmq ca sign alice.csr")]
pub struct Sign {
    /// The request; its file name without .csr is the name, unless --name says another
    #[arg(value_name = "NAME.csr")]
    request: PathBuf,
    /// Whom it is for
    #[arg(long, value_name = "NAME")]
    name: Option<Name>,
    #[command(flatten)]
    terms: Terms,
}

/// Issue a new certificate over the same key
///
/// A new key would be a new identity: for that, `ca revoke` the old one and `ca issue` anew.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  sealmq ca list --expiring 30d\n  sealmq ca renew alice")]
pub struct Renew {
    /// Whose certificate
    name: Name,
    /// Which of several keys of that name
    #[arg(long, value_name = "HEX", value_parser = parse_fingerprint)]
    fingerprint: Option<Fingerprint>,
    /// Other host names and addresses than before, for a broker
    #[arg(long, value_name = "HOST,IP", value_delimiter = ',', value_parser = parse_host)]
    san: Vec<Host>,
    /// Days until it ends
    #[arg(long, value_name = "N", default_value_t = LEAF_DAYS, value_parser = leaf_days())]
    days: u32,
}

/// What a certificate is to say.
#[derive(Debug, Args)]
struct Terms {
    /// It is a broker's; it could not be used as a client's
    #[arg(long)]
    broker: bool,
    /// Host names and addresses of the broker [default: localhost, 127.0.0.1, ::1, this host's
    /// name, and with .local]
    #[arg(long, value_name = "HOST,IP", value_delimiter = ',', value_parser = parse_host, requires = "broker")]
    san: Vec<Host>,
    /// Days until it ends
    #[arg(long, value_name = "N", default_value_t = LEAF_DAYS, value_parser = leaf_days())]
    days: u32,
}

impl Issue {
    pub(super) fn run(self, home: &Home) -> Result<String, CliError> {
        check_name(&self.name)?;
        let mut office = Office::open(home)?;
        let path = home.key(&self.name);
        let kept = path.exists();
        let key = if kept { keyfiles::read_private_key(&path)? } else { new_key(self.bits)? };
        check_key(&office, &self.name, key.public().fingerprint())?;
        if !kept {
            keyfiles::write_private_key(&path, &key)?;
        }
        let certificate = self.terms.issue(&mut office, &self.name, &key.public())?;
        let mut report = describe(&certificate);
        report += &if kept {
            format!("kept {} as it was\n", shown(&path))
        } else {
            format!("wrote {} (private)\n", shown(&path))
        };
        report += &wrote(home, &certificate);
        report += &office.refresh_crl()?.unwrap_or_default();
        report += &next_step(&certificate, true);
        Ok(report)
    }
}

impl Sign {
    pub(super) fn run(self, home: &Home) -> Result<String, CliError> {
        let name = match &self.name {
            Some(name) => name.clone(),
            None => self.name_of_file()?,
        };
        check_name(&name)?;
        let mut office = Office::open(home)?;
        let der = keyfiles::read_request(&self.request)?;
        let key = csr::read(&der).map_err(|fault| {
            CliError::new(Exit::Refused, format!("{}: {fault}", self.request.display()))
                .remedy("make it anew where its key is: sealmq keygen")
        })?;
        check_key(&office, &name, key.fingerprint())?;
        let certificate = self.terms.issue(&mut office, &name, &key)?;
        let mut report = describe(&certificate);
        report += "compare the fingerprint with the one that keygen printed on that host\n";
        report += &wrote(home, &certificate);
        report += &office.refresh_crl()?.unwrap_or_default();
        report += &next_step(&certificate, false);
        Ok(report)
    }

    fn name_of_file(&self) -> Result<Name, CliError> {
        let stem = self.request.file_stem().unwrap_or_default().to_string_lossy();
        Name::parse(&stem).map_err(|why| {
            CliError::usage(format!("the name {stem:?} {why}")).remedy("say whom it is for: --name NAME")
        })
    }
}

impl Renew {
    pub(super) fn run(self, home: &Home) -> Result<String, CliError> {
        let mut office = Office::open(home)?;
        // An expired certificate can be renewed as well, but never a revoked one.
        let fingerprint = match office.one_key(&self.name, self.fingerprint) {
            Ok(key) => key,
            Err(error) => self.expired_key(&office).ok_or(error)?,
        };
        let role = office.newest(&self.name, fingerprint).map_or(Role::Client, |row| row.role);
        let (public_key, old_hosts) = self.key_and_hosts(&office, fingerprint, role)?;
        let hosts = if self.san.is_empty() { old_hosts } else { self.san.clone() };
        let subscriber = Subscriber { name: &self.name, role, hosts: &hosts, public_key: &public_key };
        let certificate = office.issue(&subscriber, self.days)?;
        let mut report = describe(&certificate);
        report += &wrote(home, &certificate);
        report += &office.refresh_crl()?.unwrap_or_default();
        report += &next_step(&certificate, false);
        Ok(report)
    }

    /// The key of a name whose certificates have all expired, if it is one only.
    fn expired_key(&self, office: &Office) -> Option<Fingerprint> {
        let mut rows = office.index.of_name(&self.name);
        let first = rows.next().filter(|row| self.fingerprint.is_none_or(|f| f == row.fingerprint))?;
        let same = rows.all(|row| row.fingerprint == first.fingerprint);
        (same && !office.index.is_revoked(first.fingerprint)).then_some(first.fingerprint)
    }

    /// Public key and hosts: of the certificate before, else of the key itself.
    fn key_and_hosts(
        &self,
        office: &Office,
        fingerprint: Fingerprint,
        role: Role,
    ) -> Result<(PublicKey, Vec<Host>), CliError> {
        let path = office.home.certificate(&self.name);
        if path.exists() {
            let der = keyfiles::read_certificate(&path)?;
            let trust = Trust::from_der(&office.ca_der).map_err(|e| CliError::other(e.to_string()))?;
            if let Ok(old) = trust.verify_historic(&der, role)
                && old.fingerprint() == fingerprint
            {
                return Ok((old.public_key().clone(), old.hosts().to_vec()));
            }
        }
        let path = office.home.key(&self.name);
        if path.exists() {
            let key = keyfiles::read_private_key(&path)?.public();
            if key.fingerprint() == fingerprint {
                let hosts = if role == Role::Broker { default_hosts() } else { Vec::new() };
                return Ok((key, hosts));
            }
        }
        Err(CliError::other(format!(
            "neither certs/{0}.crt nor keys/{0}.key here holds {0}'s key",
            self.name
        ))
        .remedy(format!("certify it again by its request: sealmq ca sign {}.csr", self.name)))
    }
}

impl Terms {
    fn issue(
        &self,
        office: &mut Office,
        name: &Name,
        public_key: &PublicKey,
    ) -> Result<Certificate, CliError> {
        let role = if self.broker { Role::Broker } else { Role::Client };
        let hosts = match role {
            Role::Broker if self.san.is_empty() => default_hosts(),
            _ => self.san.clone(),
        };
        office.issue(&Subscriber { name, role, hosts: &hosts, public_key }, self.days)
    }
}

/// `ca` would overwrite the CA's own files.
pub(in crate::cli) fn check_name(name: &Name) -> Result<(), CliError> {
    if name.as_str().eq_ignore_ascii_case("ca") {
        return Err(CliError::usage("the name ca is taken: keys/ca.key and certs/ca.crt are the CA's own"));
    }
    Ok(())
}

/// A name has one live key, and a revoked key is never certified again.
fn check_key(office: &Office, name: &Name, key: Fingerprint) -> Result<(), CliError> {
    if office.index.is_revoked(key) {
        let path = shown(&office.home.key(name));
        return Err(CliError::new(Exit::Refused, format!("the key {key} has been revoked")).remedy(format!(
            "{name} needs a new one; if it is here, move it away first: mv {path} {path}.revoked"
        )));
    }
    let live = office.index.of_name(name).filter(|row| row.is_live(office.now));
    if let Some(other) = live.clone().find(|row| row.fingerprint != key) {
        let problem = format!("{name} has a certificate over another key, until {}", date(other.not_after));
        let remedy = format!(
            "its key  {}\nthis key {key}\none name is one identity; to replace it: sealmq ca revoke {name}",
            other.fingerprint
        );
        return Err(CliError::other(problem).remedy(remedy));
    }
    match live.max_by_key(|row| row.not_after) {
        Some(row) if office.home.certificate(name).exists() => {
            let problem = format!("{name} has a certificate already, until {}", date(row.not_after));
            Err(CliError::other(problem).remedy(format!("for a later end: sealmq ca renew {name}")))
        }
        _ => Ok(()),
    }
}

fn describe(certificate: &Certificate) -> String {
    let mut text = format!(
        "{} ({})\n  fingerprint  {}\n  serial       {}\n  valid until  {}\n",
        certificate.name(),
        certificate.role(),
        certificate.fingerprint(),
        certificate.serial(),
        date(certificate.not_after()),
    );
    if !certificate.hosts().is_empty() {
        let hosts: Vec<String> = certificate.hosts().iter().map(Host::to_string).collect();
        text += &format!("  hosts        {}\n", hosts.join(", "));
    }
    text
}

fn wrote(home: &Home, certificate: &Certificate) -> String {
    format!("wrote {}\n", shown(&home.certificate(certificate.name())))
}

/// Where the files go: `key` if it was made here.
fn next_step(certificate: &Certificate, with_key: bool) -> String {
    let name = certificate.name();
    let key = if with_key { format!("keys/{name}.key, ") } else { String::new() };
    match certificate.role() {
        Role::Client => format!(
            "next: take {key}certs/{name}.crt and certs/ca.crt to the client's host\n\
             \x20     and certs/{name}.crt to the broker's certs folder, so that others can find {name}\n",
        ),
        Role::Broker => {
            format!("next: take {key}certs/{name}.crt, certs/ca.crt and certs/ca.crl to the broker's host\n")
        }
    }
}

/// What a broker on this host is likely to be called.
fn default_hosts() -> Vec<Host> {
    let mut names = vec!["localhost".to_owned(), "127.0.0.1".to_owned(), "::1".to_owned()];
    if let Some(name) = system::host_name() {
        if !name.contains('.') {
            names.push(format!("{name}.local"));
        }
        names.push(name);
    }
    let mut hosts: Vec<Host> = Vec::new();
    for host in names.iter().filter_map(|name| Host::parse(name)) {
        if !hosts.contains(&host) {
            hosts.push(host);
        }
    }
    hosts
}

/// Refused before anything is written.
fn leaf_days() -> clap::builder::RangedI64ValueParser<u32> {
    clap::value_parser!(u32).range(1..=LEAF_LIFETIME_MAX.as_secs() as i64 / 86_400)
}

pub(super) fn parse_fingerprint(text: &str) -> Result<Fingerprint, String> {
    Fingerprint::parse_hex(text).ok_or_else(|| "a fingerprint is 64 hexadecimal digits".to_owned())
}

fn parse_host(text: &str) -> Result<Host, String> {
    Host::parse(text).ok_or_else(|| format!("{text:?} is neither a host name nor an address"))
}
