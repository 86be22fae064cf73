//! What learner-sync does, in a minute and without an Entra tenant: `cargo run --example demo`.
//!
//! The daemon's own pipeline runs against a simulated tenant and a real SQLite file: a first import, an ordinary day,
//! and a bad Friday on which nobody is switched off. Every number is compared with what the tenant says, so that the
//! demonstration ends with an error when the pipeline is broken.
//!
//! `cargo run --example demo -- --serve` goes on afterwards with the real daemon, until Ctrl-C. `RUST_LOG=info` shows
//! the operational log from the beginning.
#![expect(clippy::print_stdout, reason = "the demonstration is what it prints")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs::Permissions;
use std::io::IsTerminal;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use anyhow::{Context, ensure};
use comfy_table::{ContentArrangement, Table, presets};
use graph_sim::{GraphSim, MemberKind, Tenant, User};
use learner_sync::app::{App, learners, source};
use learner_sync::config::{self, Config};
use learner_sync::cycle::Report;
use learner_sync::daemon;
use learner_sync::model::{Action, EntraId, Outcome, Reason, Status, Trigger, system_clock};
use learner_sync::plan::Counts;
use learner_sync::session::{self, RunOptions};
use learner_sync::store::{Access, LogFilter, LogRow, Store};
use serde_json::Value;
use sqlx::{Connection, Row, SqliteConnection};
use tokio::sync::watch;
use tracing_subscriber::EnvFilter;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let serve = std::env::args().any(|argument| argument == "--serve");
    let asked = config::environment().remove("RUST_LOG");
    asked.as_deref().map(start_logging).transpose()?;
    let demo = Demo::start().await?;
    demo.everybody_is_created().await?;
    demo.a_first_day_at_work().await?;
    let (all_staff, night_shift) = demo.a_bad_friday().await?;
    demo.the_administrator_decides(&all_staff, &night_shift).await?;
    demo.show_what_is_left(serve);
    if serve {
        if asked.is_none() {
            start_logging("learner_sync=info")?;
        }
        daemon::run(demo.config()?, BTreeMap::new(), system_clock).await?;
    }
    Ok(())
}

fn start_logging(directives: &str) -> anyhow::Result<()> {
    let lines = tracing_subscriber::fmt().with_env_filter(EnvFilter::try_new(directives)?).with_target(false);
    lines.with_writer(std::io::stderr).with_ansi(std::io::stderr().is_terminal()).init();
    Ok(())
}

/// A simulated tenant, and a directory with the configuration and the learner database.
struct Demo {
    sim: GraphSim,
    directory: PathBuf,
}

impl Demo {
    async fn start() -> anyhow::Result<Self> {
        let sim = GraphSim::start(Tenant::with_users(300, 7)).await;
        let directory = tempfile::Builder::new().prefix("learner-sync-demo-").tempdir()?.keep();
        let demo = Self { sim, directory };
        let (secret, url) = (demo.path("client-secret"), demo.sim.url());
        let (tenant, client, application, value) = demo.sim.tenant(|tenant| {
            let application = tenant.application.object_id.clone();
            (tenant.tenant_id.clone(), tenant.client_id.clone(), application, tenant.client_secret.clone())
        });
        std::fs::write(&secret, value)?;
        std::fs::set_permissions(&secret, Permissions::from_mode(0o600))?;
        let (database, state) = (demo.path("learners.db"), demo.path("state"));
        let text = format!(
            "[entra]\ntenant_id = \"{tenant}\"\nclient_id = \"{client}\"\n\
             authority_url = \"{url}\"\ngraph_url = \"{url}\"\n\n\
             [entra.credential]\nsecret_file = {secret:?}\n\n\
             [app]\nenterprise_app = \"{application}\"\n\n\
             [learners]\ndatabase_url = \"sqlite://{}\"\n\n\
             [schedule]\nmin_interval = \"5s\"\nmax_interval = \"10s\"\n\n\
             [state]\ndirectory = {state:?}\n",
            database.display()
        );
        std::fs::write(demo.path("learner-sync.toml"), text)?;
        Ok(demo)
    }

