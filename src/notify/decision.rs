//! Which messages a cycle causes: pure.
//!
//! A cause has one message when it begins, and at most one a day. A cause that begins again on the same day waits until
//! the day has passed, and has no message if it ends before.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};

use crate::model::{
    AffectedUsers, CLOCK_TOLERANCE, DAY, ExpiryStage, NotifiableRecords, Notification, NotificationCause,
    NotificationChannel, NotificationEvent, NotificationRow, NotificationRows, UnsentNotification,
};

/// How a cycle ended, as far as it matters for messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CycleResult {
    /// It failed, or could not begin.
    Failed {
        /// The start of the first of the failures that last, where it is known.
        since: Option<Timestamp>,
        /// Why, for people.
        error: String,
    },
    /// It ended, perhaps with failing or held users.
    Completed,
    /// It was skipped or interrupted, which says nothing.
    Unknown,
}

/// Everything that messages depend on.
#[derive(Clone, Debug)]
pub struct NotificationFacts {
    /// The present time.
    pub now: Timestamp,
    /// The result of the cycle.
    pub cycle: CycleResult,
    /// The machine that was late with the cycle, and this one, which took over.
    pub took_over: Option<[String; 2]>,
    /// The records of the learner database; none when it is unavailable.
    pub records: NotifiableRecords,
}

/// The wanted messages, and their channels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotificationPolicy {
    /// `notify.events`.
    pub events: BTreeSet<NotificationEvent>,
    /// The configured channels.
    pub channels: BTreeSet<NotificationChannel>,
}

/// The rows that change: each with the message that its cause has now.
pub fn decide(rows: &NotificationRows, facts: &NotificationFacts, policy: &NotificationPolicy) -> Vec<NotificationRow> {
    let NotificationFacts { now, cycle, took_over, records } = facts;
    let mut decisions = Decisions { rows, now: *now, policy, changed: Vec::new() };
    match cycle {
        CycleResult::Failed { since, error } => decisions.failed(*since, error),
        CycleResult::Completed => decisions.completed(),
        CycleResult::Unknown => {}
    }
    if let Some(hosts) = took_over
        && decisions.has_day_passed(NotificationCause::StandbyTookOver)
    {
        let notification =
            Notification { hosts: Some(hosts.clone()), ..Notification::new(NotificationCause::StandbyTookOver, *now) };
        decisions.add(notification, None, false);
    }
    let NotifiableRecords { held, failing, credential_ends_at } = records;
    for ((action, reason), users) in held {
        decisions.affected(NotificationCause::Held(*action, *reason), users);
    }
    if let Some(users) = failing {
        decisions.affected(NotificationCause::UsersFailing, users);
    }
    if let Some(ends_at) = credential_ends_at {
        decisions.credential(*ends_at);
    }
    decisions.changed
}

struct Decisions<'a> {
    rows: &'a NotificationRows,
    now: Timestamp,
    policy: &'a NotificationPolicy,
    changed: Vec<NotificationRow>,
}

