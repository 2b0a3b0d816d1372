//! What membership costs: `cargo bench --bench membership`.
//!
//! A rotation of 100 members: the broker's CPU time for it, in all and in its longest turn. And
//! a client's CPU time for sealing and for verifying a message of 100 bytes. Both cores run in
//! this one process, without sockets, on fixed and generated RSA-2048 keys. Figures are medians
//! of the rounds, with the lowest and the highest; CPU time is this thread's.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use sealmq::base::ids::ConnId;
use sealmq::base::names::{Name, TopicFilter, TopicName};
use sealmq::base::time::{Mono, Now};
use sealmq::base::transmit::Transmit;
use sealmq::broker::{Broker, BrokerConfig, BrokerEvent, Identity};
use sealmq::client::pins::Pins;
use sealmq::client::{
    Answer, Client, ClientConfig, ClientIdentity, CreateRequest, Event, MemberChoice, Ticket,
};
use sealmq::crypto::cert::issue::{Issuer, LEAF_DAYS, Subscriber};
use sealmq::crypto::cert::testing::{Seeded, World, name, world};
use sealmq::crypto::cert::{Certificate, Role};
use sealmq::crypto::key::PrivateKey;
use sealmq::store::Memory;
use sealmq::wire::values::Start;

/// Members of the topic that is rotated.
const MEMBERS: usize = 100;
/// Bytes of a message's content.
const CONTENT_BYTES: usize = 100;
/// Messages of one round.
const MESSAGES: usize = 1000;
const ROUNDS: usize = 15;
/// What the broker reads of one connection in one turn, as `net` does.
const READ_BYTES: usize = 64 * 1024;

fn main() {
    let mut town = Town::new();
    let (alice, bob) = (town.client("alice", 1), town.client("bob", 2));
    let topic = TopicName::parse("bench/rotation").expect("a good name");
    let mut create = CreateRequest::in_memory(topic.clone());
    create.members = MemberChoice::AllKnown;
    let ticket = town.clients[alice].core.create(create);
    let Answer::Created(created) = town.answer(alice, ticket) else { panic!("the topic was not made") };
    assert_eq!(created.members.len(), MEMBERS, "everybody is a member");

    let mut rotation = Series::default();
    let mut longest = Series::default();
    let mut owner = Series::default();
    for _ in 0..ROUNDS {
        town.measure();
        let began = cpu();
        let ticket = town.clients[alice].core.rotate(&topic);
        let asked = cpu() - began;
        let Answer::Amended(amended) = town.answer(alice, ticket) else { panic!("it was not rotated") };
        assert!(amended.new_epoch && amended.members == MEMBERS);
        rotation.add(town.broker_cpu);
        longest.add(town.longest_turn);
        owner.add(asked + town.clients[alice].cpu);
    }

    let filter = TopicFilter::parse("bench/rotation").expect("a good filter");
    town.clients[bob].core.subscribe(filter, Start::Latest);
    town.run();
    let (mut seal, mut verify) = (Series::default(), Series::default());
    for _ in 0..ROUNDS {
        town.measure();
        let began = cpu();
        for _ in 0..MESSAGES {
            let sent = town.clients[alice].core.publish(&topic, &[0x5a; CONTENT_BYTES]);
            sent.expect("the window is larger than a round");
        }
        let sealing = cpu() - began;
        town.run();
        let shown = town.clients[bob].events.drain(..).filter(|e| matches!(e, Event::Message(_))).count();
        assert_eq!(shown, MESSAGES, "every message was verified and shown");
        seal.add((sealing + town.clients[alice].cpu) / MESSAGES as u32);
        verify.add(town.clients[bob].cpu / MESSAGES as u32);
    }

    println!("medians of {ROUNDS} rounds (lowest to highest), CPU time, RSA-2048");
    rotation.print(&format!("broker: a rotation of {MEMBERS} members, all of its turns"));
    longest.print("broker: the longest of those turns");
    owner.print("owner's client: the same rotation");
    seal.print(&format!("publisher: a message of {CONTENT_BYTES} bytes, sealed, signed, sent, answered"));
    verify.print(&format!("subscriber: a message of {CONTENT_BYTES} bytes, opened and verified"));
}

/// One broker and its clients, in memory.
struct Town {
    world: World,
    broker: Broker,
    clients: Vec<Resident>,
    now: Now,
    broker_cpu: Duration,
    longest_turn: Duration,
}

struct Resident {
    core: Client,
    conn: ConnId,
    events: Vec<Event>,
    cpu: Duration,
}

impl Town {
    fn new() -> Town {
        let world = world();
        let now = Now { mono: Mono(1_000_000), wall: world.now() };
        let identity = Identity {
            certificate: world.verified(&world.broker.1, Role::Broker),
            key: world.broker.0.clone(),
        };
        let (trust, store) = (world.trust.clone(), Box::new(Memory::new(1 << 30)));
        let mut broker =
            Broker::new(BrokerConfig::default(), identity, trust, store, Box::new(Seeded::new(3)), now);
        for certificate in members(&world) {
            broker.know_client(certificate.der(), now).expect("a certificate of this world");
        }
        let none = Duration::ZERO;
        Town { world, broker, clients: Vec::new(), now, broker_cpu: none, longest_turn: none }
    }

