//! A broker on a folder of its own, and a customer who keeps books of what it answers.

use std::cell::Cell;
use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use sealmq::base::names::TopicFilter;
use sealmq::client::{Answer, CreateRequest, Event, Failure, MemberChoice, Ticket};
use sealmq::net::client::Connection;
use sealmq::wire::values::{Durability, RefuseCode, Retention, Start};
use tempfile::TempDir;

use crate::load::broker::Broker;
use crate::load::ledger::{Id, Kind, Ledger};
use crate::load::people::{Place, connection, topic_name};
use crate::load::reader;
use crate::strace;
use crate::support::Home;

pub struct House {
    pub home: Home,
    data: TempDir,
    /// The broker's, once it was started.
    port: Cell<u16>,
}

/// Publishes to one topic of disk.
pub struct Customer {
    connection: Connection,
    pub ledger: Ledger,
    /// Offsets, so far.
    pub answered: BTreeSet<u64>,
    pending: HashMap<Ticket, Id>,
    sent: u64,
    /// Bytes that each content is filled up with.
    padding: u64,
    is_up: bool,
}

pub struct Subscriber {
    connection: Connection,
}

/// How publishes were answered since one asked last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Answers {
    pub stored: usize,
    pub full: usize,
    pub unanswered: usize,
}

impl House {
    pub fn new() -> House {
        let home = Home::new();
        House { home, data: tempfile::tempdir().expect("a scratch folder"), port: Cell::new(0) }
    }

    pub fn data(&self) -> &Path {
        self.data.path()
    }

    pub fn trace(&self) -> PathBuf {
        self.home.path("trace")
    }

    pub fn log(&self) -> String {
        crate::support::read(&self.home.path("broker.log"))
    }

    pub fn command(&self) -> Command {
        let mut command = self.home.command();
        command.arg("--data").arg(self.data()).arg("--log-file").arg(self.home.path("broker.log"));
        command.arg("--listen").arg(format!("127.0.0.1:{}", self.port.get()));
        command
    }

    pub fn start(&self) -> Broker {
        self.started(Broker::start(self.command())).unwrap_or_else(|e| panic!("{e}; {}", self.log()))
    }

    /// The next one listens where the first one did.
    fn started(&self, broker: Result<Broker, String>) -> Result<Broker, String> {
        broker.inspect(|broker| self.port.set(broker.port))
    }

    /// Starts it under strace; the error is how it ended instead.
    pub fn start_under(&self, options: &[&str]) -> Result<Broker, String> {
        self.started(Broker::start(strace::under(&self.command(), &self.trace(), options)))
    }

    /// Starts it by a command that becomes it.
    pub fn start_by(&self, prefix: &[&str]) -> Result<Broker, String> {
        let broker = self.command();
        let mut command = Command::new(prefix[0]);
        command.args(&prefix[1..]).arg(broker.get_program()).args(broker.get_args());
        command.envs(broker.get_envs().filter_map(|(name, value)| Some((name, value?))));
        self.started(Broker::start(command))
    }

    pub fn place(&self, broker: &Broker) -> Place {
        Place { start: self.home.world.now(), port: broker.port }
    }

    /// A customer, and the topic; it has one message.
    pub fn customer(&self, broker: &Broker) -> Customer {
        let mut customer = Customer {
            connection: connection(self.place(broker), "alice", "alice"),
            ledger: Ledger::new(&[(TOPIC, Kind::Disk)], 1, 0),
            answered: BTreeSet::new(),
            pending: HashMap::new(),
            sent: 0,
            padding: 0,
            is_up: false,
        };
        customer.create();
        customer.publish(1);
        assert_eq!(customer.wait().stored, 1);
        customer
    }

    /// Somebody who has read all there is, and is shown what comes.
    pub fn subscriber(&self, broker: &Broker) -> Subscriber {
        let mut connection = connection(self.place(broker), "alice", "alice");
        connection.core().subscribe(TopicFilter::parse(TOPIC).expect("a good filter"), Start::Latest);
        let mut subscriber = Subscriber { connection };
        subscriber.wait_for(|event| matches!(event, Event::CaughtUp { .. }));
        subscriber
    }

