//! What the store has completed: answers, and the entry on its way to those who listen.

use std::sync::Arc;
use std::time::Duration;

use super::create::{Change, Creation};
use super::cursor::Status;
use super::open::Opening;
use super::topic::{Topic, TopicKey};
use super::{Pending, Processor, Refusal};
use crate::base::ids::{ConnId, Counter, TopicHandle};
use crate::base::{Now, Wall};
use crate::chain;
use crate::store::{Completion, Entry, Op, Outcome, StoreError, Ticket};
use crate::wire::frame::BrokerFrame;
use crate::wire::values::{RefuseCode, Start};

impl Processor {
    pub(super) fn complete(&mut self, completion: Completion, now: Now) {
        if matches!(completion.result, Err(StoreError::Failed(_))) {
            let pending = self.pending.get(&completion.ticket);
            let is_query = matches!(pending, Some(Pending::Read { .. } | Pending::Find { .. }));
            if !is_query || self.store.failure().is_some() {
                // Nobody knows what is stored now, and nobody is told anything: whoever waits, waits
                // until the process ends, as it must.
                return;
            }
        }
        let Some(pending) = self.pending.remove(&completion.ticket) else {
            debug_assert!(false, "a completion of nothing that was submitted");
            return;
        };
        if let (Pending::Read { conn, handle } | Pending::Find { conn, handle }, Err(_)) =
            (&pending, &completion.result)
            && !self.awaits(*conn, *handle, completion.ticket)
        {
            return;
        }
        match (pending, completion.result) {
            (Pending::Message { conn, topic, publisher, counter, bytes }, result) => {
                self.publish_ends(conn, bytes);
                self.message_done(topic, publisher, counter, result, now);
            }
            (Pending::Create(creation), result) => self.creation_done(*creation, result),
            (Pending::Record(change), result) => self.change_done(*change, result, now),
            (Pending::Read { conn, handle }, Ok(Outcome::Entries { entries, next })) => {
                self.fetched(completion.ticket, conn, handle, entries, next);
            }
            (Pending::Find { conn, handle }, Ok(Outcome::Found(offset))) => {
                self.found(completion.ticket, conn, handle, Some(offset));
            }
            (Pending::Find { conn, handle }, Err(error)) if is_unreadable(&error) => {
                self.unreadable(conn, handle, &error);
            }
            (Pending::Read { conn, handle }, Err(error)) if is_unreadable(&error) => {
                self.unreadable(conn, handle, &error);
            }
            (Pending::Find { conn, handle }, _) => self.found(completion.ticket, conn, handle, None),
            (Pending::Configure(owned, retention), result) => self.configured(owned, retention, result, now),
            (Pending::Remove(owned), result) => self.removed(owned, result, now),
            (Pending::Forget | Pending::Note, _) => {}
            (Pending::Client(client), result) => self.client_kept(&client, &result),
            (Pending::Request(asking), result) => self.asked(*asking, result),
            (Pending::Trim { topic }, result) => self.trimmed(topic, result, now),
            (Pending::Read { conn, handle }, _) => self.end_cursor(conn, handle, RefuseCode::Deleted),
        }
    }

    fn message_done(
        &mut self,
        key: TopicKey,
        publisher: u32,
        counter: Counter,
        result: Result<Outcome, StoreError>,
        now: Now,
    ) {
        let Some(topic) = self.topics.topic_mut(key) else { return };
        topic.append_done(result.is_err());
        let mut waiters = std::mem::take(&mut self.waiters);
        let answer = match &result {
            Ok(Outcome::Appended { entry }) => {
                topic.publishers.stored(publisher, entry.offset, &mut waiters);
                Ok(entry.offset)
            }
            Ok(_) | Err(_) => {
                topic.publishers.failed(publisher, &mut waiters);
                Err(refuse_code(&result))
            }
        };
        for waiter in waiters.drain(..) {
            let Some(handle) = self.seat(waiter.conn).and_then(|seat| seat.handle_of(key)) else { continue };
            let (slot, topic) = (waiter.slot, handle);
            self.answer(
                waiter.conn,
                match answer {
                    Ok(offset) => BrokerFrame::Published { slot, topic, counter, offset },
                    Err(code) => BrokerFrame::PublishRefused { slot, topic, counter, code, detail: 0 },
                },
            );
        }
        self.waiters = waiters;
        if let Ok(Outcome::Appended { entry }) = result {
            self.entry_stored(key, entry, now);
        } else {
            self.counters.publishes_refused += 1;
        }
    }

    /// An entry is part of its log: keeps it among the newest, wakes who listens, and
    /// lets retention have its way.
    fn entry_stored(&mut self, key: TopicKey, entry: Arc<Entry>, now: Now) {
        let is_message = entry.is_message();
        self.topics.push(key, entry);
        self.wake_listeners(key, true);
        if !is_message {
            self.wake_listeners(key, false);
        }
        self.retain(key, now);
    }

