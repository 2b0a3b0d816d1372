//! When each message is due, where a rate is asked for: by a schedule and not by pauses, so that what was held up
//! is made up for. Reads no clock.

use std::time::Duration;

use crate::base::Mono;

/// The schedule of a run.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    began: Mono,
    /// Messages a second, of all publishers together; above 0.
    per_second: f64,
}

impl Pace {
    pub fn new(began: Mono, per_second: f64) -> Pace {
        Pace { began, per_second }
    }

    /// When message `number` is to go out; the first is 0. No error adds up from one to the next.
    pub fn due(&self, number: u64) -> Mono {
        self.began + time_of(number, self.per_second)
    }

    /// Messages a second that came of it: `sent` of them, the last one at `last`, and none from then to `ended`.
    /// It is what was asked for if the last was on time, and if then none was due before `ended`.
    pub fn reached(&self, sent: u64, last: Mono, ended: Mono) -> f64 {
        let each = time_of(1, self.per_second);
        let time = (last + each).max(ended).since(self.began);
        (sent as f64 / time.as_secs_f64().max(1e-6)).min(self.per_second)
    }
}

/// What so many messages take; for ever, if that is more than can be said.
pub fn time_of(messages: u64, per_second: f64) -> Duration {
    Duration::try_from_secs_f64(messages as f64 / per_second).unwrap_or(Duration::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_due_evenly() {
        let pace = Pace::new(Mono(1_000), 4.0);
        let dues = [0, 1, 2, 3, 40].map(|number| pace.due(number));
        assert_eq!(dues, [1_000, 251_000, 501_000, 751_000, 10_001_000].map(Mono));
        let slow = Pace::new(Mono(0), 0.5);
        assert_eq!([slow.due(1), slow.due(3)], [2_000_000, 6_000_000].map(Mono));
    }

    #[test]
    fn what_is_left_of_a_microsecond_does_not_add_up() {
        // 333.33 us: added up in whole ones, the last would be a second early.
        let pace = Pace::new(Mono(0), 3_000.0);
        assert_eq!(pace.due(3_000 * 3_000), Mono(3_000 * 1_000_000));
        assert_eq!([1, 2, 3].map(|number| pace.due(number)), [333, 666, 1_000].map(Mono));
    }

    #[test]
    fn each_is_due_no_earlier_than_the_one_before_and_the_rate_holds_in_every_second() {
        for per_second in [0.7, 1.0, 7.0, 999.0, 12_345.6, 3e6] {
            let pace = Pace::new(Mono(17), per_second);
            let dues: Vec<Mono> = (0..20_000).map(|number| pace.due(number)).collect();
            assert!(dues.windows(2).all(|two| two[0] <= two[1]), "{per_second}");
            let second = Duration::from_secs(1);
            for from in dues.iter().step_by(997).filter(|from| **from + second < dues[19_999]) {
                let within = dues.iter().filter(|due| *from <= **due && **due < *from + second).count();
                assert!((within as f64 - per_second).abs() <= 1.0, "{within} of {per_second}");
            }
        }
    }

    #[test]
    fn a_pace_that_no_clock_sees_the_end_of_is_due_at_its_end() {
        assert_eq!(Pace::new(Mono(5), f64::MIN_POSITIVE).due(1), Mono(u64::MAX));
        assert_eq!(time_of(0, f64::MIN_POSITIVE), Duration::ZERO);
    }

    #[test]
    fn the_rate_that_was_reached() {
        let pace = Pace::new(Mono(0), 10.0);
        // On time, however short the run and wherever in a gap it ended.
        assert_eq!(pace.reached(1, Mono(0), Mono(0)), 10.0);
        assert_eq!(pace.reached(10, Mono(900_000), Mono(900_000)), 10.0);
        assert_eq!(pace.reached(10, Mono(900_000), Mono(1_000_000)), 10.0);
        assert_eq!(pace.reached(10, Mono(900_000), Mono(950_000)), 10.0);
        // The last was late, or a stall lasted to the end.
        assert_eq!(pace.reached(10, Mono(1_900_000), Mono(1_900_000)), 5.0);
        assert_eq!(pace.reached(10, Mono(900_000), Mono(4_000_000)), 2.5);
        // A stall that was made up for.
        assert_eq!(pace.reached(100, Mono(9_900_000), Mono(10_000_000)), 10.0);
        assert_eq!(pace.reached(0, Mono(0), Mono(2_000_000)), 0.0);
    }
}
