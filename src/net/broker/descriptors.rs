//! How many files the process may hold open, and so how many connections.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Standard streams, the poll, signals, the log, files read at a reload, a store's files.
const RESERVED: u64 = 32;

/// Raises the soft limit of open descriptors to the hard one; returns what holds then.
pub fn raise_limit() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        // A refusal leaves the old limit, which the caller then works with.
        let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
    }
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// How many of `wanted` connections fit within `limit` descriptors beside `listeners`.
///
/// Connections that are still being closed hold a descriptor too: an eighth is kept for them.
pub fn connections_within(limit: u64, wanted: usize, listeners: usize) -> usize {
    let free = limit.saturating_sub(RESERVED + listeners as u64);
    let fitting = free - free / 8;
    usize::try_from(fitting).unwrap_or(usize::MAX).clamp(1, wanted.max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_fit_within_the_limit() {
        assert_eq!(connections_within(1 << 20, 10_000, 1), 10_000);
        assert_eq!(connections_within(u64::MAX, 10_000, 1), 10_000);
        assert_eq!(connections_within(1024, 10_000, 1), 868);
        assert_eq!(connections_within(10, 10_000, 1), 1);
    }
}
