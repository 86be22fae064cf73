//! A receiver of webhooks.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, Request, Response};
use tokio::runtime::Runtime;

/// A request that arrived.
#[derive(Clone, Debug)]
pub(crate) struct Received {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: Bytes,
}

impl Received {
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

#[derive(Default)]
struct Shared {
    requests: Vec<Received>,
    answers: VecDeque<u16>,
}

/// A server that keeps every request, and answers 200 by default.
pub(crate) struct Receiver {
    address: std::net::SocketAddr,
    shared: Arc<Mutex<Shared>>,
    /// Of its own, so that it answers while a test waits for a command. `None` when dropped.
    runtime: Option<Runtime>,
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.runtime.take().unwrap().shutdown_background();
    }
}

impl Receiver {
    pub(crate) fn start() -> Self {
        let shared = Arc::new(Mutex::new(Shared::default()));
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let state = Arc::clone(&shared);
        let routes = Router::new().fallback(move |request: Request<Body>| answer(Arc::clone(&state), request));
        runtime.spawn(async move {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            axum::serve(listener, routes).await.unwrap();
        });
        Self { address, shared, runtime: Some(runtime) }
    }

    /// The address, with a token in its path.
    pub(crate) fn url(&self) -> String {
        format!("http://{}/hooks/TOKEN-a1b2c3?sig=SIGNATURE-d4e5", self.address)
    }

    /// The next answers.
    pub(crate) fn answer(&self, statuses: impl IntoIterator<Item = u16>) {
        self.shared.lock().unwrap().answers.extend(statuses);
    }

    pub(crate) fn requests(&self) -> Vec<Received> {
        self.shared.lock().unwrap().requests.clone()
    }

    pub(crate) fn clear(&self) {
        self.shared.lock().unwrap().requests.clear();
    }

    /// The event of each request.
    pub(crate) fn events(&self) -> Vec<String> {
        self.requests().iter().map(|request| request.json()["event"].as_str().unwrap().to_owned()).collect()
    }
}

async fn answer(shared: Arc<Mutex<Shared>>, request: Request<Body>) -> Response<Body> {
    let (parts, body) = request.into_parts();
    let body = axum::body::to_bytes(body, 1 << 20).await.unwrap();
    let text = |headers: &HeaderMap| {
        headers.iter().map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned())).collect()
    };
    let received = Received {
        method: parts.method.to_string(),
        path: parts.uri.path().to_owned(),
        headers: text(&parts.headers),
        body,
    };
    let status = {
        let mut shared = shared.lock().unwrap();
        shared.requests.push(received);
        shared.answers.pop_front().unwrap_or(200)
    };
    Response::builder().status(status).header("location", "/elsewhere").body(Body::empty()).unwrap()
}
