//! Builds [`Desired`] page by page. A user is kept in full only when something may have to be written.
//!
//! A learner that is up to date keeps the hash of the row that said so. While Graph returns the same row under the same rules,
//! the assessment is the same, and the row is neither decoded nor mapped.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;

use super::Rules;
use crate::directory::{AccountRead, AssessAccount, Snapshot};
use crate::expression::Steps;
use crate::mapping::MappedUser;
use crate::model::{
    APP_ROLE_ASSIGNMENTS, ByUser, EntraId, Fingerprint, Learner, LinkedLearners, Reason, RequestId, Restrictions,
    Routes, RowHash, UnclearPrincipal, UserList, Value,
};
use crate::plan::{Assessment, AssignedUser, Desired, Rejection};
use crate::scope::ScopeDecision;

/// How many ids one log line names.
const MAX_LOGGED: usize = 20;

/// Assesses accounts, on several threads.
pub(super) struct Assessor {
    linked: Arc<LinkedLearners>,
    rules: Arc<Rules>,
    now: Timestamp,
    /// The single user.
    watched: Option<EntraId>,
    name_slot: Option<usize>,
    /// The slot of the app roles, where the mapping uses only one of them.
    role_slot: Option<usize>,
    /// The key for hashes of rows; `None` when the same row may be assessed otherwise in another cycle.
    row_key: Option<[u8; 32]>,
}

/// An account, assessed.
pub(super) struct Assessed {
    assessment: Assessment,
    request_id: RequestId,
    /// The account of the single user.
    seen: Option<Box<AccountRead>>,
    /// Which lists of the configuration have its name, if the account was read and has one.
    listed: Option<ListedByName>,
    /// Whether it has several app roles, if the account was read.
    several_roles: Option<bool>,
    /// The row of an unchanged learner, unless it is the known one.
    new_row: Option<RowHash>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
struct ListedByName {
    only: bool,
    ignore: bool,
    protected: bool,
}

impl Assessor {
    /// An assessor that also keeps the account of `watched`.
    pub(super) fn new(
        linked: Arc<LinkedLearners>,
        rules: &Arc<Rules>,
        now: Timestamp,
        watched: Option<EntraId>,
    ) -> Self {
        let (name_slot, role_slot) =
            (rules.selection.position("userPrincipalName"), rules.selection.position(APP_ROLE_ASSIGNMENTS));
        let role_slot = role_slot.filter(|_| rules.mapping.picks_one_role());
        let row_key = (!rules.mapping.reads_clock()).then(|| row_key(rules));
        Self { linked, rules: Arc::clone(rules), now, watched, name_slot, role_slot, row_key }
    }

    fn row_hash(&self, row: &str) -> Option<RowHash> {
        RowHash::compute(self.row_key.as_ref()?, row)
    }

    fn compare(&self, user: EntraId, mapped: MappedUser, row: Option<RowHash>) -> Assessment {
        match mapped {
            MappedUser::Inactive { user_name: _ } => Assessment::Leaving(Reason::MappedInactive),
            MappedUser::Rejected { reason, detail, user_name } => {
                Assessment::Rejected(Box::new(Rejection { reason, detail, user_name }))
            }
            MappedUser::Learner(mut learner) => match self.linked.get(&user) {
                Some(linked) if linked.active && linked.fingerprint == Fingerprint::compute(&learner.values) => {
                    Assessment::Unchanged
                }
                _ => {
                    learner.values.shrink_to_fit();
                    Assessment::Wanted(Arc::new(Learner { row, ..learner }))
                }
            },
        }
    }
}

impl AssessAccount<Assessed> for Assessor {
    fn assess(&self, read: &AccountRead, row: Option<&str>, request_id: &RequestId) -> Assessed {
        let request_id = request_id.clone();
        let seen = (self.watched == Some(read.user())).then(|| Box::new(read.clone()));
        let user = match read {
            AccountRead::NotFound(_) => return Assessed::unread(Assessment::NotFound, request_id, seen),
            AccountRead::Unreadable { detail, .. } => {
                return Assessed::unread(unreadable(detail.clone()), request_id, seen);
            }
            AccountRead::User(user) => user,
        };
        let user_name = self.name_slot.and_then(|slot| match user.values.get(slot) {
            Some(Value::Text(user_name)) => Some(user_name),
            _ => None,
        });
        let Restrictions { only, ignore } = &self.rules.restrictions;
        let listed = user_name.map(|user_name| ListedByName {
            only: only.has_user_name(user_name),
            ignore: ignore.has_user_name(user_name),
            protected: self.rules.limits.protected.has_user_name(user_name),
        });
        // The names of listed users are needed in each cycle.
        let is_listed = listed.is_some_and(|listed| listed != ListedByName::NOWHERE);
        let row = row.filter(|_| !is_listed).and_then(|row| self.row_hash(row));
        let steps = Steps::for_one_user();
        let assessment = match self.rules.scope.decide(user, &steps) {
            ScopeDecision::In => self.compare(user.id, self.rules.mapping.apply(user, self.now, &steps), row),
            ScopeDecision::Out(reason) => Assessment::Leaving(reason),
            ScopeDecision::Undecided { reason, detail } => {
                Assessment::Rejected(Box::new(Rejection { reason, detail, user_name: None }))
            }
        };
        let is_unchanged = matches!(assessment, Assessment::Unchanged);
        let known = self.linked.get(&user.id).and_then(|linked| linked.row);
        let new_row = row.filter(|row| is_unchanged && known != Some(*row));
        let is_explained = self.watched.is_none_or(|watched| watched == user.id);
        let has_several = self.role_slot.is_some_and(|slot| count_roles(&user.values[slot]) > 1);
        Assessed { assessment, request_id, seen, listed, several_roles: Some(is_explained && has_several), new_row }
    }

