//! The HTTP listener of the daemon: started, replaced by a reload, and stopped.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::config::HttpConfig;
use crate::files::SecretSource;
use crate::http::{Listener, ListenerState, Metrics, Observed};
use crate::runtime::App;
use crate::runtime::status::StatusRecord;

/// How long the start waits for the first attempt, so that a monitoring system finds the listener of a started daemon.
const FIRST_ATTEMPT: Duration = Duration::from_secs(2);

/// The listener, if one is configured, and what it shows.
pub(super) struct HttpListener {
    observed: Observed,
    app: watch::Sender<Arc<App>>,
    running: Option<(HttpConfig, Listener)>,
}

impl HttpListener {
    pub(super) fn new(metrics: Metrics, record: watch::Receiver<StatusRecord>, app: &Arc<App>) -> Self {
        let (sender, receiver) = watch::channel(Arc::clone(app));
        let observed = Observed { metrics: Arc::new(metrics), record, app: receiver, clock: app.clock };
        Self { observed, app: sender, running: None }
    }

    pub(super) fn metrics(&self) -> &Metrics {
        &self.observed.metrics
    }

    /// Listens as configured. A listener with the same section goes on, and shows the new configuration.
    pub(super) async fn configure(&mut self, app: &Arc<App>, token: Option<SecretSource>) {
        self.app.send_replace(Arc::clone(app));
        let config = app.config.http.as_ref();
        if self.running.as_ref().map(|(config, _)| config) == config {
            return;
        }
        self.stop().await;
        self.running = config.map(|config| (config.clone(), Listener::start(config, token, self.observed.clone())));
    }

    /// Waits until the address was tried, but not for long.
    pub(super) async fn tried(&self) {
        if let Some((_, listener)) = &self.running {
            // It goes on trying.
            let _ = tokio::time::timeout(FIRST_ATTEMPT, listener.tried()).await;
        }
    }

    /// Why it does not listen, when that changes. Dropping the future loses nothing.
    pub(super) async fn changed(&mut self) -> Option<String> {
        match &mut self.running {
            Some((_, listener)) => match listener.changed().await {
                ListenerState::Failed(reason) => Some(reason),
                ListenerState::Starting | ListenerState::Listening => None,
            },
            None => std::future::pending().await,
        }
    }

    pub(super) async fn stop(&mut self) {
        if let Some((_, listener)) = self.running.take() {
            listener.stop().await;
        }
    }
}
