//! Who is left exactly as they are: everybody outside `scope.only`, and whoever is in `scope.ignore`.
//!
//! Somebody is named by object id, by a group or by user name. For those of whom Entra tells nothing any more, the
//! assigned groups that they were last seen in count, and the name that the learner has.

use super::arrivals::text;
use super::holds::GUARDED_GROUP;
use super::{Desired, Input, MemberCounts, Row};
use crate::model::{Attribute, Bounds, EntraId, Known, KnownLearners, Named, Route, Via};

/// The setting by which this person, whose learner is `row`, is left alone, if one does.
pub(super) fn left_alone(input: Input<'_>, person: EntraId, row: Option<&Row>) -> Option<&'static str> {
    let Bounds { only, ignore } = &input.desired.bounds;
    let via = via(input.desired, person, input.known.get(&person));
    let named_by_row = |named: &Named| {
        let user_name = row.and_then(|row| text(&row.values, Attribute::UserName));
        user_name.is_some_and(|user_name| named.has_user_name(&user_name))
    };
    let is_named = |named: &Named| has(named, person, via) || (!named.user_names.is_empty() && named_by_row(named));
    if !ignore.is_empty() && is_named(ignore) {
        Some("scope.ignore")
    } else if !only.is_empty() && !is_named(only) {
        Some("scope.only")
    } else {
        None
    }
}

/// Whether it is clear without the learner's row that this person is left alone: then a second look at the account
/// is for nothing.
pub(super) fn surely_left_alone(desired: &Desired, person: EntraId, known: &Known) -> bool {
    let Bounds { only, ignore } = &desired.bounds;
    let via = via(desired, person, Some(known));
    has(ignore, person, via) || (!only.is_empty() && only.user_names.is_empty() && !has(only, person, via))
}

/// A group in `scope.only` or `scope.ignore` that has vanished, or lost all its members: who was in it cannot be told
/// any more, except where they were last seen through it.
pub fn lost_group(
    bounds: &Bounds,
    named: &MemberCounts,
    last_members: &MemberCounts,
    known: &KnownLearners,
) -> Option<EntraId> {
    let lost = |group: &EntraId| match (last_members.get(group).copied().unwrap_or_default(), named.get(group)) {
        (0, _) => false,
        (_, None) => true,
        (last, Some(now)) => last >= GUARDED_GROUP && *now == 0,
    };
    let route = |group| Route::Group(group);
    bounds.ids().filter(lost).find(|group| known.values().all(|known| !known.via.routes().contains(&route(*group))))
}

/// The ways of this read, else those of the last sight.
fn via<'a>(desired: &'a Desired, person: EntraId, known: Option<&'a Known>) -> Option<&'a Via> {
    let assigned = desired.people.get(&person).map(|person| &person.via);
    assigned.or_else(|| known.map(|known| &known.via))
}

fn has(named: &Named, person: EntraId, via: Option<&Via>) -> bool {
    let routes = via.map(Via::routes).unwrap_or_default();
    named.ids.contains(&person)
        || routes.iter().any(|route| matches!(route, Route::Group(group) if named.ids.contains(group)))
}
