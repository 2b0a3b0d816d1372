//! Publishing: what is sealed and sent when, and what its answers lead to.

use std::sync::Arc;

use super::Client;
use super::body::{BodyKey, Place};
use super::create::members_of;
use super::event::{Answer, Members};
use super::failure::{Disconnect, Failure};
use super::link::{End, Phase};
use super::publishing::{Consequence, Outgoing, Refusal, Unasked};
use super::records::Records;
use super::request::{Full, Ticket};
use super::signing::{Age, Means, Own, Under};
use super::topic::{Link, Topic};
use crate::base::Wall;
use crate::base::ids::{Counter, Epoch, Offset, RecordHash, TopicHandle, TopicId};
use crate::base::limits::{MESSAGE_BYTES_MAX, UNANSWERED_PUBLISHES_MAX};
use crate::base::names::TopicName;
use crate::crypto::digest::sha256;
use crate::wire::body::{Body, BodyRef};
use crate::wire::frame::ClientFrame;
use crate::wire::values::{RefuseCode, Start};

/// Contents that wait to be answered, in bytes; a single message may be more.
const PUBLISH_BYTES_MAX: usize = 8 * 1024 * 1024;
/// A body that is put inside its frame when bodies are to be sealed: fits a token with room to spare.
const INLINE_BYTES_MAX: usize = 60 * 1024;

impl Client {
    /// Seals `content` for the topic's members and sends it; opens the topic first if need be.
    /// The answer is [`Answer::Published`].
    pub fn publish(&mut self, topic: &TopicName, content: &[u8]) -> Result<Ticket, Full> {
        if self.why_ended().is_none() && self.is_window_full(content.len()) {
            return Err(Full);
        }
        let ticket = self.ticket();
        let max = self.message_bytes_max();
        if let Some(failure) = self.why_not(topic).or_else(|| self.why_suspended(topic)) {
            self.answer(ticket, Err(failure));
        } else if content.len() > max {
            self.answer(ticket, Err(Failure::TooLarge { bytes: content.len(), max }));
        } else {
            let state = self.topics.entry(topic.clone()).or_default();
            state.publishing.push(ticket, content);
            self.watched.insert(topic.clone());
            self.advance();
        }
        Ok(ticket)
    }

    /// Publishes that are not answered yet.
    pub fn unanswered_publishes(&self) -> usize {
        self.watched.iter().filter_map(|name| self.topics.get(name)).map(|t| t.publishing.len()).sum()
    }

    fn is_window_full(&self, more: usize) -> bool {
        let topics = self.watched.iter().filter_map(|name| self.topics.get(name));
        let bytes: usize = topics.map(|topic| topic.publishing.bytes()).sum();
        let count = self.unanswered_publishes();
        count >= self.window() || count > 0 && bytes + more > PUBLISH_BYTES_MAX
    }

    fn window(&self) -> usize {
        match &self.phase {
            Phase::Active(session) => session.welcome.map_or(UNANSWERED_PUBLISHES_MAX, |w| w.window),
            _ => UNANSWERED_PUBLISHES_MAX,
        }
    }

    fn message_bytes_max(&self) -> usize {
        match &self.phase {
            Phase::Active(session) => session.welcome.map_or(MESSAGE_BYTES_MAX, |w| w.message_bytes_max),
            _ => MESSAGE_BYTES_MAX,
        }
    }

    /// Why nothing will be done for a topic any more.
    pub(super) fn why_not(&self, topic: &TopicName) -> Option<Failure> {
        let stopped = self.topics.get(topic).and_then(|t| t.stopped.clone());
        let leaving = self.exit_deadline.map(|_| Failure::Exiting);
        self.why_ended().or(leaving).or(stopped.map(|fault| Failure::Integrity(topic.clone(), fault)))
    }

