//! What a broker holds in memory: with nobody there, and for each connection that does nothing.

use std::rc::Rc;
use std::time::Duration;

use anyhow::Result;

use super::{Metrics, Setting, dial_all, note};
use crate::plan::Readers;
use crate::process;
use crate::swarm::Swarm;
use crate::talk::{Content, Errand, NUMBER_BYTES};

/// A broker has come to rest when its size stays the same for so long.
const STEP: Duration = Duration::from_millis(500);
const STEPS_MAX: usize = 10;
const KIB: f64 = 1024.0;

pub fn run(setting: &Setting<'_>, connections: usize) -> Result<Metrics> {
    let (mut metrics, content) = (Metrics::new(), Rc::new(Content::new(NUMBER_BYTES)));
    let mut swarm = Swarm::new(setting.broker.port)?;
    let empty = settle(setting, &mut swarm)?;
    let talks = (0..connections).map(|number| {
        let errand = Errand::idle(number, &content);
        setting.talk(errand, None, Readers::Light)
    });
    dial_all(&mut swarm, talks)?;
    let full = settle(setting, &mut swarm)?;
    note(&mut metrics, "connections", connections as f64);
    note(&mut metrics, "empty_mib", empty / KIB / KIB);
    note(&mut metrics, "kib_per_connection", (full - empty) / KIB / connections as f64);
    note(&mut metrics, "binary_mib", setting.program.bytes as f64 / KIB / KIB);
    Ok(metrics)
}

fn settle(setting: &Setting<'_>, swarm: &mut Swarm) -> Result<f64> {
    let mut size = process::resident(setting.broker.pid())?;
    for _ in 0..STEPS_MAX {
        swarm.rest(STEP)?;
        let before = std::mem::replace(&mut size, process::resident(setting.broker.pid())?);
        if size == before {
            break;
        }
    }
    Ok(size as f64)
}
