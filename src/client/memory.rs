//! What comes from the broker, held against what is remembered: a topic's first record, how many records it
//! has, whose names are under which keys, and whether the newest record's signer is still in force.

use std::collections::VecDeque;

use super::Client;
use super::event::{Event, Integrity, Notice};
use super::failure::{Disconnect, Failure, IntegrityFault};
use super::link::End;
use super::pins::{Acquaintance, Pins, Sight};
use super::topic::{Link, Suspension, Topic};
use crate::base::ids::Fingerprint;
use crate::base::names::{Name, TopicFilter, TopicName};
use crate::crypto::cert::Certificate;

impl Client {
    /// What is remembered now.
    pub fn pins(&self) -> &Pins {
        &self.pins
    }

    /// Brings what is remembered up to what was read, and says whether it has changed since this was
    /// last asked; then it is time to keep it.
    pub fn take_pins_change(&mut self) -> bool {
        self.remember_read();
        std::mem::take(&mut self.pins_changed)
    }

    /// All that is remembered now was kept, with what other processes remember.
    pub fn pins_kept(&mut self) {
        self.pins.forgotten.clear();
    }

    /// Notes how far each topic was read since this was last done. Before a delivery ends, too.
    pub(super) fn remember_read(&mut self) {
        for name in std::mem::take(&mut self.read_on) {
            let delivery = self.topics.get(&name).and_then(|topic| topic.delivery.as_ref());
            if let (Some(delivery), Some(pin)) = (delivery, self.pins.topics.get_mut(&name)) {
                self.pins_changed |= pin.remember(delivery.incarnation, delivery.memory());
            }
        }
    }

    /// Something of this topic was read, or passed over.
    pub(super) fn has_read(&mut self, name: &TopicName) {
        if !self.read_on.contains(name) {
            self.read_on.insert(name.clone());
        }
    }

    /// Gives the topic up unless its owner has this name.
    pub fn expect_owner(&mut self, topic: &TopicName, owner: Name) {
        let filter = TopicFilter::parse(topic.as_str()).expect("a topic's name is a filter for it alone");
        self.expect_owners(filter, owner);
    }

    /// The same for all topics that a filter matches.
    pub fn expect_owners(&mut self, filter: TopicFilter, owner: Name) {
        self.expected_owners.push((filter, owner));
        let open: Vec<TopicName> = self.topics.keys().cloned().collect();
        for name in open {
            let chain =
                self.topics.get(&name).filter(|t| t.stopped.is_none()).and_then(|t| t.records.chain());
            if let Some(Err(fault)) =
                chain.map(|chain| self.check_expected(chain.name(), (chain.owner(), chain.owner_name())))
            {
                self.stop(&name, None, fault);
            }
        }
    }

    /// Holds a record that is verified, and has just been taken, against what is remembered.
    pub(super) fn judge_record(&mut self, name: &TopicName, number: usize) -> Result<(), IntegrityFault> {
        if number == 0 {
            self.judge_genesis(name)?;
        }
        let Some(topic) = self.topics.get_mut(name) else { return Ok(()) };
        let (named, hash) = (topic.records.take_named(), topic.records.hash_of(number));
        for (who, fingerprint) in named {
            self.meet_member(name, &who, fingerprint)?;
        }
        // A record has 40 KiB at most, but a chain may have any number of them.
        let number = u32::try_from(number).unwrap_or(u32::MAX);
        if let (Some(pin), Some(hash)) = (self.pins.topics.get_mut(name), hash) {
            pin.check_record(number, hash)?;
            self.pins_changed |= pin.reach(number, hash);
        }
        Ok(())
    }

    fn judge_genesis(&mut self, name: &TopicName) -> Result<(), IntegrityFault> {
        let Some(topic) = self.topics.get_mut(name) else { return Ok(()) };
        let log = topic.open().map(|open| open.incarnation);
        let Some(topic) = self.topics.get(name) else { return Ok(()) };
        // Of a chain that has been seen in this run only the first record is under judgement now; the
        // pin is as long as the chain already.
        let Some(chain) = topic.records.chain() else { return Ok(()) };
        let sight = self.pins.check_genesis(chain)?;
        self.check_expected(chain.name(), (chain.owner(), chain.owner_name()))?;
        if sight != Sight::Again {
            // A topic that is not to be taken is not to be remembered either.
            let (who, owner) = (chain.owner_name(), chain.owner());
            if owner != self.identity.certificate.fingerprint() {
                self.pins.check_past(who, owner).map_err(|changed| changed.fault(who, owner))?;
            }
            self.pins.pin_topic(chain, self.now.wall);
            self.pins_changed = true;
        }
        if let (Some(pin), Some(log)) = (self.pins.topics.get_mut(name), log) {
            pin.check_log(log)?;
            self.pins_changed |= pin.log.replace(log).is_none();
        }
        if sight == Sight::Replaced {
            self.notice(Notice::TopicReplaced { topic: name.clone() });
        }
        Ok(())
    }

