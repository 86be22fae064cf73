//! A small world to plan in: learner rows, users as assessed, and everything else a plan is made from.

use super::*;
use crate::model::{Cause, CycleTime, RequestId, Restrictions};

/// The input of one plan. By default user `n` has learner `n`, with the names `n` in every value.
pub(super) struct World {
    pub(super) rows: Vec<LearnerRow>,
    pub(super) desired: Desired,
    pub(super) last_written: Option<LinkedLearners>,
    pub(super) groups: MemberCounts,
    pub(super) named_groups: MemberCounts,
    pub(super) hidden: BTreeSet<EntraId>,
    pub(super) gone: BTreeSet<EntraId>,
    pub(super) unclear: UnclearRows,
    pub(super) nobody_assigned: bool,
    pub(super) confirmed: Confirmed,
    pub(super) confirming: BTreeMap<EntraId, RequestId>,
    pub(super) held: BTreeMap<EntraId, HeldEntry>,
    pub(super) failing: BTreeMap<EntraId, FailingEntry>,
    pub(super) recently_deactivated: u64,
    pub(super) recently_cleared: BTreeMap<Attribute, BTreeSet<EntraId>>,
    pub(super) last_members: MemberCounts,
    pub(super) routes: BTreeMap<EntraId, Routes>,
    /// Links that say something else than the rows.
    pub(super) stale_links: LinkedLearners,
    pub(super) limits: Limits,
    pub(super) taken_over: bool,
    pub(super) relinks: BTreeMap<EntraId, Relink>,
    pub(super) time: CycleTime,
}

pub(super) fn direct() -> Routes {
    [Route::Direct].into_iter().collect()
}

pub(super) fn through(group: u8) -> Routes {
    [Route::Group(user(group))].into_iter().collect()
}

fn values(name: u8) -> Values {
    Values::from([
        (Attribute::UserName, Some(format!("n{name}"))),
        (Attribute::Email, Some(format!("e{name}"))),
        (Attribute::Department, Some(format!("d{name}"))),
    ])
}

impl World {
    pub(super) fn new() -> Self {
        Self {
            rows: Vec::new(),
            desired: Desired::default(),
            last_written: None,
            groups: MemberCounts::new(),
            named_groups: MemberCounts::new(),
            hidden: BTreeSet::new(),
            gone: BTreeSet::new(),
            unclear: UnclearRows::default(),
            nobody_assigned: false,
            confirmed: Confirmed::new(),
            confirming: BTreeMap::new(),
            held: BTreeMap::new(),
            failing: BTreeMap::new(),
            recently_deactivated: 0,
            recently_cleared: BTreeMap::new(),
            last_members: MemberCounts::new(),
            routes: BTreeMap::new(),
            stale_links: LinkedLearners::new(),
            limits: limits(),
            taken_over: false,
            relinks: BTreeMap::new(),
            time: clocks_at(now()),
        }
    }

    /// Adds learner `number`, active and linked to the user of the same number.
    pub(super) fn learner(&mut self, number: u8) -> &mut LearnerRow {
        self.rows.push(LearnerRow {
            unreadable_link: false,
            learner: LearnerId::Number(number.into()),
            external_id: Some(user(number).to_string()),
            link: Some((SOURCE.to_owned(), user(number))),
            outside: false,
            active: true,
            deactivated: false,
            other_state: false,
            spelling: None,
            values: values(number),
        });
        self.rows.last_mut().unwrap()
    }

    /// Adds learner `number`, inactive by our own deactivation.
    pub(super) fn inactive_learner(&mut self, number: u8) -> &mut LearnerRow {
        let row = self.learner(number);
        (row.active, row.deactivated) = (false, true);
        row
    }

    /// Adds learner `number` that no source is linked to.
    pub(super) fn unlinked_learner(&mut self, number: u8) -> &mut LearnerRow {
        let row = self.learner(number);
        (row.external_id, row.link) = (None, None);
        row
    }

    pub(super) fn assess(&mut self, number: u8, assessment: Assessment) {
        self.desired.users.insert(user(number), AssignedUser::new(assessment, direct()));
    }

    /// User `number` is wanted, with the names `name`.
    pub(super) fn wanted_as(&mut self, number: u8, name: u8) -> &mut Learner {
        let learner = Learner { values: values(name), ..Learner::default() };
        self.assess(number, Assessment::Wanted(Arc::new(learner)));
        match &mut self.desired.users.get_mut(&user(number)).unwrap().assessment {
            Assessment::Wanted(learner) => Arc::make_mut(learner),
            _ => unreachable!(),
        }
    }

    pub(super) fn wanted(&mut self, number: u8) -> &mut Learner {
        self.wanted_as(number, number)
    }

    pub(super) fn rejected(&mut self, number: u8, reason: Reason) {
        let rejection = Rejection { reason, detail: "a rule".to_owned(), user_name: None };
        self.assess(number, Assessment::Rejected(Box::new(rejection)));
    }

