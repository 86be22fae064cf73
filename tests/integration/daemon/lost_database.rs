//! An SQLite file that vanishes after cycles have completed in it is never created again unasked.

use std::path::PathBuf;

use rustix::process::Signal;
use serde_json::json;

use super::{reload, waiting_daemon, waiting_world};
use crate::program::{Daemon, eventually, users};
use crate::world::World;

const LOST: &str = "learners.db is missing or empty, although cycles have completed in it";
const ADVICE: &str = "learner-sync schema apply";

/// The files of the database that exist, beside its locks.
fn database_files(world: &World) -> Vec<PathBuf> {
    let files = ["learners.db", "learners.db-wal", "learners.db-shm", "learners.db-journal"];
    files.into_iter().map(|name| world.path(name)).filter(|path| path.exists()).collect()
}

fn lose(world: &World) {
    std::fs::create_dir_all(world.path("unmounted")).unwrap();
    for file in database_files(world) {
        let name = file.file_name().unwrap().to_owned();
        std::fs::rename(&file, world.path("unmounted").join(name)).unwrap();
    }
}

fn restore(world: &World) {
    for entry in std::fs::read_dir(world.path("unmounted")).unwrap() {
        let entry = entry.unwrap();
        std::fs::rename(entry.path(), world.path("").join(entry.file_name())).unwrap();
    }
}

#[track_caller]
fn blocked(world: &World) {
    let status = world.run_program(&["status", "--json", "--exit-code"], 1).json();
    assert_eq!(status["state"], json!("blocked"), "{status}");
    let text = format!("{} {}", status["reason"], status["hint"]);
    assert!(text.contains(LOST) && text.contains(ADVICE), "{status}");
    assert_eq!(database_files(world), [""; 0].map(PathBuf::from));
}

#[tokio::test]
async fn a_running_daemon_never_creates_a_lost_database_again_and_goes_on_when_it_is_back() {
    let (world, daemon) = waiting_world().await;
    lose(&world);
    // The request is a record in the database as well.
    daemon.signal(Signal::USR1);
    daemon.logged("cannot start a cycle: ", 1).await;
    daemon.logged("state blocked: ", 1).await;
    assert!(daemon.log().contains(LOST), "{}", daemon.log());
    blocked(&world);
    reload(&daemon, "waiting next_cycle.at=", 3).await;
    blocked(&world);
    restore(&world);
    daemon.signal(Signal::USR1);
    let cycles = world.cycles_ended(2).await;
    assert_eq!(cycles, ["startup success", "signal success"]);
    assert_eq!(world.query("SELECT id FROM learners").await, [["1"]]);
    eventually("the state is ok again", async || {
        let status = world.run_program(&["status", "--json"], 0).json();
        (status["state"] == "ok").then_some(())
    })
    .await;
    daemon.stop().await;
}

#[tokio::test]
async fn a_lost_database_is_known_after_a_restart_and_without_the_cache() {
    let world = World::start(users(2).0).await;
    waiting_daemon(&world).await.stop().await;
    lose(&world);
    std::fs::remove_dir_all(world.path("state/cache")).unwrap();
    for file in std::fs::read_dir(world.path("state")).unwrap().map(|entry| entry.unwrap().path()) {
        // As after a boot, which clears the runtime directory.
        if file.file_name().unwrap().to_string_lossy().starts_with("status-") {
            std::fs::remove_file(file).unwrap();
        }
    }
    for arguments in [&["run"][..], &["sync"], &["sync", "--dry-run"], &["plan"], &["pause"], &["approve"], &["log"]] {
        let ran = world.run_program(arguments, 1);
        assert!(ran.stderr.contains(LOST) && ran.stderr.contains(ADVICE), "{arguments:?}: {ran:?}");
    }
    blocked(&world);
    let check = world.run_program(&["check", "--json"], 1).json();
    assert!(check.to_string().contains(LOST), "{check}");

    // A file that is empty, such as a target of a failed copy, holds no learner.
    std::fs::write(world.path("learners.db"), "").unwrap();
    assert!(world.run_program(&["sync"], 1).stderr.contains(LOST));
    std::fs::remove_file(world.path("learners.db")).unwrap();

    restore(&world);
    world.run_program(&["sync"], 0);
    assert_eq!(world.cycles().await, ["startup success", "command success"]);
}

#[tokio::test]
async fn an_administrator_may_begin_anew_in_the_place_of_a_lost_database() {
    let world = World::start(users(2).0).await;
    world.run_program(&["sync"], 0);
    lose(&world);
    world.run_program(&["sync"], 1);
    world.run_program(&["schema", "apply"], 0);
    world.run_program(&["sync"], 0);
    assert_eq!(world.cycles().await, ["command success"]);
    // Another file is another database.
    world.reconfigure(|text| text.replace("/learners.db", "/other.db"));
    world.run_program(&["sync"], 0);
}

#[tokio::test]
async fn a_database_without_a_complete_cycle_may_vanish() {
    let world = World::start(users(1).0).await;
    world.sim.tenant(|tenant| tenant.permissions.clear());
    world.run_program(&["sync"], 1);
    lose(&world);
    let permissions = graph_sim::Tenant::default().permissions;
    world.sim.tenant(|tenant| tenant.permissions = permissions);
    world.sim.revoke_tokens();
    world.run_program(&["sync"], 0);
}

#[tokio::test]
async fn the_record_of_the_daemon_counts_when_the_state_directory_is_lost_as_well() {
    let world = World::start(users(1).0).await;
    std::fs::create_dir(world.path("run")).unwrap();
    let run = world.path("run").display().to_string();
    let environment = [("RUNTIME_DIRECTORY", &*run)];
    let daemon: Daemon = world.daemon_with(&environment).await;
    daemon.logged("waiting next_cycle.at=", 1).await;
    daemon.stop().await;
    lose(&world);
    std::fs::remove_dir_all(world.path("state")).unwrap();
    let ran = world.run_program_with(&environment, &["run"], 1);
    assert!(ran.stderr.contains(LOST), "{ran:?}");
    assert_eq!(database_files(&world), [""; 0].map(PathBuf::from));
}
