//! What a caller asks of a topic's membership, and whether the answers are true by the ledger.

use super::cast::Cast;
use super::ledger::{Ledger, State};
use super::model::{Log, Model};
use super::rules::{Rule, Violation};
use crate::base::ids::Fingerprint;
use crate::base::names::{Name, TopicFilter, TopicName};
use crate::chain::{Chain, Delta, Role};
use crate::client::{
    Amended, Answer, Client, Failure, GrantAs, IntegrityFault, Join, Member, Members, Request, Ticket,
};
use crate::wire::values::Retention;

/// Something asked about who is a member of a topic.
#[derive(Clone, Debug)]
pub struct Change {
    pub topic: TopicName,
    pub what: What,
}

#[derive(Clone, Debug)]
pub enum What {
    Grant(Vec<Name>, GrantAs),
    Deny(Vec<Name>, &'static str),
    Revoke(Vec<Name>),
    Rotate,
    SetJoin(Join),
    /// To keep more or less of it.
    Retain(Retention),
    Delete,
    /// To be let in.
    Join,
    /// Who asks.
    Requests,
}

/// Whether a record of the one who asked did something.
type Did<'a> = dyn Fn(&dyn Fn(&Delta) -> bool) -> bool + 'a;

/// Whom an answer goes to, and what it is held against.
pub struct Hearer<'a> {
    pub me: Fingerprint,
    pub model: &'a mut Model,
}

impl Change {
    pub fn ask(&self, core: &mut Client) -> Ticket {
        let topic = &self.topic;
        match &self.what {
            What::Grant(names, role) => core.grant(topic, names.clone(), *role),
            What::Deny(names, because) => core.deny(topic, names.clone(), because),
            What::Revoke(names) => core.revoke(topic, names.clone()),
            What::Rotate => core.rotate(topic),
            What::SetJoin(join) => core.set_join_policy(topic, *join),
            What::Retain(retention) => core.set_retention(topic, *retention),
            What::Delete => core.delete(topic),
            What::Join => core.join(topic),
            What::Requests => core.requests(TopicFilter::from(topic)),
        }
    }

    /// Holds an answer against what the ledger says.
    pub fn answered(&self, answer: &Answer, hearer: Hearer<'_>) -> Result<(), Violation> {
        let is_true = match (&self.what, answer) {
            (What::Join, Answer::Asked(asked)) => {
                // The topic may have been deleted since, and made anew.
                let logs = hearer.model.logs_named(&self.topic);
                let is_true = |log: &Log| log.ledger().now().owner() == asked.owner_fingerprint;
                let owned = logs.filter(|(_, log)| is_true(log)).map(|(id, _)| id).last();
                owned.is_some_and(|log| {
                    hearer.model.joining.insert((log, hearer.me));
                    true
                })
            }
            (What::Requests, Answer::Requests(requests)) => {
                requests.iter().all(|request| request.topic == self.topic && hearer.is_honest(request))
            }
            (What::Retain(asked), Answer::RetentionSet { topic, retention }) => {
                let mut logs = hearer.model.logs_named(topic);
                *topic == self.topic && asked == retention && logs.any(|(_, log)| log.was_kept_by(*asked))
            }
            (What::Delete, Answer::Deleted { topic }) => {
                let mut logs = hearer.model.logs_named(topic);
                *topic == self.topic && logs.any(|(_, log)| log.is_removed)
            }
            (What::Join | What::Requests | What::Retain(_) | What::Delete, _) => false,
            (_, Answer::Amended(amended)) => {
                let log = hearer.model.log_of_id(amended.id).filter(|log| log.name == self.topic);
                log.is_some_and(|log| self.is_done(amended, log.ledger(), hearer.me))
            }
            _ => false,
        };
        if is_true { Ok(()) } else { Err(self.untrue(answer)) }
    }

    fn untrue(&self, answer: &Answer) -> Violation {
        Rule::AnswersAreTrue.broken(format!("{self:?} was answered by {answer:?}"))
    }

