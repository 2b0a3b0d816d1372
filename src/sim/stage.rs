//! The second driver of both cores: a virtual clock, pipes instead of sockets, one step after
//! the other.
//!
//! A step is a turn of `net`'s loop, for the broker and for all clients: bytes in, the core's
//! turn, events, bytes out. Between steps the clock goes to the next thing that can happen.

use std::time::Duration;

use super::cast::Cast;
use super::dice::Dice;
use super::engine::{Disk, Habits};
use super::link::Link;
use super::model::Model;
use super::pipe::Weather;
use super::player::Player;
use super::rules::{Rule, Violation};
use super::tamper::Tamper;
use super::trace::{Trace, brief};
use crate::base::{Mono, Now, Wall};
use crate::broker::{Broker, BrokerConfig, BrokerEvent};
use crate::client::pins::Pins;
use crate::client::{Client, ClientConfig};
use crate::crypto::cert::Trust;
use crate::crypto::cert::testing::Seeded;
use crate::store::NoteKind;

/// Everything that takes part in a run.
pub struct Stage {
    pub seed: u64,
    pub cast: &'static Cast,
    /// For the network; the workload has dice of its own.
    pub dice: Dice,
    pub mono: Mono,
    /// The broker's civil time, without the time that has passed.
    wall_base: u64,
    pub weather: Weather,
    pub setup: Setup,
    pub broker: Option<Running>,
    /// What outlives them.
    pub disk: Disk,
    /// How many brokers there have been.
    pub generation: u32,
    pub trust: Trust,
    /// By person; nobody who is away.
    pub players: Vec<Option<Player>>,
    pub links: Vec<Link>,
    pub model: Model,
    pub trace: Trace,
    pub tamper: Tamper,
    lives: u64,
    /// What each person's state folder holds, and when that was last brought up to date.
    pub kept: Vec<(Pins, Mono)>,
    /// Steps since something has moved.
    idle_steps: u32,
    pub steps: u64,
}

/// A broker that runs.
pub struct Running {
    pub core: Broker,
    work_left: bool,
}

/// How a broker ends.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// What it was doing is done.
    InGoodOrder,
    Crash,
}

/// What holds for a whole run.
pub struct Setup {
    pub broker: BrokerConfig,
    pub client: ClientConfig,
    pub disk: Habits,
    /// How many clients take part; who has none is known to the broker all the same.
    pub clients: usize,
    /// Whether there is a revocation list from the beginning.
    pub has_crl: bool,
}

/// A core that asks to be called again and again, and does nothing then, is broken.
const IDLE_STEPS_MAX: u32 = 5_000;
/// The longest a step takes, in microseconds.
const STEP_MICROS: u64 = 300;
/// A state folder is brought up to date once in so long: the rest is lost when a client ends at once.
const KEEP_EVERY: Duration = Duration::from_secs(1);
/// Chunks that one connection reads in a step.
const READS: usize = 4;

impl Stage {
    pub fn new(seed: u64, weather: Weather, setup: Setup, tamper: Tamper) -> Stage {
        let cast = Cast::get();
        let mut trust = cast.trust();
        if setup.has_crl {
            trust.update_crl(cast.empty_crl(), cast.begin()).expect("a good list");
        }
        let (clients, disk) = (setup.clients, Disk::new(setup.disk, Dice::new(seed, 4)));
        let mut model = Model::default();
        (model.has_crl, model.believes_leavers) = (setup.has_crl, tamper.believes_leavers());
        let mut stage = Stage {
            seed,
            cast,
            dice: Dice::new(seed, 1),
            mono: Mono(1_000_000),
            wall_base: cast.begin().0,
            weather,
            setup,
            broker: None,
            disk,
            generation: 0,
            trust,
            players: (0..clients).map(|_| None).collect(),
            kept: vec![(Pins::default(), Mono(0)); clients],
            links: Vec::new(),
            model,
            trace: Trace::new(),
            tamper,
            lives: 0,
            idle_steps: 0,
            steps: 0,
        };
        stage.start_broker().expect("an empty disk is good");
        stage
    }

    pub fn now(&self) -> Now {
        Now { mono: self.mono, wall: Wall(self.wall_base + self.mono.0 / 1000) }
    }

    /// The broker's civil clock is set.
    pub fn jump(&mut self, by_ms: i64) {
        self.wall_base = self.wall_base.saturating_add_signed(by_ms);
    }

