//! The keys with which this client signs its messages: one for each of its publisher ids.
//!
//! An id lasts for one run of the program, and no longer than its delegation. It is made when
//! something is to be published, for it costs an RSA signature. It does not know the topics.

use std::time::Duration;

use crate::base::entropy::random_array;
use crate::base::ids::PublisherId;
use crate::base::limits::PUBLISHER_SLOTS_MAX;
use crate::base::{Entropy, Wall};
use crate::chain::Delegation;
use crate::crypto::ed25519::MessageSigner;
use crate::crypto::key::PrivateKey;
use crate::crypto::secret::Secret32;
use crate::crypto::sign::RsaFault;

/// Our publisher ids, by slot.
#[derive(Default)]
pub struct Signing {
    slots: Vec<Own>,
    /// The slot of the newest id.
    newest: u16,
}

/// One publisher id of ours. Its key is wiped when dropped.
pub struct Own {
    pub id: PublisherId,
    pub signer: MessageSigner,
    /// As it is sent.
    pub delegation: Vec<u8>,
    not_before: Wall,
    /// Somebody else counts its messages: no other topic takes it.
    is_kept: bool,
}

/// A publisher id that its caller keeps over the end of the program, with all that it takes to go on with it.
#[derive(Clone)]
pub struct KeptPublisher {
    pub id: PublisherId,
    /// The key that signs. Whoever has it and a topic's key can publish in our name for as long as the
    /// delegation lasts.
    pub seed: Secret32,
    pub delegation: Vec<u8>,
    pub not_before: Wall,
}

/// The id that a topic's messages are counted under. Its slot may have passed to another id since.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Under {
    pub slot: u16,
    pub id: PublisherId,
}

/// How far an id's time has run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Age {
    Young,
    /// It still signs what it has begun.
    Old,
    /// Its delegation has ended, or its slot is another id's.
    Over,
}

/// With what an id is made.
pub struct Means<'a> {
    /// The sender's own key.
    pub key: &'a PrivateKey,
    pub now: Wall,
    pub entropy: &'a mut dyn Entropy,
}

const DELEGATION_TIME: Duration = Duration::from_secs(7 * 86_400);
/// After this a new id is taken for what comes then.
const YOUNG_TIME: Duration = Duration::from_secs(86_400);

impl Signing {
    /// The newest id, if it is young and another one than `spent`; else a new one, in the first slot
    /// that `is_used` leaves free. `None`: there is no such slot now.
    pub fn take(
        &mut self,
        spent: Option<PublisherId>,
        is_used: impl Fn(u16) -> bool,
        means: Means<'_>,
    ) -> Result<Option<Under>, RsaFault> {
        let newest = self.under(self.newest).filter(|newest| Some(newest.id) != spent);
        let newest = newest.filter(|newest| self.own(*newest).is_some_and(|own| !own.is_kept));
        if let Some(newest) = newest.filter(|newest| self.age(*newest, means.now) == Age::Young) {
            return Ok(Some(newest));
        }
        let Some(free) = self.free_slot(is_used) else { return Ok(None) };
        let own = Own::make(means)?;
        self.put(free, own);
        self.newest = free;
        Ok(self.under(free))
    }

    /// Takes up an id that is kept elsewhere. `None`: there is no slot for it now.
    pub fn adopt(&mut self, kept: &KeptPublisher, is_used: impl Fn(u16) -> bool) -> Option<Under> {
        if let Some(slot) = self.slots.iter().position(|own| own.id == kept.id) {
            return self.under(slot as u16);
        }
        let free = self.free_slot(is_used)?;
        self.put(free, Own::kept(kept));
        self.under(free)
    }

    fn free_slot(&self, is_used: impl Fn(u16) -> bool) -> Option<u16> {
        let used = (0..self.slots.len() as u16).take_while(|slot| is_used(*slot)).count();
        (used < PUBLISHER_SLOTS_MAX).then_some(used as u16)
    }

    fn put(&mut self, slot: u16, own: Own) {
        match self.slots.get_mut(usize::from(slot)) {
            Some(place) => *place = own,
            None => self.slots.push(own),
        }
    }

    /// The id itself, as long as its slot is its own.
    pub fn own(&self, under: Under) -> Option<&Own> {
        self.slots.get(usize::from(under.slot)).filter(|own| own.id == under.id)
    }

    /// A clock that is set back by more than clocks differ ends an id as well.
    pub fn age(&self, under: Under, now: Wall) -> Age {
        let Some(own) = self.own(under) else { return Age::Over };
        let passed = now.since(own.not_before);
        if passed >= DELEGATION_TIME || own.not_before.since(now) >= YOUNG_TIME {
            Age::Over
        } else if passed >= YOUNG_TIME {
            Age::Old
        } else {
            Age::Young
        }
    }

    /// The keys of all ids that are held.
    #[cfg(any(test, feature = "testing"))]
    pub fn signers(&self) -> impl Iterator<Item = &MessageSigner> {
        self.slots.iter().map(|own| &own.signer)
    }

    fn under(&self, slot: u16) -> Option<Under> {
        self.slots.get(usize::from(slot)).map(|own| Under { slot, id: own.id })
    }
}

