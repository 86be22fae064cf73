//! A random tenant, the events in it, and the learners that are expected from it.

use std::collections::{BTreeMap, BTreeSet};

use graph_sim::{Tenant, User};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

/// The groups of [`ASSIGNED`] are assigned at first; the last of them has few members. [`NESTED`] is nested in the first.
pub(super) const GROUPS: usize = 4;
const ASSIGNED: [usize; 3] = [0, 1, 3];
const NESTED: usize = 2;

type Slot = fn(&mut User) -> &mut Option<String>;

/// The columns of the default mapping, and the fields of the simulator that they are mapped from.
pub(super) const COLUMNS: [(&str, Slot); 8] = [
    ("user_name", |user| &mut user.user_principal_name),
    ("email", |user| &mut user.mail),
    ("first_name", |user| &mut user.given_name),
    ("last_name", |user| &mut user.surname),
    ("title", |user| &mut user.job_title),
    ("country", |user| &mut user.country),
    ("employee_number", |user| &mut user.employee_id),
    ("department", |user| &mut user.department),
];
/// Index of the first column that may be null and is not unique.
const FREE: usize = 2;

/// One value for each of [`COLUMNS`].
pub(super) type ColumnValues = [Option<String>; COLUMNS.len()];

#[derive(Clone, Copy, Debug)]
pub(super) enum InitialAssignment {
    Nowhere,
    Directly,
    Group(usize),
    Twice(usize),
    Disabled(usize),
}

/// An event in the tenant. User numbers wrap around; an event that is impossible has no effect.
#[derive(Clone, Copy, Debug)]
pub(super) enum TenantEvent {
    Hire(InitialAssignment),
    Assign(usize),
    Unassign(usize),
    Join(usize, usize),
    Leave(usize, usize),
    /// Joins the group and leaves everything else.
    Move(usize, usize),
    Enable(usize, bool),
    Delete(usize),
    Restore(usize),
    /// Deletes the user permanently, with all assignments.
    Purge(usize),
    /// The user does not exist any more, but its assignments do.
    Vanish(usize),
    Rename(usize),
    Set(usize, usize, Option<u8>),
    Assigned(usize, bool),
    Emptied(usize),
    Deleted(usize),
    /// Deleted, or restored from the deleted items.
    SoftDeleted(usize, bool),
    /// The account becomes an agent's, or a person's again.
    Agent(usize, bool),
}

/// The ids of the users and groups of a random tenant.
#[derive(Debug)]
pub(super) struct TenantIds {
    pub(super) users: Vec<String>,
    pub(super) groups: Vec<String>,
    names: usize,
}

/// The expected state of one user.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct ExpectedUser {
    /// Assigned and enabled.
    pub(super) wanted: bool,
    pub(super) values: ColumnValues,
}

/// The expected state of every existing user, by id.
pub(super) type ExpectedUsers = BTreeMap<String, ExpectedUser>;

impl TenantIds {
    pub(super) fn populate(tenant: &mut Tenant, initial_assignments: &[InitialAssignment]) -> Self {
        let groups: Vec<String> = (0..GROUPS).map(|group| tenant.add_group(&format!("Group {group}"))).collect();
        ASSIGNED.iter().for_each(|group| tenant.assign_group(&groups[*group]));
        tenant.add_group_member(&groups[ASSIGNED[0]], &groups[NESTED]);
        let mut ids = Self { users: Vec::new(), groups, names: 0 };
        initial_assignments.iter().for_each(|assignment| ids.hire(tenant, *assignment));
        ids
    }

    pub(super) fn user(&self, number: usize) -> &str {
        &self.users[number % self.users.len()]
    }

