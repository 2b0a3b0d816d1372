//! What can be typed behind `sealmqd`.

use std::path::PathBuf;

use clap::{Parser, Subcommand};

use super::config::Level;

const EXAMPLES: &str = "\
Examples:
  sealmqd                                   serve 127.0.0.1:7883 with ./keys and ./certs
  sealmqd --listen 0.0.0.0:7883 --listen [::]:7883
  sealmqd -c /etc/sealmqd.toml --check      look at everything, serve nothing
  sealmqd --print-default-config > sealmqd.toml
  sealmqd backup monday.db                  copy the topics of the broker that runs here
  sealmqd salvage data data.new             save what a damaged database still has

Signals: SIGTERM and SIGINT tell the clients and end, a second one ends at once. SIGHUP reads
certificates and revocation list again and reopens the log. SIGUSR1 writes counters and
connections to the log.

Exit codes:
   0  ended as asked
   1  other: a configuration at fault, an address in use, no room on the disk
   2  usage
   4  a certificate, a key or a revocation list is at fault
   7  a database is damaged; of salvage: something was lost
  74  the disk has failed: what was answered before is kept, and nothing was answered since";

const BACKUP_HELP: &str = "\
The copy is of one moment, and the broker goes on meanwhile. FILE appears when it is whole and on
disk, for its owner only; like the database it holds no topic keys, but it tells names and sizes.

To go back to it: stop the broker, put FILE into an empty data folder as sealmq.db, start.
  mkdir -m 700 data.new && cp FILE data.new/sealmq.db && sealmqd --data data.new";

const SALVAGE_HELP: &str = "\
OLD is read only, and must not be in use. Each topic is listed with what was copied and which offsets
are lost. Then start with `sealmqd --data NEW`; keep OLD until all is well.

Exit codes: 0 all was copied, 7 something was lost, others as of sealmqd.";

/// The sealmq broker: carries messages between clients, and cannot read them
#[derive(Debug, Parser)]
#[command(name = "sealmqd", version, after_help = EXAMPLES)]
pub struct Args {
    #[command(subcommand)]
    pub verb: Option<Verb>,

    /// Configuration file (see --print-default-config)
    #[arg(short, long, value_name = "FILE", global = true)]
    pub config: Option<PathBuf>,

    /// Where to listen; may be repeated; IPv6 in brackets; port 0 lets the system choose
    #[arg(long, value_name = "HOST:PORT")]
    pub listen: Vec<String>,

    /// Folder that holds keys/ and certs/ [default: here if it has them, else ~/.config/sealmq]
    #[arg(long, value_name = "DIR", env = "SEALMQ_HOME", global = true)]
    pub home: Option<PathBuf>,

    /// Folder that keeps the topics, mode 0700 [default: data in the home folder]
    #[arg(long, value_name = "DIR", global = true)]
    pub data: Option<PathBuf>,

    /// Keep topics in RAM only: no database, all ends with the broker
    #[arg(long, conflicts_with = "data")]
    pub memory: bool,

    /// Which certificate is the broker's: certs/NAME.crt, keys/NAME.key
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,

    /// Write the log to this file instead of standard error
    #[arg(long, value_name = "FILE")]
    pub log_file: Option<PathBuf>,

    /// How much to log: error, warn, info, debug or trace
    #[arg(long, value_name = "LEVEL", value_parser = Level::parse)]
    pub log_level: Option<Level>,

    /// Look at configuration and certificates, say what was found, write nothing
    #[arg(long)]
    pub check: bool,

    /// Print the configuration with its defaults and comments
    #[arg(long)]
    pub print_default_config: bool,
}

/// What is done instead of serving.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Copy the database into FILE, while the broker runs or not
    #[command(after_help = BACKUP_HELP)]
    Backup(Backup),
    /// Copy what is good of a damaged data folder into a new one
    #[command(after_help = SALVAGE_HELP)]
    Salvage(Salvage),
}

#[derive(Debug, clap::Args)]
pub struct Backup {
    /// Where the copy goes
    pub file: PathBuf,

    /// Replace FILE if it exists
    #[arg(long)]
    pub force: bool,
}

#[derive(Debug, clap::Args)]
pub struct Salvage {
    /// The data folder that is damaged
    pub old: PathBuf,

    /// A data folder that is not there yet
    pub new: PathBuf,

    /// Report in JSON
    #[arg(short = 'J', long)]
    pub json: bool,
}

impl Args {
    /// What was typed that only serving needs, beside a verb that does not serve.
    pub fn idle(&self) -> Option<&'static str> {
        let given = [
            (!self.listen.is_empty(), "--listen"),
            (self.name.is_some(), "--name"),
            (self.memory, "--memory"),
            (self.log_file.is_some(), "--log-file"),
            (self.log_level.is_some(), "--log-level"),
            (self.check, "--check"),
            (self.print_default_config, "--print-default-config"),
        ];
        given.into_iter().find(|(is_given, _)| *is_given).map(|(_, flag)| flag)
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::Args;

    #[test]
    fn the_arguments_are_consistent() {
        Args::command().debug_assert();
    }
}
