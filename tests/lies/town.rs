//! A town: a CA, people with clients, one broker core that may lie, and a clock of their own.
//!
//! Everything happens in memory and in a fixed order; nothing is late unless a test says so.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::LazyLock;
use std::time::Duration;

use sealmq::base::ids::{ConnId, Fingerprint, TopicHandle};
use sealmq::base::names::{Name, TopicName};
use sealmq::base::transmit::Transmit;
use sealmq::base::{Mono, Now};
use sealmq::broker::lies::Said;
use sealmq::broker::{Broker, BrokerConfig, BrokerEvent, Identity};
use sealmq::client::pins::Pins;
use sealmq::client::{Answer, Client, ClientConfig, ClientIdentity, Event, Failure, Ticket};
use sealmq::crypto::cert::issue::{Issuer, LEAF_DAYS, Subscriber};
use sealmq::crypto::cert::testing::{NOON, Seeded, World, key, world};
use sealmq::crypto::cert::{Certificate, Host, Role, Serial};
use sealmq::crypto::key::PrivateKey;
use sealmq::store::Memory;
use sealmq::wire::frame::BrokerFrame;

use crate::news::News;

pub struct Town {
    pub world: &'static World,
    pub now: Now,
    broker: Broker,
    people: BTreeMap<String, Person>,
    talk: Rc<RefCell<Talk>>,
    runs: u64,
}

/// Keys and certificates, made once: to read a key takes as long as a handshake.
struct Cast {
    world: World,
    people: BTreeMap<&'static str, (PrivateKey, Certificate)>,
}

static CAST: LazyLock<Cast> = LazyLock::new(|| {
    let world = world();
    let person = |who| (who, (key(key_name(who)), world.issue(who, key_name(who), Role::Client, &[])));
    let people = ["alice", "bob", "carol", "mallory"].map(person).into();
    Cast { world, people }
});

/// Somebody who may run a client, one at a time.
struct Person {
    key: PrivateKey,
    certificate: Certificate,
    client: Option<Client>,
    /// What clients that ran before remembered.
    pins: Pins,
    conn: Option<ConnId>,
    events: Vec<Event>,
}

/// What goes through the broker's mouth.
#[derive(Default)]
struct Talk {
    names: BTreeMap<Fingerprint, String>,
    /// What an honest broker would have said, and to whom.
    truth: Vec<(String, Said)>,
    /// What is said besides, behind the next frame.
    besides: BTreeMap<String, Vec<Said>>,
    lie: Option<Box<Lie>>,
}

type Lie = dyn FnMut(&str, Said) -> Vec<Said>;

/// Time that a round takes: enough for the broker's RSA budget to go on.
const ROUND: Duration = Duration::from_millis(20);
/// Rounds without a byte after which all are at rest.
const QUIET_ROUNDS: u32 = 3;
const ROUNDS_MAX: u32 = 5_000;
/// Turns that the broker takes in a round.
const TURNS: u32 = 20;

impl Town {
    /// A broker, and nobody in front of it. It knows these people's certificates.
    pub fn of(people: &[&str]) -> Town {
        let world = &CAST.world;
        let now = Now { mono: Mono(1_000_000), wall: NOON };
        let identity = Identity {
            certificate: world.verified(&world.broker.1, Role::Broker),
            key: world.broker.0.clone(),
        };
        let store = Box::new(Memory::new(64 << 20));
        let config = BrokerConfig::default();
        let broker = Broker::new(config, identity, world.trust.clone(), store, Box::new(Seeded::new(1)), now);
        let talk = Rc::default();
        let mut town = Town { world, now, broker, people: BTreeMap::new(), talk, runs: 0 };
        town.broker.lie_with(Box::new(mouth(Rc::clone(&town.talk))));
        for who in people {
            town.settle_in(who);
        }
        town
    }

    /// The same, all connected.
    pub fn awake(people: &[&str]) -> Town {
        let mut town = Town::of(people);
        people.iter().for_each(|who| town.wake(who));
        town
    }

