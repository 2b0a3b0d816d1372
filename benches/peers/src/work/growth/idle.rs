//! A busy few, and more and more connections beside them that do nothing. Each message wakes the broker by
//! itself, so that what it does in each turn for those who have nothing to do would show.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use sealmq::wire::values::Retention;

use super::{BYTES, Tell, fan_of};
use crate::growth::CONNECTIONS_SEEN_FROM;
use crate::plan::Readers;
use crate::process;
use crate::swarm::Swarm;
use crate::talk::{Content, Errand};
use crate::work::fan::Flight;
use crate::work::{Meter, Metrics, Setting, dial_all, note};

const TOPIC: &str = "growth/busy";
const BUSY: usize = 4;
const MESSAGES: u64 = 3_000;
const WARM: u64 = 200;
const BODIES: u64 = 4096;
/// Connections that are dialled before the next ones are looked at.
const WAVE: u64 = 256;
/// For what a broker does a little later.
const AFTER: Duration = Duration::from_millis(500);
const KIB: f64 = 1024.0;

pub fn run(setting: &Setting<'_>, sizes: &[u64], tell: &mut Tell<'_>) -> Result<()> {
    let content = Rc::new(Content::new(BYTES));
    let mut author = setting.author(TOPIC, 0)?;
    author.seal(&content, BODIES)?;
    let mut swarm = Swarm::new(setting.broker.port)?;
    let errand = Errand { publish: Some(TOPIC), ..Errand::idle(0, &content) };
    let owner = setting.owner(errand, Arc::new(author), 1, Retention::default());
    let publisher = *dial_all(&mut swarm, [owner].into_iter())?.first().context("a publisher")?;
    let reader = |number| {
        let errand = Errand { subscribe: Some(TOPIC), ..Errand::idle(number, &content) };
        setting.talk(errand, None, Readers::Light)
    };
    let subscribers = dial_all(&mut swarm, (1..=BUSY).map(reader))?;
    let mut flight = Flight::new(setting, &swarm, publisher, subscribers, 1);
    flight.send(&mut swarm, WARM)?;

    // Messages between the sizes are kept, too: only what grows while connections are made is theirs.
    let (mut grown, mut open) = (0.0, 0);
    for size in sizes.iter().copied() {
        let mut metrics = Metrics::new();
        let before = process::resident(setting.broker.pid())?;
        let meter = Meter::start(setting.broker)?;
        let more = size - open;
        while open < size {
            let wave = open..size.min(open + WAVE);
            open = wave.end;
            let idle = wave
                .map(|number| setting.talk(Errand::idle(number as usize, &content), None, Readers::Light));
            dial_all(&mut swarm, idle)?;
        }
        let spent = meter.stop(setting.broker, &mut Metrics::new())?;
        swarm.rest(AFTER)?;
        grown += process::resident(setting.broker.pid())? as f64 - before as f64;
        if size >= CONNECTIONS_SEEN_FROM {
            note(&mut metrics, "broker_ms_per_connection", spent.as_secs_f64() * 1e3 / more as f64);
            note(&mut metrics, "kib_per_connection", grown / KIB / size as f64);
        }
        metrics.append(&mut flight.measure(setting, &mut swarm, fan_of(BUSY, 1, MESSAGES))?);
        tell(size, Ok(metrics))?;
    }
    Ok(())
}
