//! A client core with a caller who remembers what it asked, and believes nothing unchecked.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::cast::Person;
use super::changes::{Change, Hearer, What};
use super::model::{MessageId, Model};
use super::reader::Reader;
use super::rules::{Rule, Violation};
use crate::base::ids::{Counter, Fingerprint, Incarnation, Offset};
use crate::base::names::{TopicFilter, TopicName};
use crate::base::{Mono, Now, Wall};
use crate::client::{
    Answer, Client, CreateRequest, Disconnect, Event, Failure, Integrity, IntegrityFault, Members, Notice,
    Opened, Ticket,
};
use crate::wire::values::{CloseCode, RefuseCode, Start};

/// Somebody's client from its start to its end; who comes back later is a new one.
pub struct Player {
    pub core: Client,
    pub me: Fingerprint,
    /// Tells this core from those that the same person ran before.
    pub life: u64,
    /// How far its clock is ahead of the broker's, in milliseconds.
    pub clock_ahead: i64,
    /// Its caller takes no events until then.
    pub busy_until: Mono,
    /// Its certificate has been revoked, so its sessions may end for good.
    pub is_revoked: bool,
    /// Topics whose newest record's signer was revoked: they are neither read nor written.
    pub suspended: BTreeSet<TopicName>,
    /// It has told that it is over.
    pub is_over: bool,
    pub readers: BTreeMap<TopicName, Reader>,
    pub filters: Vec<TopicFilter>,
    /// Where delivery of each topic began first.
    pub begun: BTreeMap<TopicName, Offset>,
    asked: BTreeMap<Ticket, Asked>,
    /// Members of topics as it was told last.
    pub members: BTreeMap<TopicName, Members>,
    /// Who waits to join topics as it was told last.
    pub requests: BTreeMap<TopicName, BTreeSet<Fingerprint>>,
    /// Whether it watches who asks, and answers.
    pub answers: bool,
    /// Tickets of what was asked when the core was over already: only they are answered behind the end.
    late: BTreeSet<Ticket>,
    /// Publishes without an answer, in order.
    publishes: BTreeMap<TopicName, VecDeque<Ticket>>,
    /// The last offset that a publish was answered with.
    answered: BTreeMap<Incarnation, Offset>,
}

/// What a ticket is for.
#[derive(Debug)]
enum Asked {
    Create(TopicName),
    Publish(TopicName, MessageId),
    Subscribe(TopicFilter),
    /// With the filters that were there besides.
    Unsubscribe(TopicFilter, Vec<TopicFilter>),
    Query(Query, TopicName),
    Change(Change),
}

/// A question that changes nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Query {
    Topics,
    Stats,
    Ping,
    Clients,
    Members,
    Open,
}

impl Player {
    pub fn new(core: Client, person: &Person, life: u64, clock_ahead: i64) -> Player {
        Player {
            core,
            me: person.fingerprint,
            life,
            clock_ahead,
            busy_until: Mono(0),
            is_revoked: false,
            suspended: BTreeSet::new(),
            is_over: false,
            readers: BTreeMap::new(),
            filters: Vec::new(),
            begun: BTreeMap::new(),
            members: BTreeMap::new(),
            requests: BTreeMap::new(),
            answers: false,
            asked: BTreeMap::new(),
            late: BTreeSet::new(),
            publishes: BTreeMap::new(),
            answered: BTreeMap::new(),
        }
    }

    /// The time as this host sees it.
    pub fn time(&self, now: Now) -> Now {
        Now { wall: Wall(now.wall.0.saturating_add_signed(self.clock_ahead)), ..now }
    }

    pub fn is_answered(&self) -> bool {
        self.asked.is_empty()
    }

    /// What it still waits for.
    pub fn waits_for(&self) -> String {
        format!("{:?}", self.asked)
    }

    pub fn wants(&self, topic: &TopicName) -> bool {
        self.filters.iter().any(|filter| filter.matches(topic))
    }

