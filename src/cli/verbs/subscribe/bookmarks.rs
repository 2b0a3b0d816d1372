//! `sub --resume`: what was printed is noted, and where to go on is said. Without the flag nothing is.

use std::collections::BTreeMap;

use crate::base::Mono;
use crate::base::ids::{Incarnation, Offset};
use crate::base::names::{TopicFilter, TopicName};
use crate::cli::args::Subscribe;
use crate::cli::error::CliError;
use crate::cli::link::Link;
use crate::cli::output::note;
use crate::cli::resume::Places;
use crate::cli::resume::slots::Mark;
use crate::client::{Client, Opened, Stand};

/// The places of this run, if they are kept.
pub struct Bookmarks {
    places: Option<Places>,
    /// The logs that deliver now.
    logs: BTreeMap<TopicName, Incarnation>,
}

impl Bookmarks {
    /// Those of the name that was given.
    pub fn open(sub: &Subscribe, link: &Link) -> Result<Bookmarks, CliError> {
        let places = sub.resume.as_ref().map(|name| Places::open(&link.state, name)).transpose()?;
        Ok(Bookmarks { places, logs: BTreeMap::new() })
    }

    pub fn are_kept(&self) -> bool {
        self.places.is_some()
    }

    /// Has the topics that the filters match go on where they stopped.
    pub fn resume(&self, filters: &[TopicFilter], core: &mut Client) {
        let marks = self.places.iter().flat_map(Places::marks);
        for (topic, mark) in marks.filter(|(topic, _)| filters.iter().any(|f| f.matches(topic))) {
            let known = core.topic_id(topic);
            if known.zip(mark.topic).is_some_and(|(known, then)| known != then) {
                note(&format!("{topic} is another topic of this name than the one that was read"));
            }
            core.resume_at(topic, mark.stand);
        }
    }

    /// A topic is about to be delivered, here.
    pub fn opened(&mut self, opened: &Opened, core: &Client) -> Result<(), CliError> {
        self.logs.insert(opened.topic.clone(), opened.incarnation);
        self.reach(&opened.topic, opened.start, core)
    }

    /// All before `next` was printed and flushed, or told of.
    pub fn reach(&mut self, topic: &TopicName, next: Offset, core: &Client) -> Result<(), CliError> {
        let (Some(places), Some(log)) = (&mut self.places, self.logs.get(topic)) else { return Ok(()) };
        let stand = Stand { incarnation: *log, next };
        places.note(topic, Mark { topic: core.topic_id(topic), stand })
    }

    /// All that came was printed and flushed, or told of: so were those messages that nobody is shown.
    pub fn reach_all(&mut self, core: &Client) -> Result<(), CliError> {
        let Some(places) = &mut self.places else { return Ok(()) };
        for topic in self.logs.keys() {
            if let Some(stand) = core.stand(topic) {
                places.note(topic, Mark { topic: core.topic_id(topic), stand })?;
            }
        }
        Ok(())
    }

    pub fn keep_at(&self) -> Option<Mono> {
        self.places.as_ref()?.keep_at()
    }

    pub fn keep_in_time(&mut self, now: Mono) -> Result<(), CliError> {
        self.places.as_mut().map_or(Ok(()), |places| places.keep_in_time(now))
    }

    pub fn keep(&mut self, now: Mono) -> Result<(), CliError> {
        self.places.as_mut().map_or(Ok(()), |places| places.keep(now))
    }
}
