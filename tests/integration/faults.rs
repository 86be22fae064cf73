//! Faults of the network and of Graph: no fault deactivates an assigned and enabled user, and one cycle after the fault
//! repairs everything.

mod random;
mod script;
mod tenant;

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use graph_sim::{Call, Fault, ForeignServer, GraphSim, Tenant};
use learner_sync::model::Outcome;

use crate::database::{apply, on_both};
use crate::program::users;
use crate::world::{World, assigned, assigned_group};

const MEMBERS: &str = "/v1.0/groups/{id}/members";
const APPLICATION: &str = "/v1.0/servicePrincipals/{id}";
const ASSIGNMENTS: &str = "/v1.0/servicePrincipals/{id}/appRoleAssignedTo";
const BATCH: &str = "/v1.0/$batch";

/// A world with 26 learners and pending changes of every kind, and the ids of the two users that leave.
async fn world_with_pending_changes() -> (World, Vec<String>) {
    let mut tenant = Tenant::default();
    let (group, members) = assigned_group(&mut tenant, "Staff", 6);
    let direct = assigned(&mut tenant, 20);
    let mut world = World::start(tenant).await;
    assert_eq!(world.cycle().await.counts.created, 26);
    world.sim.tenant(|tenant| {
        tenant.remove_member(&group, &members[0]);
        tenant.user_mut(&members[1]).account_enabled = Some(false);
        tenant.user_mut(&direct[0]).job_title = Some("Diver".to_owned());
        assigned(tenant, 1);
    });
    (world, vec![members[0].clone(), members[1].clone()])
}

/// Only the leavers are inactive, and one cycle without faults does the rest.
async fn expect_recovery(world: &mut World, left: &[String], what: &str) {
    let inactive = world.query("SELECT external_id FROM learners WHERE NOT active").await;
    assert!(inactive.iter().flatten().all(|user| left.contains(user)), "{what}: {inactive:?}");
    world.sim.clear_faults();
    assert_eq!(world.cycle().await.outcome, Outcome::Success, "{what}");
    assert_eq!(world.value("SELECT count(*) FROM learners WHERE active").await, "25", "{what}");
    assert_eq!(world.value("SELECT count(*) FROM provisioning_log").await, "30", "{what}");
    world.settled().await;
}

#[apply(on_both)]
async fn transient_errors_are_retried() {
    for (what, fault) in [
        ("reset before the answer", Fault::on("GET", MEMBERS).reset()),
        ("reset within the answer", Fault::on("GET", MEMBERS).reset_after_headers()),
        ("a batch that is reset", Fault::on("POST", BATCH).reset_after_headers()),
        ("throttled until a date", Fault::on("GET", ASSIGNMENTS).retry_after_date(1)),
        ("throttled for a fraction of a second", Fault::on("GET", ASSIGNMENTS).retry_after("0.249")),
        ("a gateway that speaks HTML", Fault::on("GET", MEMBERS).answer(502).body("<html>Bad Gateway</html>")),
    ] {
        let (mut world, left) = world_with_pending_changes().await;
        world.sim.inject(fault);
        assert_eq!(world.cycle().await.outcome, Outcome::Success, "{what}");
        expect_recovery(&mut world, &left, what).await;
    }
}

#[apply(on_both)]
async fn an_undocumented_answer_fails_the_cycle() {
    for (what, fault, words) in [
        ("half a document", Fault::on("GET", MEMBERS).truncated(), "unexpected answer"),
        ("HTML with status 200", Fault::on("GET", ASSIGNMENTS).body("<html>Sign in</html>"), "unexpected answer"),
        ("no such application", Fault::on("GET", APPLICATION).times(2).answer(404), "no enterprise application"),
        ("no such list", Fault::on("GET", ASSIGNMENTS).answer(404), "404"),
        ("a part that is missing", Fault::on("POST", BATCH).missing_part(1), "have no answer"),
        ("a part with an unknown id", Fault::on("POST", BATCH).extra_part(), "an answer to an unknown part"),
        ("a part twice", Fault::on("POST", BATCH).doubled_part(1), "an answer to an unknown part"),
        ("a page of 80 MiB", Fault::on("GET", MEMBERS).times(2).padded(80), "larger than 64 MiB"),
        (
            "an error of 100 kB",
            Fault::on("GET", ASSIGNMENTS).answer(400).message(&"so much to say ".repeat(7000)),
            "400",
        ),
    ] {
        let (mut world, left) = world_with_pending_changes().await;
        world.sim.inject(fault);
        let report = world.cycle().await;
        let error = report.error.unwrap_or_default();
        assert_eq!((report.outcome, report.counts.deactivated), (Outcome::Failed, 0), "{what}");
        assert!(error.contains(words) && error.len() < 1000, "{what}: {error}");
        expect_recovery(&mut world, &left, what).await;
    }
}

