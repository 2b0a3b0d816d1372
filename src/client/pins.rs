//! What a client remembers of others between two runs, so that a broker which shows something
//! else later is found out. Plain values and their rules: callers keep them on disk.

use std::collections::{BTreeMap, BTreeSet};

use super::delivery::Memory;
pub use super::delivery::Publisher;
use super::failure::{Failure, IntegrityFault};
use crate::base::Wall;
use crate::base::ids::{Counter, Fingerprint, Incarnation, Offset, RecordHash, TopicId};
use crate::base::names::{Name, TopicName};
use crate::chain::Chain;

/// All that is remembered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pins {
    pub peers: BTreeMap<Name, PeerPin>,
    pub topics: BTreeMap<TopicName, TopicPin>,
    /// Topics that a person wants forgotten, until that is kept: [`Pins::merge`] drops them, and takes what
    /// was learned of them since.
    pub forgotten: BTreeSet<TopicName>,
}

/// A client's key, since it was first seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerPin {
    pub fingerprint: Fingerprint,
    pub first_seen: Wall,
    /// Keys that were replaced, as a person has said or a topic's records did when the name was new to us.
    /// What they signed stays good.
    pub former: BTreeSet<Fingerprint>,
}

/// A topic as it was last seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicPin {
    pub id: TopicId,
    pub owner: Fingerprint,
    pub owner_name: Name,
    /// When this topic was first seen under its name.
    pub since: Wall,
    /// Topics of this name that it has replaced, the newest last: they do not come back.
    pub former: Vec<TopicId>,
    /// The newest record's number and hash.
    pub number: u32,
    pub head: RecordHash,
    /// The topic's log, once it was opened: the places are in it.
    pub log: Option<Incarnation>,
    /// All messages below were read or passed over.
    pub next: Offset,
    /// From here to `next` nothing was passed over.
    pub unbroken: Offset,
    /// Whether each sender that was met since `unbroken` has its place.
    pub is_complete: bool,
    /// Each sender's newest message that was read.
    pub places: BTreeMap<Publisher, Place>,
}

/// A message's place, and what it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    pub offset: Offset,
    pub counter: Counter,
    /// SHA-256 of the body.
    pub hash: [u8; 32],
}

/// Whether a name and its key go together, as far as is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Acquaintance {
    Known,
    /// Nobody of this name was seen before.
    New,
}

/// The name is pinned to another key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerChanged {
    pub pinned: Fingerprint,
}

/// How a topic's first record compares with what is remembered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sight {
    First,
    Again,
    /// The same owner has made it anew.
    Replaced,
}

/// As many as a broker knows certificates.
pub const PEERS_MAX: usize = 16_384;
/// Far more than one follows; each is some 300 bytes and its places.
pub const PINNED_TOPICS_MAX: usize = 10_000;
/// Topics of one name that were replaced.
pub const FORMER_TOPICS_MAX: usize = 64;
/// Publishers of one topic; each run of a one-shot client is one.
pub const PLACES_MAX: usize = 256;
/// Of what is too much, one part in so many goes at once, the oldest first.
const EVICTED_PART: usize = 16;

impl Pins {
    /// Holds a name and its key, of somebody who is to be trusted from now on, against what is known.
    pub fn check_peer(&self, name: &Name, now: Fingerprint) -> Result<Acquaintance, PeerChanged> {
        match self.peers.get(name) {
            None => Ok(Acquaintance::New),
            Some(pin) if pin.fingerprint == now => Ok(Acquaintance::Known),
            Some(pin) => Err(PeerChanged { pinned: pin.fingerprint }),
        }
    }

    /// The same for what was done in the past, perhaps: keys that were replaced since are good, too.
    pub fn check_past(&self, name: &Name, then: Fingerprint) -> Result<Acquaintance, PeerChanged> {
        match self.peers.get(name) {
            Some(pin) if pin.former.contains(&then) => Ok(Acquaintance::Known),
            _ => self.check_peer(name, then),
        }
    }

    /// Remembers a name that is new. One that is known stays as it is. Says whether it was new.
    pub fn pin_peer(&mut self, name: &Name, fingerprint: Fingerprint, now: Wall) -> bool {
        if self.peers.contains_key(name) {
            return false;
        }
        evict(&mut self.peers, PEERS_MAX, |pin| pin.first_seen);
        let pin = PeerPin { fingerprint, first_seen: now, former: BTreeSet::new() };
        self.peers.insert(name.clone(), pin);
        true
    }

