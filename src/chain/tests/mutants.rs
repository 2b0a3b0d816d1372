//! Records that break one rule each, and bytes that are no record.

use super::*;
use crate::base::limits::CHAIN_RECORD_BYTES_MAX;
use crate::chain::record::Added;
use crate::chain::rules;
use crate::crypto::sign::{Context, sign_pss};
use crate::wire::WireError;

/// A record that is refused, and why.
pub(super) struct Mutant {
    pub(super) why: &'static str,
    /// Which chain it would follow.
    pub(super) chain: Base,
    pub(super) signer: &'static str,
    pub(super) record: Vec<u8>,
    pub(super) error: ChainError,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Base {
    /// [`begun`], history all: nothing but the genesis.
    Begun,
    /// [`chain`], history all.
    All,
    /// [`chain`], history since-join.
    SinceJoin,
}

impl Base {
    pub(super) fn chain(self) -> Chain {
        match self {
            Base::Begun => begun(History::All),
            Base::All => chain(History::All),
            Base::SinceJoin => chain(History::SinceJoin),
        }
    }
}

const NOBODY: Fingerprint = Fingerprint([0x77; 32]);

/// A good delta for each base, with nothing in it yet but what that base needs.
fn good(base: Base, signer: &str) -> Delta {
    let chain = base.chain();
    let mut delta = Delta {
        topic: chain.topic(),
        number: chain.number() + 1,
        previous: chain.head(),
        signer: id(signer),
        time: Wall(1_800_000_000_000),
        added: vec![],
        removed: vec![],
        denied: vec![],
        changed: vec![],
        join: None,
        epoch: None,
        members_hash: [0; 32],
        wraps: vec![],
    };
    if base == Base::Begun {
        start(&mut delta, 0, 0);
    }
    delta
}

fn denied(fingerprint: Fingerprint) -> Denied {
    Denied { fingerprint, because: String::new() }
}

fn start(delta: &mut Delta, epoch: u32, previous_key_bytes: usize) {
    let previous_key = vec![0x80; previous_key_bytes];
    delta.epoch = Some(EpochStart { epoch: Epoch(epoch), commitment: [0xc1; 32], previous_key });
}

fn add(delta: &mut Delta, who: &str, role: Role) {
    delta.added.push(Added { fingerprint: id(who), name: name(who), role });
}

/// Makes member hash and wraps those of the lists, as far as the lists make sense.
fn settle(base: Base, delta: &mut Delta) {
    if let Ok(members) = rules::resulting_members(&base.chain(), delta) {
        delta.members_hash = rules::members_hash(&members);
        let recipients = rules::recipients(delta, &members);
        delta.wraps = recipients.iter().map(|who| sha256(&fake_wrap(who))).collect();
    }
}

/// What to do to a good delta before it is settled and signed.
type Change = fn(&mut Delta);
type Case = (&'static str, Base, &'static str, ChainError, Change);

fn cases() -> Vec<Case> {
    use Base::{All, Begun, SinceJoin};
    use ChainError::*;
    let member = |who| IsMember(id(who));
    vec![
        ("of another topic", All, "alice", OtherTopic, |d| d.topic.0[0] ^= 1),
        ("not on the newest record", All, "alice", HeadMoved, |d| d.previous.0[31] ^= 1),
        ("a number left out", All, "alice", Number, |d| d.number += 1),
        ("a number twice", All, "alice", Number, |d| d.number -= 1),
        ("signed by a plain member", All, "carol", MayNotSign(id("carol")), |_| ()),
        ("signed by a recovery member", All, "erin", MayNotSign(id("erin")), |_| ()),
        ("signed by a stranger", All, "dave", MayNotSign(id("dave")), |_| ()),
        ("the first delta, not by the owner", Begun, "bob", MayNotSign(id("bob")), |_| ()),
        ("an admin adds an admin", All, "bob", OwnerOnly("adds an admin or recovery member"), |d| {
            add(d, "dave", Role::Admin)
        }),
        ("an admin adds for recovery", All, "bob", OwnerOnly("adds an admin or recovery member"), |d| {
            add(d, "dave", Role::Recovery)
        }),
        ("an admin removes an admin", All, "bob", OwnerOnly("removes an admin or recovery member"), |d| {
            d.removed.push(id("bob"));
            start(d, 1, PREVIOUS_KEY_BYTES)
        }),
        (
            "an admin removes a recovery member",
            All,
            "bob",
            OwnerOnly("removes an admin or recovery member"),
            |d| {
                d.removed.push(id("erin"));
                start(d, 1, PREVIOUS_KEY_BYTES)
            },
        ),
        ("an admin changes a role", All, "bob", OwnerOnly("changes a role"), |d| {
            d.changed.push((id("carol"), Role::Admin))
        }),
        ("an admin sets the join policy", All, "bob", OwnerOnly("sets the join policy"), |d| {
            d.join = Some(JoinPolicy::Open)
        }),
        ("an admin removes the owner", All, "bob", Owner, |d| {
            d.removed.push(id("alice"));
            start(d, 1, PREVIOUS_KEY_BYTES)
        }),
        ("the owner removed", All, "alice", Owner, |d| {
            d.removed.push(id("alice"));
            start(d, 1, PREVIOUS_KEY_BYTES)
        }),
        ("the owner's role changed", All, "alice", Owner, |d| d.changed.push((id("alice"), Role::Admin))),
        ("a second owner added", All, "alice", Owner, |d| add(d, "dave", Role::Owner)),
        ("a member made owner", All, "alice", Owner, |d| d.changed.push((id("bob"), Role::Owner))),
        ("a member added", All, "alice", member("carol"), |d| add(d, "carol", Role::Member)),
        ("the owner added", Begun, "alice", member("alice"), |d| add(d, "alice", Role::Member)),
        ("a member denied", All, "alice", member("carol"), |d| d.denied.push(denied(id("carol")))),
        ("a stranger removed", All, "alice", NotMember(NOBODY), |d| {
            d.removed.push(NOBODY);
            start(d, 1, PREVIOUS_KEY_BYTES)
        }),
        ("a stranger's role changed", All, "alice", NotMember(NOBODY), |d| {
            d.changed.push((NOBODY, Role::Member))
        }),
        ("added twice", All, "alice", Twice(id("dave")), |d| {
            add(d, "dave", Role::Member);
            add(d, "dave", Role::Member)
        }),
        ("removed twice", All, "alice", Twice(id("carol")), |d| {
            d.removed.extend([id("carol"), id("carol")]);
            start(d, 1, PREVIOUS_KEY_BYTES)
        }),
        ("denied twice", All, "alice", Twice(NOBODY), |d| d.denied.extend([NOBODY, NOBODY].map(denied))),
        ("changed twice", All, "alice", Twice(id("carol")), |d| {
            d.changed.extend([(id("carol"), Role::Admin), (id("carol"), Role::Member)])
        }),
        ("added and denied", All, "alice", Twice(id("dave")), |d| {
            add(d, "dave", Role::Member);
            d.denied.push(denied(id("dave")))
        }),
        ("removed and changed", All, "alice", Twice(id("carol")), |d| {
            d.removed.push(id("carol"));
            d.changed.push((id("carol"), Role::Admin));
            start(d, 1, PREVIOUS_KEY_BYTES)
        }),
        ("nothing changed", All, "alice", Nothing, |_| ()),
        ("the first delta without an epoch", Begun, "alice", NoEpoch, |d| {
            add(d, "dave", Role::Member);
            d.epoch = None
        }),
        ("a removal without an epoch", All, "alice", NoEpoch, |d| d.removed.push(id("carol"))),
        ("an add without an epoch under since-join", SinceJoin, "alice", NoEpoch, |d| {
            add(d, "dave", Role::Member)
        }),
        ("the first epoch not 0", Begun, "alice", EpochNumber { expected: Epoch(0) }, |d| start(d, 1, 0)),
        ("an epoch left out", All, "alice", EpochNumber { expected: Epoch(1) }, |d| {
            start(d, 2, PREVIOUS_KEY_BYTES)
        }),
        ("an epoch twice", All, "alice", EpochNumber { expected: Epoch(1) }, |d| {
            start(d, 0, PREVIOUS_KEY_BYTES)
        }),
        ("a key before epoch 0", Begun, "alice", PreviousKey, |d| start(d, 0, PREVIOUS_KEY_BYTES)),
        ("no key before under history all", All, "alice", PreviousKey, |d| start(d, 1, 0)),
        ("a key before that is no token", All, "alice", PreviousKey, |d| start(d, 1, PREVIOUS_KEY_BYTES - 1)),
        ("a key before under since-join", SinceJoin, "alice", PreviousKey, |d| {
            start(d, 1, PREVIOUS_KEY_BYTES)
        }),
    ]
}

/// With a second change after the list was hashed and the wraps were counted, to make these wrong.
fn late_cases() -> Vec<(Case, Change)> {
    use Base::{All, Begun};
    use ChainError::*;
    let first = |why, error| -> Case { (why, Begun, "alice", error, |_| ()) };
    let wraps = WrapCount { expected: 1 };
    vec![
        (first("the hash of another list", MembersHash), |d| d.members_hash[5] ^= 1),
        (first("a wrap too few for an epoch", wraps), |d| d.wraps.clear()),
        (first("a wrap too many for an epoch", wraps), |d| d.wraps.push([0; 32])),
        (
            ("a wrap without an add", All, "alice", WrapCount { expected: 0 }, |d| {
                d.denied.push(denied(NOBODY))
            }),
            |d| d.wraps.push([0; 32]),
        ),
    ]
}

/// Each with everything right but the one thing.
pub(super) fn all() -> Vec<Mutant> {
    let early = cases().into_iter().map(|case| (case, (|_| ()) as Change));
    let signed = |((why, chain, signer, error, change), late): (Case, Change)| {
        let mut delta = good(chain, signer);
        change(&mut delta);
        settle(chain, &mut delta);
        late(&mut delta);
        let record = delta.sign(&key_of(signer), &mut Seeded::new(3)).expect("it fits");
        Mutant { why, chain, signer, record, error }
    };
    early.chain(late_cases()).map(signed).collect()
}

#[test]
fn a_record_that_breaks_one_rule_is_refused_for_it() {
    for mutant in all() {
        let chain = mutant.chain.chain();
        let result = chain.check(&mutant.record, &key_of(mutant.signer).public());
        assert_eq!(result.err(), Some(mutant.error), "{}", mutant.why);
    }
}

#[test]
fn the_builder_signs_nothing_that_would_be_refused() {
    let chain = chain(History::All);
    let made = [
        (
            make(&chain, "bob", |b| {
                b.remove(id("alice"));
            }),
            ChainError::Owner,
        ),
        (make(&chain, "alice", |_| ()), ChainError::Nothing),
        (
            make(&chain, "alice", |b| {
                b.remove(id("carol"));
            }),
            ChainError::NoEpoch,
        ),
        (
            make(&chain, "alice", |b| {
                b.new_epoch([0; 32], vec![]);
            }),
            ChainError::PreviousKey,
        ),
        (
            make(&chain, "dave", |b| {
                b.deny(NOBODY, "");
            }),
            ChainError::MayNotSign(id("dave")),
        ),
    ];
    for (result, error) in made {
        assert_eq!(result, Err(error));
    }
    let mut builder = DeltaBuilder::new(&chain, id("alice"), Wall(0));
    builder.add(id("dave"), name("dave"), Role::Member);
    let unwrapped = builder.sign(&[] as &[Vec<u8>], &key_of("alice"), &mut Seeded::new(1));
    assert_eq!(unwrapped, Err(ChainError::WrapCount { expected: 1 }));
    let mut builder = DeltaBuilder::new(&chain, id("alice"), Wall(0));
    builder.deny(NOBODY, "");
    let by_another = builder.sign(&[] as &[Vec<u8>], &key_of("bob"), &mut Seeded::new(1));
    assert_eq!(by_another, Err(ChainError::WrongKey));
}

#[test]
fn long_lists_are_refused() {
    let people = |count: usize| (0..count).map(|i| Fingerprint(sha256(&i.to_be_bytes())));
    let check = |fill: &dyn Fn(&mut Delta)| {
        let mut delta = good(Base::All, "alice");
        fill(&mut delta);
        settle(Base::All, &mut delta);
        let record = delta.sign(&key_of("alice"), &mut Seeded::new(3)).expect("it fits");
        chain(History::All).check(&record, &key_of("alice").public()).err()
    };
    for (count, error) in
        [(RECORD_MEMBERS_MAX, None), (RECORD_MEMBERS_MAX + 1, Some(ChainError::TooManyInList))]
    {
        let denies = |d: &mut Delta| d.denied = people(count).map(denied).collect();
        let added = |fingerprint| Added { fingerprint, name: name("n"), role: Role::Member };
        let adds = |d: &mut Delta| d.added = people(count).map(added).collect();
        assert_eq!(check(&denies), error, "{count} denied");
        assert_eq!(check(&adds), error, "{count} added");
    }
    let mut delta = good(Base::All, "alice");
    delta.removed = vec![NOBODY; 65_536];
    assert_eq!(delta.sign(&key_of("alice"), &mut Seeded::new(3)), Err(ChainError::TooLong));
    let mut delta = good(Base::All, "alice");
    delta.denied = vec![Denied { fingerprint: NOBODY, because: "x".repeat(257) }];
    assert_eq!(delta.sign(&key_of("alice"), &mut Seeded::new(3)), Err(ChainError::TooLong));
}

/// A good record of each kind: (genesis, delta).
fn samples() -> (Vec<u8>, Vec<u8>) {
    let genesis = genesis(History::All).sign(&key_of("alice"), &mut Seeded::new(1)).expect("alice's own");
    let delta = make(&chain(History::All), "alice", |b| {
        b.add(id("dave"), name("dave"), Role::Admin).remove(id("carol")).deny(NOBODY, "x");
        b.change(id("bob"), Role::Member).join(JoinPolicy::Open).new_epoch([1; 32], previous_key());
    });
    (genesis, delta.expect("allowed"))
}

#[test]
fn no_byte_can_be_changed() {
    let (genesis, delta) = samples();
    let alice = key_of("alice").public();
    let chain = chain(History::All);
    assert!(Chain::begin(&genesis, &alice).is_ok() && chain.check(&delta, &alice).is_ok());
    for at in 0..genesis.len() {
        let mut bad = genesis.clone();
        bad[at] ^= 1 << (at % 8);
        assert!(Chain::begin(&bad, &alice).is_err(), "genesis, byte {at}");
    }
    for at in 0..delta.len() {
        let mut bad = delta.clone();
        bad[at] ^= 1 << (at % 8);
        assert!(chain.check(&bad, &alice).is_err(), "delta, byte {at}");
    }
}

#[test]
fn a_cut_or_longer_record_is_malformed() {
    let (genesis, delta) = samples();
    let alice = key_of("alice").public();
    let chain = chain(History::All);
    let check = |record: &[u8]| {
        let signer = signer_of(record).err();
        let result = match record.get(1) {
            Some(0) => Chain::begin(record, &alice).err(),
            _ => chain.check(record, &alice).err(),
        };
        assert_eq!(signer, result, "both parse");
        result
    };
    for record in [genesis, delta] {
        for end in 0..record.len() {
            assert_eq!(check(&record[..end]), Some(WireError::Truncated.into()), "{end} bytes");
        }
        assert_eq!(check(&[&record[..], &[0]].concat()), Some(WireError::Trailing.into()));
        let mut long = record.clone();
        long.resize(CHAIN_RECORD_BYTES_MAX, 0);
        assert_eq!(check(&long), Some(WireError::Trailing.into()));
        long.push(0);
        assert_eq!(check(&long), Some(ChainError::TooLong));
    }
}

#[test]
fn fields_have_only_the_values_that_they_can_have() {
    let (genesis, delta) = samples();
    let alice = key_of("alice").public();
    let chain = chain(History::All);
    // Where the fields of the samples lie: `added` has one, of 32 + 5 + 1 bytes.
    let added = 2 + 32 + 4 + 32 + 32 + 8;
    let because = added + 2 + 38 + 2 + 32 + 2 + 32;
    let changed = because + 2 + 1;
    let join = changed + 2 + 33;
    let name_at = 2 + 2 + 12 + 32 + 32;
    let bad_value = |field| ChainError::Malformed(WireError::BadValue(field));
    let deltas = [
        (0, 2, bad_value("record version")),
        (1, 2, bad_value("record kind")),
        (1, 0, ChainError::WrongKind),
        (added + 2 + 33, b'/', bad_value("client name")),
        (added + 2 + 37, 4, bad_value("role")),
        (because + 2, b'\n', bad_value("reason")),
        (changed + 2 + 32, 4, bad_value("role")),
        (join, 3, bad_value("join policy")),
        (join, 254, bad_value("join policy")),
        (join + 1, 2, bad_value("flag")),
    ];
    for (at, value, error) in deltas {
        let mut bad = delta.clone();
        bad[at] = value;
        assert_eq!(chain.check(&bad, &alice).err(), Some(error), "byte {at} = {value}");
    }
    let geneses = [
        (0, 0, bad_value("record version")),
        (1, 1, ChainError::WrongKind),
        (4, b'+', bad_value("topic name")),
        (name_at + 1, b'-', bad_value("client name")),
        (name_at + 6, 3, bad_value("join policy")),
        (name_at + 7, 2, bad_value("history policy")),
    ];
    for (at, value, error) in geneses {
        let mut bad = genesis.clone();
        bad[at] = value;
        assert_eq!(Chain::begin(&bad, &alice).err(), Some(error), "byte {at} = {value}");
    }
}

#[test]
fn a_record_is_good_under_its_signers_key_and_context_alone() {
    let (genesis, delta) = samples();
    let chain = chain(History::All);
    let bob = key_of("bob");
    assert_eq!(Chain::begin(&genesis, &bob.public()).err(), Some(ChainError::WrongKey));
    assert_eq!(chain.check(&delta, &bob.public()).err(), Some(ChainError::WrongKey));
    assert_eq!(super::genesis(History::All).sign(&bob, &mut Seeded::new(1)), Err(ChainError::WrongKey));
    let signature_bytes = key_of("alice").public().bits() / 8;
    for record in [genesis, delta] {
        let signed = &record[..record.len() - 2 - signature_bytes];
        for (signer, context) in [("alice", Context::ClientAuth), ("bob", Context::TopicRecord)] {
            let signature = sign_pss(&key_of(signer), context, &sha256(signed), &mut Seeded::new(1));
            let signature = signature.expect("a sound machine");
            let forged = [signed, &record[signed.len()..signed.len() + 2], &signature].concat();
            let alice = key_of("alice").public();
            let error = Chain::begin(&forged, &alice).err();
            let error =
                if error == Some(ChainError::WrongKind) { chain.check(&forged, &alice).err() } else { error };
            assert_eq!(error, Some(ChainError::Signature), "{signer}, {context:?}");
        }
    }
}
