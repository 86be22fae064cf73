//! `/cycles`: the cycles, newest first.

use axum::http::StatusCode;
use axum::response::Response;
use maud::{Markup, html};

use super::PageState;
use super::layout::{command, document, foreign, pager, respond, table};
use super::log::ROWS;
use super::query::{CyclesQuery, link, position_parameter};
use super::reader::{self, PageError, Source};
use crate::store::{CycleRow, PagePosition, RowRange};
use crate::view::{Cycles, Records as _};

pub(super) async fn answer(state: PageState, query: CyclesQuery) -> Result<Response, PageError> {
    reader::answer(state, async move |source: Source| {
        let position = query.position;
        let store = source.open().await?;
        let found = store.cycles(range(position)).await;
        // Only read, so nothing is lost.
        let _ = store.close().await;
        let mut rows = found?.rows;
        let has_more = rows.len() > ROWS as usize;
        if has_more {
            match position {
                PagePosition::After(_) => rows.truncate(ROWS as usize),
                PagePosition::Newest | PagePosition::Before(_) => drop(rows.remove(0)),
            }
        }
        let keys = rows.first().zip(rows.last()).map(|(first, last)| (first.id.0, last.id.0));
        let link = |position: PagePosition| link("/cycles", position_parameter(position).into_iter());
        let body = html! {
            @if rows.is_empty() {
                p { (Cycles::NOTHING) }
            } @else {
                (table("Cycles, newest first", Cycles::HEADERS, rows.iter().rev().map(row)))
            }
            (pager(position, keys, has_more, link))
            p { "On the command line: " (command("learner-sync log cycles")) }
        };
        Ok(respond(StatusCode::OK, document("Cycles", Some("/cycles"), &body)))
    })
    .await
}

/// The rows of a page, and one more, which says whether there are others.
fn range(position: PagePosition) -> RowRange {
    let all = RowRange { limit: Some(ROWS + 1), ..RowRange::default() };
    match position {
        PagePosition::Newest => all,
        PagePosition::Before(key) => RowRange { before: Some(key), ..all },
        PagePosition::After(key) => RowRange { after: Some(key), ..all },
    }
}

fn row(row: &CycleRow) -> Vec<Markup> {
    let cells = Cycles::cells(row).into_iter().zip(Cycles::HEADERS);
    let cell = |(cell, header): (String, &&str)| match *header {
        "cycle" => html! { a href={ "/log?cycle=" (row.id) } { (cell) } },
        _ => foreign(&cell),
    };
    cells.map(cell).collect()
}