    async fn everybody_is_created(&self) -> anyhow::Result<()> {
        let (assigned, groups) = self.sim.tenant(|tenant| {
            let groups = tenant.application.assignments().filter(|(id, _)| tenant.group(id).is_some()).count();
            (learnable(tenant), groups)
        });
        title("1. Everybody is created");
        println!("A tenant of 300 people. Most are assigned to the application, directly or through one of");
        println!("{groups} groups; {} of these are enabled and have an e-mail address.", assigned.len());
        println!("The learner database is empty: {}", self.path("learners.db").display());
        let report = self.cycle().await?;
        self.expect(&report, Outcome::Success, Expected { created: assigned.len(), ..Expected::default() })?;
        ensure!(self.active().await? == assigned.len() as u64, "not everybody who was created is active");

        let mut skipped = self.log(&report).await?;
        skipped.retain(|row| row.status == Status::Skipped);
        let (without, disabled) = (skipped.len(), report.counts.skipped - skipped.len() as u64);
        println!(
            "\nSkipped: {without} have no e-mail address, which every learner needs; {disabled} are disabled in Entra."
        );
        println!("\nFive of the learners, as the training platform reads them:");
        let columns = "user_name, last_name, title, department, active";
        let mut rows = table(&columns.split(", ").collect::<Vec<_>>());
        let mut connection =
            SqliteConnection::connect(&format!("sqlite://{}", self.path("learners.db").display())).await?;
        let sql = format!("SELECT {columns} FROM learners WHERE id % 50 = 8 ORDER BY id LIMIT 5");
        for row in sqlx::query(sqlx::AssertSqlSafe(sql)).fetch_all(&mut connection).await? {
            let text = |index| row.try_get_unchecked::<Option<String>, _>(index).map(Option::unwrap_or_default);
            rows.add_row((0..row.len()).map(text).collect::<Result<Vec<_>, _>>()?);
        }
        connection.close().await?;
        println!("{rows}");
        Ok(())
    }

    async fn a_first_day_at_work(&self) -> anyhow::Result<()> {
        title("2. A first day at work");
        let before = self.sim.tenant(|tenant| learnable(tenant));
        let after = self.sim.tenant(|tenant| {
            a_day_passes(tenant)?;
            anyhow::Ok(learnable(tenant))
        })?;
        println!("Three people are hired. One is promoted, one marries, one loses the department. One account is");
        println!("deleted, one is blocked, one person is taken off the application. \"Seconded from partners\" is");
        println!("assigned to it.");
        let report = self.cycle().await?;
        let (created, deactivated) = (after.difference(&before).count(), before.difference(&after).count());
        self.expect(&report, Outcome::Success, Expected { created, updated: 3, deactivated, held: 0 })?;
        ensure!(deactivated == 3, "three people leave, not {deactivated}");
        let log = self.log(&report).await?;
        for reason in [Reason::AccountDeleted, Reason::AccountDisabled, Reason::Unassigned] {
            let found = log.iter().filter(|row| row.action == Action::Deactivate && row.reason == reason).count();
            ensure!(found == 1, "{found} people are switched off as {reason}, not 1");
        }
        let updates = log.iter().filter(|row| row.action == Action::Update);
        let mut changes: Vec<usize> = updates.map(|row| row.changes.as_array().map_or(0, Vec::len)).collect();
        changes.sort_unstable();
        ensure!(changes == [1, 1, 3], "title, department and three attributes change, not {changes:?}");
        println!("\nThe provisioning log of this cycle:");
        let mut rows = table(&["who", "action", "reason", "what changed"]);
        for LogRow { user_name, entra_id, action, status, reason, changes, detail, .. } in log {
            let (done, what) = match (status, action) {
                (Status::Success, Action::Create) => (action.to_string(), introduced(&changes)),
                (Status::Success, _) => (action.to_string(), changed(&changes)),
                _ => (format!("{action} ({status})"), detail.unwrap_or_default()),
            };
            rows.add_row([short_name(user_name, entra_id), done, reason.to_string(), what]);
        }
        println!("{rows}");
        Ok(())
    }

