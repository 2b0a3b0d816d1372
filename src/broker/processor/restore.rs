//! A start with what the store has: topics, publishers, requests and certificates as they were.

use std::fmt;

use super::Processor;
use crate::base::Now;
use crate::store::Contents;

/// What the store has is not what a broker has put there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RestoreFault {
    /// The topic, client or note, as people call it.
    pub what: String,
    pub problem: String,
}

impl Processor {
    pub fn restore(&mut self, contents: Contents, _now: Now) -> Result<(), RestoreFault> {
        match contents.logs.first() {
            Some(log) => Err(RestoreFault {
                what: log.settings.name.to_string(),
                problem: "stored topics are not taken over yet".into(),
            }),
            None => Ok(()),
        }
    }
}

impl fmt::Display for RestoreFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.what, self.problem)
    }
}

impl std::error::Error for RestoreFault {}