    /// Whether a change was made as the answer says, or there was nothing to do.
    fn is_done(&self, amended: &Amended, ledger: &Ledger, me: Fingerprint) -> bool {
        let Some(state) = ledger.state(amended.number) else { return false };
        let same = state.chain.epoch() == Some(amended.epoch) && count(&state.chain) == amended.members;
        let did = |done: &dyn Fn(&Delta) -> bool| {
            let mine = |state: &State| state.delta.as_ref().is_some_and(|d| d.signer == me && done(d));
            (0..=amended.number).filter_map(|number| ledger.state(number)).any(mine)
        };
        let added =
            |m: &Member| did(&|d| d.added.iter().any(|a| a.fingerprint == m.fingerprint && a.role == m.role));
        let changed = |m: &Member| did(&|d| d.changed.contains(&(m.fingerprint, m.role)));
        let removed = |m: &Member| did(&|d| d.removed.contains(&m.fingerprint));
        let denied = |name: &Name| {
            let who = Cast::get().fingerprint_of(name);
            did(&|d| d.denied.iter().any(|denied| Some(denied.fingerprint) == who))
        };
        let is_true = amended.added.iter().all(added)
            && amended.changed.iter().all(changed)
            && amended.removed.iter().all(removed)
            && amended.denied.iter().all(denied)
            && (!amended.new_epoch || did(&|d| d.epoch.is_some()));
        same && is_true && self.is_complete(amended, state, &did)
    }

    /// Whether all that was asked for is accounted for.
    fn is_complete(&self, amended: &Amended, state: &State, did: &Did<'_>) -> bool {
        let named = |members: &[Member], name: &Name| members.iter().any(|m| m.name == *name);
        let chain = &state.chain;
        let unchanged = |name: &Name, is_so: bool| amended.unchanged.contains(name) && is_so;
        match &self.what {
            What::Grant(names, role) => names.iter().all(|name| {
                let known = role_of(chain, name);
                let is_enough = match role {
                    GrantAs::Member => known.is_some(),
                    GrantAs::Admin => matches!(known, Some(Role::Admin | Role::Owner)),
                };
                named(&amended.added, name) || named(&amended.changed, name) || unchanged(name, is_enough)
            }),
            What::Deny(names, _) => names.iter().all(|name| {
                let is_barred = Cast::get().fingerprint_of(name).is_some_and(|who| chain.is_barred(who));
                amended.denied.contains(name) || unchanged(name, is_barred)
            }),
            What::Revoke(names) => names
                .iter()
                .all(|name| named(&amended.removed, name) || unchanged(name, role_of(chain, name).is_none())),
            What::Rotate => amended.new_epoch || amended.epoch.0 > 0,
            What::SetJoin(join) => chain.join() == *join || did(&|d| d.join == Some(*join)),
            What::Join | What::Requests | What::Retain(_) | What::Delete => false,
        }
    }

    /// Whether this failure is one that the topic's membership gave a reason for, at some time.
    pub fn failed(&self, failure: &Failure, hearer: &Hearer<'_>) -> bool {
        let model = &*hearer.model;
        let was = |holds: &dyn Fn(&Chain) -> bool| {
            model.logs_named(&self.topic).any(|(_, log)| log.ledger().was(holds))
        };
        let me = hearer.me;
        match failure {
            Failure::NotAllowed { .. } => was(&|chain| !self.is_allowed(chain, me)),
            Failure::NotMember(_) => was(&|chain| chain.member(me).is_none()),
            Failure::Waiting { .. } => hearer.has_asked(&self.topic),
            Failure::AlreadyMember(_) => {
                matches!(self.what, What::Join) && was(&|chain| chain.member(me).is_some())
            }
            Failure::Denied { .. } => matches!(self.what, What::Join) && was(&|chain| chain.is_barred(me)),
            Failure::Closed { .. } => {
                matches!(self.what, What::Join) && was(&|chain| chain.join() == Join::Closed)
            }
            Failure::NoSuchTopic(_) => true,
            Failure::UnknownClients(names) => names.iter().all(|name| model.revoked.as_ref() == Some(name)),
            Failure::BadClient { name, .. } => model.revoked.as_ref() == Some(name),
            _ => false,
        }
    }

