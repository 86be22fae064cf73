//! Faults: what goes wrong, where and how often.
//!
//! A fault selects calls by method, path and page, and the matches it applies to. It holds the call at a gate,
//! substitutes an answer, resets the connection, or edits the true answer. A `Delivery` then changes how the answer is
//! sent. A new kind of fault is a new variant of `Action`, `Edit`, `Delivery` or `Distortion`.

mod batch;
mod chance;
mod delivery;
mod edit;
mod endless;
mod firings;
mod gate;
mod queue;

pub(crate) use batch::Distortion;
pub(crate) use delivery::Delivery;
pub use edit::Edit;
pub use firings::Firings;
pub use gate::Gate;
pub(crate) use queue::{Effects, Faults, Outcome};

use serde_json::Value;

use crate::clock::DateHeader;
use crate::encoding::percent_decode;
use crate::reply::GraphError;
use crate::request::Request;
use chance::Chance;
use firings::Counter;

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
    date: Option<DateHeader>,
    counter: Option<Counter>,
}

#[derive(Debug, Clone)]
enum Action {
    /// No effect besides the gate.
    Pass,
    Reset,
    Answer(Substitute),
    Edit(Vec<Edit>),
    /// A transient failure, drawn for each call.
    AnyFailure,
}

/// An answer that replaces the true one.
#[derive(Debug, Clone)]
struct Substitute {
    status: u16,
    /// Code and message; `None` means those that Graph uses for the status.
    error: Option<(String, String)>,
    headers: Vec<(String, String)>,
    /// `Retry-After` as a date, in seconds after the answer.
    retry_date: Option<i64>,
    body: Option<String>,
}

impl Substitute {
    fn with_status(status: u16) -> Self {
        Self { status, error: None, headers: Vec::new(), retry_date: None, body: None }
    }
}

