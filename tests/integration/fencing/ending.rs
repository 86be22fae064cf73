//! The end of a cycle in a database that lacks the cycle, or what it has written.

use graph_sim::Tenant;
use learner_sync::model::system_clock;

use super::lost::terminate;
use super::{ends, expect_one_row_for_each, results, stopped_at, synced};
use crate::database::{apply, on_both, on_postgres};
use crate::world::{World, assigned};

fn row(created: &str, unchanged: &str, outcome: &str, error: &str) -> Vec<String> {
    [created, unchanged, outcome, error].map(str::to_owned).to_vec()
}

#[apply(on_both)]
async fn a_cycle_whose_row_is_deleted_while_it_runs_is_recorded_again() {
    let (mut world, _) = synced(10).await;
    world.sim.tenant(|tenant| assigned(tenant, 3));
    let mut process = stopped_at(&world, &["sync"], "CycleEnding=1*return(stop)").await;
    world.execute("DELETE FROM sync_cycles WHERE finished_at IS NULL").await;
    assert_eq!(ends(&mut process).await, Some(0), "{}", process.log());
    assert!(process.log().contains("the learner database lacks the cycle"), "{}", process.log());
    assert_eq!(results(&world).await, [row("10", "0", "success", "-"), row("3", "10", "success", "-")]);
    expect_one_row_for_each(&world, 13).await;
    world.settled().await;
}

#[tokio::test]
async fn a_cycle_whose_changes_are_lost_at_its_end_has_failed() {
    on_postgres(async {
        let mut tenant = Tenant::default();
        assigned(&mut tenant, 10);
        let mut world = World::start(tenant).await;
        world.now = system_clock();
        world.run_program(&["sync"], 0);
        let standby = world.database.backup().await;
        world.sim.tenant(|tenant| assigned(tenant, 3));
        let mut process = stopped_at(&world, &["sync"], "CycleEnding=1*return(stop)").await;
        terminate(&world).await;
        world.database.restore(&standby).await;
        assert_eq!(ends(&mut process).await, Some(1), "{}", process.log());
        expect_one_row_for_each(&world, 10).await;
        let last = results(&world).await.pop().unwrap();
        assert_eq!(last[2], "failed");
        assert!(last[3].starts_with("the learner database no longer has the changes of this cycle; "), "{last:?}");
        assert_eq!(last[0], "0");
        assert_eq!(world.cycle().await.counts.created, 3);
        expect_one_row_for_each(&world, 13).await;
        world.settled().await;
    })
    .await;
}
