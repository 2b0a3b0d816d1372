//! sealmq with as little work as is honest: the whole handshake, each token opened, each frame read,
//! each message counted by its publisher's counter. Bodies are not opened, and not hashed; publishers
//! send bodies that were sealed before.

use std::collections::VecDeque;
use std::rc::Rc;

use anyhow::{Context, Result, anyhow, bail, ensure};
use sealmq::base::entropy::random_array;
use sealmq::base::ids::{Counter, Offset, RequestId, TopicHandle};
use sealmq::base::names::TopicFilter;
use sealmq::base::time::Wall;
use sealmq::net::{SystemEntropy, clock};
use sealmq::session::client::{ClientHandshake, Step, Surroundings};
use sealmq::session::{Opener, Sealer};
use sealmq::wire::Reader;
use sealmq::wire::body::{Body, BodyRef};
use sealmq::wire::frame::{BrokerFrame, ClientFrame};
use sealmq::wire::handshake::LENGTH_BYTES;
use sealmq::wire::values::{Durability, Retention, Start};

use super::author::Shared;
use super::{Errand, Seen, Talk};
use crate::pki::Pki;

pub struct Light {
    pki: Rc<Pki>,
    errand: Errand,
    kept: Kept,
    /// The topics and messages of whoever publishes, and how many of the topics are used, in turn.
    author: Option<Shared>,
    topics: usize,
    entropy: SystemEntropy,
    /// The timestamp of tokens; a run is short, and nobody judges it.
    now: Wall,
    phase: Phase,
    held: Vec<u8>,
    /// Bytes of bodies that are still to come, and are not looked at.
    skip: usize,
    /// Frames for the next record, and the bodies behind them.
    frames: VecDeque<ClientFrame>,
    raw: Vec<u8>,
    /// Messages that were asked for and not yet written.
    wanted: u64,
    next: u64,
    /// Of the author's topics, in their order.
    handles: Vec<TopicHandle>,
    is_subscribed: bool,
    /// The counter that is due, by the number of the topic's handle.
    due: Vec<u64>,
}

/// What a topic's creator asks for.
#[derive(Clone, Copy)]
pub struct Kept {
    pub durability: Durability,
    pub retention: Retention,
}

enum Phase {
    /// Taken out for each step.
    Handshake(Option<ClientHandshake>),
    Session(Box<(Sealer, Opener)>),
}

const SUBSCRIBE: RequestId = RequestId(1);
/// The first topic's; the others count on.
const CREATE: u32 = 2;
/// What stands in a topic before its first message: genesis and first delta.
const FIRST_RECORDS: u64 = 2;
/// The broker numbers the topics of a session from 1 on.
const HANDLE_MAX: usize = 1 << 20;
/// Types of the frames that come once for each message: these are read in place.
const PUBLISHED: u8 = 0x45;
const MESSAGE: u8 = 0x49;
/// Bodies of one record; PROTOCOL.md, 4.
const BODIES_BYTES_MAX: usize = 2 * 1024 * 1024;
const PUBLISH_FRAME_BYTES: usize = 58;

impl Light {
    pub fn new(
        pki: &Rc<Pki>,
        errand: Errand,
        author: Option<Shared>,
        topics: usize,
        kept: Kept,
    ) -> Result<Light> {
        let mut entropy = SystemEntropy::new()?;
        let (state, raw) = ClientHandshake::start(&mut entropy);
        Ok(Light {
            pki: pki.clone(),
            is_subscribed: errand.subscribe.is_none(),
            errand,
            kept,
            author,
            topics,
            entropy,
            now: clock::wall(),
            phase: Phase::Handshake(Some(state)),
            held: Vec::new(),
            skip: 0,
            frames: VecDeque::new(),
            raw,
            wanted: 0,
            next: 0,
            handles: Vec::new(),
            due: Vec::new(),
        })
    }

    /// A handshake message at the front, if it is whole; says whether it was.
    fn handshake(&mut self) -> Result<bool> {
        let Phase::Handshake(state) = &mut self.phase else { return Ok(false) };
        let Some(message) = prefixed(&self.held) else { return Ok(false) };
        let taken = LENGTH_BYTES + message.len();
        let (kind, payload) = message.split_first().context("an empty handshake message")?;
        let identity = self.pki.identity(self.errand.number);
        let with = Surroundings {
            trust: &self.pki.trust,
            certificate: &identity.certificate,
            key: &identity.key,
            host: Some("localhost"),
            now: self.now,
            entropy: &mut self.entropy,
        };
        let state = state.take().context("a handshake that failed goes no further")?;
        match state.handle(*kind, payload, with).map_err(|e| anyhow!("the handshake: {e}"))? {
            Step::Handshake(next, bytes) => {
                self.raw.extend_from_slice(&bytes);
                self.phase = Phase::Handshake(Some(next));
            }
            Step::Active(active, bytes, _) => {
                self.raw.extend_from_slice(&bytes);
                self.phase = Phase::Session(Box::new(active.keys.into_client()));
            }
        }
        self.held.drain(..taken);
        Ok(true)
    }

