//! `/groups/{id}` and its members.
//!
//! <https://learn.microsoft.com/graph/api/group-list-members>

use serde_json::{Value, json};

use super::applications::READ_APPLICATIONS;
use super::page::Page;
use super::select::{AnswerKind, Selection};
use super::{Context, GraphResult, entity, require_guid};
use crate::encoding::push_json;
use crate::reply::{GraphError, Reply};
use crate::tenant::{Group, MemberKind, Tenant};
use crate::user::User;

const READ_GROUP: &[&str] = &[
    "GroupMember.Read.All",
    "GroupMember.ReadWrite.All",
    "Group.Read.All",
    "Group.ReadBasic.All",
    "Group.ReadWrite.All",
    "Directory.Read.All",
    "Directory.ReadWrite.All",
];
const READ_MEMBERS: &[&str] = &["GroupMember.ReadBasic.All"];

/// `GET /groups/{id}`
pub(super) fn get(context: &Context<'_>, id: &str) -> GraphResult {
    context.require(READ_GROUP)?;
    let group = find(context, id)?;
    let all = json!({
        "id": group.id,
        "createdDateTime": group.created_date_time,
        "deletedDateTime": null,
        "description": group.description,
        "displayName": group.display_name,
        "groupTypes": [],
        "mail": null,
        "mailEnabled": false,
        "mailNickname": group.id.get(..8),
        "onPremisesSyncEnabled": null,
        "proxyAddresses": [],
        "securityEnabled": group.security_enabled,
        "visibility": group.visibility,
    });
    Ok(object(context, "groups", &all))
}

/// An object with its selected keys.
pub(super) fn object(context: &Context<'_>, set: &str, all: &Value) -> Reply {
    let selected = context.request.option("$select");
    let wanted = |key: &str| {
        key == "id" || selected.is_none_or(|names| names.split(',').any(|name| name.trim().eq_ignore_ascii_case(key)))
    };
    let metadata = selected.map_or_else(|| set.to_owned(), |names| format!("{set}({names})"));
    entity(&context.metadata(&format!("{metadata}/$entity")), |body| {
        let pairs = all.as_object().into_iter().flatten().filter(|(key, _)| wanted(key));
        for (index, (key, value)) in pairs.enumerate() {
            if index > 0 {
                body.push(b',');
            }
            push_json(body, key);
            body.push(b':');
            push_json(body, value);
        }
    })
}

/// `GET /groups/{id}/members` and `/transitiveMembers`, with or without a cast.
pub(super) fn members(context: &Context<'_>, id: &str, transitive: bool, cast: Option<&str>) -> GraphResult {
    context.require(&[READ_GROUP, READ_MEMBERS].concat())?;
    let page = Page::requested(context)?;
    let only = cast.map(|cast| kind_of_cast(context, cast)).transpose()?;
    if context.request.option("$filter").is_some() && !context.request.is_eventual() {
        return Err(GraphError::unsupported_query("Unsupported Query."));
    }
    let group = find(context, id)?;
    let selection = Selection::requested(context, AnswerKind::Members)?;
    let hidden = group.visibility.as_deref() == Some("HiddenMembership");
    // Graph answers a hidden membership with an empty list, not with an error.
    let show = !hidden || context.roles.any(&["Member.Read.Hidden"]);
    let groups = if transitive { context.tenant.nested_groups(group) } else { vec![group] };
    let visible = |id, kind| {
        let wanted = show && only.is_none_or(|only| only == kind);
        if wanted { VisibleMember::of(context.tenant, id, kind) } else { None }
    };
    let rows = merged(&groups, &page, visible);
    let metadata = selection.metadata("directoryObjects");
    Ok(page.write(&metadata, rows.into_iter().map(|row| (row.id(), row)), |out, row| match row {
        VisibleMember::User(user) => selection.write_row(user, out),
        VisibleMember::Other(id, kind) => {
            let readable = match kind {
                MemberKind::Group => true,
                MemberKind::ServicePrincipal => context.roles.any(READ_APPLICATIONS),
                _ => context.roles.any(&["Device.Read.All", "Directory.Read.All"]),
            };
            let name = context.tenant.display_name_of(id).filter(|_| readable);
            selection.write_other(id, kind.odata_type(), name, out);
        }
    }))
}

/// A member that exists and is not soft-deleted.
#[derive(Clone, Copy)]
enum VisibleMember<'a> {
    User(&'a User),
    Other(&'a str, MemberKind),
}

impl<'a> VisibleMember<'a> {
    fn of(tenant: &'a Tenant, id: &'a str, kind: MemberKind) -> Option<Self> {
        match kind {
            MemberKind::User => tenant.users.get(id).map(Self::User),
            MemberKind::Group => tenant.groups.contains_key(id).then_some(Self::Other(id, kind)),
            MemberKind::Device | MemberKind::ServicePrincipal => {
                tenant.objects.contains_key(id).then_some(Self::Other(id, kind))
            }
        }
    }

    fn id(self) -> &'a str {
        match self {
            Self::User(user) => &user.id,
            Self::Other(id, _) => id,
        }
    }
}

/// The members of several groups after the page's key, in order and without duplicates. At most one row more than the
/// page needs is read from each group.
fn merged<'a>(
    groups: &[&'a Group],
    page: &Page<'_>,
    visible: impl Fn(&'a str, MemberKind) -> Option<VisibleMember<'a>>,
) -> Vec<VisibleMember<'a>> {
    let needed = page.size() + 1;
    let visible = |(id, kind)| visible(id, kind);
    let mut rows: Vec<_> =
        groups.iter().flat_map(|group| group.after(page.after()).filter_map(visible).take(needed)).collect();
    if groups.len() > 1 {
        rows.sort_unstable_by_key(|row| row.id());
        rows.dedup_by_key(|row| row.id());
    }
    rows
}

/// The kind that a cast selects. A cast is an advanced query, which needs `ConsistencyLevel` and `$count`.
fn kind_of_cast(context: &Context<'_>, cast: &str) -> Result<MemberKind, GraphError> {
    let kind = match cast {
        "microsoft.graph.user" => MemberKind::User,
        "microsoft.graph.group" => MemberKind::Group,
        "microsoft.graph.device" => MemberKind::Device,
        "microsoft.graph.serviceprincipal" => MemberKind::ServicePrincipal,
        other => return Err(GraphError::unknown_segment(other)),
    };
    let counted = context.request.option("$count").is_some_and(|value| value.eq_ignore_ascii_case("true"));
    if context.request.is_eventual() && counted {
        return Ok(kind);
    }
    Err(GraphError::unsupported_query("The specified directory object cast requires ConsistencyLevel: eventual."))
}

fn find<'a>(context: &Context<'a>, id: &str) -> Result<&'a Group, GraphError> {
    require_guid(id)?;
    context.tenant.group(id).ok_or_else(|| GraphError::not_found(id))
}
