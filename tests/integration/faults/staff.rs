//! A random tenant, what happens to the users in it, and what learner-sync should make of them.

use std::collections::{BTreeMap, BTreeSet};

use graph_sim::{Tenant, User};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

/// Assigned at first are the first two and the last, which has few members; the third one is nested in the first.
pub(super) const GROUPS: usize = 4;
const ASSIGNED: [usize; 3] = [0, 1, 3];
const NESTED: usize = 2;

type Slot = fn(&mut User) -> &mut Option<String>;

/// The columns that the default mapping fills, and where the simulator keeps their sources.
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
/// Of those the first that may be null and need not be unique.
const FREE: usize = 2;

/// One value for each of [`COLUMNS`].
pub(super) type Values = [Option<String>; COLUMNS.len()];

/// Where somebody new is put.
#[derive(Clone, Copy, Debug)]
pub(super) enum DatabaseLocation {
    Nowhere,
    Directly,
    Group(usize),
    Twice(usize),
    Disabled(usize),
}

/// What happens in the tenant. People are counted round and round; what cannot happen, does not.
#[derive(Clone, Copy, Debug)]
pub(super) enum Event {
    Hire(DatabaseLocation),
    Assign(usize),
    Unassign(usize),
    Join(usize, usize),
    Leave(usize, usize),
    /// Into the group at once, and out of everything else.
    Move(usize, usize),
    Enable(usize, bool),
    Delete(usize),
    Restore(usize),
    /// For good, with all assignments.
    Purge(usize),
    /// The account is nowhere, and the assignments still name it.
    Vanish(usize),
    Rename(usize),
    Set(usize, usize, Option<u8>),
    Assigned(usize, bool),
    Emptied(usize),
    Deleted(usize),
}

/// The ids of a tenant.
#[derive(Debug)]
pub(super) struct Staff {
    pub(super) users: Vec<String>,
    pub(super) groups: Vec<String>,
    names: usize,
}

/// One account as learner-sync should see it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Account {
    /// Assigned and enabled.
    pub(super) wanted: bool,
    pub(super) values: Values,
}

/// Every account that exists.
pub(super) type Picture = BTreeMap<String, Account>;

impl Staff {
    /// The groups and the first users.
    pub(super) fn hired(tenant: &mut Tenant, places: &[DatabaseLocation]) -> Self {
        let groups: Vec<String> = (0..GROUPS).map(|group| tenant.add_group(&format!("Group {group}"))).collect();
        ASSIGNED.iter().for_each(|group| tenant.assign_group(&groups[*group]));
        tenant.add_group_member(&groups[ASSIGNED[0]], &groups[NESTED]);
        let mut staff = Self { users: Vec::new(), groups, names: 0 };
        places.iter().for_each(|place| staff.hire(tenant, *place));
        staff
    }

    pub(super) fn user(&self, number: usize) -> &str {
        &self.users[number % self.users.len()]
    }

    fn hire(&mut self, tenant: &mut Tenant, place: DatabaseLocation) {
        self.names += 1;
        let user = User::named("Ada", &format!("Number{}", self.names)).department("Research").country("Utopia");
        let id = tenant.add_user(user);
        let joins = |tenant: &mut Tenant, group: usize| {
            if tenant.group(&self.groups[group]).is_some() {
                tenant.add_member(&self.groups[group], &id);
            }
        };
        match place {
            DatabaseLocation::Nowhere => {}
            DatabaseLocation::Directly => tenant.assign_user(&id),
            DatabaseLocation::Group(group) => joins(tenant, group),
            DatabaseLocation::Twice(group) => {
                tenant.assign_user(&id);
                joins(tenant, group);
            }
            DatabaseLocation::Disabled(group) => {
                tenant.user_mut(&id).account_enabled = Some(false);
                joins(tenant, group);
            }
        }
        self.users.push(id);
    }

