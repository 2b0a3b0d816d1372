//! Changing who is a member: what was asked for, on its way into a topic's chain.
//!
//! An amendment is an intent, not a record. When the topic's records have come it is held
//! against them, the certificates that it takes are fetched and judged, and a record is made and
//! sent. If another record came first, or the connection was lost, it begins anew on the chain as
//! it is then, so that what others have done meanwhile counts. It is done when its record comes
//! back in the topic's log.
//!
//! ```text
//! plan     what an intent takes, by the chain as it is        gather   certificates for it
//! record   keys, wraps, the record, and how it is sent
//! ```

mod gather;
mod plan;
mod record;

use std::collections::BTreeMap;

use super::Client;
use super::create::members_of;
use super::event::{Amended, Answer, Member, Notice};
use super::failure::Failure;
use super::link::Phase;
use super::lull::{Lull, SILENCE_MAX};
use super::request::{GrantAs, Join, Ticket};
use super::topic::Link;
use crate::base::Mono;
use crate::base::ids::{Fingerprint, RecordHash};
use crate::base::limits::{CURSORS_PER_CONNECTION_MAX, REQUESTS_PER_TOPIC_MAX};
use crate::base::names::{Name, TopicName};
use crate::chain::Role as MemberRole;
use crate::crypto::cert::Certificate;
use crate::wire::values::RefuseCode;

pub use gather::Gathering;
pub use plan::{Admission, Intent, additions_max};
use plan::{Plan, View};

/// A change on its way.
pub struct Amendment {
    /// Which one answers of the broker are for.
    id: Ticket,
    /// Whether somebody waits for the ticket; else the client wants it by itself.
    is_owed: bool,
    intent: Intent,
    stage: Stage,
    /// Certificates of the names that the intent has, once they have come.
    named: Option<Vec<Certificate>>,
    /// Members' certificates; none for a member whose certificate the broker does not have.
    keys: BTreeMap<Fingerprint, Vec<Certificate>>,
    /// Records that the broker may have taken.
    sent: Vec<Sent>,
    done: Done,
    attempts: u32,
}

enum Stage {
    Ready,
    /// The broker is asked for certificates, or was given a record.
    Waiting,
    /// Another record came first: until there are more records than this.
    Held {
        number: u32,
        until: Mono,
    },
    /// The broker has taken the record: until it comes, or there is a lull behind this time.
    Landing {
        number: u32,
        quiet_at: Mono,
    },
}

struct Sent {
    number: u32,
    hash: RecordHash,
    plan: Plan,
    new_epoch: bool,
}

/// What records of this amendment have done.
#[derive(Default)]
struct Done {
    added: Vec<Member>,
    removed: Vec<Member>,
    denied: Vec<Name>,
    changed: Vec<Member>,
    new_epoch: bool,
}

/// How an amendment goes on.
enum Step {
    Wait,
    Over(Result<Amended, Failure>),
}

/// Times that another record may come first.
const ATTEMPTS_MAX: u32 = 16;
/// How long the record that came first is waited for: it was on its way, and may have failed.
const HELD_MAX: std::time::Duration = std::time::Duration::from_secs(2);
/// After which a full disk of the broker's is tried again, by what nobody waits for.
const FULL_PAUSE: std::time::Duration = std::time::Duration::from_secs(10);

impl Client {
    /// Lets clients of these names into a topic, also such as were removed or denied before, or
    /// makes members its admins. Answered by [`Answer::Amended`], like all that follow here.
    ///
    /// A record takes some 0.1 ms for each of its wraps, all in one call: of a topic with 1,024
    /// members a removal, or under since-join an add, takes up to 150 ms.
    pub fn grant(&mut self, topic: &TopicName, names: Vec<Name>, role: GrantAs) -> Ticket {
        self.amend(topic, Intent::Grant { names, role })
    }

    /// Says no to clients of these names, which may have asked to join or not. `because` is for
    /// them to read; it may be empty and has at most 256 bytes.
    pub fn deny(&mut self, topic: &TopicName, names: Vec<Name>, because: &str) -> Ticket {
        self.amend(topic, Intent::Deny { names, because: because.to_owned() })
    }