    fn hire(&mut self, tenant: &mut Tenant, assignment: InitialAssignment) {
        self.names += 1;
        let user = User::named("Ada", &format!("Number{}", self.names)).department("Research").country("Utopia");
        let id = tenant.add_user(user);
        let joins = |tenant: &mut Tenant, group: usize| {
            if tenant.group(&self.groups[group]).is_some() {
                tenant.add_member(&self.groups[group], &id);
            }
        };
        match assignment {
            InitialAssignment::Nowhere => {}
            InitialAssignment::Directly => tenant.assign_user(&id),
            InitialAssignment::Group(group) => joins(tenant, group),
            InitialAssignment::Twice(group) => {
                tenant.assign_user(&id);
                joins(tenant, group);
            }
            InitialAssignment::Disabled(group) => {
                tenant.user_mut(&id).account_enabled = Some(false);
                joins(tenant, group);
            }
        }
        self.users.push(id);
    }

    pub(super) fn apply_event(&mut self, tenant: &mut Tenant, event: TenantEvent) {
        if let TenantEvent::Hire(assignment) = event {
            return self.hire(tenant, assignment);
        }
        let exists = |tenant: &Tenant, user: usize| tenant.find_user(self.user(user)).is_some();
        let leaves = |tenant: &mut Tenant, group: usize, user: usize| {
            if tenant.group(&self.groups[group]).is_some() {
                tenant.remove_member(&self.groups[group], self.user(user));
            }
        };
        match event {
            TenantEvent::Unassign(user) => tenant.unassign(self.user(user)),
            TenantEvent::Leave(user, group) => leaves(tenant, group, user),
            TenantEvent::Purge(user) => tenant.purge_user(self.user(user)),
            TenantEvent::Vanish(user) => tenant.vanish_user(self.user(user)),
            TenantEvent::Restore(user) => {
                let id = self.user(user);
                if tenant.deleted_users().any(|user| user.id == id) {
                    tenant.restore_user(id);
                }
            }
            TenantEvent::Assign(user) if exists(tenant, user) => tenant.assign_user(self.user(user)),
            TenantEvent::Delete(user) if exists(tenant, user) => tenant.delete_user(self.user(user)),
            TenantEvent::Enable(user, enabled) if exists(tenant, user) => {
                tenant.user_mut(self.user(user)).account_enabled = Some(enabled);
            }
            TenantEvent::Set(user, column, number) if exists(tenant, user) => {
                let value = number.map(|number| format!("{} {number}", COLUMNS[column].0));
                *COLUMNS[column].1(tenant.user_mut(self.user(user))) = value;
            }
            TenantEvent::Rename(user) if exists(tenant, user) => {
                self.names += 1;
                let user = tenant.user_mut(&self.users[user % self.users.len()]);
                let name = format!("renamed{}@harbourworks.example", self.names);
                (user.user_principal_name, user.mail) = (Some(name.clone()), Some(name));
            }
            TenantEvent::Join(user, group) | TenantEvent::Move(user, group)
                if exists(tenant, user) && tenant.group(&self.groups[group]).is_some() =>
            {
                tenant.add_member(&self.groups[group], self.user(user));
                if matches!(event, TenantEvent::Move(..)) {
                    tenant.unassign(self.user(user));
                    (0..GROUPS).filter(|other| *other != group).for_each(|other| leaves(tenant, other, user));
                }
            }
            TenantEvent::Assigned(group, false) => tenant.unassign(&self.groups[group]),
            TenantEvent::Assigned(group, true) if tenant.group(&self.groups[group]).is_some() => {
                tenant.assign_group(&self.groups[group]);
            }
            TenantEvent::Emptied(group) => (0..self.users.len()).for_each(|user| leaves(tenant, group, user)),
            TenantEvent::Deleted(group) => tenant.delete_group(&self.groups[group]),
            TenantEvent::SoftDeleted(group, true) => tenant.soft_delete_group(&self.groups[group]),
            TenantEvent::SoftDeleted(group, false) => tenant.restore_group(&self.groups[group]),
            TenantEvent::Agent(user, agent) if exists(tenant, user) => tenant.user_mut(self.user(user)).agent = agent,
            _ => {}
        }
    }

    /// Replaces the ids in a text with short names.
    pub(super) fn with_names(&self, mut text: String) -> String {
        for (number, id) in self.users.iter().enumerate() {
            text = text.replace(id, &format!("user {number}"));
        }
        for (number, id) in self.groups.iter().enumerate() {
            text = text.replace(id, &format!("group {number}"));
        }
        text
    }
}

