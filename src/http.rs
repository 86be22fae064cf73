//! Metrics, health and the status page over HTTP. It only reads.
//!
//! A [`Listener`] binds an address, and tries again while that fails. `serve` limits connections, `access` admits requests,
//! `routes` answers them, `metrics` has the counters, and `page` the status page.

mod access;
mod bind;
mod metrics;
mod page;
mod routes;
mod serve;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;

use self::access::AccessRules;
use self::bind::Bound;
pub use self::bind::ListenError;
pub use self::metrics::Metrics;
use crate::config::HttpConfig;
use crate::files::SecretSource;
use crate::model::{Clock, chain};
use crate::runtime::App;
use crate::runtime::status::StatusRecord;

/// The wait before an address is tried again.
const RETRY: Duration = Duration::from_secs(5);

/// The sources of the answers.
#[derive(Clone, Debug)]
pub struct Observed {
    /// The counters.
    pub metrics: Arc<Metrics>,
    /// The state of the daemon.
    pub record: watch::Receiver<StatusRecord>,
    /// The configuration in force.
    pub app: watch::Receiver<Arc<App>>,
    /// The present time.
    pub clock: Clock,
}

/// Whether the listener listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListenerState {
    /// The address has not been tried yet.
    Starting,
    /// It listens.
    Listening,
    /// The address cannot be used, for this reason; it is tried again.
    Failed(String),
}

/// A listener that runs in a task of its own.
#[derive(Debug)]
pub struct Listener {
    task: JoinHandle<()>,
    state: watch::Receiver<ListenerState>,
}

impl Listener {
    /// Starts listening. Requests need the token in `token`, if there is one.
    pub fn start(config: &HttpConfig, token: Option<SecretSource>, observed: Observed) -> Self {
        let (sender, state) = watch::channel(ListenerState::Starting);
        let task = tokio::spawn(listen(config.clone(), token, observed, sender));
        Self { task, state }
    }

    /// Waits until the address was tried once.
    pub async fn tried(&self) {
        // A copy, so that `changed` still returns this state. The task, which has the sender, never ends by itself.
        let _ = self.state.clone().wait_for(|state| *state != ListenerState::Starting).await;
    }

    /// The next state. Dropping the future loses nothing.
    pub async fn changed(&mut self) -> ListenerState {
        if self.state.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
        self.state.borrow_and_update().clone()
    }

    /// Stops listening, closes all connections and removes the socket file.
    pub async fn stop(self) {
        self.task.abort();
        // Aborted, or ended by a panic: it has released everything.
        let _ = self.task.await;
    }
}

async fn listen(
    config: HttpConfig,
    token: Option<SecretSource>,
    observed: Observed,
    state: watch::Sender<ListenerState>,
) {
    let access = Arc::new(AccessRules::new(&config.listen, token));
    let routes = routes::routes(access, observed, config.page);
    let mut last_failure = None;
    let bound = loop {
        match Bound::bind(&config.listen).await {
            Ok(bound) => break bound,
            Err(error) => {
                let failure = format!("cannot listen on {}: {}", config.listen, chain(&error));
                if last_failure.as_ref() != Some(&failure) {
                    tracing::error!("{failure}; trying again every {} seconds", RETRY.as_secs());
                    state.send_replace(ListenerState::Failed(failure.clone()));
                    last_failure = Some(failure);
                }
                tokio::time::sleep(RETRY).await;
            }
        }
    };
    tracing::info!("listening for HTTP on {bound}");
    state.send_replace(ListenerState::Listening);
    serve::serve(&bound, routes).await;
}
