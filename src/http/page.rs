//! The status page: what `status`, `log` and `mapping check` show, for a browser. It reads and changes nothing; where
//! something is to be done, it names the command.
//!
//! For an answer, `reader` opens the learner database, reads it within a few seconds, and closes it, for a few answers at a
//! time; `sharing` gives an answer to several readers and limits the rate. `query` reads the parameters, `layout` has what
//! all pages share, and each other module has one page.

mod csv;
mod cycles;
mod history;
mod layout;
mod log;
mod mapping;
mod overview;
mod query;
mod reader;
mod sharing;
mod user;
mod user_records;

use std::sync::Arc;

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, RawQuery, State};
use axum::http::header::CONTENT_TYPE;
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Extension, Router};
use tokio::sync::Semaphore;

use self::layout::STYLE;
use self::query::{CyclesQuery, LogQuery, RefusedQuery, UserQuery, encoded, no_parameters};
use self::reader::{PageError, PageName};
use self::sharing::{Sharing, pace, share};
use super::Observed;
use super::serve::ConnectionDeadline;

/// How many pages read the learner database at a time; more of them wait.
const PAGES: usize = 4;
/// How many downloads run at a time.
const DOWNLOADS: usize = 2;

/// What the pages need.
#[derive(Clone, Debug)]
struct PageState {
    observed: Observed,
    pages: Arc<Semaphore>,
    downloads: Arc<Semaphore>,
}

/// The routes of the page.
pub(super) fn routes(observed: Observed) -> Router {
    let (pages, downloads) = (Arc::new(Semaphore::new(PAGES)), Arc::new(Semaphore::new(DOWNLOADS)));
    let sharing = Sharing::new(observed.record.clone());
    Router::new()
        .route("/", get(overview))
        .route("/log", get(log))
        .route("/users/{user}", get(user))
        .route("/mapping", get(mapping))
        .route("/cycles", get(cycles))
        .route_layer(from_fn_with_state(sharing.clone(), share))
        .route("/log.csv", get(log_csv))
        .route(STYLE, get(style))
        .fallback(unknown_page)
        .layer(from_fn_with_state(sharing, pace))
        .with_state(PageState { observed, pages, downloads })
}

async fn unknown_page() -> PageError {
    PageError::UnknownPage
}

/// The reader stays on the page, which says what to correct.
fn refused_on(title: &'static str, path: &str) -> impl FnOnce(RefusedQuery) -> PageError {
    let page = PageName { title, path: path.to_owned() };
    |refused| PageError::Refused(refused, page)
}

async fn style() -> Response {
    ([(CONTENT_TYPE, "text/css; charset=utf-8")], include_str!("page/style.css")).into_response()
}

async fn overview(State(state): State<PageState>, RawQuery(query): RawQuery) -> Result<Response, PageError> {
    no_parameters(query).map_err(refused_on("Status", "/"))?;
    overview::answer(state).await
}

async fn log(State(state): State<PageState>, RawQuery(query): RawQuery) -> Result<Response, PageError> {
    log::answer(state, LogQuery::parse(query)).await
}

async fn log_csv(
    State(state): State<PageState>,
    Extension(deadline): Extension<ConnectionDeadline>,
    RawQuery(query): RawQuery,
) -> Result<Response, PageError> {
    csv::answer(state, deadline, LogQuery::parse(query)).await
}

async fn user(
    State(state): State<PageState>,
    user: Result<Path<String>, PathRejection>,
    RawQuery(query): RawQuery,
) -> Result<Response, PageError> {
    let Path(user) = user.map_err(|_| PageError::NotText)?;
    let query = UserQuery::parse(query).map_err(refused_on("User", &format!("/users/{}", encoded(&user))))?;
    user::answer(state, user, query).await
}

async fn mapping(State(state): State<PageState>, RawQuery(query): RawQuery) -> Result<Response, PageError> {
    no_parameters(query).map_err(refused_on("Mapping", "/mapping"))?;
    Ok(mapping::answer(&state))
}

async fn cycles(State(state): State<PageState>, RawQuery(query): RawQuery) -> Result<Response, PageError> {
    cycles::answer(state, CyclesQuery::parse(query).map_err(refused_on("Cycles", "/cycles"))?).await
}
