//! `sealmqd`'s configuration file: what may stand in it, and what it means.
//!
//! The commented default configuration is a file of its own. It is also the list of known
//! keys: what does not stand there is an error that names the nearest one that does.

mod fault;
mod values;

use serde::Deserialize;
use toml::de::DeTable;

pub use fault::ConfigFault;
pub use values::{CreateRules, Level, Size, Time};

use crate::base::limits::{KNOWN_CLIENTS_MAX, MESSAGE_BYTES_MAX, RETAIN_BYTES};
use crate::broker::BrokerConfig;
use crate::net::broker::LISTENERS_MAX;
use crate::store::disk::Caps;

/// The default configuration, commented; `--print-default-config` prints it.
pub const DEFAULT: &str = include_str!("config/default.toml");

/// What topics on disk may hold unless the configuration says otherwise: sixty-four full ones. It
/// fits beside the system on the smallest card that a small computer boots from.
const STORAGE_BYTES_MAX: u64 = 64 * RETAIN_BYTES;
/// The same for topics in RAM: four full ones.
const MEMORY_STORAGE_BYTES_MAX: u64 = 4 * RETAIN_BYTES;
/// The database counts bytes in signed numbers.
const STORAGE_CEILING: u64 = i64::MAX as u64;
/// A slot's number fits in half of a poll's token, also on a 32-bit host.
const CONNECTIONS_CEILING: usize = 65_000;

/// A configuration file as written. What it leaves out has its default.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[cfg_attr(test, derive(serde::Serialize))]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    pub listen: Vec<String>,
    /// Empty: to be found.
    pub home: String,
    /// Empty: to be found.
    pub name: String,
    pub known_clients: String,
    pub data: String,
    /// Whether topics are kept in the data folder.
    pub persistence: bool,
    pub log: Log,
    limits: Limits,
    sessions: Sessions,
    create: CreateRules,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[cfg_attr(test, derive(serde::Serialize))]
#[serde(default, deny_unknown_fields)]
pub struct Log {
    /// Empty: standard error.
    pub file: String,
    pub level: Level,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[cfg_attr(test, derive(serde::Serialize))]
#[serde(default, deny_unknown_fields)]
struct Limits {
    connections: usize,
    pending_connections: usize,
    address_connections: usize,
    address_limit_from: usize,
    message: Size,
    topics: usize,
    topics_per_client: usize,
    cursors_per_connection: usize,
    outbox: Size,
    unanswered_publishes: usize,
    keepalive: Time,
    tail: Size,
    storage: Size,
    memory_storage: Size,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[cfg_attr(test, derive(serde::Serialize))]
#[serde(default, deny_unknown_fields)]
struct Sessions {
    seal_bodies: bool,
}

impl Config {
    /// Reads a configuration file's text, and holds it against what the broker can do.
    pub fn parse(text: &str) -> Result<Config, ConfigFault> {
        let of_toml = |e: toml::de::Error| ConfigFault::of_toml(text, &e);
        let table = DeTable::parse(text).map_err(of_toml)?;
        let known = DeTable::parse(DEFAULT).expect("a test parses the default configuration");
        fault::check_keys(text, table.get_ref(), known.get_ref())?;
        let config: Config = toml::from_str(text).map_err(of_toml)?;
        config.check().map_err(|(key, problem)| {
            ConfigFault::at(text, span_of(table.get_ref(), key), format!("{key}: {problem}"))
        })?;
        Ok(config)
    }

    /// What the broker's core is told.
    pub fn broker(&self) -> BrokerConfig {
        let limits = &self.limits;
        BrokerConfig {
            connections_max: limits.connections,
            pending_connections_max: limits.pending_connections,
            address_connections_max: limits.address_connections,
            address_limit_from: limits.address_limit_from,
            message_bytes_max: limits.message.bytes(),
            known_clients_max: KNOWN_CLIENTS_MAX,
            topics_max: limits.topics,
            topics_per_client_max: limits.topics_per_client,
            cursors_per_connection_max: limits.cursors_per_connection,
            outbox_bytes_max: limits.outbox.bytes(),
            unanswered_publishes_max: limits.unanswered_publishes,
            keepalive: limits.keepalive.0,
            tail_bytes_max: limits.tail.bytes(),
            seal_bodies: self.sessions.seal_bodies,
            create_rules: self.create.0.clone(),
        }
    }

