//! The outcome of a cycle in numbers, and for a single user in detail.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::SignedDuration;

use super::{CycleOptions, Explanation};
use crate::model::{Action, CycleTime, EntraId, Outcome, Reason, Status, Trigger, chain};
use crate::plan::{Batch, Counts, Decision, Plan};
use crate::store::{CommittedChange, CycleEnd, CycleId, StoreError};

/// More users of one reason share one log line.
const MAX_LINES_PER_REASON: usize = 20;

/// The outcome of a cycle.
#[derive(Debug)]
pub struct Report {
    /// Its row in `sync_cycles`; `None` for a plan or a rehearsal.
    pub cycle: Option<CycleId>,
    /// The trigger.
    pub trigger: Trigger,
    /// The outcome.
    pub outcome: Outcome,
    /// The numbers.
    pub counts: Counts,
    /// The applied changes.
    pub changes: BTreeMap<(Action, Reason), u64>,
    /// When it started.
    pub time: CycleTime,
    /// The number of requests to Graph.
    pub requests: u64,
    /// The duration.
    pub duration: Duration,
    /// Why the cycle ended early.
    pub error: Option<String>,
    /// Whether the whole learner database was compared; `None` when the cycle ended before.
    pub full_comparison: Option<bool>,
    /// Whether it ended early because provisioning was paused.
    pub paused: bool,
    /// Whether Entra refused the credential or does not know the application.
    pub refused: bool,
    /// Whether it ended early because of the credential: Entra refused it, or a file of it is unusable.
    pub credential_failed: bool,
    /// How the learner database failed as a whole, if it did.
    pub database_failure: Option<DatabaseFailure>,
    /// The decisions that the database refused.
    pub refused_rows: Vec<Decision>,
    /// Whether learner ids may be names, which operational logs must not contain.
    pub personal_ids: bool,
    /// For a single user: what was found and done.
    pub explanation: Option<Explanation>,
    committed: Committed,
}

/// What a cycle had written before it started over.
#[derive(Debug, Default)]
struct Committed {
    /// The last action for each user.
    users: BTreeMap<EntraId, Action>,
    counts: Counts,
    changes: BTreeMap<(Action, Reason), u64>,
}

/// How the learner database failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DatabaseFailure {
    /// It was locked or unreachable, which has passed once it can be read.
    Passing,
    /// A successful read says nothing about it.
    Lasting,
}

impl DatabaseFailure {
    /// The class of `error`.
    pub fn of(error: &StoreError) -> Self {
        if error.passes() { Self::Passing } else { Self::Lasting }
    }
}

impl Report {
    pub(super) fn new(cycle: Option<CycleId>, options: &CycleOptions<'_>) -> Self {
        Self {
            cycle,
            trigger: options.request.trigger,
            outcome: Outcome::Failed,
            counts: Counts::default(),
            changes: BTreeMap::new(),
            time: CycleTime::new(options.now, None, None),
            requests: 0,
            duration: Duration::ZERO,
            error: None,
            full_comparison: None,
            paused: false,
            refused: false,
            credential_failed: false,
            database_failure: None,
            refused_rows: Vec::new(),
            personal_ids: false,
            explanation: None,
            committed: Committed::default(),
        }
    }

    /// Begins again as `cycle`, which has committed these changes so far.
    pub(super) fn start_over(&mut self, cycle: CycleId, committed: &[CommittedChange]) {
        let mut before = Committed::default();
        for CommittedChange { user, action, reason } in committed {
            before.users.insert(*user, *action);
            before.counts.add(*action);
            *before.changes.entry((*action, *reason)).or_default() += 1;
        }
        (self.cycle, self.outcome) = (Some(cycle), Outcome::Failed);
        (self.counts, self.changes) = (before.counts, before.changes.clone());
        self.committed = before;
        self.refused_rows.clear();
        self.explanation = None;
    }

    /// Logs a decision that is not applied, as a warning when it begins.
    fn log_left(&self, decision: &Decision, begins: bool) {
        let Decision { user, action, reason, .. } = decision;
        let (status, detail) = (decision.status(), self.logged_detail(decision));
        if begins {
            tracing::warn!(user.id = %user, %action, %status, %reason, detail, "change not applied");
        } else {
            tracing::debug!(user.id = %user, %action, %status, %reason, detail, "change not applied");
        }
    }

