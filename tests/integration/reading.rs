//! Failed reads: an incomplete snapshot changes nothing.

use std::collections::BTreeSet;
use std::sync::Arc;

use graph_sim::{Fault, Gate, GraphSim, Tenant};
use learner_sync::directory::assess_each;
use learner_sync::model::Outcome;
use learner_sync::plan::Counts;

use crate::directory::calls;
use crate::world::{World, add_users, assigned, assigned_group};

const MEMBERS: &str = "/v1.0/groups/{id}/members";
const ASSIGNMENTS: &str = "/v1.0/servicePrincipals/{id}/appRoleAssignedTo";

/// With a change of each kind pending, `fault` ends the cycle with nothing applied, and the cycle after it applies
/// everything. Returns the error of the cycle.
async fn error_of_failed_cycle(page_cap: Option<usize>, fault: impl FnOnce(&World, &str) -> Fault) -> String {
    let mut tenant = Tenant::default();
    tenant.page_cap = page_cap;
    let (group, members) = assigned_group(&mut tenant, "Night shift", 20);
    let direct = assigned(&mut tenant, 20);
    let mut world = World::start(tenant).await;
    assert_eq!(world.cycle().await.counts.created, 40);
    world.sim.tenant(|tenant| {
        let newcomer = add_users(tenant, 1).remove(0);
        tenant.add_member(&group, &newcomer);
        tenant.remove_member(&group, &members[0]);
        tenant.user_mut(&members[1]).account_enabled = Some(false);
        tenant.user_mut(&direct[0]).job_title = Some("Diver".to_owned());
    });
    let before = world.lasting().await;
    let fault = fault(&world, &group);
    world.sim.inject(fault);

    let report = world.cycle().await;
    assert_eq!((report.outcome, report.counts), (Outcome::Failed, Counts::default()));
    world.unchanged_since(&before).await;

    world.sim.clear_faults();
    let report = world.cycle().await;
    let Counts { created, updated, deactivated, .. } = report.counts;
    assert_eq!((report.outcome, created, updated, deactivated), (Outcome::Success, 1, 1, 2));
    world.settled().await;
    let error = world.value("SELECT error FROM sync_cycles WHERE outcome = 'failed'").await;
    error.replace(&group, "GROUP")
}

#[tokio::test]
async fn a_forbidden_group_ends_the_cycle_and_is_named() {
    let error = error_of_failed_cycle(None, |_, _| Fault::on("GET", MEMBERS).always().answer(403)).await;
    assert!(error.contains("GROUP") && error.contains("Night shift"), "{error}");
    assert!(error.contains("403") && error.contains("GroupMember.Read.All"), "{error}");
}

#[tokio::test]
async fn a_failed_second_page_ends_the_cycle() {
    for list in [MEMBERS, ASSIGNMENTS] {
        let error = error_of_failed_cycle(Some(15), |_, _| Fault::on("GET", list).page(2).always().answer(400)).await;
        assert!(error.contains("400") && error.contains("request-id"), "{list}: {error}");
    }
}

#[tokio::test]
async fn one_failed_part_of_a_batch_ends_the_cycle() {
    let error = error_of_failed_cycle(None, |_, _| Fault::on("GET", "/v1.0/users").answer(403)).await;
    assert!(error.contains("403") && error.contains("User.Read.All"), "{error}");
}

#[tokio::test]
async fn a_page_without_a_list_or_with_html_ends_the_cycle() {
    error_of_failed_cycle(None, |_, _| Fault::on("GET", MEMBERS).body("<html>Please log in</html>")).await;
    error_of_failed_cycle(None, |_, _| Fault::on("GET", MEMBERS).body("{}")).await;
}

#[tokio::test]
async fn a_next_link_to_another_origin_is_not_followed() {
    let elsewhere = GraphSim::start(Tenant::default()).await;
    let error = error_of_failed_cycle(None, |_, group| {
        let link = format!("{}/v1.0/groups/{group}/members?$skiptoken=x", elsewhere.url());
        Fault::on("GET", MEMBERS).next_link(&link)
    })
    .await;
    assert!(error.contains("origin") && error.contains(&elsewhere.url()), "{error}");
    assert_eq!(elsewhere.journal(), []);

    let error =
        error_of_failed_cycle(None, |_, _| Fault::on("GET", MEMBERS).next_link("https://graph.example/next")).await;
    assert!(error.contains("https://graph.example"), "{error}");
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let elsewhere = GraphSim::start(Tenant::default()).await;
    error_of_failed_cycle(None, |_, _| {
        Fault::on("GET", MEMBERS).answer(302).header("Location", &format!("{}/v1.0/users", elsewhere.url()))
    })
    .await;
    assert_eq!(elsewhere.journal(), []);
}

