//! `check`: each problem with its cause and its fix.

use std::collections::BTreeSet;

use graph_sim::{DateHeader, Fault, GraphSim, SigningCertificate, Tenant};
use jiff::SignedDuration;
use serde_json::{Value, json};

use crate::database::{apply, on_both};
use crate::program::{add_assigned_user, keys, users};
use crate::world::World;

const TOKEN: &str = "/*/oauth2/v2.0/token";

/// The output of `check --json`, one line for each check: `name ok`, or `name: detail | hint`.
#[track_caller]
fn checks(world: &World, code: i32) -> Vec<String> {
    let document = world.run_program(&["check", "--json"], code).json();
    assert_eq!(keys(&document), BTreeSet::from(["checks", "ok"]));
    assert_eq!(document["ok"], json!(code == 0));
    let checks = document["checks"].as_array().unwrap();
    for check in checks {
        assert_eq!(keys(check), BTreeSet::from(["detail", "hint", "name", "ok"]));
        assert!(check["detail"].is_string() && (check["hint"].is_string() || check["hint"].is_null()), "{document}");
    }
    let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    let line = |check: &Value| {
        let name = text(&check["name"]);
        if check["ok"] == json!(true) {
            format!("{name} ok")
        } else {
            format!("{name}: {} | {}", text(&check["detail"]), text(&check["hint"]))
        }
    };
    checks.iter().map(line).collect()
}

async fn world_with_group() -> World {
    let (mut tenant, _) = users(2);
    let group = tenant.add_group("Crew");
    let member = add_assigned_user(&mut tenant, "Grace", "Hopper");
    tenant.add_member(&group, &member);
    tenant.assign_group(&group);
    World::start(tenant).await
}

#[apply(on_both)]
async fn check_prints_a_line_for_each_check() {
    let world = world_with_group().await;
    let all = [
        "configuration ok",
        "database ok",
        "network ok",
        "sign-in ok",
        "credential ok",
        "permissions ok",
        "application ok",
        "assignments ok",
        "users ok",
        "groups ok",
    ];
    assert_eq!(checks(&world, 0), all);
    let words = world.run_program(&["check"], 0).stdout;
    assert_eq!(words.lines().filter(|line| line.starts_with("ok ")).count(), all.len(), "{words}");
    world.run_program(&["sync"], 0);
    assert_eq!(checks(&world, 0), all);
}

#[apply(on_both)]
async fn check_writes_nothing() {
    let world = world_with_group().await;
    let before = world.files();
    checks(&world, 0);
    // Root often runs `check` first, and the service user could not write files of root.
    assert_eq!(world.changed_since(&before), [""; 0]);
}

/// Exactly this check fails, in text and JSON, with all of `cause` in the detail and all of `fix` in the hint.
#[track_caller]
fn expect_failure(world: &World, name: &str, cause: &[&str], fix: &[&str]) {
    let checks = checks(world, 1);
    let failed: Vec<_> = checks.iter().filter(|line| !line.ends_with(" ok")).collect();
    let [line] = failed[..] else { panic!("{checks:#?}") };
    let (detail, hint) = line.split_once(" | ").unwrap();
    assert!(detail.starts_with(&format!("{name}: ")), "{line}");
    assert!(cause.iter().all(|words| detail.contains(words)), "{cause:?} in {line}");
    assert!(fix.iter().all(|words| hint.contains(words)), "{fix:?} in {line}");
    let stdout = world.run_program(&["check"], 1).stdout;
    let mut lines = stdout.lines().skip_while(|line| !line.starts_with("FAIL"));
    let (first, second) = (lines.next().unwrap(), lines.next().unwrap());
    assert!(first.starts_with(&format!("FAIL {name} ")), "{stdout}");
    assert!(cause.iter().all(|words| first.contains(words)), "{stdout}");
    assert!(second.starts_with("     ") && fix.iter().all(|words| second.contains(words)), "{stdout}");
    assert!(lines.all(|line| line.starts_with("ok ")), "{stdout}");
}

#[tokio::test]
async fn check_names_the_cause_and_the_fix_of_a_wrong_secret() {
    let world = world_with_group().await;
    std::fs::write(world.path("secret"), "wrong").unwrap();
    expect_failure(&world, "sign-in", &["AADSTS7000215"], &["the client secret is wrong", "not its ID"]);
}

