//! The folder that holds `keys/` and `certs/`: who one is, and whom one trusts.

use std::fmt;
use std::path::{Path, PathBuf};

use super::error::CliError;
use crate::base::names::Name;

/// A folder with `keys/` and `certs/` in it, or where they are to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Home(PathBuf);

impl Home {
    /// The folder that was asked for; else the current one if it has `keys/` and `certs/`;
    /// else `sealmq` in the XDG configuration folder.
    pub fn find(asked_for: Option<&Path>) -> Result<Home, CliError> {
        if let Some(dir) = asked_for {
            return Ok(Home(dir.to_owned()));
        }
        let here = Home(PathBuf::from("."));
        if here.keys().is_dir() && here.certs().is_dir() {
            return Ok(here);
        }
        config_folder().map(|config| Home(config.join("sealmq"))).ok_or_else(|| {
            CliError::usage("no home folder: neither HOME nor XDG_CONFIG_HOME is set")
                .remedy("say which: --home DIR")
        })
    }

    pub fn dir(&self) -> &Path {
        &self.0
    }

    pub fn keys(&self) -> PathBuf {
        self.join("keys")
    }

    pub fn certs(&self) -> PathBuf {
        self.join("certs")
    }

    pub fn key(&self, name: &Name) -> PathBuf {
        self.keys().join(format!("{name}.key"))
    }

    pub fn certificate(&self, name: &Name) -> PathBuf {
        self.certs().join(format!("{name}.crt"))
    }

    pub fn request(&self, name: &Name) -> PathBuf {
        self.join(&format!("{name}.csr"))
    }

    pub fn ca_key(&self) -> PathBuf {
        self.keys().join("ca.key")
    }

    pub fn ca_certificate(&self) -> PathBuf {
        self.certs().join("ca.crt")
    }

    pub fn crl(&self) -> PathBuf {
        self.certs().join("ca.crl")
    }

    /// What the CA has issued.
    pub fn issued(&self) -> PathBuf {
        self.keys().join("issued.tsv")
    }

    /// The current folder leaves no trace in the paths that are shown.
    pub fn join(&self, name: &str) -> PathBuf {
        if self.0 == Path::new(".") { PathBuf::from(name) } else { self.0.join(name) }
    }
}

impl fmt::Display for Home {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.display().fmt(f)
    }
}

/// XDG Base Directory Specification 0.8: an unset, empty or relative value means the default.
fn config_folder() -> Option<PathBuf> {
    let absolute = |name| std::env::var_os(name).map(PathBuf::from).filter(|p| p.is_absolute());
    absolute("XDG_CONFIG_HOME").or_else(|| absolute("HOME").map(|home| home.join(".config")))
}
