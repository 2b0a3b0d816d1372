//! What is promised, and what is said when it was broken.

use std::fmt;

/// A promise of sealmq that a run checks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rule {
    /// What was answered is delivered to whoever reads there, unless a gap was told.
    NothingIsLost,
    /// A message is stored once, and shown to a subscriber once.
    NothingIsRepeated,
    /// Subscribers see offset order, and each publisher's own.
    OrderHolds,
    /// What arrives is what was sent, by whom it says, where it says.
    ContentIsTrue,
    /// A gap covers messages that retention has dropped, and at least one.
    GapsAreTrue,
    /// A request is answered once, and publishes of a topic in their order.
    AnswersComeOnce,
    /// What an answer says is so.
    AnswersAreTrue,
    /// Delivery begins where it was asked to, and nothing comes that was not asked for.
    DeliveryIsAsAsked,
    /// Members read what their epochs allow, all of it, and nobody else reads or writes anything.
    MembersDecide,
    /// Nobody is accused where everybody is honest.
    NobodyIsAccused,
    /// In a network that works everything comes to its end in bounded time.
    ThingsGoOn,
}

/// A promise that was not kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    pub rule: Rule,
    pub detail: String,
}

impl Rule {
    pub fn broken(self, detail: impl Into<String>) -> Violation {
        Violation { rule: self, detail: detail.into() }
    }

    /// Says what is wrong unless it is as it should be.
    pub fn check(self, holds: bool, detail: impl FnOnce() -> String) -> Result<(), Violation> {
        if holds { Ok(()) } else { Err(self.broken(detail())) }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} is broken: {}", self.rule, self.detail)
    }
}

impl std::error::Error for Violation {}