    fn wake_listeners(&mut self, key: TopicKey, subscribed: bool) {
        let Some(topic) = self.topics.topic_mut(key) else { return };
        for (_, listener) in topic.listeners(subscribed) {
            if !std::mem::take(&mut listener.waiting) {
                continue;
            }
            let Some(seat) = self.seats.get_mut(listener.conn) else { continue };
            seat.ready.push_back(listener.handle);
            if let Some(cursor) = seat.cursor_mut(listener.handle) {
                cursor.status = Status::Ready;
            }
            if !seat.woken {
                seat.woken = true;
                self.wakes.push_back(listener.conn);
            }
        }
    }

    fn creation_done(&mut self, creation: Creation, result: Result<Outcome, StoreError>) {
        let Creation { conn, request, creator, name, log, durability, retention, chain } = creation;
        self.change_ends(conn);
        let Ok(Outcome::Created { entries }) = result else {
            self.topics.unreserve(&name);
            self.uncount_created(&creator);
            self.refuse(conn, request, Refusal::code(refuse_code(&result)));
            return;
        };
        let members: Vec<_> = chain.members().keys().copied().collect();
        let key = self.topics.insert(Topic::new(name, log, durability, retention, chain));
        for entry in entries {
            self.topics.push(key, entry);
        }
        self.judge_members(key);
        if let Err(refusal) = self.open_topic(conn, key, Opening { request, start: Start::RecordsOnly }) {
            self.refuse(conn, request, refusal);
        }
        for member in members {
            self.offer_topic(key, &member);
        }
    }

    /// Opens a topic for a member's connections whose filters match it.
    fn offer_topic(&mut self, key: TopicKey, member: &crate::base::ids::Fingerprint) {
        let Some(topic) = self.topics.topic(key) else { return };
        let conns = self.by_client.get(member).cloned().unwrap_or_default();
        let name = topic.name.clone();
        for conn in conns {
            let Some(seat) = self.seat(conn) else { continue };
            let Some(held) = seat.filters.iter().find(|held| held.filter.matches(&name)) else { continue };
            let opening = Opening { request: held.request, start: Start::Earliest };
            if let Err(refusal) = self.open_topic(conn, key, opening) {
                self.refuse(conn, opening.request, refusal);
            }
        }
    }

    fn change_done(&mut self, change: Change, result: Result<Outcome, StoreError>, now: Now) {
        let Change { conn, request, topic: key, change } = change;
        self.change_ends(conn);
        let Some(topic) = self.topics.topic_mut(key) else { return };
        topic.changing = false;
        topic.append_done(result.is_err());
        let Ok(Outcome::Appended { entry }) = result else {
            self.refuse(conn, request, Refusal::code(refuse_code(&result)));
            return;
        };
        let delta = change.delta().clone();
        if let Err(error) = topic.chain.apply(change) {
            // Only one change of a topic is under way at a time, so its head cannot have moved.
            debug_assert!(false, "a checked record does not apply: {error}");
        }
        self.entry_stored(key, entry, now);
        self.answer(conn, BrokerFrame::Done { request });
        self.settle_requests(key, &delta);
        self.judge_change(key, &delta);
        for member in delta.removed {
            for conn in self.by_client.get(&member).cloned().unwrap_or_default() {
                if let Some(handle) = self.seat(conn).and_then(|seat| seat.handle_of(key)) {
                    self.end_cursor(conn, handle, RefuseCode::NotMember);
                }
            }
        }
        for added in delta.added {
            self.offer_topic(key, &added.fingerprint);
        }
    }

    /// Who was let in or turned away asks no more.
    fn settle_requests(&mut self, key: TopicKey, delta: &chain::Delta) {
        let Some(name) = self.topics.topic(key).map(|topic| topic.name.clone()) else { return };
        let mut settled = Vec::new();
        let added = delta.added.iter().map(|added| added.fingerprint);
        for who in added.chain(delta.denied.iter().map(|denied| denied.fingerprint)) {
            settled.extend(self.requests.remove(&name, &who).then_some(who));
        }
        for who in settled {
            self.drop_request_note(&name, &who);
        }
    }

    /// Ends a cursor and tells its client why.
    pub(super) fn end_cursor(&mut self, id: ConnId, handle: TopicHandle, code: RefuseCode) {
        self.end_find(id, handle, super::cursor::RECORDS_ONLY);
        let Some(cursor) = self.seat_mut(id).and_then(|seat| seat.close(handle)) else { return };
        if let Some(topic) = self.topics.topic_mut(cursor.topic) {
            topic.listeners(cursor.subscribed).remove(cursor.listener.0);
        }
        self.answer(id, BrokerFrame::Ended { topic: handle, code });
    }

