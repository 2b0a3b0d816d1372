//! A connection between a client and the broker, as the network has it.

use std::time::Duration;

use super::dice::Dice;
use super::pipe::Pipe;
use crate::base::Mono;
use crate::base::ids::ConnId;
use crate::base::transmit::Transmit;

pub struct Link {
    /// Whose it is, and which of their clients'.
    pub person: usize,
    pub life: u64,
    /// The broker's name for it.
    pub conn: ConnId,
    /// From the client to the broker, and back.
    pub up: Pipe,
    pub down: Pipe,
    /// Taken from the cores, and not yet by the network.
    pub client_out: Transmit,
    pub broker_out: Transmit,
    /// Whether each side still holds its end.
    pub client_open: bool,
    pub broker_open: bool,
    /// The broker has something to send.
    pub has_output: bool,
    cut: bool,
}

/// An end that nobody is told of: only a side that misses the other finds out.
const NEVER: Duration = Duration::from_secs(3600);

impl Link {
    pub fn new(person: usize, life: u64, conn: ConnId) -> Link {
        Link {
            person,
            life,
            conn,
            up: Pipe::new(),
            down: Pipe::new(),
            client_out: Transmit::new(),
            broker_out: Transmit::new(),
            client_open: true,
            broker_open: true,
            has_output: true,
            cut: false,
        }
    }

    /// The connection breaks. Each side learns it in its own time, or not at all.
    pub fn cut(&mut self, now: Mono, dice: &mut Dice) {
        if std::mem::replace(&mut self.cut, true) {
            return;
        }
        for pipe in [&mut self.up, &mut self.down] {
            let after = if dice.percent(15) { NEVER } else { dice.millis(200) };
            pipe.end(now, after);
            if dice.percent(50) {
                pipe.lose_all();
            }
        }
    }

    /// Cuts where a pipe has reached the place that was set for it.
    pub fn cut_if_due(&mut self, now: Mono, dice: &mut Dice) {
        if self.up.is_cut() || self.down.is_cut() {
            self.cut(now, dice);
        }
    }

    /// Whoever does not know yet that the connection is broken learns it.
    pub fn heal(&mut self, now: Mono) {
        self.up.stall(now);
        self.down.stall(now);
        if self.cut {
            self.up.end(now, Duration::ZERO);
            self.down.end(now, Duration::ZERO);
        }
    }

    /// The broker has closed its end: what it had said is still on its way.
    pub fn broker_closes(&mut self, now: Mono) {
        self.broker_open = false;
        self.down.force(&mut self.broker_out);
        self.down.end(now, LAST_WORDS);
        self.up.lose_all();
        self.up.end(now, Duration::ZERO);
    }

    /// The client has closed its end.
    pub fn client_closes(&mut self, now: Mono) {
        self.client_open = false;
        self.up.force(&mut self.client_out);
        self.up.end(now, LAST_WORDS);
        self.down.lose_all();
        self.down.end(now, Duration::ZERO);
    }

    pub fn is_gone(&self) -> bool {
        !self.client_open && !self.broker_open
    }
}

/// From an end until the other side sees it.
const LAST_WORDS: Duration = Duration::from_millis(1);
