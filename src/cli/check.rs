//! `learner-sync check`: tests the connection step by step, and prints the likely cause and the fix of each failure.

mod database;
mod directory;
mod disk;
mod exposure;
mod messages;
mod sandbox;
mod unit;

use jiff::Timestamp;
use serde_json::json;

use self::database::database_check;
use self::directory::check_directory;
use self::disk::disk_checks;
use self::exposure::exposure_checks;
use self::messages::message_checks;
use self::unit::unit_checks;
use super::Context;
use super::output::{CONFIGURATION, DONE, FAILED, Failure, print_json, print_labelled, print_sentences, shown};
use crate::model::{Clock, ProvisioningState, chain};
use crate::runtime::status::RecordPlaces;
use crate::runtime::{App, preflight};

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Print one JSON document.
    #[arg(long)]
    pub(super) json: bool,
}

const DATABASE: &str = "database";
/// What stands before a hint.
const HINT: &str = "     -> ";

/// One line of the output.
#[derive(Clone, Debug, serde::Serialize)]
struct Check {
    name: &'static str,
    ok: bool,
    detail: String,
    hint: Option<String>,
}

impl Check {
    fn passed(name: &'static str, detail: impl Into<String>) -> Self {
        Self { name, ok: true, detail: detail.into(), hint: None }
    }

    fn failed(name: &'static str, error: &dyn std::error::Error, hint: Option<String>) -> Self {
        Self { name, ok: false, detail: chain(error), hint }
    }

    fn refused(name: &'static str, detail: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { ok: false, hint: Some(hint.into()), ..Self::passed(name, detail) }
    }
}

pub(super) async fn run(context: Context, arguments: Arguments, clock: Clock) -> Result<u8, Failure> {
    let places = RecordPlaces::new(&context.config.path, Some(&context.config.state.directory), &context.environment);
    let mut checks = vec![database_check(&context).await];
    // None when the state directory is usable.
    let unusable_state = preflight::inspect_state(&context.config).await.err();
    checks.extend(unusable_state.map(|error| Check::failed("state", &error, error.hint())));
    checks.extend(disk_checks(&context.config).await);
    checks.extend(exposure_checks(&context.config).await);
    checks.extend(unit_checks(&context.config).await);
    match App::new(context.config, &context.environment, clock) {
        Ok(app) => {
            checks.insert(0, Check::passed("configuration", app.config.path.display().to_string()));
            let slow = app.rules.mapping.slow_patterns().chain(app.rules.scope.warnings());
            checks.extend(slow.map(|detail| Check {
                hint: Some("learner-sync guide troubleshooting".to_owned()),
                ..Check::passed("regular expression", shown(&detail))
            }));
            // Without the token, the daemon does not start and answers no request.
            let unusable = app.config.http_token().err();
            checks.extend(unusable.map(|error| Check::failed("http token", &error, None)));
            check_directory(&app, &mut checks).await;
            checks.extend(message_checks(&app).await);
        }
        Err(error) => {
            // A secret that systemd gives to the unit only has a hint.
            let Failure { message, hint, .. } = error.into();
            checks.insert(0, Check { ok: false, hint, ..Check::passed("configuration", message) });
        }
    }
    let ok = checks.iter().all(|check| check.ok);
    if arguments.json {
        print_json(&json!({ "ok": ok, "checks": checks }))?;
    } else {
        for Check { name, ok, detail, hint } in &checks {
            let mark = match (ok, hint) {
                (true, None) => "ok  ",
                (true, Some(_)) => "warn",
                (false, _) => "FAIL",
            };
            print_labelled(&format!("{mark} {name:<20} "), detail)?;
            if let Some(hint) = hint {
                // Nearly the whole line, because most hints contain a command.
                print_labelled(HINT, hint)?;
            }
        }
    }
    if ok && !arguments.json && is_daemon_failing(&places, clock()) {
        print_sentences(
            "\nThe last cycle of the daemon failed, and the next one is not due yet. To run it now: learner-sync resync --wait",
        )?;
    }
    let configured = checks.first().is_some_and(|check| check.ok);
    Ok(match (ok, configured) {
        (true, _) => DONE,
        (false, true) => FAILED,
        (false, false) => CONFIGURATION,
    })
}

/// Whether a daemon runs whose last cycle failed.
fn is_daemon_failing(places: &RecordPlaces, now: Timestamp) -> bool {
    places.read().filter(|record| record.holder().is_some()).is_some_and(|record| {
        let state = record.situation(true).facts(now).report().state;
        matches!(state, ProvisioningState::Failing | ProvisioningState::Blocked)
    })
}
