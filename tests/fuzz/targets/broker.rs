//! Sequences of operations against the broker's core, from two clients that are Active and from strangers.
//!
//! What holds whatever is said: the broker's tables agree after each turn, its own records and
//! frames are good, and nobody gets an offset twice or out of order.

use std::collections::HashMap;
use std::time::Duration;

use sealmq::base::ids::*;
use sealmq::base::names::{TopicFilter, TopicName};
use sealmq::base::transmit::Transmit;
use sealmq::base::{Mono, Now};
use sealmq::broker::{Broker, BrokerConfig, Identity};
use sealmq::chain::Delegation;
use sealmq::crypto::cert::testing::Seeded;
use sealmq::crypto::digest::sha256;
use sealmq::crypto::ed25519::MessageSigner;
use sealmq::session::client::{ClientHandshake, Step};
use sealmq::session::inbox::Progress;
use sealmq::session::{Inbox, Opener, Sealer};
use sealmq::store::Memory;
use sealmq::wire::body::{Body, BodyRef};
use sealmq::wire::frame::{BrokerFrame, ClientFrame, scan_bodies};
use sealmq::wire::values::{CloseCode, Durability, Retention, Start};

use super::feed::Feed;
use super::stage::{FILTERS, HALL, KITCHEN, NOW, Party, STAGE, TOPICS, Topic};

struct Play {
    broker: Broker,
    now: Now,
    peers: Vec<Peer>,
    /// Handshakes that may still be made: each takes some milliseconds.
    sessions_left: usize,
}

struct Peer {
    id: ConnId,
    who: &'static Party,
    sealer: Sealer,
    opener: Opener,
    inbox: Inbox,
    /// Where delivery of each topic is.
    next: HashMap<TopicHandle, Offset>,
    /// What came, by the frames' names.
    seen: HashMap<&'static str, usize>,
}

const SESSIONS_MAX: usize = 4;
const OPERATIONS_MAX: usize = 200;
/// Small, so that limits are met.
const STORE_BYTES: u64 = 64 * 1024;

pub fn run(data: &[u8]) {
    play(data);
}

fn play(data: &[u8]) -> Play {
    let mut feed = Feed::new(data);
    let mut play = Play::begin();
    play.connect(&STAGE.alice);
    play.connect(&STAGE.bob);
    for _ in 0..OPERATIONS_MAX {
        if feed.is_empty() {
            break;
        }
        play.step(&mut feed);
        play.settle();
    }
    (0..play.peers.len()).for_each(|peer| play.read(peer));
    play.broker.shutdown(play.now);
    play.settle();
    play
}

/// What a client says for the key that signs under a publisher id. The key is never used here.
fn delegation(who: &Party, publisher: PublisherId) -> Vec<u8> {
    let delegation = Delegation {
        sender: who.1.fingerprint(),
        publisher,
        key: MessageSigner::generate(&mut Seeded::new(1)).public(),
        not_before: NOW,
        not_after: NOW + Duration::from_secs(86_400),
    };
    delegation.sign(&who.0, &mut Seeded::new(2)).expect("a sound machine")
}

impl Play {
    fn begin() -> Play {
        let now = Now { mono: Mono(1_000_000), wall: NOW };
        let config = BrokerConfig {
            topics_per_client_max: 2,
            cursors_per_connection_max: 3,
            outbox_bytes_max: 16 * 1024,
            unanswered_publishes_max: 8,
            tail_bytes_max: 8 * 1024,
            message_bytes_max: 2048,
            ..BrokerConfig::default()
        };
        let (key, certificate) = STAGE.broker.clone();
        let identity = Identity { certificate, key };
        let mut trust = STAGE.world.trust.clone();
        trust.update_crl(&STAGE.world.crl(&[], 1), NOW).expect("a good list");
        let store = Box::new(Memory::new(STORE_BYTES));
        let mut broker = Broker::new(config, identity, trust, store, Box::new(Seeded::new(7)), now);
        broker.know_client(STAGE.carol.1.der(), now).expect("a good certificate");
        Play { broker, now, peers: Vec::new(), sessions_left: SESSIONS_MAX }
    }

