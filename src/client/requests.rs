//! Asking to join, who asks, and what an owner does to a whole topic: requests that the broker
//! keeps or obeys. Must not know topic keys.

use super::Client;
use super::amend::Admission;
use super::asks::Ask;
use super::event::{Answer, Asked, Request};
use super::failure::Failure;
use super::link::End;
use super::request::Ticket;
use crate::base::Wall;
use crate::base::ids::{Fingerprint, RequestId};
use crate::base::limits::REQUESTS_MAX;
use crate::base::names::{TopicFilter, TopicName};
use crate::chain::{Barred, JoinRequest};
use crate::crypto::cert::{Certificate, Role};
use crate::wire::frame::ClientFrame;
use crate::wire::values::{JoinEntry, Retention, TopicEntry};

/// A request to join in the making.
pub struct Joining {
    pub topic: TopicName,
    pub ticket: Ticket,
    /// Once the broker has said which topic it is: our signed request, and what the answer will be.
    ask: Option<(Vec<u8>, Asked)>,
}

/// A listing of those who ask.
pub struct Listing {
    pub filter: TopicFilter,
    pub found: Vec<Request>,
    /// The last that came.
    pub after: Option<(TopicName, Fingerprint)>,
    /// Nothing if it is followed: what comes is news then.
    pub ticket: Option<Ticket>,
}

impl Client {
    /// Asks the owner and admins of a topic to be let in. Answered by [`Answer::Asked`] once the
    /// broker keeps the request. Nothing tells of the grant but that the topic can be opened, and
    /// is announced to those whose filter it matches.
    pub fn join(&mut self, topic: &TopicName) -> Ticket {
        let topic = topic.clone();
        self.request(|ticket| Ask::Join(Box::new(Joining { topic, ticket, ask: None })))
    }

    /// Who asks to join the topics that we may change. Answered by [`Answer::Requests`].
    pub fn requests(&mut self, filter: TopicFilter) -> Ticket {
        self.request(|ticket| Ask::Requests(Listing::new(filter, Some(ticket))))
    }

    /// Drops a topic of ours with all that is in it. Answered by [`Answer::Deleted`].
    pub fn delete(&mut self, topic: &TopicName) -> Ticket {
        let topic = topic.clone();
        self.request(|ticket| Ask::Delete { topic, ticket })
    }

    /// How much of a topic of ours is kept. Answered by [`Answer::RetentionSet`].
    pub fn set_retention(&mut self, topic: &TopicName, retention: Retention) -> Ticket {
        let topic = topic.clone();
        self.request(|ticket| Ask::SetRetention { topic, retention, ticket })
    }

    /// The broker has said which topic it is that we ask to join.
    pub(super) fn join_found(&mut self, mut joining: Box<Joining>, entries: &[TopicEntry]) {
        let Some(entry) = entries.iter().find(|entry| entry.name == joining.topic) else {
            return self.answer(joining.ticket, Err(Failure::NoSuchTopic(joining.topic)));
        };
        if entry.role.is_some() {
            return self.answer(joining.ticket, Err(Failure::AlreadyMember(joining.topic)));
        }
        if let Err(failure) = self.check_listed(entry) {
            return self.answer(joining.ticket, Err(failure));
        }
        let me = &self.identity.certificate;
        let request = JoinRequest {
            name: joining.topic.clone(),
            topic: entry.topic,
            who: me.fingerprint(),
            who_name: me.name().clone(),
            time: self.now.wall,
        };
        match request.sign(&self.identity.key, &mut *self.entropy) {
            Ok(ask) => {
                joining.ask = Some((ask, asked(entry)));
                self.start(Ask::Join(joining));
            }
            Err(fault) => self.answer(joining.ticket, Err(Failure::Machine(fault.to_string()))),
        }
    }

    /// Whether a listed topic is the one that is remembered, and its owner who the caller insists on. Of
    /// one that was never seen the broker's word is all that there is, until its records come.
    fn check_listed(&self, entry: &TopicEntry) -> Result<(), Failure> {
        let (owner, who) = (entry.owner_fingerprint, &entry.owner);
        let checked = self.pins.check_topic(&entry.name, entry.topic, (owner, who)).map(drop);
        let checked = checked.and_then(|()| self.check_expected(&entry.name, (owner, who)));
        checked.map_err(|fault| Failure::Integrity(entry.name.clone(), fault))?;
        self.pins.check_past(who, owner).map(drop).map_err(|changed| changed.failure(who, owner))
    }

