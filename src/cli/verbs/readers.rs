//! Who is about to be let into a topic: chosen among the clients that the broker knows, shown, and asked
//! about if this computer has never seen them.

use std::collections::BTreeMap;
use std::io::{self, BufRead, IsTerminal, Write};

use crate::base::ids::Fingerprint;
use crate::base::names::{Name, TopicName};
use crate::cli::error::{CliError, Exit};
use crate::cli::link::Link;
use crate::cli::output::{printable, table};
use crate::client::pins::{Acquaintance, Pins};
use crate::client::{Answer, Failure, KnownClient, Member};

/// Those who will be able to read a topic, besides whoever lets them in.
#[derive(Clone, Debug, Default)]
pub struct Readers {
    pub list: Vec<Reader>,
    /// What the person should know of those who will not.
    pub remarks: Vec<String>,
}

/// One of them.
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

impl NewReaders {
    pub fn choose(trust_new: bool, can_ask: bool) -> NewReaders {
        match (trust_new, can_ask) {
            (true, _) => NewReaders::Include,
            (false, true) => NewReaders::Ask,
            (false, false) => NewReaders::LeaveOut,
        }
    }
}

impl Readers {
    /// Chooses those of these names, all of which must be there and good; without names all who are.
    pub fn choose(
        asked_for: &[Name],
        clients: Vec<KnownClient>,
        me: Fingerprint,
        pins: &Pins,
        new_readers: NewReaders,
    ) -> Result<Readers, CliError> {
        let mut readers = Readers::default();
        let mut by_name = BTreeMap::<Name, Vec<KnownClient>>::new();
        for client in clients {
            if client.fingerprint != me {
                by_name.entry(client.name.clone()).or_default().push(client);
            }
        }
        let is_asked_for = !asked_for.is_empty();
        if is_asked_for {
            check_known(asked_for, &by_name, me)?;
            by_name.retain(|name, _| asked_for.contains(name));
        }
        for (name, certificates) in by_name {
            readers.consider(name, certificates, is_asked_for, pins)?;
        }
        if new_readers == NewReaders::LeaveOut {
            readers.leave_out_new(is_asked_for)?;
        }
        Ok(readers)
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
                self.list.push(Reader { name, fingerprint: *fingerprint, new });
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
        let (new, seen): (Vec<_>, Vec<_>) = std::mem::take(&mut self.list).into_iter().partition(|r| r.new);
        self.list = seen;
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

    pub fn are_new(&self) -> bool {
        self.list.iter().any(|reader| reader.new)
    }

    pub fn names(&self) -> Vec<Name> {
        self.list.iter().map(|reader| reader.name.clone()).collect()
    }

    /// A line for each.
    pub fn lines(&self) -> Vec<String> {
        let row = |r: &Reader| {
            let new = if r.new { "new" } else { "" };
            vec![r.name.to_string(), r.fingerprint.to_string(), new.to_owned()]
        };
        table(&self.list.iter().map(row).collect::<Vec<_>>())
    }

    /// Holds a member that was made against those who were chosen.
    pub fn check(&self, topic: &TopicName, member: &Member) -> Result<(), CliError> {
        let chosen = self.list.iter().find(|reader| reader.name == member.name);
        if chosen.is_some_and(|reader| reader.fingerprint == member.fingerprint) {
            return Ok(());
        }
        let expected = chosen.map_or("nobody".to_owned(), |reader| reader.fingerprint.to_string());
        let problem = format!(
            "{topic} was opened to {} {}, not to {expected}: the broker changed its answer meanwhile",
            member.name, member.fingerprint
        );
        Err(CliError::new(Exit::Integrity, problem).remedy("publish nothing to it before you know why"))
    }

    pub fn is_new(&self, fingerprint: Fingerprint) -> bool {
        self.list.iter().any(|reader| reader.new && reader.fingerprint == fingerprint)
    }
}

/// All clients that the broker knows.
pub fn known_clients(link: &mut Link) -> Result<Vec<KnownClient>, CliError> {
    let ticket = link.core().known_clients();
    link.ask(ticket, |answer| match answer {
        Answer::Clients(clients) => Some(clients),
        _ => None,
    })
}

fn check_known(
    asked_for: &[Name],
    by_name: &BTreeMap<Name, Vec<KnownClient>>,
    me: Fingerprint,
) -> Result<(), CliError> {
    let unknown = asked_for.iter().filter(|name| !by_name.contains_key(*name));
    let unknown: Vec<Name> = unknown.cloned().collect();
    if unknown.is_empty() {
        return Ok(());
    }
    let known: Vec<&str> = by_name.keys().map(Name::as_str).collect();
    let known = if known.is_empty() { "nobody but you".to_owned() } else { known.join(", ") };
    let error = CliError::from(Failure::UnknownClients(unknown));
    Err(CliError::new(error.exit(), format!("{error}\n  it knows {known} (you are {})", me.short())))
}

fn two_keys(name: Name, fingerprints: Vec<Fingerprint>) -> CliError {
    let list: Vec<String> = fingerprints.iter().map(|f| format!("  {f}")).collect();
    let problem =
        format!("{name} has {} certificates in force with different keys:\n{}", list.len(), list.join("\n"));
    CliError::new(Exit::Integrity, problem).remedy(
        "find out which is right, and have the other revoked: `sealmq ca revoke`; or leave it out with --to",
    )
}

/// Whether somebody is there who can be asked.
pub fn can_ask() -> bool {
    io::stdin().is_terminal() && io::stderr().is_terminal()
}

/// Shows the text on the terminal, and reads the line that is answered.
pub fn ask(text: &str) -> Result<String, CliError> {
    let failed = |e: io::Error| CliError::other(format!("the terminal cannot be asked: {e}"));
    let mut err = io::stderr().lock();
    write!(err, "{} ", printable(text)).and_then(|()| err.flush()).map_err(failed)?;
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer).map_err(failed)?;
    Ok(answer)
}

pub fn is_yes(answer: &str) -> bool {
    matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes")
}
