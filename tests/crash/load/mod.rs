//! A broker under load that is killed again and again, and whether what it answered outlives that.
//!
//! A round: publishers, subscribers and an owner at work; after some answers the broker dies, by
//! SIGKILL, by SIGTERM, or by SIGKILL and once more while it starts; its files are looked at; it is
//! started again on them; everybody comes back; the publishers pause, all is answered, and
//! somebody new reads what there is. What has to fit then stands in [`ledger`].

pub mod broker;
pub mod dice;
pub mod engine;
pub mod ledger;
pub mod people;
pub mod reader;

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

use sealmq::client::{Answer, CreateRequest, Event};
use sealmq::crypto::cert::testing::name;
use sealmq::wire::values::{Durability, Retention};
use tempfile::TempDir;

use self::broker::Broker;
use self::dice::Dice;
use self::ledger::{Kind, Ledger, Sums};
use self::people::{Deed, Person, Place, Post, Shared, topic_name};
use crate::support::Home;

/// How long, and of what chance.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    pub rounds: u64,
    pub seed: u64,
    /// Unanswered messages of each publisher.
    pub window: usize,
    /// The broker dies after at most so many answers of a round.
    pub answers_max: u64,
}

/// What a run has come to.
#[derive(Debug)]
pub struct Outcome {
    pub plan: Plan,
    pub kills: u64,
    /// Of them while the broker was starting.
    pub early_kills: u64,
    pub terminations: u64,
    pub sums: Sums,
    pub resent: u64,
    pub amended: u64,
    pub refused: u64,
    /// Of RAM as well: sent and stored again, and known by who had seen them.
    pub repeats: u64,
    pub took: Duration,
}

/// Something was lost, or could not be done.
#[derive(Debug)]
pub struct Violation {
    pub round: u64,
    pub what: Vec<String>,
    /// The data folder, which is kept.
    pub kept: PathBuf,
}

/// Runs to the end, or to the first violation.
pub fn run(plan: Plan, mut progress: impl FnMut(u64, &Sums)) -> Result<Outcome, Violation> {
    let began = Instant::now();
    let mut town = Town::new(plan);
    let mut round = 0;
    let mut done = town.settle();
    while done.is_ok() && round < plan.rounds {
        round += 1;
        done = town.round(round);
        progress(round, &town.shared.ledger().sums);
    }
    let done = done.and_then(|()| town.finish());
    town.take_ledger(|ledger| match (done, ledger.violations.is_empty()) {
        (Ok(()), true) => Ok(()),
        (done, _) => {
            let mut what = std::mem::take(&mut ledger.violations);
            what.extend(done.err());
            Err(what)
        }
    })
    .map_err(|what| Violation { round, what, kept: town.keep() })?;
    let ledger = town.shared.ledger();
    Ok(Outcome {
        plan,
        kills: town.kills,
        early_kills: town.early_kills,
        terminations: town.terminations,
        sums: ledger.sums,
        resent: ledger.resent,
        amended: ledger.amended,
        refused: ledger.refused,
        repeats: ledger.repeats,
        took: began.elapsed(),
    })
}

struct Town {
    plan: Plan,
    home: Home,
    data: TempDir,
    dice: Dice,
    place: Place,
    broker: Option<Broker>,
    shared: Arc<Shared>,
    people: Vec<Person>,
    owner: Option<Sender<Deed>>,
    /// Whether the guest is a member of the first topic.
    guest_is_in: bool,
    kills: u64,
    early_kills: u64,
    terminations: u64,
}

type Done = Result<(), String>;

impl Town {
    fn new(plan: Plan) -> Town {
        let home = Home::new();
        for (who, key_of) in CLIENTS {
            let issued = home.world.issue(who, key_of, sealmq::crypto::cert::Role::Client, &[]);
            home.write_certificate(who, issued.der());
        }
        let data = tempfile::Builder::new().prefix("sealmq-crash-").tempdir().expect("a scratch folder");
        let shared = Shared::new(Ledger::new(TOPICS, PUBLISHERS.len(), SUBSCRIBERS.len()));
        let place = Place { start: home.world.now(), port: 0 };
        let mut town = Town {
            plan,
            home,
            data,
            dice: Dice::new(plan.seed),
            place,
            broker: None,
            shared,
            people: Vec::new(),
            owner: None,
            guest_is_in: false,
            kills: 0,
            early_kills: 0,
            terminations: 0,
        };
        town.start().expect("it starts on an empty folder");
        town.create_topics();
        town.populate();
        town
    }

    fn data(&self) -> &Path {
        self.data.path()
    }

    fn command(&self) -> Command {
        let mut command = self.home.command();
        command.arg("--data").arg(self.data()).arg("--log-file").arg(self.home.path("broker.log"));
        command.arg("--listen").arg(format!("127.0.0.1:{}", self.place.port));
        command
    }

    /// Starts the broker: the first time on a port of the system's choice, then on the same.
    fn start(&mut self) -> Done {
        let broker = Broker::start(self.command())?;
        self.place.port = broker.port;
        self.broker = Some(broker);
        Ok(())
    }

