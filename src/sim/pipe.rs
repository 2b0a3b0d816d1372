//! One direction of a connection: bytes that arrive late, in pieces, or not at all.

use std::collections::VecDeque;
use std::io::IoSlice;
use std::time::Duration;

use super::dice::Dice;
use crate::base::Mono;
use crate::base::transmit::Transmit;

/// Bytes on their way from one end to the other, in order.
pub struct Pipe {
    chunks: VecDeque<Chunk>,
    bytes: usize,
    /// When the last chunk arrives: the next one does not overtake it.
    last_at: Mono,
    stalled_until: Mono,
    /// How many more bytes get through; what is written behind them is lost.
    cut_after: Option<usize>,
    /// When the reader learns that nothing more comes.
    end_at: Option<Mono>,
}

struct Chunk {
    at: Mono,
    bytes: Vec<u8>,
    read: usize,
}

/// What a network does to bytes.
#[derive(Clone, Copy)]
pub struct Weather {
    /// Longest time that a chunk takes.
    pub delay_ms: u64,
    /// Bytes that a pipe holds before it takes no more.
    pub capacity: usize,
    /// Largest chunk: what is written at once arrives in pieces.
    pub chunk: usize,
}

/// Chunks of one vectored write.
const SLICES: usize = 8;

impl Pipe {
    pub fn new() -> Pipe {
        Pipe {
            chunks: VecDeque::new(),
            bytes: 0,
            last_at: Mono(0),
            stalled_until: Mono(0),
            cut_after: None,
            end_at: None,
        }
    }

    /// Takes from `out` what there is room for; true if that is anything.
    pub fn write(&mut self, out: &mut Transmit, now: Mono, weather: &Weather, dice: &mut Dice) -> bool {
        let mut moved = false;
        while !out.is_empty() && self.has_room(weather) {
            let room = (weather.capacity - self.bytes).min(dice.between(1, weather.chunk as u64) as usize);
            let mut slices = [IoSlice::new(&[]); SLICES];
            let filled = out.slices(&mut slices);
            let mut bytes = Vec::new();
            for slice in &slices[..filled] {
                let part = slice.len().min(room - bytes.len());
                bytes.extend_from_slice(&slice[..part]);
            }
            out.advance(bytes.len());
            self.push(bytes, now + dice.millis(weather.delay_ms));
            moved = true;
        }
        moved
    }

    fn push(&mut self, mut bytes: Vec<u8>, at: Mono) {
        if self.end_at.is_some() {
            // The other end is gone, and we do not know yet.
            return;
        }
        if let Some(left) = &mut self.cut_after {
            bytes.truncate(*left);
            *left -= bytes.len();
        }
        if !bytes.is_empty() {
            self.last_at = self.last_at.max(at);
            self.bytes += bytes.len();
            self.chunks.push_back(Chunk { at: self.last_at, bytes, read: 0 });
        }
    }

    /// Takes all of `out`, as a closed socket's buffer does.
    pub fn force(&mut self, out: &mut Transmit) {
        let last_at = self.last_at;
        self.push(out.take_all(), last_at);
    }

    /// Whether what is written now is lost, and the writer may know it.
    pub fn is_ended(&self, now: Mono) -> bool {
        self.end_at.is_some_and(|at| at <= now)
    }

    pub fn has_room(&self, weather: &Weather) -> bool {
        self.bytes < weather.capacity
    }

    /// Up to `limit` of the bytes that have arrived, one chunk at most.
    pub fn read(&mut self, now: Mono, limit: usize) -> Option<Vec<u8>> {
        let stalled = now < self.stalled_until;
        let front = self.chunks.front_mut().filter(|chunk| chunk.at <= now && !stalled && limit > 0)?;
        let end = front.bytes.len().min(front.read.saturating_add(limit));
        let bytes = front.bytes[front.read..end].to_vec();
        front.read = end;
        if front.read == front.bytes.len() {
            self.chunks.pop_front();
        }
        self.bytes -= bytes.len();
        Some(bytes)
    }

    /// Whether all that comes has been read, and the reader may know it.
    pub fn is_over(&self, now: Mono) -> bool {
        self.chunks.is_empty() && self.end_at.is_some_and(|at| at <= now)
    }

