//! `/directory/deletedItems`: users and groups that can be restored.
//!
//! <https://learn.microsoft.com/graph/api/directory-deleteditems-get>

use serde_json::json;

use super::groups::object;
use super::page::Page;
use super::select::{AnswerKind, Selection};
use super::{Context, GraphResult, entity, require_guid, users};
use crate::reply::GraphError;

const READ_DELETED: &[&str] = &["User.Read.All", "User.ReadWrite.All", "Directory.Read.All", "Directory.ReadWrite.All"];

/// `GET /directory/deletedItems/microsoft.graph.user`
pub(super) fn list(context: &Context<'_>) -> GraphResult {
    context.require(READ_DELETED)?;
    let page = Page::requested(context)?;
    let selection = Selection::requested(context, AnswerKind::List)?;
    let rows = users::after(&context.tenant.deleted_users, page.after());
    Ok(page.write(&selection.metadata("users"), rows, |out, user| selection.write_row(user, out)))
}

/// `GET /directory/deletedItems/{id}`
pub(super) fn get(context: &Context<'_>, id: &str) -> GraphResult {
    context.require(READ_DELETED)?;
    require_guid(id)?;
    let selection = Selection::requested(context, AnswerKind::DeletedItem)?;
    if let Some(group) = context.tenant.deleted_groups.get(id) {
        let group = json!({
            "@odata.type": "#microsoft.graph.group",
            "id": group.id,
            "displayName": group.display_name,
        });
        return Ok(object(context, "directoryObjects", &group));
    }
    let user = context.tenant.deleted_users.get(id).ok_or_else(|| GraphError::not_found(id))?;
    let metadata = context.metadata(&format!("{}/$entity", selection.metadata("directoryObjects")));
    Ok(entity(&metadata, |body| selection.write_pairs(user, body)))
}