    async fn a_bad_friday(&self) -> anyhow::Result<(String, String)> {
        title("3. A bad Friday");
        let active = self.active().await?;
        let before = self.sim.tenant(|tenant| learnable(tenant));
        let (all_staff, night_shift, without_night_shift, after) = self.sim.tenant(|tenant| {
            let (all_staff, night_shift) = (group(tenant, "All staff")?, group(tenant, "Night shift")?);
            for member in members(tenant, &night_shift) {
                tenant.remove_member(&night_shift, &member);
            }
            let without_night_shift = learnable(tenant);
            tenant.unassign(&all_staff);
            anyhow::Ok((all_staff, night_shift, without_night_shift, learnable(tenant)))
        })?;
        println!("Somebody takes \"All staff\" off the application, and \"Night shift\" runs empty.");
        let report = self.cycle().await?;
        let gone = before.difference(&after).count();
        self.expect(&report, Outcome::Held, Expected { held: gone, ..Expected::default() })?;

        println!("\nHeld back until an administrator decides:");
        let mut rows = table(&["reason", "people", "the first of them", "what the log says of them"]);
        let mut log = self.log(&report).await?;
        log.retain(|row| row.status == Status::Held);
        let of_night_shift = before.difference(&without_night_shift).count();
        for (reason, expected) in [(Reason::Threshold, gone - of_night_shift), (Reason::EmptyGroup, of_night_shift)] {
            let held: Vec<&LogRow> = log.iter().filter(|row| row.reason == reason).collect();
            ensure!(held.len() == expected, "{} people are held as {reason}, not {expected}", held.len());
            let first = held.first().context("nobody is held")?;
            let LogRow { user_name, entra_id, detail, .. } = *first;
            rows.add_row([
                reason.to_string(),
                held.len().to_string(),
                short_name(user_name.clone(), *entra_id),
                detail.clone().unwrap_or_default(),
            ]);
        }
        println!("{rows}");
        let now = self.active().await?;
        println!("\nActive learners before: {active}; after: {now}. Nobody is switched off.");
        ensure!(now == active, "{active} learners were active before, {now} are after");
        Ok((all_staff, night_shift))
    }

    async fn the_administrator_decides(&self, all_staff: &str, night_shift: &str) -> anyhow::Result<()> {
        title("4. The mistake is mended");
        println!("The administrator assigns \"All staff\" again. The night shift has really ended.");
        let held = self.held().await?.len();
        self.sim.tenant(|tenant| tenant.assign_group(all_staff));
        let report = self.cycle().await?;
        let still = self.held().await?;
        self.expect(&report, Outcome::Held, Expected { held: still.len(), ..Expected::default() })?;
        let ended = held - still.len();
        println!("\n{ended} holds have ended by themselves; {} of the night shift are still held.", still.len());
        ensure!(ended > 0 && !still.is_empty(), "{ended} holds have ended, {} are left", still.len());
        ensure!(
            self.sim.tenant(|tenant| members(tenant, night_shift).is_empty()),
            "the night shift is not over in the tenant"
        );

        title("5. The rest is approved");
        println!("`learner-sync approve` shows them, and releases exactly these {}.", still.len());
        let active = self.active().await?;
        let (store, source) = self.store().await?;
        let released =
            store.approve(&source, &store.held_users(&source).await?, "demonstration", system_clock()).await?;
        ensure!(released == still.len() as u64, "{released} people are released, not {}", still.len());
        let report = self.cycle().await?;
        self.expect(&report, Outcome::Success, Expected { deactivated: still.len(), ..Expected::default() })?;
        let now = self.active().await?;
        println!("\nActive learners before: {active}; after: {now}.");
        ensure!(now + released == active, "{active} learners were active, {released} left, and {now} are active");
        ensure!(self.held().await?.is_empty(), "somebody is held still");
        let learnable = self.sim.tenant(|tenant| learnable(tenant).len());
        ensure!(now == learnable as u64, "{now} learners are active, and {learnable} should be");
        Ok(())
    }

    fn show_what_is_left(&self, serve: bool) {
        title(if serve { "The daemon runs until Ctrl-C" } else { "To look around" });
        let (database, config) = (self.path("learners.db"), self.path("learner-sync.toml"));
        println!("sqlite3 {} \"SELECT user_name, title, active FROM learners LIMIT 5\"", database.display());
        if !serve {
            println!("\nThe directory stays there. `cargo run --example demo -- --serve` keeps the daemon running.");
            return;
        }
        let url = self.sim.url();
        let somebody = self.sim.tenant(|tenant| regulars(tenant).into_iter().next().unwrap_or_default());
        println!("\nChange the tenant (everything else it can do: tests/graph-sim/src/main.rs):");
        println!("curl {url}/control/users/{somebody} -X PATCH -d '{{\"jobTitle\": \"Harbour master\"}}'");
        println!(
            "curl {url}/control/users -d '{{\"givenName\": \"Ada\", \"surname\": \"Lovelace\", \"assign\": true}}'"
        );
        println!("\nAnd see what the daemon, which looks every 5 to 10 seconds, makes of it:");
        println!("export LEARNER_SYNC_CONFIG={}", config.display());
        for command in ["status", "log --since 2m", "resync --wait", "pause", "resume"] {
            println!("cargo run --quiet -- {command}");
        }
        println!();
    }

