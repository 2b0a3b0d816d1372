//! A message there and one back, through the broker both times: the time between.

use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use hdrhistogram::Histogram;

use super::{Meter, Metrics, Setting, dial_all, note};
use crate::broker::Kind;
use crate::plan::Readers;
use crate::swarm::Swarm;
use crate::talk::author::Shared;
use crate::talk::{Content, Errand};

/// First rounds that do not count.
const WARM: u64 = 200;
/// Whoever takes milliseconds for each has fewer rounds.
const TIME_MAX: Duration = Duration::from_secs(30);

pub fn run(setting: &Setting<'_>, bytes: usize, count: u64) -> Result<Metrics> {
    let (mut metrics, content) = (Metrics::new(), Rc::new(Content::new(bytes)));
    let [there, back] = match setting.program.kind {
        Kind::Nats => ["peers.ping", "peers.pong"],
        _ => ["peers/ping", "peers/pong"],
    };
    let author = |topic, number| -> Result<Option<Shared>> {
        if !setting.is_sealmq() {
            return Ok(None);
        }
        let mut author = setting.author(topic, number)?;
        author.seal(&content, WARM + count)?;
        Ok(Some(Arc::new(author)))
    };
    let talk = |number, publish, subscribe| {
        let errand =
            Errand { subscribe: Some(subscribe), publish: Some(publish), ..Errand::idle(number, &content) };
        setting.talk(errand, author(publish, number)?, Readers::Light)
    };
    let mut swarm = Swarm::new(setting.broker.port)?;
    let talks = [talk(0, there, back), talk(1, back, there)];
    let links = dial_all(&mut swarm, talks.into_iter())?;
    let (first, second) = (links[0], links[1]);

    let mut histogram = Histogram::<u64>::new_with_bounds(1, 60_000_000_000, 3).context("a histogram")?;
    let mut meter = None;
    let end = Instant::now() + TIME_MAX;
    for round in 1..=WARM + count {
        if round == WARM + 1 {
            meter = Some(Meter::start(setting.broker)?);
        }
        let began = Instant::now();
        swarm.publish(first, 1)?;
        swarm.until("on the way there", |swarm| Ok(swarm.link(second).seen.delivered == round))?;
        swarm.publish(second, 1)?;
        swarm.until("on the way back", |swarm| Ok(swarm.link(first).seen.delivered == round))?;
        if round > WARM {
            histogram.record(began.elapsed().as_nanos() as u64).context("a time")?;
            if Instant::now() > end {
                break;
            }
        }
    }
    let spent = meter.context("rounds that count")?.stop(setting.broker, &mut metrics)?;
    for (name, quantile) in [("p50_us", 0.5), ("p90_us", 0.9), ("p99_us", 0.99), ("p999_us", 0.999)] {
        note(&mut metrics, name, histogram.value_at_quantile(quantile) as f64 / 1e3);
    }
    let rounds = histogram.len() as f64;
    note(&mut metrics, "rounds", rounds);
    note(&mut metrics, "broker_us_per_delivery", super::micros(spent) / (2.0 * rounds));
    Ok(metrics)
}
