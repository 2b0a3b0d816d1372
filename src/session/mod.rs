//! A session: the handshake's two sides, then records under the keys that it leaves.
//!
//! ```text
//! broker   Fresh ─ClientHello→ Queued ─signature→ Challenged ─ClientAuth→ Verified ─SessionKey→ Keyed ─ClientReady→ Active
//! client   AwaitingBrokerHello ─BrokerHello/ClientAuth→ AwaitingSessionKey ─SessionKey/ClientReady→ Active
//! ```
//!
//! Each state is a struct of what is known in it, made only by the step before it, and a step
//! takes its state by value: after an error there is none left to go on with. There is no
//! socket here, no clock and no randomness: bytes, time and entropy come in as arguments.

pub mod batch;
pub mod broker;
pub mod budget;
pub mod client;
pub mod close;
pub mod inbox;
pub mod record;
pub mod schedule;

#[cfg(test)]
mod tests;

use crate::crypto::cert::Certificate;
use schedule::SessionKeys;

pub use batch::{Batch, sign_batch};
pub use close::{HandshakeError, RecordError, SessionError};
pub use inbox::Inbox;
pub use record::{Opener, Sealer};

/// The handshake is done: who the peer is, proved to the end, and the keys of both directions.
#[derive(Debug)]
pub struct Active {
    pub peer: Certificate,
    pub keys: SessionKeys,
}
