//! `pub --spool DIR`: messages on the publisher's own disk from when they are read until they are answered.
//!
//! A file for each topic and identity, to which records are appended: a message, the publisher id under which they
//! are counted, up to where they may have been sent, up to where they were answered. Each record is sealed to the
//! identity's own key. What is synced when: a message before it is sent, an id and the mark of sending before
//! anything is sent that they speak of; that a message was answered is not synced, since the broker knows a
//! message again that is sent twice under one id. A record that was not written as a whole is cut off by whoever
//! opens the file next: nothing had been done yet that it speaks of.

pub mod record;

use std::collections::VecDeque;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::error::CliError;
use super::keyfiles;
use super::output::note;
use crate::base::Wall;
use crate::base::ids::Fingerprint;
use crate::base::limits::MESSAGE_BYTES_MAX;
use crate::base::names::TopicName;
use crate::client::chest::Chest;
use crate::client::{Client, KeptPublisher};
use crate::crypto::digest::{hash_items, sha256};
use crate::crypto::fernet::token_bytes;
use record::{Base, History, Record, Sent};

/// The spool of one topic, held by this process alone.
pub struct Spool {
    file: File,
    path: PathBuf,
    chest: Chest,
    header: Vec<u8>,
    /// Bytes that are written, the header among them.
    written: u64,
    history: History,
    /// The record of the first message that is not answered begins here, or later.
    live: u64,
    /// Where reading on begins.
    cursor: u64,
    /// Messages that were read and not answered: their numbers and records.
    out: VecDeque<(u64, u64)>,
    /// The file's length since the last sync does not matter, or does.
    is_unsynced: bool,
    /// Answers that no record tells yet.
    is_ahead: bool,
    limit: u64,
    _lock: File,
}

/// A message that waits.
pub struct Waiting {
    pub number: u64,
    pub content: Zeroizing<Vec<u8>>,
    record: u64,
    end: u64,
}

impl Spool {
    /// Opens the spool of a topic in `folder`, or begins it.
    pub fn open(
        folder: &Path,
        topic: &TopicName,
        me: Fingerprint,
        client: &mut Client,
        limit: u64,
    ) -> Result<Spool, CliError> {
        keyfiles::make_folder(folder, true)?;
        let stem = folder.join(stem(topic, me));
        let lock = lock(&stem.with_extension("lock"), topic)?;
        let path = stem.with_extension("spool");
        if !path.exists() {
            let (_, key) = client.make_chest()?;
            let header = header(topic, me, &key);
            replace(&path, &[&header]).map_err(|e| keyfiles::cannot("write", &path, &e))?;
        }
        let failed = |e| keyfiles::cannot("read", &path, &e);
        let content = fs::read(&path).map_err(failed)?;
        let (header, key) = check_header(&content, topic, me).map_err(|why| damaged(&path, why))?;
        let chest = client.open_chest(key).map_err(|_| damaged(&path, "its key does not open"))?;
        let file = OpenOptions::new().read(true).write(true).open(&path).map_err(failed)?;
        let mut spool = Spool {
            file,
            chest,
            header: header.to_vec(),
            written: header.len() as u64,
            history: History::default(),
            live: header.len() as u64,
            cursor: header.len() as u64,
            out: VecDeque::new(),
            is_unsynced: false,
            is_ahead: false,
            limit,
            path,
            _lock: lock,
        };
        spool.take_all(&content)?;
        spool.find_live(&content);
        Ok(spool)
    }

    /// Takes up the records of a file, and cuts off what was not written as a whole.
    fn take_all(&mut self, content: &[u8]) -> Result<(), CliError> {
        while let Some((record, end)) = self.record_at(content, self.written) {
            self.history.take(&record);
            self.written = end;
        }
        let rest = content.len() as u64 - self.written;
        if rest == 0 {
            return Ok(());
        }
        // What is whole behind it was written later: then this is no torn end.
        if (self.written + 1..content.len() as u64).any(|at| self.record_at(content, at).is_some()) {
            return Err(damaged(&self.path, &format!("the record at byte {} is not good", self.written)));
        }
        note(&format!(
            "{}: the last {rest} bytes were not written as a whole and are left out",
            self.path.display()
        ));
        let cut = self.file.set_len(self.written).and_then(|()| self.file.sync_all());
        cut.map_err(|e| keyfiles::cannot("write", &self.path, &e))
    }

