//! The running simulator. It has its own runtime, so a test may block its thread or pause tokio's clock and still get
//! answers.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{ConnectInfo, State};
use axum::response::Response;
use axum::{Extension, Router};
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};

use crate::batch;
use crate::clock::DateHeader;
use crate::control;
use crate::fault::{Fault, Faults, Outcome};
use crate::graph;
use crate::journal::{Call, Journal};
use crate::large::{Large, LargeTenant};
use crate::reply::{Exchange, GraphError, Reply};
use crate::request::Request;
use crate::sequence::Sequence;
use crate::tenant::Tenant;
use crate::tls::TlsFront;
use crate::token::{self, Roles, Tokens};
use crate::wire::{ResetHandle, Wire};

const LARGEST_BODY: usize = 8 * 1024 * 1024;

const ANY_PORT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// A simulator that serves until it is dropped.
#[derive(Debug)]
pub struct GraphSim {
    shared: Arc<Shared>,
    address: SocketAddr,
    authority: Option<String>,
    runtime: Option<Runtime>,
}

/// The state shared by all requests. No lock is held across an await.
#[derive(Debug)]
pub(crate) struct Shared {
    scheme: &'static str,
    tenant: Mutex<Tenant>,
    tokens: Mutex<Tokens>,
    faults: Mutex<Faults>,
    journal: Mutex<Journal>,
    request_ids: Mutex<Sequence>,
    page_epoch: AtomicU64,
    date: Mutex<DateHeader>,
    large: Option<Large>,
}

impl GraphSim {
    /// Serves a tenant on a free port of 127.0.0.1.
    ///
    /// # Panics
    ///
    /// When no port is free.
    pub async fn start(tenant: Tenant) -> Self {
        Self::start_on(tenant, ANY_PORT).unwrap_or_else(|error| panic!("the simulator cannot listen: {error}"))
    }

    /// Serves a tenant over https on a free port of 127.0.0.1. The certificate covers that address and `localhost`; a
    /// new authority issues it, see `ca_pem`.
    ///
    /// # Panics
    ///
    /// When no port is free or no certificate can be created.
    pub async fn start_tls(tenant: Tenant) -> Self {
        let front = TlsFront::new().unwrap_or_else(|error| panic!("cannot create a certificate: {error}"));
        let sim = Self::begin(tenant, ANY_PORT, Some(front), None);
        sim.unwrap_or_else(|error| panic!("the simulator cannot listen: {error}"))
    }

    /// Serves a tenant on a given address.
    ///
    /// # Errors
    ///
    /// When the address is not a loopback address or cannot be bound.
    pub fn start_on(tenant: Tenant, address: SocketAddr) -> io::Result<Self> {
        Self::begin(tenant, address, None, None)
    }

    /// Serves a large tenant on a free port of 127.0.0.1.
    ///
    /// # Errors
    ///
    /// When no port is free.
    pub fn start_large(size: LargeTenant) -> io::Result<Self> {
        Self::begin(Tenant::default(), ANY_PORT, None, Some(size))
    }

    fn begin(
        mut tenant: Tenant,
        address: SocketAddr,
        front: Option<TlsFront>,
        large: Option<LargeTenant>,
    ) -> io::Result<Self> {
        if !address.ip().is_loopback() {
            let message = "the simulator is not secured and serves loopback addresses only";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
        }
        let listener = std::net::TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let runtime = Builder::new_multi_thread().worker_threads(2).thread_name("graph-sim").enable_all().build()?;
        let (authority, acceptor) = front.map(|TlsFront { authority, acceptor }| (authority, acceptor)).unzip();
        let large = large.map(|size| Large::new(size, &mut tenant, format!("http://{address}")));
        let shared = Arc::new(Shared {
            scheme: if acceptor.is_some() { "https" } else { "http" },
            tenant: Mutex::new(tenant),
            tokens: Mutex::default(),
            faults: Mutex::default(),
            journal: Mutex::default(),
            request_ids: Mutex::new(Sequence::new(0x7265_7175_6573_7473)),
            page_epoch: AtomicU64::new(1),
            date: Mutex::default(),
            large,
        });
        let mut wire = {
            let _guard = runtime.enter();
            Wire::new(TcpListener::from_std(listener)?, acceptor)
        };
        let router: Router = control::router().fallback(serve).with_state(Arc::clone(&shared));
        runtime.spawn(async move {
            // Serving ends only with the runtime.
            loop {
                let connection = wire.accept().await;
                let service = router.clone().layer(Extension(ConnectInfo(connection.reset_handle())));
                // Not `axum::serve`, which adds a `Date` to every answer.
                let served = http1::Builder::new()
                    .auto_date_header(false)
                    .serve_connection(TokioIo::new(connection), TowerToHyperService::new(service));
                tokio::spawn(served);
            }
        });
        Ok(Self { shared, address, authority, runtime: Some(runtime) })
    }