    fn recall(&self, user: EntraId, row: &str, request_id: &RequestId) -> Option<Assessed> {
        let known = self.linked.get(&user).filter(|linked| linked.active)?.row?;
        if self.row_hash(row)? != known {
            return None;
        }
        let (assessment, request_id) = (Assessment::Unchanged, request_id.clone());
        let (listed, several_roles) = (Some(ListedByName::NOWHERE), Some(false));
        Some(Assessed { assessment, request_id, seen: None, listed, several_roles, new_row: None })
    }
}

/// A key of everything that decides about a row: the rules, and the names that are protected. No row of a listed user is
/// known.
fn row_key(rules: &Rules) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new_keyed(&rules.hash);
    for name in &rules.limits.protected.user_names {
        hasher.update(&(name.len() as u64).to_le_bytes()).update(name.as_bytes());
    }
    *hasher.finalize().as_bytes()
}

impl ListedByName {
    const NOWHERE: Self = Self { only: false, ignore: false, protected: false };
}

impl Assessed {
    fn unread(assessment: Assessment, request_id: RequestId, seen: Option<Box<AccountRead>>) -> Self {
        Self { assessment, request_id, seen, listed: None, several_roles: None, new_row: None }
    }
}

/// Collects the assessed accounts.
pub(super) struct Collector<'a> {
    linked: &'a LinkedLearners,
    rules: &'a Rules,
    /// Without their routes, which only a complete read knows.
    users: Vec<(EntraId, AssignedUser)>,
    no_routes: Routes,
    seen: Option<AccountRead>,
    /// With the ids of users that are listed by name.
    restrictions: Restrictions,
    protected: BTreeSet<EntraId>,
    several_roles: BTreeSet<EntraId>,
    new_rows: NewRows,
}

/// The rows of unchanged learners that the cache does not know.
pub(super) type NewRows = Vec<(EntraId, RowHash)>;

impl<'a> Collector<'a> {
    pub(super) fn new(linked: &'a LinkedLearners, rules: &'a Rules) -> Self {
        Self {
            linked,
            rules,
            // Most users are learners already.
            users: Vec::with_capacity(linked.len()),
            no_routes: Routes::from_iter([]),
            seen: None,
            restrictions: rules.restrictions.clone(),
            protected: BTreeSet::new(),
            several_roles: BTreeSet::new(),
            new_rows: NewRows::new(),
        }
    }

