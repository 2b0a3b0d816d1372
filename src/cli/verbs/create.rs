//! `create`: who is to read a new topic is shown, and those never seen before are asked about.

use std::collections::BTreeMap;
use std::io::{self, BufRead, IsTerminal, Write};

use crate::base::ids::Fingerprint;
use crate::base::names::Name;
use crate::cli::access::Base;
use crate::cli::args::{self, Access, Patience};
use crate::cli::error::{CliError, Exit};
use crate::cli::link::Link;
use crate::cli::output::{Output, note, table};
use crate::client::pins::{Acquaintance, Pins};
use crate::client::{Answer, CreateRequest, Created, Failure, KnownClient, MemberChoice};
use crate::wire::values::Retention;

/// A topic about to be made, and the clients who will read it.
#[derive(Debug)]
pub struct Plan {
    request: CreateRequest,
    pub readers: Vec<Reader>,
    /// What the person should know of those who will not.
    pub remarks: Vec<String>,
}

/// Somebody who will read the topic, besides its creator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reader {
    pub name: Name,
    pub fingerprint: Fingerprint,
    /// This computer has not seen the fingerprint before.
    pub new: bool,
}

/// What to do with readers who are new, when nobody can be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NewReaders {
    Include,
    /// A person will be asked.
    Ask,
    LeaveOut,
}

pub fn run(base: &Base, topic: &args::NewTopic, access: &Access, patience: Patience) -> Result<(), CliError> {
    let (mut link, _) = Link::open(base, access, patience.wait)?;
    let clients = if topic.only_me { Vec::new() } else { known_clients(&mut link)? };
    let can_ask = io::stdin().is_terminal() && io::stderr().is_terminal();
    let plan = Plan::new(topic, clients, link.fingerprint, link.pins(), NewReaders::choose(topic, can_ask))?;
    plan.remarks.iter().for_each(|remark| note(remark));
    if plan.must_ask(topic) && !confirmed(&plan)? {
        return Err(CliError::other(format!("{} was not made", topic.topic))
            .remedy("--to NAME,... chooses who can read it, --only-me nobody"));
    }
    let ticket = link.core().create(plan.request.clone());
    let created = link.ask(ticket, |answer| match answer {
        Answer::Created(created) => Some(created),
        _ => None,
    })?;
    plan.check(&created)?;
    let mut output = Output::new();
    for line in plan.report(&created) {
        output.line(&line)?;
    }
    output.flush()?;
    link.leave();
    Ok(())
}

fn known_clients(link: &mut Link) -> Result<Vec<KnownClient>, CliError> {
    let ticket = link.core().known_clients();
    link.ask(ticket, |answer| match answer {
        Answer::Clients(clients) => Some(clients),
        _ => None,
    })
}

impl NewReaders {
    pub fn choose(topic: &args::NewTopic, can_ask: bool) -> NewReaders {
        match (topic.trust_new, can_ask) {
            (true, _) => NewReaders::Include,
            (false, true) => NewReaders::Ask,
            (false, false) => NewReaders::LeaveOut,
        }
    }
}

impl Plan {
    /// Chooses the readers among the clients that the broker knows.
    pub fn new(
        topic: &args::NewTopic,
        clients: Vec<KnownClient>,
        me: Fingerprint,
        pins: &Pins,
        new_readers: NewReaders,
    ) -> Result<Plan, CliError> {
        let mut plan = Plan { request: request(topic), readers: Vec::new(), remarks: Vec::new() };
        if topic.only_me {
            plan.request.members = MemberChoice::OnlyMe;
            return Ok(plan);
        }
        let mut by_name = BTreeMap::<Name, Vec<KnownClient>>::new();
        for client in clients {
            if client.fingerprint != me {
                by_name.entry(client.name.clone()).or_default().push(client);
            }
        }
        let asked_for = !topic.to.is_empty();
        if asked_for {
            plan.check_known(topic, &by_name, me)?;
            by_name.retain(|name, _| topic.to.contains(name));
        }
        for (name, certificates) in by_name {
            plan.consider(name, certificates, asked_for, pins)?;
        }
        if new_readers == NewReaders::LeaveOut {
            plan.leave_out_new(asked_for)?;
        }
        let names: Vec<Name> = plan.readers.iter().map(|r| r.name.clone()).collect();
        plan.request.members =
            if names.is_empty() { MemberChoice::OnlyMe } else { MemberChoice::Only(names) };
        Ok(plan)
    }

    fn check_known(
        &self,
        topic: &args::NewTopic,
        by_name: &BTreeMap<Name, Vec<KnownClient>>,
        me: Fingerprint,
    ) -> Result<(), CliError> {
        let unknown = topic.to.iter().filter(|name| !by_name.contains_key(*name));
        let unknown: Vec<Name> = unknown.cloned().collect();
        if unknown.is_empty() {
            return Ok(());
        }
        let known: Vec<&str> = by_name.keys().map(Name::as_str).collect();
        let known = if known.is_empty() { "nobody but you".to_owned() } else { known.join(", ") };
        let error = CliError::from(Failure::UnknownClients(unknown));
        Err(CliError::new(error.exit(), format!("{error}\n  it knows {known} (you are {})", me.short())))
    }

