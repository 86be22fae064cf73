//! The read part of Microsoft Graph v1.0: routes and permissions.
//!
//! An answer depends only on the tenant, the token's permissions and the request. The server handles faults, tokens and
//! `$batch`.

mod applications;
mod deleted_items;
mod filter;
mod groups;
pub(crate) mod page;
mod select;
mod users;

use self::applications::ApplicationKey;
use crate::encoding::push_json;
use crate::reply::{GraphError, Reply};
use crate::request::Request;
use crate::sequence::is_guid;
use crate::tenant::Tenant;
use crate::token::Roles;

pub(crate) struct Context<'a> {
    pub(crate) tenant: &'a Tenant,
    pub(crate) roles: &'a Roles,
    pub(crate) request: &'a Request,
    /// Page tokens of other epochs have expired.
    pub(crate) page_epoch: u64,
}

type GraphResult = Result<Reply, GraphError>;

pub(crate) fn answer(context: &Context<'_>) -> GraphResult {
    let segments = &context.request.segments;
    let lower: Vec<String> = segments.iter().skip(1).map(|segment| segment.to_ascii_lowercase()).collect();
    let names: Vec<&str> = lower.iter().map(String::as_str).collect();
    let segment_at = |position: usize| segments.get(position + 1).map(String::as_str).unwrap_or_default();

    type Handler<'h> = Box<dyn Fn() -> GraphResult + 'h>;
    let handler: Handler<'_> = match names.as_slice() {
        ["users"] => Box::new(|| users::list(context)),
        ["users", "$count"] => Box::new(|| users::count(context)),
        ["users", _] => Box::new(|| users::get(context, segment_at(1))),
        ["groups", id] => Box::new(|| groups::get(context, id)),
        ["groups", id, "members"] => Box::new(|| groups::members(context, id, false, None)),
        ["groups", id, "members", cast] => Box::new(|| groups::members(context, id, false, Some(cast))),
        ["groups", id, "transitivemembers"] => Box::new(|| groups::members(context, id, true, None)),
        ["groups", id, "transitivemembers", cast] => Box::new(|| groups::members(context, id, true, Some(cast))),
        ["serviceprincipals"] => Box::new(|| applications::list_principals(context)),
        ["serviceprincipals", id] => Box::new(|| applications::get_principal(context, ApplicationKey::ObjectId(id))),
        ["serviceprincipals", id, "approleassignedto"] => {
            Box::new(|| applications::assigned_to(context, ApplicationKey::ObjectId(id)))
        }
        ["applications"] => Box::new(|| applications::list_registrations(context)),
        ["applications", id] => Box::new(|| applications::get_registration(context, ApplicationKey::ObjectId(id))),
        ["directory", "deleteditems", "microsoft.graph.user"] => Box::new(|| deleted_items::list(context)),
        ["directory", "deleteditems", id] => Box::new(|| deleted_items::get(context, id)),
        [first, rest @ ..] => match (applications::alternate_key(first), rest) {
            (Some(("serviceprincipals", key)), []) => Box::new(move || applications::get_principal(context, key)),
            (Some(("serviceprincipals", key)), ["approleassignedto"]) => {
                Box::new(move || applications::assigned_to(context, key))
            }
            (Some(("applications", key)), []) => Box::new(move || applications::get_registration(context, key)),
            _ => return Err(GraphError::unknown_segment(segment_at(unknown_position(&names)))),
        },
        [] => return Err(GraphError::unknown_segment("")),
    };
    if context.request.method != "GET" {
        return Err(GraphError::wrong_method());
    }
    context.check_options()?;
    handler()
}

/// The position of the first unknown segment, for the message.
fn unknown_position(names: &[&str]) -> usize {
    let known = ["users", "groups", "serviceprincipals", "applications", "directory"];
    match names.first() {
        Some(first) if known.contains(first) => names.len() - 1,
        _ => 0,
    }
}

impl Context<'_> {
    fn check_options(&self) -> Result<(), GraphError> {
        for (name, _) in &self.request.query {
            match name.to_ascii_lowercase().as_str() {
                "$select" | "$top" | "$filter" | "$skiptoken" | "$count" | "$format" => {}
                "$skip" => return Err(GraphError::bad_request("'$skip' is not supported by the service.")),
                "$orderby" | "$search" if !self.request.is_eventual() => {
                    return Err(GraphError::unsupported_query("Sorting and searching are not supported here."));
                }
                option if option.starts_with('$') => {
                    return Err(GraphError::bad_request(format!("The query option '{option}' is not supported.")));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Refuses a token without any of several permissions.
    fn require(&self, permissions: &[&str]) -> Result<(), GraphError> {
        if self.roles.any(permissions) { Ok(()) } else { Err(GraphError::denied()) }
    }

    fn metadata(&self, what: &str) -> String {
        format!("{}/v1.0/$metadata#{what}", self.request.origin)
    }
}

fn require_guid(id: &str) -> Result<(), GraphError> {
    if is_guid(id) { Ok(()) } else { Err(GraphError::bad_request(format!("Invalid object identifier '{id}'."))) }
}

/// An object with its context, followed by the `"key":value` pairs that `write` appends.
fn entity(metadata: &str, write: impl FnOnce(&mut Vec<u8>)) -> Reply {
    let mut body = b"{\"@odata.context\":".to_vec();
    push_json(&mut body, metadata);
    body.push(b',');
    write(&mut body);
    body.push(b'}');
    Reply::odata(body)
}
