//! SIGINT and SIGTERM for a verb that has something to end well: a flag, and a wake-up for whoever waits. Who asks
//! again does not want to wait for that end, and gets none.

use std::io::{self, Read};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use signal_hook::consts::{SIGINT, SIGTERM};

use super::error::CliError;

/// Signals that come sooner are one: `timeout` and a terminal may send it twice.
const AGAIN_TIME: Duration = Duration::from_millis(500);

/// Raised by the first of the two signals, which then also has `wake` called, on another thread.
pub fn flag(wake: impl FnOnce() + Send + 'static) -> Result<Arc<AtomicBool>, CliError> {
    let failed = |e: io::Error| CliError::other(format!("signals cannot be waited for: {e}"));
    let (mut told, tell) = UnixStream::pair().map_err(failed)?;
    let at_once = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        // As a shell says it of a program that a signal has ended.
        signal_hook::flag::register_conditional_shutdown(signal, 128 + signal, at_once.clone())
            .map_err(failed)?;
        let tell = tell.try_clone().map_err(failed)?;
        signal_hook::low_level::pipe::register(signal, tell).map_err(failed)?;
    }
    let stop = Arc::new(AtomicBool::new(false));
    let raised = stop.clone();
    let wait = move || {
        // An error is as good as a signal: nothing can be waited for any more.
        let _ = told.read(&mut [0]);
        raised.store(true, Ordering::Relaxed);
        wake();
        thread::sleep(AGAIN_TIME);
        at_once.store(true, Ordering::Relaxed);
    };
    thread::Builder::new().name("signals".to_owned()).spawn(wait).map_err(failed)?;
    Ok(stop)
}
