//! One client's side of a conversation with a broker, in whatever protocol. Bytes come in, bytes go
//! out, and what they meant is noted in [`Seen`]. Knows no socket.

pub mod author;
pub mod mqtt;
pub mod nats;
pub mod real;
pub mod sealmq;
pub mod tls;

use std::rc::Rc;

use anyhow::{Result, bail, ensure};

/// A conversation.
pub trait Talk {
    /// Takes bytes that came from the broker.
    fn take(&mut self, bytes: &[u8], seen: &mut Seen) -> Result<()>;

    /// Appends what is to be written, if anything is.
    fn give(&mut self, out: &mut Vec<u8>) -> Result<()>;

    /// Queues the next `count` messages.
    fn publish(&mut self, count: u64) -> Result<()>;

    /// Whether what comes is to be acknowledged at once (TCP_QUICKACK): for a broker that leaves Nagle's algorithm
    /// on, where a delayed acknowledgement would hold its next write for 40 ms.
    fn acks_at_once(&self) -> bool {
        false
    }

    /// Asks for the messages of `topic` from number `first` on.
    fn subscribe(&mut self, topic: &'static str, _first: u64) -> Result<()> {
        bail!("this client asks for all it wants when it connects, and not for {topic} later")
    }
}

/// What a client has seen of its broker.
#[derive(Clone, Copy, Debug, Default)]
pub struct Seen {
    /// Connected, subscribed, and whatever else it was to do before messages flow.
    pub is_ready: bool,
    pub delivered: u64,
    /// Publishes that the broker has answered for.
    pub acknowledged: u64,
}

/// What a client is there for.
#[derive(Clone)]
pub struct Errand {
    /// Tells clients apart; also chooses the identity.
    pub number: usize,
    pub subscribe: Option<&'static str>,
    pub publish: Option<&'static str>,
    pub content: Rc<Content>,
    /// The number of the first message that a subscriber is to get, where older ones are kept.
    pub first: u64,
}

impl Errand {
    /// Connects, and asks for nothing.
    pub fn idle(number: usize, content: &Rc<Content>) -> Errand {
        Errand { number, subscribe: None, publish: None, content: content.clone(), first: 0 }
    }
}

/// What messages are made of: a number, and bytes that do not matter.
pub struct Content {
    template: Vec<u8>,
}

/// Of the number that each message begins with.
pub const NUMBER_BYTES: usize = 8;

impl Content {
    /// Contents of `bytes` bytes.
    ///
    /// # Panics
    /// If there is no room for the number: sizes stand in the plan.
    pub fn new(bytes: usize) -> Content {
        assert!(bytes >= NUMBER_BYTES, "a message has room for its number");
        // Nothing on the way compresses; a pattern is as good as noise.
        Content { template: (0..bytes).map(|i| (i * 7 + 13) as u8).collect() }
    }

    pub fn len(&self) -> usize {
        self.template.len()
    }

    /// Appends message `number`.
    pub fn write(&self, number: u64, out: &mut Vec<u8>) {
        out.extend_from_slice(&number.to_be_bytes());
        out.extend_from_slice(&self.template[NUMBER_BYTES..]);
    }
}

impl Seen {
    /// Counts a message, which has to be the next one: nothing lost, repeated or out of order.
    pub fn deliver(&mut self, number: u64) -> Result<()> {
        ensure!(number == self.delivered, "message {number} came where {} was due", self.delivered);
        self.delivered += 1;
        Ok(())
    }
}

/// The number at the front of a content, if so much of it is there.
pub fn number_of(content: &[u8]) -> Option<u64> {
    content.first_chunk().map(|bytes| u64::from_be_bytes(*bytes))
}
