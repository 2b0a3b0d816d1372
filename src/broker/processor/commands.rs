//! One command of one connection at a time.

use std::collections::HashSet;
use std::sync::Arc;

use super::jobs::{Found, Job};
use super::open::Opening;
use super::publish::Incoming;
use super::seat::{Filter, Slot};
use super::{Means, Processor, Refusal};
use crate::base::ids::{ConnId, PublisherId, RequestId};
use crate::base::limits::{FILTERS_PER_CONNECTION_MAX, RSA_BYTES_MAX, STAGED_BYTES_MAX, STAGED_WRAPS_MAX};
use crate::base::names::{TopicFilter, TopicName};
use crate::wire::body::Body;
use crate::wire::frame::{BrokerFrame, ClientFrame};
use crate::wire::values::{RefuseCode, Start};

/// What became of a command.
#[derive(Debug, PartialEq, Eq)]
pub enum Handled {
    Done,
    /// The RSA budget is spent: it is to be given again in a later turn.
    Deferred(ClientFrame),
    /// It breaks the protocol; the session ends.
    Violation(&'static str),
}

/// The body that belongs to a publish, with its hash, whichever way it came.
pub type Bodies<'a> = &'a mut dyn Iterator<Item = Arc<[u8]>>;

/// Bytes of a page of certificates or of a CRL.
const PAGE_BYTES: usize = 48 * 1024;
/// A delegation's bytes: a key, an id, two times, a signature.
const DELEGATION_BYTES_MAX: usize = 1024;
/// Names that one ListClients may ask for.
const NAMES_MAX: usize = 1024;

impl Processor {
    /// Does one command. `bodies` gives the bodies that followed the record's token, in
    /// frame order; a publish takes its own.
    pub fn command(
        &mut self,
        id: ConnId,
        frame: ClientFrame,
        bodies: Bodies<'_>,
        means: &mut Means<'_>,
    ) -> Handled {
        match frame {
            ClientFrame::Publish { slot, topic, epoch, counter, body } => {
                let (body, sha256) = match body {
                    Body::Inline(bytes) => {
                        let sha256 = crate::crypto::digest::sha256(&bytes);
                        (Some(Arc::from(bytes)), sha256)
                    }
                    Body::Beside(body) => (bodies.next(), body.sha256),
                };
                let Some(body) = body else {
                    return Handled::Violation("a body is missing");
                };
                self.publish(id, Incoming { slot, topic, epoch, counter, body, sha256 }, means.now);
                Handled::Done
            }
            ClientFrame::Publisher { slot, id: publisher, delegation } => {
                self.name_publisher(id, slot, publisher, delegation)
            }
            ClientFrame::Create { .. } | ClientFrame::Append { .. } => {
                self.membership_command(id, frame, means)
            }
            ClientFrame::Wraps { wraps } => self.stage_wraps(id, wraps),
            other => self.plain_command(id, other),
        }
    }

    /// Commands that need neither bodies nor RSA.
    fn plain_command(&mut self, id: ConnId, frame: ClientFrame) -> Handled {
        match frame {
            ClientFrame::Open { request, name, start } => self.open(id, request, &name, start),
            ClientFrame::Subscribe { request, filter, start } => self.subscribe(id, request, filter, start),
            ClientFrame::Unsubscribe { request, filter } => {
                if let Some(seat) = self.seat_mut(id) {
                    seat.filters.retain(|held| held.filter != filter);
                    seat.jobs.push_back(Job::Unsubscribe { request, filter, next: 0 });
                }
            }
            ClientFrame::ListClients { request, after, names } => {
                if names.len() > NAMES_MAX {
                    return Handled::Violation("too many names");
                }
                let (clients, more) = self.clients.page(after, &names, PAGE_BYTES);
                self.answer(id, BrokerFrame::Clients { request, more, clients });
            }
            ClientFrame::ListTopics { request, after, filter } => {
                if let Some(seat) = self.seat_mut(id) {
                    seat.jobs.push_back(Job::List { request, filter, after, page: Vec::new(), bytes: 0 });
                }
            }
            ClientFrame::GetStats { request } => {
                let stats = self.stats();
                self.answer(id, BrokerFrame::Stats { request, stats });
            }
            ClientFrame::GetCrl { request, from } => self.send_crl(id, request, from),
            ClientFrame::Exit { forget } => {
                if let Some(seat) = self.seat_mut(id) {
                    seat.exit = Some(forget);
                }
            }
            other => {
                debug_assert!(false, "{} is handled before", other.label());
                return Handled::Violation("unexpected frame");
            }
        }
        Handled::Done
    }

