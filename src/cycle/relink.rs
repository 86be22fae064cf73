//! `approve --relink`: users whose account was deleted and created again get their learners back.
//!
//! Everything is read and judged as in a cycle; only the relinks are applied, all of them or none.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::Instant;

use jiff::Timestamp;

use super::deadline::Deadline;
use super::{
    CycleContext, CycleError, CycleOptions, CycleRequest, DirectoryRead, PlanningData, Prepared, Report,
    read_planning_data, remember,
};
use crate::directory::Confirmation;
use crate::failpoint::{Step, reached};
use crate::model::{EntraId, Outcome, Trigger};
use crate::plan::{self, Decision, Recreated, Relink};
use crate::store::{Fence, StoreError, WriteContext};

/// The users that were created again, and the plan that relinks them.
#[derive(Debug)]
pub struct PreparedRelink {
    /// The users, and those who may be other persons.
    pub recreated: Recreated,
    prepared: Prepared,
}

impl PreparedRelink {
    /// Reads everything and judges every newcomer. Writes nothing.
    ///
    /// # Errors
    /// When anything could not be read completely.
    pub async fn prepare(context: CycleContext<'_>, now: Timestamp) -> Result<Self, CycleError> {
        let options = options(now);
        let mut data = read_planning_data(context, options, None).await?;
        let deadline = Deadline::within(context.rules.deadline);
        deadline.keep(confirm_former_accounts(context, &mut data)).await??;
        let without = BTreeMap::new();
        let mut recreated = plan::recreated(data.plan_input(context.rules, &without), &data.source);
        let pairs = recreated.pairs.iter().map(|pair| (pair.relink.user, pair.relink.clone()));
        let relinks: BTreeMap<EntraId, Relink> = pairs.collect();
        let plan = plan::plan(data.plan_input(context.rules, &relinks));
        recreated.drop_refused(&plan);
        Ok(Self { recreated, prepared: data.prepared(plan.relinks_only()) })
    }

    /// The values that are written for each of them.
    pub fn decisions(&self) -> impl Iterator<Item = Cow<'_, Decision>> {
        self.prepared.plan.applied()
    }

    /// Relinks in one transaction, and records it as a cycle. The caller holds the lock.
    ///
    /// # Errors
    /// When the learner database fails or refuses a row; then no user is relinked.
    pub async fn apply(mut self, context: CycleContext<'_>, actor: &str, now: Timestamp) -> Result<Report, StoreError> {
        let store = context.store;
        let (started, options, time) = (Instant::now(), options(now), self.prepared.time);
        let source = self.prepared.source.clone();
        let cycle = store.begin_cycle(&source, Trigger::Command, now).await?;
        reached(Step::CycleBegun);
        let mut report = Report::new(Some(cycle), &options);
        report.personal_ids = store.has_text_ids();
        (report.time, report.requests) = (time, context.directory.requests());
        report.full_comparison = Some(self.prepared.compared_at.is_none());
        report.add_plan(&self.prepared.plan);
        let write_context = WriteContext { cycle, source: &source, at: time.recorded() };
        let written = self.write(context, &write_context, actor).await;
        match &written {
            Ok(()) => {
                for batch in self.prepared.plan.batches() {
                    report.add_batch(&batch, Vec::new());
                }
                report.complete();
                // A comparison that repaired no other user must not pass for what the last cycle wrote.
                if self.prepared.compared_at.is_some() {
                    self.prepared.update_cache(context, options).await;
                }
            }
            Err(error) => {
                report.paused = matches!(error, StoreError::Paused);
                if report.paused {
                    report.outcome = Outcome::Interrupted;
                }
                report.fail(error, error.hint());
            }
        }
        report.duration = started.elapsed();
        report.log();
        let finished = store.finish_cycle(cycle, &report.cycle_end()).await;
        let finished = finished.and_then(|has_row| if has_row { Ok(()) } else { Err(StoreError::ChangesLost) });
        written.and(finished).map(|()| report)
    }

    async fn write(
        &mut self,
        context: CycleContext<'_>,
        write_context: &WriteContext<'_>,
        actor: &str,
    ) -> Result<(), StoreError> {
        let Prepared { plan, linked, joined, generation, .. } = &mut self.prepared;
        for batch in plan.batches() {
            let fence = Fence { generation: *generation, force: false };
            let applied = context.store.relink(&batch, write_context, fence, actor).await?;
            reached(Step::BatchCommitted);
            *generation = applied.generation;
            remember::applied(linked, joined, &batch, &applied.learners);
        }
        Ok(())
    }
}

fn options(now: Timestamp) -> CycleOptions<'static> {
    CycleOptions { request: CycleRequest { trigger: Trigger::Command, full: false }, now, only: None, force: false }
}

/// Confirms that the former accounts of inactive learners are deleted. A cycle does not read them.
async fn confirm_former_accounts(context: CycleContext<'_>, data: &mut PlanningData) -> Result<(), CycleError> {
    let former = plan::former_accounts(data.plan_input(context.rules, &BTreeMap::new()));
    let DirectoryRead { snapshot, confirmation, .. } = &mut data.read;
    let Confirmation { verdicts, request_ids, .. } =
        context.directory.confirm(snapshot, &former.absent, &former.unread).await?;
    confirmation.verdicts.extend(verdicts);
    confirmation.request_ids.extend(request_ids);
    Ok(())
}
