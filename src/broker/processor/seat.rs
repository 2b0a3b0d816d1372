//! What the processor knows of one connection: who it is, what it listens to, what it is owed.

use std::collections::VecDeque;
use std::sync::Arc;

use super::cursor::{Cursor, Status};
use super::jobs::Job;
use super::news::Follower;
use super::topic::TopicKey;
use crate::base::ids::{Fingerprint, PublisherId, RequestId, TopicHandle};
use crate::base::limits::READS_PER_CONNECTION_MAX;
use crate::base::names::{Name, TopicFilter};
use crate::base::plain_hash::PlainMap;
use crate::crypto::cert::Certificate;
use crate::wire::frame::BrokerFrame;
use crate::wire::values::JoinEntry;

/// Who sits at a connection's other end.
#[derive(Clone)]
pub struct Peer {
    pub name: Name,
    pub fingerprint: Fingerprint,
    /// In DER.
    pub certificate: Arc<[u8]>,
    /// The same, read.
    pub verified: Certificate,
}

pub struct Seat {
    pub peer: Peer,
    pub filters: Vec<Filter>,
    /// By handle, counted from 1.
    cursors: Vec<Option<Cursor>>,
    by_topic: PlainMap<TopicKey, TopicHandle>,
    /// Cursors that have something to send, each once.
    pub ready: VecDeque<TopicHandle>,
    /// Cursors that were reading from the store when they were last looked at.
    reading: Vec<TopicHandle>,
    /// Cursors that wait for their turn to read.
    parked: VecDeque<TopicHandle>,
    answers: VecDeque<BrokerFrame>,
    answers_bytes: usize,
    /// By the number that the client gave; as many as it has used.
    pub publishers: Vec<Option<Slot>>,
    pub staged: Vec<Vec<u8>>,
    /// Certificates of recovery keys, in DER.
    pub staged_recovery: Vec<Vec<u8>>,
    /// Bytes of both.
    pub staged_bytes: usize,
    /// How far it has been told who asks to join, if it wants to hear of that.
    pub follower: Option<Follower>,
    /// Publishes of this connection that the store has not completed, and their bytes.
    pub unanswered: usize,
    pub unanswered_bytes: usize,
    /// Topics being created or changed by this connection, which the store has not completed.
    pub changes: usize,
    /// Announcements that wait for the store to find where a cursor begins.
    unannounced: usize,
    /// Answers that may not overtake them.
    after_finds: Vec<BrokerFrame>,
    /// Commands that go over many topics, a step in each turn.
    pub jobs: VecDeque<Job>,
    /// The client asked for the end; with true, its publisher ids will not come back.
    pub exit: Option<bool>,
    /// Whether its driver was told that there is output.
    pub woken: bool,
    /// Bytes of bodies delivered and published, for reports.
    pub delivered: u64,
    pub published: u64,
}

/// A filter and the request that brought it.
pub struct Filter {
    pub filter: TopicFilter,
    pub request: RequestId,
}

/// A publisher id that the client speaks of by number.
pub struct Slot {
    pub id: PublisherId,
    pub delegation: Arc<[u8]>,
    /// Topics in which it has published in this session, and its number there.
    pub used_in: PlainMap<TopicKey, u32>,
}

impl Seat {
    pub fn new(peer: Peer) -> Seat {
        Seat {
            peer,
            filters: Vec::new(),
            cursors: Vec::new(),
            by_topic: PlainMap::default(),
            ready: VecDeque::new(),
            reading: Vec::new(),
            parked: VecDeque::new(),
            answers: VecDeque::new(),
            answers_bytes: 0,
            publishers: Vec::new(),
            staged: Vec::new(),
            staged_recovery: Vec::new(),
            staged_bytes: 0,
            follower: None,
            unanswered: 0,
            unanswered_bytes: 0,
            changes: 0,
            unannounced: 0,
            after_finds: Vec::new(),
            jobs: VecDeque::new(),
            exit: None,
            woken: false,
            delivered: 0,
            published: 0,
        }
    }

    /// Queues a frame for the client.
    pub fn answer(&mut self, frame: BrokerFrame) {
        self.answers_bytes += frame_bytes(&frame);
        self.answers.push_back(frame);
    }

    pub fn next_answer(&self) -> Option<&BrokerFrame> {
        self.answers.front()
    }

    pub fn pop_answer(&mut self) {
        if let Some(frame) = self.answers.pop_front() {
            self.answers_bytes -= frame_bytes(&frame);
        }
        // Who publishes will have more of them soon; of all others an idle one holds no room for any.
        if self.answers.is_empty() && self.published == 0 {
            self.answers = VecDeque::new();
        }
    }

    /// Queues a frame behind the announcements that are still owed.
    pub fn answer_after_finds(&mut self, frame: BrokerFrame) {
        if self.unannounced == 0 {
            self.answer(frame);
        } else {
            self.after_finds.push(frame);
        }
    }

    /// Puts an announcement off until the store has found where the cursor begins; false if it
    /// is not looking.
    pub fn defer_announcement(&mut self, handle: TopicHandle, request: RequestId) -> bool {
        let Some(cursor) = self.cursor_mut(handle) else { return false };
        if !matches!(cursor.status, Status::Finding(_)) {
            return false;
        }
        cursor.unannounced.push(request);
        self.unannounced += 1;
        true
    }

