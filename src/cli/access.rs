//! Where things are and who one is: the home folder, `sealmq.toml`, the identity's files, the broker's address.
//!
//! A flag goes before the environment, the environment before the file.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::args::{Access, Identity};
use super::error::{CliError, Exit};
use super::surroundings::Surroundings;
use crate::base::names::Name;
use crate::net::client::Address;

/// The broker's port, unless said otherwise.
pub const PORT: u16 = 7883;
const HOST: &str = "localhost";
const SETTINGS_FILE: &str = "sealmq.toml";

/// A home folder and what its `sealmq.toml` says.
#[derive(Clone, Debug)]
pub struct Home {
    pub folder: PathBuf,
    settings: Settings,
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

impl Home {
    /// Finds the home and reads its settings. A folder that was named must be there; the
    /// default one need not be.
    pub fn find(flag: Option<&Path>, around: &Surroundings) -> Result<Home, CliError> {
        let (folder, named_by) = match (flag, &around.sealmq_home) {
            (Some(folder), _) => (folder.to_owned(), Some("--home")),
            (None, Some(folder)) => (folder.clone(), Some("SEALMQ_HOME")),
            (None, None) => (default_folder(around)?, None),
        };
        if let (Some(by), false) = (named_by, folder.is_dir()) {
            return Err(CliError::other(format!("the home folder {} ({by}) is not there", folder.display()))
                .remedy("name the folder that holds keys/ and certs/; `sealmq ca init` makes a new one"));
        }
        let settings = read_settings(&folder.join(SETTINGS_FILE))?;
        Ok(Home { folder, settings })
    }

    /// The identity's files: those that were named, or those of a name in this home.
    ///
    /// `is_client` says whether a certificate file is a client's.
    pub fn identity(
        &self,
        flags: &Identity,
        around: &Surroundings,
        is_client: impl Fn(&Path) -> bool,
    ) -> Result<IdentityFiles, CliError> {
        let certs = self.folder.join("certs");
        let ca = flags.cafile.clone().unwrap_or_else(|| certs.join("ca.crt"));
        let crl = ca.with_extension("crl");
        let (key, certificate) = match (&flags.key, &flags.cert) {
            (Some(key), Some(certificate)) => (key.clone(), certificate.clone()),
            _ => {
                let name = match self.chosen_name(flags, around)? {
                    Some(name) => name,
                    None => self.only_client(is_client)?,
                };
                self.files_of(&name)
            }
        };
        Ok(IdentityFiles { key, certificate, ca, crl })
    }