impl Own {
    fn make(means: Means<'_>) -> Result<Own, RsaFault> {
        Ok(Own { is_kept: false, ..Own::kept(&KeptPublisher::make(means)?) })
    }

    fn kept(kept: &KeptPublisher) -> Own {
        let KeptPublisher { id, seed, delegation, not_before } = kept.clone();
        Own { id, signer: MessageSigner::from_seed(seed), delegation, not_before, is_kept: true }
    }
}

impl KeptPublisher {
    /// Costs an RSA signature.
    pub fn make(means: Means<'_>) -> Result<KeptPublisher, RsaFault> {
        let Means { key, now, entropy } = means;
        let id = PublisherId(random_array(entropy));
        let seed = Secret32::random(entropy);
        let delegation = Delegation {
            sender: key.public().fingerprint(),
            publisher: id,
            key: MessageSigner::from_seed(seed.clone()).public(),
            not_before: now,
            not_after: now + DELEGATION_TIME,
        };
        let delegation = delegation.sign(key, entropy)?;
        Ok(KeptPublisher { id, seed, delegation, not_before: now })
    }

    /// Whether another id is to be taken as soon as that can be done.
    pub fn is_old(&self, now: Wall) -> bool {
        now.since(self.not_before) >= YOUNG_TIME || self.not_before.since(now) >= YOUNG_TIME
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::cert::testing::{NOON, Seeded, key};

    const DAY: u64 = 86_400_000;

    struct Bench {
        signing: Signing,
        key: PrivateKey,
        entropy: Seeded,
    }

    impl Bench {
        fn new() -> Bench {
            Bench { signing: Signing::default(), key: key("bob"), entropy: Seeded::new(1) }
        }

        fn take(&mut self, spent: Option<PublisherId>, used: &[u16], now: u64) -> Option<Under> {
            let means = Means { key: &self.key, now: Wall(now), entropy: &mut self.entropy };
            self.signing.take(spent, |slot| used.contains(&slot), means).expect("a sound machine")
        }
    }

    #[test]
    fn one_id_lasts_a_day_and_is_delegated_for_a_week() {
        let mut b = Bench::new();
        let first = b.take(None, &[], NOON.0).expect("a slot");
        assert_eq!(b.take(None, &[], NOON.0 + DAY - 1), Some(first));
        let own = b.signing.own(first).expect("its own");
        let said = Delegation::verify(&own.delegation, &b.key.public(), first.id).expect("our own");
        assert_eq!(said.key, own.signer.public());
        assert_eq!((said.not_before, said.not_after), (NOON, Wall(NOON.0 + 7 * DAY)));
        let ages = [0, DAY, 7 * DAY - 1, 7 * DAY].map(|at| b.signing.age(first, Wall(NOON.0 + at)));
        assert_eq!(ages, [Age::Young, Age::Old, Age::Old, Age::Over]);

        let next = b.take(None, &[0], NOON.0 + DAY).expect("a slot");
        assert_eq!((next.slot, next.id == first.id), (1, false));
        assert!(b.signing.own(first).is_some(), "what is used is kept");
        let third = b.take(None, &[1], NOON.0 + 3 * DAY).expect("a slot");
        assert_eq!(third.slot, 0);
        assert!(b.signing.own(first).is_none(), "a slot that nobody uses is used again");
        assert_eq!(b.signing.age(first, NOON), Age::Over);
    }

    #[test]
    fn an_id_that_is_spent_is_not_taken_again() {
        let mut b = Bench::new();
        let first = b.take(None, &[], NOON.0).expect("a slot");
        let second = b.take(Some(first.id), &[0], NOON.0).expect("a slot");
        assert_ne!(first.id, second.id);
        assert_eq!(b.take(Some(first.id), &[0], NOON.0), Some(second), "one new one is enough for all");
    }

    #[test]
    fn slots_are_no_more_than_a_session_has() {
        let mut b = Bench::new();
        let mut used = Vec::new();
        let mut last = None;
        for slot in 0..PUBLISHER_SLOTS_MAX as u16 {
            let under = b.take(last, &used, NOON.0).expect("a slot");
            assert_eq!(under.slot, slot);
            used.push(slot);
            last = Some(under.id);
        }
        assert_eq!(b.take(last, &used, NOON.0), None);
        used.retain(|slot| *slot != 5);
        assert_eq!(b.take(last, &used, NOON.0).map(|under| under.slot), Some(5));
    }

    #[test]
    fn a_clock_that_jumps_ends_ids_and_nothing_else() {
        let mut b = Bench::new();
        for now in [NOON.0, 0, u64::MAX, NOON.0, NOON.0 + 30 * DAY, NOON.0] {
            let under = b.take(None, &[], now).expect("a slot");
            assert_eq!(b.signing.age(under, Wall(now)), Age::Young);
            assert!(b.signing.slots.len() <= 2);
        }
        let under = b.take(None, &[], NOON.0).expect("a slot");
        assert_eq!(b.take(None, &[], NOON.0 - DAY + 1), Some(under), "clocks are set right by hours");
    }
}
