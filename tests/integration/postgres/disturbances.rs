//! What can happen to a server while a batch is being written. Whatever it is: that cycle fails, the batch is there as
//! a whole or not at all, and the next cycle ends right.
//!
//! The second batch comes to rest inside the server, at a lock that the scenario holds, so that it knows where the
//! cycle is when it strikes.

use std::process::Stdio;
use std::time::Duration;

use graph_sim::Tenant;
use learner_sync::app::cache_path;
use learner_sync::cycle::{self, CycleContext, CycleOptions, Report};
use learner_sync::model::{Outcome, Trigger};
use learner_sync::plan::Counts;
use learner_sync::store::{Access, DatabaseLocation, Store, StoreError};
use sqlx::{Connection as _, PgConnection};
use tokio::sync::watch;

use super::server::{Server, signal};
use crate::program::eventually;
use crate::world::{World, assigned};

/// More than one batch.
const PEOPLE: usize = 1500;
const PATIENCE: Duration = Duration::from_secs(2);

/// A server to be harmed, with a world on it in which a cycle comes to rest within its second batch.
async fn world() -> Option<(World, &'static Server)> {
    let server: &'static Server = Box::leak(Box::new(Server::start()?));
    let mut tenant = Tenant::default();
    // People are written in the order of their ids.
    let last = assigned(&mut tenant, PEOPLE).into_iter().max().unwrap();
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

/// Runs a cycle into the lock, strikes, and answers what the cycle says. `strike` gets the process of its connection.
async fn struck(world: &World, server: &'static Server, strike: impl AsyncFnOnce(&str)) -> Result<Report, StoreError> {
    let mut holder = server.connect(world.database.name()).await;
    sqlx::query("SELECT pg_advisory_lock(7)").execute(&mut holder).await.unwrap();
    let mut app = world.app();
    if let DatabaseLocation::Server(server) = &mut app.learners.place {
        server.patience = PATIENCE;
    }
    std::fs::create_dir_all(world.path("state")).unwrap();
    let store = Store::open(&app.learners, Access::ReadWrite).await.unwrap();
    let cache = cache_path(&app.config);
    let parts = CycleContext { directory: &app.directory, store: &store, cache: Some(&cache), rules: &app.rules };
    let request = CycleOptions { trigger: Trigger::Command, full: false, now: world.now, only: None };
    let (_sender, stop) = watch::channel(false);
    let (ended, ()) = tokio::join!(cycle::run(parts, request, stop), async {
        let pid = eventually("the cycle rests", async || resting(&mut holder).await).await;
        strike(&pid).await;
    });
    ended
}

/// The process that waits for the lock.
async fn resting(connection: &mut PgConnection) -> Option<String> {
    let sql = "SELECT pid::text FROM pg_locks WHERE locktype = 'advisory' AND NOT granted";
    sqlx::query_scalar(sql).fetch_optional(connection).await.unwrap()
}

/// The cycle failed, some whole batches are there, and the next cycle does the rest and nothing twice.
async fn ends_right(mut world: World, ended: Result<Report, StoreError>, expect: &str) {
    match ended {
        Ok(report) => {
            assert_eq!(report.outcome, Outcome::Failed);
            let error = report.error.unwrap();
            assert!(error.contains(expect), "{error}");
            assert!(!error.contains("harbourworks"), "{error}");
        }
        Err(error) => panic!("{error:?}"),
    }
    world.execute("DROP TRIGGER rest ON learners").await;
    let there: usize = world.value("SELECT count(*) FROM learners").await.parse().unwrap();
    assert!(there > 0 && there < PEOPLE, "{there}");
    for table in ["sync_links", "provisioning_log"] {
        assert_eq!(world.value(&format!("SELECT count(*) FROM {table}")).await, there.to_string(), "{table}");
    }
    let all = PEOPLE as u64;
    let report = world.cycle().await;
    let created = all - there as u64;
    let counts = Counts { in_scope: all, created, unchanged: there as u64, ..Counts::default() };
    assert_eq!((report.outcome, report.counts), (Outcome::Success, counts));
    for table in ["learners", "sync_links", "provisioning_log"] {
        assert_eq!(world.value(&format!("SELECT count(*) FROM {table}")).await, all.to_string(), "{table}");
    }
    assert_eq!(world.cycles().await, ["command interrupted", "command success"]);
    world.settled().await;
}

#[tokio::test]
async fn the_connection_is_ended_within_a_batch() {
    let Some((world, server)) = world().await else { return };
    let database = world.database.name().to_owned();
    let ended = struck(&world, server, async |pid| {
        server.execute(&database, &format!("SELECT pg_terminate_backend({pid})")).await;
    })
    .await;
    ends_right(world, ended, "terminating connection").await;
}

#[tokio::test]
async fn the_server_is_killed_within_a_batch() {
    let Some((world, server)) = world().await else { return };
    let ended = struck(&world, server, async |_| server.kill()).await;
    server.run();
    ends_right(world, ended, "the connection to the learner database is lost").await;
}

#[tokio::test]
async fn the_server_is_restarted_within_a_batch() {
    let Some((world, server)) = world().await else { return };
    let ended = struck(&world, server, async |_| server.stop()).await;
    server.run();
    ends_right(world, ended, "the connection to the learner database is lost").await;
}

#[tokio::test]
async fn the_server_freezes_within_a_batch() {
    let Some((world, server)) = world().await else { return };
    let mut frozen = String::new();
    let ended = struck(&world, server, async |pid| {
        signal("-STOP", pid);
        frozen = pid.to_owned();
    })
    .await;
    signal("-CONT", &frozen);
    ends_right(world, ended, "the server has not answered for 2 s").await;
}

#[tokio::test]
async fn a_statement_is_cancelled_within_a_batch() {
    let Some((world, server)) = world().await else { return };
    let database = world.database.name().to_owned();
    let ended = struck(&world, server, async |pid| {
        server.execute(&database, &format!("SELECT pg_cancel_backend({pid})")).await;
    })
    .await;
    let report = ended.as_ref().unwrap();
    assert_eq!(report.outcome, Outcome::Failed);
    // The connection lives, so that the end is written down at once.
    assert_eq!(world.cycles().await, ["command failed"]);
    world.execute("UPDATE sync_cycles SET outcome = 'interrupted'").await;
    ends_right(world, ended, "canceling statement").await;
}

#[tokio::test]
async fn a_statement_that_takes_too_long_fails_the_cycle() {
    let Some((world, server)) = world().await else { return };
    // Nobody strikes: the server gives up by itself, before we do.
    let ended = struck(&world, server, async |_| ()).await;
    world.execute("UPDATE sync_cycles SET outcome = 'interrupted'").await;
    ends_right(world, ended, "statement timeout").await;
}

#[tokio::test]
async fn a_cycle_that_is_killed_lets_go_of_the_database() {
    let Some((world, server)) = world().await else { return };
    let mut holder = server.connect(world.database.name()).await;
    sqlx::query("SELECT pg_advisory_lock(7)").execute(&mut holder).await.unwrap();
    let mut killed = world.program(&["sync"]).stderr(Stdio::null()).spawn().unwrap();
    eventually("the cycle rests", async || resting(&mut holder).await).await;
    let told = world.run_program(&["status", "--json"], 0).json();
    assert_eq!(told["state"], "running");
    killed.kill().unwrap();
    killed.wait().unwrap();
    holder.close().await.unwrap();
    // The server notices in its own time.
    let running = "SELECT count(*)::text FROM pg_locks WHERE locktype = 'advisory' AND classid = 1280530766";
    eventually("the lock is free", async || (world.value(running).await == "0").then_some(())).await;
    world.execute("DROP TRIGGER rest ON learners").await;
    world.run_program(&["sync"], 0);
    assert_eq!(world.value("SELECT count(*) FROM learners").await, PEOPLE.to_string());
    assert_eq!(world.value("SELECT count(*) FROM provisioning_log").await, PEOPLE.to_string());
}
