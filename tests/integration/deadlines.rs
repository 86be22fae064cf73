//! Timeouts of the whole read and of single requests end the cycle with nothing changed.

use std::time::Duration;

use graph_sim::{Fault, Gate, Tenant};
use learner_sync::model::Outcome;

use crate::directory::calls;
use crate::mapping::mapping;
use crate::world::{World, assigned, assigned_group};

const MEMBERS: &str = "/v1.0/groups/{id}/members";
const ASSIGNMENTS: &str = "/v1.0/servicePrincipals/{id}/appRoleAssignedTo";
/// The pause between the pieces of an answer, shorter than the idle timeout.
const PAUSE: Duration = Duration::from_millis(100);

/// A world with these lines in `[entra]`, in which a user has left a group.
async fn world_with(entra: &str) -> World {
    let mut tenant = Tenant::default();
    let (group, members) = assigned_group(&mut tenant, "Staff", 2);
    let mut world = World::start(tenant).await;
    world.cycle().await;
    world.sim.tenant(|tenant| tenant.remove_member(&group, &members[0]));
    world.reconfigure(|text| text.replace("[entra]\n", &format!("[entra]\n{entra}\n")));
    world
}

/// A cycle with this fault fails with this error and changes nothing, and the next one makes the pending change.
/// Returns the number of calls that the failed cycle sent to `path`.
async fn calls_of_failed_cycle(world: &mut World, fault: Fault, path: &str, words: &str) -> usize {
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
        // The gate never opens.
        let fault = Fault::on("GET", place).hold_until(&Gate::new());
        calls_of_failed_cycle(&mut world, fault, "", "entra.cycle_deadline").await;
    }
}

#[tokio::test]
async fn a_request_that_takes_too_long_ends_the_cycle_and_is_not_retried() {
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
        assert_eq!(calls_of_failed_cycle(&mut world, fault, path, words).await, 1, "{place}");
    }
}

#[tokio::test]
async fn a_silent_connection_is_retried() {
    let mut world = world_with("request_deadline = \"4s\"").await;
    // The silence ends after half of the budget.
    world.sim.inject(Fault::on("GET", MEMBERS).hold_until(&Gate::new()));
    assert_eq!(world.cycle().await.counts.deactivated, 1);
    world.settled().await;
}

/// A pattern that takes about a tenth of a second for each of these users.
const SLOW: &str = "department = 'Replace([department], , \"(?:(?=[^z]*z)x|a)+?(?=[^z]*z)b|a\", , \"\", , )'";

#[tokio::test]
async fn users_that_are_slow_to_map_do_not_delay_the_deadline() {
    // In a list of members, and read by their ids.
    for in_group in [true, false] {
        let mut tenant = Tenant::default();
        let users = if in_group { assigned_group(&mut tenant, "Staff", 40).1 } else { assigned(&mut tenant, 40) };
        users.iter().for_each(|user| tenant.user_mut(user).department = Some("a".repeat(6_000)));
        let mut world = World::start(tenant).await;
        world.configure(&mapping(SLOW));
        world.reconfigure(|text| text.replace("[entra]\n", "[entra]\ncycle_deadline = \"1s\"\n"));
        let report = world.cycle().await;
        let error = report.error.unwrap_or_default();
        assert!(report.outcome == Outcome::Failed && error.contains("entra.cycle_deadline"), "{in_group}: {error}");
    }
}
