//! `trust`: what this computer remembers of others, and how a person changes it. Needs no broker.

use serde::Serialize;

use crate::base::ids::{Fingerprint, Offset};
use crate::base::names::{Name, TopicName};
use crate::cli::access::Base;
use crate::cli::args::{Identity, TrustVerb};
use crate::cli::error::{CliError, Exit};
use crate::cli::keyfiles;
use crate::cli::output::{Output, table};
use crate::cli::pinfile::PinFile;
use crate::cli::state::State;
use crate::cli::system;
use crate::cli::units::show_time;
use crate::client::pins::{PeerPin, Pins, TopicPin};
use crate::crypto::cert::Role;

pub fn run(base: &Base, verb: &TrustVerb) -> Result<(), CliError> {
    let file = PinFile::new(state(base, verb.identity())?);
    let lines = match verb {
        TrustVerb::List { verbose, json, .. } => list(&file.read()?, *verbose, *json),
        TrustVerb::Show { name, json, .. } => show(&file.read()?, name, *json)?,
        TrustVerb::Replace { name, fingerprint, .. } => replace(&file, name, *fingerprint)?,
        TrustVerb::Forget { topic, .. } => forget(&file, topic)?,
    };
    let mut output = Output::new();
    lines.iter().try_for_each(|line| output.line(line))?;
    output.flush()
}

/// The state folder of an identity; its key is not needed for that.
pub(super) fn state(base: &Base, flags: &Identity) -> Result<State, CliError> {
    let files = base.identity_files(flags)?;
    let trust = keyfiles::read_ca(&files.ca)?;
    let der = keyfiles::read_certificate(&files.certificate)?;
    let certificate = trust.verify_historic(&der, Role::Client).map_err(|fault| {
        CliError::new(Exit::Refused, format!("{}: {fault}", files.certificate.display()))
            .remedy("what is remembered belongs to a client: --as NAME says which one you are")
    })?;
    State::open(&base.around, certificate.fingerprint())
}

fn list(pins: &Pins, verbose: bool, json: bool) -> Vec<String> {
    if json {
        let peers = pins.peers.iter().map(|(name, pin)| to_json(&PeerLine::new(name, pin)));
        let topics = pins.topics.iter().filter(|_| verbose);
        return peers.chain(topics.map(|(name, pin)| to_json(&TopicLine::new(name, pin)))).collect();
    }
    let peer = |(name, pin): (&Name, &PeerPin)| {
        let former = match pin.former.len() {
            0 => String::new(),
            _ => format!("before: {}", shorts(pin)),
        };
        vec![name.to_string(), pin.fingerprint.short(), show_time(pin.first_seen), former]
    };
    let mut lines = table(&pins.peers.iter().map(peer).collect::<Vec<_>>());
    if verbose && !pins.topics.is_empty() {
        lines.extend((!lines.is_empty()).then(String::new));
        lines.extend(table(&pins.topics.iter().map(topic_row).collect::<Vec<_>>()));
    }
    lines
}

fn topic_row((name, pin): (&TopicName, &TopicPin)) -> Vec<String> {
    let (owner, number) = (&pin.owner_name, pin.number);
    let read = match pin.next {
        Offset(0) => "nothing read".to_owned(),
        next => format!("read below offset {next}"),
    };
    vec![
        name.to_string(),
        format!("of {owner} {}", pin.owner.short()),
        format!("record {number}"),
        read,
        format!("since {}", show_time(pin.since)),
    ]
}

fn show(pins: &Pins, name: &Name, json: bool) -> Result<Vec<String>, CliError> {
    let pin = pins.peers.get(name).ok_or_else(|| never_seen(name, pins))?;
    if json {
        return Ok(vec![to_json(&PeerLine::new(name, pin))]);
    }
    let mut lines = vec![format!("{name}  sha256:{}", pin.fingerprint)];
    lines.push(format!("  since {}", show_time(pin.first_seen)));
    lines.extend(pin.former.iter().map(|former| format!("  before: sha256:{former}")));
    let owned = pins.topics.iter().filter(|(_, topic)| topic.owner_name == *name);
    lines.extend(owned.map(|(topic, _)| format!("  owner of {topic}")));
    Ok(lines)
}

fn replace(file: &PinFile, name: &Name, now: Fingerprint) -> Result<Vec<String>, CliError> {
    file.change(|pins| {
        let Some(before) = pins.replace_peer(name, now, system::now()) else {
            return Err(never_seen(name, pins));
        };
        if before.fingerprint == now {
            return Ok(vec![format!("{name} is pinned to sha256:{now} already")]);
        }
        let (old, since) = (before.fingerprint, show_time(before.first_seen));
        Ok(vec![
            format!("{name}: sha256:{now}"),
            format!("  replaces sha256:{old}, pinned since {since}; what that one signed stays good"),
        ])
    })
}

fn forget(file: &PinFile, topic: &TopicName) -> Result<Vec<String>, CliError> {
    file.change(|pins| {
        let pin = pins.topics.get(topic).cloned();
        let pin = pin.ok_or_else(|| CliError::other(format!("nothing is remembered of a topic {topic}")))?;
        pins.forget_topic(topic);
        let (owner, number) = (pin.owner_name, pin.number);
        Ok(vec![format!("{topic}: forgot the one of {owner}, record {number}")])
    })
}

fn never_seen(name: &Name, pins: &Pins) -> CliError {
    let error = CliError::other(format!("{name} was never seen by this identity"));
    let names: Vec<&str> = pins.peers.keys().map(Name::as_str).collect();
    match names.len() {
        0 => error,
        1..=SHOWN_MAX => error.remedy(format!("known are {}", names.join(", "))),
        _ => error.remedy("`sealmq trust list` shows who was"),
    }
}

fn shorts(pin: &PeerPin) -> String {
    pin.former.iter().map(Fingerprint::short).collect::<Vec<_>>().join(", ")
}

#[derive(Serialize)]
struct PeerLine<'a> {
    name: &'a str,
    fingerprint: String,
    since: String,
    former: Vec<String>,
}

#[derive(Serialize)]
struct TopicLine<'a> {
    topic: &'a str,
    id: String,
    owner: &'a str,
    owner_fingerprint: String,
    since: String,
    record: u32,
    record_hash: String,
    read_below: u64,
}

impl PeerLine<'_> {
    fn new<'a>(name: &'a Name, pin: &PeerPin) -> PeerLine<'a> {
        PeerLine {
            name: name.as_str(),
            fingerprint: pin.fingerprint.to_string(),
            since: show_time(pin.first_seen),
            former: pin.former.iter().map(ToString::to_string).collect(),
        }
    }
}

impl TopicLine<'_> {
    fn new<'a>(name: &'a TopicName, pin: &'a TopicPin) -> TopicLine<'a> {
        TopicLine {
            topic: name.as_str(),
            id: pin.id.to_string(),
            owner: pin.owner_name.as_str(),
            owner_fingerprint: pin.owner.to_string(),
            since: show_time(pin.since),
            record: pin.number,
            record_hash: pin.head.to_string(),
            read_below: pin.next.0,
        }
    }
}

fn to_json(line: &impl Serialize) -> String {
    serde_json::to_string(line).expect("strings and numbers always serialise")
}

/// Names that still fit a sentence.
const SHOWN_MAX: usize = 8;