    // ---- Who is there ----

    /// A broker with the same keys, and what is on the disk.
    pub fn start_broker(&mut self) -> Result<(), Violation> {
        self.generation += 1;
        let seed = self.seed ^ u64::from(self.generation) << 48;
        let (store, contents) = self.disk.start();
        let (logs, notes) = (contents.logs.len(), contents.notes.len());
        let now = self.now();
        let mut core = Broker::new(
            self.setup.broker.clone(),
            self.cast.broker(),
            self.trust.clone(),
            Box::new(store),
            Box::new(Seeded::new(seed)),
            now,
        );
        core.restore(contents, now)
            .map_err(|fault| Rule::ThingsGoOn.broken(format!("a start is refused: {fault}")))?;
        for person in self.cast.people() {
            // Who has been there is known without being named again. One who has been revoked is not.
            if !self.disk.has_note(NoteKind::Client, person.der()) {
                let _ = core.know_client(person.der(), now);
            }
        }
        let said = format_args!("broker {} starts with {logs} logs, {notes} notes", self.generation);
        self.trace.note(self.mono, said);
        self.broker = Some(Running { core, work_left: true });
        Ok(())
    }

    /// The broker is gone, and the disk has what it has.
    pub fn end_broker(&mut self, how: Ending) -> Result<(), Violation> {
        if self.broker.take().is_none() {
            return Ok(());
        }
        let how_it_ends = if how == Ending::Crash { "is gone" } else { "ends" };
        self.trace.note(self.mono, format_args!("broker {} {how_it_ends}", self.generation));
        self.disk.stop(how == Ending::InGoodOrder);
        for link in &mut self.links {
            link.broker_open = false;
            link.broker_out.take_all();
            link.cut(self.mono, &mut self.dice);
        }
        self.learn().map(drop)
    }

    /// Tells the model what has become true on the disk; whether that is anything.
    fn learn(&mut self) -> Result<bool, Violation> {
        let news = self.disk.news();
        let is_any = !news.is_empty();
        news.into_iter().try_for_each(|news| self.model.store_told(news))?;
        Ok(is_any)
    }

    /// A person starts a client that knows what is in its state folder.
    pub fn start_player(&mut self, person: usize, clock_ahead: i64) {
        self.lives += 1;
        let life = self.lives;
        let who = &self.cast.people()[person];
        let entropy = Seeded::new(self.seed.wrapping_mul(1_000_003).wrapping_add(life));
        let core = Client::new(
            self.setup.client.clone(),
            who.identity(),
            self.cast.trust(),
            self.kept[person].0.clone(),
            Box::new(entropy),
        );
        self.note(format_args!("{} starts as {life}", who.name));
        let mut player = Player::new(core, who, life, clock_ahead);
        player.is_revoked = self.model.revoked.as_ref() == Some(&who.name);
        self.players[person] = Some(player);
        self.dial(person);
    }

    /// A client is gone without a word.
    pub fn drop_player(&mut self, person: usize) {
        if self.players[person].take().is_some() {
            self.note(format_args!("{} is gone", self.cast.people()[person].name));
        }
        for link in self.links.iter_mut().filter(|link| link.person == person && link.client_open) {
            link.client_open = false;
            link.client_out.take_all();
            link.cut(self.mono, &mut self.dice);
        }
    }

    /// A client asks for a connection; it has one, or none can be had.
    fn dial(&mut self, person: usize) {
        let now = self.now();
        let Some(player) = &mut self.players[person] else { return };
        let here = player.time(now);
        match &mut self.broker {
            Some(broker) if broker.core.can_accept() => {
                let conn = broker.core.accept("192.0.2.7:4000".parse().expect("an address"), now);
                player.core.connect(here);
                self.links.push(Link::new(person, player.life, conn));
            }
            _ => {
                player.core.handle_unreachable("nobody listens".into(), here);
            }
        }
    }

    // ---- Time ----

