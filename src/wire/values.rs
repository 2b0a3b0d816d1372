//! Small values of frames: codes, starts, retention, list entries.

use std::fmt;

use super::codec::{Reader, WireError, Writer};
use super::field::Field;
use super::policy::{History, JoinPolicy, Role};
use crate::base::ids::{Fingerprint, Incarnation, Offset, TopicId};
use crate::base::limits::{RETAIN_BYTES, RETAIN_COUNT};
use crate::base::names::{Name, TopicName};
use crate::base::time::Wall;

/// An enum that stands as an integer; an unknown number is refused.
macro_rules! codes {
    ($(#[$doc:meta])* $name:ident: $int:ident, $what:literal {
        $($(#[$code_doc:meta])* $code:ident = $number:literal),* $(,)?
    }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $name {
            $($(#[$code_doc])* $code = $number),*
        }

        impl $name {
            pub const ALL: &[$name] = &[$($name::$code),*];
        }

        impl Field for $name {
            fn put(&self, w: &mut Writer<'_>) {
                w.$int(*self as $int);
            }

            fn take(r: &mut Reader<'_>) -> Result<Self, WireError> {
                match r.$int()? {
                    $($number => Ok($name::$code),)*
                    _ => Err(WireError::BadValue($what)),
                }
            }
        }
    };
}

codes! {
    /// Why a session ends.
    CloseCode: u16, "close code" {
        /// `exit`.
        Normal = 0,
        /// The broker stops or restarts; the client may come back.
        ShuttingDown = 1,
        /// The peer broke the protocol.
        ProtocolError = 2,
        /// The peer's certificate was revoked.
        Revoked = 3,
        /// The peer's certificate has expired.
        Expired = 4,
        /// Nothing was heard for twice the keepalive.
        Dead = 5,
        /// A limit that answers cannot express.
        Limit = 6,
    }
}

codes! {
    /// Why a command was refused.
    RefuseCode: u16, "refusal code" {
        NoSuchTopic = 1,
        /// The name is taken by a topic.
        Exists = 2,
        /// The client is not a member.
        NotMember = 3,
        /// The client has asked to join; nobody has answered yet. `detail` is when the owner was last
        /// seen, in milliseconds since 1970, 0 for never.
        NoKeyYet = 4,
        /// The broker's configuration does not let this client create this name.
        MayNotCreate = 5,
        /// A limit is reached; `detail` is the limit.
        Limit = 6,
        StorageFull = 7,
        /// `detail` is the largest body in bytes.
        TooLarge = 8,
        /// The handle or publisher slot was never given out, or has ended.
        UnknownHandle = 9,
        /// `detail` is the counter that the broker expects.
        CounterAhead = 10,
        /// `detail` is the epoch that now holds.
        EpochChanged = 11,
        /// A membership record does not hold; the text says why.
        BadRecord = 12,
        /// Another record was appended before; rebuild on the new head.
        HeadMoved = 13,
        /// The staged wraps are not those that the record names.
        BadWraps = 14,
        /// Try again later; `detail` is the delay in milliseconds.
        Busy = 15,
        /// The topic was deleted.
        Deleted = 16,
        /// The counter is so old that its offset is no longer known; the message was stored.
        Forgotten = 17,
        /// A message that the publisher sent before this one was refused.
        EarlierRefused = 18,
        /// The broker keeps topics in memory only.
        NotDurable = 19,
        /// Owner or admin do not want this client in the topic; the text may say why.
        Denied = 20,
        /// The topic takes nobody who asks.
        Closed = 21,
        /// Only the owner, or an admin, may do this; the text says who.
        NotAllowed = 22,
        /// What the broker has on disk at this place is not what was stored; it serves none of it.
        Damaged = 23,
    }
}

codes! {
    /// What "answered" means for a topic.
    Durability: u8, "durability" {
        /// Answered at once, kept in RAM only.
        Memory = 0,
        /// Answered, and delivered, after it reached the disk.
        Disk = 1,
    }
}

codes! {
    /// Why delivery does not begin where it was asked to.
    Notice: u8, "notice" {
        None = 0,
        /// The offset belongs to an earlier log of this name; delivery begins at the earliest.
        OtherIncarnation = 1,
        /// The offset lies beyond the end; delivery begins at the earliest.
        BeyondEnd = 2,
    }
}

/// Where delivery begins: `u8 kind | u64 | u64`, unused numbers zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Start {
    /// Membership records only.
    RecordsOnly,
    /// The oldest message that is kept.
    Earliest,
    /// The next message.
    Latest,
    /// So many messages before the end.
    Last(u64),
    /// The first message that the broker received at or after this time.
    Since(Wall),
    Offset(Offset),
    /// An offset in a log that the client has read before.
    Resume(Offset, Incarnation),
}

impl Field for Start {
    fn put(&self, w: &mut Writer<'_>) {
        let (kind, a, b) = match *self {
            Start::RecordsOnly => (0, 0, 0),
            Start::Earliest => (1, 0, 0),
            Start::Latest => (2, 0, 0),
            Start::Last(count) => (3, count, 0),
            Start::Since(time) => (4, time.0, 0),
            Start::Offset(offset) => (5, offset.0, 0),
            Start::Resume(offset, incarnation) => (6, offset.0, incarnation.0),
        };
        w.u8(kind);
        w.u64(a);
        w.u64(b);
    }

    fn take(r: &mut Reader<'_>) -> Result<Self, WireError> {
        match (r.u8()?, r.u64()?, r.u64()?) {
            (0, 0, 0) => Ok(Start::RecordsOnly),
            (1, 0, 0) => Ok(Start::Earliest),
            (2, 0, 0) => Ok(Start::Latest),
            (3, count, 0) => Ok(Start::Last(count)),
            (4, time, 0) => Ok(Start::Since(Wall(time))),
            (5, offset, 0) => Ok(Start::Offset(Offset(offset))),
            (6, offset, incarnation) => Ok(Start::Resume(Offset(offset), Incarnation(incarnation))),
            _ => Err(WireError::BadValue("start")),
        }
    }
}

/// How much of a topic is kept: whichever limit is reached first, 0 for none. Records always stay.
/// `u64 count | u64 bytes | u64 milliseconds`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Messages.
    pub count: u64,
    /// Bytes of sealed bodies.
    pub bytes: u64,
    /// Milliseconds since a message was received.
    pub age_ms: u64,
}

impl Default for Retention {
    fn default() -> Retention {
        Retention { count: RETAIN_COUNT, bytes: RETAIN_BYTES, age_ms: 0 }
    }
}

impl Field for Retention {
    fn put(&self, w: &mut Writer<'_>) {
        w.u64(self.count);
        w.u64(self.bytes);
        w.u64(self.age_ms);
    }

    fn take(r: &mut Reader<'_>) -> Result<Self, WireError> {
        Ok(Retention { count: r.u64()?, bytes: r.u64()?, age_ms: r.u64()? })
    }
}

/// A client that the broker knows: `bytes16 certificate | u64 last seen, 0 for never`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientEntry {
    pub certificate: Vec<u8>,
    pub last_seen: Wall,
}

impl Field for ClientEntry {
    fn put(&self, w: &mut Writer<'_>) {
        self.certificate.put(w);
        self.last_seen.put(w);
    }

    fn take(r: &mut Reader<'_>) -> Result<Self, WireError> {
        Ok(ClientEntry { certificate: Field::take(r)?, last_seen: Field::take(r)? })
    }
}

/// A topic in a listing; its fields stand in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicEntry {
    pub name: TopicName,
    pub topic: TopicId,
    /// What the asking client is in it, if it is a member.
    pub role: Option<Role>,
    pub owner: Name,
    pub owner_fingerprint: Fingerprint,
    /// When the owner was last connected; 0 for never.
    pub owner_seen: Wall,
    pub members: u16,
    pub join: JoinPolicy,
    pub history: History,
    /// To owner and admins: how many ask to join, and whether a member's certificate was revoked.
    pub requests: u16,
    pub rotate_due: bool,
    pub durability: Durability,
    pub retention: Retention,
    pub incarnation: Incarnation,
    /// The oldest entry kept that is a message, or `next`.
    pub first: Offset,
    /// The offset that the next entry gets.
    pub next: Offset,
    pub messages: u64,
    /// Bytes of the sealed bodies kept.
    pub bytes: u64,
    /// When the oldest message was received; 0 for none.
    pub oldest: Wall,
}

