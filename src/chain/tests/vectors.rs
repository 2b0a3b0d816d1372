//! `tests/vectors/chain.json`: two topics' records, byte for byte, with the wraps and
//! commitments that belong to them, and records that are to be refused. For clients in other
//! languages; here they hold that the format does not change unnoticed.
//!
//! After a change of the format on purpose:
//! `cargo test --lib chain::tests::vectors -- --ignored`

use serde_json::{Value, json};

use super::mutants::{self, Base};
use super::*;
use crate::crypto::envelope;
use crate::crypto::fernet::{OpeningKey, SealingKey};
use crate::crypto::kdf::kdf;
use crate::crypto::secret::Secret32;

fn path() -> String {
    format!("{}/tests/vectors/chain.json", env!("CARGO_MANIFEST_DIR"))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

fn unhex(value: &Value) -> Vec<u8> {
    let digits = value.as_str().expect("hexadecimal text");
    let byte = |at| u8::from_str_radix(&digits[at..at + 2], 16).expect("hexadecimal digits");
    (0..digits.len()).step_by(2).map(byte).collect()
}

/// A topic that grows record by record, and what is to be written of it.
struct Story {
    chain: Chain,
    records: Vec<Value>,
}

impl Story {
    fn begin(history: History) -> Story {
        let record = genesis(history).sign(&key_of("alice"), &mut Seeded::new(1)).expect("alice's own");
        let chain = Chain::begin(&record, &key_of("alice").public()).expect("a good genesis");
        let told = json!({ "what": "genesis", "signer": "alice", "record": hex(&record),
            "hash": chain.head().to_string() });
        Story { chain, records: vec![told] }
    }

    /// Adds a record; `rotate` says whether it starts an epoch.
    fn tell(&mut self, what: &str, signer: &str, rotate: bool, fill: impl FnOnce(&mut DeltaBuilder<'_>)) {
        let topic = self.chain.topic();
        let mut builder = DeltaBuilder::new(&self.chain, id(signer), Wall(1_800_000_000_000));
        fill(&mut builder);
        if rotate {
            let epoch = self.chain.next_epoch();
            builder.new_epoch(*commitment(&self.chain, epoch).expose(), previous_token(&self.chain, epoch));
        }
        let epoch = builder.wrap_epoch();
        let recipients = builder.recipients().expect("the lists are good");
        let wrap = |who: &Fingerprint| {
            let (label, to) = (wrap_label(topic, epoch, *who), person(*who));
            let sealed = envelope::seal(&key_of(to).public(), &label, &epoch_key(epoch), &mut Seeded::new(4));
            (to, label, sealed.expect("a sound machine"))
        };
        let wraps: Vec<_> = recipients.iter().map(wrap).collect();
        let sealed: Vec<&[u8]> = wraps.iter().map(|(.., wrap)| &wrap[..]).collect();
        let record = builder.sign(&sealed, &key_of(signer), &mut Seeded::new(2)).expect("allowed");
        let change = self.chain.check(&record, &key_of(signer).public()).expect("a good record");
        self.chain.apply(change).expect("nothing came between");
        let wraps: Vec<Value> = wraps
            .iter()
            .map(|(to, label, wrap)| json!({ "to": to, "label": hex(label), "wrap": hex(wrap) }))
            .collect();
        self.records.push(json!({ "what": what, "signer": signer, "record": hex(&record),
            "hash": self.chain.head().to_string(), "wraps": wraps, "members": self.members(),
            "members_hash": hex(&rules::members_hash(self.chain.members())), "epoch": epoch_json(&self.chain) }));
    }

    fn members(&self) -> Vec<Value> {
        let member = |(who, m): (&Fingerprint, &Member)| json!({ "fingerprint": who.to_string(), "name": m.name.as_str(), "role": m.role as u8 });
        self.chain.members().iter().map(member).collect()
    }
}

/// What the newest epoch is made of.
fn epoch_json(chain: &Chain) -> Value {
    let epoch = chain.epoch().expect("a delta was taken");
    let started = chain.started(epoch).expect("the newest was started");
    json!({ "epoch": epoch.0, "key": hex(epoch_key(epoch).expose()),
        "salt": hex(&epoch_salt(chain.topic(), epoch)), "commitment": hex(&started.commitment),
        "record": started.record.to_string(), "previous_key": hex(&started.previous_key) })
}

/// An epoch's key, which is random in life.
fn epoch_key(epoch: Epoch) -> Secret32 {
    Secret32::new(std::array::from_fn(|i| 0xa0 + epoch.0 as u8 * 0x10 + i as u8 % 16))
}

fn commitment(chain: &Chain, epoch: Epoch) -> Secret32 {
    kdf(epoch_key(epoch).expose(), &epoch_salt(chain.topic(), epoch), COMMITMENT_LABEL)
}

fn previous_token_key(chain: &Chain, epoch: Epoch) -> Secret32 {
    kdf(epoch_key(epoch).expose(), &epoch_salt(chain.topic(), epoch), PREVIOUS_EPOCH_LABEL)
}

/// The key before `epoch`, sealed under that of `epoch`; empty where there is none to be.
fn previous_token(chain: &Chain, epoch: Epoch) -> Vec<u8> {
    let Some(before) = epoch.0.checked_sub(1).filter(|_| chain.history() == History::All) else {
        return vec![];
    };
    let sealing = SealingKey::new(&previous_token_key(chain, epoch));
    sealing.seal_to_vec(epoch_key(Epoch(before)).expose(), 1_800_000_000, &[0x1f; 16])
}

fn person(who: Fingerprint) -> &'static str {
    PEOPLE.iter().map(|(name, _)| *name).find(|name| id(name) == who).expect("one of PEOPLE")
}

fn stories() -> [(&'static str, Story); 2] {
    let mut all = Story::begin(History::All);
    all.tell("first delta", "alice", true, |b| {
        b.add(id("bob"), name("bob"), Role::Admin);
        b.add(id("carol"), name("carol"), Role::Member);
        b.add(id("erin"), name("erin"), Role::Recovery);
    });
    all.tell("an admin adds, in the same epoch", "bob", false, |b| {
        b.add(id("dave"), name("dave"), Role::Member);
    });
    all.tell("an admin removes and denies", "bob", true, |b| {
        b.remove(id("carol")).deny(Fingerprint([0x77; 32]), "ask the owner first");
    });
    all.tell("the owner changes a role and the policy", "alice", false, |b| {
        b.change(id("dave"), Role::Admin).join(JoinPolicy::Open);
    });
    all.tell("one who was removed comes back", "alice", false, |b| {
        b.add(id("carol"), name("carol"), Role::Member);
    });
    let mut since = Story::begin(History::SinceJoin);
    since.tell("first delta", "alice", true, |b| {
        b.add(id("bob"), name("bob"), Role::Admin);
    });
    since.tell("an add starts an epoch", "bob", true, |b| {
        b.add(id("carol"), name("carol"), Role::Member);
    });
    [("all", all), ("since-join", since)]
}

fn refused() -> Vec<Value> {
    let told = |mutant: mutants::Mutant| {
        let after = match mutant.chain {
            Base::Begun => "the genesis of history all",
            Base::All => "the base of history all",
            Base::SinceJoin => "the base of history since-join",
        };
        json!({ "why": mutant.why, "after": after, "signer": mutant.signer, "record": hex(&mutant.record) })
    };
    mutants::all().into_iter().map(told).collect()
}

/// The records that the refused ones would follow.
fn bases() -> Vec<Value> {
    let base = |(what, history): (&str, History)| {
        let genesis = genesis(history).sign(&key_of("alice"), &mut Seeded::new(1)).expect("alice's own");
        let delta = take(&mut begun(history), "alice", fill_base);
        json!({ "what": what, "records": [hex(&genesis), hex(&delta)] })
    };
    let bases =
        [("the base of history all", History::All), ("the base of history since-join", History::SinceJoin)];
    bases.into_iter().map(base).collect()
}

fn document() -> Value {
    let people = PEOPLE.map(|(who, file)| {
        json!({ "name": who, "key": format!("keys/{file}.key"), "fingerprint": id(who).to_string() })
    });
    let topics = stories().map(|(history, story)| {
        json!({ "name": "home/kitchen", "history": history, "id": story.chain.topic().to_string(),
            "head": story.chain.head().to_string(), "records": story.records })
    });
    json!({
        "about": "Membership records of docs/PROTOCOL.md, 7.1 and 7.2; all bytes in hexadecimal. \
                  Every record under `topics` is good in its order; `epoch` is the newest after it. Each of \
                  `refused` would follow the records of its base and breaks one rule; its signature is good. \
                  The wraps of `bases` and `refused` are not given: only their hashes matter there.",
        "people": people, "topics": topics, "bases": bases(), "refused": refused(),
    })
}

fn kept() -> Value {
    let text = std::fs::read_to_string(path()).expect("the vectors are kept with the tests");
    serde_json::from_str(&text).expect("the vectors are JSON")
}

#[test]
fn the_kept_vectors_are_what_is_made_today() {
    assert!(kept() == document(), "the format changed: see this file's head");
}

/// As a client would use them: from the file alone, with the keys beside it.
#[test]
fn the_kept_vectors_hold() {
    let kept = kept();
    let signer = |record: &Value| key_of(record["signer"].as_str().expect("a name")).public();
    for topic in kept["topics"].as_array().expect("topics") {
        let records = topic["records"].as_array().expect("records");
        let mut chain = Chain::begin(&unhex(&records[0]["record"]), &signer(&records[0])).expect("a genesis");
        assert_eq!(topic["id"], chain.topic().to_string());
        for record in &records[1..] {
            let change = chain.check(&unhex(&record["record"]), &signer(record)).expect("a good record");
            let wraps = record["wraps"].as_array().expect("wraps");
            change.check_wraps(wraps.iter().map(|w| unhex(&w["wrap"])).collect()).expect("its own wraps");
            chain.apply(change).expect("in order");
            check_keys(&chain, record, wraps);
        }
        assert_eq!(topic["head"], chain.head().to_string());
    }
}

/// Opens every wrap, and the key of the epoch before.
fn check_keys(chain: &Chain, record: &Value, wraps: &[Value]) {
    let epoch = chain.epoch().expect("a delta was taken");
    let started = chain.started(epoch).expect("the newest was started");
    assert_eq!(record["hash"], chain.head().to_string());
    for wrap in wraps {
        let to = wrap["to"].as_str().expect("a name");
        let label = wrap_label(chain.topic(), epoch, id(to));
        assert_eq!(unhex(&wrap["label"]), label);
        let key = envelope::open(&key_of(to), &label, &unhex(&wrap["wrap"]), &mut Seeded::new(5));
        let key = key.expect("the recipient opens its wrap");
        let commitment = kdf(key.expose(), &epoch_salt(chain.topic(), epoch), COMMITMENT_LABEL);
        assert_eq!(commitment.expose(), &started.commitment);
        assert_eq!(unhex(&record["epoch"]["key"]), key.expose());
    }
    if epoch > Epoch(0) && chain.history() == History::All {
        let mut token = started.previous_key.clone();
        let opened = OpeningKey::new(&previous_token_key(chain, epoch));
        assert_eq!(opened.open(&mut token).expect("its token"), epoch_key(Epoch(epoch.0 - 1)).expose());
    }
}

#[test]
#[ignore = "writes tests/vectors/chain.json"]
fn write() {
    let text = serde_json::to_string_pretty(&document()).expect("it is JSON");
    std::fs::write(path(), text + "\n").expect("the source tree can be written");
}