    /// Goes on to the next thing that can happen, `wake_at` at the latest, and lets it happen.
    pub fn step(&mut self, wake_at: Option<Mono>) -> Result<(), Violation> {
        let earliest = self.mono + Duration::from_micros(1 + self.dice.below(STEP_MICROS));
        let next = self.next_at().into_iter().chain(wake_at).min();
        self.mono = next.ok_or_else(|| Rule::ThingsGoOn.broken("nothing will ever happen"))?.max(earliest);
        let is_wake = wake_at.is_some_and(|at| at <= self.mono);
        self.steps += 1;
        let moved = self.run_broker()? | self.run_players()?;
        self.sweep();
        self.idle_steps = if moved || is_wake { 0 } else { self.idle_steps + 1 };
        Rule::ThingsGoOn.check(self.idle_steps < IDLE_STEPS_MAX, || {
            let timeout = self.broker.as_ref().map(|broker| broker.core.poll_timeout());
            format!("a core wants to be called again and again; the broker at {timeout:?}")
        })
    }

    fn next_at(&self) -> Option<Mono> {
        let mut times: Vec<Option<Mono>> = Vec::new();
        if let Some(broker) = &self.broker {
            times.push(if broker.work_left { Some(self.mono) } else { broker.core.poll_timeout() });
        }
        for link in &self.links {
            times.extend(self.link_next_at(link));
        }
        for player in self.players.iter().flatten() {
            times.extend([player.core.poll_timeout(), player.core.reconnect_at()]);
            times.push((player.busy_until > self.mono).then_some(player.busy_until));
        }
        times.into_iter().flatten().min()
    }

    fn link_next_at(&self, link: &Link) -> [Option<Mono>; 4] {
        let now = Some(self.mono);
        let broker = self.broker.as_ref().filter(|_| link.broker_open);
        let player = self.player_of(link).filter(|_| link.client_open);
        let sends = broker.is_some() && (link.has_output || !link.broker_out.is_empty());
        [
            broker.filter(|broker| broker.core.wants_read(link.conn)).and_then(|_| link.up.next_at()),
            player.filter(|player| player.core.wants_read()).and_then(|_| link.down.next_at()),
            now.filter(|_| sends && link.down.has_room(&self.weather)),
            now.filter(|_| !link.client_out.is_empty() && link.up.has_room(&self.weather)),
        ]
    }

    fn player_of(&self, link: &Link) -> Option<&Player> {
        self.players[link.person].as_ref().filter(|player| player.life == link.life)
    }

    // ---- The broker's turn ----

    fn run_broker(&mut self) -> Result<bool, Violation> {
        let now = self.now();
        if let (Some(how), false) = (self.tamper.damage(), self.links.is_empty()) {
            let link = self.dice.below(self.links.len() as u64) as usize;
            self.links[link].up.damage(how);
        }
        let mut moved = self.broker_reads(now);
        let Some(broker) = &mut self.broker else { return Ok(moved) };
        broker.work_left = broker.core.turn(now);
        let is_failed = broker.core.store_failure().is_some();
        moved |= self.learn()?;
        if is_failed && self.dice.percent(70) {
            // Nothing more is said. A driver that goes on until somebody stops it must do no harm either.
            self.note(format_args!("the disk fails"));
            self.end_broker(Ending::Crash)?;
            return Ok(true);
        }
        moved |= self.broker_events();
        moved |= self.broker_writes(now);
        moved |= self.broker_events();
        if let Some(broker) = &self.broker {
            broker.core.check_invariants();
        }
        Ok(moved)
    }

    fn broker_reads(&mut self, now: Now) -> bool {
        let Some(broker) = &mut self.broker else { return false };
        let mut moved = false;
        for link in self.links.iter_mut().filter(|link| link.broker_open) {
            for _ in 0..READS {
                let Some(bytes) = link.up.read(now.mono, broker.core.read_limit(link.conn)) else { break };
                broker.core.handle_bytes(link.conn, &bytes, now);
                moved = true;
            }
            if link.up.is_over(now.mono) && broker.core.wants_read(link.conn) {
                broker.core.handle_eof(link.conn, now);
                broker.work_left = true;
            }
        }
        moved
    }

    fn broker_events(&mut self) -> bool {
        let Some(broker) = &mut self.broker else { return false };
        let mut moved = false;
        while let Some(event) = broker.core.poll_event() {
            moved = true;
            let (BrokerEvent::Transmit(id) | BrokerEvent::Readable(id) | BrokerEvent::Close(id)) = event;
            let Some(link) = self.links.iter_mut().find(|link| link.conn == id && link.broker_open) else {
                continue;
            };
            match event {
                BrokerEvent::Transmit(_) => link.has_output = true,
                BrokerEvent::Readable(_) => broker.work_left = true,
                BrokerEvent::Close(_) => link.broker_closes(self.mono),
            }
        }
        moved
    }