impl Field for TopicEntry {
    fn put(&self, w: &mut Writer<'_>) {
        self.name.put(w);
        self.topic.put(w);
        self.role.put(w);
        self.owner.put(w);
        self.owner_fingerprint.put(w);
        self.owner_seen.put(w);
        self.members.put(w);
        self.join.put(w);
        self.history.put(w);
        self.requests.put(w);
        self.rotate_due.put(w);
        self.durability.put(w);
        self.retention.put(w);
        self.incarnation.put(w);
        self.first.put(w);
        self.next.put(w);
        self.messages.put(w);
        self.bytes.put(w);
        self.oldest.put(w);
    }

    fn take(r: &mut Reader<'_>) -> Result<Self, WireError> {
        Ok(TopicEntry {
            name: Field::take(r)?,
            topic: Field::take(r)?,
            role: Field::take(r)?,
            owner: Field::take(r)?,
            owner_fingerprint: Field::take(r)?,
            owner_seen: Field::take(r)?,
            members: Field::take(r)?,
            join: Field::take(r)?,
            history: Field::take(r)?,
            requests: Field::take(r)?,
            rotate_due: Field::take(r)?,
            durability: Field::take(r)?,
            retention: Field::take(r)?,
            incarnation: Field::take(r)?,
            first: Field::take(r)?,
            next: Field::take(r)?,
            messages: Field::take(r)?,
            bytes: Field::take(r)?,
            oldest: Field::take(r)?,
        })
    }
}

