//! What the client tells its caller: news of the connection, answers, messages, and what is wrong.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::failure::{Disconnect, Failure, IntegrityFault};
use super::request::{Join, Ticket};
use crate::base::ids::{Counter, Epoch, Fingerprint, Incarnation, Offset, TopicId};
use crate::base::names::{Name, TopicFilter, TopicName};
use crate::base::{Mono, Wall};
pub use crate::chain::Role as MemberRole;
use crate::wire::values::{Durability, Notice as StartNotice, RefuseCode, Retention, Stat, TopicEntry};

/// What `Client::poll_event` gives, in the order in which it came about.
#[derive(Debug)]
pub enum Event {
    /// The session is up, and the broker proved who it is.
    Connected(Connected),
    /// The session, or the attempt at one, has ended. Unless `fatal`, the client comes back at
    /// `retry_at`. When `fatal`, every ticket has been answered and nothing more will come.
    Disconnected {
        reason: Disconnect,
        fatal: bool,
        retry_at: Option<Mono>,
    },
    /// The one answer to a request.
    Answer {
        ticket: Ticket,
        result: Result<Answer, Failure>,
    },
    /// Delivery of a topic begins: it was subscribed to, or came to match a filter.
    Opened(Opened),
    Message(Message),
    /// All of the topic's past has been delivered; what follows is new.
    CaughtUp {
        topic: TopicName,
        next: Offset,
    },
    /// The messages from `from` to before `to` are no longer kept by the broker.
    Gap {
        topic: TopicName,
        from: Offset,
        to: Offset,
    },
    /// Nothing more comes from this topic.
    Ended {
        topic: TopicName,
        code: RefuseCode,
    },
    /// Something that is not what its sender or the topic's owner made. It was not obeyed, not shown.
    Integrity(Integrity),
    /// A newer revocation list, verified and in force: for the caller to keep.
    CrlUpdated {
        der: Arc<[u8]>,
        number: u64,
    },
    /// Somebody asks to join a topic that we may change; while [`watch`](super::Client::watch) lasts.
    Requested(Request),
    /// A member of a topic that we may change has had its certificate revoked, says the broker.
    RotateDue {
        topic: TopicName,
    },
    /// Something that the person should know, but that stops nothing.
    Notice(Notice),
    /// The session has ended as [`exit`](super::Client::exit) asked. Nothing comes after.
    Closed,
}

/// The broker of a new session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connected {
    pub broker: Name,
    pub fingerprint: Fingerprint,
    /// The broker's program version, as it says.
    pub version: String,
    /// The broker's clock.
    pub time: Wall,
    /// Largest content of a message, in bytes.
    pub message_bytes_max: usize,
    /// Whether there was a session before: the client has come back by itself.
    pub resumed: bool,
}

/// A topic whose messages are about to come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opened {
    pub topic: TopicName,
    pub incarnation: Incarnation,
    /// Where delivery begins.
    pub start: Offset,
    /// Where the log ended when it was opened.
    pub end: Offset,
    pub durability: Durability,
    /// Why delivery does not begin where it was asked to.
    pub notice: StartNotice,
}

/// A message that opened under its topic's key and that its sender has signed, a member at its place.
///
/// `sender`, `fingerprint` and `counter` are proven, as is that it was sent to this topic in this
/// epoch; `offset` and `time` are the broker's word.
#[derive(Clone, PartialEq, Eq)]
pub struct Message {
    pub topic: TopicName,
    pub content: Vec<u8>,
    pub offset: Offset,
    /// When the broker received it.
    pub time: Wall,
    pub sender: Name,
    pub fingerprint: Fingerprint,
    pub epoch: Epoch,
    /// The sender's count in this topic.
    pub counter: Counter,
}

/// Something that did not verify.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Integrity {
    pub topic: TopicName,
    pub offset: Option<Offset>,
    /// Who is said to have sent it.
    pub sender: Option<Name>,
    /// Which of that sender's messages it is said to be.
    pub counter: Option<Counter>,
    pub fault: IntegrityFault,
    /// Whether the topic is given up: neither delivered nor published to by this client any more.
    pub stopped: bool,
}

/// What a person should know, but that stops nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// Our own certificate ends within 30 days.
    CertificateEnds { not_after: Wall },
    /// The broker's certificate ends within 30 days.
    BrokerCertificateEnds { broker: Name, not_after: Wall },
    /// The revocation list should have been replaced by now; it holds all the same.
    CrlPastDue,
    /// The broker's revocation list was not taken; says why.
    CrlRefused(String),
    /// The broker enforces an older revocation list than the one we hold.
    BrokerCrlOlder { ours: u64, broker: u64 },
    /// The broker's log of this topic is gone, and the same owner has made it anew.
    TopicReplaced { topic: TopicName },
    /// A newer record, or revocation list, has mended a topic whose newest record was signed by somebody
    /// revoked.
    SignerGood { topic: TopicName },
    /// The broker's clock and ours are more than five minutes apart.
    ClocksDiffer { broker: Wall, here: Wall },
    /// Somebody who asked for an open topic was made a member by this client.
    LetIn { topic: TopicName, name: Name, fingerprint: Fingerprint },
    /// Somebody who asked for an open topic was not; says why. A person may still decide.
    NotLetIn { topic: TopicName, name: Name, why: String },
    /// Members whose certificates are revoked were removed by this client.
    Rotated { topic: TopicName, epoch: Epoch, removed: Vec<Name> },
}

