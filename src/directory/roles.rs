//! The app roles of a user, which no property of the account tells: they come of the assignments.

use std::collections::{BTreeMap, BTreeSet};

use super::wire::Row;
use super::{Application, DEFAULT_ACCESS};
use crate::model::{APP_ROLE_ASSIGNMENTS, EntraId, Route, Routes, Selection, Value};

/// What the portal calls the role of those who are assigned without one.
const DEFAULT_NAME: &str = "Default Assignment";

/// Gives rows the names of the roles that their users are assigned in, directly or by a group.
pub(super) struct Roles<'a> {
    /// Where they go, when the selection wants them.
    pub(super) slot: Option<usize>,
    pub(super) application: &'a Application,
    /// By user or group.
    pub(super) assigned: &'a BTreeMap<EntraId, BTreeSet<EntraId>>,
    pub(super) users: &'a BTreeMap<EntraId, u32>,
    pub(super) routes: &'a [Routes],
}

/// Where a selection has the roles, when it wants them.
pub(super) fn slot(selection: &Selection) -> Option<usize> {
    selection.position(APP_ROLE_ASSIGNMENTS)
}

impl Roles<'_> {
    pub(super) fn fill(&self, row: &mut Row) {
        let Some(value) = self.slot.and_then(|slot| row.values.get_mut(slot)) else { return };
        let routes = self.users.get(&row.id).and_then(|index| self.routes.get(*index as usize));
        let principals = routes.map(Routes::as_slice).unwrap_or_default().iter().map(|route| match route {
            Route::Direct => row.id,
            Route::Group(group) => *group,
        });
        let roles = principals.filter_map(|principal| self.assigned.get(&principal)).flatten();
        let names: BTreeSet<String> = roles.map(|role| self.name(*role)).collect();
        *value = Some(Value::List(names.into_iter().map(Value::Text).collect()));
    }

    fn name(&self, role: EntraId) -> String {
        match self.application.roles.get(&role) {
            Some(known) if !known.name.is_empty() => known.name.clone(),
            None if role == DEFAULT_ACCESS => DEFAULT_NAME.to_owned(),
            _ => role.to_string(),
        }
    }
}