    /// Reading begins at the first message that is not answered.
    fn find_live(&mut self, content: &[u8]) {
        while let Some((record, end)) = self.record_at(content, self.live) {
            if matches!(record, Record::Message { number, .. } if number >= self.history.done) {
                break;
            }
            self.live = end;
        }
        self.cursor = self.live;
    }

    fn record_at(&self, content: &[u8], at: u64) -> Option<(Record, u64)> {
        let rest = content.get(usize::try_from(at).ok()?..)?;
        let (length, rest) = rest.split_first_chunk()?;
        let length = u32::from_be_bytes(*length);
        // Most of what is no record is seen by this alone.
        if length > RECORD_BYTES_MAX || rest.first() != Some(&0x80) {
            return None;
        }
        let token = rest.get(..usize::try_from(length).ok()?)?;
        let plain = self.chest.unseal(token).ok()?;
        Some((Record::decode(&plain)?, at + 4 + u64::from(length)))
    }

    /// Messages that are not answered.
    pub fn waiting(&self) -> u64 {
        self.history.waiting()
    }

    /// Those of them that the broker may have.
    pub fn maybe_stored(&self) -> u64 {
        self.history.sent() - self.history.done
    }

    /// Since when.
    pub fn oldest_sent(&self) -> Option<Wall> {
        self.history.oldest_sent()
    }

    pub fn publisher(&self) -> Option<&KeptPublisher> {
        self.history.publisher.as_ref()
    }

    /// The counter of the first message that is not answered.
    pub fn counter(&self) -> u64 {
        self.history.counter
    }

    pub fn limit(&self) -> u64 {
        self.limit
    }

    /// Up to where messages may have been sent.
    pub fn sent(&self) -> u64 {
        self.history.sent()
    }

    /// Whether another message of so many bytes fits in; one does in any case.
    pub fn has_room(&self, bytes: usize) -> bool {
        if self.waiting() == 0 {
            return true;
        }
        let more = 4 + token_bytes(9 + bytes) as u64;
        self.written - self.live + more <= self.limit
    }

    /// Accepts a message. It is safe after the next [`Spool::sync`].
    pub fn push(&mut self, content: &[u8], client: &mut Client, now: Wall) -> Result<(), CliError> {
        let record = Record::Message { number: self.history.next, content: content.to_vec() };
        self.append(&record, client, now)
    }

    /// Counts what is not answered under another id, from 0.
    pub fn count_under(
        &mut self,
        kept: &KeptPublisher,
        client: &mut Client,
        now: Wall,
    ) -> Result<(), CliError> {
        let at = Base { number: self.history.done, counter: 0 };
        self.append(&Record::Publisher { kept: Box::new(kept.clone()), at }, client, now)
    }

    /// All that was read so far is about to be sent.
    pub fn mark_sent(&mut self, client: &mut Client, now: Wall) -> Result<(), CliError> {
        let until = self.out.back().map_or(self.history.done, |(number, _)| number + 1);
        if until <= self.history.sent() {
            return Ok(());
        }
        self.append(&Record::Sent(Sent { until, time: now }), client, now)
    }

    /// The next message to be sent.
    pub fn peek(&self) -> Result<Option<Waiting>, CliError> {
        let mut at = self.cursor;
        while at < self.written {
            let mut length = [0; 4];
            let failed = |e| keyfiles::cannot("read", &self.path, &e);
            self.file.read_exact_at(&mut length, at).map_err(failed)?;
            let mut token = vec![0; u32::from_be_bytes(length) as usize];
            self.file.read_exact_at(&mut token, at + 4).map_err(failed)?;
            let end = at + 4 + token.len() as u64;
            let plain = self.chest.unseal(&token).map_err(|_| {
                damaged(&self.path, &format!("the record at byte {at} is not what was written"))
            })?;
            if let Some(Record::Message { number, content }) = Record::decode(&plain) {
                return Ok(Some(Waiting { number, content: Zeroizing::new(content), record: at, end }));
            }
            at = end;
        }
        Ok(None)
    }

    /// The message was taken over; it stays until it is answered.
    pub fn advance(&mut self, message: &Waiting) {
        self.out.push_back((message.number, message.record));
        self.cursor = message.end;
    }