    /// Whether a cursor still waits for this: it may have been sent elsewhere meanwhile.
    fn awaits(&self, id: ConnId, handle: TopicHandle, ticket: Ticket) -> bool {
        let cursor = self.seat(id).and_then(|seat| seat.cursor(handle));
        let status = cursor.map(|cursor| &cursor.status);
        matches!(status, Some(Status::Reading(awaited) | Status::Finding(awaited)) if *awaited == ticket)
    }

    /// What a cursor waited for cannot be had: nothing is served in its place.
    fn unreadable(&mut self, id: ConnId, handle: TopicHandle, error: &StoreError) {
        let Some(cursor) = self.seat(id).and_then(|seat| seat.cursor(handle)) else { return };
        if let Some(topic) = self.topics.topic_mut(cursor.topic)
            && topic.unreadable.as_ref() != Some(error)
        {
            log::error!(
                "topic {}: {error}; nothing of it is served. What is good can be copied to another \
                 folder once the broker is stopped: sealmqd salvage OLD NEW",
                topic.name
            );
            topic.unreadable = Some(error.clone());
        }
        self.end_cursor(id, handle, RefuseCode::Damaged);
    }

    /// Asks the store to drop what retention no longer keeps.
    pub(super) fn retain(&mut self, key: TopicKey, now: Now) {
        let Some(topic) = self.topics.topic_mut(key) else { return };
        if topic.trimming || topic.deleting {
            // What is too old now goes with that, or is looked at again behind it.
            return;
        }
        if !topic.exceeds_retention(now.wall) {
            self.note_age(key);
            return;
        }
        topic.trimming = true;
        let keep = topic.keep(now.wall);
        let ticket = self.store.submit(Op::Trim { log: key.log, keep });
        self.pending.insert(ticket, Pending::Trim { topic: key });
        self.submitted();
    }

    fn trimmed(&mut self, key: TopicKey, result: Result<Outcome, StoreError>, now: Now) {
        if let Ok(Outcome::Trimmed { kept, .. }) = result {
            self.topics.trimmed(key, &kept);
            if let Some(topic) = self.topics.topic_mut(key) {
                topic.trimming = false;
            }
            self.retain(key, now);
        } else if let Some(topic) = self.topics.topic_mut(key) {
            topic.trimming = false;
            self.look_again(key, Some(now.wall + TRIM_RETRY));
        }
    }

    /// Notes when a topic's oldest message will have outlived it.
    fn note_age(&mut self, key: TopicKey) {
        let Some(topic) = self.topics.topic(key) else { return };
        let age = topic.retention.age_ms;
        let due = (age > 0 && topic.messages > 0).then(|| Wall(topic.oldest.0.saturating_add(age)));
        self.look_again(key, due);
    }

    /// Lets retention look at a topic again at that time, and at no other: one for each topic.
    fn look_again(&mut self, key: TopicKey, due: Option<Wall>) {
        let Some(topic) = self.topics.topic_mut(key) else { return };
        let before = std::mem::replace(&mut topic.age_due, due);
        if before == due {
            return;
        }
        if let Some(at) = before {
            self.ages.remove(&(at, key.index, key.log));
        }
        if let Some(at) = due {
            self.ages.insert((at, key.index, key.log));
        }
    }

    /// Lets retention have its way where the oldest message has become too old.
    pub(super) fn drop_outlived(&mut self, now: Now) {
        while let Some((at, index, log)) = self.ages.first().copied() {
            if at > now.wall {
                return;
            }
            self.ages.pop_first();
            let key = TopicKey { index, log };
            if let Some(topic) = self.topics.topic_mut(key) {
                topic.age_due = None;
            }
            self.retain(key, now);
        }
    }
}

/// Whether an entry that should be there cannot be read.
fn is_unreadable(error: &StoreError) -> bool {
    matches!(error, StoreError::Damaged { .. } | StoreError::Failed(_))
}

/// When a trim that came to nothing is tried again.
const TRIM_RETRY: Duration = Duration::from_secs(60);

pub fn refuse_code(result: &Result<Outcome, StoreError>) -> RefuseCode {
    match result {
        Err(StoreError::EarlierFailed) => RefuseCode::EarlierRefused,
        Err(StoreError::NoSuchLog) => RefuseCode::Deleted,
        Err(StoreError::Exists) => RefuseCode::Busy,
        Err(StoreError::Damaged { .. }) => RefuseCode::Damaged,
        Err(StoreError::Full | StoreError::Failed(_)) | Ok(_) => RefuseCode::StorageFull,
    }
}