    fn create_topics(&self) {
        let mut owner = people::connection(self.place, "alice", "alice");
        for (topic, kind) in TOPICS {
            let mut request = CreateRequest::new(topic_name(topic));
            request.durability = match kind {
                Kind::Memory => Durability::Memory,
                Kind::Disk | Kind::Short { .. } => Durability::Disk,
            };
            let count = if let Kind::Short { count } = kind { *count } else { 0 };
            request.retention = Retention { count, bytes: 0, age_ms: 0 };
            owner.core().create(request);
        }
        let mut left = TOPICS.len();
        while left > 0 {
            let deadline = owner.now().mono + PATIENCE;
            match owner.wait(Some(deadline)).expect("the poll works").expect("an answer in time") {
                Event::Answer { result, .. } => {
                    assert!(matches!(result, Ok(Answer::Created(_))), "a topic was not made: {result:?}");
                    left -= 1;
                }
                Event::Disconnected { reason, .. } => panic!("no session: {reason}"),
                _ => {}
            }
        }
    }

    fn populate(&mut self) {
        for (number, who) in SUBSCRIBERS.iter().enumerate() {
            let post = Post { place: self.place, who, number };
            self.people.push(people::subscriber(&self.shared, post));
        }
        for (number, who) in PUBLISHERS.iter().enumerate() {
            let post = Post { place: self.place, who, number };
            let seed = self.plan.seed.wrapping_mul(31).wrapping_add(number as u64);
            self.people.push(people::publisher(&self.shared, post, self.plan.window, seed));
        }
        let (owner, deeds) = people::owner(&self.shared, self.place, "alice");
        self.people.push(owner);
        self.owner = Some(deeds);
    }

    fn round(&mut self, round: u64) -> Done {
        self.shared.flows.store(true, Ordering::Relaxed);
        self.people.iter().for_each(Person::nudge);
        self.change_members();
        let wanted = self.dice.below(self.plan.answers_max) + 1;
        self.wait("answers", |ledger| ledger.fresh >= wanted)?;
        let jitter = Duration::from_micros(self.dice.below(JITTER_MICROS));
        std::thread::park_timeout(jitter);
        if self.dice.percent(10) {
            self.terminate()?;
        } else {
            self.kill();
        }
        self.look_at_files(round)?;
        while self.dice.percent(25) {
            self.kill_early();
        }
        self.shared.ledger().fresh = 0;
        self.start()?;
        if self.dice.percent(30) {
            // All are back, and are interrupted again with the same messages under way.
            let few = self.dice.below(20) + 1;
            self.wait("answers after a restart", |ledger| ledger.fresh >= few)?;
            self.kill();
            self.start()?;
        }
        self.settle()?;
        self.read_anew(round.is_multiple_of(FULL_READ_EVERY))
    }

    fn change_members(&mut self) {
        if !self.dice.percent(40) {
            return;
        }
        let topic = self.dice.below(TOPICS.len() as u64) as usize;
        let deed = match self.dice.below(3) {
            0 => Deed::Rotate(topic),
            _ => {
                self.guest_is_in = !self.guest_is_in;
                match self.guest_is_in {
                    true => Deed::LetIn(0, name(GUEST)),
                    false => Deed::PutOut(0, name(GUEST)),
                }
            }
        };
        let owner = self.owner.as_ref().expect("there is one from the beginning");
        owner.send(deed).expect("it runs as long as the town");
        self.people.iter().for_each(Person::nudge);
    }

    fn kill(&mut self) {
        self.broker.take().expect("it runs").kill();
        self.kills += 1;
    }

    /// Kills a broker that has hardly begun: in its recovery, as a rule.
    fn kill_early(&mut self) {
        let mut command = self.command();
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = command.spawn().expect("sealmqd can be started");
        std::thread::park_timeout(Duration::from_micros(self.dice.below(EARLY_MICROS)));
        child.kill().expect("it is our child");
        child.wait().expect("it is our child");
        self.kills += 1;
        self.early_kills += 1;
    }

    fn terminate(&mut self) -> Done {
        let status = self.broker.take().expect("it runs").terminate();
        self.terminations += 1;
        if status.success() { Ok(()) } else { Err(format!("a broker that was told to end: {status}")) }
    }

    /// Reads a copy of the files as the crash has left them: all that was answered is there already.
    fn look_at_files(&mut self, round: u64) -> Done {
        let copy = copy_of(self.data());
        let logs = engine::read(copy.path()).map_err(|e| format!("the files after crash {round}: {e}"))?;
        let mut ledger = self.shared.ledger();
        for topic in 0..TOPICS.len() {
            let name = ledger.books[topic].name.clone();
            let log = logs.get(&name).ok_or_else(|| format!("{name} is not in the files"))?;
            if let Some(hole) = log.hole() {
                return Err(format!("{name}: nothing is at {hole}"));
            }
            ledger.compare_files(topic, 0, &log.offsets(), log.next);
        }
        Ok(())
    }

