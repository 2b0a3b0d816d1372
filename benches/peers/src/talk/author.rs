//! sealmq topics and their messages, made before the clock runs: real records, real wraps, each
//! message signed and sealed as `docs/PROTOCOL.md`, 7, says. A real client reads them.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use sealmq::base::entropy::random_array;
use sealmq::base::ids::{Counter, Epoch, PublisherId, RecordHash, TopicId};
use sealmq::base::names::TopicName;
use sealmq::base::time::Wall;
use sealmq::chain::{
    BODY_LABEL, COMMITMENT_LABEL, Chain, Delegation, DeltaBuilder, Genesis, History, JoinPolicy, Role,
    epoch_salt, wrap_label,
};
use sealmq::crypto::digest::sha256;
use sealmq::crypto::ed25519::MessageSigner;
use sealmq::crypto::envelope;
use sealmq::crypto::fernet::SealingKey;
use sealmq::crypto::kdf::kdf;
use sealmq::crypto::key::PublicKey;
use sealmq::crypto::secret::Secret32;
use sealmq::net::{SystemEntropy, clock};
use sealmq::wire::body::Sealed;

use super::Content;
use crate::pki::Identity;
use crate::process;

/// Topics that are not yet created, and what their owner says in them.
pub struct Author {
    pub topics: Vec<Topic>,
    pub publisher: PublisherId,
    pub delegation: Vec<u8>,
    /// Sealed for the first topic. A broker cannot tell for which one a body is, nor which counter is in
    /// it, so that they can be said again.
    bodies: Vec<Body>,
    signer: MessageSigner,
}

/// A topic with its first records.
pub struct Topic {
    pub name: TopicName,
    pub genesis: Vec<u8>,
    pub delta: Vec<u8>,
    pub wraps: Vec<Vec<u8>>,
    pub epoch: Epoch,
    id: TopicId,
    epoch_record: RecordHash,
    key: SealingKey,
}

/// A message as it goes over the wire, with the hash that its frame states.
pub struct Body {
    pub token: Vec<u8>,
    pub sha256: [u8; 32],
}

/// Signed for so long; a run takes minutes.
const DELEGATION_TIME: Duration = Duration::from_secs(86_400);

impl Author {
    /// Topics of `owner` that `members` are in, too.
    pub fn new(names: &[String], owner: &Identity, members: &[Identity]) -> Result<Author> {
        let (mut entropy, now, me) = (SystemEntropy::new()?, clock::wall(), &owner.certificate);
        let (publisher, signer) =
            (PublisherId(random_array(&mut entropy)), MessageSigner::generate(&mut entropy));
        let delegation = Delegation {
            sender: me.fingerprint(),
            publisher,
            key: signer.public(),
            not_before: now,
            not_after: now + DELEGATION_TIME,
        };
        let delegation =
            delegation.sign(&owner.key, &mut entropy).map_err(|_| anyhow!("a delegation failed"))?;
        let make = |names: &[String]| -> Result<Vec<Topic>> {
            names.iter().map(|name| Topic::new(name, owner, members)).collect()
        };
        let (some, others) = names.split_at(names.len() / 2);
        let topics = both(|| make(some), || make(others))?;
        Ok(Author { topics, publisher, delegation, bodies: Vec::new(), signer })
    }

    /// Signs and seals `count` messages, on two threads; says how much CPU time each took.
    pub fn seal(&mut self, content: &Content, count: u64) -> Result<Duration> {
        let (author, topic, now) =
            (&*self, self.topics.first().context("a topic to seal for")?, clock::wall());
        let part = |from: u64, to: u64| -> Result<Vec<(Body, Duration)>> {
            let mut entropy = SystemEntropy::new()?;
            let one = |number| {
                let began = process::thread_cpu()?;
                let body = author.seal_one(topic, content, number, now, &mut entropy);
                Ok((body, process::thread_cpu()? - began))
            };
            (from..to).map(one).collect()
        };
        let sealed = both(|| part(0, count / 2), || part(count / 2, count))?;
        let took: Duration = sealed.iter().map(|(_, took)| *took).sum();
        self.bodies = sealed.into_iter().map(|(body, _)| body).collect();
        Ok(took / count.max(1) as u32)
    }