    /// Where the broker is.
    pub fn address(&self, access: &Access, around: &Surroundings) -> Result<Address, CliError> {
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

    /// Key and certificate file of a name.
    pub fn files_of(&self, name: &Name) -> (PathBuf, PathBuf) {
        let key = self.folder.join("keys").join(format!("{name}.key"));
        (key, self.folder.join("certs").join(format!("{name}.crt")))
    }

    fn chosen_name(&self, flags: &Identity, around: &Surroundings) -> Result<Option<Name>, CliError> {
        if let Some(name) = &flags.as_name {
            return Ok(Some(name.clone()));
        }
        let file = self.folder.join(SETTINGS_FILE).display().to_string();
        let (text, by) = match (&around.sealmq_as, &self.settings.as_name) {
            (Some(text), _) => (text, "SEALMQ_AS"),
            (None, Some(text)) => (text, file.as_str()),
            (None, None) => return Ok(None),
        };
        let name = Name::parse(text);
        name.map(Some).map_err(|e| CliError::usage(format!("the name {text:?} ({by}) {e}")))
    }

    /// The one client in this home that has both key and certificate.
    fn only_client(&self, is_client: impl Fn(&Path) -> bool) -> Result<Name, CliError> {
        let mut clients = self.names()?;
        clients.retain(|name| {
            let (key, certificate) = self.files_of(name);
            key.exists() && is_client(&certificate)
        });
        match clients.as_slice() {
            [only] => Ok(only.clone()),
            [] => Err(self.nobody()),
            several => {
                let list: Vec<&str> = several.iter().map(Name::as_str).collect();
                Err(CliError::usage(format!(
                    "{} has several clients: {}",
                    self.folder.display(),
                    list.join(", ")
                ))
                .remedy("say which one you are: --as NAME, or SEALMQ_AS=NAME"))
            }
        }
    }

    fn nobody(&self) -> CliError {
        let folder = self.folder.display();
        CliError::new(Exit::Certificate, format!("there is no client's key and certificate in {folder}"))
            .remedy("`sealmq ca issue NAME` makes them; --home DIR says where they are")
    }

    /// The names of all certificates in this home but the CA's, in order.
    fn names(&self) -> Result<Vec<Name>, CliError> {
        let folder = self.folder.join("certs");
        let entries = match fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Err(self.nobody()),
            Err(e) => return Err(CliError::file(&folder, "read", &e)),
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

/// Here, if this looks like a home; else the XDG configuration folder.
fn default_folder(around: &Surroundings) -> Result<PathBuf, CliError> {
    let here = &around.current_folder;
    if here.join("keys").is_dir() && here.join("certs").is_dir() {
        return Ok(here.clone());
    }
    match &around.config {
        Some(config) => Ok(config.join("sealmq")),
        None => Err(CliError::other("there is no home folder: neither keys/ and certs/ here, nor HOME")
            .remedy("name one with --home DIR")),
    }
}

fn read_settings(path: &Path) -> Result<Settings, CliError> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Settings::default()),
        Err(e) => return Err(CliError::file(path, "read", &e)),
    };
    toml::from_str(&text).map_err(|e| {
        CliError::usage(format!("{} is not as it should be: {}", path.display(), e.to_string().trim_end()))
            .remedy("it may hold host = \"HOST\", port = PORT and as = \"NAME\"")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Scratch {
        folder: tempfile::TempDir,
        around: Surroundings,
    }

    impl Scratch {
        /// A home with these names' files, each a key and a certificate; brokers begin with `b`.
        fn new(names: &[&str]) -> Scratch {
            let folder = tempfile::tempdir().expect("a scratch folder");
            for sub in ["keys", "certs"] {
                fs::create_dir(folder.path().join(sub)).expect("made");
            }
            for name in names.iter().chain(&["ca"]) {
                fs::write(folder.path().join(format!("keys/{name}.key")), "").expect("written");
                fs::write(folder.path().join(format!("certs/{name}.crt")), "").expect("written");
            }
            let around = Surroundings { current_folder: folder.path().to_owned(), ..Surroundings::default() };
            Scratch { folder, around }
        }

        fn home(&self) -> Home {
            Home::find(None, &self.around).expect("a home")
        }

        fn identity(&self, flags: &Identity) -> Result<IdentityFiles, CliError> {
            let is_client = |path: &Path| !path.ends_with("broker.crt");
            self.home().identity(flags, &self.around, is_client)
        }
    }

    #[test]
    fn the_only_client_is_who_one_is() {
        let scratch = Scratch::new(&["alice", "broker"]);
        let files = scratch.identity(&Identity::default()).expect("one client");
        assert_eq!(files.key, scratch.folder.path().join("keys/alice.key"));
        assert_eq!(files.crl, scratch.folder.path().join("certs/ca.crl"));
        fs::remove_file(&files.key).expect("removed");
        let error = scratch.identity(&Identity::default()).expect_err("a certificate without key");
        assert_eq!(error.exit, Exit::Certificate);
    }

    #[test]
    fn several_clients_are_listed() {
        let mut scratch = Scratch::new(&["bob", "alice", "broker"]);
        let error = scratch.identity(&Identity::default()).expect_err("two clients");
        assert_eq!(error.exit, Exit::Usage);
        assert!(error.to_string().contains("alice, bob"), "{error}");
        scratch.around.sealmq_as = Some("bob".to_owned());
        let files = scratch.identity(&Identity::default()).expect("named");
        assert!(files.key.ends_with("keys/bob.key"));
    }

    #[test]
    fn flag_before_environment_before_file() {
        let mut scratch = Scratch::new(&["alice"]);
        let address = |scratch: &Scratch, access: &Access| {
            let a = scratch.home().address(access, &scratch.around).expect("an address");
            format!("{}:{}", a.host, a.port)
        };
        let file = scratch.folder.path().join("sealmq.toml");
        assert_eq!(address(&scratch, &Access::default()), "localhost:7883");
        fs::write(&file, "host = 'file'\nport = 1\nas = 'carol'\n").expect("written");
        assert_eq!(address(&scratch, &Access::default()), "file:1");
        scratch.around.sealmq_host = Some("environment".to_owned());
        scratch.around.sealmq_port = Some("2".to_owned());
        assert_eq!(address(&scratch, &Access::default()), "environment:2");
        let flags = Access { host: Some("flag".to_owned()), port: Some(3), ..Access::default() };
        assert_eq!(address(&scratch, &flags), "flag:3");

        let name = |scratch: &Scratch, flags: &Identity| {
            let files = scratch.identity(flags).expect("an identity");
            files.certificate.file_stem().expect("a name").to_string_lossy().into_owned()
        };
        assert_eq!(name(&scratch, &Identity::default()), "carol");
        scratch.around.sealmq_as = Some("bob".to_owned());
        assert_eq!(name(&scratch, &Identity::default()), "bob");
        let flags = Identity { as_name: Some(Name::parse("alice").expect("good")), ..Identity::default() };
        assert_eq!(name(&scratch, &flags), "alice");
        scratch.around.sealmq_port = Some("x".to_owned());
        assert!(scratch.home().address(&Access::default(), &scratch.around).is_err());
    }

    #[test]
    fn a_home_that_was_named_must_be_there() {
        let scratch = Scratch::new(&[]);
        let absent = scratch.folder.path().join("absent");
        let error = Home::find(Some(&absent), &scratch.around).expect_err("absent");
        assert!(error.to_string().contains("absent (--home)"), "{error}");
        let mut around = Surroundings { config: Some(absent.clone()), ..Surroundings::default() };
        around.current_folder = absent.clone();
        let home = Home::find(None, &around).expect("the default need not be there");
        assert_eq!(home.folder, absent.join("sealmq"));
        let error = home.identity(&Identity::default(), &around, |_| true).expect_err("nobody");
        assert_eq!(error.exit, Exit::Certificate);
    }

    #[test]
    fn an_unknown_setting_is_named() {
        let scratch = Scratch::new(&[]);
        fs::write(scratch.folder.path().join("sealmq.toml"), "hots = 'x'\n").expect("written");
        let error = Home::find(None, &scratch.around).expect_err("unknown").to_string();
        assert!(error.contains("hots") && error.contains("sealmq.toml"), "{error}");
    }
}
