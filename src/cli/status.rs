//! `learner-sync status`: the state of provisioning.

mod document;
mod screen;

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;

use self::screen::StatusScreen;
pub(super) use self::screen::{held_list, print_recreated};
use super::output::{DONE, Failure, FailureDocument, print_json, print_json_line, visible_lines};
use super::{logging, owner};
use crate::config::{self, Config};
use crate::files;
use crate::model::{ProvisioningState, system_clock};
use crate::runtime::learner_database;
use crate::runtime::lock::Lock;
use crate::runtime::preflight::{PreflightError, on_database_disk, on_state_disk};
use crate::runtime::status::{DatabaseObservation, DiskObservation, RecordPlaces, StatusRecord, with_hint};
use crate::view::StatusView;

/// How often `--watch` looks again.
const WATCH_EVERY: Duration = Duration::from_secs(2);

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// List every held, failing and skipped user.
    #[arg(long)]
    all: bool,
    /// Refresh every 2 seconds until Ctrl-C; as JSON, one document per line.
    #[arg(long, conflicts_with = "exit_code")]
    watch: bool,
    /// Print one JSON document.
    #[arg(long)]
    pub(super) json: bool,
    /// Exit with a code for the state: 0 if all is well, 1 if nothing is provisioned now, 3 if something waits for you.
    #[arg(long)]
    exit_code: bool,
}

pub(super) async fn run(
    path: &Path,
    environment: &BTreeMap<String, String>,
    arguments: Arguments,
) -> Result<u8, Failure> {
    let Arguments { all, watch, json, exit_code } = arguments;
    if watch {
        return refresh(path, environment, all, json).await;
    }
    let view = read(path, environment, all).await.map_err(|failure| match failure.is_blocked && exit_code {
        true => Failure { code: ProvisioningState::Blocked.exit_code(), ..failure },
        false => failure,
    })?;
    if json {
        print_json(&view.as_json())?;
    } else {
        super::output::print(view.screen(all).trim_end())?;
    }
    Ok(if exit_code { view.report.state.exit_code() } else { DONE })
}

async fn refresh(path: &Path, environment: &BTreeMap<String, String>, all: bool, json: bool) -> Result<u8, Failure> {
    let mut stop = super::sync::stop_on_signal()?;
    loop {
        // A failure may pass: a database that is restored, or a file that is edited.
        let shown = match read(path, environment, all).await {
            viewed if json => {
                let failed = |failure: Failure| failure.document(FailureDocument::Status).unwrap_or_default();
                print_json_line(&viewed.map_or_else(failed, |view| view.as_json()))?;
                std::io::stdout().flush()
            }
            viewed => {
                let failed = |failure: Failure| StatusScreen { head: failure.message, lists: String::new() };
                let StatusScreen { head, lists } = viewed.map_or_else(failed, |view| view.screen_parts(all));
                let head = format!("{}{}", screen::as_of(system_clock()), visible_lines(&head));
                refresh_screen(&StatusScreen { head, lists: visible_lines(&lists) })
            }
        };
        // A reader that closes standard output early has seen enough.
        if shown.is_err() || tokio::time::timeout(WATCH_EVERY, stop.wait_for(|stop| *stop)).await.is_ok() {
            return Ok(DONE);
        }
    }
}

/// Replaces the screen of a terminal by the lines that fit. A file or pipe gets all.
fn refresh_screen(screen: &StatusScreen) -> std::io::Result<()> {
    let mut output = std::io::stdout().lock();
    match rustix::termios::tcgetwinsize(&output) {
        Ok(size) => writeln!(output, "\u{1b}[H\u{1b}[2J{}", screen::cut(screen, size))?,
        Err(_) => writeln!(output, "{}{}", screen.head, screen.lists)?,
    }
    output.flush()
}

/// The state as it is now.
async fn read(path: &Path, environment: &BTreeMap<String, String>, all: bool) -> Result<StatusView, Failure> {
    let now = system_clock();
    match config::load(path, environment) {
        Ok(config) => {
            logging::start_once(&config)?;
            match read_record(&config, environment).await {
                (record, None) => {
                    owner::check_owner(&config, environment).await?;
                    live(&config, environment, record, all, now).await
                }
                (Some(record), Some(silent)) => Ok(recorded(record, Some(with_hint(&silent)), None, now).await),
                (None, Some(silent)) => Err(silent.into()),
            }
        }
        Err(error) => {
            let directory = config::guess_state_directory(path, environment);
            let places = RecordPlaces::new(path, Some(&directory), environment);
            let runtime = places.read_runtime();
            let record = files::on_disk(&directory, move |_| places.read()).await.unwrap_or(runtime);
            match record {
                Some(record) => Ok(recorded(record, None, Some(error.to_string()), now).await),
                None => Err(error.into()),
            }
        }
    }
}

/// The latest record of the daemon, and the disk that does not answer. The record may be on another disk.
async fn read_record(
    config: &Config,
    environment: &BTreeMap<String, String>,
) -> (Option<StatusRecord>, Option<PreflightError>) {
    let places = RecordPlaces::new(&config.path, Some(&config.state.directory), environment);
    let runtime = places.read_runtime();
    match on_state_disk(config, move |_| places.read()).await {
        Ok(record) => (record, on_database_disk(config, Path::exists).await.err()),
        Err(silent) => (runtime, Some(silent)),
    }
}

/// The view of what the daemon recorded.
async fn recorded(
    record: StatusRecord,
    database_error: Option<String>,
    config_error: Option<String>,
    now: Timestamp,
) -> StatusView {
    // A disk that does not answer is noticed here, and the view does without the lock.
    let _ = Lock::holder(&record.lock).await;
    StatusView::recorded(record, database_error, config_error, now)
}

/// The view with the learner database, or with what the daemon recorded of it.
async fn live(
    config: &Config,
    environment: &BTreeMap<String, String>,
    record: Option<StatusRecord>,
    all: bool,
    now: Timestamp,
) -> Result<StatusView, Failure> {
    let learners = match (learner_database(config, environment), record.clone()) {
        (Err(error), Some(record)) => {
            let error = error.to_string();
            return Ok(recorded(record, None, Some(error), now).await);
        }
        (learners, _) => learners?,
    };
    let database = learners.place.to_string();
    let known = record.as_ref().and_then(|record| record.summary.as_ref());
    let has_run = known.is_some_and(|summary| summary.last_cycle.is_some());
    let observed = DatabaseObservation::open(config, learners, has_run, all).await;
    let DatabaseObservation { summary, overview, holder, store } = match (observed, record.clone()) {
        (Ok(observed), _) => observed,
        (Err(error), None) => return Err(error.into()),
        (Err(error), Some(record)) => {
            let error = with_hint(&PreflightError::from(error));
            let view = recorded(record, Some(error), None, now).await;
            return Ok(view.with_disk(DiskObservation::observe(config, true).await));
        }
    };
    // Only read, so nothing is lost.
    let _ = store.close().await;
    let found = (summary, overview, holder);
    let disk = DiskObservation::observe(config, found.0.last_cycle.is_some()).await;
    Ok(StatusView::live(config, database, record, found, disk, now))
}
