//! A scenario: a simulated tenant, a learner database, a cache and a clock.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::Arc;

use graph_sim::{DateHeader, GraphSim, Tenant, User};
use jiff::{SignedDuration, Timestamp};
use learner_sync::config;
use learner_sync::cycle::{self, CycleContext, CycleError, CycleOptions, CycleRequest, Prepared, Report, StopSignal};
use learner_sync::model::Trigger;
use learner_sync::plan::Counts;
use learner_sync::runtime::{App, Paths, configured_source};
use learner_sync::store::{Access, Store};
use tempfile::TempDir;
use tokio::sync::watch;

use crate::database::Database;
use crate::postgres::{Server, scratch};

/// The rows that a cycle without changes keeps. Attempts and request ids of failures are left out, because each cycle
/// changes them. The generation shows whether learners were written.
const LASTING: [&str; 6] = [
    "SELECT * FROM learners ORDER BY id",
    "SELECT * FROM provisioning_log ORDER BY id",
    "SELECT * FROM sync_links ORDER BY source, entra_id",
    "SELECT * FROM sync_held ORDER BY source, entra_id",
    "SELECT source, entra_id, reason, detail, first_at FROM sync_failures ORDER BY source, entra_id",
    "SELECT s.generation, g.* FROM sync_state s LEFT JOIN sync_groups g ON true ORDER BY source, group_id",
];

/// The environment of one scenario; deleted when dropped.
pub(crate) struct World {
    /// The tenant.
    pub(crate) sim: Arc<GraphSim>,
    /// The time of the next cycle.
    pub(crate) now: Timestamp,
    /// Graph's `Date` in the next cycles; `None` agrees with [`Self::now`].
    pub(crate) date: Option<DateHeader>,
    /// The learner database.
    pub(crate) database: Database,
    directory: TempDir,
}

impl Drop for World {
    fn drop(&mut self) {
        self.database.leave();
    }
}

impl World {
    /// A world before the first cycle, with the database of the scenario.
    pub(crate) async fn start(tenant: Tenant) -> Self {
        let directory = scratch();
        let database = Database::for_scenario(directory.path().join("learners.db")).await;
        Self::start_with(tenant, directory, database).await
    }

    /// A world before the first cycle, with a new database on `server`.
    pub(crate) async fn start_on(server: &'static Server, tenant: Tenant) -> Self {
        Self::start_with(tenant, scratch(), Database::on(server).await).await
    }

    async fn start_with(tenant: Tenant, directory: TempDir, database: Database) -> Self {
        let sim = Arc::new(GraphSim::start(tenant).await);
        let world = Self { sim, now: "2026-03-02T08:00:00Z".parse().unwrap(), date: None, database, directory };
        std::fs::write(world.path("secret"), world.sim.tenant(|tenant| tenant.client_secret.clone())).unwrap();
        // With other permissions every command warns.
        std::fs::set_permissions(world.path("secret"), std::fs::Permissions::from_mode(0o600)).unwrap();
        world.configure("");
        world
    }

    /// A path in the directory of the scenario.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// The configuration file.
    pub(crate) fn config_path(&self) -> PathBuf {
        self.path("learner-sync.toml")
    }

    /// Writes the configuration: the common part, followed by `more`.
    pub(crate) fn configure(&self, more: &str) {
        let (tenant, client, application) = self.sim.tenant(|tenant| {
            (tenant.tenant_id.clone(), tenant.client_id.clone(), tenant.application.object_id.clone())
        });
        self.configure_for(&tenant, &client, &application, more);
    }

    /// Like [`Self::configure`], for another tenant, client or application.
    pub(crate) fn configure_for(&self, tenant: &str, client: &str, application: &str, more: &str) {
        let (url, secret, database, state) =
            (self.sim.url(), self.path("secret"), self.database.url(), self.path("state"));
        let text = format!(
            "[entra]\ntenant_id = \"{tenant}\"\nclient_id = \"{client}\"\nauthority_url = \"{url}\"\ngraph_url = \"{url}\"\n\
             [entra.credential]\nsecret_file = {secret:?}\n[app]\nenterprise_app = \"{application}\"\n\
             [state]\ndirectory = {state:?}\n\
             [learners]\ndatabase_url = \"{database}\"\n{more}\n",
        );
        std::fs::write(self.config_path(), text).unwrap();
    }

