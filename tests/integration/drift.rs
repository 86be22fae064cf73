//! Learners changed outside learner-sync: what `safety.repair` repairs, and what it only reports.

use graph_sim::{Tenant, User};
use jiff::SignedDuration;
use learner_sync::plan::Counts;
use serde_json::json;

use crate::database::{apply, on_both};
use crate::world::{World, assigned};

/// A world with twelve learners, one of them Ada.
async fn world_with_repair(repair: &str) -> (World, String) {
    let mut tenant = Tenant::default();
    let ada = tenant.add_user(User::named("Ada", "Lovelace").job_title("Engineer").department("Research"));
    tenant.assign_user(&ada);
    assigned(&mut tenant, 11);
    let mut world = World::start(tenant).await;
    world.configure(&format!("[safety]\nrepair = \"{repair}\""));
    assert_eq!(world.cycle().await.counts.created, 12);
    (world, ada)
}

/// A plan and a rehearsal say what the next cycle does, whether it compares in full or not, and write nothing.
#[apply(on_both)]
async fn plans_and_rehearsals_see_the_drift_that_the_cycle_sees() {
    for repair in ["attributes", "all", "log"] {
        let (world, ada) = world_with_repair(repair).await;
        world.run_program(&["sync"], 0);
        world.execute(&format!("UPDATE learners SET department = 'Sales' WHERE external_id = '{ada}'")).await;
        world.execute(&format!("UPDATE learners SET active = false WHERE id = 5 AND external_id <> '{ada}'")).await;
        let cache = || std::fs::read(world.path("state/cache/db")).unwrap();
        for full in [false, true] {
            let (before, cached) = (world.lasting().await, cache());
            let mut rehearsed = vec![world.run_program(&sync(full, &["--dry-run"]), 0).json()];
            if !full {
                rehearsed.push(world.run_program(&["plan", "--json"], 0).json());
            }
            world.unchanged_since(&before).await;
            assert!(cached == cache());
            let ran = world.run_program(&sync(full, &[]), 0).json();
            for counted in ["updated", "reactivated", "unchanged", "skipped"] {
                for rehearsed in &rehearsed {
                    assert_eq!(rehearsed[counted], ran[counted], "{repair} {full} {counted}");
                }
            }
            let mut logged =
                world.query("SELECT entra_id, reason FROM provisioning_log WHERE action <> 'create'").await;
            logged.sort();
            let changes = rehearsed[0]["changes"].as_array().unwrap().iter();
            let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
            // A plan lists its changes by action.
            let mut planned: Vec<_> =
                changes.map(|change| vec![text(&change["entra_id"]), text(&change["reason"])]).collect();
            planned.sort();
            assert_eq!(planned, logged, "{repair} {full}");
            assert_eq!(planned.is_empty(), !full, "{repair}");
        }
    }
}

fn sync<'a>(full: bool, more: &[&'a str]) -> Vec<&'a str> {
    let full: &[&str] = if full { &["--full"] } else { &[] };
    [&["sync", "--json"], full, more].concat()
}

async fn forget(world: &World) {
    std::fs::remove_dir_all(world.path("state/cache")).unwrap();
}

#[apply(on_both)]
async fn with_log_drift_is_reported_once_and_not_repaired() {
    let (mut world, ada) = world_with_repair("log").await;
    world.execute(&format!("UPDATE learners SET department = 'Sales' WHERE external_id = '{ada}'")).await;
    let counts = Counts { in_scope: 12, unchanged: 11, skipped: 1, ..Counts::default() };
    assert_eq!(world.full_cycle().await.counts, counts);
    assert_eq!(world.log(&ada).await, ["create success assigned", "update skipped drift"]);
    let department = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:department";
    assert_eq!(world.last_changes(&ada).await, json!([{ "attribute": department, "old": "Sales", "new": "Research" }]));
    // With the cache, in a full comparison, and without the cache.
    assert_eq!(world.cycle().await.counts, counts);
    assert_eq!(world.full_cycle().await.counts, counts);
    forget(&world).await;
    assert_eq!(world.cycle().await.counts, counts);
    assert_eq!(world.settled().await.counts, counts);
    assert_eq!(world.learner(&ada, "department").await, ["Sales"]);
    assert_eq!(world.value("SELECT reason FROM sync_failures").await, "drift");
}