    /// Does for each topic that somebody waits for what can be done now.
    pub(super) fn advance_topics(&mut self) {
        if !self.is_connected() {
            return;
        }
        for name in self.watched.clone() {
            self.advance_topic(&name);
            if !self.is_connected() {
                return;
            }
            if self.topics.get(&name).is_none_or(Topic::is_idle) {
                self.watched.remove(&name);
            }
        }
    }

    fn advance_topic(&mut self, name: &TopicName) {
        if let Some(failure) = self.topics.get(name).and_then(|t| t.stopped.clone()) {
            return self.fail_topic(name, &Failure::Integrity(name.clone(), failure));
        }
        let Some(topic) = self.topics.get_mut(name) else { return };
        match &topic.link {
            Link::Closed => return self.open_topic(name.clone(), Start::RecordsOnly, None),
            Link::Opening => return,
            Link::Open(_) => {}
        }
        let Phase::Active(session) = &self.phase else { return };
        let is_settled = topic.settle(&session.lull);
        if is_settled && self.is_cut_short(name) {
            return self.end(End::retry(Disconnect::BrokerSilent));
        }
        if is_settled {
            self.judge_settled(name);
            if let Err(end) = self.judge_signer(name) {
                return self.end(end);
            }
            if self.topics.get(name).is_none_or(|topic| topic.stopped.is_some()) {
                return self.advance_topic(name);
            }
        }
        self.fail_suspended(name);
        let Some(topic) = self.topics.get_mut(name) else { return };
        if let Some(consequence) = topic.publishing.settle(self.now.mono) {
            self.follow(name, consequence);
        }
        self.send_messages(name);
        if is_settled {
            self.tell_members(name);
            self.fail_keyless(name);
            self.advance_amendments(name);
        }
    }

    /// Sends what the window and the topic's key allow.
    fn send_messages(&mut self, name: &TopicName) {
        let topics = self.watched.iter().filter_map(|name| self.topics.get(name));
        let in_flight: usize = topics.map(|topic| topic.publishing.in_flight()).sum();
        let mut room = self.window().saturating_sub(in_flight);
        let now = self.now;
        let Some(topic) = self.topics.get(name) else { return };
        // A record that mends it may be on its way; once all have come, those who wait are told.
        if topic.records.revoked_signer(&self.trust).is_some() {
            return;
        }
        let is_reached = topic.records_seen().is_some_and(|seen| self.pins.are_reached(name, seen));
        if !is_reached || Sealing::of(topic).is_none() {
            return;
        }
        let Some((under, only_begun)) = self.publisher_for(name) else { return };
        let Some(own) = self.signing.own(under) else { return };
        let Some(topic) = self.topics.get_mut(name) else { return };
        let (Link::Open(open), Phase::Active(session)) = (&topic.link, &mut self.phase) else { return };
        let Some(sealing) = Sealing::under(&topic.records) else { return };
        let (topic_handle, slot, epoch) = (open.handle, under.slot, sealing.epoch);
        while room > 0
            && let Some(message) = topic.publishing.next_unsent(epoch, now.mono, only_begun)
        {
            let body = sealing.body(message, own, now.wall);
            let told = &mut session.ids_told[usize::from(slot)];
            if told.replace(own.id) != Some(own.id) {
                let delegation = own.delegation.clone();
                self.outbox.push(&ClientFrame::Publisher { slot, id: own.id, delegation });
            }
            let inline = self.config.seal_bodies && body.len() <= INLINE_BYTES_MAX;
            let (stated, beside) = match inline {
                true => (Body::Inline(body.to_vec()), None),
                false => (Body::Beside(body_ref(&body)), Some(body)),
            };
            let counter = message.counter;
            let frame = ClientFrame::Publish { slot, topic: topic_handle, epoch, counter, body: stated };
            self.outbox.push_with_body(&frame, beside);
            topic.publishing.sent();
            room -= 1;
        }
    }

