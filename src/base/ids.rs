//! Identifiers, each a type of its own.

use std::fmt;

/// A connection: its slot in the slab, and which of the slot's owners it is.
///
/// A slot is used again, an id never (2^32 owners of one slot), so a stale event
/// cannot reach the slot's next owner.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnId {
    pub slot: u32,
    pub generation: u32,
}

impl fmt::Display for ConnId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "c{}.{}", self.slot, self.generation)
    }
}

impl fmt::Debug for ConnId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

macro_rules! hash_id {
    ($(#[$doc:meta])* $name:ident, $bytes:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub [u8; $bytes]);

        impl fmt::Display for $name {
            /// Lower-case hexadecimal, all of it.
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.iter().try_for_each(|b| write!(f, "{b:02x}"))
            }
        }

        impl fmt::Debug for $name {
            /// The first eight hexadecimal digits: enough to tell two apart in a log.
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.iter().take(4).try_for_each(|b| write!(f, "{b:02x}"))
            }
        }
    };
}

hash_id! {
    /// SHA-256 of a certificate's SubjectPublicKeyInfo in DER: who somebody is to the protocol.
    Fingerprint, 32
}
hash_id! {
    /// SHA-256 of a topic's first membership record: which topic it is, whatever its name.
    TopicId, 32
}
hash_id! {
    /// SHA-256 of a membership record.
    RecordHash, 32
}
hash_id! {
    /// A publisher's random id: its counters start at 0 and grow by 1 within each topic.
    PublisherId, 16
}

macro_rules! number {
    ($(#[$doc:meta])* $name:ident, $int:ty) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub $int);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }
    };
}

number! {
    /// An entry's place in a topic's log, from 0.
    Offset, u64
}
number! {
    /// A random number that tells a log from another of the same name.
    Incarnation, u64
}
number! {
    /// Which topic key is meant; grows by 1, from 0.
    Epoch, u32
}
number! {
    /// A publisher's count of its messages in one topic, from 0.
    Counter, u64
}
number! {
    /// The broker's short name for a topic within one connection.
    TopicHandle, u32
}
number! {
    /// The client's number for a request, echoed in the answer.
    RequestId, u32
}

impl Offset {
    /// The offset after this one.
    pub fn next(self) -> Offset {
        Offset(self.0.saturating_add(1))
    }
}

impl Counter {
    /// The counter after this one.
    pub fn next(self) -> Counter {
        Counter(self.0.saturating_add(1))
    }
}

impl Fingerprint {
    /// The first sixteen hexadecimal digits, for people.
    pub fn short(&self) -> String {
        self.0.iter().take(8).map(|b| format!("{b:02x}")).collect()
    }

    /// Reads 64 hexadecimal digits, in either case, colons allowed between bytes.
    pub fn parse_hex(text: &str) -> Option<Fingerprint> {
        let digits: Vec<u8> = text.bytes().filter(|b| *b != b':').collect();
        if digits.len() != 64 {
            return None;
        }
        let mut out = [0; 32];
        for (byte, pair) in out.iter_mut().zip(digits.chunks_exact(2)) {
            let high = (pair[0] as char).to_digit(16)?;
            let low = (pair[1] as char).to_digit(16)?;
            *byte = (high * 16 + low) as u8;
        }
        Some(Fingerprint(out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fingerprints_print_and_parse() {
        let f = Fingerprint(std::array::from_fn(|i| (i * 7) as u8));
        assert_eq!(Fingerprint::parse_hex(&f.to_string()), Some(f));
        assert_eq!(Fingerprint::parse_hex(&f.to_string().to_uppercase()), Some(f));
        assert_eq!(Fingerprint::parse_hex("00"), None);
        assert_eq!(Fingerprint::parse_hex(&"é".repeat(32)), None);
        assert_eq!(f.short(), f.to_string()[..16]);
    }
}
