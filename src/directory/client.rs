//! Requests to Graph: bearer token, retries, pages, batches, and errors with their context.
//!
//! [`Throttle`](super::throttle::Throttle) limits how many requests run at once.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures_util::TryStreamExt as _;
use futures_util::stream::FuturesOrdered;
use reqwest::{StatusCode, Url};
use secrecy::ExposeSecret;
use serde::de::DeserializeOwned;

use super::error::{GraphError, answered, invalid_json, malformed};
use super::throttle::Throttle;
use super::wire::{BatchAnswer, BatchPart, Page};
use crate::auth::{Authenticator, Http};
use crate::model::{Clock, foreign_text};
use crate::retry::{Attempt, RetryBudget, RetryWaits, at_least_min_wait, retry_after};

/// Page limit: ten times what `MAX_ROWS` needs.
const MAX_PAGES: usize = 10_000;
/// 999 rows with every property selected have a few megabytes.
const MAX_BODY: usize = 64 << 20;
/// A tenant holds 300,000 objects unless Microsoft raises that; a million rows take some 700 MB.
const MAX_ROWS: usize = 1_000_000;
/// The rest of a longer error body is ignored.
const MAX_ERROR_BODY: usize = 64 << 10;
/// How often one list is restarted after its page token expired.
const MAX_RESTARTS: usize = 5;
/// The most parts of a `$batch`.
pub(super) const BATCH: usize = 20;

#[derive(Debug)]
pub(super) struct GraphClient {
    http: Http,
    pub(super) authenticator: Authenticator,
    root: Url,
    clock: Clock,
    throttle: Throttle,
    /// The number of requests sent so far; a `$batch` counts as one.
    pub(super) requests: AtomicU64,
}

/// An answer with status 200, to a single request or to a part of a `$batch`.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) body: Vec<u8>,
    /// Graph's id of the request, for a support case; a part has the id of its `$batch`.
    pub(super) request_id: String,
}

/// The result of one part of a `$batch`.
pub(super) type BatchReply = Result<Reply, GraphError>;

impl GraphClient {
    pub(super) fn new(http: Http, authenticator: Authenticator, root: Url, at_once: usize, clock: Clock) -> Self {
        let throttle = Throttle::new(at_once.max(1));
        Self { http, authenticator, root, clock, throttle, requests: AtomicU64::new(0) }
    }

    /// The `Date` header of Graph's answer to a request without a token.
    pub(super) async fn server_date(&self) -> Result<Option<String>, reqwest::Error> {
        let answer = self.http.client.get(self.root.clone()).send().await?;
        Ok(answer.headers().get("date").and_then(|date| date.to_str().ok()).map(str::to_owned))
    }

    /// The URL of `path` below `/v1.0`.
    fn url(&self, path: &str) -> Result<Url, GraphError> {
        self.root.join(&format!("/v1.0{path}")).map_err(|error| malformed(path, error.to_string()))
    }

    /// GETs `path` and decodes the JSON.
    pub(super) async fn get<T: DeserializeOwned>(&self, what: &str, path: &str) -> Result<T, GraphError> {
        decode(what, &self.get_bytes(what, path).await?.body)
    }

    /// GETs `path`.
    pub(super) async fn get_bytes(&self, what: &str, path: &str) -> Result<Reply, GraphError> {
        self.send(what, self.url(path)?, None).await
    }

    /// Reads a list to its end. `parse` decodes a page, and `on_event` receives each page. When
    /// the page token expires, the list is restarted with another [`ListEvent::Start`].
    /// <https://learn.microsoft.com/graph/paging>
    pub(super) async fn list<P>(
        &self,
        what: &str,
        path: &str,
        parse: impl Fn(&[u8]) -> Result<Page<P>, serde_json::Error>,
        mut on_event: impl FnMut(ListEvent<'_, P>),
    ) -> Result<(), GraphError> {
        let endless = |detail| GraphError::Endless { what: what.to_owned(), detail };
        let mut restarts = 0;
        'list: loop {
            on_event(ListEvent::Start);
            let mut url = self.url(path)?;
            let mut links = BTreeSet::new();
            let mut rows = 0;
            loop {
                let Reply { body, request_id } = match self.send(what, url.clone(), None).await {
                    Err(error) if error.is_expired_page_token() && restarts < MAX_RESTARTS => {
                        restarts += 1;
                        tracing::warn!(list = what, restarts, "the page token expired; restarting the list");
                        continue 'list;
                    }
                    result => result?,
                };
                let Page { rows: page, next } = parse(&body).map_err(|error| invalid_json(what, &error))?;
                rows += page.len();
                if rows > MAX_ROWS {
                    return Err(endless(format!("more than {MAX_ROWS} rows")));
                }
                on_event(ListEvent::Page(page, &request_id));
                let Some(next) = next else { return Ok(()) };
                url = self.next_page_url(what, &next)?;
                if !links.insert(next) {
                    return Err(endless("repeated nextLink".to_owned()));
                }
                if links.len() >= MAX_PAGES {
                    return Err(endless(format!("more than {MAX_PAGES} pages")));
                }
            }
        }
    }

