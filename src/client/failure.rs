//! Why a session ended, a request failed, or something was not believed.
//!
//! Each failure belongs to one exit code of the command line, and carries what a good
//! sentence about it needs.

use std::fmt;

use crate::base::Wall;
use crate::base::ids::{Counter, Epoch, Fingerprint, Offset, TopicId};
use crate::base::names::{Name, TopicName};
use crate::wire::handshake::RefusalCode;
use crate::wire::values::{CloseCode, RefuseCode};

/// Why a request failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// No session, and none will come: why the last attempt ended.
    Session(Disconnect),
    /// The connection was lost while the request was under way; whether the broker did it is not known.
    ConnectionLost,
    /// The client was told to exit before the answer came.
    Exiting,
    NoSuchTopic(TopicName),
    Exists(TopicName),
    NotMember(TopicName),
    MayNotCreate(TopicName),
    /// A member, but nobody has wrapped the topic's key for us.
    NoKey(TopicName),
    /// The topic was given up.
    Integrity(TopicName, IntegrityFault),
    /// Two certificates in force under one name, with different keys.
    TwoKeys {
        name: Name,
        fingerprints: Vec<Fingerprint>,
    },
    /// The name is pinned to another key than the one that it came with.
    PeerChanged {
        name: Name,
        pinned: Fingerprint,
        now: Fingerprint,
    },
    /// The broker knows no client of these names.
    UnknownClients(Vec<Name>),
    /// The broker knows the client, but its certificate is not good; says why.
    BadClient {
        name: Name,
        why: String,
    },
    TooManyMembers {
        count: usize,
        max: usize,
    },
    TooLarge {
        bytes: usize,
        max: usize,
    },
    /// The owner or an admin said no, with a reason that may be empty; also to who was removed.
    Denied {
        topic: TopicName,
        because: String,
    },
    /// The topic takes nobody who asks.
    Closed {
        topic: TopicName,
    },
    /// Not ours to do; says whose.
    NotAllowed {
        topic: TopicName,
        text: String,
    },
    /// Asked to join, and not answered yet; when the owner was last connected, if it was.
    Waiting {
        topic: TopicName,
        owner_seen: Option<Wall>,
    },
    /// Asked to join, and a member already.
    AlreadyMember(TopicName),
    /// The broker gave other members' certificates than those that were asked for; says how.
    WrongCertificates {
        topic: TopicName,
        why: String,
    },
    /// Others changed the topic's members each time before we could.
    Crowded(TopicName),
    /// Anything else that the broker refused.
    Refused {
        code: RefuseCode,
        detail: u64,
        text: String,
    },
    /// The broker answered in a way that makes no sense.
    Nonsense(&'static str),
    /// The publisher id that the caller keeps is not good any more: which of the messages that were sent under
    /// it are stored is not known.
    CountersLost(TopicName),
    /// Something went wrong on this side; says what.
    Machine(String),
}

/// Why a session, or an attempt at one, ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Disconnect {
    /// No connection could be made; the driver's words.
    Unreachable(String),
    /// The connection was cut, without the broker's goodbye; the driver's words, if it has any.
    Lost(Option<String>),
    /// The broker ended the session.
    Closed { code: CloseCode, text: String },
    /// The broker refused the handshake. Only when `authentic` it is sure that it was the broker.
    Refused { code: RefusalCode, text: String, authentic: bool },
    /// The broker's certificate is not good; says why.
    BrokerCertificate(String),
    /// The broker's certificate is not for the host that was dialled.
    WrongHost { host: String, broker: Name, hosts: Vec<String> },
    /// The handshake was not answered in time.
    HandshakeTimeout,
    /// Nothing was heard for twice the keepalive.
    BrokerSilent,
    /// What came was not what the protocol allows, or did not verify.
    Protocol(String),
    /// We ended the session because of something on this side; says what.
    Fault(String),
}

