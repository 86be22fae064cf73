//! Learners that somebody else has changed: what `safety.repair` puts right, and what it only notes.

use graph_sim::{Tenant, User};
use jiff::SignedDuration;
use learner_sync::plan::Counts;
use serde_json::json;

use crate::database::{apply, on_both};
use crate::world::{World, assigned};

/// A world with Ada and eleven others, all learners.
async fn dozen(repair: &str) -> (World, String) {
    let mut tenant = Tenant::default();
    let ada = tenant.add_user(User::named("Ada", "Lovelace").job_title("Engineer").department("Research"));
    tenant.assign_user(&ada);
    assigned(&mut tenant, 11);
    let mut world = World::start(tenant).await;
    world.configure(&format!("[safety]\nrepair = \"{repair}\""));
    assert_eq!(world.cycle().await.counts.created, 12);
    (world, ada)
}

async fn forget(world: &World) {
    std::fs::remove_dir_all(world.path("state/cache")).unwrap();
}

#[apply(on_both)]
async fn with_log_nothing_is_put_right_and_it_is_noted_once() {
    let (mut world, ada) = dozen("log").await;
    world.execute(&format!("UPDATE learners SET department = 'Sales' WHERE external_id = '{ada}'")).await;
    let counts = Counts { in_scope: 12, unchanged: 11, skipped: 1, ..Counts::default() };
    assert_eq!(world.full_cycle().await.counts, counts);
    assert_eq!(world.log(&ada).await, ["create success assigned", "update skipped drift"]);
    let department = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:department";
    assert_eq!(world.last_changes(&ada).await, json!([{ "attribute": department, "old": "Sales", "new": "Research" }]));
    // By the cache, in full, and after the cache is lost.
    assert_eq!(world.cycle().await.counts, counts);
    assert_eq!(world.full_cycle().await.counts, counts);
    forget(&world).await;
    assert_eq!(world.cycle().await.counts, counts);
    assert_eq!(world.settled().await.counts, counts);
    assert_eq!(world.learner(&ada, "department").await, ["Sales"]);
    assert_eq!(world.value("SELECT reason FROM sync_failures").await, "drift");
}

#[tokio::test]
async fn with_log_a_change_in_entra_is_carried_out_all_the_same() {
    for lost in [false, true] {
        let (mut world, ada) = dozen("log").await;
        world.execute(&format!("UPDATE learners SET department = 'Sales' WHERE external_id = '{ada}'")).await;
        world.full_cycle().await;
        world.sim.tenant(|tenant| tenant.user_mut(&ada).job_title = Some("Countess".to_owned()));
        if lost {
            forget(&world).await;
        }
        assert_eq!(world.cycle().await.counts.updated, 1);
        assert_eq!(world.log(&ada).await.last().unwrap(), "update success attributes-changed");
        // The row is as Entra has it: which of its values somebody else had set is not known.
        assert_eq!(world.learner(&ada, "title, department").await, ["Countess", "Research"]);
        assert_eq!(world.value("SELECT count(*) FROM sync_failures").await, "0");
        world.settled().await;
    }
}

#[tokio::test]
async fn with_log_who_is_put_right_by_hand_is_noted_no_more() {
    let (mut world, ada) = dozen("log").await;
    world.execute(&format!("UPDATE learners SET title = 'Pirate' WHERE external_id = '{ada}'")).await;
    world.full_cycle().await;
    world.execute(&format!("UPDATE learners SET title = 'Engineer' WHERE external_id = '{ada}'")).await;
    assert_eq!(world.cycle().await.counts, Counts { in_scope: 12, unchanged: 12, ..Counts::default() });
    assert_eq!(world.value("SELECT count(*) FROM sync_failures").await, "0");
    world.settled().await;
}

#[tokio::test]
async fn what_was_noted_is_put_right_as_drift_when_the_administrator_changes_his_mind() {
    let (mut world, ada) = dozen("log").await;
    world.execute(&format!("UPDATE learners SET title = 'Pirate' WHERE external_id = '{ada}'")).await;
    world.full_cycle().await;
    world.configure("[safety]\nrepair = \"attributes\"");
    forget(&world).await;
    assert_eq!(world.cycle().await.counts.updated, 1);
    assert_eq!(world.log(&ada).await.last().unwrap(), "update success drift");
    assert_eq!(world.learner(&ada, "title").await, ["Engineer"]);
    world.settled().await;
}

#[apply(on_both)]
async fn with_all_a_learner_switched_off_by_hand_is_switched_on_again() {
    let (mut world, ada) = dozen("all").await;
    world.execute(&format!("UPDATE learners SET active = false, title = 'Pirate' WHERE external_id = '{ada}'")).await;
    // Only a comparison can see it.
    assert_eq!(world.cycle().await.counts.reactivated, 0);
    world.pass(SignedDuration::from_hours(24));
    assert_eq!(world.cycle().await.counts, Counts { in_scope: 12, reactivated: 1, unchanged: 11, ..Counts::default() });
    assert_eq!(world.log(&ada).await, ["create success assigned", "reactivate success drift"]);
    let changes = json!([
        { "attribute": "title", "old": "Pirate", "new": "Engineer" },
        { "attribute": "active", "old": false, "new": true },
    ]);
    assert_eq!(world.last_changes(&ada).await, changes);
    assert_eq!(world.last_detail(&ada).await, "deactivated outside learner-sync");
    assert_eq!(world.learner(&ada, "active, title").await, ["1", "Engineer"]);
    world.settled().await;
}

