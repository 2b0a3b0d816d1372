//! Asking to join a topic, and looking at who asks.

use std::ops::Bound;

use super::commands::Handled;
use super::jobs::Job;
use super::notes::{RequestNote, request_key};
use super::topic::{Topic, TopicKey};
use super::{Means, Pending, Processor, Refusal};
use crate::base::ids::{ConnId, Fingerprint, RequestId};
use crate::base::names::{TopicFilter, TopicName};
use crate::base::{Now, Wall};
use crate::chain::{Barred, JOIN_REQUEST_BYTES_MAX, JoinPolicy, JoinRequest, Role};
use crate::crypto::cert::Certificate;
use crate::session::budget::RsaCost;
use crate::store::{Note, NoteKind, Op, Outcome, StoreError};
use crate::wire::frame::{BrokerFrame, ClientFrame};
use crate::wire::values::{JoinEntry, RefuseCode};

/// A request on its way to the store.
pub struct Asking {
    pub conn: ConnId,
    pub request: RequestId,
    pub topic: TopicKey,
    pub name: TopicName,
    pub client: Fingerprint,
    pub ask: Vec<u8>,
    pub time: Wall,
}

/// A page of requests in the making.
pub struct Listing {
    pub request: RequestId,
    pub filter: TopicFilter,
    /// Where to go on: above this topic and client.
    pub after: String,
    pub after_client: Fingerprint,
    pub page: Vec<JoinEntry>,
    pub bytes: usize,
}

/// Topics that one step looks at, most of which are somebody else's.
const STEP: usize = 256;
/// Bytes of one page: fits a token beside other frames.
const PAGE_BYTES: usize = 48 * 1024;

impl Processor {
    /// Keeps a client's request for the topic's owner and admins.
    pub(super) fn ask_to_join(
        &mut self,
        id: ConnId,
        request: RequestId,
        name: TopicName,
        ask: Vec<u8>,
        means: &mut Means<'_>,
    ) -> Handled {
        let (key, certificate) = match self.check_join(id, &name, &ask) {
            Ok(checked) => checked,
            Err(refusal) => {
                self.refuse(id, request, refusal);
                return Handled::Done;
            }
        };
        if !means.budget.try_take(RsaCost::public(certificate.public_key().bits())) {
            return Handled::Deferred(ClientFrame::Join { request, name, ask });
        }
        if let Err(fault) = JoinRequest::verify(&ask, certificate.public_key()) {
            let text = format!("the request {fault}");
            self.refuse(id, request, Refusal::because(RefuseCode::BadRecord, text));
            return Handled::Done;
        }
        let (client, time) = (certificate.fingerprint(), means.now.wall);
        self.keep_client(&client);
        let value = RequestNote { time, ask: &ask }.encode();
        let note = Note { kind: NoteKind::Request, key: request_key(&name, &client), value };
        let asking = Asking { conn: id, request, topic: key, name, client, ask, time };
        self.submit_note(Op::Put { note }, Pending::Request(Box::new(asking)));
        self.change_begins(id);
        Handled::Done
    }

    /// The store has a request, or has no room for it.
    pub(super) fn asked(&mut self, asking: Asking, result: Result<Outcome, StoreError>) {
        let Asking { conn, request, topic: key, name, client, ask, time } = asking;
        self.change_ends(conn);
        if result.is_err() {
            self.refuse(conn, request, Refusal::code(super::completions::refuse_code(&result)));
            return;
        }
        // Meanwhile the topic may have gone, or somebody may have decided without being asked.
        let kept = match self.topics.topic(key) {
            None => Err(Refusal::code(RefuseCode::NoSuchTopic)),
            Some(topic) => check_unsettled(topic, &client).and_then(|()| {
                self.requests.keep(&name, client, ask, time).map_err(|full| Refusal::limit(full.0))
            }),
        };
        match kept {
            Ok(()) => {
                self.answer(conn, BrokerFrame::Done { request });
                self.tell_followers(key);
            }
            Err(refusal) => {
                self.drop_request_note(&name, &client);
                self.refuse(conn, request, refusal);
            }
        }
    }

    /// All that can be said against a request before its signature is looked at.
    fn check_join(
        &self,
        id: ConnId,
        name: &TopicName,
        ask: &[u8],
    ) -> Result<(TopicKey, Certificate), Refusal> {
        let bad = |text: &str| Refusal::because(RefuseCode::BadRecord, format!("the request {text}"));
        let me = self.seat(id).ok_or_else(|| Refusal::code(RefuseCode::Busy))?.peer.fingerprint;
        let (key, topic) = self.live_topic(name)?;
        let certificate = self.known(&me)?.clone();
        if ask.len() > JOIN_REQUEST_BYTES_MAX {
            return Err(bad("is too long"));
        }
        let asked = JoinRequest::parse(ask).map_err(|fault| bad(&fault.to_string()))?;
        if asked.who != me || asked.who_name != *certificate.name() {
            return Err(bad("is somebody else's"));
        }
        if asked.name != *name || asked.topic != topic.chain.topic() {
            return Err(bad("is for another topic"));
        }
        check_wanted(topic, &me)?;
        self.requests.room(name, &me).map_err(|full| Refusal::limit(full.0))?;
        Ok((key, certificate))
    }

