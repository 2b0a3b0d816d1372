//! The pages of a database as its last good transaction left them: those of the file, with what the
//! write-ahead log has newer. Frames are taken one by one, where SQLite stops at the first bad one.
//!
//! Sections of <https://www.sqlite.org/fileformat2.html> stand beside what follows them.

use std::collections::{HashMap, HashSet};
use std::io;

use super::super::folder::Source;
use super::cells;

/// What SQLite makes by itself, and so all of ours have.
pub(super) const PAGE_BYTES: usize = 4096;

pub(super) struct Image {
    source: Source,
    pub(super) pages: u32,
    /// Where in the write-ahead log a page's newest state is.
    newer: HashMap<u32, u64>,
    pub(super) bad_frames: u64,
}

impl Image {
    pub(super) fn open(source: Source) -> io::Result<Image> {
        let survey = source.survey_wal()?;
        let mut newer = HashMap::new();
        let mut pending = Vec::new();
        for frame in survey.frames.iter().filter(|_| survey.page_bytes == PAGE_BYTES) {
            if frame.is_good {
                pending.push((frame.page, frame.at));
            }
            // What no commit is behind was never answered.
            if frame.commits.is_some() {
                newer.extend(pending.drain(..));
            }
        }
        let bad = survey.frames.iter().filter(|frame| !frame.is_good).count();
        let bad_frames = bad as u64 * u64::from(survey.damaged_at.is_some());
        let in_file = source.database_bytes()?.div_ceil(PAGE_BYTES as u64);
        let pages = newer.keys().copied().max().unwrap_or(0).max(in_file.min(PAGES_MAX) as u32);
        Ok(Image { source, pages, newer, bad_frames })
    }

    /// A page; zeros where the file ends before it does, `None` if nothing of it can be read.
    pub(super) fn page(&self, number: u32) -> Option<Vec<u8>> {
        let mut page = vec![0; PAGE_BYTES];
        let read = match self.newer.get(&number) {
            Some(at) => self.source.read_wal(*at, &mut page),
            None => {
                let at = u64::from(number.checked_sub(1)?) * PAGE_BYTES as u64;
                self.source.read_database(at, &mut page)
            }
        };
        matches!(read, Ok(1..)).then_some(page)
    }

    /// The pages that have rows: those that the trees lead to, then others that are part of a tree
    /// by the pointer map (1.8). Pages with the rest of a long row are none: what publishers send is
    /// in them, and it could look like a page with rows.
    pub(super) fn row_pages(&self) -> Vec<u32> {
        let mut reached = Vec::new();
        let mut known = HashSet::new();
        let schema = self.page(1).map(|page| cells::of(&page, HEADER_BYTES)).unwrap_or_default();
        let mut next: Vec<u32> = schema.iter().filter_map(|cell| cells::root_of(cell, self)).collect();
        while let Some(number) = next.pop() {
            if !(2..=self.pages).contains(&number) || !known.insert(number) {
                continue;
            }
            reached.push(number);
            next.extend(self.page(number).map(|page| cells::children(&page)).unwrap_or_default());
        }
        let strays = (3..=self.pages).filter(|page| !known.contains(page) && self.is_in_tree(*page));
        reached.extend(strays.collect::<Vec<_>>());
        reached
    }

    fn is_in_tree(&self, number: u32) -> bool {
        const ENTRIES: u32 = (PAGE_BYTES / 5) as u32;
        let mut map = (number - 2) / (ENTRIES + 1) * (ENTRIES + 1) + 2;
        if map == LOCK_PAGE {
            map += 1;
        }
        let Some(entry) = number.checked_sub(map + 1) else { return false };
        let Some(page) = self.page(map) else { return false };
        let kind = page.get(entry as usize * 5).copied();
        number != LOCK_PAGE && matches!(kind, Some(ROOT | IN_TREE))
    }
}

const HEADER_BYTES: usize = 100;
const PAGES_MAX: u64 = u32::MAX as u64 - 1;
/// The page at 1 GiB, which is never used (1.3).
const LOCK_PAGE: u32 = (1 << 30) / PAGE_BYTES as u32 + 1;
const ROOT: u8 = 1;
const IN_TREE: u8 = 5;
