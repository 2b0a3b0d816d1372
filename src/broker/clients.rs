//! The clients that the broker knows: those of its folder, and all that ever connected; and the
//! recovery keys that chains name.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::Bound;
use std::time::Duration;

use super::processor::ClientNote;
use crate::base::Wall;
use crate::base::ids::Fingerprint;
use crate::base::names::Name;
use crate::crypto::cert::Certificate;
use crate::wire::values::ClientEntry;

/// Certificates by fingerprint, and fingerprints by name.
pub struct KnownClients {
    /// How many there may be.
    clients_max: usize,
    by_fingerprint: BTreeMap<Fingerprint, Known>,
    by_name: HashMap<Name, Vec<Fingerprint>>,
    /// Kept for the chains that name them, but not offered to creators.
    revoked: HashSet<Fingerprint>,
}

struct Known {
    certificate: Certificate,
    /// Whether it is offered to creators. A recovery key's is kept for its chain alone: whoever made
    /// it a plain member of all topics that come after would take it out of its safe.
    is_offered: bool,
    /// Zero: never.
    last_seen: Wall,
    /// What the store has for `last_seen`, or is about to; `None` if it lacks the client as it is.
    kept: Option<Wall>,
}

/// How far the store may be behind with when a client was last seen. It tells people of days; a
/// crowd that comes back after a restart of the broker, or a client whose line flaps, costs no write
/// each time.
const SEEN_GRAIN: Duration = Duration::from_secs(600);

/// What came of learning a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Learned {
    Known,
    /// The client had none left that was not revoked, and has one again.
    Restored,
    /// There is no room for another client.
    NoRoom,
}

impl KnownClients {
    pub fn new(clients_max: usize) -> KnownClients {
        KnownClients {
            clients_max,
            by_fingerprint: BTreeMap::new(),
            by_name: HashMap::new(),
            revoked: HashSet::new(),
        }
    }

    /// Whether so many clients more can be remembered.
    pub fn has_room_for(&self, count: usize) -> bool {
        self.by_fingerprint.len() + count <= self.clients_max
    }

    /// Remembers a client's certificate that was found good; of two with one key, the one that ends
    /// later. None is ever dropped: a chain may name it.
    pub fn learn(&mut self, certificate: &Certificate) -> Learned {
        self.remember(certificate, true)
    }

    /// The same for a recovery key, which is not offered as long as it is nothing else.
    pub fn learn_recovery(&mut self, certificate: &Certificate) -> Learned {
        self.remember(certificate, false)
    }

    /// A client as it was at the last end; false if there is no room.
    pub fn restore(&mut self, certificate: &Certificate, is_offered: bool, last_seen: Wall) -> bool {
        let has_room = self.remember(certificate, is_offered) != Learned::NoRoom;
        if let Some(known) = self.by_fingerprint.get_mut(&certificate.fingerprint()) {
            (known.last_seen, known.kept) = (last_seen, Some(last_seen));
        }
        has_room
    }

    fn remember(&mut self, certificate: &Certificate, is_offered: bool) -> Learned {
        let fingerprint = certificate.fingerprint();
        let was_revoked = self.revoked.remove(&fingerprint);
        if let Some(known) = self.by_fingerprint.get_mut(&fingerprint) {
            if is_offered && !known.is_offered {
                (known.is_offered, known.kept) = (true, None);
            }
            let is_newer = was_revoked || certificate.not_after() > known.certificate.not_after();
            if is_newer && *certificate != known.certificate {
                (known.certificate, known.kept) = (certificate.clone(), None);
            }
            return if was_revoked { Learned::Restored } else { Learned::Known };
        }
        if !self.has_room_for(1) {
            return Learned::NoRoom;
        }
        self.by_name.entry(certificate.name().clone()).or_default().push(fingerprint);
        let known = Known { certificate: certificate.clone(), is_offered, last_seen: Wall(0), kept: None };
        self.by_fingerprint.insert(fingerprint, known);
        Learned::Known
    }

    /// Notes that a client is or was here.
    pub fn saw(&mut self, fingerprint: &Fingerprint, now: Wall) {
        if let Some(known) = self.by_fingerprint.get_mut(fingerprint) {
            known.last_seen = now;
            known.kept = known.kept.filter(|kept| now.since(*kept) < SEEN_GRAIN);
        }
    }

