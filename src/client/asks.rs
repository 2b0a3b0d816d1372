//! Requests under way: their numbers in a session, and what becomes of them when it ends.

use std::collections::BTreeMap;

use super::amend::Gathering;
use super::create::Creation;
use super::crl::CrlFetch;
use super::event::{Answer, KnownClient};
use super::failure::Failure;
use super::request::Ticket;
use super::requests::{Joining, Listing};
use super::{Client, topic};
use crate::base::Mono;
use crate::base::ids::{Fingerprint, RequestId, TopicHandle};
use crate::base::names::{TopicFilter, TopicName};
use crate::wire::frame::ClientFrame;
use crate::wire::values::{RefuseCode, Retention, Start, TopicEntry};

/// A request that the broker is to answer. Subscriptions are not among them: they outlive answers.
pub enum Ask {
    Create(Box<Creation>),
    /// Without a ticket: the client needs the topic for something else that was asked.
    Open {
        topic: TopicName,
        start: Start,
        ticket: Option<Ticket>,
    },
    Unsubscribe {
        filter: TopicFilter,
        ticket: Ticket,
    },
    Topics {
        filter: TopicFilter,
        found: Vec<TopicEntry>,
        ticket: Ticket,
    },
    Stats {
        ticket: Ticket,
    },
    Ping {
        sent: Option<Mono>,
        ticket: Ticket,
    },
    Clients {
        after: Fingerprint,
        found: Vec<KnownClient>,
        ticket: Ticket,
    },
    Crl(CrlFetch),
    /// An amendment's, which has the ticket.
    Gather(Box<Gathering>),
    Append {
        topic: TopicName,
        id: Ticket,
        handle: TopicHandle,
        record: Vec<u8>,
    },
    Join(Box<Joining>),
    Requests(Listing),
    Delete {
        topic: TopicName,
        ticket: Ticket,
    },
    SetRetention {
        topic: TopicName,
        retention: Retention,
        ticket: Ticket,
    },
}

/// The requests of one session, by number.
#[derive(Default)]
pub struct Asks {
    under_way: BTreeMap<RequestId, Ask>,
    last: u32,
}

impl Asks {
    /// A number that no request under way has.
    pub fn number(&mut self) -> RequestId {
        loop {
            self.last = self.last.wrapping_add(1);
            if !self.under_way.contains_key(&RequestId(self.last)) {
                return RequestId(self.last);
            }
        }
    }

    pub fn insert(&mut self, request: RequestId, ask: Ask) {
        self.under_way.insert(request, ask);
    }

    /// Takes a request out if it is of the kind that an answer is for. One that is not stays: the
    /// session ends then, and what its caller is told is decided there.
    pub fn take(&mut self, request: RequestId, fits: impl FnOnce(&Ask) -> bool) -> Option<Ask> {
        let is_it = self.under_way.get(&request).is_some_and(fits);
        if is_it { self.under_way.remove(&request) } else { None }
    }

    /// Whether there is one under way of which `fits` holds.
    pub fn any(&self, fits: impl FnMut(&Ask) -> bool) -> bool {
        self.under_way.values().any(fits)
    }

    pub fn is_empty(&self) -> bool {
        self.under_way.is_empty()
    }

    /// In the order in which they were asked.
    pub fn into_all(self) -> impl Iterator<Item = Ask> {
        self.under_way.into_values()
    }

    /// Pings that wait for their departure to be noted.
    pub fn stamp_pings(&mut self, now: Mono) {
        for ask in self.under_way.values_mut() {
            if let Ask::Ping { sent: sent @ None, .. } = ask {
                *sent = Some(now);
            }
        }
    }
}

impl Ask {
    fn ticket(&self) -> Option<Ticket> {
        match self {
            Ask::Create(creation) => Some(creation.ticket),
            Ask::Open { ticket, .. } => *ticket,
            Ask::Unsubscribe { ticket, .. }
            | Ask::Topics { ticket, .. }
            | Ask::Stats { ticket }
            | Ask::Ping { ticket, .. }
            | Ask::Clients { ticket, .. }
            | Ask::Delete { ticket, .. }
            | Ask::SetRetention { ticket, .. } => Some(*ticket),
            Ask::Join(joining) => Some(joining.ticket),
            Ask::Requests(listing) => listing.ticket,
            Ask::Crl(_) | Ask::Gather(_) | Ask::Append { .. } => None,
        }
    }

    /// Whether asking once more might do a thing twice, or to another topic that was made since.
    fn is_risky(&self) -> bool {
        match self {
            Ask::Create(creation) => creation.is_begun(),
            Ask::Delete { .. } => true,
            _ => false,
        }
    }

    /// The request as it is to be asked in the next session; nothing if that asks by itself.
    fn again(self) -> Option<Ask> {
        match self {
            Ask::Create(creation) => Some(Ask::Create(Box::new(creation.again()))),
            Ask::Topics { filter, ticket, .. } => Some(Ask::Topics { filter, found: Vec::new(), ticket }),
            Ask::Clients { ticket, .. } => {
                Some(Ask::Clients { after: Fingerprint([0; 32]), found: Vec::new(), ticket })
            }
            Ask::Ping { ticket, .. } => Some(Ask::Ping { sent: None, ticket }),
            Ask::Join(joining) => Some(Ask::Join(Box::new(joining.again()))),
            Ask::Requests(Listing { filter, ticket: Some(ticket), .. }) => {
                Some(Ask::Requests(Listing::new(filter, Some(ticket))))
            }
            // Amendments begin anew by themselves.
            Ask::Gather(_) | Ask::Append { .. } => None,
            Ask::Open { ticket: None, .. } | Ask::Crl(_) | Ask::Requests(_) => None,
            same @ (Ask::Open { .. } | Ask::Unsubscribe { .. } | Ask::Stats { .. }) => Some(same),
            same @ (Ask::Delete { .. } | Ask::SetRetention { .. }) => Some(same),
        }
    }
}