    /// Somebody new reads all; what fits not with the customer's books is in them.
    pub fn check(&self, broker: &Broker, customer: &mut Customer) {
        let found = reader::read(self.place(broker), "alice", [(TOPIC, 0)].into_iter());
        let found = found.unwrap_or_else(|e| panic!("{e}; {}", self.log()));
        customer.ledger.compare(0, 0, &found[0].messages);
        assert!(customer.ledger.violations.is_empty(), "{:?}; {}", customer.ledger.violations, self.log());
    }
}

impl Subscriber {
    /// Waits until it was shown so many messages more.
    pub fn sees(&mut self, count: usize) {
        (0..count).for_each(|_| self.wait_for(|event| matches!(event, Event::Message(_))));
    }

    fn wait_for(&mut self, is_it: impl Fn(&Event) -> bool) {
        let deadline = self.connection.now().mono + PATIENCE;
        while !is_it(&self.connection.wait(Some(deadline)).expect("the poll works").expect("news in time")) {}
    }
}

impl Customer {
    fn create(&mut self) {
        let mut request = CreateRequest::new(topic_name(TOPIC));
        request.durability = Durability::Disk;
        request.retention = Retention { count: 0, bytes: 0, age_ms: 0 };
        request.members = MemberChoice::OnlyMe;
        self.connection.core().create(request);
        loop {
            match self.next().expect("an answer in time") {
                Event::Answer { result: Ok(Answer::Created(_)), .. } => return,
                Event::Answer { result, .. } => panic!("no topic: {result:?}"),
                Event::Connected(_) => self.is_up = true,
                Event::Disconnected { reason, .. } => panic!("no topic: {reason}"),
                _ => {}
            }
        }
    }

    fn next(&mut self) -> Option<Event> {
        let deadline = self.connection.now().mono + PATIENCE;
        self.connection.wait(Some(deadline)).expect("the poll works")
    }

    /// Each content from now on has so many bytes more.
    pub fn pad(&mut self, bytes: u64) {
        self.padding = bytes;
    }

    /// Hands over so many messages; they go out in [`Customer::wait`].
    pub fn publish(&mut self, count: usize) {
        for _ in 0..count {
            let id = Id { publisher: 0, topic: 0, number: self.sent };
            let content = id.padded(self.padding);
            let ticket = self.connection.core().publish(&topic_name(TOPIC), &content).expect("a window");
            self.pending.insert(ticket, id);
            self.sent += 1;
        }
    }

    /// Waits for all answers.
    pub fn wait(&mut self) -> Answers {
        let answers = self.wait_while_connected();
        assert_eq!(answers.unanswered, 0, "the connection was lost");
        answers
    }

    /// Waits for all answers, or until a session is lost.
    pub fn wait_while_connected(&mut self) -> Answers {
        self.take_answers(true)
    }

    /// Waits until it has seen that the broker is gone.
    pub fn see_the_end(&mut self) {
        while std::mem::take(&mut self.is_up) {
            let event = self.next().expect("news in time");
            self.is_up = !matches!(event, Event::Disconnected { .. });
        }
    }

    /// Waits for all answers, however often the connection is lost.
    pub fn wait_for_all(&mut self) -> Answers {
        self.take_answers(false)
    }

    fn take_answers(&mut self, until_lost: bool) -> Answers {
        let mut answers = Answers::default();
        while !self.pending.is_empty() {
            match self.next().expect("an answer in time") {
                Event::Answer { ticket, result } => self.take_answer(ticket, result, &mut answers),
                Event::Connected(_) => self.is_up = true,
                Event::Disconnected { .. } if std::mem::take(&mut self.is_up) && until_lost => break,
                _ => {}
            }
        }
        answers.unanswered = self.pending.len();
        answers
    }

    fn take_answer(&mut self, ticket: Ticket, result: Result<Answer, Failure>, answers: &mut Answers) {
        let Some(id) = self.pending.remove(&ticket) else { return };
        match result {
            Ok(Answer::Published { offset: Some(offset), .. }) => {
                self.ledger.answer(id, offset.0);
                self.answered.insert(offset.0);
                answers.stored += 1;
            }
            Err(Failure::Refused { code: RefuseCode::StorageFull, .. }) => answers.full += 1,
            other => panic!("{id:?} was answered with {other:?}"),
        }
    }
}

const TOPIC: &str = "house/topic";
const PATIENCE: Duration = Duration::from_secs(60);
