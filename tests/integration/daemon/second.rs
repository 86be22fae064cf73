//! A second daemon on one learner database: refused for the same application, allowed for another one.

use std::path::Path;

use rustix::process::Signal;
use serde_json::json;

use super::{hold_next_cycle, waiting_daemon};
use crate::database::{apply, on_both};
use crate::program::{Daemon, users};
use crate::world::World;

const DATABASE: &str = "LEARNER_SYNC_LEARNERS__DATABASE_URL";
const STATE: &str = "LEARNER_SYNC_STATE__DIRECTORY";
const APPLICATION: &str = "LEARNER_SYNC_APP__ENTERPRISE_APP";

fn url(path: &Path) -> String {
    format!("sqlite://{}", path.display())
}

/// A second daemon with these variables exits 75, names the first and creates no state directory.
#[track_caller]
fn refused(world: &World, environment: &[(&str, &str)], first: &Daemon) {
    let ran = world.run_program_with(environment, &["run"], 75);
    let holder = format!("learner-sync run (pid {})", first.pid());
    assert!(
        ran.stderr.contains(&holder) && ran.stderr.contains("another daemon already provisions this application"),
        "{ran:?}"
    );
    for (_, state) in environment.iter().filter(|(name, _)| *name == STATE) {
        assert!(!Path::new(state).exists());
    }
}

#[tokio::test]
async fn a_second_daemon_for_the_same_application_is_refused_by_every_path() {
    let world = World::start(users(1).0).await;
    let first = waiting_daemon(&world).await;
    let state = world.path("other-state").display().to_string();
    refused(&world, &[(STATE, &state)], &first);
    std::os::unix::fs::symlink(world.path("learners.db"), world.path("link.db")).unwrap();
    refused(&world, &[(STATE, &state), (DATABASE, &url(&world.path("link.db")))], &first);
    std::os::unix::fs::symlink(world.path(""), world.path("elsewhere")).unwrap();
    refused(&world, &[(STATE, &state), (DATABASE, &url(&world.path("elsewhere/learners.db")))], &first);
    // The application by its application id.
    let application_id = world.sim.tenant(|tenant| tenant.application.app_id.clone());
    world.run_program_with(&[(APPLICATION, &application_id)], &["sync"], 0);
    refused(&world, &[(STATE, &state), (APPLICATION, &application_id)], &first);
    // Other processes may run single cycles.
    world.run_program_with(&[(STATE, &world.path("third-state").display().to_string())], &["sync"], 0);
    let status = world.run_program(&["status", "--json"], 0).json();
    let daemon = &status["daemon"];
    assert_eq!((&daemon["pid"], &daemon["command"]), (&json!(first.pid()), &json!("learner-sync run")));
    world.run_program(&["resync", "--wait"], 0);
    first.stop().await;
}

#[tokio::test]
async fn a_killed_daemon_does_not_block_another() {
    let world = World::start(users(1).0).await;
    let mut first = world.daemon().await;
    first.signal(Signal::KILL);
    assert_eq!(first.ended().await, None);
    let state = world.path("other-state").display().to_string();
    let second = world.daemon_with(&[(STATE, &state)]).await;
    world.cycles_ended(1).await;
    let ran = world.run_program(&["run"], 75);
    assert!(ran.stderr.contains(&format!("learner-sync run (pid {})", second.pid())), "{ran:?}");
    second.stop().await;
    world.daemon().await.stop().await;
}

/// A world whose database has two applications, and the object id of the second one.
async fn two_applications() -> (World, String) {
    let (mut tenant, ids) = users(2);
    let application = tenant.add_application("Another platform");
    tenant.unassign(&ids[1]);
    tenant.assign_user_to(&application, &ids[1]);
    let world = World::start(tenant).await;
    world.run_program(&["sync"], 0);
    world.run_program_with(&[(APPLICATION, &application)], &["approve", "--source", "--yes"], 0);
    (world, application)
}

#[apply(on_both)]
async fn daemons_for_two_applications_take_turns() {
    let (world, application) = two_applications().await;
    let gate = hold_next_cycle(&world);
    let first = world.daemon().await;
    gate.reached().await;
    let mut command = world.program(&["run"]);
    command.env(STATE, world.path("other-state")).env(APPLICATION, application);
    let second = Daemon::spawn(command, &world.path("second.log"));
    second.logged(&format!("waiting for learner-sync run (pid {})", first.pid()), 1).await;
    assert_eq!(world.cycles().await, ["command success", "startup -"]);
    gate.release();
    assert_eq!(world.cycles_ended(3).await, ["command success", "startup success", "startup success"]);
    assert_eq!(world.value("SELECT count(*) FROM learners").await, "2");
    first.stop().await;
    second.stop().await;
}

#[tokio::test]
async fn a_reload_to_another_application_needs_one_without_a_daemon() {
    let (world, application) = two_applications().await;
    let second_state = world.path("other-state").display().to_string();
    let first = waiting_daemon(&world).await;
    let own = world.sim.tenant(|tenant| tenant.application.object_id.clone());
    let mut command = world.program(&["run"]);
    command.env(STATE, &second_state).env(APPLICATION, &application);
    let second = Daemon::spawn(command, &world.path("second.log"));
    second.logged("waiting next_cycle.at=", 1).await;

    world.reconfigure(|text| text.replace(&own, &application));
    first.signal(Signal::HUP);
    first
        .logged("configuration not reloaded, the old one stays: another daemon already provisions this application", 1)
        .await;
    assert!(first.log().contains(&format!("learner-sync run (pid {})", second.pid())), "{}", first.log());
    second.stop().await;
    first.signal(Signal::HUP);
    first.logged("configuration reloaded", 1).await;
    // The first daemon now keeps the new application and has released its old one.
    refused(&world, &[(STATE, &world.path("third-state").display().to_string()), (APPLICATION, &application)], &first);
    let mut command = world.program(&["run"]);
    command.env(STATE, &second_state).env(APPLICATION, own);
    let second = Daemon::spawn(command, &world.path("third.log"));
    second.logged("waiting next_cycle.at=", 1).await;
    second.stop().await;
    first.stop().await;
}
