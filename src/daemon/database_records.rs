//! Details that the daemon writes into the learner database outside of cycles.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::json;
use tokio::time::Instant;

use super::presence::sign_in;
use super::{DATABASE_TIMEOUT, Daemon};
use crate::model::chain;
use crate::runtime::{App, configured_source, daemon_place};
use crate::store::{Access, Store, StoreError};

/// A detail that the daemon writes into the learner database outside of cycles.
#[derive(Clone, Debug)]
pub(super) enum DaemonRecord {
    /// When the next cycle is due, and whether the last one failed.
    NextCycle { wait: Duration, has_failed: bool },
    /// The configuration was reloaded, or rejected for this reason.
    Reload { rejected: Option<String>, at: Timestamp },
    /// A signal requested a cycle.
    Signal { full: bool, at: Timestamp },
    /// The daemon stops.
    Stopped,
}

/// How long the last record may take, for which nothing waits.
const TIMEOUT_AT_STOP: Duration = Duration::from_secs(10);

/// The learner database does not take a record; the journal says why.
#[derive(Debug)]
pub(super) struct NotRecorded;

impl Daemon {
    /// Writes a detail into the learner database, in a task of its own; a failure is only logged.
    pub(super) async fn record(&self, record: DaemonRecord) {
        // The failure is logged.
        let _ = self.try_record(record).await;
    }

    /// Like [`Self::record`]. Returns the time of the next cycle, if this daemon has planned it.
    pub(super) async fn try_record(&self, record: DaemonRecord) -> Result<Option<Timestamp>, NotRecorded> {
        let what = match record {
            DaemonRecord::NextCycle { .. } => "the time of the next cycle",
            DaemonRecord::Reload { .. } => "the reload",
            DaemonRecord::Signal { .. } => "the signal",
            DaemonRecord::Stopped => "that the daemon stops",
        };
        let is_repeated = matches!(record, DaemonRecord::NextCycle { .. });
        let timeout = if matches!(record, DaemonRecord::Stopped) { TIMEOUT_AT_STOP } else { DATABASE_TIMEOUT };
        let mut written = tokio::spawn(write(Arc::clone(&self.app), record, self.presence.started()));
        match tokio::time::timeout(timeout, &mut written).await {
            Ok(Ok(Ok(planned))) => return Ok(planned),
            Ok(Ok(Err(error))) => tracing::warn!("cannot record {what}: {}", chain(&error)),
            Ok(Err(_)) => tracing::warn!("cannot record {what}: the task panicked"),
            Err(_) => {
                tracing::warn!("cannot record {what}: the learner database is locked or does not answer");
                // Otherwise it may be written later than the repetition.
                if is_repeated {
                    written.abort();
                }
            }
        }
        Err(NotRecorded)
    }
}

pub(super) async fn write(
    app: Arc<App>,
    record: DaemonRecord,
    started: Instant,
) -> Result<Option<Timestamp>, StoreError> {
    let store = Store::open(&app.learners, Access::ReadWrite).await?;
    let mut planned = None;
    match record {
        DaemonRecord::NextCycle { wait, has_failed } => {
            let source = configured_source(&app.config, &store.state().await?);
            planned = store.plan_next_cycle(&source, &daemon_place(&app.config), wait, has_failed).await?;
            sign_in(&app, &store, started).await?;
        }
        // The sender of a signal is unknown.
        DaemonRecord::Reload { rejected, at } => {
            let detail = match rejected {
                None => json!({ "outcome": "applied" }),
                Some(error) => json!({ "outcome": "rejected", "error": error }),
            };
            store.audit("SIGHUP", "reload", Some(&detail.to_string()), at).await?;
        }
        DaemonRecord::Signal { full, at } => {
            let actor = if full { "SIGUSR2" } else { "SIGUSR1" };
            let detail = json!({ "full": full }).to_string();
            store.audit(actor, "signal", Some(&detail), at).await?;
        }
        DaemonRecord::Stopped => {
            let (place, state) = (daemon_place(&app.config), store.state().await?);
            store.remove_daemon(&place).await?;
            store.withdraw_next_cycle(&configured_source(&app.config, &state), &place).await?;
        }
    }
    store.close().await?;
    Ok(planned)
}
