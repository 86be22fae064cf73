//! `/log`: the provisioning log, newest rows first.

use axum::http::StatusCode;
use axum::response::Response;
use maud::{Markup, html};

use super::PageState;
use super::layout::{alert, command, document, foreign, pager, respond, table};
use super::query::{LogQuery, RefusedQuery};
use super::reader::{self, PageError, Source};
use crate::model::{Action, Reason, Status};
use crate::store::{ListPage, LogRow, PagePosition};
use crate::view::{Entries, Records as _};

/// The filters that the form folds away while none of them is in use.
const RARE_FILTERS: [&str; 5] = ["action", "reason", "cycle", "since", "until"];
/// The rows of a page.
pub(super) const ROWS: u32 = 100;

pub(super) async fn answer(state: PageState, query: LogQuery) -> Result<Response, PageError> {
    reader::answer(state, async move |source: Source| {
        let filter = match query.filter(source.now) {
            Err(problem) => return Ok(refused(&query, &problem)),
            Ok(filter) => filter,
        };
        let store = source.open().await?;
        let found = store.log_page(&filter, query.position, ROWS).await;
        // Only read, so nothing is lost.
        let _ = store.close().await;
        let ListPage { rows, keys, has_more } = found?;
        let link = |position| query.link("/log", position);
        let body = html! {
            (form(&query, None))
            @if keys.is_none() {
                p { (Entries::NOTHING) }
            } @else {
                (table("Log entries, newest first", Entries::HEADERS, rows.iter().rev().map(row)))
            }
            (pager(query.position, keys, has_more, link))
            p {
                a href=(query.link("/log.csv", PagePosition::Newest)) { "Download all matching entries as CSV" }
                " · on the command line: " (command(&query.command(), &source.app.config.path))
            }
        };
        Ok(respond(StatusCode::OK, document("Log", Some("/log"), &body)))
    })
    .await
}

/// Why it cannot be searched for, and the form as it was filled in.
pub(super) fn refused(query: &LogQuery, problem: &RefusedQuery) -> Response {
    let body = html! {
        (alert(&problem.message))
        (form(query, problem.parameter.as_deref()))
    };
    respond(problem.status, document("Log", Some("/log"), &body))
}

fn row(row: &LogRow) -> Vec<Markup> {
    let cells = Entries::cells(row).into_iter().zip(Entries::HEADERS);
    let cell = |(cell, header): (String, &&str)| match *header {
        "user" => html! { a href={ "/users/" (row.entra_id) } { (foreign(&cell)) } },
        _ => foreign(&cell),
    };
    cells.map(cell).collect()
}

/// The form as it was filled in; `wrong` is the parameter to correct.
fn form(query: &LogQuery, wrong: Option<&str>) -> Markup {
    let form = Form { query, wrong };
    html! {
        form method="get" action="/log" role="search" aria-label="Search the log" {
            (form.field("user", "User", "A user name, or the id of the user or learner"))
            (form.select("status", "Status", Status::ALL, Status::as_str))
            details open[RARE_FILTERS.iter().any(|name| form.is_in_use(name))] {
                summary { "More filters" }
                div {
                    (form.select("action", "Action", Action::ALL, Action::as_str))
                    (form.select("reason", "Reason", Reason::ALL, Reason::as_str))
                    (form.field("cycle", "Cycle", "The number of a cycle"))
                    (form.field("since", "Since", "2026-01-02, 2026-01-02 03:04 or an age such as 7d"))
                    (form.field("until", "Until", "Like Since"))
                }
            }
            div.actions { button type="submit" { "Search" } }
            @if query.is_filtered() { div.actions { a href="/log" { "Show all entries" } } }
        }
    }
}

struct Form<'q> {
    query: &'q LogQuery,
    wrong: Option<&'q str>,
}

impl Form<'_> {
    fn is_in_use(&self, name: &str) -> bool {
        !self.query.value(name).is_empty() || self.wrong == Some(name)
    }

    /// The value of `aria-invalid`.
    fn invalid(&self, name: &str) -> Option<&'static str> {
        (self.wrong == Some(name)).then_some("true")
    }

    fn field(&self, name: &str, label: &str, hint: &str) -> Markup {
        let hint_id = format!("{name}-hint");
        html! {
            div {
                label for=(name) { (label) }
                input type="text" id=(name) name=(name) value=(self.query.value(name)) aria-describedby=(hint_id)
                    aria-invalid=[self.invalid(name)] autocomplete="off" autocapitalize="off" spellcheck="false";
                span.hint id=(hint_id) { (hint) }
            }
        }
    }

    fn select<W: Copy>(&self, name: &str, label: &str, words: &[W], word: fn(W) -> &'static str) -> Markup {
        html! {
            div {
                label for=(name) { (label) }
                select id=(name) name=(name) aria-invalid=[self.invalid(name)] {
                    option value="" { "any" }
                    @for word in words.iter().copied().map(word) {
                        option value=(word) selected[self.query.value(name) == word] { (word) }
                    }
                }
            }
        }
    }
}
