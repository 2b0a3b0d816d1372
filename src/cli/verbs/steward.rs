//! `steward`: stays connected, lets into open topics who asks, and removes whose certificates were revoked.
//!
//! The client core decides and acts; here is only what it is told to do and what is said of it.

use std::net::{IpAddr, ToSocketAddrs};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::cli::access::Base;
use crate::cli::args::{Access, Patience};
use crate::cli::error::CliError;
use crate::cli::interrupt;
use crate::cli::link::{CONNECT_TIME, Link};
use crate::cli::membership::News;
use crate::cli::output::{Output, note, printable};
use crate::cli::tidings;
use crate::client::Event;
use crate::net::client::Address;

pub fn run(base: &Base, access: &Access, patience: Patience) -> Result<(), CliError> {
    let mut link = Link::prepare(base, access)?;
    let waker = link.connection().waker();
    // The flag is raised already: what cannot be woken sees it at its next event.
    let stop = interrupt::flag(move || drop(waker.wake()))?;
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

/// Whether the broker's address is one of this host that only it can reach.
fn is_here(address: &Address) -> bool {
    let is_loopback = |ip: IpAddr| ip.is_loopback();
    (address.host.as_str(), address.port)
        .to_socket_addrs()
        .is_ok_and(|mut found| found.any(|address| is_loopback(address.ip())))
}

const WARNING: &str = "A steward holds a key that lets people in. Never run it on the broker's host: whoever \
                       breaks into that host could then read what the broker carries.";
