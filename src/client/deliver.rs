//! What a topic's log brings: records, senders, messages, and marks of where they stand.

use super::Client;
use super::body::Place;
use super::event::{Event, Integrity, Message};
use super::failure::IntegrityFault;
use super::link::End;
use super::records::{Incoming, Reader, Records};
use super::topic::{Link, Sender, Topic};
use crate::base::Wall;
use crate::base::ids::{Counter, Epoch, Fingerprint, Offset, PublisherId, TopicHandle};
use crate::base::names::{Name, TopicName};
use crate::crypto::cert::Role;
use crate::crypto::digest::sha256;

/// A message's frame without its body.
#[derive(Clone, Copy)]
pub struct Arrived {
    pub offset: Offset,
    pub time: Wall,
    pub sender: u32,
    pub epoch: Epoch,
    pub counter: Counter,
}

/// Senders' certificates that were verified already.
const CERTIFICATES_MAX: usize = 4096;

impl Client {
    pub(super) fn record_came(
        &mut self,
        handle: TopicHandle,
        offset: Offset,
        record: &[u8],
        wrap: &[u8],
        certificate: &[u8],
    ) -> Result<(), End> {
        let (name, now) = (self.name_of(handle)?, self.now.mono);
        let Some(topic) = self.topics.get_mut(&name) else { return Ok(()) };
        let Some(number) = topic.open().map(|open| open.records_seen) else { return Ok(()) };
        if topic.stopped.is_some() {
            return Ok(());
        }
        let incoming = Incoming { offset, record, wrap, certificate };
        let mut reader = Reader {
            topic: &name,
            key: &self.identity.key,
            me: self.identity.certificate.fingerprint(),
            trust: &self.trust,
            entropy: &mut *self.entropy,
        };
        let mut taken = topic.records.take(number, incoming, &mut reader);
        if matches!(taken, Err(IntegrityFault::OtherTopic { .. })) {
            // Whether its owner may put another topic in its place, what is remembered says.
            topic.records = Records::default();
            topic.publishing.renumber(topic.publishing.slot);
            taken = topic.records.take(number, incoming, &mut reader);
        }
        if let Some(open) = topic.open() {
            open.record_came(now);
        }
        if topic.delivery.as_ref().is_some_and(|d| d.next == offset)
            && let Some(delivery) = &mut topic.delivery
        {
            delivery.next = offset.next();
        }
        if let Err(fault) = taken.and_then(|()| self.judge_record(&name, number)) {
            self.stop(&name, Some(offset), fault);
        }
        self.judge_signer(&name)
    }

    /// Gives a topic up: its records are not what they should be.
    pub(super) fn stop(&mut self, name: &TopicName, offset: Option<Offset>, fault: IntegrityFault) {
        let Some(topic) = self.topics.get_mut(name) else { return };
        topic.stopped = Some(fault.clone());
        topic.suspended = None;
        topic.delivery = None;
        let integrity = Integrity { topic: name.clone(), offset, sender: None, fault, stopped: true };
        self.events.push(Event::Integrity(integrity));
    }

    pub(super) fn sender_named(
        &mut self,
        handle: TopicHandle,
        number: u32,
        publisher: PublisherId,
        fingerprint: Fingerprint,
        name: Name,
        certificate: &[u8],
    ) -> Result<(), End> {
        let topic_name = self.name_of(handle)?;
        let fault = self.judge_sender(&fingerprint, &name, certificate);
        let fault = fault.or_else(|| self.meet_sender(&name, fingerprint).err());
        let Some(open) = self.topics.get_mut(&topic_name).and_then(Topic::open) else { return Ok(()) };
        if !open.name_sender(number, Sender { publisher, fingerprint, name, fault }) {
            return Err(End::protocol("one number for two senders"));
        }
        Ok(())
    }

    /// Why the broker is not believed about a sender.
    fn judge_sender(
        &mut self,
        fingerprint: &Fingerprint,
        name: &Name,
        certificate: &[u8],
    ) -> Option<IntegrityFault> {
        let hash = sha256(certificate);
        if !self.certificates.contains_key(&hash) {
            let verified = match self.trust.verify_historic(certificate, Role::Client) {
                Ok(certificate) => (certificate.fingerprint(), certificate.name().clone()),
                Err(fault) => return Some(IntegrityFault::BadSender(fault.to_string())),
            };
            if self.certificates.len() >= CERTIFICATES_MAX {
                self.certificates.clear();
            }
            self.certificates.insert(hash, verified);
        }
        let (owner, owner_name) = self.certificates.get(&hash)?;
        let is_theirs = owner == fingerprint && owner_name == name;
        (!is_theirs).then(|| IntegrityFault::BadSender("is not the one that the broker names".into()))
    }

