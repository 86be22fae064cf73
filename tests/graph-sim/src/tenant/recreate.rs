//! Deletes an object and creates it again: the same in everything but its id.

use super::{Application, Tenant};

impl Tenant {
    /// Deletes the enterprise application and creates it again from its registration, with the same assignments. Returns
    /// its new object id.
    pub fn recreate_application(&mut self) -> String {
        let object_id = self.ids.guid();
        let new = Application { object_id: object_id.clone(), ..self.application.clone() };
        let old = std::mem::replace(&mut self.application, new);
        self.other_applications.push(Application { deleted: true, ..old });
        object_id
    }

    /// Soft-deletes a user and creates it again, with the same groups and assignments. Returns its new object id.
    ///
    /// # Panics
    ///
    /// When the user does not exist.
    pub fn recreate_user(&mut self, id: &str) -> String {
        let user = self.users.get(id).unwrap_or_else(|| panic!("no user {id} in the simulated tenant")).clone();
        self.delete_user(id);
        let new = self.insert_user(user);
        let groups: Vec<String> = self
            .groups
            .values()
            .filter(|group| group.members().any(|(member, _)| member == id))
            .map(|it| it.id.clone())
            .collect();
        for group in groups {
            self.remove_member(&group, id);
            self.add_member(&group, &new);
        }
        let assigned = self.applications().map(|application| {
            let roles = application.assignments().filter(|(principal, _)| *principal == id);
            (application.object_id.clone(), roles.map(|(_, role)| role.to_owned()).collect::<Vec<_>>())
        });
        for (application, roles) in assigned.collect::<Vec<_>>() {
            roles.iter().for_each(|role| self.assign(&application, &new, role));
        }
        self.unassign(id);
        new
    }
}
