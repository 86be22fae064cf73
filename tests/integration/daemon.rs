//! The daemon as a process: cycles, signals, reloads, shutdown, and notifications to systemd.

mod after_a_fix;
mod crash;
mod lost_database;
mod reload;
mod second;
mod signals;
mod status_reporter;
mod systemd;

use graph_sim::{Fault, Gate};
use rustix::process::Signal;
use serde_json::json;

use crate::database::{apply, on_both};
use crate::program::{Daemon, eventually, users};
use crate::world::World;

/// A schedule with a cycle every second.
const EVERY_SECOND: &str = "[schedule]\nmin_interval = \"1s\"\nmax_interval = \"1s\"";

/// A daemon that waits after its first cycle.
async fn waiting_daemon(world: &World) -> Daemon {
    let daemon = world.daemon().await;
    daemon.logged("waiting next_cycle.at=", 1).await;
    daemon
}

/// A world with one user, and its daemon after the first cycle.
async fn waiting_world() -> (World, Daemon) {
    let world = World::start(users(1).0).await;
    let daemon = waiting_daemon(&world).await;
    (world, daemon)
}

/// A daemon whose first cycle is held by a gate.
async fn daemon_in_cycle(world: &World) -> (Daemon, Gate) {
    let gate = hold_next_cycle(world);
    let daemon = world.daemon().await;
    gate.reached().await;
    (daemon, gate)
}

/// Sends SIGHUP and waits for a text in the log.
async fn reload(daemon: &Daemon, text: &str, times: usize) {
    daemon.signal(Signal::HUP);
    daemon.logged(text, times).await;
}

/// Holds the next cycle while it reads the assignments.
fn hold_next_cycle(world: &World) -> Gate {
    let gate = Gate::new();
    world.sim.inject(Fault::on("GET", "/v1.0/servicePrincipals/{id}/appRoleAssignedTo").hold_until(&gate));
    gate
}

#[apply(on_both)]
async fn the_daemon_runs_a_cycle_at_once_and_then_waits_for_a_random_time() {
    let world = World::start(users(2).0).await;
    let daemon = waiting_daemon(&world).await;
    assert_eq!(world.cycles().await, ["startup success"]);
    let pid = std::fs::read_to_string(world.path("state/learner-sync.pid")).unwrap();
    assert!(pid.starts_with(&format!("{} ", daemon.pid())), "{pid}");

    let status = world.run_program(&["status", "--json"], 0).json();
    let found = &status["daemon"];
    assert_eq!((&found["pid"], &found["command"]), (&json!(daemon.pid()), &json!("learner-sync run")));
    assert_eq!((&found["version"], &found["configuration_error"]), (&json!(env!("CARGO_PKG_VERSION")), &json!(null)));
    assert!(found["started_at"].is_string() && found["configuration_loaded_at"].is_string(), "{status}");
    assert_eq!(status["state"], json!("ok"));
    let next: jiff::Timestamp = status["next_cycle_at"].as_str().unwrap().parse().unwrap();
    let ended: jiff::Timestamp = status["last_cycle"]["finished_at"].as_str().unwrap().parse().unwrap();
    // 20 to 40 minutes after the end of the last cycle, with a margin for a slow machine.
    let wait = next.duration_since(ended).as_secs();
    assert!((20 * 60 - 1..=40 * 60 + 60).contains(&wait), "{wait} s");
    daemon.stop().await;

    // The pid file remains but is ignored.
    let status = world.run_program(&["status", "--json", "--exit-code"], 1).json();
    assert_eq!((&status["daemon"], &status["next_cycle_at"]), (&json!(null), &json!(null)));
    assert_eq!((&status["state"], &status["reason"]), (&json!("stopped"), &json!("the daemon was stopped")));
    assert_eq!(status["since"], status["last_daemon"]["stopped_at"]);
    assert_eq!(world.cycles().await, ["startup success"]);
}

#[apply(on_both)]
async fn a_second_daemon_exits_75_and_names_the_first() {
    let world = World::start(users(1).0).await;
    let daemon = world.daemon().await;
    let ran = world.run_program(&["run"], 75);
    assert!(ran.stderr.contains(&format!("learner-sync run (pid {})", daemon.pid())), "{ran:?}");
    world.cycles_ended(1).await;
    daemon.stop().await;
}

