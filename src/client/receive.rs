//! What a frame of the broker leads to.

use std::sync::Arc;
use std::time::Duration;

use super::Client;
use super::asks::Ask;
use super::crl::Part;
use super::event::{Answer, Connected, Event, KnownClient, Notice};
use super::failure::{Failure, ends_soon};
use super::link::{End, Welcome};
use super::senders::Claim;
use super::subscribe::Announcement;
use crate::base::Wall;
use crate::base::ids::{RequestId, TopicHandle};
use crate::base::limits::{CLOCK_SKEW, MESSAGE_BYTES_MAX, UNANSWERED_PUBLISHES_MAX};
use crate::base::names::TopicName;
use crate::crypto::cert::Role;
use crate::crypto::digest::sha256;
use crate::wire::body::Body;
use crate::wire::frame::{BrokerFrame, ClientFrame};
use crate::wire::values::{ClientEntry, TopicEntry};

/// A keepalive that no broker asks for: below, pings would be all that is sent.
const KEEPALIVE_MIN: Duration = Duration::from_secs(1);

impl Client {
    /// Obeys one frame. `bodies` are those of its record that no frame has taken yet.
    pub(super) fn take_frame(
        &mut self,
        frame: BrokerFrame,
        bodies: &mut impl Iterator<Item = Arc<[u8]>>,
    ) -> Result<(), End> {
        use BrokerFrame as F;
        log::trace!("the broker says {}", frame.label());
        let is_early = matches!(frame, F::Welcome { .. } | F::Ping { .. } | F::Pong { .. } | F::Close { .. });
        if !is_early && !self.is_connected() {
            return Err(End::protocol(format!("{} before Welcome", frame.label())));
        }
        if !matches!(frame, F::Ping { .. } | F::Pong { .. })
            && let Some(session) = self.session_mut()
        {
            session.lull.stir();
        }
        match frame {
            F::Ping { number } => self.outbox.push(&ClientFrame::Pong { number }),
            F::Pong { number } => self.pong(number),
            F::Close { sequence, code, text } => return Err(self.closed(sequence, code, text)),
            F::Welcome { time, keepalive_secs, message_bytes_max, window, crl_number, version } => {
                let welcome = Welcome {
                    keepalive: Duration::from_secs(keepalive_secs.into()).max(KEEPALIVE_MIN),
                    message_bytes_max: (message_bytes_max as usize).min(MESSAGE_BYTES_MAX),
                    window: usize::from(window).clamp(1, UNANSWERED_PUBLISHES_MAX),
                };
                return self.welcomed(welcome, time, crl_number, version);
            }
            F::Done { request } => return self.done(request),
            F::Refused { request, code, detail, text } => {
                if !self.subscription_refused(request, code, detail, &text) {
                    let ask = self.asked(request, |_| true)?;
                    self.ask_refused(ask, code, detail, text);
                }
            }
            F::Topic { request, topic, name, incarnation, start, end, durability, notice } => {
                let at = Announcement { handle: topic, name, incarnation, start, end, durability, notice };
                return self.topic_announced(request, at);
            }
            F::Subscribed { request, matched, others } => return self.subscribed(request, matched, others),
            F::Published { slot, topic, counter, offset } => {
                return self.published(slot, topic, counter, Some(offset));
            }
            F::PublishRefused { slot, topic, counter, code, detail } => {
                return self.publish_refused(slot, topic, counter, code, detail);
            }
            F::Record { topic, offset, record, wrap, certificate, .. } => {
                return self.record_came(topic, offset, &record, &wrap, &certificate);
            }
            F::Sender { topic, sender, publisher, fingerprint, name, delegation, certificate } => {
                let (name, delegation, certificate) = (&name, &delegation[..], &certificate[..]);
                let claim = Claim { publisher, fingerprint, name, delegation, certificate };
                return self.sender_named(topic, sender, claim);
            }
            F::Message { topic, offset, time, sender, epoch, counter, body } => {
                let (hash, body) = match body {
                    Body::Inline(bytes) => (sha256(&bytes), Arc::from(bytes)),
                    Body::Beside(stated) => {
                        (stated.sha256, bodies.next().expect("a record is whole with all its bodies"))
                    }
                };
                let arrived = super::deliver::Arrived { offset, time, sender, epoch, counter, hash };
                return self.message_came(topic, arrived, &body);
            }
            F::CaughtUp { topic, next } => return self.caught_up(topic, next),
            F::Gap { topic, from, to } => return self.gap(topic, from, to),
            F::Ended { topic, code } => return self.topic_ended(topic, code),
            F::Clients { request, more, clients } => return self.clients_came(request, more, clients),
            F::Topics { request, more, topics } => return self.topics_came(request, more, topics),
            F::Stats { request, stats } => {
                if let Ask::Stats { ticket } = self.asked(request, |ask| matches!(ask, Ask::Stats { .. }))? {
                    self.answer(ticket, Ok(Answer::Stats(stats)));
                }
            }
            F::CrlPart { request, number, total, from, part } => {
                if let Ask::Crl(fetch) = self.asked(request, |ask| matches!(ask, Ask::Crl(_)))? {
                    return self.crl_part(fetch, &Part { number, total, from, bytes: part });
                }
            }
            F::CrlChanged { number } => self.crl_offered(number),
            F::Requests { request, more, requests } => {
                if let Ask::Requests(listing) = self.asked(request, |ask| matches!(ask, Ask::Requests(_)))? {
                    return self.requests_came(listing, more, requests);
                }
            }
            F::Requested { entry } => return self.request_came(&entry),
            F::RotateDue { name } => return self.rotate_due(name),
        }
        Ok(())
    }