/// Why a record or a message was not believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IntegrityFault {
    /// A membership record that does not follow from those before it; says why.
    BadRecord(String),
    /// A record signer's certificate is not good; says why.
    BadSigner(String),
    /// The topic is another than the one of this name that was opened before, and was replaced by that.
    OtherTopic { before: TopicId, now: TopicId },
    /// The records are not those that were seen before: an older state, or a fork.
    OtherHistory,
    /// The topic of this name belongs to another owner than the one that is remembered.
    OwnerChanged { pinned: Fingerprint, pinned_name: Name, now: Fingerprint, now_name: Name },
    /// The topic's owner is not the one that the caller insists on.
    NotOwnedBy { expected: Name, now: Fingerprint, now_name: Name },
    /// There are fewer records than were seen before; the numbers of the newest then and now.
    OlderChain { pinned: u32, now: u32 },
    /// The same topic in another log: what was in the first was put aside.
    OtherLog,
    /// The name is pinned to another key than the one that it came with.
    PeerChanged { name: Name, pinned: Fingerprint, now: Fingerprint },
    /// The newest membership record is signed by somebody whose certificate was revoked. Passes with a
    /// record of somebody else.
    RevokedSigner { name: Name },
    /// The wrap is not the one that the record names.
    WrongWrap,
    /// The wrap does not open with our key.
    BadWrap,
    /// The key is not the one that the record commits to.
    WrongKey,
    /// The sender's certificate is not good, or not the one named; says why.
    BadSender(String),
    /// The sender was never a member of the topic that may publish.
    StrangeSender,
    /// The sender became a member only behind the message's place.
    NotYetMember,
    /// The sender was removed before the message's place.
    NoLongerMember,
    /// The sender did not hand the signing to this publisher; says why.
    BadDelegation(String),
    /// The message came to the broker outside the time for which its sender handed the signing on.
    OutOfTime,
    /// A message of a sender that the broker has not introduced.
    UnknownSender,
    /// A message of an epoch that did not hold at its place.
    StaleEpoch { epoch: Epoch, expected: Epoch },
    /// The body does not open under the epoch's key: forged or damaged.
    BadBody,
    /// The body is not signed by its sender: somebody else who has the topic's key made it.
    BadSignature,
    /// A body without a signature: any member may have made it.
    UnsignedBody,
    /// The body was sealed for another topic.
    WrongTopic,
    /// The body was sealed for another epoch.
    WrongEpoch,
    /// The body is another publisher's.
    WrongPublisher,
    /// The body stands under another number than its sender gave it.
    WrongCounter { stated: Counter, sealed: Counter },
    /// A body in a form that this version does not know.
    UnknownBody,
    /// A message that was delivered before.
    Replayed { counter: Counter },
    /// This message of the sender was read before at another place, or another one at its place.
    Rewritten { counter: Counter },
    /// Messages of this sender are missing.
    Missing { expected: Counter, got: Counter },
    /// Entries of the topic were left out without a word.
    Skipped { from: Offset, to: Offset },
    /// No key for this epoch.
    NoKey { epoch: Epoch },
}

impl Failure {
    /// What a refusal means, for a request about `topic` if it was about one.
    pub(super) fn from_refusal(
        topic: Option<&TopicName>,
        code: RefuseCode,
        detail: u64,
        text: String,
    ) -> Failure {
        let Some(topic) = topic.cloned() else { return Failure::Refused { code, detail, text } };
        match code {
            RefuseCode::NoSuchTopic | RefuseCode::Deleted => Failure::NoSuchTopic(topic),
            RefuseCode::Exists => Failure::Exists(topic),
            RefuseCode::NotMember => Failure::NotMember(topic),
            RefuseCode::MayNotCreate => Failure::MayNotCreate(topic),
            RefuseCode::NoKeyYet => {
                Failure::Waiting { topic, owner_seen: Some(Wall(detail)).filter(|seen| *seen != Wall(0)) }
            }
            RefuseCode::Denied => Failure::Denied { topic, because: text },
            RefuseCode::Closed => Failure::Closed { topic },
            RefuseCode::NotAllowed => {
                let text = if text.is_empty() { code.to_string() } else { text };
                Failure::NotAllowed { topic, text }
            }
            _ => Failure::Refused { code, detail, text },
        }
    }

