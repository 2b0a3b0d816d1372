//! What somebody can make who has a member's key and all that the broker sees: bodies under the
//! topic's keys, delegations, records.

use std::collections::BTreeMap;
use std::sync::Arc;

use sealmq::base::ids::{Counter, Epoch, Fingerprint, Offset, PublisherId, TopicHandle};
use sealmq::broker::lies::Said;
use sealmq::chain::{
    BODY_LABEL, COMMITMENT_LABEL, Chain, DeltaBuilder, PREVIOUS_KEY_BYTES, epoch_salt, wrap_label,
};
use sealmq::crypto::cert::Role;
use sealmq::crypto::cert::testing::Seeded;
use sealmq::crypto::digest::sha256;
use sealmq::crypto::ed25519::MessageSigner;
use sealmq::crypto::envelope;
use sealmq::crypto::fernet::SealingKey;
use sealmq::crypto::kdf::kdf;
use sealmq::crypto::key::PrivateKey;
use sealmq::crypto::secret::Secret32;
use sealmq::wire::body::{Body, BodyRef, Sealed};
use sealmq::wire::frame::BrokerFrame;

use crate::town::Town;

/// A topic with its keys, as a member knows it.
pub struct Insider {
    pub chain: Chain,
    keys: BTreeMap<Epoch, Secret32>,
}

/// What a body says of itself.
pub struct Claim<'a> {
    pub epoch: Epoch,
    pub publisher: PublisherId,
    pub counter: Counter,
    pub content: &'a [u8],
    /// Who signs it, if anybody.
    pub signer: Option<&'a MessageSigner>,
}

impl Insider {
    /// What `who`, a member, knows of a topic that the broker has delivered to it.
    pub fn of(town: &Town, who: &str, topic: &str) -> Insider {
        let (handle, key) = (town.handle(who, topic), town.key(who));
        let (mut chain, mut keys) = (None::<Chain>, BTreeMap::new());
        for (record, wrap, certificate) in records(town, who, handle) {
            let trust = &town.world.trust;
            let signer = trust.verify_historic(&certificate, Role::Client).expect("an honest record");
            match &mut chain {
                None => chain = Some(Chain::begin(&record, signer.public_key()).expect("an honest record")),
                Some(chain) => {
                    let change = chain.check(&record, signer.public_key()).expect("an honest record");
                    chain.apply(change).expect("an honest record");
                    let (topic, epoch) = (chain.topic(), chain.epoch().expect("a first delta"));
                    if !wrap.is_empty() {
                        let label = wrap_label(topic, epoch, key.public().fingerprint());
                        let secret = envelope::open(key, &label, &wrap, &mut Seeded::new(1));
                        keys.insert(epoch, secret.expect("the member's own wrap"));
                    }
                }
            }
        }
        Insider { chain: chain.expect("a topic with records"), keys }
    }

    /// A body under the key of an epoch.
    pub fn body(&self, claim: Claim<'_>) -> Arc<[u8]> {
        let (topic, epoch) = (self.chain.topic(), claim.epoch);
        let started = self.chain.started(epoch).expect("an epoch that has begun");
        let sealed = Sealed {
            topic,
            epoch_record: started.record,
            publisher: claim.publisher,
            counter: claim.counter,
            content: claim.content,
        };
        let mut plain = Vec::new();
        sealed.encode_signed_part(&mut plain);
        match claim.signer {
            Some(signer) => plain.extend_from_slice(&signer.sign(&sha256(&plain))),
            // The kind that has no signature.
            None => plain[1] = 0,
        }
        let key = kdf(self.keys[&epoch].expose(), &epoch_salt(topic, epoch), BODY_LABEL);
        SealingKey::new(&key).seal_to_vec(&plain, 1_795_435_200, &[7; 16]).into()
    }

