//! `approve`, `pause` and `resume`.

use serde_json::json;

use crate::database::{apply, on_both};
use crate::program::users;
use crate::world::World;

/// A world in which twelve of fifteen users are held.
pub(super) async fn world_with_held() -> (World, Vec<String>) {
    let (tenant, ids) = users(15);
    let world = World::start(tenant).await;
    world.run_program(&["sync"], 0);
    world.sim.tenant(|tenant| ids[..12].iter().for_each(|id| tenant.unassign(id)));
    world.run_program(&["sync"], 3);
    (world, ids)
}

async fn approved(world: &World) -> String {
    world.value("SELECT count(*) FROM sync_held WHERE approved_at IS NOT NULL").await
}

#[tokio::test]
async fn approve_without_a_terminal_shows_the_held_users_and_does_not_ask() {
    let (world, _) = world_with_held().await;
    let ran = world.run_program(&["approve"], 2);
    for number in 0..12 {
        assert!(ran.stdout.contains(&format!("ada.number{number}@harbourworks.example")), "{ran:?}");
    }
    assert!(ran.stderr.contains("--expect"), "{ran:?}");
    world.run_program(&["approve", "--yes"], 2);
    world.run_program(&["approve", "--expect", "12"], 2);
    assert_eq!(approved(&world).await, "0");
}

#[tokio::test]
async fn approve_with_the_wrong_number_releases_nobody() {
    let (world, _) = world_with_held().await;
    for wrong in ["0", "11", "13"] {
        let ran = world.run_program(&["approve", "--yes", "--expect", wrong], 1);
        assert!(ran.stderr.contains("12 users are held"), "{ran:?}");
    }
    assert_eq!(approved(&world).await, "0");
    assert_eq!(world.value("SELECT count(*) FROM audit_log WHERE action = 'approve'").await, "0");
}

#[apply(on_both)]
async fn approve_releases_those_shown_once() {
    let (world, ids) = world_with_held().await;
    let ran = world.run_program(&["approve", "--yes", "--expect", "12"], 0);
    assert!(ran.stdout.contains("Released 12 users"), "{ran:?}");
    assert_eq!(approved(&world).await, "12");
    assert_eq!(world.value("SELECT count(*) FROM audit_log WHERE action = 'approve'").await, "1");
    // A second approval releases nobody.
    let ran = world.run_program(&["approve", "--yes", "--expect", "12"], 1);
    assert!(ran.stderr.contains("0 users are held"), "{ran:?}");

    let document = world.run_program(&["sync", "--json"], 0).json();
    assert_eq!((&document["deactivated"], &document["held"]), (&json!(12), &json!(0)));
    assert_eq!(world.value("SELECT count(*) FROM sync_held").await, "0");
    // The approval is spent: users who return and leave again are held again.
    world.sim.tenant(|tenant| ids[..12].iter().for_each(|id| tenant.assign_user(id)));
    assert_eq!(world.run_program(&["sync", "--json"], 0).json()["reactivated"], json!(12));
    world.sim.tenant(|tenant| ids[..12].iter().for_each(|id| tenant.unassign(id)));
    let document = world.run_program(&["sync", "--json"], 3).json();
    assert_eq!((&document["deactivated"], &document["held"]), (&json!(0), &json!(12)));
}

#[tokio::test]
async fn a_user_held_after_the_approval_stays_held() {
    let (world, ids) = world_with_held().await;
    world.run_program(&["approve", "--yes", "--expect", "12"], 0);
    // The other users leave as well.
    world.sim.tenant(|tenant| ids[12..].iter().for_each(|id| tenant.unassign(id)));
    let document = world.run_program(&["sync", "--json"], 3).json();
    assert_eq!((&document["deactivated"], &document["held"]), (&json!(12), &json!(3)));
}

#[tokio::test]
async fn an_approval_expires_after_a_day() {
    let (world, _) = world_with_held().await;
    world.run_program(&["approve", "--yes", "--expect", "12"], 0);
    let days_ago = learner_sync::model::system_clock() - jiff::SignedDuration::from_hours(48);
    world.execute(&format!("UPDATE sync_held SET approved_at = '{days_ago:.0}'")).await;
    let document = world.run_program(&["sync", "--json"], 3).json();
    assert_eq!((&document["deactivated"], &document["held"]), (&json!(0), &json!(12)));
    // All of them can be approved again.
    world.run_program(&["approve", "--yes", "--expect", "12"], 0);
    assert_eq!(world.run_program(&["sync", "--json"], 0).json()["deactivated"], json!(12));
}

