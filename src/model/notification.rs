//! Messages to administrators: their causes, the facts behind them, and what is kept of them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;

use super::words::words;
use super::{Action, EntraId, Reason, UnknownWord};

words! {
    /// The kinds of messages.
    NotificationEvent {
        /// Users are held for a new cause.
        Held = "held",
        /// Cycles fail.
        Failing = "failing",
        /// A cycle has ended well after a message about failing ones.
        Recovered = "recovered",
        /// Users have been failing for a day.
        UsersFailing = "users-failing",
        /// The credential expires soon.
        CredentialExpiring = "credential-expiring",
        /// The cycle of another daemon was overdue, and this one ran it.
        StandbyTookOver = "standby-took-over",
    }
}

words! {
    /// The ways of a message.
    NotificationChannel {
        /// A POST to `notify.webhook_url_file`.
        Webhook = "webhook",
        /// A mail through `notify.smtp_url`.
        Mail = "mail",
    }
}

words! {
    /// How many days before its expiry a credential has a message.
    ExpiryStage {
        /// A month.
        Month = "30",
        /// A week.
        Week = "7",
        /// A day, or none at all.
        Day = "1",
    }
}

/// The cause of a message. There is one message for each cause and day.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum NotificationCause {
    /// Changes of this kind are held for this reason.
    Held(Action, Reason),
    /// Cycles fail.
    Failing,
    /// Cycles work again.
    Recovered,
    /// Users have been failing for a day.
    UsersFailing,
    /// The credential expires within this time.
    CredentialExpiring(ExpiryStage),
    /// The cycle of another daemon was overdue.
    StandbyTookOver,
}

impl NotificationCause {
    /// The kind of its messages.
    pub fn event(self) -> NotificationEvent {
        match self {
            Self::Held(..) => NotificationEvent::Held,
            Self::Failing => NotificationEvent::Failing,
            Self::Recovered => NotificationEvent::Recovered,
            Self::UsersFailing => NotificationEvent::UsersFailing,
            Self::CredentialExpiring(_) => NotificationEvent::CredentialExpiring,
            Self::StandbyTookOver => NotificationEvent::StandbyTookOver,
        }
    }
}

impl fmt::Display for NotificationCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.event().as_str())?;
        match self {
            Self::Held(action, reason) => write!(f, "/{action}/{reason}"),
            Self::CredentialExpiring(stage) => write!(f, "/{stage}"),
            Self::Failing | Self::Recovered | Self::UsersFailing | Self::StandbyTookOver => Ok(()),
        }
    }
}

impl FromStr for NotificationCause {
    type Err = UnknownWord;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parts: Vec<&str> = text.split('/').collect();
        let expected = &["a cause as it is stored"];
        let event = parts[0].parse()?;
        Ok(match (event, &parts[1..]) {
            (NotificationEvent::Held, [action, reason]) => Self::Held(action.parse()?, reason.parse()?),
            (NotificationEvent::CredentialExpiring, [stage]) => Self::CredentialExpiring(stage.parse()?),
            (NotificationEvent::Failing, []) => Self::Failing,
            (NotificationEvent::Recovered, []) => Self::Recovered,
            (NotificationEvent::UsersFailing, []) => Self::UsersFailing,
            (NotificationEvent::StandbyTookOver, []) => Self::StandbyTookOver,
            _ => return Err(UnknownWord { expected }),
        })
    }
}

/// A user in a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotifiedUser {
    /// The object id.
    pub id: EntraId,
    /// The user name, where it is known. It leaves this machine only with `notify.names`.
    pub name: Option<String>,
}

/// A message without its words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notification {
    /// Its cause.
    pub cause: NotificationCause,
    /// When it was decided.
    pub at: Timestamp,
    /// Since when the cause exists.
    pub since: Option<Timestamp>,
    /// When the credential expires.
    pub ends_at: Option<Timestamp>,
    /// How many users it concerns.
    pub count: u64,
    /// The first of them.
    pub users: Vec<NotifiedUser>,
    /// Why cycles fail, for people.
    pub error: Option<String>,
    /// The machine that was late, and the one that took over.
    pub hosts: Option<[String; 2]>,
}

impl Notification {
    /// A message that concerns no user.
    pub fn new(cause: NotificationCause, at: Timestamp) -> Self {
        Self { cause, at, since: None, ends_at: None, count: 0, users: Vec::new(), error: None, hosts: None }
    }
}

/// What is kept about a cause.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotificationRow {
    /// The cause.
    pub cause: NotificationCause,
    /// When the last message about it was decided.
    pub notified_at: Timestamp,
    /// What that message covers: the latest beginning among its users, or the expiry of its credential.
    pub covers: Option<Timestamp>,
    /// Whether its end is still to be reported.
    pub is_open: bool,
    /// The message, until every channel has accepted it.
    pub unsent: Option<UnsentNotification>,
}

/// A message that some channels have not accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnsentNotification {
    /// The message.
    pub notification: Notification,
    /// The channels that have not accepted it.
    pub channels: BTreeSet<NotificationChannel>,
    /// How often it was tried.
    pub attempts: u64,
    /// When it is tried next.
    pub next_attempt_at: Timestamp,
    /// Why the last attempt failed, for people.
    pub error: Option<String>,
}

/// What is kept, by cause.
pub type NotificationRows = BTreeMap<NotificationCause, NotificationRow>;

/// Users with a common fate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AffectedUsers {
    /// Their number.
    pub count: u64,
    /// The earliest beginning.
    pub since: Timestamp,
    /// The latest beginning.
    pub latest: Timestamp,
    /// The first of them, in order of object id.
    pub first: Vec<NotifiedUser>,
}

/// The records of the learner database that can cause messages.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NotifiableRecords {
    /// The held users without an approval, by kind of change and reason.
    pub held: BTreeMap<(Action, Reason), AffectedUsers>,
    /// The users who have been failing since the given time or longer.
    pub failing: Option<AffectedUsers>,
    /// When the credential expires.
    pub credential_ends_at: Option<Timestamp>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_is_stored_as_a_key_and_read_back() {
        let held = Action::ALL
            .iter()
            .flat_map(|action| Reason::ALL.iter().map(|reason| NotificationCause::Held(*action, *reason)));
        let expiring = ExpiryStage::ALL.iter().map(|stage| NotificationCause::CredentialExpiring(*stage));
        let others = [
            NotificationCause::Failing,
            NotificationCause::Recovered,
            NotificationCause::UsersFailing,
            NotificationCause::StandbyTookOver,
        ];
        for cause in held.chain(expiring).chain(others) {
            assert_eq!(cause.to_string().parse(), Ok(cause));
        }
        assert_eq!(
            NotificationCause::Held(Action::Deactivate, Reason::EmptyGroup).to_string(),
            "held/deactivate/empty-group"
        );
        for wrong in ["", "held", "held/deactivate", "failing/now", "credential-expiring", "credential-expiring/2"] {
            assert!(wrong.parse::<NotificationCause>().is_err(), "{wrong}");
        }
    }
}
