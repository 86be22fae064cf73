//! The words of a message. Nothing here is read back.

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::model::{Notification, NotificationCause, NotifiedUser, foreign_message, visible};

/// The event of a test message.
const TEST: &str = "test";

/// A message, ready for every channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// The event.
    pub event: &'static str,
    /// When it was decided.
    pub at: Timestamp,
    /// What makes it unique.
    pub key: String,
    source: String,
    count: u64,
    users: Vec<NotifiedUser>,
    command: String,
    headline: String,
    details: Vec<String>,
    has_names: bool,
}

/// Where messages come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MessageOrigin {
    /// Tenant and enterprise application.
    pub source: String,
    /// What follows a command, such as ` --config PATH`; empty for the default configuration.
    pub options: String,
    /// `notify.names`.
    pub has_names: bool,
}

impl Message {
    /// The words of `notification`.
    pub fn new(notification: &Notification, origin: &MessageOrigin) -> Self {
        let Notification { cause, at, since, ends_at: _, count, users, error, hosts: _ } = notification;
        let since = since.map(|since| format!(" since {since:.0}")).unwrap_or_default();
        let error = error.as_ref().map(|error| foreign_message(error));
        let details = match cause {
            NotificationCause::Failing => error.into_iter().collect(),
            NotificationCause::StandbyTookOver => {
                vec!["Look at the service on the machine that was late.".to_owned()]
            }
            NotificationCause::CredentialExpiring(_) => {
                vec![
                    "Add a new one under Certificates & secrets of the app registration, and replace the file."
                        .to_owned(),
                ]
            }
            NotificationCause::Held(..) | NotificationCause::Recovered | NotificationCause::UsersFailing => Vec::new(),
        };
        Self {
            event: cause.event().as_str(),
            at: *at,
            key: format!("{cause} {} {}", at.as_second(), origin.source),
            source: origin.source.clone(),
            count: *count,
            users: users.clone(),
            command: format!("learner-sync {}{}", command(*cause), origin.options),
            headline: headline(notification, &since),
            details,
            has_names: origin.has_names,
        }
    }

    /// A message that only shows that the channels work.
    pub fn test(at: Timestamp, origin: &MessageOrigin) -> Self {
        Self {
            event: TEST,
            at,
            key: format!("{TEST} {} {}", at.as_second(), origin.source),
            source: origin.source.clone(),
            count: 0,
            users: Vec::new(),
            command: format!("learner-sync notify test{}", origin.options),
            headline: "this is a test message".to_owned(),
            details: Vec::new(),
            has_names: origin.has_names,
        }
    }

    /// The subject of a mail.
    pub fn subject(&self) -> String {
        format!("learner-sync: {}", self.headline)
    }

    /// The message for people, in a mail.
    pub fn text(&self) -> String {
        format!("{}\n{}", self.lines().join("\n"), self.last_line())
    }

    /// The message for people, in a chat.
    fn chat_text(&self) -> String {
        let lines: Vec<String> = self.lines().iter().map(|line| without_mentions(line)).collect();
        format!("{}\n{}", lines.join("\n"), self.last_line())
    }

    fn last_line(&self) -> String {
        format!("Run: {}", self.command)
    }

    fn lines(&self) -> Vec<String> {
        let mut lines = vec![self.subject()];
        lines.extend(self.details.iter().cloned());
        if !self.users.is_empty() {
            let users: Vec<String> = self.users.iter().map(|user| self.user_text(user)).collect();
            let others = self.count.saturating_sub(self.users.len() as u64);
            let label = if others == 0 { "Users".to_owned() } else { format!("The first {}", users.len()) };
            lines.push(format!("{label}: {}", users.join(", ")));
        }
        lines.push(format!("Source: {}", self.source));
        lines
    }

    /// The body of a webhook.
    pub fn to_json(&self) -> Value {
        let users: Vec<Value> = self.users.iter().map(|user| self.user_json(user)).collect();
        json!({
            "event": self.event,
            "at": format!("{:.0}", self.at),
            "source": self.source,
            "count": self.count,
            "users": users,
            "command": self.command,
            "text": self.chat_text(),
        })
    }

    fn user_json(&self, NotifiedUser { id, name }: &NotifiedUser) -> Value {
        match self.has_names {
            true => json!({ "id": id.to_string(), "name": name }),
            false => json!(id.to_string()),
        }
    }

    fn user_text(&self, NotifiedUser { id, name }: &NotifiedUser) -> String {
        match name.as_ref().filter(|_| self.has_names) {
            Some(name) => format!("{} ({id})", visible(name)),
            None => id.to_string(),
        }
    }
}

fn headline(notification: &Notification, since: &str) -> String {
    let Notification { cause, count, ends_at, at, hosts, .. } = notification;
    match cause {
        NotificationCause::Held(action, reason) => {
            let [are, wait] = if *count == 1 { ["is", "waits"] } else { ["are", "wait"] };
            format!("{} {are} held ({action}, {reason}){since} and {wait} for an approval", users_in_words(*count))
        }
        NotificationCause::Failing => format!("provisioning has failed{since}"),
        NotificationCause::Recovered => format!("provisioning works again; it had failed{since}"),
        NotificationCause::UsersFailing => {
            let have = if *count == 1 { "has" } else { "have" };
            format!("{} {have} been failing for more than a day, the first{since}", users_in_words(*count))
        }
        NotificationCause::CredentialExpiring(_) => match ends_at {
            Some(ends_at) if ends_at <= at => format!("the credential for Entra ID expired at {ends_at:.0}"),
            Some(ends_at) => format!("the credential for Entra ID expires at {ends_at:.0}"),
            None => "the credential for Entra ID expires".to_owned(),
        },
        NotificationCause::StandbyTookOver => match hosts {
            Some([late, now]) => {
                let (late, now) = (visible(late), visible(now));
                format!("the standby on {now} took over: the daemon on {late} did not run its cycle in time")
            }
            None => "the standby took over".to_owned(),
        },
    }
}

