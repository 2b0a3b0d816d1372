//! A topic as its owner makes it, for a scripted broker to deliver.

use super::author::Author;
use crate::base::ids::{
    Counter, Epoch, Fingerprint, Incarnation, Offset, PublisherId, RecordHash, RequestId, TopicHandle,
};
use crate::base::names::TopicName;
use crate::base::time::Wall;
use crate::chain::{
    Chain, DeltaBuilder, Genesis, History, JoinPolicy, PREVIOUS_EPOCH_LABEL, Role as MemberRole, epoch_salt,
};
use crate::client::body::{BodyKey, Place};
use crate::client::keyring::EpochKey;
use crate::crypto::cert::testing::{NOON, Seeded, World, name};
use crate::crypto::digest::sha256;
use crate::crypto::fernet::SealingKey;
use crate::crypto::kdf::kdf;
use crate::crypto::key::{PrivateKey, PublicKey};
use crate::crypto::secret::Secret32;
use crate::wire::body::{Body, BodyRef};
use crate::wire::frame::BrokerFrame;
use crate::wire::values::{Durability, Notice};

pub const HANDLE: TopicHandle = TopicHandle(7);
pub const INCARNATION: Incarnation = Incarnation(42);
/// The publisher of scripted messages, and the number that the broker gives it.
pub const PUBLISHER: PublisherId = PublisherId([6; 16]);
pub const SENDER: u32 = 3;

pub struct Script {
    pub name: TopicName,
    key: PrivateKey,
    pub certificate: Vec<u8>,
    /// Who signs the records from this number on.
    admin: Option<(usize, PrivateKey, Vec<u8>)>,
    pub chain: Chain,
    secret: Secret32,
    /// What is added next.
    role: MemberRole,
    members: Vec<PublicKey>,
    pub records: Vec<ScriptRecord>,
    entropy: Seeded,
    /// The owner, as a sender.
    pub author: Author,
}

#[derive(Clone)]
pub struct ScriptRecord {
    pub bytes: Vec<u8>,
    pub offset: Offset,
    pub wraps: Vec<(Fingerprint, Vec<u8>)>,
}

impl Script {
    /// Genesis and first delta, at offsets 0 and 1.
    pub fn new(world: &World, topic: &str, owner: &str, members: &[&str], seed: u64) -> Script {
        Script::by(world, topic, owner, world.client(owner), members, seed)
    }

    /// The same with an owner who has this key and certificate.
    pub fn by(
        world: &World,
        topic: &str,
        owner: &str,
        (key, certificate): (PrivateKey, Vec<u8>),
        members: &[&str],
        seed: u64,
    ) -> Script {
        let mut entropy = Seeded::new(seed);
        let genesis = Genesis {
            name: TopicName::parse(topic).expect("a good name"),
            nonce: [seed as u8; 32],
            owner: key.public().fingerprint(),
            owner_name: name(owner),
            join: JoinPolicy::Ask,
            history: History::All,
        };
        let bytes = genesis.sign(&key, &mut entropy).expect("a good genesis");
        let chain = Chain::begin(&bytes, &key.public()).expect("a good genesis");
        let mut script = Script {
            name: genesis.name,
            chain,
            secret: Secret32::random(&mut entropy),
            role: MemberRole::Member,
            members: vec![key.public()],
            records: vec![ScriptRecord { bytes, offset: Offset(0), wraps: Vec::new() }],
            key,
            certificate,
            admin: None,
            entropy,
            author: Author::new(world, owner, PUBLISHER, SENDER),
        };
        let added: Vec<(String, PublicKey)> =
            members.iter().map(|who| (who.to_string(), world.client(who).0.public())).collect();
        script.append(Offset(1), &added, &[], true);
        script
    }

    /// A record at `offset` that removes somebody, and so starts another epoch.
    pub fn remove(&mut self, world: &World, who: &str, offset: u64) {
        let who = world.client(who).0.public().fingerprint();
        self.append(Offset(offset), &[], &[who], true);
    }

    /// A record at `offset` that adds somebody who only holds a key for recovery.
    pub fn admit_for_recovery(&mut self, world: &World, who: &str, offset: u64) {
        let key = world.client(who).0.public();
        self.role = MemberRole::Recovery;
        self.append(Offset(offset), &[(who.into(), key)], &[], false);
        self.role = MemberRole::Member;
    }