/// What a request brought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    Created(Created),
    Opened(Opened),
    Subscribed {
        filter: TopicFilter,
        matched: u32,
        others: u32,
    },
    Unsubscribed {
        filter: TopicFilter,
    },
    /// `offset` is unknown only if the message was stored in an earlier session and the broker
    /// has forgotten where.
    Published {
        topic: TopicName,
        counter: Counter,
        offset: Option<Offset>,
    },
    /// In name order.
    Topics(Vec<TopicEntry>),
    Members(Members),
    Stats(Vec<Stat>),
    Pong {
        round_trip: Duration,
    },
    /// In name order.
    Clients(Vec<KnownClient>),
    Amended(Amended),
    Asked(Asked),
    /// In the order of topic and fingerprint.
    Requests(Vec<Request>),
    Deleted {
        topic: TopicName,
    },
    RetentionSet {
        topic: TopicName,
        retention: Retention,
    },
}

/// A topic that was made, and for whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Created {
    pub topic: TopicName,
    pub id: TopicId,
    /// The creator among them, in name order.
    pub members: Vec<Member>,
    pub skipped: Vec<Skipped>,
}

/// A topic's members, as its verified records say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Members {
    pub topic: TopicName,
    pub id: TopicId,
    pub owner: Name,
    pub epoch: Epoch,
    pub join: Join,
    /// In name order.
    pub members: Vec<Member>,
}

/// Somebody who can read a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    pub name: Name,
    pub fingerprint: Fingerprint,
    pub role: MemberRole,
    /// Whether it is this client.
    pub me: bool,
}

/// A topic whose membership was changed, or was as asked for already.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Amended {
    pub topic: TopicName,
    pub id: TopicId,
    /// The newest record's.
    pub number: u32,
    /// Who came, who left, and whose role changed, by what was asked here: each with its role
    /// as it is now, or was last.
    pub added: Vec<Member>,
    pub removed: Vec<Member>,
    pub denied: Vec<Name>,
    pub changed: Vec<Member>,
    /// The newest epoch, and whether it or one before it was started by what was asked here.
    pub epoch: Epoch,
    pub new_epoch: bool,
    /// How many members there are now.
    pub members: usize,
    /// For these nothing had to be done.
    pub unchanged: Vec<Name>,
}

/// A request to join that the broker keeps for a topic's owner and admins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    pub topic: TopicName,
    /// As the broker says.
    pub owner: Name,
    pub owner_fingerprint: Fingerprint,
    /// When the owner was last connected; nothing if never.
    pub owner_seen: Option<Wall>,
}

/// Somebody who asks to join a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    pub topic: TopicName,
    pub name: Name,
    pub fingerprint: Fingerprint,
    /// When the broker received it.
    pub asked: Wall,
    /// Why it may not be granted as it is.
    pub fault: Option<String>,
}

/// A client that was not made a member, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Skipped {
    /// Nothing if the certificate could not even be read.
    pub name: Option<Name>,
    pub fingerprint: Option<Fingerprint>,
    /// What is wrong with the certificate.
    pub why: String,
}

/// A client that the broker knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownClient {
    pub name: Name,
    pub fingerprint: Fingerprint,
    pub not_after: Wall,
    /// Nothing if it never connected.
    pub last_seen: Option<Wall>,
    /// What is wrong with the certificate now, if anything.
    pub fault: Option<String>,
}

impl fmt::Debug for Message {
    /// Without the content.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Message({} {}, {} bytes from {})",
            self.topic,
            self.offset,
            self.content.len(),
            self.sender
        )
    }
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Notice::CertificateEnds { not_after } => {
                write!(f, "your certificate ends on {not_after}; have it renewed with `sealmq ca renew`")
            }
            Notice::BrokerCertificateEnds { broker, not_after } => {
                write!(f, "the certificate of the broker {broker} ends on {not_after}")
            }
            Notice::CrlPastDue => {
                write!(f, "the revocation list should have been replaced by now; it is enforced all the same")
            }
            Notice::CrlRefused(why) => write!(f, "the broker's revocation list was not taken: it {why}"),
            Notice::BrokerCrlOlder { ours, broker } => {
                write!(f, "the broker enforces revocation list {broker}, but {ours} has been issued")
            }
            Notice::TopicReplaced { topic } => {
                write!(f, "{topic} is a new topic of the same owner; what was in the old one is gone")
            }
            Notice::SignerGood { topic } => {
                write!(f, "{topic} goes on: its newest membership record is signed by somebody in force")
            }
            Notice::ClocksDiffer { broker, here } => {
                write!(f, "the broker's clock says {broker}, this host's {here}")
            }
            Notice::LetIn { topic, name, fingerprint } => {
                write!(f, "{name} ({}) asked to join {topic} and was let in", fingerprint.short())
            }
            Notice::NotLetIn { topic, name, why } => {
                write!(f, "{name} asks to join {topic} and was not let in: {why}")
            }
            Notice::Rotated { topic, epoch, removed } => {
                write!(f, "{topic} has epoch {epoch}, without")?;
                removed.iter().try_for_each(|name| write!(f, " {name}"))?;
                write!(f, ", whose certificates are revoked")
            }
        }
    }
}
