//! Signals as events of the poll.

use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use mio::{Interest, Registry, Token};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1, SIGXFSZ};

/// The signals that the broker knows.
pub struct Signals(signal_hook_mio::v1_0::Signals);

/// What a signal asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// SIGTERM or SIGINT: end, after telling the clients.
    Stop,
    /// SIGHUP: read certificates and the revocation list again.
    Reload,
    /// SIGUSR1: write counters and connections to the log.
    Report,
}

/// From here on a write to a file at its size limit gives an error, as any other that fails does,
/// and does not end the process. For the log, the database and its copies.
pub fn survive_size_limits() -> io::Result<()> {
    signal_hook::flag::register(SIGXFSZ, Arc::new(AtomicBool::new(false))).map(drop)
}

impl Signals {
    pub fn register(registry: &Registry, token: Token) -> io::Result<Signals> {
        let mut signals = signal_hook_mio::v1_0::Signals::new([SIGTERM, SIGINT, SIGHUP, SIGUSR1])?;
        registry.register(&mut signals, token, Interest::READABLE)?;
        Ok(Signals(signals))
    }

    /// What came since the last call; the same signal counts once.
    pub fn pending(&mut self) -> Vec<Request> {
        let request = |signal| match signal {
            SIGTERM | SIGINT => Some(Request::Stop),
            SIGHUP => Some(Request::Reload),
            SIGUSR1 => Some(Request::Report),
            _ => None,
        };
        self.0.pending().filter_map(request).collect()
    }
}
