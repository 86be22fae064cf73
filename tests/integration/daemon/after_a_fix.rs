//! A cycle soon follows the fix of what stood in the way.

use jiff::{SignedDuration, Timestamp};
use learner_sync::model::system_clock;
use rustix::process::Signal;
use serde_json::{Value, json};

use super::{reload, waiting_daemon, waiting_world};
use crate::database::{apply, on_both};
use crate::machine::Mount;
use crate::program::{Daemon, users};
use crate::world::World;

const NEW_SECRET: &str = "another secret";

/// A daemon whose second cycle Entra has refused, because the application has another secret.
async fn refused_daemon() -> (World, Daemon) {
    let (world, daemon) = waiting_world().await;
    world.sim.tenant(|tenant| tenant.client_secret = NEW_SECRET.to_owned());
    world.sim.revoke_tokens();
    daemon.signal(Signal::USR1);
    daemon.logged("waiting next_cycle.at=", 2).await;
    assert_eq!(world.cycles().await, ["startup success", "signal failed"]);
    (world, daemon)
}

#[apply(on_both)]
async fn a_changed_credential_file_ends_the_wait_after_a_refusal() {
    let (world, daemon) = refused_daemon().await;
    std::fs::write(world.path("secret"), NEW_SECRET).unwrap();
    daemon.logged("a credential file has changed", 1).await;
    assert_eq!(world.cycles_ended(3).await[2], "schedule success");
    daemon.stop().await;
}

/// `install ... /dev/stdin FILE` creates an empty file first.
#[apply(on_both)]
async fn a_credential_file_that_is_written_in_two_steps_ends_the_wait() {
    let (world, daemon) = refused_daemon().await;
    std::fs::write(world.path("secret"), "").unwrap();
    daemon.logged("waiting next_cycle.at=", 3).await;
    assert_eq!(world.cycles().await[2], "schedule failed");
    std::fs::write(world.path("secret"), NEW_SECRET).unwrap();
    assert_eq!(world.cycles_ended(4).await[3], "schedule success");
    // Afterwards the schedule alone counts.
    daemon.logged("waiting next_cycle.at=", 4).await;
    world.sim.revoke_tokens();
    reload(&daemon, "configuration reloaded", 1).await;
    assert!(!daemon.log().contains("a cycle follows the reload"), "{}", daemon.log());
    daemon.stop().await;
}

#[apply(on_both)]
async fn check_and_a_reload_after_a_refusal_lead_to_a_cycle() {
    const RESYNC: &str = "learner-sync resync --wait";
    let (world, daemon) = refused_daemon().await;
    assert!(!world.run_program(&["check"], 1).stdout.contains(RESYNC));
    world.sim.tenant(|tenant| tenant.client_secret = std::fs::read_to_string(world.path("secret")).unwrap());
    assert!(world.run_program(&["check"], 0).stdout.contains(RESYNC));
    reload(&daemon, "a cycle follows the reload", 1).await;
    assert_eq!(world.cycles_ended(3).await[2], "signal success");
    daemon.logged("waiting next_cycle.at=", 3).await;
    assert!(!world.run_program(&["check"], 0).stdout.contains(RESYNC));
    daemon.stop().await;
}

#[apply(on_both)]
async fn a_reload_with_another_sign_in_runs_a_cycle_unless_paused() {
    let (world, daemon) = waiting_world().await;
    world.reconfigure(|text| text.replace("[entra]\n", "[entra]\nconcurrency = 3\n"));
    reload(&daemon, "a cycle follows the reload", 1).await;
    assert_eq!(world.cycles_ended(2).await[1], "signal success");
    daemon.logged("waiting next_cycle.at=", 2).await;
    world.run_program(&["pause"], 0);
    daemon.logged("state paused: ", 1).await;
    world.reconfigure(|text| text.replace("concurrency = 3\n", "concurrency = 4\n"));
    reload(&daemon, "configuration reloaded", 2).await;
    daemon.logged("waiting next_cycle.at=", 3).await;
    assert!(!daemon.log().contains("the cycle is skipped"), "{}", daemon.log());
    assert_eq!(world.cycles().await.len(), 2);
    daemon.stop().await;
}

