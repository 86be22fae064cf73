//! One cycle, from top to bottom: the file to read first.
//!
//! [`run`] is the whole product: [`prepare`] reads everything and [`plan`](crate::plan::plan) decides about each user;
//! `apply` carries the plan out. `learner-sync plan` stops after `prepare`; `sync --dry-run` goes on with [`rehearse`].

mod clock;
mod credential;
mod deadline;
mod desired;
mod error;
mod explanation;
mod linked;
mod pace;
mod relink;
mod remember;
mod report;
mod restrictions;
mod start_over;

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};

use self::clock::{cycle_time, log_finding};
pub use self::credential::ends_soon;
use self::deadline::Deadline;
pub(crate) use self::desired::count_roles;
use self::desired::{Assessor, Collector, NewRows};
pub use self::error::CycleError;
pub use self::explanation::Explanation;
use self::linked::{LinkedBefore, read_linked};
use self::pace::Pace;
pub use self::relink::PreparedRelink;
pub use self::report::{DatabaseFailure, Report};
use self::start_over::{record_end, start_over};
use crate::directory::{Application, Assess, Confirmation, Directory, Snapshot};
use crate::failpoint::{Step, reached};
use crate::mapping::Mapping;
use crate::model::{
    Attribute, CycleTime, DAY, EntraId, Generation, LinkedLearner, LinkedLearners, Outcome, Restrictions, Selection,
    Source, Trigger, UnclearRows, chain,
};
use crate::plan::{
    self, Batch, DatabaseFacts, Decision, Desired, LearnerRow, Limits, MemberCounts, Plan, PlanInput, Relink,
};
use crate::progress::Stage;
use crate::scope::Scope;
use crate::store::{Bookkeeping, CycleAudit, CycleId, Fence, Refused, Store, StoreError, WriteContext};

/// The cycle of a rehearsal, which has no row.
const NO_CYCLE: CycleId = CycleId(0);

/// The configuration of every cycle.
#[derive(Debug)]
pub struct Rules {
    /// The tenant as configured.
    pub tenant: String,
    /// The enterprise application as configured: its object id or its application id.
    pub application: EntraId,
    /// The compiled mapping.
    pub mapping: Mapping,
    /// The compiled scoping filters.
    pub scope: Scope,
    /// The user properties that mapping and scope read.
    pub selection: Selection,
    /// The hash of mapping, scope, table and program version. A cache made under another hash is not used.
    pub hash: [u8; 32],
    /// `scope.only` and `scope.ignore`.
    pub restrictions: Restrictions,
    /// The safety limits.
    pub limits: Limits,
    /// How often the learner database is compared in full.
    pub full_every: SignedDuration,
    /// How long reading the directory may take.
    pub deadline: Duration,
}

impl Rules {
    /// The mapped attributes, without `active`.
    pub fn mapped(&self) -> Vec<Attribute> {
        self.mapping.attributes().filter(|attribute| *attribute != Attribute::Active).collect()
    }
}

/// The means of a cycle.
#[derive(Clone, Copy, Debug)]
pub struct CycleContext<'a> {
    /// Microsoft Graph.
    pub directory: &'a Directory,
    /// The learner database.
    pub store: &'a Store,
    /// The directory of the cache, which a plan or a rehearsal only reads. `None` compares with the learner database.
    pub cache: Option<&'a Path>,
    /// The configured rules.
    pub rules: &'a Arc<Rules>,
}

/// The request of a trigger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CycleRequest {
    /// The origin of the request.
    pub trigger: Trigger,
    /// Whether to ignore the cache.
    pub full: bool,
}

/// How one cycle runs.
#[derive(Clone, Copy, Debug)]
pub struct CycleOptions<'a> {
    /// The request.
    pub request: CycleRequest,
    /// The start of the cycle by the clock of this machine.
    pub now: Timestamp,
    /// The only user to provision; `None` provisions all users.
    pub only: Option<&'a SingleUser>,
    /// Whether to write learners although provisioning is paused.
    pub force: bool,
}

/// One user instead of all. Everything is read and decided as usual; only what concerns this user is applied.
#[derive(Debug)]
pub struct SingleUser {
    /// The user.
    pub user: EntraId,
    /// The learner to give to the user.
    pub relink: Option<Relink>,
    /// The administrator who asked for it, for the audit log.
    pub audit: Option<RunAudit>,
}