    /// The key of a name was really replaced. Returns the pin as it was; nothing if there is none.
    pub fn replace_peer(&mut self, name: &Name, fingerprint: Fingerprint, now: Wall) -> Option<PeerPin> {
        let pin = self.peers.get_mut(name)?;
        let before = pin.clone();
        if pin.fingerprint != fingerprint {
            pin.former.insert(pin.fingerprint);
            pin.former.remove(&fingerprint);
            (pin.fingerprint, pin.first_seen) = (fingerprint, now);
        }
        Some(before)
    }

    /// Holds a topic's first record, which is verified, against what is remembered under its name.
    pub fn check_genesis(&self, chain: &Chain) -> Result<Sight, IntegrityFault> {
        self.check_topic(chain.name(), chain.topic(), (chain.owner(), chain.owner_name()))
    }

    /// The same for a topic of which only this much is said.
    pub fn check_topic(
        &self,
        name: &TopicName,
        id: TopicId,
        (owner, owner_name): (Fingerprint, &Name),
    ) -> Result<Sight, IntegrityFault> {
        let Some(pin) = self.topics.get(name) else { return Ok(Sight::First) };
        if pin.id == id && pin.owner == owner {
            return Ok(Sight::Again);
        }
        if pin.former.contains(&id) {
            return Err(IntegrityFault::OtherTopic { before: pin.id, now: id });
        }
        if pin.id != id && self.is_same_owner(pin, owner) {
            return Ok(Sight::Replaced);
        }
        Err(IntegrityFault::OwnerChanged {
            pinned: pin.owner,
            pinned_name: pin.owner_name.clone(),
            now: owner,
            now_name: owner_name.clone(),
        })
    }

    /// Under the key that was pinned, or the one that a person has said replaced it.
    fn is_same_owner(&self, pin: &TopicPin, now: Fingerprint) -> bool {
        let is_replaced = |peer: &PeerPin| peer.fingerprint == now && peer.former.contains(&pin.owner);
        pin.owner == now || self.peers.get(&pin.owner_name).is_some_and(is_replaced)
    }

    /// Remembers a topic as its records so far say; what was known of another one under its name goes.
    pub fn pin_topic(&mut self, chain: &Chain, now: Wall) {
        let name = chain.name();
        if let Some(pin) = self.topics.get_mut(name).filter(|pin| pin.id == chain.topic()) {
            pin.reach(chain.number(), chain.head());
            return;
        }
        let mut former = Vec::new();
        match self.topics.get(name) {
            Some(before) => {
                former.extend(before.former.iter().chain([&before.id]).filter(|id| **id != chain.topic()));
                former.drain(..former.len().saturating_sub(FORMER_TOPICS_MAX));
            }
            None => evict(&mut self.topics, PINNED_TOPICS_MAX, |pin| pin.since),
        }
        let pin = TopicPin {
            id: chain.topic(),
            owner: chain.owner(),
            owner_name: chain.owner_name().clone(),
            since: now,
            former,
            number: chain.number(),
            head: chain.head(),
            log: None,
            next: Offset(0),
            unbroken: Offset(0),
            is_complete: true,
            places: BTreeMap::new(),
        };
        self.topics.insert(name.clone(), pin);
    }

    /// Whether the first `count` records of a topic are as many as were seen before: until then it may be
    /// an older state.
    pub fn are_reached(&self, name: &TopicName, count: usize) -> bool {
        self.topics.get(name).is_none_or(|pin| count > pin.number as usize)
    }

    /// Drops what is remembered of a topic. Says whether there was something.
    pub fn forget_topic(&mut self, name: &TopicName) -> bool {
        self.forgotten.insert(name.clone());
        self.topics.remove(name).is_some()
    }

    /// Takes in what another process remembers. Where both know something, of a topic the longer chain and
    /// the later places hold, of two topics of one name the one that was met later, and of two keys
    /// the one that replaced the other; else what was here first.
    pub fn merge(&mut self, other: Pins) {
        for name in other.forgotten {
            self.topics.remove(&name);
        }
        for (name, theirs) in other.topics {
            match self.topics.get_mut(&name) {
                Some(ours) => ours.merge(theirs),
                None => drop(self.topics.insert(name, theirs)),
            }
        }
        for (name, theirs) in other.peers {
            match self.peers.get_mut(&name) {
                Some(ours) => ours.merge(theirs),
                None => drop(self.peers.insert(name, theirs)),
            }
        }
        bound(&mut self.peers, PEERS_MAX, |pin| pin.first_seen);
        bound(&mut self.topics, PINNED_TOPICS_MAX, |pin| pin.since);
    }
}