    /// The origin of both the token endpoint and the Graph root, for instance `http://127.0.0.1:40123`.
    pub fn url(&self) -> String {
        format!("{}://{}", self.shared.scheme, self.address)
    }

    /// The certificate (PEM) of the authority that a client must trust; `None` without https.
    pub fn ca_pem(&self) -> Option<&str> {
        self.authority.as_deref()
    }

    /// Reads or changes the tenant while it is served.
    pub fn tenant<R>(&self, change: impl FnOnce(&mut Tenant) -> R) -> R {
        change(&mut self.shared.tenant())
    }

    /// The calls so far, in order of arrival. The parts of a `$batch` follow it.
    pub fn journal(&self) -> Vec<Call> {
        lock(&self.shared.journal).calls().to_vec()
    }

    /// The calls that the simulator does not support.
    pub fn unexpected_calls(&self) -> Vec<Call> {
        lock(&self.shared.journal).calls().iter().filter(|call| !call.expected).cloned().collect()
    }

    /// The number of HTTP requests so far; a `$batch` is one.
    pub fn requests(&self) -> u64 {
        let ordinary = self.journal().iter().filter(|call| !call.in_batch).count() as u64;
        ordinary + self.shared.large.as_ref().map_or(0, Large::answered)
    }

    /// Changes an attribute of every `step`-th user of a large tenant, and returns how many these are.
    pub fn change_users(&self, step: usize) -> usize {
        self.shared.large.as_ref().map_or(0, |large| large.change(step))
    }

    /// Unassigns every `step`-th user of a large tenant, and returns how many these are.
    pub fn unassign_users(&self, step: usize) -> usize {
        self.shared.large.as_ref().map_or(0, |large| large.unassign(step))
    }

    /// Forgets the calls so far.
    pub fn clear_journal(&self) {
        lock(&self.shared.journal).clear();
    }

    /// Activates a fault.
    pub fn inject(&self, fault: Fault) {
        self.shared.faults().inject(fault);
    }

    /// Removes all faults. Calls that wait at a gate keep waiting for its release.
    pub fn clear_faults(&self) {
        self.shared.faults().clear();
    }

    /// Sets the `Date` of the answers from now on.
    pub fn set_date(&self, date: DateHeader) {
        *lock(&self.shared.date) = date;
    }

    /// Revokes every token issued so far: calls with one are answered 401.
    pub fn revoke_tokens(&self) {
        self.shared.revoke_tokens();
    }

    /// Makes every next-page link issued so far answer `Directory_ExpiredPageToken`.
    pub fn expire_page_tokens(&self) {
        self.shared.page_epoch.fetch_add(1, Ordering::SeqCst);
    }
}

impl Drop for GraphSim {
    fn drop(&mut self) {
        // A test may drop the simulator inside a runtime, where blocking is not allowed.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Shared {
    pub(crate) fn tenant(&self) -> MutexGuard<'_, Tenant> {
        lock(&self.tenant)
    }

    pub(crate) fn faults(&self) -> MutexGuard<'_, Faults> {
        lock(&self.faults)
    }

    pub(crate) fn journal(&self) -> MutexGuard<'_, Journal> {
        lock(&self.journal)
    }

    /// Revokes every token issued so far.
    pub(crate) fn revoke_tokens(&self) {
        lock(&self.tokens).revoke_all();
    }

    pub(crate) fn date(&self) -> MutexGuard<'_, DateHeader> {
        lock(&self.date)
    }

    fn exchange(&self, request: &Request) -> Exchange {
        Exchange::new(request, lock(&self.request_ids).guid())
    }

    /// Answers a request without faults; the flag is true when the caller was authorized.
    fn answer(&self, request: &Request, exchange: &Exchange, batch: Option<&Roles>) -> (Reply, bool) {
        let segments: Vec<&str> = request.segments.iter().map(String::as_str).collect();
        if let [_, "oauth2", "v2.0", "token"] = segments.as_slice() {
            let reply = match request.method.as_str() {
                "POST" => lock(&self.tokens).issue(&self.tenant(), request, exchange),
                _ => GraphError::wrong_method().reply(exchange),
            };
            let authorized = reply.status == 200;
            return (reply, authorized);
        }
        if token::is_identity_request(request) {
            let reply = match request.method.as_str() {
                "GET" => lock(&self.tokens).issue_to_identity(&self.tenant(), request, exchange),
                _ => GraphError::wrong_method().reply(exchange),
            };
            let authorized = reply.status == 200;
            return (reply, authorized);
        }
        if segments.first() != Some(&"v1.0") {
            let unknown = GraphError::unknown_segment(segments.first().unwrap_or(&""));
            return (unknown.reply(exchange), false);
        }
        let roles = match batch {
            Some(roles) => roles.clone(),
            None => match lock(&self.tokens).check(request) {
                Ok(roles) => roles,
                Err(error) => return (error.reply(exchange), false),
            },
        };
        let tenant = self.tenant();
        let page_epoch = self.page_epoch.load(Ordering::SeqCst);
        let context = graph::Context { tenant: &tenant, roles: &roles, request, page_epoch };
        (graph::answer(&context).unwrap_or_else(|error| error.reply(exchange)), true)
    }
}