    fn connect(&mut self, who: &'static Party) {
        if self.sessions_left == 0 {
            return;
        }
        self.sessions_left -= 1;
        let mut entropy = Seeded::new(self.sessions_left as u64);
        let id = self.broker.accept("192.0.2.7:4000".parse().expect("an address"), self.now);
        let (mut state, mut bytes) = ClientHandshake::start(&mut entropy);
        loop {
            self.broker.handle_bytes(id, &bytes, self.now);
            self.advance(Duration::from_millis(60));
            self.settle();
            let mut out = Transmit::new();
            self.broker.poll_transmit(id, self.now, &mut out);
            let answer = out.take_all();
            let step = state.handle(answer[4], &answer[5..], STAGE.as_client(who, &mut entropy));
            match step.expect("the broker is polite") {
                Step::Handshake(next, message) => (state, bytes) = (next, message),
                Step::Active(active, ready, _) => {
                    self.broker.handle_bytes(id, &ready, self.now);
                    let (sealer, opener) = active.keys.into_client();
                    let (inbox, next, seen) = (Inbox::new(), HashMap::new(), HashMap::new());
                    self.peers.push(Peer { id, who, sealer, opener, inbox, next, seen });
                    return self.settle();
                }
            }
        }
    }

    fn advance(&mut self, by: Duration) {
        self.now = Now { mono: self.now.mono + by, wall: self.now.wall + by };
    }

    fn settle(&mut self) {
        for turn in 0.. {
            let more = self.broker.turn(self.now);
            self.broker.check_invariants();
            while self.broker.poll_event().is_some() {}
            if !more {
                return;
            }
            assert!(turn < 1000, "the broker always has work left");
        }
    }

    fn step(&mut self, feed: &mut Feed<'_>) {
        let peer = feed.below(self.peers.len());
        match feed.below(16) {
            0..8 => {
                let frames: Vec<ClientFrame> = (0..=feed.below(3)).map(|_| command(feed)).collect();
                self.send(peer, &frames);
            }
            8 => self.publish(peer, feed),
            9 => self.read(peer),
            10 => self.send_plaintext(peer, feed.bytes(), &[]),
            11 => {
                let id = self.peers[peer].id;
                self.broker.handle_bytes(id, feed.bytes(), self.now);
            }
            12 => self.connect(feed.one_of(&[&STAGE.alice, &STAGE.bob, &STAGE.carol])),
            13 => self.advance(Duration::from_millis(1 << feed.below(20))),
            14 => {
                let id = self.broker.accept("198.51.100.1:9".parse().expect("an address"), self.now);
                self.broker.handle_bytes(id, feed.bytes(), self.now);
            }
            _ => self.broker.handle_eof(self.peers[peer].id, self.now),
        }
    }

    fn send(&mut self, peer: usize, frames: &[ClientFrame]) {
        let mut plaintext = Vec::new();
        frames.iter().for_each(|frame| frame.encode(&mut plaintext));
        self.send_plaintext(peer, &plaintext, &[]);
    }

    fn publish(&mut self, peer: usize, feed: &mut Feed<'_>) {
        let slot = feed.below(3) as u16;
        let (id, who) = (PublisherId([feed.byte() % 4; 16]), self.peers[peer].who);
        let publisher = ClientFrame::Publisher { slot, id, delegation: delegation(who, id) };
        let topic = TopicHandle(feed.below(5) as u32);
        let (mut plaintext, mut bodies) = (Vec::new(), Vec::new());
        publisher.encode(&mut plaintext);
        let (epoch, first) = (Epoch(feed.below(3) as u32), feed.number());
        for i in 0..=feed.below(4) as u64 {
            let body = vec![feed.byte(); feed.below(256) * 12];
            let counter = Counter(first.saturating_add(i));
            let beside = BodyRef { len: body.len() as u32, sha256: sha256(&body) };
            let body = if feed.below(2) == 0 {
                bodies.extend_from_slice(&body);
                Body::Beside(beside)
            } else {
                Body::Inline(body)
            };
            ClientFrame::Publish { slot, topic, epoch, counter, body }.encode(&mut plaintext);
        }
        self.send_plaintext(peer, &plaintext, &bodies);
    }