    pub(super) fn message_came(&mut self, handle: TopicHandle, m: Arrived, body: &[u8]) -> Result<(), End> {
        let name = self.name_of(handle)?;
        let shows = self.shows_messages();
        let Some(topic) = self.topics.get_mut(&name) else { return Ok(()) };
        if topic.passes_over() {
            return Ok(());
        }
        let Link::Open(open) = &topic.link else { return Ok(()) };
        let Some(delivery) = topic.delivery.as_mut().filter(|_| open.delivering && shows) else {
            return Ok(());
        };
        let sender = open.sender(m.sender);
        let mut faults = Vec::new();
        let opened = match delivery.reach(m.offset, &topic.records) {
            Err(_) => Err(IntegrityFault::Replayed { counter: m.counter }),
            Ok(skipped) => {
                faults.extend(skipped);
                let sender = sender.ok_or(IntegrityFault::UnknownSender);
                sender.and_then(|sender| {
                    let content = open_message(&topic.records, sender, m, body)?;
                    faults.extend(delivery.count((sender.fingerprint, sender.publisher), m.counter)?);
                    Ok(content)
                })
            }
        };
        let sender = sender.map(|s| (s.name.clone(), s.fingerprint));
        let event = match (opened, &sender) {
            (Ok(content), Some((sender, fingerprint))) => Some(Event::Message(Message {
                topic: name.clone(),
                content,
                offset: m.offset,
                time: m.time,
                sender: sender.clone(),
                fingerprint: *fingerprint,
                epoch: m.epoch,
                counter: m.counter,
            })),
            (Err(fault), _) => {
                faults.push(fault);
                None
            }
            (Ok(_), None) => None,
        };
        for fault in faults {
            self.report(&name, m.offset, sender.as_ref().map(|(name, _)| name.clone()), fault);
        }
        event.into_iter().for_each(|event| self.events.push(event));
        Ok(())
    }

    /// Something in a topic is not what it should be, but the topic goes on.
    fn report(&mut self, topic: &TopicName, offset: Offset, sender: Option<Name>, fault: IntegrityFault) {
        let integrity =
            Integrity { topic: topic.clone(), offset: Some(offset), sender, fault, stopped: false };
        self.events.push(Event::Integrity(integrity));
    }

    /// Messages that come after the end was asked for are not shown, so their absence says nothing.
    fn shows_messages(&self) -> bool {
        self.exit_deadline.is_none()
    }

    pub(super) fn caught_up(&mut self, handle: TopicHandle, next: Offset) -> Result<(), End> {
        let name = self.name_of(handle)?;
        let shows = self.shows_messages();
        let Some(topic) = self.topics.get_mut(&name) else { return Ok(()) };
        if let Some(open) = topic.open() {
            open.settled = true;
        }
        self.judge_settled(&name);
        self.judge_signer(&name)?;
        let Some(topic) = self.topics.get_mut(&name).filter(|topic| topic.stopped.is_none()) else {
            return Ok(());
        };
        if topic.passes_over() {
            return Ok(());
        }
        let Some(delivery) = topic.delivery.as_mut().filter(|_| shows) else { return Ok(()) };
        let skipped = delivery.pass(next, &topic.records);
        let is_news = !std::mem::replace(&mut delivery.caught_up, true);
        skipped.into_iter().for_each(|fault| self.report(&name, next, None, fault));
        if is_news {
            self.events.push(Event::CaughtUp { topic: name, next });
        }
        Ok(())
    }

    pub(super) fn gap(&mut self, handle: TopicHandle, from: Offset, to: Offset) -> Result<(), End> {
        let name = self.name_of(handle)?;
        let shows = self.shows_messages();
        let Some(topic) = self.topics.get_mut(&name).filter(|topic| topic.stopped.is_none()) else {
            return Ok(());
        };
        if topic.passes_over() {
            return Ok(());
        }
        let Some(delivery) = topic.delivery.as_mut().filter(|_| shows) else { return Ok(()) };
        let skipped = delivery.gap(from, to, &topic.records);
        skipped.into_iter().for_each(|fault| self.report(&name, from, None, fault));
        self.events.push(Event::Gap { topic: name, from, to });
        Ok(())
    }
}

/// A message's content, if it is what a member sealed for this topic, this epoch and this place.
fn open_message(
    records: &Records,
    sender: &Sender,
    m: Arrived,
    body: &[u8],
) -> Result<Vec<u8>, IntegrityFault> {
    if let Some(fault) = &sender.fault {
        return Err(fault.clone());
    }
    if !records.was_member(sender.fingerprint) {
        return Err(IntegrityFault::StrangeSender);
    }
    let epoch = m.epoch;
    let no_key = || IntegrityFault::NoKey { epoch };
    let (topic, expected) = records.topic_id().zip(records.epoch_at(m.offset)).ok_or_else(no_key)?;
    if epoch != expected {
        return Err(IntegrityFault::StaleEpoch { epoch, expected });
    }
    let epoch_record = records.epoch_record(epoch).ok_or_else(no_key)?;
    let key = records.keyring().body_key(epoch).ok_or_else(no_key)?;
    key.open(&Place { topic, epoch_record, publisher: sender.publisher, counter: m.counter }, body)
}
