//! `learner-sync provision`: provisions one user now, and explains each step from Graph to the learner database.

use serde_json::{Value, json};

mod words;

use self::words::{Mapped, account, attributes, mapped, scope};
use super::Context;
use super::decisions::{decision_as_json, short_changes};
use super::output::{
    DONE, FAILED, Failure, PARTLY, USAGE, print, print_json, print_labelled, print_sentences, shown, value_text,
};
use super::planner::Planner;
use super::sync::stop_on_signal;
use crate::cycle::{self, CycleRequest, Explanation, Report, Rules};
use crate::model::{Clock, EntraId, LearnerId, Outcome, Reason, Status, Trigger};
use crate::plan::{Decision, TargetRow};
use crate::runtime::App;
use crate::runtime::locked_cycle::{RunOptions, run_locked_cycle};
use crate::runtime::user_lookup::UserArgument;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The object id or userPrincipalName; of a guest also the name in the home tenant.
    #[arg(value_name = "USER")]
    user: String,
    /// Rehearse: show the result, and what the database would refuse, without writing anything.
    #[arg(long, conflicts_with_all = ["wait", "force"])]
    dry_run: bool,
    /// Link the user to this learner (learners.id), which is inactive or not linked: for a user who was hired again.
    #[arg(long, value_name = "LEARNER")]
    relink: Option<String>,
    /// Wait for a running cycle to end, instead of exiting with 75.
    #[arg(long)]
    wait: bool,
    /// Run even if provisioning is paused.
    #[arg(long)]
    force: bool,
    /// Print one JSON document.
    #[arg(long)]
    pub(super) json: bool,
}

pub(super) async fn run(context: Context, arguments: Arguments, clock: Clock) -> Result<u8, Failure> {
    let Arguments { user, dry_run, relink, wait, force, json } = arguments;
    let Context { config, environment } = context;
    let app = App::new(config, &environment, clock)?;
    if user.parse::<EntraId>().is_err() && !user.contains('@') {
        let message = "USER is neither an object id nor a userPrincipalName such as ada@example.org";
        return Err(Failure::new(USAGE, message));
    }
    let argument = UserArgument { user: &user, relink: relink.as_deref() };
    let (report, rehearsed) = if dry_run {
        let mut planner = Planner::open_to_rehearse(&app).await?;
        planner.find_user(argument).await?;
        let prepared = planner.prepare().await?;
        let report = cycle::rehearse(planner.context(), planner.options(), &prepared).await?;
        (report, Some(planner.rehearsed()))
    } else {
        let actor = super::actor(&environment);
        let command = "learner-sync provision";
        let request = CycleRequest { trigger: Trigger::Command, full: false };
        let (actor, only) = (Some(actor.as_str()), Some(argument));
        let options = RunOptions { request, wait, force, command, claim: None, took_over: None, actor, only };
        let ran = run_locked_cycle(&app, options, stop_on_signal()?).await;
        (ran.map_err(|error| Failure::from(error).suggesting_wait())?, None)
    };
    let Some(explanation) = &report.explanation else {
        let error = report.error.unwrap_or_else(|| "the cycle ended early".to_owned());
        return Err(Failure::new(FAILED, error));
    };
    let refused = explanation
        .requested
        .as_ref()
        .filter(|learner| !is_linked_to(explanation, learner))
        .map(|learner| format!("not relinked: learner {learner}: {}", why_not_relinked(explanation)));
    let error = report.error.clone().or(refused);
    if json {
        print_json(&as_json(&report, explanation, &app.rules, error.as_deref(), dry_run))?;
    } else {
        print_steps(&report, explanation, &app.rules, rehearsed)?;
        if let Some(error) = &error {
            print_sentences(error)?;
        }
    }
    if error.is_some() {
        return Ok(FAILED);
    }
    Ok(match explanation.decision.as_ref().map(Decision::status) {
        Some(Status::Failure | Status::Held) => PARTLY,
        _ if report.counts.held > 0 => PARTLY,
        _ => DONE,
    })
}

/// Whether the user has this learner, or would have it.
fn is_linked_to(explanation: &Explanation, learner: &LearnerId) -> bool {
    let applied = explanation.applied().and_then(|decision| decision.row.learner());
    explanation.learner.as_ref().into_iter().chain(applied).any(|linked| linked == learner)
}

fn why_not_relinked(explanation: &Explanation) -> String {
    match (&explanation.decision, &explanation.assigned) {
        (Some(Decision { reason, detail: Some(detail), .. }), _) => format!("{reason}: {detail}"),
        (Some(Decision { reason, detail: None, .. }), _) => reason.to_string(),
        (None, None) => "the user is not assigned to the application".to_owned(),
        (None, Some(_)) => "no decision was made about the user".to_owned(),
    }
}

/// The learner, and how it was matched.
fn matched(explanation: &Explanation) -> (Option<&LearnerId>, &'static str) {
    let applied = explanation.applied().map(|decision| (&decision.row, decision.reason));
    match (&explanation.before, applied) {
        (Some(before), _) => (Some(&before.learner), "linked"),
        (None, Some((TargetRow::New, _))) => (explanation.learner.as_ref(), "created"),
        (None, Some((row, Reason::Relinked))) => (row.learner(), "relinked"),
        (None, Some((row, _))) => (row.learner(), "adopted"),
        (None, None) => (None, "none"),
    }
}