    // ---- What it asks ----

    pub fn create(&mut self, request: CreateRequest) {
        let name = request.name.clone();
        let ticket = self.core.create(request);
        self.note(ticket, Asked::Create(name));
    }

    /// False if the window of unanswered publishes is full.
    pub fn publish(&mut self, topic: &TopicName, len: usize, model: &mut Model) -> bool {
        let (id, content) = model.send(self.me, self.life, topic, len);
        let Ok(ticket) = self.core.publish(topic, &content) else { return false };
        self.note(ticket, Asked::Publish(topic.clone(), id));
        self.publishes.entry(topic.clone()).or_default().push_back(ticket);
        true
    }

    pub fn subscribe(&mut self, filter: TopicFilter, start: Start) {
        let ticket = self.core.subscribe(filter.clone(), start);
        self.note(ticket, Asked::Subscribe(filter.clone()));
        self.filters.push(filter);
    }

    pub fn unsubscribe(&mut self, filter: TopicFilter) {
        self.filters.retain(|other| *other != filter);
        let ticket = self.core.unsubscribe(filter.clone());
        self.note(ticket, Asked::Unsubscribe(filter, self.filters.clone()));
    }

    pub fn query(&mut self, query: Query, topic: &TopicName) {
        let ticket = match query {
            Query::Topics => self.core.topics(TopicFilter::parse("#").expect("a good filter")),
            Query::Stats => self.core.stats(),
            Query::Ping => self.core.ping(),
            Query::Clients => self.core.known_clients(),
            Query::Members => self.core.members(topic),
            Query::Open => self.core.open(topic),
        };
        self.note(ticket, Asked::Query(query, topic.clone()));
    }

    pub fn change(&mut self, change: Change) {
        let ticket = change.ask(&mut self.core);
        self.note(ticket, Asked::Change(change));
    }

    /// It tells of who asks to join from now on.
    pub fn watch(&mut self, answer: bool) {
        self.answers = answer;
        self.core.watch(answer);
    }

    fn note(&mut self, ticket: Ticket, asked: Asked) {
        if self.core.is_over() {
            self.late.insert(ticket);
        }
        self.asked.insert(ticket, asked);
    }

    // ---- What it is told ----

    pub fn hear(&mut self, event: Event, model: &mut Model) -> Result<(), Violation> {
        let is_late = matches!(&event, Event::Answer { ticket, .. } if self.late.contains(ticket));
        Rule::ThingsGoOn.check(!self.is_over || is_late, || format!("{event:?} after the end"))?;
        match event {
            Event::Connected(_) | Event::CrlUpdated { .. } => Ok(()),
            Event::Notice(notice) => self.noticed(&notice, model),
            Event::Requested(request) => {
                let is_honest = self.hearer(model).is_honest(&request);
                Rule::NobodyIsAccused.check(is_honest, || format!("{request:?}"))
            }
            Event::RotateDue { topic } => {
                let is_due = model.revoked.is_some();
                Rule::NobodyIsAccused.check(is_due, || format!("{topic} is said to be due"))
            }
            Event::Disconnected { reason, fatal, .. } => self.disconnected(&reason, fatal),
            Event::Answer { ticket, result } => self.answered(ticket, result, model),
            Event::Opened(opened) => self.opened(&opened, model),
            Event::Message(m) => {
                let me = self.me;
                self.reader(&m.topic)?.message(&m, me, model)
            }
            Event::CaughtUp { topic, next } => self.reader(&topic)?.caught_up(next, model),
            Event::Gap { topic, from, to } => self.reader(&topic)?.gap(from, to, model),
            Event::Ended { topic, code } => {
                self.ended(&topic, code, model, || format!("{topic} ended: {code}"))
            }
            Event::Integrity(Integrity { topic, fault: IntegrityFault::RevokedSigner { name }, .. })
                if model.revoked.as_ref() == Some(&name) =>
            {
                self.suspended.insert(topic);
                Ok(())
            }
            Event::Integrity(Integrity {
                topic,
                offset: Some(at),
                fault: IntegrityFault::NoKey { .. },
                stopped: false,
                ..
            }) => {
                let me = self.me;
                self.reader(&topic)?.keyless(at, me, model)
            }
            Event::Integrity(Integrity {
                topic,
                offset: Some(at),
                fault: IntegrityFault::Replayed { counter },
                stopped: false,
                ..
            }) => {
                let me = self.me;
                self.reader(&topic)?.repeated(at, counter, me, model)
            }
            Event::Integrity(integrity) => Err(Rule::NobodyIsAccused.broken(format!("{integrity:?}"))),
            Event::Closed => self.over(),
        }
    }