    /// A record at `offset` that starts another epoch.
    pub fn rotate(&mut self, offset: u64) {
        self.append(Offset(offset), &[], &[], true);
    }

    /// A record at `offset` that adds somebody to the epoch that there is.
    pub fn admit(&mut self, world: &World, who: &str, offset: u64) {
        let key = world.client(who).0.public();
        self.append(Offset(offset), &[(who.into(), key)], &[], false);
    }

    /// The same with a key of the caller's choice.
    pub fn admit_as(&mut self, who: &str, key: &PublicKey, offset: u64) {
        self.append(Offset(offset), &[(who.into(), key.clone())], &[], false);
    }

    /// A record at `offset` that makes a member an admin.
    pub fn promote(&mut self, world: &World, who: &str, offset: u64) {
        let who = world.client(who).0.public().fingerprint();
        self.append_with(Offset(offset), &[], false, |delta| _ = delta.change(who, MemberRole::Admin));
    }

    /// A record at `offset` that sets the join policy.
    pub fn set_join(&mut self, join: JoinPolicy, offset: u64) {
        self.append_with(Offset(offset), &[], false, |delta| _ = delta.join(join));
    }

    /// A record that a client has made, as the next entry. Its epoch's key is the client's own.
    pub fn adopt(&mut self, record: &[u8], wraps: Vec<Vec<u8>>) {
        let change = self.chain.check(record, &self.key.public()).expect("a good record");
        let wraps = change.check_wraps(wraps).expect("the wraps that it names");
        self.chain.apply(change).expect("the next delta");
        let offset = Offset(self.records.len() as u64);
        self.records.push(ScriptRecord { bytes: record.to_vec(), offset, wraps });
    }

    /// From now on this admin signs the records.
    pub fn signs_as(&mut self, world: &World, who: &str) {
        let (key, certificate) = world.client(who);
        self.admin = Some((self.records.len(), key, certificate));
    }

    fn append(
        &mut self,
        offset: Offset,
        added: &[(String, PublicKey)],
        removed: &[Fingerprint],
        starts_epoch: bool,
    ) {
        let remove = |delta: &mut DeltaBuilder<'_>| removed.iter().for_each(|who| _ = delta.remove(*who));
        self.append_with(offset, added, starts_epoch, remove);
    }