    fn send_plaintext(&mut self, peer: usize, plaintext: &[u8], bodies: &[u8]) {
        let peer = &mut self.peers[peer];
        let mut out = Vec::new();
        let start = peer.sealer.begin(&mut out);
        out.extend_from_slice(plaintext);
        peer.sealer.finish(&mut out, start, self.now.wall, &[3; 16]);
        out.extend_from_slice(bodies);
        self.broker.handle_bytes(peer.id, &out, self.now);
    }

    /// Takes all that the broker has for a peer.
    fn read(&mut self, peer: usize) {
        let mut out = Transmit::new();
        while self.broker.poll_transmit(self.peers[peer].id, self.now, &mut out) {
            self.settle();
        }
        self.peers[peer].take(&out.take_all());
    }
}

impl Peer {
    fn take(&mut self, bytes: &[u8]) {
        self.inbox.push(bytes);
        loop {
            let progress = self.inbox.next_record(&mut self.opener, scan_bodies, usize::MAX);
            let Progress::Record(record) = progress.expect("the broker's records are good") else {
                assert!(!self.inbox.is_partial(), "a record is written whole");
                return;
            };
            let frames = BrokerFrame::decode_all(record.frames).expect("the broker's frames are good");
            for frame in frames {
                *self.seen.entry(frame.label()).or_default() += 1;
                check(&mut self.next, &frame);
            }
        }
    }
}

fn check(next: &mut HashMap<TopicHandle, Offset>, frame: &BrokerFrame) {
    match frame {
        BrokerFrame::Topic { topic, start, end, .. } => {
            assert!(start <= end, "delivery begins within the log");
            next.insert(*topic, *start);
        }
        BrokerFrame::Message { topic, offset, .. } => {
            let next = next.get_mut(topic).expect("a topic is named before its messages");
            assert!(offset >= next, "message {offset} where {next} was due");
            *next = offset.next();
        }
        BrokerFrame::Gap { topic, from, to } => {
            let next = next.get_mut(topic).expect("a topic is named before its gaps");
            assert!(from >= next && to > from, "a gap from {from} to {to} where {next} was due");
            *next = *to;
        }
        BrokerFrame::Record { topic, .. } | BrokerFrame::CaughtUp { topic, .. } => {
            assert!(next.contains_key(topic), "a topic is named before what is in it");
        }
        _ => {}
    }
}

