//! Sequences of operations against the client's core, from a broker that says what it likes.
//!
//! What holds whatever it says: the client's own records and frames are good, each request is
//! answered once at most, and no message is shown but what a member sealed for its place.

use std::collections::BTreeSet;
use std::sync::LazyLock;
use std::time::Duration;

use sealmq::base::ids::*;
use sealmq::base::names::{TopicFilter, TopicName};
use sealmq::base::transmit::Transmit;
use sealmq::base::{Mono, Now, Wall};
use sealmq::chain::Delegation;
use sealmq::client::pins::Pins;
use sealmq::client::{Client, ClientConfig, ClientIdentity, CreateRequest, Event, Ticket};
use sealmq::crypto::cert::testing::Seeded;
use sealmq::crypto::digest::sha256;
use sealmq::crypto::ed25519::MessageSigner;
use sealmq::crypto::fernet::SealingKey;
use sealmq::session::broker::{AwaitingCert, Handshake, Step};
use sealmq::session::inbox::Progress;
use sealmq::session::{Inbox, Opener, Sealer, sign_batch};
use sealmq::wire::body::{Body, BodyRef, Sealed};
use sealmq::wire::frame::{BrokerFrame, ClientFrame, scan_bodies};
use sealmq::wire::values::*;

use super::feed::Feed;
use super::stage::{FILTERS, HALL, KITCHEN, NOW, STAGE, TOPICS, Topic};

struct Play {
    client: Client,
    now: Now,
    session: Option<Session>,
    sessions_left: usize,
    answered: BTreeSet<Ticket>,
    /// Messages that were shown.
    shown: usize,
}

/// The broker's end of a session.
struct Session {
    sealer: Sealer,
    opener: Opener,
    inbox: Inbox,
}

const SESSIONS_MAX: usize = 3;
const OPERATIONS_MAX: usize = 200;
/// What good bodies say, so that nothing else is shown.
const CONTENT: &[u8] = b"turn the light on";

pub fn run(data: &[u8]) {
    play(data);
}

fn play(data: &[u8]) -> Play {
    let mut feed = Feed::new(data);
    let mut play = Play::begin();
    play.connect();
    for _ in 0..OPERATIONS_MAX {
        if feed.is_empty() {
            break;
        }
        play.step(&mut feed);
        play.settle();
    }
    play.client.exit();
    play.settle();
    for _ in 0..3 {
        play.now = Now { mono: play.now.mono + Duration::from_secs(40), wall: play.now.wall };
        play.client.handle_timeout(play.now);
        play.settle();
    }
    assert!(play.client.is_over(), "an exit comes to its end, whatever the broker says");
    play
}

impl Play {
    fn begin() -> Play {
        let (key, certificate) = STAGE.alice.clone();
        let identity = ClientIdentity { certificate, key };
        let config = ClientConfig { host: "localhost".to_owned(), ..ClientConfig::default() };
        let client = Client::new(
            config,
            identity,
            STAGE.world.trust.clone(),
            Pins::default(),
            Box::new(Seeded::new(5)),
        );
        let now = Now { mono: Mono(1_000_000), wall: NOW };
        Play { client, now, session: None, sessions_left: SESSIONS_MAX, answered: BTreeSet::new(), shown: 0 }
    }

    fn connect(&mut self) {
        if self.sessions_left == 0 {
            return;
        }
        self.sessions_left -= 1;
        self.session = None;
        self.client.connect(self.now);
        let mut entropy = Seeded::new(self.sessions_left as u64);
        let hello = self.client_bytes();
        // An ended client says nothing.
        if hello.is_empty() {
            return;
        }
        let step = Handshake::new().handle(hello[4], &hello[5..], STAGE.as_broker(&mut entropy));
        let Ok(Step::Handshake(Handshake::AwaitingCert(AwaitingCert::Queued(queued)))) = step else {
            panic!("the client's hello is good");
        };
        let batch = sign_batch(&[queued.th1()], &STAGE.broker.0, &mut entropy).expect("a sound machine");
        let (challenged, bytes) = queued.challenge(&batch, 0);
        self.client.handle_bytes(&bytes, self.now);
        let auth = self.client_bytes();
        let step = Handshake::from(challenged).handle(auth[4], &auth[5..], STAGE.as_broker(&mut entropy));
        let Ok(Step::Handshake(Handshake::Verified(verified))) = step else {
            panic!("the client proves who it is");
        };
        let (keyed, bytes) = verified.key(NOW, &mut entropy).expect("a sound machine");
        self.client.handle_bytes(&bytes, self.now);
        let ready = self.client_bytes();
        let Ok(Step::Active(active)) =
            Handshake::from(keyed).handle(ready[4], &ready[5..], STAGE.as_broker(&mut entropy))
        else {
            panic!("the client confirms the keys");
        };
        let (sealer, opener) = active.keys.into_broker();
        self.session = Some(Session { sealer, opener, inbox: Inbox::new() });
    }

