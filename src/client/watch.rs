//! Following who asks to join and whose certificate was revoked, and answering by itself.
//!
//! Nothing is done on the broker's word: who is let in has signed, asks for an open topic by its
//! verified records, and was never removed or denied; who is removed is on the CRL that we
//! have verified.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::Client;
use super::amend::Intent;
use super::asks::Ask;
use super::event::Event;
use super::link::End;
use super::requests::Listing;
use crate::base::Wall;
use crate::base::ids::{Fingerprint, TopicId};
use crate::base::names::{TopicFilter, TopicName};
use crate::chain::JoinRequest;
use crate::wire::values::JoinEntry;

/// What is followed.
#[derive(Default)]
pub struct Watch {
    /// Whether requests for open topics and due rotations are answered.
    answers: bool,
    /// Requests that were told of, by topic and client.
    told: BTreeMap<(TopicName, Fingerprint), Told>,
    /// Topics whose rotation was said to be due while nothing is answered.
    due: BTreeSet<TopicName>,
    /// Topics whose rotation was said to be due and is not, by our own revocation list.
    doubted: BTreeSet<TopicName>,
}

/// A request that was told of.
struct Told {
    /// When it had come to the broker.
    time: Wall,
    /// Which topic of the name it is for: another one is another request.
    topic: TopicId,
    /// Whether it was looked at with answers on.
    is_answered: bool,
}

/// Requests that are remembered as told; a broker keeps 256 a topic. Beyond, some are told again.
const TOLD_MAX: usize = 65_536;
/// Who asks again sooner is not listened to: each request takes two RSA verifications.
const ASKED_AGAIN_MIN: Duration = Duration::from_secs(10);
/// As many topics as a broker may have.
const DOUBTED_MAX: usize = crate::base::limits::TOPICS_MAX;

impl Client {
    /// Tells of those who ask to join topics that we may change, now and later, and of members
    /// whose certificates were revoked. With `answer` those who may be are let into open topics,
    /// and those whose certificates our own revocation list names are removed. Lasts over all
    /// sessions; calling it again changes `answer`, and if it is on then answers what waits.
    pub fn watch(&mut self, answer: bool) {
        let is_new = self.watch.is_none();
        let watch = self.watch.get_or_insert_default();
        let is_turned_on = answer && !watch.answers;
        watch.answers = answer;
        let due = if is_turned_on { std::mem::take(&mut watch.due) } else { BTreeSet::new() };
        for topic in due {
            self.amend_unasked(&topic, Intent::RemoveRevoked);
        }
        // Who asks is listed again: those who were told of already only wait for their answer.
        if (is_new || is_turned_on) && self.is_connected() {
            self.follow_requests();
        }
        self.advance();
    }

    /// A session has begun, or is to be followed from now on.
    pub(super) fn follow_requests(&mut self) {
        if self.watch.is_some() {
            let all = TopicFilter::parse("#").expect("a good filter");
            self.start(Ask::Requests(Listing::new(all, None)));
        }
    }

    /// Somebody asks to join.
    pub(super) fn requested(&mut self, entry: &JoinEntry) {
        let (Some(watch), Ok(said)) = (&mut self.watch, JoinRequest::parse(&entry.ask)) else { return };
        let key = (entry.topic.clone(), said.who);
        let told = watch
            .told
            .get(&key)
            .filter(|told| told.topic == said.topic && entry.time.since(told.time) < ASKED_AGAIN_MIN);
        let (is_told, answers) = (told.is_some(), watch.answers);
        if told.is_some_and(|told| told.is_answered || !answers) {
            return;
        }
        let time = told.map_or(entry.time, |told| told.time);
        if watch.told.len() >= TOLD_MAX {
            watch.told.clear();
        }
        watch.told.insert(key, Told { time, topic: said.topic, is_answered: answers });
        let Some((request, admission)) = self.read_request(entry) else { return };
        let topic = request.topic.clone();
        if !is_told {
            self.events.push(Event::Requested(request));
        }
        if let Some(admission) = admission.filter(|_| answers) {
            self.amend_unasked(&topic, Intent::LetIn(vec![admission]));
        }
    }

    pub(super) fn request_came(&mut self, entry: &JoinEntry) -> Result<(), End> {
        if self.watch.is_none() {
            return Err(End::protocol("a request that is not followed"));
        }
        self.requested(entry);
        Ok(())
    }

    pub(super) fn rotate_due(&mut self, topic: TopicName) -> Result<(), End> {
        if self.watch.is_none() {
            return Err(End::protocol("a topic that is not followed"));
        }
        // By the list that there is it was found not to be, at the cost of all members' certificates.
        if self.watch.as_ref().is_some_and(|watch| watch.doubted.contains(&topic)) {
            return Ok(());
        }
        self.events.push(Event::RotateDue { topic: topic.clone() });
        match &mut self.watch {
            Some(watch) if watch.answers => self.amend_unasked(&topic, Intent::RemoveRevoked),
            Some(watch) if watch.due.len() < DOUBTED_MAX => _ = watch.due.insert(topic),
            _ => {}
        }
        Ok(())
    }

    /// A rotation was said to be due, and our own revocation list names none of the members. A newer
    /// list may: it is looked at again then.
    pub(super) fn nobody_is_revoked(&mut self, topic: &TopicName) {
        let Some(watch) = &mut self.watch else { return };
        if watch.doubted.len() < DOUBTED_MAX && watch.doubted.insert(topic.clone()) {
            log::warn!(
                "the broker says that {topic} has a member who is revoked; by the list here it has none"
            );
        }
    }

    /// There is a newer revocation list.
    pub(super) fn crl_renewed(&mut self) {
        let Some(watch) = &mut self.watch else { return };
        for topic in std::mem::take(&mut watch.doubted) {
            self.amend_unasked(&topic, Intent::RemoveRevoked);
        }
    }
}
