//! The common part of `plan` and `--dry-run`: a cycle on a database to which nothing is written.

use std::path::PathBuf;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::output::{FAILED, Failure, print_obstacles, print_sentences};
use crate::cycle::{self, CycleContext, CycleError, CycleOptions, CycleRequest, FullComparisons, Prepared, SingleUser};
use crate::model::Trigger;
use crate::runtime::user_lookup::{UserArgument, find_user};
use crate::runtime::{App, Paths};
use crate::store::{Access, Store, StoreError};

/// How long a rehearsal waits for the learner database.
const DATABASE_TIMEOUT: Duration = Duration::from_secs(2);

pub(super) struct Planner<'a> {
    app: &'a App,
    store: Store,
    /// A copy in memory, because the database does not have our tables yet.
    is_copy: bool,
    cache: PathBuf,
    full: bool,
    only: Option<SingleUser>,
    now: Timestamp,
}

impl<'a> Planner<'a> {
    /// Opens the database to read. An empty database in memory replaces a missing one; a copy in memory replaces one
    /// without our tables.
    pub(super) async fn open(app: &'a App) -> Result<Self, Failure> {
        Self::open_with(app, Access::ReadAnyHost).await
    }

    async fn open_with(app: &'a App, access: Access) -> Result<Self, Failure> {
        let learners = &app.learners;
        let (store, is_copy) = match Store::open(learners, access).await {
            Err(StoreError::Missing { .. }) => (Store::in_memory().await?, false),
            Err(StoreError::Older { found: 0, .. }) => (Store::copy_in_memory(learners).await?, true),
            opened => (opened?, false),
        };
        let cache = Paths::new(&app.config).cache;
        Ok(Self { app, store, is_copy, cache, full: false, only: None, now: (app.clock)() })
    }

    /// Opens the database for transactions that are rolled back.
    pub(super) async fn open_to_rehearse(app: &'a App) -> Result<Self, Failure> {
        let planner = Self::open_with(app, Access::ReadOnly).await?;
        let learners = &app.learners;
        // Opening a database without our tables to write would create them.
        if Store::open(learners, Access::ReadOnly).await.is_err() {
            return Ok(planner);
        }
        let busy = "the learner database is locked by another process, and a rehearsal does not wait for it";
        let opened = tokio::time::timeout(DATABASE_TIMEOUT, Store::open(learners, Access::ReadWrite)).await;
        let store = opened.map_err(|_| Failure::new(FAILED, busy))??;
        Ok(Self { store, ..planner })
    }

    /// Compares with the whole learner database, as `sync --full` does.
    pub(super) fn in_full(self) -> Self {
        Self { full: true, ..self }
    }

    /// Restricts the cycle to one user.
    pub(super) async fn find_user(&mut self, argument: UserArgument<'_>) -> Result<(), Failure> {
        self.only = Some(find_user(self.app, &self.store, argument).await?);
        Ok(())
    }

    pub(super) fn context(&self) -> CycleContext<'_> {
        let cache = Some(self.cache.as_path());
        CycleContext { directory: &self.app.directory, store: &self.store, cache, rules: &self.app.rules }
    }

    pub(super) fn options(&self) -> CycleOptions<'_> {
        let request = CycleRequest { trigger: Trigger::Command, full: self.full };
        CycleOptions { request, now: self.now, only: self.only.as_ref(), force: false }
    }

    pub(super) async fn prepare(&self) -> Result<Prepared, CycleError> {
        cycle::prepare(self.context(), self.options(), None).await
    }

    /// Prints until when the plan cannot see changes that other programs make, and why no cycle would run now.
    pub(super) async fn print_notes(&self, prepared: &Prepared) -> Result<(), Failure> {
        if let Some(FullComparisons { last, next }) = prepared.full_comparisons(&self.app.rules) {
            print_sentences(&format!(
                "\nThe learner database was last compared in full at {last:.0}, and is next at {next:.0}. Until then, \
                 changes that others made in it are not shown; `learner-sync sync --dry-run --full` shows them."
            ))?;
        }
        self.print_obstacles().await
    }

    /// `{"last", "next"}`; null when the plan was compared with the whole learner database.
    pub(super) fn comparisons_as_json(&self, prepared: &Prepared) -> Value {
        let comparisons = prepared.full_comparisons(&self.app.rules);
        json!(comparisons.map(|FullComparisons { last, next }| {
            json!({ "last": format!("{last:.0}"), "next": format!("{next:.0}") })
        }))
    }

    /// How far the result of a rehearsal can be trusted.
    pub(super) fn rehearsed(&self) -> &'static str {
        if self.is_copy {
            "Rehearsed on a copy in memory, because the database does not have the tables of learner-sync yet. The copy \
             lacks the checks and triggers of the database. Nothing was written."
        } else {
            "Rehearsed and rolled back; nothing was written."
        }
    }

    /// Prints why no cycle would run now.
    pub(super) async fn print_obstacles(&self) -> Result<(), Failure> {
        Ok(print_obstacles(&self.app.config, self.store.state().await?.paused)?)
    }
}
