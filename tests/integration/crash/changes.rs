//! What happens in a tenant between two cycles, at random: people come, change, leave and return, and hand their
//! addresses to each other.

use graph_sim::{DOMAIN, Tenant, User};
use rand::RngExt;
use rand::rngs::SmallRng;
use rand::seq::{IndexedRandom, SliceRandom};

use super::model::{Model, Sight, Standing};

/// A group does not run empty: its people would be held.
const FEWEST_MEMBERS: usize = 6;

/// What may happen to a text attribute.
type Slot = fn(&mut User) -> &mut Option<String>;
const SLOTS: [Slot; 6] = [
    |user| &mut user.given_name,
    |user| &mut user.surname,
    |user| &mut user.job_title,
    |user| &mut user.country,
    |user| &mut user.employee_id,
    |user| &mut user.department,
];

/// Makes changes, and never the same name twice.
pub(crate) struct Changes {
    pub(crate) random: SmallRng,
    number: usize,
}

impl Changes {
    pub(crate) fn new(random: SmallRng) -> Self {
        Self { random, number: 0 }
    }

    /// Changes of some kinds, up to `much` of each. Not of all: some of them hide what others would show.
    pub(crate) fn make(&mut self, tenant: &mut Tenant, model: &Model, much: usize) {
        let (mut settled, mut away, mut skipped) = (Vec::new(), Vec::new(), Vec::new());
        let sight = Sight::of(tenant);
        for user in tenant.users().chain(tenant.deleted_users()) {
            let people = match (sight.standing(&user.id), model.learners.get(&user.id)) {
                // Whoever waits for a cycle holds an address in the tenant and another one in the database, and what
                // is to become of those is enough for one cycle.
                (Standing::Wanted(values), Some(learner)) if learner.is(&values) => &mut settled,
                (Standing::Gone(_), Some(learner)) if !learner.active => &mut away,
                (Standing::WithoutAddress, _) => &mut skipped,
                _ => continue,
            };
            people.push(user.id.clone());
        }
        settled.shuffle(&mut self.random);
        away.shuffle(&mut self.random);

        for _ in 0..self.some(much) {
            self.hire(tenant);
        }
        for person in self.take(&mut settled, 3 * much) {
            self.alter(tenant.user_mut(&person));
        }
        for person in self.take(&mut settled, much) {
            self.leave(tenant, &person);
        }
        for person in self.take(&mut away, much) {
            self.return_to(tenant, &person);
        }
        for person in self.take(&mut settled, much) {
            self.rename(tenant, &person);
        }
        for _ in 0..self.some(much) {
            let people = self.random.random_range(2..6);
            let people = settled.split_off(settled.len().saturating_sub(people));
            self.hand_on(tenant, &people);
        }
        for person in self.take(&mut settled, much) {
            self.reassign(tenant, &person);
        }
        for person in self.take(&mut settled, 1) {
            tenant.user_mut(&person).mail = None;
        }
        for person in self.take(&mut skipped, 2) {
            // Its own again, because the learner has kept it.
            let kept = model.learners.get(&person).and_then(|learner| learner.values[1].clone());
            tenant.user_mut(&person).mail = Some(kept.unwrap_or_else(|| self.address()));
        }
    }

    /// Another department for everybody: more than one batch.
    pub(crate) fn reorganise(&mut self, tenant: &mut Tenant) {
        let department = self.text("Department");
        let sight = Sight::of(tenant);
        let wanted = |person: &&User| matches!(sight.standing(&person.id), Standing::Wanted(_));
        let people: Vec<String> = tenant.users().filter(wanted).map(|user| user.id.clone()).collect();
        people.iter().for_each(|person| tenant.user_mut(person).department = Some(department.clone()));
    }

    fn some(&mut self, much: usize) -> usize {
        if self.random.random_bool(0.5) { 0 } else { self.random.random_range(1..=much) }
    }

    fn take(&mut self, people: &mut Vec<String>, much: usize) -> Vec<String> {
        let count = self.some(much).min(people.len());
        people.split_off(people.len() - count)
    }

    fn text(&mut self, what: &str) -> String {
        self.number += 1;
        format!("{what} {}", self.number)
    }

    fn address(&mut self) -> String {
        self.number += 1;
        format!("person.{}@{DOMAIN}", self.number)
    }

    fn hire(&mut self, tenant: &mut Tenant) {
        let address = self.address();
        let mut user = User::named("New", &self.text("Comer")).user_principal_name(&address).mail(&address);
        self.alter(&mut user);
        if self.random.random_bool(0.05) {
            user = user.without_mail();
        }
        let person = tenant.hire(user);
        self.assign(tenant, &person);
    }

