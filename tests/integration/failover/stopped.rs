//! A program that is stopped in the middle of a batch, as by a debugger or a suspended machine: the server ends its
//! transaction, and another machine continues.

use std::process::Stdio;

use graph_sim::Tenant;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;
use sqlx::Connection as _;

use super::create_tables;
use crate::postgres::Server;
use crate::program::eventually;
use crate::world::{World, assigned};

const USERS: usize = 1500;

#[tokio::test]
async fn a_stopped_program_loses_its_locks() {
    let Some(server) = Server::start() else { return };
    let mut tenant = Tenant::default();
    let last = assigned(&mut tenant, USERS).into_iter().max().unwrap();
    let mut world = World::start_on(server, tenant).await;
    create_tables(&world).await;
    world
        .execute(&format!(
            "CREATE FUNCTION rest() RETURNS trigger LANGUAGE plpgsql AS
                 'BEGIN PERFORM pg_advisory_xact_lock(7); RETURN NEW; END';
             CREATE TRIGGER rest BEFORE INSERT ON learners FOR EACH ROW
                 WHEN (NEW.external_id = '{last}') EXECUTE FUNCTION rest()",
        ))
        .await;
    let mut holder = server.connect(world.database.name()).await;
    sqlx::query("SELECT pg_advisory_lock(7)").execute(&mut holder).await.unwrap();
    let mut stopped = world.program(&["sync"]);
    let mut stopped = stopped.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let waits = "SELECT pid::text FROM pg_locks WHERE locktype = 'advisory' AND NOT granted";
    eventually("the batch waits", async || {
        sqlx::query_scalar::<_, String>(waits).fetch_optional(&mut holder).await.unwrap()
    })
    .await;
    let written: usize = world.value("SELECT count(*) FROM learners").await.parse().unwrap();
    let pid = Pid::from_raw(i32::try_from(stopped.id()).unwrap()).unwrap();
    kill_process(pid, Signal::STOP).unwrap();
    holder.close().await.unwrap();
    let idle = "SELECT count(*) FROM pg_stat_activity
                WHERE application_name LIKE 'learner-sync sync (pid %' AND state = 'idle in transaction'";
    eventually("the transaction is idle", async || (world.value(idle).await == "1").then_some(())).await;

    // The other machine has its own lock file.
    let state = world.path("other-machine").display().to_string();
    let elsewhere = [("LEARNER_SYNC_STATE__DIRECTORY", state.as_str())];
    let report = world.run_program_with(&elsewhere, &["sync", "--wait", "--json"], 0).json();
    assert_eq!(report["created"], json!(USERS - written), "{report}");

    kill_process(pid, Signal::CONT).unwrap();
    let status = stopped.wait().unwrap();
    assert!(matches!(status.code(), Some(0 | 1)), "{status}");
    for table in ["learners", "sync_links", "provisioning_log"] {
        assert_eq!(world.value(&format!("SELECT count(*) FROM {table}")).await, USERS.to_string(), "{table}");
    }
    world.cycle().await;
    world.settled().await;
}
