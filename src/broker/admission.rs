//! Who may come in: limits on connections that have not proved themselves.

use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use super::config::BrokerConfig;
use crate::base::Mono;
use crate::base::ids::ConnId;

pub struct Admission {
    connections_max: usize,
    pending_max: usize,
    address_max: usize,
    address_from: usize,
    /// Connections that are not yet Active.
    pending: usize,
    by_address: HashMap<IpAddr, usize>,
    /// Newcomers in the order in which they came; those that went on are skipped.
    pub newcomers: VecDeque<ConnId>,
    /// When the next newcomer may be sent away, if the place is full.
    eviction_at: Option<Mono>,
}

/// How long a newcomer may take over its hello while others wait for its place.
pub const HELLO_TIME_WHEN_FULL: Duration = Duration::from_secs(1);

impl Admission {
    pub fn new(config: &BrokerConfig) -> Admission {
        Admission {
            connections_max: config.connections_max,
            pending_max: config.pending_connections_max,
            address_max: config.address_connections_max,
            address_from: config.address_limit_from,
            pending: 0,
            by_address: HashMap::new(),
            newcomers: VecDeque::new(),
            eviction_at: None,
        }
    }

    pub fn can_accept(&self, open: usize) -> bool {
        open < self.connections_max && !self.is_full()
    }

    /// Whether no more newcomers have a place.
    pub fn is_full(&self) -> bool {
        self.pending >= self.pending_max
    }

    pub fn pending(&self) -> usize {
        self.pending
    }

    /// Counts a connection; false if its address has too many already. `open` counts it too.
    pub fn enter(&mut self, id: ConnId, address: IpAddr, open: usize) -> bool {
        self.pending += 1;
        self.newcomers.push_back(id);
        let here = self.by_address.entry(network(address)).or_default();
        *here += 1;
        let counted = open > self.address_from && !is_loopback(address);
        !(counted && *here > self.address_max)
    }

    /// A connection has become Active, or has been refused.
    pub fn settled(&mut self) {
        self.pending -= 1;
    }

    /// A connection is gone.
    pub fn leave(&mut self, address: IpAddr, was_pending: bool) {
        if was_pending {
            self.pending -= 1;
        }
        let network = network(address);
        if let Some(here) = self.by_address.get_mut(&network) {
            *here -= 1;
            if *here == 0 {
                self.by_address.remove(&network);
            }
        }
    }

    pub fn set_next_eviction(&mut self, at: Option<Mono>) {
        self.eviction_at = at;
    }

    pub fn next_eviction(&self) -> Option<Mono> {
        self.eviction_at
    }
}

/// What counts as one address: an IPv4 address, or an IPv6 /64 (RFC 6177: a site has at
/// least one to itself).
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(v4) => IpAddr::V4(v4),
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64)),
    }
}

fn is_loopback(address: IpAddr) -> bool {
    address.to_canonical().is_loopback()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admission(pending: usize, per_address: usize, from: usize) -> Admission {
        Admission::new(&BrokerConfig {
            pending_connections_max: pending,
            address_connections_max: per_address,
            address_limit_from: from,
            ..BrokerConfig::default()
        })
    }

    fn id(slot: u32) -> ConnId {
        ConnId { slot, generation: 0 }
    }

    #[test]
    fn one_address_has_its_share_once_there_are_many() {
        let mut a = admission(100, 2, 3);
        let v4: IpAddr = "192.0.2.1".parse().expect("an address");
        let results: Vec<bool> = (1..=5).map(|n| a.enter(id(n), v4, n as usize)).collect();
        assert_eq!(results, [true, true, true, false, false]);
        let other: IpAddr = "192.0.2.2".parse().expect("an address");
        assert!(a.enter(id(6), other, 6));
        let loopback: IpAddr = "127.0.0.1".parse().expect("an address");
        assert!((7..20).all(|n| a.enter(id(n), loopback, n as usize)));
    }

    #[test]
    fn an_ipv6_site_is_one_address() {
        let mut a = admission(100, 1, 0);
        assert!(a.enter(id(1), "2001:db8::1".parse().expect("an address"), 1));
        assert!(!a.enter(id(2), "2001:db8::2".parse().expect("an address"), 2));
        assert!(a.enter(id(3), "2001:db8:0:1::1".parse().expect("an address"), 3));
        assert!(a.enter(id(4), "::ffff:192.0.2.1".parse().expect("an address"), 4));
        assert!(!a.enter(id(5), "192.0.2.1".parse().expect("an address"), 5));
    }

    #[test]
    fn places_come_free() {
        let mut a = admission(2, 9, 9);
        let v4: IpAddr = "192.0.2.1".parse().expect("an address");
        a.enter(id(1), v4, 1);
        a.enter(id(2), v4, 2);
        assert!(!a.can_accept(2));
        a.settled();
        assert!(a.can_accept(2));
        a.leave(v4, false);
        a.leave(v4, true);
        assert_eq!((a.pending, a.by_address.len()), (0, 0));
    }
}