fn users_in_words(count: u64) -> String {
    if count == 1 { "1 user".to_owned() } else { format!("{count} users") }
}

/// The command to run first.
fn command(cause: NotificationCause) -> &'static str {
    match cause {
        NotificationCause::Held(..) => "approve",
        NotificationCause::Failing | NotificationCause::CredentialExpiring(_) => "check",
        NotificationCause::Recovered | NotificationCause::StandbyTookOver => "status",
        NotificationCause::UsersFailing => "status --all",
    }
}

/// A line that calls nobody in a chat: Slack writes mentions in angle brackets, and others with `@`. A chat may still show
/// its Markdown.
fn without_mentions(line: &str) -> String {
    line.replace('<', "‹").replace('>', "›").replace('@', "@\u{200B}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Action, EntraId, ExpiryStage, Reason};
    use insta::assert_snapshot;

    fn at() -> Timestamp {
        "2026-03-02T08:00:00Z".parse().unwrap()
    }

    fn origin(has_names: bool) -> MessageOrigin {
        let options = " --config /etc/learner-sync/b.toml".to_owned();
        MessageOrigin { source: "tenant/application".to_owned(), options, has_names }
    }

    fn held(count: u64) -> Notification {
        let user = |number| NotifiedUser {
            id: EntraId::from_bytes([number; 16]),
            name: Some(format!("<!here> @everyone ada{number}\n")),
        };
        Notification {
            since: Some(at()),
            count,
            users: (1..=2).map(user).collect(),
            ..Notification::new(NotificationCause::Held(Action::Deactivate, Reason::Threshold), at())
        }
    }

    #[test]
    fn a_message_says_what_happened_since_when_to_whom_and_what_to_run() {
        assert_snapshot!(Message::new(&held(12), &origin(false)).text(), @r"
    learner-sync: 12 users are held (deactivate, threshold) since 2026-03-02T08:00:00Z and wait for an approval
    The first 2: 01010101-0101-0101-0101-010101010101, 02020202-0202-0202-0202-020202020202
    Source: tenant/application
    Run: learner-sync approve --config /etc/learner-sync/b.toml
    ");
        let error = Some("Graph answered 503\nagain".to_owned());
        let failing = Notification { since: Some(at()), error, ..Notification::new(NotificationCause::Failing, at()) };
        assert_snapshot!(Message::new(&failing, &origin(false)).text(), @r"
    learner-sync: provisioning has failed since 2026-03-02T08:00:00Z
    Graph answered 503 again
    Source: tenant/application
    Run: learner-sync check --config /etc/learner-sync/b.toml
    ");
        let recovered = Notification { since: Some(at()), ..Notification::new(NotificationCause::Recovered, at()) };
        let hosts = Some(["one".to_owned(), "two".to_owned()]);
        let took_over = Notification { hosts, ..Notification::new(NotificationCause::StandbyTookOver, at()) };
        let stage = NotificationCause::CredentialExpiring(ExpiryStage::Day);
        let expired = Notification { ends_at: Some(at()), ..Notification::new(stage, at()) };
        let users =
            Notification { count: 1, since: Some(at()), ..Notification::new(NotificationCause::UsersFailing, at()) };
        let subjects = [recovered, took_over, expired, users].map(|it| Message::new(&it, &origin(false)).subject());
        assert_snapshot!(subjects.join("\n"), @r"
    learner-sync: provisioning works again; it had failed since 2026-03-02T08:00:00Z
    learner-sync: the standby on two took over: the daemon on one did not run its cycle in time
    learner-sync: the credential for Entra ID expired at 2026-03-02T08:00:00Z
    learner-sync: 1 user has been failing for more than a day, the first since 2026-03-02T08:00:00Z
    ");
    }

    #[test]
    fn names_are_told_only_where_they_are_wanted() {
        let without = Message::new(&held(2), &origin(false));
        assert!(!without.to_json().to_string().contains("ada") && !without.text().contains("ada"));
        assert_eq!(without.to_json()["users"][0], "01010101-0101-0101-0101-010101010101");
        let with = Message::new(&held(2), &origin(true)).to_json();
        assert_eq!(with["users"][0]["id"], "01010101-0101-0101-0101-010101010101");
        let text = with["text"].as_str().unwrap();
        // A name must not call everybody in a channel, or add a line.
        assert!(text.contains("‹!here› @\u{200B}everyone ada1") && !text.contains('<'), "{text}");
        assert_eq!(text.lines().count(), 4, "{text}");
        // A mail calls nobody, and its names can be copied.
        let text = Message::new(&held(2), &origin(true)).text();
        assert!(text.contains("<!here> @everyone ada1") && text.lines().count() == 4, "{text}");
    }
}
