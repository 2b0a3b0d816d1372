//! A sealmq topic and its messages, made before the clock runs: real records, real wraps, each
//! message signed and sealed as `docs/PROTOCOL.md`, 7, says. A real client reads them.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, anyhow};
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
use crate::pki::{Identity, Pki};
use crate::process;

/// A topic that is not yet created, and what its owner says in it.
pub struct Author {
    pub name: TopicName,
    pub genesis: Vec<u8>,
    pub delta: Vec<u8>,
    pub wraps: Vec<Vec<u8>>,
    pub publisher: PublisherId,
    pub delegation: Vec<u8>,
    pub epoch: Epoch,
    /// By counter.
    pub bodies: Vec<Body>,
    key: BodyKey,
}

/// A message as it goes over the wire, with the hash that its frame states.
pub struct Body {
    pub token: Vec<u8>,
    pub sha256: [u8; 32],
}

/// What makes bodies of one topic.
struct BodyKey {
    topic: TopicId,
    epoch_record: RecordHash,
    publisher: PublisherId,
    signer: MessageSigner,
    key: SealingKey,
}

/// Signed for so long; a run takes minutes.
const DELEGATION_TIME: Duration = Duration::from_secs(86_400);

impl Author {
    /// A topic of `owner` that all identities of the run are members of.
    pub fn new(name: &str, owner: &Identity, pki: &Pki) -> Result<Author> {
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
        let (topic, epoch, secret) = (chain.topic(), chain.next_epoch(), Secret32::random(&mut entropy));
        let derive = |label| kdf(secret.expose(), &epoch_salt(topic, epoch), label);

        let mut delta = DeltaBuilder::new(&chain, me.fingerprint(), now);
        for other in pki.clients.iter().map(|client| &client.certificate) {
            if other.fingerprint() != me.fingerprint() {
                delta.add(other.fingerprint(), other.name().clone(), Role::Member);
            }
        }
        delta.new_epoch(*derive(COMMITMENT_LABEL).expose(), Vec::new());
        let mut wraps = Vec::new();
        for recipient in delta.recipients()? {
            let known = |client: &&Identity| client.certificate.fingerprint() == recipient;
            let member = pki.clients.iter().find(known).ok_or(anyhow!("a member of no certificate"))?;
            let key: &PublicKey = member.certificate.public_key();
            let wrap = envelope::seal(key, &wrap_label(topic, epoch, recipient), &secret, &mut entropy);
            wraps.push(wrap.map_err(|_| anyhow!("a wrap failed"))?);
        }
        let delta = delta.sign(&wraps, &owner.key, &mut entropy)?;

        let key = BodyKey {
            topic,
            epoch_record: RecordHash(sha256(&delta)),
            publisher: PublisherId(random_array(&mut entropy)),
            signer: MessageSigner::generate(&mut entropy),
            key: SealingKey::new(&derive(BODY_LABEL)),
        };
        let delegation = Delegation {
            sender: me.fingerprint(),
            publisher: key.publisher,
            key: key.signer.public(),
            not_before: now,
            not_after: now + DELEGATION_TIME,
        };
        let delegation =
            delegation.sign(&owner.key, &mut entropy).map_err(|_| anyhow!("a delegation failed"))?;
        let publisher = key.publisher;
        Ok(Author { name, genesis, delta, wraps, publisher, delegation, epoch, bodies: Vec::new(), key })
    }

    /// Signs and seals `count` messages, on two threads; says how much CPU time each took.
    pub fn seal(&mut self, content: &Content, count: u64) -> Result<Duration> {
        let (key, now) = (&self.key, clock::wall());
        let part = |from: u64, to: u64| -> Result<(Vec<Body>, Duration)> {
            let (mut entropy, began) = (SystemEntropy::new()?, process::thread_cpu()?);
            let bodies = (from..to).map(|number| key.seal(content, number, now, &mut entropy)).collect();
            Ok((bodies, process::thread_cpu()? - began))
        };
        let (first, second) = std::thread::scope(|scope| {
            let second = scope.spawn(|| part(count / 2, count));
            (part(0, count / 2), second.join())
        });
        let (mut bodies, took) = first?;
        let (rest, as_long) = second.map_err(|_| anyhow!("a thread panicked while it sealed"))??;
        bodies.extend(rest);
        self.bodies = bodies;
        Ok((took + as_long) / count.max(1) as u32)
    }
}

impl BodyKey {
    fn seal(&self, content: &Content, number: u64, now: Wall, entropy: &mut SystemEntropy) -> Body {
        let mut text = Vec::with_capacity(content.len());
        content.write(number, &mut text);
        let sealed = Sealed {
            topic: self.topic,
            epoch_record: self.epoch_record,
            publisher: self.publisher,
            counter: Counter(number),
            content: &text,
        };
        let mut plain = Vec::with_capacity(content.len() + Sealed::OVERHEAD_BYTES);
        sealed.encode_signed_part(&mut plain);
        let signature = self.signer.sign(&sha256(&plain));
        plain.extend_from_slice(&signature);
        let token = self.key.seal_to_vec(&plain, now.secs(), &random_array(entropy));
        Body { sha256: sha256(&token), token }
    }
}

/// Bodies are read by whoever publishes them, long after they were made.
pub type Shared = Arc<Author>;
