//! Certificates that chains need: handed out to those who verify, and taken on for keys that never
//! connect.

use super::commands::Handled;
use super::{Means, Processor, Refusal};
use crate::base::ids::{ConnId, Fingerprint, RequestId};
use crate::base::limits::{CERT_BYTES_MAX, RECOVERY_CERTIFICATES_MAX, RSA_BITS_MIN, STAGED_BYTES_MAX};
use crate::chain;
use crate::crypto::cert::{Certificate, Role};
use crate::session::budget::RsaCost;
use crate::wire::frame::BrokerFrame;
use crate::wire::values::{ClientEntry, RefuseCode};

/// Certificates that one GetCertificates may ask for.
const FINGERPRINTS_MAX: usize = 1024;
/// Bytes of one page.
const PAGE_BYTES: usize = 48 * 1024;

impl Processor {
    /// Answers with those certificates that are known, in the order asked, revoked ones too.
    pub(super) fn send_certificates(
        &mut self,
        id: ConnId,
        request: RequestId,
        fingerprints: &[Fingerprint],
    ) -> Handled {
        if fingerprints.len() > FINGERPRINTS_MAX {
            return Handled::Violation("too many fingerprints");
        }
        let (mut clients, mut bytes, mut more) = (Vec::new(), 0, false);
        for fingerprint in fingerprints {
            let Some(certificate) = self.clients.certificate(fingerprint) else { continue };
            bytes += certificate.der().len() + 10;
            if bytes > PAGE_BYTES {
                more = true;
                break;
            }
            let last_seen = self.clients.last_seen(fingerprint);
            clients.push(ClientEntry { certificate: certificate.der().to_vec(), last_seen });
        }
        self.answer(id, BrokerFrame::Clients { request, more, clients });
        Handled::Done
    }

    /// Keeps a recovery key's certificate until the record comes that names it.
    pub(super) fn stage_recovery(&mut self, id: ConnId, certificate: Vec<u8>) -> Handled {
        let bytes = certificate.len();
        let room = STAGED_BYTES_MAX.saturating_sub(self.staged_bytes);
        let Some(seat) = self.seat_mut(id) else { return Handled::Done };
        if seat.staged_recovery.len() >= RECOVERY_CERTIFICATES_MAX || bytes > CERT_BYTES_MAX {
            return Handled::Violation("more or larger recovery certificates than one record may name");
        }
        // What does not fit is dropped; the record that needs it will be refused.
        if bytes <= room {
            seat.staged_recovery.push(certificate);
            seat.staged_bytes += bytes;
            self.staged_bytes += bytes;
        }
        Handled::Done
    }

    /// What it costs to verify the certificates that a connection has staged.
    pub(super) fn recovery_cost(&self, id: ConnId) -> RsaCost {
        let count = self.seat(id).map_or(0, |seat| seat.staged_recovery.len());
        RsaCost::public(RSA_BITS_MIN) * count as u32
    }

    /// Those added must be known here by the name that the record gives them, and not revoked. A
    /// recovery key's certificate may have come with the record; returns those that did.
    pub(super) fn check_added(
        &self,
        change: &chain::Change,
        staged: &[Vec<u8>],
        means: &Means<'_>,
    ) -> Result<Vec<Certificate>, Refusal> {
        let bad = |text: String| Refusal::because(RefuseCode::BadRecord, text);
        let mut brought: Vec<Certificate> = Vec::new();
        for der in staged {
            let verified = means.trust.verify(der, Role::Client, means.now.wall);
            brought.push(verified.map_err(|fault| bad(format!("a recovery certificate: {fault}")))?);
        }
        let mut needed = Vec::new();
        for added in &change.delta().added {
            let who = &added.fingerprint;
            let of_recovery = brought
                .iter()
                .find(|certificate| added.role == chain::Role::Recovery && certificate.fingerprint() == *who);
            let Some(certificate) = of_recovery.or_else(|| self.clients.certificate(who)) else {
                let text = format!("{} with key {} is not known here", added.name, who.short());
                return Err(bad(text));
            };
            if *certificate.name() != added.name {
                let text = format!("{} is here as {}", added.name, certificate.name());
                return Err(bad(format!("{text}: key {}", who.short())));
            }
            if of_recovery.is_none() && self.clients.is_revoked(who) {
                return Err(bad(format!("the certificate of {} was revoked", added.name)));
            }
            if let Some(certificate) = of_recovery {
                needed.push(certificate.clone());
            }
        }
        let unknown = needed.iter().filter(|c| self.clients.certificate(&c.fingerprint()).is_none()).count();
        if !self.clients.has_room_for(unknown) {
            return Err(self.no_room_for_clients());
        }
        Ok(needed)
    }

    /// Remembers certificates of recovery keys that a checked record needs.
    pub(super) fn know_all_recovery(&mut self, certificates: &[Certificate]) {
        for certificate in certificates {
            let has_room = self.know_recovery(certificate);
            debug_assert!(has_room, "room was looked for when the record was checked");
        }
    }

    /// A client's certificate, if the broker remembers it. One that does not, since it has no
    /// room, cannot keep what a chain needs to say about that client.
    pub(super) fn known(&self, client: &Fingerprint) -> Result<&Certificate, Refusal> {
        self.clients.certificate(client).ok_or_else(|| self.no_room_for_clients())
    }

    fn no_room_for_clients(&self) -> Refusal {
        let max = self.config.known_clients_max;
        let text = format!("the broker knows {max} clients and has no room for another");
        Refusal { text, ..Refusal::limit(max) }
    }
}
