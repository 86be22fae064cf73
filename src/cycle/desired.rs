//! Builds [`Desired`] page by page: a person is kept in full only when something may have to be written.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::Rules;
use crate::directory::{Read, Snapshot};
use crate::mapping::Mapped;
use crate::model::{Bounds, EntraId, Fingerprint, KnownLearners, Named, Reason, User, Value};
use crate::plan::{Desired, Person, Rejection, Standing};
use crate::scope::Decision;

/// Takes what the directory reads.
pub(super) struct Collector<'a> {
    known: &'a KnownLearners,
    rules: &'a Rules,
    now: Timestamp,
    standings: BTreeMap<EntraId, Standing>,
    /// Who is asked for, and how the account was read.
    watched: Option<EntraId>,
    seen: Option<Read>,
    /// With the ids of those who are named by user name.
    bounds: Bounds,
}

impl<'a> Collector<'a> {
    /// A collector that also keeps what is read of `watched`.
    pub(super) fn new(known: &'a KnownLearners, rules: &'a Rules, now: Timestamp, watched: Option<EntraId>) -> Self {
        let bounds = rules.bounds.clone();
        Self { known, rules, now, standings: BTreeMap::new(), watched, seen: None, bounds }
    }

    pub(super) fn take(&mut self, read: Read) {
        if self.watched == Some(read.person()) {
            self.seen = Some(read.clone());
        }
        let (person, standing) = match read {
            Read::NotFound(person) => (person, Standing::NotFound),
            Read::Unreadable { person, detail } => {
                let rejection = Rejection { reason: Reason::Unreadable, detail, user_name: None };
                (person, Standing::Rejected(Box::new(rejection)))
            }
            Read::User(user) => {
                self.name(&user);
                match self.rules.scope.decide(&user) {
                    Decision::In => (user.id, self.standing(user.id, self.rules.mapping.apply(&user, self.now))),
                    Decision::Out(reason) => (user.id, Standing::Leaving(reason)),
                    Decision::Undecided { reason, detail } => {
                        let rejection = Rejection { reason, detail, user_name: None };
                        (user.id, Standing::Rejected(Box::new(rejection)))
                    }
                }
            }
        };
        self.standings.insert(person, standing);
    }

    /// Notes the id of somebody whom the configuration names by user name.
    fn name(&mut self, user: &User) {
        let Bounds { only, ignore } = &mut self.bounds;
        let slot = self.rules.selection.position("userPrincipalName");
        let Some(Value::Text(user_name)) = slot.and_then(|slot| user.values.get(slot)) else { return };
        for named in [only, ignore] {
            if named.has_user_name(user_name) {
                named.ids.insert(user.id);
            }
        }
    }

    fn standing(&self, person: EntraId, mapped: Mapped) -> Standing {
        match mapped {
            Mapped::Inactive { user_name: _ } => Standing::Leaving(Reason::MappedInactive),
            Mapped::Rejected { reason, detail, user_name } => {
                Standing::Rejected(Box::new(Rejection { reason, detail, user_name }))
            }
            Mapped::Learner(learner) => match self.known.get(&person) {
                Some(known) if known.active && known.fingerprint == Fingerprint::of(&learner.values) => {
                    Standing::Unchanged
                }
                _ => Standing::Wanted(Box::new(learner)),
            },
        }
    }

    /// The read is complete: everybody the snapshot names, and nobody else.
    pub(super) fn seal(self, snapshot: &Snapshot) -> (Desired, Option<Read>) {
        let Bounds { only, ignore } = self.bounds;
        let with_members = |mut named: Named| {
            let members = named.ids.iter().filter_map(|group| snapshot.members_of_named(*group)).flatten();
            named.ids.extend(members.copied().collect::<Vec<_>>());
            named
        };
        let people = self
            .standings
            .into_iter()
            .filter_map(|(id, standing)| Some((id, Person { standing, via: snapshot.via(id)?.clone() })))
            .collect();
        let bounds = Bounds { only: with_members(only), ignore: with_members(ignore) };
        (Desired { people, bounds }, self.seen)
    }
}
