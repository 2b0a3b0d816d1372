//! What can be typed: `sealmq`'s verbs and their flags, as they were typed, not what they mean.
//!
//! Flags that `mosquitto_pub` and `mosquitto_sub` have for the same thing are the same here,
//! which is why `-h` is the host and help is `--help` alone.

mod bench;
mod create;
mod examples;
pub mod foreign;
pub mod members;
mod publish;
mod trust;

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgAction, Parser, Subcommand};

use super::ca::CaVerb;
use super::format::Format;
use super::keygen::Keygen;
use super::units::{self, Place, Until};
use crate::base::names::{Name, TopicFilter, TopicName};
pub use bench::{Bench, BenchKind, Connect, DURATION_MAX as BENCH_TIME_MAX, Flow, Form, Latency};
pub use create::{DurabilityArg, HistoryArg, NewTopic, PolicyArg};
use foreign::ForeignSub;
pub use members::{OneTopic, To};
pub use publish::{Publish, Source};
pub use trust::TrustVerb;

/// Publish and subscribe through a broker that cannot read what it carries.
#[derive(Debug, Parser)]
#[command(
    name = "sealmq",
    version,
    disable_help_flag = true,
    disable_version_flag = true,
    after_help = examples::SEALMQ,
    infer_subcommands = false
)]
pub struct Args {
    /// Print help
    #[arg(long, global = true, action = ArgAction::Help, help_heading = "Other")]
    help: Option<bool>,
    /// Folder with keys/, certs/ and perhaps sealmq.toml [default: here if it has keys/ and certs/,
    /// else ~/.config/sealmq]
    #[arg(
        long,
        value_name = "DIR",
        global = true,
        env = "SEALMQ_HOME",
        hide_env_values = true,
        help_heading = "Who you are"
    )]
    pub home: Option<PathBuf>,
    /// Print the version
    #[arg(long, action = ArgAction::Version)]
    version: Option<bool>,
    #[command(subcommand)]
    pub verb: Verb,
}