    /// The app of the present configuration.
    pub(crate) fn app(&self) -> App {
        let config = config::load(&self.config_path(), &BTreeMap::new()).unwrap_or_else(|error| panic!("{error}"));
        App::new(config, &BTreeMap::new(), learner_sync::model::system_clock).unwrap()
    }

    /// Runs a cycle at the present time; then half an hour passes.
    pub(crate) async fn cycle(&mut self) -> Report {
        self.run(false).await
    }

    /// Like [`Self::cycle`], without the cache.
    pub(crate) async fn full_cycle(&mut self) -> Report {
        self.run(true).await
    }

    async fn run(&mut self, full: bool) -> Report {
        let (_sender, stop) = watch::channel(false);
        let report = self.run_until(full, stop).await;
        self.pass(SignedDuration::from_mins(30));
        assert_eq!(self.sim.unexpected_calls(), []);
        self.agrees_with(&report).await;
        report
    }

    /// Runs a cycle that can be stopped or dropped.
    pub(crate) async fn run_until(&self, full: bool, stop: StopSignal) -> Report {
        let app = self.app();
        std::fs::create_dir_all(self.path("state")).unwrap();
        let store = Store::open(&app.learners, Access::ReadWrite).await.unwrap();
        let cache = Paths::new(&app.config).cache;
        let parts = CycleContext { directory: &app.directory, store: &store, cache: Some(&cache), rules: &app.rules };
        let request = CycleOptions {
            request: CycleRequest { trigger: Trigger::Command, full },
            now: self.now,
            only: None,
            force: false,
        };
        self.set_date();
        cycle::run(parts, request, stop).await.unwrap()
    }

    /// The row of the cycle equals the report.
    async fn agrees_with(&self, report: &Report) {
        let Counts { in_scope, created, updated, deactivated, reactivated, unchanged, skipped, failed, held } =
            report.counts;
        let numbers = [in_scope, created, updated, deactivated, reactivated, unchanged, skipped, failed, held];
        let row = self
            .query(
                "SELECT in_scope, created, updated, deactivated, reactivated, unchanged, skipped, failed, held, requests,
                        outcome, error
                 FROM sync_cycles ORDER BY id DESC LIMIT 1",
            )
            .await;
        let mut expected: Vec<String> = numbers.iter().chain([&report.requests]).map(u64::to_string).collect();
        expected.extend([report.outcome.to_string(), report.error.clone().unwrap_or_else(|| "NULL".to_owned())]);
        assert_eq!(row, [expected]);
    }

    /// Runs a cycle that changes nothing and logs nothing.
    pub(crate) async fn settled(&mut self) -> Report {
        let before = self.lasting().await;
        let report = self.cycle().await;
        let Counts { created, updated, deactivated, reactivated, .. } = report.counts;
        assert_eq!((created, updated, deactivated, reactivated), (0, 0, 0, 0), "{}", report.summary());
        self.unchanged_since(&before).await;
        report
    }

    /// The rows of [`LASTING`].
    pub(crate) async fn lasting(&self) -> Vec<Vec<String>> {
        let mut rows = self.database.query_all(LASTING).await.concat();
        for text in rows.iter_mut().flatten() {
            let length = text.find(" (request-id ").unwrap_or(text.len());
            text.truncate(length);
        }
        rows
    }

    /// No row was added, deleted or changed.
    pub(crate) async fn unchanged_since(&self, before: &[Vec<String>]) {
        let now = self.lasting().await;
        let (was, is): (BTreeSet<_>, BTreeSet<_>) = (before.iter().collect(), now.iter().collect());
        assert_eq!(was.difference(&is).collect::<Vec<_>>(), is.difference(&was).collect::<Vec<_>>(), "not settled");
    }

    /// Plans a cycle without writing.
    pub(crate) async fn plan(&self) -> Result<Prepared, CycleError> {
        let app = self.app();
        let store = match Store::open(&app.learners, Access::ReadOnly).await {
            Ok(store) => store,
            Err(_) => Store::in_memory().await.unwrap(),
        };
        let parts = CycleContext { directory: &app.directory, store: &store, cache: None, rules: &app.rules };
        let request = CycleOptions {
            request: CycleRequest { trigger: Trigger::Command, full: true },
            now: self.now,
            only: None,
            force: false,
        };
        self.set_date();
        cycle::prepare(parts, request, None).await
    }

