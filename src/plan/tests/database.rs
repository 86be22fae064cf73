//! The learner database, as far as a plan sees it, and what applying a plan makes of it.

use super::*;
use crate::model::Cause;
use crate::plan::joiners;

/// The tables that matter to a plan.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Database {
    pub(super) rows: BTreeMap<LearnerId, LearnerRow>,
    pub(super) held: BTreeMap<EntraId, HeldEntry>,
    pub(super) failing: BTreeMap<EntraId, FailingEntry>,
    pub(super) routes: BTreeMap<EntraId, Routes>,
    pub(super) deactivated: BTreeSet<EntraId>,
    pub(super) last_members: BTreeMap<EntraId, u64>,
}

impl Database {
    pub(super) fn linked(&self) -> LinkedLearners {
        let linked = self.rows.values().filter_map(|row| Some((row.link.as_ref()?.1, row)));
        linked
            .map(|(id, row)| {
                let mut values = row.values.clone();
                values.retain(|attribute| attribute != Attribute::Title);
                let by_hand = row.active && row.deactivated;
                let fingerprint = if by_hand { Fingerprint::UNKNOWN } else { Fingerprint::compute(&values) };
                let routes = self.routes.get(&id).cloned().unwrap_or_else(|| [Route::Direct].into_iter().collect());
                (
                    id,
                    LinkedLearner {
                        learner: row.learner.clone(),
                        active: row.active,
                        outside: false,
                        fingerprint,
                        row: None,
                        routes,
                    },
                )
            })
            .collect()
    }

    pub(super) fn facts(&self) -> DatabaseFacts {
        let linked = |row: &&LearnerRow| row.link.is_some();
        let mut present = BTreeMap::new();
        for row in self.rows.values().filter(linked).filter(|row| row.active) {
            for (attribute, _) in row.values.iter().filter(|(_, value)| value.is_some()) {
                *present.entry(attribute).or_insert(0) += 1;
            }
        }
        DatabaseFacts {
            taken_over: false,
            unreadable: Default::default(),
            rows: self.rows.values().filter_map(|row| Some((row.link.as_ref()?.1, row.clone()))).collect(),
            holders: self.rows.values().cloned().collect(),
            held: self.held.clone(),
            failing: self.failing.clone(),
            recently_deactivated: self.deactivated.len() as u64,
            recently_cleared: BTreeMap::new(),
            present,
            last_members: self.last_members.clone(),
        }
    }

    /// The work of `store`, without SQL. Panics where a unique index would refuse.
    pub(super) fn apply(&mut self, plan: &Plan, at: Timestamp) {
        for decision in plan.applied() {
            let learner =
                decision.row.learner().cloned().unwrap_or_else(|| LearnerId::Number(self.rows.len() as i64 + 1));
            let row = self.rows.entry(learner.clone()).or_insert_with(|| LearnerRow {
                unreadable_link: false,
                learner,
                external_id: None,
                link: None,
                outside: false,
                active: true,
                deactivated: false,
                other_state: false,
                spelling: None,
                values: MAPPED.into_iter().map(|attribute| (attribute, None::<&str>)).collect(),
            });
            row.external_id = Some(decision.user.to_string());
            row.link = Some((SOURCE.to_owned(), decision.user));
            let active = decision.changes.iter().find(|change| change.attribute == Attribute::Active);
            if let Some(active) = active {
                row.active = active.new == Some("true");
                row.deactivated = !row.active;
            }
            if decision.reason == Reason::Reassigned {
                row.deactivated = false;
            }
            for AttributeChange { attribute, old: _, new, redacted: _ } in decision.changes.iter() {
                if attribute != Attribute::Active {
                    row.values.insert(attribute, new);
                }
            }
            row.spelling = decision.row_after().unwrap().spelling.or(row.spelling);
            self.routes.insert(decision.user, decision.row_after().unwrap().routes.clone());
            self.held.remove(&decision.user);
            self.failing.remove(&decision.user);
            if decision.action == Action::Deactivate {
                self.deactivated.insert(decision.user);
            } else {
                self.deactivated.remove(&decision.user);
            }
        }
        self.held.retain(|user, _| !plan.held_ended().contains_key(user));
        self.failing.retain(|user, _| !plan.failing_ended().contains(user));
        for decision in plan.not_applied() {
            let leave = decision.leave().unwrap();
            let (user, action, reason) = (decision.user, decision.action, decision.reason);
            if leave.left_as == LeftAs::Held {
                let entry = HeldEntry { action, reason, since: at, approved: None, user_name: None };
                let kept = self.held.get(&user).filter(|held| held.action == action && held.reason == reason);
                let entry = kept.cloned().unwrap_or(entry);
                self.held.insert(user, entry);
            } else if leave.tracked {
                let kept = self.failing.get(&user).filter(|failing| failing.reason == reason);
                let first_at = kept.map_or(at, |failing| failing.first_at);
                let Leave { cause, drift_fingerprint, .. } = *leave;
                // It follows the state of the holder, as the detail does, and decides nothing.
                let cause = cause.filter(|cause| *cause != Cause::Recreated);
                self.failing.insert(user, FailingEntry { reason, cause, drift_fingerprint, first_at });
            }
        }
        self.routes.extend(plan.routes().iter().cloned());
        self.last_members.extend(plan.group_members());
        let mut taken = BTreeSet::new();
        for row in self.rows.values() {
            for key in joiners::newly_wanted(|attribute| row.value(attribute), None) {
                assert!(taken.insert(key.clone()), "two learners have {key:?}");
            }
        }
    }
}
