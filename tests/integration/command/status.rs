//! `status` and `log`.

use std::collections::BTreeSet;

use graph_sim::{DateHeader, Fault, Gate};
use serde_json::{Value, json};

use super::approve::world_with_held;
use crate::database::{apply, on_both};
use crate::program::{Daemon, eventually, keys, users};
use crate::world::World;

/// A world in which two users fail, because both want one address.
async fn world_with_twins() -> World {
    let (mut tenant, ids) = users(3);
    let mail = tenant.user(&ids[0]).unwrap().mail.clone();
    tenant.user_mut(&ids[1]).mail = mail;
    let world = World::start(tenant).await;
    world.run_program(&["sync"], 3);
    world
}

#[apply(on_both)]
async fn status_before_the_first_cycle_is_never_run_and_writes_nothing() {
    let world = World::start(users(1).0).await;
    let before = world.files();
    let document = world.run_program(&["status", "--json"], 0).json();
    assert_eq!(document["state"], json!("never-run"));
    assert_eq!(document["last_cycle"], json!(null));
    assert_eq!(document["next_cycle_at"], json!(null));
    assert_eq!(document["learners"], json!({ "active": 0, "inactive": 0, "linked": 0, "active_unlinked": 0 }));
    let words = world.run_program(&["status"], 0).stdout;
    assert!(words.contains("never-run"), "{words}");
    world.run_program(&["status", "--exit-code"], 1);
    assert_eq!(world.changed_since(&before), [""; 0]);
}

#[apply(on_both)]
async fn a_first_cycle_that_cannot_read_the_directory_is_failing() {
    let world = World::start(users(1).0).await;
    world.sim.tenant(|tenant| tenant.permissions.clear());
    world.run_program(&["sync"], 1);
    let status = world.run_program(&["status", "--json", "--exit-code"], 1).json();
    assert_eq!((&status["state"], &status["last_cycle"]["outcome"]), (&json!("failing"), &json!("failed")));
    let daemon = world.daemon().await;
    daemon.logged("state failing: ", 1).await;
    daemon.stop().await;
}

#[apply(on_both)]
async fn status_json_has_the_keys_of_the_contract() {
    let (tenant, ids) = users(3);
    let world = World::start(tenant).await;
    world.run_program(&["sync"], 0);
    world.sim.tenant(|tenant| tenant.unassign(&ids[0]));
    world.run_program(&["sync"], 0);
    let document = world.run_program(&["status", "--json", "--exit-code"], 0).json();
    for key in ["state", "last_cycle", "next_cycle_at", "learners", "held", "failing"] {
        assert!(keys(&document).contains(key), "{key}: {document}");
    }
    assert_eq!(document["state"], json!("ok"));
    assert_eq!(document["learners"], json!({ "active": 2, "inactive": 1, "linked": 3, "active_unlinked": 0 }));
    assert_eq!((&document["held"], &document["failing"]), (&json!([]), &json!([])));
    assert_eq!(document["next_cycle_at"], json!(null));
    let last = &document["last_cycle"];
    assert_eq!((&last["cycle"], &last["outcome"], &last["deactivated"]), (&json!(2), &json!("success"), &json!(1)));
    assert_eq!(last["trigger"], json!("command"));
}

