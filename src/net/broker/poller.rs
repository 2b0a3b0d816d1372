//! A poll that can be woken from another thread, before there is a server to serve with it: the
//! store needs the way to wake the loop, and the loop's core needs the store.

use std::io;
use std::sync::Arc;

use mio::{Poll, Waker};

use super::token;

/// What the loop sleeps in.
pub struct Poller {
    pub(super) poll: Poll,
    waker: Arc<Waker>,
}

impl Poller {
    pub fn new() -> io::Result<Poller> {
        let poll = Poll::new()?;
        let waker = Arc::new(Waker::new(poll.registry(), token::WAKER)?);
        Ok(Poller { poll, waker })
    }

    /// Ends the loop's sleep, from any thread. Calls that come before the loop looks count once,
    /// and one that comes while it works makes its next sleep end at once.
    pub fn wake(&self) -> impl Fn() + Send + 'static {
        let waker = Arc::clone(&self.waker);
        move || {
            if let Err(e) = waker.wake() {
                log::error!("the loop cannot be woken: {e}");
            }
        }
    }
}
