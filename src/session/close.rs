//! Why a handshake or a session ended, and what the peer is told of it.
//!
//! One error type for the handshake, one for records, one above both. [`SessionError::code`] is the
//! one place where an error becomes what a peer learns: it is total, and tells nothing of which
//! signature, MAC or decryption failed.

use std::fmt;
use std::time::Duration;

use crate::crypto::cert::{CertFault, FaultKind};
use crate::crypto::fernet::FernetError;
use crate::crypto::sign::RsaFault;
use crate::wire::WireError;
use crate::wire::handshake::{HelloError, MessageType, Refusal, RefusalCode};

/// Why a handshake goes no further.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HandshakeError {
    /// The peer speaks another version.
    Version(u16),
    /// A message is not what its bytes should be.
    Malformed(WireError),
    /// A message came that does not belong in this state.
    Unexpected(MessageType),
    /// A message is announced as longer than any may be.
    TooLarge,
    /// The peer's certificate is not accepted.
    Certificate(CertFault),
    /// A signature, MAC or decryption failed. Which one is for the log alone.
    Authentication(Proof),
    /// This side has no room for more; the peer should come back.
    Busy { retry_after: Duration },
    /// The peer took too long to become active.
    Timeout,
    /// This side is about to end.
    ShuttingDown,
    /// An operation with our own RSA key came out wrong.
    Fault(RsaFault),
}

/// What a peer failed to prove.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proof {
    BatchPath,
    BrokerSignature,
    ClientToken(FernetError),
    ClientSignature,
    EnvelopeMac,
    Envelope,
    ReadyMac,
    RefusalToken(FernetError),
}

/// Why no more records are taken from a peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RecordError {
    /// A token is announced with a length that none has.
    TokenLength(usize),
    Token(FernetError),
    /// A token without a sequence number.
    NoSequence,
    /// Repeated, lost, or out of order.
    Sequence {
        got: u64,
        expected: u64,
    },
    /// The frames are not what their bytes should be.
    Frames(WireError),
    /// The bodies that follow are announced as more than a record may have.
    BodiesLength(u64),
    /// A body is not the one that its frame names.
    Body,
    /// An error came before; nothing is taken any more.
    Closed,
}

/// Why a connection ends by fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SessionError {
    Handshake(HandshakeError),
    Record(RecordError),
    /// A frame is malformed, or impossible where it stands.
    Frame(WireError),
    /// The peer's certificate was good, and is so no longer.
    Certificate(CertFault),
    /// Silence beyond the deadline, or a record that was never finished.
    Timeout,
    ShuttingDown,
}

/// Advice to a peer who may come back as it is.
const RETRY_AFTER: Duration = Duration::from_secs(1);

impl SessionError {
    /// What the peer is told: the refusal's code before a session is active, the close's after.
    pub fn code(&self) -> RefusalCode {
        use HandshakeError as H;
        use RecordError as R;
        use SessionError as S;
        match self {
            S::Handshake(H::Version(_)) => RefusalCode::UnsupportedVersion,
            S::Handshake(H::Malformed(WireError::TooLong) | H::TooLarge) => RefusalCode::TooLarge,
            S::Handshake(H::Malformed(_)) => RefusalCode::Malformed,
            S::Handshake(H::Unexpected(_)) => RefusalCode::Unexpected,
            S::Handshake(H::Certificate(fault)) | S::Certificate(fault) => certificate_code(fault),
            S::Handshake(H::Authentication(_)) => RefusalCode::Authentication,
            // A machine whose RSA is wrong once may be right the next time; the detail is ours.
            S::Handshake(H::Busy { .. } | H::Fault(_)) => RefusalCode::Busy,
            S::Handshake(H::Timeout) | S::Timeout => RefusalCode::Timeout,
            S::Handshake(H::ShuttingDown) | S::ShuttingDown => RefusalCode::ShuttingDown,
            S::Record(R::TokenLength(_) | R::BodiesLength(_)) => RefusalCode::TooLarge,
            S::Record(R::Token(_) | R::Sequence { .. } | R::Body | R::Closed) => RefusalCode::Authentication,
            S::Record(R::NoSequence | R::Frames(_)) | S::Frame(_) => RefusalCode::Malformed,
        }
    }

    /// The code, with a sentence and with advice on when to come back.
    pub fn refusal(&self) -> Refusal {
        let code = self.code();
        let text = match self {
            SessionError::Handshake(HandshakeError::Certificate(fault))
            | SessionError::Certificate(fault) => fault.to_string(),
            SessionError::Handshake(HandshakeError::Version(version)) => {
                format!("version {version} is not spoken here; version 1 is")
            }
            _ => code.to_string(),
        };
        Refusal { code, retry_after_ms: millis(self.retry_after()), text }
    }