    /// All whole records at the front.
    fn records(&mut self, seen: &mut Seen) -> Result<()> {
        let mut held = std::mem::take(&mut self.held);
        let mut at = 0;
        while matches!(self.phase, Phase::Session(_)) {
            let skipped = self.skip.min(held.len() - at);
            self.skip -= skipped;
            at += skipped;
            let Some(len) = prefixed(&held[at..]).map(<[u8]>::len) else { break };
            let token = &mut held[at + LENGTH_BYTES..][..len];
            let Phase::Session(session) = &mut self.phase else { break };
            let frames = session.1.open(token).map_err(|e| anyhow!("a record: {e:?}"))?;
            self.read(frames, seen)?;
            at += LENGTH_BYTES + len;
        }
        held.drain(..at);
        self.held = held;
        Ok(())
    }

    fn read(&mut self, mut frames: &[u8], seen: &mut Seen) -> Result<()> {
        while !frames.is_empty() {
            let mut r = Reader::new(frames);
            let (kind, payload) = (r.u8().map_err(malformed)?, r.bytes16().map_err(malformed)?);
            let whole = frames.len() - r.remaining();
            match kind {
                MESSAGE => self.message(payload, seen)?,
                PUBLISHED => seen.acknowledged += 1,
                _ => {
                    let frame = BrokerFrame::decode_all(&frames[..whole]).map_err(malformed)?;
                    frame.into_iter().try_for_each(|frame| self.rare(frame, seen))?;
                }
            }
            frames = &frames[whole..];
        }
        Ok(())
    }

    /// Topic, offset, time, sender, epoch; then the counter, which tells what is missing; then the body.
    fn message(&mut self, payload: &[u8], seen: &mut Seen) -> Result<()> {
        let mut r = Reader::new(payload);
        let topic = r.u32().map_err(malformed)? as usize;
        r.take(8 + 8 + 4 + 4).map_err(malformed)?;
        let counter = r.u64().map_err(malformed)?;
        if topic >= self.due.len() {
            ensure!(topic < HANDLE_MAX, "a topic of number {topic}");
            self.due.resize(topic + 1, self.errand.first);
        }
        let due = &mut self.due[topic];
        ensure!(counter == *due, "message {counter} came where {due} was due");
        *due += 1;
        seen.delivered += 1;
        if r.u8().map_err(malformed)? == 0 {
            self.skip += r.u32().map_err(malformed)? as usize;
        }
        Ok(())
    }

    fn rare(&mut self, frame: BrokerFrame, seen: &mut Seen) -> Result<()> {
        match frame {
            BrokerFrame::Welcome { .. } => self.begin()?,
            BrokerFrame::Topic { request, topic, .. } if request != SUBSCRIBE => {
                ensure!(request.0 == CREATE + self.handles.len() as u32, "topics out of order");
                self.handles.push(topic);
            }
            BrokerFrame::Subscribed { .. } => self.is_subscribed = true,
            BrokerFrame::Ping { number } => self.frames.push_back(ClientFrame::Pong { number }),
            BrokerFrame::Refused { code, text, .. } => bail!("refused: {code:?} {text}"),
            BrokerFrame::PublishRefused { code, .. } => bail!("a publish was refused: {code:?}"),
            BrokerFrame::Close { code, text, .. } => bail!("the broker closed: {code:?} {text}"),
            BrokerFrame::Gap { from, to, .. } => bail!("messages {from} to {to} are no longer kept"),
            BrokerFrame::Ended { code, .. } => bail!("the topic has ended: {code:?}"),
            // Records, senders and the like are what a real client looks at.
            _ => {}
        }
        seen.is_ready = self.is_subscribed && self.has_created();
        Ok(())
    }

