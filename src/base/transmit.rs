//! Output on its way to a socket: bytes of our own and bodies that many connections share.

use std::collections::VecDeque;
use std::io::IoSlice;
use std::sync::Arc;

/// A queue of byte chunks, written from the front, partly if need be.
///
/// Bodies are shared, never copied: a thousand subscribers hold one allocation.
#[derive(Default)]
pub struct Transmit {
    chunks: VecDeque<Chunk>,
    /// Bytes of the first chunk that are written already.
    written: usize,
    len: usize,
}

enum Chunk {
    Owned(Vec<u8>),
    Shared(Arc<[u8]>),
}

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

    /// Appends bytes that belong to this connection alone.
    pub fn push(&mut self, bytes: Vec<u8>) {
        if !bytes.is_empty() {
            self.len += bytes.len();
            self.chunks.push_back(Chunk::Owned(bytes));
        }
    }

    /// Appends a body that others may hold too.
    pub fn push_shared(&mut self, bytes: Arc<[u8]>) {
        if !bytes.is_empty() {
            self.len += bytes.len();
            self.chunks.push_back(Chunk::Shared(bytes));
        }
    }

    /// Bytes of shared bodies still queued, partly written ones counted whole.
    pub fn shared_len(&self) -> usize {
        let shared = |c: &Chunk| match c {
            Chunk::Owned(_) => 0,
            Chunk::Shared(bytes) => bytes.len(),
        };
        self.chunks.iter().map(shared).sum()
    }

    /// Fills `slices` from the front for a vectored write; returns how many were filled.
    pub fn slices<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let mut skip = self.written;
        let mut filled = 0;
        for (slot, chunk) in slices.iter_mut().zip(&self.chunks) {
            *slot = IoSlice::new(&chunk.bytes()[skip..]);
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
            let size = front.bytes().len();
            if self.written < size {
                break;
            }
            self.written -= size;
            self.chunks.pop_front();
        }
    }

    /// All that is queued, as one vector: for tests and drivers without sockets.
    pub fn take_all(&mut self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.len);
        let mut skip = self.written;
        for chunk in self.chunks.drain(..) {
            out.extend_from_slice(&chunk.bytes()[skip..]);
            skip = 0;
        }
        self.written = 0;
        self.len = 0;
        out
    }
}

impl Chunk {
    fn bytes(&self) -> &[u8] {
        match self {
            Chunk::Owned(bytes) => bytes,
            Chunk::Shared(bytes) => bytes,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partial_writes_keep_the_order() {
        for step in 1..=9 {
            let mut t = Transmit::new();
            t.push(vec![0, 1, 2]);
            t.push_shared(Arc::from([3, 4, 5, 6].as_slice()));
            t.push(Vec::new());
            t.push(vec![7, 8]);
            let mut seen = Vec::new();
            while !t.is_empty() {
                let mut slices = [IoSlice::new(&[]), IoSlice::new(&[])];
                let filled = t.slices(&mut slices);
                let offered: Vec<u8> = slices[..filled].iter().flat_map(|s| s.iter().copied()).collect();
                let taken = offered.len().min(step);
                seen.extend_from_slice(&offered[..taken]);
                t.advance(taken);
            }
            assert_eq!(seen, (0..9).collect::<Vec<u8>>(), "steps of {step}");
        }
    }

    #[test]
    fn take_all_honours_what_was_written() {
        let mut t = Transmit::new();
        t.push(vec![1, 2, 3]);
        t.push_shared(Arc::from([4].as_slice()));
        t.advance(2);
        assert_eq!(t.take_all(), [3, 4]);
        assert!(t.is_empty());
        assert_eq!(t.shared_len(), 0);
    }
}
