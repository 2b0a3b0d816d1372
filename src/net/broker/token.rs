//! Which socket an event is of.
//!
//! A connection's token holds slot and generation, so that an event of a connection that
//! is gone is not taken for one of the slot's next owner.

use mio::Token;

use crate::base::ids::ConnId;

/// Half of a token is the slot, half the generation (on 32-bit hosts its lower 16 bits).
const SLOT_BITS: u32 = usize::BITS / 2;
const SLOT_MASK: usize = (1 << SLOT_BITS) - 1;
/// Slots from here on stand for what is no connection.
const SPECIAL: usize = SLOT_MASK - 0xff;

/// More listeners than tokens are set apart for would be taken for signals, or for a waker.
pub const LISTENERS_MAX: usize = 0xfe;

pub const SIGNALS: Token = Token(SLOT_MASK);
pub const WAKER: Token = Token(SLOT_MASK - 1);

/// What a token stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    Signals,
    /// Another thread has something for the loop.
    Waker,
    /// A listener, by its index.
    Listener(usize),
    /// A connection, which may be gone.
    Connection(Token),
}

pub fn listener(index: usize) -> Token {
    debug_assert!(index < LISTENERS_MAX, "the configuration allows fewer");
    Token(SPECIAL + index)
}

pub fn connection(id: ConnId) -> Token {
    Token(((id.generation as usize) << SLOT_BITS) | id.slot as usize)
}

/// The slot of a connection's token.
pub fn slot(token: Token) -> usize {
    token.0 & SLOT_MASK
}

pub fn source(token: Token) -> Source {
    match token {
        SIGNALS => Source::Signals,
        WAKER => Source::Waker,
        Token(n) if slot(token) >= SPECIAL => Source::Listener(n - SPECIAL),
        _ => Source::Connection(token),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_tell_sources_and_generations_apart() {
        assert_eq!(source(SIGNALS), Source::Signals);
        assert_eq!(source(WAKER), Source::Waker);
        assert_eq!(source(listener(0)), Source::Listener(0));
        assert_eq!(source(listener(LISTENERS_MAX - 1)), Source::Listener(LISTENERS_MAX - 1));
        let first = connection(ConnId { slot: 7, generation: 0 });
        let next = connection(ConnId { slot: 7, generation: 1 });
        assert_eq!(source(next), Source::Connection(next));
        assert_eq!((slot(first), slot(next)), (7, 7));
        assert_ne!(first, next);
    }
}