    /// The command line's exit code.
    pub fn exit_code(&self) -> u8 {
        match self {
            Failure::Session(reason) => reason.exit_code(),
            Failure::ConnectionLost => 3,
            Failure::NotMember(_) | Failure::MayNotCreate(_) | Failure::NotAllowed { .. } => 5,
            Failure::Denied { .. } | Failure::Closed { .. } => 5,
            Failure::NoKey(_) | Failure::Waiting { .. } => 6,
            Failure::Integrity(..) | Failure::TwoKeys { .. } => 7,
            Failure::PeerChanged { .. } | Failure::WrongCertificates { .. } => 7,
            Failure::BadClient { .. } => 4,
            _ => 1,
        }
    }
}

impl IntegrityFault {
    /// Whether somebody did wrong. A message of before one joined has no key here by design.
    pub fn accuses(&self) -> bool {
        !matches!(self, IntegrityFault::NoKey { .. })
    }
}

impl Disconnect {
    /// The command line's exit code.
    pub fn exit_code(&self) -> u8 {
        match self {
            Disconnect::BrokerCertificate(_) | Disconnect::WrongHost { .. } => 4,
            Disconnect::Refused { authentic: true, code, .. } if is_about_us(*code) => 4,
            Disconnect::Closed { code: CloseCode::Revoked | CloseCode::Expired, .. } => 4,
            Disconnect::Protocol(_) => 7,
            Disconnect::Fault(_) => 1,
            _ => 3,
        }
    }
}

/// Whether a refusal speaks of our certificate or signature.
pub(super) fn is_about_us(code: RefusalCode) -> bool {
    matches!(
        code,
        RefusalCode::CertMalformed
            | RefusalCode::CertExpired
            | RefusalCode::CertNotYetValid
            | RefusalCode::CertRevoked
            | RefusalCode::CertWrongCa
            | RefusalCode::CertWrongName
            | RefusalCode::CertWrongUsage
            | RefusalCode::Authentication
    )
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Session(reason) => write!(f, "{reason}"),
            Failure::ConnectionLost => {
                write!(f, "the connection was lost before the answer came; whether it was done is not known")
            }
            Failure::Exiting => write!(f, "ended before the answer came"),
            Failure::NoSuchTopic(topic) => {
                write!(f, "there is no topic {topic}; `sealmq create '{topic}'` makes it")
            }
            Failure::Exists(topic) => write!(f, "there is a topic {topic} already"),
            Failure::NotMember(topic) => write!(f, "you are not a member of {topic}"),
            Failure::MayNotCreate(topic) => {
                write!(f, "the broker's create rules do not let you make {topic}")
            }
            Failure::NoKey(topic) => {
                write!(f, "you are a member of {topic}, but nobody has wrapped its key for you yet")
            }
            Failure::Integrity(topic, fault) => write!(f, "{topic}: {fault}"),
            Failure::TwoKeys { name, fingerprints } => {
                write!(f, "there are {} certificates in force for {name}, with keys", fingerprints.len())?;
                fingerprints.iter().try_for_each(|key| write!(f, " {}", key.short()))?;
                write!(f, "; revoke all but one")
            }
            Failure::PeerChanged { name, pinned, now } => peer_changed(f, name, pinned, now),
            Failure::UnknownClients(names) => {
                write!(f, "the broker knows no client of the name")?;
                names.iter().try_for_each(|name| write!(f, " {name}"))?;
                write!(
                    f,
                    "; it learns of a client when it connects, or from its certificate in known_clients"
                )
            }
            Failure::BadClient { name, why } => write!(f, "the certificate of {name} {why}"),
            Failure::TooManyMembers { count, max } => {
                write!(f, "{count} members are more than the {max} that a topic may have")
            }
            Failure::TooLarge { bytes, max } => {
                write!(f, "a message of {bytes} bytes is larger than the {max} that the broker takes")
            }
            Failure::Denied { topic, because } if because.is_empty() => {
                write!(f, "you are not let into {topic}: its owner or an admin has said no")
            }
            Failure::Denied { topic, because } => write!(f, "you are not let into {topic}: {because}"),
            Failure::Closed { topic } => write!(f, "{topic} takes nobody who asks"),
            Failure::NotAllowed { topic, text } => write!(f, "{topic}: {text}"),
            Failure::Waiting { topic, owner_seen: Some(seen) } => {
                write!(f, "you have asked to join {topic}; its owner was last connected at {seen}")
            }
            Failure::Waiting { topic, owner_seen: None } => {
                write!(f, "you have asked to join {topic}; its owner has not been connected yet")
            }
            Failure::AlreadyMember(topic) => write!(f, "you are a member of {topic} already"),
            Failure::WrongCertificates { topic, why } => {
                write!(f, "{topic}: the broker gave wrong certificates of its members: {why}")
            }
            Failure::Crowded(topic) => {
                write!(f, "others changed the members of {topic} each time before it could be done")
            }
            Failure::Refused { code, text, .. } if text.is_empty() || *text == code.to_string() => {
                write!(f, "the broker refused: {code}")
            }
            Failure::Refused { code, text, .. } => write!(f, "the broker refused: {code} ({text})"),
            Failure::Nonsense(what) => write!(f, "the broker's answer makes no sense: {what}"),
            Failure::CountersLost(topic) => {
                write!(f, "{topic}: the broker does not know any more which of these messages it has")
            }
            Failure::Machine(what) => f.write_str(what),
        }
    }
}

