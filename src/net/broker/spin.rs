//! Whether the loop goes on looking for a moment before it sleeps.
//!
//! Who sends to a thread that sleeps must wake it, and its processor with it, which costs both sides most on a
//! virtual machine (docs/PERFORMANCE.md). Where the next event tends to come within that time it is cheaper,
//! and sooner, not to sleep yet. This is Linux's haltpoll governor moved up into the loop: a wait is spun where
//! the one before was short, and each spin that caught nothing is followed by more short waits that are slept.
//!
//! Knows no clock and no poll: it is told what a wait came to.

use std::time::Duration;

/// How long a wait is spun at most: what sleeping and waking costs where it costs much, so that a spin
/// in vain at most doubles what the wait would have cost.
const WINDOW: Duration = Duration::from_micros(100);
/// A slept wait of up to this might have been caught: the window, and as much again for being woken.
const SHORT: Duration = Duration::from_micros(200);

/// What is known of the waits before.
pub struct Spin {
    /// Spinning needs a processor that nobody else is waiting for.
    allowed: bool,
    /// The wait before was short.
    eager: bool,
    /// Short waits still to be slept, and how many after the last spin in vain; 255 at most, so that one short
    /// wait in 256 is tried where it is always in vain.
    skip: u8,
    backoff: u8,
}

impl Spin {
    /// For a host with so many processors; on a single one whoever should send would be kept from it.
    pub fn new(processors: usize) -> Spin {
        Spin { allowed: processors > 1, eager: false, skip: 0, backoff: 0 }
    }

    /// How long to look before the next wait, which is of `timeout` at most, is slept.
    pub fn window(&self, timeout: Option<Duration>) -> Option<Duration> {
        let worth_it = timeout.is_none_or(|timeout| timeout > WINDOW);
        (self.allowed && self.eager && worth_it).then_some(WINDOW)
    }

    /// An event came while we looked.
    pub fn note_caught(&mut self) {
        self.backoff /= 2;
    }

    /// Nothing came while we looked.
    pub fn note_in_vain(&mut self) {
        self.backoff = self.backoff.saturating_mul(2).saturating_add(1);
        self.skip = self.backoff;
        self.eager = false;
    }

    /// A wait was slept without looking first, and took this long.
    pub fn note_slept(&mut self, waited: Duration) {
        let short = waited <= SHORT;
        self.eager = short && self.skip == 0;
        self.skip -= u8::from(short && self.skip > 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUICK: Duration = Duration::from_micros(60);
    const SLOW: Duration = Duration::from_millis(3);

    /// How many of `waits` are spun, and how many of these in vain.
    fn spins(spin: &mut Spin, waits: impl Iterator<Item = Duration>) -> (u32, u32) {
        let (mut spun, mut in_vain) = (0, 0);
        for wait in waits {
            match spin.window(None) {
                None => spin.note_slept(wait),
                Some(window) if wait <= window => {
                    spun += 1;
                    spin.note_caught();
                }
                Some(_) => {
                    spun += 1;
                    in_vain += 1;
                    spin.note_in_vain();
                }
            }
        }
        (spun, in_vain)
    }

    #[test]
    fn short_waits_are_spun_from_the_second_on() {
        assert_eq!(spins(&mut Spin::new(2), std::iter::repeat_n(QUICK, 100)), (99, 0));
    }

    #[test]
    fn long_waits_never_are() {
        assert_eq!(spins(&mut Spin::new(2), std::iter::repeat_n(SLOW, 100)), (0, 0));
    }

    #[test]
    fn what_is_always_in_vain_is_tried_ever_less_often() {
        // Always a short wait, then a long one: the short one always misleads.
        let mut spin = Spin::new(2);
        let waits = |count| (0..count).flat_map(|_| [QUICK, SLOW]);
        let (first, _) = spins(&mut spin, waits(1000));
        assert!(first <= 10, "{first}");
        assert!(spins(&mut spin, waits(25_600)).0 <= 101);
    }

    #[test]
    fn a_wait_between_window_and_short_does_not_keep_it_spinning() {
        let waits = std::iter::repeat_n(Duration::from_micros(150), 25_600);
        let (spun, in_vain) = spins(&mut Spin::new(2), waits);
        assert!(spun == in_vain && spun <= 110, "{spun}");
    }

    #[test]
    fn one_in_vain_among_many_caught_changes_little() {
        let waits = (0..1000).map(|n| if n % 10 == 9 { SLOW } else { QUICK });
        let (spun, in_vain) = spins(&mut Spin::new(2), waits);
        assert!(spun > 800 && in_vain <= 100, "{spun}, {in_vain}");
    }

    #[test]
    fn not_on_one_processor_and_not_before_a_deadline() {
        let mut spin = Spin::new(1);
        assert_eq!(spins(&mut spin, std::iter::repeat_n(QUICK, 100)), (0, 0));
        let mut spin = Spin::new(2);
        spin.note_slept(QUICK);
        assert_eq!(spin.window(Some(WINDOW)), None);
        assert_eq!(spin.window(Some(SLOW)), Some(WINDOW));
    }
}
