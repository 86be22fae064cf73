//! Fencing: whatever happens to the locks, a cycle writes only to the database that it has read.
//!
//! Cycles stop at a named step, as on a machine that is suspended, and others write meanwhile.

mod ending;
mod lost;
mod pooler;
mod reused;
mod turns;

use graph_sim::Tenant;
use learner_sync::model::{Outcome, system_clock};
use rustix::process::Signal;

use crate::crash::NO_LIMITS;
use crate::database::{apply, is_on_postgres, on_both};
use crate::program::{Daemon, eventually};
use crate::world::{World, assigned};

/// More than one batch.
const USERS: usize = 1500;
/// The first batch.
const BATCH: usize = 1000;

/// Another generation, as a writer without fencing would leave it.
const WRITE: &str = "UPDATE sync_state SET generation = replace(generation, substr(generation, 1, 4), 'feed')";

/// Starts a command that stops at `points`, in the syntax of `FAILPOINTS`, and waits until it does.
async fn stopped_at(world: &World, arguments: &[&str], points: &str) -> Daemon {
    let mut command = world.program(arguments);
    command.env("FAILPOINTS", points);
    let mut process = Daemon::spawn(command, &world.path("stopped.log"));
    stops(&mut process).await;
    process
}

/// Waits until a process stops.
pub(crate) async fn stops(process: &mut Daemon) {
    eventually("the process stops", async || {
        assert!(process.runs(), "{}", process.log());
        is_stopped(process).then_some(())
    })
    .await;
}

fn is_stopped(process: &Daemon) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", process.pid())).unwrap_or_default();
    stat.rsplit_once(')').is_some_and(|(_, fields)| fields.trim_start().starts_with('T'))
}

/// Lets a stopped process go on until its end; returns its exit code.
async fn ends(process: &mut Daemon) -> Option<i32> {
    process.signal(Signal::CONT);
    process.ended().await
}

/// A world whose cycles run at the real time, after a first cycle of `users` users.
async fn synced(users: usize) -> (World, Vec<String>) {
    let mut tenant = Tenant::default();
    let users = assigned(&mut tenant, users);
    let mut world = World::start(tenant).await;
    world.now = system_clock();
    world.configure(NO_LIMITS);
    world.run_program(&["sync"], 0);
    (world, users)
}

/// Records each generation with the one that it replaces.
async fn record_renewals(world: &World) {
    world.execute("CREATE TABLE renewals (former text, present text)").await;
    let trigger = if is_on_postgres() {
        "CREATE FUNCTION renewed() RETURNS trigger LANGUAGE plpgsql AS
             'BEGIN INSERT INTO renewals VALUES (OLD.generation, NEW.generation); RETURN NULL; END';
         CREATE TRIGGER renewed AFTER UPDATE OF generation ON sync_state FOR EACH ROW EXECUTE FUNCTION renewed()"
    } else {
        "CREATE TRIGGER renewed AFTER UPDATE OF generation ON sync_state
         BEGIN INSERT INTO renewals VALUES (OLD.generation, NEW.generation); END"
    };
    world.execute(trigger).await;
}

/// No generation had two successors: nobody wrote to a database that another process had changed since. Returns the
/// number of generations.
async fn expect_one_writer_in_each_generation(world: &World) -> usize {
    let rows = world.query("SELECT count(*), count(DISTINCT former), count(DISTINCT present) FROM renewals").await;
    assert!(rows[0].iter().all(|count| *count == rows[0][0]), "{rows:?}");
    rows[0][0].parse().unwrap()
}

/// Every user has one learner, one link and one log row.
async fn expect_one_row_for_each(world: &World, users: usize) {
    for table in ["learners", "sync_links", "provisioning_log"] {
        assert_eq!(world.value(&format!("SELECT count(*) FROM {table}")).await, users.to_string(), "{table}");
    }
    assert_eq!(world.value("SELECT count(DISTINCT external_id) FROM learners").await, users.to_string());
}

/// Created, unchanged, outcome and error of each cycle.
async fn results(world: &World) -> Vec<Vec<String>> {
    world.query("SELECT created, unchanged, outcome, coalesce(error, '-') FROM sync_cycles ORDER BY id").await
}