impl fmt::Display for Disconnect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Disconnect::Unreachable(why) => write!(f, "{why}"),
            Disconnect::Lost(None) => write!(f, "the connection was cut"),
            Disconnect::Lost(Some(why)) => write!(f, "the connection was cut: {why}"),
            Disconnect::Closed { code, text } if text.is_empty() => {
                write!(f, "the broker ended the session: {code}")
            }
            Disconnect::Closed { code, text } => write!(f, "the broker ended the session: {code} ({text})"),
            Disconnect::Refused { code, text, authentic: true } => {
                write!(f, "the broker refused: {code} ({text})")
            }
            Disconnect::Refused { code, text, authentic: false } => {
                write!(f, "somebody who may be the broker refused: {code} ({text})")
            }
            Disconnect::BrokerCertificate(why) => write!(f, "the broker's certificate {why}"),
            Disconnect::WrongHost { host, broker, hosts } => {
                let hosts = hosts.join(", ");
                write!(f, "the certificate of the broker {broker} is for {hosts}, not for {host}")
            }
            Disconnect::HandshakeTimeout => write!(f, "the broker did not answer the handshake in time"),
            Disconnect::BrokerSilent => write!(f, "nothing was heard from the broker for too long"),
            Disconnect::Protocol(what) => write!(f, "what came is not the broker's or was changed: {what}"),
            Disconnect::Fault(what) => write!(f, "{what}"),
        }
    }
}