    fn client_bytes(&mut self) -> Vec<u8> {
        let mut out = Transmit::new();
        while self.client.poll_transmit(self.now, &mut out) {}
        out.take_all()
    }

    /// Takes what the client sends, and what it tells.
    fn settle(&mut self) {
        let bytes = self.client_bytes();
        if let Some(session) = &mut self.session {
            session.take(&bytes);
        }
        while let Some(event) = self.client.poll_event() {
            match event {
                Event::Answer { ticket, .. } => assert!(self.answered.insert(ticket), "answered twice"),
                Event::Message(message) => {
                    assert_eq!(message.content, CONTENT);
                    self.shown += 1;
                }
                _ => {}
            }
        }
    }

    fn step(&mut self, feed: &mut Feed<'_>) {
        match feed.below(12) {
            0..3 => self.request(feed),
            3..7 => {
                let (mut plaintext, mut bodies) = (Vec::new(), Vec::new());
                for _ in 0..=feed.below(4) {
                    frame(feed, &mut bodies).encode(&mut plaintext);
                }
                self.say(&plaintext, &bodies);
            }
            7 => self.deliver(feed),
            8 => self.say(feed.bytes(), &[]),
            9 => self.client.handle_bytes(feed.bytes(), self.now),
            10 => {
                let by = Duration::from_millis(1 << feed.below(18));
                self.now = Now { mono: self.now.mono + by, wall: self.now.wall + by };
                self.client.handle_timeout(self.now);
            }
            _ => {
                self.client.handle_eof(None, self.now);
                self.connect();
            }
        }
    }

    fn request(&mut self, feed: &mut Feed<'_>) {
        let name = TopicName::parse(feed.one_of(&TOPICS[..3])).expect("a good name");
        let filter = TopicFilter::parse(feed.one_of(&FILTERS)).expect("a good filter");
        match feed.below(10) {
            0 => _ = self.client.subscribe(filter, start(feed)),
            1 => _ = self.client.unsubscribe(filter),
            2 | 3 => _ = self.client.publish(&name, CONTENT),
            4 => _ = self.client.create(CreateRequest::in_memory(name)),
            5 => _ = self.client.open(&name),
            6 => _ = self.client.topics(filter),
            7 => _ = self.client.members(&name),
            8 => _ = self.client.ping(),
            _ => _ = self.client.known_clients(),
        }
    }

    /// A topic as a good broker would deliver it, up to a point.
    fn deliver(&mut self, feed: &mut Feed<'_>) {
        let topic = topic(feed);
        let handle = TopicHandle(feed.below(3) as u32);
        let (mut plaintext, mut bodies) = (Vec::new(), Vec::new());
        let end = Offset(feed.number());
        let request = RequestId(feed.below(6) as u32);
        let name = topic.name.clone();
        opened(request, handle, name, end).encode(&mut plaintext);
        for number in 0..=feed.below(topic.records.len()) {
            record(topic, number, handle, Offset(number as u64)).encode(&mut plaintext);
        }
        sender(handle).encode(&mut plaintext);
        for counter in 0..feed.below(4) as u64 {
            let at =
                Place { handle, offset: Offset(4 + counter), epoch: Epoch(2), counter: Counter(counter) };
            message(topic, &at, &mut bodies).encode(&mut plaintext);
        }
        BrokerFrame::CaughtUp { topic: handle, next: end }.encode(&mut plaintext);
        self.say(&plaintext, &bodies);
    }

    fn say(&mut self, plaintext: &[u8], bodies: &[u8]) {
        let Some(session) = &mut self.session else { return };
        let mut out = Vec::new();
        let start = session.sealer.begin(&mut out);
        out.extend_from_slice(plaintext);
        session.sealer.finish(&mut out, start, self.now.wall, &[3; 16]);
        out.extend_from_slice(bodies);
        self.client.handle_bytes(&out, self.now);
    }
}

impl Session {
    fn take(&mut self, bytes: &[u8]) {
        self.inbox.push(bytes);
        loop {
            let progress = self.inbox.next_record(&mut self.opener, scan_bodies, usize::MAX);
            let Progress::Record(record) = progress.expect("the client's records are good") else {
                assert!(!self.inbox.is_partial(), "a record is written whole");
                return;
            };
            ClientFrame::decode_all(record.frames).expect("the client's frames are good");
        }
    }
}

