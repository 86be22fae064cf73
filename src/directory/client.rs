//! Requests to Graph: bearer token, retries, pages, and errors with their context.
//!
//! [`Throttle`](super::throttle::Throttle) limits how many requests run at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use reqwest::{StatusCode, Url};
use secrecy::ExposeSecret;
use serde::de::DeserializeOwned;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::batch::batch_budget;
use super::dates::{Dates, parse_date};
use super::error::{GraphError, answered, malformed};
use super::throttle::Throttle;
use super::traffic::GraphTraffic;
use super::wire;
use super::work::Workers;
use crate::auth::{Authenticator, Http};
use crate::model::{Clock, RequestId, foreign_text};
use crate::progress::Progress;
use crate::retry::{Attempt, RetryBudget, RetryWaits, at_least_min_wait, retry_after};

/// 999 rows with every property selected have a few megabytes.
const MAX_BODY: usize = 64 << 20;
/// How many bodies are in memory at most. Requests may wait for Graph in larger numbers.
const BODIES_AT_ONCE: usize = 16;
/// The rest of a longer error body is ignored.
const MAX_ERROR_BODY: usize = 64 << 10;

#[derive(Debug)]
pub(super) struct GraphClient {
    pub(super) http: Http,
    pub(super) authenticator: Authenticator,
    pub(super) root: Url,
    pub(super) clock: Clock,
    pub(super) throttle: Throttle,
    pub(super) dates: Dates,
    pub(super) progress: Arc<Progress>,
    pub(super) workers: Workers,
    bodies: Arc<Semaphore>,
    /// The number of requests sent so far; a `$batch` counts as one.
    pub(super) requests: AtomicU64,
    pub(super) traffic: Arc<GraphTraffic>,
}

/// The answer to a request, with status 200.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) body: Vec<u8>,
    /// Graph's id of the request, for a support case.
    pub(super) request_id: RequestId,
    /// The place of the body among [`BODIES_AT_ONCE`].
    pub(super) place: Option<OwnedSemaphorePermit>,
}

impl Answer {
    pub(super) fn into_text(self) -> Reply {
        let Self { body, request_id, place: _ } = self;
        Reply { body: wire::body_text(body), request_id }
    }
}

/// An answer with status 200, to a single request or to a part of a `$batch`.
#[derive(Debug)]
pub(super) struct Reply {
    /// Without a byte order mark.
    pub(super) body: String,
    /// Graph's id of the request, for a support case; a part has the id of its `$batch`.
    pub(super) request_id: RequestId,
}

impl GraphClient {
    pub(super) fn new(http: Http, authenticator: Authenticator, root: Url, at_once: usize, clock: Clock) -> Self {
        let throttle = Throttle::new(at_once.max(1));
        let (dates, workers, requests) = (Dates::new(), Workers::new(), AtomicU64::new(0));
        let bodies = Arc::new(Semaphore::new(BODIES_AT_ONCE));
        let (traffic, progress) = (Arc::default(), Arc::default());
        Self { http, authenticator, root, clock, throttle, dates, progress, workers, bodies, requests, traffic }
    }

    /// The `Date` of Graph's answer to a request without a token.
    pub(super) async fn server_date(&self) -> Result<Option<Timestamp>, reqwest::Error> {
        let answer = self.http.client.get(self.root.clone()).send().await?;
        Ok(parse_date(answer.headers()).ok())
    }

    /// The URL of `path` below `/v1.0`.
    pub(super) fn url(&self, path: &str) -> Result<Url, GraphError> {
        self.root.join(&format!("/v1.0{path}")).map_err(|error| malformed(path, error.to_string()))
    }

    /// GETs `path` and decodes the JSON.
    pub(super) async fn get<T: DeserializeOwned>(&self, what: &str, path: &str) -> Result<T, GraphError> {
        decode(what, &self.get_text(what, path).await?.body)
    }

    /// GETs `path`.
    pub(super) async fn get_text(&self, what: &str, path: &str) -> Result<Reply, GraphError> {
        Ok(self.get_url(what, self.url(path)?).await?.into_text())
    }

    pub(super) async fn get_url(&self, what: &str, url: Url) -> Result<Answer, GraphError> {
        self.send(what, url, None, &mut RetryWaits::new(self.http.request_deadline)).await
    }

