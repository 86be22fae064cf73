//! `/control/users`

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, RawQuery, State};
use serde_json::{Map, Value, json};

use super::{ControlError, ControlResult, Simulator, id_of, option, read};
use crate::property::Property;
use crate::tenant::Tenant;
use crate::user::User;

fn shown(user: &User) -> Value {
    Property::all(user).iter().map(|property| (property.name.clone(), property.value(user))).collect()
}

/// The id of a user by id or user principal name; soft-deleted users by id only.
fn resolve(tenant: &Tenant, id: &str) -> Result<String, ControlError> {
    let user = tenant.find_user(id).or_else(|| tenant.user(id));
    user.map(|user| user.id.clone()).ok_or_else(|| ControlError::nothing(id))
}

pub(super) async fn list(State(shared): Simulator, RawQuery(query): RawQuery) -> ControlResult {
    let limit = option(query.as_deref(), "limit").and_then(|limit| limit.parse().ok()).unwrap_or(20);
    let tenant = shared.tenant();
    let row = |user: &User| {
        json!({
            "id": user.id,
            "userPrincipalName": user.user_principal_name,
            "displayName": user.display_name,
            "department": user.department,
            "accountEnabled": user.account_enabled,
        })
    };
    let rows: Vec<_> = tenant.users().take(limit).map(row).collect();
    Ok(Json(json!({ "total": tenant.users().count(), "users": rows })))
}

pub(super) async fn show(State(shared): Simulator, path: Path<String>) -> ControlResult {
    let tenant = shared.tenant();
    let id = resolve(&tenant, &id_of(path))?;
    Ok(Json(tenant.user(&id).map(shown).unwrap_or_default()))
}

/// Adds a user: attributes by Graph's names, and optionally `assign: true` and `group: "<id>"`.
pub(super) async fn add(State(shared): Simulator, body: Bytes) -> ControlResult {
    let mut attributes: Map<String, Value> = read(&body)?;
    let assign = attributes.remove("assign").is_some_and(|value| value == Value::Bool(true));
    let group = attributes.remove("group");
    if let Some(Value::Object(inner)) = attributes.remove("attributes") {
        attributes.extend(inner);
    }
    let name = |key: &str| attributes.get(key).and_then(Value::as_str).unwrap_or_default();
    if name("givenName").is_empty() || name("surname").is_empty() {
        return Err(ControlError::bad("givenName and surname are required"));
    }
    let mut user = User::named(name("givenName"), name("surname"));
    for (key, value) in attributes {
        user.set(&key, value).map_err(ControlError::bad)?;
    }
    let mut tenant = shared.tenant();
    let group = match group.as_ref().map(|group| group.as_str().unwrap_or_default()) {
        Some(group) if tenant.group(group).is_none() => return Err(ControlError::nothing(group)),
        group => group,
    };
    let id = tenant.add_user(user);
    if assign {
        tenant.assign_user(&id);
    }
    if let Some(group) = group {
        tenant.add_member(group, &id);
    }
    Ok(Json(tenant.user(&id).map(shown).unwrap_or_default()))
}

pub(super) async fn change(State(shared): Simulator, path: Path<String>, body: Bytes) -> ControlResult {
    let attributes: Map<String, Value> = read(&body)?;
    let mut tenant = shared.tenant();
    let id = resolve(&tenant, &id_of(path))?;
    // An invalid value must leave the user unchanged.
    let mut changed = tenant.user_mut(&id).clone();
    for (key, value) in attributes {
        changed.set(&key, value).map_err(ControlError::bad)?;
    }
    let answer = shown(&changed);
    *tenant.user_mut(&id) = changed;
    Ok(Json(answer))
}

pub(super) async fn delete(State(shared): Simulator, path: Path<String>, RawQuery(query): RawQuery) -> ControlResult {
    let mut tenant = shared.tenant();
    let id = resolve(&tenant, &id_of(path))?;
    let purge = option(query.as_deref(), "purge").is_some_and(|value| value == "true");
    if purge {
        tenant.purge_user(&id);
    } else if tenant.find_user(&id).is_some() {
        tenant.delete_user(&id);
    }
    Ok(Json(json!({ "id": id, "deleted": true, "purged": purge })))
}

pub(super) async fn restore(State(shared): Simulator, path: Path<String>) -> ControlResult {
    let mut tenant = shared.tenant();
    let id = resolve(&tenant, &id_of(path))?;
    if tenant.find_user(&id).is_none() {
        tenant.restore_user(&id);
    }
    Ok(Json(tenant.user(&id).map(shown).unwrap_or_default()))
}

pub(super) async fn recreate(State(shared): Simulator, path: Path<String>) -> ControlResult {
    let mut tenant = shared.tenant();
    let id = resolve(&tenant, &id_of(path))?;
    if tenant.find_user(&id).is_none() {
        return Err(ControlError::nothing(&id));
    }
    let new = tenant.recreate_user(&id);
    Ok(Json(tenant.user(&new).map(shown).unwrap_or_default()))
}