    /// Notes that so many announcements that had been put off were made.
    pub fn announced(&mut self, count: usize) {
        self.unannounced -= count;
        if self.unannounced == 0 {
            for frame in std::mem::take(&mut self.after_finds) {
                self.answer(frame);
            }
        }
    }

    /// Whether everything that the client asked for is done and answered.
    pub fn is_settled(&self) -> bool {
        let busy = self.unanswered + self.changes + self.unannounced + self.jobs.len() + self.answers.len();
        busy == 0
    }

    /// Bytes of answers that wait, as they are held in RAM, roughly.
    pub fn answers_bytes(&self) -> usize {
        self.answers_bytes
    }

    pub fn has_output(&self) -> bool {
        !self.answers.is_empty() || !self.ready.is_empty()
    }

    /// The next cursor that may have something to send.
    pub fn next_ready(&mut self) -> Option<TopicHandle> {
        if self.ready.is_empty() {
            self.unpark();
        }
        self.ready.pop_front()
    }

    /// Counts a read from the store; false if there are enough, and the cursor must wait.
    pub fn take_read(&mut self, handle: TopicHandle) -> bool {
        self.forget_reads();
        if self.reading.len() >= READS_PER_CONNECTION_MAX {
            self.parked.push_back(handle);
            return false;
        }
        self.reading.push(handle);
        true
    }

    /// Lets cursors that waited to read have their turn.
    fn unpark(&mut self) {
        self.forget_reads();
        while self.reading.len() + self.ready.len() < READS_PER_CONNECTION_MAX {
            let Some(handle) = self.parked.pop_front() else { return };
            // It may have been sent elsewhere meanwhile.
            if let Some(cursor) = self.cursor_mut(handle)
                && matches!(cursor.status, Status::Parked)
            {
                cursor.status = Status::Ready;
                self.ready.push_back(handle);
            }
        }
    }

    fn forget_reads(&mut self) {
        let mut reading = std::mem::take(&mut self.reading);
        reading.retain(|handle| self.cursor(*handle).is_some_and(Cursor::is_fetching));
        self.reading = reading;
    }

    /// How many topics this connection has open.
    pub fn cursor_count(&self) -> usize {
        self.by_topic.len()
    }

    /// Handles given out so far; none is given out twice.
    pub fn handles(&self) -> usize {
        self.cursors.len()
    }

    pub fn handle_of(&self, topic: TopicKey) -> Option<TopicHandle> {
        self.by_topic.get(&topic).copied()
    }

    /// The handle that the next [`Seat::open`] gives.
    pub fn next_handle(&self) -> TopicHandle {
        TopicHandle(self.cursors.len() as u32 + 1)
    }

    pub fn open(&mut self, cursor: Cursor) -> TopicHandle {
        let handle = self.next_handle();
        self.by_topic.insert(cursor.topic, handle);
        self.cursors.push(Some(cursor));
        handle
    }

    /// Ends a cursor; its handle is not used again.
    pub fn close(&mut self, handle: TopicHandle) -> Option<Cursor> {
        let cursor = self.cursors.get_mut(index(handle)?)?.take()?;
        self.by_topic.remove(&cursor.topic);
        self.ready.retain(|h| *h != handle);
        Some(cursor)
    }

    pub fn cursor(&self, handle: TopicHandle) -> Option<&Cursor> {
        self.cursors.get(index(handle)?)?.as_ref()
    }

    pub fn cursor_mut(&mut self, handle: TopicHandle) -> Option<&mut Cursor> {
        self.cursors.get_mut(index(handle)?)?.as_mut()
    }

    pub fn cursors(&self) -> impl Iterator<Item = (TopicHandle, &Cursor)> {
        let handles = (1..).map(TopicHandle);
        handles.zip(&self.cursors).filter_map(|(handle, cursor)| Some((handle, cursor.as_ref()?)))
    }

    pub fn slot_mut(&mut self, slot: u16) -> Option<&mut Slot> {
        self.publishers.get_mut(usize::from(slot))?.as_mut()
    }
}

fn index(handle: TopicHandle) -> Option<usize> {
    (handle.0 as usize).checked_sub(1)
}

fn join_entry_bytes(entry: &JoinEntry) -> usize {
    entry.topic.as_str().len() + entry.ask.len() + entry.certificate.len() + size_of::<JoinEntry>()
}

/// What a queued frame holds in RAM: its own size and that of its parts.
fn frame_bytes(frame: &BrokerFrame) -> usize {
    let parts = match frame {
        BrokerFrame::Clients { clients, .. } => clients.iter().map(|c| c.certificate.len() + 32).sum(),
        BrokerFrame::Topics { topics, .. } => topics.iter().map(|t| t.name.as_str().len() + 192).sum(),
        BrokerFrame::Stats { stats, .. } => stats.iter().map(|s| s.name.len() + 32).sum(),
        BrokerFrame::Requests { requests, .. } => requests.iter().map(join_entry_bytes).sum(),
        BrokerFrame::Requested { entry } => join_entry_bytes(entry),
        BrokerFrame::CrlPart { part, .. } => part.len(),
        BrokerFrame::Refused { text, .. } => text.len(),
        _ => 0,
    };
    parts + size_of::<BrokerFrame>()
}