    /// Whether the rules let `me` do this to the topic as it was.
    fn is_allowed(&self, chain: &Chain, me: Fingerprint) -> bool {
        let role = chain.member(me).map(|member| member.role);
        let is_owner = role == Some(Role::Owner);
        if !is_owner && role != Some(Role::Admin) {
            return false;
        }
        let roles = |names: &[Name]| names.iter().map(|name| role_of(chain, name)).collect::<Vec<_>>();
        match &self.what {
            What::Grant(_, GrantAs::Admin) | What::SetJoin(_) | What::Retain(_) | What::Delete => is_owner,
            What::Deny(names, _) => roles(names).iter().all(Option::is_none),
            What::Revoke(names) => roles(names).iter().flatten().all(|role| match role {
                Role::Owner => false,
                Role::Member => true,
                _ => is_owner,
            }),
            _ => true,
        }
    }
}

impl Hearer<'_> {
    /// Whether this person has asked to join, answered or not.
    pub fn has_asked(&self, topic: &TopicName) -> bool {
        self.model.asked_to_join.contains(&(topic.clone(), self.me))
    }

    /// Whether somebody's request is shown as it was made, and nothing is said against it without cause.
    pub fn is_honest(&self, request: &Request) -> bool {
        let is_there = self.model.logs_named(&request.topic).any(|(_, log)| {
            let ledger = log.ledger();
            let was_barred = ledger.was(|chain| chain.is_barred(request.fingerprint));
            let may_answer = |chain: &Chain| {
                let role = chain.member(self.me).map(|member| member.role);
                matches!(role, Some(Role::Owner | Role::Admin))
            };
            let is_revoked = self.model.revoked.as_ref() == Some(&request.name);
            ledger.was(may_answer) && (request.fault.is_none() || was_barred || is_revoked)
        });
        is_there && Cast::get().fingerprint_of(&request.name) == Some(request.fingerprint)
    }

    /// Whether a topic's members were once as this says.
    pub fn knew(&self, members: &Members) -> bool {
        let log = self.model.log_of_id(members.id).filter(|log| log.name == members.topic);
        log.is_some_and(|log| log.ledger().was(|chain| is_as_told(chain, members)))
    }

    /// Whether `who` was let into a topic by this client's own record, or out of it.
    pub fn did(&self, topic: &TopicName, name: &Name, comes: bool) -> bool {
        let who = Cast::get().fingerprint_of(name);
        let is_it = |delta: &Delta| match comes {
            true => delta.added.iter().any(|added| Some(added.fingerprint) == who),
            false => delta.removed.iter().any(|removed| Some(*removed) == who),
        };
        let mine = |state: &State| state.delta.as_ref().is_some_and(|d| d.signer == self.me && is_it(d));
        self.model.logs_named(topic).any(|(_, log)| log.ledger().states().any(mine))
    }

    /// Whether a topic's newest record could be signed by somebody who was revoked.
    pub fn is_suspended(&self, fault: &IntegrityFault) -> bool {
        matches!(fault, IntegrityFault::RevokedSigner { name } if self.model.revoked.as_ref() == Some(name))
    }
}

/// Whether members, epoch and policy are what the chain says.
pub fn is_as_told(chain: &Chain, told: &Members) -> bool {
    let same = |m: &Member| {
        let known = chain.member(m.fingerprint);
        known.is_some_and(|known| known.name == m.name && known.role == m.role)
    };
    let same_topic = told.id == chain.topic() && told.owner == *chain.owner_name();
    let same_state = chain.epoch() == Some(told.epoch) && chain.join() == told.join;
    same_topic && same_state && told.members.len() == count(chain) && told.members.iter().all(same)
}

fn count(chain: &Chain) -> usize {
    chain.members().len()
}

fn role_of(chain: &Chain, name: &Name) -> Option<Role> {
    chain.members().values().find(|member| member.name == *name).map(|member| member.role)
}
