//! Mutations of inputs, the same in every run: each is named by its seed.

/// SplitMix64: small, and good enough to choose where to break something.
pub struct Dice(u64);

/// Integers at which lengths, counts and signs change their meaning.
const INTERESTING: [u32; 10] = [0, 1, 0x7f, 0x80, 0xff, 0x7fff, 0x8000, 0xffff, 0x7fff_ffff, 0xffff_ffff];
/// No mutation makes an input longer than this.
const BYTES_MAX: usize = 16 * 1024;

impl Dice {
    pub fn new(seed: u64) -> Dice {
        Dice(seed)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Below `n`; 0 if `n` is 0.
    pub fn below(&mut self, n: usize) -> usize {
        (self.next() % (n.max(1) as u64)) as usize
    }
}

/// One of `corpus`, broken in one to four places.
pub fn mutant(corpus: &[Vec<u8>], dice: &mut Dice) -> Vec<u8> {
    let mut data = corpus[dice.below(corpus.len())].clone();
    for _ in 0..=dice.below(4) {
        mutate(&mut data, corpus, dice);
    }
    data.truncate(BYTES_MAX);
    data
}

fn mutate(data: &mut Vec<u8>, corpus: &[Vec<u8>], dice: &mut Dice) {
    let at = dice.below(data.len());
    match dice.below(9) {
        0 if !data.is_empty() => data[at] ^= 1 << dice.below(8),
        1 if !data.is_empty() => data[at] = dice.next() as u8,
        2 => data.truncate(at),
        3 => {
            let n = 1 + dice.below(8);
            let bytes: Vec<u8> = (0..n).map(|_| dice.next() as u8).collect();
            data.splice(at..at, bytes);
        }
        4 => {
            let end = at + dice.below(data.len() - at);
            data.drain(at..end);
        }
        // A part twice.
        5 => {
            let end = at + dice.below((data.len() - at).min(512));
            let part = data[at..end].to_vec();
            data.splice(at..at, part);
        }
        // The front of this, the back of another.
        6 => {
            let other = &corpus[dice.below(corpus.len())];
            data.truncate(at);
            data.extend_from_slice(&other[dice.below(other.len())..]);
        }
        7 => overwrite(data, at, &INTERESTING[dice.below(INTERESTING.len())].to_be_bytes()[2..]),
        _ => overwrite(data, at, &INTERESTING[dice.below(INTERESTING.len())].to_be_bytes()),
    }
}

fn overwrite(data: &mut [u8], at: usize, bytes: &[u8]) {
    data[at..].iter_mut().zip(bytes).for_each(|(old, new)| *old = *new);
}
