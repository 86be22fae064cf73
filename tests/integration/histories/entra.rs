//! A small model of Entra ID. Events change the model and the simulated tenant alike.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use graph_sim::{GraphSim, Tenant, User};

/// Number of groups; all but the last are assigned at first.
pub(super) const GROUPS: usize = 3;

pub(super) const USER_NAME: usize = 0;
pub(super) const MAIL: usize = 1;
/// The unique attributes, compared without case.
pub(super) const UNIQUE: [usize; 2] = [USER_NAME, MAIL];

type Slot = fn(&mut User) -> &mut Option<String>;

/// The default mapping: SCIM path, column, and the field of the simulator that it is mapped from.
pub(super) const ATTRIBUTES: [(&str, &str, Slot); 8] = [
    ("userName", "user_name", |user| &mut user.user_principal_name),
    ("emails[type eq \"work\"].value", "email", |user| &mut user.mail),
    ("name.givenName", "first_name", |user| &mut user.given_name),
    ("name.familyName", "last_name", |user| &mut user.surname),
    ("title", "title", |user| &mut user.job_title),
    ("addresses[0].country", "country", |user| &mut user.country),
    ("urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:employeeNumber", "employee_number", |user| {
        &mut user.employee_id
    }),
    ("urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:department", "department", |user| {
        &mut user.department
    }),
];

/// One value for each of [`ATTRIBUTES`].
pub(super) type Values = [Option<String>; ATTRIBUTES.len()];

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct UserNumber(pub(super) usize);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Group(pub(super) usize);

impl fmt::Display for UserNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "P{}", self.0)
    }
}

impl fmt::Display for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "group {}", char::from(b'A' + self.0 as u8))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AccountState {
    Enabled,
    Disabled,
    /// In `deletedItems`.
    Deleted,
    /// Neither in `/users` nor in `deletedItems`.
    Gone,
}

impl AccountState {
    pub(super) fn exists(self) -> bool {
        matches!(self, Self::Enabled | Self::Disabled)
    }
}

#[derive(Clone, Debug)]
pub(super) struct ModelUser {
    pub(super) account: AccountState,
    pub(super) direct: bool,
    pub(super) groups: BTreeSet<Group>,
    pub(super) values: Values,
}

#[derive(Clone, Debug)]
pub(super) struct EntraModel {
    pub(super) users: BTreeMap<UserNumber, ModelUser>,
    pub(super) assigned: BTreeSet<Group>,
    /// Groups that hide their members.
    pub(super) hidden: BTreeSet<Group>,
    /// Groups that are wrongly answered as empty in one read.
    pub(super) wrongly_empty: BTreeSet<Group>,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Placement {
    Nowhere,
    Directly,
    In(Group),
    /// Directly and in the group.
    Both(Group),
}

impl fmt::Display for Placement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nowhere => f.write_str("unassigned"),
            Self::Directly => f.write_str("assigned"),
            Self::In(group) => write!(f, "in {group}"),
            Self::Both(group) => write!(f, "assigned and in {group}"),
        }
    }
}

