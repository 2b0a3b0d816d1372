//! What people, networks and clocks do in a run: drawn from the seed, one act after the other.

use std::time::Duration;

use super::dice::Dice;
use super::engine::Habits;
use super::intrigue;
use super::pipe::Weather;
use super::player::Query;
use super::rules::Violation;
use super::stage::{Ending, Setup, Stage};
use super::tamper::{Fault, Tamper};
use crate::base::names::{TopicFilter, TopicName};
use crate::base::{Mono, Wall};
use crate::broker::BrokerConfig;
use crate::client::pins::Pins;
use crate::client::{ClientConfig, CreateRequest, History, Join, MemberChoice};
use crate::wire::values::{Durability, Start};

/// A seed's plan, and how much of it is left. What costs RSA operations is bounded, so that a
/// seed takes a fraction of a second.
pub struct Workload {
    dice: Dice,
    acts_left: u64,
    creates_left: u64,
    changes_left: u64,
    joins_left: u64,
    cuts_left: u64,
    departures_left: u64,
    restarts_left: u64,
    bad_disks_left: u64,
    revocations_left: u64,
    jumps_left: u64,
    /// Who is away, and when they come back.
    away: Vec<(usize, Mono)>,
    /// When the broker that is ending, or gone, is replaced, and how it ends.
    replaced: Option<(Mono, Ending)>,
}

/// Names that each person may give to topics, behind their own.
const TOPICS: [&str; 3] = ["a", "b", "c/d"];
const FILTERS: [&str; 8] = ["#", "+/a", "alice/#", "bob/+", "carol/a", "alice/a", "+/c/d", "bob/a"];
/// Topics that a run makes.
const CREATES: u64 = 5;

impl Workload {
    pub fn new(seed: u64) -> Workload {
        let mut dice = Dice::new(seed, 2);
        Workload {
            acts_left: dice.between(20, 80),
            creates_left: CREATES,
            changes_left: dice.below(16),
            joins_left: dice.below(5),
            cuts_left: dice.below(4),
            departures_left: dice.below(3),
            restarts_left: dice.below(5),
            bad_disks_left: dice.below(3),
            revocations_left: u64::from(dice.percent(15)),
            jumps_left: dice.below(3),
            away: Vec::new(),
            replaced: None,
            dice,
        }
    }

    /// The world of a seed, with everybody about to connect.
    pub fn stage(&mut self, tamper: Tamper, seed: u64) -> Stage {
        let dice = &mut self.dice;
        let weather = Weather {
            delay_ms: *dice.pick(&[0, 1, 20, 200]),
            capacity: *dice.pick(&[600, 5_000, 70_000, 400_000]),
            chunk: *dice.pick(&[400, 3_000, 70_000]),
        };
        let setup = setup(dice, tamper.fault);
        let mut stage = Stage::new(seed, weather, setup, tamper);
        for person in 0..stage.players.len() {
            let ahead = self.clock_ahead();
            stage.start_player(person, ahead);
        }
        stage
    }

    /// Lets acts and their consequences happen until the plan is done.
    pub fn run(&mut self, stage: &mut Stage) -> Result<(), Violation> {
        let mut next = stage.mono;
        while self.acts_left > 0 {
            if stage.mono >= next {
                self.acts_left -= 1;
                self.act(stage)?;
                let pause = if self.dice.percent(3) { 100_000 } else { 60 };
                next = stage.mono + self.dice.millis(pause);
            }
            self.come_back(stage, false)?;
            let times = self.away.iter().map(|(_, at)| *at).chain(self.replaced.map(|(at, _)| at));
            let wake_at = times.chain([next]).min();
            stage.step(wake_at)?;
        }
        Ok(())
    }

