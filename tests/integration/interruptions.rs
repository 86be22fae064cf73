//! Cycles that are stopped or dropped at any point, and plans, which write nothing.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use graph_sim::{Fault, Gate, Tenant};
use learner_sync::model::Outcome;
use learner_sync::plan::Counts;
use tokio::sync::watch;

use crate::database::{apply, on_both};
use crate::world::{World, assigned, assigned_group};

/// Polls `future` at most `turns` times, then drops it. Returns its result if it completed.
pub(crate) async fn poll_at_most<T>(turns: usize, future: impl Future<Output = T>) -> Option<T> {
    let mut future = pin!(future);
    let mut turn = 0;
    std::future::poll_fn(|context| {
        if turn == turns {
            return Poll::Ready(None);
        }
        turn += 1;
        future.as_mut().poll(context).map(Some)
    })
    .await
}

#[apply(on_both)]
async fn a_cycle_dropped_anywhere_costs_one_more_cycle() {
    let mut tenant = Tenant::default();
    let (group, members) = assigned_group(&mut tenant, "Staff", 100);
    let mut world = World::start(tenant).await;
    world.configure("[safety]\nmax_deactivations = 1000\nmax_deactivation_percent = 100");
    world.cycle().await;
    let (mut complete, mut turns) = (0, 0);
    for round in 1..members.len() {
        let newcomer = world.sim.tenant(|tenant| {
            tenant.remove_member(&group, &members[round]);
            tenant.user_mut(&members[0]).job_title = Some(format!("Engineer {round}"));
            assigned(tenant, 1).remove(0)
        });
        turns += 1 + turns / 8;
        let (_sender, stop) = watch::channel(false);
        let ended = poll_at_most(turns, world.run_until(false, stop)).await.is_some();
        let report = world.cycle().await;
        assert_eq!((report.outcome, report.counts.failed), (Outcome::Success, 0), "after {turns} turns");
        // Dropped before or after its end, each change was made once.
        assert_eq!(world.log(&newcomer).await, ["create success assigned"], "after {turns} turns");
        assert_eq!(world.log(&members[round]).await, ["create success assigned", "deactivate success unassigned"]);
        assert_eq!(world.log(&members[0]).await.len(), 1 + round);
        assert_eq!(world.learner(&members[0], "title").await, [format!("Engineer {round}")]);
        let doubtful =
            "SELECT count(*) FROM learners r LEFT JOIN sync_links l ON l.learner_id = r.id WHERE l.via IS NULL";
        assert_eq!(world.value(doubtful).await, "0");
        assert_eq!(world.value("SELECT count(*) FROM sync_cycles WHERE finished_at IS NULL").await, "0");
        world.settled().await;
        complete += usize::from(ended);
        if complete > 2 {
            assert!(world.value("SELECT count(*) FROM sync_cycles WHERE outcome = 'interrupted'").await != "0");
            return;
        }
    }
    panic!("no cycle ever came to its end in {turns} turns");
}

#[apply(on_both)]
async fn a_cycle_stopped_while_it_reads_applies_nothing() {
    let mut tenant = Tenant::default();
    let (group, members) = assigned_group(&mut tenant, "Staff", 4);
    let mut world = World::start(tenant).await;
    world.cycle().await;
    world.sim.tenant(|tenant| tenant.remove_member(&group, &members[0]));
    let before = world.lasting().await;
    let gate = Gate::new();
    world.sim.inject(Fault::on("GET", "/v1.0/groups/{id}/members").hold_until(&gate));
    let (sender, stop) = watch::channel(false);
    let stopping = async {
        gate.reached().await;
        sender.send_replace(true);
    };
    let (report, ()) = tokio::join!(world.run_until(false, stop), stopping);
    assert_eq!((report.outcome, report.counts), (Outcome::Interrupted, Counts::default()));
    assert_eq!(world.value("SELECT outcome FROM sync_cycles ORDER BY id DESC LIMIT 1").await, "interrupted");
    world.unchanged_since(&before).await;
    assert_eq!(world.cycle().await.counts.deactivated, 1);
    world.settled().await;
}

#[tokio::test]
async fn a_change_between_snapshot_and_confirmation_is_noticed() {
    let mut tenant = Tenant::default();
    let (group, members) = assigned_group(&mut tenant, "Staff", 4);
    tenant.remove_member(&group, &members[0]);
    tenant.assign_user(&members[0]);
    let mut world = World::start(tenant).await;
    world.cycle().await;
    world.sim.tenant(|tenant| tenant.unassign(&members[0]));
    let gate = Gate::new();
    world.sim.inject(Fault::on("GET", &format!("/v1.0/users/{}", members[0])).hold_until(&gate));
    let sim = Arc::clone(&world.sim);
    let reassigning = async {
        gate.reached().await;
        sim.tenant(|tenant| tenant.add_member(&group, &members[0]));
        gate.release();
    };
    let (report, ()) = tokio::join!(world.cycle(), reassigning);
    assert_eq!((report.outcome, report.counts.deactivated), (Outcome::Success, 0));
    assert_eq!(world.log(&members[0]).await, ["create success assigned"]);
    world.cycle().await;
    world.settled().await;
}

#[apply(on_both)]
async fn a_plan_writes_nothing_and_shows_what_the_next_cycle_does() {
    let mut tenant = Tenant::default();
    let (group, members) = assigned_group(&mut tenant, "Staff", 10);
    let mut world = World::start(tenant).await;
    assert_eq!(world.plan().await.unwrap().plan.counts().created, 10);
    assert!(!world.path("learners.db").exists());
    world.cycle().await;
    world.sim.tenant(|tenant| {
        tenant.remove_member(&group, &members[0]);
        tenant.user_mut(&members[1]).account_enabled = Some(false);
        tenant.user_mut(&members[2]).job_title = Some("Diver".to_owned());
        tenant.user_mut(&members[3]).mail = None;
        let mail = tenant.user(&members[4]).unwrap().mail.clone();
        let newcomers = assigned(tenant, 2);
        tenant.user_mut(&newcomers[0]).mail = mail;
    });
    let before = (world.lasting().await, world.query("SELECT * FROM sync_cycles").await);
    let planned = world.plan().await.unwrap().plan.counts();
    world.unchanged_since(&before.0).await;
    assert_eq!(world.query("SELECT * FROM sync_cycles").await, before.1);
    let report = world.cycle().await;
    assert_eq!(report.counts, planned);
    let Counts { created, updated, deactivated, skipped, failed, .. } = planned;
    assert_eq!((created, updated, deactivated, skipped, failed), (1, 1, 2, 1, 1));
    world.settled().await;
}
