//! One publisher and one subscriber, and more and more topics that messages go to in turn.

use std::rc::Rc;
use std::sync::Arc;

use anyhow::{Context, Result};
use sealmq::wire::values::Retention;

use super::{BYTES, WINDOW, fan_of};
use crate::plan::Readers;
use crate::swarm::Swarm;
use crate::talk::author::{Author, Shared};
use crate::talk::{Content, Errand};
use crate::work::fan::Flight;
use crate::work::{Meter, Metrics, Setting, dial_all, note};

const FILTER: &str = "growth/#";
const MESSAGES_MIN: u64 = 40_000;
/// First messages that do not count: one for each topic, and some.
const WARM_MIN: u64 = 1024;
const BODIES: u64 = 4096;

pub fn run(setting: &Setting<'_>, author: Shared, topics: usize) -> Result<Metrics> {
    let (mut metrics, content) = (Metrics::new(), Rc::new(Content::new(BYTES)));
    let mut swarm = Swarm::new(setting.broker.port)?;
    let errand = Errand { publish: Some(FILTER), ..Errand::idle(0, &content) };
    let owner = setting.owner(errand, author, topics, Retention::default());
    let meter = Meter::start(setting.broker)?;
    let publisher = dial_all(&mut swarm, [owner].into_iter())?[0];
    let spent = meter.stop(setting.broker, &mut Metrics::new())?;
    note(&mut metrics, "create_ms_per_topic", spent.as_secs_f64() * 1e3 / topics as f64);

    let errand = Errand { subscribe: Some(FILTER), ..Errand::idle(1, &content) };
    let subscriber = setting.talk(errand, None, Readers::Light);
    let subscribers = dial_all(&mut swarm, [subscriber].into_iter())?;
    let mut flight = Flight::new(setting, &swarm, publisher, subscribers, WINDOW);
    flight.send(&mut swarm, WARM_MIN.max(topics as u64))?;
    let fan = fan_of(1, WINDOW, MESSAGES_MIN.max(2 * topics as u64));
    metrics.append(&mut flight.measure(setting, &mut swarm, fan)?);
    Ok(metrics)
}

/// So many topics, of two members each.
pub fn make(setting: &Setting<'_>, count: u64) -> Result<Shared> {
    let names: Vec<String> = (0..count).map(|number| format!("growth/{number}")).collect();
    let members = setting.pki.clients.get(1..2).context("an identity for the subscriber")?;
    let mut author = Author::new(&names, setting.pki.identity(0), members)?;
    author.seal(&Content::new(BYTES), BODIES)?;
    Ok(Arc::new(author))
}
