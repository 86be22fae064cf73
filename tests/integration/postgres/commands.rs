//! The output and exit codes of all commands with learners on a server.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Stdio;

use learner_sync::store::{Access, Store};
use serde_json::json;
use sqlx::Connection as _;

use super::server::{GUARDED, PASSWORD};
use super::{Server, shared};
use crate::program::{eventually, users};
use crate::world::World;

/// The result of `check` for the database: whether it is ok, the detail and the hint.
pub(crate) fn database_check(world: &World, code: i32) -> (bool, String, String) {
    let document = world.run_program(&["check", "--json"], code).json();
    let checks = document["checks"].as_array().unwrap();
    let check = checks.iter().find(|check| check["name"] == "database").unwrap();
    let text = |key: &str| check[key].as_str().unwrap_or_default().to_owned();
    (check["ok"] == true, text("detail"), text("hint"))
}

/// Replaces `learners.database_url`.
pub(crate) fn configure_database_url(world: &World, url: &str) {
    world.reconfigure(|text| {
        let line = |line: &str| match line.starts_with("database_url") {
            true => format!("database_url = \"{url}\"\n"),
            false => format!("{line}\n"),
        };
        text.lines().map(line).collect()
    });
}

fn write_with_mode(path: &Path, content: &str, mode: u32) {
    std::fs::write(path, content).unwrap();
    std::fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

#[tokio::test]
async fn every_command_works_on_a_server() {
    let Some(server) = shared() else { return };
    let mut world = World::start_on(server, users(15).0).await;
    let (ok, detail, _) = database_check(&world, 0);
    assert!(ok && detail.contains(": PostgreSQL 1") && detail.contains("creates or upgrades its tables"), "{detail}");
    let plan = world.run_program(&["plan", "--json"], 0).json();
    assert_eq!(plan["created"], json!(15));
    assert_eq!(world.run_program(&["sync", "--dry-run", "--json"], 0).json()["created"], json!(15));
    assert_eq!(world.run_program(&["log", "--format", "json"], 0).json(), json!([]));
    assert_eq!(world.run_program(&["status", "--json"], 0).json()["state"], json!("never-run"));

    assert_eq!(world.run_program(&["sync", "--json"], 0).json()["created"], json!(15));
    assert_eq!(database_check(&world, 0).2, "");
    assert_eq!(world.run_program(&["sync", "--dry-run", "--json"], 0).json()["unchanged"], json!(15));
    let status = world.run_program(&["status", "--json"], 0).json();
    assert_eq!((&status["state"], &status["learners"]["linked"]), (&json!("ok"), &json!(15)));
    let log = world.run_program(&["log", "--format", "json", "--user", "ADA.number3@harbourworks.example"], 0).json();
    assert_eq!(log.as_array().unwrap().len(), 1, "{log}");
    assert!(log[0]["at"].as_str().unwrap().ends_with('Z'), "{log}");
    world.run_program(&["log", "--format", "csv"], 0);

    world.run_program(&["pause"], 0);
    world.run_program(&["sync"], 1);
    world.run_program(&["resume"], 0);
    let users = world.query("SELECT external_id FROM learners").await.concat();
    world.sim.tenant(|tenant| users[..11].iter().for_each(|user| tenant.unassign(user)));
    world.run_program(&["sync"], 3);
    world.run_program(&["approve", "--yes", "--expect", "11"], 0);
    assert_eq!(world.run_program(&["sync", "--json"], 0).json()["deactivated"], json!(11));
    world.run_program(&["provision", &users[12]], 0);
    assert_eq!(
        world.query("SELECT DISTINCT action FROM audit_log ORDER BY action").await.concat(),
        ["approve", "pause", "provision", "resume", "sync"]
    );
    world.pass(jiff::SignedDuration::from_mins(1));
}

#[tokio::test]
async fn a_dry_run_changes_nothing() {
    let Some(server) = shared() else { return };
    let world = World::start_on(server, users(3).0).await;
    world.run_program(&["sync", "--dry-run"], 0);
    let tables = "SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace";
    assert_eq!(world.value(tables).await, "0");
    world.run_program(&["sync"], 0);
    let before = world.lasting().await;
    world.sim.tenant(|tenant| {
        let ids: Vec<String> = tenant.users().map(|user| user.id.clone()).collect();
        ids.iter().for_each(|id| tenant.user_mut(id).job_title = Some("Diver".to_owned()));
    });
    world
        .execute("ALTER TABLE learners ADD CHECK (first_name <> 'Ada' OR last_name <> 'Number1' OR title IS NULL)")
        .await;
    let report = world.run_program(&["sync", "--dry-run", "--json"], 3).json();
    assert_eq!((&report["updated"], &report["failed"]), (&json!(2), &json!(1)));
    world.unchanged_since(&before).await;
}

#[tokio::test]
async fn two_machines_never_run_a_cycle_at_the_same_time() {
    let Some(server) = shared() else { return };
    let world = World::start_on(server, users(2).0).await;
    world.run_program(&["sync"], 0);
    // The other machine has its own state directory, so that no lock file separates the two.
    let state = world.path("other-machine").display().to_string();
    let store = Store::open(&world.app().learners, Access::ReadWrite).await.unwrap();
    assert_eq!(store.take_cycle_lock("learner-sync run").await.unwrap(), None);
    let elsewhere = [("LEARNER_SYNC_STATE__DIRECTORY", state.as_str())];
    let ran = world.run_program_with(&elsewhere, &["sync", "--json"], 75);
    let expected = format!("another cycle holds the lock: learner-sync run (pid {}) on ", std::process::id());
    assert!(ran.json()["error"].as_str().unwrap().starts_with(&expected), "{ran:?}");
    let status = world.run_program_with(&elsewhere, &["status", "--json"], 0).json();
    assert!(status["running_cycle"]["command"].as_str().unwrap().starts_with("learner-sync run"), "{status}");

    let mut waiting = world.program(&["sync", "--wait"]);
    let mut waiting = waiting
        .env("LEARNER_SYNC_STATE__DIRECTORY", &state)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let waiting_connections =
        "SELECT count(*)::text FROM pg_stat_activity WHERE application_name LIKE 'learner-sync sync (pid %'
                     AND datname = current_database()";
    eventually("it waits", async || (world.value(waiting_connections).await == "1").then_some(())).await;
    assert_eq!(world.cycles().await, ["command success"]);
    store.close().await.unwrap();
    assert_eq!(waiting.wait().unwrap().code(), Some(0));
    assert_eq!(world.cycles().await, ["command success", "command success"]);
}

#[tokio::test]
async fn an_unreachable_server_exits_1_and_not_78() {
    let Some(server) = Server::start() else { return };
    let world = World::start_on(server, users(2).0).await;
    world.run_program(&["sync"], 0);
    server.kill();
    for arguments in [&["sync"][..], &["sync", "--dry-run"], &["plan"], &["status"], &["log"], &["pause"], &["run"]] {
        let stderr = world.run_program(arguments, 1).stderr;
        assert!(stderr.contains("cannot connect to the learner database learners_0 at /"), "{arguments:?}: {stderr}");
        assert!(stderr.contains("hint: is the server running"), "{arguments:?}: {stderr}");
    }
    assert_eq!(world.run_program(&["status", "--json"], 1).json()["state"], json!("blocked"));
    assert!(!database_check(&world, 1).0);
    server.run();
    world.run_program(&["sync"], 0);
}

#[tokio::test]
async fn the_daemon_survives_a_restart_of_the_server() {
    let Some(server) = Server::start() else { return };
    let world = World::start_on(server, users(2).0).await;
    let daemon = world.daemon().await;
    world.cycles_ended(1).await;
    server.kill();
    daemon.signal(rustix::process::Signal::USR1);
    eventually("the cycle fails", async || daemon.log().contains("cannot start a cycle: cannot connect").then_some(()))
        .await;
    server.run();
    daemon.signal(rustix::process::Signal::USR1);
    assert_eq!(world.cycles_ended(2).await, ["startup success", "signal success"]);
    daemon.stop().await;
}

#[tokio::test]
async fn a_standby_asks_again_soon_after_an_outage() {
    let Some(server) = Server::start() else { return };
    let world = World::start_on(server, users(2).0).await;
    let schedule = |min: &str, max: &str| format!("[schedule]\nmin_interval = \"{min}\"\nmax_interval = \"{max}\"");
    world.configure(&schedule("10s", "10s"));
    let daemon = world.daemon().await;
    daemon.logged("waiting", 1).await;
    // Another machine is lost in the middle of its cycle, together with the server.
    let lost = "UPDATE sync_schedule SET next_cycle_at = NULL, began_at = now() - interval '1 hour', host = 'lost'";
    world.execute(lost).await;
    server.kill();
    daemon.logged("cannot start a cycle: cannot connect", 1).await;
    // A wait that is drawn from now on is long with a probability of nearly one.
    world.configure(&schedule("3s", "1000h"));
    daemon.signal(rustix::process::Signal::HUP);
    daemon.logged("configuration reloaded", 1).await;
    server.run();
    assert_eq!(world.cycles_ended(2).await, ["startup success", "schedule success"]);
    daemon.stop().await;
}

#[tokio::test]
async fn a_password_is_read_from_every_source_and_never_shown() {
    let Some(server) = shared() else { return };
    let world = World::start_on(server, users(2).0).await;
    let mut owner = server.connect(world.database.name()).await;
    // Another test may have created the role.
    let role = format!("CREATE ROLE {GUARDED} LOGIN PASSWORD '{PASSWORD}'");
    let _ = sqlx::raw_sql(sqlx::AssertSqlSafe(role)).execute(&mut owner).await;
    owner.close().await.unwrap();
    world.execute(&format!("GRANT CREATE ON SCHEMA public TO {GUARDED}")).await;
    world.reconfigure(|text| text.replace("postgres://sync@", &format!("postgres://{GUARDED}@")));

    let stderr = world.run_program(&["sync"], 1).stderr;
    assert!(stderr.contains("learners.password_file"), "{stderr}");
    let wrong = world.run_program_with(&[("PGPASSWORD", "wrong horse")], &["sync"], 1).stderr;
    assert!(wrong.contains("password authentication failed") && !wrong.contains("horse"), "{wrong}");
    world.run_program_with(&[("PGPASSWORD", PASSWORD)], &["sync"], 0);
    std::fs::create_dir(world.path("credentials")).unwrap();
    std::fs::write(world.path("credentials/database-password"), PASSWORD).unwrap();
    let credentials = world.path("credentials").display().to_string();
    world.run_program_with(&[("CREDENTIALS_DIRECTORY", &credentials), ("PGPASSWORD", "wrong")], &["sync"], 0);
    let passes = world.path("pgpass");
    write_with_mode(&passes, &format!("localhost:*:*:{GUARDED}:{PASSWORD}\n"), 0o600);
    world.run_program_with(&[("PGPASSFILE", &passes.display().to_string())], &["sync"], 0);
    let file = world.path("password");
    write_with_mode(&file, &format!("{PASSWORD}\n"), 0o600);
    world.reconfigure(|text| text.replace("[learners]\n", &format!("[learners]\npassword_file = {file:?}\n")));
    world.run_program(&["sync"], 0);
    std::fs::write(&file, "").unwrap();
    let stderr = world.run_program(&["sync"], 78).stderr;
    assert!(stderr.contains("learners.password_file") && stderr.contains("is empty"), "{stderr}");
}

#[tokio::test]
async fn an_unusable_pgpass_file_is_not_logged() {
    let Some(server) = shared() else { return };
    let world = World::start_on(server, users(1).0).await;
    // One file with open permissions, and one path that not even root can open.
    write_with_mode(&world.path("pgpass"), "*:*:*:*:letmein\n", 0o644);
    for path in [world.path("pgpass"), world.path("pgpass").join("file")] {
        let path = path.display().to_string();
        let stderr = world.run_program_with(&[("PGPASSFILE", &path)], &["sync"], 0).stderr;
        assert!(!stderr.contains("WARN") && !stderr.contains("pgpass"), "{stderr}");
        let level = "info,sqlx_postgres::options=warn";
        let asked = [("PGPASSFILE", path.as_str()), ("LEARNER_SYNC_LOG__LEVEL", level)];
        let stderr = world.run_program_with(&asked, &["sync"], 0).stderr;
        assert!(stderr.contains("WARN") && stderr.contains("pgpass"), "{stderr}");
    }
}

#[tokio::test]
async fn an_invalid_certificate_authority_exits_78() {
    let world = World::start(users(1).0).await;
    let file = world.path("authority.pem").display().to_string();
    let url = format!("postgres://sync@localhost/learners?sslmode=verify-full&sslrootcert={file}");
    configure_database_url(&world, &url);
    for (content, expect) in [(None, "cannot read"), (Some("no certificate"), "holds no certificate in PEM form")] {
        content.into_iter().for_each(|content| std::fs::write(&file, content).unwrap());
        for command in ["sync", "status"] {
            let stderr = world.run_program(&[command], 78).stderr;
            assert!(stderr.contains("learners.database_url") && stderr.contains(expect), "{stderr}");
        }
    }
}

#[tokio::test]
async fn check_reports_missing_privileges() {
    let Some(server) = shared() else { return };
    let world = World::start_on(server, users(2).0).await;
    world.run_program(&["sync"], 0);
    let database = world.database.name().to_owned();
    world
        .execute(&format!(
            "CREATE ROLE clerk_{database} LOGIN; GRANT SELECT ON ALL TABLES IN SCHEMA public TO clerk_{database}"
        ))
        .await;
    world.reconfigure(|text| text.replace("postgres://sync@", &format!("postgres://clerk_{database}@")));
    let (ok, detail, hint) = database_check(&world, 1);
    assert!(!ok && detail.contains("lacks rights that a cycle needs"), "{detail}");
    assert!(hint.contains(&format!("GRANT UPDATE ON learners TO clerk_{database}")), "{hint}");
    let stderr = world.run_program(&["sync"], 1).stderr;
    assert!(stderr.contains("permission denied for table"), "{stderr}");
}

#[tokio::test]
async fn a_server_that_refuses_writes_fails_the_check_and_the_cycle() {
    let Some(server) = shared() else { return };
    let world = World::start_on(server, users(1).0).await;
    world.run_program(&["sync"], 0);
    let name = world.value("SELECT current_database()").await;
    let role = world.value("SELECT quote_ident(session_user)").await;
    for whose in [format!("DATABASE {name}"), format!("ROLE {role} IN DATABASE {name}")] {
        let reset = format!("ALTER {whose} RESET default_transaction_read_only");
        server.execute("postgres", &format!("ALTER {whose} SET default_transaction_read_only = on")).await;
        let (ok, detail, hint) = database_check(&world, 1);
        assert!(!ok && detail.contains("is read-only: default_transaction_read_only is on"), "{detail}");
        assert!(hint.contains(&reset), "{hint}");
        let ran = world.run_program(&["sync"], 1);
        assert!(ran.stderr.contains("is read-only: default_transaction_read_only is on"), "{ran:?}");
        assert!(ran.stderr.contains(&format!("an administrator of the server must change this: {reset}")), "{ran:?}");
        // Commands that only read still work.
        world.run_program(&["status"], 0);
        world.run_program(&["plan"], 0);
        server.execute("postgres", &reset).await;
    }
    let environment = [("PGOPTIONS", "-c default_transaction_read_only=on")];
    let document = world.run_program_with(&environment, &["check", "--json"], 1).json();
    assert!(document.to_string().contains("default_transaction_read_only off, which is set by: client"), "{document}");
    assert!(database_check(&world, 0).0);
    world.run_program(&["sync"], 0);
}
