//! What members may do, who may join, and what those who join may read.

use std::collections::BTreeMap;
use std::fmt;

use crate::base::ids::Fingerprint;
use crate::base::names::Name;
use crate::wire::field::Field;
use crate::wire::{Reader, WireError, Writer};

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

/// A member, beside its fingerprint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// The name in its certificate when it was added.
    pub name: Name,
    pub role: Role,
}

/// By fingerprint, in whose order the list is hashed and wraps stand.
pub(super) type Members = BTreeMap<Fingerprint, Member>;

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
