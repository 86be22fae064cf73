//! `/log`: the provisioning log, newest rows first.

use axum::http::StatusCode;
use axum::response::Response;
use maud::{Markup, html};

use super::PageState;
use super::layout::{command, document, foreign, pager, respond, table};
use super::query::LogQuery;
use super::reader::{self, PageError, Source};
use crate::model::{Action, Reason, Status};
use crate::store::{ListPage, LogRow, PagePosition};
use crate::view::{Entries, Records as _, shown};

/// The rows of a page.
pub(super) const ROWS: u32 = 100;

pub(super) async fn answer(state: PageState, query: LogQuery) -> Result<Response, PageError> {
    reader::answer(state, async move |source: Source| {
        let filter = match query.filter(source.now) {
            Err(PageError::BadRequest(message)) => return Ok(refused(&query, &message)),
            filter => filter?,
        };
        let store = source.open().await?;
        let found = store.log_page(&filter, query.position, ROWS).await;
        // Only read, so nothing is lost.
        let _ = store.close().await;
        let ListPage { rows, keys, has_more } = found?;
        let link = |position| query.link("/log", position);
        let body = html! {
            (form(&query))
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

/// The form as it was filled in, and why it cannot be searched for.
fn refused(query: &LogQuery, message: &str) -> Response {
    let body = html! {
        (form(query))
        p role="alert" { (shown(message)) }
    };
    respond(StatusCode::BAD_REQUEST, document("Log", Some("/log"), &body))
}

fn row(row: &LogRow) -> Vec<Markup> {
    let cells = Entries::cells(row).into_iter().zip(Entries::HEADERS);
    let cell = |(cell, header): (String, &&str)| match *header {
        "user" => html! { a href={ "/users/" (row.entra_id) } { (foreign(&cell)) } },
        _ => foreign(&cell),
    };
    cells.map(cell).collect()
}

fn form(query: &LogQuery) -> Markup {
    let words = |name, label, words: Vec<&'static str>| select(query, name, label, &words);
    html! {
        form method="get" action="/log" role="search" aria-label="Search the log" {
            (field(query, "user", "User", "A user name, or the id of the user or learner"))
            (words("action", "Action", Action::ALL.iter().map(|action| action.as_str()).collect()))
            (words("status", "Status", Status::ALL.iter().map(|status| status.as_str()).collect()))
            (words("reason", "Reason", Reason::ALL.iter().map(|reason| reason.as_str()).collect()))
            (field(query, "cycle", "Cycle", "The number of a cycle"))
            (field(query, "since", "Since", "2026-01-02, 2026-01-02 03:04 or an age such as 7d"))
            (field(query, "until", "Before", "Like Since"))
            div.actions { button type="submit" { "Search" } }
            @if query.is_filtered() { div.actions { a href="/log" { "Show all entries" } } }
        }
    }
}

fn field(query: &LogQuery, name: &str, label: &str, hint: &str) -> Markup {
    let hint_id = format!("{name}-hint");
    html! {
        div {
            label for=(name) { (label) }
            input type="text" id=(name) name=(name) value=(query.value(name)) aria-describedby=(hint_id)
                autocomplete="off" autocapitalize="off" spellcheck="false";
            span.hint id=(hint_id) { (hint) }
        }
    }
}

fn select(query: &LogQuery, name: &str, label: &str, words: &[&'static str]) -> Markup {
    html! {
        div {
            label for=(name) { (label) }
            select id=(name) name=(name) {
                option value="" { "any" }
                @for word in words { option value=(word) selected[query.value(name) == *word] { (word) } }
            }
        }
    }
}