#[apply(on_both)]
async fn a_last_cycle_in_the_future_is_a_warning_only() {
    let mut world = World::start(users(1).0).await;
    world.run_program(&["sync"], 0);
    assert_eq!(world.run_program(&["status", "--json", "--exit-code"], 0).json()["clock"]["finding"], json!("agree"));
    for (future, is_shown) in [("2099-01-01T00:00:00Z", true), ("2026-01-01T00:00:00Z", false)] {
        world.execute(&format!("UPDATE sync_cycles SET started_at = '{future}', finished_at = '{future}'")).await;
        let status = world.run_program(&["status", "--json", "--exit-code"], 0).json();
        assert_eq!(status["state"], json!("ok"));
        let words = world.run_program(&["status"], 0).stdout;
        assert_eq!(words.contains("Clock         the last cycle lies in the future"), is_shown, "{words}");
    }
    // Graph's clock is two hours ahead: this machine's is wrong, or that of a proxy.
    let ahead = learner_sync::model::system_clock() + jiff::SignedDuration::from_hours(2);
    world.date = Some(DateHeader::clock(ahead));
    world.run_program(&["sync"], 0);
    let status = world.run_program(&["status", "--json", "--exit-code"], 0).json();
    assert_eq!((&status["state"], &status["clock"]["finding"]), (&json!("ok"), &json!("differ")));
    assert!((-7210..=-7190).contains(&status["clock"]["ahead_seconds"].as_i64().unwrap()), "{status}");
    world.run_program(&["pause"], 0);
    assert_eq!(world.run_program(&["status", "--json"], 0).json()["state"], json!("paused"));
}

#[tokio::test]
async fn status_shows_failing_users_with_reasons() {
    let world = world_with_twins().await;
    let document = world.run_program(&["status", "--json", "--exit-code"], 3).json();
    assert_eq!(document["state"], json!("partial"));
    let failing = document["failing"].as_array().unwrap();
    assert_eq!(failing.len(), 2, "{document}");
    for user in failing {
        assert_eq!((&user["reason"], &user["attempts"]), (&json!("conflict"), &json!(1)));
        assert!(user["user_name"].as_str().unwrap().starts_with("ada.number"), "{document}");
    }
    let words = world.run_program(&["status"], 0).stdout;
    assert!(words.contains("ada.number0@harbourworks.example") && words.contains("conflict"), "{words}");
    for user in failing {
        let detail = user["detail"].as_str().unwrap();
        assert!(words.contains(detail), "a pipe gets the whole advice: {detail}: {words}");
    }
    world.run_program(&["sync"], 3);
    assert_eq!(world.run_program(&["status", "--json"], 0).json()["failing"][0]["attempts"], json!(2));
}

#[apply(on_both)]
async fn status_shows_held_users() {
    let (world, _) = world_with_held().await;
    let document = world.run_program(&["status", "--json", "--exit-code"], 3).json();
    assert_eq!(document["state"], json!("held"));
    let held = document["held"].as_array().unwrap();
    assert_eq!(held.len(), 12);
    for user in held {
        assert_eq!((&user["action"], &user["reason"]), (&json!("deactivate"), &json!("threshold")));
        assert!(user["user_name"].is_string() && user["approved_at"].is_null(), "{document}");
        assert_eq!(user["change_reason"], json!("unassigned"));
    }
    assert_eq!(document["held_by_reason"], json!({ "threshold": 12 }));
    assert_eq!(document["reason"], json!("12 users are held until their changes are approved: 12 threshold"));
    let words = world.run_program(&["status"], 0).stdout;
    assert!(words.contains("Held (12)") && words.contains("learner-sync approve"), "{words}");
    let listed = |words: &str| words.matches("would deactivate").count();
    assert!(words.contains("and 7 more; to list them: learner-sync status --all"), "{words}");
    assert_eq!((listed(&words), listed(&world.run_program(&["status", "--all"], 0).stdout)), (5, 12), "{words}");
    let because = |words: &str| words.matches("would deactivate (unassigned)").count();
    assert_eq!(because(&words), 5, "{words}");
    let approve = world.run_program(&["approve", "--yes", "--expect", "12"], 0).stdout;
    assert_eq!(because(&approve), 12, "{approve}");
    let approved = world.run_program(&["status", "--json", "--exit-code"], 3).json();
    assert_eq!(approved["reason"], json!("the next cycle applies the approved changes: 12 threshold"));
    assert_eq!(approved["held_approved"], json!(12));
    let words = world.run_program(&["status"], 0).stdout;
    assert!(words.contains("Held (12); all approved; the next cycle applies the changes"), "{words}");
}

