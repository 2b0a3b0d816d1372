//! Making a topic: whose certificates are good, who becomes a member, the first records and wraps.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::Client;
use super::amend::additions_max;
use super::asks::Ask;
use super::event::{Answer, Created, Member, Skipped};
use super::failure::Failure;
use super::keyring::EpochKey;
use super::request::{CreateRequest, History, MemberChoice, Ticket};
use crate::base::Wall;
use crate::base::entropy::random_array;
use crate::base::ids::{Fingerprint, RequestId, TopicHandle};
use crate::base::limits::MEMBERS_MAX;
use crate::base::names::{Name, TopicName};
use crate::chain::{Chain, ChainError, DeltaBuilder, Genesis, Role as MemberRole};
use crate::crypto::cert::{Certificate, Role, Trust};
use crate::crypto::key::PublicKey;
use crate::crypto::sign::RsaFault;
use crate::wire::frame::ClientFrame;
use crate::wire::values::ClientEntry;

/// A topic in the making.
pub struct Creation {
    pub ticket: Ticket,
    request: CreateRequest,
    found: Vec<Certificate>,
    skipped: Vec<Skipped>,
    /// Whether all certificates that are wanted have come.
    is_gathered: bool,
    stage: Stage,
}

enum Stage {
    /// Asking for certificates above this fingerprint.
    Gathering(Fingerprint),
    /// The records are being sent; whether the broker took them is not known before it answers.
    Making(Box<Making>),
}

struct Making {
    /// The first record, until it is sent.
    genesis: Option<Vec<u8>>,
    chain: Chain,
    /// Members that hold a key and never connect; all are in the first delta.
    recovery: BTreeSet<Fingerprint>,
    /// The newest epoch's key.
    key: EpochKey,
    /// Members that come with later records.
    left: VecDeque<Certificate>,
    keys: BTreeMap<Fingerprint, PublicKey>,
    /// Once the broker has answered.
    handle: Option<TopicHandle>,
}

/// A record with the wraps that it names.
struct Step {
    record: Vec<u8>,
    wraps: Vec<Vec<u8>>,
}

/// Bytes of one Wraps frame: it shares a token with nothing larger.
const WRAPS_BYTES_MAX: usize = 60 * 1024;
/// Certificates of recovery keys before one record, as the broker takes them.
const RECOVERY_MAX: usize = 8;

impl Creation {
    pub fn new(ticket: Ticket, request: CreateRequest) -> Creation {
        let is_gathered = request.members == MemberChoice::OnlyMe;
        let stage = Stage::Gathering(Fingerprint([0; 32]));
        Creation { ticket, request, found: Vec::new(), skipped: Vec::new(), is_gathered, stage }
    }

    pub fn name(&self) -> &TopicName {
        &self.request.name
    }

    /// Whether the broker may have made something of it by now.
    pub fn is_begun(&self) -> bool {
        matches!(self.stage, Stage::Making(_))
    }

    /// The creation from its start.
    pub fn again(self) -> Creation {
        Creation::new(self.ticket, self.request)
    }

    /// The names to be asked for; none: all.
    fn names(&self) -> Vec<Name> {
        match &self.request.members {
            MemberChoice::Only(names) => names.clone(),
            _ => Vec::new(),
        }
    }

    /// Takes a page of certificates in; says whether another one is to be asked for.
    fn take_page(
        &mut self,
        clients: &[ClientEntry],
        more: bool,
        trust: &Trust,
        now: Wall,
    ) -> Result<bool, Failure> {
        let Stage::Gathering(after) = self.stage else {
            return Err(Failure::Nonsense("certificates were not asked for"));
        };
        let mut last = after;
        for client in clients {
            match trust.verify_historic(&client.certificate, Role::Client) {
                Ok(certificate) => {
                    last = last.max(certificate.fingerprint());
                    self.judge(certificate, trust, now);
                }
                Err(fault) => {
                    self.skipped.push(Skipped { name: None, fingerprint: None, why: fault.to_string() })
                }
            }
        }
        if more && last <= after {
            return Err(Failure::Nonsense("a page of certificates without any that can be read"));
        }
        self.stage = Stage::Gathering(last);
        Ok(more)
    }