/// The audit row of a run for one user.
#[derive(Clone, Debug)]
pub struct RunAudit {
    /// The administrator.
    pub actor: String,
    /// `provision` or `relink`.
    pub action: &'static str,
    /// The detail, a JSON object. The number of the cycle is added to it, because such a run is not a cycle of all users.
    pub detail: serde_json::Value,
}

/// Becomes true when the process is asked to stop.
pub type StopSignal = tokio::sync::watch::Receiver<bool>;

/// Runs one cycle and records its outcome. The caller holds the lock.
///
/// # Errors
/// When the start of the cycle cannot be recorded. A cycle that fails later is a [`Report`].
pub async fn run(
    context: CycleContext<'_>,
    options: CycleOptions<'_>,
    mut stop: StopSignal,
) -> Result<Report, StoreError> {
    let CycleContext { directory, store, cache: _, rules } = context;
    let started = Instant::now();
    directory.start_clock();
    let requests_before = directory.requests();
    let (source, cycle) = begin(context, options).await?;
    reached(Step::CycleBegun);
    let only = options.only.map(|only| only.user.to_string());
    let CycleRequest { trigger, full } = options.request;
    tracing::info!(cycle.id = %cycle, cycle.trigger = %trigger, cycle.full = full, user.id = only, "cycle started");

    let mut report = Report::new(Some(cycle), &options);
    report.personal_ids = context.store.has_text_ids();
    let (cycle, ended) = attempt_twice(context, options, cycle, &mut report, &mut stop).await;
    if let Err(error) = ended {
        report.outcome = error.outcome();
        report.paused = error.is_pause();
        report.refused = error.is_refusal();
        report.credential_failed = error.is_about_the_credential();
        report.database_failure = error.database_failure();
        report.fail(&error, error.hint());
    }
    report.duration = started.elapsed();
    report.requests = directory.requests() - requests_before;
    // By now the source is resolved, even if the application is configured by another id than before.
    let source = store.state().await.map_or(source, |state| state.source(&rules.tenant, rules.application));
    report.time = cycle_time(context, options, &source).await.unwrap_or(report.time);
    // Logged first, because recording can fail for the same reason as the cycle.
    report.log();
    reached(Step::CycleEnding);
    if let Err(error) = record_end(context, options, cycle, &mut report, &mut stop).await {
        // The learners are written; the next cycle closes the row as interrupted.
        tracing::error!(cycle.id = %cycle, "cannot record the end of the cycle: {}", chain(&error));
        report.database_failure = Some(DatabaseFailure::of(&error));
        if report.error.is_none() {
            report.outcome = Outcome::Failed;
            report.fail(&error, error.hint());
        }
    }
    reached(Step::CycleFinished);
    Ok(report)
}

/// Records the start of a cycle. Returns its source as an earlier cycle resolved it, so that a cycle that fails early is
/// recorded under the same source.
async fn begin(context: CycleContext<'_>, options: CycleOptions<'_>) -> Result<(String, CycleId), StoreError> {
    let CycleContext { directory: _, store, cache: _, rules } = context;
    let source = store.state().await?.source(&rules.tenant, rules.application);
    let trigger = options.request.trigger;
    let cycle = match options.only {
        None => store.begin_cycle(&source, trigger, options.now).await?,
        Some(only) => {
            let audit = only.audit.as_ref();
            let audit = audit.map(|RunAudit { actor, action, detail }| CycleAudit { actor, action, detail });
            store.begin_single_user_cycle(&source, trigger, options.now, audit).await?
        }
    };
    Ok((source, cycle))
}

/// Makes a plan and carries it out. If that fails because the database has changed, or is another one after a failover,
/// everything is read and decided once more. Returns the cycle, which may have another row then.
async fn attempt_twice(
    context: CycleContext<'_>,
    options: CycleOptions<'_>,
    mut cycle: CycleId,
    report: &mut Report,
    stop: &mut StopSignal,
) -> (CycleId, Result<(), CycleError>) {
    let mut is_second = false;
    loop {
        // Boxed, because the future is too large for the stack of a thread without optimisation.
        let ended = Box::pin(prepare_and_apply(context, options, cycle, report, stop)).await;
        let Err(error) = ended else { return (cycle, Ok(())) };
        if std::mem::replace(&mut is_second, true) {
            return (cycle, Err(error));
        }
        match start_over(context, options, cycle, error, report, stop).await {
            Ok(again) => cycle = again,
            Err(error) => return (cycle, Err(error)),
        }
    }
}