#[apply(on_both)]
async fn further_cycles_follow_the_schedule() {
    let world = World::start(users(1).0).await;
    world.configure(EVERY_SECOND);
    let daemon = world.daemon().await;
    let cycles = world.cycles_ended(3).await;
    assert_eq!(cycles[..3], ["startup success", "schedule success", "schedule success"]);
    daemon.stop().await;
}

#[apply(on_both)]
async fn a_failed_cycle_is_followed_by_the_next() {
    let world = World::start(users(1).0).await;
    world.configure(EVERY_SECOND);
    world.sim.inject(Fault::on("GET", "/v1.0/servicePrincipals/{id}/appRoleAssignedTo").answer(403));
    let daemon = world.daemon().await;
    let cycles = world.cycles_ended(2).await;
    assert_eq!(cycles[..2], ["startup failed", "schedule success"]);
    daemon.stop().await;
}

#[apply(on_both)]
async fn sync_exits_75_during_a_daemon_cycle_and_the_daemon_waits_for_a_sync() {
    let world = World::start(users(1).0).await;
    let (daemon, gate) = daemon_in_cycle(&world).await;
    let ran = world.run_program(&["sync"], 75);
    assert!(ran.stderr.contains(&format!("learner-sync run (pid {})", daemon.pid())), "{ran:?}");
    gate.release();
    world.cycles_ended(1).await;
    daemon.logged("waiting next_cycle.at=", 1).await;

    // The daemon runs a requested cycle after the sync.
    let gate = hold_next_cycle(&world);
    let mut sync = Daemon::spawn(world.program(&["sync"]), &world.path("sync.log"));
    gate.reached().await;
    daemon.signal(Signal::USR1);
    daemon.logged(&format!("waiting for learner-sync sync (pid {})", sync.pid()), 1).await;
    assert_eq!(world.cycles().await, ["startup success", "command -"]);
    gate.release();
    assert_eq!(sync.ended().await, Some(0));
    assert_eq!(world.cycles_ended(3).await, ["startup success", "command success", "signal success"]);
    daemon.stop().await;
}

#[apply(on_both)]
async fn a_paused_daemon_skips_signalled_cycles_and_logs_it() {
    let world = World::start(users(1).0).await;
    world.run_program(&["pause"], 0);
    let daemon = world.daemon().await;
    let skipped = "provisioning is paused; the cycle is skipped";
    daemon.logged(skipped, 1).await;
    daemon.signal(Signal::USR1);
    daemon.logged(skipped, 2).await;
    daemon.signal(Signal::USR2);
    daemon.logged(skipped, 3).await;
    assert_eq!(world.cycles().await, [""; 0]);
    world.run_program(&["resume"], 0);
    world.run_program(&["resync", "--wait"], 0);
    assert_eq!(world.cycles().await, ["signal success"]);
    daemon.stop().await;
}

#[apply(on_both)]
async fn a_paused_daemon_skips_scheduled_cycles_says_so_once_and_continues_after_resume() {
    let world = World::start(users(1).0).await;
    world.run_program(&["pause"], 0);
    world.configure(&format!("{EVERY_SECOND}\n[log]\nlevel = \"learner_sync=debug\""));
    let daemon = world.daemon().await;
    let skipped = "provisioning is paused; the cycle is skipped";
    daemon.logged(skipped, 3).await;
    let log = daemon.log();
    let lines = |text: &str| log.matches(text).count();
    assert_eq!((lines(&format!(" INFO {skipped}")), lines("waiting next_cycle.at=")), (1, 1), "{log}");
    assert_eq!((lines(" state never-run: "), lines(" state ")), (1, 1), "{log}");
    assert_eq!(world.cycles().await, [""; 0]);
    world.run_program(&["resume"], 0);
    assert_eq!(world.cycles_ended(1).await[0], "schedule success");
    // The next pause is another one.
    world.run_program(&["pause"], 0);
    daemon.logged(&format!(" INFO {skipped}"), 2).await;
    daemon.stop().await;
}

