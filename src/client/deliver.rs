//! What a topic's log brings: records, senders, messages, and marks of where they stand.

use super::delivery::Delivery;
use super::event::{Event, Integrity, Message};
use super::failure::IntegrityFault;
use super::link::End;
use super::pins::Place;
use super::records::{Incoming, Reader, Records};
use super::senders::Claim;
use super::topic::{Link, Sender, Topic};
use super::{Client, body};
use crate::base::Wall;
use crate::base::ids::{Counter, Epoch, Offset, TopicHandle};
use crate::base::names::TopicName;

/// A message's frame without its body.
#[derive(Clone, Copy)]
pub struct Arrived {
    pub offset: Offset,
    pub time: Wall,
    pub sender: u32,
    pub epoch: Epoch,
    pub counter: Counter,
    /// SHA-256 of the body.
    pub hash: [u8; 32],
}

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
            topic.publishing.restart();
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

    /// All records that there were when the topic was opened have come.
    fn records_came(&mut self, name: &TopicName) -> Result<(), End> {
        if let Some(open) = self.topics.get_mut(name).and_then(Topic::open) {
            open.settled = true;
        }
        self.judge_settled(name);
        self.judge_signer(name)
    }

    /// Gives a topic up: its records are not what they should be.
    pub(super) fn stop(&mut self, name: &TopicName, offset: Option<Offset>, fault: IntegrityFault) {
        let Some(topic) = self.topics.get_mut(name) else { return };
        topic.stopped = Some(fault.clone());
        topic.suspended = None;
        topic.delivery = None;
        // What was read of it last may not have been the topic's.
        self.read_on.remove(name);
        let topic = name.clone();
        let integrity = Integrity { topic, offset, sender: None, counter: None, fault, stopped: true };
        self.events.push(Event::Integrity(integrity));
    }

    pub(super) fn sender_named(
        &mut self,
        handle: TopicHandle,
        number: u32,
        claim: Claim<'_>,
    ) -> Result<(), End> {
        let topic = self.name_of(handle)?;
        let delegation = self.senders.judge(claim, &self.trust);
        let Claim { publisher, fingerprint, name, .. } = claim;
        let delegation =
            delegation.and_then(|good| self.meet_sender(&topic, name, fingerprint).map(|()| good));
        let Some(open) = self.topics.get_mut(&topic).and_then(Topic::open) else { return Ok(()) };
        if !open.name_sender(number, Sender { publisher, fingerprint, name: name.clone(), delegation }) {
            return Err(End::protocol("one number for two senders"));
        }
        Ok(())
    }

    pub(super) fn message_came(&mut self, handle: TopicHandle, m: Arrived, body: &[u8]) -> Result<(), End> {
        let name = self.name_of(handle)?;
        let shows = self.shows_messages();
        // All records that there were when the topic was opened come before its first message.
        if self.topics.get_mut(&name).and_then(Topic::open).is_some_and(|open| !open.judged) {
            self.records_came(&name)?;
        }
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
        let content = take_message(delivery, &topic.records, sender, m, body, &mut faults);
        // A message is shown under the name that the topic's records give its sender, whatever a newer
        // certificate says; of what is wrong it is told who is said to have sent it.
        let called = sender.and_then(|s| topic.records.name_at(s.fingerprint, m.offset)).cloned();
        let sender = sender.map(|s| (s.name.clone(), s.fingerprint));
        self.has_read(&name);
        for fault in faults {
            let (offset, counter) = (Some(m.offset), Some(m.counter));
            let (topic, sender) = (name.clone(), sender.as_ref().map(|(name, _)| name.clone()));
            let integrity = Integrity { topic, offset, sender, counter, fault, stopped: false };
            self.events.push(Event::Integrity(integrity));
        }
        if let Some((content, (named, fingerprint))) = content.zip(sender) {
            let sender = called.unwrap_or(named);
            let Arrived { offset, time, epoch, counter, .. } = m;
            let topic = name;
            let message = Message { topic, content, offset, time, sender, fingerprint, epoch, counter };
            self.events.push(Event::Message(message));
        }
        Ok(())
    }

    /// Something in a topic is not what it should be, but the topic goes on.
    fn report(&mut self, topic: &TopicName, offset: Offset, fault: IntegrityFault) {
        let (topic, offset) = (topic.clone(), Some(offset));
        let integrity = Integrity { topic, offset, sender: None, counter: None, fault, stopped: false };
        self.events.push(Event::Integrity(integrity));
    }

    /// Messages that come after the end was asked for are not shown, so their absence says nothing.
    fn shows_messages(&self) -> bool {
        self.exit_deadline.is_none()
    }

    pub(super) fn caught_up(&mut self, handle: TopicHandle, next: Offset) -> Result<(), End> {
        let name = self.name_of(handle)?;
        let shows = self.shows_messages();
        self.records_came(&name)?;
        let Some(topic) = self.topics.get_mut(&name).filter(|topic| topic.stopped.is_none()) else {
            return Ok(());
        };
        if topic.passes_over() {
            return Ok(());
        }
        let Some(delivery) = topic.delivery.as_mut().filter(|_| shows) else { return Ok(()) };
        let skipped = delivery.pass(next, &topic.records);
        let is_news = !std::mem::replace(&mut delivery.caught_up, true);
        self.has_read(&name);
        skipped.into_iter().for_each(|fault| self.report(&name, next, fault));
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
        self.has_read(&name);
        skipped.into_iter().for_each(|fault| self.report(&name, from, fault));
        self.events.push(Event::Gap { topic: name, from, to });
        Ok(())
    }
}

