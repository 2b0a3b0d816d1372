//! The NATS line protocol, as much as a load generator needs. Publishes are not answered for; how many
//! have arrived is known from the subscribers alone.

use anyhow::{Context, Result, bail, ensure};

use super::tls::Plain;
use super::{Errand, NUMBER_BYTES, Seen, number_of};

pub struct Nats {
    errand: Errand,
    next: u64,
    /// What is still to come of a content that is counted already, its line's end included.
    skip: usize,
}

const LINE_END: &[u8] = b"\r\n";
/// Lines are short but for INFO, which lists what the server can do.
const LINE_BYTES_MAX: usize = 4096;

impl Nats {
    pub fn new(errand: Errand) -> Nats {
        Nats { errand, next: 0, skip: 0 }
    }

    /// `MSG subject sid size`, with its content behind it. False: not enough of that is there.
    fn delivery(&mut self, line: &str, content: &[u8], seen: &mut Seen) -> Result<bool> {
        let Some(number) = number_of(content) else { return Ok(false) };
        let size: usize = line.rsplit(' ').next().context("a size")?.parse()?;
        ensure!(size == self.errand.content.len(), "a message of another size: {size} bytes");
        seen.deliver(number)?;
        self.skip = size - NUMBER_BYTES + LINE_END.len();
        Ok(true)
    }
}

impl Plain for Nats {
    const HAS_PREFACE: bool = true;

    fn hello(&mut self, out: &mut Vec<u8>) {
        let name = self.errand.number;
        let connect = format!(
            "CONNECT {{\"verbose\":false,\"pedantic\":false,\"tls_required\":true,\"lang\":\"rust\",\
             \"version\":\"1\",\"protocol\":1,\"name\":\"peer-{name}\"}}\r\n"
        );
        out.extend_from_slice(connect.as_bytes());
        if let Some(subject) = self.errand.subscribe {
            out.extend_from_slice(format!("SUB {subject} 1\r\n").as_bytes());
        }
        out.extend_from_slice(b"PING\r\n");
    }

    fn parse(&mut self, bytes: &[u8], out: &mut Vec<u8>, seen: &mut Seen) -> Result<usize> {
        let mut at = 0;
        loop {
            let skipped = self.skip.min(bytes.len() - at);
            self.skip -= skipped;
            at += skipped;
            let left = &bytes[at..];
            let Some(end) = left.iter().position(|byte| *byte == b'\n') else {
                ensure!(left.len() < LINE_BYTES_MAX, "a NATS line without an end");
                return Ok(at);
            };
            let line = std::str::from_utf8(&left[..end])?.trim_end();
            let after = at + end + 1;
            match line.split(' ').next().unwrap_or("") {
                "MSG" if !self.delivery(line, &bytes[after..], seen)? => return Ok(at),
                "MSG" => at = after + NUMBER_BYTES,
                "PONG" => (seen.is_ready, at) = (true, after),
                "PING" => {
                    out.extend_from_slice(b"PONG\r\n");
                    at = after;
                }
                "INFO" | "+OK" => at = after,
                _ => bail!("NATS says {line:?}"),
            }
        }
    }

    fn publish(&mut self, out: &mut Vec<u8>) {
        let subject = self.errand.publish.expect("only a publisher publishes");
        out.extend_from_slice(b"PUB ");
        out.extend_from_slice(subject.as_bytes());
        out.push(b' ');
        out.extend_from_slice(self.errand.content.len().to_string().as_bytes());
        out.extend_from_slice(LINE_END);
        self.errand.content.write(self.next, out);
        out.extend_from_slice(LINE_END);
        self.next += 1;
    }
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use super::*;
    use crate::talk::Content;

    #[test]
    fn deliveries_are_counted_however_they_are_cut() {
        let content = Rc::new(Content::new(100));
        let errand = Errand { subscribe: Some("a"), ..Errand::idle(0, &content) };
        let mut wire = Vec::new();
        for number in 0..5 {
            wire.extend_from_slice(b"MSG a 1 100\r\n");
            errand.content.write(number, &mut wire);
            wire.extend_from_slice(b"\r\nPING\r\n");
        }
        for step in 1..=200 {
            let mut nats = Nats::new(errand.clone());
            let (mut seen, mut held, mut answers) = (Seen::default(), Vec::new(), Vec::new());
            for piece in wire.chunks(step) {
                held.extend_from_slice(piece);
                let taken = nats.parse(&held, &mut answers, &mut seen).expect("a good conversation");
                held.drain(..taken);
            }
            assert_eq!((seen.delivered, held.len(), nats.skip), (5, 0, 0), "pieces of {step}");
            assert_eq!(answers, b"PONG\r\n".repeat(5));
        }
    }
}