    /// Reads a whole list of rows that serde can decode.
    pub(super) async fn collect<T: DeserializeOwned>(&self, what: &str, path: &str) -> Result<Vec<T>, GraphError> {
        let mut rows = Vec::new();
        self.list(
            what,
            path,
            |body| serde_json::from_slice(body),
            |event| match event {
                ListEvent::Start => rows.clear(),
                ListEvent::Page(page, _) => rows.extend(page),
            },
        )
        .await?;
        Ok(rows)
    }

    /// The URL of a nextLink, which must stay on the configured origin.
    fn next_page_url(&self, what: &str, link: &str) -> Result<Url, GraphError> {
        let url = self.root.join(link).map_err(|error| malformed(what, format!("nextLink: {error}")))?;
        if url.origin() != self.root.origin() {
            return Err(GraphError::ForeignOrigin {
                what: what.to_owned(),
                origin: url.origin().ascii_serialization(),
            });
        }
        Ok(url)
    }

    /// GETs all `paths` in `$batch` requests of 20 parts and returns the results in the order of the paths. Throttled
    /// parts are retried; any other failure of a part is its result.
    /// <https://learn.microsoft.com/graph/json-batching>
    pub(super) async fn batch(&self, what: &str, paths: &[String]) -> Result<Vec<BatchReply>, GraphError> {
        let batches: FuturesOrdered<_> = paths.chunks(BATCH).map(|chunk| self.one_batch(what, chunk)).collect();
        let answers: Vec<Vec<BatchReply>> = batches.try_collect().await?;
        Ok(answers.into_iter().flatten().collect())
    }

    /// GETs up to 20 paths in one `$batch`, and retries the parts that may be retried.
    async fn one_batch(&self, what: &str, chunk: &[String]) -> Result<Vec<BatchReply>, GraphError> {
        let mut answers: Vec<Option<BatchReply>> = chunk.iter().map(|_| None).collect();
        let mut waits = RetryWaits::new(self.http.request_deadline);
        let mut open: BTreeSet<usize> = (0..chunk.len()).collect();
        while !open.is_empty() {
            let (parts, retry) = self.batch_once(what, chunk, &open).await?;
            for (index, answer) in parts {
                open.remove(&index);
                answers[index] = Some(answer);
            }
            if let Some(BatchRetry { asked, budget, error }) = retry {
                let Some(wait) = waits.next_wait(asked, budget) else { return Err(error) };
                tracing::warn!(request = what, parts = open.len(), "throttled inside $batch; retrying");
                if asked.is_some() {
                    self.throttle.pause_for(wait.min(self.http.request_deadline));
                }
                tokio::time::sleep(wait).await;
            } else if let Some(missing) = open.first() {
                let missing = &chunk[*missing];
                let detail =
                    format!("{} of {} parts of the batch have no answer, {missing} first", open.len(), chunk.len());
                return Err(malformed(what, detail));
            }
        }
        Ok(answers.into_iter().flatten().collect())
    }

    /// Sends one `$batch`. Returns the final results and, when parts must be retried, how.
    async fn batch_once(
        &self,
        what: &str,
        chunk: &[String],
        open: &BTreeSet<usize>,
    ) -> Result<(Vec<(usize, BatchReply)>, Option<BatchRetry>), GraphError> {
        let requests: Vec<serde_json::Value> = open
            .iter()
            .map(|index| serde_json::json!({"id": index.to_string(), "method": "GET", "url": chunk[*index]}))
            .collect();
        let body = serde_json::json!({ "requests": requests });
        let Reply { body, request_id } = self.send(what, self.url("/$batch")?, Some(&body)).await?;
        let answer: BatchAnswer = decode(what, &body)?;
        let mut results = Vec::new();
        let mut retry: Option<BatchRetry> = None;
        let mut unanswered = open.clone();
        for part in answer.responses {
            let index = part.id.parse().ok().filter(|index| unanswered.remove(index));
            let index = index.ok_or_else(|| malformed(what, "an answer to an unknown part"))?;
            let BatchPart { id: _, status, headers, body } = part;
            let body = body.map(|body| body.get().as_bytes().to_vec()).unwrap_or_default();
            if let Some(budget) = RetryBudget::for_status(status) {
                let asked = headers
                    .iter()
                    .find(|(name, _)| name.eq_ignore_ascii_case("retry-after"))
                    .and_then(|(_, value)| value.as_str().map(str::to_owned).or_else(|| Some(value.to_string())))
                    .and_then(|value| retry_after(&value, (self.clock)()));
                let error = answered(what, status, &body, &request_id);
                // The parts are retried together, with the longest wait and the smallest budget.
                let (asked, budget) = match &retry {
                    Some(other) if other.budget.limit() < budget.limit() => (asked.max(other.asked), other.budget),
                    Some(other) => (asked.max(other.asked), budget),
                    None => (asked, budget),
                };
                retry = Some(BatchRetry { asked, budget, error });
            } else {
                let answer = if status == 200 {
                    Ok(Reply { body, request_id: request_id.clone() })
                } else {
                    Err(answered(what, status, &body, &request_id))
                };
                results.push((index, answer));
            }
        }
        Ok((results, retry))
    }