    /// One cycle as the daemon runs it, and its numbers.
    async fn cycle(&self) -> anyhow::Result<Report> {
        let app = App::new(self.config()?, &BTreeMap::new(), system_clock)?;
        let ask = RunOptions {
            trigger: Trigger::Command,
            full: false,
            wait: false,
            force: false,
            command: "demo",
            actor: None,
            only: None,
        };
        let (_sender, stop) = watch::channel(false);
        let report = session::run(&app, ask, stop).await?;
        if let Some(error) = &report.error {
            anyhow::bail!("the cycle failed: {error}");
        }
        let Report { cycle, outcome, counts, requests, duration, .. } = &report;
        let Counts { in_scope, created, updated, deactivated, reactivated, unchanged, skipped, failed, held } = *counts;
        let cycle = cycle.map_or(0, |cycle| cycle.0);
        println!("\nCycle {cycle}: {outcome}, {requests} requests to Graph, {:.2} s", duration.as_secs_f64());
        let heads = ["in scope", "created", "updated", "deactivated", "reactivated", "unchanged", "skipped"];
        let mut rows = table(&[heads.as_slice(), &["failed", "held"]].concat());
        rows.add_row([in_scope, created, updated, deactivated, reactivated, unchanged, skipped, failed, held]);
        println!("{rows}");
        Ok(report)
    }

    /// Compares a cycle with what was expected of it; all others must be unchanged.
    fn expect(&self, report: &Report, outcome: Outcome, expected: Expected) -> anyhow::Result<()> {
        let Expected { created, updated, deactivated, held } = expected;
        ensure!(report.outcome == outcome, "the cycle ended with {}, not with {outcome}", report.outcome);
        let (counts, learnable) = (report.counts, self.sim.tenant(|tenant| learnable(tenant).len()));
        for (what, found, expected) in [
            ("created", counts.created, created),
            ("updated", counts.updated, updated),
            ("deactivated", counts.deactivated, deactivated),
            ("reactivated", counts.reactivated, 0),
            ("unchanged", counts.unchanged, learnable.saturating_sub(created + updated)),
            ("failed", counts.failed, 0),
            ("held", counts.held, held),
        ] {
            ensure!(found == expected as u64, "{found} {what}, not {expected}");
        }
        Ok(())
    }

    /// The rows that a cycle wrote into the provisioning log.
    async fn log(&self, report: &Report) -> anyhow::Result<Vec<LogRow>> {
        let mut rows = self.store().await?.0.log(&LogFilter::default()).await?;
        rows.retain(|row| Some(row.cycle) == report.cycle);
        Ok(rows)
    }

    async fn active(&self) -> anyhow::Result<u64> {
        let (store, source) = self.store().await?;
        Ok(store.learner_counts(&source).await?.active)
    }

    async fn held(&self) -> anyhow::Result<Vec<EntraId>> {
        let (store, source) = self.store().await?;
        Ok(store.held_users(&source).await?.into_iter().map(|user| user.entra_id).collect())
    }

    async fn store(&self) -> anyhow::Result<(Store, String)> {
        let config = self.config()?;
        let store = Store::open(learners(&config, &BTreeMap::new())?, Access::ReadWrite).await?;
        let source = source(&config, &store.state().await?);
        Ok((store, source))
    }

    fn config(&self) -> anyhow::Result<Config> {
        // Nothing of the environment: the demonstration is the same everywhere.
        Ok(config::load(&self.path("learner-sync.toml"), &BTreeMap::new())?)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }
}

/// What happens in the tenant on an ordinary day.
fn a_day_passes(tenant: &mut Tenant) -> anyhow::Result<()> {
    let mut users = regulars(tenant).into_iter();
    let mut next = || users.next().context("the tenant has too few people");
    for (given_name, surname, department, job_title) in [
        ("Imke", "Quist", "Maintenance", "Electrician"),
        ("Tomás", "Vidal", "Logistics", "Dispatcher"),
        ("Noor", "Haddad", "Finance", "Accountant"),
    ] {
        let id = tenant.add_user(User::named(given_name, surname).department(department).job_title(job_title));
        tenant.assign_user(&id);
    }
    tenant.user_mut(&next()?).job_title = Some("Head of operations".to_owned());
    let married = tenant.user_mut(&next()?);
    let address = married.user_principal_name.clone().unwrap_or_default();
    let (alias, domain) = address.split_once('@').context("a user name without a domain")?;
    let address = format!("{}.adeyemi-roth@{domain}", alias.split('.').next().unwrap_or(alias));
    married.surname = Some("Adeyemi-Roth".to_owned());
    married.user_principal_name = Some(address.clone());
    married.mail = Some(address);
    tenant.user_mut(&next()?).department = None;
    tenant.delete_user(&next()?);
    tenant.user_mut(&next()?).account_enabled = Some(false);
    tenant.unassign(&next()?);
    let partners = group(tenant, "Seconded from partners")?;
    tenant.assign_group(&partners);
    Ok(())
}

