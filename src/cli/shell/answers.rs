//! What the shell hears: messages, answers, and news of the connection.

use std::time::Duration;

use super::screen::message_line;
use super::{Asked, Leaving, Online, Question, Shell};
use crate::base::Mono;
use crate::base::names::TopicFilter;
use crate::cli::error::{CliError, Exit};
use crate::cli::output::printable;
use crate::cli::tidings;
use crate::cli::verbs::create::{Plan, QUESTION};
use crate::cli::verbs::list::{member_lines, stat_lines, topic_lines};
use crate::client::{Answer, Created, Disconnect, Event, Failure, Ticket};
use crate::wire::values::TopicEntry;

impl Shell {
    pub(super) fn hear(&mut self, event: Event) -> Result<(), CliError> {
        if let Event::Requested(request) = &event {
            self.vocabulary.add_client(request.name.as_str());
        }
        if let Some(line) = self.news.line(&event, self.link.now().mono, "") {
            return self.screen.remark(&printable(&line));
        }
        match event {
            Event::Message(message) => {
                let line = message_line(&message, self.link.now().wall, self.screen.colours());
                self.screen.say(&line)?;
            }
            Event::Answer { ticket, result } => self.answer(ticket, result)?,
            Event::Opened(opened) => {
                self.vocabulary.add_topic(opened.topic.as_str());
                if let Some(line) = tidings::start(&opened) {
                    self.screen.remark(&line)?;
                }
                self.behind.push(opened.topic);
            }
            Event::CaughtUp { topic, .. } => self.behind.retain(|open| *open != topic),
            Event::Gap { topic, from, to } => self.screen.remark(&tidings::gap(&topic, from, to))?,
            Event::Ended { topic, code } => {
                self.behind.retain(|open| *open != topic);
                let at = self.link.core().ended_at(&topic);
                self.screen.remark(&tidings::ended(&topic, code, at))?;
            }
            Event::Integrity(fault) if !fault.fault.accuses() => {
                if self.unreadable.insert(fault.topic.clone()) {
                    self.screen.remark(&tidings::unreadable(&fault.topic))?;
                }
            }
            Event::Integrity(fault) => {
                if fault.stopped {
                    self.behind.retain(|open| *open != fault.topic);
                }
                self.screen.complain(&printable(&tidings::unbelieved(&fault)))?;
                self.failure = Some(CliError::new(Exit::Integrity, tidings::unbelieved(&fault)));
            }
            Event::Connected(connected) => {
                self.session_began = connected.time;
                self.screen.remark(&tidings::back(&connected))?;
                self.online = Online::Yes { broker: connected.broker.to_string() };
                self.news();
                self.ask_for_words();
            }
            Event::Disconnected { reason, retry_at, .. } => self.offline(reason, retry_at)?,
            Event::Closed => self.leaving = Leaving::Left,
            Event::Notice(notice) => self.screen.remark(&printable(&notice.to_string()))?,
            Event::CrlUpdated { .. } | Event::Requested(_) | Event::RotateDue { .. } => {}
        }
        self.say_goodbye();
        Ok(())
    }

    fn offline(&mut self, reason: Disconnect, retry_at: Option<Mono>) -> Result<(), CliError> {
        let now = self.link.now().mono;
        let (said_before, since) = match &self.online {
            Online::Not { said, since } => (said.clone(), *since),
            Online::Yes { .. } | Online::Over => (None, Some(now)),
        };
        // A script has nobody to wait for: a broker that it never reached, or not again, ends it.
        let patience_ends = since.is_none_or(|since| now >= since + SCRIPT_PATIENCE);
        if !self.interactive && patience_ends {
            return Err(reason.into());
        }
        let text = reason.to_string();
        if said_before.as_ref() != Some(&text) {
            self.screen.remark(&printable(&tidings::away(&reason, retry_at, now)))?;
        }
        self.online = Online::Not { said: Some(text), since };
        self.news();
        if let Leaving::SaidGoodbye { .. } = self.leaving {
            self.leaving = Leaving::Left;
        }
        Ok(())
    }

    /// The connection came or went. The first prompt waits for that.
    fn news(&mut self) {
        self.set_prompt();
        if self.line == Some(0) {
            self.line_done();
        }
    }

    fn answer(&mut self, ticket: Ticket, result: Result<Answer, Failure>) -> Result<(), CliError> {
        let Some(asked) = self.asked.remove(&ticket) else { return Ok(()) };
        let quiet = matches!(asked, Asked::Words);
        let heard = match result {
            Ok(answer) => self.answered(asked, answer),
            Err(_) if quiet => Ok(()),
            Err(failure) => self.refused(asked, failure),
        };
        match heard {
            Ok(()) if quiet => Ok(()),
            Ok(()) => {
                self.line_done();
                Ok(())
            }
            Err(error) if error.exit() == Exit::Done => Err(error),
            Err(error) => self.failed(error),
        }
    }

