//! What a delta may do, to which chain, by whom. No signature is checked here.

use std::collections::BTreeSet;

use super::error::ChainError;
use super::record::Delta;
use super::state::Chain;
use super::values::{History, Member, Members, Role};
use crate::base::ids::{Epoch, Fingerprint};
use crate::base::limits::{MEMBERS_MAX, RECORD_MEMBERS_MAX};
use crate::crypto::digest::hash_items;
use crate::crypto::fernet::token_bytes;
use crate::wire::Writer;
use crate::wire::field::Field;

/// The key of the epoch before, 32 bytes, as a binary Fernet token.
pub const PREVIOUS_KEY_BYTES: usize = token_bytes(32);

/// Whether the delta follows the chain's newest record, and its signer may sign at all.
/// A few comparisons, for before the signature is checked.
pub(super) fn check_place(chain: &Chain, delta: &Delta) -> Result<(), ChainError> {
    if delta.topic != chain.topic() {
        return Err(ChainError::OtherTopic);
    }
    if delta.previous != chain.head() {
        return Err(ChainError::HeadMoved);
    }
    if Some(delta.number) != chain.number().checked_add(1) {
        return Err(ChainError::Number);
    }
    match signer_role(chain, delta) {
        // The chain has no admin before its first delta, so that one is the owner's.
        Some(Role::Owner | Role::Admin) => Ok(()),
        _ => Err(ChainError::MayNotSign(delta.signer)),
    }
}

/// The member list that the delta leads to, if all of it is allowed. The place has been checked.
pub(super) fn check_content(chain: &Chain, delta: &Delta) -> Result<Members, ChainError> {
    let members = resulting_members(chain, delta)?;
    check_epoch(chain, delta)?;
    if delta.members_hash != members_hash(&members) {
        return Err(ChainError::MembersHash);
    }
    let expected = recipients(delta, &members).len();
    if delta.wraps.len() != expected {
        return Err(ChainError::WrapCount { expected });
    }
    Ok(members)
}

/// The member list that the lists of the delta lead to, if they are allowed.
pub(super) fn resulting_members(chain: &Chain, delta: &Delta) -> Result<Members, ChainError> {
    check_lists(delta)?;
    check_targets(chain, delta)?;
    if signer_role(chain, delta) != Some(Role::Owner) {
        check_admin(chain, delta)?;
    }
    let mut members = chain.members().clone();
    for who in &delta.removed {
        members.remove(who);
    }
    for (who, role) in &delta.changed {
        members.get_mut(who).expect("who is changed was found a member").role = *role;
    }
    for added in &delta.added {
        members.insert(added.fingerprint, Member { name: added.name.clone(), role: added.role });
    }
    if members.len() > MEMBERS_MAX {
        return Err(ChainError::TooManyMembers);
    }
    Ok(members)
}

/// Whether the delta has to start an epoch: the first one does, and so does who leaves, and
/// who comes where they may not read what was before.
pub(super) fn needs_epoch(chain: &Chain, delta: &Delta) -> bool {
    let locked_out = chain.history() == History::SinceJoin && !delta.added.is_empty();
    chain.epoch().is_none() || !delta.removed.is_empty() || locked_out
}

/// To whom the delta's wraps go, in their order.
pub(super) fn recipients(delta: &Delta, members: &Members) -> Vec<Fingerprint> {
    match delta.epoch {
        Some(_) => members.keys().copied().collect(),
        None => delta.added.iter().map(|a| a.fingerprint).collect(),
    }
}

/// `H(entry, entry, ...)` over `fingerprint | u8 role | str8 name`, in fingerprint order.
pub(super) fn members_hash(members: &Members) -> [u8; 32] {
    let entries: Vec<Vec<u8>> = members.iter().map(|(who, member)| member_entry(*who, member)).collect();
    let items: Vec<&[u8]> = entries.iter().map(Vec::as_slice).collect();
    hash_items(&items)
}

