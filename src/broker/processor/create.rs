//! Creating topics and changing their members: records checked, then stored.
//!
//! The broker refuses what a client would refuse, so that noise stays out; clients never
//! rely on that.

use std::sync::Arc;

use super::commands::{Handled, Staged};
use super::topic::TopicKey;
use super::{Means, Pending, Processor, Refusal};
use crate::base::Wall;
use crate::base::entropy::random_array;
use crate::base::ids::{ConnId, Fingerprint, Incarnation, RequestId, TopicHandle};
use crate::base::limits::RSA_BITS_MAX;
use crate::base::names::TopicName;
use crate::chain::{self, Chain};
use crate::session::budget::RsaCost;
use crate::store::entry::Wraps;
use crate::store::{Content, LogSettings, NewEntry, Op};
use crate::wire::frame::ClientFrame;
use crate::wire::values::{Durability, RefuseCode, Retention};

/// A topic on its way to the store.
pub struct Creation {
    pub conn: ConnId,
    pub request: RequestId,
    pub creator: Fingerprint,
    pub name: TopicName,
    pub log: Incarnation,
    pub durability: Durability,
    pub retention: Retention,
    pub chain: Chain,
}

/// A membership record on its way to the store.
pub struct Change {
    pub conn: ConnId,
    pub request: RequestId,
    pub topic: TopicKey,
    pub change: chain::Change,
}

/// A topic as its creator asks for it.
struct Wanted {
    request: RequestId,
    name: TopicName,
    durability: Durability,
    retention: Retention,
    genesis: Vec<u8>,
    delta: Vec<u8>,
}

impl Processor {
    pub(super) fn membership_command(
        &mut self,
        id: ConnId,
        frame: ClientFrame,
        means: &mut Means<'_>,
    ) -> Handled {
        let records = if let ClientFrame::Create { .. } = frame { 2 } else { 1 };
        let bits = self.signer_bits(id);
        // Each record costs one check of a signature, as does each certificate that came with it;
        // without budget nothing is used up.
        if !means.budget.try_take(RsaCost::public(bits) * records + self.recovery_cost(id)) {
            return Handled::Deferred(frame);
        }
        let staged = self.take_staged(id);
        let (request, outcome) = match frame {
            ClientFrame::Create { request, name, durability, retention, genesis, delta } => {
                let wanted = Wanted { request, name, durability, retention, genesis, delta };
                (request, self.create(id, wanted, staged, means))
            }
            ClientFrame::Append { request, topic, record } => {
                (request, self.append_record(id, request, (topic, record), staged, means))
            }
            _ => return Handled::Violation("unexpected frame"),
        };
        if let Err(refusal) = outcome {
            self.refuse(id, request, refusal);
        }
        Handled::Done
    }

    fn create(
        &mut self,
        id: ConnId,
        wanted: Wanted,
        staged: Staged,
        means: &mut Means<'_>,
    ) -> Result<(), Refusal> {
        let now = means.now;
        let Wanted { request, name, durability, retention, genesis, delta } = wanted;
        let gone = || Refusal::code(RefuseCode::Busy);
        let peer = self.seat(id).ok_or_else(gone)?.peer.clone();
        self.check_may_create(&peer.fingerprint, &peer.name, &name)?;
        if durability == Durability::Disk && !self.store.is_durable() {
            return Err(Refusal::code(RefuseCode::NotDurable));
        }
        let key = self.known(&peer.fingerprint)?.public_key().clone();
        let mut chain = Chain::begin(&genesis, &key).map_err(bad_record)?;
        let is_own = chain.owner() == peer.fingerprint && *chain.owner_name() == peer.name;
        if *chain.name() != name || !is_own {
            return Err(Refusal::because(RefuseCode::BadRecord, "the genesis names another topic or owner"));
        }
        let change = chain.check(&delta, &key).map_err(bad_record)?;
        let recovery = self.check_added(&change, &staged.recovery, means)?;
        let wraps = match_wraps(&change, staged.wraps)?;
        let named = change.clone();
        chain.apply(change).map_err(bad_record)?;
        if !self.topics.reserve(&name) {
            return Err(Refusal::because(RefuseCode::Exists, format!("a topic called {name} exists")));
        }
        self.know_all_recovery(&recovery);
        self.keep_named(&peer.fingerprint, &named);
        *self.created_by.entry(peer.fingerprint).or_default() += 1;
        let log = Incarnation(u64::from_be_bytes(random_array(means.entropy)));
        let settings = LogSettings {
            name: name.clone(),
            durability: store_durability(durability),
            retain: super::ownership::retain(retention),
        };
        let none: Wraps = Arc::from([]);
        let records = vec![
            record_entry(genesis, &peer.certificate, none, now.wall),
            record_entry(delta, &peer.certificate, wraps, now.wall),
        ];
        let ticket = self.store.submit(Op::Create { log, settings, records });
        let creator = peer.fingerprint;
        let creation = Creation { conn: id, request, creator, name, log, durability, retention, chain };
        self.pending.insert(ticket, Pending::Create(Box::new(creation)));
        self.change_begins(id);
        Ok(())
    }

