//! SIGUSR1, SIGUSR2, `resync` and SIGTERM.

use rustix::process::Signal;

use super::{daemon_in_cycle, hold_next_cycle, waiting_daemon, waiting_world};
use crate::database::{apply, on_both};
use crate::program::{Daemon, add_assigned_user, users};
use crate::world::World;

#[apply(on_both)]
async fn usr1_runs_a_cycle_now() {
    let (world, daemon) = waiting_world().await;
    world.sim.tenant(|tenant| drop(add_assigned_user(tenant, "Grace", "Hopper")));
    daemon.signal(Signal::USR1);
    assert_eq!(world.cycles_ended(2).await, ["startup success", "signal success"]);
    assert_eq!(world.value("SELECT count(*) FROM learners").await, "2");
    daemon.stop().await;
}

#[apply(on_both)]
async fn signals_during_a_cycle_start_one_more_cycle() {
    let world = World::start(users(1).0).await;
    let (daemon, gate) = daemon_in_cycle(&world).await;
    for times in 1..=5 {
        daemon.signal(Signal::USR1);
        daemon.logged("a cycle is running; one more follows it", times).await;
    }
    gate.release();
    daemon.logged("waiting next_cycle.at=", 1).await;
    assert_eq!(world.cycles().await, ["startup success", "signal success"]);
    daemon.stop().await;
    assert_eq!(world.cycles().await, ["startup success", "signal success"]);
}

#[apply(on_both)]
async fn usr2_ignores_the_cache() {
    let (world, daemon) = waiting_world().await;
    // Without a new generation the cache cannot notice the change.
    world.execute("UPDATE learners SET department = 'Sales'").await;
    daemon.signal(Signal::USR1);
    world.cycles_ended(2).await;
    assert_eq!(world.value("SELECT department FROM learners").await, "Sales");
    daemon.logged("waiting next_cycle.at=", 2).await;
    daemon.signal(Signal::USR2);
    world.cycles_ended(3).await;
    assert_eq!(world.value("SELECT department FROM learners").await, "Research");
    daemon.stop().await;
}

#[apply(on_both)]
async fn a_pending_usr2_takes_precedence_over_usr1() {
    for signals in [[Signal::USR1, Signal::USR2], [Signal::USR2, Signal::USR1]] {
        let (world, daemon) = waiting_world().await;
        world.execute("UPDATE learners SET department = 'Sales'").await;
        let gate = hold_next_cycle(&world);
        daemon.signal(Signal::USR1);
        gate.reached().await;
        for (times, signal) in (1..).zip(signals) {
            daemon.signal(signal);
            daemon.logged("a cycle is running; one more follows it", times).await;
        }
        gate.release();
        daemon.logged("waiting next_cycle.at=", 2).await;
        assert_eq!(world.cycles().await, ["startup success", "signal success", "signal success"]);
        assert_eq!(world.value("SELECT department FROM learners").await, "Research");
        daemon.stop().await;
    }
}

#[apply(on_both)]
async fn resync_signals_the_daemon_and_waits_with_the_option() {
    let (tenant, ids) = users(2);
    let world = World::start(tenant).await;
    let daemon = waiting_daemon(&world).await;
    let ran = world.run_program(&["resync"], 0);
    assert!(ran.stdout.contains(&daemon.pid().to_string()), "{ran:?}");
    world.cycles_ended(2).await;
    daemon.logged("waiting next_cycle.at=", 2).await;

    world.execute("UPDATE learners SET department = 'Sales'").await;
    let ran = world.run_program(&["resync", "--full", "--wait"], 0);
    assert!(ran.stdout.contains("Cycle 3 ended: success."), "{ran:?}");
    assert_eq!(world.value("SELECT count(*) FROM learners WHERE department = 'Research'").await, "2");

    // The exit code is that of sync: here two users have one address.
    world.sim.tenant(|tenant| {
        let mail = tenant.user(&ids[0]).unwrap().mail.clone();
        tenant.user_mut(&ids[1]).mail = mail;
    });
    assert!(world.run_program(&["resync", "--wait"], 3).stdout.contains("Cycle 4 ended: partial."));
    world.sim.tenant(|tenant| tenant.permissions.clear());
    world.sim.revoke_tokens();
    assert!(world.run_program(&["resync", "--wait"], 1).stdout.contains("Cycle 5 ended: failed."));
    daemon.stop().await;
}

