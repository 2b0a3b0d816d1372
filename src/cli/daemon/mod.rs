//! `sealmqd`: from what was typed to a broker that serves.
//!
//! Reads files and says what is wrong with them; the loop itself is `net`'s.

mod args;
mod check;
pub mod config;
mod log_sink;
mod material;
mod serve;

use std::path::{Path, PathBuf};

pub use args::Args;
use config::Config;

use crate::cli::error::CliError;
use crate::cli::home::Home;
use crate::cli::keyfiles::read_file;
use material::Places;

/// A configuration file of more bytes is none.
const CONFIG_BYTES_MAX: u64 = 1024 * 1024;

/// Does what was asked for; returns when the broker has ended.
pub fn run(args: &Args) -> Result<(), CliError> {
    if args.print_default_config {
        return check::print(config::DEFAULT);
    }
    let settings = Settings::gather(args)?;
    if args.check { check::check(&settings) } else { serve::serve(&settings) }
}

/// Configuration and flags, put together: a flag goes before the environment, that before
/// the file.
struct Settings {
    config_file: Option<PathBuf>,
    config: Config,
    places: Places,
    listen: Vec<String>,
    log_file: Option<PathBuf>,
    log_level: log::LevelFilter,
}

impl Settings {
    fn gather(args: &Args) -> Result<Settings, CliError> {
        let config = match &args.config {
            Some(path) => read_config(path)?,
            None => Config::default(),
        };
        let given = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        let home = args.home.clone().or_else(|| given(&config.home).map(PathBuf::from));
        let name = args.name.clone().or_else(|| given(&config.name));
        let home = Home::find(home.as_deref())?;
        Ok(Settings {
            config_file: args.config.clone(),
            places: Places::find(home, name.as_deref(), &config.known_clients, &config.data)?,
            listen: if args.listen.is_empty() { config.listen.clone() } else { args.listen.clone() },
            log_file: args.log_file.clone().or_else(|| given(&config.log.file).map(PathBuf::from)),
            log_level: args.log_level.unwrap_or(config.log.level).0,
            config,
        })
    }
}

fn read_config(path: &Path) -> Result<Config, CliError> {
    let text = read_file(path, CONFIG_BYTES_MAX)?;
    Config::parse(&text).map_err(|fault| {
        CliError::other(format!("{}, {fault}", path.display()))
            .remedy("`sealmqd --print-default-config` prints all keys with their defaults")
    })
}