    /// Sends one request, with retries, and renews a refused token once.
    async fn send(&self, what: &str, url: Url, json: Option<&serde_json::Value>) -> Result<Reply, GraphError> {
        let (mut renewed, mut waits) = (false, RetryWaits::new(self.http.request_deadline));
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
                let attempt = self.attempt(what, request).await;
                waits.add_attempt(begun.elapsed());
                attempt
            };
            let refused = matches!(&attempt, Attempt::Done(Err(GraphError::Answered { status: 401, .. })));
            if refused && !std::mem::replace(&mut renewed, true) {
                self.authenticator.discard(&token).await;
            } else if let Some(result) = waits.finish_or_wait(what, attempt).await {
                return result;
            }
        }
    }

    async fn attempt(&self, what: &str, request: reqwest::RequestBuilder) -> Attempt<Reply, GraphError> {
        let transport = |source: reqwest::Error| Attempt::Retry {
            budget: if source.is_connect() { RetryBudget::Short } else { RetryBudget::Full },
            error: GraphError::Transport { what: what.to_owned(), source: source.without_url() },
            after: None,
        };
        let mut answer = match request.send().await {
            Ok(answer) => answer,
            Err(source) => return transport(source),
        };
        let status = answer.status();
        let header = |name: &str| answer.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
        let request_id = header("request-id").map_or_else(|| "none".to_owned(), |id| foreign_text(&id));
        let asked = header("retry-after").and_then(|value| retry_after(&value, (self.clock)()));
        if status.is_redirection() {
            let origin = header("location")
                .and_then(|location| self.root.join(&location).ok())
                .map_or_else(|| "an unknown one".to_owned(), |url| url.origin().ascii_serialization());
            return Attempt::Done(Err(GraphError::ForeignOrigin { what: what.to_owned(), origin }));
        }
        let mut body = Vec::new();
        loop {
            match answer.chunk().await {
                Ok(Some(chunk)) if status != StatusCode::OK && body.len() + chunk.len() > MAX_ERROR_BODY => break,
                Ok(Some(chunk)) if body.len() + chunk.len() > MAX_BODY => {
                    let detail = format!("the answer is larger than {} MiB", MAX_BODY >> 20);
                    return Attempt::Done(Err(malformed(what, detail)));
                }
                Ok(Some(chunk)) => body.extend_from_slice(&chunk),
                Ok(None) => break,
                Err(source) => return transport(source),
            }
        }
        if status == StatusCode::OK {
            self.throttle.record_success();
            return Attempt::Done(Ok(Reply { body, request_id }));
        }
        let budget = RetryBudget::for_status(status.as_u16());
        if let Some(asked) = asked.filter(|_| budget.is_some()) {
            // Without this limit, a long Retry-After would delay the next cycle as well.
            self.throttle.pause_for(at_least_min_wait(asked).min(self.http.request_deadline));
        } else if status == StatusCode::TOO_MANY_REQUESTS {
            self.throttle.pause_for(at_least_min_wait(Duration::ZERO));
        }
        let error = answered(what, status.as_u16(), &body, &request_id);
        match budget {
            Some(budget) => Attempt::Retry { error, after: asked, budget },
            None => Attempt::Done(Err(error)),
        }
    }
}

/// How the open parts of a `$batch` are retried.
struct BatchRetry {
    /// The longest `Retry-After`.
    asked: Option<Duration>,
    budget: RetryBudget,
    /// The error to report when no wait is left.
    error: GraphError,
}

/// The progress of a list.
pub(super) enum ListEvent<'r, P> {
    /// The list starts or restarts; earlier pages are void.
    Start,
    /// The rows of the next page, and Graph's request id.
    Page(Vec<P>, &'r str),
}

fn decode<T: DeserializeOwned>(what: &str, body: &[u8]) -> Result<T, GraphError> {
    serde_json::from_slice(body).map_err(|error| invalid_json(what, &error))
}