    /// Why somebody who is no member may not open a topic.
    pub(super) fn stranger(&self, topic: &Topic, who: &Fingerprint, now: Wall) -> Refusal {
        if self.requests.asked(&topic.name, who).is_none() {
            let text = format!("you are not a member of {}; its owner is {}", topic.name, topic.owner);
            return Refusal::because(RefuseCode::NotMember, text);
        }
        let detail = self.last_seen(&topic.chain.owner(), now).0;
        let text = format!("{} or an admin of {} has not answered yet", topic.owner, topic.name);
        Refusal { code: RefuseCode::NoKeyYet, detail, text }
    }

    /// When a client was last connected: now, if it is. 0 for never.
    pub(super) fn last_seen(&self, client: &Fingerprint, now: Wall) -> Wall {
        if self.by_client.contains_key(client) { now } else { self.clients.last_seen(client) }
    }

    /// Forgets up to `count` requests that nobody has answered in time.
    pub(super) fn expire_requests(&mut self, now: Now, count: usize) {
        for _ in 0..count {
            let Some((topic, client)) = self.requests.expire(now.wall) else { return };
            self.drop_request_note(&topic, &client);
        }
    }

    /// Lets a topic have so many requests, of clients that nobody knows.
    #[cfg(test)]
    pub fn pretend_requests(&mut self, name: &TopicName, count: usize) {
        for n in 0..count {
            let client = Fingerprint(crate::crypto::digest::sha256(&n.to_be_bytes()));
            self.requests.keep(name, client, Vec::new(), Wall(u64::MAX / 2)).expect("there is room");
        }
    }

    /// A request as owner and admins see it; `None` if it is gone.
    pub(super) fn join_entry(&self, topic: &TopicName, client: &Fingerprint) -> Option<JoinEntry> {
        let asked = self.requests.asked(topic, client)?;
        Some(JoinEntry {
            topic: topic.clone(),
            time: asked.time,
            ask: asked.ask.to_vec(),
            certificate: self.clients.certificate(client)?.der().to_vec(),
        })
    }

    /// Goes over the topics of which something is asked, in name order.
    pub(super) fn step_requests(&mut self, id: ConnId, mut listing: Listing) -> Option<Job> {
        let me = self.seat(id)?.peer.fingerprint;
        // What is left of the topic at which the last page ended comes first.
        let mut from = Bound::Included(listing.after.clone());
        for _ in 0..STEP {
            let Some(name) = self.requests.topic_from(from.as_ref().map(String::as_str)).cloned() else {
                return self.end_listing(id, listing, false);
            };
            let is_mine = self
                .topics
                .key(&name)
                .and_then(|key| self.topics.topic(key))
                .is_some_and(|topic| may_change(topic, &me) && listing.filter.matches(&name));
            if is_mine && !self.list_topic(&name, &mut listing) {
                return self.end_listing(id, listing, true);
            }
            from = Bound::Excluded(name.to_string());
            // Whatever stands behind this topic, no client is above all ones.
            (listing.after, listing.after_client) = (name.to_string(), Fingerprint([0xff; 32]));
        }
        Some(Job::Requests(Box::new(listing)))
    }

    /// Adds what is asked of a topic to the page; false if the page is full.
    fn list_topic(&self, name: &TopicName, listing: &mut Listing) -> bool {
        let is_same = listing.after == name.as_str();
        let after = if is_same { listing.after_client } else { Fingerprint([0; 32]) };
        for (client, _) in self.requests.of_topic(name, after) {
            let Some(entry) = self.join_entry(name, client) else { continue };
            let bytes = entry_bytes(&entry);
            if listing.bytes + bytes > PAGE_BYTES {
                return false;
            }
            listing.bytes += bytes;
            listing.page.push(entry);
        }
        true
    }

    fn end_listing(&mut self, id: ConnId, listing: Listing, more: bool) -> Option<Job> {
        let Listing { request, page, .. } = listing;
        self.answer(id, BrokerFrame::Requests { request, more, requests: page });
        None
    }
}

/// Whether `who` is owner or admin of the topic.
pub fn may_change(topic: &Topic, who: &Fingerprint) -> bool {
    topic.chain.member(*who).is_some_and(|member| matches!(member.role, Role::Owner | Role::Admin))
}

/// Whether the topic has any use for a request of `who`.
fn check_wanted(topic: &Topic, who: &Fingerprint) -> Result<(), Refusal> {
    check_unsettled(topic, who)?;
    if topic.chain.join() == JoinPolicy::Closed {
        let text = format!("{} takes nobody who asks", topic.name);
        return Err(Refusal::because(RefuseCode::Closed, text));
    }
    Ok(())
}

/// Whether the topic's records say nothing yet of `who`, as they do once a request is answered.
pub fn check_unsettled(topic: &Topic, who: &Fingerprint) -> Result<(), Refusal> {
    let name = &topic.name;
    if topic.chain.member(*who).is_some() {
        return Err(Refusal::because(RefuseCode::Exists, format!("you are a member of {name} already")));
    }
    match topic.chain.barred(*who) {
        Some(Barred::Removed) => {
            return Err(Refusal::because(RefuseCode::Denied, "you were removed"));
        }
        Some(Barred::Denied(because)) if !because.is_empty() => {
            return Err(Refusal::because(RefuseCode::Denied, because.clone()));
        }
        Some(Barred::Denied(_)) => {
            let text = format!("{} or an admin of {name} said no", topic.owner);
            return Err(Refusal::because(RefuseCode::Denied, text));
        }
        None => {}
    }
    Ok(())
}

/// What an entry takes in a frame.
fn entry_bytes(entry: &JoinEntry) -> usize {
    entry.topic.as_str().len() + entry.ask.len() + entry.certificate.len() + 2 + 8 + 2 + 2
}
