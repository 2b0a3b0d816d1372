//! What the shell does at each command.

use super::command::{self, Command};
use super::{Asked, Course, Online, Question, Shell};
use crate::base::names::{TopicFilter, TopicName};
use crate::cli::args;
use crate::cli::args::members::{Grant, Policy, Revoke};
use crate::cli::error::CliError;
use crate::cli::membership::Change;
use crate::cli::payload;
use crate::cli::units::Place;
use crate::cli::verbs::create::{self, Plan};
use crate::cli::verbs::readers::{self, NewReaders, Readers};
use crate::cli::verbs::{members, topic};
use crate::client::{KnownClient, Ticket};

impl Shell {
    /// Does what a line says, or begins to. An open question is answered by it.
    pub(super) fn obey(&mut self, text: &str) -> Result<Course, CliError> {
        if let Some(question) = self.question.take() {
            return self.decide(question, text);
        }
        match command::parse(text).map_err(CliError::usage)? {
            Some(command) => self.act(command),
            None => Ok(Course::Done),
        }
    }

    fn act(&mut self, command: Command) -> Result<Course, CliError> {
        let core = self.link.core();
        let (ticket, asked) = match command {
            Command::Create(topic) => return self.create(topic),
            Command::Subscribe { filters, more, from } => return self.subscribe(filters, more, from),
            Command::Publish { words, topic, message } => return self.publish(words, topic, message),
            Command::Unsubscribe { filter, forget } => {
                (core.unsubscribe(filter.clone()), Asked::Unsubscribe { filter, forget })
            }
            Command::Topics(list) => (core.topics(list.filter.clone()), Asked::Topics(list)),
            Command::Members { topic } => (core.members(&topic), Asked::Members),
            Command::Requests(what) => (core.requests(what.filter.clone()), Asked::Requests(what)),
            Command::Grant(grant) => (core.known_clients(), Asked::Grantees(grant)),
            Command::Deny(deny) => {
                members::check_reason(&deny.because)?;
                let ticket = core.deny(&deny.topic, deny.names, &deny.because);
                (ticket, Asked::Amend(Change::Deny, Readers::default()))
            }
            Command::Revoke(Revoke { topic: Some(topic), names, .. }) => {
                (core.revoke(&topic, names), Asked::Amend(Change::Revoke, Readers::default()))
            }
            Command::Revoke(Revoke { everywhere, .. }) => {
                (core.topics(members::all()), Asked::Everywhere(everywhere))
            }
            Command::Rotate { topic } => {
                (core.rotate(&topic), Asked::Amend(Change::Rotate, Readers::default()))
            }
            Command::Policy(Policy { topic, policy }) => {
                let join = policy.into();
                let ticket = core.set_join_policy(&topic, join);
                (ticket, Asked::Amend(Change::Policy(join), Readers::default()))
            }
            Command::Retention(keeping) => (core.topics(exactly(&keeping.topic)), Asked::Keeping(keeping)),
            Command::Delete(delete) if delete.yes => (core.delete(&delete.topic), Asked::Delete),
            Command::Delete(delete) if self.interactive => {
                (core.topics(exactly(&delete.topic)), Asked::DeleteWhat(delete.topic))
            }
            Command::Delete(delete) => return Err(topic::must_be_sure(&delete.topic)),
            Command::Forget { topic } => return self.forget(&topic),
            Command::Ping => (core.ping(), Asked::Ping),
            Command::Stats => (core.stats(), Asked::Stats),
            Command::Whoami => return self.whoami(),
            Command::Help { command } => {
                let text = command::help(command.as_deref()).map_err(CliError::usage)?;
                return self.screen.say(&text).map(|()| Course::Done);
            }
            Command::Exit => {
                self.leave();
                return Ok(Course::Asked);
            }
        };
        self.ask(ticket, asked)
    }

    fn ask(&mut self, ticket: Ticket, asked: Asked) -> Result<Course, CliError> {
        self.asked.insert(ticket, asked);
        Ok(Course::Asked)
    }

