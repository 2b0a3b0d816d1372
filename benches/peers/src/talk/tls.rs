//! TLS 1.3 around a protocol in clear, for the peers.

use std::io::{BufRead, Write};
use std::sync::Arc;

use anyhow::{Context, Result};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection};

use super::{Seen, Talk};

/// A protocol as it is inside TLS.
pub trait Plain {
    /// Whether the broker says a line in clear before TLS begins.
    const HAS_PREFACE: bool;

    /// What is said first.
    fn hello(&mut self, out: &mut Vec<u8>);

    /// Takes what it can from the front of `bytes`, appends what is to be answered; says how much it took.
    fn parse(&mut self, bytes: &[u8], out: &mut Vec<u8>, seen: &mut Seen) -> Result<usize>;

    /// Appends the next message.
    fn publish(&mut self, out: &mut Vec<u8>);
}

pub struct Tls<P> {
    tls: ClientConnection,
    plain: P,
    awaits_preface: bool,
    /// What the protocol could not take yet.
    stash: Vec<u8>,
    /// In clear, on its way into TLS.
    out: Vec<u8>,
    acks_at_once: bool,
}

impl<P: Plain> Tls<P> {
    pub fn new(config: &Arc<ClientConfig>, mut plain: P) -> Result<Tls<P>> {
        let mut tls = ClientConnection::new(config.clone(), ServerName::try_from("localhost")?)?;
        tls.set_buffer_limit(None);
        let mut out = Vec::new();
        plain.hello(&mut out);
        Ok(Tls { tls, plain, awaits_preface: P::HAS_PREFACE, stash: Vec::new(), out, acks_at_once: false })
    }

    /// For a broker that lets small writes wait for acknowledgements, see [`Talk::acks_at_once`].
    pub fn acking_at_once(self) -> Tls<P> {
        Tls { acks_at_once: true, ..self }
    }

    fn parse_all(&mut self, seen: &mut Seen) -> Result<()> {
        let mut reader = self.tls.reader();
        // The end of what has come is told as an error of the kind WouldBlock.
        while let Ok(chunk) = reader.fill_buf() {
            if chunk.is_empty() {
                break;
            }
            let len = chunk.len();
            if self.stash.is_empty() {
                let taken = self.plain.parse(chunk, &mut self.out, seen)?;
                self.stash.extend_from_slice(&chunk[taken..]);
            } else {
                self.stash.extend_from_slice(chunk);
                let taken = self.plain.parse(&self.stash, &mut self.out, seen)?;
                self.stash.drain(..taken);
            }
            reader.consume(len);
        }
        Ok(())
    }
}

impl<P: Plain> Talk for Tls<P> {
    fn take(&mut self, mut bytes: &[u8], seen: &mut Seen) -> Result<()> {
        if self.awaits_preface {
            let Some(end) = bytes.iter().position(|byte| *byte == b'\n') else { return Ok(()) };
            self.awaits_preface = false;
            bytes = &bytes[end + 1..];
        }
        while !bytes.is_empty() {
            self.tls.read_tls(&mut bytes)?;
            self.tls.process_new_packets().context("TLS")?;
            self.parse_all(seen)?;
        }
        Ok(())
    }

    fn give(&mut self, out: &mut Vec<u8>) -> Result<()> {
        if self.awaits_preface {
            return Ok(());
        }
        if !self.out.is_empty() {
            self.tls.writer().write_all(&self.out)?;
            self.out.clear();
        }
        while self.tls.wants_write() {
            self.tls.write_tls(out)?;
        }
        Ok(())
    }

    fn publish(&mut self, count: u64) -> Result<()> {
        (0..count).for_each(|_| self.plain.publish(&mut self.out));
        Ok(())
    }

    fn acks_at_once(&self) -> bool {
        self.acks_at_once
    }
}
