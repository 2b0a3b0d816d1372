//! What the broker tells of its connections, for the log.

use super::Broker;
use super::connection::State;
use crate::base::Now;

/// Counters of connections since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    pub accepted: u64,
    pub refused: u64,
    pub sessions: u64,
    pub violations: u64,
    pub signatures: u64,
    pub records: u64,
}

/// A subscriber that is so many entries behind is named as slow.
const SLOW_ENTRIES: u64 = 1000;

impl Broker {
    /// Counters, then a line for each connection: who, since when, bytes, how far behind.
    pub fn report(&self, now: Now) -> Vec<String> {
        let c = &self.counters;
        let mut lines = vec![format!(
            "connections: {} open, {} accepted, {} became active, {} refused, {} broke the protocol; \
             {} signatures, {} records sent",
            self.connections.len(),
            c.accepted,
            c.sessions,
            c.refused,
            c.violations,
            c.signatures,
            c.records
        )];
        lines.extend(self.processor.stats().iter().map(|stat| format!("{}: {}", stat.name, stat.value)));
        for (_, connection) in &self.connections {
            let age = now.mono.since(connection.since.mono).as_secs();
            let id = connection.id;
            let state = match &connection.state {
                State::Handshake(_) => "in handshake",
                State::Active(_) => "active",
                State::Ended => "ending",
            };
            let (lag, behind) = self.processor.lag(id);
            let slow = if lag >= SLOW_ENTRIES { ", SLOW" } else { "" };
            lines.push(format!(
                "{id} {} {} {state} for {age} s, {} bytes in, {} bytes out, \
                 {behind} subscriptions behind, by at most {lag} entries{slow}",
                connection.address,
                connection.peer_name(),
                connection.bytes_in,
                connection.bytes_out,
            ));
        }
        lines
    }
}
