//! Damage that a hand does to rows of the bookkeeping and of the log, as statements.

use std::fmt;

use proptest::prelude::*;

use super::entra::{Group, ObjectIds, UserNumber};
use crate::database::is_on_postgres;

/// The time in rows that a hand has inserted.
pub(super) const INSERTED_AT: &str = "2026-03-01T00:00:00Z";

/// One row that a hand changes so that it cannot be read. A row that does not exist is not damaged, but a hold or a
/// failure is inserted first.
#[derive(Clone, Copy, Debug)]
pub(super) enum RowDamage {
    /// The routes of a link.
    Routes(UserNumber, &'static str),
    /// The user of a link, in upper case or lost.
    Link(UserNumber, IdDamage),
    Held(UserNumber, HeldDamage),
    Failing(UserNumber, FailingDamage),
    Members(Group, GroupDamage),
    /// The last row of the log about a user.
    Log(UserNumber, LogDamage),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum IdDamage {
    Upper,
    Lost,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HeldDamage {
    Id(IdDamage),
    Action,
    Reason,
    Since,
    ApprovedAt,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FailingDamage {
    Id(IdDamage),
    Reason,
    FirstAt,
    /// A cause of a later version, which only starts a wait again.
    Cause,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum GroupDamage {
    Id(IdDamage),
    Count,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LogDamage {
    Action,
    Status,
    Reason,
    At,
    Changes,
}

/// A word that no version knows.
pub(super) const UNKNOWN: &str = "of a later version";

/// A text where a time belongs; PostgreSQL only takes one.
pub(super) fn no_time() -> &'static str {
    if is_on_postgres() { "infinity" } else { "soon" }
}

impl IdDamage {
    /// The text in place of the id of an object with this name. [`ObjectIds::with_names`] gives the same.
    pub(super) fn text(self, name: impl fmt::Display) -> String {
        match self {
            Self::Upper => format!("UPPER {name}"),
            Self::Lost => format!("lost {name}"),
        }
    }

    fn sql(self, id: &str, name: impl fmt::Display) -> String {
        match self {
            Self::Upper => format!("'{}'", id.to_uppercase()),
            Self::Lost => format!("'{}'", self.text(name)),
        }
    }
}

impl RowDamage {
    /// The statement; `None` when nobody has this id yet.
    pub(super) fn statement(self, ids: &ObjectIds, source: &str) -> Option<String> {
        let no_time = no_time();
        let insert = |table: &str, columns: &str, values: String| {
            format!(
                "INSERT INTO {table} (source, entra_id, {columns}) VALUES ('{source}', {values}) ON CONFLICT DO NOTHING; "
            )
        };
        let user = |user: UserNumber| ids.users.get(&user);
        Some(match self {
            Self::Routes(number, routes) => {
                format!("UPDATE sync_links SET via = '{routes}' WHERE entra_id = '{}'", user(number)?)
            }
            Self::Link(number, damage) => {
                let id = user(number)?;
                format!("UPDATE sync_links SET entra_id = {} WHERE entra_id = '{id}'", damage.sql(id, number))
            }
            Self::Held(number, damage) => {
                let id = user(number)?;
                let values = format!("'{id}', 'update', 'threshold', '{INSERTED_AT}'");
                let change = match damage {
                    HeldDamage::Id(damage) => format!("entra_id = {}", damage.sql(id, number)),
                    HeldDamage::Action => format!("action = '{UNKNOWN}'"),
                    HeldDamage::Reason => format!("reason = '{UNKNOWN}'"),
                    HeldDamage::Since => format!("since = '{no_time}'"),
                    HeldDamage::ApprovedAt => format!("approved_at = '{no_time}'"),
                };
                let row = insert("sync_held", "action, reason, since", values);
                format!("{row}UPDATE sync_held SET {change} WHERE entra_id = '{id}'")
            }
            Self::Failing(number, damage) => {
                let id = user(number)?;
                let values = format!("'{id}', 'conflict', '{INSERTED_AT}', '{INSERTED_AT}', 1");
                let change = match damage {
                    FailingDamage::Id(damage) => format!("entra_id = {}", damage.sql(id, number)),
                    FailingDamage::Reason => format!("reason = '{UNKNOWN}'"),
                    FailingDamage::FirstAt => format!("first_at = '{no_time}'"),
                    FailingDamage::Cause => format!("cause = '{UNKNOWN}'"),
                };
                let row = insert("sync_failures", "reason, first_at, last_at, attempts", values);
                format!("{row}UPDATE sync_failures SET {change} WHERE entra_id = '{id}'")
            }
            Self::Members(group, damage) => {
                let id = &ids.groups[&group];
                let change = match damage {
                    GroupDamage::Id(damage) => format!("group_id = {}", damage.sql(id, group)),
                    GroupDamage::Count => "last_members = -3".to_owned(),
                };
                format!("UPDATE sync_groups SET {change} WHERE group_id = '{id}'")
            }
            Self::Log(number, damage) => {
                let change = match damage {
                    LogDamage::Action => format!("action = '{UNKNOWN}'"),
                    LogDamage::Status => format!("status = '{UNKNOWN}'"),
                    LogDamage::Reason => format!("reason = '{UNKNOWN}'"),
                    LogDamage::At => format!("at = '{no_time}'"),
                    LogDamage::Changes => "changes = '{}'".to_owned(),
                };
                let last = format!("SELECT max(id) FROM provisioning_log WHERE entra_id = '{}'", user(number)?);
                format!("UPDATE provisioning_log SET {change} WHERE id = ({last})")
            }
        })
    }
}

pub(super) fn row_damage(
    user: impl Strategy<Value = UserNumber> + Clone + 'static,
    group: impl Strategy<Value = Group> + 'static,
) -> BoxedStrategy<RowDamage> {
    let id = || prop::sample::select(&[IdDamage::Upper, IdDamage::Lost][..]);
    let routes = prop::sample::select(&["{}", "[\"no id\"]", "[\"direct\", 7]", "null", "{"][..]);
    // PostgreSQL takes no text that is not JSON.
    let routes = routes.prop_map(|text| if is_on_postgres() && text == "{" { "7" } else { text });
    let held = prop_oneof![
        2 => id().prop_map(HeldDamage::Id),
        4 => prop::sample::select(
            &[HeldDamage::Action, HeldDamage::Reason, HeldDamage::Since, HeldDamage::ApprovedAt][..]
        ),
    ];
    let failing = prop_oneof![
        1 => id().prop_map(FailingDamage::Id),
        3 => prop::sample::select(&[FailingDamage::Reason, FailingDamage::FirstAt, FailingDamage::Cause][..]),
    ];
    let members = prop_oneof![id().prop_map(GroupDamage::Id), Just(GroupDamage::Count)];
    let log = prop::sample::select(
        &[LogDamage::Action, LogDamage::Status, LogDamage::Reason, LogDamage::At, LogDamage::Changes][..],
    );
    prop_oneof![
        3 => (user.clone(), routes).prop_map(|(user, routes)| RowDamage::Routes(user, routes)),
        2 => (user.clone(), id()).prop_map(|(user, damage)| RowDamage::Link(user, damage)),
        3 => (user.clone(), held).prop_map(|(user, damage)| RowDamage::Held(user, damage)),
        2 => (user.clone(), failing).prop_map(|(user, damage)| RowDamage::Failing(user, damage)),
        2 => (group, members).prop_map(|(group, damage)| RowDamage::Members(group, damage)),
        2 => (user, log).prop_map(|(user, damage)| RowDamage::Log(user, damage)),
    ]
    .boxed()
}