    fn open(&mut self, id: ConnId, request: RequestId, name: &TopicName, start: Start) {
        let Some(me) = self.seat(id).map(|seat| seat.peer.fingerprint) else { return };
        let opened = match self.topics.key(name) {
            None => Err(Refusal::code(RefuseCode::NoSuchTopic)),
            Some(key) => match self.topics.topic(key) {
                Some(topic) if topic.chain.member(me).is_some() => {
                    self.open_topic(id, key, Opening { request, start })
                }
                Some(topic) => Err(Refusal::because(
                    RefuseCode::NotMember,
                    format!("you are not a member of {}; its owner is {}", topic.name, topic.owner),
                )),
                None => Err(Refusal::code(RefuseCode::NoSuchTopic)),
            },
        };
        if let Err(refusal) = opened {
            self.refuse(id, request, refusal);
        }
    }

    fn subscribe(&mut self, id: ConnId, request: RequestId, filter: TopicFilter, start: Start) {
        let Some(seat) = self.seat_mut(id) else { return };
        let known = seat.filters.iter().any(|held| held.filter == filter);
        if !known && seat.filters.len() >= FILTERS_PER_CONNECTION_MAX {
            self.refuse(id, request, Refusal::limit(FILTERS_PER_CONNECTION_MAX));
            return;
        }
        if !known {
            seat.filters.push(Filter { filter: filter.clone(), request });
        }
        let found = Found::default();
        seat.jobs.push_back(Job::Subscribe { request, filter, start, after: String::new(), found });
    }

    fn name_publisher(
        &mut self,
        id: ConnId,
        slot: u16,
        publisher: PublisherId,
        delegation: Vec<u8>,
    ) -> Handled {
        if delegation.len() > DELEGATION_BYTES_MAX {
            return Handled::Violation("a delegation is too long");
        }
        let Some(seat) = self.seat_mut(id) else { return Handled::Done };
        let Some(place) = seat.publishers.get_mut(usize::from(slot)) else {
            return Handled::Violation("no such publisher slot");
        };
        *place = Some(Slot { id: publisher, delegation: Arc::from(delegation), used_in: HashSet::new() });
        Handled::Done
    }

    fn stage_wraps(&mut self, id: ConnId, wraps: Vec<Vec<u8>>) -> Handled {
        let bytes: usize = wraps.iter().map(Vec::len).sum();
        let room = STAGED_BYTES_MAX.saturating_sub(self.staged_bytes);
        let Some(seat) = self.seat_mut(id) else { return Handled::Done };
        if seat.staged.len() + wraps.len() > STAGED_WRAPS_MAX || wraps.iter().any(|w| w.len() > RSA_BYTES_MAX)
        {
            return Handled::Violation("more or larger wraps than any record names");
        }
        // What does not fit is dropped; the record that needs it will be refused.
        if bytes <= room {
            seat.staged.extend(wraps);
            seat.staged_bytes += bytes;
            self.staged_bytes += bytes;
        }
        Handled::Done
    }

    /// Takes what a connection has staged.
    pub(super) fn take_staged(&mut self, id: ConnId) -> Vec<Vec<u8>> {
        let Some(seat) = super::seat_of(&mut self.seats, id) else { return Vec::new() };
        self.staged_bytes -= std::mem::take(&mut seat.staged_bytes);
        std::mem::take(&mut seat.staged)
    }

    fn send_crl(&mut self, id: ConnId, request: RequestId, from: u32) {
        let Some((number, der)) = self.crl.clone() else {
            let none = BrokerFrame::CrlPart { request, number: 0, total: 0, from: 0, part: Vec::new() };
            self.answer(id, none);
            return;
        };
        let rest = der.get(from as usize..).unwrap_or_default();
        let part = rest[..rest.len().min(PAGE_BYTES)].to_vec();
        self.answer(id, BrokerFrame::CrlPart { request, number, total: der.len() as u32, from, part });
    }
}
