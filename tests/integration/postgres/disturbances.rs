//! Failures of the server while a batch is written: the batch is written completely or not at all. The cycle starts over
//! if it can connect again in time; otherwise it fails, and the next cycle completes the rest.
//!
//! The second batch waits inside the server for a lock that the scenario holds, so that the failure hits it there.

use std::process::Stdio;
use std::time::Duration;

use graph_sim::Tenant;
use learner_sync::cycle::{self, CycleContext, CycleOptions, CycleRequest, Report};
use learner_sync::model::{Outcome, Trigger};
use learner_sync::plan::Counts;
use learner_sync::runtime::Paths;
use learner_sync::store::{Access, DatabaseLocation, Store, StoreError};
use sqlx::{Connection as _, PgConnection};
use tokio::sync::watch;

use super::server::{Server, signal};
use crate::program::eventually;
use crate::world::{World, assigned};

/// More than one batch.
const USERS: usize = 1500;
const SERVER_TIMEOUT: Duration = Duration::from_secs(2);

/// A private server with a world whose next cycle waits within its second batch.
async fn world() -> Option<(World, &'static Server)> {
    let server = Server::start()?;
    let mut tenant = Tenant::default();
    // Users are written in the order of their ids.
    let last = assigned(&mut tenant, USERS).into_iter().max().unwrap();
    let world = World::start_on(server, tenant).await;
    Store::open(&world.app().learners, Access::ReadWrite).await.unwrap().close().await.unwrap();
    world
        .execute(&format!(
            "CREATE FUNCTION rest() RETURNS trigger LANGUAGE plpgsql AS
                 'BEGIN PERFORM pg_advisory_xact_lock(7); RETURN NEW; END';
             CREATE TRIGGER rest BEFORE INSERT ON learners FOR EACH ROW
                 WHEN (NEW.external_id = '{last}') EXECUTE FUNCTION rest()",
        ))
        .await;
    Some((world, server))
}

/// Runs a cycle until it waits for the lock, then calls `disturb` with the server process of its
/// connection and with the connection that holds the lock.
async fn disturbed_cycle(
    world: &World,
    server: &'static Server,
    disturb: impl AsyncFnOnce(&str, &mut PgConnection),
) -> Result<Report, StoreError> {
    let mut holder = server.connect(world.database.name()).await;
    sqlx::query("SELECT pg_advisory_lock(7)").execute(&mut holder).await.unwrap();
    let mut app = world.app();
    if let DatabaseLocation::Server(server) = &mut app.learners.place {
        server.response_timeout = SERVER_TIMEOUT;
    }
    std::fs::create_dir_all(world.path("state")).unwrap();
    let store = Store::open(&app.learners, Access::ReadWrite).await.unwrap();
    let cache = Paths::new(&app.config).cache;
    let parts = CycleContext { directory: &app.directory, store: &store, cache: Some(&cache), rules: &app.rules };
    let request = CycleOptions {
        request: CycleRequest { trigger: Trigger::Command, full: false },
        now: world.now,
        only: None,
        force: false,
    };
    world.set_date();
    let (_sender, stop) = watch::channel(false);
    let (result, ()) = tokio::join!(cycle::run(parts, request, stop), async {
        let pid = eventually("the cycle waits for the lock", async || waiting_process(&mut holder).await).await;
        disturb(&pid, &mut holder).await;
    });
    result
}

/// The server process that waits for the lock.
async fn waiting_process(connection: &mut PgConnection) -> Option<String> {
    let sql = "SELECT pid::text FROM pg_locks WHERE locktype = 'advisory' AND NOT granted";
    sqlx::query_scalar(sql).fetch_optional(connection).await.unwrap()
}

/// The cycle failed after some complete batches, and the next cycle writes the rest once.
async fn expect_recovery(mut world: World, result: Result<Report, StoreError>, expect: &str) {
    match result {
        Ok(report) => {
            assert_eq!(report.outcome, Outcome::Failed);
            let error = report.error.unwrap();
            assert!(error.contains(expect), "{error}");
            assert!(!error.contains("harbourworks"), "{error}");
        }
        Err(error) => panic!("{error:?}"),
    }
    world.execute("DROP TRIGGER rest ON learners").await;
    let written: usize = world.value("SELECT count(*) FROM learners").await.parse().unwrap();
    assert!(written > 0 && written < USERS, "{written}");
    for table in ["sync_links", "provisioning_log"] {
        assert_eq!(world.value(&format!("SELECT count(*) FROM {table}")).await, written.to_string(), "{table}");
    }
    let all = USERS as u64;
    let report = world.cycle().await;
    let created = all - written as u64;
    let counts = Counts { in_scope: all, created, unchanged: written as u64, ..Counts::default() };
    assert_eq!((report.outcome, report.counts), (Outcome::Success, counts));
    for table in ["learners", "sync_links", "provisioning_log"] {
        assert_eq!(world.value(&format!("SELECT count(*) FROM {table}")).await, all.to_string(), "{table}");
    }
    assert_eq!(world.cycles().await, ["command interrupted", "command success"]);
    world.settled().await;
}