    fn subscribe(
        &mut self,
        filters: Vec<TopicFilter>,
        more: Vec<TopicFilter>,
        from: Place,
    ) -> Result<Course, CliError> {
        let start = from.start(self.link.now().wall);
        for filter in filters.into_iter().chain(more) {
            let ticket = self.link.core().subscribe(filter.clone(), start);
            self.asked.insert(ticket, Asked::Subscribe(filter));
        }
        Ok(Course::Asked)
    }

    fn publish(
        &mut self,
        words: Vec<String>,
        topic: Option<TopicName>,
        message: Option<String>,
    ) -> Result<Course, CliError> {
        let (topic, text) = command::publish_parts(words, topic, message).map_err(CliError::usage)?;
        payload::check_length(text.as_bytes(), "the message")?;
        match self.link.core().publish(&topic, text.as_bytes()) {
            Ok(ticket) => self.ask(ticket, Asked::Publish),
            Err(full) => Err(CliError::other(full.to_string()).remedy("wait until some are answered")),
        }
    }

    fn create(&mut self, topic: args::NewTopic) -> Result<Course, CliError> {
        if topic.only_me {
            let plan = self.plan(&topic, Vec::new())?;
            return self.make(plan);
        }
        let ticket = self.link.core().known_clients();
        self.ask(ticket, Asked::Readers(Box::new(topic)))
    }

    /// Whom a new topic would be for.
    pub(super) fn plan(&self, topic: &args::NewTopic, clients: Vec<KnownClient>) -> Result<Plan, CliError> {
        let link = &self.link;
        let recovery = create::recovery_keys(topic, link.trust(), link.now().wall)?;
        let new_readers = NewReaders::choose(topic.trust_new, self.interactive);
        Plan::new(topic, clients, recovery, link.fingerprint, link.pins(), new_readers)
    }

    pub(super) fn make(&mut self, plan: Plan) -> Result<Course, CliError> {
        let ticket = self.link.core().create(plan.request());
        self.ask(ticket, Asked::Create(Box::new(plan)))
    }

    pub(super) fn let_in(&mut self, grant: &Grant, plan: Readers) -> Result<Course, CliError> {
        let ticket = self.link.core().grant(&grant.topic, grant.names.clone(), members::role(grant));
        self.ask(ticket, Asked::Amend(Change::Grant, plan))
    }

    /// The person has answered.
    fn decide(&mut self, question: Question, answer: &str) -> Result<Course, CliError> {
        self.set_prompt();
        match question {
            Question::Create(plan) if readers::is_yes(answer) => return self.make(plan),
            Question::Create(plan) => {
                self.screen.remark(&format!("{} was not made", plan.request().name))?;
            }
            Question::Grant(grant, plan) if readers::is_yes(answer) => return self.let_in(&grant, plan),
            Question::Grant(grant, _) => {
                self.screen.remark(&format!("nobody was let into {}", grant.topic))?;
            }
            Question::Delete(topic) => {
                topic::check_typed(&topic, answer)?;
                let ticket = self.link.core().delete(&topic);
                return self.ask(ticket, Asked::Delete);
            }
        }
        Ok(Course::Done)
    }

    fn forget(&mut self, topic: &TopicName) -> Result<Course, CliError> {
        let line = topic::forgotten(&self.link, topic);
        self.link.core().forget(topic);
        self.screen.remark(&line).map(|()| Course::Done)
    }

    fn whoami(&mut self) -> Result<Course, CliError> {
        let link = &self.link;
        let connection = match &self.online {
            Online::Yes { broker } => format!("connected to {broker}"),
            Online::Not { .. } | Online::Over => "not connected".to_owned(),
        };
        let filters = self.vocabulary.filters();
        let filters = if filters.is_empty() { "nothing".to_owned() } else { filters.join(" ") };
        let text = format!(
            "{} {}\n{connection} at {}:{}\nsubscribed to {filters}",
            link.name, link.fingerprint, link.address.host, link.address.port
        );
        self.screen.say(&text).map(|()| Course::Done)
    }
}

/// The filter for one topic.
fn exactly(topic: &TopicName) -> TopicFilter {
    TopicFilter::parse(topic.as_str()).expect("a topic's name is a filter for it alone")
}
