//! Rows that belong to nothing any more, and room that the file no longer needs: given back in
//! bounded steps, between other things.
//!
//! Nothing remembers what is to be swept: messages below their log's first and rows of numbers
//! without a log are garbage by definition, so a start finds them again.

use super::database::Database;
use super::fault::Fault;
use super::rows::{INDEX_MAX, NUMBERS, place};
use super::schema;

/// Rows of the log `number`: messages below `below`, or all there is.
#[derive(Debug)]
pub(super) struct Sweep {
    number: i64,
    below: Option<u64>,
}

impl Sweep {
    pub(super) fn whole(number: i64) -> Sweep {
        Sweep { number, below: None }
    }

    pub(super) fn trimmed(number: i64, below: u64) -> Sweep {
        Sweep { number, below: Some(below) }
    }
}

impl Database {
    /// One step of what there is to tidy up; whether there was any.
    pub(super) fn tidy(&mut self) -> Result<bool, Fault> {
        let done = match self.sweeps.is_empty() {
            false => self.sweep().map(|()| true),
            true => self.shrink(),
        };
        match done {
            // To be done when there is room: a step needs a few pages of the write-ahead log.
            Err(Fault::Full | Fault::Busy) => self.roll_back().map(|()| false),
            // What is garbage stays: it is in nobody's way.
            Err(Fault::Damaged(what)) => {
                log::error!("room on disk cannot be given back: the database is damaged: {what}");
                self.may_shrink = false;
                self.sweeps.pop_front();
                self.roll_back().map(|()| !self.sweeps.is_empty())
            }
            done => done,
        }
    }

    fn roll_back(&self) -> Result<(), Fault> {
        if !self.connection.is_autocommit() {
            self.connection.execute_batch("ROLLBACK")?;
        }
        Ok(())
    }

    /// Some sweeps, or a part of one.
    fn sweep(&mut self) -> Result<(), Fault> {
        self.begin()?;
        let (mut left, mut finished) = (SWEPT_AT_ONCE, 0);
        for sweep in self.sweeps.iter().take(SWEEPS_AT_ONCE) {
            match self.sweep_one(sweep, left) {
                Ok(rest) => left = rest,
                // Those before it are done; it is the first the next time.
                Err(Fault::Damaged(_)) if finished > 0 => break,
                Err(fault) => return Err(fault),
            }
            if left <= 0 {
                break;
            }
            finished += 1;
        }
        self.connection.prepare_cached("COMMIT")?.execute([])?;
        self.unchecked_bytes += (SWEPT_AT_ONCE - left) as u64 * PAGE_BYTES;
        let done = self.sweeps.drain(..finished).filter(|sweep| sweep.below.is_none());
        self.numbers.free.extend(done.map(|sweep| sweep.number));
        Ok(())
    }

    /// Drops up to `left` rows; how many it could drop still.
    fn sweep_one(&self, sweep: &Sweep, mut left: i64) -> Result<i64, Fault> {
        let low = place(sweep.number, 0)?;
        let (tables, high): (&[_], _) = match sweep.below {
            Some(below) => (&TABLES[..1], place(sweep.number, below)?),
            None => (&TABLES, place(sweep.number, INDEX_MAX)?),
        };
        for (table, key) in tables {
            let column = key.split(',').next().unwrap_or(key);
            let sentence = format!(
                "DELETE FROM {table} WHERE ({key}) IN (SELECT {key} FROM {table} \
                 WHERE {column} >= ? AND {column} < ? ORDER BY {column} LIMIT ?)"
            );
            left -= self.connection.prepare_cached(&sentence)?.execute([low, high, left])? as i64;
        }
        Ok(left)
    }

    /// Cuts free pages off the file's end, as long as more than an eighth of it is free.
    fn shrink(&mut self) -> Result<bool, Fault> {
        let free = schema::number(&self.connection, "freelist_count")?;
        let pages = schema::number(&self.connection, "page_count")?;
        if !self.may_shrink || free <= FREE_PAGES_MIN.max(pages / 8) {
            return Ok(false);
        }
        let sentence = format!("PRAGMA incremental_vacuum({CUT_AT_ONCE})");
        self.connection.execute_batch(&sentence)?;
        self.unchecked_bytes += CUT_AT_ONCE as u64 * PAGE_BYTES;
        Ok(true)
    }

    /// Finds what an earlier process left to sweep.
    pub(super) fn find_garbage(&mut self) -> Result<(), Fault> {
        let mut live: Vec<(i64, u64)> = self.logs.values().map(|log| (log.number, log.first)).collect();
        live.sort_unstable();
        let mut dead = std::collections::BTreeSet::new();
        for (table, key) in TABLES {
            let column = key.split(',').next().unwrap_or(key);
            let sentence =
                format!("SELECT {column} FROM {table} WHERE {column} >= ? ORDER BY {column} LIMIT 1");
            let mut statement = self.connection.prepare(&sentence)?;
            let mut number = 0;
            while number < NUMBERS {
                let mut rows = statement.query([place(number, 0)?])?;
                let Some(row) = rows.next()? else { break };
                let found = row.get::<_, i64>(0)? >> super::rows::INDEX_BITS;
                if found < number {
                    return Err(Fault::Damaged(format!("rows of {table} are not in their order")));
                }
                if live.binary_search_by_key(&found, |(number, _)| *number).is_err() {
                    dead.insert(found);
                }
                number = found + 1;
            }
        }
        self.numbers.next = live.last().map_or(0, |(number, _)| number + 1);
        self.numbers.next = self.numbers.next.max(dead.last().map_or(0, |number| number + 1));
        self.sweeps = live.iter().map(|(number, first)| Sweep::trimmed(*number, *first)).collect();
        self.sweeps.extend(dead.into_iter().map(Sweep::whole));
        Ok(())
    }
}

/// Tables that have rows of a log, and their keys, which begin with the place; messages come first.
const TABLES: [(&str, &str); 6] = [
    ("messages", "place"),
    ("records", "place"),
    ("publishers", "place"),
    ("senders", "place"),
    ("lost", "place"),
    ("runs", "publisher, counter"),
];
/// So that many small ones take one step: numbers are wanted back.
const SWEEPS_AT_ONCE: usize = 256;
/// Small enough that a commit behind it does not wait long.
const SWEPT_AT_ONCE: i64 = 512;
const CUT_AT_ONCE: i64 = 128;
const PAGE_BYTES: u64 = 4096;
/// A MiB of free pages is kept for what comes next.
const FREE_PAGES_MIN: i64 = 256;