    /// What topics may hold.
    pub fn caps(&self) -> Caps {
        Caps { disk_bytes: self.limits.storage.0, memory_bytes: self.limits.memory_storage.0 }
    }

    /// Numbers that would make a broker that serves nobody, or one that cannot be.
    fn check(&self) -> Result<(), (&'static str, String)> {
        let l = &self.limits;
        let within = |key, value: u64, min: u64, max: u64| {
            let good = (min..=max).contains(&value);
            if good { Ok(()) } else { Err((key, format!("must be {min} to {max}, is {value}"))) }
        };
        let count = |key, value: usize, max: usize| within(key, value as u64, 1, max as u64);
        count("listen", self.listen.len(), LISTENERS_MAX)?;
        count("connections", l.connections, CONNECTIONS_CEILING)?;
        count("pending_connections", l.pending_connections, CONNECTIONS_CEILING)?;
        count("address_connections", l.address_connections, CONNECTIONS_CEILING)?;
        within("message", l.message.0, 1, MESSAGE_BYTES_MAX as u64)?;
        count("topics", l.topics, 10_000_000)?;
        count("topics_per_client", l.topics_per_client, 10_000_000)?;
        count("cursors_per_connection", l.cursors_per_connection, 1_000_000)?;
        within("outbox", l.outbox.0, 16 * 1024, 64 * 1024 * 1024)?;
        count("unanswered_publishes", l.unanswered_publishes, 65_535)?;
        within("tail", l.tail.0, 2 * MESSAGE_BYTES_MAX as u64, usize::MAX as u64)?;
        within("storage", l.storage.0, l.message.0, STORAGE_CEILING)?;
        within("memory_storage", l.memory_storage.0, l.message.0, usize::MAX as u64)?;
        // The Welcome frame tells it in seconds.
        match l.keepalive.0.as_secs() {
            1..=65_535 => Ok(()),
            _ => Err(("keepalive", r#"must be "1s" to "65535s""#.to_owned())),
        }
    }
}

/// Where the value of a key stands; keys are unique over all sections.
fn span_of(root: &DeTable<'_>, key: &str) -> Option<std::ops::Range<usize>> {
    let sections = root.values().filter_map(|value| value.get_ref().as_table());
    let found = std::iter::once(root).chain(sections).find_map(|table| table.get(key));
    found.map(|value| value.span())
}

impl Default for Config {
    fn default() -> Config {
        Config {
            listen: vec!["127.0.0.1:7883".to_owned()],
            home: String::new(),
            name: String::new(),
            known_clients: "certs".to_owned(),
            data: "data".to_owned(),
            persistence: true,
            log: Log::default(),
            limits: Limits::default(),
            sessions: Sessions::default(),
            create: CreateRules::default(),
        }
    }
}

impl Default for Log {
    fn default() -> Log {
        Log { file: String::new(), level: Level(log::LevelFilter::Info) }
    }
}

impl Default for Limits {
    fn default() -> Limits {
        let broker = BrokerConfig::default();
        Limits {
            connections: broker.connections_max,
            pending_connections: broker.pending_connections_max,
            address_connections: broker.address_connections_max,
            address_limit_from: broker.address_limit_from,
            message: Size::of(broker.message_bytes_max),
            topics: broker.topics_max,
            topics_per_client: broker.topics_per_client_max,
            cursors_per_connection: broker.cursors_per_connection_max,
            outbox: Size::of(broker.outbox_bytes_max),
            unanswered_publishes: broker.unanswered_publishes_max,
            keepalive: Time(broker.keepalive),
            tail: Size::of(broker.tail_bytes_max),
            storage: Size(STORAGE_BYTES_MAX),
            memory_storage: Size(MEMORY_STORAGE_BYTES_MAX),
        }
    }
}

#[cfg(test)]
mod tests;