    /// Removes members, and starts an epoch without them.
    pub fn revoke(&mut self, topic: &TopicName, names: Vec<Name>) -> Ticket {
        self.amend(topic, Intent::Revoke { names })
    }

    /// Starts an epoch for the same members.
    pub fn rotate(&mut self, topic: &TopicName) -> Ticket {
        self.amend(topic, Intent::Rotate(None))
    }

    /// What becomes of those who ask to join from now on.
    pub fn set_join_policy(&mut self, topic: &TopicName, join: Join) -> Ticket {
        self.amend(topic, Intent::SetJoin(Some(join)))
    }

    fn amend(&mut self, topic: &TopicName, intent: Intent) -> Ticket {
        let id = self.ticket();
        match self.why_not(topic) {
            Some(failure) => self.answer(id, Err(failure)),
            None => {
                self.queue(topic, Amendment::new(id, true, intent));
                self.advance();
            }
        }
        id
    }

    /// The client wants this by itself. Those who ask at the same time are let in together.
    pub(super) fn amend_unasked(&mut self, name: &TopicName, intent: Intent) {
        let id = self.ticket();
        let is_one_too_many =
            !self.topics.contains_key(name) && self.topics.len() >= CURSORS_PER_CONNECTION_MAX;
        if is_one_too_many || self.why_not(name).is_some() {
            return;
        }
        // One of a kind waits at most, however often the broker says so.
        let queued = self.topics.get_mut(name).into_iter().flat_map(|topic| &mut topic.amendments);
        let is_same = |other: &Intent| std::mem::discriminant(other) == std::mem::discriminant(&intent);
        let mut queued = queued.filter(|amendment| amendment.is_fresh() && is_same(&amendment.intent));
        match (queued.next().map(|amendment| &mut amendment.intent), intent) {
            (Some(Intent::LetIn(requests)), Intent::LetIn(more)) => {
                let room = REQUESTS_PER_TOPIC_MAX.saturating_sub(requests.len());
                requests.extend(more.into_iter().take(room));
            }
            (Some(_), _) => {}
            (None, intent) => self.queue(name, Amendment::new(id, false, intent)),
        }
    }

    fn queue(&mut self, name: &TopicName, amendment: Amendment) {
        let topic = self.topics.entry(name.clone()).or_default();
        topic.amendments.push_back(amendment);
        self.watched.insert(name.clone());
    }

    /// All records of a topic have come, as far as is known: does what its amendments take.
    pub(super) fn advance_amendments(&mut self, name: &TopicName) {
        loop {
            let Some(topic) = self.topics.get_mut(name) else { return };
            let Link::Open(open) = &topic.link else { return };
            let seen = open.records_seen;
            // Records of an earlier session count once this one has borne them out.
            if seen < topic.records.len() || !self.pins.are_reached(name, seen) {
                return;
            }
            let Some(mut amendment) = topic.amendments.pop_front() else { return };
            match self.step(name, &mut amendment) {
                Ok(Step::Over(result)) => self.finish(name, amendment, result),
                Err(failure) => self.finish(name, amendment, Err(failure)),
                Ok(Step::Wait) => {
                    if let Some(topic) = self.topics.get_mut(name) {
                        topic.amendments.push_front(amendment);
                    }
                    return;
                }
            }
        }
    }