#[apply(on_both)]
async fn the_next_cycle_adds_the_reason_of_a_held_change_that_is_unknown_or_another_one() {
    let (world, ids) = world_with_held().await;
    world.execute("UPDATE sync_held SET change_reason = NULL").await;
    let change_reason = |index: usize| {
        let held = world.run_program(&["status", "--json"], 0).json()["held"].as_array().unwrap().clone();
        let user = held.into_iter().find(|user| user["entra_id"] == json!(ids[index])).unwrap();
        (user["change_reason"].clone(), user["since"].clone())
    };
    let (_, since) = change_reason(0);
    assert_eq!(change_reason(1).0, json!(null));
    world.sim.tenant(|tenant| {
        tenant.user_mut(&ids[0]).account_enabled = Some(false);
    });
    world.run_program(&["sync"], 3);
    assert_eq!(change_reason(0), (json!("account-disabled"), since));
    assert_eq!(change_reason(1).0, json!("unassigned"));
    let words = world.run_program(&["approve", "--expect", "1"], 1).stdout;
    assert!(words.contains("would deactivate (account-disabled)"), "{words}");
}

#[apply(on_both)]
async fn status_and_approve_say_how_held_and_waiting_users_were_assigned() {
    let (mut tenant, ids) = users(5);
    let group = tenant.add_group("Divers");
    ids[..3].iter().for_each(|id| {
        tenant.unassign(id);
        tenant.add_member(&group, id);
    });
    tenant.assign_group(&group);
    let world = World::start(tenant).await;
    world.run_program(&["sync"], 0);
    world.sim.tenant(|tenant| ids[..3].iter().for_each(|id| tenant.remove_member(&group, id)));
    world.run_program(&["sync"], 3);
    world.configure("[safety]\ndeactivate_after = \"1d\"");
    world.sim.tenant(|tenant| tenant.unassign(&ids[3]));
    world.run_program(&["sync"], 3);
    let status = world.run_program(&["status", "--json"], 0).json();
    let via = |list: &str| -> Vec<Value> {
        status[list].as_array().unwrap().iter().map(|user| user["via"].clone()).collect()
    };
    assert_eq!((via("held"), via("failing")), (vec![json!([group]); 3], vec![json!(["direct"])]), "{status}");
    let words = world.run_program(&["status"], 0).stdout;
    let lost = format!("through the group {group}");
    assert_eq!((words.matches(&lost).count(), words.matches("last assigned directly").count()), (3, 1), "{words}");
    let words = world.run_program(&["approve"], 2).stdout;
    assert_eq!(words.matches(&lost).count(), 3, "{words}");
}

