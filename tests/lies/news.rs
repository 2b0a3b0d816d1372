//! What somebody was told, sorted, for tests to look at.

use sealmq::base::names::Name;
use sealmq::client::{Event, Integrity, IntegrityFault, Message, Notice};

/// What somebody was told, sorted.
#[derive(Debug, Default)]
pub struct News {
    pub messages: Vec<Message>,
    pub faults: Vec<Integrity>,
    pub notices: Vec<Notice>,
    /// Why sessions ended.
    pub ends: Vec<String>,
    pub others: Vec<Event>,
}

impl News {
    pub fn of(events: Vec<Event>) -> News {
        let mut news = News::default();
        for event in events {
            match event {
                Event::Message(message) => news.messages.push(message),
                Event::Integrity(integrity) => news.faults.push(integrity),
                Event::Notice(notice) => news.notices.push(notice),
                Event::Disconnected { reason, .. } => news.ends.push(reason.to_string()),
                other => news.others.push(other),
            }
        }
        news
    }

    /// Messages that were shown, as sender and content.
    pub fn heard(&self) -> Vec<(&str, &str)> {
        let text = |bytes| std::str::from_utf8(bytes).expect("people write text");
        self.messages.iter().map(|m| (m.sender.as_str(), text(&m.content))).collect()
    }

    /// The one thing that did not verify: in this topic, said to be this sender's, which
    /// did not end the topic.
    pub fn fault(&self, topic: &str, sender: Option<&str>) -> &IntegrityFault {
        self.only(topic, sender, false)
    }

    /// The one thing that did not verify, for which this topic was given up.
    pub fn end_of(&self, topic: &str) -> &IntegrityFault {
        self.only(topic, None, true)
    }

    fn only(&self, topic: &str, sender: Option<&str>, stopped: bool) -> &IntegrityFault {
        let [one] = &self.faults[..] else { panic!("not one fault but {:?}", self.faults) };
        let found = (one.topic.as_str(), one.sender.as_ref().map(Name::as_str), one.stopped);
        assert_eq!(found, (topic, sender, stopped), "{one:?}");
        &one.fault
    }

    /// Nothing was wrong, and this was shown.
    pub fn all_well(&self, heard: &[(&str, &str)]) {
        assert_eq!((self.faults.as_slice(), self.heard().as_slice()), (&[][..], heard));
    }
}
