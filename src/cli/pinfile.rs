//! `pins.json` in the state folder: what a client remembers of others, as it stands on disk.
//!
//! Several programs of one identity may run at once: what is kept is merged with what another one has
//! kept meanwhile. A file that cannot be understood is never overwritten.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs;

use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::error::CliError;
use super::output::note;
use super::state::State;
use super::system;
use crate::base::Wall;
use crate::base::ids::{Counter, Fingerprint, Incarnation, Offset, PublisherId, RecordHash, TopicId};
use crate::base::names::{Name, TopicName};
use crate::client::pins::{PeerPin, Pins, Place, Publisher, TopicPin};

/// The file, and whether it can be written.
pub struct PinFile {
    state: State,
    /// It could not be kept, and that was said.
    is_given_up: bool,
}

impl PinFile {
    pub fn new(state: State) -> PinFile {
        PinFile { is_given_up: state.is_missing(), state }
    }

    /// What was kept; nothing if there is no file.
    pub fn read(&self) -> Result<Pins, CliError> {
        understood(&self.state, self.state.read(PIN_FILE)?)
    }

    /// Merges `pins` into what the file holds by now.
    pub fn keep(&self, pins: &Pins) -> Result<(), CliError> {
        self.change(|kept| {
            kept.merge(pins.clone());
            Ok(())
        })
    }

    /// Changes what the file holds, while nobody else does.
    pub fn change<T>(&self, change: impl FnOnce(&mut Pins) -> Result<T, CliError>) -> Result<T, CliError> {
        let mut done = None;
        self.state.update(PIN_FILE, |content| {
            let mut kept = understood(&self.state, content)?;
            done = Some(change(&mut kept)?);
            Ok(to_bytes(&kept))
        })?;
        // What the older file knew is in the new one now; where it cannot be removed it is not read either.
        let _ = fs::remove_file(self.state.path(SEEN_FILE));
        Ok(done.expect("an update that went well has run the change"))
    }

    /// The same as [`PinFile::keep`] for who has something more important to do: that it does not
    /// succeed is said once. Says whether it did.
    pub fn try_to_keep(&mut self, pins: &Pins) -> bool {
        if self.is_given_up {
            return false;
        }
        let kept = self.keep(pins);
        if let Err(error) = &kept {
            self.is_given_up = true;
            note(&format!("whom you know and how far you have read is not kept: {error}"));
        }
        kept.is_ok()
    }
}

/// What the content of the file means.
fn understood(state: &State, content: Option<Vec<u8>>) -> Result<Pins, CliError> {
    let Some(content) = content else { return seen_before(state) };
    let version: Version = parse(state, &content)?;
    if version.version > VERSION {
        let problem = format!(
            "{} is of version {}, and this sealmq knows versions up to {VERSION}",
            state.path(PIN_FILE).display(),
            version.version
        );
        return Err(CliError::other(problem).remedy("use the newer sealmq that wrote it"));
    }
    parse::<File>(state, &content).map(File::into_pins)
}

fn parse<T: DeserializeOwned>(state: &State, content: &[u8]) -> Result<T, CliError> {
    serde_json::from_slice(content).map_err(|e| {
        let path = state.path(PIN_FILE);
        let path = path.display();
        CliError::other(format!("{path} is damaged: {e}")).remedy(format!(
            "mend that line, bring the file back from a backup, or move it away:\nmv '{path}' \
             '{path}.damaged'\nThen whoever and whatever it named counts as new once."
        ))
    })
}

/// What versions before this file kept: a line for each client, the fingerprint and the name.
fn seen_before(state: &State) -> Result<Pins, CliError> {
    let mut pins = Pins::default();
    let now = system::now();
    let content = state.read(SEEN_FILE)?.unwrap_or_default();
    for (index, line) in String::from_utf8_lossy(&content).lines().enumerate() {
        let parsed = line
            .split_once(' ')
            .and_then(|(key, name)| Some((Fingerprint::parse_hex(key)?, Name::parse(name.trim_end()).ok()?)));
        let Some((fingerprint, name)) = parsed else {
            let path = state.path(SEEN_FILE);
            let problem = format!("{}, line {}: not a fingerprint and a name", path.display(), index + 1);
            return Err(
                CliError::other(problem).remedy("take the line out; whoever it named will count as new once")
            );
        };
        if !pins.pin_peer(&name, fingerprint, now) {
            // A later line was agreed to by a person.
            pins.replace_peer(&name, fingerprint, now);
        }
    }
    Ok(pins)
}

fn to_bytes(pins: &Pins) -> Vec<u8> {
    let mut bytes =
        serde_json::to_vec_pretty(&File::from_pins(pins)).expect("names, numbers and text always serialise");
    bytes.push(b'\n');
    bytes
}

