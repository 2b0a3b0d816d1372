//! Who is on stage: certificates of fixed keys, one good handshake, one good topic.

use std::sync::LazyLock;

use sealmq::base::entropy::random_array;
use sealmq::base::ids::{Epoch, TopicId};
use sealmq::base::names::TopicName;
use sealmq::base::{Entropy, Wall};
use sealmq::chain::{
    BODY_LABEL, COMMITMENT_LABEL, Chain, DeltaBuilder, Genesis, History, JoinPolicy, Role as MemberRole,
    epoch_salt, wrap_label,
};
use sealmq::crypto::cert::testing::{NOON, Seeded, World, key, world};
use sealmq::crypto::cert::{Certificate, Role};
use sealmq::crypto::envelope;
use sealmq::crypto::kdf::kdf;
use sealmq::crypto::key::PrivateKey;
use sealmq::crypto::secret::Secret32;
use sealmq::session::{broker, client};

pub type Party = (PrivateKey, Certificate);

/// A CA, its broker, and three clients.
pub struct Stage {
    pub world: World,
    pub broker: Party,
    pub alice: Party,
    pub bob: Party,
    pub carol: Party,
}

/// The topics that inputs speak of. The first two exist, so to say.
pub const TOPICS: [&str; 4] = ["home/kitchen", "home/hall", "lab", "$no such name"];
pub const FILTERS: [&str; 6] = ["home/kitchen", "home/+", "#", "lab/#", "+/+", "home/hall"];

pub static STAGE: LazyLock<Stage> = LazyLock::new(|| {
    let world = world();
    let client = |who: &str| (key(who), world.issue(who, who, Role::Client, &[]));
    Stage {
        broker: (world.broker.0.clone(), world.verified(&world.broker.1, Role::Broker)),
        alice: client("alice"),
        bob: client("bob"),
        carol: client("carol"),
        world,
    }
});

impl Stage {
    pub fn as_broker<'a>(&'a self, entropy: &'a mut dyn Entropy) -> broker::Surroundings<'a> {
        broker::Surroundings { certificate: &self.broker.1, trust: &self.world.trust, now: NOON, entropy }
    }

    pub fn as_client<'a>(&'a self, who: &'a Party, entropy: &'a mut dyn Entropy) -> client::Surroundings<'a> {
        client::Surroundings {
            trust: &self.world.trust,
            certificate: &who.1,
            key: &who.0,
            host: Some("localhost"),
            now: NOON,
            entropy,
        }
    }
}

/// A topic's first records, all good, and the key of its first epoch.
pub struct Topic {
    pub id: TopicId,
    pub name: TopicName,
    /// Genesis; alice and bob; bob goes, a new epoch; carol comes.
    pub records: Vec<Vec<u8>>,
    /// The wraps of each record.
    pub wraps: Vec<Vec<Vec<u8>>>,
    /// The chain before each record, and after the last.
    pub chains: Vec<Chain>,
}

pub static KITCHEN: LazyLock<Topic> = LazyLock::new(|| topic(TOPICS[0], 1));
pub static HALL: LazyLock<Topic> = LazyLock::new(|| topic(TOPICS[1], 2));

/// The secret of an epoch: known here, so that good bodies can be made.
fn epoch_secret(epoch: Epoch) -> Secret32 {
    Secret32::new([0x40 + epoch.0 as u8; 32])
}

impl Topic {
    pub fn body_key(&self, epoch: Epoch) -> Secret32 {
        kdf(epoch_secret(epoch).expose(), &epoch_salt(self.id, epoch), BODY_LABEL)
    }
}

fn topic(name: &str, seed: u64) -> Topic {
    let mut entropy = Seeded::new(seed);
    let (alice_key, alice) = &STAGE.alice;
    let genesis = Genesis {
        name: TopicName::parse(name).expect("a good name"),
        nonce: random_array(&mut entropy),
        owner: alice.fingerprint(),
        owner_name: alice.name().clone(),
        join: JoinPolicy::Ask,
        history: History::SinceJoin,
    };
    let name = genesis.name.clone();
    let genesis = genesis.sign(alice_key, &mut entropy).expect("alice's own");
    let chain = Chain::begin(&genesis, alice.public_key()).expect("a good genesis");
    let mut topic = Topic {
        id: chain.topic(),
        name,
        records: vec![genesis],
        wraps: vec![Vec::new()],
        chains: vec![chain],
    };
    let (bob, carol) = (STAGE.bob.1.clone(), STAGE.carol.1.clone());
    let adds_bob = |b: &mut DeltaBuilder<'_>| {
        b.add(bob.fingerprint(), bob.name().clone(), MemberRole::Admin);
    };
    let removes_bob = |b: &mut DeltaBuilder<'_>| {
        b.remove(bob.fingerprint());
    };
    let adds_carol = |b: &mut DeltaBuilder<'_>| {
        b.add(carol.fingerprint(), carol.name().clone(), MemberRole::Member);
    };
    append(&mut topic, &adds_bob, &mut entropy);
    append(&mut topic, &removes_bob, &mut entropy);
    append(&mut topic, &adds_carol, &mut entropy);
    topic
}

fn append(topic: &mut Topic, fill: &dyn Fn(&mut DeltaBuilder<'_>), entropy: &mut Seeded) {
    let chain = topic.chains.last().expect("the genesis made one");
    let mut builder = DeltaBuilder::new(chain, STAGE.alice.1.fingerprint(), NOON);
    fill(&mut builder);
    let epoch = chain.next_epoch();
    let secret = epoch_secret(epoch);
    let commitment = *kdf(secret.expose(), &epoch_salt(topic.id, epoch), COMMITMENT_LABEL).expose();
    builder.new_epoch(commitment, Vec::new());
    let recipients = builder.recipients().expect("the rules allow it");
    let wraps: Vec<Vec<u8>> = recipients
        .iter()
        .map(|to| {
            let parties = [&STAGE.alice, &STAGE.bob, &STAGE.carol];
            let (_, certificate) = parties.iter().find(|p| p.1.fingerprint() == *to).expect("one of them");
            let label = wrap_label(topic.id, epoch, *to);
            envelope::seal(certificate.public_key(), &label, &secret, entropy).expect("a sound machine")
        })
        .collect();
    let record = builder.sign(&wraps, &STAGE.alice.0, entropy).expect("the rules allow it");
    let mut next = chain.clone();
    let change = chain.check(&record, STAGE.alice.1.public_key()).expect("a good record");
    next.apply(change).expect("nothing came between");
    topic.records.push(record);
    topic.wraps.push(wraps);
    topic.chains.push(next);
}

/// The time of all that happens.
pub const NOW: Wall = NOON;
