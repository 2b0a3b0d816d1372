//! What must hold after every turn, checked in debug builds and by the simulator.

use super::cursor::Status;
use super::{Pending, Processor};
use crate::wire::frame::BrokerFrame;

impl Processor {
    /// # Panics
    /// If the processor's tables disagree: that is a bug of ours.
    pub fn check_invariants(&self) {
        self.topics.check_invariants();
        let mut staged = 0;
        for (id, seat) in self.seats.iter() {
            staged += seat.staged_bytes;
            let held = seat.staged.iter().chain(&seat.staged_recovery);
            assert_eq!(held.map(Vec::len).sum::<usize>(), seat.staged_bytes);
            let answers_max = self.config.outbox_bytes_max + self.answers_bytes_over();
            assert!(seat.answers_bytes() <= answers_max, "answers keep to their limit");
            let conns = self.by_client.get(&seat.peer.fingerprint);
            assert!(conns.is_some_and(|conns| conns.contains(&id)), "a seat is found by its client");
            for (handle, cursor) in seat.cursors() {
                let queued = seat.ready.iter().filter(|h| **h == handle).count();
                assert_eq!(queued, usize::from(cursor.is_queued()), "a cursor is queued once if it is ready");
                let Some(topic) = self.topics.topic(cursor.topic) else { continue };
                let listeners = if cursor.subscribed { &topic.subscribers } else { &topic.openers };
                let listener = listeners.get(cursor.listener.0).expect("a cursor has its listener");
                assert_eq!((listener.conn, listener.handle), (id, handle));
                assert_eq!(listener.waiting, matches!(cursor.status, Status::CaughtUp));
                if listener.waiting && cursor.subscribed {
                    assert_eq!(cursor.next, topic.end, "a cursor at rest has seen all there is");
                }
            }
        }
        assert_eq!(staged, self.staged_bytes, "staged bytes are counted once");
        let publishers: usize = self.topics.iter().map(|topic| topic.publishers.len()).sum();
        assert_eq!(publishers, self.publisher_count, "publishers are counted once");
        self.requests.check_invariants();
        self.orphans.check_invariants();
        self.check_rotation_invariants();
        self.check_news_invariants();
        let coming = self.pending.values().filter(|pending| matches!(pending, Pending::Create(_))).count();
        let made: usize = self.created_by.values().sum();
        assert_eq!(made, self.topics.iter().count() + coming, "each topic counts for its creator");
        let due = self.topics.iter().filter(|topic| topic.age_due.is_some()).count();
        assert_eq!(due, self.ages.len(), "each topic waits for one age");
        let listeners: usize = self.topics.iter().map(|t| t.subscribers.len() + t.openers.len()).sum();
        let cursors: usize = self.seats.iter().map(|(_, seat)| seat.cursor_count()).sum();
        assert_eq!(listeners, cursors, "each cursor is one listener");
    }
    /// What a connection's answers may grow to beyond the limit at which it is not read any more: the
    /// answers of a whole window of publishes, and those of one step of a command over many topics.
    fn answers_bytes_over(&self) -> usize {
        const STEP_BYTES: usize = 512 * 1024;
        self.config.unanswered_publishes_max * size_of::<BrokerFrame>() + STEP_BYTES
    }
}
