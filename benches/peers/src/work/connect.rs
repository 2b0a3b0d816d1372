//! New connections, so many at the same moment: what each costs the broker, from the first byte until
//! it can be used. Sessions are whole ones, nothing is resumed; connections stay open.

use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::Result;

use super::{Meter, Metrics, Setting, note};
use crate::plan::Readers;
use crate::swarm::Swarm;
use crate::talk::{Content, Errand, NUMBER_BYTES};

/// For what a broker does a little later.
const AFTER: Duration = Duration::from_millis(100);
/// Connections before those that count.
const WARM: usize = 2;

pub fn run(setting: &Setting<'_>, at_once: usize, waves: usize) -> Result<Metrics> {
    let (mut metrics, content) = (Metrics::new(), Rc::new(Content::new(NUMBER_BYTES)));
    let mut swarm = Swarm::new(setting.broker.port)?;
    let wave = |swarm: &mut Swarm, size: usize| -> Result<Duration> {
        let first = swarm.links().len();
        let began = Instant::now();
        for number in first..first + size {
            let errand = Errand::idle(number, &content);
            swarm.dial(setting.talk(errand, None, Readers::Light)?)?;
        }
        swarm.until("while clients connect", |swarm| {
            Ok(swarm.links()[first..].iter().all(|link| link.seen.is_ready))
        })?;
        Ok(began.elapsed())
    };
    wave(&mut swarm, WARM)?;
    swarm.rest(AFTER)?;

    let meter = Meter::start(setting.broker)?;
    let mut slowest = Duration::ZERO;
    for _ in 0..waves {
        slowest = slowest.max(wave(&mut swarm, at_once)?);
    }
    swarm.rest(AFTER)?;
    let spent = meter.stop(setting.broker, &mut metrics)?;
    let connections = (at_once * waves) as f64;
    note(&mut metrics, "connections", connections);
    note(&mut metrics, "broker_ms_per_connection", spent.as_secs_f64() * 1e3 / connections);
    note(&mut metrics, "slowest_wave_ms", slowest.as_secs_f64() * 1e3);
    Ok(metrics)
}
