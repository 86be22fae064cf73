//! `learner-sync plan`: what a cycle would do. It writes nothing and takes no lock.

use std::time::Instant;

use serde_json::{Value, json};

use super::Context;
use super::output::{DONE, Failure, print, print_json, shown, table, with_ends};
use super::planner::Planner;
use super::sync::report_as_json;
use crate::cycle;
use crate::model::{Attribute, AttributeKind, Clock, Column};
use crate::plan::{AttributeChange, Decision, EXTERNAL_ID};
use crate::runtime::App;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Print one JSON document.
    #[arg(long)]
    pub(super) json: bool,
}

pub(super) async fn run(context: Context, arguments: Arguments, clock: Clock) -> Result<u8, Failure> {
    let Context { config, environment } = context;
    let started = Instant::now();
    let app = App::new(config, &environment, clock)?;
    let planner = Planner::open(&app).await?;
    let prepared = planner.prepare().await?;
    let mut report = cycle::forecast(planner.options(), &prepared);
    report.requests = app.directory.requests();
    report.duration = started.elapsed();
    let decisions = prepared.plan.by_user();
    if arguments.json {
        let mut document = report_as_json(&report);
        document["changes"] = decisions_as_json(&decisions);
        document["full_comparison"] = planner.comparisons_as_json(&prepared);
        print_json(&document)?;
    } else {
        print_decisions(&decisions)?;
        print(&format!("Expected result: {}.", report.summary()))?;
        planner.print_comparisons(&prepared)?;
        planner.print_obstacles().await?;
    }
    Ok(DONE)
}

/// `[{"action", "entra_id", "user_name", "status", "reason", "detail", "changes"}]`
pub(super) fn decisions_as_json(decisions: &[&Decision]) -> Value {
    decisions.iter().copied().map(decision_as_json).collect()
}

pub(super) fn decision_as_json(decision: &Decision) -> Value {
    let value = |attribute: Attribute, text: Option<&str>| match (attribute.kind(), text) {
        (_, None) => Value::Null,
        (AttributeKind::Boolean, Some(text)) => json!(text == "true"),
        (AttributeKind::Text, Some(text)) => json!(text),
    };
    let Decision {
        user,
        action,
        reason,
        detail,
        row: _,
        known_name: _,
        changes,
        old_external_id,
        request_id: _,
        effect: _,
    } = decision;
    let replaced =
        old_external_id.as_ref().map(|old| json!({ "attribute": EXTERNAL_ID, "old": old, "new": user.to_string() }));
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

pub(super) fn print_decisions(decisions: &[&Decision]) -> Result<(), Failure> {
    let mut table = table(&["action", "status", "reason", "user", "changes"]);
    for decision in decisions {
        let Decision { user, action, reason, detail, .. } = decision;
        let changes = short_changes(decision).collect::<Vec<_>>().join(", ");
        let what = match (detail, changes.as_str()) {
            (Some(detail), "") => detail.to_owned(),
            (Some(detail), changes) => format!("{detail}; {changes}"),
            (None, changes) => changes.to_owned(),
        };
        let user = decision.user_name().map_or_else(|| user.to_string(), str::to_owned);
        let status = decision.status();
        table.add_row([action.as_str(), status.as_str(), reason.as_str(), &shown(&user), &shown(&what)]);
    }
    if table.row_count() > 0 {
        print(&table.trim_fmt())?;
    }
    Ok(())
}

/// Every change in short form, with the `external_id` that an adoption replaces.
pub(super) fn short_changes(decision: &Decision) -> impl Iterator<Item = String> + '_ {
    let replaced = decision.old_external_id.as_ref();
    let replaced =
        replaced.map(|old| format!("{}: {} -> {}", Column::ExternalId.name(), with_ends(old), decision.user));
    replaced.into_iter().chain(decision.changes.iter().map(short))
}

/// `department: Sales -> Research`
fn short(change: AttributeChange<'_>) -> String {
    let (column, (old, new)) = (change.attribute.column(), change.shown());
    let new = new.unwrap_or("(nothing)");
    match old {
        None => format!("{column}: {new}"),
        Some(old) => format!("{column}: {} -> {new}", with_ends(old)),
    }
}
