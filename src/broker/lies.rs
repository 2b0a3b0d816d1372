//! A broker that lies, for tests: what it is about to say to a client is changed, left out or
//! added to, frame by frame, behind all honest work and before it is sealed.
//!
//! Compiled into tests only. Knows nothing of what a lie is good for: that is a [`Liar`]'s.

use std::sync::Arc;

use super::Broker;
use crate::base::ids::Fingerprint;
use crate::wire::body::Body;
use crate::wire::frame::BrokerFrame;

/// A frame, and the body beside the token if the frame names one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    pub frame: BrokerFrame,
    pub body: Option<Arc<[u8]>>,
}

/// Says something else than the broker would.
pub trait Liar {
    /// What the client hears instead of `said`: nothing, the same, or anything else.
    fn lie(&mut self, to: &Fingerprint, said: Said) -> Vec<Said>;
}

impl<F: FnMut(&Fingerprint, Said) -> Vec<Said>> Liar for F {
    fn lie(&mut self, to: &Fingerprint, said: Said) -> Vec<Said> {
        self(to, said)
    }
}

impl From<BrokerFrame> for Said {
    fn from(frame: BrokerFrame) -> Said {
        Said { frame, body: None }
    }
}

impl Broker {
    /// From now on, all that this broker says goes through `liar`.
    pub fn lie_with(&mut self, liar: Box<dyn Liar>) {
        self.liar = Some(liar);
    }
}

/// Puts what `liar` makes of the frames in `buffer` behind `start`, and of their bodies, in
/// their place.
pub(super) fn retell(
    liar: &mut dyn Liar,
    to: &Fingerprint,
    buffer: &mut Vec<u8>,
    start: usize,
    bodies: &mut Vec<Arc<[u8]>>,
) {
    let frames = BrokerFrame::decode_all(&buffer[start..]).expect("the broker's own frames");
    buffer.truncate(start);
    let mut told = Vec::new();
    let mut true_ones = bodies.drain(..);
    for frame in frames {
        let body = if is_beside(&frame) { true_ones.next() } else { None };
        for Said { frame, body } in liar.lie(to, Said { frame, body }) {
            frame.encode(buffer);
            told.extend(body);
        }
    }
    drop(true_ones);
    *bodies = told;
}

fn is_beside(frame: &BrokerFrame) -> bool {
    matches!(frame, BrokerFrame::Message { body: Body::Beside(_), .. })
}