#[tokio::test]
async fn a_repeated_next_link_ends_the_cycle() {
    let error = error_of_failed_cycle(None, |world, group| {
        let link = format!("{}/v1.0/groups/{group}/members?$select=id&$top=999", world.sim.url());
        Fault::on("GET", MEMBERS).always().next_link(&link)
    })
    .await;
    assert!(error.contains("nextLink"), "{error}");
}

#[tokio::test]
async fn an_expired_page_token_restarts_its_list() {
    let mut tenant = Tenant::default();
    tenant.page_cap = Some(5);
    let (group, _) = assigned_group(&mut tenant, "Staff", 12);
    let mut world = World::start(tenant).await;
    world.cycle().await;

    world.sim.tenant(|tenant| {
        let newcomer = add_users(tenant, 1).remove(0);
        tenant.add_member(&group, &newcomer);
    });
    world.sim.clear_journal();
    world.sim.inject(Fault::on("GET", MEMBERS).page(3).times(5).expired_page_token());
    let report = world.cycle().await;
    assert_eq!((report.outcome, report.counts.created), (Outcome::Success, 1));
    assert_eq!(report.counts.in_scope, 13);
    assert_eq!(calls(&world.sim.journal(), "/members").len(), 6 * 3);
    world.settled().await;
}

#[tokio::test]
async fn a_sixth_expired_page_token_ends_the_cycle() {
    let error =
        error_of_failed_cycle(Some(15), |_, _| Fault::on("GET", MEMBERS).page(2).times(6).expired_page_token()).await;
    assert!(error.contains("Directory_ExpiredPageToken"), "{error}");
}

#[tokio::test]
async fn a_deleted_group_that_is_still_assigned_is_an_empty_group() {
    let mut tenant = Tenant::default();
    let (group, members) = assigned_group(&mut tenant, "Staff", 2);
    assigned(&mut tenant, 2);
    let mut world = World::start(tenant).await;
    world.cycle().await;

    // One 404 can come from a replica that lags: the members are read again.
    world.sim.tenant(|tenant| {
        let newcomer = add_users(tenant, 1).remove(0);
        tenant.add_member(&group, &newcomer);
        tenant.assign_user(&members[1]);
    });
    world.sim.inject(Fault::on("GET", MEMBERS).answer(404));
    let report = world.cycle().await;
    assert_eq!(report.counts, Counts { in_scope: 5, created: 1, unchanged: 4, ..Counts::default() });

    // Two 404 mean an empty group. It had three members, so that its leavers are held.
    world.sim.tenant(|tenant| tenant.delete_group(&group));
    let report = world.cycle().await;
    assert_eq!((report.outcome, report.counts.held), (Outcome::Held, 2));
    world.approve().await;
    assert_eq!(world.cycle().await.counts.deactivated, 2);
    assert_eq!(world.log(&members[0]).await.last().unwrap(), "deactivate success unassigned");
    assert_eq!(world.learner(&members[1], "active").await, ["1"]);
    // The count is updated when no hold needs it any more.
    world.cycle().await;
    assert_eq!(world.query("SELECT last_members FROM sync_groups").await, [["0"]]);
    world.settled().await;
}

#[tokio::test]
async fn a_request_is_repeated_after_retry_after() {
    let mut tenant = Tenant::default();
    assigned_group(&mut tenant, "Staff", 2);
    assigned(&mut tenant, 2);
    let mut world = World::start(tenant).await;
    world.sim.inject(Fault::on("GET", MEMBERS).answer(503).retry_after("1"));
    world.sim.inject(Fault::on("GET", "/v1.0/users").answer(429).retry_after("0.5"));
    let report = world.cycle().await;
    assert_eq!((report.outcome, report.counts.created), (Outcome::Success, 4));
    let journal = world.sim.journal();
    assert_eq!(calls(&journal, "/members").iter().map(|call| call.status).collect::<Vec<_>>(), [503, 200]);
    assert_eq!(calls(&journal, "/v1.0/users").iter().map(|call| call.status).collect::<Vec<_>>(), [429, 200]);
    world.settled().await;
}

