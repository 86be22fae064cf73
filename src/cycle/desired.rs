//! Builds [`Desired`] page by page: a person is kept in full only when something may have to be written.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::directory::{Read, Snapshot};
use crate::mapping::{Mapped, Mapping};
use crate::model::{EntraId, Fingerprint, KnownLearners, Reason};
use crate::plan::{Desired, Person, Rejection, Standing};
use crate::scope;

/// Takes what the directory reads.
pub(super) struct Collector<'a> {
    known: &'a KnownLearners,
    mapping: &'a Mapping,
    now: Timestamp,
    standings: BTreeMap<EntraId, Standing>,
}

impl<'a> Collector<'a> {
    pub(super) fn new(known: &'a KnownLearners, mapping: &'a Mapping, now: Timestamp) -> Self {
        Self { known, mapping, now, standings: BTreeMap::new() }
    }

    pub(super) fn take(&mut self, read: Read) {
        let (person, standing) = match read {
            Read::NotFound(person) => (person, Standing::NotFound),
            Read::Unreadable { person, detail } => {
                let rejection = Rejection { reason: Reason::Unreadable, detail, user_name: None };
                (person, Standing::Rejected(Box::new(rejection)))
            }
            Read::User(user) => match scope::left_out(&user) {
                Some(reason) => (user.id, Standing::Leaving(reason)),
                None => (user.id, self.standing(user.id, self.mapping.apply(&user, self.now))),
            },
        };
        self.standings.insert(person, standing);
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
    pub(super) fn seal(self, snapshot: &Snapshot) -> Desired {
        let people = self
            .standings
            .into_iter()
            .filter_map(|(id, standing)| Some((id, Person { standing, via: snapshot.via(id)?.clone() })))
            .collect();
        Desired { people }
    }
}
