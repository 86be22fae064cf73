//! Errors of a single Graph request, and of a directory read as a whole.
//!
//! A status alone proves nothing, because a proxy or a sign-in page may have answered instead of Graph. Errors therefore
//! record whether their body has Graph's own format.

use std::sync::Arc;

use super::batch::batch_budget;
use super::wire::ErrorBody;
use crate::auth::{AuthError, unreachable_hint};
use crate::model::{EntraId, RequestId, foreign_text, without_personal_data};

/// A request to Graph failed.
#[derive(Debug, thiserror::Error)]
pub enum GraphError {
    /// The sign-in failed.
    #[error("the sign-in failed")]
    Auth(#[from] Arc<AuthError>),
    /// Graph answered with an error.
    #[error("{what}: Graph answered {status}{}: {message} (request-id {request_id})", with_code(code))]
    Answered {
        /// The purpose of the request.
        what: String,
        /// The HTTP status.
        status: u16,
        /// `error.code`, which may be empty.
        code: String,
        /// `error.message`, shortened.
        message: String,
        /// Graph's `request-id`, for a support case.
        request_id: RequestId,
        /// Whether the body has Graph's error format; otherwise a proxy answered.
        genuine: bool,
    },
    /// There was no answer, or only a part of it.
    #[error("{what}: no complete answer")]
    Transport {
        /// The purpose of the request.
        what: String,
        /// The cause.
        #[source]
        source: reqwest::Error,
    },
    /// The answer differs from Graph's documentation.
    #[error("{what}: unexpected answer: {detail}")]
    Malformed {
        /// The purpose of the request.
        what: String,
        /// The problem and its position, without any part of the body.
        detail: String,
    },
    /// The answer takes too much memory.
    #[error("{what}: the answer is larger than {limit_mib} MiB (request-id {request_id})")]
    TooLarge {
        /// The purpose of the request.
        what: String,
        /// The largest answer in MiB.
        limit_mib: usize,
        /// Graph's `request-id`.
        request_id: RequestId,
    },
    /// A nextLink or a redirect leads away from the configured Graph origin, which must not receive the token.
    #[error("{what}: Graph points to another origin, {origin}; the access token is not sent there")]
    ForeignOrigin {
        /// The purpose of the request.
        what: String,
        /// The other origin.
        origin: String,
    },
    /// Something on the configured origin redirects the request.
    #[error("{what}: unexpected redirect ({status}) on the Graph origin itself; redirects are not followed")]
    Redirected {
        /// The purpose of the request.
        what: String,
        /// The HTTP status.
        status: u16,
    },
    /// A list does not end: a repeated nextLink, or too many pages or rows.
    #[error("{what}: the list does not end: {detail}")]
    Endless {
        /// The purpose of the request.
        what: String,
        /// Which of these it was.
        detail: String,
    },
    /// The program failed on an answer.
    #[error("{what}: this program failed on an answer of Graph; please report it with the log")]
    Panicked {
        /// The purpose of the request.
        what: String,
    },
}

fn with_code(code: &str) -> String {
    if code.is_empty() { String::new() } else { format!(" {code}") }
}

impl GraphError {
    /// Whether Graph itself answered 404.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Answered { status: 404, genuine: true, .. })
    }

    /// Whether Graph itself answered 403.
    pub fn is_forbidden(&self) -> bool {
        matches!(self, Self::Answered { status: 403, genuine: true, .. })
    }

    /// Whether this is the last of several answers that were retried.
    pub(super) fn is_retried_in_vain(&self) -> bool {
        matches!(self, Self::Answered { status, .. } if batch_budget(*status).is_some())
    }

    /// Graph's id of the answer that the error is about.
    pub(super) fn request_id(&self) -> RequestId {
        match self {
            Self::Answered { request_id, .. } | Self::TooLarge { request_id, .. } => request_id.clone(),
            _ => RequestId::default(),
        }
    }

    pub(super) fn is_expired_page_token(&self) -> bool {
        matches!(self, Self::Answered { code, .. } if code.eq_ignore_ascii_case("Directory_ExpiredPageToken"))
    }
}

/// The error for an answer other than 200, whose body is Graph's JSON or a proxy's page.
pub(super) fn answered(what: &str, status: u16, body: &str, request_id: &RequestId) -> GraphError {
    let error = serde_json::from_str::<ErrorBody>(body).ok();
    let genuine = error.is_some();
    let error = error.unwrap_or_default().error;
    let message = error.message.filter(|message| !message.is_empty()).unwrap_or_else(|| "no message".to_owned());
    GraphError::Answered {
        what: what.to_owned(),
        status,
        code: foreign_text(&error.code.unwrap_or_default()),
        message: foreign_text(&without_personal_data(&message, &[])),
        request_id: request_id.clone(),
        genuine,
    }
}

/// An answer that differs from Graph's documentation.
pub(super) fn malformed(what: &str, detail: impl Into<String>) -> GraphError {
    GraphError::Malformed { what: what.to_owned(), detail: detail.into() }
}

