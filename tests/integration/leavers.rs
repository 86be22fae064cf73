//! Learners whose users leave: only on evidence, and each with its own reason.

use graph_sim::{Fault, Tenant, User};
use jiff::SignedDuration;
use learner_sync::model::Outcome;
use learner_sync::plan::Counts;
use serde_json::json;

use crate::database::{apply, on_both};
use crate::world::{World, add_users, assigned, assigned_group};

const MEMBERS: &str = "/v1.0/groups/{id}/members";
const USER: &str = "/v1.0/users/{id}";
const DELETED: &str = "/v1.0/directory/deletedItems/{id}";

/// A world with sixteen learners: eight members of a group and eight users who are assigned directly.
async fn world_of_sixteen() -> (World, String, Vec<String>, Vec<String>) {
    let mut tenant = Tenant::default();
    let (group, members) = assigned_group(&mut tenant, "Staff", 8);
    let direct = assigned(&mut tenant, 8);
    let mut world = World::start(tenant).await;
    assert_eq!(world.cycle().await.counts.created, 16);
    (world, group, members, direct)
}

/// The cycle at `at` deactivated exactly these users, for these reasons.
async fn assert_deactivated(world: &World, at: &str, expected: &[(&String, &str)]) {
    let mut expected: Vec<Vec<String>> = expected
        .iter()
        .map(|(user, reason)| vec![(*user).clone(), "deactivate".to_owned(), (*reason).to_owned()])
        .collect();
    expected.sort();
    let sql = format!("SELECT entra_id, action, reason FROM provisioning_log WHERE at = '{at}' ORDER BY entra_id");
    assert_eq!(world.query(&sql).await, expected);
    let sql =
        format!("SELECT external_id FROM learners WHERE NOT active AND deactivated_at = '{at}' ORDER BY external_id");
    assert_eq!(world.query(&sql).await.concat(), expected.iter().map(|row| row[0].clone()).collect::<Vec<_>>());
}

#[apply(on_both)]
async fn each_way_to_leave_has_its_own_reason() {
    let (mut world, group, members, direct) = world_of_sixteen().await;
    world.sim.tenant(|tenant| {
        tenant.user_mut(&members[0]).account_enabled = Some(false);
        tenant.user_mut(&direct[0]).account_enabled = Some(false);
        tenant.remove_member(&group, &members[1]);
        tenant.unassign(&direct[1]);
        tenant.delete_user(&members[2]);
        tenant.delete_user(&direct[2]);
        tenant.purge_user(&members[3]);
        tenant.purge_user(&direct[3]);
        // Unassigned and disabled: the account itself has the reason.
        tenant.unassign(&direct[4]);
        tenant.user_mut(&direct[4]).account_enabled = Some(false);
    });
    let report = world.cycle().await;
    let counts = Counts { in_scope: 7, deactivated: 9, unchanged: 7, ..Counts::default() };
    assert_eq!((report.outcome, report.counts), (Outcome::Success, counts));
    let expected = [
        (&members[0], "account-disabled"),
        (&direct[0], "account-disabled"),
        (&members[1], "unassigned"),
        (&direct[1], "unassigned"),
        (&members[2], "account-deleted"),
        (&direct[2], "account-deleted"),
        (&members[3], "account-deleted"),
        (&direct[3], "account-deleted"),
        (&direct[4], "account-disabled"),
    ];
    assert_deactivated(&world, "2026-03-02T08:30:00Z", &expected).await;
    world.settled().await;
    std::fs::remove_dir_all(world.path("state/cache")).unwrap();
    world.settled().await;
}

#[tokio::test]
async fn a_deactivation_changes_nothing_but_active() {
    let (mut world, _, members, _) = world_of_sixteen().await;
    world.sim.tenant(|tenant| {
        let user = tenant.user_mut(&members[0]);
        user.account_enabled = Some(false);
        user.department = Some("Elsewhere".to_owned());
    });
    assert_eq!(world.cycle().await.counts.deactivated, 1);
    assert_eq!(world.learner(&members[0], "department, active").await, ["Research", "0"]);
    assert_eq!(world.last_changes(&members[0]).await, json!([{"attribute": "active", "old": true, "new": false}]));
    world.settled().await;
}