#[apply(on_both)]
async fn the_counts_are_complete_and_the_lists_end() {
    let (mut tenant, ids) = users(3);
    let mail = tenant.user(&ids[0]).unwrap().mail.clone();
    tenant.user_mut(&ids[1]).mail = mail;
    tenant.user_mut(&ids[2]).mail = None;
    let world = World::start(tenant).await;
    world.run_program(&["sync"], 3);
    let status = world.run_program(&["status", "--json"], 0).json();
    assert_eq!(status["failing_by_reason"], json!({ "conflict": 2 }));
    assert_eq!(status["skipped_by_reason"], json!({ "missing-required": 1 }));
    assert_eq!((&status["last_cycle"]["failed"], &status["last_cycle"]["skipped"]), (&json!(2), &json!(1)));
    let words = world.run_program(&["status"], 0).stdout;
    for text in ["Failing (2): 2 conflict", "Skipped (1): 1 missing-required", "2 users fail: 2 conflict"] {
        assert!(words.contains(text), "{text}: {words}");
    }
    assert!(!words.contains("more"), "{words}");

    // Far more than fit on a screen.
    let source = status["source"].as_str().unwrap();
    let row = |number: usize| {
        let (id, at) = (format!("{number:08x}-0000-4000-8000-000000000000"), "2026-01-01T00:00:00Z");
        format!("('{source}', '{id}', 'unreadable', 'odd', '{at}', '{at}', 3)")
    };
    let rows: Vec<String> = (0..600).map(row).collect();
    let columns = "source, entra_id, reason, detail, first_at, last_at, attempts";
    world.execute(&format!("INSERT INTO sync_failures ({columns}) VALUES {}", rows.join(", "))).await;
    let status = world.run_program(&["status", "--json"], 0).json();
    assert_eq!(status["failing_by_reason"], json!({ "conflict": 2, "unreadable": 600 }));
    assert_eq!((&status["state"], &status["since"]), (&json!("partial"), &json!("2026-01-01T00:00:00Z")));
    let length = |status: &Value| status["failing"].as_array().unwrap().len();
    // A hundred that fail, and the skipped one.
    assert_eq!(length(&status), 101);
    assert_eq!(length(&world.run_program(&["status", "--json", "--all"], 0).json()), 603);
    let words = world.run_program(&["status"], 0).stdout;
    assert!(words.contains("Failing (602): 2 conflict, 600 unreadable"), "{words}");
    assert!(words.contains("and 597 more; to list them: learner-sync status --all"), "{words}");

    // Skipped users do not hide the failing ones.
    world.execute("UPDATE sync_failures SET reason = 'missing-required' WHERE reason = 'unreadable'").await;
    let status = world.run_program(&["status", "--json"], 0).json();
    let failing = status["failing"].as_array().unwrap().iter().filter(|user| user["reason"] == json!("conflict"));
    assert_eq!((failing.count(), length(&status)), (2, 102), "{status}");
    let words = world.run_program(&["status"], 0).stdout;
    assert_eq!(words.matches("ada.number").count(), 2, "{words}");
    assert!(words.contains("and 596 more; to list them: learner-sync status --all"), "{words}");
}