    /// Lets it happen.
    pub(super) fn happens(&mut self, tenant: &mut Tenant, event: Event) {
        if let Event::Hire(place) = event {
            return self.hire(tenant, place);
        }
        let exists = |tenant: &Tenant, user: usize| tenant.find_user(self.user(user)).is_some();
        let leaves = |tenant: &mut Tenant, group: usize, user: usize| {
            if tenant.group(&self.groups[group]).is_some() {
                tenant.remove_member(&self.groups[group], self.user(user));
            }
        };
        match event {
            Event::Unassign(user) => tenant.unassign(self.user(user)),
            Event::Leave(user, group) => leaves(tenant, group, user),
            Event::Purge(user) => tenant.purge_user(self.user(user)),
            Event::Vanish(user) => tenant.vanish_user(self.user(user)),
            Event::Restore(user) => {
                let id = self.user(user);
                if tenant.deleted_users().any(|user| user.id == id) {
                    tenant.restore_user(id);
                }
            }
            Event::Assign(user) if exists(tenant, user) => tenant.assign_user(self.user(user)),
            Event::Delete(user) if exists(tenant, user) => tenant.delete_user(self.user(user)),
            Event::Enable(user, enabled) if exists(tenant, user) => {
                tenant.user_mut(self.user(user)).account_enabled = Some(enabled);
            }
            Event::Set(user, column, number) if exists(tenant, user) => {
                let value = number.map(|number| format!("{} {number}", COLUMNS[column].0));
                *COLUMNS[column].1(tenant.user_mut(self.user(user))) = value;
            }
            Event::Rename(user) if exists(tenant, user) => {
                self.names += 1;
                let user = tenant.user_mut(&self.users[user % self.users.len()]);
                let name = format!("renamed{}@harbourworks.example", self.names);
                (user.user_principal_name, user.mail) = (Some(name.clone()), Some(name));
            }
            Event::Join(user, group) | Event::Move(user, group)
                if exists(tenant, user) && tenant.group(&self.groups[group]).is_some() =>
            {
                tenant.add_member(&self.groups[group], self.user(user));
                if matches!(event, Event::Move(..)) {
                    tenant.unassign(self.user(user));
                    (0..GROUPS).filter(|other| *other != group).for_each(|other| leaves(tenant, other, user));
                }
            }
            Event::Assigned(group, false) => tenant.unassign(&self.groups[group]),
            Event::Assigned(group, true) if tenant.group(&self.groups[group]).is_some() => {
                tenant.assign_group(&self.groups[group]);
            }
            Event::Emptied(group) => (0..self.users.len()).for_each(|user| leaves(tenant, group, user)),
            Event::Deleted(group) => tenant.delete_group(&self.groups[group]),
            _ => {}
        }
    }

    /// `text` with short names in place of the ids.
    pub(super) fn named(&self, mut text: String) -> String {
        for (number, id) in self.users.iter().enumerate() {
            text = text.replace(id, &format!("person {number}"));
        }
        for (number, id) in self.groups.iter().enumerate() {
            text = text.replace(id, &format!("group {number}"));
        }
        text
    }
}

/// The ways in which each user is assigned: groups by id, or `direct`.
pub(super) fn ways(tenant: &Tenant) -> BTreeMap<&str, BTreeSet<&str>> {
    let mut ways: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for (principal, _) in tenant.application.assignments() {
        match tenant.group(principal) {
            Some(group) => group.members().for_each(|(member, _)| {
                ways.entry(member).or_default().insert(principal);
            }),
            None => {
                ways.entry(principal).or_default().insert("direct");
            }
        }
    }
    ways
}

/// What learner-sync should see now.
pub(super) fn picture(tenant: &Tenant) -> Picture {
    let ways = ways(tenant);
    let account = |user: &User| {
        let mut told = user.clone();
        Account {
            wanted: user.account_enabled == Some(true) && ways.contains_key(&*user.id),
            values: COLUMNS.map(|(_, slot)| slot(&mut told).clone()),
        }
    };
    tenant.users().map(|user| (user.id.clone(), account(user))).collect()
}

fn group() -> impl Strategy<Value = usize> {
    prop_oneof![6 => Just(0usize), 3 => Just(1), 1 => Just(NESTED), 1 => Just(3)]
}

/// Large and small ones alike.
pub(super) fn assigned_group() -> impl Strategy<Value = usize> {
    prop::sample::select(ASSIGNED.to_vec())
}

pub(super) fn user() -> impl Strategy<Value = usize> {
    0..64usize
}

fn place() -> impl Strategy<Value = DatabaseLocation> {
    prop_oneof![
        5 => Just(DatabaseLocation::Directly),
        9 => group().prop_map(DatabaseLocation::Group),
        1 => group().prop_map(DatabaseLocation::Twice),
        1 => group().prop_map(DatabaseLocation::Disabled),
        1 => Just(DatabaseLocation::Nowhere),
    ]
}

/// Enough users for a second page, in some tenants.
pub(super) fn places() -> impl Strategy<Value = Vec<DatabaseLocation>> {
    prop_oneof![1 => vec(place(), 4..20), 2 => vec(place(), 40..80)]
}

fn event() -> impl Strategy<Value = Event> {
    let column = FREE..COLUMNS.len();
    prop_oneof![
        4 => place().prop_map(Event::Hire),
        2 => user().prop_map(Event::Assign),
        4 => user().prop_map(Event::Unassign),
        2 => (user(), group()).prop_map(|(user, group)| Event::Join(user, group)),
        4 => (user(), group()).prop_map(|(user, group)| Event::Leave(user, group)),
        4 => (user(), group()).prop_map(|(user, group)| Event::Move(user, group)),
        4 => (user(), any::<bool>()).prop_map(|(user, enabled)| Event::Enable(user, enabled)),
        2 => user().prop_map(Event::Delete),
        2 => user().prop_map(Event::Restore),
        1 => user().prop_map(Event::Purge),
        1 => user().prop_map(Event::Vanish),
        2 => user().prop_map(Event::Rename),
        6 => (user(), column, option::of(0u8..3)).prop_map(|(user, column, to)| Event::Set(user, column, to)),
        1 => (group(), any::<bool>()).prop_map(|(group, assigned)| Event::Assigned(group, assigned)),
        1 => group().prop_map(Event::Emptied),
        1 => group().prop_map(Event::Deleted),
    ]
}

pub(super) fn events(most: usize) -> impl Strategy<Value = Vec<Event>> {
    vec(event(), 0..=most)
}