/// How long the daemon waits for the next cycle.
fn time_left(world: &World) -> SignedDuration {
    let status: Value = world.run_program(&["status", "--json"], 0).json();
    let next: Timestamp = status["next_cycle_at"].as_str().unwrap().parse().unwrap();
    next.duration_since(system_clock())
}

#[apply(on_both)]
async fn the_first_waits_after_a_start_are_short_until_a_cycle_succeeds() {
    let world = World::start(users(1).0).await;
    world.configure("[schedule]\nmin_interval = \"1h\"\nmax_interval = \"1h\"");
    world.sim.tenant(|tenant| tenant.permissions.clear());
    let daemon = waiting_daemon(&world).await;
    let left = || time_left(&world);
    let minutes = SignedDuration::from_mins;
    assert!(left() <= minutes(1), "{}", left());
    daemon.signal(Signal::USR1);
    daemon.logged("waiting next_cycle.at=", 2).await;
    assert!((minutes(1)..=minutes(2)).contains(&left()), "{}", left());
    world.sim.tenant(|tenant| tenant.permissions = graph_sim::Tenant::default().permissions);
    world.sim.revoke_tokens();
    daemon.signal(Signal::USR1);
    daemon.logged("waiting next_cycle.at=", 3).await;
    assert!(left() > minutes(10), "{}", left());
    world.sim.tenant(|tenant| tenant.permissions.clear());
    world.sim.revoke_tokens();
    daemon.signal(Signal::USR1);
    daemon.logged("waiting next_cycle.at=", 4).await;
    assert!(left() > minutes(10), "a later failure waits as scheduled: {}", left());
    daemon.stop().await;
}

#[apply(on_both)]
async fn a_skipped_cycle_after_a_failure_does_not_shorten_the_wait() {
    let world = World::start(users(1).0).await;
    world.configure("[schedule]\nmin_interval = \"1h\"\nmax_interval = \"1h\"");
    world.sim.tenant(|tenant| tenant.permissions.clear());
    let daemon = waiting_daemon(&world).await;
    assert!(time_left(&world) <= SignedDuration::from_mins(1), "{}", time_left(&world));
    world.run_program(&["pause"], 0);
    daemon.signal(Signal::USR1);
    daemon.logged("the cycle is skipped", 1).await;
    daemon.logged("waiting next_cycle.at=", 2).await;
    world.run_program(&["resume"], 0);
    assert!(time_left(&world) > SignedDuration::from_mins(10), "{}", time_left(&world));
    daemon.stop().await;
}

#[tokio::test]
async fn resync_says_that_no_cycle_can_begin() {
    let world = World::start(users(1).0).await;
    let Some(_disk) = Mount::small_disk(&world.path("disk"), 16 << 20) else { return };
    world.reconfigure(|text| text.replace("/learners.db", "/disk/learners.db"));
    let daemon = waiting_daemon(&world).await;
    {
        use std::io::Write;
        let mut file = std::fs::File::create(world.path("disk/filler")).unwrap();
        while file.write_all(&[1; 4096]).is_ok() {}
    }
    let ran = world.run_program(&["resync", "--wait"], 1);
    assert!(ran.stderr.contains("the disk is full"), "{ran:?}");
    std::fs::remove_file(world.path("disk/filler")).unwrap();
    world.run_program(&["resync", "--wait"], 0);
    daemon.stop().await;
}

#[tokio::test]
async fn a_read_only_file_system_at_the_start_may_become_writable() {
    let world = World::start(users(1).0).await;
    waiting_daemon(&world).await.stop().await;
    std::fs::create_dir(world.path("disk")).unwrap();
    for name in ["learners.db", "state"] {
        std::fs::rename(world.path(name), world.path("disk").join(name)).unwrap();
    }
    world.reconfigure(|text| text.replace("/learners.db", "/disk/learners.db").replace("/state\"", "/disk/state\""));
    let Some(_mount) = Mount::read_only(&world.path("disk")) else { return };
    let ran = world.run_program(&["run"], 1);
    assert!(ran.stderr.contains("ReadWritePaths="), "{ran:?}");
    assert!(json!(ran.stderr).to_string().contains("read-only") || ran.stderr.contains("Read-only"), "{ran:?}");
}
