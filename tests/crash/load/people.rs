//! The clients of a run: publishers with windows of unanswered messages, subscribers that stay, and
//! the topics' owner. Each has a thread of its own, and comes back by itself after a crash.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::Duration;

use mio::Waker;
use sealmq::base::Wall;
use sealmq::base::names::{Name, TopicFilter, TopicName};
use sealmq::client::pins::Pins;
use sealmq::client::{
    Answer, Client, ClientConfig, ClientIdentity, Event, GrantAs, Integrity, IntegrityFault, Notice, Ticket,
};
use sealmq::crypto::cert::Role;
use sealmq::crypto::cert::testing::{World, key, world_at};
use sealmq::net::SystemEntropy;
use sealmq::net::client::{Address, Connection};
use sealmq::wire::values::Start;

use super::dice::Dice;
use super::ledger::{Id, Kind, Ledger};

/// What all threads share.
pub struct Shared {
    ledger: Mutex<Ledger>,
    changed: Condvar,
    /// Whether publishers go on with new messages.
    pub flows: AtomicBool,
    pub over: AtomicBool,
}

/// Where the broker is and who may talk to it. `World` is made anew by each thread that needs one.
#[derive(Clone, Copy)]
pub struct Place {
    pub start: Wall,
    pub port: u16,
}

/// Who somebody is: of publishers or subscribers the `number`th.
#[derive(Clone, Copy)]
pub struct Post {
    pub place: Place,
    pub who: &'static str,
    pub number: usize,
}

/// Somebody's thread.
pub struct Person {
    thread: Option<JoinHandle<()>>,
    waker: Arc<Waker>,
}

/// What the owner is told to do.
#[derive(Clone, Debug)]
pub enum Deed {
    Rotate(usize),
    LetIn(usize, Name),
    PutOut(usize, Name),
}

impl Shared {
    pub fn new(ledger: Ledger) -> Arc<Shared> {
        Arc::new(Shared {
            ledger: Mutex::new(ledger),
            changed: Condvar::new(),
            flows: AtomicBool::new(true),
            over: AtomicBool::new(false),
        })
    }

    pub fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().expect("nobody panics while holding it")
    }

    /// Changes the books, and wakes whoever waits for a change.
    fn note<T>(&self, change: impl FnOnce(&mut Ledger) -> T) -> T {
        let result = change(&mut self.ledger());
        self.changed.notify_all();
        result
    }

    /// Waits until it is so, or something is wrong, or time is up: whether it is so.
    pub fn wait_until(&self, patience: Duration, mut is_so: impl FnMut(&mut Ledger) -> bool) -> bool {
        let ledger = self.ledger();
        let waiting = |ledger: &mut Ledger| !is_so(ledger) && ledger.violations.is_empty();
        let waited = self.changed.wait_timeout_while(ledger, patience, waiting);
        let (ledger, result) = waited.expect("nobody panics while holding it");
        !result.timed_out() && ledger.violations.is_empty()
    }
}

impl Person {
    /// Connects as `who` on a thread of its own: a connection stays where it was made.
    fn new(place: Place, who: &'static str, run: impl FnOnce(Connection) + Send + 'static) -> Person {
        let (sender, waker) = channel();
        let thread = std::thread::spawn(move || {
            let connection = connection(place, who, who);
            sender.send(connection.waker()).expect("it is waited for");
            run(connection);
        });
        Person { thread: Some(thread), waker: waker.recv().expect("a client can be made") }
    }

    /// Has it look at what it is to do.
    pub fn nudge(&self) {
        // One that has ended by itself needs none.
        let _ = self.waker.wake();
    }

    /// Waits for its end, which [`Shared::over`] has asked for.
    pub fn join(mut self) {
        self.nudge();
        if let Some(thread) = self.thread.take() {
            thread.join().expect("no client panics");
        }
    }
}