#[apply(on_both)]
async fn an_empty_list_holds_its_users_until_it_has_rows_again() {
    // `still` counts the users that really left. The disabled member is deactivated whatever the member list says.
    for (list, held, still) in [(ASSIGNMENTS, 26, 2), (MEMBERS, 5, 1)] {
        let (mut world, left) = world_with_pending_changes().await;
        world.sim.inject(Fault::on("GET", list).always().empty_list());
        for _ in 0..2 {
            let report = world.cycle().await;
            assert_eq!((report.outcome, report.counts.held), (Outcome::Held, held), "{list}");
            let inactive = world.query("SELECT external_id FROM learners WHERE NOT active").await.concat();
            assert!(inactive.iter().all(|user| *user == left[1]), "{list}: {inactive:?}");
        }
        world.sim.clear_faults();
        let report = world.cycle().await;
        assert_eq!((report.outcome, report.counts.held), (Outcome::Held, still), "{list}");
        assert_eq!(world.approve().await, still, "{list}");
        assert_eq!(world.cycle().await.counts.deactivated, still, "{list}");
        let inactive = world.query("SELECT external_id FROM learners WHERE NOT active").await.concat();
        assert_eq!(BTreeSet::from_iter(inactive), BTreeSet::from_iter(left), "{list}");
        // The member count of the group is kept while a user is held for it; one cycle updates it.
        world.cycle().await;
        world.settled().await;
    }
}

#[apply(on_both)]
async fn an_attribute_missing_from_every_answer_is_not_cleared() {
    let mut tenant = Tenant::default();
    // Few enough to stay below every safety limit.
    let users = assigned(&mut tenant, 5);
    let mut world = World::start(tenant).await;
    world.cycle().await;
    world.sim.inject(Fault::on("GET", "/v1.0/users").always().drop_key("department"));
    let report = world.cycle().await;
    assert_eq!((report.outcome, report.counts.failed), (Outcome::Partial, 5));
    assert_eq!(world.log(&users[0]).await, ["create success assigned", "update failure unreadable"]);
    assert!(world.last_detail(&users[0]).await.contains("department is missing in the answer of Graph"));
    assert_eq!(world.value("SELECT count(*) FROM learners WHERE department = 'Research'").await, "5");
    world.sim.clear_faults();
    assert_eq!(world.cycle().await.counts.unchanged, 5);
    world.settled().await;
}

#[apply(on_both)]
async fn a_token_refused_twice_is_reported_with_the_configuration_keys_to_check() {
    for path in [APPLICATION, MEMBERS, BATCH] {
        let (mut world, left) = world_with_pending_changes().await;
        world.sim.clear_journal();
        world.sim.inject(Fault::on("*", path).always().answer(401));
        for cycle in 1..=2 {
            let report = world.cycle().await;
            let error = report.error.unwrap();
            assert_eq!(report.outcome, Outcome::Failed, "{path}");
            let expected = ["401 InvalidAuthenticationToken", "request-id", "entra.cloud", "entra.graph_url"];
            assert!(expected.iter().all(|words| error.contains(words)), "{path}: {error}");
            let refused = world.sim.journal().iter().filter(|call| call.status == 401).count();
            let tokens = world.sim.journal().iter().filter(|call| call.path.ends_with("/token")).count();
            assert_eq!((refused, tokens), (2 * cycle, 2 * cycle), "{path}");
        }
        expect_recovery(&mut world, &left, path).await;
    }
}

