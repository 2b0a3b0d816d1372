//! What the files of a broker that is gone hold, as the engine itself reads them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::mpsc::{Receiver, channel};

use sealmq::base::ids::{Incarnation, Offset};
use sealmq::base::{Mono, Now, Wall};
use sealmq::crypto::digest::sha256;
use sealmq::store::disk::Caps;
use sealmq::store::{Content, Contents, Disk, Entry, Op, Outcome, Store};

/// One log, by its name.
pub struct LogFile {
    pub next: u64,
    /// Offsets of messages, with their counters.
    pub messages: BTreeMap<u64, u64>,
    pub records: BTreeSet<u64>,
}

/// Opens the folder and reads all of its logs. An error says what is wrong with it.
pub fn read(folder: &Path) -> Result<BTreeMap<String, LogFile>, String> {
    let (sender, woken) = channel();
    let wake = Box::new(move || sender.send(()).unwrap_or_default());
    let (mut disk, contents) = open(folder, wake)?;
    let mut logs = BTreeMap::new();
    for stored in &contents.logs {
        let entries = entries(&mut disk, &woken, stored.log, stored.next)?;
        let mut log = LogFile { next: stored.next.0, messages: BTreeMap::new(), records: BTreeSet::new() };
        for entry in entries {
            match &entry.content {
                Content::Record { .. } => drop(log.records.insert(entry.offset.0)),
                Content::Message { counter, body, sha256: stated, .. } => {
                    if sha256(body) != *stated {
                        return Err(format!("the message at {} is not what was stored", entry.offset));
                    }
                    log.messages.insert(entry.offset.0, counter.0);
                }
            }
        }
        logs.insert(stored.settings.name.as_str().to_owned(), log);
    }
    Ok(logs)
}

fn open(folder: &Path, wake: Box<dyn Fn() + Send>) -> Result<(Disk, Contents), String> {
    let caps = Caps { disk_bytes: u64::MAX, memory_bytes: u64::MAX };
    Disk::open(folder, caps, wake, &mut |_| ()).map_err(|e| e.to_string())
}

fn entries(
    disk: &mut Disk,
    woken: &Receiver<()>,
    log: Incarnation,
    end: Offset,
) -> Result<Vec<std::sync::Arc<Entry>>, String> {
    let mut all = Vec::new();
    let mut from = Offset(0);
    while from < end {
        let op = Op::Read { log, from, below: end, bytes_max: READ_BYTES, records_only: false };
        let ticket = disk.submit(op);
        disk.flush(Now { mono: Mono(0), wall: Wall(0) });
        let completion = loop {
            match disk.poll() {
                Some(completion) => break completion,
                None => woken.recv().map_err(|_| "the engine has ended".to_owned())?,
            }
        };
        assert_eq!(completion.ticket, ticket, "nothing else is under way");
        match completion.result.map_err(|e| e.to_string())? {
            Outcome::Entries { entries, next } => {
                all.extend(entries);
                from = next;
            }
            other => return Err(format!("a read gave {other:?}")),
        }
    }
    Ok(all)
}

impl LogFile {
    pub fn offsets(&self) -> BTreeSet<u64> {
        self.messages.keys().copied().collect()
    }

    /// The first offset from the oldest message on that is neither a message nor a record.
    pub fn hole(&self) -> Option<u64> {
        let oldest = *self.messages.keys().next()?;
        (oldest..self.next).find(|o| !self.messages.contains_key(o) && !self.records.contains(o))
    }
}

const READ_BYTES: usize = 1024 * 1024;
