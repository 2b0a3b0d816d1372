//! The CA at work: its key, its certificate and its index, under one lock.

use std::fs::{File, OpenOptions, TryLockError};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use super::index::{Index, Issued};
use crate::base::Wall;
use crate::base::ids::Fingerprint;
use crate::base::names::Name;
use crate::cli::error::{CliError, Exit};
use crate::cli::home::Home;
use crate::cli::keyfiles;
use crate::cli::system::{SystemEntropy, now};
use crate::crypto::cert::issue::{IssueError, Issuer, Subscriber};
use crate::crypto::cert::{CertFault, Certificate, Trust, pem};
use crate::crypto::key::PrivateKey;

/// A list lasts as long as a certificate; it is made anew whenever the CA works and
/// less than [`CRL_RENEW_DAYS`] are left.
const CRL_DAYS: u64 = 397;
const CRL_RENEW_DAYS: u64 = 90;

/// How long a command waits for another one to finish its work.
const LOCK_TIME_MAX: Duration = Duration::from_secs(20);

/// Everything of a CA that a command may need, its own until dropped.
pub(super) struct Office {
    pub home: Home,
    pub now: Wall,
    pub key: PrivateKey,
    pub ca_der: Vec<u8>,
    pub index: Index,
    _lock: Lock,
}

/// Held by one `sealmq ca` command at a time.
pub(super) struct Lock {
    _file: File,
}

impl Office {
    /// Takes the lock and reads all of the CA.
    pub fn open(home: &Home) -> Result<Office, CliError> {
        let lock = Lock::take(home)?;
        if !home.ca_key().exists() {
            return Err(no_ca(home));
        }
        let key = keyfiles::read_private_key(&home.ca_key())?;
        let ca_der = keyfiles::read_certificate(&home.ca_certificate())?;
        let index = Index::read(home.issued())?;
        Issuer::new(&key, &ca_der).map_err(|e| issue_error(&e))?;
        Ok(Office { home: home.clone(), now: now(), key, ca_der, index, _lock: lock })
    }

    /// Issues a certificate: first into the index, then into `certs/`.
    pub fn issue(&mut self, subscriber: &Subscriber<'_>, days: u32) -> Result<Certificate, CliError> {
        let issuer = Issuer::new(&self.key, &self.ca_der).map_err(|e| issue_error(&e))?;
        let made = issuer.issue(subscriber, self.now, days, &mut SystemEntropy);
        let certificate = made.map_err(|e| issue_error(&e))?;
        self.index.add(&certificate);
        self.index.write()?;
        let path = self.home.certificate(certificate.name());
        keyfiles::write_public(&path, &pem::certificate_to_pem(certificate.der()))?;
        Ok(certificate)
    }

    /// Writes a new revocation list. Its number is on the disk before the list is, so that
    /// no two lists share one.
    pub fn write_crl(&mut self) -> Result<(), CliError> {
        self.index.crl_number += 1;
        self.index.crl_next_update = self.now + days(CRL_DAYS);
        self.index.write()?;
        let issuer = Issuer::new(&self.key, &self.ca_der).map_err(|e| issue_error(&e))?;
        let revoked = self.index.revocations(self.now);
        let (number, next_update) = (self.index.crl_number, self.index.crl_next_update);
        let made = issuer.crl(number, &revoked, self.now, next_update, &mut SystemEntropy);
        let der = made.map_err(|e| issue_error(&e))?;
        // Nobody would take a list that we do not take ourselves.
        let checked = Trust::from_der(&self.ca_der)
            .map_err(|fault| CliError::other(fault.to_string()))?
            .update_crl(&der, self.now);
        checked.map_err(|fault| CliError::other(fault.to_string()))?;
        keyfiles::write_public(&self.home.crl(), &pem::crl_to_pem(&der))
    }

    /// Makes the revocation list anew if it will soon be past due, or was lost.
    pub fn refresh_crl(&mut self) -> Result<Option<String>, CliError> {
        let due = self.now + days(CRL_RENEW_DAYS) > self.index.crl_next_update;
        if !due && self.home.crl().exists() {
            return Ok(None);
        }
        self.write_crl()?;
        Ok(Some(format!("wrote {} anew; copy it to the broker's certs folder\n", self.home.crl().display())))
    }