impl fmt::Display for IntegrityFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            IntegrityFault::BadRecord(why) => write!(f, "a membership record does not hold: {why}"),
            IntegrityFault::BadSigner(why) => write!(f, "a membership record's signer: {why}"),
            IntegrityFault::OtherTopic { before, now } => {
                write!(
                    f,
                    "this is an older topic of the same name, which was replaced ({now:?}, replaced by {before:?})"
                )
            }
            IntegrityFault::OtherHistory => {
                write!(f, "its membership records are not those that were seen before")
            }
            IntegrityFault::OwnerChanged { pinned, pinned_name, now, now_name } => {
                write!(
                    f,
                    "it was known as a topic of {pinned_name} (sha256:{pinned}), but this one was made by \
                     {now_name} (sha256:{now})"
                )
            }
            IntegrityFault::NotOwnedBy { expected, now, now_name } => {
                write!(f, "it was made by {now_name} (sha256:{now}), not by {expected}")
            }
            IntegrityFault::OlderChain { pinned, now } => {
                write!(
                    f,
                    "its membership ends at record {now}, but record {pinned} was seen before: an older state"
                )
            }
            IntegrityFault::OtherLog => {
                write!(f, "it is in another log than before: its messages were put aside")
            }
            IntegrityFault::PeerChanged { name, pinned, now } => peer_changed(f, name, pinned, now),
            IntegrityFault::RevokedSigner { name } => {
                write!(f, "its newest membership record is signed by {name}, whose certificate was revoked")
            }
            IntegrityFault::WrongWrap => write!(f, "the wrapped key is not the one that the record names"),
            IntegrityFault::BadWrap => write!(f, "the wrapped key does not open with your key"),
            IntegrityFault::WrongKey => write!(f, "the key is not the one that the record commits to"),
            IntegrityFault::BadSender(why) => write!(f, "the sender: {why}"),
            IntegrityFault::StrangeSender => write!(f, "the sender was never a member who may publish"),
            IntegrityFault::NotYetMember => write!(f, "the sender was no member yet when it came"),
            IntegrityFault::NoLongerMember => write!(f, "the sender had been removed when it came"),
            IntegrityFault::BadDelegation(why) => {
                write!(f, "what says that its sender signs with this key {why}")
            }
            IntegrityFault::OutOfTime => {
                write!(f, "it came outside the time for which its sender signs with this key")
            }
            IntegrityFault::UnknownSender => write!(f, "the broker does not say who sent it"),
            IntegrityFault::StaleEpoch { epoch, expected } => {
                write!(f, "it is of epoch {epoch}, but epoch {expected} held at its place")
            }
            IntegrityFault::BadBody => write!(f, "it does not open under the topic's key: forged or damaged"),
            IntegrityFault::BadSignature => {
                write!(f, "its sender did not sign it: another member made it, or the broker with one")
            }
            IntegrityFault::UnsignedBody => write!(f, "it is not signed by its sender"),
            IntegrityFault::WrongTopic => write!(f, "it was sealed for another topic"),
            IntegrityFault::WrongEpoch => write!(f, "it was sealed for another epoch"),
            IntegrityFault::WrongPublisher => write!(f, "it is another publisher's"),
            IntegrityFault::WrongCounter { stated, sealed } => {
                write!(f, "it is its sender's number {sealed}, but is given as number {stated}")
            }
            IntegrityFault::UnknownBody => write!(f, "it has a form that this version does not know"),
            IntegrityFault::Replayed { counter } => {
                write!(f, "its sender's number {counter} was delivered before")
            }
            IntegrityFault::Rewritten { counter } => {
                write!(f, "its sender's number {counter} was read before, and is not what or where it was")
            }
            IntegrityFault::Missing { expected, got } => {
                write!(f, "its sender's numbers {expected} to before {got} are missing")
            }
            IntegrityFault::Skipped { from, to } => {
                write!(f, "the broker left out the entries {from} to before {to}")
            }
            IntegrityFault::NoKey { epoch } => write!(f, "there is no key for its epoch {epoch}"),
        }
    }
}

fn peer_changed(
    f: &mut fmt::Formatter<'_>,
    name: &Name,
    pinned: &Fingerprint,
    now: &Fingerprint,
) -> fmt::Result {
    write!(f, "the key of {name} has changed: sha256:{pinned} was pinned, sha256:{now} came now")
}

impl std::error::Error for Failure {}
impl std::error::Error for Disconnect {}
impl std::error::Error for IntegrityFault {}

/// Whether `later` lies within 30 days after `now`: when both sides begin to warn of an end.
pub(super) fn ends_soon(later: Wall, now: Wall) -> bool {
    const WARNING: std::time::Duration = std::time::Duration::from_secs(30 * 86_400);
    later < now + WARNING
}
