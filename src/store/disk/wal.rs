//! A look into a write-ahead log before SQLite takes it over, by the file format ("The Write-Ahead
//! Log" in <https://www.sqlite.org/fileformat2.html>, section 4): SQLite keeps quiet about what it
//! leaves out, which is all from the first frame on whose checksum is bad.
//!
//! A transaction is synced before a frame of the next one is written. So a bad frame in the last
//! transaction is what a power cut leaves, and was never answered; one with a transaction behind
//! it has lost what was answered. It must not know what is in the pages.

use std::io::{self, ErrorKind, Read};

/// What an opening found in the write-ahead log of the process before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Recovered {
    /// Frames, of a page each, that were taken over.
    pub frames: u64,
    /// Of them.
    pub bytes: u64,
    /// Behind them, of a transaction that was never finished: a process that was killed or a power
    /// cut while it was written. Nothing of it had been answered.
    pub torn_bytes: u64,
}

/// What the frames of a log say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Survey {
    pub(super) recovered: Recovered,
    pub(super) page_bytes: usize,
    /// The first frame that is bad, with a synced transaction at it or behind it.
    pub(super) damaged_at: Option<u64>,
    /// The frames in their order.
    pub(super) frames: Vec<Frame>,
}

/// A frame of this log, not one that an earlier round left in its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Frame {
    pub(super) page: u32,
    /// Of the last frame of a transaction: the pages that the database has after it.
    pub(super) commits: Option<u32>,
    /// Its checksum is right, given that of the frame before.
    pub(super) is_good: bool,
    /// Where its page begins in the file.
    pub(super) at: u64,
}

/// Reads a whole log, a frame at a time.
pub(super) fn survey(wal: &mut impl Read) -> io::Result<Survey> {
    let mut header = [0; HEADER_BYTES];
    if fill(wal, &mut header)? < HEADER_BYTES {
        return Ok(Survey::default());
    }
    let Some(header) = Header::parse(&header) else { return headless(wal) };
    let mut walk = Walk::new(&header);
    let mut slot = vec![0; FRAME_HEADER_BYTES + header.page_bytes];
    loop {
        let len = fill(wal, &mut slot)?;
        if len < slot.len() {
            walk.end(&header, &slot[..len]);
            return Ok(walk.survey);
        }
        walk.frame(&header, &slot);
    }
}

/// A header is synced before the first frame is written; without it SQLite takes over nothing. The
/// frames are there all the same, and each but the first can be held against the one before.
fn headless(wal: &mut impl Read) -> io::Result<Survey> {
    let mut slot = vec![0; FRAME_HEADER_BYTES + PAGE_BYTES];
    if fill(wal, &mut slot)? < slot.len() {
        return Ok(Survey::default());
    }
    let salt = slot[8..16].try_into().expect("8 bytes");
    let header = Header { big_endian: false, page_bytes: PAGE_BYTES, salt, sum: Sum(0, 0) };
    let mut walk = Walk::new(&header);
    walk.is_whole = false;
    loop {
        walk.frame(&header, &slot);
        if fill(wal, &mut slot)? < slot.len() {
            walk.survey.recovered = Recovered::default();
            walk.survey.damaged_at = Some(0);
            return Ok(walk.survey);
        }
    }
}

struct Walk {
    survey: Survey,
    slots: u64,
    /// The checksum of the slot before.
    sum: Sum,
    /// Whether all frames so far are good: SQLite takes over no others.
    is_whole: bool,
    /// A transaction that SQLite does not take over has ended.
    lost_commit: bool,
    first_bad: Option<u64>,
}

impl Walk {
    fn new(header: &Header) -> Walk {
        let survey = Survey { page_bytes: header.page_bytes, ..Survey::default() };
        Walk { survey, slots: 0, sum: header.sum, is_whole: true, lost_commit: false, first_bad: None }
    }

