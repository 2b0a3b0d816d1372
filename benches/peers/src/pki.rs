//! The certificates of a run: one CA, one broker, some clients, all RSA-2048, the same for every
//! broker. They are made with sealmq's own CA, whose profile is stricter than what TLS asks for.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, anyhow};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use sealmq::base::names::Name;
use sealmq::crypto::cert::issue::{Issuer, Subscriber, make_ca};
use sealmq::crypto::cert::pem::certificate_to_pem;
use sealmq::crypto::cert::{Certificate, Host, Role, Trust};
use sealmq::crypto::key::PrivateKey;
use sealmq::net::clock;
use sealmq::net::entropy::SystemEntropy;

/// Whom the clients of a run are: more connections than identities share them in turn.
pub const IDENTITIES: usize = 16;
const BITS: usize = 2048;
const DAYS: u32 = 2;

pub struct Pki {
    /// Has `certs/` and `keys/`, as sealmqd expects them.
    pub home: PathBuf,
    pub trust: Trust,
    pub clients: Vec<Identity>,
}

pub struct Identity {
    pub certificate: Certificate,
    pub key: PrivateKey,
    /// The same, for the peers.
    pub tls: Arc<ClientConfig>,
}

impl Pki {
    /// Makes everything and writes it below `home`; the CA's own key is dropped.
    pub fn make(home: &Path) -> Result<Pki> {
        for folder in ["certs", "keys"] {
            fs::create_dir_all(home.join(folder))?;
        }
        let mut entropy = SystemEntropy::new()?;
        let (now, ca_key) = (clock::wall(), PrivateKey::generate(BITS, &mut entropy)?);
        let ca = make_ca(&ca_key, &name("peers-ca")?, now, DAYS, &mut entropy).map_err(said)?;
        fs::write(home.join("certs/ca.crt"), certificate_to_pem(&ca))?;

        let issuer = Issuer::new(&ca_key, &ca).map_err(said)?;
        let hosts: Vec<Host> =
            ["localhost", "127.0.0.1"].iter().filter_map(|host| Host::parse(host)).collect();
        let mut issue = |who: &str, role, hosts: &[Host], key: &PrivateKey| -> Result<Certificate> {
            let (name, public_key) = (name(who)?, key.public());
            let subscriber = Subscriber { name: &name, role, hosts, public_key: &public_key };
            let certificate = issuer.issue(&subscriber, now, DAYS, &mut entropy).map_err(said)?;
            fs::write(home.join(format!("certs/{who}.crt")), certificate_to_pem(certificate.der()))?;
            write_secret(&home.join(format!("keys/{who}.key")), &key.to_pem())?;
            Ok(certificate)
        };

        let mut keys = generate(IDENTITIES + 1)?.into_iter();
        let broker_key = keys.next().context("a key for the broker")?;
        issue("broker", Role::Broker, &hosts, &broker_key)?;
        let mut clients = Vec::new();
        for (number, key) in keys.enumerate() {
            let certificate = issue(&format!("client-{number}"), Role::Client, &[], &key)?;
            let tls = tls_config(&ca, certificate.der(), &key)?;
            clients.push(Identity { certificate, key, tls });
        }
        let trust = Trust::from_der(&ca).map_err(said)?;
        Ok(Pki { home: home.to_owned(), trust, clients })
    }

    pub fn identity(&self, number: usize) -> &Identity {
        &self.clients[number % self.clients.len()]
    }

    pub fn file(&self, name: &str) -> String {
        self.home.join(name).display().to_string()
    }
}

/// Keys are slow to find, so both cores look.
fn generate(count: usize) -> Result<Vec<PrivateKey>> {
    let find = |count: usize| -> Result<Vec<PrivateKey>> {
        let mut entropy = SystemEntropy::new()?;
        (0..count).map(|_| Ok(PrivateKey::generate(BITS, &mut entropy)?)).collect()
    };
    std::thread::scope(|scope| {
        let other = scope.spawn(|| find(count / 2));
        let mut keys = find(count - count / 2)?;
        keys.extend(other.join().map_err(|_| anyhow!("a thread panicked while it made keys"))??);
        Ok(keys)
    })
}

/// TLS 1.3 with AES-128-GCM alone: the fastest suite where AES is in the CPU, and AES-128 as in
/// sealmq's tokens. Every connection is a whole handshake, as every sealmq session is.
fn tls_config(ca: &[u8], certificate: &[u8], key: &PrivateKey) -> Result<Arc<ClientConfig>> {
    let mut provider = rustls::crypto::ring::default_provider();
    provider.cipher_suites.retain(|suite| suite.suite() == rustls::CipherSuite::TLS13_AES_128_GCM_SHA256);
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from(ca.to_vec()))?;
    let key = PrivateKeyDer::from_pem_slice(key.to_pem().as_bytes()).map_err(said)?;
    let mut config = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_root_certificates(roots)
        .with_client_auth_cert(vec![CertificateDer::from(certificate.to_vec())], key)?;
    config.resumption = rustls::client::Resumption::disabled();
    Ok(Arc::new(config))
}

fn write_secret(path: &Path, text: &str) -> Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    Ok(file.write_all(text.as_bytes())?)
}

fn name(text: &str) -> Result<Name> {
    Name::parse(text).map_err(said)
}

fn said(e: impl std::fmt::Display) -> anyhow::Error {
    anyhow!("{e}")
}