#[tokio::test]
async fn a_disabled_user_without_a_learner_is_skipped_and_not_logged() {
    let mut tenant = Tenant::default();
    let ada = tenant.add_user(User::named("Ada", "Lovelace").disabled());
    tenant.assign_user(&ada);
    let mut world = World::start(tenant).await;
    let report = world.cycle().await;
    assert_eq!((report.outcome, report.counts), (Outcome::Success, Counts { skipped: 1, ..Counts::default() }));
    assert_eq!(world.log(&ada).await, Vec::<String>::new());
    world.settled().await;
}

#[apply(on_both)]
async fn a_missing_account_is_deactivated_after_min_interval() {
    let (mut world, _, _, direct) = world_of_sixteen().await;
    let lost = &direct[0];
    world.sim.tenant(|tenant| tenant.vanish_user(lost));
    let waiting = Counts { in_scope: 15, unchanged: 15, skipped: 1, ..Counts::default() };
    let report = world.cycle().await;
    assert_eq!((report.outcome, report.counts), (Outcome::Success, waiting));
    assert_eq!(world.query("SELECT entra_id, reason FROM sync_failures").await, [[lost.as_str(), "waiting"]]);

    // Ten minutes are too short, thirty are long enough.
    world.pass(SignedDuration::from_mins(-20));
    assert_eq!(world.settled().await.counts, waiting);
    assert_eq!(world.log(lost).await, ["create success assigned"]);
    let report = world.cycle().await;
    assert_eq!(report.counts, Counts { in_scope: 15, unchanged: 15, deactivated: 1, ..Counts::default() });
    assert_eq!(world.log(lost).await, ["create success assigned", "deactivate success account-deleted"]);
    assert_eq!(world.value("SELECT count(*) FROM sync_failures").await, "0");
    world.settled().await;
}

#[tokio::test]
async fn a_wait_ends_when_the_account_is_back() {
    let (mut world, _, _, direct) = world_of_sixteen().await;
    world.sim.inject(Fault::missing_user(&direct[0]));
    assert_eq!(world.cycle().await.counts.skipped, 1);
    world.sim.clear_faults();
    assert_eq!(world.cycle().await.counts, Counts { in_scope: 16, unchanged: 16, ..Counts::default() });
    assert_eq!(world.value("SELECT count(*) FROM sync_failures").await, "0");
    // The earlier wait does not count.
    world.sim.inject(Fault::missing_user(&direct[0]));
    assert_eq!(world.cycle().await.counts.skipped, 1);
    assert_eq!(world.log(&direct[0]).await, ["create success assigned"]);
}

#[tokio::test]
async fn a_failed_cycle_does_not_confirm_a_missing_account() {
    let (mut world, _, _, direct) = world_of_sixteen().await;
    world.sim.tenant(|tenant| tenant.vanish_user(&direct[0]));
    world.cycle().await;
    world.sim.inject(Fault::on("GET", MEMBERS).answer(403));
    assert_eq!(world.cycle().await.outcome, Outcome::Failed);
    assert_eq!(world.log(&direct[0]).await, ["create success assigned"]);
    assert_eq!(world.cycle().await.counts.deactivated, 1);
    world.settled().await;
}

#[tokio::test]
async fn a_stale_read_that_the_confirmation_contradicts_changes_nothing() {
    let (mut world, _, members, direct) = world_of_sixteen().await;
    let unchanged = Counts { in_scope: 15, unchanged: 16, ..Counts::default() };
    world.sim.inject(Fault::on("GET", MEMBERS).hide_row(&members[0]));
    assert_eq!(world.settled().await.counts.unchanged, unchanged.unchanged);
    // The account is missing from the batch and from the first direct read.
    world.sim.inject(Fault::on("GET", "/v1.0/users").hide_row(&direct[0]));
    world.sim.inject(Fault::on("GET", USER).hide_row(&direct[0]));
    let report = world.settled().await;
    assert_eq!(report.outcome, Outcome::Success);
    assert_eq!(world.value("SELECT count(*) FROM learners WHERE NOT active").await, "0");

    // A list is empty once.
    world.sim.inject(Fault::on("GET", MEMBERS).empty_list());
    assert_eq!(world.settled().await.outcome, Outcome::Success);
    world.sim.inject(Fault::on("GET", "/v1.0/servicePrincipals/{id}/appRoleAssignedTo").empty_list());
    assert_eq!(world.settled().await.outcome, Outcome::Success);
}

