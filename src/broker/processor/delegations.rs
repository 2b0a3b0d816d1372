//! Publisher ids and the delegations that come with them: whose they are, and that they verify.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;

use super::commands::Handled;
use super::seat::Slot;
use super::{Means, Processor};
use crate::base::ids::{ConnId, PublisherId};
use crate::base::limits::{DELEGATIONS_REMEMBERED_MAX, PUBLISHER_SLOTS_MAX};
use crate::base::plain_hash::PlainMap;
use crate::chain::{DELEGATION_BYTES_MAX, Delegation};
use crate::crypto::digest::sha256;
use crate::session::budget::RsaCost;
use crate::wire::frame::ClientFrame;

/// Hashes of delegations that were verified, so that a client that comes back with the same one costs no
/// RSA operation. The oldest make room.
#[derive(Default)]
pub struct VerifiedDelegations {
    known: HashSet<[u8; 32]>,
    order: VecDeque<[u8; 32]>,
}

impl VerifiedDelegations {
    fn contains(&self, hash: &[u8; 32]) -> bool {
        self.known.contains(hash)
    }

    fn insert(&mut self, hash: [u8; 32]) {
        if !self.known.insert(hash) {
            return;
        }
        self.order.push_back(hash);
        if self.order.len() > DELEGATIONS_REMEMBERED_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
    }

    pub fn len(&self) -> usize {
        self.order.len()
    }
}

impl Processor {
    /// Gives a publisher id a slot, if its delegation is the client's own.
    pub(super) fn name_publisher(
        &mut self,
        id: ConnId,
        slot: u16,
        publisher: PublisherId,
        delegation: Vec<u8>,
        means: &mut Means<'_>,
    ) -> Handled {
        if delegation.len() > DELEGATION_BYTES_MAX {
            return Handled::Violation("a delegation is too long");
        }
        let Some(seat) = self.seats.get_mut(id) else { return Handled::Done };
        let place = usize::from(slot);
        if place >= PUBLISHER_SLOTS_MAX {
            return Handled::Violation("no such publisher slot");
        }
        let key = seat.peer.verified.public_key();
        let is_own = Delegation::parse(&delegation)
            .is_ok_and(|said| said.sender == key.fingerprint() && said.publisher == publisher);
        if !is_own {
            return Handled::Violation("a delegation is not of this client and publisher id");
        }
        let hash = sha256(&delegation);
        if !self.delegations.contains(&hash) {
            if !means.budget.try_take(RsaCost::public(key.bits())) {
                return Handled::Deferred(ClientFrame::Publisher { slot, id: publisher, delegation });
            }
            if Delegation::verify(&delegation, key, publisher).is_err() {
                return Handled::Violation("a delegation does not verify");
            }
            self.delegations.insert(hash);
        }
        if seat.publishers.len() <= place {
            seat.publishers.resize_with(place + 1, || None);
        }
        seat.publishers[place] =
            Some(Slot { id: publisher, delegation: Arc::from(delegation), used_in: PlainMap::default() });
        Handled::Done
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_makes_room() {
        let mut verified = VerifiedDelegations::default();
        let hash = |n: usize| {
            let mut hash = [0; 32];
            hash[..8].copy_from_slice(&n.to_be_bytes());
            hash
        };
        for n in 0..=DELEGATIONS_REMEMBERED_MAX {
            verified.insert(hash(n));
            verified.insert(hash(n));
        }
        assert_eq!(verified.len(), DELEGATIONS_REMEMBERED_MAX);
        assert!(!verified.contains(&hash(0)) && verified.contains(&hash(1)));
        assert_eq!(verified.known.len(), verified.order.len());
    }
}
