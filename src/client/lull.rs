//! Whether a broker that says nothing has nothing to say, which a line that carries nothing looks like.
//!
//! CaughtUp marks where a topic's records end, and a record that the broker has taken comes back. Who
//! waits for one of them waits no longer than this module says: a broker that leaves it out holds nobody
//! up for good. But a stalled line is no answer. So a broker that was silent for long enough is pinged. What
//! it had said before, and what kept it from saying more, comes ahead of its pong. If nothing does, it had
//! nothing to say: that is a lull. Must not know what a topic waits for.

use std::time::Duration;

use super::Client;
use super::link::Phase;
use crate::base::Mono;
use crate::wire::frame::ClientFrame;

/// A session's silences.
#[derive(Default)]
pub struct Lull {
    /// The ping that is under way.
    probe: Option<Probe>,
    /// When the newest ping was sent, and so when the next one may be.
    sent: Option<Mono>,
    /// When the newest one was sent behind which nothing but its pong came.
    quiet: Option<Mono>,
    count: u64,
}

struct Probe {
    number: u64,
    at: Mono,
    /// Whether something else has come behind it.
    stirred: bool,
}

/// A broker that has said nothing of something for so long is asked whether it is there.
pub const SILENCE_MAX: Duration = Duration::from_secs(10);
/// Numbers of these pings lie above those of keepalives, which count records.
const PROBE_NUMBER: u64 = 1 << 62;

impl Client {
    /// When the broker is to be asked whether it has nothing more to say of a topic that waits.
    pub(super) fn probe_due(&self) -> Option<Mono> {
        let Phase::Active(session) = &self.phase else { return None };
        session.welcome?;
        let waiting = self.watched.iter().filter_map(|name| self.topics.get(name)?.quiet_at());
        let unanswered = waiting.filter(|at| !session.lull.is_since(*at));
        unanswered.min().and_then(|at| session.lull.due(at))
    }

    /// Asks it, if that is due.
    pub(super) fn probe(&mut self) {
        let now = self.now.mono;
        if self.probe_due().is_none_or(|at| now < at) {
            return;
        }
        if let Phase::Active(session) = &mut self.phase {
            let number = session.lull.probe(now);
            self.outbox.push(&ClientFrame::Ping { number });
        }
    }
}

impl Lull {
    /// The broker has said something besides a ping or a pong.
    pub fn stir(&mut self) {
        if let Some(probe) = &mut self.probe {
            probe.stirred = true;
        }
    }

    /// A pong of this number has come, ours or not.
    pub fn pong(&mut self, number: u64) {
        if let Some(probe) = self.probe.take_if(|probe| probe.number == number)
            && !probe.stirred
        {
            self.quiet = Some(probe.at);
        }
    }

    /// Whether there was a lull at `at` or since: what the broker was to say before that, it did not.
    pub fn is_since(&self, at: Mono) -> bool {
        self.quiet.is_some_and(|quiet| quiet >= at)
    }

    /// When the next ping is due for somebody who has waited long enough at `at`.
    pub fn due(&self, at: Mono) -> Option<Mono> {
        let earliest = self.sent.map_or(at, |sent| at.max(sent + SILENCE_MAX));
        self.probe.is_none().then_some(earliest)
    }

    /// The number of a ping that is sent now.
    pub fn probe(&mut self, now: Mono) -> u64 {
        let number = PROBE_NUMBER + self.count;
        self.count += 1;
        self.probe = Some(Probe { number, at: now, stirred: false });
        self.sent = Some(now);
        number
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEGIN: Mono = Mono(1_000_000);

    #[test]
    fn a_pong_alone_is_a_lull() {
        let mut lull = Lull::default();
        assert!(!lull.is_since(BEGIN), "silence alone says nothing");
        assert_eq!(lull.due(BEGIN), Some(BEGIN));
        let number = lull.probe(BEGIN);
        assert_eq!(lull.due(BEGIN), None, "one at a time");
        lull.pong(number + 1);
        assert!(!lull.is_since(BEGIN));
        lull.pong(number);
        assert!(lull.is_since(BEGIN));
        assert!(!lull.is_since(Mono(BEGIN.0 + 1)), "of what was to come later nothing is known");
    }

    #[test]
    fn what_comes_before_the_pong_breaks_it_and_the_next_ping_waits() {
        let mut lull = Lull::default();
        let number = lull.probe(BEGIN);
        lull.stir();
        lull.pong(number);
        assert!(!lull.is_since(BEGIN));
        let next = BEGIN + SILENCE_MAX;
        assert_eq!(lull.due(BEGIN), Some(next), "a busy line is not pinged all the time");
        let number = lull.probe(next);
        lull.pong(number);
        lull.stir();
        assert!(lull.is_since(next), "what comes behind the pong is new");
    }
}
