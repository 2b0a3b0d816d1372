//! Output on its way to a socket: bytes of our own and bodies that many connections share.

use std::collections::VecDeque;
use std::io::IoSlice;
use std::ops::Range;
use std::sync::Arc;

/// A queue of byte chunks, written from the front, partly if need be.
///
/// Large bodies are shared, never copied: a thousand subscribers hold one allocation. Small ones are
/// copied behind the bytes before them, which costs less than a chunk of their own does.
///
/// All bytes of our own lie in one buffer, which an emptied queue keeps: a driver that hands the
/// same queue on to every connection allocates nothing for a record.
#[derive(Default)]
pub struct Transmit {
    own: Vec<u8>,
    /// How much of `own` belongs to chunks; what is behind it is being written.
    committed: usize,
    chunks: VecDeque<Chunk>,
    /// Bytes of the first chunk that are written already.
    written: usize,
    len: usize,
}

enum Chunk {
    /// A range of `own`.
    Own(Range<usize>),
    Shared(Arc<[u8]>),
}

/// Bodies up to this size are copied: from here on the copy costs more than the chunk.
const COPIED_BYTES_MAX: usize = 1024;

impl Transmit {
    pub fn new() -> Transmit {
        Transmit::default()
    }

    /// Bytes still to be written.
    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bytes that it holds for bytes of our own, used or not.
    pub fn capacity(&self) -> usize {
        self.own.capacity()
    }

    /// The end of the bytes of our own, to be written to. What is appended is queued by
    /// [`Transmit::commit`], and gone without it.
    pub fn open(&mut self) -> &mut Vec<u8> {
        self.own.truncate(self.committed);
        &mut self.own
    }

    /// Queues what was appended since [`Transmit::open`].
    ///
    /// # Panics
    /// If what stood there before was taken away.
    pub fn commit(&mut self) {
        let added = self.own.len().checked_sub(self.committed).expect("an open buffer is only appended to");
        if added == 0 {
            return;
        }
        self.len += added;
        match self.chunks.back_mut() {
            Some(Chunk::Own(range)) => range.end = self.own.len(),
            _ => self.chunks.push_back(Chunk::Own(self.committed..self.own.len())),
        }
        self.committed = self.own.len();
    }

    /// Appends bytes that belong to this connection alone.
    pub fn push(&mut self, bytes: &[u8]) {
        self.open().extend_from_slice(bytes);
        self.commit();
    }

    /// Appends a body that others may hold too.
    pub fn push_shared(&mut self, bytes: Arc<[u8]>) {
        if bytes.len() <= COPIED_BYTES_MAX {
            self.push(&bytes);
        } else {
            self.len += bytes.len();
            self.chunks.push_back(Chunk::Shared(bytes));
        }
    }

    /// Fills `slices` from the front for a vectored write; returns how many were filled.
    pub fn slices<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let mut skip = self.written;
        let mut filled = 0;
        for (slot, chunk) in slices.iter_mut().zip(&self.chunks) {
            *slot = IoSlice::new(&chunk.bytes(&self.own)[skip..]);
            skip = 0;
            filled += 1;
        }
        filled
    }

    /// Drops `n` bytes from the front, which the socket has taken.
    ///
    /// # Panics
    /// If `n` exceeds [`Transmit::len`]: a socket cannot take more than it was offered.
    pub fn advance(&mut self, n: usize) {
        assert!(n <= self.len, "a socket took more than it was offered");
        self.len -= n;
        self.written += n;
        while let Some(front) = self.chunks.front() {
            let size = front.bytes(&self.own).len();
            if self.written < size {
                return;
            }
            self.written -= size;
            self.chunks.pop_front();
        }
        (self.committed, self.written) = (0, 0);
        self.own.clear();
    }

    /// All that is queued, as one vector: for tests and drivers without sockets.
    pub fn take_all(&mut self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.len);
        let mut skip = self.written;
        for chunk in &self.chunks {
            out.extend_from_slice(&chunk.bytes(&self.own)[skip..]);
            skip = 0;
        }
        *self = Transmit::new();
        out
    }
}

impl Chunk {
    fn bytes<'a>(&'a self, own: &'a [u8]) -> &'a [u8] {
        match self {
            Chunk::Own(range) => &own[range.clone()],
            Chunk::Shared(bytes) => bytes,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn large(byte: u8) -> Arc<[u8]> {
        vec![byte; COPIED_BYTES_MAX + 1].into()
    }

    #[test]
    fn partial_writes_keep_the_order() {
        for step in [1, 2, 3, 5, 700, 1025, 5000] {
            let mut t = Transmit::new();
            t.push(&[0, 1, 2]);
            t.push_shared(Arc::from([3, 4, 5, 6].as_slice()));
            t.push_shared(large(7));
            t.push_shared(large(8));
            t.push(&[]);
            t.open().extend_from_slice(&[9, 9]);
            t.commit();
            t.push(&[10, 11]);
            t.open().push(99);
            let expected = [&[0, 1, 2, 3, 4, 5, 6][..], &large(7), &large(8), &[9, 9, 10, 11]].concat();
            let mut seen = Vec::new();
            while !t.is_empty() {
                let mut slices = [IoSlice::new(&[]), IoSlice::new(&[])];
                let filled = t.slices(&mut slices);
                let offered: Vec<u8> = slices[..filled].iter().flat_map(|s| s.iter().copied()).collect();
                let taken = offered.len().min(step);
                seen.extend_from_slice(&offered[..taken]);
                t.advance(taken);
            }
            assert!(seen == expected, "steps of {step}");
        }
    }

    #[test]
    fn an_emptied_queue_keeps_its_buffer_and_begins_anew() {
        let mut t = Transmit::new();
        t.push(&[1; 300]);
        let held = t.capacity();
        t.advance(300);
        t.push(&[2; 200]);
        assert_eq!((t.len(), t.capacity()), (200, held));
        assert_eq!(t.take_all(), [2; 200]);
    }

    #[test]
    fn take_all_honours_what_was_written() {
        let mut t = Transmit::new();
        t.push(&[1, 2, 3]);
        t.push_shared(Arc::from([4].as_slice()));
        t.advance(2);
        assert_eq!(t.take_all(), [3, 4]);
        assert!(t.is_empty());
        assert_eq!(t.len(), 0);
    }
}
