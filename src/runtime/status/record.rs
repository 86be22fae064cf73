//! The file in which the daemon records its state, for `status` when the learner database or the configuration cannot be
//! read. It holds no secrets, and names no people unless a mapping does.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Situation, StatusSummary};
use crate::config::RecordedSettings;
use crate::failpoint::{Step, reached};
use crate::files::{self, MAX_DOCUMENT, directory_of};
use crate::model::{DaemonFacts, Finding, LockHolder, StateReport};
use crate::runtime::lock::{Lock, is_running};

/// A file of another version is not read.
const VERSION: u32 = 1;
/// The directory that the unit creates.
const RUNTIME_DIRECTORY: &str = "/run/learner-sync";

/// A finding in the file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordedFinding {
    /// Since when.
    pub since: Option<Timestamp>,
    /// Why.
    pub reason: String,
}

impl RecordedFinding {
    /// A finding that begins now.
    pub fn new(since: Timestamp, reason: impl Into<String>) -> Self {
        Self { since: Some(since), reason: reason.into() }
    }

    fn found(&self) -> Finding {
        Finding::new(self.since, self.reason.clone())
    }
}

/// The record of a daemon.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatusRecord {
    /// The version of the format.
    pub version: u32,
    /// The configuration file.
    pub config: PathBuf,
    /// The lock file that the daemon holds while it runs.
    pub lock: PathBuf,
    /// The process.
    pub pid: u32,
    /// The version of the program.
    pub program: String,
    /// The settings with which commands reach the learner database while the configuration file cannot be used.
    #[serde(default)]
    pub settings: Option<RecordedSettings>,
    /// The file or the server of the learners.
    pub database: String,
    /// When the daemon started.
    pub started_at: Timestamp,
    /// When the file was written.
    pub written_at: Timestamp,
    /// When the daemon stopped in order.
    pub stopped_at: Option<Timestamp>,
    /// When the present configuration was loaded.
    pub loaded_at: Timestamp,
    /// Why the last reload was rejected.
    pub rejected: Option<RecordedFinding>,
    /// Why the learner database or the disk is unusable.
    pub trouble: Option<RecordedFinding>,
    /// Why the last cycle failed, if the learner database may not show it.
    pub failure: Option<RecordedFinding>,
    /// Why the last requested cycle could not begin, and when that was found.
    #[serde(default)]
    pub not_begun: Option<RecordedFinding>,
    /// Why nothing listens on `http.listen`.
    #[serde(default)]
    pub http: Option<RecordedFinding>,
    /// Whether a cycle is running.
    pub is_cycle_running: bool,
    /// How far it is, for people.
    #[serde(default)]
    pub progress: Option<String>,
    /// When the next cycle is due.
    pub next_cycle_at: Option<Timestamp>,
    /// Whether another daemon runs the cycles.
    #[serde(default)]
    pub is_standby: bool,
    /// The longest wait between two cycles, in seconds.
    pub max_interval: u64,
    /// Whether the configuration lets cycles run.
    pub enabled: bool,
    /// The state, for other readers.
    pub state: String,
    /// Since when.
    pub since: Option<Timestamp>,
    /// Why.
    pub reason: String,
    /// The numbers of the learner database.
    pub summary: Option<StatusSummary>,
}

impl StatusRecord {
    /// The version of the format that this program writes.
    pub const VERSION: u32 = VERSION;

    /// Whether `holder` of the daemon's lock wrote it.
    pub fn is_of(&self, holder: &LockHolder) -> bool {
        self.stopped_at.is_none() && holder.pid == Some(self.pid)
    }

    /// The daemon that wrote it, while it runs.
    pub fn holder(&self) -> Option<LockHolder> {
        // The process tells nearly as much.
        if files::is_silent(&self.lock) {
            let holder = LockHolder { pid: Some(self.pid), command: "learner-sync run".to_owned() };
            return Some(holder).filter(|holder| self.is_of(holder) && is_running(holder));
        }
        Lock::holder_blocking(&self.lock).filter(|holder| self.is_of(holder))
    }

