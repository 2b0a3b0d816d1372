//! A start with what the store has: topics, publishers, requests and certificates as they were.
//!
//! Nothing here is verified by RSA but certificates: a row of the store carries its checksum, and a
//! record's signature was checked when it was taken. What does not fit together is not guessed at.

use std::fmt;

use super::notes::{ClientNote, RequestNote};
use super::publish::PublisherAge;
use super::publishers::Publishers;
use super::topic::{Topic, TopicKey};
use super::{Processor, joining};
use crate::base::ids::Offset;
use crate::base::{Now, Wall};
use crate::chain::{Chain, JoinRequest};
use crate::crypto::cert::{Role, Trust};
use crate::store::{Content, Contents, Entry, Note, NoteKind, Stored};
use crate::wire::values::{Durability, Retention};

/// What the store has is not what a broker has put there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RestoreFault {
    /// The topic, client or note, as people call it.
    pub what: String,
    pub problem: String,
}

impl Processor {
    /// Takes over what the store had at its start. To be called once, before anything else.
    pub fn restore(&mut self, contents: Contents, trust: &Trust, now: Now) -> Result<(), RestoreFault> {
        let Contents { logs, notes } = contents;
        let (requests, others): (Vec<Note>, Vec<Note>) =
            notes.into_iter().partition(|note| note.kind == NoteKind::Request);
        for note in others.iter().filter(|note| note.kind == NoteKind::Client) {
            self.restore_client(note, trust)?;
        }
        let mut topics = Vec::with_capacity(logs.len());
        for stored in logs {
            let name = stored.settings.name.clone();
            let restored = self.restore_topic(stored, trust);
            topics.push(restored.map_err(|problem| RestoreFault { what: format!("topic {name}"), problem })?);
        }
        self.restore_requests(requests, now)?;
        self.restore_publisher_ages(&topics);
        self.judge_clients(|certificate| trust.is_revoked(certificate.serial()));
        for key in topics {
            self.retain(key, now);
        }
        Ok(())
    }

    fn restore_client(&mut self, note: &Note, trust: &Trust) -> Result<(), RestoreFault> {
        let of = |problem: &str| RestoreFault { what: "a known client".into(), problem: problem.into() };
        let kept = ClientNote::decode(&note.value).map_err(|fault| of(&fault.to_string()))?;
        let certificate = match trust.verify_historic(kept.certificate, Role::Client) {
            Ok(certificate) => certificate,
            Err(fault) => {
                log::warn!("the certificate of a known client is left out: {fault}");
                return Ok(());
            }
        };
        if note.key != certificate.fingerprint().0 {
            return Err(of("its certificate is somebody else's"));
        }
        if !self.clients.restore(&certificate, kept.is_offered, kept.last_seen) {
            log::warn!("too many clients are known to remember {}", certificate.name());
        }
        Ok(())
    }

    fn restore_topic(&mut self, stored: Stored, trust: &Trust) -> Result<TopicKey, String> {
        let name = stored.settings.name.clone();
        let mut records = Vec::with_capacity(stored.records.len());
        for entry in &stored.records {
            let Content::Record { record, .. } = &entry.content else {
                return Err(format!("the entry at {} is no membership record", entry.offset));
            };
            records.push(&**record);
        }
        if records.is_empty() {
            return Err("it has no membership records".into());
        }
        let chain =
            Chain::rebuild(records).map_err(|fault| format!("one of its membership records {fault}"))?;
        if *chain.name() != name {
            return Err(format!("its membership records are those of {}", chain.name()));
        }
        if !self.topics.reserve(&name) {
            return Err("there are two of this name".into());
        }
        self.restore_owner(&chain, stored.records.first().map(|entry| &**entry), trust)?;
        *self.created_by.entry(chain.owner()).or_default() += 1;
        let (topic, outlived) = Topic::restore(stored, chain)?;
        self.publisher_count += topic.publishers.len();
        let key = self.topics.insert(topic);
        for number in outlived {
            self.forget_stored(key, number);
        }
        Ok(key)
    }