    fn frame(&mut self, header: &Header, slot: &[u8]) {
        let (head, page) = slot.split_at(FRAME_HEADER_BYTES);
        let at = HEADER_BYTES as u64 + self.slots * slot.len() as u64 + FRAME_HEADER_BYTES as u64;
        let number = self.slots;
        self.slots += 1;
        let stored = Sum(word(head, 16), word(head, 20));
        let sum = self.sum.add(&head[..8], header.big_endian).add(page, header.big_endian);
        self.sum = stored;
        let is_ours = head[8..16] == header.salt;
        let is_good = is_ours && sum == stored;
        self.is_whole &= is_good;
        if !is_good {
            self.first_bad.get_or_insert(number);
        }
        if !is_ours {
            return;
        }
        // A bad frame may be half of this round and half of the one before.
        let commits = Some(word(head, 4)).filter(|pages| *pages > 0 && (is_good || !is_torn_head(at)));
        self.survey.frames.push(Frame { page: word(head, 0), commits, is_good, at });
        self.follows_lost_commit();
        match commits {
            Some(_) if self.is_whole => {
                let recovered = &mut self.survey.recovered;
                (recovered.frames, recovered.bytes) = (self.slots, self.slots * slot.len() as u64);
                recovered.torn_bytes = 0;
            }
            _ => self.survey.recovered.torn_bytes += slot.len() as u64,
        }
        self.lost_commit |= commits.is_some() && !self.is_whole;
    }

    /// A frame behind the end of a transaction says that the transaction was synced.
    fn follows_lost_commit(&mut self) {
        if self.lost_commit {
            self.survey.damaged_at = self.first_bad;
        }
    }

    /// What is left at the file's end is no whole frame.
    fn end(&mut self, header: &Header, rest: &[u8]) {
        if rest.len() >= FRAME_HEADER_BYTES && rest[8..16] == header.salt {
            self.follows_lost_commit();
            self.survey.recovered.torn_bytes += rest.len() as u64;
        }
    }
}

/// Whether a power cut can leave a frame's head with the salt of this round and, before it, the end of a
/// transaction that is of the round before: a sector ends between them.
fn is_torn_head(page_at: u64) -> bool {
    (page_at - FRAME_HEADER_BYTES as u64 + SALT_AT).is_multiple_of(SECTOR_BYTES)
}

struct Header {
    big_endian: bool,
    page_bytes: usize,
    salt: [u8; 8],
    sum: Sum,
}

impl Header {
    fn parse(bytes: &[u8; HEADER_BYTES]) -> Option<Header> {
        let big_endian = match word(bytes, 0) {
            0x377f_0682 => false,
            0x377f_0683 => true,
            _ => return None,
        };
        let sum = Sum(0, 0).add(&bytes[..24], big_endian);
        let page_bytes = word(bytes, 8) as usize;
        let is_good = sum == Sum(word(bytes, 24), word(bytes, 28))
            && page_bytes.is_power_of_two()
            && (512..=65536).contains(&page_bytes);
        let salt = bytes[16..24].try_into().expect("8 bytes");
        is_good.then_some(Header { big_endian, page_bytes, salt, sum })
    }
}

/// The checksum, section 4.2.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Sum(u32, u32);

impl Sum {
    fn add(self, bytes: &[u8], big_endian: bool) -> Sum {
        let word = |bytes: &[u8]| {
            let bytes = bytes.try_into().expect("4 bytes");
            if big_endian { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) }
        };
        let Sum(mut first, mut second) = self;
        for pair in bytes.chunks_exact(8) {
            first = first.wrapping_add(word(&pair[..4])).wrapping_add(second);
            second = second.wrapping_add(word(&pair[4..])).wrapping_add(first);
        }
        Sum(first, second)
    }
}

fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(bytes[at..at + 4].try_into().expect("4 bytes"))
}

