//! `bench`: what is measured, with how many, how large and how long. Every number has a limit.

use std::time::Duration;

use clap::Subcommand;

use super::{Access, DurabilityArg, Patience, examples};
use crate::base::limits::{MESSAGE_BYTES_MAX, UNANSWERED_PUBLISHES_MAX};
use crate::base::names::TopicName;
use crate::cli::units;

/// Without a kind: throughput.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Bench {
    #[command(subcommand)]
    pub kind: Option<BenchKind>,
    #[command(flatten)]
    pub flow: Flow,
}

#[derive(Debug, Subcommand)]
pub enum BenchKind {
    /// One message at a time: how long from the publish to a subscriber, and to the broker's answer
    #[command(after_help = examples::BENCH_LATENCY)]
    Latency(Latency),
    /// New sessions: how long each takes, and what it costs the broker
    #[command(after_help = examples::BENCH_CONNECT)]
    Connect(Connect),
}

/// Throughput.
#[derive(Clone, Debug, clap::Args)]
pub struct Flow {
    /// Publishers, each a connection of its own
    #[arg(
        long,
        alias = "pub",
        value_name = "N",
        default_value_t = 1,
        value_parser = clap::value_parser!(u32).range(1..=256)
    )]
    pub pubs: u32,
    /// Subscribers, each a connection of its own; each gets all messages
    #[arg(
        long,
        alias = "sub",
        value_name = "N",
        default_value_t = 1,
        value_parser = clap::value_parser!(u32).range(0..=1000)
    )]
    pub subs: u32,
    /// Messages, of all publishers together
    #[arg(
        long,
        alias = "msgs",
        value_name = "N",
        default_value_t = 20_000,
        conflicts_with = "duration",
        value_parser = clap::value_parser!(u64).range(1..=COUNT_MAX)
    )]
    pub count: u64,
    /// Publish for so long instead: 10, 0.5, 2m
    #[arg(long, allow_negative_numbers = true, value_name = "SECONDS", value_parser = at_most_an_hour)]
    pub duration: Option<Duration>,
    /// Messages of each publisher that are on their way at once: not yet answered, or not yet with all subscribers
    /// [default: 256, fewer if they are large]
    #[arg(
        long,
        value_name = "N",
        value_parser = clap::value_parser!(u32).range(1..=UNANSWERED_PUBLISHES_MAX as i64)
    )]
    pub window: Option<u32>,
    /// Messages a second, of all publishers together, in even steps; the times count from when a message was due.
    /// Without it: as many as the windows take
    #[arg(long, allow_negative_numbers = true, value_name = "N", value_parser = rate)]
    pub rate: Option<f64>,
    /// Topics, shared out among the publishers
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub topics: u32,
    #[command(flatten)]
    pub load: Load,
    #[command(flatten)]
    pub form: Form,
    #[command(flatten)]
    pub patience: Patience,
    #[command(flatten)]
    pub access: Access,
}

#[derive(Clone, Debug, clap::Args)]
pub struct Latency {
    /// Messages, one after the other
    #[arg(long, value_name = "N", default_value_t = 2_000, value_parser = clap::value_parser!(u64).range(1..=COUNT_MAX))]
    pub count: u64,
    /// Messages a second, in even steps; the times count from when a message was due. Without it: each as soon as
    /// the one before is done
    #[arg(long, allow_negative_numbers = true, value_name = "N", value_parser = rate)]
    pub rate: Option<f64>,
    #[command(flatten)]
    pub load: Load,
    #[command(flatten)]
    pub form: Form,
    #[command(flatten)]
    pub patience: Patience,
    #[command(flatten)]
    pub access: Access,
}

#[derive(Clone, Debug, clap::Args)]
pub struct Connect {
    /// Sessions; they stay until all are there
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub count: u32,
    /// How many are on their way at once
    #[arg(long, value_name = "N", default_value_t = 32, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub at_once: u32,
    #[command(flatten)]
    pub form: Form,
    #[command(flatten)]
    pub patience: Patience,
    #[command(flatten)]
    pub access: Access,
}

/// What is published, and where.
#[derive(Clone, Debug, clap::Args)]
pub struct Load {
    /// Size of a message, before it is sealed: 128, 1KiB
    #[arg(long, value_name = "BYTES", default_value = "128", value_parser = size)]
    pub size: usize,
    /// Whether the topics are kept on the broker's disk
    #[arg(long, value_enum, default_value_t = DurabilityArg::Disk)]
    pub durability: DurabilityArg,
    /// The topics are called PREFIX/RANDOM/0 and so on
    #[arg(long, value_name = "PREFIX", default_value = "bench")]
    pub topic: TopicName,
    /// Do not delete the topics at the end
    #[arg(long)]
    pub keep: bool,
}

/// How the result is printed.
#[derive(Clone, Copy, Debug, Default, clap::Args)]
pub struct Form {
    /// Print one JSON object: times in microseconds, shares of one core
    #[arg(short = 'J', long)]
    pub json: bool,
    /// Print the same as a line of names and a line of figures
    #[arg(long, conflicts_with = "json")]
    pub csv: bool,
}

impl Bench {
    pub fn access(&self) -> &Access {
        match &self.kind {
            None => &self.flow.access,
            Some(BenchKind::Latency(latency)) => &latency.access,
            Some(BenchKind::Connect(connect)) => &connect.access,
        }
    }
}

fn size(text: &str) -> Result<usize, String> {
    let bytes = usize::try_from(units::bytes(text)?).unwrap_or(usize::MAX);
    match (SIZE_MIN..=MESSAGE_BYTES_MAX).contains(&bytes) {
        true => Ok(bytes),
        false => Err(format!("expected {SIZE_MIN} bytes to {} KiB", MESSAGE_BYTES_MAX / 1024)),
    }
}

fn at_most_an_hour(text: &str) -> Result<Duration, String> {
    let time = units::seconds(text)?;
    if time <= DURATION_MAX { Ok(time) } else { Err("expected an hour at most".to_owned()) }
}

fn rate(text: &str) -> Result<f64, String> {
    let per_second = text.parse().ok().filter(|per_second| *per_second > 0.0 && *per_second <= RATE_MAX);
    per_second.ok_or_else(|| format!("expected a number of messages a second above 0, {RATE_MAX} at most"))
}

/// A message says whose it is and which.
pub const SIZE_MIN: usize = 8;
/// Their numbers have 32 bits.
const COUNT_MAX: u64 = 10_000_000;
pub const DURATION_MAX: Duration = Duration::from_secs(3600);
/// Far above what one program seals, so that it is a typing error.
const RATE_MAX: f64 = 10_000_000.0;
