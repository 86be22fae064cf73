//! Requests to Graph: the bearer token, retries, pages, batches, and errors that say what was asked.
//!
//! Many may be under way at once; [`Throttle`](super::throttle::Throttle) says how many, and when none.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures_util::TryStreamExt as _;
use futures_util::stream::FuturesOrdered;
use reqwest::{StatusCode, Url};
use secrecy::ExposeSecret;
use serde::de::DeserializeOwned;

use super::error::{GraphError, answered, malformed};
use super::throttle::Throttle;
use super::wire::{BatchAnswer, BatchPart, PlainPage};
use crate::auth::{Authenticator, Http, Validity};
use crate::model::Clock;
use crate::retry::{Attempt, BRIEF, PATIENT, Waits, at_least, patience, retry_after};

/// A list of more pages is no list: a tenth of these would hold the most rows there may be.
const MAX_PAGES: usize = 10_000;
/// 999 rows with every property selected are a few megabytes.
const MAX_BODY: usize = 64 << 20;
/// A tenant holds 300,000 objects unless Microsoft raises that; a million rows take some 700 MB.
const MAX_ROWS: usize = 1_000_000;
/// Of an error, no more is read.
const MAX_ERROR: usize = 64 << 10;
/// How often a list is begun again when its page token has expired.
const MAX_RESTARTS: usize = 5;
/// The most parts of a `$batch`.
pub(super) const BATCH: usize = 20;

/// A client for one Graph root.
#[derive(Debug)]
pub(super) struct Client {
    http: Http,
    authenticator: Authenticator,
    root: Url,
    clock: Clock,
    throttle: Throttle,
    requests: AtomicU64,
}

/// An answer with status 200, to a single call or to a part of a `$batch`.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) body: Vec<u8>,
    /// Graph's id of the call, for a support case; a part has that of its `$batch`.
    pub(super) request_id: String,
}

/// What became of one part of a `$batch`.
pub(super) type Answer = Result<Reply, GraphError>;

impl Client {
    pub(super) fn new(http: Http, authenticator: Authenticator, root: Url, at_once: usize, clock: Clock) -> Self {
        let throttle = Throttle::new(at_once.max(1));
        Self { http, authenticator, root, clock, throttle, requests: AtomicU64::new(0) }
    }

    /// How many requests went to Graph so far, each `$batch` as one.
    pub(super) fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    /// Signs in, unless a token is there.
    pub(super) async fn sign_in(&self) -> Result<(), GraphError> {
        self.authenticator.token().await?;
        Ok(())
    }

    /// What the token permits, as far as it tells.
    pub(super) async fn granted(&self) -> Result<Option<BTreeSet<String>>, GraphError> {
        Ok(self.authenticator.granted().await?)
    }

    /// How long the credential is good for, as far as it tells itself.
    pub(super) fn validity(&self) -> Validity {
        self.authenticator.validity()
    }

    /// Asks the origin of Graph for nothing, without a token: `Date`, when it answers at all.
    pub(super) async fn knock(&self) -> Result<Option<String>, reqwest::Error> {
        let answer = self.http.client.get(self.root.clone()).send().await?;
        Ok(answer.headers().get("date").and_then(|date| date.to_str().ok()).map(str::to_owned))
    }

    /// The URL of a path below `/v1.0`.
    fn url(&self, path: &str) -> Result<Url, GraphError> {
        self.root
            .join(&format!("/v1.0{path}"))
            .map_err(|error| GraphError::Malformed { what: path.to_owned(), detail: error.to_string() })
    }

    /// GET, decoded.
    pub(super) async fn get<T: DeserializeOwned>(&self, what: &str, path: &str) -> Result<T, GraphError> {
        decode(what, &self.get_bytes(what, path).await?.body)
    }

    /// GET, as it came.
    pub(super) async fn get_bytes(&self, what: &str, path: &str) -> Result<Reply, GraphError> {
        self.send(what, self.url(path)?, None).await
    }

    /// Follows a list to its end and hands each page, as `read` understood it, to `take`. A list whose page
    /// token expires on the way is begun again: `restart` is called, and `take` gets every page anew.
    pub(super) async fn list<P>(
        &self,
        what: &str,
        path: &str,
        read: impl Fn(&[u8]) -> Result<(Vec<P>, Option<String>), serde_json::Error>,
        mut take: impl FnMut(Step<'_, P>),
    ) -> Result<(), GraphError> {
        let endless = |detail| GraphError::Endless { what: what.to_owned(), detail };
        let mut restarts = 0;
        'list: loop {
            take(Step::Begin);
            let mut url = self.url(path)?;
            let mut seen = BTreeSet::new();
            let mut rows = 0;
            loop {
                let Reply { body, request_id } = match self.send(what, url.clone(), None).await {
                    Err(error) if error.is_expired_page_token() && restarts < MAX_RESTARTS => {
                        restarts += 1;
                        tracing::warn!(list = what, restarts, "page token expired; reading the list from its start");
                        continue 'list;
                    }
                    result => result?,
                };
                let (page, next) = read(&body).map_err(|error| malformed(what, &error))?;
                rows += page.len();
                if rows > MAX_ROWS {
                    return Err(endless(format!("more than {MAX_ROWS} rows")));
                }
                take(Step::Page(page, &request_id));
                let Some(next) = next else { return Ok(()) };
                url = self.pinned(what, &next)?;
                if !seen.insert(next) {
                    return Err(endless("a nextLink came twice".to_owned()));
                }
                if seen.len() >= MAX_PAGES {
                    return Err(endless(format!("more than {MAX_PAGES} pages")));
                }
            }
        }
    }

