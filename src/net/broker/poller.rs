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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use mio::Events;

    use super::*;

    #[test]
    fn a_wake_from_another_thread_ends_one_sleep_however_often_it_came() {
        let mut poller = Poller::new().expect("a poll");
        let mut events = Events::with_capacity(4);
        let mut tokens = |poller: &mut Poller, patience| {
            poller.poll.poll(&mut events, Some(patience)).expect("it polls");
            events.iter().map(|event| event.token()).collect::<Vec<_>>()
        };
        let wake = poller.wake();
        let waking = std::thread::spawn(move || (0..1000).for_each(|_| wake()));
        assert_eq!(tokens(&mut poller, Duration::from_secs(30)), [token::WAKER]);
        waking.join().expect("it only wakes");
        // What came behind the first look is one more at most, and then there is quiet.
        assert!(tokens(&mut poller, Duration::ZERO).len() <= 1);
        assert_eq!(tokens(&mut poller, Duration::ZERO), []);
    }
}
