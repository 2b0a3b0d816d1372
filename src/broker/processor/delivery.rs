//! Delivery, pulled by the connection: what goes into the next record for a client.

use std::sync::Arc;

use super::cursor::{Cursor, Status};
use super::seat::Seat;
use super::topic::Topic;
use super::{Pending, Processor};
use crate::base::ids::{ConnId, Fingerprint, Offset, TopicHandle};
use crate::base::limits::OUTBOX_BYTES_MAX;
use crate::store::{Content, Entry, Op, Ticket};
use crate::wire::body::{Body, BodyRef};
use crate::wire::frame::BrokerFrame;

/// A record's plaintext in the making, and the bodies that will follow its token.
pub struct Outgoing<'a> {
    frames: &'a mut Vec<u8>,
    /// Where the frames begin in `frames`.
    start: usize,
    bodies: &'a mut Vec<Arc<[u8]>>,
    bodies_len: usize,
    /// Bytes of bodies after which the record goes out; one alone may be larger.
    bodies_soft: usize,
    seal_bodies: bool,
}

/// Bytes of frames that fit a token: what Fernet and the sequence number take is left off,
/// and rounded up.
const FRAMES_BYTES_MAX: usize = crate::base::limits::TOKEN_BYTES_MAX - 128;
/// Entries of one topic before another topic's turn comes.
const QUANTUM: usize = 64;
/// One read from the store.
const READ_BYTES: usize = 256 * 1024;
/// A Message frame with a body beside it, header included.
const MESSAGE_FRAME_BYTES: usize = 3 + 4 + 8 + 8 + 4 + 4 + 8 + 1 + 4 + 32;

/// How a cursor's turn ended.
enum Turn {
    /// The record has no room for its next entry.
    Full,
    /// It has had its share.
    More,
    /// It has nothing to send until the topic's next entry.
    Rest,
    /// It waits for the store, or is gone.
    Wait,
    /// It needs entries from the store.
    Read { from: Offset, below: Offset, records_only: bool },
}

impl<'a> Outgoing<'a> {
    /// Frames go behind what `frames` already holds; the bodies that follow the token, in frame
    /// order, into `bodies`, which is empty.
    pub fn new(frames: &'a mut Vec<u8>, bodies: &'a mut Vec<Arc<[u8]>>, seal_bodies: bool) -> Outgoing<'a> {
        let start = frames.len();
        Outgoing { frames, start, bodies, bodies_len: 0, bodies_soft: OUTBOX_BYTES_MAX, seal_bodies }
    }

    pub fn is_empty(&self) -> bool {
        self.frames.len() == self.start
    }

    /// Appends a frame if there is room for it.
    pub fn push(&mut self, frame: &BrokerFrame) -> bool {
        let before = self.frames.len();
        frame.encode(self.frames);
        let fits = self.frames.len() - self.start <= FRAMES_BYTES_MAX;
        if !fits {
            self.frames.truncate(before);
        }
        fits
    }

    fn room(&self) -> usize {
        FRAMES_BYTES_MAX - (self.frames.len() - self.start)
    }

    fn has_room_for_body(&self, len: usize) -> bool {
        self.bodies.is_empty() || self.bodies_len + len <= self.bodies_soft
    }

    fn body(&mut self, body: &Arc<[u8]>, sha256: &[u8; 32]) -> Body {
        let inline_max = self.room().saturating_sub(MESSAGE_FRAME_BYTES).min(usize::from(u16::MAX) - 64);
        if self.seal_bodies && body.len() <= inline_max {
            return Body::Inline(body.to_vec());
        }
        self.bodies.push(Arc::clone(body));
        self.bodies_len += body.len();
        Body::Beside(BodyRef { len: body.len() as u32, sha256: *sha256 })
    }
}

impl Processor {
    /// Puts answers and then entries of the connection's cursors, in turn, into a record.
    pub fn fill(&mut self, id: ConnId, out: &mut Outgoing<'_>) {
        out.bodies_soft = self.share(OUTBOX_BYTES_MAX);
        let Some(seat) = self.seats.get_mut(id) else { return };
        seat.woken = false;
        while let Some(frame) = seat.next_answer() {
            if !out.push(frame) {
                self.resume_follower(id);
                return;
            }
            seat.pop_answer();
        }
        self.resume_follower(id);
        while let Some(handle) = self.seat_mut(id).and_then(Seat::next_ready) {
            match self.cursor_turn(id, handle, out) {
                Turn::Full => {
                    if let Some(seat) = self.seat_mut(id) {
                        seat.ready.push_front(handle);
                    }
                    return;
                }
                Turn::More => {
                    if let Some(seat) = self.seat_mut(id) {
                        seat.ready.push_back(handle);
                    }
                }
                Turn::Rest | Turn::Wait => {}
                Turn::Read { from, below, records_only } => {
                    self.read_for(id, handle, from, below, records_only);
                }
            }
        }
    }

