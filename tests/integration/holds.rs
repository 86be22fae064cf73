//! Too many deactivations are held until an administrator approves them.

use graph_sim::{Fault, Tenant};
use jiff::SignedDuration;
use learner_sync::model::Outcome;
use learner_sync::plan::Counts;

use crate::database::{apply, on_both};
use crate::world::{World, assigned, assigned_group};

/// A world with `count` learners, all assigned directly.
pub(crate) async fn staff(count: usize) -> (World, Vec<String>) {
    let mut tenant = Tenant::default();
    let users = assigned(&mut tenant, count);
    let mut world = World::start(tenant).await;
    assert_eq!(world.cycle().await.counts.created, count as u64);
    (world, users)
}

pub(crate) fn unassign(world: &World, users: &[String]) {
    world.sim.tenant(|tenant| users.iter().for_each(|user| tenant.unassign(user)));
}

pub(crate) fn assign(world: &World, users: &[String]) {
    world.sim.tenant(|tenant| users.iter().for_each(|user| tenant.assign_user(user)));
}

/// `entra_id, action, reason` of each hold.
pub(crate) async fn held(world: &World) -> Vec<Vec<String>> {
    world.query("SELECT entra_id, action, reason FROM sync_held ORDER BY entra_id").await
}

/// The result of [`held`] for these users.
pub(crate) fn held_as(users: &[String], action: &str, reason: &str) -> Vec<Vec<String>> {
    let mut rows: Vec<Vec<String>> =
        users.iter().map(|user| vec![user.clone(), action.to_owned(), reason.to_owned()]).collect();
    rows.sort();
    rows
}

async fn inactive(world: &World) -> String {
    world.value("SELECT count(*) FROM learners WHERE NOT active").await
}

#[apply(on_both)]
async fn a_thousand_leavers_are_held_and_other_changes_continue() {
    let mut tenant = Tenant::default();
    let (group, thousand) = assigned_group(&mut tenant, "Everybody", 1000);
    let direct = assigned(&mut tenant, 200);
    let mut world = World::start(tenant).await;
    assert_eq!(world.cycle().await.counts.created, 1200);

    let newcomer = world.sim.tenant(|tenant| {
        tenant.unassign(&group);
        tenant.user_mut(&direct[0]).job_title = Some("Diver".to_owned());
        assigned(tenant, 1).remove(0)
    });
    let report = world.cycle().await;
    let counts = Counts { in_scope: 201, created: 1, updated: 1, unchanged: 199, held: 1000, ..Counts::default() };
    assert_eq!((report.outcome, report.counts), (Outcome::Held, counts));
    assert_eq!(held(&world).await, held_as(&thousand, "deactivate", "threshold"));
    assert_eq!(world.log(&thousand[0]).await, ["create success assigned", "deactivate held threshold"]);
    assert!(world.last_detail(&thousand[0]).await.contains("unassigned"));
    assert_eq!(world.log(&newcomer).await, ["create success assigned"]);
    assert_eq!(inactive(&world).await, "0");

    let report = world.settled().await;
    assert_eq!((report.outcome, report.counts.held, report.counts.unchanged), (Outcome::Held, 1000, 201));
    assert_eq!(world.value("SELECT count(*) FROM provisioning_log WHERE status = 'held'").await, "1000");
}

#[apply(on_both)]
async fn leavers_are_counted_over_a_day() {
    let (mut world, users) = staff(100).await;
    unassign(&world, &users[..15]);
    assert_eq!(world.cycle().await.counts.deactivated, 15);
    // Alone, these fifteen would be allowed.
    unassign(&world, &users[15..30]);
    let report = world.cycle().await;
    assert_eq!((report.outcome, report.counts.deactivated, report.counts.held), (Outcome::Held, 0, 15));
    assert_eq!(held(&world).await, held_as(&users[15..30], "deactivate", "threshold"));
    world.settled().await;
    // A hold lasts longer than the day.
    world.pass(SignedDuration::from_hours(25));
    assert_eq!(world.settled().await.counts.held, 15);
}

#[tokio::test]
async fn reactivated_learners_and_earlier_days_do_not_count() {
    let (mut world, users) = staff(100).await;
    unassign(&world, &users[..15]);
    assert_eq!(world.cycle().await.counts.deactivated, 15);
    assign(&world, &users[..15]);
    assert_eq!(world.cycle().await.counts.reactivated, 15);
    unassign(&world, &users[15..30]);
    assert_eq!(world.cycle().await.counts.deactivated, 15);
    world.pass(SignedDuration::from_hours(25));
    unassign(&world, &users[30..45]);
    let report = world.cycle().await;
    assert_eq!((report.outcome, report.counts.deactivated), (Outcome::Success, 15));
    world.settled().await;
}

