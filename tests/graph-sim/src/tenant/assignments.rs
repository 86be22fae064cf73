//! Enterprise applications and their assignments.

use std::collections::BTreeMap;
use std::ops::Bound;

use jiff::Timestamp;

use super::{MemberKind, Tenant};
use crate::encoding::base64url;

/// The role of an assignment that names no role.
pub const DEFAULT_ACCESS: &str = "00000000-0000-0000-0000-000000000000";

/// The principal and the role: a principal has one row for each role.
pub(crate) type AssignmentKey = (String, String);

/// An application: its registration and its service principal, which is the enterprise application.
#[derive(Debug, Clone, Default)]
pub struct Application {
    /// The object id of the service principal.
    pub object_id: String,
    /// The application (client) id.
    pub app_id: String,
    /// The object id of the registration; no service principal has it.
    pub registration_id: String,
    /// The name of both.
    pub display_name: String,
    /// The roles that can be assigned.
    pub roles: Vec<AppRole>,
    /// Makes the service principal answer 404, as after its deletion.
    pub deleted: bool,
    pub(crate) assignments: BTreeMap<AssignmentKey, Assignment>,
}

/// A role of an application.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppRole {
    /// The id that assignments name.
    pub id: String,
    /// The name administrators see.
    pub display_name: String,
    /// The value that tokens carry.
    pub value: String,
}

/// One row of `appRoleAssignedTo`, without its key.
#[derive(Debug, Clone)]
pub(crate) struct Assignment {
    pub(crate) id: String,
    pub(crate) created: Timestamp,
    pub(crate) kind: MemberKind,
    /// The name at the time of the assignment, shown after the principal is deleted.
    pub(crate) display_name: String,
}

impl Application {
    /// The assignments as (principal id, role id).
    pub fn assignments(&self) -> impl Iterator<Item = (&str, &str)> {
        self.assignments.keys().map(|(principal, role)| (principal.as_str(), role.as_str()))
    }

    pub(crate) fn after(&self, key: Option<&AssignmentKey>) -> impl Iterator<Item = (&AssignmentKey, &Assignment)> {
        let start = key.map_or(Bound::Unbounded, Bound::Excluded);
        self.assignments.range((start, Bound::Unbounded))
    }

    fn unassign(&mut self, principal: &str) {
        let first = (principal.to_owned(), String::new());
        let rows = self.assignments.range(first..).take_while(|((id, _), _)| id == principal);
        for key in rows.map(|(key, _)| key.clone()).collect::<Vec<_>>() {
            self.assignments.remove(&key);
        }
    }
}

impl Tenant {
    /// Adds another enterprise application and returns its object id.
    pub fn add_application(&mut self, display_name: &str) -> String {
        let object_id = self.ids.guid();
        self.other_applications.push(Application {
            object_id: object_id.clone(),
            app_id: self.ids.guid(),
            registration_id: self.ids.guid(),
            display_name: display_name.to_owned(),
            ..Application::default()
        });
        object_id
    }

    /// All enterprise applications.
    pub fn applications(&self) -> impl Iterator<Item = &Application> {
        std::iter::once(&self.application).chain(&self.other_applications)
    }

    /// Assigns a user to the application, without a role.
    ///
    /// # Panics
    ///
    /// When the user does not exist. The other `assign_` methods panic likewise.
    pub fn assign_user(&mut self, user: &str) {
        self.assign_user_with_role(user, DEFAULT_ACCESS);
    }

    /// Assigns a user to the application with a role.
    pub fn assign_user_with_role(&mut self, user: &str, role: &str) {
        let application = self.application.object_id.clone();
        self.assign(&application, user, role);
    }

    /// Assigns a group to the application: its direct members are assigned through it.
    pub fn assign_group(&mut self, group: &str) {
        self.assign_user_with_role(group, DEFAULT_ACCESS);
    }

    /// Assigns a user to another application.
    pub fn assign_user_to(&mut self, application: &str, user: &str) {
        self.assign(application, user, DEFAULT_ACCESS);
    }

    /// Adds a service principal, assigns it to the application and returns its id.
    pub fn assign_service_principal(&mut self, display_name: &str) -> String {
        let id = self.add_service_principal(display_name);
        self.assign_user_with_role(&id, DEFAULT_ACCESS);
        id
    }

    /// Assigns any principal to any application with a role.
    pub fn assign(&mut self, application: &str, principal: &str, role: &str) {
        let kind =
            self.kind_of(principal).unwrap_or_else(|| panic!("no principal {principal} in the simulated tenant"));
        let assignment = Assignment {
            id: base64url(&self.ids.bytes::<32>()),
            created: self.tick(),
            kind,
            display_name: self.display_name_of(principal).unwrap_or_default().to_owned(),
        };
        let mut all = std::iter::once(&mut self.application).chain(&mut self.other_applications);
        let application = all.find(|known| known.object_id == application);
        let application = application.unwrap_or_else(|| panic!("no such application in the simulated tenant"));
        application.assignments.entry((principal.to_owned(), role.to_owned())).or_insert(assignment);
    }

    /// Removes all assignments of a principal, in every role and from every application.
    pub fn unassign(&mut self, principal: &str) {
        self.application.unassign(principal);
        for application in &mut self.other_applications {
            application.unassign(principal);
        }
    }

    /// The current name of a principal.
    pub(crate) fn display_name_of(&self, id: &str) -> Option<&str> {
        if let Some(user) = self.user(id) {
            return user.display_name.as_deref();
        }
        let group = self.groups.get(id).map(|group| group.display_name.as_str());
        group.or_else(|| self.objects.get(id).map(|object| object.display_name.as_str()))
    }
}
