//! By which routes the users are assigned.

use std::collections::BTreeMap;

use crate::model::{ByUser, EntraId, Route, Routes};

/// The users of each route. Users share the few combinations of routes that occur.
#[derive(Default)]
pub(super) struct Assigned {
    routes: Vec<Route>,
    /// Each user once for each route, by its index.
    users: Vec<(EntraId, u32)>,
}

impl Assigned {
    pub(super) fn add<'u>(&mut self, route: Route, users: impl IntoIterator<Item = &'u EntraId>) {
        // There are fewer routes than users, whose number fits into a u32.
        let index = u32::try_from(self.routes.len()).unwrap_or(u32::MAX);
        self.routes.push(route);
        self.users.extend(users.into_iter().map(|user| (*user, index)));
    }

    /// Each user with the index of its combination, and all combinations.
    pub(super) fn into_parts(self) -> (ByUser<u32>, Vec<Routes>) {
        let Self { routes, users: mut assigned } = self;
        assigned.sort_unstable();
        assigned.dedup();
        let mut combinations = Vec::new();
        let mut known: BTreeMap<Vec<u32>, u32> = BTreeMap::new();
        // In place: first the routes of each user, then its combination.
        let (mut next, mut users) = (0, 0);
        while let Some((user, _)) = assigned.get(next).copied() {
            let of_user = assigned[next..].iter().take_while(|(other, _)| *other == user).map(|(_, index)| *index);
            let indexes: Vec<u32> = of_user.collect();
            next += indexes.len();
            let combination = known.get(&indexes).copied().unwrap_or_else(|| {
                combinations.push(indexes.iter().filter_map(|index| routes.get(*index as usize)).copied().collect());
                let combination = u32::try_from(combinations.len() - 1).unwrap_or(u32::MAX);
                known.insert(indexes, combination);
                combination
            });
            assigned[users] = (user, combination);
            users += 1;
        }
        assigned.truncate(users);
        (assigned.into(), combinations)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_with_the_same_routes_share_them() {
        let user = |number| EntraId::from_bytes([number; 16]);
        let group = |number| Route::Group(EntraId::from_bytes([number; 16]));
        let mut assigned = Assigned::default();
        assigned.add(group(9), &[user(3), user(1), user(1)]);
        assigned.add(group(8), &[user(1), user(3), user(2)]);
        assigned.add(Route::Direct, &[user(2), user(4)]);
        let (users, routes) = assigned.into_parts();
        let of = |number| routes[users.get(&user(number)).copied().unwrap() as usize].as_slice().to_vec();
        assert_eq!((users.len(), routes.len()), (4, 3));
        assert_eq!(of(1), [group(8), group(9)]);
        assert_eq!(of(3), [group(8), group(9)]);
        assert_eq!(of(2), [Route::Direct, group(8)]);
        assert_eq!(of(4), [Route::Direct]);
    }
}
