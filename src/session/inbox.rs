//! Received bytes, from the socket's pieces to whole handshake messages and whole records.
//!
//! Holds no more than what came, and a record's bodies once its token has opened and the caller
//! has room for them. A record is handed out only when every body is there and is the one that its
//! frame names, so that no frame acts on half a record.

use std::ops::Range;
use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::close::{HandshakeError, RecordError};
use super::record::{FRAMES_AT, LENGTH_BYTES, Opener};
use crate::base::limits::{RECORD_BODIES_BYTES_MAX, TOKEN_BYTES_MAX};
use crate::crypto::fernet::TOKEN_BYTES_MIN;
use crate::wire::WireError;
use crate::wire::body::BodyRef;
use crate::wire::handshake::{MessageType, message_length};

/// What has come on one connection and is not yet handed out.
#[derive(Default)]
pub struct Inbox {
    buf: Vec<u8>,
    /// Where in `buf` the first byte is that is not yet handed out.
    start: usize,
    /// The record whose token is open and whose bodies are coming.
    pending: Option<Pending>,
    /// Whether `buf` is to be given back by [`Inbox::give_back`].
    is_lent: bool,
    failed: bool,
}

/// A handshake message: its type, known or not, and its payload.
#[derive(Debug, PartialEq, Eq)]
pub struct Message<'a> {
    pub kind: u8,
    pub payload: &'a [u8],
}

/// A record, authentic and complete.
#[derive(Debug)]
pub struct Record<'a> {
    pub frames: &'a [u8],
    /// As many as the frames name, in their order.
    pub bodies: Vec<Arc<[u8]>>,
}

/// How far the next record is.
#[derive(Debug)]
pub enum Progress<'a> {
    /// More bytes must come.
    NeedsBytes,
    /// The bodies that follow need this much memory, more than the caller has room for.
    /// Nothing is allocated for them; nothing should be read until there is.
    NeedsRoom(usize),
    Record(Record<'a>),
}

/// [`Progress`] before it borrows.
enum Ready {
    NeedsBytes,
    NeedsRoom(usize),
    Record(Range<usize>, Vec<Arc<[u8]>>),
}

struct Pending {
    frames: Range<usize>,
    /// Where in the buffer the token ends; what stands behind it belongs to bodies first.
    token_end: usize,
    refs: Vec<BodyRef>,
    bodies: Vec<Arc<[u8]>>,
    /// The body that is coming, how much of it has come, and the hash of that.
    current: Option<(Arc<[u8]>, usize, Sha256)>,
    bytes: usize,
    granted: bool,
    mismatch: bool,
}

/// Capacity that an empty inbox keeps, if nobody takes it back: a small record fits.
const KEPT_BYTES: usize = 512;
/// Capacity from which on a mostly empty buffer is made smaller.
const LARGE_BYTES: usize = 4096;

impl Inbox {
    pub fn new() -> Inbox {
        Inbox::default()
    }

    /// Takes what was read. Callers read on only when the last call of [`Inbox::next_handshake`] or
    /// [`Inbox::next_record`] asked for bytes, so at most one read's worth is held beyond a record's own.
    pub fn push(&mut self, mut bytes: &[u8]) {
        if self.failed {
            return;
        }
        match &mut self.pending {
            // Bodies' bytes go straight to where they stay.
            Some(pending) if pending.granted && self.buf.len() == pending.token_end => {
                bytes = &bytes[pending.fill(bytes)..];
            }
            Some(_) => {}
            None => self.compact(),
        }
        self.buf.reserve_exact(bytes.len());
        self.buf.extend_from_slice(bytes);
    }

    /// Whether bytes would come into a buffer of its own.
    pub fn wants_buffer(&self) -> bool {
        !self.is_lent && self.pending.is_none() && !self.failed
    }

    /// Takes a buffer to be used until [`Inbox::give_back`], if [`Inbox::wants_buffer`].
    pub fn lend(&mut self, mut buffer: Vec<u8>) {
        buffer.clear();
        buffer.extend_from_slice(&self.buf[self.start..]);
        (self.buf, self.start, self.is_lent) = (buffer, 0, true);
    }

