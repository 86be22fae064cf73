//! Shows in a minute, without an Entra tenant, what learner-sync does: `cargo run --example demo`.
//!
//! The real commands run against a simulated tenant and an SQLite file: a first import, an ordinary day, and a mistake
//! that deactivates no learner. Every number is compared with the simulated tenant; a difference is an error.
//!
//! `cargo run --example demo -- --serve` then keeps the daemon running until Ctrl-C. `RUST_LOG=info` shows the log of
//! the commands.
#![expect(clippy::print_stdout, reason = "the demonstration is what it prints")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs::Permissions;
use std::io::IsTerminal;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

use anyhow::{Context, ensure};
use comfy_table::{ContentArrangement, Table, presets};
use graph_sim::{GraphSim, MemberKind, Tenant, User};
use learner_sync::config::{self, Config};
use learner_sync::daemon;
use learner_sync::model::{Action, EntraId, Outcome, Reason, Status, system_clock};
use learner_sync::runtime::{configured_source, learner_database};
use learner_sync::store::{Access, CycleRow, LogFilter, LogRow, Store};
use serde_json::Value;
use sqlx::{Connection, Row, SqliteConnection};

const PROGRAM: &str = "learner-sync";

fn main() -> anyhow::Result<ExitCode> {
    // Cargo builds no other program for an example, so the demonstration starts itself under this name as the real one.
    if std::env::args_os().next().is_some_and(|name| name == PROGRAM) {
        return Ok(learner_sync::cli::main());
    }
    let serve = std::env::args().any(|argument| argument == "--serve");
    tokio::runtime::Runtime::new()?.block_on(demonstrate(serve))?;
    Ok(ExitCode::SUCCESS)
}

async fn demonstrate(serve: bool) -> anyhow::Result<()> {
    let demo = Demo::start().await?;
    demo.first_cycle().await?;
    demo.ordinary_day().await?;
    let all_staff = demo.mistake().await?;
    demo.mistake_fixed(&all_staff).await?;
    demo.approval().await?;
    demo.next_steps(serve);
    if serve {
        let level = demo.log_level.as_deref().unwrap_or("learner_sync=info");
        let log = tracing_subscriber::fmt().with_env_filter(level).with_target(false);
        log.with_writer(std::io::stderr).with_ansi(std::io::stderr().is_terminal()).init();
        daemon::run(demo.config()?, BTreeMap::new(), system_clock).await?;
    }
    Ok(())
}

/// A simulated tenant, and a directory with the configuration and the learner database.
struct Demo {
    sim: GraphSim,
    directory: PathBuf,
    /// The value of `RUST_LOG`.
    log_level: Option<String>,
}

