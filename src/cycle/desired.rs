//! Builds [`Desired`] page by page: a user is kept in full only when something may have to be written.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::Rules;
use crate::directory::{AccountRead, Snapshot};
use crate::mapping::MappedUser;
use crate::model::{EntraId, Fingerprint, LinkedLearners, Reason, Restrictions, User, UserList, Value};
use crate::plan::{Assessment, AssignedUser, Desired, Rejection};
use crate::scope::ScopeDecision;

/// Takes what the directory reads.
pub(super) struct Collector<'a> {
    known: &'a LinkedLearners,
    rules: &'a Rules,
    now: Timestamp,
    assessments: BTreeMap<EntraId, Assessment>,
    /// Who is asked for, and how the account was read.
    watched: Option<EntraId>,
    seen: Option<AccountRead>,
    /// With the ids of those who are named by user name.
    restrictions: Restrictions,
}

impl<'a> Collector<'a> {
    /// A collector that also keeps what is read of `watched`.
    pub(super) fn new(known: &'a LinkedLearners, rules: &'a Rules, now: Timestamp, watched: Option<EntraId>) -> Self {
        let restrictions = rules.restrictions.clone();
        Self { known, rules, now, assessments: BTreeMap::new(), watched, seen: None, restrictions }
    }

    pub(super) fn take(&mut self, read: AccountRead) {
        if self.watched == Some(read.user()) {
            self.seen = Some(read.clone());
        }
        let (user, assessment) = match read {
            AccountRead::NotFound(user) => (user, Assessment::NotFound),
            AccountRead::Unreadable { user, detail } => {
                let rejection = Rejection { reason: Reason::Unreadable, detail, user_name: None };
                (user, Assessment::Rejected(Box::new(rejection)))
            }
            AccountRead::User(user) => {
                self.name(&user);
                match self.rules.scope.decide(&user) {
                    ScopeDecision::In => (user.id, self.assessment(user.id, self.rules.mapping.apply(&user, self.now))),
                    ScopeDecision::Out(reason) => (user.id, Assessment::Leaving(reason)),
                    ScopeDecision::Undecided { reason, detail } => {
                        let rejection = Rejection { reason, detail, user_name: None };
                        (user.id, Assessment::Rejected(Box::new(rejection)))
                    }
                }
            }
        };
        self.assessments.insert(user, assessment);
    }

    /// Notes the id of somebody whom the configuration names by user name.
    fn name(&mut self, user: &User) {
        let Restrictions { only, ignore } = &mut self.restrictions;
        let slot = self.rules.selection.position("userPrincipalName");
        let Some(Value::Text(user_name)) = slot.and_then(|slot| user.values.get(slot)) else { return };
        for named in [only, ignore] {
            if named.has_user_name(user_name) {
                named.ids.insert(user.id);
            }
        }
    }

    fn assessment(&self, user: EntraId, mapped: MappedUser) -> Assessment {
        match mapped {
            MappedUser::Inactive { user_name: _ } => Assessment::Leaving(Reason::MappedInactive),
            MappedUser::Rejected { reason, detail, user_name } => {
                Assessment::Rejected(Box::new(Rejection { reason, detail, user_name }))
            }
            MappedUser::Learner(learner) => match self.known.get(&user) {
                Some(known) if known.active && known.fingerprint == Fingerprint::of(&learner.values) => {
                    Assessment::Unchanged
                }
                _ => Assessment::Wanted(Box::new(learner)),
            },
        }
    }

    /// The read is complete: everybody the snapshot names, and nobody else.
    pub(super) fn seal(self, snapshot: &Snapshot) -> (Desired, Option<AccountRead>) {
        let Restrictions { only, ignore } = self.restrictions;
        let with_members = |mut named: UserList| {
            let members = named.ids.iter().filter_map(|group| snapshot.members_of_named(*group)).flatten();
            named.ids.extend(members.copied().collect::<Vec<_>>());
            named
        };
        let users = self
            .assessments
            .into_iter()
            .filter_map(|(id, assessment)| {
                Some((id, AssignedUser { assessment, routes: snapshot.routes(id)?.clone() }))
            })
            .collect();
        let restrictions = Restrictions { only: with_members(only), ignore: with_members(ignore) };
        (Desired { users, restrictions }, self.seen)
    }
}
