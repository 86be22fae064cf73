//! How users are assigned, and what is known of those who have a learner.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use super::{EntraId, Fingerprint, InvalidEntraId, LearnerId};

/// Which members of an assigned group count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GroupMembers {
    /// Direct members, as Entra's own provisioning counts them.
    Direct,
    /// Members of nested groups as well.
    Transitive,
    /// None: only users that are assigned themselves.
    None,
}

/// One way a user is assigned to the application.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Route {
    /// The user itself is assigned.
    Direct,
    /// A member of this assigned group.
    Group(EntraId),
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Direct => f.write_str("direct"),
            Self::Group(id) => id.fmt(f),
        }
    }
}

impl FromStr for Route {
    type Err = InvalidEntraId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "direct" { Ok(Self::Direct) } else { text.parse().map(Self::Group) }
    }
}

/// All the ways a user is assigned: `sync_links.routes`. Sorted and without duplicates; cheap to clone, because
/// thousands of users share the same few.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Routes(Arc<[Route]>);

impl Routes {
    /// The routes, `direct` first, then groups by id.
    pub fn as_slice(&self) -> &[Route] {
        &self.0
    }
}

impl FromIterator<Route> for Routes {
    fn from_iter<I: IntoIterator<Item = Route>>(as_slice: I) -> Self {
        Self(as_slice.into_iter().collect::<BTreeSet<_>>().into_iter().collect())
    }
}

/// What is known of a linked learner without asking the database: the entry of the cache.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkedLearner {
    /// The learner row.
    pub learner: LearnerId,
    /// Whether it is switched on.
    pub active: bool,
    /// The fingerprint of the values it has.
    pub fingerprint: Fingerprint,
    /// The ways through which the user was last seen.
    pub routes: Routes,
}

/// Everybody linked by this source.
pub type LinkedLearners = BTreeMap<EntraId, LinkedLearner>;