    /// Publishers pause; waits until all is answered and shown.
    fn settle(&mut self) -> Done {
        self.shared.flows.store(false, Ordering::Relaxed);
        self.people.iter().for_each(Person::nudge);
        let subscribers = SUBSCRIBERS.len();
        self.wait("all to be answered and shown", |ledger| {
            ledger.unanswered.iter().all(|count| *count == 0)
                && (0..subscribers).all(|number| ledger.is_up_to_date(number))
        })?;
        self.shared.ledger().settle();
        Ok(())
    }

    fn wait(&self, what: &str, is_so: impl FnMut(&mut Ledger) -> bool) -> Done {
        match self.shared.wait_until(PATIENCE, is_so) {
            true => Ok(()),
            false => Err(format!("waited for {what}, in vain")),
        }
    }

    /// Somebody new opens each topic, verifies its chain and reads what was stored since the last
    /// reading, or all of it.
    fn read_anew(&mut self, all: bool) -> Done {
        let from: Vec<u64> =
            self.shared.ledger().books.iter().map(|book| if all { 0 } else { book.checked }).collect();
        let topics = TOPICS.iter().map(|(name, _)| *name).zip(from.iter().copied());
        let found = reader::read(self.place, READER, topics)?;
        let mut ledger = self.shared.ledger();
        for (topic, (found, from)) in found.iter().zip(&from).enumerate() {
            ledger.compare(topic, *from, &found.messages);
            let told = ledger.books[topic].epoch;
            if found.epoch < told {
                return Err(format!(
                    "{}: epoch {told} was answered, it has {}",
                    TOPICS[topic].0, found.epoch
                ));
            }
        }
        Ok(())
    }

    /// All once more, the broker's good end, and its files.
    fn finish(&mut self) -> Done {
        self.settle()?;
        self.read_anew(true)?;
        self.shared.over.store(true, Ordering::Relaxed);
        self.people.drain(..).for_each(Person::join);
        self.terminate()?;
        self.look_at_files(self.plan.rounds)
    }

    fn take_ledger<T>(&self, look: impl FnOnce(&mut Ledger) -> T) -> T {
        look(&mut self.shared.ledger())
    }

    /// Stops everybody, and leaves the files where they are.
    fn keep(&mut self) -> PathBuf {
        self.shared.over.store(true, Ordering::Relaxed);
        self.people.drain(..).for_each(Person::join);
        self.broker = None;
        self.data.disable_cleanup(true);
        let log = fs::read(self.home.path("broker.log")).unwrap_or_default();
        // Only for whoever looks into it.
        let _ = fs::write(self.data().join("broker.log"), log);
        self.data().to_owned()
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Sums { answered, found, lost, twice, seen } = self.sums;
        let rows = [
            ("seed", self.plan.seed),
            ("rounds", self.plan.rounds),
            ("kills", self.kills),
            ("of them while it started", self.early_kills),
            ("terminations", self.terminations),
            ("messages answered", answered),
            ("re-sent after a crash", self.resent),
            ("refused, of RAM", self.refused),
            ("stored again in RAM, and known", self.repeats),
            ("changes of members", self.amended),
            ("shown to subscribers that stayed", seen),
            ("found by new readers", found),
            ("lost", lost),
            ("twice", twice),
            ("seconds", self.took.as_secs()),
        ];
        rows.iter().try_for_each(|(what, count)| writeln!(f, "{what:34} {count:>10}"))
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "in round {}:", self.round)?;
        self.what.iter().try_for_each(|what| writeln!(f, "  {what}"))?;
        write!(f, "the files are kept in {}", self.kept.display())
    }
}

pub fn copy_of(folder: &Path) -> TempDir {
    let copy = tempfile::tempdir().expect("a scratch folder");
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        fs::copy(&path, copy.path().join(path.file_name().expect("it has one"))).expect("a file is copied");
    }
    copy
}

const TOPICS: &[(&str, Kind)] = &[
    ("crash/a", Kind::Disk),
    ("crash/b", Kind::Disk),
    ("crash/c", Kind::Disk),
    ("crash/short", Kind::Short { count: 100 }),
    ("crash/ram", Kind::Memory),
];
const PUBLISHERS: &[&str] = &["alice", "bob", "carol"];
const SUBSCRIBERS: &[&str] = &["dave", "bob"];
const READER: &str = "carol";
const GUEST: &str = "erin";
/// Names, and whose fixed key each has.
const CLIENTS: [(&str, &str); 5] =
    [("alice", "alice"), ("bob", "bob"), ("carol", "carol"), ("dave", "dave"), (GUEST, "other-ca")];
/// Longer is a failure. Generous, for a machine that has other things to do.
const PATIENCE: Duration = Duration::from_secs(60);
/// Between the last answer that counts and the death.
const JITTER_MICROS: u64 = 4_000;
/// A start takes so long, about.
const EARLY_MICROS: u64 = 60_000;
const FULL_READ_EVERY: u64 = 25;
