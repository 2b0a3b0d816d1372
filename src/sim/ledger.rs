//! Who is a member of a topic, and who was given which epoch's key: told from the records as the
//! store has them and the recipients of their wraps, without a client.

use std::collections::{BTreeMap, BTreeSet};

use super::cast::Cast;
use super::rules::{Rule, Violation};
use crate::base::ids::{Epoch, Fingerprint, Offset};
use crate::chain::{Chain, Delta, History, Role, signer_of};

/// One topic's membership, from its first record to its newest.
pub struct Ledger {
    /// After each record; the one of the record's number.
    states: Vec<State>,
    /// Where each epoch was started.
    epochs: Vec<Offset>,
    /// To whom a record brought the key of which epochs.
    given: BTreeMap<Fingerprint, BTreeSet<Epoch>>,
}

/// A topic after one of its records.
pub struct State {
    pub chain: Chain,
    /// What the record did; the first one made the topic.
    pub delta: Option<Delta>,
}

impl Ledger {
    /// The record that a topic begins with.
    pub fn begin(record: &[u8]) -> Result<Ledger, Violation> {
        let chain = signer_of(record).and_then(|owner| Chain::begin(record, Cast::get().key_of(owner)));
        let chain = chain.map_err(|e| Rule::MembersDecide.broken(format!("a topic began badly: {e}")))?;
        let states = vec![State { chain, delta: None }];
        Ok(Ledger { states, epochs: Vec::new(), given: BTreeMap::new() })
    }

    /// A later record, and for whom it has wraps.
    pub fn append(
        &mut self,
        at: Offset,
        record: &[u8],
        wraps: impl Iterator<Item = Fingerprint>,
    ) -> Result<(), Violation> {
        let mut chain = self.now().clone();
        let change = signer_of(record).and_then(|who| chain.check(record, Cast::get().key_of(who)));
        let change = change.map_err(|e| Rule::MembersDecide.broken(format!("{at} was stored, but {e}")))?;
        let delta = change.delta().clone();
        chain.apply(change).map_err(|e| Rule::MembersDecide.broken(e.to_string()))?;
        if delta.epoch.is_some() {
            self.epochs.push(at);
        }
        let epoch = chain.epoch().unwrap_or_default();
        for who in wraps {
            let is_member = chain.member(who).is_some();
            Rule::MembersDecide.check(is_member, || format!("{at} has a key for one who is no member"))?;
            self.given.entry(who).or_default().insert(epoch);
        }
        self.states.push(State { chain, delta: Some(delta) });
        Ok(())
    }

    /// The topic as its newest record leaves it.
    pub fn now(&self) -> &Chain {
        &self.states.last().expect("a ledger has a first record").chain
    }

    /// The state that the record of this number left.
    pub fn state(&self, number: u32) -> Option<&State> {
        self.states.get(number as usize)
    }

    /// The state that each record left; what a topic was before its first members were named does not
    /// count.
    pub fn states(&self) -> impl Iterator<Item = &State> {
        self.states.iter().skip(1)
    }

    /// Whether some record left the topic so.
    pub fn was(&self, holds: impl Fn(&Chain) -> bool) -> bool {
        self.states().any(|state| holds(&state.chain))
    }

    pub fn is_member(&self, who: Fingerprint) -> bool {
        self.now().member(who).is_some()
    }

    pub fn was_member(&self, who: Fingerprint) -> bool {
        self.was(|chain| chain.member(who).is_some())
    }

    pub fn was_outside(&self, who: Fingerprint) -> bool {
        self.was(|chain| chain.member(who).is_none())
    }

    /// Whether `who` could be the sender of a message that is stored now.
    pub fn may_send(&self, who: Fingerprint) -> bool {
        self.now().member(who).is_some_and(|member| member.role != Role::Recovery)
    }

    /// The epoch that holds at an offset.
    pub fn epoch_at(&self, offset: Offset) -> Option<Epoch> {
        let begun = self.epochs.partition_point(|start| *start < offset);
        begun.checked_sub(1).map(|epoch| Epoch(epoch as u32))
    }

    /// Whether `who` was given what opens messages of this epoch: its key, or under history all a
    /// later one, which brings those before.
    pub fn may_read(&self, who: Fingerprint, epoch: Epoch) -> bool {
        let Some(given) = self.given.get(&who) else { return false };
        match self.now().history() {
            History::All => given.last() >= Some(&epoch),
            History::SinceJoin => given.contains(&epoch),
        }
    }
}