    /// What is published as number `number`. Begins again when there are no more.
    pub fn body(&self, number: u64) -> Option<&Body> {
        let count = self.bodies.len().max(1) as u64;
        self.bodies.get((number % count) as usize)
    }

    fn seal_one(
        &self,
        topic: &Topic,
        content: &Content,
        number: u64,
        now: Wall,
        entropy: &mut SystemEntropy,
    ) -> Body {
        let mut text = Vec::with_capacity(content.len());
        content.write(number, &mut text);
        let sealed = Sealed {
            topic: topic.id,
            epoch_record: topic.epoch_record,
            publisher: self.publisher,
            counter: Counter(number),
            content: &text,
        };
        let mut plain = Vec::with_capacity(content.len() + Sealed::OVERHEAD_BYTES);
        sealed.encode_signed_part(&mut plain);
        let signature = self.signer.sign(&sha256(&plain));
        plain.extend_from_slice(&signature);
        let token = topic.key.seal_to_vec(&plain, now.secs(), &random_array(entropy));
        Body { sha256: sha256(&token), token }
    }
}

impl Topic {
    fn new(name: &str, owner: &Identity, members: &[Identity]) -> Result<Topic> {
        let mut entropy = SystemEntropy::new()?;
        let (name, now) = (TopicName::parse(name).map_err(|e| anyhow!("{e}"))?, clock::wall());
        let me = &owner.certificate;
        let genesis = Genesis {
            name: name.clone(),
            nonce: random_array(&mut entropy),
            owner: me.fingerprint(),
            owner_name: me.name().clone(),
            join: JoinPolicy::Closed,
            history: History::All,
        };
        let genesis = genesis.sign(&owner.key, &mut entropy)?;
        let chain = Chain::begin(&genesis, me.public_key())?;
        let (id, epoch, secret) = (chain.topic(), chain.next_epoch(), Secret32::random(&mut entropy));
        let derive = |label| kdf(secret.expose(), &epoch_salt(id, epoch), label);

        let mut delta = DeltaBuilder::new(&chain, me.fingerprint(), now);
        for other in members.iter().map(|client| &client.certificate) {
            if other.fingerprint() != me.fingerprint() {
                delta.add(other.fingerprint(), other.name().clone(), Role::Member);
            }
        }
        delta.new_epoch(*derive(COMMITMENT_LABEL).expose(), Vec::new());
        let mut wraps = Vec::new();
        for recipient in delta.recipients()? {
            let known = |client: &&Identity| client.certificate.fingerprint() == recipient;
            let member =
                members.iter().chain([owner]).find(known).ok_or(anyhow!("a member of no certificate"))?;
            let key: &PublicKey = member.certificate.public_key();
            let wrap = envelope::seal(key, &wrap_label(id, epoch, recipient), &secret, &mut entropy);
            wraps.push(wrap.map_err(|_| anyhow!("a wrap failed"))?);
        }
        let delta = delta.sign(&wraps, &owner.key, &mut entropy)?;

        let (epoch_record, key) = (RecordHash(sha256(&delta)), SealingKey::new(&derive(BODY_LABEL)));
        Ok(Topic { name, genesis, delta, wraps, epoch, id, epoch_record, key })
    }
}

/// The two parts of a long list, made on two threads.
fn both<T: Send>(
    first: impl FnOnce() -> Result<Vec<T>>,
    second: impl FnOnce() -> Result<Vec<T>> + Send,
) -> Result<Vec<T>> {
    std::thread::scope(|scope| {
        let second = scope.spawn(second);
        let mut all = first()?;
        all.extend(second.join().map_err(|_| anyhow!("a thread panicked while it made messages"))??);
        Ok(all)
    })
}

/// Bodies are read by whoever publishes them, long after they were made.
pub type Shared = Arc<Author>;