    /// Directly or through a group.
    fn assign(&mut self, tenant: &mut Tenant, person: &str) {
        match groups(tenant).choose(&mut self.random) {
            Some(group) if self.random.random_bool(0.5) => tenant.add_member(group, person),
            _ => tenant.assign_user(person),
        }
    }

    /// One to three attributes get other values, or none.
    fn alter(&mut self, user: &mut User) {
        let count = self.random.random_range(1..=3);
        for slot in SLOTS.sample(&mut self.random, count) {
            *slot(user) = self.random.random_bool(0.9).then(|| self.text("Value"));
        }
    }

    fn leave(&mut self, tenant: &mut Tenant, person: &str) {
        let memberships: Vec<_> = groups(tenant).into_iter().filter(|group| is_member(tenant, group, person)).collect();
        let emptied =
            |group: &String| tenant.group(group).is_some_and(|group| group.members().count() <= FEWEST_MEMBERS);
        match self.random.random_range(0..3) {
            0 if !memberships.iter().any(emptied) => {
                tenant.unassign(person);
                memberships.iter().for_each(|group| tenant.remove_member(group, person));
            }
            1 => tenant.delete_user(person),
            _ => tenant.user_mut(person).account_enabled = Some(false),
        }
    }

    fn return_to(&mut self, tenant: &mut Tenant, person: &str) {
        let (enabled, deleted) = {
            let user = tenant.user_mut(person);
            (user.account_enabled, user.deleted_date_time.is_some())
        };
        match (enabled, deleted) {
            (_, true) => tenant.restore_user(person),
            (Some(true), false) => self.assign(tenant, person),
            (_, false) => tenant.user_mut(person).account_enabled = Some(true),
        }
        if self.random.random_bool(0.3) {
            self.alter(tenant.user_mut(person));
        }
    }

    /// Gives somebody another name, another address, or both.
    fn rename(&mut self, tenant: &mut Tenant, person: &str) {
        let address = self.address();
        let user = tenant.user_mut(person);
        let what = self.random.random_range(0..4);
        if what != 0 {
            user.user_principal_name = Some(address.clone());
        }
        if what != 1 {
            user.mail = Some(address);
        }
    }

    /// Each gets the addresses of the next. The last gets those of the first, or new ones; then somebody new may get
    /// those of the first.
    fn hand_on(&mut self, tenant: &mut Tenant, people: &[String]) {
        let addresses = |tenant: &Tenant, person: &String| {
            let user = tenant.user(person).unwrap();
            [user.user_principal_name.clone().unwrap(), user.mail.clone().unwrap()]
        };
        let Some(first) = people.first().map(|person| addresses(tenant, person)) else { return };
        let in_a_ring = self.random.random_bool(0.5);
        for index in 0..people.len() {
            let [name, mail] = match people.get(index + 1) {
                Some(next) => addresses(tenant, next),
                None if in_a_ring => first.clone(),
                None => [self.address(), self.address()],
            };
            let user = tenant.user_mut(&people[index]);
            (user.user_principal_name, user.mail) = (Some(name), Some(mail));
        }
        if !in_a_ring && self.random.random_bool(0.5) {
            let [name, mail] = first;
            let user = User::named("New", &self.text("Heir")).user_principal_name(name).mail(mail);
            let person = tenant.hire(user);
            self.assign(tenant, &person);
        }
    }

    /// One way more, or one of several less.
    fn reassign(&mut self, tenant: &mut Tenant, person: &str) {
        let memberships: Vec<_> = groups(tenant).into_iter().filter(|group| is_member(tenant, group, person)).collect();
        let direct = tenant.application.assignments().any(|(principal, _)| principal == person);
        match memberships.first() {
            Some(_) if direct => tenant.unassign(person),
            Some(_) => tenant.assign_user(person),
            None => {
                if let Some(group) = groups(tenant).choose(&mut self.random) {
                    tenant.add_member(group, person);
                }
            }
        }
    }
}

/// The groups that are assigned.
fn groups(tenant: &Tenant) -> Vec<String> {
    let principals = tenant.application.assignments().map(|(principal, _)| principal);
    principals.filter(|principal| tenant.group(principal).is_some()).map(str::to_owned).collect()
}

fn is_member(tenant: &Tenant, group: &str, person: &str) -> bool {
    tenant.group(group).is_some_and(|group| group.members().any(|(member, _)| member == person))
}
