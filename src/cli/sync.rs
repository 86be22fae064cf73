//! `learner-sync sync`: one cycle now, or its rehearsal.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::Instant;

use serde_json::{Value, json};
use tokio::sync::watch;

use super::Context;
use super::decisions::DecisionList;
use super::output::{DONE, FAILED, Failure, PARTLY, counted, print, print_json, print_labelled, print_sentences};
use super::planner::Planner;
use super::progress::ProgressDisplay;
use crate::cycle::{self, CycleRequest, Report};
use crate::model::{Clock, Outcome, Trigger};
use crate::plan::Counts;
use crate::runtime::App;
use crate::runtime::locked_cycle::{RunOptions, run_locked_cycle};

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Ignore the cache and compare with the whole learner database.
    #[arg(long)]
    full: bool,
    /// Rehearse: apply the plan in transactions that are rolled back, and show what the database would refuse.
    #[arg(long, conflicts_with_all = ["wait", "force"])]
    pub(super) dry_run: bool,
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
    let Arguments { full, dry_run, wait, force, json } = arguments;
    let Context { config, environment } = context;
    let app = App::new(config, &environment, clock)?;
    let display = ProgressDisplay::start(&app, &environment, json);
    if dry_run {
        return rehearse(&app, full, json, display).await;
    }
    let stop = stop_on_signal()?;
    let actor = super::actor(&environment);
    let options = RunOptions {
        request: CycleRequest { trigger: Trigger::Command, full },
        wait,
        force,
        command: "learner-sync sync",
        claim: None,
        took_over: None,
        actor: Some(&actor),
        only: None,
    };
    let ran = run_locked_cycle(&app, options, stop).await;
    drop(display);
    let report = ran.map_err(|error| Failure::from(error).suggesting_wait())?;
    if json {
        print_json(&report_as_json(&report))?;
    } else {
        print_report(&report)?;
        print_next_steps(&report)?;
    }
    Ok(exit_code(report.outcome))
}

async fn rehearse(app: &App, full: bool, json: bool, display: ProgressDisplay) -> Result<u8, Failure> {
    let started = Instant::now();
    let planner = Planner::open_to_rehearse(app).await?;
    let planner = if full { planner.in_full() } else { planner };
    let prepared = planner.prepare().await?;
    let mut report = cycle::rehearse(planner.context(), planner.options(), &prepared).await?;
    drop(display);
    report.requests = app.directory.requests();
    report.duration = started.elapsed();
    let refused: BTreeMap<_, _> = report.refused_rows.iter().map(|refused| (refused.user, refused)).collect();
    let decisions = prepared.plan.decisions();
    let decisions =
        decisions.map(|decision| refused.get(&decision.user).map_or(decision, |refused| Cow::Borrowed(*refused)));
    let list = DecisionList::new(decisions.collect(), None);
    if json {
        let mut document = report_as_json(&report);
        document["changes"] = list.as_json();
        document["full_comparison"] = planner.comparisons_as_json(&prepared);
        print_json(&document)?;
    } else {
        print_sentences(&expected_result(&report))?;
        print_sentences(planner.rehearsed())?;
        list.print()?;
        planner.print_notes(&prepared).await?;
    }
    Ok(exit_code(report.outcome))
}

/// Ctrl-C and SIGTERM stop the cycle after the present batch.
pub(super) fn stop_on_signal() -> Result<cycle::StopSignal, Failure> {
    use tokio::signal::unix::{SignalKind, signal};
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let (sender, receiver) = watch::channel(false);
    tokio::spawn(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        sender.send_replace(true);
    });
    Ok(receiver)
}

pub(super) fn exit_code(outcome: Outcome) -> u8 {
    match outcome {
        Outcome::Success => DONE,
        Outcome::Partial | Outcome::Held => PARTLY,
        Outcome::Failed | Outcome::Interrupted => FAILED,
    }
}

/// The document of `sync --json`.
pub(super) fn report_as_json(report: &Report) -> Value {
    let Report { cycle, trigger, outcome, counts, requests, duration, error, .. } = report;
    let Counts { in_scope, created, updated, deactivated, reactivated, unchanged, skipped, failed, held } = counts;
    json!({
        "cycle": cycle.map(|cycle| cycle.0), "trigger": trigger.as_str(), "outcome": outcome.as_str(),
        "in_scope": in_scope, "created": created, "updated": updated, "deactivated": deactivated,
        "reactivated": reactivated, "unchanged": unchanged, "skipped": skipped, "failed": failed, "held": held,
        "requests": requests, "duration_ms": duration.as_millis() as u64, "error": error,
    })
}

/// The first line of a plan.
pub(super) fn expected_result(report: &Report) -> String {
    format!("Expected result: {}.", report.summary())
}

fn print_report(report: &Report) -> Result<(), Failure> {
    let Report { outcome, counts, requests, duration, error, .. } = report;
    let Counts { in_scope, created, updated, deactivated, reactivated, unchanged, skipped, failed, held } = counts;
    print(&format!("{outcome} in {:.1} s with {} to Graph", duration.as_secs_f64(), counted(*requests, "request")))?;
    print_labelled(
        "  ",
        &format!(
            "{in_scope} in scope: {created} created, {updated} updated, {reactivated} reactivated, {unchanged} unchanged"
        ),
    )?;
    print(&format!("  {deactivated} deactivated, {held} held, {skipped} skipped, {failed} failed"))?;
    if let Some(error) = error {
        print_labelled("  ", error)?;
    }
    Ok(())
}

/// The commands that show more. They cannot show a rehearsal, which records nothing.
fn print_next_steps(report: &Report) -> Result<(), Failure> {
    let Counts { skipped, failed, held, .. } = &report.counts;
    if *held > 0 {
        print("  `learner-sync approve` shows the held users and releases them.")?;
    }
    if *failed > 0 || *skipped > 0 {
        print("  `learner-sync status` shows the skipped and failed users, with the reasons.")?;
    }
    Ok(())
}