    /// Takes the one certificate of a name that is in force.
    fn consider(
        &mut self,
        name: Name,
        certificates: Vec<KnownClient>,
        asked_for: bool,
        pins: &Pins,
    ) -> Result<(), CliError> {
        let (good, bad): (Vec<_>, Vec<_>) = certificates.into_iter().partition(|c| c.fault.is_none());
        let mut fingerprints: Vec<Fingerprint> = good.iter().map(|c| c.fingerprint).collect();
        fingerprints.sort();
        fingerprints.dedup();
        match fingerprints.as_slice() {
            [fingerprint] => {
                let met = pins.check_peer(&name, *fingerprint);
                let met = met.map_err(|changed| changed.failure(&name, *fingerprint))?;
                let new = met == Acquaintance::New;
                self.readers.push(Reader { name, fingerprint: *fingerprint, new });
                Ok(())
            }
            [] => {
                let why = bad.into_iter().find_map(|c| c.fault).unwrap_or_default();
                if asked_for {
                    return Err(Failure::BadClient { name, why }.into());
                }
                self.remarks.push(format!("left out: {name}: {why}"));
                Ok(())
            }
            _ => Err(two_keys(name, fingerprints)),
        }
    }

    fn leave_out_new(&mut self, asked_for: bool) -> Result<(), CliError> {
        let (new, seen): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.readers).into_iter().partition(|r| r.new);
        self.readers = seen;
        if new.is_empty() {
            return Ok(());
        }
        let list: Vec<String> = new.iter().map(|r| format!("{} {}", r.name, r.fingerprint)).collect();
        let problem = format!("never seen on this computer before: {}", list.join(", "));
        if asked_for {
            return Err(CliError::other(problem).remedy(
                "compare the fingerprints with `sealmq fingerprint` over there, then add --trust-new",
            ));
        }
        self.remarks.push(format!("left out, {problem}; --trust-new lets them in"));
        Ok(())
    }

    /// Whether a person is to say yes first.
    pub fn must_ask(&self, topic: &args::NewTopic) -> bool {
        !topic.trust_new && self.readers.iter().any(|r| r.new)
    }

    /// The readers, a line each.
    pub fn lines(&self) -> Vec<String> {
        let row = |r: &Reader| {
            let new = if r.new { "new" } else { "" };
            vec![r.name.to_string(), r.fingerprint.to_string(), new.to_owned()]
        };
        table(&self.readers.iter().map(row).collect::<Vec<_>>())
    }

    pub fn request(&self) -> CreateRequest {
        self.request.clone()
    }

    /// Holds what was made against what was chosen.
    pub fn check(&self, created: &Created) -> Result<(), CliError> {
        for member in created.members.iter().filter(|m| !m.me) {
            let chosen = self.readers.iter().find(|r| r.name == member.name);
            if chosen.is_none_or(|r| r.fingerprint != member.fingerprint) {
                let expected = chosen.map_or("nobody".to_owned(), |r| r.fingerprint.to_string());
                let problem = format!(
                    "{} was made for {} {}, not for {expected}: the broker changed its answer meanwhile",
                    created.topic, member.name, member.fingerprint
                );
                return Err(CliError::new(Exit::Integrity, problem)
                    .remedy("publish nothing to it before you know why"));
            }
        }
        Ok(())
    }

    /// What to tell when it was made.
    pub fn report(&self, created: &Created) -> Vec<String> {
        let count = created.members.len();
        let who = if count == 1 { "you alone".to_owned() } else { format!("{count} members") };
        let mut lines = vec![format!("created {} for {who}", created.topic)];
        let row = |m: &crate::client::Member| {
            let new = self.readers.iter().any(|r| r.new && r.fingerprint == m.fingerprint);
            let remark = if m.me {
                "you"
            } else if new {
                "new"
            } else {
                ""
            };
            vec![format!("  {}", m.name), m.fingerprint.to_string(), remark.to_owned()]
        };
        lines.extend(table(&created.members.iter().map(row).collect::<Vec<_>>()));
        for skipped in &created.skipped {
            let name = skipped.name.as_ref().map_or("somebody", Name::as_str);
            lines.push(format!("  left out: {name}: {}", skipped.why));
        }
        lines
    }
}

/// The request, without its members.
fn request(topic: &args::NewTopic) -> CreateRequest {
    let kept = Retention::default();
    let age_ms =
        topic.retain_age.map_or(kept.age_ms, |age| u64::try_from(age.as_millis()).unwrap_or(u64::MAX));
    CreateRequest {
        durability: topic.durability.into(),
        retention: Retention {
            count: topic.retain_count.unwrap_or(kept.count),
            bytes: topic.retain_bytes.unwrap_or(kept.bytes),
            age_ms,
        },
        join: topic.policy.into(),
        history: topic.history.into(),
        ..CreateRequest::new(topic.topic.clone())
    }
}

fn two_keys(name: Name, fingerprints: Vec<Fingerprint>) -> CliError {
    let list: Vec<String> = fingerprints.iter().map(|f| format!("  {f}")).collect();
    let problem =
        format!("{name} has {} certificates in force with different keys:\n{}", list.len(), list.join("\n"));
    CliError::new(Exit::Integrity, problem).remedy(
        "find out which is right, and have the other revoked: `sealmq ca revoke`; or leave it out with --to",
    )
}

fn confirmed(plan: &Plan) -> Result<bool, CliError> {
    let failed = |e: io::Error| CliError::other(format!("the terminal cannot be asked: {e}"));
    let mut err = io::stderr().lock();
    let lines = plan.lines().join("\n  ");
    write!(err, "It will be readable by you and:\n  {lines}\n{QUESTION} ").map_err(failed)?;
    err.flush().map_err(failed)?;
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer).map_err(failed)?;
    Ok(is_yes(&answer))
}

/// What is asked before somebody new is let in.
pub const QUESTION: &str = "Some have never been seen on this computer. Make it for all of these? [y/N]";

pub fn is_yes(answer: &str) -> bool {
    matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes")
}

#[cfg(test)]
mod tests;