fn topic(feed: &mut Feed<'_>) -> &'static Topic {
    if feed.below(2) == 0 { &KITCHEN } else { &HALL }
}

fn name(feed: &mut Feed<'_>) -> TopicName {
    TopicName::parse(feed.one_of(&TOPICS[..3])).expect("a good name")
}

fn filter(feed: &mut Feed<'_>) -> TopicFilter {
    TopicFilter::parse(feed.one_of(&FILTERS)).expect("a good filter")
}

fn one_of<T: Clone>(items: &[T], feed: &mut Feed<'_>) -> T {
    items[feed.below(items.len())].clone()
}

fn start(feed: &mut Feed<'_>) -> Start {
    match feed.below(7) {
        0 => Start::RecordsOnly,
        1 => Start::Earliest,
        2 => Start::Latest,
        3 => Start::Last(feed.number()),
        4 => Start::Since(sealmq::base::Wall(NOW.0 + feed.number())),
        5 => Start::Offset(Offset(feed.number())),
        _ => Start::Resume(Offset(feed.number()), Incarnation(feed.number())),
    }
}

fn command(feed: &mut Feed<'_>) -> ClientFrame {
    let request = RequestId(u32::from(feed.byte()));
    match feed.below(16) {
        0 => ClientFrame::Ping { number: feed.number() },
        1 => ClientFrame::Pong { number: feed.number() },
        2 => ClientFrame::Close { sequence: feed.number(), code: CloseCode::Normal, text: String::new() },
        3 | 4 => {
            let topic = topic(feed);
            let retention = Retention {
                count: feed.number(),
                bytes: feed.number().saturating_mul(64),
                age_ms: feed.number(),
            };
            ClientFrame::Create {
                request,
                name: topic.name.clone(),
                durability: Durability::Memory,
                retention,
                genesis: topic.records[0].clone(),
                delta: topic.records[1].clone(),
            }
        }
        5 => ClientFrame::Open { request, name: name(feed), start: start(feed) },
        6 => ClientFrame::Subscribe { request, filter: filter(feed), start: start(feed) },
        7 => ClientFrame::Unsubscribe { request, filter: filter(feed) },
        8 | 9 => ClientFrame::Wraps { wraps: one_of(&topic(feed).wraps, feed) },
        10 => ClientFrame::Append {
            request,
            topic: TopicHandle(feed.below(4) as u32),
            record: one_of(&topic(feed).records, feed),
        },
        11 => {
            let after = Fingerprint([feed.byte(); 32]);
            let known = [&STAGE.alice, &STAGE.carol].map(|party| party.1.name().clone());
            ClientFrame::ListClients { request, after, names: known[..feed.below(3)].to_vec() }
        }
        12 => ClientFrame::ListTopics { request, after: "home/hall".to_owned(), filter: filter(feed) },
        13 => ClientFrame::GetStats { request },
        14 => ClientFrame::GetCrl { request, from: feed.number() as u32 },
        _ => ClientFrame::Exit { forget: feed.below(2) == 0 },
    }
}

/// Sequences as they should be, for mutations to spoil.
pub fn seeds() -> Vec<Vec<u8>> {
    // Peer, number of frames, and then for each frame: request, command, what it needs.
    let create = [0, 0, 1, 1, 8, 0, 1, 2, 3, 0, 5, 0, 0];
    let create_hall = [0, 0, 1, 1, 8, 1, 1, 2, 3, 1, 5, 0, 0];
    let read = |peer: u8| [peer, 9];
    let subscribe = |peer: u8| [peer, 0, 0, 3, 6, 2, 1];
    let publish = |peer: u8, first: u8| [peer, 8, 0, 1, 1, 0, first, 1, 7, 20, 0, 7, 30, 1];
    let remove_bob = [0, 0, 1, 1, 8, 0, 2, 4, 10, 1, 0, 2];
    let wait = [0, 13, 17];
    vec![
        [&create[..], &create, &read(0), &subscribe(1), &publish(0, 0), &read(0), &read(1)].concat(),
        [&create[..], &publish(0, 0), &publish(0, 0), &subscribe(1), &subscribe(0), &read(1), &read(0)]
            .concat(),
        [&create[..], &create_hall, &subscribe(1), &publish(0, 0), &publish(0, 2), &wait, &read(1)].concat(),
        [&create[..], &subscribe(1), &publish(0, 0), &remove_bob, &read(1), &publish(1, 0), &read(0)]
            .concat(),
        [&[0, 0, 0, 9, 11, 0, 0][..], &[0, 0, 2, 1, 12, 2, 1, 13, 1, 14, 0], &read(0), &[0, 12, 2], &read(2)]
            .concat(),
        [&[1, 0, 0, 1, 15, 0][..], &read(1), &wait, &[0, 14, 2], b"GET /...", &[0, 11, 1], b"oops"].concat(),
    ]
}

/// Mutations of seeds that lead nowhere would lead nowhere too.
#[test]
fn seeds_of_the_broker_lead_somewhere() {
    let plays: Vec<Play> = seeds().iter().map(|seed| play(seed)).collect();
    let peers = || plays.iter().flat_map(|play| &play.peers);
    for label in
        ["Record", "Sender", "Message", "CaughtUp", "Published", "PublishRefused", "Refused", "Stats"]
    {
        assert!(peers().any(|peer| peer.seen.contains_key(label)), "no {label}");
    }
}