    fn hearer<'a>(&self, model: &'a mut Model) -> Hearer<'a> {
        Hearer { me: self.me, model }
    }

    /// A notice of what it did by itself says what is in the ledger.
    fn noticed(&mut self, notice: &Notice, model: &mut Model) -> Result<(), Violation> {
        let hearer = self.hearer(model);
        let is_true = match notice {
            Notice::LetIn { topic, name, .. } => hearer.did(topic, name, true),
            Notice::Rotated { topic, removed, .. } => {
                removed.iter().all(|name| hearer.did(topic, name, false))
            }
            Notice::SignerGood { topic } => self.suspended.remove(topic),
            Notice::TopicReplaced { topic } => hearer.model.logs_named(topic).count() > 1,
            _ => true,
        };
        Rule::AnswersAreTrue.check(is_true, || format!("{notice:?}"))
    }

    fn disconnected(&mut self, reason: &Disconnect, fatal: bool) -> Result<(), Violation> {
        let is_accusation = matches!(
            reason,
            Disconnect::Protocol(_)
                | Disconnect::Fault(_)
                | Disconnect::WrongHost { .. }
                | Disconnect::BrokerCertificate(_)
                | Disconnect::Closed {
                    code: CloseCode::ProtocolError | CloseCode::Expired | CloseCode::Limit,
                    ..
                }
        );
        // A refusal that crosses the client's last step is not understood: it comes where a session's
        // first record is expected.
        let is_crossed = self.is_revoked && matches!(reason, Disconnect::Protocol(_));
        Rule::NobodyIsAccused.check(!is_accusation || is_crossed, || format!("{reason}"))?;
        Rule::NobodyIsAccused.check(!fatal || self.is_revoked, || format!("for good: {reason}"))?;
        if fatal { self.over() } else { Ok(()) }
    }

    fn over(&mut self) -> Result<(), Violation> {
        self.is_over = true;
        let is_answered = self.asked.keys().all(|ticket| self.late.contains(ticket));
        Rule::AnswersComeOnce.check(is_answered, || format!("never answered: {}", self.waits_for()))
    }

    fn opened(&mut self, opened: &Opened, model: &Model) -> Result<(), Violation> {
        let said = || format!("{opened:?}");
        Rule::DeliveryIsAsAsked.check(self.expects(&opened.topic), said)?;
        let before = self.readers.get(&opened.topic);
        let may_move = before.is_none_or(|before| before.is_loose || before.log != opened.incarnation);
        Rule::DeliveryIsAsAsked.check(may_move, || format!("delivery moved: {opened:?}"))?;
        let is_true = model.logs_named(&opened.topic).any(|(id, log)| {
            let is_member = log.ledger().was_member(self.me);
            id == opened.incarnation && is_member && opened.start <= opened.end && opened.end <= log.end()
        });
        Rule::DeliveryIsAsAsked.check(is_true, said)?;
        let mut reader = Reader::new(opened);
        // The past ends once, wherever delivery went on.
        reader.caught_up = before.is_some_and(|before| !before.is_loose && before.caught_up);
        self.begun.entry(opened.topic.clone()).or_insert(opened.start);
        self.readers.insert(opened.topic.clone(), reader);
        Ok(())
    }

    /// Whether a topic may come: a filter matches it, or did until an end that is not answered yet.
    fn expects(&self, topic: &TopicName) -> bool {
        let is_ending =
            |asked: &Asked| matches!(asked, Asked::Unsubscribe(filter, _) if filter.matches(topic));
        self.wants(topic) || self.asked.values().any(is_ending)
    }

    fn reader(&mut self, topic: &TopicName) -> Result<&mut Reader, Violation> {
        let expected = self.expects(topic);
        let reader = self.readers.get_mut(topic).filter(|_| expected);
        reader.ok_or_else(|| Rule::DeliveryIsAsAsked.broken(format!("{topic} is not subscribed to")))
    }

    fn ended(
        &mut self,
        topic: &TopicName,
        code: RefuseCode,
        model: &Model,
        said: impl Fn() -> String,
    ) -> Result<(), Violation> {
        let reader = self.readers.remove(topic).ok_or_else(|| Rule::DeliveryIsAsAsked.broken(said()))?;
        let log = model.log(reader.log);
        // A topic ends when it is deleted, or for one who is removed.
        let is_over = log.is_some_and(|log| log.is_removed);
        let is_left = matches!(code, RefuseCode::NotMember | RefuseCode::NoKeyYet)
            && log.is_some_and(|log| log.ledger().was_outside(self.me));
        Rule::NothingIsLost.check(is_over || is_left, said)
    }

    fn answered(
        &mut self,
        ticket: Ticket,
        result: Result<Answer, Failure>,
        model: &mut Model,
    ) -> Result<(), Violation> {
        let Some(asked) = self.asked.remove(&ticket) else {
            return Err(Rule::AnswersComeOnce.broken(format!("{ticket:?}, not asked: {result:?}")));
        };
        if let Asked::Publish(topic, _) = &asked {
            let queue = self.publishes.entry(topic.clone()).or_default();
            // What fails on this side may overtake; what was stored keeps its order.
            let is_first = queue.front() == Some(&ticket) || result.is_err();
            Rule::OrderHolds
                .check(is_first, || format!("{ticket:?} was answered before {:?}", queue.front()))?;
            queue.retain(|other| *other != ticket);
        }
        match (asked, result) {
            (Asked::Publish(topic, id), result) => self.publish_answered(topic, id, result, model),
            (Asked::Create(name), Ok(Answer::Created(created))) => self.created(&name, &created, model),
            (Asked::Subscribe(f), Ok(Answer::Subscribed { filter, .. })) if f == filter => Ok(()),
            (Asked::Unsubscribe(f, kept), Ok(Answer::Unsubscribed { filter })) if f == filter => {
                self.loosen(&filter, &kept);
                Ok(())
            }
            (Asked::Query(Query::Members, topic), Ok(Answer::Members(members))) => {
                let is_true = members.topic == topic && self.hearer(model).knew(&members);
                Rule::AnswersAreTrue.check(is_true, || format!("{members:?}"))?;
                self.members.insert(topic, members);
                Ok(())
            }
            (Asked::Query(query, _), Ok(answer)) => answers(query, &answer),
            (Asked::Change(change), Ok(answer)) => {
                change.answered(&answer, self.hearer(model))?;
                if let Answer::Requests(requests) = answer {
                    let waiting = requests.iter().map(|request| request.fingerprint).collect();
                    self.requests.insert(change.topic, waiting);
                }
                Ok(())
            }
            (asked, Err(failure)) => self.failed(&asked, &failure, model),
            (asked, Ok(answer)) => {
                Err(Rule::AnswersAreTrue.broken(format!("{asked:?} was answered by {answer:?}")))
            }
        }
    }

    fn publish_answered(
        &mut self,
        topic: TopicName,
        id: MessageId,
        result: Result<Answer, Failure>,
        model: &mut Model,
    ) -> Result<(), Violation> {
        match result {
            Ok(Answer::Published { topic: of, counter, offset: Some(offset) }) if of == topic => {
                self.published(id, counter, offset, model)
            }
            Err(failure) => {
                if let Failure::Refused { .. } = &failure {
                    model.refused(id)?;
                }
                self.failed(&Asked::Publish(topic, id), &failure, model)
            }
            Ok(answer) => Err(Rule::AnswersAreTrue.broken(format!("{id:?} was answered by {answer:?}"))),
        }
    }

    fn published(
        &mut self,
        id: MessageId,
        counter: Counter,
        offset: Offset,
        model: &mut Model,
    ) -> Result<(), Violation> {
        let log = model.answered(id, counter, offset)?;
        let before = self.answered.insert(log, offset);
        Rule::OrderHolds.check(before.is_none_or(|before| before < offset), || {
            format!("{id:?} got {offset} after {}", before.unwrap_or_default())
        })
    }

    fn created(
        &self,
        name: &TopicName,
        created: &crate::client::Created,
        model: &Model,
    ) -> Result<(), Violation> {
        let members: BTreeSet<Fingerprint> = created.members.iter().map(|m| m.fingerprint).collect();
        let is_true = created.topic == *name
            && model.logs_named(name).any(|(_, log)| {
                let first = log.ledger().state(1);
                first.is_some_and(|first| first.chain.members().keys().eq(members.iter()))
            });
        Rule::AnswersAreTrue.check(is_true, || format!("{created:?}"))
    }

    /// A filter has ended: what no other one holds is delivered no more.
    fn loosen(&mut self, filter: &TopicFilter, kept: &[TopicFilter]) {
        let still = |f: &&TopicFilter| self.filters.contains(*f);
        let held = |topic: &TopicName| kept.iter().filter(still).any(|f| f.matches(topic));
        for (topic, reader) in &mut self.readers {
            reader.is_loose |= filter.matches(topic) && !held(topic);
        }
    }

    /// Whether a failure is one that an honest world knows.
    fn failed(&self, asked: &Asked, failure: &Failure, model: &mut Model) -> Result<(), Violation> {
        let hearer = self.hearer(model);
        let is_honest = match (failure, asked) {
            (Failure::Session(_), _) => self.is_revoked,
            // Once more might be to another topic of this name.
            (Failure::ConnectionLost, _) => {
                matches!(asked, Asked::Create(_) | Asked::Change(Change { what: What::Delete, .. }))
            }
            (Failure::Integrity(topic, fault), _) => {
                hearer.is_suspended(fault) || self.suspended.contains(topic)
            }
            (Failure::Exiting | Failure::TooLarge { .. } | Failure::Refused { .. }, _) => true,
            (_, Asked::Change(change)) => change.failed(failure, &hearer),
            (
                Failure::UnknownClients(_) | Failure::BadClient { .. } | Failure::Exists(_),
                Asked::Create(_),
            ) => true,
            (_, Asked::Publish(topic, _) | Asked::Query(Query::Members | Query::Open, topic)) => {
                let change = Change { topic: topic.clone(), what: What::Requests };
                !matches!(failure, Failure::NotAllowed { .. }) && change.failed(failure, &hearer)
            }
            _ => false,
        };
        Rule::AnswersAreTrue.check(is_honest, || format!("{asked:?} failed: {failure}"))
    }
}

fn answers(query: Query, answer: &Answer) -> Result<(), Violation> {
    let fits = match (query, answer) {
        (Query::Topics, Answer::Topics(topics)) => topics.is_sorted_by(|a, b| a.name < b.name),
        (Query::Clients, Answer::Clients(clients)) => !clients.is_empty(),
        (Query::Stats, Answer::Stats(_)) => true,
        (Query::Ping, Answer::Pong { .. }) => true,
        (Query::Open, Answer::Opened(_)) => true,
        _ => false,
    };
    Rule::AnswersAreTrue.check(fits, || format!("{query:?} was answered by {answer:?}"))
}
