//! A connection to the broker as the verbs use it: the first connect with its patience, one answer at a
//! time, and what has to be kept or said on the way.

use std::io;
use std::time::Duration;

use log::debug;

use super::access::{Base, CRL_FILE, Me};
use super::args::Access;
use super::error::{CliError, Exit};
use super::output::note;
use super::pinfile::PinFile;
use super::state::State;
use super::system;
use super::units::show_duration;
use crate::base::ids::Fingerprint;
use crate::base::names::Name;
use crate::base::{Mono, Now};
use crate::client::pins::Pins;
use crate::client::{Answer, Client, ClientConfig, ClientIdentity, Connected, Disconnect, Event, Ticket};
use crate::crypto::cert::Trust;
use crate::net::SystemEntropy;
use crate::net::client::{Address, Connection};
use crate::wire::handshake::RefusalCode;

/// The client, its connection, and whose they are.
pub struct Link {
    connection: Connection,
    pub address: Address,
    pub name: Name,
    pub fingerprint: Fingerprint,
    pub state: State,
    pins: PinFile,
    /// When what is remembered is to be kept, if it has changed.
    keep_at: Option<Mono>,
    /// How long that took the last time.
    keeping: Duration,
}

impl Link {
    /// Reads the identity and prepares; nothing is dialled yet.
    pub fn prepare(base: &Base, access: &Access) -> Result<Link, CliError> {
        let address = base.address(access)?;
        let Me { certificate, key, trust, state } = base.me(&access.identity, system::now())?;
        let entropy = SystemEntropy::new().map_err(|e| CliError::other(e.to_string()))?;
        let config = ClientConfig { host: address.host.clone(), ..ClientConfig::default() };
        let identity = ClientIdentity { certificate: certificate.clone(), key };
        let pins = PinFile::new(state.clone());
        let core = Client::new(config, identity, trust, pins.read()?, Box::new(entropy));
        let connection = Connection::new(address.clone(), core).map_err(poll_failed)?;
        let (name, fingerprint) = (certificate.name().clone(), certificate.fingerprint());
        Ok(Link {
            connection,
            address,
            name,
            fingerprint,
            state,
            pins,
            keep_at: None,
            keeping: Duration::ZERO,
        })
    }

    /// Prepares and connects: what every one-shot verb begins with. `wait` is how long to keep
    /// trying where nobody answers.
    pub fn open(base: &Base, access: &Access, wait: Option<Duration>) -> Result<(Link, Connected), CliError> {
        let mut link = Link::prepare(base, access)?;
        let patience = wait.unwrap_or(Duration::ZERO);
        let connected = link.connect(patience, patience.max(CONNECT_TIME))?;
        Ok((link, connected))
    }

    /// Connects: for `patience` it dials anew where nobody answers, after `at_most` it gives up.
    pub fn connect(&mut self, patience: Duration, at_most: Duration) -> Result<Connected, CliError> {
        let began = self.now().mono;
        let give_up = began + at_most;
        loop {
            match self.next(Some(give_up))? {
                Some(Event::Connected(connected)) => return Ok(connected),
                Some(Event::Disconnected { reason, .. }) => {
                    let busy = matches!(reason, Disconnect::Refused { code: RefusalCode::Busy, .. });
                    let patience = if busy { patience.max(BUSY_PATIENCE) } else { patience };
                    let waited = self.now().mono.since(began);
                    let error = CliError::from(reason);
                    if error.exit() != Exit::Unreachable || waited >= patience {
                        return Err(error);
                    }
                    debug!("not connected after {}: {error}", show_duration(waited));
                }
                None if self.now().mono >= give_up => return Err(self.no_connection(at_most)),
                _ => {}
            }
        }
    }

    fn no_connection(&self, waited: Duration) -> CliError {
        let Address { host, port } = &self.address;
        let waited = show_duration(waited);
        CliError::new(Exit::Unreachable, format!("no session with {host}:{port} within {waited}"))
            .remedy("is sealmqd running there? -h HOST -p PORT say where")
    }

    /// The next event that a verb may care about. Nothing: `deadline` has passed, the waker
    /// was used, or something was kept. An end for good is an error; notices are said.
    pub fn next(&mut self, deadline: Option<Mono>) -> Result<Option<Event>, CliError> {
        loop {
            match self.next_or_notice(deadline)? {
                Some(Event::Notice(notice)) => note(&notice.to_string()),
                other => return Ok(other),
            }
        }
    }