#[apply(on_both)]
async fn a_cycle_that_was_overtaken_once_starts_over() {
    let (mut world, _) = synced(10).await;
    record_renewals(&world).await;
    world.sim.tenant(|tenant| assigned(tenant, 3));
    let mut process = stopped_at(&world, &["sync"], "Planned=1*return(stop)").await;
    // Has no lock, and makes the same changes.
    let report = world.cycle().await;
    assert_eq!((report.outcome, report.counts.created), (Outcome::Success, 3));
    world.sim.tenant(|tenant| assigned(tenant, 2));
    assert_eq!(ends(&mut process).await, Some(0), "{}", process.log());
    expect_one_row_for_each(&world, 15).await;
    assert_eq!(expect_one_writer_in_each_generation(&world).await, 2);
    let row = |created: &str, unchanged: &str| [created, unchanged, "success", "-"].map(str::to_owned).to_vec();
    assert_eq!(results(&world).await, [row("10", "0"), row("2", "13"), row("3", "10")]);
    world.settled().await;
}

#[apply(on_both)]
async fn a_cycle_that_was_overtaken_twice_fails() {
    let (mut world, _) = synced(10).await;
    world.sim.tenant(|tenant| assigned(tenant, 3));
    let mut process = stopped_at(&world, &["sync"], "Planned=2*return(stop)").await;
    world.execute(WRITE).await;
    process.signal(Signal::CONT);
    eventually("the cycle starts over", async || process.log().contains("starts over").then_some(())).await;
    stops(&mut process).await;
    world.execute("UPDATE sync_state SET generation = '0123456789abcdef0123456789abcdef'").await;
    assert_eq!(ends(&mut process).await, Some(1), "{}", process.log());
    expect_one_row_for_each(&world, 10).await;
    let last = results(&world).await.pop().unwrap();
    assert_eq!(last[..3], ["0", "10", "failed"]);
    assert!(last[3].starts_with("written by another process; "), "{last:?}");
    assert_eq!(world.cycle().await.counts.created, 3);
    world.settled().await;
}

#[apply(on_both)]
async fn a_cycle_that_was_overtaken_after_its_last_batch_starts_over() {
    let (mut world, _) = synced(10).await;
    world.sim.tenant(|tenant| assigned(tenant, 3));
    let mut process = stopped_at(&world, &["sync"], "PlanApplied=1*return(stop)").await;
    // As after a failover to a standby that lacks the last commit.
    world
        .execute(&format!(
            "DELETE FROM provisioning_log WHERE cycle_id = (SELECT max(id) FROM sync_cycles);
             DELETE FROM sync_links WHERE learner_id > 10; DELETE FROM learners WHERE id > 10; {WRITE}"
        ))
        .await;
    assert_eq!(ends(&mut process).await, Some(0), "{}", process.log());
    assert_eq!(process.log().matches("starts over").count(), 1, "{}", process.log());
    expect_one_row_for_each(&world, 13).await;
    world.settled().await;
}

#[apply(on_both)]
async fn a_cycle_that_starts_over_counts_what_it_had_written() {
    let mut tenant = Tenant::default();
    assigned(&mut tenant, USERS);
    let mut world = World::start(tenant).await;
    world.now = system_clock();
    let mut process = stopped_at(&world, &["sync"], "BatchCommitted=1*return(stop)").await;
    assert_eq!(world.value("SELECT count(*) FROM learners").await, BATCH.to_string());
    world.execute(WRITE).await;
    assert_eq!(ends(&mut process).await, Some(0), "{}", process.log());
    assert_eq!(process.log().matches("starts over").count(), 1, "{}", process.log());
    expect_one_row_for_each(&world, USERS).await;
    assert_eq!(results(&world).await, [[&*USERS.to_string(), "0", "success", "-"].map(str::to_owned)]);
    world.settled().await;
}

