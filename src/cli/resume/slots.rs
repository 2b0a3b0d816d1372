//! The file of a resume name, byte by byte: for each topic three slots of one sector, written in place.
//!
//! The first slot is written after each message and not synced. It outlives the program, however that ends,
//! but not the computer: so it names the boot in which it was written, and counts in that one alone. The two
//! others are written in turns about once a second, once what was printed is on the disk, and are synced; they
//! count after a power cut. Each slot has a checksum, and a number by which the newest is known.
//!
//! It knows the file as something that is written at a place and synced; which file that is it does not know.

use std::collections::BTreeMap;
use std::io;

use crate::base::ids::{Incarnation, Offset, TopicId};
use crate::base::names::TopicName;
use crate::client::Stand;
use crate::crypto::digest::sha256;

/// Which start of this computer it is; nothing if that cannot be known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Boot(pub Option<[u8; 16]>);

/// What is written to.
pub trait Medium {
    fn write_at(&mut self, bytes: &[u8], place: u64) -> io::Result<()>;
    /// Returns once all that was written is on the disk.
    fn sync(&mut self) -> io::Result<()>;
}

/// A topic's place, and which topic it is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// Nothing as long as its records have not come.
    pub topic: Option<TopicId>,
    pub stand: Stand,
}

/// The places of one resume name.
pub struct Slots<M> {
    medium: M,
    boot: Boot,
    topics: BTreeMap<TopicName, Entry>,
    /// Entries that the file has room for.
    count: u64,
}

struct Entry {
    index: u64,
    mark: Mark,
    /// The number of the newest slot.
    number: u64,
    /// Which of the two synced slots is written next.
    turn: bool,
    is_dirty: bool,
}

/// The content is none that this version understands.
#[derive(Debug, PartialEq, Eq)]
pub enum NotUnderstood {
    /// Not a file of this kind.
    Foreign,
    Newer(u32),
    /// No slot of the topic at this place is whole.
    Damaged {
        place: u64,
    },
}

/// What a file begins with, before its first entry is there.
pub fn header() -> [u8; SLOT_BYTES] {
    let mut bytes = [0; SLOT_BYTES];
    bytes[..MAGIC.len()].copy_from_slice(MAGIC);
    bytes[MAGIC.len()..MAGIC.len() + 4].copy_from_slice(&VERSION.to_be_bytes());
    bytes
}

impl<M: Medium> Slots<M> {
    /// Takes up what a file holds, header included, and goes on in `medium`.
    pub fn read(content: &[u8], medium: M, boot: Boot) -> Result<Slots<M>, NotUnderstood> {
        let entries = check_header(content)?;
        let mut slots = Slots { medium, boot, topics: BTreeMap::new(), count: 0 };
        // What is shorter than an entry was cut off while it was appended: its topic had no place before.
        for bytes in entries.chunks_exact(ENTRY_BYTES) {
            slots.take(bytes)?;
            slots.count += 1;
        }
        Ok(slots)
    }

    fn take(&mut self, bytes: &[u8]) -> Result<(), NotUnderstood> {
        let found: Vec<Option<Slot>> = bytes.chunks_exact(SLOT_BYTES).map(Slot::decode).collect();
        let [live, first, second] = &found[..] else { return Ok(()) };
        let live = live.as_ref().filter(|slot| slot.boot.is_some() && slot.boot == self.boot.0);
        let number = |slot: &Option<Slot>| slot.as_ref().map(|slot| slot.number);
        let newest = [live, first.as_ref(), second.as_ref()].into_iter().flatten().max_by_key(|s| s.number);
        let Some(newest) = newest else {
            // A new entry whose first sync a power cut has forestalled. Its topic had no place before.
            let place = HEADER_BYTES + self.count * ENTRY_BYTES as u64;
            let is_blank = bytes.iter().all(|b| *b == 0);
            let is_unsynced = found[0].is_some() && bytes[SLOT_BYTES..].iter().all(|b| *b == 0);
            return if is_blank || is_unsynced { Ok(()) } else { Err(NotUnderstood::Damaged { place }) };
        };
        let highest = found.iter().filter_map(|slot| slot.as_ref().map(|slot| slot.number)).max();
        let entry = Entry {
            index: self.count,
            mark: newest.mark,
            number: highest.unwrap_or(newest.number),
            // The older of the two, or the broken one, gives way.
            turn: number(first) > number(second),
            is_dirty: false,
        };
        self.topics.insert(newest.name.clone(), entry);
        Ok(())
    }

    pub fn marks(&self) -> impl Iterator<Item = (&TopicName, Mark)> {
        self.topics.iter().map(|(name, entry)| (name, entry.mark))
    }

    /// Notes a topic's place: it holds from now on, unless the computer stops.
    pub fn note(&mut self, name: &TopicName, mark: Mark) -> io::Result<()> {
        let count = self.count;
        let entry = self.topics.entry(name.clone()).or_insert_with(|| Entry {
            index: count,
            mark: Mark { stand: Stand { next: Offset(u64::MAX), ..mark.stand }, ..mark },
            number: 0,
            turn: false,
            is_dirty: false,
        });
        if entry.mark == mark {
            return Ok(());
        }
        entry.mark = mark;
        entry.number += 1;
        entry.is_dirty = true;
        let slot = Slot { number: entry.number, boot: self.boot.0, name: name.clone(), mark };
        if entry.index < self.count {
            return self.medium.write_at(&slot.encode(), place_of(entry.index, 0));
        }
        // An entry is appended as a whole, so that those behind it have their places.
        let mut bytes = [0; ENTRY_BYTES];
        bytes[..SLOT_BYTES].copy_from_slice(&slot.encode());
        self.medium.write_at(&bytes, place_of(entry.index, 0))?;
        self.count += 1;
        Ok(())
    }