#[tokio::test]
async fn check_reports_an_expired_secret() {
    let world = world_with_group().await;
    world.sim.tenant(|tenant| tenant.secret_expired = true);
    expect_failure(&world, "sign-in", &["AADSTS7000222"], &["has expired", "Certificates & secrets"]);
}

#[tokio::test]
async fn check_distinguishes_a_wrong_tenant_from_a_wrong_client() {
    let world = world_with_group().await;
    let (tenant, client, application, nobody) = world.sim.tenant(|tenant| {
        let nobody = tenant.new_id();
        (tenant.tenant_id.clone(), tenant.client_id.clone(), tenant.application.object_id.clone(), nobody)
    });
    world.configure_for(&nobody, &client, &application, "");
    expect_failure(&world, "sign-in", &["AADSTS90002", &nobody], &["entra.tenant_id"]);
    world.configure_for(&tenant, &nobody, &application, "");
    expect_failure(&world, "sign-in", &["AADSTS700016", &nobody], &["entra.client_id"]);
}

#[tokio::test]
async fn check_reports_an_unknown_enterprise_application() {
    let world = world_with_group().await;
    let (tenant, client, nobody) = world.sim.tenant(|tenant| {
        let nobody = tenant.new_id();
        (tenant.tenant_id.clone(), tenant.client_id.clone(), nobody)
    });
    world.configure_for(&tenant, &client, &nobody, "");
    expect_failure(&world, "application", &[&nobody], &["app.enterprise_app", "Enterprise applications > Properties"]);
    // The id shown first on the page of the app registration.
    let (registration, app) =
        world.sim.tenant(|tenant| (tenant.application.registration_id.clone(), tenant.application.app_id.clone()));
    world.configure_for(&tenant, &client, &registration, "");
    expect_failure(&world, "application", &[&registration], &["object id of an app registration", &app]);
}