/// People with nothing unusual about them who are assigned themselves and through no group.
fn regulars(tenant: &Tenant) -> Vec<String> {
    let grouped: BTreeSet<String> =
        tenant.groups().flat_map(|group| group.members().map(|(id, _)| id.to_owned()).collect::<Vec<_>>()).collect();
    let assigned: BTreeSet<&str> = tenant.application.assignments().map(|(id, _)| id).collect();
    let learnable = learnable(tenant);
    let regular = |user: &&User| {
        let complete = user.user_type.as_deref() == Some("Member")
            && [&user.given_name, &user.department, &user.job_title].iter().all(|value| value.is_some());
        complete && learnable.contains(&user.id) && assigned.contains(&*user.id) && !grouped.contains(&user.id)
    };
    tenant.users().filter(regular).map(|user| user.id.clone()).collect()
}

/// Who should be an active learner: assigned, directly or as a direct member of an assigned group, enabled, and with
/// an e-mail address. Counted here in its own way, to compare the pipeline with.
fn learnable(tenant: &Tenant) -> BTreeSet<String> {
    let mut users = BTreeSet::new();
    for (principal, _) in tenant.application.assignments() {
        match tenant.group(principal) {
            Some(_) => users.extend(members(tenant, principal)),
            None => drop(users.insert(principal.to_owned())),
        }
    }
    let good = |user: &User| user.account_enabled == Some(true) && user.mail.is_some();
    users.retain(|id| tenant.find_user(id).is_some_and(good));
    users
}

/// The users who are direct members of a group.
fn members(tenant: &Tenant, group: &str) -> Vec<String> {
    let members = tenant.group(group).into_iter().flat_map(|group| group.members());
    members.filter(|(_, kind)| *kind == MemberKind::User).map(|(id, _)| id.to_owned()).collect()
}

fn group(tenant: &Tenant, name: &str) -> anyhow::Result<String> {
    let found = tenant.groups().find(|group| group.display_name == name);
    found.map(|group| group.id.clone()).with_context(|| format!("there is no group {name:?}"))
}

/// What a cycle should have done.
#[derive(Default)]
struct Expected {
    created: usize,
    updated: usize,
    deactivated: usize,
    held: usize,
}

/// What tells a new learner from the others.
fn introduced(changes: &Value) -> String {
    let telling = |change: &&Value| ["title", "department"].contains(&attribute(change));
    let values = changes.as_array().into_iter().flatten().filter(telling).map(|change| text(&change["new"]));
    values.collect::<Vec<_>>().join(", ")
}

/// `title: Clerk → Head of operations`, a line for each attribute.
fn changed(changes: &Value) -> String {
    let line = |change| format!("{}: {} → {}", attribute(change), text(&change["old"]), text(&change["new"]));
    changes.as_array().into_iter().flatten().map(line).collect::<Vec<_>>().join("\n")
}

/// The end of the SCIM path, which is all that differs.
fn attribute(change: &Value) -> &str {
    let path = change["attribute"].as_str().unwrap_or_default();
    path.rsplit(':').next().unwrap_or(path)
}

fn text(value: &Value) -> String {
    match value {
        Value::Null => "(nothing)".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// The user name without the tenant's domain, which is the same for all.
fn short_name(user_name: Option<String>, id: EntraId) -> String {
    let name = user_name.unwrap_or_else(|| id.to_string());
    name.strip_suffix(&format!("@{}", graph_sim::DOMAIN)).map_or(name.clone(), str::to_owned)
}

fn table(heads: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::UTF8_FULL_CONDENSED).set_content_arrangement(ContentArrangement::Dynamic);
    table.set_width(108).set_header(heads);
    table
}

fn title(text: &str) {
    println!("\n\n{text}\n{}\n", "─".repeat(text.chars().count()));
}
