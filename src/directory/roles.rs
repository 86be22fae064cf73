//! The app roles of a user, which come from the assignments and not from the account.

use std::collections::BTreeSet;

use super::wire::{RowProblem, UserRow};
use super::{Application, DEFAULT_ACCESS};
use crate::model::{ByUser, EntraId, Route, Routes, Value};

/// The portal's name for an assignment without a role.
const DEFAULT_NAME: &str = "Default Assignment";

/// The roles of one user, if they are selected: their slot, and their names or why these are not known.
#[derive(Debug, Default)]
pub(super) struct RoleValue(Option<(usize, Result<Value, String>)>);

impl RoleValue {
    pub(super) fn add_to(self, row: &mut UserRow) {
        match self.0 {
            None => {}
            Some((slot, Ok(names))) => row.values[slot] = Some(names),
            Some((_, Err(detail))) => row.problem = Some(RowProblem { detail, is_oversized: false }),
        }
    }
}

/// The names of the roles, direct or by group.
pub(super) struct RoleNames<'a> {
    /// The slot for the roles, if they are selected.
    pub(super) slot: Option<usize>,
    pub(super) application: &'a Application,
    /// Each user or group with each of its roles.
    pub(super) assigned: &'a BTreeSet<(EntraId, EntraId)>,
    /// Users and groups with a role that could not be read.
    pub(super) unknown: &'a BTreeSet<EntraId>,
    pub(super) users: &'a ByUser<u32>,
    pub(super) routes: &'a [Routes],
}

impl RoleNames<'_> {
    pub(super) fn of(&self, user: EntraId) -> RoleValue {
        RoleValue(self.slot.map(|slot| (slot, self.names(user))))
    }

    fn names(&self, user: EntraId) -> Result<Value, String> {
        let routes = self.users.get(&user).and_then(|index| self.routes.get(*index as usize));
        let principals = routes.map(Routes::as_slice).unwrap_or_default().iter().map(|route| match route {
            Route::Direct => user,
            Route::Group(group) => *group,
        });
        if principals.clone().any(|principal| self.unknown.contains(&principal)) {
            return Err("the app role of an assignment is missing or invalid".to_owned());
        }
        let (first, last) = (EntraId::from_bytes([0; 16]), EntraId::from_bytes([0xff; 16]));
        let roles = principals.flat_map(|principal| self.assigned.range((principal, first)..=(principal, last)));
        let names: BTreeSet<String> = roles.map(|(_, role)| self.name(*role)).collect();
        Ok(Value::List(names.into_iter().map(Value::Text).collect()))
    }

    fn name(&self, role: EntraId) -> String {
        match self.application.roles.get(&role) {
            Some(known) if !known.name.is_empty() => known.name.clone(),
            None if role == DEFAULT_ACCESS => DEFAULT_NAME.to_owned(),
            _ => role.to_string(),
        }
    }
}
