//! A daemon stopped or killed while it writes: the next start reaches the same result.

use std::collections::BTreeSet;

use graph_sim::Tenant;
use rustix::process::Signal;
use serde_json::json;

use crate::database::{apply, is_on_postgres, on_both};
use crate::program::{Daemon, eventually};
use crate::world::World;

/// Several batches.
const USERS: usize = 3000;

/// A world with many users and a slow database, and the ids of the users to be created.
async fn large_world() -> (World, BTreeSet<String>) {
    let world = World::start(Tenant::with_users(USERS, 3)).await;
    let planned = world.run_program(&["plan", "--json"], 0).json();
    let lines = planned["changes"].as_array().unwrap().iter();
    let created = lines.filter(|line| line["action"] == "create" && line["status"] == "success");
    let ids: BTreeSet<_> = created.map(|line| line["entra_id"].as_str().unwrap().to_owned()).collect();
    assert!(ids.len() > 2500, "{}", ids.len());
    // Creates the tables only.
    world.run_program(&["pause"], 0);
    world.run_program(&["resume"], 0);
    // A trigger slows each row down, so that a signal arrives within the cycle.
    let slow = if is_on_postgres() {
        "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(0.001); RETURN NULL; END';
         CREATE TRIGGER slow AFTER INSERT ON learners FOR EACH ROW EXECUTE FUNCTION slow()"
    } else {
        "CREATE TRIGGER slow AFTER INSERT ON learners BEGIN
             SELECT count(*) FROM (WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 15000) SELECT i FROM n);
         END"
    };
    world.execute(slow).await;
    (world, ids)
}

async fn learners(world: &World) -> usize {
    world.value("SELECT count(*) FROM learners").await.parse().unwrap()
}

/// A daemon that has written some but not all learners.
async fn writing_daemon(world: &World) -> Daemon {
    let daemon = world.daemon().await;
    eventually("the first learners appear", async || (learners(world).await > 0).then_some(())).await;
    daemon
}

async fn speed_up(world: &World) {
    world.execute(if is_on_postgres() { "DROP FUNCTION slow CASCADE" } else { "DROP TRIGGER slow" }).await;
}

/// Every user has one learner, one link and one log row.
async fn check_complete(world: &World, ids: &BTreeSet<String>) {
    let created: Vec<_> = world.query("SELECT external_id FROM learners").await.into_iter().flatten().collect();
    assert_eq!(created.len(), ids.len());
    assert_eq!(&created.into_iter().collect::<BTreeSet<_>>(), ids);
    let logged =
        world.query("SELECT entra_id FROM provisioning_log WHERE action = 'create' AND status = 'success'").await;
    assert_eq!(logged.len(), ids.len());
    assert_eq!(&logged.into_iter().flatten().collect::<BTreeSet<_>>(), ids);
    let linked = world.query("SELECT entra_id FROM sync_links").await;
    assert_eq!(&linked.into_iter().flatten().collect::<BTreeSet<_>>(), ids);
    world.database.is_whole().await;
    // Nothing is pending, with the cache and without.
    for arguments in [&["sync", "--json"][..], &["sync", "--full", "--json"]] {
        let document = world.run_program(arguments, 0).json();
        assert_eq!(
            (&document["created"], &document["updated"], &document["unchanged"]),
            (&json!(0), &json!(0), &json!(ids.len()))
        );
    }
}

#[apply(on_both)]
async fn a_stop_while_writing_finishes_the_batch_and_the_next_start_continues() {
    let (world, ids) = large_world().await;
    let daemon = writing_daemon(&world).await;
    daemon.stop().await;
    let written = learners(&world).await;
    assert!(written > 0 && written < ids.len(), "{written} of {}", ids.len());
    assert_eq!(written % 500, 0, "whole batches only");
    assert_eq!(world.cycles().await, ["startup interrupted"]);
    assert_eq!(world.value("SELECT created FROM sync_cycles").await, written.to_string());
    assert_eq!(
        world.value("SELECT count(*) FROM provisioning_log WHERE action = 'create' AND status = 'success'").await,
        written.to_string()
    );

    speed_up(&world).await;
    let daemon = world.daemon().await;
    world.cycles_ended(2).await;
    daemon.stop().await;
    assert_eq!(world.value("SELECT created FROM sync_cycles WHERE id = 2").await, (ids.len() - written).to_string());
    check_complete(&world, &ids).await;
}

#[apply(on_both)]
async fn a_kill_while_writing_loses_and_repeats_no_change() {
    let (world, ids) = large_world().await;
    let mut daemon = writing_daemon(&world).await;
    daemon.signal(Signal::KILL);
    assert_eq!(daemon.ended().await, None);
    world.database.wait_for_dropped_connections().await;
    let written = learners(&world).await;
    assert!(written > 0 && written < ids.len(), "{written} of {}", ids.len());
    assert_eq!(world.cycles().await, ["startup -"]);
    let status = world.run_program(&["status", "--json", "--exit-code"], 1).json();
    assert_eq!((&status["state"], &status["daemon"]), (&json!("stopped"), &json!(null)));
    assert!(status["reason"].as_str().unwrap().contains("without a stop"), "{status}");

    speed_up(&world).await;
    let daemon = world.daemon().await;
    let cycles = world.cycles_ended(2).await;
    assert_eq!(cycles[0], "startup interrupted");
    assert_ne!(world.value("SELECT finished_at FROM sync_cycles WHERE id = 1").await, "NULL");
    daemon.stop().await;
    check_complete(&world, &ids).await;
}

#[apply(on_both)]
async fn a_kill_while_reading_leaves_an_open_row_that_the_next_start_closes() {
    let world = World::start(crate::program::users(2).0).await;
    let gate = super::hold_next_cycle(&world);
    let mut daemon = world.daemon().await;
    gate.reached().await;
    daemon.signal(Signal::KILL);
    assert_eq!(daemon.ended().await, None);
    assert_eq!(world.cycles().await, ["startup -"]);
    gate.release();
    let daemon = world.daemon().await;
    assert_eq!(world.cycles_ended(2).await, ["startup interrupted", "startup success"]);
    daemon.stop().await;
}

#[apply(on_both)]
async fn a_killed_sync_releases_its_lock() {
    let world = World::start(crate::program::users(2).0).await;
    let gate = super::hold_next_cycle(&world);
    let mut sync = Daemon::spawn(world.program(&["sync"]), &world.path("sync.log"));
    gate.reached().await;
    world.run_program(&["sync"], 75);
    sync.signal(Signal::KILL);
    assert_eq!(sync.ended().await, None);
    gate.release();
    world.run_program(&["sync"], 0);
    assert_eq!(world.cycles().await, ["command interrupted", "command success"]);
}

#[apply(on_both)]
async fn a_sync_stopped_while_reading_exits_1_and_records_the_interruption() {
    let world = World::start(crate::program::users(2).0).await;
    let gate = super::hold_next_cycle(&world);
    let mut sync = Daemon::spawn(world.program(&["sync"]), &world.path("sync.log"));
    gate.reached().await;
    sync.signal(Signal::INT);
    assert_eq!(sync.ended().await, Some(1), "{}", sync.log());
    assert_eq!(world.cycles().await, ["command interrupted"]);
    assert_eq!(world.value("SELECT count(*) FROM learners").await, "0");
}