#[apply(on_both)]
async fn a_returning_user_reactivates_the_learner_with_all_changes_in_one_row() {
    let (mut world, _, _, direct) = world_of_sixteen().await;
    let user = &direct[0];
    let id = world.learner(user, "id").await;
    world.sim.tenant(|tenant| tenant.unassign(user));
    assert_eq!(world.cycle().await.counts.deactivated, 1);
    assert_eq!(world.learner(user, "active, deactivated_at").await, ["0", "2026-03-02T08:30:00Z"]);
    world.settled().await;

    world.sim.tenant(|tenant| {
        tenant.assign_user(user);
        tenant.user_mut(user).job_title = Some("Diver".to_owned());
    });
    let report = world.cycle().await;
    assert_eq!(report.counts, Counts { in_scope: 16, reactivated: 1, unchanged: 15, ..Counts::default() });
    assert_eq!(
        world.log(user).await,
        ["create success assigned", "deactivate success unassigned", "reactivate success reassigned"]
    );
    assert_eq!(
        world.last_changes(user).await,
        json!([{"attribute": "title", "old": null, "new": "Diver"}, {"attribute": "active", "old": false, "new": true}])
    );
    assert_eq!(world.learner(user, "id").await, id);
    assert_eq!(world.learner(user, "active, title, deactivated_at").await, ["1", "Diver", "NULL"]);
    world.settled().await;
}

#[tokio::test]
async fn a_reenabled_account_is_reactivated() {
    let (mut world, _, members, _) = world_of_sixteen().await;
    world.sim.tenant(|tenant| tenant.user_mut(&members[0]).account_enabled = Some(false));
    assert_eq!(world.cycle().await.counts.deactivated, 1);
    world.sim.tenant(|tenant| tenant.user_mut(&members[0]).account_enabled = Some(true));
    assert_eq!(world.cycle().await.counts.reactivated, 1);
    assert_eq!(world.log(&members[0]).await.last().unwrap(), "reactivate success reassigned");
    world.settled().await;
}

#[tokio::test]
async fn a_failed_confirmation_ends_the_cycle() {
    let faults: [fn() -> Fault; 6] = [
        || Fault::on("POST", "/v1.0/$batch").nth(2).answer(400),
        || Fault::on("POST", "/v1.0/$batch").nth(2).body("{}"),
        || Fault::on("POST", "/v1.0/$batch").nth(2).missing_part(1),
        || Fault::on("GET", MEMBERS).nth(2).answer(400),
        || Fault::on("GET", MEMBERS).nth(2).answer(403),
        || Fault::on("GET", "/v1.0/servicePrincipals/{id}/appRoleAssignedTo").nth(2).answer(400),
    ];
    let (mut world, group, members, _) = world_of_sixteen().await;
    world.sim.tenant(|tenant| {
        tenant.remove_member(&group, &members[0]);
        let newcomer = add_users(tenant, 1).remove(0);
        tenant.add_member(&group, &newcomer);
    });
    let before = world.lasting().await;
    for fault in faults {
        world.sim.inject(fault());
        let report = world.cycle().await;
        assert_eq!((report.outcome, report.counts), (Outcome::Failed, Counts::default()));
        world.unchanged_since(&before).await;
        world.sim.clear_faults();
    }
    let report = world.cycle().await;
    assert_eq!((report.counts.created, report.counts.deactivated), (1, 1));
    world.settled().await;
}

#[tokio::test]
async fn a_leaver_with_an_unreadable_account_is_held_until_it_is_readable() {
    let faults: [fn() -> Fault; 3] = [
        || Fault::on("GET", USER).always().answer(403),
        || Fault::on("GET", USER).always().null_rows(),
        || Fault::on("GET", USER).always().drop_key("accountEnabled"),
    ];
    for fault in faults {
        let (mut world, group, members, _) = world_of_sixteen().await;
        world.sim.tenant(|tenant| {
            tenant.remove_member(&group, &members[0]);
            let newcomer = add_users(tenant, 1).remove(0);
            tenant.add_member(&group, &newcomer);
        });
        world.sim.inject(fault());
        let report = world.cycle().await;
        let counts = Counts { in_scope: 16, created: 1, unchanged: 15, held: 1, ..Counts::default() };
        assert_eq!((report.outcome, report.counts), (Outcome::Held, counts));
        assert_eq!(world.log(&members[0]).await, ["create success assigned", "deactivate held unreadable"]);
        assert_eq!(
            world.query("SELECT entra_id, action, reason, since, approved_at FROM sync_held").await,
            [[members[0].as_str(), "deactivate", "unreadable", "2026-03-02T08:30:00Z", "NULL"]]
        );
        assert_eq!(world.settled().await.outcome, Outcome::Held);
        // An approval does not replace the evidence.
        world.approve().await;
        assert_eq!(world.cycle().await.counts.deactivated, 0);

        world.sim.clear_faults();
        let report = world.cycle().await;
        assert_eq!((report.outcome, report.counts.deactivated, report.counts.held), (Outcome::Success, 1, 0));
        assert_eq!(world.log(&members[0]).await.last().unwrap(), "deactivate success unassigned");
        assert_eq!(world.value("SELECT count(*) FROM sync_held").await, "0");
        world.settled().await;
    }
}

