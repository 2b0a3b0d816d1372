//! `pub` and its flags, as typed.

use std::ffi::OsString;
use std::path::PathBuf;

use super::foreign::ForeignPub;
use super::{Access, Patience};
use crate::base::names::TopicName;
use crate::cli::units;

/// `pub`.
#[derive(Debug, clap::Args)]
pub struct Publish {
    /// The topic to publish to
    #[arg(short, long, value_name = "TOPIC")]
    pub topic: TopicName,
    #[command(flatten)]
    pub source: Source,
    #[command(flatten)]
    pub spool: SpoolArgs,
    /// Print topic and offset of each message once it is stored
    #[arg(short, long)]
    pub verbose: bool,
    #[command(flatten)]
    pub patience: Patience,
    #[command(flatten)]
    pub access: Access,
    #[command(flatten)]
    pub foreign: ForeignPub,
}

/// Where messages come from: exactly one of these.
#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
pub struct Source {
    /// Send this text
    #[arg(short, long, value_name = "TEXT", allow_hyphen_values = true)]
    pub message: Option<OsString>,
    /// Send a file's content as one message; - is standard input
    #[arg(short, long, value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// Send each line of standard input as a message
    #[arg(short = 'l', long)]
    pub stdin_line: bool,
    /// Send all of standard input as one message
    #[arg(short = 's', long)]
    pub stdin_file: bool,
    /// Send one empty message
    #[arg(short, long)]
    pub null_message: bool,
    /// Send what waits in the spool, nothing new
    #[arg(long, requires = "folder")]
    pub flush: bool,
}

/// Messages on the publisher's own disk until they are answered.
#[derive(Debug, clap::Args)]
pub struct SpoolArgs {
    /// Keep messages in this folder until they are answered, and send first what waits there: nothing is lost or
    /// sent twice if this program or the broker dies; without a broker they wait
    #[arg(long = "spool", value_name = "DIR", id = "folder", help_heading = "Spool")]
    pub folder: Option<PathBuf>,
    /// How much may wait there
    #[arg(
        long,
        value_name = "SIZE",
        default_value = "64MiB",
        value_parser = units::bytes,
        help_heading = "Spool"
    )]
    pub spool_max: u64,
    /// Stop with exit code 7 rather than send again what the broker may have: it remembers for a day
    #[arg(long, requires = "folder", help_heading = "Spool")]
    pub strict: bool,
}
