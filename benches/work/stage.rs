//! A broker core in memory and clients made of the session layer alone, for work that is counted.
//!
//! What the broker does to be counted stands in [`Stage::serve`], so that a counter can be on there and
//! off for the rest. Bodies are bytes of the right length: a broker cannot tell.

use std::io::IoSlice;

use sealmq::base::entropy::random_array;
use sealmq::base::ids::{ConnId, Counter, Epoch, PublisherId, RequestId, TopicHandle};
use sealmq::base::names::{TopicFilter, TopicName};
use sealmq::base::time::{Mono, Now};
use sealmq::base::transmit::Transmit;
use sealmq::broker::{Broker, BrokerConfig, BrokerEvent, Identity};
use sealmq::chain::{Chain, Delegation, DeltaBuilder, Genesis, History, JoinPolicy, Role as MemberRole};
use sealmq::crypto::cert::testing::{Seeded, World, name, world};
use sealmq::crypto::cert::{Certificate, Role};
use sealmq::crypto::digest::sha256;
use sealmq::crypto::ed25519::MessageSigner;
use sealmq::crypto::key::PrivateKey;
use sealmq::session::client::{ClientHandshake, Step, Surroundings};
use sealmq::session::{Opener, Sealer};
use sealmq::store::Memory;
use sealmq::wire::body::{Body, BodyRef};
use sealmq::wire::frame::{BrokerFrame, ClientFrame};
use sealmq::wire::handshake::LENGTH_BYTES;
use sealmq::wire::values::{Durability, Retention, Start};

/// Messages that a topic keeps: from then on each is one for another.
pub const KEPT: u64 = 1024;
/// Chunks of one write.
const SLICES: usize = 256;

pub struct Stage {
    world: World,
    broker: Broker,
    now: Now,
    /// Whether handshakes and set-up are part of what is counted.
    pub counts_all: bool,
    entropy: Seeded,
}

/// A client's end of a session.
pub struct Peer {
    pub id: ConnId,
    key: PrivateKey,
    certificate: Certificate,
    sealer: Sealer,
    opener: Opener,
    held: Vec<u8>,
    pub frames: Vec<BrokerFrame>,
}

/// A topic, and the place in it of the one who publishes.
pub struct Author {
    pub peer: Peer,
    topic: TopicHandle,
    epoch: Epoch,
    next: u64,
}

/// Bytes on their way to a client.
pub type Written = (ConnId, Vec<u8>);

impl Stage {
    pub fn new() -> Stage {
        let world = world();
        let now = Now { mono: Mono(1_000_000), wall: world.now() };
        let certificate = world.verified(&world.broker.1, Role::Broker);
        let identity = Identity { certificate, key: world.broker.0.clone() };
        let (trust, store) = (world.trust.clone(), Box::new(Memory::new(1 << 30)));
        let broker =
            Broker::new(BrokerConfig::default(), identity, trust, store, Box::new(Seeded::new(3)), now);
        Stage { world, broker, now, counts_all: false, entropy: Seeded::new(4) }
    }

    /// What the broker does when this has come for it; `keep` takes what it writes.
    #[inline(never)]
    pub fn serve(
        &mut self,
        came: &[(ConnId, &[u8])],
        out: &mut Transmit,
        keep: &mut dyn FnMut(ConnId, &[u8]),
    ) {
        self.work(came, out, keep);
    }

    /// The same where it is not to be counted.
    fn work(&mut self, came: &[(ConnId, &[u8])], out: &mut Transmit, keep: &mut dyn FnMut(ConnId, &[u8])) {
        for (id, bytes) in came {
            self.broker.handle_bytes(*id, bytes, self.now);
        }
        loop {
            let is_left = self.broker.turn(self.now);
            let mut is_idle = true;
            while let Some(event) = self.broker.poll_event() {
                let BrokerEvent::Transmit(id) = event else { continue };
                while self.broker.poll_transmit(id, self.now, out) {
                    is_idle = false;
                    while !out.is_empty() {
                        let mut slices = [IoSlice::new(&[]); SLICES];
                        let filled = out.slices(&mut slices);
                        slices[..filled].iter().for_each(|slice| keep(id, slice));
                        let taken = slices[..filled].iter().map(|slice| slice.len()).sum();
                        out.advance(taken);
                    }
                }
            }
            if !is_left && is_idle {
                return;
            }
        }
    }