    fn settle_in(&mut self, who: &str) {
        let (key, certificate) = CAST.people[who].clone();
        self.broker.know_client(certificate.der(), self.now).expect("a good certificate");
        self.talk.borrow_mut().names.insert(certificate.fingerprint(), who.to_owned());
        let person =
            Person { key, certificate, client: None, pins: Pins::default(), conn: None, events: Vec::new() };
        self.people.insert(who.to_owned(), person);
    }

    // ---- People ----

    pub fn certificate(&self, who: &str) -> &Certificate {
        &self.people[who].certificate
    }

    pub fn fingerprint(&self, who: &str) -> Fingerprint {
        self.certificate(who).fingerprint()
    }

    pub fn key(&self, who: &str) -> &PrivateKey {
        &self.people[who].key
    }

    pub fn client(&mut self, who: &str) -> &mut Client {
        self.people.get_mut(who).and_then(|person| person.client.as_mut()).expect("somebody who is awake")
    }

    /// Somebody's key, by its fingerprint.
    pub fn key_of(&self, who: Fingerprint) -> &PrivateKey {
        let is_it = |person: &&Person| person.certificate.fingerprint() == who;
        &self.people.values().find(is_it).expect("somebody of this town").key
    }

    /// Starts a client that connects. One that ran before is gone without a word, but what it
    /// remembered is there.
    pub fn wake(&mut self, who: &str) {
        self.start(who);
        self.run();
    }

    fn start(&mut self, who: &str) {
        self.runs += 1;
        self.stop(who);
        let config = ClientConfig { host: "localhost".into(), ..ClientConfig::default() };
        let person = self.people.get_mut(who).expect("somebody of this town");
        let identity = ClientIdentity { certificate: person.certificate.clone(), key: person.key.clone() };
        let entropy = Box::new(Seeded::new(1000 + self.runs));
        let pins = person.pins.clone();
        person.client = Some(Client::new(config, identity, self.world.trust.clone(), pins, entropy));
        self.dial(who);
    }

    /// The client is gone without a word; what it remembered is kept.
    pub fn sleep(&mut self, who: &str) {
        self.stop(who);
        self.run();
    }

    fn stop(&mut self, who: &str) {
        let person = self.people.get_mut(who).expect("somebody of this town");
        if let Some(mut client) = person.client.take() {
            client.take_pins_change();
            person.pins = client.pins().clone();
        }
        // Tickets of the next client have the same numbers.
        person.events.retain(|event| !matches!(event, Event::Answer { .. }));
        if let Some(conn) = person.conn.take() {
            self.broker.handle_eof(conn, self.now);
        }
    }

    /// The connection is cut, and the client comes back by itself.
    pub fn cut(&mut self, who: &str) {
        let person = self.people.get_mut(who).expect("somebody of this town");
        let conn = person.conn.take().expect("somebody who is connected");
        self.broker.handle_eof(conn, self.now);
        let now = self.now;
        self.client(who).handle_eof(None, now);
        self.wait(Duration::from_secs(60));
    }

    fn dial(&mut self, who: &str) {
        let conn = self.broker.accept("192.0.2.7:4000".parse().expect("an address"), self.now);
        let now = self.now;
        self.client(who).connect(now);
        self.people.get_mut(who).expect("somebody of this town").conn = Some(conn);
    }

    // ---- What the broker says ----

    /// From now on `lie` decides what a person hears instead of a frame.
    pub fn lie(&mut self, lie: impl FnMut(&str, Said) -> Vec<Said> + 'static) {
        self.talk.borrow_mut().lie = Some(Box::new(lie));
    }

    pub fn be_honest(&mut self) {
        self.talk.borrow_mut().lie = None;
    }

    /// The broker says this to `who`, out of nothing.
    pub fn tell(&mut self, who: &str, what: Vec<Said>) {
        self.talk.borrow_mut().besides.entry(who.to_owned()).or_default().extend(what);
        self.client(who).ping();
        self.run();
    }

