//! What people do in the town, and that it is done.

use sealmq::base::ids::Offset;
use sealmq::base::names::TopicFilter;
use sealmq::client::{Answer, CreateRequest, Failure, GrantAs, MemberChoice};
use sealmq::wire::values::Start;

use crate::town::{Town, name, topic_name};

impl Town {
    /// Makes a topic of `owner` and `members`.
    pub fn create(&mut self, owner: &str, topic: &str, members: &[&str]) {
        let answer = self.try_create(owner, topic, members);
        assert!(matches!(answer, Ok(Answer::Created(_))), "{answer:?}");
    }

    pub fn try_create(&mut self, owner: &str, topic: &str, members: &[&str]) -> Result<Answer, Failure> {
        let members = match members {
            [] => MemberChoice::OnlyMe,
            names => MemberChoice::Only(names.iter().map(|who| name(who)).collect()),
        };
        let request = CreateRequest { members, ..CreateRequest::in_memory(topic_name(topic)) };
        self.ask(owner, |client| client.create(request))
    }

    /// Lets somebody in.
    pub fn grant(&mut self, by: &str, topic: &str, who: &str, role: GrantAs) {
        let answer = self.ask(by, |client| client.grant(&topic_name(topic), vec![name(who)], role));
        assert!(matches!(answer, Ok(Answer::Amended(_))), "{answer:?}");
    }

    /// Puts somebody out.
    pub fn revoke_member(&mut self, by: &str, topic: &str, who: &str) {
        let answer = self.ask(by, |client| client.revoke(&topic_name(topic), vec![name(who)]));
        assert!(matches!(answer, Ok(Answer::Amended(_))), "{answer:?}");
    }

    /// Starts an epoch for the same members.
    pub fn rotate(&mut self, by: &str, topic: &str) {
        let answer = self.ask(by, |client| client.rotate(&topic_name(topic)));
        assert!(matches!(answer, Ok(Answer::Amended(_))), "{answer:?}");
    }

    /// Drops a topic.
    pub fn delete(&mut self, owner: &str, topic: &str) {
        let answer = self.ask(owner, |client| client.delete(&topic_name(topic)));
        assert!(matches!(answer, Ok(Answer::Deleted { .. })), "{answer:?}");
    }

    /// Reads a topic from its beginning.
    pub fn subscribe(&mut self, who: &str, topic: &str) {
        let answer = self.try_subscribe(who, topic, Start::Earliest);
        assert!(matches!(answer, Ok(Answer::Subscribed { .. })), "{answer:?}");
    }

    pub fn try_subscribe(&mut self, who: &str, topic: &str, start: Start) -> Result<Answer, Failure> {
        let filter = TopicFilter::from(&topic_name(topic));
        self.ask(who, |client| client.subscribe(filter, start))
    }

    /// Publishes, and is answered.
    pub fn publish(&mut self, who: &str, topic: &str, content: &[u8]) -> Offset {
        match self.try_publish(who, topic, content) {
            Ok(Answer::Published { offset: Some(offset), .. }) => offset,
            other => panic!("not published but {other:?}"),
        }
    }

    pub fn try_publish(&mut self, who: &str, topic: &str, content: &[u8]) -> Result<Answer, Failure> {
        let topic = topic_name(topic);
        self.ask(who, |client| client.publish(&topic, content).expect("the window is not full"))
    }
}