    /// A connected client of one of the fixed keys.
    fn client(&mut self, who: &str, seed: u64) -> usize {
        let (key, der) = self.world.client(who);
        let identity = ClientIdentity { certificate: self.world.verified(&der, Role::Client), key };
        let (config, trust) = (ClientConfig::default(), self.world.trust.clone());
        let mut core = Client::new(config, identity, trust, Pins::default(), Box::new(Seeded::new(seed)));
        core.connect(self.now);
        let conn = self.broker.accept("127.0.0.1:1".parse().expect("an address"), self.now);
        self.clients.push(Resident { core, conn, events: Vec::new(), cpu: Duration::ZERO });
        self.run();
        self.clients.len() - 1
    }

    fn measure(&mut self) {
        (self.broker_cpu, self.longest_turn) = (Duration::ZERO, Duration::ZERO);
        self.clients.iter_mut().for_each(|client| client.cpu = Duration::ZERO);
    }

    fn answer(&mut self, client: usize, wanted: Ticket) -> Answer {
        self.run();
        let events = std::mem::take(&mut self.clients[client].events);
        let answers = events.into_iter().filter_map(|event| match event {
            Event::Answer { ticket, result } if ticket == wanted => Some(result),
            _ => None,
        });
        answers.last().expect("it was answered").expect("it was done")
    }

    /// Turn after turn until nothing moves any more.
    fn run(&mut self) {
        let mut idle = 0;
        while idle < 20 {
            let moved = self.turn();
            idle = if moved { 0 } else { idle + 1 };
        }
    }

    /// What one turn of the loop does; the clock goes on by a millisecond.
    fn turn(&mut self) -> bool {
        self.now = Now { mono: Mono(self.now.mono.0 + 1_000), ..self.now };
        let now = self.now;
        let mut moved = false;
        let mut to_broker = Vec::new();
        for client in &mut self.clients {
            let began = cpu();
            client.core.handle_timeout(now);
            let mut out = Transmit::new();
            while client.core.poll_transmit(now, &mut out) {}
            client.cpu += cpu() - began;
            to_broker.push((client.conn, out.take_all()));
        }
        let most = to_broker.iter().map(|(_, bytes)| bytes.len().div_ceil(READ_BYTES)).max().unwrap_or(0);
        for piece in 0..most.max(1) {
            let began = cpu();
            for (conn, bytes) in &to_broker {
                if let Some(chunk) = bytes.chunks(READ_BYTES).nth(piece) {
                    moved = true;
                    self.broker.handle_bytes(*conn, chunk, now);
                }
            }
            self.broker.turn(now);
            let mut written = Vec::new();
            while let Some(event) = self.broker.poll_event() {
                let BrokerEvent::Transmit(conn) = event else { continue };
                let mut out = Transmit::new();
                while self.broker.poll_transmit(conn, now, &mut out) {
                    written.push((conn, out.take_all()));
                }
            }
            let took = cpu() - began;
            self.broker_cpu += took;
            self.longest_turn = self.longest_turn.max(took);
            moved |= !written.is_empty();
            self.deliver(&written);
        }
        moved
    }

    fn deliver(&mut self, written: &[(ConnId, Vec<u8>)]) {
        for client in &mut self.clients {
            let began = cpu();
            for (_, bytes) in written.iter().filter(|(conn, _)| *conn == client.conn) {
                client.core.handle_bytes(bytes, self.now);
                client.events.extend(std::iter::from_fn(|| client.core.poll_event()));
            }
            client.cpu += cpu() - began;
        }
    }
}

/// Certificates of all members: of the fixed keys' clients, and of keys made for this run.
fn members(world: &World) -> Vec<Certificate> {
    let issuer = Issuer::new(&world.ca_key, &world.ca_cert_der).expect("the CA's key and certificate");
    let mut entropy = Seeded::new(4);
    let mut all: Vec<Certificate> =
        ["alice", "bob"].map(|who| world.verified(&world.client(who).1, Role::Client)).into();
    for number in all.len()..MEMBERS {
        let key = PrivateKey::generate(2048, &mut entropy).expect("a key");
        let name: Name = name(&format!("sensor-{number}"));
        let (hosts, public_key) = (&[], &key.public());
        let subscriber = Subscriber { name: &name, role: Role::Client, hosts, public_key };
        let issued = issuer.issue(&subscriber, world.now(), LEAF_DAYS, &mut entropy);
        all.push(issued.expect("good certificates are issued"));
    }
    all
}

/// Times of one thing, a round each.
#[derive(Default)]
struct Series(Vec<Duration>);

impl Series {
    fn add(&mut self, time: Duration) {
        self.0.push(time);
    }

    fn print(mut self, what: &str) {
        self.0.sort();
        let micros = |time: Duration| time.as_nanos() as f64 / 1000.0;
        let (low, high) = (micros(self.0[0]), micros(self.0[self.0.len() - 1]));
        println!("{:10.1} us  ({low:.1} to {high:.1})  {what}", micros(self.0[self.0.len() / 2]));
    }
}

/// This thread's CPU time so far.
fn cpu() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}