/// `leave` of `of` learners leave: either all of them are deactivated, or all are held.
async fn check(of: usize, leave: usize, safety: &str, held_back: bool) {
    let (mut world, users) = staff(of).await;
    world.configure(&format!("[safety]\n{safety}"));
    unassign(&world, &users[..leave]);
    let report = world.cycle().await;
    let leave = leave as u64;
    let (gone, held) = if held_back { (0, leave) } else { (leave, 0) };
    assert_eq!((report.counts.deactivated, report.counts.held), (gone, held), "{leave} of {of}, {safety}");
    assert_eq!(report.outcome, if held_back { Outcome::Held } else { Outcome::Success });
    world.settled().await;
}

#[tokio::test]
async fn ten_deactivations_never_exceed_the_percentage_and_eleven_can() {
    check(20, 10, "", false).await;
    check(20, 11, "", true).await;
}

#[tokio::test]
async fn exactly_the_percentage_is_allowed() {
    check(60, 12, "", false).await;
    check(60, 13, "", true).await;
    check(60, 13, "max_deactivation_percent = 22", false).await;
    check(20, 19, "max_deactivation_percent = 100", false).await;
}

#[tokio::test]
async fn exactly_the_number_is_allowed_and_zero_allows_none() {
    check(60, 5, "max_deactivations = 5", false).await;
    check(60, 6, "max_deactivations = 5", true).await;
    check(5, 1, "max_deactivations = 0", true).await;
}

#[tokio::test]
async fn disabled_and_deleted_accounts_count() {
    let (mut world, users) = staff(20).await;
    world.sim.tenant(|tenant| {
        users[..6].iter().for_each(|user| tenant.user_mut(user).account_enabled = Some(false));
        users[6..11].iter().for_each(|user| tenant.delete_user(user));
    });
    let report = world.cycle().await;
    assert_eq!((report.outcome, report.counts.held, report.counts.deactivated), (Outcome::Held, 11, 0));
    assert_eq!(held(&world).await, held_as(&users[..11], "deactivate", "threshold"));
    world.settled().await;
    world.approve().await;
    assert_eq!(world.cycle().await.counts.deactivated, 11);
    assert_eq!(world.log(&users[0]).await.last().unwrap(), "deactivate success account-disabled");
    assert_eq!(world.log(&users[10]).await.last().unwrap(), "deactivate success account-deleted");
    world.settled().await;
}

#[tokio::test]
async fn a_mapping_that_deactivates_all_learners_is_held() {
    let (mut world, users) = staff(20).await;
    world.configure(
        "[mapping]\nuserName = \"[userPrincipalName]\"\n'emails[type eq \"work\"].value' = \"[mail]\"\nactive = '\"False\"'",
    );
    let report = world.cycle().await;
    let counts = Counts { in_scope: 20, held: 20, ..Counts::default() };
    assert_eq!((report.outcome, report.counts), (Outcome::Held, counts));
    assert_eq!(held(&world).await, held_as(&users, "deactivate", "threshold"));
    assert!(world.last_detail(&users[0]).await.contains("mapped-inactive"));
    world.settled().await;
    // The mapping is corrected, and the holds end.
    world.configure("");
    let report = world.cycle().await;
    assert_eq!((report.outcome, report.counts.unchanged, report.counts.held), (Outcome::Success, 20, 0));
    world.settled().await;
}

#[tokio::test]
async fn a_hold_survives_later_cycles_a_lost_cache_and_a_partial_return() {
    let (mut world, users) = staff(20).await;
    unassign(&world, &users[..12]);
    assert_eq!(world.cycle().await.counts.held, 12);
    world.settled().await;
    std::fs::remove_dir_all(world.path("state/cache")).unwrap();
    world.settled().await;

    // Seven are assigned again. The other five stay held, although five new leavers would be allowed.
    assign(&world, &users[..7]);
    let report = world.cycle().await;
    assert_eq!((report.outcome, report.counts.held, report.counts.unchanged), (Outcome::Held, 5, 15));
    assert_eq!(held(&world).await, held_as(&users[7..12], "deactivate", "threshold"));
    assert_eq!(
        world.log(&users[0]).await,
        ["create success assigned", "deactivate held threshold", "deactivate held threshold ended"]
    );
    world.settled().await;

    assert_eq!(world.approve().await, 5);
    let report = world.cycle().await;
    assert_eq!((report.outcome, report.counts.deactivated, report.counts.held), (Outcome::Success, 5, 0));
    assert_eq!(inactive(&world).await, "5");
    world.settled().await;
}

