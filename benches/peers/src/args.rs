//! What may be typed.

use std::path::PathBuf;

use clap::{Parser, Subcommand};

use crate::broker::Kind;

/// The same work for mosquitto, NATS and sealmq
#[derive(Debug, Parser)]
#[command(version)]
pub struct Args {
    #[command(subcommand)]
    pub verb: Verb,
}

#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Measure the brokers side by side, then write tables and chart
    Run(Run),
    /// Measure what sealmq costs as subscribers, topics, connections, messages and history grow
    Growth(Growth),
    /// Write tables and charts again from the samples of an earlier run
    Report(Report),
    /// Name the workloads
    List,
}

#[derive(Debug, clap::Args)]
pub struct Run {
    /// Where samples, tables and chart go
    #[arg(long, value_name = "DIR", default_value = "results")]
    pub out: PathBuf,
    /// How often every broker is put through everything; only ratios within one round count
    #[arg(long, value_name = "N", default_value_t = 5)]
    pub rounds: u32,
    /// One round of an eighth of the work: to see that it runs, not for figures
    #[arg(long)]
    pub quick: bool,
    /// Only these workloads (see `peers list`)
    #[arg(long, value_name = "ID", value_delimiter = ',')]
    pub only: Vec<String>,
    /// Only these brokers
    #[arg(long, value_name = "NAME", value_delimiter = ',', value_enum)]
    pub brokers: Vec<Kind>,
    /// The sealmqd to measure
    #[arg(long, value_name = "FILE")]
    pub sealmqd: Option<PathBuf>,
    /// The rumqttd to measure, if it is not where programs are
    #[arg(long, value_name = "FILE")]
    pub rumqttd: Option<PathBuf>,
    /// QoS of MQTT deliveries; publishes are of QoS 1
    #[arg(long, value_name = "0|1", default_value_t = 0, value_parser = clap::value_parser!(u8).range(0..=1))]
    pub mqtt_qos: u8,
}

#[derive(Debug, clap::Args)]
pub struct Growth {
    /// Where points, tables and chart go
    #[arg(long, value_name = "DIR", default_value = "results")]
    pub out: PathBuf,
    /// How often everything is measured
    #[arg(long, value_name = "N", default_value_t = 3)]
    pub rounds: u32,
    /// One round of the smaller sizes: to see that it runs, not for figures
    #[arg(long)]
    pub quick: bool,
    /// Only these (see `peers list`)
    #[arg(long, value_name = "ID", value_delimiter = ',')]
    pub only: Vec<String>,
    /// The sealmqd to measure
    #[arg(long, value_name = "FILE")]
    pub sealmqd: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
pub struct Report {
    /// Where samples.jsonl and machine.json are
    #[arg(default_value = "results")]
    pub out: PathBuf,
}