#[tokio::test]
async fn check_explains_error_codes_of_entra() {
    let world = world_with_group().await;
    let certificate = SigningCertificate::new("learner-sync");
    let pem = world.path("both.pem");
    std::fs::write(&pem, format!("{}{}", certificate.key_pem, certificate.certificate_pem)).unwrap();
    std::fs::set_permissions(&pem, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let secret = format!("secret_file = {:?}", world.path("secret"));
    world.reconfigure(|text| text.replace(&secret, &format!("kind = \"certificate\"\ncertificate_file = {pem:?}")));
    expect_failure(&world, "sign-in", &["AADSTS700027"], &["not registered on the app registration"]);
    world.sim.tenant(|tenant| tenant.register_certificate(&certificate.certificate_pem));
    assert!(checks(&world, 0).contains(&"sign-in ok".to_owned()));

    for (number, message, fix) in [
        (700_024, "Client assertion is not within its valid time range.", "clock of this machine"),
        (53_003, "Access has been blocked by Conditional Access policies.", "Conditional Access policy"),
    ] {
        let description = format!("AADSTS{number}: {message}\r\nTrace ID: 1");
        let body = json!({ "error": "invalid_client", "error_description": description }).to_string();
        world.sim.inject(Fault::on("POST", TOKEN).always().answer(401).body(&body));
        expect_failure(&world, "sign-in", &[&format!("AADSTS{number}"), message], &[fix]);
        world.sim.clear_faults();
    }
}

#[tokio::test]
async fn check_explains_network_failures() {
    let unreachable = async |origin: &str| {
        let world = world_with_group().await;
        let url = world.sim.url();
        world.reconfigure(|text| text.replace(&url, origin));
        world
    };
    let sim = GraphSim::start_tls(Tenant::default()).await;
    let worlds = [
        (unreachable("https://graph.harbourworks.invalid").await, "dns error", "cannot resolve the host name"),
        (unreachable("http://127.0.0.1:1").await, "Connection refused", "check the network, the firewall"),
        (unreachable(&sim.url()).await, "invalid peer certificate: UnknownIssuer", "entra.ca_file"),
    ];
    // Each attempt takes some seconds.
    std::thread::scope(|scope| {
        for (world, cause, fix) in &worlds {
            scope.spawn(move || {
                let checks = checks(world, 1);
                let failed: Vec<_> = checks.iter().filter(|line| !line.ends_with(" ok")).collect();
                let [network, sign_in] = failed[..] else { panic!("{checks:#?}") };
                assert!(network.starts_with("network: ") && sign_in.starts_with("sign-in: "), "{checks:#?}");
                for line in [network, sign_in] {
                    let (detail, hint) = line.split_once(" | ").unwrap();
                    assert!(detail.contains(cause), "{cause} in {line}");
                    assert!(hint.contains(fix), "{line}");
                }
            });
        }
    });
}

#[tokio::test]
async fn check_reports_a_wrong_clock() {
    let mut world = world_with_group().await;
    let now = learner_sync::model::system_clock;
    let ahead = |seconds| DateHeader::clock(now() + SignedDuration::from_secs(seconds));
    let warning = |world: &World| {
        let document = world.run_program(&["check", "--json"], 0).json();
        let clock = document["checks"].as_array().unwrap().iter().find(|check| check["name"] == "clock").cloned();
        clock.map(|clock| format!("{} | {}", clock["detail"].as_str().unwrap(), clock["hint"].as_str().unwrap()))
    };
    for (date, detail, hint) in [
        (ahead(-3600), "s ahead of Graph's | ", "timedatectl set-ntp true"),
        (ahead(3600), "s behind Graph's | ", "timedatectl set-ntp true"),
        (DateHeader::Missing, "no Date header", "the proxy"),
        (DateHeader::Cached, "come from a cache", "the proxy"),
        (DateHeader::Text(vec!["now".to_owned()]), "an invalid Date header", "the proxy"),
    ] {
        world.date = Some(date);
        let found = warning(&world).unwrap();
        assert!(found.contains(detail) && found.contains(hint), "{found}");
        world.run_program(&["sync"], 0);
        let status = world.run_program(&["status"], 0).stdout;
        let line = status.lines().find(|line| line.starts_with("Clock ")).unwrap();
        assert!(line.contains(detail.trim_end_matches(" | ")) && line.contains(hint), "{status}");
    }
    for seconds in [-200, 200] {
        world.date = Some(ahead(seconds));
        assert_eq!(warning(&world), None);
    }
    // A wrong clock can be the reason why Entra refuses the sign-in.
    world.date = Some(ahead(3600));
    world.sim.tenant(|tenant| tenant.client_secret = "another".to_owned());
    let found = checks(&world, 1);
    assert!(found.iter().any(|line| line.starts_with("clock")), "{found:?}");
}

#[tokio::test]
async fn check_names_each_missing_permission() {
    for (permission, name) in
        [("Application.Read.All", "application"), ("User.Read.All", "users"), ("GroupMember.Read.All", "groups")]
    {
        let world = world_with_group().await;
        world.sim.tenant(|tenant| assert!(tenant.permissions.remove(permission)));
        let checks = checks(&world, 1);
        let failed: Vec<_> = checks.iter().filter(|line| !line.ends_with(" ok")).collect();
        // By the roles in the token, and by a real call.
        assert_eq!(failed.len(), 2, "{permission}: {checks:?}");
        assert!(failed[0].starts_with("permissions: the token lacks"), "{permission}: {failed:?}");
        assert!(failed[1].starts_with(&format!("{name}: ")), "{permission}: {failed:?}");
        let others = ["Application.Read.All", "User.Read.All", "GroupMember.Read.All"];
        for line in failed {
            let named: Vec<_> = others.iter().filter(|other| line.contains(*other)).collect();
            assert_eq!(named, [&permission], "the hint names the one that is missing: {line}");
        }
    }
}

#[tokio::test]
async fn check_recognises_the_id_of_the_app_registration() {
    let world = world_with_group().await;
    let registration = world.sim.tenant(|tenant| tenant.client_application().registration_id.clone());
    let (tenant, client) = world.sim.tenant(|tenant| (tenant.tenant_id.clone(), tenant.client_id.clone()));
    world.configure_for(&tenant, &client, &registration, "");
    let checks = checks(&world, 1);
    let last = checks.last().unwrap();
    assert!(last.starts_with("application: ") && last.contains("object id of an app registration"), "{last}");
    assert!(last.contains(&client), "{last}");
}

#[tokio::test]
async fn check_reports_a_group_with_hidden_members() {
    let world = world_with_group().await;
    world.sim.tenant(|tenant| {
        let group = tenant.groups().next().unwrap().id.clone();
        tenant.group_mut(&group).visibility = Some("HiddenMembership".to_owned());
    });
    expect_failure(
        &world,
        "groups",
        &["the members of 0 groups can be read", "with hidden membership: \"Crew\""],
        &["Member.Read.Hidden", "admin consent"],
    );
    world.sim.tenant(|tenant| tenant.permissions.insert("Member.Read.Hidden".to_owned()));
    checks(&world, 0);
}

#[tokio::test]
async fn check_reports_an_application_without_assignments() {
    let world = World::start(Tenant::default()).await;
    expect_failure(
        &world,
        "assignments",
        &["no users or groups are assigned"],
        &["Enterprise applications > Users and groups"],
    );
}

/// Each such assignment may be the one of somebody who seems to have left.
#[tokio::test]
async fn check_counts_assignments_without_a_clear_user_or_group() {
    let world = World::start(users(2).0).await;
    for (count, words) in [(1, "1 assignment without a clear"), (2, "2 assignments without a clear")] {
        let row = json!({ "id": "row", "principalId": null, "principalType": "User" });
        let list = "/v1.0/servicePrincipals/{id}/appRoleAssignedTo";
        for _ in 0..count {
            world.sim.inject(Fault::on("GET", list).always().add_row(row.clone()));
        }
        expect_failure(&world, "assignments", &[words], &["nobody leaves as unassigned", "remove these assignments"]);
        world.sim.clear_faults();
    }
}

#[tokio::test]
async fn check_reports_hidden_empty_nested_and_deleted_groups() {
    let world = world_with_group().await;
    world.sim.tenant(|tenant| {
        let empty = tenant.add_group("Nobody");
        tenant.assign_group(&empty);
        let outer = tenant.add_group("Outer");
        tenant.add_member(&outer, &empty);
        tenant.assign_group(&outer);
    });
    let words = world.run_program(&["check"], 0).stdout;
    assert!(words.contains("without members: \"Nobody\""), "{words}");
    assert!(words.contains("which do not count: \"Outer\""), "{words}");
    world.sim.tenant(|tenant| {
        let hidden = tenant.add_group("Secret");
        let member = add_assigned_user(tenant, "Mary", "Shelley");
        tenant.add_member(&hidden, &member);
        tenant.assign_group(&hidden);
        tenant.group_mut(&hidden).visibility = Some("HiddenMembership".to_owned());
    });
    let checks = checks(&world, 1);
    let last = checks.last().unwrap();
    assert!(last.contains("with hidden membership: \"Secret\"") && last.contains("Member.Read.Hidden"), "{last}");
}

#[tokio::test]
async fn check_of_an_invalid_configuration_prints_json() {
    let world = world_with_group().await;
    world.configure("[provisioning]\ngroups = true");
    let document = world.run_program(&["check", "--json"], 78).json();
    assert_eq!(document["ok"], json!(false));
    assert_eq!(document["checks"][0]["name"], json!("configuration"));
    let ran = world.run_program(&["check"], 78);
    assert!(ran.stdout.starts_with("FAIL configuration ") && ran.stdout.lines().count() == 1, "{ran:?}");
    assert!(ran.stderr.contains("provisioning.groups"), "{ran:?}");
}

#[apply(on_both)]
async fn check_reports_a_database_of_another_application() {
    let world = world_with_group().await;
    world.run_program(&["sync"], 0);
    let first = world.sim.tenant(|tenant| tenant.application.object_id.clone());
    let second = world.sim.tenant(|tenant| {
        let second = tenant.add_application("Another platform");
        let somebody = tenant.users().next().unwrap().id.clone();
        tenant.assign_user_to(&second, &somebody);
        second
    });
    let environment = [("LEARNER_SYNC_APP__ENTERPRISE_APP", &*second)];
    let document = world.run_program_with(&environment, &["check", "--json"], 1).json();
    let failed: Vec<_> = document["checks"].as_array().unwrap().iter().filter(|check| check["ok"] == false).collect();
    assert_eq!(failed.len(), 1, "{document}");
    assert_eq!(failed[0]["name"], "source");
    assert!(failed[0]["detail"].as_str().unwrap().contains(&format!("belongs to application {first}")), "{document}");
    assert!(failed[0]["hint"].as_str().unwrap().contains("approve --source"), "{document}");
    // Until the application is admitted.
    world.run_program_with(&environment, &["sync"], 1);
    world.run_program_with(&environment, &["check"], 1);
    world.run_program_with(&environment, &["approve", "--source", "--yes"], 0);
    world.run_program_with(&environment, &["check"], 0);
}