/// An event in Entra ID. An event that is impossible at its time has no effect.
#[derive(Clone, Copy, Debug)]
pub(super) enum Event {
    Add(UserNumber, Placement),
    /// The new user has the user name and mail of another one.
    AddNamesake(UserNumber, Placement, UserNumber),
    User(UserNumber, Change),
    /// Each of the first two or three users gets user name and mail of the next, the last those of the first.
    RotateNames([UserNumber; 3], usize),
    /// The first user gets an attribute of the second, which keeps it.
    CopyAttribute(UserNumber, usize, UserNumber),
    Group(Group, GroupChange),
    /// The attribute is cleared for all users.
    ClearForAll(usize),
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Change {
    /// An attribute gets the value of a number, or is cleared.
    Set(usize, Option<u8>),
    Rename(u8),
    /// User name and mail in upper case.
    Capitals,
    Assign,
    Unassign,
    Join(Group),
    Leave(Group),
    Disable,
    Enable,
    Delete,
    Restore,
    /// Restored if deleted, enabled and assigned.
    Return,
    /// Deleted permanently, with all assignments.
    Purge,
    /// The assignments remain but the user is not found, like in a lagging replica.
    Vanish,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum GroupChange {
    Assign,
    Unassign,
    Empty,
    Hide,
    Show,
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Add(user, placement) => write!(f, "{user} is added {placement}"),
            Self::AddNamesake(user, placement, other) => {
                write!(f, "{user} is added {placement} with the names of {other}")
            }
            Self::User(user, change) => {
                let word = |attribute: &usize| ATTRIBUTES[*attribute].1;
                write!(f, "{user} ")?;
                match change {
                    Change::Set(attribute, Some(number)) => write!(f, "gets {} {number}", word(attribute)),
                    Change::Set(attribute, None) => write!(f, "loses the {}", word(attribute)),
                    Change::Rename(number) => write!(f, "is renamed to n{number}"),
                    Change::Capitals => f.write_str("gets names in upper case"),
                    Change::Assign => f.write_str("is assigned"),
                    Change::Unassign => f.write_str("is unassigned"),
                    Change::Join(group) => write!(f, "joins {group}"),
                    Change::Leave(group) => write!(f, "leaves {group}"),
                    Change::Disable => f.write_str("is disabled"),
                    Change::Enable => f.write_str("is enabled"),
                    Change::Delete => f.write_str("is deleted"),
                    Change::Restore => f.write_str("is restored"),
                    Change::Return => f.write_str("returns"),
                    Change::Purge => f.write_str("is deleted permanently"),
                    Change::Vanish => f.write_str("is not found but still assigned"),
                }
            }
            Self::RotateNames([one, two, three], users) => {
                let third = if *users > 2 { format!(" and {three}") } else { String::new() };
                write!(f, "{one}, {two}{third} rotate user names and mail")
            }
            Self::CopyAttribute(one, attribute, other) => {
                write!(f, "{one} gets the {} of {other} as well", ATTRIBUTES[*attribute].1)
            }
            Self::Group(group, change) => {
                write!(f, "{group} ")?;
                f.write_str(match change {
                    GroupChange::Assign => "is assigned",
                    GroupChange::Unassign => "is unassigned",
                    GroupChange::Empty => "loses all members",
                    GroupChange::Hide => "hides its members",
                    GroupChange::Show => "shows its members",
                })
            }
            Self::ClearForAll(attribute) => write!(f, "the {} of all users is cleared", ATTRIBUTES[*attribute].1),
        }
    }
}

impl EntraModel {
    /// The groups, without users.
    pub(super) fn empty() -> Self {
        Self {
            users: BTreeMap::new(),
            assigned: (0..GROUPS - 1).map(Group).collect(),
            hidden: BTreeSet::new(),
            wrongly_empty: BTreeSet::new(),
        }
    }

    pub(super) fn account(&self, user: UserNumber) -> AccountState {
        self.users.get(&user).map_or(AccountState::Gone, |entry| entry.account)
    }

    fn shows_member(&self, group: Group, entry: &ModelUser) -> bool {
        let listed = !self.hidden.contains(&group) && !self.wrongly_empty.contains(&group);
        listed && entry.account.exists() && entry.groups.contains(&group)
    }

    /// The assignment routes of a user. A direct assignment outlives the account, a membership does not.
    pub(super) fn routes(&self, user: UserNumber) -> BTreeSet<String> {
        let Some(entry) = self.users.get(&user) else { return BTreeSet::new() };
        let groups = self.assigned.iter().filter(|group| self.shows_member(**group, entry)).map(Group::to_string);
        groups.chain(entry.direct.then(|| "direct".to_owned())).collect()
    }

    /// The visible member count of each assigned group.
    pub(super) fn members(&self) -> BTreeMap<Group, u64> {
        let count = |group| self.users.values().filter(|entry| self.shows_member(group, entry)).count() as u64;
        self.assigned.iter().map(|group| (*group, count(*group))).collect()
    }

    pub(super) fn nobody_assigned(&self) -> bool {
        self.assigned.is_empty() && self.users.values().all(|entry| !entry.direct)
    }

