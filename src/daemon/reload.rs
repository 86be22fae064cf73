//! SIGHUP: reads the configuration again. An unusable configuration is logged and changes nothing.

use std::sync::Arc;

use super::{DATABASE_TIMEOUT, Daemon, DaemonError, systemd};
use crate::config;
use crate::model::chain;
use crate::runtime::preflight::{Preflight, PreflightError};
use crate::runtime::{App, AppError, Paths};
use crate::store::{Access, DatabaseState, Store};

/// A reload goes on without the learner database: it is checked again when it is back.
const UNCHECKED: &str = "cannot check the configuration against the learner database right now";

impl Daemon {
    pub(super) async fn reload(&mut self) -> Result<(), DaemonError> {
        systemd::notify_reloading();
        let loaded = match self.load_app() {
            Ok(app) => self.admit(&app).await.map(|()| app),
            Err(error) => Err(error.into()),
        };
        match loaded {
            Ok(app) => {
                for warning in &app.config.warnings {
                    tracing::warn!("{warning}");
                }
                // Frequent reloads must not postpone the next cycle for ever.
                let same_schedule = app.config.schedule == self.app.config.schedule;
                self.app = Arc::new(app);
                tracing::info!("configuration reloaded");
                // The sender of a signal is unknown.
                let at = (self.app.clock)();
                self.record("the reload", async |store| store.audit("SIGHUP", "reload", None, at).await).await;
                if self.running.is_none() {
                    self.schedule_next(self.next_cycle_at.filter(|_| same_schedule)).await?;
                }
            }
            Err(error) => {
                let hint = if let DaemonError::Preflight(error) = &error { error.hint() } else { None };
                let hint = hint.map(|hint| format!("; {hint}")).unwrap_or_default();
                tracing::error!("configuration not reloaded, the old one stays: {}{hint}", chain(&error));
            }
        }
        systemd::notify_ready();
        Ok(())
    }

    /// Loads the configuration; the keys that need a restart keep their old values.
    fn load_app(&self) -> Result<App, AppError> {
        let old = &self.app.config;
        let mut new = config::load(&old.path, &self.environment)?;
        let needing_restart = config::changed_keys_needing_restart(old, &new);
        if !needing_restart.is_empty() {
            tracing::warn!("these keys take effect after a restart: {}", needing_restart.join(", "));
        }
        new.learners.database = old.learners.database.clone();
        new.learners.password_file = old.learners.password_file.clone();
        new.state = old.state.clone();
        new.log = old.log.clone();
        App::new(new, &self.environment, self.app.clock)
    }

    /// Refuses a configuration that a start would refuse, and one whose application another daemon provisions.
    async fn admit(&mut self, new: &App) -> Result<(), DaemonError> {
        let file = Paths::new(&new.config).database;
        let is_missing = || file.as_ref().is_some_and(|path| path.try_exists().is_ok_and(|exists| !exists));
        let state = match tokio::time::timeout(DATABASE_TIMEOUT, inspect_database_state(new)).await {
            Ok(Ok(state)) => Some(state),
            // While its disk is not mounted, the file does not exist; that is not a mistake in the configuration.
            Ok(Err(error)) if error.is_misconfiguration() && !is_missing() => return Err(error.into()),
            Ok(Err(error)) => {
                tracing::warn!("{UNCHECKED}: {}", chain(&error));
                None
            }
            Err(_) => {
                tracing::warn!("{UNCHECKED}: it is locked or does not answer");
                None
            }
        };
        let (new, old) = (&new.config, &self.app.config);
        if (&new.entra.tenant_id, new.app.enterprise_app) == (&old.entra.tenant_id, old.app.enterprise_app) {
            return Ok(());
        }
        match state {
            Some(state) => self.source_locks.lock_sources(new, &state),
            // A server has no source locks.
            None if file.is_none() => Ok(()),
            None => Err(DaemonError::SourceUnknown),
        }
    }
}

/// Inspects what a start would inspect, and writes nothing.
async fn inspect_database_state(new: &App) -> Result<DatabaseState, PreflightError> {
    Preflight::inspect(&new.config, &new.learners).await?;
    let store = Store::open(&new.learners, Access::ReadOnly).await?;
    let state = store.state().await?;
    store.close().await?;
    Ok(state)
}
