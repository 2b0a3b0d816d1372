//! Seats by the slots of their connections. A slot is a small number that is used again, so that a
//! look-up is an index.

use super::seat::Seat;
use crate::base::ids::ConnId;

#[derive(Default)]
pub struct Seats {
    by_slot: Vec<Option<(ConnId, Box<Seat>)>>,
    count: usize,
}

impl Seats {
    pub fn len(&self) -> usize {
        self.count
    }

    pub fn get(&self, id: ConnId) -> Option<&Seat> {
        match self.by_slot.get(id.slot as usize)? {
            Some((owner, seat)) if *owner == id => Some(seat),
            _ => None,
        }
    }

    pub fn get_mut(&mut self, id: ConnId) -> Option<&mut Seat> {
        match self.by_slot.get_mut(id.slot as usize)? {
            Some((owner, seat)) if *owner == id => Some(seat),
            _ => None,
        }
    }

    /// Gives a connection its seat. The slot's owner before has left.
    pub fn insert(&mut self, id: ConnId, seat: Seat) {
        let slot = id.slot as usize;
        if self.by_slot.len() <= slot {
            self.by_slot.resize_with(slot + 1, || None);
        }
        let before = self.by_slot[slot].replace((id, Box::new(seat)));
        debug_assert!(before.is_none(), "{id}: the slot is still taken");
        self.count += usize::from(before.is_none());
    }

    pub fn remove(&mut self, id: ConnId) -> Option<Seat> {
        let place = self.by_slot.get_mut(id.slot as usize)?;
        let (_, seat) = place.take_if(|(owner, _)| *owner == id)?;
        self.count -= 1;
        Some(*seat)
    }

    pub fn iter(&self) -> impl Iterator<Item = (ConnId, &Seat)> {
        self.by_slot.iter().flatten().map(|(id, seat)| (*id, &**seat))
    }
}