/// Where a message is said to stand.
struct Place {
    handle: TopicHandle,
    offset: Offset,
    epoch: Epoch,
    counter: Counter,
}

const PUBLISHER: PublisherId = PublisherId([5; 16]);

/// The key of alice's messages, and her word for it.
static SIGNER: LazyLock<(MessageSigner, Vec<u8>)> = LazyLock::new(|| {
    let signer = MessageSigner::generate(&mut Seeded::new(8));
    let delegation = Delegation {
        sender: STAGE.alice.1.fingerprint(),
        publisher: PUBLISHER,
        key: signer.public(),
        not_before: NOW,
        not_after: NOW + Duration::from_secs(7 * 86_400),
    };
    let signed = delegation.sign(&STAGE.alice.0, &mut Seeded::new(9)).expect("a sound machine");
    (signer, signed)
});

fn topic(feed: &mut Feed<'_>) -> &'static Topic {
    if feed.below(2) == 0 { &KITCHEN } else { &HALL }
}

fn start(feed: &mut Feed<'_>) -> Start {
    match feed.below(4) {
        0 => Start::Earliest,
        1 => Start::Latest,
        2 => Start::Last(feed.number()),
        _ => Start::Offset(Offset(feed.number())),
    }
}

fn opened(request: RequestId, topic: TopicHandle, name: TopicName, end: Offset) -> BrokerFrame {
    let (incarnation, start) = (Incarnation(8), Offset(0));
    let (durability, notice) = (Durability::Memory, Notice::None);
    BrokerFrame::Topic { request, topic, name, incarnation, start, end, durability, notice }
}

/// A record of the topic, with alice's own wrap and certificate.
fn record(topic: &Topic, number: usize, handle: TopicHandle, offset: Offset) -> BrokerFrame {
    let alice = STAGE.alice.1.fingerprint();
    // Wraps stand in the order of the members' fingerprints.
    let members = topic.chains[number].members();
    let place = members.keys().position(|who| *who == alice).expect("the owner is a member");
    BrokerFrame::Record {
        topic: handle,
        offset,
        time: NOW,
        record: topic.records[number].clone(),
        wrap: topic.wraps[number].get(place).cloned().unwrap_or_default(),
        certificate: STAGE.alice.1.der().to_vec(),
    }
}

fn sender(topic: TopicHandle) -> BrokerFrame {
    let (_, alice) = &STAGE.alice;
    BrokerFrame::Sender {
        topic,
        sender: 1,
        publisher: PUBLISHER,
        fingerprint: alice.fingerprint(),
        name: alice.name().clone(),
        delegation: SIGNER.1.clone(),
        certificate: alice.der().to_vec(),
    }
}

/// A good message of alice's, beside the token.
fn message(topic: &Topic, at: &Place, bodies: &mut Vec<u8>) -> BrokerFrame {
    // Each record but the genesis starts an epoch.
    let record = topic.records.get(at.epoch.0 as usize + 1).unwrap_or(&topic.records[1]);
    let sealed = Sealed {
        topic: topic.id,
        epoch_record: sealmq::chain::record_hash(record),
        publisher: PUBLISHER,
        counter: at.counter,
        content: CONTENT,
    };
    let mut plain = Vec::new();
    sealed.encode_signed_part(&mut plain);
    let signature = SIGNER.0.sign(&sha256(&plain));
    plain.extend_from_slice(&signature);
    let body = SealingKey::new(&topic.body_key(at.epoch)).seal_to_vec(&plain, NOW.secs(), &[4; 16]);
    bodies.extend_from_slice(&body);
    BrokerFrame::Message {
        topic: at.handle,
        offset: at.offset,
        time: NOW,
        sender: 1,
        epoch: at.epoch,
        counter: at.counter,
        body: Body::Beside(BodyRef { len: body.len() as u32, sha256: sha256(&body) }),
    }
}

/// A frame with small numbers, so that it often speaks of something that is there.
fn frame(feed: &mut Feed<'_>, bodies: &mut Vec<u8>) -> BrokerFrame {
    let request = RequestId(feed.below(8) as u32);
    let handle = TopicHandle(feed.below(3) as u32);
    let code = feed.one_of(RefuseCode::ALL);
    let offset = Offset(feed.number());
    let counter = Counter(feed.number());
    match feed.below(23) {
        0 => BrokerFrame::Ping { number: feed.number() },
        1 => BrokerFrame::Pong { number: feed.number() },
        2 => BrokerFrame::Close {
            sequence: feed.number(),
            code: feed.one_of(CloseCode::ALL),
            text: String::new(),
        },
        3 | 4 => BrokerFrame::Welcome {
            time: Wall(feed.number()),
            keepalive_secs: u16::from(feed.byte()),
            message_bytes_max: feed.number() as u32,
            window: u16::from(feed.byte()),
            crl_number: feed.number(),
            version: "0.1.0".to_owned(),
        },
        5 => BrokerFrame::Done { request },
        6 => BrokerFrame::Refused { request, code, detail: feed.number(), text: String::new() },
        7 => {
            let name = TopicName::parse(feed.one_of(&TOPICS[..3])).expect("a good name");
            opened(request, handle, name, offset)
        }
        8 => BrokerFrame::Subscribed { request, matched: u32::from(feed.byte()), others: 0 },
        9 => BrokerFrame::Published { slot: feed.below(3) as u16, topic: handle, counter, offset },
        10 => {
            let (slot, detail) = (feed.below(3) as u16, feed.number());
            BrokerFrame::PublishRefused { slot, topic: handle, counter, code, detail }
        }
        11 | 12 => record(topic(feed), feed.below(4), handle, offset),
        13 => sender(handle),
        14 | 15 => {
            let epoch = Epoch(feed.below(4) as u32);
            message(topic(feed), &Place { handle, offset, epoch, counter }, bodies)
        }
        16 => BrokerFrame::CaughtUp { topic: handle, next: offset },
        17 => BrokerFrame::Gap { topic: handle, from: offset, to: Offset(feed.number()) },
        18 => BrokerFrame::Ended { topic: handle, code },
        19 => {
            let parties = [&STAGE.alice, &STAGE.bob, &STAGE.carol, &STAGE.broker];
            let entry = ClientEntry { certificate: feed.one_of(&parties).1.der().to_vec(), last_seen: NOW };
            BrokerFrame::Clients { request, more: feed.byte() % 4 == 1, clients: vec![entry] }
        }
        20 => BrokerFrame::Topics { request, more: feed.byte() % 4 == 1, topics: Vec::new() },
        21 => BrokerFrame::CrlChanged { number: feed.number() },
        _ => {
            let list = STAGE.world.crl(&[*STAGE.bob.1.serial()], 2);
            let from = feed.below(3) * 200;
            let part = list[from.min(list.len())..].to_vec();
            BrokerFrame::CrlPart { request, number: 2, total: list.len() as u32, from: from as u32, part }
        }
    }
}

/// Sequences as they should be, for mutations to spoil.
pub fn seeds() -> Vec<Vec<u8>> {
    // One frame: request, handle, code, offset, counter, which, what it needs.
    let welcome = [3, 0, 0, 0, 0, 0, 0, 3, 9, 60, 254, 64, 0];
    let subscribe = [0, 0, 2, 0, 0];
    let deliver = |topic: u8, request: u8| [7, topic, 1, 8, request, 3, 3];
    let publish = [0, 0, 0, 2];
    let published = |counter: u8| [4, 0, 0, 1, 0, 9, counter, 9, 0];
    let clients = [4, 0, 1, 0, 0, 0, 0, 19, 1, 0];
    let done = |request: u8| [4, 0, request, 0, 0, 0, 0, 5];
    let again = [11];
    vec![
        [&welcome[..], &subscribe, &deliver(0, 1), &deliver(1, 1)].concat(),
        [&welcome[..], &publish, &publish, &deliver(0, 1), &published(0), &published(1)].concat(),
        [&welcome[..], &publish, &deliver(0, 1), &again, &welcome, &deliver(0, 1), &published(0)].concat(),
        [&welcome[..], &[0, 1, 0, 4], &clients, &done(1), &done(2), &deliver(1, 2)].concat(),
        [&welcome[..], &subscribe, &deliver(0, 1), &[4, 0, 0, 1, 0, 9, 0, 17, 12], &[10, 17], &again]
            .concat(),
        [&welcome[..], &[0, 0, 0, 7, 0, 0, 0, 8, 0, 0, 0, 9, 0, 0, 0, 6], &clients, &[8, 2], &[0x49; 8]]
            .concat(),
    ]
}

/// Mutations of seeds that lead nowhere would lead nowhere too.
#[test]
fn seeds_of_the_client_lead_somewhere() {
    let plays: Vec<Play> = seeds().iter().map(|seed| play(seed)).collect();
    let shown: Vec<usize> = plays.iter().map(|play| play.shown).collect();
    let answered: Vec<usize> = plays.iter().map(|play| play.answered.len()).collect();
    assert!(shown[0] >= 3, "messages are shown: {shown:?}");
    assert!(answered[1] >= 2, "publishes are answered: {answered:?}");
}
