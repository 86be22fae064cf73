//! `sync`: its output and its lock.

use std::collections::BTreeSet;

use graph_sim::{Fault, Gate};
use serde_json::json;

use super::SUMMARY;
use crate::database::{apply, on_both};
use crate::program::{Daemon, add_assigned_user, keys, users};
use crate::world::World;

#[tokio::test]
async fn sync_prints_a_summary() {
    let world = World::start(users(3).0).await;
    let ran = world.run_program(&["sync"], 0);
    assert!(ran.stdout.contains("3 in scope: 3 created, 0 updated, 0 reactivated, 0 unchanged"), "{ran:?}");
    assert!(ran.stdout.starts_with("success in "), "{ran:?}");
    assert_eq!(world.cycles().await, ["command success"]);
}

#[tokio::test]
async fn sync_json_has_exactly_the_documented_keys() {
    let world = World::start(users(3).0).await;
    let document = world.run_program(&["sync", "--json"], 0).json();
    assert_eq!(keys(&document), BTreeSet::from(SUMMARY));
    assert_eq!(document["cycle"], json!(1));
    assert_eq!(document["trigger"], json!("command"));
    assert_eq!(document["outcome"], json!("success"));
    assert_eq!(document["in_scope"], json!(3));
    assert_eq!(document["created"], json!(3));
    assert_eq!(document["error"], json!(null));
    assert!(document["requests"].as_u64().unwrap() >= 3, "{document}");
    assert!(document["duration_ms"].is_u64(), "{document}");
    let again = world.run_program(&["sync", "--json"], 0).json();
    assert_eq!((&again["cycle"], &again["created"], &again["unchanged"]), (&json!(2), &json!(0), &json!(3)));
}

#[apply(on_both)]
async fn full_ignores_the_cache_and_repairs_drift() {
    let (tenant, ids) = users(2);
    let world = World::start(tenant).await;
    world.run_program(&["sync"], 0);
    // The generation is unchanged, so that the cache looks current.
    world.execute("UPDATE learners SET department = 'Sales'").await;
    assert_eq!(world.run_program(&["sync", "--json"], 0).json()["updated"], json!(0));
    assert_eq!(world.run_program(&["sync", "--full", "--json"], 0).json()["updated"], json!(2));
    assert_eq!(world.learner(&ids[0], "department").await, ["Research"]);
}

#[tokio::test]
async fn a_repair_has_the_reason_drift() {
    let (tenant, ids) = users(2);
    let world = World::start(tenant).await;
    world.run_program(&["sync"], 0);
    world.execute("UPDATE learners SET department = 'Sales'").await;
    world.run_program(&["sync", "--full"], 0);
    assert_eq!(world.log(&ids[0]).await, ["create success assigned", "update success drift"]);
}

#[tokio::test]
async fn a_failed_user_exits_3() {
    let (mut tenant, _) = users(2);
    let twin = add_assigned_user(&mut tenant, "Grace", "Hopper");
    let other = tenant.users().find(|user| user.surname.as_deref() == Some("Number0")).unwrap().clone();
    tenant.user_mut(&twin).mail = other.mail;
    let world = World::start(tenant).await;
    let rehearsed = world.run_program(&["sync", "--dry-run"], 3).stdout;
    assert!(rehearsed.contains("2 failed") && !rehearsed.contains("`learner-sync status`"), "{rehearsed}");
    let document = world.run_program(&["sync", "--json"], 3).json();
    assert_eq!(
        (&document["outcome"], &document["failed"], &document["created"]),
        (&json!("partial"), &json!(2), &json!(1))
    );
    let words = world.run_program(&["sync"], 3).stdout;
    assert!(words.contains("`learner-sync status` shows the skipped"), "{words}");
}

#[tokio::test]
async fn held_users_exit_3() {
    let (tenant, ids) = users(15);
    let world = World::start(tenant).await;
    world.run_program(&["sync"], 0);
    world.sim.tenant(|tenant| ids[..12].iter().for_each(|id| tenant.unassign(id)));
    let rehearsed = world.run_program(&["sync", "--dry-run"], 3).stdout;
    assert!(rehearsed.contains("12 held") && !rehearsed.contains("`learner-sync approve`"), "{rehearsed}");
    let document = world.run_program(&["sync", "--json"], 3).json();
    assert_eq!(
        (&document["outcome"], &document["held"], &document["deactivated"]),
        (&json!("held"), &json!(12), &json!(0))
    );
    assert_eq!(world.value("SELECT count(*) FROM learners WHERE active").await, "15");
    let words = world.run_program(&["sync"], 3).stdout;
    assert!(words.contains("`learner-sync approve`"), "{words}");
}

#[apply(on_both)]
async fn a_second_cycle_exits_75_and_names_the_first() {
    let world = World::start(users(1).0).await;
    let gate = Gate::new();
    world.sim.inject(Fault::on("GET", "/v1.0/servicePrincipals/{id}/appRoleAssignedTo").hold_until(&gate));
    let mut first = Daemon::spawn(world.program(&["sync"]), &world.path("first.log"));
    gate.reached().await;

    let ran = world.run_program(&["sync"], 75);
    let holder = format!("learner-sync sync (pid {})", first.pid());
    assert!(ran.stderr.contains(&holder) && ran.stderr.contains("--wait waits"), "{ran:?}");
    let document = world.run_program(&["sync", "--json"], 75).json();
    assert_eq!(keys(&document), BTreeSet::from(SUMMARY));
    assert_eq!(document["outcome"], json!("failed"));
    assert!(document["error"].as_str().unwrap().contains(&holder), "{document}");

    let mut waiting = Daemon::spawn(world.program(&["sync", "--wait"]), &world.path("waiting.log"));
    waiting.logged(&format!("waiting for {holder}"), 1).await;
    assert_eq!(world.cycles().await, ["command -"]);
    gate.release();
    assert_eq!(first.ended().await, Some(0), "{}", first.log());
    assert_eq!(waiting.ended().await, Some(0), "{}", waiting.log());
    assert_eq!(world.cycles().await, ["command success", "command success"]);
}

