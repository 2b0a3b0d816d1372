//! One command of one connection at a time.

use std::sync::Arc;

use super::jobs::{Found, Job};
use super::joining::Listing;
use super::open::Opening;
use super::publish::Incoming;
use super::seat::Filter;
use super::{Means, Processor, Refusal};
use crate::base::Now;
use crate::base::ids::{ConnId, RequestId};
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

/// What a connection has sent ahead of a record.
#[derive(Default)]
pub struct Staged {
    pub wraps: Vec<Vec<u8>>,
    /// Certificates of recovery keys, in DER.
    pub recovery: Vec<Vec<u8>>,
}

/// The body that belongs to a publish, with its hash, whichever way it came.
pub type Bodies<'a> = &'a mut dyn Iterator<Item = Arc<[u8]>>;

/// Bytes of a page of certificates or of a CRL.
const PAGE_BYTES: usize = 48 * 1024;
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
                self.name_publisher(id, slot, publisher, delegation, means)
            }
            ClientFrame::Create { .. } | ClientFrame::Append { .. } => {
                self.membership_command(id, frame, means)
            }
            ClientFrame::Wraps { wraps } => self.stage_wraps(id, wraps),
            ClientFrame::RecoveryCertificate { certificate } => self.stage_recovery(id, certificate),
            ClientFrame::Join { request, name, ask } => self.ask_to_join(id, request, name, ask, means),
            ClientFrame::GetCertificates { request, fingerprints } => {
                self.send_certificates(id, request, &fingerprints)
            }
            other => self.plain_command(id, other, means.now),
        }
    }

    /// Commands that need neither bodies nor RSA.
    fn plain_command(&mut self, id: ConnId, frame: ClientFrame, now: Now) -> Handled {
        match frame {
            ClientFrame::Open { request, name, start } => self.open(id, request, &name, start, now),
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
            ClientFrame::ListRequests { request, follow, filter, after, after_client } => {
                if follow {
                    self.follow(id);
                }
                let listing = Listing { request, filter, after, after_client, page: Vec::new(), bytes: 0 };
                if let Some(seat) = self.seat_mut(id) {
                    seat.jobs.push_back(Job::Requests(Box::new(listing)));
                }
            }
            ClientFrame::Delete { request, name } => self.delete(id, request, &name),
            ClientFrame::SetRetention { request, name, retention } => {
                self.set_retention(id, request, &name, retention)
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

    fn open(&mut self, id: ConnId, request: RequestId, name: &TopicName, start: Start, now: Now) {
        let Some(me) = self.seat(id).map(|seat| seat.peer.fingerprint) else { return };
        // One that is being deleted is there until that is stored: a crash may bring it back.
        let opened = match self.topic_named(name) {
            Some((key, topic)) if topic.chain.member(me).is_some() => {
                self.open_topic(id, key, Opening { request, start })
            }
            Some((_, topic)) => Err(self.stranger(topic, &me, now.wall)),
            None => Err(Refusal::code(RefuseCode::NoSuchTopic)),
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
    pub(super) fn take_staged(&mut self, id: ConnId) -> Staged {
        let Some(seat) = self.seats.get_mut(id) else { return Staged::default() };
        self.staged_bytes -= std::mem::take(&mut seat.staged_bytes);
        Staged {
            wraps: std::mem::take(&mut seat.staged),
            recovery: std::mem::take(&mut seat.staged_recovery),
        }
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