    /// Whether a client of this name is to become a member: the broker may answer with others, too.
    fn wants(&self, name: &Name) -> bool {
        match &self.request.members {
            MemberChoice::Only(names) => names.contains(name),
            MemberChoice::AllKnown => true,
            MemberChoice::OnlyMe => false,
        }
    }

    fn judge(&mut self, certificate: Certificate, trust: &Trust, now: Wall) {
        if !self.wants(certificate.name()) {
            return;
        }
        match trust.judge(&certificate, now) {
            Ok(()) => self.found.push(certificate),
            Err(fault) => self.skipped.push(Skipped {
                name: Some(certificate.name().clone()),
                fingerprint: Some(certificate.fingerprint()),
                why: fault.to_string(),
            }),
        }
    }

    /// Who becomes a member besides `me`, each name once, recovery keys first.
    fn choose(
        &mut self,
        me: &Certificate,
        recovery: &[Certificate],
    ) -> Result<VecDeque<Certificate>, Failure> {
        let found = std::mem::take(&mut self.found);
        let mut by_name: BTreeMap<Name, BTreeMap<Fingerprint, Certificate>> = BTreeMap::new();
        for certificate in found.into_iter().chain([me.clone()]).chain(recovery.iter().cloned()) {
            let of_name = by_name.entry(certificate.name().clone()).or_default();
            of_name.insert(certificate.fingerprint(), certificate);
        }
        if let Some((name, keys)) = by_name.iter().find(|(_, keys)| keys.len() > 1) {
            let fingerprints = keys.keys().copied().collect();
            return Err(Failure::TwoKeys { name: name.clone(), fingerprints });
        }
        self.check_names(&by_name)?;
        if by_name.len() > MEMBERS_MAX {
            return Err(Failure::TooManyMembers { count: by_name.len(), max: MEMBERS_MAX });
        }
        let all = by_name.into_values().flat_map(BTreeMap::into_values);
        let mut chosen: Vec<Certificate> = all.filter(|c| c.fingerprint() != me.fingerprint()).collect();
        chosen.sort_by_key(|c| !recovery.iter().any(|r| r.fingerprint() == c.fingerprint()));
        Ok(chosen.into())
    }

    /// The certificates of recovery keys: of our CA, a client's, in force, and not `me`.
    fn recovery(&self, me: &Certificate, trust: &Trust, now: Wall) -> Result<Vec<Certificate>, Failure> {
        let given = &self.request.recovery;
        if given.len() > RECOVERY_MAX {
            return Err(Failure::Machine(format!(
                "a topic is made with {RECOVERY_MAX} recovery keys at most"
            )));
        }
        let read = |der: &Vec<u8>| {
            let certificate = trust
                .verify_historic(der, Role::Client)
                .map_err(|fault| Failure::Machine(format!("the certificate of a recovery key {fault}")))?;
            let name = certificate.name().clone();
            let bad = |why| Failure::BadClient { name, why };
            match trust.judge(&certificate, now) {
                _ if certificate.fingerprint() == me.fingerprint() => {
                    Err(bad("is your own, and no recovery key".into()))
                }
                Err(fault) => Err(bad(fault.to_string())),
                Ok(()) => Ok(certificate),
            }
        };
        given.iter().map(read).collect()
    }