    fn answered(&mut self, asked: Asked, answer: Answer) -> Result<(), CliError> {
        match (asked, answer) {
            (Asked::Readers(topic), Answer::Clients(clients)) => {
                self.vocabulary.set_clients(clients.iter().map(|c| c.name.to_string()));
                let plan = self.plan(&topic, clients)?;
                let must_ask = plan.must_ask(&topic);
                self.propose(plan, must_ask)
            }
            (Asked::Create(plan), Answer::Created(created)) => self.created(&plan, &created),
            (Asked::Subscribe(filter), Answer::Subscribed { matched, others, .. }) => {
                self.subscribed(&filter, matched, others)
            }
            (Asked::Unsubscribe { filter, forget }, _) => self.unsubscribed(&filter, forget),
            (Asked::Publish, Answer::Published { topic, offset, .. }) => {
                let place = offset.map_or("stored before".to_owned(), |offset| format!("offset {offset}"));
                self.screen.remark(&format!("published to {topic}, {place}"))
            }
            (Asked::Topics(list), Answer::Topics(topics)) => {
                self.learn(&topics);
                let lines = topic_lines(&list, &topics, self.link.now().wall);
                let hidden = topics.iter().filter(|t| t.role.is_none() && !list.all).count();
                self.say_lines(&lines, "no topics")?;
                if hidden > 0 {
                    self.screen.remark(&format!("{hidden} more of which you are no member: topics --all"))?;
                }
                Ok(())
            }
            (Asked::Members, Answer::Members(members)) => self.say_lines(&member_lines(&members), "nobody"),
            (Asked::Stats, Answer::Stats(stats)) => self.say_lines(&stat_lines(&stats), "no counters"),
            (Asked::Ping, Answer::Pong { round_trip }) => {
                self.screen.say(&format!("the broker answered in {}", tidings::took(round_trip)))
            }
            (asked, answer @ (Answer::Asked(_) | Answer::Requests(_) | Answer::Amended(_))) => {
                self.membership_answered(asked, answer)
            }
            (asked @ (Asked::Grantees(_) | Asked::Everywhere(_) | Asked::Keeping(_)), answer) => {
                self.membership_answered(asked, answer)
            }
            (asked @ (Asked::Kept | Asked::DeleteWhat(_) | Asked::Delete), answer) => {
                self.membership_answered(asked, answer)
            }
            (Asked::Words, Answer::Topics(topics)) => {
                self.learn(&topics);
                Ok(())
            }
            (Asked::Words, Answer::Clients(clients)) => {
                self.vocabulary.set_clients(clients.iter().map(|c| c.name.to_string()));
                Ok(())
            }
            (_, other) => unreachable!("the core answers a ticket with its request's answer, not {other:?}"),
        }
    }

    fn propose(&mut self, plan: Plan, must_ask: bool) -> Result<(), CliError> {
        for remark in &plan.readers.remarks {
            self.screen.remark(&printable(remark))?;
        }
        if must_ask {
            self.screen.say("It will be readable by you and:")?;
            let lines = plan.lines();
            return self.put(Question::Create(plan), &lines, QUESTION);
        }
        self.make(plan).map(drop)
    }

    fn created(&mut self, plan: &Plan, created: &Created) -> Result<(), CliError> {
        plan.check(created)?;
        self.vocabulary.add_topic(created.topic.as_str());
        self.say_lines(&plan.report(created), "")
    }

    fn subscribed(&mut self, filter: &TopicFilter, matched: u32, others: u32) -> Result<(), CliError> {
        match filter.exact() {
            Some(topic) if matched == 0 && others > 0 => {
                let ticket = self.link.core().join(&topic);
                self.asked.insert(ticket, Asked::Join(topic));
                return Ok(());
            }
            Some(topic) if matched == 0 && !self.interactive => {
                return Err(Failure::NoSuchTopic(topic).into());
            }
            _ => {}
        }
        self.vocabulary.add_filter(filter.as_str());
        let text = match matched {
            0 => tidings::unmatched(filter, others),
            1 => format!("subscribed to {filter}"),
            n => format!("subscribed to {filter}, {n} topics now"),
        };
        self.screen.remark(&text)?;
        match others {
            0 => Ok(()),
            _ if matched == 0 => Ok(()),
            n => self.screen.remark(&tidings::not_yours(filter, n)),
        }
    }

    pub(super) fn say_lines(&mut self, lines: &[String], none: &str) -> Result<(), CliError> {
        if lines.is_empty() && self.interactive {
            return self.screen.remark(none);
        }
        lines.iter().try_for_each(|line| self.screen.say(line))
    }

    fn learn(&mut self, topics: &[TopicEntry]) {
        let mine = topics.iter().filter(|t| t.role.is_some());
        self.vocabulary.set_topics(mine.map(|t| t.name.to_string()));
    }

    /// Topics and names for completion.
    fn ask_for_words(&mut self) {
        if !self.interactive {
            return;
        }
        let all = TopicFilter::parse("#").expect("the filter that matches all");
        let tickets = [self.link.core().topics(all), self.link.core().known_clients()];
        self.asked.extend(tickets.map(|ticket| (ticket, Asked::Words)));
    }
}

/// How long a script waits for a broker that was there.
const SCRIPT_PATIENCE: Duration = Duration::from_secs(30);
