//! How a run ends: the network heals, everybody comes back, and all promises must be kept.

use std::time::Duration;

use super::model::Log;
use super::player::Player;
use super::rules::{Rule, Violation};
use super::stage::Stage;
use super::workload::{Workload, filter};
use crate::base::Wall;
use crate::base::ids::Offset;
use crate::base::names::TopicName;
use crate::wire::values::Start;

/// Within this time everything is answered and delivered: two of the longest waits before a new
/// attempt, and a keepalive's silence before.
const REST_WITHIN: Duration = Duration::from_secs(300);

impl Stage {
    /// The network works from now on, and everybody is there.
    pub fn heal(&mut self, workload: &mut Workload) -> Result<(), Violation> {
        self.note(format_args!("the network heals"));
        self.weather.delay_ms = self.weather.delay_ms.min(5);
        self.weather.capacity = self.weather.capacity.max(70_000);
        let now = self.mono;
        self.links.iter_mut().for_each(|link| link.heal(now));
        self.players.iter_mut().flatten().for_each(|player| player.busy_until = now);
        workload.come_back(self, true);
        self.settle(|stage| {
            workload.come_back(stage, true);
            stage.is_at_rest()
        })
    }

    /// Goes on until `done`, which must be soon.
    fn settle(&mut self, mut done: impl FnMut(&mut Stage) -> bool) -> Result<(), Violation> {
        let deadline = self.mono + REST_WITHIN;
        while !done(self) {
            Rule::ThingsGoOn.check(self.mono < deadline, || self.unrest())?;
            self.step(Some(deadline))?;
        }
        Ok(())
    }

    fn is_at_rest(&self) -> bool {
        self.players.iter().all(|player| player.as_ref().is_some_and(|player| self.has_all(player)))
    }

    /// Whether a client has every answer, and all that its filters match.
    fn has_all(&self, player: &Player) -> bool {
        let complete = |(_, log): (_, &Log)| {
            let is_theirs = log.members.contains(&player.me) && player.wants(&log.name);
            let is_theirs = is_theirs && !player.suspended.contains(&log.name);
            let reader = player.readers.get(&log.name);
            !is_theirs || reader.is_some_and(|r| self.model.log(r.log).is_some() && r.is_complete(log))
        };
        let is_there = player.core.is_connected() && self.model.logs_of(self.generation).all(complete);
        player.is_answered() && (player.is_over || is_there)
    }

    /// Who waits for what.
    fn unrest(&self) -> String {
        let of = |player: &Player| {
            let places: Vec<String> = player
                .readers
                .iter()
                .map(|(topic, r)| format!("{topic} at {}, caught up {}", r.next, r.caught_up))
                .collect();
            let (link, wants) = (player.core.is_connected(), player.waits_for());
            format!("connected {link}, reads {places:?} for {:?}, waits for {wants}", player.filters)
        };
        let all: Vec<String> = self.players.iter().map(|p| p.as_ref().map_or("away".into(), of)).collect();
        format!("no rest:\n  {}", all.join("\n  "))
    }

    /// One who was not there reads what is kept, from every kind of start, and sees exactly that.
    pub fn audit(&mut self, person: usize, start: Start) -> Result<(), Violation> {
        self.drop_player(person);
        self.start_player(person, 0);
        self.note(format_args!("audit from {start:?}"));
        if let Some(player) = &mut self.players[person] {
            player.subscribe(filter("#"), start);
        }
        let before = self.expected(person, start);
        self.settle(|stage| stage.is_at_rest())?;
        let after = self.expected(person, start);
        let Some(player) = self.players[person].as_ref().filter(|player| !player.is_over) else {
            return Ok(());
        };
        // Retention may still be at work, and moves the places on.
        for ((topic, earliest), (_, latest)) in before.into_iter().zip(after) {
            let begun = player.begun.get(&topic).copied();
            Rule::DeliveryIsAsAsked.check(begun.is_some_and(|at| earliest <= at && at <= latest), || {
                format!("{topic} from {start:?} began at {begun:?}, not at {earliest}..={latest}")
            })?;
        }
        Ok(())
    }

    /// Where each topic is to begin for this start.
    fn expected(&self, person: usize, start: Start) -> Vec<(TopicName, Offset)> {
        let me = self.cast.people()[person].fingerprint;
        let mine = self.model.logs_of(self.generation).filter(|(_, log)| log.members.contains(&me));
        mine.map(|(_, log)| (log.name.clone(), begin(log, start))).collect()
    }

    /// Everybody exits, and the broker ends.
    pub fn close(&mut self) -> Result<(), Violation> {
        for player in self.players.iter_mut().flatten().filter(|player| !player.is_over) {
            player.core.exit();
        }
        let is_over = |player: &Option<Player>| player.as_ref().is_none_or(|player| player.is_over);
        self.settle(|stage| stage.players.iter().all(is_over))?;
        let now = self.now();
        if let Some(broker) = &mut self.broker {
            broker.core.shutdown(now);
        }
        self.settle(|stage| stage.broker.as_ref().is_none_or(|broker| broker.core.is_drained()))
    }
}

/// The first message of a log that `start` asks for.
fn begin(log: &Log, start: Start) -> Offset {
    let kept: Vec<(Offset, Wall)> = log.messages(log.first, log.end()).collect();
    let earliest = kept.first().map_or(log.end(), |(offset, _)| *offset);
    let found = |found: Option<&(Offset, Wall)>| found.map_or(log.end(), |(offset, _)| *offset);
    match start {
        Start::Latest | Start::Last(0) => log.end(),
        Start::Last(count) => {
            found(kept.get(kept.len().saturating_sub(count as usize)..).and_then(|k| k.first()))
        }
        Start::Since(time) => found(kept.iter().find(|(_, at)| *at >= time)),
        Start::Offset(offset) if offset <= log.end() => offset,
        _ => earliest,
    }
}