fn member_entry(who: Fingerprint, member: &Member) -> Vec<u8> {
    let mut out = Vec::new();
    let mut w = Writer::new(&mut out);
    who.put(&mut w);
    member.role.put(&mut w);
    member.name.put(&mut w);
    out
}

/// What can be said of the lists without knowing the chain.
fn check_lists(delta: &Delta) -> Result<(), ChainError> {
    if delta.added.len().max(delta.denied.len()) > RECORD_MEMBERS_MAX {
        return Err(ChainError::TooManyInList);
    }
    let makes_owner = delta.added.iter().any(|a| a.role == Role::Owner);
    if makes_owner || delta.changed.iter().any(|(_, role)| *role == Role::Owner) {
        return Err(ChainError::Owner);
    }
    let mut seen = BTreeSet::new();
    if let Some(twice) = named(delta).find(|who| !seen.insert(*who)) {
        return Err(ChainError::Twice(twice));
    }
    if seen.is_empty() && delta.join.is_none() && delta.epoch.is_none() {
        return Err(ChainError::Nothing);
    }
    Ok(())
}

/// Everybody in the delta's lists.
fn named(delta: &Delta) -> impl Iterator<Item = Fingerprint> {
    let added = delta.added.iter().map(|a| a.fingerprint);
    let changed = delta.changed.iter().map(|(who, _)| *who);
    added
        .chain(changed)
        .chain(delta.removed.iter().copied())
        .chain(delta.denied.iter().map(|d| d.fingerprint))
}

/// Whoever is added or denied must not be a member, whoever is removed or changed must be one,
/// and not the owner.
fn check_targets(chain: &Chain, delta: &Delta) -> Result<(), ChainError> {
    let denied = delta.denied.iter().map(|d| d.fingerprint);
    let mut outside = delta.added.iter().map(|a| a.fingerprint).chain(denied);
    if let Some(member) = outside.find(|who| chain.members().contains_key(who)) {
        return Err(ChainError::IsMember(member));
    }
    for who in delta.removed.iter().chain(delta.changed.iter().map(|(who, _)| who)) {
        match chain.members().get(who) {
            None => return Err(ChainError::NotMember(*who)),
            Some(member) if member.role == Role::Owner => return Err(ChainError::Owner),
            Some(_) => {}
        }
    }
    Ok(())
}

/// What an admin leaves to the owner: everybody who is not a plain member, and the policies.
fn check_admin(chain: &Chain, delta: &Delta) -> Result<(), ChainError> {
    let plain = |who: &Fingerprint| chain.members().get(who).is_some_and(|m| m.role == Role::Member);
    if delta.added.iter().any(|a| a.role != Role::Member) {
        return Err(ChainError::OwnerOnly("adds an admin or recovery member"));
    }
    if !delta.removed.iter().all(plain) {
        return Err(ChainError::OwnerOnly("removes an admin or recovery member"));
    }
    if !delta.changed.is_empty() {
        return Err(ChainError::OwnerOnly("changes a role"));
    }
    if delta.join.is_some() {
        return Err(ChainError::OwnerOnly("sets the join policy"));
    }
    Ok(())
}

fn check_epoch(chain: &Chain, delta: &Delta) -> Result<(), ChainError> {
    let Some(start) = &delta.epoch else {
        return if needs_epoch(chain, delta) { Err(ChainError::NoEpoch) } else { Ok(()) };
    };
    let expected = chain.next_epoch();
    if start.epoch != expected {
        return Err(ChainError::EpochNumber { expected });
    }
    let reads_back = chain.history() == History::All && expected > Epoch(0);
    let expected_bytes = if reads_back { PREVIOUS_KEY_BYTES } else { 0 };
    if start.previous_key.len() != expected_bytes {
        return Err(ChainError::PreviousKey);
    }
    Ok(())
}

fn signer_role(chain: &Chain, delta: &Delta) -> Option<Role> {
    chain.members().get(&delta.signer).map(|member| member.role)
}
