//! `learner-sync status`: the state of provisioning.

use serde_json::{Value, json};

use super::Context;
use super::output::{DONE, FAILED, Failure, PARTLY, print, print_json, print_obstacles, seconds, shown, table};
use crate::config::Config;
use crate::cycle::ends_soon;
use crate::model::{CLOCK_TOLERANCE, ClockFinding, LearnerId, LockHolder, Outcome, Reason, UnreadableRow};
use crate::plan::Counts;
use crate::runtime::lock::Lock;
use crate::runtime::{Paths, configured_source};
use crate::store::{Access, CycleRow, FailingUser, HeldUser, LearnerCounts, Store, StoreError};

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Print one JSON document.
    #[arg(long)]
    pub(super) json: bool,
    /// Exit with 1 if the last cycle failed or none has run, with 3 if users failed or are held.
    #[arg(long)]
    exit_code: bool,
}

/// The state in one word, as scripts see it, and the code of `--exit-code`.
type ProvisioningState = (&'static str, u8);

const NEVER_RUN: ProvisioningState = ("never-run", FAILED);
const RUNNING: ProvisioningState = ("running", DONE);
const PAUSED: ProvisioningState = ("paused", DONE);
const FAILING: ProvisioningState = ("failing", FAILED);
const STALE: ProvisioningState = ("stale", FAILED);
const INTERRUPTED: ProvisioningState = ("interrupted", FAILED);
const HELD: ProvisioningState = ("held", PARTLY);
const PARTIAL: ProvisioningState = ("partial", PARTLY);
const OK: ProvisioningState = ("ok", DONE);

#[derive(Debug)]
struct Overview {
    source: String,
    paused: bool,
    last_cycle: Option<CycleRow>,
    last_success: Option<CycleRow>,
    failing_since: Option<jiff::Timestamp>,
    next_cycle_at: Option<jiff::Timestamp>,
    learners: LearnerCounts,
    held: Vec<HeldUser>,
    failing: Vec<FailingUser>,
    unreadable: Vec<UnreadableRow>,
    recreated: u64,
    daemon: Option<LockHolder>,
    cycle: Option<LockHolder>,
    credential_ends_at: Option<jiff::Timestamp>,
    clock: Option<ClockFinding>,
    now: jiff::Timestamp,
}

pub(super) async fn run(context: Context, arguments: Arguments, now: jiff::Timestamp) -> Result<u8, Failure> {
    let Arguments { json, exit_code } = arguments;
    let overview = Overview::read(&context, now).await?;
    let state @ (word, code) = overview.state();
    if json {
        print_json(&overview.as_json(word))?;
    } else {
        overview.print(state, &context.config)?;
    }
    Ok(if exit_code { code } else { DONE })
}

impl Overview {
    async fn read(context: &Context, now: jiff::Timestamp) -> Result<Self, Failure> {
        let config = &context.config;
        let store = match Store::open(context.learners()?, Access::ReadOnly).await {
            Err(StoreError::Missing { .. } | StoreError::Older { found: 0, .. }) => Store::in_memory().await?,
            opened => opened?,
        };
        let state = store.state().await?;
        let source = configured_source(config, &state);
        let paths = Paths::new(config);
        let daemon = Lock::holder(&paths.daemon_lock);
        let here = Lock::holder(&paths.cycle_lock);
        let cycle = if here.is_some() { here } else { store.cycle_holder().await? };
        Ok(Self {
            paused: state.paused,
            last_cycle: store.last_cycle(Some(&source)).await?,
            last_success: store.last_success(Some(&source)).await?,
            failing_since: store.failing_since(&source).await?,
            // Without a daemon no cycle will start then; during a cycle the next time is not drawn yet.
            next_cycle_at: state.next_cycle_at.filter(|_| daemon.is_some() && cycle != daemon),
            learners: store.learner_counts(&source).await?,
            held: store.held_users(&source).await?,
            failing: store.failing_users(&source).await?,
            recreated: store.recreated_users(&source).await?,
            // After all other reads, which collect the rows that they leave out.
            unreadable: store.inspect_bookkeeping(&source).await?,
            daemon,
            cycle,
            credential_ends_at: state.credential.and_then(|check| check.ends_at),
            clock: state.clock,
            now,
            source,
        })
    }

    fn state(&self) -> ProvisioningState {
        let Some(last) = &self.last_cycle else {
            return if self.paused { PAUSED } else { NEVER_RUN };
        };
        match last.outcome {
            None if self.cycle.is_some() => RUNNING,
            Some(Outcome::Failed) => FAILING,
            _ if !self.paused && self.last_cycle_is_in_the_future() => STALE,
            None | Some(Outcome::Interrupted) => INTERRUPTED,
            Some(_) if self.paused => PAUSED,
            // The last cycle may have been for one user only, so its outcome does not cover the others.
            Some(Outcome::Held | Outcome::Partial | Outcome::Success) if !self.held.is_empty() => HELD,
            Some(Outcome::Held | Outcome::Partial | Outcome::Success) => {
                let failures = [Reason::Conflict, Reason::InvalidValue, Reason::Unreadable, Reason::DatabaseError];
                let fails = self.failing.iter().any(|user| failures.contains(&user.reason));
                if fails || !self.unreadable.is_empty() { PARTIAL } else { OK }
            }
        }
    }

    /// Whether a clock was wrong when the last cycle ran, or is wrong now: its age says nothing.
    fn last_cycle_is_in_the_future(&self) -> bool {
        let latest = self.last_cycle.as_ref().map(|last| last.finished_at.unwrap_or(last.started_at));
        latest.is_some_and(|at| at.duration_since(self.now) > CLOCK_TOLERANCE)
    }

    fn as_json(&self, state: &str) -> Value {
        let LearnerCounts { active, inactive, linked } = self.learners;
        json!({
            "state": state,
            "source": self.source,
            "paused": self.paused,
            "last_cycle": self.last_cycle.as_ref().map(cycle_as_json),
            "last_success": self.last_success.as_ref().map(cycle_as_json),
            "failing_since": self.failing_since.map(seconds),
            "next_cycle_at": self.next_cycle_at.map(seconds),
            "learners": { "active": active, "inactive": inactive, "linked": linked },
            "held": self.held.iter().map(held_as_json).collect::<Vec<_>>(),
            "failing": self.failing.iter().map(failing_as_json).collect::<Vec<_>>(),
            "recreated": self.recreated,
            "unreadable_rows": self.unreadable.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "daemon": self.daemon.as_ref().map(holder_as_json),
            "running_cycle": self.cycle.as_ref().map(holder_as_json),
            "credential_ends_at": self.credential_ends_at.map(seconds),
            "clock": self.clock.map(clock_as_json),
            "version": env!("CARGO_PKG_VERSION"),
        })
    }

    fn print(&self, state: ProvisioningState, config: &Config) -> Result<(), Failure> {
        let LearnerCounts { active, inactive, linked } = self.learners;
        let state = match (state, self.failing_since.map(seconds)) {
            ((word, _), None) => word.to_owned(),
            (FAILING, Some(since)) => format!("failing since {since}"),
            ((word, _), Some(since)) => format!("{word} (failing since {since})"),
        };
        print(&format!("State         {state}"))?;
        print(&format!("Source        {}", self.source))?;
        match &self.last_cycle {
            None => print("Last cycle    none yet")?,
            Some(last) => print(&format!("Last cycle    {}", in_words(last)))?,
        }
        if let Some(CycleRow { error: Some(error), outcome: None | Some(Outcome::Failed), .. }) = &self.last_cycle {
            print(&format!("  Error       {error}"))?;
            if let Some(success) = &self.last_success {
                print(&format!("Last success  {}", in_words(success)))?;
            }
        }
        let next = match (self.next_cycle_at, &self.daemon) {
            (_, None) => "no daemon is running".to_owned(),
            (None, Some(_)) => "not scheduled yet".to_owned(),
            (Some(at), Some(_)) => seconds(at),
        };
        print(&format!("Next cycle    {next}"))?;
        print(&format!("Learners      {active} active, {inactive} inactive, {linked} linked to this application"))?;
        print_obstacles(config, self.paused)?;
        if let Some(warning) = self.credential_ends_at.and_then(|end| ends_soon(end, self.now)) {
            print(&format!("Credential    {warning}"))?;
        }
        if let Some(warning) = self.clock.and_then(ClockFinding::warning) {
            print(&format!("Clock         {warning}"))?;
        }
        if self.last_cycle_is_in_the_future() {
            print("Clock         the last cycle lies in the future: the clock of this machine was or is wrong")?;
        }
        if !self.unreadable.is_empty() {
            print(&format!("\nRows that cannot be read ({}):", self.unreadable.len()))?;
            print(&list_unreadable(&self.unreadable))?;
        }
        if !self.held.is_empty() {
            print(&format!("\nHeld ({}); release with `learner-sync approve`:", self.held.len()))?;
            print(&held_table(&self.held))?;
        }
        if !self.failing.is_empty() {
            print(&format!("\nFailing or skipped ({}):", self.failing.len()))?;
            let mut rows = table(&["reason", "user", "since", "last tried", "attempts", "detail"]);
            for FailingUser { entra_id, reason, detail, first_at, last_at, attempts, user_name } in &self.failing {
                let user = user_name.as_deref().map_or_else(|| entra_id.to_string(), shown);
                rows.add_row([
                    reason.as_str(),
                    &user,
                    &seconds(*first_at),
                    &seconds(*last_at),
                    &attempts.to_string(),
                    &detail.as_deref().map(shown).unwrap_or_default(),
                ]);
            }
            print(&rows.trim_fmt())?;
        }
        print_recreated(self.recreated)?;
        Ok(())
    }
}

/// The first rows, one line each.
fn list_unreadable(rows: &[UnreadableRow]) -> String {
    const SHOWN: usize = 10;
    let shown = rows.iter().take(SHOWN).map(|row| shown(&row.to_string()));
    let others = rows.len().checked_sub(SHOWN).filter(|others| *others > 0);
    shown.chain(others.map(|others| format!("and {others} more"))).collect::<Vec<_>>().join("\n")
}

/// Points to the command that keeps these users from losing their learners.
pub(super) fn print_recreated(users: u64) -> Result<(), Failure> {
    if users > 0 {
        print(&format!(
            "\nUsers in conflict who may have new accounts and deleted former ones: {users}\nLook at them with \
             `learner-sync approve --relink` before you approve deactivations."
        ))?;
    }
    Ok(())
}

fn in_words(row: &CycleRow) -> String {
    let CycleRow { id, started_at, finished_at, outcome, counts, trigger, .. } = row;
    let Counts { created, updated, deactivated, reactivated, .. } = counts;
    match (outcome, finished_at) {
        (Some(outcome), Some(finished)) => format!(
            "{outcome} at {} (cycle {id}, {trigger}): {created} created, {updated} updated, {deactivated} deactivated, \
             {reactivated} reactivated",
            seconds(*finished)
        ),
        _ => format!("started at {} (cycle {id}, {trigger}), not ended", seconds(*started_at)),
    }
}

fn clock_as_json(finding: ClockFinding) -> Value {
    let (word, ahead) = match finding {
        ClockFinding::Agree => ("agree", None),
        ClockFinding::Differ(ahead) => ("differ", Some(ahead.as_secs())),
        ClockFinding::Unknown(fault) => (fault.as_str(), None),
    };
    json!({ "finding": word, "ahead_seconds": ahead })
}

fn holder_as_json(holder: &LockHolder) -> Value {
    let LockHolder { pid, command } = holder;
    json!({ "pid": pid, "command": command })
}

pub(super) fn cycle_as_json(row: &CycleRow) -> Value {
    let CycleRow { id, source, trigger, started_at, finished_at, outcome, counts, requests, error } = row;
    let Counts { in_scope, created, updated, deactivated, reactivated, unchanged, skipped, failed, held } = counts;
    json!({
        "cycle": id.0, "source": source, "trigger": trigger.as_str(), "started_at": seconds(*started_at),
        "finished_at": finished_at.map(seconds), "outcome": outcome.map(Outcome::as_str), "in_scope": in_scope,
        "created": created, "updated": updated, "deactivated": deactivated, "reactivated": reactivated,
        "unchanged": unchanged, "skipped": skipped, "failed": failed, "held": held, "requests": requests,
        "error": error,
    })
}

fn held_as_json(user: &HeldUser) -> Value {
    let HeldUser { entra_id, action, reason, since, approved, learner, user_name } = user;
    let (approved_at, approved_by) = approved.clone().unzip();
    json!({
        "entra_id": entra_id.to_string(), "learner_id": learner.as_ref().map(LearnerId::to_json), "user_name": user_name,
        "action": action.as_str(), "reason": reason.as_str(), "since": seconds(*since),
        "approved_at": approved_at.map(seconds), "approved_by": approved_by,
    })
}

fn failing_as_json(user: &FailingUser) -> Value {
    let FailingUser { entra_id, reason, detail, first_at, last_at, attempts, user_name } = user;
    json!({
        "entra_id": entra_id.to_string(), "user_name": user_name, "reason": reason.as_str(), "detail": detail,
        "first_at": seconds(*first_at), "last_at": seconds(*last_at), "attempts": attempts,
    })
}

/// The held users, one line each.
pub(super) fn held_table(held: &[HeldUser]) -> String {
    let mut rows = table(&["action", "reason", "user", "learner", "since", "approved"]);
    for HeldUser { entra_id, action, reason, since, approved, learner, user_name } in held {
        let user = user_name.as_deref().map_or_else(|| entra_id.to_string(), shown);
        let learner = learner.as_ref().map(ToString::to_string).unwrap_or_default();
        let approved = approved.as_ref().map_or_else(String::new, |(at, by)| format!("{} by {by}", seconds(*at)));
        rows.add_row([action.as_str(), reason.as_str(), &user, &learner, &seconds(*since), &approved]);
    }
    rows.trim_fmt()
}
