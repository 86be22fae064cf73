//! SIGHUP: reads the configuration again. An unusable configuration is logged and changes nothing.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinError;

use super::turns::AfterCycle;
use super::{DATABASE_TIMEOUT, Daemon, DaemonError, DaemonRecord, systemd};
use crate::config;
use crate::files::SecretSource;
use crate::model::{Trigger, chain};
use crate::runtime::locked_cycle::CycleClaim;
use crate::runtime::preflight::{Preflight, PreflightError};
use crate::runtime::status::with_hint;
use crate::runtime::{App, AppError, Paths};
use crate::store::{Access, DatabaseState, Store};

/// A disk or a network file system that does not answer must not keep later reloads waiting.
const FILE_TIMEOUT: Duration = Duration::from_secs(30);
/// A reload goes on without the learner database: it is checked again when it is back.
const UNCHECKED: &str = "cannot check the configuration against the learner database right now";

/// The result of a reload.
pub(super) struct Reloaded {
    app: App,
    http_token: Option<SecretSource>,
    /// `None` when the learner database is unavailable.
    state: Option<DatabaseState>,
}

impl Daemon {
    /// Starts a reload, or lets another one follow the present one, which may have read the older file.
    pub(super) fn request_reload(&mut self) {
        if self.reloading.is_some() {
            self.reload_again = true;
            return;
        }
        systemd::notify_reloading();
        self.reloading = Some(tokio::spawn(read(Arc::clone(&self.app), self.environment.clone())));
    }

    pub(super) async fn finish_reload(
        &mut self,
        reloaded: Result<Result<Reloaded, DaemonError>, JoinError>,
    ) -> Result<(), DaemonError> {
        let admitted = match reloaded {
            Ok(Ok(reloaded)) => self.admit(reloaded).await,
            Ok(Err(error)) => Err(error),
            Err(_) => Err(DaemonError::ReloadPanicked),
        };
        match admitted {
            Ok((app, http_token)) => {
                for warning in &app.config.warnings {
                    tracing::warn!("{warning}");
                }
                // Frequent reloads must not postpone the next cycle for ever.
                let same_schedule = app.config.schedule == self.app.config.schedule;
                // An administrator who has fixed the sign-in wants to see the result.
                let other_sign_in =
                    (&app.config.entra, &app.config.app) != (&self.app.config.entra, &self.app.config.app);
                let cycle_follows = other_sign_in || self.credential_failed;
                self.app = Arc::new(app);
                tracing::info!("configuration reloaded");
                self.notifications.configured(&self.app);
                self.status_reporter.reloaded(&self.app.config);
                self.listener.configure(&self.app, http_token).await;
                if self.app.config.http.is_none() {
                    self.status_reporter.listener_changed(None);
                }
                self.record(DaemonRecord::Reload { rejected: None, at: (self.app.clock)() }).await;
                // The application may be another one.
                self.request_observation();
                if cycle_follows && !self.status_reporter.is_paused() {
                    tracing::info!("a cycle follows the reload at once");
                    self.request_cycle(Trigger::Signal, false, CycleClaim::Always);
                } else if self.running.is_none() && self.is_standby {
                    self.ask_turn();
                } else if self.running.is_none() && same_schedule && self.timer.is_armed() {
                    self.keep_schedule();
                } else if self.running.is_none() {
                    self.schedule_next(AfterCycle::Plan { has_failed: false }).await?;
                }
            }
            Err(error) => {
                let error = match &error {
                    DaemonError::Preflight(error) => with_hint(error),
                    error => chain(error),
                };
                tracing::error!("configuration not reloaded, the old one stays: {error}");
                self.status_reporter.reload_rejected(error.clone());
                self.record(DaemonRecord::Reload { rejected: Some(error), at: (self.app.clock)() }).await;
            }
        }
        systemd::notify_ready();
        if std::mem::take(&mut self.reload_again) {
            self.request_reload();
        }
        Ok(())
    }

    /// Refuses a configuration whose application another daemon provisions.
    async fn admit(
        &mut self,
        Reloaded { app, http_token, state }: Reloaded,
    ) -> Result<(App, Option<SecretSource>), DaemonError> {
        let (new, old) = (&app.config, &self.app.config);
        if (&new.entra.tenant_id, new.app.enterprise_app) != (&old.entra.tenant_id, old.app.enterprise_app) {
            match state {
                Some(state) => self.source_locks.lock_sources(new, &state).await?,
                // A server has no source locks.
                None if Paths::new(new).database.is_none() => {}
                None => return Err(DaemonError::SourceUnknown),
            }
        }
        Ok((app, http_token))
    }
}

/// Reads the new configuration, and refuses what a start would refuse.
async fn read(old: Arc<App>, environment: BTreeMap<String, String>) -> Result<Reloaded, DaemonError> {
    let loaded = tokio::task::spawn_blocking(move || load_app(&old, &environment));
    let (app, http_token) = match tokio::time::timeout(FILE_TIMEOUT, loaded).await {
        Ok(loaded) => loaded.map_err(|_| DaemonError::ReloadPanicked)??,
        Err(_) => return Err(DaemonError::ReloadTimedOut),
    };
    let file = Paths::new(&app.config).database;
    let is_missing = || file.as_ref().is_some_and(|path| path.try_exists().is_ok_and(|exists| !exists));
    let state = match tokio::time::timeout(DATABASE_TIMEOUT, inspect_database_state(&app)).await {
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
    Ok(Reloaded { app, http_token, state })
}

/// Loads the configuration; the keys that need a restart keep their old values.
fn load_app(old: &App, environment: &BTreeMap<String, String>) -> Result<(App, Option<SecretSource>), AppError> {
    let mut new = config::load(&old.config.path, environment)?;
    let needing_restart = config::changed_keys_needing_restart(&old.config, &new);
    if !needing_restart.is_empty() {
        tracing::warn!("these keys take effect after a restart: {}", needing_restart.join(", "));
    }
    new.learners.database = old.config.learners.database.clone();
    new.learners.password_file = old.config.learners.password_file.clone();
    new.state = old.config.state.clone();
    new.log = old.config.log.clone();
    let http_token = new.http_token()?;
    let mut app = App::new(new, environment, old.clock)?;
    app.directory.continue_counting(Arc::clone(old.directory.traffic()));
    Ok((app, http_token))
}

/// Inspects what a start would inspect, and writes nothing.
async fn inspect_database_state(new: &App) -> Result<DatabaseState, PreflightError> {
    Preflight::inspect(&new.config, &new.learners).await?;
    let store = Store::open(&new.learners, Access::ReadOnly).await?;
    let state = store.state().await?;
    store.close().await?;
    Ok(state)
}