    /// All that an honest broker would have said to `who`.
    pub fn truth(&self, who: &str) -> Vec<Said> {
        let talk = self.talk.borrow();
        talk.truth.iter().filter(|(to, _)| to == who).map(|(_, said)| said.clone()).collect()
    }

    /// Under which handle `who` has a topic open.
    pub fn handle(&self, who: &str, topic: &str) -> TopicHandle {
        let truth = self.truth(who);
        let handles = truth.iter().rev().filter_map(|said| match &said.frame {
            BrokerFrame::Topic { topic: handle, name, .. } if name.as_str() == topic => Some(*handle),
            _ => None,
        });
        handles.into_iter().next().expect("a topic that is open")
    }

    /// Takes a certificate revocation list into force at the broker.
    pub fn revoke(&mut self, serials: &[Serial], number: u64) {
        let crl = self.world.crl(serials, number);
        let mut trust = self.world.trust.clone();
        trust.update_crl(&crl, self.now.wall).expect("a list of this CA");
        self.broker.reload(None, trust, self.now);
        self.run();
    }

    // ---- What people ask and are told ----

    /// Has a client ask for something, and waits for the answer.
    pub fn ask(&mut self, who: &str, ask: impl FnOnce(&mut Client) -> Ticket) -> Result<Answer, Failure> {
        let ticket = ask(self.client(who));
        self.run();
        self.answer(who, ticket)
            .unwrap_or_else(|| panic!("{who} was not answered; it was told {:?}", self.people[who].events))
    }

    /// Takes the answer to a request, if it has come.
    pub fn answer(&mut self, who: &str, asked: Ticket) -> Option<Result<Answer, Failure>> {
        let events = &mut self.people.get_mut(who).expect("somebody of this town").events;
        let is_it = |event: &Event| matches!(event, Event::Answer { ticket, .. } if *ticket == asked);
        let place = events.iter().position(is_it)?;
        match events.remove(place) {
            Event::Answer { result, .. } => Some(result),
            _ => None,
        }
    }

    /// All that `who` was told since it was last asked.
    pub fn events(&mut self, who: &str) -> Vec<Event> {
        std::mem::take(&mut self.people.get_mut(who).expect("somebody of this town").events)
    }

    /// Of what `who` was told: messages, as sender and content, and what did not verify.
    pub fn news(&mut self, who: &str) -> News {
        News::of(self.events(who))
    }

    /// Lets all talk until nobody has anything more to say.
    pub fn run(&mut self) {
        let mut quiet = 0;
        for _ in 0..ROUNDS_MAX {
            quiet = if self.round() { 0 } else { quiet + 1 };
            self.pass(ROUND);
            if quiet >= QUIET_ROUNDS {
                return;
            }
        }
        panic!("the town does not come to rest");
    }

    /// The same, and then some time passes, in which clients come back and stop waiting.
    pub fn wait(&mut self, time: Duration) {
        let end = self.now.mono + time;
        self.run();
        while self.now.mono < end {
            self.pass(Duration::from_millis(200));
            self.run();
        }
    }

    /// More than a year passes. Everybody has gone, and the broker and those named come back with
    /// new certificates over their old keys.
    pub fn years_pass(&mut self, renewed: &[&str]) {
        self.pass(Duration::from_secs(500 * 86_400));
        for who in self.people.keys().cloned().collect::<Vec<_>>() {
            self.stop(&who);
        }
        let hosts = [Host::parse("localhost").expect("a good host")];
        let certificate = self.renewed("broker", Role::Broker, &hosts);
        let identity = Identity { certificate, key: self.world.broker.0.clone() };
        self.broker.reload(Some(identity), self.world.trust.clone(), self.now);
        for who in renewed {
            let certificate = self.renewed(who, Role::Client, &[]);
            self.people.get_mut(*who).expect("somebody of this town").certificate = certificate;
        }
        self.run();
    }

