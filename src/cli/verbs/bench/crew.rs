//! Many clients of one identity in this process: connecting them, asking for one of them, and the topics that they
//! leave. What they remember of others is not kept: it is of topics that are gone at the end.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::base::names::TopicName;
use crate::base::{Mono, Now};
use crate::cli::access::{Base, Me};
use crate::cli::args::Access;
use crate::cli::error::{CliError, Exit};
use crate::cli::link::{CONNECT_TIME, no_answer};
use crate::cli::output::note;
use crate::cli::pinfile::PinFile;
use crate::cli::progress::Progress;
use crate::cli::{interrupt, system};
use crate::client::pins::Pins;
use crate::client::{Answer, Client, ClientConfig, ClientIdentity, Disconnect, Event, Failure, Ticket};
use crate::net::SystemEntropy;
use crate::net::client::Address;
use crate::net::client::swarm::Swarm;
use crate::wire::handshake::RefusalCode;

pub struct Crew {
    swarm: Swarm,
    me: Me,
    pins: Pins,
    address: Address,
    stop: Arc<AtomicBool>,
}

impl Crew {
    /// Reads the identity; nothing is dialled yet.
    pub fn prepare(base: &Base, access: &Access) -> Result<Crew, CliError> {
        let address = base.address(access)?;
        let me = base.me(&access.identity, system::now())?;
        let pins = PinFile::new(me.state.clone()).read()?;
        let swarm = Swarm::new(address.clone()).map_err(poll_failed)?;
        let waker = swarm.waker();
        // The flag is raised already: what cannot be woken sees it at its next event.
        let stop = interrupt::flag(move || drop(waker.wake()))?;
        Ok(Crew { swarm, me, pins, address, stop })
    }

    /// Connects `count` more, `at_once` at a time; says how long each took. While nobody answers it tries for
    /// `patience`.
    pub fn connect(
        &mut self,
        count: usize,
        at_once: usize,
        patience: Option<Duration>,
    ) -> Result<Vec<Duration>, CliError> {
        let mut progress = Progress::new("sealmq", format!("connecting to {}", self.address));
        let mut moved = self.now().mono;
        let away_until = moved + patience.unwrap_or_default();
        let stall = patience.unwrap_or_default().max(CONNECT_TIME);
        let (mut began, mut taken) = (std::collections::HashMap::new(), Vec::with_capacity(count));
        let mut added = 0;
        while taken.len() < count {
            while added < count && began.len() < at_once {
                began.insert(self.add()?, self.now().mono);
                added += 1;
            }
            let now = self.now().mono;
            match self.next(Some(moved + stall))? {
                Some((index, Event::Connected(_))) => {
                    moved = self.now().mono;
                    taken.extend(began.remove(&index).map(|began| moved.since(began)));
                    progress.tell(taken.len() as u64, count as u64, "sessions");
                }
                Some((_, Event::Disconnected { reason, fatal, .. })) => {
                    // A busy broker is there, and the core comes back by itself.
                    let is_busy = matches!(reason, Disconnect::Refused { code: RefusalCode::Busy, .. });
                    let is_away = matches!(reason, Disconnect::Unreachable(_)) && now < away_until;
                    if fatal || !(is_busy || is_away) {
                        return Err(reason.into());
                    }
                }
                None if self.now().mono >= moved + stall => return Err(no_answer(stall)),
                _ => {}
            }
        }
        Ok(taken)
    }

    fn add(&mut self) -> Result<usize, CliError> {
        let entropy = SystemEntropy::new().map_err(|e| CliError::other(e.to_string()))?;
        let config = ClientConfig { host: self.address.host.clone(), ..ClientConfig::default() };
        let identity = ClientIdentity { certificate: self.me.certificate.clone(), key: self.me.key.clone() };
        let (trust, pins) = (self.me.trust.clone(), self.pins.clone());
        Ok(self.swarm.add(Client::new(config, identity, trust, pins, Box::new(entropy))))
    }

    pub fn core(&mut self, index: usize) -> &mut Client {
        self.swarm.core(index)
    }

    pub fn now(&self) -> Now {
        self.swarm.now()
    }

    pub fn port(&self) -> u16 {
        self.address.port
    }

    /// The next event and whose it is; nothing once `deadline` has passed. Ctrl-C is an error.
    pub fn next(&mut self, deadline: Option<Mono>) -> Result<Option<(usize, Event)>, CliError> {
        self.check_stop()?;
        self.swarm.wait(deadline).map_err(poll_failed)
    }

    pub fn check_stop(&self) -> Result<(), CliError> {
        if self.stop.load(Ordering::Relaxed) {
            return Err(CliError::other("stopped before it had measured anything to the end"));
        }
        Ok(())
    }

    /// Waits for the answer to one request. Ctrl-C waits for it, too: what was asked is done then, or is not.
    pub fn ask(&mut self, index: usize, ticket: Ticket) -> Result<Answer, CliError> {
        self.answer(index, ticket)?.map_err(CliError::from)
    }

    fn answer(&mut self, index: usize, ticket: Ticket) -> Result<Result<Answer, Failure>, CliError> {
        let deadline = self.now().mono + ANSWER_TIME;
        loop {
            match self.swarm.wait(Some(deadline)).map_err(poll_failed)? {
                Some((from, Event::Answer { ticket: answered, result }))
                    if (from, answered) == (index, ticket) =>
                {
                    return Ok(result);
                }
                Some((from, Event::Disconnected { reason, fatal: true, .. })) if from == index => {
                    return Err(reason.into());
                }
                None if self.now().mono >= deadline => return Err(no_answer(ANSWER_TIME)),
                _ => {}
            }
        }
    }

    /// Deletes topics, and says which are left if that fails.
    pub fn delete(&mut self, topics: &[TopicName]) {
        for (done, topic) in topics.iter().enumerate() {
            let ticket = self.core(0).delete(topic);
            let left = match self.answer(0, ticket) {
                Ok(Ok(_) | Err(Failure::NoSuchTopic(_))) => continue,
                Ok(Err(failure)) => CliError::from(failure),
                Err(error) => error,
            };
            note(&format!("{left}"));
            for topic in &topics[done..] {
                note(&format!("{topic} was not deleted: sealmq delete {topic} --yes"));
            }
            return;
        }
    }

    /// Says goodbye for all, as far as the broker hears it soon.
    pub fn leave(mut self, count: usize) {
        (0..count).for_each(|index| self.core(index).exit());
        let deadline = self.now().mono + LEAVE_TIME;
        let mut left = count;
        while left > 0 && self.now().mono < deadline {
            match self.swarm.wait(Some(deadline)) {
                Ok(Some((_, Event::Closed))) => left -= 1,
                Ok(_) => {}
                Err(_) => return,
            }
        }
    }
}

fn poll_failed(error: std::io::Error) -> CliError {
    CliError::new(Exit::Other, format!("the operating system does not let us wait for the network: {error}"))
}

/// For one answer. A lost connection comes back meanwhile.
const ANSWER_TIME: Duration = Duration::from_secs(30);
const LEAVE_TIME: Duration = Duration::from_secs(2);
