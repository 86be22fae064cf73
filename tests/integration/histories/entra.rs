//! What Entra ID knows, as small as it can be, and what happens there: to the simulated tenant and to its picture
//! here alike.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use graph_sim::{GraphSim, Tenant, User};

/// So many groups there are; all but the last are assigned at first.
pub(super) const GROUPS: usize = 3;

pub(super) const USER_NAME: usize = 0;
pub(super) const MAIL: usize = 1;
/// The attributes that no two learners share, letter case ignored.
pub(super) const UNIQUE: [usize; 2] = [USER_NAME, MAIL];

type Slot = fn(&mut User) -> &mut Option<String>;

/// The attributes that are mapped unless configured: SCIM path, column, and where the simulator keeps the source.
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
pub(super) struct AssignedUser(pub(super) usize);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Group(pub(super) usize);

impl fmt::Display for AssignedUser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "P{}", self.0)
    }
}

impl fmt::Display for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "group {}", char::from(b'A' + self.0 as u8))
    }
}

/// What has become of an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Account {
    Enabled,
    Disabled,
    /// In the deleted items.
    Deleted,
    /// Nowhere at all.
    Gone,
}

impl Account {
    fn exists(self) -> bool {
        matches!(self, Self::Enabled | Self::Disabled)
    }
}

#[derive(Clone, Debug)]
pub(super) struct Employee {
    pub(super) account: Account,
    pub(super) direct: bool,
    pub(super) groups: BTreeSet<Group>,
    pub(super) values: Values,
}

/// The whole of it.
#[derive(Clone, Debug)]
pub(super) struct Entra {
    pub(super) users: BTreeMap<AssignedUser, Employee>,
    pub(super) assigned: BTreeSet<Group>,
    /// Groups whose members are not told.
    pub(super) hidden: BTreeSet<Group>,
    /// Groups that were told to be empty this time, by mistake.
    pub(super) silent: BTreeSet<Group>,
}

/// How somebody new is assigned.
#[derive(Clone, Copy, Debug)]
pub(super) enum DatabaseLocation {
    Nowhere,
    Directly,
    In(Group),
    /// Both ways.
    Twice(Group),
}

impl fmt::Display for DatabaseLocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nowhere => f.write_str("for something else"),
            Self::Directly => f.write_str("and assigned"),
            Self::In(group) => write!(f, "into {group}"),
            Self::Twice(group) => write!(f, "into {group} and assigned as well"),
        }
    }
}

/// What happens in Entra ID. Whatever cannot happen when its turn comes, does not.
#[derive(Clone, Copy, Debug)]
pub(super) enum Event {
    Hire(AssignedUser, DatabaseLocation),
    /// Hired with user name and mail of somebody else.
    Namesake(AssignedUser, DatabaseLocation, AssignedUser),
    One(AssignedUser, Fate),
    /// Each gets user name and mail of the next, the last those of the first.
    Ring([AssignedUser; 3], usize),
    /// The first gets this attribute of the second, who keeps it.
    Copies(AssignedUser, usize, AssignedUser),
    Group(Group, Turn),
    /// Nobody has this attribute any more.
    Wiped(usize),
}

/// What happens to one user.
#[derive(Clone, Copy, Debug)]
pub(super) enum Fate {
    /// An attribute gets a value of this number, or none.
    Set(usize, Option<u8>),
    Rename(u8),
    /// Another letter case, which is no change.
    Capitals,
    Assign,
    Unassign,
    Join(Group),
    Leave(Group),
    Disable,
    Enable,
    Delete,
    Restore,
    /// Enabled, restored if need be, and assigned.
    Return,
    /// Deleted for good, with all assignments.
    Purge,
    /// As a replica that lags shows it: the assignment is there, the account is nowhere.
    Vanish,
}

/// What happens to a group.
#[derive(Clone, Copy, Debug)]
pub(super) enum Turn {
    Assign,
    Unassign,
    Empty,
    Hide,
    Show,
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hire(user, place) => write!(f, "{user} is hired {place}"),
            Self::Namesake(user, place, other) => write!(f, "{user}, called as {other}, is hired {place}"),
            Self::One(user, fate) => {
                let word = |attribute: &usize| ATTRIBUTES[*attribute].1;
                write!(f, "{user} ")?;
                match fate {
                    Fate::Set(attribute, Some(number)) => write!(f, "gets {} {number}", word(attribute)),
                    Fate::Set(attribute, None) => write!(f, "has no {} any more", word(attribute)),
                    Fate::Rename(number) => write!(f, "is called n{number} from now on"),
                    Fate::Capitals => f.write_str("is written in capitals"),
                    Fate::Assign => f.write_str("is assigned"),
                    Fate::Unassign => f.write_str("is unassigned"),
                    Fate::Join(group) => write!(f, "joins {group}"),
                    Fate::Leave(group) => write!(f, "leaves {group}"),
                    Fate::Disable => f.write_str("is disabled"),
                    Fate::Enable => f.write_str("is enabled"),
                    Fate::Delete => f.write_str("is deleted"),
                    Fate::Restore => f.write_str("is restored"),
                    Fate::Return => f.write_str("returns"),
                    Fate::Purge => f.write_str("is deleted for good"),
                    Fate::Vanish => f.write_str("vanishes, but for the assignment"),
                }
            }
            Self::Ring([one, two, three], users) => {
                let third = if *users > 2 { format!(" and {three}") } else { String::new() };
                write!(f, "{one}, {two}{third} hand on user name and mail in a ring")
            }
            Self::Copies(one, attribute, other) => {
                write!(f, "{one} gets the {} of {other} as well", ATTRIBUTES[*attribute].1)
            }
            Self::Group(group, turn) => {
                write!(f, "{group} ")?;
                f.write_str(match turn {
                    Turn::Assign => "is assigned",
                    Turn::Unassign => "is unassigned",
                    Turn::Empty => "runs empty",
                    Turn::Hide => "hides its members",
                    Turn::Show => "shows its members",
                })
            }
            Self::Wiped(attribute) => write!(f, "nobody has a {} any more", ATTRIBUTES[*attribute].1),
        }
    }
}

