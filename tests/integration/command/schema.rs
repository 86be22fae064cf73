//! `schema print` and `schema apply` with an SQLite file.

use std::process::{Command, Stdio};

use graph_sim::{Fault, Gate};
use learner_sync::store::Store;
use serde_json::json;

use crate::database::{apply, is_on_postgres, on_both};
use crate::program::{Daemon, users};
use crate::world::World;

const SCHEMA: &str = "SELECT type, name, tbl_name, sql FROM sqlite_master ORDER BY name";
/// The statements that undo every later version.
fn back_to_1() -> String {
    let triggers = if is_on_postgres() {
        "DROP FUNCTION sync_links_edited CASCADE"
    } else {
        "DROP TRIGGER sync_links_edited; DROP TRIGGER sync_links_row; DROP TRIGGER learners_active_edited"
    };
    let columns = [
        ("sync_state", "credential_looked_at credential_ends_at taken_over_sources clock links_inspected"),
        ("sync_links", "switched_off_at spelling"),
        ("sync_failures", "cause drift_fingerprint"),
        ("provisioning_log", "approved_by request_id phase"),
        ("sync_cycles", "single_user full_comparison writer_id"),
        ("sync_held", "change_reason"),
    ];
    let columns = columns.iter().flat_map(|(table, columns)| columns.split(' ').map(move |column| (table, column)));
    let columns: String =
        columns.map(|(table, column)| format!("ALTER TABLE {table} DROP COLUMN {column}; ")).collect();
    format!(
        "{triggers}; DROP INDEX sync_failures_reason; {columns} DROP INDEX provisioning_log_user_name; DROP INDEX audit_log_action;
             DROP TABLE sync_daemons; DROP TABLE sync_schedule; DROP TABLE sync_notifications; UPDATE sync_state SET schema_version = 1"
    )
}

/// A key with a UUID as its default.
const UUID: &str = "TEXT PRIMARY KEY DEFAULT (lower(hex(randomblob(4)) || '-' || hex(randomblob(2)) || '-' ||
    hex(randomblob(2)) || '-' || hex(randomblob(2)) || '-' || hex(randomblob(6))))";

/// Runs a script with sqlite3 or, where it is not installed, without the line for sqlite3. Returns whether it succeeded.
async fn run_script(world: &World, script: &str) -> bool {
    let file = world.path("learners.db");
    let mut shell = Command::new("sqlite3");
    shell.arg(&file).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    if let Ok(mut shell) = shell.spawn() {
        use std::io::Write as _;
        // It may stop before it has read everything.
        let _ = shell.stdin.take().unwrap().write_all(script.as_bytes());
        return shell.wait().unwrap().success();
    }
    if !file.exists() {
        std::fs::File::create(&file).unwrap();
    }
    let mut connection = crate::database::connect(&file).await;
    let script = script.replace(".bail on\n", "");
    sqlx::raw_sql(sqlx::AssertSqlSafe(script)).execute(&mut connection).await.is_ok()
}

#[tokio::test]
async fn the_script_creates_the_tables_of_a_cycle() {
    let (by_cycle, by_script) = (World::start(users(2).0).await, World::start(users(2).0).await);
    by_cycle.run_program(&["sync"], 0);
    let script = by_script.run_program(&["schema", "print"], 0).stdout;
    assert!(!by_script.path("learners.db").exists());
    assert!(run_script(&by_script, &script).await, "{script}");
    assert_eq!(by_script.query(SCHEMA).await, by_cycle.query(SCHEMA).await);
    let state = "SELECT schema_version, paused, admitted_sources, applications, length(generation) FROM sync_state";
    let version = Store::SCHEMA_VERSION.to_string();
    assert_eq!(by_script.query(state).await, [[version.as_str(), "0", "[]", "{}", "32"]]);

    let generation = by_script.value("SELECT generation FROM sync_state").await;
    let before = by_script.query("SELECT * FROM sync_state").await;
    assert!(!run_script(&by_script, &script).await, "the same tables twice");
    assert_eq!(by_script.query("SELECT * FROM sync_state").await, before);
    let other = World::start(users(2).0).await;
    assert!(run_script(&other, &script).await);
    assert_ne!(other.value("SELECT generation FROM sync_state").await, generation);
    assert_eq!(by_script.run_program(&["sync", "--json"], 0).json()["created"], json!(2));
}