    /// The request that an answer is for, if it is of the right kind; it is no longer under way then.
    fn asked(&mut self, request: RequestId, fits: impl FnOnce(&Ask) -> bool) -> Result<Ask, End> {
        let ask = self.session_mut().and_then(|session| session.asks.take(request, fits));
        ask.ok_or_else(|| End::protocol("an answer to nothing that was asked"))
    }

    /// The topic that a handle stands for.
    pub(super) fn name_of(&mut self, handle: TopicHandle) -> Result<TopicName, End> {
        let name = self.session_mut().and_then(|session| session.handles.get(&handle).cloned());
        name.ok_or_else(|| End::protocol("a topic that is not open"))
    }

    fn welcomed(
        &mut self,
        welcome: Welcome,
        time: Wall,
        crl_number: u64,
        version: String,
    ) -> Result<(), End> {
        let resumed = std::mem::replace(&mut self.was_connected, true);
        let (here, own_end) = (self.now.wall, self.identity.certificate.not_after());
        let Some(session) = self.session_mut() else { return Ok(()) };
        if session.welcome.replace(welcome).is_some() {
            return Err(End::protocol("a second Welcome"));
        }
        let broker = session.broker.clone();
        self.events.push(Event::Connected(Connected {
            broker: broker.name().clone(),
            fingerprint: broker.fingerprint(),
            version,
            time,
            message_bytes_max: welcome.message_bytes_max,
            resumed,
        }));
        if ends_soon(own_end, here) {
            self.notice(Notice::CertificateEnds { not_after: own_end });
        }
        if ends_soon(broker.not_after(), here) {
            let (broker, not_after) = (broker.name().clone(), broker.not_after());
            self.notice(Notice::BrokerCertificateEnds { broker, not_after });
        }
        if here.since(time).max(time.since(here)) > CLOCK_SKEW {
            self.notice(Notice::ClocksDiffer { broker: time, here });
        }
        if let Some(ours) = self.trust.crl_number().filter(|ours| *ours > crl_number) {
            self.notice(Notice::BrokerCrlOlder { ours, broker: crl_number });
        }
        self.crl_offered(crl_number);
        self.finish_unsubscribes();
        self.resume_topics();
        self.follow_requests();
        for ask in std::mem::take(&mut self.waiting) {
            self.start(ask);
        }
        Ok(())
    }

    fn pong(&mut self, number: u64) {
        let now = self.now.mono;
        let Some(session) = self.session_mut() else { return };
        session.lull.pong(number);
        // Other numbers are answers to keepalives.
        let Ok(request) = u32::try_from(number).map(RequestId) else { return };
        let ask = session.asks.take(request, |ask| matches!(ask, Ask::Ping { .. }));
        if let Some(Ask::Ping { sent, ticket }) = ask {
            let round_trip = sent.map_or(Duration::ZERO, |sent| now.since(sent));
            self.answer(ticket, Ok(Answer::Pong { round_trip }));
        }
    }

