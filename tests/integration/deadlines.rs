//! What takes too long, as a whole or for one request, ends the cycle with nothing changed.

use std::time::Duration;

use graph_sim::{Fault, Gate, Tenant};
use learner_sync::model::Outcome;

use crate::directory::calls;
use crate::world::{World, assigned_group};

const MEMBERS: &str = "/v1.0/groups/{id}/members";
const ASSIGNMENTS: &str = "/v1.0/servicePrincipals/{id}/appRoleAssignedTo";
/// Between the pieces of an answer: never so long that the connection looks dead.
const PAUSE: Duration = Duration::from_millis(100);

/// A world whose cycles have the given lines in `[entra]`, and in which somebody has left a group.
async fn world_with(entra: &str) -> World {
    let mut tenant = Tenant::default();
    let (group, members) = assigned_group(&mut tenant, "Staff", 2);
    let mut world = World::start(tenant).await;
    world.cycle().await;
    world.sim.tenant(|tenant| tenant.remove_member(&group, &members[0]));
    world.reconfigure(|text| text.replace("[entra]\n", &format!("[entra]\n{entra}\n")));
    world
}

/// A cycle with this fault fails with an error of these words and changes nothing. Answers how many calls it sent to
/// where the fault is, which `path` ends; then the next cycle does what there was to do.
async fn fails_and_comes_right(world: &mut World, fault: Fault, path: &str, words: &str) -> usize {
    let before = world.lasting().await;
    world.sim.inject(fault.always());
    world.sim.clear_journal();
    let report = world.cycle().await;
    let error = report.error.unwrap();
    assert!(report.outcome == Outcome::Failed && error.contains(words), "{error}");
    world.unchanged_since(&before).await;
    let asked = calls(&world.sim.journal(), path).len();
    world.sim.clear_faults();
    assert_eq!(world.cycle().await.counts.deactivated, 1);
    world.settled().await;
    asked
}

#[tokio::test]
async fn a_read_that_takes_too_long_ends_the_cycle() {
    for place in [MEMBERS, ASSIGNMENTS, "/v1.0/servicePrincipals/{id}"] {
        let mut world = world_with("cycle_deadline = \"1s\"").await;
        // Nobody ever opens this gate.
        let fault = Fault::on("GET", place).hold_until(&Gate::new());
        fails_and_comes_right(&mut world, fault, "", "entra.cycle_deadline").await;
    }
}

#[tokio::test]
async fn a_request_that_takes_too_long_ends_the_cycle_and_is_not_tried_again() {
    for (method, place, words, fault) in [
        ("GET", MEMBERS, "no complete answer", Fault::dripping as fn(_, _, _) -> _),
        ("GET", ASSIGNMENTS, "no complete answer", Fault::never_ending),
        ("POST", "/v1.0/$batch", "no complete answer", Fault::never_ending),
        ("POST", "/*/oauth2/v2.0/token", "the sign-in failed", Fault::never_ending),
        ("GET", MEMBERS, "429", |fault, _, _| fault.retry_after("3600")),
    ] {
        let mut world = world_with("request_deadline = \"2s\"").await;
        let fault = fault(Fault::on(method, place), 1, PAUSE);
        let (_, path) = place.rsplit_once('/').unwrap();
        assert_eq!(fails_and_comes_right(&mut world, fault, path, words).await, 1, "{place}");
    }
}

#[tokio::test]
async fn silence_is_asked_a_second_time() {
    let mut world = world_with("request_deadline = \"4s\"").await;
    // Nothing for half of the time, and then there is some left.
    world.sim.inject(Fault::on("GET", MEMBERS).hold_until(&Gate::new()));
    assert_eq!(world.cycle().await.counts.deactivated, 1);
    world.settled().await;
}
