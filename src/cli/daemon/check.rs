//! `--check`: looks at everything that a start would read, and says what it found.

use std::io::{self, Write};
use std::net::ToSocketAddrs;

use super::Settings;
use super::look::look;
use super::material::{self, Material};
use crate::base::Wall;
use crate::cli::error::CliError;
use crate::crypto::cert::{Role, Trust};
use crate::net::clock;

/// Reads configuration, certificates, keys and revocation list; writes no file.
pub fn check(settings: &Settings) -> Result<(), CliError> {
    let now = clock::wall();
    let places = &settings.places;
    let mut lines = Vec::new();
    let config = settings.config_file.as_ref().map_or("the defaults".into(), |p| p.display().to_string());
    lines.push(("configuration", config));
    lines.push(("home", places.home.to_string()));

    let Material { identity, trust, warnings } = material::load(places, now)?;
    lines.push(("CA", format!("fingerprint {}, until {}", trust.ca_fingerprint(), trust.ca_not_after())));
    let certificate = &identity.certificate;
    let hosts: Vec<String> = certificate.hosts().iter().map(ToString::to_string).collect();
    lines.push(("broker", format!("{}, fingerprint {}", certificate.name(), certificate.fingerprint())));
    lines.push(("", format!("for {}, until {}", hosts.join(", "), certificate.not_after())));
    let list = match (trust.crl_der(), trust.crl_number()) {
        (Some(_), Some(number)) => format!("number {number}"),
        _ => "none".to_owned(),
    };
    lines.push(("revocation list", list));
    lines.extend(clients(settings, &trust, now)?);
    lines.extend(addresses(settings)?);
    lines.push(("data", look(&settings.storage)?));
    lines.extend(warnings.into_iter().map(|warning| ("WARNING", warning)));

    let text: String = lines.iter().map(|(what, found)| format!("{what:<16}{found}\n")).collect();
    print(&format!("{text}all is well\n"))
}

/// The known clients, and those that would be left out.
fn clients(settings: &Settings, trust: &Trust, now: Wall) -> Result<Vec<(&'static str, String)>, CliError> {
    let mut names = Vec::new();
    let mut left_out = Vec::new();
    for file in material::known_clients(&settings.places, trust)? {
        let verified = file.der.and_then(|der| {
            let verified = trust.verify(&der, Role::Client, now);
            verified.map_err(|fault| format!("{}: {fault}", file.path.display()))
        });
        match verified {
            Ok(certificate) => names.push(certificate.name().to_string()),
            Err(why) => left_out.push(("left out", why)),
        }
    }
    let known = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
    let mut lines = vec![("known clients", known)];
    lines.append(&mut left_out);
    Ok(lines)
}

/// The addresses, resolved but not bound: the broker itself may hold them.
fn addresses(settings: &Settings) -> Result<Vec<(&'static str, String)>, CliError> {
    let mut lines = Vec::new();
    for asked in &settings.listen {
        let found = asked.to_socket_addrs().map_err(|e| {
            CliError::other(format!("cannot listen on {asked}: {e}"))
                .remedy("--listen takes HOST:PORT, such as 0.0.0.0:7883 or [::1]:7883")
        })?;
        lines.extend(found.map(|address| ("listen", address.to_string())));
    }
    Ok(lines)
}

/// Writes to standard output; who stops reading, as `head` does, is content.
pub fn print(text: &str) -> Result<(), CliError> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(e) if e.kind() != io::ErrorKind::BrokenPipe => {
            Err(CliError::other(format!("cannot write to standard output: {e}")))
        }
        _ => Ok(()),
    }
}