    fn done(&mut self, request: RequestId) -> Result<(), End> {
        let fits = |ask: &Ask| match ask {
            Ask::Unsubscribe { .. } => true,
            Ask::Create(creation) => creation.is_begun(),
            Ask::Join(joining) => joining.is_signed(),
            Ask::Delete { .. } | Ask::SetRetention { .. } | Ask::Append { .. } => true,
            _ => false,
        };
        match self.asked(request, fits)? {
            Ask::Unsubscribe { filter, ticket } => {
                self.drop_unmatched(&filter, Some(request));
                self.answer(ticket, Ok(Answer::Unsubscribed { filter }));
            }
            Ask::Create(creation) => self.creation_taken(creation, None),
            Ask::Join(joining) => {
                let ticket = joining.ticket;
                if let Some(asked) = joining.done() {
                    self.answer(ticket, Ok(Answer::Asked(asked)));
                }
            }
            Ask::Append { topic, id, .. } => self.amendment_taken(&topic, id),
            Ask::Delete { topic, ticket } => {
                self.forget_topic(&topic);
                self.answer(ticket, Ok(Answer::Deleted { topic }));
            }
            Ask::SetRetention { topic, retention, ticket } => {
                self.answer(ticket, Ok(Answer::RetentionSet { topic, retention }));
            }
            _ => {}
        }
        Ok(())
    }

    fn topics_came(&mut self, request: RequestId, more: bool, topics: Vec<TopicEntry>) -> Result<(), End> {
        let fits = |ask: &Ask| match ask {
            Ask::Topics { found, .. } => follow(found, &topics),
            Ask::Join(joining) => !joining.is_signed(),
            _ => false,
        };
        let (filter, mut found, ticket) = match self.asked(request, fits)? {
            Ask::Topics { filter, found, ticket } => (filter, found, ticket),
            Ask::Join(joining) => {
                self.join_found(joining, &topics);
                return Ok(());
            }
            _ => return Ok(()),
        };
        let is_empty = topics.is_empty();
        found.extend(topics);
        if more && !is_empty {
            self.start(Ask::Topics { filter, found, ticket });
        } else {
            self.answer(ticket, Ok(Answer::Topics(found)));
        }
        Ok(())
    }

    fn clients_came(&mut self, request: RequestId, more: bool, clients: Vec<ClientEntry>) -> Result<(), End> {
        let fits = |ask: &Ask| matches!(ask, Ask::Create(_) | Ask::Clients { .. } | Ask::Gather(_));
        let (after, mut found, ticket) = match self.asked(request, fits)? {
            Ask::Create(creation) => {
                self.creation_page(creation, &clients, more);
                return Ok(());
            }
            Ask::Gather(gathering) => {
                self.gathered(*gathering, &clients, more);
                return Ok(());
            }
            Ask::Clients { after, found, ticket } => (after, found, ticket),
            _ => return Ok(()),
        };
        found.extend(clients.iter().filter_map(|client| self.known_client(client)));
        let last = found.last().map_or(after, |client| client.fingerprint);
        if more && last > after {
            self.start(Ask::Clients { after: last, found, ticket });
        } else if more {
            let failure = Failure::Nonsense("a page of certificates without any that can be read");
            self.answer(ticket, Err(failure));
        } else {
            found.sort_by(|a, b| (&a.name, a.fingerprint).cmp(&(&b.name, b.fingerprint)));
            self.answer(ticket, Ok(Answer::Clients(found)));
        }
        Ok(())
    }

    /// What a certificate says; nothing of one that is not of our CA.
    fn known_client(&self, client: &ClientEntry) -> Option<KnownClient> {
        let certificate = self.trust.verify_historic(&client.certificate, Role::Client).ok()?;
        let fault = self.trust.judge(&certificate, self.now.wall).err();
        Some(KnownClient {
            name: certificate.name().clone(),
            fingerprint: certificate.fingerprint(),
            not_after: certificate.not_after(),
            last_seen: Some(client.last_seen).filter(|seen| *seen != Wall(0)),
            fault: fault.map(|fault| fault.to_string()),
        })
    }
}

/// Whether a page of topics goes on behind those that were found, in name order.
fn follow(found: &[TopicEntry], page: &[TopicEntry]) -> bool {
    let names = found.last().into_iter().chain(page).map(|topic| &topic.name);
    names.is_sorted_by(|a, b| a < b)
}
