//! One cycle, from top to bottom: the file to read first.
//!
//! [`run`] is the whole product. What it does with each user is decided in [`plan`](crate::plan::plan) and
//! nowhere else; [`prepare`] gathers what that decision needs and `apply` carries it out. `learner-sync plan`
//! stops after `prepare`, and `sync --dry-run` goes on with [`rehearse`].

mod credential;
mod deadline;
mod desired;
mod error;
mod explanation;
mod remember;
mod report;
mod restrictions;

use std::path::Path;
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};

pub use self::credential::ends_soon;
use self::deadline::Deadline;
use self::desired::Collector;
pub use self::error::CycleError;
pub use self::explanation::Explanation;
pub use self::report::Report;
use crate::cache::{self, Forgotten, Origin, Remembered};
use crate::directory::{AccountRead, Application, Directory, Snapshot};
use crate::failpoint::{Step, reached};
use crate::mapping::Mapping;
use crate::model::{
    Attribute, EntraId, Generation, LinkedLearners, Outcome, Restrictions, Selection, Source, Trigger, chain,
};
use crate::plan::{self, Change, Confirmed, DAY, DatabaseFacts, Desired, Finding, Limits, MemberCounts, Plan, Relink};
use crate::scope::Scope;
use crate::store::{Bookkeeping, CycleEnd, CycleId, Store, StoreError, WriteContext};

/// The cycle of a rehearsal, which has no row.
const NO_CYCLE: CycleId = CycleId(0);

/// What the configuration says about every cycle.
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
    /// What mapping and scope read of a user.
    pub selection: Selection,
    /// The hash of mapping and scope, to which the cache is bound.
    pub hash: [u8; 32],
    /// Who is left as they are.
    pub restrictions: Restrictions,
    /// The safety limits.
    pub limits: Limits,
    /// How often the learner database is compared in full.
    pub full_every: SignedDuration,
    /// How long reading the directory may take.
    pub deadline: Duration,
}

impl Rules {
    /// The mapped attributes, without the switch.
    pub fn mapped(&self) -> Vec<Attribute> {
        self.mapping.attributes().filter(|attribute| *attribute != Attribute::Active).collect()
    }
}

/// What a cycle works with.
#[derive(Clone, Copy, Debug)]
pub struct CycleContext<'a> {
    /// The directory.
    pub directory: &'a Directory,
    /// The learner database.
    pub store: &'a Store,
    /// Where the cache lies; `None` compares with the learner database and remembers nothing.
    pub cache: Option<&'a Path>,
    /// The rules.
    pub rules: &'a Rules,
}

/// What is asked for.
#[derive(Clone, Copy, Debug)]
pub struct CycleOptions<'a> {
    /// By whom.
    pub trigger: Trigger,
    /// Whether the cache is ignored.
    pub full: bool,
    /// When.
    pub now: Timestamp,
    /// For whom; without it for everybody.
    pub only: Option<SingleUser<'a>>,
}

/// One user instead of everybody: all is read and decided as ever, and of the plan only what concerns the user is
/// carried out.
#[derive(Clone, Copy, Debug)]
pub struct SingleUser<'a> {
    /// Who.
    pub user: EntraId,
    /// The learner that the user is to have.
    pub relink: Option<&'a Relink>,
}

/// Turns true when the process is asked to stop.
pub type Stop = tokio::sync::watch::Receiver<bool>;

/// Runs one cycle and writes down how it went. The caller holds the lock.
///
/// # Errors
/// Only when not even its beginning can be written down; a cycle that fails is a [`Report`] too.
pub async fn run(parts: CycleContext<'_>, request: CycleOptions<'_>, mut stop: Stop) -> Result<Report, StoreError> {
    let CycleContext { directory, store, cache: _, rules } = parts;
    let started = Instant::now();
    let requests_before = directory.requests();
    // What an earlier cycle found out, so that one that fails before it could look is told of the same source.
    let source = store.state().await?.source(&rules.tenant, rules.application);
    let cycle = store.begin_cycle(&source, request.trigger, request.now).await?;
    reached(Step::CycleBegun);
    let only = request.only.map(|only| only.user.to_string());
    tracing::info!(cycle.id = %cycle, cycle.trigger = %request.trigger, cycle.full = request.full, user.id = only, "cycle started");

    let mut report = Report::new(Some(cycle), &request);
    if let Err(error) = steps(parts, request, cycle, &mut report, &mut stop).await {
        report.outcome = error.outcome();
        report.refused = error.is_refusal();
        report.fail(&error, error.hint());
    }
    report.duration = started.elapsed();
    report.requests = directory.requests() - requests_before;
    let end = CycleEnd {
        at: request.now + SignedDuration::try_from(report.duration).unwrap_or_default(),
        outcome: report.outcome,
        counts: report.counts,
        requests: report.requests,
        error: report.error.clone(),
    };
    // First, because writing it down can fail for the same reason as the cycle.
    report.log();
    reached(Step::CycleEnding);
    if let Err(error) = store.finish_cycle(cycle, &end).await {
        // What was done is done; the next cycle closes the row as interrupted.
        tracing::error!(cycle.id = %cycle, "the end of the cycle cannot be written down: {}", chain(&error));
        if report.error.is_none() {
            report.outcome = Outcome::Failed;
            report.fail(&error, error.hint());
        }
    }
    reached(Step::CycleFinished);
    Ok(report)
}

