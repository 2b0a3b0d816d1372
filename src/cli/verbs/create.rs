//! `create`: who is to read a new topic is shown, and those never seen before are asked about.

use std::path::Path;

use super::readers::{self, NewReaders, Readers};
use crate::base::Wall;
use crate::base::ids::Fingerprint;
use crate::base::names::Name;
use crate::cli::access::Base;
use crate::cli::args::{self, Access, Patience};
use crate::cli::error::{CliError, Exit};
use crate::cli::keyfiles;
use crate::cli::link::Link;
use crate::cli::output::{Output, note, table};
use crate::client::pins::Pins;
use crate::client::{Answer, CreateRequest, Created, KnownClient, Member, MemberChoice, MemberRole};
use crate::crypto::cert::{Certificate, Role, Trust};
use crate::wire::values::Retention;

/// A topic about to be made, and the clients who will read it.
#[derive(Debug)]
pub struct Plan {
    request: CreateRequest,
    pub readers: Readers,
    /// Whose keys get the topic's key and never connect.
    recovery: Vec<Certificate>,
}

pub fn run(base: &Base, topic: &args::NewTopic, access: &Access, patience: Patience) -> Result<(), CliError> {
    let (mut link, _) = Link::open(base, access, patience.wait)?;
    let now = link.now().wall;
    let recovery = recovery_keys(topic, link.core().trust(), now)?;
    let clients = if topic.only_me { Vec::new() } else { readers::known_clients(&mut link)? };
    let new_readers = NewReaders::choose(topic.trust_new, readers::can_ask());
    let plan = Plan::new(topic, clients, recovery, link.fingerprint, link.pins(), new_readers)?;
    plan.readers.remarks.iter().for_each(|remark| note(remark));
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

/// Reads the certificates of keys that are kept elsewhere; each must be a client's, and good now.
pub fn recovery_keys(topic: &args::NewTopic, trust: &Trust, now: Wall) -> Result<Vec<Certificate>, CliError> {
    topic.recovery.recovery.iter().map(|path| recovery_key(path, trust, now)).collect()
}

fn recovery_key(path: &Path, trust: &Trust, now: Wall) -> Result<Certificate, CliError> {
    let der = keyfiles::read_certificate(path)?;
    trust.verify(&der, Role::Client, now).map_err(|fault| {
        CliError::new(Exit::Refused, format!("{}: {fault}", path.display()))
            .remedy("a recovery key has a client's certificate of your CA: `sealmq ca issue NAME` makes one")
    })
}

impl Plan {
    /// Chooses the readers among the clients that the broker knows.
    pub fn new(
        topic: &args::NewTopic,
        clients: Vec<KnownClient>,
        recovery: Vec<Certificate>,
        me: Fingerprint,
        pins: &Pins,
        new_readers: NewReaders,
    ) -> Result<Plan, CliError> {
        let mut request = request(topic);
        request.recovery = recovery.iter().map(|key| key.der().to_vec()).collect();
        if topic.only_me {
            request.members = MemberChoice::OnlyMe;
            return Ok(Plan { request, readers: Readers::default(), recovery });
        }
        // A key in a safe is not to read as an ordinary member as well.
        let is_recovery = |c: &KnownClient| recovery.iter().any(|key| key.fingerprint() == c.fingerprint);
        let clients = clients.into_iter().filter(|client| !is_recovery(client)).collect();
        let readers = Readers::choose(&topic.to, clients, me, pins, new_readers)?;
        let names = readers.names();
        request.members = if names.is_empty() { MemberChoice::OnlyMe } else { MemberChoice::Only(names) };
        Ok(Plan { request, readers, recovery })
    }

    /// Whether a person is to say yes first.
    pub fn must_ask(&self, topic: &args::NewTopic) -> bool {
        !topic.trust_new && self.readers.are_new()
    }

    /// The readers, a line each.
    pub fn lines(&self) -> Vec<String> {
        self.readers.lines()
    }

    pub fn request(&self) -> CreateRequest {
        self.request.clone()
    }

    /// Holds what was made against what was chosen.
    pub fn check(&self, created: &Created) -> Result<(), CliError> {
        let is_recovery = |m: &Member| self.recovery.iter().any(|key| key.fingerprint() == m.fingerprint);
        let others = created.members.iter().filter(|m| !m.me && !is_recovery(m));
        others.into_iter().try_for_each(|member| self.readers.check(&created.topic, member))
    }

    /// What to tell when it was made.
    pub fn report(&self, created: &Created) -> Vec<String> {
        let recovery = created.members.iter().filter(|m| m.role == MemberRole::Recovery).count();
        let count = created.members.len() - recovery;
        let who = if count == 1 { "you alone".to_owned() } else { format!("{count} members") };
        let keys = match recovery {
            0 => "",
            1 => " and a recovery key",
            _ => " and recovery keys",
        };
        let mut lines = vec![format!("created {} for {who}{keys}", created.topic)];
        let row = |m: &Member| {
            let remark = match m.role {
                MemberRole::Recovery => "recovery key, never connects",
                _ if m.me => "you",
                _ if self.readers.is_new(m.fingerprint) => "new",
                _ => "",
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
    CreateRequest {
        durability: topic.durability.into(),
        retention: topic.keep.over(Retention::default()),
        join: topic.policy.into(),
        history: topic.history.into(),
        ..CreateRequest::new(topic.topic.clone())
    }
}

fn confirmed(plan: &Plan) -> Result<bool, CliError> {
    let lines = plan.lines().join("\n  ");
    let answer = readers::ask(&format!("It will be readable by you and:\n  {lines}\n{QUESTION}"))?;
    Ok(readers::is_yes(&answer))
}

/// What is asked before somebody new is let in.
pub const QUESTION: &str = "Some have never been seen on this computer. Make it for all of these? [y/N]";

#[cfg(test)]
mod tests;