impl Entra {
    /// The groups, and nobody.
    pub(super) fn empty() -> Self {
        Self {
            users: BTreeMap::new(),
            assigned: (0..GROUPS - 1).map(Group).collect(),
            hidden: BTreeSet::new(),
            silent: BTreeSet::new(),
        }
    }

    pub(super) fn account(&self, user: AssignedUser) -> Account {
        self.users.get(&user).map_or(Account::Gone, |employee| employee.account)
    }

    fn shows(&self, group: Group, employee: &Employee) -> bool {
        let told = !self.hidden.contains(&group) && !self.silent.contains(&group);
        told && employee.account.exists() && employee.groups.contains(&group)
    }

    /// The ways in which a user is on the application. An assignment outlives the account; a membership shows only
    /// as long as there is one.
    pub(super) fn ways(&self, user: AssignedUser) -> BTreeSet<String> {
        let Some(employee) = self.users.get(&user) else { return BTreeSet::new() };
        let groups = self.assigned.iter().filter(|group| self.shows(**group, employee)).map(Group::to_string);
        groups.chain(employee.direct.then(|| "direct".to_owned())).collect()
    }

    /// How many members each assigned group shows.
    pub(super) fn members(&self) -> BTreeMap<Group, u64> {
        let count = |group| self.users.values().filter(|employee| self.shows(group, employee)).count() as u64;
        self.assigned.iter().map(|group| (*group, count(*group))).collect()
    }

    /// Whether the application has no assignment at all.
    pub(super) fn nobody_assigned(&self) -> bool {
        self.assigned.is_empty() && self.users.values().all(|employee| !employee.direct)
    }

    /// Whether this user is assigned and enabled, so that nobody may switch the learner off.
    pub(super) fn wants(&self, user: AssignedUser) -> bool {
        self.account(user) == Account::Enabled && !self.ways(user).is_empty()
    }

    /// Both of the values that are unique.
    fn names(&self, user: AssignedUser) -> Option<Names> {
        let values = &self.users.get(&user)?.values;
        Some([values[USER_NAME].clone(), values[MAIL].clone()])
    }
}

/// A tenant and its picture.
pub(super) struct Scene<'a> {
    pub(super) entra: &'a mut Entra,
    pub(super) sim: &'a GraphSim,
    pub(super) ids: &'a mut Ids,
}

/// The ids of a tenant.
#[derive(Clone, Debug, Default)]
pub(super) struct Ids {
    pub(super) users: BTreeMap<AssignedUser, String>,
    pub(super) groups: BTreeMap<Group, String>,
}

impl Ids {
    /// `text` with names in place of the ids.
    pub(super) fn named(&self, mut text: String) -> String {
        for (user, id) in &self.users {
            text = text.replace(id, &user.to_string());
        }
        for (group, id) in &self.groups {
            text = text.replace(id, &group.to_string());
        }
        text
    }
}

impl Scene<'_> {
    /// Lets `event` happen.
    pub(super) fn happens(&mut self, event: Event) {
        let Self { entra, sim, ids } = self;
        sim.tenant(|tenant| {
            match event {
                Event::Hire(user, place) => hire(user, place, None, entra, tenant, ids),
                Event::Namesake(user, place, other) => {
                    let names = entra.names(other);
                    hire(user, place, names, entra, tenant, ids);
                }
                Event::One(user, Fate::Return) => {
                    for fate in [Fate::Restore, Fate::Enable, Fate::Assign] {
                        befall(user, fate, entra, tenant, ids);
                    }
                }
                Event::One(user, fate) => befall(user, fate, entra, tenant, ids),
                Event::Ring(users, count) => ring(&users[..count], entra),
                Event::Copies(user, attribute, other) => {
                    let value = entra.users.get(&other).and_then(|other| other.values[attribute].clone());
                    if let (Some(value), Some(employee)) = (value, entra.users.get_mut(&user)) {
                        employee.values[attribute] = Some(value);
                    }
                }
                Event::Group(group, turn) => turn_group(group, turn, entra, tenant, ids),
                Event::Wiped(attribute) => entra.users.values_mut().for_each(|one| one.values[attribute] = None),
            }
            for (user, employee) in entra.users.iter().filter(|(_, employee)| employee.account.exists()) {
                let user = tenant.user_mut(&ids.users[user]);
                user.account_enabled = Some(employee.account == Account::Enabled);
                for ((_, _, slot), value) in ATTRIBUTES.iter().zip(&employee.values) {
                    slot(user).clone_from(value);
                }
            }
        });
    }
}

