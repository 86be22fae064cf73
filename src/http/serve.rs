//! Connections: few at a time, each for one request and a short time.

use std::collections::VecDeque;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::{Extension, Router};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::Instant;

use super::bind::{Bound, Connection};

/// The most connections at a time. A new one closes the oldest, so that idle connections keep nobody out.
const MAX_CONNECTIONS: usize = 64;
/// How long a client may take to send the head of its request.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a connection lasts: the request and the answer, which a slow client does not read.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(15);
/// How long a download may take, however steadily its client reads.
const DOWNLOAD_TIMEOUT: Duration = Duration::from_mins(10);
/// The longest head of a request.
const MAX_HEAD: usize = 16 << 10;
/// The most headers of a request.
const MAX_HEADERS: usize = 64;
/// The wait after a connection cannot be accepted, for instance for lack of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_secs(1);

/// When a connection ends. A download postpones it whenever its client has read another part.
#[derive(Clone, Debug)]
pub(super) struct ConnectionDeadline {
    begun: Instant,
    end: Arc<watch::Sender<Instant>>,
}

impl ConnectionDeadline {
    fn new() -> Self {
        let begun = Instant::now();
        Self { begun, end: Arc::new(watch::Sender::new(begun + CONNECTION_TIMEOUT)) }
    }

    /// The client goes on reading.
    pub(super) fn postpone(&self) {
        self.end.send_replace((Instant::now() + CONNECTION_TIMEOUT).min(self.begun + DOWNLOAD_TIMEOUT));
    }

    /// Resolves at the end.
    async fn passed(&self) {
        loop {
            let end = *self.end.borrow();
            if end <= Instant::now() {
                return;
            }
            tokio::time::sleep_until(end).await;
        }
    }
}

/// Accepts connections for ever. Dropping the future closes them.
pub(super) async fn serve(bound: &Bound, routes: Router) {
    let mut connections = JoinSet::new();
    let mut open: VecDeque<AbortHandle> = VecDeque::new();
    let mut is_failing = false;
    loop {
        let accepted = tokio::select! {
            accepted = bound.accept() => accepted,
            // Releases the connections that have ended.
            Some(_) = connections.join_next() => continue,
        };
        match accepted {
            Ok(connection) => {
                is_failing = false;
                open.retain(|connection| !connection.is_finished());
                if connections.len() >= MAX_CONNECTIONS {
                    if open.len() >= MAX_CONNECTIONS
                        && let Some(oldest) = open.pop_front()
                    {
                        oldest.abort();
                    }
                    // Its descriptor is free only when it has ended.
                    connections.join_next().await;
                }
                open.push_back(connections.spawn(answer(connection, routes.clone())));
            }
            Err(error) if is_of_the_client(&error) => {}
            Err(error) => {
                if !std::mem::replace(&mut is_failing, true) {
                    tracing::warn!("cannot accept HTTP connections: {error}");
                }
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Whether the client closed the connection before it was accepted.
fn is_of_the_client(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

async fn answer(connection: Box<dyn Connection>, routes: Router) {
    let mut server = http1::Builder::new();
    server.timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT).keep_alive(false);
    server.max_buf_size(MAX_HEAD).max_headers(MAX_HEADERS);
    let deadline = ConnectionDeadline::new();
    let routes = TowerToHyperService::new(routes.layer(Extension(deadline.clone())));
    let served = pin!(server.serve_connection(TokioIo::new(connection), routes));
    tokio::select! {
        served = served => {
            if let Err(error) = served {
                tracing::debug!("an HTTP connection failed: {error}");
            }
        }
        () = deadline.passed() => tracing::debug!("an HTTP connection took too long"),
    }
}