    /// Time goes on, for the handshakes' budget above all.
    pub fn advance(&mut self, millis: u64) {
        self.now = Now { mono: Mono(self.now.mono.0 + millis * 1000), wall: self.now.wall };
    }

    /// What the broker writes when these bytes have come.
    pub fn exchange(&mut self, came: &[Written]) -> Vec<Written> {
        self.advance(20);
        let mut written: Vec<Written> = Vec::new();
        let came: Vec<(ConnId, &[u8])> = came.iter().map(|(id, bytes)| (*id, &bytes[..])).collect();
        let mut keep = |id: ConnId, bytes: &[u8]| match written.last_mut() {
            Some((last, all)) if *last == id => all.extend_from_slice(bytes),
            _ => written.push((id, bytes.to_vec())),
        };
        match self.counts_all {
            true => self.serve(&came, &mut Transmit::new(), &mut keep),
            false => self.work(&came, &mut Transmit::new(), &mut keep),
        }
        written
    }

    /// Connects `count` clients at once, each of them `who`, to their Welcome.
    pub fn connect(&mut self, who: &str, count: usize) -> Vec<Peer> {
        let (key, der) = self.world.client(who);
        let certificate = self.world.verified(&der, Role::Client);
        let mut starting = Vec::new();
        let mut came = Vec::new();
        for _ in 0..count {
            let id = self.broker.accept("127.0.0.1:1".parse().expect("an address"), self.now);
            let (state, hello) = ClientHandshake::start(&mut self.entropy);
            starting.push((id, Some(state)));
            came.push((id, hello));
        }
        let mut peers: Vec<Peer> = Vec::new();
        while peers.len() < count || peers.iter().any(|peer| peer.frames.is_empty()) {
            let written = self.exchange(&std::mem::take(&mut came));
            for (id, mut bytes) in written {
                if let Some(peer) = peers.iter_mut().find(|peer| peer.id == id) {
                    peer.take(&bytes);
                    continue;
                }
                let place = starting.iter_mut().find(|(other, _)| *other == id).expect("it was accepted");
                let state = place.1.take().expect("one message at a time");
                let message = bytes.split_off(LENGTH_BYTES);
                let with = Surroundings {
                    trust: &self.world.trust,
                    certificate: &certificate,
                    key: &key,
                    host: Some("localhost"),
                    now: self.now.wall,
                    entropy: &mut self.entropy,
                };
                match state.handle(message[0], &message[1..], with).expect("the broker is polite") {
                    Step::Handshake(next, bytes) => {
                        place.1 = Some(next);
                        came.push((id, bytes));
                    }
                    Step::Active(active, bytes, ..) => {
                        came.push((id, bytes));
                        let (sealer, opener) = active.keys.into_client();
                        let (key, certificate) = (key.clone(), certificate.clone());
                        let (held, frames) = (Vec::new(), Vec::new());
                        peers.push(Peer { id, key, certificate, sealer, opener, held, frames });
                    }
                }
            }
        }
        peers.iter_mut().for_each(|peer| peer.frames.clear());
        peers
    }

    /// Sends frames and takes what comes of them.
    pub fn ask(&mut self, peer: &mut Peer, frames: &[ClientFrame]) {
        let record = peer.record(self.now, frames, &[], &mut self.entropy);
        let mut came = vec![(peer.id, record)];
        // What a store has completed shows in the turn after it.
        for _ in 0..4 {
            for (id, bytes) in self.exchange(&std::mem::take(&mut came)) {
                if id == peer.id {
                    peer.take(&bytes);
                }
            }
        }
    }