    /// What is asked for as soon as the broker has said Welcome.
    fn begin(&mut self) -> Result<()> {
        if let Some(author) = &self.author {
            let Kept { durability, retention } = self.kept;
            for (request, topic) in (CREATE..).zip(&author.topics[..self.topics]) {
                let (genesis, delta) = (topic.genesis.clone(), topic.delta.clone());
                let (request, name) = (RequestId(request), topic.name.clone());
                self.frames.push_back(ClientFrame::Wraps { wraps: topic.wraps.clone() });
                self.frames.push_back(ClientFrame::Create {
                    request,
                    name,
                    durability,
                    retention,
                    genesis,
                    delta,
                });
            }
            let (id, delegation) = (author.publisher, author.delegation.clone());
            self.frames.push_back(ClientFrame::Publisher { slot: 0, id, delegation });
        }
        match self.errand.subscribe {
            Some(topic) => self.ask(topic),
            None => Ok(()),
        }
    }

    fn ask(&mut self, topic: &str) -> Result<()> {
        let filter = TopicFilter::parse(topic).map_err(|e| anyhow!("{e}"))?;
        let start = Start::Offset(Offset(FIRST_RECORDS + self.errand.first));
        self.frames.push_back(ClientFrame::Subscribe { request: SUBSCRIBE, filter, start });
        Ok(())
    }

    fn has_created(&self) -> bool {
        self.author.is_none() || self.handles.len() == self.topics
    }

    /// One record of what waits: frames first, then as many messages as fit.
    fn record(&mut self, out: &mut Vec<u8>) -> Result<()> {
        let Phase::Session(session) = &mut self.phase else { return Ok(()) };
        let start = session.0.begin(out);
        let mut encoded = Vec::new();
        while let Some(frame) = self.frames.front() {
            encoded.clear();
            frame.encode(&mut encoded);
            if encoded.len() > Sealer::room(out, &start) {
                break;
            }
            out.extend_from_slice(&encoded);
            self.frames.pop_front();
        }
        let first = self.next;
        if let Some(author) = self.author.as_deref().filter(|_| self.frames.is_empty()) {
            let mut bodies = 0;
            while self.wanted > 0
                && self.handles.len() == self.topics
                && Sealer::room(out, &start) >= PUBLISH_FRAME_BYTES
            {
                let body = author.body(self.next).context("nothing was sealed")?;
                bodies += body.token.len();
                if bodies > BODIES_BYTES_MAX {
                    break;
                }
                let (turn, which) = (self.next / self.topics as u64, self.next % self.topics as u64);
                let (topic, epoch) = (self.handles[which as usize], author.topics[which as usize].epoch);
                let beside = BodyRef { len: body.token.len() as u32, sha256: body.sha256 };
                let (counter, body) = (Counter(turn), Body::Beside(beside));
                ClientFrame::Publish { slot: 0, topic, epoch, counter, body }.encode(out);
                self.next += 1;
                self.wanted -= 1;
            }
        }
        session.0.finish(out, start, self.now, &random_array(&mut self.entropy));
        if let Some(author) = &self.author {
            let bodies = (first..self.next).filter_map(|number| author.body(number));
            bodies.for_each(|body| out.extend_from_slice(&body.token));
        }
        Ok(())
    }
}

impl Talk for Light {
    fn take(&mut self, bytes: &[u8], seen: &mut Seen) -> Result<()> {
        let skipped = self.skip.min(bytes.len());
        self.skip -= skipped;
        self.held.extend_from_slice(&bytes[skipped..]);
        while self.handshake()? {}
        self.records(seen)
    }

    fn give(&mut self, out: &mut Vec<u8>) -> Result<()> {
        out.append(&mut self.raw);
        while !self.frames.is_empty() || self.wanted > 0 && self.has_created() {
            ensure!(matches!(self.phase, Phase::Session(_)), "frames before there is a session");
            self.record(out)?;
        }
        Ok(())
    }

    fn publish(&mut self, count: u64) -> Result<()> {
        ensure!(self.author.is_some(), "only an author publishes");
        self.wanted += count;
        Ok(())
    }

    fn subscribe(&mut self, topic: &'static str, first: u64) -> Result<()> {
        ensure!(self.due.is_empty(), "a client that reads already");
        self.errand.first = first;
        self.ask(topic)
    }
}

/// What follows a length of four bytes, if all of it is there.
fn prefixed(bytes: &[u8]) -> Option<&[u8]> {
    let (len, rest) = bytes.split_first_chunk::<LENGTH_BYTES>()?;
    rest.get(..u32::from_be_bytes(*len) as usize)
}

fn malformed(e: sealmq::wire::WireError) -> anyhow::Error {
    anyhow!("a frame: {e:?}")
}