    /// A list of plain rows, whole.
    pub(super) async fn collect<T: DeserializeOwned>(&self, what: &str, path: &str) -> Result<Vec<T>, GraphError> {
        let mut rows = Vec::new();
        let read = |body: &[u8]| serde_json::from_slice::<PlainPage<T>>(body).map(|page| (page.value, page.next));
        self.list(what, path, read, |step| match step {
            Step::Begin => rows.clear(),
            Step::Page(page, _) => rows.extend(page),
        })
        .await?;
        Ok(rows)
    }

    /// A nextLink, when it stays on the configured origin.
    fn pinned(&self, what: &str, link: &str) -> Result<Url, GraphError> {
        let url = self
            .root
            .join(link)
            .map_err(|error| GraphError::Malformed { what: what.to_owned(), detail: format!("nextLink: {error}") })?;
        if url.origin() != self.root.origin() {
            return Err(GraphError::ForeignOrigin {
                what: what.to_owned(),
                origin: url.origin().ascii_serialization(),
            });
        }
        Ok(url)
    }

    /// GETs all `paths` in `$batch` calls of 20; answers stand in the order of the paths. Each part that Graph
    /// throttles is repeated by itself; what else goes wrong with a part is its answer.
    /// <https://learn.microsoft.com/graph/json-batching>
    pub(super) async fn batch(&self, what: &str, paths: &[String]) -> Result<Vec<Answer>, GraphError> {
        let batches: FuturesOrdered<_> = paths.chunks(BATCH).map(|chunk| self.one_batch(what, chunk)).collect();
        let answers: Vec<Vec<Answer>> = batches.try_collect().await?;
        Ok(answers.into_iter().flatten().collect())
    }

    /// GETs up to 20 paths in one `$batch`, and repeats it for the parts that are to be asked again.
    async fn one_batch(&self, what: &str, chunk: &[String]) -> Result<Vec<Answer>, GraphError> {
        let mut answers: Vec<Option<Answer>> = chunk.iter().map(|_| None).collect();
        let mut waits = Waits::new(self.http.request_deadline);
        let mut open: BTreeSet<usize> = (0..chunk.len()).collect();
        while !open.is_empty() {
            let (parts, pause) = self.batch_once(what, chunk, &open).await?;
            for (index, answer) in parts {
                open.remove(&index);
                answers[index] = Some(answer);
            }
            if let Some(Pause { asked, patience, error }) = pause {
                let Some(wait) = waits.next(asked, patience) else { return Err(error) };
                tracing::warn!(request = what, parts = open.len(), "throttled inside $batch; trying again");
                if asked.is_some() {
                    self.throttle.pause_for(wait.min(self.http.request_deadline));
                }
                tokio::time::sleep(wait).await;
            } else if let Some(missing) = open.first() {
                let missing = &chunk[*missing];
                let detail =
                    format!("{} of {} parts of the batch were not answered, {missing} first", open.len(), chunk.len());
                return Err(GraphError::Malformed { what: what.to_owned(), detail });
            }
        }
        // Every index was open until its answer came.
        Ok(answers.into_iter().flatten().collect())
    }

    /// One `$batch` call: the parts that are settled, and, when some are not, how long to wait.
    async fn batch_once(
        &self,
        what: &str,
        chunk: &[String],
        open: &BTreeSet<usize>,
    ) -> Result<(Vec<(usize, Answer)>, Option<Pause>), GraphError> {
        let requests: Vec<serde_json::Value> = open
            .iter()
            .map(|index| serde_json::json!({"id": index.to_string(), "method": "GET", "url": chunk[*index]}))
            .collect();
        let body = serde_json::json!({ "requests": requests });
        let Reply { body, request_id } = self.send(what, self.url("/$batch")?, Some(&body)).await?;
        let answer: BatchAnswer = decode(what, &body)?;
        let mut settled = Vec::new();
        let mut pause = None;
        let mut unanswered = open.clone();
        for part in answer.responses {
            let index = part.id.parse().ok().filter(|index| unanswered.remove(index)).ok_or_else(|| {
                let detail = "an answer to a part that was not asked".to_owned();
                GraphError::Malformed { what: what.to_owned(), detail }
            })?;
            let BatchPart { id: _, status, headers, body } = part;
            let body = body.map(|body| body.get().as_bytes().to_vec()).unwrap_or_default();
            if let Some(patience) = patience(status) {
                let asked = headers
                    .iter()
                    .find(|(name, _)| name.eq_ignore_ascii_case("retry-after"))
                    .and_then(|(_, value)| value.as_str().map(str::to_owned).or_else(|| Some(value.to_string())))
                    .and_then(|value| retry_after(&value, (self.clock)()));
                let error = answered(what, status, &body, &request_id);
                // The longest wait counts for all of them, and the least patience.
                let before = pause.as_ref();
                pause = Some(Pause {
                    asked: before.and_then(|before: &Pause| before.asked).max(asked),
                    patience: before.map_or(patience, |before| before.patience.min(patience)),
                    error,
                });
            } else {
                let answer = if status == 200 {
                    Ok(Reply { body, request_id: request_id.clone() })
                } else {
                    Err(answered(what, status, &body, &request_id))
                };
                settled.push((index, answer));
            }
        }
        Ok((settled, pause))
    }

