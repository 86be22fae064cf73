//! A number that a later cycle has again: after a failover to a standby that lacks the last cycles, or after a restore, the
//! sequence may go back as well.

use graph_sim::Tenant;
use learner_sync::model::system_clock;
use rustix::process::Signal;

use super::lost::terminate;
use super::{USERS, ends, expect_one_row_for_each, results, stopped_at, stops};
use crate::database::{apply, is_on_postgres, on_both, on_postgres};
use crate::program::{Daemon, finish, users};
use crate::races::elsewhere;
use crate::world::{World, assigned};

/// A second cycle that stops at `step`, and loses its row while it sleeps.
async fn lost_at(step: &str) -> (World, Daemon) {
    let mut tenant = Tenant::default();
    assigned(&mut tenant, USERS);
    let mut world = World::start(tenant).await;
    world.now = system_clock();
    world.run_program(&["sync"], 0);
    let standby = world.database.backup().await;
    world.sim.tenant(|tenant| assigned(tenant, 7));
    let process = stopped_at(&world, &["sync"], &format!("{step}=1*return(stop)")).await;
    terminate(&world).await;
    world.database.restore(&standby).await;
    (world, process)
}

#[tokio::test]
async fn a_cycle_whose_number_another_one_has_gets_another_number() {
    on_postgres(async {
        for step in ["BatchCommitted", "CycleEnding"] {
            let (mut world, mut process) = lost_at(step).await;
            finish(elsewhere(&world, &["sync"]), 0);
            let before = world.query("SELECT * FROM sync_cycles ORDER BY id").await;
            assert_eq!(before.len(), 2);
            let code = ends(&mut process).await;
            assert_eq!(world.query("SELECT * FROM sync_cycles WHERE id <= 2 ORDER BY id").await, before, "{step}");
            let last = results(&world).await.pop().unwrap();
            // A cycle does not compare again at its end: its changes were lost, although the other one has made them.
            let expected = match step {
                "BatchCommitted" => (Some(0), ["0", &*(USERS + 7).to_string(), "success"]),
                _ => (Some(1), ["0", "0", "failed"]),
            };
            assert_eq!((code, [&*last[0], &*last[1], &*last[2]]), expected, "{step}: {}", process.log());
            assert_eq!(results(&world).await.len(), 3);
            expect_one_row_for_each(&world, USERS + 7).await;
            let cycles = "SELECT DISTINCT cycle_id FROM provisioning_log ORDER BY cycle_id";
            assert_eq!(world.query(cycles).await, [["1"], ["2"]]);
            world.settled().await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_cycle_leaves_the_open_row_of_another_one_with_its_number() {
    on_postgres(async {
        for step in ["BatchCommitted", "CycleEnding"] {
            let (mut world, mut process) = lost_at(step).await;
            let mut other = elsewhere(&world, &["sync"]);
            other.env("FAILPOINTS", "Planned=1*return(stop)");
            let mut other = Daemon::spawn(other, &world.path("other.log"));
            stops(&mut other).await;
            other.signal(Signal::KILL);
            other.ended().await;
            let code = ends(&mut process).await;
            let rows = world.query("SELECT outcome, created FROM sync_cycles WHERE id > 1 ORDER BY id").await;
            let (expected, own) = match step {
                "BatchCommitted" => (0, ["success", "7"]),
                _ => (1, ["failed", "0"]),
            };
            assert_eq!(code, Some(expected), "{step}: {}", process.log());
            assert_eq!(rows, [["interrupted", "0"], own], "{step}: {}", process.log());
            world.run_program(&["sync"], 0);
            expect_one_row_for_each(&world, USERS + 7).await;
            world.settled().await;
        }
    })
    .await;
}

/// Forgets the cycles after `kept`.
async fn lose_cycles(world: &World, kept: usize) {
    let sequence = match is_on_postgres() {
        true => format!("SELECT setval(pg_get_serial_sequence('sync_cycles', 'id'), {kept})"),
        false => format!("UPDATE sqlite_sequence SET seq = {kept} WHERE name = 'sync_cycles'"),
    };
    world.execute(&format!("DELETE FROM sync_cycles WHERE id > {kept}")).await;
    world.execute(&sequence).await;
}

#[apply(on_both)]
async fn resync_finds_its_cycle_although_it_has_the_number_of_a_lost_one() {
    let world = World::start(users(1).0).await;
    let daemon = world.daemon().await;
    daemon.logged("waiting next_cycle.at=", 1).await;
    for (times, lost) in [(1, 1), (2, 2)] {
        let kept = world.cycles().await.len();
        (1..lost).for_each(|_| drop(world.run_program(&["sync"], 0)));
        let mut sync = stopped_at(&world, &["sync"], "CycleFinished=1*return(stop)").await;
        let mut resync = Daemon::spawn(world.program(&["resync", "--wait"]), &world.path("resync.log"));
        daemon.logged("waiting for learner-sync sync", times).await;
        lose_cycles(&world, kept).await;
        assert_eq!(ends(&mut sync).await, Some(0), "{}", sync.log());
        assert_eq!(resync.ended().await, Some(0), "{}", resync.log());
        assert_eq!(world.cycles().await[kept..], ["signal success"]);
        daemon.logged("waiting next_cycle.at=", times + 1).await;
    }
    daemon.stop().await;
}
