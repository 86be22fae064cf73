//! Notices a changed credential file, which ends the long wait after refusals by Entra.

use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;

use crate::config::EntraConfig;
use crate::runtime::App;

/// How often the files are read.
const INTERVAL: Duration = Duration::from_secs(5);

/// The path of each file that exists, with the facts that change when it is written or replaced.
pub(super) type FileStates = BTreeSet<(PathBuf, u64, u64, i64, i64)>;

/// The credential files as the last cycle found them.
pub(super) struct CredentialWatch {
    known: FileStates,
    interval: tokio::time::Interval,
    /// A disk may not answer, so that a task reads them.
    reading: Option<JoinHandle<FileStates>>,
}

impl CredentialWatch {
    pub(super) fn new() -> Self {
        let mut interval = tokio::time::interval(INTERVAL);
        interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self { known: FileStates::new(), interval, reading: None }
    }

    /// A cycle has read the files in these states, or in later ones.
    pub(super) fn read(&mut self, states: FileStates) {
        self.known = states;
        self.reading = None;
    }

    /// Resolves when a file has changed since it was read. Dropping the future loses nothing.
    pub(super) async fn changed(&mut self, app: &Arc<App>) {
        loop {
            let read = match &mut self.reading {
                Some(reading) => reading.await,
                None => {
                    self.interval.tick().await;
                    let app = Arc::clone(app);
                    self.reading = Some(tokio::task::spawn_blocking(move || file_states(&app.config.entra)));
                    continue;
                }
            };
            self.reading = None;
            if let Ok(found) = read
                && found != self.known
            {
                self.known = found;
                return;
            }
        }
    }
}

/// The present states of the files that a sign-in reads. Copies that systemd made change only at a restart.
pub(super) fn file_states(config: &EntraConfig) -> FileStates {
    let states = config.credential_files().filter_map(|path| {
        let found = path.metadata().ok()?;
        Some((path.to_owned(), found.ino(), found.len(), found.mtime(), found.mtime_nsec()))
    });
    states.collect()
}
