//! Messages of two daemons: one for each cause, whichever daemon runs the cycle.

use graph_sim::Fault;
use rustix::process::Signal;

use super::{ASSIGNMENTS, TOOK_OVER, schedule, spawn};
use crate::notify::receiver::Receiver;
use crate::notify::webhook_section;
use crate::postgres::shared;
use crate::program::{eventually, users};
use crate::world::World;

const STANDBY_TOOK_OVER: &str = "standby-took-over";

#[tokio::test]
async fn two_daemons_report_failing_cycles_once_and_the_standby_that_takes_over() {
    let Some(server) = shared() else { return };
    let world = World::start_on(server, users(1).0).await;
    let receiver = Receiver::start();
    world.configure(&format!("{}\n{}", schedule(), webhook_section(&world, &receiver)));
    let one = spawn(&world, "one", &[]);
    one.logged("waiting next_cycle.at=", 1).await;
    let two = spawn(&world, "two", &[]);
    two.logged("waiting next_cycle.at=", 1).await;
    world.sim.inject(Fault::on("GET", ASSIGNMENTS).always().answer(403));
    // The daemons change places after a failed cycle.
    one.logged("cycle.outcome=failed", 1).await;
    two.logged("cycle.outcome=failed", 1).await;
    world.sim.clear_faults();
    let events = eventually("cycles work again", async || {
        let events = receiver.events();
        events.contains(&"recovered".to_owned()).then_some(events)
    })
    .await;
    assert_eq!(others(events), ["failing", "recovered"]);
    // The one that runs the cycles is killed.
    let directory = world.value("SELECT state_directory FROM sync_schedule").await;
    let (leader, other) = if directory.ends_with("one") { (one, two) } else { (two, one) };
    let before = other.log().matches(TOOK_OVER).count();
    leader.signal(Signal::KILL);
    other.logged(TOOK_OVER, before + 1).await;
    let events = eventually("the take-over is reported", async || {
        let events = receiver.events();
        (events.len() > 2).then_some(events)
    })
    .await;
    // A machine that is busy may have made a daemon late before; there is one message a day.
    assert_eq!(events.iter().filter(|event| *event == STANDBY_TOOK_OVER).count(), 1, "{events:?}");
    assert_eq!(others(events), ["failing", "recovered"]);
    let messages = receiver.requests();
    let message = messages.iter().map(|request| request.json()).find(|message| message["event"] == STANDBY_TOOK_OVER);
    assert!(message.unwrap()["text"].as_str().unwrap().contains("took over"));
    other.stop().await;
}

fn others(events: Vec<String>) -> Vec<String> {
    events.into_iter().filter(|event| event != STANDBY_TOOK_OVER).collect()
}
