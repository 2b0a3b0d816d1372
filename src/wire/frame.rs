//! The frames inside a session's records: what a client may say, and what a broker may.
//!
//! A frame is `u8 type | u16 length | payload`; a payload has no trailing bytes. Which
//! fields a frame has stands once, in the tables below; `docs/PROTOCOL.md` says what they mean.

use super::body::{Body, BodyRef};
use super::codec::{Reader, WireError, Writer};
use super::field::Field;
use super::values::{
    ClientEntry, CloseCode, Durability, JoinEntry, Notice, RefuseCode, Retention, Start, Stat, TopicEntry,
};
use crate::base::ids::{
    Counter, Epoch, Fingerprint, Incarnation, Offset, PublisherId, RequestId, TopicHandle,
};
use crate::base::names::{Name, TopicFilter, TopicName};
use crate::base::time::Wall;

/// Bytes of a frame before its payload.
pub const FRAME_HEADER_BYTES: usize = 3;

/// Writes one table of frames as an enum with its coding.
macro_rules! frames {
    ($(#[$doc:meta])* $name:ident {
        $($(#[$frame_doc:meta])* $type:literal $frame:ident { $($field:ident: $kind:ty),* $(,)? })*
    }) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub enum $name {
            $($(#[$frame_doc])* $frame { $($field: $kind),* },)*
        }

        impl $name {
            /// The name of each frame with its type byte, in the order of the table.
            pub const TYPES: &[(u8, &str)] = &[$(($type, stringify!($frame))),*];

            /// The frame's name, for traces.
            pub fn label(&self) -> &'static str {
                match self { $($name::$frame { .. } => stringify!($frame),)* }
            }

            /// Appends the frame, header included.
            ///
            /// # Panics
            /// If a payload exceeds 65,535 bytes: callers keep to the limits of each field.
            pub fn encode(&self, out: &mut Vec<u8>) {
                match self {
                    $($name::$frame { $($field),* } => {
                        let _at = begin(out, $type);
                        $($field.put(&mut Writer::new(out));)*
                        end(out, _at);
                    })*
                }
            }

            fn decode(kind: u8, payload: &[u8]) -> Result<$name, WireError> {
                let mut _r = Reader::new(payload);
                let frame = match kind {
                    $($type => $name::$frame { $($field: <$kind>::take(&mut _r)?),* },)*
                    other => return Err(WireError::UnknownType(other)),
                };
                _r.finish()?;
                Ok(frame)
            }

            /// All frames of a record's plaintext.
            pub fn decode_all(plaintext: &[u8]) -> Result<Vec<$name>, WireError> {
                let mut frames = Vec::new();
                $name::decode_into(plaintext, &mut frames)?;
                Ok(frames)
            }

            /// The same into `frames`; after an error what is there is not all.
            pub fn decode_into(
                mut plaintext: &[u8],
                frames: &mut impl Extend<$name>,
            ) -> Result<(), WireError> {
                while let Some(raw) = RawFrame::split_off(&mut plaintext)? {
                    frames.extend(Some($name::decode(raw.kind, raw.payload)?));
                }
                Ok(())
            }
        }
    };
}

frames! {
    /// What a client says once it is Active.
    ClientFrame {
        /// Asks for a [`ClientFrame::Pong`]'s counterpart with the same number.
        0x01 Ping { number: u64 }
        0x02 Pong { number: u64 }
        /// The sender's last frame; `sequence` is that of the record it stands in.
        0x03 Close { sequence: u64, code: CloseCode, text: String }
        /// Makes a topic from its first two records; the wraps were staged before.
        0x10 Create {
            request: RequestId,
            name: TopicName,
            durability: Durability,
            retention: Retention,
            genesis: Vec<u8>,
            delta: Vec<u8>,
        }
        /// Opens one topic: its records are delivered, and from `start` its messages.
        0x11 Open { request: RequestId, name: TopicName, start: Start }
        /// Opens each topic, present and future, that the filter matches and the client may read.
        0x12 Subscribe { request: RequestId, filter: TopicFilter, start: Start }
        0x13 Unsubscribe { request: RequestId, filter: TopicFilter }
        /// Names a publisher id, to be spoken of as `slot` in this session.
        0x14 Publisher { slot: u16, id: PublisherId, delegation: Vec<u8> }
        0x15 Publish { slot: u16, topic: TopicHandle, epoch: Epoch, counter: Counter, body: Body }
        /// Stages wraps for the next Create or Append, in the order of its record's hashes.
        0x16 Wraps { wraps: Vec<Vec<u8>> }
        /// Appends a membership record; its `previous` must be the topic's head.
        0x17 Append { request: RequestId, topic: TopicHandle, record: Vec<u8> }
        /// Asks for known clients' certificates, in fingerprint order, above `after`.
        0x18 ListClients { request: RequestId, after: Fingerprint, names: Vec<Name> }
        /// Asks for topics, in name order, above `after` (empty: from the first).
        0x19 ListTopics { request: RequestId, after: String, filter: TopicFilter }
        0x1a GetStats { request: RequestId }
        0x1b GetCrl { request: RequestId, from: u32 }
        /// Ends the session once all that was accepted is answered. With `forget`, the
        /// publisher ids of this session will not be used again.
        0x1c Exit { forget: bool }
        /// Asks to be let into a topic; `ask` is a signed request.
        0x1d Join { request: RequestId, name: TopicName, ask: Vec<u8> }
        /// Asks who wants to join which of the topics that this client may change, of those that
        /// match, in order of topic and fingerprint, above those given (both empty: from the
        /// first). With `follow`, later ones are told of for as long as the session lasts.
        0x1e ListRequests {
            request: RequestId,
            follow: bool,
            filter: TopicFilter,
            after: String,
            after_client: Fingerprint,
        }
        /// Drops a topic with all that is in it.
        0x1f Delete { request: RequestId, name: TopicName }
        0x20 SetRetention { request: RequestId, name: TopicName, retention: Retention }
        /// Asks for certificates by their fingerprints, revoked and ended ones too.
        0x21 GetCertificates { request: RequestId, fingerprints: Vec<Fingerprint> }
        /// Stages the certificate of a recovery key for the next Create or Append.
        0x22 RecoveryCertificate { certificate: Vec<u8> }
    }
}

frames! {
    /// What a broker says once a client is Active.
    BrokerFrame {
        0x01 Ping { number: u64 }
        0x02 Pong { number: u64 }
        0x03 Close { sequence: u64, code: CloseCode, text: String }
        /// The first frame of a session.
        0x40 Welcome {
            time: Wall,
            keepalive_secs: u16,
            message_bytes_max: u32,
            window: u16,
            crl_number: u64,
            version: String,
        }
        0x41 Done { request: RequestId }
        0x42 Refused { request: RequestId, code: RefuseCode, detail: u64, text: String }
        /// A topic is open under `topic`; delivery begins at `start`, the log now ends before `end`.
        0x43 Topic {
            request: RequestId,
            topic: TopicHandle,
            name: TopicName,
            incarnation: Incarnation,
            start: Offset,
            end: Offset,
            durability: Durability,
            notice: Notice,
        }
        0x44 Subscribed { request: RequestId, matched: u32, others: u32 }
        0x45 Published { slot: u16, topic: TopicHandle, counter: Counter, offset: Offset }
        0x46 PublishRefused { slot: u16, topic: TopicHandle, counter: Counter, code: RefuseCode, detail: u64 }
        /// A membership record, the receiver's own wrap in it if it has one, its signer's certificate.
        0x47 Record {
            topic: TopicHandle,
            offset: Offset,
            time: Wall,
            record: Vec<u8>,
            wrap: Vec<u8>,
            certificate: Vec<u8>,
        }
        /// Who is meant by `sender` in messages of this topic from here on.
        0x48 Sender {
            topic: TopicHandle,
            sender: u32,
            publisher: PublisherId,
            fingerprint: Fingerprint,
            name: Name,
            delegation: Vec<u8>,
            certificate: Vec<u8>,
        }
        0x49 Message {
            topic: TopicHandle,
            offset: Offset,
            time: Wall,
            sender: u32,
            epoch: Epoch,
            counter: Counter,
            body: Body,
        }
        /// All entries below `next` have been sent: the past ends here.
        0x4a CaughtUp { topic: TopicHandle, next: Offset }
        /// The messages from `from` to before `to` are no longer kept.
        0x4b Gap { topic: TopicHandle, from: Offset, to: Offset }
        /// Nothing more comes under this handle.
        0x4c Ended { topic: TopicHandle, code: RefuseCode }
        0x4d Clients { request: RequestId, more: bool, clients: Vec<ClientEntry> }
        0x4e Topics { request: RequestId, more: bool, topics: Vec<TopicEntry> }
        0x4f Stats { request: RequestId, stats: Vec<Stat> }
        0x50 CrlPart { request: RequestId, number: u64, total: u32, from: u32, part: Vec<u8> }
        /// The broker enforces a newer CRL.
        0x51 CrlChanged { number: u64 }
        0x52 Requests { request: RequestId, more: bool, requests: Vec<JoinEntry> }
        /// Somebody asks to join a topic that this client may change.
        0x53 Requested { entry: JoinEntry }
        /// A member of a topic that this client may change has had its certificate revoked.
        0x54 RotateDue { name: TopicName }
    }
}

/// The bodies that follow a record's token, in frame order; inline ones are not among them.
pub fn scan_bodies(mut plaintext: &[u8]) -> Result<Vec<BodyRef>, WireError> {
    let mut refs = Vec::new();
    while let Some(raw) = RawFrame::split_off(&mut plaintext)? {
        if let Some(fixed) = body_position(raw.kind) {
            let field = raw.payload.get(fixed..).ok_or(WireError::Truncated)?;
            if let Body::Beside(body) = Body::take(&mut Reader::new(field))? {
                refs.push(body);
            }
        }
    }
    Ok(refs)
}

/// Where the body field begins in the payload of a frame that has one.
fn body_position(kind: u8) -> Option<usize> {
    match kind {
        0x15 => Some(2 + 4 + 4 + 8),
        0x49 => Some(4 + 8 + 8 + 4 + 4 + 8),
        _ => None,
    }
}

/// A frame before its payload is understood.
struct RawFrame<'a> {
    kind: u8,
    payload: &'a [u8],
}

impl<'a> RawFrame<'a> {
    /// Takes the first frame off `plaintext`; `None` at the end.
    fn split_off(plaintext: &mut &'a [u8]) -> Result<Option<RawFrame<'a>>, WireError> {
        if plaintext.is_empty() {
            return Ok(None);
        }
        let mut r = Reader::new(plaintext);
        let kind = r.u8()?;
        let payload = r.bytes16()?;
        *plaintext = r.rest();
        Ok(Some(RawFrame { kind, payload }))
    }
}

fn begin(out: &mut Vec<u8>, kind: u8) -> usize {
    out.extend_from_slice(&[kind, 0, 0]);
    out.len()
}

fn end(out: &mut [u8], at: usize) {
    let len = u16::try_from(out.len() - at).expect("a payload keeps to the limits of its fields");
    out[at - 2..at].copy_from_slice(&len.to_be_bytes());
}

#[cfg(test)]
mod tests;
