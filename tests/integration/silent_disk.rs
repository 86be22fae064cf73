//! A lock file on a disk that does not answer, such as a lost network file system. The threads that wait for it wait for
//! ever.

use rustix::process::Signal;
use serde_json::json;

use crate::database::{apply, is_on_postgres, on_both};
use crate::program::{Ran, users};
use crate::world::World;

#[apply(on_both)]
async fn a_lock_file_that_does_not_answer_fails_the_cycle_and_stops_nothing_else() {
    let world = World::start(users(2).0).await;
    let hangs = |points: &str| format!("DiskAnswer=return(200);{points}");
    for command in ["sync", "run"] {
        let ran = world.run_program_with(&[("FAILPOINTS", &hangs("LockAcquiring=pause"))], &[command], 1);
        assert!(ran.stderr.contains("cannot use the lock file "), "{ran:?}");
        assert!(ran.stderr.contains(": the disk does not answer"), "{ran:?}");
        assert!(ran.stderr.contains("check the disk or the network file system of "), "{ran:?}");
    }

    // A daemon takes its own locks first.
    let own = if is_on_postgres() { 1 } else { 2 };
    let points = hangs(&format!("LockAcquiring={own}*off->pause"));
    let daemon = world.daemon_with(&[("FAILPOINTS", &points)]).await;
    let silent = "cannot start a cycle: cannot use ";
    daemon.logged(silent, 1).await;
    daemon.signal(Signal::USR1);
    daemon.logged(silent, 2).await;
    let file = if is_on_postgres() { "state/cycle.lock" } else { "learners.db.lock" };
    let silent = format!("{silent}the lock file {}: the disk does not answer", world.path(file).display());
    // Beside the file of SQLite nothing else is asked then.
    let times = if is_on_postgres() { 2 } else { 1 };
    assert_eq!(daemon.log().matches(&silent).count(), times, "{}", daemon.log());
    let status = world.run_program(&["status", "--json", "--exit-code"], 1).json();
    assert_eq!(status["state"], "blocked", "{status}");
    daemon.stop().await;
    assert_eq!(world.cycles().await, [""; 0]);
}

#[apply(on_both)]
async fn a_lock_that_cannot_be_released_does_not_change_the_end_of_the_cycle() {
    let world = World::start(users(2).0).await;
    let ran = world.run_program_with(&[RELEASING], &["sync", "--json"], 0);
    assert_eq!(ran.json()["created"], 2, "{ran:?}");
    not_released(&world, &ran);
    world.run_program(&["sync"], 0);
    assert_eq!(world.cycles().await, ["command success"; 2]);

    // The daemon cannot release its own locks either.
    let daemon = world.daemon_with(&[RELEASING]).await;
    daemon.logged("waiting next_cycle.at=", 1).await;
    let log = world.path("daemon.log");
    daemon.stop().await;
    let log = std::fs::read_to_string(log).unwrap();
    let locks = if is_on_postgres() { 2 } else { 3 };
    assert_eq!(log.matches("cannot release the lock file ").count(), locks, "{log}");
    assert!(log.contains("state/learner-sync.pid: the disk does not answer; check the disk"), "{log}");
}

#[apply(on_both)]
async fn a_command_that_cannot_take_the_lock_of_a_cycle_fails_and_changes_nothing() {
    let (tenant, ids) = users(12);
    let world = World::start(tenant).await;
    world.run_program(&["sync"], 0);
    let before = world.lasting().await;
    let fails = |command: &[&str]| {
        let ran = world.run_program_with(&[("FAILPOINTS", "DiskAnswer=return(200);LockAcquiring=pause")], command, 1);
        let file = cycle_lock(&world);
        let silent = format!("cannot use the lock file {file}: the disk does not answer");
        assert!(ran.stderr.contains(&silent), "{ran:?}");
        assert!(ran.stderr.contains(&format!("check the disk or the network file system of {file}")), "{ran:?}");
    };
    if !is_on_postgres() {
        fails(&["schema", "apply"]);
    }
    recreate_accounts(&world, &ids);
    fails(&RELINK);
    let old = recreate_application(&world);
    fails(&["approve", "--source", "--take-over", &old, "--yes"]);
    assert_eq!(world.lasting().await, before);
}