/// A client of this name, with the fixed key of another, or its own. It knows nothing yet.
pub fn connection(place: Place, who: &str, key_of: &str) -> Connection {
    let world: World = world_at(place.start);
    let issued = world.issue(who, key_of, Role::Client, &[]);
    let certificate = world.verified(issued.der(), Role::Client);
    let config = ClientConfig { host: "127.0.0.1".into(), retry_max: RETRY_MAX, ..ClientConfig::default() };
    let entropy = SystemEntropy::new().expect("the system has randomness");
    let identity = ClientIdentity { certificate, key: key(key_of) };
    let core = Client::new(config, identity, world.trust.clone(), Pins::default(), Box::new(entropy));
    Connection::new(Address { host: "127.0.0.1".into(), port: place.port }, core).expect("a poll")
}

/// Publishes to all topics by turns of the dice, with up to `window` unanswered.
pub fn publisher(shared: &Arc<Shared>, post: Post, window: usize, seed: u64) -> Person {
    let Post { place, who, number } = post;
    let mut publisher = Publisher {
        shared: Arc::clone(shared),
        number,
        window,
        dice: Dice::new(seed),
        pending: HashMap::new(),
        is_up: false,
        sent: Vec::new(),
        topics: Vec::new(),
    };
    Person::new(place, who, move |connection| publisher.run(connection))
}

struct Publisher {
    shared: Arc<Shared>,
    number: usize,
    window: usize,
    dice: Dice,
    pending: HashMap<Ticket, Id>,
    is_up: bool,
    /// For each topic, the number of the next message.
    sent: Vec<u64>,
    topics: Vec<(TopicName, Kind)>,
}

impl Publisher {
    fn run(&mut self, mut connection: Connection) {
        self.topics =
            self.shared.ledger().books.iter().map(|book| (topic_name(&book.name), book.kind)).collect();
        self.sent = vec![0; self.topics.len()];
        while !self.shared.over.load(Ordering::Relaxed) {
            self.send(&mut connection);
            let deadline = connection.now().mono + PAUSE;
            if let Some(event) = connection.wait(Some(deadline)).expect("the poll works") {
                self.take(event);
            }
        }
    }

    fn send(&mut self, connection: &mut Connection) {
        while self.shared.flows.load(Ordering::Relaxed) && self.pending.len() < self.window {
            let topic = self.dice.below(self.topics.len() as u64) as usize;
            let id = Id { publisher: self.number, topic, number: self.sent[topic] };
            let Ok(ticket) = connection.core().publish(&self.topics[topic].0, &id.content()) else { break };
            self.sent[topic] += 1;
            self.pending.insert(ticket, id);
        }
        let (number, unanswered) = (self.number, self.pending.len());
        self.shared.note(|ledger| ledger.unanswered[number] = unanswered);
    }

    fn take(&mut self, event: Event) {
        match event {
            Event::Answer { ticket, result } => {
                let Some(id) = self.pending.remove(&ticket) else { return };
                let kind = self.topics[id.topic].1;
                let left = self.pending.len();
                self.shared.note(|ledger| {
                    ledger.unanswered[id.publisher] = left;
                    match result {
                        Ok(Answer::Published { offset: Some(offset), .. }) => ledger.answer(id, offset.0),
                        // It may have been stored in RAM that is gone.
                        _ if kind == Kind::Memory => ledger.refused += 1,
                        other => ledger.violation(format!("{id:?} was answered with {other:?}")),
                    }
                });
            }
            Event::Connected(_) => self.is_up = true,
            other => {
                if matches!(other, Event::Disconnected { .. }) && std::mem::take(&mut self.is_up) {
                    let resent = self.pending.len() as u64;
                    self.shared.note(|ledger| ledger.resent += resent);
                }
                watch(&self.shared, &other);
            }
        }
    }
}