/// Reads until `to` is full or there is no more; how much there was.
fn fill(from: &mut impl Read, to: &mut [u8]) -> io::Result<usize> {
    let mut len = 0;
    while len < to.len() {
        match from.read(&mut to[len..]) {
            Ok(0) => break,
            Ok(read) => len += read,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(len)
}

const HEADER_BYTES: usize = 32;
const FRAME_HEADER_BYTES: usize = 24;
/// In the head of a frame.
const SALT_AT: u64 = 8;
/// What disks write whole, at least.
const SECTOR_BYTES: u64 = 512;
/// What SQLite makes by itself.
const PAGE_BYTES: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Entropy;
    use crate::crypto::cert::testing::Seeded;

    const PAGE: usize = 512;
    const HEADER_SALT: usize = 16;

    /// A log of one round: transactions of so many frames each.
    fn round(number: u8, transactions: &[usize]) -> Vec<u8> {
        let mut log = vec![0; HEADER_BYTES];
        log[..4].copy_from_slice(&0x377f_0682_u32.to_be_bytes());
        log[8..12].copy_from_slice(&(PAGE as u32).to_be_bytes());
        // SQLite counts the first word up and draws the second.
        log[HEADER_SALT..24].copy_from_slice(&[7, 7, 7, number, 31 * number, 2, 3, 4]);
        let salt: [u8; 8] = log[HEADER_SALT..24].try_into().expect("8 bytes");
        let mut sum = Sum(0, 0).add(&log[..24], false);
        log[24..28].copy_from_slice(&sum.0.to_be_bytes());
        log[28..].copy_from_slice(&sum.1.to_be_bytes());
        for frames in transactions {
            for frame in 1..=*frames {
                let mut head = [0; FRAME_HEADER_BYTES];
                head[..4].copy_from_slice(&(frame as u32).to_be_bytes());
                head[4..8].copy_from_slice(&(if frame == *frames { 99_u32 } else { 0 }).to_be_bytes());
                head[8..16].copy_from_slice(&salt);
                let page = [number ^ frame as u8; PAGE];
                sum = sum.add(&head[..8], false).add(&page, false);
                head[16..20].copy_from_slice(&sum.0.to_be_bytes());
                head[20..].copy_from_slice(&sum.1.to_be_bytes());
                log.extend(head);
                log.extend(page);
            }
        }
        log
    }

    /// Whatever of a log's last transaction has reached the disk, over what a round before has left
    /// there: each frame of that one ended a transaction.
    #[test]
    fn a_transaction_that_was_not_synced_is_torn_however_the_sectors_fell() {
        let old = round(1, &[1; 100]);
        let new = round(2, &[5, 90]);
        let synced = HEADER_BYTES + 5 * (FRAME_HEADER_BYTES + PAGE);
        let mut dice = Seeded::new(3);
        let mut draw = || {
            let mut byte = [0];
            dice.fill(&mut byte);
            byte[0]
        };
        for trial in 0..2000 {
            let mut log = old.clone();
            log[..synced].copy_from_slice(&new[..synced]);
            let chance = [25, 128, 230][usize::from(draw()) % 3];
            let mut from = synced;
            while from < new.len() {
                let to = ((from / 512 + 1) * 512).min(new.len());
                if draw() < chance {
                    log[from..to].copy_from_slice(&new[from..to]);
                }
                from = to;
            }
            let survey = survey(&mut &log[..]).expect("it is in RAM");
            assert_eq!(survey.damaged_at, None, "trial {trial}");
            assert!([5, 95].contains(&survey.recovered.frames), "trial {trial}: {:?}", survey.recovered);
        }
    }

    #[test]
    fn a_bad_frame_with_a_transaction_behind_it_is_damage() {
        let log = round(1, &[3, 2, 4, 1]);
        let slot = FRAME_HEADER_BYTES + PAGE;
        for frame in 0..9 {
            for byte in [5, 100] {
                let mut log = log.clone();
                log[HEADER_BYTES + frame * slot + byte] ^= 1;
                let survey = survey(&mut &log[..]).expect("it is in RAM");
                assert_eq!(survey.damaged_at, Some(frame as u64), "frame {frame}, byte {byte}");
            }
        }
        let survey = survey(&mut &log[..]).expect("it is in RAM");
        assert_eq!((survey.damaged_at, survey.recovered.frames), (None, 10));
    }
}