#[apply(on_both)]
async fn a_lock_that_cannot_be_released_does_not_change_the_end_of_a_command() {
    let (tenant, ids) = users(12);
    let world = World::start(tenant).await;
    if !is_on_postgres() {
        not_released(&world, &world.run_program_with(&[RELEASING], &["schema", "apply"], 0));
    }
    world.run_program(&["sync"], 0);
    recreate_accounts(&world, &ids);
    let ran = world.run_program_with(&[RELEASING], &RELINK, 0);
    assert!(ran.stdout.contains("Relinked 12 users"), "{ran:?}");
    not_released(&world, &ran);
    let old = recreate_application(&world);
    let ran = world.run_program_with(&[RELEASING], &["approve", "--source", "--take-over", &old, "--yes"], 0);
    assert!(ran.stdout.contains("Taken over."), "{ran:?}");
    not_released(&world, &ran);
    // A refusal comes as soon.
    world.run_program(&["pause"], 0);
    not_released(&world, &world.run_program_with(&[RELEASING], &["sync"], 1));
}

#[apply(on_both)]
async fn a_lock_whose_holder_cannot_be_read_keeps_no_command() {
    let world = World::start(users(1).0).await;
    let reading = ("FAILPOINTS", "DiskAnswer=return(200);LockReading=pause");
    let silent = |text: &str| {
        let file = world.path("state/learner-sync.pid");
        let file = file.display();
        format!("{text}cannot use the lock file {file}: the disk does not answer")
    };
    for command in ["sync", "pause", "resume"] {
        let ran = world.run_program_with(&[reading], &[command], 0);
        assert!(ran.stderr.contains(&silent("cannot notify the daemon: ")), "{ran:?}");
    }
    let ran = world.run_program_with(&[reading], &["resync"], 1);
    assert!(ran.stderr.contains(&silent("")), "{ran:?}");
    assert!(ran.stderr.contains("check the disk or the network file system of "), "{ran:?}");
}

#[tokio::test]
async fn a_learner_database_that_does_not_answer_ends_every_command() {
    let world = World::start(users(1).0).await;
    world.run_program(&["sync"], 0);
    let database = world.path("learners.db").display().to_string();
    let message = format!("cannot use the learner database {database}: the disk does not answer");
    let hint = format!("check the disk or the network file system of {database}");
    let silent = ("FAILPOINTS", "DiskAnswer=return(200);DatabaseReading=pause");
    for command in COMMANDS {
        let ran = world.run_program_with(&[silent], command, 1);
        assert!(ran.stderr.contains(&message) && ran.stderr.contains(&hint), "{ran:?}");
    }
    let checked = world.run_program_with(&[silent], &["check"], 1).stdout;
    assert!(checked.contains("FAIL database") && !checked.contains("FAIL state"), "{checked}");
    // The other checks are done.
    assert!(checked.contains("FAIL disk") && !checked.contains("FAIL files"), "{checked}");

    // The disk is lost while the command runs.
    let silent = ("FAILPOINTS", "DiskAnswer=return(200);DatabaseReading=1*off->pause");
    let ran = world.run_program_with(&[silent], &["sync"], 1);
    assert!(ran.stderr.contains(&message) && ran.stderr.contains(&hint), "{ran:?}");
    let silent = ("FAILPOINTS", "DiskAnswer=return(200);DatabaseReading=2*off->pause");
    let status = world.run_program_with(&[silent], &["status", "--json"], 0).json();
    assert_eq!(
        (&status["state"], status["reason"].as_str()),
        (&json!("blocked"), Some(&*format!("{message}; {hint}")))
    );
}

