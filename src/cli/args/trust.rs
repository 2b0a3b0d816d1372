//! `trust` and its verbs, as typed.

use clap::Subcommand;

use super::Identity;
use crate::base::ids::Fingerprint;
use crate::base::names::{Name, TopicName};

#[derive(Debug, Subcommand)]
pub enum TrustVerb {
    /// List whose keys are pinned, and since when
    List {
        /// Topics, too, with owner and newest record
        #[arg(short, long)]
        verbose: bool,
        /// Print one JSON object a line
        #[arg(short = 'J', long)]
        json: bool,
        #[command(flatten)]
        identity: Identity,
    },
    /// Show all that is known of one client
    Show {
        name: Name,
        /// Print a JSON object
        #[arg(short = 'J', long)]
        json: bool,
        #[command(flatten)]
        identity: Identity,
    },
    /// Say that a client really has a new key
    Replace {
        name: Name,
        /// The new key's, as `sealmq fingerprint` prints it over there
        #[arg(long, value_name = "FINGERPRINT", value_parser = fingerprint)]
        fingerprint: Fingerprint,
        #[command(flatten)]
        identity: Identity,
    },
    /// Forget a topic: owner, records, and how far it was read
    Forget {
        topic: TopicName,
        #[command(flatten)]
        identity: Identity,
    },
}

impl TrustVerb {
    pub fn identity(&self) -> &Identity {
        match self {
            TrustVerb::List { identity, .. }
            | TrustVerb::Show { identity, .. }
            | TrustVerb::Replace { identity, .. }
            | TrustVerb::Forget { identity, .. } => identity,
        }
    }
}

/// All of it: who could make a key to fit half of it is the one to be kept out.
fn fingerprint(text: &str) -> Result<Fingerprint, String> {
    let digits = text.strip_prefix("sha256:").unwrap_or(text);
    Fingerprint::parse_hex(digits)
        .ok_or_else(|| "is not 64 hexadecimal digits, with or without colons".to_owned())
}
