//! MQTT 3.1.1, as much as a load generator needs. Publishes are of QoS 1, so that the broker answers
//! for each as sealmq does; deliveries are of QoS 0 unless told otherwise, which is the cheaper one.

use anyhow::{Result, bail, ensure};

use super::tls::Plain;
use super::{Errand, NUMBER_BYTES, Seen, number_of};

pub struct Mqtt {
    errand: Errand,
    /// Of deliveries: 0 or 1.
    qos: u8,
    next: u64,
    /// What is still to come of a content that is counted already.
    skip: usize,
}

const CONNECT: u8 = 0x10;
const CONNACK: u8 = 0x20;
const PUBLISH: u8 = 0x30;
const PUBACK: u8 = 0x40;
const SUBSCRIBE: u8 = 0x82;
const SUBACK: u8 = 0x90;
const QOS_1: u8 = 0x02;
const CLEAN_SESSION: u8 = 0x02;
/// The longest, in seconds: no run is so long. None at all is refused by rumqttd.
const KEEP_ALIVE: [u8; 2] = [0xff, 0xff];

impl Mqtt {
    pub fn new(errand: Errand, qos: u8) -> Mqtt {
        Mqtt { errand, qos, next: 0, skip: 0 }
    }

    /// A packet identifier is 16 bits and never 0; the window is far smaller.
    fn identifier(number: u64) -> [u8; 2] {
        ((number % 65_535) as u16 + 1).to_be_bytes()
    }

    fn delivery(
        &mut self,
        flags: u8,
        body: &[u8],
        len: usize,
        out: &mut Vec<u8>,
        seen: &mut Seen,
    ) -> Result<bool> {
        let Some(topic) = body.first_chunk().map(|n| usize::from(u16::from_be_bytes(*n))) else {
            return Ok(false);
        };
        let mut at = 2 + topic;
        let identifier = at;
        let wants_answer = flags & 0x06 != 0;
        if wants_answer {
            at += 2;
        }
        let Some(number) = body.get(at..).and_then(number_of) else { return Ok(false) };
        ensure!(len == at + self.errand.content.len(), "a message of another size: {len} bytes");
        seen.deliver(number)?;
        if wants_answer {
            out.extend_from_slice(&[PUBACK, 2, body[identifier], body[identifier + 1]]);
        }
        self.skip = len - at - NUMBER_BYTES;
        Ok(true)
    }
}

impl Plain for Mqtt {
    const HAS_PREFACE: bool = false;

    fn hello(&mut self, out: &mut Vec<u8>) {
        let id = format!("peer-{}", self.errand.number);
        let mut body = b"\0\x04MQTT\x04".to_vec();
        body.push(CLEAN_SESSION);
        body.extend_from_slice(&KEEP_ALIVE);
        string(&id, &mut body);
        packet(CONNECT, &body, out);
        if let Some(topic) = self.errand.subscribe {
            let mut body = vec![0, 1];
            string(topic, &mut body);
            body.push(self.qos);
            packet(SUBSCRIBE, &body, out);
        }
    }

    fn parse(&mut self, bytes: &[u8], out: &mut Vec<u8>, seen: &mut Seen) -> Result<usize> {
        let mut at = 0;
        loop {
            let skipped = self.skip.min(bytes.len() - at);
            self.skip -= skipped;
            at += skipped;
            let Some((len, head)) = remaining_length(&bytes[at..])? else { return Ok(at) };
            let (kind, body) = (bytes[at], &bytes[at + head..]);
            if kind & 0xf0 == PUBLISH {
                let there = &body[..body.len().min(len)];
                if !self.delivery(kind & 0x0f, there, len, out, seen)? {
                    return Ok(at);
                }
                at += head + len - self.skip;
                continue;
            }
            let Some(body) = body.get(..len) else { return Ok(at) };
            match (kind, body) {
                (CONNACK, [_, 0]) => seen.is_ready = self.errand.subscribe.is_none(),
                (SUBACK, [_, _, granted]) if *granted == self.qos => seen.is_ready = true,
                (PUBACK, [_, _]) => seen.acknowledged += 1,
                _ => bail!("an MQTT packet of type {kind:#04x} that was not expected: {body:?}"),
            }
            at += head + len;
        }
    }

    fn publish(&mut self, out: &mut Vec<u8>) {
        let topic = self.errand.publish.expect("only a publisher publishes");
        out.push(PUBLISH | QOS_1);
        write_length(2 + topic.len() + 2 + self.errand.content.len(), out);
        string(topic, out);
        out.extend_from_slice(&Mqtt::identifier(self.next));
        self.errand.content.write(self.next, out);
        self.next += 1;
    }
}

fn packet(kind: u8, body: &[u8], out: &mut Vec<u8>) {
    out.push(kind);
    write_length(body.len(), out);
    out.extend_from_slice(body);
}

fn string(text: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(&(text.len() as u16).to_be_bytes());
    out.extend_from_slice(text.as_bytes());
}

/// MQTT 3.1.1, 2.2.3: seven bits a byte, the lowest first.
fn write_length(mut len: usize, out: &mut Vec<u8>) {
    loop {
        let more = if len > 127 { 0x80 } else { 0 };
        out.push((len % 128) as u8 | more);
        len /= 128;
        if more == 0 {
            return;
        }
    }
}

/// The length of a packet's rest, and how many bytes stand before that rest.
fn remaining_length(packet: &[u8]) -> Result<Option<(usize, usize)>> {
    let mut len = 0;
    for (i, byte) in packet.iter().skip(1).take(4).enumerate() {
        len |= usize::from(byte & 0x7f) << (7 * i);
        if byte & 0x80 == 0 {
            return Ok(Some((len, i + 2)));
        }
    }
    ensure!(packet.len() < 5, "an MQTT packet without a length");
    Ok(None)
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use super::*;
    use crate::talk::Content;

    #[test]
    fn lengths_are_read_as_they_are_written() {
        for len in [0, 127, 128, 16_383, 16_384, 2_097_151, 2_097_152] {
            let mut packet = vec![PUBLISH];
            write_length(len, &mut packet);
            let head = packet.len();
            assert_eq!(remaining_length(&packet).ok().flatten(), Some((len, head)));
            assert_eq!(remaining_length(&packet[..head - 1]).ok(), Some(None));
        }
        assert!(remaining_length(&[PUBLISH, 0xff, 0xff, 0xff, 0xff]).is_err());
    }

    #[test]
    fn deliveries_are_counted_however_they_are_cut() {
        let content = Rc::new(Content::new(200));
        let errand = Errand { subscribe: Some("a"), publish: Some("a"), ..Errand::idle(0, &content) };
        for step in 1..=300 {
            let mut mqtt = Mqtt::new(errand.clone(), 1);
            let mut wire = Vec::new();
            (0..5).for_each(|_| mqtt.publish(&mut wire));
            let (mut seen, mut held, mut answers) = (Seen::default(), Vec::new(), Vec::new());
            for piece in wire.chunks(step) {
                held.extend_from_slice(piece);
                let taken = mqtt.parse(&held, &mut answers, &mut seen).expect("what we wrote ourselves");
                held.drain(..taken);
            }
            assert_eq!((seen.delivered, held.len(), mqtt.skip), (5, 0, 0), "pieces of {step}");
            assert_eq!(
                answers,
                [
                    [PUBACK, 2, 0, 1],
                    [PUBACK, 2, 0, 2],
                    [PUBACK, 2, 0, 3],
                    [PUBACK, 2, 0, 4],
                    [PUBACK, 2, 0, 5]
                ]
                .concat()
            );
        }
    }
}