#[tokio::test]
async fn a_token_refused_during_a_cycle_is_renewed_once() {
    let mut tenant = Tenant::default();
    assigned_group(&mut tenant, "Staff", 2);
    let mut world = World::start(tenant).await;
    let gate = Gate::new();
    world.sim.inject(Fault::on("GET", MEMBERS).hold_until(&gate));
    let app = world.app();
    let reading = async {
        let application = app.directory.application(app.rules.application).await.unwrap();
        let nothing = assess_each(|_, _| {});
        app.directory.read(application, &app.rules.selection, &BTreeSet::new(), &nothing, |_, ()| {}).await.unwrap()
    };
    let revoking = async {
        gate.reached().await;
        world.sim.revoke_tokens();
        gate.release();
    };
    let (snapshot, ()) = tokio::join!(reading, revoking);
    assert_eq!(snapshot.users(), 2);
    let journal = world.sim.journal();
    assert_eq!(calls(&journal, "/members").iter().map(|call| call.status).collect::<Vec<_>>(), [401, 200]);
    assert_eq!(calls(&journal, "/token").len(), 2);

    // A new token that is refused has not expired.
    world.sim.clear_journal();
    world.sim.inject(Fault::on("GET", MEMBERS).always().answer(401));
    let report = world.cycle().await;
    assert_eq!(report.outcome, Outcome::Failed);
    assert_eq!(calls(&world.sim.journal(), "/members").len(), 2);
    world.sim.clear_faults();
    assert_eq!(world.cycle().await.counts.created, 2);
    world.settled().await;
}

#[tokio::test]
async fn a_wrong_application_ends_the_cycle_with_a_hint() {
    let mut tenant = Tenant::default();
    assigned(&mut tenant, 1);
    let (mine, client, wrong) =
        (tenant.tenant_id.clone(), tenant.client_id.clone(), tenant.application.registration_id.clone());
    let mut world = World::start(tenant).await;
    world.configure_for(&mine, &client, &wrong, "");
    let report = world.cycle().await;
    assert_eq!(report.outcome, Outcome::Failed);
    let error = report.error.unwrap();
    assert!(error.contains(&wrong) && error.contains("app.enterprise_app"), "{error}");
    assert_eq!(world.value("SELECT count(*) FROM learners").await, "0");
}

#[tokio::test]
async fn a_lost_permission_changes_no_learner() {
    // The lost permission, the permission in its place, and the number of failed users unless the cycle fails.
    let losses = [
        ("Application.Read.All", None, None),
        ("GroupMember.Read.All", None, None),
        ("User.Read.All", None, None),
        ("User.Read.All", Some("User.ReadBasic.All"), Some(6)),
    ];
    for (lost, instead, failed) in losses {
        let mut tenant = Tenant::default();
        assigned_group(&mut tenant, "Staff", 3);
        assigned(&mut tenant, 3);
        let mut world = World::start(tenant).await;
        world.cycle().await;
        let before = world.query("SELECT * FROM learners ORDER BY id").await;
        world.sim.tenant(|tenant| {
            tenant.permissions.remove(lost);
            tenant.permissions.extend(instead.map(str::to_owned));
        });
        let report = world.cycle().await;
        match failed {
            Some(failed) => {
                let counts = Counts { failed, ..Counts::default() };
                assert_eq!((report.outcome, report.counts), (Outcome::Partial, counts));
            }
            None => {
                let error = report.error.unwrap();
                assert_eq!((report.outcome, report.counts), (Outcome::Failed, Counts::default()));
                assert!(error.contains("403") && error.contains(lost), "{error}");
            }
        }
        assert_eq!(world.query("SELECT * FROM learners ORDER BY id").await, before);
        world.sim.tenant(|tenant| tenant.permissions.insert(lost.to_owned()));
        assert_eq!(world.cycle().await.counts, Counts { in_scope: 6, unchanged: 6, ..Counts::default() });
        world.settled().await;
    }
}