impl Demo {
    async fn start() -> anyhow::Result<Self> {
        let sim = GraphSim::start(Tenant::with_users(300, 7)).await;
        let directory = tempfile::Builder::new().prefix("learner-sync-demo-").tempdir()?.keep();
        let demo = Self { sim, directory, log_level: config::environment().remove("RUST_LOG") };
        // The warnings about skipped and held users would repeat what the demonstration shows.
        let log_level = demo.log_level.as_deref().unwrap_or("error");
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
             [state]\ndirectory = {state:?}\n\n\
             [log]\nlevel = {log_level:?}\n",
            database.display()
        );
        std::fs::write(demo.path("learner-sync.toml"), text)?;
        println!("A simulated Entra tenant with 300 users, and an empty learner database in");
        println!("{}", demo.directory.display());
        println!("\nEach step runs one cycle with `learner-sync sync`.");
        println!("The daemon, `learner-sync run`, does the same every 20 to 40 minutes.");
        Ok(demo)
    }

    async fn first_cycle(&self) -> anyhow::Result<()> {
        title("1. The first cycle creates the learners");
        let (assigned, groups) = self.sim.tenant(|tenant| {
            let groups = tenant.application.assignments().filter(|(id, _)| tenant.group(id).is_some()).count();
            (learnable(tenant), groups)
        });
        println!("Most users are assigned to the application, directly or through one of {groups} groups.");
        println!("{} of these are enabled and have an e-mail address.", assigned.len());
        let cycle = self.sync(Outcome::Success, Expected { created: assigned.len(), ..Expected::default() }).await?;
        ensure!(self.active().await? == assigned.len() as u64, "a learner was created inactive");

        let mut skipped = self.log(&cycle).await?;
        skipped.retain(|row| row.status == Status::Skipped);
        let (without, disabled) = (skipped.len(), cycle.counts.skipped - skipped.len() as u64);
        println!("\nSkipped: {without} users have no e-mail address, which every learner needs,");
        println!("and {disabled} are disabled in Entra.");
        println!("\nFive rows of the table `learners`:");
        let columns = ["user_name", "last_name", "department", "active"];
        let mut rows = table(&columns);
        let mut connection =
            SqliteConnection::connect(&format!("sqlite://{}", self.path("learners.db").display())).await?;
        let sql = format!("SELECT {} FROM learners WHERE id % 50 = 8 ORDER BY id LIMIT 5", columns.join(", "));
        for row in sqlx::query(sqlx::AssertSqlSafe(sql)).fetch_all(&mut connection).await? {
            let text = |index| row.try_get_unchecked::<Option<String>, _>(index).map(Option::unwrap_or_default);
            rows.add_row((0..row.len()).map(text).collect::<Result<Vec<_>, _>>()?);
        }
        connection.close().await?;
        println!("{rows}");
        Ok(())
    }

    async fn ordinary_day(&self) -> anyhow::Result<()> {
        title("2. An ordinary day: joiners, changes, leavers");
        let before = self.sim.tenant(|tenant| learnable(tenant));
        let after = self.sim.tenant(|tenant| {
            change_tenant(tenant)?;
            anyhow::Ok(learnable(tenant))
        })?;
        let (created, deactivated) = (after.difference(&before).count(), before.difference(&after).count());
        println!("In Entra, three users join. One gets a new job title, one a new surname, and one");
        println!("loses the department. One account is deleted, one is disabled, and one user is");
        println!("unassigned. The group \"Seconded from partners\" is assigned.");
        let cycle = self.sync(Outcome::Success, Expected { created, updated: 3, deactivated, held: 0 }).await?;
        ensure!(deactivated == 3, "{deactivated} users leave, not 3");
        let log = self.log(&cycle).await?;
        for reason in [Reason::AccountDeleted, Reason::AccountDisabled, Reason::Unassigned] {
            let found = log.iter().filter(|row| row.action == Action::Deactivate && row.reason == reason).count();
            ensure!(found == 1, "{found} learners are deactivated as {reason}, not 1");
        }
        let updates = log.iter().filter(|row| row.action == Action::Update);
        let mut changes: Vec<usize> = updates.map(|row| row.changes.as_array().map_or(0, Vec::len)).collect();
        changes.sort_unstable();
        ensure!(changes == [1, 1, 3], "{changes:?} attributes change, not [1, 1, 3]");
        println!("\nThe provisioning log of this cycle, shortened (`learner-sync log` shows it all):");
        for LogRow { user_name, entra_id, action, status, reason, changes, .. } in log {
            let action = if status == Status::Success { action.as_str() } else { status.as_str() };
            println!("  {action:<12}{:<20}{}", reason.as_str(), short_name(user_name, entra_id));
            for change in changes.as_array().into_iter().flatten().filter(|_| action == Action::Update.as_str()) {
                println!("      {}: {} → {}", attribute(change), text(&change["old"]), text(&change["new"]));
            }
        }
        Ok(())
    }

    async fn mistake(&self) -> anyhow::Result<String> {
        title("3. A mistake: the largest group is unassigned");
        let active = self.active().await?;
        let before = self.sim.tenant(|tenant| learnable(tenant));
        let (all_staff, without_night_shift, after) = self.sim.tenant(|tenant| {
            let (all_staff, night_shift) = (group(tenant, "All staff")?, group(tenant, "Night shift")?);
            for member in members(tenant, &night_shift) {
                tenant.remove_member(&night_shift, &member);
            }
            let without_night_shift = learnable(tenant);
            tenant.unassign(&all_staff);
            anyhow::Ok((all_staff, without_night_shift, learnable(tenant)))
        })?;
        let gone = before.difference(&after).count();
        println!("In Entra, the group \"All staff\" is unassigned from the application, and the");
        println!("group \"Night shift\" loses all its members: {gone} learners are no longer assigned.");
        let cycle = self.sync(Outcome::Held, Expected { held: gone, ..Expected::default() }).await?;

        println!("\nEvery deactivation waits for an administrator. The provisioning log says why:");
        let mut rows = table(&["reason", "users", "for example", "detail"]);
        let mut log = self.log(&cycle).await?;
        log.retain(|row| row.status == Status::Held);
        let of_night_shift = before.difference(&without_night_shift).count();
        for (reason, expected) in [(Reason::Threshold, gone - of_night_shift), (Reason::EmptyGroup, of_night_shift)] {
            let held: Vec<&LogRow> = log.iter().filter(|row| row.reason == reason).collect();
            ensure!(held.len() == expected, "{} users are held as {reason}, not {expected}", held.len());
            let LogRow { user_name, entra_id, detail, .. } = *held.first().context("no user is held")?;
            rows.add_row([
                reason.to_string(),
                held.len().to_string(),
                short_name(user_name.clone(), *entra_id),
                detail.clone().unwrap_or_default(),
            ]);
        }
        println!("{rows}");
        self.expect_active(active, 0).await?;
        Ok(all_staff)
    }

    async fn mistake_fixed(&self, all_staff: &str) -> anyhow::Result<()> {
        title("4. The mistake is fixed in Entra");
        println!("\"All staff\" is assigned again. \"Night shift\" stays empty: that change was meant.");
        let (active, held) = (self.active().await?, self.held().await?.len());
        let learnable = self.sim.tenant(|tenant| {
            tenant.assign_group(all_staff);
            learnable(tenant).len()
        });
        let still_held = usize::try_from(active)? - learnable;
        self.sync(Outcome::Held, Expected { held: still_held, ..Expected::default() }).await?;
        let ended = held - self.held().await?.len();
        println!("\n{ended} holds ended without an approval; {still_held} of the night shift remain.");
        ensure!(ended > 0 && ended + still_held == held, "{ended} of {held} holds ended");
        self.expect_active(active, 0).await
    }

    async fn approval(&self) -> anyhow::Result<()> {
        title("5. An administrator approves the rest");
        println!("Without --yes the command asks before it releases the learners it shows.");
        let (active, held) = (self.active().await?, self.held().await?.len());
        self.run(&["approve", "--yes", "--expect", &held.to_string()], 0)?;
        self.sync(Outcome::Success, Expected { deactivated: held, ..Expected::default() }).await?;
        self.expect_active(active, held as u64).await?;
        ensure!(self.held().await?.is_empty(), "a learner is still held");
        let (now, learnable) = (self.active().await?, self.sim.tenant(|tenant| learnable(tenant).len()));
        ensure!(now == learnable as u64, "{now} learners are active, not {learnable}");
        Ok(())
    }

    fn next_steps(&self, serve: bool) {
        title(if serve { "The daemon runs until Ctrl-C" } else { "Next steps" });
        let directory = self.directory.display();
        println!("Every number above matched the simulated tenant. Look at the database:");
        for query in ["user_name, title, active FROM learners", "action, reason, user_name FROM provisioning_log"] {
            println!("  sqlite3 {directory}/learners.db \\\n    'SELECT {query} LIMIT 5'");
        }
        if !serve {
            println!("\nKeep the simulator and the daemon running, to try all commands:");
            println!("  cargo run --example demo -- --serve");
            println!("\nThe directory stays; remove it with: rm -r {directory}");
            return;
        }
        let url = self.sim.url();
        let user = self.sim.tenant(|tenant| regulars(tenant).into_iter().next().unwrap_or_default());
        println!("\nChange the tenant (`cargo run -p graph-sim` prints all that it can do):");
        println!("  curl {url}/control/users/{user} \\\n    -X PATCH -d '{{\"jobTitle\": \"Harbour master\"}}'");
        println!("  curl {url}/control/users \\");
        println!("    -d '{{\"givenName\": \"Ada\", \"surname\": \"Lovelace\", \"assign\": true}}'");
        println!("\nSee what the daemon does about it; its next cycle starts within 10 seconds:");
        println!("  export LEARNER_SYNC_CONFIG={directory}/learner-sync.toml");
        for command in ["status", "log --since 2m", "resync --wait", "pause", "resume"] {
            println!("  cargo run --quiet -- {command}");
        }
        println!();
    }

    /// Runs one command of the real program and shows its output.
    fn run(&self, arguments: &[&str], expected_exit_code: i32) -> anyhow::Result<()> {
        println!("\n$ {PROGRAM} {}", arguments.join(" "));
        let mut command = Command::new(std::env::current_exe()?);
        command.arg0(PROGRAM).arg("--config").arg(self.path("learner-sync.toml")).args(arguments);
        // Settings and proxies of the caller must not change what the demonstration shows.
        let code = command.env_clear().status()?.code();
        ensure!(code == Some(expected_exit_code), "exit code {code:?}, not {expected_exit_code}");
        if expected_exit_code != 0 {
            println!("(exit code {expected_exit_code}: done, but some users failed or are held)");
        }
        Ok(())
    }

    /// Runs one cycle and compares it with what is expected; all other learners must be unchanged.
    async fn sync(&self, outcome: Outcome, expected: Expected) -> anyhow::Result<CycleRow> {
        let Expected { created, updated, deactivated, held } = expected;
        self.run(&["sync"], if outcome == Outcome::Held { 3 } else { 0 })?;
        let (store, source) = self.store().await?;
        let cycle = store.last_cycle(Some(&source)).await?.context("the cycle has no row in sync_cycles")?;
        ensure!(cycle.outcome == Some(outcome), "the cycle ended with {:?}, not with {outcome}", cycle.outcome);
        let (counts, learnable) = (cycle.counts, self.sim.tenant(|tenant| learnable(tenant).len()));
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
        Ok(cycle)
    }

    async fn expect_active(&self, before: u64, deactivated: u64) -> anyhow::Result<()> {
        let after = self.active().await?;
        println!("\nActive learners: {before} before this cycle, {after} after it.");
        ensure!(after + deactivated == before, "{after} learners are active, not {}", before - deactivated);
        Ok(())
    }

    /// The rows that a cycle wrote into the provisioning log.
    async fn log(&self, cycle: &CycleRow) -> anyhow::Result<Vec<LogRow>> {
        let mut rows = self.store().await?.0.log(&LogFilter::default()).await?.rows;
        rows.retain(|row| row.cycle == cycle.id);
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
        let store = Store::open(learner_database(&config, &BTreeMap::new())?, Access::ReadWrite).await?;
        let source = configured_source(&config, &store.state().await?);
        Ok((store, source))
    }

    fn config(&self) -> anyhow::Result<Config> {
        Ok(config::load(&self.path("learner-sync.toml"), &BTreeMap::new())?)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }
}

