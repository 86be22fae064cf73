//! Held, failing and skipped users as rows of a table.

use super::status::routes_in_words;
use super::words::{action_in_words, local_time, shown};
use crate::model::{Action, Reason, Status};
use crate::store::{FailingUser, HeldUser};

/// The columns of held users.
pub(crate) const HELD_HEADERS: [&str; 7] =
    ["action", "reason", "user", "learner", "since", "approved", "last assigned"];
/// The columns of failing and skipped users.
pub(crate) const FAILING_HEADERS: [&str; 6] = ["reason", "user", "since", "last tried", "attempts", "detail"];

/// The row of a held user.
pub(crate) fn held_cells(user: &HeldUser) -> [String; 7] {
    let HeldUser { entra_id, action, reason, change_reason, since, approved, learner, user_name, routes } = user;
    let user = user_name.as_deref().map_or_else(|| entra_id.to_string(), shown);
    let learner = learner.as_ref().map(|learner| shown(&learner.to_string())).unwrap_or_default();
    let approved =
        approved.as_ref().map(|(at, by)| format!("{} by {}", local_time(*at), shown(by))).unwrap_or_default();
    let lost = routes.as_ref().filter(|_| *action == Action::Deactivate).map(routes_in_words).unwrap_or_default();
    let action = action_in_words(*action, Status::Held, None);
    let action = change_reason.map_or_else(|| action.clone(), |change| format!("{action} ({change})"));
    [action, reason.to_string(), user, learner, local_time(*since), approved, lost]
}

/// The row of a failing or skipped user.
pub(crate) fn failing_cells(user: &FailingUser) -> [String; 6] {
    let FailingUser { entra_id, reason, detail, first_at, last_at, attempts, user_name, routes } = user;
    let user = user_name.as_deref().map_or_else(|| entra_id.to_string(), shown);
    let mut detail = detail.as_deref().map(shown).unwrap_or_default();
    if let Some(routes) = routes.as_ref().filter(|_| *reason == Reason::Waiting) {
        detail.push_str(&format!("; last assigned {}", routes_in_words(routes)));
    }
    [reason.to_string(), user, local_time(*first_at), local_time(*last_at), attempts.to_string(), detail]
}
