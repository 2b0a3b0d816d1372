//! What owner and admins are told as it happens: who asks to join, and which topics should be rotated.
//!
//! A follower is a place in two sequences, not a queue, so one that does not read costs no more
//! than one that does. What it is told is judged when it is told: who is no admin any more hears
//! nothing, and what is settled meanwhile is left out.

use super::Processor;
use super::joining::may_change;
use super::requests::RequestNumber;
use super::rotation::DueNumber;
use super::topic::TopicKey;
use crate::base::ids::ConnId;
use crate::wire::frame::BrokerFrame;

/// How far a session has been told.
pub struct Follower {
    request: RequestNumber,
    due: DueNumber,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// There was nothing more to tell.
    Idle,
    /// It stands in the processor's queue.
    Queued,
    /// It has not read what it was told before.
    Held,
}

/// Places in the sequences that are looked at in one turn: some 200 us.
const LOOKS_PER_TURN: usize = 512;

impl Processor {
    /// From now on the session hears of requests, and of all topics that are due already.
    pub(super) fn follow(&mut self, id: ConnId) {
        let request = self.requests.next_number();
        let Some(seat) = self.seat_mut(id) else { return };
        if seat.follower.is_none() {
            seat.follower = Some(Follower { request, due: 0, state: State::Queued });
            self.news.push_back(id);
        }
    }

    /// There is something to tell to those who may change a topic.
    pub(super) fn tell_followers(&mut self, key: TopicKey) {
        let Some(topic) = self.topics.topic(key) else { return };
        let mine = topic.chain.members().keys().filter(|who| may_change(topic, who));
        let conns = mine.filter_map(|who| self.by_client.get(who)).flatten();
        for id in conns {
            let Some(follower) = self.seats.get_mut(*id).and_then(|seat| seat.follower.as_mut()) else {
                continue;
            };
            if follower.state == State::Idle {
                follower.state = State::Queued;
                self.news.push_back(*id);
            }
        }
    }

    /// Lets a follower go on that has read what it was told.
    pub(super) fn resume_follower(&mut self, id: ConnId) {
        let max = self.share(self.config.outbox_bytes_max);
        let Some(seat) = self.seats.get_mut(id) else { return };
        let has_room = seat.answers_bytes() < max;
        if let Some(follower) = &mut seat.follower
            && follower.state == State::Held
            && has_room
        {
            follower.state = State::Queued;
            self.news.push_back(id);
        }
    }

    /// Tells followers what is new; true if there is more to tell at once.
    pub(super) fn tell_news(&mut self) -> bool {
        let mut looks = LOOKS_PER_TURN;
        let max = self.share(self.config.outbox_bytes_max);
        while let Some(id) = self.news.front().copied() {
            let state = loop {
                if looks == 0 {
                    return true;
                }
                looks -= 1;
                if self.seat(id).is_some_and(|seat| seat.answers_bytes() >= max) {
                    break State::Held;
                }
                if !self.tell_next(id) {
                    break State::Idle;
                }
            };
            self.news.pop_front();
            if let Some(follower) = self.seat_mut(id).and_then(|seat| seat.follower.as_mut()) {
                follower.state = state;
            }
        }
        false
    }

    /// Moves a follower one place on and tells it what is there; false at the end.
    fn tell_next(&mut self, id: ConnId) -> bool {
        let Some(seat) = self.seats.get_mut(id) else { return false };
        let me = seat.peer.fingerprint;
        let Some(follower) = &mut seat.follower else { return false };
        let (key, request) = if let Some((number, key)) = self.rotation.next_from(follower.due) {
            follower.due = number + 1;
            (Some(key), None)
        } else if let Some((number, name, client)) = self.requests.next_from(follower.request) {
            follower.request = number + 1;
            (self.topics.key(name), Some((name.clone(), client)))
        } else {
            return false;
        };
        let topic = key.and_then(|key| self.topics.topic(key)).filter(|topic| may_change(topic, &me));
        let Some(topic) = topic else { return true };
        let frame = match request {
            None => Some(BrokerFrame::RotateDue { name: topic.name.clone() }),
            Some((name, client)) => {
                self.join_entry(&name, &client).map(|entry| BrokerFrame::Requested { entry })
            }
        };
        if let Some(frame) = frame {
            self.answer(id, frame);
        }
        true
    }

    /// # Panics
    /// If a follower is not where its state says.
    pub(super) fn check_news_invariants(&self) {
        for (id, seat) in self.seats.iter() {
            let queued = self.news.iter().filter(|other| **other == id).count();
            let is_queued = seat.follower.as_ref().is_some_and(|f| f.state == State::Queued);
            assert_eq!(queued, usize::from(is_queued), "a follower is queued once if it is to be told");
            if seat.follower.as_ref().is_some_and(|f| f.state == State::Held) {
                assert!(seat.has_output(), "a follower that is held has something to read");
            }
        }
    }
}