    /// Whether a topic's owner is the one that the caller insists on.
    pub(super) fn check_expected(
        &self,
        topic: &TopicName,
        (owner, owner_name): (Fingerprint, &Name),
    ) -> Result<(), IntegrityFault> {
        let differs =
            |(filter, expected): &&(TopicFilter, Name)| filter.matches(topic) && expected != owner_name;
        match self.expected_owners.iter().find(differs) {
            Some((_, expected)) => Err(IntegrityFault::NotOwnedBy {
                expected: expected.clone(),
                now: owner,
                now_name: owner_name.clone(),
            }),
            None => Ok(()),
        }
    }

    /// A record of a topic names its owner or a new member.
    fn meet_member(
        &mut self,
        topic: &TopicName,
        who: &Name,
        fingerprint: Fingerprint,
    ) -> Result<(), IntegrityFault> {
        if fingerprint == self.identity.certificate.fingerprint() {
            return Ok(());
        }
        let Some(state) = self.topics.get_mut(topic) else { return Ok(()) };
        match self.pins.check_past(who, fingerprint) {
            Ok(Acquaintance::Known) => Ok(()),
            Ok(Acquaintance::New) => {
                state.met.insert(who.clone());
                self.pins_changed |= self.pins.pin_peer(who, fingerprint, self.now.wall);
                Ok(())
            }
            // Both are of a past that we read for the first time: the records themselves say that one left
            // before the other came.
            Err(changed) if state.met.contains(who) && !state.records.is_member(changed.pinned) => {
                self.pins.replace_peer(who, fingerprint, self.now.wall);
                self.pins_changed = true;
                Ok(())
            }
            Err(changed) => Err(changed.fault(who, fingerprint)),
        }
    }

    /// The broker names somebody who sends to a topic, with a certificate that says so. Who was never a
    /// member is not remembered: the broker could choose which of two keys of a name comes first.
    pub(super) fn meet_sender(
        &mut self,
        topic: &TopicName,
        who: &Name,
        fingerprint: Fingerprint,
    ) -> Result<(), IntegrityFault> {
        if fingerprint == self.identity.certificate.fingerprint() {
            return Ok(());
        }
        match self.pins.check_past(who, fingerprint) {
            Ok(Acquaintance::Known) => Ok(()),
            Ok(Acquaintance::New) => {
                let is_named = |topic: &Topic| topic.records.has_named(fingerprint);
                if !self.topics.get(topic).is_some_and(is_named) {
                    return Ok(());
                }
                self.pins_changed |= self.pins.pin_peer(who, fingerprint, self.now.wall);
                Ok(())
            }
            Err(changed) => Err(changed.fault(who, fingerprint)),
        }
    }

    /// Whether all who are about to get a key are who they were.
    pub(super) fn check_chosen(&self, chosen: &VecDeque<Certificate>) -> Result<(), Failure> {
        for certificate in chosen {
            let (name, now) = (certificate.name(), certificate.fingerprint());
            self.pins.check_peer(name, now).map_err(|changed| changed.failure(name, now))?;
        }
        Ok(())
    }

    /// The broker has taken records of our own: nothing that is shown later may fall behind them.
    pub(super) fn pin_made(&mut self, chain: &crate::chain::Chain) {
        let me = self.identity.certificate.fingerprint();
        self.pins.pin_topic(chain, self.now.wall);
        for (fingerprint, member) in chain.members().iter().filter(|(who, _)| **who != me) {
            self.pins.pin_peer(&member.name, *fingerprint, self.now.wall);
        }
        self.pins_changed = true;
    }