    /// Gives back a buffer of which nothing or little is needed any more, lent or not.
    pub fn give_back(&mut self) -> Option<Vec<u8>> {
        let left = self.buf.len() - self.start;
        let is_large = self.buf.capacity() > LARGE_BYTES && self.buf.capacity() / 4 > left;
        if self.pending.is_some() || self.buf.capacity() == 0 || (left > 0 && !is_large) {
            return None;
        }
        let rest = self.buf[self.start..].to_vec();
        (self.start, self.is_lent) = (0, false);
        Some(std::mem::replace(&mut self.buf, rest))
    }

    /// Whether a handshake message is whole, so that its price can be asked for before it is taken.
    pub fn has_handshake(&self) -> Result<bool, HandshakeError> {
        Ok(self.whole_handshake()?.is_some())
    }

    /// The next handshake message, if it is whole. Its length is judged as soon as it is there.
    pub fn next_handshake(&mut self) -> Result<Option<Message<'_>>, HandshakeError> {
        let Some(len) = self.whole_handshake()? else {
            if !self.is_partial() {
                self.settle();
            }
            return Ok(None);
        };
        let first = self.start + LENGTH_BYTES;
        self.start = first + len;
        let (kind, payload) = self.buf[first..self.start].split_first().expect("at least the type");
        Ok(Some(Message { kind: *kind, payload }))
    }

    /// Whether a refusal of the handshake stands where a session's first record is due: a token begins
    /// with its version, a message with its type.
    pub fn has_late_refusal(&self) -> bool {
        let kind = self.buf.get(self.start + LENGTH_BYTES);
        self.pending.is_none() && kind == Some(&(MessageType::SealedRefusal as u8))
    }

    /// The length of the handshake message at the front, if it is whole.
    fn whole_handshake(&self) -> Result<Option<usize>, HandshakeError> {
        let Some((prefix, rest)) = self.buf[self.start..].split_first_chunk::<LENGTH_BYTES>() else {
            return Ok(None);
        };
        let len = message_length(*prefix).map_err(|e| match e {
            WireError::TooLong => HandshakeError::TooLarge,
            e => e.into(),
        })?;
        Ok((rest.len() >= len).then_some(len))
    }

    /// The next record, if it is whole. `scan` reads from the frames which bodies follow; `room` is how
    /// many bytes of bodies the caller can bear. After an error every further call is one.
    pub fn next_record(
        &mut self,
        opener: &mut Opener,
        scan: impl FnOnce(&[u8]) -> Result<Vec<BodyRef>, WireError>,
        room: usize,
    ) -> Result<Progress<'_>, RecordError> {
        if self.failed {
            return Err(RecordError::Closed);
        }
        match self.advance(opener, scan, room) {
            Ok(Ready::NeedsBytes) => Ok(Progress::NeedsBytes),
            Ok(Ready::NeedsRoom(bytes)) => Ok(Progress::NeedsRoom(bytes)),
            Ok(Ready::Record(frames, bodies)) => {
                Ok(Progress::Record(Record { frames: &self.buf[frames], bodies }))
            }
            Err(e) => {
                *self = Inbox { failed: true, ..Inbox::default() };
                Err(e)
            }
        }
    }

    /// Memory that this inbox holds, bodies it was granted room for counted whole.
    pub fn held_bytes(&self) -> usize {
        let granted = self.pending.as_ref().filter(|p| p.granted);
        self.buf.capacity() + granted.map_or(0, |p| p.bytes)
    }

    /// Memory that it wants and has not: the bodies of a record that waits for room.
    pub fn wanted_bytes(&self) -> usize {
        self.pending.as_ref().filter(|p| !p.granted).map_or(0, |p| p.bytes)
    }

    /// Whether bodies are coming for which the caller has given room.
    pub fn is_granted(&self) -> bool {
        self.pending.as_ref().is_some_and(|p| p.granted)
    }

    /// Whether something has begun to come and is not whole: the caller's deadline runs.
    pub fn is_partial(&self) -> bool {
        self.pending.is_some() || self.start < self.buf.len()
    }

    fn advance(
        &mut self,
        opener: &mut Opener,
        scan: impl FnOnce(&[u8]) -> Result<Vec<BodyRef>, WireError>,
        room: usize,
    ) -> Result<Ready, RecordError> {
        if self.pending.is_none() {
            self.pending = self.open_token(opener, scan)?;
        }
        let Some(pending) = &mut self.pending else {
            self.settle();
            return Ok(Ready::NeedsBytes);
        };
        if !pending.granted && pending.bytes > room {
            return Ok(Ready::NeedsRoom(pending.bytes));
        }
        pending.granted = true;
        let taken = pending.token_end + pending.fill(&self.buf[pending.token_end..]);
        if pending.mismatch {
            return Err(RecordError::Body);
        }
        if pending.bodies.len() < pending.refs.len() {
            // All that stood behind the token has gone into bodies.
            self.buf.truncate(pending.token_end);
            return Ok(Ready::NeedsBytes);
        }
        let done = self.pending.take().expect("it was looked at just now");
        self.start = taken;
        Ok(Ready::Record(done.frames, done.bodies))
    }

    /// Opens the token at the front, in place, if it is whole.
    fn open_token(
        &mut self,
        opener: &mut Opener,
        scan: impl FnOnce(&[u8]) -> Result<Vec<BodyRef>, WireError>,
    ) -> Result<Option<Pending>, RecordError> {
        let Some((prefix, rest)) = self.buf[self.start..].split_first_chunk_mut::<LENGTH_BYTES>() else {
            return Ok(None);
        };
        let len = u32::from_be_bytes(*prefix) as usize;
        if !(TOKEN_BYTES_MIN..=TOKEN_BYTES_MAX).contains(&len) {
            return Err(RecordError::TokenLength(len));
        }
        let Some(token) = rest.get_mut(..len) else {
            return Ok(None);
        };
        let frames = opener.open(token)?;
        let refs = scan(frames).map_err(RecordError::Frames)?;
        let bytes: u64 = refs.iter().map(|r| u64::from(r.len)).sum();
        if bytes > RECORD_BODIES_BYTES_MAX as u64 {
            return Err(RecordError::BodiesLength(bytes));
        }
        let token_at = self.start + LENGTH_BYTES;
        let frames_at = token_at + FRAMES_AT;
        Ok(Some(Pending {
            frames: frames_at..frames_at + frames.len(),
            token_end: token_at + len,
            bodies: Vec::with_capacity(refs.len()),
            refs,
            current: None,
            bytes: bytes as usize,
            granted: false,
            mismatch: false,
        }))
    }

    /// Moves what is left to the buffer's front.
    fn compact(&mut self) {
        self.buf.drain(..std::mem::take(&mut self.start));
    }

    /// Gives memory back when little or nothing is left in it.
    fn settle(&mut self) {
        if self.is_lent {
            return;
        }
        let left = self.buf.len() - self.start;
        if left == 0 && self.buf.capacity() > KEPT_BYTES {
            (self.buf, self.start) = (Vec::new(), 0);
        } else if self.buf.capacity() > LARGE_BYTES && self.buf.capacity() / 4 > left {
            self.compact();
            self.buf.shrink_to_fit();
        }
    }
}

