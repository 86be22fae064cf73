//! `/log.csv`: the log as `learner-sync log --format csv` prints it.

use std::io;
use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use tokio::sync::mpsc;

use super::query::{LogQuery, RefusedQuery};
use super::reader::{self, PageError, Source};
use super::{PageState, log};
use crate::http::serve::ConnectionDeadline;
use crate::store::{PagePosition, RowRange, Store};
use crate::view::{Entries, Records as _, csv_rows};

/// The rows that are read at a time, as by the command.
const CHUNK: u32 = 500;
/// How many chunks wait for a slow client.
const WAITING: usize = 4;

pub(super) async fn answer(
    state: PageState,
    deadline: ConnectionDeadline,
    query: LogQuery,
) -> Result<Response, PageError> {
    let source = Source::new(&state);
    let filter = match query.filter(source.now) {
        Ok(_) if query.position != PagePosition::Newest => {
            let refused = RefusedQuery::new("a download has all rows: before and after are for pages");
            return Ok(log::refused(&query, &refused));
        }
        Err(refused) => return Ok(log::refused(&query, &refused)),
        Ok(filter) => filter,
    };
    let permit = reader::turn(&state.downloads).await?;
    let (sender, mut receiver) = mpsc::channel(WAITING);
    let entries = Arc::new(Entries(filter));
    drop(reader::on_own_thread(async move || {
        let _permit = permit;
        send(&source, &entries, sender).await;
    })?);
    // The first chunk decides about the status.
    let first = match receiver.recv().await {
        Some(Ok(first)) => first,
        Some(Err(error)) => return Err(error),
        None => return Err(PageError::Panicked),
    };
    let chunks = stream::unfold((Some(Ok(first)), receiver, deadline), |(first, mut receiver, deadline)| async {
        // The client has read enough of what came before.
        deadline.postpone();
        let chunk = match first {
            Some(first) => Some(first),
            None => receiver.recv().await,
        };
        // The connection is closed before the end, so that nobody takes a part for the whole.
        let chunk = chunk?.map(Bytes::from).map_err(|error: PageError| {
            tracing::warn!("a download of the log ends early: {}", error.reason());
            io::Error::other("the learner database failed")
        });
        Some((chunk, (None, receiver, deadline)))
    });
    let headers = [
        (CONTENT_TYPE, "text/csv; charset=utf-8; header=present"),
        (CONTENT_DISPOSITION, "attachment; filename=\"provisioning-log.csv\""),
    ];
    Ok((headers, Body::from_stream(chunks)).into_response())
}

/// Sends all rows, or the error that ends them.
async fn send(source: &Source, entries: &Entries, sender: mpsc::Sender<Result<Vec<u8>, PageError>>) {
    let store = match reader::limited(source.open()).await {
        Ok(store) => store,
        Err(error) => return drop(sender.send(Err(error)).await),
    };
    if let Err(error) = send_rows(&store, entries, &sender).await {
        // The client may have gone.
        let _ = sender.send(Err(error)).await;
    }
    // Only read, so nothing is lost.
    let _ = reader::limited(store.close()).await;
}

async fn send_rows(
    store: &Store,
    entries: &Entries,
    sender: &mpsc::Sender<Result<Vec<u8>, PageError>>,
) -> Result<(), PageError> {
    let (mut last, mut is_first) = (0, true);
    let part = &entries.0.range;
    loop {
        let range = RowRange {
            since: part.since,
            until: part.until,
            after: Some(last),
            limit: Some(CHUNK),
            ..Default::default()
        };
        let page = reader::limited(entries.read(store, range)).await?;
        let end = page.ids.last().copied();
        // Writing to memory cannot fail.
        let chunk = csv_rows(Entries::KEYS, is_first, page.rows.iter().map(Entries::as_json)).unwrap_or_default();
        if (is_first || !chunk.is_empty()) && sender.send(Ok(chunk)).await.is_err() {
            return Ok(());
        }
        is_first = false;
        match end {
            Some(end) => last = end,
            None => return Ok(()),
        }
    }
}