#[tokio::test]
async fn a_new_leaver_is_held_while_others_are_held() {
    let (mut world, users) = staff(20).await;
    unassign(&world, &users[..11]);
    assert_eq!(world.cycle().await.counts.held, 11);
    unassign(&world, &users[11..12]);
    let report = world.cycle().await;
    assert_eq!((report.counts.held, report.counts.deactivated), (12, 0));
    assert_eq!(world.log(&users[11]).await, ["create success assigned", "deactivate held threshold"]);
    world.settled().await;
}

#[tokio::test]
async fn an_approval_releases_exactly_the_users_shown() {
    let (mut world, users) = staff(60).await;
    unassign(&world, &users[..13]);
    assert_eq!(world.cycle().await.counts.held, 13);
    assert_eq!(world.approve().await, 13);
    unassign(&world, &users[13..26]);
    let report = world.cycle().await;
    assert_eq!((report.outcome, report.counts.deactivated, report.counts.held), (Outcome::Held, 13, 13));
    assert_eq!(held(&world).await, held_as(&users[13..26], "deactivate", "threshold"));
    assert_eq!(
        world.log(&users[0]).await,
        [
            "create success assigned",
            "deactivate held threshold",
            "deactivate held threshold ended",
            "deactivate success unassigned"
        ]
    );
    assert!(world.last_detail(&users[0]).await.starts_with("approved by tests"));
    world.settled().await;
}

#[tokio::test]
async fn approved_deactivations_do_not_count() {
    let (mut world, users) = staff(30).await;
    unassign(&world, &users[..11]);
    assert_eq!(world.cycle().await.counts.held, 11);
    world.approve().await;
    assert_eq!(world.cycle().await.counts.deactivated, 11);
    unassign(&world, &users[11..21]);
    assert_eq!(world.cycle().await.counts.deactivated, 10);
    world.settled().await;
}

#[apply(on_both)]
async fn an_approval_is_spent_once() {
    let (mut world, users) = staff(20).await;
    unassign(&world, &users[..11]);
    assert_eq!(world.cycle().await.counts.held, 11);
    world.approve().await;
    assert_eq!(world.cycle().await.counts.deactivated, 11);
    assign(&world, &users[..11]);
    assert_eq!(world.cycle().await.counts.reactivated, 11);
    unassign(&world, &users[..11]);
    let report = world.cycle().await;
    assert_eq!((report.counts.held, report.counts.deactivated), (11, 0));
    world.settled().await;
}

#[tokio::test]
async fn an_approval_is_void_after_the_user_was_assigned_again() {
    let (mut world, users) = staff(20).await;
    unassign(&world, &users[..11]);
    assert_eq!(world.cycle().await.counts.held, 11);
    world.approve().await;
    assign(&world, &users[..11]);
    let report = world.cycle().await;
    assert_eq!((report.outcome, report.counts.held), (Outcome::Success, 0));
    unassign(&world, &users[..11]);
    let report = world.cycle().await;
    assert_eq!((report.counts.held, report.counts.deactivated), (11, 0));
    world.settled().await;
}

#[apply(on_both)]
async fn an_approval_expires_after_a_day() {
    let (mut world, users) = staff(20).await;
    unassign(&world, &users[..11]);
    assert_eq!(world.cycle().await.counts.held, 11);
    world.approve().await;
    world.pass(SignedDuration::from_mins(24 * 60 + 6));
    let report = world.cycle().await;
    assert_eq!((report.outcome, report.counts.held, report.counts.deactivated), (Outcome::Held, 11, 0));
    world.settled().await;
    world.approve().await;
    world.pass(SignedDuration::from_hours(23));
    assert_eq!(world.cycle().await.counts.deactivated, 11);
    world.settled().await;
}

#[tokio::test]
async fn an_approval_survives_a_failed_cycle() {
    let (mut world, users) = staff(20).await;
    unassign(&world, &users[..11]);
    world.cycle().await;
    world.approve().await;
    // The second reading of the assignments.
    let assignments = "/v1.0/servicePrincipals/{id}/appRoleAssignedTo";
    world.sim.inject(Fault::on("GET", assignments).nth(2).answer(400));
    assert_eq!(world.cycle().await.outcome, Outcome::Failed);
    assert_eq!(inactive(&world).await, "0");
    assert_eq!(world.cycle().await.counts.deactivated, 11);
    world.settled().await;
}