    /// Sends one request, with retries, and renews a refused token once.
    pub(super) async fn send(
        &self,
        what: &str,
        url: Url,
        json: Option<&serde_json::Value>,
        waits: &mut RetryWaits,
    ) -> Result<Answer, GraphError> {
        let mut renewed = false;
        loop {
            let token = self.authenticator.token().await?;
            let request = match json {
                None => self.http.client.get(url.clone()),
                Some(json) => self.http.client.post(url.clone()).json(json),
            };
            let request = request
                .bearer_auth(token.expose_secret())
                .header("client-request-id", uuid::Uuid::from_u128(rand::random()).to_string());
            let attempt = {
                let _permit = self.throttle.acquire().await;
                self.requests.fetch_add(1, Ordering::Relaxed);
                let begun = Instant::now();
                let attempt = self.attempt(what, request, json.is_some()).await;
                waits.add_attempt(begun.elapsed());
                attempt
            };
            let refused = matches!(&attempt, Attempt::Done(Err(GraphError::Answered { status: 401, .. })));
            if refused && !std::mem::replace(&mut renewed, true) {
                self.authenticator.discard(&token).await;
            } else {
                if let Some(result) = waits.finish_or_wait(what, attempt).await {
                    return result;
                }
                self.traffic.add_retry();
            }
        }
    }

    /// Pauses all requests, because Graph asks for it.
    pub(super) fn pause_for(&self, wait: Duration) {
        self.traffic.add_pause(self.throttle.pause_for(wait));
        self.progress.throttle_for(wait);
    }

    async fn attempt(
        &self,
        what: &str,
        request: reqwest::RequestBuilder,
        is_batch: bool,
    ) -> Attempt<Answer, GraphError> {
        let transport = |source: reqwest::Error| Attempt::Retry {
            budget: if source.is_connect() { RetryBudget::Short } else { RetryBudget::Full },
            error: GraphError::Transport { what: what.to_owned(), source: source.without_url() },
            after: None,
        };
        let sent = Instant::now();
        let sent_request = request.send().await;
        self.traffic.add_request(sent_request.as_ref().ok().map(|answer| answer.status().as_u16()));
        let mut answer = match sent_request {
            Ok(answer) => answer,
            Err(source) => return transport(source),
        };
        let status = answer.status();
        if status.is_success() {
            self.dates.add(answer.headers(), sent);
        }
        let header = |name: &str| answer.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
        let request_id = header("request-id").map_or_else(RequestId::default, |id| RequestId::new(foreign_text(&id)));
        let asked = header("retry-after").and_then(|value| retry_after(&value, (self.clock)()));
        if let Some(location) = header("location").filter(|_| status.is_redirection()) {
            return Attempt::Done(Err(self.redirected(what, status.as_u16(), &location)));
        }
        // The semaphore is never closed.
        let place = Arc::clone(&self.bodies).acquire_owned().await.ok();
        let length = answer.content_length().and_then(|length| usize::try_from(length).ok()).unwrap_or_default();
        let mut body = Vec::with_capacity(length.min(MAX_BODY));
        loop {
            match answer.chunk().await {
                Ok(Some(chunk)) if status != StatusCode::OK && body.len() + chunk.len() > MAX_ERROR_BODY => break,
                Ok(Some(chunk)) if body.len() + chunk.len() > MAX_BODY => {
                    return Attempt::Done(Err(GraphError::TooLarge {
                        what: what.to_owned(),
                        limit_mib: MAX_BODY >> 20,
                        request_id,
                    }));
                }
                Ok(Some(chunk)) => body.extend_from_slice(&chunk),
                Ok(None) => break,
                Err(source) => return transport(source),
            }
        }
        if status == StatusCode::OK {
            self.throttle.record_success();
            return Attempt::Done(Ok(Answer { body, request_id, place }));
        }
        let body = wire::body_text(body);
        let status_code = status.as_u16();
        let budget = if is_batch { batch_budget(status_code) } else { RetryBudget::for_status(status_code) };
        if let Some(asked) = asked.filter(|_| budget.is_some()) {
            // Without this limit, a long Retry-After would delay the next cycle as well.
            self.pause_for(at_least_min_wait(asked).min(self.http.request_deadline));
        } else if status == StatusCode::TOO_MANY_REQUESTS {
            self.pause_for(at_least_min_wait(Duration::ZERO));
        }
        let error = answered(what, status_code, &body, &request_id);
        match budget {
            Some(budget) => Attempt::Retry { error, after: asked, budget },
            None => Attempt::Done(Err(error)),
        }
    }

    /// The error for a redirect, which is not followed: the token must not leave the configured origin.
    fn redirected(&self, what: &str, status: u16, location: &str) -> GraphError {
        let what = what.to_owned();
        match self.root.join(location) {
            Ok(url) if url.origin() == self.root.origin() => GraphError::Redirected { what, status },
            Ok(url) => GraphError::ForeignOrigin { what, origin: url.origin().ascii_serialization() },
            Err(_) => GraphError::ForeignOrigin { what, origin: "an unknown one".to_owned() },
        }
    }
}

pub(super) fn decode<T: DeserializeOwned>(what: &str, body: &str) -> Result<T, GraphError> {
    wire::object(body).map_err(|detail| malformed(what, detail))
}

/// `detail` with Graph's request id, for a support case.
pub(super) fn with_request_id(detail: &str, request_id: &RequestId) -> String {
    format!("{detail} (request-id {request_id})")
}
