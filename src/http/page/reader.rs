//! Reading the learner database for one answer.

use std::sync::{Arc, Once};
use std::thread;
use std::time::Duration;

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;
use maud::html;
use rustix::process::nice;
use tokio::runtime::Builder;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use super::PageState;
use super::layout::{alert, document, respond};
use super::query::{RefusedQuery, link};
use crate::failpoint::{Step, reached};
use crate::runtime::App;
use crate::runtime::preflight::PreflightError;
use crate::runtime::status::with_hint;
use crate::store::{Access, Store, StoreError};
use crate::view::shown;

/// How long an answer waits for its turn.
const TURN_TIMEOUT: Duration = Duration::from_secs(3);
/// How long reading may take. With the turn, it ends before the listener closes the connection.
const READ_TIMEOUT: Duration = Duration::from_secs(8);
/// How long other disk work may take after that.
const AFTERWARDS_TIMEOUT: Duration = Duration::from_secs(1);

/// The highest niceness.
const LOWEST_PRIORITY: i32 = 19;
/// The refusal of a lower priority, which is logged once.
static REFUSED_PRIORITY: Once = Once::new();

/// A page that can be loaded without parameters.
#[derive(Debug)]
pub(super) struct PageName {
    pub(super) title: &'static str,
    pub(super) path: String,
}

/// Why there is no page.
#[derive(Debug)]
pub(super) enum PageError {
    /// The query of this page is refused.
    Refused(RefusedQuery, PageName),
    /// The id of a user is not text.
    NotText,
    /// No page has this address.
    UnknownPage,
    /// This text is not the id of a known user.
    UnknownUser(String),
    /// Too many answers are being made.
    Busy,
    /// The learner database cannot be read.
    Unreadable(String),
    /// The learner database, or the disk with it, does not answer.
    TimedOut(String),
    /// A defect.
    Panicked,
}

impl From<StoreError> for PageError {
    fn from(error: StoreError) -> Self {
        Self::Unreadable(with_hint(&PreflightError::from(error)))
    }
}

impl PageError {
    /// The reason, for the log.
    pub(super) fn reason(&self) -> &str {
        match self {
            Self::Unreadable(reason) | Self::TimedOut(reason) => reason,
            _ => "the page could not be made",
        }
    }
}

impl IntoResponse for PageError {
    fn into_response(self) -> Response {
        let mut search = None;
        let (status, title, message) = match self {
            Self::Refused(RefusedQuery { status, message, .. }, PageName { title, path }) => {
                let body = html! {
                    (alert(&message))
                    p { a href=(path) { "Load this page without parameters" } }
                };
                return respond(status, document(title, Some(&path), &body));
            }
            Self::NotText => {
                (StatusCode::BAD_REQUEST, "Invalid address", "the id of the user is not text in UTF-8".to_owned())
            }
            Self::UnknownPage => (StatusCode::NOT_FOUND, "Not found", "No page has this address.".to_owned()),
            Self::UnknownUser(user) => {
                let address = link("/log", [("user", user.clone())].into_iter());
                search = Some((address, format!("Search the log for {}", shown(&user))));
                let message = "no user with this id is known to learner-sync";
                (StatusCode::NOT_FOUND, "Not found", message.to_owned())
            }
            Self::Busy => {
                let message = "too many pages are being read at the moment; load this page again";
                (StatusCode::SERVICE_UNAVAILABLE, "Busy", message.to_owned())
            }
            Self::Unreadable(message) | Self::TimedOut(message) => {
                (StatusCode::SERVICE_UNAVAILABLE, "The learner database cannot be read", message)
            }
            Self::Panicked => {
                let message = "the page could not be made; see the log of the service".to_owned();
                (StatusCode::INTERNAL_SERVER_ERROR, "Error", message)
            }
        };
        let body = html! {
            p { (shown(&message)) }
            @if let Some((address, text)) = search { p { a href=(address) { (text) } } }
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
    tracing::debug!("a page is read from the learner database");
    let source = Source::new(&state);
    let made = on_own_thread(async move || {
        // Held until the work ends, also when the client has gone.
        let _permit = permit;
        reached(Step::PageReading);
        let made = tokio::time::timeout(READ_TIMEOUT, make(source)).await;
        made.unwrap_or_else(|_| Err(unanswered()))
    })?;
    // The thread cannot be stopped while a disk does not answer.
    let made = tokio::time::timeout(READ_TIMEOUT + Duration::from_secs(1), made).await;
    match made {
        Ok(Ok(made)) => made,
        Ok(Err(_)) => Err(PageError::Panicked),
        Err(_) => Err(PageError::TimedOut("its disk does not answer".to_owned())),
    }
}

/// Starts `work` with the lowest priority: it reads beside a cycle, which comes first. A thread without privileges does not
/// get its priority back, and passes it on to those it starts. The work therefore has a thread and a runtime that end with
/// it, because a cycle uses the other threads.
pub(super) fn on_own_thread<T: Send + 'static>(
    work: impl AsyncFnOnce() -> T + Send + 'static,
) -> Result<oneshot::Receiver<T>, PageError> {
    let (sender, done) = oneshot::channel();
    let started = thread::Builder::new().name("page".to_owned()).spawn(move || {
        if let Err(error) = nice(LOWEST_PRIORITY) {
            REFUSED_PRIORITY.call_once(|| tracing::debug!("pages are read with the priority of cycles: {error}"));
        }
        let runtime = match Builder::new_current_thread().enable_all().thread_name("page-disk").build() {
            Ok(runtime) => runtime,
            Err(error) => return tracing::warn!("a page cannot be made: {error}"),
        };
        let result = runtime.block_on(work());
        // A disk that does not answer keeps its thread.
        runtime.shutdown_background();
        // The client may have gone.
        let _ = sender.send(result);
    });
    started.map(|_| done).map_err(|_| PageError::Busy)
}

/// The result of a part of an answer, which must not wait for ever.
pub(super) async fn limited<T>(part: impl Future<Output = Result<T, StoreError>>) -> Result<T, PageError> {
    let done = tokio::time::timeout(READ_TIMEOUT, part).await;
    Ok(done.map_err(|_| unanswered())??)
}

fn unanswered() -> PageError {
    let message = "it is locked or does not answer; load this page again, or narrow the search";
    PageError::TimedOut(message.to_owned())
}

/// Does other disk work on a thread of its own, unless all of them are busy or the disk does not answer.
pub(super) async fn apart<T: Send + 'static>(
    state: &PageState,
    work: impl FnOnce() -> T + Send + 'static,
) -> Option<T> {
    let permit = Arc::clone(&state.pages).try_acquire_owned().ok()?;
    let done = on_own_thread(async move || {
        let _permit = permit;
        work()
    });
    let done = done.ok()?;
    tokio::time::timeout(AFTERWARDS_TIMEOUT, done).await.ok()?.ok()
}
