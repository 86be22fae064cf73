//! Which messages a cycle causes: pure.
//!
//! A cause has one message when it begins, and at most one a day. A cause that begins again on the same day waits until
//! the day has passed, and has no message if it ends before. A message that nobody has when its cause ends is not sent:
//! it would be wrong by then.

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
    pub records: Option<NotifiableRecords>,
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
    if let Some(records) = records {
        decisions.drop_ended(records);
    }
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
    let Some(NotifiableRecords { held, failing, credential_ends_at }) = records else { return decisions.changed };
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
    /// Drops the messages of causes that the records no longer show.
    fn drop_ended(&mut self, records: &NotifiableRecords) {
        let NotifiableRecords { held, failing, credential_ends_at } = records;
        for row in self.rows.values() {
            let Some(unsent) = &row.unsent else { continue };
            let holds = match row.cause {
                NotificationCause::Held(action, reason) => held.contains_key(&(action, reason)),
                NotificationCause::UsersFailing => failing.is_some(),
                NotificationCause::CredentialExpiring(_) => *credential_ends_at == unsent.notification.ends_at,
                NotificationCause::Failing | NotificationCause::Recovered | NotificationCause::StandbyTookOver => true,
            };
            if !holds {
                self.changed.push(self.without_message(row));
            }
        }
    }

    fn failed(&mut self, since: Option<Timestamp>, error: &str) {
        let cause = NotificationCause::Failing;
        let failing = self.rows.get(&cause);
        // An end that nobody knows of has not happened for administrators.
        let unknown_end = self.rows.get(&NotificationCause::Recovered).filter(|row| self.is_unknown(row));
        if let Some(end) = unknown_end {
            self.changed.push(self.without_message(end));
        }
        if failing.is_some_and(|row| row.is_open) {
            return;
        }
        if self.has_day_passed(cause) {
            let error = Some(error.to_owned());
            let notification =
                Notification { since: since.or(Some(self.now)), error, ..Notification::new(cause, self.now) };
            let covers = notification.since;
            self.add(notification, covers, true);
        } else if let (Some(row), Some(_)) = (failing, unknown_end) {
            self.changed.push(NotificationRow { is_open: true, ..row.clone() });
        }
    }

    fn completed(&mut self) {
        let Some(failing) = self.rows.get(&NotificationCause::Failing).filter(|row| row.is_open) else { return };
        self.changed.push(NotificationRow { is_open: false, ..self.without_message(failing) });
        if self.is_unknown(failing) {
            return;
        }
        let since = failing.covers;
        let notification = Notification { since, ..Notification::new(NotificationCause::Recovered, self.now) };
        self.add(notification, None, false);
    }

    /// Whether no channel has accepted the last message.
    fn is_unknown(&self, row: &NotificationRow) -> bool {
        row.unsent.as_ref().is_some_and(|unsent| unsent.channels.is_superset(&self.policy.channels))
    }

    /// `row` without its unsent message. One that nobody has does not count as the message of the day.
    fn without_message(&self, row: &NotificationRow) -> NotificationRow {
        let row = NotificationRow { unsent: None, ..row.clone() };
        match self.rows.get(&row.cause).is_some_and(|known| self.is_unknown(known)) {
            true => NotificationRow { notified_at: self.now - DAY, covers: None, ..row },
            false => row,
        }
    }

    /// Users who are not covered by the last message.
    fn affected(&mut self, cause: NotificationCause, users: &AffectedUsers) {
        let AffectedUsers { count, since, latest, first } = users;
        // Users of the future were recorded by a wrong clock, and cover only themselves.
        let covers = self.rows.get(&cause).and_then(|row| row.covers);
        let is_covered = covers.is_some_and(|it| it == *latest || (it > *latest && it <= self.now + CLOCK_TOLERANCE));
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
mod tests;