async fn prepare_and_apply(
    context: CycleContext<'_>,
    options: CycleOptions<'_>,
    cycle: CycleId,
    report: &mut Report,
    stop: &mut StopSignal,
) -> Result<(), CycleError> {
    let mut prepared = tokio::select! {
        prepared = prepare(context, options, Some(cycle)) => prepared?,
        () = stopped(stop) => return Err(CycleError::Interrupted),
    };
    report.full_comparison = Some(prepared.compared_at.is_none());
    reached(Step::Planned);
    let mut applied = apply(context, options, cycle, &mut prepared, report, stop).await;
    if applied.is_ok() {
        applied = prepared.check_generation(context.store).await;
    }
    if applied.as_ref().err().is_none_or(|error| error.outcome() == Outcome::Interrupted) {
        context.directory.progress().enter(Stage::Finishing);
        prepared.update_cache(context, options).await;
    }
    report.explanation = prepared.explain(context.rules, &report.refused_rows);
    applied
}

impl Prepared {
    /// Whether the database is still the one that was written, also when nothing was. Otherwise another process has written
    /// since, or the server has failed over to a standby that lacks the last commits.
    async fn check_generation(&self, store: &Store) -> Result<(), CycleError> {
        if store.state().await?.generation == self.generation { Ok(()) } else { Err(StoreError::WrittenByOther.into()) }
    }
}

/// Resolves when the process is asked to stop; never when the sender is gone.
pub(crate) async fn stopped(stop: &mut StopSignal) {
    if stop.wait_for(|stop| *stop).await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// A plan, with what the apply and the cache need beside it.
#[derive(Debug)]
pub struct Prepared {
    /// The decisions.
    pub plan: Plan,
    source: String,
    linked: LinkedLearners,
    /// Whether `linked` has rows that the cache does not know.
    has_new_rows: bool,
    /// The learners that this cycle linked.
    joined: Vec<(EntraId, LinkedLearner)>,
    facts: DatabaseFacts,
    explained: Option<explanation::ExplainedUser>,
    /// For `linked` from the cache: when it was last compared with the whole learner database.
    compared_at: Option<Timestamp>,
    generation: Generation,
    time: CycleTime,
}

/// The full comparisons around a plan that was made with the cache.
#[derive(Clone, Copy, Debug)]
pub struct FullComparisons {
    /// The time of the last one.
    pub last: Timestamp,
    /// The first cycle at this time or later makes the next one.
    pub next: Timestamp,
}

impl Prepared {
    /// `None` when the plan itself was compared with the whole learner database.
    pub fn full_comparisons(&self, rules: &Rules) -> Option<FullComparisons> {
        let last = self.compared_at?;
        Some(FullComparisons { last, next: last.saturating_add(rules.full_every).unwrap_or(Timestamp::MAX) })
    }
}

/// Reads everything and decides everything. Writes nothing but the source and the credential's expiry of a real
/// `cycle`.
///
/// # Errors
/// When anything could not be read completely. A plan is never made from a part.
pub async fn prepare(
    context: CycleContext<'_>,
    options: CycleOptions<'_>,
    cycle: Option<CycleId>,
) -> Result<Prepared, CycleError> {
    let data = read_planning_data(context, options, cycle).await?;
    let relinks = options.only.and_then(|only| Some((only.user, only.relink.clone()?))).into_iter().collect();
    context.directory.progress().enter(Stage::Planning);
    let mut plan = plan::plan(data.plan_input(context.rules, &relinks));
    if context.store.has_text_ids() {
        // The statements name learner ids, which may be names.
        let rows = plan.unreadable().len();
        if rows > 0 {
            tracing::warn!(rows, "cannot read some rows of the bookkeeping; `learner-sync status` names them");
        }
    } else {
        plan.unreadable().iter().for_each(|problem| tracing::warn!("{problem}"));
    }
    let disposable = &data.facts.unreadable.disposable;
    disposable.iter().for_each(|problem| tracing::warn!("{problem}"));
    let explained = match options.only.zip(data.read.surroundings.clone()) {
        None => None,
        Some((only, surroundings)) => {
            let PlanningData {
                before: LinkedBefore { linked, .. },
                read: DirectoryRead { desired, confirmation, .. },
                ..
            } = &data;
            plan = plan.for_user(only.user, desired);
            let applied = plan.applied().map(Cow::into_owned).collect();
            Some(explanation::ExplainedUser::new(only, linked, desired, &confirmation.verdicts, surroundings, applied))
        }
    };
    Ok(Prepared { explained, ..data.prepared(plan) })
}

/// Everything that a plan is made from, as it was read.
struct PlanningData {
    source: String,
    before: LinkedBefore,
    read: DirectoryRead,
    facts: DatabaseFacts,
    named_groups: MemberCounts,
    /// The findings of both reads together.
    hidden: BTreeSet<EntraId>,
    gone: BTreeSet<EntraId>,
    unclear: UnclearRows,
    time: CycleTime,
}

impl PlanningData {
    fn plan_input<'a>(&'a self, rules: &'a Rules, relinks: &'a BTreeMap<EntraId, Relink>) -> PlanInput<'a> {
        let Self { source: _, before, read, facts, named_groups, hidden, gone, unclear, time } = self;
        let DirectoryRead { desired, snapshot, confirmation, surroundings: _, new_rows: _ } = read;
        PlanInput {
            linked: &before.linked,
            last_written: before.last_written.as_ref(),
            desired,
            groups: confirmation.groups.as_ref().unwrap_or_else(|| snapshot.groups()),
            named_groups,
            hidden,
            gone,
            unclear,
            nobody_assigned: confirmation.nobody_assigned.unwrap_or_else(|| snapshot.nobody_assigned()),
            confirmed: &confirmation.verdicts,
            confirming: &confirmation.request_ids,
            facts,
            limits: &rules.limits,
            relinks,
            time: *time,
        }
    }

    fn prepared(self, plan: Plan) -> Prepared {
        let Self { source, before, read, facts, time, .. } = self;
        let LinkedBefore { linked, last_written: _, compared_at, generation } = before;
        let (has_new_rows, joined, explained) = (!read.new_rows.is_empty(), Vec::new(), None);
        Prepared { plan, source, linked, has_new_rows, joined, facts, explained, compared_at, generation, time }
    }
}

