//! Concurrent processes with one learner database: one at a time runs a cycle, the others name it, and each change is
//! made once.

use std::collections::BTreeSet;
use std::process::Command;
use std::sync::Barrier;

use graph_sim::Tenant;
use learner_sync::failpoint::Step;
use rand::rngs::SmallRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use serde_json::json;

use crate::crash::changes::Changes;
use crate::crash::model::{DatabaseContent, Model, TenantView};
use crate::crash::{NO_LIMITS, SeedReport, tenant_with_users};
use crate::database::{apply, fewer_on_postgres, is_on_postgres, on_both};
use crate::program::{Daemon, PROGRAM};
use crate::world::{World, assigned, assigned_group};

const ROUNDS: usize = 100;

/// How one process of a race ended.
#[derive(Debug)]
struct RaceResult {
    pid: u32,
    /// `None` after a kill.
    code: Option<i32>,
    stderr: String,
}

/// Starts the commands at the same time and waits for all.
async fn race(world: &World, commands: Vec<Command>) -> Vec<RaceResult> {
    let barrier = Barrier::new(commands.len());
    let start = |(index, command): (usize, Command)| {
        let log = world.path(&format!("race-{index}.log"));
        barrier.wait();
        Daemon::spawn(command, &log)
    };
    let started: Vec<Daemon> = std::thread::scope(|scope| {
        let threads: Vec<_> =
            commands.into_iter().enumerate().map(|numbered| scope.spawn(move || start(numbered))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let mut ended = Vec::new();
    for mut process in started {
        let code = process.ended().await;
        ended.push(RaceResult { pid: process.pid(), code, stderr: process.log() });
    }
    ended
}

/// The program on the same database with another state directory.
pub(crate) fn elsewhere(world: &World, arguments: &[&str]) -> Command {
    let path = world.path("elsewhere.toml");
    if !path.exists() {
        let text = std::fs::read_to_string(world.config_path()).unwrap();
        let (here, there) = (format!("{:?}", world.path("state")), format!("{:?}", world.path("elsewhere")));
        let changed = text.replace(&here, &there);
        assert_ne!(text, changed);
        std::fs::write(&path, changed).unwrap();
    }
    let mut command = Command::new(PROGRAM);
    command.env_clear().args(arguments).arg("--config").arg(path);
    command
}

/// The message of a process without the lock names a process that had it. PostgreSQL has two locks: the holder of that
/// of the state directory may not get that of the database.
fn expect_holder_named(ended: &RaceResult, all: &[RaceResult]) {
    let may_have_had_it = |other: &RaceResult| is_on_postgres() || other.code != Some(75);
    let holders = all.iter().filter(|other| other.pid != ended.pid && may_have_had_it(other));
    let named = |other: &RaceResult| {
        let name = format!("another cycle holds the lock: learner-sync sync (pid {})", other.pid);
        ended.stderr.contains(&name)
    };
    assert!(holders.clone().any(named), "{ended:?} names none of {:?}", holders.collect::<Vec<_>>());
}

/// Whether a pause came before the cycle or before its next batch.
fn is_paused(process: &RaceResult) -> bool {
    ["learner-sync: provisioning is paused", "provisioning was paused"].iter().any(|why| process.stderr.contains(why))
}

#[apply(on_both)]
async fn one_of_the_concurrent_syncs_makes_the_changes() {
    let mut report = SeedReport::new();
    let tenant = tenant_with_users(120, report.seed);
    let world = World::start(tenant.clone()).await;
    world.configure(NO_LIMITS);
    let (mut model, mut changes) = (Model::default(), Changes::new(SmallRng::seed_from_u64(report.seed)));
    let (mut cycles, mut refused): (usize, usize) = (0, 0);
    let rounds = fewer_on_postgres(ROUNDS);
    for round in 0..rounds {
        report.round = round;
        if round % 10 == 0 {
            // The database does not exist yet.
            world.database.clear().await;
            for state in ["state", "elsewhere"] {
                // Not there before the first cycle, and not on PostgreSQL.
                let _ = std::fs::remove_file(world.path(state).join("used-databases.json"));
            }
            world.sim.tenant(|served| served.clone_from(&tenant));
            (model, cycles) = (Model::default(), 0);
        } else {
            world.sim.tenant(|tenant| changes.make(tenant, &model, 5));
        }
        let mut commands = Vec::new();
        let (mut patient, mut doomed) = (BTreeSet::new(), BTreeSet::new());
        for index in 0..changes.random.random_range(2..=3) {
            let arguments: &[&str] = if changes.random.random_bool(0.25) {
                patient.insert(index);
                &["sync", "--wait"]
            } else {
                &["sync"]
            };
            let there = changes.random.random_bool(0.3);
            let mut command = if there { elsewhere(&world, arguments) } else { world.program(arguments) };
            if changes.random.random_bool(0.1) {
                // Killed while the others wait, if it gets the lock.
                doomed.insert(index);
                let step = Step::ALL.choose(&mut changes.random).unwrap();
                command.env("FAILPOINTS", format!("{step:?}=return"));
            }
            commands.push(command);
        }
        let ended = race(&world, commands).await;
        let (mut done, mut killed) = (0, 0);
        for (index, process) in ended.iter().enumerate() {
            match process.code {
                Some(0) => done += 1,
                None if doomed.contains(&index) => killed += 1,
                Some(75) if !patient.contains(&index) => {
                    refused += 1;
                    expect_holder_named(process, &ended);
                }
                _ => panic!("{process:?}"),
            }
        }
        assert!(done + killed > 0, "{ended:?}");
        if killed > 0 {
            // The killed process may have been the only one with a turn.
            world.run_program(&["sync"], 0);
            done += 1;
        }
        // Another sync has nothing to do.
        let document = world.run_program(&["sync", "--json"], 0).json();
        let changed = ["created", "updated", "deactivated", "reactivated"].map(|number| document[number].clone());
        assert_eq!(changed, [0, 0, 0, 0].map(|number| json!(number)), "{document}");
        let found = DatabaseContent::read(&world.database, &model).await;
        assert!(found.cycles.iter().all(|ended| *ended), "{:?}", found.cycles);
        let least = cycles + done + 1;
        // The killed process may have written its row.
        assert!((least..=least + killed).contains(&found.cycles.len()), "{least}, {killed}: {:?}", found.cycles);
        cycles = found.cycles.len();
        world.sim.tenant(|tenant| {
            let view = TenantView::of(tenant);
            model.catch_up(&found, &view);
            model.assert_complete(&view);
        });
    }
    // Otherwise the processes never competed.
    assert!(refused > rounds / 4, "{refused} of {rounds}");
}

#[apply(on_both)]
async fn a_cycle_succeeds_whatever_an_administrator_does_at_the_same_time() {
    let mut tenant = Tenant::default();
    let users = assigned(&mut tenant, 25);
    let world = World::start(tenant).await;
    world.run_program(&["sync"], 0);
    for (round, user) in users.iter().take(fewer_on_postgres(users.len())).enumerate() {
        // Holds, so that there is something to approve.
        let (group, members) = world.sim.tenant(|tenant| assigned_group(tenant, &format!("Club {round}"), 3));
        world.run_program(&["sync"], 0);
        world.sim.tenant(|tenant| members.iter().for_each(|user| tenant.remove_member(&group, user)));
        world.run_program(&["sync"], 3);
        let newcomer = world.sim.tenant(|tenant| {
            tenant.user_mut(user).job_title = Some(format!("Title {round}"));
            assigned(tenant, 1).remove(0)
        });
        let mut commands: Vec<&[&str]> =
            vec![&["sync"], &["approve", "--yes", "--expect", "3"], &["sync", "--wait"], &["status", "--json"]];
        if round % 2 == 0 {
            // The pause usually comes before the cycles.
            commands.extend([&["pause"][..], &["resume"]]);
        }
        let ended = race(&world, commands.iter().map(|arguments| world.program(arguments)).collect()).await;
        for (arguments, process) in commands.iter().zip(&ended) {
            match (arguments[0], process.code.unwrap()) {
                // Users not approved in time are still held.
                ("sync", 0 | 3) => {}
                ("sync", 1) if is_paused(process) => {}
                ("sync", 75) if arguments.len() == 1 => {}
                ("approve" | "status" | "pause" | "resume", 0) => {}
                _ => panic!("round {round}: {arguments:?}: {process:?}"),
            }
        }
        world.run_program(&["resume"], 0);
        world.run_program(&["sync"], 0);
        for member in &members {
            let log = [
                "create success assigned",
                "deactivate held empty-group",
                "deactivate held empty-group ended",
                "deactivate success unassigned",
            ];
            assert_eq!(world.log(member).await, log, "round {round}");
            assert!(world.last_detail(member).await.starts_with("approved by "));
        }
        let log = ["create success assigned", "update success attributes-changed"];
        assert_eq!(world.log(user).await, log, "round {round}");
        assert_eq!(world.log(&newcomer).await, ["create success assigned"], "round {round}");
    }
    // A pause interrupts.
    let unfinished = "SELECT count(*) FROM sync_cycles
                      WHERE outcome IS NULL OR outcome NOT IN ('success', 'held') AND error NOT LIKE '%was paused%'";
    assert_eq!(world.value(unfinished).await, "0");
    world.database.is_whole().await;
}

#[apply(on_both)]
async fn concurrent_processes_create_a_database_once() {
    for round in 0..fewer_on_postgres(25) {
        let mut tenant = Tenant::default();
        let users = assigned(&mut tenant, 5);
        let world = World::start(tenant).await;
        let mut commands: Vec<&[&str]> = vec![&["sync"], &["status"], &["approve"], &["sync", "--wait"]];
        if round % 2 == 0 {
            commands.extend([&["pause"][..], &["resume"]]);
        }
        let ended = race(&world, commands.iter().map(|arguments| world.program(arguments)).collect()).await;
        for (arguments, process) in commands.iter().zip(&ended) {
            match (arguments[0], process.code.unwrap()) {
                ("sync" | "status" | "pause" | "resume", 0) => {}
                ("sync", 1) if is_paused(process) => {}
                ("sync", 75) if arguments.len() == 1 => {}
                // Without a database yet, nobody is held.
                ("approve", 0) => {}
                ("approve", 1) if process.stderr.contains("does not exist") => {}
                _ => panic!("round {round}: {arguments:?}: {process:?}"),
            }
        }
        world.run_program(&["resume"], 0);
        world.run_program(&["sync"], 0);
        for user in &users {
            assert_eq!(world.log(user).await, ["create success assigned"], "round {round}");
        }
        assert_eq!(world.value("SELECT count(*) FROM sync_state").await, "1");
        if !is_on_postgres() {
            assert_eq!(world.value("PRAGMA journal_mode").await, "wal");
        }
    }
}
