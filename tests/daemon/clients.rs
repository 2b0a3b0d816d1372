//! Real clients of a broker that runs: the client core over a socket, driven from a test.

use std::time::Duration;

use sealmq::client::pins::Pins;
use sealmq::client::{Client, ClientConfig, ClientIdentity, Event};
use sealmq::crypto::cert::Role;
use sealmq::crypto::cert::testing::key;
use sealmq::net::SystemEntropy;
use sealmq::net::client::{Address, Connection};

use crate::support::{Daemon, Home, now};

/// A client of this name with the key of another, or its own.
pub fn connection(home: &Home, daemon: &Daemon, who: &str, key_of: &str) -> Connection {
    let issued = home.world.issue(who, key_of, Role::Client, &[]);
    let certificate = home.world.trust.verify(issued.der(), Role::Client, now()).expect("a good certificate");
    let config = ClientConfig { host: "127.0.0.1".to_owned(), ..ClientConfig::default() };
    let entropy = Box::new(SystemEntropy::new().expect("the system has randomness"));
    let identity = ClientIdentity { certificate, key: key(key_of) };
    let core = Client::new(config, identity, home.world.trust.clone(), Pins::default(), entropy);
    let address = Address { host: "127.0.0.1".to_owned(), port: daemon.addresses[0].port() };
    Connection::new(address, core).expect("a poll")
}

/// Events that are there now.
pub fn pump(connection: &mut Connection) -> Vec<Event> {
    let now = connection.now().mono;
    let mut events = Vec::new();
    while let Some(event) = connection.wait(Some(now)).expect("the poll works") {
        events.push(event);
    }
    events
}

/// Waits for an event that `pick` takes.
pub fn wait_for<T>(
    connection: &mut Connection,
    patience: Duration,
    mut pick: impl FnMut(Event) -> Option<T>,
) -> T {
    let deadline = connection.now().mono + patience;
    loop {
        let event = connection.wait(Some(deadline)).expect("the poll works").expect("an event in time");
        if let Some(found) = pick(event) {
            return found;
        }
    }
}