/// Changes the tenant as an ordinary day would.
fn change_tenant(tenant: &mut Tenant) -> anyhow::Result<()> {
    let mut users = regulars(tenant).into_iter();
    let mut next = || users.next().context("the tenant has too few users");
    for (given_name, surname, department, job_title) in [
        ("Imke", "Quist", "Maintenance", "Electrician"),
        ("Tomás", "Vidal", "Logistics", "Dispatcher"),
        ("Noor", "Haddad", "Finance", "Accountant"),
    ] {
        let id = tenant.add_user(User::named(given_name, surname).department(department).job_title(job_title));
        tenant.assign_user(&id);
    }
    tenant.user_mut(&next()?).job_title = Some("Head of operations".to_owned());
    let renamed = tenant.user_mut(&next()?);
    let address = renamed.user_principal_name.clone().unwrap_or_default();
    let (alias, domain) = address.split_once('@').context("a user name without a domain")?;
    let address = format!("{}.adeyemi-roth@{domain}", alias.split('.').next().unwrap_or(alias));
    renamed.surname = Some("Adeyemi-Roth".to_owned());
    renamed.user_principal_name = Some(address.clone());
    renamed.mail = Some(address);
    tenant.user_mut(&next()?).department = None;
    tenant.delete_user(&next()?);
    tenant.user_mut(&next()?).account_enabled = Some(false);
    tenant.unassign(&next()?);
    let partners = group(tenant, "Seconded from partners")?;
    tenant.assign_group(&partners);
    Ok(())
}