#[apply(on_both)]
async fn a_stop_ends_a_daemon_that_waits_for_a_sync() {
    let world = World::start(users(1).0).await;
    let gate = hold_next_cycle(&world);
    let mut sync = Daemon::spawn(world.program(&["sync"]), &world.path("sync.log"));
    gate.reached().await;
    let daemon = world.daemon().await;
    daemon.logged("waiting for learner-sync sync", 1).await;
    daemon.stop().await;
    gate.release();
    assert_eq!(sync.ended().await, Some(0));
    assert_eq!(world.cycles().await, ["command success"]);
}

#[apply(on_both)]
async fn a_daemon_continues_when_its_log_pipe_is_closed() {
    let world = World::start(users(1).0).await;
    let mut command = world.program(&["run"]);
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    command.stderr(writer);
    let daemon = Daemon::spawn_without_log(command, &world.path("nothing.log"));
    eventually("the first cycle ends", async || {
        let status = world.run_program(&["status", "--json"], 0).json();
        (status["last_cycle"]["outcome"] == "success" && status["next_cycle_at"].is_string()).then_some(())
    })
    .await;
    daemon.signal(Signal::USR1);
    assert_eq!(world.cycles_ended(2).await, ["startup success", "signal success"]);
    daemon.stop().await;
}

#[apply(on_both)]
async fn status_shows_no_next_time_during_a_cycle() {
    let (world, daemon) = waiting_world().await;
    let gate = hold_next_cycle(&world);
    daemon.signal(Signal::USR1);
    gate.reached().await;
    let status = world.run_program(&["status", "--json"], 0).json();
    assert_eq!((&status["state"], &status["next_cycle_at"]), (&json!("running"), &json!(null)));
    gate.release();
    daemon.logged("waiting next_cycle.at=", 2).await;
    assert!(world.run_program(&["status", "--json"], 0).json()["next_cycle_at"].is_string());
    daemon.stop().await;
}

#[apply(on_both)]
async fn a_locked_database_does_not_block_signals() {
    let (world, daemon) = waiting_world().await;
    // A training platform may lock the database during an import.
    let writer = world.database.lock().await;
    let begun = std::time::Instant::now();
    reload(&daemon, "configuration reloaded", 1).await;
    daemon.stop().await;
    // A cycle waits 30 seconds for the database.
    assert!(begun.elapsed().as_secs() < 20, "{:?}", begun.elapsed());
    drop(writer);
}

#[apply(on_both)]
async fn a_reload_replaces_the_time_of_the_next_cycle() {
    let world = World::start(users(1).0).await;
    world.configure("[schedule]\nmin_interval = \"2s\"\nmax_interval = \"2s\"");
    let daemon = waiting_daemon(&world).await;
    let drawn = std::time::Instant::now();
    world.configure("");
    // On a busy machine the old time may pass before.
    reload(&daemon, "configuration reloaded", 1).await;
    eventually("another time is drawn", async || {
        let log = daemon.log();
        let (_, later) = log.split_once("configuration reloaded")?;
        later.contains("waiting next_cycle.at=").then_some(())
    })
    .await;
    let cycles = world.cycles_ended(1).await;
    eventually("the old time passes", async || (drawn.elapsed().as_secs() >= 4).then_some(())).await;
    assert_eq!(world.cycles().await, cycles);
    daemon.stop().await;
}

#[apply(on_both)]
async fn without_user_provisioning_no_cycle_runs_and_the_reason_is_reported() {
    let world = World::start(users(1).0).await;
    world.configure("[provisioning]\nusers = false");
    let daemon = world.daemon().await;
    daemon.logged("provisioning.users = false; the cycle is skipped", 1).await;
    for arguments in [&["sync", "--force"][..], &["resync", "--wait"]] {
        let ran = world.run_program(arguments, 1);
        assert!(ran.stderr.contains("provisioning.users = false"), "{ran:?}");
    }
    world.configure("");
    reload(&daemon, "configuration reloaded", 1).await;
    world.run_program(&["resync", "--wait"], 0);
    daemon.stop().await;
}