    /// When the reader has something new to look at.
    pub fn next_at(&self) -> Option<Mono> {
        match self.chunks.front() {
            Some(chunk) => Some(chunk.at.max(self.stalled_until)),
            None => self.end_at,
        }
    }

    /// Nothing arrives until then.
    pub fn stall(&mut self, until: Mono) {
        self.stalled_until = until;
    }

    /// After `bytes` more nothing is let through any more.
    pub fn cut_after(&mut self, bytes: usize) {
        self.cut_after = Some(bytes);
    }

    /// Whether the place of the cut is reached.
    pub fn is_cut(&self) -> bool {
        self.cut_after == Some(0)
    }

    /// No more is written; the reader learns it so much later, behind what is on its way. An end
    /// that was set before stays, unless this one is earlier.
    pub fn end(&mut self, now: Mono, after: Duration) {
        let at = now + after;
        self.end_at = Some(self.end_at.map_or(at, |earlier| earlier.min(at)));
    }

    /// Forgets what is on its way.
    pub fn lose_all(&mut self) {
        self.chunks.clear();
        self.bytes = 0;
    }

    /// Changes bytes on their way, which a network must not; false if there are none.
    pub fn damage(&mut self, how: impl FnOnce(&mut Vec<u8>)) -> bool {
        let Some(chunk) = self.chunks.iter_mut().find(|chunk| chunk.read == 0 && chunk.bytes.len() > 1)
        else {
            return false;
        };
        let before = chunk.bytes.len();
        how(&mut chunk.bytes);
        self.bytes = self.bytes + chunk.bytes.len() - before;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(bytes: &[u8]) -> Transmit {
        let mut out = Transmit::new();
        out.push(bytes);
        out
    }

    /// All that arrives until it is over, as a reader would take it.
    fn drain(pipe: &mut Pipe) -> Vec<u8> {
        let mut got = Vec::new();
        while let Some(at) = pipe.next_at() {
            while let Some(bytes) = pipe.read(at, 3) {
                got.extend(bytes);
            }
            if pipe.is_over(at) {
                break;
            }
        }
        got
    }

    #[test]
    fn bytes_arrive_in_order_whatever_the_weather() {
        for seed in 0..50 {
            let mut dice = Dice::new(seed, 0);
            let weather = Weather { delay_ms: seed % 7, capacity: 40, chunk: 1 + seed as usize % 9 };
            let (mut pipe, bytes) = (Pipe::new(), (0..200).collect::<Vec<u8>>());
            let (mut out, mut got) = (sent(&bytes), Vec::new());
            while !out.is_empty() || pipe.next_at().is_some() {
                pipe.write(&mut out, Mono(0), &weather, &mut dice);
                assert!(pipe.bytes <= weather.capacity);
                got.extend(drain(&mut pipe));
            }
            assert_eq!(got, bytes, "seed {seed}");
        }
    }

    #[test]
    fn a_cut_lets_exactly_so_many_bytes_through() {
        for cut in 0..=30 {
            let weather = Weather { delay_ms: 2, capacity: 1000, chunk: 4 };
            let mut pipe = Pipe::new();
            pipe.cut_after(cut);
            pipe.write(&mut sent(&[7; 30]), Mono(0), &weather, &mut Dice::new(3, 0));
            assert!(pipe.is_cut());
            pipe.end(Mono(0), Duration::from_millis(1));
            assert_eq!(drain(&mut pipe).len(), cut);
            assert!(pipe.is_over(Mono(u64::MAX)));
        }
    }

    #[test]
    fn a_stall_holds_everything_back() {
        let weather = Weather { delay_ms: 0, capacity: 1000, chunk: 1000 };
        let mut pipe = Pipe::new();
        pipe.stall(Mono(500));
        pipe.write(&mut sent(b"late"), Mono(0), &weather, &mut Dice::new(1, 0));
        assert_eq!(pipe.read(Mono(499), 10), None);
        assert_eq!(pipe.next_at(), Some(Mono(500)));
        assert_eq!(pipe.read(Mono(500), 10), Some(b"late".to_vec()));
    }
}
