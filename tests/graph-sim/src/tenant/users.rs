//! Adds, finds, changes, deletes and restores users.

use std::borrow::Cow;

use super::Tenant;
use crate::user::User;

impl Tenant {
    /// Adds a user and returns its object id. A user principal name that is taken gets a number; a missing one is
    /// derived from the names.
    pub fn add_user(&mut self, user: User) -> String {
        let mut user = user;
        if user.user_principal_name.is_none() {
            let alias = crate::names::alias(
                user.given_name.as_deref().unwrap_or_default(),
                user.surname.as_deref().unwrap_or_default(),
            );
            user.user_principal_name = Some(format!("{alias}@{}", self.domain));
        }
        let wanted = user.user_principal_name.clone().unwrap_or_default();
        let mut taken = 1;
        while let Some(name) = user.user_principal_name.clone().filter(|name| self.find_user(name).is_some()) {
            taken += 1;
            let (alias, domain) = wanted.split_once('@').unwrap_or((&wanted, &self.domain));
            let free = format!("{alias}{taken}@{domain}");
            if user.mail.as_ref() == Some(&name) {
                user.mail = Some(free.clone());
                user.proxy_addresses = vec![format!("SMTP:{free}")];
            }
            user.user_principal_name = Some(free);
        }
        self.insert_user(user)
    }

    /// Adds a user whose user principal name is free.
    pub(super) fn insert_user(&mut self, mut user: User) -> String {
        let id = self.ids.guid();
        user.id.clone_from(&id);
        let created = self.tick().to_string();
        user.created_date_time.get_or_insert(created);
        self.users.insert(id.clone(), user);
        id
    }

    /// A user by object id, including soft-deleted ones.
    pub fn user(&self, id: &str) -> Option<&User> {
        self.users.get(id).or_else(|| self.deleted_users.get(id))
    }

    /// The users that exist, ordered by id.
    pub fn users(&self) -> impl Iterator<Item = &User> {
        self.users.values()
    }

    /// The soft-deleted users, ordered by id.
    pub fn deleted_users(&self) -> impl Iterator<Item = &User> {
        self.deleted_users.values()
    }

    /// An existing user by object id or user principal name. A name is searched in all users, because an index cannot
    /// follow changes of a public field.
    pub fn find_user(&self, id_or_name: &str) -> Option<&User> {
        if let Some(user) = self.users.get(&lower(id_or_name)[..]) {
            return Some(user);
        }
        let has_name = |user: &&User| {
            user.user_principal_name.as_deref().is_some_and(|name| name.eq_ignore_ascii_case(id_or_name))
        };
        id_or_name.contains('@').then(|| self.users.values().find(has_name))?
    }

    /// A user by object id to change it, including soft-deleted ones.
    ///
    /// # Panics
    ///
    /// When the user does not exist.
    pub fn user_mut(&mut self, id: &str) -> &mut User {
        let user = match self.users.get_mut(id) {
            Some(user) => Some(user),
            None => self.deleted_users.get_mut(id),
        };
        user.unwrap_or_else(|| panic!("no user {id} in the simulated tenant"))
    }

    /// Soft-deletes a user: it leaves `/users` and member lists, appears in `deletedItems`, and its user principal name
    /// is prefixed with the id. Assignments and memberships remain.
    ///
    /// # Panics
    ///
    /// When the user does not exist.
    pub fn delete_user(&mut self, id: &str) {
        let mut user = self.users.remove(id).unwrap_or_else(|| panic!("no user {id} in the simulated tenant"));
        user.deleted_date_time = Some(self.tick().to_string());
        user.user_principal_name = user.user_principal_name.map(|name| format!("{}{name}", prefix(id)));
        self.deleted_users.insert(id.to_owned(), user);
    }

    /// Restores a soft-deleted user with its groups and assignments.
    ///
    /// # Panics
    ///
    /// When the user is not soft-deleted.
    pub fn restore_user(&mut self, id: &str) {
        let mut user =
            self.deleted_users.remove(id).unwrap_or_else(|| panic!("no deleted user {id} in the simulated tenant"));
        user.deleted_date_time = None;
        let own_name = |name: String| name.strip_prefix(&prefix(id)).map(str::to_owned).unwrap_or(name);
        user.user_principal_name = user.user_principal_name.map(own_name);
        self.users.insert(id.to_owned(), user);
    }

    /// Deletes a user permanently, soft-deleted or not, with all assignments and memberships.
    pub fn purge_user(&mut self, id: &str) {
        self.vanish_user(id);
        self.unassign(id);
        for group in self.groups.values_mut() {
            group.remove(id);
        }
    }

    /// Removes a user from `/users` and `deletedItems` but not from the assignments, like a lagging replica.
    pub fn vanish_user(&mut self, id: &str) {
        self.users.remove(id);
        self.deleted_users.remove(id);
    }
}

fn prefix(id: &str) -> String {
    id.replace('-', "")
}

fn lower(id: &str) -> Cow<'_, str> {
    if id.bytes().any(|byte| byte.is_ascii_uppercase()) { id.to_ascii_lowercase().into() } else { id.into() }
}
