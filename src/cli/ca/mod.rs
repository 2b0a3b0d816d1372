//! `sealmq ca`: who belongs. Makes the CA, issues, renews and revokes certificates.
//!
//! The CA's key is needed here and nowhere else.

mod index;
mod init;
mod issue;
mod list;
mod office;
mod revoke;

use clap::Subcommand;

use super::error::CliError;
use super::home::Home;

pub use init::Init;
pub(super) use init::{new_key, parse_bits};
pub(super) use issue::check_name;
pub use issue::{Issue, Renew, Sign};
pub use list::List;
pub use revoke::{Crl, Revoke};

/// What `sealmq ca` can do.
#[derive(Debug, Subcommand)]
pub enum CaVerb {
    Init(Init),
    Issue(Issue),
    Sign(Sign),
    List(List),
    Renew(Renew),
    Revoke(Revoke),
    Crl(Crl),
}

impl CaVerb {
    /// Does it; returns what to tell.
    pub fn run(self, home: &Home) -> Result<String, CliError> {
        match self {
            CaVerb::Init(verb) => verb.run(home),
            CaVerb::Issue(verb) => verb.run(home),
            CaVerb::Sign(verb) => verb.run(home),
            CaVerb::List(verb) => verb.run(home),
            CaVerb::Renew(verb) => verb.run(home),
            CaVerb::Revoke(verb) => verb.run(home),
            CaVerb::Crl(verb) => verb.run(home),
        }
    }
}
