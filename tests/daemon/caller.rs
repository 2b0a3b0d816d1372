//! A client with its own connection, asked one thing after the other.

use std::collections::BTreeMap;
use std::time::Instant;

use sealmq::base::ids::Offset;
use sealmq::base::names::{Name, TopicFilter, TopicName};
use sealmq::client::{Answer, Client, CreateRequest, Event, Failure, MemberChoice, Message, Ticket};
use sealmq::net::client::Connection;
use sealmq::wire::values::{Durability, Start};

use crate::clients::{connection, pump};
use crate::support::{Daemon, Home, PATIENCE};

pub struct Caller {
    connection: Connection,
    answers: BTreeMap<Ticket, Result<Answer, Failure>>,
    pub messages: Vec<Message>,
    /// The session that there was has ended.
    pub is_cut: bool,
}

impl Caller {
    pub fn new(home: &Home, daemon: &Daemon, who: &str) -> Caller {
        let connection = connection(home, daemon, who, who);
        let mut caller = Caller { connection, answers: BTreeMap::new(), messages: Vec::new(), is_cut: false };
        caller.ask(Client::ping).expect("a session");
        caller
    }

    /// Takes what comes until it is so, or until the session is cut.
    pub fn until<T>(&mut self, what: &str, mut is_so: impl FnMut(&mut Caller) -> Option<T>) -> Option<T> {
        let start = Instant::now();
        loop {
            if let Some(found) = is_so(self) {
                return Some(found);
            }
            if self.is_cut {
                return None;
            }
            assert!(start.elapsed() < PATIENCE, "in vain: {what}");
            let soon = self.connection.now().mono + std::time::Duration::from_millis(20);
            let first = self.connection.wait(Some(soon)).expect("the poll works");
            let events: Vec<Event> = first.into_iter().chain(pump(&mut self.connection)).collect();
            for event in events {
                match event {
                    Event::Answer { ticket, result } => drop(self.answers.insert(ticket, result)),
                    Event::Message(message) => self.messages.push(message),
                    Event::Disconnected { .. } => self.is_cut = true,
                    Event::Integrity(integrity) => panic!("{integrity:?}"),
                    _ => {}
                }
            }
        }
    }

    /// `None` if the session was cut first.
    pub fn try_ask(&mut self, ask: impl FnOnce(&mut Client) -> Ticket) -> Option<Result<Answer, Failure>> {
        let ticket = ask(self.connection.core());
        self.until("an answer", |caller| caller.answers.remove(&ticket))
    }

    pub fn ask(&mut self, ask: impl FnOnce(&mut Client) -> Ticket) -> Result<Answer, Failure> {
        self.try_ask(ask).expect("the session goes on")
    }

    /// A topic of this client's on disk, shared with others.
    pub fn create(&mut self, topic: &TopicName, with: &[&str]) {
        self.create_in(topic, with, Durability::Disk);
    }

    pub fn create_in(&mut self, topic: &TopicName, with: &[&str], durability: Durability) {
        let members = MemberChoice::Only(with.iter().map(|who| Name::parse(who).expect("good")).collect());
        let request = CreateRequest { members, durability, ..CreateRequest::new(topic.clone()) };
        let made = self.ask(|client| client.create(request));
        assert!(matches!(made, Ok(Answer::Created(_))), "{made:?}");
    }

    /// Publishes one message; `None` if the session was cut before it was answered.
    pub fn try_publish(&mut self, topic: &TopicName, content: &[u8]) -> Option<Result<Offset, Failure>> {
        let answer = self.try_ask(|client| client.publish(topic, content).expect("room in the window"))?;
        Some(answer.map(|answer| match answer {
            Answer::Published { offset: Some(offset), .. } => offset,
            other => panic!("not published but {other:?}"),
        }))
    }

    pub fn publish(&mut self, topic: &TopicName, content: &[u8]) -> Offset {
        self.try_publish(topic, content).expect("the session goes on").expect("it is taken")
    }

    /// Subscribes, and takes so many messages.
    pub fn read(&mut self, topic: &TopicName, start: Start, count: usize) -> Vec<(Offset, Vec<u8>)> {
        let filter = TopicFilter::parse(topic.as_str()).expect("a name is a filter");
        self.ask(|client| client.subscribe(filter, start)).expect("it may read");
        self.until("messages", |caller| (caller.messages.len() >= count).then_some(()))
            .expect("the session goes on");
        self.messages.drain(..).map(|message| (message.offset, message.content)).collect()
    }
}

pub fn topic(name: &str) -> TopicName {
    TopicName::parse(name).expect("a good name")
}
