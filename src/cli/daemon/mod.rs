//! `sealmqd`: from what was typed to a broker that serves.
//!
//! Reads files and says what is wrong with them; the loop itself is `net`'s.

mod args;
mod backup;
mod check;
pub mod config;
mod holder;
mod log_sink;
mod look;
mod material;
mod salvage;
mod serve;
mod storage;

use std::path::{Path, PathBuf};

pub use args::{Args, Verb};
use config::Config;

use crate::cli::error::CliError;
use crate::cli::home::Home;
use crate::cli::keyfiles::read_file;
use material::Places;
use storage::Storage;

/// A configuration file of more bytes is none.
const CONFIG_BYTES_MAX: u64 = 1024 * 1024;

/// Does what was asked for; returns when the broker has ended.
pub fn run(args: &Args) -> Result<(), CliError> {
    if let Some(verb) = &args.verb {
        return run_verb(args, verb);
    }
    if args.print_default_config {
        return check::print(config::DEFAULT);
    }
    let settings = Settings::gather(args)?;
    if args.check { check::check(&settings) } else { serve::serve(&settings) }
}

fn run_verb(args: &Args, verb: &Verb) -> Result<(), CliError> {
    if let Some(flag) = args.idle() {
        return Err(CliError::usage(format!("{flag} is for serving, not for backup or salvage")));
    }
    match verb {
        Verb::Backup(asked) => {
            let config = configuration(args)?;
            let home = home(args, &config)?;
            backup::backup(&data_folder(args, &config, &home), asked)
        }
        Verb::Salvage(_) if args.data.is_some() => {
            Err(CliError::usage("salvage takes both folders as they stand: sealmqd salvage OLD NEW"))
        }
        Verb::Salvage(asked) => salvage::salvage(asked),
    }
}

/// Configuration and flags, put together: a flag goes before the environment, that before
/// the file.
struct Settings {
    config_file: Option<PathBuf>,
    config: Config,
    places: Places,
    storage: Storage,
    listen: Vec<String>,
    log_file: Option<PathBuf>,
    log_level: log::LevelFilter,
}

impl Settings {
    fn gather(args: &Args) -> Result<Settings, CliError> {
        let config = configuration(args)?;
        let home = home(args, &config)?;
        let data = data_folder(args, &config, &home);
        let name = args.name.clone().or_else(|| given(&config.name));
        // A folder that is named on the command line is meant to be used.
        let in_memory = args.memory || (!config.persistence && args.data.is_none());
        let storage = if in_memory { Storage::Memory(data.clone()) } else { Storage::Disk(data.clone()) };
        Ok(Settings {
            config_file: args.config.clone(),
            places: Places::find(home, name.as_deref(), &config.known_clients, data)?,
            storage,
            listen: if args.listen.is_empty() { config.listen.clone() } else { args.listen.clone() },
            log_file: args.log_file.clone().or_else(|| given(&config.log.file).map(PathBuf::from)),
            log_level: args.log_level.unwrap_or(config.log.level).0,
            config,
        })
    }
}

fn configuration(args: &Args) -> Result<Config, CliError> {
    match &args.config {
        Some(path) => read_config(path),
        None => Ok(Config::default()),
    }
}

fn home(args: &Args, config: &Config) -> Result<Home, CliError> {
    Home::find(args.home.clone().or_else(|| given(&config.home).map(PathBuf::from)).as_deref())
}

/// What the file names counts from home, what was typed from where it was typed.
fn data_folder(args: &Args, config: &Config, home: &Home) -> PathBuf {
    args.data.clone().unwrap_or_else(|| home.join(&config.data))
}

fn given(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

fn read_config(path: &Path) -> Result<Config, CliError> {
    let text = read_file(path, CONFIG_BYTES_MAX)?;
    Config::parse(&text).map_err(|fault| {
        CliError::other(format!("{}, {fault}", path.display()))
            .remedy("`sealmqd --print-default-config` prints all keys with their defaults")
    })
}