    /// Sets Graph's clock at the start of a cycle.
    pub(crate) fn set_date(&self) {
        self.sim.set_date(match &self.date {
            None => DateHeader::clock(self.now),
            Some(DateHeader::Clock(time, _)) => DateHeader::clock(*time),
            Some(date) => date.clone(),
        });
    }

    pub(crate) fn pass(&mut self, duration: SignedDuration) {
        self.now += duration;
    }

    /// Approves all held users, as `approve` does, and returns their number.
    pub(crate) async fn approve(&self) -> u64 {
        let app = self.app();
        let store = Store::open(&app.learners, Access::ReadWrite).await.unwrap();
        let source = configured_source(&app.config, &store.state().await.unwrap());
        let users = store.held_users(&source).await.unwrap();
        store.approve(&source, &users, "tests", self.now).await.unwrap()
    }

    /// See [`Database::query`].
    pub(crate) async fn query(&self, sql: &str) -> Vec<Vec<String>> {
        self.database.query(sql).await
    }

    /// The first value of a query with one row.
    pub(crate) async fn value(&self, sql: &str) -> String {
        let rows = self.query(sql).await;
        assert_eq!(rows.len(), 1, "{sql}: {rows:?}");
        rows[0][0].clone()
    }

    /// Runs statements in the learner database.
    pub(crate) async fn execute(&self, sql: &str) {
        self.database.execute(sql).await;
    }

    /// These columns of a learner; empty when there is none.
    pub(crate) async fn learner(&self, entra_id: &str, columns: &str) -> Vec<String> {
        let rows = self.query(&format!("SELECT {columns} FROM learners WHERE external_id = '{entra_id}'")).await;
        assert!(rows.len() <= 1, "{rows:?}");
        rows.into_iter().next().unwrap_or_default()
    }

    /// The log rows of a user: `action status reason`, oldest first.
    pub(crate) async fn log(&self, entra_id: &str) -> Vec<String> {
        let sql = format!(
            "SELECT action || ' ' || status || ' ' || reason || CASE phase WHEN 'ended' THEN ' ended' ELSE '' END
             FROM provisioning_log WHERE entra_id = '{entra_id}' ORDER BY id"
        );
        self.query(&sql).await.into_iter().flatten().collect()
    }

    /// The `detail` of the last log row of a user.
    pub(crate) async fn last_detail(&self, entra_id: &str) -> String {
        let sql = format!("SELECT detail FROM provisioning_log WHERE entra_id = '{entra_id}' ORDER BY id DESC LIMIT 1");
        self.value(&sql).await
    }

    /// The `changes` of the last log row of a user.
    pub(crate) async fn last_changes(&self, entra_id: &str) -> serde_json::Value {
        let sql =
            format!("SELECT changes FROM provisioning_log WHERE entra_id = '{entra_id}' ORDER BY id DESC LIMIT 1");
        serde_json::from_str(&self.value(&sql).await).unwrap()
    }
}

/// Adds `count` numbered users that are not assigned.
pub(crate) fn add_users(tenant: &mut Tenant, count: usize) -> Vec<String> {
    let user = |number| User::named("Number", &format!("{number:04}")).department("Research");
    // Numbers continue after the present users, so that names are unique.
    let first = tenant.users().count() + 1;
    (first..first + count).map(|number| tenant.add_user(user(number))).collect()
}

/// Adds `count` users and assigns each directly.
pub(crate) fn assigned(tenant: &mut Tenant, count: usize) -> Vec<String> {
    let users = add_users(tenant, count);
    users.iter().for_each(|user| tenant.assign_user(user));
    users
}

/// Adds an assigned group with `count` new members.
pub(crate) fn assigned_group(tenant: &mut Tenant, name: &str, count: usize) -> (String, Vec<String>) {
    let group = tenant.add_group(name);
    let users = add_users(tenant, count);
    users.iter().for_each(|user| tenant.add_member(&group, user));
    tenant.assign_group(&group);
    (group, users)
}