/// The reads of single users that failed. Each makes its user unreadable, unless together they say that Graph fails, or
/// that it refuses all of them.
#[derive(Debug, Default)]
pub(super) struct FailedReads {
    in_vain: usize,
    forbidden: usize,
    last: Option<GraphError>,
}

impl FailedReads {
    /// Counts the failure of one user, and returns why the user is unreadable.
    pub(super) fn add(&mut self, error: GraphError) -> String {
        let detail = error.to_string();
        self.in_vain += usize::from(error.is_retried_in_vain());
        self.forbidden += usize::from(error.is_forbidden());
        self.last = Some(error);
        detail
    }

    /// # Errors
    /// Several users were read, and the read of every one was retried in vain.
    pub(super) fn unless_all_in_vain(self, users: usize) -> Result<(), GraphError> {
        let all = users > 1 && self.in_vain == users;
        self.last.filter(|_| all).map_or(Ok(()), Err)
    }

    /// # Errors
    /// As before, or Graph refuses to read any of the `users`.
    pub(super) fn unless_all_refused(self, users: usize) -> Result<(), GraphError> {
        if self.forbidden == users { self.last.map_or(Ok(()), Err) } else { self.unless_all_in_vain(users) }
    }
}

/// Reading the directory failed.
#[derive(Debug, thiserror::Error)]
pub enum DirectoryError {
    /// A request failed, after its retries.
    #[error(transparent)]
    Graph(#[from] GraphError),
    /// The enterprise application does not exist.
    #[error("no enterprise application has the object id or application id {0}")]
    ApplicationNotFound(EntraId),
    /// There is no permission to read the members of a group.
    #[error("no permission to read the members of group {group} ({name})")]
    GroupForbidden {
        /// The group.
        group: EntraId,
        /// The display name.
        name: String,
        /// Graph's answer.
        #[source]
        source: Box<GraphError>,
    },
    /// The application has no app role with this id or value.
    #[error("scope.app_roles names {role:?}, but the application has only these app roles: {}", list_or_none(roles))]
    NoSuchRole {
        /// The configured role.
        role: String,
        /// The values (or ids) of the application's roles.
        roles: Vec<String>,
    },
    /// A group in `scope.only` or `scope.ignore` hides its members.
    #[error("the members of group {0} in scope.only or scope.ignore are hidden")]
    NamedGroupHidden(EntraId),
    /// Assigned users were neither read nor missing.
    #[error("the read is incomplete: {} assigned users were not read ({})", .0.len(), first_ids(.0))]
    Incomplete(Vec<EntraId>),
}

fn list_or_none(names: &[String]) -> String {
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

/// The first ids of a long list.
pub(super) fn first_ids(ids: &[impl std::fmt::Display]) -> String {
    const SHOWN: usize = 10;
    let shown = ids.iter().take(SHOWN).map(ToString::to_string).collect::<Vec<_>>().join(", ");
    if ids.len() > SHOWN { format!("{shown}, ...") } else { shown }
}

impl DirectoryError {
    /// A failed request about the members of `group`.
    pub(super) fn for_group(group: EntraId, name: &str, error: GraphError) -> Self {
        if error.is_forbidden() {
            Self::GroupForbidden { group, name: name.to_owned(), source: error.into() }
        } else {
            error.into()
        }
    }

    /// Advice for the administrator.
    pub fn hint(&self) -> Option<&str> {
        Some(match self {
            Self::Graph(GraphError::Auth(error)) => return error.hint(),
            Self::Graph(GraphError::Answered { genuine: false, .. } | GraphError::Redirected { .. }) => {
                "the answer does not come from Graph: check entra.graph_url, entra.proxy, and any firewall or sign-in page \
                 between this machine and Graph"
            }
            Self::Graph(GraphError::Answered { status: 403, .. }) => {
                "grant the application permissions Application.Read.All, User.Read.All and GroupMember.Read.All to the \
                 app registration and give admin consent"
            }
            Self::Graph(GraphError::Answered { status: 401, .. }) => {
                "Graph refuses the access token: check entra.cloud, entra.graph_url and entra.authority_url"
            }
            Self::Graph(GraphError::Transport { source, .. }) => unreachable_hint(source),
            Self::ApplicationNotFound(_) => {
                "set app.enterprise_app to the object id under Entra ID > Enterprise applications > Properties, or to the \
                 application id; the object id of the app registration is a different one"
            }
            Self::GroupForbidden { .. } => {
                "grant GroupMember.Read.All (and Member.Read.Hidden for groups with hidden membership), or remove the \
                 group from the application"
            }
            Self::NoSuchRole { .. } => "set scope.app_roles to values or ids of app roles of the application",
            Self::NamedGroupHidden(_) => {
                "grant Member.Read.Hidden to the app registration and give admin consent, or name another group"
            }
            Self::Graph(_) | Self::Incomplete(_) => return None,
        })
    }
}