/// Complete members who are assigned directly and through no group.
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

/// The users who should be active learners: assigned directly or as a direct member of an assigned group, enabled, and
/// with an e-mail address. Computed without the code under demonstration.
fn learnable(tenant: &Tenant) -> BTreeSet<String> {
    let mut users = BTreeSet::new();
    for (principal, _) in tenant.application.assignments() {
        match tenant.group(principal) {
            Some(_) => users.extend(members(tenant, principal)),
            None => drop(users.insert(principal.to_owned())),
        }
    }
    let is_learnable = |user: &User| user.account_enabled == Some(true) && user.mail.is_some();
    users.retain(|id| tenant.find_user(id).is_some_and(is_learnable));
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

/// The expected numbers of a cycle.
#[derive(Default)]
struct Expected {
    created: usize,
    updated: usize,
    deactivated: usize,
    held: usize,
}

/// The last part of the SCIM path: for the extension attributes, all that differs.
fn attribute(change: &Value) -> &str {
    let path = change["attribute"].as_str().unwrap_or_default();
    path.rsplit(':').next().unwrap_or(path)
}

fn text(value: &Value) -> &str {
    value.as_str().map_or("(none)", without_domain)
}

fn short_name(user_name: Option<String>, id: EntraId) -> String {
    user_name.map_or_else(|| id.to_string(), |name| without_domain(&name).to_owned())
}

fn without_domain(name: &str) -> &str {
    name.strip_suffix(graph_sim::DOMAIN).and_then(|name| name.strip_suffix('@')).unwrap_or(name)
}

/// A table that fits into 80 columns.
fn table(heads: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::UTF8_FULL_CONDENSED).set_content_arrangement(ContentArrangement::Dynamic);
    table.set_width(79).set_header(heads);
    table
}

fn title(text: &str) {
    println!("\n\n{text}\n{}\n", "─".repeat(text.chars().count()));
}
