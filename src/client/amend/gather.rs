//! The certificates that an amendment takes: of those who are to be let in, by name, and of members
//! who are to get a key, by fingerprint.

use super::super::Client;
use super::super::asks::Ask;
use super::super::failure::Failure;
use super::super::link::Phase;
use super::super::request::Ticket;
use super::plan::{Intent, Plan};
use super::{Amendment, Stage};
use crate::base::ids::{Fingerprint, RequestId};
use crate::base::names::{Name, TopicName};
use crate::chain::History;
use crate::crypto::cert::{Certificate, Role, Trust};
use crate::wire::frame::ClientFrame;
use crate::wire::values::ClientEntry;

/// Certificates that the broker is asked for on an amendment's behalf.
pub struct Gathering {
    pub topic: TopicName,
    pub id: Ticket,
    wanted: Wanted,
    found: Vec<Certificate>,
}

enum Wanted {
    /// Clients of these names, above a fingerprint; then those of the names that are left.
    Names { names: Vec<Name>, left: Vec<Name>, after: Fingerprint },
    /// In this order.
    Keys(Vec<Fingerprint>),
}

/// Names of one frame, each of 65 bytes at most.
const NAMES_MAX: usize = 512;

impl Gathering {
    pub fn frame(&self, request: RequestId) -> ClientFrame {
        match &self.wanted {
            Wanted::Names { names, after, .. } => {
                ClientFrame::ListClients { request, after: *after, names: names.clone() }
            }
            Wanted::Keys(fingerprints) => {
                ClientFrame::GetCertificates { request, fingerprints: fingerprints.clone() }
            }
        }
    }

    fn names(topic: TopicName, id: Ticket, mut names: Vec<Name>) -> Gathering {
        let left = names.split_off(names.len().min(NAMES_MAX));
        let wanted = Wanted::Names { names, left, after: Fingerprint([0; 32]) };
        Gathering { topic, id, wanted, found: Vec::new() }
    }

    /// Takes a page; says whether there is another one to be asked for.
    fn take(&mut self, page: &[ClientEntry], more: bool, trust: &Trust) -> Result<bool, Failure> {
        match &mut self.wanted {
            Wanted::Names { names, left, after } => {
                let mut last = *after;
                for client in page {
                    // What is not of our CA is nobody's.
                    let Ok(c) = trust.verify_historic(&client.certificate, Role::Client) else { continue };
                    last = last.max(c.fingerprint());
                    if names.contains(c.name()) {
                        self.found.push(c);
                    }
                }
                if more && last <= *after {
                    return Err(Failure::Nonsense("a page of certificates without any that can be read"));
                }
                *after = last;
                if more {
                    return Ok(true);
                }
                *names = left.split_off(left.len().saturating_sub(NAMES_MAX));
                *after = Fingerprint([0; 32]);
                Ok(!names.is_empty())
            }
            Wanted::Keys(wanted) => {
                let wrong = |why| Failure::WrongCertificates { topic: self.topic.clone(), why };
                let mut reached = 0;
                for client in page {
                    let c = trust.verify_historic(&client.certificate, Role::Client);
                    let c = c.map_err(|fault| wrong(format!("one {fault}")))?;
                    let place = wanted.iter().position(|who| *who == c.fingerprint());
                    let Some(place) = place.filter(|place| place + 1 >= reached) else {
                        let (name, key) = (c.name(), c.fingerprint().short());
                        return Err(wrong(format!("one of {name} with the key {key} was not asked for")));
                    };
                    reached = place + 1;
                    self.found.push(c);
                }
                if more && reached == 0 {
                    return Err(Failure::Nonsense("a page of certificates without any"));
                }
                wanted.drain(..reached);
                Ok(more && !wanted.is_empty())
            }
        }
    }
}

impl Client {
    /// A page of certificates has come for an amendment.
    pub(in crate::client) fn gathered(&mut self, mut gathering: Gathering, page: &[ClientEntry], more: bool) {
        let taken = gathering.take(page, more, &self.trust);
        let Some(topic) = self.topics.get_mut(&gathering.topic) else { return };
        let Some(amendment) = topic.amendments.front_mut().filter(|a| a.id == gathering.id) else { return };
        match taken {
            Ok(true) => return self.start(Ask::Gather(Box::new(gathering))),
            Ok(false) => {}
            Err(failure) => {
                if let Some(amendment) = topic.amendments.pop_front() {
                    self.finish(&gathering.topic, amendment, Err(failure));
                }
                return;
            }
        }
        amendment.stage = Stage::Ready;
        match gathering.wanted {
            Wanted::Names { .. } => amendment.named = Some(gathering.found),
            Wanted::Keys(_) => {
                for certificate in gathering.found {
                    amendment.keys.entry(certificate.fingerprint()).or_default().push(certificate);
                }
            }
        }
    }