    /// A delta on top of the chain that breaks no rule but those of who may sign it.
    pub fn unchecked_delta(
        &self,
        town: &Town,
        signer: &PrivateKey,
        change: impl FnOnce(&mut DeltaBuilder<'_>),
    ) -> Vec<u8> {
        let (owner, entropy) = (town.key(self.chain.owner_name().as_str()), &mut Seeded::new(3));
        let mut builder = DeltaBuilder::new(&self.chain, self.chain.owner(), town.now.wall);
        change(&mut builder);
        let recipients = builder.recipients().expect("a change that can be made");
        let wraps: Vec<Vec<u8>> = recipients.iter().map(|to| to.0.repeat(8)).collect();
        let honest = builder.sign(&wraps, owner, entropy).expect("a change that the owner may make");
        let change = self.chain.check(&honest, &owner.public()).expect("a change that the owner may make");
        let mut delta = change.delta().clone();
        delta.signer = signer.public().fingerprint();
        delta.sign(signer, entropy).expect("a sound machine")
    }

    /// A new epoch by `admin`, which commits to one key while the wraps hold another; and the wraps.
    pub fn epoch_of_two_keys(&self, town: &Town, admin: &str) -> (Vec<u8>, BTreeMap<Fingerprint, Vec<u8>>) {
        let (topic, key, entropy) = (self.chain.topic(), town.key(admin), &mut Seeded::new(4));
        let (said, given) = (Secret32::random(entropy), Secret32::random(entropy));
        let mut builder = DeltaBuilder::new(&self.chain, key.public().fingerprint(), town.now.wall);
        let epoch = self.chain.next_epoch();
        let commitment = *kdf(said.expose(), &epoch_salt(topic, epoch), COMMITMENT_LABEL).expose();
        builder.new_epoch(commitment, vec![1; PREVIOUS_KEY_BYTES]);
        let members = builder.recipients().expect("a change that can be made");
        let wraps = members.iter().map(|to| {
            let label = wrap_label(topic, epoch, *to);
            envelope::seal(&town.key_of(*to).public(), &label, &given, entropy).expect("a sound machine")
        });
        let wraps: Vec<Vec<u8>> = wraps.collect();
        let record = builder.sign(&wraps, key, entropy).expect("a change that an admin may make");
        (record, members.into_iter().zip(wraps).collect())
    }
}

/// The records that `who` was sent under a handle: record, wrap, signer's certificate.
pub fn records(town: &Town, who: &str, under: TopicHandle) -> Vec<(Vec<u8>, Vec<u8>, Vec<u8>)> {
    let mut seen = BTreeMap::<Offset, _>::new();
    for said in town.truth(who) {
        if let BrokerFrame::Record { topic, offset, record, wrap, certificate, .. } = said.frame
            && topic == under
        {
            seen.insert(offset, (record, wrap, certificate));
        }
    }
    seen.into_values().collect()
}

/// The messages that `who` was sent under a handle.
pub fn messages(town: &Town, who: &str, under: TopicHandle) -> Vec<Said> {
    let is_one = |said: &Said| matches!(said.frame, BrokerFrame::Message { topic, .. } if topic == under);
    town.truth(who).into_iter().filter(is_one).collect()
}

/// The introductions of `sender` that `who` was sent under a handle.
pub fn introduction(town: &Town, who: &str, under: TopicHandle, of: Fingerprint) -> BrokerFrame {
    let is_it = |frame: &BrokerFrame| matches!(frame, BrokerFrame::Sender { topic, fingerprint, .. } if *topic == under && *fingerprint == of);
    let truth = town.truth(who);
    truth.into_iter().map(|said| said.frame).find(is_it).expect("a sender that was introduced")
}

/// A message with another body.
pub fn with_body(frame: &BrokerFrame, with: Arc<[u8]>) -> Said {
    let mut frame = frame.clone();
    if let BrokerFrame::Message { body, .. } = &mut frame {
        *body = Body::Beside(BodyRef { len: with.len() as u32, sha256: sha256(&with) });
    }
    Said { frame, body: Some(with) }
}