    /// Adds an account. A second read of the same account replaces the first.
    pub(super) fn add(&mut self, user: EntraId, assessed: Assessed) {
        let Assessed { assessment, request_id, seen, listed, several_roles, new_row } = assessed;
        self.users.push((user, AssignedUser { assessment, routes: self.no_routes.clone(), request_id }));
        self.new_rows.extend(new_row.map(|row| (user, row)));
        if let Some(seen) = seen {
            self.seen = Some(*seen);
        }
        match several_roles {
            Some(true) => drop(self.several_roles.insert(user)),
            Some(false) => drop(self.several_roles.remove(&user)),
            None => {}
        }
        let Some(listed) = listed else { return };
        // An earlier row of the user may have shown another name.
        let configured = &self.rules.restrictions;
        let Restrictions { only, ignore } = &mut self.restrictions;
        for (named, configured, is_listed) in
            [(only, &configured.only, listed.only), (ignore, &configured.ignore, listed.ignore)]
        {
            if is_listed {
                named.ids.insert(user);
            } else if !configured.ids.contains(&user) {
                named.ids.remove(&user);
            }
        }
        if listed.protected {
            self.protected.insert(user);
        } else {
            self.protected.remove(&user);
        }
    }

    /// The users that the complete snapshot names, and no other.
    pub(super) fn seal(self, snapshot: &Snapshot) -> (Desired, Option<AccountRead>, NewRows) {
        if !self.several_roles.is_empty() {
            let some =
                self.several_roles.iter().take(MAX_LOGGED).map(ToString::to_string).collect::<Vec<_>>().join(" ");
            let users = self.several_roles.len();
            tracing::warn!(users, user.id = some, "users have several app roles; the mapping uses the first by name");
        }
        let Restrictions { only, ignore } = self.restrictions;
        let with_members = |mut named: UserList| {
            let members = named.ids.iter().filter_map(|group| snapshot.named_group_members(*group)).flatten();
            named.ids.extend(members.copied().collect::<Vec<_>>());
            named
        };
        // The last read of a user counts.
        let mut users = ByUser::from(self.users);
        users.retain(|id, user| {
            let routes = snapshot.routes(*id);
            user.routes = routes.unwrap_or(&self.no_routes).clone();
            routes.is_some()
        });
        // The principal of an unclear assignment is known to be a user if it is a learner.
        let unclear = snapshot.unclear().principals.iter().filter_map(|(id, why)| {
            let assessment = match why {
                UnclearPrincipal::NotFound => Assessment::NotFound,
                UnclearPrincipal::Unreadable(detail) => unreadable(detail.clone()),
            };
            Some((*id, AssignedUser::new(assessment, self.linked.get(id)?.routes.clone())))
        });
        // So is a member of unknown type.
        let untyped = snapshot.untyped_missing().filter(|(id, _)| self.linked.contains_key(id));
        let untyped = untyped.map(|(id, routes)| (id, AssignedUser::new(Assessment::NotFound, routes.clone())));
        // An unclear principal counts more than a member of unknown type.
        let others: BTreeMap<_, _> = untyped.chain(unclear).filter(|(id, _)| !users.contains_key(id)).collect();
        users.extend(others);
        let restrictions = Restrictions { only: with_members(only), ignore: with_members(ignore) };
        (Desired { users, restrictions, protected: self.protected }, self.seen, self.new_rows)
    }
}

/// The number of app roles with different names.
pub(crate) fn count_roles(roles: &Value) -> usize {
    let Value::List(roles) = roles else { return 0 };
    let names = roles.iter().filter_map(|role| match role {
        Value::Text(name) => Some(name),
        _ => None,
    });
    names.collect::<BTreeSet<_>>().len()
}

/// Adds leavers that the configuration lists by the name that Entra stores, as the confirmation read it.
pub(super) fn add_confirmed(rules: &Rules, user_names: &BTreeMap<EntraId, String>, desired: &mut Desired) {
    let Desired { users: _, restrictions, protected } = desired;
    user_names.iter().for_each(|(user, user_name)| add_listed(rules, *user, user_name, restrictions, protected));
}

fn add_listed(
    rules: &Rules,
    user: EntraId,
    user_name: &str,
    Restrictions { only, ignore }: &mut Restrictions,
    protected: &mut BTreeSet<EntraId>,
) {
    for named in [only, ignore] {
        if named.has_user_name(user_name) {
            named.ids.insert(user);
        }
    }
    if rules.limits.protected.has_user_name(user_name) {
        protected.insert(user);
    }
}

fn unreadable(detail: String) -> Assessment {
    Assessment::Rejected(Box::new(Rejection { reason: Reason::Unreadable, detail, user_name: None }))
}
