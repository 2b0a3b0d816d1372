//! Filters, the topics that come by them, and where delivery goes on in a new session.

use super::Client;
use super::asks::Ask;
use super::delivery::Delivery;
use super::event::{Answer, Event, Notice, Opened};
use super::failure::Failure;
use super::link::End;
use super::request::Ticket;
use super::topic::{Link, OpenTopic};
use crate::base::ids::{Offset, RequestId, TopicHandle};
use crate::base::limits::CURSORS_PER_CONNECTION_MAX;
use crate::base::names::{TopicFilter, TopicName};
use crate::wire::frame::ClientFrame;
use crate::wire::values::{Notice as StartNotice, RefuseCode, Start};

/// A filter that the caller has subscribed to.
pub struct Subscription {
    pub filter: TopicFilter,
    /// Where topics begin that it matches; after its first answer, new ones begin at their earliest.
    start: Start,
    /// Its request in this session, by which topics are announced.
    request: Option<RequestId>,
    /// Whoever waits for the answer.
    ticket: Option<Ticket>,
}

/// Why a topic is announced.
enum Reason {
    Filter,
    Asked { start: Start, ticket: Option<Ticket> },
    Created(Box<super::create::Creation>),
}

impl Client {
    pub(super) fn add_subscription(&mut self, filter: TopicFilter, start: Start, ticket: Ticket) {
        if let Some(failure) = self.why_ended() {
            return self.answer(ticket, Err(failure));
        }
        self.subscriptions.push(Subscription { filter, start, request: None, ticket: Some(ticket) });
        if self.is_connected() {
            self.send_subscriptions();
        }
    }

    pub(super) fn remove_subscription(&mut self, filter: TopicFilter, ticket: Ticket) {
        for gone in self.subscriptions.extract_if(.., |s| s.filter == filter).filter_map(|s| s.ticket) {
            self.events.push(Event::Answer { ticket: gone, result: Err(Failure::Exiting) });
        }
        if !self.is_connected() && self.why_ended().is_none() {
            self.drop_unmatched(&filter, None);
            return self.answer(ticket, Ok(Answer::Unsubscribed { filter }));
        }
        self.ask(Ask::Unsubscribe { filter, ticket });
    }

    /// A filter has ended: topics that no other one matches are delivered no more. In a session only
    /// those count that were sent before the end was asked for; later ones begin delivery anew.
    pub(super) fn drop_unmatched(&mut self, filter: &TopicFilter, asked: Option<RequestId>) {
        self.remember_read();
        let subscriptions = &self.subscriptions;
        let counts = |s: &Subscription| asked.is_none() || s.request < asked;
        let holds = |name| subscriptions.iter().any(|s| counts(s) && s.filter.matches(name));
        for (name, topic) in &mut self.topics {
            if !filter.matches(name) || holds(name) {
                continue;
            }
            topic.delivery = None;
            if let Some(open) = topic.open() {
                open.delivering = false;
            }
        }
    }

    /// The session in which a filter's end was asked for was lost, and the next one begins without
    /// it: asking again could end the same filter that was subscribed to since.
    pub(super) fn finish_unsubscribes(&mut self) {
        for ask in std::mem::take(&mut self.waiting) {
            if let Ask::Unsubscribe { filter, ticket } = ask {
                self.drop_unmatched(&filter, None);
                self.answer(ticket, Ok(Answer::Unsubscribed { filter }));
            } else {
                self.waiting.push_back(ask);
            }
        }
    }

    /// A session has begun: first the topics that were delivered go on where they stopped, then
    /// filters bring those that are new.
    pub(super) fn resume_topics(&mut self) {
        let resumed: Vec<(TopicName, Start)> = self
            .topics
            .iter()
            .filter(|(_, topic)| topic.stopped.is_none())
            .filter_map(|(name, topic)| {
                let delivery = topic.delivery.as_ref()?;
                Some((name.clone(), Start::Resume(delivery.next, delivery.incarnation)))
            })
            .collect();
        for (topic, start) in resumed {
            self.open_topic(topic, start, None);
        }
        self.send_subscriptions();
    }

