//! One subscriber's place in one topic, as what it was shown says.

use super::model::{Log, Model};
use super::rules::{Rule, Violation};
use crate::base::ids::{Counter, Fingerprint, Incarnation, Offset};
use crate::client::{Message, Opened};

/// Where a subscriber is in a log.
pub struct Reader {
    pub log: Incarnation,
    /// All before was shown, or told of as a gap.
    pub next: Offset,
    pub caught_up: bool,
    /// What held it was unsubscribed: it may end, go on or begin anew.
    pub is_loose: bool,
}

impl Reader {
    pub fn new(opened: &Opened) -> Reader {
        Reader { log: opened.incarnation, next: opened.start, caught_up: false, is_loose: false }
    }

    pub fn message(&mut self, m: &Message, me: Fingerprint, model: &mut Model) -> Result<(), Violation> {
        self.reach(m.offset, model)?;
        let may_read = model.may_read(me, self.log(model)?, m.offset);
        Rule::MembersDecide.check(may_read, || {
            format!("{} of {} was shown to one who was not given epoch {}", m.offset, m.topic, m.epoch)
        })?;
        model.shown(self.log, m, me)
    }

    /// A message came whose key it was not given.
    pub fn keyless(&mut self, at: Offset, me: Fingerprint, model: &Model) -> Result<(), Violation> {
        self.reach(at, model)?;
        let log = self.log(model)?;
        Rule::ContentIsTrue
            .check(log.messages_between(at, at.next()) == 1, || format!("{at} is no message"))?;
        Rule::MembersDecide.check(!model.may_read(me, log, at), || {
            format!("{at} of {} is withheld from one who was given its key", log.name)
        })
    }

    /// A message is said to have come before.
    pub fn repeated(
        &mut self,
        at: Offset,
        counter: Counter,
        me: Fingerprint,
        model: &Model,
    ) -> Result<(), Violation> {
        let log = self.log(model)?;
        Rule::NobodyIsAccused.check(log.comes_again(at, counter, me), || {
            format!("{at} of {} is said to repeat number {counter}", log.name)
        })?;
        self.reach(at, model)
    }

    /// Something stands at this place, and nothing was left out before it.
    fn reach(&mut self, at: Offset, model: &Model) -> Result<(), Violation> {
        let log = self.log(model)?;
        Rule::NothingIsRepeated
            .check(at >= self.next, || format!("{at} of {} came when {} was next", log.name, self.next))?;
        self.pass(at, log)?;
        self.next = at.next();
        Ok(())
    }

    /// The messages from `from` to before `to` are said to be gone.
    pub fn gap(&mut self, from: Offset, to: Offset, model: &Model) -> Result<(), Violation> {
        let log = self.log(model)?;
        self.pass(from, log)?;
        let told = || format!("a gap {from}..{to} in {}, which keeps from {}", log.name, log.first);
        Rule::GapsAreTrue.check(log.is_gap(from, to), told)?;
        self.next = self.next.max(to);
        Ok(())
    }

    pub fn caught_up(&mut self, next: Offset, model: &Model) -> Result<(), Violation> {
        let again = std::mem::replace(&mut self.caught_up, true);
        Rule::DeliveryIsAsAsked.check(!again, || "the past ended twice".into())?;
        self.pass(next, self.log(model)?)
    }

    /// Whether it was shown all that there is.
    pub fn is_complete(&self, log: &Log) -> bool {
        self.caught_up && log.messages(self.next, log.end()).next().is_none()
    }

    /// Moves on to `offset`; no message may lie in between.
    fn pass(&mut self, offset: Offset, log: &Log) -> Result<(), Violation> {
        let left_out = log.messages(self.next, offset).next();
        Rule::NothingIsLost.check(left_out.is_none(), || {
            format!("{} of {} was left out before {offset}", left_out.unwrap_or_default().0, log.name)
        })?;
        self.next = self.next.max(offset);
        Ok(())
    }

    fn log<'a>(&self, model: &'a Model) -> Result<&'a Log, Violation> {
        model.log(self.log).ok_or_else(|| Rule::ContentIsTrue.broken("a log that nobody made"))
    }
}