    /// Those who are away come back, all of them or those whose time has come.
    pub fn come_back(&mut self, stage: &mut Stage, all: bool) -> Result<(), Violation> {
        let now = stage.mono;
        if stage.broker.is_none() && self.replaced.is_none() {
            // Its disk has failed.
            self.replaced = Some((now + self.dice.millis(5_000), Ending::Crash));
        }
        if let Some((at, how)) = self.replaced
            && (all || at <= now)
        {
            self.replaced = None;
            stage.end_broker(how)?;
            stage.start_broker()?;
        }
        for (person, _) in self.away.extract_if(.., |(_, at)| all || *at <= now).collect::<Vec<_>>() {
            if stage.players[person].is_none() {
                // Whose state folder is lost knows nothing of what it has seen.
                if self.dice.percent(40) {
                    stage.kept[person].0 = Pins::default();
                }
                let ahead = self.clock_ahead();
                stage.start_player(person, ahead);
            }
        }
        // Whoever left by exit is away once that is done.
        for person in 0..stage.players.len() {
            let is_away = self.away.iter().any(|(other, _)| *other == person);
            if stage.players[person].is_none() && !is_away {
                self.away.push((person, now + self.dice.millis(3_000)));
            }
        }
        Ok(())
    }

    fn clock_ahead(&mut self) -> i64 {
        // With the jumps of the broker's clock less than a day: further apart, a message would be
        // outside its delegation's time.
        const AHEAD_MAX: i64 = 20 * 3_600_000;
        *self.dice.pick(&[0, 0, 0, 0, 70_000, -70_000, AHEAD_MAX])
    }

    fn act(&mut self, stage: &mut Stage) -> Result<(), Violation> {
        let person = self.dice.below(stage.players.len() as u64) as usize;
        // Without topics little happens.
        let has_begun = self.creates_left < CREATES - 1;
        match if has_begun { self.dice.below(132) } else { self.dice.below(50) } {
            0..10 => self.create(stage, person),
            10..50 => self.publish(stage, person),
            50..65 => self.subscribe(stage, person),
            65..69 => self.unsubscribe(stage, person),
            69..74 => self.query(stage, person),
            74..91 => self.change(stage, person),
            91..96 => self.join(stage, person),
            96..99 => intrigue::watch(stage, &mut self.dice, person),
            99..103 => self.stall(stage, person),
            103..107 => self.keep_busy(stage, person),
            107..110 => self.cut(stage, person),
            110..114 => self.depart(stage, person),
            114..123 => self.restart(stage)?,
            123..124 => self.revoke(stage, person),
            124..128 => self.spoil_disk(stage),
            _ => self.jump(stage),
        }
        Ok(())
    }

    fn change(&mut self, stage: &mut Stage, person: usize) {
        if self.changes_left > 0 {
            self.changes_left -= 1;
            intrigue::act(stage, &mut self.dice, person);
        }
    }

    fn join(&mut self, stage: &mut Stage, person: usize) {
        if self.joins_left > 0 {
            self.joins_left -= 1;
            intrigue::join(stage, &mut self.dice, person);
        }
    }

    fn create(&mut self, stage: &mut Stage, person: usize) {
        let own = format!("{}/{}", stage.cast.people()[person].name, self.dice.pick(&TOPICS));
        let others: Vec<_> = stage.cast.people().iter().map(|p| p.name.clone()).collect();
        let Some(player) = &mut stage.players[person] else { return };
        if self.creates_left == 0 {
            return;
        }
        self.creates_left -= 1;
        let mut request = CreateRequest::new(TopicName::parse(&own).expect("a good topic"));
        request.retention = intrigue::retention(&mut self.dice);
        request.durability = *self.dice.pick(&[Durability::Disk, Durability::Disk, Durability::Memory]);
        request.members = match self.dice.below(6) {
            0 => MemberChoice::OnlyMe,
            1..4 => MemberChoice::Only(vec![self.dice.pick(&others).clone()]),
            _ => MemberChoice::AllKnown,
        };
        request.join = *self.dice.pick(&[Join::Ask, Join::Open, Join::Open, Join::Closed]);
        request.history = *self.dice.pick(&[History::All, History::SinceJoin]);
        player.create(request);
    }

    fn publish(&mut self, stage: &mut Stage, person: usize) {
        let topic = self.topic(stage);
        let count = if self.dice.percent(15) { self.dice.between(10, 40) } else { self.dice.between(1, 4) };
        for _ in 0..count {
            let len = length(&mut self.dice);
            let Some(player) = &mut stage.players[person] else { return };
            if !player.publish(&topic, len, &mut stage.model) {
                return;
            }
        }
    }

