//! Commands that go over many topics, done a step in each turn so that none holds the loop.

use super::cursor::{RECORDS_ONLY, Status};
use super::joining::Listing;
use super::topic::TopicKey;
use super::{Processor, open::Opening};
use crate::base::Now;
use crate::base::ids::{ConnId, RequestId, TopicHandle};
use crate::base::names::TopicFilter;
use crate::wire::frame::BrokerFrame;
use crate::wire::values::{Start, TopicEntry};

/// A command under way.
pub enum Job {
    Subscribe { request: RequestId, filter: TopicFilter, start: Start, after: String, found: Found },
    List { request: RequestId, filter: TopicFilter, after: String, page: Vec<TopicEntry>, bytes: usize },
    Unsubscribe { request: RequestId, filter: TopicFilter, next: u32 },
    Requests(Box<Listing>),
}

/// How far a subscription has come.
#[derive(Clone, Copy, Default)]
pub struct Found {
    pub matched: u32,
    pub others: u32,
}

/// Topics or cursors that one step looks at: some 100 us.
const STEP: usize = 512;
/// Bytes of one page of a listing: fits a token beside other frames.
const PAGE_BYTES: usize = 48 * 1024;

impl Processor {
    /// One step of the oldest job of a connection; true if it has jobs left.
    pub fn step_job(&mut self, id: ConnId, now: Now) -> bool {
        let Some(job) = self.seat_mut(id).and_then(|seat| seat.jobs.pop_front()) else {
            return false;
        };
        let unfinished = match job {
            Job::Subscribe { request, filter, start, after, found } => {
                self.step_subscribe(id, request, filter, start, after, found)
            }
            Job::List { request, filter, after, page, bytes } => {
                self.step_list(id, request, filter, after, page, bytes, now)
            }
            Job::Unsubscribe { request, filter, next } => self.step_unsubscribe(id, request, filter, next),
            Job::Requests(listing) => self.step_requests(id, *listing),
        };
        let Some(seat) = self.seat_mut(id) else { return false };
        if let Some(job) = unfinished {
            seat.jobs.push_front(job);
        }
        !seat.jobs.is_empty()
    }

    fn step_subscribe(
        &mut self,
        id: ConnId,
        request: RequestId,
        filter: TopicFilter,
        start: Start,
        after: String,
        mut found: Found,
    ) -> Option<Job> {
        let (page, next) = self.next_topics(&filter, &after);
        let me = self.seat(id)?.peer.fingerprint;
        for key in page {
            let Some(topic) = self.topics.topic(key) else { continue };
            if !filter.matches(&topic.name) {
                continue;
            }
            if topic.chain.member(me).is_none() {
                found.others += 1;
                continue;
            }
            let opening = Opening { request, start };
            match self.open_topic(id, key, opening) {
                Ok(()) => found.matched += 1,
                Err(refusal) => {
                    // What was refused does not bring topics later.
                    if let Some(seat) = self.seat_mut(id) {
                        seat.filters.retain(|held| held.request != request);
                    }
                    self.refuse(id, request, refusal);
                    return None;
                }
            }
        }
        match next {
            Some(after) => Some(Job::Subscribe { request, filter, start, after, found }),
            None => {
                let answer =
                    BrokerFrame::Subscribed { request, matched: found.matched, others: found.others };
                if let Some(seat) = self.seat_mut(id) {
                    seat.answer_after_finds(answer);
                }
                // Where no topic matched, nothing else sets the connection going.
                self.wake(id);
                None
            }
        }
    }

    #[expect(clippy::too_many_arguments, reason = "the parts of one job")]
    fn step_list(
        &mut self,
        id: ConnId,
        request: RequestId,
        filter: TopicFilter,
        after: String,
        mut page: Vec<TopicEntry>,
        mut bytes: usize,
        now: Now,
    ) -> Option<Job> {
        let (keys, next) = self.next_topics(&filter, &after);
        let me = self.seat(id)?.peer.fingerprint;
        for key in keys {
            let Some(topic) = self.topics.topic(key).filter(|topic| filter.matches(&topic.name)) else {
                continue;
            };
            let entry = self.topic_entry(topic, &me, now);
            bytes += entry.name.as_str().len() + entry.owner.as_str().len() + 100;
            if bytes > PAGE_BYTES {
                self.answer(id, BrokerFrame::Topics { request, more: true, topics: page });
                return None;
            }
            page.push(entry);
        }
        match next {
            Some(after) => Some(Job::List { request, filter, after, page, bytes }),
            None => {
                self.answer(id, BrokerFrame::Topics { request, more: false, topics: page });
                None
            }
        }
    }

    fn step_unsubscribe(
        &mut self,
        id: ConnId,
        request: RequestId,
        filter: TopicFilter,
        next: u32,
    ) -> Option<Job> {
        let end = (next as usize + STEP).min(self.seat(id)?.handles()) as u32;
        for number in next..end {
            self.unsubscribe_cursor(id, TopicHandle(number + 1), &filter);
        }
        if (end as usize) < self.seat(id)?.handles() {
            return Some(Job::Unsubscribe { request, filter, next: end });
        }
        self.answer(id, BrokerFrame::Done { request });
        None
    }

    /// Takes a cursor back to records only, unless another filter holds it.
    fn unsubscribe_cursor(&mut self, id: ConnId, handle: TopicHandle, filter: &TopicFilter) {
        let Some(seat) = self.seat(id) else { return };
        let Some(cursor) = seat.cursor(handle).filter(|cursor| cursor.subscribed) else { return };
        let key = cursor.topic;
        let Some(topic) = self.topics.topic(key) else { return };
        let held = seat.filters.iter().any(|other| other.filter.matches(&topic.name));
        if held || !filter.matches(&topic.name) {
            return;
        }
        self.set_subscribed(id, handle, false);
        // Whoever still waits to be told where it begins is told before the end is.
        self.end_find(id, handle, RECORDS_ONLY);
        if let Some(cursor) = self.seat_mut(id).and_then(|seat| seat.cursor_mut(handle)) {
            cursor.floor = RECORDS_ONLY;
            cursor.messages_from = None;
            cursor.past_end = None;
            if let Status::Fetched(_) = cursor.status {
                cursor.status = Status::Ready;
            }
        }
    }

    /// The next topics that `filter` may match, in name order above `after`, and where to go on.
    fn next_topics(&self, filter: &TopicFilter, after: &str) -> (Vec<TopicKey>, Option<String>) {
        if let Some(name) = filter.exact() {
            let found = self.topics.key(&name).filter(|_| after.is_empty());
            return (found.into_iter().collect(), None);
        }
        let keys = self.topics.page(after, literal_prefix(filter), STEP);
        let last = keys.last().filter(|_| keys.len() == STEP);
        let next = last.and_then(|key| self.topics.topic(*key)).map(|topic| topic.name.to_string());
        (keys, next)
    }
}

/// What every topic that the filter matches begins with.
fn literal_prefix(filter: &TopicFilter) -> &str {
    let text = filter.as_str();
    let wild = text.find(['+', '#']).unwrap_or(text.len());
    // `a/#` matches `a` too: the slash before a `#` is not part of what all begin with.
    text[..wild].strip_suffix('/').unwrap_or(&text[..wild])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_cover_all_that_a_filter_matches() {
        for (filter, prefix) in [("#", ""), ("a/#", "a"), ("a/+/b", "a"), ("+/a", ""), ("/+", "")] {
            assert_eq!(literal_prefix(&TopicFilter::parse(filter).expect("a good filter")), prefix);
        }
    }
}
