//! Fetching the revocation list from the broker, and what follows from a newer one.

use super::Client;
use super::asks::Ask;
use super::event::{Event, Notice};
use super::failure::Disconnect;
use super::link::End;
use crate::base::limits::CRL_BYTES_MAX;

/// A revocation list of which a part has come.
#[derive(Default)]
pub struct CrlFetch {
    number: u64,
    der: Vec<u8>,
}

/// A part of a revocation list.
pub struct Part {
    pub number: u64,
    pub total: u32,
    pub from: u32,
    pub bytes: Vec<u8>,
}

/// How far a fetch is.
enum Progress {
    More(CrlFetch),
    Whole(Vec<u8>),
}

impl CrlFetch {
    /// Bytes that have come.
    pub fn received(&self) -> u32 {
        u32::try_from(self.der.len()).expect("a list keeps to its limit")
    }

    /// Takes a part. When the broker's list was replaced meanwhile, it begins again.
    fn take(mut self, part: &Part) -> Result<Progress, End> {
        let total = part.total as usize;
        if total > CRL_BYTES_MAX {
            return Err(End::protocol("a revocation list beyond all size"));
        }
        if part.number != self.number && !self.der.is_empty() {
            return Ok(Progress::More(CrlFetch::default()));
        }
        self.number = part.number;
        let end = self.der.len() + part.bytes.len();
        if part.from != self.received() || end > total || part.bytes.is_empty() {
            return Err(End::protocol("parts of a revocation list that do not fit"));
        }
        self.der.extend_from_slice(&part.bytes);
        Ok(if end == total { Progress::Whole(self.der) } else { Progress::More(self) })
    }
}

impl Client {
    /// The broker enforces the list of this number: fetches it if it is newer than ours.
    pub(super) fn crl_offered(&mut self, number: u64) {
        let ours = self.trust.crl_number().unwrap_or(0);
        let Some(session) = self.session_mut() else { return };
        if number > ours && number > session.crl_offered {
            session.crl_offered = number;
            self.start(Ask::Crl(CrlFetch::default()));
        }
    }

    pub(super) fn crl_part(&mut self, fetch: CrlFetch, part: &Part) -> Result<(), End> {
        match fetch.take(part)? {
            Progress::More(fetch) => {
                self.start(Ask::Crl(fetch));
                Ok(())
            }
            Progress::Whole(der) => self.crl_whole(&der),
        }
    }

    fn crl_whole(&mut self, der: &[u8]) -> Result<(), End> {
        match self.trust.update_crl(der, self.now.wall) {
            Ok(update) => {
                if update.newer
                    && let (Some(der), Some(number)) = (self.trust.crl_der(), self.trust.crl_number())
                {
                    self.events.push(Event::CrlUpdated { der: der.clone(), number });
                    self.crl_renewed();
                }
                if update.past_next_update {
                    self.events.push(Event::Notice(Notice::CrlPastDue));
                }
            }
            Err(fault) => self.events.push(Event::Notice(Notice::CrlRefused(fault.to_string()))),
        }
        self.judge_signers()?;
        self.judge_broker()
    }

    /// Whether the broker's certificate still holds.
    pub(super) fn judge_broker(&mut self) -> Result<(), End> {
        let now = self.now.wall;
        let Some(session) = self.session_mut() else { return Ok(()) };
        let broker = session.broker.clone();
        self.trust.judge(&broker, now).map_err(|fault| End {
            reason: Disconnect::BrokerCertificate(fault.to_string()),
            fatal: true,
            ..End::protocol("")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(number: u64, total: u32, from: u32, bytes: &[u8]) -> Part {
        Part { number, total, from, bytes: bytes.to_vec() }
    }

    fn more(fetch: CrlFetch, part: &Part) -> CrlFetch {
        match fetch.take(part) {
            Ok(Progress::More(fetch)) => fetch,
            _ => panic!("a part that leaves some to come"),
        }
    }

    #[test]
    fn parts_add_up() {
        let fetch = more(CrlFetch::default(), &part(3, 5, 0, b"abc"));
        assert_eq!(fetch.received(), 3);
        assert!(matches!(fetch.take(&part(3, 5, 3, b"de")), Ok(Progress::Whole(der)) if der == b"abcde"));
    }

    #[test]
    fn another_list_begins_anew() {
        let fetch = more(CrlFetch::default(), &part(3, 5, 0, b"abc"));
        assert_eq!(more(fetch, &part(4, 9, 3, b"xyz")).received(), 0);
    }

    #[test]
    fn parts_that_do_not_fit_are_refused() {
        let begun = || more(CrlFetch::default(), &part(3, 5, 0, b"abc"));
        assert!(begun().take(&part(3, 5, 2, b"de")).is_err());
        assert!(begun().take(&part(3, 5, 3, b"def")).is_err());
        assert!(begun().take(&part(3, 5, 3, b"")).is_err());
        assert!(CrlFetch::default().take(&part(1, u32::MAX, 0, b"a")).is_err());
    }
}
