//! The life of topics whose records are good; `mutants` has the bad ones.

use super::record::{Delta, Genesis};
use super::*;
use crate::base::Wall;
use crate::base::ids::{Epoch, Fingerprint, RecordHash};
use crate::base::limits::{CHAIN_RECORD_BYTES_MAX, MEMBERS_MAX, RECORD_MEMBERS_MAX};
use crate::base::names::{Name, TopicName};
use crate::crypto::cert::testing::{Seeded, key};
use crate::crypto::digest::{hash_items, sha256};
use crate::crypto::key::PrivateKey;

mod mutants;
mod vectors;

/// Who signs with which key of `tests/vectors/keys`.
const PEOPLE: [(&str, &str); 5] =
    [("alice", "alice"), ("bob", "bob"), ("carol", "carol"), ("dave", "broker"), ("erin", "other-ca")];

fn key_of(who: &str) -> PrivateKey {
    let (_, file) = PEOPLE.iter().find(|(name, _)| *name == who).expect("one of PEOPLE");
    key(file)
}

fn id(who: &str) -> Fingerprint {
    key_of(who).public().fingerprint()
}

fn name(text: &str) -> Name {
    Name::parse(text).expect("a good name")
}

fn genesis(history: History) -> Genesis {
    Genesis {
        name: TopicName::parse("home/kitchen").expect("a good name"),
        nonce: [0x11; 32],
        owner: id("alice"),
        owner_name: name("alice"),
        join: JoinPolicy::Ask,
        history,
    }
}

/// A topic of alice's with a genesis alone.
fn begun(history: History) -> Chain {
    let record = genesis(history).sign(&key_of("alice"), &mut Seeded::new(1)).expect("alice's own");
    Chain::begin(&record, &key_of("alice").public()).expect("a good genesis")
}

/// Alice owns, bob is admin, carol a member, erin is for recovery; epoch 0.
fn chain(history: History) -> Chain {
    let mut chain = begun(history);
    take(&mut chain, "alice", fill_base);
    chain
}

fn fill_base(b: &mut DeltaBuilder<'_>) {
    b.add(id("bob"), name("bob"), Role::Admin);
    b.add(id("carol"), name("carol"), Role::Member);
    b.add(id("erin"), name("erin"), Role::Recovery);
    b.new_epoch([0xc0; 32], vec![]);
}