/// The walk through one cycle.
async fn steps(
    parts: CycleContext<'_>,
    request: CycleOptions<'_>,
    cycle: CycleId,
    report: &mut Report,
    stop: &mut Stop,
) -> Result<(), CycleError> {
    let mut prepared = tokio::select! {
        prepared = prepare(parts, request, Some(cycle)) => prepared?,
        () = stopped(stop) => return Err(CycleError::Interrupted),
    };
    reached(Step::Planned);
    let applied = apply(parts, request, cycle, &mut prepared, report, stop).await;
    if applied.is_ok() || matches!(applied, Err(CycleError::Interrupted)) {
        prepared.remember(parts, request).await;
    }
    report.explanation = prepared.explanation(parts.rules, &report.refused_rows);
    applied
}

/// Resolves when the process is asked to stop; never, when nobody can ask.
pub(crate) async fn stopped(stop: &mut Stop) {
    if stop.wait_for(|stop| *stop).await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// A plan, and what has to be remembered after it is carried out.
#[derive(Debug)]
pub struct Prepared {
    /// What will be done.
    pub plan: Plan,
    source: String,
    known: LinkedLearners,
    evidence: DatabaseFacts,
    about: Option<explanation::About>,
    recalled: bool,
    compared_at: Timestamp,
    generation: Generation,
}

/// Reads everything and decides everything; writes nothing but, for a real `cycle`, whose it is.
///
/// # Errors
/// When anything could not be read as a whole. A plan is never made from a part.
pub async fn prepare(
    parts: CycleContext<'_>,
    request: CycleOptions<'_>,
    cycle: Option<CycleId>,
) -> Result<Prepared, CycleError> {
    let CycleContext { directory, store: _, cache: _, rules } = parts;
    let deadline = Deadline::within(rules.deadline);
    let application = deadline.keep(directory.application(rules.application)).await??;
    let source = claim(parts, &application, cycle).await?;
    if cycle.is_some() {
        deadline.keep(credential::watch(parts, request.now)).await??;
    }
    let Knowledge { known, left, compared_at, generation } = knowledge(parts, request, &source).await?;
    reached(Step::KnowledgeRead);

    let look = async {
        let (desired, snapshot, seen) = look(parts, &known, application, request).await?;
        reached(Step::DirectoryRead);
        let candidates = plan::candidates(&known, &desired);
        let second = directory.confirm(&snapshot, &candidates.absent, &candidates.unread).await?;
        let around = match request.only {
            None => None,
            Some(SingleUser { user, .. }) => Some(explanation::around(directory, rules, &snapshot, user, seen).await?),
        };
        Ok::<_, CycleError>((desired, snapshot, second, around))
    };
    let (desired, snapshot, second, around) = deadline.keep(look).await??;

    reached(Step::LeaversConfirmed);
    let evidence = evidence(parts, request, &source, &known, &desired).await?;
    let named_groups = snapshot.named_groups();
    restrictions::hold(rules, &snapshot, &named_groups, &known, &evidence)?;
    let groups: &MemberCounts = second.groups.as_ref().unwrap_or_else(|| snapshot.groups());
    let hidden = snapshot.hidden() | &second.hidden;
    let confirmed: &Confirmed = &second.verdicts;
    let plan = plan::plan(plan::PlanInput {
        known: &known,
        left: left.as_ref(),
        desired: &desired,
        groups,
        named_groups: &named_groups,
        hidden: &hidden,
        nobody_assigned: second.nobody_assigned.unwrap_or_else(|| snapshot.nobody_assigned()),
        confirmed,
        evidence: &evidence,
        limits: &rules.limits,
        relink: request.only.and_then(|only| only.relink),
        now: request.now,
    });
    let (plan, about) = match request.only.zip(around) {
        None => (plan, None),
        Some((SingleUser { user, relink: _ }, around)) => {
            let about = explanation::About::of(user, &known, &desired, confirmed, around);
            (plan.only(user, &desired), Some(about))
        }
    };
    // Without a comparison, what the cache says stays said, except for what is about to change.
    let recalled = compared_at != request.now;
    Ok(Prepared { plan, source, known, evidence, about, recalled, compared_at, generation })
}

/// Whose learners this cycle keeps; refuses a database that another application keeps.
async fn claim(
    parts: CycleContext<'_>,
    application: &Application,
    cycle: Option<CycleId>,
) -> Result<String, CycleError> {
    let CycleContext { directory: _, store, cache: _, rules } = parts;
    let source = Source { tenant: rules.tenant.clone(), application: application.object_id }.to_string();
    if let Some(cycle) = cycle {
        store.set_cycle_source(cycle, &source).await?;
        store.remember_application(&rules.application.to_string(), &application.object_id.to_string()).await?;
    }
    let others = store.other_sources(&source).await?;
    if others.is_empty() { Ok(source) } else { Err(CycleError::ForeignSource { here: source, others }) }
}

struct Knowledge {
    known: LinkedLearners,
    /// What the cache said, when it was made from exactly this state and the database was asked all the same.
    left: Option<LinkedLearners>,
    compared_at: Timestamp,
    generation: Generation,
}

/// What is known: from the cache when it was made from exactly this state, else from the learner database.
async fn knowledge(parts: CycleContext<'_>, request: CycleOptions<'_>, source: &str) -> Result<Knowledge, CycleError> {
    let CycleContext { directory: _, store, cache, rules } = parts;
    let generation = store.state().await?.generation;
    let mut left = None;
    if let Some(path) = cache {
        let origin = Origin { generation, source: source.to_owned(), mapping: rules.hash };
        match cache::recall(path, &origin, request.now).await {
            Ok(Remembered { known, compared_at }) => {
                // A comparison in the future is one by a clock that was wrong.
                let age = request.now.duration_since(compared_at);
                let due = age.is_negative() || age >= rules.full_every;
                // A comparison is for everybody: the next cycle that is, makes it.
                if let Some(SingleUser { user, .. }) = request.only {
                    return one_compared(parts, source, user, Knowledge { known, left: None, compared_at, generation })
                        .await;
                }
                // The platform may delete learners: the database tells nobody, and takes the link along.
                let linked = store.linked(source).await?;
                let whole = linked == known.len() as u64;
                if !due && !request.full && whole {
                    return Ok(Knowledge { known, left: None, compared_at, generation });
                }
                if !whole {
                    tracing::warn!(known = known.len(), linked, "learners were deleted by somebody else");
                }
                tracing::info!(requested = request.full, "comparing with the whole learner database");
                left = Some(known);
            }
            Err(Forgotten::Missing) => tracing::info!("no cache yet; comparing with the learner database"),
            Err(why) => tracing::warn!("{why}; comparing with the learner database"),
        }
    }
    let known = store.known(source, &rules.mapped()).await?;
    Ok(Knowledge { known, left, compared_at: request.now, generation })
}

/// Compares one user with the learner database, and leaves what is known of everybody else as it is.
async fn one_compared(
    parts: CycleContext<'_>,
    source: &str,
    user: EntraId,
    knowledge: Knowledge,
) -> Result<Knowledge, CycleError> {
    let Knowledge { mut known, left: _, compared_at, generation } = knowledge;
    let left = known.remove_entry(&user);
    known.extend(parts.store.known_user(source, user, &parts.rules.mapped()).await?);
    Ok(Knowledge { known, left: Some(left.into_iter().collect()), compared_at, generation })
}

/// The first look: who is assigned, and what each should be.
async fn look(
    parts: CycleContext<'_>,
    known: &LinkedLearners,
    application: Application,
    request: CycleOptions<'_>,
) -> Result<(Desired, Snapshot, Option<AccountRead>), CycleError> {
    let CycleContext { directory, store: _, cache: _, rules } = parts;
    let mut collector = Collector::new(known, rules, request.now, request.only.map(|only| only.user));
    let named = rules.restrictions.ids().collect();
    let snapshot = directory.read(application, &rules.selection, &named, |read| collector.take(read)).await?;
    let (desired, seen) = collector.seal(&snapshot);
    Ok((desired, snapshot, seen))
}

/// Reads from the learner database what the plan needs: old values only for those for whom something may change.
async fn evidence(
    parts: CycleContext<'_>,
    request: CycleOptions<'_>,
    source: &str,
    known: &LinkedLearners,
    desired: &Desired,
) -> Result<DatabaseFacts, CycleError> {
    let CycleContext { directory: _, store, cache: _, rules } = parts;
    let now = request.now;
    let attributes = rules.mapped();
    let match_attribute = rules.limits.match_attribute;
    let mut possibly_changed = plan::possibly_changed(known, desired);
    // Who is asked for is shown as the row stands, whether or not anything may be written.
    possibly_changed.extend(request.only.map(|only| only.user).filter(|user| known.contains_key(user)));
    possibly_changed.dedup();
    let rows = store.rows(source, &possibly_changed, &attributes).await?;
    let plan::Lookups { keys, match_values, newcomers } = plan::lookups(known, desired, &rows, match_attribute);
    let holders = store.holders(&keys, match_attribute, &match_values, &newcomers, &attributes).await?;
    Ok(DatabaseFacts {
        present: if rows.is_empty() { Default::default() } else { store.present(source, &attributes).await? },
        rows,
        holders,
        held: store.held(source).await?,
        failing: store.failing(source).await?,
        recently_deactivated: store.recently_deactivated(source, now - DAY).await?,
        last_members: store.last_members(source).await?,
    })
}

/// Carries the plan out, batch by batch. A stop is obeyed between two batches.
async fn apply(
    parts: CycleContext<'_>,
    request: CycleOptions<'_>,
    cycle: CycleId,
    prepared: &mut Prepared,
    report: &mut Report,
    stop: &Stop,
) -> Result<(), CycleError> {
    let CycleContext { directory: _, store, cache: _, rules: _ } = parts;
    let Prepared { plan, source, known, evidence, generation, .. } = prepared;
    let stamp = WriteContext { cycle, source, at: request.now };
    report.begin(plan);
    if let Some(renewed) = store.note(&bookkeeping(plan), &stamp).await? {
        *generation = renewed;
    }
    reached(Step::NotesCommitted);
    remember::noted(known, plan);
    for batch in plan.batches() {
        if *stop.borrow() {
            return Err(CycleError::Interrupted);
        }
        let applied = store.apply(batch, &stamp).await?;
        reached(Step::BatchCommitted);
        *generation = applied.generation;
        let refused = findings(batch, applied.refused, evidence);
        store.note_refused(&refused, &stamp).await?;
        reached(Step::RefusalsNoted);
        report.applied(batch, refused);
        remember::applied(known, batch, &applied.learners);
    }
    reached(Step::PlanApplied);
    report.settle();
    Ok(())
}

fn bookkeeping(plan: &Plan) -> Bookkeeping<'_> {
    Bookkeeping {
        findings: plan.findings(),
        failing_ended: plan.failing_ended(),
        held_ended: plan.held_ended(),
        routes: plan.routes(),
        group_members: plan.group_members(),
    }
}

