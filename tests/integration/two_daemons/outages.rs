//! The server is away, or another one than before, while both daemons run.

use rustix::process::Signal;

use super::{GENERATIONS, Pair, spawn, written_once};
use crate::fencing::stops;
use crate::postgres::{Server, shared};
use crate::program::{eventually, users};
use crate::world::{World, assigned};

#[tokio::test]
async fn a_signal_during_an_outage_is_served_once_the_server_is_back() {
    let Some(server) = Server::start() else { return };
    let pair = Pair::start(server, users(1).0).await;
    server.kill();
    let failed = pair.one.log().matches("cannot start a cycle").count();
    pair.one.signal(Signal::USR1);
    pair.one.logged("a signal requests a cycle", 1).await;
    pair.one.logged("cannot start a cycle", failed + 1).await;
    server.run();
    // The other daemon may run the scheduled ones.
    eventually("the request is served", async || {
        pair.world.cycles().await.contains(&"signal success".to_owned()).then_some(())
    })
    .await;
    pair.stop().await;
}

#[tokio::test]
async fn a_full_cycle_requested_during_an_outage_is_full_afterwards() {
    let Some(server) = Server::start() else { return };
    let world = World::start_on(server, users(1).0).await;
    world.configure("[schedule]\nmin_interval = \"2h\"\nmax_interval = \"3h\"");
    let daemon = world.daemon().await;
    daemon.logged("waiting next_cycle.at=", 1).await;
    server.kill();
    daemon.signal(Signal::USR2);
    daemon.logged("cannot start a cycle", 1).await;
    server.run();
    let kinds = r#"SELECT "trigger", outcome, full_comparison FROM sync_cycles ORDER BY id"#;
    eventually("the request is served", async || {
        let cycles = world.query(kinds).await;
        (cycles.get(1)? == &["signal", "success", "1"]).then_some(())
    })
    .await;
    daemon.stop().await;
}

#[tokio::test]
async fn a_plan_that_an_outage_kept_from_the_database_is_recorded_later() {
    let Some(server) = Server::start() else { return };
    let world = World::start_on(server, users(1).0).await;
    world.configure("[schedule]\nmin_interval = \"2h\"\nmax_interval = \"3h\"");
    let mut daemon = spawn(&world, "one", &[("FAILPOINTS", "DatabaseClosed=1*return(stop)")]);
    stops(&mut daemon).await;
    server.kill();
    daemon.signal(Signal::CONT);
    daemon.logged("cannot record the time of the next cycle", 1).await;
    server.run();
    eventually("the plan is recorded", async || {
        let rows = world.query("SELECT next_cycle_at > now() + interval '1 hour' FROM sync_schedule").await;
        (rows == [["1"]]).then_some(())
    })
    .await;
    assert_eq!(world.cycles().await, ["startup success"]);
    assert_ne!(world.value("SELECT next_cycle_at FROM sync_state").await, "NULL");
    daemon.stop().await;
}

#[tokio::test]
async fn a_backup_that_is_restored_while_both_daemons_run_is_completed_once() {
    let Some(server) = shared() else { return };
    let world = World::start_on(server, users(2).0).await;
    world.run_program(&["sync"], 0);
    let backup = world.database.backup().await;
    world.sim.tenant(|tenant| assigned(tenant, 3));
    let pair = Pair::start_with(world, "", &[]).await;
    assert_eq!(pair.world.value("SELECT count(*) FROM learners").await, "5");
    // Its connections end.
    pair.world.database.restore(&backup).await;
    pair.world.execute(GENERATIONS).await;
    eventually("the lost learners are created again", async || {
        (pair.world.value("SELECT count(*) FROM learners").await == "5").then_some(())
    })
    .await;
    eventually("both daemons are seen again", async || {
        let seen = "SELECT count(*) FROM sync_daemons WHERE seen_at > now() - interval '3 seconds'";
        (pair.world.value(seen).await == "2").then_some(())
    })
    .await;
    let ended = pair.world.cycles().await.len();
    pair.world.cycles_ended(ended + 2).await;
    written_once(&pair.world, 5).await;
    pair.keep_distance().await;
    pair.stop().await;
}
