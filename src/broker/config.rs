//! What a broker may be told: plain numbers and rules, with the defaults of `base::limits`.

use std::time::Duration;

use crate::base::limits;
use crate::base::names::{Name, TopicFilter, TopicName};
use crate::crypto::cert::Certificate;
use crate::crypto::key::PrivateKey;

/// The broker's own certificate and key.
pub struct Identity {
    pub certificate: Certificate,
    pub key: PrivateKey,
}

/// Limits and rules. Every number is one that an administrator may change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BrokerConfig {
    /// Connections at once.
    pub connections_max: usize,
    /// Connections that are not yet Active; above, `can_accept` is false.
    pub pending_connections_max: usize,
    /// Connections of one address (IPv6: one /64) once `address_limit_from` are open.
    pub address_connections_max: usize,
    pub address_limit_from: usize,
    /// A message's content, in bytes.
    pub message_bytes_max: usize,
    /// Clients whose certificates are remembered; none is ever forgotten.
    pub known_clients_max: usize,
    pub topics_max: usize,
    pub topics_per_client_max: usize,
    /// Topics that one connection may have open.
    pub cursors_per_connection_max: usize,
    /// Answers waiting for one connection, in bytes; above, it is not read.
    pub outbox_bytes_max: usize,
    /// Publishes of one connection that are not answered yet.
    pub unanswered_publishes_max: usize,
    pub keepalive: Duration,
    /// RAM for the newest entries of all topics.
    pub tail_bytes_max: usize,
    /// Puts bodies inside the token where they fit.
    pub seal_bodies: bool,
    /// Who may create which names; empty: everybody everything. The first filter that
    /// matches decides.
    pub create_rules: Vec<(TopicFilter, Vec<Name>)>,
}

impl BrokerConfig {
    /// Whether `client` may create a topic called `topic`.
    pub fn may_create(&self, client: &Name, topic: &TopicName) -> bool {
        if self.create_rules.is_empty() {
            return true;
        }
        let rule = self.create_rules.iter().find(|(filter, _)| filter.matches(topic));
        rule.is_some_and(|(_, names)| names.contains(client))
    }
}

impl Default for BrokerConfig {
    fn default() -> BrokerConfig {
        BrokerConfig {
            connections_max: limits::CONNECTIONS_MAX,
            pending_connections_max: limits::PENDING_CONNECTIONS_MAX,
            address_connections_max: limits::ADDRESS_CONNECTIONS_MAX,
            address_limit_from: limits::ADDRESS_LIMIT_FROM,
            message_bytes_max: limits::MESSAGE_BYTES_MAX,
            known_clients_max: limits::KNOWN_CLIENTS_MAX,
            topics_max: limits::TOPICS_MAX,
            topics_per_client_max: limits::TOPICS_PER_CLIENT_MAX,
            cursors_per_connection_max: limits::CURSORS_PER_CONNECTION_MAX,
            outbox_bytes_max: limits::OUTBOX_BYTES_MAX,
            unanswered_publishes_max: limits::UNANSWERED_PUBLISHES_MAX,
            keepalive: limits::KEEPALIVE,
            tail_bytes_max: limits::TAIL_BYTES_MAX,
            seal_bodies: false,
            create_rules: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_rule_that_matches_decides() {
        let name = |text: &str| Name::parse(text).expect("a good name");
        let topic = |text: &str| TopicName::parse(text).expect("a good topic");
        let filter = |text: &str| TopicFilter::parse(text).expect("a good filter");
        let mut config = BrokerConfig::default();
        assert!(config.may_create(&name("bob"), &topic("home/x")));
        config.create_rules =
            vec![(filter("home/door"), vec![name("carol")]), (filter("home/#"), vec![name("alice")])];
        assert!(config.may_create(&name("alice"), &topic("home/x")));
        assert!(!config.may_create(&name("alice"), &topic("home/door")));
        assert!(config.may_create(&name("carol"), &topic("home/door")));
        assert!(!config.may_create(&name("bob"), &topic("home/x")));
        assert!(!config.may_create(&name("alice"), &topic("lab")));
    }
}
