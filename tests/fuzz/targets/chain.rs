//! Membership records: from bytes alone, and signed by their signer as they are.

use sealmq::base::limits::{CHAIN_RECORD_BYTES_MAX, MEMBERS_MAX};
use sealmq::chain::{Chain, Role, record_hash, signer_of};
use sealmq::crypto::cert::testing::Seeded;
use sealmq::crypto::digest::sha256;
use sealmq::crypto::sign::{Context, sign_pss};

use super::feed::Feed;
use super::stage::{KITCHEN, Party, STAGE};

fn parties() -> [&'static Party; 3] {
    [&STAGE.alice, &STAGE.bob, &STAGE.carol]
}

/// The first byte says whose key it is held against, the others are a record. Nothing is taken but what
/// was signed.
pub fn record(data: &[u8]) {
    let mut feed = Feed::new(data);
    let key = feed.one_of(&parties()).1.public_key();
    let record = feed.rest();
    let known = KITCHEN.records.iter().any(|r| r == record);
    if let Err(error) = signer_of(record) {
        assert!(!known && !error.to_string().is_empty());
    }
    match Chain::begin(record, key) {
        Ok(chain) => assert!(known && chain.head() == record_hash(record)),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
    for chain in &KITCHEN.chains {
        match chain.check(record, key) {
            Ok(change) => assert!(known && change.hash() == record_hash(record)),
            Err(error) => assert!(!error.to_string().is_empty()),
        }
    }
}

pub fn record_seeds() -> Vec<Vec<u8>> {
    KITCHEN.records.iter().map(|record| [&[0], &record[..]].concat()).collect()
}

/// What is to be signed, with a good signature of alice's or bob's: past that check, the rules are alone.
pub fn signed(data: &[u8]) {
    let mut feed = Feed::new(data);
    let (key, certificate) = feed.one_of(&parties()[..2]);
    let mut record = feed.rest().to_vec();
    record.truncate(CHAIN_RECORD_BYTES_MAX);
    let signature = sign_pss(key, Context::TopicRecord, &sha256(&record), &mut Seeded::new(1));
    let signature = signature.expect("a sound machine");
    record.extend_from_slice(&(signature.len() as u16).to_be_bytes());
    record.extend_from_slice(&signature);
    if let Ok(chain) = Chain::begin(&record, certificate.public_key()) {
        assert_eq!(chain.owner(), certificate.fingerprint(), "a topic is its signer's");
        assert_eq!(chain.members().len(), 1);
    }
    for chain in &KITCHEN.chains {
        let Ok(change) = chain.check(&record, certificate.public_key()) else { continue };
        let role = chain.member(certificate.fingerprint()).map(|member| member.role);
        assert!(matches!(role, Some(Role::Owner | Role::Admin)), "{role:?} may not sign");
        let mut next = chain.clone();
        next.apply(change).expect("it was just checked");
        let members = next.members();
        assert!(members.len() <= MEMBERS_MAX);
        assert_eq!(next.number(), chain.number() + 1);
        assert_eq!(next.owner(), chain.owner());
        let owners: Vec<_> = members.iter().filter(|(_, member)| member.role == Role::Owner).collect();
        assert!(owners.len() == 1 && *owners[0].0 == next.owner(), "one owner, for good");
        let left = chain.members().keys().any(|who| !members.contains_key(who));
        assert!(!left || next.epoch() > chain.epoch(), "who leaves is locked out of what follows");
        if role == Some(Role::Admin) {
            let admins = |chain: &Chain| chain.members().values().filter(|m| m.role != Role::Member).count();
            assert!(admins(&next) <= admins(chain), "an admin makes no admins");
        }
    }
}

/// Each record without its signature.
pub fn signed_seeds() -> Vec<Vec<u8>> {
    let signature = 2 + STAGE.alice.1.public_key().bits() / 8;
    KITCHEN.records.iter().map(|record| [&[0], &record[..record.len() - signature]].concat()).collect()
}
