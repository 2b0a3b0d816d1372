//! A client and its scripted broker, with a clock of their own.

use std::sync::Arc;
use std::time::Duration;

use super::peer::Peer;
use crate::base::names::{TopicFilter, TopicName};
use crate::base::time::{Mono, Now};
use crate::base::transmit::Transmit;
use crate::client::pins::Pins;
use crate::client::{Answer, Client, ClientConfig, ClientIdentity, Event, Failure, Ticket};
use crate::crypto::cert::Role;
use crate::crypto::cert::testing::{Seeded, World, world};
use crate::wire::frame::{BrokerFrame, ClientFrame};
use crate::wire::values::CloseCode;

pub struct Rig {
    pub world: World,
    pub client: Client,
    pub peer: Peer,
    pub now: Now,
}

/// Publishes that may be unanswered in these sessions.
pub const WINDOW: u16 = 4;
/// Silence before a ping, in seconds.
pub const KEEPALIVE: u16 = 60;

impl Rig {
    /// A client of this name, not yet connected.
    pub fn new(who: &str) -> Rig {
        Rig::with(who, ClientConfig { host: "localhost".into(), ..ClientConfig::default() })
    }

    pub fn with(who: &str, config: ClientConfig) -> Rig {
        Rig::remembering(who, config, Pins::default())
    }

    /// The same, with what an earlier run has remembered.
    pub fn remembering(who: &str, config: ClientConfig, pins: Pins) -> Rig {
        let world = world();
        let (key, der) = world.client(who);
        let identity = ClientIdentity { certificate: world.verified(&der, Role::Client), key };
        let client = Client::new(config, identity, world.trust.clone(), pins, Box::new(Seeded::new(5)));
        let now = Now { mono: Mono(1_000_000), wall: world.now() };
        Rig { peer: Peer::new(&world), client, world, now }
    }

    /// The same, in a session that the broker has welcomed; the events so far are taken.
    pub fn connected(who: &str) -> Rig {
        let mut rig = Rig::new(who);
        rig.connect();
        assert!(matches!(rig.events()[..], [Event::Connected(_)]));
        rig
    }

    /// A new transport, handshake and Welcome.
    pub fn connect(&mut self) {
        self.shake_hands();
        assert!(self.peer.is_active());
        self.say(&[welcome()]);
    }

    /// A new transport and the handshake.
    pub fn shake_hands(&mut self) {
        self.peer = Peer::new(&self.world);
        self.client.connect(self.now);
        self.run();
    }

    /// Moves bytes to and fro until both are silent.
    pub fn run(&mut self) {
        let mut out = Transmit::new();
        while self.client.poll_transmit(self.now, &mut out) {
            let bytes = out.take_all();
            let answer = self.peer.handle(&bytes, self.now);
            // In two pieces, since transports do as they like.
            let (a, b) = answer.split_at(answer.len() / 2);
            for piece in [a, b].into_iter().filter(|piece| !piece.is_empty()) {
                self.client.handle_bytes(piece, self.now);
            }
        }
    }

    /// The broker says this in one record.
    pub fn say(&mut self, frames: &[BrokerFrame]) {
        self.say_with(frames, &[]);
    }

    pub fn say_with(&mut self, frames: &[BrokerFrame], bodies: &[&[u8]]) {
        let bytes = self.peer.say(frames, bodies, self.now);
        self.client.handle_bytes(&bytes, self.now);
        self.run();
    }

    /// The broker says goodbye and hangs up.
    pub fn close(&mut self, code: CloseCode) {
        let sequence = self.peer.next_sequence();
        self.say(&[BrokerFrame::Close { sequence, code, text: String::new() }]);
    }

    /// The connection is cut.
    pub fn cut(&mut self) {
        self.client.handle_eof(None, self.now);
    }

    /// Lets time pass; the client is told when it wants to be.
    pub fn pass(&mut self, time: Duration) {
        let end = self.now.mono + time;
        while let Some(at) = self.client.poll_timeout().filter(|at| *at <= end) {
            self.advance_to(at);
            self.client.handle_timeout(self.now);
            self.run();
        }
        self.advance_to(end);
    }

    /// The broker says nothing for so long that it is asked whether it is there, and it is.
    pub fn lull(&mut self) {
        self.pass(Duration::from_secs(11));
        let heard = self.heard();
        let [ClientFrame::Ping { number }] = heard[..] else { panic!("{heard:?}") };
        self.say(&[BrokerFrame::Pong { number }]);
    }

    fn advance_to(&mut self, mono: Mono) {
        let passed = mono.since(self.now.mono);
        self.now = Now { mono: self.now.mono.max(mono), wall: self.now.wall + passed };
    }

    pub fn events(&mut self) -> Vec<Event> {
        std::iter::from_fn(|| self.client.poll_event()).collect()
    }

    /// What the client said since it was last asked.
    pub fn heard(&mut self) -> Vec<ClientFrame> {
        self.run();
        self.peer.heard().into_iter().map(|(frame, _)| frame).collect()
    }

    pub fn heard_bodies(&mut self) -> Vec<(ClientFrame, Option<Arc<[u8]>>)> {
        self.run();
        self.peer.heard()
    }

    /// The answers among the events, which are all taken.
    pub fn answers(&mut self) -> Vec<(Ticket, Result<Answer, Failure>)> {
        let answer = |event| match event {
            Event::Answer { ticket, result } => Some((ticket, result)),
            _ => None,
        };
        self.events().into_iter().filter_map(answer).collect()
    }
}

pub fn welcome() -> BrokerFrame {
    BrokerFrame::Welcome {
        time: crate::crypto::cert::testing::NOON,
        keepalive_secs: KEEPALIVE,
        message_bytes_max: 1 << 20,
        window: WINDOW,
        crl_number: 0,
        version: "0.1.0".into(),
    }
}

pub fn topic(name: &str) -> TopicName {
    TopicName::parse(name).expect("a good name")
}

pub fn filter(text: &str) -> TopicFilter {
    TopicFilter::parse(text).expect("a good filter")
}
