//! What can go wrong with a request to Graph, and with a read as a whole.
//!
//! A status alone is no evidence: a proxy or a sign-in page may have answered in Graph's place, so an error knows
//! whether it is Graph's own.

use std::sync::Arc;

use super::wire::ErrorBody;
use crate::auth::{AuthError, place_of, unreachable_hint};
use crate::model::EntraId;

/// Graph could not be read.
#[derive(Debug, thiserror::Error)]
pub enum GraphError {
    /// Signing in failed.
    #[error("signing in failed")]
    Auth(#[from] Arc<AuthError>),
    /// Graph answered with an error.
    #[error("{what}: Graph answered {status}{}: {message} (request-id {request_id})", with_code(code))]
    Answered {
        /// What was asked for.
        what: String,
        /// The HTTP status.
        status: u16,
        /// `error.code`, which may be empty.
        code: String,
        /// `error.message`, shortened.
        message: String,
        /// Graph's `request-id`, for a support case.
        request_id: String,
        /// Whether the body is an error as Graph writes it; else something in between answered.
        genuine: bool,
    },
    /// No answer came, or not all of it.
    #[error("{what}: no complete answer")]
    Transport {
        /// What was asked for.
        what: String,
        /// Why.
        #[source]
        source: reqwest::Error,
    },
    /// The answer is not what Graph documents.
    #[error("{what}: the answer cannot be understood: {detail}")]
    Malformed {
        /// What was asked for.
        what: String,
        /// Where it breaks; never the body.
        detail: String,
    },
    /// A nextLink or a redirect leads away from the configured Graph origin: the token does not go there.
    #[error("{what}: Graph points to another origin, {origin}; the access token is not sent there")]
    ForeignOrigin {
        /// What was asked for.
        what: String,
        /// Where it points.
        origin: String,
    },
    /// A list that does not end: a nextLink came twice, or too many pages.
    #[error("{what}: the list does not end: {detail}")]
    Endless {
        /// What was asked for.
        what: String,
        /// How that showed.
        detail: String,
    },
}

fn with_code(code: &str) -> String {
    if code.is_empty() { String::new() } else { format!(" {code}") }
}

impl GraphError {
    /// The HTTP status, when Graph answered.
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Answered { status, .. } => Some(*status),
            _ => None,
        }
    }

    /// Whether Graph itself says that there is no such thing.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Answered { status: 404, genuine: true, .. })
    }

    /// Whether Graph itself says that a permission is missing.
    pub fn is_forbidden(&self) -> bool {
        matches!(self, Self::Answered { status: 403, genuine: true, .. })
    }

    pub(super) fn is_expired_page_token(&self) -> bool {
        matches!(self, Self::Answered { code, .. } if code.eq_ignore_ascii_case("Directory_ExpiredPageToken"))
    }
}

/// The error of an answer that is not 200. The body may be Graph's JSON or a proxy's page.
pub(super) fn answered(what: &str, status: u16, body: &[u8], request_id: &str) -> GraphError {
    let error = serde_json::from_slice::<ErrorBody>(body).ok();
    let genuine = error.is_some();
    let error = error.unwrap_or_default().error;
    let message = error.message.filter(|message| !message.is_empty()).unwrap_or_else(|| "no message".to_owned());
    GraphError::Answered {
        what: what.to_owned(),
        status,
        code: error.code.unwrap_or_default().chars().take(100).collect(),
        message: message.chars().take(300).filter(|c| !c.is_control()).collect(),
        request_id: request_id.chars().take(100).collect(),
        genuine,
    }
}

pub(super) fn malformed(what: &str, error: &serde_json::Error) -> GraphError {
    GraphError::Malformed { what: what.to_owned(), detail: place_of(error) }
}

/// The directory could not be read as a whole.
#[derive(Debug, thiserror::Error)]
pub enum DirectoryError {
    /// A request failed after its retries.
    #[error(transparent)]
    Graph(#[from] GraphError),
    /// The enterprise application does not exist.
    #[error("no enterprise application has the object id or application id {0}")]
    ApplicationNotFound(EntraId),
    /// An assigned group may not be read.
    #[error("the members of group {group} ({name}) may not be read")]
    GroupForbidden {
        /// The group.
        group: EntraId,
        /// Its display name.
        name: String,
        /// Graph's answer.
        #[source]
        source: Box<GraphError>,
    },
    /// The application has no app role of this id or value.
    #[error("the application has no app role {role:?}, which scope.app_roles names; it has {}", any(roles))]
    NoSuchRole {
        /// As it is named.
        role: String,
        /// The values, or ids, of the roles there are.
        roles: Vec<String>,
    },
    /// A group that is to bound the cycle does not show whom it holds.
    #[error("the members of group {0}, which scope.only or scope.ignore names, are hidden")]
    NamedGroupHidden(EntraId),
    /// Not everything that is assigned is accounted for.
    #[error("the read is not complete: {}", listed(users, groups))]
    Incomplete {
        /// People who were neither read nor found missing.
        users: Vec<EntraId>,
        /// Groups whose members were not read to the end.
        groups: Vec<EntraId>,
    },
}

fn any(names: &[String]) -> String {
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

/// So many of those who are missing are named.
const NAMED: usize = 10;

fn listed(users: &[EntraId], groups: &[EntraId]) -> String {
    let list = |what: &str, ids: &[EntraId]| {
        let named = ids.iter().take(NAMED).map(ToString::to_string).collect::<Vec<_>>().join(", ");
        let more = if ids.len() > NAMED { ", ..." } else { "" };
        (!ids.is_empty()).then(|| format!("{} {what} ({named}{more})", ids.len()))
    };
    [list("assigned people were neither read nor found missing", users), list("groups were not read", groups)]
        .into_iter()
        .flatten()
        .collect::<Vec<_>>()
        .join("; ")
}

impl DirectoryError {
    /// What the administrator can do.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Graph(GraphError::Auth(error)) => error.hint().map(str::to_owned),
            Self::Graph(GraphError::Answered { genuine: false, .. }) => Some(
                "the answer is not Graph's own: look at what stands between this machine and Graph (entra.proxy, a firewall, \
                 a sign-in page) and at entra.graph_url"
                    .to_owned(),
            ),
            Self::Graph(GraphError::Answered { status: 403, .. }) => Some(
                "grant the application permissions Application.Read.All, User.Read.All and GroupMember.Read.All to the \
                 app registration and give admin consent"
                    .to_owned(),
            ),
            Self::Graph(GraphError::Answered { status: 401, .. }) => {
                Some("Graph refuses the access token: check entra.cloud, entra.graph_url and entra.authority_url".to_owned())
            }
            Self::Graph(GraphError::Transport { source, .. }) => Some(unreachable_hint(source).to_owned()),
            Self::ApplicationNotFound(_) => Some(
                "app.enterprise_app wants the object id that Entra ID shows under Enterprise applications > Properties, \
                 or the application id; the object id of the app registration is another one"
                    .to_owned(),
            ),
            Self::GroupForbidden { .. } => Some(
                "grant GroupMember.Read.All (and Member.Read.Hidden for groups with hidden membership), or take the group \
                 off the application"
                    .to_owned(),
            ),
            Self::NoSuchRole { .. } => {
                Some("scope.app_roles takes the value or the id of an app role of the application".to_owned())
            }
            Self::NamedGroupHidden(_) => Some(
                "grant Member.Read.Hidden to the app registration and give admin consent, or name another group".to_owned(),
            ),
            Self::Graph(_) | Self::Incomplete { .. } => None,
        }
    }
}
