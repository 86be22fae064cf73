//! `learner-sync status`: the state of provisioning.

mod document;
mod screen;

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;

pub(super) use self::screen::{held_list, print_recreated};
use super::check::disk_warnings;
use super::output::{DONE, Failure, FailureDocument, print_json, print_json_line, visible_lines};
use super::{logging, owner};
use crate::config::{self, Config};
use crate::model::{ClockFinding, DaemonPlace, Finding, LockHolder, ProvisioningState, StateReport, system_clock};
use crate::runtime::lock::Lock;
use crate::runtime::preflight::PreflightError;
use crate::runtime::status::{
    DatabaseLook, KnownDaemon, RecordPlaces, Situation, StatusRecord, StatusSummary, disk_trouble, with_hint,
};
use crate::runtime::{Paths, daemon_place, learner_database};
use crate::store::{SourceOverview, host_name};

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

/// Everything that is shown.
struct View {
    report: StateReport,
    now: Timestamp,
    /// `None` when nothing is known of the learner database.
    summary: Option<StatusSummary>,
    /// `None` when the learner database cannot be read.
    overview: Option<SourceOverview>,
    /// The record of the present daemon, or of the last one.
    record: Option<StatusRecord>,
    daemon: Option<LockHolder>,
    /// The daemons on all machines, the one of this configuration included.
    daemons: Vec<KnownDaemon>,
    place: DaemonPlace,
    cycle: Option<LockHolder>,
    database: String,
    database_error: Option<String>,
    config: PathBuf,
    config_error: Option<String>,
    /// Whether `provisioning.users` is true.
    enabled: bool,
    disk: Vec<String>,
    is_last_cycle_in_the_future: bool,
    all: bool,
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
    let view = View::read(path, environment, all).await.map_err(|failure| match failure.is_blocked && exit_code {
        true => Failure { code: ProvisioningState::Blocked.exit_code(), ..failure },
        false => failure,
    })?;
    if json {
        print_json(&view.as_json())?;
    } else {
        super::output::print(view.screen().trim_end())?;
    }
    Ok(if exit_code { view.report.state.exit_code() } else { DONE })
}

async fn refresh(path: &Path, environment: &BTreeMap<String, String>, all: bool, json: bool) -> Result<u8, Failure> {
    let mut stop = super::sync::stop_on_signal()?;
    loop {
        // A failure may pass: a database that is restored, or a file that is edited.
        let shown = match View::read(path, environment, all).await {
            viewed if json => {
                let failed = |failure: Failure| failure.document(FailureDocument::Status).unwrap_or_default();
                print_json_line(&viewed.map_or_else(failed, |view| view.as_json()))?;
                std::io::stdout().flush()
            }
            viewed => {
                let screen = viewed.map_or_else(|failure| failure.message, |view| view.screen());
                refresh_screen(&format!("{}{}", screen::as_of(system_clock()), visible_lines(&screen)))
            }
        };
        // A reader that closes standard output early has seen enough.
        if shown.is_err() || tokio::time::timeout(WATCH_EVERY, stop.wait_for(|stop| *stop)).await.is_ok() {
            return Ok(DONE);
        }
    }
}

/// Replaces the screen of a terminal by the lines that fit. A file or pipe gets all.
fn refresh_screen(screen: &str) -> std::io::Result<()> {
    let mut output = std::io::stdout().lock();
    match rustix::termios::tcgetwinsize(&output) {
        Ok(size) => writeln!(output, "\u{1b}[H\u{1b}[2J{}", screen::cut(screen, size))?,
        Err(_) => writeln!(output, "{screen}")?,
    }
    output.flush()
}

impl View {
    async fn read(path: &Path, environment: &BTreeMap<String, String>, all: bool) -> Result<Self, Failure> {
        let now = system_clock();
        match config::load(path, environment) {
            Ok(config) => {
                logging::start_once(&config)?;
                owner::check_owner(&config).await?;
                Self::live(&config, environment, all, now).await
            }
            Err(error) => {
                let directory = config::guess_state_directory(path, environment);
                let record = RecordPlaces::new(path, Some(&directory), environment).read();
                match record {
                    Some(record) => Ok(Self::recorded(record, None, Some(error.to_string()), now)),
                    None => Err(error.into()),
                }
            }
        }
    }

