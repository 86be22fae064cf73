//! A connection that is lost in the middle of a cycle: the cycle connects again and starts over.

use graph_sim::Tenant;
use learner_sync::model::system_clock;

use super::{BATCH, USERS, ends, expect_one_row_for_each, results, stopped_at, stops};
use crate::database::on_postgres;
use crate::program::eventually;
use crate::world::{World, assigned};

/// The cycle that holds the lock, and its session.
const SESSION: &str = "SELECT pid::text FROM pg_locks WHERE locktype = 'advisory' AND classid = 1280530766
                           AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";

/// A world before its first cycle of more than one batch.
async fn world() -> World {
    let mut tenant = Tenant::default();
    assigned(&mut tenant, USERS);
    let mut world = World::start(tenant).await;
    world.now = system_clock();
    world
}

/// Ends the session of the cycle, and waits for it.
pub(super) async fn terminate(world: &World) {
    let pid = world.value(SESSION).await;
    world.execute(&format!("SELECT pg_terminate_backend({pid})")).await;
    eventually("the session ends", async || world.query(SESSION).await.is_empty().then_some(())).await;
}

#[tokio::test]
async fn a_cycle_whose_connection_is_lost_between_two_batches_succeeds() {
    on_postgres(async {
        let mut world = world().await;
        let mut process =
            stopped_at(&world, &["sync"], "BatchCommitted=1*return(stop);CycleEnding=1*return(stop)").await;
        terminate(&world).await;
        process.signal(rustix::process::Signal::CONT);
        eventually("the cycle starts over", async || process.log().contains("starts over").then_some(())).await;
        stops(&mut process).await;
        // It has the lock again.
        let refused = crate::program::finish(crate::races::elsewhere(&world, &["sync"]), 75);
        assert!(refused.stderr.contains("learner-sync sync (pid "), "{refused:?}");
        assert_eq!(ends(&mut process).await, Some(0), "{}", process.log());
        expect_one_row_for_each(&world, USERS).await;
        assert_eq!(results(&world).await, [[&*USERS.to_string(), "0", "success", "-"].map(str::to_owned)]);
        world.settled().await;
    })
    .await;
}

#[tokio::test]
async fn a_cycle_whose_connection_is_lost_at_any_step_succeeds() {
    on_postgres(async {
        for step in ["LinkedLearnersRead", "BookkeepingCommitted", "BatchWritten", "PlanApplied", "CycleEnding"] {
            let mut world = world().await;
            let mut process = stopped_at(&world, &["sync"], &format!("{step}=1*return(stop)")).await;
            terminate(&world).await;
            assert_eq!(ends(&mut process).await, Some(0), "{step}: {}", process.log());
            expect_one_row_for_each(&world, USERS).await;
            assert_eq!(
                results(&world).await,
                [[&*USERS.to_string(), "0", "success", "-"].map(str::to_owned)],
                "{step}"
            );
            world.settled().await;
        }
    })
    .await;
}

#[tokio::test]
async fn commits_that_a_promoted_standby_lacks_are_made_again() {
    on_postgres(async {
        let mut world = world().await;
        world.sim.tenant(|tenant| {
            let users: Vec<String> = tenant.users().map(|user| user.id.clone()).collect();
            users[BATCH..].iter().for_each(|user| tenant.unassign(user));
        });
        world.run_program(&["sync"], 0);
        let standby = world.database.backup().await;
        // The cache knows these learners, and the new primary does not.
        world.sim.tenant(|tenant| assigned(tenant, 7));
        world.run_program(&["sync"], 0);
        world.sim.tenant(|tenant| assigned(tenant, 5));
        let mut process = stopped_at(&world, &["sync"], "BatchCommitted=1*return(stop)").await;
        terminate(&world).await;
        world.database.restore(&standby).await;
        assert_eq!(ends(&mut process).await, Some(0), "{}", process.log());
        expect_one_row_for_each(&world, BATCH + 12).await;
        let row = |created: &str, unchanged: &str| [created, unchanged, "success", "-"].map(str::to_owned).to_vec();
        assert_eq!(results(&world).await, [row("1000", "0"), row("12", "1000")]);
        world.settled().await;
    })
    .await;
}