    /// Whether all who were asked for by name are there.
    fn check_names<T>(&self, found: &BTreeMap<Name, T>) -> Result<(), Failure> {
        let MemberChoice::Only(names) = &self.request.members else { return Ok(()) };
        let missing: Vec<&Name> = names.iter().filter(|name| !found.contains_key(*name)).collect();
        for name in &missing {
            if let Some(skipped) = self.skipped.iter().find(|s| s.name.as_ref() == Some(*name)) {
                return Err(Failure::BadClient { name: (*name).clone(), why: skipped.why.clone() });
            }
        }
        if missing.is_empty() {
            return Ok(());
        }
        Err(Failure::UnknownClients(missing.into_iter().cloned().collect()))
    }
}

impl Making {
    /// The genesis, and who comes after it.
    fn begin(
        request: &CreateRequest,
        left: VecDeque<Certificate>,
        recovery: BTreeSet<Fingerprint>,
        client: &mut Client,
    ) -> Result<Making, Failure> {
        let me = &client.identity.certificate;
        let genesis = Genesis {
            name: request.name.clone(),
            nonce: random_array(&mut *client.entropy),
            owner: me.fingerprint(),
            owner_name: me.name().clone(),
            join: request.join,
            history: request.history,
        };
        let record = genesis.sign(&client.identity.key, &mut *client.entropy).map_err(own_record)?;
        let chain = Chain::begin(&record, me.public_key()).map_err(own_record)?;
        let key = EpochKey::random(chain.topic(), chain.next_epoch(), &mut *client.entropy);
        let keys = left.iter().chain([me]).map(|c| (c.fingerprint(), c.public_key().clone())).collect();
        Ok(Making { genesis: Some(record), chain, key, left, keys, recovery, handle: None })
    }

    /// The next delta, for as many of those left as one record may add.
    fn step(&mut self, client: &mut Client) -> Result<Step, Failure> {
        let me = client.identity.certificate.fingerprint();
        let names = self.left.iter().map(Certificate::name);
        let new_epoch = self.chain.epoch().is_none() || self.chain.history() == History::SinceJoin;
        let batch = additions_max(names, self.chain.members().len(), new_epoch);
        let mut delta = DeltaBuilder::new(&self.chain, me, client.now.wall);
        for certificate in self.left.drain(..batch) {
            let who = certificate.fingerprint();
            let role = match self.recovery.contains(&who) {
                true => MemberRole::Recovery,
                false => MemberRole::Member,
            };
            delta.add(who, certificate.name().clone(), role);
        }
        if delta.needs_epoch() {
            // Those of one record share its epoch, and under since-join read nothing from before.
            let (topic, epoch) = (self.chain.topic(), self.chain.next_epoch());
            self.key = EpochKey::random(topic, epoch, &mut *client.entropy);
            delta.new_epoch(self.key.commitment(), Vec::new());
        }
        let mut wraps = Vec::new();
        for recipient in delta.recipients().map_err(own_record)? {
            let key = self.keys.get(&recipient).expect("whom we add is one whose certificate we have");
            wraps.push(self.key.wrap(key, &mut *client.entropy).map_err(machine)?);
        }
        let own = &client.identity.key;
        let record = delta.sign(&wraps, own, &mut *client.entropy).map_err(own_record)?;
        let change = self.chain.check(&record, &own.public()).map_err(own_record)?;
        self.chain.apply(change).map_err(own_record)?;
        Ok(Step { record, wraps })
    }
}

impl Client {
    /// Sends what a creation needs next under `request`.
    pub(super) fn start_creation(&mut self, request: RequestId, mut creation: Box<Creation>) {
        match creation.stage {
            Stage::Gathering(after) if !creation.is_gathered => {
                let names = creation.names();
                self.outbox.push(&ClientFrame::ListClients { request, after, names });
            }
            _ => {
                if let Err(failure) = self.send_step(request, &mut creation) {
                    return self.answer(creation.ticket, Err(failure));
                }
            }
        }
        if let Some(session) = self.session_mut() {
            session.asks.insert(request, Ask::Create(creation));
        }
    }

