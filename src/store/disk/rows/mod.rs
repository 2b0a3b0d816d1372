//! Rows: each to its table and back, with a checksum that is held before anything is served.
//!
//! A checksum covers every column, the table's name, the log's incarnation and the row's place,
//! so that a row that was moved, or that a log of the same number left behind, is bad as well.
//! It is the first 64 bits of a SHA-256: a CRC32C would let one bad row in four billion pass,
//! and SHA-256 is here already. It finds accidents; whoever writes the file can write checksums,
//! and what guards against him are the signatures that clients check.

use rusqlite::Row;
use sha2::{Digest, Sha256};

use super::fault::Fault;
use crate::base::ids::Incarnation;
use crate::base::limits::UNANSWERED_PUBLISHES_MAX;

mod entries;
mod log;
mod notes;
mod publishers;

pub(super) use self::entries::*;
pub(super) use self::log::*;
pub(super) use self::notes::*;
pub(super) use self::publishers::*;

// ---- Places and checksums ----

/// Where row `index` of a log is: 20 bits of the log's number, 43 of the offset (or, of
/// senders, of their number). A log of 10,000 messages a second is at its end in 28 years.
pub(super) fn place(log: i64, index: u64) -> Result<i64, Fault> {
    if index > INDEX_MAX || !(0..NUMBERS).contains(&log) {
        return Err(Fault::Failed("a log has come to the end of its offsets".into()));
    }
    Ok(log << INDEX_BITS | index as i64)
}

pub(super) fn index(place: i64) -> u64 {
    place as u64 & INDEX_MAX
}

pub(super) const INDEX_BITS: u32 = 43;
pub(super) const INDEX_MAX: u64 = (1 << INDEX_BITS) - 1;
/// How many of a publisher's last counters keep their offsets: twice the window, since a
/// re-send begins at most one window back.
pub(super) const REMEMBERED: u64 = 2 * UNANSWERED_PUBLISHES_MAX as u64;
/// So many logs at a time; a number is used again.
pub(super) const NUMBERS: i64 = 1 << (63 - INDEX_BITS);

struct Sum(Sha256);

impl Sum {
    fn new(table: &str, log: Incarnation, place: i64) -> Sum {
        Sum(Sha256::new()).bytes(table.as_bytes()).number(log.0).number(place as u64)
    }

    fn number(mut self, number: u64) -> Sum {
        self.0.update(number.to_be_bytes());
        self
    }

    /// With their length, so that no two rows give the same input.
    fn bytes(mut self, bytes: &[u8]) -> Sum {
        self.0.update((bytes.len() as u64).to_be_bytes());
        self.0.update(bytes);
        self
    }

    fn end(self) -> i64 {
        let hash: [u8; 32] = self.0.finalize().into();
        let (head, _) = hash.split_first_chunk::<8>().expect("32 bytes are more than 8");
        i64::from_be_bytes(*head)
    }
}

pub(super) fn number(row: &Row<'_>, column: usize) -> Result<u64, Fault> {
    Ok(row.get::<_, i64>(column)? as u64)
}

fn blob<'a>(row: &'a Row<'_>, column: usize) -> Result<&'a [u8], Fault> {
    row.get_ref(column)?.as_blob().map_err(|error| Fault::Damaged(error.to_string()))
}
