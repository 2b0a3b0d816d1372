//! What an intent takes, held against a topic's chain as it is now. No frames, no keys: names and
//! fingerprints only.

use std::collections::{BTreeMap, BTreeSet};

use super::super::failure::Failure;
use super::super::pins::Pins;
use super::super::request::{GrantAs, Join};
use super::super::senders::Senders;
use crate::base::Wall;
use crate::base::ids::{Epoch, Fingerprint, TopicId};
use crate::base::limits::{CHAIN_RECORD_BYTES_MAX, DENIAL_BYTES_MAX, MEMBERS_MAX, RECORD_MEMBERS_MAX};
use crate::base::names::Name;
use crate::chain::{Barred, Chain, DeltaBuilder, History, Role as MemberRole};
use crate::crypto::cert::{Certificate, Trust};

/// What is wanted of a topic's membership. What is done of it is taken out.
pub enum Intent {
    Grant {
        names: Vec<Name>,
        role: GrantAs,
    },
    Deny {
        names: Vec<Name>,
        because: String,
    },
    Revoke {
        names: Vec<Name>,
    },
    /// The epoch that there was when it was first looked at: a later one is as good, whoever started it.
    Rotate(Option<Epoch>),
    /// Nothing once it was done.
    SetJoin(Option<Join>),
    /// By itself: those who asked, while the topic is open.
    LetIn(Vec<Admission>),
    /// By itself: members whose certificates are revoked.
    RemoveRevoked,
}

/// Somebody who has asked, with a signature that was verified.
#[derive(Clone, Debug)]
pub struct Admission {
    pub certificate: Certificate,
    /// Which topic was asked for.
    pub topic: TopicId,
}

/// What a record is to do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    pub add: Vec<(Fingerprint, Name, MemberRole)>,
    pub remove: Vec<(Fingerprint, Name, MemberRole)>,
    pub deny: Vec<(Fingerprint, Name)>,
    pub because: String,
    pub change: Vec<(Fingerprint, Name, MemberRole)>,
    pub join: Option<Join>,
    /// Whether to start an epoch even if the rules do not ask for it.
    pub rotate: bool,
    /// For these nothing has to be done.
    pub unchanged: Vec<Name>,
    /// Those who asked and are not let in, and why.
    pub refused: Vec<(Name, String)>,
}

/// What an intent is held against.
pub struct View<'a> {
    pub chain: &'a Chain,
    pub me: Fingerprint,
    pub trust: &'a Trust,
    pub now: Wall,
    pub pins: &'a Pins,
    /// Certificates of the names that were asked for; their names and the CA were checked.
    pub named: &'a [Certificate],
    /// Members' certificates that were fetched; several if a key's certificate was renewed.
    pub keys: &'a BTreeMap<Fingerprint, Vec<Certificate>>,
    /// Those that came with messages.
    pub senders: &'a Senders,
}

/// What a record takes beside its lists: fixed fields, the previous key, the signature.
const RECORD_FIXED_BYTES: usize = 1024;

impl Intent {
    /// Clients of which names are to be asked for.
    pub fn names(&self) -> &[Name] {
        match self {
            Intent::Grant { names, .. } | Intent::Deny { names, .. } => names,
            _ => &[],
        }
    }

    /// Whether nobody asked for it but the client itself, which then goes by the revocation list.
    pub fn is_automatic(&self) -> bool {
        matches!(self, Intent::LetIn(_) | Intent::RemoveRevoked)
    }

    /// What is left to be done, or why it may not be.
    pub fn judge(&mut self, view: &View<'_>) -> Result<Plan, Failure> {
        let role = view.check_signer()?;
        let mut plan = match self {
            Intent::Grant { names, role } => view.grant(names, *role)?,
            Intent::Deny { names, because } => view.deny(names, because)?,
            Intent::Revoke { names } => view.revoke(names)?,
            Intent::Rotate(at) => {
                let now = view.chain.epoch();
                Plan {
                    rotate: *at.get_or_insert(now.unwrap_or_default()) >= now.unwrap_or_default(),
                    ..Plan::default()
                }
            }
            Intent::SetJoin(join) => {
                Plan { join: join.filter(|join| *join != view.chain.join()), ..Plan::default() }
            }
            Intent::LetIn(requests) => view.let_in(requests),
            Intent::RemoveRevoked => view.remove_revoked(role),
        };
        view.check_plan(role, &plan)?;
        plan.cut(view.chain);
        Ok(plan)
    }

