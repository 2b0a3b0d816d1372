//! What a broker's work costs as something grows: the same work, put to it at several sizes.

mod history;
mod idle;
mod topics;

use std::rc::Rc;

use anyhow::{Context, Result};
use sealmq::wire::values::Retention;

use super::{Metrics, Setting, fan};
use crate::broker::{Program, Room};
use crate::growth::{Axis, Ladder};
use crate::pki::Pki;
use crate::plan::{Fan, Readers};
use crate::talk::author::Shared;
use crate::talk::sealmq::Light;
use crate::talk::{Errand, Talk};

/// Of messages, where it is not the size that grows.
const BYTES: usize = 100;
/// Messages in flight, so that a turn of the broker has some, and not so many that they hide what a turn costs.
const WINDOW: u64 = 64;

/// Is told what each size gave.
pub type Tell<'a> = dyn FnMut(u64, Result<Metrics>) -> Result<()> + 'a;

/// What is kept from one round to the next.
#[derive(Default)]
pub struct Stock {
    topics: Option<Shared>,
}

impl Stock {
    /// All topics that any of these sizes takes: two signatures each, so they serve all rounds.
    fn topics(&mut self, setting: &Setting<'_>, sizes: &[u64]) -> Result<Shared> {
        if self.topics.is_none() {
            self.topics = Some(topics::make(setting, sizes.iter().copied().max().unwrap_or(1))?);
        }
        self.topics.clone().context("topics that were just made")
    }
}

/// Puts `program` through an axis, size after size. Sizes build on each other only where a broker's
/// connections do.
pub fn climb(
    program: &Program,
    pki: &Rc<Pki>,
    axis: &Axis,
    sizes: &[u64],
    stock: &mut Stock,
    tell: &mut Tell<'_>,
) -> Result<()> {
    if let Ladder::Idle = axis.ladder {
        return on_broker(program, pki, |setting| idle::run(setting, sizes, tell));
    }
    for size in sizes.iter().copied() {
        let done = on_broker(program, pki, |setting| match axis.ladder {
            Ladder::Subscribers => fan::run(setting, to_many(size)),
            Ladder::Size => fan::run(setting, of_size(size)),
            Ladder::Topics => topics::run(setting, stock.topics(setting, sizes)?, size as usize),
            Ladder::History => history::run(setting, size),
            Ladder::Idle => unreachable!("has returned above"),
        });
        tell(size, done)?;
    }
    Ok(())
}

fn on_broker<T>(program: &Program, pki: &Rc<Pki>, work: impl FnOnce(&Setting<'_>) -> Result<T>) -> Result<T> {
    let broker = program.start(pki, Room::Wide)?;
    let done = work(&Setting { program, broker: &broker, pki, mqtt_qos: 0 });
    done.with_context(|| format!("the broker's last words: {:?}", broker.last_words()))
}

/// Some 400,000 deliveries, however many subscribers share them.
fn to_many(subscribers: u64) -> Fan {
    let messages = (400_000 / subscribers).clamp(256, 40_000);
    Fan { subscribers: subscribers as usize, bytes: BYTES, window: WINDOW, messages, readers: Readers::Light }
}

/// Some 512 MiB, and some 2 MiB of them in flight.
fn of_size(bytes: u64) -> Fan {
    let messages = ((512 << 20) / bytes).clamp(128, 40_000);
    let window = ((2 << 20) / bytes).clamp(2, WINDOW);
    Fan { subscribers: 1, bytes: bytes as usize, window, messages, readers: Readers::Light }
}

/// Messages to one or some, of the usual size.
fn fan_of(subscribers: usize, window: u64, messages: u64) -> Fan {
    Fan { subscribers, bytes: BYTES, window, messages, readers: Readers::Light }
}

impl Setting<'_> {
    /// Creates the first topics of `author`, and publishes to them in turn.
    fn owner(
        &self,
        errand: Errand,
        author: Shared,
        topics: usize,
        retention: Retention,
    ) -> Result<Box<dyn Talk>> {
        Ok(Box::new(Light::new(self.pki, errand, Some(author), topics, self.kept(retention))?))
    }
}