    /// A detail never contains values, but may name learners. The provisioning log has it in any case.
    fn logged_detail<'d>(&self, decision: &'d Decision) -> Option<&'d str> {
        decision.detail.as_deref().filter(|_| !self.personal_ids)
    }

    /// Counts and logs what the plan leaves unchanged.
    pub(super) fn add_plan(&mut self, plan: &Plan) {
        let Counts {
            in_scope,
            created: _,
            updated: _,
            deactivated: _,
            reactivated: _,
            unchanged,
            skipped,
            failed,
            held,
        } = plan.counts();
        // These users are unchanged only because the cycle had changed them before it started over.
        let decided: BTreeSet<EntraId> = match self.committed.users.is_empty() {
            true => BTreeSet::new(),
            false => plan.users().collect(),
        };
        let is_changed =
            |(user, action): &(&EntraId, &Action)| **action != Action::Deactivate && !decided.contains(user);
        let unchanged = unchanged.saturating_sub(self.committed.users.iter().filter(is_changed).count() as u64);
        self.counts = Counts { in_scope, unchanged, skipped, failed, held, ..self.committed.counts };
        let mut begun: BTreeMap<(Status, Reason), Vec<&Decision>> = BTreeMap::new();
        for decision in plan.not_applied() {
            if decision.leave().is_some_and(|leave| leave.begins) {
                begun.entry((decision.status(), decision.reason)).or_default().push(decision);
            } else {
                self.log_left(decision, false);
            }
        }
        for ((status, reason), decisions) in begun {
            let too_many = decisions.len() > MAX_LINES_PER_REASON;
            decisions.iter().for_each(|decision| self.log_left(decision, !too_many));
            if too_many {
                let detail = decisions.first().and_then(|first| self.logged_detail(first));
                let users = decisions.len();
                tracing::warn!(users, %status, %reason, detail, "changes not applied; the provisioning log names each user");
            }
        }
    }

    /// Counts and logs a committed batch; `refused` are the decisions that the database refused, with the reasons to log.
    /// Returns these decisions.
    pub(super) fn add_batch(&mut self, batch: &Batch, refused: Vec<(Decision, String)>) -> &[Decision] {
        let reasons: BTreeMap<_, _> = refused.iter().map(|(refused, reason)| (refused.user, reason)).collect();
        for decision in batch.decisions() {
            let Decision { user, action, reason, row, .. } = &**decision;
            match reasons.get(user) {
                None => {
                    self.counts.add(*action);
                    *self.changes.entry((*action, *reason)).or_default() += 1;
                    let learner = row.learner().filter(|_| !self.personal_ids).map(ToString::to_string);
                    tracing::debug!(user.id = %user, learner.id = ?learner, %action, %reason, "change applied");
                }
                Some(refusal) => {
                    self.counts.failed += 1;
                    tracing::warn!(user.id = %user, %action, "the database refused the change: {refusal}");
                }
            }
        }
        let before = self.refused_rows.len();
        self.refused_rows.extend(refused.into_iter().map(|(decision, _)| decision));
        &self.refused_rows[before..]
    }

    /// Everything was applied.
    pub(super) fn complete(&mut self) {
        self.outcome = if self.counts.held > 0 {
            Outcome::Held
        } else if self.counts.failed > 0 {
            Outcome::Partial
        } else {
            Outcome::Success
        };
    }

    /// The cycle ended early.
    pub(super) fn fail(&mut self, error: &dyn std::error::Error, hint: Option<String>) {
        let mut text = chain(error);
        if let Some(hint) = hint {
            text.push_str("; ");
            text.push_str(&hint);
        }
        self.error = Some(text);
    }

    /// The numbers in words, for a status line.
    pub fn summary(&self) -> String {
        format!("{}, {}", self.outcome, self.counts.in_words())
    }

    /// The row of `sync_cycles`.
    pub(super) fn cycle_end(&self) -> CycleEnd {
        let began = self.time.recorded();
        let took = SignedDuration::try_from(self.duration).ok();
        CycleEnd {
            began,
            at: took.and_then(|took| began.checked_add(took).ok()).unwrap_or(began),
            clock: self.time.finding(),
            outcome: self.outcome,
            counts: self.counts,
            requests: self.requests,
            error: self.error.clone(),
            full_comparison: self.full_comparison,
        }
    }

    pub(super) fn log(&self) {
        let Self { cycle, trigger: _, outcome, counts, requests, duration, error, .. } = self;
        let Counts { in_scope, created, updated, deactivated, reactivated, unchanged, skipped, failed, held } = counts;
        let cycle = cycle.map(|cycle| cycle.0);
        let duration_ms = duration.as_millis() as u64;
        match error {
            Some(error) if *outcome == Outcome::Interrupted => {
                tracing::info!(cycle.id = cycle, cycle.outcome = %outcome, "cycle ended early: {error}");
            }
            None => tracing::info!(
                cycle.id = cycle, cycle.outcome = %outcome, in_scope, created, updated, deactivated, reactivated, unchanged, skipped,
                failed, held, requests, duration_ms, "cycle ended"
            ),
            Some(error) => tracing::error!(
                cycle.id = cycle, cycle.outcome = %outcome, created, updated, deactivated, reactivated, requests, duration_ms,
                "cycle ended early: {error}"
            ),
        }
    }
}
