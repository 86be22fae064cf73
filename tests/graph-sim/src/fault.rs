//! Faults: what goes wrong, where and how often.
//!
//! A fault names a place (method, path, page), the matches there that it applies to, and what happens: the
//! answer waits at a gate, an answer is given in place of the true one, the connection is reset, or the true
//! answer is edited. Whatever is answered may then be sent badly (`delivery`). Another kind of fault is another
//! variant of `Action`, `Edit`, `Delivery` or `Distortion`.

mod batch;
mod chance;
mod delivery;
mod edit;
mod endless;
mod gate;
mod queue;

pub(crate) use batch::Distortion;
pub(crate) use delivery::Delivery;
pub use edit::Edit;
pub use gate::Gate;
pub(crate) use queue::{Effects, Faults, Outcome};

use crate::encoding::percent_decode;
use crate::reply::GraphError;
use crate::request::Request;
use chance::Chance;

/// One fault, built in a chain: `Fault::on("GET", "/v1.0/groups/{id}/members").page(2).times(3).answer(503)`.
/// Without `times` or `always` it applies to one call.
#[derive(Debug, Clone)]
pub struct Fault {
    method: String,
    path: Vec<String>,
    query: Option<String>,
    mention: Option<String>,
    page: Option<usize>,
    chance: Option<Chance>,
    skip: usize,
    times: usize,
    matched: usize,
    gate: Option<Gate>,
    action: Action,
    endless: bool,
    distortions: Vec<Distortion>,
    delivery: Option<Delivery>,
}

/// What a fault does to the call.
#[derive(Debug, Clone)]
enum Action {
    /// Nothing but waiting at the gate.
    Pass,
    /// The connection is reset before a byte of the answer.
    Reset,
    /// Another answer.
    Answer(Substitute),
    /// The true answer, changed.
    Edit(Vec<Edit>),
    /// One of the failures that come and go, drawn for each call.
    AnyFailure,
}

/// An answer in place of the true one.
#[derive(Debug, Clone)]
struct Substitute {
    status: u16,
    /// Code and message; Graph's usual ones of that status unless given.
    error: Option<(String, String)>,
    headers: Vec<(String, String)>,
    /// `Retry-After` as a date so many seconds after the answer.
    retry_date: Option<i64>,
    body: Option<String>,
}

impl Substitute {
    /// Nothing but a status.
    fn with_status(status: u16) -> Self {
        Self { status, error: None, headers: Vec::new(), retry_date: None, body: None }
    }
}

impl Fault {
    /// A fault at a method (`*` for any) and a path. `*` or `{anything}` stands for one segment, `**` at the end
    /// for any number of them. Letter case is ignored, as Graph does.
    pub fn on(method: &str, path: &str) -> Self {
        Self {
            method: method.to_ascii_uppercase(),
            path: path.split('/').filter(|part| !part.is_empty()).map(percent_decode).collect(),
            query: None,
            mention: None,
            page: None,
            chance: None,
            skip: 0,
            times: 1,
            matched: 0,
            gate: None,
            action: Action::Pass,
            endless: false,
            distortions: Vec::new(),
            delivery: None,
        }
    }

    /// One user who exists for assignments and groups but is not found by `/users`, for ever.
    pub fn missing_user(id: &str) -> Self {
        Self::on("GET", "/v1.0/users/**").always().hide_row(id)
    }

    /// One user whom `/users` does not find at the first so many looks for it by id, as a replica that lags behind.
    pub fn late_user(id: &str, looks: usize) -> Self {
        Self::on("GET", "/v1.0/users/**").mentioning(id).times(looks).hide_row(id)
    }

    /// Only calls whose decoded path or query contains a text.
    pub fn mentioning(mut self, text: &str) -> Self {
        self.mention = Some(text.to_owned());
        self
    }

    /// Only calls whose decoded query contains a text.
    pub fn query_contains(mut self, text: &str) -> Self {
        self.query = Some(text.to_owned());
        self
    }

    /// Only the given page of a list, counted from one.
    pub fn page(mut self, number: usize) -> Self {
        self.page = Some(number);
        self
    }

    /// From the `number`th matching call on, counted from one.
    pub fn nth(mut self, number: usize) -> Self {
        self.skip = number.saturating_sub(1);
        self
    }

    /// For so many matching calls.
    pub fn times(mut self, count: usize) -> Self {
        self.times = count;
        self
    }

    /// For every matching call.
    pub fn always(self) -> Self {
        self.times(usize::MAX)
    }

    /// Holds the call at a gate until a test releases it; the rest of the fault happens after that.
    pub fn hold_until(mut self, gate: &Gate) -> Self {
        self.gate = Some(gate.clone());
        self
    }

    /// Resets the connection before a byte of the answer. For a part of a `$batch` the whole batch is lost.
    pub fn reset(mut self) -> Self {
        self.action = Action::Reset;
        self
    }

    /// Answers with a status and the error that Graph gives with it.
    pub fn answer(self, status: u16) -> Self {
        self.answering(status, |answer| answer.status = status)
    }

    /// Answers with a status and an error of the given code.
    pub fn answer_error(self, status: u16, code: &str) -> Self {
        let usual = GraphError::of_status(status);
        let message = if usual.code == code { &usual.message } else { "The simulator was told to answer this." };
        let error = (code.to_owned(), message.to_owned());
        self.answer(status).answering(status, |answer| answer.error = Some(error))
    }