    fn broker_writes(&mut self, now: Now) -> bool {
        let Some(broker) = &mut self.broker else { return false };
        let mut moved = false;
        for link in self.links.iter_mut().filter(|link| link.broker_open) {
            while link.down.has_room(&self.weather) {
                if link.broker_out.is_empty() {
                    link.has_output = broker.core.poll_transmit(link.conn, now, &mut link.broker_out);
                    if !link.has_output {
                        break;
                    }
                    broker.work_left = true;
                }
                if link.down.is_ended(now.mono) {
                    // As a socket does whose peer is gone.
                    broker.core.handle_eof(link.conn, now);
                    broker.work_left = true;
                    link.broker_out.take_all();
                    link.has_output = false;
                    break;
                }
                moved |= link.down.write(&mut link.broker_out, now.mono, &self.weather, &mut self.dice);
            }
            link.cut_if_due(now.mono, &mut self.dice);
        }
        moved
    }

    // ---- The clients' turn ----

    fn run_players(&mut self) -> Result<bool, Violation> {
        let mut moved = false;
        for person in 0..self.players.len() {
            moved |= self.run_player(person)?;
        }
        Ok(moved)
    }

    fn run_player(&mut self, person: usize) -> Result<bool, Violation> {
        let mono = self.mono;
        let Some(player) = &mut self.players[person] else { return Ok(false) };
        let now = player.time(Now { mono, wall: Wall(self.wall_base + mono.0 / 1000) });
        if player.core.poll_timeout().is_some_and(|at| at <= mono) {
            player.core.handle_timeout(now);
        }
        let (kept, at) = &mut self.kept[person];
        if mono >= *at + KEEP_EVERY && player.core.take_pins_change() {
            (*kept, *at) = (player.core.pins().clone(), mono);
        }
        let mut moved = false;
        let link =
            self.links.iter_mut().find(|l| l.person == person && l.life == player.life && l.client_open);
        if let Some(link) = link {
            moved = run_link(link, player, now, &self.weather, &mut self.dice);
        } else if player.core.reconnect_at().is_some_and(|at| at <= mono) {
            moved = true;
            self.dial(person);
        }
        Ok(self.take_events(person)? | moved)
    }

    fn take_events(&mut self, person: usize) -> Result<bool, Violation> {
        let Some(player) = &mut self.players[person] else { return Ok(false) };
        let mut moved = false;
        while player.busy_until <= self.mono
            && let Some(event) = player.core.poll_event()
        {
            moved = true;
            self.trace.note(self.mono, format_args!("{} {}", self.cast.people()[person].name, brief(&event)));
            for event in self.tamper.twist(event) {
                player.hear(event, &mut self.model)?;
            }
        }
        Ok(moved)
    }

    fn sweep(&mut self) {
        self.links.retain(|link| !link.is_gone());
        for (player, (kept, _)) in self.players.iter_mut().zip(&mut self.kept) {
            if let Some(over) = player.as_mut().filter(|player| player.is_over) {
                over.core.take_pins_change();
                kept.clone_from(over.core.pins());
            }
            if player.as_ref().is_some_and(|player| player.is_over && !player.is_revoked) {
                *player = None;
            }
        }
    }

    pub fn note(&mut self, what: std::fmt::Arguments<'_>) {
        self.trace.note(self.mono, what);
    }
}

/// A client's connection in one step.
fn run_link(link: &mut Link, player: &mut Player, now: Now, weather: &Weather, dice: &mut Dice) -> bool {
    let mut moved = false;
    for _ in 0..READS {
        if !player.core.wants_read() {
            break;
        }
        let Some(bytes) = link.down.read(now.mono, usize::MAX) else { break };
        player.core.handle_bytes(&bytes, now);
        moved = true;
    }
    while link.up.has_room(weather) {
        if link.client_out.is_empty() && !player.core.poll_transmit(now, &mut link.client_out) {
            break;
        }
        moved |= link.up.write(&mut link.client_out, now.mono, weather, dice);
    }
    link.cut_if_due(now.mono, dice);
    if link.down.is_over(now.mono) {
        player.core.handle_eof(None, now);
        moved = true;
    }
    if !player.core.wants_transport() {
        while player.core.poll_transmit(now, &mut link.client_out) {}
        link.client_closes(now.mono);
        moved = true;
    }
    moved
}