#[tokio::test]
async fn with_all_a_former_learner_switched_on_by_hand_is_switched_off_again_after_a_second_look() {
    let (mut world, ada) = dozen("all").await;
    world.sim.tenant(|tenant| tenant.unassign(&ada));
    assert_eq!(world.cycle().await.counts.deactivated, 1);
    world.execute(&format!("UPDATE learners SET active = true WHERE external_id = '{ada}'")).await;
    assert_eq!(world.full_cycle().await.counts.deactivated, 1);
    assert_eq!(world.log(&ada).await.last().unwrap(), "deactivate success drift");
    assert_eq!(world.last_detail(&ada).await, "reactivated outside learner-sync; now unassigned");
    world.settled().await;
}

#[tokio::test]
async fn with_all_the_limits_hold_for_those_who_were_switched_on_by_hand() {
    let (mut world, ada) = dozen("all").await;
    world.sim.tenant(|tenant| tenant.unassign(&ada));
    world.cycle().await;
    world.configure("[safety]\nrepair = \"all\"\nmax_deactivations = 0");
    world.execute(&format!("UPDATE learners SET active = true WHERE external_id = '{ada}'")).await;
    let report = world.full_cycle().await;
    assert_eq!((report.counts.deactivated, report.counts.held), (0, 1));
    assert_eq!(world.learner(&ada, "active").await, ["1"]);
    assert_eq!(world.approve().await, 1);
    assert_eq!(world.cycle().await.counts.deactivated, 1);
    assert_eq!(world.log(&ada).await.last().unwrap(), "deactivate success drift");
    world.settled().await;
}

#[tokio::test]
async fn without_all_the_switch_is_noted_whatever_else_is_put_right() {
    for repair in ["attributes", "log"] {
        let (mut world, ada) = dozen(repair).await;
        world.execute(&format!("UPDATE learners SET active = false WHERE external_id = '{ada}'")).await;
        let counts = Counts { in_scope: 12, unchanged: 11, skipped: 1, ..Counts::default() };
        assert_eq!(world.full_cycle().await.counts, counts);
        assert_eq!(world.log(&ada).await.last().unwrap(), "reactivate skipped drift");
        assert_eq!(world.settled().await.counts, counts);
    }
}

#[tokio::test]
async fn who_comes_back_by_a_full_comparison_is_reassigned_and_no_drift() {
    let (mut world, ada) = dozen("attributes").await;
    world.sim.tenant(|tenant| tenant.unassign(&ada));
    assert_eq!(world.cycle().await.counts.deactivated, 1);
    world.sim.tenant(|tenant| tenant.assign_user(&ada));
    assert_eq!(world.full_cycle().await.counts.reactivated, 1);
    assert_eq!(world.log(&ada).await.last().unwrap(), "reactivate success reassigned");
    world.settled().await;
}

#[tokio::test]
async fn whom_somebody_else_switched_on_meanwhile_is_ours_again_after_coming_back() {
    for noticed in [false, true] {
        let (mut world, ada) = dozen("attributes").await;
        let switch = |active: bool| format!("UPDATE learners SET active = {active} WHERE external_id = '{ada}'");
        world.sim.tenant(|tenant| tenant.unassign(&ada));
        assert_eq!(world.cycle().await.counts.deactivated, 1);
        world.execute(&switch(true)).await;
        if noticed {
            world.full_cycle().await;
            assert_eq!(world.log(&ada).await.last().unwrap(), "deactivate skipped drift");
        }
        world.sim.tenant(|tenant| tenant.assign_user(&ada));
        assert_eq!(world.cycle().await.counts, Counts { in_scope: 12, updated: 1, unchanged: 11, ..Counts::default() });
        assert_eq!(world.log(&ada).await.last().unwrap(), "update success reassigned");
        assert_eq!(world.last_detail(&ada).await, "reactivated outside learner-sync");
        assert_eq!(world.learner(&ada, "active, deactivated_at").await, ["1", "NULL"]);
        assert_eq!(world.settled().await.counts.unchanged, 12);
        assert_eq!(world.full_cycle().await.counts.unchanged, 12);

        // The next to switch her off is not taken for us, and we may do it again.
        world.execute(&switch(false)).await;
        world.full_cycle().await;
        assert_eq!(world.log(&ada).await.last().unwrap(), "reactivate skipped drift");
        assert_eq!(world.learner(&ada, "active").await, ["0"]);
        world.execute(&switch(true)).await;
        world.full_cycle().await;
        world.sim.tenant(|tenant| tenant.unassign(&ada));
        assert_eq!(world.cycle().await.counts.deactivated, 1);
        assert_eq!(world.learner(&ada, "active").await, ["0"]);
        world.settled().await;
    }
}

#[tokio::test]
async fn who_leaves_again_right_after_coming_back_is_switched_off() {
    let (mut world, ada) = dozen("attributes").await;
    world.sim.tenant(|tenant| tenant.unassign(&ada));
    world.cycle().await;
    world.execute(&format!("UPDATE learners SET active = true WHERE external_id = '{ada}'")).await;
    world.sim.tenant(|tenant| tenant.assign_user(&ada));
    assert_eq!(world.cycle().await.counts.updated, 1);
    world.sim.tenant(|tenant| tenant.unassign(&ada));
    assert_eq!(world.cycle().await.counts.deactivated, 1);
    assert_eq!(world.learner(&ada, "active").await, ["0"]);
}