#[tokio::test]
async fn forbidden_deleted_items_hold_the_leaver() {
    let (mut world, _, members, _) = world_of_sixteen().await;
    world.sim.tenant(|tenant| tenant.delete_user(&members[0]));
    world.sim.inject(Fault::on("GET", DELETED).times(2).answer(403));
    let report = world.cycle().await;
    assert_eq!((report.outcome, report.counts.held), (Outcome::Held, 1));
    assert_eq!(world.log(&members[0]).await.last().unwrap(), "deactivate held unreadable");
    world.settled().await;
    assert_eq!(world.cycle().await.counts.deactivated, 1);
    assert_eq!(world.log(&members[0]).await.last().unwrap(), "deactivate success account-deleted");
    world.settled().await;
}

#[tokio::test]
async fn unexpected_answers_of_deleted_items_deactivate_nobody() {
    let (mut world, _, members, direct) = world_of_sixteen().await;
    // Still assigned, but missing: the deleted items alone would deactivate the learner at once.
    world.sim.tenant(|tenant| tenant.vanish_user(&direct[0]));
    let other = format!("{{\"id\":\"{}\"}}", members[0]);
    for body in ["<html>Please log in</html>", "{}", &other] {
        world.sim.inject(Fault::on("GET", DELETED).body(body));
        assert_eq!(world.cycle().await.counts.held, 1, "{body}");
        assert_eq!(world.log(&direct[0]).await.last().unwrap(), "deactivate held unreadable", "{body}");
    }
    assert_eq!(world.cycle().await.counts.skipped, 1);
    assert_eq!(world.learner(&direct[0], "active").await, ["1"]);
}

#[tokio::test]
async fn a_hold_for_an_unreadable_account_ends_when_the_user_is_back() {
    let (mut world, group, members, _) = world_of_sixteen().await;
    world.sim.tenant(|tenant| tenant.remove_member(&group, &members[0]));
    world.sim.inject(Fault::on("GET", USER).always().answer(403));
    assert_eq!(world.cycle().await.counts.held, 1);
    world.sim.tenant(|tenant| tenant.add_member(&group, &members[0]));
    let report = world.cycle().await;
    assert_eq!((report.outcome, report.counts.held, report.counts.unchanged), (Outcome::Success, 0, 16));
    assert_eq!(world.value("SELECT count(*) FROM sync_held").await, "0");
    world.settled().await;
}

/// A mapping with this rule for `active`.
fn active(rule: &str) -> String {
    format!(
        "[mapping]\nuserName = \"[userPrincipalName]\"\n'emails[type eq \"work\"].value' = \"[mail]\"\nactive = '''{rule}'''\n"
    )
}

#[tokio::test]
async fn a_constant_true_keeps_no_missing_or_disabled_user_active() {
    let mut tenant = Tenant::default();
    let (group, members) = assigned_group(&mut tenant, "Staff", 8);
    let disabled = tenant.add_user(User::named("Ada", "Lovelace").disabled());
    tenant.assign_user(&disabled);
    let mut world = World::start(tenant).await;
    world.configure(&active("\"True\""));
    assert_eq!(world.cycle().await.counts, Counts { in_scope: 8, created: 8, skipped: 1, ..Counts::default() });
    world.sim.tenant(|tenant| {
        tenant.user_mut(&members[0]).account_enabled = Some(false);
        tenant.remove_member(&group, &members[1]);
        tenant.delete_user(&members[2]);
    });
    assert_eq!(world.cycle().await.counts.deactivated, 3);
    let reasons = [(&members[0], "account-disabled"), (&members[1], "unassigned"), (&members[2], "account-deleted")];
    assert_deactivated(&world, "2026-03-02T08:30:00Z", &reasons).await;
    world.settled().await;
}

