//! A bounds-checked cursor over received bytes, and its counterpart that writes.
//!
//! All integers are big-endian. `bytesN` is an N-bit length and so many bytes,
//! `strN` the same in UTF-8. Knows no message.

use std::fmt;

/// Why received bytes are not what they should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WireError {
    /// The bytes end inside a field.
    Truncated,
    /// Bytes are left over behind the last field.
    Trailing,
    /// A length exceeds what its field may have.
    TooLong,
    /// Text is not UTF-8.
    BadUtf8,
    /// A field has a value that it cannot have; names the field.
    BadValue(&'static str),
    /// No such message or frame type.
    UnknownType(u8),
}

/// Reads fields from the front of a slice.
#[derive(Clone)]
pub struct Reader<'a> {
    left: &'a [u8],
}

/// Appends fields to a vector.
pub struct Writer<'a> {
    out: &'a mut Vec<u8>,
}

impl<'a> Reader<'a> {
    pub fn new(bytes: &'a [u8]) -> Reader<'a> {
        Reader { left: bytes }
    }

    pub fn u8(&mut self) -> Result<u8, WireError> {
        self.array().map(u8::from_be_bytes)
    }

    pub fn u16(&mut self) -> Result<u16, WireError> {
        self.array().map(u16::from_be_bytes)
    }

    pub fn u32(&mut self) -> Result<u32, WireError> {
        self.array().map(u32::from_be_bytes)
    }

    pub fn u64(&mut self) -> Result<u64, WireError> {
        self.array().map(u64::from_be_bytes)
    }

    /// The next `N` bytes.
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], WireError> {
        let (head, tail) = self.left.split_first_chunk::<N>().ok_or(WireError::Truncated)?;
        self.left = tail;
        Ok(*head)
    }

    /// The next `n` bytes.
    pub fn take(&mut self, n: usize) -> Result<&'a [u8], WireError> {
        let (head, tail) = self.left.split_at_checked(n).ok_or(WireError::Truncated)?;
        self.left = tail;
        Ok(head)
    }

    pub fn bytes8(&mut self) -> Result<&'a [u8], WireError> {
        let n = self.u8()?;
        self.take(n.into())
    }

    pub fn bytes16(&mut self) -> Result<&'a [u8], WireError> {
        let n = self.u16()?;
        self.take(n.into())
    }

    pub fn str8(&mut self) -> Result<&'a str, WireError> {
        self.bytes8().and_then(utf8)
    }

    pub fn str16(&mut self) -> Result<&'a str, WireError> {
        self.bytes16().and_then(utf8)
    }

    /// All that is left; nothing is left then.
    pub fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.left)
    }

    /// How many bytes are left.
    pub fn remaining(&self) -> usize {
        self.left.len()
    }

    /// Refuses bytes behind the last field.
    pub fn finish(self) -> Result<(), WireError> {
        if self.left.is_empty() { Ok(()) } else { Err(WireError::Trailing) }
    }
}

impl<'a> Writer<'a> {
    /// Writes behind what `out` already holds.
    pub fn new(out: &'a mut Vec<u8>) -> Writer<'a> {
        Writer { out }
    }

    pub fn u8(&mut self, value: u8) -> &mut Self {
        self.bytes(&value.to_be_bytes())
    }

    pub fn u16(&mut self, value: u16) -> &mut Self {
        self.bytes(&value.to_be_bytes())
    }

    pub fn u32(&mut self, value: u32) -> &mut Self {
        self.bytes(&value.to_be_bytes())
    }

    pub fn u64(&mut self, value: u64) -> &mut Self {
        self.bytes(&value.to_be_bytes())
    }

    /// The bytes alone, without a length.
    pub fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        self.out.extend_from_slice(bytes);
        self
    }

