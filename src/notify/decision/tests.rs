use super::*;
use crate::model::{Action, EntraId, NotifiedUser, Reason};

fn now() -> Timestamp {
    "2026-03-02T08:00:00Z".parse().unwrap()
}

const HOUR: SignedDuration = SignedDuration::from_hours(1);

/// The state of messages that are accepted at once, unless a test says otherwise.
struct World {
    accepts: bool,
    rows: NotificationRows,
    now: Timestamp,
    records: NotifiableRecords,
    policy: NotificationPolicy,
}

impl World {
    fn new() -> Self {
        let policy = NotificationPolicy {
            events: NotificationEvent::ALL.iter().copied().collect(),
            channels: [NotificationChannel::Webhook].into(),
        };
        Self { accepts: true, rows: NotificationRows::new(), now: now(), records: NotifiableRecords::default(), policy }
    }

    /// The causes of the messages after a cycle.
    fn cycle(&mut self, cycle: CycleResult) -> Vec<String> {
        self.cycle_after(cycle, None)
    }

    fn cycle_after(&mut self, cycle: CycleResult, took_over: Option<[String; 2]>) -> Vec<String> {
        let facts = NotificationFacts { now: self.now, cycle, took_over, records: Some(self.records.clone()) };
        let changed = decide(&self.rows, &facts, &self.policy);
        let sent = changed.iter().filter(|row| row.unsent.is_some()).map(|row| row.cause.to_string()).collect();
        for row in changed {
            let unsent = row.unsent.filter(|_| !self.accepts);
            self.rows.insert(row.cause, NotificationRow { unsent, ..row });
        }
        sent
    }

    /// The causes of the messages that are still to be sent.
    fn unsent(&self) -> Vec<String> {
        self.rows.values().filter(|row| row.unsent.is_some()).map(|row| row.cause.to_string()).collect()
    }

    fn hold(&mut self, reason: Reason, count: u64, latest: Timestamp) {
        let users = affected(count, latest);
        self.records.held.insert((Action::Deactivate, reason), users);
    }
}

fn affected(count: u64, latest: Timestamp) -> AffectedUsers {
    let user = NotifiedUser { id: EntraId::from_bytes([7; 16]), name: Some("ada".to_owned()) };
    AffectedUsers { count, since: now(), latest, first: vec![user] }
}

fn failed() -> CycleResult {
    CycleResult::Failed { since: Some(now()), error: "Graph is unreachable".to_owned() }
}

#[test]
fn a_day_of_failing_cycles_has_one_message_and_its_end_another() {
    let mut world = World::new();
    let mut sent = Vec::new();
    for _ in 0..36 {
        sent.extend(world.cycle(failed()));
        world.now += SignedDuration::from_mins(40);
    }
    sent.extend(world.cycle(CycleResult::Unknown));
    sent.extend(world.cycle(CycleResult::Completed));
    sent.extend(world.cycle(CycleResult::Completed));
    assert_eq!(sent, ["failing", "recovered"]);
}

#[test]
fn a_cause_that_begins_again_waits_until_a_day_has_passed() {
    let mut world = World::new();
    assert_eq!(world.cycle(failed()), ["failing"]);
    world.now += HOUR;
    assert_eq!(world.cycle(CycleResult::Completed), ["recovered"]);
    world.now += HOUR;
    assert_eq!(world.cycle(failed()), [""; 0]);
    // It had no message, so its end has none either.
    assert_eq!(world.cycle(CycleResult::Completed), [""; 0]);
    assert_eq!(world.cycle(failed()), [""; 0]);
    world.now += HOUR * 22;
    assert_eq!(world.cycle(failed()), ["failing"]);
    // The clock was set back by a month.
    assert_eq!(world.cycle(CycleResult::Completed), ["recovered"]);
    world.now -= DAY * 30;
    assert_eq!(world.cycle(failed()), ["failing"]);
}

#[test]
fn held_users_have_a_message_for_each_cause_and_for_users_held_later() {
    let mut world = World::new();
    assert_eq!(world.cycle(CycleResult::Completed), [""; 0]);
    world.hold(Reason::Threshold, 12, now());
    assert_eq!(world.cycle(CycleResult::Completed), ["held/deactivate/threshold"]);
    assert_eq!(world.cycle(CycleResult::Completed), [""; 0]);
    world.hold(Reason::EmptyGroup, 3, now());
    assert_eq!(world.cycle(CycleResult::Completed), ["held/deactivate/empty-group"]);
    // The same users stay held for days.
    world.now += DAY * 3;
    assert_eq!(world.cycle(CycleResult::Completed), [""; 0]);
    let later = world.now;
    world.hold(Reason::Threshold, 900, later);
    assert_eq!(world.cycle(CycleResult::Completed), ["held/deactivate/threshold"]);
    world.now += HOUR;
    let later = world.now;
    world.hold(Reason::Threshold, 901, later);
    assert_eq!(world.cycle(CycleResult::Completed), [""; 0]);
    world.now += DAY;
    assert_eq!(world.cycle(CycleResult::Completed), ["held/deactivate/threshold"]);
}