    /// Gives the error another text; on its own it makes the answer a 400.
    pub fn message(self, text: &str) -> Self {
        self.answering(400, |answer| {
            let code = answer.error.take().map_or_else(|| GraphError::of_status(answer.status).code, |(code, _)| code);
            answer.error = Some((code, text.to_owned()));
        })
    }

    /// Sends the caller elsewhere, with 302 or 307 for instance.
    pub fn redirect(self, status: u16, location: &str) -> Self {
        self.answer(status).header("Location", location)
    }

    /// Answers that the page token has expired.
    pub fn expired_page_token(self) -> Self {
        let GraphError { status, code, message, .. } = GraphError::expired_page_token();
        self.answer(status).answering(status, |answer| answer.error = Some((code, message)))
    }

    /// Adds a header to the answer; on its own it makes the answer a 429.
    pub fn header(self, name: &str, value: &str) -> Self {
        self.answering(429, |answer| answer.headers.push((name.to_owned(), value.to_owned())))
    }

    /// Adds `Retry-After`, written as it should be sent; on its own it makes the answer a 429.
    pub fn retry_after(self, value: &str) -> Self {
        self.header("Retry-After", value)
    }

    /// Adds `Retry-After` as the HTTP date that lies so many seconds after the answer; on its own it makes the
    /// answer a 429.
    pub fn retry_after_date(self, seconds_from_now: i64) -> Self {
        self.answering(429, |answer| answer.retry_date = Some(seconds_from_now))
    }

    /// Answers with a body, HTML when it begins with `<`; on its own with status 200.
    pub fn body(self, body: &str) -> Self {
        self.answering(200, |answer| answer.body = Some(body.to_owned()))
    }

    /// Changes the answer that is given, which begins with `status` if there is none yet.
    fn answering(mut self, status: u16, change: impl FnOnce(&mut Substitute)) -> Self {
        let mut answer = match self.action {
            Action::Answer(answer) => answer,
            _ => Substitute::with_status(status),
        };
        change(&mut answer);
        self.action = Action::Answer(answer);
        self
    }

    /// Empties the list, which ends with this page.
    pub fn empty_list(self) -> Self {
        self.edit(Edit::EmptyList)
    }

    /// Empties the page and keeps its link to the next one.
    pub fn empty_page(self) -> Self {
        self.edit(Edit::EmptyPage)
    }

    /// Replaces the link to the next page, or adds one.
    pub fn next_link(self, url: &str) -> Self {
        self.edit(Edit::NextLink(url.to_owned()))
    }

    /// Makes the list end with this page, as if nothing followed.
    pub fn cut_short(self) -> Self {
        self.edit(Edit::CutShort)
    }

    /// Leaves a key out of every row.
    pub fn drop_key(self, key: &str) -> Self {
        self.edit(Edit::DropKey(key.to_owned()))
    }

    /// Sets a key to null in every row that has it.
    pub fn null_key(self, key: &str) -> Self {
        self.edit(Edit::NullKey(key.to_owned()))
    }

    /// Nulls everything in the rows except id and type: Graph's limited information.
    pub fn null_rows(self) -> Self {
        self.edit(Edit::NullRows)
    }

    /// Leaves out the row with an id, of assignments those of the principal; an answer that is this one object becomes a
    /// 404.
    pub fn hide_row(self, id: &str) -> Self {
        self.edit(Edit::HideRow(id.to_owned()))
    }

    /// Changes the true answer in some way.
    pub fn edit(mut self, edit: Edit) -> Self {
        match &mut self.action {
            Action::Edit(edits) => edits.push(edit),
            _ => self.action = Action::Edit(vec![edit]),
        }
        self
    }

    fn matches(&self, request: &Request) -> bool {
        let method = self.method == "*" || self.method == request.method;
        let query = self.query.as_ref().is_none_or(|text| request.readable_query().contains(text));
        let mention = self.mention.as_ref();
        let mention =
            mention.is_none_or(|text| request.path().contains(text) || request.readable_query().contains(text));
        let page = self.page.is_none_or(|page| page == request.page_number());
        method && query && mention && page && path_matches(&self.path, &request.segments)
    }

    /// Counts a matching call; whether the fault applies to it.
    fn strikes(&mut self) -> bool {
        if self.chance.as_mut().is_some_and(|chance| !chance.hits()) {
            return false;
        }
        self.matched = self.matched.saturating_add(1);
        self.matched > self.skip && self.matched - self.skip <= self.times
    }
}

fn path_matches(pattern: &[String], segments: &[String]) -> bool {
    match (pattern.split_first(), segments.split_first()) {
        (Some((first, [])), _) if first == "**" => true,
        (Some((first, pattern)), Some((segment, segments))) => {
            let any = first == "*" || (first.starts_with('{') && first.ends_with('}'));
            (any || first.eq_ignore_ascii_case(segment)) && path_matches(pattern, segments)
        }
        (None, None) => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_match_by_segment() {
        let check = |pattern: &str, path: &str| {
            let split = |path: &str| path.split('/').skip(1).map(str::to_owned).collect::<Vec<_>>();
            path_matches(&split(pattern), &split(path))
        };
        assert!(check("/v1.0/groups/{id}/members", "/v1.0/Groups/1/members"));
        assert!(check("/v1.0/*/1/members", "/v1.0/groups/1/members"));
        assert!(check("/v1.0/users/**", "/v1.0/users"));
        assert!(check("/v1.0/users/**", "/v1.0/users/1/manager"));
        assert!(!check("/v1.0/groups/{id}", "/v1.0/groups/1/members"));
        assert!(!check("/v1.0/groups/{id}/members", "/v1.0/groups/1"));
    }
}