    /// A record has done this much.
    pub fn strike(&mut self, done: &Plan) {
        let is_done = |name: &Name| {
            let [add, remove, change] = [&done.add, &done.remove, &done.change];
            let mut lists = add.iter().chain(remove).chain(change).map(|(_, who, _)| who);
            lists.any(|who| who == name) || done.deny.iter().any(|(_, who)| who == name)
        };
        match self {
            Intent::Grant { names, .. } | Intent::Deny { names, .. } | Intent::Revoke { names } => {
                names.retain(|name| !is_done(name));
            }
            Intent::SetJoin(join) => *join = None,
            Intent::LetIn(requests) => requests.retain(|r| !is_done(r.certificate.name())),
            Intent::Rotate(_) | Intent::RemoveRevoked => {}
        }
    }
}

impl Plan {
    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        let [add, remove, change] = [&self.add, &self.remove, &self.change].map(Vec::is_empty);
        add && remove && change && self.deny.is_empty() && self.join.is_none() && !self.rotate
    }

    /// Puts the lists into a record.
    pub fn fill(&self, delta: &mut DeltaBuilder<'_>) {
        for (who, name, role) in &self.add {
            delta.add(*who, name.clone(), *role);
        }
        self.remove.iter().for_each(|(who, ..)| _ = delta.remove(*who));
        self.deny.iter().for_each(|(who, _)| _ = delta.deny(*who, &self.because));
        self.change.iter().for_each(|(who, _, role)| _ = delta.change(*who, *role));
        if let Some(join) = self.join {
            delta.join(join);
        }
    }

    /// Leaves as much as one record holds; the rest comes with the next.
    fn cut(&mut self, chain: &Chain) {
        let new_epoch = !self.remove.is_empty() || chain.history() == History::SinceJoin;
        let names = self.add.iter().map(|(_, name, _)| name);
        self.add.truncate(additions_max(names, chain.members().len(), new_epoch));
        let denial = 32 + 2 + self.because.len();
        self.deny.truncate(RECORD_MEMBERS_MAX.min((CHAIN_RECORD_BYTES_MAX - RECORD_FIXED_BYTES) / denial));
    }
}

/// How many of `names` one record can add, beside `members` that get a wrap too if an epoch starts.
pub fn additions_max<'a>(names: impl Iterator<Item = &'a Name>, members: usize, new_epoch: bool) -> usize {
    let others = if new_epoch { members * 32 } else { 0 };
    let mut room = (CHAIN_RECORD_BYTES_MAX - RECORD_FIXED_BYTES).saturating_sub(others);
    let fits = |name: &&Name| {
        // Fingerprint, name with its length, role, and the hash of a wrap.
        let bytes = 32 + 1 + name.as_str().len() + 1 + 32;
        let fits = bytes <= room;
        room = room.saturating_sub(bytes);
        fits
    };
    names.take(RECORD_MEMBERS_MAX).take_while(fits).count()
}