    /// Sends the filters that this session does not know yet.
    fn send_subscriptions(&mut self) {
        let super::link::Phase::Active(session) = &mut self.phase else { return };
        for subscription in self.subscriptions.iter_mut().filter(|s| s.request.is_none()) {
            let request = session.asks.number();
            let (filter, start) = (subscription.filter.clone(), subscription.start);
            subscription.request = Some(request);
            session.filters.insert(request, filter.clone());
            self.outbox.push(&ClientFrame::Subscribe { request, filter, start });
        }
    }

    /// The filters' requests are of the session that is over.
    pub(super) fn end_subscriptions_session(&mut self) {
        self.subscriptions.iter_mut().for_each(|s| s.request = None);
    }

    /// Nobody will answer any more.
    pub(super) fn fail_subscriptions(&mut self, failure: &Failure) {
        let waiting: Vec<Ticket> = self.subscriptions.iter_mut().filter_map(|s| s.ticket.take()).collect();
        for ticket in waiting {
            self.answer(ticket, Err(failure.clone()));
        }
    }

    pub(super) fn subscribed(&mut self, request: RequestId, matched: u32, others: u32) -> Result<(), End> {
        if !self.session_mut().is_some_and(|s| s.filters.contains_key(&request)) {
            return Err(End::protocol("an answer to a filter that was not sent"));
        }
        let Some(subscription) = self.subscriptions.iter_mut().find(|s| s.request == Some(request)) else {
            return Ok(());
        };
        // What it matches from now on is new to us, or is resumed by name.
        subscription.start = Start::Earliest;
        let filter = subscription.filter.clone();
        if let Some(ticket) = subscription.ticket.take() {
            self.answer(ticket, Ok(Answer::Subscribed { filter, matched, others }));
        }
        Ok(())
    }

    /// A filter was refused. False: the request is not a filter's.
    pub(super) fn subscription_refused(
        &mut self,
        request: RequestId,
        code: RefuseCode,
        detail: u64,
        text: &str,
    ) -> bool {
        if self.session_mut().and_then(|s| s.filters.remove(&request)).is_none() {
            return false;
        }
        let gone: Vec<Subscription> =
            self.subscriptions.extract_if(.., |s| s.request == Some(request)).collect();
        for ticket in gone.into_iter().filter_map(|s| s.ticket) {
            let failure = Failure::from_refusal(None, code, detail, text.to_owned());
            self.answer(ticket, Err(failure));
        }
        true
    }

    /// Asks for a topic; its records come by this alone.
    pub(super) fn open_topic(&mut self, name: TopicName, start: Start, ticket: Option<Ticket>) {
        let topic = self.topics.entry(name.clone()).or_default();
        if topic.is_closed() {
            topic.link = Link::Opening;
        }
        self.start(Ask::Open { topic: name, start, ticket });
    }

    /// The broker has announced a topic.
    pub(super) fn topic_announced(&mut self, request: RequestId, at: Announcement) -> Result<(), End> {
        self.bind(&at)?;
        let reason = self.reason(request, &at.name)?;
        let wants_messages = match &reason {
            Reason::Filter => true,
            Reason::Asked { start, .. } => *start != Start::RecordsOnly,
            Reason::Created(_) => false,
        };
        if wants_messages {
            self.begin_delivery(&at);
        }
        match reason {
            Reason::Asked { ticket: Some(ticket), .. } => {
                let opened = at.opened();
                self.answer(ticket, Ok(Answer::Opened(opened)));
            }
            Reason::Created(creation) => self.creation_taken(creation, Some(at.handle)),
            _ => {}
        }
        Ok(())
    }

    /// What a topic of this name answers to.
    fn reason(&mut self, request: RequestId, name: &TopicName) -> Result<Reason, End> {
        let Some(session) = self.session_mut() else { return Err(End::protocol("no session")) };
        let fits = |ask: &Ask| match ask {
            Ask::Open { topic, .. } => topic == name,
            Ask::Create(creation) => creation.is_begun() && creation.name() == name,
            _ => false,
        };
        match session.asks.take(request, fits) {
            Some(Ask::Open { start, ticket, .. }) => Ok(Reason::Asked { start, ticket }),
            Some(Ask::Create(creation)) => Ok(Reason::Created(creation)),
            _ if session.filters.get(&request).is_some_and(|f| f.matches(name)) => Ok(Reason::Filter),
            _ => Err(End::protocol("a topic that was not asked for")),
        }
    }

