//! What an owner does to a whole topic, `retention` and `delete`; and `forget`, which only this computer sees.

use super::members::topics;
use super::readers;
use crate::base::names::{TopicFilter, TopicName};
use crate::cli::access::Base;
use crate::cli::args::members::{Delete, Keeping};
use crate::cli::args::{Access, To};
use crate::cli::error::CliError;
use crate::cli::link::Link;
use crate::cli::output::Output;
use crate::cli::units::{show_bytes, show_duration};
use crate::client::{Answer, Failure};
use crate::wire::values::{Retention, TopicEntry};

pub fn retention(base: &Base, to: &To<Keeping>) -> Result<(), CliError> {
    let (mut link, _) = Link::open(base, &to.link.access, to.link.patience.wait)?;
    let entry = entry(&mut link, &to.what.topic)?;
    let mut retention = entry.retention;
    if !to.what.keep.is_empty() {
        let ticket = link.core().set_retention(&entry.name, to.what.keep.over(retention));
        retention = link.ask(ticket, |answer| match answer {
            Answer::RetentionSet { retention, .. } => Some(retention),
            _ => None,
        })?;
    }
    say(&kept(&entry.name, retention))?;
    link.leave();
    Ok(())
}

pub fn delete(base: &Base, to: &To<Delete>) -> Result<(), CliError> {
    let Delete { topic, yes } = &to.what;
    let (mut link, _) = Link::open(base, &to.link.access, to.link.patience.wait)?;
    if !yes {
        if !readers::can_ask() {
            return Err(must_be_sure(topic));
        }
        let entry = entry(&mut link, topic)?;
        let typed = readers::ask(&format!("{}\n{}", about(&entry), question(topic)))?;
        check_typed(topic, &typed)?;
    }
    let ticket = link.core().delete(topic);
    let deleted = link.ask(ticket, |answer| match answer {
        Answer::Deleted { topic } => Some(topic),
        _ => None,
    })?;
    say(&format!("deleted {deleted}"))?;
    link.leave();
    Ok(())
}

/// Needs no broker: it is all on this computer.
pub fn forget(base: &Base, topic: &TopicName, access: &Access) -> Result<(), CliError> {
    let mut link = Link::prepare(base, access)?;
    let line = forgotten(&link, topic);
    link.core().forget(topic);
    say(&line)
}

/// What is said when a topic is about to be forgotten.
pub fn forgotten(link: &Link, topic: &TopicName) -> String {
    match link.pins().topics.get(topic) {
        Some(pin) => format!("forgot {topic}, a topic of {}", pin.owner_name),
        None => format!("nothing was known of {topic}"),
    }
}

/// What the broker says of one topic.
pub fn entry(link: &mut Link, topic: &TopicName) -> Result<TopicEntry, CliError> {
    let filter = TopicFilter::parse(topic.as_str()).expect("a topic's name is a filter for it alone");
    let found = topics(link, &filter)?.into_iter().find(|entry| entry.name == *topic);
    found.ok_or_else(|| Failure::NoSuchTopic(topic.clone()).into())
}

/// What would be gone.
pub fn about(entry: &TopicEntry) -> String {
    let messages = if entry.messages == 1 { "message" } else { "messages" };
    let members = if entry.members == 1 { "member" } else { "members" };
    format!(
        "{} has {} {messages} and {} {members}; nothing of it can be brought back.",
        entry.name, entry.messages, entry.members
    )
}

pub fn question(topic: &TopicName) -> String {
    format!("Type {topic} to delete it:")
}

/// Holds the name that was typed against the topic's.
pub fn check_typed(topic: &TopicName, typed: &str) -> Result<(), CliError> {
    if typed.trim() == topic.as_str() {
        return Ok(());
    }
    Err(CliError::other(format!("{topic} was not deleted: that was not its name")))
}

/// Nobody can be asked for the name again.
pub fn must_be_sure(topic: &TopicName) -> CliError {
    CliError::usage(format!("{topic} was not deleted: nobody can be asked whether that is meant"))
        .remedy("--yes says that it is")
}

/// How much of a topic is kept.
pub fn kept(topic: &TopicName, retention: Retention) -> String {
    let mut limits = Vec::new();
    if retention.count > 0 {
        limits.push(format!("{} messages", retention.count));
    }
    if retention.bytes > 0 {
        limits.push(show_bytes(retention.bytes));
    }
    if retention.age_ms > 0 {
        limits.push(show_duration(std::time::Duration::from_millis(retention.age_ms)));
    }
    match limits.split_last() {
        None => format!("{topic} keeps everything"),
        Some((only, [])) => format!("{topic} keeps {only}"),
        Some((last, first)) => format!("{topic} keeps {} or {last}, whichever is less", first.join(", ")),
    }
}

fn say(line: &str) -> Result<(), CliError> {
    let mut output = Output::new();
    output.line(line)?;
    output.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn topic() -> TopicName {
        TopicName::parse("home/door").expect("a good name")
    }

    #[test]
    fn what_is_kept_is_said_in_words() {
        let kept = |count, bytes, age_ms| super::kept(&topic(), Retention { count, bytes, age_ms });
        assert_eq!(kept(0, 0, 0), "home/door keeps everything");
        assert_eq!(kept(7, 0, 0), "home/door keeps 7 messages");
        assert_eq!(kept(7, 1 << 20, 7_200_000), "home/door keeps 7 messages, 1 MiB or 2h, whichever is less");
    }

    #[test]
    fn only_the_name_itself_deletes() {
        assert!(check_typed(&topic(), "home/door\n").is_ok());
        for typed in ["", "y", "home", "home/Door"] {
            assert!(check_typed(&topic(), typed).is_err(), "{typed}");
        }
    }
}
