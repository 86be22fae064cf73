//! By which routes the users are assigned.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::{EntraId, Route, Routes};

/// The routes of all users. Users share the few combinations that occur.
#[derive(Default)]
pub(super) struct RouteMap {
    /// The index of each user's set.
    users: BTreeMap<EntraId, u32>,
    sets: Vec<BTreeSet<Route>>,
    /// The index of the set that results from adding a route to another set.
    extended: BTreeMap<(Option<u32>, Route), u32>,
}

impl RouteMap {
    pub(super) fn add<'u>(&mut self, route: Route, users: impl IntoIterator<Item = &'u EntraId>) {
        for user in users {
            let before = self.users.get(user).copied();
            let after = *self.extended.entry((before, route)).or_insert_with(|| {
                let mut set = before.and_then(|index| self.sets.get(index as usize)).cloned().unwrap_or_default();
                set.insert(route);
                self.sets.push(set);
                // There are fewer combinations than users, whose number fits into a u32.
                u32::try_from(self.sets.len() - 1).unwrap_or(u32::MAX)
            });
            self.users.insert(*user, after);
        }
    }

    pub(super) fn into_parts(self) -> (BTreeMap<EntraId, u32>, Vec<Routes>) {
        (self.users, self.sets.into_iter().map(|set| set.into_iter().collect()).collect())
    }
}
