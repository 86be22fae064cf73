//! `/cycles`: the cycles, newest first.

use axum::http::StatusCode;
use axum::response::Response;
use maud::{Markup, html};

use super::PageState;
use super::layout::{BAD, GOOD, WAITS, command, document, foreign, pager, respond, table};
use super::log::ROWS;
use super::query::{CyclesQuery, link, position_parameter};
use super::reader::{self, PageError, Source};
use crate::model::Outcome;
use crate::store::{CycleRow, ListPage, PagePosition};
use crate::view::{Cycles, Records as _};

pub(super) async fn answer(state: PageState, query: CyclesQuery) -> Result<Response, PageError> {
    reader::answer(state, async move |source: Source| {
        let position = query.position;
        let store = source.open().await?;
        let found = store.cycles_page(position, ROWS).await;
        // Only read, so nothing is lost.
        let _ = store.close().await;
        let ListPage { rows, keys, has_more } = found?;
        let link = |position: PagePosition| link("/cycles", position_parameter(position).into_iter());
        let body = html! {
            @if keys.is_none() {
                p { (Cycles::NOTHING) }
            } @else {
                (table("Cycles, newest first", Cycles::HEADERS, rows.iter().rev().map(row)))
            }
            (pager(position, keys, has_more, link))
            p { "On the command line: " (command("learner-sync log cycles", &source.app.config.path)) }
        };
        Ok(respond(StatusCode::OK, document("Cycles", Some("/cycles"), &body)))
    })
    .await
}

/// The class of the state that such a cycle leads to.
fn class(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Success => GOOD,
        Outcome::Partial | Outcome::Held | Outcome::Interrupted => WAITS,
        Outcome::Failed => BAD,
    }
}

fn row(row: &CycleRow) -> Vec<Markup> {
    let cells = Cycles::cells(row).into_iter().zip(Cycles::HEADERS);
    let cell = |(cell, header): (String, &&str)| match *header {
        "cycle" => html! { a href={ "/log?cycle=" (row.id) } { (cell) } },
        "outcome" => html! { span.outcome.(row.outcome.map_or("", class)) { (foreign(&cell)) } },
        _ => foreign(&cell),
    };
    cells.map(cell).collect()
}