/// A record by `who` that the rules allow, with wraps that only look like some.
fn make(chain: &Chain, who: &str, fill: impl FnOnce(&mut DeltaBuilder<'_>)) -> Result<Vec<u8>, ChainError> {
    let mut builder = DeltaBuilder::new(chain, id(who), Wall(1_800_000_000_000));
    fill(&mut builder);
    let recipients = builder.recipients()?;
    let wraps: Vec<Vec<u8>> = recipients.iter().map(fake_wrap).collect();
    builder.sign(&wraps, &key_of(who), &mut Seeded::new(2))
}

fn fake_wrap(recipient: &Fingerprint) -> Vec<u8> {
    recipient.0.repeat(8)
}

/// As [`make`], and the chain takes it.
fn take(chain: &mut Chain, who: &str, fill: impl FnOnce(&mut DeltaBuilder<'_>)) -> Vec<u8> {
    let record = make(chain, who, fill).expect("the rules allow it");
    assert_eq!(signer_of(&record), Ok(id(who)));
    let change = chain.check(&record, &key_of(who).public()).expect("a good record");
    assert_eq!(change.hash(), RecordHash(sha256(&record)));
    chain.apply(change).expect("nothing came between");
    record
}

fn previous_key() -> Vec<u8> {
    vec![0x80; PREVIOUS_KEY_BYTES]
}

fn roles(chain: &Chain) -> Vec<(String, Role)> {
    let mut roles: Vec<_> = chain.members().values().map(|m| (m.name.to_string(), m.role)).collect();
    roles.sort_by(|a, b| a.0.cmp(&b.0));
    roles
}

#[test]
fn a_genesis_begins_a_chain() {
    let record =
        genesis(History::SinceJoin).sign(&key_of("alice"), &mut Seeded::new(1)).expect("alice's own");
    assert_eq!(signer_of(&record), Ok(id("alice")));
    let chain = Chain::begin(&record, &key_of("alice").public()).expect("a good genesis");
    assert_eq!(chain.topic().0, sha256(&record));
    assert_eq!(chain.head(), record_hash(&record));
    assert_eq!((chain.number(), chain.epoch(), chain.next_epoch()), (0, None, Epoch(0)));
    assert_eq!(chain.name().as_str(), "home/kitchen");
    assert_eq!((chain.owner(), chain.owner_name()), (id("alice"), &name("alice")));
    assert_eq!((chain.join(), chain.history()), (JoinPolicy::Ask, History::SinceJoin));
    assert_eq!(roles(&chain), [("alice".to_owned(), Role::Owner)]);
    assert_eq!(chain.started(Epoch(0)), None);
}

#[test]
fn two_topics_of_one_name_have_two_ids() {
    let mut other = genesis(History::All);
    other.nonce[0] ^= 1;
    let record = other.sign(&key_of("alice"), &mut Seeded::new(1)).expect("alice's own");
    assert_ne!(record_hash(&record).0, begun(History::All).topic().0);
}

#[test]
fn members_come_and_go_and_come_back() {
    let mut chain = chain(History::All);
    assert_eq!((chain.number(), chain.epoch()), (1, Some(Epoch(0))));
    take(&mut chain, "bob", |b| {
        b.add(id("dave"), name("dave"), Role::Member);
        assert!(!b.needs_epoch(), "history all: the key is the same");
        assert_eq!(b.wrap_epoch(), Epoch(0));
        assert_eq!(b.recipients(), Ok(vec![id("dave")]));
    });
    assert_eq!((chain.epoch(), chain.members().len()), (Some(Epoch(0)), 5));

    let record = take(&mut chain, "bob", |b| {
        b.remove(id("carol")).deny(Fingerprint([9; 32]), "who is this?");
        assert!(b.needs_epoch());
        b.new_epoch([0xc1; 32], previous_key());
        assert_eq!(b.wrap_epoch(), Epoch(1));
        let mut all = ["alice", "bob", "dave", "erin"].map(id);
        all.sort();
        assert_eq!(b.recipients(), Ok(all.into()), "in fingerprint order");
    });
    assert_eq!((chain.number(), chain.epoch()), (3, Some(Epoch(1))));
    let started = chain.started(Epoch(1)).expect("it was started");
    assert_eq!((started.record, started.commitment), (record_hash(&record), [0xc1; 32]));
    assert_eq!(started.previous_key, previous_key());
    assert!(chain.started(Epoch(0)).is_some() && chain.started(Epoch(2)).is_none());
    assert!(chain.is_barred(id("carol")) && chain.is_barred(Fingerprint([9; 32])));
    assert!(!chain.is_barred(id("dave")));

    take(&mut chain, "alice", |b| {
        b.add(id("carol"), name("carol"), Role::Member);
    });
    assert!(!chain.is_barred(id("carol")), "let in again");
    assert_eq!(chain.barred(Fingerprint([9; 32])), Some(&Barred::Denied("who is this?".into())));
    assert!(chain.is_barred(Fingerprint([9; 32])), "still denied");
}

#[test]
fn the_owner_changes_roles_and_policy() {
    let mut chain = chain(History::All);
    take(&mut chain, "alice", |b| {
        b.change(id("bob"), Role::Member).change(id("carol"), Role::Admin).join(JoinPolicy::Closed);
        assert!(!b.needs_epoch());
        assert_eq!(b.recipients(), Ok(vec![]));
    });
    assert_eq!(chain.join(), JoinPolicy::Closed);
    let expected =
        [("alice", Role::Owner), ("bob", Role::Member), ("carol", Role::Admin), ("erin", Role::Recovery)];
    assert_eq!(roles(&chain), expected.map(|(who, role)| (who.to_owned(), role)));
    let refused = make(&chain, "bob", |b| {
        b.deny(Fingerprint([9; 32]), "who is this?");
    });
    assert_eq!(refused, Err(ChainError::MayNotSign(id("bob"))), "an admin no more");
    take(&mut chain, "carol", |b| {
        b.remove(id("bob")).new_epoch([1; 32], previous_key());
    });
    assert_eq!(chain.join(), JoinPolicy::Closed, "as before");
}

#[test]
fn since_join_starts_an_epoch_with_every_add() {
    let mut chain = chain(History::SinceJoin);
    let refused = make(&chain, "bob", |b| {
        b.add(id("dave"), name("dave"), Role::Member);
        assert!(b.needs_epoch());
    });
    assert_eq!(refused, Err(ChainError::NoEpoch));
    take(&mut chain, "bob", |b| {
        b.add(id("dave"), name("dave"), Role::Member).new_epoch([2; 32], vec![]);
    });
    take(&mut chain, "alice", |b| {
        b.remove(id("dave")).new_epoch([3; 32], vec![]);
    });
    assert_eq!(chain.epoch(), Some(Epoch(2)));
}

#[test]
fn of_two_records_on_one_head_the_second_is_refused() {
    let mut chain = chain(History::All);
    let adds = |who| {
        make(&chain, who, |b| {
            b.add(id("dave"), name("dave"), Role::Member);
        })
    };
    let (first, second) = (adds("alice").expect("allowed"), adds("bob").expect("allowed"));
    let [one, two] = [(&first, "alice"), (&second, "bob")]
        .map(|(r, who)| chain.check(r, &key_of(who).public()).expect("both are good so far"));
    chain.apply(one.clone()).expect("the first");
    let after = chain.clone();
    assert_eq!(chain.apply(two), Err(ChainError::HeadMoved));
    assert_eq!(chain.apply(one), Err(ChainError::HeadMoved), "and none twice");
    assert_eq!(chain.check(&second, &key_of("bob").public()), Err(ChainError::HeadMoved));
    assert_eq!(chain, after);
}

#[test]
fn wraps_are_those_that_the_record_names() {
    let chain = chain(History::All);
    let record = make(&chain, "alice", |b| {
        b.remove(id("carol")).new_epoch([1; 32], previous_key());
    });
    let change = chain.check(&record.expect("allowed"), &key_of("alice").public()).expect("a good record");
    let recipients = change.recipients();
    let good: Vec<Vec<u8>> = recipients.iter().map(fake_wrap).collect();
    let paired = change.check_wraps(good.clone()).expect("its own");
    assert_eq!(paired.len(), 3);
    assert!(paired.iter().all(|(who, wrap)| **wrap == fake_wrap(who)));
    for (who, wrap) in &paired {
        assert_eq!(change.wrap_hash(*who), Some(sha256(wrap)));
    }
    assert_eq!(change.wrap_hash(id("carol")), None);
    let mut swapped = good.clone();
    swapped.swap(0, 1);
    let mut flipped = good.clone();
    flipped[2][255] ^= 1;
    let more = [good.clone(), vec![good[0].clone()]].concat();
    for bad in [swapped, flipped, more, good[..2].to_vec(), vec![]] {
        assert_eq!(change.check_wraps(bad), Err(ChainError::Wraps));
    }
}

#[test]
fn a_wrap_has_the_size_of_an_accepted_key() {
    let chain = chain(History::All);
    for (bytes, good) in [(255, false), (256, true), (512, true), (513, false), (0, false)] {
        let mut builder = DeltaBuilder::new(&chain, id("alice"), Wall(0));
        builder.add(id("dave"), name("dave"), Role::Member);
        let wraps = vec![vec![7; bytes]];
        let record = builder.sign(&wraps, &key_of("alice"), &mut Seeded::new(1)).expect("allowed");
        let change = chain.check(&record, &key_of("alice").public()).expect("a good record");
        assert_eq!(change.check_wraps(wraps).is_ok(), good, "{bytes} bytes");
    }
}

#[test]
fn the_member_list_is_hashed_as_the_protocol_says() {
    let record = take(&mut begun(History::All), "alice", |b| {
        b.add(Fingerprint([0xff; 32]), name("zoe"), Role::Recovery);
        b.add(Fingerprint([0; 32]), name("adam"), Role::Member).new_epoch([0; 32], vec![]);
    });
    let alice = [&id("alice").0[..], b"\x03\x05alice"].concat();
    let [adam, zoe] = [[&[0; 32][..], b"\x00\x04adam"].concat(), [&[0xff; 32][..], b"\x02\x03zoe"].concat()];
    let expected = hash_items(&[&adam, &alice, &zoe]);
    assert_eq!(Delta::parse(&record).expect("a record").record.members_hash, expected);
}

#[test]
fn what_is_encoded_is_parsed() {
    let mut chain = chain(History::All);
    let records = [
        take(&mut chain, "alice", |b| {
            b.add(id("dave"), name("dave"), Role::Admin);
        }),
        take(&mut chain, "alice", |b| {
            b.remove(id("carol")).deny(Fingerprint([5; 32]), "").change(id("dave"), Role::Member);
            b.join(JoinPolicy::Open).new_epoch([6; 32], previous_key());
        }),
    ];
    for record in records {
        let parsed = Delta::parse(&record).expect("a record").record;
        assert_eq!(parsed.sign(&key_of("alice"), &mut Seeded::new(2)), Ok(record), "byte for byte");
    }
    for history in [History::All, History::SinceJoin] {
        let record = genesis(history).sign(&key_of("alice"), &mut Seeded::new(2)).expect("alice's own");
        assert_eq!(Genesis::parse(&record).expect("a record").record, genesis(history));
    }
}

#[test]
fn a_full_topic_rotates_and_takes_nobody_more() {
    let mut chain = begun(History::All);
    let person = |i: usize| Fingerprint(sha256(&i.to_be_bytes()));
    let long = name(&"n".repeat(64));
    let mut members = 1;
    while members < MEMBERS_MAX {
        let batch = RECORD_MEMBERS_MAX.min(MEMBERS_MAX - members);
        take(&mut chain, "alice", |b| {
            (members..members + batch).for_each(|i| {
                b.add(person(i), long.clone(), Role::Member);
            });
            if b.needs_epoch() {
                b.new_epoch([0; 32], vec![]);
            }
        });
        members += batch;
    }
    let one_more = make(&chain, "alice", |b| {
        b.add(id("dave"), name("dave"), Role::Member);
    });
    assert_eq!(one_more, Err(ChainError::TooManyMembers));
    take(&mut chain, "alice", |b| {
        b.new_epoch([1; 32], previous_key());
    });
    take(&mut chain, "alice", |b| {
        b.remove(person(1)).add(id("dave"), name("dave"), Role::Member).new_epoch([1; 32], previous_key());
    });
    assert_eq!(chain.members().len(), MEMBERS_MAX);
    let too_long = make(&chain, "alice", |b| {
        (0..RECORD_MEMBERS_MAX).for_each(|i| {
            b.deny(person(MEMBERS_MAX + i), "");
        });
        b.new_epoch([2; 32], previous_key());
    });
    assert_eq!(too_long, Err(ChainError::TooLong));
}

#[test]
fn labels_and_salts_are_as_the_protocol_says() {
    let chain = begun(History::All);
    let salt = epoch_salt(chain.topic(), Epoch(0x0102_0304));
    assert_eq!(salt[..], [&chain.topic().0[..], &[1, 2, 3, 4]].concat());
    let label = wrap_label(chain.topic(), Epoch(5), id("bob"));
    let expected = [b"sealmq/1 wrap", &chain.topic().0[..], &[0, 0, 0, 5], &id("bob").0].concat();
    assert_eq!(label, expected);
    assert_eq!(PREVIOUS_KEY_BYTES, 105);
    assert!(CHAIN_RECORD_BYTES_MAX <= u16::MAX.into(), "a record is a bytes16 in frames");
}