/// The assignment routes of each user: group ids, or `direct`.
pub(super) fn routes(tenant: &Tenant) -> BTreeMap<&str, BTreeSet<&str>> {
    let mut routes: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for (principal, _) in tenant.application.assignments() {
        match tenant.group(principal) {
            Some(group) => group.members().for_each(|(member, _)| {
                routes.entry(member).or_default().insert(principal);
            }),
            None => {
                routes.entry(principal).or_default().insert("direct");
            }
        }
    }
    routes
}

pub(super) fn expected_users(tenant: &Tenant) -> ExpectedUsers {
    let routes = routes(tenant);
    let account = |user: &User| {
        let mut user = user.clone();
        ExpectedUser {
            wanted: user.account_enabled == Some(true) && !user.agent && routes.contains_key(&*user.id),
            values: COLUMNS.map(|(_, slot)| slot(&mut user).clone()),
        }
    };
    tenant.users().map(|user| (user.id.clone(), account(user))).collect()
}

fn group() -> impl Strategy<Value = usize> {
    prop_oneof![6 => Just(0usize), 3 => Just(1), 1 => Just(NESTED), 1 => Just(3)]
}

pub(super) fn assigned_group() -> impl Strategy<Value = usize> {
    prop::sample::select(ASSIGNED.to_vec())
}

pub(super) fn user() -> impl Strategy<Value = usize> {
    0..64usize
}

fn assignment() -> impl Strategy<Value = InitialAssignment> {
    prop_oneof![
        5 => Just(InitialAssignment::Directly),
        9 => group().prop_map(InitialAssignment::Group),
        1 => group().prop_map(InitialAssignment::Twice),
        1 => group().prop_map(InitialAssignment::Disabled),
        1 => Just(InitialAssignment::Nowhere),
    ]
}

/// The first users: enough for a second page in most tenants.
pub(super) fn initial_assignments() -> impl Strategy<Value = Vec<InitialAssignment>> {
    prop_oneof![1 => vec(assignment(), 4..20), 2 => vec(assignment(), 40..80)]
}

fn event() -> impl Strategy<Value = TenantEvent> {
    let column = FREE..COLUMNS.len();
    prop_oneof![
        4 => assignment().prop_map(TenantEvent::Hire),
        2 => user().prop_map(TenantEvent::Assign),
        4 => user().prop_map(TenantEvent::Unassign),
        2 => (user(), group()).prop_map(|(user, group)| TenantEvent::Join(user, group)),
        4 => (user(), group()).prop_map(|(user, group)| TenantEvent::Leave(user, group)),
        4 => (user(), group()).prop_map(|(user, group)| TenantEvent::Move(user, group)),
        4 => (user(), any::<bool>()).prop_map(|(user, enabled)| TenantEvent::Enable(user, enabled)),
        2 => user().prop_map(TenantEvent::Delete),
        2 => user().prop_map(TenantEvent::Restore),
        1 => user().prop_map(TenantEvent::Purge),
        1 => user().prop_map(TenantEvent::Vanish),
        2 => user().prop_map(TenantEvent::Rename),
        6 => (user(), column, option::of(0u8..3)).prop_map(|(user, column, to)| TenantEvent::Set(user, column, to)),
        1 => (group(), any::<bool>()).prop_map(|(group, assigned)| TenantEvent::Assigned(group, assigned)),
        1 => group().prop_map(TenantEvent::Emptied),
        1 => group().prop_map(TenantEvent::Deleted),
        2 => (group(), any::<bool>()).prop_map(|(group, deleted)| TenantEvent::SoftDeleted(group, deleted)),
        2 => (user(), any::<bool>()).prop_map(|(user, agent)| TenantEvent::Agent(user, agent)),
    ]
}

pub(super) fn events(max: usize) -> impl Strategy<Value = Vec<TenantEvent>> {
    vec(event(), 0..=max)
}