impl PeerPin {
    fn merge(&mut self, mut theirs: PeerPin) {
        let is_newer = |new: &PeerPin, old: &PeerPin| new.former.contains(&old.fingerprint);
        if self.fingerprint == theirs.fingerprint {
            self.first_seen = self.first_seen.min(theirs.first_seen);
            self.former.append(&mut theirs.former);
            self.former.remove(&self.fingerprint);
        } else if is_newer(&theirs, self) && !is_newer(self, &theirs) {
            *self = theirs;
        }
    }
}

impl TopicPin {
    /// Holds the record of this number against the one that is remembered.
    pub fn check_record(&self, number: u32, hash: RecordHash) -> Result<(), IntegrityFault> {
        match number == self.number && hash != self.head {
            true => Err(IntegrityFault::OtherHistory),
            false => Ok(()),
        }
    }

    /// Notes a newer record. Says whether it was.
    pub fn reach(&mut self, number: u32, head: RecordHash) -> bool {
        let is_newer = number > self.number;
        if is_newer {
            (self.number, self.head) = (number, head);
        }
        is_newer
    }

    /// Holds the log in which the topic was found against the one that is remembered.
    pub fn check_log(&self, now: Incarnation) -> Result<(), IntegrityFault> {
        match self.log {
            Some(log) if log != now => Err(IntegrityFault::OtherLog),
            _ => Ok(()),
        }
    }

    /// What is known of the topic's delivery in its log.
    pub fn memory(&self) -> Memory {
        let TopicPin { next, unbroken, is_complete, places, .. } = self;
        Memory { next: *next, unbroken: *unbroken, is_complete: *is_complete, places: places.clone() }
    }

    /// Notes how far the topic was read in this log. Says whether that is news.
    pub fn remember(&mut self, log: Incarnation, memory: Memory) -> bool {
        if self.log != Some(log) || self.memory() == memory {
            return false;
        }
        (self.next, self.unbroken, self.is_complete) = (memory.next, memory.unbroken, memory.is_complete);
        self.places = memory.places;
        self.bound_places();
        true
    }

    fn bound_places(&mut self) {
        while self.places.len() > PLACES_MAX {
            let oldest = self.places.iter().min_by_key(|(_, place)| place.offset);
            let Some(oldest) = oldest.map(|(who, _)| *who) else { return };
            self.places.remove(&oldest);
            self.is_complete = false;
        }
    }

    fn merge(&mut self, theirs: TopicPin) {
        if self.id != theirs.id {
            let is_newer = |new: &TopicPin, old: &TopicPin| new.former.contains(&old.id);
            let is_later = theirs.since > self.since && !is_newer(self, &theirs);
            if is_newer(&theirs, self) || is_later {
                *self = theirs;
            }
            return;
        }
        self.since = self.since.min(theirs.since);
        self.former.extend(theirs.former.iter().filter(|id| !self.former.contains(id)).collect::<Vec<_>>());
        self.former.drain(..self.former.len().saturating_sub(FORMER_TOPICS_MAX));
        self.reach(theirs.number, theirs.head);
        self.log = self.log.or(theirs.log);
        if self.log != theirs.log {
            return;
        }
        if theirs.next > self.next {
            (self.next, self.unbroken) = (theirs.next, theirs.unbroken);
            self.is_complete = theirs.is_complete;
        }
        for (who, place) in theirs.places {
            let known = self.places.entry(who).or_insert(place);
            if known.counter < place.counter {
                *known = place;
            }
        }
        self.bound_places();
    }
}

impl PeerChanged {
    pub fn failure(self, name: &Name, now: Fingerprint) -> Failure {
        Failure::PeerChanged { name: name.clone(), pinned: self.pinned, now }
    }

    pub fn fault(self, name: &Name, now: Fingerprint) -> IntegrityFault {
        IntegrityFault::PeerChanged { name: name.clone(), pinned: self.pinned, now }
    }
}

/// Makes room for one more.
fn evict<K: Ord + Clone, V>(map: &mut BTreeMap<K, V>, max: usize, since: impl Fn(&V) -> Wall) {
    if map.len() >= max {
        bound(map, max - max.div_ceil(EVICTED_PART), since);
    }
}

/// Keeps the newest `max`.
fn bound<K: Ord + Clone, V>(map: &mut BTreeMap<K, V>, max: usize, since: impl Fn(&V) -> Wall) {
    let Some(excess) = map.len().checked_sub(max).filter(|excess| *excess > 0) else { return };
    let mut ages: Vec<(Wall, K)> = map.iter().map(|(key, value)| (since(value), key.clone())).collect();
    ages.sort();
    for (_, key) in ages.into_iter().take(excess) {
        map.remove(&key);
    }
}