    /// # Panics
    /// If `bytes` is longer than 255: callers write only what they have bounded.
    pub fn bytes8(&mut self, bytes: &[u8]) -> &mut Self {
        self.u8(bytes.len().try_into().expect("a bytes8 field is bounded before it is written"));
        self.bytes(bytes)
    }

    /// # Panics
    /// If `bytes` is longer than 65,535: callers write only what they have bounded.
    pub fn bytes16(&mut self, bytes: &[u8]) -> &mut Self {
        self.u16(bytes.len().try_into().expect("a bytes16 field is bounded before it is written"));
        self.bytes(bytes)
    }

    /// # Panics
    /// As [`Writer::bytes8`].
    pub fn str8(&mut self, text: &str) -> &mut Self {
        self.bytes8(text.as_bytes())
    }

    /// # Panics
    /// As [`Writer::bytes16`].
    pub fn str16(&mut self, text: &str) -> &mut Self {
        self.bytes16(text.as_bytes())
    }
}

fn utf8(bytes: &[u8]) -> Result<&str, WireError> {
    std::str::from_utf8(bytes).map_err(|_| WireError::BadUtf8)
}

impl fmt::Display for WireError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            WireError::Truncated => write!(f, "ends inside a field"),
            WireError::Trailing => write!(f, "has bytes behind the last field"),
            WireError::TooLong => write!(f, "has a field that is too long"),
            WireError::BadUtf8 => write!(f, "has text that is not UTF-8"),
            WireError::BadValue(field) => write!(f, "has an impossible value in {field}"),
            WireError::UnknownType(kind) => write!(f, "is of unknown type {kind}"),
        }
    }
}

impl std::error::Error for WireError {}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Vec<u8> {
        let mut out = vec![0xff];
        let mut w = Writer::new(&mut out);
        w.u8(1).u16(0x0203).u32(0x0405_0607).u64(0x08).bytes(&[9, 9]);
        w.bytes8(&[1]).bytes16(&[2, 3]).str8("ä").str16("").bytes(&[7; 3]);
        out
    }

    fn read(bytes: &[u8]) -> Result<usize, WireError> {
        let mut r = Reader::new(bytes);
        assert_eq!(r.u8()?, 0xff);
        assert_eq!(r.u8()?, 1);
        assert_eq!(r.u16()?, 0x0203);
        assert_eq!(r.u32()?, 0x0405_0607);
        assert_eq!(r.u64()?, 8);
        assert_eq!(r.array::<2>()?, [9, 9]);
        assert_eq!(r.bytes8()?, [1]);
        assert_eq!(r.bytes16()?, [2, 3]);
        assert_eq!(r.str8()?, "ä");
        assert_eq!(r.str16()?, "");
        assert_eq!(r.take(1)?, [7]);
        let left = r.remaining();
        assert_eq!(r.rest().len(), left);
        assert_eq!(r.remaining(), 0);
        r.finish()?;
        Ok(left)
    }

    #[test]
    fn what_is_written_is_read() {
        assert_eq!(read(&sample()), Ok(2));
    }

    #[test]
    fn every_cut_is_truncated() {
        let bytes = sample();
        for end in 0..bytes.len() - 2 {
            assert_eq!(read(&bytes[..end]), Err(WireError::Truncated), "{end} bytes");
        }
    }

    #[test]
    fn trailing_bytes_and_bad_text_are_refused() {
        let mut r = Reader::new(&[2, 0xc3, 0x28, 0]);
        assert_eq!(r.clone().str8(), Err(WireError::BadUtf8));
        assert_eq!(r.bytes8(), Ok([0xc3, 0x28].as_slice()));
        assert_eq!(r.finish(), Err(WireError::Trailing));
    }

    #[test]
    fn a_length_beyond_the_end_is_truncated() {
        assert_eq!(Reader::new(&[0xff, 0xff, 0]).bytes16(), Err(WireError::Truncated));
        assert_eq!(Reader::new(&[1, 2]).take(usize::MAX), Err(WireError::Truncated));
    }
}
