//! SIGINT and SIGTERM for a verb that has something to end well: a flag, and a wake-up for whoever waits.

use std::io::{self, Read};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use signal_hook::consts::{SIGINT, SIGTERM};

use super::error::CliError;

/// Raised by the first of the two signals, which then also has `wake` called, on another thread.
pub fn flag(wake: impl FnOnce() + Send + 'static) -> Result<Arc<AtomicBool>, CliError> {
    let failed = |e: io::Error| CliError::other(format!("signals cannot be waited for: {e}"));
    let (mut told, tell) = UnixStream::pair().map_err(failed)?;
    for signal in [SIGINT, SIGTERM] {
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
    };
    thread::Builder::new().name("signals".to_owned()).spawn(wait).map_err(failed)?;
    Ok(stop)
}
