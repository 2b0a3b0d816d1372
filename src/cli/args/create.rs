//! `create`: what a topic is to be.

use clap::ValueEnum;

use super::members;
use crate::base::names::{Name, TopicName};
use crate::client::{History, Join};
use crate::wire::values::Durability;

/// A topic to be made; the shell's `create` takes the same.
#[derive(Clone, Debug, clap::Args)]
pub struct NewTopic {
    /// The topic's name, such as home/kitchen/temperature
    pub topic: TopicName,
    /// Clients who can read it, besides you [default: all that the broker knows]
    #[arg(long, value_name = "NAME,...", value_delimiter = ',', conflicts_with = "only_me")]
    pub to: Vec<Name>,
    /// Nobody but you
    #[arg(long)]
    pub only_me: bool,
    /// Let clients in that this computer has not seen before, without asking
    #[arg(long)]
    pub trust_new: bool,
    /// When a publish is answered and delivered: when it is on the broker's disk; or at once, and then a restart
    /// of the broker loses it
    #[arg(long, value_enum, default_value_t = DurabilityArg::Disk)]
    pub durability: DurabilityArg,
    /// How much is kept [default: 10000 messages or 64MiB, without end]
    #[command(flatten)]
    pub keep: members::Keep,
    /// How others may join: ask an owner, be let in by an owner's client, or not at all
    #[arg(long, alias = "join", value_enum, default_value_t = PolicyArg::Ask)]
    pub policy: PolicyArg,
    /// What of the past a later member can read
    #[arg(long, value_enum, default_value_t = HistoryArg::All)]
    pub history: HistoryArg,
    #[command(flatten)]
    pub recovery: members::Recovery,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum DurabilityArg {
    Memory,
    Disk,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum PolicyArg {
    Ask,
    Open,
    Closed,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum HistoryArg {
    All,
    SinceJoin,
}

impl From<DurabilityArg> for Durability {
    fn from(arg: DurabilityArg) -> Durability {
        match arg {
            DurabilityArg::Memory => Durability::Memory,
            DurabilityArg::Disk => Durability::Disk,
        }
    }
}

impl From<PolicyArg> for Join {
    fn from(arg: PolicyArg) -> Join {
        match arg {
            PolicyArg::Ask => Join::Ask,
            PolicyArg::Open => Join::Open,
            PolicyArg::Closed => Join::Closed,
        }
    }
}

impl From<HistoryArg> for History {
    fn from(arg: HistoryArg) -> History {
        match arg {
            HistoryArg::All => History::All,
            HistoryArg::SinceJoin => History::SinceJoin,
        }
    }
}