    /// The oldest message that was taken over is stored: it is done with.
    pub fn stored(&mut self) {
        self.finish(1);
    }

    /// It was refused for good: it is done with, and its counter is the next one's. Sync before that is sent.
    pub fn refused(&mut self) {
        self.finish(0);
        self.is_unsynced = true;
    }

    fn finish(&mut self, counters: u64) {
        let number = self.history.done + 1;
        let counter = self.history.counter + counters;
        self.history.take(&Record::Done(Base { number, counter }));
        self.out.pop_front();
        self.live = self.out.front().map_or(self.cursor, |(_, record)| *record);
        self.is_ahead = true;
    }

    /// What was taken over and not answered is to be read again.
    pub fn rewind(&mut self) {
        if let Some((_, record)) = self.out.front() {
            self.cursor = *record;
        }
        self.out.clear();
    }

    /// Has all that was accepted and marked on the disk; that messages were answered is only written.
    pub fn sync(&mut self, client: &mut Client, now: Wall) -> Result<(), CliError> {
        if std::mem::take(&mut self.is_ahead) {
            let is_unsynced = self.is_unsynced;
            self.append(&Record::Done(self.history.base()), client, now)?;
            self.is_unsynced = is_unsynced;
        }
        if std::mem::take(&mut self.is_unsynced) {
            self.file.sync_data().map_err(|e| keyfiles::cannot("write", &self.path, &e))?;
        }
        let dead = self.live - self.header.len() as u64;
        if dead > COMPACT_BYTES.max(self.written - self.live) {
            self.compact(client, now)?;
        }
        Ok(())
    }

    fn append(&mut self, record: &Record, client: &mut Client, now: Wall) -> Result<(), CliError> {
        let bytes = self.sealed(record, client, now);
        if let Err(error) = self.file.write_all_at(&bytes, self.written) {
            // What is there of it would be cut off the next time as well.
            let _ = self.file.set_len(self.written);
            let full = keyfiles::cannot("write", &self.path, &error);
            return Err(full.remedy("what was accepted before is kept"));
        }
        self.written += bytes.len() as u64;
        self.history.take(record);
        self.is_unsynced = true;
        Ok(())
    }

    fn sealed(&self, record: &Record, client: &mut Client, now: Wall) -> Vec<u8> {
        let plain = Zeroizing::new(record.encode());
        let token = self.chest.seal(&plain, now, client.entropy());
        let length = u32::try_from(token.len()).expect("a message keeps to its limit");
        [&length.to_be_bytes()[..], &token].concat()
    }

    /// Writes a file without the messages that were answered in place of this one.
    fn compact(&mut self, client: &mut Client, now: Wall) -> Result<(), CliError> {
        let failed = |path: &Path, e: io::Error| keyfiles::cannot("write", path, &e);
        let mut live = vec![0; usize::try_from(self.written - self.live).unwrap_or(0)];
        self.file.read_exact_at(&mut live, self.live).map_err(|e| failed(&self.path, e))?;
        // Behind the messages: what stands last holds.
        let mut summary = Vec::new();
        let base = Record::Done(self.history.base());
        summary.extend(self.sealed(&base, client, now));
        if let Some(kept) = self.history.publisher.clone() {
            let record = Record::Publisher { kept: Box::new(kept), at: self.history.base() };
            summary.extend(self.sealed(&record, client, now));
        }
        for mark in self.history.marks() {
            summary.extend(self.sealed(&Record::Sent(mark), client, now));
        }
        replace(&self.path, &[&self.header, &live, &summary]).map_err(|e| failed(&self.path, e))?;
        self.file =
            OpenOptions::new().read(true).write(true).open(&self.path).map_err(|e| failed(&self.path, e))?;
        let moved = self.live - self.header.len() as u64;
        self.live -= moved;
        self.cursor -= moved;
        self.out.iter_mut().for_each(|(_, record)| *record -= moved);
        self.written = self.written - moved + summary.len() as u64;
        Ok(())
    }