    /// Whether a user is assigned and enabled, so that the learner must stay active.
    pub(super) fn wants(&self, user: UserNumber) -> bool {
        self.account(user) == AccountState::Enabled && !self.routes(user).is_empty()
    }

    fn names(&self, user: UserNumber) -> Option<Names> {
        let values = &self.users.get(&user)?.values;
        Some([values[USER_NAME].clone(), values[MAIL].clone()])
    }
}

/// The model and the simulated tenant.
pub(super) struct TenantAndModel<'a> {
    pub(super) entra: &'a mut EntraModel,
    pub(super) sim: &'a GraphSim,
    pub(super) ids: &'a mut ObjectIds,
}

/// The object ids of the users and groups in the simulated tenant.
#[derive(Clone, Debug, Default)]
pub(super) struct ObjectIds {
    pub(super) users: BTreeMap<UserNumber, String>,
    pub(super) groups: BTreeMap<Group, String>,
}

impl ObjectIds {
    /// Replaces the ids in a text with names.
    pub(super) fn with_names(&self, mut text: String) -> String {
        let users = self.users.iter().map(|(user, id)| (user.to_string(), id));
        for (name, id) in users.chain(self.groups.iter().map(|(group, id)| (group.to_string(), id))) {
            text = text.replace(id, &name).replace(&id.to_uppercase(), &format!("UPPER {name}"));
        }
        text
    }
}

impl TenantAndModel<'_> {
    pub(super) fn apply_event(&mut self, event: Event) {
        let Self { entra, sim, ids } = self;
        sim.tenant(|tenant| {
            match event {
                Event::Add(user, placement) => add_user(user, placement, None, entra, tenant, ids),
                Event::AddNamesake(user, placement, other) => {
                    let names = entra.names(other);
                    add_user(user, placement, names, entra, tenant, ids);
                }
                Event::User(user, Change::Return) => {
                    for change in [Change::Restore, Change::Enable, Change::Assign] {
                        apply_user_change(user, change, entra, tenant, ids);
                    }
                }
                Event::User(user, change) => apply_user_change(user, change, entra, tenant, ids),
                Event::RotateNames(users, count) => rotate_names(&users[..count], entra),
                Event::CopyAttribute(user, attribute, other) => {
                    let value = entra.users.get(&other).and_then(|other| other.values[attribute].clone());
                    if let (Some(value), Some(entry)) = (value, entra.users.get_mut(&user)) {
                        entry.values[attribute] = Some(value);
                    }
                }
                Event::Group(group, change) => apply_group_change(group, change, entra, tenant, ids),
                Event::ClearForAll(attribute) => entra.users.values_mut().for_each(|one| one.values[attribute] = None),
            }
            for (user, entry) in entra.users.iter().filter(|(_, entry)| entry.account.exists()) {
                let user = tenant.user_mut(&ids.users[user]);
                user.account_enabled = Some(entry.account == AccountState::Enabled);
                for ((_, _, slot), value) in ATTRIBUTES.iter().zip(&entry.values) {
                    slot(user).clone_from(value);
                }
            }
        });
    }
}

type Names = [Option<String>; 2];

fn add_user(
    user: UserNumber,
    placement: Placement,
    names: Option<Names>,
    entra: &mut EntraModel,
    tenant: &mut Tenant,
    ids: &mut ObjectIds,
) {
    if entra.users.contains_key(&user) {
        return;
    }
    let text = |text: &str| Some(text.to_owned());
    let own = text(&format!("{}@harbourworks.example", user.to_string().to_lowercase()));
    let [user_name, mail] = names.unwrap_or([own.clone(), own]);
    let first_name = text(&user.to_string());
    let values = [user_name, mail, first_name, text("User"), None, text("Utopia"), None, text("department 0")];
    let (direct, group) = match placement {
        Placement::Nowhere => (false, None),
        Placement::Directly => (true, None),
        Placement::In(group) => (false, Some(group)),
        Placement::Both(group) => (true, Some(group)),
    };
    let id = tenant.add_user(User::named(&user.to_string(), "Newcomer"));
    if let Some(group) = group {
        tenant.add_member(&ids.groups[&group], &id);
    }
    if direct {
        tenant.assign_user(&id);
    }
    ids.users.insert(user, id);
    let groups = group.into_iter().collect();
    entra.users.insert(user, ModelUser { account: AccountState::Enabled, direct, groups, values });
}

