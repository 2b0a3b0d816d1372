//! How far something has come that may take long, on standard error: one line that changes if
//! that is a terminal, else a line every few seconds. What is done within a second says nothing.

use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use crate::base::Mono;
use crate::net::Clock;

/// Nobody wonders before.
const QUIET_TIME: Duration = Duration::from_secs(1);
/// Between two changes of a terminal's line, and between two lines of a log.
const CHANGE_TIME: Duration = Duration::from_millis(100);
const LINE_TIME: Duration = Duration::from_secs(5);

pub struct Progress {
    /// Whose line it is, where it stands among others.
    program: &'static str,
    doing: String,
    clock: Clock,
    begun: Mono,
    /// When there is something to say again.
    next: Mono,
    is_terminal: bool,
    /// A terminal's line stands there and is to be wiped.
    shown: bool,
}

impl Progress {
    /// `doing` is what is done and to what: "opening DIR".
    pub fn new(program: &'static str, doing: impl Into<String>) -> Progress {
        let clock = Clock::new();
        let begun = clock.mono();
        Progress {
            program,
            doing: doing.into(),
            begun,
            next: begun + QUIET_TIME,
            clock,
            is_terminal: io::stderr().is_terminal(),
            shown: false,
        }
    }

    /// `done` of `all` is done; how many there are may become known on the way.
    pub fn tell(&mut self, done: u64, all: u64, what: &str) {
        let now = self.clock.mono();
        if now < self.next {
            return;
        }
        let line = line(&self.doing, done, all, what);
        // If standard error is closed, nobody wants to know.
        let _ = if self.is_terminal {
            self.shown = true;
            self.next = now + CHANGE_TIME;
            write!(io::stderr(), "\r{line}\x1b[K")
        } else {
            self.next = now + LINE_TIME;
            writeln!(io::stderr(), "{}: {line}", self.program)
        };
    }

    /// How long it has taken so far.
    pub fn taken(&self) -> Duration {
        self.clock.mono().since(self.begun)
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.shown {
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
    }
}

fn line(doing: &str, done: u64, all: u64, what: &str) -> String {
    match (u128::from(done) * 100).checked_div(u128::from(all)) {
        Some(percent) => format!("{doing}: {} % ({done} of {all} {what})", percent.min(100)),
        None => format!("{doing}: {done} {what}"),
    }
}

#[cfg(test)]
mod tests {
    use super::line;

    #[test]
    fn a_share_is_said_where_the_whole_is_known() {
        assert_eq!(line("opening data", 1, 3, "topics"), "opening data: 33 % (1 of 3 topics)");
        assert_eq!(line("opening data", 7, 0, "topics"), "opening data: 7 topics");
        assert_eq!(
            line("copying", u64::MAX, 1, "pages"),
            format!("copying: 100 % ({0} of 1 pages)", u64::MAX)
        );
    }
}
