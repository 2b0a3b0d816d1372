//! What the shell hears of topics' members: answers to `grant`, `requests`, `delete` and their like, and to
//! asking to join.

use super::{Asked, Question, Shell};
use crate::base::names::{TopicFilter, TopicName};
use crate::cli::args::members::{Grant, Keeping};
use crate::cli::error::CliError;
use crate::cli::membership::{self, Change};
use crate::cli::verbs::readers::Readers;
use crate::cli::verbs::{members, requests, topic};
use crate::client::{Amended, Answer, Failure, KnownClient};
use crate::wire::values::TopicEntry;

impl Shell {
    pub(super) fn membership_answered(&mut self, asked: Asked, answer: Answer) -> Result<(), CliError> {
        match (asked, answer) {
            (Asked::Join(topic), Answer::Asked(asked)) => {
                self.vocabulary.add_filter(topic.as_str());
                if !self.interactive {
                    return Err(membership::asked_error(&asked, self.session_began));
                }
                let text = membership::asked(&asked, self.session_began);
                self.screen.remark(&format!("{text}; its messages come once you are let in"))
            }
            (Asked::Requests(what), Answer::Requests(found)) => {
                found.iter().for_each(|request| self.vocabulary.add_client(request.name.as_str()));
                self.say_lines(&requests::lines(&what, &found), "nobody asks to join")
            }
            (Asked::Grantees(grant), Answer::Clients(clients)) => self.grantees(grant, clients),
            (Asked::Amend(change, plan), Answer::Amended(amended)) => self.amended(change, &plan, &amended),
            (Asked::Everywhere(names), Answer::Topics(topics)) => {
                let topics = members::changeable(&topics);
                if topics.is_empty() {
                    return self.screen.remark(&members::nowhere(&names, 0));
                }
                self.removed = 0;
                let count = topics.len();
                for (index, topic) in topics.iter().enumerate() {
                    let ticket = self.link.core().revoke(topic, names.clone());
                    let is_last = index + 1 == count;
                    self.asked
                        .insert(ticket, Asked::OneOfAll { names: names.clone(), topics: count, is_last });
                }
                Ok(())
            }
            (Asked::OneOfAll { names, topics, is_last }, Answer::Amended(amended)) => {
                if !amended.removed.is_empty() {
                    self.removed += 1;
                    let amended = Amended { unchanged: Vec::new(), ..amended };
                    return self.say_lines(&membership::amended(Change::Revoke, &amended), "");
                }
                match is_last && self.removed == 0 {
                    true => self.screen.remark(&members::nowhere(&names, topics)),
                    false => Ok(()),
                }
            }
            (Asked::Keeping(keeping), Answer::Topics(topics)) => self.keeping(&keeping, &topics),
            (Asked::Kept, Answer::RetentionSet { topic, retention }) => {
                self.screen.say(&topic::kept(&topic, retention))
            }
            (Asked::DeleteWhat(name), Answer::Topics(topics)) => {
                let entry = one(&name, &topics)?;
                let about = vec![topic::about(entry)];
                self.put(Question::Delete(name.clone()), &about, &topic::question(&name))
            }
            (Asked::Delete, Answer::Deleted { topic }) => {
                self.vocabulary.remove_topic(topic.as_str());
                self.screen.remark(&format!("deleted {topic}"))
            }
            (_, other) => unreachable!("the core answers a ticket with its request's answer, not {other:?}"),
        }
    }

    /// A request that failed.
    pub(super) fn refused(&mut self, asked: Asked, failure: Failure) -> Result<(), CliError> {
        match (asked, failure) {
            // It was granted meanwhile: it opens by itself.
            (Asked::Join(topic), Failure::AlreadyMember(_)) => {
                self.vocabulary.add_filter(topic.as_str());
                Ok(())
            }
            (Asked::Join(topic), failure) => {
                let filter =
                    TopicFilter::parse(topic.as_str()).expect("a topic's name is a filter for it alone");
                self.link.core().unsubscribe(filter);
                Err(failure.into())
            }
            (_, failure) => Err(failure.into()),
        }
    }

    /// Shows what it is about, and waits for the person's word.
    pub(super) fn put(&mut self, question: Question, lines: &[String], text: &str) -> Result<(), CliError> {
        for line in lines {
            self.screen.say(&format!("  {line}"))?;
        }
        self.screen.say(text)?;
        self.question = Some(question);
        self.set_prompt();
        Ok(())
    }

    pub(super) fn unsubscribed(&mut self, filter: &TopicFilter, forget: bool) -> Result<(), CliError> {
        self.vocabulary.remove_filter(filter.as_str());
        self.screen.remark(&format!("no longer subscribed to {filter}"))?;
        if !forget {
            return Ok(());
        }
        let known: Vec<TopicName> =
            self.link.pins().topics.keys().filter(|topic| filter.matches(topic)).cloned().collect();
        for name in known {
            self.screen.remark(&topic::forgotten(&self.link, &name))?;
            self.link.core().forget(&name);
        }
        Ok(())
    }

    fn grantees(&mut self, grant: Grant, clients: Vec<KnownClient>) -> Result<(), CliError> {
        self.vocabulary.set_clients(clients.iter().map(|c| c.name.to_string()));
        let plan = members::grantees(&grant, clients, &self.link, self.interactive)?;
        if plan.are_new() && !grant.trust_new {
            let (lines, text) = (plan.lines(), members::question(&grant.topic));
            return self.put(Question::Grant(grant, plan), &lines, &text);
        }
        self.let_in(&grant, plan).map(drop)
    }

    fn amended(&mut self, change: Change, plan: &Readers, amended: &Amended) -> Result<(), CliError> {
        if change == Change::Grant {
            members::check_granted(plan, amended)?;
        }
        self.say_lines(&membership::amended(change, amended), "")
    }

    fn keeping(&mut self, keeping: &Keeping, topics: &[TopicEntry]) -> Result<(), CliError> {
        let entry = one(&keeping.topic, topics)?;
        if keeping.keep.is_empty() {
            return self.screen.say(&topic::kept(&entry.name, entry.retention));
        }
        let ticket = self.link.core().set_retention(&entry.name, keeping.keep.over(entry.retention));
        self.asked.insert(ticket, Asked::Kept);
        Ok(())
    }
}

fn one<'a>(name: &TopicName, topics: &'a [TopicEntry]) -> Result<&'a TopicEntry, CliError> {
    let found = topics.iter().find(|entry| entry.name == *name);
    found.ok_or_else(|| Failure::NoSuchTopic(name.clone()).into())
}