    fn step(&mut self, name: &TopicName, amendment: &mut Amendment) -> Result<Step, Failure> {
        let Some(topic) = self.topics.get(name) else { return Ok(Step::Wait) };
        let me = self.identity.certificate.fingerprint();
        let Some(chain) = topic.records.chain() else {
            return Err(Failure::Nonsense("the topic has no records"));
        };
        amendment.land(|number| topic.records.hash_of(number as usize), me);
        let Phase::Active(session) = &self.phase else { return Ok(Step::Wait) };
        if !amendment.is_ready(chain.number(), self.now.mono, &session.lull)? {
            return Ok(Step::Wait);
        }
        // What is done without being asked goes by the newest list that there is.
        if amendment.intent.is_automatic() && self.is_fetching_crl() {
            return Ok(Step::Wait);
        }
        if self.gather_names(name, amendment) || self.gather_revoked(name, amendment) {
            return Ok(Step::Wait);
        }
        let Some(chain) = self.topics.get(name).and_then(|topic| topic.records.chain()) else {
            return Ok(Step::Wait);
        };
        let view = View {
            chain,
            me,
            trust: &self.trust,
            now: self.now.wall,
            pins: &self.pins,
            named: amendment.named.as_deref().unwrap_or_default(),
            keys: &amendment.keys,
            senders: &self.senders,
        };
        let mut plan = amendment.intent.judge(&view)?;
        for (who, why) in std::mem::take(&mut plan.refused) {
            self.notice(Notice::NotLetIn { topic: name.clone(), name: who, why });
        }
        if plan.is_empty() {
            return Ok(Step::Over(self.amended(name, amendment, plan.unchanged)));
        }
        if amendment.attempts >= ATTEMPTS_MAX {
            return Err(Failure::Crowded(name.clone()));
        }
        if !self.gather_members(name, amendment, &plan)? {
            self.send_record(name, amendment, plan)?;
        }
        Ok(Step::Wait)
    }

    /// What was done, and how the topic is now.
    fn amended(
        &self,
        name: &TopicName,
        amendment: &mut Amendment,
        unchanged: Vec<Name>,
    ) -> Result<Amended, Failure> {
        let chain = self.topics.get(name).and_then(|topic| topic.records.chain());
        let chain = chain.ok_or(Failure::Nonsense("the topic has no records"))?;
        let done = std::mem::take(&mut amendment.done);
        Ok(Amended {
            topic: name.clone(),
            id: chain.topic(),
            number: chain.number(),
            added: done.added,
            removed: done.removed,
            denied: done.denied,
            changed: done.changed,
            epoch: chain.epoch().unwrap_or_default(),
            new_epoch: done.new_epoch,
            members: members_of(chain, self.identity.certificate.fingerprint()).len(),
            unchanged,
        })
    }

    /// Tells whoever is to know how an amendment has ended.
    pub(super) fn finish(
        &mut self,
        name: &TopicName,
        amendment: Amendment,
        result: Result<Amended, Failure>,
    ) {
        if amendment.is_owed {
            return self.answer(amendment.id, result.map(Answer::Amended));
        }
        match (amendment.intent, result) {
            (Intent::LetIn(_), Ok(amended)) => {
                for Member { name: who, fingerprint, .. } in amended.added {
                    self.notice(Notice::LetIn { topic: name.clone(), name: who, fingerprint });
                }
            }
            (Intent::LetIn(requests), Err(failure)) => {
                for request in requests {
                    let (who, why) = (request.certificate.name().clone(), failure.to_string());
                    self.notice(Notice::NotLetIn { topic: name.clone(), name: who, why });
                }
            }
            (_, Ok(amended)) if !amended.removed.is_empty() => {
                let removed = amended.removed.into_iter().map(|member| member.name).collect();
                self.notice(Notice::Rotated { topic: name.clone(), epoch: amended.epoch, removed });
            }
            (_, Ok(_)) if amendment.attempts == 0 => self.nobody_is_revoked(name),
            // Somebody else was faster.
            (_, Ok(_)) => {}
            (_, Err(failure)) => log::warn!("revoked members stay in {name} for now: {failure}"),
        }
    }

    /// The broker has taken a record.
    pub(super) fn amendment_taken(&mut self, name: &TopicName, id: Ticket) {
        let quiet_at = self.now.mono + SILENCE_MAX;
        let Some(amendment) = self.amendment_mut(name, id) else { return };
        if let Some(number) = amendment.sent.last().map(|sent| sent.number) {
            amendment.stage = Stage::Landing { number, quiet_at };
        }
    }

