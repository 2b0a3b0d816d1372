//! How a run ends: the network heals, everybody comes back, and all promises must be kept.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::changes::{Change, What, is_as_told};
use super::model::Log;
use super::player::{Player, Query};
use super::rules::{Rule, Violation};
use super::stage::Stage;
use super::workload::{Workload, filter};
use crate::base::Wall;
use crate::base::ids::{Fingerprint, Offset};
use crate::base::names::TopicName;
use crate::chain::{Chain, Role};
use crate::client::Join;
use crate::wire::values::Start;

/// Longer than a client waits for a record that may come, or not.
const QUIET: Duration = Duration::from_secs(15);

/// Within this time everything is answered and delivered: two of the longest waits before a new
/// attempt, and a keepalive's silence before.
const REST_WITHIN: Duration = Duration::from_secs(300);

impl Stage {
    /// The network works from now on, and everybody is there.
    pub fn heal(&mut self, workload: &mut Workload) -> Result<(), Violation> {
        self.note(format_args!("the network heals"));
        self.weather.delay_ms = self.weather.delay_ms.min(5);
        self.weather.capacity = self.weather.capacity.max(70_000);
        self.disk.heal();
        let now = self.mono;
        self.links.iter_mut().for_each(|link| link.heal(now));
        self.players.iter_mut().flatten().for_each(|player| player.busy_until = now);
        self.settle(|stage| {
            workload.come_back(stage, true)?;
            Ok(stage.is_at_rest())
        })
    }