#[tokio::test]
async fn with_log_a_change_in_entra_is_still_applied() {
    for lost in [false, true] {
        let (mut world, ada) = world_with_repair("log").await;
        world.execute(&format!("UPDATE learners SET department = 'Sales' WHERE external_id = '{ada}'")).await;
        world.full_cycle().await;
        world.sim.tenant(|tenant| tenant.user_mut(&ada).job_title = Some("Countess".to_owned()));
        if lost {
            forget(&world).await;
        }
        assert_eq!(world.cycle().await.counts.updated, 1);
        assert_eq!(world.log(&ada).await.last().unwrap(), "update success attributes-changed");
        // All attributes are written: the drifted ones are not known one by one.
        assert_eq!(world.learner(&ada, "title, department").await, ["Countess", "Research"]);
        assert_eq!(world.value("SELECT count(*) FROM sync_failures").await, "0");
        world.settled().await;
    }
}

#[tokio::test]
async fn with_log_a_report_ends_after_a_repair_by_hand() {
    let (mut world, ada) = world_with_repair("log").await;
    world.execute(&format!("UPDATE learners SET title = 'Pirate' WHERE external_id = '{ada}'")).await;
    world.full_cycle().await;
    world.execute(&format!("UPDATE learners SET title = 'Engineer' WHERE external_id = '{ada}'")).await;
    assert_eq!(world.cycle().await.counts, Counts { in_scope: 12, unchanged: 12, ..Counts::default() });
    assert_eq!(world.value("SELECT count(*) FROM sync_failures").await, "0");
    world.settled().await;
}

#[tokio::test]
async fn reported_drift_is_repaired_after_a_change_of_the_setting() {
    let (mut world, ada) = world_with_repair("log").await;
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
async fn with_all_a_learner_deactivated_by_hand_is_reactivated() {
    let (mut world, ada) = world_with_repair("all").await;
    world.execute(&format!("UPDATE learners SET active = false, title = 'Pirate' WHERE external_id = '{ada}'")).await;
    // Only a full comparison notices it.
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
async fn with_all_a_former_learner_activated_by_hand_is_deactivated_after_confirmation() {
    let (mut world, ada) = world_with_repair("all").await;
    world.sim.tenant(|tenant| tenant.unassign(&ada));
    assert_eq!(world.cycle().await.counts.deactivated, 1);
    world.execute(&format!("UPDATE learners SET active = true WHERE external_id = '{ada}'")).await;
    assert_eq!(world.full_cycle().await.counts.deactivated, 1);
    assert_eq!(world.log(&ada).await.last().unwrap(), "deactivate success drift");
    assert_eq!(world.last_detail(&ada).await, "reactivated outside learner-sync; now unassigned");
    world.settled().await;
}

#[tokio::test]
async fn with_all_the_limits_apply_to_learners_activated_by_hand() {
    let (mut world, ada) = world_with_repair("all").await;
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
async fn without_all_a_changed_active_state_is_only_reported() {
    for repair in ["attributes", "log"] {
        let (mut world, ada) = world_with_repair(repair).await;
        world.execute(&format!("UPDATE learners SET active = false WHERE external_id = '{ada}'")).await;
        let counts = Counts { in_scope: 12, unchanged: 11, skipped: 1, ..Counts::default() };
        assert_eq!(world.full_cycle().await.counts, counts);
        assert_eq!(world.log(&ada).await.last().unwrap(), "reactivate skipped drift");
        assert_eq!(world.settled().await.counts, counts);
    }
}

#[tokio::test]
async fn a_return_found_by_a_full_comparison_is_not_drift() {
    let (mut world, ada) = world_with_repair("attributes").await;
    world.sim.tenant(|tenant| tenant.unassign(&ada));
    assert_eq!(world.cycle().await.counts.deactivated, 1);
    world.sim.tenant(|tenant| tenant.assign_user(&ada));
    assert_eq!(world.full_cycle().await.counts.reactivated, 1);
    assert_eq!(world.log(&ada).await.last().unwrap(), "reactivate success reassigned");
    world.settled().await;
}

#[tokio::test]
async fn a_learner_activated_by_hand_can_be_deactivated_after_the_user_returns() {
    for noticed in [false, true] {
        let (mut world, ada) = world_with_repair("attributes").await;
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

        // A later deactivation by hand is recognised, and learner-sync can deactivate her again.
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
async fn a_returned_user_who_leaves_at_once_is_deactivated() {
    let (mut world, ada) = world_with_repair("attributes").await;
    world.sim.tenant(|tenant| tenant.unassign(&ada));
    world.cycle().await;
    world.execute(&format!("UPDATE learners SET active = true WHERE external_id = '{ada}'")).await;
    world.sim.tenant(|tenant| tenant.assign_user(&ada));
    assert_eq!(world.cycle().await.counts.updated, 1);
    world.sim.tenant(|tenant| tenant.unassign(&ada));
    assert_eq!(world.cycle().await.counts.deactivated, 1);
    assert_eq!(world.learner(&ada, "active").await, ["0"]);
}
