//! Requests to Graph: bearer token, retries, pages, and errors with their context.
//!
//! [`Throttle`](super::throttle::Throttle) limits how many requests run at once.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use percent_encoding::percent_decode_str;
use reqwest::{StatusCode, Url};
use secrecy::ExposeSecret;
use serde::de::DeserializeOwned;

use super::batch::batch_budget;
use super::dates::{Dates, parse_date};
use super::error::{GraphError, answered, malformed};
use super::throttle::Throttle;
use super::turn::Turns;
use super::wire::{self, Page};
use crate::auth::{Authenticator, Http};
use crate::model::{Clock, EntraId, foreign_text};
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

#[derive(Debug)]
pub(super) struct GraphClient {
    pub(super) http: Http,
    pub(super) authenticator: Authenticator,
    root: Url,
    pub(super) clock: Clock,
    pub(super) throttle: Throttle,
    pub(super) dates: Dates,
    pub(super) turns: Turns,
    /// The number of requests sent so far; a `$batch` counts as one.
    pub(super) requests: AtomicU64,
}

/// An answer with status 200, to a single request or to a part of a `$batch`.
#[derive(Debug)]
pub(super) struct Reply {
    /// Without a byte order mark.
    pub(super) body: String,
    /// Graph's id of the request, for a support case; a part has the id of its `$batch`.
    pub(super) request_id: String,
}

impl GraphClient {
    pub(super) fn new(http: Http, authenticator: Authenticator, root: Url, at_once: usize, clock: Clock) -> Self {
        let throttle = Throttle::new(at_once.max(1));
        let (dates, turns, requests) = (Dates::new(), Turns::new(), AtomicU64::new(0));
        Self { http, authenticator, root, clock, throttle, dates, turns, requests }
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
        self.get_url(what, self.url(path)?).await
    }

    async fn get_url(&self, what: &str, url: Url) -> Result<Reply, GraphError> {
        self.send(what, url, None, &mut RetryWaits::new(self.http.request_deadline)).await
    }

    /// Reads a list to its end. `on_event` receives each row, or refuses it with the reason why the list fails. When the
    /// page token expires, the list is restarted with another [`ListEvent::Start`]. A 404 is returned as such only for a
    /// list that has shown no page: afterwards it means that the rest is missing.
    /// <https://learn.microsoft.com/graph/paging>
    pub(super) async fn list(
        &self,
        what: &str,
        path: &str,
        mut on_event: impl FnMut(ListEvent<'_>) -> Result<(), String>,
    ) -> Result<(), GraphError> {
        let endless = |detail| GraphError::Endless { what: what.to_owned(), detail };
        let first = self.url(path)?;
        let (mut restarts, mut has_begun) = (0, false);
        'list: loop {
            let mut fail = |event: ListEvent<'_>| on_event(event).map_err(|detail| malformed(what, detail));
            fail(ListEvent::Start)?;
            let mut url = first.clone();
            let mut links = BTreeSet::from([url.to_string()]);
            let (mut rows, mut counts) = (0, BTreeSet::new());
            loop {
                let Reply { body, request_id } = match self.get_url(what, url.clone()).await {
                    Err(error) if error.is_expired_page_token() && restarts < MAX_RESTARTS => {
                        restarts += 1;
                        tracing::warn!(list = what, restarts, "the page token expired; restarting the list");
                        continue 'list;
                    }
                    Err(error) if has_begun && error.is_not_found() => {
                        let detail = "404 after the first page, so the list is incomplete";
                        return Err(malformed(what, with_request_id(detail, &request_id_of(&error))));
                    }
                    result => result?,
                };
                let invalid = |detail: String| malformed(what, with_request_id(&detail, &request_id));
                let Page { rows: page, next, count, context } = wire::page(&body).map_err(invalid)?;
                if context.is_some_and(|context| !is_about(&first, &context)) {
                    return Err(invalid("the page belongs to another object".to_owned()));
                }
                has_begun = true;
                rows += page.len();
                if rows > MAX_ROWS {
                    return Err(endless(format!("more than {MAX_ROWS} rows")));
                }
                for row in page {
                    self.turns.offer().await;
                    fail(ListEvent::Row(row.get(), &request_id))?;
                }
                counts.extend(count);
                let Some(next) = next else {
                    return match counts.into_iter().find(|count| *count != rows as u64) {
                        Some(count) => {
                            Err(invalid(format!("the list has {count} rows, but only {rows} were returned")))
                        }
                        None => Ok(()),
                    };
                };
                url = self.next_page_url(what, &url, &next)?;
                if list_of(&url) != list_of(&first) {
                    return Err(invalid("the nextLink leads to another list".to_owned()));
                }
                if !links.insert(url.to_string()) {
                    return Err(endless("repeated nextLink".to_owned()));
                }
                if links.len() > MAX_PAGES {
                    return Err(endless(format!("more than {MAX_PAGES} pages")));
                }
            }
        }
    }

    /// The URL of a nextLink, which must stay on the configured origin.
    fn next_page_url(&self, what: &str, page: &Url, link: &str) -> Result<Url, GraphError> {
        let url = page.join(link).map_err(|error| malformed(what, format!("nextLink: {error}")))?;
        if url.origin() != self.root.origin() {
            return Err(GraphError::ForeignOrigin {
                what: what.to_owned(),
                origin: url.origin().ascii_serialization(),
            });
        }
        Ok(url)
    }

