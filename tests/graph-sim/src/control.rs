//! The control API changes a running simulator, for example with curl. It takes and returns JSON, needs no token, and
//! is not recorded in the journal.

mod faults;
mod groups;
mod users;

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{Path, RawQuery, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use axum::{Json, Router};
use jiff::SignedDuration;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::clock::{self, DateHeader};
use crate::encoding::form_pairs;
use crate::server::Shared;

pub(crate) fn router() -> Router<Arc<Shared>> {
    Router::new()
        .route("/control/summary", get(summary))
        .route("/control/users", get(users::list).post(users::add))
        .route("/control/users/{id}", get(users::show).patch(users::change).delete(users::delete))
        .route("/control/users/{id}/restore", post(users::restore))
        .route("/control/users/{id}/recreate", post(users::recreate))
        .route("/control/application/recreate", post(recreate_application))
        .route("/control/groups", get(groups::list).post(groups::add))
        .route("/control/groups/{id}", get(groups::show).delete(groups::delete))
        .route("/control/groups/{id}/members/{member}", post(groups::add_member).delete(groups::remove_member))
        .route("/control/assignments", get(groups::assignments).post(groups::assign))
        .route("/control/assignments/{principal}", delete(groups::unassign))
        .route("/control/permissions", get(permissions).post(change_permissions))
        .route("/control/tokens", delete(revoke_tokens))
        .route("/control/date", post(set_date).delete(reset_date))
        .route("/control/faults", post(faults::inject).delete(faults::clear))
        .route("/control/journal", get(journal).delete(clear_journal))
}

type ControlResult = Result<Json<Value>, ControlError>;
type Simulator = State<Arc<Shared>>;

struct ControlError(StatusCode, String);

impl IntoResponse for ControlError {
    fn into_response(self) -> Response {
        (self.0, Json(json!({ "error": self.1 }))).into_response()
    }
}

impl ControlError {
    fn bad(message: impl Into<String>) -> Self {
        Self(StatusCode::BAD_REQUEST, message.into())
    }

    fn nothing(id: &str) -> Self {
        Self(StatusCode::NOT_FOUND, format!("{id} does not exist"))
    }
}

/// Parses a JSON body. The content type is ignored, because curl sends a form type by default.
fn read<T: DeserializeOwned>(body: &Bytes) -> Result<T, ControlError> {
    serde_json::from_slice(body).map_err(|error| ControlError::bad(format!("invalid body: {error}")))
}

fn option(query: Option<&str>, name: &str) -> Option<String> {
    let pairs = form_pairs(query.unwrap_or_default());
    pairs.into_iter().find(|(known, _)| known == name).map(|(_, value)| value)
}

async fn summary(State(shared): Simulator) -> ControlResult {
    let tenant = shared.tenant();
    let disabled = tenant.users().filter(|user| user.account_enabled == Some(false)).count();
    Ok(Json(json!({
        "tenant_id": tenant.tenant_id,
        "client_id": tenant.client_id,
        "enterprise_app": tenant.application.object_id,
        "users": tenant.users().count(),
        "disabled": disabled,
        "deleted": tenant.deleted_users().count(),
        "groups": tenant.groups().count(),
        "assignments": tenant.application.assignments().count(),
        "permissions": tenant.permissions,
    })))
}

async fn recreate_application(State(shared): Simulator) -> ControlResult {
    Ok(Json(json!({ "enterprise_app": shared.tenant().recreate_application() })))
}

async fn permissions(State(shared): Simulator) -> ControlResult {
    Ok(Json(json!({ "permissions": shared.tenant().permissions })))
}

/// Permissions to grant and revoke; issued tokens keep theirs.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PermissionChange {
    #[serde(default)]
    grant: Vec<String>,
    #[serde(default)]
    revoke: Vec<String>,
}

async fn change_permissions(State(shared): Simulator, body: Bytes) -> ControlResult {
    let PermissionChange { grant, revoke } = read(&body)?;
    let mut tenant = shared.tenant();
    tenant.permissions.extend(grant);
    tenant.permissions.retain(|permission| !revoke.contains(permission));
    Ok(Json(json!({ "permissions": tenant.permissions })))
}

async fn revoke_tokens(State(shared): Simulator) -> ControlResult {
    shared.revoke_tokens();
    Ok(Json(json!({ "revoked": true })))
}

/// The `Date` of the answers: seconds ahead of the real time, literal values, or what is wrong with it.
#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum DateRequest {
    Ahead(i64),
    Values(Vec<String>),
    Missing,
    Cached,
}

async fn set_date(State(shared): Simulator, body: Bytes) -> ControlResult {
    *shared.date() = match read(&body)? {
        DateRequest::Ahead(seconds) => {
            let time = clock::now().checked_add(SignedDuration::from_secs(seconds));
            DateHeader::clock(time.map_err(|error| ControlError::bad(error.to_string()))?)
        }
        DateRequest::Values(values) => DateHeader::Text(values),
        DateRequest::Missing => DateHeader::Missing,
        DateRequest::Cached => DateHeader::Cached,
    };
    Ok(Json(json!({ "date": shared.date().headers() })))
}

async fn reset_date(State(shared): Simulator) -> ControlResult {
    *shared.date() = DateHeader::Real;
    Ok(Json(json!({ "date": shared.date().headers() })))
}

async fn journal(State(shared): Simulator, RawQuery(query): RawQuery) -> ControlResult {
    let limit = option(query.as_deref(), "limit").and_then(|limit| limit.parse().ok()).unwrap_or(100);
    let journal = shared.journal();
    let calls = journal.calls();
    let latest = &calls[calls.len().saturating_sub(limit)..];
    Ok(Json(json!({ "total": calls.len(), "calls": latest.iter().map(|call| call.to_json()).collect::<Vec<_>>() })))
}

async fn clear_journal(State(shared): Simulator) -> ControlResult {
    shared.journal().clear();
    Ok(Json(json!({ "total": 0 })))
}

/// The id in a path, in lower case unless it is a user principal name.
fn id_of(path: Path<String>) -> String {
    if path.contains('@') { path.0 } else { path.0.to_ascii_lowercase() }
}
