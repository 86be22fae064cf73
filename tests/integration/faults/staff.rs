//! A random tenant, what happens to the people in it, and what learner-sync should make of them.

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
pub(super) enum Place {
    Nowhere,
    Directly,
    Group(usize),
    Twice(usize),
    Disabled(usize),
}

/// What happens in the tenant. People are counted round and round; what cannot happen, does not.
#[derive(Clone, Copy, Debug)]
pub(super) enum Event {
    Hire(Place),
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
    pub(super) people: Vec<String>,
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
    /// The groups and the first people.
    pub(super) fn hired(tenant: &mut Tenant, places: &[Place]) -> Self {
        let groups: Vec<String> = (0..GROUPS).map(|group| tenant.add_group(&format!("Group {group}"))).collect();
        ASSIGNED.iter().for_each(|group| tenant.assign_group(&groups[*group]));
        tenant.add_group_member(&groups[ASSIGNED[0]], &groups[NESTED]);
        let mut staff = Self { people: Vec::new(), groups, names: 0 };
        places.iter().for_each(|place| staff.hire(tenant, *place));
        staff
    }

    pub(super) fn person(&self, number: usize) -> &str {
        &self.people[number % self.people.len()]
    }

    fn hire(&mut self, tenant: &mut Tenant, place: Place) {
        self.names += 1;
        let user = User::named("Ada", &format!("Number{}", self.names)).department("Research").country("Utopia");
        let id = tenant.hire(user);
        let joins = |tenant: &mut Tenant, group: usize| {
            if tenant.group(&self.groups[group]).is_some() {
                tenant.add_member(&self.groups[group], &id);
            }
        };
        match place {
            Place::Nowhere => {}
            Place::Directly => tenant.assign_user(&id),
            Place::Group(group) => joins(tenant, group),
            Place::Twice(group) => {
                tenant.assign_user(&id);
                joins(tenant, group);
            }
            Place::Disabled(group) => {
                tenant.user_mut(&id).account_enabled = Some(false);
                joins(tenant, group);
            }
        }
        self.people.push(id);
    }

    /// Lets it happen.
    pub(super) fn happens(&mut self, tenant: &mut Tenant, event: Event) {
        if let Event::Hire(place) = event {
            return self.hire(tenant, place);
        }
        let exists = |tenant: &Tenant, person: usize| tenant.find_user(self.person(person)).is_some();
        let leaves = |tenant: &mut Tenant, group: usize, person: usize| {
            if tenant.group(&self.groups[group]).is_some() {
                tenant.remove_member(&self.groups[group], self.person(person));
            }
        };
        match event {
            Event::Unassign(person) => tenant.unassign(self.person(person)),
            Event::Leave(person, group) => leaves(tenant, group, person),
            Event::Purge(person) => tenant.purge_user(self.person(person)),
            Event::Vanish(person) => tenant.vanish_user(self.person(person)),
            Event::Restore(person) => {
                let id = self.person(person);
                if tenant.deleted_users().any(|user| user.id == id) {
                    tenant.restore_user(id);
                }
            }
            Event::Assign(person) if exists(tenant, person) => tenant.assign_user(self.person(person)),
            Event::Delete(person) if exists(tenant, person) => tenant.delete_user(self.person(person)),
            Event::Enable(person, enabled) if exists(tenant, person) => {
                tenant.user_mut(self.person(person)).account_enabled = Some(enabled);
            }
            Event::Set(person, column, number) if exists(tenant, person) => {
                let value = number.map(|number| format!("{} {number}", COLUMNS[column].0));
                *COLUMNS[column].1(tenant.user_mut(self.person(person))) = value;
            }
            Event::Rename(person) if exists(tenant, person) => {
                self.names += 1;
                let user = tenant.user_mut(&self.people[person % self.people.len()]);
                let name = format!("renamed{}@harbourworks.example", self.names);
                (user.user_principal_name, user.mail) = (Some(name.clone()), Some(name));
            }
            Event::Join(person, group) | Event::Move(person, group)
                if exists(tenant, person) && tenant.group(&self.groups[group]).is_some() =>
            {
                tenant.add_member(&self.groups[group], self.person(person));
                if matches!(event, Event::Move(..)) {
                    tenant.unassign(self.person(person));
                    (0..GROUPS).filter(|other| *other != group).for_each(|other| leaves(tenant, other, person));
                }
            }
            Event::Assigned(group, false) => tenant.unassign(&self.groups[group]),
            Event::Assigned(group, true) if tenant.group(&self.groups[group]).is_some() => {
                tenant.assign_group(&self.groups[group]);
            }
            Event::Emptied(group) => (0..self.people.len()).for_each(|person| leaves(tenant, group, person)),
            Event::Deleted(group) => tenant.delete_group(&self.groups[group]),
            _ => {}
        }
    }

    /// `text` with short names in place of the ids.
    pub(super) fn named(&self, mut text: String) -> String {
        for (number, id) in self.people.iter().enumerate() {
            text = text.replace(id, &format!("person {number}"));
        }
        for (number, id) in self.groups.iter().enumerate() {
            text = text.replace(id, &format!("group {number}"));
        }
        text
    }
}

/// The ways in which each person is assigned: groups by id, or `direct`.
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

pub(super) fn person() -> impl Strategy<Value = usize> {
    0..64usize
}

fn place() -> impl Strategy<Value = Place> {
    prop_oneof![
        5 => Just(Place::Directly),
        9 => group().prop_map(Place::Group),
        1 => group().prop_map(Place::Twice),
        1 => group().prop_map(Place::Disabled),
        1 => Just(Place::Nowhere),
    ]
}

/// Enough people for a second page, in some tenants.
pub(super) fn places() -> impl Strategy<Value = Vec<Place>> {
    prop_oneof![1 => vec(place(), 4..20), 2 => vec(place(), 40..80)]
}

fn event() -> impl Strategy<Value = Event> {
    let column = FREE..COLUMNS.len();
    prop_oneof![
        4 => place().prop_map(Event::Hire),
        2 => person().prop_map(Event::Assign),
        4 => person().prop_map(Event::Unassign),
        2 => (person(), group()).prop_map(|(person, group)| Event::Join(person, group)),
        4 => (person(), group()).prop_map(|(person, group)| Event::Leave(person, group)),
        4 => (person(), group()).prop_map(|(person, group)| Event::Move(person, group)),
        4 => (person(), any::<bool>()).prop_map(|(person, enabled)| Event::Enable(person, enabled)),
        2 => person().prop_map(Event::Delete),
        2 => person().prop_map(Event::Restore),
        1 => person().prop_map(Event::Purge),
        1 => person().prop_map(Event::Vanish),
        2 => person().prop_map(Event::Rename),
        6 => (person(), column, option::of(0u8..3)).prop_map(|(person, column, to)| Event::Set(person, column, to)),
        1 => (group(), any::<bool>()).prop_map(|(group, assigned)| Event::Assigned(group, assigned)),
        1 => group().prop_map(Event::Emptied),
        1 => group().prop_map(Event::Deleted),
    ]
}

pub(super) fn events(most: usize) -> impl Strategy<Value = Vec<Event>> {
    vec(event(), 0..=most)
}
