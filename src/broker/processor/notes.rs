//! Notes beside the logs: what a client's certificate and a request to join are in the store, and
//! that they are there while the broker remembers them.
//!
//! Each begins with a byte for its version. A client's, under its fingerprint: flags (1: offered to
//! creators), u64 last seen, the certificate in DER. A request's, under the client's fingerprint and
//! the topic's name: u64 time of its coming, the request as the client signed it.

use super::{Pending, Processor};
use crate::base::Wall;
use crate::base::ids::Fingerprint;
use crate::base::names::TopicName;
use crate::chain;
use crate::store::{Note, NoteKind, Op, Outcome, StoreError};
use crate::wire::{Reader, WireError, Writer};

/// A known client.
pub struct ClientNote<'a> {
    pub is_offered: bool,
    pub last_seen: Wall,
    /// In DER.
    pub certificate: &'a [u8],
}

/// A request that nobody has answered.
pub struct RequestNote<'a> {
    pub time: Wall,
    pub ask: &'a [u8],
}

/// The only version there is, of both.
const VERSION: u8 = 1;
const OFFERED: u8 = 1;

impl ClientNote<'_> {
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(10 + self.certificate.len());
        let mut w = Writer::new(&mut out);
        w.u8(VERSION);
        w.u8(if self.is_offered { OFFERED } else { 0 });
        w.u64(self.last_seen.0);
        w.bytes(self.certificate);
        out
    }

    pub fn decode(value: &[u8]) -> Result<ClientNote<'_>, WireError> {
        let mut r = versioned(value)?;
        let flags = r.u8()?;
        if flags & !OFFERED != 0 {
            return Err(WireError::BadValue("flags of a client"));
        }
        let last_seen = Wall(r.u64()?);
        Ok(ClientNote { is_offered: flags == OFFERED, last_seen, certificate: r.rest() })
    }
}

impl RequestNote<'_> {
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(9 + self.ask.len());
        let mut w = Writer::new(&mut out);
        w.u8(VERSION);
        w.u64(self.time.0);
        w.bytes(self.ask);
        out
    }

    pub fn decode(value: &[u8]) -> Result<RequestNote<'_>, WireError> {
        let mut r = versioned(value)?;
        let time = Wall(r.u64()?);
        Ok(RequestNote { time, ask: r.rest() })
    }
}

/// The key of a request's note.
pub fn request_key(topic: &TopicName, client: &Fingerprint) -> Vec<u8> {
    [&client.0, topic.as_str().as_bytes()].concat()
}

fn versioned(value: &[u8]) -> Result<Reader<'_>, WireError> {
    let mut r = Reader::new(value);
    match r.u8()? {
        VERSION => Ok(r),
        _ => Err(WireError::BadValue("version of a note")),
    }
}

impl Processor {
    /// Forgets the note of a request that is settled, outlived or without its topic.
    pub(super) fn drop_request_note(&mut self, topic: &TopicName, client: &Fingerprint) {
        let key = request_key(topic, client);
        self.submit_note(Op::Drop { kind: NoteKind::Request, key }, Pending::Note);
    }

    /// Lets the store have a client as it is known, if it has not. Whatever is submitted behind it,
    /// such as a record that names the client, is not stored before it.
    pub(super) fn keep_client(&mut self, client: &Fingerprint) {
        let Some(note) = self.clients.keep(client) else { return };
        let note = Note { kind: NoteKind::Client, key: client.0.to_vec(), value: note.encode() };
        self.submit_note(Op::Put { note }, Pending::Client(*client));
    }

    /// The same for all whom a record names, in case there was no room before.
    pub(super) fn keep_named(&mut self, signer: &Fingerprint, change: &chain::Change) {
        self.keep_client(signer);
        for added in &change.delta().added {
            self.keep_client(&added.fingerprint);
        }
    }

    pub(super) fn client_kept(&mut self, client: &Fingerprint, result: &Result<Outcome, StoreError>) {
        if result.is_err() {
            self.clients.not_kept(client);
        }
    }

    pub(super) fn submit_note(&mut self, op: Op, pending: Pending) {
        let ticket = self.store.submit(op);
        self.pending.insert(ticket, pending);
        self.submitted();
    }
}
