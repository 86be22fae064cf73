//! Two processes without a lock between them write in turn: each change is made once.

use std::process::Command;

use graph_sim::Tenant;
use learner_sync::failpoint::Step;
use learner_sync::model::system_clock;
use rand::RngExt;
use rand::SeedableRng;
use rand::rngs::SmallRng;
use rand::seq::IndexedRandom;

use super::{
    BATCH, USERS, ends, expect_one_row_for_each, expect_one_writer_in_each_generation, is_stopped, record_renewals,
    stopped_at, stops,
};
use crate::crash::changes::Changes;
use crate::crash::model::{DatabaseContent, Model, TenantView};
use crate::crash::{NO_LIMITS, SeedReport, tenant_with_users};
use crate::program::{Daemon, eventually};
use crate::world::{World, assigned};

const ROUNDS: usize = 40;

/// Steps without an open transaction and with a closed cache.
const BETWEEN: [Step; 7] = [
    Step::LinkedLearnersRead,
    Step::DirectoryRead,
    Step::Planned,
    Step::BookkeepingCommitted,
    Step::BatchCommitted,
    Step::PlanApplied,
    Step::CycleEnding,
];

/// Removes the lock file, so that the next process locks another one.
fn remove_lock(world: &World) {
    std::fs::remove_file(world.path("learners.db.lock")).unwrap();
}

#[tokio::test]
async fn two_processes_without_a_lock_file_share_the_work() {
    let mut tenant = Tenant::default();
    assigned(&mut tenant, USERS);
    let mut world = World::start(tenant).await;
    world.now = system_clock();
    let mut first = stopped_at(&world, &["sync"], "BatchCommitted=1*return(stop)").await;
    remove_lock(&world);
    record_renewals(&world).await;
    world.run_program(&["sync"], 0);
    assert_eq!(world.value("SELECT created FROM sync_cycles ORDER BY id DESC LIMIT 1").await, "500");
    assert_eq!(ends(&mut first).await, Some(0), "{}", first.log());
    let created = world.query("SELECT created, outcome FROM sync_cycles ORDER BY id").await;
    assert_eq!(created, [[BATCH.to_string(), "success".to_owned()], ["500".to_owned(), "success".to_owned()]]);
    expect_one_row_for_each(&world, USERS).await;
    assert_eq!(expect_one_writer_in_each_generation(&world).await, 1);
    world.settled().await;
}

/// Lets two processes stop at random steps and go on in random order, again and again. `command` makes the first and the
/// second of a round.
pub(super) async fn take_turns(world: &World, rounds: usize, mut command: impl FnMut(usize) -> Command) {
    let mut report = SeedReport::new();
    let (mut model, mut changes) = (Model::default(), Changes::new(SmallRng::seed_from_u64(report.seed)));
    let mut overtaken = 0;
    for round in 0..rounds {
        report.round = round;
        world.sim.tenant(|tenant| changes.make(tenant, &model, 5));
        let mut processes = Vec::new();
        for number in 0..2 {
            let step = BETWEEN.choose(&mut changes.random).unwrap();
            let mut command = command(number);
            command.env("FAILPOINTS", format!("{step:?}=1*return(stop)"));
            let mut process = Daemon::spawn(command, &world.path(&format!("turn-{number}.log")));
            // Without changes, the step may not be reached.
            eventually("the process stops or ends", async || (is_stopped(&process) || !process.runs()).then_some(()))
                .await;
            processes.push(process);
        }
        if changes.random.random_bool(0.5) {
            processes.reverse();
        }
        for mut process in processes {
            let code = if process.runs() { ends(&mut process).await } else { process.ended().await };
            assert_eq!(code, Some(0), "{}", process.log());
            overtaken += usize::from(process.log().contains("starts over"));
        }
        let document = world.run_program(&["sync", "--json"], 0).json();
        let changed = ["created", "updated", "deactivated", "reactivated"].map(|number| document[number].as_u64());
        assert_eq!(changed, [Some(0); 4], "{document}");
        let found = DatabaseContent::read(&world.database, &model).await;
        world.sim.tenant(|tenant| {
            let view = TenantView::of(tenant);
            model.catch_up(&found, &view);
            model.assert_complete(&view);
        });
        expect_one_writer_in_each_generation(world).await;
    }
    // Otherwise the processes never competed.
    assert!(overtaken > rounds / 4, "{overtaken} of {rounds}");
}

/// A world with the tables and the record of generations.
pub(super) async fn world_for_turns() -> World {
    let world = World::start(tenant_with_users(40, 7)).await;
    world.configure(NO_LIMITS);
    world.run_program(&["pause"], 0);
    world.run_program(&["resume"], 0);
    record_renewals(&world).await;
    world
}

#[tokio::test]
async fn two_processes_without_a_lock_file_write_in_turn() {
    let world = world_for_turns().await;
    take_turns(&world, ROUNDS, |_| {
        let _ = std::fs::remove_file(world.path("learners.db.lock"));
        world.program(&["sync"])
    })
    .await;
}

#[tokio::test]
async fn a_process_that_wakes_up_after_its_lock_file_is_removed_is_fenced() {
    let mut tenant = Tenant::default();
    assigned(&mut tenant, USERS);
    let world = World::start(tenant).await;
    // Within a transaction nobody else writes; the other process waits for its end.
    let mut first = stopped_at(&world, &["sync"], "BatchWritten=1*return(stop)").await;
    remove_lock(&world);
    let mut command = world.program(&["sync"]);
    command.env("FAILPOINTS", "LinkedLearnersRead=1*return(stop)");
    let mut second = Daemon::spawn(command, &world.path("second.log"));
    // Its first write waits for the transaction, so it goes on once the first process does.
    assert_eq!(ends(&mut first).await, Some(0), "{}", first.log());
    stops(&mut second).await;
    assert_eq!(ends(&mut second).await, Some(0), "{}", second.log());
    expect_one_row_for_each(&world, USERS).await;
}
