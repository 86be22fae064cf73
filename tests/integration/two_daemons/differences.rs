//! Two daemons that differ: in their intervals, in the clocks of their machines, or in the version of the program.

use std::io::Write as _;
use std::process::Command;
use std::time::{Duration, Instant};

use graph_sim::{Fault, Gate};
use learner_sync::store::Store;
use rustix::process::Signal;
use serde_json::json;

use super::{ASSIGNMENTS, INTERVAL, Pair, STATE, TOOK_OVER, WAITING};
use crate::postgres::shared;
use crate::program::{eventually, users};
use crate::world::World;

#[tokio::test]
async fn a_daemon_with_short_intervals_does_not_end_the_cycle_of_one_with_long_intervals() {
    let Some(server) = shared() else { return };
    let world = World::start_on(server, users(1).0).await;
    let hours = [("LEARNER_SYNC_SCHEDULE__MIN_INTERVAL", "2h"), ("LEARNER_SYNC_SCHEDULE__MAX_INTERVAL", "3h")];
    let pair = Pair::start_with(world, "", &hours).await;
    let gate = Gate::new();
    pair.world.sim.inject(Fault::on("GET", ASSIGNMENTS).hold_until(&gate));
    pair.two.signal(Signal::USR1);
    gate.reached().await;
    // The second daemon is seen every 20 seconds, and the first one after a part of its interval.
    let seen = format!(
        "SELECT count(*) FROM sync_daemons d, sync_schedule s WHERE d.state_directory LIKE '%/one'
             AND d.seen_at > s.began_at + interval '{} seconds'",
        INTERVAL + 3
    );
    eventually("the first daemon is seen", async || (pair.world.value(&seen).await == "1").then_some(())).await;
    gate.release();
    pair.two.logged(WAITING, 2).await;
    let (one, two) = (pair.one.log(), pair.two.log());
    assert!(!one.contains("ended the database session") && !one.contains(TOOK_OVER), "{one}");
    assert!(!two.contains("starts over") && !two.contains("connecting again"), "{two}");
    assert_eq!(pair.world.cycles().await, ["startup success", "startup success", "signal success"]);
    assert_eq!(pair.leader().await, "two");
    pair.stop().await;
}

/// A library that gives a process another clock; `None` without a C compiler.
fn other_clock(world: &World, offset: i64) -> Option<String> {
    let (source, library) = (world.path("other_clock.c"), world.path("other_clock.so"));
    std::fs::write(&source, include_str!("other_clock.c")).unwrap();
    let mut compiler = Command::new("cc");
    compiler.args(["-shared", "-fPIC", &format!("-DOFFSET={offset}"), "-o"]).arg(&library).arg(source);
    let Ok(status) = compiler.status() else {
        let _ = writeln!(std::io::stderr(), "SKIPPED: there is no C compiler");
        return None;
    };
    assert!(status.success());
    Some(library.display().to_string())
}

/// The server's clock plans for both, and Graph's is in the rows.
#[tokio::test]
async fn one_machine_whose_clock_is_an_hour_off_changes_nothing() {
    let Some(server) = shared() else { return };
    for offset in [3600, -3600] {
        let world = World::start_on(server, users(2).0).await;
        let Some(library) = other_clock(&world, offset) else { return };
        let clock = [("LD_PRELOAD", library.as_str())];
        let mut pair = Pair::start_with(world, "", &clock).await;
        pair.two.logged(WAITING, 3).await;
        assert_eq!(pair.leader().await, "two", "{offset}");
        assert!(!pair.one.log().contains(TOOK_OVER), "{offset}: {}", pair.one.log());
        let planned = format!(
            "SELECT count(*) FROM sync_schedule WHERE next_cycle_at IS NULL
                 OR abs(extract(epoch FROM next_cycle_at - now())) <= {INTERVAL} + 1"
        );
        assert_eq!(pair.world.value(&planned).await, "1", "{offset}");
        pair.keep_distance().await;
        let log = pair.two.log();
        assert!(log.contains("the clock of this machine"), "the clock is right: {log}");
        // Either machine shows both as alive, whatever its clock says.
        let mut command = pair.world.program(&["status", "--json"]);
        command.envs(clock).env(STATE, pair.world.path("two"));
        for status in [pair.status("one"), crate::program::finish(command, 0).json()] {
            let alive: Vec<_> =
                status["daemons"].as_array().unwrap().iter().map(|daemon| daemon["alive"].clone()).collect();
            assert_eq!(alive, [json!(true), json!(true)], "{offset}: {status:#}");
        }
        pair.two.signal(Signal::KILL);
        assert_eq!(pair.two.ended().await, None);
        pair.one.logged(TOOK_OVER, 1).await;
        pair.one.stop().await;
    }
}

#[tokio::test]
async fn daemons_of_an_older_version_wait_for_an_upgrade_and_change_nothing() {
    let Some(server) = shared() else { return };
    let pair = Pair::start(server, users(1).0).await;
    let world = &pair.world;
    let newer = Store::SCHEMA_VERSION + 1;
    world.execute(&format!("UPDATE sync_state SET schema_version = {newer}")).await;
    let refused = "cannot start a cycle: ";
    pair.two.logged(refused, 1).await;
    let (begun, before) = (Instant::now(), pair.two.log().matches(refused).count());
    let rows =
        "SELECT (SELECT count(*) FROM sync_cycles), (SELECT max(seen_at) FROM sync_daemons), s.* FROM sync_schedule s";
    let kept = world.query(rows).await;
    pair.two.logged(refused, before + 2).await;
    // It asks again after an interval, not at once.
    let waits = Duration::from_secs(INTERVAL.unsigned_abs()) - Duration::from_millis(500);
    assert!(begun.elapsed() >= waits, "{:?}: {}", begun.elapsed(), pair.two.log());
    pair.one.logged(refused, 1).await;
    assert_eq!(world.query(rows).await, kept);
    for daemon in [&pair.one, &pair.two] {
        daemon.logged("state blocked: ", 1).await;
        let log = daemon.log();
        assert!(log.contains(&format!("schema version {newer}")), "{log}");
        assert!(log.contains("install the newer learner-sync"), "{log}");
    }
    // Another start is refused.
    let state = world.path("three").display().to_string();
    let stderr = world.run_program_with(&[(STATE, &state)], &["run"], 78).stderr;
    assert!(stderr.contains("install the newer learner-sync"), "{stderr}");
    let status = world.run_program_with(&[(STATE, &world.path("one").display().to_string())], &["status"], 0);
    assert!(status.stdout.starts_with("State         blocked since "), "{status:?}");

    // Going back to the old version.
    let ended = world.cycles().await.len();
    world.execute(&format!("UPDATE sync_state SET schema_version = {}", Store::SCHEMA_VERSION)).await;
    world.cycles_ended(ended + 2).await;
    pair.stop().await;
}
