//! Putting a broker through a workload, and what that gave.

mod connect;
mod fan;
pub mod growth;
mod idle;
mod ping_pong;

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use sealmq::wire::values::{Durability, Retention};

use crate::broker::{Kind, Program, Room, Running};
use crate::pki::Pki;
use crate::plan::{Readers, Work};
use crate::process;
use crate::swarm::Swarm;
use crate::talk::author::{Author, Shared};
use crate::talk::mqtt::Mqtt;
use crate::talk::nats::Nats;
use crate::talk::real::Real;
use crate::talk::sealmq::{Kept, Light};
use crate::talk::tls::Tls;
use crate::talk::{Errand, Talk};

/// Figures by name; the name ends in the unit.
pub type Metrics = BTreeMap<String, f64>;

/// A broker at work, and what its clients need.
pub struct Setting<'a> {
    pub program: &'a Program,
    pub broker: &'a Running,
    pub pki: &'a Rc<Pki>,
    /// Of MQTT deliveries.
    pub mqtt_qos: u8,
}

/// Connections that are being made at the same time when it is not their making that is measured:
/// fewer than the shortest backlog of a listener.
const DIALS_AT_ONCE: usize = 32;

/// Starts a broker of its own for the work, and measures it.
pub fn measure(program: &Program, pki: &Rc<Pki>, mqtt_qos: u8, work: Work) -> Result<Metrics> {
    let broker = program.start(pki, Room::Usual)?;
    let setting = Setting { program, broker: &broker, pki, mqtt_qos };
    let done = match work {
        Work::Fan(fan) => fan::run(&setting, fan),
        Work::PingPong { bytes, count } => ping_pong::run(&setting, bytes, count),
        Work::Connect { at_once, waves } => connect::run(&setting, at_once, waves),
        Work::Idle { connections } => idle::run(&setting, connections),
    };
    done.with_context(|| format!("the broker's last words: {:?}", broker.last_words()))
}

impl Setting<'_> {
    pub fn is_sealmq(&self) -> bool {
        !self.program.kind.is_peer()
    }

    pub fn talk(&self, errand: Errand, author: Option<Shared>, readers: Readers) -> Result<Box<dyn Talk>> {
        let tls = &self.pki.identity(errand.number).tls;
        Ok(match self.program.kind {
            Kind::Mosquitto => Box::new(Tls::new(tls, Mqtt::new(errand, self.mqtt_qos))?),
            // It never sets TCP_NODELAY: what it writes waits for the acknowledgement of what it wrote before.
            Kind::Rumqttd => Box::new(Tls::new(tls, Mqtt::new(errand, self.mqtt_qos))?.acking_at_once()),
            Kind::Nats => Box::new(Tls::new(tls, Nats::new(errand))?),
            Kind::Sealmq | Kind::SealmqDisk if author.is_none() && readers == Readers::Real => {
                Box::new(Real::new(self.pki, &errand)?)
            }
            Kind::Sealmq | Kind::SealmqDisk => {
                let kept = self.kept(Retention::default());
                Box::new(Light::new(self.pki, errand, author, 1, kept)?)
            }
        })
    }

    /// A topic of the identity `number`, that all are in.
    fn author(&self, topic: &str, number: usize) -> Result<Author> {
        Author::new(&[topic.to_owned()], self.pki.identity(number), &self.pki.clients)
    }

    fn kept(&self, retention: Retention) -> Kept {
        let durability = match self.program.kind {
            Kind::SealmqDisk => Durability::Disk,
            _ => Durability::Memory,
        };
        Kept { durability, retention }
    }
}

/// Dials all, some at a time, until each is ready.
fn dial_all(swarm: &mut Swarm, talks: impl Iterator<Item = Result<Box<dyn Talk>>>) -> Result<Vec<usize>> {
    let (mut talks, mut dialled, mut ready) = (talks.peekable(), Vec::new(), 0);
    while talks.peek().is_some() || ready < dialled.len() {
        while dialled.len() - ready < DIALS_AT_ONCE {
            let Some(talk) = talks.next() else { break };
            dialled.push(swarm.dial(talk?)?);
        }
        let before = ready;
        swarm.until("while clients connect", |swarm| {
            ready = dialled.iter().filter(|index| swarm.link(**index).seen.is_ready).count();
            Ok(ready > before)
        })?;
    }
    Ok(dialled)
}

/// What passes between two moments, here and at the broker.
struct Meter {
    at: Instant,
    broker: Duration,
    ticks: (u64, u64),
    own: Duration,
}

impl Meter {
    fn start(broker: &Running) -> Result<Meter> {
        let (ticks, own) = (process::ticks(broker.pid())?, process::own_cpu()?);
        Ok(Meter { at: Instant::now(), broker: broker.cpu()?, ticks, own })
    }

    /// The broker's CPU time since then; notes what is said of every work.
    fn stop(&self, broker: &Running, metrics: &mut Metrics) -> Result<Duration> {
        let spent = broker.cpu()? - self.broker;
        let wall = self.at.elapsed();
        let own = process::own_cpu()? - self.own;
        let (user, system) = process::ticks(broker.pid())?;
        let (user, system) = ((user - self.ticks.0) as f64, (system - self.ticks.1) as f64);
        note(metrics, "wall_s", wall.as_secs_f64());
        note(metrics, "broker_cpu_s", spent.as_secs_f64());
        note(metrics, "broker_share", spent.as_secs_f64() / wall.as_secs_f64());
        note(metrics, "broker_kernel_share", system / (user + system).max(1.0));
        note(metrics, "generator_share", own.as_secs_f64() / wall.as_secs_f64());
        Ok(spent)
    }
}

fn note(metrics: &mut Metrics, name: &str, value: f64) {
    metrics.insert(name.to_owned(), value);
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}
