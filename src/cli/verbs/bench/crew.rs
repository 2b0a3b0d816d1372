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

/// Topics that could not be deleted, and why.
pub struct Left {
    pub topics: Vec<TopicName>,
    pub why: String,
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

    /// Connects `count` more, `at_once` at a time; says how long each took, fewer if Ctrl-C came. While nobody
    /// answers it tries for `patience`.
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
        while taken.len() < count && !self.is_stopped() {
            while added < count && began.len() < at_once {
                began.insert(self.add()?, self.now().mono);
                added += 1;
            }
            let now = self.now().mono;
            match self.wait(Some(moved + stall))? {
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

    /// The next event and whose it is; nothing once `deadline` has passed, or at Ctrl-C.
    pub fn wait(&mut self, deadline: Option<Mono>) -> Result<Option<(usize, Event)>, CliError> {
        self.swarm.wait(deadline).map_err(poll_failed)
    }

    /// Whether Ctrl-C was typed, or the like.
    pub fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// For as long as nothing was measured that could be shown.
    pub fn check_stop(&self) -> Result<(), CliError> {
        if self.is_stopped() { Err(CliError::other("stopped before anything was measured")) } else { Ok(()) }
    }

    /// Waits for the answer to one request. Ctrl-C waits for it, too: what was asked is done then, or is not.
    pub fn ask(&mut self, index: usize, ticket: Ticket) -> Result<Answer, CliError> {
        let deadline = self.now().mono + ANSWER_TIME;
        loop {
            match self.wait(Some(deadline))? {
                Some((from, Event::Answer { ticket: answered, result }))
                    if (from, answered) == (index, ticket) =>
                {
                    return result.map_err(CliError::from);
                }
                Some((from, Event::Disconnected { reason, fatal: true, .. })) if from == index => {
                    return Err(reason.into());
                }
                None if self.now().mono >= deadline => return Err(no_answer(ANSWER_TIME)),
                _ => {}
            }
        }
    }

    /// Deletes topics; a broker that is away may come back meanwhile.
    pub fn delete(&mut self, topics: &[TopicName]) -> Result<(), Left> {
        let mut progress = Progress::new("sealmq", "deleting the topics of this run (Ctrl-C leaves them)");
        // If it was raised before, the next Ctrl-C ends the process.
        let was_stopped = self.is_stopped();
        for (done, topic) in topics.iter().enumerate() {
            let mut deleting =
                Deleting { topic, done, all: topics.len(), was_stopped, progress: &mut progress };
            if let Err(why) = deleting.run(self) {
                return Err(Left { topics: topics[done..].to_vec(), why });
            }
        }
        Ok(())
    }

    /// Has all but the first `kept` say goodbye, as far as the broker hears it soon, and drops them.
    pub fn dismiss(&mut self, kept: usize) {
        let count = self.swarm.len();
        (kept..count).for_each(|index| self.core(index).exit());
        let deadline = self.now().mono + LEAVE_TIME;
        let mut left = count.saturating_sub(kept);
        while left > 0 && self.now().mono < deadline {
            match self.swarm.wait(Some(deadline)) {
                Ok(Some((_, Event::Closed))) => left -= 1,
                Ok(_) => {}
                Err(_) => break,
            }
        }
        self.swarm.truncate(kept);
    }
}

/// One topic that is on its way out.
struct Deleting<'a> {
    topic: &'a TopicName,
    done: usize,
    all: usize,
    was_stopped: bool,
    progress: &'a mut Progress,
}

impl Deleting<'_> {
    /// Until it is gone, or says why it is not.
    fn run(&mut self, crew: &mut Crew) -> Result<(), String> {
        let deadline = crew.now().mono + DELETE_TIME;
        let mut why = "the broker does not answer".to_owned();
        let mut ticket = crew.core(0).delete(self.topic);
        while crew.now().mono < deadline {
            let look = (crew.now().mono + LOOK_TIME).min(deadline);
            match crew.wait(Some(look)).map_err(|e| e.to_string())? {
                Some((0, Event::Answer { ticket: answered, result })) if answered == ticket => match result {
                    Ok(_) | Err(Failure::NoSuchTopic(_)) => return Ok(()),
                    // Whether it was done shows when it is asked again.
                    Err(Failure::ConnectionLost) => ticket = crew.core(0).delete(self.topic),
                    Err(failure) => return Err(failure.to_string()),
                },
                Some((0, Event::Disconnected { reason, fatal, .. })) => {
                    why = reason.to_string();
                    if fatal {
                        break;
                    }
                }
                _ => {}
            }
            if crew.is_stopped() && !self.was_stopped {
                return Err("stopped".to_owned());
            }
            self.progress.tell(self.done as u64, self.all as u64, "topics");
        }
        Err(why)
    }
}

impl Left {
    /// How they are deleted by hand.
    pub fn remedy(&self) -> String {
        let mut lines = vec![format!("{} of this run left: {}", many(self.topics.len(), "topic"), self.why)];
        let shown = self.topics.iter().take(SHOWN_MAX);
        lines.extend(shown.map(|topic| format!("sealmq delete {topic} --yes")));
        if let Some((all, _)) = self.topics.first().and_then(|topic| topic.as_str().rsplit_once('/'))
            && self.topics.len() > SHOWN_MAX
        {
            lines.push(format!("sealmq topics --names '{all}/#' lists all of them"));
        }
        lines.join("\n")
    }
}

/// `1 topic`, `2 topics`.
pub fn many(n: usize, what: &str) -> String {
    if n == 1 { format!("1 {what}") } else { format!("{n} {what}s") }
}

fn poll_failed(error: std::io::Error) -> CliError {
    CliError::new(Exit::Other, format!("the operating system does not let us wait for the network: {error}"))
}

/// For one answer. A lost connection comes back meanwhile.
const ANSWER_TIME: Duration = Duration::from_secs(30);
const LEAVE_TIME: Duration = Duration::from_secs(2);
/// For one topic, also while the broker is away: one that is being restarted is back by then.
const DELETE_TIME: Duration = Duration::from_secs(6);
/// Between two looks at whether there is something to say of it.
const LOOK_TIME: Duration = Duration::from_millis(200);
/// Commands that somebody would type.
const SHOWN_MAX: usize = 5;
