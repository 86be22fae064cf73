//! What happens in a tenant between two cycles, at random: users come, change, leave and return, and hand their
//! addresses to each other.

use graph_sim::{DOMAIN, Tenant, User};
use rand::RngExt;
use rand::rngs::SmallRng;
use rand::seq::{IndexedRandom, SliceRandom};

use super::model::{Model, Sight, Standing};

/// A group does not run empty: its users would be held.
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
            let users = match (sight.standing(&user.id), model.learners.get(&user.id)) {
                // Whoever waits for a cycle holds an address in the tenant and another one in the database, and what
                // is to become of those is enough for one cycle.
                (Standing::Wanted(values), Some(learner)) if learner.is(&values) => &mut settled,
                (Standing::Gone(_), Some(learner)) if !learner.active => &mut away,
                (Standing::WithoutAddress, _) => &mut skipped,
                _ => continue,
            };
            users.push(user.id.clone());
        }
        settled.shuffle(&mut self.random);
        away.shuffle(&mut self.random);

        for _ in 0..self.some(much) {
            self.hire(tenant);
        }
        for user in self.take(&mut settled, 3 * much) {
            self.alter(tenant.user_mut(&user));
        }
        for user in self.take(&mut settled, much) {
            self.leave(tenant, &user);
        }
        for user in self.take(&mut away, much) {
            self.return_to(tenant, &user);
        }
        for user in self.take(&mut settled, much) {
            self.rename(tenant, &user);
        }
        for _ in 0..self.some(much) {
            let users = self.random.random_range(2..6);
            let users = settled.split_off(settled.len().saturating_sub(users));
            self.hand_on(tenant, &users);
        }
        for user in self.take(&mut settled, much) {
            self.reassign(tenant, &user);
        }
        for user in self.take(&mut settled, 1) {
            tenant.user_mut(&user).mail = None;
        }
        for user in self.take(&mut skipped, 2) {
            // Its own again, because the learner has kept it.
            let kept = model.learners.get(&user).and_then(|learner| learner.values[1].clone());
            tenant.user_mut(&user).mail = Some(kept.unwrap_or_else(|| self.address()));
        }
    }

    /// Another department for everybody: more than one batch.
    pub(crate) fn reorganise(&mut self, tenant: &mut Tenant) {
        let department = self.text("Department");
        let sight = Sight::of(tenant);
        let wanted = |user: &&User| matches!(sight.standing(&user.id), Standing::Wanted(_));
        let users: Vec<String> = tenant.users().filter(wanted).map(|user| user.id.clone()).collect();
        users.iter().for_each(|user| tenant.user_mut(user).department = Some(department.clone()));
    }

    fn some(&mut self, much: usize) -> usize {
        if self.random.random_bool(0.5) { 0 } else { self.random.random_range(1..=much) }
    }

    fn take(&mut self, users: &mut Vec<String>, much: usize) -> Vec<String> {
        let count = self.some(much).min(users.len());
        users.split_off(users.len() - count)
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
        let user = tenant.add_user(user);
        self.assign(tenant, &user);
    }

    /// Directly or through a group.
    fn assign(&mut self, tenant: &mut Tenant, user: &str) {
        match groups(tenant).choose(&mut self.random) {
            Some(group) if self.random.random_bool(0.5) => tenant.add_member(group, user),
            _ => tenant.assign_user(user),
        }
    }

    /// One to three attributes get other values, or none.
    fn alter(&mut self, user: &mut User) {
        let count = self.random.random_range(1..=3);
        for slot in SLOTS.sample(&mut self.random, count) {
            *slot(user) = self.random.random_bool(0.9).then(|| self.text("Value"));
        }
    }

    fn leave(&mut self, tenant: &mut Tenant, user: &str) {
        let memberships: Vec<_> = groups(tenant).into_iter().filter(|group| is_member(tenant, group, user)).collect();
        let emptied =
            |group: &String| tenant.group(group).is_some_and(|group| group.members().count() <= FEWEST_MEMBERS);
        match self.random.random_range(0..3) {
            0 if !memberships.iter().any(emptied) => {
                tenant.unassign(user);
                memberships.iter().for_each(|group| tenant.remove_member(group, user));
            }
            1 => tenant.delete_user(user),
            _ => tenant.user_mut(user).account_enabled = Some(false),
        }
    }

    fn return_to(&mut self, tenant: &mut Tenant, user: &str) {
        let (enabled, deleted) = {
            let user = tenant.user_mut(user);
            (user.account_enabled, user.deleted_date_time.is_some())
        };
        match (enabled, deleted) {
            (_, true) => tenant.restore_user(user),
            (Some(true), false) => self.assign(tenant, user),
            (_, false) => tenant.user_mut(user).account_enabled = Some(true),
        }
        if self.random.random_bool(0.3) {
            self.alter(tenant.user_mut(user));
        }
    }

    /// Gives somebody another name, another address, or both.
    fn rename(&mut self, tenant: &mut Tenant, user: &str) {
        let address = self.address();
        let user = tenant.user_mut(user);
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
    fn hand_on(&mut self, tenant: &mut Tenant, users: &[String]) {
        let addresses = |tenant: &Tenant, user: &String| {
            let user = tenant.user(user).unwrap();
            [user.user_principal_name.clone().unwrap(), user.mail.clone().unwrap()]
        };
        let Some(first) = users.first().map(|user| addresses(tenant, user)) else { return };
        let in_a_ring = self.random.random_bool(0.5);
        for index in 0..users.len() {
            let [name, mail] = match users.get(index + 1) {
                Some(next) => addresses(tenant, next),
                None if in_a_ring => first.clone(),
                None => [self.address(), self.address()],
            };
            let user = tenant.user_mut(&users[index]);
            (user.user_principal_name, user.mail) = (Some(name), Some(mail));
        }
        if !in_a_ring && self.random.random_bool(0.5) {
            let [name, mail] = first;
            let user = User::named("New", &self.text("Heir")).user_principal_name(name).mail(mail);
            let user = tenant.add_user(user);
            self.assign(tenant, &user);
        }
    }

    /// One way more, or one of several less.
    fn reassign(&mut self, tenant: &mut Tenant, user: &str) {
        let memberships: Vec<_> = groups(tenant).into_iter().filter(|group| is_member(tenant, group, user)).collect();
        let direct = tenant.application.assignments().any(|(principal, _)| principal == user);
        match memberships.first() {
            Some(_) if direct => tenant.unassign(user),
            Some(_) => tenant.assign_user(user),
            None => {
                if let Some(group) = groups(tenant).choose(&mut self.random) {
                    tenant.add_member(group, user);
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

fn is_member(tenant: &Tenant, group: &str, user: &str) -> bool {
    tenant.group(group).is_some_and(|group| group.members().any(|(member, _)| member == user))
}
