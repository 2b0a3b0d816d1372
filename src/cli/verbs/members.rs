//! Verbs that change who is a member: `grant`, `deny`, `revoke`, `rotate`, `policy`.

use super::readers::{self, NewReaders, Readers};
use crate::base::limits::DENIAL_BYTES_MAX;
use crate::base::names::{Name, TopicFilter, TopicName};
use crate::cli::access::Base;
use crate::cli::args::members::{Deny, Grant, Policy, Revoke};
use crate::cli::args::{OneTopic, To};
use crate::cli::error::{CliError, Exit};
use crate::cli::link::Link;
use crate::cli::membership::{self, Change};
use crate::cli::output::{Output, note};
use crate::client::{Amended, Answer, GrantAs, KnownClient, MemberRole, Ticket};
use crate::wire::values::TopicEntry;

pub fn grant(base: &Base, to: &To<Grant>) -> Result<(), CliError> {
    let grant = &to.what;
    let (mut link, _) = Link::open(base, &to.link.access, to.link.patience.wait)?;
    let clients = readers::known_clients(&mut link)?;
    let plan = grantees(grant, clients, &link, readers::can_ask())?;
    if plan.are_new() && !grant.trust_new && !confirmed(grant, &plan)? {
        return Err(CliError::other(format!("nobody was let into {}", grant.topic))
            .remedy("compare fingerprints with `sealmq fingerprint` over there"));
    }
    let ticket = link.core().grant(&grant.topic, grant.names.clone(), role(grant));
    let amended = answer(&mut link, ticket)?;
    check_granted(&plan, &amended)?;
    finish(link, &membership::amended(Change::Grant, &amended))
}

/// Those who are about to be let in. Whoever is not known, or not good, is an error; oneself is not.
pub fn grantees(
    grant: &Grant,
    clients: Vec<KnownClient>,
    link: &Link,
    can_ask: bool,
) -> Result<Readers, CliError> {
    let others: Vec<Name> = grant.names.iter().filter(|name| **name != link.name).cloned().collect();
    if others.is_empty() {
        return Ok(Readers::default());
    }
    Readers::choose(
        &others,
        clients,
        link.fingerprint,
        link.pins(),
        NewReaders::choose(grant.trust_new, can_ask),
    )
}

pub fn role(grant: &Grant) -> GrantAs {
    if grant.admin { GrantAs::Admin } else { GrantAs::Member }
}

/// Holds those who were let in against those who were shown.
pub fn check_granted(plan: &Readers, amended: &Amended) -> Result<(), CliError> {
    amended.added.iter().filter(|m| !m.me).try_for_each(|member| plan.check(&amended.topic, member))
}

/// What is asked, below the list of those who are new.
pub fn question(topic: &TopicName) -> String {
    format!("Some have never been seen on this computer. Let them into {topic}? [y/N]")
}

fn confirmed(grant: &Grant, plan: &Readers) -> Result<bool, CliError> {
    let lines = plan.lines().join("\n  ");
    let answer =
        readers::ask(&format!("These will read {}:\n  {lines}\n{}", grant.topic, question(&grant.topic)))?;
    Ok(readers::is_yes(&answer))
}

pub fn deny(base: &Base, to: &To<Deny>) -> Result<(), CliError> {
    let (mut link, _) = Link::open(base, &to.link.access, to.link.patience.wait)?;
    let Deny { topic, names, because } = &to.what;
    check_reason(because)?;
    let ticket = link.core().deny(topic, names.clone(), because);
    let amended = answer(&mut link, ticket)?;
    finish(link, &membership::amended(Change::Deny, &amended))
}

/// A reason that a record can hold.
pub fn check_reason(because: &str) -> Result<(), CliError> {
    if because.len() > DENIAL_BYTES_MAX || because.chars().any(char::is_control) {
        return Err(CliError::usage(format!(
            "--because takes one line of at most {DENIAL_BYTES_MAX} bytes, this one has {}",
            because.len()
        )));
    }
    Ok(())
}

pub fn revoke(base: &Base, to: &To<Revoke>) -> Result<(), CliError> {
    let (mut link, _) = Link::open(base, &to.link.access, to.link.patience.wait)?;
    let Revoke { topic, names, everywhere } = &to.what;
    let Some(topic) = topic else { return revoke_everywhere(link, everywhere) };
    let ticket = link.core().revoke(topic, names.clone());
    let amended = answer(&mut link, ticket)?;
    finish(link, &membership::amended(Change::Revoke, &amended))
}