#[apply(on_both)]
async fn resync_waits_for_its_own_cycle_and_not_for_a_running_one() {
    let world = World::start(users(1).0).await;
    let (daemon, gate) = daemon_in_cycle(&world).await;
    let mut resync = Daemon::spawn(world.program(&["resync", "--wait"]), &world.path("resync.log"));
    daemon.logged("a cycle is running; one more follows it", 1).await;
    gate.release();
    assert_eq!(resync.ended().await, Some(0));
    assert_eq!(world.cycles().await, ["startup success", "signal success"]);
    daemon.stop().await;
}

#[apply(on_both)]
async fn resync_reports_its_own_cycle_although_another_one_follows_or_a_pause() {
    let world = World::start(users(1).0).await;
    let daemon = waiting_daemon(&world).await;
    let gate = hold_next_cycle(&world);
    let mut resync = Daemon::spawn(world.program(&["resync", "--wait"]), &world.path("resync.log"));
    gate.reached().await;
    let mut sync = Daemon::spawn(world.program(&["sync", "--wait"]), &world.path("sync.log"));
    gate.release();
    assert_eq!((resync.ended().await, sync.ended().await), (Some(0), Some(0)));

    let gate = hold_next_cycle(&world);
    let mut resync = Daemon::spawn(world.program(&["resync", "--wait"]), &world.path("resync2.log"));
    gate.reached().await;
    world.run_program(&["pause"], 0);
    gate.release();
    assert_eq!(resync.ended().await, Some(0), "{}", resync.log());
    daemon.stop().await;
}

#[apply(on_both)]
async fn resync_without_a_daemon_exits_1() {
    let world = World::start(users(1).0).await;
    let ran = world.run_program(&["resync"], 1);
    assert!(ran.stderr.contains("no daemon is running"), "{ran:?}");
    waiting_daemon(&world).await.stop().await;
    // The pid file remains, but its process is gone.
    assert!(world.path("state/learner-sync.pid").exists());
    let ran = world.run_program(&["resync", "--full", "--wait"], 1);
    assert!(ran.stderr.contains("no daemon is running"), "{ran:?}");
}

#[apply(on_both)]
async fn resync_does_not_wait_for_a_paused_daemon() {
    let (world, daemon) = waiting_world().await;
    world.run_program(&["pause"], 0);
    let ran = world.run_program(&["resync", "--wait"], 1);
    assert!(ran.stderr.contains("paused"), "{ran:?}");
    daemon.stop().await;
}

#[apply(on_both)]
async fn a_stop_while_waiting_ends_at_once() {
    for signal in [Signal::TERM, Signal::INT] {
        let (world, mut daemon) = waiting_world().await;
        daemon.signal(signal);
        assert_eq!(daemon.ended().await, Some(0), "{}", daemon.log());
        assert!(daemon.log().contains("stopped"), "{}", daemon.log());
        assert_eq!(world.cycles().await, ["startup success"]);
    }
}

#[apply(on_both)]
async fn a_stop_while_reading_applies_nothing() {
    let world = World::start(users(3).0).await;
    let (daemon, _gate) = daemon_in_cycle(&world).await;
    // The gate stays closed, so the answer never comes.
    daemon.stop().await;
    assert_eq!(world.cycles().await, ["startup interrupted"]);
    assert_eq!(world.value("SELECT count(*) FROM learners").await, "0");
    assert_eq!(world.value("SELECT count(*) FROM sync_cycles WHERE finished_at IS NULL").await, "0");
    let daemon = world.daemon().await;
    assert_eq!(world.cycles_ended(2).await, ["startup interrupted", "startup success"]);
    assert_eq!(world.value("SELECT count(*) FROM learners").await, "3");
    daemon.stop().await;
}

#[apply(on_both)]
async fn a_pending_cycle_does_not_start_after_a_stop() {
    let world = World::start(users(1).0).await;
    let (daemon, _gate) = daemon_in_cycle(&world).await;
    daemon.signal(Signal::USR1);
    daemon.logged("one more follows it", 1).await;
    daemon.stop().await;
    assert_eq!(world.cycles().await, ["startup interrupted"]);
}
