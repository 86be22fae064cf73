//! Groups, their members, and directory objects that are neither users nor groups.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use super::Tenant;

/// A group. Members are ordered by id, so that a page continues after an id even when members join or leave.
#[derive(Debug, Clone)]
pub struct Group {
    /// The object id.
    pub id: String,
    /// Graph's `displayName`.
    pub display_name: String,
    /// Graph's `description`.
    pub description: Option<String>,
    /// Graph's `visibility`; `HiddenMembership` hides the members from callers without Member.Read.Hidden.
    pub visibility: Option<String>,
    /// Graph's `securityEnabled`; only such groups can be assigned.
    pub security_enabled: bool,
    /// Graph's `createdDateTime`.
    pub created_date_time: String,
    members: BTreeMap<String, MemberKind>,
    inner_groups: BTreeSet<String>,
}

/// The kind of a directory object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MemberKind {
    /// A user.
    User,
    /// A group.
    Group,
    /// A device; can be a member, but not assigned.
    Device,
    /// A service principal, for example a managed identity.
    ServicePrincipal,
}

impl MemberKind {
    pub(crate) fn principal_type(self) -> &'static str {
        match self {
            Self::User => "User",
            Self::Group => "Group",
            Self::Device => "Device",
            Self::ServicePrincipal => "ServicePrincipal",
        }
    }

    pub(crate) fn odata_type(self) -> &'static str {
        match self {
            Self::User => "#microsoft.graph.user",
            Self::Group => "#microsoft.graph.group",
            Self::Device => "#microsoft.graph.device",
            Self::ServicePrincipal => "#microsoft.graph.servicePrincipal",
        }
    }
}

/// A device or a service principal.
#[derive(Debug, Clone)]
pub struct DirectoryObject {
    /// The object id.
    pub id: String,
    /// Graph's `displayName`.
    pub display_name: String,
    /// `Device` or `ServicePrincipal`.
    pub kind: MemberKind,
}

impl Group {
    /// The direct members, deleted users included, ordered by id.
    pub fn members(&self) -> impl Iterator<Item = (&str, MemberKind)> {
        self.after(None)
    }

    pub(crate) fn after(&self, id: Option<&str>) -> impl Iterator<Item = (&str, MemberKind)> {
        let start = id.map_or(Bound::Unbounded, Bound::Excluded);
        self.members.range::<str, _>((start, Bound::Unbounded)).map(|(id, kind)| (id.as_str(), *kind))
    }

    pub(super) fn remove(&mut self, id: &str) {
        self.members.remove(id);
        self.inner_groups.remove(id);
    }
}

impl Tenant {
    /// Adds a security group and returns its id.
    pub fn add_group(&mut self, display_name: &str) -> String {
        let id = self.ids.guid();
        let group = Group {
            id: id.clone(),
            display_name: display_name.to_owned(),
            description: None,
            visibility: None,
            security_enabled: true,
            created_date_time: self.tick().to_string(),
            members: BTreeMap::new(),
            inner_groups: BTreeSet::new(),
        };
        self.groups.insert(id.clone(), group);
        id
    }

    /// Adds a device and returns its id.
    pub fn add_device(&mut self, display_name: &str) -> String {
        self.add_object(display_name, MemberKind::Device)
    }

    /// Adds the service principal of another application and returns its id.
    pub fn add_service_principal(&mut self, display_name: &str) -> String {
        self.add_object(display_name, MemberKind::ServicePrincipal)
    }

    fn add_object(&mut self, display_name: &str, kind: MemberKind) -> String {
        let id = self.ids.guid();
        self.tick();
        self.objects
            .insert(id.clone(), DirectoryObject { id: id.clone(), display_name: display_name.to_owned(), kind });
        id
    }

    /// The groups that exist, ordered by id.
    pub fn groups(&self) -> impl Iterator<Item = &Group> {
        self.groups.values()
    }

    /// A group by id.
    pub fn group(&self, id: &str) -> Option<&Group> {
        self.groups.get(id)
    }

    /// A group by id, to change it.
    ///
    /// # Panics
    ///
    /// When the group does not exist.
    pub fn group_mut(&mut self, id: &str) -> &mut Group {
        self.groups.get_mut(id).unwrap_or_else(|| panic!("no group {id} in the simulated tenant"))
    }

    /// Makes a user, a device, a service principal or another group a direct member of a group.
    ///
    /// # Panics
    ///
    /// When either does not exist.
    pub fn add_member(&mut self, group: &str, member: &str) {
        let kind = self.kind_of(member).unwrap_or_else(|| panic!("no object {member} in the simulated tenant"));
        let group = self.group_mut(group);
        group.members.insert(member.to_owned(), kind);
        if kind == MemberKind::Group {
            group.inner_groups.insert(member.to_owned());
        }
    }

    /// Nests a group in another.
    ///
    /// # Panics
    ///
    /// When either does not exist.
    pub fn add_group_member(&mut self, group: &str, inner: &str) {
        assert!(self.groups.contains_key(inner), "no group {inner} in the simulated tenant");
        self.add_member(group, inner);
    }

    /// Removes a direct member from a group.
    ///
    /// # Panics
    ///
    /// When the group does not exist.
    pub fn remove_member(&mut self, group: &str, member: &str) {
        self.group_mut(group).remove(member);
    }

    /// Deletes a group. Its assignment rows remain, because Entra's behaviour is not documented; see `unassign`.
    pub fn delete_group(&mut self, id: &str) {
        self.groups.remove(id);
    }

    /// Moves a group to the deleted items; its members and its assignments remain.
    pub fn soft_delete_group(&mut self, id: &str) {
        if let Some(group) = self.groups.remove(id) {
            self.deleted_groups.insert(group.id.clone(), group);
        }
    }

    /// Restores a group from the deleted items, with its members.
    pub fn restore_group(&mut self, id: &str) {
        if let Some(group) = self.deleted_groups.remove(id) {
            self.groups.insert(group.id.clone(), group);
        }
    }

    /// The kind of the object with an id.
    pub fn kind_of(&self, id: &str) -> Option<MemberKind> {
        if self.user(id).is_some() {
            return Some(MemberKind::User);
        }
        if self.groups.contains_key(id) {
            return Some(MemberKind::Group);
        }
        self.objects.get(id).map(|object| object.kind)
    }

    /// The group and all groups nested in it, each once, even when they form a cycle.
    pub(crate) fn nested_groups<'a>(&'a self, group: &'a Group) -> Vec<&'a Group> {
        let mut seen = BTreeSet::from([group.id.as_str()]);
        let mut found = vec![group];
        let mut next = 0;
        while let Some(group) = found.get(next).copied() {
            next += 1;
            let inner = group.inner_groups.iter().filter_map(|id| self.groups.get(id));
            found.extend(inner.filter(|group| seen.insert(group.id.as_str())));
        }
        found
    }
}
