//! What can be typed about a topic's members and its owner's rights; the shell takes the same.

use std::path::PathBuf;
use std::time::Duration;

use super::{Access, Patience, PolicyArg};
use crate::base::names::{Name, TopicFilter, TopicName};
use crate::cli::units;
use crate::wire::values::Retention;

/// What to do, and with which broker.
#[derive(Clone, Debug, clap::Args)]
pub struct To<What: clap::Args> {
    #[command(flatten)]
    pub what: What,
    #[command(flatten)]
    pub link: Dial,
}

/// Who one is, where the broker is, and how long it may be away.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Dial {
    #[command(flatten)]
    pub access: Access,
    #[command(flatten)]
    pub patience: Patience,
}

/// A topic's name.
#[derive(Clone, Debug, clap::Args)]
pub struct OneTopic {
    pub topic: TopicName,
}

/// `requests`.
#[derive(Clone, Debug, clap::Args)]
pub struct Requests {
    /// Only of this topic, or of those that a filter matches
    #[arg(value_name = "TOPIC|FILTER", default_value = "#")]
    pub filter: TopicFilter,
    /// Print one JSON object a line
    #[arg(short = 'J', long)]
    pub json: bool,
}

/// `grant`.
#[derive(Clone, Debug, clap::Args)]
pub struct Grant {
    pub topic: TopicName,
    /// Who is to read and publish
    #[arg(value_name = "NAME", required = true)]
    pub names: Vec<Name>,
    /// Let them also add and remove members; members who are there already become admins
    #[arg(long)]
    pub admin: bool,
    /// Let clients in that this computer has not seen before, without asking
    #[arg(long)]
    pub trust_new: bool,
}

/// `deny`.
#[derive(Clone, Debug, clap::Args)]
pub struct Deny {
    pub topic: TopicName,
    /// Whom to turn away, also if they ask again
    #[arg(value_name = "NAME", required = true)]
    pub names: Vec<Name>,
    /// Why: they are told, and it stands in the topic's records for all members to read
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    pub because: String,
}

/// `revoke`.
#[derive(Clone, Debug, clap::Args)]
pub struct Revoke {
    #[arg(required_unless_present = "everywhere", conflicts_with = "everywhere")]
    pub topic: Option<TopicName>,
    /// Who is to read nothing that comes from now on
    #[arg(value_name = "NAME", required_unless_present = "everywhere")]
    pub names: Vec<Name>,
    /// Remove these from all topics of which you are owner or admin
    #[arg(long, value_name = "NAME", num_args = 1..)]
    pub everywhere: Vec<Name>,
}

/// `policy`.
#[derive(Clone, Debug, clap::Args)]
pub struct Policy {
    pub topic: TopicName,
    /// How others may join: ask an owner or admin, be let in by one's client, or not at all
    #[arg(value_enum)]
    pub policy: PolicyArg,
}

/// `retention`.
#[derive(Clone, Debug, clap::Args)]
pub struct Keeping {
    pub topic: TopicName,
    #[command(flatten)]
    pub keep: Keep,
}

/// How much of a topic is kept; what is not said stays as it is.
#[derive(Clone, Copy, Debug, Default, clap::Args)]
pub struct Keep {
    /// Messages to keep, 0 for no limit
    #[arg(long, value_name = "COUNT")]
    pub retain_count: Option<u64>,
    /// Bytes to keep, such as 64MiB, 0 for no limit
    #[arg(long, value_name = "SIZE", value_parser = units::bytes)]
    pub retain_bytes: Option<u64>,
    /// How long to keep messages, such as 12h or 7d, 0s for without end
    #[arg(long, value_name = "TIME", value_parser = units::duration)]
    pub retain_age: Option<Duration>,
}

/// `delete`.
#[derive(Clone, Debug, clap::Args)]
pub struct Delete {
    pub topic: TopicName,
    /// Do not ask for the name again
    #[arg(long)]
    pub yes: bool,
}

/// Keys that get a topic's key and never connect.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Recovery {
    /// Certificate of a key that is kept elsewhere, in a safe say: it can read the topic, and never
    /// connects; may be repeated
    #[arg(long, value_name = "FILE.crt")]
    pub recovery: Vec<PathBuf>,
}

impl Keep {
    pub fn is_empty(&self) -> bool {
        self.retain_count.is_none() && self.retain_bytes.is_none() && self.retain_age.is_none()
    }

    /// What is kept from now on, where `before` was.
    pub fn over(&self, before: Retention) -> Retention {
        let ms = |age: Duration| u64::try_from(age.as_millis()).unwrap_or(u64::MAX);
        Retention {
            count: self.retain_count.unwrap_or(before.count),
            bytes: self.retain_bytes.unwrap_or(before.bytes),
            age_ms: self.retain_age.map_or(before.age_ms, ms),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_said_stays() {
        let before = Retention { count: 7, bytes: 8, age_ms: 9 };
        assert!(Keep::default().is_empty());
        assert_eq!(Keep::default().over(before), before);
        let keep =
            Keep { retain_count: Some(0), retain_age: Some(Duration::from_secs(2)), ..Keep::default() };
        assert!(!keep.is_empty());
        assert_eq!(keep.over(before), Retention { count: 0, bytes: 8, age_ms: 2000 });
    }
}
