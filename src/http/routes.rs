//! The answers.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::header::{ACCEPT, CONTENT_TYPE};
use axum::http::{HeaderMap, StatusCode};
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use super::Observed;
use super::access::{AccessRules, admit};
use super::metrics::MetricsFormat;
use super::page;

pub(super) const HEALTH: &str = "/healthz";
pub(super) const READINESS: &str = "/readyz";
const METRICS: &str = "/metrics";

pub(super) fn routes(access: Arc<AccessRules>, observed: Observed, has_page: bool) -> Router {
    let pages = if has_page { page::routes(observed.clone()) } else { Router::new().fallback(not_found) };
    Router::new()
        .route(HEALTH, get(health))
        .route(READINESS, get(readiness))
        .route(METRICS, get(metrics))
        .with_state(observed)
        .merge(pages)
        .layer(from_fn_with_state(access, admit))
}

async fn health() -> &'static str {
    "ok\n"
}

/// Ready in every state that an administrator need not end at once.
async fn readiness(State(observed): State<Observed>) -> Response {
    let facts = observed.record.borrow().situation(true).facts((observed.clock)());
    let state = facts.report().state;
    let status = if state.exit_code() == 1 { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK };
    (status, format!("{state}\n")).into_response()
}

async fn metrics(State(observed): State<Observed>, headers: HeaderMap) -> Response {
    let accepted = headers.get(ACCEPT).and_then(|types| types.to_str().ok()).unwrap_or_default();
    let format = MetricsFormat::accepted(accepted);
    let text = observed.metrics.encode(format, &observed.record.borrow(), (observed.clock)());
    match text {
        Ok(text) => ([(CONTENT_TYPE, format.content_type())], text).into_response(),
        Err(error) => {
            tracing::error!("cannot write the metrics: {error}");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

async fn not_found() -> (StatusCode, &'static str) {
    (StatusCode::NOT_FOUND, "not found\n")
}