    /// A topic of alice's that bob reads, in `subscribers` sessions.
    pub fn author(&mut self, subscribers: usize) -> (Author, Vec<Peer>) {
        let mut readers = self.connect("bob", subscribers);
        let mut peer = self.connect("alice", 1).remove(0);
        let topic = TopicName::parse("bench/work").expect("a good name");
        let genesis = Genesis {
            name: topic.clone(),
            nonce: [5; 32],
            owner: peer.certificate.fingerprint(),
            owner_name: peer.certificate.name().clone(),
            join: JoinPolicy::Closed,
            history: History::All,
        };
        let genesis = genesis.sign(&peer.key, &mut self.entropy).expect("a sound machine");
        let chain = Chain::begin(&genesis, &peer.key.public()).expect("a good genesis");
        let (epoch, request) = (chain.next_epoch(), RequestId(1));
        let mut delta = DeltaBuilder::new(&chain, peer.certificate.fingerprint(), self.now.wall);
        delta.add(readers[0].certificate.fingerprint(), name("bob"), MemberRole::Member);
        delta.new_epoch([9; 32], Vec::new());
        let recipients = delta.recipients().expect("good members");
        let wraps: Vec<Vec<u8>> = recipients.iter().map(|to| to.0.repeat(8)).collect();
        let delta = delta.sign(&wraps, &peer.key, &mut self.entropy).expect("a good record");
        let retention = Retention { count: KEPT, ..Retention::default() };
        let durability = Durability::Memory;
        let create = ClientFrame::Create { request, name: topic, durability, retention, genesis, delta };
        self.ask(&mut peer, &[ClientFrame::Wraps { wraps }, create]);
        let handle = peer.frames.iter().find_map(|frame| match frame {
            BrokerFrame::Topic { topic, .. } => Some(*topic),
            _ => None,
        });
        let id = PublisherId([6; 16]);
        let delegation = Delegation {
            sender: peer.certificate.fingerprint(),
            publisher: id,
            key: MessageSigner::generate(&mut self.entropy).public(),
            not_before: self.now.wall,
            not_after: self.now.wall + std::time::Duration::from_secs(86_400),
        };
        let delegation = delegation.sign(&peer.key, &mut self.entropy).expect("a sound machine");
        self.ask(&mut peer, &[ClientFrame::Publisher { slot: 0, id, delegation }]);
        let filter = TopicFilter::parse("bench/work").expect("a good filter");
        for reader in &mut readers {
            let (filter, start) = (filter.clone(), Start::Latest);
            self.ask(reader, &[ClientFrame::Subscribe { request, filter, start }]);
        }
        let topic = handle.expect("the topic was made");
        (Author { peer, topic, epoch, next: 0 }, readers)
    }
}

impl Author {
    /// A record of `count` messages whose sealed bodies have `len` bytes.
    pub fn record(&mut self, stage: &mut Stage, count: usize, len: usize) -> Vec<u8> {
        let body = vec![0x5a; len];
        let sha256 = sha256(&body);
        let frames: Vec<ClientFrame> = (0..count)
            .map(|_| {
                let counter = Counter(self.next);
                self.next += 1;
                let body = Body::Beside(BodyRef { len: len as u32, sha256 });
                ClientFrame::Publish { slot: 0, topic: self.topic, epoch: self.epoch, counter, body }
            })
            .collect();
        let bodies = body.repeat(count);
        self.peer.record(stage.now, &frames, &bodies, &mut stage.entropy)
    }
}

impl Peer {
    fn record(&mut self, now: Now, frames: &[ClientFrame], bodies: &[u8], entropy: &mut Seeded) -> Vec<u8> {
        let mut out = Vec::new();
        let start = self.sealer.begin(&mut out);
        frames.iter().for_each(|frame| frame.encode(&mut out));
        self.sealer.finish(&mut out, start, now.wall, &random_array(entropy));
        out.extend_from_slice(bodies);
        out
    }

    /// Opens records, all of which have come whole and have no bodies.
    fn take(&mut self, bytes: &[u8]) {
        self.held.extend_from_slice(bytes);
        while let Some((len, rest)) = self.held.split_first_chunk_mut::<LENGTH_BYTES>() {
            let len = u32::from_be_bytes(*len) as usize;
            let Some(token) = rest.get_mut(..len) else { return };
            let frames = self.opener.open(token).expect("a good record");
            self.frames.extend(BrokerFrame::decode_all(frames).expect("good frames"));
            self.held.drain(..LENGTH_BYTES + len);
        }
    }
}
