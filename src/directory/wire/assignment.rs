//! Rows of `appRoleAssignedTo`: <https://learn.microsoft.com/graph/api/resources/approleassignment>.

use std::collections::BTreeMap;

use serde_json::value::RawValue;

use super::object::{Members, decode};
use super::user::InvalidRow;
use crate::model::EntraId;

/// The type of the principal of an assignment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::directory) enum PrincipalType {
    User,
    Group,
    ServicePrincipal,
    /// Null, missing or unknown.
    Unknown,
}

/// A row. A value that cannot be decoded is `None`.
#[derive(Debug)]
pub(in crate::directory) struct AssignmentRow {
    /// The id of the assignment, which is not a GUID.
    pub(in crate::directory) id: Option<String>,
    pub(in crate::directory) principal: Option<EntraId>,
    pub(in crate::directory) kind: PrincipalType,
    /// The display name of the principal.
    pub(in crate::directory) name: Option<String>,
    pub(in crate::directory) role: Option<EntraId>,
    /// The application.
    pub(in crate::directory) resource: Option<EntraId>,
}

/// Decodes a row.
pub(in crate::directory) fn assignment(json: &str) -> Result<AssignmentRow, InvalidRow> {
    let Members(members) = decode(json).map_err(InvalidRow::NoObject)?;
    let mut values: BTreeMap<&str, Option<&RawValue>> = BTreeMap::new();
    for (key, value) in &members {
        if key == "error" {
            return Err(InvalidRow::Failed(super::error_beside_data(value)));
        }
        // A key that occurs twice says nothing.
        values.entry(key).and_modify(|known| *known = None).or_insert(Some(*value));
    }
    let text = |key: &str| -> Option<String> { serde_json::from_str(values.get(key).copied()??.get()).ok() };
    let id = |key: &str| text(key).and_then(|text| text.parse().ok());
    let kind = match text("principalType").unwrap_or_default().to_ascii_lowercase().as_str() {
        "user" => PrincipalType::User,
        "group" => PrincipalType::Group,
        "serviceprincipal" => PrincipalType::ServicePrincipal,
        _ => PrincipalType::Unknown,
    };
    Ok(AssignmentRow {
        id: text("id"),
        principal: id("principalId"),
        kind,
        name: text("principalDisplayName"),
        role: id("appRoleId"),
        resource: id("resourceId"),
    })
}