    /// Goes on until `done`, which must be soon.
    fn settle(
        &mut self,
        mut done: impl FnMut(&mut Stage) -> Result<bool, Violation>,
    ) -> Result<(), Violation> {
        let deadline = self.mono + REST_WITHIN;
        while !done(self)? {
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
            let is_theirs = log.ledger().is_member(player.me) && player.wants(&log.name);
            let is_theirs = is_theirs && !player.suspended.contains(&log.name);
            let reader = player.readers.get(&log.name);
            !is_theirs || reader.is_some_and(|r| self.model.log(r.log).is_some() && r.is_complete(log))
        };
        let is_there = player.core.is_connected() && self.model.live_logs().all(complete);
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

    /// Once all is quiet every client's own record of who is a member is the store's.
    pub fn compare_members(&mut self, workload: &mut Workload) -> Result<(), Violation> {
        // What clients do by themselves, records on their way, and clients that were about to leave come
        // to their end.
        let quiet_at = self.mono + QUIET;
        self.settle(|stage| {
            workload.come_back(stage, true)?;
            Ok(stage.mono >= quiet_at && stage.is_at_rest())
        })?;
        let logs: Vec<(TopicName, Chain)> =
            self.model.live_logs().map(|(_, log)| (log.name.clone(), log.ledger().now().clone())).collect();
        for player in self.players.iter_mut().flatten().filter(|player| !player.is_over) {
            player.members.clear();
            let me = player.me;
            for (topic, _) in logs.iter().filter(|(_, chain)| chain.member(me).is_some()) {
                player.query(Query::Members, topic);
            }
        }
        self.settle(|stage| Ok(stage.is_at_rest()))?;
        for player in self.players.iter().flatten().filter(|player| !player.is_over) {
            for (topic, chain) in logs.iter().filter(|(_, chain)| chain.member(player.me).is_some()) {
                let told = player.members.get(topic);
                let same = told.is_some_and(|told| is_as_told(chain, told));
                Rule::MembersDecide.check(same || player.suspended.contains(topic), || {
                    format!("{topic} ends with {:?}, but {told:?} was told", chain.members())
                })?;
            }
        }
        Ok(())
    }

    /// Who was told that a request is kept, and has had no decision, is shown to those who may decide.
    pub fn compare_requests(&mut self) -> Result<(), Violation> {
        let rules = |log: &Log, who: Fingerprint| {
            let role = log.ledger().now().member(who).map(|member| member.role);
            matches!(role, Some(Role::Owner | Role::Admin))
        };
        for player in self.players.iter_mut().flatten().filter(|player| !player.is_over) {
            let ruled = self.model.live_logs().filter(|(_, log)| rules(log, player.me));
            for topic in ruled.map(|(_, log)| log.name.clone()).collect::<Vec<_>>() {
                player.change(Change { topic, what: What::Requests });
            }
        }
        self.settle(|stage| Ok(stage.is_at_rest()))?;
        if self.model.revoked.is_some() {
            // Who is revoked is forgotten.
            return Ok(());
        }
        for (id, log) in self.model.live_logs() {
            let ledger = log.ledger();
            let is_settled = |who| ledger.was_member(who) || ledger.was(|chain| chain.is_barred(who));
            let waits = self.model.joining.iter().filter(|(of, who)| *of == id && !is_settled(*who));
            let waiting: BTreeSet<Fingerprint> = waits.map(|(_, who)| *who).collect();
            for player in self.players.iter().flatten().filter(|p| !p.is_over && rules(log, p.me)) {
                let told = player.requests.get(&log.name);
                let is_complete = told.is_some_and(|told| told.is_superset(&waiting));
                Rule::NothingIsLost.check(is_complete || player.suspended.contains(&log.name), || {
                    format!("{waiting:?} asked to join {}, and {told:?} was told", log.name)
                })?;
                let now = ledger.now();
                let is_over = |who: &&Fingerprint| now.member(**who).is_some() || now.is_barred(**who);
                let over = told.into_iter().flatten().find(is_over);
                Rule::AnswersAreTrue.check(over.is_none(), || {
                    format!("{over:?} is said to wait for {}, who does not", log.name)
                })?;
            }
        }
        Ok(())
    }

    /// Whoever asked to join an open topic is a member in the end, if nobody ever objected and somebody was
    /// there to let them in.
    pub fn check_open_doors(&self) -> Result<(), Violation> {
        for (log, who) in &self.model.joining {
            let Some(log) = self.model.log(*log).filter(|log| !log.is_removed) else { continue };
            let ledger = log.ledger();
            let may_answer = |player: &&Player| {
                let role = ledger.now().member(player.me).map(|member| member.role);
                player.answers && !player.is_over && matches!(role, Some(Role::Owner | Role::Admin))
            };
            let is_watched = self.players.iter().flatten().any(|player| may_answer(&player));
            let was_closed = ledger.was(|chain| chain.join() != Join::Open || chain.is_barred(*who));
            if self.model.has_crl && is_watched && !was_closed && self.model.revoked.is_none() {
                Rule::ThingsGoOn.check(ledger.was_member(*who), || {
                    format!("somebody asked to join {}, which is open, and nobody let them in", log.name)
                })?;
            }
        }
        Ok(())
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
        self.settle(|stage| Ok(stage.is_at_rest()))?;
        let after = self.expected(person, start);
        let Some(player) = self.players[person].as_ref().filter(|player| !player.is_over) else {
            return Ok(());
        };
        // Retention may still be at work, and moves the places on.
        for (topic, earliest) in before {
            let Some(latest) = after.get(&topic).copied() else { continue };
            let begun = player.begun.get(&topic).copied();
            Rule::DeliveryIsAsAsked.check(begun.is_some_and(|at| earliest <= at && at <= latest), || {
                format!("{topic} from {start:?} began at {begun:?}, not at {earliest}..={latest}")
            })?;
        }
        Ok(())
    }

    /// Where each topic is to begin for this start.
    fn expected(&self, person: usize, start: Start) -> BTreeMap<TopicName, Offset> {
        let me = self.cast.people()[person].fingerprint;
        let mine = self.model.live_logs().filter(|(_, log)| log.ledger().is_member(me));
        mine.map(|(_, log)| (log.name.clone(), begin(log, start))).collect()
    }

    /// Everybody exits, and the broker ends.
    pub fn close(&mut self) -> Result<(), Violation> {
        for player in self.players.iter_mut().flatten().filter(|player| !player.is_over) {
            player.core.exit();
        }
        let is_over = |player: &Option<Player>| player.as_ref().is_none_or(|player| player.is_over);
        self.settle(|stage| Ok(stage.players.iter().all(is_over)))?;
        let now = self.now();
        if let Some(broker) = &mut self.broker {
            broker.core.shutdown(now);
        }
        self.settle(|stage| Ok(stage.broker.as_ref().is_none_or(|broker| broker.core.is_drained())))
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
