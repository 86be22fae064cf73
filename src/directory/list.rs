//! Lists of many pages. A page is parsed while the next one arrives, and the results come in the order of the pages.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use percent_encoding::percent_decode_str;
use reqwest::Url;
use serde_json::value::RawValue;
use tokio::sync::oneshot;

use super::client::{Answer, GraphClient, with_request_id};
use super::error::{GraphError, malformed};
use super::wire::{self, Page};
use super::work::{Need, Purpose, Work};
use crate::model::{EntraId, RequestId};

/// Page limit: ten times what `MAX_ROWS` needs.
const MAX_PAGES: usize = 10_000;
/// A tenant holds 300,000 objects unless Microsoft raises that; a million rows take some 700 MB.
const MAX_ROWS: usize = 1_000_000;
/// How often one list is restarted after its page token expired.
const MAX_RESTARTS: usize = 5;
/// The most pages of a list that are parsed while another one arrives.
const PAGES_IN_WORK: usize = 2;

/// The progress of a list.
pub(super) enum ListEvent<P> {
    /// The list starts or restarts; earlier pages are void.
    Start,
    /// The next page.
    Page(P),
}

/// Turns the rows of a page into what the list is read for, or says why the list fails.
pub(super) type ParseRows<P> = Arc<dyn Fn(Rows<'_>) -> Result<P, String> + Send + Sync>;

/// The rows of a page as JSON. They end early when nobody needs the list any more.
pub(super) struct Rows<'r> {
    rows: std::vec::IntoIter<&'r RawValue>,
    /// Graph's id of the request.
    pub(super) request_id: &'r RequestId,
    need: &'r Need,
}

impl<'r> Iterator for Rows<'r> {
    type Item = &'r str;

    fn next(&mut self) -> Option<&'r str> {
        if self.need.is_over() { None } else { self.rows.next().map(RawValue::get) }
    }
}

/// A page without its rows.
struct PageHead {
    rows: usize,
    next: Option<String>,
    count: Option<u64>,
    context: Option<String>,
}

/// One attempt to read a list, until it has to be restarted.
struct Reading<'l, P> {
    what: &'l str,
    first: &'l Url,
    parse: &'l ParseRows<P>,
    need: Need,
    has_begun: bool,
    /// The pages in work, in order.
    pages: VecDeque<Work<Result<P, String>>>,
}

impl GraphClient {
    /// Reads a list to its end. `parse` runs on another thread. When the page token expires, the list is restarted with
    /// another [`ListEvent::Start`]. A 404 is returned as such only for a list that has shown no page: afterwards it means
    /// that the rest is missing. The error of an earlier page comes first.
    /// <https://learn.microsoft.com/graph/paging>
    pub(super) async fn list<P: Send + 'static>(
        &self,
        what: &str,
        path: &str,
        parse: &ParseRows<P>,
        mut on_event: impl FnMut(ListEvent<P>) + Send,
    ) -> Result<(), GraphError> {
        let (first, purpose) = (self.url(path)?, Purpose::default());
        let need = purpose.need();
        let mut reading = Reading { what, first: &first, parse, need, has_begun: false, pages: VecDeque::new() };
        let mut restarts = 0;
        loop {
            on_event(ListEvent::Start);
            let ended = self.read_pages(&mut reading, &mut on_event).await;
            while reading.take_page(&mut on_event).await? {}
            match ended {
                Err(error) if error.is_expired_page_token() && restarts < MAX_RESTARTS => {
                    restarts += 1;
                    tracing::warn!(list = what, restarts, "the page token expired; restarting the list");
                }
                ended => return ended,
            }
        }
    }

    async fn read_pages<P: Send + 'static>(
        &self,
        reading: &mut Reading<'_, P>,
        on_event: &mut (impl FnMut(ListEvent<P>) + Send),
    ) -> Result<(), GraphError> {
        let (what, first) = (reading.what, reading.first);
        let endless = |detail| GraphError::Endless { what: what.to_owned(), detail };
        let mut url = first.clone();
        let mut links = BTreeSet::from([url.to_string()]);
        let (mut rows, mut counts) = (0, BTreeSet::new());
        loop {
            let answer = match self.get_url(what, url.clone()).await {
                Err(error) if reading.has_begun && error.is_not_found() => {
                    let detail = "404 after the first page, so the list is incomplete";
                    return Err(malformed(what, with_request_id(detail, &error.request_id())));
                }
                answer => answer?,
            };
            while reading.pages.len() >= PAGES_IN_WORK {
                reading.take_page(on_event).await?;
            }
            let request_id = answer.request_id.clone();
            let invalid = |detail: String| malformed(what, with_request_id(&detail, &request_id));
            let head = self.start_page(reading, answer).await;
            // The work on the page says why it is none.
            let head = head.await.map_err(|_| malformed(what, "a page was not read"))?;
            let PageHead { rows: on_page, next, count, context } = head;
            if context.is_some_and(|context| !is_about(first, &context)) {
                return Err(invalid("the page belongs to another object".to_owned()));
            }
            reading.has_begun = true;
            rows += on_page;
            if rows > MAX_ROWS {
                return Err(endless(format!("more than {MAX_ROWS} rows")));
            }
            counts.extend(count);
            let Some(next) = next else {
                return match counts.into_iter().find(|count| *count != rows as u64) {
                    Some(count) => Err(invalid(format!("the list has {count} rows, but only {rows} were returned"))),
                    None => Ok(()),
                };
            };
            url = self.next_page_url(what, &url, &next)?;
            if list_of(&url) != list_of(first) {
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

    /// Starts the work on a page. Its head is known before its rows are parsed.
    async fn start_page<P: Send + 'static>(
        &self,
        reading: &mut Reading<'_, P>,
        answer: Answer,
    ) -> oneshot::Receiver<PageHead> {
        let (send, head) = oneshot::channel();
        let (parse, need) = (Arc::clone(reading.parse), reading.need.clone());
        let work = self.workers.start(move || {
            let Answer { body, request_id, place: _place } = answer;
            let text = wire::body_text(body);
            let Page { rows, next, count, context } =
                wire::page(&text).map_err(|why| with_request_id(&why, &request_id))?;
            // Nobody waits for the head when the list is not needed any more.
            drop(send.send(PageHead { rows: rows.len(), next, count, context }));
            parse(Rows { rows: rows.into_iter(), request_id: &request_id, need: &need })
        });
        reading.pages.push_back(work.await);
        head
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
}

impl<P> Reading<'_, P> {
    /// Waits for the first page in work and passes it on. Returns whether there was one.
    async fn take_page(&mut self, on_event: &mut (impl FnMut(ListEvent<P>) + Send)) -> Result<bool, GraphError> {
        let Some(work) = self.pages.pop_front() else { return Ok(false) };
        let parsed = match work.result(self.what).await {
            Ok(parsed) => parsed.map_err(|detail| malformed(self.what, detail)),
            Err(error) => Err(error),
        };
        // After an error, later pages do not matter.
        let page = parsed.inspect_err(|_| self.pages.clear())?;
        on_event(ListEvent::Page(page));
        Ok(true)
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