#[test]
fn a_credential_has_a_message_a_month_a_week_and_a_day_before_it_expires() {
    let mut world = World::new();
    let ends_at = now() + DAY * 40;
    world.records.credential_ends_at = Some(ends_at);
    let mut sent = Vec::new();
    while world.now < ends_at + DAY * 3 {
        for cause in world.cycle(CycleResult::Completed) {
            sent.push(format!("{} {cause}", ends_at.duration_since(world.now).as_hours() / 24));
        }
        world.now += HOUR * 6;
    }
    assert_eq!(sent, ["30 credential-expiring/30", "7 credential-expiring/7", "1 credential-expiring/1"]);
    // A new one that was found late has only the message that fits.
    world.records.credential_ends_at = Some(world.now + DAY * 5);
    assert_eq!(world.cycle(CycleResult::Completed), ["credential-expiring/7"]);
}

#[test]
fn users_failing_and_a_take_over_have_a_message_once_a_day() {
    let mut world = World::new();
    world.records.failing = Some(affected(2, now()));
    let hosts = Some(["one".to_owned(), "two".to_owned()]);
    let sent = world.cycle_after(CycleResult::Completed, hosts.clone());
    assert_eq!(sent, ["standby-took-over", "users-failing"]);
    world.records.failing = Some(affected(3, now() + HOUR));
    assert_eq!(world.cycle_after(CycleResult::Completed, hosts.clone()), [""; 0]);
    world.now += DAY;
    assert_eq!(world.cycle_after(CycleResult::Completed, hosts), ["standby-took-over", "users-failing"]);
}

#[test]
fn a_message_is_dropped_when_its_cause_ends_before_anybody_has_it() {
    let mut world = World::new();
    world.accepts = false;
    world.hold(Reason::Threshold, 12, now());
    world.records.failing = Some(affected(2, now()));
    world.records.credential_ends_at = Some(now() + DAY * 5);
    world.cycle(failed());
    let all = ["held/deactivate/threshold", "failing", "users-failing", "credential-expiring/7"];
    assert_eq!(world.unsent(), all);
    // Without the learner database nothing is known of them.
    let facts = NotificationFacts { now: world.now, cycle: CycleResult::Unknown, took_over: None, records: None };
    assert_eq!(decide(&world.rows, &facts, &world.policy), []);
    world.now += HOUR;
    let held = std::mem::take(&mut world.records.held);
    world.records.failing = None;
    world.records.credential_ends_at = Some(now() + DAY * 300);
    assert_eq!(world.cycle(CycleResult::Completed), [""; 0]);
    assert_eq!(world.unsent(), [""; 0]);
    // Nobody knows of the first time.
    world.now += HOUR;
    world.records.held = held;
    world.cycle(failed());
    assert_eq!(world.unsent(), ["held/deactivate/threshold", "failing"]);
}

#[test]
fn an_end_is_reported_to_all_when_one_channel_has_reported_the_beginning() {
    let mut world = World::new();
    world.accepts = false;
    world.policy.channels.insert(NotificationChannel::Mail);
    world.cycle(failed());
    let unsent = world.rows.get_mut(&NotificationCause::Failing).unwrap().unsent.as_mut().unwrap();
    unsent.channels.remove(&NotificationChannel::Webhook);
    world.now += HOUR;
    assert_eq!(world.cycle(CycleResult::Completed), ["recovered"]);
    assert_eq!(world.unsent(), ["recovered"]);
    // It fails again before anybody knows of the end, and the next end is the one to report.
    world.cycle(failed());
    assert_eq!(world.unsent(), [""; 0]);
    assert_eq!(world.cycle(CycleResult::Completed), ["recovered"]);
}

#[test]
fn users_that_a_wrong_clock_has_recorded_do_not_hide_others() {
    let mut world = World::new();
    world.hold(Reason::Threshold, 1, now() + DAY * 400);
    assert_eq!(world.cycle(CycleResult::Completed), ["held/deactivate/threshold"]);
    world.now += DAY;
    let later = world.now;
    world.hold(Reason::Threshold, 2, later);
    assert_eq!(world.cycle(CycleResult::Completed), ["held/deactivate/threshold"]);
}

#[test]
fn only_wanted_events_are_sent() {
    let mut world = World::new();
    world.policy.events.remove(&NotificationEvent::Failing);
    assert_eq!(world.cycle(failed()), [""; 0]);
    assert_eq!(world.cycle(CycleResult::Completed), ["recovered"]);
    world.policy.channels.clear();
    world.now += DAY;
    assert_eq!(world.cycle(failed()), [""; 0]);
}