type Names = [Option<String>; 2];

fn hire(
    user: AssignedUser,
    place: DatabaseLocation,
    names: Option<Names>,
    entra: &mut Entra,
    tenant: &mut Tenant,
    ids: &mut Ids,
) {
    if entra.users.contains_key(&user) {
        return;
    }
    let text = |text: &str| Some(text.to_owned());
    let own = text(&format!("{}@harbourworks.example", user.to_string().to_lowercase()));
    let [user_name, mail] = names.unwrap_or([own.clone(), own]);
    let named = text(&user.to_string());
    let values = [user_name, mail, named, text("Person"), None, text("Utopia"), None, text("department 0")];
    let (direct, group) = match place {
        DatabaseLocation::Nowhere => (false, None),
        DatabaseLocation::Directly => (true, None),
        DatabaseLocation::In(group) => (false, Some(group)),
        DatabaseLocation::Twice(group) => (true, Some(group)),
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
    entra.users.insert(user, Employee { account: Account::Enabled, direct, groups, values });
}

fn befall(user: AssignedUser, fate: Fate, entra: &mut Entra, tenant: &mut Tenant, ids: &Ids) {
    let Some(Employee { account, direct, groups, values }) = entra.users.get_mut(&user) else { return };
    let id = ids.users[&user].as_str();
    match fate {
        Fate::Set(attribute, number) => values[attribute] = number.map(|number| value(attribute, number)),
        Fate::Rename(number) => UNIQUE.iter().for_each(|one| values[*one] = Some(value(*one, number))),
        Fate::Capitals => UNIQUE.iter().for_each(|one| values[*one] = values[*one].as_deref().map(str::to_uppercase)),
        Fate::Unassign => {
            *direct = false;
            tenant.unassign(id);
        }
        Fate::Leave(group) => {
            groups.remove(&group);
            tenant.remove_member(&ids.groups[&group], id);
        }
        Fate::Assign if *account != Account::Gone => {
            *direct = true;
            tenant.assign_user(id);
        }
        Fate::Join(group) if *account != Account::Gone => {
            groups.insert(group);
            tenant.add_member(&ids.groups[&group], id);
        }
        Fate::Disable if account.exists() => *account = Account::Disabled,
        Fate::Enable if account.exists() => *account = Account::Enabled,
        Fate::Delete if account.exists() => {
            *account = Account::Deleted;
            tenant.delete_user(id);
        }
        Fate::Restore if *account == Account::Deleted => {
            *account = Account::Enabled;
            tenant.restore_user(id);
        }
        Fate::Vanish => {
            *account = Account::Gone;
            tenant.vanish_user(id);
        }
        Fate::Purge => {
            (*account, *direct) = (Account::Gone, false);
            groups.clear();
            tenant.purge_user(id);
        }
        Fate::Assign | Fate::Join(_) | Fate::Disable | Fate::Enable | Fate::Delete | Fate::Restore | Fate::Return => {}
    }
}

/// The value of a number.
fn value(attribute: usize, number: u8) -> String {
    match attribute {
        USER_NAME | MAIL => format!("n{number}@harbourworks.example"),
        _ => format!("{} {number}", ATTRIBUTES[attribute].1),
    }
}

fn ring(users: &[AssignedUser], entra: &mut Entra) {
    let names: Option<Vec<_>> = users.iter().map(|user| entra.names(*user)).collect();
    let distinct = users.iter().collect::<BTreeSet<_>>().len() == users.len();
    if let Some(mut names) = names.filter(|_| distinct) {
        names.rotate_left(1);
        for (user, [user_name, mail]) in users.iter().zip(names) {
            if let Some(employee) = entra.users.get_mut(user) {
                (employee.values[USER_NAME], employee.values[MAIL]) = (user_name, mail);
            }
        }
    }
}

fn turn_group(group: Group, turn: Turn, entra: &mut Entra, tenant: &mut Tenant, ids: &Ids) {
    let id = &ids.groups[&group];
    match turn {
        Turn::Assign => {
            entra.assigned.insert(group);
            tenant.assign_group(id);
        }
        Turn::Unassign => {
            entra.assigned.remove(&group);
            tenant.unassign(id);
        }
        Turn::Empty => {
            for (user, employee) in &mut entra.users {
                employee.groups.remove(&group);
                tenant.remove_member(id, &ids.users[user]);
            }
        }
        Turn::Hide => {
            entra.hidden.insert(group);
            tenant.group_mut(id).visibility = Some("HiddenMembership".to_owned());
        }
        Turn::Show => {
            entra.hidden.remove(&group);
            tenant.group_mut(id).visibility = None;
        }
    }
}
