//! Looks for bytes: in files, and in all the memory of a process that runs.
//!
//! What is looked for is kept disguised, so that a search through this process finds no copy that is
//! the search's own.

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;

/// What is looked for.
pub struct Search {
    wanted: Vec<Wanted>,
    /// Whether a pair of bytes is one of the first that something wanted has; by their number.
    is_telling: Vec<bool>,
    /// Of which that pair is part, and where in it.
    places: HashMap<[u8; 2], Vec<(usize, usize)>>,
}

struct Wanted {
    label: String,
    disguised: Vec<u8>,
}

/// How often each was found, by its label.
pub type Found = BTreeMap<String, usize>;

/// All that a process has mapped and that can be read.
pub struct Memory {
    file: File,
    pub mappings: Vec<Mapping>,
}

pub struct Mapping {
    pub start: u64,
    pub end: u64,
    name: String,
}

/// Nothing shorter is looked for: every 15th pair of bytes is looked at, and one of them is in it.
const BYTES_MIN: usize = 16;
const STRIDE: usize = BYTES_MIN - 1;
/// What is held of a file or a memory at a time.
const PIECE_BYTES: usize = 64 * 1024;
const DISGUISE: u8 = 0xa5;

impl Search {
    pub fn new() -> Search {
        Search { wanted: Vec::new(), is_telling: vec![false; 1 << 16], places: HashMap::new() }
    }

    pub fn add(&mut self, label: &str, bytes: &[u8]) {
        assert!(bytes.len() >= BYTES_MIN, "{label} is too short to be found");
        for (place, pair) in bytes[..BYTES_MIN].windows(2).enumerate() {
            let pair = [pair[0], pair[1]];
            self.is_telling[usize::from(u16::from_be_bytes(pair))] = true;
            self.places.entry(pair).or_default().push((self.wanted.len(), place));
        }
        let disguised = bytes.iter().map(|byte| byte ^ DISGUISE).collect();
        self.wanted.push(Wanted { label: label.to_owned(), disguised });
    }

    /// Looks through what `read` gives from an offset on; returns how many bytes that were.
    pub fn through(
        &self,
        (from, to): (u64, u64),
        found: &mut Found,
        mut read: impl FnMut(&mut [u8], u64) -> io::Result<usize>,
    ) -> u64 {
        let overlap = self.wanted.iter().map(|wanted| wanted.disguised.len()).max().unwrap_or(1) - 1;
        let mut buffer = vec![0; overlap + PIECE_BYTES];
        let zeros = vec![0; buffer.len()];
        let (mut kept, mut at) = (0, from);
        while at < to {
            let piece = usize::try_from(to - at).map_or(PIECE_BYTES, |rest| rest.min(PIECE_BYTES));
            let Ok(read @ 1..) = read(&mut buffer[kept..kept + piece], at) else { break };
            let filled = kept + read;
            if buffer[..filled] != zeros[..filled] {
                self.look_at(&buffer[..filled], kept, found);
            }
            at += read as u64;
            let keep = overlap.min(filled);
            buffer.copy_within(filled - keep..filled, 0);
            kept = keep;
        }
        at - from
    }

    pub fn through_bytes(&self, bytes: &[u8], found: &mut Found) {
        self.through((0, bytes.len() as u64), found, |buffer, at| {
            buffer.copy_from_slice(&bytes[at as usize..][..buffer.len()]);
            Ok(buffer.len())
        });
    }

    /// Counts what ends behind the first `old` bytes: the rest was counted before.
    fn look_at(&self, bytes: &[u8], old: usize, found: &mut Found) {
        let mut at = 0;
        while at + 1 < bytes.len() {
            let pair = [bytes[at], bytes[at + 1]];
            if self.is_telling[usize::from(u16::from_be_bytes(pair))] {
                for (wanted, place) in &self.places[&pair] {
                    let wanted = &self.wanted[*wanted];
                    let start = at.checked_sub(*place).filter(|start| start + wanted.disguised.len() > old);
                    if start.is_some_and(|start| wanted.is_at(&bytes[start..])) {
                        *found.entry(wanted.label.clone()).or_default() += 1;
                    }
                }
            }
            at += STRIDE;
        }
    }
}

impl Wanted {
    fn is_at(&self, bytes: &[u8]) -> bool {
        bytes.len() >= self.disguised.len()
            && self.disguised.iter().zip(bytes).all(|(wanted, byte)| wanted ^ DISGUISE == *byte)
    }
}

impl Memory {
    /// The memory of a process, by its number or `self`; an error if this system does not show it.
    pub fn of(process: &str) -> io::Result<Memory> {
        let file = File::open(format!("/proc/{process}/mem"))?;
        let maps = fs::read_to_string(format!("/proc/{process}/maps"))?;
        Ok(Memory { file, mappings: maps.lines().filter_map(Mapping::parse).collect() })
    }

    /// Looks through all of it; returns how many bytes that were, and what could not be read.
    pub fn search(&self, search: &Search, found: &mut Found) -> (u64, Vec<&str>) {
        let (mut bytes, mut unread) = (0, Vec::new());
        for mapping in &self.mappings {
            let read = self.search_within((mapping.start, mapping.end), search, found);
            bytes += read;
            if read < mapping.end - mapping.start {
                unread.push(mapping.name.as_str());
            }
        }
        (bytes, unread)
    }

    pub fn search_within(&self, range: (u64, u64), search: &Search, found: &mut Found) -> u64 {
        search.through(range, found, |buffer, at| self.file.read_at(buffer, at))
    }
}

impl Mapping {
    /// From a line of `maps`, if it can be read: `start-end rwxp offset device inode name`.
    fn parse(line: &str) -> Option<Mapping> {
        let mut words = line.split_whitespace();
        let (start, end) = words.next()?.split_once('-')?;
        let is_readable = words.next()?.starts_with('r');
        let address = |hex| u64::from_str_radix(hex, 16).ok();
        let name = words.nth(3).unwrap_or_default().to_owned();
        // Of the kernel's own pages some cannot be read this way; the process keeps nothing there.
        let is_kernels = name.starts_with("[v");
        (is_readable && !is_kernels).then_some(Mapping { start: address(start)?, end: address(end)?, name })
    }
}

#[test]
fn what_is_wanted_is_found_wherever_it_stands() {
    let mut search = Search::new();
    let (short, long): (Vec<u8>, Vec<u8>) = ((0..16).collect(), (100..200).collect());
    search.add("short", &short);
    search.add("long", &long);
    // All around the borders of pieces, and at either end.
    for border in [0, PIECE_BYTES, 2 * PIECE_BYTES] {
        for shift in 0..=120 {
            let start = (border + 20).saturating_sub(shift);
            let mut bytes = vec![7; 2 * PIECE_BYTES + 200];
            bytes[start..][..16].copy_from_slice(&short);
            bytes[start + 16..][..100].copy_from_slice(&long);
            let mut found = Found::new();
            search.through_bytes(&bytes[..start + 116], &mut found);
            let once = [("long".to_owned(), 1), ("short".to_owned(), 1)];
            assert_eq!(found, once.into(), "at {start}");
            // One byte less is not it.
            found.clear();
            search.through_bytes(&bytes[..start + 115], &mut found);
            assert_eq!(found, [("short".to_owned(), 1)].into(), "at {start}");
        }
    }
}
