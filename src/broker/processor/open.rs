//! Opening topics: where a cursor begins, and what its client is told of that.

use super::cursor::{Cursor, RECORDS_ONLY, Status};
use super::topic::{Listener, ListenerKey, Topic, TopicKey};
use super::{Pending, Processor, Refusal};
use crate::base::ids::{ConnId, Offset, RequestId, TopicHandle};
use crate::store::{Find, Op, Ticket};
use crate::wire::frame::BrokerFrame;
use crate::wire::values::{Notice, RefuseCode, Start};

/// How a topic is to be opened.
#[derive(Clone, Copy, Debug)]
pub struct Opening {
    /// What the announcement answers to.
    pub request: RequestId,
    pub start: Start,
}

/// Where delivery begins, as far as that is known at once.
enum Beginning {
    At(Offset, Notice),
    /// Only the store can tell.
    Ask(Find),
}

impl Processor {
    /// Opens a topic for a member, or says where an open one stands.
    pub(super) fn open_topic(&mut self, id: ConnId, key: TopicKey, opening: Opening) -> Result<(), Refusal> {
        let limit = self.config.cursors_per_connection_max;
        let (Some(topic), Some(seat)) = (self.topics.topic_mut(key), self.seats.get_mut(id)) else {
            return Err(Refusal::code(RefuseCode::NoSuchTopic));
        };
        let wants_messages = opening.start != Start::RecordsOnly;
        let handle = match seat.handle_of(key) {
            Some(handle) => {
                let subscribed = seat.cursor(handle).is_some_and(|cursor| cursor.subscribed);
                if subscribed && wants_messages && seat.defer_announcement(handle, opening.request) {
                    return Ok(());
                }
                if subscribed || !wants_messages {
                    self.announce(id, handle, opening.request, Notice::None);
                    return Ok(());
                }
                handle
            }
            None => {
                if seat.handles() >= limit {
                    return Err(Refusal::limit(limit));
                }
                let listener = Listener { conn: id, handle: seat.next_handle(), waiting: false };
                let listener = ListenerKey(topic.listeners(false).insert(listener));
                seat.open(Cursor::new(key, listener))
            }
        };
        let beginning = beginning(topic, opening.start);
        if wants_messages {
            self.set_subscribed(id, handle, true);
        }
        match beginning {
            Beginning::At(floor, notice) => self.begin_at(id, handle, floor, opening.request, notice),
            Beginning::Ask(what) => self.ask_where(id, handle, opening.request, what),
        }
        Ok(())
    }

    /// Lets a cursor begin at `floor`, announces it and wakes it.
    pub(super) fn begin_at(
        &mut self,
        id: ConnId,
        handle: TopicHandle,
        floor: Offset,
        request: RequestId,
        notice: Notice,
    ) {
        let Some(seat) = self.seats.get_mut(id) else { return };
        let Some(cursor) = seat.cursor_mut(handle) else { return };
        let Some(topic) = self.topics.topic(cursor.topic) else { return };
        cursor.begin(floor, topic.end);
        cursor.past_end = Some(topic.end);
        if !cursor.is_queued() {
            seat.ready.push_back(handle);
        }
        if let Some(cursor) = seat.cursor_mut(handle) {
            cursor.status = Status::Ready;
        }
        self.announce(id, handle, request, notice);
        self.stop_waiting(id, handle);
        self.wake(id);
    }

    fn ask_where(&mut self, id: ConnId, handle: TopicHandle, request: RequestId, what: Find) {
        let Some(seat) = self.seats.get_mut(id) else { return };
        let Some(cursor) = seat.cursor_mut(handle) else { return };
        let log = cursor.topic.log;
        let was_queued = cursor.is_queued();
        let ticket = self.store.submit(Op::Find { log, what });
        cursor.status = Status::Finding(ticket);
        if was_queued {
            seat.ready.retain(|other| *other != handle);
        }
        seat.defer_announcement(handle, request);
        self.pending.insert(ticket, Pending::Find { conn: id, handle });
        self.stop_waiting(id, handle);
        self.submitted();
    }