/// Reads the directory and the learner database.
async fn read_planning_data(
    context: CycleContext<'_>,
    options: CycleOptions<'_>,
    cycle: Option<CycleId>,
) -> Result<PlanningData, CycleError> {
    let CycleContext { directory, store: _, cache: _, rules } = context;
    let deadline = Deadline::within(rules.deadline);
    if cycle.is_none() {
        directory.start_clock();
    }
    directory.progress().enter(Stage::ReadingApplication);
    let application = deadline.keep(directory.application(rules.application)).await??;
    let source = Source { tenant: rules.tenant.clone(), application: application.object_id }.to_string();
    let time = cycle_time(context, options, &source).await?;
    admit_source(context, &application, &source, cycle, time).await?;
    if cycle.is_some() {
        deadline.keep(credential::record_expiry(context, time)).await??;
    }
    directory.progress().enter(Stage::ReadingLearners);
    let mut before = read_linked(context, options, &source, cycle, time).await?;
    reached(Step::LinkedLearnersRead);

    // Shared with the threads that assess accounts.
    let linked = Arc::new(std::mem::take(&mut before.linked));
    let read = deadline.keep(read_directory(context, options, application, &linked, time)).await??;
    before.linked = Arc::unwrap_or_clone(linked);
    remember::rows(&mut before.linked, &read.new_rows);
    reached(Step::LeaversConfirmed);

    // The other answers may contradict the first.
    let time = cycle_time(context, options, &source).await?;
    log_finding(time);
    directory.progress().enter(Stage::ReadingLearners);
    let facts = read_facts(context, options, &source, &before.linked, &read.desired, time).await?;
    let DirectoryRead { desired, snapshot, confirmation, .. } = &read;
    let named_groups = snapshot.named_groups();
    restrictions::check(rules, snapshot, &named_groups, &before.linked, desired, &facts)?;
    let hidden = snapshot.hidden() | &confirmation.hidden;
    let gone = snapshot.gone() | &confirmation.gone;
    let unclear = snapshot.unclear().merged(&confirmation.unclear);
    Ok(PlanningData { source, before, read, facts, named_groups, hidden, gone, unclear, time })
}

