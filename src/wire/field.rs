//! How each type of field stands in a frame.

use super::codec::{Reader, WireError, Writer};
use crate::base::ids::{
    Counter, Epoch, Fingerprint, Incarnation, Offset, PublisherId, RecordHash, RequestId, TopicHandle,
    TopicId,
};
use crate::base::names::{Name, TopicFilter, TopicName};
use crate::base::time::Wall;

/// A value that can stand in a frame.
pub trait Field: Sized {
    fn put(&self, w: &mut Writer<'_>);
    fn take(r: &mut Reader<'_>) -> Result<Self, WireError>;
}

macro_rules! integer {
    ($($int:ident),*) => {$(
        impl Field for $int {
            fn put(&self, w: &mut Writer<'_>) {
                w.$int(*self);
            }

            fn take(r: &mut Reader<'_>) -> Result<Self, WireError> {
                r.$int()
            }
        }
    )*};
}

macro_rules! newtype {
    ($($name:ident),*) => {$(
        impl Field for $name {
            fn put(&self, w: &mut Writer<'_>) {
                self.0.put(w);
            }

            fn take(r: &mut Reader<'_>) -> Result<Self, WireError> {
                Ok($name(Field::take(r)?))
            }
        }
    )*};
}

integer!(u8, u16, u32, u64);
newtype!(Counter, Epoch, Fingerprint, Incarnation, Offset, PublisherId, RecordHash, RequestId, TopicHandle);
newtype!(TopicId, Wall);

impl<const N: usize> Field for [u8; N] {
    fn put(&self, w: &mut Writer<'_>) {
        w.bytes(self);
    }

    fn take(r: &mut Reader<'_>) -> Result<Self, WireError> {
        r.array()
    }
}

impl Field for bool {
    fn put(&self, w: &mut Writer<'_>) {
        w.u8(u8::from(*self));
    }

    fn take(r: &mut Reader<'_>) -> Result<Self, WireError> {
        match r.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(WireError::BadValue("flag")),
        }
    }
}

/// `u16 length | bytes`.
impl Field for Vec<u8> {
    fn put(&self, w: &mut Writer<'_>) {
        w.bytes16(self);
    }

    fn take(r: &mut Reader<'_>) -> Result<Self, WireError> {
        Ok(r.bytes16()?.to_vec())
    }
}

/// `u16 length | UTF-8`.
impl Field for String {
    fn put(&self, w: &mut Writer<'_>) {
        w.str16(self);
    }

    fn take(r: &mut Reader<'_>) -> Result<Self, WireError> {
        Ok(r.str16()?.to_owned())
    }
}

/// `u8 length | text`.
impl Field for Name {
    fn put(&self, w: &mut Writer<'_>) {
        w.str8(self.as_str());
    }

    fn take(r: &mut Reader<'_>) -> Result<Self, WireError> {
        Name::parse(r.str8()?).map_err(|_| WireError::BadValue("client name"))
    }
}

/// `u16 length | UTF-8`.
impl Field for TopicName {
    fn put(&self, w: &mut Writer<'_>) {
        w.str16(self.as_str());
    }

    fn take(r: &mut Reader<'_>) -> Result<Self, WireError> {
        TopicName::parse(r.str16()?).map_err(|_| WireError::BadValue("topic name"))
    }
}

/// `u16 length | UTF-8`.
impl Field for TopicFilter {
    fn put(&self, w: &mut Writer<'_>) {
        w.str16(self.as_str());
    }

    fn take(r: &mut Reader<'_>) -> Result<Self, WireError> {
        TopicFilter::parse(r.str16()?).map_err(|_| WireError::BadValue("topic filter"))
    }
}

/// `u16 count | items`. A count never allocates ahead of the bytes that bear it out.
macro_rules! list {
    ($($item:ty),*) => {$(
        impl Field for Vec<$item> {
            fn put(&self, w: &mut Writer<'_>) {
                w.u16(u16::try_from(self.len()).expect("a list keeps to its frame's size"));
                self.iter().for_each(|item| item.put(w));
            }

            fn take(r: &mut Reader<'_>) -> Result<Self, WireError> {
                let count = r.u16()?;
                (0..count).map(|_| Field::take(r)).collect()
            }
        }
    )*};
}

list!(Vec<u8>, Name, Fingerprint, [u8; 32]);
list!(super::values::JoinEntry, super::values::ClientEntry, super::values::TopicEntry, super::values::Stat);