#[derive(Deserialize)]
struct Version {
    version: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    version: u64,
    peers: BTreeMap<Text<Name>, Peer>,
    topics: BTreeMap<Text<TopicName>, Topic>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Peer {
    fingerprint: Text<Fingerprint>,
    /// Milliseconds since 1970, as all times here.
    first_seen: u64,
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    former: BTreeSet<Text<Fingerprint>>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Topic {
    id: Text<TopicId>,
    owner: Text<Fingerprint>,
    owner_name: Text<Name>,
    since: u64,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    former: Vec<Text<TopicId>>,
    number: u32,
    head: Text<RecordHash>,
    log: Option<u64>,
    next: u64,
    unbroken: u64,
    is_complete: bool,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    places: Vec<Text<Placed>>,
}

/// Whose message, and which: `fingerprint publisher offset counter hash`.
#[derive(Clone)]
struct Placed(Publisher, Place);

/// A value as text.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Text<T>(T);

/// What has a form as text in the file.
trait Textual: Sized {
    fn say(&self) -> String;
    fn read(text: &str) -> Result<Self, String>;
}

impl File {
    fn from_pins(pins: &Pins) -> File {
        let peer = |(name, pin): (&Name, &PeerPin)| {
            let former = pin.former.iter().copied().map(Text).collect();
            let fingerprint = Text(pin.fingerprint);
            (Text(name.clone()), Peer { fingerprint, first_seen: pin.first_seen.0, former })
        };
        let topic = |(name, pin): (&TopicName, &TopicPin)| (Text(name.clone()), Topic::from_pin(pin));
        File {
            version: VERSION,
            peers: pins.peers.iter().map(peer).collect(),
            topics: pins.topics.iter().map(topic).collect(),
        }
    }

    fn into_pins(self) -> Pins {
        let peer = |(name, peer): (Text<Name>, Peer)| {
            let former = peer.former.into_iter().map(|Text(fingerprint)| fingerprint).collect();
            let (fingerprint, first_seen) = (peer.fingerprint.0, Wall(peer.first_seen));
            (name.0, PeerPin { fingerprint, first_seen, former })
        };
        Pins {
            peers: self.peers.into_iter().map(peer).collect(),
            topics: self.topics.into_iter().map(|(name, topic)| (name.0, topic.into_pin())).collect(),
            ..Pins::default()
        }
    }
}

impl Topic {
    fn from_pin(pin: &TopicPin) -> Topic {
        Topic {
            id: Text(pin.id),
            owner: Text(pin.owner),
            owner_name: Text(pin.owner_name.clone()),
            since: pin.since.0,
            former: pin.former.iter().copied().map(Text).collect(),
            number: pin.number,
            head: Text(pin.head),
            log: pin.log.map(|log| log.0),
            next: pin.next.0,
            unbroken: pin.unbroken.0,
            is_complete: pin.is_complete,
            places: pin.places.iter().map(|(who, place)| Text(Placed(*who, *place))).collect(),
        }
    }

    fn into_pin(self) -> TopicPin {
        TopicPin {
            id: self.id.0,
            owner: self.owner.0,
            owner_name: self.owner_name.0,
            since: Wall(self.since),
            former: self.former.into_iter().map(|Text(id)| id).collect(),
            number: self.number,
            head: self.head.0,
            log: self.log.map(Incarnation),
            next: Offset(self.next),
            unbroken: Offset(self.unbroken),
            is_complete: self.is_complete,
            places: self.places.into_iter().map(|Text(Placed(who, place))| (who, place)).collect(),
        }
    }
}

impl Textual for Placed {
    fn say(&self) -> String {
        let Placed((who, publisher), Place { offset, counter, hash }) = self;
        format!("{who} {publisher} {offset} {counter} {}", hex(hash))
    }

    fn read(text: &str) -> Result<Placed, String> {
        let words: Vec<&str> = text.split(' ').collect();
        let [who, publisher, offset, counter, hash] = words[..] else {
            return Err("a place has five parts".to_owned());
        };
        let number = |text: &str| text.parse::<u64>().map_err(|e| format!("{text:?}: {e}"));
        let publisher = (Fingerprint::read(who)?, PublisherId(bytes(publisher)?));
        let (offset, counter) = (Offset(number(offset)?), Counter(number(counter)?));
        Ok(Placed(publisher, Place { offset, counter, hash: bytes(hash)? }))
    }
}

macro_rules! named {
    ($($name:ident),*) => {$(
        impl Textual for $name {
            fn say(&self) -> String {
                self.to_string()
            }

            fn read(text: &str) -> Result<$name, String> {
                $name::parse(text).map_err(|e| format!("{text:?} {e}"))
            }
        }
    )*};
}

macro_rules! hashes {
    ($($hash:ident),*) => {$(
        impl Textual for $hash {
            fn say(&self) -> String {
                self.to_string()
            }

            fn read(text: &str) -> Result<$hash, String> {
                bytes(text).map($hash)
            }
        }
    )*};
}

named!(Name, TopicName);
hashes!(Fingerprint, TopicId, RecordHash);

impl<T: Textual> Serialize for Text<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0.say())
    }
}

impl<'de, T: Textual> Deserialize<'de> for Text<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Text<T>, D::Error> {
        let text = String::deserialize(deserializer)?;
        T::read(&text).map(Text).map_err(D::Error::custom)
    }
}

/// Lower-case hexadecimal digits.
fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

fn bytes<const N: usize>(text: &str) -> Result<[u8; N], String> {
    let bad = || format!("{text:?} is not {} hexadecimal digits", 2 * N);
    let digits: Option<Vec<u32>> = text.chars().map(|c| c.to_digit(16)).collect();
    let digits = digits.filter(|digits| digits.len() == 2 * N).ok_or_else(bad)?;
    let mut out = [0; N];
    for (byte, pair) in out.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = u8::try_from(pair[0] * 16 + pair[1]).map_err(|_| bad())?;
    }
    Ok(out)
}

impl fmt::Debug for PinFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PinFile({})", self.state.path(PIN_FILE).display())
    }
}

pub const PIN_FILE: &str = "pins.json";
/// What versions before kept.
const SEEN_FILE: &str = "seen";
const VERSION: u64 = 1;

#[cfg(test)]
mod tests;