    fn append_record(
        &mut self,
        id: ConnId,
        request: RequestId,
        (handle, record): (TopicHandle, Vec<u8>),
        staged: Staged,
        means: &Means<'_>,
    ) -> Result<(), Refusal> {
        let unknown = || Refusal::code(RefuseCode::UnknownHandle);
        let seat = self.seat(id).ok_or_else(unknown)?;
        let (key, peer) = (seat.cursor(handle).ok_or_else(unknown)?.topic, seat.peer.clone());
        let topic = self.topics.topic(key).ok_or_else(|| Refusal::code(RefuseCode::Deleted))?;
        if topic.deleting {
            return Err(Refusal::code(RefuseCode::Deleted));
        }
        if topic.changing {
            return Err(Refusal::code(RefuseCode::HeadMoved));
        }
        if chain::signer_of(&record).map_err(bad_record)? != peer.fingerprint {
            return Err(Refusal::because(RefuseCode::BadRecord, "the record is signed by somebody else"));
        }
        let key_of_signer = self.known(&peer.fingerprint)?.public_key();
        let change = topic.chain.check(&record, key_of_signer).map_err(bad_record)?;
        let recovery = self.check_added(&change, &staged.recovery, means)?;
        let wraps = match_wraps(&change, staged.wraps)?;
        self.know_all_recovery(&recovery);
        self.keep_named(&peer.fingerprint, &change);
        let entry = record_entry(record, &peer.certificate, wraps, means.now.wall);
        let ticket = self.store.submit(Op::Append { log: key.log, entry });
        if let Some(topic) = self.topics.topic_mut(key) {
            topic.changing = true;
            topic.appending += 1;
        }
        let change = Change { conn: id, request, topic: key, change };
        self.pending.insert(ticket, Pending::Record(Box::new(change)));
        self.change_begins(id);
        Ok(())
    }

    pub(super) fn change_begins(&mut self, id: ConnId) {
        if let Some(seat) = self.seat_mut(id) {
            seat.changes += 1;
        }
        self.submitted();
    }

    fn check_may_create(
        &self,
        client: &Fingerprint,
        client_name: &crate::base::names::Name,
        name: &TopicName,
    ) -> Result<(), Refusal> {
        if !self.config.may_create(client_name, name) {
            let text = format!("the broker's configuration does not let {client_name} create {name}");
            return Err(Refusal::because(RefuseCode::MayNotCreate, text));
        }
        if self.topics.len() >= self.config.topics_max {
            return Err(Refusal::limit(self.config.topics_max));
        }
        if self.created_by.get(client).is_some_and(|made| *made >= self.config.topics_per_client_max) {
            return Err(Refusal::limit(self.config.topics_per_client_max));
        }
        Ok(())
    }

    /// The size of a connection's own key.
    fn signer_bits(&self, id: ConnId) -> usize {
        let known = self.seat(id).and_then(|seat| self.clients.certificate(&seat.peer.fingerprint));
        known.map_or(RSA_BITS_MAX, |certificate| certificate.public_key().bits())
    }
}

/// Gives each recipient the wrap whose hash the record names.
fn match_wraps(change: &chain::Change, wraps: Vec<Vec<u8>>) -> Result<Wraps, Refusal> {
    let matched = change.check_wraps(wraps).map_err(|_| Refusal::code(RefuseCode::BadWraps))?;
    Ok(matched.into_iter().map(|(to, wrap)| (to, wrap.into_boxed_slice())).collect())
}

fn record_entry(record: Vec<u8>, certificate: &Arc<[u8]>, wraps: Wraps, time: Wall) -> NewEntry {
    let content = Content::Record { record: Arc::from(record), certificate: Arc::clone(certificate), wraps };
    NewEntry { time, content }
}

fn bad_record(error: chain::ChainError) -> Refusal {
    if error == chain::ChainError::HeadMoved {
        Refusal::code(RefuseCode::HeadMoved)
    } else {
        Refusal::because(RefuseCode::BadRecord, error.to_string())
    }
}

fn store_durability(durability: Durability) -> crate::store::Durability {
    match durability {
        Durability::Memory => crate::store::Durability::Memory,
        Durability::Disk => crate::store::Durability::Disk,
    }
}
