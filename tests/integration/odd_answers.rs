//! One odd answer about one user: it concerns this user alone, and deactivates nobody.

use graph_sim::{Fault, Tenant};
use learner_sync::model::Outcome;
use learner_sync::plan::Counts;

use crate::world::{World, add_users, assigned, assigned_group};

const USER: &str = "/v1.0/users/{id}";
const DELETED: &str = "/v1.0/directory/deletedItems/{id}";
const NOT_FOUND: &str = r#"{"error":{"code":"Request_ResourceNotFound","message":"Resource does not exist."}}"#;

/// Final answers that say nothing about an account: status, body, and what the detail says.
const ODD: [(u16, &str, &str); 23] = [
    (400, r#"{"error":{"code":"Request_BadRequest","message":"Invalid request."}}"#, "400 Request_BadRequest"),
    (400, "", "answered 400"),
    (401, r#"{"error":{"code":"InvalidAuthenticationToken"}}"#, "401 InvalidAuthenticationToken"),
    (404, "null", "answered 404"),
    (404, "", "answered 404"),
    (404, "<html>No such page</html>", "answered 404"),
    (404, r#"{"message":"not found"}"#, "answered 404"),
    (404, r#"{"error":"not found"}"#, "answered 404"),
    (403, "<html>Blocked</html>", "answered 403"),
    (410, r#"{"error":{"code":"Gone"}}"#, "410 Gone"),
    (451, "<html>Blocked</html>", "answered 451"),
    (423, "", "answered 423"),
    (501, "null", "answered 501"),
    (302, "", "answered 302"),
    (204, "", "answered 204"),
    (206, r#"{"id":"0a1b2c3d-0000-4000-8000-000000000001"}"#, "answered 206"),
    (200, "{}", "it has no id"),
    (200, "null", "cannot be read"),
    (200, "[]", "cannot be read"),
    (200, "", "cannot be read"),
    (200, "<html>Sign in</html>", "cannot be read"),
    (200, NOT_FOUND, "it reports the error Request_ResourceNotFound"),
    (200, r#"{"value":[]}"#, "it has no id"),
];

/// A world with six learners: four members of a group and two users who are assigned directly.
async fn world_of_six(entra: &str) -> (World, String, Vec<String>, Vec<String>) {
    let mut tenant = Tenant::default();
    let (group, members) = assigned_group(&mut tenant, "Staff", 4);
    let direct = assigned(&mut tenant, 2);
    let mut world = World::start(tenant).await;
    world.reconfigure(|text| text.replace("[entra]\n", &format!("[entra]\n{entra}\n")));
    assert_eq!(world.cycle().await.counts.created, 6);
    (world, group, members, direct)
}

fn always(path: &str, status: u16, body: &str) -> Fault {
    Fault::on("GET", path).always().answer(status).body(body)
}

async fn expect_held(world: &World, user: &str, words: &str) {
    assert_eq!(world.log(user).await.last().unwrap(), "deactivate held unreadable", "{words}");
    let detail = world.last_detail(user).await;
    assert!(detail.contains(words) && detail.contains("(request-id "), "{words}: {detail}");
    assert_eq!(world.learner(user, "active").await, ["1"], "{words}");
}

#[tokio::test]
async fn an_odd_confirmation_holds_its_leaver_alone() {
    let (mut world, group, members, _) = world_of_six("").await;
    let odd = world.sim.tenant(|tenant| assigned(tenant, ODD.len()));
    world.cycle().await;
    world.configure("[safety]\nmax_deactivation_percent = 100");
    world.sim.tenant(|tenant| {
        tenant.remove_member(&group, &members[0]);
        let newcomer = add_users(tenant, 1).remove(0);
        tenant.add_member(&group, &newcomer);
    });
    for (number, ((status, body, _), odd)) in ODD.into_iter().zip(&odd).enumerate() {
        // Once the account itself, once its deleted item.
        let is_deleted = number % 2 == 0;
        world.sim.tenant(|tenant| if is_deleted { tenant.delete_user(odd) } else { tenant.unassign(odd) });
        let path = if is_deleted { "/v1.0/directory/deletedItems" } else { "/v1.0/users" };
        world.sim.inject(always(&format!("{path}/{odd}"), status, body));
    }
    let report = world.cycle().await;
    let counts =
        Counts { in_scope: 6, created: 1, deactivated: 1, unchanged: 5, held: ODD.len() as u64, ..Counts::default() };
    assert_eq!((report.outcome, report.counts), (Outcome::Held, counts));
    for ((_, _, words), odd) in ODD.into_iter().zip(&odd) {
        expect_held(&world, odd, words).await;
    }
    assert_eq!(world.log(&members[0]).await.last().unwrap(), "deactivate success unassigned");
    world.settled().await;
    // An approval does not replace the evidence.
    world.approve().await;
    assert_eq!(world.cycle().await.counts.deactivated, 0);
    world.sim.clear_faults();
    assert_eq!(world.cycle().await.counts.deactivated, ODD.len() as u64);
    world.settled().await;
}

/// The answers of the others must not move to the users before them.
#[tokio::test]
async fn a_part_that_is_missing_on_the_last_attempt_fails_the_cycle() {
    let mut tenant = Tenant::default();
    let (group, members) = assigned_group(&mut tenant, "Staff", 20);
    let mut world = World::start(tenant).await;
    world.reconfigure(|text| text.replace("[entra]\n", "[entra]\nrequest_deadline = \"1s\"\n"));
    world.cycle().await;
    let mut leavers = members[..3].to_vec();
    leavers.sort_unstable();
    world.sim.tenant(|tenant| {
        leavers.iter().for_each(|leaver| tenant.remove_member(&group, leaver));
        tenant.delete_user(&leavers[2]);
    });
    world.sim.inject(Fault::on("POST", "/v1.0/$batch").always().missing_part(2));
    world.sim.inject(always(&format!("/v1.0/users/{}", leavers[0]), 503, ""));
    let before = world.lasting().await;
    assert_eq!(world.cycle().await.outcome, Outcome::Failed);
    world.unchanged_since(&before).await;
    world.sim.clear_faults();
    assert_eq!(world.cycle().await.counts.deactivated, 3);
    world.settled().await;
}

#[tokio::test]
async fn leavers_with_odd_confirmations_only_are_held() {
    let (mut world, group, members, direct) = world_of_six("").await;
    world.sim.tenant(|tenant| tenant.unassign(&direct[0]));
    for (status, body, words) in ODD.into_iter().step_by(4) {
        world.sim.inject(always(USER, status, body));
        let report = world.cycle().await;
        assert_eq!((report.outcome, report.counts.held, report.counts.deactivated), (Outcome::Held, 1, 0), "{words}");
        world.sim.clear_faults();
        world.sim.tenant(|tenant| tenant.assign_user(&direct[0]));
        assert_eq!(world.cycle().await.outcome, Outcome::Success, "{words}");
        world.sim.tenant(|tenant| tenant.unassign(&direct[0]));
    }
    // Several leavers, and every answer is odd.
    world.sim.tenant(|tenant| {
        tenant.remove_member(&group, &members[0]);
        tenant.delete_user(&members[1]);
        tenant.vanish_user(&direct[1]);
    });
    world.sim.inject(always(DELETED, 410, ""));
    world.sim.inject(always(&format!("/v1.0/users/{}", members[0]), 200, "[]"));
    world.sim.inject(always(&format!("/v1.0/users/{}", direct[0]), 451, ""));
    let report = world.cycle().await;
    assert_eq!((report.outcome, report.counts.held, report.counts.deactivated), (Outcome::Held, 4, 0));
    expect_held(&world, &direct[1], "answered 410").await;
    world.settled().await;
    let held = world.query("SELECT reason FROM sync_held").await.concat();
    assert_eq!(held, ["unreadable"; 4]);
}

#[tokio::test]
async fn a_confirmation_that_is_retried_in_vain_holds_its_leaver_alone() {
    let (mut world, group, members, direct) = world_of_six("request_deadline = \"1s\"").await;
    world.sim.tenant(|tenant| tenant.delete_user(&direct[1]));
    let deleted = format!("/v1.0/directory/deletedItems/{}", direct[1]);
    world.sim.inject(Fault::on("GET", &deleted).always().answer(503));
    // The only leaver.
    let report = world.cycle().await;
    assert_eq!((report.outcome, report.counts.held), (Outcome::Held, 1));
    world.sim.tenant(|tenant| {
        members[..2].iter().for_each(|member| tenant.remove_member(&group, member));
        tenant.unassign(&direct[0]);
    });
    for (user, status) in members.iter().zip([500, 424]) {
        world.sim.inject(Fault::on("GET", &format!("/v1.0/users/{user}")).always().answer(status));
    }
    let report = world.cycle().await;
    assert_eq!((report.outcome, report.counts.deactivated, report.counts.held), (Outcome::Held, 1, 3));
    for (user, words) in [(&members[0], "answered 500"), (&members[1], "answered 424"), (&direct[1], "answered 503")] {
        expect_held(&world, user, words).await;
    }
    // All of them: the second look itself failed.
    let before = world.lasting().await;
    world.sim.inject(Fault::on("GET", USER).always().answer(429));
    let report = world.cycle().await;
    let error = report.error.unwrap();
    assert!(report.outcome == Outcome::Failed && error.contains("confirming leavers: Graph answered"), "{error}");
    world.unchanged_since(&before).await;
    world.sim.clear_faults();
    assert_eq!(world.cycle().await.counts.deactivated, 3);
    world.settled().await;
}

#[tokio::test]
async fn an_odd_answer_to_a_direct_read_rejects_its_user_alone() {
    let (mut world, _, _, direct) = world_of_six("").await;
    let detail = |user: &str| format!("SELECT detail FROM sync_failures WHERE entra_id = '{user}'");
    // The user is missing from the answer to the filter.
    world.sim.inject(Fault::on("GET", "/v1.0/users").always().hide_row(&direct[0]));
    for (status, body, words) in ODD.into_iter().skip(1).step_by(2) {
        world.sim.inject(always(&format!("/v1.0/users/{}", direct[0]), status, body));
        let report = world.cycle().await;
        let counts = Counts { in_scope: 5, unchanged: 5, failed: 1, ..Counts::default() };
        assert_eq!((report.outcome, report.counts), (Outcome::Partial, counts), "{status} {body}");
        let detail = world.value(&detail(&direct[0])).await;
        assert!(detail.contains(words) && detail.contains("(request-id "), "{status} {body}: {detail}");
        world.sim.clear_faults();
        world.sim.inject(Fault::on("GET", "/v1.0/users").always().hide_row(&direct[0]));
    }
    assert_eq!(world.log(&direct[0]).await, ["create success assigned", "update failure unreadable"]);
    // One refusal concerns one user as well; a refusal of all users is a lost permission.
    world.sim.inject(Fault::on("GET", USER).always().answer(403));
    assert_eq!(world.cycle().await.counts.failed, 1);
    world.sim.clear_faults();
    assert_eq!(world.cycle().await.counts.unchanged, 6);
    world.settled().await;
}

#[tokio::test]
async fn a_refusal_of_all_direct_reads_fails_the_cycle() {
    let mut tenant = Tenant::default();
    let direct = assigned(&mut tenant, 3);
    let mut world = World::start(tenant).await;
    world.reconfigure(|text| text.replace("[entra]\n", "[entra]\nrequest_deadline = \"1s\"\n"));
    world.cycle().await;
    let before = world.lasting().await;
    world.sim.inject(Fault::on("GET", "/v1.0/users").always().empty_list());
    for (status, words) in [(403, "User.Read.All"), (503, "answered 503")] {
        world.sim.inject(Fault::on("GET", USER).always().answer(status));
        let report = world.cycle().await;
        let error = report.error.unwrap_or_default();
        assert!(report.outcome == Outcome::Failed && error.contains(words), "{error}");
        world.unchanged_since(&before).await;
        world.sim.clear_faults();
        world.sim.inject(Fault::on("GET", "/v1.0/users").always().empty_list());
    }
    // One of them is readable.
    world.sim.inject(Fault::on("GET", &format!("/v1.0/users/{}", direct[0])).always().answer(503));
    world.sim.inject(Fault::on("GET", &format!("/v1.0/users/{}", direct[1])).always().answer(403));
    let report = world.cycle().await;
    assert_eq!((report.outcome, report.counts.failed, report.counts.unchanged), (Outcome::Partial, 2, 1));
}

#[tokio::test]
async fn an_answer_that_is_too_large_concerns_its_user_alone() {
    let (mut world, group, members, direct) = world_of_six("").await;
    let user = |id: &str| Fault::on("GET", &format!("/v1.0/users/{id}")).always();
    // Two accounts of 40 MiB do not fit into one answer, and one of 80 MiB does not fit into any.
    world.sim.inject(Fault::on("GET", "/v1.0/users").mentioning(&direct[0]).always().padded(80));
    direct.iter().for_each(|id| world.sim.inject(user(id).padded(40)));
    world.sim.tenant(|tenant| {
        tenant.user_mut(&direct[0]).job_title = Some("Diver".to_owned());
        tenant.remove_member(&group, &members[0]);
        tenant.delete_user(&members[1]);
    });
    world.sim.inject(user(&members[0]).padded(80));
    let report = world.cycle().await;
    let counts = Counts { in_scope: 4, updated: 1, deactivated: 1, unchanged: 3, held: 1, ..Counts::default() };
    assert_eq!((report.outcome, report.counts), (Outcome::Held, counts));
    expect_held(&world, &members[0], "the answer is larger than 64 MiB").await;
    world.sim.clear_faults();
    assert_eq!(world.cycle().await.counts.deactivated, 1);

    // A page of members: their accounts are read by their ids.
    world.sim.inject(Fault::on("GET", "/v1.0/groups/{id}/members").query_contains("displayName").always().padded(80));
    world.sim.tenant(|tenant| tenant.user_mut(&members[2]).job_title = Some("Diver".to_owned()));
    let report = world.cycle().await;
    let counts = Counts { in_scope: 4, updated: 1, unchanged: 3, ..Counts::default() };
    assert_eq!((report.outcome, report.counts), (Outcome::Success, counts));
    world.settled().await;
}

#[tokio::test]
async fn provisioning_one_leaver_holds_it_for_an_odd_answer() {
    let (world, group, members, direct) = world_of_six("").await;
    world.sim.tenant(|tenant| {
        tenant.remove_member(&group, &members[0]);
        tenant.delete_user(&members[1]);
        tenant.delete_user(&direct[0]);
    });
    let paths = [
        (&members[0], format!("/v1.0/users/{}", members[0]), 410),
        (&members[1], format!("/v1.0/directory/deletedItems/{}", members[1]), 400),
        (&direct[0], format!("/v1.0/users/{}", direct[0]), 451),
    ];
    for (user, path, status) in paths {
        world.sim.inject(always(&path, status, ""));
        world.run_program(&["provision", user], 3);
        let log = world.log(user).await;
        let expected = if *user == direct[0] { "update failure unreadable" } else { "deactivate held unreadable" };
        assert_eq!(log.last().unwrap(), expected, "{status}");
        assert!(world.last_detail(user).await.contains(&format!("answered {status}")), "{status}");
        world.sim.clear_faults();
    }
}