    /// All of a topic's records that there were have come in this session: are they as many as before?
    pub(super) fn judge_settled(&mut self, name: &TopicName) {
        let Some(topic) = self.topics.get_mut(name) else { return };
        topic.met.clear();
        let is_stopped = topic.stopped.is_some();
        let Some(open) = topic.open() else { return };
        if std::mem::replace(&mut open.judged, true) || is_stopped {
            return;
        }
        if let Some(fault) = self.shortfall(name) {
            self.stop(name, None, fault);
        }
    }

    /// That fewer records have come in this session than there were before, if that is so.
    fn shortfall(&self, name: &TopicName) -> Option<IntegrityFault> {
        let Link::Open(open) = &self.topics.get(name)?.link else { return None };
        let seen = open.records_seen;
        // What was pinned since is of records that this session has taken, or is still to send: our own.
        let is_short = open.remembered.is_some_and(|number| seen <= number as usize);
        let pin = self.pins.topics.get(name).filter(|_| is_short && !self.pins.are_reached(name, seen))?;
        let now = u32::try_from(seen.saturating_sub(1)).unwrap_or(u32::MAX);
        Some(IntegrityFault::OlderChain { pinned: pin.number, now })
    }

    /// Whether the broker has fallen silent in the middle of a topic's records. That accuses nobody: it
    /// may be the line.
    pub(super) fn is_cut_short(&self, name: &TopicName) -> bool {
        let Some(Link::Open(open)) = self.topics.get(name).map(|topic| &topic.link) else { return false };
        open.settled && !open.judged && self.shortfall(name).is_some()
    }

    /// Suspends a topic whose newest record's signer was revoked, and lets it go on once that has passed.
    pub(super) fn judge_signer(&mut self, name: &TopicName) -> Result<(), End> {
        let Some(topic) = self.topics.get_mut(name).filter(|topic| topic.stopped.is_none()) else {
            return Ok(());
        };
        if !topic.open().is_some_and(|open| open.settled) {
            return Ok(());
        }
        match (topic.records.revoked_signer(&self.trust), &topic.suspended) {
            (Some(signer), None) => {
                self.suspend(name, signer);
                Ok(())
            }
            (None, Some(_)) => self.resume(name),
            _ => Ok(()),
        }
    }

    /// The same for all topics: there is another revocation list.
    pub(super) fn judge_signers(&mut self) -> Result<(), End> {
        let open: Vec<TopicName> = self.topics.keys().cloned().collect();
        open.iter().try_for_each(|name| self.judge_signer(name))
    }

    fn suspend(&mut self, name: &TopicName, signer: Name) {
        let fault = IntegrityFault::RevokedSigner { name: signer };
        let Some(topic) = self.topics.get_mut(name) else { return };
        topic.suspended = Some(Suspension { fault: fault.clone(), missed: false });
        let integrity = Integrity {
            topic: name.clone(),
            offset: None,
            sender: None,
            counter: None,
            fault,
            stopped: true,
        };
        self.events.push(Event::Integrity(integrity));
    }

    /// What was passed over is asked for again, which takes a new session: in this one the broker
    /// has delivered it.
    fn resume(&mut self, name: &TopicName) -> Result<(), End> {
        let suspension = self.topics.get_mut(name).and_then(|topic: &mut Topic| topic.suspended.take());
        self.notice(Notice::SignerGood { topic: name.clone() });
        match suspension {
            Some(Suspension { missed: true, .. }) => {
                let why = format!("{name} is read on from where it was suspended");
                Err(End::retry(Disconnect::Lost(Some(why))))
            }
            _ => Ok(()),
        }
    }

    /// What waits to be published to a suspended topic has failed, once what was sent before is answered.
    pub(super) fn fail_suspended(&mut self, name: &TopicName) {
        let Some(failure) = self.why_suspended(name) else { return };
        let Some(topic) = self.topics.get_mut(name) else { return };
        if topic.publishing.in_flight() == 0 {
            for ticket in topic.publishing.drop_all() {
                self.answer(ticket, Err(failure.clone()));
            }
        }
    }

    /// Why nothing is published to a topic for now.
    pub(super) fn why_suspended(&self, name: &TopicName) -> Option<Failure> {
        let suspension = self.topics.get(name)?.suspended.as_ref()?;
        Some(Failure::Integrity(name.clone(), suspension.fault.clone()))
    }
}
