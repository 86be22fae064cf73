//! Decisions in words, JSON and CSV: the same in `plan`, `sync --dry-run`, `provision` and `log`.

use std::borrow::Cow;

use serde_json::{Value, json};

use super::narrow::{ListColumns, ListRow};
use super::output::{Failure, action_in_words, print, shown};
use crate::model::{Attribute, AttributeKind, Status};
use crate::plan::{Decision, EXTERNAL_ID};
use crate::view::{NOTHING, csv_rows, short_change};

/// The keys of a decision, in the order of the columns of CSV.
const KEYS: &[&str] = &["action", "status", "entra_id", "user_name", "reason", "detail", "changes"];
const COLUMNS: ListColumns = ListColumns(&["reason", "user", "changes"]);

/// Decisions grouped by what happens, of which a list may show only the first.
pub(super) struct DecisionList<'d> {
    decisions: Vec<Cow<'d, Decision>>,
    limit: usize,
}

impl<'d> DecisionList<'d> {
    /// A list of at most `limit` decisions.
    pub(super) fn new(mut decisions: Vec<Cow<'d, Decision>>, limit: Option<usize>) -> Self {
        decisions.sort_by_key(|decision| (place(decision.status()), decision.action, decision.user));
        Self { decisions, limit: limit.unwrap_or(usize::MAX) }
    }

    fn listed(&self) -> impl Iterator<Item = &Decision> {
        self.decisions.iter().take(self.limit).map(|decision| &**decision)
    }

    /// `[{"action", "entra_id", "user_name", "status", "reason", "detail", "changes"}]`
    pub(super) fn as_json(&self) -> Value {
        self.listed().map(decision_as_json).collect()
    }

    pub(super) fn as_csv(&self) -> std::io::Result<Vec<u8>> {
        csv_rows(KEYS, true, self.listed().map(decision_as_json))
    }

    /// Prints each group below its number, which counts the unlisted decisions as well.
    pub(super) fn print(&self) -> Result<(), Failure> {
        let mut left = self.limit;
        for group in self.decisions.chunk_by(|one, other| action_of(one) == action_of(other)) {
            let (listed, others) = group.split_at(group.len().min(left));
            left -= listed.len();
            print(&format!(
                "\n{} ({}):",
                group.first().map(|first| action_of(first)).unwrap_or_default(),
                group.len()
            ))?;
            if !listed.is_empty() {
                print(&COLUMNS.list(listed.iter().map(|decision| row(decision)).collect()))?;
            }
            match (listed.len(), others.len()) {
                (_, 0) => {}
                (0, _) => print(" not listed because of --limit")?,
                (_, others) => print(&format!(" and {others} more"))?,
            }
        }
        Ok(())
    }
}

/// Changes come first, then what needs attention.
fn place(status: Status) -> u8 {
    match status {
        Status::Success => 0,
        Status::Held => 1,
        Status::Failure => 2,
        Status::Skipped => 3,
    }
}

fn action_of(decision: &Decision) -> String {
    action_in_words(decision.action, decision.status(), None)
}

fn row(decision: &Decision) -> ListRow {
    let user = decision.user_name().map_or_else(|| decision.user.to_string(), shown);
    let what: Vec<String> = decision.detail.iter().cloned().chain(short_changes(decision)).collect();
    let (reason, what) = (decision.reason.to_string(), shown(&what.join(", ")));
    let below = if what.is_empty() { String::new() } else { format!("\n{what}") };
    let narrow = [reason.clone(), format!("{user}{below}")];
    ListRow { cells: vec![reason, user, what], narrow }
}

pub(super) fn decision_as_json(decision: &Decision) -> Value {
    let value = |attribute: Attribute, text: Option<&str>| match (attribute.kind(), text) {
        (_, None) => Value::Null,
        (AttributeKind::Boolean, Some(text)) => json!(text == "true"),
        (AttributeKind::Text, Some(text)) => json!(text),
    };
    let Decision { user, action, reason, detail, changes, .. } = decision;
    let replaced =
        decision.old_external_id().map(|old| json!({ "attribute": EXTERNAL_ID, "old": old, "new": user.to_string() }));
    let changes = changes.iter().map(|change| {
        let ((old, new), attribute) = (change.shown(), change.attribute);
        json!({ "attribute": attribute.path(), "old": value(attribute, old), "new": value(attribute, new) })
    });
    let changes: Vec<Value> = replaced.into_iter().chain(changes).collect();
    json!({
        "action": action.as_str(),
        "entra_id": user.to_string(),
        "user_name": decision.user_name(),
        "status": decision.status().as_str(),
        "reason": reason.as_str(),
        "detail": detail,
        "changes": changes,
    })
}

/// Every change in short form, with the `externalId` that an adoption replaces.
pub(super) fn short_changes(decision: &Decision) -> impl Iterator<Item = String> + '_ {
    let replaced =
        decision.old_external_id().map(|old| short_change(EXTERNAL_ID, Some(old), &decision.user.to_string()));
    replaced.into_iter().chain(decision.changes.iter().map(|change| {
        let (old, new) = change.shown();
        short_change(change.attribute.path(), old, new.unwrap_or(NOTHING))
    }))
}