    fn append_with(
        &mut self,
        offset: Offset,
        added: &[(String, PublicKey)],
        starts_epoch: bool,
        change: impl FnOnce(&mut DeltaBuilder<'_>),
    ) {
        let signer = self.admin.as_ref().map_or(&self.key, |(_, key, _)| key).clone();
        let (topic, next) = (self.chain.topic(), self.chain.next_epoch());
        let mut previous = Vec::new();
        if starts_epoch && next > Epoch(0) {
            let before = std::mem::replace(&mut self.secret, Secret32::random(&mut self.entropy));
            let carrier = kdf(self.secret.expose(), &epoch_salt(topic, next), PREVIOUS_EPOCH_LABEL);
            previous = SealingKey::new(&carrier).seal_to_vec(before.expose(), 1, &[4; 16]);
        }
        let mut delta = DeltaBuilder::new(&self.chain, signer.public().fingerprint(), NOON);
        change(&mut delta);
        for (who, key) in added {
            delta.add(key.fingerprint(), name(who), self.role);
            self.members.push(key.clone());
        }
        let epoch = if starts_epoch { next } else { self.chain.epoch().expect("there is an epoch") };
        let key = EpochKey::new(topic, epoch, self.secret.clone());
        if starts_epoch {
            delta.new_epoch(key.commitment(), previous);
        }
        let recipients = delta.recipients().expect("good members");
        let wrap = |who: &Fingerprint| {
            let member = self.members.iter().find(|k| k.fingerprint() == *who).expect("a member's key");
            (*who, key.wrap(member, &mut self.entropy).expect("a sound machine"))
        };
        let wraps: Vec<(Fingerprint, Vec<u8>)> = recipients.iter().map(wrap).collect();
        let bare: Vec<&Vec<u8>> = wraps.iter().map(|(_, wrap)| wrap).collect();
        let bytes = delta.sign(&bare, &signer, &mut self.entropy).expect("a good delta");
        let change = self.chain.check(&bytes, &signer.public()).expect("a good delta");
        self.chain.apply(change).expect("the next delta");
        self.records.push(ScriptRecord { bytes, offset, wraps });
    }

    /// Record `number` as the broker sends it to `who`.
    pub fn record(&self, number: usize, who: Fingerprint) -> BrokerFrame {
        let record = &self.records[number];
        let wrap = record.wraps.iter().find(|(to, _)| *to == who).map(|(_, wrap)| wrap.clone());
        BrokerFrame::Record {
            topic: HANDLE,
            offset: record.offset,
            time: NOON,
            record: record.bytes.clone(),
            wrap: wrap.unwrap_or_default(),
            certificate: match &self.admin {
                Some((from, _, certificate)) if number >= *from => certificate.clone(),
                _ => self.certificate.clone(),
            },
        }
    }

    /// All records that there are.
    pub fn all_records(&self, who: Fingerprint) -> Vec<BrokerFrame> {
        (0..self.records.len()).map(|number| self.record(number, who)).collect()
    }

    /// The answer that opens the topic, with delivery from `start` on.
    pub fn announce(&self, request: RequestId, start: u64, end: u64) -> BrokerFrame {
        BrokerFrame::Topic {
            request,
            topic: HANDLE,
            name: self.name.clone(),
            incarnation: INCARNATION,
            start: Offset(start),
            end: Offset(end),
            durability: Durability::Memory,
            notice: Notice::None,
        }
    }

    /// The owner, as a sender of messages.
    pub fn sender(&self) -> BrokerFrame {
        self.author.introduce()
    }

    pub fn place(&self, counter: u64) -> Place {
        self.place_of(&self.author, counter)
    }

    /// The place of a message in the newest epoch.
    pub fn place_of(&self, author: &Author, counter: u64) -> Place {
        let epoch = self.chain.epoch().expect("there is an epoch");
        let record = self.chain.started(epoch).map(|started| started.record);
        Place {
            topic: self.chain.topic(),
            epoch_record: record.unwrap_or(RecordHash([0; 32])),
            publisher: author.publisher,
            counter: Counter(counter),
        }
    }

    /// The key of bodies in the newest epoch.
    pub fn body_key(&self) -> BodyKey {
        let epoch = self.chain.epoch().expect("there is an epoch");
        BodyKey::new(&kdf(self.secret.expose(), &epoch_salt(self.chain.topic(), epoch), "body"))
    }

    /// The owner's message number `counter` at `offset`, and its body.
    pub fn message(&self, offset: u64, counter: u64, content: &[u8]) -> (BrokerFrame, Vec<u8>) {
        self.message_of(&self.author, offset, counter, content)
    }

    /// Somebody's message.
    pub fn message_of(
        &self,
        author: &Author,
        offset: u64,
        counter: u64,
        content: &[u8],
    ) -> (BrokerFrame, Vec<u8>) {
        let place = self.place_of(author, counter);
        let body = self.body_key().seal(&place, content, &author.signer, Wall(0));
        (self.frame_of(author, offset, counter, &body), body)
    }

    /// A body of a form without a signature.
    pub fn unsigned_body(&self, counter: u64, content: &[u8]) -> Vec<u8> {
        let place = self.place(counter);
        let (topic, record) = (place.topic.0, place.epoch_record.0);
        let mut plain = vec![1, 0];
        for part in [&topic[..], &record, &place.publisher.0, &counter.to_be_bytes(), content] {
            plain.extend_from_slice(part);
        }
        let epoch = self.chain.epoch().expect("there is an epoch");
        let key = kdf(self.secret.expose(), &epoch_salt(self.chain.topic(), epoch), "body");
        SealingKey::new(&key).seal_to_vec(&plain, 1, &[4; 16])
    }

    /// A frame that brings `body` as the owner's message number `counter` at `offset`.
    pub fn frame(&self, offset: u64, counter: u64, body: &[u8]) -> BrokerFrame {
        self.frame_of(&self.author, offset, counter, body)
    }

    pub fn frame_of(&self, author: &Author, offset: u64, counter: u64, body: &[u8]) -> BrokerFrame {
        BrokerFrame::Message {
            topic: HANDLE,
            offset: Offset(offset),
            time: NOON,
            sender: author.number,
            epoch: self.chain.epoch().expect("there is an epoch"),
            counter: Counter(counter),
            body: Body::Beside(BodyRef { len: body.len() as u32, sha256: sha256(body) }),
        }
    }
}
