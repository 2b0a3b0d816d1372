//! What connections that are gone have left with the store. It counts for their client until it is done: who
//! publishes, leaves and comes again has no more under way than who stays.

use std::collections::HashMap;

use super::Processor;
use crate::base::ids::{ConnId, Fingerprint};

/// What the store has not completed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Owed {
    pub publishes: usize,
    /// Of their bodies.
    pub bytes: usize,
    /// Topics being created or changed.
    pub changes: usize,
}

#[derive(Default)]
pub struct Orphans {
    by_conn: HashMap<ConnId, (Fingerprint, Owed)>,
    /// The sum of each client's; who has none is not in it.
    by_client: HashMap<Fingerprint, Owed>,
}

impl Orphans {
    /// A connection has gone.
    pub fn leave(&mut self, conn: ConnId, client: Fingerprint, owed: Owed) {
        if owed != Owed::default() {
            self.by_conn.insert(conn, (client, owed));
            let sum = self.by_client.entry(client).or_default();
            *sum = sum.plus(owed);
        }
    }

    /// The store has done this much of it: whose it was.
    fn done(&mut self, conn: ConnId, part: Owed) -> Option<Fingerprint> {
        let (client, owed) = self.by_conn.get_mut(&conn)?;
        let client = *client;
        *owed = owed.minus(part);
        if *owed == Owed::default() {
            self.by_conn.remove(&conn);
        }
        let sum = self.by_client.get_mut(&client)?;
        *sum = sum.minus(part);
        if *sum == Owed::default() {
            self.by_client.remove(&client);
        }
        Some(client)
    }

    pub fn of(&self, client: &Fingerprint) -> Owed {
        self.by_client.get(client).copied().unwrap_or_default()
    }

    /// # Panics
    /// If the tables disagree.
    pub fn check_invariants(&self) {
        let mut sums: HashMap<Fingerprint, Owed> = HashMap::new();
        for (client, owed) in self.by_conn.values() {
            let sum = sums.entry(*client).or_default();
            *sum = sum.plus(*owed);
        }
        assert_eq!(sums, self.by_client, "what is left behind is counted once");
    }
}

impl Owed {
    fn plus(self, other: Owed) -> Owed {
        Owed {
            publishes: self.publishes + other.publishes,
            bytes: self.bytes + other.bytes,
            changes: self.changes + other.changes,
        }
    }

    fn minus(self, part: Owed) -> Owed {
        Owed {
            publishes: self.publishes - part.publishes,
            bytes: self.bytes - part.bytes,
            changes: self.changes - part.changes,
        }
    }
}

impl Processor {
    /// The store has completed a publish, whatever came of it.
    pub(super) fn publish_ends(&mut self, conn: ConnId, bytes: usize) {
        match self.seat_mut(conn) {
            Some(seat) => {
                seat.unanswered -= 1;
                seat.unanswered_bytes -= bytes;
            }
            None => self.orphan_ends(conn, Owed { publishes: 1, bytes, changes: 0 }),
        }
    }

    /// The same for a change.
    pub(super) fn change_ends(&mut self, conn: ConnId) {
        match self.seat_mut(conn) {
            Some(seat) => seat.changes -= 1,
            None => self.orphan_ends(conn, Owed { changes: 1, ..Owed::default() }),
        }
    }

    /// Nobody waits for it, but its client may wait for room.
    fn orphan_ends(&mut self, conn: ConnId, part: Owed) {
        let Some(client) = self.orphans.done(conn, part) else { return };
        for conn in self.by_client.get(&client).cloned().unwrap_or_default() {
            self.wake(conn);
        }
    }
}
