//! `/users`.
//!
//! <https://learn.microsoft.com/graph/api/user-list>, <https://learn.microsoft.com/graph/api/user-get>

use std::collections::BTreeMap;
use std::ops::Bound;

use super::filter::Filter;
use super::page::Page;
use super::select::{AnswerKind, ReadAccess, Selection};
use super::{Context, GraphResult, entity, require_guid};
use crate::reply::{GraphError, Reply};
use crate::user::User;

pub(super) fn after<'a>(
    users: &'a BTreeMap<String, User>,
    id: Option<&str>,
) -> impl Iterator<Item = (&'a str, &'a User)> + use<'a> {
    let start = id.map_or(Bound::Unbounded, Bound::Excluded);
    users.range::<str, _>((start, Bound::Unbounded)).map(|(id, user)| (id.as_str(), user))
}

pub(super) fn list(context: &Context<'_>) -> GraphResult {
    require_read_access(context)?;
    let page = Page::requested(context)?;
    let selection = Selection::requested(context, AnswerKind::List)?;
    let metadata = selection.metadata("users");
    let write_row = |out: &mut Vec<u8>, user: &User| selection.write_row(user, out);
    let Some(text) = context.request.option("$filter") else {
        return Ok(page.write(&metadata, after(&context.tenant.users, page.after()), write_row));
    };
    let found = filtered(context, &Filter::parse(text)?)?;
    let rows = found.into_iter().filter(|(id, _)| page.after().is_none_or(|after| *id > after));
    Ok(page.write(&metadata, rows, write_row))
}

/// The existing users that match a filter, ordered by id.
fn filtered<'a>(context: &Context<'a>, filter: &Filter) -> Result<BTreeMap<&'a str, &'a User>, GraphError> {
    let found = |user: &'a User| (user.id.as_str(), user);
    let find = |value: &String| context.tenant.find_user(value).map(found);
    if filter.is_prefix {
        if !filter.is_about("userPrincipalName") {
            return Err(GraphError::unsupported_query(
                "Unsupported property filter clause operator 'StartsWithMatch'.",
            ));
        }
        let starts = |name: &str| {
            let start = |value: &String| name.to_lowercase().starts_with(&value.to_lowercase());
            filter.values.iter().any(start)
        };
        let has_start = |user: &&User| user.user_principal_name.as_deref().is_some_and(starts);
        return Ok(context.tenant.users.values().filter(has_start).map(found).collect());
    }
    if filter.is_about("id") {
        filter.values.iter().try_for_each(|id| require_guid(id))?;
        Ok(filter.values.iter().filter_map(find).collect())
    } else if filter.is_about("userPrincipalName") {
        Ok(filter.values.iter().filter(|name| name.contains('@')).filter_map(find).collect())
    } else if filter.is_about("mail") {
        let has_mail = |user: &&User| {
            let mail = user.mail.as_deref();
            mail.is_some_and(|mail| filter.values.iter().any(|value| value.eq_ignore_ascii_case(mail)))
        };
        Ok(context.tenant.users.values().filter(has_mail).map(found).collect())
    } else {
        Err(GraphError::unsupported_query("Unsupported or invalid query filter clause specified for property."))
    }
}

pub(super) fn count(context: &Context<'_>) -> GraphResult {
    require_read_access(context)?;
    if !context.request.is_eventual() {
        return Err(GraphError::bad_request("$count is not currently supported."));
    }
    let body = context.tenant.users.len().to_string().into_bytes();
    Ok(Reply { content_type: "text/plain".to_owned(), ..Reply::odata(body) })
}

/// `GET /users/{id or userPrincipalName}`
pub(super) fn get(context: &Context<'_>, id: &str) -> GraphResult {
    require_read_access(context)?;
    let selection = Selection::requested(context, AnswerKind::Single)?;
    let user = context.tenant.find_user(id).ok_or_else(|| GraphError::not_found(id))?;
    let metadata = context.metadata(&format!("{}/$entity", selection.metadata("users")));
    Ok(entity(&metadata, |body| selection.write_pairs(user, body)))
}

fn require_read_access(context: &Context<'_>) -> Result<(), GraphError> {
    if ReadAccess::of(context.roles) == ReadAccess::Nothing { Err(GraphError::denied()) } else { Ok(()) }
}