impl Client {
    /// Asks now if there is a session, else as soon as there is one.
    pub(super) fn ask(&mut self, ask: Ask) {
        if let Some(failure) = self.why_ended() {
            self.fail_ask(ask, failure);
        } else if self.is_connected() {
            self.start(ask);
        } else {
            self.waiting.push_back(ask);
        }
    }

    /// Sends a request's first frame, or its next.
    pub(super) fn start(&mut self, ask: Ask) {
        let Some(session) = self.session_mut() else { return self.waiting.push_back(ask) };
        let request = session.asks.number();
        let ask = match ask {
            Ask::Create(creation) => return self.start_creation(request, creation),
            ask => ask,
        };
        let frame = match &ask {
            Ask::Create(_) => return,
            Ask::Open { topic, start, .. } => {
                ClientFrame::Open { request, name: topic.clone(), start: *start }
            }
            Ask::Unsubscribe { filter, .. } => ClientFrame::Unsubscribe { request, filter: filter.clone() },
            Ask::Topics { filter, found, .. } => ClientFrame::ListTopics {
                request,
                after: found.last().map(|t| t.name.to_string()).unwrap_or_default(),
                filter: filter.clone(),
            },
            Ask::Stats { .. } => ClientFrame::GetStats { request },
            Ask::Ping { .. } => ClientFrame::Ping { number: request.0.into() },
            Ask::Clients { after, .. } => {
                ClientFrame::ListClients { request, after: *after, names: Vec::new() }
            }
            Ask::Crl(fetch) => ClientFrame::GetCrl { request, from: fetch.received() },
            Ask::Gather(gathering) => gathering.frame(request),
            Ask::Append { handle, record, .. } => {
                ClientFrame::Append { request, topic: *handle, record: record.clone() }
            }
            Ask::Join(joining) => joining.frame(request),
            Ask::Requests(listing) => listing.frame(request),
            Ask::Delete { topic, .. } => ClientFrame::Delete { request, name: topic.clone() },
            Ask::SetRetention { topic, retention, .. } => {
                ClientFrame::SetRetention { request, name: topic.clone(), retention: *retention }
            }
        };
        session.asks.insert(request, ask);
        self.outbox.push(&frame);
    }

    pub(super) fn answer(&mut self, ticket: Ticket, result: Result<Answer, Failure>) {
        self.events.push(super::Event::Answer { ticket, result });
    }

    /// The broker refused a request.
    pub(super) fn ask_refused(&mut self, ask: Ask, code: RefuseCode, detail: u64, text: String) {
        let about = match &ask {
            Ask::Create(creation) => Some(creation.name().clone()),
            Ask::Open { topic, .. } | Ask::Delete { topic, .. } | Ask::SetRetention { topic, .. } => {
                Some(topic.clone())
            }
            Ask::Join(joining) => Some(joining.topic.clone()),
            Ask::Append { topic, .. } => Some(topic.clone()),
            Ask::Gather(gathering) => Some(gathering.topic.clone()),
            _ => None,
        };
        let failure = match (&ask, code) {
            (Ask::Join(joining), RefuseCode::Exists) => Failure::AlreadyMember(joining.topic.clone()),
            _ => Failure::from_refusal(about.as_ref(), code, detail, text),
        };
        match &ask {
            Ask::Open { topic, .. } => self.open_refused(&topic.clone(), code, &failure),
            Ask::Append { topic, id, .. } => {
                return self.amendment_refused(&topic.clone(), *id, code, failure);
            }
            Ask::Gather(g) => return self.amendment_refused(&g.topic.clone(), g.id, code, failure),
            _ => {}
        }
        self.fail_ask(ask, failure);
    }

    pub(super) fn fail_ask(&mut self, ask: Ask, failure: Failure) {
        if let Some(ticket) = ask.ticket() {
            self.answer(ticket, Err(failure));
        }
    }

    /// The session is over: what can be asked again waits for the next one, the rest has failed.
    pub(super) fn requeue(&mut self, asks: Asks) {
        let later = std::mem::take(&mut self.waiting);
        for ask in asks.into_all() {
            if ask.is_risky() {
                self.fail_ask(ask, Failure::ConnectionLost);
            } else {
                self.waiting.extend(ask.again());
            }
        }
        self.waiting.extend(later);
    }

    /// Whatever waits for a topic that could not be opened will not come.
    fn open_refused(&mut self, name: &TopicName, code: RefuseCode, failure: &Failure) {
        self.remember_read();
        let Some(topic) = self.topics.get_mut(name) else { return };
        topic.link = topic::Link::Closed;
        let was_delivered = topic.delivery.take().is_some();
        if was_delivered {
            self.events.push(super::Event::Ended { topic: name.clone(), code });
        }
        self.fail_topic(name, failure);
        if self.topics.get(name).is_some_and(|topic| topic.is_blank() && !topic.is_used()) {
            self.topics.remove(name);
        }
    }

    /// Fails all that waits for a topic.
    pub(super) fn fail_topic(&mut self, name: &TopicName, failure: &Failure) {
        let Some(topic) = self.topics.get_mut(name) else { return };
        let mut tickets = topic.publishing.drop_all();
        tickets.append(&mut topic.members_asked);
        let amendments = std::mem::take(&mut topic.amendments);
        for ticket in tickets {
            self.answer(ticket, Err(failure.clone()));
        }
        for amendment in amendments {
            self.finish(name, amendment, Err(failure.clone()));
        }
    }
}
