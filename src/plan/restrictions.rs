//! Users excluded from provisioning: those outside `scope.only`, and those in `scope.ignore`.
//!
//! A list names users by object id, by group or by user name. For a user that Graph no longer returns, the groups it
//! was last seen in and the user name of its learner count.

use super::holds::GUARDED_GROUP;
use super::{Desired, LearnerRow, MemberCounts, PlanInput};
use crate::model::{Attribute, EntraId, LinkedLearner, LinkedLearners, Restrictions, Route, Routes, UserList};

/// The setting that excludes this user, whose learner is `row`.
pub(super) fn excluded_by(input: PlanInput<'_>, user: EntraId, row: Option<&LearnerRow>) -> Option<&'static str> {
    let Restrictions { only, ignore } = &input.desired.restrictions;
    if only.is_empty() && ignore.is_empty() {
        return None;
    }
    let routes = input.routes(user);
    let row_is_listed = |list: &UserList| {
        row.and_then(|row| row.value(Attribute::UserName)).is_some_and(|name| list.has_user_name(name))
    };
    let is_listed = |list: &UserList| lists(list, user, routes) || row_is_listed(list);
    if is_listed(ignore) {
        Some("scope.ignore")
    } else if !only.is_empty() && !is_listed(only) {
        Some("scope.only")
    } else {
        None
    }
}

/// Whether the user is excluded whatever its learner row says. Its account then needs no confirmation.
pub(super) fn excluded_without_row(desired: &Desired, user: EntraId, linked: &LinkedLearner) -> bool {
    let Restrictions { only, ignore } = &desired.restrictions;
    let routes = Some(desired.users.get(&user).map_or(&linked.routes, |user| &user.routes));
    lists(ignore, user, routes) || (!only.is_empty() && only.user_names.is_empty() && !lists(only, user, routes))
}

/// A group in `scope.only` or `scope.ignore` that disappeared or lost all members. Learners last seen through it are
/// known to be its members, but only until they are assigned without it; the other members are unknown.
pub fn lost_group(
    restrictions: &Restrictions,
    named: &MemberCounts,
    last_members: &MemberCounts,
    linked: &LinkedLearners,
    desired: &Desired,
) -> Option<EntraId> {
    let is_lost = |group: &EntraId| match (last_members.get(group).copied().unwrap_or_default(), named.get(group)) {
        (0, _) => false,
        (_, None) => true,
        (last, Some(now)) => last >= GUARDED_GROUP && *now == 0,
    };
    let is_unknown = |group: &EntraId| {
        let leads_through = |routes: &Routes| routes.as_slice().contains(&Route::Group(*group));
        let mut seen = linked.iter().filter(|(_, linked)| leads_through(&linked.routes)).peekable();
        seen.peek().is_none()
            || seen.any(|(user, _)| desired.users.get(user).is_some_and(|user| !leads_through(&user.routes)))
    };
    restrictions.ids().filter(is_lost).find(is_unknown)
}

fn lists(list: &UserList, user: EntraId, routes: Option<&Routes>) -> bool {
    let routes = routes.map(Routes::as_slice).unwrap_or_default();
    list.ids.contains(&user)
        || routes.iter().any(|route| matches!(route, Route::Group(group) if list.ids.contains(group)))
}