    fn retry_after(&self) -> Duration {
        use HandshakeError as H;
        match self {
            // Zero would say that coming back is of no use.
            SessionError::Handshake(H::Busy { retry_after }) => (*retry_after).max(Duration::from_millis(1)),
            SessionError::Handshake(H::Timeout | H::ShuttingDown | H::Fault(_))
            | SessionError::Timeout
            | SessionError::ShuttingDown => RETRY_AFTER,
            _ => Duration::ZERO,
        }
    }
}

fn certificate_code(fault: &CertFault) -> RefusalCode {
    match fault.kind() {
        FaultKind::Malformed => RefusalCode::CertMalformed,
        FaultKind::Expired => RefusalCode::CertExpired,
        FaultKind::NotYetValid => RefusalCode::CertNotYetValid,
        FaultKind::Revoked => RefusalCode::CertRevoked,
        FaultKind::WrongCa => RefusalCode::CertWrongCa,
        FaultKind::WrongName => RefusalCode::CertWrongName,
        FaultKind::WrongUsage => RefusalCode::CertWrongUsage,
    }
}

fn millis(duration: Duration) -> u32 {
    duration.as_millis().try_into().unwrap_or(u32::MAX)
}

impl From<WireError> for HandshakeError {
    fn from(e: WireError) -> HandshakeError {
        HandshakeError::Malformed(e)
    }
}

impl From<HelloError> for HandshakeError {
    fn from(e: HelloError) -> HandshakeError {
        match e {
            HelloError::Wire(e) => HandshakeError::Malformed(e),
            HelloError::Version(version) => HandshakeError::Version(version),
        }
    }
}

impl From<CertFault> for HandshakeError {
    fn from(fault: CertFault) -> HandshakeError {
        HandshakeError::Certificate(fault)
    }
}

impl From<RsaFault> for HandshakeError {
    fn from(fault: RsaFault) -> HandshakeError {
        HandshakeError::Fault(fault)
    }
}

impl From<Proof> for HandshakeError {
    fn from(proof: Proof) -> HandshakeError {
        HandshakeError::Authentication(proof)
    }
}

impl From<HandshakeError> for SessionError {
    fn from(e: HandshakeError) -> SessionError {
        SessionError::Handshake(e)
    }
}

impl From<RecordError> for SessionError {
    fn from(e: RecordError) -> SessionError {
        SessionError::Record(e)
    }
}

impl fmt::Display for HandshakeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HandshakeError::Version(version) => write!(f, "the peer speaks version {version}, not 1"),
            HandshakeError::Malformed(e) => write!(f, "a handshake message {e}"),
            HandshakeError::Unexpected(kind) => write!(f, "a {kind:?} message came out of turn"),
            HandshakeError::TooLarge => write!(f, "a handshake message is longer than any may be"),
            HandshakeError::Certificate(fault) => fault.fmt(f),
            HandshakeError::Authentication(proof) => write!(f, "authentication failed: {proof}"),
            HandshakeError::Busy { retry_after } => write!(f, "busy for another {retry_after:?}"),
            HandshakeError::Timeout => write!(f, "the handshake took too long"),
            HandshakeError::ShuttingDown => write!(f, "shutting down"),
            HandshakeError::Fault(fault) => fault.fmt(f),
        }
    }
}

impl fmt::Display for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Proof::BatchPath => write!(f, "the batch path has an impossible shape"),
            Proof::BrokerSignature => write!(f, "the broker's signature is wrong"),
            Proof::ClientToken(e) => write!(f, "the client's token {e}"),
            Proof::ClientSignature => write!(f, "the client's signature is wrong"),
            Proof::EnvelopeMac => write!(f, "the envelope's MAC is wrong"),
            Proof::Envelope => write!(f, "the envelope does not open"),
            Proof::ReadyMac => write!(f, "the client's MAC is wrong"),
            Proof::RefusalToken(e) => write!(f, "the refusal's token {e}"),
        }
    }
}

impl fmt::Display for RecordError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RecordError::TokenLength(len) => write!(f, "a token of {len} bytes cannot be"),
            RecordError::Token(e) => write!(f, "a record's token {e}"),
            RecordError::NoSequence => write!(f, "a record has no sequence number"),
            RecordError::Sequence { got, expected } => write!(f, "record {got} came instead of {expected}"),
            RecordError::Frames(e) => write!(f, "a frame {e}"),
            RecordError::BodiesLength(len) => write!(f, "a record with {len} bytes of bodies cannot be"),
            RecordError::Body => write!(f, "a body is not the one that its frame names"),
            RecordError::Closed => write!(f, "nothing more is taken after an error"),
        }
    }
}

impl fmt::Display for SessionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SessionError::Handshake(e) => e.fmt(f),
            SessionError::Record(e) => e.fmt(f),
            SessionError::Frame(e) => write!(f, "a frame {e}"),
            SessionError::Certificate(fault) => fault.fmt(f),
            SessionError::Timeout => write!(f, "the peer was silent for too long"),
            SessionError::ShuttingDown => write!(f, "shutting down"),
        }
    }
}

impl std::error::Error for HandshakeError {}
impl std::error::Error for RecordError {}
impl std::error::Error for SessionError {}