/// Records the source that this cycle provisions. Refuses a database of another application.
async fn admit_source(
    context: CycleContext<'_>,
    application: &Application,
    source: &str,
    cycle: Option<CycleId>,
    time: CycleTime,
) -> Result<(), CycleError> {
    let CycleContext { directory: _, store, cache: _, rules } = context;
    if let Some(cycle) = cycle {
        store.set_cycle_source(cycle, source, time.recorded()).await?;
        store.remember_application(&rules.application.to_string(), &application.object_id.to_string()).await?;
    }
    let others = store.other_sources(source).await?;
    if others.is_empty() { Ok(()) } else { Err(CycleError::ForeignSource { here: source.to_owned(), others }) }
}

struct DirectoryRead {
    desired: Desired,
    snapshot: Snapshot,
    confirmation: Confirmation,
    surroundings: Option<explanation::Surroundings>,
    new_rows: NewRows,
}

/// Reads and assesses every assigned user, then confirms the leavers.
async fn read_directory(
    context: CycleContext<'_>,
    options: CycleOptions<'_>,
    application: Application,
    linked: &Arc<LinkedLearners>,
    time: CycleTime,
) -> Result<DirectoryRead, CycleError> {
    let CycleContext { directory, store: _, cache: _, rules } = context;
    let watched = options.only.map(|only| only.user);
    let assessor = Assessor::new(Arc::clone(linked), rules, time.recorded(), watched);
    let assess: Assess<_> = Arc::new(assessor);
    let mut collector = Collector::new(linked, rules);
    let named = rules.restrictions.ids().collect();
    let take = |user, assessed| {
        collector.add(user, assessed);
        directory.progress().add_users(1);
    };
    directory.progress().enter(Stage::ReadingUsers);
    let snapshot = directory.read(application, &rules.selection, &named, &assess, take).await?;
    drop(assess);
    let (mut desired, account, new_rows) = collector.seal(&snapshot);
    reached(Step::DirectoryRead);
    let candidates = plan::candidates(linked, &desired);
    directory.progress().enter(Stage::ConfirmingLeavers);
    let confirmation = directory.confirm(&snapshot, &candidates.absent, &candidates.unread).await?;
    desired::add_confirmed(rules, &confirmation.user_names, &mut desired);
    let surroundings = match options.only {
        None => None,
        Some(only) => Some(explanation::surroundings(directory, rules, &snapshot, only.user, account).await?),
    };
    Ok(DirectoryRead { desired, snapshot, confirmation, surroundings, new_rows })
}

/// Reads what the plan needs from the learner database: old values only of learners that may change.
async fn read_facts(
    context: CycleContext<'_>,
    options: CycleOptions<'_>,
    source: &str,
    linked: &LinkedLearners,
    desired: &Desired,
    time: CycleTime,
) -> Result<DatabaseFacts, CycleError> {
    let CycleContext { directory: _, store, cache: _, rules } = context;
    let attributes = rules.mapped();
    let match_attribute = rules.limits.match_attribute;
    let mut users = plan::possibly_changed(linked, desired);
    // `provision` shows the row of its user even when nothing changes.
    users.extend(options.only.map(|only| only.user).filter(|user| linked.contains_key(user)));
    let rows = store.rows(source, &users, &attributes).await?;
    let mut holders = BTreeMap::new();
    for plan::Lookups { keys, match_values, newcomers } in plan::lookups(linked, desired, &rows, match_attribute) {
        let found = store.holders(&keys, match_attribute, &match_values, &newcomers, &attributes).await?;
        holders.extend(found.into_iter().map(|row| (row.learner.clone(), row)));
    }
    let holders: Vec<LearnerRow> = holders.into_values().collect();
    let recent = time.recent_since(DAY);
    // The learner that a relink names is not among the holders.
    let adopts = !holders.is_empty() || options.only.is_some_and(|only| only.relink.is_some());
    let cleared = plan::possibly_cleared(desired, &rows, adopts);
    let recently_deactivated = match plan::may_deactivate(&users, desired) {
        true => store.recently_deactivated(source, recent).await?,
        false => 0,
    };
    Ok(DatabaseFacts {
        present: store.present(source, &cleared).await?,
        recently_cleared: store.recently_cleared(source, recent, &cleared).await?,
        rows,
        holders,
        held: store.held(source).await?,
        failing: store.failing(source).await?,
        recently_deactivated,
        last_members: store.last_members(source).await?,
        taken_over: store.state().await?.taken_over_sources.contains(source),
        unreadable: store.unreadable_rows().into_iter().collect(),
    })
}