#[apply(on_both)]
async fn a_stop_while_waiting_for_the_lock_ends_the_wait() {
    let world = World::start(users(1).0).await;
    let gate = Gate::new();
    world.sim.inject(Fault::on("GET", "/v1.0/servicePrincipals/{id}/appRoleAssignedTo").hold_until(&gate));
    let mut first = Daemon::spawn(world.program(&["sync"]), &world.path("first.log"));
    gate.reached().await;
    let mut waiting = Daemon::spawn(world.program(&["sync", "--wait"]), &world.path("waiting.log"));
    waiting.logged("waiting for", 1).await;
    waiting.signal(rustix::process::Signal::TERM);
    assert_eq!(waiting.ended().await, Some(1), "{}", waiting.log());
    gate.release();
    assert_eq!(first.ended().await, Some(0), "{}", first.log());
    assert_eq!(world.cycles().await, ["command success"]);
}

#[tokio::test]
async fn a_closed_standard_output_is_not_an_error() {
    let world = World::start(users(3).0).await;
    world.run_program(&["sync"], 0);
    for arguments in [&["log", "--format", "json"][..], &["status"], &["plan", "--json"], &["sync", "--json"]] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut command = world.program(arguments);
        command.stdout(writer);
        let mut process = command.stdin(std::process::Stdio::null()).spawn().unwrap();
        assert_eq!(process.wait().unwrap().code(), Some(0), "{arguments:?}");
    }
}

#[tokio::test]
async fn a_closed_standard_error_is_not_an_error() {
    let world = World::start(users(3).0).await;
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut command = world.program(&["sync"]);
    let mut process = command.stderr(writer).stdout(std::process::Stdio::null()).spawn().unwrap();
    assert_eq!(process.wait().unwrap().code(), Some(0));
    assert_eq!(world.cycles().await, ["command success"]);
    // The exit code still shows the result.
    std::fs::remove_file(world.path("secret")).unwrap();
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut command = world.program(&["sync"]);
    let mut process = command.stderr(writer).stdout(std::process::Stdio::null()).spawn().unwrap();
    assert_eq!(process.wait().unwrap().code(), Some(78));
}

#[apply(on_both)]
async fn concurrent_syncs_run_one_after_the_other_or_exit_75() {
    let world = World::start(users(5).0).await;
    let spawn = |arguments: &[&str], number: usize| {
        Daemon::spawn(world.program(arguments), &world.path(&format!("many-{}-{number}.log", arguments.len())))
    };
    let mut waiting: Vec<_> = (0..4).map(|number| spawn(&["sync", "--wait"], number)).collect();
    let mut hasty: Vec<_> = (0..4).map(|number| spawn(&["sync"], number)).collect();
    let mut ran = 0;
    for process in &mut waiting {
        assert_eq!(process.ended().await, Some(0), "{}", process.log());
        ran += 1;
    }
    for process in &mut hasty {
        match process.ended().await {
            Some(0) => ran += 1,
            code => assert_eq!(code, Some(75), "{}", process.log()),
        }
    }
    let cycles = world.cycles().await;
    assert_eq!(cycles, vec!["command success"; ran]);
    assert_eq!(world.value("SELECT count(*) FROM learners").await, "5");
    assert_eq!(world.value("SELECT count(*) FROM provisioning_log").await, "5");
}

#[tokio::test]
async fn one_database_with_two_names_has_one_lock() {
    let world = World::start(users(1).0).await;
    world.run_program(&["sync"], 0);
    let config = std::fs::read_to_string(world.config_path()).unwrap();
    std::os::unix::fs::symlink(world.path("learners.db"), world.path("link.db")).unwrap();
    let gate = Gate::new();
    world.sim.inject(Fault::on("GET", "/v1.0/servicePrincipals/{id}/appRoleAssignedTo").hold_until(&gate));
    let mut first = Daemon::spawn(world.program(&["sync"]), &world.path("first.log"));
    gate.reached().await;
    std::fs::write(world.config_path(), config.replace("learners.db", "link.db")).unwrap();
    world.run_program(&["sync"], 75);
    gate.release();
    assert_eq!(first.ended().await, Some(0));
}

#[tokio::test]
async fn after_a_sync_the_file_is_complete_without_its_log() {
    let world = World::start(users(40).0).await;
    world.run_program(&["sync"], 0);
    std::fs::copy(world.path("learners.db"), world.path("copy.db")).unwrap();
    let copied = crate::database::query(&world.path("copy.db"), "SELECT count(*) FROM learners").await;
    assert_eq!(copied, [["40"]]);
}

#[tokio::test]
async fn a_value_of_another_type_is_repaired() {
    let (tenant, _) = users(3);
    let world = World::start(tenant).await;
    world.run_program(&["sync"], 0);
    world.execute("UPDATE learners SET department = cast(x'c9' AS TEXT) WHERE id = 2").await;
    let document = world.run_program(&["sync", "--full", "--json"], 0).json();
    assert_eq!((&document["updated"], &document["outcome"]), (&json!(1), &json!("success")));
    assert_eq!(world.value("SELECT count(DISTINCT coalesce(department, '')) FROM learners").await, "1");
}