    /// The publisher id under which a topic's messages go on, and whether it is only for those that
    /// it has begun. One that is old or spent gives way to another as soon as none of them may be
    /// stored under it, or when it is over. Nothing if that has to be waited for.
    fn publisher_for(&mut self, name: &TopicName) -> Option<(Under, bool)> {
        let publishing = &self.topics.get(name)?.publishing;
        let (under, is_begun) = (publishing.under(), publishing.is_begun());
        if publishing.is_empty() {
            return None;
        }
        let is_kept = publishing.is_kept();
        let age = under.map_or(Age::Over, |under| self.signing.age(under, self.now.wall));
        match (under, age) {
            (Some(under), Age::Young) => return Some((under, false)),
            (Some(under), Age::Old) if is_begun => return Some((under, true)),
            (Some(under), Age::Old) if is_kept => return Some((under, false)),
            _ if publishing.in_flight() > 0 => return None,
            _ if is_kept => {
                self.fail_publishes(name, &Failure::CountersLost(name.clone()));
                return None;
            }
            _ => {}
        }
        let spent = publishing.spent();
        // This topic's own slot is free, but for an id that the broker may still answer for.
        let others = self.topics.iter().filter(|(other, _)| *other != name || spent.is_some());
        let is_used = |slot| others.clone().any(|(_, topic)| topic.publishing.holds(slot));
        let means = Means { key: &self.identity.key, now: self.now.wall, entropy: &mut *self.entropy };
        match self.signing.take(spent, is_used, means) {
            Ok(Some(newer)) => {
                self.topics.get_mut(name)?.publishing.renumber(newer);
                Some((newer, false))
            }
            // All slots are held by messages under way; what is old is still good.
            Ok(None) => under.filter(|_| age == Age::Old).map(|under| (under, false)),
            Err(fault) => {
                self.fail_publishes(name, &Failure::Machine(fault.to_string()));
                None
            }
        }
    }

    /// Answers those who asked for the members.
    fn tell_members(&mut self, name: &TopicName) {
        let me = self.identity.certificate.fingerprint();
        let Some(topic) = self.topics.get_mut(name) else { return };
        let members = topic.records.chain().map(|chain| Members {
            topic: name.clone(),
            id: chain.topic(),
            owner: chain.owner_name().clone(),
            epoch: chain.epoch().unwrap_or_default(),
            join: chain.join(),
            members: members_of(chain, me),
        });
        let silent = Failure::Nonsense("the topic has no records");
        for ticket in std::mem::take(&mut topic.members_asked) {
            self.answer(ticket, members.clone().map(Answer::Members).ok_or(silent.clone()));
        }
    }

    /// All records have come and none brought us the key: nothing can be published.
    fn fail_keyless(&mut self, name: &TopicName) {
        let me = self.identity.certificate.fingerprint();
        let Some(topic) = self.topics.get_mut(name) else { return };
        let has_key = topic.records.epoch().is_some_and(|epoch| topic.records.keyring().has(epoch));
        // What is under way is answered by the broker.
        if has_key || topic.publishing.is_empty() || topic.publishing.in_flight() > 0 {
            return;
        }
        let failure = match topic.records.is_member(me) {
            true => Failure::NoKey(name.clone()),
            false => Failure::NotMember(name.clone()),
        };
        for ticket in topic.publishing.drop_all() {
            self.answer(ticket, Err(failure.clone()));
        }
    }

    pub(super) fn published(
        &mut self,
        slot: u16,
        handle: TopicHandle,
        counter: Counter,
        offset: Option<Offset>,
    ) -> Result<(), End> {
        let name = self.name_of(handle)?;
        let Some(topic) = self.topics.get_mut(&name) else { return Ok(()) };
        if !is_current(topic, slot, handle) {
            return Ok(());
        }
        let ticket = topic.publishing.stored(counter)?;
        self.answer(ticket, Ok(Answer::Published { topic: name, counter, offset }));
        Ok(())
    }