    /// A topic that is there; sometimes one that may not be.
    fn topic(&mut self, stage: &Stage) -> TopicName {
        let there: Vec<TopicName> = stage.model.live_logs().map(|(_, log)| log.name.clone()).collect();
        if !there.is_empty() && self.dice.percent(95) {
            return self.dice.pick(&there).clone();
        }
        let owner = &self.dice.pick(stage.cast.people()).name;
        TopicName::parse(&format!("{owner}/{}", self.dice.pick(&TOPICS))).expect("a good topic")
    }

    fn subscribe(&mut self, stage: &mut Stage, person: usize) {
        let start = match self.dice.below(8) {
            0..3 => Start::Earliest,
            3 => Start::Latest,
            4 => Start::Last(self.dice.below(20)),
            5 => Start::Since(Wall(stage.now().wall.0 - self.dice.below(2_000))),
            _ => Start::Offset(crate::base::ids::Offset(self.dice.below(40))),
        };
        let Some(player) = &mut stage.players[person] else { return };
        player.subscribe(filter(self.dice.pick::<&str>(&FILTERS)), start);
    }

    fn unsubscribe(&mut self, stage: &mut Stage, person: usize) {
        let Some(player) = &mut stage.players[person] else { return };
        let of_mine = (!player.filters.is_empty()).then(|| self.dice.pick(&player.filters).clone());
        player.unsubscribe(of_mine.unwrap_or_else(|| filter(self.dice.pick::<&str>(&FILTERS))));
    }

    fn query(&mut self, stage: &mut Stage, person: usize) {
        let topic = self.topic(stage);
        let all = [Query::Topics, Query::Stats, Query::Ping, Query::Clients, Query::Members, Query::Open];
        let query = *self.dice.pick(&all);
        let Some(player) = &mut stage.players[person] else { return };
        let who = &stage.cast.people()[person].name;
        stage.trace.note(stage.mono, format_args!("{who} asks of {topic}: {query:?}"));
        player.query(query, &topic);
    }

    /// A connection carries nothing for a while, in one direction or both.
    fn stall(&mut self, stage: &mut Stage, person: usize) {
        let longest = *self.dice.pick(&[50, 2_000, 200_000]);
        let until = stage.mono + self.dice.millis(longest);
        let (up, down) = *self.dice.pick(&[(true, false), (false, true), (true, true)]);
        let who = &stage.cast.people()[person].name;
        stage
            .trace
            .note(stage.mono, format_args!("{who} is stalled until {}, up {up}, down {down}", until.0));
        for link in stage.links.iter_mut().filter(|link| link.person == person) {
            if up {
                link.up.stall(until);
            }
            if down {
                link.down.stall(until);
            }
        }
    }

    /// A caller takes no events for a while.
    fn keep_busy(&mut self, stage: &mut Stage, person: usize) {
        let longest = *self.dice.pick(&[100, 5_000, 60_000]);
        let until = stage.mono + self.dice.millis(longest);
        if let Some(player) = &mut stage.players[person] {
            player.busy_until = until;
        }
    }

    /// A connection breaks behind so many more bytes.
    fn cut(&mut self, stage: &mut Stage, person: usize) {
        let far = *self.dice.pick(&[1, 50, 2_000, 60_000]);
        let (bytes, is_up) = (self.dice.below(far) as usize, self.dice.percent(50));
        let link = stage.links.iter_mut().find(|link| link.person == person && link.client_open);
        if let (Some(link), true) = (link, self.cuts_left > 0) {
            self.cuts_left -= 1;
            let pipe = if is_up { &mut link.up } else { &mut link.down };
            pipe.cut_after(bytes);
        }
    }

    /// A client ends, as it should or without a word, and is started anew later.
    fn depart(&mut self, stage: &mut Stage, person: usize) {
        let Some(player) = &mut stage.players[person] else { return };
        if self.departures_left == 0 || player.is_revoked {
            return;
        }
        self.departures_left -= 1;
        if self.dice.percent(60) {
            player.core.exit();
        } else {
            stage.drop_player(person);
        }
    }

