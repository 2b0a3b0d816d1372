//! What the shell does at each command.

use super::command::{self, Command};
use super::{Asked, Course, Online, Shell};
use crate::base::names::{TopicFilter, TopicName};
use crate::cli::args;
use crate::cli::error::CliError;
use crate::cli::payload;
use crate::cli::units::Place;
use crate::cli::verbs::create::{self, NewReaders, Plan};
use crate::client::Ticket;

impl Shell {
    /// Does what a line says, or begins to. An open question is answered by it.
    pub(super) fn obey(&mut self, text: &str) -> Result<Course, CliError> {
        if let Some(plan) = self.question.take() {
            return self.decide(plan, text);
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
            Command::Unsubscribe { filter } => (core.unsubscribe(filter.clone()), Asked::Unsubscribe(filter)),
            Command::Topics(list) => (core.topics(list.filter.clone()), Asked::Topics(list)),
            Command::Members { topic } => (core.members(&topic), Asked::Members),
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
            let plan =
                Plan::new(&topic, Vec::new(), self.link.fingerprint, self.link.pins(), NewReaders::Include)?;
            return self.make(plan);
        }
        let ticket = self.link.core().known_clients();
        self.ask(ticket, Asked::Readers(Box::new(topic)))
    }

    pub(super) fn make(&mut self, plan: Plan) -> Result<Course, CliError> {
        let ticket = self.link.core().create(plan.request());
        self.ask(ticket, Asked::Create(Box::new(plan)))
    }

    /// The person has answered whether somebody new may read the topic.
    fn decide(&mut self, plan: Plan, answer: &str) -> Result<Course, CliError> {
        self.set_prompt();
        if create::is_yes(answer) {
            return self.make(plan);
        }
        self.screen.remark(&format!("{} was not made", plan.request().name))?;
        Ok(Course::Done)
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
