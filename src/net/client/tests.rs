//! The driver and the client core against a real broker core, over real sockets.

use std::collections::HashMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread::JoinHandle;
use std::time::Duration;

use super::swarm::Swarm;
use super::{Address, Connection};
use crate::base::ids::ConnId;
use crate::base::names::{TopicFilter, TopicName};
use crate::base::transmit::Transmit;
use crate::base::{Mono, Wall};
use crate::broker::{Broker, BrokerConfig, BrokerEvent, Identity};
use crate::client::pins::Pins;
use crate::client::{
    Answer, Client, ClientConfig, ClientIdentity, CreateRequest, Disconnect, Event, MemberChoice, Ticket,
};
use crate::crypto::cert::Role;
use crate::crypto::cert::testing::{World, name, world_at};
use crate::net::clock::{Clock, wall};
use crate::net::entropy::SystemEntropy;
use crate::store::Memory;
use crate::wire::values::Start;

/// A broker core in a thread of its own, behind a listener.
struct Host {
    port: u16,
    commands: Sender<Command>,
    thread: Option<JoinHandle<()>>,
}

enum Command {
    /// Cuts every connection without a word.
    Cut,
    Stop,
}

/// What runs in it.
struct Served {
    broker: Broker,
    clock: Clock,
    listener: TcpListener,
    sockets: HashMap<ConnId, (TcpStream, Transmit)>,
}

/// How long a test waits for what must come.
const PATIENCE: Duration = Duration::from_secs(60);

impl Host {
    /// Serves on a port of the system's choice.
    fn start(began: Wall) -> Host {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("it is bound").port();
        let (commands, inbox) = mpsc::channel();
        let thread = std::thread::spawn(move || Served::new(began, listener).serve(&inbox));
        Host { port, commands, thread: Some(thread) }
    }

