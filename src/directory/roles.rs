//! The app roles of a user, which come from the assignments and not from the account.

use std::collections::{BTreeMap, BTreeSet};

use super::wire::{RowProblem, UserRow};
use super::{Application, DEFAULT_ACCESS};
use crate::model::{EntraId, Route, Routes, Value};

/// The portal's name for an assignment without a role.
const DEFAULT_NAME: &str = "Default Assignment";

/// Adds the names of a user's roles, direct or by group, to the row.
pub(super) struct RoleNames<'a> {
    /// The slot for the roles, if they are selected.
    pub(super) slot: Option<usize>,
    pub(super) application: &'a Application,
    /// Roles by user or group.
    pub(super) assigned: &'a BTreeMap<EntraId, BTreeSet<EntraId>>,
    /// Users and groups with a role that could not be read.
    pub(super) unknown: &'a BTreeSet<EntraId>,
    pub(super) users: &'a BTreeMap<EntraId, u32>,
    pub(super) routes: &'a [Routes],
}

impl RoleNames<'_> {
    pub(super) fn add_to(&self, row: &mut UserRow) {
        let Some(value) = self.slot.and_then(|slot| row.values.get_mut(slot)) else { return };
        let routes = self.users.get(&row.id).and_then(|index| self.routes.get(*index as usize));
        let principals = routes.map(Routes::as_slice).unwrap_or_default().iter().map(|route| match route {
            Route::Direct => row.id,
            Route::Group(group) => *group,
        });
        if principals.clone().any(|principal| self.unknown.contains(&principal)) {
            let detail = "the app role of an assignment is missing or invalid".to_owned();
            row.problem = Some(RowProblem { detail, is_oversized: false });
            return;
        }
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
