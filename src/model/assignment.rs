//! Assignment routes, and linked learners.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use super::{ByUser, EntraId, Fingerprint, InvalidEntraId, LearnerId, RowHash};

/// Which members of an assigned group count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GroupMembers {
    /// Direct members, as Entra's own provisioning counts them.
    Direct,
    /// Members of nested groups as well.
    Transitive,
    /// No members: only directly assigned users count.
    None,
}

/// One way in which a user is assigned to the application.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Route {
    /// A direct assignment.
    Direct,
    /// Membership in this assigned group.
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

/// All routes of a user, as in `sync_links.via`: sorted, without duplicates. Clones are cheap, because thousands of users
/// share a few combinations. Behind one thin pointer: there is one for each user, several times.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Routes(Arc<Vec<Route>>);

impl Routes {
    /// The routes, `direct` first, then groups by id.
    pub fn as_slice(&self) -> &[Route] {
        &self.0
    }
}

impl FromIterator<Route> for Routes {
    fn from_iter<I: IntoIterator<Item = Route>>(routes: I) -> Self {
        Self(Arc::new(routes.into_iter().collect::<BTreeSet<_>>().into_iter().collect()))
    }
}

/// Rows of a complete read that name no user clearly. Each may hide users who are assigned.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UnclearRows {
    /// Rows of assignments and members without an id.
    pub unnamed: u64,
    /// Principals of assignments without a known type.
    pub principals: BTreeMap<EntraId, UnclearPrincipal>,
    /// Principals listed as service principals. One through which a user was assigned is a group with a wrong type.
    pub service_principals: BTreeSet<EntraId>,
}

/// Why a principal is unclear.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UnclearPrincipal {
    /// Graph knows no user, group or service principal with this id.
    NotFound,
    /// Graph's answers do not say what it is; says why.
    Unreadable(String),
}

impl UnclearRows {
    /// The rows of two reads of the same lists. A principal must be missing in both to be so.
    pub fn merged(&self, later: &Self) -> Self {
        let mut principals = later.principals.clone();
        for (id, why) in &self.principals {
            let merged = principals.entry(*id).or_insert_with(|| why.clone());
            if *merged == UnclearPrincipal::NotFound {
                *merged = why.clone();
            }
        }
        let service_principals = &self.service_principals | &later.service_principals;
        Self { unnamed: self.unnamed.max(later.unnamed), principals, service_principals }
    }
}

/// A learner linked to a user of this source, without personal data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkedLearner {
    /// The key of the learner row.
    pub learner: LearnerId,
    /// Whether the learner is active. One outside the limits is not.
    pub active: bool,
    /// Whether the row lacks a limiting constant of `[learners.constants]`.
    pub outside: bool,
    /// The fingerprint of the learner's values.
    pub fingerprint: Fingerprint,
    /// The row of the user in a list of members, if it was seen: a row with this hash is mapped to values with this
    /// fingerprint.
    pub row: Option<RowHash>,
    /// The user's routes in the last cycle.
    pub routes: Routes,
}

/// All learners linked by this source, by user.
pub type LinkedLearners = ByUser<LinkedLearner>;