    /// A page of certificates has come.
    pub(super) fn creation_page(&mut self, mut creation: Box<Creation>, clients: &[ClientEntry], more: bool) {
        match creation.take_page(clients, more, &self.trust, self.now.wall) {
            Ok(wants_more) => {
                creation.is_gathered = !wants_more;
                self.start(Ask::Create(creation));
            }
            Err(failure) => self.answer(creation.ticket, Err(failure)),
        }
    }

    /// The broker has taken a record of a creation: send the next one, or answer.
    pub(super) fn creation_taken(&mut self, mut creation: Box<Creation>, handle: Option<TopicHandle>) {
        let Stage::Making(making) = &mut creation.stage else {
            return self.answer(creation.ticket, Err(Failure::Nonsense("the topic was not made yet")));
        };
        making.handle = making.handle.or(handle);
        self.pin_made(&making.chain);
        if !making.left.is_empty() {
            return self.start(Ask::Create(creation));
        }
        let me = self.identity.certificate.fingerprint();
        let created = Created {
            id: making.chain.topic(),
            members: members_of(&making.chain, me),
            topic: creation.request.name,
            skipped: creation.skipped,
        };
        self.answer(creation.ticket, Ok(Answer::Created(created)));
    }

    /// Makes the next record of a creation and sends it behind its wraps.
    fn send_step(&mut self, request: RequestId, creation: &mut Creation) -> Result<(), Failure> {
        if let Stage::Gathering(_) = creation.stage {
            let me = &self.identity.certificate;
            let recovery = creation.recovery(me, &self.trust, self.now.wall)?;
            let left = creation.choose(me, &recovery)?;
            self.check_chosen(&left)?;
            for certificate in &recovery {
                let certificate = certificate.der().to_vec();
                self.outbox.push(&ClientFrame::RecoveryCertificate { certificate });
            }
            let recovery = recovery.iter().map(Certificate::fingerprint).collect();
            let making = Making::begin(&creation.request, left, recovery, self)?;
            creation.stage = Stage::Making(Box::new(making));
        }
        let Stage::Making(making) = &mut creation.stage else { return Ok(()) };
        let Step { record, wraps } = making.step(self)?;
        for wraps in pages(wraps) {
            self.outbox.push(&ClientFrame::Wraps { wraps });
        }
        let frame = match (making.genesis.take(), making.handle) {
            (Some(genesis), _) => ClientFrame::Create {
                request,
                name: creation.request.name.clone(),
                durability: creation.request.durability,
                retention: creation.request.retention,
                genesis,
                delta: record,
            },
            (None, Some(topic)) => ClientFrame::Append { request, topic, record },
            (None, None) => return Err(Failure::Nonsense("the topic has no handle")),
        };
        self.outbox.push(&frame);
        Ok(())
    }
}

/// A topic's members, for people.
pub fn members_of(chain: &Chain, me: Fingerprint) -> Vec<Member> {
    let member = |(fingerprint, member): (&Fingerprint, &crate::chain::Member)| Member {
        name: member.name.clone(),
        fingerprint: *fingerprint,
        role: member.role,
        me: *fingerprint == me,
    };
    let mut members: Vec<Member> = chain.members().iter().map(member).collect();
    members.sort_by(|a, b| a.name.cmp(&b.name));
    members
}

/// Wraps in as many frames as they need.
pub fn pages(wraps: Vec<Vec<u8>>) -> Vec<Vec<Vec<u8>>> {
    let (mut pages, mut bytes) = (Vec::new(), WRAPS_BYTES_MAX);
    for wrap in wraps {
        bytes += 2 + wrap.len();
        if bytes > WRAPS_BYTES_MAX {
            bytes = 2 + wrap.len();
            pages.push(Vec::new());
        }
        pages.last_mut().expect("a page was just begun").push(wrap);
    }
    pages
}

pub fn own_record(e: ChainError) -> Failure {
    Failure::Machine(format!("the topic's record {e}"))
}

fn machine(e: RsaFault) -> Failure {
    Failure::Machine(e.to_string())
}