    /// The one live key of a name. More than one stops the command and lists them.
    pub fn one_key(&self, name: &Name, asked_for: Option<Fingerprint>) -> Result<Fingerprint, CliError> {
        let mut keys: Vec<Fingerprint> = Vec::new();
        let rows = self.index.of_name(name).filter(|row| row.is_live(self.now));
        for row in rows.filter(|row| asked_for.is_none_or(|f| row.fingerprint == f)) {
            if !keys.contains(&row.fingerprint) {
                keys.push(row.fingerprint);
            }
        }
        match keys[..] {
            [one] => Ok(one),
            [] => Err(self.no_live_key(name)),
            _ => Err(several_keys(name, &keys)),
        }
    }

    /// The newest certificate of a name and key.
    pub fn newest<'a>(&'a self, name: &'a Name, fingerprint: Fingerprint) -> Option<&'a Issued> {
        let rows = self.index.of_name(name).filter(|row| row.fingerprint == fingerprint);
        rows.max_by_key(|row| row.not_after)
    }

    fn no_live_key(&self, name: &Name) -> CliError {
        let problem = match self.index.of_name(name).max_by_key(|row| row.not_after) {
            None => format!("nothing was ever issued to {name}"),
            Some(Issued { revoked: Some(at), .. }) => format!("{name} was revoked on {}", date(*at)),
            Some(row) => format!("{name}'s certificate expired on {}", date(row.not_after)),
        };
        CliError::other(problem).remedy("see who there is: sealmq ca list --all")
    }
}

impl Lock {
    /// Waits a while for a command that is at work.
    pub fn take(home: &Home) -> Result<Lock, CliError> {
        if !home.keys().is_dir() {
            return Err(no_ca(home));
        }
        let path = home.keys().join(".ca.lock");
        let opened = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&path);
        let file = opened.map_err(|e| keyfiles::cannot("open", &path, &e))?;
        let until = Instant::now() + LOCK_TIME_MAX;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(Lock { _file: file }),
                Err(TryLockError::WouldBlock) if Instant::now() < until => {
                    std::thread::sleep(Duration::from_millis(20));
                }
                Err(TryLockError::WouldBlock) => {
                    let problem = format!("another `sealmq ca` command is at work in {home}");
                    return Err(CliError::other(problem).remedy("try again when it has ended"));
                }
                Err(TryLockError::Error(e)) => return Err(keyfiles::cannot("lock", &path, &e)),
            }
        }
    }
}

fn no_ca(home: &Home) -> CliError {
    let folder = keyfiles::quoted(home.dir());
    CliError::other(format!("there is no CA in {home}"))
        .remedy(format!("say where it is: --home DIR\nor make one: sealmq ca init --home {folder}"))
}

pub(super) fn issue_error(error: &IssueError) -> CliError {
    let problem = error.to_string();
    match error {
        IssueError::Days { .. } => CliError::usage(problem).remedy("choose with --days N"),
        IssueError::Fault(CertFault::CaExpired { .. } | CertFault::CaNotYetValid { .. }) => {
            CliError::new(Exit::Refused, problem)
                .remedy("look at the clock; an expired CA is replaced by a new one")
        }
        IssueError::WrongKey => CliError::new(Exit::Refused, problem)
            .remedy("keys/ca.key and certs/ca.crt must be of the same `sealmq ca init`"),
        _ => CliError::other(problem),
    }
}

fn several_keys(name: &Name, keys: &[Fingerprint]) -> CliError {
    let list: String = keys.iter().map(|key| format!("\n  {key}")).collect();
    CliError::other(format!("{name} has {} live keys:{list}", keys.len()))
        .remedy("say which is meant: --fingerprint HEX")
}

/// The day alone: enough for people.
pub(super) fn date(at: Wall) -> String {
    at.to_string()[..10].to_owned()
}

pub(super) fn days(count: u64) -> Duration {
    Duration::from_secs(count * 86_400)
}

/// A path as it is shown.
pub(super) fn shown(path: &Path) -> String {
    path.display().to_string()
}