    fn cursor_turn(&mut self, id: ConnId, handle: TopicHandle, out: &mut Outgoing<'_>) -> Turn {
        let Some(seat) = self.seats.get_mut(id) else { return Turn::Wait };
        let me = seat.peer.fingerprint;
        let Some(cursor) = seat.cursor_mut(handle) else { return Turn::Wait };
        let Some(topic) = self.topics.topic_mut(cursor.topic) else { return Turn::Wait };
        let mut sent = Sent::default();
        let turn = run_cursor(cursor, topic, handle, &me, out, &mut sent);
        if let Turn::Rest = turn {
            cursor.status = Status::CaughtUp;
            topic.listeners(cursor.subscribed)[cursor.listener.0].waiting = true;
        }
        seat.delivered += sent.bytes;
        self.counters.delivered += sent.messages;
        self.counters.delivered_bytes += sent.bytes;
        self.counters.gaps += sent.gaps;
        turn
    }

    fn read_for(&mut self, id: ConnId, handle: TopicHandle, from: Offset, below: Offset, records_only: bool) {
        let bytes_max = self.share(READ_BYTES);
        let Some(seat) = self.seats.get_mut(id) else { return };
        let may_read = seat.take_read(handle);
        let Some(cursor) = seat.cursor_mut(handle) else { return };
        if !may_read {
            cursor.status = Status::Parked;
            return;
        }
        let op = Op::Read { log: cursor.topic.log, from, below, bytes_max, records_only };
        let ticket = self.store.submit(op);
        cursor.status = Status::Reading(ticket);
        self.counters.store_reads += 1;
        self.pending.insert(ticket, Pending::Read { conn: id, handle });
        self.submitted();
    }

    /// Entries that a cursor waited for are there.
    pub(super) fn fetched(
        &mut self,
        ticket: Ticket,
        id: ConnId,
        handle: TopicHandle,
        entries: Vec<Arc<Entry>>,
        next: Offset,
    ) {
        let Some(seat) = self.seats.get_mut(id) else { return };
        let Some(cursor) = seat.cursor_mut(handle) else { return };
        // The cursor may have been sent elsewhere meanwhile.
        if !matches!(cursor.status, Status::Reading(waited) if waited == ticket) {
            return;
        }
        if entries.is_empty() && cursor.next < cursor.floor {
            cursor.next = cursor.next.max(next);
        } else if entries.is_empty() {
            cursor.nothing_below = next;
        }
        cursor.status = Status::Fetched(self.fetched.hold(ticket, entries));
        seat.ready.push_back(handle);
        self.has_fetched(id, handle, ticket);
        self.wake(id);
    }
}

/// What a cursor's turn has put into the record.
#[derive(Default)]
struct Sent {
    messages: u64,
    bytes: u64,
    gaps: u64,
}

fn run_cursor(
    cursor: &mut Cursor,
    topic: &Topic,
    handle: TopicHandle,
    me: &Fingerprint,
    out: &mut Outgoing<'_>,
    sent: &mut Sent,
) -> Turn {
    if matches!(cursor.status, Status::Finding(_) | Status::Reading(_)) {
        return Turn::Wait;
    }
    for _ in 0..QUANTUM {
        if !tell_caught_up(cursor, handle, out) {
            return Turn::Full;
        }
        if let Status::Fetched(held) = &mut cursor.status
            && let Some(entry) = held.entries.pop_front()
        {
            if !send(cursor, topic, handle, me, &entry, out, sent) {
                if let Status::Fetched(held) = &mut cursor.status {
                    held.entries.push_front(entry);
                }
                return Turn::Full;
            }
            continue;
        }
        cursor.status = Status::Ready;
        match locate(cursor, topic, handle, out, sent) {
            Place::Entry(entry) if send(cursor, topic, handle, me, entry, out, sent) => {}
            Place::Entry(_) => return Turn::Full,
            Place::Moved => {}
            Place::Turn(turn) => return turn,
        }
    }
    Turn::More
}

/// Where a cursor's next entry is.
enum Place<'a> {
    Entry(&'a Entry),
    /// The cursor skipped what is not for it: look again.
    Moved,
    Turn(Turn),
}

fn locate<'a>(
    cursor: &mut Cursor,
    topic: &'a Topic,
    handle: TopicHandle,
    out: &mut Outgoing<'_>,
    sent: &mut Sent,
) -> Place<'a> {
    if cursor.next >= cursor.floor
        && let Some(from) = cursor.messages_from.take()
    {
        (cursor.next, cursor.floor) = (from, from);
        return Place::Moved;
    }
    if cursor.next < cursor.floor {
        let record = topic.record_from(cursor.next.max(cursor.records_sent));
        let end = cursor.floor.min(topic.end);
        let to = record.map_or(end, |record| record.min(end));
        if to > cursor.next {
            cursor.next = to;
            return Place::Moved;
        }
    }
    if cursor.next >= topic.end {
        return Place::Turn(Turn::Rest);
    }
    if cursor.next >= cursor.floor && cursor.next < topic.first {
        // Retention was faster. Records in between are still to be sent.
        if !tell_gap(cursor, topic, handle, topic.first, out, sent) {
            return Place::Turn(Turn::Full);
        }
        cursor.floor = topic.first;
        return Place::Moved;
    }
    let vacant = cursor.nothing_below.min(topic.end);
    if cursor.next >= cursor.floor && cursor.next < vacant {
        // Dropped while it was read, or lost with a disk: what is left of a log may end in a hole.
        if !tell_gap(cursor, topic, handle, vacant, out, sent) {
            return Place::Turn(Turn::Full);
        }
        cursor.floor = vacant;
        return Place::Moved;
    }
    match topic.in_tail(cursor.next) {
        Some(entry) => Place::Entry(entry),
        None => {
            let records_only = cursor.next < cursor.floor;
            let end = if records_only { cursor.floor.min(topic.end) } else { topic.end };
            // What is in RAM is not read.
            let below = topic.tail_begin().map_or(end, |tail| tail.min(end));
            Place::Turn(Turn::Read { from: cursor.next, below, records_only })
        }
    }
}