#[apply(on_both)]
async fn an_endless_list_fails_the_cycle() {
    let mut tenant = Tenant::default();
    assigned_group(&mut tenant, "Staff", 1);
    let mut world = World::start(tenant).await;
    world.cycle().await;
    let before = world.lasting().await;
    world.sim.inject(Fault::on("GET", MEMBERS).endless_pages());
    let report = world.cycle().await;
    let error = report.error.unwrap();
    assert!(error.contains("the list does not end: more than 10000 pages"), "{error}");
    world.unchanged_since(&before).await;
}

#[apply(on_both)]
async fn the_token_goes_to_no_other_origin() {
    let server = ForeignServer::start();
    for (what, fault) in [
        ("a link to the next page", Fault::on("GET", MEMBERS).next_link(&format!("{}/next", server.url()))),
        ("a redirect", Fault::on("GET", ASSIGNMENTS).redirect(302, &server.url())),
        ("a lasting redirect", Fault::on("GET", MEMBERS).redirect(308, &format!("{}/v1.0", server.url()))),
        ("a redirect of a batch", Fault::on("POST", BATCH).redirect(307, &server.url())),
        ("a redirect of the sign-in", Fault::on("POST", "/*/oauth2/v2.0/token").redirect(307, &server.url())),
    ] {
        let (mut world, left) = world_with_pending_changes().await;
        world.sim.inject(fault);
        assert_eq!(world.cycle().await.outcome, Outcome::Failed, "{what}");
        expect_recovery(&mut world, &left, what).await;
    }
    assert_eq!(server.heads(), [""; 0]);
}

#[apply(on_both)]
async fn a_cycle_succeeds_when_a_third_of_all_answers_fail() {
    let (mut world, left) = world_with_pending_changes().await;
    world.sim.clear_journal();
    world.sim.inject(Fault::on("*", "/v1.0/**").random(0.3, 11));
    assert_eq!(world.cycle().await.outcome, Outcome::Success);
    let calls: Vec<Call> = world.sim.journal().into_iter().filter(|call| !call.in_batch).collect();
    assert!(calls.iter().any(|call| call.status != 200), "no call failed");
    for (number, call) in calls.iter().enumerate() {
        let before = calls[..number]
            .iter()
            .rfind(|before| (&before.path, &before.query, &before.body) == (&call.path, &call.query, &call.body));
        if let Some(before) = before.filter(|before| before.status != 200) {
            let waited = call.waited_after(before).unwrap();
            assert!(waited >= Duration::from_millis(950), "{waited:?} before {} again", call.path);
        }
        let same = calls[number..]
            .iter()
            .filter(|again| (&again.path, &again.query, &again.body) == (&call.path, &call.query, &call.body));
        let failed_in_a_row = same.take_while(|again| again.status != 200).count();
        assert!(failed_in_a_row < 10, "{} failed {failed_in_a_row} times", call.path);
    }
    expect_recovery(&mut world, &left, "a third of all answers").await;
}

#[apply(on_both)]
async fn a_private_authority_is_trusted_only_when_configured() {
    let sim = GraphSim::start_tls(users(2).0).await;
    let world = World::start(Tenant::default()).await;
    let authority = world.path("authority.pem");
    std::fs::write(&authority, sim.ca_pem().unwrap()).unwrap();
    std::fs::set_permissions(&authority, std::fs::Permissions::from_mode(0o644)).unwrap();
    let (secret, url) = (world.path("secret"), world.sim.url());
    std::fs::write(&secret, sim.tenant(|tenant| tenant.client_secret.clone())).unwrap();
    world.reconfigure(|text| text.replace(&url, &sim.url()));

    let refused = world.run_program(&["sync"], 1).stdout;
    assert!(refused.contains("entra.ca_file"), "{refused}");
    let from_environment = [("SSL_CERT_FILE", authority.to_str().unwrap())];
    world.run_program_with(&from_environment, &["sync"], 0);
    world.reconfigure(|text| text.replace("[entra]\n", &format!("[entra]\nca_file = {authority:?}\n")));
    world.run_program(&["sync", "--full"], 0);
    assert_eq!(world.value("SELECT count(*) FROM learners").await, "2");
}
