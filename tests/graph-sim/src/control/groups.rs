//! `/control/groups` and `/control/assignments`

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, State};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{ControlError, ControlResult, Simulator, id_of, read};
use crate::tenant::{DEFAULT_ACCESS, Group, Tenant};

fn shown(tenant: &Tenant, group: &Group) -> Value {
    let assigned = tenant.application.assignments().any(|(principal, _)| principal == group.id);
    json!({
        "id": group.id,
        "displayName": group.display_name,
        "visibility": group.visibility,
        "members": group.members().count(),
        "assigned": assigned,
    })
}

pub(super) async fn list(State(shared): Simulator) -> ControlResult {
    let tenant = shared.tenant();
    Ok(Json(json!({ "groups": tenant.groups().map(|group| shown(&tenant, group)).collect::<Vec<_>>() })))
}

pub(super) async fn show(State(shared): Simulator, path: Path<String>) -> ControlResult {
    let tenant = shared.tenant();
    let id = id_of(path);
    let group = tenant.group(&id).ok_or_else(|| ControlError::nothing(&id))?;
    let mut answer = shown(&tenant, group);
    let member =
        |(id, kind)| json!({ "id": id, "type": format!("{kind:?}"), "displayName": tenant.display_name_of(id) });
    answer["members"] = group.members().map(member).collect();
    Ok(Json(answer))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct NewGroup {
    display_name: String,
    visibility: Option<String>,
    #[serde(default)]
    assign: bool,
}

pub(super) async fn add(State(shared): Simulator, body: Bytes) -> ControlResult {
    let NewGroup { display_name, visibility, assign } = read(&body)?;
    let mut tenant = shared.tenant();
    let id = tenant.add_group(&display_name);
    tenant.group_mut(&id).visibility = visibility;
    if assign {
        tenant.assign_group(&id);
    }
    Ok(Json(tenant.group(&id).map(|group| shown(&tenant, group)).unwrap_or_default()))
}

pub(super) async fn delete(State(shared): Simulator, path: Path<String>) -> ControlResult {
    let mut tenant = shared.tenant();
    let id = id_of(path);
    if tenant.group(&id).is_none() {
        return Err(ControlError::nothing(&id));
    }
    tenant.delete_group(&id);
    Ok(Json(json!({ "id": id, "deleted": true })))
}

/// The ids of an existing group and an existing object that can be its member.
fn pair(tenant: &Tenant, group: &str, member: &str) -> Result<(String, String), ControlError> {
    let group = group.to_ascii_lowercase();
    let member = tenant.find_user(member).map_or_else(|| member.to_ascii_lowercase(), |user| user.id.clone());
    if tenant.group(&group).is_none() {
        return Err(ControlError::nothing(&group));
    }
    if tenant.kind_of(&member).is_none() {
        return Err(ControlError::nothing(&member));
    }
    Ok((group, member))
}

pub(super) async fn add_member(
    State(shared): Simulator,
    Path((group, member)): Path<(String, String)>,
) -> ControlResult {
    let mut tenant = shared.tenant();
    let (group, member) = pair(&tenant, &group, &member)?;
    tenant.add_member(&group, &member);
    Ok(Json(json!({ "group": group, "member": member, "added": true })))
}

pub(super) async fn remove_member(
    State(shared): Simulator,
    Path((group, member)): Path<(String, String)>,
) -> ControlResult {
    let mut tenant = shared.tenant();
    let (group, member) = pair(&tenant, &group, &member)?;
    tenant.remove_member(&group, &member);
    Ok(Json(json!({ "group": group, "member": member, "removed": true })))
}

pub(super) async fn assignments(State(shared): Simulator) -> ControlResult {
    let tenant = shared.tenant();
    let row = |(principal, role): (&str, &str)| {
        json!({
            "principal": principal,
            "role": role,
            "type": tenant.kind_of(principal).map(|kind| format!("{kind:?}")),
            "displayName": tenant.display_name_of(principal),
        })
    };
    Ok(Json(json!({ "assignments": tenant.application.assignments().map(row).collect::<Vec<_>>() })))
}

/// The principal to assign, by id or user principal name.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewAssignment {
    principal: String,
    role: Option<String>,
}

pub(super) async fn assign(State(shared): Simulator, body: Bytes) -> ControlResult {
    let NewAssignment { principal, role } = read(&body)?;
    let mut tenant = shared.tenant();
    let principal = principal_id(&tenant, &principal)?;
    let role = role.as_deref().unwrap_or(DEFAULT_ACCESS);
    tenant.assign_user_with_role(&principal, role);
    Ok(Json(json!({ "principal": principal, "role": role, "assigned": true })))
}

pub(super) async fn unassign(State(shared): Simulator, Path(principal): Path<String>) -> ControlResult {
    let mut tenant = shared.tenant();
    // A deleted principal may still have rows, so an unknown id is accepted.
    let principal = principal_id(&tenant, &principal).unwrap_or(principal);
    tenant.unassign(&principal);
    Ok(Json(json!({ "principal": principal, "assigned": false })))
}

fn principal_id(tenant: &Tenant, principal: &str) -> Result<String, ControlError> {
    let id = tenant.find_user(principal).map_or_else(|| principal.to_ascii_lowercase(), |user| user.id.clone());
    if tenant.kind_of(&id).is_some() { Ok(id) } else { Err(ControlError::nothing(principal)) }
}