/// A message's content, if it is what a member sent to stand here; and what is wrong otherwise, or
/// before it.
fn take_message(
    delivery: &mut Delivery,
    records: &Records,
    sender: Option<&Sender>,
    m: Arrived,
    body: &[u8],
    faults: &mut Vec<IntegrityFault>,
) -> Option<Vec<u8>> {
    match delivery.reach(m.offset, records) {
        Ok(skipped) => faults.extend(skipped),
        Err(_) => {
            faults.push(IntegrityFault::Replayed { counter: m.counter });
            return None;
        }
    }
    let opened = sender.ok_or(IntegrityFault::UnknownSender).and_then(|sender| {
        let content = open_message(records, sender, m, body)?;
        let place = Place { offset: m.offset, counter: m.counter, hash: m.hash };
        faults.extend(delivery.count((sender.fingerprint, sender.publisher), place, records)?);
        Ok(content)
    });
    match opened {
        Ok(content) => Some(content),
        Err(fault) => {
            if matches!(fault, IntegrityFault::NoKey { .. }) {
                delivery.could_not_open();
            }
            faults.push(fault);
            None
        }
    }
}

/// A message's content, if its sender sealed it for this topic, this epoch and this place, and was a
/// member here.
fn open_message(
    records: &Records,
    sender: &Sender,
    m: Arrived,
    body: &[u8],
) -> Result<Vec<u8>, IntegrityFault> {
    let delegation = sender.delegation.as_ref().map_err(Clone::clone)?;
    if !delegation.covers(m.time) {
        return Err(IntegrityFault::OutOfTime);
    }
    if let Some(fault) = records.why_no_sender(sender.fingerprint, m.offset) {
        return Err(fault);
    }
    let epoch = m.epoch;
    let no_key = || IntegrityFault::NoKey { epoch };
    let (topic, expected) = records.topic_id().zip(records.epoch_at(m.offset)).ok_or_else(no_key)?;
    if epoch != expected {
        return Err(IntegrityFault::StaleEpoch { epoch, expected });
    }
    let epoch_record = records.epoch_record(epoch).ok_or_else(no_key)?;
    let key = records.keyring().body_key(epoch).ok_or_else(no_key)?;
    let place = body::Place { topic, epoch_record, publisher: sender.publisher, counter: m.counter };
    key.open(&place, body, &delegation.key)
}