    /// A page of those who ask has come.
    pub(super) fn requests_came(
        &mut self,
        mut listing: Listing,
        more: bool,
        entries: Vec<JoinEntry>,
    ) -> Result<(), End> {
        let before = listing.after.clone();
        for entry in entries {
            let Ok(said) = JoinRequest::parse(&entry.ask) else { continue };
            listing.after = Some((entry.topic.clone(), said.who));
            match listing.ticket {
                Some(_) => listing.found.extend(self.read_request(&entry).map(|(request, _)| request)),
                None => self.requested(&entry),
            }
        }
        if listing.found.len() > REQUESTS_MAX {
            return Err(End::protocol("more requests than a broker keeps"));
        }
        if more && listing.after <= before {
            return Err(End::protocol("a page of requests that does not go on"));
        }
        match listing.ticket {
            _ if more => self.start(Ask::Requests(listing)),
            Some(ticket) => self.answer(ticket, Ok(Answer::Requests(listing.found))),
            None => {}
        }
        Ok(())
    }

    /// What a request says and whose it is; nothing if it cannot even be read.
    pub(super) fn read_request(&self, entry: &JoinEntry) -> Option<(Request, Option<Admission>)> {
        let said = JoinRequest::parse(&entry.ask).ok()?;
        let judged = self.fault_of(entry, &said);
        let fault = judged.as_ref().err().cloned();
        let request = Request {
            topic: entry.topic.clone(),
            name: said.who_name,
            fingerprint: said.who,
            asked: entry.time,
            fault,
        };
        let admission = judged.ok().map(|certificate| Admission { certificate, topic: said.topic });
        Some((request, admission))
    }

    /// Whose request it is, if it may be granted as far as is known without the topic's records.
    fn fault_of(&self, entry: &JoinEntry, said: &JoinRequest) -> Result<Certificate, String> {
        let certificate = self
            .trust
            .verify_historic(&entry.certificate, Role::Client)
            .map_err(|fault| format!("the certificate {fault}"))?;
        JoinRequest::verify(&entry.ask, certificate.public_key())
            .map_err(|fault| format!("the request {fault}"))?;
        if said.who_name != *certificate.name() {
            return Err("the request names somebody else than the certificate".into());
        }
        if said.name != entry.topic {
            return Err(format!("the request is for {}", said.name));
        }
        self.trust.judge(&certificate, self.now.wall).map_err(|fault| format!("the certificate {fault}"))?;
        let chain = self.topics.get(&entry.topic).and_then(|topic| topic.records.chain());
        if chain.is_some_and(|chain| chain.topic() != said.topic) {
            return Err("the request is for another topic of this name".into());
        }
        if let Err(changed) = self.pins.check_peer(&said.who_name, said.who) {
            return Err(changed.failure(&said.who_name, said.who).to_string());
        }
        match chain.and_then(|chain| chain.barred(said.who)) {
            Some(Barred::Removed) => Err("was removed before".into()),
            Some(Barred::Denied(_)) => Err("was denied before".into()),
            None => Ok(certificate),
        }
    }
}

impl Joining {
    /// The next frame.
    pub fn frame(&self, request: RequestId) -> ClientFrame {
        let name = self.topic.clone();
        match &self.ask {
            None => {
                ClientFrame::ListTopics { request, after: String::new(), filter: TopicFilter::from(&name) }
            }
            Some((ask, _)) => ClientFrame::Join { request, name, ask: ask.clone() },
        }
    }

    pub fn is_signed(&self) -> bool {
        self.ask.is_some()
    }

    /// From its start: the topic may be another one by then.
    pub fn again(self) -> Joining {
        Joining { ask: None, ..self }
    }

    /// The broker keeps it.
    pub fn done(self) -> Option<Asked> {
        self.ask.map(|(_, asked)| asked)
    }
}

impl Listing {
    pub fn new(filter: TopicFilter, ticket: Option<Ticket>) -> Listing {
        Listing { filter, found: Vec::new(), after: None, ticket }
    }

    pub fn frame(&self, request: RequestId) -> ClientFrame {
        let (after, after_client) = match &self.after {
            Some((topic, client)) => (topic.to_string(), *client),
            None => (String::new(), Fingerprint([0; 32])),
        };
        let (follow, filter) = (self.ticket.is_none(), self.filter.clone());
        ClientFrame::ListRequests { request, follow, filter, after, after_client }
    }
}

fn asked(entry: &TopicEntry) -> Asked {
    Asked {
        topic: entry.name.clone(),
        owner: entry.owner.clone(),
        owner_fingerprint: entry.owner_fingerprint,
        owner_seen: Some(entry.owner_seen).filter(|seen| *seen != Wall(0)),
    }
}