    /// Asks for those whom the intent names. False: they are there.
    pub(super) fn gather_names(&mut self, topic: &TopicName, amendment: &mut Amendment) -> bool {
        let names = amendment.intent.names();
        if names.is_empty() || amendment.named.is_some() {
            return false;
        }
        let gathering = Gathering::names(topic.clone(), amendment.id, names.to_vec());
        amendment.stage = Stage::Waiting;
        self.start(Ask::Gather(Box::new(gathering)));
        true
    }

    /// Asks for all members' certificates, to see who is revoked. False: they are there.
    pub(super) fn gather_revoked(&mut self, topic: &TopicName, amendment: &mut Amendment) -> bool {
        if !matches!(amendment.intent, Intent::RemoveRevoked) {
            return false;
        }
        let members = self.topics.get(topic).and_then(|t| t.records.chain()).map(|chain| chain.members());
        let members: Vec<Fingerprint> = members.into_iter().flat_map(|m| m.keys().copied()).collect();
        self.gather_keys(topic, amendment, members)
    }

    /// Asks for the certificates of those who are to get a key. False: they are there, all of them.
    pub(super) fn gather_members(
        &mut self,
        topic: &TopicName,
        amendment: &mut Amendment,
        plan: &Plan,
    ) -> Result<bool, Failure> {
        let Some(chain) = self.topics.get(topic).and_then(|t| t.records.chain()) else { return Ok(true) };
        let new_epoch = plan.rotate
            || !plan.remove.is_empty()
            || !plan.add.is_empty() && chain.history() == History::SinceJoin;
        let stays = |who: &&Fingerprint| !plan.remove.iter().any(|(removed, ..)| removed == *who);
        let members: Vec<Fingerprint> = match new_epoch {
            true => chain.members().keys().filter(stays).copied().collect(),
            false => Vec::new(),
        };
        let me = self.identity.certificate.fingerprint();
        for who in members.iter().filter(|who| **who != me) {
            if amendment.keys.get(who).is_some_and(Vec::is_empty) {
                let name = chain.member(*who).expect("it is among the members").name.clone();
                let why = "is not at the broker, so that the topic's new key cannot be wrapped for it";
                return Err(Failure::BadClient { name, why: why.into() });
            }
        }
        // Those who come are known by the certificates that were judged.
        let admitted = match &amendment.intent {
            Intent::LetIn(requests) => requests.iter().map(|r| r.certificate.clone()).collect(),
            _ => amendment.named.clone().unwrap_or_default(),
        };
        for certificate in admitted {
            amendment.keys.entry(certificate.fingerprint()).or_insert_with(|| vec![certificate]);
        }
        Ok(self.gather_keys(topic, amendment, members))
    }

    /// Asks for those of these certificates that are not there.
    fn gather_keys(
        &mut self,
        topic: &TopicName,
        amendment: &mut Amendment,
        mut who: Vec<Fingerprint>,
    ) -> bool {
        let me = self.identity.certificate.fingerprint();
        who.retain(|who| *who != me && !amendment.keys.contains_key(who));
        if who.is_empty() {
            return false;
        }
        // Whoever's does not come is remembered as asked for.
        amendment.keys.extend(who.iter().map(|who| (*who, Vec::new())));
        amendment.stage = Stage::Waiting;
        let (topic, id) = (topic.clone(), amendment.id);
        let gathering = Gathering { topic, id, wanted: Wanted::Keys(who), found: Vec::new() };
        self.start(Ask::Gather(Box::new(gathering)));
        true
    }

    /// Whether a newer revocation list is on its way.
    pub(super) fn is_fetching_crl(&self) -> bool {
        matches!(&self.phase, Phase::Active(session) if session.asks.any(|ask| matches!(ask, Ask::Crl(_))))
    }
}
