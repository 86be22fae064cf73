//! The primary dies and the standby is promoted: the next cycle finds it, and completes what was lost.

use std::process::Stdio;

use graph_sim::Tenant;
use rustix::process::Signal;
use serde_json::json;
use sqlx::Connection as _;

use super::{Pair, create_tables};
use crate::program::{add_assigned_user, eventually, finish, users};
use crate::races::elsewhere;
use crate::world::{World, assigned};

/// More than one batch.
const USERS: usize = 1500;

/// The changes in the log without ids and times, in their order.
async fn logged(world: &World) -> Vec<Vec<String>> {
    world.query("SELECT entra_id, action, status, reason, user_name, changes FROM provisioning_log ORDER BY id").await
}

/// Every user has one active learner with one link and one log row.
async fn expect_each_created_once(world: &World, count: usize) {
    for sql in [
        "SELECT count(*) FROM learners WHERE active",
        "SELECT count(DISTINCT external_id) FROM learners",
        "SELECT count(*) FROM sync_links",
        "SELECT count(*) FROM provisioning_log WHERE action = 'create' AND status = 'success'",
        "SELECT count(DISTINCT entra_id) FROM provisioning_log",
    ] {
        assert_eq!(world.value(sql).await, count.to_string(), "{sql}");
    }
}

#[tokio::test]
async fn the_daemon_continues_on_the_promoted_standby() {
    let (tenant, ids) = users(5);
    let Some(mut pair) = Pair::start(tenant).await else { return };
    let daemon = pair.world.daemon().await;
    daemon.logged("waiting", 1).await;
    pair.caught_up().await;
    pair.primary.kill();
    daemon.signal(Signal::USR1);
    daemon.logged("cannot start a cycle: no host of the learner database accepts writes", 1).await;
    pair.promote().await;
    pair.world.sim.tenant(|tenant| {
        tenant.user_mut(&ids[0]).account_enabled = Some(false);
        add_assigned_user(tenant, "Ada", "Late");
    });
    daemon.signal(Signal::USR1);
    assert_eq!(pair.world.cycles_ended(2).await, ["startup success", "signal success"]);
    assert_eq!(pair.world.log(&ids[0]).await, ["create success assigned", "deactivate success account-disabled"]);
    assert_eq!(pair.world.value("SELECT count(*) FROM learners WHERE active").await, "5");
    daemon.stop().await;
    // Its status is read from the new primary as well.
    assert_eq!(pair.world.run_program(&["status", "--json"], 0).json()["learners"]["linked"], json!(6));
}

/// The cycle of another daemon ends a failure that only this one knows, also with the number of a lost cycle.
#[tokio::test]
async fn a_cycle_with_the_number_of_a_lost_one_ends_a_failure() {
    let Some(mut pair) = Pair::start(users(2).0).await else { return };
    let daemon = pair.world.daemon().await;
    daemon.logged("waiting", 1).await;
    pair.cut().await;
    daemon.signal(Signal::USR1);
    daemon.logged("waiting", 2).await;
    // Nothing can be read, so that the daemon still knows the cycle that the standby lacks.
    pair.primary.kill();
    pair.standby.stop();
    daemon.signal(Signal::USR1);
    daemon.logged("cannot start a cycle: ", 1).await;
    pair.standby.run();
    pair.promote().await;
    pair.world.execute("SELECT setval(pg_get_serial_sequence('sync_cycles', 'id'), 1)").await;
    // The daemon runs no cycle of its own then.
    finish(elsewhere(&pair.world, &["pause"]), 0);
    finish(elsewhere(&pair.world, &["sync", "--force"]), 0);
    assert_eq!(pair.world.query("SELECT id FROM sync_cycles ORDER BY id").await, [["1"], ["2"]]);
    daemon.signal(Signal::URG);
    daemon.logged("state paused: ", 1).await;
    let log = daemon.log();
    let observed = log.split_once("provisioning was paused\n").unwrap().1;
    assert!(observed.lines().next().unwrap().contains("state paused: "), "{log}");
    daemon.stop().await;
}

