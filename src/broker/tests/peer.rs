//! A client's end of a connection: it seals what a test says and opens what the broker does.

use crate::base::Wall;
use crate::base::ids::{ConnId, RequestId};
use crate::crypto::cert::Certificate;
use crate::crypto::digest::sha256;
use crate::crypto::key::PrivateKey;
use crate::session::{Opener, Sealer};
use crate::wire::frame::{BrokerFrame, ClientFrame, scan_bodies};

pub struct Peer {
    pub id: ConnId,
    pub key: PrivateKey,
    pub certificate: Certificate,
    sealer: Sealer,
    opener: Opener,
    /// Bytes from the broker that are not whole records yet.
    unread: Vec<u8>,
    pub frames: Vec<BrokerFrame>,
    pub bodies: Vec<Vec<u8>>,
    next_request: u32,
}

impl Peer {
    pub fn new(
        id: ConnId,
        key: PrivateKey,
        certificate: Certificate,
        sealer: Sealer,
        opener: Opener,
    ) -> Peer {
        Peer {
            id,
            key,
            certificate,
            sealer,
            opener,
            unread: Vec::new(),
            frames: Vec::new(),
            bodies: Vec::new(),
            next_request: 0,
        }
    }

    pub fn request(&mut self) -> RequestId {
        self.next_request += 1;
        RequestId(self.next_request)
    }

    pub fn seal(&mut self, frames: &[ClientFrame], bodies: &[&[u8]], now: Wall) -> Vec<u8> {
        let mut out = Vec::new();
        let start = self.sealer.begin(&mut out);
        frames.iter().for_each(|frame| frame.encode(&mut out));
        self.sealer.finish(&mut out, start, now, &[3; 16]);
        bodies.iter().for_each(|body| out.extend_from_slice(body));
        out
    }

    pub fn take(&mut self, bytes: &[u8]) {
        self.unread.extend_from_slice(bytes);
        while let Some((len, _)) = self.unread.split_first_chunk::<4>() {
            let end = 4 + u32::from_be_bytes(*len) as usize;
            if self.unread.len() < end {
                return;
            }
            let mut token = self.unread[4..end].to_vec();
            let frames = self.opener.open(&mut token).expect("a good record");
            let mut at = end;
            for body in scan_bodies(frames).expect("good frames") {
                let body_bytes = self.unread[at..at + body.len as usize].to_vec();
                assert_eq!(sha256(&body_bytes), body.sha256);
                at += body_bytes.len();
                self.bodies.push(body_bytes);
            }
            self.frames.extend(BrokerFrame::decode_all(frames).expect("good frames"));
            self.unread.drain(..at);
        }
    }
}
