//! The effect of damaged rows: the user that a row names is rejected, and everything else goes on.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde_json::{Value, json};

use super::super::damage::{
    FailingDamage, GroupDamage, HeldDamage, INSERTED_AT, IdDamage, LogDamage, RowDamage, UNKNOWN, no_time,
};
use super::super::entra::{ATTRIBUTES, Group, UserNumber};
use super::{FailureEntry, HeldEntry, LogEntry, ModelDatabase};

/// How the link of a learner is damaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LinkDamage {
    Routes(&'static str),
    Id,
}

impl LinkDamage {
    /// The value of `via` beside the learner.
    pub(super) fn via(self) -> Value {
        match self {
            Self::Routes(text) => serde_json::from_str(text).unwrap_or_else(|_| Value::from(text)),
            Self::Id => Value::Null,
        }
    }
}

/// The damaged rows beside those of learners.
#[derive(Clone, Debug, Default)]
pub(super) struct DamagedRows {
    /// The holds: whether the row still names the user, and the row.
    held: BTreeMap<UserNumber, (bool, Value)>,
    /// The failures, which a cycle deletes.
    failing: BTreeMap<UserNumber, Value>,
    /// Groups whose last number of members is lost.
    pub(super) counts: BTreeSet<Group>,
    /// Rows of groups with another id.
    groups: BTreeMap<(Group, bool), Value>,
}

impl DamagedRows {
    pub(super) fn rows(&self) -> impl Iterator<Item = String> {
        let held = self.held.values().map(|(_, row)| format!("held {row}"));
        let failing = self.failing.values().map(|row| format!("failing {row}"));
        let counts = self.counts.iter().map(|group| format!("group {}", json!([group.to_string(), -3])));
        let groups = self.groups.values().map(|row| format!("group {row}"));
        held.chain(failing).chain(counts).chain(groups)
    }

    /// The number of rows that name no user. One statement repairs all rows of a table without a readable id.
    pub(super) fn count_unnamed(&self) -> u64 {
        let lost_held = self.held.values().any(|(names_user, _)| !names_user);
        let lost_groups = self.groups.keys().any(|(_, is_upper)| !is_upper);
        let upper_groups = self.groups.keys().filter(|(_, is_upper)| *is_upper).count();
        u64::from(lost_held) + u64::from(lost_groups) + upper_groups as u64 + self.counts.len() as u64
    }

    /// Whether a hold of this action names no user, so that it may be that of any user.
    pub(super) fn hide_holds(&self, action: &str) -> bool {
        self.held.values().any(|(names_user, row)| !names_user && (row[1] == action || row[1] == UNKNOWN))
    }

    /// Whether nobody knows how many members the group had.
    pub(super) fn hide_members(&self, group: Group, is_recorded: bool) -> bool {
        let lost = self.groups.keys().any(|(_, is_upper)| !is_upper);
        self.counts.contains(&group) || self.groups.contains_key(&(group, true)) || lost && !is_recorded
    }

    /// A cycle deletes the failures that it cannot read.
    pub(super) fn delete_failing(&mut self) {
        self.failing.clear();
    }
}

impl LogEntry {
    /// Whether the row counts against the limits: what cannot be read may be a change that does.
    pub(super) fn judge(&mut self) {
        let may_be = |column: usize, words: &[&str]| {
            self.row[column] == UNKNOWN || words.iter().any(|word| self.row[column] == *word)
        };
        let counts = may_be(3, &["success"]) && self.row[6] == false;
        self.deactivates = counts && may_be(2, &["deactivate"]);
        let changes = self.row[8].as_array().into_iter().flatten();
        let cleared = changes.filter(|change| !change["old"].is_null() && change["new"].is_null());
        let attribute = |change: &Value| ATTRIBUTES.iter().position(|(path, ..)| change["attribute"] == *path);
        self.clears = match counts && may_be(2, &["update", "reactivate"]) {
            true => cleared.filter_map(attribute).collect(),
            false => Vec::new(),
        };
    }
}

impl ModelDatabase {
    /// The users whose bookkeeping cannot be read.
    pub(super) fn rejected(&self) -> BTreeSet<UserNumber> {
        let links = self.learners.iter().filter(|(_, learner)| learner.damage.is_some()).map(|(user, _)| *user);
        let held = self.damaged.held.iter().filter(|(_, (names_user, _))| *names_user).map(|(user, _)| *user);
        links.chain(held).collect()
    }