#[tokio::test]
async fn an_approval_that_the_clocks_make_void_is_not_called_a_release() {
    let (world, _) = world_with_held().await;
    world.execute("DELETE FROM sync_held WHERE entra_id > (SELECT min(entra_id) FROM sync_held)").await;
    for finding in ["missing", "differ 3600", "differ -90000"] {
        world
            .execute(&format!("UPDATE sync_held SET approved_at = NULL; UPDATE sync_state SET clock = '{finding}'"))
            .await;
        let ran = world.run_program(&["approve", "--yes", "--expect", "1"], 1);
        assert!(!ran.stdout.contains("Released"), "{ran:?}");
        assert!(ran.stderr.contains("recorded the approval of 1 user, but it has no effect"), "{ran:?}");
    }
    // The next cycle accepts a date before the last cycle if the clocks agree.
    for finding in ["agree", "differ -3600", "before-last-cycle"] {
        world
            .execute(&format!("UPDATE sync_held SET approved_at = NULL; UPDATE sync_state SET clock = '{finding}'"))
            .await;
        let ran = world.run_program(&["approve", "--yes", "--expect", "1"], 0);
        assert!(ran.stdout.contains("Released 1 user for 24 hours"), "{ran:?}");
        assert_eq!(ran.stdout.contains("Warning: "), finding != "agree", "{ran:?}");
        assert!(world.run_program(&["approve"], 0).stdout.contains("1 user is already approved"), "{ran:?}");
    }
}

#[tokio::test]
async fn approve_without_held_users_reports_it() {
    let world = World::start(users(1).0).await;
    world.run_program(&["sync"], 0);
    assert!(world.run_program(&["approve"], 0).stdout.contains("No users are held"));
    world.run_program(&["approve", "--yes", "--expect", "0"], 0);
}

#[apply(on_both)]
async fn another_application_is_refused_until_it_is_admitted() {
    let (mut tenant, ids) = users(2);
    let other = tenant.add_application("Another platform");
    tenant.assign_user_to(&other, &ids[0]);
    let (tenant_id, application) = (tenant.tenant_id.clone(), tenant.application.object_id.clone());
    let world = World::start(tenant).await;
    world.run_program(&["sync"], 0);
    let as_other = [("LEARNER_SYNC_APP__ENTERPRISE_APP", &*other)];
    let ran = world.run_program_with(&as_other, &["sync"], 1);
    let kept = format!("belongs to application {application} in tenant {tenant_id}");
    assert!(ran.stderr.contains(&kept) && ran.stderr.contains("approve --source"), "{ran:?}");
    assert_eq!(world.cycles().await, ["command success", "command failed"]);

    let ran = world.run_program_with(&as_other, &["approve", "--source"], 2);
    assert!(ran.stdout.contains(&application), "{ran:?}");
    world.run_program_with(&as_other, &["sync"], 1);
    world.run_program_with(&as_other, &["approve", "--source", "--yes"], 0);
    world.run_program_with(&as_other, &["sync"], 3);
    // The users of the first application stay unchanged.
    assert_eq!(world.value("SELECT count(*) FROM learners WHERE active").await, "2");
}

#[apply(on_both)]
async fn paused_provisioning_refuses_cycles_unless_forced() {
    let world = World::start(users(2).0).await;
    world.run_program(&["pause"], 0);
    world.run_program(&["pause"], 0);
    let ran = world.run_program(&["sync"], 1);
    assert!(ran.stderr.contains("paused") && ran.stderr.contains("--force"), "{ran:?}");
    let document = world.run_program(&["sync", "--json"], 1).json();
    assert_eq!(document["outcome"], json!("failed"));
    assert!(document["error"].as_str().unwrap().contains("paused"), "{document}");
    assert_eq!(world.cycles().await, [""; 0]);
    let status = world.run_program(&["status", "--json"], 0).json();
    assert_eq!((&status["state"], &status["paused"]), (&json!("never-run"), &json!(true)));
    // Read-only commands work.
    world.run_program(&["plan"], 0);
    world.run_program(&["sync", "--force"], 0);
    assert_eq!(world.cycles().await, ["command success"]);
    let status = world.run_program(&["status", "--json", "--exit-code"], 3).json();
    assert_eq!((&status["state"], &status["paused"]), (&json!("paused"), &json!(true)));
    assert!(status["since"].is_string(), "{status}");
    world.run_program(&["sync"], 1);
    world.run_program(&["resume"], 0);
    world.run_program(&["sync"], 0);
    let audit: Vec<_> = world.query("SELECT action FROM audit_log ORDER BY id").await.into_iter().flatten().collect();
    let switched: Vec<_> = audit.iter().filter(|action| matches!(action.as_str(), "pause" | "resume")).collect();
    assert_eq!(switched, ["pause", "resume"]);
}

#[apply(on_both)]
async fn manual_runs_are_in_the_audit_log() {
    let world = World::start(users(2).0).await;
    world.run_program(&["sync"], 0);
    let audit = world.query("SELECT actor, action FROM audit_log").await;
    assert_eq!(audit.len(), 1, "{audit:?}");
    assert_eq!(audit[0][1], "sync");
    assert!(!audit[0][0].is_empty());
    // Plans and refused commands are not manual runs.
    world.run_program(&["plan"], 0);
    world.run_program(&["sync", "--dry-run"], 0);
    world.run_program(&["pause"], 0);
    world.run_program(&["sync"], 1);
    let audit: Vec<_> = world.query("SELECT action FROM audit_log ORDER BY id").await.into_iter().flatten().collect();
    assert_eq!(audit, ["sync", "pause"]);
    world.run_program_with(&[("SUDO_USER", "grace")], &["resume"], 0);
    let actor = world.value("SELECT actor FROM audit_log WHERE action = 'resume'").await;
    assert!(actor.starts_with("grace (as "), "{actor}");
}
