//! Builds [`Desired`] page by page. A user is kept in full only when something may have to be written.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use super::Rules;
use crate::directory::{AccountRead, Snapshot};
use crate::expression::Steps;
use crate::mapping::MappedUser;
use crate::model::{
    APP_ROLE_ASSIGNMENTS, ByUser, EntraId, Fingerprint, LinkedLearners, Reason, Restrictions, Routes, UnclearPrincipal,
    User, UserList, Value,
};
use crate::plan::{Assessment, AssignedUser, Desired, Rejection};
use crate::scope::ScopeDecision;

/// How many ids one log line names.
const MAX_LOGGED: usize = 20;

/// Assesses each account as it is read.
pub(super) struct Collector<'a> {
    linked: &'a LinkedLearners,
    rules: &'a Rules,
    now: Timestamp,
    /// Without their routes, which only a complete read knows.
    users: Vec<(EntraId, AssignedUser)>,
    no_routes: Routes,
    /// The single user, and its account as it was read.
    watched: Option<EntraId>,
    seen: Option<AccountRead>,
    /// With the ids of users that are listed by name.
    restrictions: Restrictions,
    protected: BTreeSet<EntraId>,
    /// The slot of the app roles, where the mapping uses only one of them.
    role_slot: Option<usize>,
    several_roles: BTreeSet<EntraId>,
}

impl<'a> Collector<'a> {
    /// A collector that also keeps the account of `watched`.
    pub(super) fn new(linked: &'a LinkedLearners, rules: &'a Rules, now: Timestamp, watched: Option<EntraId>) -> Self {
        Self {
            linked,
            rules,
            now,
            users: Vec::new(),
            no_routes: Routes::from_iter([]),
            watched,
            seen: None,
            restrictions: rules.restrictions.clone(),
            protected: BTreeSet::new(),
            role_slot: rules.selection.position(APP_ROLE_ASSIGNMENTS).filter(|_| rules.mapping.picks_one_role()),
            several_roles: BTreeSet::new(),
        }
    }

    /// Assesses an account. A second read of the same account replaces the first.
    pub(super) fn add(&mut self, read: AccountRead) {
        if self.watched == Some(read.user()) {
            self.seen = Some(read.clone());
        }
        let (user, assessment) = match read {
            AccountRead::NotFound(user) => (user, Assessment::NotFound),
            AccountRead::Unreadable { user, detail } => (user, unreadable(detail)),
            AccountRead::User(user) => {
                self.list_by_name(&user);
                self.add_roles(&user);
                let steps = Steps::for_one_user();
                match self.rules.scope.decide(&user, &steps) {
                    ScopeDecision::In => {
                        (user.id, self.assess(user.id, self.rules.mapping.apply(&user, self.now, &steps)))
                    }
                    ScopeDecision::Out(reason) => (user.id, Assessment::Leaving(reason)),
                    ScopeDecision::Undecided { reason, detail } => {
                        let rejection = Rejection { reason, detail, user_name: None };
                        (user.id, Assessment::Rejected(Box::new(rejection)))
                    }
                }
            }
        };
        self.users.push((user, AssignedUser { assessment, routes: self.no_routes.clone() }));
    }

    /// Adds the id of a user that the configuration lists by name.
    fn list_by_name(&mut self, user: &User) {
        let slot = self.rules.selection.position("userPrincipalName");
        let Some(Value::Text(user_name)) = slot.and_then(|slot| user.values.get(slot)) else { return };
        // An earlier row of the user may have shown another name.
        let configured = &self.rules.restrictions;
        let Restrictions { only, ignore } = &mut self.restrictions;
        for (named, configured) in [(only, &configured.only), (ignore, &configured.ignore)] {
            if !configured.ids.contains(&user.id) {
                named.ids.remove(&user.id);
            }
        }
        self.protected.remove(&user.id);
        add_listed(self.rules, user.id, user_name, &mut self.restrictions, &mut self.protected);
    }

    fn add_roles(&mut self, user: &User) {
        let is_explained = self.watched.is_none_or(|watched| watched == user.id);
        if is_explained && self.role_slot.is_some_and(|slot| count_roles(&user.values[slot]) > 1) {
            self.several_roles.insert(user.id);
        } else {
            self.several_roles.remove(&user.id);
        }
    }

    fn assess(&self, user: EntraId, mapped: MappedUser) -> Assessment {
        match mapped {
            MappedUser::Inactive { user_name: _ } => Assessment::Leaving(Reason::MappedInactive),
            MappedUser::Rejected { reason, detail, user_name } => {
                Assessment::Rejected(Box::new(Rejection { reason, detail, user_name }))
            }
            MappedUser::Learner(learner) => match self.linked.get(&user) {
                Some(linked) if linked.active && linked.fingerprint == Fingerprint::compute(&learner.values) => {
                    Assessment::Unchanged
                }
                _ => Assessment::Wanted(Box::new(learner)),
            },
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
            Some((*id, AssignedUser { assessment, routes: self.linked.get(id)?.routes.clone() }))
        });
        // So is a member of unknown type.
        let untyped = snapshot.untyped_missing().filter(|(id, _)| self.linked.contains_key(id));
        let untyped =
            untyped.map(|(id, routes)| (id, AssignedUser { assessment: Assessment::NotFound, routes: routes.clone() }));
        // Where several say something about a user, the first counts.
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
