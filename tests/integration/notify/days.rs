//! Messages that depend on days. Time passes while no daemon runs: the recorded times and the dates of the tenant move back.

use jiff::SignedDuration;
use learner_sync::model::system_clock;
use rustix::process::Signal;
use serde_json::{Value, json};

use super::configure_webhook;
use super::receiver::Receiver;
use crate::database::{apply, is_on_postgres, on_both};
use crate::program::{add_assigned_user, eventually, users};
use crate::world::World;

/// The columns with the times that these messages depend on.
const TIMES: [(&str, &str); 6] = [
    ("sync_notifications", "notified_at"),
    ("sync_notifications", "covers"),
    ("sync_state", "credential_looked_at"),
    ("sync_state", "credential_ends_at"),
    ("sync_failures", "first_at"),
    ("sync_failures", "last_at"),
];

async fn pass(world: &World, hours: i64) {
    for (table, column) in TIMES {
        let earlier = match is_on_postgres() {
            true => format!("{column} - interval '{hours} hours'"),
            false => format!("strftime('%Y-%m-%dT%H:%M:%SZ', {column}, '-{hours} hours')"),
        };
        world.execute(&format!("UPDATE {table} SET {column} = {earlier} WHERE {column} IS NOT NULL")).await;
    }
    world.sim.tenant(|tenant| tenant.secret_expires_at -= SignedDuration::from_hours(hours));
}

/// Two cycles of a daemon, after which the receiver has had `count` messages.
async fn two_cycles(world: &World, receiver: &Receiver, count: usize) {
    let daemon = world.daemon().await;
    daemon.logged("waiting next_cycle.at=", 1).await;
    daemon.signal(Signal::USR1);
    daemon.logged("waiting next_cycle.at=", 2).await;
    eventually(&format!("{count} messages arrive"), async || (receiver.requests().len() >= count).then_some(())).await;
    daemon.stop().await;
    assert_eq!(receiver.requests().len(), count, "{:?}", receiver.events());
}

fn messages(receiver: &Receiver) -> Vec<Value> {
    receiver.requests().iter().map(|request| request.json()).collect()
}

#[apply(on_both)]
async fn a_credential_that_expires_is_reported_30_and_7_days_and_1_day_before() {
    let world = World::start(users(1).0).await;
    let receiver = Receiver::start();
    configure_webhook(&world, &receiver, "");
    let end = system_clock() + SignedDuration::from_hours(24 * 31);
    world.sim.tenant(|tenant| tenant.secret_expires_at = end);
    two_cycles(&world, &receiver, 0).await;
    // The hours that pass, and the number of messages after them.
    for (hours, count) in [(48, 1), (24, 1), (20 * 24, 1), (2 * 24, 2), (24, 2), (3 * 24, 2), (30, 3), (12, 3)] {
        pass(&world, hours).await;
        two_cycles(&world, &receiver, count).await;
    }
    // It has expired.
    pass(&world, 3 * 24).await;
    two_cycles(&world, &receiver, 3).await;
    let messages = messages(&receiver);
    for (message, passed) in messages.iter().zip([48, (2 + 1 + 20 + 2) * 24, (2 + 1 + 20 + 2 + 1 + 3) * 24 + 30]) {
        assert_eq!((&message["event"], &message["count"]), (&json!("credential-expiring"), &json!(0)), "{message:#}");
        let text = message["text"].as_str().unwrap();
        let end = end - SignedDuration::from_hours(passed);
        assert!(text.contains(&format!("the credential for Entra ID expires at {end:.0}")), "{end}: {text}");
        assert!(message["command"].as_str().unwrap().starts_with("learner-sync check"), "{message:#}");
    }
    let causes = world.query("SELECT cause FROM sync_notifications ORDER BY notified_at").await.concat();
    assert_eq!(causes, ["credential-expiring/30", "credential-expiring/7", "credential-expiring/1"]);
}

#[apply(on_both)]
async fn a_new_credential_is_reported_again_only_when_it_expires_as_well() {
    let world = World::start(users(1).0).await;
    let receiver = Receiver::start();
    configure_webhook(&world, &receiver, "");
    let in_days = |days: i64| system_clock() + SignedDuration::from_hours(24 * days);
    world.sim.tenant(|tenant| tenant.secret_expires_at = in_days(5));
    two_cycles(&world, &receiver, 1).await;
    world.sim.tenant(|tenant| tenant.secret_expires_at = in_days(100));
    two_cycles(&world, &receiver, 1).await;
    pass(&world, 71 * 24).await;
    two_cycles(&world, &receiver, 2).await;
    pass(&world, 23 * 24).await;
    two_cycles(&world, &receiver, 3).await;
    let causes = world.query("SELECT cause FROM sync_notifications ORDER BY notified_at").await.concat();
    assert_eq!(causes, ["credential-expiring/30", "credential-expiring/7"]);
}

#[apply(on_both)]
async fn users_who_fail_for_a_day_are_reported_once_and_others_when_they_have() {
    let (mut tenant, mut ids) = users(3);
    let mail = tenant.user(&ids[0]).unwrap().mail.clone();
    tenant.user_mut(&ids[1]).mail = mail.clone();
    let world = World::start(tenant).await;
    let receiver = Receiver::start();
    configure_webhook(&world, &receiver, "");
    two_cycles(&world, &receiver, 0).await;
    for (hours, count) in [(23, 0), (2, 1), (5 * 24, 1)] {
        pass(&world, hours).await;
        two_cycles(&world, &receiver, count).await;
    }
    let other = world.sim.tenant(|tenant| {
        let id = add_assigned_user(tenant, "Ada", "Number3");
        tenant.user_mut(&id).mail = mail.clone();
        id
    });
    for (hours, count) in [(0, 1), (20, 1), (5, 2), (25, 2)] {
        pass(&world, hours).await;
        two_cycles(&world, &receiver, count).await;
    }
    ids.truncate(2);
    ids.sort();
    let first = messages(&receiver).remove(0);
    assert_eq!((&first["event"], &first["count"], &first["users"]), (&json!("users-failing"), &json!(2), &json!(ids)));
    let text = first["text"].as_str().unwrap();
    assert!(text.contains("2 users have been failing for more than a day, the first since 20"), "{text}");
    assert!(first["command"].as_str().unwrap().starts_with("learner-sync status --all"), "{first:#}");
    ids.push(other);
    ids.sort();
    let second = messages(&receiver).remove(1);
    assert_eq!(
        (&second["event"], &second["count"], &second["users"]),
        (&json!("users-failing"), &json!(3), &json!(ids))
    );
}