    /// All was answered: nothing has to be known of it any more.
    pub fn clear(&mut self) -> Result<(), CliError> {
        debug_assert_eq!(self.waiting(), 0, "what waits is not cleared");
        let header = self.header.len() as u64;
        let cut = self.file.set_len(header).and_then(|()| self.file.sync_all());
        cut.map_err(|e| keyfiles::cannot("write", &self.path, &e))?;
        self.history = History::default();
        (self.written, self.live, self.cursor) = (header, header, header);
        (self.is_ahead, self.is_unsynced) = (false, false);
        self.out.clear();
        Ok(())
    }
}

/// One process at a time; the file is never removed.
fn lock(path: &Path, topic: &TopicName) -> Result<File, CliError> {
    let failed = |e: io::Error| keyfiles::cannot("open", path, &e);
    let file =
        OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(path).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => {
            let folder = path.parent().unwrap_or(Path::new(".")).display();
            Err(CliError::other(format!("{folder} is in use for {topic} by another sealmq"))
                .remedy("end that one first, or give each publisher its own folder"))
        }
        Err(TryLockError::Error(e)) => Err(keyfiles::cannot("lock", path, &e)),
    }
}

/// A name that says nothing, for any topic.
fn stem(topic: &TopicName, me: Fingerprint) -> String {
    let hash = hash_items(&[topic.as_str().as_bytes(), &me.0]);
    hash.iter().take(16).map(|b| format!("{b:02x}")).collect()
}

/// `magic | version | SHA-256 of all behind it | length, topic | fingerprint | length, lock`.
fn header(topic: &TopicName, me: Fingerprint, key: &[u8]) -> Vec<u8> {
    let length = |bytes: &[u8]| u16::try_from(bytes.len()).expect("names and locks are short").to_be_bytes();
    let name = topic.as_str().as_bytes();
    let content = [&length(name)[..], name, &me.0, &length(key), key].concat();
    [MAGIC, &VERSION.to_be_bytes(), &sha256(&content), &content].concat()
}

/// The header, and the lock in it.
fn check_header<'a>(
    content: &'a [u8],
    topic: &TopicName,
    me: Fingerprint,
) -> Result<(&'a [u8], &'a [u8]), &'static str> {
    let cut = "it is too short";
    let rest = content.strip_prefix(MAGIC).ok_or("it is no spool of sealmq")?;
    let (version, rest) = rest.split_first_chunk().ok_or(cut)?;
    if u32::from_be_bytes(*version) != VERSION {
        return Err("a newer sealmq wrote it");
    }
    let (checksum, body) = rest.split_first_chunk::<32>().ok_or(cut)?;
    let (length, rest) = body.split_first_chunk().ok_or(cut)?;
    let (name, rest) = rest.split_at_checked(u16::from_be_bytes(*length).into()).ok_or(cut)?;
    let (owner, rest) = rest.split_first_chunk::<32>().ok_or(cut)?;
    let (length, rest) = rest.split_first_chunk().ok_or(cut)?;
    let (key, records) = rest.split_at_checked(u16::from_be_bytes(*length).into()).ok_or(cut)?;
    if sha256(&body[..body.len() - records.len()]) != *checksum {
        return Err("its header is damaged");
    }
    if name != topic.as_str().as_bytes() || *owner != me.0 {
        return Err("it belongs to another topic or identity");
    }
    Ok((&content[..content.len() - records.len()], key))
}

fn damaged(path: &Path, why: &str) -> CliError {
    let path = keyfiles::quoted(path);
    CliError::other(format!("{path} cannot be used: {why}")).remedy(format!(
        "bring it back from a backup, or begin anew without the messages in it:\nmv {path} {path}.damaged"
    ))
}

/// Writes beside, down to the disk, then renames.
fn replace(path: &Path, parts: &[&[u8]]) -> io::Result<()> {
    let beside = path.with_extension("new");
    let mut file = OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&beside)?;
    parts.iter().try_for_each(|part| file.write_all(part))?;
    file.sync_all()?;
    fs::rename(&beside, path)?;
    File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all()
}

const MAGIC: &[u8] = b"sealmq spool\0";
const VERSION: u32 = 1;
/// A message and what stands around it.
const RECORD_BYTES_MAX: u32 = MESSAGE_BYTES_MAX as u32 + 1024;
/// Less than this of answered messages is not worth a new file.
const COMPACT_BYTES: u64 = 1 << 20;

#[cfg(test)]
mod tests;
