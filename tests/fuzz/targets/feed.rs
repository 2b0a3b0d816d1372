//! Bytes as a row of choices. What is missing at the end counts as zero.

pub struct Feed<'a>(&'a [u8]);

impl<'a> Feed<'a> {
    pub fn new(data: &'a [u8]) -> Feed<'a> {
        Feed(data)
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn byte(&mut self) -> u8 {
        let (first, rest) = self.0.split_first().unwrap_or((&0, &[]));
        self.0 = rest;
        *first
    }

    /// Below `n`.
    pub fn below(&mut self, n: usize) -> usize {
        usize::from(self.byte()) % n
    }

    pub fn one_of<T: Copy>(&mut self, items: &[T]) -> T {
        items[self.below(items.len())]
    }

    /// Mostly small, sometimes at the end of the range.
    pub fn number(&mut self) -> u64 {
        match self.byte() {
            255 => u64::MAX,
            254 => 1 << 32,
            253 => u64::from(self.byte()) << 16 | u64::from(self.byte()),
            n => u64::from(n % 16),
        }
    }

    /// As many bytes as the next one says, four for each.
    pub fn bytes(&mut self) -> &'a [u8] {
        let n = usize::from(self.byte()) * 4;
        let (taken, rest) = self.0.split_at(n.min(self.0.len()));
        self.0 = rest;
        taken
    }

    pub fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.0)
    }
}