#[apply(on_both)]
async fn a_pause_ends_the_running_cycle_before_its_next_batch() {
    let mut tenant = Tenant::default();
    assigned(&mut tenant, USERS);
    let mut world = World::start(tenant).await;
    world.now = system_clock();
    let mut process = stopped_at(&world, &["sync"], "BatchCommitted=1*return(stop)").await;
    world.run_program(&["pause"], 0);
    assert_eq!(ends(&mut process).await, Some(1), "{}", process.log());
    let log = process.log();
    assert!(log.contains("cycle ended early: provisioning was paused"), "{log}");
    expect_one_row_for_each(&world, BATCH).await;
    let last = results(&world).await.pop().unwrap();
    assert_eq!(last[..3], [&*BATCH.to_string(), "0", "interrupted"]);
    assert!(last[3].starts_with("provisioning was paused; "), "{last:?}");
    let status = world.run_program(&["status", "--json"], 0).json();
    assert_eq!(status["last_cycle"]["error"].as_str(), Some(&*last[3]), "{status}");
    assert!(world.run_program(&["status"], 0).stdout.contains("provisioning was paused"));
    // `--force` ignores the pause.
    let mut forced = stopped_at(&world, &["sync", "--force"], "Planned=1*return(stop)").await;
    assert_eq!(ends(&mut forced).await, Some(0), "{}", forced.log());
    expect_one_row_for_each(&world, USERS).await;
    let last = results(&world).await.pop().unwrap();
    assert_eq!(last[..3], [&*(USERS - BATCH).to_string(), &*BATCH.to_string(), "success"]);
    world.run_program(&["resume"], 0);
    world.settled().await;
}

#[apply(on_both)]
async fn a_pause_ends_a_run_for_one_user_unless_it_is_forced() {
    let (world, _) = synced(2).await;
    let newcomer = world.sim.tenant(|tenant| assigned(tenant, 1).remove(0));
    let mut process = stopped_at(&world, &["provision", &newcomer], "Planned=1*return(stop)").await;
    world.run_program(&["pause"], 0);
    assert_eq!(ends(&mut process).await, Some(1), "{}", process.log());
    expect_one_row_for_each(&world, 2).await;
    let mut process = stopped_at(&world, &["provision", &newcomer, "--force"], "Planned=1*return(stop)").await;
    assert_eq!(ends(&mut process).await, Some(0), "{}", process.log());
    expect_one_row_for_each(&world, 3).await;
}

#[apply(on_both)]
async fn two_processes_with_one_plan_log_a_beginning_and_an_end_once() {
    let (mut world, users) = synced(20).await;
    let leaver = &users[0];
    world.configure("[safety]\nmax_deactivations = 0");
    world.sim.tenant(|tenant| {
        tenant.user_mut(&users[1]).mail = None;
        tenant.unassign(leaver);
    });
    let mut process = stopped_at(&world, &["sync"], "Planned=1*return(stop)").await;
    // Has no lock, and the same plan, which changes no learner.
    assert_eq!(world.cycle().await.outcome, Outcome::Held);
    assert_eq!(ends(&mut process).await, Some(3), "{}", process.log());
    let log =
        "SELECT entra_id, status, coalesce(phase, '-') FROM provisioning_log WHERE status <> 'success' ORDER BY id";
    let row = |user: &String, status: &str, phase: &str| [user, status, phase].map(str::to_owned).to_vec();
    let mut begun = [row(&users[1], "skipped", "-"), row(leaver, "held", "begun")];
    begun.sort();
    let mut logged = world.query(log).await;
    logged.sort();
    assert_eq!(logged, begun);

    world.sim.tenant(|tenant| tenant.assign_user(leaver));
    let mut process = stopped_at(&world, &["sync"], "Planned=1*return(stop)").await;
    world.cycle().await;
    ends(&mut process).await;
    assert_eq!(world.query(log).await[2..], [row(leaver, "held", "ended")]);
    world.settled().await;
}

#[apply(on_both)]
async fn a_hold_that_another_process_has_ended_does_not_begin_again() {
    let (mut world, users) = synced(20).await;
    let leaver = &users[0];
    world.configure("[safety]\nmax_deactivations = 0");
    world.sim.tenant(|tenant| tenant.unassign(leaver));
    assert_eq!(world.cycle().await.outcome, Outcome::Held);
    // Its plan keeps the hold.
    let mut process = stopped_at(&world, &["sync"], "Planned=1*return(stop)").await;
    world.sim.tenant(|tenant| tenant.assign_user(leaver));
    assert_eq!(world.cycle().await.outcome, Outcome::Success);
    assert_eq!(ends(&mut process).await, Some(3), "{}", process.log());
    assert_eq!(world.query("SELECT * FROM sync_held").await, [[""; 0]; 0]);
    world.settled().await;
    assert_eq!(world.log(leaver).await.len(), 3);
}