#[tokio::test]
async fn an_upgrade_script_works_for_one_version_only() {
    let world = World::start(users(2).0).await;
    world.run_program(&["sync"], 0);
    world.execute(&back_to_1()).await;
    let before = world.query(SCHEMA).await;
    let wrong = world.run_program(&["schema", "print", "--from", "2"], 0).stdout;
    assert!(!run_script(&world, &wrong).await, "{wrong}");
    assert_eq!(world.query(SCHEMA).await, before);
    let script = world.run_program(&["schema", "print", "--from", "1"], 0).stdout;
    assert!(!script.contains("CREATE TABLE learners"), "{script}");
    assert!(run_script(&world, &script).await, "{script}");
    let fresh = World::start(users(1).0).await;
    fresh.run_program(&["schema", "apply"], 0);
    assert_eq!(world.query(SCHEMA).await, fresh.query(SCHEMA).await);
    assert_eq!(world.run_program(&["sync", "--json"], 0).json()["unchanged"], json!(2));

    let newest = Store::SCHEMA_VERSION.to_string();
    let nothing = world.run_program(&["schema", "print", "--from", &newest], 0).stdout;
    assert!(nothing.contains(&format!("already have schema version {newest}")), "{nothing}");
    let newer = (Store::SCHEMA_VERSION + 1).to_string();
    for unknown in [newer.as_str(), "next", "-1"] {
        let message = world.run_program(&["schema", "print", "--from", unknown], 2).stderr;
        assert!(message.contains("--from") || message.contains("'-1'"), "{message}");
    }
}

#[tokio::test]
async fn a_file_has_no_roles() {
    let world = World::start(users(1).0).await;
    for command in ["print", "apply"] {
        let message = world.run_program(&["schema", command, "--writer", "clerk"], 2).stderr;
        assert!(message.contains("an SQLite file has no roles"), "{message}");
        for nobody in ["public", ""] {
            world.run_program(&["schema", command, "--writer", nobody], 2);
        }
    }
    assert!(!world.path("learners.db").exists());
}

#[apply(on_both)]
async fn apply_creates_and_upgrades_the_tables() {
    let world = World::start(users(2).0).await;
    let version = Store::SCHEMA_VERSION;
    let apply = |world: &World| world.run_program(&["schema", "apply"], 0).stdout;
    assert_eq!(apply(&world), format!("Created the tables, version {version}.\n"));
    assert_eq!(apply(&world), format!("Nothing to do: the tables already have version {version}.\n"));
    assert_eq!(world.run_program(&["sync", "--json"], 0).json()["created"], json!(2));
    world.execute(&back_to_1()).await;
    assert_eq!(apply(&world), format!("Upgraded the tables from version 1 to {version}.\n"));
    assert_eq!(world.run_program(&["sync", "--json"], 0).json()["unchanged"], json!(2));
    world.execute(&format!("UPDATE sync_state SET schema_version = {}", version + 1)).await;
    let newer = world.run_program(&["schema", "apply"], 78).stderr;
    assert!(newer.contains("install the newer learner-sync"), "{newer}");
}

#[apply(on_both)]
async fn apply_fails_at_once_during_a_cycle() {
    let world = World::start(users(1).0).await;
    world.run_program(&["schema", "apply"], 0);
    let gate = Gate::new();
    world.sim.inject(Fault::on("GET", "/v1.0/servicePrincipals/{id}/appRoleAssignedTo").hold_until(&gate));
    let mut cycle = Daemon::spawn(world.program(&["sync"]), &world.path("cycle.log"));
    gate.reached().await;
    let message = world.run_program(&["schema", "apply"], 75).stderr;
    assert!(
        message.contains(&format!("another cycle holds the lock: learner-sync sync (pid {})", cycle.pid())),
        "{message}"
    );
    gate.release();
    assert_eq!(cycle.ended().await, Some(0));
    world.run_program(&["schema", "apply"], 0);
}

#[apply(on_both)]
async fn an_unsuitable_external_table_is_refused_with_its_faults() {
    let world = World::start(users(1).0).await;
    if let crate::database::Database::File(path) = &world.database {
        std::fs::File::create(path).unwrap();
    }
    world.execute("CREATE TABLE staff (id integer PRIMARY KEY, login text)").await;
    world.configure("table = \"staff\"\n[learners.columns]\nuser_name = \"login\"\n");
    for command in ["apply", "print"] {
        let ran = world.run_program(&["schema", command], 78);
        assert!(ran.stderr.contains("has no column \"email\"") && ran.stderr.contains("ALTER TABLE"), "{ran:?}");
        assert_eq!(ran.stdout, "");
    }
    assert_eq!(world.database.tables().await, ["staff"]);
}

#[tokio::test]
async fn the_script_uses_the_id_type_of_the_external_table() {
    let world = World::start(users(1).0).await;
    std::fs::File::create(world.path("learners.db")).unwrap();
    let columns = "login TEXT UNIQUE, email TEXT UNIQUE, first_name, last_name, title, country, employee_number,
                   department, active";
    world.configure("table = \"staff\"\n[learners.columns]\nuser_name = \"login\"\n");
    for (id, key) in [("integer PRIMARY KEY", "INTEGER"), (UUID, "TEXT")] {
        world.execute(&format!("DROP TABLE IF EXISTS staff; CREATE TABLE staff (id {id}, {columns})")).await;
        let script = world.run_program(&["schema", "print"], 0).stdout;
        let link = format!("learner_id {key} NOT NULL UNIQUE REFERENCES \"staff\" (\"id\")");
        assert!(script.contains(&link) && !script.contains("TABLE IF NOT EXISTS learners"), "{script}");
        assert!(script.contains("-- The learners are rows of staff, which sync_links refers to"), "{script}");
    }
}