impl View<'_> {
    fn grant(&self, names: &[Name], role: GrantAs) -> Result<Plan, Failure> {
        let mut plan = Plan::default();
        let mut unknown = Vec::new();
        for name in names.iter().collect::<BTreeSet<_>>() {
            let member = self.member(name)?;
            let good = self.good(name);
            if let Some((who, known)) = member {
                if good.iter().any(|certificate| certificate.fingerprint() != who) {
                    return Err(two_keys(name, good.iter().map(|c| c.fingerprint()).chain([who])));
                }
                match role {
                    GrantAs::Admin if matches!(known, MemberRole::Member | MemberRole::Recovery) => {
                        plan.change.push((who, name.clone(), MemberRole::Admin));
                    }
                    _ => plan.unchanged.push(name.clone()),
                }
                continue;
            }
            let Some(certificate) = one_key(name, &good)? else {
                let why = self.named.iter().filter(|c| c.name() == name);
                match why.filter_map(|c| self.trust.judge(c, self.now).err()).next() {
                    Some(why) => return Err(Failure::BadClient { name: name.clone(), why: why.to_string() }),
                    None => unknown.push(name.clone()),
                }
                continue;
            };
            let who = certificate.fingerprint();
            self.pins.check_peer(name, who).map_err(|changed| changed.failure(name, who))?;
            let role = match role {
                GrantAs::Member => MemberRole::Member,
                GrantAs::Admin => MemberRole::Admin,
            };
            plan.add.push((who, name.clone(), role));
        }
        if unknown.is_empty() { Ok(plan) } else { Err(Failure::UnknownClients(unknown)) }
    }

    fn deny(&self, names: &[Name], because: &str) -> Result<Plan, Failure> {
        if because.len() > DENIAL_BYTES_MAX || because.chars().any(char::is_control) {
            let max = DENIAL_BYTES_MAX;
            return Err(Failure::Machine(format!("a reason has at most {max} bytes, without line breaks")));
        }
        let mut plan = Plan { because: because.to_owned(), ..Plan::default() };
        let mut unknown = Vec::new();
        for name in names.iter().collect::<BTreeSet<_>>() {
            if self.member(name)?.is_some() {
                return Err(self.not_allowed(format!("{name} is a member, whom `sealmq revoke` removes")));
            }
            // Somebody whose certificate is not good any more may be denied, too.
            let any: Vec<&Certificate> = self.named.iter().filter(|c| c.name() == name).collect();
            let good = self.good(name);
            let Some(certificate) = one_key(name, if good.is_empty() { &any } else { &good })? else {
                unknown.push(name.clone());
                continue;
            };
            let who = certificate.fingerprint();
            match self.chain.barred(who) {
                Some(Barred::Denied(before)) if before == because => plan.unchanged.push(name.clone()),
                _ => plan.deny.push((who, name.clone())),
            }
        }
        if unknown.is_empty() { Ok(plan) } else { Err(Failure::UnknownClients(unknown)) }
    }

    fn revoke(&self, names: &[Name]) -> Result<Plan, Failure> {
        let mut plan = Plan::default();
        for name in names.iter().collect::<BTreeSet<_>>() {
            match self.member(name)? {
                None => plan.unchanged.push(name.clone()),
                Some((_, MemberRole::Owner)) => {
                    return Err(self.not_allowed(format!("{name} is its owner, who cannot be removed")));
                }
                Some((who, role)) => plan.remove.push((who, name.clone(), role)),
            }
        }
        Ok(plan)
    }

    /// Whoever asks may come in only while the topic is open, and only if nothing is known against it.
    fn let_in(&self, requests: &mut Vec<Admission>) -> Plan {
        let mut plan = Plan::default();
        if self.chain.join() != Join::Open {
            requests.clear();
        }
        requests.retain(|request| {
            let (name, who) = (request.certificate.name(), request.certificate.fingerprint());
            if self.chain.member(who).is_some() || plan.add.iter().any(|(added, ..)| *added == who) {
                return false;
            }
            match self.why_not_in(request, &plan) {
                None => plan.add.push((who, name.clone(), MemberRole::Member)),
                Some(why) => plan.refused.push((name.clone(), why)),
            }
            !plan.refused.iter().any(|(refused, _)| refused == name)
        });
        plan
    }

    fn why_not_in(&self, request: &Admission, plan: &Plan) -> Option<String> {
        let (name, who) = (request.certificate.name(), request.certificate.fingerprint());
        if request.topic != self.chain.topic() {
            return Some("the request is for another topic of this name".into());
        }
        match self.chain.barred(who) {
            Some(Barred::Removed) => return Some("was removed before, so a person has to decide".into()),
            Some(Barred::Denied(_)) => return Some("was denied before, so a person has to decide".into()),
            None => {}
        }
        if !self.trust.crl_is_current(self.now) {
            return Some("there is no revocation list that is not past due".into());
        }
        if let Err(fault) = self.trust.judge(&request.certificate, self.now) {
            return Some(format!("the certificate {fault}"));
        }
        if let Err(changed) = self.pins.check_peer(name, who) {
            return Some(changed.failure(name, who).to_string());
        }
        let is_taken = self.chain.members().values().any(|member| member.name == *name)
            || plan.add.iter().any(|(_, added, _)| added == name);
        if is_taken {
            return Some("a member of that name has another key".into());
        }
        let is_full = self.chain.members().len() + plan.add.len() >= MEMBERS_MAX;
        is_full.then(|| format!("there are {MEMBERS_MAX} members, which is the most"))
    }

    /// Members all of whose certificates that are known are revoked by our own list.
    fn remove_revoked(&self, role: MemberRole) -> Plan {
        let mut plan = Plan::default();
        for (who, member) in self.chain.members().iter().filter(|(who, _)| **who != self.me) {
            let is_ours = match member.role {
                MemberRole::Member => true,
                MemberRole::Admin | MemberRole::Recovery => role == MemberRole::Owner,
                MemberRole::Owner => false,
            };
            let known = self.keys.get(who).map_or(&[][..], Vec::as_slice);
            let is_revoked = !known.is_empty() && known.iter().all(|c| self.trust.is_revoked(c.serial()));
            if is_ours && is_revoked && !self.is_renewed(*who, known) {
                plan.remove.push((*who, member.name.clone(), member.role));
            }
        }
        plan
    }

    /// Whether a member has sent under a later certificate than those that the broker shows, a good one:
    /// of a key's certificates the last one counts.
    fn is_renewed(&self, who: Fingerprint, known: &[Certificate]) -> bool {
        let last = known.iter().map(Certificate::not_after).max();
        let seen = self.senders.newest(who);
        seen.is_some_and(|c| Some(c.not_after()) > last && !self.trust.is_revoked(c.serial()))
    }

    /// Our role, if it lets us change anything.
    fn check_signer(&self) -> Result<MemberRole, Failure> {
        match self.chain.member(self.me).map(|member| member.role) {
            Some(role @ (MemberRole::Owner | MemberRole::Admin)) => Ok(role),
            Some(_) => Err(self.not_allowed(format!("only {} may change that", self.those_who_may()))),
            None => Err(Failure::NotMember(self.chain.name().clone())),
        }
    }

    fn check_plan(&self, role: MemberRole, plan: &Plan) -> Result<(), Failure> {
        let count = self.chain.members().len() + plan.add.len();
        if !plan.add.is_empty() && count > MEMBERS_MAX {
            return Err(Failure::TooManyMembers { count, max: MEMBERS_MAX });
        }
        let makes = plan.add.iter().any(|(.., role)| *role != MemberRole::Member) || !plan.change.is_empty();
        let unmakes = plan.remove.iter().any(|(.., role)| *role != MemberRole::Member);
        let what = match () {
            _ if role == MemberRole::Owner => return Ok(()),
            () if makes => "make admins",
            () if unmakes => "remove admins and recovery keys",
            () if plan.join.is_some() => "say who may join",
            () => return Ok(()),
        };
        let owner = self.chain.owner_name();
        Err(self.not_allowed(format!("only its owner {owner} may {what}")))
    }

    /// The owner, and the admins if there are any.
    fn those_who_may(&self) -> String {
        let admins = self.chain.members().values().filter(|member| member.role == MemberRole::Admin);
        let admins: Vec<&str> = admins.map(|member| member.name.as_str()).collect();
        let owner = self.chain.owner_name();
        match admins.is_empty() {
            true => format!("its owner {owner}"),
            false => format!("its owner {owner} and its admins {}", admins.join(", ")),
        }
    }

    fn not_allowed(&self, text: String) -> Failure {
        Failure::NotAllowed { topic: self.chain.name().clone(), text }
    }

    /// The one member of a name.
    fn member(&self, name: &Name) -> Result<Option<(Fingerprint, MemberRole)>, Failure> {
        let mut found = self.chain.members().iter().filter(|(_, member)| member.name == *name);
        let first = found.next().map(|(who, member)| (*who, member.role));
        match (first, found.next()) {
            (Some((one, _)), Some((other, _))) => Err(two_keys(name, [one, *other])),
            _ => Ok(first),
        }
    }

    /// Certificates of a name that are in force.
    fn good(&self, name: &Name) -> Vec<&Certificate> {
        let in_force = |c: &&Certificate| c.name() == name && self.trust.judge(c, self.now).is_ok();
        self.named.iter().filter(in_force).collect()
    }
}

/// A certificate of the one key that there is, if there is one.
fn one_key<'a>(name: &Name, certificates: &[&'a Certificate]) -> Result<Option<&'a Certificate>, Failure> {
    let Some(first) = certificates.first() else { return Ok(None) };
    if certificates.iter().any(|c| c.fingerprint() != first.fingerprint()) {
        return Err(two_keys(name, certificates.iter().map(|c| c.fingerprint())));
    }
    Ok(Some(first))
}

fn two_keys(name: &Name, keys: impl IntoIterator<Item = Fingerprint>) -> Failure {
    let fingerprints: BTreeSet<Fingerprint> = keys.into_iter().collect();
    Failure::TwoKeys { name: name.clone(), fingerprints: fingerprints.into_iter().collect() }
}