/// Says once that the past has been sent; false if there is no room.
fn tell_caught_up(cursor: &mut Cursor, handle: TopicHandle, out: &mut Outgoing<'_>) -> bool {
    let Some(end) = cursor.past_end else { return true };
    if cursor.next < end
        || cursor.messages_from.is_some()
        || (cursor.subscribed && cursor.next < cursor.floor)
    {
        return true;
    }
    if !out.push(&BrokerFrame::CaughtUp { topic: handle, next: cursor.next }) {
        return false;
    }
    cursor.past_end = None;
    true
}

/// Says which messages before `to` are gone, if any are; false if there is no room.
fn tell_gap(
    cursor: &Cursor,
    topic: &Topic,
    handle: TopicHandle,
    to: Offset,
    out: &mut Outgoing<'_>,
    sent: &mut Sent,
) -> bool {
    let from = cursor.next.max(cursor.floor);
    if topic.messages_between(from, to) == 0 {
        return true;
    }
    sent.gaps += 1;
    out.push(&BrokerFrame::Gap { topic: handle, from, to })
}

/// Puts an entry into the record and moves the cursor behind it; false if there is no room.
fn send(
    cursor: &mut Cursor,
    topic: &Topic,
    handle: TopicHandle,
    me: &Fingerprint,
    entry: &Entry,
    out: &mut Outgoing<'_>,
    sent: &mut Sent,
) -> bool {
    if entry.offset > cursor.next && !tell_gap(cursor, topic, handle, entry.offset, out, sent) {
        return false;
    }
    cursor.next = cursor.next.max(entry.offset);
    let fits = match &entry.content {
        Content::Record { record, certificate, wraps } => {
            entry.offset < cursor.records_sent
                || out.push(&BrokerFrame::Record {
                    topic: handle,
                    offset: entry.offset,
                    time: entry.time,
                    record: record.to_vec(),
                    wrap: wraps.iter().find(|(to, _)| to == me).map_or(Vec::new(), |(_, wrap)| wrap.to_vec()),
                    certificate: certificate.to_vec(),
                })
        }
        Content::Message { .. } if entry.offset < cursor.floor => true,
        Content::Message { .. } => send_message(cursor, handle, entry, out, sent),
    };
    if fits {
        cursor.next = entry.offset.next();
        cursor.records_sent = cursor.records_sent.max(cursor.next);
    }
    fits
}

fn send_message(
    cursor: &mut Cursor,
    handle: TopicHandle,
    entry: &Entry,
    out: &mut Outgoing<'_>,
    sent: &mut Sent,
) -> bool {
    let Content::Message { sender, epoch, counter, body, sha256 } = &entry.content else {
        return true;
    };
    if out.room() < MESSAGE_FRAME_BYTES || !out.has_room_for_body(body.len()) {
        return false;
    }
    if !cursor.has_introduced(sender.number) {
        let introduced = out.push(&BrokerFrame::Sender {
            topic: handle,
            sender: sender.number,
            publisher: sender.publisher,
            fingerprint: sender.fingerprint,
            name: sender.name.clone(),
            delegation: sender.delegation.to_vec(),
            certificate: sender.certificate.to_vec(),
        });
        if !introduced {
            return false;
        }
        cursor.introduced(sender.number);
    }
    if out.room() < MESSAGE_FRAME_BYTES {
        return false;
    }
    let body_field = out.body(body, sha256);
    let pushed = out.push(&BrokerFrame::Message {
        topic: handle,
        offset: entry.offset,
        time: entry.time,
        sender: sender.number,
        epoch: *epoch,
        counter: *counter,
        body: body_field,
    });
    debug_assert!(pushed, "room for the frame was checked before its body was queued");
    sent.messages += 1;
    sent.bytes += body.len() as u64;
    true
}

/// How far a seat's slowest cursor is behind, in entries, and how many lag.
pub fn lag(seat: &Seat, topics: &super::topic::TopicTable) -> (u64, usize) {
    let behind = seat.cursors().filter(|(_, cursor)| cursor.subscribed).filter_map(|(_, cursor)| {
        let end = topics.topic(cursor.topic)?.end;
        Some(end.0.saturating_sub(cursor.place().0))
    });
    behind.fold((0, 0), |(most, count), lag| (most.max(lag), count + usize::from(lag > 0)))
}
