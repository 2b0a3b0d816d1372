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

/// The default configuration, commented; `--print-default-config` prints it.
pub const DEFAULT: &str = include_str!("config/default.toml");

/// What all topics may hold unless the configuration says otherwise: four full ones.
const STORAGE_BYTES_MAX: usize = 4 * RETAIN_BYTES as usize;
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
            message_bytes_max: limits.message.0,
            known_clients_max: KNOWN_CLIENTS_MAX,
            topics_max: limits.topics,
            topics_per_client_max: limits.topics_per_client,
            cursors_per_connection_max: limits.cursors_per_connection,
            outbox_bytes_max: limits.outbox.0,
            unanswered_publishes_max: limits.unanswered_publishes,
            keepalive: limits.keepalive.0,
            tail_bytes_max: limits.tail.0,
            seal_bodies: self.sessions.seal_bodies,
            create_rules: self.create.0.clone(),
        }
    }

    /// What all topics together may hold, in bytes.
    pub fn storage_bytes_max(&self) -> u64 {
        self.limits.storage.0 as u64
    }

    /// Numbers that would make a broker that serves nobody, or one that cannot be.
    fn check(&self) -> Result<(), (&'static str, String)> {
        let l = &self.limits;
        let within = |key, value: usize, min: usize, max: usize| {
            let good = (min..=max).contains(&value);
            if good { Ok(()) } else { Err((key, format!("must be {min} to {max}, is {value}"))) }
        };
        within("listen", self.listen.len(), 1, LISTENERS_MAX)?;
        within("connections", l.connections, 1, CONNECTIONS_CEILING)?;
        within("pending_connections", l.pending_connections, 1, CONNECTIONS_CEILING)?;
        within("address_connections", l.address_connections, 1, CONNECTIONS_CEILING)?;
        within("message", l.message.0, 1, MESSAGE_BYTES_MAX)?;
        within("topics", l.topics, 1, 10_000_000)?;
        within("topics_per_client", l.topics_per_client, 1, 10_000_000)?;
        within("cursors_per_connection", l.cursors_per_connection, 1, 1_000_000)?;
        within("outbox", l.outbox.0, 16 * 1024, 64 * 1024 * 1024)?;
        within("unanswered_publishes", l.unanswered_publishes, 1, 65_535)?;
        within("tail", l.tail.0, 2 * MESSAGE_BYTES_MAX, usize::MAX)?;
        within("storage", l.storage.0, l.message.0, usize::MAX)?;
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
            message: Size(broker.message_bytes_max),
            topics: broker.topics_max,
            topics_per_client: broker.topics_per_client_max,
            cursors_per_connection: broker.cursors_per_connection_max,
            outbox: Size(broker.outbox_bytes_max),
            unanswered_publishes: broker.unanswered_publishes_max,
            keepalive: Time(broker.keepalive),
            tail: Size(broker.tail_bytes_max),
            storage: Size(STORAGE_BYTES_MAX),
        }
    }
}

#[cfg(test)]
mod tests;
