//! What a person types and reads: arguments, verbs, reports of problem and remedy.
//!
//! A verb is one struct of arguments with a `run`; a new one is a variant of [`Verb`].

pub mod ca;
pub mod daemon;
pub mod error;
pub mod format;
pub mod home;
pub mod keyfiles;
pub mod keygen;
pub mod payload;
pub mod system;
pub mod units;

use std::ffi::OsString;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{ArgAction, Parser, Subcommand};

use error::{CliError, Exit};
use home::Home;

/// Publish and subscribe, end-to-end encrypted, on your own network
///
/// The broker passes messages on and cannot read them.
// -h is the host, as in mosquitto_pub; help is --help.
#[derive(Debug, Parser)]
#[command(name = "sealmq", version, disable_help_flag = true, disable_help_subcommand = true)]
struct Arguments {
    /// Folder with keys/ and certs/ [default: here if it has them, else the XDG config folder]
    #[arg(long, value_name = "DIR", env = "SEALMQ_HOME", global = true)]
    home: Option<PathBuf>,
    /// Print help
    #[arg(long, action = ArgAction::Help, global = true)]
    help: Option<bool>,
    #[command(subcommand)]
    verb: Verb,
}

/// What `sealmq` can do.
#[derive(Debug, Subcommand)]
enum Verb {
    /// Make a CA; issue, list, renew and revoke certificates
    #[command(subcommand)]
    Ca(ca::CaVerb),
    Keygen(keygen::Keygen),
}

impl Verb {
    fn run(self, home: &Home) -> Result<(), CliError> {
        match self {
            Verb::Ca(verb) => say(&verb.run(home)?),
            Verb::Keygen(verb) => say(&verb.run(home)?),
        }
    }
}

/// The program `sealmq`: parses the arguments, runs the verb, reports.
pub fn sealmq(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let arguments = match Arguments::try_parse_from(arguments) {
        Ok(arguments) => arguments,
        Err(error) => {
            // Help and version are such errors too, on stdout and with code 0.
            let _ = error.print();
            return if error.use_stderr() { Exit::Usage.into() } else { Exit::Done.into() };
        }
    };
    let done = Home::find(arguments.home.as_deref()).and_then(|home| arguments.verb.run(&home));
    match done {
        Ok(()) => Exit::Done.into(),
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "sealmq: {error}");
            error.exit().into()
        }
    }
}

/// Prints a report on stdout.
fn say(text: &str) -> Result<(), CliError> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())
        .and_then(|()| out.flush())
        .map_err(|e| CliError::other(format!("cannot write to stdout: {e}")))
}
