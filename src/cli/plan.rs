//! `learner-sync plan`: what a cycle would do. Writes nothing, takes no lock, leaves the cache alone.

use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde_json::{Value, json};

use super::Context;
use super::output::{DONE, FAILED, Failure, obstacles, print, print_json, shown, table};
use super::sync::report_as_json;
use crate::cycle::{self, CycleContext, CycleError, CycleOptions, Prepared};
use crate::model::{Attribute, AttributeKind, Trigger};
use crate::plan::{AttributeChange, Decision};
use crate::runtime::App;
use crate::runtime::user_lookup::{FoundUser, UserArgument, find_user};
use crate::store::{Access, Store, StoreError};

/// How long a rehearsal waits to open the learner database: it must not queue up behind somebody who writes.
const PATIENCE: Duration = Duration::from_secs(2);

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Print one JSON document.
    #[arg(long)]
    pub(super) json: bool,
}

pub(super) async fn run(context: Context, arguments: Arguments, clock: crate::model::Clock) -> Result<u8, Failure> {
    let Arguments { json } = arguments;
    let Context { config, environment } = context;
    let started = Instant::now();
    let app = App::new(config, &environment, clock)?;
    let planner = Planner::open(&app).await?;
    let prepared = planner.prepare().await?;
    let mut report = cycle::forecast(planner.request(), &prepared);
    report.requests = app.directory.requests();
    report.duration = started.elapsed();
    let decisions = prepared.plan.by_user();
    if json {
        let mut document = report_as_json(&report);
        document["changes"] = decisions_as_json(&decisions);
        print_json(&document)?;
    } else {
        print_decisions(&decisions)?;
        print(&format!("A cycle now would end so: {}.", report.summary()))?;
        planner.print_obstacles().await?;
    }
    Ok(DONE)
}

/// What `plan` and `sync --dry-run` have in common: a database that is not written to.
pub(super) struct Planner<'a> {
    app: &'a App,
    store: Store,
    /// In memory, because the database has none of our tables yet.
    is_copy: bool,
    only: Option<FoundUser>,
    now: Timestamp,
}

impl<'a> Planner<'a> {
    /// A missing database is played by an empty one in memory, one without our tables by a copy with them.
    pub(super) async fn open(app: &'a App) -> Result<Self, Failure> {
        let learners = &app.learners;
        let (store, is_copy) = match Store::open(learners, Access::ReadOnly).await {
            Err(StoreError::Missing { .. }) => (Store::in_memory().await?, false),
            Err(StoreError::Older { found: 0, .. }) => (Store::copy_in_memory(learners).await?, true),
            opened => (opened?, false),
        };
        Ok(Self { app, store, is_copy, only: None, now: (app.clock)() })
    }

    /// The same, opened so that a rehearsal can write what it then takes back.
    pub(super) async fn open_to_rehearse(app: &'a App) -> Result<Self, Failure> {
        let planner = Self::open(app).await?;
        let learners = &app.learners;
        // Only one that has our tables already: to open another one to write would make them.
        if Store::open(learners, Access::ReadOnly).await.is_err() {
            return Ok(planner);
        }
        let busy = "the learner database is locked by another process, and a rehearsal does not wait for it";
        let opened = tokio::time::timeout(PATIENCE, Store::open(learners, Access::ReadWrite)).await;
        let store = opened.map_err(|_| Failure::new(FAILED, busy))??;
        Ok(Self { store, ..planner })
    }

    /// What a rehearsal was worth.
    pub(super) fn rehearsed(&self) -> &'static str {
        if self.is_copy {
            "Rehearsed on a copy in memory, because the database has no tables of learner-sync yet: what its own checks and \
             triggers would refuse shows when it has. Nothing was written."
        } else {
            "Rehearsed and rolled back; nothing was written."
        }
    }

    pub(super) fn parts(&self) -> CycleContext<'_> {
        CycleContext { directory: &self.app.directory, store: &self.store, cache: None, rules: &self.app.rules }
    }

    pub(super) fn request(&self) -> CycleOptions<'_> {
        let only = self.only.as_ref().map(FoundUser::only);
        CycleOptions { trigger: Trigger::Command, full: true, now: self.now, only }
    }

    /// From now on for one user only.
    pub(super) async fn find(&mut self, named: UserArgument<'_>) -> Result<(), Failure> {
        self.only = Some(find_user(self.app, &self.store, named).await?);
        Ok(())
    }

    /// Says why nothing of the plan will happen for now.
    pub(super) async fn print_obstacles(&self) -> Result<(), Failure> {
        for line in obstacles(&self.app.config, self.store.state().await?.paused) {
            print(line)?;
        }
        Ok(())
    }

    pub(super) async fn prepare(&self) -> Result<Prepared, CycleError> {
        cycle::prepare(self.parts(), self.request(), None).await
    }
}

/// `[{"action", "entra_id", "user_name", "status", "reason", "detail", "changes"}]`
pub(super) fn decisions_as_json(decisions: &[&Decision]) -> Value {
    decisions.iter().copied().map(decision_as_json).collect()
}

pub(super) fn decision_as_json(decision: &Decision) -> Value {
    let value = |attribute: Attribute, text: Option<&str>| match (attribute.kind(), text) {
        (_, None) => Value::Null,
        (AttributeKind::Boolean, Some(text)) => json!(text == "true"),
        (AttributeKind::Text, Some(text)) => json!(text),
    };
    let Decision { user, action, reason, detail, row: _, user_name, changes, effect: _ } = decision;
    let changes: Vec<Value> = changes
        .iter()
        .map(|change| {
            let ((old, new), attribute) = (change.shown(), change.attribute);
            json!({ "attribute": attribute.path(), "old": value(attribute, old), "new": value(attribute, new) })
        })
        .collect();
    json!({
        "action": action.as_str(),
        "entra_id": user.to_string(),
        "user_name": user_name,
        "status": decision.status().as_str(),
        "reason": reason.as_str(),
        "detail": detail,
        "changes": changes,
    })
}

pub(super) fn print_decisions(decisions: &[&Decision]) -> Result<(), Failure> {
    let mut table = table(&["action", "status", "reason", "user", "changes"]);
    for decision in decisions {
        let Decision { user, action, reason, detail, row: _, user_name, changes, effect: _ } = decision;
        let changes = changes.iter().map(short).collect::<Vec<_>>().join(", ");
        let what = match (detail, changes.as_str()) {
            (Some(detail), "") => detail.to_owned(),
            (Some(detail), changes) => format!("{detail}; {changes}"),
            (None, changes) => changes.to_owned(),
        };
        let user = user_name.clone().unwrap_or_else(|| user.to_string());
        let status = decision.status();
        table.add_row([action.as_str(), status.as_str(), reason.as_str(), &shown(&user), &shown(&what)]);
    }
    if table.row_count() > 0 {
        print(&table.trim_fmt())?;
    }
    Ok(())
}

/// `department: Sales -> Research`
pub(super) fn short(change: &AttributeChange) -> String {
    let (column, (old, new)) = (change.attribute.column(), change.shown());
    let new = new.unwrap_or("(nothing)");
    match old {
        None => format!("{column}: {new}"),
        Some(old) => format!("{column}: {old} -> {new}"),
    }
}
