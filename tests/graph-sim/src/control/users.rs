//! `/control/users`

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, RawQuery, State};
use serde_json::{Map, Value, json};

use super::{Answer, Refusal, Simulator, id_of, option, read};
use crate::property::Property;
use crate::tenant::Tenant;
use crate::user::User;

fn shown(user: &User) -> Value {
    Property::all(user).iter().map(|property| (property.name.clone(), property.value(user))).collect()
}

/// An id from an id or a user principal name; of deleted users the id only.
fn resolve(tenant: &Tenant, id: &str) -> Result<String, Refusal> {
    let user = tenant.find_user(id).or_else(|| tenant.user(id));
    user.map(|user| user.id.clone()).ok_or_else(|| Refusal::nothing(id))
}

pub(super) async fn list(State(shared): Simulator, RawQuery(query): RawQuery) -> Answer {
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

pub(super) async fn show(State(shared): Simulator, path: Path<String>) -> Answer {
    let tenant = shared.tenant();
    let id = resolve(&tenant, &id_of(path))?;
    Ok(Json(tenant.user(&id).map(shown).unwrap_or_default()))
}

/// Hires somebody: attributes by Graph's names, beside them `assign: true` and `group: "<id>"`.
pub(super) async fn hire(State(shared): Simulator, body: Bytes) -> Answer {
    let mut attributes: Map<String, Value> = read(&body)?;
    let assign = attributes.remove("assign").is_some_and(|value| value == Value::Bool(true));
    let group = attributes.remove("group");
    if let Some(Value::Object(inner)) = attributes.remove("attributes") {
        attributes.extend(inner);
    }
    let name = |key: &str| attributes.get(key).and_then(Value::as_str).unwrap_or_default();
    if name("givenName").is_empty() || name("surname").is_empty() {
        return Err(Refusal::bad("givenName and surname are needed"));
    }
    let mut user = User::named(name("givenName"), name("surname"));
    for (key, value) in attributes {
        user.set(&key, value).map_err(Refusal::bad)?;
    }
    let mut tenant = shared.tenant();
    let group = match group.as_ref().map(|group| group.as_str().unwrap_or_default()) {
        Some(group) if tenant.group(group).is_none() => return Err(Refusal::nothing(group)),
        group => group,
    };
    let id = tenant.hire(user);
    if assign {
        tenant.assign_user(&id);
    }
    if let Some(group) = group {
        tenant.add_member(group, &id);
    }
    Ok(Json(tenant.user(&id).map(shown).unwrap_or_default()))
}

pub(super) async fn change(State(shared): Simulator, path: Path<String>, body: Bytes) -> Answer {
    let attributes: Map<String, Value> = read(&body)?;
    let mut tenant = shared.tenant();
    let id = resolve(&tenant, &id_of(path))?;
    // All or nothing: a value that does not fit leaves the user as it was.
    let mut changed = tenant.user_mut(&id).clone();
    for (key, value) in attributes {
        changed.set(&key, value).map_err(Refusal::bad)?;
    }
    let answer = shown(&changed);
    *tenant.user_mut(&id) = changed;
    Ok(Json(answer))
}

pub(super) async fn delete(State(shared): Simulator, path: Path<String>, RawQuery(query): RawQuery) -> Answer {
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

pub(super) async fn restore(State(shared): Simulator, path: Path<String>) -> Answer {
    let mut tenant = shared.tenant();
    let id = resolve(&tenant, &id_of(path))?;
    if tenant.find_user(&id).is_none() {
        tenant.restore_user(&id);
    }
    Ok(Json(tenant.user(&id).map(shown).unwrap_or_default()))
}