#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Make a topic and choose who can read it
    #[command(after_help = examples::CREATE)]
    Create {
        #[command(flatten)]
        topic: NewTopic,
        #[command(flatten)]
        access: Access,
        #[command(flatten)]
        patience: Patience,
    },
    /// Publish messages to a topic
    #[command(name = "pub", visible_alias = "publish", after_help = examples::PUB)]
    Pub(Box<Publish>),
    /// Subscribe to topics and print their messages, past and new
    #[command(name = "sub", visible_alias = "subscribe", after_help = examples::SUB)]
    Sub(Box<Subscribe>),
    /// Write a topic's past as JSON lines, decrypted, each with whether it verified
    #[command(after_help = examples::EXPORT)]
    Export(Box<Export>),
    /// List topics
    #[command(after_help = examples::TOPICS)]
    Topics {
        #[command(flatten)]
        list: TopicList,
        #[command(flatten)]
        access: Access,
        #[command(flatten)]
        patience: Patience,
    },
    /// Show who is a member of a topic, as its signed records say
    #[command(after_help = examples::MEMBERS)]
    Members {
        topic: TopicName,
        #[command(flatten)]
        access: Access,
        #[command(flatten)]
        patience: Patience,
    },
    /// Show who asks to join your topics
    #[command(after_help = examples::REQUESTS)]
    Requests(To<members::Requests>),
    /// Let clients into a topic, or make its members admins
    #[command(after_help = examples::GRANT)]
    Grant(To<members::Grant>),
    /// Turn clients away who ask to join a topic
    #[command(after_help = examples::DENY)]
    Deny(To<members::Deny>),
    /// Remove members: a new key for the others, which those removed do not get
    #[command(after_help = examples::REVOKE)]
    Revoke(To<members::Revoke>),
    /// Give a topic a new key, for the same members
    #[command(after_help = examples::ROTATE)]
    Rotate(To<OneTopic>),
    /// Choose how others may join a topic
    #[command(after_help = examples::POLICY)]
    Policy(To<members::Policy>),
    /// Choose how much of a topic is kept; without a choice, show it
    #[command(after_help = examples::RETENTION)]
    Retention(To<members::Keeping>),
    /// Delete a topic with all that is in it
    #[command(after_help = examples::DELETE)]
    Delete(To<members::Delete>),
    /// Forget a topic on this computer: what it was last seen as, and how far it was read
    #[command(after_help = examples::FORGET)]
    Forget {
        topic: TopicName,
        #[command(flatten)]
        access: Access,
    },
    /// List the names of `sub --resume` and how far each has read, or forget one
    #[command(after_help = examples::RESUME)]
    Resume {
        /// Only this name
        name: Option<Name>,
        /// Drop the name's places: the next `sub --resume` of it begins where --from says
        #[arg(long, requires = "name")]
        forget: bool,
        /// Let it go on at this offset of a topic that it has a place in, as behind a damaged message
        #[arg(long = "move", value_name = "TOPIC=OFFSET", value_parser = place, requires = "name")]
        to: Option<(TopicName, u64)>,
        #[command(flatten)]
        identity: Identity,
    },
    /// Stay connected and let into open topics who asks, for topics that you may change
    ///
    /// It also removes members whose certificates were revoked, with a new key for the others. It
    /// must not run on the broker's host: whoever breaks into that host would then hold a key that
    /// lets people in, and what the broker carries would be open to them.
    #[command(after_help = examples::STEWARD)]
    Steward {
        #[command(flatten)]
        access: Access,
        #[command(flatten)]
        patience: Patience,
    },
    /// Connect, ask the broker for a sign of life, and say how long it took
    #[command(after_help = examples::PING)]
    Ping {
        /// How many to send, one a second
        #[arg(short, long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
        count: u32,
        #[command(flatten)]
        access: Access,
        #[command(flatten)]
        patience: Patience,
    },
    /// Print the fingerprint of your key, or of other certificates
    #[command(after_help = examples::FINGERPRINT)]
    Fingerprint {
        /// Names of certificates in the home folder, or certificate files; none: your own
        who: Vec<OsString>,
        #[command(flatten)]
        identity: Identity,
    },
    /// Show whose keys and which topics you know, and say that somebody's key was really replaced
    #[command(subcommand, after_help = examples::TRUST)]
    Trust(TrustVerb),
    /// Measure throughput through the broker, the latency of messages, or connections
    #[command(after_help = examples::BENCH)]
    Bench(Box<Bench>),
    /// Print the broker's counters
    #[command(after_help = examples::STATS)]
    Stats {
        #[command(flatten)]
        access: Access,
        #[command(flatten)]
        patience: Patience,
    },
    /// Talk to the broker by hand, while messages keep arriving
    #[command(after_help = examples::SHELL)]
    Shell {
        #[command(flatten)]
        access: Access,
    },
    /// Make a CA; issue, list, renew and revoke certificates
    #[command(subcommand, after_help = examples::CA)]
    Ca(CaVerb),
    Keygen(Keygen),
    /// Write completions for your shell to standard output
    #[command(after_help = examples::COMPLETIONS)]
    Completions {
        shell: clap_complete::Shell,
    },
}

impl Verb {
    /// Where it connects to and as whom, if it does.
    pub fn access(&self) -> Option<&Access> {
        match self {
            Verb::Create { access, .. }
            | Verb::Topics { access, .. }
            | Verb::Members { access, .. }
            | Verb::Ping { access, .. }
            | Verb::Stats { access, .. }
            | Verb::Forget { access, .. }
            | Verb::Steward { access, .. }
            | Verb::Shell { access } => Some(access),
            Verb::Requests(To { link, .. })
            | Verb::Grant(To { link, .. })
            | Verb::Deny(To { link, .. })
            | Verb::Revoke(To { link, .. })
            | Verb::Rotate(To { link, .. })
            | Verb::Policy(To { link, .. })
            | Verb::Retention(To { link, .. })
            | Verb::Delete(To { link, .. }) => Some(&link.access),
            Verb::Pub(publish) => Some(&publish.access),
            Verb::Sub(subscribe) => Some(&subscribe.access),
            Verb::Export(export) => Some(&export.access),
            Verb::Bench(bench) => Some(bench.access()),
            Verb::Fingerprint { .. }
            | Verb::Resume { .. }
            | Verb::Trust(_)
            | Verb::Ca(_)
            | Verb::Keygen(_)
            | Verb::Completions { .. } => None,
        }
    }
}