    /// A topic's owner is known: its certificate stands in the genesis' entry too.
    fn restore_owner(&mut self, chain: &Chain, genesis: Option<&Entry>, trust: &Trust) -> Result<(), String> {
        let owner = chain.owner();
        if self.clients.certificate(&owner).is_some() {
            return Ok(());
        }
        let named = format!("its owner, {}", chain.owner_name());
        let Some(Content::Record { certificate, .. }) = genesis.map(|entry| &entry.content) else {
            return Err(format!("{named}, has no certificate"));
        };
        let certificate = trust
            .verify_historic(certificate, Role::Client)
            .map_err(|fault| format!("{named}, has no certificate of this CA: {fault}"))?;
        if certificate.fingerprint() != owner {
            return Err(format!("{named}, has somebody else's certificate"));
        }
        // Without room the owner is a stranger, as any other client is.
        self.know(&certificate, None);
        Ok(())
    }

    /// Requests that still mean something, in the order in which they came.
    fn restore_requests(&mut self, notes: Vec<Note>, now: Now) -> Result<(), RestoreFault> {
        let mut kept = Vec::with_capacity(notes.len());
        for note in notes {
            let of = |problem: String| RestoreFault { what: "a request to join".into(), problem };
            let RequestNote { time, ask } =
                RequestNote::decode(&note.value).map_err(|fault| of(fault.to_string()))?;
            let asked = JoinRequest::parse(ask).map_err(|fault| of(fault.to_string()))?;
            if note.key != super::notes::request_key(&asked.name, &asked.who) {
                return Err(of("it stands under another topic or client".into()));
            }
            kept.push((time, asked, ask.to_vec()));
        }
        kept.sort_by_key(|(time, asked, _)| (*time, asked.who));
        for (time, asked, ask) in kept {
            let topic = self.topics.key(&asked.name).and_then(|key| self.topics.topic(key));
            // What settled it was stored, and then the end came.
            let is_open = topic.is_some_and(|topic| {
                topic.chain.topic() == asked.topic && joining::check_unsettled(topic, &asked.who).is_ok()
            });
            if !is_open || self.requests.keep(&asked.name, asked.who, ask, time).is_err() {
                self.drop_request_note(&asked.name, &asked.who);
            }
        }
        self.expire_requests(now, usize::MAX);
        Ok(())
    }

    fn restore_publisher_ages(&mut self, topics: &[TopicKey]) {
        let mut ages = Vec::with_capacity(self.publisher_count);
        for key in topics {
            let Some(topic) = self.topics.topic(*key) else { continue };
            ages.extend(topic.publishers.ages().map(|(number, seen)| PublisherAge {
                seen,
                topic: *key,
                number,
            }));
        }
        ages.sort_by_key(|age| age.seen);
        self.publisher_ages = ages.into();
    }
}

impl Topic {
    /// With the numbers of publishers that the store is to forget.
    fn restore(stored: Stored, chain: Chain) -> Result<(Topic, Vec<u32>), String> {
        let Stored { log, settings, records, next, time, kept, publishers, next_sender } = stored;
        let records: Vec<Offset> = records.iter().map(|entry| entry.offset).collect();
        let is_ascending = records.windows(2).all(|pair| pair[0] < pair[1]);
        if !is_ascending || records.last().is_some_and(|last| *last >= next) {
            return Err(format!("its membership records do not lie below its end at {next}"));
        }
        let (first, oldest) = kept.oldest.unwrap_or((next, Wall(0)));
        let room = next.0.saturating_sub(records.len() as u64);
        if first > next || kept.messages > room || (kept.messages == 0) != kept.oldest.is_none() {
            return Err(format!("it is to have {} messages from {first} to {next}", kept.messages));
        }
        let durability = match settings.durability {
            crate::store::Durability::Memory => Durability::Memory,
            crate::store::Durability::Disk => Durability::Disk,
        };
        let retain = settings.retain;
        let retention = Retention { count: retain.messages, bytes: retain.bytes, age_ms: retain.age_ms };
        let mut topic = Topic::new(settings.name, log, durability, retention, chain);
        topic.records = records;
        (topic.end, topic.first) = (next, first);
        (topic.messages, topic.bytes) = (kept.messages, kept.bytes);
        (topic.oldest, topic.newest) = (oldest, time);
        let outlived;
        (topic.publishers, outlived) = Publishers::restore(publishers, next_sender)?;
        Ok((topic, outlived))
    }
}

impl fmt::Display for RestoreFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.what, self.problem)
    }
}

impl std::error::Error for RestoreFault {}