#[tokio::test]
async fn commits_that_the_standby_lacks_are_made_and_logged_again() {
    let (tenant, ids) = users(20);
    let Some(mut pair) = Pair::start(tenant).await else { return };
    pair.world.run_program(&["sync"], 0);
    pair.cut().await;
    pair.world.sim.tenant(|tenant| {
        tenant.user_mut(&ids[0]).account_enabled = Some(false);
        tenant.user_mut(&ids[1]).job_title = Some("Diver".to_owned());
        tenant.unassign(&ids[2]);
        add_assigned_user(tenant, "Ada", "Late");
    });
    pair.world.run_program(&["sync"], 0);
    let (log, state) = (logged(&pair.world).await, learners(&pair.world).await);
    assert_eq!(log.len(), 24);
    pair.fail_over().await;
    // The new primary is as old as a restored backup, and the cache knows a later state.
    assert_eq!(logged(&pair.world).await, log[..20]);
    assert_eq!(pair.world.run_program(&["sync", "--json"], 0).json()["unchanged"], json!(17));
    assert_eq!((logged(&pair.world).await, learners(&pair.world).await), (log, state));
    let idle = pair.world.run_program(&["sync", "--json"], 0).json();
    assert_eq!((&idle["unchanged"], &idle["created"]), (&json!(19), &json!(0)));
}

async fn learners(world: &World) -> Vec<Vec<String>> {
    world.query("SELECT external_id, user_name, title, active FROM learners ORDER BY external_id").await
}

#[tokio::test]
async fn a_failover_within_a_batch_is_completed_by_the_next_cycle() {
    for synchronous in [true, false] {
        let mut tenant = Tenant::default();
        // Users are written in the order of their ids.
        let last = assigned(&mut tenant, USERS).into_iter().max().unwrap();
        let Some(mut pair) = Pair::start(tenant).await else { return };
        create_tables(&pair.world).await;
        // The last batch waits for a lock in the server.
        pair.world
            .execute(&format!(
                "CREATE FUNCTION rest() RETURNS trigger LANGUAGE plpgsql AS
                     'BEGIN PERFORM pg_advisory_xact_lock(7); RETURN NEW; END';
                 CREATE TRIGGER rest BEFORE INSERT ON learners FOR EACH ROW
                     WHEN (NEW.external_id = '{last}') EXECUTE FUNCTION rest()",
            ))
            .await;
        pair.caught_up().await;
        if synchronous {
            pair.replicate_synchronously().await;
        }
        let mut holder = pair.primary.connect(pair.world.database.name()).await;
        sqlx::query("SELECT pg_advisory_lock(7)").execute(&mut holder).await.unwrap();
        let mut program = pair.world.program(&["sync"]);
        let mut program = program.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let waits = "SELECT pid::text FROM pg_locks WHERE locktype = 'advisory' AND NOT granted";
        eventually("the batch waits", async || {
            sqlx::query_scalar::<_, String>(waits).fetch_optional(&mut holder).await.unwrap()
        })
        .await;
        let committed = pair.world.value("SELECT count(*) FROM learners").await;
        pair.fail_over().await;
        let _ = holder.close().await;
        // It fails, or it continues on the new primary.
        let status = program.wait().unwrap();
        assert!(matches!(status.code(), Some(0 | 1)), "{status}");
        let survived: usize = pair.world.value("SELECT count(*) FROM learners").await.parse().unwrap();
        if status.code() == Some(1) && synchronous {
            assert_eq!(survived.to_string(), committed);
        }
        for table in ["sync_links", "provisioning_log"] {
            assert_eq!(pair.world.value(&format!("SELECT count(*) FROM {table}")).await, survived.to_string());
        }
        pair.world.execute("DROP TRIGGER rest ON learners").await;
        let report = pair.world.run_program(&["sync", "--json"], 0).json();
        assert_eq!(report["created"], json!(USERS - survived), "{report}");
        expect_each_created_once(&pair.world, USERS).await;
    }
}
