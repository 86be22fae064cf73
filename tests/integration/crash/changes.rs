//! Random changes in a tenant between two cycles: users join, change, leave, return and exchange addresses.

use graph_sim::{DOMAIN, Tenant, User};
use rand::RngExt;
use rand::rngs::SmallRng;
use rand::seq::{IndexedRandom, SliceRandom};

use super::model::{Model, RequiredLearner, TenantView};

/// Groups keep this many members, because the users of an emptied group would be held.
const FEWEST_MEMBERS: usize = 6;

type Slot = fn(&mut User) -> &mut Option<String>;
const SLOTS: [Slot; 6] = [
    |user| &mut user.given_name,
    |user| &mut user.surname,
    |user| &mut user.job_title,
    |user| &mut user.country,
    |user| &mut user.employee_id,
    |user| &mut user.department,
];

/// Makes random changes, with a new name each time.
pub(crate) struct Changes {
    pub(crate) random: SmallRng,
    number: usize,
}

impl Changes {
    pub(crate) fn new(random: SmallRng) -> Self {
        Self { random, number: 0 }
    }

    /// Makes up to `max` changes of some kinds. Not of all kinds, because some of them hide the effects of others.
    pub(crate) fn make(&mut self, tenant: &mut Tenant, model: &Model, max: usize) {
        let (mut unchanged, mut away, mut skipped) = (Vec::new(), Vec::new(), Vec::new());
        let view = TenantView::of(tenant);
        for user in tenant.users().chain(tenant.deleted_users()) {
            let users = match (view.required_learner(&user.id), model.learners.get(&user.id)) {
                // Users with pending changes are left out: they already have different addresses in tenant and database.
                (RequiredLearner::Wanted(values), Some(learner)) if learner.is(&values) => &mut unchanged,
                (RequiredLearner::Gone(_), Some(learner)) if !learner.active => &mut away,
                (RequiredLearner::WithoutAddress, _) => &mut skipped,
                _ => continue,
            };
            users.push(user.id.clone());
        }
        unchanged.shuffle(&mut self.random);
        away.shuffle(&mut self.random);

        for _ in 0..self.some(max) {
            self.add_user(tenant);
        }
        for user in self.take(&mut unchanged, 3 * max) {
            self.alter(tenant.user_mut(&user));
        }
        for user in self.take(&mut unchanged, max) {
            self.leave(tenant, &user);
        }
        for user in self.take(&mut away, max) {
            self.return_to(tenant, &user);
        }
        for user in self.take(&mut unchanged, max) {
            self.rename(tenant, &user);
        }
        for _ in 0..self.some(max) {
            let users = self.random.random_range(2..6);
            let users = unchanged.split_off(unchanged.len().saturating_sub(users));
            self.exchange_addresses(tenant, &users);
        }
        for user in self.take(&mut unchanged, max) {
            self.reassign(tenant, &user);
        }
        for user in self.take(&mut unchanged, 1) {
            tenant.user_mut(&user).mail = None;
        }
        for user in self.take(&mut skipped, 2) {
            // The address that the learner still has.
            let kept = model.learners.get(&user).and_then(|learner| learner.values[1].clone());
            tenant.user_mut(&user).mail = Some(kept.unwrap_or_else(|| self.address()));
        }
    }

    /// Changes the department of all users, for more than one batch.
    pub(crate) fn reorganise(&mut self, tenant: &mut Tenant) {
        let department = self.text("Department");
        let view = TenantView::of(tenant);
        let wanted = |user: &&User| matches!(view.required_learner(&user.id), RequiredLearner::Wanted(_));
        let users: Vec<String> = tenant.users().filter(wanted).map(|user| user.id.clone()).collect();
        users.iter().for_each(|user| tenant.user_mut(user).department = Some(department.clone()));
    }

    fn some(&mut self, max: usize) -> usize {
        if self.random.random_bool(0.5) { 0 } else { self.random.random_range(1..=max) }
    }

    fn take(&mut self, users: &mut Vec<String>, max: usize) -> Vec<String> {
        let count = self.some(max).min(users.len());
        users.split_off(users.len() - count)
    }

    fn text(&mut self, what: &str) -> String {
        self.number += 1;
        format!("{what} {}", self.number)
    }

    fn address(&mut self) -> String {
        self.number += 1;
        format!("user.{}@{DOMAIN}", self.number)
    }

    fn add_user(&mut self, tenant: &mut Tenant) {
        let address = self.address();
        let mut user = User::named("New", &self.text("Comer")).user_principal_name(&address).mail(&address);
        self.alter(&mut user);
        if self.random.random_bool(0.05) {
            user = user.without_mail();
        }
        let user = tenant.add_user(user);
        self.assign(tenant, &user);
    }

    fn assign(&mut self, tenant: &mut Tenant, user: &str) {
        match groups(tenant).choose(&mut self.random) {
            Some(group) if self.random.random_bool(0.5) => tenant.add_member(group, user),
            _ => tenant.assign_user(user),
        }
    }

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

    /// Gives each user the addresses of the next one. The last gets those of the first, or new ones; then a new user may
    /// get those of the first.
    fn exchange_addresses(&mut self, tenant: &mut Tenant, users: &[String]) {
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

    /// Adds an assignment route, or removes one of several.
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

fn groups(tenant: &Tenant) -> Vec<String> {
    let principals = tenant.application.assignments().map(|(principal, _)| principal);
    principals.filter(|principal| tenant.group(principal).is_some()).map(str::to_owned).collect()
}

fn is_member(tenant: &Tenant, group: &str, user: &str) -> bool {
    tenant.group(group).is_some_and(|group| group.members().any(|(member, _)| member == user))
}
