//! sealmq with as little work as is honest: the whole handshake, each token opened, each frame read,
//! each message counted by its publisher's counter. Bodies are not opened, and not hashed; publishers
//! send bodies that were sealed before.

use std::collections::VecDeque;
use std::rc::Rc;

use anyhow::{Context, Result, anyhow, bail, ensure};
use sealmq::base::entropy::random_array;
use sealmq::base::ids::{Counter, RequestId, TopicHandle};
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
    durability: Durability,
    /// The topic and messages of whoever publishes.
    author: Option<Shared>,
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
    handle: Option<TopicHandle>,
    is_subscribed: bool,
}

enum Phase {
    /// Taken out for each step.
    Handshake(Option<ClientHandshake>),
    Session(Box<(Sealer, Opener)>),
}

const CREATE: RequestId = RequestId(1);
const SUBSCRIBE: RequestId = RequestId(2);
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
        durability: Durability,
    ) -> Result<Light> {
        let mut entropy = SystemEntropy::new()?;
        let (state, raw) = ClientHandshake::start(&mut entropy);
        Ok(Light {
            pki: pki.clone(),
            is_subscribed: errand.subscribe.is_none(),
            errand,
            durability,
            author,
            entropy,
            now: clock::wall(),
            phase: Phase::Handshake(Some(state)),
            held: Vec::new(),
            skip: 0,
            frames: VecDeque::new(),
            raw,
            wanted: 0,
            next: 0,
            handle: None,
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
        r.take(4 + 8 + 8 + 4 + 4).map_err(malformed)?;
        seen.deliver(r.u64().map_err(malformed)?)?;
        if r.u8().map_err(malformed)? == 0 {
            self.skip += r.u32().map_err(malformed)? as usize;
        }
        Ok(())
    }

    fn rare(&mut self, frame: BrokerFrame, seen: &mut Seen) -> Result<()> {
        match frame {
            BrokerFrame::Welcome { .. } => self.begin()?,
            BrokerFrame::Topic { request: CREATE, topic, .. } => self.handle = Some(topic),
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
        seen.is_ready = self.is_subscribed && self.handle.is_some() == self.author.is_some();
        Ok(())
    }

    /// What is asked for as soon as the broker has said Welcome.
    fn begin(&mut self) -> Result<()> {
        if let Some(author) = &self.author {
            let (genesis, delta) = (author.genesis.clone(), author.delta.clone());
            let (name, durability, retention) = (author.name.clone(), self.durability, Retention::default());
            let (id, delegation) = (author.publisher, author.delegation.clone());
            self.frames.push_back(ClientFrame::Wraps { wraps: author.wraps.clone() });
            self.frames.push_back(ClientFrame::Create {
                request: CREATE,
                name,
                durability,
                retention,
                genesis,
                delta,
            });
            self.frames.push_back(ClientFrame::Publisher { slot: 0, id, delegation });
        }
        if let Some(topic) = self.errand.subscribe {
            let filter = TopicFilter::parse(topic).map_err(|e| anyhow!("{e}"))?;
            self.frames.push_back(ClientFrame::Subscribe {
                request: SUBSCRIBE,
                filter,
                start: Start::Latest,
            });
        }
        Ok(())
    }

    /// One record of what waits: frames first, then as many messages as fit.
    fn record(&mut self, out: &mut Vec<u8>) -> Result<()> {
        let Phase::Session(session) = &mut self.phase else { return Ok(()) };
        let start = session.0.begin(out);
        for frame in self.frames.drain(..) {
            frame.encode(out);
        }
        let first = self.next;
        if let (Some(author), Some(topic)) = (&self.author, self.handle) {
            let mut bodies = 0;
            while self.wanted > 0 && Sealer::room(out, &start) >= PUBLISH_FRAME_BYTES {
                let body = author.bodies.get(self.next as usize).context("more messages than were sealed")?;
                bodies += body.token.len();
                if bodies > BODIES_BYTES_MAX {
                    break;
                }
                let beside = BodyRef { len: body.token.len() as u32, sha256: body.sha256 };
                let (epoch, counter) = (author.epoch, Counter(self.next));
                ClientFrame::Publish { slot: 0, topic, epoch, counter, body: Body::Beside(beside) }
                    .encode(out);
                self.next += 1;
                self.wanted -= 1;
            }
        }
        session.0.finish(out, start, self.now, &random_array(&mut self.entropy));
        if let Some(author) = &self.author {
            let bodies = &author.bodies[first as usize..self.next as usize];
            bodies.iter().for_each(|body| out.extend_from_slice(&body.token));
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
        while !self.frames.is_empty() || self.wanted > 0 && self.handle.is_some() {
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
}

/// What follows a length of four bytes, if all of it is there.
fn prefixed(bytes: &[u8]) -> Option<&[u8]> {
    let (len, rest) = bytes.split_first_chunk::<LENGTH_BYTES>()?;
    rest.get(..u32::from_be_bytes(*len) as usize)
}

fn malformed(e: sealmq::wire::WireError) -> anyhow::Error {
    anyhow!("a frame: {e:?}")
}
