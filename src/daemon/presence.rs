//! Signs of life in the learner database, for other daemons of the source and for `status` on other machines.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::model::chain;
use crate::runtime::{App, configured_source, is_shared, registration, take_over_after};
use crate::store::{Access, Store, StoreError};

/// How long a sign of life may take; then the next one is tried.
const TIMEOUT: Duration = Duration::from_secs(10);
/// How many signs of life fit into the time after which a daemon counts as dead.
const SIGNS: u32 = 3;

/// Gives signs of life while the daemon runs, in tasks of their own because a server may not answer.
pub(super) struct Presence {
    started: Instant,
    due: Instant,
    task: Option<JoinHandle<Option<bool>>>,
}

impl Presence {
    pub(super) fn new() -> Self {
        Self { started: Instant::now(), due: Instant::now(), task: None }
    }

    /// When the daemon started.
    pub(super) fn started(&self) -> Instant {
        self.started
    }

    /// Resolves after each sign of life: whether another daemon runs the cycles. A file has one daemon for each source,
    /// whose lock shows that it lives. Dropping the future loses nothing.
    pub(super) async fn given(&mut self, app: &Arc<App>) -> bool {
        if !is_shared(&app.config) {
            std::future::pending::<()>().await;
        }
        loop {
            let Some(task) = &mut self.task else {
                tokio::time::sleep_until(self.due).await;
                self.due = Instant::now() + take_over_after(&app.config.schedule) / SIGNS;
                self.task = Some(tokio::spawn(sign(Arc::clone(app), self.started)));
                continue;
            };
            let given = task.await;
            self.task = None;
            if let Ok(Some(is_standby)) = given {
                return is_standby;
            }
        }
    }

    /// No sign follows that would be the last one.
    pub(super) async fn stop(&mut self) {
        if let Some(task) = self.task.take() {
            task.abort();
            // Aborted, or ended.
            let _ = task.await;
        }
    }
}

/// Gives one sign of life; `None` when the learner database does not take it, which cycles report.
async fn sign(app: Arc<App>, started: Instant) -> Option<bool> {
    let given = async {
        let store = Store::open(&app.learners, Access::ReadWrite).await?;
        let is_standby = sign_in(&app, &store, started).await?;
        match store.release_abandoned_lock().await {
            Ok(ended) => ended.iter().for_each(|(host, pid)| {
                tracing::warn!(
                    predecessor.host = host,
                    predecessor.pid = pid,
                    "ended the database session of a daemon that is not seen any more, because it kept the cycle lock"
                );
            }),
            Err(error) => tracing::debug!("cannot end the session of a silent daemon: {}", chain(&error)),
        }
        store.close().await?;
        Ok::<_, StoreError>(is_standby)
    };
    match tokio::time::timeout(TIMEOUT, given).await {
        Ok(Ok(is_standby)) => Some(is_standby),
        Ok(Err(error)) => {
            tracing::debug!("cannot record that this daemon is alive: {}", chain(&error));
            None
        }
        Err(_) => {
            tracing::debug!("cannot record that this daemon is alive: the learner database does not answer");
            None
        }
    }
}

/// Records in `store` that this daemon is alive. Returns whether another one runs the cycles.
pub(super) async fn sign_in(app: &App, store: &Store, started: Instant) -> Result<bool, StoreError> {
    let source = configured_source(&app.config, &store.state().await?);
    let registration = registration(app, started.elapsed());
    store.record_daemon(&source, &registration).await?;
    store.is_standby(&source, &registration.place).await
}
