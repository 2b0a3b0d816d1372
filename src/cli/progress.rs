//! How far something has come that may take long, on standard error: one line with a bar that changes if
//! that is a terminal, else a line every few seconds. What is done within a second says nothing.

use std::fmt::Display;
use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use crate::base::Mono;
use crate::net::Clock;

/// Nobody wonders before.
const QUIET_TIME: Duration = Duration::from_secs(1);
/// Between two changes of a terminal's line, and between two lines of a log.
const CHANGE_TIME: Duration = Duration::from_millis(100);
const LINE_TIME: Duration = Duration::from_secs(5);
/// The bar's inside: one shorter than the first says nothing, one longer than the second no more.
const BAR_COLUMNS: std::ops::RangeInclusive<usize> = 8..=30;
/// Of a terminal that does not say.
const COLUMNS: usize = 80;

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
    pub fn tell(&mut self, done: u64, all: u64, what: impl Display) {
        let now = self.clock.mono();
        if now < self.next {
            return;
        }
        // If standard error is closed, nobody wants to know.
        let _ = if self.is_terminal {
            self.shown = true;
            self.next = now + CHANGE_TIME;
            write!(io::stderr(), "\r{}\x1b[K", bar(&self.doing, done, all, what, columns()))
        } else {
            self.next = now + LINE_TIME;
            writeln!(io::stderr(), "{}: {}", self.program, line(&self.doing, done, all, what))
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

fn line(doing: &str, done: u64, all: u64, what: impl Display) -> String {
    match percent(done, all) {
        Some(percent) => format!("{doing}: {percent} % ({done} of {all} {what})"),
        None => format!("{doing}: {done} {what}"),
    }
}

/// The same with a bar where there is room for one; shorter than the terminal's line, for what goes on in the next
/// cannot be wiped.
fn bar(doing: &str, done: u64, all: u64, what: impl Display, columns: usize) -> String {
    let plain = line(doing, done, all, &what);
    let room = columns.saturating_sub(1);
    let fits = |text: &str| text.chars().take(room).collect::<String>();
    let Some(percent) = percent(done, all) else { return fits(&plain) };
    // A bar that comes and goes with the digits before it would be hard to read.
    let rest = format!("{percent:>3} % ({done:>width$} of {all} {what})", width = all.to_string().len());
    let inside = room.saturating_sub(doing.chars().count() + rest.chars().count() + " [] ".len());
    if inside < *BAR_COLUMNS.start() {
        return fits(&plain);
    }
    let inside = inside.min(*BAR_COLUMNS.end());
    let full = inside * percent as usize / 100;
    format!("{doing} [{}{}] {rest}", "=".repeat(full), " ".repeat(inside - full))
}

fn percent(done: u64, all: u64) -> Option<u64> {
    let percent = (u128::from(done) * 100).checked_div(u128::from(all))?;
    Some(u64::try_from(percent).map_or(100, |percent| percent.min(100)))
}

/// It may have another size by now.
fn columns() -> usize {
    match rustix::termios::tcgetwinsize(io::stderr()) {
        Ok(size) if size.ws_col > 0 => size.ws_col.into(),
        _ => COLUMNS,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_said_where_the_whole_is_known() {
        assert_eq!(line("opening data", 1, 3, "topics"), "opening data: 33 % (1 of 3 topics)");
        assert_eq!(line("opening data", 7, 0, "topics"), "opening data: 7 topics");
        assert_eq!(
            line("copying", u64::MAX, 1, "pages"),
            format!("copying: 100 % ({0} of 1 pages)", u64::MAX)
        );
    }

    #[test]
    fn a_bar_stands_where_there_is_room_and_the_line_never_wraps() {
        let at = |columns| bar("publishing", 50, 200, "messages", columns);
        assert_eq!(at(80), "publishing [=======                       ]  25 % ( 50 of 200 messages)");
        assert_eq!(at(50), "publishing [==      ]  25 % ( 50 of 200 messages)");
        assert_eq!(at(46), "publishing: 25 % (50 of 200 messages)");
        assert_eq!(at(20), "publishing: 25 % (5");
        assert_eq!(bar("publishing", 7, 0, "messages", 80), "publishing: 7 messages");
        for columns in 0..100 {
            assert!(at(columns).chars().count() < columns.max(1), "{columns}");
        }
    }
}
