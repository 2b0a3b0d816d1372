//! `fingerprint`: who a key is to the protocol, as one reads it to another over the phone.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use crate::base::names::Name;
use crate::cli::access::Base;
use crate::cli::args::Identity;
use crate::cli::error::{CliError, Exit};
use crate::cli::keyfiles;
use crate::cli::output::Output;
use crate::crypto::cert::{Certificate, Role, Trust};

/// Prints the fingerprint and name of each certificate, as `sha256sum` does of files.
pub fn run(base: &Base, who: &[std::ffi::OsString], flags: &Identity) -> Result<(), CliError> {
    let mut output = Output::new();
    let trust = keyfiles::read_ca(&base.ca_file(flags))?;
    let files = if who.is_empty() {
        vec![base.identity_files(flags)?.certificate]
    } else {
        who.iter().map(|who| file_of(base, who)).collect()
    };
    for file in files {
        let certificate = read(&trust, &file)?;
        output.line(&format!("{}  {}", certificate.fingerprint(), certificate.name()))?;
    }
    output.flush()
}

/// A name's certificate file in the home, unless a file is meant.
fn file_of(base: &Base, who: &OsStr) -> PathBuf {
    match who.to_str().and_then(|text| Name::parse(text).ok()) {
        Some(name) if base.home.certificate(&name).exists() || !Path::new(who).is_file() => {
            base.home.certificate(&name)
        }
        _ => PathBuf::from(who),
    }
}

/// A certificate of our CA, be it a client's or a broker's, in force or not.
fn read(trust: &Trust, file: &Path) -> Result<Certificate, CliError> {
    let der = keyfiles::read_certificate(file)?;
    let client = trust.verify_historic(&der, Role::Client);
    client.or_else(|fault| trust.verify_historic(&der, Role::Broker).map_err(|_| fault)).map_err(|fault| {
        CliError::new(Exit::Refused, format!("{}: {fault}", file.display()))
            .remedy("only certificates of your CA have a meaning here; --cafile names another CA")
    })
}