    /// The broker ends, as it should or at once, and another one takes its place.
    fn restart(&mut self, stage: &mut Stage) -> Result<(), Violation> {
        if self.restarts_left == 0 || self.replaced.is_some() {
            return Ok(());
        }
        self.restarts_left -= 1;
        let how = if self.dice.percent(30) { Ending::InGoodOrder } else { Ending::Crash };
        if how == Ending::InGoodOrder {
            let now = stage.now();
            if let Some(broker) = &mut stage.broker {
                broker.core.shutdown(now);
            }
        } else {
            stage.end_broker(how)?;
        }
        let longest = *self.dice.pick(&[1, 500, 8_000]);
        self.replaced = Some((stage.mono + self.dice.millis(longest), how));
        Ok(())
    }

    /// The disk is full for a while, or breaks.
    fn spoil_disk(&mut self, stage: &mut Stage) {
        if self.bad_disks_left == 0 {
            return;
        }
        self.bad_disks_left -= 1;
        if self.dice.percent(50) {
            stage.note(format_args!("the disk is full"));
            stage.disk.fill(stage.mono + self.dice.millis(3_000));
        } else {
            stage.disk.break_down();
        }
    }

    /// Somebody's certificate is revoked.
    fn revoke(&mut self, stage: &mut Stage, person: usize) {
        let now = stage.now();
        if self.revocations_left == 0 {
            return;
        }
        self.revocations_left -= 1;
        stage.trust.update_crl(stage.cast.crl(person), now.wall).expect("a good list");
        if let Some(broker) = &mut stage.broker {
            broker.core.reload(None, stage.trust.clone(), now);
        }
        let gone = &stage.cast.people()[person];
        stage.trace.note(stage.mono, format_args!("{} is revoked", gone.name));
        stage.model.revoked = Some(gone.name.clone());
        stage.model.has_crl = true;
        for player in stage.players.iter_mut().flatten().filter(|player| player.me == gone.fingerprint) {
            player.is_revoked = true;
        }
    }

    /// The broker's civil clock jumps; less than a day in a run, for then publishers are forgotten.
    fn jump(&mut self, stage: &mut Stage) {
        if self.jumps_left == 0 {
            return;
        }
        self.jumps_left -= 1;
        stage.jump(*self.dice.pick(&[-3_600_000, -500, 500, 60_000, 6 * 3_600_000]));
    }
}

fn setup(dice: &mut Dice, fault: Option<Fault>) -> Setup {
    let broker = BrokerConfig {
        outbox_bytes_max: *dice.pick(&[4 * 1024, 256 * 1024]),
        unanswered_publishes_max: *dice.pick(&[1, 5, 1024]),
        tail_bytes_max: *dice.pick(&[0, 20_000, 32 * 1024 * 1024]),
        message_bytes_max: *dice.pick(&[20_000, 1024 * 1024]),
        keepalive: Duration::from_secs(*dice.pick(&[2, 10, 60])),
        seal_bodies: dice.percent(30),
        ..BrokerConfig::default()
    };
    let client = ClientConfig {
        host: "localhost".into(),
        seal_bodies: dice.percent(30),
        event_bytes_max: *dice.pick(&[2_000, 100_000, 4 * 1024 * 1024]),
        ..ClientConfig::default()
    };
    let disk = Habits {
        bytes_max: *dice.pick(&[150_000, 64 * 1024 * 1024, 64 * 1024 * 1024]),
        delay_ms: *dice.pick(&[0, 3, 12, 200]),
        fault,
    };
    Setup { broker, client, disk, clients: *dice.pick(&[3, 3, 4, 4, 5]), has_crl: dice.percent(80) }
}

/// Mostly small messages, few large ones.
fn length(dice: &mut Dice) -> usize {
    let most = match dice.below(100) {
        0..8 => 0,
        8..15 => 10,
        15..75 => 300,
        75..95 => 3_000,
        95..99 => 40_000,
        _ => 200 * 1024,
    };
    dice.below(most + 1) as usize
}

pub fn filter(text: &str) -> TopicFilter {
    TopicFilter::parse(text).expect("a good filter")
}