    pub fn is_dirty(&self) -> bool {
        self.topics.values().any(|entry| entry.is_dirty)
    }

    /// Has the places hold over a power cut, too. What was printed is on the disk by now.
    pub fn keep(&mut self) -> io::Result<()> {
        let dirty = self.topics.iter_mut().filter(|(_, entry)| entry.is_dirty);
        for (name, entry) in dirty {
            entry.number += 1;
            let slot = Slot { number: entry.number, boot: None, name: name.clone(), mark: entry.mark };
            let which = if entry.turn { 2 } else { 1 };
            self.medium.write_at(&slot.encode(), place_of(entry.index, which))?;
            entry.turn = !entry.turn;
        }
        self.medium.sync()?;
        self.topics.values_mut().for_each(|entry| entry.is_dirty = false);
        Ok(())
    }
}

/// One slot's content.
#[derive(Debug, PartialEq, Eq)]
struct Slot {
    number: u64,
    boot: Option<[u8; 16]>,
    name: TopicName,
    mark: Mark,
}

impl Slot {
    /// `number | boot[16] | topic id[32] | incarnation | next | length | name`, zeros, SHA-256 of all before.
    /// Unknown boots and topics are zeros.
    fn encode(&self) -> [u8; SLOT_BYTES] {
        let name = self.name.as_str().as_bytes();
        let mut plain = Vec::with_capacity(SLOT_BYTES);
        plain.extend_from_slice(&self.number.to_be_bytes());
        plain.extend_from_slice(&self.boot.unwrap_or_default());
        plain.extend_from_slice(&self.mark.topic.map_or([0; 32], |id| id.0));
        plain.extend_from_slice(&self.mark.stand.incarnation.0.to_be_bytes());
        plain.extend_from_slice(&self.mark.stand.next.0.to_be_bytes());
        plain.extend_from_slice(&u16::try_from(name.len()).expect("a topic's name is short").to_be_bytes());
        plain.extend_from_slice(name);
        let mut bytes = [0; SLOT_BYTES];
        bytes[..plain.len()].copy_from_slice(&plain);
        let checksum = sha256(&bytes[..CHECKED_BYTES]);
        bytes[CHECKED_BYTES..].copy_from_slice(&checksum);
        bytes
    }

    /// Nothing: it was never written, or not as a whole.
    fn decode(bytes: &[u8]) -> Option<Slot> {
        let (checked, checksum) = bytes.split_at_checked(CHECKED_BYTES)?;
        if sha256(checked) != checksum {
            return None;
        }
        let (number, rest) = checked.split_first_chunk()?;
        let (boot, rest) = rest.split_first_chunk::<16>()?;
        let (topic, rest) = rest.split_first_chunk::<32>()?;
        let (incarnation, rest) = rest.split_first_chunk()?;
        let (next, rest) = rest.split_first_chunk()?;
        let (length, rest) = rest.split_first_chunk()?;
        let name = rest.get(..usize::from(u16::from_be_bytes(*length)))?;
        let stand = Stand {
            incarnation: Incarnation(u64::from_be_bytes(*incarnation)),
            next: Offset(u64::from_be_bytes(*next)),
        };
        Some(Slot {
            number: u64::from_be_bytes(*number),
            boot: Some(*boot).filter(|boot| *boot != [0; 16]),
            name: TopicName::parse(std::str::from_utf8(name).ok()?).ok()?,
            mark: Mark { topic: Some(TopicId(*topic)).filter(|id| id.0 != [0; 32]), stand },
        })
    }
}

fn check_header(content: &[u8]) -> Result<&[u8], NotUnderstood> {
    let (header, entries) = content.split_at_checked(SLOT_BYTES).ok_or(NotUnderstood::Foreign)?;
    let rest = header.strip_prefix(MAGIC).ok_or(NotUnderstood::Foreign)?;
    let version = rest.first_chunk().map(|b| u32::from_be_bytes(*b)).ok_or(NotUnderstood::Foreign)?;
    match version {
        VERSION => Ok(entries),
        newer if newer > VERSION => Err(NotUnderstood::Newer(newer)),
        _ => Err(NotUnderstood::Foreign),
    }
}

fn place_of(index: u64, slot: u64) -> u64 {
    HEADER_BYTES + index * ENTRY_BYTES as u64 + slot * SLOT_BYTES as u64
}

const MAGIC: &[u8] = b"sealmq resume\0";
pub const VERSION: u32 = 1;
/// One sector: disks write these as a whole, or not at all.
const SLOT_BYTES: usize = 512;
/// The rest is the checksum.
const CHECKED_BYTES: usize = SLOT_BYTES - 32;
const ENTRY_BYTES: usize = 3 * SLOT_BYTES;
const HEADER_BYTES: u64 = SLOT_BYTES as u64;

#[cfg(test)]
mod tests;
