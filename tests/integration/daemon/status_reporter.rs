//! The state of the daemon: the same for `status`, systemd and the journal, and at once.

use std::os::unix::fs::PermissionsExt;

use rustix::process::Signal;
use serde_json::{Value, json};

use super::{daemon_in_cycle, hold_next_cycle, waiting_daemon, waiting_world};
use crate::database::{apply, on_both};
use crate::machine::Mount;
use crate::postgres::Server;
use crate::program::{Daemon, eventually, users};
use crate::world::World;

fn status(world: &World) -> Value {
    world.run_program(&["status", "--json"], 0).json()
}

/// The files of the record in the directory `name`.
fn records(world: &World, name: &str) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(world.path(name)).unwrap().map(|entry| entry.unwrap().path());
    entries.filter(|path| path.file_name().unwrap().to_string_lossy().starts_with("status-")).collect()
}

async fn logged_state(daemon: &Daemon, word: &str, times: usize) {
    daemon.logged(&format!("state {word}: "), times).await;
}

#[apply(on_both)]
async fn a_pause_and_a_resume_show_at_once_everywhere() {
    let (world, daemon) = waiting_world().await;
    world.run_program(&["pause"], 0);
    logged_state(&daemon, "paused", 1).await;
    let paused = world.run_program(&["status", "--json", "--exit-code"], 3).json();
    assert_eq!((&paused["state"], &paused["paused"]), (&json!("paused"), &json!(true)));
    let at = world.value("SELECT count(*) FROM audit_log WHERE action = 'pause'").await;
    assert_eq!(at, "1");
    assert!(paused["since"].is_string() && paused["next_cycle_at"].is_null(), "{paused}");
    let actor = world.value("SELECT actor FROM audit_log WHERE action = 'pause'").await;
    assert_eq!((&paused["paused_at"], &paused["paused_by"]), (&paused["since"], &json!(actor)));
    let words = world.run_program(&["status"], 0).stdout;
    let paused = words.lines().find(|line| line.starts_with("Paused        since ")).unwrap();
    assert!(paused.ends_with(&format!(" by {actor}")), "{words}");
    assert!(words.contains("Next cycle    none, because provisioning is paused"), "{words}");
    world.run_program(&["resume"], 0);
    logged_state(&daemon, "ok", 2).await;
    let resumed = status(&world);
    assert_eq!(resumed["state"], json!("ok"));
    assert!(resumed["next_cycle_at"].is_string(), "{resumed}");

    // The journal has a pause that does not change the state, too.
    std::fs::write(world.path("secret"), "wrong").unwrap();
    world.sim.revoke_tokens();
    daemon.signal(Signal::USR1);
    logged_state(&daemon, "failing", 1).await;
    world.run_program(&["pause"], 0);
    daemon.logged("provisioning was paused", 2).await;
    world.run_program(&["resume"], 0);
    daemon.logged("provisioning was resumed", 2).await;
    assert_eq!(status(&world)["state"], json!("failing"));
    daemon.stop().await;
}