/// Who one is.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "Who you are")]
pub struct Identity {
    /// The client whose key and certificate to use [env: SEALMQ_AS; default: the only one in the home]
    #[arg(long = "as", value_name = "NAME")]
    pub as_name: Option<Name>,
    /// Key file, instead of keys/NAME.key
    #[arg(long, value_name = "FILE", requires = "cert", conflicts_with = "as_name")]
    pub key: Option<PathBuf>,
    /// Certificate file, instead of certs/NAME.crt
    #[arg(long, value_name = "FILE", requires = "key")]
    pub cert: Option<PathBuf>,
    /// The CA's certificate, instead of certs/ca.crt
    #[arg(long, value_name = "FILE")]
    pub cafile: Option<PathBuf>,
}

/// Who one is and where the broker is.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Access {
    #[command(flatten)]
    pub identity: Identity,
    /// The broker's host [env: SEALMQ_HOST; default: localhost]
    #[arg(short = 'h', long, value_name = "HOST", help_heading = "Where the broker is")]
    pub host: Option<String>,
    /// The broker's port [env: SEALMQ_PORT; default: 7883]
    #[arg(short, long, value_name = "PORT", help_heading = "Where the broker is")]
    pub port: Option<u16>,
    /// Say on standard error what is going on
    #[arg(short, long, help_heading = "Other")]
    pub debug: bool,
}

/// For verbs that `mosquitto` does not have, -W is free to mean this.
#[derive(Clone, Copy, Debug, Default, clap::Args)]
pub struct Patience {
    /// Keep trying to reach the broker for so long
    #[arg(
        short = 'W',
        long = "wait-for-broker",
        value_name = "SECONDS",
        value_parser = units::seconds,
        help_heading = "Where the broker is"
    )]
    pub wait: Option<Duration>,
}

/// `sub`.
#[derive(Debug, clap::Args)]
pub struct Subscribe {
    /// The same as -t
    #[arg(value_name = "FILTER", id = "positional", required_unless_present = "topic")]
    pub positional: Vec<TopicFilter>,
    /// A topic, or a filter: + stands for one level, # for all that follow; may be repeated
    #[arg(short, long = "topic", id = "topic", value_name = "FILTER")]
    pub topics: Vec<TopicFilter>,
    /// Leave out topics that this filter matches; may be repeated
    #[arg(short = 'T', long, value_name = "FILTER")]
    pub filter_out: Vec<TopicFilter>,
    /// Where to begin: earliest, latest, last=N, since=TIME or offset=N. TIME is 2026-11-23T08:00:00Z,
    /// a time ago such as 10m, or Unix seconds
    #[arg(long, value_name = "PLACE", default_value = "earliest", value_parser = Place::parse)]
    pub from: Place,
    /// Go on where the last `sub` of this name stopped, however that ended; --from is for topics that have no
    /// place yet. Each message is written out before its place is
    #[arg(long, value_name = "NAME")]
    pub resume: Option<Name>,
    /// Exit after so many messages
    #[arg(short = 'C', value_name = "COUNT", value_parser = clap::value_parser!(u64).range(1..))]
    pub count: Option<u64>,
    /// Exit with code 27 after so many seconds
    #[arg(short = 'W', value_name = "SECONDS", value_parser = units::seconds)]
    pub timeout: Option<Duration>,
    /// Exit when all past messages have been printed
    #[arg(short = 'e', long)]
    pub exit_when_caught_up: bool,
    /// Exit when subscribed
    #[arg(short = 'E', long)]
    pub exit_when_subscribed: bool,
    /// If a topic is not there yet, wait for it instead of failing
    #[arg(long)]
    pub wait_for_topic: bool,
    /// If you are no member of a topic, ask to join and wait until you are, instead of exit code 6
    #[arg(long)]
    pub wait: bool,
    /// Give a topic up unless this is its owner
    #[arg(long, value_name = "NAME")]
    pub owner: Option<Name>,
    /// Exit with code 7 at the end if a message was forged, replayed, reordered or missing
    #[arg(long)]
    pub strict: bool,
    #[command(flatten)]
    pub output: SubOutput,
    /// Keep trying to reach the broker for so long, the first time
    #[arg(
        long = "wait-for-broker",
        value_name = "SECONDS",
        value_parser = units::seconds,
        help_heading = "Where the broker is"
    )]
    pub wait_for_broker: Option<Duration>,
    #[command(flatten)]
    pub access: Access,
    #[command(flatten)]
    pub foreign: ForeignSub,
}