    /// Sends, retries what may be retried, and renews a refused token once.
    async fn send(&self, what: &str, url: Url, json: Option<&serde_json::Value>) -> Result<Reply, GraphError> {
        let (mut renewed, mut waits) = (false, Waits::new(self.http.request_deadline));
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
                let _turn = self.throttle.turn().await;
                self.requests.fetch_add(1, Ordering::Relaxed);
                let begun = Instant::now();
                let attempt = self.attempt(what, request).await;
                waits.tried(begun.elapsed());
                attempt
            };
            let refused = matches!(&attempt, Attempt::Ended(Err(error)) if error.status() == Some(401));
            if refused && !std::mem::replace(&mut renewed, true) {
                self.authenticator.discard(&token).await;
            } else if let Some(result) = waits.settle(what, attempt).await {
                return result;
            }
        }
    }

    async fn attempt(&self, what: &str, request: reqwest::RequestBuilder) -> Attempt<Reply, GraphError> {
        let transport = |source: reqwest::Error| Attempt::Again {
            patience: if source.is_connect() { BRIEF } else { PATIENT },
            error: GraphError::Transport { what: what.to_owned(), source: source.without_url() },
            after: None,
        };
        let mut answer = match request.send().await {
            Ok(answer) => answer,
            Err(source) => return transport(source),
        };
        let status = answer.status();
        let header = |name: &str| answer.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
        let request_id = header("request-id").unwrap_or_else(|| "none".to_owned());
        let asked = header("retry-after").and_then(|value| retry_after(&value, (self.clock)()));
        if status.is_redirection() {
            let origin = header("location")
                .and_then(|location| self.root.join(&location).ok())
                .map_or_else(|| "nowhere".to_owned(), |url| url.origin().ascii_serialization());
            return Attempt::Ended(Err(GraphError::ForeignOrigin { what: what.to_owned(), origin }));
        }
        let mut body = Vec::new();
        loop {
            match answer.chunk().await {
                // What stands after that says no more of what is wrong.
                Ok(Some(chunk)) if status != StatusCode::OK && body.len() + chunk.len() > MAX_ERROR => break,
                Ok(Some(chunk)) if body.len() + chunk.len() > MAX_BODY => {
                    let detail = format!("the answer is larger than {} MiB", MAX_BODY >> 20);
                    return Attempt::Ended(Err(GraphError::Malformed { what: what.to_owned(), detail }));
                }
                Ok(Some(chunk)) => body.extend_from_slice(&chunk),
                Ok(None) => break,
                Err(source) => return transport(source),
            }
        }
        if status == StatusCode::OK {
            self.throttle.passed();
            return Attempt::Ended(Ok(Reply { body, request_id }));
        }
        if let Some(asked) = asked.filter(|_| patience(status.as_u16()).is_some()) {
            // Longer than anybody waits for one request would hold up the next cycle as well.
            self.throttle.pause_for(at_least(asked).min(self.http.request_deadline));
        } else if status == StatusCode::TOO_MANY_REQUESTS {
            self.throttle.pause_for(at_least(Duration::ZERO));
        }
        let error = answered(what, status.as_u16(), &body, &request_id);
        match patience(status.as_u16()) {
            Some(patience) => Attempt::Again { error, after: asked, patience },
            None => Attempt::Ended(Err(error)),
        }
    }
}

/// Why parts of a `$batch` have to be asked again.
struct Pause {
    asked: Option<Duration>,
    patience: Duration,
    error: GraphError,
}

/// What a list hands to its reader.
pub(super) enum Step<'r, P> {
    /// The list starts, or starts anew: what came of it so far does not count.
    Begin,
    /// The rows of the next page, and Graph's id of the request.
    Page(Vec<P>, &'r str),
}

fn decode<T: DeserializeOwned>(what: &str, body: &[u8]) -> Result<T, GraphError> {
    serde_json::from_slice(body).map_err(|error| malformed(what, &error))
}