    /// The same, for a caller that says notices itself.
    pub fn next_or_notice(&mut self, deadline: Option<Mono>) -> Result<Option<Event>, CliError> {
        loop {
            let until = [deadline, self.keep_at].into_iter().flatten().min();
            let event = self.connection.wait(until).map_err(poll_failed)?;
            self.keep_pins_in_time();
            match event {
                Some(Event::CrlUpdated { der, number }) => self.keep_crl(&der, number),
                Some(Event::Disconnected { reason, fatal: true, .. }) => return Err(reason.into()),
                other => return Ok(other),
            }
        }
    }

    /// An event that is there already.
    pub fn next_ready(&mut self) -> Result<Option<Event>, CliError> {
        let now = self.now().mono;
        self.next(Some(now))
    }

    /// Waits for the answer to one request, lets other events pass, and takes out of the
    /// answer what its request brings.
    pub fn ask<T>(&mut self, ticket: Ticket, pick: impl FnOnce(Answer) -> Option<T>) -> Result<T, CliError> {
        let deadline = self.now().mono + ANSWER_TIME;
        loop {
            match self.next(Some(deadline))? {
                Some(Event::Answer { ticket: answered, result }) if answered == ticket => {
                    let answer = result.map_err(CliError::from)?;
                    return Ok(pick(answer).expect("the core answers a ticket with its request's answer"));
                }
                None if self.now().mono >= deadline => return Err(no_answer(ANSWER_TIME)),
                _ => {}
            }
        }
    }

    pub fn core(&mut self) -> &mut Client {
        self.connection.core()
    }

    pub fn connection(&self) -> &Connection {
        &self.connection
    }

    pub fn now(&self) -> Now {
        self.connection.now()
    }

    /// Ends the session well, if the broker lets us.
    pub fn leave(mut self) {
        self.core().exit();
        let deadline = self.now().mono + LEAVE_TIME;
        loop {
            match self.next(Some(deadline)) {
                Ok(Some(Event::Closed | Event::Disconnected { .. })) | Err(_) => return,
                Ok(None) if self.now().mono >= deadline => return,
                Ok(_) => {}
            }
        }
    }

    /// Whom the client trusts, with the newest revocation list.
    pub fn trust(&self) -> &Trust {
        self.connection.client().trust()
    }

    /// What the client remembers of others.
    pub fn pins(&self) -> &Pins {
        self.connection.client().pins()
    }

    /// Keeps what is remembered, a while after it has changed: what changes a moment later goes with it.
    fn keep_pins_in_time(&mut self) {
        let now = self.now().mono;
        if self.keep_at.is_none() && self.core().take_pins_change() {
            // A long file on a slow disk is not to be all that we do.
            self.keep_at = Some(now + KEEP_INTERVAL.max(self.keeping * 20));
        }
        if self.keep_at.is_some_and(|at| now >= at) {
            self.keep_pins();
            self.keeping = self.now().mono.since(now);
        }
    }

    fn keep_pins(&mut self) {
        self.keep_at = None;
        self.core().take_pins_change();
        if self.pins.try_to_keep(self.connection.client().pins()) {
            self.core().pins_kept();
        }
    }

    /// Keeps the list. If another program of ours keeps an older one meanwhile, that is mended
    /// at the next session; each program refuses lists older than those it has read.
    fn keep_crl(&mut self, der: &[u8], number: u64) {
        debug!("revocation list {number} is in force");
        if let Err(error) = self.state.update(CRL_FILE, |_| Ok(der.to_vec())) {
            note(&format!("the new revocation list holds, but is not kept: {error}"));
        }
    }
}

impl Drop for Link {
    /// However a verb ends, what it has learned is kept.
    fn drop(&mut self) {
        if self.keep_at.is_some() || self.core().take_pins_change() {
            self.keep_pins();
        }
    }
}

/// The broker is there, but says nothing.
pub fn no_answer(waited: Duration) -> CliError {
    let waited = show_duration(waited);
    CliError::new(Exit::TimedOut, format!("the broker gave no answer within {waited}"))
        .remedy("look into the broker's log, then try again")
}

fn poll_failed(error: io::Error) -> CliError {
    CliError::other(format!("the operating system does not let us wait for the network: {error}"))
}

/// From dialling to a session, when nobody said how long: the broker itself allows 10 s.
pub const CONNECT_TIME: Duration = Duration::from_secs(15);
/// A broker that is busy is there: a thousand clients may have come back at once.
const BUSY_PATIENCE: Duration = Duration::from_secs(10);
/// Between two writes of what is remembered.
const KEEP_INTERVAL: Duration = Duration::from_secs(1);
/// For one answer. A lost connection shows earlier.
const ANSWER_TIME: Duration = Duration::from_secs(30);
/// For the goodbye.
const LEAVE_TIME: Duration = Duration::from_secs(2);