    /// The situation, when the daemon `runs` or has ended.
    pub fn situation(&self, runs: bool) -> Situation {
        let found = |finding: &Option<RecordedFinding>| finding.as_ref().map(RecordedFinding::found);
        Situation {
            max_interval: Duration::from_secs(self.max_interval),
            enabled: self.enabled,
            summary: self.summary.clone(),
            daemon: DaemonFacts {
                runs,
                runs_elsewhere: false,
                seen_at: Some(self.written_at),
                stopped_at: self.stopped_at,
            },
            is_cycle_running: self.is_cycle_running && runs,
            trouble: found(&self.trouble),
            failure: found(&self.failure),
            // An ended daemon loads the file as it is when it starts again.
            rejected: found(&self.rejected).filter(|_| runs),
        }
    }

    /// Sets the state for other readers.
    pub fn set_state(&mut self, report: &StateReport) {
        let StateReport { state, since, reason } = report;
        (self.state, self.since, self.reason) = (state.as_str().to_owned(), *since, reason.clone());
    }
}

/// Where the record of a configuration can be, the best place first.
#[derive(Clone, Debug)]
pub struct RecordPlaces {
    /// The places that the next boot empties.
    runtime: Vec<PathBuf>,
    state: Option<PathBuf>,
}

impl RecordPlaces {
    /// The places for the configuration file `config`.
    pub fn new(config: &Path, state_directory: Option<&Path>, environment: &BTreeMap<String, String>) -> Self {
        let given = environment.get("RUNTIME_DIRECTORY");
        let given = given.and_then(|list| list.split(':').next()).filter(|path| !path.is_empty()).map(PathBuf::from);
        let runtime = PathBuf::from(RUNTIME_DIRECTORY);
        let name = record_name(config);
        Self {
            runtime: given.into_iter().chain([runtime]).map(|directory| directory.join(&name)).collect(),
            state: state_directory.map(|directory| directory.join(&name)),
        }
    }

    /// Writes the record as a whole to the first place that takes it.
    ///
    /// # Errors
    /// Why the last place does not take it.
    pub fn write(&self, record: &StatusRecord) -> io::Result<()> {
        let content = serde_json::to_vec_pretty(record)?;
        let mut written = Err(io::Error::from(io::ErrorKind::NotFound));
        for path in self.runtime.iter().chain(&self.state).filter(|path| directory_of(path).is_some_and(Path::is_dir)) {
            written = files::replace_own(path, &content);
            if written.is_ok() {
                break;
            }
        }
        written
    }

    /// The latest record; `None` when there is none that can be read.
    pub fn read(&self) -> Option<StatusRecord> {
        reached(Step::StateReading);
        latest(self.runtime.iter().chain(&self.state))
    }

    /// The latest record outside the state directory, whose disk may not answer.
    pub(crate) fn read_runtime(&self) -> Option<StatusRecord> {
        latest(&self.runtime)
    }
}

fn latest<'p>(places: impl IntoIterator<Item = &'p PathBuf>) -> Option<StatusRecord> {
    let read = |path: &PathBuf| {
        let text = files::read_text(path, MAX_DOCUMENT).ok()?;
        let record: StatusRecord = serde_json::from_str(&text).ok()?;
        (record.version == VERSION).then_some(record)
    };
    places.into_iter().filter_map(read).max_by_key(|record| record.written_at)
}

/// A name for each configuration file: several tenants may share a directory.
fn record_name(config: &Path) -> String {
    let absolute = std::path::absolute(config).unwrap_or_else(|_| config.to_owned());
    // The file itself may be a link that changes, or be missing.
    let directory = directory_of(&absolute).and_then(|directory| directory.canonicalize().ok());
    let path = directory.zip(absolute.file_name()).map_or(absolute.clone(), |(directory, name)| directory.join(name));
    let hash = blake3::hash(path.as_os_str().as_encoded_bytes()).to_hex();
    format!("status-{}.json", &hash[..16])
}