#[tokio::test]
async fn a_cycle_whose_connection_is_terminated_within_a_batch_starts_over() {
    let Some((mut world, server)) = world().await else { return };
    let database = world.database.name().to_owned();
    let report = disturbed_cycle(&world, server, async |pid, holder| {
        server.execute(&database, &format!("SELECT pg_terminate_backend({pid})")).await;
        sqlx::query("SELECT pg_advisory_unlock(7)").execute(holder).await.unwrap();
    })
    .await
    .unwrap();
    let counts = Counts { in_scope: USERS as u64, created: USERS as u64, ..Counts::default() };
    assert_eq!((report.outcome, report.error, report.counts), (Outcome::Success, None, counts));
    for table in ["learners", "sync_links", "provisioning_log"] {
        assert_eq!(world.value(&format!("SELECT count(*) FROM {table}")).await, USERS.to_string(), "{table}");
    }
    assert_eq!(world.cycles().await, ["command success"]);
    world.settled().await;
}

#[tokio::test]
async fn a_cycle_survives_a_restart_of_the_server_within_a_batch() {
    let Some((world, server)) = world().await else { return };
    let report = disturbed_cycle(&world, server, async |_, _| {
        server.kill();
        server.run();
    })
    .await
    .unwrap();
    assert_eq!((report.outcome, report.counts.created), (Outcome::Success, USERS as u64), "{:?}", report.error);
    assert_eq!(world.value("SELECT count(*) FROM provisioning_log").await, USERS.to_string());
}

#[tokio::test]
async fn a_kill_of_the_server_within_a_batch_is_recovered_from() {
    let Some((world, server)) = world().await else { return };
    let result = disturbed_cycle(&world, server, async |_, _| server.kill()).await;
    server.run();
    expect_recovery(world, result, "the connection to the learner database is lost").await;
}

#[tokio::test]
async fn a_restart_of_the_server_within_a_batch_is_recovered_from() {
    let Some((world, server)) = world().await else { return };
    let result = disturbed_cycle(&world, server, async |_, _| server.stop()).await;
    server.run();
    expect_recovery(world, result, "the connection to the learner database is lost").await;
}

#[tokio::test]
async fn a_frozen_server_within_a_batch_is_recovered_from() {
    let Some((world, server)) = world().await else { return };
    let mut frozen = String::new();
    let result = disturbed_cycle(&world, server, async |pid, _| {
        signal("-STOP", pid);
        frozen = pid.to_owned();
    })
    .await;
    signal("-CONT", &frozen);
    // The second attempt waited for the frozen transaction, over another connection.
    world.execute("UPDATE sync_cycles SET outcome = 'interrupted'").await;
    expect_recovery(world, result, "statement timeout").await;
}

#[tokio::test]
async fn a_cancelled_statement_within_a_batch_is_recovered_from() {
    let Some((world, server)) = world().await else { return };
    let database = world.database.name().to_owned();
    let result = disturbed_cycle(&world, server, async |pid, _| {
        server.execute(&database, &format!("SELECT pg_cancel_backend({pid})")).await;
    })
    .await;
    let report = result.as_ref().unwrap();
    assert_eq!(report.outcome, Outcome::Failed);
    // The connection survives, so the end of the cycle is recorded at once.
    assert_eq!(world.cycles().await, ["command failed"]);
    world.execute("UPDATE sync_cycles SET outcome = 'interrupted'").await;
    expect_recovery(world, result, "canceling statement").await;
}

#[tokio::test]
async fn a_statement_timeout_fails_the_cycle() {
    let Some((world, server)) = world().await else { return };
    // The statement timeout of the server is shorter than that of the client.
    let result = disturbed_cycle(&world, server, async |_, _| ()).await;
    world.execute("UPDATE sync_cycles SET outcome = 'interrupted'").await;
    expect_recovery(world, result, "statement timeout").await;
}

#[tokio::test]
async fn a_killed_cycle_releases_its_lock() {
    let Some((world, server)) = world().await else { return };
    let mut holder = server.connect(world.database.name()).await;
    sqlx::query("SELECT pg_advisory_lock(7)").execute(&mut holder).await.unwrap();
    let mut killed = world.program(&["sync"]).stderr(Stdio::null()).spawn().unwrap();
    eventually("the cycle waits for the lock", async || waiting_process(&mut holder).await).await;
    assert_eq!(world.run_program(&["status", "--json"], 0).json()["state"], "running");
    killed.kill().unwrap();
    killed.wait().unwrap();
    holder.close().await.unwrap();
    // The server takes some time to notice the lost connection.
    let running = "SELECT count(*)::text FROM pg_locks WHERE locktype = 'advisory' AND classid = 1280530766";
    eventually("the lock is free", async || (world.value(running).await == "0").then_some(())).await;
    world.execute("DROP TRIGGER rest ON learners").await;
    world.run_program(&["sync"], 0);
    assert_eq!(world.value("SELECT count(*) FROM learners").await, USERS.to_string());
    assert_eq!(world.value("SELECT count(*) FROM provisioning_log").await, USERS.to_string());
}