impl Fault {
    /// A fault for a method (`*` for any) and a path. `*` or `{name}` matches one segment, `**` at the end any number.
    /// Case is ignored, as in Graph.
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
            date: None,
            counter: None,
        }
    }

    /// A user who is assigned or a member but never found in `/users`.
    pub fn missing_user(id: &str) -> Self {
        Self::on("GET", "/v1.0/users/**").always().hide_row(id)
    }

    /// A user who is not found by the first `reads` reads of its id, like in a lagging replica.
    pub fn late_user(id: &str, reads: usize) -> Self {
        Self::on("GET", "/v1.0/users/**").mentioning(id).times(reads).hide_row(id)
    }

    /// Every sign-in is refused with this AADSTS number.
    pub fn refused_sign_in(code: u32) -> Self {
        let (status, body) = crate::token::refusal(code);
        Self::on("POST", "/*/oauth2/v2.0/token").always().answer(status).body(&body)
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

    /// Only this page of a list, counted from one.
    pub fn page(mut self, number: usize) -> Self {
        self.page = Some(number);
        self
    }

    /// Only from the `number`th matching call, counted from one.
    pub fn nth(mut self, number: usize) -> Self {
        self.skip = number.saturating_sub(1);
        self
    }

    /// The number of matching calls it applies to.
    pub fn times(mut self, count: usize) -> Self {
        self.times = count;
        self
    }

    /// Applies to every matching call.
    pub fn always(self) -> Self {
        self.times(usize::MAX)
    }

    /// Holds the call at a gate until a test releases it, then applies the rest of the fault.
    pub fn hold_until(mut self, gate: &Gate) -> Self {
        self.gate = Some(gate.clone());
        self
    }

    /// Sends the answer with this `Date`, whatever else happens to it.
    pub fn dated(mut self, date: DateHeader) -> Self {
        self.date = Some(date);
        self
    }

    /// Resets the connection before the first byte of the answer. A part of a `$batch` resets the whole batch.
    pub fn reset(mut self) -> Self {
        self.action = Action::Reset;
        self
    }

    /// Answers with a status and Graph's error for it.
    pub fn answer(self, status: u16) -> Self {
        self.answering(status, |answer| answer.status = status)
    }

    /// Answers with a status and an error code.
    pub fn answer_error(self, status: u16, code: &str) -> Self {
        let usual = GraphError::for_status(status);
        let message = if usual.code == code { &usual.message } else { "The simulator is configured to answer this." };
        let error = (code.to_owned(), message.to_owned());
        self.answer(status).answering(status, |answer| answer.error = Some(error))
    }

    /// Sets the message of the error; the status defaults to 400.
    pub fn message(self, text: &str) -> Self {
        self.answering(400, |answer| {
            let code = answer.error.take().map_or_else(|| GraphError::for_status(answer.status).code, |(code, _)| code);
            answer.error = Some((code, text.to_owned()));
        })
    }

    /// Redirects the caller, for example with status 302 or 307.
    pub fn redirect(self, status: u16, location: &str) -> Self {
        self.answer(status).header("Location", location)
    }

    /// Answers that the page token has expired.
    pub fn expired_page_token(self) -> Self {
        let GraphError { status, code, message, .. } = GraphError::expired_page_token();
        self.answer(status).answering(status, |answer| answer.error = Some((code, message)))
    }

    /// Adds a header to the answer; the status defaults to 429.
    pub fn header(self, name: &str, value: &str) -> Self {
        self.answering(429, |answer| answer.headers.push((name.to_owned(), value.to_owned())))
    }

    /// Adds `Retry-After` with a literal value; the status defaults to 429.
    pub fn retry_after(self, value: &str) -> Self {
        self.header("Retry-After", value)
    }

    /// Adds `Retry-After` as an HTTP date relative to the answer; the status defaults to 429.
    pub fn retry_after_date(self, seconds_from_now: i64) -> Self {
        self.answering(429, |answer| answer.retry_date = Some(seconds_from_now))
    }

    /// Answers with a body, as HTML when it starts with `<`; the status defaults to 200.
    pub fn body(self, body: &str) -> Self {
        self.answering(200, |answer| answer.body = Some(body.to_owned()))
    }

    /// Changes the substituted answer; `status` is the default of a new one.
    fn answering(mut self, status: u16, change: impl FnOnce(&mut Substitute)) -> Self {
        let mut answer = match self.action {
            Action::Answer(answer) => answer,
            _ => Substitute::with_status(status),
        };
        change(&mut answer);
        self.action = Action::Answer(answer);
        self
    }

    /// Empties the page and ends the list with it.
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

    /// Ends the list with this page.
    pub fn cut_short(self) -> Self {
        self.edit(Edit::CutShort)
    }

    /// Omits a key from every row.
    pub fn drop_key(self, key: &str) -> Self {
        self.edit(Edit::DropKey(key.to_owned()))
    }

    /// Sets a key to null in every row that has it.
    pub fn null_key(self, key: &str) -> Self {
        self.edit(Edit::NullKey(key.to_owned()))
    }

    /// Sets everything in the rows except id and type to null, like Graph without permission.
    pub fn null_rows(self) -> Self {
        self.edit(Edit::NullRows)
    }

    /// Omits the rows with this id or principal id; an answer that is this object becomes a 404.
    pub fn hide_row(self, id: &str) -> Self {
        self.edit(Edit::HideRow(id.to_owned()))
    }

    /// Sets a key of the page itself, for instance `error`.
    pub fn page_key(self, key: &str, value: impl Into<Value>) -> Self {
        self.edit(Edit::PageKey(key.to_owned(), value.into()))
    }

    /// Adds a row to the page.
    pub fn add_row(self, row: impl Into<Value>) -> Self {
        self.edit(Edit::AddRow(row.into()))
    }

    /// Sets a key of the row with this id or principal id.
    pub fn set_key(self, id: &str, key: &str, value: impl Into<Value>) -> Self {
        self.edit(Edit::SetKey(id.to_owned(), key.to_owned(), value.into()))
    }

    /// Adds a copy of the row with this id or principal id that disagrees in one key.
    pub fn repeat_row(self, id: &str, key: &str, value: impl Into<Value>) -> Self {
        self.edit(Edit::RepeatRow(id.to_owned(), key.to_owned(), value.into()))
    }

    /// Replaces a text in the true answer with any bytes.
    pub fn replace_text(self, old: &str, new: impl Into<Vec<u8>>) -> Self {
        self.edit(Edit::Text(old.to_owned(), new.into()))
    }

    /// Puts half an emoji into a text of the row with this id or principal id.
    pub fn broken_text(self, id: &str, key: &str) -> Self {
        const MARK: &str = "the-simulator-breaks-this";
        self.set_key(id, key, MARK).replace_text(MARK, r"Head \ud83d")
    }

    /// Edits the true answer.
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

    /// Counts a matching call and returns whether the fault applies to it.
    fn applies(&mut self) -> bool {
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