#[tokio::test]
async fn watch_refreshes_until_it_is_stopped() {
    let world = World::start(users(1).0).await;
    let mut command = world.program(&["status", "--watch", "--json"]);
    let lines = world.path("lines");
    command.stdout(std::fs::File::create(&lines).unwrap());
    let watch = Daemon::spawn_with_output(command, &world.path("watch.log"));
    let states = || {
        let text = std::fs::read_to_string(&lines).unwrap();
        // The last line may be incomplete.
        let lines = text.split_inclusive('\n').filter(|line| line.ends_with('\n'));
        let document =
            |line: &str| serde_json::from_str::<Value>(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        lines.map(|line| document(line)["state"].clone()).collect::<Vec<_>>()
    };
    eventually("it shows the state", async || states().contains(&json!("never-run")).then_some(())).await;
    world.run_program(&["sync"], 0);
    eventually("it shows the new state", async || states().contains(&json!("ok")).then_some(())).await;
    let config = std::fs::read_to_string(world.config_path()).unwrap();
    std::fs::write(world.config_path(), "odd").unwrap();
    eventually("it shows the failure", async || states().contains(&json!(null)).then_some(())).await;
    let failed = world.run_program(&["status", "--json"], 78).json();
    let expected = ["error", "exit_code", "hint", "reason", "since", "state"];
    assert_eq!((keys(&failed), &failed["exit_code"]), (BTreeSet::from(expected), &json!(78)), "{failed}");
    std::fs::write(world.config_path(), config).unwrap();
    watch.stop().await;
    world.run_program(&["status", "--watch", "--exit-code"], 2);
}

#[tokio::test]
async fn status_after_a_failed_cycle_shows_the_error_and_the_last_success() {
    let world = World::start(users(1).0).await;
    world.run_program(&["sync"], 0);
    std::fs::write(world.path("secret"), "wrong").unwrap();
    world.run_program(&["sync"], 1);
    // `status` does not need the secret.
    std::fs::remove_file(world.path("secret")).unwrap();
    let document = world.run_program(&["status", "--json", "--exit-code"], 1).json();
    assert_eq!((&document["state"], &document["last_cycle"]["outcome"]), (&json!("failing"), &json!("failed")));
    assert!(document["last_cycle"]["error"].as_str().unwrap().contains("AADSTS7000215"), "{document}");
    let words = world.run_program(&["status"], 0).stdout;
    assert!(words.contains("AADSTS7000215") && words.contains("Last success  success at"), "{words}");
    assert!(words.contains("failing since "), "{words}");
    assert_eq!(document["failing_since"], document["last_cycle"]["started_at"]);
}

#[apply(on_both)]
async fn a_run_for_one_user_does_not_hide_the_last_success() {
    let world = World::start(users(1).0).await;
    world.run_program(&["sync"], 0);
    world.run_program(&["provision", "ada.number0@harbourworks.example"], 0);
    // More failures than are read to find a success.
    let columns = "source, \"trigger\", started_at, outcome, in_scope, created, updated, deactivated, reactivated, \
                   unchanged, skipped, failed, held, requests";
    let failed = "SELECT source, \"trigger\", started_at, 'failed', 0, 0, 0, 0, 0, 0, 0, 0, 0, 0 FROM sync_cycles";
    for _ in 0..7 {
        world.execute(&format!("INSERT INTO sync_cycles ({columns}) {failed}")).await;
    }
    let document = world.run_program(&["status", "--json"], 0).json();
    assert_eq!(document["last_success"]["cycle"], json!(1), "{document}");
}

#[tokio::test]
async fn a_failure_before_the_application_is_read_belongs_to_the_same_source() {
    let world = World::start(users(1).0).await;
    let (tenant, client, app_id) = world
        .sim
        .tenant(|tenant| (tenant.tenant_id.clone(), tenant.client_id.clone(), tenant.application.app_id.clone()));
    world.configure_for(&tenant, &client, &app_id, "");
    world.run_program(&["sync"], 0);
    std::fs::write(world.path("secret"), "wrong").unwrap();
    world.run_program(&["sync"], 1);
    world.run_program(&["sync"], 1);
    let document = world.run_program(&["status", "--json"], 0).json();
    assert_eq!((&document["state"], &document["last_success"]["cycle"]), (&json!("failing"), &json!(1)));
    assert_eq!(world.value("SELECT count(DISTINCT source) FROM sync_cycles").await, "1");
}

#[apply(on_both)]
async fn status_during_a_cycle_is_running_and_names_the_process() {
    let world = World::start(users(1).0).await;
    let gate = Gate::new();
    world.sim.inject(Fault::on("GET", "/v1.0/servicePrincipals/{id}/appRoleAssignedTo").hold_until(&gate));
    let mut first = Daemon::spawn(world.program(&["sync"]), &world.path("first.log"));
    gate.reached().await;
    let document = world.run_program(&["status", "--json"], 0).json();
    assert_eq!((&document["state"], &document["last_cycle"]["finished_at"]), (&json!("running"), &json!(null)));
    assert_eq!(document["running_cycle"], json!({ "pid": first.pid(), "command": "learner-sync sync" }));
    gate.release();
    assert_eq!(first.ended().await, Some(0));
}

/// The rows that `log --format json` prints: `action status reason`.
fn rows(world: &World, filter: &[&str]) -> Vec<String> {
    let arguments = [&["log", "--format", "json"], filter].concat();
    let document = world.run_program(&arguments, 0).json();
    let text = |row: &Value, key: &str| row[key].as_str().unwrap().to_owned();
    let rows = document.as_array().unwrap().iter();
    rows.map(|row| format!("{} {} {}", text(row, "action"), text(row, "status"), text(row, "reason"))).collect()
}

#[apply(on_both)]
async fn log_filters_by_user_action_status_and_time() {
    let (mut tenant, ids) = users(3);
    let mail = tenant.user(&ids[0]).unwrap().mail.clone();
    tenant.user_mut(&ids[1]).mail = mail;
    let world = World::start(tenant).await;
    world.run_program(&["sync"], 3);
    world.sim.tenant(|tenant| {
        tenant.user_mut(&ids[1]).mail = Some("other@harbourworks.example".to_owned());
        tenant.user_mut(&ids[2]).department = Some("Sales".to_owned());
    });
    world.run_program(&["sync"], 0);
    world.sim.tenant(|tenant| tenant.unassign(&ids[2]));
    world.run_program(&["sync"], 0);
    world.execute("UPDATE provisioning_log SET at = '2026-01-01T00:00:00Z' WHERE cycle_id = 1").await;

    assert_eq!(rows(&world, &[]).len(), 7);
    let of_two = ["create success assigned", "update success attributes-changed", "deactivate success unassigned"];
    assert_eq!(rows(&world, &["--user", &ids[2]]), of_two);
    assert_eq!(rows(&world, &["--user", "Ada.Number2@harbourworks.example"]), of_two);
    let learner = world.learner(&ids[2], "id").await.remove(0);
    assert_eq!(rows(&world, &["--user", &learner]), of_two);
    assert_eq!(rows(&world, &["--action", "deactivate"]), ["deactivate success unassigned"]);
    assert_eq!(rows(&world, &["--status", "failure"]), ["create failure conflict", "create failure conflict"]);
    assert_eq!(rows(&world, &["--since", "2026-01-02"]).len(), 4);
    assert_eq!(rows(&world, &["--since", "2026-01-01T00:00:00Z"]).len(), 7);
    assert_eq!(rows(&world, &["--since", "1h"]).len(), 4);
    assert_eq!(rows(&world, &["--since", "2026-01-02", "--user", &ids[2], "--action", "update"]), [of_two[1]]);
    assert_eq!(rows(&world, &["--user", "nobody@harbourworks.example"]), [""; 0]);
    world.run_program(&["log", "--since", "yesterday"], 2);
}

#[tokio::test]
async fn log_prints_a_table_json_and_csv() {
    let (tenant, ids) = users(2);
    let world = World::start(tenant).await;
    world.run_program(&["sync"], 0);
    let odd = "Research, \"Development\"\nand so on";
    world.sim.tenant(|tenant| tenant.user_mut(&ids[0]).department = Some(odd.to_owned()));
    world.run_program(&["sync"], 0);

    let columns = [
        "id",
        "cycle_id",
        "at",
        "action",
        "status",
        "entra_id",
        "learner_id",
        "user_name",
        "reason",
        "detail",
        "changes",
        "approved_by",
        "request_id",
        "phase",
    ];
    let document = world.run_program(&["log", "--format", "json"], 0).json();
    for row in document.as_array().unwrap() {
        assert_eq!(keys(row), BTreeSet::from(columns));
    }
    let change = json!([{
        "attribute": "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:department",
        "old": "Research", "new": odd,
    }]);
    assert_eq!(document[2]["changes"], change);

    let csv = world.run_program(&["log", "--format", "csv"], 0).stdout;
    let mut reader = csv::Reader::from_reader(csv.as_bytes());
    assert_eq!(reader.headers().unwrap().iter().collect::<Vec<_>>(), columns);
    let records: Vec<_> = reader.records().map(|record| record.unwrap()).collect();
    assert_eq!(records.len(), 3);
    assert_eq!(serde_json::from_str::<Value>(&records[2][10]).unwrap(), change);

    let table = world.run_program(&["log"], 0).stdout;
    assert!(table.contains("attributes-changed") && table.contains("ada.number0@harbourworks.example"), "{table}");
}

#[tokio::test]
async fn direction_characters_in_names_are_made_visible() {
    let (mut tenant, ids) = users(2);
    let mail = tenant.user(&ids[0]).unwrap().mail.clone();
    tenant.user_mut(&ids[1]).mail = mail;
    let world = World::start(tenant).await;
    world.run_program(&["sync"], 3);
    // A name that an earlier version wrote.
    world.execute("UPDATE provisioning_log SET user_name = 'ada\u{202e}nimda@harbourworks.example'").await;
    for command in ["status", "log"] {
        let words = world.run_program(&[command], 0).stdout;
        assert!(words.contains("ada\\u{202e}nimda") && !words.contains('\u{202e}'), "{command}: {words}");
    }
    // JSON contains the stored value, with an escape of its own.
    let log = world.run_program(&["log", "--format", "json"], 0);
    assert!(log.stdout.contains("ada\\u202enimda") && log.json().to_string().contains("ada\u{202e}nimda"), "{log:?}");
}

#[tokio::test]
async fn an_empty_log_exits_0() {
    let world = World::start(users(1).0).await;
    let before = world.files();
    assert_eq!(world.run_program(&["log", "--format", "json"], 0).json(), json!([]));
    assert_eq!(world.run_program(&["log", "--format", "csv"], 0).stdout.lines().count(), 1);
    world.run_program(&["log"], 0);
    assert_eq!(world.changed_since(&before), [""; 0]);
    world.run_program(&["sync"], 0);
    assert_eq!(rows(&world, &["--status", "held"]), [""; 0]);
}

#[tokio::test]
async fn an_expiring_credential_is_reported_by_log_status_and_check() {
    let (tenant, _) = users(1);
    let world = World::start(tenant).await;
    let ends = |days: i64| {
        let at = learner_sync::model::system_clock() + jiff::SignedDuration::from_hours(24 * days + 1);
        world.sim.tenant(|tenant| tenant.secret_expires_at = at);
    };
    ends(31);
    let quiet = world.run_program(&["sync"], 0);
    assert!(!quiet.stderr.contains("expires in"), "{quiet:?}");
    assert!(!world.run_program(&["status"], 0).stdout.contains("Credential"));

    // Checked once a day.
    ends(12);
    world.execute("UPDATE sync_state SET credential_looked_at = '2026-01-01T00:00:00Z'").await;
    let log = world.run_program(&["sync"], 0).stderr;
    assert!(log.contains("WARN") && log.contains("the credential expires in 12 days"), "{log}");
    assert!(!world.run_program(&["sync"], 0).stderr.contains("expires in"));
    let status = world.run_program(&["status"], 0).stdout;
    assert!(status.contains("Credential    the credential expires in 12 days: add a new one"), "{status}");
    assert!(world.run_program(&["status", "--json"], 0).json()["credential_ends_at"].is_string());
    let check = world.run_program(&["check"], 0).stdout;
    assert!(check.contains("warn credential"), "{check}");
}

#[tokio::test]
async fn plan_and_status_report_disabled_provisioning() {
    let world = World::start(users(1).0).await;
    let expect_in = |words: &str, commands: &[&[&str]]| {
        for arguments in commands {
            let ran = world.run_program(arguments, 0);
            assert!(ran.stdout.contains(words), "{arguments:?}: {ran:?}");
        }
    };
    let untold = |words: &str| {
        for arguments in [&["status"][..], &["plan"]] {
            let ran = world.run_program(arguments, 0);
            assert!(!ran.stdout.contains(words), "{arguments:?}: {ran:?}");
        }
    };
    let (off, paused) = ("provisioning.users = false", "Provisioning is paused; resume it with `learner-sync resume`");
    // Also before the first cycle, without a database.
    for _ in 0..2 {
        world.configure("[provisioning]\nusers = false");
        expect_in(off, &[&["status"], &["plan"], &["sync", "--dry-run"]]);
        untold(paused);
        world.configure("");
        untold(off);
        world.run_program(&["sync"], 0);
    }
    world.run_program(&["pause"], 0);
    expect_in(paused, &[&["status"], &["plan"], &["sync", "--dry-run"]]);
    assert_eq!(world.run_program(&["status", "--json"], 0).json()["paused"], json!(true));
    world.run_program(&["resume"], 0);
    untold(paused);
}