impl Decisions<'_> {
    fn failed(&mut self, since: Option<Timestamp>, error: &str) {
        let cause = NotificationCause::Failing;
        let is_open = self.rows.get(&cause).is_some_and(|row| row.is_open);
        if !is_open && self.has_day_passed(cause) {
            let error = Some(error.to_owned());
            let notification =
                Notification { since: since.or(Some(self.now)), error, ..Notification::new(cause, self.now) };
            let covers = notification.since;
            self.add(notification, covers, true);
        }
    }

    fn completed(&mut self) {
        let Some(failing) = self.rows.get(&NotificationCause::Failing).filter(|row| row.is_open) else { return };
        self.changed.push(NotificationRow { is_open: false, ..failing.clone() });
        let since = failing.covers;
        let notification = Notification { since, ..Notification::new(NotificationCause::Recovered, self.now) };
        self.add(notification, None, false);
    }

    /// Users who are not covered by the last message.
    fn affected(&mut self, cause: NotificationCause, users: &AffectedUsers) {
        let AffectedUsers { count, since, latest, first } = users;
        let is_covered = self.rows.get(&cause).is_some_and(|row| row.covers.is_some_and(|covers| covers >= *latest));
        if !is_covered && self.has_day_passed(cause) {
            let notification = Notification {
                since: Some(*since),
                count: *count,
                users: first.clone(),
                ..Notification::new(cause, self.now)
            };
            self.add(notification, Some(*latest), false);
        }
    }

    fn credential(&mut self, ends_at: Timestamp) {
        let Some(stage) = expiry_stage(ends_at.duration_since(self.now)) else { return };
        let cause = NotificationCause::CredentialExpiring(stage);
        let is_covered = self.rows.get(&cause).is_some_and(|row| row.covers == Some(ends_at));
        if !is_covered && self.has_day_passed(cause) {
            let notification = Notification { ends_at: Some(ends_at), ..Notification::new(cause, self.now) };
            self.add(notification, Some(ends_at), false);
        }
    }

    fn add(&mut self, notification: Notification, covers: Option<Timestamp>, is_open: bool) {
        let NotificationPolicy { events, channels } = self.policy;
        let cause = notification.cause;
        let is_wanted = events.contains(&cause.event()) && !channels.is_empty();
        let unsent = is_wanted.then(|| UnsentNotification {
            notification,
            channels: channels.clone(),
            attempts: 0,
            next_attempt_at: self.now,
            error: None,
        });
        self.changed.push(NotificationRow { cause, notified_at: self.now, covers, is_open, unsent });
    }

    /// Whether a message about `cause` may follow the last one. A last one in the future was recorded by a wrong clock.
    fn has_day_passed(&self, cause: NotificationCause) -> bool {
        self.rows.get(&cause).is_none_or(|row| {
            let age = self.now.duration_since(row.notified_at);
            age >= DAY || age < -CLOCK_TOLERANCE
        })
    }
}

/// The stage of a credential that expires after this time.
fn expiry_stage(left: SignedDuration) -> Option<ExpiryStage> {
    let stages = [(DAY, ExpiryStage::Day), (DAY * 7, ExpiryStage::Week), (DAY * 30, ExpiryStage::Month)];
    stages.into_iter().find(|(limit, _)| left <= *limit).map(|(_, stage)| stage)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Action, EntraId, NotifiedUser, Reason};

    fn now() -> Timestamp {
        "2026-03-02T08:00:00Z".parse().unwrap()
    }

    const HOUR: SignedDuration = SignedDuration::from_hours(1);

    /// The state of messages that are always accepted at once.
    struct World {
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
            Self { rows: NotificationRows::new(), now: now(), records: NotifiableRecords::default(), policy }
        }

        /// The causes of the messages after a cycle.
        fn cycle(&mut self, cycle: CycleResult) -> Vec<String> {
            self.cycle_after(cycle, None)
        }

        fn cycle_after(&mut self, cycle: CycleResult, took_over: Option<[String; 2]>) -> Vec<String> {
            let facts = NotificationFacts { now: self.now, cycle, took_over, records: self.records.clone() };
            let changed = decide(&self.rows, &facts, &self.policy);
            let sent = changed.iter().filter(|row| row.unsent.is_some()).map(|row| row.cause.to_string()).collect();
            for row in changed {
                self.rows.insert(row.cause, NotificationRow { unsent: None, ..row });
            }
            sent
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
    fn only_wanted_events_are_sent() {
        let mut world = World::new();
        world.policy.events.remove(&NotificationEvent::Failing);
        assert_eq!(world.cycle(failed()), [""; 0]);
        assert_eq!(world.cycle(CycleResult::Completed), ["recovered"]);
        world.policy.channels.clear();
        world.now += DAY;
        assert_eq!(world.cycle(failed()), [""; 0]);
    }
}
