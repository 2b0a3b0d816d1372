//! The system's clocks: the only place in the library that reads them.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use crate::base::{Mono, Now, Wall};

/// Reads both clocks together. [`Mono`] counts from when this was made.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    origin: Instant,
}

impl Clock {
    pub fn new() -> Clock {
        Clock { origin: Instant::now() }
    }

    pub fn now(&self) -> Now {
        Now { mono: self.mono(), wall: wall() }
    }

    pub fn mono(&self) -> Mono {
        Mono(self.origin.elapsed().as_micros().try_into().unwrap_or(u64::MAX))
    }
}

impl Default for Clock {
    fn default() -> Clock {
        Clock::new()
    }
}

/// Civil time. A clock set before 1970 counts as 1970: every certificate is then not yet
/// valid, which is what its owner needs to be told.
pub fn wall() -> Wall {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Wall(since_1970.as_millis().try_into().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks_go_forward_and_the_year_is_plausible() {
        let clock = Clock::new();
        let (a, b) = (clock.now(), clock.now());
        assert!(a.mono <= b.mono);
        assert!(a.wall > Wall::from_secs(1_700_000_000), "{}", a.wall);
    }
}