    /// Adds learner `number` whose user is confirmed as not assigned any more.
    pub(super) fn leaver(&mut self, number: u8) -> &mut LearnerRow {
        self.confirmed.insert(user(number), Verdict::Unassigned);
        self.learner(number)
    }

    pub(super) fn hold(&mut self, number: u8, action: Action, reason: Reason) -> &mut HeldEntry {
        let entry = HeldEntry { action, reason, since: now(), approved: None, user_name: None };
        self.held.insert(user(number), entry);
        self.held.get_mut(&user(number)).unwrap()
    }

    pub(super) fn failing(&mut self, number: u8, reason: Reason) -> &mut FailingEntry {
        let entry = FailingEntry { reason, cause: None, drift_fingerprint: None, first_at: now() };
        self.failing.insert(user(number), entry);
        self.failing.get_mut(&user(number)).unwrap()
    }

    /// User `number` waits since `minutes` ago.
    pub(super) fn waiting(&mut self, number: u8, cause: Cause, minutes: i64) {
        let entry = self.failing(number, Reason::Waiting);
        (entry.cause, entry.first_at) = (Some(cause), now() - SignedDuration::from_mins(minutes));
    }

    pub(super) fn restrict(&mut self, only: &[u8], ignore: &[u8]) {
        let list =
            |numbers: &[u8]| UserList { ids: numbers.iter().copied().map(user).collect(), ..UserList::default() };
        self.desired.restrictions = Restrictions { only: list(only), ignore: list(ignore) };
    }

    pub(super) fn linked(&self) -> LinkedLearners {
        let ours = self.rows.iter().filter_map(|row| Some((row.link.as_ref()?, row)));
        let linked = ours.filter(|((source, _), _)| source == SOURCE).map(|((_, user), row)| (*user, row));
        linked
            .map(|(id, row)| {
                let learner = LinkedLearner {
                    learner: row.learner.clone(),
                    active: row.active && !row.outside,
                    outside: row.outside,
                    fingerprint: Fingerprint::compute(&row.values),
                    row: None,
                    routes: self.routes.get(&id).cloned().unwrap_or_else(direct),
                };
                (id, learner)
            })
            .chain(self.stale_links.clone())
            .collect()
    }

    pub(super) fn facts(&self) -> DatabaseFacts {
        let linked = || self.rows.iter().filter(|row| row.link.is_some());
        let mut present = BTreeMap::new();
        for row in linked().filter(|row| row.active) {
            for (attribute, _) in row.values.iter().filter(|(_, value)| value.is_some()) {
                *present.entry(attribute).or_insert(0) += 1;
            }
        }
        DatabaseFacts {
            taken_over: self.taken_over,
            unreadable: Default::default(),
            rows: linked().filter_map(|row| Some((row.link.as_ref()?.1, row.clone()))).collect(),
            holders: self.rows.clone(),
            held: self.held.clone(),
            failing: self.failing.clone(),
            recently_deactivated: self.recently_deactivated,
            recently_cleared: self.recently_cleared.clone(),
            present,
            last_members: self.last_members.clone(),
        }
    }

    pub(super) fn input<'a>(
        &'a self,
        linked: &'a LinkedLearners,
        facts: &'a DatabaseFacts,
        relinks: &'a BTreeMap<EntraId, Relink>,
    ) -> PlanInput<'a> {
        PlanInput {
            linked,
            last_written: self.last_written.as_ref(),
            desired: &self.desired,
            groups: &self.groups,
            named_groups: &self.named_groups,
            hidden: &self.hidden,
            gone: &self.gone,
            unclear: &self.unclear,
            nobody_assigned: self.nobody_assigned,
            confirmed: &self.confirmed,
            confirming: &self.confirming,
            facts,
            limits: &self.limits,
            relinks,
            time: self.time,
        }
    }

    pub(super) fn plan(&self) -> Plan {
        plan(self.input(&self.linked(), &self.facts(), &self.relinks))
    }

    /// The plan and its counts as text, with short ids.
    #[track_caller]
    pub(super) fn check(&self, expect: &str) {
        check_plan(&self.plan(), expect);
    }
}

#[track_caller]
pub(super) fn check_plan(plan: &Plan, expect: &str) {
    let Counts { in_scope, created, updated, deactivated, reactivated, unchanged, skipped, failed, held } =
        plan.counts();
    let counts = [
        ("in scope", in_scope),
        ("created", created),
        ("updated", updated),
        ("deactivated", deactivated),
        ("reactivated", reactivated),
        ("unchanged", unchanged),
        ("skipped", skipped),
        ("failed", failed),
        ("held", held),
    ];
    let counts = counts.iter().filter(|(_, count)| *count > 0).map(|(name, count)| format!("{count} {name}"));
    let text = format!("{plan}{}\n", counts.collect::<Vec<_>>().join(", "));
    let text = (0..=255).fold(text, |text, number| text.replace(&user(number).to_string(), &format!("u{number}")));
    let text = text.replace("urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:", "");
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let expected: Vec<&str> = expect.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    assert_eq!(lines, expected, "\n{text}");
}