#[apply(on_both)]
async fn signals_and_resync_are_in_the_audit_log_and_in_the_journal() {
    let (world, daemon) = waiting_world().await;
    daemon.signal(Signal::USR1);
    daemon.logged("a signal requests a cycle", 1).await;
    world.cycles_ended(2).await;
    world.run_program(&["resync", "--full", "--wait"], 0);
    let audit = eventually("the signals are recorded", async || {
        let rows = world.query("SELECT action, actor, detail FROM audit_log ORDER BY action, id").await;
        (rows.len() == 3).then_some(rows)
    })
    .await;
    assert_eq!(audit[0][0], "resync");
    assert_eq!(audit[0][2], r#"{"full":true}"#);
    assert_eq!(audit[1], ["signal", "SIGUSR1", r#"{"full":false}"#]);
    assert_eq!(audit[2], ["signal", "SIGUSR2", r#"{"full":true}"#]);
    daemon.stop().await;
}

#[apply(on_both)]
async fn a_run_for_one_user_is_not_the_last_cycle() {
    let (tenant, ids) = users(2);
    let world = World::start(tenant).await;
    world.run_program(&["sync"], 0);
    let before = status(&world);
    world.run_program(&["provision", &ids[0]], 0);
    let after = status(&world);
    assert_eq!((&after["last_cycle"], &after["state"]), (&before["last_cycle"], &json!("ok")));
    assert_eq!(world.cycles().await.len(), 2);
    world.sim.tenant(|tenant| tenant.permissions.clear());
    world.sim.revoke_tokens();
    world.run_program(&["provision", &ids[0]], 1);
    assert_eq!(status(&world)["state"], json!("ok"));
    let users = world.query("SELECT detail FROM audit_log WHERE action = 'provision'").await;
    assert!(users[0][0].contains(r#""cycle":2"#), "{users:?}");
}

#[apply(on_both)]
async fn a_rejected_reload_is_a_state_until_one_succeeds() {
    let (world, daemon) = waiting_world().await;
    let good = std::fs::read_to_string(world.config_path()).unwrap();
    std::fs::write(world.config_path(), format!("{good}\n[safety]\nmax_deactivatoins = 5\n")).unwrap();
    // A file that is broken on disk changes nothing yet.
    let before = status(&world);
    assert_eq!(before["state"], json!("ok"));
    assert!(before["configuration"]["error"].as_str().unwrap().contains("max_deactivatoins"), "{before}");
    daemon.signal(Signal::HUP);
    logged_state(&daemon, "reload-rejected", 1).await;
    let rejected = world.run_program(&["status", "--json", "--exit-code"], 3).json();
    assert_eq!(rejected["state"], json!("reload-rejected"));
    assert!(rejected["reason"].as_str().unwrap().contains("max_deactivatoins"), "{rejected}");
    assert_eq!(rejected["since"], rejected["daemon"]["configuration_rejected_at"]);
    assert_eq!(rejected["learners"]["linked"], json!(1));
    let words = world.run_program(&["status"], 0).stdout;
    assert!(words.contains("a reload was rejected at") && words.contains("the file cannot be used"), "{words}");

    // Also with a good file on disk, until the daemon has it.
    std::fs::write(world.config_path(), &good).unwrap();
    assert_eq!(status(&world)["state"], json!("reload-rejected"));
    daemon.signal(Signal::HUP);
    logged_state(&daemon, "ok", 2).await;
    assert_eq!(status(&world)["state"], json!("ok"));

    // The record outlives the daemon.
    daemon.stop().await;
    std::fs::write(world.config_path(), format!("{good}\nnonsense\n")).unwrap();
    let stopped = world.run_program(&["status", "--json", "--exit-code"], 1).json();
    assert_eq!((&stopped["state"], &stopped["daemon"]), (&json!("stopped"), &json!(null)));
}

#[apply(on_both)]
async fn the_record_is_private_and_survives_in_the_runtime_directory() {
    let world = World::start(users(1).0).await;
    std::fs::create_dir(world.path("run")).unwrap();
    let run = world.path("run").display().to_string();
    let daemon = world.daemon_with(&[("RUNTIME_DIRECTORY", &run)]).await;
    daemon.logged("waiting next_cycle.at=", 1).await;
    let [record] = &*records(&world, "run") else { panic!("no record") };
    assert_eq!(records(&world, "state"), [""; 0].map(std::path::PathBuf::from));
    assert_eq!(record.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    let text = std::fs::read_to_string(record).unwrap();
    assert!(!text.contains("ada.number") && !text.contains("Number0"), "{text}");
    let secret = std::fs::read_to_string(world.path("secret")).unwrap();
    assert!(!text.contains(&secret), "{text}");
    let document: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((&document["state"], &document["version"]), (&json!("ok"), &json!(1)));

    std::fs::write(world.config_path(), "[state\n").unwrap();
    let environment = [("RUNTIME_DIRECTORY", &*run)];
    let viewed = world.run_program_with(&environment, &["status", "--json", "--exit-code"], 0).json();
    assert_eq!((&viewed["state"], &viewed["held"]), (&json!("ok"), &json!(null)));
    assert_eq!(viewed["daemon"]["pid"], json!(daemon.pid()));
    // A record that cannot be read counts as missing.
    for junk in ["", "{", "null", r#"{"version": 2}"#] {
        std::fs::write(record, junk).unwrap();
        world.run_program_with(&environment, &["status"], 78);
    }
    world.configure("");
    world.run_program_with(&environment, &["status", "--exit-code"], 0);
    daemon.stop().await;
}

#[tokio::test]
async fn a_lost_database_blocks_and_is_seen_without_a_cycle() {
    let (world, daemon) = waiting_world().await;
    std::fs::rename(world.path("learners.db"), world.path("unmounted.db")).unwrap();
    let blocked = world.run_program(&["status", "--json", "--exit-code"], 1).json();
    assert_eq!(blocked["state"], json!("blocked"));
    logged_state(&daemon, "blocked", 1).await;
    std::fs::rename(world.path("unmounted.db"), world.path("learners.db")).unwrap();
    logged_state(&daemon, "ok", 2).await;
    assert_eq!(status(&world)["state"], json!("ok"));

    // What the daemon recorded is shown when the database cannot be read.
    std::fs::write(world.path("aside"), std::fs::read(world.path("learners.db")).unwrap()).unwrap();
    std::fs::write(world.path("learners.db"), "no database".repeat(1000)).unwrap();
    let blocked = world.run_program(&["status", "--json", "--exit-code"], 1).json();
    assert_eq!((&blocked["state"], &blocked["last_cycle"]["outcome"]), (&json!("blocked"), &json!("success")));
    assert!(blocked["reason"].as_str().unwrap().contains("is not an SQLite database"), "{blocked}");
    assert!(world.run_program(&["status"], 0).stdout.contains("State         blocked"));
    drop(daemon);
}

#[apply(on_both)]
async fn a_lost_configuration_hides_no_running_daemon() {
    let (world, daemon) = waiting_world().await;
    let state = world.path("state").display().to_string();
    let environment = [("LEARNER_SYNC_STATE__DIRECTORY", &*state)];
    std::fs::remove_file(world.config_path()).unwrap();
    let viewed = world.run_program_with(&environment, &["status", "--json", "--exit-code"], 0).json();
    assert_eq!((&viewed["state"], &viewed["daemon"]["pid"]), (&json!("ok"), &json!(daemon.pid())));
    assert!(viewed["configuration"]["error"].as_str().unwrap().contains("cannot read the file"), "{viewed}");
    let words = world.run_program_with(&environment, &["status"], 0).stdout;
    assert!(words.contains("the file cannot be used as it is now:") && words.contains("No such file"), "{words}");
    for arguments in [&["pause"][..], &["resume"], &["resync"], &["log"], &["approve"]] {
        let ran = world.run_program(arguments, 78);
        assert!(ran.stderr.contains("cannot read the file"), "{arguments:?}: {ran:?}");
        let ran = world.run_program_with(&environment, arguments, 0);
        assert!(ran.stderr.contains("cannot read the file"), "{arguments:?}: {ran:?}");
    }
    daemon.stop().await;
}

#[apply(on_both)]
async fn a_mistake_in_the_file_keeps_nobody_from_pausing_a_running_daemon() {
    let (world, daemon) = waiting_world().await;
    let secret = std::fs::read_to_string(world.path("secret")).unwrap();
    world.reconfigure(|text| format!("{text}\n[safety]\nmax_deactivatoins = 5\n"));
    let run = |arguments: &[&str]| {
        let ran = world.run_program(arguments, 0);
        assert!(ran.stderr.contains("uses what the daemon has loaded"), "{arguments:?}: {ran:?}");
        assert!(ran.stderr.contains("max_deactivatoins") && !ran.stderr.contains(&secret), "{arguments:?}: {ran:?}");
        ran
    };
    run(&["pause"]);
    logged_state(&daemon, "paused", 1).await;
    run(&["resume"]);
    run(&["resync", "--wait"]);
    assert_eq!(world.cycles().await, ["startup success", "signal success"]);
    assert_eq!(run(&["log", "--format", "json"]).json()[0]["action"], json!("create"));
    assert!(run(&["approve"]).stdout.contains("No users are held."));
    let [record] = &*records(&world, "state") else { panic!("no record") };
    let text = std::fs::read_to_string(record).unwrap();
    assert!(text.contains("enterprise_app") && !text.contains(&secret), "{text}");
    // These read Entra with the settings of the file.
    for arguments in [&["sync"][..], &["plan"], &["approve", "--relink"]] {
        world.run_program(arguments, 78);
    }
    daemon.stop().await;
    // Without a daemon there is nothing to pause.
    world.run_program(&["pause"], 78);
}

#[tokio::test]
async fn without_a_record_a_damaged_database_is_blocked_and_a_missing_configuration_has_no_state() {
    let world = World::start(users(1).0).await;
    std::fs::write(world.path("learners.db"), "no database".repeat(1000)).unwrap();
    let failed = world.run_program(&["status", "--json"], 78).json();
    assert_eq!((&failed["state"], &failed["exit_code"]), (&json!("blocked"), &json!(78)));
    let judged = world.run_program(&["status", "--json", "--exit-code"], 1).json();
    assert_eq!((&judged["state"], &judged["exit_code"]), (&json!("blocked"), &json!(1)));
    std::fs::remove_file(world.config_path()).unwrap();
    let unknown = world.run_program(&["status", "--json"], 78).json();
    assert_eq!((&unknown["state"], &unknown["exit_code"]), (&json!(null), &json!(78)));
    for document in [failed, unknown] {
        let reason = document["reason"].as_str().unwrap();
        assert!(!reason.is_empty() && document["error"] == document["reason"], "{document}");
    }
}

#[tokio::test]
async fn a_full_disk_blocks_and_room_ends_it() {
    let world = World::start(users(1).0).await;
    let Some(_disk) = Mount::small_disk(&world.path("disk"), 16 << 20) else { return };
    world.reconfigure(|text| text.replace("/learners.db", "/disk/learners.db"));
    let daemon = waiting_daemon(&world).await;
    let filler = world.path("disk/filler");
    {
        use std::io::Write;
        let mut file = std::fs::File::create(&filler).unwrap();
        while file.write_all(&[1; 4096]).is_ok() {}
    }
    logged_state(&daemon, "blocked", 1).await;
    let blocked = world.run_program(&["status", "--json", "--exit-code"], 1).json();
    assert_eq!(blocked["state"], json!("blocked"));
    assert!(blocked["reason"].as_str().unwrap().contains("the disk is full"), "{blocked}");
    std::fs::remove_file(&filler).unwrap();
    logged_state(&daemon, "ok", 2).await;
    assert_eq!(status(&world)["state"], json!("ok"));
    daemon.stop().await;
}

#[tokio::test]
async fn a_long_cycle_shows_how_far_it_is() {
    let world = World::start(users(1).0).await;
    let (daemon, gate) = daemon_in_cycle(&world).await;
    let is_reading = async || (status(&world)["progress"] == json!("reading users")).then_some(());
    eventually("the progress is shown", is_reading).await;
    assert!(world.run_program(&["status"], 0).stdout.contains("reading users"));
    gate.release();
    logged_state(&daemon, "ok", 1).await;
    assert_eq!(status(&world)["progress"], json!(null));
    daemon.stop().await;
}

#[apply(on_both)]
async fn a_cycle_that_starts_over_an_old_one_is_running_for_all() {
    let world = World::start(users(1).0).await;
    let (daemon, gate) = daemon_in_cycle(&world).await;
    logged_state(&daemon, "running", 1).await;
    let running = status(&world);
    assert_eq!((&running["state"], &running["next_cycle_at"]), (&json!("running"), &json!(null)));
    gate.release();
    logged_state(&daemon, "ok", 1).await;
    daemon.stop().await;
}

#[apply(on_both)]
async fn a_command_that_changes_the_state_notifies_the_daemon() {
    let (tenant, ids) = users(3);
    let world = World::start(tenant).await;
    let daemon = waiting_daemon(&world).await;
    world.sim.tenant(|tenant| {
        let mail = tenant.user(&ids[0]).unwrap().mail.clone();
        tenant.user_mut(&ids[1]).mail = mail;
    });
    world.run_program(&["sync"], 3);
    logged_state(&daemon, "partial", 1).await;
    assert_eq!(status(&world)["state"], json!("partial"));
    assert_eq!(status(&world)["last_cycle"]["trigger"], json!("command"));
    daemon.stop().await;
}

#[tokio::test]
async fn a_successful_command_ends_the_trouble_of_an_earlier_cycle() {
    let (world, daemon) = waiting_world().await;
    // A successful look does not show whether a cycle can begin.
    world.execute("CREATE TRIGGER t BEFORE INSERT ON sync_cycles BEGIN SELECT RAISE(ABORT, 'no'); END").await;
    daemon.signal(Signal::USR1);
    logged_state(&daemon, "blocked", 1).await;
    daemon.logged("waiting next_cycle.at=", 2).await;
    world.execute("DROP TRIGGER t").await;
    world.run_program(&["sync"], 0);
    logged_state(&daemon, "ok", 2).await;
    assert_eq!(status(&world)["state"], json!("ok"));
    daemon.stop().await;
}

#[tokio::test]
async fn a_locked_file_that_can_be_read_does_not_block() {
    let (world, daemon) = waiting_world().await;
    let lock = world.database.lock().await;
    daemon.signal(Signal::USR1);
    daemon.logged("cannot start a cycle", 1).await;
    logged_state(&daemon, "failing", 1).await;
    drop(lock);
    assert!(!daemon.log().contains("state blocked"), "{}", daemon.log());
    world.run_program(&["sync"], 0);
    logged_state(&daemon, "ok", 2).await;
    daemon.stop().await;
}

#[apply(on_both)]
async fn a_pause_during_a_cycle_shows_at_once() {
    let (world, daemon) = waiting_world().await;
    let gate = hold_next_cycle(&world);
    daemon.signal(Signal::USR1);
    gate.reached().await;
    world.run_program(&["pause"], 0);
    logged_state(&daemon, "paused", 1).await;
    gate.release();
    daemon.logged("waiting next_cycle.at=", 2).await;
    world.run_program(&["resume"], 0);
    daemon.logged("provisioning was resumed", 1).await;
    daemon.stop().await;
}

#[tokio::test]
async fn an_unreachable_server_blocks_until_a_cycle_reaches_it() {
    let Some(server) = Server::start() else { return };
    let world = World::start_on(server, users(1).0).await;
    let daemon = waiting_daemon(&world).await;
    server.kill();
    daemon.signal(Signal::USR1);
    logged_state(&daemon, "blocked", 1).await;
    let blocked = world.run_program(&["status", "--json", "--exit-code"], 1).json();
    assert_eq!((&blocked["state"], &blocked["learners"]["linked"]), (&json!("blocked"), &json!(1)));
    assert!(blocked["reason"].as_str().unwrap().contains("cannot connect"), "{blocked}");
    server.run();
    daemon.signal(Signal::USR1);
    logged_state(&daemon, "ok", 2).await;
    assert_eq!(status(&world)["state"], json!("ok"));
    daemon.stop().await;
}

#[tokio::test]
async fn a_lost_password_file_leaves_the_record_to_show() {
    let Some(server) = Server::start() else { return };
    let world = World::start_on(server, users(1).0).await;
    let daemon = waiting_daemon(&world).await;
    let gone = world.path("gone").display().to_string();
    let environment = [("LEARNER_SYNC_LEARNERS__PASSWORD_FILE", &*gone)];
    let viewed = world.run_program_with(&environment, &["status", "--json"], 0).json();
    assert_eq!((&viewed["state"], &viewed["learners"]["linked"]), (&json!("ok"), &json!(1)));
    assert!(viewed["configuration"]["error"].as_str().unwrap().contains("password_file"), "{viewed}");
    daemon.stop().await;
}