#[tokio::test]
async fn a_restarted_list_drops_its_earlier_pages() {
    let mut tenant = Tenant::default();
    tenant.page_cap = Some(15);
    let (group, members) = assigned_group(&mut tenant, "Staff", 40);
    let mut world = World::start(tenant).await;
    world.cycle().await;
    // The smallest of many new ids is on the first page.
    let newcomer = world.sim.tenant(|tenant| {
        let newcomer = add_users(tenant, 60).into_iter().min().unwrap();
        tenant.add_member(&group, &newcomer);
        newcomer
    });
    let place = members.iter().filter(|member| **member < newcomer).count();
    assert!(place < 15, "{place}");
    let gate = Gate::new();
    world.sim.inject(Fault::on("GET", MEMBERS).page(2).hold_until(&gate));
    let sim = Arc::clone(&world.sim);
    let leaving = async {
        gate.reached().await;
        sim.tenant(|tenant| tenant.remove_member(&group, &newcomer));
        sim.expire_page_tokens();
        gate.release();
    };
    let (report, ()) = tokio::join!(world.cycle(), leaving);
    assert_eq!(report.counts, Counts { in_scope: 40, unchanged: 40, ..Counts::default() });
    assert_eq!(world.log(&newcomer).await, Vec::<String>::new());
    world.settled().await;
}

#[tokio::test]
async fn an_error_without_the_format_of_graph_ends_the_cycle() {
    const PAGE: &str = "<html>404: no such page on this proxy</html>";
    for (place, status, body) in [
        (MEMBERS, 404, PAGE),
        (MEMBERS, 404, "{\"message\":\"not found\"}"),
        (MEMBERS, 404, ""),
        ("/v1.0/servicePrincipals/{id}", 404, PAGE),
        (MEMBERS, 403, PAGE),
    ] {
        let mut tenant = Tenant::default();
        let (group, members) = assigned_group(&mut tenant, "Staff", 2);
        let mut world = World::start(tenant).await;
        world.cycle().await;
        let before = world.lasting().await;
        world.sim.tenant(|tenant| tenant.remove_member(&group, &members[0]));
        world.sim.inject(Fault::on("GET", place).always().answer(status).body(body));
        let report = world.cycle().await;
        let error = report.error.unwrap_or_default();
        assert_eq!(report.outcome, Outcome::Failed, "{place} {status} {body}");
        assert!(error.contains("does not come from Graph"), "{place} {status} {body}: {error}");
        world.unchanged_since(&before).await;
    }
}

#[tokio::test]
async fn a_member_who_moves_into_a_group_with_hidden_members_stays_active() {
    let mut tenant = Tenant::default();
    let (group, members) = assigned_group(&mut tenant, "Staff", 5);
    let mut world = World::start(tenant).await;
    world.cycle().await;
    world.sim.tenant(|tenant| {
        let hidden = tenant.add_group("Project");
        tenant.group_mut(&hidden).visibility = Some("HiddenMembership".to_owned());
        tenant.assign_group(&hidden);
        for member in &members[..2] {
            tenant.remove_member(&group, member);
            tenant.add_member(&hidden, member);
        }
        tenant.user_mut(&members[2]).account_enabled = Some(false);
    });
    // A disabled account is sufficient evidence.
    let report = world.cycle().await;
    assert_eq!((report.counts.held, report.counts.deactivated), (2, 1));
    assert!(world.last_detail(&members[0]).await.contains("hides its members, which may include the user"));
    world.sim.tenant(|tenant| tenant.permissions.insert("Member.Read.Hidden".to_owned()));
    assert_eq!(world.cycle().await.counts.unchanged, 4);
    world.settled().await;
}

#[tokio::test]
async fn a_small_group_with_hidden_members_holds_its_leavers() {
    let mut tenant = Tenant::default();
    // Too small for an `empty-group` hold.
    let (group, members) = assigned_group(&mut tenant, "Staff", 2);
    let mut world = World::start(tenant).await;
    world.cycle().await;
    world.sim.tenant(|tenant| tenant.group_mut(&group).visibility = Some("HiddenMembership".to_owned()));
    for _ in 0..2 {
        let report = world.cycle().await;
        assert_eq!((report.outcome, report.counts.held, report.counts.deactivated), (Outcome::Held, 2, 0));
        assert_eq!(world.log(&members[0]).await, ["create success assigned", "deactivate held empty-group"]);
        assert!(world.last_detail(&members[0]).await.contains("hides its members"));
    }
    // With the permission the members are visible, and an empty list is reliable.
    world.sim.tenant(|tenant| tenant.permissions.insert("Member.Read.Hidden".to_owned()));
    assert_eq!(world.cycle().await.counts.unchanged, 2);
    world.settled().await;
    world.sim.tenant(|tenant| members.iter().for_each(|member| tenant.remove_member(&group, member)));
    assert_eq!(world.cycle().await.counts.deactivated, 2);
    world.settled().await;
}