    fn renewed(&self, who: &str, role: Role, hosts: &[Host]) -> Certificate {
        let issuer = Issuer::new(&self.world.ca_key, &self.world.ca_cert_der).expect("the CA's own");
        let (name, public_key) = (name(who), key(key_name(who)).public());
        let subscriber = Subscriber { name: &name, role, hosts, public_key: &public_key };
        let made = issuer.issue(&subscriber, self.now.wall, LEAF_DAYS, &mut Seeded::new(500));
        made.expect("a certificate")
    }

    /// Time passes in which nothing happens.
    pub fn pass(&mut self, time: Duration) {
        self.now = Now { mono: self.now.mono + time, wall: self.now.wall + time };
    }

    fn round(&mut self) -> bool {
        let names: Vec<String> = self.people.keys().cloned().collect();
        let mut moved = false;
        for who in &names {
            moved |= self.client_speaks(who);
        }
        self.turn_broker();
        for who in &names {
            moved |= self.client_hears(who);
        }
        moved
    }

    fn client_speaks(&mut self, who: &str) -> bool {
        let now = self.now;
        let Some(person) = self.people.get_mut(who) else { return false };
        let Some(client) = &mut person.client else { return false };
        if client.poll_timeout().is_some_and(|at| at <= now.mono) {
            client.handle_timeout(now);
        }
        let Some(conn) = person.conn else {
            let is_due = client.reconnect_at().is_some_and(|at| at <= now.mono);
            if is_due {
                self.dial(who);
            }
            return is_due;
        };
        let mut out = Transmit::new();
        while client.poll_transmit(now, &mut out) {}
        let bytes = out.take_all();
        self.broker.handle_bytes(conn, &bytes, now);
        if !client.wants_transport() {
            self.broker.handle_eof(conn, now);
            person.conn = None;
        }
        !bytes.is_empty()
    }

    fn client_hears(&mut self, who: &str) -> bool {
        let Some(person) = self.people.get_mut(who) else { return false };
        let (Some(client), Some(conn)) = (&mut person.client, person.conn) else { return false };
        let mut out = Transmit::new();
        while self.broker.poll_transmit(conn, self.now, &mut out) {
            self.broker.turn(self.now);
        }
        let bytes = out.take_all();
        if !bytes.is_empty() {
            client.handle_bytes(&bytes, self.now);
        }
        person.events.extend(std::iter::from_fn(|| client.poll_event()));
        !bytes.is_empty()
    }

    fn turn_broker(&mut self) {
        // Handshakes may wait for their budget, which time alone brings.
        for _ in 0..TURNS {
            if !self.broker.turn(self.now) {
                break;
            }
        }
        let mut closed = Vec::new();
        while let Some(event) = self.broker.poll_event() {
            if let BrokerEvent::Close(id) = event {
                closed.push(id);
            }
        }
        for person in self.people.values_mut() {
            if person.conn.is_some_and(|conn| closed.contains(&conn)) {
                person.conn = None;
                let client = person.client.as_mut().expect("whoever is connected is awake");
                client.handle_eof(None, self.now);
            }
        }
    }
}

/// A good topic name.
pub fn topic_name(text: &str) -> TopicName {
    TopicName::parse(text).expect("a good topic name")
}

/// A good name.
pub fn name(text: &str) -> Name {
    Name::parse(text).expect("a good name")
}

/// Whose of the fixed keys somebody has.
fn key_name(who: &str) -> &str {
    match who {
        "mallory" => "other-ca",
        who => who,
    }
}

/// Says the truth, or what the lie makes of it, and what is to be said besides.
fn mouth(talk: Rc<RefCell<Talk>>) -> impl FnMut(&Fingerprint, Said) -> Vec<Said> {
    move |to, said| {
        let talk = &mut *talk.borrow_mut();
        let Some(who) = talk.names.get(to) else { return vec![said] };
        talk.truth.push((who.clone(), said.clone()));
        let mut told = match &mut talk.lie {
            Some(lie) => lie(who, said),
            None => vec![said],
        };
        told.extend(talk.besides.remove(who).unwrap_or_default());
        told
    }
}