    pub(super) fn publish_refused(
        &mut self,
        slot: u16,
        handle: TopicHandle,
        counter: Counter,
        code: RefuseCode,
        detail: u64,
    ) -> Result<(), End> {
        if code == RefuseCode::Forgotten {
            return self.published(slot, handle, counter, None);
        }
        let name = self.name_of(handle)?;
        let Some(topic) = self.topics.get_mut(&name) else { return Ok(()) };
        if !is_current(topic, slot, handle) {
            return Ok(());
        }
        topic.publishing.refused(Refusal { counter, code, detail })?;
        Ok(())
    }

    /// Does what follows from a refusal.
    fn follow(&mut self, name: &TopicName, consequence: Consequence) {
        let failure = |r: Refusal| Failure::from_refusal(Some(name), r.code, r.detail, String::new());
        match consequence {
            Consequence::Resume => {}
            Consequence::FailOne(ticket, refusal) => {
                let failure = failure(refusal);
                self.answer(ticket, Err(failure));
            }
            Consequence::FailAll(refusal) => self.fail_publishes(name, &failure(refusal)),
            Consequence::NewPublisher => {
                let Some(topic) = self.topics.get_mut(name) else { return };
                topic.publishing.spend();
                if topic.publishing.is_kept() {
                    self.fail_publishes(name, &Failure::CountersLost(name.clone()));
                }
            }
        }
    }

    fn fail_publishes(&mut self, name: &TopicName, failure: &Failure) {
        let Some(topic) = self.topics.get_mut(name) else { return };
        for ticket in topic.publishing.drop_all() {
            self.answer(ticket, Err(failure.clone()));
        }
    }
}

/// Whether an answer is about what this topic publishes now: not under a handle that has ended, not
/// under a publisher id that was given up, not of a topic that was. Of those nothing is under way any
/// more.
fn is_current(topic: &mut Topic, slot: u16, handle: TopicHandle) -> bool {
    let is_given_up = topic.stopped.is_some() || !topic.publishing.is_under(slot);
    !is_given_up && topic.open().is_some_and(|open| open.handle == handle)
}

/// With what a topic's messages are sealed now.
struct Sealing<'a> {
    topic: TopicId,
    epoch: Epoch,
    epoch_record: RecordHash,
    key: &'a BodyKey,
}

impl<'a> Sealing<'a> {
    /// Nothing before this session has borne out the records of earlier ones.
    fn of(topic: &'a Topic) -> Option<Sealing<'a>> {
        match &topic.link {
            Link::Open(open) if open.records_seen >= topic.records.len() => Sealing::under(&topic.records),
            _ => None,
        }
    }

    fn under(records: &'a Records) -> Option<Sealing<'a>> {
        let (epoch, topic) = records.epoch().zip(records.topic_id())?;
        let epoch_record = records.epoch_record(epoch)?;
        Some(Sealing { topic, epoch, epoch_record, key: records.keyring().body_key(epoch)? })
    }

    /// A message's body: the same one as before, unless the epoch or the message's place has changed.
    fn body(&self, message: &mut Outgoing, own: &Own, now: Wall) -> Arc<[u8]> {
        let sealed = message.sealed.take().filter(|(sealed_for, _)| *sealed_for == self.epoch);
        let body = sealed.map(|(_, body)| body).unwrap_or_else(|| {
            let Sealing { topic, epoch_record, .. } = *self;
            let place = Place { topic, epoch_record, publisher: own.id, counter: message.counter };
            Arc::from(self.key.seal(&place, &message.content, &own.signer, now))
        });
        message.sealed = Some((self.epoch, Arc::clone(&body)));
        body
    }
}

fn body_ref(body: &[u8]) -> BodyRef {
    BodyRef { len: u32::try_from(body.len()).expect("a body keeps to its limit"), sha256: sha256(body) }
}

impl From<Unasked> for End {
    fn from(_: Unasked) -> End {
        End::protocol("an answer to a publish that was not sent")
    }
}