    /// Sends one request, with retries, and renews a refused token once.
    pub(super) async fn send(
        &self,
        what: &str,
        url: Url,
        json: Option<&serde_json::Value>,
        waits: &mut RetryWaits,
    ) -> Result<Reply, GraphError> {
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
            } else if let Some(result) = waits.finish_or_wait(what, attempt).await {
                return result;
            }
        }
    }

    async fn attempt(
        &self,
        what: &str,
        request: reqwest::RequestBuilder,
        is_batch: bool,
    ) -> Attempt<Reply, GraphError> {
        let transport = |source: reqwest::Error| Attempt::Retry {
            budget: if source.is_connect() { RetryBudget::Short } else { RetryBudget::Full },
            error: GraphError::Transport { what: what.to_owned(), source: source.without_url() },
            after: None,
        };
        let sent = Instant::now();
        let mut answer = match request.send().await {
            Ok(answer) => answer,
            Err(source) => return transport(source),
        };
        let status = answer.status();
        if status.is_success() {
            self.dates.add(answer.headers(), sent);
        }
        let header = |name: &str| answer.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
        let request_id = header("request-id").map_or_else(|| "none".to_owned(), |id| foreign_text(&id));
        let asked = header("retry-after").and_then(|value| retry_after(&value, (self.clock)()));
        if let Some(location) = header("location").filter(|_| status.is_redirection()) {
            return Attempt::Done(Err(self.redirected(what, status.as_u16(), &location)));
        }
        let mut body = Vec::new();
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
        let body = wire::body_text(body);
        if status == StatusCode::OK {
            self.throttle.record_success();
            return Attempt::Done(Ok(Reply { body, request_id }));
        }
        let status_code = status.as_u16();
        let budget = if is_batch { batch_budget(status_code) } else { RetryBudget::for_status(status_code) };
        if let Some(asked) = asked.filter(|_| budget.is_some()) {
            // Without this limit, a long Retry-After would delay the next cycle as well.
            self.throttle.pause_for(at_least_min_wait(asked).min(self.http.request_deadline));
        } else if status == StatusCode::TOO_MANY_REQUESTS {
            self.throttle.pause_for(at_least_min_wait(Duration::ZERO));
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

fn request_id_of(error: &GraphError) -> String {
    match error {
        GraphError::Answered { request_id, .. } => request_id.clone(),
        _ => "none".to_owned(),
    }
}

/// The object and the name of the list that a URL leads to. Graph may write a key in parentheses, and add a cast.
fn list_of(url: &Url) -> Vec<String> {
    let path =
        percent_decode_str(url.path()).decode_utf8_lossy().to_ascii_lowercase().replace("('", "/").replace("')", "");
    let segments = path.split('/').filter(|segment| !segment.is_empty() && !segment.starts_with("microsoft.graph."));
    let segments: Vec<String> = segments.map(str::to_owned).collect();
    segments[segments.len().saturating_sub(2)..].to_vec()
}

/// Whether `context`, the address of a schema, names no other object than the one of the list.
fn is_about(list: &Url, context: &str) -> bool {
    let object: Option<EntraId> = list_of(list).first().and_then(|id| id.parse().ok());
    let named = context.split('(').filter_map(|part| part.trim_start_matches(['\'', '"']).get(..36)?.parse().ok());
    named.into_iter().all(|named| Some(named) == object)
}

/// The progress of a list.
pub(super) enum ListEvent<'r> {
    /// The list starts or restarts; earlier rows are void.
    Start,
    /// The next row as JSON, and Graph's request id.
    Row(&'r str, &'r str),
}

pub(super) fn decode<T: DeserializeOwned>(what: &str, body: &str) -> Result<T, GraphError> {
    wire::object(body).map_err(|detail| malformed(what, detail))
}

/// `detail` with Graph's request id, for a support case.
pub(super) fn with_request_id(detail: &str, request_id: &str) -> String {
    format!("{detail} (request-id {request_id})")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_links_to_the_same_list_continue_it() {
        const GROUP: &str = "0a1b2c3d-0000-4000-8000-000000000001";
        let url = |text: &str| Url::parse("https://graph.example/v1.0/").unwrap().join(text).unwrap();
        let list = url(&format!("/v1.0/groups/{GROUP}/members?$top=999"));
        for same in [
            format!("/v1.0/groups/{GROUP}/members?$skiptoken=x"),
            format!("/v1.0/Groups('{}')/Members?$skiptoken=x", GROUP.to_ascii_uppercase()),
            format!("/v1.0/groups/{GROUP}/members/microsoft.graph.user?$skiptoken=x"),
        ] {
            assert_eq!(list_of(&list), list_of(&url(&same)), "{same}");
        }
        for other in [
            format!("/v1.0/groups/{GROUP}/owners?$skiptoken=x"),
            format!("/v1.0/groups/{GROUP}/transitiveMembers?$skiptoken=x"),
            format!("/v1.0/groups/{}/members", GROUP.replace('1', "2")),
            format!("/v1.0/groups/{GROUP}"),
            "/v1.0/members".to_owned(),
            "/".to_owned(),
        ] {
            assert_ne!(list_of(&list), list_of(&url(&other)), "{other}");
        }
        assert!(is_about(&list, "https://graph.example/v1.0/$metadata#directoryObjects(id,displayName)"));
        assert!(is_about(&list, &format!("https://graph.example/v1.0/$metadata#groups('{GROUP}')/members")));
        let other = GROUP.replace('1', "2");
        assert!(!is_about(&list, &format!("https://graph.example/v1.0/$metadata#groups('{other}')/members")));
        assert!(!is_about(&list, &format!("https://graph.example/v1.0/$metadata#groups({other})/members")));
    }
}
