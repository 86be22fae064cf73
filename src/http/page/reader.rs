//! Reading the learner database for one answer.

use std::sync::Arc;
use std::time::Duration;

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;
use maud::html;
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::PageState;
use super::layout::{document, respond};
use crate::runtime::App;
use crate::runtime::preflight::PreflightError;
use crate::runtime::status::with_hint;
use crate::store::{Access, Store, StoreError};

/// How long an answer waits for its turn.
const TURN_TIMEOUT: Duration = Duration::from_secs(3);
/// How long reading may take. With the turn, it ends before the listener closes the connection.
const READ_TIMEOUT: Duration = Duration::from_secs(8);

/// Why there is no page.
#[derive(Debug)]
pub(super) enum PageError {
    /// A parameter is unknown or wrong.
    BadRequest(String),
    /// The query is too long.
    TooLong,
    /// There is no such page.
    NotFound(String),
    /// Too many answers are being made.
    Busy,
    /// The learner database cannot be read.
    Unreadable(String),
    /// A defect.
    Panicked,
}

impl From<StoreError> for PageError {
    fn from(error: StoreError) -> Self {
        Self::Unreadable(with_hint(&PreflightError::from(error)))
    }
}

impl IntoResponse for PageError {
    fn into_response(self) -> Response {
        let (status, title, message) = match self {
            Self::BadRequest(message) => (StatusCode::BAD_REQUEST, "Invalid address", message),
            Self::TooLong => {
                let message = "the part of the address after ? is too long";
                (StatusCode::URI_TOO_LONG, "Invalid address", message.to_owned())
            }
            Self::NotFound(message) => (StatusCode::NOT_FOUND, "Not found", message),
            Self::Busy => {
                let message = "too many pages are being read at the moment; load this page again";
                (StatusCode::SERVICE_UNAVAILABLE, "Busy", message.to_owned())
            }
            Self::Unreadable(message) => {
                (StatusCode::SERVICE_UNAVAILABLE, "The learner database cannot be read", message)
            }
            Self::Panicked => {
                let message = "the page could not be made; see the log of the service".to_owned();
                (StatusCode::INTERNAL_SERVER_ERROR, "Error", message)
            }
        };
        let body = html! {
            p { (crate::view::shown(&message)) }
            p { a href="/" { "Status" } " · " a href="/log" { "Log" } }
        };
        respond(status, document(title, None, &body))
    }
}

/// What an answer is made from.
pub(super) struct Source {
    pub(super) app: Arc<App>,
    pub(super) now: Timestamp,
}

impl Source {
    pub(super) fn new(state: &PageState) -> Self {
        let app = Arc::clone(&state.observed.app.borrow());
        Self { app, now: (state.observed.clock)() }
    }

    /// Opens the learner database to read.
    pub(super) async fn open(&self) -> Result<Store, StoreError> {
        Store::open(&self.app.learners, Access::ReadBriefly).await
    }
}

/// Waits for a turn, but not for long.
pub(super) async fn turn(turns: &Arc<Semaphore>) -> Result<OwnedSemaphorePermit, PageError> {
    let permit = tokio::time::timeout(TURN_TIMEOUT, Arc::clone(turns).acquire_owned()).await;
    // The semaphore is never closed.
    permit.ok().and_then(Result::ok).ok_or(PageError::Busy)
}

/// Makes an answer in its turn, on a thread of its own: neither a disk that does not answer nor a long page delays anybody
/// else.
pub(super) async fn answer<F>(state: PageState, make: F) -> Result<Response, PageError>
where
    F: AsyncFnOnce(Source) -> Result<Response, PageError> + Send + 'static,
{
    let permit = turn(&state.pages).await?;
    let source = Source::new(&state);
    let handle = Handle::current();
    let made = tokio::task::spawn_blocking(move || {
        // Held until the work ends, also when the client has gone.
        let _permit = permit;
        handle.block_on(async {
            let made = tokio::time::timeout(READ_TIMEOUT, make(source)).await;
            let message = "it is locked or does not answer; load this page again, or narrow the search";
            made.unwrap_or_else(|_| Err(PageError::Unreadable(message.to_owned())))
        })
    });
    // The thread cannot be stopped while a disk does not answer.
    let made = tokio::time::timeout(READ_TIMEOUT + Duration::from_secs(1), made).await;
    match made {
        Ok(Ok(made)) => made,
        Ok(Err(_)) => Err(PageError::Panicked),
        Err(_) => Err(PageError::Unreadable("its disk does not answer".to_owned())),
    }
}
