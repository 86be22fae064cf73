//! Who is left exactly as they are: everybody outside `scope.only`, and whoever is in `scope.ignore`.
//!
//! Somebody is named by object id, by a group or by user name. For those of whom Entra tells nothing any more, the
//! assigned groups that they were last seen in count, and the name that the learner has.

use super::holds::GUARDED_GROUP;
use super::joiners::text;
use super::{Desired, LearnerRow, MemberCounts, PlanInput};
use crate::model::{Attribute, EntraId, LinkedLearner, LinkedLearners, Restrictions, Route, Routes, UserList};

/// The setting by which this user, whose learner is `row`, is left alone, if one does.
pub(super) fn left_alone(input: PlanInput<'_>, user: EntraId, row: Option<&LearnerRow>) -> Option<&'static str> {
    let Restrictions { only, ignore } = &input.desired.restrictions;
    let routes = routes(input.desired, user, input.known.get(&user));
    let named_by_row = |named: &UserList| {
        let user_name = row.and_then(|row| text(&row.values, Attribute::UserName));
        user_name.is_some_and(|user_name| named.has_user_name(&user_name))
    };
    let is_named = |named: &UserList| has(named, user, routes) || (!named.user_names.is_empty() && named_by_row(named));
    if !ignore.is_empty() && is_named(ignore) {
        Some("scope.ignore")
    } else if !only.is_empty() && !is_named(only) {
        Some("scope.only")
    } else {
        None
    }
}

/// Whether it is clear without the learner's row that this user is left alone: then a second look at the account
/// is for nothing.
pub(super) fn surely_left_alone(desired: &Desired, user: EntraId, known: &LinkedLearner) -> bool {
    let Restrictions { only, ignore } = &desired.restrictions;
    let routes = routes(desired, user, Some(known));
    has(ignore, user, routes) || (!only.is_empty() && only.user_names.is_empty() && !has(only, user, routes))
}

/// A group in `scope.only` or `scope.ignore` that has vanished, or lost all its members: who was in it cannot be told
/// any more, except where they were last seen through it.
pub fn lost_group(
    restrictions: &Restrictions,
    named: &MemberCounts,
    last_members: &MemberCounts,
    known: &LinkedLearners,
) -> Option<EntraId> {
    let lost = |group: &EntraId| match (last_members.get(group).copied().unwrap_or_default(), named.get(group)) {
        (0, _) => false,
        (_, None) => true,
        (last, Some(now)) => last >= GUARDED_GROUP && *now == 0,
    };
    let route = |group| Route::Group(group);
    restrictions
        .ids()
        .filter(lost)
        .find(|group| known.values().all(|known| !known.routes.as_slice().contains(&route(*group))))
}

/// The ways of this read, else those of the last sight.
fn routes<'a>(desired: &'a Desired, user: EntraId, known: Option<&'a LinkedLearner>) -> Option<&'a Routes> {
    let assigned = desired.users.get(&user).map(|user| &user.routes);
    assigned.or_else(|| known.map(|known| &known.routes))
}

fn has(named: &UserList, user: EntraId, routes: Option<&Routes>) -> bool {
    let routes = routes.map(Routes::as_slice).unwrap_or_default();
    named.ids.contains(&user)
        || routes.iter().any(|route| matches!(route, Route::Group(group) if named.ids.contains(group)))
}