    /// The store has found where a cursor begins; `None`: it could not, so at the earliest.
    pub(super) fn found(&mut self, ticket: Ticket, id: ConnId, handle: TopicHandle, offset: Option<Offset>) {
        let Some(cursor) = self.seat(id).and_then(|seat| seat.cursor(handle)) else { return };
        // The cursor may have been sent elsewhere meanwhile.
        if !matches!(cursor.status, Status::Finding(awaited) if awaited == ticket) {
            return;
        }
        let first = self.topics.topic(cursor.topic).map(|topic| topic.first);
        self.end_find(id, handle, offset.or(first).unwrap_or(RECORDS_ONLY));
    }

    /// Lets a cursor begin at `floor` that waited for the store to find its place, and tells
    /// all who asked.
    pub(super) fn end_find(&mut self, id: ConnId, handle: TopicHandle, floor: Offset) {
        let Some(cursor) = self.seats.get_mut(id).and_then(|seat| seat.cursor_mut(handle)) else {
            return;
        };
        if !matches!(cursor.status, Status::Finding(_)) {
            return;
        }
        let requests = std::mem::take(&mut cursor.unannounced);
        let owed = requests.len();
        let mut requests = requests.into_iter();
        if let Some(request) = requests.next() {
            self.begin_at(id, handle, floor, request, Notice::None);
        }
        requests.for_each(|request| self.announce(id, handle, request, Notice::None));
        if let Some(seat) = self.seat_mut(id) {
            seat.announced(owed);
        }
        self.wake(id);
    }

    /// Tells the client under which handle a topic is open, and where it begins and ends.
    fn announce(&mut self, id: ConnId, handle: TopicHandle, request: RequestId, notice: Notice) {
        let Some(seat) = self.seats.get_mut(id) else { return };
        let Some(cursor) = seat.cursor(handle) else { return };
        let Some(topic) = self.topics.topic(cursor.topic) else { return };
        let start = if !cursor.subscribed { topic.end } else { cursor.place() };
        seat.answer(BrokerFrame::Topic {
            request,
            topic: handle,
            name: topic.name.clone(),
            incarnation: topic.log,
            start: start.min(topic.end),
            end: topic.end,
            durability: topic.durability,
            notice,
        });
        self.wake(id);
    }

    /// Moves a cursor between its topic's subscribers and openers.
    pub(super) fn set_subscribed(&mut self, id: ConnId, handle: TopicHandle, subscribed: bool) {
        let Some(cursor) = self.seats.get_mut(id).and_then(|seat| seat.cursor_mut(handle)) else {
            return;
        };
        let Some(topic) = self.topics.topic_mut(cursor.topic) else { return };
        if cursor.subscribed != subscribed {
            let listener = topic.listeners(cursor.subscribed).remove(cursor.listener.0);
            cursor.subscribed = subscribed;
            cursor.listener = ListenerKey(topic.listeners(subscribed).insert(listener));
        }
    }

    /// A cursor that is no longer at rest is not woken by the next entry.
    fn stop_waiting(&mut self, id: ConnId, handle: TopicHandle) {
        let Some(cursor) = self.seats.get_mut(id).and_then(|seat| seat.cursor_mut(handle)) else {
            return;
        };
        if let Some(topic) = self.topics.topic_mut(cursor.topic) {
            topic.listeners(cursor.subscribed)[cursor.listener.0].waiting = false;
        }
    }
}

fn beginning(topic: &Topic, start: Start) -> Beginning {
    let at = |offset| Beginning::At(offset, Notice::None);
    match start {
        Start::RecordsOnly => at(RECORDS_ONLY),
        Start::Earliest => at(topic.first),
        Start::Latest | Start::Last(0) => at(topic.end),
        Start::Last(_) | Start::Since(_) if topic.messages == 0 => at(topic.end),
        Start::Last(count) if count >= topic.messages => at(topic.first),
        Start::Last(count) => Beginning::Ask(Find::Last(count)),
        Start::Since(time) => Beginning::Ask(Find::Since(time)),
        Start::Resume(_, log) if log != topic.log => Beginning::At(topic.first, Notice::OtherIncarnation),
        Start::Offset(offset) | Start::Resume(offset, _) if offset > topic.end => {
            Beginning::At(topic.first, Notice::BeyondEnd)
        }
        Start::Offset(offset) | Start::Resume(offset, _) => at(offset),
    }
}