    /// The broker has refused a record, or to give certificates.
    pub(super) fn amendment_refused(
        &mut self,
        name: &TopicName,
        id: Ticket,
        code: RefuseCode,
        failure: Failure,
    ) {
        let now = self.now.mono;
        let Some(topic) = self.topics.get_mut(name) else { return };
        if topic.amendments.front().is_none_or(|amendment| amendment.id != id) {
            return;
        }
        let Some(mut amendment) = topic.amendments.pop_front() else { return };
        match (code, amendment.sent.pop()) {
            (RefuseCode::HeadMoved | RefuseCode::Busy, Some(sent)) => {
                amendment.stage = Stage::Held { number: sent.number, until: now + HELD_MAX };
                topic.amendments.push_front(amendment);
            }
            // There will be room again, and nobody would ask once more. Whoever waits for another
            // one goes before.
            (RefuseCode::StorageFull, Some(sent)) if !amendment.is_owed => {
                log::warn!("{name}: {failure}; it is tried again");
                amendment.stage = Stage::Held { number: sent.number, until: now + FULL_PAUSE };
                amendment.attempts = 0;
                topic.amendments.push_back(amendment);
            }
            _ => self.finish(name, amendment, Err(failure)),
        }
    }

    /// The amendment that an answer is for, if it still waits.
    fn amendment_mut(&mut self, name: &TopicName, id: Ticket) -> Option<&mut Amendment> {
        let topic = self.topics.get_mut(name)?;
        topic.amendments.front_mut().filter(|amendment| amendment.id == id)
    }
}

impl Amendment {
    fn new(id: Ticket, is_owed: bool, intent: Intent) -> Amendment {
        Amendment {
            id,
            is_owed,
            intent,
            stage: Stage::Ready,
            named: None,
            keys: BTreeMap::new(),
            sent: Vec::new(),
            done: Done::default(),
            attempts: 0,
        }
    }

    /// The session is over. Whether a record that was sent was taken, the next one's records show.
    pub fn end_session(&mut self) {
        self.stage = Stage::Ready;
        // What had been asked for and did not come may come in the next one.
        self.keys.retain(|_, certificates| !certificates.is_empty());
    }

    /// When it is to be looked at again.
    pub fn deadline(&self) -> Option<Mono> {
        match self.stage {
            Stage::Held { until, .. } => Some(until),
            _ => None,
        }
    }

    /// When a lull would say that its record does not come back.
    pub fn quiet_at(&self) -> Option<Mono> {
        match self.stage {
            Stage::Landing { quiet_at, .. } => Some(quiet_at),
            _ => None,
        }
    }

    /// Whether nothing was done for it yet.
    fn is_fresh(&self) -> bool {
        !self.is_owed && self.attempts == 0 && matches!(self.stage, Stage::Ready)
    }

    /// Takes note if a record that was sent stands in the chain.
    fn land(&mut self, hash_of: impl Fn(u32) -> Option<RecordHash>, me: Fingerprint) {
        let Some(at) = self.sent.iter().position(|sent| hash_of(sent.number) == Some(sent.hash)) else {
            return;
        };
        let sent = self.sent.swap_remove(at);
        self.sent.clear();
        self.intent.strike(&sent.plan);
        self.done.take(sent, me);
        self.stage = Stage::Ready;
        self.attempts = 0;
    }

    /// Whether to go on, now that the chain's newest record has this number.
    fn is_ready(&mut self, newest: u32, now: Mono, lull: &Lull) -> Result<bool, Failure> {
        match self.stage {
            Stage::Ready => return Ok(true),
            Stage::Waiting => return Ok(false),
            Stage::Held { number, until } if newest < number && now < until => return Ok(false),
            Stage::Held { .. } => {}
            Stage::Landing { number, .. } if newest >= number => {
                return Err(Failure::Nonsense("another record stands where it has taken ours"));
            }
            Stage::Landing { quiet_at, .. } if !lull.is_since(quiet_at) => return Ok(false),
            Stage::Landing { .. } => {
                return Err(Failure::Nonsense("a record that it has taken does not come back"));
            }
        }
        self.stage = Stage::Ready;
        Ok(true)
    }
}

impl Done {
    fn take(&mut self, sent: Sent, me: Fingerprint) {
        let member = |(fingerprint, name, role): (Fingerprint, Name, MemberRole)| Member {
            name,
            fingerprint,
            role,
            me: fingerprint == me,
        };
        self.added.extend(sent.plan.add.into_iter().map(member));
        self.removed.extend(sent.plan.remove.into_iter().map(member));
        self.changed.extend(sent.plan.change.into_iter().map(member));
        self.denied.extend(sent.plan.deny.into_iter().map(|(_, name)| name));
        self.new_epoch |= sent.new_epoch;
    }
}