    fn cut(&self) {
        self.commands.send(Command::Cut).expect("the broker serves");
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let _ = self.commands.send(Command::Stop);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Served {
    fn new(began: Wall, listener: TcpListener) -> Served {
        let (world, clock) = (world_at(began), Clock::new());
        let identity = Identity {
            certificate: world.verified(&world.broker.1, Role::Broker),
            key: world.broker.0.clone(),
        };
        let entropy = Box::new(SystemEntropy::new().expect("randomness"));
        let store = Box::new(Memory::new(64 * 1024 * 1024));
        let config = BrokerConfig::default();
        let broker = Broker::new(config, identity, world.trust.clone(), store, entropy, clock.now());
        listener.set_nonblocking(true).expect("a listener");
        Served { broker, clock, listener, sockets: HashMap::new() }
    }

    fn serve(mut self, inbox: &Receiver<Command>) {
        loop {
            let worked = self.accept() | self.read() | self.work() | self.write();
            let patience = if worked { Duration::ZERO } else { Duration::from_millis(1) };
            match inbox.recv_timeout(patience) {
                Ok(Command::Cut) => self.cut(),
                Ok(Command::Stop) | Err(RecvTimeoutError::Disconnected) => return,
                Err(RecvTimeoutError::Timeout) => {}
            }
        }
    }

    fn accept(&mut self) -> bool {
        let Ok((stream, peer)) = self.listener.accept() else { return false };
        stream.set_nonblocking(true).expect("a socket");
        let id = self.broker.accept(peer, self.clock.now());
        self.sockets.insert(id, (stream, Transmit::new()));
        true
    }

    fn read(&mut self) -> bool {
        let (mut worked, mut buffer) = (false, [0; 16 * 1024]);
        for (id, (stream, _)) in &mut self.sockets {
            if !self.broker.wants_read(*id) {
                continue;
            }
            match stream.read(&mut buffer) {
                Ok(0) => self.broker.handle_eof(*id, self.clock.now()),
                Ok(n) => self.broker.handle_bytes(*id, &buffer[..n], self.clock.now()),
                Err(e) if e.kind() == ErrorKind::WouldBlock => continue,
                Err(_) => self.broker.handle_eof(*id, self.clock.now()),
            }
            worked = true;
        }
        worked
    }

    fn work(&mut self) -> bool {
        let mut worked = self.broker.turn(self.clock.now());
        while let Some(event) = self.broker.poll_event() {
            worked = true;
            if let BrokerEvent::Close(id) = event
                && let Some((mut stream, mut out)) = self.sockets.remove(&id)
            {
                let _ = stream.write_all(&out.take_all());
            }
        }
        worked
    }

    fn write(&mut self) -> bool {
        let mut worked = false;
        for (id, (stream, out)) in &mut self.sockets {
            while !out.is_empty() || self.broker.poll_transmit(*id, self.clock.now(), out) {
                let mut slices = [std::io::IoSlice::new(&[])];
                out.slices(&mut slices);
                let Ok(n) = stream.write(&slices[0]) else { break };
                out.advance(n);
                worked = true;
            }
        }
        worked
    }

    fn cut(&mut self) {
        for id in std::mem::take(&mut self.sockets).into_keys() {
            self.broker.handle_eof(id, self.clock.now());
        }
    }
}

fn client(world: &World, who: &str, port: u16) -> Connection {
    Connection::new(address(port), core(world, who)).expect("a poll")
}

fn address(port: u16) -> Address {
    Address { host: "127.0.0.1".into(), port }
}

fn core(world: &World, who: &str) -> Client {
    let (key, der) = world.client(who);
    let identity = ClientIdentity { certificate: world.verified(&der, Role::Client), key };
    let config = ClientConfig { host: "localhost".into(), ..ClientConfig::default() };
    let entropy = Box::new(SystemEntropy::new().expect("randomness"));
    Client::new(config, identity, world.trust.clone(), Pins::default(), entropy)
}

/// The next event; it must come.
fn next(connection: &mut Connection) -> Event {
    let deadline = connection.now().mono + PATIENCE;
    connection.wait(Some(deadline)).expect("a sound poll").expect("an event in time")
}

/// Waits for the answer; other events are dropped, but there may be no fault among them.
fn answer(connection: &mut Connection, ticket: Ticket) -> Answer {
    loop {
        match next(connection) {
            Event::Answer { ticket: answered, result } if answered == ticket => {
                return result.expect("a good answer");
            }
            Event::Integrity(integrity) => panic!("{integrity:?}"),
            _ => {}
        }
    }
}

fn close(mut connection: Connection) {
    connection.core().exit();
    while !matches!(next(&mut connection), Event::Closed) {}
}

fn topic() -> TopicName {
    TopicName::parse("home/kitchen").expect("a good name")
}

/// Alice, bob, and alice's topic for both.
fn alice_and_bob(world: &World, host: &Host) -> (Connection, Connection) {
    let (mut alice, mut bob) = (client(world, "alice", host.port), client(world, "bob", host.port));
    let known = bob.core().ping();
    answer(&mut bob, known);
    let members = MemberChoice::Only(vec![name("bob")]);
    let ticket = alice.core().create(CreateRequest { members, ..CreateRequest::in_memory(topic()) });
    let Answer::Created(created) = answer(&mut alice, ticket) else { panic!("another answer") };
    assert_eq!(created.members.iter().map(|m| m.name.as_str()).collect::<Vec<_>>(), ["alice", "bob"]);
    (alice, bob)
}

#[test]
fn a_topic_from_creation_to_the_last_goodbye() {
    let world = world_at(wall());
    let host = Host::start(world.now());
    let (mut alice, mut bob) = alice_and_bob(&world, &host);
    let big = vec![0xa5; 1 << 20];
    for content in [&b"hello"[..], b"", &[0xff, 0xfe], &big] {
        let ticket = alice.core().publish(&topic(), content).expect("there is room");
        assert!(matches!(answer(&mut alice, ticket), Answer::Published { offset: Some(_), .. }));
    }

    let filter = TopicFilter::parse("home/#").expect("a good filter");
    bob.core().subscribe(filter, Start::Earliest);
    let (mut contents, mut caught_up) = (Vec::new(), false);
    while !caught_up {
        match next(&mut bob) {
            Event::Message(message) => {
                assert_eq!(message.sender.as_str(), "alice");
                contents.push(message.content);
            }
            Event::CaughtUp { .. } => caught_up = true,
            Event::Integrity(integrity) => panic!("{integrity:?}"),
            _ => {}
        }
    }
    assert_eq!(contents, [&b"hello"[..], b"", &[0xff, 0xfe], &big]);

    let ticket = bob.core().members(&topic());
    let Answer::Members(members) = answer(&mut bob, ticket) else { panic!("another answer") };
    assert_eq!((members.owner.as_str(), members.members.len()), ("alice", 2));
    let ticket = bob.core().topics(TopicFilter::parse("#").expect("a good filter"));
    let Answer::Topics(topics) = answer(&mut bob, ticket) else { panic!("another answer") };
    assert_eq!((topics.len(), topics[0].messages), (1, 4));

    close(alice);
    close(bob);
}

#[test]
fn cut_connections_lose_nothing_and_double_nothing() {
    const MESSAGES: u64 = 300;
    let world = world_at(wall());
    let host = Host::start(world.now());
    let (alice, mut bob) = alice_and_bob(&world, &host);
    close(alice);
    let filter = TopicFilter::parse("home/kitchen").expect("a good filter");
    bob.core().subscribe(filter, Start::Earliest);

    let port = host.port;
    let publisher = std::thread::spawn(move || {
        let mut alice = client(&world, "alice", port);
        let (mut sent, mut stored) = (0, 0);
        while stored < MESSAGES {
            while sent < MESSAGES && alice.core().publish(&topic(), &sent.to_be_bytes()).is_ok() {
                sent += 1;
                if sent % 20 == 0 {
                    break;
                }
            }
            match next(&mut alice) {
                Event::Answer { result, .. } => {
                    assert!(matches!(result, Ok(Answer::Published { offset: Some(_), .. })), "{result:?}");
                    stored += 1;
                }
                Event::Integrity(integrity) => panic!("{integrity:?}"),
                _ => {}
            }
        }
        close(alice);
    });

    let (mut seen, mut cuts) = (0, 0);
    while seen < MESSAGES {
        match next(&mut bob) {
            Event::Message(message) => {
                assert_eq!(message.content, seen.to_be_bytes(), "in order, once each");
                seen += 1;
                if seen % 60 == 30 {
                    host.cut();
                    cuts += 1;
                }
            }
            Event::Integrity(integrity) => panic!("{integrity:?}"),
            Event::Gap { from, to, .. } => panic!("a gap from {from} to {to}"),
            _ => {}
        }
    }
    assert_eq!(cuts, 5);
    publisher.join().expect("the publisher ends well");
    close(bob);
}

#[test]
fn nobody_there_is_said_with_host_port_and_remedy() {
    let world = world_at(wall());
    let free = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = free.local_addr().expect("it is bound").port();
    drop(free);
    let mut alice = client(&world, "alice", port);
    let Event::Disconnected { reason, fatal: false, retry_at: Some(at) } = next(&mut alice) else {
        panic!("it comes back")
    };
    let said = reason.to_string();
    assert!(said.contains(&format!("127.0.0.1:{port}")) && said.contains("sealmqd"), "{said}");
    assert_eq!(reason.exit_code(), 3);
    assert!(at >= alice.now().mono);
    // It tries again by itself.
    assert!(matches!(next(&mut alice), Event::Disconnected { reason: Disconnect::Unreachable(_), .. }));
    close(alice);
}

#[test]
fn a_wait_ends_at_its_deadline_and_by_the_waker() {
    let world = world_at(wall());
    let host = Host::start(world.now());
    let mut alice = client(&world, "alice", host.port);
    assert!(matches!(next(&mut alice), Event::Connected(_)));
    let soon = alice.now().mono + Duration::from_millis(20);
    assert!(alice.wait(Some(soon)).expect("a sound poll").is_none());
    assert!(alice.now().mono >= soon);

    let waker = alice.waker();
    let thread = std::thread::spawn(move || waker.wake().expect("a sound poll"));
    assert!(alice.wait(Some(Mono(u64::MAX))).expect("a sound poll").is_none());
    thread.join().expect("it woke us");
    close(alice);
}

#[test]
fn many_clients_in_one_loop_come_back_each_by_itself() {
    let world = world_at(wall());
    let host = Host::start(world.now());
    let mut swarm = Swarm::new(address(host.port)).expect("a poll");
    let deadline = swarm.now().mono + PATIENCE;
    for who in ["alice", "bob", "carol", "alice"] {
        swarm.add(core(&world, who));
    }
    for round in 0..2 {
        // Each connects, at first and when it was cut off.
        let mut connected = [false; 4];
        while connected.contains(&false) {
            let (index, event) = swarm.wait(Some(deadline)).expect("a sound poll").expect("an event in time");
            match event {
                Event::Connected(told) => {
                    assert_eq!((told.resumed, connected[index]), (round == 1, false), "{index}");
                    connected[index] = true;
                }
                Event::Disconnected { fatal, .. } => assert!(!fatal && round == 1, "{index}"),
                _ => {}
            }
        }
        // What one asks, that one is told.
        for asks in 0..4 {
            let ticket = swarm.core(asks).ping();
            let (index, event) = swarm.wait(Some(deadline)).expect("a sound poll").expect("an event in time");
            let pong =
                matches!(event, Event::Answer { ticket: t, result: Ok(Answer::Pong { .. }) } if t == ticket);
            assert!(pong && index == asks, "{index}");
        }
        host.cut();
    }
}

#[test]
fn a_swarm_waits_no_longer_than_it_is_told() {
    let nobody = address(1);
    let mut swarm = Swarm::new(nobody).expect("a poll");
    let soon = swarm.now().mono + Duration::from_millis(20);
    assert!(swarm.wait(Some(soon)).expect("a sound poll").is_none());
    assert!(swarm.now().mono >= soon);
    swarm.waker().wake().expect("a sound poll");
    assert!(swarm.wait(None).expect("a sound poll").is_none());
}

#[test]
fn who_was_dropped_is_heard_of_no_more() {
    let world = world_at(wall());
    let host = Host::start(world.now());
    let mut swarm = Swarm::new(address(host.port)).expect("a poll");
    let deadline = swarm.now().mono + PATIENCE;
    for who in ["alice", "bob", "carol"] {
        swarm.add(core(&world, who));
    }
    let mut connected = 0;
    while connected < 3 {
        let (_, event) = swarm.wait(Some(deadline)).expect("a sound poll").expect("an event in time");
        connected += usize::from(matches!(event, Event::Connected(_)));
    }
    // All three have something to do when two of them go.
    let asked = [0, 1, 2].map(|index| swarm.core(index).ping());
    swarm.truncate(1);
    assert_eq!(swarm.len(), 1);
    let (index, event) = swarm.wait(Some(deadline)).expect("a sound poll").expect("an event in time");
    assert!(index == 0 && matches!(event, Event::Answer { ticket, .. } if ticket == asked[0]), "{event:?}");
    let soon = swarm.now().mono + Duration::from_millis(20);
    assert!(swarm.wait(Some(soon)).expect("a sound poll").is_none());
}