    /// What the store is to have of a client, if it has not; the caller sees to it.
    pub fn keep(&mut self, fingerprint: &Fingerprint) -> Option<ClientNote<'_>> {
        let known = self.by_fingerprint.get_mut(fingerprint).filter(|known| known.kept.is_none())?;
        known.kept = Some(known.last_seen);
        let Known { certificate, is_offered, last_seen, .. } = known;
        Some(ClientNote { is_offered: *is_offered, last_seen: *last_seen, certificate: certificate.der() })
    }

    /// The store could not keep a client: it is to be tried again.
    pub fn not_kept(&mut self, fingerprint: &Fingerprint) {
        if let Some(known) = self.by_fingerprint.get_mut(fingerprint) {
            known.kept = None;
        }
    }

    /// Judges every certificate anew: those that `is_revoked` names are no longer offered. A client's is
    /// the one of its key that ends last; who revokes a key revokes them all. True if it makes a
    /// difference to anybody.
    pub fn mark_revoked(&mut self, is_revoked: impl Fn(&Certificate) -> bool) -> bool {
        let revoked = self.by_fingerprint.iter().filter(|(_, known)| is_revoked(&known.certificate));
        let revoked: HashSet<Fingerprint> = revoked.map(|(fingerprint, _)| *fingerprint).collect();
        let differs = revoked != self.revoked;
        self.revoked = revoked;
        differs
    }

    pub fn is_revoked(&self, fingerprint: &Fingerprint) -> bool {
        self.revoked.contains(fingerprint)
    }

    pub fn revoked_count(&self) -> usize {
        self.revoked.len()
    }

    pub fn certificate(&self, fingerprint: &Fingerprint) -> Option<&Certificate> {
        self.by_fingerprint.get(fingerprint).map(|known| &known.certificate)
    }

    /// When a client was last connected; 0 for never.
    pub fn last_seen(&self, fingerprint: &Fingerprint) -> Wall {
        self.by_fingerprint.get(fingerprint).map_or(Wall(0), |known| known.last_seen)
    }

    pub fn len(&self) -> usize {
        self.by_fingerprint.len()
    }

    /// A page of clients that are offered, in fingerprint order above `after`, of those called one of `names`
    /// (empty: all), as many as fit in `bytes_max`; and whether there are more.
    pub fn page(&self, after: Fingerprint, names: &[Name], bytes_max: usize) -> (Vec<ClientEntry>, bool) {
        if names.is_empty() {
            let range = (Bound::Excluded(after), Bound::Unbounded);
            return self.fill_page(self.by_fingerprint.range(range), bytes_max);
        }
        let mut wanted: Vec<Fingerprint> =
            names.iter().filter_map(|name| self.by_name.get(name)).flatten().copied().collect();
        wanted.retain(|fingerprint| *fingerprint > after);
        wanted.sort_unstable();
        wanted.dedup();
        self.fill_page(wanted.iter().filter_map(|f| self.by_fingerprint.get_key_value(f)), bytes_max)
    }

    fn fill_page<'a>(
        &self,
        known: impl Iterator<Item = (&'a Fingerprint, &'a Known)>,
        bytes_max: usize,
    ) -> (Vec<ClientEntry>, bool) {
        let mut page = Vec::new();
        let mut bytes = 0;
        let is_offered = |(fingerprint, client): &(&Fingerprint, &Known)| {
            client.is_offered && !self.revoked.contains(*fingerprint)
        };
        for (_, client) in known.filter(is_offered) {
            bytes += client.certificate.der().len() + 10;
            if bytes > bytes_max {
                return (page, true);
            }
            page.push(ClientEntry {
                certificate: client.certificate.der().to_vec(),
                last_seen: client.last_seen,
            });
        }
        (page, false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::cert::Role;
    use crate::crypto::cert::testing::world;

    #[test]
    fn who_comes_often_is_written_once_and_who_has_changed_at_once() {
        let world = world();
        let bob = world.verified(&world.client("bob").1, Role::Client);
        let who = bob.fingerprint();
        let mut clients = KnownClients::new(4);
        let written =
            |clients: &mut KnownClients| clients.keep(&who).map(|note| (note.is_offered, note.last_seen.0));
        clients.learn_recovery(&bob);
        assert_eq!(written(&mut clients), Some((false, 0)));
        let grain = SEEN_GRAIN.as_millis() as u64;
        for (seen, expected) in [
            (grain, Some((false, grain))),
            (grain + 1, None),
            (2 * grain - 1, None),
            (2 * grain, Some((false, 2 * grain))),
        ] {
            clients.saw(&who, Wall(seen));
            assert_eq!(written(&mut clients), expected, "{seen}");
        }
        clients.learn(&bob);
        assert_eq!(written(&mut clients), Some((true, 2 * grain)), "it is offered now");
        clients.learn(&bob);
        assert_eq!(written(&mut clients), None);
        clients.learn(&world.renewed("bob"));
        assert!(written(&mut clients).is_some(), "another certificate");
        clients.not_kept(&who);
        assert!(written(&mut clients).is_some(), "there was no room");
        assert!(clients.restore(&world.renewed("bob"), true, Wall(7)));
        assert_eq!(written(&mut clients), None, "the store has it");
    }
}