#[tokio::test]
async fn a_rule_for_active_deactivates_and_reactivates() {
    let mut tenant = Tenant::default();
    let users = assigned(&mut tenant, 8);
    let mut world = World::start(tenant).await;
    world.configure(&active("Switch([department], \"True\", \"Garden leave\", \"False\")"));
    assert_eq!(world.cycle().await.counts.created, 8);
    world.sim.tenant(|tenant| tenant.user_mut(&users[0]).department = Some("Garden leave".to_owned()));
    let report = world.cycle().await;
    assert_eq!(report.counts, Counts { in_scope: 8, deactivated: 1, unchanged: 7, ..Counts::default() });
    assert_deactivated(&world, "2026-03-02T08:30:00Z", &[(&users[0], "mapped-inactive")]).await;
    world.settled().await;

    world.sim.tenant(|tenant| tenant.user_mut(&users[0]).department = Some("Research".to_owned()));
    assert_eq!(world.cycle().await.counts.reactivated, 1);
    assert_eq!(world.log(&users[0]).await.last().unwrap(), "reactivate success reassigned");
    world.settled().await;
}

#[apply(on_both)]
async fn a_rejected_learner_is_neither_desired_nor_gone() {
    let (mut world, _, members, _) = world_of_sixteen().await;
    world.sim.tenant(|tenant| tenant.user_mut(&members[0]).mail = None);
    for _ in 0..3 {
        assert_eq!(world.cycle().await.counts.deactivated, 0);
    }
    assert_eq!(world.learner(&members[0], "active").await, ["1"]);
    // A rejected inactive learner stays inactive.
    world.sim.tenant(|tenant| tenant.user_mut(&members[0]).account_enabled = Some(false));
    assert_eq!(world.cycle().await.counts.deactivated, 1);
    world.sim.tenant(|tenant| tenant.user_mut(&members[0]).account_enabled = Some(true));
    let report = world.cycle().await;
    assert_eq!((report.counts.skipped, report.counts.reactivated), (1, 0));
    assert_eq!(world.log(&members[0]).await.last().unwrap(), "reactivate skipped missing-required");
    world.settled().await;
}

#[tokio::test]
async fn a_restored_account_reactivates_the_same_learner() {
    let (mut world, _, members, direct) = world_of_sixteen().await;
    let both = [members[0].clone(), direct[0].clone()];
    world.sim.tenant(|tenant| both.iter().for_each(|user| tenant.delete_user(user)));
    assert_eq!(world.cycle().await.counts.deactivated, 2);
    world.settled().await;
    world.sim.tenant(|tenant| both.iter().for_each(|user| tenant.restore_user(user)));
    assert_eq!(world.cycle().await.counts.reactivated, 2);
    for user in &both {
        assert_eq!(world.log(user).await[1..], ["deactivate success account-deleted", "reactivate success reassigned"]);
    }
    assert_eq!(world.value("SELECT count(*) FROM learners").await, "16");
    world.settled().await;
}

#[tokio::test]
async fn a_change_of_the_assignment_route_changes_only_the_link() {
    let (mut world, group, members, direct) = world_of_sixteen().await;
    world.sim.tenant(|tenant| {
        tenant.remove_member(&group, &members[0]);
        tenant.assign_user(&members[0]);
        tenant.unassign(&direct[0]);
        tenant.add_member(&group, &direct[0]);
    });
    assert_eq!(world.cycle().await.counts, Counts { in_scope: 16, unchanged: 16, ..Counts::default() });
    let via = |user: &str| format!("SELECT via FROM sync_links WHERE entra_id = '{user}'");
    assert_eq!(world.value(&via(&members[0])).await, "[\"direct\"]");
    assert_eq!(world.value(&via(&direct[0])).await, format!("[\"{group}\"]"));
    assert_eq!(world.value("SELECT count(*) FROM provisioning_log").await, "16");
    world.settled().await;
}

