//! `steward`: stays connected, lets into open topics who asks, and removes whose certificates were revoked.
//!
//! The client core decides and acts; here is only what it is told to do and what is said of it.

use std::io::{self, Read};
use std::net::{IpAddr, ToSocketAddrs};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use signal_hook::consts::{SIGINT, SIGTERM};

use crate::cli::access::Base;
use crate::cli::args::{Access, Patience};
use crate::cli::error::CliError;
use crate::cli::link::{CONNECT_TIME, Link};
use crate::cli::membership::News;
use crate::cli::output::{Output, note, printable};
use crate::cli::tidings;
use crate::client::Event;
use crate::net::client::Address;

pub fn run(base: &Base, access: &Access, patience: Patience) -> Result<(), CliError> {
    let mut link = Link::prepare(base, access)?;
    let stop = stop_flag(&link)?;
    let mut output = Output::new();
    output.line(WARNING)?;
    output.flush()?;
    if is_here(&link.address) {
        note("the broker listens on this very host: let the steward run on another one");
    }
    link.core().watch(true);
    let patience = patience.wait.unwrap_or_default();
    let connected = link.connect(patience, patience.max(CONNECT_TIME))?;
    output.line(&format!("{} is a steward at {}", link.name, connected.broker))?;
    let steward = Steward { link, output, stop, news: News::default(), away: false };
    steward.run()
}

struct Steward {
    link: Link,
    output: Output,
    stop: Arc<AtomicBool>,
    news: News,
    /// The connection is lost, and that was said.
    away: bool,
}

impl Steward {
    fn run(mut self) -> Result<(), CliError> {
        while !self.stop.load(Ordering::Relaxed) {
            self.output.flush()?;
            if let Some(event) = self.link.next_or_notice(None)? {
                self.hear(&event)?;
            }
        }
        self.output.flush()?;
        self.link.leave();
        Ok(())
    }

    fn hear(&mut self, event: &Event) -> Result<(), CliError> {
        let now = self.link.now().mono;
        if let Some(line) = self.news.line(event, now, "sealmq ") {
            return self.output.line(&printable(&line));
        }
        match event {
            Event::Notice(notice) => note(&notice.to_string()),
            Event::Integrity(fault) => note(&tidings::unbelieved(fault)),
            Event::Disconnected { reason, retry_at, .. } if !self.away => {
                self.away = true;
                note(&tidings::away(reason, *retry_at, now));
            }
            Event::Connected(connected) => {
                self.away = false;
                note(&tidings::back(connected));
            }
            _ => {}
        }
        Ok(())
    }
}

/// Raised by SIGINT and SIGTERM, which also wake the link.
fn stop_flag(link: &Link) -> Result<Arc<AtomicBool>, CliError> {
    let failed = |e: io::Error| CliError::other(format!("signals cannot be waited for: {e}"));
    let (mut told, tell) = UnixStream::pair().map_err(failed)?;
    for signal in [SIGINT, SIGTERM] {
        let tell = tell.try_clone().map_err(failed)?;
        signal_hook::low_level::pipe::register(signal, tell).map_err(failed)?;
    }
    let stop = Arc::new(AtomicBool::new(false));
    let (raised, waker) = (stop.clone(), link.connection().waker());
    let wait = move || {
        // An error is as good as a signal: nothing can be waited for any more.
        let _ = told.read(&mut [0]);
        raised.store(true, Ordering::Relaxed);
        let _ = waker.wake();
    };
    thread::Builder::new().name("signals".to_owned()).spawn(wait).map_err(failed)?;
    Ok(stop)
}

/// Whether the broker's address is one of this host that only it can reach.
fn is_here(address: &Address) -> bool {
    let is_loopback = |ip: IpAddr| ip.is_loopback();
    (address.host.as_str(), address.port)
        .to_socket_addrs()
        .is_ok_and(|mut found| found.any(|address| is_loopback(address.ip())))
}

const WARNING: &str = "A steward holds a key that lets people in. Never run it on the broker's host: whoever \
                       breaks into that host could then read what the broker carries.";