/// Ignores poisoning: the test that panicked reports its own failure.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Answers a request, or a part of a `$batch` with the permissions of the batch's token.
pub(crate) async fn respond(shared: &Shared, request: &Request, batch: Option<&Roles>) -> Outcome {
    let exchange = shared.exchange(request);
    let number = shared.journal().enter(Call::of(request, exchange.request_id.clone(), batch.is_some()));
    let effects = shared.faults().effects_on(request, batch.is_some());
    for gate in &effects.gates {
        gate.hold().await;
    }
    let is_batch = request.segments.len() == 2 && request.segments[0] == "v1.0" && request.segments[1] == "$batch";
    let (outcome, authorized) = match effects.replacement(request, &exchange) {
        Some(outcome) => (outcome, false),
        None if is_batch && batch.is_none() => {
            let roles = lock(&shared.tokens).check(request);
            match roles {
                // Boxed because `batch::respond` calls this function for each part.
                Ok(roles) => (Box::pin(batch::respond(shared, request, &exchange, &roles, &effects)).await, true),
                Err(error) => (Outcome::Reply(error.reply(&exchange)), false),
            }
        }
        None => {
            let (reply, authorized) = shared.answer(&effects.tenant_request(request), &exchange, batch);
            (Outcome::Reply(effects.edit(reply, request, &exchange)), authorized)
        }
    };
    match outcome {
        Outcome::Reset => {
            shared.journal().finish(number, 0, authorized, true);
            Outcome::Reset
        }
        Outcome::Reply(reply) => {
            shared.journal().finish(number, reply.status, authorized, reply.expected);
            let from_graph = request.segments.first().is_some_and(|segment| segment == "v1.0");
            let reply =
                Reply { delivery: effects.delivery.or(reply.delivery), date: effects.date.or(reply.date), ..reply };
            Outcome::Reply(if from_graph { exchange.stamp(reply) } else { reply })
        }
    }
}

async fn serve(
    State(shared): State<Arc<Shared>>,
    ConnectInfo(reset_handle): ConnectInfo<ResetHandle>,
    request: axum::extract::Request,
) -> Response {
    let (parts, mut body) = request.into_parts();
    if let Some(large) = &shared.large {
        large.delay().await;
        let mut content = Bytes::new();
        if Large::reads_body(&parts.method, &parts.uri) {
            content = to_bytes(body, LARGEST_BODY).await.unwrap_or_default();
            body = Body::from(content.clone());
        }
        let request_id = lock(&shared.request_ids).guid();
        if let Some(response) = large.answer(&parts.method, &parts.uri, &content, &request_id) {
            return response;
        }
    }
    // A body that is cut off or too large counts as empty, and its parameters as missing.
    let body = to_bytes(body, LARGEST_BODY).await.unwrap_or_default().to_vec();
    let headers = parts.headers.iter();
    let headers = headers
        .map(|(name, value)| (name.as_str().to_owned(), String::from_utf8_lossy(value.as_bytes()).into_owned()))
        .collect::<std::collections::BTreeMap<_, _>>();
    let host = headers.get("host").cloned().unwrap_or_default();
    let target = parts.uri.path_and_query().map_or("/", |target| target.as_str());
    let request = Request::new(parts.method.as_str(), target, headers, body, format!("{}://{host}", shared.scheme));
    match respond(&shared, &request, None).await {
        Outcome::Reply(mut reply) => {
            let date = reply.date.take().unwrap_or_else(|| shared.date().clone());
            // A fault may have given the headers itself.
            let own = reply.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("date"));
            reply.headers.extend(date.headers().into_iter().filter(|_| !own));
            into_response(reply, reset_handle)
        }
        Outcome::Reset => {
            reset_handle.reset();
            Response::new(Body::empty())
        }
    }
}

fn into_response(reply: Reply, reset_handle: ResetHandle) -> Response {
    let Reply { status, headers, content_type, body, expected: _, delivery, date: _ } = reply;
    let mut response = Response::builder().status(status).header("Content-Type", content_type);
    for (name, value) in headers {
        response = response.header(name, value);
    }
    let (body, length) = match delivery {
        Some(delivery) => delivery.body(body, reset_handle),
        None => (Body::from(body), None),
    };
    if let Some(length) = length {
        response = response.header("Content-Length", length);
    }
    // Only a fault can give a header or status that HTTP does not allow.
    response.body(body).unwrap_or_else(|error| {
        let mut response = Response::new(Body::from(format!("cannot send the answer of the fault: {error}")));
        *response.status_mut() = axum::http::StatusCode::INTERNAL_SERVER_ERROR;
        response
    })
}
