//! Members of a topic.

use std::collections::BTreeMap;

use crate::base::ids::Fingerprint;
use crate::base::names::Name;
pub use crate::wire::policy::{History, JoinPolicy, Role};

/// A member, beside its fingerprint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// The name in its certificate when it was added.
    pub name: Name,
    pub role: Role,
}

/// By fingerprint, in whose order the list is hashed and wraps stand.
pub(super) type Members = BTreeMap<Fingerprint, Member>;