/// Reads all topics, from their beginning, for as long as the run lasts.
pub fn subscriber(shared: &Arc<Shared>, post: Post) -> Person {
    let shared = Arc::clone(shared);
    let Post { place, who, number } = post;
    Person::new(place, who, move |mut connection| {
        connection.core().subscribe(everything(), Start::Earliest);
        while !shared.over.load(Ordering::Relaxed) {
            let deadline = connection.now().mono + PAUSE;
            match connection.wait(Some(deadline)).expect("the poll works") {
                Some(Event::Message(message)) => shared.note(|ledger| match Id::of(&message.content) {
                    Some(id) => ledger.show(number, message.offset.0, id),
                    None => ledger.violation(format!("a message that nobody made: {message:?}")),
                }),
                Some(Event::Gap { topic, from, to }) => shared.note(|ledger| {
                    let topic = ledger.topic(topic.as_str()).expect("a topic of this run");
                    ledger.gap(number, topic, from.0, to.0);
                }),
                Some(event) => watch(&shared, &event),
                None => {}
            }
        }
    })
}

/// The owner of all topics: does what it is told, one deed after the other.
pub fn owner(shared: &Arc<Shared>, place: Place, who: &'static str) -> (Person, Sender<Deed>) {
    let shared = Arc::clone(shared);
    let (sender, deeds) = channel();
    (Person::new(place, who, move |connection| own(&shared, connection, &deeds)), sender)
}

fn own(shared: &Shared, mut connection: Connection, deeds: &Receiver<Deed>) {
    let topics: Vec<TopicName> = shared.ledger().books.iter().map(|book| topic_name(&book.name)).collect();
    while !shared.over.load(Ordering::Relaxed) {
        for deed in deeds.try_iter() {
            let core = connection.core();
            match deed {
                Deed::Rotate(topic) => core.rotate(&topics[topic]),
                Deed::LetIn(topic, who) => core.grant(&topics[topic], vec![who], GrantAs::Member),
                Deed::PutOut(topic, who) => core.revoke(&topics[topic], vec![who]),
            };
        }
        let deadline = connection.now().mono + PAUSE;
        match connection.wait(Some(deadline)).expect("the poll works") {
            Some(Event::Answer { result: Ok(Answer::Amended(amended)), .. }) => shared.note(|ledger| {
                let topic = ledger.topic(amended.topic.as_str()).expect("a topic of this run");
                let epoch = &mut ledger.books[topic].epoch;
                *epoch = (*epoch).max(amended.epoch.0);
                ledger.amended += 1;
            }),
            Some(Event::Answer { result: Err(failure), .. }) => {
                shared.note(|ledger| ledger.violation(format!("the owner was refused: {failure}")));
            }
            Some(event) => watch(shared, &event),
            None => {}
        }
    }
}

/// What must never happen, whoever is told of it.
fn watch(shared: &Shared, event: &Event) {
    let is_wrong = matches!(
        event,
        Event::Integrity(_)
            | Event::Ended { .. }
            | Event::Disconnected { fatal: true, .. }
            | Event::Notice(Notice::TopicReplaced { .. })
            | Event::Answer { result: Err(_), .. }
    );
    if is_wrong {
        shared.note(|ledger| match is_repeat(ledger, event) {
            true => ledger.repeats += 1,
            false => ledger.violation(format!("a client was told: {event:?}")),
        });
    }
}

/// A topic of RAM has forgotten with the broker who published. What was not answered is sent again
/// and stored again, and who has seen it knows it by its counter.
fn is_repeat(ledger: &Ledger, event: &Event) -> bool {
    let Event::Integrity(Integrity { topic, fault: IntegrityFault::Replayed { .. }, .. }) = event else {
        return false;
    };
    ledger.topic(topic.as_str()).is_some_and(|topic| ledger.books[topic].kind == Kind::Memory)
}

pub fn topic_name(name: &str) -> TopicName {
    TopicName::parse(name).expect("a good name")
}

fn everything() -> TopicFilter {
    TopicFilter::parse("#").expect("a good filter")
}

/// A thread looks at least so often at what it is to do.
const PAUSE: Duration = Duration::from_millis(100);
/// Clients of a run come back at once: there are many crashes.
const RETRY_MAX: Duration = Duration::from_millis(300);