#[apply(on_both)]
async fn a_state_directory_that_does_not_answer_ends_every_command() {
    let world = World::start(users(1).0).await;
    world.run_program(&["sync"], 0);
    let silent = ("FAILPOINTS", "DiskAnswer=return(200);StateReading=pause");
    let directory = world.path("state").display().to_string();
    for command in COMMANDS {
        let ran = world.run_program_with(&[silent], command, 1);
        let message = format!("cannot use state.directory {directory}: the disk does not answer");
        assert!(ran.stderr.contains(&message), "{ran:?}");
        let hint = format!("check the disk or the network file system of {directory}");
        assert!(ran.stderr.contains(&hint), "{ran:?}");
    }
    let checked = world.run_program_with(&[silent], &["check"], 1).stdout;
    assert!(checked.contains("FAIL database") && checked.contains("FAIL state"), "{checked}");
    assert!(checked.contains("FAIL disk") && checked.contains("FAIL files"), "{checked}");

    // The disk is lost while the command runs.
    for (command, code) in [(&["status", "--json"][..], 0), (&["status", "--json", "--exit-code"], 1)] {
        let reading = ("FAILPOINTS", "DiskAnswer=return(200);LockReading=pause");
        let status = world.run_program_with(&[reading], command, code).json();
        assert_eq!(status["state"], "blocked", "{status}");
        assert!(status.to_string().contains(": the disk does not answer"), "{status}");
    }
}

#[apply(on_both)]
async fn status_shows_the_record_of_the_daemon_while_a_disk_does_not_answer() {
    let world = World::start(users(1).0).await;
    std::fs::create_dir(world.path("run")).unwrap();
    let run = world.path("run").display().to_string();
    let run = ("RUNTIME_DIRECTORY", &*run);
    let daemon = world.daemon_with(&[run]).await;
    daemon.logged("waiting next_cycle.at=", 1).await;
    let database = if is_on_postgres() { None } else { Some(("DatabaseReading", "the learner database")) };
    for (point, what) in [Some(("StateReading", "state.directory")), database].into_iter().flatten() {
        let points = format!("DiskAnswer=return(200);{point}=pause");
        for (command, code) in [(&["status", "--json"][..], 0), (&["status", "--json", "--exit-code"], 1)] {
            let status = world.run_program_with(&[run, ("FAILPOINTS", &points)], command, code).json();
            assert_eq!((&status["state"], &status["daemon"]["pid"]), (&json!("blocked"), &json!(daemon.pid())));
            let reason = status["reason"].as_str().unwrap();
            assert!(reason.starts_with(&format!("cannot use {what} ")), "{reason}");
            assert!(reason.contains(": the disk does not answer; check the disk "), "{reason}");
        }
    }
    daemon.stop().await;
}

const COMMANDS: [&[&str]; 9] = [
    &["sync"],
    &["run"],
    &["plan"],
    &["pause"],
    &["resync"],
    &["log"],
    &["approve"],
    &["status"],
    &["status", "--exit-code"],
];
const RELINK: [&str; 5] = ["approve", "--relink", "--yes", "--expect", "12"];
const RELEASING: (&str, &str) = ("FAILPOINTS", "DiskAnswer=return(200);LockReleasing=pause");

fn cycle_lock(world: &World) -> String {
    world.path(if is_on_postgres() { "state/cycle.lock" } else { "learners.db.lock" }).display().to_string()
}

/// The command warns that the lock of the cycle stays.
#[track_caller]
fn not_released(world: &World, ran: &Ran) {
    let file = cycle_lock(world);
    let warning = format!(
        "cannot release the lock file {file}: the disk does not answer; check the disk or the network file system of \
         {file}"
    );
    assert!(ran.stderr.contains(&warning), "{ran:?}");
}

fn recreate_accounts(world: &World, ids: &[String]) {
    world.sim.tenant(|tenant| ids.iter().for_each(|id| drop(tenant.recreate_user(id))));
}

/// Returns the id of the former application.
fn recreate_application(world: &World) -> String {
    let old = world.sim.tenant(|tenant| {
        let old = tenant.application.object_id.clone();
        tenant.recreate_application();
        old
    });
    world.configure("");
    old
}
