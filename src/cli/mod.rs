//! The command line: arguments, identity files, one-shot verbs, the shell, and what goes wrong with them.
//!
//! A new verb is a variant of [`args::Verb`], a file in `verbs/`, and a line in [`run`].

pub mod access;
pub mod args;
pub mod ca;
pub mod daemon;
pub mod error;
pub mod format;
pub mod home;
mod interrupt;
pub mod keyfiles;
pub mod keygen;
pub mod link;
pub mod membership;
pub mod output;
pub mod payload;
pub mod pinfile;
mod progress;
mod remedies;
pub mod resume;
pub mod shell;
pub mod spool;
pub mod state;
pub mod surroundings;
pub mod system;
pub mod tidings;
pub mod units;
pub mod verbs;

use std::ffi::OsString;
use std::io::{self, IsTerminal};
use std::path::Path;
use std::process::ExitCode;

use clap::{CommandFactory, Parser};
use log::LevelFilter;
use simplelog::{ConfigBuilder, WriteLogger};

use access::Base;
use args::{Access, Args, Verb};
use error::{CliError, Exit};
use home::Home;
use output::{Output, Tint, printable, tint};
use surroundings::Surroundings;

/// The program `sealmq`: parses the arguments, runs the verb, reports.
pub fn sealmq(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    let args = match Args::try_parse_from(&arguments) {
        Ok(args) => args,
        Err(error) => return not_parsed(&error, &arguments),
    };
    let around = Surroundings::read();
    let colours = io::stderr().is_terminal() && !around.no_color;
    match run(args, around) {
        Ok(()) => Exit::Done.into(),
        Err(error) => {
            let text = error.to_string();
            // An error without words has been said, or nobody is left to hear it.
            if !text.is_empty() {
                eprintln!("{} {}", tint("sealmq:", Tint::Alarm, colours), printable(&text));
            }
            error.exit().into()
        }
    }
}

fn run(args: Args, around: Surroundings) -> Result<(), CliError> {
    let home = args.home.filter(|home| !home.as_os_str().is_empty());
    let base = || Base::find(home.as_deref(), around.clone());
    if let Some(access) = args.verb.access() {
        set_up_log(access);
    }
    match args.verb {
        Verb::Create { topic, access, patience } => verbs::create::run(&base()?, &topic, &access, patience),
        Verb::Pub(publish) => verbs::publish::run(&base()?, *publish),
        Verb::Sub(subscribe) => verbs::subscribe::run(&base()?, *subscribe),
        Verb::Topics { list, access, patience } => verbs::list::topics(&base()?, &list, &access, patience),
        Verb::Members { topic, access, patience } => {
            verbs::list::members(&base()?, &topic, &access, patience)
        }
        Verb::Requests(to) => verbs::requests::run(&base()?, &to),
        Verb::Grant(to) => verbs::members::grant(&base()?, &to),
        Verb::Deny(to) => verbs::members::deny(&base()?, &to),
        Verb::Revoke(to) => verbs::members::revoke(&base()?, &to),
        Verb::Rotate(to) => verbs::members::rotate(&base()?, &to),
        Verb::Policy(to) => verbs::members::policy(&base()?, &to),
        Verb::Retention(to) => verbs::topic::retention(&base()?, &to),
        Verb::Delete(to) => verbs::topic::delete(&base()?, &to),
        Verb::Forget { topic, access } => verbs::topic::forget(&base()?, &topic, &access),
        Verb::Resume { name, forget, to, identity } => {
            verbs::resume::run(&base()?, name.as_ref(), forget, to, &identity)
        }
        Verb::Export(export) => verbs::export::run(&base()?, &export),
        Verb::Steward { access, patience } => verbs::steward::run(&base()?, &access, patience),
        Verb::Ping { count, access, patience } => verbs::list::ping(&base()?, count, &access, patience),
        Verb::Fingerprint { who, identity } => verbs::fingerprint::run(&base()?, &who, &identity),
        Verb::Trust(verb) => verbs::trust::run(&base()?, &verb),
        Verb::Bench(bench) => verbs::bench::run(&base()?, &bench),
        Verb::Stats { access, patience } => verbs::list::stats(&base()?, &access, patience),
        Verb::Shell { access } => shell::run(&base()?, &access),
        Verb::Ca(verb) => say(&verb.run(&found(home.as_deref())?)?),
        Verb::Keygen(verb) => say(&verb.run(&found(home.as_deref())?)?),
        Verb::Completions { shell } => completions(shell),
    }
}

/// A home that may still have to be made.
fn found(home: Option<&Path>) -> Result<Home, CliError> {
    Home::find(home)
}

/// Prints a report on standard output.
fn say(text: &str) -> Result<(), CliError> {
    let mut output = Output::new();
    output.write(text.as_bytes())?;
    output.flush()
}

fn completions(shell: clap_complete::Shell) -> Result<(), CliError> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Args::command(), "sealmq", &mut script);
    let mut output = Output::new();
    output.write(&script)?;
    output.flush()
}

/// Help and version are such errors too, on standard output and with code 0.
fn not_parsed(error: &clap::Error, arguments: &[OsString]) -> ExitCode {
    // If the stream is closed, nobody wants to know.
    let _ = error.print();
    if !error.use_stderr() {
        return Exit::Done.into();
    }
    if arguments.iter().skip(1).any(|argument| argument == "-h" || argument == "-?") {
        eprintln!("\n-h is the host, as in mosquitto_pub; for help say --help.");
    }
    Exit::Usage.into()
}

fn set_up_log(access: &Access) {
    let level = if access.debug { LevelFilter::Debug } else { LevelFilter::Warn };
    let config = ConfigBuilder::new().add_filter_allow_str("sealmq").build();
    // Only a second logger is an error, and this is the first.
    let _ = WriteLogger::init(level, config, io::stderr());
}