/// `export`.
#[derive(Debug, clap::Args)]
pub struct Export {
    pub topic: TopicName,
    /// Where to begin: earliest, last=N, since=TIME or offset=N
    #[arg(long, value_name = "PLACE", default_value = "earliest", value_parser = Place::parse)]
    pub from: Place,
    /// Where to end, that message left out: offset=N or TIME; else at the end of what there is now
    #[arg(long, value_name = "PLACE", value_parser = Until::parse)]
    pub until: Option<Until>,
    /// Write to this file, readable by you alone, once all is there; else to standard output
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Replace the file if it is there
    #[arg(long, requires = "output")]
    pub force: bool,
    #[command(flatten)]
    pub patience: Patience,
    #[command(flatten)]
    pub access: Access,
}

/// How `sub` prints.
#[derive(Debug, clap::Args)]
pub struct SubOutput {
    /// Print the topic before each message
    #[arg(short, long, conflicts_with_all = ["format", "json"])]
    pub verbose: bool,
    /// Print as FORMAT says: %t topic, %p payload, %x payload in hex, %o offset, %s sender, %f its fingerprint,
    /// %I time, %U Unix time, %l length, %j JSON; @ and a letter as in date(1)
    #[arg(
        short = 'F',
        value_name = "FORMAT",
        allow_hyphen_values = true,
        value_parser = Format::parse,
        conflicts_with = "json"
    )]
    pub format: Option<Format>,
    /// Print one JSON object a line
    #[arg(short = 'J', long)]
    pub json: bool,
    /// Print no newline behind a message
    #[arg(short = 'N')]
    pub no_newline: bool,
}

/// `topics`; the shell takes the same.
#[derive(Clone, Debug, clap::Args)]
pub struct TopicList {
    /// Only those that this filter matches
    #[arg(default_value = "#")]
    pub filter: TopicFilter,
    /// Print a table of all that the broker knows of them
    #[arg(short, long)]
    pub verbose: bool,
    /// Print names alone, one a line
    #[arg(long, conflicts_with = "verbose")]
    pub names: bool,
    /// Print one JSON object a line: all that the broker knows, in bytes and milliseconds
    #[arg(short = 'J', long, conflicts_with_all = ["verbose", "names"])]
    pub json: bool,
    /// Also those that you are no member of
    #[arg(short, long)]
    pub all: bool,
}

/// `TOPIC=OFFSET`.
fn place(text: &str) -> Result<(TopicName, u64), String> {
    let (topic, offset) = text.rsplit_once('=').ok_or("expected TOPIC=OFFSET")?;
    let topic = TopicName::parse(topic).map_err(|e| e.to_string())?;
    let offset = offset.parse().map_err(|_| format!("expected a whole number, not {offset:?}"))?;
    Ok((topic, offset))
}

#[cfg(test)]
mod tests;