/// In all topics, going on after a failure; the worst one is what it ends with.
fn revoke_everywhere(mut link: Link, names: &[Name]) -> Result<(), CliError> {
    let topics = changeable(&topics(&mut link, &all())?);
    let mut output = Output::new();
    let mut worst: Option<CliError> = None;
    let mut removed = 0;
    for topic in &topics {
        let ticket = link.core().revoke(topic, names.to_vec());
        match answer(&mut link, ticket) {
            Ok(amended) if amended.removed.is_empty() => {}
            Ok(amended) => {
                removed += 1;
                for line in membership::amended(Change::Revoke, &Amended { unchanged: Vec::new(), ..amended })
                {
                    output.line(&line)?;
                }
            }
            Err(error) => {
                note(&format!("{topic}: {error}"));
                worst = Some(worse(worst, error));
            }
        }
    }
    output.flush()?;
    match worst {
        Some(error) => Err(CliError::new(error.exit(), "not everything was done, see above")),
        None => {
            if removed == 0 {
                note(&nowhere(names, topics.len()));
            }
            link.leave();
            Ok(())
        }
    }
}

/// Nobody had to be removed.
pub fn nowhere(names: &[Name], topics: usize) -> String {
    let names: Vec<&str> = names.iter().map(Name::as_str).collect();
    let (who, is) = (names.join(" and "), if names.len() == 1 { "is" } else { "are" });
    match topics {
        0 => "there is no topic of which you are owner or admin".to_owned(),
        1 => format!("{who} {is} no member of the one topic that you may change"),
        n => format!("{who} {is} no member of any of the {n} topics that you may change"),
    }
}

/// Of two failures the one that should be heard of first.
pub fn worse(one: Option<CliError>, other: CliError) -> CliError {
    let rank = |error: &CliError| match error.exit() {
        Exit::Disk => 8,
        Exit::Integrity => 7,
        Exit::Refused => 6,
        Exit::Unreachable => 5,
        Exit::TimedOut => 4,
        Exit::Denied => 3,
        Exit::NoKey => 2,
        Exit::Other | Exit::Usage => 1,
        Exit::Done => 0,
    };
    match one {
        Some(one) if rank(&one) >= rank(&other) => one,
        _ => other,
    }
}

pub fn rotate(base: &Base, to: &To<OneTopic>) -> Result<(), CliError> {
    let (mut link, _) = Link::open(base, &to.link.access, to.link.patience.wait)?;
    let ticket = link.core().rotate(&to.what.topic);
    let amended = answer(&mut link, ticket)?;
    finish(link, &membership::amended(Change::Rotate, &amended))
}

pub fn policy(base: &Base, to: &To<Policy>) -> Result<(), CliError> {
    let (mut link, _) = Link::open(base, &to.link.access, to.link.patience.wait)?;
    let join = to.what.policy.into();
    let ticket = link.core().set_join_policy(&to.what.topic, join);
    let amended = answer(&mut link, ticket)?;
    finish(link, &membership::amended(Change::Policy(join), &amended))
}

fn answer(link: &mut Link, ticket: Ticket) -> Result<Amended, CliError> {
    link.ask(ticket, |answer| match answer {
        Answer::Amended(amended) => Some(amended),
        _ => None,
    })
}

/// The broker's list of topics.
pub fn topics(link: &mut Link, filter: &TopicFilter) -> Result<Vec<TopicEntry>, CliError> {
    let ticket = link.core().topics(filter.clone());
    link.ask(ticket, |answer| match answer {
        Answer::Topics(topics) => Some(topics),
        _ => None,
    })
}

/// Those of which we are owner or admin.
pub fn changeable(topics: &[TopicEntry]) -> Vec<TopicName> {
    let mine = topics.iter().filter(|t| matches!(t.role, Some(MemberRole::Owner | MemberRole::Admin)));
    mine.map(|topic| topic.name.clone()).collect()
}

/// The filter that matches every topic.
pub fn all() -> TopicFilter {
    TopicFilter::parse("#").expect("the filter that matches all")
}

fn finish(link: Link, lines: &[String]) -> Result<(), CliError> {
    let mut output = Output::new();
    lines.iter().try_for_each(|line| output.line(line))?;
    output.flush()?;
    link.leave();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_failure_is_kept() {
        let error = |exit| CliError::new(exit, "");
        let worst = [Exit::Other, Exit::Denied, Exit::Integrity, Exit::Unreachable]
            .into_iter()
            .fold(None, |worst, exit| Some(worse(worst, error(exit))));
        assert_eq!(worst.map(|e| e.exit()), Some(Exit::Integrity));
    }

    #[test]
    fn a_reason_is_one_line_that_a_record_can_hold() {
        assert!(check_reason("").is_ok() && check_reason(&"x".repeat(256)).is_ok());
        assert!(check_reason(&"x".repeat(257)).is_err() && check_reason("a\nb").is_err());
    }
}