/// Carries the plan out in transactions that are rolled back; the report tells what the database would refuse.
///
/// # Errors
/// When the learner database fails, or is busy for too long.
pub async fn rehearse(
    parts: CycleContext<'_>,
    request: CycleOptions<'_>,
    prepared: &Prepared,
) -> Result<Report, CycleError> {
    let Prepared { plan, source, evidence, .. } = prepared;
    let stamp = WriteContext { cycle: NO_CYCLE, source, at: request.now };
    let mut report = Report::new(None, &request);
    report.begin(plan);
    for batch in plan.batches() {
        let refused = findings(batch, parts.store.rehearse(batch, &stamp).await?, evidence);
        report.applied(batch, refused);
    }
    report.settle();
    report.explanation = prepared.explanation(parts.rules, &report.refused_rows);
    Ok(report)
}

/// The report of a cycle in which everything that is planned succeeds.
pub fn forecast(request: CycleOptions<'_>, prepared: &Prepared) -> Report {
    let mut report = Report::new(None, &request);
    report.counts = prepared.plan.counts();
    report.settle();
    report
}

fn findings(batch: &[Change], refused: Vec<(usize, String)>, evidence: &DatabaseFacts) -> Vec<Finding> {
    refused
        .into_iter()
        .filter_map(|(index, why)| batch.get(index).map(|change| plan::refused(change, why, &evidence.failing)))
        .collect()
}
