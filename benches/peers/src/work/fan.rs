//! One publisher, many subscribers, so many messages in flight. A message is in flight until every
//! subscriber has it; when half of the window is free it is filled again, so that publishers write in
//! runs, as one that publishes in a loop does.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, ensure};

use super::{Meter, Metrics, Setting, dial_all, micros, note};
use crate::plan::{Fan, Readers};
use crate::swarm::Swarm;
use crate::talk::{Content, Errand};

const TOPIC: &str = "peers/fan";
const SUBJECT: &str = "peers.fan";
/// Of contents that are sealed beforehand; after these the first ones are sent again.
const SEALED_BYTES_MAX: u64 = 256 * 1024 * 1024;

/// Sends through the publisher, and knows how far all have come.
pub(super) struct Flight {
    publisher: usize,
    subscribers: Vec<usize>,
    window: u64,
    sent: u64,
    awaits_answers: bool,
    /// Answers that the publisher had before.
    answered: u64,
}

pub fn run(setting: &Setting<'_>, fan: Fan) -> Result<Metrics> {
    let (mut metrics, content) = (Metrics::new(), Rc::new(Content::new(fan.bytes)));
    let topic = if setting.program.kind == crate::broker::Kind::Nats { SUBJECT } else { TOPIC };
    let warm = fan.window.max(fan.messages / 16);
    let errand = Errand { publish: Some(topic), ..Errand::idle(0, &content) };

    let author = match setting.is_sealmq() {
        true => {
            let mut author = setting.author(topic, 0)?;
            let count = match fan.readers {
                Readers::Real => warm + fan.messages,
                Readers::Light => (warm + fan.messages).min(SEALED_BYTES_MAX / fan.bytes as u64),
            };
            note(&mut metrics, "seal_us_per_message", micros(author.seal(&content, count)?));
            Some(Arc::new(author))
        }
        false => None,
    };
    let mut swarm = Swarm::new(setting.broker.port)?;
    let publisher = setting.talk(errand, author, Readers::Light);
    let publisher = dial_all(&mut swarm, [publisher].into_iter())?[0];
    let subscriber = |number| Errand { subscribe: Some(topic), ..Errand::idle(number, &content) };
    let talks = (1..=fan.subscribers).map(|number| setting.talk(subscriber(number), None, fan.readers));
    let subscribers = dial_all(&mut swarm, talks)?;

    let mut flight = Flight::new(setting, &swarm, publisher, subscribers, fan.window);
    flight.send(&mut swarm, warm)?;
    swarm.is_timed = fan.readers == Readers::Real;
    metrics.append(&mut flight.measure(setting, &mut swarm, fan)?);
    Ok(metrics)
}

impl Flight {
    pub fn new(
        setting: &Setting<'_>,
        swarm: &Swarm,
        publisher: usize,
        subscribers: Vec<usize>,
        window: u64,
    ) -> Flight {
        let awaits_answers = setting.program.kind != crate::broker::Kind::Nats;
        let answered = swarm.link(publisher).seen.acknowledged;
        Flight { publisher, subscribers, window, sent: 0, awaits_answers, answered }
    }

    /// Sends what `fan` says, and says what it cost.
    pub fn measure(&mut self, setting: &Setting<'_>, swarm: &mut Swarm, fan: Fan) -> Result<Metrics> {
        let (mut metrics, before) = (Metrics::new(), Totals::of(swarm, self));
        let meter = Meter::start(setting.broker)?;
        self.send(swarm, fan.messages)?;
        let spent = meter.stop(setting.broker, &mut metrics)?;
        Totals::of(swarm, self).since(before).note(&mut metrics, fan, spent)?;
        Ok(metrics)
    }

    /// Publishes `count` messages, until they are received by all and answered for.
    pub fn send(&mut self, swarm: &mut Swarm, count: u64) -> Result<()> {
        let total = self.sent + count;
        swarm.until("while messages flow", |swarm| {
            let acknowledged = swarm.link(self.publisher).seen.acknowledged - self.answered;
            let slowest = self.subscribers.iter().map(|index| swarm.link(*index).seen.delivered).min();
            // Where nobody reads, an answer is all that tells.
            let slowest = slowest.unwrap_or(acknowledged);
            if slowest == total && (!self.awaits_answers || acknowledged == total) {
                return Ok(true);
            }
            let room = self.window - (self.sent - slowest);
            let count = room.min(total - self.sent);
            if count > 0 && room >= self.window.div_ceil(2) {
                self.sent += count;
                swarm.publish(self.publisher, count)?;
            }
            Ok(false)
        })
    }
}

#[derive(Clone, Copy)]
struct Totals {
    delivered: u64,
    sent: u64,
    /// To the broker from the publisher, from the broker to the subscribers.
    up: u64,
    down: u64,
    /// The other way round: answers, and what subscribers have to say.
    back: u64,
    client: Duration,
}

impl Totals {
    fn of(swarm: &Swarm, flight: &Flight) -> Totals {
        let publisher = swarm.link(flight.publisher);
        let subscribers = || flight.subscribers.iter().map(|index| swarm.link(*index));
        Totals {
            delivered: subscribers().map(|link| link.seen.delivered).sum(),
            sent: flight.sent,
            up: publisher.bytes_up,
            down: subscribers().map(|link| link.bytes_down).sum(),
            back: publisher.bytes_down + subscribers().map(|link| link.bytes_up).sum::<u64>(),
            client: subscribers().map(|link| link.cpu).sum(),
        }
    }

    fn since(self, before: Totals) -> Totals {
        Totals {
            delivered: self.delivered - before.delivered,
            sent: self.sent - before.sent,
            up: self.up - before.up,
            down: self.down - before.down,
            back: self.back - before.back,
            client: self.client - before.client,
        }
    }

    fn note(self, metrics: &mut Metrics, fan: Fan, broker: Duration) -> Result<()> {
        let due = fan.messages * fan.subscribers as u64;
        ensure!(self.delivered == due, "{} of {due} deliveries have arrived", self.delivered);
        let per_delivery = |value: f64| value / self.delivered as f64;
        note(metrics, "broker_us_per_delivery", per_delivery(micros(broker)));
        note(metrics, "deliveries", self.delivered as f64);
        note(metrics, "bytes_up_per_message", self.up as f64 / self.sent as f64);
        note(metrics, "bytes_down_per_delivery", per_delivery(self.down as f64));
        note(metrics, "bytes_back_per_delivery", per_delivery(self.back as f64));
        if fan.readers == Readers::Real {
            note(metrics, "client_us_per_delivery", per_delivery(micros(self.client)));
        }
        Ok(())
    }
}