    /// The view with the learner database, or with what the daemon recorded of it.
    async fn live(
        config: &Config,
        environment: &BTreeMap<String, String>,
        all: bool,
        now: Timestamp,
    ) -> Result<Self, Failure> {
        let paths = Paths::new(config);
        let record = RecordPlaces::new(&config.path, Some(&paths.state_directory), environment).read();
        let learners = match (learner_database(config, environment), &record) {
            (Err(error), Some(record)) => {
                return Ok(Self::recorded(record.clone(), None, Some(error.to_string()), now));
            }
            (learners, _) => learners?,
        };
        let database = learners.place.to_string();
        let recorded = record.as_ref().and_then(|record| record.summary.as_ref());
        let has_run = recorded.is_some_and(|summary| summary.last_cycle.is_some());
        let looked = DatabaseLook::open(config, learners, has_run, all).await;
        let DatabaseLook { summary, overview, holder, store } = match (looked, record.clone()) {
            (Ok(looked), _) => looked,
            (Err(error), None) => return Err(error.into()),
            (Err(error), Some(record)) => {
                let error = with_hint(&PreflightError::from(error));
                let view = Self::recorded(record, Some(error), None, now);
                return Ok(Self { disk: disk_warnings(config), ..view });
            }
        };
        // Only read, so nothing is lost.
        let _ = store.close().await;
        let daemon = Lock::holder(&paths.daemon_lock);
        let own = |record: &&StatusRecord| daemon.as_ref().is_some_and(|daemon| record.is_of(daemon));
        let alive = record.as_ref().filter(own);
        let known = record.as_ref().map(|record| record.situation(daemon.is_some()));
        let mut situation = match &known {
            Some(known) if alive.is_some() => known.clone(),
            _ => Situation::new(config),
        };
        if let Some(known) = &known {
            situation.daemon = known.daemon.clone();
        }
        situation.daemon.runs = daemon.is_some();
        let (place, daemons) = (daemon_place(config), summary.daemons.clone());
        let daemons = daemons_here_and_elsewhere(daemons, &place, daemon.is_some());
        situation.daemon.runs_elsewhere = runs_elsewhere(&daemons, &place);
        if let Some(reason) = disk_trouble(config, summary.last_cycle.is_some()) {
            let since = situation.trouble.as_ref().and_then(|trouble| trouble.since);
            situation.trouble = Some(Finding::new(since, reason));
        }
        situation.is_cycle_running = summary.runs_elsewhere;
        situation.summary = Some(summary.clone());
        let facts = situation.facts(now);
        Ok(Self {
            report: facts.report(),
            now,
            summary: Some(summary),
            overview: Some(overview),
            daemon,
            daemons,
            place,
            cycle: holder,
            database,
            database_error: None,
            config: config.path.clone(),
            config_error: None,
            enabled: situation.enabled,
            disk: disk_warnings(config),
            is_last_cycle_in_the_future: facts.is_last_cycle_in_the_future(),
            all,
            record,
        })
    }

    /// The view of what the daemon recorded.
    fn recorded(
        record: StatusRecord,
        database_error: Option<String>,
        config_error: Option<String>,
        now: Timestamp,
    ) -> Self {
        let daemon = record.holder();
        let mut situation = record.situation(daemon.is_some());
        if let Some(reason) = &database_error {
            let since = situation.trouble.as_ref().and_then(|trouble| trouble.since);
            situation.trouble = Some(Finding::new(since, reason.clone()));
        }
        let facts = situation.facts(now);
        let state_directory = record.lock.parent().map(|path| path.display().to_string()).unwrap_or_default();
        Self {
            report: facts.report(),
            now,
            // What was known of them may be old.
            daemons: Vec::new(),
            place: DaemonPlace { host: host_name(), state_directory },
            summary: situation.summary,
            overview: None,
            cycle: daemon.clone().filter(|_| record.is_cycle_running),
            daemon,
            database: record.database.clone(),
            database_error,
            config: record.config.clone(),
            config_error,
            enabled: situation.enabled,
            disk: Vec::new(),
            is_last_cycle_in_the_future: facts.is_last_cycle_in_the_future(),
            all: false,
            record: Some(record),
        }
    }

    /// The record of the running daemon.
    fn alive(&self) -> Option<&StatusRecord> {
        let daemon = self.daemon.as_ref()?;
        self.record.as_ref().filter(|record| record.is_of(daemon))
    }

    /// How far the running cycle of the daemon is.
    fn progress(&self) -> Option<&str> {
        self.alive()?.progress.as_deref()
    }

    /// Without a daemon no cycle will start then; during a cycle the next time is not drawn yet.
    fn next_cycle_at(&self) -> Option<Timestamp> {
        let next = match self.alive() {
            Some(record) => record.next_cycle_at,
            None => self.summary.as_ref().and_then(|summary| summary.next_cycle_at),
        };
        let runs = self.daemon.is_some() || runs_elsewhere(&self.daemons, &self.place);
        next.filter(|_| runs && (self.cycle.is_none() || self.cycle != self.daemon))
    }

    /// The time of the pause and the system user, as far as they are known; none while provisioning is not paused.
    fn pause(&self) -> Option<(Option<Timestamp>, Option<&str>)> {
        let summary = self.summary.as_ref().filter(|summary| summary.paused)?;
        // What the daemon recorded has no names.
        let by = self.overview.as_ref().and_then(|overview| overview.pauses.paused_by.as_deref());
        Some((summary.paused_at, by))
    }

    fn clock(&self) -> Option<ClockFinding> {
        self.summary.as_ref().and_then(|summary| ClockFinding::from_text(summary.clock.as_deref()?))
    }
}

/// The daemons; the lock shows whether the one of this configuration `runs`.
fn daemons_here_and_elsewhere(daemons: Vec<KnownDaemon>, place: &DaemonPlace, runs: bool) -> Vec<KnownDaemon> {
    let judged = daemons.into_iter().map(|daemon| match daemon.is_at(place) {
        true => KnownDaemon { alive: Some(runs), ..daemon },
        false => daemon,
    });
    judged.collect()
}

/// Whether a daemon lives that is not the one of this configuration.
fn runs_elsewhere(daemons: &[KnownDaemon], place: &DaemonPlace) -> bool {
    daemons.iter().any(|daemon| daemon.alive == Some(true) && !daemon.is_at(place))
}
