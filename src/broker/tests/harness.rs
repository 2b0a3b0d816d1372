//! A broker core, and clients made of the session layer alone: each frame is the test's own.

use std::time::Duration;

pub use super::peer::Peer;

use crate::base::ids::{ConnId, Counter, Epoch, Offset, PublisherId, TopicHandle, TopicId};
use crate::base::names::{Name, TopicFilter, TopicName};
use crate::base::transmit::Transmit;
use crate::base::{Mono, Now};
use crate::broker::{Broker, BrokerConfig, BrokerEvent, Identity};
use crate::chain::{
    Chain, Delegation, DeltaBuilder, Genesis, History, JoinPolicy, JoinRequest, PREVIOUS_KEY_BYTES,
    Role as MemberRole,
};
use crate::crypto::cert::testing::{NOON, Seeded, World, key, name, world};
use crate::crypto::cert::{Certificate, Role};
use crate::crypto::digest::sha256;
use crate::crypto::ed25519::MessageSigner;
use crate::crypto::key::PrivateKey;
use crate::session::client::{ClientHandshake, Step, Surroundings};
use crate::store::{Memory, Store};
use crate::wire::body::{Body, BodyRef};
use crate::wire::frame::{BrokerFrame, ClientFrame};
use crate::wire::handshake::{MessageType, Refusal};
use crate::wire::values::{Durability, Retention, Start, TopicEntry};

pub struct Harness {
    pub world: World,
    pub broker: Broker,
    pub now: Now,
    /// Connections that the broker has said are dead.
    pub closed: Vec<ConnId>,
    /// Of topics that are created from now on.
    pub policy: JoinPolicy,
    pub durability: Durability,
    next_seed: u64,
}

impl Harness {
    pub fn new() -> Harness {
        Harness::with(BrokerConfig::default(), Box::new(Memory::new(64 * 1024 * 1024)))
    }

    pub fn with(config: BrokerConfig, store: Box<dyn Store>) -> Harness {
        let world = world();
        let now = Now { mono: Mono(1_000_000), wall: NOON };
        let identity = Identity {
            certificate: world.verified(&world.broker.1, Role::Broker),
            key: world.broker.0.clone(),
        };
        let trust = world.trust.clone();
        let broker = Broker::new(config, identity, trust, store, Box::new(Seeded::new(7)), now);
        let (policy, durability) = (JoinPolicy::Ask, Durability::Memory);
        Harness { world, broker, now, closed: Vec::new(), policy, durability, next_seed: 100 }
    }

    pub fn advance(&mut self, by: Duration) {
        self.now = Now { mono: self.now.mono + by, wall: self.now.wall + by };
    }

    pub fn accept(&mut self) -> ConnId {
        self.broker.accept("192.0.2.7:4000".parse().expect("an address"), self.now)
    }

    pub fn seeded(&mut self) -> Seeded {
        self.next_seed += 1;
        Seeded::new(self.next_seed)
    }

    /// Lets the broker work until nothing is left, time standing still but for the RSA budget.
    pub fn settle(&mut self) {
        for _ in 0..1000 {
            let more = self.broker.turn(self.now);
            while let Some(event) = self.broker.poll_event() {
                if let BrokerEvent::Close(id) = event {
                    self.closed.push(id);
                }
            }
            if !more {
                return;
            }
        }
        panic!("the broker always has work left");
    }

    /// All that the broker has for a connection.
    pub fn drain(&mut self, id: ConnId) -> Vec<u8> {
        self.settle();
        let mut out = Transmit::new();
        while self.broker.poll_transmit(id, self.now, &mut out) {
            self.settle();
        }
        let bytes = out.take_all();
        self.settle();
        bytes
    }

    /// Takes what is ready for the client once, and no more, as a socket that has filled up does:
    /// what the broker has then is read for it, and not sent.
    pub fn stall(&mut self, peer: &mut Peer) {
        let mut out = Transmit::new();
        self.broker.poll_transmit(peer.id, self.now, &mut out);
        peer.take(&out.take_all());
        self.settle();
    }

    /// A client that has come through the handshake and has read its Welcome.
    pub fn connect(&mut self, who: &str) -> Peer {
        let (key, der) = self.world.client(who);
        let certificate = self.world.verified(&der, Role::Client);
        let mut peer = self.handshake(key, certificate);
        self.read(&mut peer);
        assert!(matches!(peer.frames.remove(0), BrokerFrame::Welcome { .. }));
        peer
    }

