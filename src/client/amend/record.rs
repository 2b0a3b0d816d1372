//! The record of a change: its epoch's key, the wraps, and how both are sent.

use super::super::Client;
use super::super::asks::Ask;
use super::super::create::{own_record, pages};
use super::super::failure::Failure;
use super::super::keyring::EpochKey;
use super::super::topic::Link;
use super::plan::Plan;
use super::{Amendment, Sent, Stage};
use crate::base::entropy::random_array;
use crate::base::ids::Epoch;
use crate::base::names::TopicName;
use crate::chain::{DeltaBuilder, History, record_hash};
use crate::crypto::key::PublicKey;
use crate::wire::frame::ClientFrame;

/// A record with the wraps that it names.
struct Made {
    record: Vec<u8>,
    wraps: Vec<Vec<u8>>,
    number: u32,
    new_epoch: bool,
}

impl Client {
    /// Makes the record of a plan whose recipients' certificates are all there, and sends it.
    pub(super) fn send_record(
        &mut self,
        name: &TopicName,
        amendment: &mut Amendment,
        plan: Plan,
    ) -> Result<(), Failure> {
        let Made { record, wraps, number, new_epoch } = self.make_record(name, amendment, &plan)?;
        let Some(topic) = self.topics.get(name) else { return Ok(()) };
        let Link::Open(open) = &topic.link else { return Ok(()) };
        let handle = open.handle;
        for wraps in pages(wraps) {
            self.outbox.push(&ClientFrame::Wraps { wraps });
        }
        amendment.attempts += 1;
        amendment.stage = Stage::Waiting;
        amendment.sent.push(Sent { number, hash: record_hash(&record), plan, new_epoch });
        self.start(Ask::Append { topic: name.clone(), id: amendment.id, handle, record });
        Ok(())
    }

    fn make_record(&mut self, name: &TopicName, amendment: &Amendment, plan: &Plan) -> Result<Made, Failure> {
        let no_key = || Failure::NoKey(name.clone());
        let records = &self.topics.get(name).ok_or_else(no_key)?.records;
        let chain = records.chain().ok_or_else(no_key)?;
        let entropy = &mut *self.entropy;
        let me = &self.identity.certificate;
        let mut delta = DeltaBuilder::new(chain, me.fingerprint(), self.now.wall);
        plan.fill(&mut delta);
        let held = chain.epoch().and_then(|epoch| records.keyring().get(epoch));
        let new_epoch = plan.rotate || delta.needs_epoch();
        let new = new_epoch.then(|| EpochKey::random(chain.topic(), chain.next_epoch(), entropy));
        if let Some(new) = &new {
            let reads_back = chain.history() == History::All && chain.next_epoch() > Epoch(0);
            let previous = match (reads_back, held) {
                (false, _) => Vec::new(),
                (true, Some(older)) => new.seal_previous(older, self.now.wall, &random_array(entropy)),
                (true, None) => return Err(no_key()),
            };
            delta.new_epoch(new.commitment(), previous);
        }
        let mut wraps = Vec::new();
        for recipient in delta.recipients().map_err(own_record)? {
            let key: Option<&PublicKey> = match recipient == me.fingerprint() {
                true => Some(me.public_key()),
                false => amendment.keys.get(&recipient).and_then(|c| c.first()).map(|c| c.public_key()),
            };
            let key = key.ok_or(Failure::Nonsense("a member's certificate is missing"))?;
            let epoch_key = new.as_ref().or(held).ok_or_else(no_key)?;
            wraps.push(epoch_key.wrap(key, entropy).map_err(|fault| Failure::Machine(fault.to_string()))?);
        }
        let record = delta.sign(&wraps, &self.identity.key, entropy).map_err(own_record)?;
        Ok(Made { record, wraps, number: chain.number().saturating_add(1), new_epoch })
    }
}