impl Pending {
    /// Fills bodies from the front of `bytes`, each checked when it is whole; returns how many it took.
    fn fill(&mut self, bytes: &[u8]) -> usize {
        let mut left = bytes;
        while let Some(body) = self.refs.get(self.bodies.len()).filter(|_| !self.mismatch) {
            let len = body.len as usize;
            if self.current.is_none() && left.len() >= len {
                // All of it is there: hashed and copied once, in one piece.
                let (whole, later) = left.split_at(len);
                self.mismatch = Sha256::digest(whole)[..] != body.sha256;
                self.bodies.push(Arc::from(whole));
                left = later;
                continue;
            }
            let (buffer, filled, hash) =
                self.current.get_or_insert_with(|| (std::iter::repeat_n(0, len).collect(), 0, Sha256::new()));
            let (now, later) = left.split_at(left.len().min(len - *filled));
            let space = Arc::get_mut(buffer).expect("a body is shared only when it is whole");
            space[*filled..*filled + now.len()].copy_from_slice(now);
            hash.update(now);
            (*filled, left) = (*filled + now.len(), later);
            if *filled < len {
                break;
            }
            let (buffer, _, hash) = self.current.take().expect("it was filled just now");
            self.mismatch = hash.finalize()[..] != body.sha256;
            self.bodies.push(buffer);
        }
        bytes.len() - left.len()
    }
}

#[cfg(test)]
mod tests;