#[tokio::test]
async fn an_inactive_learner_keeps_its_last_routes_with_and_without_the_cache() {
    let (mut world, group, members, _) = world_of_sixteen().await;
    let via = format!("SELECT via FROM sync_links WHERE entra_id = '{}'", members[0]);
    world.sim.tenant(|tenant| tenant.assign_user(&members[0]));
    world.cycle().await;
    let both = world.value(&via).await;
    assert!(both.contains(&group) && both.contains("direct"), "{both}");
    // In the same cycle in which one route ends, so that the cache learns both at once.
    world.sim.tenant(|tenant| {
        tenant.remove_member(&group, &members[0]);
        tenant.user_mut(&members[0]).account_enabled = Some(false);
    });
    assert_eq!(world.cycle().await.counts.deactivated, 1);
    assert_eq!(world.value(&via).await, "[\"direct\"]");
    world.sim.tenant(|tenant| tenant.add_member(&group, &members[0]));
    world.cycle().await;
    assert_eq!(world.value(&via).await, both);
    world.settled().await;
}

#[tokio::test]
async fn one_unreadable_leaver_does_not_stop_the_others() {
    let (mut world, group, members, direct) = world_of_sixteen().await;
    world.sim.tenant(|tenant| {
        tenant.remove_member(&group, &members[0]);
        tenant.unassign(&direct[0]);
    });
    world.sim.inject(Fault::on("GET", &format!("/v1.0/users/{}", members[0])).always().answer(403));
    let report = world.cycle().await;
    assert_eq!((report.outcome, report.counts.held, report.counts.deactivated), (Outcome::Held, 1, 1));
    assert_eq!(world.log(&direct[0]).await.last().unwrap(), "deactivate success unassigned");
    world.settled().await;
}

#[apply(on_both)]
async fn each_log_row_of_a_learner_names_it() {
    let (mut world, group, members, direct) = world_of_sixteen().await;
    world.sim.tenant(|tenant| {
        tenant.remove_member(&group, &members[0]);
        tenant.remove_member(&group, &members[1]);
        tenant.delete_user(&direct[0]);
        tenant.user_mut(&direct[1]).mail = None;
    });
    world.sim.inject(Fault::on("GET", &format!("/v1.0/users/{}", members[0])).always().answer(403));
    world.sim.inject(Fault::on("GET", MEMBERS).always().null_key("accountEnabled"));
    let report = world.cycle().await;
    assert_eq!(
        (report.counts.held, report.counts.deactivated, report.counts.failed, report.counts.skipped),
        (1, 2, 6, 1)
    );
    let sql = "SELECT count(*) FROM provisioning_log p LEFT JOIN learners r ON r.external_id = p.entra_id
               WHERE p.learner_id IS DISTINCT FROM r.id OR p.user_name IS DISTINCT FROM r.user_name OR p.learner_id IS NULL";
    assert_eq!(world.value(sql).await, "0");
    world.settled().await;
}

#[tokio::test]
async fn protected_users_are_logged_and_stay() {
    let (mut world, _, members, direct) = world_of_sixteen().await;
    let name = world.learner(&direct[0], "user_name").await.concat().to_uppercase();
    world.configure(&format!("[safety]\nprotected = [\"{}\", \"{name}\"]", members[0]));
    world.sim.tenant(|tenant| {
        tenant.delete_user(&members[0]);
        tenant.unassign(&direct[0]);
        tenant.unassign(&direct[1]);
    });
    let report = world.cycle().await;
    assert_eq!((report.counts.deactivated, report.counts.skipped), (1, 2));
    for user in [&members[0], &direct[0]] {
        assert_eq!(world.learner(user, "active").await, ["1"]);
        assert_eq!(world.log(user).await.last().unwrap(), "deactivate skipped protected");
    }
    world.settled().await;
}

#[tokio::test]
async fn deactivate_after_delays_the_deactivation() {
    let (mut world, _, _, direct) = world_of_sixteen().await;
    world.configure("[safety]\ndeactivate_after = \"2h\"");
    world.sim.tenant(|tenant| [0, 1].map(|index| tenant.unassign(&direct[index])));
    for _ in 0..3 {
        let report = world.cycle().await;
        assert_eq!((report.counts.deactivated, report.counts.skipped), (0, 2));
    }
    world.sim.tenant(|tenant| tenant.assign_user(&direct[1]));
    assert_eq!(world.cycle().await.counts.deactivated, 0);
    // Two hours after the user was first missing.
    assert_eq!(world.cycle().await.counts.deactivated, 1);
    assert_eq!(world.learner(&direct[0], "active").await, ["0"]);
    assert_eq!(world.learner(&direct[1], "active").await, ["1"]);
    assert_eq!(world.value("SELECT count(*) FROM sync_failures").await, "0");
    world.settled().await;
}
