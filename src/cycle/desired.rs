//! Builds [`Desired`] page by page. A user is kept in full only when something may have to be written.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;

use super::Rules;
use crate::directory::{AccountRead, Snapshot};
use crate::expression::Steps;
use crate::mapping::MappedUser;
use crate::model::{
    APP_ROLE_ASSIGNMENTS, ByUser, EntraId, Fingerprint, LinkedLearners, Reason, RequestId, Restrictions, Routes,
    UnclearPrincipal, UserList, Value,
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
}

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
        Self { linked, rules: Arc::clone(rules), now, watched, name_slot, role_slot }
    }

    pub(super) fn assess(&self, read: &AccountRead, request_id: &RequestId) -> Assessed {
        let request_id = request_id.clone();
        let seen = (self.watched == Some(read.user())).then(|| Box::new(read.clone()));
        let user = match read {
            AccountRead::NotFound(_) => return Assessed::unread(Assessment::NotFound, request_id, seen),
            AccountRead::Unreadable { detail, .. } => {
                return Assessed::unread(unreadable(detail.clone()), request_id, seen);
            }
            AccountRead::User(user) => user,
        };
        let steps = Steps::for_one_user();
        let assessment = match self.rules.scope.decide(user, &steps) {
            ScopeDecision::In => self.compare(user.id, self.rules.mapping.apply(user, self.now, &steps)),
            ScopeDecision::Out(reason) => Assessment::Leaving(reason),
            ScopeDecision::Undecided { reason, detail } => {
                Assessment::Rejected(Box::new(Rejection { reason, detail, user_name: None }))
            }
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
        let is_explained = self.watched.is_none_or(|watched| watched == user.id);
        let has_several = self.role_slot.is_some_and(|slot| count_roles(&user.values[slot]) > 1);
        Assessed { assessment, request_id, seen, listed, several_roles: Some(is_explained && has_several) }
    }

    fn compare(&self, user: EntraId, mapped: MappedUser) -> Assessment {
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
                    Assessment::Wanted(Arc::new(learner))
                }
            },
        }
    }
}

impl Assessed {
    fn unread(assessment: Assessment, request_id: RequestId, seen: Option<Box<AccountRead>>) -> Self {
        Self { assessment, request_id, seen, listed: None, several_roles: None }
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
}

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
        }
    }

    /// Adds an account. A second read of the same account replaces the first.
    pub(super) fn add(&mut self, user: EntraId, assessed: Assessed) {
        let Assessed { assessment, request_id, seen, listed, several_roles } = assessed;
        self.users.push((user, AssignedUser { assessment, routes: self.no_routes.clone(), request_id }));
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
    pub(super) fn seal(self, snapshot: &Snapshot) -> (Desired, Option<AccountRead>) {
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
        (Desired { users, restrictions, protected: self.protected }, self.seen)
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
