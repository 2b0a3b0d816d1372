//! What members may do, who may join, and what those who join may read: single bytes in
//! membership records and listings.

use std::fmt;

use super::codec::{Reader, WireError, Writer};
use super::field::Field;

/// What a member may do: `u8`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// Reads and publishes.
    Member = 0,
    /// Also adds and removes plain members, denies, and starts epochs.
    Admin = 1,
    /// Holds a key and never connects.
    Recovery = 2,
    /// Everything. There is one, from the genesis on and for good.
    Owner = 3,
}

/// What happens to somebody who asks to join: `u8`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum JoinPolicy {
    /// Owner and admins are asked.
    Ask = 0,
    /// Owner's and admins' clients grant by themselves.
    Open = 1,
    Closed = 2,
}

/// What somebody who joins may read: `u8`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum History {
    All = 0,
    SinceJoin = 1,
}

/// How a missing value of these stands: what it was before, or none.
pub const NONE: u8 = 255;

macro_rules! byte {
    ($name:ident, $what:literal, $($variant:ident),*) => {
        impl Field for $name {
            fn put(&self, w: &mut Writer<'_>) {
                w.u8(*self as u8);
            }

            fn take(r: &mut Reader<'_>) -> Result<Self, WireError> {
                match r.u8()? {
                    $(byte if byte == $name::$variant as u8 => Ok($name::$variant),)*
                    _ => Err(WireError::BadValue($what)),
                }
            }
        }
    };
}

byte!(Role, "role", Member, Admin, Recovery, Owner);
byte!(JoinPolicy, "join policy", Ask, Open, Closed);
byte!(History, "history policy", All, SinceJoin);

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Role::Member => "member",
            Role::Admin => "admin",
            Role::Recovery => "recovery",
            Role::Owner => "owner",
        })
    }
}

impl fmt::Display for JoinPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            JoinPolicy::Ask => "ask",
            JoinPolicy::Open => "open",
            JoinPolicy::Closed => "closed",
        })
    }
}

impl fmt::Display for History {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            History::All => "all",
            History::SinceJoin => "since-join",
        })
    }
}

/// `u8`, 255 for none.
macro_rules! optional {
    ($($name:ident),*) => {$(
        impl Field for Option<$name> {
            fn put(&self, w: &mut Writer<'_>) {
                w.u8(self.map_or(NONE, |value| value as u8));
            }

            fn take(r: &mut Reader<'_>) -> Result<Self, WireError> {
                match r.clone().u8()? {
                    NONE => r.u8().map(|_| None),
                    _ => $name::take(r).map(Some),
                }
            }
        }
    )*};
}

optional!(Role, JoinPolicy);