    pub fn handshake(&mut self, key: PrivateKey, certificate: Certificate) -> Peer {
        let id = self.accept();
        let mut entropy = self.seeded();
        let (mut state, hello) = ClientHandshake::start(&mut entropy);
        self.broker.handle_bytes(id, &hello, self.now);
        loop {
            self.advance(Duration::from_millis(20));
            let bytes = self.drain(id);
            let (kind, payload) = (bytes[4], &bytes[5..]);
            let surroundings = Surroundings {
                trust: &self.world.trust,
                certificate: &certificate,
                key: &key,
                host: Some("localhost"),
                now: self.now.wall,
                entropy: &mut entropy,
            };
            match state.handle(kind, payload, surroundings).expect("the broker is polite") {
                Step::Handshake(next, bytes) => {
                    state = next;
                    self.broker.handle_bytes(id, &bytes, self.now);
                }
                Step::Active(active, bytes) => {
                    self.broker.handle_bytes(id, &bytes, self.now);
                    let (sealer, opener) = active.keys.into_client();
                    return Peer::new(id, key, certificate, sealer, opener);
                }
            }
        }
    }

    /// The clear refusal that is the broker's next message to a connection.
    pub fn refusal(&mut self, id: ConnId) -> Refusal {
        let bytes = self.drain(id);
        assert_eq!(bytes.get(4), Some(&(MessageType::Refusal as u8)), "a refusal in clear");
        Refusal::decode(&bytes[5..]).expect("a good refusal")
    }

    pub fn send(&mut self, peer: &mut Peer, frames: &[ClientFrame], bodies: &[&[u8]]) {
        let bytes = peer.seal(frames, bodies, self.now.wall);
        self.broker.handle_bytes(peer.id, &bytes, self.now);
    }

    /// Takes all records that the broker has for the client.
    pub fn read(&mut self, peer: &mut Peer) {
        let bytes = self.drain(peer.id);
        peer.take(&bytes);
    }

    /// Sends one command and takes what comes of it.
    pub fn ask(&mut self, peer: &mut Peer, frame: ClientFrame) -> Vec<BrokerFrame> {
        self.advance(Duration::from_millis(20));
        self.send(peer, &[frame], &[]);
        self.read(peer);
        std::mem::take(&mut peer.frames)
    }

    /// Creates a topic whose members are the owner and the clients named; returns its handle.
    pub fn create(
        &mut self,
        owner: &mut Peer,
        topic: &str,
        members: &[&str],
        retention: Retention,
    ) -> TopicHandle {
        self.create_chain(owner, topic, members, retention).0
    }

    /// As [`Harness::create`], with what its records add up to.
    pub fn create_chain(
        &mut self,
        owner: &mut Peer,
        topic: &str,
        members: &[&str],
        retention: Retention,
    ) -> (TopicHandle, Chain) {
        for who in members {
            let (_, der) = self.world.client(who);
            self.broker.know_client(&der, self.now).expect("a good certificate");
        }
        let (frames, chain) = self.creation(owner, topic, members, retention);
        for frame in frames {
            self.send(owner, &[frame], &[]);
        }
        for _ in 0..20 {
            self.advance(Duration::from_millis(20));
            self.read(owner);
            if owner.frames.iter().any(|frame| matches!(frame, BrokerFrame::CaughtUp { .. })) {
                break;
            }
        }
        let frames = std::mem::take(&mut owner.frames);
        match frames.first() {
            Some(BrokerFrame::Topic { topic, .. }) => (*topic, chain),
            other => panic!("no topic but {other:?}"),
        }
    }

    /// The frames that create a topic. The wraps are of the right size and hold nothing.
    pub fn creation(
        &mut self,
        owner: &mut Peer,
        topic: &str,
        members: &[&str],
        retention: Retention,
    ) -> (Vec<ClientFrame>, Chain) {
        let owner_name = owner.certificate.name().clone();
        self.creation_as(owner, owner_name, topic, members, retention)
    }

    /// The same by an owner who gives itself this name.
    pub fn creation_as(
        &mut self,
        owner: &mut Peer,
        owner_name: Name,
        topic: &str,
        members: &[&str],
        retention: Retention,
    ) -> (Vec<ClientFrame>, Chain) {
        let mut entropy = self.seeded();
        let genesis = Genesis {
            name: TopicName::parse(topic).expect("a good topic"),
            nonce: crate::base::entropy::random_array(&mut entropy),
            owner: owner.certificate.fingerprint(),
            owner_name,
            join: self.policy,
            history: History::All,
        };
        let name_of_topic = genesis.name.clone();
        let genesis = genesis.sign(&owner.key, &mut entropy).expect("a good genesis");
        let mut chain = Chain::begin(&genesis, &owner.key.public()).expect("a good genesis");
        let mut builder = DeltaBuilder::new(&chain, owner.certificate.fingerprint(), self.now.wall);
        for who in members {
            let fingerprint = self.world.client(who).0.public().fingerprint();
            builder.add(fingerprint, name(who), MemberRole::Member);
        }
        builder.new_epoch([9; 32], Vec::new());
        let wraps: Vec<Vec<u8>> =
            builder.recipients().expect("good members").iter().map(|to| to.0.repeat(8)).collect();
        let delta = builder.sign(&wraps, &owner.key, &mut entropy).expect("a good delta");
        let change = chain.check(&delta, &owner.key.public()).expect("a good delta");
        chain.apply(change).expect("it is the next one");
        let request = owner.request();
        let frames = vec![
            ClientFrame::Wraps { wraps },
            ClientFrame::Create {
                request,
                name: name_of_topic,
                durability: self.durability,
                retention,
                genesis,
                delta,
            },
        ];
        (frames, chain)
    }

