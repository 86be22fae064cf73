//! What came of a cycle, in numbers and, where asked for, user by user.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{CycleOptions, Explanation};
use crate::model::{Outcome, Reason, Status, Trigger, chain};
use crate::plan::{Change, Counts, Finding, Plan};
use crate::store::CycleId;

/// So many users of one reason are logged one by one.
const LINES_A_REASON: usize = 20;

/// How a cycle went.
#[derive(Debug)]
pub struct Report {
    /// Its row in `sync_cycles`; none for a plan.
    pub cycle: Option<CycleId>,
    /// What asked for it.
    pub trigger: Trigger,
    /// How it ended.
    pub outcome: Outcome,
    /// Its numbers.
    pub counts: Counts,
    /// Requests to Graph.
    pub requests: u64,
    /// How long it took.
    pub duration: Duration,
    /// Why it ended early.
    pub error: Option<String>,
    /// Whether Entra refused the credential or does not know the application.
    pub refused: bool,
    /// The changes that the database refused.
    pub refused_rows: Vec<Finding>,
    /// What was found out and done, when it was asked for one user.
    pub explanation: Option<Explanation>,
}

/// Details name attributes, rules and ids, never values.
fn log_finding(finding: &Finding, loud: bool) {
    let Finding { user, action, status, reason, detail, .. } = finding;
    let detail = detail.as_deref();
    if loud {
        tracing::warn!(user.id = %user, %action, %status, %reason, detail, "not done");
    } else {
        tracing::debug!(user.id = %user, %action, %status, %reason, detail, "not done");
    }
}

impl Report {
    pub(super) fn new(cycle: Option<CycleId>, request: &CycleOptions<'_>) -> Self {
        Self {
            cycle,
            trigger: request.trigger,
            outcome: Outcome::Failed,
            counts: Counts::default(),
            requests: 0,
            duration: Duration::ZERO,
            error: None,
            refused: false,
            refused_rows: Vec::new(),
            explanation: None,
        }
    }

    /// The plan is made: everything that needs no apply counts already.
    pub(super) fn begin(&mut self, plan: &Plan) {
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
        self.counts = Counts { in_scope, unchanged, skipped, failed, held, ..Counts::default() };
        let mut begun: BTreeMap<(Status, Reason), Vec<&Finding>> = BTreeMap::new();
        for finding in plan.findings() {
            if finding.log {
                begun.entry((finding.status, finding.reason)).or_default().push(finding);
            } else {
                log_finding(finding, false);
            }
        }
        for ((status, reason), findings) in begun {
            let many = findings.len() > LINES_A_REASON;
            findings.iter().for_each(|finding| log_finding(finding, !many));
            if many {
                // A bad Friday is one line, not a thousand.
                let (users, detail) = (findings.len(), findings.first().and_then(|first| first.detail.as_deref()));
                tracing::warn!(users, %status, %reason, detail, "not done; the provisioning log names each of them");
            }
        }
    }

    /// A batch is committed, without the refused.
    pub(super) fn applied(&mut self, batch: &[Change], refused: Vec<Finding>) {
        let by_person: BTreeMap<_, _> = refused.iter().map(|finding| (finding.user, finding)).collect();
        for change in batch {
            let Change { user, action, reason, target, .. } = change;
            match by_person.get(user) {
                None => {
                    self.counts.add(*action);
                    tracing::debug!(user.id = %user, learner.id = ?target.learner().map(|learner| learner.to_string()), %action, %reason, "done");
                }
                Some(finding) => {
                    self.counts.failed += 1;
                    let detail = finding.detail.as_deref().unwrap_or_default();
                    tracing::warn!(user.id = %user, %action, "the database refused it: {detail}");
                }
            }
        }
        self.refused_rows.extend(refused);
    }

    /// Everything is done.
    pub(super) fn settle(&mut self) {
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
        let Counts { in_scope, created, updated, deactivated, reactivated, unchanged: _, skipped, failed, held } =
            self.counts;
        format!(
            "{}, {in_scope} in scope, {created} created, {updated} updated, {deactivated} deactivated, {reactivated} \
             reactivated, {skipped} skipped, {failed} failed, {held} held",
            self.outcome
        )
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
