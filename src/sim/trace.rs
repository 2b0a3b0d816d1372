//! What happened, in short: a hash to compare runs by, and the last lines for whoever looks
//! into a failure.

use std::collections::VecDeque;
use std::fmt::{self, Write};

use crate::base::Mono;
use crate::client::Event;

/// A run's history. It holds lengths and numbers, never ciphertext: crates draw randomness of
/// their own for that.
pub struct Trace {
    hash: u64,
    lines: u64,
    recent: VecDeque<String>,
    line: String,
}

/// Lines kept for the report: whoever replays a seed may want to see how it came to its end.
const RECENT: usize = 2_000;

impl Trace {
    pub fn new() -> Trace {
        // FNV-1a's offset basis.
        Trace { hash: 0xcbf2_9ce4_8422_2325, lines: 0, recent: VecDeque::new(), line: String::new() }
    }

    pub fn note(&mut self, at: Mono, what: fmt::Arguments<'_>) {
        self.line.clear();
        write!(self.line, "{:>12} ", at.0).and_then(|()| self.line.write_fmt(what)).expect("strings grow");
        for byte in self.line.bytes() {
            self.hash = (self.hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        self.lines += 1;
        if self.recent.len() == RECENT {
            self.recent.pop_front();
        }
        self.recent.push_back(self.line.clone());
    }

    pub fn hash(&self) -> u64 {
        self.hash
    }

    pub fn recent(&self) -> impl Iterator<Item = &str> {
        self.recent.iter().map(String::as_str)
    }
}

/// An event without what differs from run to run.
pub fn brief(event: &Event) -> String {
    match event {
        Event::Connected(c) => format!("connected to {}, resumed {}", c.broker, c.resumed),
        Event::CrlUpdated { number, .. } => format!("revocation list {number}"),
        Event::Answer { ticket, result: Ok(answer) } => {
            let text = format!("{answer:?}");
            let kind = text.split(['(', ' ', '{']).next().unwrap_or_default();
            format!("ticket {} {kind}", ticket.0)
        }
        Event::Answer { ticket, result: Err(failure) } => format!("ticket {} failed: {failure}", ticket.0),
        other => format!("{other:?}"),
    }
}
