//! Topics that should be rotated, since a member's certificate was revoked.
//!
//! When the revocation list changes all topics are looked at, a part in each turn; after that a
//! topic's own records keep it up to date. The owner cannot be removed, so that its own revocation makes
//! nothing due.

use std::collections::{BTreeMap, BTreeSet};

use super::Processor;
use super::topic::{Topic, TopicKey};
use crate::base::Wall;
use crate::base::ids::Fingerprint;
use crate::broker::clients::{KnownClients, Learned};
use crate::chain::{self, Role};
use crate::crypto::cert::Certificate;

/// The topics that are due, in the order in which they became so.
#[derive(Default)]
pub struct Rotation {
    due: BTreeMap<DueNumber, TopicKey>,
    next: DueNumber,
    /// All topics are being looked at, those after this name are still to come.
    sweep: Option<String>,
}

/// A topic's place in the order in which topics became due, from 0; none is used twice.
pub type DueNumber = u64;

/// Members that one turn looks at, each looked up once: some 300 us.
const LOOKS_PER_TURN: usize = 4096;
/// Topics that are taken out of the table at a time.
const PAGE: usize = 64;

impl Rotation {
    /// The first topic with this number or a higher one.
    pub fn next_from(&self, from: DueNumber) -> Option<(DueNumber, TopicKey)> {
        self.due.range(from..).next().map(|(number, key)| (*number, *key))
    }

    pub fn len(&self) -> usize {
        self.due.len()
    }

    /// Whether all topics are being looked at.
    pub fn is_sweeping(&self) -> bool {
        self.sweep.is_some()
    }

    fn add(&mut self, key: TopicKey) -> DueNumber {
        let number = self.next;
        self.next += 1;
        self.due.insert(number, key);
        number
    }

    pub fn remove(&mut self, number: DueNumber) {
        self.due.remove(&number);
    }
}

impl Processor {
    /// Remembers a client's certificate, which was just found good, and that it is here if `seen`
    /// says so; false if there is no room.
    pub fn know(&mut self, certificate: &Certificate, seen: Option<Wall>) -> bool {
        let learned = self.clients.learn(certificate);
        if let Some(now) = seen {
            self.clients.saw(&certificate.fingerprint(), now);
        }
        self.has_learned(certificate, learned)
    }

    /// The same for a recovery key.
    pub(super) fn know_recovery(&mut self, certificate: &Certificate) -> bool {
        let learned = self.clients.learn_recovery(certificate);
        self.has_learned(certificate, learned)
    }

    fn has_learned(&mut self, certificate: &Certificate, learned: Learned) -> bool {
        self.keep_client(&certificate.fingerprint());
        match learned {
            Learned::NoRoom => false,
            Learned::Known => true,
            Learned::Restored => {
                self.rotation.sweep = Some(String::new());
                true
            }
        }
    }

    /// Judges all known certificates by a new revocation list.
    pub fn judge_clients(&mut self, is_revoked: impl Fn(&Certificate) -> bool) {
        if self.clients.mark_revoked(is_revoked) {
            self.rotation.sweep = Some(String::new());
        }
    }

    /// Goes on looking at all topics, if that is to be done; true if some are left.
    pub(super) fn sweep_topics(&mut self) -> bool {
        let Some(mut after) = self.rotation.sweep.take() else { return false };
        let mut looks = LOOKS_PER_TURN;
        loop {
            let page = self.topics.page(&after, "", PAGE);
            let is_last = page.len() < PAGE;
            for key in page {
                let Some(topic) = self.topics.topic_mut(key) else { continue };
                after = topic.name.to_string();
                looks = looks.saturating_sub(topic.chain.members().len() + 1);
                topic.revoked = revoked_members(&topic.chain, &self.clients);
                self.update_due(key, false);
                if looks == 0 {
                    self.rotation.sweep = Some(after);
                    return true;
                }
            }
            if is_last {
                return false;
            }
        }
    }

    /// A topic is new: its members are looked at for the first time.
    pub(super) fn judge_members(&mut self, key: TopicKey) {
        let Some(topic) = self.topics.topic_mut(key) else { return };
        topic.revoked = revoked_members(&topic.chain, &self.clients);
        self.update_due(key, false);
    }

    /// A record was taken: those who left are no longer a reason, and new admins are told.
    pub(super) fn judge_change(&mut self, key: TopicKey, delta: &chain::Delta) {
        let Some(topic) = self.topics.topic_mut(key) else { return };
        for who in &delta.removed {
            topic.revoked.remove(who);
        }
        let added = delta.added.iter().map(|added| added.fingerprint);
        topic.revoked.extend(added.filter(|who| self.clients.is_revoked(who)));
        let changed = delta.changed.iter().map(|(_, role)| *role);
        let has_new_admin =
            delta.added.iter().map(|added| added.role).chain(changed).any(|role| role == Role::Admin);
        self.update_due(key, has_new_admin);
    }

    /// Lets the topic be among those that are due exactly if a member was revoked. `again`: tells
    /// of it once more, since somebody has not heard it.
    fn update_due(&mut self, key: TopicKey, again: bool) {
        let Some(topic) = self.topics.topic_mut(key) else { return };
        let is_due = !topic.revoked.is_empty();
        if topic.due.is_some() == is_due && !again {
            return;
        }
        if let Some(number) = topic.due.take() {
            self.rotation.remove(number);
        }
        if is_due {
            topic.due = Some(self.rotation.add(key));
            self.tell_followers(key);
        }
    }

    /// # Panics
    /// If the order disagrees with the topics.
    pub(super) fn check_rotation_invariants(&self) {
        for (number, key) in &self.rotation.due {
            assert_eq!(self.topics.topic(*key).and_then(|topic| topic.due), Some(*number));
        }
        for topic in self.topics.iter() {
            assert_eq!(
                topic.due.is_some(),
                !topic.revoked.is_empty(),
                "a topic with a revoked member is due"
            );
            if !self.rotation.is_sweeping() {
                assert_eq!(topic.revoked, revoked_members(&topic.chain, &self.clients));
            }
        }
        let due = self.topics.iter().filter(|topic: &&Topic| topic.due.is_some()).count();
        assert_eq!(due, self.rotation.len(), "each topic that is due has one place");
    }
}

/// Members but the owner whose certificate was revoked.
fn revoked_members(chain: &chain::Chain, clients: &KnownClients) -> BTreeSet<Fingerprint> {
    if clients.revoked_count() == 0 {
        return BTreeSet::new();
    }
    let removable = chain.members().iter().filter(|(_, member)| member.role != Role::Owner);
    removable.map(|(who, _)| *who).filter(|who| clients.is_revoked(who)).collect()
}