    /// A record on top of `chain` and its wraps, which hold nothing; it starts an epoch if it must.
    pub fn record(
        &mut self,
        signer: &Peer,
        chain: &Chain,
        edit: impl FnOnce(&mut DeltaBuilder<'_>),
    ) -> (Vec<Vec<u8>>, Vec<u8>) {
        let mut builder = DeltaBuilder::new(chain, signer.certificate.fingerprint(), self.now.wall);
        edit(&mut builder);
        if builder.needs_epoch() {
            builder.new_epoch([7; 32], vec![1; PREVIOUS_KEY_BYTES]);
        }
        let wraps: Vec<Vec<u8>> =
            builder.recipients().expect("good members").iter().map(|to| to.0.repeat(8)).collect();
        let record = builder.sign(&wraps, &signer.key, &mut self.seeded()).expect("a good record");
        (wraps, record)
    }

    /// Appends a record and gives the answer to it; the chain takes it over if the broker does.
    pub fn amend(
        &mut self,
        signer: &mut Peer,
        topic: TopicHandle,
        chain: &mut Chain,
        edit: impl FnOnce(&mut DeltaBuilder<'_>),
    ) -> Vec<String> {
        let (wraps, record) = self.record(signer, chain, edit);
        let request = signer.request();
        self.advance(Duration::from_millis(20));
        let frames =
            [ClientFrame::Wraps { wraps }, ClientFrame::Append { request, topic, record: record.clone() }];
        self.send(signer, &frames, &[]);
        for _ in 0..10 {
            self.advance(Duration::from_millis(5));
            self.read(signer);
        }
        let mut told = brief(&std::mem::take(&mut signer.frames));
        told.retain(|line| line == "done" || line.starts_with("refused"));
        if told.contains(&"done".to_owned()) {
            let change = chain.check(&record, &signer.key.public()).expect("the broker took it");
            chain.apply(change).expect("it is the next one");
        }
        told
    }

    /// Asks to join a topic; returns the signed request too.
    pub fn join(&mut self, peer: &mut Peer, topic: &str, id: TopicId) -> (Vec<u8>, Vec<BrokerFrame>) {
        let asked = JoinRequest {
            name: TopicName::parse(topic).expect("a good topic"),
            topic: id,
            who: peer.certificate.fingerprint(),
            who_name: peer.certificate.name().clone(),
            time: self.now.wall,
        };
        let ask = asked.sign(&peer.key, &mut self.seeded()).expect("a sound machine");
        let frame = ClientFrame::Join { request: peer.request(), name: asked.name, ask: ask.clone() };
        (ask, self.ask(peer, frame))
    }

    /// Lets the broker enforce a list of these clients' certificates.
    pub fn revoke(&mut self, number: u64, who: &[&str]) {
        let serials: Vec<_> =
            who.iter().map(|who| *self.world.issue(who, who, Role::Client, &[]).serial()).collect();
        let crl = self.world.crl(&serials, number);
        let mut trust = self.world.trust.clone();
        trust.update_crl(&crl, self.now.wall).expect("a good list");
        self.broker.reload(None, trust, self.now);
        self.settle();
    }

    /// What the client is told of one topic.
    pub fn listed(&mut self, peer: &mut Peer, topic: &str) -> TopicEntry {
        let filter = TopicFilter::parse(topic).expect("a good filter");
        let request = peer.request();
        let frames = self.ask(peer, ClientFrame::ListTopics { request, after: String::new(), filter });
        let listing = frames.iter().find_map(|frame| match frame {
            BrokerFrame::Topics { topics, .. } => topics.first().cloned(),
            _ => None,
        });
        listing.expect("the topic is listed")
    }

    /// One of the broker's counters.
    pub fn stat(&mut self, peer: &mut Peer, name: &str) -> u64 {
        let request = peer.request();
        let frames = self.ask(peer, ClientFrame::GetStats { request });
        let stats = frames.iter().find_map(|frame| match frame {
            BrokerFrame::Stats { stats, .. } => Some(stats),
            _ => None,
        });
        let stats = stats.expect("the counters are answered");
        stats.iter().find(|stat| stat.name == name).expect("a counter of this name").value
    }

    /// Publishes bodies one by one and takes the answers' offsets.
    pub fn publish(
        &mut self,
        peer: &mut Peer,
        topic: TopicHandle,
        counters: std::ops::Range<u64>,
    ) -> Vec<u64> {
        for counter in counters.clone() {
            let body = format!("body {counter}").into_bytes();
            self.send(peer, &[publish(topic, counter, &body)], &[&body]);
        }
        self.read(peer);
        let offsets = peer.frames.iter().filter_map(|frame| match frame {
            BrokerFrame::Published { offset, .. } => Some(offset.0),
            _ => None,
        });
        let offsets: Vec<u64> = offsets.collect();
        assert_eq!(offsets.len() as u64, counters.end - counters.start, "{:?}", peer.frames);
        peer.frames.clear();
        offsets
    }

    /// Gives the peer's publisher id slot 0.
    pub fn name_publisher(&mut self, peer: &mut Peer) {
        self.advance(Duration::from_millis(20));
        let frame = publisher(peer.certificate.name().as_str());
        self.send(peer, &[frame], &[]);
        self.settle();
    }

    /// Opens a topic by name and takes what comes first.
    pub fn open(&mut self, peer: &mut Peer, topic: &str, start: Start) -> Vec<BrokerFrame> {
        let request = peer.request();
        self.ask(peer, ClientFrame::Open { request, name: TopicName::parse(topic).expect("good"), start })
    }

    pub fn subscribe(&mut self, peer: &mut Peer, filter: &str, start: Start) -> Vec<BrokerFrame> {
        let request = peer.request();
        let filter = TopicFilter::parse(filter).expect("a good filter");
        self.ask(peer, ClientFrame::Subscribe { request, filter, start })
    }
}

/// A publisher id of `who`'s to be spoken of as slot 0, with its delegation.
pub fn publisher(who: &str) -> ClientFrame {
    let id = PublisherId([5; 16]);
    ClientFrame::Publisher { slot: 0, id, delegation: delegation(who, id) }
}

/// What `who` says for the key that signs under a publisher id.
pub fn delegation(who: &str, publisher: PublisherId) -> Vec<u8> {
    let signer = key(who);
    let delegation = Delegation {
        sender: signer.public().fingerprint(),
        publisher,
        key: MessageSigner::generate(&mut Seeded::new(1)).public(),
        not_before: NOON,
        not_after: NOON + Duration::from_secs(7 * 86_400),
    };
    delegation.sign(&signer, &mut Seeded::new(2)).expect("a sound machine")
}

pub fn publish(topic: TopicHandle, counter: u64, body: &[u8]) -> ClientFrame {
    let body = Body::Beside(BodyRef { len: body.len() as u32, sha256: sha256(body) });
    ClientFrame::Publish { slot: 0, topic, epoch: Epoch(0), counter: Counter(counter), body }
}

/// Offsets of the messages among frames.
pub fn messages(frames: &[BrokerFrame]) -> Vec<u64> {
    let offset = |frame: &BrokerFrame| match frame {
        BrokerFrame::Message { offset, .. } => Some(offset.0),
        _ => None,
    };
    frames.iter().filter_map(offset).collect()
}

/// A short form of frames, to compare sequences.
pub fn brief(frames: &[BrokerFrame]) -> Vec<String> {
    let one = |frame: &BrokerFrame| match frame {
        BrokerFrame::Record { offset, wrap, .. } => format!("record {offset} wrap {}", wrap.len()),
        BrokerFrame::Message { offset, .. } => format!("message {offset}"),
        BrokerFrame::CaughtUp { next: Offset(next), .. } => format!("caught up {next}"),
        BrokerFrame::Gap { from, to, .. } => format!("gap {from}..{to}"),
        BrokerFrame::Topic { start, end, notice, .. } => format!("topic {start}..{end} {notice:?}"),
        BrokerFrame::Subscribed { matched, others, .. } => format!("subscribed {matched} {others}"),
        BrokerFrame::Refused { code, .. } => format!("refused {code:?}"),
        BrokerFrame::PublishRefused { code, detail, .. } => format!("publish refused {code:?} {detail}"),
        BrokerFrame::Published { counter, offset, .. } => format!("published {counter} at {offset}"),
        BrokerFrame::Close { code, .. } => format!("close {code:?}"),
        BrokerFrame::Ended { code, .. } => format!("ended {code:?}"),
        BrokerFrame::Requested { entry } => format!("requested {}", entry.topic),
        BrokerFrame::RotateDue { name } => format!("rotate due {name}"),
        other => other.label().to_lowercase(),
    };
    frames.iter().map(one).collect()
}