/// Somebody who asks to join: `str16 topic | u64 when | bytes16 signed request | bytes16 certificate`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinEntry {
    pub topic: TopicName,
    /// When the broker received it.
    pub time: Wall,
    pub ask: Vec<u8>,
    /// That of whoever asks.
    pub certificate: Vec<u8>,
}

impl Field for JoinEntry {
    fn put(&self, w: &mut Writer<'_>) {
        self.topic.put(w);
        self.time.put(w);
        self.ask.put(w);
        self.certificate.put(w);
    }

    fn take(r: &mut Reader<'_>) -> Result<Self, WireError> {
        Ok(JoinEntry {
            topic: Field::take(r)?,
            time: Field::take(r)?,
            ask: Field::take(r)?,
            certificate: Field::take(r)?,
        })
    }
}

/// One of the broker's counters: `str16 name | u64`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stat {
    pub name: String,
    pub value: u64,
}

impl Field for Stat {
    fn put(&self, w: &mut Writer<'_>) {
        self.name.put(w);
        self.value.put(w);
    }

    fn take(r: &mut Reader<'_>) -> Result<Self, WireError> {
        Ok(Stat { name: Field::take(r)?, value: Field::take(r)? })
    }
}

impl fmt::Display for RefuseCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            RefuseCode::NoSuchTopic => "no such topic",
            RefuseCode::Exists => "a topic of this name exists",
            RefuseCode::NotMember => "not a member of the topic",
            RefuseCode::NoKeyYet => "asked to join, not answered yet",
            RefuseCode::MayNotCreate => "not allowed to create this name",
            RefuseCode::Limit => "a limit is reached",
            RefuseCode::StorageFull => "storage full",
            RefuseCode::TooLarge => "message too large",
            RefuseCode::UnknownHandle => "unknown topic handle or publisher slot",
            RefuseCode::CounterAhead => "publisher counter ahead of the broker's",
            RefuseCode::EpochChanged => "epoch changed",
            RefuseCode::BadRecord => "membership record refused",
            RefuseCode::HeadMoved => "another membership record came first",
            RefuseCode::BadWraps => "wraps do not match the record",
            RefuseCode::Busy => "busy",
            RefuseCode::Deleted => "topic deleted",
            RefuseCode::Forgotten => "stored, but the offset is no longer known",
            RefuseCode::NotDurable => "this broker keeps topics in memory only",
            RefuseCode::Denied => "the topic's owner or an admin said no",
            RefuseCode::Closed => "the topic takes nobody who asks",
            RefuseCode::NotAllowed => "not yours to do",
            RefuseCode::Damaged => "damaged on the broker's disk",
            RefuseCode::EarlierRefused => "an earlier message was refused",
        })
    }
}

impl fmt::Display for CloseCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            CloseCode::Normal => "ended",
            CloseCode::ShuttingDown => "the broker is shutting down",
            CloseCode::ProtocolError => "the protocol was broken",
            CloseCode::Revoked => "the certificate was revoked",
            CloseCode::Expired => "the certificate has expired",
            CloseCode::Dead => "nothing was heard for too long",
            CloseCode::Limit => "a limit was exceeded",
        })
    }
}