    /// A handle means one topic, and a topic has one handle, for as long as the session lasts.
    fn bind(&mut self, at: &Announcement) -> Result<(), End> {
        let now = self.now.mono;
        let Some(session) = self.session_mut() else { return Ok(()) };
        if session.handles.len() >= CURSORS_PER_CONNECTION_MAX && !session.handles.contains_key(&at.handle) {
            return Err(End::protocol("more topics than a session has"));
        }
        let known = session.handles.entry(at.handle).or_insert_with(|| at.name.clone());
        if *known != at.name {
            return Err(End::protocol("one handle for two topics"));
        }
        let remembered = self.pins.topics.get(&at.name).map(|pin| pin.number);
        let topic = self.topics.entry(at.name.clone()).or_default();
        match &topic.link {
            Link::Open(open) if open.handle != at.handle => Err(End::protocol("two handles for one topic")),
            Link::Open(_) => Ok(()),
            _ => {
                topic.link = Link::Open(OpenTopic::new(at.handle, at.incarnation, remembered, now));
                Ok(())
            }
        }
    }

    fn begin_delivery(&mut self, at: &Announcement) {
        let Some(topic) = self.topics.get_mut(&at.name) else { return };
        let Some(open) = topic.open() else { return };
        // Several filters may match: the first one began.
        if std::mem::replace(&mut open.delivering, true) || topic.stopped.is_some() {
            return;
        }
        match &mut topic.delivery {
            // One that begins behind what comes next is found out by what it leaves out.
            Some(delivery)
                if at.notice == StartNotice::None && delivery.goes_on_at(at.incarnation, at.start) =>
            {
                if std::mem::replace(&mut delivery.announced, true) {
                    return;
                }
            }
            Some(delivery) => delivery.move_to(at.incarnation, at.start),
            None => {
                let known = self.pins.topics.get(&at.name).filter(|pin| pin.log == Some(at.incarnation));
                topic.delivery = Some(match known {
                    Some(pin) => Delivery::with_memory(at.incarnation, at.start, pin.memory()),
                    None => Delivery::new(at.incarnation, at.start),
                });
            }
        }
        topic.delivery.iter_mut().for_each(|delivery| delivery.announced = true);
        self.events.push(Event::Opened(at.opened()));
    }

    /// The broker ends a topic.
    pub(super) fn topic_ended(&mut self, handle: TopicHandle, code: RefuseCode) -> Result<(), End> {
        let name = self.name_of(handle)?;
        self.remember_read();
        let Some(topic) = self.topics.get_mut(&name) else { return Ok(()) };
        topic.link = Link::Closed;
        topic.ended_at = topic.delivery.as_ref().map(|delivery| delivery.next);
        if topic.delivery.take().is_some() {
            self.events.push(Event::Ended { topic: name.clone(), code });
        }
        let failure = Failure::from_refusal(Some(&name), code, 0, String::new());
        self.fail_topic(&name, &failure);
        Ok(())
    }

    /// Drops what is known of a topic, at the session's end if it is open: the broker sends its
    /// records once a session.
    pub(super) fn forget_topic(&mut self, name: &TopicName) {
        let Some(topic) = self.topics.get_mut(name) else { return };
        topic.delivery = None;
        topic.is_forgotten = true;
        if let Some(open) = topic.open() {
            open.delivering = false;
        }
        self.drop_forgotten();
    }

    /// Drops topics that are not used any more and are to be forgotten, or of which nothing is known: a
    /// broker may name any number of them.
    pub(super) fn drop_forgotten(&mut self) {
        self.topics.retain(|_, topic| topic.is_used() || !topic.is_forgotten && !topic.is_blank());
    }

    /// The caller's own certificate and the broker's end soon, or clocks differ: said once a session.
    pub(super) fn notice(&mut self, notice: Notice) {
        self.events.push(Event::Notice(notice));
    }
}

/// What a Topic frame says.
#[derive(Clone, Debug)]
pub struct Announcement {
    pub handle: TopicHandle,
    pub name: TopicName,
    pub incarnation: crate::base::ids::Incarnation,
    pub start: Offset,
    pub end: Offset,
    pub durability: crate::wire::values::Durability,
    pub notice: StartNotice,
}

impl Announcement {
    fn opened(&self) -> Opened {
        Opened {
            topic: self.name.clone(),
            incarnation: self.incarnation,
            start: self.start,
            end: self.end,
            durability: self.durability,
            notice: self.notice,
        }
    }
}