fn apply_user_change(user: UserNumber, change: Change, entra: &mut EntraModel, tenant: &mut Tenant, ids: &ObjectIds) {
    let Some(ModelUser { account, direct, groups, values }) = entra.users.get_mut(&user) else { return };
    let id = ids.users[&user].as_str();
    match change {
        Change::Set(attribute, number) => values[attribute] = number.map(|number| value(attribute, number)),
        Change::Rename(number) => UNIQUE.iter().for_each(|one| values[*one] = Some(value(*one, number))),
        Change::Capitals => UNIQUE.iter().for_each(|one| values[*one] = values[*one].as_deref().map(str::to_uppercase)),
        Change::Unassign => {
            *direct = false;
            tenant.unassign(id);
        }
        Change::Leave(group) => {
            groups.remove(&group);
            tenant.remove_member(&ids.groups[&group], id);
        }
        Change::Assign if *account != AccountState::Gone => {
            *direct = true;
            tenant.assign_user(id);
        }
        Change::Join(group) if *account != AccountState::Gone => {
            groups.insert(group);
            tenant.add_member(&ids.groups[&group], id);
        }
        Change::Disable if account.exists() => *account = AccountState::Disabled,
        Change::Enable if account.exists() => *account = AccountState::Enabled,
        Change::Delete if account.exists() => {
            *account = AccountState::Deleted;
            tenant.delete_user(id);
        }
        Change::Restore if *account == AccountState::Deleted => {
            *account = AccountState::Enabled;
            tenant.restore_user(id);
        }
        Change::Vanish => {
            *account = AccountState::Gone;
            tenant.vanish_user(id);
        }
        Change::Purge => {
            (*account, *direct) = (AccountState::Gone, false);
            groups.clear();
            tenant.purge_user(id);
        }
        Change::Assign
        | Change::Join(_)
        | Change::Disable
        | Change::Enable
        | Change::Delete
        | Change::Restore
        | Change::Return => {}
    }
}

fn value(attribute: usize, number: u8) -> String {
    match attribute {
        USER_NAME | MAIL => format!("n{number}@harbourworks.example"),
        _ => format!("{} {number}", ATTRIBUTES[attribute].1),
    }
}

fn rotate_names(users: &[UserNumber], entra: &mut EntraModel) {
    let names: Option<Vec<_>> = users.iter().map(|user| entra.names(*user)).collect();
    let distinct = users.iter().collect::<BTreeSet<_>>().len() == users.len();
    if let Some(mut names) = names.filter(|_| distinct) {
        names.rotate_left(1);
        for (user, [user_name, mail]) in users.iter().zip(names) {
            if let Some(entry) = entra.users.get_mut(user) {
                (entry.values[USER_NAME], entry.values[MAIL]) = (user_name, mail);
            }
        }
    }
}

fn apply_group_change(group: Group, change: GroupChange, entra: &mut EntraModel, tenant: &mut Tenant, ids: &ObjectIds) {
    let id = &ids.groups[&group];
    match change {
        GroupChange::Assign => {
            entra.assigned.insert(group);
            tenant.assign_group(id);
        }
        GroupChange::Unassign => {
            entra.assigned.remove(&group);
            tenant.unassign(id);
        }
        GroupChange::Empty => {
            for (user, entry) in &mut entra.users {
                entry.groups.remove(&group);
                tenant.remove_member(id, &ids.users[user]);
            }
        }
        GroupChange::Hide => {
            entra.hidden.insert(group);
            tenant.group_mut(id).visibility = Some("HiddenMembership".to_owned());
        }
        GroupChange::Show => {
            entra.hidden.remove(&group);
            tenant.group_mut(id).visibility = None;
        }
    }
}