    /// Whether the damage hits a row. The row is damaged in the model then, too.
    pub(in super::super) fn damage(&mut self, damage: RowDamage) -> bool {
        let inserted_at: Timestamp = INSERTED_AT.parse().unwrap();
        match damage {
            RowDamage::Routes(user, _) | RowDamage::Link(user, _) => {
                let Some(learner) = self.learners.get_mut(&user).filter(|learner| learner.damage.is_none()) else {
                    return false;
                };
                learner.damage = Some(match damage {
                    RowDamage::Routes(_, routes) => LinkDamage::Routes(routes),
                    _ => LinkDamage::Id,
                });
            }
            RowDamage::Held(user, damage) => {
                if self.damaged.held.contains_key(&user) {
                    return false;
                }
                let inserted = HeldEntry { action: "update", reason: "threshold", since: inserted_at, approved: None };
                let HeldEntry { action, reason, since, approved } = self.held.remove(&user).unwrap_or(inserted);
                let mut row =
                    json!([user.to_string(), action, reason, since.to_string(), approved.map(|at| at.to_string())]);
                let (column, text) = match damage {
                    HeldDamage::Id(damage) => (0, damage.text(user)),
                    HeldDamage::Action => (1, UNKNOWN.to_owned()),
                    HeldDamage::Reason => (2, UNKNOWN.to_owned()),
                    HeldDamage::Since => (3, no_time().to_owned()),
                    HeldDamage::ApprovedAt => (4, no_time().to_owned()),
                };
                row[column] = text.into();
                self.damaged.held.insert(user, (damage != HeldDamage::Id(IdDamage::Lost), row));
            }
            RowDamage::Failing(user, FailingDamage::Cause) => match self.failing.get_mut(&user) {
                Some(failing) => failing.nowhere = false,
                None => return false,
            },
            RowDamage::Failing(user, damage) => {
                if self.damaged.failing.contains_key(&user) {
                    return false;
                }
                let inserted = FailureEntry { reason: "conflict", since: inserted_at, nowhere: false };
                let FailureEntry { reason, since, nowhere: _ } = self.failing.remove(&user).unwrap_or(inserted);
                let mut row = json!([user.to_string(), reason, since.to_string()]);
                let (column, text) = match damage {
                    FailingDamage::Id(damage) => (0, damage.text(user)),
                    FailingDamage::Reason | FailingDamage::Cause => (1, UNKNOWN.to_owned()),
                    FailingDamage::FirstAt => (2, no_time().to_owned()),
                };
                row[column] = text.into();
                self.damaged.failing.insert(user, row);
            }
            RowDamage::Members(group, damage) => {
                let key = match damage {
                    GroupDamage::Id(damage) => Some((group, damage == IdDamage::Upper)),
                    GroupDamage::Count => None,
                };
                if key.is_some_and(|key| self.damaged.groups.contains_key(&key)) {
                    return false;
                }
                let Some(last) = self.last_members.remove(&group) else { return false };
                match (key, damage) {
                    (Some(key), GroupDamage::Id(damage)) => {
                        drop(self.damaged.groups.insert(key, json!([damage.text(group), last])));
                    }
                    _ => drop(self.damaged.counts.insert(group)),
                }
            }
            RowDamage::Log(user, damage) => return self.damage_log(user, damage),
        }
        true
    }

    fn damage_log(&mut self, user: UserNumber, damage: LogDamage) -> bool {
        let Some(entry) = self.log.iter_mut().rfind(|entry| entry.user == user).filter(|entry| !entry.is_damaged)
        else {
            return false;
        };
        match damage {
            LogDamage::Action | LogDamage::Status | LogDamage::Reason => {
                entry.is_damaged = true;
                let column = match damage {
                    LogDamage::Action => 2,
                    LogDamage::Status => 3,
                    _ => 4,
                };
                entry.row[column] = UNKNOWN.into();
                entry.judge();
            }
            LogDamage::At => {
                entry.is_damaged = true;
                // A deactivation at an unknown time counts as recent.
                entry.at = Timestamp::MAX;
                entry.row[0] = no_time().into();
            }
            // Any JSON can be read.
            LogDamage::Changes => {
                entry.clears.clear();
                entry.row[8] = json!({});
            }
        }
        true
    }

    /// Runs the statements that learner-sync prints. Returns whether a link lost its routes.
    pub(in super::super) fn repair(&mut self) -> bool {
        for (user, (_, row)) in self.damaged.held.iter().filter(|(_, (names_user, _))| *names_user) {
            let time = |column: usize| row[column].as_str().and_then(|text| text.parse::<Timestamp>().ok());
            let is_lost = row[1] == UNKNOWN;
            let entry = HeldEntry {
                action: if row[1] == "update" { "update" } else { "deactivate" },
                reason: ["empty-group", "unreadable"]
                    .into_iter()
                    .find(|reason| row[2] == *reason)
                    .unwrap_or("threshold"),
                since: time(3).unwrap_or(Timestamp::UNIX_EPOCH),
                approved: time(4).filter(|_| !is_lost),
            };
            self.held.insert(*user, entry);
        }
        let mut lost_routes = false;
        for learner in self.learners.values_mut() {
            if let Some(LinkDamage::Routes(_)) = learner.damage.take() {
                learner.routes.clear();
                lost_routes = true;
            }
        }
        self.damaged = DamagedRows::default();
        self.log.retain(|entry| !entry.is_damaged);
        lost_routes
    }

    pub(in super::super) fn is_damaged(&self) -> bool {
        self.learners.values().any(|learner| learner.damage.is_some())
            || self.damaged.rows().next().is_some()
            || self.log.iter().any(|entry| entry.is_damaged)
    }
}