fn as_json(report: &Report, explanation: &Explanation, rules: &Rules, error: Option<&str>, dry_run: bool) -> Value {
    let Explanation { user, assigned, decision, coupled, filters, nested_in, .. } = explanation;
    let (account, detail) = account(explanation, rules);
    let (learner, how) = matched(explanation);
    let nothing = json!({ "action": null, "status": null, "reason": null, "detail": null, "changes": [] });
    let coupled: Vec<Value> = coupled.iter().map(decision_as_json).collect();
    let entry = |Mapped { line, value, old, note }: Mapped<'_>| {
        let attribute = line.attribute.path();
        json!({ "attribute": attribute, "expression": line.expression, "value": value, "old": old, "note": note })
    };
    let map: Vec<Value> = mapped(explanation, rules).into_iter().map(entry).collect();
    json!({
        "cycle": report.cycle.map(|cycle| cycle.0),
        "dry_run": dry_run,
        "outcome": report.outcome.as_str(),
        "entra_id": user.to_string(),
        "import": {
            "account": account,
            "detail": detail,
            "attributes": attributes(explanation, rules).into_iter().collect::<serde_json::Map<_, _>>(),
        },
        "scope": {
            "assigned": assigned.is_some(),
            "via": assigned.iter().flat_map(|user| user.routes.as_slice()).map(ToString::to_string).collect::<Vec<_>>(),
            "nested_in": nested_in.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "filters": filters,
            "detail": scope(explanation),
        },
        "match": { "learner_id": learner.map(LearnerId::to_json), "how": how },
        "map": map,
        "action": decision.as_ref().map_or(nothing, decision_as_json),
        "coupled": coupled,
        "error": error,
    })
}

/// The label of the last step.
const ACTION: &str = "action   ";
/// What stands before a line that belongs to the step above it.
const BELOW: &str = "           ";

fn print_steps(
    report: &Report,
    explanation: &Explanation,
    rules: &Rules,
    rehearsed: Option<&str>,
) -> Result<(), Failure> {
    let (_, imported) = account(explanation, rules);
    let found = match matched(explanation) {
        (Some(learner), how) => {
            let inactive = explanation.row.as_ref().is_some_and(|row| !row.active);
            format!("learner {learner}, {how}{}", if inactive { ", inactive" } else { "" })
        }
        (None, "created") => "no learner yet; a new one".to_owned(),
        (None, _) => "no learner".to_owned(),
    };
    print_labelled("import   ", &format!("{}: {imported}", explanation.user))?;
    for (property, value) in attributes(explanation, rules) {
        print_labelled(BELOW, &shown(&format!("{property}: {}", value_text(&value, "(nothing)"))))?;
    }
    print_labelled("scope    ", &shown(&scope(explanation)))?;
    for filter in &explanation.filters {
        print_labelled(BELOW, &shown(filter))?;
    }
    print_labelled("match    ", &found)?;
    let lines = mapped(explanation, rules);
    if lines.is_empty() {
        print_labelled("map      ", "nothing: there is no account to map")?;
    }
    for (number, Mapped { line, value, old, note }) in lines.into_iter().enumerate() {
        let head = if number == 0 { "map      " } else { "         " };
        let value = match (value, note) {
            (Some(value), None) => value,
            (Some(value), Some(note)) => format!("{value} ({note})"),
            (None, note) => note.unwrap_or_else(|| "nothing".to_owned()),
        };
        let old = match old {
            Some(old) if old != value => format!(", was {old}"),
            _ => String::new(),
        };
        print_labelled(head, &shown(&format!("{} <- {}: {value}{old}", line.attribute.path(), line.expression)))?;
    }
    match &explanation.decision {
        None if explanation.assigned.is_none() && explanation.before.is_none() => {
            print_labelled(ACTION, "none: not assigned, and no learner")?;
        }
        None => print_labelled(ACTION, "none: nothing to change")?,
        Some(decision) if decision.row_after().is_some() => print_applied(ACTION, decision)?,
        Some(decision) => {
            let Decision { action, reason, detail, .. } = decision;
            let detail = detail.as_ref().map(|detail| format!(": {}", shown(detail))).unwrap_or_default();
            print_labelled(ACTION, &format!("{action} not applied ({}): {reason}{detail}", decision.status()))?;
        }
    }
    for decision in &explanation.coupled {
        print_applied("also     ", decision)?;
    }
    match (rehearsed, report.outcome) {
        (Some(rehearsed), _) => print_sentences(rehearsed)?,
        (None, Outcome::Interrupted) if report.paused => print("Stopped, because provisioning was paused.")?,
        (None, Outcome::Interrupted) => print("Stopped by a signal.")?,
        (None, _) => {}
    }
    Ok(())
}

fn print_applied(head: &str, decision: &Decision) -> Result<(), Failure> {
    let Decision { action, reason, detail, .. } = decision;
    let name = decision.user_name().map(shown).unwrap_or_default();
    let detail = detail.as_ref().map(|detail| format!(", {detail}")).unwrap_or_default();
    print_labelled(head, &format!("{action} {name}, {reason}{detail}"))?;
    for changed in short_changes(decision) {
        print_labelled(BELOW, &shown(&changed))?;
    }
    Ok(())
}
