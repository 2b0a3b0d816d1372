//! A topic that keeps more and more: what one more message costs, live, and what reading the past costs.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use sealmq::wire::values::Retention;

use super::{BYTES, WINDOW, fan_of};
use crate::growth::PAST_SEEN_FROM;
use crate::plan::Readers;
use crate::swarm::Swarm;
use crate::talk::{Content, Errand};
use crate::work::fan::Flight;
use crate::work::{Meter, Metrics, Setting, dial_all, micros, note};

const TOPIC: &str = "growth/history";
/// Everything.
const KEPT: Retention = Retention { count: 0, bytes: 0, age_ms: 0 };
/// Publishes in flight while the past is written.
const FILL_WINDOW: u64 = 1024;
const MESSAGES: u64 = 20_000;
const WARM: u64 = 1024;
const BODIES: u64 = 4096;
/// Messages of the past that are read at least, by as many readers as that takes, one after the other.
const READ_MIN: u64 = 40_000;
/// For what a broker does a little later: the end of a reader's connection, writes to the disk.
const AFTER: Duration = Duration::from_millis(100);

pub fn run(setting: &Setting<'_>, past: u64) -> Result<Metrics> {
    let (mut metrics, content) = (Metrics::new(), Rc::new(Content::new(BYTES)));
    let mut author = setting.author(TOPIC, 0)?;
    author.seal(&content, BODIES)?;
    let mut swarm = Swarm::new(setting.broker.port)?;
    let errand = Errand { publish: Some(TOPIC), ..Errand::idle(0, &content) };
    let owner = setting.owner(errand, Arc::new(author), 1, KEPT);
    let publisher = *dial_all(&mut swarm, [owner].into_iter())?.first().context("a publisher")?;

    let meter = Meter::start(setting.broker)?;
    Flight::new(setting, &swarm, publisher, Vec::new(), FILL_WINDOW).send(&mut swarm, past)?;
    let spent = meter.stop(setting.broker, &mut Metrics::new())?;
    swarm.rest(AFTER)?;
    if past >= PAST_SEEN_FROM {
        note(&mut metrics, "publish_us_per_message", micros(spent) / past as f64);
        note(&mut metrics, "past_us_per_message", read(setting, &mut swarm, &content, past)?);
    }

    let errand = Errand { subscribe: Some(TOPIC), first: past, ..Errand::idle(1, &content) };
    let live = setting.talk(errand, None, Readers::Light);
    let subscribers = dial_all(&mut swarm, [live].into_iter())?;
    let mut flight = Flight::new(setting, &swarm, publisher, subscribers, WINDOW);
    flight.send(&mut swarm, WARM)?;
    metrics.append(&mut flight.measure(setting, &mut swarm, fan_of(1, WINDOW, MESSAGES))?);
    Ok(metrics)
}

/// The broker's microseconds for each message of the past.
fn read(setting: &Setting<'_>, swarm: &mut Swarm, content: &Rc<Content>, past: u64) -> Result<f64> {
    let (mut spent, mut messages) = (Duration::ZERO, 0);
    while messages < READ_MIN.max(past) {
        let reader = setting.talk(Errand::idle(2, content), None, Readers::Light);
        let reader = *dial_all(swarm, [reader].into_iter())?.first().context("a reader")?;
        let meter = Meter::start(setting.broker)?;
        swarm.subscribe(reader, TOPIC, 0)?;
        swarm.until("while the past is read", |swarm| Ok(swarm.link(reader).seen.delivered == past))?;
        spent += meter.stop(setting.broker, &mut Metrics::new())?;
        messages += past;
        swarm.hang_up(reader)?;
        swarm.rest(AFTER)?;
    }
    Ok(micros(spent) / messages as f64)
}
