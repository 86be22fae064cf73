//! A lock file on a disk that does not answer, such as a lost network file system. The threads that wait for it wait for
//! ever.

use rustix::process::Signal;

use crate::database::{apply, is_on_postgres, on_both};
use crate::program::users;
use crate::world::World;

#[apply(on_both)]
async fn a_lock_file_that_does_not_answer_fails_the_cycle_and_stops_nothing_else() {
    let world = World::start(users(2).0).await;
    let hangs = |points: &str| format!("CacheDisk=return(200);{points}");
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
    let silent = "cannot start a cycle: cannot use the lock file ";
    daemon.logged(silent, 1).await;
    daemon.signal(Signal::USR1);
    daemon.logged(silent, 2).await;
    let file = if is_on_postgres() { "state/cycle.lock" } else { "learners.db.lock" };
    let silent = format!("{silent}{}: the disk does not answer", world.path(file).display());
    assert_eq!(daemon.log().matches(&silent).count(), 2, "{}", daemon.log());
    let status = world.run_program(&["status", "--json", "--exit-code"], 1).json();
    assert_eq!(status["state"], "blocked", "{status}");
    daemon.stop().await;
    assert_eq!(world.cycles().await, [""; 0]);
}

#[apply(on_both)]
async fn a_lock_that_cannot_be_released_does_not_change_the_end_of_the_cycle() {
    let world = World::start(users(2).0).await;
    let points = "CacheDisk=return(200);LockReleasing=pause";
    let ran = world.run_program_with(&[("FAILPOINTS", points)], &["sync", "--json"], 0);
    assert_eq!(ran.json()["created"], 2, "{ran:?}");
    assert!(ran.stderr.contains("cannot release the lock of the cycle: the disk does not answer"), "{ran:?}");
    world.run_program(&["sync"], 0);
    assert_eq!(world.cycles().await, ["command success"; 2]);
}