/// Carries out the plan, batch by batch. A stop or a pause takes effect between two batches.
async fn apply(
    context: CycleContext<'_>,
    options: CycleOptions<'_>,
    cycle: CycleId,
    prepared: &mut Prepared,
    report: &mut Report,
    stop: &StopSignal,
) -> Result<(), CycleError> {
    let (store, progress) = (context.store, context.directory.progress());
    let Prepared { plan, source, linked, joined, facts, generation, time, .. } = prepared;
    let write_context = WriteContext { cycle, source, at: time.recorded() };
    report.add_plan(plan);
    let fence = |generation: &Generation| Fence { generation: *generation, force: options.force };
    *generation = store.record(&bookkeeping(plan), &write_context, fence(generation)).await?;
    reached(Step::BookkeepingCommitted);
    remember::recorded(linked, plan);
    progress.begin_writing(plan.counts().applied());
    if plan.counts().applied() > 0 {
        store.prepare_batches(plan.counts().applied()).await?;
    }
    // A vector that grows exists twice, and a first load joins all users.
    joined.reserve_exact(usize::try_from(plan.counts().created).unwrap_or_default());
    let mut pace = Pace::default();
    // Taken, so that the values of learners are not kept once they are written.
    let mut next = plan.take_batch(pace.learners());
    while let Some(batch) = &next {
        if *stop.borrow() {
            return Err(CycleError::Interrupted);
        }
        let started = Instant::now();
        let take_next = || plan.take_batch(pace.learners());
        let (applied, following) = store.apply_with(batch, &write_context, fence(generation), take_next).await;
        let applied = applied?;
        pace.follow(started.elapsed(), !applied.read_back && applied.refused.is_empty());
        reached(Step::BatchCommitted);
        *generation = applied.generation;
        let refused = refused_decisions(batch, applied.refused, facts);
        remember::applied(linked, joined, batch, &applied.learners);
        // Counted first: the batch is written, whatever happens to the record of its failures.
        let refused = report.add_batch(batch, refused);
        progress.add_written(batch.decisions().len() as u64);
        store.record_refused(refused, &write_context, fence(generation)).await?;
        reached(Step::RefusalsRecorded);
        next = following;
    }
    reached(Step::PlanApplied);
    report.complete();
    Ok(())
}

fn bookkeeping(plan: &Plan) -> Bookkeeping<'_> {
    Bookkeeping {
        left: plan.not_applied(),
        failing_ended: plan.failing_ended(),
        held_ended: plan.held_ended(),
        routes: plan.routes(),
        group_members: plan.group_members(),
        take_over_ended: plan.take_over_ended(),
    }
}

/// Carries out the plan in transactions that are rolled back. The report says what the database would refuse.
///
/// # Errors
/// When the learner database fails, or is busy for too long.
pub async fn rehearse(
    context: CycleContext<'_>,
    options: CycleOptions<'_>,
    prepared: &Prepared,
) -> Result<Report, CycleError> {
    let Prepared { plan, source, facts, time, .. } = prepared;
    let write_context = WriteContext { cycle: NO_CYCLE, source, at: time.recorded() };
    let mut report = Report::new(None, &options);
    report.personal_ids = context.store.has_text_ids();
    report.add_plan(plan);
    context.directory.progress().begin_writing(plan.counts().applied());
    context.store.prepare_batches(plan.counts().applied()).await?;
    for batch in plan.batches() {
        let refused = refused_decisions(&batch, context.store.rehearse(&batch, &write_context).await?, facts);
        report.add_batch(&batch, refused);
        context.directory.progress().add_written(batch.decisions().len() as u64);
    }
    report.complete();
    report.explanation = prepared.explain(context.rules, &report.refused_rows);
    Ok(report)
}

/// The report of a cycle in which every decision succeeds.
pub fn forecast(options: CycleOptions<'_>, prepared: &Prepared) -> Report {
    let mut report = Report::new(None, &options);
    report.counts = prepared.plan.counts();
    report.complete();
    report
}

/// The decisions that the database refused, each with its reason as the operational log may show it.
fn refused_decisions(batch: &Batch, refused: Vec<(usize, Refused)>, facts: &DatabaseFacts) -> Vec<(Decision, String)> {
    let decision = |(index, Refused { reason, message }): (usize, Refused)| {
        let detail = message.map_or_else(|| reason.clone(), |message| format!("{reason}: {message}"));
        Some((plan::refuse(batch.decisions().get(index)?, detail, &facts.failing), reason))
    };
    refused.into_iter().filter_map(decision).collect()
}
